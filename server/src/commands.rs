//! What the command line can ask for, from settings to the end of the program. `main.rs` reads the words; here they
//! are done.

use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};
use tidemark_domain::id::CpName;
use tidemark_domain::policy::Policy;
use tidemark_domain::view::AsOf;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::board::Board;
use crate::clock::Clock;
use crate::config::Config;
use crate::http::auth::Tokens;
use crate::import::remote::Remote;
use crate::reader::fold;
use crate::run::{self, HeldAt};
use crate::store::Store;
use crate::{explain, fixture, import, service};

/// `tidemark serve`
#[derive(Debug)]
pub struct Serve {
    /// Settings.
    pub config: Config,
    /// Who may come in ([`Config::tokens`]).
    pub tokens: Option<Tokens>,
    /// Where the clock is held, if it is: nothing is taken in then.
    pub at: Option<HeldAt>,
    /// A task of ours reports for a small fleet in real time.
    pub demo_fleet: bool,
}

/// `tidemark import`
#[derive(Clone, Debug)]
pub struct Import {
    /// Settings; the database among them.
    pub config: Config,
    /// A running server to send to, instead of a database.
    pub to: Option<String>,
    /// The control plane's name, where the recording's own is not to be used.
    pub control_plane: Option<CpName>,
    /// Folders, files, or `-`.
    pub paths: Vec<PathBuf>,
}

/// `tidemark explain`
#[derive(Clone, Debug)]
pub struct Explain {
    /// Settings; the database among them.
    pub config: Config,
    /// The moment; now if `None`.
    pub at: Option<HeldAt>,
    /// A node's id, hostname or address, or `CONTROL_PLANE/ID`.
    pub node: String,
}

/// How a command ended that did what it could.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// All is well.
    Well,
    /// Something of the input was damaged and left out; it was said what.
    WithDamage,
}

/// Serves until a signal comes. `ready` is called once everything can be asked.
///
/// # Errors
/// If the address cannot be listened on, or the store cannot be opened.
pub async fn serve(serve: Serve, ready: impl FnOnce(SocketAddr)) -> anyhow::Result<Ended> {
    let Config { listen, limits, database, policy, retention, .. } = serve.config;
    let closed = signal()?;
    let listener = TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen}"))?;
    let address = listener.local_addr()?;

    // The writer closes after the door: what a request has in hand is still taken.
    let (door_closing, writer_closing) = (CancellationToken::new(), CancellationToken::new());
    let mut running = match serve.at {
        Some(at) => run::held(&database, at, policy, writer_closing.clone()).await,
        None => run::live_keeping(&database, Clock::machine(), policy, retention, writer_closing.clone()).await,
    }?;
    running.parts.closing = door_closing.clone();
    let last_recorded_at = running.store.progress().await?.recorded_at;
    let fleet = serve.demo_fleet.then(|| {
        let (ingest, clock) = (running.parts.ingest.clone(), running.parts.clock.clone());
        tokio::spawn(fixture::run(ingest, clock, last_recorded_at, door_closing))
    });

    ready(address);
    service::serve(running.parts, listener, serve.tokens, limits, closed).await?;
    if let Some(fleet) = fleet {
        fleet.await?;
    }
    writer_closing.cancel();
    if let Some(writer) = running.writer {
        writer.await?;
    }
    running.store.close().await?;
    tracing::info!("closed");
    Ok(Ended::Well)
}

/// Imports recordings into a database, or through a running server.
///
/// # Errors
/// If nothing could be imported.
pub async fn import(import: Import) -> anyhow::Result<Ended> {
    let Import { config: Config { database, policy, .. }, to, control_plane, paths } = import;
    let plan = import::Plan { paths, control_plane };
    if let Some(url) = to {
        let token = std::env::var("TIDEMARK_TOKEN").ok();
        let remote = Remote::new(&url, token)?;
        return imported(&plan, &mut import::Target::Service(&remote), &policy).await;
    }
    let clock = Clock::machine();
    let store = Store::open(&database, clock.now()).await?;
    let policy = Arc::new(policy);
    let fleet = fold(&store, None, Arc::clone(&policy)).await?;
    let mut board = Board::new(fleet, Arc::clone(&policy), clock.now());
    let mut target = import::Target::Database { store: &store, board: &mut board };
    let ended = imported(&plan, &mut target, &policy).await;
    store.close().await?;
    ended
}

async fn imported(plan: &import::Plan, target: &mut import::Target<'_>, policy: &Policy) -> anyhow::Result<Ended> {
    let bar = progress_bar();
    let outcome = import::import(plan, target, policy, |read, of| {
        bar.set_length(of);
        bar.set_position(read);
    })
    .await;
    bar.finish_and_clear();
    Ok(told(&outcome?))
}

/// Bytes on a terminal, nothing elsewhere.
fn progress_bar() -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:40} {bytes} of {total_bytes}, {eta} left");
    ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// Says what came of an import: what was taken on standard output, what was not on standard error.
fn told(outcome: &import::Outcome) -> Ended {
    let names: Vec<&str> = outcome.control_planes.iter().map(CpName::as_str).collect();
    println!(
        "{} facts from {} lines of {} files; control planes: {}",
        outcome.facts,
        outcome.lines,
        outcome.files,
        if names.is_empty() { "none".to_owned() } else { names.join(", ") }
    );
    for line in &outcome.told {
        eprintln!("{}:{}: {}", line.file, line.line, line.damage);
    }
    if outcome.damaged > 0 {
        eprintln!("{} lines could not be read and were left out", outcome.damaged);
    }
    for refused in &outcome.refused {
        eprintln!("refused: {refused}");
    }
    if let Some(first) = outcome.without_time.first() {
        let count = outcome.without_time.len();
        eprintln!("{count} files of metrics say nothing of their time and were left out, {first} first");
    }
    if outcome.left_out > 0 {
        eprintln!("{} answers do not say which node they are of and were left out", outcome.left_out);
    }
    if outcome.damaged > 0 || !outcome.refused.is_empty() { Ended::WithDamage } else { Ended::Well }
}

/// The verdict of a node with its evidence, as text.
///
/// # Errors
/// If there is no such node, or the database cannot be read.
pub async fn explain(explain: Explain) -> anyhow::Result<String> {
    let Config { database, policy, .. } = explain.config;
    let store = Store::open_read_only(&database).await?;
    let held = explain.at.is_some();
    let at = explain.at.unwrap_or(HeldAt::Moment(Clock::machine().now()));
    let snapshot = run::snapshot_at(&store, at, policy).await?;
    let as_of = AsOf { at: snapshot.as_of, revision: snapshot.revision, past: held, held };
    let text = explain::explain(&snapshot, &as_of, &explain.node)?;
    store.close().await?;
    Ok(text)
}

/// Ends when the supervisor or a person asks the program to stop. Listens from now on.
fn signal() -> std::io::Result<impl Future<Output = ()> + Send + 'static> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        let by = tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        };
        tracing::info!("{by}: closing");
    })
}
