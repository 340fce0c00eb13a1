//! Entries on the wire: what was written is read, and nothing else is (P10).

use proptest::prelude::*;
use quickcache::entry::{Entry, HEADER, Head, Key, LARGEST, Rejected, Seal, Unwritten};

const KEY: Key = [7; 32];
const NOW: u64 = 1_000;
const HEAD: Head = Head {
    generation: 3,
    started: 900,
    deadline: 2_000,
};

fn seals() -> [Seal; 2] {
    [Seal::keyed(b"secret"), Seal::plain(77)]
}

const CODEC: u8 = 5;

fn append(payload: &[u8]) -> impl FnOnce(&mut Vec<u8>) -> Result<u8, &'static str> {
    |bytes| {
        bytes.extend_from_slice(payload);
        Ok(CODEC)
    }
}

fn write(seal: &Seal, payload: &[u8]) -> Vec<u8> {
    seal.write(&KEY, HEAD, append(payload)).unwrap()
}

/// Small, empty, and one that is compressed.
fn payloads() -> [Vec<u8>; 3] {
    [b"payload".to_vec(), Vec::new(), b"again and ".repeat(800)]
}

/// Bytes that no compression makes shorter.
fn noise(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"noise").finalize_xof().fill(&mut bytes);
    bytes
}

fn rejected(read: Result<Entry<'_>, Rejected>) -> Option<Rejected> {
    read.err()
}

#[test]
fn what_was_written_is_read() {
    for seal in seals() {
        for payload in payloads() {
            let bytes = write(&seal, &payload);
            let entry = seal.read(&KEY, NOW, &bytes).unwrap();
            assert_eq!(
                (entry.head, entry.codec, &*entry.payload),
                (HEAD, CODEC, &*payload)
            );
        }
    }
}

#[test]
fn an_entry_may_be_written_behind_others_and_followed_by_others() {
    for seal in seals() {
        for payload in payloads() {
            let mut bytes = b"before".to_vec();
            seal.write_into(&mut bytes, &KEY, HEAD, append(&payload))
                .unwrap();
            bytes.extend_from_slice(b"behind");
            let entry = seal.read(&KEY, NOW, &bytes[6..]).unwrap();
            assert_eq!(*entry.payload, *payload);
        }
    }
}

#[test]
fn p10_a_flipped_bit_or_a_cut_anywhere_is_a_miss() {
    for seal in seals() {
        for payload in payloads() {
            let entry = write(&seal, &payload);
            for at in 0..entry.len() {
                for bit in 0..8 {
                    let mut damaged = entry.clone();
                    damaged[at] ^= 1 << bit;
                    let why = rejected(seal.read(&KEY, NOW, &damaged));
                    let (damaged, foreign) = (Some(Rejected::Damaged), Some(Rejected::Foreign));
                    assert!(
                        why == damaged || why == foreign,
                        "byte {at}, bit {bit}: {why:?}"
                    );
                }
                assert!(seal.read(&KEY, NOW, &entry[..at]).is_err(), "cut at {at}");
            }
        }
    }
}

#[test]
fn p10_an_entry_of_another_key_is_a_miss_whatever_byte_of_it_differs() {
    for seal in seals() {
        let entry = write(&seal, b"payload");
        for at in 0..32 {
            let mut other = KEY;
            other[at] ^= 1;
            let expected = match at {
                20..28 => Rejected::Foreign,
                _ => Rejected::Damaged,
            };
            assert_eq!(
                rejected(seal.read(&other, NOW, &entry)),
                Some(expected),
                "{at}"
            );
        }
    }
}

#[test]
fn p10_an_entry_of_another_secret_epoch_or_tag_is_a_miss() {
    let writers = [
        Seal::keyed(b"secret"),
        Seal::keyed(b""),
        Seal::plain(0),
        Seal::plain(77),
    ];
    for (one, writer) in writers.iter().enumerate() {
        for (two, reader) in writers.iter().enumerate() {
            let bytes = write(writer, b"payload");
            let read = rejected(reader.read(&KEY, NOW, &bytes));
            assert_eq!(
                read,
                (one != two).then_some(Rejected::Damaged),
                "{one}, {two}"
            );
        }
    }
}

