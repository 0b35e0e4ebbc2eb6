//! What is told to us. A fact is stored as it came and never edited; all else is derived from facts.

use crate::gateway::GatewayVersion;
use crate::hash::ConfigHash;
use crate::id::{CpName, Digest, Labels, Line, NodeId, Token};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// Where a fact comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// A proxy between node and control plane that sees every frame.
    Tap,
    /// A data plane of ours, connected to the control plane: it hears the control plane's word.
    Shadow,
    /// The node's own Status API.
    Status,
    /// `POST /api/v1/heartbeats`.
    Push,
    /// The control plane's Admin API, polled.
    AdminApi,
    /// Konnect's API, polled.
    Konnect,
    /// Access logs of the node: they prove traffic, not configuration.
    AccessLog,
    /// A recording that says no more about where it came from.
    Import,
}

impl Source {
    /// Every source, best evidence first.
    pub const ALL: [Self; 8] = [
        Self::Tap,
        Self::Shadow,
        Self::Status,
        Self::Push,
        Self::AdminApi,
        Self::Konnect,
        Self::AccessLog,
        Self::Import,
    ];

    /// The word of the search, of labels and of tables.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Tap => "tap",
            Self::Shadow => "shadow",
            Self::Status => "status",
            Self::Push => "push",
            Self::AdminApi => "admin_api",
            Self::Konnect => "konnect",
            Self::AccessLog => "access_log",
            Self::Import => "import",
        }
    }

    /// The name that people read.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Tap => "tap",
            Self::Shadow => "shadow node",
            Self::Status => "Status API",
            Self::Push => "push",
            Self::AdminApi => "Admin API",
            Self::Konnect => "Konnect",
            Self::AccessLog => "access log",
            Self::Import => "import",
        }
    }

    /// The rank of evidence, lowest first: a lower rank decides only while all better ones are silent (DESIGN 5.8).
    #[must_use]
    pub const fn rank(self) -> u8 {
        match self {
            Self::Tap => 0,
            Self::Shadow => 1,
            Self::Status => 2,
            Self::Push => 3,
            Self::Import => 4,
            Self::AdminApi => 5,
            Self::Konnect => 6,
            Self::AccessLog => 7,
        }
    }
}

impl FromStr for Source {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|source| source.word() == text).ok_or(())
    }
}

/// Which of Kong's sync protocols a rendering was made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// Full configuration over `/v1/outlet`.
    V1,
    /// JSON-RPC over `/v2/outlet`.
    V2,
}

/// A set of cohorts of one control plane: those that agree with every part that is given.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Scope {
    /// Only nodes that sync by this protocol.
    pub protocol: Option<Protocol>,
    /// Only nodes that run this gateway version.
    pub gateway: Option<GatewayVersion>,
}

impl Scope {
    /// Every cohort of the control plane.
    pub const ANY: Self = Self { protocol: None, gateway: None };

    /// Whether a node of `cohort` is inside. A node whose protocol or gateway version is not known is inside only
    /// where that part is not asked for.
    #[must_use]
    pub fn holds(&self, cohort: &Self) -> bool {
        let protocol = self.protocol.is_none() || self.protocol == cohort.protocol;
        let gateway = self.gateway.is_none() || self.gateway == cohort.gateway;
        protocol && gateway
    }
}

/// `v1 · 3.9.1`, `every cohort`.
impl fmt::Display for Scope {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protocol = self.protocol.map(|protocol| match protocol {
            Protocol::V1 => "v1",
            Protocol::V2 => "v2",
        });
        match (protocol, &self.gateway) {
            (None, None) => write!(out, "every cohort"),
            (Some(protocol), None) => write!(out, "{protocol}"),
            (None, Some(gateway)) => write!(out, "{gateway}"),
            (Some(protocol), Some(gateway)) => write!(out, "{protocol} · {gateway}"),
        }
    }
}

