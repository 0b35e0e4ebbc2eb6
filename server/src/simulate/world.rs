//! A simulated fleet in virtual time: one queue of what is to happen, and everything that happens is done in its order.
//! No socket, no thread, no clock; two worlds of one scenario and seed are the same to the last fact.

use super::estate::Write;
use super::node::{Link, Node, line};
use super::plane::{Config, Plane};
use super::random::Random;
use super::scenario::{Action, BadScenario, Event, Nodes, Scenario, Span, Sync, Telling, Watch};
use super::watch::{BEAT_MS, Watchers};
use crate::kong::facts::{Fact as Seen, Party, Row, SyncStatus};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use tidemark_domain::fact::{ApplyFailure, Fact};
use tidemark_domain::gateway::GatewayVersion;
use tidemark_domain::time::{SECOND, Timestamp};

/// Time for a frame to arrive, in milliseconds: at least and at most.
const NETWORK_MS: (i64, i64) = (2, 60);
/// Time between two attempts to connect (`kong-hybrid.md` 1.7).
const RECONNECT_MS: (i64, i64) = (5 * SECOND, 10 * SECOND);
/// All nodes that are there from the beginning connect within this.
const START_MS: i64 = 5 * SECOND;

/// What is to happen.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Happening {
    /// An event of the scenario, by place.
    Event(usize),
    /// One write of a run of them.
    Write { event: usize },
    /// A control plane pushes.
    Push { plane: usize },
    /// Those who poll ask.
    Poll { plane: usize },
    /// A process starts.
    Boot { node: usize },
    /// A node tries to connect.
    Dial { node: usize, epoch: u32 },
    /// A node's heartbeat, and whether the next one follows.
    Beat { node: usize, epoch: u32, again: bool },
    /// The agent of a node reports, and whether the next report follows.
    Agent { node: usize, boot: u32, again: bool },
    /// A configuration arrives.
    Arrive { node: usize, epoch: u32, config: Arrival },
    /// A configuration is in use.
    Applied { node: usize, epoch: u32 },
}

/// What arrives; ordered only to be kept in a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Arrival(Config);

impl PartialOrd for Arrival {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Arrival {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.publication.cmp(&other.0.publication)
    }
}

/// A fleet and its time.
#[derive(Debug)]
pub struct World {
    events: Vec<Event>,
    period_ms: Option<i64>,
    planes: Vec<Plane>,
    watchers: Vec<Watchers>,
    nodes: Vec<Node>,
    /// How often each node has booted.
    boots: Vec<u32>,
    groups: BTreeMap<String, Vec<usize>>,
    queue: BinaryHeap<Reverse<(Timestamp, u64, Happening)>>,
    queued: u64,
    connections: u64,
    random: Random,
    start: Timestamp,
    now: Timestamp,
    facts: Vec<Fact>,
}

impl World {
    /// The fleet of a scenario at the moment at which the story begins.
    ///
    /// # Errors
    /// If a group of nodes has no control plane in this scenario; a scenario that was parsed has none such.
    pub fn new(scenario: &Scenario, telling: Telling, start: Timestamp) -> Result<Self, BadScenario> {
        let seed = scenario.seed;
        let planes: Vec<_> = scenario.control_plane.iter().map(|of| Plane::new(seed, of, start)).collect();
        let mut world = Self {
            period_ms: scenario.period.map(|period| period.0),
            events: scenario.event.iter().filter(|event| telling.tells(event.only)).cloned().collect(),
            watchers: scenario.control_plane.iter().map(Watchers::new).collect(),
            planes,
            nodes: Vec::new(),
            boots: Vec::new(),
            groups: BTreeMap::new(),
            queue: BinaryHeap::new(),
            queued: 0,
            connections: 0,
            random: Random::new(seed, "world"),
            start,
            now: start,
            facts: Vec::new(),
        };
        for (of, group) in scenario.nodes.iter().enumerate().filter(|(_, group)| telling.tells(group.only)) {
            let plane = world.planes.iter().position(|plane| plane.name == group.control_plane);
            let plane =
                plane.ok_or_else(|| BadScenario(format!("there is no control_plane {}", group.control_plane)))?;
            let wants_rpc = world.planes[plane].sync != Sync::Full;
            // The capability is withheld from any node below the control plane's version (`kong-hybrid.md` 2.1).
            let rpc = wants_rpc && group.gateway_version >= world.planes[plane].gateway;
            for number in 1..=group.count {
                let mut chance = Random::new(seed, &format!("{}-{number}", group.name));
                let mut node = Node::new((plane, of), group, number, rpc, start, &mut chance);
                node.fell_back = wants_rpc && !rpc;
                world.add(node, &group.name, group.joins_at.map(|span| start.plus(span.0)));
            }
        }
        world.begin();
        Ok(world)
    }

