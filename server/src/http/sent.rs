//! What a request tells on its way to the store: its body comes in by turns, what is told of it goes to the queue, and
//! the answer goes out after the commit.

use std::future::Future;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tidemark_domain::fact::Fact;
use tidemark_domain::id::CpName;
use tokio::sync::{OwnedMutexGuard, OwnedSemaphorePermit};
use tracing::Instrument;

use crate::http::Door;
use crate::http::asked::Asked;
use crate::http::body;
use crate::http::once::Key;
use crate::http::problem::Problem;
use crate::ingest::wire::UNDECLARED_MAX;
use crate::metrics::process::ReportResult;
use crate::store::Taken;

/// A body that says beforehand that it is not longer, and is not compressed, is small: a node's own heartbeat.
const SMALL_BODY_MAX: u64 = 64 << 10;

/// Small bodies in hand at most: 64 MiB together.
pub const SMALL_BODIES_MAX: usize = 1_024;

/// Other bodies in hand at most; each may take the wire bound and the inflated bound, 72 MiB.
pub const LARGE_BODIES_MAX: usize = 8;

/// How long a large body may wait for its turn.
const TURN_MAX: Duration = Duration::from_secs(10);

/// A request that tells something: it asks nothing by its query, and its body is not read yet.
pub struct Sent {
    door: Door,
    path: String,
    headers: HeaderMap,
    body: Body,
}

impl FromRequest<Door> for Sent {
    type Rejection = Problem;

    async fn from_request(request: Request, door: &Door) -> Result<Self, Problem> {
        let (mut parts, body) = request.into_parts();
        Asked::from_request_parts(&mut parts, door).await?.end()?;
        Ok(Self { door: door.clone(), path: parts.uri.path().to_owned(), headers: parts.headers, body })
    }
}

impl Sent {
    /// Reads the body in its turn, which is held as long as the permit.
    pub(crate) async fn read(self) -> Result<(Door, String, Vec<u8>, OwnedSemaphorePermit), Problem> {
        let (body, turn) = received(&self.door, &self.headers, self.body).await?;
        Ok((self.door, self.path, body, turn))
    }

    /// Reads the body in its turn, stores what `tell` makes of it, and answers.
    pub(crate) async fn tells<F, Telling>(self, tell: F) -> Result<Response, Problem>
    where
        F: FnOnce(Door, Vec<u8>) -> Telling + Send + 'static,
        Telling: Future<Output = Result<Told, Problem>> + Send,
    {
        let (body, turn) = received(&self.door, &self.headers, self.body).await?;
        let tell = |door| async move {
            let _turn = turn;
            tell(door, body).await
        };
        once(self.door, None, tell).await
    }

    /// The same for what must not be told twice: a repeat of the request's `Idempotency-Key` gets the answer that was
    /// kept. `tell` is given the key.
    pub(crate) async fn tells_once<F, Telling>(self, tell: F) -> Result<Response, Problem>
    where
        F: FnOnce(Door, Vec<u8>, Option<String>) -> Telling + Send + 'static,
        Telling: Future<Output = Result<Told, Problem>> + Send,
    {
        let (body, turn) = received(&self.door, &self.headers, self.body).await?;
        let key = Key::of(&self.headers, &self.path, &body)?;
        let sent_key = key.as_ref().map(|key| key.key.clone());
        let tell = |door| async move {
            let _turn = turn;
            tell(door, body, sent_key).await
        };
        once(self.door, key, tell).await
    }
}

/// A body that is read, and its place among those in hand.
async fn received(door: &Door, headers: &HeaderMap, body: Body) -> Result<(Vec<u8>, OwnedSemaphorePermit), Problem> {
    if door.clock.is_held() {
        let detail = format!("the clock is held at {}: nothing is taken in", door.clock.now());
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail));
    }
    let length = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    let is_small =
        length.is_some_and(|length| length <= SMALL_BODY_MAX) && !headers.contains_key(header::CONTENT_ENCODING);
    let too_many = |_| Problem::later("as many requests are in hand as may be", 1);
    let turn = if is_small {
        door.small_bodies.clone().try_acquire_owned().map_err(too_many)?
    } else {
        let turn = tokio::time::timeout(TURN_MAX, door.large_bodies.clone().acquire_owned()).await;
        turn.ok().and_then(Result::ok).ok_or_else(|| Problem::later("as many requests are in hand as may be", 1))?
    };
    Ok((body::json(headers, body, door.limits.body).await?, turn))
}

