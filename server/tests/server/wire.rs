//! Simulated nodes and control planes meet on the wire, over TCP on 127.0.0.1 and TLS.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};
use tidemark_domain::hash::ConfigHash;
use tidemark_domain::time::Timestamp;
use tidemark_server::clock::Clock;
use tidemark_server::cluster_tls::trust::{Mtls, Trust};
use tidemark_server::cluster_tls::{ControlPlaneTls, NodeTls, Throwaway, TlsVersions};
use tidemark_server::kong::facts::{ApplyFailure, PluginVersion};
use tidemark_server::kong::hash::table_hashes;
use tidemark_server::simulate::estate::{Counts, Estate, Write};
use tidemark_server::simulate::wire::commands::{self, ControlPlaneCommand, Nodes, RpcMode, Sync};
use tidemark_server::simulate::wire::control_plane::{ControlPlane, Rpc, Settings};
use tidemark_server::simulate::wire::data_plane::{Conduct, DataPlane, Dialler, Fault, Orders, Seen, Surroundings};
use tidemark_server::simulate::wire::node::{Flavour, Node, Profile, SyncMode};
use tidemark_server::simulate::wire::pace::{Between, Pace};
use tidemark_server::simulate::wire::published_estate::PublishedEstate;
use tidemark_server::simulate::wire::publishing::slot;
use tidemark_server::simulate::wire::table::Table;
use tidemark_server::simulate::wire::websocket::Room;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

/// A minute of Kong's in a second.
pub const FAST: f64 = 60.0;
/// What a machine may take for anything that takes no time.
pub const SOON: Duration = Duration::from_secs(120);

pub fn now() -> Timestamp {
    Clock::machine().now()
}

pub fn pace() -> Pace {
    Pace::faster(FAST).unwrap()
}

/// A table that is not only workspaces, with one service of this port.
pub fn table(port: u16) -> Map<String, Value> {
    let table = json!({
        "_format_version": "3.0",
        "_transform": false,
        "workspaces": [{"id": "0dc6f45b-8f8d-40d2-a504-473544ee190b", "name": "default"}],
        "services": [{"id": "11111111-1111-4111-8111-111111111111", "name": "orders", "host": "x", "port": port}],
        "plugins": [{"id": "33333333-3333-4333-8333-333333333333", "name": "rate-limiting"}],
    });
    table.as_object().unwrap().clone()
}

pub fn hash(table: &Map<String, Value>) -> ConfigHash {
    table_hashes(table).config
}

/// A control plane on a port of its own.
pub struct Running {
    pub control_plane: ControlPlane,
    pub published: Arc<Table>,
    pub address: SocketAddr,
    stopped: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    pub async fn start(settings: Settings, published: Arc<Table>) -> Self {
        let control_plane = ControlPlane::new(settings, Arc::clone(&published) as _);
        Self::resume(control_plane, published, "127.0.0.1:0".parse().unwrap()).await
    }

    pub async fn resume(control_plane: ControlPlane, published: Arc<Table>, address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let stopped = CancellationToken::new();
        let task = tokio::spawn({
            let (control_plane, stopped) = (control_plane.clone(), stopped.clone());
            async move { control_plane.run(listener, stopped).await }
        });
        Self { control_plane, published, address, stopped, task }
    }

    pub async fn stop(self) -> (ControlPlane, Arc<Table>, SocketAddr) {
        self.stopped.cancel();
        timeout(SOON, self.task).await.expect("it stops").unwrap();
        (self.control_plane, self.published, self.address)
    }

    pub fn status_of(&self, node: &str) -> Option<(&'static str, ConfigHash)> {
        self.control_plane.records().row(node).map(|row| (row.sync_status, row.hash))
    }
}

/// `shared` mode on both sides.
fn shared() -> (ControlPlaneTls, NodeTls) {
    let certificate = Throwaway::cluster(now()).unwrap().loaded().unwrap();
    (
        ControlPlaneTls::shared(&certificate, TlsVersions::Both).unwrap(),
        NodeTls::shared(&certificate, TlsVersions::Both).unwrap(),
    )
}

