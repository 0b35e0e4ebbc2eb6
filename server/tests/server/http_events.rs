//! Live events, as a subscriber hears them.

use std::time::Duration;

use crate::support::{House, NOW, Plan};
use axum::body::{Body, BodyDataStream};
use axum::http::{Request, StatusCode};
use futures::StreamExt;
use tidemark_server::board::Revision;
use tidemark_server::http::DoorLimits;
use tower::ServiceExt;

/// Long enough for anything that comes at once, on a machine that is busy.
const SOON: Duration = Duration::from_secs(10);
/// Long enough to be sure that nothing comes.
const A_WHILE: Duration = Duration::from_millis(200);

async fn subscribe(house: &House, seen: Option<&str>) -> (StatusCode, BodyDataStream) {
    let mut request = Request::get("/api/v1/events");
    if let Some(seen) = seen {
        request = request.header("last-event-id", seen);
    }
    let response =
        house.door.clone().oneshot(request.body(Body::empty()).expect("a request")).await.expect("an answer");
    (response.status(), response.into_body().into_data_stream())
}

/// The next piece; `None` at the end.
async fn heard(stream: &mut BodyDataStream) -> Option<String> {
    let piece = tokio::time::timeout(SOON, stream.next()).await.expect("something comes");
    piece.map(|bytes| String::from_utf8(bytes.expect("no failure").to_vec()).expect("UTF-8"))
}

async fn silent(stream: &mut BodyDataStream) -> bool {
    tokio::time::timeout(A_WHILE, stream.next()).await.is_err()
}

fn revise(house: &House, number: u64) {
    house.revise.send_replace(Revision { number, at: NOW });
}

#[tokio::test]
async fn a_subscriber_hears_the_revision_at_once_and_every_new_one() {
    let house = Plan::default().build();
    let (status, mut stream) = subscribe(&house, None).await;
    assert_eq!(status, 200);
    insta::assert_snapshot!(heard(&mut stream).await.expect("an event"), @r#"
    event: revision
    id: 1
    data: {"revision":1,"at":"2026-11-20T08:53:57Z"}
    "#);
    assert!(silent(&mut stream).await);
    revise(&house, 2);
    assert!(heard(&mut stream).await.expect("an event").contains("id: 2\n"));
}

#[tokio::test]
async fn who_has_seen_the_newest_waits_for_the_next() {
    let house = Plan::default().build();
    for (seen, comes) in [("1", false), ("0", true), ("7", true), ("odd", true), ("", true)] {
        let (_, mut stream) = subscribe(&house, Some(seen)).await;
        assert_eq!(!silent(&mut stream).await, comes, "{seen:?}");
    }
}

#[tokio::test]
async fn a_slow_subscriber_gets_the_newest_only() {
    let house = Plan::default().build();
    let (_, mut stream) = subscribe(&house, None).await;
    heard(&mut stream).await;
    for number in 2..=1_000 {
        revise(&house, number);
    }
    assert!(heard(&mut stream).await.expect("an event").contains("id: 1000\n"));
    assert!(silent(&mut stream).await);
}

#[tokio::test]
async fn subscribers_are_bounded_and_their_places_come_back() {
    let limits = DoorLimits { subscribers_max: 2, ..DoorLimits::default() };
    let house = Plan { limits, ..Plan::default() }.build();
    let (_, first) = subscribe(&house, None).await;
    let (_, _second) = subscribe(&house, None).await;
    let said = house.get("/api/v1/events").await;
    assert_eq!(said.status, 503);
    assert!(!said.header("retry-after").is_empty());
    assert!(house.get("/metrics").await.body.contains("tidemark_event_subscribers 2\n"));
    drop(first);
    assert_eq!(subscribe(&house, None).await.0, 200);
}

#[tokio::test]
async fn the_stream_ends_when_the_service_closes() {
    let house = Plan::default().build();
    let (_, mut stream) = subscribe(&house, None).await;
    heard(&mut stream).await;
    house.closing.cancel();
    assert_eq!(heard(&mut stream).await, None);
}
