//! Everything that is known, by control plane: facts go in, and all verdicts of one moment come out.
//!
//! [`Fleet::observe`] is the one fold over facts. The live service, a restart, a view of the past and an import all go
//! through it, in the order in which the facts were stored, so that they cannot come to different answers.
//! [`Fleet::inferred_from`] is the only place where a fact makes another one (a version that is read from what nodes
//! do, DESIGN 5.1); what it returns is stored beside its cause, and therefore never made twice.

use crate::assess::{Assessment, Known, SourceState, assess};
use crate::fact::{ConfigRef, Declaration, Fact, Listening, Said, Scope, Source, What, Word};
use crate::id::{CpName, Line, NodeId};
use crate::ledger::{Ledger, MovementEnd};
use crate::node::{Node, Stream};
use crate::notice::{Notice, NoticeKind, Severity};
use crate::policy::{Policy, late_after};
use crate::time::Timestamp;
use crate::verdict::{ConfigState, ConfigWord, ConnectionWord, Counter, Unproven};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// One control plane and its nodes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ControlPlane {
    /// Its name.
    pub name: CpName,
    /// What it published. Shared with snapshots: a change copies it once a snapshot holds it.
    pub ledger: Arc<Ledger>,
    /// What watches it.
    pub sources: Vec<SourceState>,
    /// Since when it does not answer, though another target does.
    pub down_since: Option<Timestamp>,
    /// Somebody declared it; else it was made up from what reports said.
    pub declared: bool,
    /// The first fact about it.
    pub first_fact_at: Timestamp,
    nodes: Vec<Arc<Node>>,
    #[serde(skip)]
    places: HashMap<NodeId, u32>,
    #[serde(skip)]
    hostnames: HashMap<Line, Vec<u32>>,
}

/// What a fact may have changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Touched {
    /// Nothing that a verdict rests on.
    Nothing,
    /// One node, by its place in its control plane.
    Node(u32),
    /// Every node of the control plane.
    All,
}

impl ControlPlane {
    fn new(name: CpName, at: Timestamp) -> Self {
        Self {
            name,
            ledger: Arc::new(Ledger::default()),
            sources: Vec::new(),
            down_since: None,
            declared: false,
            first_fact_at: at,
            nodes: Vec::new(),
            places: HashMap::new(),
            hostnames: HashMap::new(),
        }
    }

    /// Its nodes; the place of a node never changes.
    #[must_use]
    pub fn nodes(&self) -> &[Arc<Node>] {
        &self.nodes
    }

    /// A node by its id.
    #[must_use]
    pub fn node(&self, id: &NodeId) -> Option<&Node> {
        self.nodes.get(self.place(id)?).map(Arc::as_ref)
    }

    /// The place of a node in [`Self::nodes`].
    #[must_use]
    pub fn place(&self, id: &NodeId) -> Option<usize> {
        self.places.get(id).and_then(|place| usize::try_from(*place).ok())
    }

    /// What its verdicts rest on.
    #[must_use]
    pub fn known<'a>(&'a self, policy: &'a Policy) -> Known<'a> {
        Known { ledger: &self.ledger, sources: &self.sources, down_since: self.down_since, policy }
    }

    /// The verdict of one of its nodes.
    #[must_use]
    pub fn assess(&self, node: &Node, policy: &Policy, now: Timestamp) -> Assessment {
        assess(node, &self.known(policy), now)
    }

    /// The pace of a source, in milliseconds.
    #[must_use]
    pub fn interval_ms(&self, source: Source, policy: &Policy) -> i64 {
        let state = self.sources.iter().find(|state| state.source == source);
        state.map_or(policy.report_interval_ms, |state| state.interval_ms)
    }

    fn source_mut(&mut self, source: Source, policy: &Policy) -> &mut SourceState {
        let place = self.sources.iter().position(|state| state.source == source).unwrap_or_else(|| {
            self.sources.push(SourceState::new(source, policy.report_interval_ms));
            self.sources.len() - 1
        });
        &mut self.sources[place]
    }

    fn place_of(&mut self, id: &NodeId, at: Timestamp) -> u32 {
        if let Some(place) = self.places.get(id) {
            return *place;
        }
        let place = u32::try_from(self.nodes.len()).unwrap_or(u32::MAX);
        self.nodes.push(Arc::new(Node::new(id.clone(), at)));
        self.places.insert(id.clone(), place);
        place
    }

