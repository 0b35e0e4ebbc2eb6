//! All that a page may ask of the server: one trait, and the server functions over it.
//!
//! The trait is answered by the server's reader; REST handlers answer from the same one. Read the functions as an
//! attacker would: they are a public API, every argument is parsed at the door, and nothing here changes a thing.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use tidemark_domain::id::{CpName, NodeId, Ordinal};
use tidemark_domain::view::{
    ControlPlaneView, FleetView, HistoryView, Moment, NodeView, NodesView, VersionView, VersionsView,
};

/// An answer on its way.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, ApiError>> + Send + 'a>>;

/// How a list is asked for: which part of it, and how much.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Paging {
    /// The key that the page before ended with.
    pub after: Option<String>,
    /// Rows; 1 to 500, default 50.
    pub size: Option<u32>,
}

/// What may be asked of the fleet. Every answer says which moment it describes.
pub trait FleetApi: Send + Sync {
    /// The whole fleet.
    fn fleet(&self, moment: Moment) -> Answer<'_, FleetView>;
    /// Nodes that answer a question (`tidemark_domain::query`).
    fn nodes(&self, question: String, paging: Paging, moment: Moment) -> Answer<'_, NodesView>;
    /// One node.
    fn node(&self, control_plane: CpName, id: NodeId, moment: Moment) -> Answer<'_, NodeView>;
    /// The past of one node, newest first.
    fn history(&self, control_plane: CpName, id: NodeId, paging: Paging, moment: Moment) -> Answer<'_, HistoryView>;
    /// Every control plane, by name.
    fn control_planes(&self, moment: Moment) -> Answer<'_, Vec<ControlPlaneView>>;
    /// The ledger of one control plane, newest first.
    fn versions(&self, control_plane: CpName, paging: Paging, moment: Moment) -> Answer<'_, VersionsView>;
    /// One version.
    fn version(&self, control_plane: CpName, ordinal: Ordinal, moment: Moment) -> Answer<'_, VersionView>;
}

/// What the server puts into the context of every page.
pub type Fleet = Arc<dyn FleetApi>;

/// Why a question has no answer, by what the asker can do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ApiError {
    /// The question is wrong; the words name the part and what was expected.
    BadRequest(String),
    /// There is no such thing; the words name it.
    NotFound(String),
    /// Try again later.
    Unavailable(String),
    /// We are broken; the words carry the id under which the log says more.
    Internal(String),
}

impl ApiError {
    /// The HTTP status of this answer.
    #[must_use]
    pub const fn status(&self) -> u16 {
        match self {
            Self::BadRequest(_) => 400,
            Self::NotFound(_) => 404,
            Self::Unavailable(_) => 503,
            Self::Internal(_) => 500,
        }
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadRequest(why) | Self::NotFound(why) | Self::Unavailable(why) | Self::Internal(why) => {
                out.write_str(why)
            }
        }
    }
}

impl std::error::Error for ApiError {}
