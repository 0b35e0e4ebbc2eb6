//! How each state looks: its shape and its tone, and the words around it. The word itself is the domain's; what exists
//! once per state is one `match` here, so that a new state is a tour of compile errors.
//!
//! Bodies are configuration, lines connectivity, flags overlays: the axis can be told from the shape alone.

use super::part::{IntoPart, Part};
use crate::words::{age, counted};
use leptos::prelude::*;
use tidemark_domain::notice::Severity;
use tidemark_domain::time::Timestamp;
use tidemark_domain::verdict::{
    ConfigState, ConfigWord, ConnectionWord, Connectivity, Counter, CurrentBy, Gone, Missing, Overlay, Verdict,
};

/// A symbol of the sprite (see [`super::sprite`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A disc.
    Current,
    /// A disc with `=`.
    Alias,
    /// A disc with `-`.
    NoOp,
    /// A half-full ring.
    Propagating,
    /// A triangle that points down.
    Behind,
    /// A hollow triangle that points up.
    Ahead,
    /// A square with a cross.
    Rejected,
    /// A ring with a bar.
    Incompatible,
    /// A hollow square.
    Empty,
    /// A hexagon with a dot.
    Unrecognized,
    /// A dashed ring with `=`.
    Unproven,
    /// A dotted ring.
    Unknown,
    /// Two dots and a line.
    Connected,
    /// A broken line with a hollow end.
    Late,
    /// A cut line.
    Disconnected,
    /// Two hollow dots.
    NeverSeen,
    /// A line to a wall.
    Gone,
    /// A closed eye.
    Unobserved,
    /// A flag.
    Flag,
    /// A dot.
    Dot,
}

impl Shape {
    /// Every shape.
    pub const ALL: [Self; 20] = [
        Self::Current,
        Self::Alias,
        Self::NoOp,
        Self::Propagating,
        Self::Behind,
        Self::Ahead,
        Self::Rejected,
        Self::Incompatible,
        Self::Empty,
        Self::Unrecognized,
        Self::Unproven,
        Self::Unknown,
        Self::Connected,
        Self::Late,
        Self::Disconnected,
        Self::NeverSeen,
        Self::Gone,
        Self::Unobserved,
        Self::Flag,
        Self::Dot,
    ];

    /// The reference to its symbol.
    #[must_use]
    pub const fn href(self) -> &'static str {
        match self {
            Self::Current => "#g-current",
            Self::Alias => "#g-alias",
            Self::NoOp => "#g-noop",
            Self::Propagating => "#g-propagating",
            Self::Behind => "#g-behind",
            Self::Ahead => "#g-ahead",
            Self::Rejected => "#g-rejected",
            Self::Incompatible => "#g-incompatible",
            Self::Empty => "#g-empty",
            Self::Unrecognized => "#g-unrecognized",
            Self::Unproven => "#g-unproven",
            Self::Unknown => "#g-unknown",
            Self::Connected => "#g-connected",
            Self::Late => "#g-late",
            Self::Disconnected => "#g-disconnected",
            Self::NeverSeen => "#g-never",
            Self::Gone => "#g-gone",
            Self::Unobserved => "#g-unobserved",
            Self::Flag => "#g-flag",
            Self::Dot => "#g-dot",
        }
    }

    /// Whether it is one of the long ones: the first axis.
    #[must_use]
    pub const fn is_line(self) -> bool {
        match self {
            Self::Connected | Self::Late | Self::Disconnected | Self::NeverSeen | Self::Gone | Self::Unobserved => true,
            Self::Current
            | Self::Alias
            | Self::NoOp
            | Self::Propagating
            | Self::Behind
            | Self::Ahead
            | Self::Rejected
            | Self::Incompatible
            | Self::Empty
            | Self::Unrecognized
            | Self::Unproven
            | Self::Unknown
            | Self::Flag
            | Self::Dot => false,
        }
    }
}

