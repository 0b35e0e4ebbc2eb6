//! The database of a simulated control plane: entities as Kong has them, the writes that change them, and how they are
//! rendered for nodes, whole (`kong-hybrid.md` 1.6) or as what changed (2.4).
//!
//! Every write is numbered, as in the sequence behind delta sync, and moves `updated_at`; so a write that changes no
//! behaviour moves the hash all the same (1.8.3). What an older gateway cannot read is cut out of what it is sent, and
//! the hash stays the one of the whole (1.10).

use super::random::Random;
use crate::kong::digest::BehaviourDigest;
use crate::kong::hash::{TableHashes, table_hashes};
use crate::kong::outline::Outline;
use crate::kong::shape::Shape;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use tidemark_domain::gateway::GatewayVersion;
use tidemark_domain::time::Timestamp;

/// Certificate and key of every simulated certificate entity: a real pair, as a real data plane looks into it.
const CERTIFICATE: &str = include_str!("certificate.pem");
const KEY: &str = include_str!("key.pem");

/// A delta of more changes than this is a full sync (`kong-hybrid.md` 2.5).
pub const DELTAS_MAX: u64 = 512;

/// The types of entities that a simulated control plane has, in an order in which each refers only to those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    Workspaces,
    Parameters,
    Consumers,
    Certificates,
    Services,
    Routes,
    Snis,
    Upstreams,
    Targets,
    Plugins,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Workspaces,
        Self::Parameters,
        Self::Consumers,
        Self::Certificates,
        Self::Services,
        Self::Routes,
        Self::Snis,
        Self::Upstreams,
        Self::Targets,
        Self::Plugins,
    ];

    /// Kong's word: the key in a configuration table and the type of a delta.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Workspaces => "workspaces",
            Self::Parameters => "parameters",
            Self::Consumers => "consumers",
            Self::Certificates => "certificates",
            Self::Services => "services",
            Self::Routes => "routes",
            Self::Snis => "snis",
            Self::Upstreams => "upstreams",
            Self::Targets => "targets",
            Self::Plugins => "plugins",
        }
    }

    /// Fields that name another entity.
    const fn foreign_keys(self) -> &'static [&'static str] {
        match self {
            Self::Routes => &["service"],
            Self::Snis => &["certificate"],
            Self::Targets => &["upstream"],
            Self::Plugins => &["service", "route", "consumer"],
            Self::Workspaces
            | Self::Parameters
            | Self::Consumers
            | Self::Certificates
            | Self::Services
            | Self::Upstreams => &[],
        }
    }
}

/// How many entities of each kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    pub services: usize,
    pub routes: usize,
    pub plugins: usize,
    pub consumers: usize,
    pub certificates: usize,
    pub snis: usize,
    pub upstreams: usize,
    pub targets: usize,
}

impl Counts {
    /// For stories that are not about size.
    pub const SMALL: Self =
        Self { services: 8, routes: 20, plugins: 8, consumers: 6, certificates: 2, snis: 4, upstreams: 2, targets: 4 };
    /// A shop with many names: 2,000 SNIs.
    pub const MANY_HOSTS: Self = Self {
        services: 40,
        routes: 120,
        plugins: 60,
        consumers: 80,
        certificates: 100,
        snis: 2_000,
        upstreams: 20,
        targets: 60,
    };
    /// 30,000 entities, about 30 MB of JSON.
    pub const LARGE: Self = Self {
        services: 3_000,
        routes: 9_000,
        plugins: 7_000,
        consumers: 3_000,
        certificates: 1_000,
        snis: 2_000,
        upstreams: 1_500,
        targets: 3_498,
    };
    /// 90,000 entities.
    pub const HUGE: Self = Self {
        services: 9_000,
        routes: 27_000,
        plugins: 21_000,
        consumers: 9_000,
        certificates: 3_000,
        snis: 6_000,
        upstreams: 4_500,
        targets: 10_498,
    };

