//! From what was seen of Kong to the facts that Tidemark judges by. Pure: one [`Assembler`] for each control plane, fed
//! in the order of time; import, tap, shadow and pollers differ only in where the observations come from.
//!
//! Nodes of our own ([`super::own`]) are no nodes: of what happens on their connections only the control plane's words are
//! facts, and their rows are none.
//!
//! What is learned on the way and not in the single observation: who is on a connection, the content that a cohort had
//! before (for DESIGN 5.3), which node answers at an endpoint, and when a polled row last moved (DESIGN 5.8).

use super::facts::{
    Answer, ApplyFailure, Ending, Fact as Seen, Introduction, NodeStatus, Observed, Offer, Party, Place, Protocol,
    Readiness, Row, SyncStatus, UnreadOffer,
};
use super::konnect;
use super::metrics::Exposition;
use super::outline::{Difference, Outline};
use super::own;
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use tidemark_domain::fact::{
    self, Attributes, ConfigRef, Connection, ConnectionEvent, Content, Fact, Frame, Report, Said, Scope, Shape, Source,
    SyncMode, What, WithheldReason, Word,
};
use tidemark_domain::gateway::GatewayVersion;
use tidemark_domain::hash::ConfigHash;
use tidemark_domain::id::{CpName, Digest, Labels, Line, NodeId};
use tidemark_domain::time::{SECOND, Timestamp};

/// Connections that are followed at once; the one that was opened first is forgotten first.
const CONNECTIONS_MAX: usize = 65_536;
/// Endpoints that are remembered.
const ENDPOINTS_MAX: usize = 65_536;
/// Rows of nodes that are remembered.
const ROWS_MAX: usize = 1_000_000;
/// What a side of v2 says that it can do where it can sync.
const SYNC: &str = "kong.sync.v2";
/// Template fields that are given as evidence.
const PATHS_MAX: usize = 32;

/// Who is on a connection.
#[derive(Clone, Debug, Default)]
struct Peer {
    /// Its place among all connections.
    arrival: u64,
    node: Option<NodeId>,
    attributes: Attributes,
    /// The node syncs over this connection: by v1 from its introduction on, by v2 once it asks. (A node that syncs by v1
    /// may have a v2 connection beside it that only pings.)
    syncs: bool,
    /// It asked to sync by v2.
    wants_sync: bool,
    /// Its request has no answer yet.
    waits: bool,
}

/// What is known of an endpoint that is asked.
#[derive(Clone, Debug, Default)]
struct Endpoint {
    node: Option<NodeId>,
    is_control_plane: bool,
    is_down: bool,
    last_poll_ms: Option<i64>,
    poll_gap_ms: i64,
}

/// Turns what was seen of one control plane into facts.
#[derive(Debug)]
pub struct Assembler {
    control_plane: CpName,
    /// Where connections are seen from.
    listener: Source,
    /// Whose table of nodes is polled.
    poller: Source,
    /// Which replica is at the other end, where all connections are to one.
    replica: Option<Line>,
    peers: HashMap<Arc<str>, Peer>,
    /// Connections in the order in which they were opened.
    arrivals: BTreeMap<u64, Arc<str>>,
    arrived: u64,
    contents: HashMap<Scope, (ConfigHash, Arc<Outline>)>,
    endpoints: HashMap<Arc<str>, Endpoint>,
    rows: HashMap<NodeId, (Option<i64>, Option<ConfigHash>)>,
    /// The connection that a node syncs over now: the end of an earlier one is no news.
    links: HashMap<NodeId, Arc<str>>,
    /// Nodes that asked to sync by v2 and were not let; at most as many as rows.
    withheld: HashSet<NodeId>,
    left_out: u64,
}

impl Assembler {
    /// An assembler of one control plane's facts.
    #[must_use]
    pub fn new(control_plane: CpName) -> Self {
        Self {
            control_plane,
            listener: Source::Tap,
            poller: Source::AdminApi,
            replica: None,
            peers: HashMap::new(),
            arrivals: BTreeMap::new(),
            arrived: 0,
            contents: HashMap::new(),
            endpoints: HashMap::new(),
            rows: HashMap::new(),
            links: HashMap::new(),
            withheld: HashSet::new(),
            left_out: 0,
        }
    }