/// How much a state asks for. The style sheet gives it a colour; the word and the shape say it first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// As it should be.
    Ok,
    /// Under way.
    Move,
    /// Will not mend itself.
    Warn,
    /// Broken.
    Bad,
    /// Not what was published.
    Odd,
    /// Says nothing.
    Mute,
}

impl Tone {
    /// The class of the style sheet.
    #[must_use]
    pub const fn class(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Move => "move",
            Self::Warn => "warn",
            Self::Bad => "bad",
            Self::Odd => "odd",
            Self::Mute => "mute",
        }
    }
}

/// Shape and tone of a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// Its shape.
    pub shape: Shape,
    /// Its tone.
    pub tone: Tone,
}

const fn look(shape: Shape, tone: Tone) -> Look {
    Look { shape, tone }
}

/// What has a look and a word.
pub trait Stated {
    /// Its look.
    fn look(&self) -> Look;
    /// The word that people read.
    fn text(&self) -> &'static str;
}

impl Stated for ConfigWord {
    fn look(&self) -> Look {
        match self {
            Self::Rejected => look(Shape::Rejected, Tone::Bad),
            Self::Incompatible => look(Shape::Incompatible, Tone::Bad),
            Self::Empty => look(Shape::Empty, Tone::Bad),
            Self::Behind => look(Shape::Behind, Tone::Warn),
            Self::Unrecognized => look(Shape::Unrecognized, Tone::Odd),
            Self::Ahead => look(Shape::Ahead, Tone::Odd),
            Self::UnprovenAlias => look(Shape::Unproven, Tone::Odd),
            Self::Unknown => look(Shape::Unknown, Tone::Mute),
            Self::Propagating => look(Shape::Propagating, Tone::Move),
            Self::Current => look(Shape::Current, Tone::Ok),
        }
    }

    fn text(&self) -> &'static str {
        self.label()
    }
}

impl Stated for ConnectionWord {
    fn look(&self) -> Look {
        match self {
            Self::Disconnected => look(Shape::Disconnected, Tone::Bad),
            Self::NeverSeen => look(Shape::NeverSeen, Tone::Mute),
            Self::Late => look(Shape::Late, Tone::Warn),
            Self::Unobserved => look(Shape::Unobserved, Tone::Mute),
            Self::Connected => look(Shape::Connected, Tone::Ok),
            Self::Gone => look(Shape::Gone, Tone::Mute),
        }
    }

    fn text(&self) -> &'static str {
        self.label()
    }
}

impl Stated for Counter {
    fn look(&self) -> Look {
        match self {
            Self::NotHeard => look(Shape::Disconnected, Tone::Bad),
            Self::Blocked => look(Shape::Rejected, Tone::Bad),
            Self::Behind => look(Shape::Behind, Tone::Warn),
            Self::RollingOut => look(Shape::Propagating, Tone::Move),
            Self::Current => look(Shape::Current, Tone::Ok),
        }
    }

    fn text(&self) -> &'static str {
        self.label()
    }
}

impl Stated for ConfigState {
    /// As its word, but for the ways of being current.
    fn look(&self) -> Look {
        match self {
            Self::Current { how: CurrentBy::Alias, .. } => look(Shape::Alias, Tone::Ok),
            Self::Current { how: CurrentBy::NoOp, .. } => look(Shape::NoOp, Tone::Ok),
            other => other.word().look(),
        }
    }

    fn text(&self) -> &'static str {
        match self {
            Self::Current { how: CurrentBy::Alias, .. } => "current by alias",
            Self::Current { how: CurrentBy::NoOp, .. } => "current by no-op",
            Self::Current { how: CurrentBy::Revert, .. } => "current by revert",
            Self::Current { how: CurrentBy::Empty, .. } => "current, empty",
            other => other.word().label(),
        }
    }
}

impl Stated for Connectivity {
    fn look(&self) -> Look {
        self.word().look()
    }

