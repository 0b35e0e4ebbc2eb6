//! What is true in the simulated world, and since when: what each node really ran, and what was really published.

use super::story::Story;
use std::collections::HashMap;
use tidemark_domain::fact::{Fact, What};
use tidemark_domain::id::{CpName, Labels, NodeId};
use tidemark_domain::time::Timestamp;
use tidemark_server::simulate::plane::{Config, Publication};
use tidemark_server::simulate::scenario::{Action, Gain};
use tidemark_server::simulate::world::World;

/// A node.
#[derive(Debug)]
pub struct NodeTruth {
    pub id: NodeId,
    pub plane: usize,
    pub hostname: String,
    pub labels: Labels,
    pub gone: bool,
    /// Syncs by JSON-RPC.
    pub rpc: bool,
    pub lacks_plugin: bool,
    pub clock_ahead_ms: i64,
    /// The last heartbeat that its control plane wrote down.
    beat_at: Option<Timestamp>,
    /// What it ran, and from when on.
    history: Vec<(Timestamp, Option<Config>)>,
}

/// A control plane.
#[derive(Debug)]
pub struct PlaneTruth {
    pub name: CpName,
    pub publications: Vec<Publication>,
    /// When a release or a replica began to write things down in another way.
    pub rerendered_at: Vec<Timestamp>,
    /// When a release gave entities a field with a default, which is not provably nothing.
    pub defaulted_at: Option<Timestamp>,
}

/// What a fact was true of.
#[derive(Clone, Debug)]
pub struct Told {
    pub made_at: Timestamp,
    /// The control plane, and the node where it is about one.
    pub plane: usize,
    pub node: Option<usize>,
    /// What the node ran, where the fact says what it runs; `Some(None)` is nothing at all.
    pub ran: Option<Option<Config>>,
    /// The control plane's newest publication.
    pub head: u32,
}

/// All of it.
#[derive(Debug)]
pub struct Truth {
    pub nodes: Vec<NodeTruth>,
    pub planes: Vec<PlaneTruth>,
    places: HashMap<NodeId, usize>,
}

impl Truth {
    pub fn new(story: &Story, start: Timestamp) -> Self {
        let plane = |name: &CpName| {
            let rerendered = || {
                story.scenario.event.iter().filter_map(|event| match &event.action {
                    Action::CpReleaseChangesRendering { control_plane, every_route_gains }
                    | Action::CpReplicaJoins { control_plane, every_route_gains } => {
                        (control_plane == name).then(|| (start.plus(event.at.0), *every_route_gains))
                    }
                    _ => None,
                })
            };
            let defaulted = rerendered().filter(|(_, gains)| *gains == Gain::DefaultField);
            PlaneTruth {
                name: name.clone(),
                publications: Vec::new(),
                rerendered_at: rerendered().map(|(at, _)| at).collect(),
                defaulted_at: defaulted.map(|(at, _)| at).min(),
            }
        };
        let planes = story.scenario.control_plane.iter().map(|of| plane(&of.name)).collect();
        Self { nodes: Vec::new(), planes, places: HashMap::new() }
    }

    /// Looks at the world after something happened.
    pub fn look(&mut self, now: Timestamp, world: &World) {
        for (truth, plane) in self.planes.iter_mut().zip(world.planes()) {
            let known = truth.publications.len();
            truth.publications.extend(plane.publications[known..].iter().cloned());
        }
        for (place, node) in world.nodes().iter().enumerate() {
            if place >= self.nodes.len() {
                self.places.insert(node.id.clone(), place);
                self.nodes.push(NodeTruth {
                    id: node.id.clone(),
                    plane: node.plane,
                    hostname: node.hostname.clone(),
                    labels: node.labels.clone(),
                    gone: false,
                    rpc: node.rpc,
                    lacks_plugin: node.lacks_plugin.is_some(),
                    clock_ahead_ms: node.clock_ahead_ms,
                    beat_at: None,
                    history: Vec::new(),
                });
            }
            let truth = &mut self.nodes[place];
            (truth.gone, truth.beat_at) = (node.gone, node.beat_at);
            if truth.history.last().is_none_or(|(_, last)| *last != node.running) {
                truth.history.push((now, node.running.clone()));
            }
        }
    }

    pub fn node(&self, id: &NodeId) -> Option<usize> {
        self.places.get(id).copied()
    }

    /// What a fact that was made just now is true of.
    pub fn told(&self, now: Timestamp, fact: &Fact) -> Told {
        let plane = self.planes.iter().position(|plane| plane.name == fact.control_plane).expect("a control plane");
        let (node, hash) = match &fact.what {
            What::Report(report) => (self.node(&report.node), report.running.as_ref().map(|config| config.as_str())),
            What::Connection(connection) => (connection.node.as_ref().and_then(|node| self.node(node)), None),
            _ => (None, None),
        };
        let truth = node.map(|node| &self.nodes[node]);
        // What a control plane wrote down of a node was true when it was written down.
        let made_at = match truth.and_then(|truth| truth.beat_at) {
            Some(beat_at) if fact.at < now => beat_at,
            _ => now,
        };
        let ran = truth.zip(hash).map(|(truth, hash)| {
            let repeats = |config: &Option<Config>| match config {
                Some(config) => config.hash.as_str() == hash,
                None => hash.bytes().all(|byte| byte == b'0'),
            };
            let until_then = truth.history.iter().rev().filter(|(at, _)| *at <= made_at);
            until_then
                .map(|(_, config)| config)
                .find(|config| repeats(config))
                .cloned()
                .unwrap_or_else(|| panic!("{} reports {hash}, which it never ran: {:?}", truth.id, truth.history))
        });
        let head = self.planes[plane].publications.last().map_or(0, |head| head.number);
        Told { made_at, plane, node, ran, head }
    }
}
