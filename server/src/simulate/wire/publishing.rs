//! What a simulated control plane publishes, from whoever has it: [`Publishing`] is the seam between the wire and what
//! control planes know. Frames are made once and shared by all connections.

use super::node::{Flavour, Json, version_json};
use crate::kong::facts::{Introduction, PluginVersion};
use crate::kong::hash::{TableHashes, table_hashes};
use bytes::Bytes;
use flate2::{Compression, GzBuilder};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::io::Write;
use std::sync::{Arc, OnceLock};
use tidemark_domain::hash::ConfigHash;
use tidemark_domain::time::Timestamp;
use tokio::sync::watch;

/// What a control plane knows.
pub trait Publishing: Send + Sync + 'static {
    /// Everything as it is now; `at` is the moment for frames that say when they were made. One push of v1 sends one of
    /// these to all its nodes.
    fn export(&self, at: Timestamp) -> Arc<dyn Export>;

    /// The newest version, counted up by each write from 0, and woken by it: v1 pushes then, v2 notifies.
    fn changes(&self) -> watch::Receiver<u64>;

    /// The changes after a version, in their order; `None` where they are not all remembered, so that a node needs a full
    /// sync. Asked for at most [`INCREMENTAL_MAX`] versions.
    fn changes_since(&self, version: u64) -> Option<Vec<Arc<Change>>>;
}

/// Everything that a control plane knows at one moment.
pub trait Export: Send + Sync {
    /// The whole configuration as a node like this gets it by v1. Asked for each node: an implementation keeps what it
    /// made for each cohort.
    fn rendering(&self, to: &Introduction) -> Arc<Rendering>;

    /// The same for v2.
    fn full_sync(&self, to: &Introduction) -> Arc<FullSync>;
}

/// 3.9 answers by deltas for so many versions, and by a full sync beyond (`kong-hybrid.md` 2.5).
pub const INCREMENTAL_MAX: u64 = 512;

/// A configuration as some nodes get it by v1.
#[derive(Clone, Debug)]
pub struct Rendering {
    /// The payload: gzip of JSON.
    pub frame: Bytes,
    /// What it states as `config_hash`.
    pub hash: ConfigHash,
    /// The plugins that are configured, in the versions that the control plane has.
    pub plugins: Arc<[PluginVersion]>,
    /// The Wasm filters that the control plane has.
    pub filters: Arc<[String]>,
    /// Whether traditional routes and expressions stand side by side, which no node before 3.7 reads.
    pub mixes_routes: bool,
}

/// One change of one entity, for v2.
#[derive(Clone, Debug)]
pub struct Change {
    pub version: u64,
    pub entity_type: Box<str>,
    pub workspace_id: Box<str>,
    /// The primary key, as an object.
    pub key: Json,
    /// `None` deletes it. Foreign keys are objects with an `id`, where v1 has plain texts.
    pub entity: Option<Json>,
}

/// Everything at one version, for v2.
#[derive(Debug)]
pub struct FullSync {
    pub version: u64,
    entities: Vec<(Box<str>, Box<str>, Json)>,
    encoded: [OnceLock<Deltas>; 2],
}

/// An array of deltas as it stands in an answer, and as the elements of a snappy block.
#[derive(Clone, Debug)]
pub struct Deltas {
    /// Bytes of JSON.
    pub json_bytes: usize,
    /// A snappy block without the length in front. Copies in a block reach back only within what was compressed with
    /// them, so that blocks can be joined, and one is shared by all answers that differ around it.
    pub elements: Bytes,
}

impl Rendering {
    /// The frame of a configuration table that is sent as it is.
    #[must_use]
    pub fn of_table(table: &Map<String, Value>, gateway_version: &str, at: Timestamp) -> Self {
        Self::trimmed(table, &table_hashes(table), gateway_version, at)
    }