    /// The presets by the words of scenario files.
    pub const PRESETS: [(&'static str, Self); 4] =
        [("small", Self::SMALL), ("many_hosts", Self::MANY_HOSTS), ("30000", Self::LARGE), ("90000", Self::HUGE)];
}

/// A change of the database, as a person or a pipeline makes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Write {
    /// Saves an entity as it is: moves `updated_at` and nothing else.
    Nothing,
    /// Another path for a route.
    Route,
    /// One more route.
    AddRoute,
    /// Another limit of a rate-limiting plugin, which counts in the memory of each node.
    RateLimit,
    /// Saves a certificate without the list of its SNIs, and so deletes one of them.
    LoseSni,
    /// All SNIs that were lost are back.
    RestoreSnis,
}

/// One entity as it is stored.
#[derive(Clone, Debug)]
struct Row {
    value: Arc<Value>,
    /// The write that made it so.
    version: u64,
}

/// What a control plane has in its database. A clone is a backup, and cheap.
#[derive(Clone, Debug)]
pub struct Estate {
    rows: BTreeMap<Kind, BTreeMap<String, Row>>,
    /// What was deleted: by which write, and what.
    deleted: Vec<(u64, Kind, String)>,
    lost_snis: Vec<Arc<Value>>,
    /// Writes so far.
    version: u64,
    random: Random,
    cluster_id: String,
    workspace: String,
}

/// How a release of the control plane writes entities down.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rendering {
    /// Fields that every entity of a kind has since some release.
    pub fields: Vec<(Kind, String, Value)>,
    /// The hash is made for each gateway version by itself, as Konnect does (`kong-hybrid.md` 1.10).
    pub by_gateway: bool,
}

/// A configuration as one cohort gets it.
#[derive(Clone, Debug)]
pub struct Rendered {
    /// The table that is sent.
    pub table: Arc<Map<String, Value>>,
    /// What the control plane states.
    pub stated: TableHashes,
    /// Kong's hash of what is sent: another one where something was cut out.
    pub recomputed: TableHashes,
    pub digest: BehaviourDigest,
    pub outline: Arc<Outline>,
    pub shape: Shape,
    /// Bytes of its JSON.
    pub json_bytes: u64,
}

/// One change of delta sync.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    pub version: u64,
    pub kind: Kind,
    pub primary_key: String,
    /// `None`: it was deleted.
    pub entity: Option<Value>,
}

impl Estate {
    /// A database with these entities, the same for the same seed and name.
    #[must_use]
    pub fn new(seed: u64, name: &str, counts: Counts, at: Timestamp) -> Self {
        let mut random = Random::new(seed, name);
        let (cluster_id, workspace) = (random.uuid(), random.uuid());
        let rows = Kind::ALL.map(|kind| (kind, BTreeMap::new())).into();
        let mut estate =
            Self { rows, deleted: Vec::new(), lost_snis: Vec::new(), version: 0, random, cluster_id, workspace };
        estate.fill(counts, at);
        estate
    }

    fn fill(&mut self, counts: Counts, at: Timestamp) {
        let (workspace, cluster_id) = (self.workspace.clone(), self.cluster_id.clone());
        let fields = json!({"id": workspace, "name": "default", "comment": null, "config": {}, "meta": {}});
        self.insert(Kind::Workspaces, fields, at);
        self.insert(Kind::Parameters, json!({"key": "cluster_id", "value": cluster_id}), at);
        for number in 0..counts.consumers {
            let fields = json!({"username": format!("consumer-{number}"), "custom_id": null, "tags": null});
            self.insert(Kind::Consumers, fields, at);
        }
        let certificates: Vec<_> = (0..counts.certificates).map(|_| self.add_certificate(at)).collect();
        let services: Vec<_> = (0..counts.services).map(|number| self.add_service(number, at)).collect();
        for number in 0..counts.routes {
            self.add_route(number, services.get(number % services.len().max(1)), at);
        }
        for number in 0..counts.snis {
            if let Some(certificate) = certificates.get(number % certificates.len().max(1)) {
                let fields = json!({"name": format!("host-{number}.example.test"), "certificate": certificate,
                    "tags": null});
                self.insert(Kind::Snis, fields, at);
            }
        }
        let upstreams: Vec<_> = (0..counts.upstreams).map(|number| self.add_upstream(number, at)).collect();
        for number in 0..counts.targets {
            if let Some(upstream) = upstreams.get(number % upstreams.len().max(1)) {
                let address = format!("10.{}.{}.{}:8080", number / 62_500 % 250, number / 250 % 250, number % 250 + 1);
                self.insert(
                    Kind::Targets,
                    json!({"target": address, "upstream": upstream, "weight": 100, "tags": null}),
                    at,
                );
            }
        }
        for number in 0..counts.plugins {
            self.add_plugin(number, services.get(number / 12 % services.len().max(1)), at);
        }
    }

