//! How soon 100,000 stored nodes are ready, and how soon a moment of the past is answered: `make bench`, or
//! `cargo bench --package tidemark --bench past`. It prints figures and judges nothing.
//!
//! The morning of the fleet: everybody reports, a keyframe is kept, everybody reports twice more, then everybody comes to
//! another version and reports it three times. No moment is asked for twice, so each is folded. The first question of a
//! service is shown apart from the best of the next ones, with the CPU time of all threads beside the wall time: the
//! machine may be shared.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;
use tidemark_app::api::FleetApi;
use tidemark_domain::fact::{
    Announcement, Attributes, ConfigRef, Fact, Protocol, Report, Said, Scope, Source, What, Word,
};
use tidemark_domain::fleet::Fleet;
use tidemark_domain::id::{CpName, Labels, Line};
use tidemark_domain::policy::Policy;
use tidemark_domain::time::{MINUTE, SECOND, Timestamp};
use tidemark_domain::view::Moment;
use tidemark_server::board::{Board, packed};
use tidemark_server::clock::Clock;
use tidemark_server::reader::{KEYFRAME_FORMAT, Reader};
use tidemark_server::run::live;
use tidemark_server::store::Store;
use tokio_util::sync::CancellationToken;

const NODES: u32 = 100_000;
const CONTROL_PLANES: u32 = 4;
const VERSIONS: u32 = 200;
const BATCH: usize = 10_000;
const T0: Timestamp = Timestamp::from_ms(1_795_000_000_000);
/// When the first keyframe is kept.
const KEYFRAME_AT: Timestamp = T0.plus(20 * SECOND);
/// When the questions are asked.
const NOW: Timestamp = T0.plus(15 * MINUTE);
/// How often each figure is taken.
const TIMES: i64 = 5;

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, command, path] = arguments.as_slice()
        && command == "tell"
    {
        return tell(Path::new(path)).await;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let told = folder.path().join("told.db");
    // In a process of its own, so that the memory shown is that of who asks.
    let us = std::env::current_exe().expect("a path");
    assert!(Command::new(us).arg("tell").arg(&told).status().expect("a process").success());

    println!("  first, and its CPU      best, and its CPU");
    for (what, again) in [("ready after a crash", false), ("ready after a clean end", true)] {
        let path = folder.path().join("live.db");
        let mut took = Vec::new();
        for time in 0..TIMES {
            if time == 0 || !again {
                std::fs::copy(&told, &path).expect("copied");
            }
            if time == 0 && again {
                start(&path).await;
            }
            took.push(start(&path).await);
        }
        line(&took, what);
    }
    for (what, closed) in [("open intervals are rows", false), ("open intervals are in the next keyframe", true)] {
        let path = folder.path().join("asked.db");
        std::fs::copy(&told, &path).expect("copied");
        if closed {
            let store = Store::open(&path, NOW).await.expect("a store");
            keep(&store, &Fleet::default(), NOW).await;
            store.close().await.expect("closed");
        }
        for (moment, after_ms) in [("keyframe + 1 s", 1), ("and everybody again", 70), ("and everybody moved", 155)] {
            ask(&path, &format!("{moment}, {what}"), KEYFRAME_AT.plus(after_ms * SECOND)).await;
        }
    }
    println!("{:>8} MB in memory at most", memory_kib("VmHWM:") / 1024);
}

/// Tells the morning of the fleet to a new store.
async fn tell(path: &Path) {
    let store = Store::open(path, T0).await.expect("a store");
    let policy = Policy::default();
    let mut fleet = Fleet::default();
    let tell = async |facts: Vec<Fact>, fleet: &mut Fleet| {
        for batch in facts.chunks(BATCH) {
            store.append(batch, &[]).await.expect("stored");
        }
        for fact in &facts {
            fleet.observe(fact, &policy);
        }
    };
    tell((1..VERSIONS).flat_map(|number| announced(number, T0.plus(-MINUTE))).collect(), &mut fleet).await;
    tell(reports(T0, VERSIONS - 1), &mut fleet).await;
    keep(&store, &fleet, KEYFRAME_AT).await;
    for seconds in [40, 80] {
        tell(reports(T0.plus(seconds * SECOND), VERSIONS - 1), &mut fleet).await;
    }
    tell(announced(VERSIONS, T0.plus(100 * SECOND)), &mut fleet).await;
    for seconds in [120, 160, 200] {
        tell(reports(T0.plus(seconds * SECOND), VERSIONS), &mut fleet).await;
    }
    store.mark_alive(NOW).await.expect("noted");
    store.close().await.expect("closed");
}

