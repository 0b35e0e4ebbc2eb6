//! A simulated control plane: accepts nodes, decides whether it serves them, sends what it publishes, and keeps a row of
//! each (`kong-hybrid.md` 1.5, 1.6, 1.13).
//!
//! Each connection takes one file descriptor; at most [`Settings::connections_max`] are open at once, and further ones
//! wait in the listener's queue.

use super::compatibility::{self, Sent};
use super::data_plane::{READ_TIMEOUT, SILENT_AFTER};
use super::node::Flavour;
use super::pace::Pace;
use super::publishing::{Export, Publishing};
use super::records::{AdminApi, Records, Row};
use super::upgrade::{self, Answer};
use super::websocket::{Ended, Room, Side, TooBig, WebSocket};
use crate::clock::Clock;
use crate::cluster_tls::{ControlPlaneTls, Peer};
use crate::kong::facts::{Dialled, Introduction, Protocol, SyncStatus};
use crate::kong::frame::PAYLOAD_MAX;
use crate::kong::session::Opcode;
use crate::kong::v1::{self, FromNode};
use crate::lines::Lines;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;
use thiserror::Error;
use tidemark_domain::hash::ConfigHash;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// For TLS and the request together: nginx's `client_header_timeout`. Real time at any pace.
const REQUEST_MAX: Duration = Duration::from_secs(60);
/// How long the end of a connection may take: nginx's `lingering_timeout`. Real time at any pace.
const LINGER_MAX: Duration = Duration::from_secs(5);
/// `db_update_frequency`: after a push the next one waits so long, and takes all changes until then.
const PUSH_INTERVAL: Duration = Duration::from_secs(5);
/// Configurations that are rendered or compressed at once.
const MAKING_AT_ONCE: usize = 4;
/// What waits to be sent to one node; a node that pings and does not read is ended.
const TOKENS_MAX: usize = 64;

/// What a control plane is.
#[derive(Clone)]
pub struct Settings {
    pub tls: ControlPlaneTls,
    /// Kong's version string.
    pub gateway_version: Arc<str>,
    pub node_id: Arc<str>,
    pub pace: Pace,
    /// For the moments in rows and answers.
    pub clock: Clock,
    /// `cluster_rpc`; `None` is off, and `/v2/outlet` is 404.
    pub rpc: Option<Rpc>,
    /// Takes the error frames of nodes in Konnect mode, over which other control planes end the connection.
    pub is_konnect: bool,
    /// `cluster_max_payload`, in bytes, of the compressed frame.
    pub payload_max: usize,
    /// Connections at once.
    pub connections_max: usize,
}

/// `cluster_rpc = on`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rpc {
    /// What v2's versions look like.
    pub flavour: Flavour,
    /// Whether it syncs over it; otherwise nodes keep v1 beside it.
    pub syncs: bool,
}

/// A control plane and what it keeps. Clones are the same one.
#[derive(Clone)]
pub struct ControlPlane(Arc<Inner>);

pub(super) struct Inner {
    pub settings: Settings,
    pub publishing: Arc<dyn Publishing>,
    pub records: Arc<Records>,
    /// What was pushed last; `None` where it may be out of date.
    exported: watch::Sender<Option<Arc<dyn Export>>>,
    /// What nodes of v2 get that need everything, and at which version.
    pub synced: Mutex<Option<(u64, Arc<dyn Export>)>>,
    /// Connections of v1 that are served.
    served: AtomicUsize,
    /// Who may make something large: [`Self::made`].
    making: Semaphore,
    counts: Counts,
    room: Room,
}

/// What a control plane did since it started.
#[derive(Debug, Default)]
pub struct Counts {
    pub accepted: AtomicU64,
    pub pings: AtomicU64,
    pub configurations: AtomicU64,
}

