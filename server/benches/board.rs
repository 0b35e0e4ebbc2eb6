//! What the board costs at 100,000 nodes: taking reports in, judging everybody, a tick in which nothing moved, and one in
//! which one report in a hundred did. Prints the best of five, because a shared machine only ever adds.

use std::{sync::Arc, time::Duration};

use tidemark_domain::{
    fact::{ConfigRef, Fact, Report, Source, What},
    fleet::Fleet,
    hash::ConfigHash,
    id::CpName,
    policy::Policy,
    time::Timestamp,
};
use tidemark_server::{
    board::{Board, Snapshot},
    clock::stopwatch,
};

const NODES: u32 = 100_000;
const START: Timestamp = Timestamp::from_ms(1_700_000_000_000);

fn main() {
    let policy = Arc::new(Policy::default());
    let reports: Vec<Fact> = (0..NODES).map(|index| report(index, START)).collect();
    let later: Vec<Fact> = (0..NODES).step_by(100).map(|index| report(index, START.plus(2_000))).collect();

    let mut fleet = Fleet::default();
    for fact in &reports {
        fleet.observe(fact, &policy);
    }
    best("take in", &mut || {
        let mut empty = Fleet::default();
        measured(|| {
            for fact in &reports {
                empty.observe(fact, &policy);
            }
        })
    });
    best("judge everybody", &mut || measured(|| drop(Snapshot::of(fleet.clone(), &policy, START.plus(1_000)))));

    let mut board = Board::new(fleet, policy, START.plus(1_000));
    let mut now = START.plus(1_000);
    best("tick, nothing moved", &mut || {
        now = now.plus(1);
        measured(|| board.publish(now))
    });
    now = START.plus(2_000);
    best("tick, one in a hundred reported", &mut || {
        now = now.plus(1);
        measured(|| {
            for fact in &later {
                board.observe(fact);
            }
            board.publish(now);
        })
    });
}

fn report(index: u32, at: Timestamp) -> Fact {
    let control_plane: CpName = format!("cp-{}", index % 4).parse().expect("a name of a control plane");
    let node = format!("node-{index:06}").parse().expect("an id of a node");
    let hash: ConfigHash = "0123456789abcdef0123456789abcdef".parse().expect("32 digits are a hash");
    let what = What::Report(Box::new(Report::of(node, ConfigRef::Hash(hash))));
    Fact { at, recorded_at: at, control_plane, source: Source::Push, what }
}

fn measured(work: impl FnOnce()) -> Duration {
    let started = stopwatch();
    work();
    started.elapsed()
}

fn best(name: &str, run: &mut dyn FnMut() -> Duration) {
    let best = (0..5).map(|_| run()).min().unwrap_or_default();
    println!("{name:>32}: {:>8.2} ms for {NODES} nodes", best.as_secs_f64() * 1_000.0);
}