    fn add_certificate(&mut self, at: Timestamp) -> String {
        let fields = json!({"cert": CERTIFICATE, "key": KEY, "cert_alt": null, "key_alt": null, "tags": null});
        self.insert(Kind::Certificates, fields, at)
    }

    fn add_service(&mut self, number: usize, at: Timestamp) -> String {
        let name = format!("service-{number}");
        let fields = json!({"name": name, "protocol": "http", "host": format!("{name}.internal"), "port": 8080,
            "path": null, "retries": 5, "connect_timeout": 60_000, "write_timeout": 60_000, "read_timeout": 60_000,
            "tags": tags(number), "client_certificate": null, "tls_verify": null, "tls_verify_depth": null,
            "ca_certificates": null, "enabled": true});
        self.insert(Kind::Services, fields, at)
    }

    fn add_route(&mut self, number: usize, service: Option<&String>, at: Timestamp) -> String {
        let fields = json!({"name": format!("route-{number}"), "service": service, "protocols": ["http", "https"],
            "methods": null, "hosts": [format!("host-{number}.example.test")], "paths": paths(number),
            "headers": null, "snis": null, "sources": null, "destinations": null, "regex_priority": 0,
            "strip_path": true, "preserve_host": false, "path_handling": "v0", "https_redirect_status_code": 426,
            "request_buffering": true, "response_buffering": true, "tags": tags(number)});
        self.insert(Kind::Routes, fields, at)
    }

    fn add_upstream(&mut self, number: usize, at: Timestamp) -> String {
        let fields = json!({"name": format!("service-{number}.internal"), "algorithm": "round-robin", "slots": 10_000,
            "hash_on": "none", "hash_fallback": "none", "hash_on_cookie_path": "/", "host_header": null,
            "use_srv_name": false, "tags": tags(number)});
        self.insert(Kind::Upstreams, fields, at)
    }

    fn add_plugin(&mut self, number: usize, service: Option<&String>, at: Timestamp) -> String {
        let (name, config) = plugin(number);
        let fields = json!({"name": name, "instance_name": null, "service": service, "route": null, "consumer": null,
            "protocols": ["grpc", "grpcs", "http", "https"], "enabled": true, "tags": tags(number), "config": config});
        self.insert(Kind::Plugins, fields, at)
    }

    /// Stores an entity under a new id, unless it brings its own key.
    fn insert(&mut self, kind: Kind, mut fields: Value, at: Timestamp) -> String {
        let seconds = at.ms() / 1_000;
        let key = match fields.get("key").or_else(|| fields.get("id")).and_then(Value::as_str) {
            Some(key) if matches!(kind, Kind::Workspaces | Kind::Parameters) => key.to_owned(),
            _ => {
                let id = self.random.uuid();
                fields["id"] = json!(id);
                id
            }
        };
        fields["created_at"] = if kind == Kind::Parameters { Value::Null } else { json!(seconds) };
        if kind != Kind::Parameters {
            fields["updated_at"] = json!(seconds);
        }
        self.put(kind, key.clone(), fields);
        key
    }

