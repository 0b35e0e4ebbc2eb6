//! The stories that the product is judged by, each told through the front door: wire input in, verdicts and notices
//! out. Each has a twin in which one fact is changed and the other verdict must come.

use crate::door::hash;
use crate::door::kong::table;
use crate::door::story::{HOUR, MINUTE, SECOND, Story, counts, names, said, word};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use tidemark_domain::fact::{Listening, Source, What};

const MOVED: &str = "expected_moved_without_change";

fn zeros() -> Value {
    json!({"hash": "0".repeat(32)})
}

/// The token of an ordered version, as delta sync has it.
fn token(number: u32) -> String {
    format!("v02_{number:028x}")
}

#[track_caller]
fn says(node: &Value, line: &str, words: &str) {
    let text = node[line].as_str().expect("a line");
    assert!(text.chars().count() <= 160, "{text}");
    assert!(text.contains(words), "{line}: {text:?} does not say {words:?}");
}

/// 200 nodes at v10, which is rendered as hash 10.
async fn fleet_at_v10() -> Story {
    let mut story = Story::begin().await;
    for number in 1..=10 {
        story.announces(json!({"token": format!("release-{number}"), "hashes": [{"hash": hash(number)}]})).await;
        story.passes(MINUTE).await;
    }
    story.all_report(names(200), &json!({"hash": hash(10)})).await;
    story.passes(10 * MINUTE).await;
    assert_eq!(story.states().await, counts([("current", 200)]));
    story
}

/// 200 nodes of a control plane of which only the expected hash is known, hash 1.
async fn fleet_by_hash_only() -> Story {
    let mut story = Story::begin().await;
    story.expects(json!({"hash": hash(1)})).await;
    story.all_report(names(200), &json!({"hash": hash(1)})).await;
    story.passes(10 * MINUTE).await;
    assert_eq!(story.states().await, counts([("current", 200)]));
    story
}

/// A new empty node is the first to report a hash.
async fn a_new_node_takes(story: &mut Story, number: u32) {
    story.passes(SECOND).await;
    story.reports("newcomer", zeros()).await;
    story.passes(5 * SECOND).await;
    story.runs("newcomer", number).await;
}

async fn g1a(version: &str) -> Story {
    let mut story = fleet_at_v10().await;
    story.expects(json!({"hash": hash(11), "token": version})).await;
    a_new_node_takes(&mut story, 11).await;
    story.passes(10 * MINUTE).await;
    story
}

#[tokio::test]
async fn g1a_a_release_that_moves_the_hash_of_a_known_version_is_no_drift() {
    let story = g1a("release-10").await;
    assert_eq!(story.counters().await, counts([("current", 201)]));
    assert_eq!(story.notices().await, said([(MOVED, "info", 200)]));
    let fleet = story.fleet().await;
    assert_eq!((&fleet["current_by_alias"], &fleet["out_of_sync_by_hash"]), (&json!(200), &json!(200)));
    assert_eq!(fleet["control_planes"][0]["head"]["ordinal"], json!(10));
    let node = story.node("node-7").await;
    assert_eq!((&node["because"], &node["version"], &node["behind"]), (&json!("alias"), &json!(10), &json!(0)));
    says(&node, "headline", "another hash of v10, the head; hash-only drift");
    assert_eq!(story.node("newcomer").await["because"], "version");
}

#[tokio::test]
async fn g1a_twin_the_hash_renders_a_version_that_is_new() {
    let story = g1a("release-11").await;
    assert_eq!(story.counters().await, counts([("behind", 200), ("current", 1)]));
    assert_eq!(story.notices().await, []);
    assert_eq!(story.fleet().await["current_by_alias"], 0);
    says(&story.node("node-7").await, "headline", "Behind by 1");
    assert_eq!(story.state("newcomer").await, "current");
}

#[tokio::test]
async fn g1b_without_a_version_nothing_is_proven_and_nobody_is_behind() {
    let mut story = fleet_by_hash_only().await;
    story.expects(json!({"hash": hash(2)})).await;
    assert_eq!(story.notices().await, said([(MOVED, "ticket", 200)]), "at once");
    a_new_node_takes(&mut story, 2).await;
    story.passes(10 * MINUTE).await;
    assert_eq!(story.states().await, counts([("unproven_alias", 200), ("current", 1)]));
    assert_eq!(story.counters().await, counts([("blocked", 200), ("current", 1)]));
    assert_eq!(story.notices().await, said([(MOVED, "ticket", 200)]));
    assert_eq!(story.state("newcomer").await, "current");
    let node = story.node("node-7").await;
    assert_eq!((&node["because"], &node["version"]), (&json!("moved_without_change"), &json!(1)));
}

#[tokio::test]
async fn g1b_twin_a_node_that_was_current_takes_the_new_hash() {
    let mut story = fleet_by_hash_only().await;
    story.expects(json!({"hash": hash(2)})).await;
    story.passes(5 * SECOND).await;
    story.runs("node-7", 2).await;
    story.passes(10 * MINUTE).await;
    assert_eq!(story.states().await, counts([("behind", 199), ("current", 1)]));
    assert_eq!(story.state("node-7").await, "current");
    assert_eq!(story.notices().await, []);
}

#[tokio::test]
async fn g1b_twin_where_every_change_reaches_us_it_waits_to_be_a_ticket() {
    let mut story = fleet_by_hash_only().await;
    story.declares(json!({"change_feed": true})).await;
    let moved_at = story.now();
    story.expects(json!({"hash": hash(2)})).await;
    assert_eq!(story.notices().await, said([(MOVED, "info", 200)]));
    story.until(moved_at.plus(15 * MINUTE)).await;
    assert_eq!(story.notices().await, said([(MOVED, "info", 200)]));
    story.until(moved_at.plus(15 * MINUTE + SECOND)).await;
    assert_eq!(story.notices().await, said([(MOVED, "ticket", 200)]));
    story.until(moved_at.plus(61 * MINUTE)).await;
    assert_eq!(story.notices().await, said([(MOVED, "ticket", 200)]), "it never pages");
}

