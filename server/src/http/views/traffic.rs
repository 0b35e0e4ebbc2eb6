//! Answers about traffic. Latencies are in milliseconds, shares from 0 to 1.

use serde::Serialize;
use tidemark_domain::analytics;
use utoipa::ToSchema;

use super::Time;

/// Traffic of a range.
#[derive(Debug, Serialize, ToSchema)]
pub struct Traffic {
    /// The moment that the answer describes.
    pub as_of: Time,
    /// From when.
    pub from: Time,
    /// Before when.
    pub to: Time,
    /// What it is split by.
    pub by: String,
    /// The answer in words.
    pub sentence: String,
    /// All of it.
    pub total: Totals,
    /// The same of the period before, as long; null where that is not kept.
    pub before: Option<Totals>,
    /// By what was asked, most requests first; at most 100.
    pub rows: Vec<TrafficRow>,
    /// Rows beyond those.
    pub left_out: u32,
    /// Seconds of each point.
    pub step_seconds: i64,
    /// Over time.
    pub points: Vec<TrafficPoint>,
    /// Requests of the range that belong to no control plane that is known.
    pub unattributed: u64,
}

/// What requests add up to. Latencies are in milliseconds, at most 1 % off, and null where none were told.
#[derive(Debug, Serialize, ToSchema)]
pub struct Totals {
    /// Requests.
    pub requests: u64,
    /// Those that failed here (5xx).
    pub errors: u64,
    /// The share of those; null without requests.
    pub error_share: Option<f64>,
    /// Those that failed at the client's side (4xx).
    pub client_errors: u64,
    /// Bytes that clients sent.
    pub bytes_in: u64,
    /// Bytes that clients got.
    pub bytes_out: u64,
    /// Half of the requests took no longer.
    pub p50_ms: Option<f64>,
    /// 95 % took no longer.
    pub p95_ms: Option<f64>,
    /// 99 % took no longer.
    pub p99_ms: Option<f64>,
    /// What the gateway took of that in 95 % of the requests.
    pub gateway_p95_ms: Option<f64>,
    /// What the upstream took of that in 95 % of those that went to one.
    pub upstream_p95_ms: Option<f64>,
}

/// A row of the answer.
#[derive(Debug, Serialize, ToSchema)]
pub struct TrafficRow {
    /// Its name; null for requests without one.
    pub name: Option<String>,
    /// The control plane, where the name is only its own.
    pub control_plane: Option<String>,
    /// More about it: a hostname.
    pub detail: Option<String>,
    /// Its share of all requests.
    pub share: f64,
    /// What its requests add up to.
    pub totals: Totals,
}

/// A point of the series.
#[derive(Debug, Serialize, ToSchema)]
pub struct TrafficPoint {
    /// From when.
    pub at: Time,
    /// Null: nothing was told of that time, which is not the same as no requests.
    pub totals: Option<Totals>,
}

#[expect(clippy::cast_precision_loss, reason = "microseconds and millionths are far below 2^53")]
fn scaled(number: u64, by: f64) -> f64 {
    number as f64 / by
}

impl From<analytics::Totals> for Totals {
    fn from(of: analytics::Totals) -> Self {
        let ms = |us: Option<u64>| us.map(|us| scaled(us, 1_000.0));
        Self {
            error_share: of.error_ppm().map(|ppm| scaled(ppm, 1_000_000.0)),
            requests: of.requests,
            errors: of.errors,
            client_errors: of.client_errors,
            bytes_in: of.bytes_in,
            bytes_out: of.bytes_out,
            p50_ms: ms(of.p50_us),
            p95_ms: ms(of.p95_us),
            p99_ms: ms(of.p99_us),
            gateway_p95_ms: ms(of.gateway_p95_us),
            upstream_p95_ms: ms(of.upstream_p95_us),
        }
    }
}

impl From<analytics::TrafficView> for Traffic {
    fn from(view: analytics::TrafficView) -> Self {
        let row = |row: analytics::TrafficRow| TrafficRow {
            name: Some(row.name).filter(|name| !name.is_empty()),
            control_plane: row.control_plane,
            detail: row.detail,
            share: scaled(row.share_ppm, 1_000_000.0),
            totals: row.totals.into(),
        };
        let point =
            |point: analytics::TrafficPoint| TrafficPoint { at: Time(point.at), totals: point.totals.map(Into::into) };
        Self {
            as_of: Time(view.as_of.at),
            from: Time(view.from),
            to: Time(view.to),
            by: view.question.by.word().to_owned(),
            sentence: view.sentence,
            total: view.total.into(),
            before: view.before.map(Into::into),
            rows: view.rows.into_iter().map(row).collect(),
            left_out: view.left_out,
            step_seconds: view.step_ms / 1_000,
            points: view.points.into_iter().map(point).collect(),
            unattributed: view.unattributed,
        }
    }
}

/// What one node uses over a range.
#[derive(Debug, Serialize, ToSchema)]
pub struct Resources {
    /// The moment that the answer describes.
    pub as_of: Time,
    /// From when.
    pub from: Time,
    /// Before when.
    pub to: Time,
    /// Seconds of each point.
    pub step_seconds: i64,
    /// By name.
    pub resources: Vec<Resource>,
}

/// One thing that a node uses.
#[derive(Debug, Serialize, ToSchema)]
pub struct Resource {
    /// Its name, with its unit: `memory_workers_bytes`.
    pub name: String,
    /// One for each step, from the first on; null where nothing was told.
    pub points: Vec<Option<ResourcePoint>>,
}

/// Samples of one step.
#[derive(Debug, Serialize, ToSchema)]
pub struct ResourcePoint {
    /// The least of them.
    pub least: u64,
    /// Their mean.
    pub mean: u64,
    /// The most of them.
    pub most: u64,
}

impl From<analytics::ResourcesView> for Resources {
    fn from(view: analytics::ResourcesView) -> Self {
        let point =
            |point: analytics::ResourcePoint| ResourcePoint { least: point.least, mean: point.mean, most: point.most };
        let resource = |series: analytics::ResourceSeries| Resource {
            name: series.name,
            points: series.points.into_iter().map(|one| one.map(point)).collect(),
        };
        Self {
            as_of: Time(view.as_of.at),
            from: Time(view.from),
            to: Time(view.to),
            step_seconds: view.step_ms / 1_000,
            resources: view.resources.into_iter().map(resource).collect(),
        }
    }
}

/// Usage by month.
#[derive(Debug, Serialize, ToSchema)]
pub struct Usage {
    /// The moment that the answer describes.
    pub as_of: Time,
    /// Newest first; at most 13, and none before the first that anything was told of.
    pub months: Vec<UsageMonth>,
}

/// One month, as a bill would count it.
#[derive(Debug, Serialize, ToSchema)]
pub struct UsageMonth {
    /// Its first moment, UTC.
    pub from: Time,
    /// It is over: what is told of it will not grow.
    pub is_over: bool,
    /// Requests.
    pub requests: u64,
    /// Services that had any.
    pub active_services: u32,
    /// Consumers that made any.
    pub active_consumers: u32,
    /// Applications that made any.
    pub active_applications: u32,
}

impl From<analytics::UsageView> for Usage {
    fn from(view: analytics::UsageView) -> Self {
        let month = |month: analytics::UsageMonth| UsageMonth {
            from: Time(month.from),
            is_over: month.is_over,
            requests: month.requests,
            active_services: month.services,
            active_consumers: month.consumers,
            active_applications: month.applications,
        };
        Self { as_of: Time(view.as_of.at), months: view.months.into_iter().map(month).collect() }
    }
}
