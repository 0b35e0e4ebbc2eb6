//! Konnect as a source, against a stand-in that was written from its published shapes (`kong-hybrid.md` 6): no genuine
//! Konnect was asked. It holds the token to what was set, gives pages in both forms, and refuses with problem bodies.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tempfile::TempDir;
use tidemark_server::clock::Clock;
use tidemark_server::config::Given;
use tidemark_server::sources::can_ask;
use tidemark_server::sources::check::check;
use tidemark_server::sources::settings::{Access, Kind, KonnectAt, KonnectSettings, Settings};
use tokio::time::sleep;

use crate::sources::{Lines, Server, Stand, clock, date, settings};
use crate::wire::SOON;

const TOKEN: &str = "kpat_open-sesame-0123456789";
const ID: &str = "9524ec7d-36d9-465d-a8c5-83a3c9390458";
const HASH: &str = "1f74d9c7023b53991f74d9c7023b5399";
const OTHER: &str = "6de1944179b6c16febb0a724310a4d49";
const THIRD: &str = "c6ee22cecbb5f8a7714966db3931b7b1";

fn version(number: u32) -> String {
    format!("v02_{number:028x}")
}

/// How Konnect answers.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Mood {
    Well,
    /// 429 with a `Retry-After` in seconds.
    Busy(u32),
    Unavailable,
    Forbidden,
    Redirect,
    Garbage,
    NotUtf8,
    OtherJson,
    TooLong,
    Circle,
    Silent,
}

/// What it has.
struct Inner {
    mood: Mood,
    /// Ids with names.
    control_planes: Vec<(String, String)>,
    nodes: Vec<Value>,
    hash: String,
    version: Option<String>,
    /// Nodes of a page, whatever is asked for.
    page_max: usize,
    /// Pages are numbered, as the API had it before.
    is_numbered: bool,
    /// The path of each request, the newest last.
    asked: Vec<String>,
}

#[derive(Clone)]
struct Konnect {
    clock: Clock,
    inner: Arc<Mutex<Inner>>,
}

impl Konnect {
    fn new(clock: &Clock, nodes: &[(&str, &str)]) -> Self {
        let inner = Inner {
            mood: Mood::Well,
            control_planes: vec![(ID.to_owned(), "eu".to_owned())],
            nodes: nodes.iter().map(|(id, hash)| node(id, hash)).collect(),
            hash: HASH.to_owned(),
            version: None,
            page_max: 100,
            is_numbered: false,
            asked: Vec::new(),
        };
        Self { clock: clock.clone(), inner: Arc::new(Mutex::new(inner)) }
    }

    fn with<T>(&self, change: impl FnOnce(&mut Inner) -> T) -> T {
        change(&mut self.inner.lock().unwrap())
    }

    fn be(&self, mood: Mood) {
        self.with(|inner| inner.mood = mood);
    }

    fn runs(&self, ids: &[&str], hash: &str) {
        self.with(|inner| {
            for node in inner.nodes.iter_mut().filter(|node| ids.iter().any(|id| node["id"] == *id)) {
                node["config_hash"] = json!(hash);
            }
        });
    }

    fn asked(&self, of: &str) -> usize {
        self.with(|inner| inner.asked.iter().filter(|path| path.ends_with(of)).count())
    }

    async fn start(&self) -> Stand {
        Stand::start(Router::new().fallback(answer).with_state(self.clone())).await
    }
}

/// A node without its `last_ping`, which moves by itself.
fn node(id: &str, hash: &str) -> Value {
    json!({"id": id, "version": "3.11.0.2", "hostname": format!("dp-{id}"), "type": "kong-proxy", "created_at": 1_763_000_000,
        "config_hash": hash, "data_plane_cert_id": "x",
        "compatibility_status": {"state": "COMPATIBILITY_STATE_FULLY_COMPATIBLE", "issues": []}})
}

fn problem(status: u16, title: &str, detail: &str) -> Response {
    let body = json!({"status": status, "title": title, "instance": "konnect:trace:1", "detail": detail});
    let json = [(header::CONTENT_TYPE, "application/problem+json")];
    (StatusCode::from_u16(status).unwrap(), json, body.to_string()).into_response()
}

