//! The outline of a configuration: for each entity the fields that it sets and a fingerprint of each value, and
//! nothing that could be read back but its id, and its name where that is no secret. From it follow the behaviour digest ([`super::digest`]), what a change touched,
//! and whether a change is one of the template that configurations are made with.
//!
//! An entity is flattened into leaves: paths such as `config.queue.max_batch_size` with scalars and arrays at their
//! ends. Absent, `null`, `{}` and `[]` are the same (a Lua table cannot tell them apart, and Kong fills in what is
//! absent), so a leaf that is one of them is not there at all. `created_at` and `updated_at` of an entity are not
//! behaviour and are left out; fields of these names deeper inside are somebody's data and stay.

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet, HashMap, btree_map};
use tidemark_domain::fact::{Changed, ConfigRef, EntityChange, EntityChanges, TypeChanges};
use tidemark_domain::id::Line;

/// What is known of a configuration without keeping it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outline {
    kinds: BTreeMap<Box<str>, Kind>,
}

/// All entities of one kind. Plugins and vaults differ in their fields by name, so each name is a kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Kind {
    /// Entities by primary key.
    entities: BTreeMap<Box<str>, Entity>,
}

/// One entity: its leaves, in the order of [`for_each_leaf`].
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entity {
    leaves: Vec<(Path, Fingerprint)>,
    /// Moved by every write (`kong-hybrid.md` 1.8.3), and by nothing else.
    updated_at: Option<Fingerprint>,
    /// What people know it by.
    called: Called,
}

/// The type and the id of an entity, and its name where that is told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Called {
    id: Option<Line>,
    name: Option<Line>,
}

type Path = std::sync::Arc<str>;
type Fingerprint = [u8; 16];

/// How a configuration differs from the one before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// In nothing that [`Outline`] keeps: the behaviour is the same.
    Equal,
    /// Every entity of a kind gained or lost the same fields with the same values, and none of them was written: the
    /// control plane renders differently. `paths` are the evidence, `kind: +path` or `kind: -path`, at most
    /// [`PATHS_MAX`] of them. Where a kind keeps no time of writing, its single entity counts as written.
    OnlyTemplateFields { paths: Vec<String> },
    /// Entities were added, removed or changed, by kind; at most [`KINDS_MAX`] kinds.
    Changed { kinds: Vec<KindChange> },
}

/// What happened to the entities of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KindChange {
    pub kind: String,
    pub added: u32,
    pub removed: u32,
    pub changed: u32,
}

/// Paths given as evidence.
pub const PATHS_MAX: usize = 64;
/// Kinds named in a difference.
pub const KINDS_MAX: usize = 64;

/// Kinds whose fields depend on the name of the entity.
const KINDS_BY_NAME: [&str; 2] = ["plugins", "vaults"];
/// Types whose name is told of: what an operator named himself, and what Kong did. Names of consumers are people's, and what
/// a type that is not known here has for a name, nobody knows.
const NAMED: [&str; 12] = [
    "consumer_groups",
    "filter_chains",
    "key_sets",
    "keys",
    "partials",
    "plugins",
    "routes",
    "services",
    "snis",
    "upstreams",
    "vaults",
    "workspaces",
];
/// Times of an entity, which change no behaviour.
const TIMES: [&str; 2] = ["created_at", "updated_at"];

impl Outline {
    /// The outline of a v1 configuration table.
    #[must_use]
    pub fn of_table(table: &Map<String, Value>) -> Self {
        let mut outline = Self::default();
        let mut paths = Paths::default();
        for (key, value) in table {
            match value {
                Value::Array(entities) => {
                    for entity in entities {
                        outline.insert(key, entity, &mut paths);
                    }
                }
                // `_format_version` and what else is no list of entities: one entity of a kind of its own.
                other => outline.insert(key, other, &mut paths),
            }
        }
        outline
    }

