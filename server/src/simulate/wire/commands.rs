//! `tidemark simulate nodes`, `control-plane` and `cluster-cert`: the fleet on the wire, from the command line. Each may
//! meet a genuine Kong at the other end.

use super::control_plane::{ControlPlane, Rpc, Settings};
use super::data_plane::{Conduct, DataPlane, Dialler, Fault, Orders, Seen, Surroundings};
use super::node::{Flavour, Node, Profile, SyncMode};
use super::pace::{Between, Pace};
use super::published_estate::PublishedEstate;
use super::websocket::Room;
use crate::clock::Clock;
use crate::cluster_tls::Throwaway;
use crate::cluster_tls::trust::Trust;
use crate::commands::Ended;
use crate::descriptors;
use crate::kong::facts::ApplyFailure;
use crate::simulate::estate::{Counts, Estate, Write};
use crate::simulate::random::Random;
use anyhow::Context;
use clap::{Args, ValueEnum};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tidemark_domain::gateway::GatewayVersion;
use tidemark_domain::hash::ConfigHash;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Nodes of one process; two descriptors each where RPC runs beside v1.
const NODES_MAX: u32 = 20_000;
/// How often a running fleet is summed up in a line.
const SUM_UP_EVERY: Duration = Duration::from_secs(10);
/// Large frames that all nodes of the process hold at once.
const ROOM: usize = 512 * 1024 * 1024;

/// Runs simulated data planes against a control plane.
#[derive(Args, Clone, Debug)]
pub struct Nodes {
    /// Kong's `cluster_control_plane`.
    #[arg(long, value_name = "HOST:PORT")]
    pub connect: String,
    #[command(flatten)]
    pub trust: Trust,
    /// The name in the control plane's certificate, in pki mode; else the host that is dialled.
    #[arg(long, value_name = "NAME")]
    pub cluster_server_name: Option<String>,
    /// How many.
    #[arg(long, value_name = "NUMBER", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=i64::from(NODES_MAX)))]
    pub count: u32,
    /// May be repeated: the nodes take them in turn.
    #[arg(long, value_name = "VERSION", default_value = "3.9.3")]
    pub gateway_version: Vec<GatewayVersion>,
    /// Of all nodes; may be repeated.
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
    pub labels: Vec<(String, String)>,
    /// How they get their configuration.
    #[arg(long, value_enum, default_value_t = Sync::V1)]
    pub sync: Sync,
    /// How long a configuration takes to apply: from, to.
    #[arg(long, value_name = "MS[..MS]", default_value = "20..200", value_parser = between)]
    pub apply_takes: Between,
    /// What some of them do that no healthy node does.
    #[arg(long, value_enum)]
    pub fault: Option<FaultName>,
    /// How many have the fault.
    #[arg(long, value_name = "NUMBER", default_value_t = 1, requires = "fault")]
    pub faulty: u32,
    /// Report configurations that cannot be applied, as nodes of Konnect do.
    #[arg(long)]
    pub konnect: bool,
    /// The nodes of a seed have the same ids, names and fortunes each time.
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub seed: u64,
    /// Seconds of Kong's in a second.
    #[arg(long, value_name = "NUMBER", default_value = "1", value_parser = pace)]
    pub speed: Pace,
}

/// How nodes get their configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Sync {
    /// `/v1/outlet`.
    V1,
    /// The same with an RPC connection beside it.
    V1WithRpc,
    /// `/v2/outlet`, as their gateway version has it.
    V2,
}

/// `kong-hybrid.md` 1.13.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FaultName {
    /// Cannot apply what it is sent.
    CannotApply,
    /// Applies, and repeats the old hash for ever.
    RepeatsOld,
    /// Sends nothing after its introduction.
    Silent,
    /// Sends heartbeats of 31 bytes.
    WrongPing,
    /// Sends a text frame.
    Text,
    /// Takes no configuration of more than 64 KiB.
    RefusesLarge,
    /// Has none of the plugins.
    MissingPlugins,
    /// Is a minor version newer than it should be.
    NewerMinor,
    /// Has the id of the node before it.
    DuplicateId,
}

