//! The whole service behind its real router, over a real SQLite file, with a clock that is moved by hand.

pub mod html;
pub mod kong;
pub mod story;

use arc_swap::ArcSwap;
use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use axum::response::Response;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::TempDir;
use tidemark_domain::fact::Fact;
use tidemark_domain::policy::Policy;
use tidemark_domain::time::Timestamp;
use tidemark_server::board::Snapshot;
use tidemark_server::clock::Clock;
use tidemark_server::http::assets::Assets;
use tidemark_server::http::router::router;
use tidemark_server::http::{Door, DoorLimits};
use tidemark_server::ingest::Ingest;
use tidemark_server::run;
use tidemark_server::store::Store;
use tidemark_server::telemetry::Telemetry;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

/// The moment at which stories begin.
pub const START: &str = "2026-11-20T03:00:00Z";

/// A running service.
pub struct App {
    router: Router,
    ingest: Ingest,
    /// What gateways do.
    pub telemetry: Telemetry,
    store: Store,
    /// What the board publishes.
    pub snapshots: Arc<ArcSwap<Snapshot>>,
    closing: CancellationToken,
    writer: Option<tokio::task::JoinHandle<()>>,
    /// Moved by hand.
    pub clock: Clock,
    database: PathBuf,
    folder: TempDir,
}

impl App {
    /// A service over a new database, at [`START`].
    pub async fn start() -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let database = folder.path().join("tidemark.db");
        let clock = Clock::by_hand(Timestamp::parse(START).expect("a time"));
        Self::open(folder, database, clock).await
    }

    async fn open(folder: TempDir, database: PathBuf, clock: Clock) -> Self {
        let closing = CancellationToken::new();
        let running = run::live(&database, clock.clone(), Policy::default(), closing.clone()).await.expect("it starts");
        let ingest = running.parts.ingest.clone();
        let telemetry = running.parts.telemetry.clone().expect("it is kept");
        let assets = Assets::load();
        let options = assets.leptos_options("127.0.0.1:3000".parse().expect("an address"));
        let door = Door::new(running.parts, None, DoorLimits::default(), options);
        let router = router(door, &assets);
        let (store, snapshots, writer) = (running.store, running.snapshots, running.writer);
        Self { router, ingest, telemetry, store, snapshots, closing, writer, clock, database, folder }
    }

    /// Stops the service as a signal would, waits for the end, and starts it again on the same database.
    pub async fn restart(self) -> Self {
        self.restart_after(0).await
    }

    /// The same, with a pause in between.
    pub async fn restart_after(mut self, pause_ms: i64) -> Self {
        self.closing.cancel();
        if let Some(writer) = self.writer.take() {
            writer.await.expect("the writer ends well");
        }
        self.store.close().await.expect("the store closes");
        self.clock.advance(pause_ms);
        // The rest holds the database as long as it lives.
        let Self { router, ingest, telemetry, store, clock, database, folder, .. } = self;
        drop((router, ingest, telemetry, store));
        Self::open(folder, database, clock).await
    }

    /// The store behind the door.
    pub fn store(&self) -> Store {
        self.store.clone()
    }

    /// The database file.
    pub fn database(&self) -> &Path {
        &self.database
    }

    /// Moves the clock, and waits until the answer is of the new moment.
    pub async fn advance(&self, span_ms: i64) {
        self.clock.advance(span_ms);
        self.settle().await;
    }

    /// Waits until the published answer has all that was taken in, and is of this moment.
    pub async fn settle(&self) {
        self.ingest.settle().await.expect("the writer runs");
    }

    /// The present moment.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Sends a request; answers with the status and the body as JSON (a text where it is none).
    pub async fn send(&self, method: Method, path: &str, body: Option<&Value>) -> (StatusCode, Value) {
        let mut request = Request::builder().method(method).uri(path);
        let body = match body {
            Some(body) => {
                request = request.header("content-type", "application/json");
                Body::from(body.to_string())
            }
            None => Body::empty(),
        };
        let response = self.respond(request.body(body).expect("a request")).await;
        let status = response.status();
        let text = text(response).await;
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    /// What the router answers to a request of any kind.
    pub async fn respond(&self, mut request: Request<Body>) -> Response {
        let peer: std::net::SocketAddr = "127.0.0.1:40000".parse().expect("an address");
        request.extensions_mut().insert(axum::extract::ConnectInfo(peer));
        self.router.clone().oneshot(request).await.expect("the router answers")
    }

    /// The body of a GET that must be answered with 200, as text.
    pub async fn page(&self, path: &str) -> String {
        let response = self.respond(Request::get(path).body(Body::empty()).expect("a request")).await;
        let status = response.status();
        let text = text(response).await;
        assert_eq!(status, StatusCode::OK, "GET {path}: {text}");
        text
    }

    /// Facts that no REST request can say, as an import, a tap or a poller hands them in.
    pub async fn submit(&self, facts: Vec<Fact>) {
        self.ingest.submit(facts, None).await.expect("the writer takes it");
        self.settle().await;
    }

    /// The end that a signal brings: stops taking, finishes what was taken.
    pub fn close(&self) {
        self.closing.cancel();
    }

    /// A GET that must be answered with 200.
    #[track_caller]
    pub fn get<'a>(&'a self, path: &'a str) -> impl Future<Output = Value> + 'a {
        let caller = std::panic::Location::caller();
        async move {
            let (status, body) = self.send(Method::GET, path, None).await;
            assert_eq!(status, StatusCode::OK, "GET {path} at {caller}: {body}");
            body
        }
    }

    /// A request with a body that must be answered with 2xx; waits until it is in the answer.
    pub async fn tell(&self, method: Method, path: &str, body: Value) -> Value {
        let (status, answer) = self.send(method.clone(), path, Some(&body)).await;
        assert!(status.is_success(), "{method} {path} {body}: {status} {answer}");
        self.settle().await;
        answer
    }

    /// Sends heartbeats; none may be refused.
    pub async fn heartbeats(&self, reports: Vec<Value>) {
        for some in reports.chunks(10_000) {
            let answer = self.tell(Method::POST, "/api/v1/heartbeats", Value::Array(some.to_vec())).await;
            assert_eq!(answer["refused"], json!([]), "{answer}");
        }
    }

    /// Nodes that answer a question, all of them.
    pub async fn nodes(&self, question: &str) -> Vec<Value> {
        let mut rows = Vec::new();
        let mut after = String::new();
        loop {
            let q: String = question.bytes().map(|byte| format!("%{byte:02X}")).collect();
            let path = format!("/api/v1/nodes?q={q}&size=500{after}");
            let page = self.get(&path).await;
            rows.extend(page["nodes"].as_array().expect("rows").iter().cloned());
            match page["next"].as_str() {
                Some(next) => after = format!("&after={next}"),
                None => return rows,
            }
        }
    }
}

/// A body as text.
pub async fn text(response: Response) -> String {
    let bytes = axum::body::to_bytes(response.into_body(), 256 << 20).await.expect("a body");
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A hash for a story: one letter, 32 times `0`-`f`, told apart by its number.
pub fn hash(number: u32) -> String {
    format!("{:08x}{:024x}", number.wrapping_mul(0x9e37_79b9), u64::from(number) << 20 | 0xabcdef)
}