    /// How `after` differs from this outline, which must be of the same cohort: other protocols and gateway versions
    /// render differently as a matter of course.
    #[must_use]
    pub fn difference(&self, after: &Self) -> Difference {
        let mut changes = Vec::new();
        let mut paths = Vec::new();
        let empty = Kind::default();
        let names: BTreeSet<_> = self.kinds.keys().chain(after.kinds.keys()).collect();
        for name in names {
            let old = self.kinds.get(name).unwrap_or(&empty);
            let new = after.kinds.get(name).unwrap_or(&empty);
            if let Some(change) = old.change(new, name) {
                match old.template_fields(new, name) {
                    Some(fields) => paths.extend(fields),
                    None => changes.push(change),
                }
            }
        }
        if !changes.is_empty() {
            changes.truncate(KINDS_MAX);
            Difference::Changed { kinds: changes }
        } else if !paths.is_empty() {
            paths.truncate(PATHS_MAX);
            Difference::OnlyTemplateFields { paths }
        } else {
            Difference::Equal
        }
    }

    /// What changed on the way to `after`, entity by entity, without the kinds that only the template changed; `before` is how
    /// this outline's configuration is called. `None` where nothing did.
    #[must_use]
    pub fn entities_changed(&self, after: &Self, before: ConfigRef) -> Option<EntityChanges> {
        let empty = Kind::default();
        let names: BTreeSet<_> = self.kinds.keys().chain(after.kinds.keys()).collect();
        let mut types: BTreeMap<&str, (TypeChanges, Vec<EntityChange>)> = BTreeMap::new();
        for name in names {
            let old = self.kinds.get(name).unwrap_or(&empty);
            let new = after.kinds.get(name).unwrap_or(&empty);
            let of_type = name.split_once('/').map_or(name.as_ref(), |(of_type, _)| of_type);
            let Some(entity_type) = Line::from_outside(of_type) else { continue };
            let Some(change) = old.change(new, name) else { continue };
            if old.template_fields(new, name).is_some() {
                continue;
            }
            let nothing = || TypeChanges { entity_type: entity_type.clone(), added: 0, changed: 0, removed: 0 };
            let (counts, listed) = types.entry(of_type).or_insert_with(|| (nothing(), Vec::new()));
            counts.added = counts.added.saturating_add(change.added);
            counts.changed = counts.changed.saturating_add(change.changed);
            counts.removed = counts.removed.saturating_add(change.removed);
            let room = EntityChanges::LISTED_MAX.saturating_sub(listed.len());
            let called = |(change, Called { id, name }): (Changed, &Called)| EntityChange {
                change,
                entity_type: entity_type.clone(),
                id: id.clone(),
                name: name.clone(),
            };
            listed.extend(old.changed(new).take(room).map(called));
        }
        let mut types: Vec<_> = types.into_values().collect();
        // Sorted stably: types with as many changes stay in the order of their names.
        types
            .sort_by_key(|(counts, _)| u64::from(counts.added) + u64::from(counts.changed) + u64::from(counts.removed));
        let listed = types.iter().flat_map(|(_, listed)| listed).take(EntityChanges::LISTED_MAX).cloned().collect();
        let counts: Vec<_> = types.into_iter().take(EntityChanges::TYPES_MAX).map(|(counts, _)| counts).collect();
        (!counts.is_empty()).then_some(EntityChanges { before, counts, listed })
    }

    /// Kind and digest of each entity, in no particular order.
    pub fn entity_digests(&self) -> impl Iterator<Item = (&str, [u8; 32])> {
        self.kinds.iter().flat_map(|(name, kind)| {
            kind.entities.values().map(move |entity| (name.as_ref(), leaves_digest(name, &entity.leaves)))
        })
    }

    fn insert(&mut self, key: &str, value: &Value, paths: &mut Paths) {
        let mut leaves = Vec::new();
        for_each_leaf(value, |path, fingerprint| leaves.push((paths.shared(path), fingerprint)));
        // `services: []`, `services: {}` and no services at all are the same.
        if leaves.is_empty() && !value.is_object() || is_nothing(value) {
            return;
        }
        let updated_at = value.get("updated_at").map(fingerprint);
        let kind = self.kinds.entry(kind_of(key, value)).or_default();
        let mut primary_key = primary_key(value).unwrap_or_else(|| hex(&leaves_digest(key, &leaves)));
        // Kong never sends a key twice; where somebody does, neither entity may vanish from the digest.
        while let btree_map::Entry::Occupied(_) = kind.entities.entry(primary_key.as_str().into()) {
            primary_key.push('\'');
        }
        kind.entities.insert(primary_key.into(), Entity { leaves, updated_at, called: Called::of(key, value) });
    }
}