/// Runs a simulated control plane.
#[derive(Args, Clone, Debug)]
pub struct ControlPlaneCommand {
    /// Kong's `cluster_listen`.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8005")]
    pub listen: SocketAddr,
    /// Where to answer as the Admin API does, in plain HTTP.
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub admin_listen: Option<SocketAddr>,
    #[command(flatten)]
    pub trust: Trust,
    /// The version that it is.
    #[arg(long, value_name = "VERSION", default_value = "3.9.3")]
    pub gateway_version: GatewayVersion,
    /// What is in its database.
    #[arg(long, value_name = "small|many_hosts|30000|90000", default_value = "small", value_parser = preset)]
    pub entities: Counts,
    /// Changes a route this often, in seconds of Kong's; 0 for never.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub write_every: u64,
    /// What it does on `/v2/outlet`.
    #[arg(long, value_enum, default_value_t = RpcMode::Off)]
    pub rpc: RpcMode,
    /// Take the error reports of nodes in Konnect mode.
    #[arg(long)]
    pub konnect: bool,
    /// The database of a seed is the same each time.
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub seed: u64,
    /// Seconds of Kong's in a second.
    #[arg(long, value_name = "NUMBER", default_value = "1", value_parser = pace)]
    pub speed: Pace,
}

/// Kong's `cluster_rpc` and the sync over it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum RpcMode {
    /// 404.
    Off,
    /// Connections, and no sync over them.
    On,
    /// The sync, as the gateway version has it.
    Sync,
}

/// Writes a throwaway cluster certificate, for nodes and control planes of a drill.
#[derive(Args, Clone, Debug)]
pub struct ClusterCert {
    /// The certificate; must not exist.
    #[arg(value_name = "CERT")]
    pub certificate: PathBuf,
    /// The key; must not exist.
    #[arg(value_name = "KEY")]
    pub key: PathBuf,
    /// As `kong hybrid gen_cert` writes it: X.509 version 1.
    #[arg(long)]
    pub as_gen_cert: bool,
}

/// Runs nodes until they are stopped, and sums them up in a line every ten seconds.
///
/// # Errors
/// If a certificate cannot be used, or the system allows too few connections.
pub async fn nodes(asked: Nodes, stopped: CancellationToken) -> anyhow::Result<Ended> {
    let each = if asked.sync == Sync::V1 { 1 } else { 2 };
    descriptors::make_room_for(u64::from(asked.count) * each)?;
    let tls = asked.trust.node(asked.cluster_server_name.as_deref(), &asked.connect)?;
    let surroundings = Surroundings::new(Dialler { address: asked.connect.clone(), tls }, asked.speed, Room::of(ROOM));
    let fleet = fleet(&asked)?;
    let mut running = Vec::with_capacity(fleet.len());
    for (number, orders) in (0..).zip(fleet) {
        let seed = asked.seed.wrapping_add(number);
        running.push(DataPlane::spawn(Arc::clone(&surroundings), orders, ConfigHash::ZEROS, seed));
    }
    while stopped.run_until_cancelled(tokio::time::sleep(SUM_UP_EVERY)).await.is_some() {
        println!("{}", sum_up(running.iter().map(|node| node.seen().borrow().clone())));
    }
    Ok(Ended::Well)
}

