//! What simulated nodes do beside syncing: they serve requests, per route and consumer, with status codes and latencies;
//! and each sync costs them memory and CPU.
//!
//! The same traffic is told in the two ways in which Kong tells it: as entries of the http-log plugin (`kong-hybrid.md` 5.1)
//! and as counters of the Status API (4.2), which cannot disagree as they are made from the same requests.

use super::estate::{Estate, Kind};
use super::node::Node;
use super::plane::{Deltas, Plane};
use super::random::Random;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::f64::consts::TAU;
use std::fmt::Write as _;
use tidemark_domain::fact::SyncMode;
use tidemark_domain::time::{DAY, SECOND, Timestamp};

/// Requests that one call makes at most.
pub const REQUESTS_MAX: usize = 100_000;

/// How much traffic a node has.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Load {
    /// Requests in a second, over a whole day.
    pub per_second: f64,
    /// How many of a thousand an upstream fails.
    pub failing_per_mille: usize,
    /// The middle and the tail of an upstream's latency, in milliseconds.
    pub upstream_ms: [i64; 2],
}

impl Default for Load {
    fn default() -> Self {
        Self { per_second: 20.0, failing_per_mille: 4, upstream_ms: [35, 900] }
    }
}

/// One request that a node served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Served {
    pub at: Timestamp,
    /// The route and its service, by place among those of the estate.
    pub route: usize,
    /// The consumer, if it is known.
    pub consumer: Option<usize>,
    pub status: u16,
    /// Milliseconds in the gateway itself.
    pub gateway_ms: i64,
    /// Milliseconds of the upstream; `None` if it was not asked.
    pub upstream_ms: Option<i64>,
    pub bytes_in: u64,
    pub bytes_out: u64,
}

impl Served {
    /// Milliseconds from the first byte to the last one.
    #[must_use]
    pub fn total_ms(&self) -> i64 {
        self.gateway_ms + self.upstream_ms.unwrap_or(0)
    }
}

/// The requests of a node from one moment up to another, oldest first: the same for the same seed, node and times, however
/// the time is cut into whole seconds. At most [`REQUESTS_MAX`].
#[must_use]
pub fn served(seed: u64, load: &Load, node: &Node, estate: &Estate, from: Timestamp, until: Timestamp) -> Vec<Served> {
    let (routes, consumers) = (estate.count(Kind::Routes), estate.count(Kind::Consumers));
    let mut requests = Vec::new();
    let first = from.ms().div_euclid(SECOND);
    let last = until.ms().div_euclid(SECOND);
    for second in first..last {
        if node.running.is_none() || routes == 0 {
            break;
        }
        let mut chance = Random::new(seed ^ second.unsigned_abs(), node.id.as_str());
        for _ in 0..arrivals(load, second, &mut chance) {
            if requests.len() == REQUESTS_MAX {
                return requests;
            }
            requests.push(request(load, second, routes, consumers, &mut chance));
        }
    }
    requests.sort_by_key(|request| request.at);
    requests
}

/// How many requests come in a second: more by day than by night.
fn arrivals(load: &Load, second: i64, chance: &mut Random) -> usize {
    #[expect(clippy::cast_precision_loss, reason = "seconds of a day")]
    let of_day = (second.rem_euclid(DAY / SECOND)) as f64 / (DAY / SECOND) as f64;
    let expected = (load.per_second * (1.0 - 0.6 * (TAU * of_day).cos())).clamp(0.0, 10_000.0);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped above")]
    let (whole, rest) = (expected as usize, ((expected - expected.floor()) * 1_000.0) as usize);
    // As even as a balancer makes it, and a little more or less.
    let jitter = chance.below(whole / 4 + 1);
    (whole + jitter).saturating_sub(whole / 8) + usize::from(chance.below(1_000) < rest)
}

