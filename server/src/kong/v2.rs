//! Frames of protocol v2 (`kong-hybrid.md` 2): JSON-RPC 2.0 on `/v2/outlet`. The first frame of each side is plain
//! JSON, every later one a raw snappy block.

use super::facts::{ApplyFailure, Introduction, Protocol};
use super::json;
use super::sync_state::primary_key;
use super::text::{MESSAGE_MAX, NAME_MAX, clip, elements, name};
use super::v1::{LABELS_MAX, apply_failure, settings};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use tidemark_domain::hash::ConfigHash;

/// One message of either side.
#[derive(Clone, Debug, PartialEq)]
pub enum Message {
    /// The node introduces itself.
    Hello(Box<Introduction>),
    /// The control plane's answer to the hello.
    Welcome { capabilities: Vec<String> },
    /// The node says what it runs. Without an id it expects no answer.
    GetDelta { id: Option<u64>, version: ConfigHash },
    /// The control plane's answer to it.
    Deltas {
        id: Option<u64>,
        full: bool,
        deltas: Vec<Delta>,
    },
    /// The control plane has a new version.
    NewVersion { version: ConfigHash },
    /// The node could not apply a version.
    ValidationError(Box<ApplyFailure>),
    /// An answer that carries nothing of interest, e.g. `true`.
    Done,
    /// A call failed.
    Error { code: i64, message: String },
    /// A method that is not about configuration, e.g. `kong.debug.log_level.v1.get_log_level`.
    Other { method: String },
}

/// One change of one entity.
#[derive(Clone, Debug, PartialEq)]
pub struct Delta {
    pub entity_type: String,
    pub primary_key: String,
    pub version: ConfigHash,
    /// `None` deletes it.
    pub entity: Option<Value>,
}

/// How a frame is encoded: not to be told from its bytes, as a snappy block of 123 bytes begins with `{`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// The first frame of each side.
    Plain,
    /// All others.
    Snappy,
}

/// Messages of one batch; Kong never sends batches, and its write queue holds 4096.
const BATCH_MAX: usize = 4_096;
/// Capabilities kept of one side.
const CAPABILITIES_MAX: usize = 64;

/// Reads a binary frame of either side, whose JSON has at most `inflated_max` bytes. Also gives the size of the JSON.
///
/// # Errors
/// Says what is wrong with the frame.
pub fn decode(payload: &[u8], encoding: Encoding, inflated_max: usize) -> Result<(Vec<Message>, usize), String> {
    let text = match encoding {
        Encoding::Plain if payload.len() > inflated_max => return Err(too_long(inflated_max)),
        Encoding::Plain => std::borrow::Cow::Borrowed(payload),
        Encoding::Snappy => uncompress(payload, inflated_max)?.into(),
    };
    let messages = match json::parse(&text)? {
        Value::Array(batch) if batch.is_empty() => return Err("an empty batch".to_owned()),
        Value::Array(batch) if batch.len() > BATCH_MAX => return Err(format!("a batch of more than {BATCH_MAX}")),
        Value::Array(batch) => batch.into_iter().map(message).collect::<Result<_, _>>()?,
        one => vec![message(one)?],
    };
    Ok((messages, text.len()))
}

/// A snappy block states its length first. No element of it makes more than 64 bytes out of three, so a length that
/// the block cannot fill is refused before memory is taken for it.
fn uncompress(block: &[u8], inflated_max: usize) -> Result<Vec<u8>, String> {
    const MOST_BYTES_FROM_ONE: usize = 22;
    let stated = snap::raw::decompress_len(block).map_err(|error| format!("snappy: {error}"))?;
    if stated > inflated_max {
        return Err(too_long(inflated_max));
    }
    if stated > block.len().saturating_mul(MOST_BYTES_FROM_ONE) {
        return Err(format!("snappy: {} bytes cannot hold {stated}", block.len()));
    }
    snap::raw::Decoder::new()
        .decompress_vec(block)
        .map_err(|error| format!("snappy: {error}"))
}

fn too_long(inflated_max: usize) -> String {
    format!("more than {inflated_max} bytes of JSON")
}

fn message(value: Value) -> Result<Message, String> {
    let Value::Object(mut fields) = value else {
        return Err("a message that is no object".to_owned());
    };
    let id = fields.get("id").and_then(Value::as_u64);
    if let Some(method) = fields.get("method").and_then(Value::as_str) {
        return call(method, id, &fields);
    }
    if let Some(error) = fields.get("error").and_then(Value::as_object) {
        let code = error.get("code").and_then(Value::as_i64).unwrap_or_default();
        let message = error.get("message").and_then(Value::as_str).unwrap_or_default();
        return Ok(Message::Error {
            code,
            message: clip(message, MESSAGE_MAX),
        });
    }
    match fields.remove("result") {
        Some(Value::Object(result)) => answer(id, result),
        Some(_) => Ok(Message::Done),
        None => Err("neither a call nor an answer".to_owned()),
    }
}