/// How a configuration is called by whoever speaks of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConfigRef {
    /// By the 32 characters of the hash slot.
    Hash(ConfigHash),
    /// By the source's own token that is not 32 characters of a hash slot.
    Token(Token),
}

impl ConfigRef {
    /// Whether this says "no configuration".
    #[must_use]
    pub fn is_zeros(&self) -> bool {
        matches!(self, Self::Hash(hash) if hash.is_zeros())
    }

    /// The characters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Hash(hash) => hash.as_str(),
            Self::Token(token) => token.as_str(),
        }
    }
}

impl From<Token> for ConfigRef {
    /// A token that has the form of a hash slot is the same thing as that hash.
    fn from(token: Token) -> Self {
        token.as_str().parse().map_or(Self::Token(token), Self::Hash)
    }
}

impl fmt::Display for ConfigRef {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

/// One thing that was told to us.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fact {
    /// When it was so, by our clock (DESIGN 5.8).
    pub at: Timestamp,
    /// When we stored it. Not before `at`, but for a clock that was set back.
    pub recorded_at: Timestamp,
    /// The control plane that it is about.
    pub control_plane: CpName,
    /// Where it came from.
    pub source: Source,
    /// What was told.
    pub what: What,
}

/// The kinds of facts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// A node said what it runs.
    Report(Box<Report>),
    /// A node's connection opened or ended.
    Connection(Connection),
    /// The control plane said which configuration it publishes.
    Word(Box<Word>),
    /// The control plane was asked what it expects, and answered.
    Read,
    /// The source began to listen, or became blind.
    Listening(Listening),
    /// The control plane itself did not answer, though another target did (DESIGN 5.9).
    ControlPlaneDown,
    /// A person said what is to be known of the control plane.
    Declared(Box<Declaration>),
    /// A person took a node out of the counts.
    Retired(Retirement),
}

/// What a node says of itself. `None` is "not said", never "no".
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Who.
    pub node: NodeId,
    /// The configuration that it runs.
    pub running: Option<ConfigRef>,
    /// What seldom changes.
    pub attributes: Attributes,
    /// What the control plane says of this node.
    pub status: Option<SyncStatus>,
    /// The node's last refusal of a configuration.
    pub failure: Option<ApplyFailure>,
    /// Whether the node says that it can serve.
    pub ready: Option<bool>,
    /// The node's own clock when it sent this: a claim.
    pub node_clock: Option<Timestamp>,
    /// The fact may be this many milliseconds older than its time says (a poll); 0 for what was seen itself.
    pub uncertain_ms: u32,
    /// Reports that said the same were heard without a gap since the one before: a store keeps only the first and the
    /// last of them, and tells the last one with this mark. Never set on what comes from outside.
    #[serde(default)]
    pub continues: bool,
    /// The time is an estimate: a store tells of the middle of such a run, of which it keeps the two ends. Only in looks
    /// at the past, so it is never kept itself.
    #[serde(skip)]
    pub estimated: bool,
}

impl Report {
    /// A report that says only what the node runs.
    #[must_use]
    pub fn of(node: NodeId, running: ConfigRef) -> Self {
        Self { running: Some(running), ..Self::silent(node) }
    }

    /// A report that says nothing but that the node is there.
    #[must_use]
    pub fn silent(node: NodeId) -> Self {
        Self {
            node,
            running: None,
            attributes: Attributes::default(),
            status: None,
            failure: None,
            ready: None,
            node_clock: None,
            uncertain_ms: 0,
            continues: false,
            estimated: false,
        }
    }
}