impl Called {
    fn of(key: &str, entity: &Value) -> Self {
        let line = |field| entity.get(field).and_then(Value::as_str).and_then(Line::from_outside);
        // The key of a parameter is its name; that of a credential is a secret.
        let id = line("id").or_else(|| line("key").filter(|_| key == "parameters"));
        Self { id, name: line("name").filter(|_| NAMED.contains(&key)) }
    }
}

impl Kind {
    /// Entities that were added, changed and removed, in this order.
    fn changed<'a>(&'a self, after: &'a Self) -> impl Iterator<Item = (Changed, &'a Called)> {
        let added = |key: &str, _: &Entity| !self.entities.contains_key(key);
        let differs = |key: &str, new: &Entity| self.entities.get(key).is_some_and(|old| old.leaves != new.leaves);
        let removed = |key: &str, _: &Entity| !after.entities.contains_key(key);
        let added = after.those(Changed::Added, added);
        added.chain(after.those(Changed::Changed, differs)).chain(self.those(Changed::Removed, removed))
    }

    fn those(
        &self,
        change: Changed,
        are_they: impl Fn(&str, &Entity) -> bool,
    ) -> impl Iterator<Item = (Changed, &Called)> {
        let those = self.entities.iter().filter(move |(key, entity)| are_they(key, entity));
        those.map(move |(_, entity)| (change, &entity.called))
    }

    /// `None` where no entity differs.
    fn change(&self, after: &Self, name: &str) -> Option<KindChange> {
        let mut change = KindChange { kind: name.to_owned(), added: 0, removed: 0, changed: 0 };
        for (key, old) in &self.entities {
            match after.entities.get(key) {
                None => change.removed += 1,
                Some(new) if new.leaves != old.leaves => change.changed += 1,
                Some(_) => {}
            }
        }
        for key in after.entities.keys() {
            if !self.entities.contains_key(key) {
                change.added += 1;
            }
        }
        (change.added + change.removed + change.changed > 0).then_some(change)
    }

    /// The fields that every entity gained or lost alike, if that is all that changed and no entity was written.
    fn template_fields(&self, after: &Self, name: &str) -> Option<Vec<String>> {
        if self.entities.len() != after.entities.len() {
            return None;
        }
        let mut common = None;
        for (key, old) in &self.entities {
            let new = after.entities.get(key)?;
            let written = old.updated_at != new.updated_at;
            // Some kinds have no time of writing: one entity alone of such a kind proves no template.
            let unknown = old.updated_at.is_none() && self.entities.len() == 1;
            if written || unknown {
                return None;
            }
            let fields = old.gained_and_lost(new)?;
            match &common {
                None => common = Some(fields),
                Some(first) if *first == fields => {}
                Some(_) => return None,
            }
        }
        let fields = common?;
        Some(fields.into_iter().map(|(sign, path, _)| format!("{name}: {sign}{path}")).collect())
    }
}

impl Entity {
    /// Fields that only one of the two has, with their values; `None` where a field that both have differs.
    fn gained_and_lost<'a>(&'a self, after: &'a Self) -> Option<Vec<(char, &'a str, Fingerprint)>> {
        let old: HashMap<&str, Fingerprint> = self.leaves.iter().map(|(path, value)| (path.as_ref(), *value)).collect();
        let new: HashMap<&str, Fingerprint> =
            after.leaves.iter().map(|(path, value)| (path.as_ref(), *value)).collect();
        let mut fields = Vec::new();
        for (path, value) in &self.leaves {
            match new.get(path.as_ref()) {
                None => fields.push(('-', path.as_ref(), *value)),
                Some(other) if other == value => {}
                Some(_) => return None,
            }
        }
        for (path, value) in &after.leaves {
            if !old.contains_key(path.as_ref()) {
                fields.push(('+', path.as_ref(), *value));
            }
        }
        Some(fields)
    }
}

