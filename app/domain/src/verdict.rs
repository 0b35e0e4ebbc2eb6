//! The answer for one node at one moment: two axes and overlays, with the evidence for each.
//!
//! A verdict is small and `Copy`; names, hashes and sentences are written from it when somebody reads
//! ([`crate::sentence`]). Everything that exists once per state (word, counter, sort weight) is one `match` here.

use crate::fact::WithheldReason;
use crate::id::Ordinal;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

/// Whether and how we hear a node (DESIGN 4, first axis).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Connectivity {
    /// Reports arrive at their pace.
    Connected {
        /// The beginning of this unbroken run of reports.
        since: Timestamp,
    },
    /// Silent for longer than one and a half intervals, or its connection was just seen to close.
    Late {
        /// The last report.
        since: Timestamp,
    },
    /// Silent for longer than three intervals, or closed and not back.
    Disconnected {
        /// The last report.
        since: Timestamp,
    },
    /// It said hello, or an inventory names it, and it never reported.
    NeverSeen {
        /// When we first heard of it.
        since: Timestamp,
    },
    /// Out of the counts (DESIGN 5.10).
    Gone {
        /// The last report.
        since: Timestamp,
        /// Why.
        why: Gone,
    },
    /// Our own source is blind: silence proves nothing (DESIGN 5.9).
    Unobserved {
        /// Since when the source is blind.
        since: Timestamp,
    },
}

/// Why a node left the counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gone {
    /// A person retired it.
    Retired,
    /// The same hostname or address reports under a new id.
    Replaced,
    /// It is of a kind that comes and goes, and was silent for 10 minutes.
    Ephemeral,
    /// It was silent for a day.
    Silent,
}

/// What a node runs, compared with what it should run (DESIGN 4, second axis).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConfigState {
    /// Too little is known.
    Unknown {
        /// What would be needed.
        missing: Missing,
    },
    /// The control plane withholds configurations from this node.
    Incompatible {
        /// Why.
        reason: WithheldReason,
        /// Since when, as far as we saw.
        since: Timestamp,
        /// What it runs meanwhile.
        running: Option<Ordinal>,
    },
    /// The node refused the newest version that it was offered.
    Rejected {
        /// Since when.
        since: Timestamp,
        /// What it runs meanwhile.
        running: Option<Ordinal>,
        /// What it refused, if that is in the ledger.
        refused: Option<Ordinal>,
    },
    /// It runs without any configuration, though there is one.
    Empty {
        /// Since when.
        since: Timestamp,
        /// How we know.
        proof: EmptyProof,
    },
    /// It runs the head, or something that behaves the same.
    Current {
        /// What it runs.
        running: Ordinal,
        /// How we know.
        how: CurrentBy,
        /// Since when it has reached the head.
        since: Timestamp,
    },
    /// It does not run the head yet, within the time that a push may take.
    Propagating {
        /// What it runs; `None` if that is not in the ledger yet.
        running: Option<Ordinal>,
        /// Changesets that it has not reached.
        behind: u32,
        /// Publication of the oldest version that it misses, or the first report of what it runs.
        since: Timestamp,
    },
    /// It does not run the head, for longer than a push may take.
    Behind {
        /// What it runs.
        running: Ordinal,
        /// Changesets that it has not reached.
        behind: u32,
        /// Publication of the oldest behaviour-changing version that it misses.
        since: Timestamp,
        /// Why, as far as the ledger tells.
        cause: BehindCause,
    },
    /// It runs a version above the head by the control plane's word.
    Ahead {
        /// What it runs.
        running: Ordinal,
        /// Since when.
        since: Timestamp,
    },
    /// It runs what was current until the expected hash moved, and nothing tells whether the configuration did.
    UnprovenAlias {
        /// The version that it ran before the move.
        running: Ordinal,
        /// When the expected hash moved.
        since: Timestamp,
        /// What is not proven.
        why: Unproven,
    },
    /// It runs something that its control plane never published, as far as we know.
    Unrecognized {
        /// Since when.
        since: Timestamp,
        /// Where it may come from.
        cause: UnrecognizedCause,
    },
}

