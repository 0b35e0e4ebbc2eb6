//! The answers of the REST interface: types of their own, because REST is a promise. The domain's views may change;
//! what is written here may only grow. Times are RFC 3339, states are the words of `DESIGN.md`.

mod traffic;

pub use traffic::{Resource, ResourcePoint, Resources, Totals, Traffic, TrafficPoint, TrafficRow, Usage, UsageMonth};

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};
use tidemark_domain::common::{lift, search};
use tidemark_domain::fact::{self, ApplyFailure, Attributes, ConfigRef, Protocol, SyncMode};
use tidemark_domain::id::Ordinal;
use tidemark_domain::notice::Notice as NoticeView;
use tidemark_domain::sentence::factor_sentence;
use tidemark_domain::time::Timestamp;
use tidemark_domain::verdict::ConfigState;
use tidemark_domain::view::{self, Count};
use utoipa::openapi::{KnownFormat, ObjectBuilder, RefOr, Schema, SchemaFormat, schema::Type};
use utoipa::{PartialSchema, ToSchema};

/// A moment as RFC 3339 in UTC.
#[derive(Clone, Copy, Debug)]
pub struct Time(pub Timestamp);

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl PartialSchema for Time {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
            .description(Some("A moment as RFC 3339 in UTC."))
            .into()
    }
}

impl ToSchema for Time {
    fn name() -> std::borrow::Cow<'static, str> {
        "Time".into()
    }
}

fn time(at: Option<Timestamp>) -> Option<Time> {
    at.map(Time)
}

fn text<T: ToString>(value: &Option<T>) -> Option<String> {
    value.as_ref().map(ToString::to_string)
}

fn number(ordinal: Option<Ordinal>) -> Option<u32> {
    ordinal.map(Ordinal::number)
}

/// The word of an enum without content, as its serialisation has it.
fn word<T: Serialize>(value: T) -> Option<String> {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => Some(word),
        _ => None,
    }
}

/// Which answer this is.
#[derive(Debug, Serialize, ToSchema)]
pub struct AsOf {
    /// The moment that the answer describes.
    pub at: Time,
    /// Counts up whenever the fleet's answer changes; 0 for a view of the past.
    pub revision: u64,
    /// The view is of the past, by `?at=`.
    pub past: bool,
    /// The server's clock is held: nothing is taken in.
    pub held: bool,
}

impl From<view::AsOf> for AsOf {
    fn from(as_of: view::AsOf) -> Self {
        Self { at: Time(as_of.at), revision: as_of.revision, past: as_of.past, held: as_of.held }
    }
}

/// Counts of nodes by word; every word is there, zero included.
type Counts = BTreeMap<String, u32>;

fn counts<T: Copy>(counted: Vec<Count<T>>, word: impl Fn(T) -> &'static str) -> Counts {
    counted.into_iter().map(|count| (word(count.of).to_owned(), count.nodes)).collect()
}

/// The whole fleet.
#[derive(Debug, Serialize, ToSchema)]
pub struct Fleet {
    /// Which answer this is.
    pub as_of: AsOf,
    /// The answer in words.
    pub sentence: String,
    /// Nodes that count: the fleet without `gone`.
    pub nodes: u32,
    /// The five counters: `not_heard`, `blocked`, `behind`, `rolling_out`, `current`. They add up to `nodes`.
    pub counters: Counts,
    /// Nodes by the state of their configuration.
    pub config_states: Counts,
    /// Nodes by the state of their connection.
    pub connection_states: Counts,
    /// Nodes that are current by another hash of the head.
    pub current_by_alias: u32,
    /// Nodes that a comparison of raw hashes would call out of sync now.
    pub out_of_sync_by_hash: u32,
    /// Every control plane, by name.
    pub control_planes: Vec<ControlPlane>,
    /// What is to be said of control planes, most severe first.
    pub notices: Vec<Notice>,
    /// The worst nodes, at most 10.
    pub worst: Vec<Node>,
}

