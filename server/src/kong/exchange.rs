//! A recorded request to Kong and what came back: to its Admin API, its Status API, its metrics, or through its proxy.
//! Told apart by path and content, as the ports are anybody's choice.

use super::facts::{Fact, Observed, Place, Process};
use super::recognize::{Damage, wall_clock};
use super::text::{MESSAGE_MAX, NAME_MAX, clip, message, name};
use super::{admin, http_date, metrics, status};
use serde_json::{Map, Value};
use std::sync::Arc;

/// One request with its outcome.
#[derive(Clone, Debug, PartialEq)]
pub struct Exchange {
    /// When the answer was there.
    at_ms: i64,
    method: String,
    /// Scheme, host and port.
    endpoint: String,
    /// The path without the query.
    path: String,
    outcome: Outcome,
}

#[derive(Clone, Debug, PartialEq)]
enum Outcome {
    Answered { status: u16, date_ms: Option<i64>, body: Value },
    NoAnswer { error: String },
}

impl Exchange {
    pub(super) fn of_fields(mut fields: Map<String, Value>) -> Result<Self, Damage> {
        let at_ms = wall_clock(&fields)?;
        let request = fields.get("request").and_then(Value::as_object).ok_or(Damage::Missing("request"))?;
        let method = name(request, "method").ok_or(Damage::Missing("request.method"))?;
        let url = request.get("url").and_then(Value::as_str).ok_or(Damage::Missing("request.url"))?;
        let (endpoint, path) =
            split_url(url).ok_or_else(|| Damage::Invalid { field: "request.url", why: clip(url, NAME_MAX) })?;
        let outcome = match fields.get("status") {
            Some(status) => {
                let status = status.as_u64().and_then(|status| u16::try_from(status).ok());
                let status = status.ok_or(Damage::Missing("status"))?;
                let date_ms = fields.get("headers").and_then(Value::as_array).and_then(|headers| date(headers));
                Outcome::Answered { status, date_ms, body: fields.remove("body").unwrap_or_default() }
            }
            None => Outcome::NoAnswer { error: message(&fields, "client_error").ok_or(Damage::Missing("status"))? },
        };
        Ok(Self { at_ms, method, endpoint, path, outcome })
    }

    /// The facts of the exchange. Requests through the proxy have none.
    #[must_use]
    pub fn facts(&self) -> Vec<Observed> {
        let place = Place::Endpoint(self.endpoint.as_str().into());
        let observed = |(node, fact)| Observed { at_ms: self.at_ms, place: place.clone(), node, fact };
        match &self.outcome {
            Outcome::NoAnswer { error } => {
                vec![observed((None, Fact::Unreachable { path: self.path.clone(), error: error.clone() }))]
            }
            Outcome::Answered { status, date_ms, body } if self.method == "GET" => {
                answer(&self.path, *status, *date_ms, body).into_iter().map(observed).collect()
            }
            Outcome::Answered { status, .. } => {
                let fact = Fact::Written { method: self.method.clone(), path: self.path.clone(), status: *status };
                vec![observed((None, fact))]
            }
        }
    }
}

type About = Option<Arc<str>>;

/// The facts of an answer to `GET path`, each with the node that it is about. A path may have a workspace in front (EE).
#[must_use]
pub fn answer(path: &str, status: u16, date_ms: Option<i64>, body: &Value) -> Vec<(About, Fact)> {
    let known = if path.ends_with("/clustering/data-planes") {
        admin::data_planes(body, date_ms).map(|page| table(page, date_ms))
    } else if path.ends_with("/clustering/status") {
        admin::clustering_status(body, date_ms).map(|page| table(page, date_ms))
    } else if path == "/status/ready" {
        status::readiness(status, body).map(|readiness| vec![(None, Fact::Ready(readiness))])
    } else if path == "/status" {
        status::status(body).map(|status| vec![(None, Fact::Status(status))])
    } else if path == "/metrics" {
        body.as_str().map(|text| {
            let exposition = metrics::exposition(text);
            let node = exposition.node_id.as_deref().map(Arc::from);
            vec![(node, Fact::Metrics(Box::new(exposition)))]
        })
    } else {
        // `/` of something else than an Admin API, through the proxy, or of no interest.
        let process = (path == "/").then(|| admin::process(body)).flatten();
        let node = |process: &Process| process.node_id.as_deref().map(Arc::from);
        return process.map(|process| (node(&process), Fact::Process(process))).into_iter().collect();
    };
    match known {
        Some(facts) if status == 200 || path == "/status/ready" => facts,
        _ => {
            let message = body.get("message").and_then(Value::as_str).map(|text| clip(text, MESSAGE_MAX));
            vec![(None, Fact::Declined { path: path.to_owned(), status, message })]
        }
    }
}

