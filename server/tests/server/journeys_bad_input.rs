//! Bad input at every door: the answer is never a 5xx, nothing panics, and what is refused leaves no half behind.

use crate::door::story::{MINUTE, SECOND, Story, names};
use crate::door::{App, hash, text};
use axum::body::Body;
use axum::http::{Method, Request};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use std::io::Write;

/// A door, and a body that it takes.
struct Telling {
    method: Method,
    path: &'static str,
    body: Value,
}

/// Every door at which something may be told, with every field that it knows.
fn tellings() -> Vec<Telling> {
    let telling = |method, path, body| Telling { method, path, body };
    vec![
        telling(
            Method::POST,
            "/api/v1/heartbeats",
            json!({"control_plane": "eu", "node_id": "node-0", "hostname": "gw", "ip": "10.0.0.1",
                "gateway_version": "3.9.1", "hash": hash(1), "labels": {"region": "eu"},
                "status": {"state": "incompatible", "reason": "plugin_set", "detail": "no jq"},
                "apply_error": {"config": hash(2), "message": "bad route", "entity": "route a", "field": "paths"},
                "ready": true, "node_clock": "2026-11-20T03:00:00Z", "age_ms": 5, "certificate_expires_at": 1,
                "license_expires_at": "2027-01-01T00:00:00Z", "capabilities": ["v2"], "plugin_set": "0123456789abcdef",
                "sync_mode": "delta", "protocol": "v2"}),
        ),
        telling(
            Method::POST,
            "/api/v1/control-planes/eu/versions",
            json!({"token": "release-1", "key": "k", "hashes": [{"hash": hash(1), "gateway_version": "3.9.1",
                "protocol": "v1"}], "cause": "deploy", "actor": "ci", "transaction": "t1", "changeset": "c1",
                "shape": {"entities": {"routes": 5}, "certificates_without_snis": 1, "hosts_served": 2},
                "digest": "0123456789abcdef0123456789abcdef", "replica": "cp-1", "protocol": "v1",
                "gateway_version": "3.9.1"}),
        ),
        telling(
            Method::PUT,
            "/api/v1/control-planes/eu/expected",
            json!({"hash": hash(1), "token": "release-1", "replica": "cp-1", "protocol": "v1",
                "gateway_version": "3.9.1"}),
        ),
        telling(
            Method::PUT,
            "/api/v1/control-planes/eu",
            json!({"display_name": "Europe", "cluster_id": "c", "konnect_id": null, "propagation_seconds": 60,
                "change_feed": false}),
        ),
        telling(Method::PATCH, "/api/v1/control-planes/eu", json!({"propagation_seconds": 60, "change_feed": false})),
        telling(Method::POST, "/api/v1/nodes/eu/node-1/retire", json!({"by": "ann", "reason": "scaled in"})),
    ]
}

/// What a field may hold that nobody expects.
fn strange() -> Vec<Value> {
    let nested = |depth: usize| {
        serde_json::from_str::<Value>(&format!("{}{}", "[".repeat(depth), "]".repeat(depth))).expect("JSON")
    };
    vec![
        Value::Null,
        json!(true),
        json!(0),
        json!(-1),
        json!(0.5),
        json!(1e300),
        json!(i64::MIN),
        json!(i64::MAX),
        json!(u64::MAX),
        json!(253_402_300_799_999_i64),
        json!(-62_135_596_800_000_i64),
        json!(""),
        json!(" "),
        json!("\u{0}"),
        json!("a\nb"),
        json!("\u{202e}\u{feff}é𝕏"),
        json!("<script>alert(1)</script>"),
        json!("'; drop table node; --"),
        json!("x".repeat(200)),
        json!("é".repeat(70_000)),
        json!("0".repeat(32)),
        json!("v02_ffffffffffffffffffffffffffff"),
        json!("9999-12-31T23:59:59Z"),
        json!("0001-01-01T00:00:00Z"),
        json!("-0001-01-01T00:00:00Z"),
        json!([]),
        json!([null]),
        json!([{}]),
        json!(vec![0; 300]),
        json!({}),
        json!({"": ""}),
        json!({"state": "normal", "reason": "plugin_set"}),
        json!({"hash": 5}),
        nested(100),
    ]
}

