//! Stories of the product, each told through the front door: wire input in, verdicts out.

mod door;

use axum::http::Method;
use door::{App, hash};
use serde_json::json;

#[tokio::test]
async fn a_heartbeat_is_answered_with_a_verdict() {
    let app = App::start().await;
    app.tell(
        Method::POST,
        "/api/v1/control-planes/eu/versions",
        json!({"token": "v10", "hashes": [{"hash": hash(10)}]}),
    )
    .await;
    app.heartbeats(vec![json!({"control_plane": "eu", "node_id": "node-1", "hash": hash(10)})]).await;
    let rows = app.nodes("").await;
    println!("{}", serde_json::to_string_pretty(&rows).expect("json"));
    assert_eq!(rows.len(), 1);
    let fleet = app.get("/api/v1/fleet").await;
    println!("{}", serde_json::to_string_pretty(&fleet).expect("json"));
}
