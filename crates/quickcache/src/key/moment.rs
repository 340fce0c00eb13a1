//! Days and times as key values. Only what a key needs: no arithmetic, no time zones, the proleptic Gregorian calendar.

use std::fmt::Write;

const NANOS_PER_SECOND: i128 = 1_000_000_000;
const NANOS_PER_MICRO: i128 = 1_000;
const NANOS_PER_DAY: i128 = 86_400 * NANOS_PER_SECOND;

/// A day and time of day without time zone (*local*), or an instant (*aware*). The two are never equal; two aware
/// ones are equal if they are the same instant, whatever their offsets: vary on the zone too if it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DateTime {
    nanos: i128,
    aware: bool,
}

impl DateTime {
    /// A local time, from nanoseconds after 1970-01-01T00:00 of the same clock.
    #[must_use]
    pub const fn from_local_nanos(nanos: i128) -> Self {
        Self {
            nanos,
            aware: false,
        }
    }

    /// An instant, from nanoseconds after the Unix epoch.
    #[must_use]
    pub const fn from_unix_nanos(nanos: i128) -> Self {
        Self { nanos, aware: true }
    }

    /// A local time of `day`, from microseconds after midnight.
    #[must_use]
    pub const fn local(day: Date, micros: u64) -> Self {
        Self::from_local_nanos(day.days as i128 * NANOS_PER_DAY + micros as i128 * NANOS_PER_MICRO)
    }

    /// The instant at which a clock that is `micros` microseconds ahead of UTC shows this local time.
    #[must_use]
    pub const fn at_offset(self, micros: i64) -> Self {
        Self::from_unix_nanos(self.nanos - micros as i128 * NANOS_PER_MICRO)
    }

    /// Nanoseconds after 1970-01-01T00:00, UTC if aware.
    #[must_use]
    pub const fn nanos(self) -> i128 {
        self.nanos
    }

    /// Whether this is an instant.
    #[must_use]
    pub const fn is_aware(self) -> bool {
        self.aware
    }

    /// Appends what Python's `isoformat` gives, an instant in UTC; false if the year is not one of 1 to 9999, which
    /// are all that Python knows. The fraction has six digits, as there, or nine if microseconds do not hold it.
    pub(super) fn write_iso(self, out: &mut String) -> bool {
        let Ok(days) = i64::try_from(self.nanos.div_euclid(NANOS_PER_DAY)) else {
            return false;
        };
        let Some((year, month, day)) = Date { days }.ymd() else {
            return false;
        };
        let nanos = self.nanos.rem_euclid(NANOS_PER_DAY) as u64;
        let (seconds, fraction) = (nanos / 1_000_000_000, nanos % 1_000_000_000);
        let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
        // Writing to a String cannot fail.
        let _ = write!(
            out,
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}"
        );
        let _ = match fraction {
            0 => Ok(()),
            f if f % 1_000 == 0 => write!(out, ".{:06}", f / 1_000),
            f => write!(out, ".{f:09}"),
        };
        if self.aware {
            out.push_str("+00:00");
        }
        true
    }
}

/// A day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Date {
    days: i64,
}

impl Date {
    /// From days after 1970-01-01.
    #[must_use]
    pub const fn from_days(days: i64) -> Self {
        Self { days }
    }

    /// From year, month (1 to 12) and day of the month (1 to 31), which the caller knows to be a real day.
    #[must_use]
    pub const fn from_ymd(year: i32, month: u8, day: u8) -> Self {
        // Howard Hinnant, "chrono-compatible low-level date algorithms": days_from_civil.
        let year = year as i64 - (month <= 2) as i64;
        let era = year.div_euclid(400);
        let year_of_era = year.rem_euclid(400);
        let day_of_year = (153 * ((month as i64 + 9) % 12) + 2) / 5 + day as i64 - 1;
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        Self {
            days: era * 146_097 + day_of_era - 719_468,
        }
    }

    /// Days after 1970-01-01.
    #[must_use]
    pub const fn days(self) -> i64 {
        self.days
    }

    /// Year, month and day, for the years 1 to 9999.
    fn ymd(self) -> Option<(i64, i64, i64)> {
        const FIRST: i64 = Date::from_ymd(1, 1, 1).days;
        const LAST: i64 = Date::from_ymd(9999, 12, 31).days;
        if !(FIRST..=LAST).contains(&self.days) {
            return None;
        }
        // The same source: civil_from_days.
        let shifted = self.days + 719_468;
        let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
        let month = if month_from_march < 10 {
            month_from_march + 3
        } else {
            month_from_march - 9
        };
        Some((year_of_era + era * 400 + i64::from(month <= 2), month, day))
    }
}

/// A time of day, with the offset of its clock from UTC if it has one (as Python's `time` may).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Time {
    nanos: u64,
    offset: Option<i64>,
}

impl Time {
    /// From nanoseconds after midnight.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self {
            nanos,
            offset: None,
        }
    }

    /// The same, on a clock that is `micros` microseconds ahead of UTC. Times of different offsets are never equal.
    #[must_use]
    pub const fn at_offset(self, micros: i64) -> Self {
        Self {
            offset: Some(micros),
            ..self
        }
    }

    /// Nanoseconds after midnight.
    #[must_use]
    pub const fn nanos(self) -> u64 {
        self.nanos
    }

    /// Microseconds ahead of UTC.
    #[must_use]
    pub const fn offset(self) -> Option<i64> {
        self.offset
    }
}
