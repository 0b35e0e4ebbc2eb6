//! A shadow at a simulated control plane, at one that a test plays by hand, and at recorded ones: over TCP on 127.0.0.1 and
//! TLS.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use flate2::{Compression, write::GzEncoder};
use futures::future::BoxFuture;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tempfile::TempDir;
use tidemark_domain::fact::{ConfigRef, Fact, Listening, Protocol, Said, Source, What, Word};
use tidemark_domain::hash::ConfigHash;
use tidemark_domain::time::{MINUTE, SECOND, Timestamp};
use tidemark_server::clock::Clock;
use tidemark_server::cluster_tls::trust::{Mtls, Trust};
use tidemark_server::cluster_tls::{ControlPlaneTls, Throwaway, TlsVersions};
use tidemark_server::import::recording::{Lines, Origin};
use tidemark_server::ingest::SubmitError;
use tidemark_server::kong::assemble::Assembler;
use tidemark_server::kong::frame::PAYLOAD_MAX;
use tidemark_server::kong::own;
use tidemark_server::kong::session::Opcode;
use tidemark_server::shadow::figures::{Figures, OfNode, Reason};
use tidemark_server::shadow::memory::MemoryError;
use tidemark_server::shadow::{Settings, Shadow, ShadowError, Sink};
use tidemark_server::simulate::estate::{Kind, Rendering, Write};
use tidemark_server::simulate::wire::control_plane::{ControlPlane, Rpc, Settings as ControlPlaneSettings};
use tidemark_server::simulate::wire::node::Flavour;
use tidemark_server::simulate::wire::pace::Pace;
use tidemark_server::simulate::wire::publishing::slot;
use tidemark_server::simulate::wire::table::Table;
use tidemark_server::simulate::wire::upgrade::{self, Answer};
use tidemark_server::simulate::wire::websocket::{Room, Side, WebSocket};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use crate::recorded::captures;
use crate::tap::{Cluster, Replica, SOON, Server, Time, published};
use crate::{wire, wire_recorded};

/// A minute of Kong's in a second.
const FAST: f64 = 60.0;

/// A shadow that runs.
struct Watching {
    figures: Arc<Figures>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Watching {
    fn start(settings: Settings, clock: Clock, sink: impl Sink) -> Self {
        let shadow = Shadow::open(settings, clock).unwrap();
        let (figures, stop) = (shadow.figures(), CancellationToken::new());
        let task = tokio::spawn(shadow.run(sink, stop.clone()));
        Self { figures, stop, task }
    }

    fn node(&self) -> OfNode {
        self.figures.nodes().remove(0)
    }

    async fn until(&self, what: &str, is_so: impl Fn(&OfNode) -> bool) -> OfNode {
        let began = Instant::now();
        loop {
            let node = self.node();
            if is_so(&node) {
                return node;
            }
            assert!(began.elapsed() < SOON, "never: {what}: {node:#?}");
            sleep(Duration::from_millis(2)).await;
        }
    }

    async fn stop(self) {
        self.stop.cancel();
        timeout(SOON, self.task).await.expect("it stops").unwrap();
    }
}

/// Facts that were told, in their order.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<Fact>>>);

impl Sink for Told {
    fn take(&self, facts: Vec<Fact>) -> BoxFuture<'_, Result<(), SubmitError>> {
        self.0.lock().extend(facts);
        Box::pin(async { Ok(()) })
    }
}

impl Told {
    fn words(&self) -> Vec<Word> {
        self.0.lock().iter().filter_map(|fact| word(&fact.what)).collect()
    }

    fn count(&self, is_it: impl Fn(&What) -> bool) -> usize {
        self.0.lock().iter().filter(|fact| is_it(&fact.what)).count()
    }

    async fn until(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let began = Instant::now();
        while !is_so(self) {
            assert!(began.elapsed() < SOON, "never: {what}: {:#?}", self.0.lock());
            sleep(Duration::from_millis(2)).await;
        }
    }
}

fn word(what: &What) -> Option<Word> {
    if let What::Word(word) = what { Some((**word).clone()) } else { None }
}

const fn is_down(what: &What) -> bool {
    matches!(what, What::ControlPlaneDown)
}

fn settings(address: SocketAddr, trust: &Trust, folder: &Path) -> Settings {
    let versions = vec!["3.9.3".parse().unwrap()];
    let folder = folder.join("shadow");
    let settings = Settings::new("eu", "eu".parse().unwrap(), &address.to_string(), trust.clone(), versions, folder);
    Settings { pace: Pace::faster(FAST).unwrap(), ..settings }
}

