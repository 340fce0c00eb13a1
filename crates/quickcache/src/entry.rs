//! A stored value on the wire, for tiers that leave the process. What the payload is made of is the codec's affair; the whole
//! format is told in `docs/entry.md`.
//!
//! ```text
//!  0      2     3     4     5        8        12       16           24         32         40       48       64
//!  ┌──────┬─────┬─────┬─────┬────────┬────────┬────────┬────────────┬──────────┬──────────┬────────┬────────┬──────────┐
//!  │ "qc" │ 2   │codec│flags│ 0 0 0  │ stored │ raw    │ generation │ started  │ deadline │ of key │ tag    │ payload… │
//!  │      │     │     │     │        │ length │ length │            │ ms       │ ms       │        │        │          │
//!  └──────┴─────┴─────┴─────┴────────┴────────┴────────┴────────────┴──────────┴──────────┴────────┴────────┴──────────┘
//! ```
//!
//! Numbers are little endian. The tag is over the whole 32-byte key, the 48 bytes before it and the payload: an entry that was
//! damaged, cut, or moved to another key is a miss. Which tag it is, the tier's configuration says and never the entry.
//! Bytes 40 to 48 are those of the key behind the 20 that its text has, for a quick refusal.
//!
//! Flag 1: the payload is an LZ4 block of `raw length` bytes. An entry with any other flag is of a later version, and a miss.
//! Times are milliseconds of the tier's clock: the Unix clock, which may only shorten a life, or the boot clock of the machine.

use std::borrow::Cow;

use crate::clock::Millis;

const MAGIC: [u8; 2] = *b"qc";
const VERSION: u8 = 2;
const KEY_AT: usize = 40;
const TAG_AT: usize = 48;
/// Bytes before the payload.
pub const HEADER: usize = 64;

/// The payload is an LZ4 block.
const LZ4: u8 = 1;
/// Below it a payload is not worth the try.
const COMPRESSED_FROM: usize = 4 << 10;
/// The most that an LZ4 block can grow: 255 for each byte of a length.
const LZ4_RATIO: usize = 255;

/// The largest value, before compression: what a reader allocates at most.
pub const LARGEST: usize = 64 << 20;

/// What of a key the tags bind: all 32 bytes of its digest.
pub type Key = [u8; 32];

/// What an entry says of its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Of the key when the execution started; 0 in a tier that has none.
    pub generation: u64,
    /// When the execution started.
    pub started: Millis,
    /// From when on it is a miss.
    pub deadline: Millis,
}

/// An entry that was read.
#[derive(Debug)]
pub struct Entry<'a> {
    pub head: Head,
    pub codec: u8,
    pub payload: Cow<'a, [u8]>,
}

impl<'a> Entry<'a> {
    /// The same, if it is of this codec.
    pub fn of_codec(self, codec: u8) -> Result<Entry<'a>, Rejected> {
        if self.codec == codec {
            Ok(self)
        } else {
            Err(Rejected::OtherCodec)
        }
    }
}

/// Why bytes are no hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejected {
    /// No entry, or one of another version or of another key.
    Foreign,
    /// Cut, altered, or sealed with another secret or in another epoch.
    Damaged,
    /// Its deadline has come.
    Expired,
    /// Of a codec that the reader does not read.
    OtherCodec,
}

/// Why a value has no entry.
#[derive(Debug, PartialEq, Eq)]
pub enum Unwritten<E> {
    /// The codec's own error.
    Codec(E),
    /// Longer than [`LARGEST`].
    TooLarge { bytes: usize },
    /// The codec did more than append.
    NotAppended,
}

impl<E: std::fmt::Display> std::fmt::Display for Unwritten<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Unwritten::Codec(error) => error.fmt(f),
            Unwritten::TooLarge { bytes } => {
                write!(
                    f,
                    "it takes {bytes} bytes, and at most {LARGEST} are stored"
                )
            }
            Unwritten::NotAppended => f.write_str(
                "its codec has changed bytes that were there before: `encode` may only append",
            ),
        }
    }
}

/// What the tags of a tier are made with.
#[derive(Clone)]
pub struct Seal(Tag);

#[derive(Clone)]
enum Tag {
    /// Keyed BLAKE3: nobody without the secret makes one. The first key seals, and what any of them has sealed is read.
    Keyed(Vec<[u8; 32]>),
    /// XXH3-128 with this seed: finds accidents only, and costs a reader some twenty nanoseconds.
    Plain(u64),
}

impl Seal {
    /// For tiers that others can write to.
    #[must_use]
    pub fn keyed(secret: &[u8]) -> Self {
        Self::rotated([secret])
    }