fn request(load: &Load, second: i64, routes: usize, consumers: usize, chance: &mut Random) -> Served {
    // Few routes have most of the traffic.
    let route = chance.below(routes).min(chance.below(routes)).min(chance.below(routes));
    let consumer = (consumers > 0 && !chance.once_in(5)).then(|| chance.below(consumers).min(chance.below(consumers)));
    let at = Timestamp::from_ms(second * SECOND + chance.span(0, SECOND - 1));
    let gateway_ms = chance.spread(2, 12);
    let upstream_ms = chance.spread(load.upstream_ms[0], load.upstream_ms[1]);
    let (status, upstream_ms) = match chance.below(1_000) {
        die if die < load.failing_per_mille => (*chance.one_of(&[500, 502, 503]).unwrap_or(&502), Some(upstream_ms)),
        // Refused by a plugin, before any upstream.
        die if die < load.failing_per_mille + 8 => (429, None),
        die if die < load.failing_per_mille + 14 => (401, None),
        die if die < load.failing_per_mille + 30 => (404, Some(upstream_ms)),
        die if die < load.failing_per_mille + 80 => (201, Some(upstream_ms)),
        _ => (200, Some(upstream_ms)),
    };
    let bytes = |span: i64| span.unsigned_abs();
    Served {
        at,
        route,
        consumer: if status == 401 { None } else { consumer },
        status,
        gateway_ms,
        upstream_ms,
        bytes_in: bytes(chance.spread(420, 3_000)),
        bytes_out: bytes(chance.spread(1_800, 60_000)),
    }
}

/// A request as the http-log plugin posts it (`kong-hybrid.md` 5.1); the node says who it is by `custom_fields_by_lua`.
#[must_use]
pub fn http_log_entry(request: &Served, node: &Node, estate: &Estate, chance: &mut Random) -> Value {
    let route = estate.nth(Kind::Routes, request.route).cloned().unwrap_or(Value::Null);
    let service =
        route["service"].as_str().and_then(|id| estate.get(Kind::Services, id)).cloned().unwrap_or(Value::Null);
    let path = route["paths"][0].as_str().unwrap_or("/").to_owned();
    let host = route["hosts"][0].as_str().unwrap_or("localhost").to_owned();
    let mut named = route;
    if let Some(id) = service["id"].as_str() {
        named["service"] = json!({"id": id});
    }
    let id = chance.uuid().replace('-', "");
    let mut entry = json!({
        "request": {"id": id, "method": "GET", "uri": path, "url": format!("http://{host}:8000{path}"), "querystring": {},
            "size": request.bytes_in, "headers": {"host": host, "user-agent": "shop/1.0"}},
        "upstream_uri": if request.upstream_ms.is_some() { path.as_str() } else { "" },
        "upstream_status": request.upstream_ms.map_or_else(String::new, |_| request.status.to_string()),
        "response": {"status": request.status, "size": request.bytes_out,
            "headers": {"content-type": "application/json", "via": format!("1.1 kong/{}", node.gateway)}},
        "latencies": {"kong": request.gateway_ms, "proxy": request.upstream_ms.unwrap_or(-1),
            "request": request.total_ms(), "receive": 0},
        "route": named,
        "service": service,
        "client_ip": "192.0.2.7",
        "started_at": request.at.ms(),
        "source": if request.upstream_ms.is_some() { "upstream" } else { "kong" },
        "workspace": estate.workspace(),
        "workspace_name": "default",
        "node_id": node.id.as_str(),
    });
    if request.upstream_ms.is_some() {
        entry["tries"] = json!([{"ip": "10.0.0.5", "port": 8080, "balancer_start": request.at.ms() + request.gateway_ms,
            "balancer_start_ns": (request.at.ms() + request.gateway_ms) * 1_000_000, "balancer_latency": 0,
            "balancer_latency_ns": 14_000}]);
    }
    if let Some(consumer) = request.consumer.and_then(|place| estate.nth(Kind::Consumers, place)) {
        entry["consumer"] = consumer.clone();
        entry["authenticated_entity"] = json!({"id": consumer["id"]});
    }
    entry
}

/// Upper bounds of the latency buckets of Kong's exporter, in milliseconds (`kong-hybrid.md` 4.2).
const GATEWAY_BUCKETS: [i64; 17] = [1, 2, 5, 7, 10, 15, 20, 30, 50, 75, 100, 200, 500, 750, 1_000, 3_000, 6_000];
const LATENCY_BUCKETS: [i64; 13] = [25, 50, 80, 100, 250, 400, 700, 1_000, 2_000, 5_000, 10_000, 30_000, 60_000];