#[tokio::test]
async fn g1c_a_push_that_was_lost_pages_once_after_an_hour() {
    let mut story = fleet_by_hash_only().await;
    let moved_at = story.now();
    story.expects(json!({"hash": hash(2)})).await;
    story.until(moved_at.plus(59 * MINUTE)).await;
    assert_eq!(story.states().await, counts([("unproven_alias", 200)]));
    assert_eq!(story.notices().await, said([(MOVED, "ticket", 200)]));
    story.until(moved_at.plus(61 * MINUTE)).await;
    assert_eq!(story.states().await, counts([("unproven_alias", 200)]));
    assert_eq!(story.notices().await, said([(MOVED, "page", 200)]), "one for the control plane, none for a node");
    let sentence = word(&story.fleet().await["notices"][0]["sentence"]);
    assert!(sentence.contains("200 nodes may run an old configuration"), "{sentence}");
}

#[tokio::test]
async fn g1c_twin_it_moved_back_within_the_hour() {
    let mut story = fleet_by_hash_only().await;
    let moved_at = story.now();
    story.expects(json!({"hash": hash(2)})).await;
    story.until(moved_at.plus(59 * MINUTE)).await;
    story.expects(json!({"hash": hash(1)})).await;
    story.until(moved_at.plus(61 * MINUTE)).await;
    assert_eq!(story.states().await, counts([("current", 200)]));
    assert_eq!(story.notices().await, []);
}

/// A shadow is connected beside 200 nodes, and hears a second configuration when the expected hash moves.
async fn g1c_with_a_shadow(second: &Value) -> Story {
    let mut story = Story::begin().await;
    story.expects(json!({"hash": hash(1)})).await;
    story.shadow_hears("3.9.1", &table(&["/orders"]), &hash(1)).await;
    let report = json!({"hash": hash(1), "gateway_version": "3.9.1", "protocol": "v1"});
    story.all_report(names(200), &report).await;
    story.passes(10 * MINUTE).await;
    assert_eq!(story.states().await, counts([("current", 200)]));
    story.expects(json!({"hash": hash(2)})).await;
    story.passes(SECOND).await;
    story.shadow_hears("3.9.1", second, &hash(2)).await;
    story
}

#[tokio::test]
async fn g1c_with_a_shadows_word_the_nodes_are_behind_within_a_minute() {
    let mut story = g1c_with_a_shadow(&table(&["/orders", "/carts"])).await;
    story.passes(58 * SECOND).await;
    assert_eq!(story.states().await, counts([("propagating", 200)]), "59 s after the envelope's beginning");
    assert_eq!(story.counters().await, counts([("rolling_out", 200)]));
    story.passes(2 * SECOND).await;
    assert_eq!(story.states().await, counts([("behind", 200)]), "61 s");
    assert_eq!(story.notices().await, []);
    let node = story.node("node-7").await;
    assert_eq!((&node["behind"], &node["because"]), (&json!(1), &json!("not_reached")));
    says(&node, "headline", "still runs v1 while the head is v2");
}

#[tokio::test]
async fn g1c_twin_the_frame_behaves_as_the_one_before() {
    let mut same = table(&["/orders"]);
    same["services"][0]["updated_at"] = json!(1_800_000_000);
    same["services"][0]["tags"] = json!([]);
    let mut story = g1c_with_a_shadow(&same).await;
    story.passes(HOUR + MINUTE).await;
    assert_eq!(story.states().await, counts([("current", 200)]));
    assert_eq!(story.node("node-7").await["because"], "alias");
    assert_eq!(story.notices().await, said([(MOVED, "info", 200)]));
}

#[tokio::test]
async fn g2_the_one_node_that_is_behind_stands_out_of_a_release() {
    let mut story = fleet_at_v10().await;
    story.runs("node-7", 9).await;
    story.expects(json!({"hash": hash(11), "token": "release-10"})).await;
    a_new_node_takes(&mut story, 11).await;
    story.passes(10 * MINUTE).await;
    assert_eq!(story.counters().await, counts([("current", 200), ("behind", 1)]));
    let behind = story.app.nodes("state:behind").await;
    assert_eq!(behind.iter().map(|node| word(&node["id"])).collect::<Vec<_>>(), ["node-7"]);
    assert_eq!((&behind[0]["version"], &behind[0]["behind"]), (&json!(9), &json!(1)));
    assert_eq!(story.notices().await, said([(MOVED, "info", 199)]));
    assert_eq!(story.fleet().await["worst"][0]["id"], "node-7");
}

#[tokio::test]
async fn g2_twin_it_runs_what_the_others_run() {
    let mut story = fleet_at_v10().await;
    story.runs("node-7", 10).await;
    story.expects(json!({"hash": hash(11), "token": "release-10"})).await;
    a_new_node_takes(&mut story, 11).await;
    story.passes(10 * MINUTE).await;
    assert_eq!(story.counters().await, counts([("current", 201)]));
}

/// A configuration that names so many servers by one certificate.
fn certified(snis: usize) -> Value {
    let mut table = table(&["/orders"]);
    let sni =
        |number: usize| json!({"id": format!("sni-{number}"), "name": format!("c{number}.test"), "certificate": "c"});
    table["certificates"] = json!([{"id": "c", "cert": "x", "key": "y"}]);
    table["snis"] = (0..snis).map(sni).collect();
    table
}

