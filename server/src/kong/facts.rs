//! What the decoders say: what was seen of Kong, when, and where. Facts only; what they mean for a node is decided
//! elsewhere.
//!
//! Two kinds of place: one connection between a node and its control plane, of which every frame is seen, and an
//! HTTP endpoint that somebody asked.

use super::digest::BehaviourDigest;
use super::hash::{SectionHashes, TableHashes};
use super::outline::Outline;
use super::shape::Shape;
use std::collections::BTreeMap;
use std::sync::Arc;
use tidemark_domain::fact::PluginChange;
use tidemark_domain::hash::ConfigHash;

/// One fact: when, where, about whom, what.
#[derive(Clone, Debug, PartialEq)]
pub struct Observed {
    /// When the observer saw it, by the observer's clock: milliseconds since the epoch.
    pub at_ms: i64,
    pub place: Place,
    /// The node, once it has said who it is: in the request line of v1, in the hello of v2. What an endpoint answers
    /// is about this node where the answer names itself.
    pub node: Option<Arc<str>>,
    pub fact: Fact,
}

/// Where a fact was seen: on a connection, or at an endpoint that was asked.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// One TCP connection of one node, by a name that the caller chose.
    Connection(Arc<str>),
    /// The listener that was asked: scheme, host and port of the URL.
    Endpoint(Arc<str>),
}

/// Who did something on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Party {
    Node,
    ControlPlane,
    /// The observer in between; it is no fact about Kong.
    Observer,
}

/// The two protocols of hybrid mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// `/v1/outlet`: the whole configuration in every frame (`kong-hybrid.md` 1).
    V1,
    /// `/v2/outlet`: JSON-RPC (`kong-hybrid.md` 2). A node that syncs by v1 may have such a connection beside it.
    V2,
}

/// What was seen.
#[derive(Clone, Debug, PartialEq)]
pub enum Fact {
    // One connection, in the order in which it lives.
    /// The TLS handshake of a node is done. It has not said who it is.
    Accepted(Accepted),
    /// The node asked for one of the two protocols.
    Dialled(Dialled),
    /// The control plane agreed (101).
    Upgraded,
    /// The control plane refused, or ended the connection without an answer (a certificate that it does not know).
    HandshakeRefused { status: Option<u16> },
    /// The control plane could not be reached from where the observer stands.
    ControlPlaneUnreachable { error: String },
    /// The node said what it is: `basic_info` of v1, `hello` of v2.
    Introduced(Box<Introduction>),
    /// The control plane answered the hello (v2).
    Welcomed { capabilities: Vec<String> },
    /// The control plane sent a configuration (v1).
    Offered(Box<Offer>),
    /// The same, and it was too large to be read.
    OfferedUnread(UnreadOffer),
    /// The control plane said that there is a new version (v2).
    Notified { version: ConfigHash },
    /// The node repeated what it runs (v1).
    Heartbeat { hash: ConfigHash },
    /// The node said what it runs and asked for what is missing (v2). Where it expects no answer it only reports, right
    /// after it applied something.
    Asked { version: ConfigHash, expects_answer: bool },
    /// The control plane answered with what is missing (v2); nothing missing says that the node runs the newest.
    Answered(Box<Answer>),
    /// The node could not apply a configuration and said so: v1 only in Konnect mode, v2 always.
    ApplyFailed(Box<ApplyFailure>),
    /// A call was answered by an error (v2).
    CallFailed { by: Party, code: i64, message: String },
    /// A control frame without content: the party is alive. v1: the control plane took a heartbeat into its records.
    Alive { party: Party },
    /// The first end of the connection, by whom and how. What comes after it is tidying up.
    Closed { by: Party, how: Ending },
    /// The recording ends while the connection was open: silence after this is the observer's, not the node's.
    RecordingEnded,
    /// Something that Kong does not send, or that cannot be read.
    Unreadable { by: Party, why: String },

    // Endpoints.
    /// A row of the control plane's table of nodes.
    Row(Box<Row>),
    /// The control plane's table of nodes was read: this many rows of one page, whether more follow, and when the
    /// control plane answered by its own clock.
    TableRead { rows: u32, next: Option<String>, date_ms: Option<i64> },
    /// `/status` of any Kong.
    Status(NodeStatus),
    /// `/status/ready` of any Kong.
    Ready(Readiness),
    /// `/` of an Admin API: which process this is.
    Process(Process),
    /// `/metrics` of any Kong.
    Metrics(Box<super::metrics::Exposition>),
    /// Somebody wrote through an Admin API, or sent something through a proxy: the path tells.
    Written { method: String, path: String, status: u16 },
    /// An endpoint refused: 400 of a Kong that is no control plane, 401, 404, ...
    Declined { path: String, status: u16, message: Option<String> },
    /// An endpoint did not answer at all.
    Unreachable { path: String, error: String },
}

