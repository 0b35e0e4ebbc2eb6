//! The simplest thing that can be published: a configuration table as v1 has it, from a file or a recording, that somebody
//! replaces as a whole. What v2 needs follows from it.

use super::node::{Json, json};
use super::publishing::{Change, Export, FullSync, Publishing, Rendering};
use crate::kong::facts::Introduction;
use parking_lot::Mutex;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, OnceLock};
use tidemark_domain::time::Timestamp;
use tokio::sync::watch;

/// A configuration table with its versions. Every node gets the same: nothing is trimmed.
pub struct Table {
    gateway_version: Arc<str>,
    state: Mutex<State>,
    changes: watch::Sender<u64>,
}

struct State {
    table: Arc<Map<String, Value>>,
    /// The changes of the last replacements.
    remembered: VecDeque<Arc<Change>>,
    /// Whether changes older than `remembered` were forgotten, and up to which version.
    forgotten_to: u64,
}

/// Changes that are remembered for deltas; who needs more gets a full sync.
const REMEMBERED_MAX: usize = 10_000;

/// Fields that name another entity: an id in v1, an object with the id in v2 (`kong-hybrid.md` 2.4).
const FOREIGN_KEYS: [&str; 8] =
    ["service", "route", "consumer", "consumer_group", "upstream", "certificate", "client_certificate", "set"];

struct Snapshot {
    table: Arc<Map<String, Value>>,
    version: u64,
    at: Timestamp,
    gateway_version: Arc<str>,
    rendering: OnceLock<Arc<Rendering>>,
    full_sync: OnceLock<Arc<FullSync>>,
}

impl Table {
    /// A control plane of this version that has this table, at version 0.
    #[must_use]
    pub fn new(gateway_version: &str, table: Map<String, Value>) -> Arc<Self> {
        let state = State { table: Arc::new(table), remembered: VecDeque::new(), forgotten_to: 0 };
        Arc::new(Self {
            gateway_version: gateway_version.into(),
            state: Mutex::new(state),
            changes: watch::channel(0).0,
        })
    }

    /// Puts another table in its place, as one version.
    pub fn replace(&self, table: Map<String, Value>) {
        let mut state = self.state.lock();
        let before = std::mem::replace(&mut state.table, Arc::new(table));
        let version = *self.changes.borrow() + 1;
        let changes = changes(&before, &state.table, version);
        state.remembered.extend(changes.into_iter().map(Arc::new));
        while state.remembered.len() > REMEMBERED_MAX {
            let forgotten = state.remembered.pop_front().map_or(0, |change| change.version);
            state.forgotten_to = forgotten;
        }
        // Under the lock, so that the version and the table belong together.
        self.changes.send_replace(version);
    }
}

impl Publishing for Table {
    fn export(&self, at: Timestamp) -> Arc<dyn Export> {
        let state = self.state.lock();
        Arc::new(Snapshot {
            table: Arc::clone(&state.table),
            version: *self.changes.borrow(),
            at,
            gateway_version: Arc::clone(&self.gateway_version),
            rendering: OnceLock::new(),
            full_sync: OnceLock::new(),
        })
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn changes_since(&self, version: u64) -> Option<Vec<Arc<Change>>> {
        let state = self.state.lock();
        let newer = || state.remembered.iter().filter(|change| change.version > version).cloned().collect();
        (version >= state.forgotten_to).then(newer)
    }
}

impl Export for Snapshot {
    fn rendering(&self, _to: &Introduction) -> Arc<Rendering> {
        let render = || Arc::new(Rendering::of_table(&self.table, &self.gateway_version, self.at));
        Arc::clone(self.rendering.get_or_init(render))
    }

