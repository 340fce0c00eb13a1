//! The key of a store: 32 bytes, from the text that every tier knows a key by. So whoever has the text only finds what a function stored.

use crate::key::v1::Digest;

/// Keys of texts that are not v1's: hashed apart from everything else.
const TEXT: &[u8; 32] = b"quickcache store, key by text, 1";

/// A key in a store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StoreKey([u8; 32]);

impl StoreKey {
    /// Of a key of scheme v1: what its text says, 20 bytes, and zeros.
    #[must_use]
    pub fn of_digest(digest: &Digest) -> Self {
        Self::of_v1(digest.in_text())
    }

    fn of_v1(in_text: &[u8; 20]) -> Self {
        let mut key = [0; 32];
        key[..20].copy_from_slice(in_text);
        StoreKey(key)
    }

    /// Of any text key, one of scheme v1 included.
    #[must_use]
    pub fn of_text(text: &str) -> Self {
        match Digest::parse_text(text) {
            Some(in_text) => Self::of_v1(&in_text),
            None => StoreKey(blake3::keyed_hash(TEXT, text.as_bytes()).into()),
        }
    }

    /// The key in a store beside the store: where another number is given nothing of this one is found. For tests.
    #[must_use]
    pub fn beside(mut self, number: u64) -> Self {
        for (byte, of) in self.0.iter_mut().zip(number.to_le_bytes()) {
            *byte ^= of;
        }
        self
    }

    /// What names its function in the table: of a key of scheme seed all before its slash, what a tier puts in front included, which may
    /// have slashes of its own; of any other, nothing.
    #[must_use]
    pub fn function_of_text(text: &str) -> &[u8] {
        match text.rsplit_once('/') {
            Some((prefix, _)) if prefix.contains("quickcache.") => prefix.as_bytes(),
            _ => b"",
        }
    }

    /// Of what [`bytes`](StoreKey::bytes) gave.
    #[must_use]
    pub fn of_bytes(bytes: [u8; 32]) -> Self {
        StoreKey(bytes)
    }

    /// All of it.
    #[must_use]
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}