/// What seldom changes about a node; stored once for many reports.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Attributes {
    /// The name of the machine or pod.
    pub hostname: Option<Line>,
    /// The address that it connects from.
    pub ip: Option<Line>,
    /// The software that it runs.
    pub gateway_version: Option<GatewayVersion>,
    /// How it syncs.
    pub protocol: Option<Protocol>,
    /// Full or by deltas.
    pub sync_mode: Option<SyncMode>,
    /// Its labels; `None` if not said.
    pub labels: Option<Labels>,
    /// A digest of the plugins that it has: equal sets are equal digests.
    pub plugin_set: Option<Digest>,
    /// What its connection can do, as it says.
    pub capabilities: Option<Line>,
    /// When its certificate expires.
    pub certificate_expires_at: Option<Timestamp>,
    /// When its license expires.
    pub license_expires_at: Option<Timestamp>,
}

impl Attributes {
    /// Takes over what `newer` says, and keeps what it does not say. A hostname that only repeats the node's id never
    /// replaces a real one (DESIGN 5.10; Kong's delta sync writes the id there, `kong-hybrid.md` 3.1).
    pub fn update(&mut self, newer: &Self, node: &NodeId) {
        let repeats_id = newer.hostname.as_ref().is_some_and(|hostname| hostname.as_str() == node.as_str());
        if newer.hostname.is_some() && !(repeats_id && self.hostname.is_some()) {
            self.hostname.clone_from(&newer.hostname);
        }
        take(&mut self.ip, &newer.ip);
        take(&mut self.gateway_version, &newer.gateway_version);
        take(&mut self.protocol, &newer.protocol);
        take(&mut self.sync_mode, &newer.sync_mode);
        take(&mut self.labels, &newer.labels);
        take(&mut self.plugin_set, &newer.plugin_set);
        take(&mut self.capabilities, &newer.capabilities);
        take(&mut self.certificate_expires_at, &newer.certificate_expires_at);
        take(&mut self.license_expires_at, &newer.license_expires_at);
    }

    /// The cohort that these attributes put a node in.
    #[must_use]
    pub fn cohort(&self) -> Scope {
        Scope { protocol: self.protocol, gateway: self.gateway_version.clone() }
    }
}

fn take<T: Clone>(mine: &mut Option<T>, newer: &Option<T>) {
    if newer.is_some() {
        mine.clone_from(newer);
    }
}

/// How configurations travel to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SyncMode {
    /// The whole configuration each time.
    Full,
    /// Only what changed.
    Delta,
    /// Deltas were asked for, and the whole came.
    FellBack,
}

/// What the control plane says of a node (`kong-hybrid.md` 3.1). "Normal" says no more than that nothing is withheld.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SyncStatus {
    /// Configurations are sent.
    Normal,
    /// Configurations are withheld.
    Withheld {
        /// Why.
        reason: WithheldReason,
        /// In the words of the source.
        detail: Option<Line>,
    },
}

/// Why a control plane withholds configurations from a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WithheldReason {
    /// The gateway version does not fit the control plane's.
    GatewayVersion,
    /// A configured plugin is missing on the node.
    PluginSet,
    /// A configured plugin's version does not fit.
    PluginVersion,
    /// A configured filter is missing on the node.
    FilterSet,
    /// Another reason.
    Other,
}

impl WithheldReason {
    /// The reason as part of a sentence.
    #[must_use]
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::GatewayVersion => "its gateway version does not fit the control plane's",
            Self::PluginSet => "a configured plugin is missing on the node",
            Self::PluginVersion => "a plugin's version does not fit the control plane's",
            Self::FilterSet => "a configured filter is missing on the node",
            Self::Other => "the control plane says that it is incompatible",
        }
    }
}

/// A configuration that a node could not apply.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ApplyFailure {
    /// The configuration that was refused, where the node names it; else the newest one offered.
    pub refused: Option<ConfigRef>,
    /// The node's own words.
    pub message: Line,
    /// The entity that it names, `route orders-v1`.
    pub entity: Option<Line>,
    /// The field that it names.
    pub field: Option<Line>,
}

/// The life of a node's connection to its control plane.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connection {
    /// Whose; `None` if the peer never said who it is.
    pub node: Option<NodeId>,
    /// What happened.
    pub event: ConnectionEvent,
    /// What was learned in the handshake.
    pub attributes: Attributes,
}