pub fn settings(tls: ControlPlaneTls) -> Settings {
    Settings { pace: pace(), ..Settings::new(tls, "3.9.3") }
}

pub fn surroundings(address: SocketAddr, tls: NodeTls) -> Arc<Surroundings> {
    let dialler = Dialler { address: address.to_string(), tls };
    Surroundings::new(dialler, pace(), Room::of(64 << 20))
}

pub fn node(id: &str, gateway_version: &str) -> Node {
    let labels = BTreeMap::from([("region".to_owned(), "eu".to_owned())]);
    let profile = Profile::bundled(&gateway_version.parse().unwrap(), &labels, SyncMode::V1);
    Node::new(id, "dp-eu-1", gateway_version, Arc::new(profile)).unwrap()
}

pub fn spawn(surroundings: &Arc<Surroundings>, node: Node, conduct: Conduct) -> DataPlane {
    let orders = Orders { node: Arc::new(node), conduct };
    DataPlane::spawn(Arc::clone(surroundings), orders, ConfigHash::ZEROS, 1)
}

/// Waits until a node is seen like this.
pub async fn until(node: &DataPlane, what: &str, is_so: impl Fn(&Seen) -> bool) -> Seen {
    let mut seen = node.seen();
    let found = timeout(SOON, seen.wait_for(|seen| is_so(seen))).await.map(|found| found.unwrap().clone());
    found.unwrap_or_else(|_| panic!("{what}: {:?}", node.seen().borrow().clone()))
}

/// Waits until something is so.
pub async fn eventually(what: &str, is_so: impl Fn() -> bool) {
    let wait = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(SOON, wait).await.unwrap_or_else(|_| panic!("never: {what}"));
}

/// A node against a control plane, from the empty node to the second configuration and past the restart of its control
/// plane.
async fn a_node_lives(control_plane: ControlPlaneTls, node_tls: NodeTls) {
    let running = Running::start(settings(control_plane), Table::new("3.9.3", table(1))).await;
    let node = spawn(&surroundings(running.address, node_tls), node("n1", "3.9.3"), Conduct::default());
    until(&node, "the first configuration", |seen| seen.stored == hash(&table(1))).await;
    eventually("its row", || running.status_of("n1") == Some(("normal", hash(&table(1))))).await;
    let row = running.control_plane.records().row("n1").unwrap();
    assert_eq!((row.hostname.as_str(), row.gateway_version.as_str()), ("dp-eu-1", "3.9.3"));
    assert_eq!((row.ip.to_string().as_str(), row.labels["region"].as_str()), ("127.0.0.1", "eu"));
    assert!(row.certificate_expires.is_some());
    running.published.replace(table(2));
    until(&node, "the second configuration", |seen| seen.stored == hash(&table(2))).await;
    until(&node, "heartbeats that are answered", |seen| seen.v1.answered > 3).await;
    let (control_plane, published, address) = running.stop().await;
    until(&node, "the end of the connection", |seen| !seen.v1.is_open).await;
    published.replace(table(3));
    let running = Running::resume(control_plane, published, address).await;
    let seen = until(&node, "a reconnect", |seen| seen.stored == hash(&table(3))).await;
    assert_eq!((seen.v1.connects, seen.applied), (2, 3));
    running.stop().await;
}

#[tokio::test]
async fn shared_mode_serves_nodes_of_both_versions_of_tls() {
    for make in [Throwaway::cluster, Throwaway::cluster_of_version_1] {
        let certificate = make(now()).unwrap().loaded().unwrap();
        for versions in [TlsVersions::Only12, TlsVersions::Only13] {
            let control_plane = ControlPlaneTls::shared(&certificate, TlsVersions::Both).unwrap();
            a_node_lives(control_plane, NodeTls::shared(&certificate, versions).unwrap()).await;
        }
    }
}

