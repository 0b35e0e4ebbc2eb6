//! A simulated control plane: one database, what was exported from it, and what is known of its nodes.
//!
//! Pushes are coalesced as Kong does it: the first change goes at once, what comes within the next five seconds goes
//! together (`kong-hybrid.md` 1.6).

use super::estate::{Change, Estate, Rendered, Rendering};
use super::scenario::{self, Sync, Tokens};
use crate::kong::digest::BehaviourDigest;
use crate::kong::facts::Row;
use crate::kong::plugins;
use crate::kong::shape::Shape;
use crate::kong::sync_state::SyncState;
use crate::kong::v2::Delta;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use tidemark_domain::fact::PluginChange;
use tidemark_domain::gateway::GatewayVersion;
use tidemark_domain::hash::ConfigHash;
use tidemark_domain::id::{CpName, Token};
use tidemark_domain::time::{SECOND, Timestamp};

/// Milliseconds between two pushes at least (`kong-hybrid.md` 1.6, `db_update_frequency`).
pub const PUSH_GAP_MS: i64 = 5 * SECOND;

/// What a node runs, or is sent: the truth, which only the simulator knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The number of the publication.
    pub publication: u32,
    /// The write that it was exported after; what a node with it does.
    pub version: u64,
    /// What the node will repeat.
    pub hash: ConfigHash,
}

/// A configuration that a control plane published.
#[derive(Clone, Debug)]
pub struct Publication {
    /// Counts from 1.
    pub number: u32,
    pub at: Timestamp,
    /// The last write in it.
    pub version: u64,
    /// The writes in it that the one before did not have, and whether they changed behaviour.
    pub changes_behaviour: bool,
    /// What it does, however it is written down.
    pub behaviour: BehaviourDigest,
    /// What the control plane states of it, as the first replica renders it for its own gateway version.
    pub hash: ConfigHash,
}

/// The newest export of one replica.
#[derive(Clone, Debug, Default)]
struct Export {
    by_gateway: BTreeMap<GatewayVersion, Arc<Rendered>>,
    whole: Option<Arc<Deltas>>,
}

/// An answer of delta sync, as all nodes at one version get it.
#[derive(Clone, Debug)]
pub struct Deltas {
    pub full: bool,
    pub upserts: u32,
    pub deletes: u32,
    pub versions: Vec<ConfigHash>,
    /// Of what the node has afterwards.
    pub digest: BehaviourDigest,
    pub shape: Shape,
    pub plugins_changed: Vec<PluginChange>,
    pub json_bytes: u64,
}

/// One process that serves nodes.
#[derive(Clone, Debug)]
struct Replica {
    rendering: Rendering,
    export: Export,
}

/// A control plane.
#[derive(Debug)]
pub struct Plane {
    pub name: CpName,
    pub gateway: GatewayVersion,
    pub sync: Sync,
    pub tokens: Tokens,
    pub estate: Estate,
    backup: Option<Estate>,
    replicas: Vec<Replica>,
    pub publications: Vec<Publication>,
    /// It runs.
    pub up: bool,
    /// The last push.
    pushed_at: Option<Timestamp>,
    /// A push is to come.
    pub push_is_due: bool,
    /// The table of its nodes (`kong-hybrid.md` 3.1).
    pub rows: BTreeMap<String, Row>,
    /// What each replica stated last, by gateway version; for those who are told what is expected.
    pub expected: BTreeMap<(usize, GatewayVersion), ConfigHash>,
}

impl Plane {
    /// The control plane of a scenario, as it is when the story begins: it has published its database once.
    #[must_use]
    pub fn new(seed: u64, of: &scenario::ControlPlane, at: Timestamp) -> Self {
        let rendering = Rendering { fields: Vec::new(), by_gateway: of.hash_by_gateway };
        let mut plane = Self {
            name: of.name.clone(),
            gateway: of.gateway_version.clone(),
            sync: of.sync,
            tokens: of.tokens,
            estate: Estate::new(seed, of.name.as_str(), of.entities.0, at),
            backup: None,
            replicas: vec![Replica { rendering, export: Export::default() }],
            publications: Vec::new(),
            up: true,
            pushed_at: None,
            push_is_due: false,
            rows: BTreeMap::new(),
            expected: BTreeMap::new(),
        };
        plane.publish(at);
        plane.pushed_at = None;
        plane
    }