/// The service and what it answers, to see whether a refusal changed it.
struct Watch {
    story: Story,
    before: String,
    sent: u32,
    refused: u32,
}

impl Watch {
    async fn begin() -> Self {
        let mut story = Story::begin().await;
        story.announces(json!({"token": "release-0", "hashes": [{"hash": hash(0)}]})).await;
        story.all_report(names(5), &json!({"hash": hash(0), "gateway_version": "3.9.1"})).await;
        story.passes(MINUTE).await;
        let mut watch = Self { story, before: String::new(), sent: 0, refused: 0 };
        watch.before = watch.answer().await;
        watch
    }

    async fn answer(&self) -> String {
        let app = &self.story.app;
        app.settle().await;
        let mut whole = String::new();
        for path in ["/api/v1/fleet", "/api/v1/nodes?size=500", "/api/v1/control-planes/eu/versions?size=500"] {
            whole += &app.page(path).await;
        }
        whole
    }

    /// Sends something strange. The answer is no 5xx, is a problem where it is a refusal, and then nothing changed.
    async fn send(&mut self, request: Request<Body>, what: &str) -> u16 {
        let route = format!("{} {}", request.method(), request.uri());
        let response = self.story.app.respond(request).await;
        let status = response.status().as_u16();
        let kind = response.headers().get("content-type").and_then(|kind| kind.to_str().ok()).unwrap_or("").to_owned();
        let body = text(response).await;
        let what = format!("{route} {}: {status} {}", cut(what), cut(&body));
        assert!(status < 500, "{what}");
        let after = self.answer().await;
        self.sent += 1;
        if status >= 400 {
            self.refused += 1;
            assert_eq!(kind, "application/problem+json", "{what}");
            let problem: Value = serde_json::from_str(&body).expect("a problem");
            assert_eq!(problem["status"], status, "{what}");
            assert_eq!(after, self.before, "{what}");
        }
        self.before = after;
        status
    }

    async fn tell(&mut self, telling: &Telling, body: impl Into<Vec<u8>>) -> u16 {
        let body: Vec<u8> = body.into();
        let what = String::from_utf8_lossy(&body).into_owned();
        let request = Request::builder().method(telling.method.clone()).uri(telling.path);
        let request = request.header("content-type", "application/json").body(Body::from(body)).expect("a request");
        self.send(request, &what).await
    }

    /// It works as before, and what it remembers is what it answered.
    async fn end(self) {
        assert!(self.sent > 0 && self.refused > 0, "{} sent, {} refused", self.sent, self.refused);
        let app = &self.story.app;
        assert!(!app.page("/readyz").await.contains("false"));
        let metrics = app.page("/metrics").await;
        let panics = metrics.lines().find(|line| line.starts_with("tidemark_") && line.contains("panics_total"));
        assert!(panics.is_some_and(|line| line.ends_with(" 0")), "{panics:?}");
        let states = |rows: Vec<Value>| {
            let state = |row: &Value| (row["id"].clone(), row["config_state"].clone(), row["hostname"].clone());
            rows.iter().map(state).collect::<Vec<_>>()
        };
        let mut before = states(app.nodes("").await);
        let versions = app.page("/api/v1/control-planes/eu/versions?size=500").await;
        let app = self.story.restarts().await.app;
        let mut after = states(app.nodes("").await);
        before.sort_by_key(|row| row.0.to_string());
        after.sort_by_key(|row| row.0.to_string());
        assert_eq!(before, after);
        let strip = |text: &str| serde_json::from_str::<Value>(text).expect("JSON")["versions"].clone();
        assert_eq!(strip(&versions), strip(&app.page("/api/v1/control-planes/eu/versions?size=500").await));
    }
}

fn cut(text: &str) -> String {
    text.chars().take(300).collect()
}

/// A small source of chance: the same on every machine.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap_or(0) % bound
    }
}