/// A control plane that a test plays.
struct Stage {
    listener: TcpListener,
    tls: ControlPlaneTls,
    trust: Trust,
    address: SocketAddr,
    _folder: TempDir,
}

/// A node that has connected to it, and asks for something.
struct Guest {
    stream: TlsStream<TcpStream>,
    head: Bytes,
    unread: BytesMut,
}

type Socket = WebSocket<TlsStream<TcpStream>>;

impl Stage {
    async fn open() -> Self {
        let folder = TempDir::new().unwrap();
        let cluster = Cluster::make(folder.path(), Clock::machine().now());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        Self { listener, tls: cluster.control_plane, trust: cluster.trust, address, _folder: folder }
    }

    fn watched(&self, folder: &TempDir, told: &Told) -> Watching {
        Watching::start(settings(self.address, &self.trust, folder.path()), Clock::machine(), told.clone())
    }

    async fn guest(&self) -> Guest {
        let arrived = async {
            loop {
                let (stream, _) = self.listener.accept().await.unwrap();
                let Ok((mut stream, peer)) = self.tls.accept(stream, Clock::machine().now()).await else { continue };
                assert_eq!(peer.refused, None);
                let Ok((head, unread)) = upgrade::read_head(&mut stream).await else { continue };
                break Guest { stream, head, unread };
            }
        };
        timeout(SOON, arrived).await.expect("it dials")
    }

    /// The next node, with a connection.
    async fn welcome(&self) -> Socket {
        let guest = self.guest().await;
        let answer = upgrade::answer(&guest.head, true);
        assert!(matches!(answer, Answer::Upgrade { .. }), "{answer:?}");
        guest.answer(&answer.bytes(Clock::machine().now()).unwrap()).await
    }
}

impl Guest {
    async fn answer(mut self, text: &str) -> Socket {
        self.stream.write_all(text.as_bytes()).await.unwrap();
        self.stream.flush().await.unwrap();
        WebSocket::new(self.stream, self.unread, Side::ControlPlane, PAYLOAD_MAX, Room::of(1 << 26))
    }
}

/// What a node sends next.
async fn said(socket: &mut Socket) -> (Opcode, Bytes) {
    let frame = timeout(SOON, socket.next()).await.expect("it says something").unwrap();
    (frame.opcode, frame.payload)
}

/// What a node repeats next.
async fn repeated(socket: &mut Socket) -> ConfigHash {
    let (opcode, payload) = said(socket).await;
    assert_eq!(opcode, Opcode::Ping, "{payload:?}");
    socket.send(Opcode::Pong, "").unwrap();
    socket.drain().await.unwrap();
    std::str::from_utf8(&payload).unwrap().parse().unwrap()
}

async fn send(socket: &mut Socket, opcode: Opcode, payload: impl Into<Bytes>) {
    socket.send(opcode, payload).unwrap();
    socket.drain().await.unwrap();
}

fn gzip(text: &str) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap().into()
}

fn hash(number: u32) -> ConfigHash {
    format!("{number:032x}").parse().unwrap()
}

