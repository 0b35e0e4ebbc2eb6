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

use crate::fact::{Attributes, ConfigRef, Source};
use crate::gateway::GatewayVersion;
use crate::id::{CpName, NodeId, Ordinal, Token};
use crate::time::{DAY, HOUR, MINUTE, SECOND, Timestamp};
use crate::verdict::{ConfigWord, ConnectionWord, Counter, Overlay, Verdict};
use crate::view::{Count, Facet};
use std::cmp::Ordering;
use std::collections::HashMap;
use std::fmt;

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

/// The order of a list. Nodes that compare equal are in the order of control plane and id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sort {
    /// Worst configuration first, then nodes that are not heard, then the rest; gone nodes last.
    #[default]
    Worst,
    /// Hostname or id.
    Name,
    /// Longest in its state first.
    Since,
    /// Fewest changesets behind first.
    Behind,
    /// Oldest gateway version first.
    Gateway,
    /// Longest without a report first.
    Last,
}

impl Sort {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Worst, Self::Name, Self::Since, Self::Behind, Self::Gateway, Self::Last];

    /// The word of `sort:`.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Worst => "worst",
            Self::Name => "name",
            Self::Since => "since",
            Self::Behind => "behind",
            Self::Gateway => "gateway",
            Self::Last => "last",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Term {
    negated: bool,
    ask: Ask,
}