/// A shadow hears a control plane of which 40 nodes are current, with 1,500 SNIs in version 1.
async fn guarded() -> Story {
    let mut story = Story::begin().await;
    story.shadow_hears("3.9.1", &certified(1_500), &hash(1)).await;
    let report = json!({"hash": hash(1), "gateway_version": "3.9.1", "protocol": "v1"});
    story.all_report(names(40), &report).await;
    story.passes(10 * MINUTE).await;
    assert_eq!(story.counters().await, counts([("current", 40)]));
    assert_eq!(story.fleet().await["control_planes"][0]["content_not_watched"], false);
    story
}

/// The shadow hears the next version, and all nodes have it a second later.
async fn next_version(story: &mut Story, number: u32, snis: usize) {
    story.shadow_hears("3.9.1", &certified(snis), &hash(number)).await;
    story.passes(SECOND).await;
    let report = json!({"hash": hash(number), "gateway_version": "3.9.1", "protocol": "v1"});
    story.all_report(names(40), &report).await;
}

#[tokio::test]
async fn g3_a_control_plane_that_loses_its_snis_is_found_while_every_node_is_current() {
    let mut story = guarded().await;
    let began_at = story.now();
    let mut found_at = None;
    for step in 1..=72_u32 {
        next_version(&mut story, 1 + step, 1_500 - step as usize * 1_400 / 72).await;
        assert_eq!(story.counters().await, counts([("current", 40)]), "in perfect sync, at step {step}");
        let notices = story.notices().await;
        if found_at.is_none() && !notices.is_empty() {
            found_at = Some(story.now());
        }
        story.passes(4 * SECOND).await;
    }
    let found_at = found_at.expect("it is found");
    assert!(found_at.since(began_at) < MINUTE, "{} ms", found_at.since(began_at));
    assert_eq!(story.notices().await, said([("destructive_change", "page", 40)]));
    let sentence = word(&story.fleet().await["notices"][0]["sentence"]);
    assert!(
        sentence.starts_with("eu lost 1,400 of 1,500 SNIs since 03:10:00 UTC, after v1; 40 nodes run it."),
        "{sentence}"
    );

    // Which nodes run it since when.
    let marked = story.app.nodes("overlay:suspicious_content").await;
    assert_eq!(marked.len(), 40);
    for node in &marked {
        assert_eq!(node["suspicious_since"], json!(found_at.to_string()), "{node}");
        says(node, "headline", "runs v73, the head; lost 1,400 of 1,500 SNIs after v1. Next: compare it with v1");
        says(node, "evidence", "Lost 1,400 of 1,500 SNIs after v1; here since 03:10:");
    }
    let version = story.app.get("/api/v1/control-planes/eu/versions/73").await;
    assert_eq!(version["change"]["grade"], "destructive");
    assert_eq!(version["change"]["counts"], json!([{"of": "snis", "before": 120, "after": 100}]));

    // It is so after a restart too, and was so then.
    let while_open = story.now();
    let mut story = story.restarts().await;
    assert_eq!(story.notices().await, said([("destructive_change", "page", 40)]));
    assert_eq!(story.app.nodes("overlay:suspicious_content").await, marked);

    // The counter stops at the revert.
    story.passes(SECOND).await;
    next_version(&mut story, 1, 1_500).await;
    assert_eq!(story.notices().await, []);
    assert_eq!(story.app.nodes("overlay:suspicious_content").await, Vec::<Value>::new());
    assert_eq!(story.counters().await, counts([("current", 40)]));
    let then = story.app.get(&format!("/api/v1/fleet?at={while_open}")).await;
    assert_eq!(then["notices"][0]["kind"], "destructive_change");
}

#[tokio::test]
async fn g3_twin_the_change_is_declared_to_be_meant() {
    let mut story = guarded().await;
    next_version(&mut story, 2, 100).await;
    assert_eq!(story.notices().await, said([("destructive_change", "page", 40)]));
    story.announces(json!({"key": "clean-up", "hashes": [{"hash": hash(2)}], "intended": true})).await;
    assert_eq!(story.notices().await, []);
    assert_eq!(story.app.nodes("overlay:suspicious_content").await, Vec::<Value>::new());
    let version = story.app.get("/api/v1/control-planes/eu/versions/2").await;
    assert_eq!(version["change"]["grade"], "notable");
}

#[tokio::test]
async fn g4_one_sni_removed_on_purpose_pages_nobody_and_is_seen_in_the_difference() {
    let mut story = guarded().await;
    next_version(&mut story, 2, 1_499).await;
    story.passes(HOUR).await;
    assert_eq!(story.notices().await, []);
    assert_eq!(story.app.nodes("overlay:suspicious_content").await, Vec::<Value>::new());
    let version = story.app.get("/api/v1/control-planes/eu/versions/2").await;
    assert_eq!((&version["change"]["grade"], &version["change"]["before"]), (&json!("notable"), &json!(1)));
    assert_eq!(version["change"]["counts"], json!([{"of": "snis", "before": 1_500, "after": 1_499}]));
    let page = story.app.page("/versions/eu/2").await;
    assert!(page.contains("Notable: something was removed since"), "{page}");
    assert!(page.contains("1,500") && page.contains("1,499"), "{page}");
}

#[tokio::test]
async fn a_control_plane_whose_content_nobody_sees_says_so() {
    let mut story = fleet_by_hash_only().await;
    assert_eq!(story.fleet().await["control_planes"][0]["content_not_watched"], true);
    assert!(story.app.page("/").await.contains("content not watched"));
    // Twin: a shadow hears it.
    story.shadow_hears("3.9.1", &table(&["/orders"]), &hash(1)).await;
    assert_eq!(story.fleet().await["control_planes"][0]["content_not_watched"], false);
}