/// What TLS says of a node. In shared mode all nodes have one certificate, in pki mode each has its own
/// (`kong-hybrid.md` 1.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    pub tls_version: Option<String>,
    pub server_name: Option<String>,
    /// SHA-256 of the client certificate, 64 hexadecimal digits.
    pub certificate_sha256: Option<String>,
    pub certificate_subject: Option<String>,
    /// When the client certificate expires, milliseconds since the epoch.
    pub certificate_not_after_ms: Option<i64>,
    /// The address that the node comes from.
    pub ip: Option<String>,
}

/// The request line of a node. Only v1 says here who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dialled {
    pub protocol: Protocol,
    pub node_id: Option<String>,
    pub hostname: Option<String>,
    pub gateway_version: Option<String>,
}

/// What a node says of itself after the handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Introduction {
    pub protocol: Protocol,
    pub node_id: Option<String>,
    pub hostname: Option<String>,
    pub gateway_version: Option<String>,
    pub labels: BTreeMap<String, String>,
    /// Enabled plugins with their versions, where it has one (v1).
    pub plugins: Vec<PluginVersion>,
    /// Names of Wasm filters (v1).
    pub filters: Vec<String>,
    /// What it can do over RPC (v2), e.g. `kong.sync.v2`.
    pub capabilities: Vec<String>,
    /// The few settings of its `kong.conf` that explain its behaviour; all others are dropped unread.
    pub settings: BTreeMap<&'static str, String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginVersion {
    pub name: String,
    pub version: Option<String>,
}

/// A whole configuration that was sent to a node (v1).
#[derive(Clone, Debug, PartialEq)]
pub struct Offer {
    /// The hash that the control plane states and the node will repeat. Without one the node computes it itself.
    pub stated: Option<ConfigHash>,
    pub stated_sections: Option<SectionHashes>,
    /// Kong's hash of the table as it was sent.
    pub recomputed: TableHashes,
    pub digest: BehaviourDigest,
    /// For [`Outline::difference`] with the configuration before it in the same cohort.
    pub outline: Arc<Outline>,
    pub shape: Shape,
    /// When the control plane's worker exported it, by its clock: may be minutes before the frame, and is not ordered.
    pub exported_at_ms: Option<i64>,
    pub frame_bytes: u64,
    pub json_bytes: u64,
    /// Which control plane: the row `cluster_id` of `parameters`.
    pub cluster_id: Option<String>,
    /// There is nothing but workspaces in it: the node will repeat zeros (`kong-hybrid.md` 1.7).
    pub only_workspaces: bool,
}

impl Offer {
    /// The hash that a node repeats once it has applied this.
    #[must_use]
    pub fn reported_as(&self) -> ConfigHash {
        if self.only_workspaces { ConfigHash::ZEROS } else { self.stated.unwrap_or(self.recomputed.config) }
    }

    /// Whether the control plane cut fields out that this node's gateway version does not know (`kong-hybrid.md`
    /// 1.10). `None` where the hash cannot tell: none stated, or one of another algorithm.
    #[must_use]
    pub fn is_trimmed(&self) -> Option<bool> {
        use tidemark_domain::hash::HashKind;
        let stated = self.stated.filter(|hash| hash.kind() == HashKind::Md5)?;
        Some(stated != self.recomputed.config)
    }
}

/// A whole configuration that was sent to a node (v1), of which is known only what it says of itself. What is missing, next
/// to [`Offer`]: the recomputed hash, the behaviour digest, the shape, what changed, and which control plane it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnreadOffer {
    /// The hash that the node will repeat. (It repeats zeros where there is nothing but workspaces: nobody has as many.)
    pub stated: ConfigHash,
    pub exported_at_ms: Option<i64>,
    pub frame_bytes: u64,
    pub json_bytes: u64,
}

/// What a control plane answered to [`Fact::Asked`] (v2).
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// What the node said it runs; `None` where the question was not seen.
    pub asked: Option<ConfigHash>,
    /// A full sync: the node drops what it has. Otherwise only what changed.
    pub full: bool,
    pub upserts: u32,
    pub deletes: u32,
    /// The versions of the deltas, in order, each once; at most [`VERSIONS_MAX`]. The node will run the last one.
    pub versions: Vec<ConfigHash>,
    /// Of the configuration that the node will have. `None` where nothing is missing, and where a delta came on top of
    /// a state that was not seen.
    pub digest: Option<BehaviourDigest>,
    pub shape: Option<Shape>,
    /// Plugins that it makes or changes; none of a full sync, which makes a node drop what it had.
    pub plugins_changed: Vec<PluginChange>,
    pub frame_bytes: u64,
    pub json_bytes: u64,
    /// Which control plane, where the answer holds the row `cluster_id` of `parameters`.
    pub cluster_id: Option<String>,
}

impl Answer {
    /// What the node will say it runs once it has applied this.
    #[must_use]
    pub fn reported_as(&self) -> Option<ConfigHash> {
        self.versions.last().copied().or(self.asked)
    }

    /// Nothing was missing: the node ran the newest version.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.upserts == 0 && self.deletes == 0
    }
}

