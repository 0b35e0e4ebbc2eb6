//! What stands in a sentence or in the cell of a table: words, a link, a moment, a state, a hash, a bar.

use super::part::{IntoPart, Part};
use super::state::{Icon, Look, State, Stated};
use super::tide::TideBar;
use crate::links::Links;
use crate::words;
use leptos::prelude::*;
use std::collections::BTreeMap;
use tidemark_domain::fact::{Attributes, ConfigRef};
use tidemark_domain::id::NodeId;
use tidemark_domain::time::Timestamp;
use tidemark_domain::verdict::Counter;
use tidemark_domain::view::{Count, NodeRow};

/// One piece.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Our own words.
    Text(String),
    /// Our own words that carry the sentence.
    Strong(String),
    /// Our own words that only help.
    Dim(String),
    /// Words from outside: a name, a cause. They keep their direction to themselves.
    Outside(String),
    /// What is typed.
    Code(String),
    /// The way to somewhere.
    Link {
        /// Where to.
        href: String,
        /// What it is called.
        text: String,
        /// A few words more, for the title.
        title: String,
        /// It counts nothing.
        zero: bool,
    },
    /// A moment.
    Moment {
        /// Which; the whole of it is in the title.
        at: Timestamp,
        /// In few words.
        text: String,
    },
    /// A state.
    State {
        /// Shape and tone.
        look: Look,
        /// Its word.
        word: &'static str,
        /// A few words more.
        note: String,
    },
    /// Something whose worst state goes before its name.
    Marked {
        /// Where to.
        href: String,
        /// Shape and tone.
        look: Look,
        /// Its name.
        name: String,
        /// The word of the state, for those who do not see the shape.
        word: String,
        /// A few words more.
        note: String,
    },
    /// A hash or token, shortened in the middle where it is long, with the whole of it in the title.
    Hash {
        /// The whole.
        whole: String,
        /// What is shown.
        shown: String,
    },
    /// How far a fleet has come.
    Bar {
        /// By its counters.
        counters: Vec<Count<Counter>>,
        /// In words.
        label: String,
    },
}

impl Piece {
    /// Its view.
    #[must_use]
    pub fn view(self) -> Part {
        match self {
            Self::Text(text) => text.part(),
            Self::Strong(text) => view! { <b>{text}</b> }.part(),
            Self::Dim(text) => view! { <span class="dim">{text}</span> }.part(),
            Self::Outside(text) => view! { <bdi>{text}</bdi> }.part(),
            Self::Code(text) => view! { <code>{text}</code> }.part(),
            Self::Link { href, text, title, zero } => view! {
                <a href=href class:zero=zero title=(!title.is_empty()).then_some(title)>
                    <bdi>{text}</bdi>
                </a>
            }
            .part(),
            Self::Moment { at, text } => view! {
                <time datetime=at.to_string() title=words::absolute(at)>
                    {text}
                </time>
            }
            .part(),
            Self::State { look, word, note } => view! { <State look=look word=word note=note /> }.part(),
            Self::Marked { href, look, name, word, note } => view! {
                <a class=format!("state {}", look.tone.class()) href=href>
                    <Icon look=look />
                    <span>
                        <bdi>{name}</bdi>
                        <span class="sr">{word}</span>
                    </span>
                    <small>{note}</small>
                </a>
            }
            .part(),
            Self::Hash { whole, shown } => view! {
                <span class="hash" translate="no" title=whole>
                    {shown}
                </span>
            }
            .part(),
            Self::Bar { counters, label } => view! { <TideBar counters=counters label=label /> }.part(),
        }
    }
}

/// Pieces one after the other.
#[must_use]
pub fn say(pieces: Vec<Piece>) -> Vec<Part> {
    pieces.into_iter().map(Piece::view).collect()
}

/// Our own words.
pub fn text(text: impl Into<String>) -> Piece {
    Piece::Text(text.into())
}

/// Our own words that carry the sentence.
pub fn strong(text: impl Into<String>) -> Piece {
    Piece::Strong(text.into())
}

/// Our own words that only help.
pub fn dim(text: impl Into<String>) -> Piece {
    Piece::Dim(text.into())
}

/// Words from outside.
pub fn outside(text: impl ToString) -> Piece {
    Piece::Outside(text.to_string())
}