/// What is missing for a verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Missing {
    /// No report with a configuration.
    Report,
    /// The control plane has no version in its ledger yet.
    Version,
    /// What the node reports is not in the ledger, and the control plane was not heard since (DESIGN 5.7).
    Word,
    /// The node repeats zeros; whether it is compatible and never had a configuration is not known.
    ProofOfEmptiness,
}

/// How we know that a node runs without a configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EmptyProof {
    /// It is compatible and never had a configuration.
    NeverConfigured,
    /// It says itself that it is not ready (503).
    NotReady,
}

/// How we know that a node is current.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CurrentBy {
    /// It repeats what is expected of its cohort.
    Version,
    /// It repeats another hash of the same version.
    Alias,
    /// What it misses changes no behaviour.
    NoOp,
    /// The head went back to what it never left.
    Revert,
    /// The head is empty, and so is the node.
    Empty,
}

/// Why a node is behind, as far as the ledger tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BehindCause {
    /// It was connected, and still it does not have it.
    NotReached,
    /// It was not connected since the publication.
    Away,
    /// The control plane went back to an earlier configuration.
    Reverted,
}

/// What is not proven of an alias.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unproven {
    /// The expected hash moved, and no change was seen (DESIGN 5.4).
    MovedWithoutChange,
    /// Only fields that every entity of a type gained or lost alike differ (DESIGN 5.3).
    TemplateFields,
    /// Two replicas render one version differently (DESIGN 5.5).
    ReplicasDiffer,
}

/// Where an unknown configuration may come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnrecognizedCause {
    /// Nothing points anywhere.
    Unknown,
    /// The node started while its control plane was away: its own, or a fallback configuration.
    OwnOrFallback,
}

/// The counters on top of every page; they add up to the fleet without `gone`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Counter {
    /// Late, disconnected, never seen, unobserved. Wins over the others.
    NotHeard,
    /// Rejected, incompatible, empty, unrecognized, unproven alias, unknown.
    Blocked,
    /// Behind, ahead.
    Behind,
    /// Propagating.
    RollingOut,
    /// Current.
    Current,
}

impl Counter {
    /// Worst first.
    pub const ALL: [Self; 5] = [Self::NotHeard, Self::Blocked, Self::Behind, Self::RollingOut, Self::Current];

    /// The word of URLs, labels and JSON.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::NotHeard => "not_heard",
            Self::Blocked => "blocked",
            Self::Behind => "behind",
            Self::RollingOut => "rolling_out",
            Self::Current => "current",
        }
    }

    /// The heading that people read.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::NotHeard => "Not heard",
            Self::Blocked => "Blocked",
            Self::Behind => "Behind",
            Self::RollingOut => "Rolling out",
            Self::Current => "Current",
        }
    }
}

/// The states of the second axis without their evidence: for counts, labels and searches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConfigWord {
    /// See [`ConfigState::Rejected`].
    Rejected,
    /// See [`ConfigState::Incompatible`].
    Incompatible,
    /// See [`ConfigState::Empty`].
    Empty,
    /// See [`ConfigState::Behind`].
    Behind,
    /// See [`ConfigState::Unrecognized`].
    Unrecognized,
    /// See [`ConfigState::Ahead`].
    Ahead,
    /// See [`ConfigState::UnprovenAlias`].
    UnprovenAlias,
    /// See [`ConfigState::Unknown`].
    Unknown,
    /// See [`ConfigState::Propagating`].
    Propagating,
    /// See [`ConfigState::Current`].
    Current,
}

impl ConfigWord {
    /// Worst first: the order of lists.
    pub const ALL: [Self; 10] = [
        Self::Rejected,
        Self::Incompatible,
        Self::Empty,
        Self::Behind,
        Self::Unrecognized,
        Self::Ahead,
        Self::UnprovenAlias,
        Self::Unknown,
        Self::Propagating,
        Self::Current,
    ];

