//! What every request passes, in this order: an id and a log line, the token, a time limit, a net under panics, and
//! the headers that every answer has.

use std::panic::AssertUnwindSafe;

use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures::FutureExt;
use tracing::Instrument;

use crate::clock::stopwatch;
use crate::http::Door;
use crate::http::auth;
use crate::http::problem::Problem;
use crate::metrics::process::NO_ROUTE;

/// The header of the id under which the log speaks of a request.
const REQUEST_ID: &str = "x-request-id";

/// The id of a request: of a proxy before us, or ours.
#[derive(Clone, Debug)]
pub struct RequestId(pub String);

impl RequestId {
    fn of(headers: &HeaderMap) -> Self {
        let fits = |id: &&str| {
            (1..=64).contains(&id.len())
                && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        };
        let given = headers.get(REQUEST_ID).and_then(|value| value.to_str().ok()).filter(fits);
        Self(given.map_or_else(|| uuid::Uuid::new_v4().to_string(), str::to_owned))
    }
}

/// Leads a request through.
pub async fn lead(State(door): State<Door>, mut request: Request, next: Next) -> Response {
    let started = stopwatch();
    let id = RequestId::of(request.headers());
    let route = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let route = route.unwrap_or_else(|| NO_ROUTE.to_owned());
    let method = request.method().clone();
    let span = tracing::info_span!("request", id = %id.0, %method, route);
    request.extensions_mut().insert(id.clone());

    let mut response = answer(&door, request, next).instrument(span.clone()).await;

    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        response = problem.under(&id.0).into_response();
        if method == Method::HEAD {
            *response.body_mut() = Body::empty();
        }
    }
    add_headers(response.headers_mut(), &id);
    let status = response.status().as_u16();
    door.counted.answered(&route, status);
    let took_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    span.in_scope(|| tracing::debug!(status, took_ms, "answered {method} {route}"));
    response
}

async fn answer(door: &Door, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    if let Err(problem) = auth::admit(door.tokens.as_ref(), &parts) {
        return problem.into_response();
    }
    let time_max = door.limits.request_time_max;
    let work = tokio::time::timeout(time_max, next.run(Request::from_parts(parts, body)));
    match AssertUnwindSafe(work).catch_unwind().await {
        Ok(Ok(response)) => response,
        Ok(Err(_)) => Problem::later("this took too long and was given up", 5).into_response(),
        Err(panic) => {
            let words = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
            let words = words.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
            tracing::error!(panic = words, "a request panicked");
            door.counted.panicked();
            Problem::ours().into_response()
        }
    }
}

/// Scripts of ours only; pages bring a policy with a nonce (`pages.rs`).
const POLICY: &str = "default-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

fn add_headers(headers: &mut HeaderMap, id: &RequestId) {
    if let Ok(value) = HeaderValue::from_str(&id.0) {
        headers.insert(REQUEST_ID, value);
    }
    let always = [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "same-origin"),
    ];
    for (name, value) in always {
        headers.insert(name, HeaderValue::from_static(value));
    }
    let unless_said = [(header::CONTENT_SECURITY_POLICY, POLICY), (header::CACHE_CONTROL, "no-store")];
    for (name, value) in unless_said {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
}

/// There is no such path below `/api`.
pub async fn no_such_path() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "there is no such path; /api lists those that there are")
}

/// The path is there, the method is not; `Allow` says which are.
pub async fn no_such_method() -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "this path does not know this method; see the header Allow")
}
