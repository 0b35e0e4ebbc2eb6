//! What this process did, counted as it happens.

use std::fmt;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use crate::ingest::{Ingest, QUEUE_MAX};

/// The counts of this process; clones count together.
#[derive(Clone, Debug)]
pub struct Counted {
    reports: Family<ReportLabels, Counter>,
    facts: Counter,
    commits: Counter,
    commits_failed: Counter,
    commit_seconds: Histogram,
    requests: Family<RequestLabels, Counter>,
    panics: Counter,
    subscribers: Gauge,
}

/// What became of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReportResult {
    /// In the store.
    Stored,
    /// Wrong, by itself.
    Refused,
    /// Good, but the queue was full or the store failed.
    TurnedAway,
}

impl EncodeLabelValue for ReportResult {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        let word = match self {
            Self::Stored => "stored",
            Self::Refused => "refused",
            Self::TurnedAway => "turned_away",
        };
        EncodeLabelValue::encode(&word, encoder)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReportLabels {
    result: ReportResult,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    route: String,
    status: &'static str,
}

/// Classes of HTTP statuses.
const STATUS_CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// The route of a request that matched none.
pub const NO_ROUTE: &str = "other";

/// Seconds of a commit: from a group of one fact on a fast disk to a disk that hangs.
const COMMIT_BOUNDS: [f64; 10] = [0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0];

impl Default for Counted {
    fn default() -> Self {
        let reports = Family::default();
        for result in [ReportResult::Stored, ReportResult::Refused, ReportResult::TurnedAway] {
            let _: &Counter = &reports.get_or_create(&ReportLabels { result });
        }
        Self {
            reports,
            facts: Counter::default(),
            commits: Counter::default(),
            commits_failed: Counter::default(),
            commit_seconds: Histogram::new(COMMIT_BOUNDS),
            requests: Family::default(),
            panics: Counter::default(),
            subscribers: Gauge::default(),
        }
    }
}

impl Counted {
    /// The writer committed a group of facts.
    pub fn committed(&self, facts: usize, took: Duration) {
        self.facts.inc_by(u64::try_from(facts).unwrap_or(u64::MAX));
        self.commits.inc();
        self.commit_seconds.observe(took.as_secs_f64());
    }

    /// A commit failed; nothing of its group is stored.
    pub fn commit_failed(&self) {
        self.commits_failed.inc();
    }

    /// So many pushed reports ended so.
    pub fn reports(&self, result: ReportResult, count: usize) {
        let labels = ReportLabels { result };
        self.reports.get_or_create(&labels).inc_by(u64::try_from(count).unwrap_or(u64::MAX));
    }

    /// Every route that is counted, with all classes at zero.
    pub(crate) fn routes<'a>(&self, routes: impl Iterator<Item = &'a str>) {
        for route in routes.chain([NO_ROUTE]) {
            for status in STATUS_CLASSES {
                let route = route.to_owned();
                let _: &Counter = &self.requests.get_or_create(&RequestLabels { route, status });
            }
        }
    }

    /// A request was answered.
    pub(crate) fn answered(&self, route: &str, status: u16) {
        let status = STATUS_CLASSES[usize::from((status / 100).clamp(1, 5) - 1)];
        let route = route.to_owned();
        self.requests.get_or_create(&RequestLabels { route, status }).inc();
    }

    /// A handler panicked, and its caller got a 500.
    pub(crate) fn panicked(&self) {
        self.panics.inc();
    }

    /// A subscriber to live events came (`1`) or went (`-1`).
    pub(crate) fn subscribers(&self, change: i64) {
        self.subscribers.inc_by(change);
    }

    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register("ingest_reports", "Pushed reports by what became of them", self.reports.clone());
        registry.register("ingest_facts", "Facts that were stored, from every source", self.facts.clone());
        registry.register("store_commits", "Commits of the one writer", self.commits.clone());
        registry.register("store_commits_failed", "Commits that failed", self.commits_failed.clone());
        registry.register_with_unit(
            "store_commit",
            "Seconds that a commit took",
            Unit::Seconds,
            self.commit_seconds.clone(),
        );
        registry.register("http_requests", "Requests by route and class of status", self.requests.clone());
        registry.register("http_panics", "Requests that ended in a panic", self.panics.clone());
        registry.register("event_subscribers", "Subscribers to live events", self.subscribers.clone());
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "The build that runs", build);
    }
}

/// What waits for the writer now.
#[derive(Debug)]
pub(crate) struct QueueCollector(pub(crate) Ingest);

impl Collector for QueueCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut one = |name, help, value: usize| {
            let value = u64::try_from(value).unwrap_or(u64::MAX);
            encoder.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(&value)
        };
        one("ingest_queue_waiting", "Submissions that wait for the writer.", self.0.waiting())?;
        one("ingest_queue_max", "Submissions that may wait for the writer.", QUEUE_MAX)
    }
}