    /// The same for connections that are a shadow's own, to this replica where the shadow was told which it is.
    #[must_use]
    pub fn shadow(control_plane: CpName, replica: Option<Line>) -> Self {
        Self { listener: Source::Shadow, replica, ..Self::new(control_plane) }
    }

    /// The same for rows of Konnect's nodes.
    #[must_use]
    pub fn konnect(control_plane: CpName) -> Self {
        Self { poller: Source::Konnect, ..Self::new(control_plane) }
    }

    /// Whose facts these are.
    #[must_use]
    pub const fn control_plane(&self) -> &CpName {
        &self.control_plane
    }

    /// Observations so far that name a node in a way that no node can be named, or come from an endpoint of which it is
    /// not known which node answers there.
    #[must_use]
    pub const fn left_out(&self) -> u64 {
        self.left_out
    }

    /// The facts in an observation. Observations must come in the order of time.
    pub fn take(&mut self, observed: &Observed) -> Vec<Fact> {
        let at = Timestamp::from_ms(observed.at_ms);
        match &observed.place {
            Place::Connection(name) => self.on_connection(at, name, observed),
            Place::Endpoint(name) => self.at_endpoint(at, name, observed),
        }
    }

    fn on_connection(&mut self, at: Timestamp, name: &Arc<str>, observed: &Observed) -> Vec<Fact> {
        let mut peer = self.peers.remove(name).unwrap_or_else(|| self.arrive(name));
        if peer.node.is_none() {
            peer.node = observed.node.as_ref().and_then(|node| node.parse().ok());
        }
        let mut whats = self.tell_connection(&mut peer, name, observed);
        if self.listener == Source::Shadow || is_own(&peer) {
            whats = whats.into_iter().filter_map(without_node).collect();
        }
        for what in &mut whats {
            if let (What::Word(word), Some(replica)) = (what, &self.replica) {
                word.replica = Some(replica.clone());
            }
        }
        if matches!(observed.fact, Seen::Closed { .. } | Seen::RecordingEnded) {
            self.arrivals.remove(&peer.arrival);
        } else {
            self.peers.insert(Arc::clone(name), peer);
        }
        whats.into_iter().map(|what| self.fact(at, at, self.listener, what)).collect()
    }

    /// A connection that was not followed yet; where there are too many, the oldest one is forgotten.
    fn arrive(&mut self, name: &Arc<str>) -> Peer {
        self.arrived += 1;
        self.arrivals.insert(self.arrived, Arc::clone(name));
        if self.arrivals.len() > CONNECTIONS_MAX
            && let Some((_, oldest)) = self.arrivals.pop_first()
        {
            self.peers.remove(&oldest);
        }
        Peer { arrival: self.arrived, ..Peer::default() }
    }

    /// The first sign that a node syncs over a connection opens its link.
    fn open(&mut self, peer: &mut Peer, name: &Arc<str>) -> Vec<What> {
        if std::mem::replace(&mut peer.syncs, true) {
            return Vec::new();
        }
        if let Some(node) = &peer.node {
            self.links.insert(node.clone(), Arc::clone(name));
        }
        vec![connection(peer, ConnectionEvent::Opened)]
    }

    /// The end of a connection is the end of the link only if the node has no newer one.
    fn close(&mut self, peer: &Peer, name: &Arc<str>, how: &str) -> Vec<What> {
        if !peer.syncs {
            return Vec::new();
        }
        if let Some(node) = &peer.node {
            if self.links.get(node) != Some(name) {
                return Vec::new();
            }
            self.links.remove(node);
        }
        outside(how).map(|how| connection(peer, ConnectionEvent::Closed(how))).into_iter().collect()
    }