/// A control plane is away for 3 h. Its 40 nodes serve from their cache; two of them restart, and of one of these we
/// read the Status API.
async fn g5(cache_was_lost: bool) -> Story {
    const STATUS: &str = "http://10.0.0.7:8100";
    const ADMIN: &str = "http://cp:8001/clustering/data-planes";
    let mut story = Story::begin().await;
    for name in names(40) {
        story.taps(&name, "3.9.1", &table(&["/orders"]), &hash(1)).await;
    }
    story.asks(ADMIN, Some((200, json!({"data": [], "next": null})))).await;
    let metrics = "kong_node_info{node_id=\"node-7\",version=\"3.9.1\"} 1\nkong_control_plane_connected 1\n";
    story.asks(&format!("{STATUS}/metrics"), Some((200, json!(metrics)))).await;
    story.passes(10 * MINUTE).await;
    assert_eq!(story.states().await, counts([("current", 40)]));

    story.asks(ADMIN, None).await;
    for name in names(40) {
        story.closes(&name).await;
    }
    let away_since = story.now();
    let (running, ready, message) = if cache_was_lost {
        ("0".repeat(32), 503, "no configuration available (empty configuration present)")
    } else {
        (hash(1), 200, "ready")
    };
    while story.now() < away_since.plus(3 * HOUR) {
        story.passes(30 * SECOND).await;
        let status = json!({"configuration_hash": running, "server": {"connections_active": 1}});
        story.asks(&format!("{STATUS}/status"), Some((200, status))).await;
        story.asks(&format!("{STATUS}/status/ready"), Some((ready, json!({"message": message})))).await;
    }
    story
}

#[tokio::test]
async fn g5_nodes_on_their_cache_are_told_from_the_one_that_lost_it() {
    let story = g5(true).await;
    let rows = story.app.nodes("").await;
    let (cached, others): (Vec<_>, Vec<_>) =
        rows.iter().partition(|row| row["overlays"].as_array().is_some_and(|all| all.contains(&json!("cached"))));
    assert_eq!(cached.len(), 39);
    for row in &cached {
        assert_eq!((&row["connection_state"], &row["version"]), (&json!("disconnected"), &json!(1)), "{row}");
        says(row, "headline", "Disconnected for 3 h");
        says(row, "headline", "current at v1");
        says(row, "headline", "served from its cache");
    }
    assert_eq!(others.len(), 1);
    assert_eq!((&others[0]["id"], &others[0]["config_state"]), (&json!("node-7"), &json!("empty")));
    assert_eq!((&others[0]["because"], &others[0]["source"]), (&json!("not_ready"), &json!("status")));
    assert_eq!(story.counters().await, counts([("not_heard", 39), ("blocked", 1)]));
    let at_risk = story.app.nodes("overlay:restart_unsafe").await;
    assert_eq!(at_risk, cached.into_iter().cloned().collect::<Vec<_>>(), "who lost it has nothing to lose");
    let notices = story.notices().await;
    assert_eq!(notices.len(), 1, "{notices:?}");
    assert_eq!((notices[0].0.as_str(), notices[0].1.as_str()), ("control_plane_down", "page"));
}

#[tokio::test]
async fn g5_twin_its_cache_was_kept() {
    let story = g5(false).await;
    assert_eq!(story.counters().await, counts([("not_heard", 39), ("current", 1)]));
    assert_eq!(story.state("node-7").await, "current");
    says(&story.node("node-7").await, "headline", "Do not restart it: it may lose its configuration.");
    assert_eq!(story.app.nodes("overlay:restart_unsafe").await.len(), 40);
}

/// 9,412 announcements in one run, after which nodes stand before, in and after it.
async fn g7() -> Story {
    let mut story = Story::begin().await;
    story.announces(json!({"token": "before", "hashes": [{"hash": hash(0)}]})).await;
    story.all_report(["reached", "missed", "middle"].into_iter().map(str::to_owned), &json!({"hash": hash(0)})).await;
    story.passes(10 * MINUTE).await;
    let numbers: Vec<u32> = (1..=9_412).collect();
    for some in numbers.chunks(95) {
        let bodies =
            some.iter().map(|number| json!({"token": format!("w{number}"), "hashes": [{"hash": hash(*number)}]}));
        futures::future::join_all(bodies.map(|body| story.announces(body))).await;
        story.passes(10 * SECOND).await;
    }
    let head = word(&story.fleet().await["control_planes"][0]["head"]["token"]);
    let head: u32 = head[1..].parse().expect("a number");
    story.runs("reached", head).await;
    story.runs("middle", 5_000).await;
    story.passes(2 * MINUTE).await;
    story
}

#[tokio::test]
async fn g7_a_bulk_run_is_one_changeset() {
    let mut story = g7().await;
    assert_eq!(story.fleet().await["control_planes"][0]["head"]["ordinal"], 9_413);
    for (node, state, behind) in [("missed", "behind", 1), ("middle", "behind", 1), ("reached", "current", 0)] {
        let row = story.node(node).await;
        assert_eq!((&row["config_state"], &row["behind"]), (&json!(state), &json!(behind)), "{node}");
    }
    says(&story.node("missed").await, "headline", "Behind by 1");

    // Twin: one write more, after a pause.
    story.announces(json!({"token": "after", "hashes": [{"hash": hash(20_000)}]})).await;
    story.passes(61 * SECOND).await;
    for (node, behind) in [("missed", 2), ("middle", 2), ("reached", 1)] {
        let row = story.node(node).await;
        assert_eq!((&row["config_state"], &row["behind"]), (&json!("behind"), &json!(behind)), "{node}");
    }
}