impl From<view::FleetView> for Fleet {
    fn from(fleet: view::FleetView) -> Self {
        Self {
            as_of: fleet.as_of.into(),
            sentence: fleet.sentence,
            nodes: fleet.nodes,
            counters: counts(fleet.counters, |counter| counter.word()),
            config_states: counts(fleet.config_states, |state| state.word()),
            connection_states: counts(fleet.connection_states, |state| state.word()),
            current_by_alias: fleet.current_by_alias,
            out_of_sync_by_hash: fleet.out_of_sync_by_hash,
            control_planes: fleet.control_planes.into_iter().map(Into::into).collect(),
            notices: fleet.notices.into_iter().map(Into::into).collect(),
            worst: fleet.worst.into_iter().map(Into::into).collect(),
        }
    }
}

/// One thing to be said of a control plane as a whole.
#[derive(Debug, Serialize, ToSchema)]
pub struct Notice {
    /// Of which.
    pub control_plane: String,
    /// What happened, one word.
    pub kind: String,
    /// `page`, `ticket` or `info`.
    pub severity: String,
    /// Since when.
    pub since: Time,
    /// Nodes that it concerns now.
    pub nodes: u32,
    /// In words, with what to do.
    pub sentence: String,
}

impl From<NoticeView> for Notice {
    fn from(notice: NoticeView) -> Self {
        Self {
            control_plane: notice.control_plane.to_string(),
            kind: notice.kind.word().to_owned(),
            severity: notice.severity.word().to_owned(),
            since: Time(notice.since),
            nodes: notice.nodes,
            sentence: notice.sentence,
        }
    }
}

/// Every control plane, by name.
#[derive(Debug, Serialize, ToSchema)]
pub struct ControlPlanes {
    /// All of them.
    pub control_planes: Vec<ControlPlane>,
}

/// One control plane.
#[derive(Debug, Serialize, ToSchema)]
pub struct ControlPlane {
    /// Its name.
    pub name: String,
    /// Its name on pages, where one was declared.
    pub display_name: Option<String>,
    /// Kong's `cluster_id`.
    pub cluster_id: Option<String>,
    /// It was made up from what reports said; nobody declared it.
    pub undeclared: bool,
    /// Its ledger rests on reports of nodes alone.
    pub inferred: bool,
    /// The head of its ledger.
    pub head: Option<Version>,
    /// Nodes that count.
    pub nodes: u32,
    /// Nodes that run the head or what behaves the same.
    pub at_head: u32,
    /// The five counters.
    pub counters: Counts,
    /// The node that is furthest from the head.
    pub worst: Option<Box<Node>>,
    /// The last time that the control plane's word reached us.
    pub last_word_at: Option<Time>,
    /// Nobody sees what its nodes get: whether its content is whole is not known.
    pub content_not_watched: bool,
    /// Sources that watch it.
    pub sources: Vec<SourceState>,
}

impl From<view::ControlPlaneView> for ControlPlane {
    fn from(control_plane: view::ControlPlaneView) -> Self {
        Self {
            name: control_plane.name.to_string(),
            display_name: text(&control_plane.display_name),
            cluster_id: text(&control_plane.cluster_id),
            undeclared: control_plane.undeclared,
            inferred: control_plane.inferred,
            head: control_plane.head.map(Into::into),
            nodes: control_plane.nodes,
            at_head: control_plane.at_head,
            counters: counts(control_plane.counters, |counter| counter.word()),
            worst: control_plane.worst.map(|node| Box::new(node.into())),
            last_word_at: time(control_plane.last_word_at),
            content_not_watched: control_plane.content_not_watched,
            sources: control_plane.sources.into_iter().map(Into::into).collect(),
        }
    }
}

/// A source and whether it hears.
#[derive(Debug, Serialize, ToSchema)]
pub struct SourceState {
    /// Which, one word.
    pub source: String,
    /// The last fact that it brought.
    pub last_fact_at: Option<Time>,
    /// Since when it is blind; null while it hears.
    pub blind_since: Option<Time>,
    /// Why it is blind.
    pub blind_reason: Option<String>,
}

impl From<view::SourceView> for SourceState {
    fn from(source: view::SourceView) -> Self {
        Self {
            source: source.source.word().to_owned(),
            last_fact_at: time(source.last_fact_at),
            blind_since: time(source.blind_since),
            blind_reason: text(&source.blind_reason),
        }
    }
}