/// Versions named of one answer; an incremental answer has at most 512 changes (`kong-hybrid.md` 2.5).
pub const VERSIONS_MAX: usize = 1_024;

/// A configuration that a node could not apply (`kong-hybrid.md` 1.7, 2.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApplyFailure {
    /// The hash or version that failed, where the node names one.
    pub version: Option<ConfigHash>,
    /// Which kind of failure, e.g. `declarative configuration parse failure`.
    pub name: Option<String>,
    /// Where in Kong's code.
    pub source: Option<String>,
    pub message: Option<String>,
    /// The entities at fault; at most [`FAILED_ENTITIES_MAX`].
    pub entities: Vec<FailedEntity>,
}

/// Entities named of one failure.
pub const FAILED_ENTITIES_MAX: usize = 32;

/// An entity that a node did not accept, with the first complaint about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedEntity {
    pub entity_type: Option<String>,
    pub id: Option<String>,
    pub name: Option<String>,
    pub field: Option<String>,
    pub message: Option<String>,
}

/// How a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// A close frame; Kong sends it without a code. A control plane sends one to a node that it will not serve.
    CloseFrame { code: Option<u16> },
    /// The end of the TCP stream, without a close frame: the process stopped or failed.
    EndOfStream,
    /// The transport failed.
    Failure { error: String },
}

/// A row of `GET /clustering/data-planes`, or the little of it that `GET /clustering/status` or Konnect shows
/// (`kong-hybrid.md` 3.1, 3.2, 6.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub node_id: String,
    /// Under v2 the control plane writes the node id here: see [`Row::real_hostname`].
    pub hostname: Option<String>,
    pub ip: Option<String>,
    pub gateway_version: Option<String>,
    pub hash: Option<ConfigHash>,
    /// By the control plane's clock, in seconds.
    pub last_seen_s: Option<i64>,
    pub updated_at_s: Option<i64>,
    pub sync_status: Option<SyncStatus>,
    pub labels: BTreeMap<String, String>,
    pub certificate_expires_s: Option<i64>,
    pub capabilities: Vec<String>,
    /// Seconds until the row vanishes; dead nodes stay for 14 days.
    pub ttl_s: Option<i64>,
    /// When the control plane answered, by its clock.
    pub date_ms: Option<i64>,
}

impl Row {
    /// The hostname, unless it is the node id again.
    #[must_use]
    pub fn real_hostname(&self) -> Option<&str> {
        self.hostname.as_deref().filter(|hostname| *hostname != self.node_id)
    }

    /// When the node reported what this row says, by the clock of whoever received the row at `received_ms`: earlier by
    /// as much as the control plane says. `None` where it says nothing.
    #[must_use]
    pub fn reported_at_ms(&self, received_ms: i64) -> Option<i64> {
        let age_ms = self.date_ms?.saturating_sub(self.last_seen_s?.saturating_mul(1000));
        Some(received_ms.saturating_sub(age_ms.max(0)))
    }
}

/// What a control plane says of its own compatibility with a node. `Normal` says nothing about being up to date.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SyncStatus {
    Unknown,
    Normal,
    KongVersionIncompatible,
    PluginSetIncompatible,
    PluginVersionIncompatible,
    FilterSetIncompatible,
    /// Konnect's word for all of these, with the first of its reasons.
    Incompatible {
        detail: Option<String>,
    },
    /// A word that Kong may learn later.
    Other(String),
}

impl SyncStatus {
    /// From Kong's word.
    #[must_use]
    pub fn of_word(word: &str) -> Self {
        match word {
            "unknown" => Self::Unknown,
            "normal" => Self::Normal,
            "kong_version_incompatible" => Self::KongVersionIncompatible,
            "plugin_set_incompatible" => Self::PluginSetIncompatible,
            "plugin_version_incompatible" => Self::PluginVersionIncompatible,
            "filter_set_incompatible" => Self::FilterSetIncompatible,
            other => Self::Other(super::text::clip(other, super::text::NAME_MAX)),
        }
    }
}

/// `/status` of a node or a control plane (`kong-hybrid.md` 4.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeStatus {
    /// Of a node: what it runs. Absent on a control plane, and on a node before its first configuration.
    pub hash: Option<ConfigHash>,
    /// Of a control plane: whether it reaches its database.
    pub database_reachable: Option<bool>,
}

/// `/status/ready` (`kong-hybrid.md` 4.1). Ready is not in sync.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    Ready,
    /// Never had a configuration.
    NoConfiguration,
    /// Has one, and it is empty.
    EmptyConfiguration,
    /// Workers still build their routers or plugins.
    Building {
        message: String,
    },
    Draining,
    /// Another reason, e.g. a control plane without its database.
    NotReady {
        message: String,
    },
}

/// Which process answers at an Admin API (`kong-hybrid.md` 3.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    pub node_id: Option<String>,
    pub hostname: Option<String>,
    pub gateway_version: Option<String>,
    pub edition: Option<String>,
    /// `control_plane`, `data_plane`, `traditional`.
    pub role: Option<String>,
}
