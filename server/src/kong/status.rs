//! `/status` and `/status/ready` of any Kong (`kong-hybrid.md` 4.1), on its Status API or Admin API.

use super::facts::{NodeStatus, Readiness};
use super::text::{MESSAGE_MAX, clip};
use serde_json::Value;

/// Reads an answer of `/status`; `None` where it is not one.
#[must_use]
pub fn status(body: &Value) -> Option<NodeStatus> {
    let fields = body.as_object()?;
    let database = fields.get("database").and_then(Value::as_object);
    let status = NodeStatus {
        hash: fields.get("configuration_hash").and_then(Value::as_str).and_then(|text| text.parse().ok()),
        database_reachable: database.and_then(|database| database.get("reachable")?.as_bool()),
    };
    // What every Kong has, with or without a configuration.
    fields.contains_key("server").then_some(status)
}

/// Reads an answer of `/status/ready`: 200, or 503 with the reason; `None` where it is neither.
#[must_use]
pub fn readiness(status: u16, body: &Value) -> Option<Readiness> {
    let message = body.get("message").and_then(Value::as_str).unwrap_or_default();
    match status {
        200 => Some(Readiness::Ready),
        503 => Some(match message {
            "no configuration available (configuration hash is not initialized)" => Readiness::NoConfiguration,
            "no configuration available (empty configuration present)" => Readiness::EmptyConfiguration,
            "draining" => Readiness::Draining,
            building if building.contains("builds not yet complete") => {
                Readiness::Building { message: clip(building, MESSAGE_MAX) }
            }
            other => Readiness::NotReady { message: clip(other, MESSAGE_MAX) },
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_node_has_a_hash_and_a_control_plane_a_database() {
        let node = status(&json!({"configuration_hash": "0".repeat(32), "server": {}})).unwrap();
        assert_eq!(node.hash.map(|hash| hash.is_zeros()), Some(true));
        assert_eq!(node.database_reachable, None);
        let control_plane = status(&json!({"database": {"reachable": false}, "server": {}})).unwrap();
        assert_eq!((control_plane.hash, control_plane.database_reachable), (None, Some(false)));
        assert_eq!(status(&json!({"server": {}})).unwrap().hash, None, "before the first configuration");
        assert_eq!(status(&json!({"message": "no Route matched"})), None);
    }

    #[track_caller]
    fn check(status: u16, message: &str, expected: Option<Readiness>) {
        assert_eq!(readiness(status, &json!({"message": message})), expected);
    }

    #[test]
    fn readiness_has_a_reason() {
        check(200, "ready", Some(Readiness::Ready));
        check(503, "no configuration available (empty configuration present)", Some(Readiness::EmptyConfiguration));
        check(
            503,
            "no configuration available (configuration hash is not initialized)",
            Some(Readiness::NoConfiguration),
        );
        check(503, "draining", Some(Readiness::Draining));
        let message = "router builds not yet complete, router ready in 1 of 4 workers";
        check(503, message, Some(Readiness::Building { message: message.into() }));
        let message = "failed to connect to database";
        check(503, message, Some(Readiness::NotReady { message: message.into() }));
        check(404, "not found", None);
    }
}
