//! Names of things, parsed once at the door. What has one of these types is within its bounds.

use crate::hash::ConfigHash;
use serde::de::Visitor;
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::sync::Arc;

/// Why a text is not a name; says what was expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAName(&'static str);

impl fmt::Display for NotAName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.0)
    }
}

impl std::error::Error for NotAName {}

/// A name with an invariant: a shared string that is cheap to clone, printed and stored as itself.
macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $fits:expr, $expected:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The characters.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NotAName;

            fn from_str(text: &str) -> Result<Self, NotAName> {
                let fits: fn(&str) -> bool = $fits;
                if fits(text) { Ok(Self(text.into())) } else { Err(NotAName($expected)) }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(out, "{:?}", &*self.0)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                parsed(deserializer)
            }
        }
    };
}

/// What a text says, read where it lies: a fleet that is read back is half a million names.
pub(crate) fn parsed<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: FromStr<Err: fmt::Display>,
    D: Deserializer<'de>,
{
    struct Text<T>(PhantomData<T>);

    impl<T: FromStr<Err: fmt::Display>> Visitor<'_> for Text<T> {
        type Value = T;

        fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
            out.write_str("a string")
        }

        fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
            text.parse().map_err(E::custom)
        }
    }

    deserializer.deserialize_str(Text(PhantomData))
}

fn printable(text: &str, max_chars: usize) -> bool {
    !text.is_empty() && text.chars().count() <= max_chars && !text.chars().any(char::is_control)
}

name!(
    /// A node's id: 1-128 of `[A-Za-z0-9._:-]` (DESIGN 5.10).
    NodeId,
    |text| (1..=128).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte)),
    "a node id is 1 to 128 of A-Z a-z 0-9 . _ : -"
);

name!(
    /// A control plane's name: `[a-z0-9][a-z0-9._-]{0,62}` (DESIGN 5.10).
    CpName,
    |text| (1..=63).contains(&text.len())
        && text.as_bytes()[0].is_ascii_alphanumeric()
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte)),
    "a control plane's name is 1 to 63 of a-z 0-9 . _ - and starts with a letter or a digit"
);

name!(
    /// A source's own name of a version: 1-128 visible ASCII characters. Some have an order ([`Token::order`]).
    Token,
    |text| (1..=128).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic()),
    "a version token is 1 to 128 visible ASCII characters"
);

name!(
    /// A short text from outside that people will read: 1-256 characters, none of them a control character.
    Line,
    |text| printable(text, 256),
    "a text is 1 to 256 characters without control characters"
);

name!(
    /// A digest of a configuration's behaviour: 16-128 lower-case hexadecimal digits. Comparable inside one cohort
    /// only (DESIGN 5.3).
    Digest,
    |text| (16..=128).contains(&text.len()) && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')),
    "a digest is 16 to 128 lower-case hexadecimal digits"
);

impl Line {
    /// The longest part of an outside text that fits: control characters become spaces, what is too long is cut
    /// with an ellipsis; `None` if nothing is left. For texts that a gateway wrote, not for a caller's fields.
    #[must_use]
    pub fn from_outside(text: &str) -> Option<Self> {
        let mut clean: String = text.chars().take(256).map(|c| if c.is_control() { ' ' } else { c }).collect();
        if text.chars().nth(256).is_some() {
            clean.pop();
            clean.push('…');
        }
        let clean = clean.trim();
        (!clean.is_empty()).then(|| Self(clean.into()))
    }
}

impl Token {
    /// Older or newer where both tokens have a comparator: `v02_` and 28 hexadecimal digits, or decimals padded with
    /// zeros to one width (DESIGN 5.1). `None` for all else: MD5 and free names have no order.
    #[must_use]
    pub fn order(&self, other: &Self) -> Option<Ordering> {
        let hashes = (self.0.parse::<ConfigHash>(), other.0.parse::<ConfigHash>());
        if let (Ok(mine), Ok(theirs)) = hashes
            && (mine.is_token() || theirs.is_token())
        {
            return mine.order(&theirs);
        }
        let padded = |text: &str| text.len() >= 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        (padded(&self.0) && padded(&other.0) && self.0.len() == other.0.len()).then(|| self.0.cmp(&other.0))
    }
}

impl From<ConfigHash> for Token {
    fn from(hash: ConfigHash) -> Self {
        Self(hash.as_str().into())
    }
}

/// The position of a version in its control plane's ledger: 1, 2, 3 … A name, not an order (DESIGN 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Ordinal(NonZeroU32);

impl Ordinal {
    /// The ordinal of this number; 0, which is none, is taken for 1.
    #[must_use]
    pub const fn new(number: u32) -> Self {
        match NonZeroU32::new(number) {
            Some(number) => Self(number),
            None => Self(NonZeroU32::MIN),
        }
    }

    /// The number: 1, 2, 3 …
    #[must_use]
    pub const fn number(self) -> u32 {
        self.0.get()
    }
}

impl fmt::Display for Ordinal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "v{}", self.0)
    }
}

impl FromStr for Ordinal {
    type Err = NotAName;

    fn from_str(text: &str) -> Result<Self, NotAName> {
        let digits = text.strip_prefix('v').unwrap_or(text);
        let all_digits = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        match digits.parse::<u32>() {
            Ok(number) if all_digits && number > 0 => Ok(Self::new(number)),
            _ => Err(NotAName("an ordinal is a whole number from 1, as in v12")),
        }
    }
}