    fn node_mut(&mut self, place: u32) -> Option<&mut Node> {
        self.nodes.get_mut(usize::try_from(place).ok()?).map(Arc::make_mut)
    }

    fn observe(&mut self, fact: &Fact, policy: &Policy) -> Touched {
        let at = fact.at;
        let interval_ms = self.interval_ms(fact.source, policy);
        let state = self.source_mut(fact.source, policy);
        state.last_fact_at = state.last_fact_at.max(Some(at));
        match &fact.what {
            What::Report(report) => {
                let place = self.place_of(&report.node, at);
                let away = self.away_since().is_some_and(|since| since <= at);
                let Self { nodes, ledger, .. } = self;
                let Some(node) = usize::try_from(place).ok().and_then(|place| nodes.get_mut(place)) else {
                    return Touched::Nothing;
                };
                let node = Arc::make_mut(node);
                let silent_before = node.last_report_at().is_none_or(|last| at.since(last) > late_after(interval_ms));
                if silent_before {
                    node.started_without_control_plane = away;
                }
                node.report(at, fact.source, interval_ms, report, ledger.as_ref());
                let replaced = self.replace_elders(place, at);
                if replaced { Touched::All } else { Touched::Node(place) }
            }
            What::Connection(connection) => {
                let Some(id) = &connection.node else { return Touched::Nothing };
                let place = self.place_of(id, at);
                if let Some(node) = self.node_mut(place) {
                    node.connect(at, connection);
                }
                Touched::Node(place)
            }
            What::Word(word) => {
                self.down_since = None;
                let head_before = self.ledger.head().map(|head| head.ordinal);
                Arc::make_mut(&mut self.ledger).hear(at, fact.recorded_at, fact.source, word, policy);
                if self.ledger.head().map(|head| head.ordinal) != head_before {
                    self.date_back_head(policy);
                }
                Touched::All
            }
            What::Read => {
                self.down_since = None;
                Arc::make_mut(&mut self.ledger).was_read(at);
                Touched::All
            }
            What::Listening(Listening::Began { interval_ms }) => {
                self.source_mut(fact.source, policy).begin(at, i64::from(*interval_ms));
                Touched::All
            }
            What::Listening(Listening::Stopped(why)) => {
                self.source_mut(fact.source, policy).stop(at, why.clone());
                Touched::All
            }
            What::ControlPlaneDown => {
                self.down_since = self.down_since.or(Some(at));
                Touched::All
            }
            What::Declared(declaration) => {
                self.declared = true;
                Arc::make_mut(&mut self.ledger).declaration = Declaration::clone(declaration);
                Touched::All
            }
            What::Retired(retirement) => {
                let Some(place) = self.places.get(&retirement.node).copied() else { return Touched::Nothing };
                if let Some(node) = self.node_mut(place) {
                    node.retired_at = Some(at);
                }
                Touched::Node(place)
            }
        }
    }

    /// Nodes that were current reported the new head before the control plane's word of it: the publication is the
    /// earlier of both (DESIGN 5.7).
    fn date_back_head(&mut self, policy: &Policy) {
        let Some(head) = self.ledger.head().filter(|head| head.reverts_to.is_none()) else { return };
        let (ordinal, published_at) = (head.ordinal, head.published_at);
        let earliest = published_at.plus(-policy.word_wait_ms);
        let runs = self
            .nodes
            .iter()
            .flat_map(|node| node.streams.iter().filter_map(move |stream| Some((node, stream.run.as_ref()?))));
        let reported = runs.filter(|(node, run)| {
            let in_time = run.from_current && run.since >= earliest && run.since < published_at;
            in_time
                && self
                    .ledger
                    .meaning(&run.config, &node.cohort(), published_at)
                    .is_some_and(|alias| alias.ordinal == ordinal)
        });
        if let Some(first) = reported.map(|(_, run)| run.since).min() {
            Arc::make_mut(&mut self.ledger).was_reported(ordinal, first);
        }
    }

    fn away_since(&self) -> Option<Timestamp> {
        self.down_since
    }

