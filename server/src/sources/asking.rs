//! Asking Kong over HTTP, within bounds: how long, how much, and in which words it went wrong.
//!
//! Credentials are read anew for each run, so that a file that was replaced is used without a restart. Redirects are not
//! followed: a token goes to the address that was set, and nowhere else. Proxies of the environment are not used.

use std::error::Error;
use std::io;
use std::path::Path;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, Identity, Url};
use serde_json::Value;

use super::secret::Secret;
use super::settings::{Access, Settings};
use crate::kong::{http_date, json};

/// A page of the table of nodes that is longer is not read to its end: 1,000 rows have one or two MiB.
pub const PAGE_MAX: usize = 32 << 20;
/// The metrics of a node with thousands of routes have about ten MiB; of 32 nodes that are asked at once, half a GiB.
pub const METRICS_MAX: usize = 16 << 20;
/// All other answers, but `/` of an Admin API, which names every plugin with its schema's fields, are far shorter.
pub const ANSWER_MAX: usize = 2 << 20;
/// A file of credentials that is longer is none.
const FILE_MAX: u64 = 1 << 20;

/// Why nothing was learned.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// It is here: the name cannot be looked up, there is no way to the address, a file of ours cannot be read.
    #[error("{0}")]
    Ours(String),
    /// Nobody answered in time, or at all.
    #[error("{0}")]
    Silent(String),
    /// Somebody answered, and it was not what was asked for.
    #[error("{0}")]
    Refused(String),
}

impl Trouble {
    /// Whether the failure says nothing about the other side.
    #[must_use]
    pub const fn is_ours(&self) -> bool {
        matches!(self, Self::Ours(_))
    }
}

/// An answer, whole.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// When, by the clock of whoever answered.
    pub date_ms: Option<i64>,
    /// Not to be asked again before this.
    pub retry_after: Option<RetryAfter>,
    /// The body.
    pub body: Vec<u8>,
}

/// What `Retry-After` says (RFC 9110 10.2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryAfter {
    /// After so many milliseconds.
    In(i64),
    /// At a moment, by the clock of whoever answered.
    At(i64),
}

impl RetryAfter {
    fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            // More digits than a number holds are a long time.
            return Some(Self::In(text.parse::<i64>().unwrap_or(i64::MAX).saturating_mul(1_000)));
        }
        http_date::parse(text).map(Self::At)
    }

    /// How long that is, counted from the answer.
    #[must_use]
    pub fn since(self, answered_ms: i64) -> Duration {
        let ms = match self {
            Self::In(ms) => ms,
            Self::At(at_ms) => at_ms.saturating_sub(answered_ms),
        };
        Duration::from_millis(u64::try_from(ms).unwrap_or(0))
    }
}

impl Answer {
    /// The body as JSON.
    ///
    /// # Errors
    /// If it is none: what came instead, in words.
    pub fn json(&self) -> Result<Value, Trouble> {
        json::parse(&self.body).map_err(|why| match self.status {
            200 => Trouble::Refused(format!("the answer is not JSON: {why}")),
            status => Trouble::Refused(said(status, None)),
        })
    }
}

/// A status in the words of an operator, with what Kong said.
#[must_use]
pub fn said(status: u16, message: Option<&str>) -> String {
    let meaning = match status {
        400 => ", bad request",
        401 => ": the token or certificate is missing or wrong",
        403 => ": the token or certificate may not read this",
        404 => ": nothing is there",
        429 => ": asked too often",
        300..=399 => ": a redirect, which is not followed",
        500..=599 => ": the other side has a fault",
        _ => "",
    };
    let message =
        message.map_or(String::new(), |message| format!(" ({})", message.chars().take(200).collect::<String>()));
    format!("answered {status}{meaning}{message}")
}

/// Credentials as they were read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Material {
    token: Option<Secret>,
    identity: Option<Secret>,
    authorities: Option<String>,
}