/// What a node's exporter counted since its process started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// By route, consumer and status.
    requests: BTreeMap<(usize, Option<usize>, u16), u64>,
    bytes: BTreeMap<(usize, Option<usize>), (u64, u64)>,
    gateway: BTreeMap<usize, Histogram>,
    upstream: BTreeMap<usize, Histogram>,
    total: BTreeMap<usize, Histogram>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Histogram {
    /// Values at or below each bound.
    at_most: Vec<u64>,
    count: u64,
    sum: i64,
}

impl Histogram {
    fn add(&mut self, value: i64, bounds: &[i64]) {
        self.at_most.resize(bounds.len(), 0);
        for (count, bound) in self.at_most.iter_mut().zip(bounds) {
            *count += u64::from(value <= *bound);
        }
        self.count += 1;
        self.sum += value;
    }
}

impl Counters {
    /// Counts a request.
    pub fn add(&mut self, request: &Served) {
        *self.requests.entry((request.route, request.consumer, request.status)).or_default() += 1;
        let bytes = self.bytes.entry((request.route, request.consumer)).or_default();
        *bytes = (bytes.0 + request.bytes_in, bytes.1 + request.bytes_out);
        self.gateway.entry(request.route).or_default().add(request.gateway_ms, &GATEWAY_BUCKETS);
        if let Some(upstream_ms) = request.upstream_ms {
            self.upstream.entry(request.route).or_default().add(upstream_ms, &LATENCY_BUCKETS);
        }
        self.total.entry(request.route).or_default().add(request.total_ms(), &LATENCY_BUCKETS);
    }

    /// Requests counted.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.requests.values().sum()
    }
}