    /// The word of URLs, labels and JSON.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Rejected => "rejected",
            Self::Incompatible => "incompatible",
            Self::Empty => "empty",
            Self::Behind => "behind",
            Self::Unrecognized => "unrecognized",
            Self::Ahead => "ahead",
            Self::UnprovenAlias => "unproven_alias",
            Self::Unknown => "unknown",
            Self::Propagating => "propagating",
            Self::Current => "current",
        }
    }

    /// The word that people read.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::UnprovenAlias => "unproven alias",
            other => other.word(),
        }
    }

    /// The counter of a node that is heard.
    #[must_use]
    pub const fn counter(self) -> Counter {
        match self {
            Self::Rejected | Self::Incompatible | Self::Empty => Counter::Blocked,
            Self::Unrecognized | Self::UnprovenAlias | Self::Unknown => Counter::Blocked,
            Self::Behind | Self::Ahead => Counter::Behind,
            Self::Propagating => Counter::RollingOut,
            Self::Current => Counter::Current,
        }
    }

    /// Whether the search `state:out-of-sync` means this state.
    #[must_use]
    pub const fn out_of_sync(self) -> bool {
        match self {
            Self::Behind | Self::Rejected | Self::Incompatible | Self::Empty | Self::Unrecognized => true,
            Self::Ahead | Self::UnprovenAlias | Self::Unknown | Self::Propagating | Self::Current => false,
        }
    }
}

/// The states of the first axis without their evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConnectionWord {
    /// See [`Connectivity::Disconnected`].
    Disconnected,
    /// See [`Connectivity::NeverSeen`].
    NeverSeen,
    /// See [`Connectivity::Late`].
    Late,
    /// See [`Connectivity::Unobserved`].
    Unobserved,
    /// See [`Connectivity::Connected`].
    Connected,
    /// See [`Connectivity::Gone`].
    Gone,
}

impl ConnectionWord {
    /// Worst first, `gone` last.
    pub const ALL: [Self; 6] =
        [Self::Disconnected, Self::NeverSeen, Self::Late, Self::Unobserved, Self::Connected, Self::Gone];

    /// The word of URLs, labels and JSON.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Disconnected => "disconnected",
            Self::NeverSeen => "never_seen",
            Self::Late => "late",
            Self::Unobserved => "unobserved",
            Self::Connected => "connected",
            Self::Gone => "gone",
        }
    }

    /// The word that people read.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::NeverSeen => "never seen",
            other => other.word(),
        }
    }
}

impl Connectivity {
    /// The state without its evidence.
    #[must_use]
    pub const fn word(&self) -> ConnectionWord {
        match self {
            Self::Connected { .. } => ConnectionWord::Connected,
            Self::Late { .. } => ConnectionWord::Late,
            Self::Disconnected { .. } => ConnectionWord::Disconnected,
            Self::NeverSeen { .. } => ConnectionWord::NeverSeen,
            Self::Gone { .. } => ConnectionWord::Gone,
            Self::Unobserved { .. } => ConnectionWord::Unobserved,
        }
    }

    /// Since when it is so.
    #[must_use]
    pub const fn since(&self) -> Timestamp {
        match self {
            Self::Connected { since }
            | Self::Late { since }
            | Self::Disconnected { since }
            | Self::NeverSeen { since }
            | Self::Gone { since, .. }
            | Self::Unobserved { since } => *since,
        }
    }
}

impl ConfigState {
    /// The state without its evidence.
    #[must_use]
    pub const fn word(&self) -> ConfigWord {
        match self {
            Self::Unknown { .. } => ConfigWord::Unknown,
            Self::Incompatible { .. } => ConfigWord::Incompatible,
            Self::Rejected { .. } => ConfigWord::Rejected,
            Self::Empty { .. } => ConfigWord::Empty,
            Self::Current { .. } => ConfigWord::Current,
            Self::Propagating { .. } => ConfigWord::Propagating,
            Self::Behind { .. } => ConfigWord::Behind,
            Self::Ahead { .. } => ConfigWord::Ahead,
            Self::UnprovenAlias { .. } => ConfigWord::UnprovenAlias,
            Self::Unrecognized { .. } => ConfigWord::Unrecognized,
        }
    }

    /// Since when it is so; `None` where nothing is known.
    #[must_use]
    pub const fn since(&self) -> Option<Timestamp> {
        match self {
            Self::Unknown { .. } => None,
            Self::Incompatible { since, .. }
            | Self::Rejected { since, .. }
            | Self::Empty { since, .. }
            | Self::Current { since, .. }
            | Self::Propagating { since, .. }
            | Self::Behind { since, .. }
            | Self::Ahead { since, .. }
            | Self::UnprovenAlias { since, .. }
            | Self::Unrecognized { since, .. } => Some(*since),
        }
    }

