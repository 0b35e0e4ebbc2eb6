//! A shadow: one more data plane of a control plane, which only watches. It says what it is, repeats its hash every 30 s and
//! comes back after a break, as Kong's nodes do (`kong-hybrid.md` 1.13); it applies nothing, serves nothing and keeps nothing
//! but its id and its last hash. From the configurations that it is sent come the control plane's words: when something was
//! published, under which hash, with which content and shape. It sees no other node, and is itself in no count
//! ([`crate::kong::own`]).
//!
//! A control plane trims what it sends by the gateway version of the node, so a shadow may be several nodes, one for each
//! version, and one more each where v2 is watched too.
//!
//! Read in this order: [`memory`] (what it must not forget), `connection` (how a node of it lives), `ears` (from frames to
//! facts), `telling` (facts on their way), [`figures`] (what it did).

pub mod figures;

pub mod memory;

mod connection;

mod ears;

mod telling;

pub use telling::Sink;

use crate::clock::Clock;
use crate::cluster_tls::TlsError;
use crate::cluster_tls::trust::Trust;
use crate::kong::facts::PluginVersion;
use crate::kong::frame::PAYLOAD_MAX;
use crate::kong::session::INFLATED_MAX;
use crate::simulate::wire::node::{Flavour, Node, NotANode, Profile, SyncMode, bundled_plugins, json};
use crate::simulate::wire::pace::Pace;
use connection::Watching;
use figures::{Figures, OfNode};
use futures::future::join_all;
use memory::{Memory, MemoryError};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use telling::{INTERVAL_MS, Teller, began, stopped};
use thiserror::Error;
use tidemark_domain::fact::Protocol;
use tidemark_domain::gateway::GatewayVersion;
use tidemark_domain::id::{CpName, Line};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// Gateway versions that one shadow may be.
pub const VERSIONS_MAX: usize = 16;
/// For the last facts, once it is stopped.
const GOODBYE_MAX: Duration = Duration::from_secs(5);

/// What a shadow watches, and as whom.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Its hostname is `tidemark-shadow-` and this.
    pub name: String,
    /// Whose words these are, by its name in Tidemark.
    pub control_plane: CpName,
    /// Which replica of it answers at `connect`, where that is always the same one and there are several.
    pub replica: Option<Line>,
    /// `host:port` of Kong's `cluster_listen`.
    pub connect: String,
    /// The files are read at each connect, so that certificates may be exchanged.
    pub trust: Trust,
    /// The name in the control plane's certificate, in pki mode; else the host of `connect`.
    pub server_name: Option<String>,
    /// A node for each: 1 to [`VERSIONS_MAX`].
    pub versions: Vec<GatewayVersion>,
    /// Where its nodes keep their ids and last hashes. It must outlive the process: a shadow that forgets is a new, empty
    /// node each time.
    pub folder: PathBuf,
    /// Plugins that it says to have beside those that come with the gateway version; one of the same name takes the place
    /// of a bundled one. A control plane sends nothing to a node that lacks a configured plugin.
    pub plugins: Vec<PluginVersion>,
    /// Names of Wasm filters that it says to have.
    pub filters: Vec<String>,
    /// Labels that its control plane shows.
    pub labels: BTreeMap<String, String>,
    /// Whether it is a node of v2 beside that of v1, where the control plane offers that.
    pub watches_v2: bool,
    /// The longest frame that is taken: Kong's `cluster_max_payload`.
    pub frame_max: usize,
    /// Bytes of JSON of one configuration that are read.
    pub inflated_max: usize,
    /// How fast it lives: as Kong does, but for tests.
    pub pace: Pace,
}

impl Settings {
    /// The defaults, with what has none.
    #[must_use]
    pub fn new(
        name: &str,
        control_plane: CpName,
        connect: &str,
        trust: Trust,
        versions: Vec<GatewayVersion>,
        folder: PathBuf,
    ) -> Self {
        Self {
            name: name.to_owned(),
            control_plane,
            replica: None,
            connect: connect.to_owned(),
            trust,
            server_name: None,
            versions,
            folder,
            plugins: Vec::new(),
            filters: Vec::new(),
            labels: BTreeMap::new(),
            watches_v2: false,
            frame_max: PAYLOAD_MAX,
            inflated_max: INFLATED_MAX,
            pace: Pace::KONG,
        }
    }

    fn node(&self, memory: &Memory, version: &GatewayVersion, sync: SyncMode) -> Result<Node, NotANode> {
        let added = |name: &str| self.plugins.iter().any(|plugin| plugin.name == name);
        let mut plugins = bundled_plugins(version);
        plugins.retain(|plugin| !added(&plugin.name));
        plugins.extend_from_slice(&self.plugins);
        // As Kong sorts them.
        plugins.sort_by_key(|plugin| plugin.name.to_lowercase());
        let filters: serde_json::Map<_, _> =
            self.filters.iter().map(|name| (name.clone(), serde_json::json!({ "name": name }))).collect();
        let profile = Profile { filters: json(&filters.into()), ..Profile::with_plugins(&plugins, &self.labels, sync) };
        let hostname = format!("{}{}", crate::kong::own::HOSTNAME, self.name);
        Ok(Node { sync, ..Node::new(memory.node_id(), &hostname, version.as_str(), Arc::new(profile))? })
    }
}

