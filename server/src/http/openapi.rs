//! The description of the interface: OpenAPI 3.1 for machines, and the same as a page for people.

use std::fmt::Write;
use std::sync::LazyLock;

use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use serde_json::Value;
use sha2::{Digest, Sha256};
use utoipa::{OpenApi, ToSchema};

use crate::http::{events, health, problem, rest, scrape, sources, telemetry, told};

/// Everything that machines may ask or tell.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Tidemark",
        description = "How far has each configuration version reached across the fleet, which nodes did it not reach, \
                       why, since when, and what to do. Verdicts are decided by version, never by comparing hashes.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    paths(
        rest::fleet, rest::nodes, rest::node, rest::history, rest::control_planes,
        rest::control_plane, rest::versions, rest::version, rest::traffic, rest::resources, rest::usage, telemetry::tell, telemetry::sync_costs,
        sources::sources, events::events,
        told::heartbeats, told::announce, told::expect, told::declare, told::amend, told::retire,
        scrape::metrics, health::alive, health::ready,
    ),
    components(schemas(problem::ProblemBody, problem::Refused)),
    tags(
        (name = "ask", description = "Questions. With a token file: a token with the scope `read`."),
        (name = "tell", description = "Facts. With a token file: a token with the scope `send`."),
        (name = "machines", description = "For schedulers and scrapers."),
    ),
)]
struct Interface;

static DOCUMENT: LazyLock<Value> =
    LazyLock::new(|| serde_json::to_value(Interface::openapi()).expect("a description is plain data"));

static PAGE: LazyLock<String> = LazyLock::new(|| page_of(&DOCUMENT));

/// Every path that is described.
pub fn paths() -> impl Iterator<Item = &'static str> {
    let paths = DOCUMENT.get("paths").and_then(Value::as_object);
    paths.into_iter().flat_map(|paths| paths.keys().map(String::as_str))
}

/// The description as JSON, for `tidemark openapi`.
#[must_use]
pub fn text() -> String {
    format!("{:#}", *DOCUMENT)
}

/// `GET /api/openapi.json`
pub async fn document() -> Response {
    let json = HeaderValue::from_static("application/json");
    ([(header::CONTENT_TYPE, json)], text()).into_response()
}

/// `GET /api`
pub async fn page() -> Response {
    let html = HeaderValue::from_static("text/html; charset=utf-8");
    let policy = HeaderValue::from_str(&policy()).expect("a digest is a header value");
    ([(header::CONTENT_TYPE, html), (header::CONTENT_SECURITY_POLICY, policy)], PAGE.as_str()).into_response()
}

/// A policy for pages that are rendered here: nothing but [`STYLE`].
pub(super) fn policy() -> String {
    let digest = base64::engine::general_purpose::STANDARD.encode(Sha256::digest(STYLE));
    format!("default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; frame-ancestors 'none'")
}

// Bodies, as they are described. The parsers are in `ingest/wire.rs` and `told.rs`; a test holds the two together.