/// One thing that is asked; lists mean "any of" and are never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Ask {
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
enum GatewayAsk {
    /// Equal or longer, part by part.
    Begins(String),
    Exactly(String),
    Compared(Relation, Vec<u32>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum ConfigAsk {
    Ordinal(Ordinal),
    Name(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StateAsk {
    Config(ConfigWord),
    Connection(ConnectionWord),
    Counter(Counter),
    OutOfSync,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum NameAsk {
    Part(String),
    Exactly(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Relation {
    Below,
    AtMost,
    Equal,
    AtLeast,
    Above,
}

impl Relation {
    /// Those of two characters first, so that `>=` is not read as `>`.
    const ALL: [Self; 5] = [Self::AtMost, Self::AtLeast, Self::Below, Self::Above, Self::Equal];

    const fn sign(self) -> &'static str {
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
    fn split(text: &str) -> Option<(Self, &str)> {
        Self::ALL.into_iter().find_map(|relation| Some((relation, text.strip_prefix(relation.sign())?)))
    }
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
        let mut words = split(&text.chars().take(Self::CHARS_MAX).collect::<String>(), &mut query.problems);
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

    fn position<'a>(&self, candidate: &Candidate<'a>) -> Position<&'a str> {
        let value = match self.sort {
            Sort::Worst => {
                let (rank, settled) = rank(candidate.verdict);
                let since = if settled { 0 } else { candidate.since().ms() };
                Value::Worst(rank, u32::MAX - candidate.verdict.config.behind(), since)
            }
            Sort::Name => Value::Name(candidate.name()),
            Sort::Since => Value::Number(candidate.since().ms()),
            Sort::Behind => Value::Number(i64::from(candidate.verdict.config.behind())),
            Sort::Gateway => match &candidate.attributes.gateway_version {
                Some(version) => Value::Gateway(version.numbers(), version.as_str()),
                None => Value::Gateway([0; 4], ""),
            },
            Sort::Last => Value::Number(candidate.last_report_at.map_or(i64::MIN, Timestamp::ms)),
        };
        Position { value, control_plane: candidate.control_plane.as_str(), id: candidate.id.as_str() }
    }

    /// Reads one word: a term, an order (`None`), or why it is neither.
    fn read(&mut self, word: &Word) -> Result<Option<Term>, String> {
        let negated = word.0.len() > 1 && word.0[0] == ('-', false);
        let word = if negated { Word(word.0[1..].to_vec()) } else { word.clone() };
        let term = |ask| Ok(Some(Term { negated, ask }));
        let Some((key, rest)) = word.split_at_colon() else {
            let text = word.text();
            return if text.trim().is_empty() { Ok(None) } else { term(Ask::Text(text)) };
        };
        let written = key.text();
        let lower = written.to_lowercase();
        let values = rest.values();
        if let Some(label) = strip_label(&written) {
            let known = values.iter().all(|value| value.chars().count() <= 253);
            return match (label.is_empty(), known) {
                (true, _) => Err("label. needs a name, as in label.region:eu-west-1.".to_owned()),
                (false, false) => Err(format!("label.{} has a value of more than 253 characters.", shown(label))),
                (false, true) => term(Ask::Label(label.to_owned(), values)),
            };
        }
        let list = |what: &'static str| -> Result<Vec<String>, String> {
            let given: Vec<String> = values.iter().filter(|value| !value.trim().is_empty()).cloned().collect();
            if given.is_empty() { Err(format!("{lower}: needs a value, as in {what}.")) } else { Ok(given) }
        };
        match lower.as_str() {
            "cp" | "control-plane" | "control_plane" => {
                term(Ask::ControlPlane(list("cp:eu-prod")?.iter().map(|name| name.to_lowercase()).collect()))
            }
            "gateway" => term(Ask::Gateway(each(&list("gateway:3.9")?, read_gateway)?)),
            "config" => term(Ask::Config(each(&list("config:v12")?, read_config)?)),
            "state" => term(Ask::State(each(&list("state:behind")?, read_state)?)),
            "connection" => term(Ask::State(each(&list("connection:late")?, read_connection)?)),
            "counter" => term(Ask::Counter(each(&list("counter:behind")?, read_counter)?)),
            "source" => term(Ask::Source(each(&list("source:push")?, read_source)?)),
            "overlay" => term(Ask::Overlay(each(&list("overlay:cached")?, read_overlay)?)),
            "behind" => term(Ask::Behind(each(&list("behind:>3")?, read_behind)?)),
            "since" => term(Ask::Since(each(&list("since:>10m")?, read_since)?)),
            "host" | "hostname" => term(Ask::Host(each(&list("host:gw-1")?, read_name)?)),
            "id" => term(Ask::Id(each(&list("id:0d8f2a6e")?, read_name)?)),
            "sort" if negated => Err("sort: cannot be negated; sort:-name is the reverse order.".to_owned()),
            "sort" => {
                let text = rest.text().to_lowercase();
                let (reversed, word) = text.strip_prefix('-').map_or((false, text.as_str()), |word| (true, word));
                let words = || Sort::ALL.map(Sort::word).join(", ");
                let sort = Sort::ALL
                    .into_iter()
                    .find(|sort| sort.word() == word)
                    .ok_or_else(|| format!("sort:{} is not an order; there are {}.", shown(&text), words()))?;
                (self.sort, self.reversed) = (sort, reversed);
                Ok(None)
            }
            _ => {
                // An address or an id with colons is pasted as it is; a word before the colon was meant as a key.
                if !lower.is_empty() && lower.chars().all(|c| c.is_alphabetic() || c == '_' || c == '.') {
                    self.problems
                        .push(format!("There is no search word {}: so this was searched as text.", shown(&written)));
                }
                term(Ask::Text(word.text()))
            }
        }
    }
}

fn strip_label(key: &str) -> Option<&str> {
    let (word, label) = key.split_at_checked(6)?;
    word.eq_ignore_ascii_case("label.").then_some(label)
}

fn each<T>(values: &[String], read: impl Fn(&str) -> Result<T, String>) -> Result<Vec<T>, String> {
    values.iter().map(|value| read(value)).collect()
}

/// What was given, in a sentence about it.
fn shown(text: &str) -> String {
    let mut shown: String = text.chars().take(40).collect();
    if text.chars().nth(40).is_some() {
        shown.push('…');
    }
    format!("\"{shown}\"")
}

fn read_gateway(value: &str) -> Result<GatewayAsk, String> {
    let problem = || format!("gateway:{} is not a gateway version, as in 3.9, =3.10.0.2 or <3.10.", shown(value));
    match Relation::split(value) {
        None => Ok(GatewayAsk::Begins(value.to_owned())),
        Some((Relation::Equal, "")) => Err(problem()),
        Some((Relation::Equal, version)) => Ok(GatewayAsk::Exactly(version.to_owned())),
        Some((relation @ (Relation::Below | Relation::AtMost | Relation::AtLeast | Relation::Above), version)) => {
            let plain = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit()).then(|| part.parse().ok())?;
            let numbers: Option<Vec<u32>> = version.split('.').map(plain).collect();
            match numbers {
                Some(numbers) if numbers.len() <= 4 => Ok(GatewayAsk::Compared(relation, numbers)),
                Some(_) | None => Err(problem()),
            }
        }
    }
}

fn read_config(value: &str) -> Result<ConfigAsk, String> {
    let digits = value.strip_prefix(['v', 'V']);
    // Digits alone that could begin a hash, or that are padded as tokens are, stay open: [`ConfigAsk::holds`] tries both.
    let open = digits.is_none() && (value.starts_with('0') || value.chars().count() >= Query::PREFIX_MIN);
    match digits.unwrap_or(value).parse() {
        Ok(ordinal) if !open => Ok(ConfigAsk::Ordinal(ordinal)),
        Ok(_) | Err(_) => Ok(ConfigAsk::Name(value.to_owned())),
    }
}

/// Words are written with `-` or `_`, in any case.
fn word_of(value: &str) -> String {
    value.to_lowercase().replace('-', "_")
}

fn read_state(value: &str) -> Result<StateAsk, String> {
    let word = word_of(value);
    if word == "out_of_sync" {
        return Ok(StateAsk::OutOfSync);
    }
    let config = ConfigWord::ALL.into_iter().find(|state| state.word() == word).map(StateAsk::Config);
    let connection = ConnectionWord::ALL.into_iter().find(|state| state.word() == word).map(StateAsk::Connection);
    let counter = Counter::ALL.into_iter().find(|counter| counter.word() == word).map(StateAsk::Counter);
    config.or(connection).or(counter).ok_or_else(|| {
        let words = ConfigWord::ALL.map(ConfigWord::word).join(", ");
        format!("state:{} is not a state; there are {words}, out-of-sync, and the words of connection:.", shown(value))
    })
}

fn read_connection(value: &str) -> Result<StateAsk, String> {
    let word = word_of(value);
    ConnectionWord::ALL.into_iter().find(|state| state.word() == word).map(StateAsk::Connection).ok_or_else(|| {
        let words = ConnectionWord::ALL.map(ConnectionWord::word).join(", ");
        format!("connection:{} is not a connection state; there are {words}.", shown(value))
    })
}

fn read_counter(value: &str) -> Result<Counter, String> {
    let word = word_of(value);
    Counter::ALL.into_iter().find(|counter| counter.word() == word).ok_or_else(|| {
        format!("counter:{} is not a counter; there are {}.", shown(value), Counter::ALL.map(Counter::word).join(", "))
    })
}

fn read_source(value: &str) -> Result<Source, String> {
    word_of(value).parse().map_err(|()| {
        format!("source:{} is not a source; there are {}.", shown(value), Source::ALL.map(Source::word).join(", "))
    })
}

fn read_overlay(value: &str) -> Result<Overlay, String> {
    let word = word_of(value);
    Overlay::ALL.into_iter().find(|overlay| overlay.word() == word).ok_or_else(|| {
        format!("overlay:{} is not an overlay; there are {}.", shown(value), Overlay::ALL.map(Overlay::word).join(", "))
    })
}

fn read_behind(value: &str) -> Result<(Relation, u32), String> {
    let (relation, number) = Relation::split(value).unwrap_or((Relation::Equal, value));
    whole(number)
        .and_then(|number| u32::try_from(number).ok())
        .map(|number| (relation, number))
        .ok_or_else(|| format!("behind:{} is not a number of changesets, as in >3.", shown(value)))
}

/// A span alone means "at least".
fn read_since(value: &str) -> Result<(Relation, i64), String> {
    let (relation, span) = Relation::split(value).unwrap_or((Relation::AtLeast, value));
    let unit = SPAN_UNITS.into_iter().find_map(|(unit, ms)| Some((span.strip_suffix(unit)?, ms)));
    unit.and_then(|(number, ms)| whole(number)?.checked_mul(ms))
        .map(|span_ms| (relation, span_ms))
        .ok_or_else(|| format!("since:{} is not a span, as in >10m; units are s, m, h, d.", shown(value)))
}

/// Largest first.
const SPAN_UNITS: [(&str, i64); 4] = [("d", DAY), ("h", HOUR), ("m", MINUTE), ("s", SECOND)];

fn whole(digits: &str) -> Option<i64> {
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
}

fn read_name(value: &str) -> Result<NameAsk, String> {
    match value.strip_prefix('=') {
        Some("") => Err("= needs a name after it, as in host:=gw-1.".to_owned()),
        Some(name) => Ok(NameAsk::Exactly(name.to_owned())),
        None => Ok(NameAsk::Part(value.to_owned())),
    }
}

/// A part of the question between spaces: its characters without the quotes, each with whether it was in quotes.
#[derive(Clone)]
struct Word(Vec<(char, bool)>);

impl Word {
    fn text(&self) -> String {
        self.0.iter().map(|(character, _)| character).collect()
    }

    fn split_at_colon(&self) -> Option<(Self, Self)> {
        let colon = self.0.iter().position(|part| *part == (':', false))?;
        Some((Self(self.0[..colon].to_vec()), Self(self.0[colon + 1..].to_vec())))
    }

    fn values(&self) -> Vec<String> {
        self.0.split(|part| *part == (',', false)).map(|value| Self(value.to_vec()).text()).collect()
    }
}

fn split(text: &str, problems: &mut Vec<String>) -> Vec<Word> {
    let mut words = Vec::new();
    let mut word = None;
    let mut quoted = false;
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '"' => {
                quoted = !quoted;
                // Quotes with nothing in them are still a value.
                word.get_or_insert_with(Vec::new);
            }
            '\\' if quoted => {
                word.get_or_insert_with(Vec::new).push((characters.next().unwrap_or('\\'), true));
            }
            space if space.is_whitespace() && !quoted => words.extend(word.take().map(Word)),
            other => word.get_or_insert_with(Vec::new).push((other, quoted)),
        }
    }
    if quoted {
        problems.push("A quote is not closed; everything after it was read as one value.".to_owned());
    }
    words.extend(word.map(Word));
    words
}

/// The canonical form: what was understood, in the order in which it was asked, and the order of the list last.
impl fmt::Display for Query {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, term) in self.terms.iter().enumerate() {
            let space = if index == 0 { "" } else { " " };
            write!(out, "{space}{}{}", if term.negated { "-" } else { "" }, term.ask)?;
        }
        if (self.sort, self.reversed) != (Sort::Worst, false) {
            let space = if self.terms.is_empty() { "" } else { " " };
            write!(out, "{space}sort:{}{}", if self.reversed { "-" } else { "" }, self.sort.word())?;
        }
        Ok(())
    }
}

