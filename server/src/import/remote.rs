//! A running service as the target of an import: it is asked how far a recording was taken, and sent facts in parcels.

use crate::store::Taken;
use reqwest::{Client, Response, StatusCode, Url};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use tidemark_domain::fact::Fact;
use tidemark_domain::id::CpName;
use tidemark_domain::time::Timestamp;

/// How long one request may take: a parcel is stored in less than a second.
const REQUEST_MAX: Duration = Duration::from_secs(60);
/// How often a service that is busy is asked again, a second apart.
const TRIES: u32 = 30;

/// Facts of recordings, with how far each recording is taken with them (`POST /api/v1/recordings`).
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parcel {
    /// The facts, in the order of their recording.
    pub facts: Vec<Fact>,
    /// How far each recording is taken with them.
    pub taken: Vec<Taken>,
}

/// Facts of one parcel at most.
pub const PARCEL_MAX: usize = 20_000;

/// What a service knows of a recording (`GET /api/v1/recordings/{first_digest}`), and of its control plane.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ControlPlaneWord {
    /// The control plane's newest word.
    pub last_word_at: Option<Timestamp>,
}

/// Why a service could not be sent to.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// It is no address of a service.
    #[error("{0}: expected the address of a service, as in http://127.0.0.1:3000")]
    Address(String),
    /// It did not answer.
    #[error("the service did not answer")]
    Unreachable(#[from] reqwest::Error),
    /// It refused; in its words.
    #[error("the service answered {status}: {words}")]
    Refused {
        /// The status.
        status: StatusCode,
        /// What it said.
        words: String,
    },
}

/// A running service.
#[derive(Debug)]
pub struct Remote {
    client: Client,
    base: Url,
    token: Option<String>,
}

impl Remote {
    /// The service at an address; `token` is a bearer token that may send.
    ///
    /// # Errors
    /// If the address is none.
    pub fn new(address: &str, token: Option<String>) -> Result<Self, RemoteError> {
        let base = Url::parse(address).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
        let base = base.ok_or_else(|| RemoteError::Address(address.to_owned()))?;
        let client = Client::builder().timeout(REQUEST_MAX).build()?;
        Ok(Self { client, base, token })
    }

    /// How far a recording was taken.
    ///
    /// # Errors
    /// See [`RemoteError`].
    pub async fn taken(&self, first_digest: &str) -> Result<Option<Taken>, RemoteError> {
        let answer = self.get(&["api", "v1", "recordings", first_digest]).await?;
        if answer.status() == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        Ok(Some(accepted(answer).await?.json().await?))
    }

    /// The newest word of a control plane.
    ///
    /// # Errors
    /// See [`RemoteError`].
    pub async fn newest_word_at(&self, control_plane: &CpName) -> Result<Option<Timestamp>, RemoteError> {
        let answer = self.get(&["api", "v1", "control-planes", control_plane.as_str(), "word"]).await?;
        if answer.status() == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        let word: ControlPlaneWord = accepted(answer).await?.json().await?;
        Ok(word.last_word_at)
    }

    /// Sends facts, and waits for the commit; a busy service is asked again for half a minute.
    ///
    /// # Errors
    /// See [`RemoteError`].
    pub async fn send(&self, parcel: &Parcel) -> Result<(), RemoteError> {
        let mut tries = 0;
        loop {
            tries += 1;
            let mut request = self.client.post(self.url(&["api", "v1", "recordings"])).json(parcel);
            if let Some(token) = &self.token {
                request = request.bearer_auth(token);
            }
            let answer = request.send().await?;
            if answer.status() == StatusCode::SERVICE_UNAVAILABLE && tries < TRIES {
                tokio::time::sleep(Duration::from_secs(1)).await;
                continue;
            }
            return accepted(answer).await.map(|_| ());
        }
    }

    async fn get(&self, path: &[&str]) -> Result<Response, RemoteError> {
        let mut request = self.client.get(self.url(path));
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        Ok(request.send().await?)
    }

    fn url(&self, path: &[&str]) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        url
    }
}

/// The answer, if the service accepted; else its own words.
async fn accepted(answer: Response) -> Result<Response, RemoteError> {
    let status = answer.status();
    if status.is_success() {
        return Ok(answer);
    }
    let text = answer.text().await.unwrap_or_default();
    let words = serde_json::from_str::<serde_json::Value>(&text)
        .ok()
        .and_then(|problem| problem.get("detail").or_else(|| problem.get("title"))?.as_str().map(str::to_owned));
    Err(RemoteError::Refused { status, words: words.unwrap_or_else(|| text.chars().take(200).collect()) })
}