/// Paths repeat for every entity of a kind, so each is kept once.
#[derive(Default)]
struct Paths(HashMap<Box<str>, Path>);

impl Paths {
    fn shared(&mut self, path: &str) -> Path {
        if let Some(known) = self.0.get(path) {
            return Path::clone(known);
        }
        let shared = Path::from(path);
        self.0.insert(path.into(), Path::clone(&shared));
        shared
    }
}

/// The digest of one entity of a kind: equal where all leaves are.
#[must_use]
pub fn entity_digest(key: &str, entity: &Value) -> [u8; 32] {
    let mut digest = Sha256::new();
    frame(&mut digest, kind_of(key, entity).as_bytes());
    for_each_leaf(entity, |path, value| {
        frame(&mut digest, path.as_bytes());
        digest.update(value);
    });
    digest.finalize().into()
}

fn leaves_digest(kind: &str, leaves: &[(Path, Fingerprint)]) -> [u8; 32] {
    let mut digest = Sha256::new();
    frame(&mut digest, kind.as_bytes());
    for (path, value) in leaves {
        frame(&mut digest, path.as_bytes());
        digest.update(value);
    }
    digest.finalize().into()
}

/// The kind of an entity under a key of the table (or of a delta's type): the name belongs to it where the fields
/// depend on the name.
#[must_use]
pub fn kind_of(key: &str, entity: &Value) -> Box<str> {
    if KINDS_BY_NAME.contains(&key) {
        let name = entity.get("name").and_then(Value::as_str).unwrap_or_default();
        format!("{key}/{name}").into()
    } else {
        key.into()
    }
}

/// Entities have an `id`; `parameters` have a `key` (`kong-hybrid.md` 1.6).
#[must_use]
pub fn primary_key(entity: &Value) -> Option<String> {
    ["id", "key"].iter().find_map(|field| entity.get(field).and_then(Value::as_str)).map(str::to_owned)
}

/// Calls `visit` with the path and the fingerprint of every leaf, in an order that depends on the keys alone.
fn for_each_leaf(entity: &Value, mut visit: impl FnMut(&str, Fingerprint)) {
    let mut path = String::new();
    match entity {
        Value::Object(fields) => {
            let fields = fields.iter().filter(|(key, _)| !TIMES.contains(&key.as_str()));
            walk_fields(fields, &mut path, &mut visit);
        }
        other => walk(other, &mut path, &mut visit),
    }
}

/// Recursion is as deep as the value: `serde_json` parses at most 128 levels.
fn walk(value: &Value, path: &mut String, visit: &mut impl FnMut(&str, Fingerprint)) {
    match value {
        Value::Object(fields) => walk_fields(fields.iter(), path, visit),
        other if is_nothing(other) => {}
        other => visit(path, fingerprint(other)),
    }
}

fn walk_fields<'a>(
    fields: impl Iterator<Item = (&'a String, &'a Value)>,
    path: &mut String,
    visit: &mut impl FnMut(&str, Fingerprint),
) {
    let mut fields: Vec<_> = fields.collect();
    fields.sort_unstable_by_key(|&(key, _)| key);
    let length = path.len();
    for (key, value) in fields {
        if length > 0 {
            path.push('.');
        }
        // A dot inside of a key must not look like a step: `a.b` is not `b` inside of `a`.
        for character in key.chars() {
            if matches!(character, '.' | '\\') {
                path.push('\\');
            }
            path.push(character);
        }
        walk(value, path, visit);
        path.truncate(length);
    }
}

/// `null`, `{}`, `[]`, and an object of nothing else.
fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(elements) => elements.is_empty(),
        Value::Object(fields) => fields.values().all(is_nothing),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