/// What happened to a connection.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConnectionEvent {
    /// It was accepted.
    Opened,
    /// It ended; the words say how.
    Closed(Line),
    /// It was refused before it began; the words say how.
    Refused(Line),
    /// It could not be passed on, as nothing listened at the control plane.
    Unreachable,
}

/// The control plane's own word on what it publishes (DESIGN 2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Word {
    /// Which replica spoke, where it is known.
    pub replica: Option<Line>,
    /// Which cohorts it spoke of.
    pub scope: Scope,
    /// What it said.
    pub said: Said,
}

/// The forms that the word of a control plane takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Said {
    /// "This version exists now" (`POST …/versions`).
    Announced(Announcement),
    /// A configuration on its way to a node, seen by tap or shadow.
    Frame(Frame),
    /// "This is what nodes should run" (`PUT …/expected`, Konnect's expected hash).
    Expected {
        /// What is expected.
        config: ConfigRef,
        /// The version that this is known to be a rendering of.
        token: Option<Token>,
    },
    /// "There is a new version" (`notify_new_version`), or the newest version in an answer.
    Notified(ConfigHash),
    /// Not said at all, but read from what nodes did: a control plane whose word never reaches us seems to publish
    /// this (DESIGN 5.1).
    Inferred(ConfigRef),
    /// A person says, audited, that a hash renders the version that was the head when it appeared.
    Same {
        /// The hash.
        hash: ConfigHash,
        /// Who says so.
        who: Line,
    },
}

/// A version that its control plane, or a pipeline in its name, announces.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announcement {
    /// The source's token. The same token is the same version.
    pub token: Option<Token>,
    /// The sender's key, where there is no token. The same key is the same version.
    pub key: Option<Line>,
    /// Its renderings, by cohort.
    pub hashes: Vec<(Scope, ConfigHash)>,
    /// Why it was made, in the sender's words.
    pub cause: Option<Line>,
    /// Who made it.
    pub actor: Option<Line>,
    /// The write burst that it belongs to, as the sender names it.
    pub changeset: Option<Line>,
    /// What it is made of.
    pub shape: Option<Shape>,
    /// Its behaviour digest, in the word's scope.
    pub digest: Option<Digest>,
    /// What it takes away is meant ([`crate::guard`]).
    #[serde(default)]
    pub intended: bool,
    /// Plugins that it made or changed; at most [`PluginChange::MAX`].
    #[serde(default)]
    pub plugins_changed: Vec<PluginChange>,
}

/// A plugin that a version made or changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginChange {
    /// Its name.
    pub name: Line,
    /// What it keeps in the memory of a node.
    pub keeps: Keeps,
}

impl PluginChange {
    /// Plugins that are named of one version.
    pub const MAX: usize = 32;
}

/// What a plugin keeps in the memory of a node, so that a change by delta may not be used at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Keeps {
    /// Nothing that is known.
    Nothing,
    /// Something that it made of its configuration, or of other entities.
    State,
    /// Counters, which may begin anew.
    Counters,
}

/// A configuration on the wire.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frame {
    /// The hash or version that the frame states.
    pub config: ConfigRef,
    /// The node that it was offered to; `None` for a shadow.
    pub offered_to: Option<NodeId>,
    /// How the content compares; see [`Content`].
    pub content: Content,
    /// What it is made of.
    pub shape: Option<Shape>,
    /// Full or delta.
    pub mode: SyncMode,
    /// Bytes on the wire.
    pub bytes: u64,
    /// Plugins that it makes or changes, where it is a delta; at most [`PluginChange::MAX`].
    #[serde(default)]
    pub plugins_changed: Vec<PluginChange>,
    /// What changed, entity by entity, where whoever saw this saw what the cohort was sent before it. Told with the first
    /// frame of a change; the same frame for another node repeats none of it.
    #[serde(default)]
    pub entities_changed: Option<Arc<EntityChanges>>,
}

