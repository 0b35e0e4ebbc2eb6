//! Live events: a signal that the fleet's answer changed. It carries no data; who hears it asks again. A slow
//! subscriber gets the newest signal and misses those before, which costs it nothing.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::stream;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio_util::sync::CancellationToken;

use crate::board::Revision;
use crate::http::Door;
use crate::http::asked::Asked;
use crate::http::problem::{Problem, ProblemBody};
use crate::metrics::process::Counted;

/// Subscribers at most; each costs a connection and a task.
pub const SUBSCRIBERS_MAX: usize = 1_000;

/// Proxies close a connection on which nothing comes for a minute or less.
const COMMENT_EVERY: Duration = Duration::from_secs(15);

/// Live events: `event: revision`, its number as `id`, and `{"revision":n,"at":"…"}` as data. The first comes at once,
/// but for who says by `Last-Event-ID` that it has it already.
#[utoipa::path(get, path = "/api/v1/events", tag = "ask",
    params(("last-event-id" = Option<u64>, Header, description = "The last revision that was seen.")),
    responses((status = 200, content_type = "text/event-stream"), (status = 503, body = ProblemBody)))]
pub async fn events(State(door): State<Door>, headers: HeaderMap, asked: Asked) -> Result<Response, Problem> {
    asked.end()?;
    let seen = match headers.get("last-event-id").map(|value| value.to_str().unwrap_or("")) {
        None | Some("") => None,
        // A number that we never gave is as good as none: the newest is sent at once.
        Some(text) => text.parse::<u64>().ok(),
    };
    let place = door.subscribers.clone().try_acquire_owned();
    let place = place.map_err(|_| Problem::later("there are as many subscribers as may be", 30))?;
    door.counted.subscribers(1);
    let subscriber = Subscriber {
        revisions: door.revisions.clone(),
        seen,
        closing: door.closing.clone(),
        counted: door.counted.clone(),
        _place: place,
    };
    let signals = stream::unfold(subscriber, Subscriber::next);
    let keep_alive = KeepAlive::new().interval(COMMENT_EVERY).text("still here");
    let mut response = Sse::new(signals).keep_alive(keep_alive).into_response();
    let unbuffered = HeaderValue::from_static("no");
    response.headers_mut().insert("x-accel-buffering", unbuffered);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

struct Subscriber {
    revisions: watch::Receiver<Revision>,
    seen: Option<u64>,
    closing: CancellationToken,
    counted: Counted,
    _place: OwnedSemaphorePermit,
}

impl Subscriber {
    /// The newest revision that this subscriber has not seen; the end when the service closes.
    async fn next(mut self) -> Option<(Result<Event, Infallible>, Self)> {
        let seen = self.seen;
        let unseen = self.revisions.wait_for(|revision| Some(revision.number) != seen);
        let revision = tokio::select! {
            () = self.closing.cancelled() => return None,
            revision = unseen => *revision.ok()?,
        };
        self.seen = Some(revision.number);
        let data = format!(r#"{{"revision":{},"at":"{}"}}"#, revision.number, revision.at);
        let event = Event::default().event("revision").id(revision.number.to_string()).data(data);
        Some((Ok(event), self))
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        self.counted.subscribers(-1);
    }
}
