//! A world for tests: facts are told to a fleet, nodes ping by themselves, and verdicts are read.
#![allow(dead_code)]

use std::collections::BTreeMap;
use tidemark_domain::assess::Assessment;
use tidemark_domain::fact::{
    Announcement, ApplyFailure, Attributes, ConfigRef, Connection, ConnectionEvent, Content, Fact, Frame, Listening,
    Protocol, Report, Retirement, Said, Scope, Source, SyncMode, SyncStatus, What, WithheldReason, Word,
};
use tidemark_domain::fleet::{ControlPlane, Fleet, Tally, Touched, notices};
use tidemark_domain::hash::ConfigHash;
use tidemark_domain::id::{CpName, Digest, Line, NodeId, Ordinal, Token};
use tidemark_domain::ledger::Ledger;
use tidemark_domain::notice::Notice;
use tidemark_domain::policy::Policy;
use tidemark_domain::time::{SECOND, Timestamp};
use tidemark_domain::verdict::{ConfigState, ConfigWord, Connectivity, CurrentBy, Overlay, UnrecognizedCause, Verdict};

/// The moment so many milliseconds after the tests' epoch.
pub fn t(ms: i64) -> Timestamp {
    Timestamp::from_ms(1_795_000_000_000 + ms)
}

pub fn v(number: u32) -> Ordinal {
    Ordinal::new(number)
}

pub fn line(text: &str) -> Line {
    text.parse().expect("a test's text is well formed")
}

pub fn node_id(text: &str) -> NodeId {
    text.parse().expect("a test's node id is well formed")
}

/// A hash without an order, by a short name.
pub fn hash(name: &str) -> ConfigHash {
    format!("{name:e<31}d").parse().expect("a test's hash has a short name")
}

/// An ordered token of delta sync.
pub fn ordered(number: u64) -> ConfigHash {
    format!("v02_{number:028x}").parse().expect("28 digits hold any number")
}

pub fn config(name: &str) -> ConfigRef {
    match name.strip_prefix('t').and_then(|number| number.parse().ok()) {
        Some(number) => ConfigRef::Hash(ordered(number)),
        None if name == "zeros" => ConfigRef::Hash(ConfigHash::ZEROS),
        None => ConfigRef::Hash(hash(name)),
    }
}

pub fn digest(name: &str) -> Digest {
    let hex: String = name.bytes().map(|byte| format!("{byte:02x}")).collect();
    format!("{hex:0>32}").parse().expect("a test's digest has a short name")
}

pub fn token(text: &str) -> Token {
    text.parse().expect("a test's token is well formed")
}

pub fn cohort(protocol: Protocol, gateway: &str) -> Scope {
    Scope { protocol: Some(protocol), gateway: gateway.parse().ok() }
}

pub fn v1() -> Scope {
    cohort(Protocol::V1, "3.9.1")
}

pub fn v2() -> Scope {
    cohort(Protocol::V2, "3.10.0.2")
}

pub fn of_cohort(scope: &Scope) -> Attributes {
    Attributes { protocol: scope.protocol, gateway_version: scope.gateway.clone(), ..Attributes::default() }
}

pub fn announced(token: &str, hashes: &[&str]) -> Announcement {
    Announcement {
        token: token.parse().ok(),
        hashes: hashes.iter().map(|name| (Scope::ANY, hash(name))).collect(),
        ..Announcement::default()
    }
}

pub fn withheld() -> SyncStatus {
    SyncStatus::Withheld { reason: WithheldReason::PluginSet, detail: None }
}

pub fn refusal(refused: Option<&str>) -> ApplyFailure {
    ApplyFailure { refused: refused.map(config), message: line("bad schema"), entity: None, field: None }
}

/// One control plane and a clock that is moved by hand.
#[derive(Clone)]
pub struct World {
    pub fleet: Fleet,
    pub policy: Policy,
    pub now: i64,
    /// All facts so far, those that were inferred too.
    pub facts: Vec<Fact>,
    /// What nodes ping every 30 s by push, while they are in here.
    pub pinging: BTreeMap<String, Report>,
}