    /// A node that comes up with the hostname of silent ones replaces them (DESIGN 5.10).
    fn replace_elders(&mut self, place: u32, at: Timestamp) -> bool {
        let Some(node) = usize::try_from(place).ok().and_then(|place| self.nodes.get(place)) else { return false };
        let (Some(hostname), first_seen_at) = (node.attributes.hostname.clone(), node.first_seen_at) else {
            return false;
        };
        let places = self.hostnames.entry(hostname.clone()).or_default();
        if places.contains(&place) {
            return false;
        }
        places.push(place);
        let elders: Vec<u32> = places.iter().copied().filter(|elder| *elder != place).collect();
        let mut replaced = false;
        for elder in elders {
            let Some(elder) = self.node_mut(elder) else { continue };
            let silent = elder.last_report_at().is_none_or(|last| last < first_seen_at);
            if silent && elder.attributes.hostname.as_ref() == Some(&hostname) {
                elder.replaced_at = Some(at);
                replaced = true;
            }
        }
        replaced
    }

    /// A version that this report shows to exist, where the control plane's own word does not say so (DESIGN 5.1).
    fn inferred_from(&self, at: Timestamp, source: Source, node: &NodeId, config: &ConfigRef, policy: &Policy) -> bool {
        let open_movement = self.ledger.movements().iter().any(|movement| {
            movement.ended.is_none() && movement.why == Unproven::MovedWithoutChange && movement.to == *config
        });
        if !self.ledger.inferred() && !open_movement {
            return false;
        }
        if self.ledger.head().is_none() {
            return self.majority(at, source, node, config, policy).as_ref() == Some(config);
        }
        let Some(node) = self.node(node) else { return false };
        let Some(stream) = node.streams.iter().find(|stream| stream.source == source) else { return false };
        let interval_ms = self.interval_ms(source, policy);
        let unbroken = at >= stream.last_at && at.since(stream.last_at) <= late_after(interval_ms);
        let reconnected =
            node.link.as_ref().and_then(|link| link.opened_at).is_some_and(|opened| opened > stream.last_at);
        let changed = stream.run.as_ref().is_some_and(|run| run.config != *config);
        if !changed || !unbroken || reconnected {
            return false;
        }
        let cohort = node.cohort();
        let head = self.ledger.head().map(|head| head.ordinal);
        let was_at_head = stream.version(&cohort, &self.ledger, at).is_some_and(|version| Some(version) == head);
        let already = self.ledger.meaning(config, &cohort, at).is_some_and(|alias| Some(alias.ordinal) == head);
        was_at_head && (!already || open_movement)
    }

    /// After two report intervals: the hash of most connected nodes, this report counted in. Ties fall to the text that
    /// sorts first.
    fn majority(
        &self,
        at: Timestamp,
        source: Source,
        node: &NodeId,
        config: &ConfigRef,
        policy: &Policy,
    ) -> Option<ConfigRef> {
        let interval_ms = self.interval_ms(source, policy);
        if at.since(self.first_fact_at) < interval_ms.saturating_mul(2) {
            return None;
        }
        let mut counts: BTreeMap<&ConfigRef, u32> = BTreeMap::new();
        *counts.entry(config).or_default() += 1;
        let fresh = |stream: &&Stream| at.since(stream.last_at) <= late_after(interval_ms);
        for other in self.nodes.iter().filter(|other| other.id != *node) {
            if let Some(run) = other.streams.iter().find(fresh).and_then(|stream| stream.run.as_ref()) {
                *counts.entry(&run.config).or_default() += 1;
            }
        }
        let most = counts.values().copied().max()?;
        counts.into_iter().find(|(_, count)| *count == most).map(|(config, _)| config.clone())
    }

    fn reindex(&mut self) {
        Arc::make_mut(&mut self.ledger).reindex();
        self.places.clear();
        self.hostnames.clear();
        for (place, node) in self.nodes.iter().enumerate() {
            let place = u32::try_from(place).unwrap_or(u32::MAX);
            self.places.insert(node.id.clone(), place);
            if let Some(hostname) = &node.attributes.hostname {
                self.hostnames.entry(hostname.clone()).or_default().push(place);
            }
        }
    }
}

/// Everything that is known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fleet {
    control_planes: BTreeMap<CpName, ControlPlane>,
}

