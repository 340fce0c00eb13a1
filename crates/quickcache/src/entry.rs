//! A stored value on the wire, for tiers that leave the process.
//!
//! ```text
//!  0        2        3        4                  12                  24                  40
//!  ┌────────┬────────┬────────┬──────────────────┬───────────────────┬───────────────────┬──────────┐
//!  │ "qc"   │ version│ codec  │ deadline         │ rest of the key   │ tag               │ payload… │
//!  │        │ 1      │        │ Unix ms, LE u64  │ 12 bytes          │ 16 bytes          │          │
//!  └────────┴────────┴────────┴──────────────────┴───────────────────┴───────────────────┴──────────┘
//! ```
//!
//! The tag is keyed BLAKE3 over the whole key, the 24 bytes before it and the payload: an entry that was damaged, cut,
//! forged, or moved to another key is a miss. The deadline is the writer's wall clock and can only shorten a value's life.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::key::v1::Digest;

const MAGIC: [u8; 2] = *b"qc";
const VERSION: u8 = 1;
const TAG_AT: usize = 24;
const HEADER: usize = 40;

/// What tags are made with: derived from the cache's secret.
#[derive(Clone)]
pub(crate) struct Seal([u8; 32]);

impl Seal {
    pub(crate) fn new(secret: &[u8]) -> Self {
        Seal(blake3::derive_key("quickcache entry v1", secret))
    }

    /// The entry for a value that may live so long from now on. `write` appends the payload.
    pub(crate) fn write<E>(
        &self,
        key: &Digest,
        codec: u8,
        life: Duration,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<Vec<u8>, E> {
        let deadline =
            unix_millis().saturating_add(u64::try_from(life.as_millis()).unwrap_or(u64::MAX));
        let mut entry = Vec::with_capacity(256);
        entry.extend_from_slice(&MAGIC);
        entry.extend_from_slice(&[VERSION, codec]);
        entry.extend_from_slice(&deadline.to_le_bytes());
        entry.extend_from_slice(&key.rest());
        entry.extend_from_slice(&[0; HEADER - TAG_AT]);
        write(&mut entry)?;
        let tag = self.tag(key, &entry);
        entry[TAG_AT..HEADER].copy_from_slice(&tag.as_bytes()[..HEADER - TAG_AT]);
        Ok(entry)
    }

    /// The payload and what is left of its life; `None` if this is no entry for the key, or one that is over.
    pub(crate) fn read<'a>(
        &self,
        key: &Digest,
        codec: u8,
        entry: &'a [u8],
    ) -> Option<(&'a [u8], Duration)> {
        let header = entry.get(..HEADER)?;
        if header[..4] != [MAGIC[0], MAGIC[1], VERSION, codec] {
            return None;
        }
        // A comparison of hashes takes the same time wherever they differ.
        let mut tag = [0; 32];
        let expected = self.tag(key, entry);
        tag[..HEADER - TAG_AT].copy_from_slice(&header[TAG_AT..]);
        tag[HEADER - TAG_AT..].copy_from_slice(&expected.as_bytes()[HEADER - TAG_AT..]);
        if blake3::Hash::from(tag) != expected {
            return None;
        }
        let deadline = u64::from_le_bytes(header[4..12].try_into().ok()?);
        let left = deadline
            .checked_sub(unix_millis())
            .filter(|left| *left > 0)?;
        Some((&entry[HEADER..], Duration::from_millis(left)))
    }

    fn tag(&self, key: &Digest, entry: &[u8]) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher
            .update(key.as_bytes())
            .update(&entry[..TAG_AT])
            .update(&entry[HEADER..]);
        hasher.finalize()
    }
}

fn unix_millis() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::v1::{Identity, Scheme};

    fn digest(name: &str) -> Digest {
        Scheme::new(b"")
            .function(Identity {
                name,
                ..Identity::default()
            })
            .key(&[])
    }

    fn sealed(life: Duration) -> Vec<u8> {
        let write = |bytes: &mut Vec<u8>| {
            bytes.extend_from_slice(b"payload");
            Ok::<(), ()>(())
        };
        Seal::new(b"").write(&digest("f"), 1, life, write).unwrap()
    }

    #[test]
    fn what_was_written_is_read() {
        let entry = sealed(Duration::from_secs(5));
        let (payload, left) = Seal::new(b"").read(&digest("f"), 1, &entry).unwrap();
        assert_eq!(payload, b"payload");
        assert!(left <= Duration::from_secs(5) && left > Duration::from_secs(4));
    }

    #[test]
    fn p10_a_flipped_bit_or_a_cut_anywhere_is_a_miss() {
        let (seal, key) = (Seal::new(b""), digest("f"));
        let entry = sealed(Duration::from_secs(5));
        for at in 0..entry.len() {
            for bit in 0..8 {
                let mut damaged = entry.clone();
                damaged[at] ^= 1 << bit;
                assert!(
                    seal.read(&key, 1, &damaged).is_none(),
                    "byte {at}, bit {bit}"
                );
            }
            assert!(seal.read(&key, 1, &entry[..at]).is_none(), "cut at {at}");
        }
    }

    #[test]
    fn p10_an_entry_of_another_key_codec_secret_or_time_is_a_miss() {
        let entry = sealed(Duration::from_secs(5));
        let seal = Seal::new(b"");
        assert!(seal.read(&digest("g"), 1, &entry).is_none());
        assert!(seal.read(&digest("f"), 2, &entry).is_none());
        assert!(Seal::new(b"other").read(&digest("f"), 1, &entry).is_none());
        assert!(
            seal.read(&digest("f"), 1, &sealed(Duration::ZERO))
                .is_none()
        );
    }
}