#[tokio::test]
async fn what_is_good_is_taken() {
    let mut watch = Watch::begin().await;
    for telling in tellings() {
        let mut body = telling.body.clone();
        if let Some(fields) = body.as_object_mut()
            && telling.path.ends_with("/versions")
        {
            fields.remove("key");
        }
        assert_eq!(watch.tell(&telling, body.to_string()).await, 200, "{}", telling.path);
    }
}

#[tokio::test]
async fn a_field_may_hold_anything() {
    let mut watch = Watch::begin().await;
    for telling in tellings() {
        let fields: Vec<String> = telling.body.as_object().expect("an object").keys().cloned().collect();
        for field in &fields {
            for value in strange() {
                let mut body = telling.body.clone();
                body[field] = value;
                watch.tell(&telling, body.to_string()).await;
            }
            let mut body = telling.body.clone();
            body.as_object_mut().expect("an object").remove(field);
            watch.tell(&telling, body.to_string()).await;
            // The same key twice.
            let twice = telling.body.to_string().replacen('{', &format!("{{\"{field}\":null,"), 1);
            assert_ne!(watch.tell(&telling, twice).await, 200, "{field}");
        }
        for value in strange() {
            watch.tell(&telling, value.to_string()).await;
            let mut body = telling.body.clone();
            body["nobody_knows_this"] = value;
            assert_ne!(watch.tell(&telling, body.to_string()).await, 200);
        }
        watch.story.passes(SECOND).await;
        watch.before = watch.answer().await;
    }
    watch.end().await;
}

#[tokio::test]
async fn a_body_may_break_off_or_be_garbled_anywhere() {
    let mut watch = Watch::begin().await;
    let mut chance = Chance(7);
    for telling in tellings() {
        let whole = telling.body.to_string().into_bytes();
        for end in (0..whole.len()).step_by(7) {
            let status = watch.tell(&telling, &whole[..end]).await;
            assert!((400..500).contains(&status), "{status}");
        }
        for _ in 0..120 {
            let mut garbled = whole.clone();
            for _ in 0..=chance.below(3) {
                let place = chance.below(garbled.len());
                garbled[place] = u8::try_from(chance.below(256)).expect("a byte");
            }
            watch.tell(&telling, garbled).await;
        }
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        let deep_field = format!("{{\"labels\":{deep}}}");
        let huge = format!("{{\"age_ms\":{}}}", "9".repeat(100_000));
        let lone = r#"{"control_plane":"eu","node_id":"\ud800"}"#.to_owned();
        for text in [deep, deep_field, huge, lone, "1e999999".to_owned(), "\u{feff}{}".to_owned(), "NaN".to_owned()] {
            let status = watch.tell(&telling, text).await;
            assert!((400..500).contains(&status), "{status}");
        }
    }
    watch.end().await;
}

#[tokio::test]
async fn of_an_array_each_report_stands_for_itself() {
    let mut watch = Watch::begin().await;
    let heartbeats = &tellings()[0];
    let good = |id: &str| json!({"control_plane": "eu", "node_id": id, "hash": hash(0)});
    let mixed =
        json!([good("a"), {"control_plane": "eu"}, 5, null, [], good("b"), {"node_id": "x", "control_plane": "EU"}]);
    let (status, answer) = watch.story.app.send(Method::POST, heartbeats.path, Some(&mixed)).await;
    assert_eq!((status.as_u16(), &answer["accepted"]), (200, &json!(2)));
    let refused: Vec<_> =
        answer["refused"].as_array().expect("refused").iter().map(|one| one["index"].clone()).collect();
    assert_eq!(refused, [1, 2, 3, 4, 6]);
    watch.before = watch.answer().await;
    assert_eq!(watch.story.fleet().await["nodes"], 7);

    assert_eq!(watch.tell(heartbeats, "[]").await, 200);
    assert_eq!(watch.tell(heartbeats, json!([{"control_plane": "eu"}, 5]).to_string()).await, 422);
    let many = |count: usize| Value::Array(vec![good("a"); count]).to_string();
    assert_eq!(watch.tell(heartbeats, many(10_000)).await, 200);
    assert_eq!(watch.tell(heartbeats, many(10_001)).await, 422);
    watch.end().await;
}

