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
    Deltas { id: Option<u64>, full: bool, deltas: Vec<Delta> },
    /// The control plane has a new version.
    NewVersion { id: Option<u64>, version: ConfigHash },
    /// The node could not apply a version.
    ValidationError(Box<ApplyFailure>),
    /// An answer that carries nothing of interest, e.g. `true`.
    Done,
    /// A call failed.
    Error { code: i64, message: String },
    /// A method that is not about configuration, e.g. `kong.debug.log_level.v1.get_log_level`.
    Other { id: Option<u64>, method: String },
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
    snap::raw::Decoder::new().decompress_vec(block).map_err(|error| format!("snappy: {error}"))
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
        return Ok(Message::Error { code, message: clip(message, MESSAGE_MAX) });
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
            Ok(Message::GetDelta { id, version: version.ok_or("get_delta without a version")? })
        }
        "kong.sync.v2.notify_new_version" => {
            let version = namespace(required()?).and_then(|default| version(default.get("new_version")?));
            Ok(Message::NewVersion { id, version: version.ok_or("notify_new_version without a version")? })
        }
        "kong.sync.v2.notify_validation_error" => {
            let parameters = required()?;
            let error = parameters.get("error").and_then(Value::as_object);
            let mut failure = apply_failure(error.ok_or("notify_validation_error without an error")?);
            failure.version = parameters.get("version").and_then(version).or(failure.version);
            Ok(Message::ValidationError(Box::new(failure)))
        }
        other => Ok(Message::Other { id, method: clip(other, NAME_MAX) }),
    }
}

fn answer(id: Option<u64>, mut result: Map<String, Value>) -> Result<Message, String> {
    if result.contains_key("rpc_capabilities") {
        return Ok(Message::Welcome { capabilities: capabilities(&result) });
    }
    let Some(Value::Object(mut default)) = result.remove("default") else {
        return Ok(Message::Done);
    };
    if !default.contains_key("deltas") {
        return Ok(Message::Done);
    }
    // `wipe` is what 3.9 calls it.
    let full = ["full_sync", "wipe"].iter().any(|key| default.get(*key) == Some(&Value::Bool(true)));
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
    let version = fields.get("version").and_then(version).ok_or("a delta without a version")?;
    let entity = fields.remove("entity").filter(|entity| !entity.is_null());
    let primary_key = primary_key(fields.get("pk"), entity.as_ref()).ok_or("a delta without a key")?;
    Ok(Delta { entity_type, primary_key, version, entity })
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
    elements(conf, "cluster_dp_labels").iter().filter_map(pair).take(LABELS_MAX).collect()
}