/// What a node says of itself that seldom changes; null is "not said".
#[derive(Debug, Serialize, ToSchema)]
pub struct NodeAttributes {
    /// The name of the machine or pod.
    pub hostname: Option<String>,
    /// The address that it connects from.
    pub ip: Option<String>,
    /// The software that it runs.
    pub gateway_version: Option<String>,
    /// `v1` or `v2`.
    pub protocol: Option<String>,
    /// `full`, `delta` or `fell_back`.
    pub sync_mode: Option<String>,
    /// Its labels.
    pub labels: Option<BTreeMap<String, String>>,
    /// A digest of the plugins that it has.
    pub plugin_set: Option<String>,
    /// What its connection can do.
    pub capabilities: Option<String>,
    /// When its certificate expires.
    pub certificate_expires_at: Option<Time>,
    /// When its license expires.
    pub license_expires_at: Option<Time>,
}

impl From<Attributes> for NodeAttributes {
    fn from(attributes: Attributes) -> Self {
        let pair = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
        Self {
            hostname: text(&attributes.hostname),
            ip: text(&attributes.ip),
            gateway_version: text(&attributes.gateway_version),
            protocol: attributes.protocol.map(|protocol| {
                match protocol {
                    Protocol::V1 => "v1",
                    Protocol::V2 => "v2",
                }
                .to_owned()
            }),
            sync_mode: attributes.sync_mode.map(|mode| {
                match mode {
                    SyncMode::Full => "full",
                    SyncMode::Delta => "delta",
                    SyncMode::FellBack => "fell_back",
                }
                .to_owned()
            }),
            labels: attributes.labels.as_ref().map(|labels| labels.iter().map(pair).collect()),
            plugin_set: text(&attributes.plugin_set),
            capabilities: text(&attributes.capabilities),
            certificate_expires_at: time(attributes.certificate_expires_at),
            license_expires_at: time(attributes.license_expires_at),
        }
    }
}

/// One node and its verdict.
#[derive(Debug, Serialize, ToSchema)]
pub struct Node {
    /// Its control plane.
    pub control_plane: String,
    /// Its id.
    pub id: String,
    /// What it says of itself.
    #[serde(flatten)]
    pub attributes: NodeAttributes,
    /// `connected`, `late`, `disconnected`, `never_seen`, `unobserved` or `gone`.
    pub connection_state: String,
    /// Since when the connection is so.
    pub connection_since: Time,
    /// `current`, `propagating`, `behind`, `ahead`, `rejected`, `incompatible`, `empty`, `unrecognized`,
    /// `unproven_alias` or `unknown`. Of a node that is not heard: as of its last report.
    pub config_state: String,
    /// Since when the configuration is so; null where nothing is known.
    pub since: Option<Time>,
    /// The counter that the node is counted in; null if it is gone.
    pub counter: Option<String>,
    /// The ordinal of the version that it runs, if that is in the ledger.
    pub version: Option<u32>,
    /// Changesets that it has not reached.
    pub behind: u32,
    /// The kind of evidence or cause behind `config_state`, one word; `alias`, `not_reached`, `plugin_set`.
    pub because: Option<String>,
    /// What is said beside the two states.
    pub overlays: Vec<String>,
    /// The verdict in words: state, age, cause, next step.
    pub headline: String,
    /// What it rests on.
    pub evidence: String,
    /// The hash or token that the node said it runs.
    pub reported: Option<String>,
    /// The last report.
    pub last_report_at: Option<Time>,
    /// That moment is an estimate, as one of the past may be: of equal reports only the first and the last are kept.
    pub last_report_estimated: bool,
    /// The source that decided.
    pub source: Option<String>,
    /// Since when it runs what a destructive change left; null where it does not.
    pub suspicious_since: Option<Time>,
}

/// The word inside a state that says how or why.
fn because(config: &ConfigState) -> Option<String> {
    match config {
        ConfigState::Unknown { missing } => word(missing),
        ConfigState::Incompatible { reason, .. } => word(reason),
        ConfigState::Empty { proof, .. } => word(proof),
        ConfigState::Current { how, .. } => word(how),
        ConfigState::Behind { cause, .. } => word(cause),
        ConfigState::UnprovenAlias { why, .. } => word(why),
        ConfigState::Unrecognized { cause, .. } => word(cause),
        ConfigState::Rejected { .. } | ConfigState::Propagating { .. } | ConfigState::Ahead { .. } => None,
    }
}

