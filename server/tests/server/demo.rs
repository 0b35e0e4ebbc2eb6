//! The demo: its story holds each time it is told, what lies behind it is a past like any other, and it writes only into
//! databases of its own.

use std::path::Path;
use std::sync::Arc;
use tempfile::TempDir;
use tidemark_app::api::Paging;
use tidemark_domain::policy::Policy;
use tidemark_domain::time::{DAY, HOUR, MINUTE, SECOND, Timestamp};
use tidemark_domain::verdict::Counter;
use tidemark_domain::view::{FleetView, Moment};
use tidemark_server::clock::Clock;
use tidemark_server::demo;
use tidemark_server::demo::history::{self, Written};
use tidemark_server::run::{self, Running};
use tidemark_server::simulate::check::{Plan, check};
use tidemark_server::simulate::scenario::{Span, Telling};
use tidemark_server::store::{Retention, Store, StoreError};
use tokio_util::sync::CancellationToken;

fn start() -> Timestamp {
    Timestamp::parse("2026-11-20T03:00:00Z").expect("a time")
}

#[tokio::test]
async fn the_story_holds_each_time_it_is_told() {
    let folder = TempDir::new().expect("a folder");
    let mut scenario = demo::fleet().expect("a scenario");
    let period = scenario.period.expect("it is told again and again");
    let again: Vec<_> = scenario
        .expect
        .verdicts
        .iter()
        .cloned()
        .map(|mut claim| {
            for moment in [&mut claim.at, &mut claim.from, &mut claim.until].into_iter().flatten() {
                *moment = Span(moment.0 + period.0);
            }
            claim
        })
        .collect();
    scenario.expect.verdicts.extend(again);
    scenario.lasts = Span(2 * period.0);
    let plan = Plan { database: folder.path().join("tidemark.db"), start: start(), restart_at: None };
    let told = check(&scenario, Telling::Story, &plan).await.expect("it is told to its end");
    assert!(told.failed.is_empty(), "{}", told.failed.join("\n"));
    assert!(told.claims >= 20, "{}", told.claims);
}

/// A day of history that ends at a moment, in a database of a demo.
async fn write(database: &Path, lasts_ms: i64, until: Timestamp) -> Written {
    let store = Store::open_demo(database, until).await.expect("a store");
    let scenario = demo::fleet().expect("a scenario");
    let policy = Arc::new(Policy::default());
    let written = history::write(&store, &scenario, lasts_ms, until, &policy).await.expect("it is written");
    store.close().await.expect("closed");
    written
}

async fn serve(database: &Path, now: Timestamp) -> Running {
    run::live(database, Clock::by_hand(now), Policy::default(), CancellationToken::new()).await.expect("it runs")
}

async fn fleet(running: &Running, at: Timestamp, known_now: bool) -> FleetView {
    running.parts.fleet.fleet(Moment { at: Some(at), known_now }).await.expect("an answer")
}

fn counted(view: &FleetView, counter: Counter) -> u32 {
    view.counters.iter().filter(|count| count.of == counter).map(|count| count.nodes).sum()
}

