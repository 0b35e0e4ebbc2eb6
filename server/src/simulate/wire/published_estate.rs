//! An [`Estate`] on the wire: what a simulated control plane has in its database, published as Kong does, trimmed for older
//! gateways.

use super::node::json;
use super::publishing::{self, Change, FullSync, Publishing, Rendering};
use crate::kong::facts::Introduction;
use crate::simulate::estate::{self, Estate, Kind, Write};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use tidemark_domain::gateway::GatewayVersion;
use tidemark_domain::time::Timestamp;
use tokio::sync::watch;

/// A database behind one control plane, or behind several replicas of one.
pub struct PublishedEstate {
    gateway_version: GatewayVersion,
    state: Mutex<State>,
    versions: watch::Sender<u64>,
}

struct State {
    estate: Estate,
    rendering: estate::Rendering,
}

/// One export, rendered for each gateway version when the first node of it asks.
struct Export {
    estate: Estate,
    rendering: estate::Rendering,
    gateway_version: GatewayVersion,
    at: Timestamp,
    by_gateway: Mutex<BTreeMap<GatewayVersion, Arc<OnceLock<Arc<Rendering>>>>>,
    full_sync: OnceLock<Arc<FullSync>>,
}

impl PublishedEstate {
    /// Published by a control plane of this version.
    #[must_use]
    pub fn new(gateway_version: GatewayVersion, estate: Estate) -> Arc<Self> {
        let versions = watch::channel(estate.version()).0;
        let state = State { estate, rendering: estate::Rendering::default() };
        Arc::new(Self { gateway_version, state: Mutex::new(state), versions })
    }

    /// Writes to the database, which is published in time.
    pub fn write(&self, write: Write, at: Timestamp) {
        self.change(|estate| estate.write(write, at));
    }

    /// Changes the database in any way: many writes at once, or a backup that is restored. A clone is a backup.
    pub fn change<T>(&self, change: impl FnOnce(&mut Estate) -> T) -> T {
        let mut state = self.state.lock();
        let changed = change(&mut state.estate);
        // Under the lock, so that the version and the rows belong together.
        self.versions.send_replace(state.estate.version());
        changed
    }

    /// From now on entities are written down like this, as after the release of another control plane. Nobody is told:
    /// it shows in the next export.
    pub fn rerender(&self, rendering: estate::Rendering) {
        self.state.lock().rendering = rendering;
    }
}

impl Publishing for PublishedEstate {
    fn export(&self, at: Timestamp) -> Arc<dyn publishing::Export> {
        let state = self.state.lock();
        Arc::new(Export {
            estate: state.estate.clone(),
            rendering: state.rendering.clone(),
            gateway_version: self.gateway_version.clone(),
            at,
            by_gateway: Mutex::default(),
            full_sync: OnceLock::new(),
        })
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.versions.subscribe()
    }

    fn changes_since(&self, version: u64) -> Option<Vec<Arc<Change>>> {
        let state = self.state.lock();
        let workspace = state.estate.workspace();
        let changes = state.estate.changes_since(version)?;
        Some(changes.into_iter().map(|change| Arc::new(on_the_wire(change, workspace))).collect())
    }
}

impl publishing::Export for Export {
    fn rendering(&self, to: &Introduction) -> Arc<Rendering> {
        let gateway = to.gateway_version.as_deref().and_then(|version| version.parse().ok());
        let gateway: GatewayVersion = gateway.unwrap_or_else(|| self.gateway_version.clone());
        let kept = Arc::clone(self.by_gateway.lock().entry(gateway.clone()).or_default());
        // Nodes of other versions need not wait for this one.
        let render = || {
            let rendered = self.estate.render(&self.rendering, &self.gateway_version, &gateway);
            let version = self.gateway_version.as_str();
            Arc::new(Rendering::trimmed(&rendered.table, &rendered.stated, version, self.at))
        };
        Arc::clone(kept.get_or_init(render))
    }

    fn full_sync(&self, _to: &Introduction) -> Arc<FullSync> {
        let make = || {
            let workspace = self.estate.workspace();
            let entity =
                |change: estate::Change| Some((change.kind.word().into(), workspace.into(), json(&change.entity?)));
            let entities = self.estate.everything().into_iter().filter_map(entity).collect();
            Arc::new(FullSync::new(self.estate.version(), entities))
        };
        Arc::clone(self.full_sync.get_or_init(make))
    }
}

fn on_the_wire(change: estate::Change, workspace: &str) -> Change {
    let key: Value = match change.kind {
        Kind::Parameters => json!({"key": change.primary_key}),
        Kind::Workspaces
        | Kind::Consumers
        | Kind::Certificates
        | Kind::Services
        | Kind::Routes
        | Kind::Snis
        | Kind::Upstreams
        | Kind::Targets
        | Kind::Plugins => json!({"id": change.primary_key}),
    };
    Change {
        version: change.version,
        entity_type: change.kind.word().into(),
        workspace_id: workspace.into(),
        key: json(&key),
        entity: change.entity.as_ref().map(json),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kong::v1::{self, FromControlPlane};
    use crate::simulate::estate::Counts;

    fn now() -> Timestamp {
        Timestamp::parse("2026-11-20T09:00:00Z").unwrap()
    }

    fn node(gateway_version: &str) -> Introduction {
        Introduction {
            protocol: crate::kong::facts::Protocol::V1,
            node_id: None,
            hostname: None,
            gateway_version: Some(gateway_version.to_owned()),
            labels: BTreeMap::new(),
            plugins: vec![],
            filters: vec![],
            capabilities: vec![],
            settings: BTreeMap::new(),
        }
    }

    fn published() -> Arc<PublishedEstate> {
        PublishedEstate::new("3.9.3".parse().unwrap(), Estate::new(1, "cp", Counts::SMALL, now()))
    }

    #[test]
    fn an_older_gateway_gets_less_under_the_same_hash() {
        let export = published().export(now());
        let offer = |gateway: &str| {
            let rendering = export.rendering(&node(gateway));
            match v1::from_control_plane(&rendering.frame, 1 << 26).unwrap() {
                FromControlPlane::Reconfigure(offer) => (*offer, rendering),
                other => panic!("{other:?}"),
            }
        };
        let (whole, rendering) = offer("3.9.3");
        assert_eq!((whole.is_trimmed(), whole.stated), (Some(false), Some(rendering.hash)));
        assert!(Arc::ptr_eq(&rendering, &offer("3.9.3").1), "made once");
        let (trimmed, older) = offer("3.4.2");
        assert_eq!((trimmed.is_trimmed(), trimmed.stated), (Some(true), Some(older.hash)));
        assert_eq!(older.hash, rendering.hash);
        assert!(!rendering.plugins.is_empty());
    }

    #[test]
    fn a_write_is_a_version_and_a_delta() {
        let published = published();
        let before = *published.changes().borrow();
        published.write(Write::Route, now());
        assert_eq!(*published.changes().borrow(), before + 1);
        let [change] = published.changes_since(before).unwrap().try_into().unwrap();
        assert_eq!((change.version, &*change.entity_type), (before + 1, "routes"));
        let full = published.export(now()).full_sync(&node("3.9.3"));
        assert_eq!(full.version, before + 1);
        assert_eq!(full.len(), published.change(|estate| estate.total()));
    }
}
