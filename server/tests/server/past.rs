//! A look at the past is the same, whoever looked before, and whatever was told since.

use crate::door::{App, hash};
use axum::http::Method;
use serde_json::{Value, json};
use std::sync::Arc;
use tidemark_app::api::{FleetApi, Paging};
use tidemark_domain::policy::Policy;
use tidemark_domain::time::{SECOND, Timestamp};
use tidemark_domain::view::{FleetView, Moment, NodesView};
use tidemark_server::reader::Reader;
use tidemark_server::store::Store;

const NODES: u32 = 6;

fn reader(app: &App, store: Store) -> Reader {
    Reader::new(app.snapshots.clone(), store, app.clock.clone(), Arc::new(Policy::default()))
}

/// Everybody reports. Who moves, and who says something else of itself, depends on the step.
async fn report(app: &App, step: u32) {
    let report = |number: u32| -> Value {
        json!({
            "control_plane": if number.is_multiple_of(2) { "eu" } else { "us" },
            "node_id": format!("node-{number}"),
            "hostname": format!("dp-{number}.example"),
            "gateway_version": if step < 9 { "3.9.1" } else { "3.10.0.2" },
            "labels": {"zone": format!("z{}", number % 3), "pool": format!("p{}", (step + number) / 7)},
            "hash": hash((step + number) / 5),
        })
    };
    app.heartbeats((0..NODES).map(report).collect()).await;
}

async fn answer(reader: &Reader, at: Timestamp) -> (FleetView, NodesView) {
    let moment = Moment { at: Some(at), known_now: false };
    let fleet = reader.fleet(moment).await.expect("an answer");
    (fleet, reader.nodes(String::new(), Paging::default(), moment).await.expect("an answer"))
}

#[tokio::test]
async fn a_look_at_the_past_is_the_same_whoever_looked_before() {
    let mut app = App::start().await;
    let mut warm = reader(&app, app.store());
    let mut moments = Vec::new();
    for step in 0..18 {
        app.advance(25 * SECOND).await;
        if step % 5 == 0 {
            let body = json!({"token": format!("release-{step}"), "hashes": [{"hash": hash(step / 5)}]});
            app.tell(Method::POST, "/api/v1/control-planes/eu/versions", body).await;
        }
        report(&app, step).await;
        moments.push(app.now());
        app.advance(5 * SECOND).await;
        // Its end leaves a keyframe: most moments lie before one, and behind another.
        if step % 6 == 5 {
            app = app.restart().await;
            warm = reader(&app, app.store());
        }
        for at in &moments {
            let opened = Store::open_read_only(app.database()).await.expect("a reader");
            let found = answer(&warm, *at).await;
            assert_eq!(found.0.nodes, NODES, "everybody is there at {at}");
            assert_eq!(found, answer(&reader(&app, opened), *at).await, "at {at}, asked at {}", app.now());
        }
    }
}