/// Runs a control plane until it is stopped. `ready` is told where it listens.
///
/// # Errors
/// If a certificate cannot be used, an address cannot be listened on, or the system allows too few connections.
pub async fn control_plane(
    asked: ControlPlaneCommand,
    stopped: CancellationToken,
    ready: impl FnOnce(SocketAddr, Option<SocketAddr>),
) -> anyhow::Result<Ended> {
    let tls = asked.trust.control_plane()?;
    let version = asked.gateway_version;
    let flavour = Flavour::of(&version);
    let mut settings = Settings {
        pace: asked.speed,
        rpc: match asked.rpc {
            RpcMode::Off => None,
            RpcMode::On => Some(Rpc { flavour, syncs: false }),
            RpcMode::Sync => Some(Rpc { flavour, syncs: true }),
        },
        is_konnect: asked.konnect,
        ..Settings::new(tls, version.as_str())
    };
    let room = descriptors::room_for_at_most(settings.connections_max as u64);
    settings.connections_max = usize::try_from(room).unwrap_or(usize::MAX);
    let clock = settings.clock.clone();
    let published =
        PublishedEstate::new(version, Estate::new(asked.seed, "control-plane", asked.entities, clock.now()));
    let control_plane = ControlPlane::new(settings, Arc::clone(&published) as _);
    let listen = |address| async move {
        TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))
    };
    let listener = listen(asked.listen).await?;
    let admin = match asked.admin_listen {
        Some(address) => Some(listen(address).await?),
        None => None,
    };
    ready(listener.local_addr()?, admin.as_ref().and_then(|admin| admin.local_addr().ok()));
    let writes = async {
        let every = Duration::from_secs(asked.write_every);
        if every.is_zero() {
            std::future::pending::<()>().await;
        }
        loop {
            asked.speed.wait(every).await;
            published.write(Write::Route, clock.now());
        }
    };
    let answers = async {
        match admin {
            Some(admin) => {
                let router = control_plane.admin_api().router();
                axum::serve(admin, router).await.context("the Admin API cannot be answered")
            }
            None => std::future::pending().await,
        }
    };
    let sums = async {
        loop {
            tokio::time::sleep(SUM_UP_EVERY).await;
            let counts = control_plane.counts();
            let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
            println!(
                "{} connections so far, {} heartbeats, {} configurations sent",
                count(&counts.accepted),
                count(&counts.pings),
                count(&counts.configurations)
            );
        }
    };
    tokio::select! {
        () = control_plane.run(listener, stopped) => Ok(Ended::Well),
        result = answers => result.map(|()| Ended::Well),
        () = writes => Ok(Ended::Well),
        () = sums => Ok(Ended::Well),
    }
}

/// Writes a certificate and its key to two new files.
///
/// # Errors
/// If one of them exists, or cannot be written.
pub fn cluster_cert(asked: &ClusterCert) -> anyhow::Result<Ended> {
    let now = Clock::machine().now();
    let made = if asked.as_gen_cert { Throwaway::cluster_of_version_1(now) } else { Throwaway::cluster(now) }?;
    write_new(&asked.certificate, &made.certificate, 0o644)?;
    write_new(&asked.key, &made.key, 0o600)?;
    Ok(Ended::Well)
}

fn write_new(path: &Path, text: &str, mode: u32) -> anyhow::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt;
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .with_context(|| format!("cannot make {}", path.display()))?;
    file.write_all(text.as_bytes()).with_context(|| format!("cannot write {}", path.display()))
}