    /// The version that the node runs, if that is in the ledger.
    #[must_use]
    pub const fn running(&self) -> Option<Ordinal> {
        match self {
            Self::Unknown { .. } | Self::Empty { .. } | Self::Unrecognized { .. } => None,
            Self::Incompatible { running, .. } | Self::Rejected { running, .. } | Self::Propagating { running, .. } => {
                *running
            }
            Self::Current { running, .. }
            | Self::Behind { running, .. }
            | Self::Ahead { running, .. }
            | Self::UnprovenAlias { running, .. } => Some(*running),
        }
    }

    /// Changesets that the node has not reached; 0 where that is not the question.
    #[must_use]
    pub const fn behind(&self) -> u32 {
        match self {
            Self::Propagating { behind, .. } | Self::Behind { behind, .. } => *behind,
            Self::Unknown { .. }
            | Self::Incompatible { .. }
            | Self::Rejected { .. }
            | Self::Empty { .. }
            | Self::Current { .. }
            | Self::Ahead { .. }
            | Self::UnprovenAlias { .. }
            | Self::Unrecognized { .. } => 0,
        }
    }

    /// The rule of DESIGN.md that decided.
    #[must_use]
    pub const fn rule(&self) -> &'static str {
        match self {
            Self::Unknown { missing: Missing::ProofOfEmptiness } => "4.4 zeros without proof of emptiness",
            Self::Unknown { missing: Missing::Word } => "5.7 reported after the control plane's last word",
            Self::Unknown { .. } => "4.1 no facts",
            Self::Incompatible { .. } => "4.2 the control plane withholds",
            Self::Rejected { .. } => "4.3 the newest version offered was refused",
            Self::Empty { .. } => "4.4 zeros with proof of emptiness",
            Self::Current { how: CurrentBy::Empty, .. } => "4.4 the head is empty",
            Self::Current { how: CurrentBy::Version, .. } => "4.5 at the head",
            Self::Current { how: CurrentBy::Alias, .. } => "4.5 at the head by another hash of it",
            Self::Current { how: CurrentBy::NoOp, .. } => "4.5 what it misses changes no behaviour",
            Self::Current { how: CurrentBy::Revert, .. } => "5.2 the head went back to what it runs",
            Self::Propagating { running: Some(_), .. } => "4.5 behind, within the time a push may take",
            Self::Propagating { running: None, .. } => "5.7 reported before the control plane's word",
            Self::Behind { .. } => "4.5 behind",
            Self::Ahead { .. } => "4.5 above the head by the control plane's word",
            Self::UnprovenAlias { why: Unproven::MovedWithoutChange, .. } => {
                "5.4 the expected hash moved, no change seen"
            }
            Self::UnprovenAlias { why: Unproven::TemplateFields, .. } => "5.3 differs in template fields only",
            Self::UnprovenAlias { why: Unproven::ReplicasDiffer, .. } => "5.5 replicas render differently",
            Self::Unrecognized { .. } => "4.6 not in the ledger",
        }
    }
}

/// What may be said of a node beside the two axes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Overlay {
    /// Disconnected; serves the configuration that it has.
    Cached,
    /// It is cut off from its control plane, and nothing proves that it would find its configuration after a restart.
    RestartUnsafe,
    /// It runs what a destructive change left ([`crate::guard`]).
    SuspiciousContent,
    /// It took a change of a plugin that keeps something in memory by delta: whether all of it uses that is not proven.
    PluginStateUnverified,
    /// Such a plugin counts: its counters may have begun anew.
    CountersMayReset,
    /// It learns of changes by its own poll only, never by the push ([`crate::delays`]).
    PollOnly,
    /// It asked for deltas, and gets the whole each time ([`crate::assess::full_sync`]).
    FellBackToFullSync,
    /// Its certificate ends soon.
    CertExpiring,
    /// Its license ends soon.
    LicenseExpiring,
    /// Its clock differs from ours.
    ClockSkew,
    /// It reconnects again and again.
    Flapping,
    /// Two machines report under one id.
    DuplicateId,
    /// Two sources say different things.
    SourcesDisagree,
    /// Traffic is seen, reports are not.
    ServingWhileSilent,
}