#[tokio::test]
async fn types_encodings_and_sizes_are_bounded() {
    let mut watch = Watch::begin().await;
    let gzip = |data: &[u8]| {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(data).expect("memory takes all");
        encoder.finish().expect("memory takes all")
    };
    for telling in tellings() {
        let whole = telling.body.to_string().into_bytes();
        let request = |headers: &[(&str, &str)], body: &[u8]| {
            let mut request = Request::builder().method(telling.method.clone()).uri(telling.path);
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            request.body(Body::from(body.to_vec())).expect("a request")
        };
        const JSON: (&str, &str) = ("content-type", "application/json");
        for kind in [
            "text/plain",
            "application/xml",
            "application/x-www-form-urlencoded",
            "multipart/form-data",
            "json",
            "",
            "é",
        ] {
            let status = watch.send(request(&[("content-type", kind)], &whole), kind).await;
            assert_eq!(status, 415, "{kind}");
        }
        assert_eq!(watch.send(request(&[], &whole), "no type").await, 415);
        for encoding in ["br", "deflate", "gzip, gzip", "compress", "é", "GZIP2"] {
            let status = watch.send(request(&[JSON, ("content-encoding", encoding)], &whole), encoding).await;
            assert_eq!(status, 415, "{encoding}");
        }
        for (encoding, packed) in [("gzip", gzip(&whole)), ("zstd", zstd::encode_all(&whole[..], 1).expect("memory"))] {
            for end in (0..packed.len()).step_by(11) {
                let status =
                    watch.send(request(&[JSON, ("content-encoding", encoding)], &packed[..end]), encoding).await;
                assert_eq!(status, 400, "{encoding} cut at {end}");
            }
            let status = watch.send(request(&[JSON, ("content-encoding", encoding)], &whole), encoding).await;
            assert_eq!(status, 400, "{encoding} that is none");
            let status = watch.send(request(&[JSON], &packed), encoding).await;
            assert_eq!(status, 400, "{encoding} that nobody declares");
        }
        let bomb = gzip(&vec![b' '; 80 << 20]);
        assert_eq!(watch.send(request(&[JSON, ("content-encoding", "gzip")], &bomb), "a bomb").await, 413);
        let huge = vec![b' '; 9 << 20];
        let status = watch.send(request(&[JSON], &huge), "9 MiB").await;
        assert_eq!(status, 413);
        let lying = request(&[JSON, ("content-length", "99999999999999999999")], &whole);
        let status = watch.send(lying, "a length that is none").await;
        assert!(status < 500, "{status}");
        for key in ["", "a b", "é", &"k".repeat(129)] {
            let status = watch.send(request(&[JSON, ("idempotency-key", key)], &whole), key).await;
            let takes_key = telling.method == Method::POST;
            assert_eq!(status == 400, takes_key, "{key}: {status}");
        }
    }
    watch.end().await;
}