    fn tell_connection(&mut self, peer: &mut Peer, name: &Arc<str>, observed: &Observed) -> Vec<What> {
        match &observed.fact {
            Seen::Accepted(accepted) => {
                peer.attributes.ip = accepted.ip.as_deref().and_then(Line::from_outside);
                peer.attributes.certificate_expires_at = accepted.certificate_not_after_ms.map(Timestamp::from_ms);
                Vec::new()
            }
            Seen::Dialled(dialled) => {
                peer.waits = true;
                peer.attributes.hostname = dialled.hostname.as_deref().and_then(Line::from_outside);
                peer.attributes.gateway_version = version(dialled.gateway_version.as_deref());
                Vec::new()
            }
            Seen::Introduced(introduction) => {
                introduce(peer, introduction);
                peer.wants_sync = introduction.capabilities.iter().any(|capability| capability == SYNC);
                match introduction.protocol {
                    Protocol::V1 => self.open(peer, name),
                    Protocol::V2 => Vec::new(),
                }
            }
            Seen::Heartbeat { hash } => self.report(peer, *hash),
            Seen::Asked { version, .. } => {
                peer.attributes.protocol = Some(fact::Protocol::V2);
                // Whole until a delta is seen: a control plane may have none to give (`kong-hybrid.md` 2.5).
                peer.attributes.sync_mode = peer.attributes.sync_mode.or(Some(SyncMode::Full));
                let mut told = self.open(peer, name);
                told.extend(self.report(peer, *version));
                told
            }
            Seen::Offered(offer) => vec![self.offered(peer, offer)],
            Seen::OfferedUnread(offer) => vec![self.offered_unread(peer, offer)],
            Seen::Notified { version } => vec![word(peer, Said::Notified(*version))],
            Seen::Answered(answer) => {
                if !answer.full && !answer.is_empty() {
                    peer.attributes.sync_mode = Some(SyncMode::Delta);
                }
                answered(peer, answer).into_iter().collect()
            }
            Seen::Welcomed { capabilities } => {
                self.welcome(peer, capabilities.iter().any(|capability| capability == SYNC));
                Vec::new()
            }
            Seen::ApplyFailed(failure) => {
                let Some(node) = peer.node.clone() else { return self.unknown() };
                let failure = Some(apply_failure(failure));
                vec![What::Report(Box::new(Report { failure, ..Report::silent(node) }))]
            }
            Seen::HandshakeRefused { status } => {
                let how = match status {
                    Some(status) => format!("the control plane answered {status}"),
                    None => "the control plane closed the connection without an answer".to_owned(),
                };
                outside(&how).map(|how| connection(peer, ConnectionEvent::Refused(how))).into_iter().collect()
            }
            Seen::ControlPlaneUnreachable { .. } => vec![connection(peer, ConnectionEvent::Unreachable)],
            Seen::Closed { by: Party::Node, .. } if peer.waits => {
                let how = outside("the control plane did not answer, and the node gave up");
                how.map(|how| connection(peer, ConnectionEvent::Refused(how))).into_iter().collect()
            }
            Seen::Closed { by, how } => self.close(peer, name, &ending(*by, how)),
            Seen::Upgraded => {
                peer.waits = false;
                Vec::new()
            }
            Seen::CallFailed { .. } | Seen::Alive { .. } | Seen::RecordingEnded | Seen::Unreadable { .. } => Vec::new(),
            Seen::Row(_)
            | Seen::TableRead { .. }
            | Seen::Status(_)
            | Seen::Ready(_)
            | Seen::Process(_)
            | Seen::Metrics(_)
            | Seen::Written { .. }
            | Seen::Declined { .. }
            | Seen::Unreachable { .. } => Vec::new(),
        }
    }

    /// A control plane that does not let a node sync by v2, though the node would, makes it sync by v1, the whole each
    /// time: so it does with every node that is older than itself (`kong-hybrid.md` 2.1).
    fn welcome(&mut self, peer: &Peer, may_sync: bool) {
        let Some(node) = peer.node.as_ref().filter(|_| peer.wants_sync) else { return };
        if may_sync {
            self.withheld.remove(node);
        } else if self.withheld.len() < ROWS_MAX {
            self.withheld.insert(node.clone());
        }
    }

    fn unknown(&mut self) -> Vec<What> {
        self.left_out += 1;
        Vec::new()
    }

    fn report(&mut self, peer: &Peer, hash: ConfigHash) -> Vec<What> {
        let Some(node) = peer.node.clone() else { return self.unknown() };
        let mut attributes = peer.attributes.clone();
        if attributes.protocol == Some(fact::Protocol::V1) {
            let fell_back = self.withheld.contains(&node);
            attributes.sync_mode = Some(if fell_back { SyncMode::FellBack } else { SyncMode::Full });
        }
        let report = Report::of(node, ConfigRef::Hash(hash));
        vec![What::Report(Box::new(Report { attributes, ..report }))]
    }