    /// The frame of a table that was trimmed for older nodes: its hashes are those of the whole table
    /// (`kong-hybrid.md` 1.10).
    #[must_use]
    pub fn trimmed(table: &Map<String, Value>, of_whole: &TableHashes, gateway_version: &str, at: Timestamp) -> Self {
        let sections = &of_whole.sections;
        // Seconds with a fraction of milliseconds.
        #[expect(clippy::cast_precision_loss)]
        let timestamp = at.ms() as f64 / 1000.0;
        let frame = json!({
            "type": "reconfigure",
            "timestamp": timestamp,
            "config_table": table,
            "config_hash": of_whole.config,
            "hashes": {
                "config": of_whole.config,
                "routes": sections.routes,
                "services": sections.services,
                "plugins": sections.plugins,
                "upstreams": sections.upstreams,
                "targets": sections.targets,
            },
        });
        let names = table.get("plugins").and_then(Value::as_array).into_iter().flatten();
        let names: BTreeSet<&str> = names.filter_map(|plugin| plugin.get("name")?.as_str()).collect();
        let version = Some(gateway_version.to_owned());
        let plugins = names.into_iter().map(|name| PluginVersion { name: name.to_owned(), version: version.clone() });
        Self {
            frame: gzip(frame.to_string().as_bytes()),
            hash: of_whole.config,
            plugins: plugins.collect(),
            filters: [].into(),
            mixes_routes: false,
        }
    }
}

impl FullSync {
    /// Entities at a version, each with its type and workspace, in the order in which they are sent.
    #[must_use]
    pub fn new(version: u64, entities: Vec<(Box<str>, Box<str>, Json)>) -> Self {
        Self { version, entities, encoded: [OnceLock::new(), OnceLock::new()] }
    }

    /// How many entities.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entities.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entities.is_empty()
    }

    /// As the deltas of an answer, made when they are first asked for.
    pub fn deltas(&self, flavour: Flavour) -> &Deltas {
        self.encoded[flavour as usize].get_or_init(|| {
            let version = version_json(flavour, slot(flavour, self.version));
            Deltas::of(self.entities.iter().map(|(entity_type, workspace_id, entity)| {
                let (entity_type, workspace_id) = (Value::from(&**entity_type), Value::from(&**workspace_id));
                format!("{{\"type\":{entity_type},\"version\":{version},\"ws_id\":{workspace_id},\"entity\":{entity}}}")
            }))
        })
    }
}

impl Change {
    /// As one delta of an answer.
    #[must_use]
    pub fn delta(&self, flavour: Flavour) -> String {
        let Self { entity_type, workspace_id, key, entity, .. } = self;
        let (entity_type, workspace_id) = (Value::from(&**entity_type), Value::from(&**workspace_id));
        let version = version_json(flavour, slot(flavour, self.version));
        let entity = entity.as_ref().map_or("null", |entity| entity.get());
        format!(
            "{{\"type\":{entity_type},\"version\":{version},\"ws_id\":{workspace_id},\"pk\":{key},\"entity\":{entity}}}"
        )
    }
}

impl Deltas {
    /// Deltas that are JSON already. None of them is `{}`, as an empty table of Lua is.
    pub fn of(deltas: impl Iterator<Item = String>) -> Self {
        let mut text = String::new();
        for delta in deltas {
            text.push(if text.is_empty() { '[' } else { ',' });
            text.push_str(&delta);
        }
        text.push_str(if text.is_empty() { "{}" } else { "]" });
        Self { json_bytes: text.len(), elements: elements(text.as_bytes()) }
    }
}

/// A version as it stands in a node's hash slot (`kong-hybrid.md` 2.5).
#[must_use]
pub fn slot(flavour: Flavour, version: u64) -> ConfigHash {
    let text = match flavour {
        Flavour::Integers => format!("{version:032}"),
        Flavour::Tokens => format!("v02_{version:028x}"),
    };
    // Both forms have 32 characters for any number.
    text.parse().unwrap_or(ConfigHash::ZEROS)
}

/// The number of a version in a hash slot. Anything else is older than every version: 0.
#[must_use]
pub fn version_of(flavour: Flavour, slot: ConfigHash) -> u64 {
    let text = slot.as_str();
    match flavour {
        Flavour::Integers => text.parse().unwrap_or(0),
        Flavour::Tokens => text.strip_prefix("v02_").and_then(|hex| u64::from_str_radix(hex, 16).ok()).unwrap_or(0),
    }
}

/// A snappy block without its length.
pub(super) fn elements(text: &[u8]) -> Bytes {
    // Fails only above 4 GiB, which no configuration is; an empty block says so to whoever reads it.
    let block = snap::raw::Encoder::new().compress_vec(text).unwrap_or_default();
    let length_bytes = block.iter().position(|byte| byte & 0x80 == 0).map_or(0, |last| last + 1);
    Bytes::from(block).slice(length_bytes..)
}

