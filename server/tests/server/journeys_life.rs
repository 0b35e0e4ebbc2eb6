//! The life of a service: it restarts and has lost nothing, shows the past as it was, gives one answer to everybody, is
//! alone on its database, and closes without losing what it answered.

use crate::door::story::{HOUR, MINUTE, SECOND, Story, counts, word};
use crate::door::{App, START, hash, html, text};
use axum::body::Body;
use axum::http::{Method, Request};
use futures::StreamExt;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;
use tidemark_domain::fact::{Listening, Source, What};
use tidemark_domain::policy::Policy;
use tidemark_domain::time::{Timestamp, span};
use tidemark_domain::view::AsOf;
use tidemark_server::clock::Clock;
use tidemark_server::explain::explain;
use tidemark_server::run::{self, HeldAt};
use tokio_util::sync::CancellationToken;

/// Nodes in every state that REST and a poller can bring about, over a ledger with some history.
async fn lively() -> Story {
    let mut story = Story::begin().await;
    story.declares(json!({"display_name": "Europe", "propagation_seconds": 90, "change_feed": true})).await;
    for number in 1..=3 {
        let hashes = json!([{"hash": hash(number)}, {"hash": hash(100 + number), "gateway_version": "3.4.2"}]);
        story.announces(json!({"token": format!("release-{number}"), "hashes": hashes, "cause": "deploy"})).await;
        story.passes(2 * MINUTE).await;
    }
    for (node, fields) in [
        ("current", json!({"hash": hash(3), "hostname": "gw-1", "labels": {"region": "eu", "team": "a"}})),
        ("alias", json!({"hash": hash(103), "gateway_version": "3.4.2"})),
        ("behind", json!({"hash": hash(2), "gateway_version": "3.9.1", "labels": {"region": "us"}})),
        ("further", json!({"hash": hash(1), "gateway_version": "3.9.1"})),
        ("unrecognized", json!({"hash": hash(77)})),
        ("empty", json!({"hash": "0".repeat(32), "ready": false})),
        ("unknown", json!({"hash": "0".repeat(32)})),
        ("incompatible", json!({"hash": hash(2), "status": {"state": "incompatible", "reason": "filter_set"}})),
        ("rejected", json!({"hash": hash(2), "apply_error": {"message": "bad route", "entity": "route a"}})),
        ("skewed", json!({"hash": hash(3), "node_clock": "2026-11-20T04:00:00Z"})),
        (
            "expiring",
            json!({"hash": hash(3), "certificate_expires_at": "2026-11-21T00:00:00Z", "license_expires_at": 5}),
        ),
        ("retired", json!({"hash": hash(3)})),
        ("old", json!({"hash": hash(3), "hostname": "gw-9"})),
        ("quiet", json!({"hash": hash(3)})),
        ("token", json!({"version": "release-3"})),
    ] {
        story.reports(node, fields).await;
    }
    story.passes(2 * MINUTE).await;
    story.expects(json!({"hash": hash(3)})).await;
    story.passes(MINUTE).await;
    story.stops("retired");
    story.stops("old");
    story.stops("quiet");
    story.passes(10 * SECOND).await;
    story.reports("new", json!({"hash": hash(3), "hostname": "gw-9"})).await;
    story.app.tell(Method::POST, "/api/v1/nodes/eu/retired/retire", json!({"by": "ann", "reason": "scaled in"})).await;
    story.app.heartbeats(vec![json!({"control_plane": "us", "node_id": "n", "hash": hash(1)})]).await;
    story.passes(5 * MINUTE - 10 * SECOND).await;
    story
}

/// An answer without what is about the asking: the revision, and whether the moment is past.
fn bare(mut answer: Value) -> Value {
    if let Some(fields) = answer.as_object_mut() {
        fields.remove("as_of");
    }
    answer
}

