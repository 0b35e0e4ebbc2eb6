//! How one node of a shadow lives: it dials, says what it is, repeats its hash, hears what is published, and dials again.
//! What it says and when is what Kong's nodes say (`kong-hybrid.md` 1.4, 1.7, 2.2, 2.6).

use super::Settings;
use super::ears::{Ears, Heard};
use super::figures::{Figures, Reason};
use super::memory::Memory;
use super::telling::Teller;
use crate::clock::Clock;
use crate::cluster_tls::TlsError;
use crate::kong::assemble::Assembler;
use crate::kong::session::Opcode;
use crate::kong::v2::{self, Encoding, Message};
use crate::simulate::wire::node::{Flavour, Node, SyncMode};
use crate::simulate::wire::upgrade::{self, NotUpgraded, Request};
use crate::simulate::wire::websocket::{Ended, Frame, Room, TooBig, WebSocket};
use bytes::Bytes;
use parking_lot::Mutex;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg32;
use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use tidemark_domain::fact::What;
use tidemark_domain::hash::ConfigHash;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_rustls::client::TlsStream;

/// Between two heartbeats of v1, or two questions of v2.
const INTERVAL: Duration = Duration::from_secs(30);
/// A control plane that is not heard for longer is left (`kong-hybrid.md` 1.7).
const SILENT_AFTER: Duration = Duration::from_secs(45);
/// Kong waits a whole number of seconds before each attempt.
const RECONNECT_SECONDS: std::ops::RangeInclusive<u64> = 5..=10;
/// Where v2 is not offered, that is asked again after a while: a control plane may be upgraded.
const NOT_OFFERED_PAUSE: Duration = Duration::from_secs(300);
/// For name, TCP, TLS and upgrade together; Kong waits 5 s for each.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// An answer of v2 is waited for this long.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// For a close frame.
const GOODBYE_MAX: Duration = Duration::from_secs(5);
/// Calls of a control plane fit into this many bytes; only an answer is longer.
const CALL_MAX: usize = 16 * 1024;
const SYNC_V2: &str = "kong.sync.v2";

const WITHHELD: &str = "connected, but the control plane sends no configuration: it may withhold it, as a plugin or a \
                        filter is configured that this node did not name";

type Socket = WebSocket<TlsStream<TcpStream>>;

/// One node of a shadow.
pub(super) struct Watching {
    /// Its place among the nodes of the shadow.
    number: usize,
    node: Node,
    memory: Arc<Mutex<Memory>>,
    settings: Arc<Settings>,
    clock: Clock,
    figures: Arc<Figures>,
    teller: Teller,
    /// How many nodes of the shadow hear of changes.
    hearing: Arc<watch::Sender<usize>>,
    room: Room,
    random: Pcg32,
    /// Between connections.
    assembler: Option<Assembler>,
    connections: u64,
    /// What it was offered and could not keep yet.
    unkept: Option<ConfigHash>,
    /// The control plane was told to be down, and has said nothing since.
    is_down: bool,
}

