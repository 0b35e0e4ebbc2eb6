//! A front door over a fixture: one control plane, two nodes, and a writer that keeps what it is given.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use parking_lot::Mutex;
use tidemark_app::api::{Answer, ApiError, FleetApi, Paging};
use tidemark_domain::analytics::{Last, NodeTraffic, ResourcesView, TrafficQuestion, TrafficView, UsageView};
use tidemark_domain::fact::{Attributes, Declaration, Fact, Source, What};
use tidemark_domain::id::{CpName, NodeId, Ordinal};
use tidemark_domain::time::Timestamp;
use tidemark_domain::verdict::{
    BehindCause, ConfigState, ConfigWord, ConnectionWord, Connectivity, Counter, CurrentBy, Overlay, Overlays, Verdict,
};
use tidemark_domain::view::{
    AsOf, ControlPlaneView, Count, FleetView, HistoryView, Moment, NodeRow, NodeView, NodesView, Proof, Propagation,
    VersionRow, VersionView, VersionsView,
};
use tidemark_server::board::Revision;
use tidemark_server::clock::Clock;
use tidemark_server::http::assets::Assets;
use tidemark_server::http::auth::Tokens;
use tidemark_server::http::health::Readiness;
use tidemark_server::http::router::router;
use tidemark_server::http::{Door, DoorLimits};
use tidemark_server::ingest::{Committed, Ingest, Remembered, Submission, SubmitError};
use tidemark_server::metrics::fleet::{ControlPlaneFigures, Figures, FleetFigures, LagHistogram};
use tidemark_server::metrics::process::Counted;
use tidemark_server::service::{ControlPlanes, Health, Memory, Parts, Recordings, Remembering};
use tidemark_server::sources::Sources;
use tidemark_server::store::Taken;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

/// The moment at which the fixture's clock starts.
pub const NOW: Timestamp = Timestamp::from_ms(1_795_164_837_000);

/// What the fixture knows and keeps.
#[derive(Default)]
pub struct Kept {
    pub facts: Vec<Fact>,
    pub remembered: Vec<Remembered>,
    pub declared: Vec<(CpName, Declaration)>,
    pub taken: Vec<Taken>,
    /// Names that reports made up.
    pub undeclared: Vec<CpName>,
    /// What the writer answers instead of storing.
    pub failing: Option<SubmitError>,
    pub asked: Vec<Moment>,
}

/// The fixture's fleet.
#[derive(Clone)]
pub struct Fixture {
    pub kept: Arc<Mutex<Kept>>,
    clock: Clock,
}

/// A front door and what is behind it.
pub struct House {
    pub door: Router,
    pub fixture: Fixture,
    pub revise: watch::Sender<Revision>,
    pub closing: CancellationToken,
}

/// How a house is built.
pub struct Plan {
    pub clock: Clock,
    pub tokens: Option<Tokens>,
    pub limits: DoorLimits,
    /// Without one, the queue fills up.
    pub writer: bool,
    pub ready: bool,
}

impl Default for Plan {
    fn default() -> Self {
        Self { clock: Clock::by_hand(NOW), tokens: None, limits: DoorLimits::default(), writer: true, ready: true }
    }
}

impl Plan {
    /// The parts of a service over the fixture. Needs a runtime.
    pub fn parts(&self) -> (Parts, Fixture, watch::Sender<Revision>) {
        let fixture = Fixture { kept: Arc::default(), clock: self.clock.clone() };
        let ingest = if self.clock.is_held() {
            Ingest::shut()
        } else {
            let (ingest, queue) = Ingest::queue();
            if self.writer {
                tokio::spawn(write(queue, fixture.clone()));
            } else {
                // The queue stays open, and nobody takes from it.
                std::mem::forget(queue);
            }
            ingest
        };
        let (revise, revisions) = watch::channel(Revision { number: 1, at: NOW });
        let parts = Parts {
            clock: self.clock.clone(),
            ingest,
            fleet: Arc::new(fixture.clone()),
            telemetry: None,
            figures: Arc::new(fixture.clone()),
            control_planes: Arc::new(fixture.clone()),
            memory: Arc::new(fixture.clone()),
            recordings: Arc::new(fixture.clone()),
            health: Arc::new(Ready(self.ready)),
            sources: Sources::default(),
            revisions,
            demo: false,
            counted: Counted::default(),
            closing: CancellationToken::new(),
        };
        (parts, fixture, revise)
    }

