//! Questions through the real router, over a fixture.

use std::time::Duration;

use crate::support::{NOW, Plan, telling};
use axum::body::Body;
use axum::http::Request;
use tidemark_domain::time::Timestamp;
use tidemark_domain::view::Moment;
use tidemark_server::clock::Clock;
use tidemark_server::http::DoorLimits;
use tidemark_server::http::auth::Tokens;

#[tokio::test]
async fn every_question_has_an_answer() {
    let house = Plan::default().build();
    for path in [
        "/api/v1/fleet",
        "/api/v1/nodes",
        "/api/v1/nodes?q=state:behind&size=1&after=x",
        "/api/v1/nodes/prod/n1",
        "/api/v1/nodes/prod/n1/history",
        "/api/v1/control-planes",
        "/api/v1/control-planes/prod",
        "/api/v1/control-planes/prod/versions",
        "/api/v1/control-planes/prod/versions/10",
        "/api/v1/control-planes/prod/versions/v10",
    ] {
        let said = house.get(path).await;
        assert_eq!(said.status, 200, "{path}: {}", said.body);
        assert_eq!(said.header("content-type"), "application/json", "{path}");
        assert_eq!(said.header("cache-control"), "no-store", "{path}");
        said.json();
    }
}

#[tokio::test]
async fn a_node_is_told_in_words_that_stay() {
    let house = Plan::default().build();
    let node = &house.get("/api/v1/nodes/prod/n2").await.json()["node"];
    insta::assert_json_snapshot!(node, @r#"
    {
      "because": "not_reached",
      "behind": 1,
      "capabilities": null,
      "certificate_expires_at": null,
      "config_state": "behind",
      "connection_since": "2026-11-20T08:43:57Z",
      "connection_state": "connected",
      "control_plane": "prod",
      "counter": "behind",
      "evidence": "it said so",
      "gateway_version": "3.9.1",
      "headline": "n2 is here",
      "hostname": "pod-1",
      "id": "n2",
      "ip": null,
      "labels": null,
      "last_report_at": "2026-11-20T08:53:57Z",
      "last_report_estimated": false,
      "license_expires_at": null,
      "overlays": [
        "clock_skew"
      ],
      "plugin_set": null,
      "protocol": null,
      "reported": "6de1944179b6c16febb0a724310a4d49",
      "since": "2026-11-20T08:43:57Z",
      "source": "push",
      "suspicious_since": null,
      "sync_mode": null,
      "version": 9
    }
    "#);
}

#[tokio::test]
async fn the_past_is_asked_by_at_and_known() {
    let house = Plan::default().build();
    let at = Timestamp::parse("2026-11-20T08:00:00Z");
    for (query, expected) in [
        ("", Moment::default()),
        ("?at=2026-11-20T08:00:00Z", Moment { at, known_now: false }),
        ("?at=2026-11-20T09:00:00%2B01:00&known=now", Moment { at, known_now: true }),
        ("?at=2026-11-20T09:00:00+01:00", Moment { at, known_now: false }),
    ] {
        let said = house.get(&format!("/api/v1/fleet{query}")).await;
        assert_eq!(said.status, 200, "{query}: {}", said.body);
        assert_eq!(house.fixture.kept.lock().asked.pop(), Some(expected), "{query}");
    }
}

#[tokio::test]
async fn a_wrong_question_names_its_part() {
    let house = Plan::default().build();
    for (path, status, field) in [
        ("/api/v1/fleet?att=2026-11-20T08:00:00Z", 400, "att"),
        ("/api/v1/fleet?at=yesterday", 400, "at"),
        ("/api/v1/fleet?known=now", 400, "known"),
        ("/api/v1/fleet?at=2026-11-20T08:00:00Z&known=then", 400, "known"),
        ("/api/v1/fleet?at=2026-11-20T08:00:00Z&at=2026-11-20T08:00:00Z", 400, "at"),
        ("/api/v1/nodes?size=0", 400, "size"),
        ("/api/v1/nodes?size=1", 200, ""),
        ("/api/v1/nodes?size=500", 200, ""),
        ("/api/v1/nodes?size=501", 400, "size"),
        ("/api/v1/nodes?state=behind", 400, "state"),
        ("/api/v1/nodes/Prod/n1", 400, "cp"),
        ("/api/v1/nodes/prod/n%20", 400, "id"),
        ("/api/v1/nodes/prod/%ff", 400, ""),
        ("/api/v1/nodes/prod/nobody", 404, ""),
        ("/api/v1/control-planes/Prod", 400, "cp"),
        ("/api/v1/control-planes/prod?known=now", 400, "known"),
        ("/api/v1/control-planes/nobody", 404, ""),
        ("/api/v1/control-planes/prod/versions/v0", 400, "ordinal"),
        ("/api/v1/control-planes/prod/versions/99", 404, ""),
        ("/api/v1/nowhere", 404, ""),
        ("/api/v2/fleet", 404, ""),
        ("/metrics?format=xml", 400, "format"),
        ("/metrics?fmt=text", 400, "fmt"),
        ("/api/v1/events?x=1", 400, "x"),
    ] {
        let said = house.get(path).await;
        assert_eq!(said.status, status, "{path}: {}", said.body);
        if status != 200 {
            assert_eq!(said.header("content-type"), "application/problem+json", "{path}");
            assert_eq!(said.field(), field, "{path}");
            assert_eq!(said.json()["request_id"], said.header("x-request-id"), "{path}");
        }
    }
}

#[tokio::test]
async fn a_problem_reads_as_rfc_9457_has_it() {
    let house = Plan::default().build();
    let request = Request::get("/api/v1/nodes?size=0").header("x-request-id", "mine-1");
    let said = house.send(request.body(Body::empty()).expect("a request")).await;
    insta::assert_json_snapshot!(said.json(), @r#"
    {
      "detail": "expected a whole number from 1 to 500",
      "field": "size",
      "request_id": "mine-1",
      "status": 400,
      "title": "Bad Request",
      "type": "about:blank"
    }
    "#);
}

#[tokio::test]
async fn what_broke_inside_is_not_leaked() {
    let house = Plan::default().build();
    for question in ["panic", "secret"] {
        let said = house.get(&format!("/api/v1/nodes?q={question}")).await;
        assert_eq!(said.status, 500, "{question}");
        assert!(!said.body.contains("select") && !said.body.contains("asked for it"), "{}", said.body);
        assert_eq!(said.json()["request_id"], said.header("x-request-id"));
    }
    assert_eq!(house.get("/api/v1/fleet").await.status, 200);
}

#[tokio::test]
async fn a_question_that_takes_too_long_is_given_up() {
    let limits = DoorLimits { request_time_max: Duration::from_millis(50), ..DoorLimits::default() };
    let house = Plan { limits, ..Plan::default() }.build();
    let said = house.get("/api/v1/nodes?q=slow").await;
    assert_eq!(said.status, 503);
    assert!(!said.header("retry-after").is_empty());
}

#[tokio::test]
async fn a_method_that_is_not_there_is_told_which_are() {
    let house = Plan::default().build();
    let said = house.tell("DELETE", "/api/v1/control-planes/prod", "").await;
    assert_eq!(said.status, 405);
    assert_eq!(said.header("allow"), "GET,HEAD,PUT,PATCH");
    assert_eq!(said.header("content-type"), "application/problem+json");
    let said = house.tell("GET", "/api/v1/heartbeats", "").await;
    assert_eq!((said.status.as_u16(), said.header("allow")), (405, "POST"));
    let said = house.send(Request::head("/api/v1/fleet").body(Body::empty()).expect("a request")).await;
    assert_eq!((said.status.as_u16(), said.body.as_str()), (200, ""));
    let said = house.send(Request::head("/api/v1/nodes?size=0").body(Body::empty()).expect("a request")).await;
    assert_eq!((said.status.as_u16(), said.body.as_str()), (400, ""));
}

#[tokio::test]
async fn every_answer_has_the_headers_that_protect_its_reader() {
    let house = Plan::default().build();
    for path in ["/", "/nowhere", "/api", "/api/v1/fleet", "/metrics", "/healthz", "/pkg/none/x.js"] {
        let request = Request::get(path).header("accept", "text/html");
        let said = house.send(request.body(Body::empty()).expect("a request")).await;
        assert_eq!(said.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(said.header("referrer-policy"), "same-origin", "{path}");
        assert!(said.header("content-security-policy").contains("frame-ancestors 'none'"), "{path}");
        assert!(!said.header("content-security-policy").contains("script-src 'unsafe"), "{path}");
        assert!(!said.header("x-request-id").is_empty(), "{path}");
    }
}

#[tokio::test]
async fn scripts_of_a_page_run_by_the_nonce_of_its_answer() {
    let house = Plan::default().build();
    let said = house.get("/").await;
    assert_eq!(said.status, 200);
    let policy = said.header("content-security-policy");
    let nonce = policy.split("'nonce-").nth(1).and_then(|rest| rest.split('\'').next()).expect("a nonce");
    for script in said.body.split("<script").skip(1) {
        let tag = script.split('>').next().expect("a tag");
        assert!(tag.contains(&format!("nonce=\"{nonce}\"")), "{tag}");
    }
    let again = house.get("/").await;
    assert_ne!(again.header("content-security-policy"), policy);
}

#[tokio::test]
async fn a_page_that_is_not_there_has_the_status_for_it() {
    let house = Plan::default().build();
    let request = Request::get("/no/such/page").header("accept", "text/html");
    let said = house.send(request.body(Body::empty()).expect("a request")).await;
    assert_eq!(said.status, 404);
    assert!(said.header("content-type").starts_with("text/html"), "{}", said.body);
    assert_eq!(house.get("/no/such/page").await.header("content-type"), "application/problem+json");
}

#[tokio::test]
async fn readiness_is_told_apart_from_life() {
    let house = Plan { ready: false, ..Plan::default() }.build();
    assert_eq!(house.get("/healthz").await.status, 200);
    let said = house.get("/readyz").await;
    assert_eq!(said.status, 503);
    insta::assert_snapshot!(said.body, @r#"{"store":true,"writer":true,"board":false}"#);
    assert_eq!(Plan::default().build().get("/readyz").await.status, 200);
}

#[tokio::test]
async fn with_tokens_only_health_is_open() {
    let tokens = || Tokens::parse("read read-0123456789ab\nsend send-0123456789ab\n").ok();
    let house = Plan { tokens: tokens(), ..Plan::default() }.build();
    for path in ["/", "/api", "/api/v1/fleet", "/api/v1/events", "/metrics", "/nowhere", "/pkg/x/y"] {
        let said = house.get(path).await;
        assert_eq!(said.status, 401, "{path}");
        assert!(said.header("www-authenticate").starts_with("Bearer"), "{path}");
    }
    assert_eq!(house.get("/healthz").await.status, 200);
    assert_eq!(house.get("/readyz").await.status, 200);
    let ask = |token: &str| {
        let request = Request::get("/api/v1/fleet").header("authorization", format!("Bearer {token}"));
        house.send(request.body(Body::empty()).expect("a request"))
    };
    assert_eq!(ask("read-0123456789ab").await.status, 200);
    assert_eq!(ask("send-0123456789ab").await.status, 403);
    let tell = |token: &str| {
        let request = telling("POST", "/api/v1/heartbeats").header("authorization", format!("Bearer {token}"));
        house.send(request.body("[]".into()).expect("a request"))
    };
    assert_eq!(tell("send-0123456789ab").await.status, 200);
    assert_eq!(tell("read-0123456789ab").await.status, 403);
}

#[tokio::test]
async fn a_held_clock_answers_and_takes_nothing() {
    let house = Plan { clock: Clock::held(NOW), ..Plan::default() }.build();
    assert_eq!(house.get("/api/v1/fleet").await.json()["as_of"]["held"], true);
    let said = house.tell("POST", "/api/v1/heartbeats", "[]").await;
    assert_eq!(said.status, 503);
    assert!(said.body.contains("held at 2026-11-20T08:53:57Z"), "{}", said.body);
}

#[tokio::test]
async fn the_interface_describes_itself() {
    let house = Plan::default().build();
    let document = house.get("/api/openapi.json").await.json();
    assert!(document["openapi"].as_str().is_some_and(|version| version.starts_with("3.1")));
    for (path, methods) in document["paths"].as_object().expect("paths") {
        let concrete = path.replace("{cp}", "prod").replace("{id}", "n1").replace("{ordinal}", "10");
        for method in methods.as_object().expect("methods").keys() {
            if path.ends_with("events") {
                continue;
            }
            let said = house.tell(&method.to_uppercase(), &concrete, "").await;
            assert!(![404, 405].contains(&said.status.as_u16()), "{method} {path}: {}", said.status);
        }
    }
    let page = house.get("/api").await;
    assert_eq!(page.status, 200);
    for word in ["/api/v1/heartbeats", "config_state", "age_ms", "openapi.json"] {
        assert!(page.body.contains(word), "{word}");
    }
    assert!(!page.body.contains("<script") && !page.body.contains("http://") && !page.body.contains("https://"));
}

#[tokio::test]
async fn the_body_that_is_described_is_the_body_that_is_read() {
    let document = Plan::default().build().get("/api/openapi.json").await.json();
    let schema =
        &document["paths"]["/api/v1/heartbeats"]["post"]["requestBody"]["content"]["application/json"]["schema"];
    let mut described: Vec<_> = schema["properties"].as_object().expect("fields").keys().map(String::as_str).collect();
    let mut read = tidemark_server::ingest::wire::FIELDS.to_vec();
    described.sort_unstable();
    read.sort_unstable();
    assert_eq!(described, read);
}
