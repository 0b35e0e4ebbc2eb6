//! What gateways do, through the front door: logs in, sums kept, answers out. The clock is moved by hand, and the recorded
//! posts are those of genuine Kong processes.

use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use tidemark_domain::time::{HOUR, MINUTE, SECOND};

use crate::door::{App, hash, text};
use crate::recorded::captures;

const LOG: &str = "/ingest/kong/http-log";

fn entry(route: &str, status: u16, ms: f64) -> Value {
    json!({
        "request": {"size": 100, "id": format!("{route}{status}{ms}")},
        "response": {"status": status, "size": 400},
        "latencies": {"request": ms, "kong": 1, "proxy": ms - 1.0},
        "route": {"id": "r", "name": route},
        "service": {"id": "s", "name": "shop"},
    })
}

/// Sends a body as Kong does, and answers with the status and what became of it.
async fn post(app: &App, path: &str, body: Vec<u8>) -> (StatusCode, Value) {
    let request = Request::post(path).header("content-type", "application/json").body(Body::from(body)).unwrap();
    let response = app.respond(request).await;
    let status = response.status();
    let text = text(response).await;
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

async fn tell(app: &App, path: &str, body: Value) -> Value {
    let (status, answer) = post(app, path, body.to_string().into_bytes()).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    answer
}

/// Requests by name.
async fn requests(app: &App, query: &str) -> BTreeMap<String, u64> {
    let answer = app.get(&format!("/api/v1/traffic?{query}")).await;
    let rows = answer["rows"].as_array().unwrap_or_else(|| panic!("{answer}"));
    let row = |row: &Value| {
        (row["name"].as_str().unwrap_or("").to_owned(), row["totals"]["requests"].as_u64().expect("a count"))
    };
    rows.iter().map(row).collect()
}

fn expected(rows: &[(&str, u64)]) -> BTreeMap<String, u64> {
    rows.iter().map(|(name, requests)| ((*name).to_owned(), *requests)).collect()
}

/// To where the minute in hand is over: a range ends with the last whole minute.
async fn next_minute(app: &App) {
    app.advance(MINUTE).await;
}

#[tokio::test]
async fn recorded_posts_of_all_versions_are_counted_exactly() {
    let Some(captures) = captures() else { return };
    let app = App::start().await;
    let mut posts = 0;
    for folder in ["kong-3.4.2-v1", "kong-3.9.3-v1", "kong-3.10.0-dev-v2-rpc-sync"] {
        let file = std::fs::read_to_string(captures.join(folder).join("http-log-posts.jsonl")).unwrap();
        for line in file.lines() {
            let record: Value = serde_json::from_str(line).unwrap();
            let body = BASE64_STANDARD.decode(record["body_base64"].as_str().unwrap()).unwrap();
            let (status, answer) = post(&app, LOG, body.clone()).await;
            assert_eq!((status, &answer["repeated"]), (StatusCode::OK, &json!(false)), "{answer}");
            // Kong sends a body again where it got no answer.
            let (status, answer) = post(&app, LOG, body).await;
            assert_eq!((status, &answer["repeated"]), (StatusCode::OK, &json!(true)), "{answer}");
            posts += 1;
        }
    }
    next_minute(&app).await;
    assert_eq!(posts, 14);
    assert_eq!(requests(&app, "by=route").await, expected(&[("route-a", 17), ("route-b", 2), ("", 1)]));
    assert_eq!(requests(&app, "by=status").await, expected(&[("200", 15), ("500", 3), ("401", 1), ("404", 1)]));
    assert_eq!(requests(&app, "by=consumer").await, expected(&[("alice", 1), ("", 19)]));
    assert_eq!(requests(&app, "by=service&route=route-b").await.values().sum::<u64>(), 2);
    let answer = app.get("/api/v1/traffic").await;
    assert_eq!((&answer["total"]["errors"], &answer["unattributed"]), (&json!(3), &json!(20)));
}

#[tokio::test]
async fn a_body_counts_once_for_ten_minutes_and_after_a_restart() {
    let mut app = App::start().await;
    let body = entry("orders", 200, 12.0);
    assert_eq!(tell(&app, LOG, body.clone()).await["repeated"], json!(false));
    app = app.restart_after(5 * MINUTE).await;
    assert_eq!(tell(&app, LOG, body.clone()).await["repeated"], json!(true));
    assert_eq!(tell(&app, &format!("{LOG}/prod"), body.clone()).await["repeated"], json!(false), "another address");
    app.advance(5 * MINUTE - 1).await;
    assert_eq!(tell(&app, LOG, body.clone()).await["repeated"], json!(true));
    app.advance(1).await;
    assert_eq!(tell(&app, LOG, body).await["repeated"], json!(false));
}

#[tokio::test]
async fn what_was_answered_is_there_after_a_restart_at_every_stage() {
    let mut app = App::start().await;
    tell(&app, LOG, json!([entry("orders", 200, 12.0), entry("orders", 503, 800.0), entry("cart", 200, 5.0)])).await;
    let all = expected(&[("orders", 2), ("cart", 1)]);
    // In the journal; in sums of minutes; in sums of hours; of days.
    for pause in [MINUTE, 3 * MINUTE, HOUR, 25 * HOUR] {
        app = app.restart_after(pause).await;
        app.telemetry.settle().await.unwrap();
        assert_eq!(requests(&app, "range=7d").await, all, "after {pause} ms");
        assert_eq!(requests(&app, "range=365d").await, all, "after {pause} ms");
    }
    assert_eq!(requests(&app, "range=1h").await, expected(&[]));
}

#[tokio::test]
async fn all_ranges_tell_the_same_of_the_same_requests() {
    let app = App::start().await;
    let mut sent = 0;
    for hour in 0..30 {
        for minute in 0..3 {
            let path = format!("{LOG}/prod/gw-{minute}");
            let status = if hour % 5 == 0 { 503 } else { 200 };
            let mut entry = entry(&format!("route-{}", hour % 3), status, 10.0 + f64::from(minute));
            entry["request"]["id"] = json!(format!("{hour}-{minute}"));
            tell(&app, &path, entry).await;
            sent += 1;
            app.advance(20 * MINUTE).await;
            app.telemetry.settle().await.unwrap();
        }
    }
    for range in ["7d", "30d", "365d"] {
        for by in ["route", "status", "service", "node", "consumer", "cp"] {
            let rows = requests(&app, &format!("range={range}&by={by}")).await;
            assert_eq!(rows.values().sum::<u64>(), sent, "{range} by {by}: {rows:?}");
        }
        let answer = app.get(&format!("/api/v1/traffic?range={range}")).await;
        let of_points = |key: &str| -> u64 {
            let points = answer["points"].as_array().unwrap();
            points.iter().filter_map(|point| point["totals"][key].as_u64()).sum()
        };
        assert_eq!((of_points("requests"), of_points("errors")), (sent, 18), "{range}");
        assert_eq!(answer["total"]["p50_ms"].as_f64().map(f64::round), Some(11.0), "{range}");
    }
    let narrowed = requests(&app, "range=7d&by=service&route=route-1&cp=prod").await;
    assert_eq!(narrowed, expected(&[("shop", 30)]));
    assert_eq!(requests(&app, "range=7d&by=node&node=gw-2").await, expected(&[("gw-2", 30)]));
    assert_eq!(requests(&app, "range=7d&cp=nobody").await, expected(&[]));
    let day = requests(&app, "range=24h").await.values().sum::<u64>();
    assert_eq!(day, 24 * 3, "a day of minutes");
    let before = app.get("/api/v1/traffic?range=1h").await;
    assert_eq!((&before["total"]["requests"], &before["before"]["requests"]), (&json!(3), &json!(3)));
}

#[tokio::test]
async fn a_gap_is_no_zero() {
    let app = App::start().await;
    for second in [0, 1] {
        tell(&app, LOG, entry("orders", 200, f64::from(second) + 1.0)).await;
        app.advance(10 * MINUTE).await;
        tell(&app, LOG, entry("cart", 200, f64::from(second) + 1.0)).await;
        app.advance(10 * MINUTE).await;
    }
    let answer = app.get("/api/v1/traffic?route=orders").await;
    let told: Vec<Option<u64>> =
        answer["points"].as_array().unwrap().iter().map(|point| point["totals"]["requests"].as_u64()).collect();
    assert_eq!(told.iter().flatten().copied().collect::<Vec<_>>(), [1, 0, 1, 0], "a minute without orders is a zero");
    assert_eq!(told.len() - told.iter().flatten().count(), 56, "a minute that nobody told of is none");
}

#[tokio::test]
async fn bad_entries_are_refused_one_by_one_and_the_others_count() {
    let app = App::start().await;
    let body = json!([entry("orders", 200, 1.0), {"response": {}}, 7, entry("orders", 200, 2.0)]);
    let (status, answer) = post(&app, LOG, body.to_string().into_bytes()).await;
    assert_eq!(status, StatusCode::MULTI_STATUS);
    assert_eq!((&answer["accepted"], &answer["refused_count"]), (&json!(2), &json!(2)));
    assert_eq!(answer["refused"][0]["index"], json!(1));
    assert_eq!(answer["refused"][0]["field"], json!("response.status"));
    assert_eq!(answer["refused"][1]["reason"], json!("expected an object, found a number"));
    let (status, _) = post(&app, LOG, b"[{\"response\":{\"status\":200}},".to_vec()).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    let (status, answer) = post(&app, &format!("{LOG}/Not-A-Name"), b"{}".to_vec()).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{answer}");
    next_minute(&app).await;
    assert_eq!(requests(&app, "").await, expected(&[("orders", 2)]));
}

#[tokio::test]
async fn names_from_outside_are_texts_of_bounded_length() {
    let app = App::start().await;
    let (markup, long) = ("<img src=x onerror=alert(1)>", "x".repeat(10_000));
    tell(&app, LOG, json!([entry(markup, 200, 1.0), entry(&long, 200, 1.0), entry("=cmd()", 200, 1.0)])).await;
    next_minute(&app).await;
    let rows = requests(&app, "").await;
    assert!(rows.contains_key(markup), "{rows:?}");
    assert!(rows.keys().all(|name| name.len() <= 256));
    let csv = app.page("/api/v1/traffic?format=csv").await;
    assert!(csv.contains("\"'=cmd()\"") && csv.contains(markup), "{csv}");
    let page = app.page("/analytics").await;
    assert!(!page.contains(markup) && page.contains("&lt;img src=x onerror=alert(1)&gt;"), "{page}");
    assert!(!page.contains(&long));
}

#[tokio::test]
async fn a_question_that_cannot_be_answered_names_its_parameter() {
    let app = App::start().await;
    for (query, field) in [
        ("range=2h", "range"),
        ("by=route&consumer=alice", "consumer"),
        ("colour=red", "colour"),
        ("format=xml", "format"),
        ("from=2026-11-20T00:00:00Z", "to"),
        ("at=yesterday", "at"),
    ] {
        let (status, answer) = app.send(Method::GET, &format!("/api/v1/traffic?{query}"), None).await;
        assert_eq!((status, &answer["field"]), (StatusCode::BAD_REQUEST, &json!(field)), "{answer}");
    }
    let (status, answer) = app.send(Method::GET, "/api/v1/traffic?by=status&status=abc", None).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{answer}");
}

#[tokio::test]
async fn a_node_that_serves_while_nobody_hears_it_is_told_as_that() {
    let app = App::start().await;
    app.heartbeats(vec![json!({"control_plane": "prod", "node_id": "gw-1", "hash": hash(1)})]).await;
    app.settle().await;
    for step in 0..12 {
        app.advance(15 * SECOND).await;
        tell(&app, &format!("{LOG}/prod/gw-1"), entry("orders", 200, 10.0 + f64::from(step))).await;
        app.telemetry.settle().await.unwrap();
        app.settle().await;
    }
    let node = app.get("/api/v1/nodes/prod/gw-1").await;
    let overlays = node.to_string();
    assert!(overlays.contains("serving_while_silent"), "{node:#}");
    let unknown = app.get("/api/v1/nodes").await;
    assert_eq!(unknown["nodes"].as_array().map(Vec::len), Some(1), "traffic makes no node");
}

#[tokio::test]
async fn requests_are_told_apart_by_the_version_that_their_node_ran() {
    let app = App::start().await;
    let announce = |token: &str, number: u32| json!({"token": token, "hashes": [{"hash": hash(number)}]});
    let beat = |node: &str, number: u32| json!({"control_plane": "prod", "node_id": node, "hash": hash(number)});
    app.tell(Method::POST, "/api/v1/control-planes/prod/versions", announce("1", 1)).await;
    // Nodes are known to telemetry once they had traffic, so two minutes are enough for the first whole one.
    for minute in 0..10_u32 {
        if minute == 4 {
            app.tell(Method::POST, "/api/v1/control-planes/prod/versions", announce("2", 2)).await;
        }
        for half in 0..2 {
            let second = if minute >= 5 { 2 } else { 1 };
            app.heartbeats(vec![beat("gw-1", second), beat("gw-2", 1)]).await;
            for node in ["gw-1", "gw-2"] {
                let mut entry = entry("orders", if second == 2 && node == "gw-1" { 503 } else { 200 }, 10.0);
                entry["request"]["id"] = json!(format!("{minute}-{half}-{node}"));
                tell(&app, &format!("{LOG}/prod/{node}"), entry).await;
            }
            app.advance(30 * SECOND).await;
            app.telemetry.settle().await.unwrap();
        }
    }
    app.advance(4 * MINUTE).await;
    app.telemetry.settle().await.unwrap();
    let answer = app.get("/api/v1/traffic?by=config&cp=prod").await;
    let rows: BTreeMap<String, (u64, u64)> = answer["rows"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| {
            let count = |key: &str| row["totals"][key].as_u64().unwrap();
            (row["name"].as_str().unwrap().to_owned(), (count("requests"), count("errors")))
        })
        .collect();
    // gw-1 goes to version 2 in minute 5, which counts for neither; so does the first minute of each node.
    assert_eq!(rows, BTreeMap::from([("v1".into(), (2 * 4 + 2 * 9, 0)), ("v2".into(), (2 * 4, 8))]));
}

#[tokio::test]
async fn usage_counts_by_months_of_the_calendar_and_each_service_once() {
    let app = App::start().await;
    let of = |service: &str, consumer: &str, id: u32| {
        let mut entry = entry(&format!("route-{id}"), 200, 1.0);
        entry["service"] = json!({"name": service});
        entry["consumer"] = json!({"username": consumer});
        entry["request"]["id"] = json!(id);
        entry
    };
    tell(&app, &format!("{LOG}/eu"), json!([of("shop", "alice", 1), of("shop", "alice", 2), of("search", "bob", 3)]))
        .await;
    tell(&app, &format!("{LOG}/us"), json!([of("shop", "alice", 4)])).await;
    next_minute(&app).await;
    let months = |answer: &Value| -> Vec<(String, bool, u64, u64, u64)> {
        let month = |month: &Value| {
            let count = |key: &str| month[key].as_u64().unwrap();
            let from = month["from"].as_str().unwrap()[..7].to_owned();
            (from, month["is_over"] == true, count("requests"), count("active_services"), count("active_consumers"))
        };
        answer["months"].as_array().unwrap().iter().map(month).collect()
    };
    assert_eq!(months(&app.get("/api/v1/usage").await), [("2026-11".to_owned(), false, 4, 3, 3)]);
    // From the last of November to the first of December, in sums of minutes, hours and days.
    for _ in 0..11 {
        app.advance(24 * HOUR).await;
        app.telemetry.settle().await.unwrap();
    }
    tell(&app, &format!("{LOG}/eu"), of("shop", "alice", 5)).await;
    next_minute(&app).await;
    let november = ("2026-11".to_owned(), true, 4, 3, 3);
    let december = ("2026-12".to_owned(), false, 1, 1, 1);
    assert_eq!(months(&app.get("/api/v1/usage").await), [december, november]);
    let csv = app.page("/api/v1/usage?format=csv").await;
    assert!(csv.contains("2026-11,true,4,3,3,0\r\n"), "{csv}");
    let page = app.page("/usage").await;
    assert!(page.contains("2026-12") && page.contains("so far"), "{page}");
}

#[tokio::test]
async fn what_others_tell_is_taken_item_by_item() {
    let app = App::start().await;
    app.heartbeats(vec![json!({"control_plane": "prod", "node_id": "gw-1", "hash": hash(1)})]).await;
    app.settle().await;
    let cost = json!({"kind": "sync_cost", "control_plane": "prod", "node_id": "gw-1", "config": hash(1), "mode": "full",
        "bytes": 2_900_000, "apply_ms": 850, "memory_before": 100, "memory_peak": 300, "memory_after": 120});
    let body = json!([
        {"kind": "requests", "control_plane": "prod", "node_id": "gw-1", "route": "orders", "status": 503, "requests": 40,
         "duration_us": 12_000},
        {"kind": "resource", "control_plane": "prod", "node_id": "gw-1", "resource": "memory_workers_bytes", "value": 7},
        cost,
        {"kind": "resource", "control_plane": "prod", "node_id": "gw-1", "resource": "Memory", "value": 7},
        {"kind": "requests", "control_plane": "prod", "requests": 1, "rout": "orders"},
        {"kind": "colour", "control_plane": "prod"},
        {"kind": "requests", "control_plane": "prod", "requests": -1},
        {"kind": "sync_cost", "control_plane": "prod", "node_id": "gw-1", "config": "x", "mode": "full"},
        7,
    ]);
    let (status, answer) = post(&app, "/api/v1/telemetry", body.to_string().into_bytes()).await;
    assert_eq!((status, &answer["accepted"]), (StatusCode::MULTI_STATUS, &json!(3)), "{answer}");
    let refused: Vec<(u64, Option<&str>)> = answer["refused"]
        .as_array()
        .unwrap()
        .iter()
        .map(|refused| (refused["index"].as_u64().unwrap(), refused["field"].as_str()))
        .collect();
    let expected_fields = [(3, "resource"), (4, "rout"), (5, "kind"), (6, "requests"), (7, "bytes")];
    let mut expected_fields: Vec<_> = expected_fields.map(|(index, field)| (index, Some(field))).into();
    expected_fields.push((8, None));
    assert_eq!(refused, expected_fields, "{answer}");
    let (status, answer) = post(&app, "/api/v1/telemetry", body.to_string().into_bytes()).await;
    assert_eq!((status, &answer["repeated"]), (StatusCode::MULTI_STATUS, &json!(true)));
    let (status, _) = post(&app, "/api/v1/telemetry", b"{\"kind\":\"colour\"}".to_vec()).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    let (status, _) = post(&app, "/api/v1/telemetry", b"7".to_vec()).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);

    let costs = app.get("/api/v1/sync-costs").await;
    assert_eq!(costs["costs"].as_array().map(Vec::len), Some(1), "{costs}");
    assert_eq!((&costs["costs"][0]["bytes"], &costs["costs"][0]["memory_peak"]), (&json!(2_900_000), &json!(300)));
    let used = app.get("/api/v1/nodes/prod/gw-1/resources?range=1h").await;
    assert_eq!(used["resources"][0]["name"], json!("memory_workers_bytes"), "{used}");
    next_minute(&app).await;
    let answer = app.get("/api/v1/traffic?by=node").await;
    assert_eq!((&answer["total"]["requests"], &answer["total"]["errors"]), (&json!(40), &json!(40)));
}