    fn text(&self) -> &'static str {
        self.word().label()
    }
}

/// The look of an overlay: a flag, in its tone.
#[must_use]
pub const fn overlay_look(overlay: Overlay) -> Look {
    let tone = match overlay {
        Overlay::RestartUnsafe | Overlay::SuspiciousContent | Overlay::DuplicateId => Tone::Bad,
        Overlay::CertExpiring | Overlay::LicenseExpiring | Overlay::Flapping | Overlay::ClockSkew => Tone::Warn,
        Overlay::PluginStateUnverified | Overlay::SourcesDisagree | Overlay::ServingWhileSilent => Tone::Odd,
        Overlay::Cached | Overlay::CountersMayReset | Overlay::PollOnly | Overlay::FellBackToFullSync => Tone::Mute,
    };
    look(Shape::Flag, tone)
}

/// The tone of a severity.
#[must_use]
pub const fn severity_tone(severity: Severity) -> Tone {
    match severity {
        Severity::Page => Tone::Bad,
        Severity::Ticket => Tone::Warn,
        Severity::Info => Tone::Mute,
    }
}

/// The few words after the state of the second axis in a list.
#[must_use]
pub fn config_note(config: &ConfigState) -> Option<String> {
    match config {
        ConfigState::Behind { behind, .. } | ConfigState::Propagating { behind, .. } if *behind > 0 => {
            Some(format!("by {behind}"))
        }
        ConfigState::Rejected { refused: Some(refused), .. } => Some(refused.to_string()),
        ConfigState::Unknown { missing: Missing::Report } => Some("no report".into()),
        ConfigState::Unknown { missing: Missing::Version } => Some("no version yet".into()),
        ConfigState::Unknown { missing: Missing::Word } => Some("not in the ledger".into()),
        ConfigState::Unknown { missing: Missing::ProofOfEmptiness } => Some("reports zeros".into()),
        ConfigState::Behind { .. }
        | ConfigState::Propagating { .. }
        | ConfigState::Rejected { .. }
        | ConfigState::Incompatible { .. }
        | ConfigState::Empty { .. }
        | ConfigState::Current { .. }
        | ConfigState::Ahead { .. }
        | ConfigState::UnprovenAlias { .. }
        | ConfigState::Unrecognized { .. } => None,
    }
}

/// What the first half of the banner says below its word.
#[must_use]
pub fn connection_sentence(connectivity: &Connectivity, at: Timestamp) -> String {
    let for_long = age(connectivity.since(), at);
    match connectivity {
        Connectivity::Connected { .. } => format!("Reports have come without a gap for {for_long}."),
        Connectivity::Late { .. } => format!("The last report is {for_long} old; more than one is missing."),
        Connectivity::Disconnected { .. } => format!("The last report is {for_long} old; it serves what it had then."),
        Connectivity::NeverSeen { .. } => format!("First heard of {for_long} ago; no report since."),
        Connectivity::Gone { why, .. } => {
            format!("Out of the counts: {}; last report {for_long} ago.", gone_because(*why))
        }
        Connectivity::Unobserved { .. } => {
            format!("We have not listened for {for_long}: its silence says nothing about it.")
        }
    }
}

const fn gone_because(why: Gone) -> &'static str {
    match why {
        Gone::Retired => "a person retired it",
        Gone::Replaced => "another node took its place",
        Gone::Ephemeral => "it is of a kind that comes and goes",
        Gone::Silent => "it was silent for a day",
    }
}