impl From<view::NodeRow> for Node {
    fn from(row: view::NodeRow) -> Self {
        let verdict = row.verdict;
        Self {
            control_plane: row.control_plane.to_string(),
            id: row.id.to_string(),
            attributes: row.attributes.into(),
            connection_state: verdict.connectivity.word().word().to_owned(),
            connection_since: Time(verdict.connectivity.since()),
            config_state: verdict.config.word().word().to_owned(),
            since: time(verdict.config.since()),
            counter: verdict.counter().map(|counter| counter.word().to_owned()),
            version: number(verdict.config.running()),
            behind: verdict.config.behind(),
            because: because(&verdict.config),
            overlays: view::overlay_words(verdict.overlays).into_iter().map(str::to_owned).collect(),
            headline: row.headline,
            evidence: row.evidence,
            reported: text(&row.reported),
            last_report_at: time(row.last_report_at),
            last_report_estimated: row.last_report_estimated,
            source: row.source.map(|source| source.word().to_owned()),
            suspicious_since: time(row.suspicious_since),
        }
    }
}

/// A page of the list of nodes.
#[derive(Debug, Serialize, ToSchema)]
pub struct Nodes {
    /// Which answer this is.
    pub as_of: AsOf,
    /// The question, as it was understood.
    pub query: String,
    /// Parts of the question that were not understood, each with the reason.
    pub problems: Vec<String>,
    /// Nodes that answer the question.
    pub total: u32,
    /// This page.
    pub nodes: Vec<Node>,
    /// The key of the next page, for `?after=`; null on the last one.
    pub next: Option<String>,
    /// Counts by property, over all nodes that answer the question.
    pub facets: Vec<Facet>,
    /// What these nodes share that the rest of the fleet does not.
    pub common: Vec<CommonFactor>,
}

impl From<view::NodesView> for Nodes {
    fn from(nodes: view::NodesView) -> Self {
        Self {
            as_of: nodes.as_of.into(),
            query: nodes.query,
            problems: nodes.problems,
            total: nodes.total,
            nodes: nodes.rows.into_iter().map(Into::into).collect(),
            next: nodes.next,
            facets: nodes.facets.into_iter().map(Into::into).collect(),
            common: nodes.common.into_iter().map(Into::into).collect(),
        }
    }
}

/// Counts of nodes by the values of one property.
#[derive(Debug, Serialize, ToSchema)]
pub struct Facet {
    /// The word of the search, `gateway`, `label.region`.
    pub key: String,
    /// Values by count.
    pub values: Vec<FacetValue>,
}

/// A value and its count.
#[derive(Debug, Serialize, ToSchema)]
pub struct FacetValue {
    /// The value.
    pub value: String,
    /// Nodes that have it.
    pub nodes: u32,
}

impl From<view::Facet> for Facet {
    fn from(facet: view::Facet) -> Self {
        let value = |count: Count<String>| FacetValue { value: count.of, nodes: count.nodes };
        Self { key: facet.key, values: facet.values.into_iter().map(value).collect() }
    }
}

/// Something that a set of nodes shares and the rest does not.
#[derive(Debug, Serialize, ToSchema)]
pub struct CommonFactor {
    /// The word of the search.
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
    /// How many times as often the set has it; null where none of the rest has it.
    pub lift: Option<f64>,
    /// In words.
    pub sentence: String,
    /// The search that finds all nodes that have it; null where there is none.
    pub search: Option<String>,
}

impl From<view::CommonFactor> for CommonFactor {
    fn from(factor: view::CommonFactor) -> Self {
        Self {
            lift: lift(&factor),
            sentence: factor_sentence(&factor),
            search: search(&factor),
            key: factor.key,
            value: factor.value,
            inside: factor.inside,
            inside_of: factor.inside_of,
            outside: factor.outside,
            outside_of: factor.outside_of,
        }
    }
}

/// One node with all that its verdict rests on.
#[derive(Debug, Serialize, ToSchema)]
pub struct NodeAnswer {
    /// Which answer this is.
    pub as_of: AsOf,
    /// The node.
    pub node: Node,
    /// The rule that decided.
    pub rule: String,
    /// What the verdict rests on.
    pub proof: Proof,
    /// What it runs, in the ledger.
    pub running: Option<Version>,
    /// What it should run.
    pub head: Option<Version>,
    /// The hash or token that is expected of its cohort now.
    pub expected: Option<String>,
    /// Its failure to apply, where there is one.
    pub apply_error: Option<ApplyError>,
    /// Other machines under the same id.
    pub twins: Vec<NodeAttributes>,
    /// Its clock minus ours, where it told us its clock.
    pub clock_skew_ms: Option<i64>,
}

