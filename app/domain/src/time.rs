//! Moments and spans. The only clock values in the domain; nobody here asks for the time.

use serde::{Deserialize, Serialize};
use std::fmt;

/// One second in milliseconds.
pub const SECOND: i64 = 1_000;
/// One minute in milliseconds.
pub const MINUTE: i64 = 60 * SECOND;
/// One hour in milliseconds.
pub const HOUR: i64 = 60 * MINUTE;
/// One day in milliseconds.
pub const DAY: i64 = 24 * HOUR;

/// A moment by the server's clock: milliseconds since 1970-01-01T00:00:00Z, within the years 0001 to 9999.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "i64", into = "i64")]
pub struct Timestamp(i64);

/// The last moment that RFC 3339 can write: 9999-12-31T23:59:59.999Z.
const LATEST_MS: i64 = 253_402_300_799_999;
/// The first moment that RFC 3339 can write: 0001-01-01T00:00:00Z.
const EARLIEST_MS: i64 = -62_135_596_800_000;

impl Timestamp {
    /// The moment this many milliseconds after the epoch, held within the years 0001 to 9999.
    #[must_use]
    pub const fn from_ms(ms: i64) -> Self {
        if ms > LATEST_MS {
            Self(LATEST_MS)
        } else if ms < EARLIEST_MS {
            Self(EARLIEST_MS)
        } else {
            Self(ms)
        }
    }

    /// Milliseconds since the epoch.
    #[must_use]
    pub const fn ms(self) -> i64 {
        self.0
    }

    /// The moment `span_ms` later (earlier if negative), held within the bounds of the type.
    #[must_use]
    pub const fn plus(self, span_ms: i64) -> Self {
        Self::from_ms(self.0.saturating_add(span_ms))
    }

    /// Milliseconds from `earlier` to this moment; negative if `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }

    /// Reads RFC 3339 (`2026-11-20T08:53:57.682Z`, any offset, any number of decimals); `None` if it is not that.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        if !text.is_ascii() || bytes.len() < 20 || bytes.len() > 40 {
            return None;
        }
        let number = |from: usize, to: usize| -> Option<i64> {
            let digits = text.get(from..to)?;
            digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
        };
        let separators = [(4, b'-'), (7, b'-'), (13, b':'), (16, b':')];
        if separators.iter().any(|&(index, byte)| bytes[index] != byte) || !matches!(bytes[10], b'T' | b't' | b' ') {
            return None;
        }
        let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
        let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
        if year < 1 || !(1..=12).contains(&month) || day < 1 || day > days_in_month(year, month) {
            return None;
        }
        if hour > 23 || minute > 59 || second > 59 {
            return None;
        }
        let mut rest = &text[19..];
        let mut millis = 0;
        if let Some(fraction) = rest.strip_prefix('.') {
            let digits = fraction.bytes().take_while(u8::is_ascii_digit).count();
            if digits == 0 {
                return None;
            }
            for place in 0..3 {
                let digit = if place < digits { i64::from(fraction.as_bytes()[place] - b'0') } else { 0 };
                millis = millis * 10 + digit;
            }
            rest = &fraction[digits..];
        }
        let offset_minutes = match rest {
            "Z" | "z" => 0,
            _ => {
                let sign = match rest.as_bytes().first()? {
                    b'+' => 1,
                    b'-' => -1,
                    _ => return None,
                };
                if rest.len() != 6 || rest.as_bytes()[3] != b':' {
                    return None;
                }
                let hours: i64 = rest[1..3].bytes().all(|b| b.is_ascii_digit()).then(|| rest[1..3].parse().ok())??;
                let minutes: i64 =
                    rest[4..6].bytes().all(|b| b.is_ascii_digit()).then(|| rest[4..6].parse().ok())??;
                if hours > 23 || minutes > 59 {
                    return None;
                }
                sign * (hours * 60 + minutes)
            }
        };
        let days = days_from_civil(year, month, day);
        let ms = days * DAY + hour * HOUR + minute * MINUTE + second * SECOND + millis - offset_minutes * MINUTE;
        Some(Self::from_ms(ms))
    }

    /// The time of day in UTC, `08:53:57`.
    #[must_use]
    pub fn clock(self) -> String {
        let day_ms = self.0.rem_euclid(DAY);
        format!("{:02}:{:02}:{:02}", day_ms / HOUR, day_ms / MINUTE % 60, day_ms / SECOND % 60)
    }
}

