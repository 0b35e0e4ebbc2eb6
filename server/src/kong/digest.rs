//! The behaviour digest: equal for two configurations of one cohort that make a gateway do the same.
//!
//! Two digests may be compared only inside one cohort (control plane, protocol, gateway version): v1 and v2 write
//! foreign keys differently and v1 leaves out disabled entities (`kong-hybrid.md` 1.6, 2.4), and an older gateway gets
//! other fields (1.9). What is dropped is said in [`super::outline`]; entities are a set, because Kong exports rows by
//! primary key and a node looks them up by it.

use super::outline::Outline;
use sha2::{Digest, Sha256};
use std::fmt;

/// 256 bits, written as 64 hexadecimal digits: longer than any of Kong's hashes, so that nobody takes it for one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BehaviourDigest([u8; 32]);

/// A change of what the digest covers changes this, so that digests from before are never equal to digests after.
const EDITION: &[u8] = b"tidemark behaviour 1";

impl BehaviourDigest {
    /// The digest of a configuration by its outline.
    #[must_use]
    pub fn of_outline(outline: &Outline) -> Self {
        Self::of_entities(outline.entity_digests().map(|(_, digest)| digest).collect())
    }

    /// The digest of a set of entities, each given by [`super::outline::entity_digest`].
    #[must_use]
    pub fn of_entities(mut entities: Vec<[u8; 32]>) -> Self {
        entities.sort_unstable();
        let mut digest = Sha256::new_with_prefix(EDITION);
        for entity in entities {
            digest.update(entity);
        }
        Self(digest.finalize().into())
    }
}

impl fmt::Display for BehaviourDigest {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(out, "{byte:02x}"))
    }
}

impl fmt::Debug for BehaviourDigest {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "BehaviourDigest({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::super::outline::entity_digest;
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Map, Value, json};

    fn digest(table: &Value) -> BehaviourDigest {
        BehaviourDigest::of_outline(&Outline::of_table(table.as_object().unwrap()))
    }

    #[test]
    fn the_same_entities_one_by_one_have_the_same_digest() {
        let table = json!({"services": [{"id": "1", "port": 1}], "plugins": [{"id": "2", "name": "cors"}]});
        let entities =
            vec![entity_digest("plugins", &table["plugins"][0]), entity_digest("services", &table["services"][0])];
        assert_eq!(BehaviourDigest::of_entities(entities), digest(&table));
    }

    #[test]
    fn it_is_printed_as_64_digits() {
        assert_eq!(digest(&json!({})).to_string().len(), 64);
        assert_ne!(digest(&json!({})), digest(&json!({"services": [{"id": "1"}]})));
    }

    fn entity() -> impl Strategy<Value = Value> {
        let scalar = prop_oneof![
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            "[a-z]{0,4}".prop_map(Value::from),
        ];
        let value = scalar.prop_recursive(3, 12, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 1..4).prop_map(Value::from),
                prop::collection::btree_map("[a-z]{1,4}", inner, 1..4)
                    .prop_map(|fields| Value::from(fields.into_iter().collect::<Map<_, _>>())),
            ]
        });
        ("[a-f0-9]{8}", prop::collection::btree_map("f[a-z]{1,4}", value, 0..6)).prop_map(|(id, fields)| {
            let mut fields: Map<String, Value> = fields.into_iter().collect();
            fields.insert("id".into(), id.into());
            Value::from(fields)
        })
    }

    fn nothing() -> impl Strategy<Value = Value> {
        prop_oneof![Just(json!(null)), Just(json!({})), Just(json!([])), Just(json!({"deep": {"er": null}}))]
    }

    proptest! {
        #[test]
        fn times_and_nothings_and_order_do_not_matter(
            entities in prop::collection::vec(entity(), 0..6),
            nothings in prop::collection::vec(("n[a-z]{1,4}", nothing()), 0..4),
            created_at in any::<u32>(), updated_at in any::<f64>(),
        ) {
            let plain = json!({"services": entities.clone()});
            let mut dressed = entities;
            dressed.reverse();
            for entity in &mut dressed {
                let fields = entity.as_object_mut().unwrap();
                fields.insert("created_at".into(), created_at.into());
                fields.insert("updated_at".into(), updated_at.into());
                fields.extend(nothings.iter().cloned());
            }
            let dressed = json!({"services": dressed, "routes": {}, "plugins": []});
            prop_assert_eq!(digest(&plain), digest(&dressed));
        }

        #[test]
        fn any_other_field_matters(entity in entity(), value in "[a-z]{1,4}") {
            let plain = json!({"services": [entity.clone()]});
            let mut changed = entity;
            changed.as_object_mut().unwrap().insert("another_field".into(), value.into());
            prop_assert_ne!(digest(&plain), digest(&json!({"services": [changed]})));
        }
    }
}
