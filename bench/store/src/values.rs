//! Keys and values of the measurements: made from numbers, so that every process can tell whether what it read is whole.

use xxhash_rust::xxh3::{xxh3_64_with_seed, xxh3_128};

use crate::candidate::Key;

pub fn key(n: u64) -> Key {
    let mut key = [0; 32];
    key[..16].copy_from_slice(&xxh3_128(&n.to_le_bytes()).to_le_bytes());
    key[16..].copy_from_slice(&xxh3_128(&n.to_be_bytes()).to_le_bytes());
    key
}

/// The value of key `n` in its `version`: a checksum over the rest, seeded by `n`, before bytes that differ in each version.
pub fn value(n: u64, version: u64, size: usize) -> Vec<u8> {
    let mut value = vec![0; size];
    let mut state = (n << 32 ^ version).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    for chunk in value[8..].chunks_mut(8) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        chunk.copy_from_slice(&state.to_le_bytes()[..chunk.len()]);
    }
    let sum = xxh3_64_with_seed(&value[8..], n);
    value[..8].copy_from_slice(&sum.to_le_bytes());
    value
}

/// Whether these bytes are a whole value of key `n`, of any version.
pub fn is_whole(n: u64, value: &[u8]) -> bool {
    value.len() > 8 && value[..8] == xxh3_64_with_seed(&value[8..], n).to_le_bytes()
}

/// Random numbers of one process: xorshift, for the choice of keys.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) % bound
    }
}

/// Sizes as they come, of a thousand: 500 of 10 B, 400 of 200 B, 90 of 4 kB, 9 of 64 kB, one of 1 MiB.
pub fn mixed_size(random: &mut Random) -> usize {
    match random.below(1000) {
        0..500 => 10,
        500..900 => 200,
        900..990 => 4_096,
        990..999 => 65_536,
        _ => 1 << 20,
    }
}