fn table(page: admin::Page, date_ms: Option<i64>) -> Vec<(About, Fact)> {
    let read = Fact::TableRead { rows: u32::try_from(page.rows.len()).unwrap_or(u32::MAX), next: page.next, date_ms };
    let rows = page.rows.into_iter().map(|row| (Some(row.node_id.as_str().into()), Fact::Row(Box::new(row))));
    rows.chain([(None, read)]).collect()
}

/// `http://127.0.0.1:8001/status?unit=m` as endpoint and path.
fn split_url(url: &str) -> Option<(String, String)> {
    let authority = url.find("://")? + 3;
    let path = url[authority..].find(['/', '?', '#']).map_or(url.len(), |index| authority + index);
    let (endpoint, rest) = url.split_at(path);
    let path = rest.split(['?', '#']).next().filter(|path| !path.is_empty()).unwrap_or("/");
    Some((clip(endpoint, NAME_MAX), clip(path, MESSAGE_MAX)))
}

fn date(headers: &[Value]) -> Option<i64> {
    let mut pairs = headers.iter().filter_map(|pair| match pair.as_array()?.as_slice() {
        [name, value] => Some((name.as_str()?, value.as_str()?)),
        _ => None,
    });
    pairs.find(|(name, _)| name.eq_ignore_ascii_case("date")).and_then(|(_, value)| http_date::parse(value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn facts(url: &str, outcome: Value) -> Vec<Fact> {
        let Value::Object(mut fields) = outcome else { panic!("an object") };
        fields.insert("wallclock".into(), json!(1_795_164_877.835));
        fields.insert("request".into(), json!({"method": "GET", "url": url, "body": null}));
        let exchange = Exchange::of_fields(fields).unwrap();
        exchange.facts().into_iter().map(|observed| observed.fact).collect()
    }

    #[test]
    fn a_kong_that_is_no_control_plane_declines() {
        let message = "this endpoint is only available when Kong is configured to run as Control Plane for the cluster";
        let said = facts(
            "http://dp:8001/clustering/data-planes?size=1000",
            json!({"status": 400, "body": {"message": message}}),
        );
        let path = "/clustering/data-planes".to_owned();
        assert_eq!(said, [Fact::Declined { path, status: 400, message: Some(message.into()) }]);
    }

    #[test]
    fn a_workspace_may_stand_in_front() {
        let body = json!({"data": [{"id": "1", "config_hash": "x"}], "next": null});
        let said = facts("https://cp/default/clustering/data-planes", json!({"status": 200, "body": body}));
        assert!(matches!(said.as_slice(), [Fact::Row(_), Fact::TableRead { rows: 1, next: None, date_ms: None }]));
    }

    #[test]
    fn nobody_there_is_a_fact_too() {
        let said = facts("http://cp:8001/status", json!({"client_error": "connection refused"}));
        assert_eq!(said, [Fact::Unreachable { path: "/status".into(), error: "connection refused".into() }]);
    }

    #[test]
    fn what_a_proxy_answers_is_no_fact() {
        assert_eq!(facts("http://dp:8000/status/me", json!({"status": 200, "body": {"data": []}})), []);
        assert_eq!(facts("http://dp:8000/x?a=/metrics", json!({"status": 404, "body": null})), []);
    }

    #[test]
    fn an_answer_that_is_not_kongs_declines() {
        for path in ["/status", "/status/ready", "/metrics", "/clustering/status", "/clustering/data-planes"] {
            for body in
                [json!(null), json!([]), json!("<html>"), json!({"message": "no Route matched with those values"})]
            {
                let answer = answer(path, 404, None, &body);
                assert!(matches!(answer.as_slice(), [(None, Fact::Declined { status: 404, .. })]), "{path} {body}");
            }
        }
    }

    #[test]
    fn a_url_is_split() {
        #[track_caller]
        fn check(url: &str, endpoint: &str, path: &str) {
            assert_eq!(split_url(url), Some((endpoint.to_owned(), path.to_owned())));
        }
        check("http://127.0.0.1:8001/status?unit=m", "http://127.0.0.1:8001", "/status");
        check("http://cp", "http://cp", "/");
        check("http://cp?x=/y", "http://cp", "/");
        assert_eq!(split_url("cp/status"), None);
    }
}