/// A write after which the configuration has this behaviour digest; before it, it had 32 times `a`.
async fn g8(digest: &str) -> Story {
    let mut story = Story::begin().await;
    story.announces(json!({"token": token(1), "digest": "a".repeat(32)})).await;
    story.all_report(names(3), &json!({"hash": token(1)})).await;
    story.passes(10 * MINUTE).await;
    story.announces(json!({"token": token(2), "digest": digest})).await;
    story.passes(10 * MINUTE).await;
    assert_eq!(story.fleet().await["control_planes"][0]["head"]["ordinal"], 2);
    story
}

#[tokio::test]
async fn g8_a_write_that_changes_nothing_leaves_nobody_behind() {
    let story = g8(&"a".repeat(32)).await;
    assert_eq!(story.counters().await, counts([("current", 3)]));
    assert_eq!(story.node("node-1").await["because"], "no_op");
    says(&story.node("node-1").await, "headline", "changes no behaviour");
}

#[tokio::test]
async fn g8_twin_the_write_changed_something() {
    let story = g8(&"b".repeat(32)).await;
    assert_eq!(story.counters().await, counts([("behind", 3)]));
}

/// A tap watches three nodes of three gateway versions, each with a rendering of its own. One push may be lost.
async fn g10(lost: Option<u32>) -> Story {
    let (before, after) = (table(&["/orders"]), table(&["/orders", "/carts"]));
    let mut story = Story::begin().await;
    for (number, gateway) in (0_u32..).zip(["3.4.2", "3.9.1", "3.11.0.2"]) {
        story.taps(&format!("node-{number}"), gateway, &before, &hash(number)).await;
        story.passes(SECOND).await;
    }
    story.passes(MINUTE).await;
    for number in 0..3 {
        let node = format!("node-{number}");
        if lost == Some(number) {
            story.sends(&node, &after, &hash(10 + number)).await;
        } else {
            story.pushes(&node, &after, &hash(10 + number)).await;
        }
        story.passes(SECOND).await;
    }
    story.passes(10 * MINUTE).await;
    assert_eq!(story.fleet().await["control_planes"][0]["head"]["ordinal"], 2);
    assert_eq!(story.fleet().await["current_by_alias"], 0);
    story
}

#[tokio::test]
async fn g10_one_version_has_a_hash_for_each_gateway_version() {
    let story = g10(None).await;
    assert_eq!(story.counters().await, counts([("current", 3)]));
    for name in names(3) {
        let node = story.node(&name).await;
        assert_eq!((&node["because"], &node["version"]), (&json!("version"), &json!(2)), "{name}");
    }
    assert_eq!(story.notices().await, []);
}

#[tokio::test]
async fn g10_twin_one_of_them_repeats_what_it_had() {
    let story = g10(Some(1)).await;
    assert_eq!(story.counters().await, counts([("current", 2), ("behind", 1)]));
    assert_eq!(story.state("node-1").await, "behind");
}

#[tokio::test]
async fn g10_as_announced_and_its_twin_where_one_runs_what_its_cohort_had_before() {
    let gateways = ["3.4.2", "3.9.1", "3.11.0.2"];
    let renderings = |first: u32| {
        let pairs = (first..).zip(gateways);
        pairs.map(|(number, gateway)| json!({"hash": hash(number), "gateway_version": gateway})).collect::<Vec<_>>()
    };
    let mut story = Story::begin().await;
    story.announces(json!({"token": "9", "hashes": renderings(90)})).await;
    story.passes(MINUTE).await;
    story.announces(json!({"token": "10", "hashes": renderings(100)})).await;
    for (number, gateway) in (0_u32..).zip(gateways) {
        let report = json!({"hash": hash(100 + number), "gateway_version": gateway});
        story.reports(&format!("node-{number}"), report).await;
    }
    story.passes(10 * MINUTE).await;
    assert_eq!(story.counters().await, counts([("current", 3)]));
    assert_eq!(story.fleet().await["out_of_sync_by_hash"], 0);

    story.reports("node-1", json!({"hash": hash(91), "gateway_version": "3.9.1"})).await;
    story.passes(MINUTE).await;
    assert_eq!(story.counters().await, counts([("current", 2), ("behind", 1)]));
    assert_eq!(story.state("node-1").await, "behind");
}

/// A row of the Admin API says of a node that repeats zeros what the control plane thinks of it.
async fn g12(sync_status: &str) -> Story {
    let mut story = Story::begin().await;
    story.expects(json!({"hash": hash(1)})).await;
    for _ in 0..20 {
        let row = json!({"id": "node-0", "hostname": "gw-0", "ip": "10.0.0.1", "version": "3.9.1", "labels": null,
            "config_hash": "0".repeat(32), "sync_status": sync_status, "last_seen": story.now().ms() / 1_000,
            "updated_at": story.now().ms() / 1_000, "rpc_capabilities": [], "ttl": 1_209_590});
        let page = json!({"data": [row], "next": null});
        story.asks("http://cp:8001/clustering/data-planes", Some((200, page))).await;
        story.passes(30 * SECOND).await;
    }
    story
}

#[tokio::test]
async fn g12_zeros_with_a_plugin_set_that_does_not_fit() {
    let story = g12("plugin_set_incompatible").await;
    let node = story.node("node-0").await;
    assert_eq!((&node["config_state"], &node["because"]), (&json!("incompatible"), &json!("plugin_set")));
    says(&node, "headline", "a configured plugin is missing on the node");
    assert_eq!(story.counters().await, counts([("blocked", 1)]));
}

#[tokio::test]
async fn g12_twin_nothing_is_withheld() {
    let story = g12("normal").await;
    let node = story.node("node-0").await;
    assert_eq!((&node["config_state"], &node["because"]), (&json!("empty"), &json!("never_configured")));
    assert_eq!(story.counters().await, counts([("blocked", 1)]));
}

