//! Kong's own hash of a configuration table (`kong-hybrid.md` 1.8), bit for bit: the string that a v1 control plane
//! states and its nodes repeat.
//!
//! The same since Kong 3.0. It is made for change detection only: the text below it is ambiguous (`["a"]` and `"a"`
//! hash alike), and it covers `updated_at`. What a configuration does is the business of [`super::digest`].

use super::number;
use md5::{Digest, Md5};
use serde_json::{Map, Value};
use tidemark_domain::hash::ConfigHash;

/// The hashes of one configuration table: what the control plane publishes, and the rest that it does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableHashes {
    /// Over the six below; what is called `config_hash` on the wire.
    pub config: ConfigHash,
    pub sections: SectionHashes,
    /// Everything that has no hash of its own: consumers, credentials, certificates, ... Kong does not publish it.
    pub rest: ConfigHash,
}

/// The sections that Kong hashes by themselves. A section that the table lacks has 32 zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SectionHashes {
    pub routes: ConfigHash,
    pub services: ConfigHash,
    pub plugins: ConfigHash,
    pub upstreams: ConfigHash,
    pub targets: ConfigHash,
}

/// The keys of [`SectionHashes`], in the order in which Kong joins them.
pub const SECTIONS: [&str; 5] = ["routes", "services", "plugins", "upstreams", "targets"];

/// Where the text is longer than this when a value begins, its MD5 takes its place.
const ROLL_OVER_ABOVE: usize = 1_000_000;

/// An array of more elements ends each with `;`, a shorter one joins them with it.
const JOINED_UP_TO: usize = 5;

/// The hashes of a configuration table.
#[must_use]
pub fn table_hashes(table: &Map<String, Value>) -> TableHashes {
    let [routes, services, plugins, upstreams, targets] =
        SECTIONS.map(|key| table.get(key).map_or(ConfigHash::ZEROS, value_hash));
    let mut rest = Text::default();
    rest.begin();
    rest.object(table.iter().filter(|(key, _)| !SECTIONS.contains(&key.as_str())));
    let rest = rest.hash();
    let mut joined = Md5::new();
    for hash in [routes, services, plugins, upstreams, targets, rest] {
        joined.update(hash.as_str());
    }
    let sections = SectionHashes { routes, services, plugins, upstreams, targets };
    TableHashes { config: printed(joined), sections, rest }
}

