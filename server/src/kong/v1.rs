//! Frames of protocol v1 (`kong-hybrid.md` 1.4, 1.6, 1.7): what a node and its control plane write on `/v1/outlet`.

use super::digest::BehaviourDigest;
use super::facts::{ApplyFailure, FAILED_ENTITIES_MAX, FailedEntity, Introduction, Offer, PluginVersion, Protocol};
use super::hash::{SectionHashes, table_hashes};
use super::outline::Outline;
use super::shape::Shape;
use super::text::{MESSAGE_MAX, NAME_MAX, clip, elements, message, name, seconds_as_ms};
use super::{cluster, json};
use flate2::read::MultiGzDecoder;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::io::Read;
use std::sync::Arc;
use tidemark_domain::hash::ConfigHash;

/// A binary frame of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FromNode {
    /// The first frame. Who it is was in the request line, so id, hostname and version are `None` here.
    BasicInfo(Box<Introduction>),
    /// Only in Konnect mode; other control planes end the connection on it.
    Error(Box<ApplyFailure>),
}

/// A binary frame of a control plane.
#[derive(Clone, Debug, PartialEq)]
pub enum FromControlPlane {
    Reconfigure(Box<Offer>),
    /// A type that a node ignores silently.
    Ignored {
        kind: String,
    },
}

/// Labels kept of one node; Kong allows ten (`kong-hybrid.md` 7.3).
pub const LABELS_MAX: usize = 32;
/// Plugins kept of one node; Kong bundles about fifty.
pub const PLUGINS_MAX: usize = 1_000;

/// The settings that explain how a node behaves. Everything else of its `kong.conf` - paths, addresses, names of
/// secrets - is dropped (`kong-hybrid.md` 1.4).
pub const SETTINGS: [&str; 13] = [
    "cluster_incremental_sync",
    "cluster_max_payload",
    "cluster_mtls",
    "cluster_rpc",
    "cluster_rpc_sync",
    "database",
    "dedicated_config_processing",
    "incremental_sync",
    "konnect_mode",
    "lmdb_map_size",
    "nginx_worker_processes",
    "role",
    "router_flavor",
];

/// Reads a binary frame of a node: plain JSON.
///
/// # Errors
/// Says what is wrong with the frame.
pub fn from_node(payload: &[u8]) -> Result<FromNode, String> {
    let frame = json::parse(payload)?;
    let frame = frame.as_object().ok_or("not an object")?;
    match frame.get("type").and_then(Value::as_str) {
        Some("basic_info") => Ok(FromNode::BasicInfo(Box::new(basic_info(frame)))),
        Some("error") => {
            let error = frame
                .get("error")
                .and_then(Value::as_object)
                .ok_or("an error frame without an error")?;
            Ok(FromNode::Error(Box::new(apply_failure(error))))
        }
        Some(other) => Err(format!("a frame of type {:?}", clip(other, 64))),
        None => Err("a frame without a type".to_owned()),
    }
}

/// Reads a binary frame of a control plane: gzip of JSON, at most `inflated_max` bytes of it.
///
/// # Errors
/// Says what is wrong with the frame.
pub fn from_control_plane(payload: &[u8], inflated_max: usize) -> Result<FromControlPlane, String> {
    let text = inflate(payload, inflated_max)?;
    let Value::Object(frame) = json::parse(&text)? else {
        return Err("not an object".to_owned());
    };
    match frame.get("type").and_then(Value::as_str) {
        Some("reconfigure") => reconfigure(frame, payload.len(), text.len()),
        Some(other) => Ok(FromControlPlane::Ignored {
            kind: clip(other, NAME_MAX),
        }),
        None => Err("a frame without a type".to_owned()),
    }
}

/// Reads the payload of a heartbeat: exactly the 32 characters of the stored hash.
///
/// # Errors
/// Says what is wrong with the payload; a control plane ends the connection on it.
pub fn heartbeat(payload: &[u8]) -> Result<ConfigHash, String> {
    let text = std::str::from_utf8(payload).map_err(|_| "a ping that is no text".to_owned())?;
    text.parse()
        .map_err(|_| format!("a ping of {} bytes that are no hash", payload.len()))
}

fn inflate(payload: &[u8], inflated_max: usize) -> Result<Vec<u8>, String> {
    let mut text = Vec::new();
    let mut bounded = MultiGzDecoder::new(payload).take(inflated_max as u64 + 1);
    bounded
        .read_to_end(&mut text)
        .map_err(|error| format!("gzip: {error}"))?;
    if text.len() > inflated_max {
        return Err(format!("inflates to more than {inflated_max} bytes"));
    }
    Ok(text)
}

