//! A credential in memory: it is sent, and never printed.

use std::fmt;

use serde::{Serialize, Serializer};

/// What is printed in its place.
pub const REDACTED: &str = "[redacted]";

/// A credential. Its `Debug`, `Display` and `Serialize` say [`REDACTED`].
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// A credential as it was read; what stands around it on its line is left out.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.trim().to_owned())
    }

    /// The credential itself, for the request that carries it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// A text from outside without the credential, should somebody have repeated it there.
    #[must_use]
    pub fn hidden_in(&self, text: &str) -> String {
        if self.0.is_empty() { text.to_owned() } else { text.replace(&self.0, REDACTED) }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(REDACTED)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(REDACTED)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(REDACTED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_never_printed() {
        let secret = Secret::new("  open-sesame-1\n");
        assert_eq!(secret.expose(), "open-sesame-1");
        for printed in [format!("{secret}"), format!("{secret:?}"), format!("{:#?}", Some(&secret))] {
            assert!(!printed.contains("sesame"), "{printed}");
        }
        assert_eq!(serde_json::to_string(&secret).unwrap(), "\"[redacted]\"");
        assert_eq!(secret.hidden_in("no open-sesame-1 here"), "no [redacted] here");
        assert_eq!(Secret::new("").hidden_in("abc"), "abc");
    }
}
