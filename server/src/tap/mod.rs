//! The tap: a process between data planes and their control plane that passes every byte on, and learns from a copy.
//!
//! ```text
//!   node ──TLS──▶ relay ──TLS──▶ control plane        bytes, as they came
//!                  │ splitter                          a copy, cut into frames
//!                  ▼
//!               capture ──▶ reader ──▶ spool ──▶ sender ──HTTP──▶ tidemark serve
//!              (bounded)   (a thread)  (disk)
//! ```
//!
//! What comes first is that the fleet lives: nothing to the right of the relay is ever waited for. Copies have a budget;
//! what does not fit is passed on uncopied, and counted. The reader is one thread, so that facts have the order in which
//! they were seen. The spool outlives a server that is away; where it is away for too long, what was lost is said, and
//! the nodes are `unobserved` for that time.
//!
//! Read in this order: [`relay`], [`splitter`] (what a copy is cut into), [`capture`], [`reader`], [`spool`], [`sender`].
//! [`copies`] is the budget and what is counted.

pub mod capture;

pub mod commands;

pub mod copies;

pub mod parcel;

pub mod reader;

pub mod relay;

pub mod sender;

pub mod splitter;

pub mod spool;

use crate::clock::Clock;
use crate::cluster_tls::{ControlPlaneTls, NodeTls, Peer, Refused};
use crate::kong::facts::{Accepted, Ending, Party};
use crate::simulate::wire::upgrade;
use arc_swap::ArcSwap;
use capture::{Capture, Said, What};
use rustix::net::sockopt;
use splitter::Piece;
use std::convert::identity;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// A peer that says nothing for this long is asked by TCP whether it is there.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(60);
/// So often, and so many times: one that vanished without a word is gone after two minutes.
const KEEPALIVE_EVERY: Duration = Duration::from_secs(10);
const KEEPALIVE_TIMES: u32 = 6;

/// How long a tap waits for others, where waiting for ever would keep a connection that is none.
///
/// It says nothing itself, and ends no connection of which both sides are there. Where one vanishes without a word, the
/// other is Kong's to notice: it ends what is silent for 45 s (`kong-hybrid.md` 1.7), and is followed after `linger`.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// A node may take this long for TLS and for its request: nginx's `client_header_timeout` is as long.
    pub handshake: Duration,
    /// The control plane may take this long to be reached, with TLS.
    pub dial: Duration,
    /// What a node says on its way may take this long, where there is nobody to pass it on to.
    pub request: Duration,
    /// After one side ended, the other may take this long to end too.
    pub linger: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(60),
            dial: Duration::from_secs(10),
            request: Duration::from_secs(2),
            linger: Duration::from_secs(60),
        }
    }
}

/// How both sides are trusted.
pub struct Tls {
    pub nodes: ControlPlaneTls,
    pub control_plane: NodeTls,
}

/// Where a tap stands, and its bounds.
pub struct Settings {
    /// Where the control plane listens, host and port.
    pub connect: String,
    /// Replaced when its files change.
    pub tls: Arc<ArcSwap<Tls>>,
    pub connections_max: usize,
    /// Longer payloads are not kept.
    pub payload_max: u64,
    pub patience: Patience,
    pub clock: Clock,
}

/// Passes on what comes to a listener, until it is stopped. What is open then is cut, as any broken connection.
pub async fn run(listener: TcpListener, settings: Arc<Settings>, capture: Capture, stopped: CancellationToken) {
    let places = Arc::new(Semaphore::new(settings.connections_max));
    let numbers = AtomicU64::new(0);
    let tasks = TaskTracker::new();
    loop {
        let Some(accepted) = stopped.run_until_cancelled(listener.accept()).await else { break };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // No descriptor is left, or the node is gone already.
                if let Some(left_out) = capture.lines.due(settings.clock.now(), "accept") {
                    tracing::warn!(%error, "a connection cannot be accepted{left_out}");
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            capture.counts.turned_away.inc();
            if let Some(left_out) = capture.lines.due(settings.clock.now(), "too many") {
                let most = settings.connections_max;
                tracing::warn!(ip = %address.ip(), "a connection was turned away: {most} are open{left_out}");
            }
            continue;
        };
        alive(&stream);
        let connection = numbers.fetch_add(1, Ordering::Relaxed) + 1;
        let (settings, capture, stopped) = (Arc::clone(&settings), capture.clone(), stopped.clone());
        tasks.spawn(async move {
            capture.counts.open.inc();
            let _over = Over { capture: &capture, connection };
            stopped.run_until_cancelled(serve(stream, address.ip(), connection, &settings, &capture)).await;
            drop(place);
        });
    }
    tasks.close();
    tasks.wait().await;
}

