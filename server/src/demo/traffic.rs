//! What the gateways of a demo do: requests by day and night to the routes of a shop, some of them failed, told as sums
//! for the week behind it and living from then on.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tidemark_domain::time::{DAY, HOUR, MINUTE, SECOND, Timestamp};
use tidemark_domain::verdict::ConnectionWord;
use tokio_util::sync::CancellationToken;

use crate::board::Snapshot;
use crate::clock::Clock;
use crate::ingest::SubmitError;
use crate::simulate::random::Random;
use crate::store::StoreError;
use crate::telemetry::Telemetry;
use crate::telemetry::names::Kind;
use crate::telemetry::rows::{Row, Sample, Traffic};

/// How often each node tells what it did.
const EVERY: Duration = Duration::from_secs(5);
/// Of the week behind, so much is told minute by minute; the rest in steps of half an hour.
const BY_MINUTE_MS: i64 = 27 * HOUR;
/// Requests a second of one node around noon.
const REQUESTS: i64 = 40;

/// A route: its service, its share of all requests in hundredths, its latency (median and p99 in microseconds), and how
/// often it fails (once in so many).
const ROUTES: [(&str, &str, i64, (i64, i64), usize); 8] = [
    ("search", "search-v2", 34, (18_000, 160_000), 2_000),
    ("catalog", "products", 26, (9_000, 70_000), 5_000),
    ("catalog", "images", 14, (4_000, 30_000), 8_000),
    ("orders", "orders-v1", 9, (42_000, 420_000), 400),
    ("orders", "orders-v2", 7, (31_000, 260_000), 900),
    ("payments", "payments", 5, (120_000, 1_400_000), 250),
    ("accounts", "login", 4, (65_000, 600_000), 700),
    ("partners", "partner-api", 1, (80_000, 2_500_000), 120),
];

/// Who asks, and by which application.
const CONSUMERS: [(&str, &str); 6] = [
    ("web-shop", "shop"),
    ("mobile-app", "shop"),
    ("partner-nord", "feeds"),
    ("partner-sued", "feeds"),
    ("back-office", "tools"),
    ("", ""),
];

/// A node that serves.
struct Server {
    scope: u32,
    node: u32,
    /// Requests a second around noon.
    rate: i64,
}

/// The nodes of all control planes, or only those that are connected.
fn servers(telemetry: &Telemetry, snapshot: &Snapshot, only_connected: bool) -> Vec<Server> {
    let names = telemetry.names();
    let connected = |word| matches!(word, ConnectionWord::Connected | ConnectionWord::Late);
    snapshot
        .nodes()
        .filter(|(_, _, assessment)| !only_connected || connected(assessment.verdict.connectivity.word()))
        .map(|(of, node, _)| {
            let scope = names.scope(of.name.as_str());
            let node = names.number(scope, Kind::Node, node.id.as_str());
            Server { scope, node, rate: REQUESTS / 2 + i64::from(node % 7) * REQUESTS / 6 }
        })
        .collect()
}