/// Escapes the value of a label (Prometheus text format 0.0.4).
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// `/metrics` of a node's Status API, as Kong's prometheus plugin writes it with all its options on.
#[must_use]
pub fn metrics(node: &Node, plane: &Plane, counters: &Counters, cost: &Footprint) -> String {
    let mut out = String::new();
    let id = escaped(node.id.as_str());
    let connected = u8::from(node.link.is_some());
    let memory = cost.memory_bytes;
    let _ = writeln!(out, "# HELP kong_node_info Kong Node metadata information\n# TYPE kong_node_info gauge");
    let _ = writeln!(out, "kong_node_info{{node_id=\"{id}\",version=\"{}\"}} 1", node.gateway);
    let _ = writeln!(
        out,
        "# HELP kong_control_plane_connected Kong connected to control plane, 0 is unconnected\n# TYPE kong_control_plane_connected gauge"
    );
    let _ = writeln!(out, "kong_control_plane_connected {connected}");
    if let Some(expires_at) = node.certificate_expires_at {
        let _ = writeln!(
            out,
            "# HELP kong_data_plane_cluster_cert_expiry_timestamp Unix timestamp of Data Plane's cluster_cert expiry time\n# TYPE kong_data_plane_cluster_cert_expiry_timestamp gauge"
        );
        let _ = writeln!(out, "kong_data_plane_cluster_cert_expiry_timestamp {}", expires_at.ms() / SECOND);
    }
    let _ = writeln!(
        out,
        "# HELP kong_memory_workers_lua_vms_bytes Allocated bytes in worker Lua VM\n# TYPE kong_memory_workers_lua_vms_bytes gauge"
    );
    let _ = writeln!(
        out,
        "kong_memory_workers_lua_vms_bytes{{node_id=\"{id}\",pid=\"1263\",kong_subsystem=\"http\"}} {memory}"
    );
    let name = |kind, place| {
        let entity = plane.estate.nth(kind, place);
        let name = entity.and_then(|entity| entity["name"].as_str().or_else(|| entity["username"].as_str()));
        escaped(name.unwrap_or_default())
    };
    let service_of = |route: usize| {
        let route = plane.estate.nth(Kind::Routes, route);
        let service = route.and_then(|route| plane.estate.get(Kind::Services, route["service"].as_str()?));
        escaped(service.and_then(|service| service["name"].as_str()).unwrap_or_default())
    };
    let _ = writeln!(
        out,
        "# HELP kong_http_requests_total HTTP status codes per consumer/service/route in Kong\n# TYPE kong_http_requests_total counter"
    );
    for ((route, consumer, status), count) in &counters.requests {
        let source = if matches!(status, 401 | 429) { "kong" } else { "service" };
        let _ = writeln!(
            out,
            "kong_http_requests_total{{service=\"{}\",route=\"{}\",code=\"{status}\",source=\"{source}\",workspace=\"default\",consumer=\"{}\"}} {count}",
            service_of(*route),
            name(Kind::Routes, *route),
            consumer.map(|place| name(Kind::Consumers, place)).unwrap_or_default()
        );
    }
    let _ = writeln!(
        out,
        "# HELP kong_bandwidth_bytes Total bandwidth (ingress/egress) throughput in bytes\n# TYPE kong_bandwidth_bytes counter"
    );
    for ((route, consumer), (ingress, egress)) in &counters.bytes {
        for (direction, bytes) in [("ingress", ingress), ("egress", egress)] {
            let _ = writeln!(
                out,
                "kong_bandwidth_bytes{{service=\"{}\",route=\"{}\",direction=\"{direction}\",workspace=\"default\",consumer=\"{}\"}} {bytes}",
                service_of(*route),
                name(Kind::Routes, *route),
                consumer.map(|place| name(Kind::Consumers, place)).unwrap_or_default()
            );
        }
    }
    let families = [
        (
            "kong_kong_latency_ms",
            "Latency added by Kong and enabled plugins for each service/route in Kong",
            &counters.gateway,
            &GATEWAY_BUCKETS[..],
        ),
        (
            "kong_upstream_latency_ms",
            "Latency added by upstream response for each service/route in Kong",
            &counters.upstream,
            &LATENCY_BUCKETS[..],
        ),
        (
            "kong_request_latency_ms",
            "Total latency incurred during requests for each service/route in Kong",
            &counters.total,
            &LATENCY_BUCKETS[..],
        ),
    ];
    for (family, help, histograms, bounds) in families {
        let _ = writeln!(out, "# HELP {family} {help}\n# TYPE {family} histogram");
        for (route, histogram) in histograms {
            let labels = format!(
                "service=\"{}\",route=\"{}\",workspace=\"default\"",
                service_of(*route),
                name(Kind::Routes, *route)
            );
            for (bound, count) in bounds.iter().zip(&histogram.at_most) {
                let _ = writeln!(out, "{family}_bucket{{{labels},le=\"{bound}\"}} {count}");
            }
            let _ = writeln!(out, "{family}_bucket{{{labels},le=\"+Inf\"}} {}", histogram.count);
            let _ = writeln!(out, "{family}_count{{{labels}}} {}", histogram.count);
            let _ = writeln!(out, "{family}_sum{{{labels}}} {}", histogram.sum);
        }
    }
    out
}

/// `/status` of a node's Status API (`kong-hybrid.md` 4.1).
#[must_use]
pub fn status(node: &Node, counters: &Counters, cost: &Footprint) -> Value {
    let mut status = json!({
        "memory": {"workers_lua_vms": [{"http_allocated_gc": mebibytes(cost.memory_bytes), "pid": 1_263}],
            "lua_shared_dicts": {"kong": {"allocated_slabs": "0.04 MiB", "capacity": "5.00 MiB"}}},
        "server": {"connections_accepted": counters.requests(), "connections_active": 3,
            "connections_handled": counters.requests(), "connections_reading": 0, "connections_waiting": 2,
            "connections_writing": 1, "total_requests": counters.requests()},
    });
    if node.running.is_some() {
        status["configuration_hash"] = json!(node.repeats().as_str());
    }
    status
}

/// `/status/ready` of a node's Status API: the status code and the body.
#[must_use]
pub fn ready(node: &Node) -> (u16, Value) {
    match node.running {
        Some(_) => (200, json!({"message": "ready"})),
        None => (503, json!({"message": "no configuration available (configuration hash is not initialized)"})),
    }
}

fn mebibytes(bytes: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "two decimals of a mebibyte")]
    let mebibytes = bytes as f64 / f64::from(1 << 20);
    format!("{mebibytes:.2} MiB")
}

/// What a node needs for what it runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Footprint {
    /// Of one worker, at rest.
    pub memory_bytes: u64,
}