#[tokio::test]
async fn pki_mode_serves_nodes_of_both_versions_of_tls() {
    let authority = Throwaway::authority(now()).unwrap();
    let trusted = authority.loaded().unwrap();
    let control_plane = authority.issue("control_plane.lab.test", true).unwrap().loaded().unwrap();
    let node = authority.issue("dp1.lab.test", false).unwrap().loaded().unwrap();
    for versions in [TlsVersions::Only12, TlsVersions::Only13] {
        let control_plane = ControlPlaneTls::pki(&control_plane, &trusted, TlsVersions::Both).unwrap();
        let node = NodeTls::pki(&node, &trusted, "control_plane.lab.test", versions).unwrap();
        a_node_lives(control_plane, node).await;
    }
}

#[tokio::test]
async fn a_stranger_gets_no_answer() {
    let (control_plane, _) = shared();
    let running = Running::start(settings(control_plane), Table::new("3.9.3", table(1))).await;
    let (_, stranger) = shared();
    let node = spawn(&surroundings(running.address, stranger), node("n1", "3.9.3"), Conduct::default());
    let seen = until(&node, "an attempt", |seen| seen.v1.over.is_some()).await;
    assert_eq!(seen.v1.connects, 0);
    running.stop().await;
}

/// A node that a control plane does not serve, and why.
async fn is_not_served(node: Node, status: &str, stays_connected: bool) {
    let (control_plane, node_tls) = shared();
    let running = Running::start(settings(control_plane), Table::new("3.9.3", table(1))).await;
    let node = spawn(&surroundings(running.address, node_tls), node, Conduct::default());
    eventually("its row", || running.status_of("n1").is_some_and(|(said, _)| said == status)).await;
    if stays_connected {
        let seen = until(&node, "heartbeats that are answered", |seen| seen.v1.answered > 2).await;
        assert_eq!((seen.v1.connects, seen.stored), (1, ConfigHash::ZEROS));
    } else {
        let seen = until(&node, "attempts", |seen| seen.v1.connects > 2).await;
        assert_eq!(seen.v1.over.as_deref(), Some("the control plane closed the connection"));
    }
    assert_eq!(running.status_of("n1").map(|(_, hash)| hash), Some(ConfigHash::ZEROS));
    running.stop().await;
}

#[tokio::test]
async fn who_is_not_compatible_is_not_served() {
    is_not_served(node("n1", "3.10.0"), "kong_version_incompatible", false).await;
    let with_plugins = |plugins: &[(&str, &str)]| {
        let plugin = |(name, version): &(&str, &str)| PluginVersion {
            name: (*name).to_owned(),
            version: Some((*version).to_owned()),
        };
        let plugins: Vec<_> = plugins.iter().map(plugin).collect();
        let profile = Profile::with_plugins(&plugins, &BTreeMap::new(), SyncMode::V1);
        Node::new("n1", "dp-eu-1", "3.9.3", Arc::new(profile)).unwrap()
    };
    is_not_served(with_plugins(&[("acl", "3.9.3")]), "plugin_set_incompatible", true).await;
    is_not_served(with_plugins(&[("rate-limiting", "3.10.0")]), "plugin_version_incompatible", true).await;
}

/// A node that behaves badly, from its start on.
async fn misbehaving(conduct: Conduct, is_konnect: bool) -> (Running, DataPlane) {
    let (control_plane, node_tls) = shared();
    let settings = Settings { is_konnect, ..settings(control_plane) };
    let running = Running::start(settings, Table::new("3.9.3", table(1))).await;
    let mut node = node("n1", "3.9.3");
    node.is_konnect = true;
    let node = spawn(&surroundings(running.address, node_tls), node, conduct);
    (running, node)
}

