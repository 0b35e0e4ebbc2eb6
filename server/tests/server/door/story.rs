//! A story: one control plane, nodes that report by themselves while time passes, and questions about the outcome.

use super::kong::Kong;
use super::{App, hash};
use axum::http::Method;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use tidemark_domain::fact::{Fact, Source, What};
use tidemark_domain::time::Timestamp;

pub const SECOND: i64 = 1_000;
pub const MINUTE: i64 = 60 * SECOND;
pub const HOUR: i64 = 60 * MINUTE;

/// What Kong's nodes do (`kong-hybrid.md` 1.7).
const PING_EVERY: i64 = 30 * SECOND;

/// How a node reports.
enum Reporter {
    /// `POST /api/v1/heartbeats` with these fields.
    Push(Value),
    /// Pings of protocol v1 that a tap sees, with this hash.
    Tap(String),
}

pub struct Story {
    pub app: App,
    pub cp: String,
    pub kong: Kong,
    reporters: BTreeMap<String, Reporter>,
    ping_at: Timestamp,
}

/// `node-0`, `node-1`, …
pub fn names(count: usize) -> impl Iterator<Item = String> {
    (0..count).map(|number| format!("node-{number}"))
}

impl Story {
    pub async fn begin() -> Self {
        Self::of(App::start().await)
    }

    fn of(app: App) -> Self {
        let ping_at = app.now().plus(PING_EVERY);
        Self { app, cp: "eu".to_owned(), kong: Kong::new("eu"), reporters: BTreeMap::new(), ping_at }
    }

    pub fn now(&self) -> Timestamp {
        self.app.now()
    }

    // What is told.

    /// `POST …/versions`.
    pub async fn announces(&self, body: Value) {
        self.app.tell(Method::POST, &format!("/api/v1/control-planes/{}/versions", self.cp), body).await;
    }

    /// `PUT …/expected`.
    pub async fn expects(&self, body: Value) {
        self.app.tell(Method::PUT, &format!("/api/v1/control-planes/{}/expected", self.cp), body).await;
    }

    /// `PATCH /api/v1/control-planes/{cp}`.
    pub async fn declares(&self, body: Value) {
        self.app.tell(Method::PATCH, &format!("/api/v1/control-planes/{}", self.cp), body).await;
    }

    /// A node pushes that it runs this, and goes on to.
    pub async fn runs(&mut self, node: &str, number: u32) {
        self.reports(node, json!({"hash": hash(number)})).await;
    }

    /// A node pushes a report with these fields, and goes on to.
    pub async fn reports(&mut self, node: &str, fields: Value) {
        let report = self.will_report(node, fields);
        self.app.heartbeats(vec![report]).await;
    }

    /// Many nodes push the same.
    pub async fn all_report(&mut self, nodes: impl Iterator<Item = String>, fields: &Value) {
        let reports = nodes.map(|node| self.will_report(&node, fields.clone())).collect();
        self.app.heartbeats(reports).await;
    }

    fn will_report(&mut self, node: &str, fields: Value) -> Value {
        let mut report = fields;
        report["control_plane"] = json!(self.cp);
        report["node_id"] = json!(node);
        self.reporters.insert(node.to_owned(), Reporter::Push(report.clone()));
        report
    }

    /// A node connects where a tap sees it, gets a configuration, and repeats its hash from then on.
    pub async fn taps(&mut self, node: &str, gateway: &str, table: &Value, hash: &str) {
        let now = self.now();
        let mut facts = self.kong.dials(now, node, gateway);
        facts.extend(self.kong.sends(now, node, table, hash));
        facts.extend(self.kong.pings(now, node, hash));
        self.reporters.insert(node.to_owned(), Reporter::Tap(hash.to_owned()));
        self.app.submit(facts).await;
    }

    /// The control plane sends a configuration to a node that a tap watches.
    pub async fn sends(&mut self, node: &str, table: &Value, hash: &str) {
        let now = self.now();
        let facts = self.kong.sends(now, node, table, hash);
        self.app.submit(facts).await;
    }

    /// The same, and the node takes it.
    pub async fn pushes(&mut self, node: &str, table: &Value, hash: &str) {
        self.sends(node, table, hash).await;
        let now = self.now();
        let facts = self.kong.pings(now, node, hash);
        self.reporters.insert(node.to_owned(), Reporter::Tap(hash.to_owned()));
        self.app.submit(facts).await;
    }

    /// The control plane pushes a configuration to a shadow.
    pub async fn shadow_hears(&mut self, gateway: &str, table: &Value, hash: &str) {
        let now = self.now();
        let facts = self.kong.sends_to_shadow(now, gateway, table, hash);
        assert!(!facts.is_empty(), "a frame is a word");
        self.app.submit(facts).await;
    }

