//! How facts of a tap travel to the server: `POST /api/v1/taps/{stream}/facts`. Ages count, not times: a tap whose clock is
//! wrong tells nothing wrong.

use super::spool::Told;
use serde::{Deserialize, Serialize};
use tidemark_domain::id::CpName;
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