/// A node's labels: at most 64 pairs, keys 1-63 and values 0-253 characters without control characters. (Kong itself
/// allows 10 pairs of 63 characters, `kong-hybrid.md` 7.3; others allow more.)
///
/// One shared text, by key: each pair is its key, [`KEY_ENDS`], its value and [`VALUE_ENDS`]. A fleet has as many labels
/// as all other names together, and most of what is done with them is to copy them.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Labels(Arc<str>);

/// Control characters, so they are in no key and in no value.
const KEY_ENDS: char = '\u{1}';
const VALUE_ENDS: char = '\u{2}';

impl Labels {
    /// Pairs at most.
    pub const MAX: usize = 64;

    /// The labels of these pairs; an error names the bound that was passed.
    pub fn new(pairs: impl IntoIterator<Item = (String, String)>) -> Result<Self, NotAName> {
        let mut labels = BTreeMap::new();
        for (key, value) in pairs {
            if !printable(&key, 63) {
                return Err(NotAName("a label's key is 1 to 63 characters without control characters"));
            }
            if !value.is_empty() && !printable(&value, 253) {
                return Err(NotAName("a label's value is at most 253 characters without control characters"));
            }
            labels.insert(key, value);
            if labels.len() > Self::MAX {
                return Err(NotAName("a node has at most 64 labels"));
            }
        }
        let mut text = String::new();
        for (key, value) in &labels {
            text.extend([key.as_str(), "\u{1}", value.as_str(), "\u{2}"]);
        }
        Ok(Self(text.into()))
    }

    /// The value of a label.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.iter().find(|(own, _)| *own == key).map(|(_, value)| value)
    }

    /// All pairs, by key.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.split_terminator(VALUE_ENDS).filter_map(|pair| pair.split_once(KEY_ENDS))
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_map().entries(self.iter()).finish()
    }
}

impl Serialize for Labels {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // With its length, which packed forms ask for.
        let mut map = serializer.serialize_map(Some(self.iter().count()))?;
        for (key, value) in self.iter() {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Labels {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(BTreeMap::<String, String>::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_hold_their_bounds() {
        #[track_caller]
        fn check<T: FromStr>(text: &str, fits: bool) {
            assert_eq!(text.parse::<T>().is_ok(), fits, "{text:?}");
        }
        check::<NodeId>("8b70bc8b-980a-49d2-bd9b-75829acfda7d", true);
        check::<NodeId>("", false);
        check::<NodeId>("a b", false);
        check::<NodeId>(&"n".repeat(128), true);
        check::<NodeId>(&"n".repeat(129), false);
        check::<CpName>("prod-eu", true);
        check::<CpName>("-prod", false);
        check::<CpName>("Prod", false);
        check::<CpName>(&"c".repeat(63), true);
        check::<CpName>(&"c".repeat(64), false);
        check::<Line>("a\nb", false);
        check::<Digest>("0123456789abcdef", true);
        check::<Digest>("0123456789abcde", false);
        check::<Ordinal>("v12", true);
        check::<Ordinal>("12", true);
        check::<Ordinal>("v0", false);
        check::<Ordinal>("v+1", false);
    }

    #[test]
    fn labels_come_back_by_key() {
        let pairs = |labels: &Labels| labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>();
        let of = |pairs: &[(&str, &str)]| {
            Labels::new(pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())))
        };
        let labels = of(&[("zone", "b"), ("empty", ""), ("zone", "c"), ("a.b/c=d", "x=y")]).expect("labels");
        assert_eq!(pairs(&labels), ["a.b/c=d=x=y", "empty=", "zone=c"]);
        assert_eq!((labels.get("zone"), labels.get("empty"), labels.get("zo")), (Some("c"), Some(""), None));
        let json = serde_json::to_string(&labels).expect("JSON");
        assert_eq!(json, r#"{"a.b/c=d":"x=y","empty":"","zone":"c"}"#);
        assert_eq!(serde_json::from_str::<Labels>(&json).expect("labels"), labels);
        assert!(Labels::default().is_empty() && of(&[]) == Ok(Labels::default()) && !labels.is_empty());
        for (key, value) in [("", "a"), ("a\u{1}b", "a"), ("a", "a\u{2}b")] {
            assert!(of(&[(key, value)]).is_err(), "{key:?} {value:?}");
        }
    }

    #[test]
    fn tokens_have_an_order_only_where_they_are_padded_alike() {
        #[track_caller]
        fn check(a: &str, b: &str, expected: Option<Ordering>) {
            let (a, b): (Token, Token) = (a.parse().expect("a token"), b.parse().expect("a token"));
            assert_eq!(a.order(&b), expected, "{a} {b}");
        }
        check("v02_000000000000000000000000002a", "v02_000000000000000000000000002b", Some(Ordering::Less));
        check("0009", "0010", Some(Ordering::Less));
        check("9", "10", None);
        check("release-9", "release-10", None);
        check("6de1944179b6c16febb0a724310a4d49", "f9a3b5ab68128f93d9e82ff8398b463e", None);
    }

    #[test]
    fn a_text_from_outside_is_cut_not_refused() {
        assert_eq!(Line::from_outside("bad\nconfig").map(|line| line.to_string()), Some("bad config".into()));
        assert_eq!(Line::from_outside(" \t"), None);
        let long = Line::from_outside(&"x".repeat(300)).expect("something is left");
        assert_eq!(long.as_str().chars().count(), 256);
        assert!(long.as_str().ends_with('…'));
    }

    proptest! {
        #[test]
        fn whatever_is_cut_is_a_line(text in "\\PC{0,400}") {
            if let Some(line) = Line::from_outside(&text) {
                prop_assert!(line.as_str().parse::<Line>().is_ok());
            }
        }
    }
}
