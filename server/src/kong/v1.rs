//! Frames of protocol v1 (`kong-hybrid.md` 1.4, 1.6, 1.7): what a node and its control plane write on `/v1/outlet`.

use super::digest::BehaviourDigest;
use super::facts::{
    ApplyFailure, FAILED_ENTITIES_MAX, FailedEntity, Introduction, Offer, PluginVersion, Protocol, UnreadOffer,
};
use super::glance::Glance;
use super::hash::{SectionHashes, table_hashes};
use super::outline::Outline;
use super::shape::Shape;
use super::text::{MESSAGE_MAX, NAME_MAX, clip, elements, message, name, seconds_as_ms};
use super::{cluster, json};
use flate2::bufread::MultiGzDecoder;
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
    /// A reconfigure frame that is too large to be read: its JSON was passed by, and not kept.
    TooLarge(UnreadOffer),
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
            let error = frame.get("error").and_then(Value::as_object).ok_or("an error frame without an error")?;
            Ok(FromNode::Error(Box::new(apply_failure(error))))
        }
        Some(other) => Err(format!("a frame of type {:?}", clip(other, 64))),
        None => Err("a frame without a type".to_owned()),
    }
}

/// What a frame may inflate to so that it is looked at: Kong's nodes read no frame of as many bytes on the wire.
const STREAMED_MAX: u64 = 1 << 31;
/// Nor more than so many times its own length, beyond what is kept: configurations inflate ten- to fortyfold, and gzip has no
/// more than 1032 to give. So the time that a frame takes is bounded by its length.
const INFLATION_MAX: u64 = 200;
/// Of a frame that is not kept, so much is in memory at a time.
const PIECE: usize = 64 * 1024;

/// Reads a binary frame of a control plane: gzip of JSON. More than `inflated_max` bytes of it are not kept: then only what
/// the frame says of itself is known.
///
/// # Errors
/// Says what is wrong with the frame.
pub fn from_control_plane(payload: &[u8], inflated_max: usize) -> Result<FromControlPlane, String> {
    let mut bytes = MultiGzDecoder::new(payload);
    let mut text = Vec::new();
    bytes.by_ref().take(inflated_max as u64 + 1).read_to_end(&mut text).map_err(gzip)?;
    if text.len() > inflated_max {
        return glance_at(bytes, text, payload.len());
    }
    let Value::Object(frame) = json::parse(&text)? else {
        return Err("not an object".to_owned());
    };
    match frame.get("type").and_then(Value::as_str) {
        Some("reconfigure") => reconfigure(frame, payload.len(), text.len()),
        Some(other) => Ok(FromControlPlane::Ignored { kind: clip(other, NAME_MAX) }),
        None => Err("a frame without a type".to_owned()),
    }
}

fn gzip(error: std::io::Error) -> String {
    format!("gzip: {error}")
}

/// What a frame says of itself whose JSON begins with `start`; the rest of it is not kept.
fn glance_at(mut bytes: MultiGzDecoder<&[u8]>, start: Vec<u8>, frame_bytes: usize) -> Result<FromControlPlane, String> {
    let mut glance = Glance::default();
    glance.take(&start);
    let mut json_bytes = start.len() as u64;
    drop(start);
    let mut piece = vec![0; PIECE];
    loop {
        let deflated = (frame_bytes - bytes.get_ref().len()) as u64;
        if json_bytes > deflated.saturating_mul(INFLATION_MAX) || json_bytes > STREAMED_MAX {
            return Err(format!("inflates to more than {json_bytes} bytes, which no configuration does"));
        }
        let read = bytes.read(&mut piece).map_err(gzip)?;
        if read == 0 {
            break;
        }
        glance.take(&piece[..read]);
        json_bytes += read as u64;
    }
    let said = glance.end()?;
    match said.kind.as_deref() {
        Some("reconfigure") if !said.has_table => Err("a reconfigure frame without a configuration".to_owned()),
        Some("reconfigure") => {
            let why = || format!("inflates to {json_bytes} bytes, which are not kept, and states no hash");
            let stated = said.stated.ok_or_else(why)?;
            let (exported_at_ms, frame_bytes) = (said.exported_at_ms, frame_bytes as u64);
            Ok(FromControlPlane::TooLarge(UnreadOffer { stated, exported_at_ms, frame_bytes, json_bytes }))
        }
        Some(other) => Ok(FromControlPlane::Ignored { kind: clip(other, NAME_MAX) }),
        None => Err("a frame without a type".to_owned()),
    }
}