/// Who asks, with its credentials.
#[derive(Debug)]
pub struct Asker {
    access: Access,
    timeout: Duration,
    made: Option<(Material, Client)>,
}

impl Asker {
    /// For a source. Nothing is read yet.
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        Self { access: settings.access.clone(), timeout: settings.timeout, made: None }
    }

    /// Reads the credentials; what asks with them now.
    ///
    /// # Errors
    /// If a file or a variable cannot be used; the words name it and never repeat what is in it.
    pub async fn ready(&mut self) -> Result<Requests, Trouble> {
        let material = self.material().await.map_err(Trouble::Ours)?;
        if self.made.as_ref().is_none_or(|(known, _)| *known != material) {
            let client = client(&material, self.timeout).map_err(Trouble::Ours)?;
            self.made = Some((material.clone(), client));
        }
        let header = match self.access.is_bearer {
            true => Some(http::header::AUTHORIZATION),
            false => self.access.token_header.as_deref().and_then(|name| name.parse().ok()),
        };
        let token = match (header, &material.token) {
            (Some(header), Some(token)) => {
                let scheme = if self.access.is_bearer { "Bearer " } else { "" };
                let value = HeaderValue::from_str(&format!("{scheme}{}", token.expose()));
                let mut value =
                    value.map_err(|_| Trouble::Ours("the token has characters that no header can have".into()))?;
                value.set_sensitive(true);
                Some((header, value))
            }
            _ => None,
        };
        let client = self.made.as_ref().map(|(_, client)| client.clone());
        let client = client.ok_or_else(|| Trouble::Ours("there is no client".into()))?;
        Ok(Requests { client, token, secret: material.token.unwrap_or_else(|| Secret::new("")) })
    }

    async fn material(&self) -> Result<Material, String> {
        let access = &self.access;
        let token = match (&access.token_file, &access.token_env) {
            (Some(path), _) => Some(Secret::new(&read("token_file", path).await?)),
            (None, Some(variable)) => {
                let value = std::env::var(variable);
                Some(Secret::new(&value.map_err(|_| format!("token_env: {variable} is not set"))?))
            }
            (None, None) => None,
        };
        if token.as_ref().is_some_and(|token| token.expose().is_empty()) {
            return Err("the token is empty".to_owned());
        }
        let identity = match (&access.client_cert_file, &access.client_key_file) {
            (Some(certificate), Some(key)) => {
                let certificate = read("client_cert_file", certificate).await?;
                Some(Secret::new(&format!("{certificate}\n{}", read("client_key_file", key).await?)))
            }
            _ => None,
        };
        let authorities = match &access.ca_file {
            Some(path) => Some(read("ca_file", path).await?),
            None => None,
        };
        Ok(Material { token, identity, authorities })
    }
}

async fn read(key: &str, path: &Path) -> Result<String, String> {
    let cannot = |error: io::Error| format!("{key}: {} cannot be read: {error}", path.display());
    if tokio::fs::metadata(path).await.map_err(cannot)?.len() > FILE_MAX {
        return Err(format!("{key}: {} is longer than {} KiB", path.display(), FILE_MAX >> 10));
    }
    tokio::fs::read_to_string(path).await.map_err(cannot)
}

fn client(material: &Material, timeout: Duration) -> Result<Client, String> {
    let mut builder = Client::builder()
        .use_rustls_tls()
        .redirect(Policy::none())
        .no_proxy()
        .timeout(timeout)
        .user_agent(concat!("tidemark/", env!("CARGO_PKG_VERSION")));
    if let Some(identity) = &material.identity {
        let identity = Identity::from_pem(identity.expose().as_bytes());
        builder =
            builder.identity(identity.map_err(|_| {
                "client_cert_file and client_key_file are no PEM of a certificate and its key".to_owned()
            })?);
    }
    if let Some(authorities) = &material.authorities {
        let authorities = Certificate::from_pem_bundle(authorities.as_bytes());
        for authority in authorities.map_err(|_| "ca_file is no PEM of certificates".to_owned())? {
            builder = builder.add_root_certificate(authority);
        }
    }
    builder.build().map_err(|error| format!("the certificates cannot be used: {}", cause(&error)))
}