impl Fleet {
    /// Every control plane, by name.
    pub fn control_planes(&self) -> impl Iterator<Item = &ControlPlane> {
        self.control_planes.values()
    }

    /// A control plane by its name.
    #[must_use]
    pub fn control_plane(&self, name: &CpName) -> Option<&ControlPlane> {
        self.control_planes.get(name)
    }

    /// Nodes of all control planes, the gone ones too.
    #[must_use]
    pub fn len(&self) -> usize {
        self.control_planes.values().map(|control_plane| control_plane.nodes.len()).sum()
    }

    /// Whether no node was ever heard of.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes in a fact.
    pub fn observe(&mut self, fact: &Fact, policy: &Policy) -> Touched {
        let name = &fact.control_plane;
        if !self.control_planes.contains_key(name) {
            self.control_planes.insert(name.clone(), ControlPlane::new(name.clone(), fact.at));
        }
        self.control_planes.get_mut(name).map_or(Touched::Nothing, |control_plane| control_plane.observe(fact, policy))
    }

    /// The fact that follows from this one and from what is known before it, if any. To be stored with it, and to be
    /// observed **before** it.
    #[must_use]
    pub fn inferred_from(&self, fact: &Fact, policy: &Policy) -> Option<Fact> {
        let What::Report(report) = &fact.what else { return None };
        let config = report.running.as_ref()?;
        let control_plane = self.control_planes.get(&fact.control_plane)?;
        control_plane.inferred_from(fact.at, fact.source, &report.node, config, policy).then(|| Fact {
            what: What::Word(Box::new(Word { replica: None, scope: Scope::ANY, said: Said::Inferred(config.clone()) })),
            ..fact.clone()
        })
    }

    /// Takes in a fact and what follows from it; returns the latter, for the store. What a replay must not do: there,
    /// both come from the store.
    pub fn observe_live(&mut self, fact: &Fact, policy: &Policy) -> (Option<Fact>, Touched) {
        let inferred = self.inferred_from(fact, policy);
        let touched = inferred.as_ref().map_or(Touched::Nothing, |inferred| self.observe(inferred, policy));
        let then = self.observe(fact, policy);
        (inferred, if touched == Touched::All { Touched::All } else { then })
    }

    /// Rebuilds what is not stored: to be called once after reading a fleet back.
    pub fn reindex(&mut self) {
        for control_plane in self.control_planes.values_mut() {
            control_plane.reindex();
        }
    }

    /// All verdicts at one moment, by control plane and place.
    pub fn assess<'a>(
        &'a self,
        policy: &'a Policy,
        now: Timestamp,
    ) -> impl Iterator<Item = (&'a ControlPlane, &'a Node, Assessment)> {
        self.control_planes.values().flat_map(move |control_plane| {
            let assessed =
                move |node: &'a Arc<Node>| (control_plane, node.as_ref(), control_plane.assess(node, policy, now));
            control_plane.nodes.iter().map(assessed)
        })
    }
}

/// Counts of verdicts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    counters: [u32; Counter::ALL.len()],
    config: [u32; ConfigWord::ALL.len()],
    connection: [u32; ConnectionWord::ALL.len()],
    /// Current by another hash of the head.
    pub by_alias: u32,
}

impl Tally {
    /// Counts one verdict in.
    pub fn add(&mut self, verdict: &crate::verdict::Verdict) {
        let connection = verdict.connectivity.word();
        self.connection[place(&ConnectionWord::ALL, connection)] += 1;
        let Some(counter) = verdict.counter() else { return };
        self.counters[place(&Counter::ALL, counter)] += 1;
        self.config[place(&ConfigWord::ALL, verdict.config.word())] += 1;
        if let ConfigState::Current { how: crate::verdict::CurrentBy::Alias, .. } = verdict.config {
            self.by_alias += 1;
        }
    }

    /// Counts another tally in.
    pub fn merge(&mut self, other: &Self) {
        let sum = |mine: &mut [u32], theirs: &[u32]| {
            for (mine, theirs) in mine.iter_mut().zip(theirs) {
                *mine += theirs;
            }
        };
        sum(&mut self.counters, &other.counters);
        sum(&mut self.config, &other.config);
        sum(&mut self.connection, &other.connection);
        self.by_alias += other.by_alias;
    }