/// What Kong calls `config_hash`, for any JSON value in the table's place.
#[must_use]
pub fn config_hash(value: &Value) -> ConfigHash {
    match value {
        Value::Object(table) => table_hashes(table).config,
        // To Lua an array is a table too, one without any of the sections.
        Value::Array(_) => {
            let mut joined = Md5::new();
            for _ in SECTIONS {
                joined.update(ConfigHash::ZEROS.as_str());
            }
            joined.update(value_hash(value).as_str());
            printed(joined)
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value_hash(value),
    }
}

fn value_hash(value: &Value) -> ConfigHash {
    let mut text = Text::default();
    text.value(value);
    text.hash()
}

fn printed(md5: Md5) -> ConfigHash {
    let mut characters = [0; 32];
    for (pair, byte) in characters.chunks_exact_mut(2).zip(md5.finalize()) {
        pair[0] = HEX[usize::from(byte >> 4)];
        pair[1] = HEX[usize::from(byte & 15)];
    }
    std::str::from_utf8(&characters).ok().and_then(|text| text.parse().ok()).unwrap_or(ConfigHash::ZEROS)
}

const HEX: &[u8; 16] = b"0123456789abcdef";

/// The text that is hashed. It never grows beyond [`ROLL_OVER_ABOVE`] and one value.
#[derive(Default)]
struct Text(Vec<u8>);

impl Text {
    /// Recursion is as deep as the value: `serde_json` parses at most 128 levels, and dropping a value recurses too.
    fn value(&mut self, value: &Value) {
        self.begin();
        match value {
            Value::Null => self.raw(b"/null/"),
            Value::Bool(true) => self.raw(b"true"),
            Value::Bool(false) => self.raw(b"false"),
            // Lua has doubles only.
            Value::Number(number) => number::append(number.as_f64().unwrap_or(f64::NAN), &mut self.0),
            Value::String(string) => self.raw(string.as_bytes()),
            Value::Array(elements) => self.array(elements),
            Value::Object(fields) => self.object(fields.iter()),
        }
    }

    fn begin(&mut self) {
        if self.0.len() > ROLL_OVER_ABOVE {
            let folded = Md5::digest(&self.0);
            self.0.clear();
            self.raw(&folded);
        }
    }

    fn array(&mut self, elements: &[Value]) {
        if elements.is_empty() {
            return self.raw(b"{}");
        }
        for (index, element) in elements.iter().enumerate() {
            self.value(element);
            if elements.len() > JOINED_UP_TO || index + 1 < elements.len() {
                self.raw(b";");
            }
        }
    }

    fn object<'a>(&mut self, fields: impl Iterator<Item = (&'a String, &'a Value)>) {
        let mut fields: Vec<_> = fields.collect();
        if fields.is_empty() {
            return self.raw(b"{}");
        }
        // By bytes. They already are, unless some crate of the build turned on `serde_json/preserve_order`.
        fields.sort_unstable_by_key(|&(key, _)| key);
        for (key, value) in fields {
            self.raw(key.as_bytes());
            self.raw(b":");
            self.value(value);
            self.raw(b";");
        }
    }

    fn raw(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    fn hash(self) -> ConfigHash {
        printed(Md5::new_with_prefix(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[track_caller]
    fn check(value: Value, expected: &str) {
        assert_eq!(config_hash(&value).as_str(), expected, "of {:.200}", value.to_string());
    }

    /// `kong-hybrid.md` 1.8.4.
    const GOLDEN: &str = include_str!("hash_golden.json");

    fn golden() -> Value {
        serde_json::from_str(GOLDEN).unwrap()
    }

    #[test]
    fn values_that_are_no_table_hash_as_the_reference_says() {
        check(json!(null), "5bf07a8b7343015026657d1108d8206e");
        check(json!(10), "d3d9446802a44259755d38e6d163e820");
        check(json!(0.9), "a894124cc6d5c5c71afe060d5dde0762");
        check(json!(""), "d41d8cd98f00b204e9800998ecf8427e");
        check(json!("hello"), "5d41402abc4b2a76b9719d911017c592");
        check(json!(false), "68934a3e9455fa72420237eb05902327");
        check(json!(true), "b326b5062b2f0e69046810717534cb09");
    }

    #[test]
    fn tables_hash_as_the_reference_says() {
        check(json!({}), "2da3c26e4dbd6dd6ea3ab60a3dd7fb3e");
        check(json!({"routes": {}, "services": {}, "plugins": {}}), "81aac97a81ad03c0cf0b36663806488e");
        check(json!({"upstreams": {}, "targets": {}}), "4d60dd9998ea4314039da5ca2f1db96f");
        let workspaces = golden()["workspaces"].clone();
        let only_workspaces = json!({"_format_version": "3.0", "_transform": false, "workspaces": workspaces});
        check(only_workspaces.clone(), "f9a3b5ab68128f93d9e82ff8398b463e");
        let hashes = table_hashes(only_workspaces.as_object().unwrap());
        assert_eq!(hashes.rest.as_str(), "4cb8de403e43a50a8b9871cd24a8faba");
        assert_eq!(hashes.sections.routes, ConfigHash::ZEROS);
    }

    #[test]
    fn the_golden_configuration_and_its_two_variants_hash_as_the_reference_says() {
        let hashes = table_hashes(golden().as_object().unwrap());
        assert_eq!(hashes.config.as_str(), "c6ee22cecbb5f8a7714966db3931b7b1");
        assert_eq!(hashes.sections.routes.as_str(), "a858679cd9a847485f2c0090d103b18b");
        assert_eq!(hashes.sections.services.as_str(), "ef93860090b5db4713613e2f7dee9941");
        assert_eq!(hashes.sections.plugins.as_str(), "a0d5c4cd05e8a837a16d3a740f1d9321");
        assert_eq!(hashes.sections.upstreams.as_str(), "1eb1d3a3c049f9c7f41f0374bbd62761");
        assert_eq!(hashes.sections.targets.as_str(), "2237495ed3947a7ff55b1de6908c18d8");
        assert_eq!(hashes.rest.as_str(), "a1932afa17fb00c38518cc0ff7e3b09c");

        let mut touched = golden();
        touched["services"][0]["updated_at"] = json!(1_700_000_101);
        check(touched, "8fbff0d42d07362627f7b3db780fae51");

        let mut trimmed = golden();
        trimmed["plugins"][0].as_object_mut().unwrap().remove("instance_name");
        check(trimmed, "ecec6a2e818cba12f475068c2c6e9914");
    }

    #[test]
    fn a_text_of_more_than_a_million_bytes_rolls_over() {
        let long = "x".repeat(1000);
        check(json!({"services": vec![long.clone(); 1100]}), "4aeb552c38c1bbedc826e3de8d5f8dce");
        check(json!({"services": vec![long; 900]}), "c17fc1df439963f07f2233651d4ec13f");
    }

    proptest! {
        #[test]
        fn the_order_of_keys_does_not_matter(fields in prop::collection::vec(("[a-z_]{0,6}", any::<i32>()), 0..12)) {
            let text = |fields: &[(String, i32)]| {
                let fields: Vec<_> = fields.iter().map(|(key, value)| format!("{key:?}:{value}")).collect();
                format!("{{\"services\":[{{{}}}]}}", fields.join(","))
            };
            let mut unique = fields;
            unique.sort();
            unique.dedup_by(|one, other| one.0 == other.0);
            let forwards: Value = serde_json::from_str(&text(&unique)).unwrap();
            unique.reverse();
            let backwards: Value = serde_json::from_str(&text(&unique)).unwrap();
            prop_assert_eq!(config_hash(&forwards), config_hash(&backwards));
        }
    }
}