impl fmt::Display for Ask {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (key, values): (String, Vec<String>) = match self {
            Self::ControlPlane(names) => ("cp".to_owned(), names.clone()),
            Self::Gateway(asked) => ("gateway".to_owned(), asked.iter().map(gateway_text).collect()),
            Self::Config(asked) => ("config".to_owned(), asked.iter().map(config_text).collect()),
            Self::State(asked) => ("state".to_owned(), asked.iter().map(|state| state.word().to_owned()).collect()),
            Self::Counter(asked) => {
                ("counter".to_owned(), asked.iter().map(|counter| counter.word().to_owned()).collect())
            }
            Self::Label(label, values) => (format!("label.{label}"), values.clone()),
            Self::Source(asked) => ("source".to_owned(), asked.iter().map(|source| source.word().to_owned()).collect()),
            Self::Overlay(asked) => {
                ("overlay".to_owned(), asked.iter().map(|overlay| overlay.word().to_owned()).collect())
            }
            Self::Behind(asked) => ("behind".to_owned(), asked.iter().map(|ask| behind_text(*ask)).collect()),
            Self::Since(asked) => ("since".to_owned(), asked.iter().map(|ask| since_text(*ask)).collect()),
            Self::Host(asked) => ("host".to_owned(), asked.iter().map(name_text).collect()),
            Self::Id(asked) => ("id".to_owned(), asked.iter().map(name_text).collect()),
            Self::Text(text) => return out.write_str(&quoted(text)),
        };
        let values: Vec<String> = values.iter().map(|value| quoted(value)).collect();
        write!(out, "{}:{}", quoted(&key), values.join(","))
    }
}

/// A text as one value or word: in quotes where it would be read as something else without.
fn quoted(text: &str) -> String {
    let special = |c: char| c.is_whitespace() || matches!(c, '"' | ',' | ':');
    if text.is_empty() || text.starts_with('-') || text.contains(special) {
        format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
    } else {
        text.to_owned()
    }
}

fn gateway_text(ask: &GatewayAsk) -> String {
    match ask {
        GatewayAsk::Begins(version) => version.clone(),
        GatewayAsk::Exactly(version) => format!("={version}"),
        GatewayAsk::Compared(relation, numbers) => {
            let numbers: Vec<String> = numbers.iter().map(u32::to_string).collect();
            format!("{}{}", relation.sign(), numbers.join("."))
        }
    }
}

fn config_text(ask: &ConfigAsk) -> String {
    match ask {
        ConfigAsk::Ordinal(ordinal) => ordinal.to_string(),
        ConfigAsk::Name(name) => name.clone(),
    }
}

fn behind_text((relation, number): (Relation, u32)) -> String {
    match relation {
        Relation::Equal => number.to_string(),
        Relation::Below | Relation::AtMost | Relation::AtLeast | Relation::Above => {
            format!("{}{number}", relation.sign())
        }
    }
}

fn since_text((relation, span_ms): (Relation, i64)) -> String {
    let whole = |(_, ms): &(&str, i64)| span_ms >= *ms && span_ms % ms == 0;
    let (unit, ms) = SPAN_UNITS.into_iter().find(whole).unwrap_or(("s", SECOND));
    format!("{}{}{unit}", relation.sign(), span_ms / ms)
}

fn name_text(ask: &NameAsk) -> String {
    match ask {
        NameAsk::Part(part) => part.clone(),
        NameAsk::Exactly(name) => format!("={name}"),
    }
}

impl StateAsk {
    const fn word(self) -> &'static str {
        match self {
            Self::Config(word) => word.word(),
            Self::Connection(word) => word.word(),
            Self::Counter(counter) => counter.word(),
            Self::OutOfSync => "out-of-sync",
        }
    }

    fn holds(self, verdict: &Verdict) -> bool {
        match self {
            Self::Config(word) => verdict.config.word() == word,
            Self::Connection(word) => verdict.connectivity.word() == word,
            Self::Counter(counter) => verdict.counter() == Some(counter),
            Self::OutOfSync => verdict.config.word().out_of_sync(),
        }
    }
}

