//! What can go wrong on either side of a tap, over real sockets: every byte passes as it came, what is wrong is counted by its
//! reason, and a connection that is none any more does not stay.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use flate2::{Compression, write::GzEncoder};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tempfile::TempDir;
use tidemark_domain::fact::{ConfigRef, ConnectionEvent, Content, Frame, Said, What};
use tidemark_domain::hash::ConfigHash;
use tidemark_domain::time::{SECOND, Timestamp};
use tidemark_server::clock::Clock;
use tidemark_server::cluster_tls::{ControlPlaneTls, NodeTls, Throwaway, TlsVersions};
use tidemark_server::kong::frame::{Head, LENGTH_END, mask};
use tidemark_server::kong::session::Opcode;
use tidemark_server::simulate::estate::Write;
use tidemark_server::simulate::wire::upgrade::{self, Request};
use tidemark_server::tap::capture::Capture;
use tidemark_server::tap::copies::{Budget, Counts};
use tidemark_server::tap::reader::Reader;
use tidemark_server::tap::spool::{Spool, Told};
use tidemark_server::tap::{self, Patience, Settings, Tls};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::tap::{Cluster, Nodes, Replica, SOON, Server, Tapping, Time, published};

const START: Timestamp = Timestamp::from_ms(1_795_000_000_000);
const HASH: &str = "c6ee22cecbb5f8a7714966db3931b7b1";
const ANSWER: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
/// JSON of one configuration that a tap here reads.
const INFLATED_MAX: usize = 1 << 16;
/// Copies that a tap here keeps.
const COPIES_MAX: usize = 1 << 20;
/// Long enough to see that nothing happens.
const A_WHILE: Duration = Duration::from_millis(300);

type NodeSide = tokio_rustls::client::TlsStream<TcpStream>;
type ControlPlaneSide = tokio_rustls::server::TlsStream<TcpStream>;

/// A tap whose both sides are played by hand.
struct Stage {
    address: SocketAddr,
    control_plane: TcpListener,
    node_tls: NodeTls,
    control_plane_tls: ControlPlaneTls,
    counts: Counts,
    budget: Arc<Budget>,
    spool: Arc<Mutex<Spool>>,
    _folder: TempDir,
    stopped: CancellationToken,
    tapping: JoinHandle<()>,
    reading: std::thread::JoinHandle<()>,
}

impl Stage {
    async fn start(patience: Patience) -> Self {
        let made = Throwaway::cluster(START).unwrap().loaded().unwrap();
        let control_plane_tls = || ControlPlaneTls::shared(&made, TlsVersions::Both).unwrap();
        let node_tls = || NodeTls::shared(&made, TlsVersions::Both).unwrap();
        let bind = || TcpListener::bind("127.0.0.1:0");
        let (listener, control_plane) = (bind().await.unwrap(), bind().await.unwrap());
        let clock = Clock::by_hand(START);
        let settings = Settings {
            connect: control_plane.local_addr().unwrap().to_string(),
            tls: Arc::new(ArcSwap::from_pointee(Tls { nodes: control_plane_tls(), control_plane: node_tls() })),
            connections_max: 100,
            payload_max: COPIES_MAX as u64,
            patience,
            clock: clock.clone(),
        };
        let (counts, budget) = (Counts::default(), Budget::of(COPIES_MAX));
        let (capture, queue) = Capture::new(clock, Arc::clone(&budget), counts.clone());
        let folder = TempDir::new().unwrap();
        let spool = Arc::new(Mutex::new(Spool::open(folder.path(), 1 << 24).unwrap()));
        let spooled = Arc::new(Notify::new());
        let reader = Reader::new(capture.shared(), "eu".parse().unwrap(), INFLATED_MAX, Arc::clone(&spool), spooled);
        let reading = std::thread::spawn(move || reader.run(queue));
        let stopped = CancellationToken::new();
        let address = listener.local_addr().unwrap();
        let tapping = tokio::spawn(tap::run(listener, Arc::new(settings), capture, stopped.clone()));
        Self {
            address,
            control_plane,
            node_tls: node_tls(),
            control_plane_tls: control_plane_tls(),
            counts,
            budget,
            spool,
            _folder: folder,
            stopped,
            tapping,
            reading,
        }
    }

