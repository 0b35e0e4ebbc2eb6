//! How facts of a tap travel to the server: `POST /api/v1/taps/{stream}/facts`. Ages count, not times: a tap whose clock is
//! wrong tells nothing wrong.

use super::spool::Told;
use serde::{Deserialize, Serialize};
use tidemark_domain::id::{CpName, Line};
use tidemark_domain::time::Timestamp;

/// The form in which facts travel; a server refuses another one.
pub const FORMAT: u32 = 1;
/// Facts of one parcel at most.
pub const FACTS_MAX: usize = 5_000;

/// Facts of a spool.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parcel {
    pub format: u32,
    pub control_plane: CpName,
    /// The number of the first fact in the spool.
    pub first: u64,
    /// When the tap sent this, by the clock that the facts have.
    pub sent_at: Timestamp,
    pub told: Vec<Told>,
    /// What the tap counted since it was started.
    #[serde(default)]
    pub figures: Figures,
    /// Where it stands, for people.
    #[serde(default)]
    pub about: Option<Line>,
}

/// What a tap counted; all but `open` since it was started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Figures {
    /// Connections of nodes that are open.
    pub open: u64,
    /// Connections of nodes that were let in.
    pub accepted: u64,
    /// Connections whose certificate would not do.
    pub strangers: u64,
    /// TLS with a node failed, or took too long.
    pub handshakes_failed: u64,
    /// Connections for which the control plane could not be reached.
    pub unreachable: u64,
    /// Connections turned away because there were too many.
    pub turned_away: u64,
    /// Frames that were passed on and not read, as there was no room.
    pub frames_missed: u64,
    /// Configurations that were too large to be read, and are known by their hash alone.
    pub too_large: u64,
    /// Frames that could not be read.
    pub unreadable: u64,
    /// Events that the reader had no room for.
    pub events_lost: u64,
    /// Facts that were learned.
    pub facts: u64,
    /// Facts that the spool had no room for.
    pub facts_lost: u64,
}

/// What the server has of a spool: everything before this number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Has {
    pub next: u64,
}

/// Whether this can be the name of a spool.
#[must_use]
pub fn is_stream(name: &str) -> bool {
    name.len() == 32 && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}