/// A report of a node. Unknown fields are refused.
#[derive(ToSchema)]
#[schema(example = json!({"control_plane": "prod", "node_id": "0f7a2c1e", "hash": "6de1944179b6c16febb0a724310a4d49", "gateway_version": "3.9.1"}))]
pub struct HeartbeatBody {
    /// `[a-z0-9][a-z0-9._-]{0,62}`
    pub control_plane: String,
    /// 1 to 128 of `A-Z a-z 0-9 . _ : -`
    pub node_id: String,
    /// The name of the machine or pod.
    pub hostname: Option<String>,
    /// The address that the node connects from.
    pub ip: Option<String>,
    /// As in 3.9.1 or 3.10.0.2.
    pub gateway_version: Option<String>,
    /// The 32 characters that the node repeats; or `version`, or neither.
    pub hash: Option<String>,
    /// The source's own token of the version that it runs; or `hash`, or neither.
    pub version: Option<String>,
    /// At most 64.
    pub labels: Option<std::collections::BTreeMap<String, String>>,
    /// What the control plane says of the node.
    #[schema(inline)]
    pub status: Option<StatusBody>,
    /// The node's last refusal of a configuration.
    #[schema(inline)]
    pub apply_error: Option<ApplyErrorBody>,
    /// Whether the node says that it can serve.
    pub ready: Option<bool>,
    /// The node's own clock, RFC 3339 or milliseconds: shown as skew, never used to order.
    pub node_clock: Option<String>,
    /// The report is this old, at most an hour.
    #[schema(minimum = 0, maximum = 3_600_000)]
    pub age_ms: Option<u32>,
    /// RFC 3339 or milliseconds.
    pub certificate_expires_at: Option<String>,
    /// RFC 3339 or milliseconds.
    pub license_expires_at: Option<String>,
    /// What the connection can do: a text, or an array of texts.
    pub capabilities: Option<Vec<String>>,
    /// A digest of the plugins that the node has: 16 to 128 lower-case hexadecimal digits.
    pub plugin_set: Option<String>,
    /// `full`, `delta` or `fell_back`.
    pub sync_mode: Option<String>,
    /// `v1` or `v2`.
    pub protocol: Option<String>,
}

/// What a control plane says of a node.
#[derive(ToSchema)]
pub struct StatusBody {
    /// `normal` or `incompatible`.
    pub state: String,
    /// With `incompatible`: `gateway_version`, `plugin_set`, `plugin_version`, `filter_set` or `other`.
    pub reason: Option<String>,
    /// In the words of the source.
    pub detail: Option<String>,
}

/// A configuration that a node could not apply.
#[derive(ToSchema)]
pub struct ApplyErrorBody {
    /// The configuration that was refused, where the node names it.
    pub config: Option<String>,
    /// The node's own words.
    pub message: String,
    /// The entity that it names.
    pub entity: Option<String>,
    /// The field that it names.
    pub field: Option<String>,
}

/// A version that exists now. Needs a token or a key.
#[derive(ToSchema)]
#[schema(example = json!({"token": "release-42", "hashes": [{"hash": "6de1944179b6c16febb0a724310a4d49", "gateway_version": "3.9.1"}], "cause": "merge #812", "actor": "deck"}))]
pub struct AnnouncementBody {
    /// The source's token. The same token is the same version.
    pub token: Option<String>,
    /// The sender's key, where there is no token. The same key is the same version.
    pub key: Option<String>,
    /// Its renderings, by cohort; at most 256.
    #[schema(inline)]
    pub hashes: Option<Vec<RenderingBody>>,
    /// Why it was made.
    pub cause: Option<String>,
    /// Who made it.
    pub actor: Option<String>,
    /// One actor and transaction is one changeset.
    pub transaction: Option<String>,
    /// The write burst that it belongs to; overrides `transaction`.
    pub changeset: Option<String>,
    /// What it is made of.
    #[schema(inline)]
    pub shape: Option<ShapeBody>,
    /// Its behaviour digest, in the cohort of `protocol` and `gateway_version`.
    pub digest: Option<String>,
    /// What it takes away is meant: notable, not destructive. May be said later too.
    pub intended: Option<bool>,
    /// Names of the plugins that it makes or changes; at most 32.
    pub plugins_changed: Option<Vec<String>>,
    /// The cohort of the digest: `v1` or `v2`.
    pub protocol: Option<String>,
    /// The cohort of the digest.
    pub gateway_version: Option<String>,
    /// Which replica of the control plane speaks.
    pub replica: Option<String>,
}

/// A rendering of a version.
#[derive(ToSchema)]
pub struct RenderingBody {
    /// 32 visible ASCII characters.
    pub hash: String,
    /// For nodes that sync by this protocol only: `v1` or `v2`.
    pub protocol: Option<String>,
    /// For nodes that run this gateway version only.
    pub gateway_version: Option<String>,
}