#[tokio::test]
async fn any_moment_of_the_past_is_answered_with_the_whole_fleet() {
    let folder = TempDir::new().expect("a folder");
    let database = folder.path().join("demo.db");
    let until = start();
    let written = write(&database, 2 * DAY, until).await;
    assert_eq!(written.keyframes, 48);
    assert!(written.versions > 60, "{written:?}");
    let running = serve(&database, until).await;

    let mut moved = 0;
    for step in 1..60 {
        let at = until.plus(-2 * DAY + step * 47 * MINUTE + step * 7 * SECOND);
        let view = fleet(&running, at, false).await;
        assert_eq!(view.nodes, 240, "{at}");
        assert_eq!(view.counters.iter().map(|count| count.nodes).sum::<u32>(), 240, "{at}");
        assert_eq!(counted(&view, Counter::Blocked), 0, "{at}: {:?}", view.config_states);
        assert!(counted(&view, Counter::Current) >= 150, "{at}: {:?}", view.counters);
        moved += u32::from(counted(&view, Counter::Current) < 240);
        // A fact is told when it happened, so by all that is known since nobody stands elsewhere.
        if step % 20 == 0 {
            let since = fleet(&running, at, true).await;
            assert_eq!(since.counters, view.counters, "{at}");
        }
    }
    assert!(moved > 0, "something happens in two days");

    // A moment later the service began to listen, and has heard nobody yet.
    let last = until.plus(-1);
    let view = fleet(&running, last, false).await;
    assert_eq!(counted(&view, Counter::Current), 240, "{:?}", view.counters);
    for control_plane in &view.control_planes {
        let name = &control_plane.name;
        let head = control_plane.head.as_ref().expect("a head").ordinal;
        let moment = Moment { at: Some(last), known_now: false };
        let version = running.parts.fleet.version(name.clone(), head, moment).await.expect("an answer");
        assert_eq!(version.propagation.reached, control_plane.nodes, "{name}");
        assert!(version.propagation.p99_ms.is_some_and(|lag| lag < HOUR), "{name}");
        let kept = running.store.kept_changesets(until.plus(-2 * DAY)).await.expect("an answer");
        assert!(kept.iter().filter(|(of, _)| of == name).count() > 5, "{name}");
    }
    let question = "gw-apac-7".to_owned();
    let found = running.parts.fleet.nodes(question, Paging::default(), Moment::default()).await.expect("an answer");
    let node = &found.rows[0];
    let history =
        running.parts.fleet.history(node.control_plane.clone(), node.id.clone(), Paging::default(), Moment::default());
    let history = history.await.expect("an answer");
    assert!(history.intervals.len() > 10 && history.reached.len() > 10 && history.events.len() > 2);
    let interval = &history.intervals[1];
    let pace = interval.until.since(interval.from) / i64::try_from(interval.count.max(2) - 1).expect("a number");
    assert!((20 * SECOND..=31 * SECOND).contains(&pace), "reports are counted as if they had been told: {interval:?}");
}

#[tokio::test]
async fn a_demo_that_is_started_again_goes_on_and_the_gap_is_told() {
    let folder = TempDir::new().expect("a folder");
    let database = folder.path().join("demo.db");
    let until = start();
    write(&database, 6 * HOUR, until).await;
    assert_eq!(write(&database, 6 * HOUR, until.plus(MINUTE)).await, Written::default(), "too short to be told");
    let later = until.plus(4 * HOUR);
    assert!(write(&database, 6 * HOUR, later).await.facts > 0);

    let running = serve(&database, later).await;
    for at in [until.plus(-HOUR), until.plus(HOUR), later] {
        let view = fleet(&running, at, false).await;
        assert_eq!((view.nodes, counted(&view, Counter::Blocked)), (240, 0), "{at}: {:?}", view.config_states);
    }
    let old = later.plus(31 * DAY);
    let mut rounds = 0;
    while running.store.purge(old, Retention::default(), 5_000).await.expect("purged").more {
        rounds += 1;
        assert!(rounds < 100);
    }
    let sizes = running.store.sizes().await.expect("sizes");
    assert_eq!(sizes.rows.iter().find(|(name, _)| *name == "report_closed"), Some(&("report_closed", 0)));
}

#[tokio::test]
async fn the_database_of_another_is_not_touched() {
    let folder = TempDir::new().expect("a folder");
    let database = folder.path().join("tidemark.db");
    let store = Store::open(&database, start()).await.expect("a store");
    store.close().await.expect("closed");
    let text = folder.path().join("notes.txt");
    std::fs::write(&text, "no database at all").expect("written");
    let empty = folder.path().join("empty");
    std::fs::write(&empty, "").expect("written");

    for path in [&database, &text, &empty] {
        let before = (std::fs::read(path).expect("a file"), files(folder.path()));
        let error = Store::open_demo(path, start()).await.expect_err("it is refused");
        assert!(matches!(error, StoreError::NotADemo { .. }), "{error}");
        assert!(error.to_string().contains("was not made by `tidemark demo`"), "{error}");
        assert!(before == (std::fs::read(path).expect("a file"), files(folder.path())), "{}", path.display());
    }
    let own = folder.path().join("demo.db");
    for _ in 0..2 {
        Store::open_demo(&own, start()).await.expect("its own").close().await.expect("closed");
    }
}

fn files(folder: &Path) -> Vec<std::ffi::OsString> {
    let mut names: Vec<_> =
        std::fs::read_dir(folder).expect("a folder").map(|file| file.expect("a file").file_name()).collect();
    names.sort();
    names
}