fn call(method: &str, id: Option<u64>, fields: &Map<String, Value>) -> Result<Message, String> {
    // Positional parameters, of which Kong uses the first.
    let parameters = elements(fields, "params").first().and_then(Value::as_object);
    let required = || parameters.ok_or_else(|| format!("{} without parameters", clip(method, NAME_MAX)));
    match method {
        "kong.meta.v1.hello" => Ok(Message::Hello(Box::new(hello(required()?)))),
        "kong.sync.v2.get_delta" => {
            let version = namespace(required()?).and_then(|default| version(default.get("version")?));
            Ok(Message::GetDelta {
                id,
                version: version.ok_or("get_delta without a version")?,
            })
        }
        "kong.sync.v2.notify_new_version" => {
            let version = namespace(required()?).and_then(|default| version(default.get("new_version")?));
            Ok(Message::NewVersion {
                version: version.ok_or("notify_new_version without a version")?,
            })
        }
        "kong.sync.v2.notify_validation_error" => {
            let parameters = required()?;
            let error = parameters.get("error").and_then(Value::as_object);
            let mut failure = apply_failure(error.ok_or("notify_validation_error without an error")?);
            failure.version = parameters.get("version").and_then(version).or(failure.version);
            Ok(Message::ValidationError(Box::new(failure)))
        }
        other => Ok(Message::Other {
            method: clip(other, NAME_MAX),
        }),
    }
}

fn answer(id: Option<u64>, mut result: Map<String, Value>) -> Result<Message, String> {
    if result.contains_key("rpc_capabilities") {
        return Ok(Message::Welcome {
            capabilities: capabilities(&result),
        });
    }
    let Some(Value::Object(mut default)) = result.remove("default") else {
        return Ok(Message::Done);
    };
    if !default.contains_key("deltas") {
        return Ok(Message::Done);
    }
    // `wipe` is what 3.9 calls it.
    let full = ["full_sync", "wipe"]
        .iter()
        .any(|key| default.get(*key) == Some(&Value::Bool(true)));
    let deltas = match default.remove("deltas") {
        Some(Value::Array(deltas)) => deltas.into_iter().map(delta).collect::<Result<_, _>>()?,
        // An empty Lua table.
        _ => Vec::new(),
    };
    Ok(Message::Deltas { id, full, deltas })
}

fn delta(value: Value) -> Result<Delta, String> {
    let Value::Object(mut fields) = value else {
        return Err("a delta that is no object".to_owned());
    };
    let entity_type = name(&fields, "type").ok_or("a delta without a type")?;
    let version = fields
        .get("version")
        .and_then(version)
        .ok_or("a delta without a version")?;
    let entity = fields.remove("entity").filter(|entity| !entity.is_null());
    let primary_key = primary_key(fields.get("pk"), entity.as_ref()).ok_or("a delta without a key")?;
    Ok(Delta {
        entity_type,
        primary_key,
        version,
        entity,
    })
}

/// The one namespace that exists.
fn namespace(parameters: &Map<String, Value>) -> Option<&Map<String, Value>> {
    parameters.get("default")?.as_object()
}

/// A version as it stands in a node's hash slot: a text of 32 characters, or in 3.9 a number that Kong writes there as
/// `%032d` (`kong-hybrid.md` 2.5).
fn version(value: &Value) -> Option<ConfigHash> {
    match value {
        Value::String(text) => text.parse().ok(),
        Value::Number(number) => format!("{:032}", number.as_u64()?).parse().ok(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

fn hello(parameters: &Map<String, Value>) -> Introduction {
    let conf = parameters.get("kong_conf").and_then(Value::as_object);
    Introduction {
        protocol: Protocol::V2,
        node_id: name(parameters, "kong_node_id"),
        hostname: name(parameters, "kong_hostname"),
        gateway_version: name(parameters, "kong_version"),
        labels: conf.map(labels).unwrap_or_default(),
        plugins: Vec::new(),
        filters: Vec::new(),
        capabilities: capabilities(parameters),
        settings: conf.map(settings).unwrap_or_default(),
    }
}

/// `key:value` pairs, split at the first colon (`kong-hybrid.md` 1.4).
fn labels(conf: &Map<String, Value>) -> BTreeMap<String, String> {
    let pair = |value: &Value| {
        let (key, value) = value.as_str()?.split_once(':')?;
        Some((clip(key, NAME_MAX), clip(value, NAME_MAX)))
    };
    elements(conf, "cluster_dp_labels")
        .iter()
        .filter_map(pair)
        .take(LABELS_MAX)
        .collect()
}

fn capabilities(fields: &Map<String, Value>) -> Vec<String> {
    let names = elements(fields, "rpc_capabilities").iter().filter_map(Value::as_str);
    names.map(|name| clip(name, NAME_MAX)).take(CAPABILITIES_MAX).collect()
}
