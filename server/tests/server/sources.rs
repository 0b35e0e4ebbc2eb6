//! Sources that go and ask, against control planes and data planes on 127.0.0.1 and a real server behind its listener.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tempfile::TempDir;
use tidemark_domain::fact::{Fact, Listening, Source, What};
use tidemark_domain::policy::Policy;
use tidemark_domain::time::Timestamp;
use tidemark_server::clock::Clock;
use tidemark_server::cluster_tls::{ControlPlaneTls, NodeTls, Throwaway, TlsVersions};
use tidemark_server::config::Given;
use tidemark_server::http::DoorLimits;
use tidemark_server::ingest::{Committed, Ingest};
use tidemark_server::kong::assemble::Assembler;
use tidemark_server::kong::recognize::{self, Line};
use tidemark_server::simulate::wire::control_plane;
use tidemark_server::simulate::wire::data_plane::{Conduct, Dialler, Surroundings};
use tidemark_server::simulate::wire::node::Node;
use tidemark_server::simulate::wire::pace::Pace;
use tidemark_server::simulate::wire::records::{AdminApi, Records, Row};
use tidemark_server::simulate::wire::table::Table;
use tidemark_server::simulate::wire::websocket::Room;
use tidemark_server::sources::check::check;
use tidemark_server::sources::settings::{Access, Kind, Settings, ShadowSettings, Targets};
use tidemark_server::sources::{Sources, take_over};
use tidemark_server::{run, service};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::recorded::captures;
use crate::wire::{Running, SOON, node, spawn, table};

const START: &str = "2026-11-20T03:00:00Z";
/// Seconds of the story in a second.
const SPEED: u32 = 20;
/// Five seconds of the story.
const INTERVAL: Duration = Duration::from_millis(250);
pub(crate) const HASH: &str = "6de1944179b6c16febb0a724310a4d49";
const ZEROS: &str = "00000000000000000000000000000000";

/// A clock that goes faster than the machine's.
pub(crate) fn clock() -> Clock {
    let clock = Clock::by_hand(Timestamp::parse(START).unwrap());
    let ticking = clock.clone();
    tokio::spawn(async move {
        let began = Instant::now();
        let mut told = 0;
        loop {
            sleep(Duration::from_millis(2)).await;
            let now = i64::try_from(began.elapsed().as_millis()).unwrap() * i64::from(SPEED);
            ticking.advance(now - told);
            told = now;
        }
    });
    clock
}

pub(crate) fn date(clock: &Clock) -> HeaderValue {
    let moment = chrono::DateTime::from_timestamp_millis(clock.now().ms()).unwrap();
    HeaderValue::from_str(&moment.format("%a, %d %b %Y %H:%M:%S GMT").to_string()).unwrap()
}

/// Something on a port of 127.0.0.1.
pub(crate) struct Stand {
    pub(crate) address: SocketAddr,
    task: JoinHandle<()>,
}

impl Stand {
    pub(crate) async fn start(router: Router) -> Self {
        Self::start_at(router, "127.0.0.1:0".parse().unwrap()).await
    }