async fn answer(State(konnect): State<Konnect>, request: Request) -> Response {
    let sent = request.headers().get(header::AUTHORIZATION).map(|value| value.to_str().unwrap().to_owned());
    let mood = konnect.with(|inner| {
        inner.asked.push(request.uri().path().to_owned());
        inner.mood
    });
    let raw = |body: &'static [u8]| Body::from(body).into_response();
    let mut response = match mood {
        Mood::Well | Mood::Circle if sent.as_deref() != Some(&format!("Bearer {TOKEN}")) => {
            // It repeats what it was sent, as Konnect does not.
            problem(401, "Unauthorized", &format!("{sent:?} is not known"))
        }
        Mood::Well | Mood::Circle => konnect.with(|inner| well(inner, request.uri(), &konnect.clock)),
        Mood::Busy(seconds) => {
            let mut response = problem(429, "Too Many Requests", "slow down");
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
            response
        }
        Mood::Unavailable => problem(503, "Service Unavailable", "try again"),
        Mood::Forbidden => problem(403, "Forbidden", "no permission"),
        Mood::Redirect => {
            (StatusCode::FOUND, [(header::LOCATION, format!("http://127.0.0.1:9{}", request.uri().path()))])
                .into_response()
        }
        Mood::Garbage => raw(b"\x00\x01{{{"),
        Mood::NotUtf8 => raw(b"{\"items\": [{\"id\": \"\xff\xfe\"}], \"page\": {}}"),
        Mood::OtherJson => raw(b"{\"message\": \"hello\"}"),
        Mood::TooLong => {
            let chunk = Bytes::from(vec![b' '; 1 << 20]);
            let chunks = futures::stream::repeat_with(move || Ok::<_, std::io::Error>(chunk.clone()));
            Body::from_stream(chunks).into_response()
        }
        Mood::Silent => std::future::pending().await,
    };
    response.headers_mut().insert(header::DATE, date(&konnect.clock));
    response
}

fn well(inner: &Inner, uri: &Uri, clock: &Clock) -> Response {
    let url = reqwest::Url::parse("http://konnect").unwrap().join(&uri.to_string()).unwrap();
    let asked = |key: &str| url.query_pairs().find(|(name, _)| name == key).map(|(_, value)| value.into_owned());
    let number = |key: &str| asked(key).map_or(0, |text| text.parse::<usize>().unwrap());
    let json = |body: Value| axum::Json(body).into_response();
    let path = uri.path().strip_prefix("/v2/control-planes").unwrap();
    if path.is_empty() {
        let (size, number) = (number("page[size]"), number("page[number]"));
        let page = inner.control_planes.iter().skip((number - 1) * size).take(size);
        let data: Vec<Value> = page.map(|(id, name)| json!({"id": id, "name": name, "config": {}})).collect();
        let total = inner.control_planes.len();
        return json(json!({"data": data, "meta": {"page": {"number": number, "size": size, "total": total}}}));
    }
    let (id, rest) = path[1..].split_once('/').unwrap();
    if !inner.control_planes.iter().any(|(known, _)| known == id) {
        return problem(404, "Not Found", "no such control plane");
    }
    match rest {
        "nodes" => {
            let from = match inner.is_numbered {
                true => number("page[number]").saturating_sub(1) * inner.page_max,
                false => number("page[after]"),
            };
            // Twice a minute.
            let seen = clock.now().ms() / 30_000 * 30;
            let mut items: Vec<Value> = inner.nodes.iter().skip(from).take(inner.page_max).cloned().collect();
            for item in items.iter_mut().filter(|item| item.is_object() && item.get("last_ping").is_none()) {
                item["last_ping"] = json!(seen);
            }
            let end = from + inner.page_max;
            let is_last = end >= inner.nodes.len();
            let mut page = json!({"total_count": inner.nodes.len()});
            match (inner.mood, is_last, inner.is_numbered) {
                (Mood::Circle, ..) => page["next"] = json!("0"),
                (_, true, true) => page["next_page_num"] = json!(0),
                (_, true, false) => {}
                (_, false, true) => page["next_page_num"] = json!(end / inner.page_max + 1),
                (_, false, false) => page["next"] = json!(end.to_string()),
            }
            json(json!({"items": items, "page": page}))
        }
        "expected-config-hash" => {
            json(json!({"expected_hash": inner.hash, "created_at": 1_763_000_000, "updated_at": 1_763_627_990}))
        }
        "expected-config-version" => match &inner.version {
            Some(version) => json(json!({"expected_config_version": version})),
            None => problem(404, "Not Found", "no such path"),
        },
        _ => problem(404, "Not Found", "no such path"),
    }
}

