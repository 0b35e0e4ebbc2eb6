//! `Idempotency-Key`: a repeat of a request gives the same answer and changes nothing. The answer is kept by the store
//! in the transaction of the facts; here, repeats that overlap wait for each other.

use std::collections::HashMap;
use std::sync::Arc;

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use tidemark_domain::time::Timestamp;
use tokio::sync::OwnedMutexGuard;

use crate::http::problem::Problem;
use crate::ingest::Remembered;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Marks an answer that was given before.
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// The key of a request and what the request was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// The sender's key.
    pub key: String,
    digest: String,
}

impl Key {
    /// The key of a request with this path and body, where it has one.
    ///
    /// # Errors
    /// 400 if it is none of 1-128 visible ASCII characters.
    pub fn of(headers: &HeaderMap, path: &str, body: &[u8]) -> Result<Option<Self>, Problem> {
        let Some(value) = headers.get(&IDEMPOTENCY_KEY) else {
            return Ok(None);
        };
        let fits = |key: &&str| (1..=128).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic());
        let expected = || Problem::bad("idempotency-key", "expected 1 to 128 visible ASCII characters");
        let key = value.to_str().ok().filter(fits).ok_or_else(expected)?;
        let mut digest = Sha256::new();
        digest.update(path.as_bytes());
        digest.update([0]);
        digest.update(body);
        let digest = digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Some(Self { key: key.to_owned(), digest }))
    }

    /// What is to be kept of an answer.
    #[must_use]
    pub fn remembering(&self, status: StatusCode, body: &str, at: Timestamp) -> Remembered {
        Remembered {
            key: self.key.clone(),
            request_digest: self.digest.clone(),
            status: status.as_u16(),
            body: body.to_owned(),
            at,
        }
    }

    /// The answer that was kept.
    ///
    /// # Errors
    /// 422 if the key was used for something else.
    pub fn replay(&self, kept: Remembered) -> Result<Response, Problem> {
        if kept.request_digest != self.digest {
            let detail = "this key was used for another request; a new request needs a new key";
            return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail).of("idempotency-key"));
        }
        let status = StatusCode::from_u16(kept.status).unwrap_or(StatusCode::OK);
        let json = HeaderValue::from_static("application/json");
        let mut response = (status, kept.body).into_response();
        response.headers_mut().insert(header::CONTENT_TYPE, json);
        response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
        Ok(response)
    }
}

/// Keys that are in hand now. One request holds a key; others with the same one wait.
#[derive(Clone, Debug, Default)]
pub struct Keys(Arc<Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>>);

impl Keys {
    /// Waits until nobody else holds this key.
    pub async fn hold(&self, key: &Key) -> Held {
        let lock = self.0.lock().entry(key.key.clone()).or_default().clone();
        Held { guard: Some(lock.lock_owned().await), keys: self.clone(), key: key.key.clone() }
    }
}

/// A key that nobody else holds.
#[derive(Debug)]
pub struct Held {
    guard: Option<OwnedMutexGuard<()>>,
    keys: Keys,
    key: String,
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut keys = self.keys.0.lock();
        self.guard = None;
        // Those who wait have a clone of the lock beside the one in the map.
        if keys.get(&self.key).is_some_and(|lock| Arc::strong_count(lock) == 1) {
            keys.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_key_is_held_by_one_and_forgotten_by_the_last() {
        let keys = Keys::default();
        let mut headers = HeaderMap::new();
        headers.insert(IDEMPOTENCY_KEY, HeaderValue::from_static("k"));
        let key = Key::of(&headers, "/", b"").expect("a key").expect("a key");
        let first = keys.hold(&key).await;
        let (again, key_again) = (keys.clone(), key.clone());
        let second = tokio::spawn(async move { again.hold(&key_again).await });
        tokio::task::yield_now().await;
        assert!(!second.is_finished());
        drop(first);
        drop(second.await.expect("it waited"));
        assert!(keys.0.lock().is_empty());
    }
}
