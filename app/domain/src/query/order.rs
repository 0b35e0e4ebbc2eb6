//! The order of a list: where a node stands in it.

use super::{Candidate, Query};
use crate::time::Timestamp;
use crate::verdict::{ConfigWord, ConnectionWord, Verdict};
use std::cmp::Ordering;

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

impl Query {
    pub(super) fn position<'a>(&self, candidate: &Candidate<'a>) -> Position<&'a str> {
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
pub(super) struct Position<T> {
    pub(super) value: Value<T>,
    pub(super) control_plane: T,
    pub(super) id: T,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value<T> {
    /// Rank, changesets behind counted down from the largest number, milliseconds since when.
    Worst(u8, u32, i64),
    Name(T),
    Number(i64),
    Gateway([u32; 4], T),
}

impl Position<&str> {
    pub(super) fn compare(&self, other: &Self, reversed: bool) -> Ordering {
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
    pub(super) fn borrowed(&self) -> Position<&str> {
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
    pub(super) fn owned(&self) -> Position<String> {
        let value = match &self.value {
            Value::Worst(rank, behind, since) => Value::Worst(*rank, *behind, *since),
            Value::Name(name) => Value::Name((*name).to_owned()),
            Value::Number(number) => Value::Number(*number),
            Value::Gateway(numbers, text) => Value::Gateway(*numbers, (*text).to_owned()),
        };
        Position { value, control_plane: self.control_plane.to_owned(), id: self.id.to_owned() }
    }
}

/// The order of two names, whatever the case. ASCII has a way of its own, as a list of a large fleet compares a million
/// of them; it gives the same order.
pub(super) fn caseless(one: &str, other: &str) -> Ordering {
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