/// How a configuration differs from the one that its cohort was sent before, entity by entity. Types, ids and names; never
/// a value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntityChanges {
    /// What the cohort was sent before.
    pub before: ConfigRef,
    /// How many of each type, all of them; at most [`EntityChanges::TYPES_MAX`] types.
    pub counts: Vec<TypeChanges>,
    /// Which; at most [`EntityChanges::LISTED_MAX`], of the types with the fewest changes first.
    pub listed: Vec<EntityChange>,
}

impl EntityChanges {
    /// Types that are counted.
    pub const TYPES_MAX: usize = 64;
    /// Entities that are listed.
    pub const LISTED_MAX: usize = 200;

    /// Entities that changed, listed or not.
    #[must_use]
    pub fn total(&self) -> u64 {
        let of = |count: &TypeChanges| u64::from(count.added) + u64::from(count.changed) + u64::from(count.removed);
        self.counts.iter().map(of).sum()
    }
}

/// How many entities of a type changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TypeChanges {
    /// The type, `routes`.
    pub entity_type: Line,
    /// Were not there before.
    pub added: u32,
    /// Are there, and differ in more than when they were written.
    pub changed: u32,
    /// Are there no more.
    pub removed: u32,
}

/// One entity that changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntityChange {
    /// What happened to it.
    pub change: Changed,
    /// Its type, `routes`.
    pub entity_type: Line,
    /// Its id, where it has one.
    pub id: Option<Line>,
    /// Its name, where entities of its type have one that is no secret and nobody's own.
    pub name: Option<Line>,
}

/// What happened to an entity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Changed {
    /// It was not there before.
    Added,
    /// It is there, and differs.
    Changed,
    /// It is there no more.
    Removed,
}

impl Changed {
    /// The word of REST and pages.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Changed => "changed",
            Self::Removed => "removed",
        }
    }
}

/// What is known of a configuration's content (DESIGN 5.3).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Content {
    /// It could not be read.
    Unknown,
    /// Its behaviour digest.
    Digest(Digest),
    /// Its behaviour digest; it differs from the cohort's content before only in fields that every entity of a type
    /// gained or lost alike.
    Template {
        /// The behaviour digest.
        digest: Digest,
        /// The fields, `routes.request_buffering`; at most 32.
        paths: Vec<Line>,
    },
}

/// What a configuration is made of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shape {
    /// Entities by type; at most 128 types.
    pub entities: BTreeMap<String, u64>,
    /// Certificates that no SNI names.
    pub certificates_without_snis: u64,
    /// Distinct hosts that routes serve.
    pub hosts_served: u64,
}

impl Shape {
    /// Types at most.
    pub const MAX_TYPES: usize = 128;

    /// Entities of all types.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.entities.values().fold(0, |sum, count| sum.saturating_add(*count))
    }
}

/// Whether a source hears its nodes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Listening {
    /// It hears, and expects reports at this pace.
    Began {
        /// Milliseconds between two reports of one node.
        interval_ms: u32,
    },
    /// It is blind; the words say why.
    Stopped(Line),
    /// It ended, and is not expected to be heard again: a recording came to its end.
    Ended,
}

/// What people say of a control plane (`PUT /api/v1/control-planes/{cp}`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Declaration {
    /// The name on pages.
    pub display_name: Option<Line>,
    /// Kong's `cluster_id`.
    pub cluster_id: Option<Line>,
    /// Konnect's id.
    pub konnect_id: Option<Line>,
    /// How long a change may take to reach a node before it counts as behind.
    pub propagation_ms: Option<u32>,
    /// Whether every change of this control plane is announced to us.
    pub change_feed: bool,
}

/// A person takes a node out of the counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retirement {
    /// Which.
    pub node: NodeId,
    /// Who did it.
    pub by: Line,
    /// Why.
    pub reason: Option<Line>,
}