#[tokio::test]
async fn faults_have_the_consequences_that_they_have_with_kong() {
    let faulty = |fault| Conduct { fault: Some(fault), ..Conduct::default() };
    for fault in [Fault::PingOf(31), Fault::Text] {
        let (running, node) = misbehaving(faulty(fault), false).await;
        let seen = until(&node, "reconnects", |seen| seen.v1.connects > 2).await;
        assert_eq!(seen.v1.over.as_deref(), Some("the control plane closed the connection"), "{fault:?}");
        running.stop().await;
    }
    let (running, node) = misbehaving(faulty(Fault::Silent), false).await;
    let seen = until(&node, "reconnects", |seen| seen.v1.connects > 1).await;
    assert_eq!(seen.v1.over.as_deref(), Some("the control plane closed the connection"));
    running.stop().await;
    // What the node itself sends is smaller.
    let (running, node) = misbehaving(faulty(Fault::RefusesAbove(8_000)), false).await;
    let mut large = table(2);
    let digits: String = (0..1_000).map(|number| table_hashes(&table(number)).config.to_string()).collect();
    large["services"][0]["path"] = digits.into();
    running.published.replace(large);
    let seen = until(&node, "reconnects", |seen| seen.v1.connects > 2).await;
    assert!(seen.v1.over.unwrap().starts_with("exceeding max payload len"));
    running.stop().await;
    let (running, node) = misbehaving(faulty(Fault::RepeatsTheOld), false).await;
    let seen = until(&node, "heartbeats", |seen| seen.applied == 1 && seen.v1.answered > 3).await;
    assert_eq!((seen.v1.connects, seen.stored), (1, ConfigHash::ZEROS));
    running.stop().await;
}

#[tokio::test]
async fn what_cannot_be_applied_is_reported_to_konnect_alone() {
    let failure = ApplyFailure {
        version: None,
        name: Some("configuration reload failed".into()),
        source: None,
        message: Some("map full".into()),
        entities: vec![],
    };
    let conduct = Conduct { apply_fails: Some(Arc::new(failure)), ..Conduct::default() };
    let (running, node) = misbehaving(conduct.clone(), true).await;
    let seen = until(&node, "heartbeats", |seen| seen.failed == 1 && seen.v1.answered > 3).await;
    assert_eq!((seen.v1.connects, seen.stored, seen.applied), (1, ConfigHash::ZEROS, 0));
    node.order(|orders| orders.conduct.apply_fails = None);
    running.published.replace(table(2));
    until(&node, "the next configuration", |seen| seen.stored == hash(&table(2))).await;
    running.stop().await;
    let (running, node) = misbehaving(conduct, false).await;
    until(&node, "Kong's own control plane ends the connection", |seen| seen.v1.connects > 1).await;
    running.stop().await;
}

#[tokio::test]
async fn a_process_that_stops_keeps_its_cache() {
    let (running, node) = misbehaving(Conduct::default(), false).await;
    until(&node, "the configuration", |seen| seen.stored == hash(&table(1))).await;
    node.order(|orders| orders.conduct.is_running = false);
    until(&node, "no connection", |seen| !seen.v1.is_open).await;
    node.order(|orders| {
        orders.conduct.is_running = true;
        orders.node = Arc::new(Node { hostname: "renamed".into(), ..(*orders.node).clone() });
    });
    until(&node, "a connection", |seen| seen.v1.connects == 2).await;
    let renamed = || running.control_plane.records().row("n1").is_some_and(|row| row.hostname == "renamed");
    eventually("the new name in its row", renamed).await;
    let seen = until(&node, "the same configuration again", |seen| seen.applied == 2).await;
    assert_eq!(seen.stored, hash(&table(1)));
    running.stop().await;
}

#[tokio::test]
async fn a_second_change_waits_and_takes_the_others_with_it() {
    let (running, node) = misbehaving(Conduct::default(), false).await;
    until(&node, "the first configuration", |seen| seen.stored == hash(&table(1))).await;
    for port in 2..=50 {
        running.published.replace(table(port));
    }
    let seen = until(&node, "the last configuration", |seen| seen.stored == hash(&table(50))).await;
    assert!(seen.applied <= 4, "{} configurations for 50 changes", seen.applied);
    running.stop().await;
}

/// A control plane with RPC and a node that wants it.
async fn with_rpc(rpc: Option<Rpc>, sync: SyncMode, gateway_version: &str) -> (Running, DataPlane) {
    let (control_plane, node_tls) = shared();
    let settings = Settings { rpc, ..settings(control_plane) };
    let running = Running::start(settings, Table::new("3.9.3", table(1))).await;
    let node = Node { sync, ..node("n1", gateway_version) };
    let node = spawn(&surroundings(running.address, node_tls), node, Conduct::default());
    (running, node)
}