/// Of a run of equal reports that went on after a moment, the store knows the two ends only: the last report before the
/// moment is an estimate, and the number of reports is that of today. All else of the past is as it was.
fn without_estimates(answer: &Value) -> Value {
    match answer {
        Value::Object(fields) => {
            const ESTIMATES: [&str; 6] =
                ["last_report_at", "last_report_estimated", "last_fact_at", "until", "count", "clock_skew_ms"];
            fields
                .iter()
                .filter(|(name, _)| !ESTIMATES.contains(&name.as_str()))
                .map(|(name, value)| (name.clone(), without_estimates(value)))
                .collect()
        }
        Value::Array(items) => {
            let says_so = |item: &&Value| item.as_str().is_some_and(|text| text.starts_with("Of equal reports "));
            items.iter().filter(|item| !says_so(item)).map(without_estimates).collect()
        }
        Value::String(text) => {
            let spans = [("last report ", " ago"), ("The node reported ", " UTC")];
            let span = spans.into_iter().find_map(|(from, to)| {
                let (before, after) = text.split_once(from)?;
                Some(json!(format!("{before}{}", after.split_once(to)?.1)))
            });
            span.unwrap_or_else(|| answer.clone())
        }
        other => other.clone(),
    }
}

/// Everything that may be asked of the fleet, at a moment or now.
async fn everything(app: &App, at: Option<Timestamp>) -> BTreeMap<String, Value> {
    let mut answers = BTreeMap::new();
    let mut ask =
        vec!["/api/v1/fleet".to_owned(), "/api/v1/nodes?size=500".to_owned(), "/api/v1/control-planes".to_owned()];
    let ordinals = 1..=3;
    ask.push("/api/v1/control-planes/eu".to_owned());
    ask.push("/api/v1/control-planes/eu/versions".to_owned());
    ask.extend(ordinals.map(|ordinal| format!("/api/v1/control-planes/eu/versions/{ordinal}")));
    for node in ["current", "behind", "rejected", "retired", "old"] {
        ask.push(format!("/api/v1/nodes/eu/{node}"));
        ask.push(format!("/api/v1/nodes/eu/{node}/history"));
    }
    for path in ask {
        let mark = if path.contains('?') { '&' } else { '?' };
        let asked = at.map_or_else(|| path.clone(), |at| format!("{path}{mark}at={at}"));
        let (status, answer) = app.send(Method::GET, &asked, None).await;
        // What was not there yet is not found.
        answers.insert(path, if status.is_success() { bare(answer) } else { json!(status.as_u16()) });
    }
    answers
}

#[track_caller]
fn same(one: &BTreeMap<String, Value>, other: &BTreeMap<String, Value>, when: &str) {
    for (path, answer) in one {
        let (theirs, mine) = (without_estimates(&other[path]), without_estimates(answer));
        if theirs != mine {
            let (theirs, mine) = (pretty(&theirs), pretty(&mine));
            let place = theirs.iter().zip(&mine).position(|(theirs, mine)| theirs != mine).unwrap_or(0);
            let around = place.saturating_sub(12)..place + 4;
            panic!("{when}: {path}\nthen: {:#?}\nnow: {:#?}", mine.get(around.clone()), theirs.get(around));
        }
    }
}