/// As zlib writes it with Kong's settings: default level, no name, no time, "Unix".
fn gzip(text: &[u8]) -> Bytes {
    const UNIX: u8 = 3;
    let mut encoder = GzBuilder::new().operating_system(UNIX).write(Vec::new(), Compression::default());
    // Into memory: it cannot fail.
    let _ = encoder.write_all(text);
    encoder.finish().unwrap_or_default().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kong::v1::{self, FromControlPlane};

    #[test]
    fn a_rendering_is_what_the_decoder_reads() {
        let at = Timestamp::parse("2026-11-20T08:53:57.789Z").unwrap();
        let table = json!({
            "_format_version": "3.0", "_transform": false,
            "services": [{"id": "1", "host": "x", "tags": null}],
            "plugins": [{"id": "2", "name": "cors"}, {"id": "3", "name": "acl"}, {"id": "4", "name": "cors"}],
        });
        let rendering = Rendering::of_table(table.as_object().unwrap(), "3.9.3", at);
        assert_eq!(rendering.frame[..10], [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3], "the head that Kong writes");
        let read = v1::from_control_plane(&rendering.frame, 1_000_000).unwrap();
        let FromControlPlane::Reconfigure(offer) = read else { panic!("{read:?}") };
        assert_eq!((offer.stated, offer.is_trimmed()), (Some(rendering.hash), Some(false)));
        assert_eq!(offer.stated_sections, Some(offer.recomputed.sections));
        assert_eq!(offer.exported_at_ms, Some(at.ms()));
        let names: Vec<_> = rendering.plugins.iter().map(|plugin| plugin.name.as_str()).collect();
        assert_eq!(names, ["acl", "cors"]);
        let mut trimmed = table.as_object().unwrap().clone();
        trimmed.remove("plugins");
        let hashes = table_hashes(table.as_object().unwrap());
        let rendering = Rendering::trimmed(&trimmed, &hashes, "3.9.3", at);
        let read = v1::from_control_plane(&rendering.frame, 1_000_000).unwrap();
        let FromControlPlane::Reconfigure(offer) = read else { panic!("{read:?}") };
        assert_eq!((offer.stated, offer.is_trimmed()), (Some(hashes.config), Some(true)));
    }

    #[test]
    fn versions_have_two_forms() {
        #[track_caller]
        fn check(flavour: Flavour, version: u64, text: &str) {
            assert_eq!(slot(flavour, version).as_str(), text);
            assert_eq!(version_of(flavour, text.parse().unwrap()), version);
        }
        check(Flavour::Integers, 12, "00000000000000000000000000000012");
        check(Flavour::Tokens, 0, "v02_0000000000000000000000000000");
        check(Flavour::Tokens, 42, "v02_000000000000000000000000002a");
        check(Flavour::Tokens, u64::MAX, "v02_000000000000ffffffffffffffff");
        for foreign in ["c6ee22cecbb5f8a7714966db3931b7b1", "v02_z000000000000000000000000000"] {
            assert_eq!(version_of(Flavour::Tokens, foreign.parse().unwrap()), 0);
            assert_eq!(version_of(Flavour::Integers, foreign.parse().unwrap()), 0);
        }
    }

    #[test]
    fn joined_elements_are_one_block() {
        let entity = super::super::node::json(&json!({"id": "1", "host": "x".repeat(300)}));
        let full = FullSync::new(3, vec![("services".into(), "w".into(), entity); 100]);
        let deltas = full.deltas(Flavour::Tokens);
        let (before, after) = (br#"{"deltas":"#, br#","x":1}"#);
        let length = before.len() + deltas.json_bytes + after.len();
        let block = [&varint(length)[..], &elements(before), &deltas.elements, &elements(after)].concat();
        let text = snap::raw::Decoder::new().decompress_vec(&block).unwrap();
        assert_eq!(text.len(), length);
        let read: Value = serde_json::from_slice(&text).unwrap();
        assert_eq!(read["deltas"].as_array().map(Vec::len), Some(100));
        assert_eq!(read["deltas"][7]["version"], "v02_0000000000000000000000000003");
        assert_eq!(Deltas::of(std::iter::empty()).json_bytes, 2, "an empty table of Lua is `{{}}`");
    }

    fn varint(mut number: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        while number >= 0x80 {
            bytes.push((number & 0x7f) as u8 | 0x80);
            number >>= 7;
        }
        bytes.push(number as u8);
        bytes
    }
}