/// Why a shadow cannot begin.
#[derive(Debug, Error)]
pub enum ShadowError {
    #[error("a shadow has 1 to {VERSIONS_MAX} gateway versions, each once")]
    Versions,
    #[error(transparent)]
    Memory(#[from] MemoryError),
    #[error(transparent)]
    Node(#[from] NotANode),
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// A shadow that is ready to connect.
pub struct Shadow {
    settings: Arc<Settings>,
    clock: Clock,
    figures: Arc<Figures>,
    nodes: Vec<(Node, Memory)>,
}

impl Shadow {
    /// Opens what the shadow remembers, and looks whether its certificates can be used. Nothing is connected yet.
    ///
    /// # Errors
    /// See [`ShadowError`]: all of them are for people to put right.
    pub fn open(settings: Settings, clock: Clock) -> Result<Self, ShadowError> {
        let mut names: Vec<&str> = settings.versions.iter().map(GatewayVersion::as_str).collect();
        names.sort_unstable();
        names.dedup();
        if names.len() != settings.versions.len() || !(1..=VERSIONS_MAX).contains(&names.len()) {
            return Err(ShadowError::Versions);
        }
        settings.trust.node(settings.server_name.as_deref(), &settings.connect)?;
        let mut nodes = Vec::new();
        let mut figures = Vec::new();
        for version in &settings.versions {
            let v2 = settings.watches_v2.then(|| (Protocol::V2, SyncMode::V2(Flavour::of(version)), "v2"));
            for (protocol, sync, word) in [(Protocol::V1, SyncMode::V1, "v1")].into_iter().chain(v2) {
                let memory = Memory::open(&settings.folder, word, version.as_str())?;
                figures.push(OfNode::new(version.clone(), protocol, memory.node_id(), memory.hash()));
                nodes.push((settings.node(&memory, version, sync)?, memory));
            }
        }
        Ok(Self { settings: Arc::new(settings), clock, figures: Figures::new(figures), nodes })
    }

    /// What it does, now and later.
    #[must_use]
    pub fn figures(&self) -> Arc<Figures> {
        Arc::clone(&self.figures)
    }

    /// Watches until it is stopped.
    pub async fn run(self, sink: impl Sink, stop: CancellationToken) {
        let Self { settings, clock, figures, nodes } = self;
        let (teller, telling) = Teller::new(settings.control_plane.clone(), clock.clone(), Arc::clone(&figures));
        let (hearing, seen) = watch::channel(0);
        let hearing = Arc::new(hearing);
        let lives = nodes.into_iter().enumerate().map(|(number, (node, memory))| {
            let (settings, figures, teller) = (Arc::clone(&settings), Arc::clone(&figures), teller.clone());
            Watching::new(number, node, memory, settings, clock.clone(), figures, teller, Arc::clone(&hearing)).live()
        });
        let lives: Vec<_> = lives.collect();
        let watching = async {
            tokio::select! {
                _ = join_all(lives) => {}
                () = listening(&teller, settings.pace, seen) => {}
                () = stop.cancelled() => {}
            }
            if let Some(what) = stopped("the shadow was stopped") {
                teller.say(0, what);
            }
            // The last teller: nothing comes after this.
            drop(teller);
        };
        let handing_over = async {
            let telling = telling.run(sink, stop.clone());
            tokio::pin!(telling);
            tokio::select! {
                () = &mut telling => {}
                () = stop.cancelled() => { _ = timeout(GOODBYE_MAX, telling).await; }
            }
        };
        tokio::join!(watching, handing_over);
    }
}

/// Says when the shadow hears of changes, and when no node of it did for three intervals (DESIGN 5.9).
async fn listening(teller: &Teller, pace: Pace, mut hearing: watch::Receiver<usize>) {
    let patience = pace.span(Duration::from_millis(3 * u64::from(INTERVAL_MS)));
    let mut hears = false;
    loop {
        if timeout(patience, hearing.wait_for(|nodes| *nodes > 0)).await.is_err() {
            hears = false;
            if let Some(what) = stopped("the shadow is not sent any configuration") {
                teller.say(0, what);
            }
            let _ = hearing.wait_for(|nodes| *nodes > 0).await;
        }
        if !std::mem::replace(&mut hears, true) {
            teller.say(0, began());
        }
        let _ = hearing.wait_for(|nodes| *nodes == 0).await;
    }
}