fn pretty(answer: &Value) -> Vec<String> {
    serde_json::to_string_pretty(answer).expect("JSON").lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn a_lively_fleet_is_lively() {
    let story = lively().await;
    let states = story.states().await;
    for word in ["current", "behind", "unrecognized", "empty", "unknown", "incompatible", "rejected"] {
        assert!(states.contains_key(word), "{word}: {states:?}");
    }
    assert_eq!(story.node("retired").await["connection_state"], "gone");
    assert_eq!(story.node("old").await["connection_state"], "gone");
    assert_eq!(story.node("quiet").await["connection_state"], "disconnected");
}

#[tokio::test]
async fn a_restart_loses_nothing_that_was_answered() {
    let mut story = lively().await;
    story.passes(30 * SECOND).await;
    let before = everything(&story.app, None).await;
    let mut story = story.restarts().await;
    let at_once = everything(&story.app, None).await;
    // Nobody was heard since, and that is all that changed.
    let axis = |rows: &BTreeMap<String, Value>, field: &str| -> BTreeMap<String, Value> {
        let rows = rows["/api/v1/nodes?size=500"]["nodes"].as_array().expect("rows").iter();
        rows.map(|row| (format!("{}/{}", row["control_plane"], row["id"]), row[field].clone())).collect()
    };
    for field in [
        "config_state",
        "version",
        "behind",
        "because",
        "since",
        "reported",
        "last_report_at",
        "hostname",
        "labels",
        "gateway_version",
        "certificate_expires_at",
    ] {
        assert_eq!(axis(&before, field), axis(&at_once, field), "{field}");
    }
    let versions = "/api/v1/control-planes/eu/versions";
    assert_eq!(before[versions], at_once[versions]);
    for node in ["current", "behind", "rejected", "retired", "old"] {
        let history = format!("/api/v1/nodes/eu/{node}/history");
        assert_eq!(before[&history]["intervals"], at_once[&history]["intervals"], "{node}");
        assert_eq!(before[&history]["reached"], at_once[&history]["reached"], "{node}");
    }
    // Once everybody was heard again, it is the answer of a service that never stopped.
    story.passes(MINUTE).await;
    let mut twin = lively().await;
    twin.passes(90 * SECOND).await;
    let (mine, theirs) = (everything(&story.app, None).await, everything(&twin.app, None).await);
    for field in ["config_state", "version", "behind", "because", "since", "counter", "overlays", "headline"] {
        let heard = |rows: BTreeMap<String, Value>| {
            let silent = |id: &String| ["\"quiet\"", "\"old\"", "\"n\""].iter().any(|name| id.ends_with(name));
            rows.into_iter().filter(|(id, _)| !silent(id)).collect::<BTreeMap<_, _>>()
        };
        assert_eq!(heard(axis(&mine, field)), heard(axis(&theirs, field)), "{field}");
    }
    assert_eq!(mine["/api/v1/control-planes"]["control_planes"][0]["display_name"], "Europe");
}

#[tokio::test]
async fn a_pause_of_ours_is_nobodys_silence() {
    let mut story = lively().await;
    let before = story.counters().await;
    let Story { app, .. } = story;
    let app = app.restart_after(3 * HOUR).await;
    let fleet = app.get("/api/v1/fleet").await;
    assert_eq!(fleet["connection_states"]["disconnected"], 0, "{}", fleet["connection_states"]);
    assert_eq!(fleet["connection_states"]["late"], 0);
    assert_eq!(fleet["nodes"].as_u64(), Some(before.values().sum()));
    // Twin: it ran, and they were silent.
    story = lively().await;
    story.all_stop();
    story.passes(3 * HOUR).await;
    assert!(story.fleet().await["connection_states"]["disconnected"].as_u64() > Some(10));
}

#[tokio::test]
async fn the_past_is_shown_as_it_was() {
    let mut story = lively().await;
    let mut moments = Vec::new();
    for round in 0..8 {
        match round {
            1 => story.announces(json!({"token": "release-4", "hashes": [{"hash": hash(4)}]})).await,
            2 => story.runs("current", 4).await,
            3 => story.expects(json!({"hash": hash(5)})).await,
            4 => {
                story.passes(HOUR + MINUTE).await;
                // The whole fleet is kept once an hour, by a task that looks twice a second.
                tokio::time::sleep(Duration::from_millis(1_200)).await;
            }
            5 => story.expects(json!({"hash": hash(2)})).await,
            6 => story.declares(json!({"propagation_seconds": 30})).await,
            _ => {}
        }
        story.passes(70 * SECOND + round).await;
        moments.push((story.now(), everything(&story.app, None).await));
        story.passes(SECOND).await;
    }
    for (at, then) in &moments {
        same(then, &everything(&story.app, Some(*at)).await, &format!("as of {at}"));
    }
    let story = story.restarts().await;
    for (at, then) in &moments {
        same(then, &everything(&story.app, Some(*at)).await, &format!("as of {at}, after a restart"));
    }
    let all: Vec<&Value> = moments.iter().map(|(_, then)| &then["/api/v1/nodes?size=500"]).collect();
    assert!(all.windows(2).any(|pair| pair[0] != pair[1]), "the moments differ");
}

#[tokio::test]
async fn the_past_as_it_was_known_then_and_as_it_is_known_now() {
    let mut story = Story::begin().await;
    story.announces(json!({"token": "1", "hashes": [{"hash": hash(1)}]})).await;
    story.runs("node-0", 1).await;
    story.passes(10 * MINUTE).await;
    let late = json!({"hash": hash(1), "age_ms": 120_000});
    story.reports("late", late).await;
    story.stops("late");
    story.passes(SECOND).await;
    let nodes = |query: String| {
        let path = format!("/api/v1/fleet?{query}");
        let app = &story.app;
        async move { app.get(&path).await["nodes"].as_u64().expect("a number") }
    };
    let start = Timestamp::parse(START).expect("a time");
    let (before, between, after) = (start.plus(8 * MINUTE - 1), start.plus(9 * MINUTE), start.plus(10 * MINUTE));
    assert_eq!(nodes(format!("at={before}")).await, 1);
    assert_eq!(nodes(format!("at={before}&known=now")).await, 1);
    assert_eq!(nodes(format!("at={between}")).await, 1, "nobody knew of it then");
    assert_eq!(nodes(format!("at={between}&known=now")).await, 2, "it was there");
    assert_eq!(nodes(format!("at={after}")).await, 2);
}

#[tokio::test]
async fn one_answer_for_everybody() {
    let story = lively().await;
    let app = &story.app;
    let fleet = app.get("/api/v1/fleet").await;
    let nodes = app.get("/api/v1/nodes").await;
    let metrics = app.page("/metrics").await;
    assert_eq!(fleet["as_of"]["revision"], nodes["as_of"]["revision"]);
    let revision = metrics.lines().find_map(|line| line.strip_prefix("tidemark_snapshot_revision "));
    assert_eq!(revision.and_then(|text| text.parse::<f64>().ok()), fleet["as_of"]["revision"].as_f64());

    // `/metrics` by both states, and by the counter that follows from both.
    let mut by_config: BTreeMap<String, u64> = BTreeMap::new();
    let mut by_connection: BTreeMap<String, u64> = BTreeMap::new();
    let mut by_counter: BTreeMap<(String, &str), u64> = BTreeMap::new();
    for line in metrics.lines().filter(|line| line.starts_with("tidemark_nodes{")) {
        let label = |name: &str| {
            let rest = &line[line.find(&format!("{name}=\"")).expect("the label") + name.len() + 2..];
            rest[..rest.find('"').expect("its end")].to_owned()
        };
        let value: u64 = line.rsplit(' ').next().and_then(|text| text.parse().ok()).expect("a number");
        *by_config.entry(label("config_state")).or_default() += value;
        *by_connection.entry(label("connection_state")).or_default() += value;
        let counter = match (label("connection_state").as_str(), label("config_state").as_str()) {
            ("late" | "disconnected" | "never_seen" | "unobserved", _) => "not_heard",
            ("connected", "behind" | "ahead") => "behind",
            ("connected", "propagating") => "rolling_out",
            ("connected", "current") => "current",
            ("connected", _) => "blocked",
            (other, _) => panic!("{other} nodes are counted"),
        };
        *by_counter.entry((label("control_plane"), counter)).or_default() += value;
    }
    let numbers = |counts: &Value| -> BTreeMap<String, u64> {
        let counts = counts.as_object().expect("counts").iter();
        counts.map(|(word, count)| (word.clone(), count.as_u64().expect("a number"))).collect()
    };
    assert_eq!(by_config, numbers(&fleet["config_states"]));
    let mut connections = numbers(&fleet["connection_states"]);
    assert_eq!(connections.remove("gone"), Some(2));
    assert_eq!(by_connection, connections);
    assert_eq!(by_config.values().sum::<u64>(), fleet["nodes"].as_u64().expect("a number"));

    // The lists, by question.
    for (word, count) in numbers(&fleet["config_states"]) {
        let rows = app.nodes(&format!("state:{word}")).await;
        let counted = rows.iter().filter(|row| row["connection_state"] != "gone").count() as u64;
        assert_eq!(counted, count, "state:{word}");
    }
    for (word, count) in numbers(&fleet["counters"]) {
        let rows = app.nodes("").await;
        let counted = rows.iter().filter(|row| row["counter"] == word.as_str()).count() as u64;
        assert_eq!(counted, count, "{word}");
    }
    let facets = nodes["facets"].as_array().expect("facets");
    let facet = facets.iter().find(|facet| facet["key"] == "state").expect("a facet of states");
    for value in facet["values"].as_array().expect("values") {
        let word = word(&value["value"]);
        let rows = app.nodes(&format!("state:{word}")).await;
        assert_eq!(value["nodes"].as_u64(), Some(rows.len() as u64), "{word}");
    }
    // Control planes add up to the fleet.
    let planes = fleet["control_planes"].as_array().expect("control planes");
    for counter in ["not_heard", "blocked", "behind", "rolling_out", "current"] {
        let sum: u64 = planes.iter().map(|plane| plane["counters"][counter].as_u64().expect("a number")).sum();
        assert_eq!(fleet["counters"][counter].as_u64(), Some(sum), "{counter}");
        for plane in planes {
            let measured = by_counter.get(&(word(&plane["name"]), counter)).copied().unwrap_or(0);
            assert_eq!(plane["counters"][counter], measured, "{} {counter}", plane["name"]);
        }
    }
    assert_eq!(app.get("/api/v1/control-planes").await["control_planes"], fleet["control_planes"]);
    for plane in planes {
        assert_eq!(app.get(&format!("/api/v1/control-planes/{}", word(&plane["name"]))).await, *plane);
    }
    let one = app.get("/api/v1/nodes/eu/behind").await;
    let rows = app.nodes("").await;
    assert_eq!(rows.iter().find(|row| row["id"] == "behind"), Some(&one["node"]));

    overview_says(&html::main(&app.page("/").await), &fleet);
    let page = html::main(&app.page("/nodes").await);
    assert_eq!(
        html::between(&page, "class=\"soft\">", "</p>").next().map(html::words),
        Some(format!("{} nodes", nodes["total"]))
    );
    nodes_say(&html::rows(&page, "Nodes that match"), &nodes["nodes"], &fleet);
    for facet in facets {
        let heading = match word(&facet["key"]).as_str() {
            "cp" => "Control plane".to_owned(),
            "state" => "Configuration".to_owned(),
            "connection" => "Connectivity".to_owned(),
            "config" => "Version".to_owned(),
            "gateway" => "Gateway".to_owned(),
            "source" => "Source".to_owned(),
            label => label.trim_start_matches("label.").to_owned(),
        };
        let list = html::between(&page, &format!("<h2>{heading}</h2>"), "</section>").next().map(str::to_owned);
        let list = list.unwrap_or_else(|| panic!("{heading} is not on the page"));
        let said: Vec<u64> =
            html::between(&list, "class=\"facets__n\">", "<").map(|count| count.parse().expect("a number")).collect();
        let counted: Vec<u64> =
            facet["values"].as_array().expect("values").iter().filter_map(|value| value["nodes"].as_u64()).collect();
        assert_eq!(said, counted, "{heading}");
    }
}

/// The overview has the sentence, the counters, the control planes and the worst nodes of an answer, number by number.
fn overview_says(page: &str, fleet: &Value) {
    assert_eq!(
        html::between(page, "id=\"say\" class=\"answer__say\">", "</h1>").next().map(html::words),
        fleet["sentence"].as_str().map(str::to_owned)
    );
    let counters = html::between(page, "class=\"counters\">", "</ul>").next().expect("the counters");
    let counters: BTreeMap<String, u64> = html::between(counters, "<li>", "</li>")
        .map(|counter| {
            let of = html::between(counter, "q=counter:", "\"").next().expect("a way to the list").to_owned();
            let count = html::between(counter, "class=\"counters__n", "</span>").next().expect("a number");
            (of, count.split_once('>').expect("a tag").1.parse().expect("a number"))
        })
        .collect();
    assert_eq!(json!(counters), fleet["counters"]);
    let planes = fleet["control_planes"].as_array().expect("control planes");
    let rows = html::rows(page, "id=\"cps\"");
    assert_eq!(rows.len(), planes.len());
    for ((_, cells), plane) in rows.iter().zip(planes) {
        let name = plane["display_name"].as_str().or(plane["name"].as_str()).expect("a name");
        assert!(cells[0].starts_with(name), "{cells:?}");
        assert_eq!(
            cells[1],
            plane["head"]["ordinal"].as_u64().map_or("none yet".to_owned(), |head| format!("v{head}"))
        );
        assert_eq!(cells[4], format!("{} / {}", plane["at_head"], plane["nodes"]));
    }
    nodes_say(&html::rows(page, "id=\"worst\""), &fleet["worst"], fleet);
}

/// The rows of a table of nodes have the nodes of an answer: each with its name, both axes and their ages, what it runs
/// and where it belongs.
fn nodes_say(rows: &[(&str, Vec<String>)], nodes: &Value, fleet: &Value) {
    let moment = |value: &Value| value.as_str().and_then(Timestamp::parse);
    let now = moment(&fleet["as_of"]["at"]).expect("a moment");
    let age = |value: &Value| moment(value).map_or_else(String::new, |at| span(now.since(at)));
    let nodes = nodes.as_array().expect("nodes");
    assert_eq!(rows.len(), nodes.len());
    assert!(rows.len() > 5);
    for ((row, cells), node) in rows.iter().zip(nodes) {
        let (cp, id) = (word(&node["control_plane"]), word(&node["id"]));
        assert!(row.contains(&format!("href=\"/nodes/{cp}/{id}\"")), "{row} is not of {id}");
        assert!(cells[0].starts_with(node["hostname"].as_str().unwrap_or(&id)), "{cells:?}");
        let (connection, config) = (word(&node["connection_state"]), word(&node["config_state"]));
        let heard = format!("{} {}", connection.replace('_', " "), age(&node["last_report_at"]));
        assert_eq!(cells[1], heard.trim(), "{id}");
        assert!(cells[2].starts_with(&config.replace('_', " ")), "{id}: {cells:?}");
        assert_eq!(cells[3], node["version"].as_u64().map_or("not known".to_owned(), |version| format!("v{version}")));
        assert_eq!(cells[4], age(&node["since"]), "{id}");
        assert_eq!(cells[5], node["gateway_version"].as_str().unwrap_or(""), "{id}");
        assert_eq!(cells[6], cp);
    }
}

#[tokio::test]
async fn a_moment_between_the_kept_reports_is_called_an_estimate() {
    #[track_caller]
    fn check(when: &str, estimated: bool, answer: &Value, page: &str, explained: &str) {
        let node = &answer["node"];
        assert_eq!(node["last_report_estimated"], estimated, "{when}: {node}");
        let evidence = word(&node["evidence"]);
        assert_eq!(evidence.contains("last report about "), estimated, "{when}: {evidence}");
        let proof = answer["proof"]["know"].to_string();
        assert_eq!(proof.contains(" at about "), estimated, "{when}: {proof}");
        assert_eq!(proof.contains("is an estimate."), estimated, "{when}: {proof}");
        assert_eq!(page.contains("Last report about "), estimated, "{when}");
        assert_eq!(page.contains(" at about "), estimated, "{when}");
        let line = explained.lines().find(|line| line.trim().starts_with("last report")).expect("a line");
        assert_eq!(line.contains(" about "), estimated, "{when}: {line}");
    }
    let mut story = Story::begin().await;
    let began = story.now();
    story.runs("n", 1).await;
    story.passes(10 * MINUTE).await;
    for (when, after, estimated) in [
        ("the first report", Some(0), false),
        ("before the second", Some(29 * SECOND), true),
        ("between two in the middle", Some(5 * MINUTE + 10 * SECOND), true),
        ("in the moment of the last", Some(10 * MINUTE), false),
        ("now", None, false),
    ] {
        let at = after.map(|after| began.plus(after));
        let asked = at.map_or_else(String::new, |at| format!("?at={at}"));
        let answer = story.app.get(&format!("/api/v1/nodes/eu/n{asked}")).await;
        let page = story.app.page(&format!("/nodes/eu/n{asked}")).await;
        let held = HeldAt::Moment(at.unwrap_or(story.now()));
        let snapshot = run::snapshot_at(&story.app.store(), held, Policy::default()).await.expect("a snapshot");
        let as_of = AsOf { at: snapshot.as_of, revision: 0, past: true, held: false };
        let explained = explain(&snapshot, &as_of, "n").expect("the node is known");
        check(when, estimated, &answer, &page, &explained);
    }
}

/// What a stream of live events says within a moment.
async fn heard(app: &App, last: Option<u64>) -> (Option<u64>, axum::body::BodyDataStream) {
    let mut request = Request::get("/api/v1/events");
    if let Some(last) = last {
        request = request.header("last-event-id", last.to_string());
    }
    let response = app.respond(request.body(Body::empty()).expect("a request")).await;
    assert_eq!(response.status(), 200);
    let mut stream = response.into_body().into_data_stream();
    (next(&mut stream).await, stream)
}

async fn next(stream: &mut axum::body::BodyDataStream) -> Option<u64> {
    let chunk = tokio::time::timeout(Duration::from_millis(300), stream.next()).await.ok()??.ok()?;
    let text = String::from_utf8_lossy(&chunk).into_owned();
    assert!(text.contains("event: revision"), "{text}");
    let id = text.lines().find_map(|line| line.strip_prefix("id: ")).expect("an id");
    Some(id.parse().expect("a number"))
}

#[tokio::test]
async fn live_events_go_on_where_they_broke_off() {
    let mut story = lively().await;
    let now = story.fleet().await["as_of"]["revision"].as_u64().expect("a number");
    let (first, mut stream) = heard(&story.app, None).await;
    assert_eq!(first, Some(now), "the present one at once");
    story.runs("behind", 3).await;
    let then = next(&mut stream).await.expect("a change is told");
    assert!(then > now);
    drop(stream);
    let (missed, _) = heard(&story.app, Some(now)).await;
    assert_eq!(missed, Some(then), "what was missed is made up for by the newest");
    let (nothing, mut stream) = heard(&story.app, Some(then)).await;
    assert_eq!(nothing, None, "who has it is not told again");
    story.passes(SECOND).await;
    story.runs("behind", 2).await;
    assert!(next(&mut stream).await > Some(then));
    // The end of the service ends the stream.
    story.app.close();
    let end = tokio::time::timeout(Duration::from_secs(5), stream.next()).await.expect("it ends");
    assert!(end.is_none());
}

async fn with_key(app: &App, path: &str, key: &str, body: &Value) -> (u16, bool, String) {
    let request = Request::post(path).header("content-type", "application/json").header("idempotency-key", key);
    let response = app.respond(request.body(Body::from(body.to_string())).expect("a request")).await;
    let replayed = response.headers().contains_key("idempotency-replayed");
    (response.status().as_u16(), replayed, text(response).await)
}

#[tokio::test]
async fn a_repeat_gives_the_same_answer_and_changes_nothing() {
    let mut story = lively().await;
    let path = "/api/v1/heartbeats";
    let mixed = json!([{"control_plane": "eu", "node_id": "behind", "hash": hash(1)}, {"node_id": 5}]);
    let first = with_key(&story.app, path, "k1", &mixed).await;
    assert_eq!((first.0, first.1), (200, false));
    story.runs("behind", 3).await;
    let before = story.node("behind").await;
    let again = with_key(&story.app, path, "k1", &mixed).await;
    assert_eq!(again, (200, true, first.2.clone()));
    story.app.settle().await;
    assert_eq!(story.node("behind").await, before, "the old report is not told again");
    assert_eq!(with_key(&story.app, path, "k1", &json!([])).await.0, 422, "another request under this key");
    let other = "/api/v1/control-planes/eu/versions";
    assert_eq!(with_key(&story.app, other, "k1", &json!({"token": "x"})).await.0, 422);

    // A version without token or key has the request's key.
    let announced = json!({"hashes": [{"hash": hash(9)}]});
    let head = |fleet: Value| fleet["control_planes"][0]["head"]["ordinal"].as_u64().expect("a number");
    let ordinal = head(story.fleet().await);
    assert_eq!(with_key(&story.app, other, "k2", &announced).await.0, 200);
    assert!(with_key(&story.app, other, "k2", &announced).await.1);
    assert_eq!(head(story.fleet().await), ordinal + 1);

    // Remembered over a restart, for an hour.
    let mut story = story.restarts().await;
    assert_eq!(with_key(&story.app, path, "k1", &mixed).await, (200, true, first.2.clone()));
    story.all_stop();
    let told_at = story.now();
    assert!(!with_key(&story.app, path, "k3", &mixed).await.1);
    story.until(told_at.plus(HOUR - SECOND)).await;
    assert!(with_key(&story.app, path, "k3", &mixed).await.1, "59 min 59 s");
    story.until(told_at.plus(HOUR + SECOND)).await;
    assert!(!with_key(&story.app, path, "k3", &mixed).await.1, "an hour and a second");
    // Even then the same version is no second one.
    assert_eq!(with_key(&story.app, other, "k2", &announced).await.0, 200);
    assert_eq!(head(story.fleet().await), ordinal + 1);
}

#[tokio::test]
async fn repeats_that_overlap_wait_for_each_other() {
    let story = lively().await;
    let body = json!({"hashes": [{"hash": hash(9)}]});
    let path = "/api/v1/control-planes/eu/versions";
    let answers = futures::future::join_all((0..20).map(|_| with_key(&story.app, path, "same", &body))).await;
    assert_eq!(answers.iter().filter(|answer| !answer.1).count(), 1);
    assert!(answers.iter().all(|answer| answer.0 == 200 && answer.2 == answers[0].2));
}

#[tokio::test]
async fn two_services_do_not_share_a_database() {
    let app = App::start().await;
    let clock = Clock::by_hand(app.now());
    let second = run::live(app.database(), clock, Policy::default(), CancellationToken::new()).await;
    let Err(error) = second else { panic!("two services on one database") };
    let words = format!("{:#}", anyhow::Error::from(error));
    assert!(words.contains(&format!("process {} since {START}", std::process::id())), "{words}");
    // Twin: the first one is gone.
    app.restart().await;
}

#[tokio::test]
async fn counters_add_up_while_a_source_is_blind() {
    let mut story = lively().await;
    let why = "no route to host".parse().expect("a line");
    story.fact(Source::Push, What::Listening(Listening::Stopped(why))).await;
    story.all_stop();
    story.passes(2 * HOUR).await;
    let before = story.fleet().await["nodes"].as_u64().expect("a number");
    let us = 1;
    assert_eq!(story.counters().await, counts([("not_heard", before)]));
    assert_eq!(story.fleet().await["connection_states"]["unobserved"].as_u64(), Some(before - us));
}