/// A control plane with ordered tokens at version 3, of two nodes, one at 3 and one at 2, says that it is at another.
async fn g13_by_token(then: u32) -> Story {
    let mut story = Story::begin().await;
    for number in 1..=3 {
        story.expects(json!({"token": token(number)})).await;
        story.passes(MINUTE).await;
    }
    story.reports("newest", json!({"hash": token(3)})).await;
    story.reports("old", json!({"hash": token(2)})).await;
    story.passes(10 * MINUTE).await;
    assert_eq!(story.counters().await, counts([("current", 1), ("behind", 1)]));
    story.expects(json!({"token": token(then)})).await;
    story.passes(10 * MINUTE).await;
    story
}

#[tokio::test]
async fn g13_restored_with_ordered_tokens_nodes_are_ahead() {
    let story = g13_by_token(2).await;
    assert_eq!(story.state("newest").await, "ahead");
    assert_eq!(story.state("old").await, "current");
    assert_eq!(story.counters().await, counts([("behind", 1), ("current", 1)]));
    assert_eq!(story.notices().await, said([("reverted", "ticket", 1)]));
    says(&story.node("newest").await, "headline", "Ahead for 10 min");
}

#[tokio::test]
async fn g13_twin_it_says_again_what_it_said_last() {
    let story = g13_by_token(3).await;
    assert_eq!(story.state("newest").await, "current");
    assert_eq!(story.state("old").await, "behind");
    assert_eq!(story.notices().await, []);
}

/// The same with hashes only: a change, one node that missed it, and then another expected hash.
async fn g13_by_hash(then: u32) -> Story {
    let mut story = Story::begin().await;
    story.expects(json!({"hash": hash(1)})).await;
    story.runs("newest", 1).await;
    story.runs("old", 1).await;
    story.passes(10 * MINUTE).await;
    story.expects(json!({"hash": hash(2)})).await;
    story.passes(SECOND).await;
    story.runs("newest", 2).await;
    story.passes(10 * MINUTE).await;
    assert_eq!(story.state("old").await, "behind");
    story.expects(json!({"hash": hash(then)})).await;
    story.passes(10 * MINUTE).await;
    story
}

#[tokio::test]
async fn g13_restored_with_hashes_only_nodes_are_behind() {
    let story = g13_by_hash(1).await;
    let newest = story.node("newest").await;
    assert_eq!((&newest["config_state"], &newest["because"]), (&json!("behind"), &json!("reverted")));
    assert_eq!(newest["behind"], 1);
    says(&newest, "headline", "its control plane went back to an earlier configuration");
    let old = story.node("old").await;
    assert_eq!((&old["config_state"], &old["because"]), (&json!("current"), &json!("revert")));
    assert_eq!(story.notices().await, said([("reverted", "ticket", 1)]));
}

#[tokio::test]
async fn g13_twin_it_expects_what_it_expected_last() {
    let story = g13_by_hash(2).await;
    assert_eq!(story.state("newest").await, "current");
    assert_eq!(story.state("old").await, "behind");
    assert_eq!(story.notices().await, []);
}

/// Nine nodes, one of them two changes behind, and then nothing reaches us any more.
async fn g15(we_know_that_it_is_us: bool) -> (BTreeMap<String, Value>, Story) {
    let mut story = Story::begin().await;
    story.announces(json!({"token": "1", "hashes": [{"hash": hash(1)}]})).await;
    story.passes(10 * MINUTE).await;
    story.announces(json!({"token": "2", "hashes": [{"hash": hash(2)}]})).await;
    story.all_report(names(8), &json!({"hash": hash(2)})).await;
    story.runs("on-its-way", 1).await;
    story.passes(20 * SECOND).await;
    assert_eq!(story.counters().await, counts([("current", 8), ("rolling_out", 1)]));
    let before = by_id(story.app.nodes("").await);
    if we_know_that_it_is_us {
        let why = "no route to host".parse().expect("a line");
        story.fact(Source::Push, What::Listening(Listening::Stopped(why))).await;
    }
    story.all_stop();
    story.passes(20 * MINUTE).await;
    (before, story)
}

fn by_id(rows: Vec<Value>) -> BTreeMap<String, Value> {
    rows.into_iter().map(|row| (word(&row["id"]), row)).collect()
}

#[tokio::test]
async fn g15_our_own_network_is_cut_and_nobody_is_worse_for_it() {
    let (before, mut story) = g15(true).await;
    assert_eq!(story.counters().await, counts([("not_heard", 9)]));
    for (id, row) in by_id(story.app.nodes("").await) {
        assert_eq!(row["connection_state"], "unobserved", "{id}");
        for axis in ["config_state", "version", "behind", "because", "since"] {
            assert_eq!(row[axis], before[&id][axis], "{id}: {axis}");
        }
        says(&row, "headline", "Next: look at");
        says(&row, "headline", "not at the node");
    }
    // We hear again: an interval of grace, and then silence counts from here.
    story.fact(Source::Push, What::Listening(Listening::Began { interval_ms: 30_000 })).await;
    story.passes(29 * SECOND).await;
    assert_eq!(story.node("node-1").await["connection_state"], "unobserved");
    story.passes(2 * SECOND).await;
    assert_ne!(story.node("node-1").await["connection_state"], "unobserved");
    story.passes(2 * MINUTE).await;
    assert_eq!(story.node("node-1").await["connection_state"], "disconnected");
}

#[tokio::test]
async fn g15_twin_our_source_was_well_and_silence_is_silence() {
    let (_, story) = g15(false).await;
    assert_eq!(story.counters().await, counts([("not_heard", 9)]));
    assert_eq!(story.node("node-1").await["connection_state"], "disconnected");
    assert_eq!(story.state("on-its-way").await, "behind");
}

