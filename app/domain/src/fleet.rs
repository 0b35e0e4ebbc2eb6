//! Everything that is known, by control plane: facts go in, and all verdicts of one moment come out.
//!
//! [`Fleet::observe`] is the one fold over facts. The live service, a restart, a view of the past and an import all go
//! through it, in the order in which the facts were stored, so that they cannot come to different answers.
//! [`Fleet::inferred_from`] is the only place where a fact makes another one (a version that is read from what nodes
//! do, DESIGN 5.1); what it returns is stored beside its cause, and therefore never made twice.

use crate::assess::{Assessment, Known, SourceState, assess};
use crate::delays::{Spreads, remember};
use crate::fact::{ConfigRef, Declaration, Fact, Frame, Listening, Protocol, Said, Scope, Source, What, Word};
use crate::id::{CpName, Line, NodeId};
use crate::ledger::{Ledger, MovementEnd};
use crate::node::{Node, Stream};
use crate::notice::{Notice, NoticeKind, Severity};
use crate::policy::{Policy, late_after};
use crate::time::Timestamp;
use crate::verdict::{
    BehindCause, ConfigState, ConfigWord, ConnectionWord, Counter, CurrentBy, Overlay, Unproven, Verdict,
};
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;
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
    /// When it was away the last time, and answered again.
    pub was_down: Option<(Timestamp, Timestamp)>,
    /// Somebody declared it; else it was made up from what reports said.
    pub declared: bool,
    /// The first fact about it.
    pub first_fact_at: Timestamp,
    /// How soon its nodes learned of its last changes.
    spreads: Spreads,
    nodes: Vec<Arc<Node>>,
    #[serde(skip)]
    places: HashMap<NodeId, u32>,
    /// Places of nodes by what names their machine, each list in order.
    #[serde(skip)]
    machines: HashMap<Line, Vec<u32>>,
    /// Places of nodes that came to something that was not in the ledger then, while they were current.
    #[serde(skip)]
    waiting: Vec<u32>,
}