impl World {
    pub fn new() -> Self {
        Self { fleet: Fleet::default(), policy: Policy::default(), now: 0, facts: Vec::new(), pinging: BTreeMap::new() }
    }

    /// A world in which heartbeats are listened to from the beginning.
    pub fn listening() -> Self {
        let mut world = Self::new();
        world.tell(Source::Push, What::Listening(Listening::Began { interval_ms: 30_000 }));
        world
    }

    pub fn cp() -> CpName {
        "prod".parse().expect("a name")
    }

    pub fn fact(&self, source: Source, what: What) -> Fact {
        Fact { at: t(self.now), recorded_at: t(self.now), control_plane: Self::cp(), source, what }
    }

    pub fn tell(&mut self, source: Source, what: What) -> Touched {
        self.observe(self.fact(source, what))
    }

    pub fn observe(&mut self, fact: Fact) -> Touched {
        let (inferred, touched) = self.fleet.observe_live(&fact, &self.policy);
        self.facts.extend(inferred);
        self.facts.push(fact);
        touched
    }

    pub fn word(&mut self, source: Source, scope: Scope, said: Said) {
        self.tell(source, What::Word(Box::new(Word { replica: None, scope, said })));
    }

    pub fn replica_word(&mut self, replica: &str, source: Source, scope: Scope, said: Said) {
        self.tell(source, What::Word(Box::new(Word { replica: Some(line(replica)), scope, said })));
    }

    pub fn expected(&mut self, name: &str) {
        self.word(Source::AdminApi, Scope::ANY, Said::Expected { config: config(name), token: None });
    }

    pub fn expected_of(&mut self, name: &str, of: &str) {
        self.word(Source::AdminApi, Scope::ANY, Said::Expected { config: config(name), token: Some(token(of)) });
    }

    pub fn announce(&mut self, said: Announcement) {
        self.word(Source::Push, Scope::ANY, Said::Announced(said));
    }

    pub fn notify(&mut self, number: u64) {
        self.word(Source::Tap, v2(), Said::Notified(ordered(number)));
    }

    pub fn same(&mut self, name: &str) {
        self.word(Source::Push, Scope::ANY, Said::Same { hash: hash(name), who: line("ann") });
    }

    pub fn framed(name: &str, content: Content) -> Said {
        let mode = SyncMode::Full;
        let plugins_changed = Vec::new();
        Said::Frame(Frame {
            config: config(name),
            offered_to: None,
            content,
            shape: None,
            mode,
            bytes: 1,
            plugins_changed,
            entities_changed: None,
        })
    }

    /// A frame whose behaviour digest is named like its hash.
    pub fn frame(&mut self, scope: &Scope, name: &str) {
        self.frame_with(scope, name, Content::Digest(digest(name)));
    }

    /// A frame that cannot be read.
    pub fn closed_frame(&mut self, scope: &Scope, name: &str) {
        self.frame_with(scope, name, Content::Unknown);
    }

    pub fn frame_with(&mut self, scope: &Scope, name: &str, content: Content) {
        self.word(Source::Shadow, scope.clone(), Self::framed(name, content));
    }

    pub fn template(name: &str) -> Content {
        Content::Template { digest: digest(name), paths: vec![line("routes.request_buffering")] }
    }

    /// A single report by push.
    pub fn ping(&mut self, node: &str, name: &str) {
        self.report(Source::Push, Report::of(node_id(node), config(name)));
    }

    pub fn report(&mut self, source: Source, report: Report) -> Touched {
        self.tell(source, What::Report(Box::new(report)))
    }

    /// The node runs this from now on, and says so at once and every 30 s.
    pub fn runs(&mut self, node: &str, name: &str) {
        let cohort = self.pinging.get(node).map(|report| report.attributes.clone());
        let report = Report { attributes: cohort.unwrap_or_default(), ..Report::of(node_id(node), config(name)) };
        self.starts(node, report);
    }