/// Requests of one node in a span that ends at a moment.
fn requests(telemetry: &Telemetry, server: &Server, at: Timestamp, span_ms: i64, random: &mut Random) -> Vec<Row> {
    let names = telemetry.names();
    // Little at night, most in the afternoon: a parabola over the day.
    let hour = at.ms().rem_euclid(DAY) / HOUR;
    let from_peak = (hour - 15).abs().min(24 - (hour - 15).abs());
    let day_share = 100 - from_peak * from_peak * 85 / 144;
    let all = server.rate * day_share * span_ms / SECOND / 100;
    let mut rows = Vec::with_capacity(5);
    let busy = u64::try_from(all / (span_ms / SECOND).max(1)).unwrap_or(0);
    let sample = |resource, value| {
        let resource = names.number(server.scope, Kind::Resource, resource);
        Row::Sample(Sample {
            minute: at.ms().div_euclid(MINUTE),
            scope: server.scope,
            node: server.node,
            resource,
            value,
        })
    };
    let noise = |random: &mut Random| random.span(97, 103).unsigned_abs();
    rows.push(sample("memory_workers_bytes", (180_000_000 + busy * 900_000) / 100 * noise(random)));
    rows.push(sample("connections_active", (busy * 3 + 12) * noise(random) / 100));
    // Of eight routes a node tells one at a time, so that all have come after a while.
    if let Some((service, route, share, (median, p99), fails_once_in)) = random.one_of(&ROUTES).copied() {
        let requests = (all * share * 8 / 100).max(0) * random.span(80, 120) / 100;
        let Ok(requests @ 1..) = u64::try_from(requests) else { return rows };
        let (consumer, application) = CONSUMERS[random.below(CONSUMERS.len())];
        let number = |kind, name| names.number(server.scope, kind, name);
        let total_us = random.spread(median, p99);
        let gateway_us = random.spread(900, 4_000).min(total_us);
        #[expect(clippy::cast_precision_loss, reason = "a latency keeps seven digits")]
        let ms = |us: i64| Some(us as f32 / 1_000.0);
        let ok = Traffic {
            minute: at.ms().div_euclid(MINUTE),
            scope: server.scope,
            node: server.node,
            service: number(Kind::Service, service),
            route: number(Kind::Route, route),
            consumer: number(Kind::Consumer, consumer),
            application: number(Kind::Application, application),
            status: 200,
            requests,
            observed: requests,
            bytes_in: requests * 740,
            bytes_out: requests * 3_900,
            total_ms: ms(total_us),
            gateway_ms: ms(gateway_us),
            upstream_ms: ms(total_us - gateway_us),
        };
        let failed = usize::try_from(requests).unwrap_or(usize::MAX);
        let failed =
            failed / fails_once_in + usize::from(random.once_in(fails_once_in / (failed % fails_once_in).max(1)));
        let some = |status, of: u64| Traffic {
            status,
            requests: of,
            observed: of,
            bytes_in: of * 740,
            bytes_out: of * 200,
            ..ok
        };
        rows.push(Row::Traffic(ok));
        if failed > 0 {
            rows.push(Row::Traffic(some(if random.once_in(3) { 504 } else { 502 }, failed as u64)));
        }
        if requests > 40 {
            rows.push(Row::Traffic(some(if random.once_in(4) { 401 } else { 404 }, requests / 40)));
        }
    }
    rows
}

/// Writes what the nodes of a snapshot did in this time until a moment, unless something is told already.
///
/// # Errors
/// If the store fails; a part may be written then.
pub async fn past(
    telemetry: &Telemetry,
    snapshot: &Snapshot,
    lasts_ms: i64,
    until: Timestamp,
) -> Result<(), StoreError> {
    if !telemetry.is_empty() {
        return Ok(());
    }
    let servers = servers(telemetry, snapshot, false);
    let mut random = Random::new(7, "traffic");
    let mut at = Timestamp::from_ms(until.plus(-lasts_ms).ms().div_euclid(DAY) * DAY);
    while at < until {
        // Whole days at a time, and whole hours where there is more to tell.
        let part = if until.since(at) > BY_MINUTE_MS + DAY { DAY } else { HOUR };
        let part_ends = at.plus(part);
        let mut rows = Vec::new();
        while at < part_ends {
            let step = if until.since(at) > BY_MINUTE_MS { 30 * MINUTE } else { MINUTE };
            for server in &servers {
                rows.extend(requests(telemetry, server, at, step, &mut random));
            }
            at = at.plus(step);
        }
        telemetry.write_past(&rows).await?;
        tokio::task::yield_now().await;
    }
    Ok(())
}

/// Lets the connected nodes of a fleet serve, until `closing` comes.
pub async fn live(telemetry: Telemetry, snapshots: Arc<ArcSwap<Snapshot>>, clock: Clock, closing: CancellationToken) {
    let mut random = Random::new(clock.now().ms().unsigned_abs(), "traffic");
    let mut told_at = clock.now();
    loop {
        tokio::select! {
            () = closing.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
        let now = clock.now();
        let span_ms = now.since(told_at).max(0);
        told_at = now;
        let rows: Vec<Row> = servers(&telemetry, &snapshots.load(), true)
            .iter()
            .flat_map(|server| requests(&telemetry, server, now, span_ms, &mut random))
            .collect();
        match telemetry.submit(rows, Vec::new(), None).await {
            Ok(_) => {}
            Err(error @ (SubmitError::Full | SubmitError::Store)) => {
                tracing::warn!("the demo's traffic was not taken: {error}");
            }
            Err(SubmitError::Closed) => return,
        }
    }
}
