//! What a term asks, and of which nodes it holds.

use super::{Candidate, Query};
use crate::fact::{ConfigRef, Source};
use crate::gateway::GatewayVersion;
use crate::id::{Ordinal, Token};
use crate::verdict::{ConfigWord, ConnectionWord, Counter, Overlay, Verdict};
use std::cmp::Ordering;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Term {
    pub(super) negated: bool,
    pub(super) ask: Ask,
}

/// One thing that is asked; lists mean "any of" and are never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    ControlPlane(Vec<String>),
    Gateway(Vec<GatewayAsk>),
    Config(Vec<ConfigAsk>),
    State(Vec<StateAsk>),
    Counter(Vec<Counter>),
    Label(String, Vec<String>),
    Source(Vec<Source>),
    Overlay(Vec<Overlay>),
    Behind(Vec<(Relation, u32)>),
    Since(Vec<(Relation, i64)>),
    Host(Vec<NameAsk>),
    Id(Vec<NameAsk>),
    Text(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum GatewayAsk {
    /// Equal or longer, part by part.
    Begins(String),
    Exactly(String),
    Compared(Relation, Vec<u32>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ConfigAsk {
    Ordinal(Ordinal),
    Name(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StateAsk {
    Config(ConfigWord),
    Connection(ConnectionWord),
    Counter(Counter),
    OutOfSync,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NameAsk {
    Part(String),
    Exactly(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Relation {
    Below,
    AtMost,
    Equal,
    AtLeast,
    Above,
}

impl Relation {
    /// Those of two characters first, so that `>=` is not read as `>`.
    const ALL: [Self; 5] = [Self::AtMost, Self::AtLeast, Self::Below, Self::Above, Self::Equal];

    pub(super) const fn sign(self) -> &'static str {
        match self {
            Self::Below => "<",
            Self::AtMost => "<=",
            Self::Equal => "=",
            Self::AtLeast => ">=",
            Self::Above => ">",
        }
    }

    const fn holds(self, order: Ordering) -> bool {
        match self {
            Self::Below => order.is_lt(),
            Self::AtMost => order.is_le(),
            Self::Equal => order.is_eq(),
            Self::AtLeast => order.is_ge(),
            Self::Above => order.is_gt(),
        }
    }

    /// The sign that a text begins with, and what follows.
    pub(super) fn split(text: &str) -> Option<(Self, &str)> {
        Self::ALL.into_iter().find_map(|relation| Some((relation, text.strip_prefix(relation.sign())?)))
    }
}

impl Ask {
    pub(super) fn key(&self) -> Option<String> {
        match self {
            Self::ControlPlane(_) => Some("cp".to_owned()),
            Self::Gateway(_) => Some("gateway".to_owned()),
            Self::Label(label, _) => Some(format!("label.{label}")),
            Self::Source(_) => Some("source".to_owned()),
            Self::Config(_)
            | Self::State(_)
            | Self::Counter(_)
            | Self::Overlay(_)
            | Self::Behind(_)
            | Self::Since(_)
            | Self::Host(_)
            | Self::Id(_)
            | Self::Text(_) => None,
        }
    }

    pub(super) fn holds(&self, node: &Candidate<'_>) -> bool {
        let attributes = node.attributes;
        match self {
            Self::ControlPlane(names) => names.iter().any(|name| name == node.control_plane.as_str()),
            Self::Gateway(asked) => match &attributes.gateway_version {
                Some(version) => asked.iter().any(|ask| ask.holds(version)),
                None => false,
            },
            Self::Config(asked) => asked.iter().any(|ask| ask.holds(node)),
            Self::State(asked) => asked.iter().any(|state| state.holds(node.verdict)),
            Self::Counter(asked) => asked.iter().any(|counter| node.verdict.counter() == Some(*counter)),
            Self::Label(label, values) => match attributes.labels.as_ref().and_then(|labels| labels.get(label)) {
                Some(value) => values.iter().any(|asked| asked == value),
                None => false,
            },
            Self::Source(asked) => node.source.is_some_and(|source| asked.contains(&source)),
            Self::Overlay(asked) => asked.iter().any(|overlay| node.verdict.overlays.has(*overlay)),
            Self::Behind(asked) => {
                let behind = node.verdict.config.behind();
                asked.iter().any(|(relation, number)| relation.holds(behind.cmp(number)))
            }
            Self::Since(asked) => {
                let age_ms = node.now.since(node.since());
                asked.iter().any(|(relation, span_ms)| relation.holds(age_ms.cmp(span_ms)))
            }
            Self::Host(asked) => match &attributes.hostname {
                Some(hostname) => asked.iter().any(|ask| match ask {
                    NameAsk::Part(part) => contains(hostname.as_str(), part),
                    NameAsk::Exactly(name) => same(hostname.as_str(), name),
                }),
                None => false,
            },
            Self::Id(asked) => asked.iter().any(|ask| match ask {
                NameAsk::Part(part) => begins(node.id.as_str(), part),
                NameAsk::Exactly(name) => node.id.as_str() == name,
            }),
            Self::Text(text) => {
                let in_labels = |text: &str| {
                    attributes
                        .labels
                        .as_ref()
                        .is_some_and(|labels| labels.iter().any(|(_, value)| contains(value, text)))
                };
                contains(node.id.as_str(), text)
                    || attributes.hostname.as_ref().is_some_and(|hostname| contains(hostname.as_str(), text))
                    || attributes.ip.as_ref().is_some_and(|ip| contains(ip.as_str(), text))
                    || in_labels(text)
                    || names_of_config(node).any(|name| same(name, text))
            }
        }
    }
}

impl StateAsk {
    fn holds(self, verdict: &Verdict) -> bool {
        match self {
            Self::Config(word) => verdict.config.word() == word,
            Self::Connection(word) => verdict.connectivity.word() == word,
            Self::Counter(counter) => verdict.counter() == Some(counter),
            Self::OutOfSync => verdict.config.word().out_of_sync(),
        }
    }
}

impl GatewayAsk {
    fn holds(&self, version: &GatewayVersion) -> bool {
        match self {
            Self::Begins(asked) => {
                let rest = version.as_str().strip_prefix(asked.as_str());
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '-']) || asked.ends_with('.'))
            }
            Self::Exactly(asked) => version.as_str() == asked,
            Self::Compared(relation, numbers) => {
                let mine = &version.numbers()[..numbers.len()];
                relation.holds(mine.cmp(numbers))
            }
        }
    }
}

impl ConfigAsk {
    fn holds(&self, node: &Candidate<'_>) -> bool {
        let running = node.verdict.config.running();
        match self {
            Self::Ordinal(ordinal) => running == Some(*ordinal),
            Self::Name(name) => {
                let begins_one = name.chars().count() >= Query::PREFIX_MIN;
                names_of_config(node).any(|known| same(known, name) || begins_one && begins(known, name))
                    || running.is_some() && name.parse::<Ordinal>().ok() == running
            }
        }
    }
}

/// What the configuration of a node is called: what it reports, and the token of the version that it runs.
fn names_of_config<'a>(node: &Candidate<'a>) -> impl Iterator<Item = &'a str> + use<'a> {
    node.reported.map(ConfigRef::as_str).into_iter().chain(node.token.map(Token::as_str))
}

/// Whether two names are the same but for case, or but for the middle that an `…` stands for.
fn same(name: &str, asked: &str) -> bool {
    match asked.split_once('…') {
        None => name.len() == asked.len() && begins(name, asked),
        Some((head, tail)) => {
            let long_enough = name.chars().count() >= head.chars().count() + tail.chars().count();
            let tail_begins = name.chars().count().saturating_sub(tail.chars().count());
            let end: String = name.chars().skip(tail_begins).collect();
            long_enough && !head.is_empty() && begins(name, head) && begins(&end, tail)
        }
    }
}

/// Whether a name begins with a text, whatever the case.
fn begins(name: &str, text: &str) -> bool {
    let mut rest = name.chars().flat_map(char::to_lowercase);
    text.chars().flat_map(char::to_lowercase).all(|asked| rest.next() == Some(asked))
}

/// Whether a text is in a name, whatever the case; or the same but for an `…`.
fn contains(name: &str, text: &str) -> bool {
    if name.is_ascii() && text.is_ascii() {
        let (name, text) = (name.as_bytes(), text.as_bytes());
        return text.is_empty() || name.windows(text.len()).any(|window| window.eq_ignore_ascii_case(text));
    }
    name.to_lowercase().contains(&text.to_lowercase()) || text.contains('…') && same(name, text)
}