    /// A whole configuration on its way to a node, compared with what its cohort was offered before.
    fn offered(&mut self, peer: &Peer, offer: &Offer) -> What {
        let scope = peer.attributes.cohort();
        let digest: Option<Digest> = offer.digest.to_string().parse().ok();
        let hash = offer.reported_as();
        let before = self.contents.insert(scope.clone(), (hash, Arc::clone(&offer.outline)));
        // One configuration for many nodes is one outline.
        let difference = before.as_ref().map(|(_, before)| match Arc::ptr_eq(before, &offer.outline) {
            true => Difference::Equal,
            false => before.difference(&offer.outline),
        });
        let entities_changed = match (&difference, before) {
            (Some(Difference::Changed { .. }), Some((hash, before))) => {
                before.entities_changed(&offer.outline, ConfigRef::Hash(hash)).map(Arc::new)
            }
            _ => None,
        };
        let content = match (digest, difference) {
            (None, _) => Content::Unknown,
            (Some(digest), Some(Difference::OnlyTemplateFields { paths })) => {
                let paths = paths.iter().take(PATHS_MAX).filter_map(|path| outside(path)).collect();
                Content::Template { digest, paths }
            }
            (Some(digest), Some(Difference::Equal | Difference::Changed { .. }) | None) => Content::Digest(digest),
        };
        let frame = Frame {
            config: ConfigRef::Hash(hash),
            offered_to: peer.node.clone(),
            content,
            shape: Some(shape(&offer.shape)),
            mode: SyncMode::Full,
            bytes: offer.frame_bytes,
            plugins_changed: Vec::new(),
            entities_changed,
        };
        What::Word(Box::new(Word { replica: None, scope, said: Said::Frame(frame) }))
    }

    /// A whole configuration that was too large to be read: which it is, is known, and what it holds is not. What comes after
    /// it is compared with nothing.
    fn offered_unread(&mut self, peer: &Peer, offer: &UnreadOffer) -> What {
        let scope = peer.attributes.cohort();
        self.contents.remove(&scope);
        let frame = Frame {
            config: ConfigRef::Hash(offer.stated),
            offered_to: peer.node.clone(),
            content: Content::Unknown,
            shape: None,
            mode: SyncMode::Full,
            bytes: offer.frame_bytes,
            plugins_changed: Vec::new(),
            entities_changed: None,
        };
        What::Word(Box::new(Word { replica: None, scope, said: Said::Frame(frame) }))
    }

    fn at_endpoint(&mut self, at: Timestamp, name: &Arc<str>, observed: &Observed) -> Vec<Fact> {
        if !self.endpoints.contains_key(name) && self.endpoints.len() >= ENDPOINTS_MAX {
            return Vec::new();
        }
        let mut endpoint = self.endpoints.remove(name).unwrap_or_default();
        let facts = self.tell_endpoint(at, &mut endpoint, observed);
        self.endpoints.insert(Arc::clone(name), endpoint);
        facts
    }

    fn tell_endpoint(&mut self, at: Timestamp, endpoint: &mut Endpoint, observed: &Observed) -> Vec<Fact> {
        match &observed.fact {
            Seen::Row(row) => self.row(at, endpoint, row).into_iter().collect(),
            Seen::TableRead { .. } => {
                endpoint.is_control_plane = true;
                endpoint.poll_gap_ms = endpoint.last_poll_ms.map_or(0, |last| at.ms().saturating_sub(last));
                endpoint.last_poll_ms = Some(at.ms());
                let back = std::mem::take(&mut endpoint.is_down);
                back.then(|| self.fact(at, at, self.poller, What::Read)).into_iter().collect()
            }
            Seen::Unreachable { .. } if endpoint.is_control_plane && !endpoint.is_down => {
                endpoint.is_down = true;
                vec![self.fact(at, at, self.poller, What::ControlPlaneDown)]
            }
            Seen::Metrics(exposition) => self.exposition(at, endpoint, exposition).into_iter().collect(),
            Seen::Status(status) => self.status(at, endpoint, status).into_iter().collect(),
            Seen::Ready(readiness) => self.ready(at, endpoint, readiness).into_iter().collect(),
            _ => Vec::new(),
        }
    }