    fn full_sync(&self, _to: &Introduction) -> Arc<FullSync> {
        let make = || {
            let workspace: Box<str> = workspace(&self.table).into();
            let entities = entities(&self.table);
            let entities =
                entities.map(|(entity_type, entity)| (entity_type.into(), workspace.clone(), for_v2(entity)));
            Arc::new(FullSync::new(self.version, entities.collect()))
        };
        Arc::clone(self.full_sync.get_or_init(make))
    }
}

/// All entities with their types; what begins with `_` is about the format.
fn entities(table: &Map<String, Value>) -> impl Iterator<Item = (&str, &Map<String, Value>)> {
    table.iter().filter(|(key, _)| !key.starts_with('_')).flat_map(|(entity_type, rows)| {
        let rows = rows.as_array().map_or(&[][..], Vec::as_slice).iter();
        rows.filter_map(Value::as_object).map(move |row| (entity_type.as_str(), row))
    })
}

fn changes(before: &Map<String, Value>, after: &Map<String, Value>, version: u64) -> Vec<Change> {
    let workspace = workspace(after);
    let by_key = |table| -> BTreeMap<(String, String), &Map<String, Value>> {
        let key = |(entity_type, row): (&str, _)| (entity_type.to_owned(), key_of(row).to_string());
        entities(table).map(|entity| (key(entity), entity.1)).collect()
    };
    let (before, after) = (by_key(before), by_key(after));
    let change = |(entity_type, _): &(String, String), row: &Map<String, Value>, is_there: bool| Change {
        version,
        entity_type: entity_type.as_str().into(),
        workspace_id: workspace.into(),
        key: json(&key_of(row)),
        entity: is_there.then(|| for_v2(row)),
    };
    let written = after.iter().filter(|(key, row)| before.get(*key) != Some(row));
    let written = written.map(|(key, row)| change(key, row, true));
    let deleted = before.iter().filter(|(key, _)| !after.contains_key(*key)).map(|(key, row)| change(key, row, false));
    written.chain(deleted).collect()
}

/// The primary key as an object: `id` of nearly all, `key` of parameters.
fn key_of(row: &Map<String, Value>) -> Value {
    let field = ["id", "key"].into_iter().find(|field| row.contains_key(*field)).unwrap_or("id");
    Value::Object(Map::from_iter([(field.to_owned(), row.get(field).cloned().unwrap_or_default())]))
}

fn for_v2(row: &Map<String, Value>) -> Json {
    let mut row = row.clone();
    for key in FOREIGN_KEYS {
        if let Some(id @ Value::String(_)) = row.get_mut(key) {
            *id = Value::Object(Map::from_iter([("id".to_owned(), id.take())]));
        }
    }
    json(&Value::Object(row))
}

fn workspace(table: &Map<String, Value>) -> &str {
    let workspaces = table.get("workspaces").and_then(Value::as_array);
    workspaces.and_then(|rows| rows.first()?.get("id")?.as_str()).unwrap_or("00000000-0000-0000-0000-000000000000")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(services: Value) -> Map<String, Value> {
        let table = serde_json::json!({
            "_format_version": "3.0",
            "workspaces": [{"id": "w", "name": "default"}],
            "parameters": [{"key": "cluster_id", "value": "c"}],
            "services": services,
        });
        table.as_object().unwrap().clone()
    }

    #[test]
    fn a_replacement_is_one_version_of_many_changes() {
        let published = Table::new("3.9.3", table(serde_json::json!([{"id": "1", "port": 1}, {"id": "2"}])));
        assert_eq!(*published.changes().borrow(), 0);
        let replaced = serde_json::json!([{"id": "1", "port": 2, "client_certificate": "x"}, {"id": "3"}]);
        published.replace(table(replaced));
        assert_eq!(*published.changes().borrow(), 1);
        let changes = published.changes_since(0).unwrap();
        let said: Vec<_> = changes
            .iter()
            .map(|change| (change.key.get(), change.entity.as_ref().map_or("null", |entity| entity.get())))
            .collect();
        let first = r#"{"client_certificate":{"id":"x"},"id":"1","port":2}"#;
        assert_eq!(said, [(r#"{"id":"1"}"#, first), (r#"{"id":"3"}"#, r#"{"id":"3"}"#), (r#"{"id":"2"}"#, "null")]);
        assert!(changes.iter().all(|change| change.version == 1 && &*change.workspace_id == "w"));
        assert!(published.changes_since(1).unwrap().is_empty());
    }

    #[test]
    fn what_is_forgotten_needs_a_full_sync() {
        let published = Table::new("3.9.3", table(serde_json::json!([])));
        for port in 0..=REMEMBERED_MAX {
            published.replace(table(serde_json::json!([{"id": "1", "port": port}])));
        }
        assert!(published.changes_since(0).is_none());
        assert_eq!(published.changes_since(1).unwrap().len(), REMEMBERED_MAX);
        let full = published.export(Timestamp::from_ms(0)).full_sync(&introduction());
        assert_eq!((full.version, full.len()), (REMEMBERED_MAX as u64 + 1, 3));
    }

    fn introduction() -> Introduction {
        Introduction {
            protocol: crate::kong::facts::Protocol::V2,
            node_id: None,
            hostname: None,
            gateway_version: None,
            labels: BTreeMap::new(),
            plugins: vec![],
            filters: vec![],
            capabilities: vec![],
            settings: BTreeMap::new(),
        }
    }
}
