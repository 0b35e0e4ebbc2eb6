//! JSON from outside, parsed within bounds.

use serde_json::Value;

/// Values in one text. A value takes some 100 bytes when parsed, whatever its text takes; a configuration of 64 MiB has
/// about four million of them.
const VALUES_MAX: usize = 6_000_000;

/// A JSON text as a value; the error is for people. Nesting is bounded by the parser (128 levels).
pub fn parse(text: &[u8]) -> Result<Value, String> {
    // Every value but the first follows one of these, so that their number bounds the memory before it is taken.
    let values = text.iter().filter(|byte| matches!(byte, b',' | b'[' | b'{')).count();
    if values > VALUES_MAX {
        return Err(format!("more than {VALUES_MAX} values"));
    }
    serde_json::from_slice(text).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bomb_is_refused_before_it_is_parsed() {
        let bomb = [b"[0".as_slice(), &b",0".repeat(VALUES_MAX), b"]"].concat();
        assert!(parse(&bomb).unwrap_err().starts_with("more than"));
        assert!(parse(&b"[".repeat(1_000)).unwrap_err().contains("recursion"));
    }
}
