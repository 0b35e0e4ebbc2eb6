//! The question that the URL speaks: filter, search, sort, page; and the counts by property of what it finds.
//!
//! A question is terms with spaces between them, and a node must agree with all of them:
//!
//! | term | asks for nodes |
//! | --- | --- |
//! | `cp:eu-prod` | of this control plane |
//! | `gateway:3.9` | whose gateway version is 3.9 or begins with it, part by part: 3.9.1, but not 3.90 |
//! | `gateway:<3.10` | compared by as many numbers as are given: 3.9.7 is below 3.10, 3.10.4 is not above 3.10 |
//! | `config:v12` `config:12` | that run version 12 of their control plane's ledger |
//! | `config:6de19441` | that report this token or hash, or run a version with this token; 6 characters begin one |
//! | `state:behind` | in this state of either axis, heard or not (see below) |
//! | `connection:late` | in this state of the first axis; the same as `state:late` |
//! | `counter:behind` | that this counter counts |
//! | `label.region:eu-west-1` | with this value of the label |
//! | `source:push` `overlay:cached` | decided by this source; with this overlay |
//! | `behind:>3` | that miss more than 3 changesets; also `>=`, `<`, `<=`, `=`, or only the number |
//! | `since:>10m` | longer than that in the state that their counter counts; units `s`, `m`, `h`, `d` |
//! | `host:gw-eu` `id:0d8f` | whose hostname has this in it; whose id begins with this |
//! | anything else | with the text in id, hostname, address or a label's value, or that report exactly this hash or token |
//!
//! A comma means "any of" (`state:behind,rejected`), a minus before a term means "not", and what has spaces, commas or
//! colons of its own goes "in quotes" (`\"` and `\\` inside). `=` before a value of `gateway:`, `host:` and `id:` asks
//! for exactly that. `sort:name` orders, `sort:-name` in reverse. Words may be written with `-` for `_`. An `…` stands
//! for what a page left out of a hash or a name, so that those can be pasted too.
//!
//! `behind` and `current` are words of the second axis as well as of counters. As a state they mean the word of the
//! axis, for nodes that are heard and for nodes that are not; as a counter they mean what the counter on the page
//! counts, which leaves out nodes that are not heard. The other counters' words mean the same under both keys.
//!
//! Nodes that are gone are found only where `state:gone` asks for them.

mod ask;
mod facets;
mod key;
mod order;
mod print;
mod read;
mod select;
#[cfg(test)]
mod tests;

pub use facets::{FacetCounts, term};
pub use key::{Key, NotAKey};
pub use order::Sort;
pub use select::{Selection, select};

use crate::fact::{Attributes, ConfigRef, Source};
use crate::id::{CpName, NodeId, Token};
use crate::time::Timestamp;
use crate::verdict::{ConnectionWord, Counter, Verdict};
use ask::{Ask, StateAsk, Term};
use std::cmp::Ordering;

/// What is known of a node when a question is put to it.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// Its control plane.
    pub control_plane: &'a CpName,
    /// Its id.
    pub id: &'a NodeId,
    /// What seldom changes.
    pub attributes: &'a Attributes,
    /// The answer for it.
    pub verdict: &'a Verdict,
    /// What it said that it runs.
    pub reported: Option<&'a ConfigRef>,
    /// The token of the version that it runs.
    pub token: Option<&'a Token>,
    /// The source that decided.
    pub source: Option<Source>,
    /// The last report.
    pub last_report_at: Option<Timestamp>,
    /// The moment of the answer.
    pub now: Timestamp,
}

impl<'a> Candidate<'a> {
    /// The hostname, else the id.
    #[must_use]
    pub fn name(&self) -> &'a str {
        self.attributes.hostname.as_ref().map_or(self.id.as_str(), |hostname| hostname.as_str())
    }

    /// Since when it is in the state that its counter counts: of a node that is not heard, or of whose configuration
    /// nothing is known, the first axis; else the second.
    #[must_use]
    pub fn since(&self) -> Timestamp {
        let connectivity = &self.verdict.connectivity;
        match connectivity.word() {
            ConnectionWord::Connected => self.verdict.config.since().unwrap_or(connectivity.since()),
            ConnectionWord::Late
            | ConnectionWord::Disconnected
            | ConnectionWord::NeverSeen
            | ConnectionWord::Unobserved
            | ConnectionWord::Gone => connectivity.since(),
        }
    }
}

/// A question. Made by [`Query::parse`], printed in one canonical form that parses to the same question.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    terms: Vec<Term>,
    sort: Sort,
    reversed: bool,
    problems: Vec<String>,
}