    fn add(&mut self, mut node: Node, group: &str, joins_at: Option<Timestamp>) -> usize {
        let place = self.nodes.len();
        let boots_at = match joins_at {
            Some(at) => at,
            None => {
                node.running = Some(self.newest_for(&node, 0));
                self.start.plus(self.random.span(0, START_MS))
            }
        };
        self.groups.entry(group.to_owned()).or_default().push(place);
        self.nodes.push(node);
        self.boots.push(0);
        self.at(boots_at, Happening::Boot { node: place });
        place
    }

    /// What a service is told by those who watch, after it was away.
    #[must_use]
    pub fn heard_again(&self) -> Vec<Fact> {
        self.watchers.iter().flat_map(|watchers| watchers.again(self.now)).collect()
    }

    fn begin(&mut self) {
        let now = self.now;
        for plane in 0..self.planes.len() {
            let told = self.watchers[plane].begin(now);
            self.facts.extend(told);
            self.tell_published(plane);
            if let Some(every_ms) = self.watchers[plane].polls_every_ms() {
                let first = now.plus(self.random.span(0, every_ms.min(START_MS)) + START_MS);
                self.at(first, Happening::Poll { plane });
            }
        }
        for place in 0..self.events.len() {
            self.at(self.start.plus(self.events[place].at.0), Happening::Event(place));
        }
    }

    fn at(&mut self, at: Timestamp, happening: Happening) {
        self.queued += 1;
        self.queue.push(Reverse((at.max(self.now), self.queued, happening)));
    }

    fn after(&mut self, span_ms: i64, happening: Happening) {
        self.at(self.now.plus(span_ms), happening);
    }

    /// The moment of the world.
    #[must_use]
    pub const fn now(&self) -> Timestamp {
        self.now
    }

    /// Every node, also those that are gone: the truth.
    #[must_use]
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Every control plane: the truth.
    #[must_use]
    pub fn planes(&self) -> &[Plane] {
        &self.planes
    }

    /// The same, to be asked what only a control plane in hand answers, such as what it renders.
    pub fn planes_mut(&mut self) -> &mut [Plane] {
        &mut self.planes
    }

    /// When Tidemark itself restarts, and how long it is away.
    #[must_use]
    pub fn restarts(&self) -> Vec<(Timestamp, Span)> {
        let restart = |event: &Event| match event.action {
            Action::TidemarkRestarts { takes } => Some((self.start.plus(event.at.0), takes)),
            _ => None,
        };
        self.events.iter().filter_map(restart).collect()
    }

    /// The moment at which something happens next.
    #[must_use]
    pub fn next_at(&self) -> Option<Timestamp> {
        self.queue.peek().map(|Reverse((at, ..))| *at)
    }

