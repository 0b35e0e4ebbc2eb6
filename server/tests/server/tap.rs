//! A simulated fleet on the wire, a real tap in between, and a real server that it tells.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;
use tidemark_domain::hash::ConfigHash;
use tidemark_domain::policy::Policy;
use tidemark_domain::time::Timestamp;
use tidemark_server::clock::Clock;
use tidemark_server::cluster_tls::trust::{Mtls, Trust};
use tidemark_server::cluster_tls::{ControlPlaneTls, NodeTls, Throwaway, TlsVersions};
use tidemark_server::http::DoorLimits;
use tidemark_server::ingest::Ingest;
use tidemark_server::simulate::estate::{Counts, Estate, Kind, Rendering, Write};
use tidemark_server::simulate::wire::control_plane::{ControlPlane, Settings};
use tidemark_server::simulate::wire::data_plane::{Conduct, DataPlane, Dialler, Orders, Surroundings};
use tidemark_server::simulate::wire::node::{Node, Profile, SyncMode};
use tidemark_server::simulate::wire::pace::Pace;
use tidemark_server::simulate::wire::published_estate::PublishedEstate;
use tidemark_server::simulate::wire::websocket::Room;
use tidemark_server::tap::commands::{Tap, tap_at};
use tidemark_server::{run, service};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

/// What a machine may take for anything.
pub const SOON: Duration = Duration::from_secs(120);
const START: &str = "2026-11-20T03:00:00Z";

/// The time of a story: it goes faster than the machine's, and may leap where nothing happens.
#[derive(Clone)]
pub struct Time {
    pub clock: Clock,
    pub pace: Pace,
}

impl Time {
    /// Some minutes of the story in one of the machine.
    pub fn start(speed: i64) -> Self {
        Self::paced(speed, 1, Pace::faster(speed as f64).unwrap())
    }

    /// Nodes live at Kong's pace, and the story's clock goes slower, as this machine is slower than the many that a fleet
    /// has.
    fn slow(times: i64) -> Self {
        Self::paced(1, times, Pace::KONG)
    }

    fn paced(speed: i64, slowness: i64, pace: Pace) -> Self {
        let clock = Clock::by_hand(Timestamp::parse(START).unwrap());
        let ticking = clock.clone();
        tokio::spawn(async move {
            let began = Instant::now();
            let mut told = 0;
            loop {
                sleep(Duration::from_millis(2)).await;
                let now = i64::try_from(began.elapsed().as_millis()).unwrap() * speed / slowness;
                ticking.advance(now - told);
                told = now;
            }
        });
        Self { clock, pace }
    }

    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Waits for a span of the story.
    pub async fn pass(&self, seconds: u64) {
        self.pace.wait(Duration::from_secs(seconds)).await;
    }
}

/// A server behind a real listener.
pub struct Server {
    pub address: SocketAddr,
    pub ingest: Ingest,
    database: PathBuf,
    clock: Clock,
    closing: CancellationToken,
    task: JoinHandle<()>,
}

impl Server {
    pub async fn start(database: &Path, clock: Clock, address: &str) -> Self {
        let closing = CancellationToken::new();
        let running = run::live(database, clock.clone(), Policy::default(), closing.clone()).await.unwrap();
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let closed = closing.clone();
        let ingest = running.parts.ingest.clone();
        let task = tokio::spawn(async move {
            let closed = async move { closed.cancelled().await };
            service::serve(running.parts, listener, None, DoorLimits::default(), closed).await.unwrap();
            running.writer.unwrap().await.unwrap();
            running.store.close().await.unwrap();
        });
        Self { address, ingest, database: database.to_owned(), clock, closing, task }
    }

    pub async fn stop(self) -> (PathBuf, Clock, String) {
        self.closing.cancel();
        timeout(SOON, self.task).await.expect("it stops").unwrap();
        (self.database, self.clock, self.address.to_string())
    }

    pub async fn get(&self, path: &str, query: &str) -> Value {
        let mut url = reqwest::Url::parse(&format!("http://{}{path}", self.address)).unwrap();
        if !query.is_empty() {
            url.query_pairs_mut().append_pair("q", query);
        }
        reqwest::get(url).await.unwrap().json().await.unwrap()
    }

    /// How many nodes a search finds.
    pub async fn count(&self, query: &str) -> u64 {
        let answer = self.get("/api/v1/nodes", query).await;
        answer["total"].as_u64().unwrap_or_else(|| panic!("{answer}"))
    }

    pub async fn rows(&self, query: &str) -> Vec<Value> {
        self.get("/api/v1/nodes", query).await["nodes"].as_array().unwrap().clone()
    }