    async fn node(&self) -> NodeSide {
        let stream = TcpStream::connect(self.address).await.unwrap();
        soon(self.node_tls.connect(stream)).await.unwrap()
    }

    async fn accept(&self) -> ControlPlaneSide {
        let (stream, _) = soon(self.control_plane.accept()).await.unwrap();
        soon(self.control_plane_tls.accept(stream, START)).await.unwrap().0
    }

    /// Both ends of a connection on which nothing was said.
    async fn open(&self) -> Ends {
        let (node, control_plane) = tokio::join!(self.node(), self.accept());
        Ends { node, control_plane }
    }

    /// The same after the upgrade.
    async fn upgraded(&self, request: Request<'_>) -> Ends {
        let mut ends = self.open().await;
        ends.says(&head_of(request)).await;
        ends.is_told(ANSWER).await;
        ends
    }

    /// Waits until nothing is open.
    async fn until_over(&self) {
        let began = Instant::now();
        while self.counts.open.get() > 0 {
            assert!(began.elapsed() < SOON, "a connection stays");
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// All that the tap learned.
    async fn facts(self) -> Vec<What> {
        self.stopped.cancel();
        soon(self.tapping).await.unwrap();
        tokio::task::spawn_blocking(move || self.reading.join().unwrap()).await.unwrap();
        assert_eq!(self.budget.taken(), 0, "all of it was given back");
        self.spool.lock().from(0, usize::MAX).unwrap().told.into_iter().map(|Told { what, .. }| what).collect()
    }
}

/// Both ends of a connection through a tap.
struct Ends {
    node: NodeSide,
    control_plane: ControlPlaneSide,
}

impl Ends {
    /// The node says this, and the control plane hears it.
    async fn says(&mut self, bytes: &[u8]) {
        pass(&mut self.node, &mut self.control_plane, bytes).await;
    }

    /// The control plane says this, and the node hears it.
    async fn is_told(&mut self, bytes: &[u8]) {
        pass(&mut self.control_plane, &mut self.node, bytes).await;
    }
}

async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(SOON, what).await.expect("soon")
}

async fn pass<A: AsyncWrite + Unpin, B: AsyncRead + Unpin>(from: &mut A, to: &mut B, bytes: &[u8]) {
    let mut read = vec![0; bytes.len()];
    let writing = async {
        from.write_all(bytes).await.unwrap();
        from.flush().await.unwrap();
    };
    soon(async { tokio::join!(writing, to.read_exact(&mut read)).1.unwrap() }).await;
    assert!(read == bytes, "other bytes came out");
}

/// Nothing comes, and then the end.
async fn ends(side: &mut (impl AsyncRead + Unpin)) {
    let mut rest = Vec::new();
    // Without a goodbye of TLS it is an end, too.
    let _ = soon(side.read_to_end(&mut rest)).await;
    assert_eq!(rest, b"");
}

fn v1(hostname: &str) -> Request<'_> {
    Request::V1 { node_id: "n1", hostname, gateway_version: "3.9.3" }
}

fn head_of(request: Request<'_>) -> Vec<u8> {
    upgrade::request_head(request, "cp:8005", "a2V5").into_bytes()
}

fn from_node(opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    let key = [3, 5, 7, 11];
    let mut masked = payload.to_vec();
    mask(&mut masked, key);
    [Head::whole(opcode, Some(key), payload.len() as u64).bytes(), masked].concat()
}