impl From<i64> for Timestamp {
    fn from(ms: i64) -> Self {
        Self::from_ms(ms)
    }
}

impl From<Timestamp> for i64 {
    fn from(moment: Timestamp) -> Self {
        moment.0
    }
}

/// RFC 3339 in UTC; milliseconds are written only where there are any.
impl fmt::Display for Timestamp {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = civil_from_days(self.0.div_euclid(DAY));
        write!(out, "{year:04}-{month:02}-{day:02}T{}", self.clock())?;
        match self.0.rem_euclid(SECOND) {
            0 => write!(out, "Z"),
            millis => write!(out, ".{millis:03}Z"),
        }
    }
}

/// A span as a person reads it, two units at most: `9 min 29 s`, `3 h 2 min`, `12 d 4 h`, `40 ms`. Never negative.
#[must_use]
pub fn span(ms: i64) -> String {
    let ms = ms.max(0);
    let two = |large: i64, large_unit: &str, small: i64, small_unit: &str| {
        if small == 0 { format!("{large} {large_unit}") } else { format!("{large} {large_unit} {small} {small_unit}") }
    };
    match ms {
        0..SECOND => format!("{ms} ms"),
        SECOND..MINUTE => format!("{} s", ms / SECOND),
        MINUTE..HOUR => two(ms / MINUTE, "min", ms / SECOND % 60, "s"),
        HOUR..DAY => two(ms / HOUR, "h", ms / MINUTE % 60, "min"),
        _ => two(ms / DAY, "d", ms / HOUR % 24, "h"),
    }
}

/// Days since the epoch of a date of the proleptic Gregorian calendar.
/// Source: H. Hinnant, "chrono-Compatible Low-Level Date Algorithms".
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// The inverse of [`days_from_civil`].
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_what_people_and_machines_write() {
        #[track_caller]
        fn check(text: &str, expected: Option<i64>) {
            assert_eq!(Timestamp::parse(text).map(Timestamp::ms), expected, "{text}");
        }
        check("1970-01-01T00:00:00Z", Some(0));
        check("2026-11-20T08:53:57.68237Z", Some(1_795_164_837_682));
        check("2026-11-20T09:53:57+01:00", Some(1_795_164_837_000));
        check("2026-11-20 08:53:57Z", Some(1_795_164_837_000));
        check("2024-02-29T00:00:00Z", Some(1_709_164_800_000));
        check("2026-02-29T00:00:00Z", None);
        check("2026-11-20T24:00:00Z", None);
        check("2026-11-20T08:53:57", None);
        check("2026-11-20T08:53:57.Z", None);
        check("2026-11-20T08:53:57+1:00", None);
        check("now", None);
    }

    #[test]
    fn spans_read_like_speech() {
        #[track_caller]
        fn check(ms: i64, expected: &str) {
            assert_eq!(span(ms), expected);
        }
        check(-5, "0 ms");
        check(999, "999 ms");
        check(SECOND, "1 s");
        check(9 * MINUTE + 29 * SECOND, "9 min 29 s");
        check(2 * MINUTE, "2 min");
        check(3 * HOUR + 2 * MINUTE, "3 h 2 min");
        check(12 * DAY + 4 * HOUR, "12 d 4 h");
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_back(ms in EARLIEST_MS..=LATEST_MS) {
            let moment = Timestamp::from_ms(ms);
            prop_assert_eq!(Timestamp::parse(&moment.to_string()), Some(moment));
        }

        #[test]
        fn no_text_panics(text in ".{0,45}") {
            let _ = Timestamp::parse(&text);
        }
    }
}