const FLAVOURS: [Flavour; 2] = [Flavour::Integers, Flavour::Tokens];

fn syncing(flavour: Flavour) -> Option<Rpc> {
    Some(Rpc { flavour, syncs: true })
}

#[tokio::test]
async fn v2_syncs_versions_as_they_come() {
    for flavour in FLAVOURS {
        let (running, node) = with_rpc(syncing(flavour), SyncMode::V2(flavour), "3.9.3").await;
        until(&node, "the first sync", |seen| seen.stored == slot(flavour, 0) && seen.applied > 0).await;
        for version in 1..=5 {
            running.published.replace(table(version));
            let expected = slot(flavour, u64::from(version));
            until(&node, "a version", |seen| seen.stored == expected).await;
            eventually("its row", || running.status_of("n1") == Some(("normal", expected))).await;
        }
        let row = running.control_plane.records().row("n1").unwrap();
        assert_eq!((row.hostname.as_str(), row.capabilities), ("n1", vec!["kong.sync.v2".to_owned()]));
        let seen = until(&node, "more questions", |seen| seen.v2.answered > 8).await;
        assert_eq!((seen.v2.connects, seen.v1.connects), (1, 0), "no v1 beside it");
        running.stop().await;
    }
}

#[tokio::test]
async fn v2_gets_everything_where_deltas_are_too_many() {
    let (running, node) = with_rpc(syncing(Flavour::Integers), SyncMode::V2(Flavour::Integers), "3.9.3").await;
    until(&node, "the first sync", |seen| seen.applied > 0).await;
    running.published.replace(table(1));
    until(&node, "a delta", |seen| seen.stored == slot(Flavour::Integers, 1)).await;
    node.order(|orders| orders.conduct.is_running = false);
    until(&node, "no connection", |seen| !seen.v2.is_open).await;
    for port in 0..600 {
        running.published.replace(table(port));
    }
    node.order(|orders| orders.conduct.is_running = true);
    until(&node, "the newest", |seen| seen.stored == slot(Flavour::Integers, 601)).await;
    running.stop().await;
}

#[tokio::test]
async fn v2_keeps_its_version_where_it_cannot_apply() {
    for flavour in FLAVOURS {
        let (running, node) = with_rpc(syncing(flavour), SyncMode::V2(flavour), "3.9.3").await;
        until(&node, "the first sync", |seen| seen.applied > 0).await;
        running.published.replace(table(1));
        until(&node, "a version", |seen| seen.stored == slot(flavour, 1)).await;
        let failure =
            ApplyFailure { version: None, name: None, source: None, message: Some("invalid".into()), entities: vec![] };
        node.order(|orders| orders.conduct.apply_fails = Some(Arc::new(failure)));
        running.published.replace(table(2));
        let seen = until(&node, "failures", |seen| seen.failed > 1).await;
        assert_eq!((seen.stored, seen.v2.connects), (slot(flavour, 1), 1));
        assert_eq!(running.status_of("n1"), Some(("normal", slot(flavour, 1))));
        node.order(|orders| orders.conduct.apply_fails = None);
        until(&node, "the version after all", |seen| seen.stored == slot(flavour, 2)).await;
        running.stop().await;
    }
}

/// `kong-hybrid.md` 2.1.
#[tokio::test]
async fn v1_runs_beside_v2_where_the_sync_is_not_offered_and_only_there() {
    let want = SyncMode::V2(Flavour::Integers);
    let off = Some(Rpc { flavour: Flavour::Integers, syncs: false });
    for (rpc, sync, gateway_version) in [
        (off, want, "3.9.3"),
        // Lower than its control plane.
        (syncing(Flavour::Integers), want, "3.9.2"),
        (syncing(Flavour::Integers), SyncMode::V1WithRpc, "3.9.3"),
    ] {
        let (running, node) = with_rpc(rpc, sync, gateway_version).await;
        let both = |seen: &Seen| seen.stored == hash(&table(1)) && seen.v2.is_open && seen.v1.is_open;
        let seen = until(&node, "both connections", both).await;
        assert_eq!(seen.v2.sent, 0, "it asks nothing");
        running.stop().await;
    }
    let (running, node) = with_rpc(None, want, "3.9.3").await;
    let seen = until(&node, "an attempt", |seen| seen.v2.over.is_some()).await;
    assert_eq!(seen.v2.over.as_deref(), Some("unexpected HTTP response code: 404"));
    assert_eq!((seen.v1.connects, seen.v2.connects), (0, 0), "it does not fall back");
    running.stop().await;
}