fn reconfigure(
    mut frame: Map<String, Value>,
    frame_bytes: usize,
    json_bytes: usize,
) -> Result<FromControlPlane, String> {
    // Taken out, so that the table is not copied.
    let Some(Value::Object(table)) = frame.remove("config_table") else {
        return Err("a reconfigure frame without a configuration".to_owned());
    };
    let outline = Outline::of_table(&table);
    Ok(FromControlPlane::Reconfigure(Box::new(Offer {
        stated: frame.get("config_hash").and_then(hash),
        stated_sections: frame.get("hashes").and_then(Value::as_object).and_then(sections),
        recomputed: table_hashes(&table),
        digest: BehaviourDigest::of_outline(&outline),
        outline: Arc::new(outline),
        shape: Shape::of_table(&table),
        exported_at_ms: frame.get("timestamp").and_then(Value::as_f64).and_then(seconds_as_ms),
        frame_bytes: frame_bytes as u64,
        json_bytes: json_bytes as u64,
        cluster_id: elements(&table, "parameters").iter().find_map(cluster::id_of_parameter),
        only_workspaces: only_workspaces(&table),
    })))
}

/// Whether the entities are workspaces and nothing else. Keys that begin with `_` are about the format.
fn only_workspaces(table: &Map<String, Value>) -> bool {
    let is_empty = |value: &Value| match value {
        Value::Null => true,
        Value::Array(elements) => elements.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    };
    table
        .iter()
        .all(|(key, value)| key == "workspaces" || key.starts_with('_') || is_empty(value))
}

fn hash(value: &Value) -> Option<ConfigHash> {
    value.as_str()?.parse().ok()
}

fn sections(hashes: &Map<String, Value>) -> Option<SectionHashes> {
    let section = |key| hashes.get(key).and_then(hash);
    Some(SectionHashes {
        routes: section("routes")?,
        services: section("services")?,
        plugins: section("plugins")?,
        upstreams: section("upstreams")?,
        targets: section("targets")?,
    })
}

fn basic_info(frame: &Map<String, Value>) -> Introduction {
    let plugin = |value: &Value| {
        let fields = value.as_object()?;
        Some(PluginVersion {
            name: name(fields, "name")?,
            version: name(fields, "version"),
        })
    };
    let filters = frame.get("filters").and_then(Value::as_object);
    Introduction {
        protocol: Protocol::V1,
        node_id: None,
        hostname: None,
        gateway_version: None,
        labels: frame
            .get("labels")
            .and_then(Value::as_object)
            .map(labels)
            .unwrap_or_default(),
        plugins: elements(frame, "plugins")
            .iter()
            .filter_map(plugin)
            .take(PLUGINS_MAX)
            .collect(),
        filters: filters.map_or_else(Vec::new, |filters| {
            filters
                .keys()
                .take(PLUGINS_MAX)
                .map(|name| clip(name, NAME_MAX))
                .collect()
        }),
        capabilities: Vec::new(),
        settings: frame
            .get("process_conf")
            .and_then(Value::as_object)
            .map(settings)
            .unwrap_or_default(),
    }
}

/// Labels of a node from an object of texts; at most [`LABELS_MAX`].
pub(super) fn labels(fields: &Map<String, Value>) -> BTreeMap<String, String> {
    fields
        .iter()
        .filter_map(|(key, value)| Some((clip(key, NAME_MAX), clip(value.as_str()?, NAME_MAX))))
        .take(LABELS_MAX)
        .collect()
}

/// The settings of [`SETTINGS`] that a `kong.conf` has, as text.
pub(super) fn settings(conf: &Map<String, Value>) -> BTreeMap<&'static str, String> {
    let text = |value: &Value| match value {
        Value::String(text) => Some(clip(text, NAME_MAX)),
        Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    };
    SETTINGS
        .into_iter()
        .filter_map(|key| Some((key, text(conf.get(key)?)?)))
        .collect()
}

/// The body of an error report, which v1 and v2 write alike.
pub(super) fn apply_failure(error: &Map<String, Value>) -> ApplyFailure {
    let failed = |value: &Value| {
        let entity = value.as_object()?;
        let first = elements(entity, "errors").first().and_then(Value::as_object);
        Some(FailedEntity {
            entity_type: name(entity, "entity_type"),
            id: name(entity, "entity_id"),
            name: name(entity, "entity_name"),
            field: first.and_then(|error| name(error, "field")),
            message: first.and_then(complaint),
        })
    };
    ApplyFailure {
        version: error.get("config_hash").and_then(hash),
        name: name(error, "name"),
        source: name(error, "source"),
        message: message(error, "message").or_else(|| message(error, "exception")),
        entities: elements(error, "flattened_errors")
            .iter()
            .filter_map(failed)
            .take(FAILED_ENTITIES_MAX)
            .collect(),
    }
}

/// A complaint is a text, or several about one field.
fn complaint(error: &Map<String, Value>) -> Option<String> {
    let texts = || error.get("messages")?.as_array()?.iter().find_map(Value::as_str);
    let text = error.get("message").and_then(Value::as_str).or_else(texts)?;
    Some(clip(text, MESSAGE_MAX))
}