    /// An API of Kong is asked.
    pub async fn asks(&mut self, url: &str, answer: Option<(u16, Value)>) {
        let now = self.now();
        let facts = self.kong.answers(now, url, answer);
        self.app.submit(facts).await;
    }

    /// The end of a tapped connection.
    pub async fn closes(&mut self, node: &str) {
        let now = self.now();
        self.stops(node);
        let facts = self.kong.closes(now, node);
        self.app.submit(facts).await;
    }

    /// A fact that nothing above can say.
    pub async fn fact(&self, source: Source, what: What) {
        let now = self.now();
        let control_plane = self.cp.parse().expect("a name");
        self.app.submit(vec![Fact { at: now, recorded_at: now, control_plane, source, what }]).await;
    }

    /// A node says nothing any more.
    pub fn stops(&mut self, node: &str) {
        self.reporters.remove(node);
    }

    /// Nobody says anything any more.
    pub fn all_stop(&mut self) {
        self.reporters.clear();
    }

    // Time.

    /// Time passes, and nodes report meanwhile.
    pub async fn passes(&mut self, span_ms: i64) {
        let until = self.now().plus(span_ms);
        while self.ping_at <= until {
            self.app.clock.advance(self.ping_at.since(self.now()));
            self.ping_at = self.ping_at.plus(PING_EVERY);
            self.ping().await;
        }
        self.app.advance(until.since(self.now())).await;
    }

    pub async fn until(&mut self, moment: Timestamp) {
        self.passes(moment.since(self.now())).await;
    }

    async fn ping(&mut self) {
        let now = self.now();
        let (mut reports, mut facts) = (Vec::new(), Vec::new());
        for (node, reporter) in &self.reporters {
            match reporter {
                Reporter::Push(report) => reports.push(report.clone()),
                Reporter::Tap(hash) => facts.extend(self.kong.pings(now, node, hash)),
            }
        }
        if !reports.is_empty() {
            self.app.heartbeats(reports).await;
        }
        if !facts.is_empty() {
            self.app.submit(facts).await;
        }
    }

    /// The service stops, and starts again on the same database.
    pub async fn restarts(self) -> Self {
        let Self { app, cp, kong, reporters, ping_at } = self;
        Self { app: app.restart().await, cp, kong, reporters, ping_at }
    }

    // What is answered.

    pub async fn fleet(&self) -> Value {
        self.app.get("/api/v1/fleet").await
    }

    /// A node and its verdict.
    pub async fn node(&self, id: &str) -> Value {
        self.app.get(&format!("/api/v1/nodes/{}/{id}", self.cp)).await["node"].clone()
    }

    /// `current`, `behind`, …
    pub async fn state(&self, id: &str) -> String {
        word(&self.node(id).await["config_state"])
    }

    /// Nodes by the state of their configuration, those that there are.
    pub async fn states(&self) -> BTreeMap<String, u64> {
        some(&self.fleet().await["config_states"])
    }

    /// The five counters, those that are not zero; they add up.
    pub async fn counters(&self) -> BTreeMap<String, u64> {
        let fleet = self.fleet().await;
        let counters = some(&fleet["counters"]);
        assert_eq!(counters.values().sum::<u64>(), fleet["nodes"].as_u64().expect("a number"), "{fleet}");
        counters
    }

    /// What is said of control planes: kind, severity, nodes.
    pub async fn notices(&self) -> Vec<(String, String, u64)> {
        let fleet = self.fleet().await;
        let notices = fleet["notices"].as_array().expect("notices").iter();
        let notice = |notice: &Value| {
            let sentence = notice["sentence"].as_str().expect("a sentence");
            assert!((1..=160).contains(&sentence.chars().count()), "{sentence}");
            (word(&notice["kind"]), word(&notice["severity"]), notice["nodes"].as_u64().expect("a number"))
        };
        notices.map(notice).collect()
    }
}

/// A word of an answer.
#[track_caller]
pub fn word(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("not a word: {value}")).to_owned()
}

fn some(counts: &Value) -> BTreeMap<String, u64> {
    let counts = counts.as_object().expect("counts").iter();
    counts
        .map(|(word, count)| (word.clone(), count.as_u64().expect("a number")))
        .filter(|(_, count)| *count > 0)
        .collect()
}

/// `[("current", 200)]` as [`Story::states`] has it.
pub fn counts<const N: usize>(pairs: [(&str, u64); N]) -> BTreeMap<String, u64> {
    pairs.into_iter().map(|(word, count)| (word.to_owned(), count)).collect()
}

/// `[("expected_moved_without_change", "ticket", 200)]` as [`Story::notices`] has it.
pub fn said<const N: usize>(notices: [(&str, &str, u64); N]) -> Vec<(String, String, u64)> {
    notices.into_iter().map(|(kind, severity, nodes)| (kind.to_owned(), severity.to_owned(), nodes)).collect()
}
