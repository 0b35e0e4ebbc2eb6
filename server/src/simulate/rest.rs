//! A simulated fleet that reports as anybody may: facts as requests of the REST API. Only what can be pushed goes this
//! way; what a tap or a poller sees does not.

use super::scenario::{Scenario, Watch};
use reqwest::{Client, Method, StatusCode, Url};
use serde_json::{Map, Value, json};
use std::time::Duration;
use tidemark_domain::fact::{
    Announcement, ConfigRef, Declaration, Fact, Protocol, Report, Said, Scope, SyncMode, What, Word,
};
use tidemark_domain::id::CpName;

/// Reports of one request at most, as the service takes them.
const REPORTS_MAX: usize = crate::ingest::wire::REPORTS_MAX;
/// How long one request may take.
const REQUEST_MAX: Duration = Duration::from_secs(30);
/// How often a service that is busy is asked again, a second apart.
const TRIES: u32 = 30;

/// A request that says what some facts say.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    pub method: Method,
    /// Below the address of the service.
    pub path: String,
    pub body: Value,
}

/// Why a service could not be told.
#[derive(Debug, thiserror::Error)]
pub enum TellError {
    #[error("{0}: expected the address of a service, as in http://127.0.0.1:3000")]
    Address(String),
    #[error("the service did not answer")]
    Unreachable(#[from] reqwest::Error),
    #[error("{method} {path}: the service answered {status}: {words}")]
    Refused { method: Method, path: String, status: StatusCode, words: String },
}

/// The ways of watching that this cannot tell.
#[must_use]
pub fn cannot_tell(scenario: &Scenario) -> Vec<Watch> {
    let all = scenario.control_plane.iter().flat_map(|control_plane| control_plane.watch.iter().copied());
    all.filter(|watch| !matches!(watch, Watch::Push | Watch::Announcements | Watch::Expected)).collect()
}

/// Facts as requests, in their order: neighbouring reports go in one. Facts that cannot be pushed are left out.
#[must_use]
pub fn requests(facts: &[Fact]) -> Vec<Request> {
    let mut requests = Vec::new();
    let mut reports = Vec::new();
    for fact in facts {
        if let What::Report(report) = &fact.what {
            reports.push(heartbeat(&fact.control_plane, report));
            if reports.len() == REPORTS_MAX {
                requests.push(heartbeats(std::mem::take(&mut reports)));
            }
            continue;
        }
        if let Some(request) = other(fact) {
            if !reports.is_empty() {
                requests.push(heartbeats(std::mem::take(&mut reports)));
            }
            requests.push(request);
        }
    }
    if !reports.is_empty() {
        requests.push(heartbeats(reports));
    }
    requests
}

fn heartbeats(reports: Vec<Value>) -> Request {
    Request { method: Method::POST, path: "/api/v1/heartbeats".to_owned(), body: Value::Array(reports) }
}

/// An object without what was not said.
fn object<const N: usize>(fields: [(&str, Value); N]) -> Value {
    let said = fields.into_iter().filter(|(_, value)| !value.is_null());
    Value::Object(said.map(|(key, value)| (key.to_owned(), value)).collect::<Map<_, _>>())
}

fn heartbeat(control_plane: &CpName, report: &Report) -> Value {
    let attributes = &report.attributes;
    let (hash, version) = match &report.running {
        Some(ConfigRef::Hash(hash)) => (Some(hash.as_str()), None),
        Some(ConfigRef::Token(token)) => (None, Some(token.as_str())),
        None => (None, None),
    };
    let failure = report.failure.as_ref().map(|failure| {
        object([
            ("config", json!(failure.refused.as_ref().map(ConfigRef::as_str))),
            ("message", json!(failure.message.as_str())),
            ("entity", json!(failure.entity.as_ref().map(|entity| entity.as_str()))),
            ("field", json!(failure.field.as_ref().map(|field| field.as_str()))),
        ])
    });
    let labels = attributes.labels.as_ref().map(|labels| labels.iter().collect::<std::collections::BTreeMap<_, _>>());
    object([
        ("control_plane", json!(control_plane.as_str())),
        ("node_id", json!(report.node.as_str())),
        ("hostname", json!(attributes.hostname.as_ref().map(|line| line.as_str()))),
        ("ip", json!(attributes.ip.as_ref().map(|line| line.as_str()))),
        ("gateway_version", json!(attributes.gateway_version.as_ref().map(|version| version.as_str()))),
        ("protocol", json!(attributes.protocol.map(protocol))),
        ("sync_mode", json!(attributes.sync_mode.map(sync_mode))),
        ("hash", json!(hash)),
        ("version", json!(version)),
        ("labels", json!(labels)),
        ("apply_error", json!(failure)),
        ("ready", json!(report.ready)),
        ("node_clock", json!(report.node_clock.map(|clock| clock.ms()))),
        ("certificate_expires_at", json!(attributes.certificate_expires_at.map(|at| at.ms()))),
        ("license_expires_at", json!(attributes.license_expires_at.map(|at| at.ms()))),
    ])
}

const fn protocol(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::V1 => "v1",
        Protocol::V2 => "v2",
    }
}