    /// Builds it.
    pub fn build(self) -> House {
        let (parts, fixture, revise) = self.parts();
        let assets = Assets::load();
        let closing = parts.closing.clone();
        let options = assets.leptos_options(([127, 0, 0, 1], 0).into());
        let door = Door::new(parts, self.tokens, self.limits, options);
        House { door: router(door, &assets), fixture, revise, closing }
    }
}

/// The writer: keeps facts and answers, knows the control planes that they name.
async fn write(mut queue: mpsc::Receiver<Submission>, fixture: Fixture) {
    while let Some(submission) = queue.recv().await {
        let mut kept = fixture.kept.lock();
        let answer = match kept.failing {
            Some(error) => Err(error),
            None => {
                for fact in &submission.facts {
                    let name = fact.control_plane.clone();
                    match &fact.what {
                        What::Declared(declaration) => {
                            kept.undeclared.retain(|known| *known != name);
                            kept.declared.push((name, (**declaration).clone()));
                        }
                        _ if !fixture.known(&kept, &name) => kept.undeclared.push(name),
                        _ => {}
                    }
                }
                kept.facts.extend(submission.facts);
                kept.remembered.extend(submission.remember);
                kept.taken.extend(submission.taken);
                Ok(Committed { sequence: 1 })
            }
        };
        drop(kept);
        let _ = submission.done.send(answer);
    }
}

/// An answer as tests read it.
pub struct Said {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: String,
}

impl Said {
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("ASCII"))
    }

    /// The field that a problem names.
    pub fn field(&self) -> String {
        self.json()["field"].as_str().unwrap_or("").to_owned()
    }
}

impl House {
    pub async fn send(&self, request: Request<Body>) -> Said {
        let response = self.door.clone().oneshot(request).await.expect("a router always answers");
        let (parts, body) = response.into_parts();
        let body = axum::body::to_bytes(body, 64 << 20).await.expect("a body that ends");
        Said { status: parts.status, headers: parts.headers, body: String::from_utf8(body.to_vec()).expect("UTF-8") }
    }

    pub async fn get(&self, path: &str) -> Said {
        self.send(Request::get(path).body(Body::empty()).expect("a request")).await
    }

    pub async fn tell(&self, method: &str, path: &str, body: impl Into<Body>) -> Said {
        self.send(telling(method, path).body(body.into()).expect("a request")).await
    }

    pub async fn keyed(&self, path: &str, key: &str, body: &'static str) -> Said {
        let request = telling("POST", path).header("idempotency-key", key);
        self.send(request.body(body.into()).expect("a request")).await
    }

    pub fn facts(&self) -> Vec<Fact> {
        self.fixture.kept.lock().facts.clone()
    }
}

pub fn telling(method: &str, path: &str) -> axum::http::request::Builder {
    Request::builder().method(method).uri(path).header("content-type", "application/json")
}

struct Ready(bool);

impl Health for Ready {
    fn readiness(&self) -> Readiness {
        Readiness { board: self.0, ..Readiness::FULL }
    }
}

pub fn cp(name: &str) -> CpName {
    name.parse().expect("a name")
}

impl Fixture {
    fn known(&self, kept: &Kept, name: &CpName) -> bool {
        name.as_str() == "prod"
            || kept.undeclared.contains(name)
            || kept.declared.iter().any(|(known, _)| known == name)
    }

    fn as_of(&self, moment: Moment) -> AsOf {
        self.kept.lock().asked.push(moment);
        AsOf {
            at: moment.at.unwrap_or(self.clock.now()),
            revision: if moment.at.is_some() { 0 } else { 1 },
            past: moment.at.is_some(),
            held: self.clock.is_held(),
        }
    }

    pub fn row(id: &str) -> NodeRow {
        let behind = id == "n2";
        let since = NOW.plus(-600_000);
        let config = if behind {
            ConfigState::Behind { running: Ordinal::new(9), behind: 1, since, cause: BehindCause::NotReached }
        } else {
            ConfigState::Current { running: Ordinal::new(10), how: CurrentBy::Version, since }
        };
        NodeRow {
            control_plane: cp("prod"),
            id: id.parse().expect("an id"),
            attributes: Attributes {
                hostname: Some("pod-1".parse().expect("a line")),
                gateway_version: Some("3.9.1".parse().expect("a version")),
                ..Attributes::default()
            },
            verdict: Verdict {
                connectivity: Connectivity::Connected { since },
                config,
                overlays: Overlays::NONE.with_if(behind, Overlay::ClockSkew),
            },
            headline: format!("{id} is here"),
            evidence: "it said so".into(),
            reported: Some(
                "6de1944179b6c16febb0a724310a4d49".parse().map(tidemark_domain::fact::ConfigRef::Hash).expect("a hash"),
            ),
            last_report_at: Some(NOW),
            last_report_estimated: false,
            source: Some(Source::Push),
            suspicious_since: None,
        }
    }

