//! Text as terms: what is understood of it, and what is said of the rest.

use super::ask::{Ask, ConfigAsk, GatewayAsk, NameAsk, Relation, StateAsk, Term};
use super::{Query, Sort};
use crate::fact::Source;
use crate::time::{DAY, HOUR, MINUTE, SECOND};
use crate::verdict::{ConfigWord, ConnectionWord, Counter, Overlay};

impl Query {
    /// Reads one word: a term, an order (`None`), or why it is neither.
    pub(super) fn read(&mut self, word: &Word) -> Result<Option<Term>, String> {
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
pub(super) const SPAN_UNITS: [(&str, i64); 4] = [("d", DAY), ("h", HOUR), ("m", MINUTE), ("s", SECOND)];

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
pub(super) struct Word(Vec<(char, bool)>);

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

pub(super) fn split(text: &str, problems: &mut Vec<String>) -> Vec<Word> {
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