impl From<view::NodeView> for NodeAnswer {
    fn from(node: view::NodeView) -> Self {
        Self {
            as_of: node.as_of.into(),
            node: node.row.into(),
            rule: node.rule,
            proof: Proof { know: node.proof.know, infer: node.proof.infer, cannot_know: node.proof.cannot_know },
            running: node.running.map(Into::into),
            head: node.head.map(Into::into),
            expected: text(&node.expected),
            apply_error: node.failure.map(Into::into),
            twins: node.twins.into_iter().map(Into::into).collect(),
            clock_skew_ms: node.clock_skew_ms,
        }
    }
}

/// What we know, infer, and cannot know.
#[derive(Debug, Serialize, ToSchema)]
pub struct Proof {
    /// Told to us.
    pub know: Vec<String>,
    /// Follows from what we know, by a rule.
    pub infer: Vec<String>,
    /// Not known, each with the way to get it.
    pub cannot_know: Vec<String>,
}

/// A configuration that a node could not apply.
#[derive(Debug, Serialize, ToSchema)]
pub struct ApplyError {
    /// The configuration that was refused, where the node names it.
    pub config: Option<String>,
    /// The node's own words.
    pub message: String,
    /// The entity that it names.
    pub entity: Option<String>,
    /// The field that it names.
    pub field: Option<String>,
}

impl From<ApplyFailure> for ApplyError {
    fn from(failure: ApplyFailure) -> Self {
        Self {
            config: text(&failure.refused),
            message: failure.message.to_string(),
            entity: text(&failure.entity),
            field: text(&failure.field),
        }
    }
}

/// The past of one node, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub struct History {
    /// Which answer this is.
    pub as_of: AsOf,
    /// Unbroken runs of equal reports: inside one the node was connected.
    pub intervals: Vec<Interval>,
    /// Connection events and other moments.
    pub events: Vec<NodeEvent>,
    /// Versions that it reached.
    pub reached: Vec<Reached>,
    /// The key of the next page of intervals, for `?after=`; null on the last one.
    pub next: Option<String>,
}

impl From<view::HistoryView> for History {
    fn from(history: view::HistoryView) -> Self {
        Self {
            as_of: history.as_of.into(),
            intervals: history.intervals.into_iter().map(Into::into).collect(),
            events: history.events.into_iter().map(Into::into).collect(),
            reached: history.reached.into_iter().map(Into::into).collect(),
            next: history.next,
        }
    }
}

/// An unbroken run of equal reports from one source.
#[derive(Debug, Serialize, ToSchema)]
pub struct Interval {
    /// Who told us.
    pub source: String,
    /// What the node ran; null if the reports did not say.
    pub reported: Option<String>,
    /// The ordinal of the version that this meant then.
    pub version: Option<u32>,
    /// First report.
    pub from: Time,
    /// Last report so far.
    pub until: Time,
    /// Reports.
    pub count: u64,
    /// What the node said of itself.
    pub attributes: NodeAttributes,
}

impl From<view::IntervalView> for Interval {
    fn from(interval: view::IntervalView) -> Self {
        Self {
            source: interval.source.word().to_owned(),
            reported: text(&interval.reported),
            version: number(interval.version),
            from: Time(interval.from),
            until: Time(interval.until),
            count: interval.count,
            attributes: interval.attributes.into(),
        }
    }
}

/// A moment in the life of a node.
#[derive(Debug, Serialize, ToSchema)]
pub struct NodeEvent {
    /// When.
    pub at: Time,
    /// Who told us.
    pub source: String,
    /// One word.
    pub kind: String,
    /// In words.
    pub sentence: String,
}

impl From<view::EventView> for NodeEvent {
    fn from(event: view::EventView) -> Self {
        Self { at: Time(event.at), source: event.source.word().to_owned(), kind: event.kind, sentence: event.sentence }
    }
}

