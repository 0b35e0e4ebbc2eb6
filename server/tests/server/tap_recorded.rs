//! Recorded sessions of real Kong, played by both sides over TLS through a tap: every byte comes out as it went in, and
//! the facts are those that an import of the same files gives.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use parking_lot::Mutex;
use serde_json::Value;
use tempfile::TempDir;
use tidemark_domain::fact::{Attributes, Connection, ConnectionEvent, What};
use tidemark_domain::id::Line;
use tidemark_domain::time::Timestamp;
use tidemark_server::clock::Clock;
use tidemark_server::cluster_tls::{ControlPlaneTls, NodeTls, Throwaway, TlsVersions};
use tidemark_server::kong::assemble::Assembler;
use tidemark_server::kong::frame::{Head, mask};
use tidemark_server::kong::recognize;
use tidemark_server::kong::recording::Recording;
use tidemark_server::kong::session::{INFLATED_MAX, Opcode};
use tidemark_server::tap::capture::{self, Capture, Passed};
use tidemark_server::tap::copies::{Budget, Counts};
use tidemark_server::tap::reader::Reader;
use tidemark_server::tap::spool::{Spool, Told};
use tidemark_server::tap::{self, Settings, Tls};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::recorded::captures;

const SOON: Duration = Duration::from_secs(60);

/// A line of a transcript, with its moment.
struct Moment {
    at: Timestamp,
    connection: usize,
    fields: Value,
    text: String,
}

type NodeSide = tokio_rustls::client::TlsStream<TcpStream>;
type ControlPlaneSide = tokio_rustls::server::TlsStream<TcpStream>;

/// Both ends of a connection through the tap.
struct Ends {
    node: Option<NodeSide>,
    control_plane: Option<ControlPlaneSide>,
}

fn lines(folder: &Path) -> Vec<Moment> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.file_name().unwrap().to_str().unwrap().contains("-conn"));
    files.sort();
    let mut all = Vec::new();
    for (connection, file) in files.iter().enumerate() {
        let text = std::fs::read_to_string(file).unwrap();
        // Where the control plane was away, there is nobody to play it.
        if text.contains("upstream_connect_failed") {
            continue;
        }
        let mut start_ms = 0.0;
        for text in text.lines() {
            let fields: Value = serde_json::from_str(text).unwrap();
            let t_ms = fields["t_ms"].as_f64().unwrap();
            if let Some(wall) = fields["wallclock"].as_f64() {
                start_ms = wall * 1_000.0 - t_ms;
            }
            #[expect(clippy::cast_possible_truncation)]
            let at = Timestamp::from_ms((start_ms + t_ms).round() as i64);
            all.push(Moment { at, connection, fields, text: text.to_owned() });
        }
    }
    all.sort_by_key(|line| line.at);
    all
}

/// The facts that an import gives.
fn imported(lines: &[Moment]) -> Vec<Told> {
    let mut assembler = Assembler::new("eu".parse().unwrap());
    let mut recordings: BTreeMap<usize, Recording> = BTreeMap::new();
    let mut facts = Vec::new();
    for line in lines {
        let recording =
            recordings.entry(line.connection).or_insert_with(|| Recording::new(&line.connection.to_string()));
        let recognize::Line::Transcript(transcript) = recognize::line(&line.text).unwrap() else {
            panic!("{}", line.text)
        };
        for observed in recording.take(transcript).unwrap() {
            facts.extend(assembler.take(&observed));
        }
    }
    facts.into_iter().map(|fact| Told { at: fact.at, what: fact.what }).collect()
}

/// Without what a recording does not say: address and certificate of who plays the node, and in whose words a transport
/// failed.
fn comparable(mut told: Told) -> Told {
    let plain = |attributes: &mut Attributes| {
        attributes.ip = None;
        attributes.certificate_expires_at = None;
    };
    match &mut told.what {
        What::Report(report) => plain(&mut report.attributes),
        What::Connection(Connection { attributes, event, .. }) => {
            plain(attributes);
            if let ConnectionEvent::Closed(how) = event
                && !how.as_str().contains("close frame")
            {
                *how = Line::from_outside("the connection ended").unwrap();
            }
        }
        _ => {}
    }
    told
}

struct Stage {
    clock: Clock,
    tap: std::net::SocketAddr,
    control_plane: TcpListener,
    node_tls: NodeTls,
    control_plane_tls: ControlPlaneTls,
    seen: mpsc::UnboundedReceiver<Passed>,
    reader: mpsc::UnboundedSender<Passed>,
}