    fn put(&mut self, kind: Kind, key: String, value: Value) {
        self.version += 1;
        let row = Row { value: Arc::new(value), version: self.version };
        self.rows.entry(kind).or_default().insert(key, row);
    }

    fn delete(&mut self, kind: Kind, key: &str) -> Option<Arc<Value>> {
        let row = self.rows.get_mut(&kind)?.remove(key)?;
        self.version += 1;
        self.deleted.push((self.version, kind, key.to_owned()));
        // What lies further back is never told as a change.
        self.deleted.retain(|(at, ..)| self.version - at <= DELTAS_MAX);
        Some(row.value)
    }

    /// The number of the last write; the version that delta sync speaks of.
    #[must_use]
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// Entities of a kind.
    #[must_use]
    pub fn count(&self, kind: Kind) -> usize {
        self.rows.get(&kind).map_or(0, BTreeMap::len)
    }

    /// An entity by its place among those of its kind, in the order of their keys.
    #[must_use]
    pub fn nth(&self, kind: Kind, place: usize) -> Option<&Value> {
        self.rows.get(&kind)?.values().nth(place).map(|row| &*row.value)
    }

    /// An entity by its key.
    #[must_use]
    pub fn get(&self, kind: Kind, key: &str) -> Option<&Value> {
        self.rows.get(&kind)?.get(key).map(|row| &*row.value)
    }

    /// Entities of all kinds.
    #[must_use]
    pub fn total(&self) -> usize {
        self.rows.values().map(BTreeMap::len).sum()
    }

    /// Makes a change; one with nothing to change changes nothing.
    pub fn write(&mut self, write: Write, at: Timestamp) {
        match write {
            Write::Nothing => self.alter(Kind::Services, at, |_, _| {}),
            Write::Route => self.alter(Kind::Routes, at, |route, number| {
                route["paths"] = json!([format!("/v{number}")]);
            }),
            Write::AddRoute => {
                let services = self.rows.get(&Kind::Services);
                let service = services.and_then(|services| services.keys().next().cloned());
                let number = self.count(Kind::Routes);
                self.add_route(number, service.as_ref(), at);
            }
            Write::RateLimit => {
                let plugins = self.rows.get(&Kind::Plugins);
                let is_limit = |row: &&Row| row.value["name"] == "rate-limiting";
                let Some(row) = plugins.and_then(|plugins| plugins.values().find(is_limit)) else { return };
                let mut value = Value::clone(&row.value);
                value["config"]["minute"] = json!(self.version + 1);
                self.save(Kind::Plugins, value, at);
            }
            Write::LoseSni => {
                let Some((key, sni)) = self.rows.get(&Kind::Snis).and_then(|snis| snis.iter().next()) else { return };
                let (key, certificate) = (key.clone(), sni.value["certificate"].clone());
                let lost = self.delete(Kind::Snis, &key);
                self.lost_snis.extend(lost);
                let certificates = self.rows.get(&Kind::Certificates);
                let row = certificate.as_str().and_then(|id| certificates.and_then(|rows| rows.get(id)));
                if let Some(value) = row.map(|row| Value::clone(&row.value)) {
                    self.save(Kind::Certificates, value, at);
                }
            }
            Write::RestoreSnis => {
                for sni in std::mem::take(&mut self.lost_snis) {
                    self.save(Kind::Snis, Value::clone(&sni), at);
                }
            }
        }
    }

    /// Changes some entity of a kind; `change` is told the number of the write.
    fn alter(&mut self, kind: Kind, at: Timestamp, change: impl FnOnce(&mut Value, u64)) {
        let place = self.random.below(self.count(kind));
        let Some(row) = self.rows.get(&kind).and_then(|rows| rows.values().nth(place)) else { return };
        let mut value = Value::clone(&row.value);
        change(&mut value, self.version + 1);
        self.save(kind, value, at);
    }

