//! Facts through the real router: what is taken, what is refused and by which words.

use std::io::Write;
use std::time::Duration;

use crate::support::{NOW, Plan, cp, telling};
use axum::body::Body;
use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;
use serde_json::{Value, json};
use tidemark_domain::fact::{ConfigRef, Keeps, Said, Source, What};
use tidemark_server::http::DoorLimits;
use tidemark_server::http::body::BodyLimits;
use tidemark_server::ingest::SubmitError;
use tidemark_server::metrics::Format;

const ONE: &str = r#"{"control_plane":"prod","node_id":"n1","hash":"6de1944179b6c16febb0a724310a4d49"}"#;
const HASH: &str = "6de1944179b6c16febb0a724310a4d49";

fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(data).expect("memory takes all");
    encoder.finish().expect("memory takes all")
}

#[tokio::test]
async fn a_report_is_stored_before_it_is_answered() {
    let house = Plan::default().build();
    let said = house.tell("POST", "/api/v1/heartbeats", ONE).await;
    assert_eq!((said.status.as_u16(), said.body.as_str()), (200, r#"{"accepted":1,"refused":[]}"#));
    let facts = house.facts();
    assert_eq!(facts.len(), 1);
    assert_eq!((facts[0].at, facts[0].source, facts[0].control_plane.as_str()), (NOW, Source::Push, "prod"));
}

#[tokio::test]
async fn each_report_of_an_array_is_stored_or_refused_by_itself() {
    let house = Plan::default().build();
    let body = format!(r#"[{ONE},{{"control_plane":"prod","node_id":"n2","hahs":"x"}},{ONE}]"#);
    let said = house.tell("POST", "/api/v1/heartbeats", body).await;
    assert_eq!(said.status, 200);
    insta::assert_json_snapshot!(said.json(), @r#"
    {
      "accepted": 2,
      "refused": [
        {
          "field": "hahs",
          "index": 1,
          "reason": "is not a field that is known here"
        }
      ]
    }
    "#);
    assert_eq!(house.facts().len(), 2);
}

#[tokio::test]
async fn a_body_is_refused_by_the_status_for_it() {
    let house = Plan::default().build();
    for (body, status, field) in [
        ("", 400, ""),
        ("{", 400, ""),
        ("{} {}", 400, ""),
        ("7", 422, ""),
        ("[]", 200, ""),
        ("[7]", 422, ""),
        ("{}", 422, "control_plane"),
        (r#"{"control_plane":"prod","node_id":"n1","hash":"x"}"#, 422, "hash"),
    ] {
        let said = house.tell("POST", "/api/v1/heartbeats", body).await;
        assert_eq!(said.status, status, "{body}: {}", said.body);
        if status != 200 {
            assert_eq!(said.header("content-type"), "application/problem+json", "{body}");
            assert_eq!(said.field(), field, "{body}");
        }
    }
    assert_eq!(house.facts(), []);
}

#[tokio::test]
async fn ten_thousand_reports_are_taken_and_one_more_is_not() {
    let house = Plan::default().build();
    let many = |count: usize| format!("[{}]", vec![ONE; count].join(","));
    let said = house.tell("POST", "/api/v1/heartbeats", many(10_000)).await;
    assert_eq!((said.status.as_u16(), &said.json()["accepted"]), (200, &json!(10_000)));
    let said = house.tell("POST", "/api/v1/heartbeats", many(10_001)).await;
    assert_eq!(said.status, 422);
    assert!(said.body.contains("10000"), "{}", said.body);
    assert_eq!(house.facts().len(), 10_000);
}

#[tokio::test]
async fn bodies_are_bounded_before_and_after_decompression() {
    let body = BodyLimits { wire_max: 1_000, inflated_max: 2_000, time_max: Duration::from_millis(200) };
    let limits = DoorLimits { body, ..DoorLimits::default() };
    let house = Plan { limits, ..Plan::default() }.build();
    let padded = |length: usize| format!("{ONE}{}", " ".repeat(length - ONE.len())).into_bytes();
    for (encoding, body, status) in [
        ("identity", padded(1_000), 200),
        ("identity", padded(1_001), 413),
        ("gzip", gzip(&padded(2_000)), 200),
        ("gzip", gzip(&padded(2_001)), 413),
        ("gzip", gzip(&vec![b' '; 50 << 20]), 413),
        ("GZIP", gzip(ONE.as_bytes()), 200),
        ("zstd", zstd::encode_all(&padded(2_000)[..], 1).expect("memory"), 200),
        ("zstd", zstd::encode_all(&padded(2_001)[..], 1).expect("memory"), 413),
        ("gzip", ONE.into(), 400),
        ("zstd", ONE.into(), 400),
        ("zstd", [zstd::encode_all(ONE.as_bytes(), 1).expect("memory"), b"!".to_vec()].concat(), 400),
        ("br", ONE.into(), 415),
        ("gzip, gzip", ONE.into(), 415),
    ] {
        let request = telling("POST", "/api/v1/heartbeats").header("content-encoding", encoding);
        let said = house.send(request.body(body.into()).expect("a request")).await;
        assert_eq!(said.status, status, "{encoding}: {}", said.body);
    }
    // A stream without a length is cut off at the same bound.
    let chunks = futures::stream::repeat_with(|| Ok::<_, std::io::Error>(vec![b' '; 100]));
    let said = house.tell("POST", "/api/v1/heartbeats", Body::from_stream(chunks)).await;
    assert_eq!(said.status, 413);
    // A sender that stops in the middle does not hold us.
    let stuck = futures::stream::pending::<Result<Vec<u8>, std::io::Error>>();
    let said = house.tell("POST", "/api/v1/heartbeats", Body::from_stream(stuck)).await;
    assert_eq!(said.status, 408);
}

#[tokio::test]
async fn only_json_is_read() {
    let house = Plan::default().build();
    for (content_type, status) in [
        ("application/json; charset=utf-8", 200),
        ("Application/JSON", 200),
        ("text/plain", 415),
        ("application/x-www-form-urlencoded", 415),
        ("", 415),
    ] {
        let request = axum::http::Request::post("/api/v1/heartbeats").header("content-type", content_type);
        let said = house.send(request.body(ONE.into()).expect("a request")).await;
        assert_eq!(said.status, status, "{content_type}");
    }
}

#[tokio::test]
async fn a_full_queue_and_a_failing_store_say_come_again() {
    let house = Plan { writer: false, ..Plan::default() }.build();
    let waiting: Vec<_> = (0..tidemark_server::ingest::QUEUE_MAX)
        .map(|_| {
            let door = house.door.clone();
            let request = telling("POST", "/api/v1/heartbeats").body(Body::from(ONE)).expect("a request");
            tokio::spawn(tower::ServiceExt::oneshot(door, request))
        })
        .collect();
    let said = loop {
        let tried = tokio::time::timeout(Duration::from_millis(300), house.tell("POST", "/api/v1/heartbeats", ONE));
        if let Ok(said) = tried.await {
            break said;
        }
    };
    assert_eq!(said.status, 503);
    assert!(!said.header("retry-after").is_empty());
    waiting.iter().for_each(tokio::task::JoinHandle::abort);

    let house = Plan::default().build();
    house.fixture.kept.lock().failing = Some(SubmitError::Store);
    let said = house.tell("POST", "/api/v1/heartbeats", ONE).await;
    assert_eq!(said.status, 503);
    assert!(!said.header("retry-after").is_empty());
    house.fixture.kept.lock().failing = None;
    assert_eq!(house.tell("POST", "/api/v1/heartbeats", ONE).await.status, 200);
    let counted = house.get("/metrics?format=text").await.body;
    assert!(counted.contains("tidemark_ingest_reports_total{result=\"stored\"} 1\n"), "{counted}");
    assert!(counted.contains("tidemark_ingest_reports_total{result=\"turned_away\"} 1\n"), "{counted}");
}

#[tokio::test]
async fn a_repeat_under_one_key_gets_the_same_answer_and_changes_nothing() {
    let house = Plan::default().build();
    let path = "/api/v1/heartbeats";
    let first = house.keyed(path, "k1", ONE).await;
    let again = house.keyed(path, "k1", ONE).await;
    assert_eq!((first.status, &first.body), (again.status, &again.body));
    assert_eq!((first.header("idempotency-replayed"), again.header("idempotency-replayed")), ("", "true"));
    assert_eq!(house.facts().len(), 1);
    let other = house.keyed(path, "k1", r#"{"control_plane":"prod","node_id":"n2"}"#).await;
    assert_eq!((other.status.as_u16(), other.field().as_str()), (422, "idempotency-key"));
    assert_eq!(house.keyed(path, "k2", ONE).await.status, 200);
    assert_eq!(house.facts().len(), 2);
    for bad in ["", " ", "ä"] {
        assert_eq!(house.keyed(path, bad, ONE).await.status, 400, "{bad:?}");
    }
}

#[tokio::test]
async fn repeats_at_the_same_time_are_stored_once() {
    let house = Plan::default().build();
    let all = futures::future::join_all((0..20).map(|_| house.keyed("/api/v1/heartbeats", "same", ONE))).await;
    assert!(all.iter().all(|said| said.status == 200 && said.body == all[0].body));
    assert_eq!(house.facts().len(), 1);
}

#[tokio::test]
async fn a_request_whose_sender_went_away_is_still_told_once() {
    let house = Plan::default().build();
    // The first sender gives up at once; its repeat waits for the first and is answered as it was.
    let hurried = tokio::time::timeout(Duration::from_micros(1), house.keyed("/api/v1/heartbeats", "k", ONE)).await;
    drop(hurried);
    assert_eq!(house.keyed("/api/v1/heartbeats", "k", ONE).await.status, 200);
    assert_eq!(house.facts().len(), 1);
}

#[tokio::test]
async fn sixty_four_control_planes_are_made_up_and_no_more() {
    let house = Plan::default().build();
    let report = |index: usize| format!(r#"{{"control_plane":"cp-{index}","node_id":"n"}}"#);
    let many = format!("[{}]", (0..65).map(report).collect::<Vec<_>>().join(","));
    let said = house.tell("POST", "/api/v1/heartbeats", many).await;
    assert_eq!(said.json()["accepted"], 64);
    assert_eq!(
        (&said.json()["refused"][0]["index"], &said.json()["refused"][0]["field"]),
        (&json!(64), &json!("control_plane"))
    );
    // Those that there are go on, a declared one comes, and then there is still no room.
    assert_eq!(house.tell("POST", "/api/v1/heartbeats", report(0)).await.status, 200);
    assert_eq!(house.tell("POST", "/api/v1/heartbeats", report(64)).await.status, 422);
    assert_eq!(house.tell("PUT", "/api/v1/control-planes/cp-64", declaration().to_string()).await.status, 200);
    assert_eq!(house.tell("POST", "/api/v1/heartbeats", report(64)).await.status, 200);
    assert_eq!(
        house.tell("PUT", "/api/v1/control-planes/cp-65/expected", json!({"hash": HASH}).to_string()).await.status,
        422
    );
}

#[tokio::test]
async fn a_name_whose_report_was_not_stored_takes_no_room() {
    let house = Plan::default().build();
    house.fixture.kept.lock().failing = Some(SubmitError::Full);
    let report = |index: usize| format!(r#"{{"control_plane":"cp-{index}","node_id":"n"}}"#);
    for index in 0..64 {
        assert_eq!(house.tell("POST", "/api/v1/heartbeats", report(index)).await.status, 503);
    }
    house.fixture.kept.lock().failing = None;
    assert_eq!(house.tell("POST", "/api/v1/heartbeats", report(99)).await.status, 200);
}

fn declaration() -> Value {
    json!({
        "display_name": "Production",
        "cluster_id": null,
        "konnect_id": null,
        "propagation_seconds": 90,
        "change_feed": true
    })
}

#[tokio::test]
async fn a_put_that_leaves_a_field_out_is_refused_and_a_patch_merges() {
    let house = Plan::default().build();
    let path = "/api/v1/control-planes/edge";
    for field in ["display_name", "cluster_id", "konnect_id", "propagation_seconds", "change_feed"] {
        let mut body = declaration();
        body.as_object_mut().expect("an object").remove(field);
        let said = house.tell("PUT", path, body.to_string()).await;
        assert_eq!((said.status.as_u16(), said.field().as_str()), (400, field), "{}", said.body);
    }
    assert_eq!(house.facts(), []);
    let said = house.tell("PUT", path, declaration().to_string()).await;
    assert_eq!(said.status, 200, "{}", said.body);
    let said = house.tell("PATCH", path, json!({"cluster_id": "c-1", "display_name": null}).to_string()).await;
    insta::assert_json_snapshot!(said.json(), @r#"
    {
      "change_feed": true,
      "cluster_id": "c-1",
      "control_plane": "edge",
      "display_name": null,
      "konnect_id": null,
      "propagation_seconds": 90
    }
    "#);
    for (body, field) in [
        (json!({"propagation_seconds": 0}), "propagation_seconds"),
        (json!({"propagation_seconds": 86_401}), "propagation_seconds"),
        (json!({"change_feed": null}), "change_feed"),
        (json!({"name": "x"}), "name"),
    ] {
        let said = house.tell("PATCH", path, body.to_string()).await;
        assert_eq!((said.status.as_u16(), said.field().as_str()), (400, field), "{}", said.body);
    }
}

#[tokio::test]
async fn a_version_is_announced_with_all_that_is_known_of_it() {
    let house = Plan::default().build();
    let body = json!({
        "token": "release-42",
        "hashes": [{"hash": HASH, "gateway_version": "3.9.1"}, {"hash": HASH, "protocol": "v2"}],
        "cause": "merge #812", "actor": "deck", "transaction": "t-1",
        "shape": {"entities": {"routes": 12}, "certificates_without_snis": 1, "hosts_served": 3},
        "plugins_changed": ["cors", "rate-limiting"],
        "digest": "0123456789abcdef", "protocol": "v1", "gateway_version": "3.9.1", "replica": "cp-0"
    });
    let said = house.tell("POST", "/api/v1/control-planes/prod/versions", body.to_string()).await;
    assert_eq!(said.body, r#"{"control_plane":"prod","recorded_at":"2026-11-20T08:53:57Z"}"#);
    let What::Word(word) = &house.facts()[0].what else { panic!("not a word") };
    let Said::Announced(announced) = &word.said else { panic!("not announced") };
    assert_eq!(announced.token.as_ref().map(ToString::to_string).as_deref(), Some("release-42"));
    assert_eq!(announced.changeset.as_ref().map(ToString::to_string).as_deref(), Some("deck t-1"));
    assert_eq!(announced.hashes.len(), 2);
    assert_eq!(announced.shape.as_ref().map(tidemark_domain::fact::Shape::total), Some(12));
    assert_eq!(word.scope.to_string(), "v1 · 3.9.1");
    let plugins = announced.plugins_changed.iter().map(|change| (change.name.as_str(), change.keeps));
    assert_eq!(plugins.collect::<Vec<_>>(), [("cors", Keeps::Nothing), ("rate-limiting", Keeps::Counters)]);
    for (body, field) in [
        (json!({"hashes": [{"hash": HASH}]}), "token"),
        (json!({"token": "a", "hashes": [{"hash": "x"}]}), "hashes[0].hash"),
        (json!({"token": "a", "hashes": [{}]}), "hashes[0].hash"),
        (json!({"token": "a", "hashes": [{"hash": HASH}, {"hash": "7".repeat(32)}]}), "hashes[1].hash"),
        (json!({"token": "a", "hashes": [{"hash": HASH, "node": 1}]}), "hashes[0].node"),
        (json!({"token": "a", "digest": "xyz"}), "digest"),
        (json!({"token": "a", "shape": {"routes": 1}}), "shape.routes"),
        (json!({"token": "a", "shape": {"entities": {"routes": -1}}}), "shape.entities.routes"),
        (json!({"token": "a", "shape": {"certificates_without_snis": 0, "hosts_served": 0}}), "shape.entities"),
        (json!({"token": "a", "shape": {"entities": {}, "hosts_served": 0}}), "shape.certificates_without_snis"),
        (json!({"token": "a", "shape": {"entities": {}, "certificates_without_snis": 0}}), "shape.hosts_served"),
        (json!({"token": "a", "intended": "yes"}), "intended"),
        (json!({"token": "a", "plugins_changed": "cors"}), "plugins_changed"),
        (json!({"token": "a", "plugins_changed": [7]}), "plugins_changed"),
        (json!({"token": "a", "plugins_changed": [""]}), "plugins_changed"),
        (json!({"token": "a", "plugins_changed": vec!["cors"; 33]}), "plugins_changed"),
        (json!({"token": "a b"}), "token"),
        (json!({"token": "a", "hashs": []}), "hashs"),
    ] {
        let said = house.tell("POST", "/api/v1/control-planes/prod/versions", body.to_string()).await;
        assert_eq!((said.status.as_u16(), said.field().as_str()), (400, field), "{body}: {}", said.body);
    }
    assert_eq!(house.facts().len(), 1);
}

#[tokio::test]
async fn a_version_without_a_token_is_known_by_its_key() {
    let house = Plan::default().build();
    let said = house.keyed("/api/v1/control-planes/prod/versions", "run-7", r#"{"cause":"sync"}"#).await;
    assert_eq!(said.status, 200, "{}", said.body);
    let What::Word(word) = &house.facts()[0].what else { panic!("not a word") };
    let Said::Announced(announced) = &word.said else { panic!("not announced") };
    assert_eq!(announced.key.as_ref().map(ToString::to_string).as_deref(), Some("run-7"));
    assert_eq!(house.keyed("/api/v1/control-planes/prod/versions", "run-7", r#"{"cause":"sync"}"#).await.status, 200);
    assert_eq!(house.facts().len(), 1);
}

#[tokio::test]
async fn what_is_expected_is_told_by_hash_or_token_or_both() {
    let house = Plan::default().build();
    let path = "/api/v1/control-planes/prod/expected";
    let hash = ConfigRef::Hash(HASH.parse().expect("a hash"));
    let token = ConfigRef::Token("release-42".parse().expect("a token"));
    for (body, config, of) in [
        (json!({"hash": HASH}), &hash, None),
        (json!({"token": "release-42", "gateway_version": "3.9.1"}), &token, None),
        (json!({"hash": HASH, "token": "release-42"}), &hash, Some("release-42")),
    ] {
        let said = house.tell("PUT", path, body.to_string()).await;
        assert_eq!(said.status, 200, "{body}: {}", said.body);
        let What::Word(word) = house.facts().pop().expect("a fact").what else { panic!("not a word") };
        let Said::Expected { config: said, token } = word.said else { panic!("not expected") };
        assert_eq!((&said, token.as_ref().map(|token| token.as_str())), (config, of));
    }
    for (body, field) in
        [(json!({}), "hash"), (json!({"hash": "x"}), "hash"), (json!({"hsah": HASH, "token": "a"}), "hsah")]
    {
        let said = house.tell("PUT", path, body.to_string()).await;
        assert_eq!((said.status.as_u16(), said.field().as_str()), (400, field), "{body}");
    }
}

#[tokio::test]
async fn a_node_is_retired_by_somebody() {
    let house = Plan::default().build();
    let body = json!({"by": "ada", "reason": "scaled down"}).to_string();
    assert_eq!(house.tell("POST", "/api/v1/nodes/prod/n1/retire", body.clone()).await.status, 200);
    assert!(matches!(&house.facts()[0].what, What::Retired(retired) if retired.by.as_str() == "ada"));
    assert_eq!(house.tell("POST", "/api/v1/nodes/prod/nobody/retire", body).await.status, 404);
    let said = house.tell("POST", "/api/v1/nodes/prod/n1/retire", "{}").await;
    assert_eq!((said.status.as_u16(), said.field().as_str()), (400, "by"));
    assert_eq!(house.facts().len(), 1);
}

#[tokio::test]
async fn recordings_come_in_parcels_and_are_asked_for() {
    let house = Plan::default().build();
    assert_eq!(house.get("/api/v1/recordings/d1").await.status, 404);
    house.tell("POST", "/api/v1/heartbeats", ONE).await;
    let fact = serde_json::to_value(&house.facts()[0]).expect("a fact is plain data");
    let taken = json!({
        "first_digest": "d1", "control_plane": "prod", "lines": 7, "prefix_digest": "p", "at": NOW.ms()
    });
    let parcel = |fact: &Value| json!({"facts": [fact], "taken": [taken]}).to_string();
    let said = house.tell("POST", "/api/v1/recordings", parcel(&fact)).await;
    assert_eq!((said.status.as_u16(), said.body.as_str()), (200, r#"{"accepted":1}"#));
    assert_eq!(house.get("/api/v1/recordings/d1").await.json()["lines"], 7);
    assert_eq!(house.get("/api/v1/control-planes/prod/word").await.json()["last_word_at"], NOW.ms());
    let mut later = fact;
    later["recorded_at"] = json!(NOW.ms() + 1);
    assert_eq!(house.tell("POST", "/api/v1/recordings", parcel(&later)).await.status, 422);
    assert_eq!(house.tell("POST", "/api/v1/recordings", r#"{"facts":[]}"#).await.status, 422);
    assert_eq!(house.tell("POST", "/api/v1/recordings", "{").await.status, 400);
    assert_eq!(house.facts().len(), 2);
}

#[tokio::test]
async fn figures_are_the_same_in_both_formats() {
    let house = Plan::default().build();
    let text = house.get("/metrics").await;
    assert_eq!(text.header("content-type"), Format::Text.content_type());
    let open = house.get("/metrics?format=openmetrics").await;
    assert_eq!(open.header("content-type"), Format::OpenMetrics.content_type());
    let line = "tidemark_nodes{control_plane=\"prod\",config_state=\"behind\",connection_state=\"connected\"} 1\n";
    assert!(text.body.contains(line) && open.body.contains(line));
    assert!(cp("prod").as_str() == "prod" && open.body.ends_with("# EOF\n"));
}

/// Sends bytes to every place that takes a body; whatever they are, nobody is broken and nothing of them is stored
/// by halves.
fn never_breaks(body: Vec<u8>, encoding: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let house = Plan::default().build();
        for (method, path) in [
            ("POST", "/api/v1/heartbeats"),
            ("POST", "/api/v1/control-planes/prod/versions"),
            ("PUT", "/api/v1/control-planes/prod/expected"),
            ("PUT", "/api/v1/control-planes/prod"),
            ("PATCH", "/api/v1/control-planes/prod"),
            ("POST", "/api/v1/nodes/prod/n1/retire"),
            ("POST", "/api/v1/recordings"),
        ] {
            let request = telling(method, path).header("content-encoding", encoding);
            let said = house.send(request.body(body.clone().into()).expect("a request")).await;
            assert!(said.status.as_u16() < 500, "{method} {path}: {} {}", said.status, said.body);
        }
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_bytes_break_the_door(
        body in proptest::collection::vec(any::<u8>(), 0..300),
        encoding in prop::sample::select(vec!["identity", "gzip", "zstd"]),
    ) {
        never_breaks(body, encoding);
    }

    #[test]
    fn no_json_breaks_the_door(
        fields in proptest::collection::vec(
            (
                prop::sample::select(vec![
                    "control_plane", "node_id", "hash", "version", "labels", "status", "age_ms", "token", "hashes",
                    "shape", "by", "change_feed", "facts", "taken",
                ]),
                prop::sample::select(vec![
                    "null", "true", "-1", "1e999", "1e300", "18446744073709551616", "\"\"", "\"prod\"", "\"\\ud800\"",
                    "[]", "{}", "[[[[]]]]", "{\"a\":1}", "[null]", "\"\\u0000\"", "\"ü\"",
                ]),
            ),
            0..8,
        ),
        array in any::<bool>(),
    ) {
        let fields: Vec<String> = fields.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
        let object = format!("{{{}}}", fields.join(","));
        let body = if array { format!("[{object},{object}]") } else { object };
        never_breaks(body.into_bytes(), "identity");
    }
}