/// A name that more nodes share than this names no machine (`localhost`, the address of a proxy).
const NODES_OF_A_MACHINE_MAX: usize = 16;

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
            was_down: None,
            declared: false,
            first_fact_at: at,
            spreads: Spreads::default(),
            nodes: Vec::new(),
            places: HashMap::new(),
            machines: HashMap::new(),
            waiting: Vec::new(),
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
        let rank = |state: &SourceState| state.source.rank().cmp(&source.rank());
        let place = self.sources.binary_search_by(rank).unwrap_or_else(|place| {
            self.sources.insert(place, SourceState::new(source, policy.report_interval_ms));
            place
        });
        &mut self.sources[place]
    }

    fn place_of(&mut self, id: &NodeId, at: Timestamp, source: Source) -> u32 {
        if let Some(place) = self.places.get(id) {
            return *place;
        }
        let place = u32::try_from(self.nodes.len()).unwrap_or(u32::MAX);
        let state = self.sources.iter().find(|state| state.source == source);
        let first_look = state.and_then(|state| Some(state.began_at?.plus(state.interval_ms)));
        let was_there = first_look.is_some_and(|until| at <= until);
        self.nodes.push(Arc::new(Node { was_there, ..Node::new(id.clone(), at) }));
        self.places.insert(id.clone(), place);
        place
    }

    fn node_mut(&mut self, place: u32) -> Option<&mut Node> {
        self.nodes.get_mut(usize::try_from(place).ok()?).map(Arc::make_mut)
    }

    fn observe(&mut self, fact: &Fact, policy: &Policy) -> Touched {
        let at = fact.at;
        let interval_ms = self.interval_ms(fact.source, policy);
        self.first_fact_at = self.first_fact_at.min(at);
        let state = self.source_mut(fact.source, policy);
        if !matches!(fact.what, What::Listening(_)) {
            state.last_fact_at = state.last_fact_at.max(Some(at));
        }
        match &fact.what {
            What::Report(report) => {
                let place = self.place_of(&report.node, at, fact.source);
                let away = self.was_away(at);
                let ledger = Arc::clone(&self.ledger);
                let Some(node) = self.node_mut(place) else { return Touched::Nothing };
                let machine = node.machine().cloned();
                let last_at = node.last_report_at();
                let silent_before = last_at.is_none_or(|last| at.since(last) > late_after(interval_ms));
                if silent_before && !report.continues {
                    node.started_without_control_plane = away;
                }
                let at = if policy.breaks(8) { report.node_clock.unwrap_or(at) } else { at };
                node.report(at, fact.source, interval_ms, report, &ledger);
                if policy.breaks(11) {
                    node.attributes.labels.clone_from(&report.attributes.labels);
                }
                drop(ledger);
                let replaced = self.meet_machine(place, machine.as_ref());
                let dated_back = self.came_to(place, at, fact.source, policy);
                if replaced || dated_back { Touched::All } else { Touched::Node(place) }
            }
            What::Connection(connection) => {
                let Some(id) = &connection.node else { return Touched::Nothing };
                let place = self.place_of(id, at, fact.source);
                let Some(node) = self.node_mut(place) else { return Touched::Nothing };
                let machine = node.machine().cloned();
                node.connect(at, connection);
                if self.meet_machine(place, machine.as_ref()) { Touched::All } else { Touched::Node(place) }
            }
            What::Word(word) => {
                self.answered(at);
                let head_before = self.ledger.head().map(|head| head.ordinal);
                Arc::make_mut(&mut self.ledger).hear(at, fact.recorded_at, fact.source, word, policy);
                if let Some(config) = self.pushed(policy) {
                    let inferred = Word { replica: None, scope: Scope::ANY, said: Said::Inferred(config) };
                    Arc::make_mut(&mut self.ledger).hear(at, fact.recorded_at, fact.source, &inferred, policy);
                }
                if self.ledger.head().map(|head| head.ordinal) != head_before {
                    self.date_back_head(policy);
                }
                self.offered(at, fact.source, word);
                Touched::All
            }
            What::Read => {
                self.answered(at);
                Arc::make_mut(&mut self.ledger).was_read(at);
                Touched::All
            }
            What::Listening(Listening::Began { interval_ms }) => {
                self.source_mut(fact.source, policy).begin(at, i64::from(*interval_ms));
                Touched::All
            }
            What::Listening(Listening::Ended) => {
                self.source_mut(fact.source, policy).end(at);
                Touched::All
            }
            What::Listening(Listening::Stopped(why)) => {
                self.source_mut(fact.source, policy).stop(at, why.clone());
                Touched::All
            }
            What::ControlPlaneDown => {
                self.down_since = Some(self.down_since.map_or(at, |since| since.min(at)));
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

    /// A configuration went to a node. By v2 that is the answer to a question: so that is when it learned of it; by v1
    /// nobody asks.
    fn offered(&mut self, at: Timestamp, source: Source, word: &Word) {
        let Said::Frame(frame @ Frame { offered_to: Some(node), .. }) = &word.said else { return };
        let Some(place) = self.places.get(node).copied() else { return };
        let ledger = Arc::clone(&self.ledger);
        if let Some(node) = self.node_mut(place) {
            node.was_sent(at, source, &word.scope, frame, &ledger);
        }
        drop(ledger);
        if word.scope.protocol != Some(Protocol::V2) {
            return;
        }
        let node = usize::try_from(place).ok().and_then(|place| self.nodes.get(place));
        let learned = node.and_then(|node| node.learns(at, source, &self.ledger));
        let delay = learned.and_then(|(changeset, published_at)| self.spreads.count(changeset, published_at, at));
        if let (Some(delay), Some(node)) = (delay, self.node_mut(place)) {
            remember(&mut node.delays, delay);
        }
    }

    /// Nodes that were current reported the new head before the control plane's word of it: the publication is the
    /// earlier of both (DESIGN 5.7).
    fn date_back_head(&mut self, policy: &Policy) {
        let waiting = std::mem::take(&mut self.waiting);
        let nodes = waiting.iter().filter_map(|place| self.nodes.get(usize::try_from(*place).ok()?));
        let runs = nodes.flat_map(|node| node.streams.iter().map(move |stream| (node, stream)));
        let reported = runs.filter_map(|(node, stream)| self.reported_head(node, stream, policy)).min();
        if let (Some(first), Some(head)) = (reported, self.ledger.head().map(|head| head.ordinal)) {
            Arc::make_mut(&mut self.ledger).was_reported(head, first);
        }
        self.waiting = waiting.into_iter().filter(|place| self.waits(*place)).collect();
    }

    /// What the expected hash moved to just now, if a node that was connected and current had come to it before: so it
    /// was pushed, and the move was a change (DESIGN 5.4, 5.7).
    fn pushed(&self, policy: &Policy) -> Option<ConfigRef> {
        let open = self.ledger.movements().iter().rev().find(|movement| movement.ended.is_none())?;
        let node = |place: &u32| usize::try_from(*place).ok().and_then(|place| self.nodes.get(place));
        let was_pushed = |node: &Arc<Node>| {
            let opened_at = node.link.as_ref().and_then(|link| link.opened_at);
            node.streams.iter().any(|stream| {
                let (Some(run), Some((_, before_until))) = (&stream.run, &stream.before) else { return false };
                let reconnected =
                    opened_at.is_some_and(|opened_at| opened_at > *before_until && opened_at <= run.since);
                let returned = run.since.since(stream.unbroken_since) < self.interval_ms(stream.source, policy);
                run.from_current && run.config == open.to && run.since <= open.at && !reconnected && !returned
            })
        };
        let pushed = open.why == Unproven::MovedWithoutChange && self.waiting.iter().filter_map(node).any(was_pushed);
        pushed.then(|| open.to.clone())
    }

    /// When this stream told of the head, if that was before the head's publication by the word.
    fn reported_head(&self, node: &Node, stream: &Stream, policy: &Policy) -> Option<Timestamp> {
        let head = self.ledger.head().filter(|head| head.reverts_to.is_none())?;
        let run = stream.run.as_ref()?;
        let early = run.since < head.published_at && run.since >= head.published_at.plus(-policy.word_wait_ms);
        if !run.from_current || !early {
            return None;
        }
        let meant = self.ledger.meaning(&run.config, &node.cohort(), head.published_at)?;
        (meant.ordinal == head.ordinal).then_some(run.since)
    }

    /// Whether a node runs something, from current, that is not in the ledger.
    fn waits(&self, place: u32) -> bool {
        let node = usize::try_from(place).ok().and_then(|place| self.nodes.get(place));
        node.is_some_and(|node| {
            let runs = node.streams.iter().filter_map(|stream| stream.run.as_ref());
            runs.into_iter().any(|run| run.from_current && !self.ledger.knows(&run.config))
        })
    }

    /// Sees whether a node just came to something that waits for the control plane's word, or to the head before it was
    /// published. Says whether the publication was dated back.
    fn came_to(&mut self, place: u32, at: Timestamp, source: Source, policy: &Policy) -> bool {
        let Some(node) = usize::try_from(place).ok().and_then(|place| self.nodes.get(place)) else { return false };
        let Some(stream) = node.streams.iter().find(|stream| stream.source == source) else { return false };
        if stream.run.as_ref().is_none_or(|run| run.since != at || !run.from_current) {
            return false;
        }
        if let Some(first) = self.reported_head(node, stream, policy) {
            if let Some(head) = self.ledger.head().map(|head| head.ordinal) {
                Arc::make_mut(&mut self.ledger).was_reported(head, first);
            }
            return true;
        }
        if self.waits(place)
            && let Err(index) = self.waiting.binary_search(&place)
        {
            self.waiting.insert(index, place);
        }
        false
    }

    /// Whether the control plane was away just before `at`.
    fn was_away(&self, at: Timestamp) -> bool {
        let over = self.was_down.is_some_and(|(since, until)| since < at && at <= until);
        over || self.down_since.is_some_and(|since| since < at)
    }

    /// The control plane was heard.
    fn answered(&mut self, at: Timestamp) {
        if let Some(since) = self.down_since.filter(|since| *since <= at) {
            self.down_since = None;
            self.was_down = Some((since, at));
        }
    }

    /// A node that comes up under a new id on the machine of others replaces those that are silent since
    /// (DESIGN 5.10); whether they are is judged when they are assessed. `before` is what named its machine so far.
    fn meet_machine(&mut self, place: u32, before: Option<&Line>) -> bool {
        let Some(node) = usize::try_from(place).ok().and_then(|place| self.nodes.get(place)) else { return false };
        let (machine, first_seen_at) = (node.machine().cloned(), node.first_seen_at);
        if machine.as_ref() == before {
            return false;
        }
        if let Some(before) = before
            && let Some(places) = self.machines.get_mut(before)
        {
            places.retain(|other| *other != place);
            if places.is_empty() {
                self.machines.remove(before);
            }
        }
        let Some(machine) = machine else { return false };
        let places = self.machines.entry(machine).or_default();
        if let Err(index) = places.binary_search(&place) {
            places.insert(index, place);
        }
        if places.len() > NODES_OF_A_MACHINE_MAX {
            return false;
        }
        let others: Vec<u32> = places.iter().copied().filter(|other| *other != place).collect();
        let mut replaced = false;
        for other in others {
            let others_first = usize::try_from(other).ok().and_then(|other| self.nodes.get(other));
            let Some(others_first) = others_first.map(|other| other.first_seen_at) else { continue };
            let (elder, heir, heir_at) = match others_first.cmp(&first_seen_at) {
                Ordering::Less => (other, place, first_seen_at),
                Ordering::Greater => (place, other, others_first),
                Ordering::Equal => continue,
            };
            // One that was there in the first interval of listening is only new to us.
            let heir = usize::try_from(heir).ok().and_then(|heir| self.nodes.get(heir));
            if heir.is_none_or(|heir| heir.was_there) {
                continue;
            }
            if let Some(elder) = self.node_mut(elder) {
                elder.replaced_at = elder.replaced_at.max(Some(heir_at));
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
        if !self.ledger.inferred() && !open_movement && !policy.breaks(1) {
            return false;
        }
        // Zeros say that a node has no configuration; nothing was published.
        if config.is_zeros() {
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
        // One that came back less than an interval ago is sent the newest for that.
        let returned = at.since(stream.unbroken_since) < interval_ms;
        let changed = stream.run.as_ref().is_some_and(|run| run.config != *config);
        if !changed || !unbroken || reconnected || returned {
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
            let run = other.streams.iter().find(fresh).and_then(|stream| stream.run.as_ref());
            if let Some(run) = run.filter(|run| !run.config.is_zeros()) {
                *counts.entry(&run.config).or_default() += 1;
            }
        }
        let most = counts.values().copied().max()?;
        counts.into_iter().find(|(_, count)| *count == most).map(|(config, _)| config.clone())
    }

    fn reindex(&mut self) {
        Arc::make_mut(&mut self.ledger).reindex();
        self.places = HashMap::with_capacity(self.nodes.len());
        self.machines = HashMap::with_capacity(self.nodes.len());
        for (place, node) in self.nodes.iter().enumerate() {
            let place = u32::try_from(place).unwrap_or(u32::MAX);
            self.places.insert(node.id.clone(), place);
            if let Some(machine) = node.machine() {
                self.machines.entry(machine.clone()).or_default().push(place);
            }
        }
        let places = 0..u32::try_from(self.nodes.len()).unwrap_or(u32::MAX);
        self.waiting = places.filter(|place| self.waits(*place)).collect();
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

    /// What concerns more than one control plane, or cannot be told of one alone.
    ///
    /// [`NoticeKind::DownOrCutOff`]: every source that listens, or should, is blind, so nothing tells whether the other side
    /// is down or we are cut off; that is one alarm, at the first control plane, however many there are (DESIGN 5.9).
    /// [`NoticeKind::OneClusterTwoNames`]: one cluster id was declared under two names (DESIGN 5.10).
    #[must_use]
    pub fn notices(&self, now: Timestamp) -> Vec<Notice> {
        let mut notices = Vec::new();
        let mut say = |control_plane: &CpName, kind, severity, since, nodes| {
            let control_plane = control_plane.clone();
            notices.push(Notice { control_plane, kind, severity, since, nodes, sentence: String::new() });
        };
        let listeners = || {
            let all = self.control_planes.values().flat_map(|control_plane| &control_plane.sources);
            all.filter(|state| !state.ended && (state.began_at.is_some() || !state.blind.is_empty()))
        };
        let blind_since = |state: &SourceState| state.blind_since().filter(|since| *since <= now);
        let blind_since = listeners().map(blind_since).collect::<Option<Vec<_>>>();
        if let (Some(first), Some(since)) =
            (self.control_planes.values().next(), blind_since.and_then(|since| since.into_iter().max()))
        {
            let nodes = u32::try_from(self.len()).unwrap_or(u32::MAX);
            say(&first.name, NoticeKind::DownOrCutOff, Severity::Page, since, nodes);
        }
        let mut named: BTreeMap<&Line, &ControlPlane> = BTreeMap::new();
        for control_plane in self.control_planes.values() {
            let Some(cluster_id) = &control_plane.ledger.declaration.cluster_id else { continue };
            if let Some(other) = named.get(cluster_id) {
                let since = control_plane.first_fact_at.max(other.first_fact_at);
                let nodes = u32::try_from(control_plane.nodes.len()).unwrap_or(u32::MAX);
                say(&control_plane.name, NoticeKind::OneClusterTwoNames, Severity::Ticket, since, nodes);
            } else {
                named.insert(cluster_id, control_plane);
            }
        }
        notices
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
    pub fn add(&mut self, verdict: &Verdict) {
        let connection = verdict.connectivity.word();
        self.connection[place(&ConnectionWord::ALL, connection)] += 1;
        let Some(counter) = verdict.counter() else { return };
        self.counters[place(&Counter::ALL, counter)] += 1;
        self.config[place(&ConfigWord::ALL, verdict.config.word())] += 1;
        if let ConfigState::Current { how: CurrentBy::Alias, .. } = verdict.config {
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
    verdicts: impl Iterator<Item = Verdict> + Clone,
    policy: &Policy,
    now: Timestamp,
) -> (Vec<Notice>, Option<Timestamp>) {
    let mut horizon = crate::assess::Horizon::new(now);
    let ledger = &control_plane.ledger;
    let head = ledger.head().map(|head| head.ordinal);
    let count = |counts: &dyn Fn(ConfigState) -> bool| {
        u32::try_from(verdicts.clone().filter(|verdict| counts(verdict.config)).count()).unwrap_or(u32::MAX)
    };
    let mut notices = Vec::new();
    let mut say = |kind, severity, since, nodes| {
        let control_plane = control_plane.name.clone();
        notices.push(Notice { control_plane, kind, severity, since, nodes, sentence: String::new() });
    };
    // One cause, one notice: cohorts move one after the other, and all of it is one thing to look at.
    let open = || ledger.movements().iter().filter(|movement| movement.ended.is_none());
    let proven = ledger
        .movements()
        .iter()
        .rev()
        .find(|movement| matches!(movement.ended, Some((_, MovementEnd::Proven))) && Some(movement.from) == head);
    if let Some(since) = open().map(|movement| movement.at).min() {
        let unproven = |state| {
            let by_movement = |why| matches!(why, Unproven::MovedWithoutChange | Unproven::TemplateFields);
            matches!(state, ConfigState::UnprovenAlias { why, .. } if by_movement(why))
        };
        let nodes = count(&unproven);
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
    } else if let Some(movement) = proven {
        // Worth knowing until the next change.
        let by_alias = |state| matches!(state, ConfigState::Current { how: CurrentBy::Alias, .. });
        say(NoticeKind::ExpectedMovedWithoutChange, Severity::Info, movement.at, count(&by_alias));
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
    if let Some(damage) = ledger.damage() {
        let run_it = verdicts.clone().filter(|verdict| verdict.overlays.has(Overlay::SuspiciousContent)).count();
        let nodes = u32::try_from(run_it).unwrap_or(u32::MAX);
        say(NoticeKind::DestructiveChange, Severity::Page, damage.since, nodes);
    }
    // A hash-only control plane that went back leaves nodes behind, one with ordered tokens leaves them ahead.
    let behind = count(&|state| matches!(state, ConfigState::Behind { cause: BehindCause::Reverted, .. }));
    let ahead = count(&|state| matches!(state, ConfigState::Ahead { .. }));
    if let (Some(since), 1..) = (ledger.head_since(), behind.saturating_add(ahead)) {
        let last = ledger.in_order().rev().find(|version| version.reverts_to.is_some());
        let since = last.filter(|_| ahead == 0).map_or(since, |reverted| reverted.published_at);
        say(NoticeKind::Reverted, Severity::Ticket, since, behind.saturating_add(ahead));
    }
    notices.sort_by_key(|notice| (notice.severity, notice.since));
    (notices, horizon.next())
}
