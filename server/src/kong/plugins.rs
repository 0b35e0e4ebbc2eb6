//! Which plugins keep something in the memory of a node, so that a change of them by delta is not proven to be used.
//!
//! A full sync makes a node drop all that it cached. A delta raises an event for each entity, and a plugin that does
//! not listen goes on with what it had; counters kept by `local` rate limits may be reset. Both are stated by Kong's
//! documentation of incremental sync (<https://developer.konghq.com/gateway/incremental-config-sync>, read in the
//! source of the site on 2026-08-26). Which bundled plugins are concerned is our reading of the documentation of each;
//! that one does not stand here says that we know of nothing that it keeps. Of a plugin that Kong does not bundle it is
//! not known whether it caches, so it is held to.

use super::text::{NAME_MAX, clip};
use serde_json::Value;
use std::collections::BTreeMap;
use tidemark_domain::fact::{Keeps, PluginChange};
use tidemark_domain::id::Line;

/// Plugins that keep something where one of their settings says so: name, setting, its value, what is kept. A setting
/// that is not known is held to be as Kong has it by default, which is this value in each case.
const KEEPING: [(&str, &str, &str, Keeps); 8] = [
    // https://developer.konghq.com/plugins/rate-limiting, "Strategies": counters in memory on the node.
    ("rate-limiting", "policy", "local", Keeps::Counters),
    // https://developer.konghq.com/gateway/rate-limiting/strategies lists the plugins that have the strategy.
    ("response-ratelimiting", "policy", "local", Keeps::Counters),
    ("rate-limiting-advanced", "strategy", "local", Keeps::Counters),
    ("ai-rate-limiting-advanced", "strategy", "local", Keeps::Counters),
    // https://developer.konghq.com/plugins/proxy-cache: responses in a shared dictionary.
    ("proxy-cache", "strategy", "memory", Keeps::State),
    ("proxy-cache-advanced", "strategy", "memory", Keeps::State),
    ("graphql-proxy-cache-advanced", "strategy", "memory", Keeps::State),
    // https://developer.konghq.com/plugins/acme: challenges and certificates in a shared dictionary.
    ("acme", "storage", "shm", Keeps::State),
];

/// Plugins that Kong bundles, the open ones and those of the enterprise edition, beside those above.
const BUNDLED: &[&str] = &[
    "ace",
    "acl",
    "ai-aws-guardrails",
    "ai-azure-content-safety",
    "ai-gcp-model-armor",
    "ai-lakera-guard",
    "ai-llm-as-judge",
    "ai-mcp-oauth2",
    "ai-mcp-proxy",
    "ai-prompt-compressor",
    "ai-prompt-decorator",
    "ai-prompt-guard",
    "ai-prompt-template",
    "ai-proxy",
    "ai-proxy-advanced",
    "ai-rag-injector",
    "ai-request-transformer",
    "ai-response-transformer",
    "ai-sanitizer",
    "ai-semantic-cache",
    "ai-semantic-prompt-guard",
    "ai-semantic-response-guard",
    "app-dynamics",
    "application-registration",
    "aws-lambda",
    "azure-functions",
    "basic-auth",
    "bot-detection",
    "canary",
    "confluent",
    "confluent-consume",
    "correlation-id",
    "cors",
    "datadog",
    "datakit",
    "degraphql",
    "exit-transformer",
    "file-log",
    "forward-proxy",
    "graphql-rate-limiting-advanced",
    "grpc-gateway",
    "grpc-web",
    "header-cert-auth",
    "hmac-auth",
    "http-log",
    "injection-protection",
    "ip-restriction",
    "jq",
    "json-threat-protection",
    "jwe-decrypt",
    "jwt",
    "jwt-signer",
    "kafka-consume",
    "kafka-log",
    "kafka-upstream",
    "key-auth",
    "key-auth-enc",
    "ldap-auth",
    "ldap-auth-advanced",
    "loggly",
    "metering-and-billing",
    "mocking",
    "mtls-auth",
    "oas-validation",
    "oauth2",
    "oauth2-introspection",
    "opa",
    "openid-connect",
    "opentelemetry",
    "post-function",
    "pre-function",
    "prometheus",
    "redirect",
    "request-callout",
    "request-size-limiting",
    "request-termination",
    "request-transformer",
    "request-transformer-advanced",
    "request-validator",
    "response-transformer",
    "response-transformer-advanced",
    "route-by-header",
    "route-transformer-advanced",
    "saml",
    "service-protection",
    "session",
    "solace-consume",
    "solace-log",
    "solace-upstream",
    "standard-webhooks",
    "statsd",
    "statsd-advanced",
    "syslog",
    "tcp-log",
    "tls-handshake-modifier",
    "tls-metadata-headers",
    "udp-log",
    "upstream-oauth",
    "upstream-timeout",
    "vault-auth",
    "websocket-size-limit",
    "websocket-validator",
    "xml-threat-protection",
    "zipkin",
];

