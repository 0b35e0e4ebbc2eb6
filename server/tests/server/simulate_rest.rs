//! A simulated fleet over the REST API: what it posts is what it would have handed in as facts.

use crate::door::App;
use axum::http::Method;
use serde_json::Value;
use tidemark_domain::time::SECOND;
use tidemark_server::simulate::rest::requests;
use tidemark_server::simulate::scenario::{Scenario, Telling};
use tidemark_server::simulate::world::World;

const STORY: &str = r#"
id = "R"
title = "a story over REST"
shows = "a rollout, a node that refuses it, and a release that renders in another way"
lasts = "00:06:00"

[[control_plane]]
name = "eu"
display_name = "Europe"
watch = ["push", "announcements", "expected"]
tokens = "names"

[[nodes]]
name = "edge"
control_plane = "eu"
count = 12
region = "eu-west-1"
clock_ahead = "00:01:30"
certificate_expires_in_days = 12

[[nodes]]
name = "old"
control_plane = "eu"
count = 6
gateway_version = "3.8.1"

[[event]]
at = "00:01:00"
event = "nodes_reject"
nodes = ["edge-3"]
message = "schema violation"
entity = "plugin cors"
field = "config.origins"
reported = true

[[event]]
at = "00:01:10"
event = "write"
control_plane = "eu"
write = "route"

[[event]]
at = "00:03:00"
event = "cp_release_changes_rendering"
control_plane = "eu"
every_route_gains = "null_field"
"#;

/// What is shown of the nodes, but for the moments at which it was told.
async fn shown(app: &App) -> Vec<Value> {
    let mut rows = app.nodes("").await;
    for row in &mut rows {
        let fields = row.as_object_mut().expect("a row");
        fields.retain(|key, _| {
            [
                "id",
                "hostname",
                "config_state",
                "connection_state",
                "version",
                "behind",
                "because",
                "overlays",
                "labels",
                "gateway_version",
                "hash",
                "counter",
            ]
            .contains(&key.as_str())
        });
    }
    rows.sort_by_key(|row| row["hostname"].to_string());
    rows
}

#[tokio::test]
async fn what_is_posted_is_what_would_be_handed_in() {
    let scenario = Scenario::parse(STORY).expect("a good scenario");
    let (posted, handed_in) = (App::start().await, App::start().await);
    let mut world = World::new(&scenario, Telling::Story, posted.now()).expect("a world");
    let end = posted.now().plus(scenario.lasts.0);
    while world.now() < end {
        let facts = world.run_until(world.now().plus(SECOND));
        for app in [&posted, &handed_in] {
            app.clock.advance(SECOND);
        }
        for request in requests(&facts) {
            let answer = posted.tell(request.method.clone(), &request.path, request.body.clone()).await;
            assert!(
                request.method != Method::POST || answer["refused"].as_array().is_none_or(Vec::is_empty),
                "{answer}"
            );
        }
        handed_in.submit(facts).await;
        posted.settle().await;
    }
    let rows = shown(&posted).await;
    assert_eq!(rows.len(), 18);
    assert_eq!(rows, shown(&handed_in).await);
    let rejected = posted.nodes("state:rejected").await;
    assert_eq!(rejected.len(), 1, "the refusal is told");
    assert_eq!(posted.nodes("counter:current").await.len(), 17);
    assert_eq!(posted.nodes("overlay:clock_skew overlay:cert_expiring").await.len(), 12);
}
