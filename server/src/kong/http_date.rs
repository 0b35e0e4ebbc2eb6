//! The `Date` of an HTTP answer: `Fri, 20 Nov 2026 08:54:37 GMT` (RFC 9110 5.6.7). Kong sends no other form.

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// Milliseconds since the epoch; `None` where the text is no such date.
pub fn parse(text: &str) -> Option<i64> {
    let (_weekday, rest) = text.trim().split_once(", ")?;
    let mut parts = rest.split(' ');
    let day = number(parts.next()?, 1, 31)?;
    let month = MONTHS.iter().position(|name| Some(*name) == rest.get(3..6))?;
    let _ = parts.next();
    let year = number(parts.next()?, 1970, 9999)?;
    let mut clock = parts.next()?.split(':');
    let hour = number(clock.next()?, 0, 23)?;
    let minute = number(clock.next()?, 0, 59)?;
    let second = number(clock.next()?, 0, 60)?;
    if parts.next() != Some("GMT") || parts.next().is_some() || clock.next().is_some() {
        return None;
    }
    let days = days_before(year, i64::try_from(month).ok()? + 1, day);
    Some((((days * 24 + hour) * 60 + minute) * 60 + second) * 1000)
}

fn number(text: &str, least: i64, most: i64) -> Option<i64> {
    let value = text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())??;
    (least..=most).contains(&value).then_some(value)
}

/// Days from 1970-01-01 to a day of the Gregorian calendar (H. Hinnant, "chrono-compatible low-level date algorithms").
fn days_before(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year / 400;
    let year_of_era = year % 400;
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn a_date_is_read_to_the_second() {
        assert_eq!(parse("Fri, 20 Nov 2026 08:54:37 GMT"), Some(1_795_164_877_000));
        assert_eq!(parse("Thu, 01 Jan 1970 00:00:00 GMT"), Some(0));
        assert_eq!(parse("Tue, 29 Feb 2028 23:59:59 GMT"), Some(1_835_481_599_000));
    }

    #[test]
    fn other_forms_are_no_date() {
        for text in [
            "",
            "Fri, 20 Nov 2026 08:54:37",
            "Fri, 20 Nov 2026 24:54:37 GMT",
            "Friday, 20-Nov-26 08:54:37 GMT",
            "Fri, 20 Növ 2026 08:54:37 GMT",
            "Fri, 20 Nov 2026 08:54:37 GMT x",
            "Fri, +1 Nov 2026 08:54:37 GMT",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