    /// A polled row is a report only if it moved since the last poll (DESIGN 5.8).
    fn row(&mut self, at: Timestamp, endpoint: &Endpoint, row: &Row) -> Option<Fact> {
        if own::is_own(Some(&row.node_id), row.hostname.as_deref()) {
            return None;
        }
        let Ok(node) = row.node_id.parse::<NodeId>() else {
            self.left_out += 1;
            return None;
        };
        let moved = (row.last_seen_s, row.hash);
        if self.rows.get(&node) == Some(&moved) || (!self.rows.contains_key(&node) && self.rows.len() >= ROWS_MAX) {
            return None;
        }
        self.rows.insert(node.clone(), moved);
        let reported_at = row.reported_at_ms(at.ms()).map_or(at, Timestamp::from_ms);
        let labels = row.labels.iter().map(|(key, value)| (key.clone(), value.clone()));
        let attributes = Attributes {
            hostname: row.real_hostname().and_then(outside),
            ip: row.ip.as_deref().and_then(outside),
            gateway_version: version(row.gateway_version.as_deref()),
            protocol: (self.poller == Source::Konnect).then(|| row.hash.and_then(konnect::protocol_of)).flatten(),
            labels: (!row.labels.is_empty()).then(|| Labels::new(labels).ok()).flatten(),
            capabilities: outside(&row.capabilities.join(" ")),
            certificate_expires_at: row.certificate_expires_s.map(seconds),
            ..Attributes::default()
        };
        let report = Report {
            running: row.hash.map(ConfigRef::Hash),
            attributes,
            status: row.sync_status.as_ref().and_then(sync_status),
            uncertain_ms: u32::try_from(endpoint.poll_gap_ms.clamp(SECOND, 600 * SECOND)).unwrap_or(u32::MAX),
            ..Report::silent(node)
        };
        Some(self.fact(reported_at, at, self.poller, What::Report(Box::new(report))))
    }

    /// A node's own metrics say which node answers at their endpoint, and when its certificate ends.
    fn exposition(&mut self, at: Timestamp, endpoint: &mut Endpoint, exposition: &Exposition) -> Option<Fact> {
        let is_node = exposition.nodes.is_empty()
            && (exposition.certificate_expires_s.is_some() || exposition.control_plane_connected.is_some());
        let node: NodeId = exposition.node_id.as_ref().filter(|_| is_node)?.parse().ok()?;
        endpoint.node = Some(node.clone());
        let attributes = Attributes {
            gateway_version: version(exposition.gateway_version.as_deref()),
            certificate_expires_at: exposition.certificate_expires_s.map(seconds),
            ..Attributes::default()
        };
        let report = Report { attributes, ..Report::silent(node) };
        Some(self.fact(at, at, Source::Status, What::Report(Box::new(report))))
    }

    fn status(&mut self, at: Timestamp, endpoint: &Endpoint, status: &NodeStatus) -> Option<Fact> {
        // A process with a database is a control plane; what it runs is no question.
        if status.database_reachable.is_some() {
            return None;
        }
        let Some(node) = endpoint.node.clone() else {
            self.left_out += 1;
            return None;
        };
        let report = Report { running: status.hash.map(ConfigRef::Hash), ..Report::silent(node) };
        Some(self.fact(at, at, Source::Status, What::Report(Box::new(report))))
    }

    fn ready(&mut self, at: Timestamp, endpoint: &Endpoint, readiness: &Readiness) -> Option<Fact> {
        let node = endpoint.node.clone()?;
        let ready = Some(matches!(readiness, Readiness::Ready));
        let report = Report { ready, ..Report::silent(node) };
        Some(self.fact(at, at, Source::Status, What::Report(Box::new(report))))
    }

    fn fact(&self, at: Timestamp, recorded_at: Timestamp, source: Source, what: What) -> Fact {
        Fact { at, recorded_at, control_plane: self.control_plane.clone(), source, what }
    }
}

fn is_own(peer: &Peer) -> bool {
    let hostname = peer.attributes.hostname.as_ref().map(Line::as_str);
    own::is_own(peer.node.as_ref().map(NodeId::as_str), hostname)
}

/// What is left of a fact once it is about no node: what the control plane said.
fn without_node(what: What) -> Option<What> {
    let What::Word(mut word) = what else { return None };
    if let Said::Frame(frame) = &mut word.said {
        frame.offered_to = None;
    }
    Some(What::Word(word))
}

