//! The software that a node runs.

use crate::id::parsed;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// A gateway version: two to four numbers and any suffix, `3.9.1`, `3.10.0.2`, `3.11.0.2-enterprise-edition`
/// (`kong-hybrid.md` 1.1). Ordered by its numbers, then by the text.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct GatewayVersion {
    numbers: [u32; 4],
    text: Arc<str>,
}

/// Why a text is not a gateway version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAGatewayVersion;

impl fmt::Display for NotAGatewayVersion {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "a gateway version is two to four numbers with an optional suffix, as in 3.9.1 or 3.10.0.2, at most 64 characters"
        )
    }
}

impl std::error::Error for NotAGatewayVersion {}

impl GatewayVersion {
    /// As it was sent.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Major, minor, patch and the fourth number; absent ones are zero.
    #[must_use]
    pub const fn numbers(&self) -> [u32; 4] {
        self.numbers
    }
}

impl FromStr for GatewayVersion {
    type Err = NotAGatewayVersion;

    fn from_str(text: &str) -> Result<Self, NotAGatewayVersion> {
        if text.len() > 64 || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(NotAGatewayVersion);
        }
        let numeric = text.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b'.').count();
        let mut numbers = [0; 4];
        let mut count = 0;
        for part in text[..numeric].trim_end_matches('.').split('.') {
            let slot = numbers.get_mut(count).ok_or(NotAGatewayVersion)?;
            *slot = part.parse().map_err(|_| NotAGatewayVersion)?;
            count += 1;
        }
        if count < 2 {
            return Err(NotAGatewayVersion);
        }
        Ok(Self { numbers, text: text.into() })
    }
}

impl PartialOrd for GatewayVersion {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for GatewayVersion {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.numbers.cmp(&other.numbers).then_with(|| self.text.cmp(&other.text))
    }
}

impl fmt::Display for GatewayVersion {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.text)
    }
}

impl fmt::Debug for GatewayVersion {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.text)
    }
}

impl Serialize for GatewayVersion {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for GatewayVersion {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        parsed(deserializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn version(text: &str) -> GatewayVersion {
        text.parse().expect("a test's version is well formed")
    }

    #[test]
    fn open_source_and_enterprise_forms_are_read() {
        #[track_caller]
        fn check(text: &str, expected: Option<[u32; 4]>) {
            assert_eq!(text.parse::<GatewayVersion>().ok().map(|version| version.numbers()), expected, "{text}");
        }
        check("3.9.1", Some([3, 9, 1, 0]));
        check("3.10.0.2", Some([3, 10, 0, 2]));
        check("3.11.0.2-enterprise-edition", Some([3, 11, 0, 2]));
        check("3.10.0-dev", Some([3, 10, 0, 0]));
        check("3.9", Some([3, 9, 0, 0]));
        check("3", None);
        check("", None);
        check("v3.9.1", None);
        check("3..1", None);
        check("1.2.3.4.5", None);
        check("3.99999999999", None);
        check("3.9.1 rc", None);
    }

    #[test]
    fn ten_is_after_nine() {
        assert!(version("3.10.0") > version("3.9.3"));
        assert!(version("3.10.0.2") > version("3.10.0"));
    }

    proptest! {
        #[test]
        fn parse_and_print_agree(text in "[0-9]{1,4}\\.[0-9]{1,4}(\\.[0-9]{1,4}){0,2}(-[a-z]{1,8})?") {
            prop_assert_eq!(version(&text).to_string(), text);
        }
    }
}