/// Why a connection is over.
#[derive(Debug, Error)]
pub(super) enum Over {
    #[error(transparent)]
    Ended(#[from] Ended),
    #[error(transparent)]
    TooBig(#[from] TooBig),
    #[error("the node closed the connection")]
    Closed,
    #[error("did not receive ping frame from data plane within 45 seconds")]
    Silence,
    #[error("{0}")]
    Refused(String),
}

/// A node after its introduction.
pub(super) struct Served {
    pub introduction: Arc<Introduction>,
    pub node_id: String,
    pub ip: IpAddr,
    pub peer: Peer,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Token {
    Reconfigure,
    Pong,
}

impl Settings {
    /// A control plane of this version, as Kong's defaults have it.
    #[must_use]
    pub fn new(tls: ControlPlaneTls, gateway_version: &str) -> Self {
        Self {
            tls,
            gateway_version: gateway_version.into(),
            node_id: "00000000-0000-4000-8000-000000000001".into(),
            pace: Pace::KONG,
            clock: Clock::machine(),
            rpc: None,
            is_konnect: false,
            payload_max: PAYLOAD_MAX,
            connections_max: 20_000,
        }
    }
}

impl ControlPlane {
    /// A control plane that publishes this. It accepts nobody before [`Self::run`].
    #[must_use]
    pub fn new(settings: Settings, publishing: Arc<dyn Publishing>) -> Self {
        Self(Arc::new(Inner {
            settings,
            publishing,
            records: Arc::default(),
            exported: watch::channel(None).0,
            synced: Mutex::new(None),
            served: AtomicUsize::new(0),
            making: Semaphore::new(MAKING_AT_ONCE),
            counts: Counts::default(),
            // Nodes send little: the room is for the few that introduce themselves with large frames at once.
            room: Room::of(64 * 1024 * 1024),
        }))
    }

    /// Accepts and serves nodes until it is stopped. Then every connection ends without a word, as those of a process
    /// that stops do. The rows stay, as a database's do: a control plane may run again.
    pub async fn run(&self, listener: TcpListener, stopped: CancellationToken) {
        // A process that starts has exported nothing yet.
        self.0.exported.send_replace(None);
        *self.0.synced.lock() = None;
        let places = Arc::new(Semaphore::new(self.0.settings.connections_max));
        let tasks = TaskTracker::new();
        let lines = Lines::default();
        let pushing = tokio::spawn(stopped.clone().run_until_cancelled_owned({
            let control_plane = self.clone();
            async move { control_plane.push().await }
        }));
        while let Some(Ok(place)) = stopped.run_until_cancelled(Arc::clone(&places).acquire_owned()).await {
            let (stream, address) = match stopped.run_until_cancelled(listener.accept()).await {
                Some(Ok(accepted)) => accepted,
                Some(Err(error)) => {
                    // Most likely no file descriptor is left; others will be freed.
                    if let Some(left_out) = lines.due(self.0.settings.clock.now(), "accept") {
                        tracing::warn!(%error, "a connection of a node could not be accepted{left_out}");
                    }
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
                None => break,
            };
            // Of no consequence where it cannot be set.
            let _ = stream.set_nodelay(true);
            let (control_plane, stopped) = (self.clone(), stopped.clone());
            tasks.spawn(async move {
                stopped.run_until_cancelled(control_plane.accept(stream, address.ip())).await;
                drop(place);
            });
        }
        tasks.close();
        tasks.wait().await;
        // Ends by the same token.
        let _ = pushing.await;
    }

    /// Pushes to the nodes of v1: the first change at once, and what follows within the interval as one. [`Self::run`] does
    /// this too; it never ends.
    pub async fn push(&self) {
        let mut changes = self.0.publishing.changes();
        while changes.changed().await.is_ok() {
            if self.0.served.load(Ordering::SeqCst) == 0 {
                self.0.exported.send_if_modified(|exported| {
                    *exported = None;
                    false
                });
                continue;
            }
            let export = self.0.publishing.export(self.0.settings.clock.now());
            self.0.exported.send_replace(Some(export));
            self.0.settings.pace.wait(PUSH_INTERVAL).await;
        }
        // Nothing is published any more, and nodes are served what there is.
        std::future::pending().await
    }

    /// The rows and the process as the Admin API shows them.
    #[must_use]
    pub fn admin_api(&self) -> AdminApi {
        AdminApi {
            records: Arc::clone(&self.0.records),
            clock: self.0.settings.clock.clone(),
            node_id: Arc::clone(&self.0.settings.node_id),
            gateway_version: Arc::clone(&self.0.settings.gateway_version),
        }
    }

    /// The rows of nodes.
    #[must_use]
    pub fn records(&self) -> &Arc<Records> {
        &self.0.records
    }

    /// What it did so far.
    #[must_use]
    pub fn counts(&self) -> &Counts {
        &self.0.counts
    }

    async fn accept(&self, stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static, ip: IpAddr) {
        let tls = &self.0.settings.tls;
        match timeout(REQUEST_MAX, tls.accept(stream, self.0.settings.clock.now())).await {
            Ok(Ok((stream, peer))) => self.serve(stream, peer, ip).await,
            Ok(Err(error)) => tracing::debug!(%ip, %error, "TLS with a node failed"),
            Err(_) => tracing::debug!(%ip, "TLS with a node took too long"),
        }
    }

    /// Serves one node whose TLS handshake is done.
    pub async fn serve<S>(&self, mut stream: S, peer: Peer, ip: IpAddr)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin,
    {
        let settings = &self.0.settings;
        let Ok(Ok((head, unread))) = timeout(REQUEST_MAX, upgrade::read_head(&mut stream)).await else {
            return;
        };
        let answer = match peer.refused {
            None => upgrade::answer(&head, settings.rpc.is_some()),
            Some(why) => Answer::of_refused(why),
        };
        if let Some(bytes) = answer.bytes(settings.clock.now()) {
            let written = async {
                stream.write_all(bytes.as_bytes()).await?;
                stream.flush().await
            };
            if !matches!(timeout(REQUEST_MAX, written).await, Ok(Ok(()))) {
                return;
            }
        }
        let mut socket = WebSocket::new(stream, unread, Side::ControlPlane, settings.payload_max, self.0.room.clone());
        match answer {
            Answer::Upgrade { dialled, .. } => {
                self.0.counts.accepted.fetch_add(1, Ordering::Relaxed);
                let Err(over) = match dialled.protocol {
                    Protocol::V1 => self.0.v1(&mut socket, dialled, peer, ip).await,
                    Protocol::V2 => match settings.rpc {
                        Some(rpc) => self.0.v2(&mut socket, rpc, peer, ip).await,
                        // Answered 404 above.
                        None => return,
                    },
                };
                tracing::debug!(%ip, %over, "the connection of a node is over");
                // Kong sends a close frame on every way out that leaves it a connection to send it on.
                if !matches!(over, Over::Ended(Ended::EndOfStream | Ended::Failed(_))) {
                    let goodbye = async {
                        if socket.close().await.is_ok() {
                            socket.linger().await;
                        }
                    };
                    let _ = timeout(LINGER_MAX, goodbye).await;
                }
            }
            // A client that understands goes away.
            Answer::Status(_) => _ = timeout(LINGER_MAX, socket.linger()).await,
            Answer::End => {}
        }
    }
}

impl Inner {
    pub(super) const fn counts(&self) -> &Counts {
        &self.counts
    }

    async fn v1<S>(
        &self,
        socket: &mut WebSocket<S>,
        dialled: Dialled,
        peer: Peer,
        ip: IpAddr,
    ) -> Result<Infallible, Over>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let settings = &self.settings;
        let introduction = self.introduction(socket, dialled).await?;
        let node_id = introduction.node_id.clone().unwrap_or_default();
        let node = Served { introduction: Arc::new(introduction), node_id, ip, peer };
        let version = node.introduction.gateway_version.as_deref();
        if !compatibility::is_version_compatible(&settings.gateway_version, version) {
            self.record(&node, None, word(&SyncStatus::KongVersionIncompatible));
            return Err(Over::Refused(format!(
                "version {version:?} is not compatible with {}",
                settings.gateway_version
            )));
        }
        let mut exported = self.exported.subscribe();
        let _served = self.serve_one_more();
        exported.mark_unchanged();
        let mut status = word(&SyncStatus::Normal);
        let mut tokens = VecDeque::from([Token::Reconfigure]);
        let mut silence = pin!(sleep(settings.pace.judging(SILENT_AFTER)));
        loop {
            // One after the other: what is sent is the newest at that moment.
            while socket.is_drained()
                && let Some(token) = tokens.pop_front()
            {
                match token {
                    Token::Pong => socket.send(Opcode::Pong, "")?,
                    Token::Reconfigure => {
                        let export = exported.borrow_and_update().clone();
                        let Some(export) = export else { continue };
                        let introduction = Arc::clone(&node.introduction);
                        let rendering = self.made(move || export.rendering(&introduction)).await;
                        let now = match compatibility::is_sent(&rendering, &node.introduction) {
                            Sent::Yes => {
                                socket.send(Opcode::Binary, rendering.frame.clone())?;
                                self.counts.configurations.fetch_add(1, Ordering::Relaxed);
                                word(&SyncStatus::Normal)
                            }
                            Sent::Withheld(why) => word(&why),
                            Sent::Silently => status,
                        };
                        if now != std::mem::replace(&mut status, now) {
                            self.record(&node, None, status);
                        }
                    }
                }
            }
            if tokens.len() > TOKENS_MAX {
                return Err(Over::Refused("the node does not read what it is sent".to_owned()));
            }
            tokio::select! {
                frame = socket.next_or_drained(!tokens.is_empty()) => {
                    let Some(frame) = frame? else { continue };
                    silence.set(sleep(settings.pace.judging(SILENT_AFTER)));
                    match frame.opcode {
                        Opcode::Ping => {
                            let hash = v1::heartbeat(&frame.payload).map_err(Over::Refused)?;
                            self.counts.pings.fetch_add(1, Ordering::Relaxed);
                            self.record(&node, Some(hash), status);
                            tokens.push_back(Token::Pong);
                        }
                        Opcode::Close => return Err(Over::Closed),
                        Opcode::Binary if settings.is_konnect => {
                            v1::from_node(&frame.payload).map_err(Over::Refused)?;
                        }
                        Opcode::Binary | Opcode::Text | Opcode::Pong | Opcode::Continuation => {
                            return Err(Over::Refused(format!("invalid websocket frame: {}", frame.word())));
                        }
                    }
                }
                // The sender lives as long as this does.
                Ok(()) = exported.changed() => {
                    exported.mark_unchanged();
                    tokens.push_back(Token::Reconfigure);
                }
                () = &mut silence => {
                    if !socket.is_heard() {
                        return Err(Over::Silence);
                    }
                    silence.set(sleep(settings.pace.judging(SILENT_AFTER)));
                }
            }
        }
    }

    /// The first frame, within five seconds.
    async fn introduction<S>(&self, socket: &mut WebSocket<S>, dialled: Dialled) -> Result<Introduction, Over>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let first = timeout(self.settings.pace.patience(READ_TIMEOUT), socket.next()).await;
        let frame = first.map_err(|_| Over::Refused("no basic info within 5 seconds".to_owned()))??;
        let read = match frame.opcode {
            Opcode::Binary => v1::from_node(&frame.payload).map_err(Over::Refused)?,
            _ => return Err(Over::Refused(format!("a {} frame before basic info", frame.word()))),
        };
        let FromNode::BasicInfo(mut introduction) = read else {
            return Err(Over::Refused("an error before basic info".to_owned()));
        };
        introduction.node_id = dialled.node_id;
        introduction.hostname = dialled.hostname;
        introduction.gateway_version = dialled.gateway_version;
        Ok(*introduction)
    }

    /// Counts a node in, and exports where it is the first, or nothing current is there.
    fn serve_one_more(&self) -> ServedCount<'_> {
        let is_first = self.served.fetch_add(1, Ordering::SeqCst) == 0;
        self.exported.send_if_modified(|exported| {
            if is_first || exported.is_none() {
                *exported = Some(self.publishing.export(self.settings.clock.now()));
            }
            // Nobody else is to be sent it anew.
            false
        });
        ServedCount(&self.served)
    }

    /// Makes something large, or waits for whoever is making it, off the threads that serve connections. Few do so at once:
    /// thousands of nodes wait for the same configuration.
    pub(super) async fn made<T: Send + 'static>(&self, make: impl FnOnce() -> T + Send + 'static) -> T {
        // Never closed.
        let _turn = self.making.acquire().await;
        match tokio::task::spawn_blocking(make).await {
            Ok(made) => made,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }

    /// Writes the row of a v1 node: with what it says it runs, or else with what was known.
    fn record(&self, node: &Served, hash: Option<ConfigHash>, sync_status: &'static str) {
        // Without a hostname Kong's own write fails.
        let Some(hostname) = node.introduction.hostname.clone() else { return };
        let known = || self.records.row(&node.node_id).map(|row| row.hash);
        let row = Row {
            hostname,
            ip: node.ip,
            gateway_version: node.introduction.gateway_version.clone().unwrap_or_default(),
            hash: hash.or_else(known).unwrap_or(ConfigHash::ZEROS),
            sync_status,
            last_seen: self.settings.clock.now(),
            labels: node.introduction.labels.clone(),
            certificate_expires: node.peer.certificate.as_ref().map(|certificate| certificate.not_after),
            capabilities: Vec::new(),
        };
        self.records.upsert(&node.node_id, row);
    }
}

struct ServedCount<'a>(&'a AtomicUsize);

impl Drop for ServedCount<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Kong's word for a status.
fn word(status: &SyncStatus) -> &'static str {
    match status {
        SyncStatus::Normal => "normal",
        SyncStatus::KongVersionIncompatible => "kong_version_incompatible",
        SyncStatus::PluginSetIncompatible => "plugin_set_incompatible",
        SyncStatus::PluginVersionIncompatible => "plugin_version_incompatible",
        SyncStatus::FilterSetIncompatible => "filter_set_incompatible",
        // The second is Konnect's, which has no such table.
        SyncStatus::Unknown | SyncStatus::Incompatible { .. } | SyncStatus::Other(_) => "unknown",
    }
}