impl Ask {
    fn key(&self) -> Option<String> {
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

    fn holds(&self, node: &Candidate<'_>) -> bool {
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

/// The order of two names, whatever the case. ASCII has a way of its own, as a list of a large fleet compares a million
/// of them; it gives the same order.
fn caseless(one: &str, other: &str) -> Ordering {
    if one.is_ascii() && other.is_ascii() {
        let lower = |text: &str, place: usize| text.as_bytes()[place].to_ascii_lowercase();
        let shared = one.len().min(other.len());
        let differs = (0..shared).find(|place| lower(one, *place) != lower(other, *place));
        return match differs {
            Some(place) => lower(one, place).cmp(&lower(other, place)),
            None => one.len().cmp(&other.len()),
        };
    }
    one.chars().flat_map(char::to_lowercase).cmp(other.chars().flat_map(char::to_lowercase))
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

/// The place of a node in the order "worst first", and whether nothing about it asks for attention: such nodes stand
/// by name, so that a rollout does not shuffle the quiet end of a list.
const fn rank(verdict: &Verdict) -> (u8, bool) {
    let connection = match verdict.connectivity.word() {
        ConnectionWord::Disconnected => 0,
        ConnectionWord::NeverSeen => 1,
        ConnectionWord::Late => 2,
        ConnectionWord::Unobserved => 3,
        ConnectionWord::Connected => 4,
        ConnectionWord::Gone => return (u8::MAX, false),
    };
    match verdict.config.word() {
        ConfigWord::Rejected => (0, false),
        ConfigWord::Incompatible => (1, false),
        ConfigWord::Empty => (2, false),
        ConfigWord::Behind => (3, false),
        ConfigWord::Unrecognized => (4, false),
        ConfigWord::Ahead => (5, false),
        ConfigWord::UnprovenAlias => (6, false),
        ConfigWord::Unknown => (7, false),
        ConfigWord::Propagating => (10 + connection, false),
        ConfigWord::Current if connection == 4 => (20, true),
        ConfigWord::Current => (10 + connection, false),
    }
}

/// Where a node stands in an order.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Position<T> {
    value: Value<T>,
    control_plane: T,
    id: T,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Value<T> {
    /// Rank, changesets behind counted down from the largest number, milliseconds since when.
    Worst(u8, u32, i64),
    Name(T),
    Number(i64),
    Gateway([u32; 4], T),
}

impl Position<&str> {
    fn compare(&self, other: &Self, reversed: bool) -> Ordering {
        let order = match (&self.value, &other.value) {
            (Value::Worst(rank, behind, since), Value::Worst(rank2, behind2, since2)) => {
                (rank, behind, since).cmp(&(rank2, behind2, since2))
            }
            (Value::Name(name), Value::Name(name2)) => caseless(name, name2).then_with(|| name.cmp(name2)),
            (Value::Number(number), Value::Number(number2)) => number.cmp(number2),
            (Value::Gateway(numbers, text), Value::Gateway(numbers2, text2)) => {
                numbers.cmp(numbers2).then_with(|| text.cmp(text2))
            }
            // Positions of two orders are never compared: a key is read for the order of its question.
            (Value::Worst(..) | Value::Name(_) | Value::Number(_) | Value::Gateway(..), _) => Ordering::Equal,
        };
        let order = if reversed { order.reverse() } else { order };
        order.then_with(|| self.control_plane.cmp(other.control_plane)).then_with(|| self.id.cmp(other.id))
    }
}

impl Position<String> {
    fn borrowed(&self) -> Position<&str> {
        let value = match &self.value {
            Value::Worst(rank, behind, since) => Value::Worst(*rank, *behind, *since),
            Value::Name(name) => Value::Name(name.as_str()),
            Value::Number(number) => Value::Number(*number),
            Value::Gateway(numbers, text) => Value::Gateway(*numbers, text.as_str()),
        };
        Position { value, control_plane: &self.control_plane, id: &self.id }
    }
}

impl Position<&str> {
    fn owned(&self) -> Position<String> {
        let value = match &self.value {
            Value::Worst(rank, behind, since) => Value::Worst(*rank, *behind, *since),
            Value::Name(name) => Value::Name((*name).to_owned()),
            Value::Number(number) => Value::Number(*number),
            Value::Gateway(numbers, text) => Value::Gateway(*numbers, (*text).to_owned()),
        };
        Position { value, control_plane: self.control_plane.to_owned(), id: self.id.to_owned() }
    }
}

/// The place in a list after which the next page begins. Its text is safe in a URL and means nothing to others. It
/// names a position, not a node: nodes that come and go between two pages do not shift it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    sort: Sort,
    reversed: bool,
    position: Position<String>,
}

/// Why a text is not a key of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAKey;

impl fmt::Display for NotAKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "the key of a page is what an answer gave as `next`, with the same order of the list")
    }
}

impl std::error::Error for NotAKey {}

impl Key {
    /// Characters of a key at most: a hostname of 256 characters, a control plane's name and an id, encoded.
    const CHARS_MAX: usize = 2_400;

    /// Reads what [`Key`] printed, for a question in the same order.
    pub fn parse(text: &str, query: &Query) -> Result<Self, NotAKey> {
        if text.len() > Self::CHARS_MAX {
            return Err(NotAKey);
        }
        let bytes = from_base64url(text).ok_or(NotAKey)?;
        let (plain, sum) = bytes.split_last_chunk::<4>().ok_or(NotAKey).map(|(plain, sum)| (plain, *sum))?;
        if checksum(plain) != sum {
            return Err(NotAKey);
        }
        let plain = std::str::from_utf8(plain).map_err(|_| NotAKey)?;
        let key = Self::from_plain(plain).ok_or(NotAKey)?;
        let fits = key.sort == query.sort && key.reversed == query.reversed;
        if fits && key.to_string() == text { Ok(key) } else { Err(NotAKey) }
    }

    /// Fields with line feeds between them: none of them can have one.
    fn plain(&self) -> String {
        let order = format!("{}{}", if self.reversed { "-" } else { "" }, self.sort.word());
        let value = match &self.position.value {
            Value::Worst(rank, behind, since) => format!("{rank} {behind} {since}"),
            Value::Name(name) => name.clone(),
            Value::Number(number) => number.to_string(),
            Value::Gateway([major, minor, patch, fourth], text) => format!("{major} {minor} {patch} {fourth} {text}"),
        };
        format!("{order}\n{}\n{}\n{value}", self.position.control_plane, self.position.id)
    }

    fn from_plain(plain: &str) -> Option<Self> {
        let fields: Vec<&str> = plain.split('\n').collect();
        let [order, control_plane, id, value] = fields.as_slice() else { return None };
        let (reversed, word) = order.strip_prefix('-').map_or((false, *order), |word| (true, word));
        let sort = Sort::ALL.into_iter().find(|sort| sort.word() == word)?;
        let parts: Vec<&str> = value.split(' ').collect();
        let value = match sort {
            Sort::Worst => match parts.as_slice() {
                [rank, behind, since] => Value::Worst(rank.parse().ok()?, behind.parse().ok()?, since.parse().ok()?),
                _ => return None,
            },
            Sort::Name => Value::Name((*value).to_owned()),
            Sort::Since | Sort::Behind | Sort::Last => Value::Number(value.parse().ok()?),
            Sort::Gateway => match parts.as_slice() {
                [major, minor, patch, fourth, text] => {
                    let numbers = [major.parse().ok()?, minor.parse().ok()?, patch.parse().ok()?, fourth.parse().ok()?];
                    Value::Gateway(numbers, (*text).to_owned())
                }
                _ => return None,
            },
        };
        let control_plane = control_plane.parse::<CpName>().ok()?.to_string();
        let id = id.parse::<NodeId>().ok()?.to_string();
        Some(Self { sort, reversed, position: Position { value, control_plane, id } })
    }
}

impl fmt::Display for Key {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = self.plain().into_bytes();
        bytes.extend(checksum(&bytes));
        out.write_str(&to_base64url(&bytes))
    }
}

/// FNV-1a: finds a key that was cut or mistyped. It keeps nobody out, and need not: a key opens no door.
fn checksum(bytes: &[u8]) -> [u8; 4] {
    let sum = bytes.iter().fold(0x811c_9dc5_u32, |sum, byte| (sum ^ u32::from(*byte)).wrapping_mul(0x0100_0193));
    sum.to_be_bytes()
}

const BASE64URL: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

fn to_base64url(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let group = chunk.iter().fold(0_u32, |group, byte| group << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for place in 0..=chunk.len() {
            text.push(char::from(BASE64URL[(group >> (18 - 6 * place) & 63) as usize]));
        }
    }
    text
}

fn from_base64url(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() * 3 / 4);
    for chunk in text.as_bytes().chunks(4) {
        let mut group = 0_u32;
        for character in chunk {
            let digit = BASE64URL.iter().position(|known| known == character)?;
            group = group << 6 | u32::try_from(digit).ok()?;
        }
        group <<= 6 * (4 - chunk.len());
        bytes.extend_from_slice(&group.to_be_bytes()[1..chunk.len()]);
    }
    Some(bytes)
}