/// Reads the payload of a heartbeat: exactly the 32 characters of the stored hash.
///
/// # Errors
/// Says what is wrong with the payload; a control plane ends the connection on it.
pub fn heartbeat(payload: &[u8]) -> Result<ConfigHash, String> {
    let text = std::str::from_utf8(payload).map_err(|_| "a ping that is no text".to_owned())?;
    text.parse().map_err(|_| format!("a ping of {} bytes that are no hash", payload.len()))
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
    table.iter().all(|(key, value)| key == "workspaces" || key.starts_with('_') || is_empty(value))
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
        Some(PluginVersion { name: name(fields, "name")?, version: name(fields, "version") })
    };
    let filters = frame.get("filters").and_then(Value::as_object);
    Introduction {
        protocol: Protocol::V1,
        node_id: None,
        hostname: None,
        gateway_version: None,
        labels: frame.get("labels").and_then(Value::as_object).map(labels).unwrap_or_default(),
        plugins: elements(frame, "plugins").iter().filter_map(plugin).take(PLUGINS_MAX).collect(),
        filters: filters.map_or_else(Vec::new, |filters| {
            filters.keys().take(PLUGINS_MAX).map(|name| clip(name, NAME_MAX)).collect()
        }),
        capabilities: Vec::new(),
        settings: frame.get("process_conf").and_then(Value::as_object).map(settings).unwrap_or_default(),
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
    SETTINGS.into_iter().filter_map(|key| Some((key, text(conf.get(key)?)?))).collect()
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
        entities: elements(error, "flattened_errors").iter().filter_map(failed).take(FAILED_ENTITIES_MAX).collect(),
    }
}