fn fingerprint(value: &Value) -> Fingerprint {
    let mut digest = Sha256::new();
    absorb(value, &mut digest);
    let full: [u8; 32] = digest.finalize().into();
    let mut half = [0; 16];
    half.copy_from_slice(&full[..16]);
    half
}

/// An unambiguous encoding: a tag, then a length or a fixed size.
fn absorb(value: &Value, digest: &mut Sha256) {
    match value {
        nothing if is_nothing(nothing) => digest.update([0]),
        Value::Null => digest.update([0]),
        Value::Bool(value) => digest.update([1, u8::from(*value)]),
        Value::Number(number) => {
            digest.update([2]);
            // Lua has doubles only: 5 and 5.0 are one number.
            digest.update(number.as_f64().unwrap_or(f64::NAN).to_be_bytes());
        }
        Value::String(text) => {
            digest.update([3]);
            frame(digest, text.as_bytes());
        }
        Value::Array(elements) => {
            digest.update([4]);
            digest.update((elements.len() as u64).to_be_bytes());
            for element in elements {
                absorb(element, digest);
            }
        }
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().filter(|(_, value)| !is_nothing(value)).collect();
            fields.sort_unstable_by_key(|&(key, _)| key);
            digest.update([5]);
            digest.update((fields.len() as u64).to_be_bytes());
            for (key, value) in fields {
                frame(digest, key.as_bytes());
                absorb(value, digest);
            }
        }
    }
}

