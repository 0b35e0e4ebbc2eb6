//! What a simulated data plane is, and the messages in which it says so, key for key as Kong writes them
//! (`kong-hybrid.md` 1.4, 1.7, 2.2, 2.4).

use crate::kong::facts::{ApplyFailure, PluginVersion};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use thiserror::Error;
use tidemark_domain::gateway::GatewayVersion;
use tidemark_domain::hash::ConfigHash;

/// A piece of JSON that is written as it is. Shared by thousands of nodes.
pub type Json = Arc<RawValue>;

/// A data plane. What of it changes while it runs counts from its next connection on.
#[derive(Clone, Debug)]
pub struct Node {
    pub id: Box<str>,
    pub hostname: Box<str>,
    pub gateway_version: Box<str>,
    pub sync: SyncMode,
    /// `konnect_mode`: it reports a configuration that it cannot apply. Other control planes than Konnect end the
    /// connection over that.
    pub is_konnect: bool,
    pub profile: Arc<Profile>,
}

/// What many nodes say alike.
#[derive(Clone, Debug)]
pub struct Profile {
    /// An object of texts; absent without labels.
    pub labels: Option<Json>,
    /// An array of `{name, version}`.
    pub plugins: Json,
    /// Wasm filters: an object by name.
    pub filters: Json,
    /// The effective `kong.conf`.
    pub conf: Json,
    pub key_order: KeyOrder,
}

/// How a node gets its configuration (`kong-hybrid.md` 2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncMode {
    /// `/v1/outlet` alone: `cluster_rpc = off`.
    V1,
    /// The same with an RPC connection beside it that syncs nothing: `cluster_rpc = on`.
    V1WithRpc,
    /// `/v2/outlet` first; v1 in parallel only where the control plane does not offer the sync.
    V2(Flavour),
}

/// What v2 looks like (`kong-hybrid.md` 2.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavour {
    /// 3.9.x, `cluster_incremental_sync`: versions are integers, answers are deltas where that is possible.
    Integers,
    /// After it, `cluster_rpc_sync`: versions are `v02_…`, and every answer that has anything is a full sync.
    Tokens,
}

/// The order in which keys are written. Lua's tables have none, so each process of Kong has an order of its own, which
/// its objects share. Keys that are not named come last, in the order in which they are given.
#[derive(Clone, Debug, Default)]
pub struct KeyOrder(Box<[Box<str>]>);

/// Why there can be no such node.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0:?} cannot stand in Kong's request line: it must be visible ASCII without `&` and `#`, 1 to 256 characters")]
pub struct NotANode(String);

/// Plugins that come with the gateway, by name, and the first minor version of 3.x that has them. From the recorded
/// lists of 3.4.2, 3.8.1 and 3.9.3; where between two of those a plugin came is from the release notes.
const BUNDLED: [(&str, u32); 45] = [
    ("acl", 0),
    ("acme", 0),
    ("ai-prompt-decorator", 6),
    ("ai-prompt-guard", 6),
    ("ai-prompt-template", 6),
    ("ai-proxy", 6),
    ("ai-request-transformer", 6),
    ("ai-response-transformer", 6),
    ("aws-lambda", 0),
    ("azure-functions", 0),
    ("basic-auth", 0),
    ("bot-detection", 0),
    ("correlation-id", 0),
    ("cors", 0),
    ("datadog", 0),
    ("file-log", 0),
    ("grpc-gateway", 0),
    ("grpc-web", 0),
    ("hmac-auth", 0),
    ("http-log", 0),
    ("ip-restriction", 0),
    ("jwt", 0),
    ("key-auth", 0),
    ("ldap-auth", 0),
    ("loggly", 0),
    ("oauth2", 0),
    ("opentelemetry", 0),
    ("post-function", 0),
    ("pre-function", 0),
    ("prometheus", 0),
    ("proxy-cache", 0),
    ("rate-limiting", 0),
    ("redirect", 9),
    ("request-size-limiting", 0),
    ("request-termination", 0),
    ("request-transformer", 0),
    ("response-ratelimiting", 0),
    ("response-transformer", 0),
    ("session", 0),
    ("standard-webhooks", 8),
    ("statsd", 0),
    ("syslog", 0),
    ("tcp-log", 0),
    ("udp-log", 0),
    ("zipkin", 0),
];

