//! What a frame of protocol v1 says of itself, from a stream of its JSON: for one that is too large to be kept. Takes pieces
//! of any size, the keys in any order, and no memory but for a few short texts. It is no check of the JSON: what is wrong
//! deep inside is not seen.

use super::text::seconds_as_ms;
use tidemark_domain::hash::ConfigHash;

/// A hash has 32 characters, and no key or value that is looked at has more than this.
const TEXT_MAX: usize = 64;

/// A scan of one text.
#[derive(Debug, Default)]
pub struct Glance {
    depth: u64,
    /// In a string, and whether after a backslash.
    string: Option<bool>,
    /// The last text of the outermost object, until something ends it: at most one byte more than is looked at. `None` where
    /// it has an escape.
    text: Option<Vec<u8>>,
    /// The key whose value comes.
    key: Option<Vec<u8>>,
    is_over: bool,
    is_wrong: bool,
    said: Glanced,
}

/// What was found in the outermost object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Glanced {
    /// Of which type the frame is.
    pub kind: Option<String>,
    /// `config_hash`.
    pub stated: Option<ConfigHash>,
    /// `timestamp`.
    pub exported_at_ms: Option<i64>,
    /// There is a `config_table`.
    pub has_table: bool,
}

impl Glance {
    /// Takes the next bytes.
    pub fn take(&mut self, mut bytes: &[u8]) {
        while let Some((&byte, rest)) = bytes.split_first() {
            if let Some(is_escaped) = self.string {
                // Nearly all of a configuration is inside of strings that nobody asks for.
                if self.depth > 1 && !is_escaped {
                    let Some(at) = bytes.iter().position(|byte| matches!(byte, b'"' | b'\\')) else { return };
                    self.string = (bytes[at] == b'\\').then_some(true);
                    bytes = &bytes[at + 1..];
                    continue;
                }
                self.in_string(byte, is_escaped);
            } else {
                self.outside(byte);
            }
            bytes = rest;
        }
    }

    fn in_string(&mut self, byte: u8, is_escaped: bool) {
        match byte {
            b'"' if !is_escaped => self.string = None,
            _ if self.depth > 1 => self.string = Some(false),
            b'\\' if !is_escaped => {
                // Kong writes no escape into anything that is looked at.
                (self.string, self.text) = (Some(true), None);
            }
            byte => {
                self.string = Some(false);
                self.push(byte);
            }
        }
    }

    fn outside(&mut self, byte: u8) {
        if self.is_over {
            self.is_wrong |= !byte.is_ascii_whitespace();
            return;
        }
        match byte {
            b' ' | b'\t' | b'\r' | b'\n' => {}
            b'{' | b'[' => {
                self.is_wrong |= self.depth == 0 && byte == b'[';
                if self.depth == 1 && byte == b'{' {
                    self.said.has_table |= self.key.as_deref() == Some(b"config_table");
                }
                self.depth += 1;
            }
            b'}' | b']' if self.depth == 0 => self.is_wrong = true,
            b'}' | b']' => {
                if self.depth == 1 {
                    self.value();
                    self.is_over = true;
                }
                self.depth -= 1;
            }
            _ if self.depth == 0 => self.is_wrong = true,
            b'"' => {
                self.string = Some(false);
                if self.depth == 1 {
                    self.text = Some(Vec::new());
                }
            }
            _ if self.depth > 1 => {}
            b':' => {
                self.key = self.text.take();
                // Of a key that comes twice, the last counts, as for other parsers.
                if self.key.as_deref() == Some(b"config_table") {
                    self.said.has_table = false;
                }
            }
            b',' => self.value(),
            // A number, or one of the three words.
            byte => {
                self.text.get_or_insert_default();
                self.push(byte);
            }
        }
    }

    fn push(&mut self, byte: u8) {
        if let Some(text) = self.text.as_mut().filter(|text| text.len() <= TEXT_MAX) {
            text.push(byte);
        }
    }

    /// A value of the outermost object is complete.
    fn value(&mut self) {
        let (Some(key), Some(text)) = (self.key.take(), self.text.take()) else { return };
        let Some(text) = String::from_utf8(text).ok().filter(|text| text.len() <= TEXT_MAX) else { return };
        match key.as_slice() {
            b"type" => self.said.kind = Some(text),
            b"config_hash" => self.said.stated = text.parse().ok(),
            b"timestamp" => self.said.exported_at_ms = text.parse().ok().and_then(seconds_as_ms),
            _ => {}
        }
    }