/// A node takes a change 3 s after its publication, and its clock differs from ours.
async fn g16(ahead_ms: i64) -> Story {
    let mut story = Story::begin().await;
    story.announces(json!({"token": "1", "hashes": [{"hash": hash(1)}]})).await;
    story.runs("node-0", 1).await;
    story.passes(10 * MINUTE).await;
    story.announces(json!({"token": "2", "hashes": [{"hash": hash(2)}]})).await;
    story.passes(3 * SECOND).await;
    let clock = story.now().plus(ahead_ms).to_string();
    story.reports("node-0", json!({"hash": hash(2), "node_clock": clock})).await;
    story
}

#[tokio::test]
async fn g16_a_clock_ahead_of_ours_is_shown_and_moves_nothing() {
    let (story, twin) = (g16(90 * SECOND).await, g16(SECOND).await);
    let (node, other) = (story.node("node-0").await, twin.node("node-0").await);
    assert_eq!(node["overlays"], json!(["clock_skew"]));
    assert_eq!(other["overlays"], json!([]));
    for field in ["config_state", "since", "connection_state", "connection_since", "version", "last_report_at"] {
        assert_eq!(node[field], other[field], "{field}");
    }
    for told in [&story, &twin] {
        let version = told.app.get("/api/v1/control-planes/eu/versions/2").await;
        assert_eq!(version["propagation"]["per_node"][0]["lag_ms"], 3_000, "{version}");
    }
}

/// A machine comes back under a new id.
async fn g17(the_old_one_stops: bool) -> Story {
    let mut story = Story::begin().await;
    story.expects(json!({"hash": hash(1)})).await;
    let report = json!({"hash": hash(1), "hostname": "gw-1", "ip": "10.0.0.1"});
    story.reports("old", report.clone()).await;
    story.passes(10 * MINUTE).await;
    if the_old_one_stops {
        story.stops("old");
    }
    story.passes(10 * SECOND).await;
    story.reports("new", report).await;
    story.passes(2 * MINUTE).await;
    story
}

#[tokio::test]
async fn g17_a_node_that_came_back_under_a_new_id_leaves_the_counts() {
    let mut story = g17(true).await;
    let old = story.node("old").await;
    assert_eq!((&old["connection_state"], &old["counter"]), (&json!("gone"), &Value::Null));
    says(&old, "headline", "replaced under a new id");
    assert_eq!(story.counters().await, counts([("current", 1)]));
    assert_eq!(story.fleet().await["nodes"], 1);
    story.runs("old", 1).await;
    assert_eq!(story.fleet().await["nodes"], 2, "a report brings it back");
}

#[tokio::test]
async fn g17_twin_the_old_one_reports_on() {
    let story = g17(false).await;
    assert_eq!(story.node("old").await["connection_state"], "connected");
    assert_eq!(story.counters().await, counts([("current", 2)]));
}

/// 500 nodes by gateway version and region, and so many of each that stay behind.
async fn g18(stuck: [usize; 4]) -> Story {
    let groups = [
        (27, "3.8.1", "eu-west-1"),
        (200, "3.9.1", "eu-west-1"),
        (223, "3.9.1", "eu-north-1"),
        (50, "3.8.1", "eu-north-1"),
    ];
    let mut story = Story::begin().await;
    story.announces(json!({"token": "1", "hashes": [{"hash": hash(1)}]})).await;
    story.passes(MINUTE).await;
    story.announces(json!({"token": "2", "hashes": [{"hash": hash(2)}]})).await;
    for ((all, gateway, region), stuck) in groups.into_iter().zip(stuck) {
        for (number, nodes) in [(1, 0..stuck), (2, stuck..all)] {
            let report = json!({"hash": hash(number), "gateway_version": gateway, "labels": {"region": region}});
            story.all_report(nodes.map(|node| format!("{region}-{gateway}-{node}")), &report).await;
        }
    }
    story.passes(2 * MINUTE).await;
    assert_eq!(story.counters().await, counts([("behind", 29), ("current", 471)]));
    story
}

#[tokio::test]
async fn g18_what_stragglers_share_is_said_where_they_are_listed() {
    let story = g18([27, 1, 1, 0]).await;
    let common = story.app.get("/api/v1/nodes?q=state:behind").await["common"].clone();
    let first = "27 of 29 have gateway 3.8.1 and region eu-west-1; none of the rest.";
    assert_eq!((&common[0]["sentence"], &common[0]["lift"]), (&json!(first), &Value::Null));
    assert_eq!(common[1]["sentence"], "27 of 29 have gateway 3.8.1; 10.6 % of the rest, 8.8 times as often.");
    let those = story.app.nodes(&format!("state:behind {}", word(&common[0]["search"]))).await;
    assert_eq!(those.len(), 27, "the search that it names finds them");
    assert!(story.app.page("/nodes?q=state:behind").await.contains(first));
}

#[tokio::test]
async fn g18_twin_stragglers_all_over_the_fleet_share_nothing() {
    let story = g18([2, 12, 12, 3]).await;
    assert_eq!(story.app.get("/api/v1/nodes?q=state:behind").await["common"], json!([]));
    assert!(!story.app.page("/nodes?q=state:behind").await.contains("In common"));
}

/// Three nodes that sync by deltas take a version that changed a plugin.
async fn g19(plugin: &str, mode: &str) -> Story {
    let mut story = Story::begin().await;
    story.announces(json!({"token": "1", "hashes": [{"hash": hash(1)}]})).await;
    story.all_report(names(3), &json!({"hash": hash(1), "sync_mode": mode})).await;
    story.passes(10 * MINUTE).await;
    story.announces(json!({"token": "2", "hashes": [{"hash": hash(2)}], "plugins_changed": [plugin]})).await;
    story.all_report(names(3), &json!({"hash": hash(2), "sync_mode": mode})).await;
    story.passes(MINUTE).await;
    assert_eq!(story.counters().await, counts([("current", 3)]));
    story
}

