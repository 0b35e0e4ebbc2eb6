//! What a node repeats in its heartbeat: 32 characters that name a rendering, never a configuration.

use crate::id::parsed;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

/// The 32 characters of Kong's hash slot (`kong-hybrid.md` 1.7, 1.11). An alias of versions, never an identity.
///
/// Always 32 visible ASCII characters; hexadecimal digits are kept as they were sent.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConfigHash([u8; 32]);

/// What the characters look like (`kong-hybrid.md` 1.11).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HashKind {
    /// 32 zeros: no configuration, or only workspaces.
    Zeros,
    /// `v02_` and 28 hexadecimal digits: a version of delta sync; ordered.
    Token,
    /// Zero-padded decimal of 3.9 incremental sync; ordered.
    Decimal,
    /// 16 hexadecimal digits written twice.
    Doubled,
    /// 32 hexadecimal digits.
    Md5,
    /// Anything else.
    Other,
}

/// Why a text is not a hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAHash;

impl fmt::Display for NotAHash {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "a hash is exactly 32 visible ASCII characters")
    }
}

impl std::error::Error for NotAHash {}

impl ConfigHash {
    /// 32 zeros: what a node without a configuration repeats.
    pub const ZEROS: Self = Self([b'0'; 32]);

    /// The characters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or("")
    }

    /// What the characters look like. Zeros win over decimal, decimal over doubled, doubled over MD5.
    #[must_use]
    pub fn kind(&self) -> HashKind {
        let hex = |bytes: &[u8]| bytes.iter().all(u8::is_ascii_hexdigit);
        if self.is_zeros() {
            HashKind::Zeros
        } else if self.0.starts_with(b"v02_") && hex(&self.0[4..]) {
            HashKind::Token
        } else if self.0.iter().all(u8::is_ascii_digit) && self.0.starts_with(b"000000000000") {
            HashKind::Decimal
        } else if !hex(&self.0) {
            HashKind::Other
        } else if self.0[..16] == self.0[16..] {
            HashKind::Doubled
        } else {
            HashKind::Md5
        }
    }

    /// Whether this says "no configuration".
    #[must_use]
    pub fn is_zeros(&self) -> bool {
        *self == Self::ZEROS
    }

    /// Whether the characters are themselves an ordered version of their source.
    #[must_use]
    pub fn is_token(&self) -> bool {
        matches!(self.kind(), HashKind::Token | HashKind::Decimal)
    }

    /// Older or newer, where both are ordered tokens of one kind; `None` where the characters tell no order.
    #[must_use]
    pub fn order(&self, other: &Self) -> Option<Ordering> {
        let (mine, theirs) = (self.kind(), other.kind());
        (mine == theirs && self.is_token()).then(|| self.0.to_ascii_lowercase().cmp(&other.0.to_ascii_lowercase()))
    }

    /// The first eight and last six characters, `e64b0f1d…1e4f40`: for lines with little room.
    #[must_use]
    pub fn short(&self) -> String {
        let text = self.as_str();
        format!("{}…{}", &text[..8], &text[26..])
    }
}

impl FromStr for ConfigHash {
    type Err = NotAHash;

    fn from_str(text: &str) -> Result<Self, NotAHash> {
        let bytes: [u8; 32] = text.as_bytes().try_into().map_err(|_| NotAHash)?;
        if bytes.iter().all(u8::is_ascii_graphic) { Ok(Self(bytes)) } else { Err(NotAHash) }
    }
}

impl fmt::Display for ConfigHash {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

impl fmt::Debug for ConfigHash {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "ConfigHash({})", self.as_str())
    }
}

impl Serialize for ConfigHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for ConfigHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        parsed(deserializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn hash(text: &str) -> ConfigHash {
        text.parse().expect("a test's hash is well formed")
    }

    #[test]
    fn kinds_are_told_by_their_characters() {
        #[track_caller]
        fn check(text: &str, kind: HashKind) {
            assert_eq!(hash(text).kind(), kind, "{text}");
        }
        check("00000000000000000000000000000000", HashKind::Zeros);
        check("00000000000000000000000000000001", HashKind::Decimal);
        check("00000000000011111111111111111111", HashKind::Decimal);
        check("00000000000111111111111111111111", HashKind::Md5);
        check("v02_000000000000000000000000002a", HashKind::Token);
        check("v02_000000000000000000000000002g", HashKind::Other);
        check("1f74d9c7023b53991f74d9c7023b5399", HashKind::Doubled);
        check("6de1944179b6c16febb0a724310a4d49", HashKind::Md5);
        check("6de1944179b6c16febb0a724310a4d4-", HashKind::Other);
    }

    #[test]
    fn only_tokens_of_one_kind_have_an_order() {
        let (old, new) = (hash("v02_000000000000000000000000002a"), hash("v02_000000000000000000000000002b"));
        assert_eq!(old.order(&new), Some(Ordering::Less));
        assert_eq!(new.order(&old), Some(Ordering::Greater));
        assert_eq!(
            hash("00000000000000000000000000000009").order(&hash("00000000000000000000000000000010")),
            Some(Ordering::Less)
        );
        assert_eq!(old.order(&hash("00000000000000000000000000000009")), None);
        assert_eq!(hash("6de1944179b6c16febb0a724310a4d49").order(&hash("f9a3b5ab68128f93d9e82ff8398b463e")), None);
        assert_eq!(ConfigHash::ZEROS.order(&ConfigHash::ZEROS), None);
    }

    proptest! {
        #[test]
        fn parse_and_print_agree(text in "[!-~]{32}") {
            prop_assert_eq!(hash(&text).to_string(), text);
        }

        #[test]
        fn other_lengths_are_refused(text in ".{0,40}") {
            let fits = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_graphic());
            prop_assert_eq!(text.parse::<ConfigHash>().is_ok(), fits);
        }
    }
}