/// Asks. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Requests {
    client: Client,
    token: Option<(HeaderName, HeaderValue)>,
    secret: Secret,
}

impl Requests {
    /// The same without the token, for an address that it is not meant for.
    #[must_use]
    pub fn without_token(&self) -> Self {
        Self { token: None, ..self.clone() }
    }

    /// Asks for a page, and reads the answer to its end, if that comes before `most` bytes.
    ///
    /// # Errors
    /// If there is no answer, or none that ends within bounds. Statuses are no errors here.
    pub async fn get(&self, url: &Url, most: usize) -> Result<Answer, Trouble> {
        let trouble = |error: reqwest::Error| self.trouble(error);
        let mut request = self.client.get(url.clone());
        if let Some((name, value)) = &self.token {
            request = request.header(name, value);
        }
        let mut response = request.send().await.map_err(trouble)?;
        let status = response.status().as_u16();
        let date = response.headers().get(http::header::DATE);
        let date_ms = date.and_then(|value| value.to_str().ok()).and_then(http_date::parse);
        let retry_after = response.headers().get(http::header::RETRY_AFTER);
        let retry_after = retry_after.and_then(|value| value.to_str().ok()).and_then(RetryAfter::parse);
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(trouble)? {
            if body.len() + chunk.len() > most {
                return Err(Trouble::Refused(format!("the answer is longer than {} MiB", most >> 20)));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Answer { status, date_ms, retry_after, body })
    }

    /// Whether the token begins like this.
    #[must_use]
    pub fn token_begins_with(&self, prefix: &str) -> bool {
        self.secret.expose().starts_with(prefix)
    }

    /// A text from the other side without our token in it.
    #[must_use]
    pub fn hidden(&self, text: &str) -> String {
        self.secret.hidden_in(text)
    }

    fn trouble(&self, error: reqwest::Error) -> Trouble {
        // The page has the address; the message of the library repeats it with its query.
        let error = error.without_url();
        let cause = self.hidden(&cause(&error));
        if error.is_timeout() {
            return Trouble::Silent("did not answer in time".to_owned());
        }
        if error.is_body() || error.is_decode() {
            return Trouble::Refused(format!("the answer was cut off: {cause}"));
        }
        if is_ours(&error) {
            return Trouble::Ours(format!("cannot be reached from here: {cause}"));
        }
        Trouble::Silent(format!("does not answer: {cause}"))
    }
}

/// The innermost words of an error.
fn cause(error: &dyn Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

/// The name cannot be looked up, or there is no way to the address.
fn is_ours(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
        let no_way = matches!(
            kind,
            Some(
                io::ErrorKind::HostUnreachable
                    | io::ErrorKind::NetworkUnreachable
                    | io::ErrorKind::NetworkDown
                    | io::ErrorKind::AddrNotAvailable
            )
        );
        if no_way || error.to_string().starts_with("dns error") {
            return true;
        }
        next = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_told_in_seconds_or_by_a_date() {
        #[track_caller]
        fn check(text: &str, expected_ms: Option<u64>) {
            // Fri, 20 Nov 2026 08:54:37 GMT.
            let wait = RetryAfter::parse(text).map(|wait| wait.since(1_795_164_877_000));
            assert_eq!(wait, expected_ms.map(Duration::from_millis), "{text}");
        }
        check("0", Some(0));
        check(" 120 ", Some(120_000));
        check("Fri, 20 Nov 2026 08:55:37 GMT", Some(60_000));
        check("Fri, 20 Nov 2026 08:54:00 GMT", Some(0));
        check("99999999999999999999999", Some(i64::MAX.unsigned_abs()));
        check("", None);
        check("-1", None);
        check("1.5", None);
        check("soon", None);
    }
}
