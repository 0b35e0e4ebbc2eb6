//! How fast a simulated day passes: 24 hours of 1,000 nodes, told to a real writer, store and board. The goal is less than
//! 60 s. `TIDEMARK_BENCH_HOURS` makes the day shorter.

use tidemark_domain::time::Timestamp;
use tidemark_server::clock::stopwatch;
use tidemark_server::simulate::check::{Plan, check};
use tidemark_server::simulate::scenario::{Scenario, Telling};

const START: Timestamp = Timestamp::from_ms(1_795_000_000_000);

fn main() {
    let hours: u32 = std::env::var("TIDEMARK_BENCH_HOURS").ok().and_then(|hours| hours.parse().ok()).unwrap_or(24);
    let scenario = Scenario::parse(&day(hours)).expect("a good scenario");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let plan = Plan { database: folder.path().join("tidemark.db"), start: START, restart_at: None };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let began = stopwatch();
    let told = runtime.block_on(check(&scenario, Telling::Story, &plan)).expect("it is told to its end");
    assert!(told.failed.is_empty(), "{:?}", told.failed);
    let seconds = began.elapsed().as_secs_f64();
    println!("simulate: {hours} h of 1,000 nodes, {} facts, in {seconds:.1} s", told.facts);
}

/// A day with a change every ten minutes, and ten nodes that restart at noon.
fn day(hours: u32) -> String {
    format!(
        r#"
id = "day"
title = "an ordinary day"
shows = "everybody is current in the end"
lasts = "{hours:02}:00:00"

[[control_plane]]
name = "eu"
watch = ["push", "announcements"]
tokens = "names"

[[nodes]]
name = "edge"
control_plane = "eu"
count = 1000
region = "eu-west-1"

[[event]]
at = "00:05:00"
event = "write"
control_plane = "eu"
write = "route"
times = {changes}
over = "{last:02}:50:00"

[[event]]
at = "00:30:00"
event = "nodes_restart"
nodes = {{ group = "edge", first = 10 }}

[[expect.verdicts]]
at = "{hours:02}:00:00"
search = "counter:current"
nodes = 1000
"#,
        changes = hours * 6,
        last = hours.saturating_sub(1),
    )
}