#[test]
fn p6_an_entry_is_a_miss_from_its_deadline_on() {
    for seal in seals() {
        let entry = write(&seal, b"payload");
        assert!(seal.read(&KEY, HEAD.deadline - 1, &entry).is_ok());
        for late in [HEAD.deadline, u64::MAX] {
            assert_eq!(
                rejected(seal.read(&KEY, late, &entry)),
                Some(Rejected::Expired)
            );
        }
    }
}

#[test]
fn an_entry_of_another_codec_is_told_from_a_damaged_one() {
    let seal = Seal::keyed(b"");
    let bytes = write(&seal, b"payload");
    let entry = || seal.read(&KEY, NOW, &bytes).unwrap();
    assert_eq!(*entry().of_codec(CODEC).unwrap().payload, *b"payload");
    assert_eq!(
        rejected(entry().of_codec(CODEC + 1)),
        Some(Rejected::OtherCodec)
    );
}

#[test]
fn p10_version_1_a_later_version_and_unknown_flags_are_a_miss() {
    for seal in seals() {
        for (at, value) in [
            (2, 1),
            (2, 3),
            (4, 2),
            (4, 128),
            (4, 3),
            (5, 1),
            (6, 1),
            (7, 1),
        ] {
            let mut bytes = write(&seal, b"payload");
            bytes[at] = value;
            assert_eq!(
                rejected(seal.read(&KEY, NOW, &bytes)),
                Some(Rejected::Foreign)
            );
        }
    }
}

/// The entry with other lengths, flags and payload, and a tag that is right: whoever has the secret can make one.
fn forged(flags: u8, raw: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = write(&Seal::keyed(b"secret"), b"");
    bytes[4] = flags;
    bytes[8..12].copy_from_slice(&(payload.len() as u32).to_le_bytes());
    bytes[12..16].copy_from_slice(&raw.to_le_bytes());
    let secret = blake3::derive_key("quickcache entry v2", b"secret");
    let mut hasher = blake3::Hasher::new_keyed(&secret);
    hasher.update(&KEY).update(&bytes[..48]).update(payload);
    let tag = hasher.finalize();
    bytes[48..].copy_from_slice(&tag.as_bytes()[..16]);
    bytes.extend_from_slice(payload);
    bytes
}

#[test]
fn p10_a_raw_length_that_lies_is_a_miss() {
    let seal = Seal::keyed(b"secret");
    let text = vec![b'a'; 5_000];
    let block = lz4_flex::block::compress(&text);
    assert_eq!(
        *seal
            .read(&KEY, NOW, &forged(1, 5_000, &block))
            .unwrap()
            .payload,
        *text
    );
    let lies = [
        (1, 4_999, &block),
        (1, 5_001, &block),
        (1, 0, &block),
        (1, u32::MAX, &block),
        (0, 4_999, &text),
        (0, 5_001, &text),
        (1, 5_000, &text),
    ];
    for (flags, raw, payload) in lies {
        let bytes = forged(flags, raw, payload);
        let why = rejected(seal.read(&KEY, NOW, &bytes));
        assert_eq!(why, Some(Rejected::Damaged), "{flags}, {raw}");
    }
    // A block that does fill what it says: only the limit is against it.
    let block = lz4_flex::block::compress(&vec![0; LARGEST + 1]);
    let bomb = forged(1, LARGEST as u32 + 1, &block);
    let why = rejected(seal.read(&KEY, NOW, &bomb));
    assert_eq!(why, Some(Rejected::Damaged));
}

#[test]
fn a_value_is_compressed_if_it_is_large_and_that_saves_an_eighth() {
    for seal in seals() {
        let flags = |payload: &[u8]| {
            let bytes = write(&seal, payload);
            (bytes[4], bytes.len() - HEADER)
        };
        assert_eq!(flags(&[b'a'; 4_095]), (0, 4_095));
        assert_eq!(flags(&noise(10_000)), (0, 10_000));
        // Seven parts noise and one that vanishes: not quite, and just about.
        let mixed = |noisy: usize| [noise(noisy), vec![0; 10_000 - noisy]].concat();
        assert_eq!(flags(&mixed(8_800)), (0, 10_000));
        let (flag, length) = flags(&mixed(8_500));
        assert!(flag == 1 && length <= 8_750, "{length}");
    }
}

