//! Text from outside, held within bounds. What is cut ends in `…`, so that nobody takes it for whole.

use serde_json::{Map, Value};

/// Names, ids, hostnames, labels: longer ones are not from Kong.
pub const NAME_MAX: usize = 256;

/// Messages of errors, which quote the configuration they complain about.
pub const MESSAGE_MAX: usize = 2_000;

/// At most `max` bytes of a text, cut at a character.
pub fn clip(text: &str, max: usize) -> String {
    if text.len() <= max {
        return text.to_owned();
    }
    let room = max.saturating_sub('…'.len_utf8());
    let end = (0..=room).rev().find(|&index| text.is_char_boundary(index)).unwrap_or(0);
    format!("{}…", &text[..end])
}

/// A string field of an object as a name; `None` where it is absent, null, empty or no string.
pub fn name(fields: &Map<String, Value>, key: &str) -> Option<String> {
    fields.get(key).and_then(Value::as_str).filter(|text| !text.is_empty()).map(|text| clip(text, NAME_MAX))
}

/// A string field of an object as a message; `None` where it is absent, null, empty or no string.
pub fn message(fields: &Map<String, Value>, key: &str) -> Option<String> {
    fields.get(key).and_then(Value::as_str).filter(|text| !text.is_empty()).map(|text| clip(text, MESSAGE_MAX))
}

/// The elements of an array. What should be an array is `{}` where a Lua table was empty (`kong-hybrid.md` 1.6, 2.3);
/// anything else that is no array has no elements either.
pub fn elements<'a>(fields: &'a Map<String, Value>, key: &str) -> &'a [Value] {
    fields.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// Unix seconds with a fraction as milliseconds. `None` outside of the years that a Kong could mean.
pub fn seconds_as_ms(seconds: f64) -> Option<i64> {
    const YEAR_9999: f64 = 253_402_300_799.0;
    // In range by the condition.
    #[expect(clippy::cast_possible_truncation)]
    (0.0..=YEAR_9999).contains(&seconds).then(|| (seconds * 1000.0).round() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_at_a_character() {
        assert_eq!(clip("abcdef", 6), "abcdef");
        assert_eq!(clip("abcdef", 5), "ab…");
        assert_eq!(clip("aéééé", 6), "aé…");
        assert_eq!(clip("ééé", 4), "…");
        assert_eq!(clip("abcdef", 0), "…");
    }

    #[test]
    fn seconds_outside_of_any_calendar_are_no_time() {
        assert_eq!(seconds_as_ms(1_795_164_837.682_37), Some(1_795_164_837_682));
        assert_eq!(seconds_as_ms(f64::NAN), None);
        assert_eq!(seconds_as_ms(-1.0), None);
        assert_eq!(seconds_as_ms(1e300), None);
    }
}