    fn version(ordinal: u32) -> VersionRow {
        VersionRow {
            control_plane: cp("prod"),
            ordinal: Ordinal::new(ordinal),
            token: Some("release-42".parse().expect("a token")),
            published_at: NOW.plus(-600_000),
            recorded_at: NOW.plus(-600_000),
            cause: "merge #812".into(),
            entered_by: "announced".into(),
            changeset: Ordinal::new(ordinal),
            no_op: false,
            reverts_to: None,
            is_head: ordinal == 10,
            running: 1,
            reached: 1,
            nodes: 2,
        }
    }

    fn control_plane() -> ControlPlaneView {
        ControlPlaneView {
            name: cp("prod"),
            display_name: None,
            cluster_id: None,
            undeclared: false,
            inferred: false,
            head: Some(Self::version(10)),
            nodes: 2,
            at_head: 1,
            counters: Self::counters(),
            worst: Some(Self::row("n2")),
            last_word_at: Some(NOW),
            content_not_watched: true,
            sources: Vec::new(),
        }
    }

    fn counters() -> Vec<Count<Counter>> {
        let nodes = |counter| u32::from(matches!(counter, Counter::Behind | Counter::Current));
        Counter::ALL.map(|of| Count { of, nodes: nodes(of) }).to_vec()
    }
}

fn found<T: Send + 'static>(value: T) -> Answer<'static, T> {
    Box::pin(async move { Ok(value) })
}

fn missing<T: Send + 'static>(what: &str) -> Answer<'static, T> {
    let what = format!("there is no {what}");
    Box::pin(async move { Err(ApiError::NotFound(what)) })
}

