//! What is under a key in Redis: a lease, or a value. Bytes at fixed places, so that the scripts can compare and change them.
//!
//! ```text
//!  0    1         17         33        49     50
//!  ┌────┬─────────┬──────────┬─────────┬──────┬────────────────┐
//!  │kind│ fence   │ function │ token   │ flag │ entry…         │
//!  └────┴─────────┴──────────┴─────────┴──────┴────────────────┘
//! ```
//!
//! A value that is kept beyond its deadline, for calls whose function fails, has two numbers more before the entry, each in twelve digits:
//!
//! ```text
//!  0                                       50     62      74
//!  ┌────┬─────────┬──────────┬─────────┬──────┬──────┬───────┬────────┐
//!  │ P  │ fence   │ function │ token   │ flag │ past │ until │ entry… │
//!  └────┴─────────┴──────────┴─────────┴──────┴──────┴───────┴────────┘
//! ```
//!
//! Kind: `L`, somebody computes the value and has the token; or `V`, the entry (`docs/entry.md`) follows. Fence: which life of which server
//! wrote it. Function: what the function's own key held, a random number that clearing the function takes away. Fence and function are the
//! *era*: a record of another era is nobody's. Token: random; in a value it is zeros until somebody takes the key over to store
//! another one. Flag: `w` when somebody waits for the lease to end.
//!
//! Past and until are milliseconds of what PTTL says is left of the key's life, which is a clock that every client reads alike. With no more
//! than *past* left the value is stale. Then it is no hit, whoever reads it, and a lease lies in its token: it has ended when no more
//! than *until* is left, which is as much as past while there is none. So the life of a stale value is never touched, and no failure makes it longer.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use crate::clock::Millis;
use crate::tier::store;

/// Bytes before the entry.
pub const HEAD: usize = 50;
const PAST_HEAD: usize = 74;

/// The longest that a value is kept beyond its deadline: what twelve digits hold, 31 years.
pub const LONGEST_PAST: Millis = 999_999_999_999;

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
    /// The entry, and how long it is kept beyond its deadline.
    Value(&'a [u8], Millis),
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
            b'V' => Record::Value(entry, 0),
            b'P' => Record::past(bytes).unwrap_or(Record::Foreign),
            _ => Record::Foreign,
        }
    }

    fn past(bytes: &'a [u8]) -> Option<Self> {
        let (head, entry) = bytes.split_at_checked(PAST_HEAD)?;
        let digits = std::str::from_utf8(&head[HEAD..HEAD + 12]).ok()?;
        Some(Record::Value(entry, digits.parse().ok()?))
    }
}

/// A record with a value.
pub struct Kept {
    record: Vec<u8>,
    /// Where the entry begins.
    at: usize,
    /// How long it is kept beyond its deadline.
    pub past: Duration,
}

impl Kept {
    /// Of a record that was read, if it counts in this era.
    pub fn of(record: Vec<u8>, era: &Era) -> Option<Kept> {
        match Record::read(&record, era) {
            Record::Value(entry, past) => Some(Kept {
                at: record.len() - entry.len(),
                past: Duration::from_millis(past),
                record,
            }),
            Record::Lease | Record::Foreign => None,
        }
    }

    pub fn entry(&self) -> &[u8] {
        &self.record[self.at..]
    }

    /// All of it.
    pub fn record(&self) -> &[u8] {
        &self.record
    }
}

/// The head that a store compares: era and token.
pub fn claim(era: &Era, token: Token) -> [u8; 48] {
    let mut claim = [0; 48];
    claim[..32].copy_from_slice(&era.bytes());
    claim[32..].copy_from_slice(&token.0);
    claim
}

/// A whole record with a value, which is kept so long beyond its deadline.
pub fn value(era: &Era, entry: &[u8], past: Millis) -> Vec<u8> {
    let mut record = Vec::with_capacity(PAST_HEAD + entry.len());
    record.push(if past == 0 { b'V' } else { b'P' });
    record.extend(claim(era, Token::NONE));
    record.push(b'-');
    if past > 0 {
        record.extend(format!("{past:012}{past:012}").into_bytes());
    }
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
        let record = value(&ERA, b"entry", 0);
        assert_eq!(Record::read(&record, &ERA), Record::Value(b"entry", 0));
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

    #[test]
    fn a_record_says_how_long_its_value_is_kept_beyond_its_deadline() {
        for past in [1, 90_000, LONGEST_PAST] {
            let record = value(&ERA, b"entry", past);
            assert_eq!(Record::read(&record, &ERA), Record::Value(b"entry", past));
            let mut damaged = record.clone();
            damaged[HEAD] = b'x';
            assert_eq!(Record::read(&damaged, &ERA), Record::Foreign);
            assert_eq!(
                Record::read(&record[..PAST_HEAD - 1], &ERA),
                Record::Foreign
            );
        }
    }
}