impl Query {
    /// Characters of a question at most, as it is given and as it is printed.
    pub const CHARS_MAX: usize = 1_024;
    /// Terms of a question at most.
    pub const TERMS_MAX: usize = 32;
    /// Characters from which the beginning of a hash or token is enough.
    pub const PREFIX_MIN: usize = 6;

    /// Reads a question. Never fails: what is not understood is left out and named in [`Query::problems`].
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut query = Self::default();
        let mut words = read::split(&text.chars().take(Self::CHARS_MAX).collect::<String>(), &mut query.problems);
        let mut too_long = text.chars().nth(Self::CHARS_MAX).is_some();
        if too_long {
            // The last word may be half of one.
            words.pop();
        }
        for word in words {
            match query.read(&word) {
                Ok(Some(_)) if query.terms.len() == Self::TERMS_MAX => {
                    query.problems.push(format!("Only the first {} terms were read.", Self::TERMS_MAX));
                    break;
                }
                Ok(Some(term)) => query.terms.push(term),
                Ok(None) => {}
                Err(problem) => query.problems.push(problem),
            }
        }
        while query.to_string().chars().count() > Self::CHARS_MAX {
            query.terms.pop();
            too_long = true;
        }
        if too_long {
            query.problems.insert(0, "The question is longer than 1,024 characters; its end was not read.".to_owned());
        }
        query.problems.truncate(Self::TERMS_MAX);
        query
    }

    /// What was not understood, in sentences for people.
    #[must_use]
    pub fn problems(&self) -> &[String] {
        &self.problems
    }

    /// The order of the list, and whether it is reversed.
    #[must_use]
    pub const fn sort(&self) -> (Sort, bool) {
        (self.sort, self.reversed)
    }

    /// Whether this asks for every node that counts.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.terms.is_empty()
    }

    /// The same question in another order.
    #[must_use]
    pub fn sorted_by(&self, sort: Sort, reversed: bool) -> Self {
        Self { sort, reversed, ..self.clone() }
    }

    /// Whether all terms of `text` are terms of this question.
    #[must_use]
    pub fn has(&self, text: &str) -> bool {
        Self::parse(text).terms.iter().all(|term| self.terms.contains(term))
    }

    /// This question and the terms of `text` that it does not have yet, as far as the bounds allow.
    #[must_use]
    pub fn with(&self, text: &str) -> Self {
        let mut wider = self.clone();
        for term in Self::parse(text).terms {
            if !wider.terms.contains(&term) && wider.terms.len() < Self::TERMS_MAX {
                wider.terms.push(term);
            }
            if wider.to_string().chars().count() > Self::CHARS_MAX {
                wider.terms.pop();
            }
        }
        wider
    }

    /// This question without the terms of `text`.
    #[must_use]
    pub fn without(&self, text: &str) -> Self {
        let other = Self::parse(text).terms;
        let mut narrower = self.clone();
        narrower.terms.retain(|term| !other.contains(term));
        narrower
    }

    /// The keys that this question narrows, `cp`, `label.region`: what its nodes share by being asked for.
    #[must_use]
    pub fn keys(&self) -> Vec<String> {
        self.terms.iter().filter(|term| !term.negated).filter_map(|term| term.ask.key()).collect()
    }

    /// Whether a node is asked for.
    #[must_use]
    pub fn matches(&self, candidate: &Candidate<'_>) -> bool {
        let gone = candidate.verdict.connectivity.word() == ConnectionWord::Gone;
        (!gone || self.asks_for_gone()) && self.terms.iter().all(|term| term.ask.holds(candidate) != term.negated)
    }

    /// The order of two nodes in the list. Equal only for one and the same node.
    #[must_use]
    pub fn compare(&self, one: &Candidate<'_>, other: &Candidate<'_>) -> Ordering {
        self.position(one).compare(&self.position(other), self.reversed)
    }

    fn asks_for_gone(&self) -> bool {
        self.terms.iter().any(|term| match &term.ask {
            Ask::State(states) => !term.negated && states.contains(&StateAsk::Connection(ConnectionWord::Gone)),
            Ask::ControlPlane(_)
            | Ask::Gateway(_)
            | Ask::Config(_)
            | Ask::Counter(_)
            | Ask::Label(..)
            | Ask::Source(_)
            | Ask::Overlay(_)
            | Ask::Behind(_)
            | Ask::Since(_)
            | Ask::Host(_)
            | Ask::Id(_)
            | Ask::Text(_) => false,
        })
    }
}

/// The question that lists exactly the nodes of a counter.
#[must_use]
pub fn counter_query(counter: Counter) -> String {
    format!("counter:{}", counter.word())
}