    /// What was found, where the text was one whole object.
    ///
    /// # Errors
    /// Says what is wrong with the text.
    pub fn end(self) -> Result<Glanced, String> {
        match (self.is_wrong, self.is_over) {
            (true, _) => Err("not an object".to_owned()),
            (false, false) => Err("JSON that ends too early".to_owned()),
            (false, true) => Ok(self.said),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HASH: &str = "c6ee22cecbb5f8a7714966db3931b7b1";

    fn glance(text: &[u8], size: usize) -> Result<Glanced, String> {
        let mut glance = Glance::default();
        for piece in text.chunks(size) {
            glance.take(piece);
        }
        glance.end()
    }

    #[test]
    fn the_keys_may_come_in_any_order_and_in_any_pieces() {
        let table = r#""config_table":{"a":"\"}","b":[{"config_hash":"x"}],"type":"y","\\":"\\\""}"#;
        let (kind, hash) = (r#""type" : "reconfigure""#, format!(r#""config_hash":"{HASH}""#));
        let time = r#""timestamp":1763628001.417"#;
        let expected = Glanced {
            kind: Some("reconfigure".to_owned()),
            stated: HASH.parse().ok(),
            exported_at_ms: Some(1_763_628_001_417),
            has_table: true,
        };
        for keys in [[table, kind, &hash, time], [time, &hash, table, kind], [&hash, kind, time, table]] {
            let text = format!(" {{ {} }}\n", keys.join(" ,\n"));
            for size in [1, 2, 3, 7, 1_000] {
                assert_eq!(glance(text.as_bytes(), size).as_ref(), Ok(&expected), "{text} in pieces of {size}");
            }
        }
    }

    #[test]
    fn what_is_not_there_is_not_found() {
        let found = |text: &str| glance(text.as_bytes(), 5).unwrap();
        assert_eq!(found("{}"), Glanced::default());
        let long = format!(
            r#"{{"type":"{}","config_hash":null,"config_table":[],"timestamp":"x"}}"#,
            "x".repeat(TEXT_MAX + 1)
        );
        assert_eq!(found(&long), Glanced::default());
        assert_eq!(found(&format!(r#"{{"config_hash":"{}\u0031"}}"#, &HASH[1..])).stated, None, "an escape");
        assert_eq!(found(r#"{"a":"config_hash","b":"type"}"#), Glanced::default(), "a value is no key");
        assert_eq!(found(r#"{"config_table":{"a":1}, "b":{"config_table":{}}}"#).kind, None);
        assert!(!found(r#"{"b":{"config_table":{}}}"#).has_table);
    }

    #[test]
    fn what_is_no_whole_object_is_refused() {
        for text in ["", " ", "{", "[]", "x", "{}x", "{} {}", "]", "{\"", "{\"a\":{}"] {
            assert!(glance(text.as_bytes(), 3).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn the_pieces_do_not_matter(text in "[{}\\[\\]\",:\\\\a1 ]{0,60}", size in 1..9_usize) {
            prop_assert_eq!(glance(text.as_bytes(), size), glance(text.as_bytes(), 1_000));
        }

        /// Whatever a JSON parser takes for an object with these keys, is found.
        #[test]
        fn what_a_parser_finds_is_found(
            kind in "[a-z\"\\\\]{0,8}", before in "[a-z\"\\\\{}\\[\\]]{0,9}", number in any::<u32>(),
        ) {
            let text = serde_json::json!({"before": {"deep": [before, {"type": before}]}, "type": kind,
                "timestamp": number, "config_table": {"services": [before]}, "config_hash": HASH}).to_string();
            let found = glance(text.as_bytes(), 7).unwrap();
            prop_assert_eq!(found.kind, (!kind.contains(['"', '\\'])).then_some(kind));
            prop_assert_eq!((found.stated, found.has_table), (HASH.parse().ok(), true));
            prop_assert_eq!(found.exported_at_ms, Some(i64::from(number) * 1_000));
        }
    }
}
