//! Days and times of the standard library and, behind features, of `chrono`, `jiff` and `time`.
//!
//! What is kept is the number that both text schemes print, so that typed keys are equal when the texts are: aware
//! times by their instant, whatever their zone.

use std::hash::Hasher;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::KeyPart;
use crate::key::Value;

/// Parts that one number tells apart.
macro_rules! by_number {
    ($($(#[$feature:meta])* {$($generics:tt)*} $type:ty: $number:ty = |$part:ident| $read:expr, |$of:ident| $value:expr;)*) => {$(
        $(#[$feature])*
        impl<$($generics)*> KeyPart for $type {
            type Owned = $number;
            #[inline]
            fn hash_part<H: Hasher>(&self, state: &mut H) {
                std::hash::Hash::hash(&self.to_owned_part(), state);
            }
            #[inline]
            fn eq_owned(&self, owned: &$number) -> bool {
                self.to_owned_part() == *owned
            }
            #[inline]
            fn to_owned_part(&self) -> $number {
                let $part = self;
                $read
            }
            fn value(&self) -> Value<'_> {
                let $of = self.to_owned_part();
                $value
            }
        }
    )*};
}

by_number! {
    {} Duration: u128 = |part| part.as_nanos(), |nanos| Value::TimeDelta(nanos as i128);
    {} SystemTime: i128 = |part| unix_nanos(*part), |nanos| instant(nanos);
}

fn unix_nanos(time: SystemTime) -> i128 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => after.as_nanos() as i128,
        Err(before) => -(before.duration().as_nanos() as i128),
    }
}

fn instant(nanos: i128) -> Value<'static> {
    Value::DateTime(crate::key::DateTime::from_unix_nanos(nanos))
}

#[cfg(any(feature = "chrono", feature = "jiff", feature = "time"))]
fn local(nanos: i128) -> Value<'static> {
    Value::DateTime(crate::key::DateTime::from_local_nanos(nanos))
}

#[cfg(any(feature = "chrono", feature = "jiff", feature = "time"))]
fn clock(nanos: u64) -> Value<'static> {
    Value::Time(crate::key::Time::from_nanos(nanos))
}

#[cfg(any(feature = "chrono", feature = "jiff", feature = "time"))]
fn day(days: i64) -> Value<'static> {
    Value::Date(crate::key::Date::from_days(days))
}

#[cfg(any(feature = "chrono", feature = "jiff", feature = "time"))]
const fn nanos(seconds: i64, nanos: i64) -> i128 {
    seconds as i128 * 1_000_000_000 + nanos as i128
}

#[cfg(feature = "chrono")]
mod chrono_parts {
    use chrono::{
        DateTime, Datelike, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta, TimeZone, Timelike,
    };

    use super::*;

    /// Days from year 1 (of `num_days_from_ce`, where 0001-01-01 is 1) to 1970.
    const EPOCH_FROM_CE: i64 = 719_163;

    // A leap second has more than 1e9 nanoseconds in it, and is counted as a part of the next second.
    by_number! {
        {} NaiveDate: i64 = |part| i64::from(part.num_days_from_ce()) - EPOCH_FROM_CE, |days| day(days);
        {} NaiveTime: u64 = |part| u64::from(part.num_seconds_from_midnight()) * 1_000_000_000 + u64::from(part.nanosecond()), |n| clock(n);
        {} NaiveDateTime: i128 = |part| nanos(part.and_utc().timestamp(), part.and_utc().timestamp_subsec_nanos().into()), |n| local(n);
        {Tz: TimeZone} DateTime<Tz>: i128 = |part| nanos(part.timestamp(), part.timestamp_subsec_nanos().into()), |n| instant(n);
        {} TimeDelta: i128 = |part| nanos(part.num_seconds(), part.subsec_nanos().into()), |n| Value::TimeDelta(n);
    }
}

#[cfg(feature = "jiff")]
mod jiff_parts {
    use jiff::civil::{Date, DateTime, Time};
    use jiff::{SignedDuration, Timestamp, Zoned};

    use super::*;

    fn days(date: Date) -> i64 {
        crate::key::Date::from_ymd(
            date.year().into(),
            date.month().unsigned_abs(),
            date.day().unsigned_abs(),
        )
        .days()
    }

    fn nanos_of_day(time: Time) -> u64 {
        let seconds = i64::from(time.hour()) * 3_600
            + i64::from(time.minute()) * 60
            + i64::from(time.second());
        seconds.unsigned_abs() * 1_000_000_000 + u64::from(time.subsec_nanosecond().unsigned_abs())
    }

    by_number! {
        {} Date: i64 = |part| days(*part), |n| day(n);
        {} Time: u64 = |part| nanos_of_day(*part), |n| clock(n);
        {} DateTime: i128 = |part| nanos(days(part.date()) * 86_400, 0) + i128::from(nanos_of_day(part.time())), |n| local(n);
        {} Timestamp: i128 = |part| part.as_nanosecond(), |n| instant(n);
        {} Zoned: i128 = |part| part.timestamp().as_nanosecond(), |n| instant(n);
        {} SignedDuration: i128 = |part| part.as_nanos(), |n| Value::TimeDelta(n);
    }
}

#[cfg(feature = "time")]
mod time_parts {
    use time::{Date, Duration, OffsetDateTime, PrimitiveDateTime, Time, UtcDateTime};

    use super::*;

    /// The Julian day of 1970-01-01.
    const EPOCH_JULIAN: i64 = 2_440_588;

    by_number! {
        {} Date: i64 = |part| i64::from(part.to_julian_day()) - EPOCH_JULIAN, |n| day(n);
        {} Time: u64 = |part| part.duration_since(Time::MIDNIGHT).whole_nanoseconds() as u64, |n| clock(n);
        {} PrimitiveDateTime: i128 = |part| part.assume_utc().unix_timestamp_nanos(), |n| local(n);
        {} OffsetDateTime: i128 = |part| part.unix_timestamp_nanos(), |n| instant(n);
        {} UtcDateTime: i128 = |part| part.unix_timestamp_nanos(), |n| instant(n);
        {} Duration: i128 = |part| part.whole_nanoseconds(), |n| Value::TimeDelta(n);
    }
}