    /// Nodes under a counter.
    #[must_use]
    pub fn counter(&self, counter: Counter) -> u32 {
        self.counters[place(&Counter::ALL, counter)]
    }

    /// Nodes that count, in a state of the second axis.
    #[must_use]
    pub fn config(&self, word: ConfigWord) -> u32 {
        self.config[place(&ConfigWord::ALL, word)]
    }

    /// Nodes in a state of the first axis.
    #[must_use]
    pub fn connection(&self, word: ConnectionWord) -> u32 {
        self.connection[place(&ConnectionWord::ALL, word)]
    }

    /// Nodes that count: the fleet without `gone`.
    #[must_use]
    pub fn nodes(&self) -> u32 {
        self.counters.iter().sum()
    }
}

fn place<T: PartialEq>(all: &[T], one: T) -> usize {
    all.iter().position(|other| *other == one).unwrap_or(0)
}

/// What is to be said of one control plane, given the verdicts of its nodes. The sentence is left empty: it is
/// written by [`crate::sentence`].
#[must_use]
pub fn notices(
    control_plane: &ControlPlane,
    config_states: impl Iterator<Item = ConfigState> + Clone,
    policy: &Policy,
    now: Timestamp,
) -> (Vec<Notice>, Option<Timestamp>) {
    let mut horizon = crate::assess::Horizon::new(now);
    let ledger = &control_plane.ledger;
    let head = ledger.head().map(|head| head.ordinal);
    let count = |counts: &dyn Fn(ConfigState) -> bool| {
        u32::try_from(config_states.clone().filter(|state| counts(*state)).count()).unwrap_or(u32::MAX)
    };
    let mut notices = Vec::new();
    let mut say = |kind, severity, since, nodes| {
        let control_plane = control_plane.name.clone();
        notices.push(Notice { control_plane, kind, severity, since, nodes, sentence: String::new() });
    };
    for movement in ledger.movements().iter().filter(|movement| movement.why != Unproven::ReplicasDiffer) {
        let since = movement.at;
        match movement.ended {
            None => {
                let nodes =
                    count(&|state| matches!(state, ConfigState::UnprovenAlias { since: at, .. } if at == since));
                let severity = if nodes == 0 {
                    Severity::Info
                } else if ledger.sees_changes() {
                    if horizon.past(since.plus(policy.moved_ticket_ms)) { Severity::Ticket } else { Severity::Info }
                } else if horizon.past(since.plus(policy.moved_page_ms)) {
                    Severity::Page
                } else {
                    Severity::Ticket
                };
                say(NoticeKind::ExpectedMovedWithoutChange, severity, since, nodes);
            }
            // Proven: worth knowing until the next change.
            Some((_, MovementEnd::Proven)) if Some(movement.from) == head => {
                let by_alias =
                    |state| matches!(state, ConfigState::Current { how: crate::verdict::CurrentBy::Alias, .. });
                say(NoticeKind::ExpectedMovedWithoutChange, Severity::Info, since, count(&by_alias));
            }
            Some(_) => {}
        }
    }
    let differs = |state| matches!(state, ConfigState::UnprovenAlias { why: Unproven::ReplicasDiffer, .. });
    let unproven_head = head.and_then(|head| {
        ledger.aliases_of(head).find(|alias| alias.unproven == Some(Unproven::ReplicasDiffer)).map(|alias| alias.since)
    });
    if let Some(since) = unproven_head {
        say(NoticeKind::ReplicasRenderDifferently, Severity::Ticket, since, count(&differs));
    }
    if let Some(since) = control_plane.down_since {
        say(NoticeKind::ControlPlaneDown, Severity::Page, since, count(&|_| true));
    }
    if let Some(reverted) = ledger.head().filter(|head| head.reverts_to.is_some()) {
        let behind = |state| matches!(state, ConfigState::Behind { .. } | ConfigState::Ahead { .. });
        if count(&behind) > 0 {
            say(NoticeKind::Reverted, Severity::Ticket, reverted.published_at, count(&behind));
        }
    }
    notices.sort_by_key(|notice| (notice.severity, notice.since));
    (notices, horizon.next())
}