    /// Waits until a search finds so many nodes.
    pub async fn until(&self, query: &str, nodes: u64) {
        let began = Instant::now();
        loop {
            let found = self.count(query).await;
            if found == nodes {
                return;
            }
            if began.elapsed() > SOON {
                let all = self.get("/api/v1/nodes", "").await;
                panic!("{query}: {found}, expected {nodes}; {all:#}");
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    pub async fn notices(&self) -> Vec<(String, String)> {
        let fleet = self.get("/api/v1/fleet", "").await;
        let notices = fleet["notices"].as_array().cloned().unwrap_or_default();
        let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        notices.iter().map(|notice| (word(&notice["kind"]), word(&notice["severity"]))).collect()
    }
}

/// The cluster certificate of a fleet, as files and read.
pub struct Cluster {
    pub trust: Trust,
    pub control_plane: ControlPlaneTls,
    pub node: NodeTls,
}

impl Cluster {
    /// As Kong's own tool writes it: X.509 version 1.
    pub fn make(folder: &Path, now: Timestamp) -> Self {
        Self::of(&Throwaway::cluster_of_version_1(now).unwrap(), folder)
    }

    /// Of a curve that is quick to sign with, for thousands of handshakes.
    fn quick(folder: &Path, now: Timestamp) -> Self {
        Self::of(&Throwaway::cluster(now).unwrap(), folder)
    }

    fn of(made: &Throwaway, folder: &Path) -> Self {
        let (certificate, key) = (folder.join("cluster.crt"), folder.join("cluster.key"));
        std::fs::write(&certificate, &made.certificate).unwrap();
        std::fs::write(&key, &made.key).unwrap();
        let loaded = made.loaded().unwrap();
        Self {
            trust: Trust {
                cluster_cert: certificate,
                cluster_cert_key: key,
                cluster_mtls: Mtls::Shared,
                cluster_ca_cert: None,
                cluster_allowed_common_names: Vec::new(),
                cluster_crl: None,
            },
            control_plane: ControlPlaneTls::shared(&loaded, TlsVersions::Both).unwrap(),
            node: NodeTls::shared(&loaded, TlsVersions::Both).unwrap(),
        }
    }
}

/// A control plane on a port of its own.
pub struct Replica {
    pub control_plane: ControlPlane,
    pub address: SocketAddr,
    stopped: CancellationToken,
    task: JoinHandle<()>,
}

impl Replica {
    pub async fn start(published: &Arc<PublishedEstate>, tls: ControlPlaneTls, time: &Time) -> Self {
        let settings = Settings { pace: time.pace, clock: time.clock.clone(), ..Settings::new(tls, "3.9.3") };
        Self::resume(ControlPlane::new(settings, Arc::clone(published) as _), "127.0.0.1:0".parse().unwrap()).await
    }

    pub async fn resume(control_plane: ControlPlane, address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let stopped = CancellationToken::new();
        let task = tokio::spawn({
            let (control_plane, stopped) = (control_plane.clone(), stopped.clone());
            async move { control_plane.run(listener, stopped).await }
        });
        Self { control_plane, address, stopped, task }
    }

    pub async fn stop(self) -> (ControlPlane, SocketAddr) {
        self.stopped.cancel();
        timeout(SOON, self.task).await.expect("it stops").unwrap();
        (self.control_plane, self.address)
    }
}

/// A running tap.
pub struct Tapping {
    pub address: SocketAddr,
    stopped: CancellationToken,
    task: JoinHandle<()>,
}

impl Tapping {
    pub async fn start(replica: SocketAddr, server: &Server, trust: &Trust, spool: PathBuf, time: &Time) -> Self {
        Self::start_for(replica, server, trust, spool, time, None).await
    }

    async fn start_for(
        replica: SocketAddr,
        server: &Server,
        trust: &Trust,
        spool: PathBuf,
        time: &Time,
        server_name: Option<&str>,
    ) -> Self {
        let asked = Tap {
            control_plane: "eu".parse().unwrap(),
            listen: "127.0.0.1:0".parse().unwrap(),
            connect: replica.to_string(),
            trust: trust.clone(),
            cluster_server_name: server_name.map(str::to_owned),
            to: format!("http://{}", server.address),
            spool,
            spool_max: 64,
            copies_max: 256,
            configuration_max: 64,
        };
        let stopped = CancellationToken::new();
        let (ready, listening) = tokio::sync::oneshot::channel();
        let (clock, stop) = (time.clock.clone(), stopped.clone());
        let task = tokio::spawn(async move {
            tap_at(asked, clock, stop, |address| ready.send(address).unwrap()).await.unwrap();
        });
        let address = timeout(SOON, listening).await.unwrap().unwrap();
        Self { address, stopped, task }
    }

    pub async fn stop(self) {
        self.stopped.cancel();
        timeout(SOON, self.task).await.expect("it stops").unwrap();
    }
}

/// Nodes of one network.
pub struct Nodes {
    surroundings: Arc<Surroundings>,
    profile: Arc<Profile>,
}

impl Nodes {
    /// Which dial an address.
    pub fn of(address: SocketAddr, tls: &NodeTls, time: &Time) -> Self {
        let dialler = Dialler { address: address.to_string(), tls: tls.clone() };
        let labels = BTreeMap::from([("region".to_owned(), "eu".to_owned())]);
        Self {
            surroundings: Surroundings::new(dialler, time.pace, Room::of(256 << 20)),
            profile: Arc::new(Profile::bundled(&"3.9.3".parse().unwrap(), &labels, SyncMode::V1)),
        }
    }

    /// One that starts with this configuration on its disk.
    fn start(&self, name: &str, stored: ConfigHash) -> DataPlane {
        self.start_as(name, name, stored)
    }

    /// The same under an id that is not its hostname.
    pub fn start_as(&self, id: &str, hostname: &str, stored: ConfigHash) -> DataPlane {
        let node = Arc::new(Node::new(id, hostname, "3.9.3", Arc::clone(&self.profile)).unwrap());
        let orders = Orders { node, conduct: Conduct::default() };
        DataPlane::spawn(Arc::clone(&self.surroundings), orders, stored, hostname.len() as u64)
    }

    /// `name-1` to `name-count`, with nothing on their disks.
    pub fn start_all(&self, name: &str, count: u64) -> Vec<DataPlane> {
        (1..=count).map(|number| self.start(&format!("{name}-{number}"), ConfigHash::ZEROS)).collect()
    }
}

pub fn published(time: &Time) -> Arc<PublishedEstate> {
    PublishedEstate::new("3.9.3".parse().unwrap(), Estate::new(1, "eu", Counts::SMALL, time.now()))
}

fn connects(nodes: &[DataPlane]) -> u64 {
    nodes.iter().map(|node| node.seen().borrow().v1.connects).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_is_watched_through_a_tap_and_a_restart_of_the_server_closes_nothing() {
    let folder = TempDir::new().unwrap();
    let time = Time::start(20);
    let server = Server::start(&folder.path().join("tidemark.db"), time.clock.clone(), "127.0.0.1:0").await;
    let cluster = Cluster::make(folder.path(), time.now());
    let published = published(&time);
    let replica = Replica::start(&published, cluster.control_plane.clone(), &time).await;
    let tap = Tapping::start(replica.address, &server, &cluster.trust, folder.path().join("spool"), &time).await;
    let fleet = Nodes::of(tap.address, &cluster.node, &time).start_all("edge", 5);
    server.until("state:current", 5).await;
    let row = &server.rows("host:edge-1").await[0];
    assert_eq!((row["gateway_version"].as_str(), row["source"].as_str()), (Some("3.9.3"), Some("tap")), "{row:#}");

    let sources = server.get("/api/v1/sources", "").await;
    let shown = &sources["sources"][0];
    assert_eq!((shown["kind"].as_str(), shown["state"].as_str()), (Some("tap"), Some("up")), "{sources:#}");
    assert_eq!((&shown["control_plane"], &shown["last_error"]), (&json!("eu"), &Value::Null), "{sources:#}");

    published.write(Write::Route, time.now());
    server.until("config:v2 state:current", 5).await;
    let version = server.get("/api/v1/control-planes/eu/versions/2", "").await;
    let changed = &version["entities_changed"];
    assert_eq!((&changed["total"], &changed["before"]), (&json!(1), &json!(1)), "{version:#}");
    let entity = &changed["listed"][0];
    assert_eq!((&entity["entity_type"], entity["id"].is_string()), (&json!("routes"), true), "{version:#}");

    // The server goes, the fleet goes on, and what happened meanwhile is told afterwards.
    let (database, clock, address) = server.stop().await;
    time.pass(30).await;
    published.write(Write::Route, time.now());
    time.pass(60).await;
    let server = Server::start(&database, clock, &address).await;
    server.until("config:v3 state:current", 5).await;
    assert_eq!(connects(&fleet), 5, "nobody had to come twice");
    let versions = server.get("/api/v1/control-planes/eu/versions", "").await;
    let published_at = versions["versions"][0]["published_at"].as_str().unwrap().to_owned();
    let recorded_at = versions["versions"][0]["recorded_at"].as_str().unwrap().to_owned();
    assert!(published_at < recorded_at, "it was published while nobody listened: {published_at}, {recorded_at}");

    // The tap goes: whom it served is not seen, and nobody is behind.
    tap.stop().await;
    server.until("state:unobserved", 5).await;
    assert_eq!(server.count("state:behind").await, 0);
    drop(fleet);
    replica.stop().await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn g1a_on_the_wire_a_release_moves_the_expected_hash_of_a_version_that_is_known() {
    let folder = TempDir::new().unwrap();
    let time = Time::start(20);
    let server = Server::start(&folder.path().join("tidemark.db"), time.clock.clone(), "127.0.0.1:0").await;
    let cluster = Cluster::quick(folder.path(), time.now());
    let published = published(&time);
    let old = Replica::start(&published, cluster.control_plane.clone(), &time).await;
    let tap = Tapping::start(old.address, &server, &cluster.trust, folder.path().join("spool-1"), &time).await;
    let fleet = Nodes::of(tap.address, &cluster.node, &time).start_all("edge", 200);
    server.until("state:current", 200).await;

    // Another replica comes with the release, behind a tap of its own; a new, empty node is the first to reach it.
    published
        .rerender(Rendering { fields: vec![(Kind::Routes, "since".to_owned(), Value::Null)], ..Rendering::default() });
    let new = Replica::start(&published, cluster.control_plane.clone(), &time).await;
    let other_tap = Tapping::start(new.address, &server, &cluster.trust, folder.path().join("spool-2"), &time).await;
    let newcomer = Nodes::of(other_tap.address, &cluster.node, &time).start_all("newcomer", 1);
    server.until("state:current host:newcomer", 1).await;
    time.pass(120).await;
    assert_eq!(server.count("state:current host:edge").await, 200);
    let fleet_view = server.get("/api/v1/fleet", "").await;
    assert_eq!(fleet_view["out_of_sync_by_hash"], json!(200), "a comparison of hashes would have paged for each");
    let notices = server.notices().await;
    assert_eq!(notices, [("expected_moved_without_change".to_owned(), "info".to_owned())]);

    // It heals at the next change.
    published.write(Write::Route, time.now());
    server.until("config:v2 state:current", 201).await;
    server.until("state:unproven_alias", 0).await;
    assert_eq!(server.get("/api/v1/fleet", "").await["out_of_sync_by_hash"], json!(0));
    drop((fleet, newcomer));
    for tap in [tap, other_tap] {
        tap.stop().await;
    }
    for replica in [old, new] {
        replica.stop().await;
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn g5_on_the_wire_the_control_plane_is_down_for_three_hours() {
    let folder = TempDir::new().unwrap();
    let time = Time::start(20);
    let server = Server::start(&folder.path().join("tidemark.db"), time.clock.clone(), "127.0.0.1:0").await;
    let cluster = Cluster::make(folder.path(), time.now());
    let published = published(&time);
    let replica = Replica::start(&published, cluster.control_plane.clone(), &time).await;
    let tap = Tapping::start(replica.address, &server, &cluster.trust, folder.path().join("spool"), &time).await;
    let network = Nodes::of(tap.address, &cluster.node, &time);
    let (mut edge, mut probe) = (network.start_all("edge", 39), network.start_all("probe", 1));
    server.until("state:current", 40).await;
    let (control_plane, address) = replica.stop().await;
    time.pass(30).await;
    // Two restart; one of them lost what it had on disk, and its own Status API says so.
    let stored = edge[2].seen().borrow().stored;
    edge[2] = network.start("edge-3", stored);
    probe[0] = network.start("probe-1", ConfigHash::ZEROS);
    // Three hours in which nothing happens but that nodes try again.
    time.clock.advance(3 * 3_600_000);
    let empty = json!({"control_plane": "eu", "node_id": "probe-1", "hostname": "probe-1", "ready": false,
        "hash": "00000000000000000000000000000000"});
    let told = reqwest::Client::new().post(format!("http://{}/api/v1/heartbeats", server.address)).json(&empty);
    assert!(told.send().await.unwrap().status().is_success());
    server.until("overlay:cached", 39).await;
    server.until("state:empty", 1).await;
    assert_eq!(server.rows("state:empty").await[0]["id"], "probe-1");
    server.until("overlay:restart_unsafe state:disconnected", 39).await;
    assert_eq!(server.count("state:behind").await, 0);
    let notices = server.notices().await;
    assert!(notices.contains(&("control_plane_down".to_owned(), "page".to_owned())), "{notices:?}");

    // It comes back, and everybody with it.
    let replica = Replica::resume(control_plane, address).await;
    server.until("state:current overlay:none", 40).await;
    drop((edge, probe));
    tap.stop().await;
    replica.stop().await;
    server.stop().await;
}

/// 2,000 nodes, or as many as `TIDEMARK_TAP_NODES` says.
#[tokio::test(flavor = "multi_thread")]
async fn g6_on_the_wire_nodes_reconnect_within_ten_seconds() {
    let count: u64 = std::env::var("TIDEMARK_TAP_NODES").map_or(2_000, |count| count.parse().unwrap());
    tidemark_server::descriptors::make_room_for(4 * count).unwrap();
    let folder = TempDir::new().unwrap();
    let time = Time::slow(4);
    let server = Server::start(&folder.path().join("tidemark.db"), time.clock.clone(), "127.0.0.1:0").await;
    let cluster = Cluster::quick(folder.path(), time.now());
    let published = published(&time);
    let replica = Replica::start(&published, cluster.control_plane.clone(), &time).await;
    let spool = folder.path().join("spool");
    let tap = Tapping::start(replica.address, &server, &cluster.trust, spool, &time).await;
    let fleet = Nodes::of(tap.address, &cluster.node, &time).start_all("edge", count);
    server.until("state:current", count).await;
    // All connections break at once; nodes try again after five to ten seconds.
    let (control_plane, address) = replica.stop().await;
    let broken = Instant::now();
    let replica = Replica::resume(control_plane, address).await;
    let mut flapped = 0;
    loop {
        flapped = flapped.max(server.count("state:disconnected").await);
        if connects(&fleet) >= 2 * count && server.count("state:current").await == count {
            break;
        }
        assert!(broken.elapsed() < SOON, "{} of {count} came back", connects(&fleet) - count);
        sleep(Duration::from_millis(200)).await;
    }
    println!("{count} nodes came back through the tap after {:.1} s", broken.elapsed().as_secs_f64());
    assert_eq!(flapped, 0, "nobody flaps to disconnected");
    drop(fleet);
    tap.stop().await;
    replica.stop().await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tap_in_pki_mode_lets_in_whom_the_control_plane_would_and_nobody_else() {
    let folder = TempDir::new().unwrap();
    let time = Time::start(20);
    let server = Server::start(&folder.path().join("tidemark.db"), time.clock.clone(), "127.0.0.1:0").await;
    let authority = Throwaway::authority(time.now()).unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let issued = |name: &str| authority.issue(name, true).unwrap();
    let (of_cp, of_tap, of_node) = (issued("cp.example"), issued("tap.example"), issued("dp-1.example"));
    let trust = Trust {
        cluster_cert: write("tap.crt", &of_tap.certificate),
        cluster_cert_key: write("tap.key", &of_tap.key),
        cluster_mtls: Mtls::Pki,
        cluster_ca_cert: Some(write("ca.crt", &authority.certificate())),
        cluster_allowed_common_names: Vec::new(),
        cluster_crl: None,
    };
    let trusted = authority.loaded().unwrap();
    let control_plane = ControlPlaneTls::pki(&of_cp.loaded().unwrap(), &trusted, TlsVersions::Both).unwrap();
    let published = published(&time);
    let replica = Replica::start(&published, control_plane, &time).await;
    let spool = folder.path().join("spool");
    let tap = Tapping::start_for(replica.address, &server, &trust, spool, &time, Some("cp.example")).await;

    let node = |made: &Throwaway, authority: &_| {
        NodeTls::pki(&made.loaded().unwrap(), authority, "tap.example", TlsVersions::Only12).unwrap()
    };
    let fleet = Nodes::of(tap.address, &node(&of_node, &trusted), &time).start_all("edge", 1);
    server.until("state:current", 1).await;
    let row = &server.rows("host:edge-1").await[0];
    let expires = row["certificate_expires_at"].as_str().unwrap_or_else(|| panic!("{row:#}"));
    assert!(expires.starts_with("2029-11-1"), "of its own certificate: {expires}");

    // Someone with a certificate of another authority, who takes the tap for his control plane.
    let others = Throwaway::authority(time.now()).unwrap();
    let stranger = others.issue("dp-1.example", true).unwrap();
    let strangers = Nodes::of(tap.address, &node(&stranger, &trusted), &time).start_all("stranger", 1);
    time.pass(60).await;
    assert_eq!(strangers[0].seen().borrow().applied, 0);
    assert!(replica.control_plane.records().row("stranger-1").is_none(), "the control plane never met it");
    assert_eq!(server.count("").await, 1);
    drop((fleet, strangers));
    tap.stop().await;
    replica.stop().await;
    server.stop().await;
}