/// A complaint is a text, or several about one field.
fn complaint(error: &Map<String, Value>) -> Option<String> {
    let texts = || error.get("messages")?.as_array()?.iter().find_map(Value::as_str);
    let text = error.get("message").and_then(Value::as_str).or_else(texts)?;
    Some(clip(text, MESSAGE_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{Compression, write::GzEncoder};
    use proptest::prelude::*;
    use serde_json::json;
    use sha2::{Digest, Sha256};
    use std::io::Write;

    const MAX: usize = 1_000_000;

    fn gzip(text: &str) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    }

    fn offer(frame: &Value) -> Offer {
        match from_control_plane(&gzip(&frame.to_string()), MAX).unwrap() {
            FromControlPlane::Reconfigure(offer) => *offer,
            other => panic!("{other:?}"),
        }
    }

    /// `kong-hybrid.md` 1.4.
    #[test]
    fn basic_info_says_what_a_node_has_and_none_of_its_secrets() {
        let frame = json!({"type": "basic_info",
            "plugins": [{"name": "acl", "version": "3.9.1"}, {"name": "my-plugin"}, {"version": "1"}],
            "process_conf": {"role": "data_plane", "prefix": "/usr/local/kong", "cluster_max_payload": 16_777_216,
                "konnect_mode": false, "cluster_dp_labels": ["region:eu"], "cluster_cert_key": "******"},
            "filters": {"waf": {"name": "waf"}}, "labels": {"region": "eu", "tier": "edge"}});
        let FromNode::BasicInfo(info) = from_node(frame.to_string().as_bytes()).unwrap() else { panic!("basic info") };
        assert_eq!(info.labels.get("tier").map(String::as_str), Some("edge"));
        assert_eq!(info.plugins.len(), 2);
        assert_eq!((info.plugins[1].name.as_str(), &info.plugins[1].version), ("my-plugin", &None));
        assert_eq!(info.filters, ["waf"]);
        let settings: Vec<_> = info.settings.iter().map(|(key, value)| format!("{key}={value}")).collect();
        assert_eq!(settings, ["cluster_max_payload=16777216", "konnect_mode=false", "role=data_plane"]);
    }

    #[test]
    fn a_small_basic_info_is_enough() {
        let FromNode::BasicInfo(info) = from_node(br#"{"type":"basic_info","plugins":{}}"#).unwrap() else { panic!() };
        assert_eq!((info.plugins.len(), info.labels.len(), info.settings.len()), (0, 0, 0));
    }

    /// `kong-hybrid.md` 1.7.
    #[test]
    fn an_error_names_the_entity_and_the_field() {
        let frame = json!({"type": "error", "error": {"name": "declarative configuration parse failure",
            "source": "kong.db.declarative.parse_table", "message": "declarative config is invalid: ...",
            "config_hash": "c6ee22cecbb5f8a7714966db3931b7b1", "code": 14, "fields": {},
            "flattened_errors": [{"entity_type": "service", "entity_id": "11", "entity_name": "orders",
                "errors": [{"type": "field", "field": "host", "message": "required field missing"}]}]}});
        let FromNode::Error(failure) = from_node(frame.to_string().as_bytes()).unwrap() else { panic!("an error") };
        assert_eq!(failure.version.unwrap().as_str(), "c6ee22cecbb5f8a7714966db3931b7b1");
        assert_eq!(failure.name.as_deref(), Some("declarative configuration parse failure"));
        let [entity] = failure.entities.as_slice() else { panic!("one entity") };
        assert_eq!((entity.name.as_deref(), entity.field.as_deref()), (Some("orders"), Some("host")));
        assert_eq!(entity.message.as_deref(), Some("required field missing"));
    }

    #[test]
    fn an_offer_states_a_hash_and_has_one() {
        let table = json!({"_format_version": "3.0", "services": [{"id": "1", "port": 80}],
            "parameters": [{"key": "other", "value": "x"}, {"key": "cluster_id", "value": "3a4b", "created_at": null}]});
        let recomputed = table_hashes(table.as_object().unwrap()).config;
        let frame = json!({"type": "reconfigure", "timestamp": 1_763_628_001.417,
            "config_hash": recomputed.as_str(), "config_table": table});
        let offer = offer(&frame);
        assert_eq!((offer.stated, offer.is_trimmed()), (Some(recomputed), Some(false)));
        assert_eq!(offer.exported_at_ms, Some(1_763_628_001_417));
        assert_eq!(offer.cluster_id.as_deref(), Some("3a4b"));
        assert!(!offer.only_workspaces && offer.stated_sections.is_none());
        assert_eq!(offer.json_bytes, frame.to_string().len() as u64);
    }

    #[test]
    fn a_hash_of_another_algorithm_tells_nothing_of_trimming() {
        let with = |hash: Option<&str>| offer(&json!({"type": "reconfigure", "config_hash": hash, "config_table": {}}));
        assert_eq!(with(None).is_trimmed(), None);
        assert_eq!(with(None).reported_as().as_str(), "00000000000000000000000000000000");
        assert_eq!(with(Some("1f74d9c7023b53991f74d9c7023b5399")).is_trimmed(), None, "twice the same half");
        assert_eq!(with(Some("c6ee22cecbb5f8a7714966db3931b7b1")).is_trimmed(), Some(true));
        assert_eq!(with(Some("too short")).stated, None);
    }

    #[test]
    fn nothing_but_workspaces_is_reported_as_zeros() {
        let hash = "f9a3b5ab68128f93d9e82ff8398b463e";
        let with = |table: Value| offer(&json!({"type": "reconfigure", "config_hash": hash, "config_table": table}));
        let workspaces =
            json!({"_format_version": "3.0", "_transform": false, "workspaces": [{"id": "1"}], "services": {}});
        assert!(with(workspaces).reported_as().is_zeros());
        assert_eq!(
            with(json!({"workspaces": [{"id": "1"}], "parameters": [{"key": "x"}]})).reported_as().as_str(),
            hash
        );
    }

    /// A configuration of so many services that no two of them are alike.
    fn large(services: usize, hash: Option<&str>) -> Value {
        let service = |number: usize| {
            let id = format!("{:x}", Sha256::digest(number.to_be_bytes()));
            json!({"id": id, "host": format!("{}.internal", &id[..20]), "port": number % 65_536})
        };
        let services: Vec<Value> = (0..services).map(service).collect();
        json!({"type": "reconfigure", "timestamp": 5.5, "config_hash": hash, "config_table": {"services": services}})
    }

    #[test]
    fn what_is_too_large_to_be_kept_says_its_hash_and_its_size() {
        let frame = large(5_000, Some("c6ee22cecbb5f8a7714966db3931b7b1")).to_string();
        let packed = gzip(&frame);
        let expected = UnreadOffer {
            stated: "c6ee22cecbb5f8a7714966db3931b7b1".parse().unwrap(),
            exported_at_ms: Some(5_500),
            frame_bytes: packed.len() as u64,
            json_bytes: frame.len() as u64,
        };
        for max in [0, 1, 1_000, frame.len() - 1] {
            assert_eq!(from_control_plane(&packed, max), Ok(FromControlPlane::TooLarge(expected.clone())), "{max}");
        }
        let whole = from_control_plane(&packed, frame.len());
        assert!(matches!(whole, Ok(FromControlPlane::Reconfigure(_))), "{whole:?}");
        let cut = from_control_plane(&packed[..packed.len() - 100], 1_000).unwrap_err();
        assert!(cut.starts_with("gzip"), "{cut}");
        let nameless = from_control_plane(&gzip(&large(100, None).to_string()), 1_000).unwrap_err();
        assert!(nameless.contains("states no hash"), "{nameless}");
    }

    #[test]
    fn a_bomb_is_given_up_by_its_length_and_not_by_what_it_inflates_to() {
        let mut frame = large(100, Some("c6ee22cecbb5f8a7714966db3931b7b1"));
        frame["bomb"] = " ".repeat(50 << 20).into();
        let bomb = gzip(&frame.to_string());
        let error = from_control_plane(&bomb, 1 << 20).unwrap_err();
        let (_, rest) = error.split_once("more than ").unwrap();
        let inflated: usize = rest.split_once(' ').unwrap().0.parse().unwrap();
        assert!(inflated < (1 << 20) + 200 * bomb.len(), "{error}");
    }

    #[test]
    fn frames_that_are_none_are_refused_with_a_reason() {
        let check = |payload: &[u8], max, why: &str| {
            let error = from_control_plane(payload, max).unwrap_err();
            assert!(error.contains(why), "{error}");
        };
        check(b"{}", MAX, "gzip");
        check(&gzip("[]"), MAX, "not an object");
        check(&gzip("{"), MAX, "EOF");
        check(&gzip(r#"{"type":"reconfigure"}"#), MAX, "without a configuration");
        check(&gzip(&" ".repeat(101)), 100, "ends too early");
        check(&gzip(&"[".repeat(5_000)), MAX, "recursion");
        assert!(matches!(from_control_plane(&gzip(r#"{"type":"x"}"#), MAX), Ok(FromControlPlane::Ignored { .. })));
        assert!(from_node(b"\xff").is_err() && from_node(br#"{"type":"x"}"#).is_err());
        assert!(heartbeat(&[b'0'; 31]).is_err() && heartbeat(&[0xff; 32]).is_err());
    }

    proptest! {
        #[test]
        fn no_frame_is_too_strange(payload in prop::collection::vec(any::<u8>(), 0..300), text in "\\PC{0,200}") {
            _ = (from_node(&payload), from_control_plane(&payload, MAX), heartbeat(&payload));
            _ = (from_node(text.as_bytes()), from_control_plane(&gzip(&text), MAX));
            let table = json!({"services": [text], "routes": text});
            _ = offer(&json!({"type": "reconfigure", "config_hash": text, "config_table": table}));
        }
    }
}