/// The way to somewhere.
pub fn link(href: String, text: impl ToString) -> Piece {
    Piece::Link { href, text: text.to_string(), title: String::new(), zero: false }
}

/// A number as the way to what it counts.
#[must_use]
pub fn number(href: String, count: u32) -> Piece {
    Piece::Link { href, text: words::number(count.into()), title: String::new(), zero: count == 0 }
}

/// A moment in few words.
#[must_use]
pub fn moment(at: Timestamp, as_of: Timestamp) -> Piece {
    Piece::Moment { at, text: words::brief(at, as_of) }
}

/// The age of a moment.
#[must_use]
pub fn age(of: Timestamp, as_of: Timestamp) -> Piece {
    Piece::Moment { at: of, text: words::age(of, as_of) }
}

/// The age of a moment, as a way to say when: `9 min ago`.
#[must_use]
pub fn ago(of: Timestamp, as_of: Timestamp) -> Piece {
    Piece::Moment { at: of, text: format!("{} ago", words::age(of, as_of)) }
}

/// A state with a few words more.
pub fn state(state: &impl Stated, note: Option<String>) -> Piece {
    Piece::State { look: state.look(), word: state.text(), note: note.unwrap_or_default() }
}

/// A hash or token; zeros are said in words.
#[must_use]
pub fn hash(config: &ConfigRef) -> Piece {
    if config.is_zeros() {
        return dim("no configuration");
    }
    Piece::Hash { whole: config.to_string(), shown: short(config) }
}

/// `e64b0f1d…1e4f40`; what has 24 characters or fewer stays whole.
fn short(config: &ConfigRef) -> String {
    match config {
        ConfigRef::Hash(hash) => hash.short(),
        ConfigRef::Token(token) if token.as_str().len() <= 24 => token.to_string(),
        ConfigRef::Token(token) => {
            let text = token.as_str();
            format!("{}…{}", &text[..8], &text[text.len() - 6..])
        }
    }
}

/// What people call a node: its hostname, else its id.
#[must_use]
pub fn name_of(attributes: &Attributes, id: &NodeId) -> String {
    attributes.hostname.as_ref().map_or_else(|| id.to_string(), ToString::to_string)
}

/// A node's name as the way to its page.
#[must_use]
pub fn node(row: &NodeRow, links: &Links) -> Piece {
    link(links.node(&row.control_plane, &row.id), name_of(&row.attributes, &row.id))
}

/// The names of a list. Where several nodes have one hostname, as machines made from one image do, the beginning of
/// the id tells them apart.
#[derive(Debug)]
pub struct Names(BTreeMap<String, u32>);

impl Names {
    /// Of these nodes.
    pub fn of(names: impl Iterator<Item = String>) -> Self {
        let mut counts = BTreeMap::new();
        for name in names {
            *counts.entry(name).or_default() += 1;
        }
        Self(counts)
    }

    /// The name of a node as the way to its page.
    #[must_use]
    pub fn link(&self, href: String, name: String, id: &NodeId) -> Vec<Piece> {
        let shared = self.0.get(&name).is_some_and(|count| *count > 1);
        let mark = shared.then(|| dim(format!(" {}", id.as_str().chars().take(8).collect::<String>())));
        [link(href, name)].into_iter().chain(mark).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_of_one_name_are_told_apart_by_their_ids() {
        let names = Names::of(["vm", "vm", "gw-1"].map(str::to_owned).into_iter());
        let id: NodeId = "0d8f2a6e-91c3".parse().expect("an id");
        let shown = |name: &str| names.link("/".into(), name.into(), &id);
        assert_eq!(shown("vm"), [link("/".into(), "vm"), dim(" 0d8f2a6e")]);
        assert_eq!(shown("gw-1"), [link("/".into(), "gw-1")]);
    }

    #[test]
    fn long_names_are_cut_in_the_middle() {
        #[track_caller]
        fn check(text: &str, expected: &str) {
            let token: tidemark_domain::id::Token = text.parse().expect("a token");
            assert_eq!(short(&ConfigRef::from(token)), expected);
        }
        check("e64b0f1d7c2a4895b3f0a6d2c81e4f40", "e64b0f1d…1e4f40");
        check("release-10", "release-10");
        check("2026-11-20T03:11:38Z-deck-ci", "2026-11-…eck-ci");
    }
}