impl Stage {
    /// Takes what the tap saw, until it is what is awaited.
    async fn seen(&mut self, what: &str, is_it: impl Fn(&capture::What) -> bool) {
        loop {
            let passed = timeout(SOON, self.seen.recv()).await.unwrap_or_else(|_| panic!("the tap never saw {what}"));
            let passed = passed.unwrap();
            let found = is_it(&passed.what);
            self.reader.send(passed).unwrap();
            if found {
                return;
            }
        }
    }

    async fn open(&mut self) -> Ends {
        let dial = async {
            let stream = TcpStream::connect(self.tap).await.unwrap();
            self.node_tls.connect(stream).await.unwrap()
        };
        let accept = async {
            let (stream, _) = self.control_plane.accept().await.unwrap();
            self.control_plane_tls.accept(stream, self.clock.now()).await.unwrap().0
        };
        let (node, control_plane) = timeout(SOON, async { tokio::join!(dial, accept) }).await.unwrap();
        self.seen("a node", |what| matches!(what, capture::What::Accepted(_))).await;
        Ends { node: Some(node), control_plane: Some(control_plane) }
    }

    /// One side writes, and the other reads the same.
    async fn pass(&mut self, ends: &mut Ends, from_node: bool, bytes: &[u8], is_said: bool) {
        let (Some(node), Some(control_plane)) = (&mut ends.node, &mut ends.control_plane) else {
            panic!("bytes after the end");
        };
        let mut read = vec![0; bytes.len()];
        let passing = async {
            if from_node {
                node.write_all(bytes).await.unwrap();
                node.flush().await.unwrap();
                control_plane.read_exact(&mut read).await.unwrap();
            } else {
                control_plane.write_all(bytes).await.unwrap();
                control_plane.flush().await.unwrap();
                node.read_exact(&mut read).await.unwrap();
            }
        };
        timeout(SOON, passing).await.expect("it passes");
        assert!(read == bytes, "other bytes came out");
        if is_said {
            self.seen("what was said", |what| matches!(what, capture::What::Said(..))).await;
        }
    }

    /// One side ends; the other hears it.
    async fn end(&mut self, ends: &mut Ends, from_node: bool) {
        let ending = async {
            let mut none = [0; 1];
            if from_node {
                let Some(mut node) = ends.node.take() else { return false };
                node.shutdown().await.unwrap();
                let Some(control_plane) = &mut ends.control_plane else { return true };
                assert_eq!(control_plane.read(&mut none).await.unwrap_or(0), 0);
            } else {
                let Some(mut control_plane) = ends.control_plane.take() else { return false };
                control_plane.shutdown().await.unwrap();
                let Some(node) = &mut ends.node else { return true };
                assert_eq!(node.read(&mut none).await.unwrap_or(0), 0);
            }
            true
        };
        if timeout(SOON, ending).await.expect("it ends") {
            self.seen("an end", |what| matches!(what, capture::What::Ended(..))).await;
        }
    }

    async fn play(&mut self, lines: &[Moment]) {
        let mut open: BTreeMap<usize, Ends> = BTreeMap::new();
        let mut mask_key = [7_u8, 11, 13, 17];
        for line in lines {
            self.clock.advance(line.at.since(self.clock.now()));
            let fields = &line.fields;
            let from_node = fields["dir"] == "dp→cp";
            let bytes = |key: &str| BASE64_STANDARD.decode(fields[key].as_str().unwrap()).unwrap();
            if fields["event"] == "tls_accepted" {
                let ends = self.open().await;
                open.insert(line.connection, ends);
                continue;
            }
            let Some(mut ends) = open.remove(&line.connection) else { panic!("{}", line.text) };
            match fields["event"].as_str() {
                None => {
                    let mut payload = bytes("payload_base64");
                    let opcode = match fields["opcode"].as_str().unwrap() {
                        "binary" => Opcode::Binary,
                        "ping" => Opcode::Ping,
                        "pong" => Opcode::Pong,
                        "close" => Opcode::Close,
                        other => panic!("{other}"),
                    };
                    mask_key = mask_key.map(|byte| byte.wrapping_mul(5).wrapping_add(1));
                    let key = (fields["masked"] == true).then_some(mask_key);
                    let head = Head::whole(opcode, key, payload.len() as u64);
                    if let Some(key) = key {
                        mask(&mut payload, key);
                    }
                    // Whoever wrote a last frame may be gone already.
                    let there = if from_node { ends.node.is_some() } else { ends.control_plane.is_some() };
                    let heard = if from_node { ends.control_plane.is_some() } else { ends.node.is_some() };
                    assert!(there && heard, "{}", line.text);
                    self.pass(&mut ends, from_node, &[head.bytes(), payload].concat(), true).await;
                }
                Some("http_request" | "http_response") => {
                    self.pass(&mut ends, from_node, &bytes("raw_base64"), true).await
                }
                Some("http_body") => self.pass(&mut ends, from_node, &bytes("payload_base64"), false).await,
                Some("eof" | "transport_error") => self.end(&mut ends, from_node).await,
                Some("error") => self.end(&mut ends, false).await,
                Some("closed") => {
                    let was_open = ends.node.is_some() || ends.control_plane.is_some();
                    drop(ends);
                    if was_open {
                        self.seen("the end", |what| matches!(what, capture::What::Over)).await;
                    }
                    continue;
                }
                Some(other) => panic!("{other}"),
            }
            open.insert(line.connection, ends);
        }
    }
}

