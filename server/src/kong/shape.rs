//! The shape of a configuration: how much of what it holds. A configuration that suddenly serves no host at all is
//! worth a look even where everybody has it.

use serde_json::Value;
use std::collections::{BTreeMap, HashSet};

/// Counts over one configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shape {
    /// Entities per type (the key in a v1 table, the type of a v2 delta); at most [`TYPES_MAX`] types. v1 leaves out
    /// disabled services and plugins, v2 has them (`kong-hybrid.md` 1.6, 2.4).
    pub entities: BTreeMap<String, u64>,
    /// Certificates that no SNI points to.
    pub certificates_without_snis: u64,
    /// Distinct hosts of all routes.
    pub hosts_served: u64,
    /// `rate-limiting` plugins that count in the node's own memory.
    pub local_rate_limits: u64,
}

/// Entity types that are counted; Kong has some forty.
pub const TYPES_MAX: usize = 128;

/// What one entity adds to the shape, kept so that a shape can be made anew without the entity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Counted and nothing else.
    Plain,
    Route {
        hosts: Vec<Box<str>>,
    },
    Certificate {
        id: Box<str>,
    },
    Sni {
        certificate: Box<str>,
    },
    LocalRateLimit,
}

impl Part {
    /// What an entity of a type adds. Foreign keys are plain ids in v1, `{"id": ...}` in v2.
    #[must_use]
    pub fn of(entity_type: &str, entity: &Value) -> Self {
        match entity_type {
            "routes" => {
                let hosts = entity.get("hosts").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
                Self::Route { hosts: hosts.iter().filter_map(Value::as_str).map(Box::from).collect() }
            }
            "certificates" => match id(entity) {
                Some(id) => Self::Certificate { id: id.into() },
                None => Self::Plain,
            },
            "snis" => match entity.get("certificate").and_then(id) {
                Some(certificate) => Self::Sni { certificate: certificate.into() },
                None => Self::Plain,
            },
            "plugins" if is_local_rate_limit(entity) => Self::LocalRateLimit,
            _ => Self::Plain,
        }
    }
}

impl Shape {
    /// The shape of a v1 configuration table.
    #[must_use]
    pub fn of_table(table: &serde_json::Map<String, Value>) -> Self {
        let parts: Vec<_> = table
            .iter()
            .filter_map(|(key, value)| Some((key, value.as_array()?)))
            .flat_map(|(key, entities)| entities.iter().map(move |entity| (key.as_str(), Part::of(key, entity))))
            .collect();
        Self::of_parts(parts.iter().map(|(entity_type, part)| (*entity_type, part)))
    }

    /// The shape of entities given by type and part.
    pub fn of_parts<'a>(parts: impl Iterator<Item = (&'a str, &'a Part)>) -> Self {
        let mut shape = Self::default();
        let mut hosts = HashSet::new();
        let mut certificates = HashSet::new();
        let mut with_sni = HashSet::new();
        for (entity_type, part) in parts {
            if let Some(count) = shape.entities.get_mut(entity_type) {
                *count += 1;
            } else if shape.entities.len() < TYPES_MAX {
                shape.entities.insert(entity_type.to_owned(), 1);
            }
            match part {
                Part::Plain => {}
                Part::Route { hosts: of_route } => hosts.extend(of_route),
                Part::Certificate { id } => _ = certificates.insert(id),
                Part::Sni { certificate } => _ = with_sni.insert(certificate),
                Part::LocalRateLimit => shape.local_rate_limits += 1,
            }
        }
        shape.hosts_served = hosts.len() as u64;
        shape.certificates_without_snis = certificates.difference(&with_sni).count() as u64;
        shape
    }
}

/// A row's id, or the id that a foreign key names.
fn id(value: &Value) -> Option<&str> {
    value.as_str().or_else(|| value.get("id")?.as_str())
}

fn is_local_rate_limit(plugin: &Value) -> bool {
    let policy = plugin.get("config").and_then(|config| config.get("policy")).and_then(Value::as_str);
    plugin.get("name").and_then(Value::as_str) == Some("rate-limiting") && policy == Some("local")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_table_is_counted() {
        let table = json!({
            "_format_version": "3.0",
            "routes": [
                {"id": "1", "hosts": ["a.test", "b.test"]},
                {"id": "2", "hosts": ["b.test"]},
                {"id": "3", "hosts": null},
            ],
            "certificates": [{"id": "c1"}, {"id": "c2"}, {"id": "c3"}],
            "snis": [{"id": "s1", "certificate": "c1"}, {"id": "s2", "certificate": {"id": "c2"}}],
            "plugins": [
                {"id": "p1", "name": "rate-limiting", "config": {"policy": "local"}},
                {"id": "p2", "name": "rate-limiting", "config": {"policy": "redis"}},
                {"id": "p3", "name": "acme", "config": {"policy": "local"}},
            ],
            "services": [],
        });
        let shape = Shape::of_table(table.as_object().unwrap());
        assert_eq!(shape.entities.get("routes"), Some(&3));
        assert_eq!(shape.entities.get("services"), None);
        assert_eq!(shape.entities.len(), 4);
        assert_eq!((shape.hosts_served, shape.certificates_without_snis, shape.local_rate_limits), (2, 1, 1));
    }
}