/// The plugins that a gateway of this version comes with; each has the gateway's version.
#[must_use]
pub fn bundled_plugins(gateway_version: &GatewayVersion) -> Vec<PluginVersion> {
    let [major, minor, ..] = gateway_version.numbers();
    let is_there = |since: u32| major > 3 || (major == 3 && minor >= since);
    let plugin =
        |name: &str| PluginVersion { name: name.to_owned(), version: Some(gateway_version.as_str().to_owned()) };
    BUNDLED.iter().filter(|(_, since)| is_there(*since)).map(|(name, _)| plugin(name)).collect()
}

impl Node {
    /// A node that syncs by v1.
    ///
    /// # Errors
    /// [`NotANode`] where one of the three values would break the request line, into which Kong writes them raw.
    pub fn new(id: &str, hostname: &str, gateway_version: &str, profile: Arc<Profile>) -> Result<Self, NotANode> {
        let fits = |text: &str| {
            let visible = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'&' | b'#');
            (1..=256).contains(&text.len()) && text.bytes().all(visible)
        };
        match [id, hostname, gateway_version].into_iter().find(|text| !fits(text)) {
            Some(text) => Err(NotANode(text.to_owned())),
            None => Ok(Self {
                id: id.into(),
                hostname: hostname.into(),
                gateway_version: gateway_version.into(),
                sync: SyncMode::V1,
                is_konnect: false,
                profile,
            }),
        }
    }

    /// The first frame of v1.
    #[must_use]
    pub fn basic_info(&self) -> String {
        let Profile { labels, plugins, filters, conf, key_order } = &*self.profile;
        let mut fields = vec![
            ("type", "\"basic_info\""),
            ("plugins", plugins.get()),
            ("process_conf", conf.get()),
            ("filters", filters.get()),
        ];
        fields.extend(labels.iter().map(|labels| ("labels", labels.get())));
        key_order.object(fields)
    }

    /// The first frame of v2.
    #[must_use]
    pub fn hello(&self) -> String {
        let capabilities = if matches!(self.sync, SyncMode::V2(_)) { "[\"kong.sync.v2\"]" } else { "[]" };
        let introduction = self.order().object(vec![
            ("rpc_capabilities", capabilities),
            ("rpc_frame_encodings", "[\"x-snappy-framed\"]"),
            ("kong_version", &quoted(&self.gateway_version)),
            ("kong_hostname", &quoted(&self.hostname)),
            ("kong_node_id", &quoted(&self.id)),
            ("kong_conf", self.profile.conf.get()),
        ]);
        self.call(Some(1), "kong.meta.v1.hello", &introduction)
    }

    /// Says what the node runs and asks for what is missing; without an id it only says it.
    #[must_use]
    pub fn get_delta(&self, id: Option<u64>, flavour: Flavour, stored: ConfigHash) -> String {
        let version = version_json(flavour, stored);
        self.call(id, "kong.sync.v2.get_delta", &format!("{{\"default\":{{\"version\":{version}}}}}"))
    }

    /// Says that a version could not be applied (v2).
    #[must_use]
    pub fn validation_error(&self, version: Option<ConfigHash>, failure: &ApplyFailure) -> String {
        let version =
            version.map_or("v02_deltas_have_no_latest_version_field".to_owned(), |version| version.to_string());
        let parameters = json!({"version": version, "error": failure_json(failure, None)});
        self.call(None, "kong.sync.v2.notify_validation_error", &parameters.to_string())
    }

    /// Answers a call.
    #[must_use]
    pub fn done(&self, id: u64) -> String {
        self.order().object(vec![("jsonrpc", "\"2.0\""), ("id", &id.to_string()), ("result", "true")])
    }

    /// Answers a call of a method that the node does not have.
    #[must_use]
    pub fn method_not_found(&self, id: u64) -> String {
        let error = json!({"code": -32601, "message": "Method not found"}).to_string();
        self.order().object(vec![("jsonrpc", "\"2.0\""), ("id", &id.to_string()), ("error", &error)])
    }

    /// Says that a configuration could not be applied (v1, only in Konnect mode).
    #[must_use]
    pub fn error_frame(&self, offered: Option<ConfigHash>, failure: &ApplyFailure) -> String {
        let error = failure_json(failure, offered).to_string();
        self.order().object(vec![("type", "\"error\""), ("error", &error)])
    }

    fn call(&self, id: Option<u64>, method: &str, parameter: &str) -> String {
        let (id, method, parameters) = (id.map(|id| id.to_string()), quoted(method), format!("[{parameter}]"));
        let mut fields = vec![("jsonrpc", "\"2.0\""), ("method", &method), ("params", &parameters)];
        fields.extend(id.iter().map(|id| ("id", id.as_str())));
        self.order().object(fields)
    }

    fn order(&self) -> &KeyOrder {
        &self.profile.key_order
    }
}

