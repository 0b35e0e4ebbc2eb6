//! What may be asked of the fleet, and the answers: the values that pages, REST and the live stream share.
//!
//! A view is complete: it has its sentences and its `as_of`, so that who shows it needs no clock and no second
//! question. All times are by the server's clock.

use crate::drawing::Figure;
use crate::fact::{Attributes, ConfigRef, EntityChanges, Scope, Shape, Source};
use crate::id::{CpName, Line, NodeId, Ordinal, Token};
use crate::ledger::ContentChange;
use crate::notice::Notice;
use crate::time::Timestamp;
use crate::verdict::{ConfigWord, ConnectionWord, Counter, Overlays, Verdict};
use serde::{Deserialize, Serialize};

/// At which moment, and by what knowledge (DESIGN 6): `?at=…&known=now`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moment {
    /// `None`: now.
    pub at: Option<Timestamp>,
    /// Use everything known since, not only what was recorded at or before `at`.
    pub known_now: bool,
}

/// Which answer this is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AsOf {
    /// The moment that the answer describes.
    pub at: Timestamp,
    /// Counts up whenever the fleet's answer changes; 0 for a view of the past.
    pub revision: u64,
    /// The view is of the past, by `?at=`.
    pub past: bool,
    /// The server's clock is held at this moment (`serve --at`): nothing is taken in.
    pub held: bool,
}

/// A count of nodes under one word, with the search that lists them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count<T> {
    /// What is counted.
    pub of: T,
    /// How many nodes.
    pub nodes: u32,
}

/// The whole fleet (`/`, `GET /api/v1/fleet`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetView {
    /// Which answer this is.
    pub as_of: AsOf,
    /// The answer in words.
    pub sentence: String,
    /// Nodes that count: the fleet without `gone`.
    pub nodes: u32,
    /// The five counters, in the order of [`Counter::ALL`].
    pub counters: Vec<Count<Counter>>,
    /// Counts of the second axis, in the order of [`ConfigWord::ALL`], of nodes that count.
    pub config_states: Vec<Count<ConfigWord>>,
    /// Counts of the first axis, in the order of [`ConnectionWord::ALL`].
    pub connection_states: Vec<Count<ConnectionWord>>,
    /// Nodes that are current by another hash of the head: what a hash comparison would have called out of sync.
    pub current_by_alias: u32,
    /// Nodes that a comparison of raw hashes would call out of sync now.
    pub out_of_sync_by_hash: u32,
    /// Every control plane, by name.
    pub control_planes: Vec<ControlPlaneView>,
    /// What is to be said of control planes, most severe first.
    pub notices: Vec<Notice>,
    /// The worst nodes, at most 10.
    pub worst: Vec<NodeRow>,
}

/// One control plane.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ControlPlaneView {
    /// Its name.
    pub name: CpName,
    /// Its name on pages, where one was declared.
    pub display_name: Option<Line>,
    /// Kong's `cluster_id`.
    pub cluster_id: Option<Line>,
    /// It was made up from what reports said; nobody declared it.
    pub undeclared: bool,
    /// Its ledger rests on reports of nodes alone (DESIGN 5.1).
    pub inferred: bool,
    /// The head of its ledger.
    pub head: Option<VersionRow>,
    /// Nodes that count.
    pub nodes: u32,
    /// Nodes that run the head or what behaves the same.
    pub at_head: u32,
    /// The five counters, in the order of [`Counter::ALL`].
    pub counters: Vec<Count<Counter>>,
    /// The node that is furthest from the head.
    pub worst: Option<NodeRow>,
    /// The last time that the control plane's word reached us.
    pub last_word_at: Option<Timestamp>,
    /// Nobody sees what its nodes get: it is not known whether its content is whole.
    pub content_not_watched: bool,
    /// Sources that watch it, with the last fact of each.
    pub sources: Vec<SourceView>,
}

/// A source and whether it hears.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceView {
    /// Which.
    pub source: Source,
    /// The last fact that it brought.
    pub last_fact_at: Option<Timestamp>,
    /// Since when it is blind; `None` while it hears.
    pub blind_since: Option<Timestamp>,
    /// Why it is blind.
    pub blind_reason: Option<Line>,
}

/// A node in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRow {
    /// Its control plane.
    pub control_plane: CpName,
    /// Its id.
    pub id: NodeId,
    /// What seldom changes.
    pub attributes: Attributes,
    /// The answer.
    pub verdict: Verdict,
    /// The answer in words: state, age, cause, next step (<= 160 characters).
    pub headline: String,
    /// What it rests on (<= 160 characters).
    pub evidence: String,
    /// What the node said that it runs.
    pub reported: Option<ConfigRef>,
    /// The last report.
    pub last_report_at: Option<Timestamp>,
    /// That moment is an estimate: in a view of the past, of equal reports only the first and the last are known.
    pub last_report_estimated: bool,
    /// The source that decided.
    pub source: Option<Source>,
    /// Since when it runs what a destructive change left; `None` where it does not.
    pub suspicious_since: Option<Timestamp>,
}