/// A version that a node reached.
#[derive(Debug, Serialize, ToSchema)]
pub struct Reached {
    /// Its ordinal.
    pub version: u32,
    /// Its publication.
    pub published_at: Time,
    /// When it was offered to this node, if that was seen.
    pub offered_at: Option<Time>,
    /// The first report of it or of a later one.
    pub reached_at: Time,
    /// From publication to the first report.
    pub lag_ms: i64,
    /// The lag may be this much shorter (a poll).
    pub uncertain_ms: u32,
}

impl From<view::ReachedView> for Reached {
    fn from(reached: view::ReachedView) -> Self {
        Self {
            version: reached.version.number(),
            published_at: Time(reached.published_at),
            offered_at: time(reached.offered_at),
            reached_at: Time(reached.reached_at),
            lag_ms: reached.lag_ms,
            uncertain_ms: reached.uncertain_ms,
        }
    }
}

/// One version of a ledger.
#[derive(Debug, Serialize, ToSchema)]
pub struct Version {
    /// Its control plane.
    pub control_plane: String,
    /// Its ordinal: a name, not an order.
    pub ordinal: u32,
    /// The source's token.
    pub token: Option<String>,
    /// When it was published, by our clock.
    pub published_at: Time,
    /// When we learned of it.
    pub recorded_at: Time,
    /// Why it exists, in words.
    pub cause: String,
    /// How it entered the ledger, one word.
    pub entered_by: String,
    /// The ordinal of the first version of its changeset.
    pub changeset: u32,
    /// It changes no behaviour.
    pub no_op: bool,
    /// The ordinal of the version that the control plane went back to with it.
    pub reverts_to: Option<u32>,
    /// It is the head.
    pub is_head: bool,
    /// Nodes that run exactly this version.
    pub running: u32,
    /// Nodes that run it or a later one.
    pub reached: u32,
    /// Nodes that count.
    pub nodes: u32,
}

impl From<view::VersionRow> for Version {
    fn from(row: view::VersionRow) -> Self {
        Self {
            control_plane: row.control_plane.to_string(),
            ordinal: row.ordinal.number(),
            token: text(&row.token),
            published_at: Time(row.published_at),
            recorded_at: Time(row.recorded_at),
            cause: row.cause,
            entered_by: row.entered_by,
            changeset: row.changeset.number(),
            no_op: row.no_op,
            reverts_to: number(row.reverts_to),
            is_head: row.is_head,
            running: row.running,
            reached: row.reached,
            nodes: row.nodes,
        }
    }
}

/// The ledger of one control plane, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub struct Versions {
    /// Which answer this is.
    pub as_of: AsOf,
    /// Whose.
    pub control_plane: String,
    /// The ledger rests on reports of nodes alone.
    pub inferred: bool,
    /// This page.
    pub versions: Vec<Version>,
    /// The key of the next page, for `?after=`; null on the last one.
    pub next: Option<String>,
    /// Nodes that run nothing of the ledger.
    pub unresolved: u32,
}

impl From<view::VersionsView> for Versions {
    fn from(versions: view::VersionsView) -> Self {
        Self {
            as_of: versions.as_of.into(),
            control_plane: versions.control_plane.to_string(),
            inferred: versions.inferred,
            versions: versions.rows.into_iter().map(Into::into).collect(),
            next: versions.next,
            unresolved: versions.unresolved,
        }
    }
}

/// One version with its hashes and how it spread.
#[derive(Debug, Serialize, ToSchema)]
pub struct VersionAnswer {
    /// Which answer this is.
    pub as_of: AsOf,
    /// The version.
    pub version: Version,
    /// Everything that names it.
    pub hashes: Vec<Hash>,
    /// What it is made of, where that was seen.
    pub shape: Option<Shape>,
    /// How that differs from the version before it whose content was seen.
    pub change: Option<ContentChange>,
    /// Plugins that it made or changed, as far as that was told.
    pub plugins_changed: Vec<String>,
    /// What it changed, entity by entity, where a tap or a shadow saw it and what the cohort had before. Types, ids and
    /// names, never a value.
    pub entities_changed: Option<EntityChanges>,
    /// How it spread.
    pub propagation: Propagation,
    /// How it spread over each cohort; what is final is as it was then.
    pub cohorts: Vec<CohortPropagation>,
}