impl Overlay {
    /// All of them, in the order of the bits.
    pub const ALL: [Self; 14] = [
        Self::Cached,
        Self::RestartUnsafe,
        Self::SuspiciousContent,
        Self::PluginStateUnverified,
        Self::CountersMayReset,
        Self::PollOnly,
        Self::FellBackToFullSync,
        Self::CertExpiring,
        Self::LicenseExpiring,
        Self::ClockSkew,
        Self::Flapping,
        Self::DuplicateId,
        Self::SourcesDisagree,
        Self::ServingWhileSilent,
    ];

    /// The word of labels and JSON.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Cached => "cached",
            Self::RestartUnsafe => "restart_unsafe",
            Self::SuspiciousContent => "suspicious_content",
            Self::PluginStateUnverified => "plugin_state_unverified",
            Self::CountersMayReset => "counters_may_reset",
            Self::PollOnly => "poll_only",
            Self::FellBackToFullSync => "fell_back_to_full_sync",
            Self::CertExpiring => "cert_expiring",
            Self::LicenseExpiring => "license_expiring",
            Self::ClockSkew => "clock_skew",
            Self::Flapping => "flapping",
            Self::DuplicateId => "duplicate_id",
            Self::SourcesDisagree => "sources_disagree",
            Self::ServingWhileSilent => "serving_while_silent",
        }
    }

    /// The words that people read.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Cached => "serving from cache",
            Self::RestartUnsafe => "restart unsafe",
            Self::SuspiciousContent => "suspicious content",
            Self::PluginStateUnverified => "plugin state unverified",
            Self::CountersMayReset => "counters may reset",
            Self::PollOnly => "poll only",
            Self::FellBackToFullSync => "fell back to full sync",
            Self::CertExpiring => "certificate expiring",
            Self::LicenseExpiring => "license expiring",
            Self::ClockSkew => "clock skew",
            Self::Flapping => "flapping",
            Self::DuplicateId => "duplicate id",
            Self::SourcesDisagree => "sources disagree",
            Self::ServingWhileSilent => "serving while silent",
        }
    }
}

/// A set of overlays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Overlays(u16);

impl Overlays {
    /// None.
    pub const NONE: Self = Self(0);

    /// This set and one more.
    #[must_use]
    pub const fn with(self, overlay: Overlay) -> Self {
        Self(self.0 | 1 << overlay as u8)
    }

    /// This set, and `overlay` if it holds.
    #[must_use]
    pub const fn with_if(self, holds: bool, overlay: Overlay) -> Self {
        if holds { self.with(overlay) } else { self }
    }

    /// Whether an overlay is in the set.
    #[must_use]
    pub const fn has(self, overlay: Overlay) -> bool {
        self.0 & (1 << overlay as u8) != 0
    }

    /// All that are in the set.
    pub fn iter(self) -> impl Iterator<Item = Overlay> {
        Overlay::ALL.into_iter().filter(move |overlay| self.has(*overlay))
    }
}

/// The answer for one node at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// First axis.
    pub connectivity: Connectivity,
    /// Second axis. Of a node that is not heard: as of its last report.
    pub config: ConfigState,
    /// Beside the axes.
    pub overlays: Overlays,
}

impl Verdict {
    /// The counter that this node is counted in; `None` for a node that is gone.
    #[must_use]
    pub const fn counter(&self) -> Option<Counter> {
        match self.connectivity.word() {
            ConnectionWord::Gone => None,
            ConnectionWord::Late
            | ConnectionWord::Disconnected
            | ConnectionWord::NeverSeen
            | ConnectionWord::Unobserved => Some(Counter::NotHeard),
            ConnectionWord::Connected => Some(self.config.word().counter()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_is_small() {
        assert!(size_of::<Verdict>() <= 48, "{} bytes", size_of::<Verdict>());
    }

    #[test]
    fn the_bits_of_overlays_do_not_meet() {
        for one in Overlay::ALL {
            let alone: Vec<_> = Overlays::NONE.with(one).iter().collect();
            assert_eq!(alone, [one]);
        }
    }

    #[test]
    fn words_are_told_apart() {
        let mut words: Vec<_> = ConfigWord::ALL.map(ConfigWord::word).to_vec();
        words.extend(ConnectionWord::ALL.map(ConnectionWord::word));
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), ConfigWord::ALL.len() + ConnectionWord::ALL.len());
    }
}
