//! What a node has under protocol v2: entities by type and primary key, built up from full syncs and deltas
//! (`kong-hybrid.md` 2.4). Of each entity only its digest and what it adds to the shape is kept.

use super::digest::BehaviourDigest;
use super::outline::{self, entity_digest};
use super::shape::{Part, Shape};
use super::v2::Delta;
use std::collections::BTreeMap;
use tidemark_domain::hash::ConfigHash;

/// The configuration of one node as far as it was seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SyncState {
    /// `None` until a full sync was seen: deltas alone do not say what they are on top of.
    known: Option<Known>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Known {
    version: Option<ConfigHash>,
    entities: BTreeMap<(Box<str>, Box<str>), Entity>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entity {
    digest: [u8; 32],
    part: Part,
}

impl SyncState {
    /// Applies what the control plane answered to a node that said it runs `asked`. Deltas on top of another version
    /// than the one known make the state unknown.
    pub fn apply(&mut self, asked: Option<ConfigHash>, full: bool, deltas: &[Delta]) {
        if full {
            self.known = Some(Known::default());
        } else if deltas.is_empty() {
            return;
        } else if self.known.as_ref().is_some_and(|known| known.version.is_none() || known.version != asked) {
            self.known = None;
        }
        let Some(known) = &mut self.known else { return };
        for delta in deltas {
            let key = (delta.entity_type.as_str().into(), delta.primary_key.as_str().into());
            match &delta.entity {
                Some(entity) => {
                    let digest = entity_digest(&delta.entity_type, entity);
                    known.entities.insert(key, Entity { digest, part: Part::of(&delta.entity_type, entity) });
                }
                None => _ = known.entities.remove(&key),
            }
            known.version = Some(delta.version);
        }
    }

    /// Entities that are held.
    #[must_use]
    pub fn entities(&self) -> usize {
        self.known.as_ref().map_or(0, |known| known.entities.len())
    }

    /// Digest and shape of the whole; `None` while it is not known.
    #[must_use]
    pub fn summary(&self) -> Option<(BehaviourDigest, Shape)> {
        let known = self.known.as_ref()?;
        let digests = known.entities.values().map(|entity| entity.digest).collect();
        let parts = known.entities.iter().map(|((entity_type, _), entity)| (entity_type.as_ref(), &entity.part));
        Some((BehaviourDigest::of_entities(digests), Shape::of_parts(parts)))
    }
}

/// The primary key of a delta's entity as one text: of the `pk` that it carries, else of the entity itself.
pub(super) fn primary_key(pk: Option<&serde_json::Value>, entity: Option<&serde_json::Value>) -> Option<String> {
    pk.and_then(outline::primary_key).or_else(|| entity.and_then(outline::primary_key)).or_else(|| {
        // A key of several columns: all of them, in one order.
        let mut columns: Vec<_> = pk?.as_object()?.iter().collect();
        columns.sort_unstable_by_key(|&(name, _)| name);
        let columns: Vec<_> = columns.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
        (!columns.is_empty()).then(|| columns.join("&"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn version(number: u32) -> ConfigHash {
        format!("{number:032}").parse().unwrap()
    }

    fn delta(at: u32, id: &str, entity: Option<Value>) -> Delta {
        Delta { entity_type: "services".into(), primary_key: id.into(), version: version(at), entity }
    }

    fn service(port: u16, updated_at: u32) -> Option<Value> {
        Some(json!({"id": "1", "port": port, "updated_at": updated_at}))
    }

    #[test]
    fn deltas_lead_to_what_a_full_sync_would_have_given() {
        let mut state = SyncState::default();
        state.apply(None, true, &[delta(1, "1", service(80, 1)), delta(1, "2", service(81, 1))]);
        state.apply(Some(version(1)), false, &[delta(2, "2", None), delta(3, "1", service(82, 3))]);
        let mut full = SyncState::default();
        full.apply(None, true, &[delta(3, "1", service(82, 3))]);
        assert_eq!(state.summary(), full.summary());
        assert_eq!(state.summary().unwrap().1.entities["services"], 1);
    }

    #[test]
    fn a_write_without_effect_keeps_the_digest() {
        let mut state = SyncState::default();
        state.apply(None, true, &[delta(1, "1", service(80, 1))]);
        let before = state.summary();
        state.apply(Some(version(1)), false, &[delta(2, "1", service(80, 2))]);
        assert_eq!(state.summary(), before);
        state.apply(Some(version(2)), false, &[]);
        assert_eq!(state.summary(), before);
    }

    #[test]
    fn deltas_on_top_of_what_was_not_seen_are_not_a_state() {
        let mut state = SyncState::default();
        state.apply(Some(version(7)), false, &[delta(8, "1", service(80, 1))]);
        assert_eq!(state.summary(), None, "no full sync was seen");
        state.apply(None, true, &[delta(8, "1", service(80, 1))]);
        assert!(state.summary().is_some());
        state.apply(Some(version(9)), false, &[delta(10, "1", service(80, 1))]);
        assert_eq!(state.summary(), None, "version 9 was not seen");
    }
}