#[tokio::test]
async fn g19_a_delta_that_changes_a_plugin_with_a_memory_is_current_and_not_verified() {
    let story = g19("rate-limiting", "delta").await.restarts().await;
    let marked = story.app.nodes("state:current overlay:plugin_state_unverified").await;
    assert_eq!(marked.len(), 3);
    for node in &marked {
        assert_eq!(node["overlays"], json!(["plugin_state_unverified", "counters_may_reset"]));
        says(node, "headline", "Next: try a request that the change of rate-limiting concerns.");
        says(node, "evidence", "v2 changed rate-limiting by delta: counters may reset.");
    }
    let version = story.app.get("/api/v1/control-planes/eu/versions/2").await;
    assert_eq!(version["plugins_changed"], json!(["rate-limiting"]));
    assert!(story.app.page("/versions/eu/2").await.contains("Plugins changed"));
}

#[tokio::test]
async fn g19_twins_the_plugin_keeps_nothing_or_the_whole_was_sent() {
    for (plugin, mode) in [("cors", "delta"), ("rate-limiting", "full")] {
        let story = g19(plugin, mode).await;
        assert_eq!(story.app.nodes("overlay:plugin_state_unverified").await, Vec::<Value>::new(), "{plugin} {mode}");
    }
}

/// 40 nodes that ping every 30 s at their own phase, and an Admin API that is polled every 60 s, through 100 rollouts.
async fn polled(with_expected: bool) -> Story {
    let mut random = 7_u64;
    let mut draw = move |below: i64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        i64::try_from(random >> 33).unwrap_or(0) % below
    };
    let mut story = Story::begin().await;
    story.fact(Source::AdminApi, What::Listening(Listening::Began { interval_ms: 60_000 })).await;
    let start = story.now();
    let phases: Vec<i64> = names(40).map(|_| draw(30 * SECOND)).collect();
    // When each node takes each rollout: it is pushed within 5 s.
    let mut publications = vec![-HOUR];
    for _ in 0..100 {
        let last = (*publications.last().expect("one")).max(5 * MINUTE);
        publications.push(last + 4 * MINUTE + draw(2 * MINUTE));
    }
    let takes: Vec<Vec<i64>> =
        phases.iter().map(|_| publications.iter().map(|published| published + draw(5 * SECOND)).collect()).collect();
    let until = publications.last().expect("one") + 5 * MINUTE;
    let mut checks = 0;
    let mut poll_at = 41 * SECOND;
    while poll_at < until {
        story.until(start.plus(poll_at)).await;
        if with_expected {
            let published = publications.iter().filter(|published| **published <= poll_at).count();
            story.expects(json!({"hash": hash(u32::try_from(published).expect("few"))})).await;
        }
        let rows: Vec<Value> = phases
            .iter()
            .zip(&takes)
            .enumerate()
            .map(|(number, (phase, takes))| {
                let pinged = poll_at - (poll_at - phase).rem_euclid(30 * SECOND);
                let runs = takes.iter().filter(|take| **take <= pinged).count();
                let seen = start.plus(pinged).ms() / 1_000;
                json!({"id": format!("node-{number}"), "hostname": format!("gw-{number}"), "ip": format!("10.0.0.{number}"),
                    "version": "3.9.1", "config_hash": hash(u32::try_from(runs).expect("few")),
                    "sync_status": "normal", "last_seen": seen, "updated_at": seen, "rpc_capabilities": [], "ttl": 9})
            })
            .collect();
        let page = json!({"data": rows, "next": null});
        story.asks("http://cp:8001/clustering/data-planes", Some((200, page))).await;
        for pause in [1, 15, 29] {
            story.passes(pause * SECOND).await;
            let fleet = story.fleet().await;
            for wrong in ["unrecognized", "ahead", "rejected", "empty"] {
                assert_eq!(fleet["config_states"][wrong], 0, "at {poll_at} ms, {wrong}: {}", fleet["worst"][0]);
            }
            checks += 1;
        }
        poll_at += MINUTE;
    }
    assert!(checks > 1_000, "{checks}");
    story
}

#[tokio::test]
async fn a_poller_sees_a_hundred_rollouts_and_calls_nobody_unrecognized_or_ahead() {
    let story = polled(true).await;
    assert_eq!(story.counters().await, counts([("current", 40)]));
    assert_eq!(story.fleet().await["control_planes"][0]["head"]["ordinal"], 101);
}

#[tokio::test]
async fn nor_does_one_that_reads_rows_only() {
    let story = polled(false).await;
    assert_eq!(story.counters().await, counts([("current", 40)]));
    assert_eq!(story.fleet().await["control_planes"][0]["inferred"], true);
}

#[tokio::test]
async fn a_poller_calls_a_node_unrecognized_that_runs_what_was_never_published() {
    let mut story = Story::begin().await;
    for (round, runs) in (0_i64..).zip([1, 1, 1, 1, 99, 99, 99, 99]) {
        story.expects(json!({"hash": hash(1)})).await;
        let row = |id: &str, runs: u32, now: i64| {
            json!({"id": id, "hostname": id, "version": "3.9.1", "config_hash": hash(runs), "sync_status": "normal",
                "last_seen": now, "updated_at": now})
        };
        let now = story.now().ms() / 1_000 - 3 + round % 2;
        let page = json!({"data": [row("node-0", runs, now), row("node-1", 1, now)], "next": null});
        story.asks("http://cp:8001/clustering/data-planes", Some((200, page))).await;
        story.passes(MINUTE).await;
    }
    assert_eq!(story.state("node-0").await, "unrecognized");
    assert_eq!(story.state("node-1").await, "current");
}