    /// Stores an entity that has its key. A write within the second of the one before is told apart by the next.
    fn save(&mut self, kind: Kind, mut value: Value, at: Timestamp) {
        let before = value["updated_at"].as_i64().unwrap_or(0);
        value["updated_at"] = json!((at.ms() / 1_000).max(before + 1));
        if let Some(key) = value["id"].as_str().map(str::to_owned) {
            self.put(kind, key, value);
        }
    }

    /// The configuration as a gateway version gets it from a control plane of another.
    #[must_use]
    pub fn render(&self, rendering: &Rendering, control_plane: &GatewayVersion, gateway: &GatewayVersion) -> Rendered {
        let whole = self.table(rendering);
        let mut sent = whole.clone();
        if gateway < control_plane {
            trim(&mut sent, gateway);
        }
        let recomputed = table_hashes(&sent);
        let stated = if rendering.by_gateway {
            let mut named = sent.clone();
            named.insert("_rendered_for".to_owned(), json!(gateway.as_str()));
            table_hashes(&named)
        } else {
            table_hashes(&whole)
        };
        let outline = Arc::new(Outline::of_table(&sent));
        let json_bytes = serde_json::to_vec(&sent).map_or(0, |json| json.len() as u64);
        Rendered {
            stated,
            recomputed,
            digest: BehaviourDigest::of_outline(&outline),
            outline,
            shape: Shape::of_table(&sent),
            json_bytes,
            table: Arc::new(sent),
        }
    }

    /// The whole configuration: every kind that has rows, by primary key, without what is not enabled.
    fn table(&self, rendering: &Rendering) -> Map<String, Value> {
        let mut table = Map::new();
        table.insert("_format_version".to_owned(), json!("3.0"));
        table.insert("_transform".to_owned(), json!(false));
        for (kind, rows) in self.rows.iter().filter(|(_, rows)| !rows.is_empty()) {
            let render = |row: &Row| {
                let mut value = Value::clone(&row.value);
                for (_, field, content) in rendering.fields.iter().filter(|(of, ..)| of == kind) {
                    value[field.as_str()] = content.clone();
                }
                value
            };
            table.insert(kind.word().to_owned(), rows.values().map(render).collect());
        }
        table
    }

    /// What changed since a version, oldest first; `None` where only the whole will do: from nothing, from the future,
    /// or over more than [`DELTAS_MAX`] changes (`kong-hybrid.md` 2.5).
    #[must_use]
    pub fn changes_since(&self, version: u64) -> Option<Vec<Change>> {
        if version == 0 || version > self.version || self.version - version > DELTAS_MAX {
            return None;
        }
        Some(self.changes(version))
    }

    /// The whole as deltas, each with the newest version (`kong-hybrid.md` 2.4).
    #[must_use]
    pub fn everything(&self) -> Vec<Change> {
        let mut changes = self.changes(0);
        changes.retain(|change| change.entity.is_some());
        changes.sort_by_key(|change| change.kind);
        for change in &mut changes {
            change.version = self.version;
        }
        changes
    }

    fn changes(&self, version: u64) -> Vec<Change> {
        let rows = self.rows.iter().flat_map(|(kind, rows)| rows.iter().map(move |(key, row)| (*kind, key, row)));
        let upserts = rows.filter(|(.., row)| row.version > version).map(|(kind, key, row)| {
            let mut entity = Value::clone(&row.value);
            for field in kind.foreign_keys() {
                if let Some(id) = entity[*field].as_str().map(str::to_owned) {
                    entity[*field] = json!({"id": id});
                }
            }
            Change { version: row.version, kind, primary_key: key.clone(), entity: Some(entity) }
        });
        let deletes = self.deleted.iter().filter(|(at, ..)| *at > version).map(|(at, kind, key)| Change {
            version: *at,
            kind: *kind,
            primary_key: key.clone(),
            entity: None,
        });
        let mut changes: Vec<_> = upserts.chain(deletes).collect();
        changes.sort_by_key(|change| change.version);
        changes
    }

