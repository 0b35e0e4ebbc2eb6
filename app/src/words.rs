//! Numbers and moments as people read them. Ages are counted from the moment of the answer, never from a clock.

use tidemark_domain::time::{DAY, Timestamp, span};

/// A count with its thousands apart: `1,904`.
#[must_use]
pub fn number(count: u64) -> String {
    let digits = count.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A count with its noun: `1 node`, `2 nodes`.
#[must_use]
pub fn counted(count: u32, one: &str, many: &str) -> String {
    format!("{} {}", number(count.into()), if count == 1 { one } else { many })
}

/// A share in percent with one decimal, `40.9 %`; never `100 %` or `0 %` of what is not all or nothing.
#[must_use]
pub fn share(part: u32, whole: u32) -> String {
    let tenths = match (part, whole) {
        (_, 0) => return "none".into(),
        (0, _) => 0,
        _ if part >= whole => 1_000,
        _ => (u64::from(part) * 1_000 / u64::from(whole)).clamp(1, 999),
    };
    if tenths % 10 == 0 { format!("{} %", tenths / 10) } else { format!("{}.{} %", tenths / 10, tenths % 10) }
}

/// A lag: tenths of a second below ten seconds, else as a span; `<=` where a poll makes it uncertain.
#[must_use]
pub fn lag(ms: i64, uncertain_ms: u32) -> String {
    let ms = ms.max(0);
    let text = match ms {
        1_000..10_000 if ms % 1_000 >= 100 => format!("{}.{} s", ms / 1_000, ms % 1_000 / 100),
        _ => span(ms),
    };
    if uncertain_ms > 0 { format!("≤ {text}") } else { text }
}

/// The age of a moment in an answer of `at`: `11 s`. A moment that comes later has no age.
#[must_use]
pub fn age(moment: Timestamp, at: Timestamp) -> String {
    span(at.since(moment))
}

/// The whole moment, for titles: `2026-11-20 03:21:07 UTC`.
#[must_use]
pub fn absolute(moment: Timestamp) -> String {
    format!("{} {} UTC", date(moment), moment.clock())
}

/// The moment as short as it can be told in an answer of `at`: `03:11:38` within half a day, else `19 Nov 14:02`, and
/// with its year where that is another one.
#[must_use]
pub fn brief(moment: Timestamp, at: Timestamp) -> String {
    let distance = at.since(moment).abs();
    let clock = moment.clock();
    let minutes = &clock[..5];
    if distance < DAY / 2 {
        clock
    } else if date(moment)[..4] == date(at)[..4] {
        format!("{} {minutes}", day(moment))
    } else {
        format!("{} {}", day(moment), &date(moment)[..4])
    }
}

/// `2026-11-20`.
fn date(moment: Timestamp) -> String {
    moment.to_string().chars().take(10).collect()
}

/// `20 Nov`.
fn day(moment: Timestamp) -> String {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let date = date(moment);
    let month = date[5..7].parse::<usize>().ok().and_then(|month| MONTHS.get(month.wrapping_sub(1)));
    format!("{} {}", date[8..].trim_start_matches('0'), month.copied().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_like_print() {
        #[track_caller]
        fn check(count: u64, expected: &str) {
            assert_eq!(number(count), expected);
        }
        check(0, "0");
        check(999, "999");
        check(1_904, "1,904");
        check(1_000_000, "1,000,000");
        assert_eq!(counted(1, "node", "nodes"), "1 node");
        assert_eq!(counted(2_000, "node", "nodes"), "2,000 nodes");
    }

    #[test]
    fn only_all_is_a_hundred_percent() {
        #[track_caller]
        fn check(part: u32, whole: u32, expected: &str) {
            assert_eq!(share(part, whole), expected);
        }
        check(9, 22, "40.9 %");
        check(1, 2, "50 %");
        check(99_999, 100_000, "99.9 %");
        check(1, 100_000, "0.1 %");
        check(0, 5, "0 %");
        check(5, 5, "100 %");
        check(0, 0, "none");
    }

    #[test]
    fn a_lag_is_as_sharp_as_what_we_saw() {
        #[track_caller]
        fn check(ms: i64, uncertain_ms: u32, expected: &str) {
            assert_eq!(lag(ms, uncertain_ms), expected);
        }
        check(-4, 0, "0 ms");
        check(950, 0, "950 ms");
        check(2_240, 0, "2.2 s");
        check(2_000, 0, "2 s");
        check(11_400, 0, "11 s");
        check(26_000, 30_000, "≤ 26 s");
    }

    #[test]
    fn a_moment_is_as_short_as_it_can_be_told() {
        let at = Timestamp::parse("2026-11-20T03:21:07Z").expect("a moment");
        #[track_caller]
        fn check(at: Timestamp, text: &str, expected: &str) {
            assert_eq!(brief(Timestamp::parse(text).expect("a moment"), at), expected);
        }
        check(at, "2026-11-20T03:11:38Z", "03:11:38");
        check(at, "2026-11-19T21:44:03Z", "21:44:03");
        check(at, "2026-11-19T14:02:10Z", "19 Nov 14:02");
        check(at, "2027-03-01T00:00:00Z", "1 Mar 2027");
        assert_eq!(absolute(at), "2026-11-20 03:21:07 UTC");
        assert_eq!(age(at, at.plus(569_000)), "9 min 29 s");
        assert_eq!(age(at.plus(5_000), at), "0 ms");
    }
}