    /// The same while a secret takes the place of others: the first seals, and what was sealed with any of them is read.
    #[must_use]
    pub fn rotated<'a>(secrets: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let key = |secret| blake3::derive_key("quickcache entry v2", secret);
        let keys: Vec<_> = secrets.into_iter().map(key).collect();
        assert!(!keys.is_empty(), "a seal has a secret, be it empty");
        Seal(Tag::Keyed(keys))
    }

    /// For the machine's own private store, in this epoch of it.
    #[must_use]
    pub fn plain(epoch: u64) -> Self {
        Seal(Tag::Plain(epoch))
    }

    /// The entry of a value; `encode` appends the payload and says in which codec it is.
    pub fn write<E>(
        &self,
        key: &Key,
        head: Head,
        encode: impl FnOnce(&mut Vec<u8>) -> Result<u8, E>,
    ) -> Result<Vec<u8>, Unwritten<E>> {
        let mut bytes = Vec::with_capacity(256);
        self.write_into(&mut bytes, key, head, encode)?;
        Ok(bytes)
    }

    /// As `write`, behind what is in `bytes`; if that fails, `bytes` is as it was unless it is the codec that changed it.
    pub fn write_into<E>(
        &self,
        bytes: &mut Vec<u8>,
        key: &Key,
        head: Head,
        encode: impl FnOnce(&mut Vec<u8>) -> Result<u8, E>,
    ) -> Result<(), Unwritten<E>> {
        let start = bytes.len();
        let mut header = Header::of(key, head);
        bytes.extend_from_slice(&header.0);
        let written = match encode(bytes) {
            Err(error) => Err(Unwritten::Codec(error)),
            // Whoever clears the buffer would leave an entry that says something else.
            Ok(_) if bytes.get(start..start + HEADER) != Some(&header.0[..]) => {
                Err(Unwritten::NotAppended)
            }
            Ok(_) if bytes.len() - start - HEADER > LARGEST => Err(Unwritten::TooLarge {
                bytes: bytes.len() - start - HEADER,
            }),
            Ok(codec) => Ok(codec),
        };
        header.set_codec(written.inspect_err(|_| bytes.truncate(start))?);
        let payload = start + HEADER;
        let raw = bytes.len() - payload;
        if let Some(block) = compressed(&bytes[payload..]) {
            bytes.truncate(payload);
            bytes.extend_from_slice(&block);
            header.set_flags(LZ4);
        }
        header.set_lengths(bytes.len() - payload, raw);
        let tag = self.tag(key, &header, &bytes[payload..]);
        header.set_tag(tag);
        bytes[start..payload].copy_from_slice(&header.0);
        Ok(())
    }

    /// The entry of this key that `bytes` begin with; it may be followed by others.
    pub fn read<'a>(&self, key: &Key, now: Millis, bytes: &'a [u8]) -> Result<Entry<'a>, Rejected> {
        let header = Header::read(bytes).ok_or(Rejected::Foreign)?;
        if header.of_key() != of_key(key) {
            return Err(Rejected::Foreign);
        }
        let stored = bytes
            .get(HEADER..HEADER.saturating_add(header.stored()))
            .ok_or(Rejected::Damaged)?;
        let good = match &self.0 {
            Tag::Keyed(secrets) => {
                let fits = |secret| same(keyed(secret, key, &header, stored), header.tag());
                secrets.iter().any(fits)
            }
            Tag::Plain(epoch) => plain(*epoch, key, &header, stored) == header.tag(),
        };
        if !good {
            return Err(Rejected::Damaged);
        }
        let head = header.head();
        if now >= head.deadline {
            return Err(Rejected::Expired);
        }
        let payload = match header.flags() {
            LZ4 => Cow::Owned(decompressed(stored, header.raw()).ok_or(Rejected::Damaged)?),
            _ if header.raw() != stored.len() => return Err(Rejected::Damaged),
            _ => Cow::Borrowed(stored),
        };
        Ok(Entry {
            head,
            codec: header.0[3],
            payload,
        })
    }

    fn tag(&self, key: &Key, header: &Header, payload: &[u8]) -> [u8; 16] {
        match &self.0 {
            Tag::Keyed(secrets) => keyed(&secrets[0], key, header, payload),
            Tag::Plain(epoch) => plain(*epoch, key, header, payload),
        }
    }
}

fn keyed(secret: &[u8; 32], key: &Key, header: &Header, payload: &[u8]) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new_keyed(secret);
    hasher
        .update(key)
        .update(&header.0[..TAG_AT])
        .update(payload);
    let mut tag = [0; 16];
    hasher.finalize_xof().fill(&mut tag);
    tag
}