    pub fn runs_in(&mut self, node: &str, scope: &Scope, name: &str) {
        self.starts(node, Report { attributes: of_cohort(scope), ..Report::of(node_id(node), config(name)) });
    }

    pub fn starts(&mut self, node: &str, report: Report) {
        self.pinging.insert(node.into(), report.clone());
        self.report(Source::Push, report);
    }

    pub fn stops(&mut self, node: &str) {
        self.pinging.remove(node);
    }

    pub fn link(&mut self, node: &str, event: ConnectionEvent) {
        let connection = Connection { node: Some(node_id(node)), event, attributes: Attributes::default() };
        self.tell(Source::Tap, What::Connection(connection));
    }

    pub fn closes(&mut self, node: &str) {
        self.link(node, ConnectionEvent::Closed(line("gone")));
    }

    pub fn retires(&mut self, node: &str) {
        let retirement = Retirement { node: node_id(node), by: line("ann"), reason: None };
        self.tell(Source::Push, What::Retired(retirement));
    }

    /// Time passes, and who pings, pings at every full half minute.
    pub fn until(&mut self, ms: i64) -> &mut Self {
        assert!(ms >= self.now, "time does not go back");
        let pace = 30 * SECOND;
        let mut next = (self.now / pace + 1) * pace;
        while next <= ms {
            self.now = next;
            for report in self.pinging.clone().into_values() {
                self.report(Source::Push, report);
            }
            next += pace;
        }
        self.now = ms;
        self
    }

    pub fn passes(&mut self, ms: i64) -> &mut Self {
        self.until(self.now + ms)
    }

    pub fn control_plane(&self) -> &ControlPlane {
        self.fleet.control_plane(&Self::cp()).expect("something was told")
    }

    pub fn ledger(&self) -> &Ledger {
        &self.control_plane().ledger
    }

    pub fn head(&self) -> Option<u32> {
        self.ledger().head().map(|head| head.ordinal.number())
    }

    pub fn assessed(&self, node: &str, now: i64) -> Assessment {
        let control_plane = self.control_plane();
        let known = control_plane.node(&node_id(node)).expect("the node was heard of");
        control_plane.assess(known, &self.policy, t(now))
    }

    pub fn verdict(&self, node: &str) -> Verdict {
        self.assessed(node, self.now).verdict
    }

    pub fn state(&self, node: &str) -> ConfigState {
        self.verdict(node).config
    }

    pub fn state_of(&self, node: &str) -> ConfigWord {
        self.state(node).word()
    }

    pub fn connectivity(&self, node: &str) -> Connectivity {
        self.verdict(node).connectivity
    }

    pub fn has(&self, node: &str, overlay: Overlay) -> bool {
        self.verdict(node).overlays.has(overlay)
    }

    pub fn how(&self, node: &str) -> Option<CurrentBy> {
        match self.state(node) {
            ConfigState::Current { how, .. } => Some(how),
            _ => None,
        }
    }

    pub fn lost_cause(&self, node: &str) -> Option<UnrecognizedCause> {
        match self.state(node) {
            ConfigState::Unrecognized { cause, .. } => Some(cause),
            _ => None,
        }
    }

    pub fn verdicts(&self) -> BTreeMap<String, Verdict> {
        let assessed = self.fleet.assess(&self.policy, t(self.now));
        assessed.map(|(_, node, assessment)| (node.id.to_string(), assessment.verdict)).collect()
    }

    pub fn tally(&self) -> Tally {
        let mut tally = Tally::default();
        self.verdicts().values().for_each(|verdict| tally.add(verdict));
        tally
    }

    pub fn count(&self, word: ConfigWord) -> u32 {
        self.tally().config(word)
    }

    pub fn notices(&self) -> Vec<Notice> {
        let verdicts = self.verdicts();
        let counted = verdicts.values().filter(|verdict| verdict.counter().is_some());
        notices(self.control_plane(), counted.copied(), &self.policy, t(self.now)).0
    }
}