/// A configuration frame that states this hash.
fn offer(number: u32) -> Bytes {
    let table = json!({
        "_format_version": "3.0",
        "workspaces": [{"id": "0dc6f45b-8f8d-40d2-a504-473544ee190b", "name": "default"}],
        "services": [{"id": "11111111-1111-4111-8111-111111111111", "host": "secret.example", "port": number}],
    });
    let frame = json!({"type": "reconfigure", "timestamp": 1.5, "config_hash": hash(number), "config_table": table});
    gzip(&frame.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shadow_learns_versions_and_when_they_were_published_and_is_no_node_itself() {
    let folder = TempDir::new().unwrap();
    let time = Time::start(20);
    let server = Server::start(&folder.path().join("tidemark.db"), time.clock.clone(), "127.0.0.1:0").await;
    let cluster = Cluster::make(folder.path(), time.now());
    let published = published(&time);
    let replica = Replica::start(&published, cluster.control_plane.clone(), &time).await;
    let versions = vec!["3.9.3".parse().unwrap(), "3.4.2".parse().unwrap()];
    let settings = Settings { pace: time.pace, versions, ..settings(replica.address, &cluster.trust, folder.path()) };
    let shadow = Watching::start(settings, time.clock.clone(), server.ingest.clone());
    shadow.until("an offer", |node| node.offers > 0).await;

    time.pass(60).await;
    let written_at = time.now();
    published.write(Write::Route, written_at);
    let began = Instant::now();
    let newest = loop {
        let view = server.get("/api/v1/control-planes/eu/versions", "").await;
        let versions = view["versions"].as_array().cloned().unwrap_or_default();
        if versions.len() > 1 {
            assert_eq!(versions.len(), 2, "{view:#}");
            break versions[0].clone();
        }
        assert!(began.elapsed() < SOON, "{view:#}");
        sleep(Duration::from_millis(20)).await;
    };
    let published_at = Timestamp::parse(newest["published_at"].as_str().unwrap()).unwrap();
    let late = published_at.since(written_at);
    assert!((0..60 * SECOND).contains(&late), "{late} ms late: {newest:#}");

    // Its control plane has a row for each gateway version, under a hostname that says what it is.
    let nodes = shadow.figures.nodes();
    assert_ne!(nodes[0].node_id, nodes[1].node_id);
    for node in &nodes {
        let began = Instant::now();
        let row = loop {
            let row = replica.control_plane.records().row(&node.node_id);
            let repeats = shadow.figures.nodes().iter().find(|other| other.node_id == node.node_id).unwrap().repeats;
            if let Some(row) = row.clone().filter(|row| row.hash == repeats && !repeats.is_zeros()) {
                break row;
            }
            assert!(began.elapsed() < SOON, "{row:?}");
            sleep(Duration::from_millis(2)).await;
        };
        assert_eq!((row.hostname.as_str(), row.sync_status), ("tidemark-shadow-eu", "normal"));
        assert_eq!(row.gateway_version, node.gateway_version.as_str());
    }
    // Whoever passes on what that table has.
    let told = json!({"control_plane": "eu", "node_id": nodes[0].node_id, "hostname": "tidemark-shadow-eu",
        "hash": nodes[0].repeats});
    let url = format!("http://{}/api/v1/heartbeats", server.address);
    let answer = reqwest::Client::new().post(url).json(&told).send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 422, "{}", answer.text().await.unwrap());
    let view = server.get("/api/v1/nodes", "").await;
    assert_eq!(view["total"], json!(0), "a shadow is no node: {view:#}");
    shadow.stop().await;
    replica.stop().await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shadow_connects_in_pki_mode_too() {
    let folder = TempDir::new().unwrap();
    let time = Time::start(20);
    let authority = Throwaway::authority(time.now()).unwrap();
    let control_plane = authority.issue("control_plane.lab.test", true).unwrap().loaded().unwrap();
    let tls = ControlPlaneTls::pki(&control_plane, &authority.loaded().unwrap(), TlsVersions::Both).unwrap();
    let own = authority.issue("shadow.lab.test", false).unwrap();
    let file = |name: &str, pem: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, pem).unwrap();
        path
    };
    let trust = Trust {
        cluster_cert: file("shadow.crt", &own.certificate),
        cluster_cert_key: file("shadow.key", &own.key),
        cluster_mtls: Mtls::Pki,
        cluster_ca_cert: Some(file("ca.crt", &authority.certificate())),
        cluster_allowed_common_names: Vec::new(),
        cluster_crl: None,
    };
    let replica = Replica::start(&published(&time), tls, &time).await;
    let told = Told::default();
    let server_name = Some("control_plane.lab.test".to_owned());
    let settings = Settings { server_name, pace: time.pace, ..settings(replica.address, &trust, folder.path()) };
    let shadow = Watching::start(settings, time.clock.clone(), told.clone());
    told.until("a word", |told| !told.words().is_empty()).await;
    shadow.stop().await;
    // A name that is not in the certificate.
    let server_name = Some("other.lab.test".to_owned());
    let other = Settings {
        server_name,
        pace: time.pace,
        ..self::settings(replica.address, &trust, &folder.path().join("other"))
    };
    let shadow = Watching::start(other, time.clock.clone(), Told::default());
    let node = shadow.until("a refusal", |node| node.errors_of(Reason::Tls) > 0).await;
    assert_eq!(node.connects, 0);
    shadow.stop().await;
    replica.stop().await;
}

