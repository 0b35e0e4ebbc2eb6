//! From the spool to the server. A server that is away is asked again, less and less often; nothing else waits for it.

use super::copies::Counts;
use super::parcel::{FACTS_MAX, FORMAT, Has, Parcel};
use super::spool::Spool;
use crate::clock::Clock;
use crate::lines::Lines;
use parking_lot::Mutex;
use reqwest::{Client, RequestBuilder, StatusCode, Url};
use std::sync::Arc;
use std::time::Duration;
use tidemark_domain::id::{CpName, Line};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

/// A tap that has nothing to tell says so this often: a server that hears nothing for four times as long takes it for gone.
pub const ALIVE_EVERY: Duration = Duration::from_secs(5);
/// Facts wait this long for others, so that a busy fleet is not a request for each.
const GATHERING: Duration = Duration::from_millis(100);
const REQUEST_MAX: Duration = Duration::from_secs(30);
/// A server that is away is asked again after this, and then after twice as long each time.
const PAUSE_LEAST: Duration = Duration::from_millis(250);
const PAUSE_MOST: Duration = Duration::from_secs(10);
/// How long what is left may take when the tap ends.
const FAREWELL_MAX: Duration = Duration::from_secs(3);

/// Why the server did not take what it was sent.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    #[error("{0}: expected the address of a server, as in http://127.0.0.1:3000")]
    Address(String),
    #[error("the server did not answer")]
    Unreachable(#[from] reqwest::Error),
    #[error("the server answered {status}: {words}")]
    Refused { status: StatusCode, words: String },
    #[error("the spool cannot be read")]
    Spool(#[from] std::io::Error),
}

/// Sends what is spooled.
#[derive(Debug)]
pub struct Sender {
    client: Client,
    base: Url,
    token: Option<String>,
    control_plane: CpName,
    clock: Clock,
    spool: Arc<Mutex<Spool>>,
    spooled: Arc<Notify>,
    counts: Counts,
    /// Where the tap stands, for people.
    about: Option<Line>,
}

impl Sender {
    /// A sender to the server at an address; `token` is a bearer token that may send.
    ///
    /// # Errors
    /// If the address is none.
    pub fn new(
        address: &str,
        token: Option<String>,
        control_plane: CpName,
        clock: Clock,
        spool: Arc<Mutex<Spool>>,
        spooled: Arc<Notify>,
        counts: Counts,
        about: &str,
    ) -> Result<Self, SendError> {
        let base = Url::parse(address).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
        let base = base.ok_or_else(|| SendError::Address(address.to_owned()))?;
        let client = Client::builder().timeout(REQUEST_MAX).build()?;
        let about = Line::from_outside(about);
        Ok(Self { client, base, token, control_plane, clock, spool, spooled, counts, about })
    }

    /// Sends until it is stopped, and then what is left.
    pub async fn run(self, stopped: CancellationToken) {
        let mut pause = PAUSE_LEAST;
        let lines = Lines::default();
        while let Some(result) = stopped.run_until_cancelled(self.send_all()).await {
            let Err(error) = result else { continue };
            if let Some(left_out) = lines.due(self.clock.now(), "not taken") {
                tracing::warn!(error = %chain(&error), "the server has not taken what the tap saw; it is kept{left_out}");
            }
            if stopped.run_until_cancelled(sleep(pause.mul_f64(jitter()))).await.is_none() {
                break;
            }
            pause = (pause * 2).min(PAUSE_MOST);
            if self.has().await.is_ok() {
                pause = PAUSE_LEAST;
            }
        }
        let _ = timeout(FAREWELL_MAX, self.send_rest()).await;
    }

    /// Sends what there is and what comes; ends only by an error.
    async fn send_all(&self) -> Result<(), SendError> {
        let mut next = self.has().await?;
        loop {
            let sent = self.send(next).await?;
            let is_more = sent > next + FACTS_MAX as u64 / 2;
            next = sent;
            if is_more {
                continue;
            }
            if timeout(ALIVE_EVERY, self.spooled.notified()).await.is_ok() {
                sleep(GATHERING).await;
            }
        }
    }

    async fn send_rest(&self) -> Result<(), SendError> {
        let mut next = self.has().await?;
        loop {
            let sent = self.send(next).await?;
            if sent == self.spool.lock().next() || sent == next {
                return Ok(());
            }
            next = sent;
        }
    }

    /// Sends facts from a number on, or that there are none; answers the number that follows.
    async fn send(&self, next: u64) -> Result<u64, SendError> {
        let spool = Arc::clone(&self.spool);
        let batch = tokio::task::spawn_blocking(move || {
            let mut spool = spool.lock();
            spool.has(next)?;
            spool.from(next, FACTS_MAX)
        });
        let batch = batch.await.map_err(std::io::Error::other)??;
        let parcel = Parcel {
            format: FORMAT,
            control_plane: self.control_plane.clone(),
            first: batch.first,
            sent_at: self.clock.now(),
            told: batch.told,
            figures: self.counts.figures(),
            about: self.about.clone(),
        };
        let request = self.client.post(self.url(&["facts"])).json(&parcel);
        Ok(self.ask(request).await?.next)
    }

    /// What the server has.
    async fn has(&self) -> Result<u64, SendError> {
        Ok(self.ask(self.client.get(self.url(&[]))).await?.next)
    }

    async fn ask(&self, request: RequestBuilder) -> Result<Has, SendError> {
        let request = match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        };
        let answer = request.send().await?;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer.json().await?);
        }
        let words = answer.text().await.unwrap_or_default().chars().take(300).collect();
        Err(SendError::Refused { status, words })
    }

    fn url(&self, rest: &[&str]) -> Url {
        let mut url = self.base.clone();
        let stream = self.spool.lock().stream().to_owned();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(["api", "v1", "taps", &stream]).extend(rest);
        }
        url
    }
}

/// From 0.8 to 1.2, so that taps that lost their server together do not come back together.
fn jitter() -> f64 {
    let [byte, ..] = *uuid::Uuid::new_v4().as_bytes();
    0.8 + f64::from(byte) / 255.0 * 0.4
}

/// An error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        words = format!("{words}: {error}");
        cause = error.source();
    }
    words
}