fn introduce(peer: &mut Peer, introduction: &Introduction) {
    let labels = introduction.labels.iter().map(|(key, value)| (key.clone(), value.clone()));
    let newer = Attributes {
        hostname: introduction.hostname.as_deref().and_then(outside),
        gateway_version: version(introduction.gateway_version.as_deref()),
        protocol: (introduction.protocol == Protocol::V1).then_some(fact::Protocol::V1),
        labels: (!introduction.labels.is_empty()).then(|| Labels::new(labels).ok()).flatten(),
        plugin_set: plugin_set(introduction),
        capabilities: outside(&introduction.capabilities.join(" ")),
        ..Attributes::default()
    };
    if let Some(node) = peer.node.clone() {
        peer.attributes.update(&newer, &node);
    }
}

/// Equal sets of plugins with equal versions are equal digests.
fn plugin_set(introduction: &Introduction) -> Option<Digest> {
    if introduction.plugins.is_empty() {
        return None;
    }
    let mut names: Vec<String> = introduction
        .plugins
        .iter()
        .map(|plugin| format!("{}@{}", plugin.name, plugin.version.as_deref().unwrap_or("")))
        .collect();
    names.sort_unstable();
    let digest = Sha256::digest(names.join("\n"));
    let hex: String = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    hex.parse().ok()
}

fn connection(peer: &Peer, event: ConnectionEvent) -> What {
    What::Connection(Connection { node: peer.node.clone(), event, attributes: peer.attributes.clone() })
}

fn word(peer: &Peer, said: Said) -> What {
    What::Word(Box::new(Word { replica: None, scope: peer.attributes.cohort(), said }))
}

/// What an answer to a v2 node says of the newest version: what it brings, or that what the node has is the newest.
fn answered(peer: &Peer, answer: &Answer) -> Option<What> {
    let version = answer.reported_as()?;
    if answer.is_empty() {
        if version.is_zeros() {
            return None;
        }
        return Some(word(peer, Said::Notified(version)));
    }
    let digest = answer.digest.as_ref().and_then(|digest| digest.to_string().parse().ok());
    Some(word(
        peer,
        Said::Frame(Frame {
            config: ConfigRef::Hash(version),
            offered_to: peer.node.clone(),
            content: digest.map_or(Content::Unknown, Content::Digest),
            shape: answer.shape.as_ref().map(shape),
            mode: if answer.full { SyncMode::Full } else { SyncMode::Delta },
            bytes: answer.frame_bytes,
            plugins_changed: answer.plugins_changed.clone(),
            entities_changed: None,
        }),
    ))
}

fn apply_failure(failure: &ApplyFailure) -> fact::ApplyFailure {
    let first = failure.entities.first();
    let entity = first.map(|entity| {
        let parts = [entity.entity_type.as_deref(), entity.name.as_deref().or(entity.id.as_deref())];
        parts.into_iter().flatten().collect::<Vec<_>>().join(" ")
    });
    let message = first.and_then(|entity| entity.message.as_deref()).or(failure.message.as_deref());
    let message = message.or(failure.name.as_deref()).and_then(Line::from_outside);
    fact::ApplyFailure {
        // A v2 node may name the failed version by a word that is none (`kong-hybrid.md` 2.4).
        refused: failure.version.filter(ConfigHash::is_token).map(ConfigRef::Hash),
        message: message.unwrap_or_else(no_reason),
        entity: entity.as_deref().and_then(outside),
        field: first.and_then(|entity| entity.field.as_deref()).and_then(outside),
    }
}

fn no_reason() -> Line {
    outside("the node gave no reason").expect("a text that is not empty is a line")
}

fn ending(by: Party, how: &Ending) -> String {
    let who = match by {
        Party::Node => "the node",
        Party::ControlPlane => "the control plane",
        Party::Observer => "the observer",
    };
    match how {
        Ending::CloseFrame { .. } => format!("{who} sent a close frame"),
        Ending::EndOfStream => format!("{who} ended the connection"),
        Ending::Failure { error } => format!("the connection of {who} failed: {error}"),
    }
}