#[tokio::test]
async fn two_nodes_of_one_id_share_a_row() {
    let (control_plane, node_tls) = shared();
    let running = Running::start(settings(control_plane), Table::new("3.9.3", table(1))).await;
    let surroundings = surroundings(running.address, node_tls);
    let failing = Conduct { fault: Some(Fault::RepeatsTheOld), ..Conduct::default() };
    let one = spawn(&surroundings, node("n1", "3.9.3"), Conduct::default());
    let other = spawn(&surroundings, node("n1", "3.9.3"), failing);
    until(&one, "the configuration", |seen| seen.stored == hash(&table(1))).await;
    until(&other, "heartbeats", |seen| seen.v1.answered > 2).await;
    let row = || running.status_of("n1").map(|(_, hash)| hash);
    eventually("the one", || row() == Some(hash(&table(1)))).await;
    eventually("the other", || row() == Some(ConfigHash::ZEROS)).await;
    running.stop().await;
}

/// Resident memory of this process, in KiB; Linux says.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().split(' ').next()?.parse().ok()).unwrap_or(0)
}

/// 200 nodes; as many as `TIDEMARK_WIRE_NODES` says, with the database that `TIDEMARK_WIRE_ENTITIES` names:
///
///     TIDEMARK_WIRE_NODES=2000 TIDEMARK_WIRE_ENTITIES=30000 cargo test --release --package tidemark --test server \
///         wire::a_process_holds -- --nocapture
#[tokio::test(flavor = "multi_thread")]
async fn a_process_holds_many_connections() {
    let count: usize = std::env::var("TIDEMARK_WIRE_NODES").map_or(200, |count| count.parse().unwrap());
    let entities = std::env::var("TIDEMARK_WIRE_ENTITIES").unwrap_or_else(|_| "small".to_owned());
    let (_, counts) = Counts::PRESETS.into_iter().find(|(name, _)| *name == entities).unwrap();
    tidemark_server::descriptors::make_room_for(2 * count as u64).unwrap();
    let (control_plane, node_tls) = shared();
    let published = PublishedEstate::new("3.9.3".parse().unwrap(), Estate::new(1, "cp", counts, now()));
    let settings = Settings { pace: Pace::KONG, ..Settings::new(control_plane, "3.9.3") };
    let control_plane = ControlPlane::new(settings, Arc::clone(&published) as _);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stopped = CancellationToken::new();
    let running = tokio::spawn({
        let (control_plane, stopped) = (control_plane.clone(), stopped.clone());
        async move { control_plane.run(listener, stopped).await }
    });
    let surroundings =
        Surroundings::new(Dialler { address: address.to_string(), tls: node_tls }, Pace::KONG, Room::of(128 << 20));
    let template = node("template", "3.9.3");
    let before = resident();
    let nodes: Vec<DataPlane> = (0..count)
        .map(|number| {
            let id = format!("{number:08}-0000-4000-8000-000000000000");
            spawn(&surroundings, Node { id: id.into(), ..template.clone() }, Conduct::default())
        })
        .collect();
    let began = Instant::now();
    let everyone = |applied: u64| nodes.iter().all(|node| node.seen().borrow().applied >= applied);
    let patience = Duration::from_secs(300);
    let wait = async |applied: u64| {
        while !everyone(applied) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(patience, wait(1)).await.expect("everyone has a configuration");
    let first = began.elapsed();
    let each = resident().saturating_sub(before) as f64 / (2 * count) as f64;
    let began = Instant::now();
    published.write(Write::Route, now());
    timeout(patience, wait(2)).await.expect("everyone has the change");
    println!(
        "{count} nodes and as many connections of the control plane: all configured after {:.1} s, {each:.1} KiB a \
         connection; all changed after {:.1} s; {} KiB in all",
        first.as_secs_f64(),
        began.elapsed().as_secs_f64(),
        resident()
    );
    let connects: u64 = nodes.iter().map(|node| node.seen().borrow().v1.connects).sum();
    assert_eq!(connects, count as u64, "nobody came twice");
    drop(nodes);
    stopped.cancel();
    timeout(patience, running).await.expect("it stops").unwrap();
}

#[tokio::test]
async fn the_commands_run_nodes_against_a_control_plane() {
    let folder = tempfile::tempdir().unwrap();
    let made = commands::ClusterCert {
        certificate: folder.path().join("cluster.crt"),
        key: folder.path().join("cluster.key"),
        as_gen_cert: true,
    };
    commands::cluster_cert(&made).unwrap();
    assert!(commands::cluster_cert(&made).is_err(), "what is there is not written over");
    let trust = Trust {
        cluster_cert: made.certificate,
        cluster_cert_key: made.key,
        cluster_mtls: Mtls::Shared,
        cluster_ca_cert: None,
        cluster_allowed_common_names: Vec::new(),
        cluster_crl: None,
    };
    let control_plane = ControlPlaneCommand {
        listen: "127.0.0.1:0".parse().unwrap(),
        admin_listen: Some("127.0.0.1:0".parse().unwrap()),
        trust: trust.clone(),
        gateway_version: "3.9.3".parse().unwrap(),
        entities: Counts::SMALL,
        write_every: 10,
        rpc: RpcMode::Sync,
        konnect: false,
        seed: 1,
        speed: pace(),
    };
    let stopped = CancellationToken::new();
    let (ready, listening) = tokio::sync::oneshot::channel();
    let serving = tokio::spawn(commands::control_plane(control_plane, stopped.clone(), |nodes, admin| {
        ready.send((nodes, admin.unwrap())).unwrap();
    }));
    let (address, admin) = timeout(SOON, listening).await.unwrap().unwrap();
    let nodes = |sync, count| Nodes {
        connect: address.to_string(),
        trust: trust.clone(),
        cluster_server_name: None,
        count,
        gateway_version: vec!["3.9.3".parse().unwrap(), "3.4.2".parse().unwrap()],
        labels: vec![("region".to_owned(), "eu".to_owned())],
        sync,
        apply_takes: Between::always(Duration::from_millis(100)),
        fault: None,
        faulty: 1,
        konnect: false,
        seed: u64::from(count),
        speed: pace(),
    };
    let running: Vec<_> = [nodes(Sync::V1, 4), nodes(Sync::V2, 3)]
        .map(|asked| tokio::spawn(commands::nodes(asked, stopped.clone())))
        .into();
    let rows = async || -> Vec<Value> {
        let answer = reqwest::get(format!("http://{admin}/clustering/data-planes")).await.unwrap();
        answer.json::<Value>().await.unwrap()["data"].as_array().unwrap().clone()
    };
    let all_run_something = async {
        loop {
            let rows = rows().await;
            let empty = rows.iter().filter(|row| row["config_hash"] == ConfigHash::ZEROS.as_str()).count();
            if rows.len() == 7 && empty == 0 {
                break rows;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let rows = timeout(SOON, all_run_something).await.expect("all nodes have a configuration");
    assert!(rows.iter().all(|row| row["sync_status"] == "normal"));
    // The older ones of v2 sync by v1.
    let tokens = rows.iter().filter(|row| row["config_hash"].as_str().unwrap().starts_with("000000000000")).count();
    assert_eq!(tokens, 2);
    stopped.cancel();
    for task in running {
        timeout(SOON, task).await.unwrap().unwrap().unwrap();
    }
    timeout(SOON, serving).await.unwrap().unwrap().unwrap();
}