impl Profile {
    /// A profile with the bundled plugins of a gateway version and the few settings that explain how a node behaves.
    #[must_use]
    pub fn bundled(gateway_version: &GatewayVersion, labels: &BTreeMap<String, String>, sync: SyncMode) -> Self {
        Self::with_plugins(&bundled_plugins(gateway_version), labels, sync)
    }

    /// The same with other plugins, which Kong sorts by name.
    #[must_use]
    pub fn with_plugins(plugins: &[PluginVersion], labels: &BTreeMap<String, String>, sync: SyncMode) -> Self {
        let plugin = |plugin: &PluginVersion| match &plugin.version {
            Some(version) => json!({"name": plugin.name, "version": version}),
            None => json!({"name": plugin.name}),
        };
        let mut conf = json!({
            "role": "data_plane",
            "database": "off",
            "cluster_mtls": "shared",
            "cluster_max_payload": crate::kong::frame::PAYLOAD_MAX,
            "cluster_cert_key": "******",
            "cluster_dp_labels": labels.iter().map(|(key, value)| format!("{key}:{value}")).collect::<Vec<_>>(),
            "cluster_rpc": sync != SyncMode::V1,
            "router_flavor": "traditional_compatible",
            "nginx_worker_processes": "auto",
        });
        match sync {
            SyncMode::V2(Flavour::Integers) => conf["cluster_incremental_sync"] = true.into(),
            SyncMode::V2(Flavour::Tokens) => conf["cluster_rpc_sync"] = true.into(),
            SyncMode::V1 | SyncMode::V1WithRpc => {}
        }
        let labels = (!labels.is_empty()).then(|| json(&json!(labels)));
        let plugins = json(&plugins.iter().map(plugin).collect());
        Self { labels, plugins, filters: json(&json!({})), conf: json(&conf), key_order: KeyOrder::default() }
    }
}

impl KeyOrder {
    /// The order of these keys.
    pub fn new<T: Into<Box<str>>>(keys: impl IntoIterator<Item = T>) -> Self {
        Self(keys.into_iter().map(Into::into).collect())
    }

    /// An object of fields whose values are JSON already.
    #[must_use]
    pub fn object(&self, mut fields: Vec<(&str, &str)>) -> String {
        let rank = |key: &str| self.0.iter().position(|named| **named == *key).unwrap_or(usize::MAX);
        fields.sort_by_key(|(key, _)| rank(key));
        let fields: Vec<String> = fields.into_iter().map(|(key, value)| format!("{}:{value}", quoted(key))).collect();
        format!("{{{}}}", fields.join(","))
    }
}

impl Flavour {
    /// The flavour that a gateway of this version speaks.
    #[must_use]
    pub fn of(gateway_version: &GatewayVersion) -> Self {
        let [major, minor, ..] = gateway_version.numbers();
        if (major, minor) < (3, 10) { Self::Integers } else { Self::Tokens }
    }
}

/// A version as it stands in a message. In 3.9 a hash that is none of its versions counts as 0.
#[must_use]
pub fn version_json(flavour: Flavour, stored: ConfigHash) -> String {
    match flavour {
        Flavour::Integers => stored.as_str().parse::<u64>().unwrap_or(0).to_string(),
        Flavour::Tokens => quoted(stored.as_str()),
    }
}

fn failure_json(failure: &ApplyFailure, offered: Option<ConfigHash>) -> Value {
    let entity = |entity: &crate::kong::facts::FailedEntity| {
        let error = json!({"type": "field", "field": entity.field, "message": entity.message});
        let mut failed = json!({"entity_type": entity.entity_type, "errors": [error]});
        for (key, value) in [("entity_id", &entity.id), ("entity_name", &entity.name)] {
            if let Some(value) = value {
                failed[key] = value.as_str().into();
            }
        }
        failed
    };
    let mut error = json!({
        "name": failure.name.as_deref().unwrap_or("generic or unknown error"),
        "source": failure.source.as_deref().unwrap_or("kong.clustering.config_helper"),
        "message": failure.message,
    });
    if let Some(offered) = offered {
        error["config_hash"] = offered.as_str().into();
    }
    if !failure.entities.is_empty() {
        error["code"] = 14.into();
        error["flattened_errors"] = failure.entities.iter().map(entity).collect();
    }
    error
}

fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// A value as a piece of JSON.
#[must_use]
pub fn json(value: &Value) -> Json {
    // What serde has written is JSON.
    serde_json::value::to_raw_value(value).map_or_else(|_| Arc::from(RawValue::NULL.to_owned()), Arc::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kong::facts::FailedEntity;
    use crate::kong::v1::{self, FromNode};
    use crate::kong::v2::{self, Encoding, Message};

    fn node() -> Node {
        let labels = BTreeMap::from([("region".to_owned(), "eu".to_owned())]);
        let version = "3.9.3".parse().unwrap();
        let profile = Profile::bundled(&version, &labels, SyncMode::V2(Flavour::Integers));
        Node::new("5a7b1c34", "dp-eu-1", "3.9.3", Arc::new(profile)).unwrap()
    }

    fn failure() -> ApplyFailure {
        ApplyFailure {
            version: None,
            name: Some("declarative configuration parse failure".into()),
            source: Some("kong.db.declarative.parse_table".into()),
            message: Some("declarative config is invalid".into()),
            entities: vec![FailedEntity {
                entity_type: Some("service".into()),
                id: Some("1".into()),
                name: None,
                field: Some("host".into()),
                message: Some("required field missing".into()),
            }],
        }
    }

    fn message(text: &str) -> Message {
        let (mut messages, _) = v2::decode(text.as_bytes(), Encoding::Plain, 1_000_000).unwrap();
        messages.remove(0)
    }

    #[test]
    fn what_a_node_says_is_what_the_decoders_read() {
        let node = node();
        let FromNode::BasicInfo(info) = v1::from_node(node.basic_info().as_bytes()).unwrap() else {
            panic!("{node:?}")
        };
        assert_eq!((info.plugins.len(), info.labels["region"].as_str()), (45, "eu"));
        let Message::Hello(hello) = message(&node.hello()) else { panic!("a hello") };
        assert_eq!((hello.node_id.as_deref(), hello.hostname.as_deref()), (Some("5a7b1c34"), Some("dp-eu-1")));
        assert_eq!(hello.labels, info.labels);
        let hash: ConfigHash = "c6ee22cecbb5f8a7714966db3931b7b1".parse().unwrap();
        let error = node.error_frame(Some(hash), &failure());
        let FromNode::Error(error) = v1::from_node(error.as_bytes()).unwrap() else { panic!("an error") };
        assert_eq!((error.version, error.entities), (Some(hash), failure().entities));
        let token = "v02_000000000000000000000000002b".parse().unwrap();
        let Message::ValidationError(error) = message(&node.validation_error(Some(token), &failure())) else {
            panic!()
        };
        assert_eq!((error.version, error.message), (Some(token), failure().message));
        let asked = Message::GetDelta { id: Some(7), version: token };
        assert_eq!(message(&node.get_delta(Some(7), Flavour::Tokens, token)), asked);
        assert_eq!(message(&node.done(3)), Message::Done);
        assert!(matches!(message(&node.method_not_found(3)), Message::Error { code: -32601, .. }));
    }

    #[test]
    fn a_version_of_3_9_is_a_number() {
        let check = |stored: &str, expected: &str| {
            assert_eq!(version_json(Flavour::Integers, stored.parse().unwrap()), expected);
        };
        check("00000000000000000000000000000012", "12");
        check("00000000000000000000000000000000", "0");
        check("c6ee22cecbb5f8a7714966db3931b7b1", "0");
    }

    #[test]
    fn keys_have_the_order_of_a_process() {
        let order = KeyOrder::new(["b", "a"]);
        assert_eq!(order.object(vec![("z", "1"), ("a", "2"), ("y", "3"), ("b", "4")]), r#"{"b":4,"a":2,"z":1,"y":3}"#);
    }

    #[test]
    fn what_would_break_the_request_line_is_no_node() {
        let profile = Arc::clone(&node().profile);
        for hostname in ["", "two words", "a\r\nHost: b", "a&node_version=1", "é", &"x".repeat(257)] {
            let refused = Node::new("1", hostname, "3.9.3", Arc::clone(&profile)).unwrap_err();
            assert_eq!(refused, NotANode(hostname.to_owned()));
        }
    }

    #[test]
    fn plugins_come_with_versions() {
        let count = |version: &str| bundled_plugins(&version.parse().unwrap()).len();
        assert_eq!([count("3.4.2"), count("3.8.1"), count("3.9.3"), count("3.10.0")], [37, 44, 45, 45]);
    }
}