#[tokio::test]
async fn a_question_may_be_anything() {
    let watch = Watch::begin().await;
    let strange = [
        "",
        "%00",
        "%ff",
        "%",
        "%2",
        "%2F%2F",
        "..%2f..%2f",
        "v",
        "v0",
        "v99999999999999999999",
        "0",
        "-1",
        "1e9",
        "%F0%9F%92%A9",
        "'%22%3Cscript%3E",
        "a:b:c",
        "*",
    ];
    let values = [
        "state:",
        "state:nope",
        "behind:%3E",
        "behind:%3E99999999999999999999",
        "since:%3E99999999999999999d",
        "since:%3E",
        "config:",
        "config:v99999999999",
        "label.:x",
        "label.a",
        "cp:",
        ":",
        "::::",
        "%22",
        "-state:current",
        "gateway:....",
    ];
    let moments = [
        "9999-12-31T23:59:59Z",
        "0001-01-01T00:00:00Z",
        "2026-13-01T00:00:00Z",
        "now",
        "",
        "1795164837000",
        "2026-11-20T03:00:30%2B99:99",
        "2026-11-20T03:00:00.99999999999999999Z",
        "1969-12-31T23:59:59Z",
    ];
    let mut paths: Vec<String> = Vec::new();
    let roots = [
        "/api/v1/nodes/",
        "/api/v1/nodes/eu/",
        "/api/v1/control-planes/",
        "/api/v1/",
        "/api/",
        "/",
        "/nodes/",
        "/nodes/eu/",
        "/versions/",
        "/versions/eu/",
        "/pkg/",
        "/api/v1/control-planes/eu/versions/",
    ];
    for part in strange.into_iter().chain(values) {
        paths.extend(roots.map(|root| format!("{root}{part}")));
        paths.push(format!("/api/v1/nodes/{part}/{part}/history"));
        paths.push(format!("/api/v1/control-planes/{part}/versions"));
        for name in ["q", "after", "size", "at", "known", "sort", "nobody"] {
            for root in [
                "/api/v1/nodes",
                "/api/v1/fleet",
                "/nodes",
                "/",
                "/api/v1/control-planes/eu/versions",
                "/api/v1/nodes/eu/node-0/history",
                "/metrics",
                "/api/v1/control-planes",
            ] {
                paths.push(format!("{root}?{name}={part}"));
            }
        }
    }
    for at in moments {
        for root in [
            "/api/v1/fleet",
            "/api/v1/nodes",
            "/api/v1/nodes/eu/node-0",
            "/api/v1/nodes/eu/node-0/history",
            "/api/v1/control-planes",
            "/api/v1/control-planes/eu/versions",
            "/api/v1/control-planes/eu/versions/1",
            "/",
            "/nodes",
        ] {
            paths.push(format!("{root}?at={at}"));
            paths.push(format!("{root}?at={at}&known=now"));
        }
    }
    paths.push(format!("/api/v1/nodes?q={}", "a".repeat(50_000)));
    paths.push(format!("/api/v1/nodes?q={}", "%20".repeat(5_000)));
    paths.push(format!("/api/v1/nodes/eu/{}", "n".repeat(10_000)));
    let asked = paths.len();
    for path in paths {
        let Ok(request) = Request::get(&path).body(Body::empty()) else { continue };
        let response = watch.story.app.respond(request).await;
        let status = response.status().as_u16();
        let answer = text(response).await;
        assert!(status < 500, "{}: {status} {}", cut(&path), cut(&answer));
        assert!(!answer.contains("<script>alert"), "{}", cut(&path));
    }
    assert!(asked > 1_000, "{asked}");
    assert_eq!(watch.answer().await, watch.before);
    for method in ["PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE", "BREW"] {
        for path in
            ["/api/v1/heartbeats", "/api/v1/fleet", "/", "/metrics", "/healthz", "/api/v1/nodes/eu/node-0/retire"]
        {
            let request = Request::builder().method(method).uri(path).body(Body::empty()).expect("a request");
            let status = watch.story.app.respond(request).await.status().as_u16();
            assert!(status < 500, "{method} {path}: {status}");
        }
    }
    assert_eq!(watch.answer().await, watch.before);
}

#[tokio::test]
async fn made_up_control_planes_are_64_and_no_more() {
    let app = App::start().await;
    let report = |cp: usize| json!({"control_plane": format!("cp-{cp}"), "node_id": "n", "hash": hash(1)});
    app.heartbeats((0..64).map(report).collect()).await;
    let (status, answer) = app.send(Method::POST, "/api/v1/heartbeats", Some(&report(64))).await;
    assert_eq!((status.as_u16(), &answer["field"]), (422, &json!("control_plane")), "{answer}");
    let path = "/api/v1/control-planes/cp-64/expected";
    assert_eq!(app.send(Method::PUT, path, Some(&json!({"hash": hash(1)}))).await.0.as_u16(), 422);
    assert_eq!(app.get("/api/v1/fleet").await["nodes"], 64);
    // Declared, it may come.
    app.tell(Method::PATCH, "/api/v1/control-planes/cp-64", json!({"change_feed": false})).await;
    app.heartbeats(vec![report(64)]).await;
    assert_eq!(app.get("/api/v1/fleet").await["nodes"], 65);
}
