//! The page of a list that a question and a key ask for.

use super::key::Key;
use super::order::Position;
use super::{Candidate, Query};

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