/// Says that a connection is over, however it ended.
struct Over<'a> {
    capture: &'a Capture,
    connection: u64,
}

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.capture.counts.open.dec();
        self.capture.tell(self.connection, What::Over);
    }
}

/// Small frames go at once, and a peer that vanished is noticed where both sides say nothing.
fn alive(stream: &TcpStream) {
    let _ = stream.set_nodelay(true);
    let _ = sockopt::set_socket_keepalive(stream, true);
    let _ = sockopt::set_tcp_keepidle(stream, KEEPALIVE_AFTER);
    let _ = sockopt::set_tcp_keepintvl(stream, KEEPALIVE_EVERY);
    let _ = sockopt::set_tcp_keepcnt(stream, KEEPALIVE_TIMES);
}

async fn serve(stream: TcpStream, ip: IpAddr, connection: u64, settings: &Settings, capture: &Capture) {
    let counts = &capture.counts;
    let (tls, patience) = (settings.tls.load_full(), settings.patience);
    let accepting = timeout(patience.handshake, tls.nodes.accept(stream, settings.clock.now())).await;
    let (node, peer) = match accepting.map_err(|_| io::ErrorKind::TimedOut.into()).and_then(identity) {
        Ok(accepted) => accepted,
        Err(error) => {
            counts.handshakes_failed.inc();
            // What an error says may be a stranger's choice: one reason for all.
            if let Some(left_out) = capture.lines.due(settings.clock.now(), "TLS of a node") {
                tracing::warn!(%ip, %error, "TLS with a node failed{left_out}");
            }
            return;
        }
    };
    if let Some(why) = peer.refused {
        counts.strangers.inc();
        if let Some(left_out) = capture.lines.due(settings.clock.now(), &format!("stranger: {why:?}")) {
            tracing::warn!(%ip, ?why, "a stranger was refused{left_out}");
        }
        return refuse(node, why, settings).await;
    }
    counts.accepted.inc();
    capture.tell(connection, What::Accepted(accepted(peer, ip)));
    let dialling = async {
        let stream = TcpStream::connect(&settings.connect).await?;
        alive(&stream);
        tls.control_plane.connect(stream).await
    };
    let failed = match timeout(patience.dial, dialling).await {
        Ok(Ok(control_plane)) => {
            let splitters = relay::splitters(capture, settings.payload_max);
            return relay::relay(node, control_plane, capture, connection, splitters, patience.linger).await;
        }
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("no answer in {} s", patience.dial.as_secs()),
    };
    counts.unreachable.inc();
    if let Some(left_out) = capture.lines.due(settings.clock.now(), "control plane") {
        tracing::warn!(error = failed, "the control plane at {} cannot be reached{left_out}", settings.connect);
    }
    unreachable(node, connection, capture, failed, patience.request).await;
}

/// As Kong refuses: its own code after the request and without an answer, nginx before it with a page.
async fn refuse<S>(mut node: S, why: Refused, settings: &Settings)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let refusing = async {
        upgrade::read_head(&mut node).await.ok()?;
        let page = upgrade::Answer::of_refused(why).bytes(settings.clock.now())?;
        node.write_all(page.as_bytes()).await.ok()?;
        node.shutdown().await.ok()
    };
    let _ = timeout(settings.patience.handshake, refusing).await;
}

/// There is nobody to pass the node on to. Who it is, its request says.
async fn unreachable<S>(mut node: S, connection: u64, capture: &Capture, error: String, request: Duration)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    if let Ok(Ok((head, _))) = timeout(request, upgrade::read_head(&mut node)).await {
        capture.tell(connection, What::Said(Party::Node, Said::Whole(Piece::Head(head.to_vec()))));
    }
    capture.tell(connection, What::Unreachable(error));
    capture.tell(connection, What::Ended(Party::Observer, Ending::EndOfStream));
}

fn accepted(peer: Peer, ip: IpAddr) -> Accepted {
    let (sha256, subject, not_after) = match peer.certificate {
        Some(certificate) => (Some(certificate.sha256), certificate.common_name, Some(certificate.not_after.ms())),
        None => (None, None, None),
    };
    Accepted {
        tls_version: peer.tls_version.map(str::to_owned),
        server_name: peer.server_name,
        certificate_sha256: sha256,
        certificate_subject: subject,
        certificate_not_after_ms: not_after,
        ip: Some(ip.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_peer_that_vanished_without_a_word_is_gone_after_two_minutes() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        alive(&stream);
        assert!(sockopt::socket_keepalive(&stream).unwrap());
        let asked_for = sockopt::tcp_keepintvl(&stream).unwrap() * sockopt::tcp_keepcnt(&stream).unwrap();
        assert_eq!(sockopt::tcp_keepidle(&stream).unwrap() + asked_for, Duration::from_secs(120));
    }
}