/// What a plugin keeps in a node's memory, by its name and, where that is known, its configuration.
#[must_use]
pub fn keeps(name: &str, config: Option<&Value>) -> Keeps {
    if let Some((_, setting, value, kept)) = KEEPING.iter().find(|(plugin, ..)| *plugin == name) {
        let said = config.and_then(|config| config.get(*setting)).and_then(Value::as_str);
        return if said.is_none_or(|said| said == *value) { *kept } else { Keeps::Nothing };
    }
    if BUNDLED.binary_search(&name).is_ok() { Keeps::Nothing } else { Keeps::State }
}

/// The plugins that entities were made or changed of, each name once, with the most that one of them keeps. What was
/// deleted keeps nothing that could be used.
pub fn changed<'a>(entities: impl Iterator<Item = (&'a str, Option<&'a Value>)>) -> Vec<PluginChange> {
    let plugins = entities.filter(|(entity_type, _)| *entity_type == "plugins").filter_map(|(_, entity)| entity);
    let mut by_name: BTreeMap<Line, Keeps> = BTreeMap::new();
    for plugin in plugins {
        let Some(name) = plugin.get("name").and_then(Value::as_str) else { continue };
        let kept = keeps(name, plugin.get("config"));
        if let Some(line) = Line::from_outside(&clip(name, NAME_MAX)) {
            let known = by_name.entry(line).or_insert(kept);
            *known = (*known).max(kept);
        }
    }
    let changes = by_name.into_iter().map(|(name, keeps)| PluginChange { name, keeps });
    changes.take(PluginChange::MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_a_plugin_keeps_hangs_on_its_settings() {
        #[track_caller]
        fn check(name: &str, config: Option<Value>, expected: Keeps) {
            assert_eq!(keeps(name, config.as_ref()), expected, "{name} {config:?}");
        }
        check("rate-limiting", Some(json!({"policy": "local"})), Keeps::Counters);
        check("rate-limiting", Some(json!({"policy": "redis"})), Keeps::Nothing);
        check("rate-limiting", Some(json!({"minute": 5})), Keeps::Counters);
        check("rate-limiting", None, Keeps::Counters);
        check("rate-limiting-advanced", Some(json!({"strategy": "redis"})), Keeps::Nothing);
        check("rate-limiting-advanced", Some(json!({"strategy": "local"})), Keeps::Counters);
        check("proxy-cache", Some(json!({"strategy": "memory"})), Keeps::State);
        check("acme", Some(json!({"storage": "redis"})), Keeps::Nothing);
        check("key-auth", Some(json!({"policy": "local"})), Keeps::Nothing);
        check("zipkin", None, Keeps::Nothing);
        check("ace", None, Keeps::Nothing);
        check("our-own-plugin", None, Keeps::State);
        check("our-own-plugin", Some(json!({})), Keeps::State);
    }

    #[test]
    fn bundled_plugins_are_in_order_and_told_once() {
        assert!(BUNDLED.is_sorted_by(|one, other| one < other), "they are searched by halving");
        assert!(KEEPING.iter().all(|(name, ..)| BUNDLED.binary_search(name).is_err()));
    }

    #[test]
    fn changes_name_each_plugin_once_with_the_most_that_it_keeps() {
        let entities = [
            ("plugins", Some(json!({"name": "rate-limiting", "config": {"policy": "redis"}}))),
            ("plugins", Some(json!({"name": "rate-limiting", "config": {"policy": "local"}}))),
            ("plugins", Some(json!({"name": "cors"}))),
            ("plugins", None),
            ("routes", Some(json!({"name": "rate-limiting"}))),
        ];
        let changes = changed(entities.iter().map(|(kind, entity)| (*kind, entity.as_ref())));
        let said: Vec<_> = changes.iter().map(|change| (change.name.as_str(), change.keeps)).collect();
        assert_eq!(said, [("cors", Keeps::Nothing), ("rate-limiting", Keeps::Counters)]);
        let many: Vec<Value> = (0..99).map(|number| json!({"name": format!("p{number}")})).collect();
        assert_eq!(changed(many.iter().map(|plugin| ("plugins", Some(plugin)))).len(), PluginChange::MAX);
    }
}