async fn keep(store: &Store, fleet: &Fleet, at: Timestamp) {
    let sequence = store.progress().await.expect("progress").sequence;
    let state = packed(fleet).expect("packed");
    store.write_keyframe(sequence, at, KEYFRAME_FORMAT, state).await.expect("kept");
}

/// Asks for moments from `at` on, one after the other.
async fn ask(path: &Path, what: &str, at: Timestamp) {
    let store = Store::open_read_only(path).await.expect("a store");
    let policy = Arc::new(Policy::default());
    let board = Board::new(Fleet::default(), Arc::clone(&policy), NOW);
    let reader = Reader::new(board.snapshots(), store.clone(), Clock::by_hand(NOW), policy);
    let mut took = Vec::new();
    for time in 0..TIMES {
        let moment = Moment { at: Some(at.plus(time)), known_now: false };
        let started = Started::now();
        let view = reader.fleet(moment).await.expect("an answer");
        took.push(started.took());
        assert_eq!(view.nodes, NODES, "everybody is in the answer");
    }
    line(&took, what);
    store.close().await.expect("closed");
}

/// How long a service takes to be ready over this database; it ends cleanly.
async fn start(path: &Path) -> Took {
    let closing = CancellationToken::new();
    let started = Started::now();
    let running = live(path, Clock::by_hand(NOW), Policy::default(), closing.clone()).await.expect("a service");
    let took = started.took();
    assert_eq!(running.snapshots.load().tally.nodes(), NODES, "everybody is on the board");
    closing.cancel();
    if let Some(writer) = running.writer {
        writer.await.expect("the writer ends");
    }
    running.store.close().await.expect("closed");
    took
}

/// Milliseconds, and those of CPU.
type Took = (u128, u64);

fn line(took: &[Took], what: &str) {
    let (first, first_cpu) = took[0];
    let (best, best_cpu) = took[1..].iter().min().copied().unwrap_or_default();
    println!("{first:>5} ms {first_cpu:>5} ms    {best:>5} ms {best_cpu:>5} ms    {what}");
}

struct Started {
    wall: Instant,
    cpu: u64,
}

impl Started {
    fn now() -> Self {
        Self { wall: Instant::now(), cpu: cpu_ms() }
    }

    fn took(&self) -> Took {
        (self.wall.elapsed().as_millis(), cpu_ms() - self.cpu)
    }
}

fn control_plane(index: u32) -> CpName {
    format!("cp-{}", index % CONTROL_PLANES).parse().expect("a name")
}

fn announced(number: u32, at: Timestamp) -> Vec<Fact> {
    let word = |index| {
        let announcement = Announcement {
            token: format!("release-{number:04}").parse().ok(),
            hashes: vec![(Scope::ANY, format!("{number:032x}").parse().expect("a hash"))],
            ..Announcement::default()
        };
        let word = Word { replica: None, scope: Scope::ANY, said: Said::Announced(announcement) };
        fact(control_plane(index), at.plus(i64::from(number)), What::Word(Box::new(word)))
    };
    (0..CONTROL_PLANES).map(word).collect()
}

/// One report of each node, in the order of no index.
fn reports(at: Timestamp, version: u32) -> Vec<Fact> {
    let line = |text: String| text.parse::<Line>().ok();
    (0..NODES)
        .map(|index| {
            let number = u64::from(index) * 48_271 % u64::from(NODES);
            let node = format!("{number:08x}-980a-49d2-bd9b-75829acfda7d").parse().expect("an id");
            let attributes = Attributes {
                hostname: line(format!("dp-{number}.prod.example")),
                ip: line(format!("10.{}.{}.{}", number >> 16, number >> 8 & 255, number & 255)),
                gateway_version: "3.9.1".parse().ok(),
                protocol: Some(Protocol::V1),
                labels: Labels::new([
                    ("region".to_owned(), format!("eu-{}", number % 7)),
                    ("team".to_owned(), format!("team-{}", number % 97)),
                ])
                .ok(),
                ..Attributes::default()
            };
            let running = ConfigRef::Hash(format!("{version:032x}").parse().expect("a hash"));
            let report = Report { attributes, ..Report::of(node, running) };
            let spread = i64::from(index % 5_000);
            fact(control_plane(index), at.plus(spread), What::Report(Box::new(report)))
        })
        .collect()
}

fn fact(control_plane: CpName, at: Timestamp, what: What) -> Fact {
    Fact { at, recorded_at: at, control_plane, source: Source::Push, what }
}

/// CPU time that this process used so far, in milliseconds, by Linux; 0 elsewhere.
fn cpu_ms() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    after_name.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum::<u64>() * 10
}

/// A line of what Linux says of the memory of this process; 0 elsewhere.
fn memory_kib(what: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(what));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}