const fn sync_mode(mode: SyncMode) -> &'static str {
    match mode {
        SyncMode::Full => "full",
        SyncMode::Delta => "delta",
        SyncMode::FellBack => "fell_back",
    }
}

fn other(fact: &Fact) -> Option<Request> {
    let of = |rest: &str| format!("/api/v1/control-planes/{}{rest}", fact.control_plane);
    match &fact.what {
        What::Declared(declaration) => {
            Some(Request { method: Method::PATCH, path: of(""), body: declared(declaration) })
        }
        What::Word(word) => match &word.said {
            Said::Announced(announcement) => {
                Some(Request { method: Method::POST, path: of("/versions"), body: announced(announcement) })
            }
            Said::Expected { config, token } => {
                let body = expected(word, config, token.as_ref().map(|token| token.as_str()));
                Some(Request { method: Method::PUT, path: of("/expected"), body })
            }
            Said::Frame(_) | Said::Notified(_) | Said::Inferred(_) | Said::Same { .. } => None,
        },
        What::Report(_)
        | What::Connection(_)
        | What::Read
        | What::Listening(_)
        | What::ControlPlaneDown
        | What::Retired(_) => None,
    }
}

fn declared(declaration: &Declaration) -> Value {
    object([
        ("display_name", json!(declaration.display_name.as_ref().map(|name| name.as_str()))),
        ("propagation_ms", json!(declaration.propagation_ms)),
        ("change_feed", json!(declaration.change_feed)),
    ])
}

fn announced(announcement: &Announcement) -> Value {
    let hash = |(scope, hash): &(Scope, tidemark_domain::hash::ConfigHash)| {
        object([
            ("hash", json!(hash.as_str())),
            ("protocol", json!(scope.protocol.map(protocol))),
            ("gateway_version", json!(scope.gateway.as_ref().map(|gateway| gateway.as_str()))),
        ])
    };
    let shape = announcement.shape.as_ref().map(|shape| {
        json!({"entities": shape.entities, "certificates_without_snis": shape.certificates_without_snis,
            "hosts_served": shape.hosts_served})
    });
    object([
        ("token", json!(announcement.token.as_ref().map(|token| token.as_str()))),
        ("key", json!(announcement.key.as_ref().map(|key| key.as_str()))),
        ("hashes", Value::Array(announcement.hashes.iter().map(hash).collect())),
        ("cause", json!(announcement.cause.as_ref().map(|cause| cause.as_str()))),
        ("actor", json!(announcement.actor.as_ref().map(|actor| actor.as_str()))),
        ("shape", json!(shape)),
        ("digest", json!(announcement.digest.as_ref().map(|digest| digest.as_str()))),
    ])
}

fn expected(word: &Word, config: &ConfigRef, token: Option<&str>) -> Value {
    object([
        ("hash", json!(config.as_str())),
        ("token", json!(token)),
        ("replica", json!(word.replica.as_ref().map(|replica| replica.as_str()))),
        ("protocol", json!(word.scope.protocol.map(protocol))),
        ("gateway_version", json!(word.scope.gateway.as_ref().map(|gateway| gateway.as_str()))),
    ])
}

/// A running service that is told.
#[derive(Debug)]
pub struct Service {
    client: Client,
    base: Url,
    token: Option<String>,
}

impl Service {
    /// The service at an address; `token` is a bearer token that may send.
    ///
    /// # Errors
    /// If the address is none.
    pub fn new(address: &str, token: Option<String>) -> Result<Self, TellError> {
        let base = Url::parse(address).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
        let base = base.ok_or_else(|| TellError::Address(address.to_owned()))?;
        Ok(Self { client: Client::builder().timeout(REQUEST_MAX).build()?, base, token })
    }

    /// Tells facts, and waits until each request is answered; a busy service is asked again for half a minute.
    ///
    /// # Errors
    /// See [`TellError`].
    pub async fn tell(&self, facts: &[Fact]) -> Result<(), TellError> {
        for request in requests(facts) {
            self.send(&request).await?;
        }
        Ok(())
    }

    async fn send(&self, request: &Request) -> Result<(), TellError> {
        let mut url = self.base.clone();
        url.set_path(&format!("{}{}", self.base.path().trim_end_matches('/'), request.path));
        let mut tries = 0;
        loop {
            tries += 1;
            let mut asked = self.client.request(request.method.clone(), url.clone()).json(&request.body);
            if let Some(token) = &self.token {
                asked = asked.bearer_auth(token);
            }
            let answer = asked.send().await?;
            let status = answer.status();
            if status == StatusCode::SERVICE_UNAVAILABLE && tries < TRIES {
                tokio::time::sleep(Duration::from_secs(1)).await;
                continue;
            }
            if status.is_success() {
                return Ok(());
            }
            let words = answer.text().await.unwrap_or_default().chars().take(300).collect();
            return Err(TellError::Refused {
                method: request.method.clone(),
                path: request.path.clone(),
                status,
                words,
            });
        }
    }
}