    /// What it publishes now.
    #[must_use]
    pub fn head(&self) -> &Publication {
        self.publications.last().expect("a control plane publishes when it is made")
    }

    /// Processes that serve nodes.
    #[must_use]
    pub fn replicas(&self) -> usize {
        self.replicas.len()
    }

    /// A write happened: when it will be pushed, unless that is planned already.
    pub fn wrote(&mut self, now: Timestamp) -> Option<Timestamp> {
        if std::mem::replace(&mut self.push_is_due, true) {
            return None;
        }
        Some(self.pushed_at.map_or(now, |last| last.plus(PUSH_GAP_MS).max(now)))
    }

    /// Exports the database as it is now.
    pub fn publish(&mut self, now: Timestamp) {
        self.push_is_due = false;
        self.pushed_at = Some(now);
        self.forget_exports();
        let gateway = self.gateway.clone();
        let rendered = self.rendered(0, &gateway);
        // A release that writes things down in another way changes no behaviour.
        let behaviour = match self.replicas[0].rendering.fields.is_empty() {
            true => rendered.digest,
            false => self.estate.render(&Rendering::default(), &self.gateway, &gateway).digest,
        };
        let changes_behaviour = self.publications.last().is_none_or(|before| before.behaviour != behaviour);
        let number = u32::try_from(self.publications.len() + 1).unwrap_or(u32::MAX);
        let (version, hash) = (self.estate.version(), rendered.stated.config);
        self.publications.push(Publication { number, at: now, version, changes_behaviour, behaviour, hash });
    }

    fn forget_exports(&mut self) {
        self.replicas.iter_mut().for_each(|replica| replica.export = Export::default());
    }

    /// A release renders in another way from now on, and publishes nothing. What it brings goes where it is there
    /// already: so a story in which a release comes again and again has a release each time.
    pub fn rerender(&mut self, fields: Vec<(super::estate::Kind, String, serde_json::Value)>) {
        for replica in &mut self.replicas {
            for field in &fields {
                let there = &mut replica.rendering.fields;
                match there.iter().position(|known| known == field) {
                    Some(place) => drop(there.remove(place)),
                    None => there.push(field.clone()),
                }
            }
        }
        self.forget_exports();
    }

    /// One more replica, of another release.
    pub fn join_replica(&mut self, fields: Vec<(super::estate::Kind, String, serde_json::Value)>) {
        let mut rendering = self.replicas[0].rendering.clone();
        rendering.fields.extend(fields);
        self.replicas.push(Replica { rendering, export: Export::default() });
    }

    /// Saves the database.
    pub fn back_up(&mut self) {
        self.backup = Some(self.estate.clone());
    }

    /// Goes back to what was saved; `false` if nothing was.
    pub fn restore(&mut self) -> bool {
        let Some(backup) = self.backup.clone() else { return false };
        self.estate = backup;
        true
    }

    /// The newest configuration as a replica renders it for a gateway version.
    pub fn rendered(&mut self, replica: usize, gateway: &GatewayVersion) -> Arc<Rendered> {
        let replica = replica.min(self.replicas.len() - 1);
        let Replica { rendering, export } = &mut self.replicas[replica];
        let rendered = export.by_gateway.entry(gateway.clone());
        Arc::clone(rendered.or_insert_with(|| Arc::new(self.estate.render(rendering, &self.gateway, gateway))))
    }

    /// What a node gets that syncs whole configurations.
    pub fn config(&mut self, replica: usize, gateway: &GatewayVersion) -> Config {
        let hash = self.rendered(replica, gateway).stated.config;
        Config { publication: self.head().number, version: self.head().version, hash }
    }

    /// The version of delta sync that was published last (`kong-hybrid.md` 2.5).
    #[must_use]
    pub fn sync_version(&self) -> ConfigHash {
        self.version_hash(self.head().version)
    }

