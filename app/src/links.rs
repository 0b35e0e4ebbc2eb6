//! Addresses within the dashboard. Every one of them keeps the moment that is looked at.

use leptos::prelude::*;
use leptos_router::hooks::use_query_map;
use leptos_router::params::ParamsMap;
use tidemark_domain::analytics::TrafficQuestion;
use tidemark_domain::id::{CpName, NodeId, Ordinal};

/// The part of an address that every link keeps: `?at=…&known=now`, as it was given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Links {
    at: String,
    known: String,
}

impl Links {
    /// Links that keep the moment of this address.
    #[must_use]
    pub fn of(query: &ParamsMap) -> Self {
        Self { at: query.get("at").unwrap_or_default(), known: query.get("known").unwrap_or_default() }
    }

    /// Links that lead to now.
    #[must_use]
    pub fn now() -> Self {
        Self::default()
    }

    /// `?at=` as it was given; empty for now.
    #[must_use]
    pub fn at(&self) -> &str {
        &self.at
    }

    /// `?known=` as it was given.
    #[must_use]
    pub fn known(&self) -> &str {
        &self.known
    }

    /// The same, with or without what became known since.
    #[must_use]
    pub fn knowing(&self, known: &str) -> Self {
        Self { at: self.at.clone(), known: known.into() }
    }

    /// The overview.
    #[must_use]
    pub fn overview(&self) -> String {
        self.to("/", &[])
    }

    /// The list of nodes that answer a question.
    #[must_use]
    pub fn nodes(&self, question: &str) -> String {
        self.to("/nodes", &[("q", question)])
    }

    /// The same list, after a key.
    #[must_use]
    pub fn nodes_after(&self, question: &str, after: &str) -> String {
        self.to("/nodes", &[("q", question), ("after", after)])
    }

    /// One node.
    #[must_use]
    pub fn node(&self, control_plane: &CpName, id: &NodeId) -> String {
        self.to(&format!("/nodes/{control_plane}/{id}"), &[])
    }

    /// The past of one node, after a key.
    #[must_use]
    pub fn node_after(&self, control_plane: &CpName, id: &NodeId, after: &str) -> String {
        self.to(&format!("/nodes/{control_plane}/{id}"), &[("after", after)])
    }

    /// The choice of a ledger.
    #[must_use]
    pub fn ledgers(&self) -> String {
        self.to("/versions", &[])
    }

    /// The ledger of one control plane.
    #[must_use]
    pub fn ledger(&self, control_plane: &CpName) -> String {
        self.to(&format!("/versions/{control_plane}"), &[])
    }

    /// The same ledger, after a key.
    #[must_use]
    pub fn ledger_after(&self, control_plane: &CpName, after: &str) -> String {
        self.to(&format!("/versions/{control_plane}"), &[("after", after)])
    }

    /// Traffic.
    #[must_use]
    pub fn traffic(&self, question: &TrafficQuestion) -> String {
        self.with("/analytics", question, None)
    }

    /// Usage by month.
    #[must_use]
    pub fn usage(&self) -> String {
        self.to("/usage", &[])
    }

    /// The same as a file of rows.
    #[must_use]
    pub fn traffic_file(&self, question: &TrafficQuestion, format: &'static str) -> String {
        self.with("/api/v1/traffic", question, Some(format))
    }

    fn with(&self, path: &str, question: &TrafficQuestion, format: Option<&'static str>) -> String {
        let mut pairs = question.parameters();
        pairs.extend(format.map(|format| ("format", format.to_owned())));
        let pairs: Vec<(&str, &str)> = pairs.iter().map(|(name, value)| (*name, value.as_str())).collect();
        self.to(path, &pairs)
    }

    /// One version.
    #[must_use]
    pub fn version(&self, control_plane: &CpName, ordinal: Ordinal) -> String {
        self.to(&format!("/versions/{control_plane}/{}", ordinal.number()), &[])
    }

    /// Nodes that run one version of one control plane.
    #[must_use]
    pub fn running(&self, control_plane: &CpName, ordinal: Ordinal) -> String {
        self.nodes(&format!("cp:{control_plane} config:{ordinal}"))
    }

    /// An address with these parts of a query, empty ones left out, and the moment.
    #[must_use]
    pub fn to(&self, path: &str, query: &[(&str, &str)]) -> String {
        let moment = [("at", self.at.as_str()), ("known", self.known.as_str())];
        let parts: Vec<String> = query
            .iter()
            .chain(&moment)
            .filter(|(_, value)| !value.is_empty())
            .map(|(key, value)| format!("{key}={}", encode(value)))
            .collect();
        if parts.is_empty() { path.into() } else { format!("{path}?{}", parts.join("&")) }
    }
}

/// Links that keep the moment of the page that is shown.
#[must_use]
pub fn use_links() -> Memo<Links> {
    let query = use_query_map();
    Memo::new(move |_| query.with(Links::of))
}

/// A value as part of a query. `:` stays as it is, so that a question can be read in the address.
fn encode(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for byte in value.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b':' => out.push(byte.into()),
            b' ' => out.push('+'),
            other => {
                const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
                let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble)]);
                out.extend(['%', digit(other >> 4), digit(other & 15)]);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_link_keeps_the_moment() {
        let then = Links { at: "2026-11-20T03:21:07Z".into(), known: "now".into() };
        let (cp, id) = ("eu-prod".parse().expect("a name"), "n-1".parse().expect("an id"));
        #[track_caller]
        fn check(link: &str, expected: &str) {
            assert_eq!(link, expected);
        }
        check(&then.overview(), "/?at=2026-11-20T03:21:07Z&known=now");
        check(&then.nodes("state:blocked"), "/nodes?q=state:blocked&at=2026-11-20T03:21:07Z&known=now");
        check(&then.node(&cp, &id), "/nodes/eu-prod/n-1?at=2026-11-20T03:21:07Z&known=now");
        check(&then.version(&cp, Ordinal::new(7)), "/versions/eu-prod/7?at=2026-11-20T03:21:07Z&known=now");
        check(&Links::now().running(&cp, Ordinal::new(7)), "/nodes?q=cp:eu-prod+config:v7");
        check(&Links::now().ledgers(), "/versions");
    }

    #[test]
    fn a_value_cannot_leave_its_place() {
        #[track_caller]
        fn check(value: &str, expected: &str) {
            assert_eq!(encode(value), expected);
        }
        check("a&b=c#d", "a%26b%3Dc%23d");
        check("100%", "100%25");
        check("since:>10m \"a b\"", "since:%3E10m+%22a+b%22");
        check("é", "%C3%A9");
        check("+01:00", "%2B01:00");
    }
}
