//! What the store costs for a fleet of 100,000 nodes, in wall time and in CPU time of all threads: `make bench`, or
//! `cargo bench --package tidemark --bench store`. It prints figures and judges nothing.

use std::time::Instant;
use tidemark_domain::fact::{ConfigRef, Fact, Report, Source, What};
use tidemark_domain::id::{Labels, NodeId};
use tidemark_domain::time::{HOUR, Timestamp};
use tidemark_server::store::{Retention, Store};

const NODES: usize = 100_000;
const BATCH: usize = 10_000;
const T0: i64 = 1_795_000_000_000;

#[tokio::main]
async fn main() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("fleet.db");
    let open = async || Store::open(&path, Timestamp::from_ms(T0)).await.expect("a store");
    let store = open().await;

    let mut clock = Clock::new();
    for (at_ms, number, what) in [
        (0, 1, "first report of each node"),
        (30_000, 1, "second report: nothing new"),
        (60_000, 1, "third report: nothing new"),
        (90_000, 2, "fourth report: another configuration"),
        (120_000, 2, "fifth report: nothing new"),
    ] {
        let facts = reports(at_ms, number);
        clock.skip();
        append(&store, &facts).await;
        clock.lap(what);
    }
    store.close().await.expect("closed");
    clock.lap("close");
    let before = std::fs::metadata(&path).expect("a file").len();

    let store = open().await;
    clock.lap("open");
    let facts = store.facts_after(0, None).await.expect("facts");
    clock.lap(&format!("all {} facts again", facts.len()));
    drop(facts);

    let state = vec![7; 20_000_000];
    let sequence = store.progress().await.expect("progress").sequence;
    clock.skip();
    store.write_keyframe(sequence, Timestamp::from_ms(T0 + 120_000), 1, state).await.expect("written");
    clock.lap("write a keyframe of 20 MB");
    for step in 5..15 {
        append(&store, &reports(step * 30_000, u8::try_from(step).expect("small"))).await;
    }
    clock.skip();
    let sequence = store.progress().await.expect("progress").sequence;
    let later = Timestamp::from_ms(T0 + HOUR);
    store.write_keyframe(sequence, later, 1, vec![7; 20_000_000]).await.expect("written");
    clock.lap("write a keyframe of 20 MB");
    let known = Timestamp::from_ms(T0 + 5 * 30_000);
    let keyframe = store.keyframe_before(Some(known), 1).await.expect("an answer").expect("a keyframe");
    clock.lap("read a keyframe of 20 MB");
    let facts = store.facts_after(keyframe.sequence, Some(known)).await.expect("facts");
    clock.lap(&format!("{} facts of the past after it", facts.len()));
    let reached = store.first_reached(&facts[0].control_plane, &[config(7)], known, None).await.expect("an answer");
    clock.lap(&format!("when {} nodes reached a configuration", reached.len()));
    let NodeAndPlane { node, plane } = first(&facts);
    let page = store.intervals(plane, node, None, 50, None).await.expect("a page");
    clock.lap(&format!("a page of {} intervals", page.intervals.len()));

    let purged =
        store.purge(Timestamp::from_ms(T0 + 31 * 24 * HOUR), Retention::default(), 10_000).await.expect("purged");
    clock.lap(&format!("purge of {} intervals", purged.intervals));
    store.close().await.expect("closed");
    let bytes = std::fs::metadata(&path).expect("a file").len();
    println!("{:>8} bytes a node with one closed run", before / NODES as u64);
    println!("{:>8} bytes a closed run with its indexes", (bytes - before - 40_000) / (10 * NODES as u64));
}

struct NodeAndPlane<'a> {
    node: &'a NodeId,
    plane: &'a tidemark_domain::id::CpName,
}

fn first(facts: &[Fact]) -> NodeAndPlane<'_> {
    let of = |fact: &'_ Fact| matches!(fact.what, What::Report(_));
    let fact = facts.iter().find(|fact| of(fact)).expect("a report");
    let What::Report(report) = &fact.what else { unreachable!("it was found as a report") };
    NodeAndPlane { node: &report.node, plane: &fact.control_plane }
}

fn config(number: u8) -> ConfigRef {
    ConfigRef::Hash(format!("{number:02x}").repeat(16).parse().expect("a hash"))
}

/// Appends of [`BATCH`] facts.
async fn append(store: &Store, facts: &[Fact]) {
    for batch in facts.chunks(BATCH) {
        store.append(batch, &[]).await.expect("stored");
    }
}

/// One report of each node, in the order of no index.
fn reports(at_ms: i64, number: u8) -> Vec<Fact> {
    let at = Timestamp::from_ms(T0 + at_ms);
    let control_plane: tidemark_domain::id::CpName = "prod".parse().expect("a name");
    (0..NODES)
        .map(|index| {
            let shuffled = index * 48_271 % NODES;
            let node: NodeId = format!("{shuffled:08x}-980a-49d2-bd9b-75829acfda7d").parse().expect("an id");
            let mut report = Report::of(node, config(number));
            report.attributes.hostname = format!("dp-{shuffled}.prod.example").parse().ok();
            report.attributes.gateway_version = "3.9.1".parse().ok();
            report.attributes.labels = Labels::new([("region".to_owned(), "eu-central-1".to_owned())]).ok();
            let what = What::Report(Box::new(report));
            Fact { at, recorded_at: at, control_plane: control_plane.clone(), source: Source::Push, what }
        })
        .collect()
}

/// Wall and CPU time since the lap before.
struct Clock {
    wall: Instant,
    cpu: f64,
}

impl Clock {
    fn new() -> Self {
        println!("    wall      cpu");
        Self { wall: Instant::now(), cpu: cpu() }
    }

    /// What came since the lap before is not shown.
    fn skip(&mut self) {
        *self = Self { wall: Instant::now(), cpu: cpu() };
    }

    fn lap(&mut self, what: &str) {
        println!("{:>6.0} ms {:>6.0} ms  {what}", self.wall.elapsed().as_secs_f64() * 1e3, (cpu() - self.cpu) * 1e3);
        self.skip();
    }
}

/// Seconds of CPU that this process used so far, by Linux; 0 elsewhere.
fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks: f64 = after_name.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum();
    ticks / 100.0
}