/// Facts of one request, and its answer.
pub(crate) struct Told {
    pub(crate) facts: Vec<Fact>,
    /// How far recordings are taken with them.
    pub(crate) taken: Vec<Taken>,
    /// The answer, as JSON.
    pub(crate) body: String,
    /// Reports among the facts, to be counted.
    pub(crate) reports: usize,
    /// Undeclared control planes that came with this request.
    pub(crate) new_names: Vec<CpName>,
    /// Held until the commit where what is told was merged with what is known.
    pub(crate) alone: Option<OwnedMutexGuard<()>>,
}

impl Told {
    pub(crate) fn new(facts: Vec<Fact>, answer: &impl Serialize) -> Result<Self, Problem> {
        Ok(Self {
            facts,
            taken: Vec::new(),
            body: serde_json::to_string(answer).map_err(|_| Problem::ours())?,
            reports: 0,
            new_names: Vec::new(),
            alone: None,
        })
    }
}

/// Tells once: a repeat of a key gets the answer that was kept. Runs to its end even if the caller goes away, so that
/// a repeat never overtakes the request that it repeats.
async fn once<F, Telling>(door: Door, key: Option<Key>, tell: F) -> Result<Response, Problem>
where
    F: FnOnce(Door) -> Telling + Send + 'static,
    Telling: Future<Output = Result<Told, Problem>> + Send,
{
    let telling = async move {
        let _held = match &key {
            Some(key) => Some(door.keys.hold(key).await),
            None => None,
        };
        if let Some(key) = &key
            && let Some(kept) = door.memory.remembered(key.key.clone()).await?
        {
            return key.replay(kept);
        }
        let told = tell(door.clone()).await?;
        commit(&door, key.as_ref(), told).await
    };
    let span = tracing::Span::current();
    tokio::spawn(telling.instrument(span)).await.unwrap_or_else(|_| Err(Problem::ours()))
}

/// Stores what was told, and answers.
async fn commit(door: &Door, key: Option<&Key>, told: Told) -> Result<Response, Problem> {
    if !told.facts.is_empty() || !told.taken.is_empty() {
        let remember = key.map(|key| key.remembering(StatusCode::OK, &told.body, door.clock.now()));
        if let Err(error) = door.ingest.submit_with(told.facts, remember, told.taken).await {
            door.counted.reports(ReportResult::TurnedAway, told.reports);
            let mut let_in = door.let_in.lock();
            told.new_names.iter().for_each(|name| {
                let_in.remove(name);
            });
            return Err(error.into());
        }
        door.counted.reports(ReportResult::Stored, told.reports);
        // Whoever tells something by hand looks at once whether it is there; reports come by the thousand, and wait
        // for the next answer. What was told is stored even if the answer cannot be renewed now.
        if told.reports == 0 {
            let _ = door.ingest.settle().await;
        }
    }
    drop(told.alone);
    let json = HeaderValue::from_static("application/json");
    Ok((StatusCode::OK, [(header::CONTENT_TYPE, json)], told.body).into_response())
}

/// Which names of control planes may come in with one request.
pub(crate) struct Names<'a> {
    door: &'a Door,
    /// Those that came first with this request.
    pub(crate) new: Vec<CpName>,
}

impl<'a> Names<'a> {
    pub(crate) const fn new(door: &'a Door) -> Self {
        Self { door, new: Vec::new() }
    }

    /// A known control plane may come, and an unknown one while there are few (DESIGN 5.10).
    pub(crate) fn admit(&mut self, name: &CpName) -> Result<(), String> {
        let known = &self.door.control_planes;
        if known.is_known(name) {
            return Ok(());
        }
        let mut let_in = self.door.let_in.lock();
        if let_in.contains(name) {
            return Ok(());
        }
        let_in.retain(|name| !known.is_known(name));
        if known.undeclared() + let_in.len() >= UNDECLARED_MAX {
            return Err(format!(
                "{name} is not declared, and there are {UNDECLARED_MAX} undeclared control planes already: \
                 declare it by PUT /api/v1/control-planes/{name}"
            ));
        }
        let_in.insert(name.clone());
        self.new.push(name.clone());
        Ok(())
    }
}