fn from_control_plane(opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    [&Head::whole(opcode, None, payload.len() as u64).bytes(), payload].concat()
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

fn snappy(text: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(text).unwrap()
}

fn hasty() -> Patience {
    let short = Duration::from_millis(200);
    Patience { handshake: short, dial: short, request: SOON, linger: short }
}

fn events(facts: &[What]) -> Vec<(Option<&str>, &ConnectionEvent)> {
    facts
        .iter()
        .filter_map(|what| match what {
            What::Connection(connection) => {
                Some((connection.node.as_ref().map(|node| node.as_str()), &connection.event))
            }
            _ => None,
        })
        .collect()
}

fn running(facts: &[What]) -> Vec<&str> {
    facts
        .iter()
        .filter_map(|what| match what {
            What::Report(report) => report.running.as_ref().map(ConfigRef::as_str),
            _ => None,
        })
        .collect()
}

fn offered(facts: &[What]) -> Vec<&Frame> {
    facts
        .iter()
        .filter_map(|what| match what {
            What::Word(word) => match &word.said {
                Said::Frame(frame) => Some(frame),
                _ => None,
            },
            _ => None,
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_control_plane_that_never_shakes_hands_is_given_up_and_the_node_is_known() {
    let stage = Stage::start(hasty()).await;
    let mut node = stage.node().await;
    let _silent = soon(stage.control_plane.accept()).await.unwrap();
    node.write_all(&head_of(v1("dp-1"))).await.unwrap();
    ends(&mut node).await;
    stage.until_over().await;
    assert_eq!((stage.counts.unreachable.get(), stage.counts.accepted.get()), (1, 1));
    let facts = stage.facts().await;
    assert_eq!(events(&facts), [(Some("n1"), &ConnectionEvent::Unreachable)]);
    assert!(facts.contains(&What::ControlPlaneDown));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_control_plane_that_never_answers_a_request_is_the_nodes_to_give_up() {
    let stage = Stage::start(hasty()).await;
    let mut ends_of = stage.open().await;
    ends_of.says(&head_of(v1("dp-1"))).await;
    let mut byte = [0; 1];
    assert!(timeout(A_WHILE, ends_of.node.read(&mut byte)).await.is_err(), "nobody answers in its place");
    ends_of.node.shutdown().await.unwrap();
    ends(&mut ends_of.control_plane).await;
    drop(ends_of);
    stage.until_over().await;
    let facts = stage.facts().await;
    let [(Some("n1"), ConnectionEvent::Refused(how))] = events(&facts)[..] else { panic!("{facts:#?}") };
    assert_eq!(how.as_str(), "the control plane did not answer, and the node gave up");
}

/// A peer without a word and without an end is there as long as TCP says so (`tap::tests`). Once the other side has ended, as
/// Kong does after 45 s of silence, it is not waited for.
#[tokio::test(flavor = "multi_thread")]
async fn a_side_that_vanished_is_not_waited_for_once_the_other_has_ended() {
    let stage = Stage::start(hasty()).await;
    for node_vanishes in [true, false] {
        let Ends { mut node, mut control_plane } = stage.upgraded(v1("dp-1")).await;
        sleep(A_WHILE).await;
        assert_eq!(stage.counts.open.get(), 1, "silence alone ends nothing");
        if node_vanishes {
            control_plane.shutdown().await.unwrap();
            ends(&mut control_plane).await;
        } else {
            node.shutdown().await.unwrap();
            ends(&mut node).await;
        }
        stage.until_over().await;
    }
    stage.facts().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_that_fails_is_counted_by_its_side_and_its_reason() {
    let stage = Stage::start(hasty()).await;
    // No TLS at all, and none in time.
    let mut plain = TcpStream::connect(stage.address).await.unwrap();
    plain.write_all(b"GET /v1/outlet HTTP/1.1\r\n\r\n").await.unwrap();
    let _ = soon(plain.read_to_end(&mut Vec::new())).await;
    let mut late = TcpStream::connect(stage.address).await.unwrap();
    ends(&mut late).await;
    assert_eq!(stage.counts.handshakes_failed.get(), 2);
    // A node with a certificate of another cluster, which takes any control plane.
    let other = Throwaway::cluster(START).unwrap().loaded().unwrap();
    let stranger = NodeTls::shared(&other, TlsVersions::Both).unwrap();
    let failed = soon(stranger.connect(TcpStream::connect(stage.address).await.unwrap())).await;
    assert!(failed.is_err(), "it does not know the tap either");
    // A control plane of another cluster.
    let mut node = stage.node().await;
    let (stream, _) = soon(stage.control_plane.accept()).await.unwrap();
    let theirs = ControlPlaneTls::shared(&other, TlsVersions::Both).unwrap();
    let _ = soon(theirs.accept(stream, START)).await;
    node.write_all(&head_of(v1("dp-1"))).await.unwrap();
    ends(&mut node).await;
    stage.until_over().await;
    let counts = stage.counts.clone();
    assert_eq!((counts.unreachable.get(), counts.handshakes_failed.get(), counts.accepted.get()), (1, 3, 1));
    let facts = stage.facts().await;
    assert_eq!(events(&facts), [(Some("n1"), &ConnectionEvent::Unreachable)]);
}

/// Each between two heartbeats, which must both be understood.
#[tokio::test(flavor = "multi_thread")]
async fn a_frame_that_kong_does_not_send_passes_and_what_follows_it_is_read() {
    let stage = Stage::start(Patience::default()).await;
    let ping = from_node(Opcode::Ping, HASH.as_bytes());
    let said_by_node: [(&str, Vec<u8>); 6] = [
        ("a hash that is no UTF-8", from_node(Opcode::Ping, &[0xff; 32])),
        ("a hash that is too short", from_node(Opcode::Ping, b"c6ee")),
        ("no JSON", from_node(Opcode::Binary, b"{\"type\":")),
        ("no UTF-8", from_node(Opcode::Binary, b"{\"type\":\"\xff\xfe\"}")),
        ("another type", from_node(Opcode::Binary, b"{\"type\":\"weather\"}")),
        ("a text", from_node(Opcode::Text, b"hello")),
    ];
    let told_to_node: [(&str, Vec<u8>); 4] = [
        ("no gzip", from_control_plane(Opcode::Binary, b"{}")),
        ("gzip that ends early", from_control_plane(Opcode::Binary, &gzip(&[b' '; 1_000])[..20])),
        ("gzip of no JSON", from_control_plane(Opcode::Binary, &gzip(b"hello"))),
        (
            "a configuration that is a number",
            from_control_plane(Opcode::Binary, &gzip(b"{\"type\":\"reconfigure\",\"config_table\":5}")),
        ),
    ];
    let frames = said_by_node.map(|frame| (true, frame)).into_iter().chain(told_to_node.map(|frame| (false, frame)));
    let mut count = 0;
    for (of_node, (name, bytes)) in frames {
        let mut ends_of = stage.upgraded(v1("dp-1")).await;
        ends_of.says(&ping).await;
        if of_node {
            ends_of.says(&bytes).await
        } else {
            ends_of.is_told(&bytes).await
        }
        ends_of.says(&ping).await;
        count += 1;
        drop(ends_of);
        stage.until_over().await;
        println!("passed: {name}");
    }
    let counts = stage.counts.clone();
    let facts = stage.facts().await;
    assert_eq!(running(&facts).len(), 2 * count);
    assert_eq!(counts.unreadable.get(), count as u64);
}

#[tokio::test(flavor = "multi_thread")]
async fn json_rpc_that_lies_or_is_unknown_passes_and_what_follows_it_is_read() {
    let stage = Stage::start(Patience::default()).await;
    let mut ends_of = stage.upgraded(Request::V2).await;
    let hello = json!({"jsonrpc": "2.0", "id": 1, "method": "kong.meta.v1.hello",
        "params": [{"kong_node_id": "n1", "kong_hostname": "dp-1", "kong_version": "3.10.0",
        "rpc_capabilities": ["kong.sync.v2"]}]});
    let welcome = json!({"jsonrpc": "2.0", "id": 1, "result": {"rpc_capabilities": ["kong.sync.v2"]}});
    let ask = |version: &str| {
        let ask = json!({"jsonrpc": "2.0", "method": "kong.sync.v2.get_delta",
            "params": [{"default": {"version": version}}]});
        from_node(Opcode::Binary, &snappy(ask.to_string().as_bytes()))
    };
    let first = "v02_0000000000000000000000000001";
    let last = "v02_0000000000000000000000000002";
    ends_of.says(&from_node(Opcode::Binary, hello.to_string().as_bytes())).await;
    ends_of.is_told(&from_control_plane(Opcode::Binary, welcome.to_string().as_bytes())).await;
    ends_of.says(&ask(first)).await;
    let lies: [&[u8]; 5] = [
        // Two gibibytes, in six bytes.
        &[0xff, 0xff, 0xff, 0xff, 0x07, 0x00],
        // More than it holds, and less.
        &[0x05, 0x00, b'x'],
        &[0x01, 0x08, b'x', b'y', b'z'],
        b"",
        &[0xff; 40],
    ];
    for lie in lies {
        ends_of.says(&from_node(Opcode::Binary, lie)).await;
        ends_of.is_told(&from_control_plane(Opcode::Binary, lie)).await;
    }
    let unknown = json!({"jsonrpc": "2.0", "id": 9, "method": "kong.weather.v9.get", "params": {"a": [1]}}).to_string();
    ends_of.is_told(&from_control_plane(Opcode::Binary, &snappy(unknown.as_bytes()))).await;
    ends_of
        .says(&from_node(Opcode::Binary, &snappy(b"{\"id\":9,\"error\":{\"code\":-32601,\"message\":\"\xff\"}}")))
        .await;
    ends_of.says(&ask(last)).await;
    drop(ends_of);
    stage.until_over().await;
    let counts = stage.counts.clone();
    let facts = stage.facts().await;
    assert_eq!(running(&facts), [first, last]);
    assert_eq!(counts.unreadable.get(), 2 * lies.len() as u64 + 1, "an unknown method is none of ours");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_that_ends_in_its_middle_or_claims_two_gibibytes_takes_what_came_of_it() {
    let stage = Stage::start(Patience::default()).await;
    let cut = |length: u64| [&Head::whole(Opcode::Binary, None, length).bytes()[..], &[b'x'; 1_000]].concat();
    let half = from_node(Opcode::Ping, HASH.as_bytes())[..20].to_vec();
    for (of_node, bytes) in [(false, cut(LENGTH_END - 1)), (false, cut(1 << 20)), (true, half)] {
        let mut ends_of = stage.upgraded(v1("dp-1")).await;
        if of_node {
            ends_of.says(&bytes).await
        } else {
            ends_of.is_told(&bytes).await
        }
        assert!(stage.budget.taken() <= 1_000 + 16, "{} bytes", stage.budget.taken());
        drop(ends_of);
        stage.until_over().await;
    }
    assert_eq!(stage.budget.taken(), 0);
    let facts = stage.facts().await;
    assert_eq!(running(&facts), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_that_is_too_large_is_offered_by_its_hash_and_a_bomb_is_not() {
    let stage = Stage::start(Patience::default()).await;
    let mut ends_of = stage.upgraded(v1("dp-1")).await;
    ends_of.says(&from_node(Opcode::Binary, br#"{"type":"basic_info","plugins":{}}"#)).await;
    let services: Vec<Value> = (0..5_000_u32)
        .map(|number| json!({"id": format!("{:08x}", number.wrapping_mul(2_654_435_769)), "port": number}))
        .collect();
    let frame = json!({"type": "reconfigure", "config_hash": HASH, "config_table": {"services": services}}).to_string();
    assert!(frame.len() > 2 * INFLATED_MAX);
    let large = gzip(frame.as_bytes());
    // The same twice: the second time it is known by its digest.
    for _ in 0..2 {
        ends_of.is_told(&from_control_plane(Opcode::Binary, &large)).await;
        assert!(stage.budget.taken() <= COPIES_MAX);
    }
    ends_of.says(&from_node(Opcode::Ping, HASH.as_bytes())).await;
    let bomb = gzip(&vec![b' '; 32 << 20]);
    ends_of.is_told(&from_control_plane(Opcode::Binary, &bomb)).await;
    ends_of.says(&from_node(Opcode::Ping, HASH.as_bytes())).await;
    drop(ends_of);
    stage.until_over().await;
    let counts = stage.counts.clone();
    let facts = stage.facts().await;
    assert_eq!((counts.too_large.get(), counts.unreadable.get(), counts.frames_missed.get()), (2, 1, 0));
    let hash: ConfigHash = HASH.parse().unwrap();
    for frame in offered(&facts) {
        assert_eq!((&frame.config, &frame.content, &frame.shape), (&ConfigRef::Hash(hash), &Content::Unknown, &None));
        assert_eq!(
            (frame.bytes, frame.offered_to.as_ref().map(|node| node.as_str())),
            (large.len() as u64, Some("n1"))
        );
    }
    assert_eq!((offered(&facts).len(), running(&facts)), (2, vec![HASH; 2]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_hostname_is_a_line_of_text_and_no_more() {
    let stage = Stage::start(Patience::default()).await;
    let long = "x".repeat(5_000);
    let hostile = [
        "<script>alert(1)</script>",
        "%0d%0aSet-Cookie:%20a=b",
        "%00%1b[31mred",
        "%ff%fe",
        "%e2%80%ae%f0%9f%92%a9",
        &long,
    ];
    for hostname in hostile {
        let mut ends_of = stage.upgraded(v1(hostname)).await;
        ends_of.says(&from_node(Opcode::Binary, br#"{"type":"basic_info","plugins":{}}"#)).await;
        ends_of.says(&from_node(Opcode::Ping, HASH.as_bytes())).await;
        drop(ends_of);
        stage.until_over().await;
    }
    let facts = stage.facts().await;
    let reports: Vec<_> = facts
        .iter()
        .filter_map(|what| match what {
            What::Report(report) => Some(report.attributes.hostname.as_ref().map_or("", |name| name.as_str())),
            _ => None,
        })
        .collect();
    assert_eq!(reports.len(), hostile.len(), "each is heard");
    for hostname in reports {
        assert!(hostname.len() <= 1_024 && !hostname.chars().any(char::is_control), "{hostname:?}");
    }
}

/// A tap whose machine's clock is set while it runs, and once more before it is started anew.
#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_jumps_at_the_tap_changes_no_verdict_and_no_order() {
    let folder = TempDir::new().unwrap();
    let time = Time::start(20);
    // Three days ahead.
    let taps = Time { clock: Clock::by_hand(time.now().plus(3 * 86_400 * SECOND)), pace: time.pace };
    let server = Server::start(&folder.path().join("tidemark.db"), time.clock.clone(), "127.0.0.1:0").await;
    let cluster = Cluster::make(folder.path(), time.now());
    let published = published(&time);
    let replica = Replica::start(&published, cluster.control_plane.clone(), &time).await;
    let spool = folder.path().join("spool");
    let tap = Tapping::start(replica.address, &server, &cluster.trust, spool.clone(), &taps).await;
    let fleet = Nodes::of(tap.address, &cluster.node, &time).start_all("edge", 3);
    server.until("state:current", 3).await;
    for jump_s in [3_600, -7_200] {
        taps.clock.advance(jump_s * SECOND);
        published.write(Write::Route, time.now());
        time.pass(60).await;
        server.until("state:current", 3).await;
        for state in ["state:behind", "state:disconnected", "state:unrecognized", "overlay:clock_skew"] {
            assert_eq!(server.count(state).await, 0, "{state} after {jump_s} s");
        }
    }
    server.until("config:v3 state:current", 3).await;
    let versions = server.get("/api/v1/control-planes/eu/versions", "").await;
    let published_at: Vec<&str> = versions["versions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|version| version["published_at"].as_str().unwrap())
        .collect();
    assert!(published_at.is_sorted_by(|newer, older| newer > older), "{published_at:?}");
    drop(fleet);
    tap.stop().await;
    replica.stop().await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_machines_under_one_id_are_both_shown() {
    let folder = TempDir::new().unwrap();
    let time = Time::start(20);
    let server = Server::start(&folder.path().join("tidemark.db"), time.clock.clone(), "127.0.0.1:0").await;
    let cluster = Cluster::make(folder.path(), time.now());
    let replica = Replica::start(&published(&time), cluster.control_plane.clone(), &time).await;
    let tap = Tapping::start(replica.address, &server, &cluster.trust, folder.path().join("spool"), &time).await;
    let nodes = Nodes::of(tap.address, &cluster.node, &time);
    let alone = nodes.start_as("n-2", "dp-c", ConfigHash::ZEROS);
    let twins = ["dp-a", "dp-b"].map(|hostname| nodes.start_as("n-1", hostname, ConfigHash::ZEROS));
    server.until("overlay:duplicate_id", 1).await;
    let node = server.get("/api/v1/nodes/eu/n-1", "").await;
    let mut hostnames: BTreeMap<&str, ()> = BTreeMap::new();
    let twins_of = node["twins"].as_array().unwrap_or_else(|| panic!("{node:#}"));
    for shown in twins_of.iter().chain([&node["node"]]) {
        hostnames.insert(shown["hostname"].as_str().unwrap_or_else(|| panic!("{node:#}")), ());
    }
    assert_eq!(hostnames.keys().copied().collect::<Vec<_>>(), ["dp-a", "dp-b"]);
    assert_eq!(server.count("").await, 2, "one node for the two, and one that is alone");
    assert_eq!(server.rows("overlay:duplicate_id").await[0]["id"], "n-1");
    drop((alone, twins));
    tap.stop().await;
    replica.stop().await;
    server.stop().await;
}
