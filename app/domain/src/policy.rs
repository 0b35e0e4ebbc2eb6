//! The numbers that a verdict depends on, each with where it comes from.

use crate::time::{DAY, HOUR, MINUTE, SECOND};
use serde::{Deserialize, Serialize};

/// Thresholds of the verdict. All spans are milliseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// The pace of reports where the source does not say another: Kong's 30 s (`kong-hybrid.md` 1.7).
    pub report_interval_ms: i64,
    /// How long a change may take to reach a node (DESIGN 4); a control plane may have its own.
    pub propagation_ms: i64,
    /// A seen close is `disconnected` after this long without a reconnect (DESIGN 4; Kong redials in 5-10 s).
    pub reconnect_ms: i64,
    /// How long a hash that is not in the ledger waits for the control plane's word (DESIGN 5.7).
    pub word_wait_ms: i64,
    /// Versions closer together than this are one changeset: three of Kong's push gaps (DESIGN 5.6).
    pub changeset_gap_ms: i64,
    /// A changeset is never older than this (DESIGN 5.6).
    pub changeset_max_ms: i64,
    /// Words of two replicas closer together than this are one version (DESIGN 5.5).
    pub replica_window_ms: i64,
    /// A node with a known successor is `gone` at once; one that matches as ephemeral after this (DESIGN 5.10).
    pub gone_ephemeral_ms: i64,
    /// Any silent node is `gone` after this (DESIGN 5.10).
    pub gone_ms: i64,
    /// A node's clock may differ from ours by this before it is shown as skew.
    pub clock_skew_ms: i64,
    /// Two sources may disagree for this long before it is shown (DESIGN 5.8).
    pub sources_disagree_ms: i64,
    /// A certificate or license that ends within this is shown.
    pub expiring_ms: i64,
    /// An expected hash that moved without a change opens a ticket after this where all changes reach us (DESIGN 5.4).
    pub moved_ticket_ms: i64,
    /// An expected hash that moved without a change pages after this where they do not (DESIGN 5.4).
    pub moved_page_ms: i64,
    /// Reconnects within an hour from which a node counts as flapping.
    pub flapping_reconnects: u32,
    /// Label of nodes that come and go by design, `key=value`; such nodes are gone sooner.
    pub ephemeral_label: Option<(String, String)>,
    /// A rule that is broken on purpose; see [`Policy::planting`].
    #[doc(hidden)]
    #[serde(skip)]
    pub planted: Option<Planted>,
}

/// One of the eleven rules of the ledger that is broken on purpose, so that a test can show that it would see that.
/// Nothing but [`Policy::planting`] makes one.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Planted(u8);

impl Policy {
    /// The default, with rule 5.`rule` broken: for tests alone, which is held by the tidy test. No setting, no
    /// environment and no argument comes here.
    #[doc(hidden)]
    #[must_use]
    pub fn planting(rule: u8) -> Self {
        Self { planted: Some(Planted(rule)), ..Self::default() }
    }

    /// Whether rule 5.`rule` is broken on purpose.
    pub(crate) fn breaks(&self, rule: u8) -> bool {
        self.planted == Some(Planted(rule))
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            report_interval_ms: 30 * SECOND,
            propagation_ms: 60 * SECOND,
            reconnect_ms: 30 * SECOND,
            word_wait_ms: 90 * SECOND,
            changeset_gap_ms: 15 * SECOND,
            changeset_max_ms: 30 * MINUTE,
            replica_window_ms: 15 * SECOND,
            gone_ephemeral_ms: 10 * MINUTE,
            gone_ms: DAY,
            clock_skew_ms: 5 * SECOND,
            sources_disagree_ms: 90 * SECOND,
            expiring_ms: 30 * DAY,
            moved_ticket_ms: 15 * MINUTE,
            moved_page_ms: HOUR,
            flapping_reconnects: 6,
            ephemeral_label: None,
            planted: None,
        }
    }
}

/// Silence longer than this is `late`: one and a half intervals (DESIGN 4; Kong itself gives up after 45 s).
#[must_use]
pub const fn late_after(interval_ms: i64) -> i64 {
    interval_ms.saturating_mul(3) / 2
}

/// Silence longer than this is `disconnected`: three intervals (DESIGN 4).
#[must_use]
pub const fn disconnected_after(interval_ms: i64) -> i64 {
    interval_ms.saturating_mul(3)
}

/// A node that said hello and nothing since is `never_seen` after this: two intervals (DESIGN 4).
#[must_use]
pub const fn never_seen_after(interval_ms: i64) -> i64 {
    interval_ms.saturating_mul(2)
}