fn sync_status(status: &SyncStatus) -> Option<fact::SyncStatus> {
    let withheld = |reason| Some(fact::SyncStatus::Withheld { reason, detail: None });
    match status {
        SyncStatus::Normal => Some(fact::SyncStatus::Normal),
        SyncStatus::KongVersionIncompatible => withheld(WithheldReason::GatewayVersion),
        SyncStatus::PluginSetIncompatible => withheld(WithheldReason::PluginSet),
        SyncStatus::PluginVersionIncompatible => withheld(WithheldReason::PluginVersion),
        SyncStatus::FilterSetIncompatible => withheld(WithheldReason::FilterSet),
        SyncStatus::Incompatible { detail } => {
            let detail = detail.as_deref().and_then(outside);
            Some(fact::SyncStatus::Withheld { reason: WithheldReason::Other, detail })
        }
        SyncStatus::Unknown | SyncStatus::Other(_) => None,
    }
}

fn shape(shape: &super::shape::Shape) -> Shape {
    Shape {
        entities: shape.entities.clone(),
        certificates_without_snis: shape.certificates_without_snis,
        hosts_served: shape.hosts_served,
    }
}

fn version(text: Option<&str>) -> Option<GatewayVersion> {
    text?.parse().ok()
}

fn seconds(seconds: i64) -> Timestamp {
    Timestamp::from_ms(seconds.saturating_mul(SECOND))
}

