//! Those who watch a simulated control plane in Tidemark's name: from what happens to the facts that reach Tidemark.
//!
//! What a tap, a shadow or a poller sees goes through the same [`Assembler`] as what is seen of a real Kong.

use super::estate::PLUGINS;
use super::node::{Link, Node, line};
use super::plane::{Deltas, Plane};
use super::scenario::{self, Watch};
use crate::kong::assemble::Assembler;
use crate::kong::facts::{
    Answer, ApplyFailure, Dialled, Ending, Fact as Seen, FailedEntity, Introduction, Observed, Offer, Party, Place,
    PluginVersion, Protocol, Row,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use tidemark_domain::fact::{
    Announcement, ConfigRef, Declaration, Fact, Listening, Report, Said, Scope, Shape, Source, What, Word,
};
use tidemark_domain::gateway::GatewayVersion;
use tidemark_domain::hash::ConfigHash;
use tidemark_domain::id::CpName;
use tidemark_domain::time::{SECOND, Timestamp};

/// Milliseconds between two heartbeats of a node (`kong-hybrid.md` 1.7).
pub const BEAT_MS: i64 = 30 * SECOND;

/// Everybody who watches one control plane.
#[derive(Debug)]
pub struct Watchers {
    control_plane: CpName,
    kinds: Vec<Watch>,
    poll_ms: i64,
    declaration: Option<Declaration>,
    tap: Assembler,
    shadow: Assembler,
    poll: Assembler,
    /// Gateway versions that a shadow is connected as.
    shadows: Vec<GatewayVersion>,
    cut_off: bool,
}

impl Watchers {
    /// The watchers of a scenario's control plane.
    #[must_use]
    pub fn new(of: &scenario::ControlPlane) -> Self {
        let assembler = || Assembler::new(of.name.clone());
        let declares = of.display_name.is_some() || of.change_feed || of.propagation.is_some();
        let declaration = declares.then(|| Declaration {
            display_name: of.display_name.as_deref().and_then(line),
            change_feed: of.change_feed,
            propagation_ms: of.propagation.and_then(|span| u32::try_from(span.0).ok()),
            ..Declaration::default()
        });
        Self {
            control_plane: of.name.clone(),
            kinds: of.watch.clone(),
            poll_ms: of.poll_every.0,
            declaration,
            tap: assembler(),
            shadow: Assembler::shadow(of.name.clone(), None),
            poll: assembler(),
            shadows: Vec::new(),
            cut_off: false,
        }
    }

    /// Whether somebody watches in this way, and sees anything.
    #[must_use]
    pub fn watches(&self, kind: Watch) -> bool {
        !self.cut_off && self.kinds.contains(&kind)
    }

    /// Milliseconds between two polls, where somebody polls.
    #[must_use]
    pub fn polls_every_ms(&self) -> Option<i64> {
        let polls = |kind| self.kinds.contains(&kind);
        (polls(Watch::AdminApi) || polls(Watch::Status)).then_some(self.poll_ms)
    }

    fn fact(&self, now: Timestamp, source: Source, what: What) -> Fact {
        Fact { at: now, recorded_at: now, control_plane: self.control_plane.clone(), source, what }
    }

    /// They begin to listen.
    pub fn begin(&self, now: Timestamp) -> Vec<Fact> {
        let declared = self
            .declaration
            .iter()
            .map(|declaration| self.fact(now, Source::Push, What::Declared(Box::new(declaration.clone()))));
        let interval_ms = |source| match source {
            Source::AdminApi | Source::Status => u32::try_from(self.poll_ms.max(BEAT_MS)).unwrap_or(u32::MAX),
            _ => u32::try_from(BEAT_MS).unwrap_or(u32::MAX),
        };
        let began = self.sources().into_iter().map(|source| {
            self.fact(now, source, What::Listening(Listening::Began { interval_ms: interval_ms(source) }))
        });
        declared.chain(began).collect()
    }

    /// They are heard again by a service that was away: who asks asks again, and a tap tells that it listens.
    pub fn again(&self, now: Timestamp) -> Vec<Fact> {
        let mut facts = if self.cut_off { Vec::new() } else { self.begin(now) };
        facts.retain(|fact| fact.source != Source::Push && matches!(fact.what, What::Listening(_)));
        facts
    }

    fn sources(&self) -> Vec<Source> {
        let mut sources: Vec<_> = self
            .kinds
            .iter()
            .filter_map(|kind| match kind {
                Watch::Push => Some(Source::Push),
                Watch::Tap => Some(Source::Tap),
                Watch::Shadow => Some(Source::Shadow),
                Watch::AdminApi => Some(Source::AdminApi),
                Watch::Status => Some(Source::Status),
                Watch::Announcements | Watch::Expected => None,
            })
            .collect();
        sources.dedup();
        sources
    }

    /// Our own network is cut. Who asks finds no way; what is sent to us does not come, and nobody can tell.
    pub fn cut_off(&mut self, now: Timestamp) -> Vec<Fact> {
        self.cut_off = true;
        let why = line("no route to host").into_iter();
        let blind = self.sources().into_iter().filter(|source| *source != Source::Push);
        why.flat_map(|why| blind.clone().map(move |source| (source, why.clone())).collect::<Vec<_>>())
            .map(|(source, why)| self.fact(now, source, What::Listening(Listening::Stopped(why))))
            .collect()
    }

    /// Our own network is back.
    pub fn back(&mut self, now: Timestamp) -> Vec<Fact> {
        self.cut_off = false;
        self.begin(now)
    }

    /// Something happened on a node's connection.
    pub fn saw(&mut self, now: Timestamp, link: &Link, node: &Node, seen: Seen) -> Vec<Fact> {
        if !self.watches(Watch::Tap) {
            return Vec::new();
        }
        let observed = Observed {
            at_ms: now.ms(),
            place: Place::Connection(Arc::clone(&link.name)),
            node: Some(node.id.as_str().into()),
            fact: seen,
        };
        self.tap.take(&observed)
    }

    /// A node connected and said who it is.
    pub fn saw_connect(&mut self, now: Timestamp, link: &Link, node: &Node) -> Vec<Fact> {
        let mut facts = Vec::new();
        let beside = Link { name: format!("{}-rpc", link.name).into(), ..link.clone() };
        if node.rpc || node.fell_back {
            let over = if node.rpc { link } else { &beside };
            let dialled = Dialled { protocol: Protocol::V2, node_id: None, hostname: None, gateway_version: None };
            facts.extend(self.saw(now, over, node, Seen::Dialled(dialled)));
            facts.extend(self.saw(now, over, node, Seen::Upgraded));
            facts.extend(self.saw(now, over, node, Seen::Introduced(Box::new(introduction(node, Protocol::V2)))));
            let capabilities = if node.rpc { vec!["kong.sync.v2".to_owned()] } else { Vec::new() };
            facts.extend(self.saw(now, over, node, Seen::Welcomed { capabilities }));
        }
        if !node.rpc {
            let dialled = Dialled {
                protocol: Protocol::V1,
                node_id: Some(node.id.to_string()),
                hostname: Some(node.hostname.clone()),
                gateway_version: Some(node.gateway.to_string()),
            };
            facts.extend(self.saw(now, link, node, Seen::Dialled(dialled)));
            facts.extend(self.saw(now, link, node, Seen::Upgraded));
            facts.extend(self.saw(now, link, node, Seen::Introduced(Box::new(introduction(node, Protocol::V1)))));
        }
        facts
    }

    /// A whole configuration was sent to a node.
    pub fn saw_offer(&mut self, now: Timestamp, link: &Link, node: &Node, plane: &mut Plane) -> Vec<Fact> {
        if !self.watches(Watch::Tap) {
            return Vec::new();
        }
        let offer = offer(plane, link.replica, &node.gateway);
        self.saw(now, link, node, Seen::Offered(Box::new(offer)))
    }

    /// A node that syncs by JSON-RPC was answered.
    pub fn saw_answer(&mut self, now: Timestamp, link: &Link, node: &Node, deltas: Option<&Deltas>) -> Vec<Fact> {
        let asked = Some(node.repeats());
        let answer = match deltas {
            None => Answer {
                asked,
                full: false,
                upserts: 0,
                deletes: 0,
                versions: Vec::new(),
                digest: None,
                shape: None,
                plugins_changed: Vec::new(),
                frame_bytes: 60,
                json_bytes: 60,
                cluster_id: None,
            },
            Some(deltas) => Answer {
                asked,
                full: deltas.full,
                upserts: deltas.upserts,
                deletes: deltas.deletes,
                versions: deltas.versions.clone(),
                digest: Some(deltas.digest),
                shape: Some(deltas.shape.clone()),
                plugins_changed: deltas.plugins_changed.clone(),
                frame_bytes: deltas.json_bytes / 4,
                json_bytes: deltas.json_bytes,
                cluster_id: None,
            },
        };
        self.saw(now, link, node, Seen::Answered(Box::new(answer)))
    }

    /// A node refused a configuration, and said so on its connection.
    pub fn saw_refusal(&mut self, now: Timestamp, link: &Link, node: &Node, version: ConfigHash) -> Vec<Fact> {
        let Some((why, true)) = &node.refuses else { return Vec::new() };
        let failure = ApplyFailure {
            version: Some(version),
            name: Some("declarative configuration parse failure".to_owned()),
            source: None,
            message: Some(why.message.to_string()),
            entities: vec![failed_entity(why)],
        };
        self.saw(now, link, node, Seen::ApplyFailed(Box::new(failure)))
    }

    /// The end of a connection.
    pub fn saw_end(&mut self, now: Timestamp, link: &Link, node: &Node, by: Party) -> Vec<Fact> {
        self.saw(now, link, node, Seen::Closed { by, how: Ending::EndOfStream })
    }

    /// A node says what it repeats, by the agent beside it.
    #[must_use]
    pub fn heard(&self, now: Timestamp, node: &Node) -> Option<Fact> {
        if !self.watches(Watch::Push) {
            return None;
        }
        let reported = node.refuses.as_ref().filter(|(_, reported)| *reported && node.refused.is_some());
        let report = Report {
            attributes: node.attributes(),
            failure: reported.map(|(failure, _)| failure.clone()),
            node_clock: Some(now.plus(node.clock_ahead_ms)),
            ..Report::of(node.id.clone(), ConfigRef::Hash(node.repeats()))
        };
        Some(self.fact(now, Source::Push, What::Report(Box::new(report))))
    }

    /// The control plane published: a pipeline announces it, shadows hear it, and what is expected moves.
    pub fn published(&mut self, now: Timestamp, plane: &mut Plane, gateways: &[GatewayVersion]) -> Vec<Fact> {
        let mut facts = Vec::new();
        if self.watches(Watch::Announcements) {
            let announcement = announcement(plane, gateways);
            let word = Word { replica: None, scope: Scope::ANY, said: Said::Announced(announcement) };
            facts.push(self.fact(now, Source::Push, What::Word(Box::new(word))));
        }
        if self.watches(Watch::Shadow) {
            for gateway in gateways {
                facts.extend(self.shadow_hears(now, plane, gateway));
            }
        }
        facts.extend(self.expected(now, plane, gateways));
        facts
    }

    fn shadow_hears(&mut self, now: Timestamp, plane: &mut Plane, gateway: &GatewayVersion) -> Vec<Fact> {
        let name: Arc<str> = format!("shadow-{gateway}").into();
        let saw = |fact| Observed {
            at_ms: now.ms(),
            place: Place::Connection(Arc::clone(&name)),
            node: Some(Arc::clone(&name)),
            fact,
        };
        if !self.shadows.contains(gateway) {
            self.shadows.push(gateway.clone());
            let introduction = Introduction {
                protocol: Protocol::V1,
                node_id: Some(name.to_string()),
                hostname: Some(name.to_string()),
                gateway_version: Some(gateway.to_string()),
                labels: BTreeMap::new(),
                plugins: Vec::new(),
                filters: Vec::new(),
                capabilities: Vec::new(),
                settings: BTreeMap::new(),
            };
            self.shadow.take(&saw(Seen::Introduced(Box::new(introduction))));
        }
        self.shadow.take(&saw(Seen::Offered(Box::new(offer(plane, 0, gateway)))))
    }

    /// What the control plane expects of nodes, where that moved.
    pub fn expected(&mut self, now: Timestamp, plane: &mut Plane, gateways: &[GatewayVersion]) -> Vec<Fact> {
        if !self.watches(Watch::Expected) {
            return Vec::new();
        }
        let mut facts = Vec::new();
        let by_gateway = gateways.len() > 1;
        for replica in 0..plane.replicas() {
            for gateway in gateways {
                let hash = expected_hash(plane, replica, gateway);
                let key = (replica, gateway.clone());
                if plane.expected.insert(key, hash) == Some(hash) {
                    continue;
                }
                let said = Said::Expected { config: ConfigRef::Hash(hash), token: plane.token() };
                let replica = (plane.replicas() > 1).then(|| line(&format!("replica-{replica}"))).flatten();
                let scope = Scope { protocol: None, gateway: by_gateway.then(|| gateway.clone()) };
                let word = Word { replica, scope, said };
                facts.push(self.fact(now, Source::Push, What::Word(Box::new(word))));
            }
        }
        facts
    }

    /// The Admin API is asked for its table of nodes.
    pub fn polls(&mut self, now: Timestamp, plane: &Plane) -> Vec<Fact> {
        if !self.watches(Watch::AdminApi) {
            return Vec::new();
        }
        let place = Place::Endpoint("http://admin".into());
        let saw = |fact| Observed { at_ms: now.ms(), place: place.clone(), node: None, fact };
        if !plane.up {
            let unreachable =
                Seen::Unreachable { path: "/clustering/data-planes".into(), error: "connection refused".into() };
            return self.poll.take(&saw(unreachable));
        }
        let rows = u32::try_from(plane.rows.len()).unwrap_or(u32::MAX);
        let mut facts = self.poll.take(&saw(Seen::TableRead { rows, next: None, date_ms: Some(now.ms()) }));
        for row in plane.rows.values() {
            let row = Row { date_ms: Some(now.ms()), ..row.clone() };
            facts.extend(self.poll.take(&saw(Seen::Row(Box::new(row)))));
        }
        facts
    }

    /// The Status API of a node is asked.
    #[must_use]
    pub fn asks(&self, now: Timestamp, node: &Node) -> Option<Fact> {
        if !self.watches(Watch::Status) || !node.status_api || !node.up {
            return None;
        }
        let mut attributes = node.attributes();
        // The Status API says what runs, and not who it is to others.
        (attributes.protocol, attributes.sync_mode, attributes.labels) = (None, None, None);
        let report = Report {
            attributes,
            ready: Some(node.running.is_some()),
            ..Report::of(node.id.clone(), ConfigRef::Hash(node.repeats()))
        };
        Some(self.fact(now, Source::Status, What::Report(Box::new(report))))
    }
}

fn expected_hash(plane: &mut Plane, replica: usize, gateway: &GatewayVersion) -> ConfigHash {
    match plane.sync {
        scenario::Sync::Full => plane.rendered(replica, gateway).stated.config,
        scenario::Sync::Delta | scenario::Sync::Rpc => plane.sync_version(),
    }
}

fn announcement(plane: &mut Plane, gateways: &[GatewayVersion]) -> Announcement {
    let version = plane.head().version;
    let mut hashes: Vec<(Scope, ConfigHash)> = gateways
        .iter()
        .map(|gateway| {
            let scope = Scope { protocol: None, gateway: Some(gateway.clone()) };
            (scope, expected_hash(plane, 0, gateway))
        })
        .collect();
    if hashes.windows(2).all(|pair| pair[0].1 == pair[1].1) {
        hashes.truncate(1);
        hashes.iter_mut().for_each(|(scope, _)| *scope = Scope::ANY);
    }
    let gateway = plane.gateway.clone();
    let rendered = plane.rendered(0, &gateway);
    let token = plane.token();
    Announcement {
        key: if token.is_none() { line(&format!("write-{version}")) } else { None },
        token,
        hashes,
        cause: line(&format!("write {version}")),
        actor: line("pipeline"),
        changeset: None,
        shape: Some(Shape {
            entities: rendered.shape.entities.clone(),
            certificates_without_snis: rendered.shape.certificates_without_snis,
            hosts_served: rendered.shape.hosts_served,
        }),
        digest: rendered.digest.to_string().parse().ok(),
        ..Announcement::default()
    }
}

fn offer(plane: &mut Plane, replica: usize, gateway: &GatewayVersion) -> Offer {
    let rendered = plane.rendered(replica, gateway);
    Offer {
        stated: Some(rendered.stated.config),
        stated_sections: Some(rendered.stated.sections),
        recomputed: rendered.recomputed,
        digest: rendered.digest,
        outline: Arc::clone(&rendered.outline),
        shape: rendered.shape.clone(),
        exported_at_ms: Some(plane.head().at.ms()),
        // As gzip makes of configurations of this kind.
        frame_bytes: rendered.json_bytes / 8,
        json_bytes: rendered.json_bytes,
        cluster_id: Some(plane.estate.cluster_id().to_owned()),
        only_workspaces: false,
    }
}

fn introduction(node: &Node, protocol: Protocol) -> Introduction {
    let has = |name: &&str| node.lacks_plugin.as_deref() != Some(*name);
    let plugin = |name: &str| PluginVersion { name: name.to_owned(), version: Some(node.gateway.to_string()) };
    let capabilities = match protocol {
        Protocol::V1 => Vec::new(),
        Protocol::V2 => vec!["kong.sync.v2".to_owned()],
    };
    Introduction {
        protocol,
        node_id: Some(node.id.to_string()),
        hostname: Some(node.hostname.clone()),
        gateway_version: Some(node.gateway.to_string()),
        labels: node.labels.iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
        plugins: PLUGINS.iter().filter(|name| has(name)).map(|name| plugin(name)).collect(),
        filters: Vec::new(),
        capabilities,
        settings: BTreeMap::new(),
    }
}

fn failed_entity(why: &tidemark_domain::fact::ApplyFailure) -> FailedEntity {
    let (entity_type, name) = match why.entity.as_ref().and_then(|entity| entity.as_str().split_once(' ')) {
        Some((entity_type, name)) => (Some(entity_type.to_owned()), Some(name.to_owned())),
        None => (why.entity.as_ref().map(ToString::to_string), None),
    };
    FailedEntity {
        entity_type,
        id: None,
        name,
        field: why.field.as_ref().map(ToString::to_string),
        message: Some(why.message.to_string()),
    }
}
