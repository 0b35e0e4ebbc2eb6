//! A simulated data plane: dials, says what it is, takes what it is sent, and says what it runs (`kong-hybrid.md` 1.7,
//! 1.13). It lives until it is dropped, and may be told at any moment to behave otherwise.
//!
//! Each node takes one file descriptor, two where RPC runs beside v1.

use super::node::{Node, SyncMode};
use super::offers::{Offered, Offers};
use super::pace::{Between, Pace};
use super::upgrade::{self, NotUpgraded, Request};
use super::websocket::{Ended, Frame, Room, TooBig, WebSocket};
use crate::cluster_tls::NodeTls;
use crate::kong::facts::ApplyFailure;
use crate::kong::frame::PAYLOAD_MAX;
use crate::kong::session::Opcode;
use futures::future::BoxFuture;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg32;
use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use tidemark_domain::gateway::GatewayVersion;
use tidemark_domain::hash::ConfigHash;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

/// `PING_INTERVAL`: rounds of [`ROUND`] between two heartbeats.
const ROUNDS_BETWEEN_PINGS: u32 = 30;
/// A node looks once in a second whether it has applied something.
const ROUND: Duration = Duration::from_secs(1);
/// `CLUSTERING_TIMEOUT`: how long Kong waits for a frame before it looks how long it has waited.
pub const READ_TIMEOUT: Duration = Duration::from_secs(5);
/// A side that heard nothing for more than 45 s ends the connection. It looks every [`READ_TIMEOUT`], and by whole
/// seconds, so that it does at 50 s; both sides of the recorded session with frozen peers did.
pub const SILENT_AFTER: Duration = Duration::from_secs(50);
/// Kong waits a whole number of seconds, from 5 to 10, before each attempt.
const RECONNECT_SECONDS: std::ops::RangeInclusive<u64> = 5..=10;
/// For TCP, TLS and upgrade together, and for the end of a connection; real time at any pace. Kong waits 5 s for each,
/// but has no thousand neighbours in its process.
const HANDSHAKE_MAX: Duration = Duration::from_secs(30);

/// Nodes of one process that shake hands at once. More would all be slower, until none is done in time.
const DIALS_AT_ONCE: usize = 128;

/// What connects a node with its control plane.
pub trait Transport: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Transport for T {}

/// How nodes reach a control plane.
pub trait Dials: Send + Sync {
    /// A connection with TLS done.
    fn dial(&self) -> BoxFuture<'_, io::Result<Box<dyn Transport>>>;
    /// What stands in `Host`: name and port as configured in `cluster_control_plane`.
    fn host(&self) -> &str;
}

/// Over TCP and TLS.
pub struct Dialler {
    /// `host:port`.
    pub address: String,
    pub tls: NodeTls,
}

/// What the nodes of one process share.
pub struct Surroundings {
    dials: Box<dyn Dials>,
    pace: Pace,
    room: Room,
    offers: Arc<Offers>,
    dialling: Semaphore,
}

/// What a node is and how it behaves, to be changed at any moment.
#[derive(Clone, Debug)]
pub struct Orders {
    /// Counts from the next connection on.
    pub node: Arc<Node>,
    pub conduct: Conduct,
}

/// How a node behaves. The default is a node that is well, and fast.
#[derive(Clone, Debug)]
pub struct Conduct {
    /// A process that does not run has no connections; the cache on its disk stays.
    pub is_running: bool,
    /// How long a configuration takes to apply.
    pub apply_takes: Between,
    /// It cannot apply what it is sent.
    pub apply_fails: Option<Arc<ApplyFailure>>,
    pub fault: Option<Fault>,
}

/// What no healthy node does (`kong-hybrid.md` 1.13). Other faults are what the node is: one that lacks a plugin, has a
/// newer version or another hostname is another [`Node`], and two of one id are two tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Heartbeats of this many bytes; at most 125.
    PingOf(u8),
    /// A text frame a second after each connect.
    Text,
    /// Sends nothing more and does not notice that it hears nothing, as a process that was halted: its control plane ends
    /// the connection.
    Silent,
    /// Takes no configuration of more than this many bytes.
    RefusesAbove(usize),
    /// Applies, and goes on repeating what it had.
    RepeatsTheOld,
}

/// What can be seen of a node from outside of the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// What is in its hash slot.
    pub stored: ConfigHash,
    pub v1: Link,
    pub v2: Link,
    /// Configurations that it applied, and that it could not apply.
    pub applied: u64,
    pub failed: u64,
}

