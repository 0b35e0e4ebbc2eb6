//! `tidemark tap`.

use super::capture::Capture;
use super::copies::{Budget, Counts};
use super::reader::{Reader, began};
use super::sender::Sender;
use super::spool::{self, Spool, Told};
use super::{Patience, Settings, Tls, run};
use crate::clock::Clock;
use crate::cluster_tls::trust::Trust;
use crate::commands::Ended;
use crate::descriptors;
use anyhow::Context;
use arc_swap::ArcSwap;
use clap::Args;
use parking_lot::Mutex;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tidemark_domain::fact::{Listening, What};
use tidemark_domain::id::{CpName, Line};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Connections at once; two descriptors each. Kong's own `cluster_max_connections` is far below.
const CONNECTIONS_MAX: usize = 100_000;
/// How often a tap is summed up in its log.
const SUM_UP_EVERY: Duration = Duration::from_mins(1);
/// How often files of certificates are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(30);
const MIB: u64 = 1024 * 1024;

/// Stands between data planes and their control plane, passes every byte on, and tells a server what it sees.
#[derive(Args, Clone, Debug)]
pub struct Tap {
    /// The control plane, by its name in Tidemark.
    #[arg(long, value_name = "NAME")]
    pub control_plane: CpName,
    /// Where data planes connect.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8005")]
    pub listen: SocketAddr,
    /// Where the control plane listens (Kong's `cluster_listen`).
    #[arg(long, value_name = "HOST:PORT")]
    pub connect: String,
    #[command(flatten)]
    pub trust: Trust,
    /// The name in the control plane's certificate, in pki mode; else the host of --connect.
    #[arg(long, value_name = "NAME")]
    pub cluster_server_name: Option<String>,
    /// The server to tell. Its bearer token, if it needs one, comes from TIDEMARK_TOKEN.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:3000")]
    pub to: String,
    /// Where facts are kept that the server has not taken yet. One folder for each tap.
    #[arg(long, value_name = "FOLDER", default_value = "tidemark-tap-spool")]
    pub spool: PathBuf,
    /// What the spool may hold, in MiB: beyond it the oldest facts go.
    #[arg(long, value_name = "MIB", default_value_t = spool::BYTES_MAX / MIB, value_parser = clap::value_parser!(u64).range(1..=65_536))]
    pub spool_max: u64,
    /// What copies of configurations may take in memory, in MiB: beyond it they are passed on uncopied.
    #[arg(long, value_name = "MIB", default_value_t = 256, value_parser = clap::value_parser!(u64).range(1..=65_536))]
    pub copies_max: u64,
    /// The largest configuration that is read, in MiB of JSON: of a larger one only its hash and its size are known.
    #[arg(long, value_name = "MIB", default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..=2_048))]
    pub configuration_max: u64,
}

/// Runs a tap until it is stopped. `ready` is told where it listens.
///
/// # Errors
/// If a certificate or the spool cannot be used, or the address cannot be listened on.
pub async fn tap(asked: Tap, stopped: CancellationToken, ready: impl FnOnce(SocketAddr)) -> anyhow::Result<Ended> {
    tap_at(asked, Clock::machine(), stopped, ready).await
}

/// The same by another clock.
///
/// # Errors
/// See [`tap`].
pub async fn tap_at(
    asked: Tap,
    clock: Clock,
    stopped: CancellationToken,
    ready: impl FnOnce(SocketAddr),
) -> anyhow::Result<Ended> {
    let connections_max = descriptors::room_for_at_most(2 * CONNECTIONS_MAX as u64) / 2;
    let bytes = |mib: u64| usize::try_from(mib * MIB).unwrap_or(usize::MAX);
    let tls = Arc::new(ArcSwap::from_pointee(read(&asked)?));
    let spool = Spool::open(&asked.spool, asked.spool_max * MIB)
        .with_context(|| format!("{} cannot be used as a spool", asked.spool.display()))?;
    let (spool, spooled) = (Arc::new(Mutex::new(spool)), Arc::new(Notify::new()));
    let counts = Counts::default();
    let (capture, queue) = Capture::new(clock.clone(), Budget::of(bytes(asked.copies_max)), counts.clone());
    let token = std::env::var("TIDEMARK_TOKEN").ok();
    let listener =
        TcpListener::bind(asked.listen).await.with_context(|| format!("cannot listen on {}", asked.listen))?;
    let address = listener.local_addr()?;
    let sender = Sender::new(
        &asked.to,
        token,
        asked.control_plane.clone(),
        clock.clone(),
        Arc::clone(&spool),
        Arc::clone(&spooled),
        counts.clone(),
        &format!("listens on {address}, and passes on to {}", asked.connect),
    )?;

    let listens = |what| spool.lock().append(&[Told { at: clock.now(), what }]);
    listens(began())?;
    let reader = Reader::new(
        capture.shared(),
        asked.control_plane.clone(),
        bytes(asked.configuration_max),
        Arc::clone(&spool),
        Arc::clone(&spooled),
    );
    let reading = std::thread::Builder::new().name("tap-reader".to_owned()).spawn(move || reader.run(queue))?;
    let sending = CancellationToken::new();
    let sender = tokio::spawn(sender.run(sending.clone()));
    let settings = Arc::new(Settings {
        connect: asked.connect.clone(),
        tls: Arc::clone(&tls),
        connections_max: usize::try_from(connections_max).unwrap_or(usize::MAX),
        // Of a configuration that is too large to be read, the frame is looked at nevertheless.
        payload_max: asked.copies_max * MIB,
        patience: Patience::default(),
        clock: clock.clone(),
    });
    ready(address);
    tokio::select! {
        () = run(listener, settings, capture, stopped) => {}
        () = reload(&asked, &tls) => {}
        () = sum_up(&counts) => {}
    }
    // With the last capture gone the reader reads what is left, and ends.
    let _ = tokio::task::spawn_blocking(move || reading.join()).await;
    if let Some(why) = Line::from_outside("the tap was stopped") {
        listens(What::Listening(Listening::Stopped(why)))?;
    }
    sending.cancel();
    let _ = sender.await;
    tracing::info!("{}", counts.sum_up());
    Ok(Ended::Well)
}

fn read(asked: &Tap) -> anyhow::Result<Tls> {
    Ok(Tls {
        nodes: asked.trust.control_plane()?,
        control_plane: asked.trust.node(asked.cluster_server_name.as_deref(), &asked.connect)?,
    })
}

/// Takes certificates whose files changed; connections that are open keep theirs.
async fn reload(asked: &Tap, tls: &ArcSwap<Tls>) {
    let changed_at = || -> Vec<Option<SystemTime>> {
        asked.trust.files().map(|path| path.metadata().and_then(|metadata| metadata.modified()).ok()).collect()
    };
    let mut known = changed_at();
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let now = changed_at();
        if now == known {
            continue;
        }
        match read(asked) {
            Ok(read) => {
                tls.store(Arc::new(read));
                tracing::info!("the certificates were read anew");
            }
            // Half of them may be written: looked at again.
            Err(error) => {
                tracing::warn!("the certificates changed and cannot be used; those before stay: {error:#}");
                continue;
            }
        }
        known = now;
    }
}

async fn sum_up(counts: &Counts) {
    loop {
        tokio::time::sleep(SUM_UP_EVERY).await;
        tracing::info!("{}", counts.sum_up());
    }
}
