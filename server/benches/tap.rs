//! What a tap costs whom it stands between, beside a plain TCP relay and beside haproxy with TLS on both sides (left out
//! where haproxy is not installed): `cargo bench --package tidemark --bench tap`. It prints figures and judges nothing.
//!
//! The goals: at most 1 ms more at the 99th percentile of a heartbeat than the plain relay; a configuration of 30 MB to 100
//! nodes at no less than 70 % of haproxy; at most 24 KiB for an idle connection beyond what TLS takes.

use bytes::Bytes;
use std::net::{SocketAddr, TcpListener as Port};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tidemark_domain::time::Timestamp;
use tidemark_server::clock::Clock;
use tidemark_server::cluster_tls::{ControlPlaneTls, NodeTls, Throwaway, TlsVersions};
use tidemark_server::descriptors;
use tidemark_server::kong::frame::Head;
use tidemark_server::kong::session::Opcode;
use tidemark_server::simulate::estate::{Counts, Estate, Rendering};
use tidemark_server::simulate::wire::publishing;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

const NODES: usize = 100;
const IDLE: usize = 2_000;
/// Nodes that ping at once, pings of each, and the pause between them.
const PINGING: usize = 20;
const PINGS: usize = 400;
const PAUSE: Duration = Duration::from_millis(5);
const ROUNDS: usize = 3;
const REQUEST: &[u8] = b"GET /v1/outlet?node_id=n&node_hostname=h&node_version=3.9.3 HTTP/1.1\r\n\r\n";
const ANSWER: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n";
const PING: usize = 6 + 32;

type Stream = tokio_rustls::client::TlsStream<TcpStream>;

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let folder = tempfile::tempdir().expect("a folder");
    if let [_, command, certificates, connect] = arguments.as_slice()
        && command == "hold"
    {
        return hold(Path::new(certificates), connect).await;
    }
    let now = Clock::machine().now();
    let made = Throwaway::cluster(now).expect("a certificate");
    write(folder.path(), &made);
    let certificate = made.loaded().expect("a certificate");
    let node_tls = NodeTls::shared(&certificate, TlsVersions::Both).expect("TLS");
    let tls = ControlPlaneTls::shared(&certificate, TlsVersions::Both).expect("TLS");
    let (push, pushed) = watch::channel(Bytes::new());
    let upstream = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let connect = upstream.local_addr().expect("an address");
    tokio::spawn(serve(upstream, tls, pushed));
    descriptors::make_room_for(4 * IDLE as u64).expect("descriptors");

    let mut relays = vec![("plain TCP relay", plain(connect).await, None)];
    if let Some((address, child)) = haproxy(folder.path(), connect) {
        relays.push(("haproxy", address, Some(child)));
    } else {
        println!("haproxy is not installed, and left out");
    }
    let (address, child) = tap(folder.path(), connect);
    relays.push(("tap", address, Some(child)));
    for (_, address, _) in &relays {
        ready(*address).await;
    }

    println!("heartbeats of {PINGING} nodes, there and back:      median        p99");
    for round in 0..ROUNDS {
        for (name, address, _) in &relays {
            let mut took = pings(*address, &node_tls).await;
            took.sort_unstable();
            let at = |share: f64| took[(took.len() as f64 * share) as usize].as_secs_f64() * 1_000.0;
            println!("  round {round}, {name:<18}                 {:>8.3} ms {:>8.3} ms", at(0.5), at(0.99));
        }
    }
    let real = frame(now);
    let raw = Bytes::from(vec![0x5a; 30_000_000]);
    for (what, payload) in [("30 MB of bytes", raw), ("30,000 entities as Kong sends them", real)] {
        println!("{what} ({:.1} MB on the wire) to {NODES} nodes:", payload.len() as f64 / 1e6);
        for round in 0..ROUNDS {
            for (name, address, _) in &relays {
                let took = broadcast(*address, &node_tls, &push, &payload).await;
                let speed = (payload.len() * NODES) as f64 / 1e6 / took.as_secs_f64();
                println!("  round {round}, {name:<18} {:>7.2} s, {speed:>6.0} MB/s", took.as_secs_f64());
            }
        }
    }
    println!("memory of {IDLE} idle connections:");
    for (name, each) in [
        ("TLS on both sides, held", idle(held(folder.path(), connect), &node_tls).await),
        ("tap", idle(tap(folder.path(), connect), &node_tls).await),
    ] {
        println!("  {name:<24} {each:>6.1} KiB a connection");
    }
    for (_, _, child) in &mut relays {
        if let Some(child) = child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn write(folder: &Path, made: &Throwaway) {
    let file = |name: &str, text: &str| std::fs::write(folder.join(name), text).expect("written");
    file("cluster.crt", &made.certificate);
    file("cluster.key", &made.key);
    file("both.pem", &format!("{}{}", made.certificate, made.key));
}

/// A control plane that answers pings, and sends what is pushed.
async fn serve(listener: TcpListener, tls: ControlPlaneTls, pushed: watch::Receiver<Bytes>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let (tls, mut pushed) = (tls.clone(), pushed.clone());
        tokio::spawn(async move {
            stream.set_nodelay(true)?;
            let (mut stream, _) = tls.accept(stream, Clock::machine().now()).await?;
            let mut head = vec![0; REQUEST.len()];
            stream.read_exact(&mut head).await?;
            stream.write_all(ANSWER).await?;
            stream.flush().await?;
            pushed.mark_unchanged();
            let mut ping = [0; PING];
            loop {
                tokio::select! {
                    read = stream.read_exact(&mut ping) => {
                        read?;
                        stream.write_all(&[0x8a, 0]).await?;
                        stream.flush().await?;
                    }
                    Ok(()) = pushed.changed() => {
                        let payload = pushed.borrow_and_update().clone();
                        let head = Head::whole(Opcode::Binary, None, payload.len() as u64);
                        stream.write_all(&head.bytes()).await?;
                        stream.write_all(&payload).await?;
                        stream.flush().await?;
                    }
                }
            }
            #[expect(unreachable_code)]
            Ok::<(), std::io::Error>(())
        });
    }
}