/// What each node is and does.
fn fleet(asked: &Nodes) -> anyhow::Result<Vec<Orders>> {
    let labels: BTreeMap<_, _> = asked.labels.iter().cloned().collect();
    let mut profiles: BTreeMap<GatewayVersion, Arc<Profile>> = BTreeMap::new();
    let mut random = Random::new(asked.seed, "nodes");
    let mut fleet: Vec<Orders> = Vec::new();
    for (number, version) in (0..asked.count).zip(asked.gateway_version.iter().cycle()) {
        let fault = asked.fault.filter(|_| number < asked.faulty);
        let version = if fault == Some(FaultName::NewerMinor) { newer_minor(version)? } else { version.clone() };
        let sync = match asked.sync {
            Sync::V1 => SyncMode::V1,
            Sync::V1WithRpc => SyncMode::V1WithRpc,
            Sync::V2 => SyncMode::V2(Flavour::of(&version)),
        };
        let profile = if fault == Some(FaultName::MissingPlugins) {
            Arc::new(Profile::with_plugins(&[], &labels, sync))
        } else {
            let bundled = || Arc::new(Profile::bundled(&version, &labels, sync));
            Arc::clone(profiles.entry(version.clone()).or_insert_with(bundled))
        };
        let id = random.uuid();
        let before = fleet.last().filter(|_| fault == Some(FaultName::DuplicateId)).map(|orders| &orders.node.id);
        let id = before.map_or(id.as_str(), |id| id);
        let mut node = Node::new(id, &format!("dp-{number:05}"), version.as_str(), profile)?;
        (node.sync, node.is_konnect) = (sync, asked.konnect);
        let conduct = Conduct {
            apply_takes: asked.apply_takes,
            apply_fails: (fault == Some(FaultName::CannotApply)).then(|| Arc::new(map_full())),
            fault: fault.and_then(FaultName::fault),
            ..Conduct::default()
        };
        fleet.push(Orders { node: Arc::new(node), conduct });
    }
    Ok(fleet)
}

impl FaultName {
    /// The faults of conduct; the others are what the node is.
    const fn fault(self) -> Option<Fault> {
        match self {
            Self::RepeatsOld => Some(Fault::RepeatsTheOld),
            Self::Silent => Some(Fault::Silent),
            Self::WrongPing => Some(Fault::PingOf(31)),
            Self::Text => Some(Fault::Text),
            Self::RefusesLarge => Some(Fault::RefusesAbove(64 * 1024)),
            Self::CannotApply | Self::MissingPlugins | Self::NewerMinor | Self::DuplicateId => None,
        }
    }
}

/// As of a node whose LMDB is full (`kong-hybrid.md` 1.7).
fn map_full() -> ApplyFailure {
    ApplyFailure {
        version: None,
        name: Some("configuration reload failed".to_owned()),
        source: Some("kong.clustering.config_helper".to_owned()),
        message: Some("map full".to_owned()),
        entities: Vec::new(),
    }
}

fn newer_minor(version: &GatewayVersion) -> anyhow::Result<GatewayVersion> {
    let [major, minor, ..] = version.numbers();
    Ok(format!("{major}.{}.0", minor.saturating_add(1)).parse()?)
}

/// One line about a fleet.
fn sum_up(nodes: impl Iterator<Item = Seen>) -> String {
    let (mut all, mut connected, mut applied, mut failed) = (0, 0, 0, 0);
    let mut by_hash: BTreeMap<ConfigHash, u32> = BTreeMap::new();
    for seen in nodes {
        all += 1;
        connected += u32::from(seen.v1.is_open || seen.v2.is_open);
        applied += seen.applied;
        failed += seen.failed;
        *by_hash.entry(seen.stored).or_default() += 1;
    }
    let most = by_hash.iter().max_by_key(|(_, nodes)| **nodes);
    let most = most.map_or(String::new(), |(hash, nodes)| format!("; {nodes} run {}", hash.short()));
    format!("{connected} of {all} nodes connected, {applied} configurations applied, {failed} failed{most}")
}

fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) => Ok((key.to_owned(), value.to_owned())),
        None => Err("expected KEY=VALUE".to_owned()),
    }
}

fn pace(text: &str) -> Result<Pace, String> {
    let bounds = Pace::BOUNDS;
    let expected = || format!("expected a number from {} to {}", bounds.start(), bounds.end());
    text.parse().ok().and_then(Pace::faster).ok_or_else(expected)
}