    /// The workspace that every entity belongs to.
    #[must_use]
    pub fn workspace(&self) -> &str {
        &self.workspace
    }

    /// The id of the cluster (`kong-hybrid.md` 1.6, `parameters`).
    #[must_use]
    pub fn cluster_id(&self) -> &str {
        &self.cluster_id
    }
}

/// The plugins that a simulated control plane configures.
pub const PLUGINS: [&str; 7] =
    ["rate-limiting", "key-auth", "http-log", "cors", "prometheus", "proxy-cache", "request-transformer"];

/// The name of a plugin by its number: every second one rewrites requests, and is long.
const fn plugin_name(number: usize) -> &'static str {
    if number % 2 == 1 { PLUGINS[6] } else { PLUGINS[number / 2 % 6] }
}

fn plugin(number: usize) -> (&'static str, Value) {
    let name = plugin_name(number);
    let config = match name {
        "rate-limiting" => {
            json!({"minute": 600, "second": null, "hour": null, "policy": "local", "limit_by": "consumer",
            "fault_tolerant": true, "hide_client_headers": false, "error_code": 429,
            "error_message": "API rate limit exceeded", "sync_rate": -1})
        }
        "key-auth" => {
            json!({"key_names": ["apikey"], "key_in_header": true, "key_in_query": true, "key_in_body": false,
            "hide_credentials": false, "run_on_preflight": true, "anonymous": null, "realm": null})
        }
        "http-log" => json!({"http_endpoint": "http://logs.internal:8080/kong", "method": "POST",
            "content_type": "application/json", "timeout": 10_000, "keepalive": 60_000, "headers": null,
            "custom_fields_by_lua": {"node_id": "return kong.node.get_id()"}, "queue": {"max_batch_size": 20,
            "max_coalescing_delay": 1, "max_entries": 10_000, "max_bytes": null, "max_retry_time": 60,
            "initial_retry_delay": 0.01, "max_retry_delay": 60, "concurrency_limit": 1}}),
        "cors" => json!({"origins": ["*"], "methods": ["GET", "POST", "PUT", "DELETE"], "headers": null,
            "exposed_headers": null, "credentials": false, "max_age": null, "preflight_continue": false,
            "private_network": false}),
        "prometheus" => json!({"per_consumer": false, "status_code_metrics": true, "latency_metrics": true,
            "bandwidth_metrics": true, "upstream_health_metrics": false, "ai_metrics": false}),
        "request-transformer" => {
            let header = |place: usize| format!("X-Backend-Setting-{place:02}:tenant-{number:06}-value-{place:04}");
            json!({"add": {"headers": (0..70).map(header).collect::<Vec<_>>(), "querystring": [], "body": []},
                "remove": {"headers": [], "querystring": [], "body": []}, "http_method": null})
        }
        _ => json!({"strategy": "memory", "cache_ttl": 300, "memory": {"dictionary_name": "kong_db_cache"},
            "response_code": [200, 301, 404], "request_method": ["GET", "HEAD"], "content_type": ["application/json"],
            "cache_control": false, "ignore_uri_case": false}),
    };
    (name, config)
}

/// The paths of a route: one for each language that a shop speaks.
fn paths(number: usize) -> Value {
    let languages = ["en", "de", "fr", "es", "it", "nl", "pl", "sv"];
    json!(languages.map(|language| format!("/{language}/catalog/department-{number}/items")))
}

/// Who looks after an entity: pipelines write such things, and they are what makes configurations large.
fn tags(number: usize) -> Value {
    json!([
        format!("team:team-{}", number % 40),
        "managed-by:declarative-pipeline",
        format!("service-catalog:https://catalog.example.test/entities/{number:08}"),
    ])
}