/// What a configuration is made of.
#[derive(ToSchema)]
pub struct ShapeBody {
    /// Entities by type; at most 128 types. A type that is left out has none.
    pub entities: std::collections::BTreeMap<String, u64>,
    /// Certificates that no SNI names.
    pub certificates_without_snis: u64,
    /// Distinct hosts that routes serve.
    pub hosts_served: u64,
}

/// What nodes should run: by hash, by token, or by a hash that is known to render a token.
#[derive(ToSchema)]
#[schema(example = json!({"hash": "6de1944179b6c16febb0a724310a4d49", "token": "release-42"}))]
pub struct ExpectedBody {
    /// 32 visible ASCII characters.
    pub hash: Option<String>,
    /// Alone: the version. Beside a hash: the version that the hash is known to render.
    pub token: Option<String>,
    /// For nodes that sync by this protocol only.
    pub protocol: Option<String>,
    /// For nodes that run this gateway version only.
    pub gateway_version: Option<String>,
    /// Which replica of the control plane speaks.
    pub replica: Option<String>,
}

/// What people say of a control plane. A PUT has every field.
#[derive(ToSchema)]
#[schema(example = json!({"display_name": "Production EU", "cluster_id": null, "konnect_id": null, "propagation_seconds": 60, "change_feed": true}))]
pub struct DeclarationBody {
    /// The name on pages.
    pub display_name: Option<String>,
    /// Kong's `cluster_id`.
    pub cluster_id: Option<String>,
    /// Konnect's id.
    pub konnect_id: Option<String>,
    /// How long a change may take to reach a node; null: the server's policy.
    #[schema(minimum = 1, maximum = 86_400)]
    pub propagation_seconds: Option<u32>,
    /// Whether every change of this control plane is announced to us.
    pub change_feed: bool,
}

/// Who takes a node out of the counts, and why.
#[derive(ToSchema)]
#[schema(example = json!({"by": "ada", "reason": "scaled down"}))]
pub struct RetirementBody {
    /// Who.
    pub by: String,
    /// Why.
    pub reason: Option<String>,
}

// The page.