    pub(crate) async fn start_at(router: Router, address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, task }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Stand {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub(crate) fn settings(name: &str, kind: Kind) -> Settings {
    Settings {
        name: name.to_owned(),
        control_plane: "eu".parse().unwrap(),
        interval: INTERVAL,
        timeout: Duration::from_secs(1),
        access: Access::default(),
        kind,
    }
}

fn admin_api(url: &str) -> Settings {
    settings("eu-admin", Kind::AdminApi { urls: vec![url.parse().unwrap()] })
}

fn status(urls: &[String]) -> Settings {
    let listed = urls.iter().map(|url| url.parse().unwrap()).collect();
    settings("eu-nodes", Kind::Status(Targets { listed, ..Targets::default() }))
}

/// A server behind a real listener, with sources.
pub(crate) struct Server {
    address: SocketAddr,
    closing: CancellationToken,
    task: JoinHandle<()>,
    folder: TempDir,
}

impl Server {
    pub(crate) async fn start(sources: Vec<Settings>, clock: Clock) -> Self {
        Self::start_in(TempDir::new().unwrap(), sources, clock).await
    }

    pub(crate) async fn start_in(folder: TempDir, sources: Vec<Settings>, clock: Clock) -> Self {
        let closing = CancellationToken::new();
        let database = folder.path().join("tidemark.db");
        let mut running = run::live(&database, clock, Policy::default(), closing.clone()).await.unwrap();
        let (ingest, clock) = (&running.parts.ingest, &running.parts.clock);
        take_over(&sources, &running.snapshots.load_full(), ingest, clock).await.unwrap();
        running.parts.sources = Sources::start(sources, ingest, running.parts.telemetry.clone(), clock, &closing);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let closed = closing.clone();
        let task = tokio::spawn(async move {
            let closed = async move { closed.cancelled().await };
            service::serve(running.parts, listener, None, DoorLimits::default(), closed).await.unwrap();
            running.writer.unwrap().await.unwrap();
            running.store.close().await.unwrap();
        });
        Self { address, closing, task, folder }
    }

    pub(crate) async fn stop(self) -> TempDir {
        self.closing.cancel();
        timeout(SOON, self.task).await.expect("it stops").unwrap();
        self.folder
    }

    pub(crate) async fn notices(&self) -> Vec<String> {
        let fleet = self.get("/api/v1/fleet").await;
        let notices = fleet["notices"].as_array().cloned().unwrap_or_default();
        notices.iter().filter_map(|notice| notice["kind"].as_str().map(str::to_owned)).collect()
    }

    pub(crate) async fn text(&self, path: &str) -> String {
        reqwest::get(format!("http://{}{path}", self.address)).await.unwrap().text().await.unwrap()
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        serde_json::from_str(&self.text(path).await).unwrap()
    }

    pub(crate) async fn ask(&self, path: &str) -> (u16, Value) {
        let answer = reqwest::get(format!("http://{}{path}", self.address)).await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    pub(crate) async fn nodes(&self, query: &str) -> Value {
        let mut url = reqwest::Url::parse(&format!("http://{}/api/v1/nodes", self.address)).unwrap();
        url.query_pairs_mut().append_pair("q", query);
        reqwest::get(url).await.unwrap().json().await.unwrap()
    }

    pub(crate) async fn count(&self, query: &str) -> u64 {
        let answer = self.nodes(query).await;
        answer["total"].as_u64().unwrap_or_else(|| panic!("{answer}"))
    }

    /// Waits until a search finds so many nodes; nobody is behind on the way there.
    pub(crate) async fn until(&self, query: &str, expected: u64) {
        let began = Instant::now();
        while self.count(query).await != expected {
            if began.elapsed() > SOON {
                let (all, sources) = (self.nodes("").await, self.source().await);
                panic!("{query}: expected {expected}; {all:#}; {sources:#}");
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// The only source.
    pub(crate) async fn source(&self) -> Value {
        self.get("/api/v1/sources").await["sources"][0].clone()
    }

    pub(crate) async fn source_until(&self, key: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        let began = Instant::now();
        loop {
            let source = self.source().await;
            if is_so(&source[key]) {
                return source;
            }
            assert!(began.elapsed() < SOON, "{key}: {source:#}");
            sleep(Duration::from_millis(20)).await;
        }
    }
}

/// How an Admin API that is not well answers.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Mood {
    Well,
    Unauthorized,
    NotFound,
    Fault,
    Garbage,
    OtherJson,
    CutOff,
    TooLong,
    Circle,
    Silent,
}

/// An Admin API of two nodes, which answers as it is told to.
#[derive(Clone)]
struct Moody {
    clock: Clock,
    mood: Arc<Mutex<Mood>>,
}

impl Moody {
    fn new(clock: &Clock) -> Self {
        Self { clock: clock.clone(), mood: Arc::new(Mutex::new(Mood::Well)) }
    }

    fn be(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }

    fn router(&self) -> Router {
        Router::new().fallback(moody).with_state(self.clone())
    }
}

async fn moody(State(api): State<Moody>, request: Request) -> Response {
    let mood = *api.mood.lock().unwrap();
    let seen = api.clock.now().ms() / 1_000;
    let row = |id: &str| {
        json!({"id": id, "hostname": id, "ip": "10.0.0.1", "version": "3.9.3", "config_hash": HASH,
        "sync_status": "normal", "last_seen": seen, "updated_at": seen, "ttl": 1_209_600})
    };
    let next = (mood == Mood::Circle).then_some("/clustering/data-planes?offset=WyJuMiJd");
    let rows = json!({"data": [row("n1"), row("n2")], "next": next});
    let refused = |status: u16, body: &str| {
        let json = [(header::CONTENT_TYPE, "application/json")];
        (StatusCode::from_u16(status).unwrap(), json, body.to_owned()).into_response()
    };
    let mut response = match mood {
        Mood::Well | Mood::Circle if request.uri().path() != "/clustering/data-planes" => refused(404, "{}"),
        Mood::Well | Mood::Circle => axum::Json(rows).into_response(),
        Mood::Unauthorized => refused(401, r#"{"message":"Invalid RBAC credentials"}"#),
        Mood::NotFound => refused(404, "<html>"),
        Mood::Fault => refused(500, r#"{"message":"An unexpected error occurred"}"#),
        Mood::Garbage => refused(200, "\u{0}\u{1}{{{"),
        Mood::OtherJson => refused(200, r#"{"data": 7}"#),
        Mood::CutOff => {
            let begun = futures::stream::once(async { Ok(Bytes::from_static(b"{\"data\": [")) });
            let end = futures::stream::once(async {
                // What was begun is on its way by then.
                sleep(Duration::from_millis(50)).await;
                Err(std::io::Error::other("cut off"))
            });
            Body::from_stream(futures::StreamExt::chain(begun, end)).into_response()
        }
        Mood::TooLong => {
            let chunk = Bytes::from(vec![b' '; 1 << 20]);
            Body::from_stream(futures::stream::repeat_with(move || Ok::<_, std::io::Error>(chunk.clone())))
                .into_response()
        }
        Mood::Silent => std::future::pending().await,
    };
    response.headers_mut().insert(header::DATE, date(&api.clock));
    response
}

/// The Status API of a data plane.
#[derive(Clone)]
pub(crate) struct Plane {
    node: String,
    hash: Arc<Mutex<&'static str>>,
    is_ready: bool,
    /// Grows by ten with each look.
    requests: Arc<AtomicU64>,
}

impl Plane {
    pub(crate) fn new(node: &str, hash: &'static str, is_ready: bool) -> Self {
        Self {
            node: node.to_owned(),
            hash: Arc::new(Mutex::new(hash)),
            is_ready,
            requests: Arc::new(AtomicU64::new(1_000)),
        }
    }

    pub(crate) fn router(&self) -> Router {
        Router::new().fallback(plane).with_state(self.clone())
    }
}

async fn plane(State(plane): State<Plane>, request: Request) -> Response {
    match request.uri().path() {
        "/metrics" => format!(
            "kong_node_info{{node_id=\"{}\",version=\"3.9.3\"}} 1\n\
             kong_data_plane_cluster_cert_expiry_timestamp 1889772575\n\
             kong_memory_workers_lua_vms_bytes{{pid=\"7\"}} 40000000\n\
             kong_memory_workers_lua_vms_bytes{{pid=\"8\"}} 50000000\n\
             kong_nginx_connections_total{{subsystem=\"http\",state=\"active\"}} 3\n\
             kong_http_requests_total{{service=\"shop\",route=\"orders\",code=\"503\",source=\"service\"}} {}\n",
            plane.node,
            plane.requests.fetch_add(10, Ordering::Relaxed)
        )
        .into_response(),
        "/status" => {
            axum::Json(json!({"configuration_hash": *plane.hash.lock().unwrap(), "server": {}})).into_response()
        }
        "/status/ready" if plane.is_ready => axum::Json(json!({"message": "ready"})).into_response(),
        "/status/ready" => {
            let message = "no configuration available (empty configuration present)";
            (StatusCode::SERVICE_UNAVAILABLE, axum::Json(json!({"message": message}))).into_response()
        }
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_is_watched_through_the_admin_api_of_its_control_plane() {
    let clock = clock();
    let pace = Pace::faster(f64::from(SPEED)).unwrap();
    let certificate = Throwaway::cluster(clock.now()).unwrap().loaded().unwrap();
    let tls = ControlPlaneTls::shared(&certificate, TlsVersions::Both).unwrap();
    let node_tls = NodeTls::shared(&certificate, TlsVersions::Both).unwrap();
    let about = control_plane::Settings { pace, clock: clock.clone(), ..control_plane::Settings::new(tls, "3.9.3") };
    let running = Running::start(about, Table::new("3.9.3", table(1))).await;
    let dater = clock.clone();
    let dated = axum::middleware::map_response(move |mut response: Response| {
        let value = date(&dater);
        async move {
            response.headers_mut().insert(header::DATE, value);
            response
        }
    });
    let admin = Stand::start(running.control_plane.admin_api().router().layer(dated)).await;
    let dialler = Dialler { address: running.address.to_string(), tls: node_tls };
    let surroundings = Surroundings::new(dialler, pace, Room::of(64 << 20));
    let name = |id: &str| Node { hostname: format!("edge-{id}").into(), ..node(id, "3.9.3") };
    let fleet = ["n1", "n2", "n3"].map(|id| spawn(&surroundings, name(id), Conduct::default()));

    let server = Server::start(vec![admin_api(&admin.url())], clock.clone()).await;
    server.until("state:current source:admin_api", 3).await;
    let row = &server.nodes("host:edge-n1").await["nodes"][0].clone();
    assert_eq!(
        (row["gateway_version"].as_str(), row["source"].as_str()),
        (Some("3.9.3"), Some("admin_api")),
        "{row:#}"
    );
    let source = server.source().await;
    assert_eq!((source["state"].as_str(), source["last_error"].as_str()), (Some("up"), None), "{source:#}");
    assert_eq!(source["about"], "Kong 3.9.3 community, control plane");

    running.published.replace(table(2));
    server.until("config:v2 state:current", 3).await;

    // One node goes away, and is not taken for blindness of ours.
    fleet[0].order(|orders| orders.conduct.is_running = false);
    server.until("state:disconnected host:edge-n1", 1).await;
    assert_eq!((server.count("state:unobserved").await, server.count("state:behind").await), (0, 0));

    // The Admin API goes away: whom it showed is not seen, and nobody is behind.
    drop(admin);
    server.until("state:unobserved", 3).await;
    assert_eq!(server.count("state:behind").await, 0);
    let source = server.source().await;
    assert_eq!(source["state"], "blind", "{source:#}");
    drop(fleet);
    running.stop().await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shadow_is_a_source_that_stays_connected() {
    let clock = Clock::machine();
    let folder = TempDir::new().unwrap();
    let made = Throwaway::cluster(clock.now()).unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let tls = ControlPlaneTls::shared(&made.loaded().unwrap(), TlsVersions::Both).unwrap();
    let about = control_plane::Settings { clock: clock.clone(), ..control_plane::Settings::new(tls, "3.9.3") };
    let running = Running::start(about, Table::new("3.9.3", table(1))).await;
    let given = ShadowSettings {
        connect: running.address.to_string(),
        cluster_cert: write("c.crt", &made.certificate),
        cluster_cert_key: write("c.key", &made.key),
        is_pki: false,
        cluster_ca_cert: None,
        cluster_server_name: None,
        versions: vec!["3.9.3".parse().unwrap()],
        folder: folder.path().join("shadow"),
        plugins: vec!["mine=1.0".to_owned()],
        filters: Vec::new(),
        replica: None,
        v2: false,
    };
    let source = settings("eu-shadow", Kind::Shadow(Box::new(given)));
    let server = Server::start(vec![source.clone()], clock.clone()).await;
    let seen = server.source_until("state", |state| state == "up").await;
    assert_eq!(
        (seen["kind"].as_str(), seen["about"].as_str()),
        (Some("shadow"), Some("connects as 3.9.3")),
        "{seen:#}"
    );
    running.published.replace(table(2));
    let versions = async || {
        let answer = server.get("/api/v1/control-planes/eu/versions").await;
        answer["versions"].as_array().map_or(0, Vec::len)
    };
    let began = Instant::now();
    while versions().await < 2 {
        assert!(began.elapsed() < SOON, "the change is a version");
        sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(server.count("").await, 0, "it is no node");
    assert!(server.text("/operations").await.contains("eu-shadow"));

    // Its memory belongs to the running server; a check says so, and connects once it is free.
    let found = check(&source).await;
    assert!(!found.works(), "{found:?}");
    server.stop().await;
    let found = check(&source).await;
    assert!(found.lines.iter().all(|(works, _)| *works), "{found:?}");
    assert!(found.lines.iter().any(|(_, words)| words.contains("it was sent a configuration")), "{found:?}");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admin_api_that_is_not_well_makes_nodes_unobserved_and_never_behind() {
    let clock = clock();
    let api = Moody::new(&clock);
    let admin = Stand::start(api.router()).await;
    let server = Server::start(vec![admin_api(&admin.url())], clock.clone()).await;
    server.until("state:current", 2).await;
    for (mood, words) in [
        (Mood::Unauthorized, "answered 401: the token or certificate is missing or wrong (Invalid RBAC credentials)"),
        (Mood::NotFound, "answered 404: nothing is there"),
        (Mood::Fault, "answered 500: the other side has a fault (An unexpected error occurred)"),
        (Mood::Garbage, "the answer is not JSON"),
        (Mood::OtherJson, "the answer is not Kong's table of nodes"),
        (Mood::CutOff, "the answer was cut off"),
        (Mood::TooLong, "the answer is longer than 32 MiB"),
        (Mood::Circle, "the table goes round in a circle"),
        (Mood::Silent, "did not answer in time"),
    ] {
        api.be(mood);
        server.until("state:unobserved", 2).await;
        assert_eq!((server.count("state:behind").await, server.count("state:disconnected").await), (0, 0), "{mood:?}");
        let source = server.source_until("state", |state| state == "blind").await;
        assert!(source["last_error"].as_str().unwrap().contains(words), "{mood:?}: {source:#}");
        api.be(Mood::Well);
        server.until("state:current -state:unobserved", 2).await;
        server.source_until("state", |state| state == "up").await;
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_control_plane_that_refuses_while_others_answer_is_down() {
    let clock = clock();
    let api = Moody::new(&clock);
    let admin = Stand::start(api.router()).await;
    let address = admin.address;
    let plane = Stand::start(Plane::new("n9", HASH, true).router()).await;
    let server = Server::start(vec![admin_api(&admin.url()), status(&[plane.url()])], clock.clone()).await;
    server.until("state:current", 3).await;
    drop(admin);
    let began = Instant::now();
    while !server.notices().await.contains(&"control_plane_down".to_owned()) {
        assert!(began.elapsed() < SOON, "{:?}", server.notices().await);
        sleep(Duration::from_millis(20)).await;
    }
    server.until("state:unobserved", 2).await;
    let _admin = Stand::start_at(api.router(), address).await;
    server.until("state:unobserved", 0).await;
    assert!(!server.notices().await.contains(&"control_plane_down".to_owned()));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_holds_nothing_against_nodes_that_nobody_shows_yet() {
    let clock = clock();
    let api = Moody::new(&clock);
    let admin = Stand::start(api.router()).await;
    let server = Server::start(vec![admin_api(&admin.url())], clock.clone()).await;
    server.until("state:current", 2).await;
    let folder = server.stop().await;

    api.be(Mood::Fault);
    // Ten minutes.
    sleep(Duration::from_secs(600 / u64::from(SPEED))).await;
    let server = Server::start_in(folder, vec![admin_api(&admin.url())], clock.clone()).await;
    for _ in 0..50 {
        assert_eq!(server.count("state:unobserved").await, 2, "{:#}", server.nodes("").await);
        sleep(Duration::from_millis(20)).await;
    }
    api.be(Mood::Well);
    server.until("state:current -state:unobserved", 2).await;
    let folder = server.stop().await;

    // The source is taken out of the settings: its silence is no alarm.
    let server = Server::start_in(folder, Vec::new(), clock).await;
    server.until("state:unobserved", 2).await;
    assert_eq!(server.notices().await, Vec::<String>::new());
    server.stop().await;
}

/// A control plane's Admin API behind TLS, which asks for certificates of one authority.
async fn behind_tls(tls: ControlPlaneTls) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let tls = tls.clone();
            tokio::spawn(async move {
                let Ok((mut stream, peer)) = tls.accept(stream, Clock::machine().now()).await else { return };
                if peer.refused.is_some() {
                    return;
                }
                let mut request = [0; 4_096];
                let _ = stream.read(&mut request).await;
                let body = r#"{"data": [], "next": null}"#;
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
                let _ = stream.write_all(format!("{head}{body}").as_bytes()).await;
                let _ = stream.shutdown().await;
            });
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_shown_and_checked_and_a_replaced_file_is_used_without_a_restart() {
    let now = Clock::machine().now();
    let (authority, stranger) = (Throwaway::authority(now).unwrap(), Throwaway::authority(now).unwrap());
    let server = authority.issue("localhost", true).unwrap().loaded().unwrap();
    let trusted = authority.loaded().unwrap();
    let address = behind_tls(ControlPlaneTls::pki(&server, &trusted, TlsVersions::Both).unwrap()).await;
    let folder = TempDir::new().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        Some(path)
    };
    let good = authority.issue("tidemark", false).unwrap();
    let bad = stranger.issue("tidemark", false).unwrap();
    let access = Access {
        ca_file: file("ca.pem", &authority.certificate()),
        client_cert_file: file("client.crt", &bad.certificate),
        client_key_file: file("client.key", &bad.key),
        ..Access::default()
    };
    let source = Settings { access, ..admin_api(&format!("https://localhost:{}", address.port())) };
    assert!(!check(&source).await.works(), "of another authority");
    let anonymous = Access { client_cert_file: None, client_key_file: None, ..source.access.clone() };
    assert!(!check(&Settings { access: anonymous, ..source.clone() }).await.works(), "without one");

    let tidemark = Server::start(vec![source.clone()], Clock::machine()).await;
    tidemark.source_until("errors", |errors| errors.as_u64() > Some(0)).await;
    file("client.crt", &good.certificate);
    file("client.key", &good.key);
    tidemark.source_until("state", |state| state == "up").await;
    tidemark.stop().await;

    let distrusting = Access { ca_file: file("ca.pem", &stranger.certificate()), ..source.access.clone() };
    let found = check(&Settings { access: distrusting, ..source }).await;
    assert!(!found.works(), "{found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn data_planes_tell_what_they_run_and_whether_they_can_serve() {
    let clock = clock();
    let planes = [Plane::new("a", HASH, true), Plane::new("b", HASH, true), Plane::new("c", ZEROS, false)];
    let [a, b, c] = planes.clone().map(|plane| Stand::start(plane.router()));
    let (a, b, c) = (a.await, b.await, c.await);
    // One is listed, one is in a file, one comes from a service, and a name finds the first again.
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("nodes.json");
    std::fs::write(&file, json!([{"targets": [b.address.to_string()]}]).to_string()).unwrap();
    let list = json!([{"targets": [c.address.to_string()], "labels": {"team": "edge"}}]).to_string();
    let service = Stand::start(Router::new().fallback(move || async move { list })).await;
    let targets = Targets {
        listed: vec![a.url().parse().unwrap()],
        file_sd: Some(file.clone()),
        http_sd: Some(service.url().parse().unwrap()),
        dns: vec![format!("http://127.0.0.1:{}", a.address.port()).parse().unwrap()],
        ..Targets::default()
    };
    let server = Server::start(vec![settings("eu-nodes", Kind::Status(targets))], clock.clone()).await;
    server.until("state:current source:status", 2).await;
    server.until("state:empty", 1).await;
    let source = server.source_until("state", |state| state == "up").await;
    assert_eq!((source["targets"].as_u64(), source["answered"].as_u64()), (Some(3), Some(3)), "{source:#}");

    // What they use comes with it.
    let used = server.get("/api/v1/nodes/eu/a/resources?range=1h").await;
    let of = |name: &str| -> Vec<Value> {
        let resources = used["resources"].as_array().unwrap_or_else(|| panic!("{used}"));
        let series = resources.iter().find(|series| series["name"] == name).unwrap_or_else(|| panic!("{used}"));
        series["points"].as_array().unwrap().iter().filter(|point| !point.is_null()).cloned().collect()
    };
    let memory = of("memory_workers_bytes");
    assert!((1..=2).contains(&memory.len()), "one moment, which may lie in two minutes: {used}");
    assert_eq!(memory[0], json!({"least": 90_000_000, "mean": 90_000_000, "most": 90_000_000}));
    assert_eq!((&of("workers")[0]["mean"], &of("connections_active")[0]["mean"]), (&json!(2), &json!(3)));
    let (status, unknown) = server.ask("/api/v1/nodes/eu/nobody/resources").await;
    assert_eq!((status, unknown["status"].as_u64()), (404, Some(404)), "{unknown}");

    // A list that cannot be read is no reason to forget who was on it.
    std::fs::write(&file, "[").unwrap();
    let source = server.source_until("state", |state| state == "partly").await;
    assert_eq!((source["targets"].as_u64(), source["answered"].as_u64()), (Some(3), Some(3)), "{source:#}");
    assert!(source["last_error"].as_str().unwrap().starts_with("file_sd: "), "{source:#}");
    std::fs::write(&file, json!([{"targets": [b.address.to_string()]}]).to_string()).unwrap();

    // A change that all take.
    for plane in &planes[..2] {
        *plane.hash.lock().unwrap() = "a9a166c59873245db8f1a747ba9a80a7";
    }
    server.until("config:v2 state:current", 2).await;

    // One of several does not answer: it is away. All of them at once: that is us.
    drop(b);
    server.until("state:disconnected", 1).await;
    assert_eq!(server.source().await["state"], "partly");
    drop((a, c));
    server.until("state:unobserved", 3).await;
    assert_eq!(server.count("state:behind").await, 0);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn request_counters_are_traffic_where_they_are_asked_for() {
    for request_counters in [true, false] {
        let clock = clock();
        let plane = Stand::start(Plane::new("a", HASH, true).router()).await;
        let targets = Targets { listed: vec![plane.url().parse().unwrap()], request_counters, ..Targets::default() };
        let server = Server::start(vec![settings("eu-nodes", Kind::Status(targets))], clock.clone()).await;
        server.source_until("runs", |runs| runs.as_u64() >= Some(3)).await;
        // A range ends with the last whole minute.
        clock.advance(60_000);
        let counted = server.get("/api/v1/traffic?by=node&node=a").await;
        let (requests, errors) = (counted["total"]["requests"].as_u64(), counted["total"]["errors"].as_u64());
        // What its counters held at the first look is nobody's; from then on it is ten requests a look.
        let fits = requests.is_some_and(|count| count % 10 == 0 && (20..1_000).contains(&count));
        assert_eq!((requests == errors, fits), (true, request_counters), "{counted}");
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_say_which_node_it_is_tells_nothing() {
    let clock = clock();
    let control_plane = Router::new().fallback(|request: Request| async move {
        match request.uri().path() {
            "/metrics" => "kong_node_info{node_id=\"cp\",version=\"3.9.3\"} 1\n".into_response(),
            _ => axum::Json(json!({"configuration_hash": HASH, "server": {}})).into_response(),
        }
    });
    let stranger = Stand::start(control_plane).await;
    let server = Server::start(vec![status(&[stranger.url()])], clock).await;
    let source = server.source_until("runs", |runs| runs.as_u64() > Some(1)).await;
    assert!(source["last_error"].as_str().unwrap().ends_with("does not say which node it is: is it a data plane?"));
    assert_eq!(server.count("").await, 0);
    server.stop().await;
}

/// What a source tells in the runs after which it has told of so many nodes; each submission by itself.
async fn told(source: Settings, clock: &Clock, nodes: usize) -> Vec<Vec<Fact>> {
    let (ingest, mut queue) = Ingest::queue();
    let closing = CancellationToken::new();
    let _sources = Sources::start(vec![source], &ingest, None, clock, &closing);
    let mut told: Vec<Vec<Fact>> = Vec::new();
    let is_report = |fact: &&Fact| matches!(fact.what, What::Report(_));
    while told.iter().flatten().filter(is_report).count() < nodes {
        let submission = timeout(SOON, queue.recv()).await.expect("more is told").unwrap();
        told.push(submission.facts);
        let _ = submission.done.send(Ok(Committed { sequence: 1 }));
    }
    closing.cancel();
    told
}

#[tokio::test]
async fn a_large_table_is_read_page_by_page_and_told_in_parts() {
    const NODES: usize = 12_001;
    let clock = Clock::by_hand(Timestamp::parse(START).unwrap());
    let records = Arc::<Records>::default();
    for number in 0..NODES {
        let row = Row {
            hostname: format!("edge-{number}"),
            ip: [10, 0, 0, 1].into(),
            gateway_version: "3.9.3".into(),
            hash: HASH.parse().unwrap(),
            sync_status: "normal",
            last_seen: clock.now(),
            labels: BTreeMap::new(),
            certificate_expires: None,
            capabilities: Vec::new(),
        };
        records.upsert(&format!("node-{number:05}"), row);
    }
    let api = AdminApi { records, clock: clock.clone(), node_id: "cp".into(), gateway_version: "3.9.3".into() };
    let admin = Stand::start(api.router()).await;
    let found = check(&admin_api(&admin.url())).await;
    assert!(found.lines[0].1.contains("12001 rows"), "{found:?}");
    let told = told(admin_api(&admin.url()), &clock, NODES).await;
    let sizes: Vec<usize> = told.iter().map(Vec::len).collect();
    assert_eq!(sizes, [1, 10_000, 2_001], "the beginning, and the rows in two parts");
}

#[tokio::test]
async fn more_targets_than_time_is_no_hearing() {
    // Nobody answers at all but one, and each of the others takes its time.
    let clock = Clock::machine();
    let silent = Stand::start(Router::new().fallback(std::future::pending::<()>)).await;
    let plane = Stand::start(Plane::new("n1", HASH, true).router()).await;
    let mut urls: Vec<String> = (0..200).map(|number| format!("{}/{number}", silent.url())).collect();
    urls.push(plane.url());
    let (ingest, mut queue) = Ingest::queue();
    let closing = CancellationToken::new();
    let source =
        Settings { timeout: Duration::from_millis(200), interval: Duration::from_millis(200), ..status(&urls) };
    let sources = Sources::start(vec![source], &ingest, None, &clock, &closing);
    let writing = tokio::spawn(async move {
        while let Some(submission) = queue.recv().await {
            assert!(!submission.facts.iter().any(|fact| matches!(fact.what, What::Listening(_))));
            let _ = submission.done.send(Ok(Committed { sequence: 1 }));
        }
    });
    let began = Instant::now();
    while sources.shown()[0].state.runs < 3 {
        assert!(began.elapsed() < SOON);
        sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(sources.shown()[0].state.health.word(), "blind");
    closing.cancel();
    assert!(!writing.is_finished());
    writing.abort();
}

/// One recorded answer of an Admin API.
struct Recorded {
    at_ms: i64,
    date: Option<String>,
    body: String,
    line: Line,
}

/// The answers of one Admin API to the question that the poller asks, in the order of time.
fn recorded(file: &Path) -> BTreeMap<String, Vec<Recorded>> {
    let mut by_endpoint: BTreeMap<String, Vec<Recorded>> = BTreeMap::new();
    for text in std::fs::read_to_string(file).unwrap().lines() {
        let record: Value = serde_json::from_str(text).unwrap();
        let url = record["request"]["url"].as_str().unwrap_or_default();
        // Pages of another size begin and end elsewhere.
        if !url.ends_with("/clustering/data-planes") || record["status"] != 200 || !record["body"]["next"].is_null() {
            continue;
        }
        let headers = record["headers"].as_array().unwrap();
        let date = headers.iter().find(|pair| pair[0].as_str().unwrap().eq_ignore_ascii_case("date"));
        let answer = Recorded {
            at_ms: (record["wallclock"].as_f64().unwrap() * 1_000.0).round() as i64,
            date: date.map(|pair| pair[1].as_str().unwrap().to_owned()),
            body: record["body"].to_string(),
            line: recognize::line(text).unwrap(),
        };
        by_endpoint.entry(url.to_owned()).or_default().push(answer);
    }
    by_endpoint
}

/// What is compared: all but how uncertain the time is, which depends on how often one asks.
fn reports(facts: impl IntoIterator<Item = Fact>) -> Vec<(i64, String)> {
    let report = |fact: Fact| match fact.what {
        What::Report(mut report) if fact.source == Source::AdminApi => {
            report.uncertain_ms = 0;
            Some((fact.at.ms(), format!("{report:?}")))
        }
        _ => None,
    };
    facts.into_iter().filter_map(report).collect()
}

#[tokio::test]
async fn recorded_answers_through_sockets_give_the_facts_that_import_reads_in_them() {
    let Some(captures) = captures() else { return };
    let folders = std::fs::read_dir(&captures).unwrap().map(|entry| entry.unwrap().path().join("admin-api.jsonl"));
    let files: Vec<_> = folders.filter(|file| file.is_file()).collect();
    let files = files.into_iter().chain([captures.join("kong-3.9.3-v1-admin-api-mixed-states.jsonl")]);
    let mut compared = 0;
    for file in files {
        for (url, answers) in recorded(&file) {
            let mut assembler = Assembler::new("eu".parse().unwrap());
            let seen = answers.iter().flat_map(|answer| match &answer.line {
                Line::Exchange(exchange) => exchange.facts(),
                _ => Vec::new(),
            });
            let expected = reports(seen.flat_map(|observed| assembler.take(&observed)));
            let found = reports(replayed(answers).await);
            assert_eq!(found, expected, "{url} of {}", file.display());
            compared += expected.len();
        }
    }
    assert!(compared > 20, "{compared} reports were compared");
}

/// The facts of a poller that is answered as it was recorded, at the recorded times.
async fn replayed(answers: Vec<Recorded>) -> Vec<Fact> {
    let clock = Clock::by_hand(Timestamp::from_ms(answers[0].at_ms));
    let place = Arc::new(AtomicUsize::new(0));
    let times: Vec<i64> = answers.iter().map(|answer| answer.at_ms).collect();
    let state = Arc::new((answers, Arc::clone(&place)));
    let router = Router::new().fallback(move |request: Request| {
        let state = Arc::clone(&state);
        async move {
            if request.uri().path() != "/clustering/data-planes" {
                return StatusCode::NOT_FOUND.into_response();
            }
            let answer = &state.0[state.1.load(Ordering::SeqCst)];
            let mut response = answer.body.clone().into_response();
            if let Some(date) = &answer.date {
                response.headers_mut().insert(header::DATE, HeaderValue::from_str(date).unwrap());
            }
            response
        }
    });
    let admin = Stand::start(router).await;
    let (ingest, mut queue) = Ingest::queue();
    let closing = CancellationToken::new();
    let source = Settings { interval: Duration::from_millis(10), ..admin_api(&admin.url()) };
    let sources = Sources::start(vec![source], &ingest, None, &clock, &closing);
    let facts = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&facts);
    let writing = tokio::spawn(async move {
        while let Some(submission) = queue.recv().await {
            kept.lock().unwrap().extend(submission.facts);
            let _ = submission.done.send(Ok(Committed { sequence: 1 }));
        }
    });
    for (index, at_ms) in times.iter().enumerate() {
        // Answers that were asked for before the clock moved are of the time before: the row is the same then.
        let runs = || sources.shown()[0].state.runs;
        clock.advance(at_ms - clock.now().ms());
        place.store(index, Ordering::SeqCst);
        let before = runs();
        timeout(SOON, async {
            while runs() < before + 2 {
                sleep(Duration::from_millis(2)).await;
            }
        })
        .await
        .expect("it polls");
    }
    closing.cancel();
    writing.abort();
    let facts = std::mem::take(&mut *facts.lock().unwrap());
    assert!(matches!(facts[0].what, What::Listening(Listening::Began { interval_ms: 31_000 })), "{:?}", facts[0]);
    facts
}

/// What a data plane answered at one moment: status and body, by path.
type Moment = BTreeMap<String, (u16, String)>;

/// The moments of each data plane in a recording, in the order of time.
fn moments(file: &Path) -> BTreeMap<String, Vec<(Moment, Vec<Line>)>> {
    let mut by_endpoint: BTreeMap<String, Vec<(String, Moment, Vec<Line>)>> = BTreeMap::new();
    for text in std::fs::read_to_string(file).unwrap().lines() {
        let record: Value = serde_json::from_str(text).unwrap();
        let url = record["request"]["url"].as_str().unwrap_or_default();
        let (Ok(url), Some(status)) = (reqwest::Url::parse(url), record["status"].as_u64()) else { continue };
        if !["/metrics", "/status", "/status/ready"].contains(&url.path()) || record["request"]["method"] != "GET" {
            continue;
        }
        let label = record["label"].as_str().unwrap_or_default();
        let all = by_endpoint.entry(url.origin().ascii_serialization()).or_default();
        if all.last().is_none_or(|(of, moment, _)| of != label || moment.contains_key(url.path())) {
            all.push((label.to_owned(), Moment::new(), Vec::new()));
        }
        let body = record["body"].as_str().map_or_else(|| record["body"].to_string(), str::to_owned);
        let (_, moment, lines) = all.last_mut().unwrap();
        moment.insert(url.path().to_owned(), (u16::try_from(status).unwrap(), body));
        lines.push(recognize::line(text).unwrap());
    }
    let whole = |(_, moment, lines): (String, Moment, Vec<Line>)| (moment.len() == 3).then_some((moment, lines));
    let whole = |(endpoint, all): (String, Vec<_>)| (endpoint, all.into_iter().filter_map(whole).collect());
    by_endpoint.into_iter().map(whole).collect()
}

/// What reports say, without their times.
fn said(facts: impl IntoIterator<Item = Fact>) -> BTreeSet<String> {
    let report = |fact: Fact| match fact.what {
        What::Report(report) if fact.source == Source::Status => Some(format!("{report:?}")),
        _ => None,
    };
    facts.into_iter().filter_map(report).collect()
}

#[tokio::test]
async fn recorded_data_planes_through_sockets_say_what_import_reads_in_them() {
    let Some(captures) = captures() else { return };
    let mut compared = 0;
    for folder in ["kong-3.4.2-v1", "kong-3.9.3-v1", "kong-3.9.3-v2-incremental-sync", "kong-3.10.0-dev-v2-rpc-sync"] {
        for (endpoint, moments) in moments(&captures.join(folder).join("admin-api.jsonl")) {
            for (moment, mut lines) in moments {
                // As the scraper asks.
                lines.sort_by_key(
                    |line| !matches!(line, Line::Exchange(exchange) if format!("{exchange:?}").contains("/metrics")),
                );
                let mut assembler = Assembler::new("eu".parse().unwrap());
                let seen = lines.iter().flat_map(|line| match line {
                    Line::Exchange(exchange) => exchange.facts(),
                    _ => Vec::new(),
                });
                let expected = said(seen.flat_map(|observed| assembler.take(&observed)));
                assert_eq!(said(scraped(moment).await), expected, "{endpoint} of {folder}");
                compared += expected.len();
            }
        }
    }
    assert!(compared > 20, "{compared} reports were compared");
}

/// The facts of a scraper whose one target answers so.
async fn scraped(moment: Moment) -> Vec<Fact> {
    let moment = Arc::new(moment);
    let target = Stand::start(Router::new().fallback(move |request: Request| {
        let (status, body) = moment[request.uri().path()].clone();
        async move { (StatusCode::from_u16(status).unwrap(), body) }
    }))
    .await;
    let (ingest, mut queue) = Ingest::queue();
    let closing = CancellationToken::new();
    let source = Settings { interval: Duration::from_millis(10), ..status(&[target.url()]) };
    let _sources = Sources::start(vec![source], &ingest, None, &Clock::machine(), &closing);
    // A control plane answers too, and tells nothing: nobody hears it then.
    let facts = timeout(Duration::from_secs(1), async {
        let mut facts = Vec::new();
        while let Some(submission) = queue.recv().await {
            facts.extend(submission.facts);
            let _ = submission.done.send(Ok(Committed { sequence: 1 }));
            if facts.iter().any(|fact| matches!(fact.what, What::Report(_))) {
                break;
            }
        }
        facts
    });
    let facts = facts.await.unwrap_or_default();
    closing.cancel();
    facts
}

/// Where log lines of a test go.
#[derive(Clone, Default)]
pub(crate) struct Lines(pub(crate) Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

// One thread, so that the log of the whole test is heard.
#[tokio::test]
async fn a_token_is_sent_and_never_shown() {
    const TOKEN: &str = "open-sesame-0123456789";
    let lines = Lines::default();
    let writer = lines.clone();
    let log = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(move || writer.clone());
    let _log = tracing::subscriber::set_default(log.finish());
    let clock = clock();
    let is_asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&is_asked);
    // It repeats what it was sent, as no Kong does.
    let admin = Stand::start(Router::new().fallback(move |request: Request| {
        let token = request.headers().get("kong-admin-token").map(|value| value.to_str().unwrap().to_owned());
        counter.fetch_add(usize::from(token.as_deref() == Some(TOKEN)), Ordering::SeqCst);
        async move { (StatusCode::UNAUTHORIZED, axum::Json(json!({"message": format!("{token:?} is not known")}))) }
    }))
    .await;
    let folder = TempDir::new().unwrap();
    let (file, toml) = (folder.path().join("token"), folder.path().join("tidemark.toml"));
    std::fs::write(&file, format!("{TOKEN}\n")).unwrap();
    let text = format!(
        "[[source]]\nname = \"eu-admin\"\nkind = \"admin_api\"\ncontrol_plane = \"eu\"\nurls = [{:?}]\ninterval_s = 1\n\
         token_header = \"Kong-Admin-Token\"\ntoken_file = {:?}\n",
        admin.url(),
        file.display().to_string()
    );
    std::fs::write(&toml, text).unwrap();
    let given = Given::collect(&[], &|_| None, Some(&toml)).unwrap();
    let config = given.parse().unwrap();
    let server = Server::start(config.sources.clone(), clock).await;
    let source = server.source_until("runs", |runs| runs.as_u64() > Some(0)).await;
    assert!(source["last_error"].as_str().unwrap().contains("[redacted]"), "{source:#}");
    let found = check(&config.sources[0]).await;
    assert!(!found.works());
    let shown = [
        format!("{config:?} {given:?} {found:?}"),
        given.reference(),
        server.text("/api/v1/sources").await,
        server.text("/operations").await,
        server.text("/metrics").await,
    ];
    server.stop().await;
    let log = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    assert!(log.contains("source eu-admin is failing"), "{log}");
    assert!(is_asked.load(Ordering::SeqCst) > 1);
    for text in shown.iter().chain([&log]) {
        assert!(!text.contains("sesame"), "{text}");
    }
}

/// What becomes of a file of settings with this in the table of its source.
pub(crate) fn of_file(table: &str) -> Result<Vec<Settings>, String> {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("tidemark.toml");
    std::fs::write(&path, format!("[[source]]\nname = \"a\"\ncontrol_plane = \"eu\"\n{table}\n")).unwrap();
    let config = Given::collect(&[], &|_| None, Some(&path)).and_then(|given| given.parse());
    config
        .map(|config| config.sources)
        .map_err(|bad| bad.to_string().rsplit("tidemark.toml").next().unwrap().to_owned())
}

#[test]
fn a_bad_source_says_where_it_stands_and_what_was_expected() {
    let message = |table: &str| of_file(table).expect_err(table);
    let admin = "kind = \"admin_api\"\nurls = [\"http://127.0.0.1:8001\"]\n";
    insta::assert_snapshot!(message("kind = \"magic\""), @r#":4: source "a": kind: "magic" is not one of admin_api, status, konnect, shadow"#);
    insta::assert_snapshot!(message("kind = \"admin_api\""), @r#":1: source "a": urls: expected 1 to 8 addresses, as in ["http://127.0.0.1:8001"]"#);
    insta::assert_snapshot!(message("kind = \"admin_api\"\nurls = [\"cp:8001\"]"), @r#":5: source "a": urls: "cp:8001" is not 1 to 8 addresses, as in ["http://127.0.0.1:8001"]"#);
    insta::assert_snapshot!(message("kind = \"admin_api\"\nurls = [\"http://me:secret@cp\"]"), @r#":5: source "a": urls: expected an address without a user; use token_header with token_file or token_env"#);
    insta::assert_snapshot!(message(&format!("{admin}interval_s = 0")), @r#":6: source "a": interval_s: 0 is not a whole number from 1 to 3600"#);
    insta::assert_snapshot!(message(&format!("{admin}interval_s = \"10s\"")), @r#":6: source "a": interval_s: expected a whole number from 1 to 3600, found string"#);
    insta::assert_snapshot!(message(&format!("{admin}intervall_s = 1")), @r#":6: source "a": intervall_s: there is no such setting of this kind of source"#);
    insta::assert_snapshot!(message(&format!("{admin}token_header = \"X\"")), @r#":1: source "a": token_header: expected token_header together with token_file or token_env"#);
    insta::assert_snapshot!(message("kind = \"status\""), @r#":1: source "a": targets: expected at least one of targets, file_sd, http_sd, dns, dns_srv"#);
    let srv = |more: &str| message(&format!("kind = \"status\"\n{more}"));
    insta::assert_snapshot!(srv("dns_srv = [\"http://kong.svc\"]"), @r#":5: source "a": dns_srv: "http://kong.svc" is not up to 64 names, as in ["_status._tcp.kong-status.kong.svc.cluster.local"]"#);
    insta::assert_snapshot!(srv("dns_srv = [7]"), @r#":5: source "a": dns_srv: expected up to 64 names, as in ["_status._tcp.kong-status.kong.svc.cluster.local"], found integer"#);
    insta::assert_snapshot!(srv("dns_srv = []"), @r#":5: source "a": dns_srv: expected up to 64 names, as in ["_status._tcp.kong-status.kong.svc.cluster.local"], found 0"#);
    insta::assert_snapshot!(srv("dns_srv = [\"_a._tcp.b\"]\ndns_server = \"10.0.0.10\""), @r#":6: source "a": dns_server: "10.0.0.10" is not an address with a port, as in 127.0.0.1:53"#);
    insta::assert_snapshot!(srv("dns_server = \"10.0.0.10:53\""), @r#":1: source "a": dns_server: expected dns_server together with dns_srv"#);
    let konnect = "kind = \"konnect\"\nkonnect_control_plane = \"cp\"\n";
    insta::assert_snapshot!(message(konnect), @r#":1: source "a": region: expected one of us, eu, au, me, in, sg; or url"#);
    insta::assert_snapshot!(message(&format!("{konnect}region = \"eu\"\nurl = \"http://a\"")), @r#":1: source "a": region: expected region or url, not both"#);
    insta::assert_snapshot!(message(&format!("{konnect}region = \"uk\"")), @r#":6: source "a": region: "uk" is not one of us, eu, au, me, in, sg"#);
    insta::assert_snapshot!(message(&format!("{konnect}region = \"eu\"")), @r#":1: source "a": token_file: expected token_file or token_env, with a token of Konnect"#);
    insta::assert_snapshot!(message("kind = \"konnect\"\nregion = \"eu\""), @r#":1: source "a": konnect_control_plane: expected a name or an id of up to 256 characters"#);
    insta::assert_snapshot!(message(&format!("{admin}[[source]]\nname = \"a\"\ncontrol_plane = \"us\"\n{admin}")), @r#":6: source "a": name: "a" is taken; each source has its own"#);
}

#[test]
fn bounds_of_sources_hold_on_both_sides() {
    #[track_caller]
    fn check(table: &str, fits: bool) {
        let found = of_file(table);
        assert_eq!(found.is_ok(), fits, "{} {found:?}", table.chars().take(200).collect::<String>());
    }
    let admin = |more: &str| format!("kind = \"admin_api\"\nurls = [\"http://cp:8001\"]\n{more}");
    let urls = |key: &str, count: usize| format!("{key} = [{}]", vec!["\"http://cp:8001\""; count].join(", "));
    for kind in ["admin_api", "status"] {
        let key = if kind == "status" { "targets" } else { "urls" };
        let with = |more: &str| format!("kind = \"{kind}\"\n{}\n{more}", urls(key, 1));
        for (key, least, most) in [("interval_s", 1, 3_600), ("timeout_s", 1, 60)] {
            check(&with(&format!("{key} = {}", least - 1)), false);
            check(&with(&format!("{key} = {least}")), true);
            check(&with(&format!("{key} = {most}")), true);
            check(&with(&format!("{key} = {}", most + 1)), false);
            check(&with(&format!("{key} = -1")), false);
        }
    }
    for (kind, key, most) in [("admin_api", "urls", 8), ("status", "targets", 10_000), ("status", "dns", 64)] {
        check(&format!("kind = \"{kind}\"\n{}", urls(key, 0)), false);
        check(&format!("kind = \"{kind}\"\n{}", urls(key, 1)), true);
        check(&format!("kind = \"{kind}\"\n{}", urls(key, most)), true);
        check(&format!("kind = \"{kind}\"\n{}", urls(key, most + 1)), false);
    }
    check("kind = \"status\"\ndns = [\"https://kong.svc:8007\"]", false);
    let srv = |name: &str, count: usize| format!("kind = \"status\"\ndns_srv = {:?}\n", vec![name; count]);
    for (count, fits) in [(0, false), (1, true), (64, true), (65, false)] {
        check(&srv("_status._tcp.kong", count), fits);
    }
    let long = |last: usize| format!("{0}.{0}.{0}.{1}", "a".repeat(63), "b".repeat(last));
    for name in ["kong", "kong.svc.", "_A-1._TCP.kong", &"a".repeat(63), &long(61), &format!("{}.", long(61))] {
        check(&srv(name, 1), true);
    }
    for name in ["", ".", "a..b", ".a", "a..", "kong:53", "k\u{f6}ng.svc", "a b", "a/b", &"a".repeat(64), &long(62)] {
        check(&srv(name, 1), false);
    }
    for (server, fits) in [
        ("127.0.0.1:53", true),
        ("[::1]:5353", true),
        ("127.0.0.1", false),
        ("127.0.0.1:0", false),
        ("localhost:53", false),
        ("", false),
    ] {
        check(&format!("{}dns_server = {server:?}", srv("_status._tcp.kong", 1)), fits);
    }
    check("kind = \"status\"\ntargets = [\"http://a\"]\ndns_server = \"127.0.0.1:53\"", false);
    check(&admin("token_header = \"X-Y\"\ntoken_file = \"t\""), true);
    check(&admin("token_header = \"X-Y\"\ntoken_env = \"T\""), true);
    check(&admin("token_header = \"X-Y\"\ntoken_env = \"T\"\ntoken_file = \"t\""), false);
    check(&admin("token_header = \"X Y\"\ntoken_file = \"t\""), false);
    check(&admin("token_file = \"t\""), false);
    check(&admin("client_cert_file = \"c\""), false);
    check(&admin("client_cert_file = \"c\"\nclient_key_file = \"k\""), true);
    let konnect = |changed: &str, to: &str| {
        let table = "kind = \"konnect\"\nregion = \"eu\"\nkonnect_control_plane = \"cp\"\ntoken_file = \"t\"\n";
        table.replace(changed, to)
    };
    check(&konnect("", ""), true);
    for needed in ["region = \"eu\"\n", "konnect_control_plane = \"cp\"\n", "token_file = \"t\"\n"] {
        check(&konnect(needed, ""), false);
    }
    check(&konnect("file = \"t\"", "env = \"T\""), true);
    check(&konnect("token_file", "token_env = \"T\"\ntoken_file"), false);
    check(&konnect("token_file", "token_header = \"X\"\ntoken_file"), false);
    for region in ["us", "eu", "au", "me", "in", "sg"] {
        check(&konnect("\"eu\"", &format!("{region:?}")), true);
    }
    for region in ["EU", "", "global", "eu.evil.example/"] {
        check(&konnect("\"eu\"", &format!("{region:?}")), false);
    }
    check(&konnect("region = \"eu\"", "url = \"https://konnect.internal/api\""), true);
    check(&konnect("region = \"eu\"", "url = \"konnect.internal\""), false);
    check(&konnect("region", "url = \"https://konnect.internal\"\nregion"), false);
    check(&konnect("\"cp\"", &format!("{:?}", "n".repeat(256))), true);
    check(&konnect("\"cp\"", &format!("{:?}", "n".repeat(257))), false);
    check(&konnect("\"cp\"", "\"\""), false);
    let more = |count: usize| {
        let table = |number| format!("[[source]]\nname = \"s{number}\"\ncontrol_plane = \"eu\"\n{}\n", admin(""));
        admin("\n") + &(1..count).map(table).collect::<String>()
    };
    check(&more(64), true);
    check(&more(65), false);
    let shadow = |changed: &str, to: &str| {
        let table = "kind = \"shadow\"\nconnect = \"cp:8005\"\ncluster_cert = \"c\"\ncluster_cert_key = \"k\"\n\
            versions = [\"3.9.1\"]\nfolder = \"f\"\n";
        table.replace(changed, to)
    };
    check(&shadow("", ""), true);
    for needed in ["connect = \"cp:8005\"\n", "cluster_cert = \"c\"\n", "versions = [\"3.9.1\"]\n", "folder = \"f\"\n"]
    {
        check(&shadow(needed, ""), false);
    }
    for (connect, fits) in [("cp", false), (":8005", false), ("cp:0", false), ("cp:65536", false), ("[::1]:8005", true)]
    {
        check(&shadow("cp:8005", connect), fits);
    }
    for (versions, fits) in [("[]", false), ("[\"x\"]", false), ("\"3.9.1\"", false), ("[\"3.9.1\", \"3.4.2\"]", true)]
    {
        check(&shadow("[\"3.9.1\"]", versions), fits);
    }
    check(&shadow("folder", "v2 = true\nplugins = [\"mine=1.0\", \"other\"]\nreplica = \"cp-0\"\nfolder"), true);
    check(&shadow("folder", "v2 = 1\nfolder"), false);
    check(&shadow("folder", "plugins = [1]\nfolder"), false);
    check(&shadow("folder", "cluster_mtls = \"none\"\nfolder"), false);
    check(&shadow("folder", "cluster_mtls = \"pki\"\nfolder"), false);
    check(&shadow("folder", "cluster_mtls = \"pki\"\ncluster_ca_cert = \"ca\"\nfolder"), true);
    for (name, fits) in [("A", false), ("", false), ("-a", false), ("a b", false)] {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("tidemark.toml");
        std::fs::write(&path, format!("[[source]]\nname = {name:?}\ncontrol_plane = \"eu\"\n{}", admin(""))).unwrap();
        assert_eq!(Given::collect(&[], &|_| None, Some(&path)).is_ok(), fits, "{name:?}");
    }
}

#[test]
fn what_is_printed_of_sources_is_a_file_that_says_the_same() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("tidemark.toml");
    let text = "[[source]]\nname = \"a\"\nkind = \"admin_api\"\ncontrol_plane = \"eu\"\nurls = [\"https://cp/admin\"]\n\
        interval_s = 30\ntoken_header = \"Kong-Admin-Token\"\ntoken_env = \"KONG\"\nca_file = \"ca.pem\"\n\
        client_cert_file = \"c\"\nclient_key_file = \"k\"\n[[source]]\nname = \"b\"\nkind = \"status\"\n\
        control_plane = \"eu\"\ntargets = [\"http://a:1\"]\nfile_sd = \"x \\\"y\\\".json\"\nhttp_sd = \"http://sd/x?y=z\"\n\
        dns = [\"http://kong.svc:8007\"]\ndns_srv = [\"_status._tcp.kong\", \"b.\"]\ndns_server = \"[::1]:5353\"\ntimeout_s = 9\n[[source]]\nname = \"c\"\nkind = \"shadow\"\n\
        control_plane = \"eu\"\nconnect = \"cp:8005\"\ncluster_cert = \"c\"\ncluster_cert_key = \"k\"\n\
        cluster_mtls = \"pki\"\ncluster_ca_cert = \"ca\"\ncluster_server_name = \"cp.example\"\n\
        versions = [\"3.9.1\", \"3.4.2\"]\nfolder = \"f\"\nplugins = [\"mine=1.0\"]\nfilters = [\"wasm\"]\n\
        replica = \"cp-0\"\nv2 = true\n[[source]]\nname = \"d\"\nkind = \"konnect\"\ncontrol_plane = \"eu\"\n\
        region = \"eu\"\nkonnect_control_plane = \"Pro \\\"EU\\\"\"\ntoken_env = \"K\"\n[[source]]\nname = \"e\"\n\
        kind = \"konnect\"\ncontrol_plane = \"eu\"\nurl = \"http://127.0.0.1:9/x\"\nkonnect_control_plane = \"eu\"\n\
        token_file = \"t\"\n";
    std::fs::write(&path, text).unwrap();
    let given = Given::collect(&[], &|_| None, Some(&path)).unwrap();
    std::fs::write(&path, given.reference()).unwrap();
    let again = Given::collect(&[], &|_| None, Some(&path)).unwrap();
    assert_eq!(given.parse().unwrap().sources, again.parse().unwrap().sources);
    assert_eq!(again.parse().unwrap().sources.len(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn sources_are_seen_in_rest_on_a_page_and_in_metrics() {
    let clock = clock();
    let admin = Stand::start(Moody::new(&clock).router()).await;
    let server = Server::start(vec![admin_api(&admin.url())], clock.clone()).await;
    let source = server.source_until("runs", |runs| runs.as_u64() > Some(1)).await;
    assert_eq!((source["name"].as_str(), source["kind"].as_str()), (Some("eu-admin"), Some("admin_api")));
    assert!(source["last_success_at"].is_string() && source["facts"].as_u64() > Some(1), "{source:#}");
    let page = server.text("/operations").await;
    for part in ["<caption>Sources</caption>", "eu-admin", "<td>up</td>", "<td>1 of 1</td>"] {
        assert!(page.contains(part), "{part}: {page}");
    }
    assert!(server.text("/api").await.contains("<a href=\"/operations\">"));
    let metrics = server.text("/metrics").await;
    let labels = "{source=\"eu-admin\",kind=\"admin_api\",control_plane=\"eu\"}";
    assert!(metrics.contains(&format!("tidemark_source_up{labels} 1")), "{metrics}");
    for family in ["runs_total", "errors_total", "last_success_timestamp_seconds", "run_duration_seconds"] {
        assert!(metrics.contains(&format!("tidemark_source_{family}{labels} ")), "{family}: {metrics}");
    }
    server.stop().await;

    let server = Server::start(Vec::new(), clock).await;
    assert!(server.text("/operations").await.contains("No source is set."));
    assert_eq!(server.get("/api/v1/sources").await, json!({"sources": []}));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_says_line_by_line_what_works() {
    let clock = clock();
    let api = Moody::new(&clock);
    let admin = Stand::start(api.router()).await;
    let lines = async |settings: &Settings| -> Vec<String> {
        let lines = check(settings).await.lines.into_iter();
        lines
            .map(|(works, words)| format!("{works} {}", words.split_once(": ").map_or(&*words, |(_, rest)| rest)))
            .collect()
    };
    let found = lines(&admin_api(&admin.url())).await;
    assert!(
        found[0].starts_with("true the table of nodes can be read: 2 rows, the newest of 2026-11-20T03:"),
        "{found:?}"
    );
    assert_eq!(found[1], "false does not say what it is; is it Kong's Admin API?");
    api.be(Mood::Unauthorized);
    let found = lines(&admin_api(&admin.url())).await;
    assert!(found.iter().all(|line| line.starts_with("false ")), "{found:?}");
    drop(admin);
    assert!(!check(&admin_api("http://127.0.0.1:9")).await.works());

    let plane = Stand::start(Plane::new("n1", HASH, true).router()).await;
    let found = lines(&status(&[plane.url()])).await;
    assert_eq!(
        found,
        ["true is node n1, Kong 3.9.3".to_owned(), format!("true runs {HASH}"), "true can serve".to_owned()]
    );
    let without = Settings {
        access: Access {
            token_header: Some("X-Token".to_owned()),
            token_file: Some("/nowhere/token".into()),
            ..Access::default()
        },
        ..status(&[plane.url()])
    };
    let refusal = tidemark_server::sources::can_ask(std::slice::from_ref(&without)).await.unwrap_err();
    assert!(refusal.starts_with("source \"eu-nodes\": token_file: /nowhere/token cannot be read"), "{refusal}");
    let found = check(&without).await;
    assert!(!found.works() && found.lines[0].1.starts_with("token_file: /nowhere/token cannot be read"), "{found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_cannot_be_looked_up_is_a_failure_of_ours() {
    let clock = clock();
    let server = Server::start(vec![admin_api("http://no-such-control-plane.invalid:8001")], clock).await;
    let source = server.source_until("state", |state| state != "starting").await;
    assert_eq!(source["state"], "blind", "{source:#}");
    assert!(source["last_error"].as_str().unwrap().contains("cannot be reached from here"), "{source:#}");
    server.stop().await;
}