    /// Lets happen what is to happen until a moment, that moment included, and gives the facts that reached Tidemark
    /// meanwhile, in their order.
    pub fn run_until(&mut self, until: Timestamp) -> Vec<Fact> {
        while let Some(Reverse((at, _, _))) = self.queue.peek()
            && *at <= until
            && let Some(Reverse((at, _, happening))) = self.queue.pop()
        {
            self.now = at;
            self.happen(happening);
        }
        self.now = self.now.max(until);
        std::mem::take(&mut self.facts)
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Event(place) => {
                self.event(place);
                if let Some(period_ms) = self.period_ms {
                    self.after(period_ms, Happening::Event(place));
                }
            }
            Happening::Write { event } => self.write(event),
            Happening::Push { plane } => self.push(plane),
            Happening::Poll { plane } => self.poll(plane),
            Happening::Boot { node } => self.boot(node),
            Happening::Dial { node, epoch } if self.nodes[node].epoch == epoch => self.dial(node),
            Happening::Beat { node, epoch, again } if self.nodes[node].epoch == epoch => self.beat(node, again),
            Happening::Agent { node, boot, again } if self.boots[node] == boot => self.agent(node, again),
            Happening::Arrive { node, epoch, config } if self.nodes[node].epoch == epoch => self.arrive(node, config.0),
            Happening::Applied { node, epoch } if self.nodes[node].epoch == epoch => self.applied(node),
            // Of a connection or a process that is no more.
            Happening::Dial { .. }
            | Happening::Beat { .. }
            | Happening::Agent { .. }
            | Happening::Arrive { .. }
            | Happening::Applied { .. } => {}
        }
    }

    // The life of a node.

    fn boot(&mut self, node: usize) {
        if self.nodes[node].gone {
            return;
        }
        self.nodes[node].up = true;
        self.boots[node] += 1;
        let boot = self.boots[node];
        if self.watchers[self.nodes[node].plane].watches(Watch::Push) {
            self.after(0, Happening::Agent { node, boot, again: true });
        }
        let epoch = self.nodes[node].epoch;
        self.after(0, Happening::Dial { node, epoch });
    }

    fn dial(&mut self, node: usize) {
        let plane = self.nodes[node].plane;
        if !self.nodes[node].up {
            return;
        }
        if !self.planes[plane].up || !self.nodes[node].reaches_out(self.now) {
            let epoch = self.nodes[node].epoch;
            let wait = self.random.span(RECONNECT_MS.0, RECONNECT_MS.1);
            return self.after(wait, Happening::Dial { node, epoch });
        }
        self.connections += 1;
        let replica =
            if self.planes[plane].replicas() > 1 { self.random.below(self.planes[plane].replicas()) } else { 0 };
        let link = Link { name: format!("connection-{}", self.connections).into(), replica, since: self.now };
        let (now, of) = (self.now, &mut self.nodes[node]);
        of.epoch += 1;
        of.link = Some(link.clone());
        let told = self.watchers[plane].saw_connect(now, &link, of);
        self.facts.extend(told);
        let epoch = self.nodes[node].epoch;
        self.beat(node, true);
        if !self.nodes[node].rpc && self.is_served(node) {
            // A node that connects is sent the newest, even if it has it (`kong-hybrid.md` 1.5).
            self.send_whole(node);
        }
        debug_assert_eq!(epoch, self.nodes[node].epoch, "a heartbeat ends no connection");
    }

    /// Whether the control plane sends configurations to a node.
    fn is_served(&self, node: usize) -> bool {
        self.nodes[node].lacks_plugin.is_none()
    }

    fn newest_for(&mut self, node: &Node, replica: usize) -> Config {
        let plane = &mut self.planes[node.plane];
        if node.rpc { plane.sync_config() } else { plane.config(replica, &node.gateway) }
    }

    fn send_whole(&mut self, node: usize) {
        let Some(link) = self.nodes[node].link.clone() else { return };
        if std::mem::take(&mut self.nodes[node].loses_next_push) {
            return;
        }
        let now = self.now;
        let of = &self.nodes[node];
        let plane = &mut self.planes[of.plane];
        let told = self.watchers[of.plane].saw_offer(now, &link, of, plane);
        let config = plane.config(link.replica, &of.gateway);
        self.facts.extend(told);
        self.travel(node, config);
    }

    fn travel(&mut self, node: usize, config: Config) {
        let (wait, epoch) = (self.random.span(NETWORK_MS.0, NETWORK_MS.1), self.nodes[node].epoch);
        self.after(wait, Happening::Arrive { node, epoch, config: Arrival(config) });
    }

    /// A node tells its control plane what it runs, and asks for what is missing where it syncs by JSON-RPC.
    fn beat(&mut self, node: usize, again: bool) {
        let Some(link) = self.nodes[node].link.clone() else { return };
        let now = self.now;
        self.nodes[node].beat_at = Some(now);
        let of = &self.nodes[node];
        let hash = of.repeats();
        let row = row(of, now);
        self.planes[of.plane].rows.insert(of.id.to_string(), row);
        let seen = if of.rpc { Seen::Asked { version: hash, expects_answer: again } } else { Seen::Heartbeat { hash } };
        let told = self.watchers[of.plane].saw(now, &link, of, seen);
        self.facts.extend(told);
        if self.nodes[node].rpc && again {
            self.answer(node, &link);
        }
        if again {
            let epoch = self.nodes[node].epoch;
            self.after(BEAT_MS, Happening::Beat { node, epoch, again: true });
        }
    }

    /// The control plane answers a node that asked for what is missing.
    fn answer(&mut self, node: usize, link: &Link) {
        let now = self.now;
        let of = &self.nodes[node];
        let plane = &mut self.planes[of.plane];
        let newest = plane.sync_config();
        let is_new = of.running.as_ref().map(|config| config.version) != Some(newest.version);
        let deltas = is_new.then(|| plane.deltas(of.running.as_ref().map(|config| config.version)));
        let told = self.watchers[of.plane].saw_answer(now, link, of, deltas.as_deref());
        self.facts.extend(told);
        if is_new {
            self.travel(node, newest);
        }
    }

    /// The agent beside a node reports to Tidemark.
    fn agent(&mut self, node: usize, again: bool) {
        let of = &self.nodes[node];
        if !of.up {
            return;
        }
        if of.reaches_out(self.now) {
            self.facts.extend(self.watchers[of.plane].heard(self.now, of));
        }
        if again {
            let boot = self.boots[node];
            self.after(BEAT_MS, Happening::Agent { node, boot, again: true });
        }
    }

    fn arrive(&mut self, node: usize, config: Config) {
        let of = &mut self.nodes[node];
        if of.sticks {
            return;
        }
        if of.refuses.is_some() && of.running.as_ref() != Some(&config) {
            of.refused = Some(config.hash);
            let Some(link) = of.link.clone() else { return };
            let told =
                self.watchers[self.nodes[node].plane].saw_refusal(self.now, &link, &self.nodes[node], config.hash);
            self.facts.extend(told);
            return self.report_soon(node);
        }
        if of.applying.is_some() {
            of.pending = Some(config);
            return;
        }
        self.apply(node, config);
    }

    fn apply(&mut self, node: usize, config: Config) {
        let of = &mut self.nodes[node];
        // What it has already takes no time.
        let same = of.running.as_ref().is_some_and(|running| running.hash == config.hash);
        of.applying = Some(config);
        let [median, tail] = of.apply_ms;
        let epoch = of.epoch;
        let wait = if same { 0 } else { self.random.spread(median, tail) };
        self.after(wait, Happening::Applied { node, epoch });
    }

    fn applied(&mut self, node: usize) {
        let of = &mut self.nodes[node];
        let Some(config) = of.applying.take() else { return };
        of.running = Some(config);
        of.refused = None;
        let pending = of.pending.take();
        self.report_soon(node);
        if let Some(config) = pending {
            self.apply(node, config);
        }
    }

    /// Within a second of an apply a node says so (`kong-hybrid.md` 1.7), by JSON-RPC at once (2.6).
    fn report_soon(&mut self, node: usize) {
        let of = &self.nodes[node];
        let (rpc, epoch, boot) = (of.rpc, of.epoch, self.boots[node]);
        let wait = if rpc { 0 } else { self.random.span(0, SECOND) };
        self.after(wait, Happening::Beat { node, epoch, again: false });
        if self.watchers[self.nodes[node].plane].watches(Watch::Push) {
            self.after(wait, Happening::Agent { node, boot, again: false });
        }
    }

    /// A connection ends.
    fn unlink(&mut self, node: usize, by: Party) {
        let now = self.now;
        let of = &mut self.nodes[node];
        of.epoch += 1;
        (of.applying, of.pending) = (None, None);
        if let Some(link) = of.link.take() {
            let told = self.watchers[self.nodes[node].plane].saw_end(now, &link, &self.nodes[node], by);
            self.facts.extend(told);
        }
    }

    fn redial_after(&mut self, node: usize, span_ms: i64) {
        let epoch = self.nodes[node].epoch;
        self.after(span_ms, Happening::Dial { node, epoch });
    }

    // The life of a control plane.

    fn gateways(&self, plane: usize) -> Vec<GatewayVersion> {
        let here = self.nodes.iter().filter(|node| node.plane == plane && !node.gone);
        let versions: std::collections::BTreeSet<_> = here.map(|node| node.gateway.clone()).collect();
        if versions.is_empty() { vec![self.planes[plane].gateway.clone()] } else { versions.into_iter().collect() }
    }

    fn tell_published(&mut self, plane: usize) {
        let gateways = self.gateways(plane);
        let told = self.watchers[plane].published(self.now, &mut self.planes[plane], &gateways);
        self.facts.extend(told);
    }

    fn wrote(&mut self, plane: usize) {
        if let Some(at) = self.planes[plane].wrote(self.now) {
            self.at(at, Happening::Push { plane });
        }
    }

    fn push(&mut self, plane: usize) {
        if !self.planes[plane].up {
            return;
        }
        self.planes[plane].publish(self.now);
        self.tell_published(plane);
        let version = self.planes[plane].sync_version();
        for node in 0..self.nodes.len() {
            let of = &self.nodes[node];
            let Some(link) = of.link.clone().filter(|_| of.plane == plane) else { continue };
            if !of.rpc {
                if self.is_served(node) {
                    self.send_whole(node);
                }
            } else if of.misses_notices || std::mem::take(&mut self.nodes[node].loses_next_push) {
                // It learns of it when it asks the next time.
            } else {
                let of = &self.nodes[node];
                let told = self.watchers[plane].saw(self.now, &link, of, Seen::Notified { version });
                self.facts.extend(told);
                let asked = Seen::Asked { version: of.repeats(), expects_answer: true };
                let told = self.watchers[plane].saw(self.now, &link, &self.nodes[node], asked);
                self.facts.extend(told);
                self.answer(node, &link);
            }
        }
    }

    fn poll(&mut self, plane: usize) {
        let told = self.watchers[plane].polls(self.now, &self.planes[plane]);
        self.facts.extend(told);
        let asked = self.nodes.iter().filter(|node| node.plane == plane);
        let told: Vec<_> = asked.filter_map(|node| self.watchers[plane].asks(self.now, node)).collect();
        self.facts.extend(told);
        if let Some(every_ms) = self.watchers[plane].polls_every_ms() {
            self.after(every_ms, Happening::Poll { plane });
        }
    }

    // The scenario.

    fn plane_named(&self, name: &tidemark_domain::id::CpName) -> Option<usize> {
        self.planes.iter().position(|plane| plane.name == *name)
    }

    /// The places of some nodes that are not gone.
    fn chosen(&self, nodes: &Nodes) -> Vec<usize> {
        let group = |name: &str| self.groups.get(name).cloned().unwrap_or_default();
        let chosen = match nodes {
            Nodes::Group(name) => group(name),
            Nodes::First { group: name, first } => group(name).into_iter().take(*first).collect(),
            Nodes::Named(names) => {
                let named = |node: &Node| names.contains(&node.hostname);
                (0..self.nodes.len()).filter(|place| named(&self.nodes[*place])).collect()
            }
        };
        chosen.into_iter().filter(|place| !self.nodes[*place].gone).collect()
    }

    fn event(&mut self, place: usize) {
        match self.events[place].action.clone() {
            Action::Write { times, over, .. } => {
                for number in 0..i64::from(times) {
                    self.after(over.0 * number / i64::from(times), Happening::Write { event: place });
                }
            }
            Action::CpReleaseChangesRendering { control_plane, every_route_gains } => {
                let Some(plane) = self.plane_named(&control_plane) else { return };
                self.planes[plane].rerender(every_route_gains.fields());
                let gateways = self.gateways(plane);
                let told = self.watchers[plane].expected(self.now, &mut self.planes[plane], &gateways);
                self.facts.extend(told);
            }
            Action::CpStops { control_plane } => {
                let Some(plane) = self.plane_named(&control_plane) else { return };
                self.planes[plane].up = false;
                for node in self.of_plane(plane) {
                    if self.nodes[node].link.is_some() {
                        self.unlink(node, Party::ControlPlane);
                        let wait = self.random.span(RECONNECT_MS.0, RECONNECT_MS.1);
                        self.redial_after(node, wait);
                    }
                }
            }
            Action::CpStarts { control_plane } => {
                let Some(plane) = self.plane_named(&control_plane) else { return };
                self.planes[plane].up = true;
                if self.planes[plane].push_is_due {
                    self.after(0, Happening::Push { plane });
                }
            }
            Action::CpBackup { control_plane } => {
                let Some(plane) = self.plane_named(&control_plane) else { return };
                self.planes[plane].back_up();
            }
            Action::CpRestore { control_plane } => {
                let Some(plane) = self.plane_named(&control_plane) else { return };
                if self.planes[plane].restore() {
                    self.wrote(plane);
                }
            }
            Action::CpReplicaJoins { control_plane, every_route_gains } => {
                let Some(plane) = self.plane_named(&control_plane) else { return };
                self.planes[plane].join_replica(every_route_gains.fields());
                let gateways = self.gateways(plane);
                let told = self.watchers[plane].expected(self.now, &mut self.planes[plane], &gateways);
                self.facts.extend(told);
            }
            Action::PushIsLost { nodes } => self.each(&nodes, |world, node| world.nodes[node].loses_next_push = true),
            Action::NodesStick { nodes } => self.each(&nodes, |world, node| world.nodes[node].sticks = true),
            Action::NodesReject { nodes, message, entity, field, reported } => {
                let failure = ApplyFailure {
                    refused: None,
                    message: line(&message).or_else(|| line("no reason")).expect("a text is a line"),
                    entity: entity.as_deref().and_then(line),
                    field: field.as_deref().and_then(line),
                };
                self.each(&nodes, |world, node| world.nodes[node].refuses = Some((failure.clone(), reported)));
            }
            Action::NodesRecover { nodes } => self.each(&nodes, |world, node| {
                world.nodes[node].refuses = None;
                world.nodes[node].sticks = false;
            }),
            Action::NodesDisconnect { nodes, lasts, back_within } => self.each(&nodes, |world, node| {
                let back = world.now.plus(lasts.0);
                world.nodes[node].cut_until = Some(back);
                world.unlink(node, Party::Node);
                let wait = world.random.span(0, back_within.0);
                world.redial_after(node, lasts.0 + wait);
            }),
            Action::NodesRestart { nodes, takes, cache_lost } => self.each(&nodes, |world, node| {
                world.unlink(node, Party::Node);
                world.stop(node);
                if cache_lost {
                    world.nodes[node].running = None;
                }
                world.after(takes.0, Happening::Boot { node });
            }),
            Action::NodesStop { nodes } => self.each(&nodes, |world, node| {
                world.unlink(node, Party::Node);
                world.stop(node);
                world.nodes[node].gone = true;
            }),
            Action::NodesAreReplaced { nodes } => self.each(&nodes, World::replace),
            Action::TidemarkIsCutOff => {
                for plane in 0..self.planes.len() {
                    let told = self.watchers[plane].cut_off(self.now);
                    self.facts.extend(told);
                }
            }
            Action::TidemarkIsBack => {
                for plane in 0..self.planes.len() {
                    let told = self.watchers[plane].back(self.now);
                    self.facts.extend(told);
                }
            }
            // Whoever runs Tidemark beside this world does that.
            Action::TidemarkRestarts { .. } => {}
        }
    }

    fn each(&mut self, nodes: &Nodes, mut change: impl FnMut(&mut Self, usize)) {
        for node in self.chosen(nodes) {
            change(self, node);
        }
    }

    fn of_plane(&self, plane: usize) -> Vec<usize> {
        (0..self.nodes.len()).filter(|node| self.nodes[*node].plane == plane).collect()
    }

    fn stop(&mut self, node: usize) {
        self.nodes[node].up = false;
        self.boots[node] += 1;
    }

    /// A new machine of the same name, with a new id and nothing on its disk.
    fn replace(&mut self, node: usize) {
        self.unlink(node, Party::Node);
        self.stop(node);
        let fresh = Node {
            id: self.random.uuid().parse().expect("a UUID is an id"),
            up: false,
            epoch: 0,
            running: None,
            refused: None,
            beat_at: None,
            ..self.nodes[node].clone()
        };
        self.nodes[node].gone = true;
        let group = self.groups.iter().find(|(_, places)| places.contains(&node)).map(|(name, _)| name.clone());
        let at = self.now.plus(20 * SECOND);
        self.add(fresh, &group.unwrap_or_default(), Some(at));
    }

    fn write(&mut self, event: usize) {
        let Action::Write { control_plane, write, .. } = self.events[event].action.clone() else { return };
        let Some(plane) = self.plane_named(&control_plane) else { return };
        let write: Write = write;
        self.planes[plane].estate.write(write, self.now);
        self.wrote(plane);
    }
}

/// What the control plane writes down of a node at its heartbeat (`kong-hybrid.md` 3.1).
fn row(node: &Node, now: Timestamp) -> Row {
    let seconds = |at: Timestamp| at.ms() / SECOND;
    Row {
        node_id: node.id.to_string(),
        hostname: Some(if node.rpc { node.id.to_string() } else { node.hostname.clone() }),
        ip: Some(node.ip.clone()),
        gateway_version: Some(node.gateway.to_string()),
        hash: Some(node.repeats()),
        last_seen_s: Some(seconds(now)),
        updated_at_s: Some(seconds(now)),
        sync_status: Some(match node.lacks_plugin {
            Some(_) => SyncStatus::PluginSetIncompatible,
            None => SyncStatus::Normal,
        }),
        labels: node.labels.iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
        certificate_expires_s: node.certificate_expires_at.map(seconds),
        capabilities: if node.rpc || node.fell_back { vec!["kong.sync.v2".to_owned()] } else { Vec::new() },
        ttl_s: Some(1_209_600),
        date_ms: None,
    }
}