/// 2026: a new, empty node moved the expected hash of a whole fleet.
#[tokio::test]
async fn zeros_are_repeated_only_the_first_time_ever() {
    let (stage, folder, told) = (Stage::open().await, TempDir::new().unwrap(), Told::default());
    let shadow = stage.watched(&folder, &told);
    let guest = stage.guest().await;
    let request = String::from_utf8(guest.head.to_vec()).unwrap();
    let id = shadow.node().node_id;
    let expected =
        format!("GET /v1/outlet?node_id={id}&node_hostname=tidemark-shadow-eu&node_version=3.9.3 HTTP/1.1\r\n");
    assert!(request.starts_with(&expected), "{request}");
    let answer = upgrade::answer(&guest.head, false).bytes(Clock::machine().now()).unwrap();
    let mut socket = guest.answer(&answer).await;
    let (opcode, introduction) = said(&mut socket).await;
    let introduction: Value = serde_json::from_slice(&introduction).unwrap();
    assert_eq!((opcode, introduction["type"].as_str()), (Opcode::Binary, Some("basic_info")));
    assert_eq!(repeated(&mut socket).await, ConfigHash::ZEROS);
    send(&mut socket, Opcode::Binary, offer(1)).await;
    assert_eq!(repeated(&mut socket).await, hash(1));
    send(&mut socket, Opcode::Binary, offer(2)).await;
    assert_eq!(repeated(&mut socket).await, hash(2));
    assert_eq!(repeated(&mut socket).await, hash(2), "and every 30 s");

    // The control plane goes: the shadow comes back with what it had.
    drop(socket);
    let mut socket = stage.welcome().await;
    said(&mut socket).await;
    assert_eq!(repeated(&mut socket).await, hash(2));

    // The shadow goes: so it does.
    shadow.stop().await;
    drop(socket);
    let shadow = stage.watched(&folder, &told);
    assert_eq!(shadow.node().node_id, id);
    let mut socket = stage.welcome().await;
    said(&mut socket).await;
    for _ in 0..3 {
        assert_eq!(repeated(&mut socket).await, hash(2));
    }
    shadow.stop().await;

    // What it cannot read it does not replace by zeros.
    let file = folder.path().join("shadow/v1-3.9.3.json");
    let kept = std::fs::read_to_string(&file).unwrap();
    assert!(!kept.contains("secret"), "{kept}");
    std::fs::write(&file, &kept[..kept.len() / 2]).unwrap();
    let damaged = Shadow::open(settings(stage.address, &stage.trust, folder.path()), Clock::machine()).err().unwrap();
    assert!(matches!(damaged, ShadowError::Memory(MemoryError::Damaged { .. })), "{damaged}");
    let all = format!("{:?}", told.0.lock());
    assert!(!all.contains("secret.example"), "no value of a configuration leaves the shadow");
}