impl From<view::VersionView> for VersionAnswer {
    fn from(version: view::VersionView) -> Self {
        Self {
            as_of: version.as_of.into(),
            version: version.row.into(),
            hashes: version.hashes.into_iter().map(Into::into).collect(),
            shape: version.shape.map(|shape| Shape {
                entities: shape.entities,
                certificates_without_snis: shape.certificates_without_snis,
                hosts_served: shape.hosts_served,
            }),
            change: version.change.map(Into::into),
            plugins_changed: version.plugins_changed.iter().map(ToString::to_string).collect(),
            entities_changed: version.entities_changed.map(|changes| EntityChanges {
                since: changes.before.to_string(),
                before: version.changed_since.map(Ordinal::number),
                total: changes.total(),
                counts: changes.counts.iter().map(Into::into).collect(),
                listed: changes.listed.iter().map(Into::into).collect(),
            }),
            propagation: version.propagation.into(),
            cohorts: version.cohorts.into_iter().map(Into::into).collect(),
        }
    }
}

/// How a version differs from what its cohort was sent before.
#[derive(Debug, Serialize, ToSchema)]
pub struct EntityChanges {
    /// The hash or token of what the cohort was sent before.
    pub since: String,
    /// Its version, where it is known.
    pub before: Option<u32>,
    /// Entities that changed, listed or not.
    pub total: u64,
    /// How many of each type.
    pub counts: Vec<TypeChanges>,
    /// Which; at most 200, of the types with the fewest changes first.
    pub listed: Vec<EntityChange>,
}

/// How many entities of a type changed.
#[derive(Debug, Serialize, ToSchema)]
pub struct TypeChanges {
    /// The type, `routes`.
    pub entity_type: String,
    pub added: u32,
    pub changed: u32,
    pub removed: u32,
}

/// One entity that changed.
#[derive(Debug, Serialize, ToSchema)]
pub struct EntityChange {
    /// `added`, `changed` or `removed`.
    pub change: String,
    /// Its type, `routes`.
    pub entity_type: String,
    pub id: Option<String>,
    /// Where entities of its type have one that is no secret.
    pub name: Option<String>,
}

impl From<&fact::TypeChanges> for TypeChanges {
    fn from(of: &fact::TypeChanges) -> Self {
        let fact::TypeChanges { entity_type, added, changed, removed } = of;
        Self { entity_type: entity_type.to_string(), added: *added, changed: *changed, removed: *removed }
    }
}

impl From<&fact::EntityChange> for EntityChange {
    fn from(of: &fact::EntityChange) -> Self {
        Self {
            change: of.change.word().to_owned(),
            entity_type: of.entity_type.to_string(),
            id: text(&of.id),
            name: text(&of.name),
        }
    }
}

/// A hash of a version and why we hold it to be one.
#[derive(Debug, Serialize, ToSchema)]
pub struct Hash {
    /// The hash or token.
    pub config: String,
    /// Whether it has the form of a hash slot (`hash`) or is the source's own name (`token`).
    pub kind: String,
    /// Only nodes that sync by this protocol; null for all.
    pub protocol: Option<String>,
    /// Only nodes that run this gateway version; null for all.
    pub gateway_version: Option<String>,
    /// Since when we know it.
    pub since: Time,
    /// Why, in words.
    pub evidence: String,
    /// It is not proven.
    pub unproven: bool,
    /// Nodes that repeat it now.
    pub nodes: u32,
}

impl From<view::HashView> for Hash {
    fn from(hash: view::HashView) -> Self {
        let kind = match &hash.config {
            ConfigRef::Hash(_) => "hash",
            ConfigRef::Token(_) => "token",
        };
        Self {
            config: hash.config.to_string(),
            kind: kind.to_owned(),
            protocol: hash.scope.protocol.and_then(word),
            gateway_version: text(&hash.scope.gateway),
            since: Time(hash.since),
            evidence: hash.evidence,
            unproven: hash.unproven,
            nodes: hash.nodes,
        }
    }
}

/// How a version's content differs from the version before it.
#[derive(Debug, Serialize, ToSchema)]
pub struct ContentChange {
    /// The version before it whose content was seen.
    pub before: u32,
    /// `harmless`, `notable` (something was removed) or `destructive`.
    pub grade: String,
    /// The counts that differ.
    pub counts: Vec<CountChange>,
}