/// A page of the list of nodes (`/nodes`, `GET /api/v1/nodes`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodesView {
    /// Which answer this is.
    pub as_of: AsOf,
    /// The question, as it was understood and as the URL speaks it.
    pub query: String,
    /// Parts of the question that were not understood, each with the reason.
    pub problems: Vec<String>,
    /// Nodes that answer the question.
    pub total: u32,
    /// This page.
    pub rows: Vec<NodeRow>,
    /// The key of the next page; `None` on the last one.
    pub next: Option<String>,
    /// Counts by property, over all nodes that answer the question.
    pub facets: Vec<Facet>,
    /// What the selected nodes share that the rest of the fleet does not; empty where nothing stands out.
    pub common: Vec<CommonFactor>,
}

/// Counts of nodes by the values of one property.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facet {
    /// The word of the search, `gateway`, `label.region`.
    pub key: String,
    /// Values by count, at most 12.
    pub values: Vec<Count<String>>,
}

/// Something that a set of nodes shares and the rest does not.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CommonFactor {
    /// The word of the search, `gateway`, `label.region`.
    pub key: String,
    /// The value.
    pub value: String,
    /// Nodes of the set that have it.
    pub inside: u32,
    /// Nodes of the set.
    pub inside_of: u32,
    /// Nodes of the rest that have it.
    pub outside: u32,
    /// Nodes of the rest.
    pub outside_of: u32,
}

impl Eq for CommonFactor {}

/// One node (`/nodes/{cp}/{id}`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeView {
    /// Which answer this is.
    pub as_of: AsOf,
    /// The node as in a list.
    pub row: NodeRow,
    /// The rule that decided.
    pub rule: String,
    /// What the verdict rests on.
    pub proof: Proof,
    /// What it runs, in the ledger.
    pub running: Option<VersionRow>,
    /// What it should run.
    pub head: Option<VersionRow>,
    /// The hash or token that is expected of its cohort now.
    pub expected: Option<ConfigRef>,
    /// Its failure to apply, where there is one.
    pub failure: Option<crate::fact::ApplyFailure>,
    /// Other machines under the same id; empty but for `duplicate_id`.
    pub twins: Vec<Attributes>,
    /// Its clock minus ours, where it told us its clock.
    pub clock_skew_ms: Option<i64>,
}

/// What we know, infer, and cannot know (mock: the proof card).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    /// Told to us.
    pub know: Vec<String>,
    /// Follows from what we know, by a rule.
    pub infer: Vec<String>,
    /// Not known, each with the way to get it.
    pub cannot_know: Vec<String>,
}

/// The past of one node (`/nodes/{cp}/{id}/history`), newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryView {
    /// Which answer this is.
    pub as_of: AsOf,
    /// Unbroken runs of equal reports.
    pub intervals: Vec<IntervalView>,
    /// Connection events and other moments.
    pub events: Vec<EventView>,
    /// Versions that it reached, newest first.
    pub reached: Vec<ReachedView>,
    /// The key of the next page of intervals.
    pub next: Option<String>,
}

/// An unbroken run of equal reports from one source: inside it the node was connected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IntervalView {
    /// Who told us.
    pub source: Source,
    /// What the node ran; `None` if the reports did not say.
    pub reported: Option<ConfigRef>,
    /// The version that this meant then.
    pub version: Option<Ordinal>,
    /// First report.
    pub from: Timestamp,
    /// Last report so far.
    pub until: Timestamp,
    /// Reports.
    pub count: u64,
    /// What the node said of itself.
    pub attributes: Attributes,
}

/// A moment in the life of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventView {
    /// When.
    pub at: Timestamp,
    /// Who told us.
    pub source: Source,
    /// One word: `opened`, `closed`, `refused`, `unreachable`, `rejected`, `retired`.
    pub kind: String,
    /// In words.
    pub sentence: String,
}

/// A version that a node reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReachedView {
    /// Which.
    pub version: Ordinal,
    /// Its publication.
    pub published_at: Timestamp,
    /// When it was offered to this node, if that was seen.
    pub offered_at: Option<Timestamp>,
    /// The first report of it or of a later one.
    pub reached_at: Timestamp,
    /// From publication to the first report.
    pub lag_ms: i64,
    /// The lag may be this much shorter (a poll): shown as "<=".
    pub uncertain_ms: u32,
}