#[tokio::test]
async fn what_cannot_be_read_is_counted_and_the_connection_lives() {
    let (stage, folder, told) = (Stage::open().await, TempDir::new().unwrap(), Told::default());
    let settings = Settings { inflated_max: 1 << 20, ..settings(stage.address, &stage.trust, folder.path()) };
    let shadow = Watching::start(settings, Clock::machine(), told.clone());
    let mut socket = stage.welcome().await;
    said(&mut socket).await;
    repeated(&mut socket).await;
    send(&mut socket, Opcode::Binary, offer(1)).await;
    let bomb = gzip(&" ".repeat(50 << 20));
    let wrong_type = gzip(r#"{"type":"reconfigure","config_hash":7,"config_table":[1]}"#);
    let bad: [Bytes; 7] = [
        Bytes::new(),
        Bytes::from_static(b"no gzip"),
        offer(2).slice(..40),
        bomb,
        gzip("{"),
        gzip(r#"{"type":"later"}"#),
        wrong_type,
    ];
    let count = bad.len() as u64;
    for payload in bad {
        send(&mut socket, Opcode::Binary, payload).await;
    }
    send(&mut socket, Opcode::Text, "{}").await;
    let is_counted = |node: &OfNode| (node.errors_of(Reason::Unreadable), node.errors_of(Reason::Frame)) == (count, 1);
    let node = shadow.until("all of them", is_counted).await;
    assert_eq!((node.connects, node.offers, node.repeats), (1, 1, hash(1)));
    send(&mut socket, Opcode::Binary, offer(3)).await;
    shadow.until("the next one", |node| node.repeats == hash(3)).await;
    told.until("two words", |told| told.words().len() == 2).await;

    // A header that claims 2 GiB takes no memory, and ends the connection as Kong does.
    drop(socket);
    let guest = stage.guest().await;
    let answer = upgrade::answer(&guest.head, false).bytes(Clock::machine().now()).unwrap();
    let mut stream = guest.stream;
    stream.write_all(answer.as_bytes()).await.unwrap();
    stream.write_all(&[0x82, 127, 0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff]).await.unwrap();
    stream.flush().await.unwrap();
    shadow.until("the end of that connection", |node| node.errors_of(Reason::Frame) == 2).await;
    shadow.stop().await;
}

#[tokio::test]
async fn refusals_are_told_apart() {
    let (stage, folder, told) = (Stage::open().await, TempDir::new().unwrap(), Told::default());
    let shadow = stage.watched(&folder, &told);
    for (answer, reason) in [
        ("HTTP/1.1 404 Not Found\r\n\r\n", Reason::NotFound),
        ("HTTP/1.1 400 Bad Request\r\n\r\n", Reason::BadRequest),
        ("HTTP/1.1 503 Service Unavailable\r\n\r\n", Reason::NotUpgraded),
        ("SSH-2.0-OpenSSH\r\n\r\n", Reason::NotUpgraded),
        ("", Reason::Stranger),
    ] {
        let before = shadow.node().errors_of(reason);
        let mut guest = stage.guest().await;
        guest.stream.write_all(answer.as_bytes()).await.unwrap();
        guest.stream.shutdown().await.unwrap();
        drop(guest);
        let node = shadow.until(reason.word(), |node| node.errors_of(reason) > before).await;
        assert_eq!(node.last_error.unwrap().reason, reason, "{answer}");
    }
    // No TLS there.
    let (mut stream, _) = timeout(SOON, stage.listener.accept()).await.unwrap().unwrap();
    stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
    drop(stream);
    shadow.until("no TLS", |node| node.errors_of(Reason::Tls) > 0).await;
    assert_eq!(told.count(is_down), 0, "a control plane that refuses is not down");
    assert_eq!(told.count(|what| matches!(what, What::Listening(Listening::Began { .. }))), 0);

    // It accepts, and never says anything.
    let mut socket = stage.welcome().await;
    said(&mut socket).await;
    shadow.until("silence", |node| node.errors_of(Reason::Silence) > 0).await;
    shadow.stop().await;
}

#[tokio::test]
async fn a_control_plane_that_is_not_there_is_down_and_the_shadow_hears_nothing() {
    let (stage, folder, told) = (Stage::open().await, TempDir::new().unwrap(), Told::default());
    let Stage { listener, tls, trust, address, _folder } = stage;
    drop(listener);
    let shadow = Watching::start(settings(address, &trust, folder.path()), Clock::machine(), told.clone());
    shadow.until("three attempts", |node| node.errors_of(Reason::Refused) > 2).await;
    let is_stopped = |what: &What| matches!(what, What::Listening(Listening::Stopped(_)));
    told.until("that nobody listens", |told| told.count(is_stopped) == 1).await;
    assert_eq!(told.count(is_down), 1, "once for all attempts");

    let listener = TcpListener::bind(address).await.unwrap();
    let stage = Stage { listener, tls, trust, address, _folder };
    let mut socket = stage.welcome().await;
    said(&mut socket).await;
    repeated(&mut socket).await;
    told.until("that it is back, without a word", |told| told.count(|what| matches!(what, What::Read)) == 1).await;
    let is_begun = |what: &What| matches!(what, What::Listening(Listening::Began { .. }));
    shadow.until("that nothing is sent is noticed", |node| node.errors_of(Reason::Withheld) > 0).await;
    assert_eq!(told.count(is_begun), 0, "connected, and not served");
    send(&mut socket, Opcode::Binary, offer(1)).await;
    told.until("that it listens", |told| told.count(is_begun) == 1).await;
    shadow.stop().await;
    assert_eq!(told.count(is_stopped), 2, "and once more when it is stopped");
    assert!(told.0.lock().iter().all(|fact| fact.source == Source::Shadow));
}

/// Nodes of which nothing is known but what they repeat, whatever is published.
fn report(server: &Server, time: &Time, nodes: u64, runs: ConfigHash) -> JoinHandle<()> {
    let url = format!("http://{}/api/v1/heartbeats", server.address);
    let heartbeat = move |number: u64| {
        json!({"control_plane": "eu", "node_id": format!("edge-{number}"), "hostname": format!("edge-{number}"),
            "gateway_version": "3.9.3", "hash": runs})
    };
    let heartbeats: Vec<Value> = (1..=nodes).map(heartbeat).collect();
    let pace = time.pace;
    tokio::spawn(async move {
        let client = reqwest::Client::new();
        loop {
            let answer = client.post(&url).json(&heartbeats).send().await.unwrap();
            assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
            pace.wait(Duration::from_secs(30)).await;
        }
    })
}

/// G1a as shadows see it: a release at one of two replicas moves the hash and nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn a_shadow_at_each_replica_tells_another_rendering_from_another_configuration() {
    const NODES: u64 = 20;
    let folder = TempDir::new().unwrap();
    let time = Time::start(20);
    let server = Server::start(&folder.path().join("tidemark.db"), time.clock.clone(), "127.0.0.1:0").await;
    let cluster = Cluster::make(folder.path(), time.now());
    let published = published(&time);
    let watched = |replica: &Replica, name: &str| {
        let settings = Settings {
            replica: name.parse().ok(),
            pace: time.pace,
            ..settings(replica.address, &cluster.trust, &folder.path().join(name))
        };
        Watching::start(settings, time.clock.clone(), server.ingest.clone())
    };
    let old = Replica::start(&published, cluster.control_plane.clone(), &time).await;
    let at_old = watched(&old, "cp-1");
    let runs = at_old.until("an offer", |node| !node.repeats.is_zeros()).await.repeats;
    let reporting = report(&server, &time, NODES, runs);
    server.until("state:current", NODES).await;

    published
        .rerender(Rendering { fields: vec![(Kind::Routes, "since".to_owned(), Value::Null)], ..Rendering::default() });
    let new = Replica::start(&published, cluster.control_plane.clone(), &time).await;
    let at_new = watched(&new, "cp-2");
    let other = at_new.until("an offer", |node| !node.repeats.is_zeros()).await.repeats;
    assert_ne!(other, runs);
    time.pass(120).await;
    assert_eq!(server.count("config:v1 state:current").await, NODES);
    let versions = server.get("/api/v1/control-planes/eu/versions", "").await;
    assert_eq!(versions["versions"].as_array().unwrap().len(), 1, "one version with two hashes: {versions:#}");
    let notices = server.notices().await;
    assert!(notices.iter().all(|(_, severity)| severity == "info"), "{notices:?}");

    // A real change at both is one version, and who does not get it is behind.
    published.write(Write::Route, time.now());
    server.until("state:behind behind:1", NODES).await;
    let versions = server.get("/api/v1/control-planes/eu/versions", "").await;
    assert_eq!(versions["versions"].as_array().unwrap().len(), 2, "{versions:#}");
    reporting.abort();
    for shadow in [at_old, at_new] {
        shadow.stop().await;
    }
    for replica in [old, new] {
        replica.stop().await;
    }
    server.stop().await;
}

/// The twin of `g01c-lost-push.toml`, on the wire.
#[tokio::test(flavor = "multi_thread")]
async fn g1c_a_fleet_of_which_only_hashes_are_known_is_behind_as_the_shadow_knows_the_change() {
    const NODES: u64 = 20;
    let folder = TempDir::new().unwrap();
    let time = Time::start(10);
    let server = Server::start(&folder.path().join("tidemark.db"), time.clock.clone(), "127.0.0.1:0").await;
    let cluster = Cluster::make(folder.path(), time.now());
    let published = published(&time);
    let replica = Replica::start(&published, cluster.control_plane.clone(), &time).await;
    let settings = Settings { pace: time.pace, ..settings(replica.address, &cluster.trust, folder.path()) };
    let shadow = Watching::start(settings, time.clock.clone(), server.ingest.clone());
    let runs = shadow.until("an offer", |node| !node.repeats.is_zeros()).await.repeats;

    let reporting = report(&server, &time, NODES, runs);
    server.until("state:current", NODES).await;

    // The push to them is lost.
    published.write(Write::Route, time.now());
    server.until("state:propagating", NODES).await;
    server.until("state:behind behind:1", NODES).await;
    let view = server.get("/api/v1/control-planes/eu/versions", "").await;
    let published_at = Timestamp::parse(view["versions"][0]["published_at"].as_str().unwrap()).unwrap();
    let took = time.now().since(published_at);
    assert!((MINUTE..2 * MINUTE).contains(&took), "behind after {took} ms");
    assert_eq!(server.notices().await, [], "nothing to guess");
    assert_eq!(server.count("").await, NODES, "and the shadow is none of them");
    reporting.abort();
    shadow.stop().await;
    replica.stop().await;
    server.stop().await;
}

/// A control plane with RPC.
async fn with_rpc(rpc: Option<Rpc>, version: &str, time: &Time, tls: ControlPlaneTls) -> (Replica, Arc<Table>) {
    let table = Table::new(version, wire::table(1));
    let settings = ControlPlaneSettings {
        rpc,
        pace: time.pace,
        clock: time.clock.clone(),
        ..ControlPlaneSettings::new(tls, version)
    };
    let control_plane = ControlPlane::new(settings, Arc::clone(&table) as _);
    (Replica::resume(control_plane, "127.0.0.1:0".parse().unwrap()).await, table)
}

#[tokio::test(flavor = "multi_thread")]
async fn v2_is_watched_beside_v1_where_it_is_offered() {
    for (flavour, version) in [(Flavour::Integers, "3.9.3"), (Flavour::Tokens, "3.10.0")] {
        let folder = TempDir::new().unwrap();
        let time = Time::start(60);
        let cluster = Cluster::make(folder.path(), time.now());
        let rpc = Some(Rpc { flavour, syncs: true });
        let (replica, table) = with_rpc(rpc, version, &time, cluster.control_plane.clone()).await;
        let told = Told::default();
        let settings = Settings {
            versions: vec![version.parse().unwrap()],
            watches_v2: true,
            ..settings(replica.address, &cluster.trust, folder.path())
        };
        let start = || Watching::start(settings.clone(), time.clock.clone(), told.clone());
        let v2 = |shadow: &Watching| shadow.figures.nodes().remove(1);
        let mut shadow = start();
        told.until("a word by each protocol", |told| {
            let words = told.words();
            let by = |protocol| words.iter().any(|word| word.scope.protocol == Some(protocol));
            by(Protocol::V1) && by(Protocol::V2)
        })
        .await;
        for port in 2..=4 {
            table.replace(wire::table(port));
            let expected = slot(flavour, u64::from(port) - 1);
            let began = Instant::now();
            while v2(&shadow).repeats != expected {
                assert!(began.elapsed() < SOON, "{:#?}", v2(&shadow));
                sleep(Duration::from_millis(2)).await;
            }
            let id = v2(&shadow).node_id;
            let began = Instant::now();
            while replica.control_plane.records().row(&id).is_none_or(|row| row.hash != expected) {
                assert!(began.elapsed() < SOON, "its control plane does not learn of it");
                sleep(Duration::from_millis(2)).await;
            }
            if port == 3 {
                // It comes back with the version that it had, and asks for what came since.
                shadow.stop().await;
                shadow = start();
                assert_eq!((v2(&shadow).node_id, v2(&shadow).repeats), (id, expected));
            }
        }
        assert_eq!(told.count(|what| !matches!(what, What::Word(_) | What::Listening(_))), 0, "no node, no report");
        let node = v2(&shadow);
        assert!(node.errors.is_empty(), "{node:#?}");
        time.pass(65).await;
        let asked = v2(&shadow).sent;
        assert!(asked < 40, "{asked} questions in a few minutes");
        shadow.stop().await;
        replica.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn v1_alone_is_watched_where_v2_is_not_offered() {
    for (rpc, reason) in
        [(None, Reason::NotFound), (Some(Rpc { flavour: Flavour::Integers, syncs: false }), Reason::NotOffered)]
    {
        let folder = TempDir::new().unwrap();
        let time = Time::start(60);
        let cluster = Cluster::make(folder.path(), time.now());
        let (replica, _) = with_rpc(rpc, "3.9.3", &time, cluster.control_plane.clone()).await;
        let told = Told::default();
        let settings = Settings { watches_v2: true, ..settings(replica.address, &cluster.trust, folder.path()) };
        let shadow = Watching::start(settings, time.clock.clone(), told.clone());
        shadow.until("v1", |node| node.hears).await;
        time.pass(60).await;
        let nodes = shadow.figures.nodes();
        assert_eq!((nodes[1].errors_of(reason), nodes[1].hears), (1, false), "asked once, and not every few seconds");
        shadow.stop().await;
        replica.stop().await;
    }
}

/// What import makes of a recording, as far as a shadow can see it: the words of the control plane, to no node.
fn words_of_import(path: &Path) -> Vec<Word> {
    let mut lines = Lines::open(&Origin::File(path.to_owned())).unwrap();
    let mut assembler = Assembler::new("eu".parse().unwrap());
    let mut words = Vec::new();
    while let Some(step) = lines.step().unwrap() {
        let facts = step.observed.iter().flat_map(|observed| assembler.take(observed)).collect::<Vec<_>>();
        words.extend(facts.iter().filter_map(|fact| word(&fact.what)));
    }
    for word in &mut words {
        if let Said::Frame(frame) = &mut word.said {
            frame.offered_to = None;
        }
    }
    words
}

#[tokio::test(flavor = "multi_thread")]
async fn recorded_control_planes_say_to_a_shadow_what_import_reads() {
    let Some(captures) = captures() else { return };
    let (mut replayed, mut versions) = (0, BTreeSet::new());
    for recorded in wire_recorded::sessions(&captures).iter().filter(|session| !session.is_v2()) {
        let expected = words_of_import(&captures.join(&recorded.name));
        if expected.is_empty() {
            continue;
        }
        let (stage, folder, told) = (Stage::open().await, TempDir::new().unwrap(), Told::default());
        let version = recorded.gateway_version();
        versions.insert(version.clone());
        let settings = Settings {
            versions: vec![version.parse().unwrap()],
            ..settings(stage.address, &stage.trust, folder.path())
        };
        let shadow = Watching::start(settings, Clock::machine(), told.clone());
        let guest = stage.guest().await;
        let mut socket = guest.answer(std::str::from_utf8(recorded.response().unwrap()).unwrap()).await;
        for (opcode, payload) in recorded.frames(false).filter(|(opcode, _)| *opcode != Opcode::Close) {
            send(&mut socket, opcode, payload.to_vec()).await;
        }
        told.until(&recorded.name, |told| told.words().len() >= expected.len()).await;
        shadow.stop().await;
        assert_eq!(told.words(), expected, "{}", recorded.name);
        replayed += 1;
    }
    println!("{replayed} recorded connections of gateway versions {versions:?}");
    assert!(replayed > 5 && versions.len() > 1);
}

/// Without those that name no newer version than the words before them did: they come with each question to which nothing
/// was missing, and a shadow asks at other moments than the recorded node.
fn news(words: Vec<Word>) -> Vec<Word> {
    let mut newest = None;
    let is_news = |word: &Word| match &word.said {
        Said::Notified(version) => {
            let is_newer = newest < Some(*version);
            newest = newest.max(Some(*version));
            is_newer
        }
        Said::Frame(frame) => {
            let ConfigRef::Hash(version) = frame.config else { panic!("{frame:?}") };
            newest = newest.max(Some(version));
            true
        }
        other => panic!("{other:?}"),
    };
    words.into_iter().filter(is_news).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn recorded_control_planes_of_v2_say_to_a_shadow_what_import_reads() {
    let Some(captures) = captures() else { return };
    let (mut replayed, mut versions) = (0, BTreeSet::new());
    for recorded in wire_recorded::sessions(&captures).iter().filter(|session| session.is_v2()) {
        let (node, stored) = wire_recorded::node_of(recorded);
        let expected = news(words_of_import(&captures.join(&recorded.name)));
        if expected.is_empty() {
            continue;
        }
        let (stage, folder, told) = (Stage::open().await, TempDir::new().unwrap(), Told::default());
        // The version that the recorded node had on its disk.
        let kept = json!({"node_id": own::new_id(), "hash": stored});
        std::fs::create_dir(folder.path().join("shadow")).unwrap();
        let file = folder.path().join(format!("shadow/v2-{}.json", node.gateway_version));
        std::fs::write(file, kept.to_string()).unwrap();
        let settings = Settings {
            versions: vec![node.gateway_version.parse().unwrap()],
            watches_v2: true,
            ..settings(stage.address, &stage.trust, folder.path())
        };
        let shadow = Watching::start(settings, Clock::machine(), told.clone());
        let guest = loop {
            let guest = stage.guest().await;
            if guest.head.starts_with(b"GET /v2") {
                break guest;
            }
        };
        let mut socket = guest.answer(std::str::from_utf8(recorded.response().unwrap()).unwrap()).await;
        for (from_node, opcode, payload) in recorded.all_frames() {
            match (from_node, opcode) {
                // The shadow's turn: what is answered next is what it asks now.
                (true, Opcode::Binary) => while said(&mut socket).await.0 != Opcode::Binary {},
                (false, Opcode::Binary) => send(&mut socket, opcode, payload.to_vec()).await,
                _ => {}
            }
        }
        told.until(&recorded.name, |told| news(told.words()).len() >= expected.len()).await;
        shadow.stop().await;
        assert_eq!(news(told.words()), expected, "{}", recorded.name);
        versions.insert(node.gateway_version.clone());
        replayed += 1;
    }
    println!("{replayed} recorded connections of gateway versions {versions:?}");
    assert!(replayed > 3 && versions.len() > 1);
}
