//! A question as text again, in its one canonical form.

use super::ask::{Ask, ConfigAsk, GatewayAsk, NameAsk, Relation, StateAsk};
use super::read::SPAN_UNITS;
use super::{Query, Sort};
use crate::time::SECOND;
use std::fmt;

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
pub(super) fn quoted(text: &str) -> String {
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
}