    /// What a node gets that syncs by JSON-RPC.
    #[must_use]
    pub fn sync_config(&self) -> Config {
        Config { publication: self.head().number, version: self.head().version, hash: self.sync_version() }
    }

    fn version_hash(&self, version: u64) -> ConfigHash {
        let text = match self.sync {
            Sync::Rpc => format!("v02_{version:028x}"),
            Sync::Full | Sync::Delta => format!("{version:032}"),
        };
        text.parse().unwrap_or(ConfigHash::ZEROS)
    }

    /// What the control plane answers to a node that says which version it runs.
    pub fn deltas(&mut self, running: Option<u64>) -> Arc<Deltas> {
        let partial = match self.sync {
            Sync::Delta => running.and_then(|version| self.estate.changes_since(version)),
            Sync::Full | Sync::Rpc => None,
        };
        if let Some(changes) = partial {
            let whole = self.whole();
            return Arc::new(self.answer(&changes, false, whole.digest, whole.shape.clone()));
        }
        self.whole()
    }

    fn whole(&mut self) -> Arc<Deltas> {
        if let Some(whole) = &self.replicas[0].export.whole {
            return Arc::clone(whole);
        }
        let changes = self.estate.everything();
        let mut state = SyncState::default();
        let deltas: Vec<_> = changes.iter().map(|change| self.delta(change)).collect();
        state.apply(None, true, &deltas);
        let (digest, shape) =
            state.summary().unwrap_or_else(|| (BehaviourDigest::of_entities(Vec::new()), Shape::default()));
        let whole = Arc::new(self.answer(&changes, true, digest, shape));
        self.replicas[0].export.whole = Some(Arc::clone(&whole));
        whole
    }

    /// A change as it is on the wire (`kong-hybrid.md` 2.4).
    #[must_use]
    pub fn delta(&self, change: &Change) -> Delta {
        Delta {
            entity_type: change.kind.word().to_owned(),
            primary_key: change.primary_key.clone(),
            version: self.version_hash(change.version),
            entity: change.entity.clone(),
        }
    }

    fn answer(&self, changes: &[Change], full: bool, digest: BehaviourDigest, shape: Shape) -> Deltas {
        let upserts = changes.iter().filter(|change| change.entity.is_some()).count();
        let mut versions: Vec<_> = changes.iter().map(|change| self.version_hash(change.version)).collect();
        versions.dedup();
        let bytes = |change: &Change| {
            let text = json!({"type": change.kind.word(), "version": self.version_hash(change.version).as_str(),
                "ws_id": self.estate.workspace(), "entity": change.entity});
            text.to_string().len() as u64
        };
        let entities = changes.iter().map(|change| (change.kind.word(), change.entity.as_ref()));
        Deltas {
            full,
            plugins_changed: if full { Vec::new() } else { plugins::changed(entities) },
            upserts: u32::try_from(upserts).unwrap_or(u32::MAX),
            deletes: u32::try_from(changes.len() - upserts).unwrap_or(u32::MAX),
            versions,
            digest,
            shape,
            json_bytes: changes.iter().map(bytes).sum::<u64>() + 64,
        }
    }

    /// What the newest publication is called; `None` where it is not called anything.
    #[must_use]
    pub fn token(&self) -> Option<Token> {
        let Publication { version, at, .. } = self.head();
        match self.tokens {
            Tokens::None => None,
            Tokens::Names => format!("release-{version}").parse().ok(),
            Tokens::Dates => date_token(*at),
            Tokens::Ordered => format!("v02_{version:028x}").parse().ok(),
        }
    }
}

/// What a version is called that was published at a moment, `2026-11-20.081502`.
#[must_use]
pub fn date_token(at: Timestamp) -> Option<Token> {
    let text = at.to_string();
    let (date, time) = text.split_once('T')?;
    let digits: String = time.chars().take_while(|letter| *letter != '.' && *letter != 'Z').collect();
    format!("{date}.{}", digits.replace(':', "")).parse().ok()
}