async fn plain(connect: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        loop {
            let Ok((mut node, _)) = listener.accept().await else { continue };
            tokio::spawn(async move {
                let mut control_plane = TcpStream::connect(connect).await?;
                node.set_nodelay(true)?;
                control_plane.set_nodelay(true)?;
                copy_bidirectional(&mut node, &mut control_plane).await
            });
        }
    });
    address
}

fn free_port() -> SocketAddr {
    Port::bind("127.0.0.1:0").and_then(|port| port.local_addr()).expect("a port")
}

fn haproxy(folder: &Path, connect: SocketAddr) -> Option<(SocketAddr, Child)> {
    let address = free_port();
    let (both, ca) = (folder.join("both.pem"), folder.join("cluster.crt"));
    let (both, ca) = (both.display(), ca.display());
    let config = format!(
        "global\n  nbthread 2\n  maxconn 1000\ndefaults\n  mode tcp\n  timeout connect 5s\n  timeout client 1h\n  \
         timeout server 1h\nlisten relay\n  bind {address} ssl crt {both} ca-file {ca} verify required\n  \
         server cp {connect} ssl crt {both} ca-file {ca} verify required sni str(kong_clustering)\n"
    );
    let path = folder.join("haproxy.cfg");
    std::fs::write(&path, config).expect("written");
    let child = Command::new("haproxy").arg("-db").arg("-f").arg(path).spawn().ok()?;
    Some((address, child))
}

fn tap(folder: &Path, connect: SocketAddr) -> (SocketAddr, Child) {
    let address = free_port();
    let spool: PathBuf = folder.join(format!("spool-{}", address.port()));
    let child = Command::new(env!("CARGO_BIN_EXE_tidemark"))
        // Nobody listens there: everything stays in the spool.
        .args(["tap", "--control-plane", "bench", "--to", "http://127.0.0.1:1"])
        .args(["--listen", &address.to_string(), "--connect", &connect.to_string()])
        .arg("--cluster-cert")
        .arg(folder.join("cluster.crt"))
        .arg("--cluster-cert-key")
        .arg(folder.join("cluster.key"))
        .arg("--spool")
        .arg(spool)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("a tap");
    (address, child)
}

/// A process that holds TLS with both sides, and does nothing.
fn held(folder: &Path, connect: SocketAddr) -> (SocketAddr, Child) {
    let address = free_port();
    std::fs::write(folder.join("listen"), address.to_string()).expect("written");
    let us = std::env::current_exe().expect("a path");
    let child = Command::new(us).arg("hold").arg(folder).arg(connect.to_string()).spawn().expect("a process");
    (address, child)
}

