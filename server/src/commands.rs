//! What the command line can ask for, from settings to the end of the program. `main.rs` reads the words; here they
//! are done.

use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;

use anyhow::Context;
use tidemark_domain::id::CpName;
use tidemark_domain::time::Timestamp;
use tokio::net::TcpListener;

use crate::config::Config;
use crate::http::auth::{Tokens, may_listen};
use crate::service::{self, Parts};

/// The moment at which the clock is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeldAt {
    /// This one.
    Time(Timestamp),
    /// The last one that the database tells of.
    Recorded,
}

impl std::str::FromStr for HeldAt {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "recorded" => Ok(Self::Recorded),
            _ => Timestamp::parse(text)
                .map(Self::Time)
                .ok_or("expected a time as RFC 3339, as in 2026-11-20T08:53:57Z, or `recorded`"),
        }
    }
}

/// `tidemark serve`
#[derive(Clone, Debug)]
pub struct Serve {
    /// Settings.
    pub config: Config,
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

/// A service that is open: its parts, and the way to close what they stand on.
pub struct Running {
    /// For the front door.
    pub parts: Parts,
    /// Finishes what was taken, and closes the store. Called after the door is shut.
    pub close: Pin<Box<dyn Future<Output = anyhow::Result<()>> + Send>>,
}

/// Serves until a signal comes. `ready` is called once everything can be asked.
///
/// # Errors
/// If the address may not or cannot be listened on, or the store cannot be opened.
pub async fn serve(serve: Serve, ready: impl FnOnce(SocketAddr)) -> anyhow::Result<Ended> {
    let Config { listen, token_file, limits, .. } = serve.config.clone();
    let tokens = token_file.as_deref().map(Tokens::read).transpose().map_err(anyhow::Error::msg)?;
    may_listen(listen, tokens.as_ref()).map_err(anyhow::Error::msg)?;
    let closed = signal()?;
    let listener = TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen}"))?;
    let address = listener.local_addr()?;
    let running = open(serve).await?;
    ready(address);
    service::serve(running.parts, listener, tokens, limits, closed).await?;
    running.close.await?;
    tracing::info!("closed");
    Ok(Ended::Well)
}

/// Opens the store, fills the board from it, and starts the writer.
async fn open(serve: Serve) -> anyhow::Result<Running> {
    let _ = serve;
    anyhow::bail!("serve is not built yet")
}

/// Imports recordings.
///
/// # Errors
/// If nothing could be imported.
pub async fn import(import: Import) -> anyhow::Result<Ended> {
    let _ = import;
    anyhow::bail!("import is not built yet")
}

/// The verdict of a node with its evidence, as text.
///
/// # Errors
/// If there is no such node, or the database cannot be read.
pub async fn explain(explain: Explain) -> anyhow::Result<String> {
    let _ = explain;
    anyhow::bail!("explain is not built yet")
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