/// A version in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionRow {
    /// Its control plane.
    pub control_plane: CpName,
    /// Its ordinal.
    pub ordinal: Ordinal,
    /// The source's token.
    pub token: Option<Token>,
    /// When it was published, by our clock.
    pub published_at: Timestamp,
    /// When we learned of it.
    pub recorded_at: Timestamp,
    /// Why it exists, in words.
    pub cause: String,
    /// How it entered the ledger, one word: `announced`, `frame`, `expected`, `notified`, `inferred`.
    pub entered_by: String,
    /// The first version of its changeset.
    pub changeset: Ordinal,
    /// It changes no behaviour.
    pub no_op: bool,
    /// It is a version that the control plane went back to.
    pub reverts_to: Option<Ordinal>,
    /// It is the head.
    pub is_head: bool,
    /// Nodes that run exactly this version.
    pub running: u32,
    /// Nodes that run it or a later one.
    pub reached: u32,
    /// Nodes that count.
    pub nodes: u32,
}

/// The ledger of one control plane, newest first (`/versions`, `GET …/versions`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionsView {
    /// Which answer this is.
    pub as_of: AsOf,
    /// Whose.
    pub control_plane: CpName,
    /// The ledger rests on reports of nodes alone.
    pub inferred: bool,
    /// This page.
    pub rows: Vec<VersionRow>,
    /// The key of the next page; `None` on the last one.
    pub next: Option<String>,
    /// Nodes that run nothing of the ledger.
    pub unresolved: u32,
}

/// One version (`/versions/{cp}/{n}`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionView {
    /// Which answer this is.
    pub as_of: AsOf,
    /// The version as in a list.
    pub row: VersionRow,
    /// Everything that names it.
    pub hashes: Vec<HashView>,
    /// What it is made of, where that was seen.
    pub shape: Option<Shape>,
    /// How that differs from the version before it whose content was seen.
    pub change: Option<ContentChange>,
    /// Plugins that it made or changed, as far as that was told.
    pub plugins_changed: Vec<Line>,
    /// What it changed, entity by entity, as far as that was seen.
    pub entities_changed: Option<EntityChanges>,
    /// The version that this is compared with, where it is known.
    pub changed_since: Option<Ordinal>,
    /// How it spread.
    pub propagation: Propagation,
    /// How it spread, drawn; `None` where no node reached it.
    pub curve: Option<Figure>,
    /// How it spread over each cohort; what is final is as it was then.
    pub cohorts: Vec<CohortPropagation>,
}

/// A hash of a version and why we hold it to be one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HashView {
    /// The hash or token.
    pub config: ConfigRef,
    /// For which cohorts.
    pub scope: Scope,
    /// Since when we know it.
    pub since: Timestamp,
    /// Why, in words.
    pub evidence: String,
    /// It is not proven.
    pub unproven: bool,
    /// Nodes that repeat it now.
    pub nodes: u32,
}

/// How a version spread over its control plane's nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Propagation {
    /// Nodes that count.
    pub nodes: u32,
    /// Nodes that reached it or a later one.
    pub reached: u32,
    /// Median lag of those that reached it after its publication.
    pub p50_ms: Option<i64>,
    /// 90th percentile.
    pub p90_ms: Option<i64>,
    /// 99th percentile.
    pub p99_ms: Option<i64>,
    /// The slowest.
    pub max_ms: Option<i64>,
    /// Per node: first reached and lag; at most 1,000, slowest first, those that miss it before all others.
    pub per_node: Vec<NodeReach>,
}

/// How a version, or the changeset that it ends, spread over one cohort.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CohortPropagation {
    /// The cohort; a part that is not known is `None`.
    pub scope: Scope,
    /// Nodes that counted.
    pub nodes: u32,
    /// Nodes that reached it.
    pub reached: u32,
    /// Median lag of those that reached it.
    pub p50_ms: Option<i64>,
    /// 90th percentile.
    pub p90_ms: Option<i64>,
    /// 99th percentile.
    pub p99_ms: Option<i64>,
    /// The slowest.
    pub max_ms: Option<i64>,
    /// Nodes that had reached it by a lag; at most 100 points.
    pub curve: Vec<(i64, u32)>,
    /// Names of nodes that did not; at most 100.
    pub stragglers: Vec<String>,
    /// When that was written down for good; `None` while it may change.
    pub final_at: Option<Timestamp>,
}

/// One node and one version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeReach {
    /// Which.
    pub node: NodeId,
    /// Its hostname, where known.
    pub hostname: Option<Line>,
    /// First report of the version or a later one; `None` if it has not reached it.
    pub reached_at: Option<Timestamp>,
    /// From publication to that report; negative lags are shown as 0.
    pub lag_ms: Option<i64>,
    /// The lag may be this much shorter (a poll).
    pub uncertain_ms: u32,
    /// Where the node stands on the first axis now: a node that is away is censored, not slow.
    pub connection: ConnectionWord,
}

/// The overlays of a row, for those who list words.
#[must_use]
pub fn overlay_words(overlays: Overlays) -> Vec<&'static str> {
    overlays.iter().map(crate::verdict::Overlay::word).collect()
}