/// What one sync costs a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SyncCost {
    pub mode: SyncMode,
    /// On the wire.
    pub bytes: u64,
    pub memory_before: u64,
    pub memory_peak: u64,
    pub memory_after: u64,
    /// Of one core.
    pub cpu_ms: u64,
}

/// Memory of a worker without any configuration.
const BASE_BYTES: u64 = 45 << 20;
/// Bytes of memory for each byte of JSON that is run, and that is read.
const RUN_FACTOR: u64 = 2;
const READ_FACTOR: u64 = 4;
/// JSON that is read and applied in a millisecond.
const BYTES_PER_MS: u64 = 12_000;

/// What a worker needs for a configuration of so many bytes of JSON.
#[must_use]
pub const fn footprint(config_json_bytes: u64) -> Footprint {
    Footprint { memory_bytes: BASE_BYTES + config_json_bytes * RUN_FACTOR }
}

/// What a full sync costs: in proportion to the configuration.
#[must_use]
pub const fn full_sync(before_json_bytes: u64, config_json_bytes: u64, frame_bytes: u64) -> SyncCost {
    sync(SyncMode::Full, before_json_bytes, config_json_bytes, config_json_bytes, frame_bytes)
}

/// What an answer of delta sync costs: in proportion to the change, unless the whole came.
#[must_use]
pub const fn delta_sync(config_json_bytes: u64, deltas: &Deltas) -> SyncCost {
    let mode = if deltas.full { SyncMode::Full } else { SyncMode::Delta };
    sync(mode, config_json_bytes, config_json_bytes, deltas.json_bytes, deltas.json_bytes / 4)
}