fn between(text: &str) -> Result<Between, String> {
    let ms = |text: &str| text.parse().ok().map(Duration::from_millis);
    let span = match text.split_once("..") {
        Some((least, most)) => ms(least).zip(ms(most)),
        None => ms(text).zip(ms(text)),
    };
    let span = span.filter(|(least, most)| least <= most && *most <= Duration::from_secs(3_600));
    span.map(|(least, most)| Between(least, most)).ok_or_else(|| "expected 20 or 20..200, at most an hour".to_owned())
}

fn preset(text: &str) -> Result<Counts, String> {
    let found = Counts::PRESETS.into_iter().find(|(name, _)| *name == text);
    found.map(|(_, counts)| counts).ok_or_else(|| "expected small, many_hosts, 30000 or 90000".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    enum Words {
        Nodes(Nodes),
        ControlPlane(ControlPlaneCommand),
    }

    fn nodes_of(words: &str) -> Nodes {
        let certificates = "--cluster-cert c --cluster-cert-key k";
        let words = format!("simulate nodes --connect cp:8005 {certificates} {words}");
        match Words::try_parse_from(words.split_whitespace()) {
            Ok(Words::Nodes(nodes)) => nodes,
            Ok(Words::ControlPlane(_)) => panic!("nodes were asked for"),
            Err(error) => panic!("{error}"),
        }
    }

    fn refuses(words: &str) {
        let words = format!("simulate {words} --cluster-cert c --cluster-cert-key k");
        assert!(Words::try_parse_from(words.split_whitespace()).is_err(), "{words}");
    }

    #[test]
    fn a_seed_names_a_fleet() {
        let ids = |words| -> Vec<String> {
            fleet(&nodes_of(words)).unwrap().iter().map(|orders| orders.node.id.to_string()).collect()
        };
        assert_eq!(ids("--count 3 --seed 7"), ids("--count 3 --seed 7"));
        assert_eq!(ids("--count 3 --seed 7"), ids("--count 5 --seed 7")[..3]);
        assert_ne!(ids("--count 3 --seed 7"), ids("--count 3 --seed 8"));
    }

    #[test]
    fn nodes_take_versions_in_turn_and_the_first_have_the_fault() {
        let fleet = |words| {
            fleet(&nodes_of(&format!("--count 4 --gateway-version 3.9.3 --gateway-version 3.4.2 {words}"))).unwrap()
        };
        let versions: Vec<_> = fleet("").iter().map(|orders| orders.node.gateway_version.to_string()).collect();
        assert_eq!(versions, ["3.9.3", "3.4.2", "3.9.3", "3.4.2"]);
        let newer = fleet("--fault newer-minor --faulty 2");
        let versions: Vec<_> = newer.iter().map(|orders| orders.node.gateway_version.to_string()).collect();
        assert_eq!(versions, ["3.10.0", "3.5.0", "3.9.3", "3.4.2"]);
        let duplicates = fleet("--fault duplicate-id --faulty 2");
        assert_eq!(duplicates[0].node.id, duplicates[1].node.id);
        assert_ne!(duplicates[1].node.id, duplicates[2].node.id);
        let faults = fleet("--fault wrong-ping").iter().filter(|orders| orders.conduct.fault.is_some()).count();
        assert_eq!(faults, 1);
        assert!(fleet("--fault cannot-apply")[0].conduct.apply_fails.is_some());
        assert_eq!(fleet("--fault missing-plugins")[0].node.profile.plugins.get(), "[]");
    }

    #[test]
    fn what_is_out_of_bounds_is_refused() {
        refuses("nodes");
        refuses("nodes --connect cp:8005 --count 0");
        refuses("nodes --connect cp:8005 --count 20001");
        refuses("nodes --connect cp:8005 --speed 0");
        refuses("nodes --connect cp:8005 --apply-takes 5..1");
        refuses("nodes --connect cp:8005 --faulty 2");
        refuses("nodes --connect cp:8005 --cluster-mtls pki");
        refuses("control-plane --entities 5");
        refuses("control-plane --listen cp");
        assert_eq!(between("7"), Ok(Between::always(Duration::from_millis(7))));
    }
}