/// What gateways below a version do not know (`kong-hybrid.md` 1.9): fields of a plugin's configuration.
const REMOVED_FIELDS: [([u32; 2], &str, &[&str]); 8] = [
    ([3, 8], "http-log", &["queue", "concurrency_limit"]),
    ([3, 8], "prometheus", &["ai_metrics"]),
    ([3, 7], "key-auth", &["realm"]),
    ([3, 5], "cors", &["private_network"]),
    ([3, 4], "rate-limiting", &["sync_rate"]),
    ([3, 3], "proxy-cache", &["ignore_uri_case"]),
    ([3, 1], "rate-limiting", &["error_code"]),
    ([3, 1], "rate-limiting", &["error_message"]),
];

/// The same for fields of entities.
const REMOVED_ENTITY_FIELDS: [([u32; 2], Kind, &str); 2] =
    [([3, 2], Kind::Plugins, "instance_name"), ([3, 1], Kind::Upstreams, "use_srv_name")];

/// Cuts out what a gateway does not know.
fn trim(table: &mut Map<String, Value>, gateway: &GatewayVersion) {
    let [major, minor, ..] = gateway.numbers();
    let is_below = |version: [u32; 2]| [major, minor] < version;
    if let Some(Value::Array(plugins)) = table.get_mut(Kind::Plugins.word()) {
        for plugin in plugins {
            let name = plugin["name"].as_str().unwrap_or_default().to_owned();
            for (_, _, path) in REMOVED_FIELDS.iter().filter(|(version, of, _)| is_below(*version) && name == *of) {
                remove(&mut plugin["config"], path);
            }
        }
    }
    for (_, kind, field) in REMOVED_ENTITY_FIELDS.iter().filter(|(version, ..)| is_below(*version)) {
        if let Some(Value::Array(entities)) = table.get_mut(kind.word()) {
            entities.iter_mut().for_each(|entity| remove(entity, &[field]));
        }
    }
}