/// What can be seen of one of its connections.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Link {
    pub is_open: bool,
    /// Upgrades that succeeded.
    pub connects: u64,
    /// Heartbeats that it sent, and answers to them; of v2, calls and answers.
    pub sent: u64,
    pub answered: u64,
    /// Why the last connection, or the last attempt, ended.
    pub over: Option<String>,
}

/// A running data plane. It stops when it is dropped.
pub struct DataPlane {
    orders: watch::Sender<Orders>,
    seen: watch::Receiver<Seen>,
    task: JoinHandle<()>,
}

/// Why a connection is over, or never was.
#[derive(Debug, Error)]
pub(super) enum Over {
    #[error("no connection: {0}")]
    NoConnection(#[source] io::Error),
    #[error("no connection within {} s", HANDSHAKE_MAX.as_secs())]
    NoConnectionInTime,
    #[error(transparent)]
    NotUpgraded(#[from] NotUpgraded),
    #[error(transparent)]
    Ended(#[from] Ended),
    #[error(transparent)]
    TooBig(#[from] TooBig),
    #[error("the control plane closed the connection")]
    Closed,
    #[error("did not receive a frame from the control plane within 45 seconds")]
    Silence,
    #[error("{0}")]
    Unreadable(String),
}

/// The life of one node.
#[derive(Clone)]
pub(super) struct Life {
    pub surroundings: Arc<Surroundings>,
    pub orders: watch::Receiver<Orders>,
    pub seen: Arc<watch::Sender<Seen>>,
    pub random: Pcg32,
}

/// What came of a configuration.
pub(super) enum Applied {
    Stored(ConfigHash),
    Failed { offered: Option<ConfigHash>, failure: Arc<ApplyFailure> },
    Ignored,
}

impl Dials for Dialler {
    fn dial(&self) -> BoxFuture<'_, io::Result<Box<dyn Transport>>> {
        Box::pin(async {
            let stream = TcpStream::connect(&self.address).await?;
            stream.set_nodelay(true)?;
            Ok(Box::new(self.tls.connect(stream).await?) as Box<dyn Transport>)
        })
    }

    fn host(&self) -> &str {
        &self.address
    }
}

impl Surroundings {
    /// Nodes that dial like this, at this pace, and hold at most so many bytes of large frames at once.
    #[must_use]
    pub fn new(dials: impl Dials + 'static, pace: Pace, room: Room) -> Arc<Self> {
        let dialling = Semaphore::new(DIALS_AT_ONCE);
        Arc::new(Self { dials: Box::new(dials), pace, room, offers: Arc::default(), dialling })
    }
}

impl Default for Conduct {
    fn default() -> Self {
        Self { is_running: true, apply_takes: Between::always(Duration::ZERO), apply_fails: None, fault: None }
    }
}

impl DataPlane {
    /// Starts a node that has `stored` in its cache. All that is random about it follows from `seed`.
    #[must_use]
    pub fn spawn(surroundings: Arc<Surroundings>, orders: Orders, stored: ConfigHash, seed: u64) -> Self {
        let (orders, ordered) = watch::channel(orders);
        let seen = Seen { stored, v1: Link::default(), v2: Link::default(), applied: 0, failed: 0 };
        let (show, seen) = watch::channel(seen);
        let random = Pcg32::seed_from_u64(seed);
        let life = Life { surroundings, orders: ordered, seen: Arc::new(show), random };
        Self { orders, seen, task: tokio::spawn(life.live()) }
    }

    /// Changes what the node is or how it behaves.
    pub fn order(&self, change: impl FnOnce(&mut Orders)) {
        self.orders.send_modify(change);
    }

    /// What can be seen of it, now and as it changes.
    #[must_use]
    pub fn seen(&self) -> watch::Receiver<Seen> {
        self.seen.clone()
    }
}

impl Drop for DataPlane {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Life {
    async fn live(mut self) {
        while self.orders.wait_for(|orders| orders.conduct.is_running).await.is_ok() {
            let mut stopped = self.orders.clone();
            tokio::select! {
                () = self.clone().run() => {}
                _ = stopped.wait_for(|orders| !orders.conduct.is_running) => {}
            }
            self.seen.send_modify(|seen| (seen.v1.is_open, seen.v2.is_open) = (false, false));
            // Its next life takes other chances.
            self.random = Pcg32::seed_from_u64(self.random.random());
        }
    }

    async fn run(mut self) {
        let sync = self.orders.borrow().node.sync;
        match sync {
            SyncMode::V1 => self.v1().await,
            SyncMode::V1WithRpc => {
                let mut beside = self.fork();
                let lacks_sync = watch::channel(false).0;
                tokio::join!(self.v1(), beside.v2(None, &lacks_sync));
            }
            SyncMode::V2(flavour) => {
                let (lacks_sync, mut is_told) = watch::channel(false);
                let mut beside = self.fork();
                // Once told, for ever: Kong does not close v1 again.
                let v1 = async {
                    if is_told.wait_for(|lacks_sync| *lacks_sync).await.is_ok() {
                        beside.v1().await;
                    }
                };
                tokio::join!(self.v2(Some(flavour), &lacks_sync), v1);
            }
        }
    }

    /// The same node for a second connection, with other chances.
    fn fork(&mut self) -> Self {
        Self { random: Pcg32::seed_from_u64(self.random.random()), ..self.clone() }
    }

    pub(super) fn pace(&self) -> Pace {
        self.surroundings.pace
    }

    /// One connection of v1 after the other.
    async fn v1(&mut self) {
        loop {
            let Err(over) = self.v1_once().await;
            self.seen.send_modify(|seen| {
                seen.v1.is_open = false;
                seen.v1.over = Some(over.to_string());
            });
            self.wait_to_reconnect().await;
        }
    }

    pub(super) async fn wait_to_reconnect(&mut self) {
        let seconds = self.random.random_range(RECONNECT_SECONDS);
        self.surroundings.pace.wait(Duration::from_secs(seconds)).await;
    }

    /// A connection for what the node is now.
    pub(super) async fn dial(&mut self, node: &Node, is_v2: bool) -> Result<WebSocket<Box<dyn Transport>>, Over> {
        let request = if is_v2 {
            Request::V2
        } else {
            Request::V1 { node_id: &node.id, hostname: &node.hostname, gateway_version: &node.gateway_version }
        };
        let payload_max = match self.orders.borrow().conduct.fault {
            Some(Fault::RefusesAbove(bytes)) => bytes,
            _ => PAYLOAD_MAX,
        };
        let random = Pcg32::seed_from_u64(self.random.random());
        let surroundings = &self.surroundings;
        // Never closed.
        let _turn = surroundings.dialling.acquire().await;
        let attempt = async {
            let stream = surroundings.dials.dial().await.map_err(Over::NoConnection)?;
            let host = surroundings.dials.host();
            Ok(upgrade::dial(stream, request, host, random, payload_max, surroundings.room.clone()).await?)
        };
        timeout(HANDSHAKE_MAX, attempt).await.map_err(|_| Over::NoConnectionInTime)?
    }

    async fn v1_once(&mut self) -> Result<Infallible, Over> {
        let node = Arc::clone(&self.orders.borrow_and_update().node);
        let mut socket = self.dial(&node, false).await?;
        self.seen.send_modify(|seen| {
            seen.v1.is_open = true;
            seen.v1.connects += 1;
        });
        let pace = self.surroundings.pace;
        let pings_after_failure = pings_after_failure(&node);
        let over = async {
            socket.send(Opcode::Binary, node.basic_info())?;
            self.ping(&mut socket)?;
            let mut round = pin!(pace.wait(ROUND));
            let mut silence = pin!(sleep(pace.judging(SILENT_AFTER)));
            let mut rounds_left = ROUNDS_BETWEEN_PINGS;
            let mut owes_text = true;
            let mut pending: Option<Frame> = None;
            let mut applying: Option<BoxFuture<'static, Applied>> = None;
            loop {
                if applying.is_none() {
                    applying = pending.take().map(|frame| self.apply(frame));
                }
                tokio::select! {
                    frame = socket.next() => {
                        silence.set(sleep(pace.judging(SILENT_AFTER)));
                        let frame = frame?;
                        match frame.opcode {
                            // Of several that wait, only the newest is applied.
                            Opcode::Binary => pending = Some(frame),
                            Opcode::Close => return Err(Over::Closed),
                            Opcode::Pong => self.seen.send_modify(|seen| seen.v1.answered += 1),
                            Opcode::Ping | Opcode::Text | Opcode::Continuation => {}
                        }
                    }
                    () = &mut round => {
                        round.set(pace.wait(ROUND));
                        rounds_left = rounds_left.saturating_sub(1);
                        if rounds_left == 0 {
                            rounds_left = ROUNDS_BETWEEN_PINGS;
                            self.ping(&mut socket)?;
                        }
                        if self.fault() == Some(Fault::Text) && std::mem::take(&mut owes_text) {
                            socket.send(Opcode::Text, "{}")?;
                        }
                    }
                    applied = finished(&mut applying) => {
                        applying = None;
                        match applied {
                            // The next round pings.
                            Applied::Stored(hash) => {
                                self.store(hash);
                                rounds_left = 1;
                            }
                            Applied::Failed { offered, failure } => {
                                self.seen.send_modify(|seen| seen.failed += 1);
                                if node.is_konnect {
                                    socket.send(Opcode::Binary, node.error_frame(offered, &failure))?;
                                }
                                if pings_after_failure {
                                    rounds_left = 1;
                                }
                            }
                            Applied::Ignored => {}
                        }
                    }
                    () = &mut silence, if self.fault() != Some(Fault::Silent) => {
                        if !socket.is_heard() {
                            return Err(Over::Silence);
                        }
                        silence.set(sleep(pace.judging(SILENT_AFTER)));
                    }
                }
            }
        }
        .await;
        self.part(&mut socket, over).await
    }

    /// Says goodbye as Kong does: a close frame for a close frame, and after silence; nothing else.
    pub(super) async fn part(
        &self,
        socket: &mut WebSocket<Box<dyn Transport>>,
        over: Result<Infallible, Over>,
    ) -> Result<Infallible, Over> {
        if matches!(over, Err(Over::Closed | Over::Silence)) && self.fault() != Some(Fault::Silent) {
            // Over either way; a peer that does not read is left alone.
            let _ = timeout(HANDSHAKE_MAX, socket.close()).await;
        }
        over
    }

    pub(super) fn fault(&self) -> Option<Fault> {
        self.orders.borrow().conduct.fault
    }

    fn ping(&self, socket: &mut WebSocket<Box<dyn Transport>>) -> Result<(), TooBig> {
        let payload = match self.fault() {
            Some(Fault::Silent) => return Ok(()),
            Some(Fault::PingOf(bytes)) => "0".repeat(usize::from(bytes)),
            Some(Fault::Text | Fault::RefusesAbove(_) | Fault::RepeatsTheOld) | None => {
                self.seen.borrow().stored.to_string()
            }
        };
        socket.send(Opcode::Ping, payload)?;
        self.seen.send_modify(|seen| seen.v1.sent += 1);
        Ok(())
    }

    pub(super) fn store(&self, hash: ConfigHash) {
        let is_kept = self.fault() == Some(Fault::RepeatsTheOld);
        self.seen.send_modify(|seen| {
            seen.applied += 1;
            seen.stored = if is_kept { seen.stored } else { hash };
        });
    }

    /// Applies a frame as the orders say at this moment. The same hash again is no work, and succeeds.
    fn apply(&mut self, frame: Frame) -> BoxFuture<'static, Applied> {
        let stored = self.seen.borrow().stored;
        let (takes, fails) = self.how_to_apply();
        let (surroundings, pace) = (Arc::clone(&self.surroundings), self.surroundings.pace);
        Box::pin(async move {
            let offered = surroundings.offers.read(frame.payload.clone()).await;
            // The room it took is for the next node.
            drop(frame);
            match offered {
                Offered::Ignored => Applied::Ignored,
                Offered::Configuration { reported_as } if reported_as == stored => Applied::Stored(stored),
                Offered::Configuration { reported_as } => {
                    pace.wait(takes).await;
                    match fails {
                        Some(failure) => Applied::Failed { offered: Some(reported_as), failure },
                        None => Applied::Stored(reported_as),
                    }
                }
                Offered::Unreadable(why) => Applied::Failed { offered: None, failure: Arc::new(unreadable(&why)) },
            }
        })
    }

    pub(super) fn how_to_apply(&mut self) -> (Duration, Option<Arc<ApplyFailure>>) {
        let orders = self.orders.borrow();
        (orders.conduct.apply_takes.pick(&mut self.random), orders.conduct.apply_fails.clone())
    }
}

/// The result of what may be under way.
pub(super) async fn finished<T>(work: &mut Option<BoxFuture<'static, T>>) -> T {
    match work {
        Some(work) => work.await,
        None => std::future::pending().await,
    }
}

/// 3.4.2 pings at once after a configuration that it could not apply, 3.9.3 does not (both recorded). Which release
/// between them changed it is not known.
fn pings_after_failure(node: &Node) -> bool {
    let version: Option<GatewayVersion> = node.gateway_version.parse().ok();
    version.is_some_and(|version| version.numbers() < [3, 5, 0, 0])
}

fn unreadable(why: &str) -> ApplyFailure {
    ApplyFailure {
        version: None,
        name: Some("declarative configuration parse failure".to_owned()),
        source: Some("kong.db.declarative.parse_table".to_owned()),
        message: Some(format!("bad config received from control plane {why}")),
        entities: Vec::new(),
    }
}
