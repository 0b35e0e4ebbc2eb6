//! What is to be said of a control plane as a whole: one cause, one notice, never one per node.

use crate::id::CpName;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

/// How loudly something is to be said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Wakes somebody.
    Page,
    /// Is worked on in the day.
    Ticket,
    /// Is good to know.
    Info,
}

impl Severity {
    /// Loudest first.
    pub const ALL: [Self; 3] = [Self::Page, Self::Ticket, Self::Info];

    /// The word of labels, JSON and pages.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Page => "page",
            Self::Ticket => "ticket",
            Self::Info => "info",
        }
    }
}

/// What happened to a control plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoticeKind {
    /// The expected hash moved, and no change was seen (DESIGN 5.4).
    ExpectedMovedWithoutChange,
    /// Two replicas render one version differently (DESIGN 5.5).
    ReplicasRenderDifferently,
    /// It does not answer, while another target does (DESIGN 5.9).
    ControlPlaneDown,
    /// It, or our way to it, is cut off; there is no other target to tell (DESIGN 5.9).
    DownOrCutOff,
    /// It went back to an earlier configuration.
    Reverted,
    /// One cluster id reports under two names (DESIGN 5.10).
    OneClusterTwoNames,
    /// It took much of its own configuration away ([`crate::guard`]).
    DestructiveChange,
}

impl NoticeKind {
    /// The word of labels and JSON.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::ExpectedMovedWithoutChange => "expected_moved_without_change",
            Self::ReplicasRenderDifferently => "replicas_render_differently",
            Self::ControlPlaneDown => "control_plane_down",
            Self::DownOrCutOff => "down_or_cut_off",
            Self::Reverted => "reverted",
            Self::OneClusterTwoNames => "one_cluster_two_names",
            Self::DestructiveChange => "destructive_change",
        }
    }
}

/// One thing to be said of one control plane.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// Of which.
    pub control_plane: CpName,
    /// What happened.
    pub kind: NoticeKind,
    /// How loudly.
    pub severity: Severity,
    /// Since when.
    pub since: Timestamp,
    /// Nodes that it concerns now.
    pub nodes: u32,
    /// In words, with what to do.
    pub sentence: String,
}
