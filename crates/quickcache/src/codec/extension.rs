//! The extension types of the typed codec: what Python has and plain MessagePack has not. Their bytes are told in
//! `docs/entry.md`; Python writes and reads them (`python/src/codec`), Rust reads those that a Rust type has a form for.

pub const INT: i8 = 1;
pub const TUPLE: i8 = 2;
pub const SET: i8 = 3;
pub const FROZENSET: i8 = 4;
pub const DATETIME: i8 = 5;
pub const DATE: i8 = 6;
pub const TIME: i8 = 7;
pub const TIMEDELTA: i8 = 8;
pub const DECIMAL: i8 = 9;
pub const UUID: i8 = 10;
pub const DATACLASS: i8 = 11;

/// Of what follows the reading of a clock.
pub mod zone {
    pub const UTC: u8 = 1;
    pub const OFFSET: u8 = 2;
    pub const NAMED_OFFSET: u8 = 3;
    pub const KEY: u8 = 4;
}

/// How deep values may lie in each other.
pub const DEEPEST: u32 = 64;

#[cfg(feature = "messagepack")]
pub(super) use reading::plain;

#[cfg(feature = "messagepack")]
mod reading {
    use super::{
        DATACLASS, DATE, DATETIME, DECIMAL, DEEPEST, FROZENSET, INT, SET, TIME, TIMEDELTA, TUPLE,
        UUID, zone,
    };
    use rmp::{Marker, encode};

    /// A value without extension types, in the forms that the types of Rust have under serde; `None` if there is none in it, or
    /// one that has no such form.
    pub(in super::super) fn plain(bytes: &[u8]) -> Option<Vec<u8>> {
        let mut reader = Reader {
            rest: bytes,
            out: Vec::with_capacity(bytes.len()),
            depth: 0,
            found: false,
        };
        reader.value()?;
        (reader.rest.is_empty() && reader.found).then_some(reader.out)
    }