#[test]
fn a_value_that_cannot_be_written_leaves_the_buffer_as_it_was() {
    let seal = Seal::plain(1);
    let mut bytes = b"before".to_vec();
    let mut failed = |encode: fn(&mut Vec<u8>) -> Result<u8, &'static str>| {
        let failed = seal.write_into(&mut bytes, &KEY, HEAD, encode).unwrap_err();
        assert_eq!(bytes, b"before");
        failed
    };
    let error = failed(|bytes| {
        bytes.push(1);
        Err("no")
    });
    assert_eq!(error, Unwritten::Codec("no"));
    let error = failed(|bytes| {
        bytes.resize(bytes.len() + LARGEST + 1, 0);
        Ok(CODEC)
    });
    assert_eq!(error, Unwritten::TooLarge { bytes: LARGEST + 1 });
    let largest = seal.write(&KEY, HEAD, append(&vec![0; LARGEST])).unwrap();
    assert_eq!(
        seal.read(&KEY, NOW, &largest).unwrap().payload.len(),
        LARGEST
    );
}

#[test]
fn a_codec_that_does_more_than_append_has_no_entry() {
    let clears = |bytes: &mut Vec<u8>| {
        bytes.clear();
        bytes.resize(200, 9);
        Ok::<u8, ()>(CODEC)
    };
    let shortens = |bytes: &mut Vec<u8>| {
        bytes.clear();
        Ok::<u8, ()>(CODEC)
    };
    let seal = Seal::keyed(b"");
    assert_eq!(seal.write(&KEY, HEAD, clears), Err(Unwritten::NotAppended));
    assert_eq!(
        seal.write(&KEY, HEAD, shortens),
        Err(Unwritten::NotAppended)
    );
}

fn heads() -> impl Strategy<Value = Head> {
    (any::<u64>(), any::<u64>(), 1..=u64::MAX).prop_map(|(generation, started, deadline)| Head {
        generation,
        started,
        deadline,
    })
}

/// Noise, runs, and both.
fn any_payload() -> impl Strategy<Value = Vec<u8>> {
    let noise = proptest::collection::vec(any::<u8>(), 0..600);
    (noise, 1..40_usize).prop_map(|(bytes, times)| bytes.repeat(times))
}

fn any_seal() -> impl Strategy<Value = Seal> {
    prop_oneof![
        any::<Vec<u8>>().prop_map(|secret| Seal::keyed(&secret)),
        any::<u64>().prop_map(Seal::plain),
    ]
}

proptest! {
    #[test]
    fn any_entry_comes_back(seal in any_seal(), key in any::<Key>(), head in heads(), payload in any_payload()) {
        let bytes = seal.write(&key, head, append(&payload)).unwrap();
        let entry = seal.read(&key, head.deadline - 1, &bytes).unwrap();
        prop_assert_eq!(entry.head, head);
        prop_assert_eq!(&*entry.payload, &*payload);
        prop_assert!(bytes.len() <= HEADER + payload.len());
    }

    #[test]
    fn p10_random_bytes_are_a_miss(seal in any_seal(), mut bytes in proptest::collection::vec(any::<u8>(), 0..300), headed in any::<bool>()) {
        if headed && bytes.len() > HEADER {
            // Past the first checks.
            bytes[..3].copy_from_slice(b"qc\x02");
            bytes[4] &= 1;
            bytes[5..8].fill(0);
            bytes[9..12].fill(0);
            bytes[40..48].copy_from_slice(&KEY[20..28]);
        }
        prop_assert!(seal.read(&KEY, 0, &bytes).is_err());
    }

    /// With a tag that is right, so that what is behind it is reached.
    #[test]
    fn p10_random_payloads_and_lengths_do_not_panic(flags in 0..4_u8, raw in prop_oneof![0..20_000_u32, any::<u32>()], payload in any_payload()) {
        let bytes = forged(flags, raw, &payload);
        if let Ok(entry) = Seal::keyed(b"secret").read(&KEY, NOW, &bytes) {
            prop_assert_eq!(entry.payload.len(), raw as usize);
        }
    }
}
