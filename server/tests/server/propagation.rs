//! How a changeset spread is written down once it is final, and outlives what it was computed from.

use crate::door::{App, hash};
use axum::http::Method;
use serde_json::{Value, json};
use tidemark_domain::time::{DAY, SECOND};
use tidemark_server::propagation::Keeper;

async fn announce(app: &App, number: u32) {
    let body = json!({"token": format!("release-{number}"), "hashes": [{"hash": hash(number)}]});
    app.tell(Method::POST, "/api/v1/control-planes/eu/versions", body).await;
}

async fn report(app: &App, node: &str, gateway: &str, number: u32) {
    let report = json!({"control_plane": "eu", "node_id": node, "gateway_version": gateway, "hash": hash(number)});
    app.heartbeats(vec![report]).await;
}

fn keeper(app: &App) -> Keeper {
    Keeper::new(app.snapshots.clone(), app.store(), app.clock.clone())
}

async fn cohorts(app: &App, ordinal: u32) -> Vec<Value> {
    let version = app.get(&format!("/api/v1/control-planes/eu/versions/{ordinal}")).await;
    version["cohorts"].as_array().expect("cohorts").clone()
}

/// Three nodes of two gateway versions at the first version, and a second one published a minute later.
async fn rollout() -> App {
    let app = App::start().await;
    announce(&app, 1).await;
    for (node, gateway) in [("a", "3.9.1"), ("b", "3.9.1"), ("c", "3.8.1")] {
        report(&app, node, gateway, 1).await;
    }
    app.advance(20 * SECOND).await;
    announce(&app, 2).await;
    app.advance(SECOND).await;
    report(&app, "a", "3.9.1", 2).await;
    app.advance(2 * SECOND).await;
    report(&app, "b", "3.9.1", 2).await;
    app
}

#[tokio::test]
async fn a_changeset_is_final_once_all_nodes_reached_it() {
    let app = rollout().await;
    app.advance(15 * SECOND).await;
    let mut keeper = keeper(&app);
    assert_eq!(keeper.round().await.expect("the store works"), 1, "the first version is final, the second is not");
    assert_eq!(cohorts(&app, 2).await[0]["final_at"], Value::Null);

    report(&app, "c", "3.8.1", 2).await;
    assert_eq!(keeper.round().await.expect("the store works"), 1);
    assert_eq!(keeper.round().await.expect("the store works"), 0, "it is written once");
    let kept = cohorts(&app, 2).await;
    let told: Vec<Value> =
        kept.iter().map(|cohort| json!([cohort["gateway_version"], cohort["reached"], cohort["max_ms"]])).collect();
    assert_eq!(told, [json!(["3.8.1", 1, 18_000]), json!(["3.9.1", 2, 3_000])]);
    assert_eq!(kept[1]["curve"], json!([[1_000, 1], [3_000, 2]]));
    assert_eq!(kept[0]["final_at"], json!(app.now().to_string()));

    drop(keeper);
    let app = app.restart().await;
    assert_eq!(cohorts(&app, 2).await, kept);
}

#[tokio::test]
async fn after_a_day_it_is_final_with_its_stragglers() {
    let app = rollout().await;
    app.advance(DAY - 4 * SECOND).await;
    for (node, gateway, number) in [("a", "3.9.1", 2), ("b", "3.9.1", 2), ("c", "3.8.1", 1)] {
        report(&app, node, gateway, number).await;
    }
    let mut keeper = keeper(&app);
    keeper.round().await.expect("the store works");
    assert_eq!(cohorts(&app, 2).await[0]["final_at"], Value::Null, "a second is missing");
    app.advance(SECOND).await;
    assert_eq!(keeper.round().await.expect("the store works"), 1);
    let kept = cohorts(&app, 2).await;
    assert_eq!(kept[0]["stragglers"], json!(["c"]));
    assert_eq!((&kept[0]["reached"], &kept[0]["max_ms"]), (&json!(0), &Value::Null));
    // What comes later changes nothing of what is final.
    report(&app, "c", "3.8.1", 2).await;
    assert_eq!(cohorts(&app, 2).await, kept);
}
