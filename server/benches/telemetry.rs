//! What it costs to take in what Kong's http-log plugin tells: `make bench`, or `cargo bench --package tidemark --bench
//! telemetry`. A real server in a process of its own over a real file, told over HTTP on loopback by 32 connections; CPU time
//! is that of the server's process alone. Beside it, where Debian's `victoria-metrics` is installed, the same number of posts
//! of one row of five values in Influx's line protocol, which it keeps in memory for a while before they are on the disk. It
//! prints figures and judges nothing.
//!
//! The goals: single entries of 2 kB at most 1.5 CPU-seconds per 100,000; gzipped arrays of 1,000 at most 0.5;
//! a panel of 24 hours over 10 million entries at most 20 ms.

use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use flate2::{Compression, write::GzEncoder};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const CONNECTIONS: usize = 32;
const SINGLES: usize = 100_000;
const BATCH: usize = 1_000;
const BATCHES: usize = 1_000;
const LOG: &str = "/ingest/kong/http-log/prod/gw-1";

#[tokio::main]
async fn main() {
    let folder = tempfile::tempdir().expect("a folder");
    let database = folder.path().join("bench.db");
    let (address, mut server) = tidemark(&database);
    ready(address, "/healthz").await;

    let (cpu, wall) = measured(&server, posts(address, LOG, "application/json", SINGLES, single)).await;
    print("http-log, one entry of 2 kB a post", SINGLES, cpu, wall);

    let before = database_bytes(&database);
    let (cpu, wall) = measured(&server, posts(address, LOG, GZIP, BATCHES, batch)).await;
    print("http-log, gzipped arrays of 1,000", BATCH * BATCHES, cpu, wall);
    println!(
        "{:<52} {:>8.1} MB for what is not in sums yet",
        "on the disk",
        (database_bytes(&database) - before) as f64 / 1e6
    );

    panels(address).await;
    // A process of ours, by its id.
    let _ = server.kill();
    let _ = server.wait();

    match victoria(folder.path()) {
        None => println!("victoria-metrics is not installed, and left out"),
        Some((address, mut child)) => {
            ready(address, "/health").await;
            let (cpu, wall) = measured(&child, posts(address, "/write", "text/plain", SINGLES, influx)).await;
            print("victoria-metrics, one row of 5 values a post", SINGLES, cpu, wall);
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The content type that says that a body is compressed too.
const GZIP: &str = "application/json\r\ncontent-encoding: gzip";

fn print(what: &str, entries: usize, cpu_s: f64, wall: Duration) {
    let per = cpu_s * 100_000.0 / entries as f64;
    println!("{what:<52} {per:>8.2} CPU-s per 100,000 ({entries} in {:.1} s)", wall.as_secs_f64());
}

/// CPU seconds of a process, and the time it took.
async fn measured(child: &Child, work: impl Future<Output = ()>) -> (f64, Duration) {
    let (before, began) = (cpu_s(child.id()), Instant::now());
    work.await;
    (cpu_s(child.id()) - before, began.elapsed())
}

/// User and system time of a process, in seconds (proc(5): fields 14 and 15, in hundredths).
fn cpu_s(process: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    let ticks = |place: usize| fields.get(place).and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / 100.0
}

/// Posts so many bodies over several connections that stay open, each answered before the next.
async fn posts(address: SocketAddr, path: &'static str, kind: &'static str, count: usize, body: fn(usize) -> Vec<u8>) {
    let each = count / CONNECTIONS;
    let tasks: Vec<_> = (0..CONNECTIONS)
        .map(|place| {
            tokio::spawn(async move {
                let last = if place + 1 == CONNECTIONS { count - each * (CONNECTIONS - 1) } else { each };
                let mut stream = TcpStream::connect(address).await.expect("it listens");
                stream.set_nodelay(true).expect("a socket");
                for index in 0..last {
                    let body = body(place * each + index);
                    let head = format!(
                        "POST {path} HTTP/1.1\r\nhost: bench\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n",
                        body.len()
                    );
                    stream.write_all(&[head.as_bytes(), &body].concat()).await.expect("it reads");
                    let status = answer(&mut stream).await;
                    assert!((200..300).contains(&status), "{status}");
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("all were answered");
    }
}

/// Reads an answer whole; its status.
async fn answer(stream: &mut TcpStream) -> u16 {
    let mut read = Vec::with_capacity(1_024);
    loop {
        let mut part = [0; 2_048];
        let count = stream.read(&mut part).await.expect("it answers");
        assert!(count > 0, "the connection ended: {}", String::from_utf8_lossy(&read));
        read.extend_from_slice(&part[..count]);
        let text = String::from_utf8_lossy(&read);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length =
            head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
        if body.len() >= length.unwrap_or(0) {
            return head.split_whitespace().nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        }
    }
}

fn entry(index: usize) -> String {
    let started = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_millis();
    let (route, status, ms) = (index % 50, [200, 200, 200, 404, 503][index % 5], 5 + index % 300);
    let padding = "x".repeat(1_000);
    format!(
        r#"{{"request":{{"id":"{index:032x}","method":"GET","uri":"/orders/{index}","url":"https://api.example.com/orders/{index}","querystring":{{}},"size":312,"headers":{{"host":"api.example.com","user-agent":"{padding}"}}}},"upstream_uri":"/{index}","upstream_status":"{status}","response":{{"status":{status},"size":1834,"headers":{{"content-type":"application/json","via":"1.1 kong/3.9.1"}}}},"latencies":{{"kong":2,"proxy":{ms},"request":{ms},"receive":1}},"tries":[{{"balancer_start":{started},"balancer_latency":0,"ip":"10.0.0.6","port":8080}}],"route":{{"id":"22222222-2222-4222-8222-{route:012}","name":"route-{route}","paths":["/orders"],"protocols":["http","https"],"strip_path":true}},"service":{{"id":"11111111-1111-4111-8111-111111111111","name":"orders","host":"orders.internal","port":8080,"protocol":"http"}},"consumer":{{"id":"66666666-6666-4666-8666-666666666666","username":"alice"}},"client_ip":"10.9.8.7","started_at":{started},"source":"upstream"}}"#
    )
}

fn single(index: usize) -> Vec<u8> {
    entry(index).into_bytes()
}

fn batch(index: usize) -> Vec<u8> {
    let entries: Vec<String> = (0..BATCH).map(|place| entry(1_000_000 + index * BATCH + place)).collect();
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(format!("[{}]", entries.join(",")).as_bytes()).expect("memory takes all");
    encoder.finish().expect("memory takes all")
}

fn influx(index: usize) -> Vec<u8> {
    let ms = 5 + index % 300;
    format!("http,route=route-{},status=200 requests=1,bytes_in=312,bytes_out=1834,total={ms},proxy={ms}\n", index % 50)
        .into_bytes()
}

/// How long panels take, warm.
async fn panels(address: SocketAddr) {
    for query in ["range=1h&by=route", "range=24h&by=route", "range=24h&by=route&status=503"] {
        let url = format!("http://{address}/api/v1/traffic?{query}");
        let mut best = Duration::MAX;
        for _ in 0..10 {
            let began = Instant::now();
            let answer = reqwest::get(&url).await.expect("it answers");
            assert!(answer.status().is_success());
            answer.bytes().await.expect("a body");
            best = best.min(began.elapsed());
        }
        println!("{:<52} {:>8.1} ms, best of ten", format!("GET /api/v1/traffic?{query}"), best.as_secs_f64() * 1e3);
    }
}

fn database_bytes(database: &Path) -> u64 {
    let mut log = database.as_os_str().to_owned();
    log.push("-wal");
    let length = |path: &Path| path.metadata().map_or(0, |metadata| metadata.len());
    length(database) + length(Path::new(&log))
}

fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port")
}

fn tidemark(database: &Path) -> (SocketAddr, Child) {
    let address = free();
    let child = Command::new(env!("CARGO_BIN_EXE_tidemark"))
        .args(["serve", "--listen", &address.to_string(), "--database"])
        .arg(database)
        .stderr(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .expect("it starts");
    (address, child)
}

fn victoria(folder: &Path) -> Option<(SocketAddr, Child)> {
    let address = free();
    let child = Command::new("victoria-metrics")
        .arg(format!("-httpListenAddr={address}"))
        .arg(format!("-storageDataPath={}", folder.join("victoria").display()))
        .stderr(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .ok()?;
    Some((address, child))
}

async fn ready(address: SocketAddr, path: &str) {
    let began = Instant::now();
    while !reqwest::get(format!("http://{address}{path}")).await.is_ok_and(|answer| answer.status().is_success()) {
        assert!(began.elapsed() < Duration::from_secs(30), "{address} did not get ready");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
