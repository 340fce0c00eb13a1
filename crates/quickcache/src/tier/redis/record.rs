//! What is under a key in Redis: a lease, or a value. Bytes at fixed places, so that the scripts can compare and change them.
//!
//! ```text
//!  0    1         17         33        49     50
//!  ┌────┬─────────┬──────────┬─────────┬──────┬────────────────┐
//!  │kind│ fence   │ function │ token   │ flag │ entry…         │
//!  └────┴─────────┴──────────┴─────────┴──────┴────────────────┘
//! ```
//!
//! Kind: `L`, somebody computes the value and has the token; or `V`, the entry (`docs/entry.md`) follows. Fence: which life of which server
//! wrote it. Function: what the function's own key held, a random number that clearing the function takes away. Fence and function are the
//! *era*: a record of another era is nobody's. Token: random; in a value it is zeros until somebody takes the key over to store
//! another one. Flag: `w` when somebody waits for the lease to end.

use std::hash::{BuildHasher, RandomState};

use crate::tier::store;

/// Bytes before the entry.
pub const HEAD: usize = 50;

/// Which life of which server: a hash of its `run_id` and its `master_replid`.
pub type Fence = [u8; 16];

/// What names a key of 32 bytes in Redis.
pub fn first(key: &[u8; 32]) -> &[u8; 20] {
    key.first_chunk().expect("20 of 32 bytes")
}

/// What a function's own key holds.
pub type FunctionToken = [u8; 16];

/// A number that nobody else comes upon. (From the system: what a process keeps its own in is the same in every child of a fork.)
pub fn random() -> u64 {
    store::random().unwrap_or_else(|_| RandomState::new().hash_one(crate::clock::boot()))
}

/// The right to store under a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Token(pub [u8; 16]);

impl Token {
    /// Nobody's: of a value that nobody is about to replace.
    pub const NONE: Token = Token([0; 16]);

    /// A new one.
    pub fn new() -> Token {
        loop {
            let mut token = [0; 16];
            token[..8].copy_from_slice(&random().to_le_bytes());
            token[8..].copy_from_slice(&random().to_le_bytes());
            if token != Token::NONE.0 {
                return Token(token);
            }
        }
    }
}

/// Under which a record counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Era {
    pub fence: Fence,
    pub function: FunctionToken,
}

impl Era {
    pub fn bytes(&self) -> [u8; 32] {
        let mut bytes = [0; 32];
        bytes[..16].copy_from_slice(&self.fence);
        bytes[16..].copy_from_slice(&self.function);
        bytes
    }
}

/// A record that was read.
#[derive(Debug, PartialEq, Eq)]
pub enum Record<'a> {
    /// Somebody computes the value.
    Lease,
    /// The entry.
    Value(&'a [u8]),
    /// Of another era, or nothing of ours: as if it were not there.
    Foreign,
}

impl<'a> Record<'a> {
    /// Reads one that counts in this era.
    pub fn read(bytes: &'a [u8], era: &Era) -> Record<'a> {
        let Some((head, entry)) = bytes.split_at_checked(HEAD) else {
            return Record::Foreign;
        };
        if head[1..33] != era.bytes() {
            return Record::Foreign;
        }
        match head[0] {
            b'L' => Record::Lease,
            b'V' => Record::Value(entry),
            _ => Record::Foreign,
        }
    }
}

/// The head that a store compares: era and token.
pub fn claim(era: &Era, token: Token) -> [u8; 48] {
    let mut claim = [0; 48];
    claim[..32].copy_from_slice(&era.bytes());
    claim[32..].copy_from_slice(&token.0);
    claim
}

/// A whole record with a value.
pub fn value(era: &Era, entry: &[u8]) -> Vec<u8> {
    let mut record = Vec::with_capacity(HEAD + entry.len());
    record.push(b'V');
    record.extend(claim(era, Token::NONE));
    record.push(b'-');
    record.extend(entry);
    record
}

#[cfg(test)]
mod tests {
    use super::*;

    const ERA: Era = Era {
        fence: [1; 16],
        function: [2; 16],
    };

    #[test]
    fn a_record_counts_in_its_own_era_only() {
        let record = value(&ERA, b"entry");
        assert_eq!(Record::read(&record, &ERA), Record::Value(b"entry"));
        for era in [
            Era {
                fence: [3; 16],
                ..ERA
            },
            Era {
                function: [3; 16],
                ..ERA
            },
        ] {
            assert_eq!(Record::read(&record, &era), Record::Foreign);
        }
        assert_eq!(Record::read(&record[..HEAD - 1], &ERA), Record::Foreign);
        assert_eq!(Record::read(b"", &ERA), Record::Foreign);
        let other = [b"X", &record[1..]].concat();
        assert_eq!(Record::read(&other, &ERA), Record::Foreign);
    }
}