/// A page of the nodes that a question asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    /// Nodes that the question asks for, on all pages.
    pub total: u32,
    /// Which of the candidates are on this page, in the order of the list.
    pub page: Vec<usize>,
    /// Where the next page begins; `None` on the last one.
    pub next: Option<Key>,
}

/// The page of `size` nodes after a key. Reads every candidate once and keeps no more than `2 * size + 1` of them, so a
/// page of a million nodes costs a look at each and no sort of all. `size` is at least 1.
#[must_use]
pub fn select<'a>(
    candidates: impl IntoIterator<Item = Candidate<'a>>,
    query: &Query,
    after: Option<&Key>,
    size: usize,
) -> Selection {
    let size = size.max(1);
    // One more than the page tells whether there is a next one.
    let keep = size + 1;
    let order =
        |one: &(usize, Position<&str>), other: &(usize, Position<&str>)| one.1.compare(&other.1, query.reversed);
    let after = after.map(|key| key.position.borrowed());
    let mut total: u32 = 0;
    let mut kept: Vec<(usize, Position<&str>)> = Vec::new();
    let mut full = false;
    for (index, candidate) in candidates.into_iter().enumerate() {
        if !query.matches(&candidate) {
            continue;
        }
        total = total.saturating_add(1);
        let entry = (index, query.position(&candidate));
        let before = |other: &Position<&str>| entry.1.compare(other, query.reversed).is_le();
        // Once full, the entry at `size` is the last of the best and so the one to beat.
        if after.as_ref().is_some_and(before) || full && order(&entry, &kept[size]).is_ge() {
            continue;
        }
        kept.push(entry);
        if kept.len() == 2 * keep {
            kept.select_nth_unstable_by(size, order);
            kept.truncate(keep);
            full = true;
        }
    }
    kept.sort_unstable_by(order);
    let more = kept.len() > size;
    kept.truncate(size);
    let next = kept.last().filter(|_| more).map(|(_, position)| Key {
        sort: query.sort,
        reversed: query.reversed,
        position: position.owned(),
    });
    Selection { total, page: kept.into_iter().map(|(index, _)| index).collect(), next }
}

/// Counts of nodes by property, taken in one pass.
#[derive(Debug, Default)]
pub struct FacetCounts<'a> {
    states: HashMap<&'a str, u32>,
    connections: HashMap<&'a str, u32>,
    control_planes: HashMap<&'a str, u32>,
    gateways: HashMap<&'a str, u32>,
    sources: HashMap<&'a str, u32>,
    labels: HashMap<&'a str, LabelCounts<'a>>,
}

/// `None`: more values than anyone would choose from.
#[derive(Debug)]
struct LabelCounts<'a> {
    nodes: u32,
    values: Option<HashMap<&'a str, u32>>,
}

impl<'a> FacetCounts<'a> {
    /// Values of a facet at most, those of most nodes first.
    pub const VALUES_MAX: usize = 12;
    /// Labels that become facets at most, those of most nodes first.
    pub const LABELS_MAX: usize = 8;
    /// Labels that are counted at most, the first ones met; nodes have seldom more than ten.
    const LABELS_COUNTED_MAX: usize = 256;
    /// Values of a label at most: one with more of them is a name, not a property, and becomes no facet.
    const LABEL_VALUES_MAX: usize = 4_096;

    /// Counts a node. Call it for those that [`Query::matches`].
    pub fn add(&mut self, node: &Candidate<'a>) {
        let count = |counts: &mut HashMap<&'a str, u32>, value: &'a str| *counts.entry(value).or_default() += 1;
        count(&mut self.states, node.verdict.config.word().word());
        count(&mut self.connections, node.verdict.connectivity.word().word());
        count(&mut self.control_planes, node.control_plane.as_str());
        if let Some(version) = &node.attributes.gateway_version {
            count(&mut self.gateways, version.as_str());
        }
        if let Some(source) = node.source {
            count(&mut self.sources, source.word());
        }
        for (label, value) in node.attributes.labels.iter().flat_map(|labels| labels.iter()) {
            if self.labels.len() >= Self::LABELS_COUNTED_MAX && !self.labels.contains_key(label) {
                continue;
            }
            let counts =
                self.labels.entry(label).or_insert_with(|| LabelCounts { nodes: 0, values: Some(HashMap::new()) });
            counts.nodes += 1;
            if let Some(values) = &mut counts.values {
                *values.entry(value).or_default() += 1;
                if values.len() > Self::LABEL_VALUES_MAX {
                    counts.values = None;
                }
            }
        }
    }

    /// The facets that have a value: `state`, `connection`, `cp`, `gateway`, labels by their nodes, `source`. Values by
    /// count, then by name.
    #[must_use]
    pub fn facets(self) -> Vec<Facet> {
        let mut labels: Vec<_> =
            self.labels.into_iter().filter_map(|(label, counts)| Some((label, counts.nodes, counts.values?))).collect();
        labels.sort_unstable_by_key(|(label, nodes, _)| (std::cmp::Reverse(*nodes), *label));
        labels.truncate(Self::LABELS_MAX);
        let first = [
            ("state".to_owned(), self.states),
            ("connection".to_owned(), self.connections),
            ("cp".to_owned(), self.control_planes),
            ("gateway".to_owned(), self.gateways),
        ];
        let labels = labels.into_iter().map(|(label, _, values)| (format!("label.{label}"), values));
        let facets = first.into_iter().chain(labels).chain([("source".to_owned(), self.sources)]);
        facets.filter(|(_, values)| !values.is_empty()).map(|(key, values)| facet(key, values)).collect()
    }
}

fn facet(key: String, values: HashMap<&str, u32>) -> Facet {
    let mut values: Vec<(&str, u32)> = values.into_iter().collect();
    values.sort_unstable_by_key(|(value, nodes)| (std::cmp::Reverse(*nodes), *value));
    values.truncate(FacetCounts::VALUES_MAX);
    Facet { key, values: values.into_iter().map(|(value, nodes)| Count { of: value.to_owned(), nodes }).collect() }
}

/// The term that asks for exactly the nodes that a facet, or a common factor, counts under a value.
#[must_use]
pub fn term(key: &str, value: &str) -> String {
    match key {
        "gateway" => format!("gateway:{}", quoted(&format!("={value}"))),
        _ => format!("{}:{}", quoted(key), quoted(value)),
    }
}