fn capabilities(fields: &Map<String, Value>) -> Vec<String> {
    let names = elements(fields, "rpc_capabilities").iter().filter_map(Value::as_str);
    names.map(|name| clip(name, NAME_MAX)).take(CAPABILITIES_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    const MAX: usize = 1_000_000;

    fn plain(message: &Value) -> Message {
        let (mut messages, _) = decode(message.to_string().as_bytes(), Encoding::Plain, MAX).unwrap();
        assert_eq!(messages.len(), 1);
        messages.remove(0)
    }

    #[track_caller]
    fn refused(payload: &[u8], encoding: Encoding, why: &str) {
        let error = decode(payload, encoding, 1_000).unwrap_err();
        assert!(error.contains(why), "{error}");
    }

    /// `kong-hybrid.md` 2.3.
    #[test]
    fn the_check_vector_is_a_snappy_block() {
        let block = [b"\x26\x94".as_slice(), br#"{"jsonrpc":"2.0","id":1,"result":true}"#].concat();
        assert_eq!(decode(&block, Encoding::Snappy, MAX), Ok((vec![Message::Done], 38)));
    }

    /// `kong-hybrid.md` 2.2.
    #[test]
    fn a_hello_says_who_it_is() {
        let labels = ["region:eu", "url:http://x"];
        let parameters = json!({
            "rpc_capabilities": ["kong.sync.v2"], "rpc_frame_encodings": ["x-snappy-framed"],
            "kong_version": "3.10.0", "kong_hostname": "dp-eu-1", "kong_node_id": "5a7b1c34",
            "kong_conf": {"role": "data_plane", "cluster_dp_labels": labels, "cluster_cert_key": "******"},
        });
        let hello = plain(&json!({"id": 1, "method": "kong.meta.v1.hello", "params": [parameters]}));
        let Message::Hello(hello) = hello else { panic!("a hello") };
        assert_eq!(hello.node_id.as_deref(), Some("5a7b1c34"));
        assert_eq!(hello.labels.get("url").map(String::as_str), Some("http://x"), "split at the first colon");
        assert_eq!(hello.capabilities, ["kong.sync.v2"]);
        assert_eq!(hello.settings.len(), 1);
        let welcome =
            plain(&json!({"id": 1, "result": {"rpc_capabilities": {}, "rpc_frame_encoding": "x-snappy-framed"}}));
        assert_eq!(welcome, Message::Welcome { capabilities: vec![] });
    }

    #[test]
    fn versions_are_texts_or_numbers() {
        let asked = |version: Value| {
            plain(&json!({"id": 7, "method": "kong.sync.v2.get_delta", "params": [{"default": {"version": version}}]}))
        };
        let version = "00000000000000000000000000000012".parse().unwrap();
        assert_eq!(asked(json!(12)), Message::GetDelta { id: Some(7), version });
        let token = "v02_000000000000000000000000002a";
        assert_eq!(asked(json!(token)), Message::GetDelta { id: Some(7), version: token.parse().unwrap() });
        let report = json!({"method": "kong.sync.v2.get_delta", "params": [{"default": {"version": 12}}]});
        assert_eq!(plain(&report), Message::GetDelta { id: None, version });
        let notify =
            json!({"id": 0, "method": "kong.sync.v2.notify_new_version", "params": [{"default": {"new_version": 12}}]});
        assert_eq!(plain(&notify), Message::NewVersion { id: Some(0), version });
    }

    /// `kong-hybrid.md` 2.4, and 3.9's `wipe`.
    #[test]
    fn an_answer_has_deltas_or_none() {
        let answer = |default: Value| plain(&json!({"id": 0, "result": {"default": default}}));
        let none = |full| Message::Deltas { id: Some(0), full, deltas: vec![] };
        assert_eq!(answer(json!({"deltas": {}, "full_sync": false})), none(false));
        assert_eq!(answer(json!({"deltas": [], "wipe": true})), none(true));
        let version = "v02_000000000000000000000000002a";
        let delta = |entity: Value| -> Value {
            json!({"type": "services", "version": version, "ws_id": "w", "pk": {"id": "1"}, "entity": entity})
        };
        let both =
            answer(json!({"deltas": [delta(json!({"id": "1", "port": 1})), delta(json!(null))], "full_sync": false}));
        let Message::Deltas { deltas, .. } = both else { panic!("deltas") };
        assert_eq!(
            deltas.iter().map(|delta| (delta.primary_key.as_str(), delta.entity.is_some())).collect::<Vec<_>>(),
            [("1", true), ("1", false)]
        );
        let parameter = json!({"type": "parameters", "version": 1, "entity": {"key": "cluster_id", "value": "x"}});
        let Message::Deltas { deltas, .. } = answer(json!({"deltas": [parameter], "wipe": true})) else { panic!() };
        assert_eq!(deltas[0].primary_key, "cluster_id");
    }

    #[test]
    fn a_validation_error_names_the_version_where_it_knows_it() {
        let error = json!({"name": "sync deltas parse failure", "message": "sync deltas is invalid: ...",
            "flattened_errors": [{"entity_type": "route", "entity_id": "2", "errors": {}}]});
        let report = |version: &str| {
            let parameters = json!({"version": version, "error": error});
            let method = "kong.sync.v2.notify_validation_error";
            match plain(&json!({"method": method, "params": [parameters]})) {
                Message::ValidationError(failure) => *failure,
                other => panic!("{other:?}"),
            }
        };
        assert!(report("v02_000000000000000000000000002b").version.is_some());
        let unknown = report("v02_deltas_have_no_latest_version_field");
        assert_eq!((unknown.version, unknown.entities.len()), (None, 1));
    }

    #[test]
    fn errors_batches_and_other_methods_are_understood() {
        let error =
            json!({"id": 3, "error": {"code": -32000, "message": "default namespace does not exist inside params"}});
        assert!(matches!(plain(&error), Message::Error { code: -32000, .. }));
        let other = json!({"id": 3, "method": "kong.debug.log_level.v1.get_log_level"});
        assert!(matches!(plain(&other), Message::Other { .. }));
        let batch = json!([{"id": 1, "result": true}, {"id": 2, "result": null}]);
        assert_eq!(decode(batch.to_string().as_bytes(), Encoding::Plain, MAX).unwrap().0.len(), 2);
    }

    #[test]
    fn frames_that_are_none_are_refused_with_a_reason() {
        refused(b"[]", Encoding::Plain, "empty batch");
        refused(b"{}", Encoding::Plain, "neither");
        refused(b"[1]", Encoding::Plain, "no object");
        refused(&[b' '; 1_001], Encoding::Plain, "more than 1000");
        refused(b"", Encoding::Snappy, "snappy");
        refused(br#"{"id":1,"method":"kong.sync.v2.get_delta","params":[]}"#, Encoding::Plain, "without parameters");
        refused(br#"{"id":1,"method":"kong.sync.v2.get_delta","params":[{}]}"#, Encoding::Plain, "without a version");
        refused(
            br#"{"id":1,"result":{"default":{"deltas":[{"type":"x","version":1}]}}}"#,
            Encoding::Plain,
            "without a key",
        );
    }

    #[test]
    fn a_block_that_claims_more_than_it_can_hold_takes_no_memory() {
        // 64 MiB claimed by five bytes.
        let claim = [0x80, 0x80, 0x80, 0x20, 0x00];
        assert!(decode(&claim, Encoding::Snappy, 1 << 30).unwrap_err().contains("cannot hold"));
        refused(&claim, Encoding::Snappy, "more than 1000");
        let zeros = snap::raw::Encoder::new().compress_vec(&vec![b' '; 900_000]).unwrap();
        assert!(decode(&zeros, Encoding::Snappy, MAX).unwrap_err().contains("EOF"), "the densest block is let through");
    }

    proptest! {
        #[test]
        fn no_frame_is_too_strange(payload in prop::collection::vec(any::<u8>(), 0..300), text in "\\PC{0,200}") {
            for encoding in [Encoding::Plain, Encoding::Snappy] {
                _ = decode(&payload, encoding, MAX);
            }
            let block = snap::raw::Encoder::new().compress_vec(text.as_bytes()).unwrap();
            prop_assert_eq!(decode(&block, Encoding::Snappy, MAX), decode(text.as_bytes(), Encoding::Plain, MAX));
        }
    }
}