fn outside(text: &str) -> Option<Line> {
    Line::from_outside(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kong::facts::Dialled;

    /// Two connections of a node, v2 and v1 beside it, and what the node reports by v1 in the end.
    #[track_caller]
    fn beside_v2(node: &[&str], control_plane: &[&str], expected: SyncMode) {
        let mut assembler = Assembler::new("eu".parse().expect("a name"));
        let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let introduction = |protocol, capabilities| {
            Seen::Introduced(Box::new(Introduction {
                protocol,
                node_id: Some("node".to_owned()),
                hostname: None,
                gateway_version: Some("3.8.1".to_owned()),
                labels: std::collections::BTreeMap::new(),
                plugins: Vec::new(),
                filters: Vec::new(),
                capabilities,
                settings: std::collections::BTreeMap::new(),
            }))
        };
        let dialled = Dialled { protocol: Protocol::V1, node_id: None, hostname: None, gateway_version: None };
        let hash = "6de1944179b6c16febb0a724310a4d49".parse().expect("a hash");
        let seen = [
            ("rpc", introduction(Protocol::V2, list(node))),
            ("rpc", Seen::Welcomed { capabilities: list(control_plane) }),
            ("v1", Seen::Dialled(dialled)),
            ("v1", introduction(Protocol::V1, Vec::new())),
            ("v1", Seen::Heartbeat { hash }),
        ];
        let facts = seen.into_iter().flat_map(|(connection, fact)| {
            let place = Place::Connection(connection.into());
            assembler.take(&Observed { at_ms: 0, place, node: Some("node".into()), fact })
        });
        let modes: Vec<_> = facts
            .filter_map(|fact| match fact.what {
                What::Report(report) => report.attributes.sync_mode,
                _ => None,
            })
            .collect();
        assert_eq!(modes, [expected], "{node:?} at {control_plane:?}");
    }

    /// `kong-hybrid.md` 2.1. That a node with JSON-RPC and without delta sync wants none was recorded:
    /// `kong-3.9.3-mixed-fleet-v1-v2`, `dp12`.
    #[test]
    fn who_would_sync_by_deltas_and_is_not_let_has_fallen_back() {
        let other = "kong.debug.log_level.v1";
        beside_v2(&[SYNC, other], &[other], SyncMode::FellBack);
        beside_v2(&[SYNC], &[], SyncMode::FellBack);
        beside_v2(&[SYNC], &[SYNC], SyncMode::Full);
        beside_v2(&[], &[SYNC], SyncMode::Full);
        beside_v2(&[other], &[other, SYNC], SyncMode::Full);
    }

    fn seen(connection: &str, node: &str, fact: Seen) -> Observed {
        Observed { at_ms: 1, place: Place::Connection(connection.into()), node: Some(node.into()), fact }
    }

    fn introduction(node: &str, hostname: &str, protocol: Protocol) -> Seen {
        Seen::Introduced(Box::new(Introduction {
            protocol,
            node_id: Some(node.to_owned()),
            hostname: Some(hostname.to_owned()),
            gateway_version: Some("3.9.3".to_owned()),
            labels: BTreeMap::new(),
            plugins: Vec::new(),
            filters: Vec::new(),
            capabilities: Vec::new(),
            settings: BTreeMap::new(),
        }))
    }

    fn offer() -> Seen {
        Seen::Offered(Box::new(Offer {
            stated: "6de1944179b6c16febb0a724310a4d49".parse().ok(),
            stated_sections: None,
            recomputed: crate::kong::hash::table_hashes(&serde_json::Map::new()),
            digest: crate::kong::digest::BehaviourDigest::of_outline(&Outline::default()),
            outline: Arc::default(),
            shape: crate::kong::shape::Shape::of_table(&serde_json::Map::new()),
            exported_at_ms: None,
            frame_bytes: 1,
            json_bytes: 1,
            cluster_id: None,
            only_workspaces: false,
        }))
    }

    /// What is told of a node that lives on a connection, dies, and cannot come back.
    fn life(mut assembler: Assembler, node: &str, hostname: &str, protocol: Protocol) -> Vec<Fact> {
        let hash: ConfigHash = "6de1944179b6c16febb0a724310a4d49".parse().expect("a hash");
        let dialled = Dialled {
            protocol,
            node_id: Some(node.to_owned()),
            hostname: Some(hostname.to_owned()),
            gateway_version: Some("3.9.3".to_owned()),
        };
        let ended = Ending::CloseFrame { code: None };
        let life = [
            Seen::Dialled(dialled.clone()),
            introduction(node, hostname, protocol),
            Seen::Heartbeat { hash: ConfigHash::ZEROS },
            Seen::Asked { version: hash, expects_answer: true },
            offer(),
            Seen::Heartbeat { hash },
            Seen::Closed { by: Party::Node, how: ended },
            Seen::Dialled(dialled.clone()),
            Seen::HandshakeRefused { status: Some(400) },
            Seen::Dialled(dialled),
            Seen::ControlPlaneUnreachable { error: "refused".to_owned() },
        ];
        life.into_iter().flat_map(|fact| assembler.take(&seen("1", node, fact))).collect()
    }

    #[track_caller]
    fn says_only_words(facts: &[Fact], source: Source) {
        let [Fact { source: told, what: What::Word(word), .. }] = facts else { panic!("{facts:#?}") };
        let Said::Frame(frame) = &word.said else { panic!("{word:?}") };
        assert_eq!((*told, &frame.offered_to), (source, &None));
    }

    #[test]
    fn a_shadow_is_no_node_whoever_sees_it() {
        let name = || "eu".parse().expect("a name");
        let own = own::new_id();
        for protocol in [Protocol::V1, Protocol::V2] {
            says_only_words(&life(Assembler::shadow(name(), None), "n1", "a", protocol), Source::Shadow);
            let replica: Option<Line> = "cp-1".parse().ok();
            let told = life(Assembler::shadow(name(), replica.clone()), "n1", "a", protocol);
            let What::Word(word) = &told[0].what else { panic!("{told:?}") };
            assert_eq!(word.replica, replica);
            // Through a tap.
            says_only_words(&life(Assembler::new(name()), "n1", "tidemark-shadow-eu", protocol), Source::Tap);
            says_only_words(&life(Assembler::new(name()), &own, &own, protocol), Source::Tap);
            assert!(life(Assembler::new(name()), "n1", "dp-1", protocol).len() > 5);
        }
    }

    #[test]
    fn a_row_of_a_shadow_is_none() {
        let row = |node: &str, hostname: &str| Row {
            node_id: node.to_owned(),
            hostname: Some(hostname.to_owned()),
            ip: None,
            gateway_version: Some("3.9.3".to_owned()),
            hash: Some(ConfigHash::ZEROS),
            last_seen_s: Some(1),
            updated_at_s: None,
            sync_status: None,
            labels: BTreeMap::new(),
            certificate_expires_s: None,
            capabilities: Vec::new(),
            ttl_s: None,
            date_ms: None,
        };
        let mut assembler = Assembler::new("eu".parse().expect("a name"));
        let mut told = |row: Row| {
            let place = Place::Endpoint("http://admin".into());
            assembler.take(&Observed { at_ms: 1, place, node: None, fact: Seen::Row(Box::new(row)) }).len()
        };
        let own = own::new_id();
        assert_eq!(told(row("n1", "dp-1")), 1);
        assert_eq!(told(row("n2", "tidemark-shadow-eu")), 0);
        assert_eq!(told(row(&own, &own)), 0, "a control plane of v2 may write the id for the hostname");
    }
}