fn plain(epoch: u64, key: &Key, header: &Header, payload: &[u8]) -> [u8; 16] {
    // Two calls at once are quicker than one in pieces, and every bit of the first decides about all of the second.
    let mut first = [0; TAG_AT + 32];
    first[..TAG_AT].copy_from_slice(&header.0[..TAG_AT]);
    first[TAG_AT..].copy_from_slice(key);
    let seed = twox_hash::XxHash3_64::oneshot_with_seed(epoch, &first);
    twox_hash::XxHash3_128::oneshot_with_seed(seed, payload).to_le_bytes()
}

impl std::fmt::Debug for Seal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Seal") // The key is as good as the secret.
    }
}

fn of_key(key: &Key) -> &[u8] {
    &key[20..28]
}

/// In the same time wherever they differ, as whoever guesses tags must not learn how near a guess was: that is how hashes of
/// BLAKE3 are compared.
fn same(one: [u8; 16], other: [u8; 16]) -> bool {
    let hash = |tag: [u8; 16]| {
        let mut bytes = [0; 32];
        bytes[..16].copy_from_slice(&tag);
        blake3::Hash::from(bytes)
    };
    hash(one) == hash(other)
}

/// The payload as an LZ4 block, if that saves an eighth.
fn compressed(payload: &[u8]) -> Option<Vec<u8>> {
    if payload.len() < COMPRESSED_FROM {
        return None;
    }
    let block = lz4_flex::block::compress(payload);
    (block.len() <= payload.len() - payload.len() / 8).then_some(block)
}

fn decompressed(block: &[u8], raw: usize) -> Option<Vec<u8>> {
    if raw > LARGEST || raw / LZ4_RATIO > block.len() {
        return None;
    }
    let payload = lz4_flex::block::decompress(block, raw).ok()?;
    (payload.len() == raw).then_some(payload)
}

/// What a header says of its generation; `None` if it is none of this version. Nothing has been checked.
#[must_use]
pub fn generation_of(header: &[u8]) -> Option<u64> {
    Some(Header::read(header)?.head().generation)
}

/// The first 64 bytes.
#[derive(Clone, Copy)]
struct Header([u8; HEADER]);

impl Header {
    /// With everything but what is known after encoding.
    fn of(key: &Key, head: Head) -> Self {
        let mut header = Header([0; HEADER]);
        header.0[..2].copy_from_slice(&MAGIC);
        header.0[2] = VERSION;
        header.put(16, head.generation);
        header.put(24, head.started);
        header.put(32, head.deadline);
        header.0[KEY_AT..TAG_AT].copy_from_slice(of_key(key));
        header
    }

    /// Of an entry of this version, with flags that this version knows.
    fn read(bytes: &[u8]) -> Option<Self> {
        let header = Header(*bytes.first_chunk()?);
        let known = header.0[..2] == MAGIC
            && header.0[2] == VERSION
            && header.flags() & !LZ4 == 0
            && header.0[5..8] == [0; 3];
        known.then_some(header)
    }

    fn put(&mut self, at: usize, number: u64) {
        self.0[at..at + 8].copy_from_slice(&number.to_le_bytes());
    }

    fn number(&self, at: usize) -> u64 {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&self.0[at..at + 8]);
        u64::from_le_bytes(bytes)
    }

    fn set_codec(&mut self, codec: u8) {
        self.0[3] = codec;
    }

    fn set_flags(&mut self, flags: u8) {
        self.0[4] = flags;
    }

    fn flags(&self) -> u8 {
        self.0[4]
    }

    /// Both are at most `LARGEST`.
    fn set_lengths(&mut self, stored: usize, raw: usize) {
        self.put(8, stored as u64 | (raw as u64) << 32);
    }

    fn stored(&self) -> usize {
        self.number(8) as u32 as usize
    }

    fn raw(&self) -> usize {
        (self.number(8) >> 32) as usize
    }

    fn head(&self) -> Head {
        Head {
            generation: self.number(16),
            started: self.number(24),
            deadline: self.number(32),
        }
    }

    fn of_key(&self) -> &[u8] {
        &self.0[KEY_AT..TAG_AT]
    }

    fn set_tag(&mut self, tag: [u8; 16]) {
        self.0[TAG_AT..].copy_from_slice(&tag);
    }

    fn tag(&self) -> [u8; 16] {
        let mut tag = [0; 16];
        tag.copy_from_slice(&self.0[TAG_AT..]);
        tag
    }
}
