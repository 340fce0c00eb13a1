//! Records as bytes, and how they are found again among what a killed writer, a full disk or a fault has left.

use super::Record;

pub(super) const MAGIC: [u8; 8] = *b"qcjrnl-1";
/// In its place when all of a file was applied.
pub(super) const APPLIED: [u8; 8] = *b"qcjrnl-0";

const BODY: usize = 33;
pub(super) const RECORD: usize = BODY + 8;

impl Record {
    fn body(&self) -> [u8; BODY] {
        let (kind, of) = match self {
            Record::Key(key) => (b'K', key),
            Record::Function(function) => (b'F', function),
            Record::Everything => (b'E', &[0; 32]),
        };
        let mut body = [0; BODY];
        body[0] = kind;
        body[1..].copy_from_slice(of);
        body
    }

    pub(super) fn write(&self, to: &mut Vec<u8>) {
        let body = self.body();
        to.extend_from_slice(&body);
        to.extend_from_slice(&check(&body).to_le_bytes());
    }

    fn read(bytes: &[u8; RECORD]) -> Option<Record> {
        let kind = bytes[0];
        if !matches!(kind, b'K' | b'F' | b'E')
            || bytes[BODY..] != check(&bytes[..BODY]).to_le_bytes()
        {
            return None;
        }
        let of = bytes[1..BODY].try_into().expect("32 bytes");
        Some(match kind {
            b'K' => Record::Key(of),
            b'F' => Record::Function(of),
            _ => Record::Everything,
        })
    }

    /// Stands for it where 16 bytes have to do.
    pub(super) fn print(&self, seed: u64) -> u128 {
        twox_hash::XxHash3_128::oneshot_with_seed(seed, &self.body())
    }
}

fn check(body: &[u8]) -> u64 {
    twox_hash::XxHash3_64::oneshot(body)
}

/// Finds records in bytes that come piece by piece.
///
/// A record that was cut off is shorter than one; it was never promised to anybody, and is skipped. So many bytes in a row that are
/// none of any record may have been one that was. Every place is looked at, also within a record: one that was cut off may have been made
/// whole by the first bytes of the next, which is to be found nevertheless.
#[derive(Default)]
pub(super) struct Scan {
    /// How many bytes from here on are of a record that was found.
    covered: usize,
    /// Bytes in a row that are of none.
    skipped: usize,
    damaged: bool,
}

impl Scan {
    /// Gives how many of the bytes it is done with: the rest is to come again, with what follows.
    pub(super) fn read(&mut self, bytes: &[u8], mut found: impl FnMut(Record)) -> usize {
        let mut at = 0;
        while let Some(next) = bytes[at..].first_chunk() {
            if let Some(record) = Record::read(next) {
                found(record);
                self.covered = RECORD;
            }
            if self.covered > 0 {
                self.covered -= 1;
                self.skipped = 0;
            } else {
                self.skipped += 1;
                self.damaged |= self.skipped >= RECORD;
            }
            at += 1;
        }
        at
    }

    /// Whether a record may have been lost, if `rest` bytes follow at the end.
    pub(super) fn is_damaged(&self, rest: usize) -> bool {
        self.damaged || self.skipped + rest.saturating_sub(self.covered) >= RECORD
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn a_record() -> impl Strategy<Value = Record> {
        prop_oneof![
            8 => any::<[u8; 32]>().prop_map(Record::Key),
            1 => any::<[u8; 32]>().prop_map(Record::Function),
            1 => Just(Record::Everything),
        ]
    }

    fn written(records: &[Record]) -> Vec<u8> {
        let mut bytes = Vec::new();
        records.iter().for_each(|record| record.write(&mut bytes));
        bytes
    }

    /// What is found, in pieces of so many bytes, and whether it is damaged.
    fn scanned(bytes: &[u8], piece: usize) -> (Vec<Record>, bool) {
        let (mut scan, mut found) = (Scan::default(), Vec::new());
        let (mut done, mut end) = (0, 0);
        while end < bytes.len() {
            end = (end + piece).min(bytes.len());
            done += scan.read(&bytes[done..end], |record| found.push(record));
        }
        (found, scan.is_damaged(bytes.len() - done))
    }

    proptest! {
        /// Writers that were killed or found the disk full, at any byte, and others that went on after them.
        #[test]
        fn what_was_written_whole_is_found_around_what_was_cut_off(
            appends in prop::collection::vec((prop::collection::vec(a_record(), 1..4), any::<Option<prop::sample::Index>>()), 0..20),
            piece in 1_usize..200,
        ) {
            let (mut bytes, mut whole) = (Vec::new(), Vec::new());
            let (mut torn, mut in_a_row) = (0, false);
            for (records, cut) in appends {
                let append = written(&records);
                let length = cut.map_or(append.len(), |cut| cut.index(append.len()));
                bytes.extend_from_slice(&append[..length]);
                whole.extend_from_slice(&records[..length / RECORD]);
                if length >= RECORD {
                    torn = 0;
                }
                torn += length % RECORD;
                in_a_row |= torn >= RECORD;
            }
            let (found, damaged) = scanned(&bytes, piece);
            // Some that were cut off may be whole by chance.
            let mut found = found.iter();
            prop_assert!(whole.iter().all(|record| found.any(|found| found == record)));
            // Several that were cut off one after the other may be taken for a damaged one.
            prop_assert!(!damaged || in_a_row);
        }

        #[test]
        fn damage_anywhere_is_known_and_the_rest_is_found(
            records in prop::collection::vec(a_record(), 1..20),
            bits in prop::collection::vec(any::<prop::sample::Index>(), 1..4),
            piece in 1_usize..200,
        ) {
            let mut bytes = written(&records);
            let sound = bytes.clone();
            for bit in bits {
                let bit = bit.index(bytes.len() * 8);
                bytes[bit / 8] ^= 1 << (bit % 8);
            }
            let same = |at: usize| bytes[at * RECORD..][..RECORD] == sound[at * RECORD..][..RECORD];
            let left: Vec<_> = (0..records.len()).filter(|at| same(*at)).map(|at| records[at]).collect();
            let damaged = left.len() < records.len();
            prop_assert_eq!(scanned(&bytes, piece), (left, damaged));
        }

        #[test]
        fn a_record_that_makes_the_one_before_it_whole_is_found(key in any::<[u8; 32]>(), next in a_record()) {
            let whole = |n: u64| {
                let mut key = key;
                key[..8].copy_from_slice(&n.to_le_bytes());
                written(&[Record::Key(key)])
            };
            let next_bytes = written(&[next]);
            let before = (0..).map(whole).find(|before| before[RECORD - 1] == next_bytes[0]);
            let before = before.expect("one of 256");
            let (found, damaged) = scanned(&[&before[..RECORD - 1], &next_bytes].concat(), RECORD);
            prop_assert!(found.last() == Some(&next) && !damaged);
        }

        #[test]
        fn random_bytes_are_damage(bytes in prop::collection::vec(any::<u8>(), RECORD..1000), piece in 1_usize..200) {
            prop_assert_eq!(scanned(&bytes, piece), (Vec::new(), true));
        }
    }
}