/// The question that lists exactly the nodes of a counter.
#[must_use]
pub fn counter_query(counter: Counter) -> String {
    format!("counter:{}", counter.word())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{Labels, Line};
    use crate::time::Timestamp;
    use crate::verdict::{BehindCause, ConfigState, Connectivity, CurrentBy, Gone, Missing, Overlays};
    use proptest::prelude::*;
    use std::str::FromStr;

    const NOW: Timestamp = Timestamp::from_ms(1_795_164_837_000);

    fn made<T: FromStr>(text: &str) -> T {
        text.parse().ok().unwrap_or_else(|| panic!("a test's {text:?} is well formed"))
    }

    /// A node of a test; `candidate` lends it.
    #[derive(Clone, Debug)]
    struct Node {
        control_plane: CpName,
        id: NodeId,
        attributes: Attributes,
        verdict: Verdict,
        reported: Option<ConfigRef>,
        token: Option<Token>,
        source: Option<Source>,
        last_report_at: Option<Timestamp>,
    }

    impl Node {
        fn candidate(&self) -> Candidate<'_> {
            Candidate {
                control_plane: &self.control_plane,
                id: &self.id,
                attributes: &self.attributes,
                verdict: &self.verdict,
                reported: self.reported.as_ref(),
                token: self.token.as_ref(),
                source: self.source,
                last_report_at: self.last_report_at,
                now: NOW,
            }
        }
    }

    fn ago(ms: i64) -> Timestamp {
        NOW.plus(-ms)
    }

    /// `eu-prod/gw-07`: connected, behind v40 by 3 changesets for 10 minutes.
    fn behind() -> Node {
        let labels = [("region", "eu-west-1"), ("team", "Edge, and more"), ("empty", ""), ("a:b c", "x")];
        let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned()));
        Node {
            control_plane: made("eu-prod"),
            id: made("0d8f2a6e-91c0"),
            attributes: Attributes {
                hostname: Some(made("GW-eu-west-07")),
                ip: Some(made("10.32.7.41")),
                gateway_version: Some(made("3.9.1")),
                labels: Labels::new(labels).ok(),
                ..Attributes::default()
            },
            verdict: Verdict {
                connectivity: Connectivity::Connected { since: ago(DAY) },
                config: ConfigState::Behind {
                    running: Ordinal::new(40),
                    behind: 3,
                    since: ago(10 * MINUTE),
                    cause: BehindCause::NotReached,
                },
                overlays: Overlays::NONE.with(Overlay::PollOnly),
            },
            reported: Some(ConfigRef::Hash(made("e64b0f1d0000000000000000001e4f40"))),
            token: Some(made("release-2026-40")),
            source: Some(Source::AdminApi),
            last_report_at: Some(ago(11 * SECOND)),
        }
    }

    fn with(mut node: Node, connectivity: Connectivity, config: ConfigState) -> Node {
        node.verdict = Verdict { connectivity, config, overlays: Overlays::NONE };
        node
    }

    #[test]
    fn a_node_is_found_by_what_is_known_of_it() {
        #[track_caller]
        fn check(query: &str, expected: bool) {
            let query = Query::parse(query);
            assert_eq!(query.problems(), [""; 0]);
            assert_eq!(query.matches(&behind().candidate()), expected, "{query}");
        }
        check("", true);
        check("cp:eu-prod", true);
        check("cp:EU-PROD", true);
        check("cp:eu", false);
        check("-cp:eu-prod", false);
        check("cp:us-prod,eu-prod", true);
        check("gateway:3.9", true);
        check("gateway:3.9.1", true);
        check("gateway:3", true);
        check("gateway:3.9.1.0", false);
        check("gateway:3.", true);
        check("gateway:3.90", false);
        check("gateway:=3.9", false);
        check("gateway:=3.9.1", true);
        check("gateway:<3.10", true);
        check("gateway:<3.9", false);
        check("gateway:<=3.9", true);
        check("gateway:>3.9", false);
        check("gateway:>=3.9.1", true);
        check("gateway:>3.9.0", true);
        check("gateway:<4", true);
        check("config:v40", true);
        check("config:40", true);
        check("config:v41", false);
        check("config:e64b0f1d0000000000000000001e4f40", true);
        check("config:E64B0F", true);
        check("config:e64b0", false);
        check("config:e64b0f1d…1e4f40", true);
        check("config:e64b0f1d…1e4f41", false);
        check("config:release-2026-40", true);
        check("config:release", true);
        check("state:behind", true);
        check("state:current,behind", true);
        check("-state:current", true);
        check("state:out-of-sync", true);
        check("state:out_of_sync", true);
        check("state:connected", true);
        check("connection:connected", true);
        check("connection:late", false);
        check("counter:behind", true);
        check("counter:not-heard", false);
        check("state:not_heard", false);
        check("state:rolling-out", false);
        check("label.region:eu-west-1", true);
        check("label.region:eu-west", false);
        check("label.region:", false);
        check("label.empty:\"\"", true);
        check("label.team:\"Edge, and more\"", true);
        check("\"label.a:b c\":x", true);
        check("source:admin-api", true);
        check("source:push,tap", false);
        check("overlay:poll_only", true);
        check("overlay:cached", false);
        check("behind:3", true);
        check("behind:>3", false);
        check("behind:>=3", true);
        check("behind:<4", true);
        check("behind:1,>2", true);
        check("since:10m", true);
        check("since:>10m", false);
        check("since:>9m", true);
        check("since:<=600s", true);
        check("since:<1h", true);
        check("host:eu-west", true);
        check("host:=gw-eu-west-07", true);
        check("host:=gw-eu-west", false);
        check("id:0d8f", true);
        check("id:91c0", false);
        check("id:=0d8f2a6e-91c0", true);
        check("gw-eu", true);
        check("GW-EU-WEST-07", true);
        check("gw-eu…07", true);
        check("32.7.41", true);
        check("0d8f2a6e-91c0", true);
        check("edge", true);
        check("e64b0f1d0000000000000000001e4f40", true);
        check("e64b0f1d…1e4f40", true);
        check("e64b0f1d", false);
        check("release-2026-40", true);
        check("release", false);
        check("gw-eu -edge", false);
        check("\"gw eu\"", false);
        check("sort:name gw", true);
    }

    #[test]
    fn a_word_of_state_holds_for_nodes_not_heard_and_a_counter_does_not() {
        #[track_caller]
        fn check(query: &str, node: &Node, expected: bool) {
            assert_eq!(Query::parse(query).matches(&node.candidate()), expected, "{query}");
        }
        let late = with(behind(), Connectivity::Late { since: ago(MINUTE) }, behind().verdict.config);
        check("state:behind", &late, true);
        check("state:out-of-sync", &late, true);
        check("counter:behind", &late, false);
        check("counter:not_heard", &late, true);
        check("since:>2m", &late, false);
        let gone = with(late, Connectivity::Gone { since: ago(DAY), why: Gone::Silent }, behind().verdict.config);
        check("", &gone, false);
        check("gw-eu", &gone, false);
        check("state:behind", &gone, false);
        check("-state:gone", &gone, false);
        check("state:gone", &gone, true);
        check("connection:gone,late gw-eu", &gone, true);
    }

    #[test]
    fn what_is_not_understood_is_named_and_the_rest_works() {
        #[track_caller]
        fn check(text: &str, canonical: &str, problem: &str) {
            let query = Query::parse(text);
            assert_eq!(query.to_string(), canonical, "{text}");
            assert!(query.problems().len() == 1 && query.problems()[0].contains(problem), "{:?}", query.problems());
        }
        check("state:broken cp:eu", "cp:eu", "state:\"broken\" is not a state");
        check("connection:behind", "", "is not a connection state");
        check("counter:fine", "", "is not a counter");
        check("gateway:<x", "", "is not a gateway version");
        check("gateway:=", "", "is not a gateway version");
        check("source:radio", "", "is not a source");
        check("overlay:fog", "", "is not an overlay");
        check("behind:>many", "", "is not a number of changesets");
        check("since:>10", "", "is not a span");
        check("since:>99999999999999999999d", "", "is not a span");
        check("cp:", "", "needs a value, as in cp:eu-prod");
        check("label.:x", "", "needs a name");
        check("sort:luck", "", "is not an order");
        check("-sort:name", "", "cannot be negated");
        check("version:41", "\"version:41\"", "no search word");
        check("\"gw eu", "\"gw eu\"", "quote is not closed");
        check(&"a ".repeat(33), "a ".repeat(32).trim_end(), "first 32 terms");
        check(&format!("a {}", "b".repeat(1_024)), "a", "longer than 1,024 characters");
    }

    #[test]
    fn an_address_with_colons_is_text() {
        #[track_caller]
        fn check(text: &str) {
            let query = Query::parse(text);
            assert!(query.problems().is_empty(), "{:?}", query.problems());
            assert_eq!(query.to_string(), format!("\"{text}\""));
        }
        check("fe80::1");
        check("::1");
        check("10.0.0.1:8443");
        check("node-1:a");
    }

    #[test]
    fn one_question_has_one_form() {
        #[track_caller]
        fn check(text: &str, canonical: &str) {
            assert_eq!(Query::parse(text).to_string(), canonical);
            assert_eq!(Query::parse(canonical), Query { problems: Vec::new(), ..Query::parse(text) });
        }
        check("  cp:EU-prod   CONFIG:12 ", "cp:eu-prod config:v12");
        check("config:123456,0012,v7", "config:123456,0012,v7");
        check("state:Not-Heard,out_of_sync", "state:not_heard,out-of-sync");
        check("connection:late", "state:late");
        check("since:120s since:>36h since:90s", "since:>=2m since:>36h since:>=90s");
        check("behind:=3", "behind:3");
        check("sort:-name gw", "gw sort:-name");
        check("sort:name sort:worst", "");
        check("--x -", "-\"-x\" \"-\"");
        check("\"a \\\"b\\\\\"", "\"a \\\"b\\\\\"");
        check("label.Team:\"a,b\",c", "label.Team:\"a,b\",c");
    }

    #[test]
    fn questions_are_widened_and_narrowed_by_terms() {
        let query = Query::parse("cp:eu-prod sort:name");
        let wider = query.with("label.region:\"eu west\" cp:eu-prod");
        assert_eq!(wider.to_string(), "cp:eu-prod label.region:\"eu west\" sort:name");
        assert!(wider.has("label.region:\"eu west\"") && !query.has("label.region:\"eu west\""));
        assert_eq!(wider.keys(), ["cp", "label.region"]);
        assert_eq!(wider.without("cp:eu-prod").sorted_by(Sort::Worst, false).to_string(), "label.region:\"eu west\"");
    }

    #[test]
    fn worst_is_first_and_gone_is_last() {
        let heard = Connectivity::Connected { since: ago(DAY) };
        let current = |since| ConfigState::Current { running: Ordinal::new(41), how: CurrentBy::Version, since };
        let unknown = ConfigState::Unknown { missing: Missing::Report };
        let propagating = ConfigState::Propagating { running: None, behind: 1, since: ago(SECOND) };
        let gone = Connectivity::Gone { since: ago(DAY), why: Gone::Silent };
        let behind_by = |behind, since| ConfigState::Behind {
            running: Ordinal::new(1),
            behind,
            since,
            cause: BehindCause::NotReached,
        };
        let rejected = ConfigState::Rejected { since: ago(SECOND), running: None, refused: None };
        let in_order = [
            ("h", heard, rejected),
            ("g", heard, behind_by(4, ago(SECOND))),
            ("f", heard, behind_by(3, ago(HOUR))),
            ("e", heard, behind_by(3, ago(MINUTE))),
            ("d", Connectivity::NeverSeen { since: ago(DAY) }, unknown),
            ("c", Connectivity::Disconnected { since: ago(DAY) }, current(ago(DAY))),
            ("b", Connectivity::Late { since: ago(DAY) }, current(ago(DAY))),
            ("a", heard, propagating),
            ("i", heard, current(ago(SECOND))),
            ("j", heard, current(ago(DAY))),
            ("k", gone, rejected),
        ];
        let nodes =
            in_order.map(|(id, connectivity, config)| Node { id: made(id), ..with(behind(), connectivity, config) });
        let query = Query::default();
        for pair in nodes.windows(2) {
            let (one, other) = (pair[0].candidate(), pair[1].candidate());
            assert_eq!(query.compare(&one, &other), Ordering::Less, "{} {}", one.id, other.id);
            assert_eq!(query.compare(&other, &one), Ordering::Greater);
            assert_eq!(query.compare(&one, &one), Ordering::Equal);
        }
    }

    #[test]
    fn facets_count_and_their_terms_find_what_they_count() {
        let mut nodes = vec![behind(); 3];
        nodes[1].attributes.gateway_version = Some(made("3.9.1.2"));
        nodes[2].attributes.labels = None;
        nodes[2].source = None;
        let mut counts = FacetCounts::default();
        nodes.iter().for_each(|node| counts.add(&node.candidate()));
        let facets = counts.facets();
        let keys: Vec<_> = facets.iter().map(|facet| facet.key.as_str()).collect();
        let labels = ["label.a:b c", "label.empty", "label.region", "label.team"];
        assert_eq!(keys[..4], ["state", "connection", "cp", "gateway"]);
        assert_eq!(keys[4..8], labels);
        assert_eq!(keys[8..], ["source"]);
        for facet in &facets {
            for value in &facet.values {
                let query = Query::parse(&term(&facet.key, &value.of));
                assert!(query.problems().is_empty(), "{query}");
                let found = nodes.iter().filter(|node| query.matches(&node.candidate())).count();
                assert_eq!(found, value.nodes as usize, "{query}");
            }
        }
    }

    #[test]
    fn facets_are_bounded_and_a_label_of_names_is_none() {
        let nodes: Vec<Node> = (0..4_097)
            .map(|number: u32| {
                let mut labels: Vec<_> = (0..9).map(|key| (format!("key-{key}"), (number % 20).to_string())).collect();
                labels.push(("pod".to_owned(), number.to_string()));
                Node {
                    attributes: Attributes { labels: Labels::new(labels).ok(), ..Attributes::default() },
                    ..behind()
                }
            })
            .collect();
        let facets = |nodes: &[Node]| {
            let mut counts = FacetCounts::default();
            nodes.iter().for_each(|node| counts.add(&node.candidate()));
            counts.facets()
        };
        let all = facets(&nodes);
        assert!(all.iter().all(|facet| facet.values.len() <= FacetCounts::VALUES_MAX && facet.key != "label.pod"));
        assert_eq!(all.iter().filter(|facet| facet.key.starts_with("label.")).count(), FacetCounts::LABELS_MAX);
        let mut labels = nodes[..4_096].to_vec();
        labels.iter_mut().for_each(|node| {
            let pod = node.attributes.labels.as_ref().and_then(|labels| labels.get("pod")).unwrap_or("").to_owned();
            node.attributes.labels = Labels::new([("pod".to_owned(), pod)]).ok();
        });
        assert!(facets(&labels).iter().any(|facet| facet.key == "label.pod"));
    }

    #[test]
    fn a_counter_has_a_question() {
        for counter in Counter::ALL {
            let query = Query::parse(&counter_query(counter));
            assert!(query.problems().is_empty());
            assert_eq!(query.to_string(), counter_query(counter));
        }
    }

    #[test]
    fn a_key_that_was_changed_is_refused() {
        let query = Query::parse("sort:name");
        let node = behind();
        let key = Key { sort: Sort::Name, reversed: false, position: query.position(&node.candidate()).owned() };
        let text = key.to_string();
        assert_eq!(Key::parse(&text, &query), Ok(key));
        assert_eq!(Key::parse(&text, &Query::parse("sort:-name")), Err(NotAKey));
        assert_eq!(Key::parse(&text, &Query::default()), Err(NotAKey));
        assert_eq!(Key::parse("", &query), Err(NotAKey));
        assert_eq!(Key::parse(&format!("{text}A"), &query), Err(NotAKey));
        for cut in 0..text.len() {
            assert_eq!(Key::parse(&text[..cut], &query), Err(NotAKey));
            let mut changed = text.clone().into_bytes();
            changed[cut] = if changed[cut] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).expect("it is ASCII");
            assert_eq!(Key::parse(&changed, &query), Err(NotAKey));
        }
    }

    #[test]
    fn the_longest_key_fits() {
        let mut node = behind();
        node.control_plane = made(&"c".repeat(63));
        node.id = made(&"n".repeat(128));
        node.attributes.hostname = Line::from_outside(&"\u{1F30A}".repeat(256));
        let query = Query::parse("sort:-name");
        let key = Key { sort: Sort::Name, reversed: true, position: query.position(&node.candidate()).owned() };
        assert_eq!(Key::parse(&key.to_string(), &query), Ok(key));
    }

    fn any_query() -> impl Strategy<Value = String> {
        let words = [
            "cp:eu-prod",
            "-state:current",
            "state:behind,out-of-sync",
            "gateway:<3.10",
            "gateway:3.9,=3.9.1",
            "config:v12",
            "config:\"a b\"",
            "label.\"x y\":z",
            "label.a:",
            "since:>10m",
            "behind:>3,1",
            "host:a,=b",
            "id:x",
            "sort:-name",
            "sort:gateway",
            "counter:not-heard",
            "overlay:cached",
            "source:tap",
            "nonsense",
            "what:ever",
            "\"",
            "-",
            "\\",
            "a\"b c\"d",
            ",",
            "::1",
            "\"\"",
            "cp:,,a",
        ];
        let piece =
            prop_oneof![prop::sample::select(words.to_vec()).prop_map(str::to_owned), "[ -~…]{0,12}", "\\PC{0,6}"];
        prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.join(" "))
    }

    fn any_nodes() -> impl Strategy<Value = Vec<Node>> {
        let one = ("[a-c]", "[a-f]{2}", prop::option::of("[A-Ca-c]{1,2}"), 0..6_u32, 0..4_i64, 0..5_u8);
        prop::collection::vec(one, 0..60).prop_map(|rows| {
            let mut nodes: Vec<Node> = rows
                .into_iter()
                .map(|(control_plane, id, hostname, number, minutes, state)| {
                    let since = ago(minutes * MINUTE);
                    let heard = Connectivity::Connected { since };
                    let current = ConfigState::Current { running: Ordinal::new(1), how: CurrentBy::Alias, since };
                    let cause = BehindCause::Away;
                    let behind_by = ConfigState::Behind { running: Ordinal::new(1), behind: number, since, cause };
                    let (connectivity, config) = match state {
                        0 => (heard, current),
                        1 => (heard, behind_by),
                        2 => (Connectivity::Late { since }, current),
                        3 => (Connectivity::Disconnected { since }, behind_by),
                        _ => (Connectivity::Gone { since, why: Gone::Silent }, current),
                    };
                    let mut node = with(behind(), connectivity, config);
                    node.control_plane = made(&control_plane);
                    node.id = made(&id);
                    node.attributes.hostname = hostname.map(|hostname| made(&hostname));
                    node.attributes.gateway_version = (number > 0).then(|| made(&format!("3.{number}")));
                    node.last_report_at = (minutes > 0).then_some(since);
                    node
                })
                .collect();
            nodes.sort_by(|one, other| (&one.control_plane, &one.id).cmp(&(&other.control_plane, &other.id)));
            nodes.dedup_by(|one, other| (&one.control_plane, &one.id) == (&other.control_plane, &other.id));
            nodes
        })
    }

    proptest! {
        #[test]
        fn parse_and_print_agree(text in any_query()) {
            let query = Query::parse(&text);
            let printed = query.to_string();
            prop_assert!(printed.chars().count() <= Query::CHARS_MAX && query.terms.len() <= Query::TERMS_MAX);
            let again = Query::parse(&printed);
            prop_assert_eq!(again.problems(), [""; 0]);
            prop_assert_eq!(&again, &Query { problems: Vec::new(), ..query });
            prop_assert_eq!(again.to_string(), printed);
        }

        #[test]
        fn the_short_way_to_compare_names_gives_the_same_order(one in "[A-Ca-c_-]{0,4}", other in "[A-Ca-c_-]{0,4}") {
            prop_assert_eq!(caseless(&one, &other), one.to_lowercase().cmp(&other.to_lowercase()));
        }

        #[test]
        fn no_question_panics_on_any_node(text in "\\PC{0,60}") {
            let _ = Query::parse(&text).matches(&behind().candidate());
        }

        #[test]
        fn no_key_panics(text in "[A-Za-z0-9_-]{0,80}|\\PC{0,30}") {
            prop_assert_eq!(Key::parse(&text, &Query::default()), Err(NotAKey));
        }

        #[test]
        fn pages_put_together_are_the_sorted_list(
            nodes in any_nodes(),
            sort in prop::sample::select(Sort::ALL.to_vec()),
            reversed: bool,
            size in 1..9_usize,
        ) {
            let query = Query::parse("state:connected,late,disconnected,gone").sorted_by(sort, reversed);
            let mut expected: Vec<usize> = (0..nodes.len()).collect();
            expected.sort_by(|one, other| query.compare(&nodes[*one].candidate(), &nodes[*other].candidate()));
            let mut pages = Vec::new();
            let mut after = None;
            loop {
                let selection = select(nodes.iter().map(Node::candidate), &query, after.as_ref(), size);
                prop_assert_eq!(selection.total as usize, nodes.len());
                prop_assert!(selection.page.len() <= size);
                pages.extend(selection.page);
                let Some(next) = selection.next else { break };
                after = Some(Key::parse(&next.to_string(), &query).expect("our own key"));
            }
            prop_assert_eq!(pages, expected);
        }
    }
}