impl FleetApi for Fixture {
    fn node_traffic(&self, _: CpName, _: NodeId, _: Moment) -> Answer<'_, Option<NodeTraffic>> {
        Box::pin(async { Ok(None) })
    }

    fn usage(&self, _: Moment) -> Answer<'_, UsageView> {
        Box::pin(async { Err(ApiError::Unavailable("no telemetry is kept here".to_owned())) })
    }

    fn resources(&self, _: CpName, _: NodeId, _: Last, _: Moment) -> Answer<'_, ResourcesView> {
        Box::pin(async { Err(ApiError::Unavailable("no telemetry is kept here".to_owned())) })
    }

    fn traffic(&self, _: TrafficQuestion, _: Moment) -> Answer<'_, TrafficView> {
        Box::pin(async { Err(ApiError::Unavailable("no telemetry is kept here".to_owned())) })
    }

    fn fleet(&self, moment: Moment) -> Answer<'_, FleetView> {
        let nodes = |word| u32::from(matches!(word, ConfigWord::Behind | ConfigWord::Current));
        found(FleetView {
            as_of: self.as_of(moment),
            sentence: "1 of 2 nodes is behind".into(),
            nodes: 2,
            counters: Self::counters(),
            config_states: ConfigWord::ALL.map(|of| Count { of, nodes: nodes(of) }).to_vec(),
            connection_states: ConnectionWord::ALL
                .map(|of| Count { of, nodes: if of == ConnectionWord::Connected { 2 } else { 0 } })
                .to_vec(),
            current_by_alias: 0,
            out_of_sync_by_hash: 1,
            control_planes: vec![Self::control_plane()],
            notices: Vec::new(),
            worst: vec![Self::row("n2")],
        })
    }

    fn nodes(&self, question: String, paging: Paging, moment: Moment) -> Answer<'_, NodesView> {
        if question == "panic" {
            panic!("the question asked for it");
        }
        if question == "secret" {
            return Box::pin(async { Err(ApiError::Internal("select * from secret".into())) });
        }
        if question == "slow" {
            return Box::pin(std::future::pending());
        }
        found(NodesView {
            as_of: self.as_of(moment),
            query: question,
            problems: Vec::new(),
            total: 2,
            rows: vec![Self::row("n2"), Self::row("n1")],
            next: paging.size.map(|size| format!("after-{size}")),
            facets: Vec::new(),
            common: Vec::new(),
        })
    }

    fn node(&self, control_plane: CpName, id: NodeId, moment: Moment) -> Answer<'_, NodeView> {
        if control_plane.as_str() != "prod" || !["n1", "n2"].contains(&id.as_str()) {
            return missing("such node");
        }
        found(NodeView {
            as_of: self.as_of(moment),
            row: Self::row(id.as_str()),
            rule: "4.5 behind".into(),
            proof: Proof::default(),
            running: Some(Self::version(9)),
            head: Some(Self::version(10)),
            expected: None,
            failure: None,
            twins: Vec::new(),
            clock_skew_ms: None,
        })
    }

    fn history(&self, control_plane: CpName, _: NodeId, _: Paging, moment: Moment) -> Answer<'_, HistoryView> {
        if control_plane.as_str() != "prod" {
            return missing("such node");
        }
        found(HistoryView {
            as_of: self.as_of(moment),
            intervals: Vec::new(),
            events: Vec::new(),
            reached: Vec::new(),
            next: None,
        })
    }

    fn control_planes(&self, moment: Moment) -> Answer<'_, Vec<ControlPlaneView>> {
        self.as_of(moment);
        found(vec![Self::control_plane()])
    }

    fn versions(&self, control_plane: CpName, _: Paging, moment: Moment) -> Answer<'_, VersionsView> {
        if control_plane.as_str() != "prod" {
            return missing("such control plane");
        }
        found(VersionsView {
            as_of: self.as_of(moment),
            control_plane,
            inferred: false,
            rows: vec![Self::version(10), Self::version(9)],
            next: None,
            unresolved: 0,
        })
    }

    fn version(&self, control_plane: CpName, ordinal: Ordinal, moment: Moment) -> Answer<'_, VersionView> {
        if control_plane.as_str() != "prod" || ![9, 10].contains(&ordinal.number()) {
            return missing("such version");
        }
        found(VersionView {
            as_of: self.as_of(moment),
            row: Self::version(ordinal.number()),
            hashes: Vec::new(),
            shape: None,
            change: None,
            plugins_changed: Vec::new(),
            entities_changed: None,
            changed_since: None,
            propagation: Propagation::default(),
            curve: None,
            cohorts: Vec::new(),
        })
    }
}

impl FleetFigures for Fixture {
    fn figures(&self) -> Figures {
        let mut prod = ControlPlaneFigures::empty(cp("prod"));
        prod.nodes.add(ConfigWord::Behind, ConnectionWord::Connected);
        prod.nodes.add(ConfigWord::Current, ConnectionWord::Connected);
        prod.nodes.add(ConfigWord::Current, ConnectionWord::Gone);
        prod.behind_changesets_max = 1;
        let mut lags = LagHistogram::default();
        lags.observe(2_000);
        prod.propagation = lags;
        Figures { as_of: self.clock.now(), revision: 1, control_planes: vec![prod], store_bytes: Some(4_096) }
    }
}

impl ControlPlanes for Fixture {
    fn is_known(&self, name: &CpName) -> bool {
        self.known(&self.kept.lock(), name)
    }

    fn listens(&self, _: &CpName, _: Source) -> bool {
        true
    }

    fn undeclared(&self) -> usize {
        self.kept.lock().undeclared.len()
    }

    fn declaration(&self, name: &CpName) -> Option<Declaration> {
        let kept = self.kept.lock();
        kept.declared.iter().rev().find(|(known, _)| known == name).map(|(_, declaration)| declaration.clone())
    }
}

impl Recordings for Fixture {
    fn taken(&self, first_digest: String) -> Answer<'_, Option<Taken>> {
        found(self.kept.lock().taken.iter().rev().find(|taken| taken.first_digest == first_digest).cloned())
    }

    fn newest_word_at(&self, control_plane: CpName) -> Answer<'_, Option<Timestamp>> {
        found((control_plane.as_str() == "prod").then_some(NOW))
    }
}

impl Memory for Fixture {
    fn remembered(&self, key: String) -> Remembering<'_> {
        let found = self.kept.lock().remembered.iter().find(|kept| kept.key == key).cloned();
        Box::pin(async move { Ok(found) })
    }
}