/// What the second half of the banner says below its word. Of a node that is not heard it is what was last known.
#[must_use]
pub fn config_sentence(verdict: &Verdict, at: Timestamp) -> String {
    let config = &verdict.config;
    let since = config.since().map(|since| age(since, at)).unwrap_or_default();
    let runs =
        config.running().map_or_else(|| "something that is not in the ledger".into(), |running| running.to_string());
    let sentence = match config {
        ConfigState::Unknown { missing: Missing::Report } => "No report has named a configuration.".into(),
        ConfigState::Unknown { missing: Missing::Version } => {
            "Its control plane has no version in its ledger yet.".into()
        }
        ConfigState::Unknown { missing: Missing::Word } => {
            "What it reports is not in the ledger, and its control plane was not heard since.".into()
        }
        ConfigState::Unknown { missing: Missing::ProofOfEmptiness } => {
            "It repeats zeros; whether it has no configuration is not proven.".into()
        }
        ConfigState::Incompatible { reason, .. } => format!("For {since}: {}. Runs {runs}.", reason.sentence()),
        ConfigState::Rejected { refused: Some(refused), .. } => format!("Refused {refused} {since} ago. Runs {runs}."),
        ConfigState::Rejected { refused: None, .. } => format!("Refused what it was offered {since} ago. Runs {runs}."),
        ConfigState::Empty { .. } => format!("Without a configuration for {since}, though there is one."),
        ConfigState::Current { .. } => format!("Runs {runs}, the head, for {since}."),
        ConfigState::Propagating { behind, running: Some(_), .. } => {
            format!("Runs {runs}; {} on the way for {since}.", counted(*behind, "change", "changes"))
        }
        ConfigState::Propagating { running: None, .. } => {
            format!("Reported for {since} before its control plane's word of it.")
        }
        ConfigState::Behind { behind, .. } => {
            format!("Runs {runs}; {} missing for {since}.", counted(*behind, "change", "changes"))
        }
        ConfigState::Ahead { .. } => format!("Runs {runs}, above the head, for {since}."),
        ConfigState::UnprovenAlias { .. } => {
            format!("Ran {runs} when the expected hash moved {since} ago; the same since is not proven.")
        }
        ConfigState::Unrecognized { .. } => format!("For {since} it runs something that was never published here."),
    };
    match verdict.connectivity.word() {
        ConnectionWord::Connected => sentence,
        ConnectionWord::Late
        | ConnectionWord::Disconnected
        | ConnectionWord::NeverSeen
        | ConnectionWord::Unobserved
        | ConnectionWord::Gone => format!("{sentence} By its last report."),
    }
}

/// A state: shape, word, and a few words more. Colour only repeats them.
#[component]
pub fn State(
    /// Its look.
    look: Look,
    /// Its word.
    word: &'static str,
    /// A few words more.
    #[prop(optional)]
    note: String,
    /// Nobody is in it: it has no colour.
    #[prop(optional)]
    zero: bool,
) -> Part {
    let zero = if zero { " state--zero" } else { "" };
    view! {
        <span class=format!("state {}{zero}", look.tone.class())>
            <Icon look=look />
            <span>{word}</span>
            <small>{note}</small>
        </span>
    }
    .part()
}

/// The shape alone, beside a word that is written elsewhere.
#[component]
pub fn Icon(
    /// Which.
    look: Look,
) -> Part {
    let class = if look.shape.is_line() { "shape shape--line" } else { "shape" };
    view! {
        <svg class=class aria-hidden="true">
            <use_ href=look.shape.href() />
        </svg>
    }
    .part()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_states_of_an_axis_share_a_shape() {
        let mut shapes: Vec<&str> = ConfigWord::ALL.iter().map(|word| word.look().shape.href()).collect();
        shapes.extend(ConnectionWord::ALL.iter().map(|word| word.look().shape.href()));
        let count = shapes.len();
        shapes.sort_unstable();
        shapes.dedup();
        assert_eq!(shapes.len(), count);
    }

    #[test]
    fn the_axis_is_told_by_the_shape_alone() {
        assert!(ConfigWord::ALL.iter().all(|word| !word.look().shape.is_line()));
        assert!(ConnectionWord::ALL.iter().all(|word| word.look().shape.is_line()));
    }
}