/// A count that differs between two versions.
#[derive(Debug, Serialize, ToSchema)]
pub struct CountChange {
    /// An entity type, `certificates_without_snis` or `hosts_served`.
    pub of: String,
    /// In the version before.
    pub before: u64,
    /// In this one.
    pub after: u64,
}

impl From<tidemark_domain::ledger::ContentChange> for ContentChange {
    fn from(change: tidemark_domain::ledger::ContentChange) -> Self {
        let counts = change.counts.into_iter().map(|count| CountChange {
            of: count.subject.name().to_owned(),
            before: count.before,
            after: count.after,
        });
        Self { before: change.before.number(), grade: change.grade.word().to_owned(), counts: counts.collect() }
    }
}

/// What a configuration is made of.
#[derive(Debug, Serialize, ToSchema)]
pub struct Shape {
    /// Entities by type.
    pub entities: BTreeMap<String, u64>,
    /// Certificates that no SNI names.
    pub certificates_without_snis: u64,
    /// Distinct hosts that routes serve.
    pub hosts_served: u64,
}

/// How a version spread over its control plane's nodes.
#[derive(Debug, Serialize, ToSchema)]
pub struct Propagation {
    /// Nodes that count.
    pub nodes: u32,
    /// Nodes that reached it or a later one.
    pub reached: u32,
    /// Median lag of those that reached it.
    pub p50_ms: Option<i64>,
    /// 90th percentile.
    pub p90_ms: Option<i64>,
    /// 99th percentile.
    pub p99_ms: Option<i64>,
    /// The slowest.
    pub max_ms: Option<i64>,
    /// Per node, those that miss it first, then the slowest; at most 1,000.
    pub per_node: Vec<NodeReach>,
}

impl From<view::Propagation> for Propagation {
    fn from(propagation: view::Propagation) -> Self {
        Self {
            nodes: propagation.nodes,
            reached: propagation.reached,
            p50_ms: propagation.p50_ms,
            p90_ms: propagation.p90_ms,
            p99_ms: propagation.p99_ms,
            max_ms: propagation.max_ms,
            per_node: propagation.per_node.into_iter().map(Into::into).collect(),
        }
    }
}

/// How a version, or the changeset that it ends, spread over one cohort.
#[derive(Debug, Serialize, ToSchema)]
pub struct CohortPropagation {
    /// The sync protocol; null where it is not known.
    pub protocol: Option<String>,
    /// The gateway version; null where it is not known.
    pub gateway_version: Option<String>,
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
    /// Pairs of a lag in milliseconds and the nodes that had reached it by then; at most 100.
    pub curve: Vec<(i64, u32)>,
    /// Names of nodes that did not reach it; at most 100.
    pub stragglers: Vec<String>,
    /// When this was written down for good; null while it may change.
    pub final_at: Option<Time>,
}

impl From<view::CohortPropagation> for CohortPropagation {
    fn from(cohort: view::CohortPropagation) -> Self {
        Self {
            protocol: cohort.scope.protocol.and_then(word),
            gateway_version: cohort.scope.gateway.map(|gateway| gateway.to_string()),
            nodes: cohort.nodes,
            reached: cohort.reached,
            p50_ms: cohort.p50_ms,
            p90_ms: cohort.p90_ms,
            p99_ms: cohort.p99_ms,
            max_ms: cohort.max_ms,
            curve: cohort.curve,
            stragglers: cohort.stragglers,
            final_at: cohort.final_at.map(Time),
        }
    }
}

/// One node and one version.
#[derive(Debug, Serialize, ToSchema)]
pub struct NodeReach {
    /// Which.
    pub id: String,
    /// Its hostname, where known.
    pub hostname: Option<String>,
    /// First report of the version or a later one; null if it has not reached it.
    pub reached_at: Option<Time>,
    /// From publication to that report.
    pub lag_ms: Option<i64>,
    /// The lag may be this much shorter (a poll).
    pub uncertain_ms: u32,
    /// The state of the node's connection now.
    pub connection_state: String,
}

impl From<view::NodeReach> for NodeReach {
    fn from(reach: view::NodeReach) -> Self {
        Self {
            id: reach.node.to_string(),
            hostname: text(&reach.hostname),
            reached_at: time(reach.reached_at),
            lag_ms: reach.lag_ms,
            uncertain_ms: reach.uncertain_ms,
            connection_state: reach.connection.word().to_owned(),
        }
    }
}