/// Why a connection is over, or never was.
#[derive(Debug, Error)]
enum Over {
    #[error("the certificates cannot be used: {0}")]
    Files(#[from] TlsError),
    #[error("no connection: {0}")]
    NoConnection(io::Error),
    #[error("no answer within {} s", HANDSHAKE_MAX.as_secs())]
    NoAnswer,
    #[error("TLS failed: {0}")]
    Tls(io::Error),
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
    Unreadable(&'static str),
    #[error("the control plane does not sync by v2 with a node of this gateway version")]
    NotOffered,
}

impl Over {
    fn reason(&self) -> Reason {
        match self {
            Self::Files(_) => Reason::Files,
            Self::NoConnection(error) => match error.kind() {
                io::ErrorKind::ConnectionRefused => Reason::Refused,
                io::ErrorKind::TimedOut => Reason::NoAnswer,
                _ => Reason::Unreachable,
            },
            Self::NoAnswer => Reason::NoAnswer,
            Self::Tls(_) => Reason::Tls,
            Self::NotUpgraded(NotUpgraded::Status(404)) => Reason::NotFound,
            Self::NotUpgraded(NotUpgraded::Status(400)) => Reason::BadRequest,
            Self::NotUpgraded(NotUpgraded::EndOfStream) => Reason::Stranger,
            // TLS 1.3 tells a node of a refused certificate only when it reads: as an alert, which rustls calls invalid data.
            Self::NotUpgraded(NotUpgraded::Failed(error)) => match error.kind() {
                io::ErrorKind::InvalidData => Reason::Tls,
                _ => Reason::Broken,
            },
            Self::NotUpgraded(
                NotUpgraded::Status(_) | NotUpgraded::LongHead | NotUpgraded::NoHttp | NotUpgraded::Subprotocol,
            ) => Reason::NotUpgraded,
            Self::Ended(Ended::EndOfStream) | Self::Closed => Reason::Closed,
            Self::Ended(Ended::Failed(_)) => Reason::Broken,
            Self::Ended(Ended::BadFrame(_) | Ended::Fragment | Ended::TooLong { .. } | Ended::Unmasked)
            | Self::TooBig(_) => Reason::Frame,
            Self::Silence => Reason::Silence,
            Self::Unreadable(_) => Reason::Unreadable,
            Self::NotOffered => Reason::NotOffered,
        }
    }
}

/// A connection that is open, for as long as this lives.
struct Open {
    number: usize,
    figures: Arc<Figures>,
    hearing: Arc<watch::Sender<usize>>,
    hears: bool,
}

impl Open {
    fn new(of: &Watching) -> Self {
        of.figures.of(of.number, |node| {
            node.connected = true;
            node.connects += 1;
        });
        Self { number: of.number, figures: Arc::clone(&of.figures), hearing: Arc::clone(&of.hearing), hears: false }
    }

    /// The control plane serves this node: it will be told of changes.
    fn hears(&mut self) {
        if !std::mem::replace(&mut self.hears, true) {
            self.figures.of(self.number, |node| node.hears = true);
            self.hearing.send_modify(|nodes| *nodes += 1);
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.figures.of(self.number, |node| (node.connected, node.hears) = (false, false));
        if self.hears {
            self.hearing.send_modify(|nodes| *nodes -= 1);
        }
    }
}

impl Watching {
    pub fn new(
        number: usize,
        node: Node,
        memory: Memory,
        settings: Arc<Settings>,
        clock: Clock,
        figures: Arc<Figures>,
        teller: Teller,
        hearing: Arc<watch::Sender<usize>>,
    ) -> Self {
        let seed = uuid::Uuid::new_v4().as_u64_pair().0;
        Self {
            number,
            node,
            memory: Arc::new(Mutex::new(memory)),
            // A frame of each node fits.
            room: Room::of(settings.frame_max),
            settings,
            clock,
            figures,
            teller,
            hearing,
            random: Pcg32::seed_from_u64(seed),
            assembler: None,
            connections: 0,
            unkept: None,
            is_down: false,
        }
    }

    /// One connection after the other, for ever.
    pub async fn live(mut self) {
        loop {
            let Err(over) = match self.node.sync {
                SyncMode::V1 | SyncMode::V1WithRpc => self.v1().await,
                SyncMode::V2(flavour) => self.v2(flavour).await,
            };
            let reason = over.reason();
            self.fail(reason, full(&over));
            if matches!(reason, Reason::Refused | Reason::NoAnswer) && !std::mem::replace(&mut self.is_down, true) {
                self.teller.say(self.number, What::ControlPlaneDown);
            }
            let no_v2 = matches!(reason, Reason::NotOffered)
                || (reason == Reason::NotFound && matches!(self.node.sync, SyncMode::V2(_)));
            let pause = match no_v2 {
                true => NOT_OFFERED_PAUSE,
                false => Duration::from_secs(self.random.random_range(RECONNECT_SECONDS)),
            };
            self.settings.pace.wait(pause).await;
        }
    }

    fn fail(&self, reason: Reason, message: String) {
        self.figures.fail(self.number, self.clock.now(), reason, message);
    }

    fn request(&self) -> Request<'_> {
        let Node { id, hostname, gateway_version, .. } = &self.node;
        match self.node.sync {
            SyncMode::V1 | SyncMode::V1WithRpc => Request::V1 { node_id: id, hostname, gateway_version },
            SyncMode::V2(_) => Request::V2,
        }
    }

    async fn dial(&mut self) -> Result<Socket, Over> {
        let settings = Arc::clone(&self.settings);
        let random = Pcg32::seed_from_u64(self.random.random());
        let attempt = async {
            let tls = settings.trust.node(settings.server_name.as_deref(), &settings.connect)?;
            let stream = TcpStream::connect(&settings.connect).await.map_err(Over::NoConnection)?;
            stream.set_nodelay(true).map_err(Over::NoConnection)?;
            let stream = tls.connect(stream).await.map_err(Over::Tls)?;
            let (host, room) = (&settings.connect, self.room.clone());
            Ok(upgrade::dial(stream, self.request(), host, random, settings.frame_max, room).await?)
        };
        timeout(settings.pace.patience(HANDSHAKE_MAX), attempt).await.map_err(|_| Over::NoAnswer)?
    }

    /// What understands a connection that was opened now.
    fn ears(&mut self, introduction: &str) -> Ears {
        self.connections += 1;
        let Settings { control_plane, replica, .. } = &*self.settings;
        let new = || Assembler::shadow(control_plane.clone(), replica.clone());
        let assembler = self.assembler.take().unwrap_or_else(new);
        let request = upgrade::request_head(self.request(), &self.settings.connect, "");
        Ears::new(assembler, self.connections, self.settings.inflated_max, self.clock.now(), request, introduction)
    }

    /// Hears a frame: tells what it says, and keeps what is to be repeated from now on.
    async fn hear(&mut self, ears: &mut Option<Ears>, frame: Frame) -> Result<Heard, Over> {
        let at = self.clock.now();
        let whole = ears.take().ok_or(Over::Unreadable("nothing is understood any more"))?;
        let heard = whole.hear(at, frame.payload.clone()).await;
        let (whole, mut heard) = heard.ok_or(Over::Unreadable("a frame could not be read"))?;
        *ears = Some(whole);
        for why in std::mem::take(&mut heard.unreadable) {
            self.fail(Reason::Unreadable, why);
        }
        if !heard.facts.is_empty() {
            self.is_down = false;
        }
        self.teller.tell(self.number, std::mem::take(&mut heard.facts));
        if let Some(hash) = heard.offered {
            self.figures.of(self.number, |node| {
                node.offers += 1;
                node.last_offer_at = Some(at);
            });
            self.unkept = Some(hash);
            self.keep().await;
        }
        Ok(heard)
    }

    /// Keeps what was offered last. Where the disk does not take it, the hash before is repeated, and it is tried again.
    async fn keep(&mut self) {
        let Some(hash) = self.unkept else { return };
        let memory = Arc::clone(&self.memory);
        let kept = tokio::task::spawn_blocking(move || memory.lock().keep(hash)).await;
        match kept.unwrap_or_else(|error| Err(io::Error::other(error))) {
            Ok(()) => {
                self.unkept = None;
                self.figures.of(self.number, |node| node.repeats = hash);
            }
            Err(error) => self.fail(Reason::Disk, format!("the last hash cannot be kept: {error}")),
        }
    }

    /// The control plane answered something, though perhaps no configuration.
    fn is_answered(&mut self) {
        if std::mem::take(&mut self.is_down) {
            self.teller.say(self.number, What::Read);
        }
    }

    fn sent(&self) {
        self.figures.of(self.number, |node| node.sent += 1);
    }

    async fn ping(&mut self, socket: &mut Socket) -> Result<(), Over> {
        self.keep().await;
        let hash = self.memory.lock().hash();
        socket.send(Opcode::Ping, hash.to_string())?;
        self.sent();
        Ok(())
    }

    /// Says goodbye as Kong does: a close frame for a close frame, and after silence; nothing else.
    async fn part(&self, socket: &mut Socket, over: &Over) {
        if matches!(over, Over::Closed | Over::Silence) {
            // Over either way; a peer that does not read is left alone.
            let _ = timeout(GOODBYE_MAX, socket.close()).await;
        }
    }

    async fn v1(&mut self) -> Result<Infallible, Over> {
        let mut socket = self.dial().await?;
        let introduction = self.node.basic_info();
        let mut ears = Some(self.ears(&introduction));
        let mut open = Open::new(self);
        let over = self.v1_open(&mut socket, introduction, &mut ears, &mut open).await;
        drop(open);
        self.assembler = ears.map(|ears| ears.end(self.clock.now()));
        if let Err(over) = &over {
            self.part(&mut socket, over).await;
        }
        over
    }

    async fn v1_open(
        &mut self,
        socket: &mut Socket,
        introduction: String,
        ears: &mut Option<Ears>,
        open: &mut Open,
    ) -> Result<Infallible, Over> {
        let pace = self.settings.pace;
        socket.send(Opcode::Binary, introduction)?;
        self.ping(socket).await?;
        let mut round = pin!(pace.wait(INTERVAL));
        let mut silence = pin!(sleep(pace.judging(SILENT_AFTER)));
        loop {
            tokio::select! {
                frame = socket.next() => {
                    let frame = frame?;
                    match frame.opcode {
                        Opcode::Binary => {
                            if self.hear(ears, frame).await?.offered.is_some() {
                                open.hears();
                                self.ping(socket).await?;
                                round.set(pace.wait(INTERVAL));
                            }
                        }
                        Opcode::Pong => self.is_answered(),
                        Opcode::Close => return Err(Over::Closed),
                        Opcode::Text | Opcode::Continuation | Opcode::Ping => {
                            self.fail(Reason::Frame, format!("a {} frame, which no control plane sends", frame.word()));
                        }
                    }
                    silence.set(sleep(pace.judging(SILENT_AFTER)));
                }
                () = &mut round => {
                    round.set(pace.wait(INTERVAL));
                    // A node that is served is sent a configuration as soon as it comes.
                    if !open.hears {
                        self.fail(Reason::Withheld, WITHHELD.to_owned());
                    }
                    self.ping(socket).await?;
                }
                () = &mut silence => {
                    if !socket.is_heard() {
                        return Err(Over::Silence);
                    }
                    silence.set(sleep(pace.judging(SILENT_AFTER)));
                }
            }
        }
    }

    async fn v2(&mut self, flavour: Flavour) -> Result<Infallible, Over> {
        let mut socket = self.dial().await?;
        let introduction = self.node.hello();
        let mut ears = Some(self.ears(&introduction));
        let mut open = Open::new(self);
        let over = self.v2_open(&mut socket, flavour, introduction, &mut ears, &mut open).await;
        drop(open);
        self.assembler = ears.map(|ears| ears.end(self.clock.now()));
        if let Err(over) = &over {
            self.part(&mut socket, over).await;
        }
        over
    }

    async fn v2_open(
        &mut self,
        socket: &mut Socket,
        flavour: Flavour,
        introduction: String,
        ears: &mut Option<Ears>,
        open: &mut Open,
    ) -> Result<Infallible, Over> {
        let pace = self.settings.pace;
        socket.send(Opcode::Binary, introduction)?;
        let welcome = timeout(pace.patience(ANSWER_MAX), socket.next()).await.map_err(|_| Over::NoAnswer)??;
        let welcome = self.hear(ears, welcome).await?;
        let capabilities = welcome.capabilities.ok_or(Over::Unreadable("the hello was not answered by a welcome"))?;
        if !capabilities.iter().any(|capability| capability == SYNC_V2) {
            return Err(Over::NotOffered);
        }
        open.hears();
        // 3.9 asks again after each answer: its control plane learns from that what is applied. Never more often, as an answer
        // to what has no version yet is the same each time.
        let rounds: u32 = match flavour {
            Flavour::Integers => 2,
            Flavour::Tokens => 1,
        };
        let mut call = 0;
        let (mut rounds_left, mut is_notified) = (rounds, false);
        self.ask(socket, ears, flavour, Some(call)).await?;
        let mut round = pin!(pace.wait(INTERVAL));
        let mut silence = pin!(sleep(pace.judging(SILENT_AFTER)));
        loop {
            tokio::select! {
                frame = socket.next() => {
                    let frame = frame?;
                    match frame.opcode {
                        Opcode::Binary => {
                            let payload = frame.payload.clone();
                            let heard = self.hear(ears, frame).await?;
                            self.answer_calls(socket, ears, &payload)?;
                            is_notified |= heard.notified;
                            let mut asks = false;
                            if let Some(has_content) = heard.answered {
                                rounds_left = rounds_left.saturating_sub(1);
                                asks = rounds_left > 0;
                                if has_content && flavour == Flavour::Tokens {
                                    self.ask(socket, ears, flavour, None).await?;
                                }
                            }
                            if rounds_left == 0 && std::mem::take(&mut is_notified) {
                                (rounds_left, asks) = (rounds, true);
                            }
                            if asks {
                                call += 1;
                                self.ask(socket, ears, flavour, Some(call)).await?;
                            }
                        }
                        Opcode::Ping => socket.send(Opcode::Pong, "")?,
                        Opcode::Pong => {}
                        Opcode::Close => return Err(Over::Closed),
                        Opcode::Text | Opcode::Continuation => {
                            self.fail(Reason::Frame, format!("a {} frame, which no control plane sends", frame.word()));
                        }
                    }
                    self.is_answered();
                    silence.set(sleep(pace.judging(SILENT_AFTER)));
                }
                () = &mut round => {
                    round.set(pace.wait(INTERVAL));
                    call += 1;
                    rounds_left = rounds;
                    self.ask(socket, ears, flavour, Some(call)).await?;
                }
                () = &mut silence => {
                    if !socket.is_heard() {
                        return Err(Over::Silence);
                    }
                    silence.set(sleep(pace.judging(SILENT_AFTER)));
                }
            }
        }
    }

    /// Says what it holds, and with an id asks for what is missing.
    async fn ask(
        &mut self,
        socket: &mut Socket,
        ears: &mut Option<Ears>,
        flavour: Flavour,
        id: Option<u64>,
    ) -> Result<(), Over> {
        self.keep().await;
        let text = self.node.get_delta(id, flavour, self.memory.lock().hash());
        self.say(socket, ears, &text)?;
        self.sent();
        Ok(())
    }

    fn say(&self, socket: &mut Socket, ears: &mut Option<Ears>, text: &str) -> Result<(), Over> {
        let block = snap::raw::Encoder::new().compress_vec(text.as_bytes());
        let block = Bytes::from(block.map_err(|_| Over::Unreadable("a message that is too long"))?);
        if let Some(ears) = ears {
            ears.say(self.clock.now(), &block);
        }
        Ok(socket.send(Opcode::Binary, block)?)
    }

    /// Answers what the control plane calls, as a node does that has nothing but its configuration.
    fn answer_calls(&self, socket: &mut Socket, ears: &mut Option<Ears>, payload: &[u8]) -> Result<(), Over> {
        if payload.len() > CALL_MAX {
            return Ok(());
        }
        // What cannot be read was counted.
        let messages = v2::decode(payload, Encoding::Snappy, self.settings.inflated_max).unwrap_or_default().0;
        for message in messages {
            match message {
                Message::NewVersion { id: Some(id), .. } => self.say(socket, ears, &self.node.done(id))?,
                Message::Other { id: Some(id), .. } => self.say(socket, ears, &self.node.method_not_found(id))?,
                _ => {}
            }
        }
        Ok(())
    }
}

/// A failure with its causes.
fn full(over: &Over) -> String {
    let mut text = over.to_string();
    let mut cause = std::error::Error::source(over);
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.ends_with(&said) {
            text = format!("{text}: {said}");
        }
        cause = error.source();
    }
    text
}