fn frame(digest: &mut Sha256, bytes: &[u8]) {
    digest.update((bytes.len() as u64).to_be_bytes());
    digest.update(bytes);
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn outline(table: Value) -> Outline {
        Outline::of_table(table.as_object().unwrap())
    }

    #[track_caller]
    fn check(name: &str, before: Value, after: Value, expected: &str) {
        let said = match outline(before).difference(&outline(after)) {
            Difference::Equal => "equal".to_owned(),
            Difference::OnlyTemplateFields { paths } => paths.join(", "),
            Difference::Changed { kinds } => kinds
                .iter()
                .map(|kind| format!("{} +{} -{} ~{}", kind.kind, kind.added, kind.removed, kind.changed))
                .collect::<Vec<_>>()
                .join(", "),
        };
        assert_eq!(said, expected, "{name}");
    }

    #[test]
    fn what_changes_no_behaviour_is_no_difference() {
        check("nothing at all", json!({}), json!({"services": [], "routes": {}, "plugins": null}), "equal");
        check(
            "times of an entity",
            json!({"services": [{"id": "1", "created_at": 1, "updated_at": 1}]}),
            json!({"services": [{"id": "1", "updated_at": 2}]}),
            "equal",
        );
        check(
            "absent, null, {} and []",
            json!({"services": [{"id": "1", "a": null, "b": {}, "c": [], "d": {"e": null}}]}),
            json!({"services": [{"id": "1", "d": []}]}),
            "equal",
        );
        check(
            "order of entities",
            json!({"services": [{"id": "1", "port": 1}, {"id": "2", "port": 2}]}),
            json!({"services": [{"id": "2", "port": 2}, {"id": "1", "port": 1}]}),
            "equal",
        );
        check(
            "5 and 5.0",
            json!({"services": [{"id": "1", "p": 5}]}),
            json!({"services": [{"id": "1", "p": 5.0}]}),
            "equal",
        );
    }

    #[test]
    fn what_may_change_behaviour_is_a_difference() {
        let one = |fields: Value| json!({"services": [fields]});
        check("a value", one(json!({"id": "1", "port": 1})), one(json!({"id": "1", "port": 2})), "services +0 -0 ~1");
        check(
            "false is not absent",
            one(json!({"id": "1", "updated_at": 1})),
            one(json!({"id": "1", "enabled": false, "updated_at": 2})),
            "services +0 -0 ~1",
        );
        check(
            "an empty text is not absent",
            one(json!({"id": "1", "updated_at": 1})),
            one(json!({"id": "1", "path": "", "updated_at": 2})),
            "services +0 -0 ~1",
        );
        check(
            "order inside of an array",
            one(json!({"id": "1", "t": ["a", "b"]})),
            one(json!({"id": "1", "t": ["b", "a"]})),
            "services +0 -0 ~1",
        );
        check(
            "a null inside of an array",
            one(json!({"id": "1", "t": ["a"]})),
            one(json!({"id": "1", "t": ["a", null]})),
            "services +0 -0 ~1",
        );
        check("1 and \"1\"", one(json!({"id": "1", "t": 1})), one(json!({"id": "1", "t": "1"})), "services +0 -0 ~1");
        check(
            "a time that is somebody's data",
            one(json!({"id": "1", "config": {"updated_at": 1}})),
            one(json!({"id": "1", "config": {"updated_at": 2}})),
            "services +0 -0 ~1",
        );
        check(
            "a dot in a key",
            one(json!({"id": "1", "a": {"b": 1}, "updated_at": 1})),
            one(json!({"id": "1", "a.b": 1, "updated_at": 2})),
            "services +0 -0 ~1",
        );
        check("another entity", one(json!({"id": "1"})), one(json!({"id": "2"})), "services +1 -1 ~0");
        check(
            "a key twice",
            one(json!({"id": "1"})),
            json!({"services": [{"id": "1"}, {"id": "1", "port": 1}]}),
            "services +1 -0 ~0",
        );
    }

    #[test]
    fn fields_that_all_entities_of_a_kind_gained_alike_are_template_fields() {
        let before = json!({
            "services": [{"id": "1", "port": 1, "updated_at": 5}, {"id": "2", "port": 2, "updated_at": 6}],
            "plugins": [
                {"id": "3", "name": "cors", "config": {"old": 1}, "updated_at": 7},
                {"id": "4", "name": "acl", "updated_at": 8},
            ],
        });
        let mut after = before.clone();
        after["services"][0]["tls_sans"] = json!("x");
        after["services"][1]["tls_sans"] = json!("x");
        after["plugins"][0]["config"] = json!({"new": true});
        check(
            "gained and lost",
            before.clone(),
            after.clone(),
            "plugins/cors: -config.old, plugins/cors: +config.new, services: +tls_sans",
        );

        let mut not_alike = after.clone();
        not_alike["services"][1]["tls_sans"] = json!("y");
        check("another value", before.clone(), not_alike, "services +0 -0 ~2");

        let mut one_missed = after.clone();
        one_missed["services"][1].as_object_mut().unwrap().remove("tls_sans");
        check("one entity without", before.clone(), one_missed, "services +0 -0 ~1");

        let mut written = after.clone();
        written["plugins"][0]["updated_at"] = json!(9);
        check("an entity was written", before.clone(), written, "plugins/cors +0 -0 ~1");

        let mut more = after;
        more["services"].as_array_mut().unwrap().push(json!({"id": "9"}));
        check("an entity more", before, more, "services +1 -0 ~2");

        check(
            "one entity that keeps no time of writing",
            json!({"keyauth_credentials": [{"id": "1"}]}),
            json!({"keyauth_credentials": [{"id": "1", "tags": ["a"]}]}),
            "keyauth_credentials +0 -0 ~1",
        );
    }

    #[test]
    fn the_evidence_is_bounded() {
        let wide = |value: i64| {
            let fields: serde_json::Map<_, _> = (0..200).map(|index| (format!("f{index}"), json!(value))).collect();
            let mut entity = json!({"id": "1", "updated_at": 1});
            if value > 0 {
                entity.as_object_mut().unwrap().extend(fields);
            }
            outline(json!({"services": [entity]}))
        };
        let Difference::OnlyTemplateFields { paths } = wide(0).difference(&wide(1)) else { panic!("a template") };
        assert_eq!(paths.len(), PATHS_MAX);
    }

    /// `how type name id` of each that is listed, and the counts.
    fn changes(before: Value, after: Value) -> (Vec<String>, Vec<String>) {
        let hash = ConfigRef::Hash(tidemark_domain::hash::ConfigHash::ZEROS);
        let Some(changes) = outline(before).entities_changed(&outline(after), hash) else { return Default::default() };
        let or_dash = |line: &Option<Line>| line.as_ref().map_or("-".to_owned(), ToString::to_string);
        let listed = changes.listed.iter().map(|entity| {
            let EntityChange { change, entity_type, id, name } = entity;
            format!("{} {entity_type} {} {}", change.word(), or_dash(name), or_dash(id))
        });
        let count = |count: &TypeChanges| {
            format!("{} +{} -{} ~{}", count.entity_type, count.added, count.removed, count.changed)
        };
        (listed.collect(), changes.counts.iter().map(count).collect())
    }

    #[test]
    fn what_changed_is_listed_by_type_name_and_id() {
        let before = json!({
            "services": [{"id": "s1", "name": "orders", "port": 1}, {"id": "s2", "name": "bills", "port": 2}],
            "plugins": [{"id": "p1", "name": "cors", "enabled": true}],
            "parameters": [{"key": "cluster_id", "value": "x"}],
        });
        let after = json!({
            "services": [{"id": "s1", "name": "orders", "port": 9}, {"id": "s3", "port": 3, "updated_at": 1}],
            "plugins": [{"id": "p1", "name": "cors", "enabled": true, "updated_at": 5}],
            "parameters": [{"key": "cluster_id", "value": "y"}],
        });
        let (listed, counts) = changes(before.clone(), after);
        let expected = [
            "changed parameters - cluster_id",
            "added services - s3",
            "changed services orders s1",
            "removed services bills s2",
        ];
        assert_eq!(listed, expected);
        assert_eq!(counts, ["parameters +0 -0 ~1", "services +1 -1 ~1"]);
        assert_eq!(changes(before.clone(), before).0, [""; 0]);
    }

    /// Whatever stands in a field that is not told of, stands in no list of changes.
    #[test]
    fn no_secret_is_in_a_list_of_changes() {
        let entities = json!({
            "keyauth_credentials": [{"key": "SECRET"}, {"id": "k1", "key": "SECRET"}],
            "consumers": [{"id": "c1", "username": "SECRET", "name": "SECRET", "custom_id": "SECRET"}],
            "certificates": [{"id": "x1", "key": "SECRET", "cert": "SECRET"}],
            "keys": [{"id": "y1", "name": "signing", "jwk": "SECRET", "pem": {"private_key": "SECRET"}}],
            "vaults": [{"id": "v1", "name": "env", "prefix": "SECRET", "config": {"prefix": "SECRET"}}],
            "custom_things": [{"id": "t1", "name": "SECRET", "value": "SECRET"}],
            "plugins": [{"id": "p1", "name": "jwt", "config": {"secret": "SECRET"}}],
            "parameters": [{"key": "cluster_id", "value": "SECRET"}],
        });
        let (listed, _) = changes(json!({}), entities);
        assert_eq!(listed.len(), 9);
        assert!(!listed.concat().contains("SECRET"), "{listed:#?}");
        assert!(listed.contains(&"added keys signing y1".to_owned()), "{listed:#?}");
    }

    #[test]
    fn the_list_is_bounded_and_begins_with_what_changed_least() {
        let many: Vec<Value> = (0..1_000).map(|number| json!({"id": format!("r{number}"), "name": "n"})).collect();
        let (listed, counts) = changes(json!({}), json!({"routes": many, "services": [{"id": "s1"}]}));
        assert_eq!((listed.len(), listed[0].as_str()), (EntityChanges::LISTED_MAX, "added services - s1"));
        assert_eq!(counts, ["services +1 -0 ~0", "routes +1000 -0 ~0"]);
    }

    #[test]
    fn what_only_the_template_changed_is_not_listed() {
        let before =
            json!({"services": [{"id": "1", "updated_at": 5}, {"id": "2", "updated_at": 6}], "routes": [{"id": "3"}]});
        let mut after = before.clone();
        after["services"][0]["tls_sans"] = json!("x");
        after["services"][1]["tls_sans"] = json!("x");
        after["routes"] = json!([]);
        assert_eq!(changes(before, after).0, ["removed routes - 3"]);
    }
}