/// The style of pages that are rendered here, light and dark.
pub(super) const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem;\
color:#1c2530;background:#fff}code,pre{font:13px/1.5 ui-monospace,monospace}h2{margin-top:2.5rem}\
article{border-top:1px solid #c8d0d9;padding:.5rem 0 1rem}h3{margin:.5rem 0}table{border-collapse:collapse;\
margin:.5rem 0;width:100%}th,td{text-align:left;vertical-align:top;padding:.2rem .8rem .2rem 0}th{font-weight:600}\
caption{text-align:left;font-weight:600}.wide{overflow-x:auto}th small{display:block;font-weight:400}pre{overflow-x:auto;padding:.6rem;border:1px solid #c8d0d9}a{color:#0b5cad}\
@media(prefers-color-scheme:dark){body{color:#dfe6ee;background:#11171e}article,pre{border-color:#39434e}\
a{color:#7db8f5}}";

pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

/// A text of the description, with what stands between backticks as code.
fn prose(text: &str) -> String {
    let parts = escaped(text);
    let parts = parts.split('`').enumerate();
    parts.map(|(index, part)| if index % 2 == 1 { format!("<code>{part}</code>") } else { part.to_owned() }).collect()
}

fn page_of(document: &Value) -> String {
    let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).unwrap_or("").to_owned();
    let mut html = String::new();
    let version = text(&document["info"], "version");
    let _ = write!(
        html,
        "<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><title>Interface – Tidemark</title>\
         <style>{STYLE}</style></head><body><main><h1>The interface of Tidemark {}</h1><p>{}</p>\
         <p>For machines: <a href=\"/api/openapi.json\">OpenAPI 3.1</a>. <a href=\"/\">To the pages</a> · \
         <a href=\"/operations\">Operations</a></p>",
        escaped(&version),
        prose(&text(&document["info"], "description")),
    );
    for tag in document["tags"].as_array().into_iter().flatten() {
        let name = text(tag, "name");
        let _ = write!(html, "<h2>{}</h2><p>{}</p>", escaped(&name), prose(&text(tag, "description")));
        for (path, methods) in document["paths"].as_object().into_iter().flatten() {
            for (method, operation) in methods.as_object().into_iter().flatten() {
                let tags = operation["tags"].as_array();
                if tags.is_some_and(|tags| tags.iter().any(|tag| tag.as_str() == Some(&name))) {
                    operation_of(&mut html, document, path, method, operation);
                }
            }
        }
    }
    html.push_str("</main></body></html>");
    html
}

fn operation_of(html: &mut String, document: &Value, path: &str, method: &str, operation: &Value) {
    let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).unwrap_or("").to_owned();
    let words = [text(operation, "summary"), text(operation, "description")].join(" ");
    let _ = write!(
        html,
        "<article><h3><code>{} {}</code></h3><p>{}</p>",
        escaped(&method.to_uppercase()),
        escaped(path),
        prose(words.trim())
    );
    let parameters = operation["parameters"].as_array();
    let parameters = parameters.into_iter().flatten();
    let rows: Vec<_> = parameters.map(|one| (text(one, "name"), text(one, "in"), text(one, "description"))).collect();
    table(html, "Parameters", &rows);
    let body = &operation["requestBody"]["content"]["application/json"]["schema"];
    table(html, "Body", &fields_of(body));
    if let Some(example) = body.get("example") {
        let _ = write!(html, "<pre tabindex=\"0\">{}</pre>", escaped(&format!("{example:#}")));
    }
    let mut answers = Vec::new();
    for (status, answer) in operation["responses"].as_object().into_iter().flatten() {
        let schema = answer["content"].as_object().and_then(|content| content.values().next());
        let schema = schema.map(|content| &content["schema"]);
        let name = schema.and_then(|schema| schema["$ref"].as_str()).and_then(|name| name.rsplit('/').next());
        if let (Some(name), true) = (name, status.starts_with('2')) {
            let fields = fields_of(&document["components"]["schemas"][name]);
            table(html, &format!("Answer {status}"), &fields);
        }
        answers.push((status.clone(), name.unwrap_or("").to_owned(), text(answer, "description")));
    }
    table(html, "Statuses", &answers);
    html.push_str("</article>");
}

/// Name, type and words of each field.
fn fields_of(schema: &Value) -> Vec<(String, String, String)> {
    let mut fields = Vec::new();
    // A flattened part is one of several schemas that hold together.
    let parts = schema["allOf"].as_array().into_iter().flatten().chain([schema]);
    for (name, field) in parts.flat_map(|part| part["properties"].as_object().into_iter().flatten()) {
        let words = field["description"].as_str().unwrap_or("").to_owned();
        fields.push((name.clone(), type_of(field), words));
    }
    fields
}

fn type_of(field: &Value) -> String {
    let named = |one: &Value| one["$ref"].as_str().and_then(|name| name.rsplit('/').next().map(str::to_owned));
    if let Some(name) = named(field) {
        return name;
    }
    if field["type"] == "array" {
        return format!("array of {}", type_of(&field["items"]));
    }
    match (&field["type"], field["oneOf"].as_array()) {
        (Value::String(one), _) => one.clone(),
        (Value::Array(several), _) => several.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" or "),
        (_, Some(several)) => several.iter().map(type_of).collect::<Vec<_>>().join(" or "),
        _ => String::new(),
    }
}

fn table(html: &mut String, caption: &str, rows: &[(String, String, String)]) {
    if rows.is_empty() {
        return;
    }
    let _ = write!(html, "<table><caption>{}</caption><tbody>", escaped(caption));
    for (name, kind, words) in rows {
        let (name, kind, words) = (escaped(name), escaped(kind), prose(words));
        let _ = write!(html, "<tr><th scope=\"row\"><code>{name}</code></th><td>{kind}</td><td>{words}</td></tr>");
    }
    html.push_str("</tbody></table>");
}