async fn replay(folder: &Path) -> usize {
    let lines = lines(folder);
    let Some(first) = lines.first() else { return 0 };
    let clock = Clock::by_hand(first.at);
    let made = Throwaway::cluster(first.at).unwrap().loaded().unwrap();
    let tls = |versions| (ControlPlaneTls::shared(&made, versions).unwrap(), NodeTls::shared(&made, versions).unwrap());
    let (control_plane_tls, node_tls) = tls(TlsVersions::Both);
    let (nodes, control_plane) = tls(TlsVersions::Both);
    let bind = || TcpListener::bind("127.0.0.1:0");
    let (listener, upstream) = (bind().await.unwrap(), bind().await.unwrap());
    let settings = Settings {
        connect: upstream.local_addr().unwrap().to_string(),
        tls: Arc::new(ArcSwap::from_pointee(Tls { nodes, control_plane })),
        connections_max: 1_000,
        payload_max: 1 << 26,
        patience: tap::Patience::default(),
        clock: clock.clone(),
    };
    let (capture, seen) = Capture::new(clock.clone(), Budget::of(1 << 28), Counts::default());
    let spools = TempDir::new().unwrap();
    let spool = Arc::new(Mutex::new(Spool::open(spools.path(), 1 << 26).unwrap()));
    let reader =
        Reader::new(capture.shared(), "eu".parse().unwrap(), INFLATED_MAX, Arc::clone(&spool), Arc::new(Notify::new()));
    let (to_reader, queue) = mpsc::unbounded_channel();
    let reading = std::thread::spawn(move || reader.run(queue));
    let stopped = CancellationToken::new();
    let address = listener.local_addr().unwrap();
    let tapping = tokio::spawn(tap::run(listener, Arc::new(settings), capture, stopped.clone()));
    let mut stage =
        Stage { clock, tap: address, control_plane: upstream, node_tls, control_plane_tls, seen, reader: to_reader };
    stage.play(&lines).await;
    drop(stage);
    stopped.cancel();
    tapping.await.unwrap();
    tokio::task::spawn_blocking(move || reading.join().unwrap()).await.unwrap();
    let found = spool.lock().from(0, usize::MAX).unwrap().told;
    let expected: Vec<Told> = imported(&lines).into_iter().map(comparable).collect();
    let found: Vec<Told> = found.into_iter().map(comparable).collect();
    let name = folder.file_name().unwrap().display();
    for (number, (found, expected)) in found.iter().zip(&expected).enumerate() {
        assert_eq!(found, expected, "{name}: fact {number}");
    }
    assert_eq!(
        found.len(),
        expected.len(),
        "{name}: {:#?}",
        found.iter().skip(expected.len()).chain(expected.iter().skip(found.len())).collect::<Vec<_>>()
    );
    found.len()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tap_tells_what_an_import_tells_and_passes_every_byte() {
    let Some(captures) = captures() else { return };
    let mut folders: Vec<PathBuf> = std::fs::read_dir(captures).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.retain(|path| path.is_dir());
    folders.sort();
    let mut facts = 0;
    for folder in &folders {
        facts += replay(folder).await;
    }
    println!("{} recordings, {facts} facts", folders.len());
    assert!(facts > 500, "{facts}");
}