const fn sync(mode: SyncMode, before: u64, after: u64, read: u64, bytes: u64) -> SyncCost {
    let memory_before = footprint(before).memory_bytes;
    let memory_after = footprint(after).memory_bytes;
    let rest = if memory_before > memory_after { memory_before } else { memory_after };
    SyncCost {
        mode,
        bytes,
        memory_before,
        memory_peak: rest + read * READ_FACTOR,
        memory_after,
        cpu_ms: read / BYTES_PER_MS + 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kong::metrics::exposition;
    use crate::simulate::scenario::Scenario;
    use crate::simulate::scenario::Telling;
    use crate::simulate::world::World;

    fn world() -> World {
        let text = "id = \"T\"\ntitle = \"t\"\nshows = \"s\"\nlasts = \"00:01:00\"\n[[control_plane]]\nname = \"eu\"\n\
            [[nodes]]\nname = \"edge\"\ncontrol_plane = \"eu\"\ncount = 2\n";
        let scenario = Scenario::parse(text).expect("a scenario");
        World::new(&scenario, Telling::Story, Timestamp::from_ms(1_795_000_000_000)).expect("a world")
    }

    const FROM: Timestamp = Timestamp::from_ms(1_795_046_400_000);

    fn minute(world: &World, node: usize) -> Vec<Served> {
        let (of, plane) = (&world.nodes()[node], &world.planes()[0]);
        served(1, &Load::default(), of, &plane.estate, FROM, FROM.plus(60 * SECOND))
    }

    #[test]
    fn traffic_repeats_itself_however_the_time_is_cut() {
        let world = world();
        let (node, estate) = (&world.nodes()[0], &world.planes()[0].estate);
        let load = Load::default();
        let whole = minute(&world, 0);
        let mut parts = served(1, &load, node, estate, FROM, FROM.plus(17 * SECOND));
        parts.extend(served(1, &load, node, estate, FROM.plus(17 * SECOND), FROM.plus(60 * SECOND)));
        assert_eq!(whole, parts);
        assert_ne!(whole, minute(&world, 1), "each node has its own");
        let noon = FROM.plus(DAY / 2);
        let by_day = served(1, &load, node, estate, noon, noon.plus(60 * SECOND));
        assert!((400..560).contains(&whole.len()), "20 a second, and 0.4 of that at midnight: {}", whole.len());
        assert!((1_700..2_200).contains(&by_day.len()), "and 1.6 of it at noon: {}", by_day.len());
    }

    #[test]
    fn a_node_without_a_configuration_serves_nothing() {
        let world = world();
        let node = Node { running: None, ..world.nodes()[0].clone() };
        let estate = &world.planes()[0].estate;
        assert!(served(1, &Load::default(), &node, estate, FROM, FROM.plus(SECOND)).is_empty());
        assert_eq!(ready(&node).0, 503);
        assert_eq!(status(&node, &Counters::default(), &footprint(0)).get("configuration_hash"), None);
    }

    #[test]
    fn entries_and_counters_tell_of_the_same_requests() {
        let world = world();
        let (node, plane) = (&world.nodes()[0], &world.planes()[0]);
        let requests = minute(&world, 0);
        let mut chance = Random::new(1, "ids");
        let entries: Vec<_> =
            requests.iter().map(|request| http_log_entry(request, node, &plane.estate, &mut chance)).collect();
        let mut counters = Counters::default();
        requests.iter().for_each(|request| counters.add(request));
        let text = metrics(node, plane, &counters, &footprint(1_000_000));

        let sum = |family: &str| -> u64 {
            let lines = text.lines().filter(|line| line.starts_with(&format!("{family}{{")));
            lines
                .map(|line| line.rsplit(' ').next().and_then(|value| value.parse::<u64>().ok()).expect("a number"))
                .sum()
        };
        assert_eq!(sum("kong_http_requests_total"), entries.len() as u64);
        assert_eq!(sum("kong_kong_latency_ms_count"), entries.len() as u64);
        let proxied = entries.iter().filter(|entry| entry["latencies"]["proxy"] != json!(-1)).count();
        assert_eq!(sum("kong_upstream_latency_ms_count"), proxied as u64);
        let bytes: u64 = entries.iter().map(|entry| entry["response"]["size"].as_u64().expect("a size")).sum();
        let egress = text.lines().filter(|line| line.contains("direction=\"egress\""));
        let egress: u64 = egress
            .map(|line| line.rsplit(' ').next().and_then(|value| value.parse::<u64>().ok()).expect("a number"))
            .sum();
        assert_eq!(egress, bytes);
        assert!(entries.iter().all(|entry| entry["node_id"] == json!(node.id.as_str())));
        let failing = entries.iter().filter(|entry| entry["response"]["status"].as_u64() >= Some(500)).count();
        assert!(failing > 0 && failing < entries.len() / 50, "{failing} of {}", entries.len());
    }

    /// Our own decoders, which read real Kong, read this too.
    #[test]
    fn what_the_status_api_says_is_read_as_kongs() {
        let world = world();
        let (node, plane) = (&world.nodes()[0], &world.planes()[0]);
        let read = exposition(&metrics(node, plane, &Counters::default(), &footprint(1)));
        assert_eq!(read.node_id.as_deref(), Some(node.id.as_str()));
        assert_eq!(read.gateway_version.as_deref(), Some("3.9.1"));
        assert_eq!(read.certificate_expires_s, node.certificate_expires_at.map(|at| at.ms() / SECOND));
        let read = crate::kong::status::status(&status(node, &Counters::default(), &footprint(1))).expect("a status");
        assert_eq!(read.hash, Some(node.repeats()));
        assert_eq!(crate::kong::status::readiness(200, &ready(node).1), Some(crate::kong::facts::Readiness::Ready));
    }

    #[test]
    fn a_full_sync_costs_by_the_configuration_and_a_delta_by_the_change() {
        let whole = full_sync(30_000_000, 30_000_000, 4_000_000);
        let twice = full_sync(60_000_000, 60_000_000, 8_000_000);
        let peak = |cost: &SyncCost| cost.memory_peak - cost.memory_after;
        assert_eq!(peak(&twice), 2 * peak(&whole));
        assert!(whole.cpu_ms > 1_000);
        let mut world = world();
        let deltas = world.planes_mut()[0].deltas(None);
        let small = Deltas { full: false, json_bytes: 900, ..Deltas::clone(&deltas) };
        let cost = delta_sync(30_000_000, &small);
        assert_eq!((cost.mode, cost.cpu_ms, peak(&cost)), (SyncMode::Delta, 1, 3_600));
        assert_eq!(delta_sync(30_000_000, &Deltas { full: true, ..small }).mode, SyncMode::Full);
    }
}