fn remove(value: &mut Value, path: &[&str]) {
    let Some((last, before)) = path.split_last() else { return };
    let inner = before.iter().try_fold(value, |value, key| value.get_mut(*key));
    if let Some(Value::Object(fields)) = inner {
        fields.remove(*last);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Timestamp = Timestamp::from_ms(1_795_000_000_000);

    fn version(text: &str) -> GatewayVersion {
        text.parse().expect("a version")
    }

    fn small() -> Estate {
        Estate::new(1, "eu", Counts::SMALL, AT)
    }

    fn render(estate: &Estate) -> Rendered {
        estate.render(&Rendering::default(), &version("3.9.1"), &version("3.9.1"))
    }

    #[test]
    fn a_seed_makes_the_same_configuration_and_another_one_another() {
        assert_eq!(render(&small()).stated, render(&small()).stated);
        assert_ne!(render(&small()).stated, render(&Estate::new(2, "eu", Counts::SMALL, AT)).stated);
    }

    #[test]
    fn a_preset_has_as_many_entities_as_its_name_says() {
        // A workspace and the cluster's id come to what a preset counts.
        let of = |counts: Counts| {
            let Counts { services, routes, plugins, consumers, certificates, snis, upstreams, targets } = counts;
            services + routes + plugins + consumers + certificates + snis + upstreams + targets + 2
        };
        assert_eq!((of(Counts::LARGE), of(Counts::HUGE)), (30_000, 90_000));
        let large = Estate::new(1, "eu", Counts::LARGE, AT);
        assert_eq!(large.total(), 30_000);
        let bytes = large.table(&Rendering::default());
        let bytes = serde_json::to_vec(&bytes).expect("JSON").len();
        assert!((25_000_000..35_000_000).contains(&bytes), "{bytes}");
    }

    /// A write, and whether it moves the hash, whether it moves the behaviour.
    #[test]
    fn what_a_write_moves() {
        for (write, hash, behaviour) in [
            (Write::Nothing, true, false),
            (Write::Route, true, true),
            (Write::AddRoute, true, true),
            (Write::RateLimit, true, true),
            (Write::LoseSni, true, true),
            (Write::RestoreSnis, false, false),
        ] {
            let mut estate = small();
            let before = render(&estate);
            estate.write(write, AT);
            let after = render(&estate);
            assert_eq!(before.stated != after.stated, hash, "{write:?}");
            assert_eq!(before.digest != after.digest, behaviour, "{write:?}");
        }
    }

    #[test]
    fn lost_snis_leave_certificates_alone_and_come_back() {
        let mut estate = small();
        let before = render(&estate);
        for _ in 0..3 {
            estate.write(Write::LoseSni, AT);
        }
        let after = render(&estate);
        assert_eq!((after.shape.entities["snis"], after.shape.entities["certificates"]), (1, 2));
        assert_eq!(after.shape.certificates_without_snis, 1);
        estate.write(Write::RestoreSnis, AT);
        let back = render(&estate);
        assert_eq!(back.digest, before.digest);
        assert_ne!(back.stated, before.stated, "updated_at is in the hash");
    }

    #[test]
    fn an_older_gateway_gets_less_and_the_same_hash() {
        let estate = small();
        let whole = render(&estate);
        let trimmed = estate.render(&Rendering::default(), &version("3.9.1"), &version("3.0.2"));
        assert_eq!(trimmed.stated, whole.stated);
        assert_ne!(trimmed.recomputed, whole.recomputed);
        assert_eq!(whole.recomputed, whole.stated);
        let text = serde_json::to_string(&*trimmed.table).expect("JSON");
        for gone in ["concurrency_limit", "ai_metrics", "sync_rate", "use_srv_name", "instance_name"] {
            assert!(!text.contains(gone), "{gone}");
        }
        let patch = estate.render(&Rendering::default(), &version("3.9.1"), &version("3.9.0"));
        assert_eq!(patch.recomputed, whole.recomputed);
    }

    #[test]
    fn a_release_may_move_the_hash_alone() {
        let estate = small();
        let before = render(&estate);
        let fields = vec![(Kind::Routes, "expression".to_owned(), Value::Null)];
        let rendering = Rendering { fields, by_gateway: false };
        let after = estate.render(&rendering, &version("3.9.1"), &version("3.9.1"));
        assert_ne!(before.stated, after.stated);
        assert_eq!(before.digest, after.digest);
    }

    #[test]
    fn hashes_by_gateway_version_differ_for_one_behaviour() {
        let estate = small();
        let rendering = Rendering { by_gateway: true, ..Rendering::default() };
        let of = |gateway| estate.render(&rendering, &version("3.9.1"), &version(gateway));
        assert_ne!(of("3.9.1").stated, of("3.9.0").stated);
        assert_eq!(of("3.9.1").digest, of("3.9.0").digest);
    }

    #[test]
    fn deltas_are_what_changed_and_the_whole_where_that_is_too_much() {
        let mut estate = small();
        let version = estate.version();
        assert_eq!(estate.changes_since(version), Some(Vec::new()));
        estate.write(Write::Route, AT);
        estate.write(Write::LoseSni, AT);
        let changes = estate.changes_since(version).expect("few changes");
        let told: Vec<_> = changes.iter().map(|change| (change.kind, change.entity.is_some())).collect();
        assert_eq!(told, [(Kind::Routes, true), (Kind::Snis, false), (Kind::Certificates, true)]);
        assert!(changes[0].entity.as_ref().is_some_and(|route| route["service"]["id"].is_string()));
        assert_eq!(changes.last().map(|change| change.version), Some(estate.version()));
        for _ in 0..509 {
            estate.write(Write::Nothing, AT);
        }
        assert!(estate.changes_since(version).is_some(), "512 changes");
        estate.write(Write::Nothing, AT);
        assert_eq!(estate.changes_since(version), None, "513 changes");
        assert_eq!(estate.changes_since(0), None);
        assert_eq!(estate.changes_since(estate.version() + 1), None);
        assert_eq!(estate.everything().len(), estate.total());
    }
}