    struct Reader<'a> {
        rest: &'a [u8],
        out: Vec<u8>,
        depth: u32,
        found: bool,
    }

    impl<'a> Reader<'a> {
        fn take(&mut self, count: usize) -> Option<&'a [u8]> {
            let (taken, rest) = self.rest.split_at_checked(count)?;
            self.rest = rest;
            Some(taken)
        }

        fn copy(&mut self, count: usize) -> Option<()> {
            let taken = self.take(count)?;
            self.out.extend_from_slice(taken);
            Some(())
        }

        /// A length of so many bytes, behind the byte at which `rest` stands. All that has a length takes as many bytes at least.
        fn length(&self, bytes: usize) -> Option<usize> {
            let digits = self.rest.get(1..=bytes)?;
            let length = digits.iter().fold(0, |n, byte| n << 8 | usize::from(*byte));
            (length <= self.rest.len()).then_some(length)
        }

        fn values(&mut self, header: usize, count: usize) -> Option<()> {
            self.copy(header)?;
            self.depth += 1;
            if self.depth > DEEPEST {
                return None;
            }
            for _ in 0..count {
                self.value()?;
            }
            self.depth -= 1;
            Some(())
        }

        fn value(&mut self) -> Option<()> {
            match Marker::from_u8(*self.rest.first()?) {
                Marker::FixPos(_)
                | Marker::FixNeg(_)
                | Marker::Null
                | Marker::True
                | Marker::False => self.copy(1),
                Marker::U8 | Marker::I8 => self.copy(2),
                Marker::U16 | Marker::I16 => self.copy(3),
                Marker::U32 | Marker::I32 | Marker::F32 => self.copy(5),
                Marker::U64 | Marker::I64 | Marker::F64 => self.copy(9),
                Marker::FixStr(length) => self.copy(1 + usize::from(length)),
                Marker::Str8 | Marker::Bin8 => self.copy(2 + self.length(1)?),
                Marker::Str16 | Marker::Bin16 => self.copy(3 + self.length(2)?),
                Marker::Str32 | Marker::Bin32 => self.copy(5 + self.length(4)?),
                Marker::FixArray(count) => self.values(1, usize::from(count)),
                Marker::Array16 => self.values(3, self.length(2)?),
                Marker::Array32 => self.values(5, self.length(4)?),
                Marker::FixMap(count) => self.values(1, 2 * usize::from(count)),
                Marker::Map16 => self.values(3, 2 * self.length(2)?),
                Marker::Map32 => self.values(5, 2 * self.length(4)?),
                Marker::FixExt1 => self.extension(1, 1),
                Marker::FixExt2 => self.extension(1, 2),
                Marker::FixExt4 => self.extension(1, 4),
                Marker::FixExt8 => self.extension(1, 8),
                Marker::FixExt16 => self.extension(1, 16),
                Marker::Ext8 => self.extension(2, self.length(1)?),
                Marker::Ext16 => self.extension(3, self.length(2)?),
                Marker::Ext32 => self.extension(5, self.length(4)?),
                Marker::Reserved => None,
            }
        }

        fn extension(&mut self, header: usize, length: usize) -> Option<()> {
            self.found = true;
            self.take(header)?;
            let kind = self.take(1)?[0] as i8;
            let body = self.take(length)?;
            match kind {
                TUPLE | SET | FROZENSET => self.inside(body),
                DATACLASS => {
                    let mut name = Reader {
                        rest: body,
                        out: Vec::new(),
                        depth: DEEPEST,
                        found: false,
                    };
                    name.value()?;
                    self.inside(name.rest)
                }
                INT => self.bytes(&sixteen(body)?),
                UUID => self.bytes(body.get(..16)?),
                DECIMAL => self.text(std::str::from_utf8(body).ok()?),
                DATE => self.text(&date(body)?),
                TIME if body.len() == 8 => self.text(&time(body)?),
                DATETIME => {
                    let (when, at) = body.split_at_checked(12)?;
                    let (day, clock) = when.split_at(4);
                    let text = format!("{}T{}{}", date(day)?, time(clock)?, offset(at)?);
                    self.text(&text)
                }
                TIMEDELTA => self.timedelta(body),
                _ => None,
            }
        }

        /// One array or map that is all of the body. (Only they count as depth, and an extension must not be the body of another.)
        fn inside(&mut self, body: &'a [u8]) -> Option<()> {
            let known = matches!(
                Marker::from_u8(*body.first()?),
                Marker::FixArray(_)
                    | Marker::Array16
                    | Marker::Array32
                    | Marker::FixMap(_)
                    | Marker::Map16
                    | Marker::Map32
            );
            let behind = std::mem::replace(&mut self.rest, body);
            known.then(|| self.value())??;
            self.rest.is_empty().then(|| self.rest = behind)
        }

        fn bytes(&mut self, bytes: &[u8]) -> Option<()> {
            encode::write_bin(&mut self.out, bytes).ok()
        }

        fn text(&mut self, text: &str) -> Option<()> {
            encode::write_str(&mut self.out, text).ok()
        }

        /// Seconds and nanoseconds: `std::time::Duration` and `chrono::TimeDelta`.
        fn timedelta(&mut self, body: &[u8]) -> Option<()> {
            let days = i32::from_be_bytes(*body.first_chunk()?);
            let seconds = u32::from_be_bytes(body.get(4..8)?.try_into().ok()?);
            let micros = u32::from_be_bytes(body.get(8..)?.try_into().ok()?);
            encode::write_array_len(&mut self.out, 2).ok()?;
            let seconds = i64::from(days) * 86_400 + i64::from(seconds);
            encode::write_sint(&mut self.out, seconds).ok()?;
            encode::write_uint(&mut self.out, u64::from(micros) * 1000).ok()?;
            Some(())
        }
    }

    /// An `i128`, as serde's MessagePack has it.
    fn sixteen(body: &[u8]) -> Option<[u8; 16]> {
        let sign = if *body.first()? < 128 { 0 } else { 255 };
        let mut bytes = [sign; 16];
        bytes
            .get_mut(16_usize.checked_sub(body.len())?..)?
            .copy_from_slice(body);
        Some(bytes)
    }

    fn date(body: &[u8]) -> Option<String> {
        let [high, low, month, day] = *body else {
            return None;
        };
        let year = u16::from_be_bytes([high, low]);
        Some(format!("{year:04}-{month:02}-{day:02}"))
    }

    fn time(body: &[u8]) -> Option<String> {
        let [hour, minute, second, _fold, micros @ ..] = *body.first_chunk::<8>()?;
        let micros = u32::from_be_bytes(micros);
        Some(format!("{hour:02}:{minute:02}:{second:02}.{micros:06}"))
    }

    /// What RFC 3339 has behind the time: nothing of a naive one.
    fn offset(body: &[u8]) -> Option<String> {
        let (kind, of_kind) = match body {
            [] => return Some(String::new()),
            [kind, of_kind @ ..] => (*kind, of_kind),
        };
        let micros = match kind {
            zone::UTC => 0,
            zone::OFFSET | zone::NAMED_OFFSET => i64::from_be_bytes(*of_kind.first_chunk()?),
            _ => return None,
        };
        const MINUTE: i64 = 60_000_000;
        let minutes = micros / MINUTE;
        let sign = if micros < 0 { '-' } else { '+' };
        (micros % MINUTE == 0).then(|| {
            let minutes = minutes.abs();
            format!("{sign}{:02}:{:02}", minutes / 60, minutes % 60)
        })
    }
}