async fn hold(folder: &Path, connect: &str) {
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).expect("read");
    let made = Throwaway { certificate: read("cluster.crt"), key: read("cluster.key") };
    let certificate = made.loaded().expect("a certificate");
    let tls = ControlPlaneTls::shared(&certificate, TlsVersions::Both).expect("TLS");
    let node_tls = NodeTls::shared(&certificate, TlsVersions::Both).expect("TLS");
    descriptors::make_room_for(4 * IDLE as u64).expect("descriptors");
    let listener = TcpListener::bind(read("listen")).await.expect("a port");
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let (tls, node_tls, connect) = (tls.clone(), node_tls.clone(), connect.to_owned());
        tokio::spawn(async move {
            let (mut node, _) = tls.accept(stream, Clock::machine().now()).await?;
            let mut control_plane = node_tls.connect(TcpStream::connect(connect).await?).await?;
            let mut request = [0; REQUEST.len()];
            node.read_exact(&mut request).await?;
            control_plane.write_all(&request).await?;
            control_plane.flush().await?;
            let mut answer = [0; ANSWER.len()];
            control_plane.read_exact(&mut answer).await?;
            node.write_all(&answer).await?;
            node.flush().await?;
            let mut none = [0; 1];
            let _ = node.read(&mut none).await;
            drop(control_plane);
            Ok::<(), std::io::Error>(())
        });
    }
}

async fn ready(address: SocketAddr) {
    let began = Instant::now();
    while TcpStream::connect(address).await.is_err() {
        assert!(began.elapsed() < Duration::from_secs(10), "nothing listens on {address}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn node(address: SocketAddr, tls: &NodeTls) -> Stream {
    let stream = TcpStream::connect(address).await.expect("a connection");
    stream.set_nodelay(true).expect("no delay");
    let mut stream = tls.connect(stream).await.expect("TLS");
    stream.write_all(REQUEST).await.expect("written");
    stream.flush().await.expect("written");
    let mut answer = [0; ANSWER.len()];
    stream.read_exact(&mut answer).await.expect("an answer");
    stream
}

async fn pings(address: SocketAddr, tls: &NodeTls) -> Vec<Duration> {
    let mut tasks = Vec::new();
    for number in 0..PINGING {
        let mut stream = node(address, tls).await;
        tasks.push(tokio::spawn(async move {
            let head = Head::whole(Opcode::Ping, Some([0; 4]), 32).bytes();
            let ping = [head.as_slice(), &[b'a'; 32]].concat();
            tokio::time::sleep(PAUSE * number as u32 / PINGING as u32).await;
            let mut took = Vec::with_capacity(PINGS);
            for _ in 0..PINGS {
                tokio::time::sleep(PAUSE).await;
                let began = Instant::now();
                stream.write_all(&ping).await.expect("written");
                stream.flush().await.expect("written");
                stream.read_exact(&mut [0; 2]).await.expect("a pong");
                took.push(began.elapsed());
            }
            took
        }));
    }
    let mut all = Vec::new();
    for task in tasks {
        all.extend(task.await.expect("pings"));
    }
    all
}

async fn broadcast(address: SocketAddr, tls: &NodeTls, push: &watch::Sender<Bytes>, payload: &Bytes) -> Duration {
    let mut nodes = Vec::new();
    for _ in 0..NODES {
        nodes.push(node(address, tls).await);
    }
    let length = Head::whole(Opcode::Binary, None, payload.len() as u64).bytes().len() + payload.len();
    let began = Instant::now();
    push.send_replace(payload.clone());
    let mut tasks = Vec::new();
    for mut stream in nodes {
        tasks.push(tokio::spawn(async move {
            let mut buffer = vec![0; 64 * 1024];
            let mut read = 0;
            while read < length {
                read += stream.read(&mut buffer).await.expect("bytes");
            }
        }));
    }
    for task in tasks {
        task.await.expect("all of it");
    }
    began.elapsed()
}

async fn idle((address, mut child): (SocketAddr, Child), tls: &NodeTls) -> f64 {
    ready(address).await;
    // What the first ones take is the process's own.
    let mut nodes = Vec::new();
    for _ in 0..100 {
        nodes.push(node(address, tls).await);
    }
    let before = resident(&child);
    for _ in 0..IDLE {
        nodes.push(node(address, tls).await);
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    let after = resident(&child);
    drop(nodes);
    let _ = child.kill();
    let _ = child.wait();
    (after - before) as f64 / IDLE as f64
}

fn resident(child: &Child) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).expect("a process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a figure");
    line.trim().split(' ').next().and_then(|figure| figure.parse().ok()).expect("a figure")
}

/// 30,000 entities as one frame.
fn frame(now: Timestamp) -> Bytes {
    let version: tidemark_domain::gateway::GatewayVersion = "3.9.3".parse().expect("a version");
    let (_, counts) = Counts::PRESETS.into_iter().find(|(name, _)| *name == "30000").expect("a preset");
    let rendered = Estate::new(1, "bench", counts, now).render(&Rendering::default(), &version, &version);
    publishing::Rendering::trimmed(&rendered.table, &rendered.stated, "3.9.3", now).frame
}
