//! What the command line can ask for, from settings to the end of the program. `main.rs` reads the words; here they
//! are done.

use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
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
use crate::http::DoorLimits;
use crate::http::auth::Tokens;
use crate::import::remote::Remote;
use crate::reader::fold;
use crate::run::{self, HeldAt, Running};
use crate::service::Parts;
use crate::simulate::scenario::{Scenario, Telling};
use crate::simulate::world::World;
use crate::sources::Sources;
use crate::store::Store;
use crate::{clock, demo, explain, import, service, sources};

/// `tidemark serve`
#[derive(Debug)]
pub struct Serve {
    /// Settings.
    pub config: Config,
    /// Who may come in ([`Config::tokens`]).
    pub tokens: Option<Tokens>,
    /// Where the clock is held, if it is: nothing is taken in then.
    pub at: Option<HeldAt>,
}

/// `tidemark demo`
#[derive(Debug)]
pub struct Demo {
    /// Settings; not the database of them: a demo has its own.
    pub config: Config,
    /// Who may come in ([`Config::tokens`]).
    pub tokens: Option<Tokens>,
    /// The database of this demo; `None`: one that goes away with it.
    pub database: Option<PathBuf>,
    /// A story to be told; `None`: the demo's own.
    pub scenario: Option<PathBuf>,
    /// How many times as fast as real time passes.
    pub speed: u32,
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

/// `tidemark check-source`
#[derive(Clone, Debug)]
pub struct CheckSource {
    /// Settings; the sources among them.
    pub config: Config,
    /// Which.
    pub name: String,
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
    let Config { listen, limits, database, policy, retention, sources, .. } = serve.config;
    if serve.at.is_none() {
        sources::can_ask(&sources).await.map_err(anyhow::Error::msg)?;
    }
    let door = Entrance::build(listen).await?;
    let mut running = match serve.at {
        Some(at) => run::held(&database, at, policy, door.writer_closing.clone()).await,
        None => run::live_keeping(&database, Clock::machine(), policy, retention, door.writer_closing.clone()).await,
    }?;
    if serve.at.is_none() {
        let Parts { ingest, clock, telemetry, .. } = &running.parts;
        sources::take_over(&sources, &running.snapshots.load_full(), ingest, clock).await?;
        running.parts.sources = Sources::start(sources, ingest, telemetry.clone(), clock, &door.closing);
    }
    ready(door.address()?);
    door.open(running, serve.tokens, limits).await
}

/// Serves a simulated fleet that lives in this process, until a signal comes. `ready` is called once everything can be
/// asked.
///
/// # Errors
/// If the address cannot be listened on, the scenario cannot be told, or the database is not one of a demo.
pub async fn demo(demo: Demo, ready: impl FnOnce(SocketAddr)) -> anyhow::Result<Ended> {
    let Config { listen, limits, policy, retention, .. } = demo.config;
    let scenario = match &demo.scenario {
        Some(path) => {
            let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
            Scenario::parse(&text).with_context(|| format!("{} cannot be told", path.display()))?
        }
        None => demo::fleet()?,
    };
    let door = Entrance::build(listen).await?;
    // Goes away when it is dropped: after the store was closed.
    let folder = tempfile::Builder::new().prefix("tidemark-demo-").tempdir()?;
    let database = demo.database.unwrap_or_else(|| folder.path().join("demo.db"));

    let machine = Clock::machine();
    let began = clock::stopwatch();
    let store = Store::open_demo(&database, machine.now()).await?;
    // A demo that was faster than time has told of what is to come.
    let now = store.progress().await?.recorded_at.map_or(machine.now(), |last| last.max(machine.now()));
    let written =
        demo::history::write(&store, &scenario, demo::history::LASTS_MS, now, &Arc::new(policy.clone())).await?;
    store.close().await?;
    tracing::info!(
        "a past of {} facts, {} versions and {} keyframes was written in {} ms",
        written.facts,
        written.versions,
        written.keyframes,
        began.elapsed().as_millis()
    );

    let clock = Clock::paced(now.max(machine.now()), demo.speed);
    let mut running =
        run::live_keeping(&database, clock.clone(), policy, retention, door.writer_closing.clone()).await?;
    running.parts.demo = true;
    if let Some(telemetry) = &running.parts.telemetry {
        let began = clock::stopwatch();
        let snapshot = running.snapshots.load_full();
        demo::traffic::past(telemetry, &snapshot, demo::history::LASTS_MS, clock.now()).await?;
        tracing::info!("its traffic was written in {} ms", began.elapsed().as_millis());
        let snapshots = Arc::clone(&running.snapshots);
        tokio::spawn(demo::traffic::live(telemetry.clone(), snapshots, clock.clone(), door.closing.clone()));
    }
    let world = World::new(&scenario, Telling::Story, clock.now())?;
    let closing = door.closing.clone();
    let living = tokio::spawn(demo::live(world, running.parts.ingest.clone(), clock, closing.clone()));
    ready(door.address()?);
    let ended = door.open(running, demo.tokens, limits).await;
    closing.cancel();
    living.await?;
    ended
}

/// The way in, from the first that is made to the last that is closed.
struct Entrance {
    listener: TcpListener,
    closed: Pin<Box<dyn Future<Output = ()> + Send>>,
    /// The door closes.
    closing: CancellationToken,
    /// The writer closes, after the door: what a request has in hand is still taken.
    writer_closing: CancellationToken,
}

impl Entrance {
    async fn build(listen: SocketAddr) -> anyhow::Result<Self> {
        let closed = Box::pin(signal()?);
        let listener = TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen}"))?;
        Ok(Self { listener, closed, closing: CancellationToken::new(), writer_closing: CancellationToken::new() })
    }

    fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until a signal comes, then closes everything.
    async fn open(self, mut running: Running, tokens: Option<Tokens>, limits: DoorLimits) -> anyhow::Result<Ended> {
        running.parts.closing = self.closing;
        service::serve(running.parts, self.listener, tokens, limits, self.closed).await?;
        self.writer_closing.cancel();
        if let Some(writer) = running.writer {
            writer.await?;
        }
        running.store.close().await?;
        tracing::info!("closed");
        Ok(Ended::Well)
    }
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

/// Asks a source once, and says on standard output what works and what does not.
///
/// # Errors
/// If there is no such source, or nothing of it works.
pub async fn check_source(asked: CheckSource) -> anyhow::Result<Ended> {
    let sources = &asked.config.sources;
    let found = sources.iter().find(|settings| settings.name == asked.name);
    let settings = found.with_context(|| {
        let names: Vec<&str> = sources.iter().map(|settings| settings.name.as_str()).collect();
        let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        format!("there is no source {:?} in the settings; there is: {names}", asked.name)
    })?;
    let found = sources::check::check(settings).await;
    for (works, words) in &found.lines {
        println!("{}  {words}", if *works { "works " } else { "FAILS " });
    }
    anyhow::ensure!(found.works(), "nothing of source {} works", settings.name);
    Ok(if found.lines.iter().all(|(works, _)| *works) { Ended::Well } else { Ended::WithDamage })
}

/// Does work that goes on until the program is asked to stop.
///
/// # Errors
/// Those of the work.
pub async fn until_stopped<W>(work: impl FnOnce(CancellationToken) -> W) -> anyhow::Result<Ended>
where
    W: Future<Output = anyhow::Result<Ended>>,
{
    let (stopped, signalled) = (CancellationToken::new(), signal()?);
    let work = work(stopped.clone());
    let stop = async {
        signalled.await;
        stopped.cancel();
        std::future::pending().await
    };
    tokio::select! {
        ended = work => ended,
        never = stop => never,
    }
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