/// A source that asks it, with a folder that holds its token.
fn source(url: &str, control_plane: &str, token: &str) -> (Settings, TempDir) {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, format!("{token}\n")).unwrap();
    let at = KonnectAt::Url(url.parse().unwrap());
    let konnect = KonnectSettings { at, konnect_control_plane: control_plane.to_owned() };
    let access = Access { is_bearer: true, token_file: Some(file), ..Access::default() };
    (Settings { access, ..settings("eu-konnect", Kind::Konnect(konnect)) }, folder)
}

/// A server that watches it, and what keeps both alive.
async fn watched(konnect: &Konnect, control_plane: &str) -> (Server, (Stand, TempDir)) {
    let stand = konnect.start().await;
    let (source, folder) = source(&stand.url(), control_plane, TOKEN);
    (Server::start(vec![source], konnect.clock.clone()).await, (stand, folder))
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_of_several_pages_become_reports_and_an_ingress_controller_does_not() {
    for is_numbered in [false, true] {
        let clock = clock();
        let ids = ["n1", "n2", "n3", "n4", "n5"];
        let konnect = Konnect::new(&clock, &ids.map(|id| (id, HASH)));
        konnect.with(|inner| {
            let mut controller = node("kic", OTHER);
            controller["type"] = json!("ingress-controller");
            inner.nodes.insert(1, controller);
            (inner.page_max, inner.is_numbered) = (2, is_numbered);
        });
        let (server, _kept) = watched(&konnect, ID).await;
        server.until("state:current source:konnect", 5).await;
        assert_eq!(server.count("").await, 5);
        let row = &server.nodes("host:dp-n1").await["nodes"][0].clone();
        assert_eq!(
            (row["gateway_version"].as_str(), row["source"].as_str()),
            (Some("3.11.0.2"), Some("konnect")),
            "{row:#}"
        );
        let source = server.source().await;
        assert_eq!((source["kind"].as_str(), source["state"].as_str()), (Some("konnect"), Some("up")), "{source:#}");
        let about = format!("control plane {ID}: 5 data planes; left out: 1 of another type, 0 unreadable");
        assert_eq!(source["about"], about);
        assert!(server.text("/operations").await.contains("eu-konnect"));
        let metrics = server.text("/metrics").await;
        assert!(metrics.contains("tidemark_source_up{source=\"eu-konnect\",kind=\"konnect\",control_plane=\"eu\"} 1"));
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_is_repeated_is_no_report() {
    let clock = clock();
    let konnect = Konnect::new(&clock, &[("n1", HASH), ("n2", HASH)]);
    let seen = clock.now().ms() / 1_000;
    konnect.with(|inner| inner.nodes.iter_mut().for_each(|node| node["last_ping"] = json!(seen)));
    let (server, _kept) = watched(&konnect, ID).await;
    let before = server.source_until("runs", |runs| runs.as_u64() > Some(1)).await;
    let runs = before["runs"].as_u64().unwrap();
    let after = server.source_until("runs", |now| now.as_u64() > Some(runs + 3)).await;
    let grew = |key: &str| after[key].as_u64().unwrap() - before[key].as_u64().unwrap();
    // That it was read is told in each run.
    assert_eq!(grew("facts"), grew("runs"), "{before:#} {after:#}");
    assert_eq!(konnect.asked("/expected-config-version"), 1, "it is remembered that there is none");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hash_that_moves_alone_makes_nodes_unproven_and_never_behind() {
    let clock = clock();
    let konnect = Konnect::new(&clock, &["n1", "n2", "n3"].map(|id| (id, HASH)));
    let (server, _kept) = watched(&konnect, ID).await;
    server.until("state:current", 3).await;
    konnect.with(|inner| inner.hash = OTHER.to_owned());
    server.until("state:unproven_alias", 3).await;
    // Longer than a change may take.
    for _ in 0..40 {
        assert_eq!((server.count("state:unproven_alias").await, server.count("state:behind").await), (3, 0));
        sleep(Duration::from_millis(100)).await;
    }
    konnect.with(|inner| inner.hash = HASH.to_owned());
    server.until("state:current", 3).await;
    // Twin: a node comes to it, so it was a change.
    konnect.with(|inner| inner.hash = THIRD.to_owned());
    konnect.runs(&["n1"], THIRD);
    server.until("state:behind", 2).await;
    konnect.runs(&["n2", "n3"], THIRD);
    server.until("config:v2 state:current", 3).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_are_held_to_the_version_or_to_the_hash_whichever_they_report() {
    let clock = clock();
    let konnect = Konnect::new(&clock, &[("n1", HASH), ("n2", &version(42))]);
    konnect.with(|inner| inner.version = Some(version(42)));
    let (server, _kept) = watched(&konnect, ID).await;
    server.until("state:current", 2).await;
    // The version moves, and the hash does not.
    konnect.with(|inner| inner.version = Some(version(43)));
    server.until("state:behind", 1).await;
    assert_eq!(server.count("state:behind host:dp-n2").await, 1);
    assert_eq!(server.count("state:current host:dp-n1").await, 1, "{:#}", server.nodes("").await);
    konnect.runs(&["n2"], &version(43));
    server.until("state:current", 2).await;
    // Both move.
    konnect.with(|inner| (inner.version, inner.hash) = (Some(version(44)), OTHER.to_owned()));
    konnect.runs(&["n1"], OTHER);
    konnect.runs(&["n2"], &version(44));
    server.until("config:v3 state:current", 2).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_without_deltas_is_not_held_to_the_version() {
    let clock = clock();
    let konnect = Konnect::new(&clock, &[("n1", HASH), ("n2", HASH)]);
    konnect.with(|inner| inner.version = Some(version(1)));
    let (server, _kept) = watched(&konnect, ID).await;
    server.until("state:current", 2).await;
    for number in 2..12 {
        konnect.with(|inner| inner.version = Some(version(number)));
        sleep(Duration::from_millis(400)).await;
        assert_eq!(server.count("state:current").await, 2);
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_konnect_calls_incompatible_is_so() {
    let clock = clock();
    let konnect = Konnect::new(&clock, &[("n1", HASH), ("n2", OTHER), ("n3", HASH)]);
    let issues = json!([{"code": "P101", "description": "a plugin is too new"}]);
    konnect.with(|inner| {
        inner.nodes[1]["compatibility_status"] = json!({"state": "COMPATIBILITY_STATE_INCOMPATIBLE", "issues": issues});
        inner.nodes[2]["compatibility_status"] = json!({"state": "COMPATIBILITY_STATE_UNKNOWN"});
    });
    let (server, _kept) = watched(&konnect, ID).await;
    server.until("state:current", 2).await;
    server.until("state:incompatible host:dp-n2", 1).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_that_is_asked_for_is_kept() {
    let clock = clock();
    let konnect = Konnect::new(&clock, &[("n1", HASH), ("n2", HASH)]);
    let (server, _kept) = watched(&konnect, ID).await;
    server.until("state:current", 2).await;
    konnect.be(Mood::Busy(2));
    let before = konnect.asked("");
    let began = Instant::now();
    while konnect.asked("") == before {
        assert!(began.elapsed() < SOON);
        sleep(Duration::from_millis(5)).await;
    }
    let (refused_at, asked) = (Instant::now(), konnect.asked(""));
    konnect.be(Mood::Well);
    let errors =
        server.source_until("last_error", |error| error.as_str().is_some_and(|text| text.contains("429"))).await;
    server.until("state:unobserved", 2).await;
    let source = server.source().await;
    assert!(source["last_error"].as_str().unwrap().contains("as Konnect asked"), "{source:#}");
    assert_eq!(source["errors"], errors["errors"], "to wait is no error");
    assert_eq!((server.count("state:behind").await, server.count("state:disconnected").await), (0, 0));
    while konnect.asked("") == asked {
        assert!(refused_at.elapsed() < SOON);
        sleep(Duration::from_millis(5)).await;
    }
    assert!(refused_at.elapsed() > Duration::from_millis(1_900), "{:?}", refused_at.elapsed());
    server.until("state:current -state:unobserved", 2).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_konnect_that_is_not_well_makes_nodes_unobserved_and_never_behind() {
    let clock = clock();
    let konnect = Konnect::new(&clock, &[("n1", HASH), ("n2", HASH)]);
    let (server, _kept) = watched(&konnect, ID).await;
    server.until("state:current", 2).await;
    for (mood, words) in [
        (Mood::Unavailable, "answered 503: the other side has a fault (Service Unavailable: try again)"),
        (
            Mood::Forbidden,
            "answered 403: the token may not read this (Forbidden: no permission); the token of token_file",
        ),
        (Mood::Redirect, "nodes: answered 302: a redirect, which is not followed"),
        (Mood::Garbage, "nodes: the answer is not JSON"),
        (Mood::NotUtf8, "nodes: the answer is not JSON"),
        (Mood::OtherJson, "nodes: the answer is not Konnect's page of nodes"),
        (Mood::TooLong, "nodes: the answer is longer than 32 MiB"),
        (Mood::Circle, "the pages of nodes go round in a circle"),
        (Mood::Silent, "did not answer in time"),
    ] {
        konnect.be(mood);
        server.until("state:unobserved", 2).await;
        assert_eq!((server.count("state:behind").await, server.count("state:disconnected").await), (0, 0), "{mood:?}");
        let source = server.source_until("state", |state| state == "blind").await;
        assert!(source["last_error"].as_str().unwrap().contains(words), "{mood:?}: {source:#}");
        konnect.be(Mood::Well);
        server.until("state:current -state:unobserved", 2).await;
        server.source_until("state", |state| state == "up").await;
    }
    assert_eq!(server.notices().await, Vec::<String>::new(), "the control plane is not down");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_strange_node_is_counted_by_name_and_hides_no_other() {
    let clock = clock();
    let konnect = Konnect::new(&clock, &[("n1", HASH), ("n2", HASH)]);
    konnect.with(|inner| {
        inner.nodes[0]["hostname"] = json!("h".repeat(10_000));
        let mut strange = node("n3", HASH);
        strange["last_ping"] = json!("yesterday");
        inner.nodes.extend([strange, json!(7), node(&"x".repeat(10_000), HASH), node("n4", "short")]);
    });
    let (server, _kept) = watched(&konnect, ID).await;
    server.until("state:current", 2).await;
    let source = server.source_until("runs", |runs| runs.as_u64() > Some(1)).await;
    assert_eq!(source["state"], "partly", "{source:#}");
    assert_eq!(source["last_error"], "node n3: last_ping is no whole number");
    assert_eq!(source["errors"].as_u64(), source["runs"].as_u64().map(|runs| 4 * runs));
    assert_eq!(server.count("").await, 2);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_control_plane_is_found_by_its_name_if_one_has_it() {
    let clock = clock();
    let konnect = Konnect::new(&clock, &[("n1", HASH)]);
    konnect.with(|inner| {
        let other = |number: usize| (format!("0000-{number}"), format!("eu-{number}"));
        inner.control_planes = (0..130).map(other).collect();
        inner.control_planes.push((ID.to_owned(), "eu".to_owned()));
    });
    let (server, (stand, _folder)) = watched(&konnect, "eu").await;
    server.until("state:current", 1).await;
    server.source_until("runs", |runs| runs.as_u64() > Some(2)).await;
    assert_eq!(konnect.asked("/v2/control-planes"), 2, "two pages, once");
    // It was made anew.
    konnect.with(|inner| inner.control_planes[130].0 = "1111-1".to_owned());
    server
        .source_until("about", |about| about.as_str().is_some_and(|text| text.starts_with("control plane 1111-1:")))
        .await;
    server.stop().await;

    let refusal = async |name: &str| {
        let (source, _folder) = source(&stand.url(), name, TOKEN);
        let found = check(&source).await;
        found.lines.last().unwrap().clone()
    };
    konnect.with(|inner| inner.control_planes.push(("2222-2".to_owned(), "eu".to_owned())));
    let (works, words) = refusal("eu").await;
    assert!(
        !works && words.ends_with("2 control planes are called \"eu\", as 1111-1 and 2222-2: set an id"),
        "{words}"
    );
    let (works, words) = refusal("us").await;
    assert!(!works && words.ends_with("no control plane that this token may see is called \"us\""), "{words}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_says_line_by_line_what_works() {
    let clock = clock();
    let konnect = Konnect::new(&clock, &[("n1", HASH), ("n2", "")]);
    let stand = konnect.start().await;
    let lines = async |token: &str| {
        let (source, _folder) = source(&stand.url(), "eu", token);
        let lines = check(&source).await.lines.into_iter();
        let lines = lines.map(|(works, words)| format!("{works} {}", words.replace(&stand.url(), "URL")));
        lines.collect::<Vec<_>>()
    };
    let found = lines(TOKEN).await;
    assert_eq!(found[0], "true the token is a person's (kpat_)");
    let nodes = format!(
        "true URL: control plane {ID}: 2 data planes; left out: 0 of another type, 0 unreadable; 1 without a configuration"
    );
    assert!(found[1].starts_with(&nodes), "{found:?}");
    assert_eq!(found[2], format!("true URL: expects the hash {HASH}"));
    assert_eq!(found[3..], ["true URL: does not offer an expected version"]);
    let found = lines("spat_wrong").await;
    assert_eq!(found[0], "true the token is a system account's (spat_)");
    assert!(
        found[1].starts_with("false URL: control-planes: answered 401: the token is wrong or has expired"),
        "{found:?}"
    );
    assert!(found[1].contains("is to hold a token that is valid: a personal (kpat_) or a system account's (spat_)"));
    assert_eq!(
        lines("other").await[0],
        "true the token begins with neither kpat_ nor spat_, as Konnect's do; it is tried"
    );

    let (mut without, folder) = source(&stand.url(), "eu", TOKEN);
    std::fs::remove_file(folder.path().join("token")).unwrap();
    let refusal = can_ask(std::slice::from_ref(&without)).await.unwrap_err();
    assert!(
        refusal.starts_with("source \"eu-konnect\": token_file: ") && refusal.contains("cannot be read"),
        "{refusal}"
    );
    without.access.token_file = None;
    assert_eq!(check(&without).await.lines[0].1, "there is no token: set token_file or token_env");
}

// One thread, so that the log of the whole test is heard.
#[tokio::test]
async fn a_token_is_sent_and_never_shown() {
    let lines = Lines::default();
    let writer = lines.clone();
    let log = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(move || writer.clone());
    let _log = tracing::subscriber::set_default(log.finish());
    let clock = clock();
    let konnect = Konnect::new(&clock, &[("n1", HASH)]);
    let stand = konnect.start().await;
    let folder = TempDir::new().unwrap();
    let (file, toml) = (folder.path().join("token"), folder.path().join("tidemark.toml"));
    std::fs::write(&file, "kpat_wrong-sesame\n").unwrap();
    let text = format!(
        "[[source]]\nname = \"eu-konnect\"\nkind = \"konnect\"\ncontrol_plane = \"eu\"\nurl = {:?}\ninterval_s = 1\n\
         konnect_control_plane = \"eu\"\ntoken_file = {:?}\n",
        stand.url(),
        file.display().to_string()
    );
    std::fs::write(&toml, text).unwrap();
    let given = Given::collect(&[], &|_| None, Some(&toml)).unwrap();
    let config = given.parse().unwrap();
    let server = Server::start(config.sources.clone(), clock).await;
    let source = server.source_until("runs", |runs| runs.as_u64() > Some(0)).await;
    let error = source["last_error"].as_str().unwrap();
    assert!(error.contains("answered 401") && error.contains("[redacted]"), "{source:#}");
    let found = check(&config.sources[0]).await;
    // The file is read anew in each run.
    std::fs::write(&file, format!("{TOKEN}\n")).unwrap();
    server.until("state:current", 1).await;
    let shown = [
        format!("{config:?} {given:?} {found:?} {source}"),
        given.reference(),
        server.text("/api/v1/sources").await,
        server.text("/operations").await,
        server.text("/metrics").await,
    ];
    server.stop().await;
    let log = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    assert!(log.contains("source eu-konnect is failing"), "{log}");
    for text in shown.iter().chain([&log]) {
        assert!(!text.contains("sesame"), "{text}");
    }
}
