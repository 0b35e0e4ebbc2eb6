//! The store through its front door: what goes in comes out, whatever happens in between.

use proptest::prelude::*;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::TempDir;
use tidemark_domain::fact::{
    Announcement, ApplyFailure, Attributes, Changed, ConfigRef, Connection, ConnectionEvent, Content, Declaration,
    EntityChange, EntityChanges, Fact, Frame, Keeps, Listening, PluginChange, Report, Retirement, Said, Scope, Shape,
    Source, SyncMode, SyncStatus, TypeChanges, What, WithheldReason, Word,
};
use tidemark_domain::id::{CpName, NodeId};
use tidemark_domain::time::{DAY, HOUR, MINUTE, SECOND, Timestamp};
use tidemark_server::ingest::Remembered;
use tidemark_server::store::{Retention, Store, StoreError, Taken};

const T0: i64 = 1_795_000_000_000;

fn t(ms: i64) -> Timestamp {
    Timestamp::from_ms(T0 + ms)
}

fn cp() -> CpName {
    "prod".parse().expect("a name")
}

fn node(number: u32) -> NodeId {
    format!("node-{number}").parse().expect("an id")
}

fn config(number: u32) -> ConfigRef {
    ConfigRef::Hash(format!("{number:032x}").replace('0', "a").parse().expect("a hash"))
}

fn fact(at: Timestamp, what: What) -> Fact {
    Fact { at, recorded_at: at, control_plane: cp(), source: Source::Push, what }
}

fn report(at_ms: i64, node_number: u32, config_number: u32) -> Fact {
    fact(t(at_ms), What::Report(Box::new(Report::of(node(node_number), config(config_number)))))
}

fn change(mut fact: Fact, change: impl FnOnce(&mut Report)) -> Fact {
    if let What::Report(report) = &mut fact.what {
        change(report);
    }
    fact
}

fn word(at_ms: i64, config_number: u32) -> Fact {
    let said = Said::Expected { config: config(config_number), token: None };
    fact(t(at_ms), What::Word(Box::new(Word { replica: None, scope: Scope::ANY, said })))
}

/// A fresh database; the folder goes when it is dropped.
struct Fresh {
    folder: TempDir,
    store: Store,
}

impl Fresh {
    async fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let store = open(&folder.path().join("fleet.db")).await;
        Self { folder, store }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("fleet.db")
    }

    async fn append(&self, facts: &[Fact]) -> i64 {
        self.store.append(facts, &[]).await.expect("stored")
    }

    async fn facts(&self) -> Vec<Fact> {
        self.store.facts_after(0, None).await.expect("facts")
    }

    /// As after a crash: nothing is closed.
    async fn crashed(self) -> Self {
        let path = self.path();
        let Self { folder, store } = self;
        drop(store);
        Self { folder, store: open(&path).await }
    }

    /// From, until and count of the intervals of a node, newest first.
    async fn intervals(&self, number: u32) -> Vec<(i64, i64, u64)> {
        let page = self.store.intervals(&cp(), &node(number), None, 100, None).await.expect("a history");
        let times = |interval: &tidemark_server::store::Interval| {
            (interval.from.ms() - T0, interval.until.ms() - T0, interval.reports)
        };
        page.intervals.iter().map(times).collect()
    }
}

async fn open(path: &Path) -> Store {
    Store::open(path, t(0)).await.expect("a store")
}

/// One fact of every kind, with every field said.
fn one_of_each() -> Vec<Fact> {
    let line = |text: &str| text.parse().expect("a line");
    let attributes = Attributes {
        hostname: Some(line("dp-1")),
        ip: Some(line("10.0.0.1")),
        gateway_version: "3.9.1".parse().ok(),
        protocol: Some(tidemark_domain::fact::Protocol::V1),
        sync_mode: Some(SyncMode::Full),
        labels: tidemark_domain::id::Labels::new([("region".to_owned(), "eu".to_owned())]).ok(),
        plugin_set: "0123456789abcdef".parse().ok(),
        capabilities: Some(line("kong.sync.v2")),
        certificate_expires_at: Some(t(DAY)),
        license_expires_at: Some(t(2 * DAY)),
    };
    let shape =
        Shape { entities: BTreeMap::from([("routes".to_owned(), 12)]), certificates_without_snis: 1, hosts_served: 3 };
    let failure = ApplyFailure {
        refused: Some(config(2)),
        message: line("invalid"),
        entity: Some(line("route a")),
        field: Some(line("paths")),
    };
    let full = Report {
        node: node(1),
        running: Some(config(1)),
        attributes: attributes.clone(),
        status: Some(SyncStatus::Withheld { reason: WithheldReason::PluginSet, detail: Some(line("no plugin x")) }),
        failure: Some(failure),
        ready: Some(false),
        node_clock: Some(t(90_000)),
        uncertain_ms: 500,
        continues: false,
        estimated: false,
    };
    let scope = Scope { protocol: None, gateway: "3.9.1".parse().ok() };
    let plugin = PluginChange { name: line("rate-limiting"), keeps: Keeps::Counters };
    let changes = EntityChanges {
        before: config(5),
        counts: vec![TypeChanges { entity_type: line("routes"), added: 1, changed: 0, removed: u32::MAX }],
        listed: vec![EntityChange {
            change: Changed::Added,
            entity_type: line("routes"),
            id: None,
            name: Some(line("a")),
        }],
    };
    let words = [
        Said::Announced(Announcement {
            token: "release-9".parse().ok(),
            key: Some(line("k")),
            hashes: vec![(scope.clone(), "a".repeat(32).parse().expect("a hash"))],
            cause: Some(line("deploy")),
            actor: Some(line("ci")),
            changeset: Some(line("c")),
            shape: Some(shape.clone()),
            digest: "0123456789abcdef".parse().ok(),
            intended: true,
            plugins_changed: vec![plugin.clone()],
        }),
        Said::Frame(Frame {
            config: config(3),
            offered_to: Some(node(1)),
            content: Content::Template {
                digest: "0123456789abcdef".parse().expect("a digest"),
                paths: vec![line("a.b")],
            },
            shape: Some(shape),
            mode: SyncMode::Delta,
            bytes: u64::MAX,
            plugins_changed: vec![plugin],
            entities_changed: Some(Arc::new(changes)),
        }),
        Said::Expected { config: config(4), token: "release-9".parse().ok() },
        Said::Notified("b".repeat(32).parse().expect("a hash")),
        Said::Inferred(ConfigRef::Token("release-1".parse().expect("a token"))),
        Said::Same { hash: "c".repeat(32).parse().expect("a hash"), who: line("anna") },
    ];
    let mut whats = vec![What::Report(Box::new(full)), What::Report(Box::new(Report::silent(node(2))))];
    whats.extend(
        words.map(|said| What::Word(Box::new(Word { replica: Some(line("cp-0")), scope: scope.clone(), said }))),
    );
    whats.extend([
        What::Connection(Connection { node: Some(node(1)), event: ConnectionEvent::Opened, attributes }),
        What::Connection(Connection {
            node: None,
            event: ConnectionEvent::Refused(line("no certificate")),
            attributes: Attributes::default(),
        }),
        What::Read,
        What::ControlPlaneDown,
        What::Listening(Listening::Began { interval_ms: 30_000 }),
        What::Listening(Listening::Stopped(line("dns"))),
        What::Declared(Box::new(Declaration {
            display_name: Some(line("Production")),
            cluster_id: Some(line("x")),
            konnect_id: None,
            propagation_ms: Some(5),
            change_feed: true,
        })),
        What::Retired(Retirement { node: node(1), by: line("anna"), reason: None }),
    ]);
    let at = |index: usize| t(i64::try_from(index).expect("small"));
    whats
        .into_iter()
        .enumerate()
        .map(|(index, what)| Fact { recorded_at: at(index + 7), ..fact(at(index), what) })
        .collect()
}

#[tokio::test]
async fn every_kind_of_fact_comes_back_as_it_went_in() {
    let fresh = Fresh::new().await;
    let facts = one_of_each();
    let sequence = fresh.append(&facts).await;
    assert_eq!(sequence, i64::try_from(facts.len()).expect("few"));
    assert_eq!(fresh.facts().await, facts);
    let fresh = fresh.crashed().await;
    assert_eq!(fresh.facts().await, facts);
    assert_eq!(fresh.store.facts_after(sequence, None).await.expect("facts"), []);
    assert_eq!(fresh.store.facts_after(3, None).await.expect("facts"), facts[3..]);
    assert_eq!(fresh.store.facts_after(0, Some(t(12))).await.expect("facts"), facts[..6]);
}

#[tokio::test]
async fn a_second_process_is_refused_and_told_who_holds_it() {
    let fresh = Fresh::new().await;
    let refused = Store::open(&fresh.path(), t(1)).await.expect_err("the database is in use");
    assert!(matches!(refused, StoreError::Locked { .. }));
    let told = refused.to_string();
    assert!(told.contains(&format!("process {}", std::process::id())), "{told}");
    assert!(told.contains(&t(0).to_string()), "{told}");
    fresh.store.close().await.expect("closed");
    assert!(fresh.store.append(&[report(0, 1, 1)], &[]).await.is_err());
    open(&fresh.folder.path().join("fleet.db")).await;
}

#[cfg(unix)]
#[tokio::test]
async fn a_link_is_no_second_database() {
    let fresh = Fresh::new().await;
    let link = fresh.folder.path().join("link.db");
    std::os::unix::fs::symlink(fresh.path(), &link).expect("a link");
    assert!(matches!(Store::open(&link, t(1)).await, Err(StoreError::Locked { .. })));
}

#[tokio::test]
async fn a_reader_needs_no_lock_and_writes_nothing() {
    let fresh = Fresh::new().await;
    fresh.append(&[report(0, 1, 1)]).await;
    let reader = Store::open_read_only(&fresh.path()).await.expect("a reader");
    assert!(reader.is_read_only());
    assert_eq!(reader.facts_after(0, None).await.expect("facts").len(), 1);
    fresh.append(&[report(1, 2, 1)]).await;
    assert_eq!(reader.facts_after(0, None).await.expect("facts").len(), 2);
    assert!(matches!(reader.append(&[report(2, 1, 1)], &[]).await, Err(StoreError::ReadOnly)));
    fresh.store.close().await.expect("closed");
    let alone = Store::open_read_only(&fresh.path()).await.expect("a reader of a closed database");
    assert_eq!(alone.facts_after(0, None).await.expect("facts").len(), 2);
}

#[tokio::test]
async fn a_reader_refuses_what_is_no_database_of_ours() {
    let folder = tempfile::tempdir().expect("a folder");
    let nothing = Store::open_read_only(&folder.path().join("none.db")).await;
    assert!(matches!(nothing, Err(StoreError::Open { .. })));
    let empty = folder.path().join("empty.db");
    std::fs::write(&empty, "").expect("an empty file");
    assert!(Store::open_read_only(&empty).await.is_err());
    let text = folder.path().join("text.db");
    std::fs::write(&text, "not a database, but long enough to have a header of a hundred bytes: ".repeat(9))
        .expect("a file");
    assert!(Store::open_read_only(&text).await.is_err());
    assert!(Store::open(&text, t(0)).await.is_err());
    assert!(Store::open(&folder.path().join("no/such/folder.db"), t(0)).await.is_err());
}

#[tokio::test]
async fn a_run_goes_on_up_to_one_and_a_half_intervals() {
    let fresh = Fresh::new().await;
    fresh.append(&[report(0, 1, 1), report(45_000, 1, 1), report(0, 2, 1), report(45_001, 2, 1)]).await;
    assert_eq!(fresh.intervals(1).await, [(0, 45_000, 2)]);
    assert_eq!(fresh.intervals(2).await, [(45_001, 45_001, 1), (0, 0, 1)]);
}

#[tokio::test]
async fn a_source_may_promise_another_pace_and_it_survives_a_restart() {
    let fresh = Fresh::new().await;
    let began = |at_ms, interval_ms| fact(t(at_ms), What::Listening(Listening::Began { interval_ms }));
    fresh.append(&[began(0, 10_000), report(0, 1, 1)]).await;
    let fresh = fresh.crashed().await;
    fresh.append(&[report(15_000, 1, 1), report(30_001, 1, 1)]).await;
    assert_eq!(fresh.intervals(1).await, [(30_001, 30_001, 1), (0, 15_000, 2)]);
    fresh.append(&[began(30_001, u32::MAX), report(30_001 + HOUR, 1, 1)]).await;
    assert_eq!(fresh.intervals(1).await[0], (30_001, 30_001 + HOUR, 2));
}

#[tokio::test]
async fn a_change_of_anything_but_the_clock_begins_a_new_run() {
    let fresh = Fresh::new().await;
    let at = |ms: i64| report(ms, 1, 1);
    fresh
        .append(&[
            at(0),
            change(at(1), |report| report.node_clock = Some(t(90_000))),
            change(at(2), |report| report.uncertain_ms = 9),
            change(at(3), |report| report.ready = Some(true)),
            change(at(4), |report| report.attributes.ip = "10.0.0.1".parse().ok()),
            change(at(5), |report| report.running = None),
        ])
        .await;
    let starts: Vec<i64> = fresh.intervals(1).await.into_iter().map(|(from, _, _)| from).collect();
    assert_eq!(starts, [5, 4, 3, 0]);
    let page = fresh.store.intervals(&cp(), &node(1), None, 9, None).await.expect("a history");
    assert_eq!(page.intervals[3].clock_skew_ms, Some(89_999));
}

#[tokio::test]
async fn what_comes_late_moves_nothing_back() {
    let fresh = Fresh::new().await;
    fresh.append(&[report(0, 1, 1), report(30_000, 1, 1), report(60_000, 1, 2)]).await;
    fresh.append(&[report(90_000, 1, 2), report(70_000, 1, 2), report(75_000, 1, 3), report(10_000, 1, 1)]).await;
    assert_eq!(fresh.intervals(1).await, [(75_000, 75_000, 1), (60_000, 90_000, 3), (0, 30_000, 3)]);
    let fresh = fresh.crashed().await;
    fresh.append(&[report(120_000, 1, 2)]).await;
    assert_eq!(fresh.intervals(1).await[1], (60_000, 120_000, 4));
}

#[tokio::test]
async fn a_batch_that_is_told_again_adds_no_rows() {
    let fresh = Fresh::new().await;
    let batch: Vec<Fact> =
        (0..20).map(|step| report(step * 10_000, 1, u32::try_from(step / 5).expect("small"))).collect();
    fresh.append(&batch).await;
    let before: Vec<_> = fresh.intervals(1).await.into_iter().map(|(from, until, _)| (from, until)).collect();
    fresh.append(&batch).await;
    fresh.append(&batch).await;
    let after: Vec<_> = fresh.intervals(1).await.into_iter().map(|(from, until, _)| (from, until)).collect();
    assert_eq!(before, after);
    assert_eq!(fresh.intervals(1).await.into_iter().map(|(_, _, reports)| reports).sum::<u64>(), 60);
}

#[tokio::test]
async fn many_nodes_that_say_the_same_share_what_they_say() {
    let fresh = Fresh::new().await;
    let same = |ms, number| change(report(ms, number, 1), |report| report.attributes.hostname = "host".parse().ok());
    fresh.append(&(0..700).map(|number| same(0, number)).collect::<Vec<_>>()).await;
    let fresh = fresh.crashed().await;
    fresh.append(&(0..700).map(|number| same(30_000, number)).collect::<Vec<_>>()).await;
    assert_eq!(count(&fresh.path(), "select count(*) from attribute_set").await, 1);
    assert_eq!(count(&fresh.path(), "select count(*) from config").await, 1);
    assert_eq!(count(&fresh.path(), "select count(*) from report_open").await, 700);
    assert_eq!(count(&fresh.path(), "select count(*) from report_closed").await, 0);
}

async fn count(path: &Path, statement: &'static str) -> i64 {
    let url = format!("sqlite:{}?mode=ro", path.display());
    let pool = sqlx::SqlitePool::connect(&url).await.expect("a connection");
    sqlx::query_scalar(statement).fetch_one(&pool).await.expect("a number")
}

#[tokio::test]
async fn a_token_with_the_text_of_a_hash_stays_a_token() {
    let fresh = Fresh::new().await;
    let hash = config(1);
    let token = ConfigRef::Token(hash.as_str().parse().expect("a token"));
    let facts = [report(0, 1, 1), change(report(1, 1, 1), |report| report.running = Some(token.clone()))];
    fresh.append(&facts).await;
    assert_eq!(fresh.crashed().await.facts().await, facts);
}

#[tokio::test]
async fn extreme_times_are_stored_like_others() {
    let fresh = Fresh::new().await;
    let (first, last) = (Timestamp::from_ms(i64::MIN), Timestamp::from_ms(i64::MAX));
    let said = |at, recorded_at, clock| {
        let report = Report { node_clock: Some(clock), uncertain_ms: u32::MAX, ..Report::of(node(1), config(1)) };
        Fact { recorded_at, ..fact(at, What::Report(Box::new(report))) }
    };
    let facts = [said(first, last, last), said(last, first, first)];
    fresh.append(&facts).await;
    let fresh = fresh.crashed().await;
    assert_eq!(fresh.facts().await, facts);
    fresh.store.facts_after(0, Some(t(0))).await.expect("facts");
    fresh.store.intervals(&cp(), &node(1), None, 10, Some(t(0))).await.expect("a history");
    fresh.store.purge(last, Retention::default(), 10).await.expect("purged");
    fresh.store.purge(first, Retention::default(), 10).await.expect("purged");
}

#[tokio::test]
async fn history_goes_on_page_by_page() {
    let fresh = Fresh::new().await;
    let facts: Vec<Fact> = (0..10).map(|step| report(step * 1_000, 1, u32::try_from(step).expect("small"))).collect();
    fresh.append(&facts).await;
    let mut starts = Vec::new();
    let mut after = None;
    loop {
        let page = fresh.store.intervals(&cp(), &node(1), after, 3, None).await.expect("a page");
        starts.extend(page.intervals.iter().map(|interval| (interval.from.ms() - T0) / 1_000));
        match page.next {
            Some(key) => after = Some(key.to_string().parse().expect("a key reads as it prints")),
            None => break,
        }
    }
    assert_eq!(starts, [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]);
    let unknown = fresh.store.intervals(&cp(), &node(2), None, 3, None).await.expect("a page");
    assert!(unknown.intervals.is_empty());
    let then = fresh.store.intervals(&cp(), &node(1), None, 3, Some(t(4_500))).await.expect("a page");
    assert_eq!(then.intervals[0].from, t(4_000));
}

#[tokio::test]
async fn moments_of_a_node_are_its_own() {
    let fresh = Fresh::new().await;
    let facts = one_of_each();
    fresh.append(&facts).await;
    let moments = fresh.store.moments(&cp(), &node(1), None, 10, None).await.expect("moments");
    let about_it = |fact: &&Fact| match &fact.what {
        What::Connection(connection) => connection.node.is_some(),
        What::Word(word) => matches!(word.said, Said::Frame(_)),
        What::Retired(_) => true,
        _ => false,
    };
    let expected: Vec<Fact> = facts.iter().filter(about_it).rev().cloned().collect();
    assert_eq!(moments, expected);
    assert_eq!(fresh.store.moments(&cp(), &node(1), None, 1, None).await.expect("moments"), expected[..1]);
}

#[tokio::test]
async fn the_first_report_of_a_configuration_is_when_it_was_reached() {
    let fresh = Fresh::new().await;
    fresh
        .append(&[
            report(0, 1, 1),
            report(0, 2, 1),
            report(10_000, 1, 2),
            report(20_000, 1, 1),
            report(25_000, 2, 1),
            change(report(30_000, 3, 3), |report| report.uncertain_ms = 7),
            report(40_000, 1, 2),
        ])
        .await;
    let reached = async |configs: &[ConfigRef], since: i64, known: Option<i64>| {
        let reached = fresh.store.first_reached(&cp(), configs, t(since), known.map(t)).await.expect("an answer");
        reached.into_iter().map(|reached| (reached.node.to_string(), reached.from.ms() - T0)).collect::<Vec<_>>()
    };
    let n = |number: u32, at: i64| (node(number).to_string(), at);
    assert_eq!(reached(&[config(2), config(3)], 0, None).await, [n(1, 10_000), n(3, 30_000)]);
    assert_eq!(reached(&[config(2), config(3)], 0, Some(29_999)).await, [n(1, 10_000)]);
    assert_eq!(reached(&[config(2)], 10_001, None).await, [n(1, 40_000)]);
    // Gone back to 1 at 20,000: node 2 ran it all the time.
    assert_eq!(reached(&[config(1)], 20_000, None).await, [n(1, 20_000), n(2, 0)]);
    assert_eq!(reached(&[config(9)], 0, None).await, []);
}

#[tokio::test]
async fn keyframes_come_back_and_others_formats_are_passed_over() {
    let fresh = Fresh::new().await;
    let state = vec![7; 100_000];
    let first = fresh.append(&[report(0, 1, 1)]).await;
    fresh.store.write_keyframe(first, t(0), 1, state.clone()).await.expect("written");
    let second = fresh.append(&[report(30_000, 1, 1)]).await;
    fresh.store.write_keyframe(second, t(HOUR), 2, vec![1]).await.expect("written");
    let fresh = fresh.crashed().await;
    let before = async |at: Option<i64>, format| {
        fresh.store.keyframe_before(at.map(t), format).await.expect("an answer").map(|keyframe| keyframe.sequence)
    };
    assert_eq!(before(None, 1).await, Some(first));
    assert_eq!(before(None, 2).await, Some(second));
    assert_eq!(before(None, 3).await, None);
    assert_eq!(before(Some(HOUR - 1), 2).await, None);
    assert_eq!(before(Some(-1), 1).await, None);
    let keyframe = fresh.store.keyframe_before(None, 1).await.expect("an answer").expect("a keyframe");
    assert_eq!((keyframe.at, keyframe.state), (t(0), state));
    // The last report of a run whose first one the keyframe knows says that it goes on.
    let mut last = report(30_000, 1, 1);
    if let What::Report(report) = &mut last.what {
        report.continues = true;
    }
    assert_eq!(fresh.store.facts_after(first, None).await.expect("facts"), [last]);
}

#[tokio::test]
async fn intervals_that_were_closed_since_the_keyframe_are_counted() {
    let fresh = Fresh::new().await;
    let sequence = fresh.append(&[report(0, 1, 1), report(1, 1, 2), report(2, 2, 1)]).await;
    assert_eq!(fresh.store.closed_since_keyframe().await.expect("a count"), 1);
    fresh.store.write_keyframe(sequence, t(2), 1, vec![]).await.expect("written");
    assert_eq!(fresh.store.closed_since_keyframe().await.expect("a count"), 0);
    // Two that gave way, and one that came late.
    fresh.append(&[report(3, 1, 3), report(4, 2, 2), report(1, 1, 7)]).await;
    assert_eq!(fresh.store.closed_since_keyframe().await.expect("a count"), 3);
    let fresh = fresh.crashed().await;
    fresh.store.prepare().await.expect("prepared");
    assert_eq!(fresh.store.closed_since_keyframe().await.expect("a count"), 3);
}

#[tokio::test]
async fn a_keyframe_that_lacks_an_imported_past_is_dropped() {
    let fresh = Fresh::new().await;
    let sequence = fresh.append(&[report(0, 1, 1)]).await;
    fresh.store.write_keyframe(sequence, t(0), 1, vec![0]).await.expect("written");
    fresh.append(&[report(-5 * MINUTE, 2, 1)]).await;
    assert!(fresh.store.keyframe_before(None, 1).await.expect("an answer").is_some());
    fresh.append(&[report(-5 * MINUTE - 1, 3, 1)]).await;
    assert!(fresh.store.keyframe_before(None, 1).await.expect("an answer").is_none());
}

#[tokio::test]
async fn the_past_is_told_from_the_keyframes_around_it() {
    let fresh = Fresh::new().await;
    // Node 1 never changes, node 2 changes at 30 min and at 90 min, node 3 falls silent at 20 min.
    let step = 30 * SECOND;
    let mut sequence = 0;
    for tick in 0..360 {
        let at = tick * step;
        let of_two = if at < 30 * MINUTE {
            1
        } else if at < 90 * MINUTE {
            2
        } else {
            3
        };
        let mut facts = vec![report(at, 1, 1), report(at, 2, of_two)];
        if at < 20 * MINUTE {
            facts.push(report(at, 3, 1));
        }
        sequence = fresh.append(&facts).await;
        if at % HOUR == 0 {
            fresh.store.write_keyframe(sequence, t(at), 1, vec![]).await.expect("written");
        }
    }
    assert!(sequence > 0);
    let last = |facts: &[Fact]| {
        let mut last = BTreeMap::new();
        for fact in facts {
            if let What::Report(report) = &fact.what {
                last.insert(report.node.to_string(), (fact.at.ms() - T0, report.running.clone()));
            }
        }
        last
    };
    let at = 45 * MINUTE + 10 * SECOND;
    let keyframe = fresh.store.keyframe_before(Some(t(at)), 1).await.expect("an answer").expect("a keyframe");
    assert_eq!(keyframe.at, t(0));
    let facts = fresh.store.facts_after(keyframe.sequence, Some(t(at))).await.expect("facts");
    let expected = BTreeMap::from([
        (node(1).to_string(), (45 * MINUTE, Some(config(1)))),
        (node(2).to_string(), (45 * MINUTE, Some(config(2)))),
        (node(3).to_string(), (20 * MINUTE - step, Some(config(1)))),
    ]);
    assert_eq!(last(&facts), expected);
    let from_the_first = fresh.store.facts_after(0, Some(t(at))).await.expect("facts");
    assert_eq!(last(&from_the_first), expected);
}

#[tokio::test]
async fn what_is_known_today_of_a_moment_is_more_than_was_known_then() {
    let fresh = Fresh::new().await;
    let stored_at = |at_ms, mut fact: Fact| {
        fact.recorded_at = t(at_ms);
        fact
    };
    let facts: Vec<Fact> = (0..5).map(|step| stored_at(HOUR, report(step * 30_000, 1, 1))).collect();
    fresh.append(&facts).await;
    fresh.append(&[stored_at(HOUR, word(40_000, 1)), stored_at(HOUR, word(95_000, 2))]).await;
    assert_eq!(fresh.store.facts_after(0, Some(t(95_000))).await.expect("facts"), []);
    let told = fresh.store.facts_until(t(94_999)).await.expect("facts");
    let times: Vec<i64> = told.iter().map(|fact| fact.at.ms() - T0).collect();
    assert_eq!(times, [0, 40_000, 90_000]);
}

fn answer(key: &str, at: Timestamp, body: &str) -> Remembered {
    Remembered { key: key.to_owned(), request_digest: "d".to_owned(), status: 200, body: body.to_owned(), at }
}

#[tokio::test]
async fn an_answer_is_remembered_for_an_hour() {
    let fresh = Fresh::new().await;
    fresh.store.append(&[report(0, 1, 1)], &[answer("k", t(0), "first")]).await.expect("stored");
    let fresh = fresh.crashed().await;
    let lookup = async |at| fresh.store.remembered("k", t(at)).await.expect("an answer").map(|answer| answer.body);
    assert_eq!(lookup(HOUR - 1).await.as_deref(), Some("first"));
    assert_eq!(lookup(HOUR).await, None);
    assert_eq!(fresh.store.remembered("other", t(0)).await.expect("an answer"), None);
    fresh.store.append(&[], &[answer("k", t(HOUR - 1), "second")]).await.expect("stored");
    assert_eq!(lookup(HOUR - 1).await.as_deref(), Some("first"));
    fresh.store.append(&[], &[answer("k", t(HOUR), "third")]).await.expect("stored");
    assert_eq!(lookup(HOUR).await.as_deref(), Some("third"));
}

#[tokio::test]
async fn a_hundred_thousand_answers_are_remembered_and_no_more() {
    let fresh = Fresh::new().await;
    for batch in 0..102_i64 {
        let answers: Vec<Remembered> =
            (0..1_000).map(|number| answer(&format!("{batch}-{number}"), t(batch * 1_000 + number), "")).collect();
        fresh.store.append(&[], &answers).await.expect("stored");
        let kept = count(&fresh.path(), "select count(*) from remembered").await;
        assert!(kept <= 100_000, "{kept}");
        assert!(kept >= 99_000.min((batch + 1) * 1_000), "{kept}");
    }
    assert!(fresh.store.remembered("0-0", t(0)).await.expect("an answer").is_none());
    assert!(fresh.store.remembered("101-999", t(0)).await.expect("an answer").is_some());
}

#[tokio::test]
async fn a_recording_goes_on_where_it_ended() {
    let fresh = Fresh::new().await;
    let taken = |lines, prefix: &str| Taken {
        first_digest: "f".to_owned(),
        control_plane: "new-one".parse().expect("a name"),
        lines,
        prefix_digest: prefix.to_owned(),
        at: t(0),
    };
    assert_eq!(fresh.store.taken("f").await.expect("an answer"), None);
    fresh.store.append_import(&[report(0, 1, 1)], &[taken(10, "a")]).await.expect("stored");
    fresh.store.append_import(&[], &[taken(20, "b")]).await.expect("stored");
    fresh.store.append_import(&[], &[taken(15, "c")]).await.expect("stored");
    let fresh = fresh.crashed().await;
    assert_eq!(fresh.store.taken("f").await.expect("an answer"), Some(taken(20, "b")));
    assert_eq!(fresh.store.newest_word_at(&cp()).await.expect("an answer"), None);
    fresh.append(&[word(5, 1), word(3, 2)]).await;
    assert_eq!(fresh.store.newest_word_at(&cp()).await.expect("an answer"), Some(t(5)));
}

#[tokio::test]
async fn progress_is_what_the_facts_say() {
    let fresh = Fresh::new().await;
    assert_eq!(fresh.store.progress().await.expect("an answer").recorded_at, None);
    fresh.append(&[report(9, 1, 1), report(5, 2, 1)]).await;
    fresh.store.mark_alive(t(11)).await.expect("noted");
    let progress = fresh.crashed().await.store.progress().await.expect("an answer");
    assert_eq!((progress.sequence, progress.recorded_at, progress.alive_at), (2, Some(t(9)), Some(t(11))));
}

#[tokio::test]
async fn the_old_goes_in_bounded_rounds_and_the_ledger_stays() {
    let fresh = Fresh::new().await;
    let mut facts = one_of_each();
    for number in 10..110 {
        facts.push(report(0, number, number));
        facts.push(report(1, number, 1));
    }
    fresh.append(&facts).await;
    let sequence = fresh.append(&[report(40 * DAY, 200, 5), word(40 * DAY, 5)]).await;
    fresh.store.write_keyframe(1, t(0), 1, vec![]).await.expect("written");
    fresh.store.write_keyframe(sequence, t(DAY), 1, vec![]).await.expect("written");
    let now = t(31 * DAY);
    let first = fresh.store.purge(now, Retention::default(), 40).await.expect("purged");
    assert!(first.more);
    assert_eq!(first.intervals, 80);
    assert_eq!(first.keyframes, 1);
    let mut rounds = 1;
    while fresh.store.purge(now, Retention::default(), 40).await.expect("purged").more {
        rounds += 1;
        assert!(rounds < 20);
    }
    for _ in 0..20 {
        fresh.store.purge(now, Retention::default(), 40).await.expect("purged");
    }
    let path = fresh.path();
    assert_eq!(count(&path, "select count(*) from report_closed").await, 0);
    assert_eq!(count(&path, "select count(*) from report_open").await, 1);
    assert_eq!(count(&path, "select count(*) from word").await, 7);
    assert_eq!(count(&path, "select count(*) from event where kind = 'declared'").await, 1);
    assert_eq!(count(&path, "select count(*) from event where kind = 'listening'").await, 1);
    assert_eq!(count(&path, "select count(*) from event where kind = 'connection'").await, 0);
    // The new one, and the one that a frame was offered to.
    assert_eq!(count(&path, "select count(*) from node").await, 2);
    assert_eq!(count(&path, "select count(*) from attribute_set").await, 1);
    assert_eq!(count(&path, "select count(*) from keyframe").await, 1);
    // Names that went can come again, and nothing takes the place of another.
    fresh.append(&[report(40 * DAY, 10, 10), report(40 * DAY, 11, 11)]).await;
    let fresh = fresh.crashed().await;
    let facts = fresh.facts().await;
    assert!(facts.contains(&report(40 * DAY, 10, 10)) && facts.contains(&report(40 * DAY, 11, 11)));
    let sizes = fresh.store.sizes().await.expect("sizes");
    assert!(sizes.bytes > 0);
    for (table, rows) in sizes.rows {
        let statement = match table {
            "report_closed" => "select count(*) from report_closed",
            "word" => "select count(*) from word",
            _ => "select count(*) from event",
        };
        assert_eq!(count(&path, statement).await, i64::try_from(rows).expect("few"), "{table}");
    }
}

#[tokio::test]
async fn a_damaged_row_is_an_error_and_no_panic() {
    for damage in [
        "update attribute_set set body = '{}'",
        "update word set body = '[]'",
        "update event set body = '{\"what\": 1}'",
        "update node set name = 'not an id' where id = 1",
        "update config set name = '                                ' where id = 1",
        "update control_plane set name = 'Not a name'",
    ] {
        let fresh = Fresh::new().await;
        fresh.append(&one_of_each()).await;
        fresh.store.close().await.expect("closed");
        let url = format!("sqlite:{}", fresh.path().display());
        let pool = sqlx::SqlitePool::connect(&url).await.expect("a connection");
        sqlx::query(damage).execute(&pool).await.expect("damaged");
        pool.close().await;
        let reader = Store::open_read_only(&fresh.path()).await.expect("a reader");
        let told = reader.facts_after(0, None).await;
        assert!(matches!(told, Err(StoreError::Corrupt { .. })), "{damage}: {told:?}");
    }
}

#[tokio::test]
async fn a_failed_append_leaves_nothing_and_the_next_one_works() {
    let fresh = Fresh::new().await;
    fresh.append(&[report(0, 1, 1)]).await;
    let unfit = Remembered { status: 1_000, ..answer("k", t(0), "") };
    let failed = fresh.store.append(&[report(30_000, 1, 1), report(0, 2, 2)], &[unfit]).await;
    assert!(matches!(failed, Err(StoreError::Sqlite { .. })));
    assert_eq!(fresh.facts().await, [report(0, 1, 1)]);
    assert_eq!(fresh.append(&[report(20_000, 1, 1), report(0, 3, 3)]).await, 3);
    assert_eq!(fresh.intervals(1).await, [(0, 20_000, 2)]);
    assert_eq!(fresh.facts().await.len(), 3);
}

#[tokio::test]
async fn an_append_that_nobody_waits_for_is_whole_or_absent() {
    let fresh = Fresh::new().await;
    for round in 0..50_u32 {
        let facts: Vec<Fact> = (0..300).map(|number| report(i64::from(round), number, round)).collect();
        let store = fresh.store.clone();
        let task = tokio::spawn(async move { store.append(&facts, &[]).await });
        for _ in 0..round {
            tokio::task::yield_now().await;
        }
        task.abort();
        let _ = task.await;
    }
    fresh.append(&[report(1_000, 1_000, 1)]).await;
    let open = count(&fresh.path(), "select count(*) from report_open").await;
    assert!(open == 1 || open == 301, "{open}");
    let facts = fresh.facts().await;
    assert_eq!(fresh.crashed().await.facts().await, facts);
}

/// What a fold remembers of a node: the last of each source, by time and then by arrival.
type Model = BTreeMap<(String, &'static str), (Timestamp, Option<ConfigRef>, Attributes, Option<bool>, Option<i64>)>;

fn fold(model: &mut Model, facts: &[Fact]) {
    for fact in facts {
        let What::Report(report) = &fact.what else { continue };
        let key = (report.node.to_string(), fact.source.word());
        let before = model.get(&key);
        if before.is_some_and(|(at, ..)| *at > fact.at) {
            continue;
        }
        let skew = report.node_clock.map(|clock| clock.since(fact.at)).or(before.and_then(|before| before.4));
        model.insert(key, (fact.at, report.running.clone(), report.attributes.clone(), report.ready, skew));
    }
}

/// A fact of a small fleet: few nodes, few things to say, times that mostly go on and sometimes back.
fn some_fact() -> impl Strategy<Value = (i64, Fact)> {
    let step = prop_oneof![4 => 0..50_000_i64, 1 => -60_000..0_i64];
    let what = (0..3_u32, 0..3_u32, 0..2_u8, any::<bool>(), prop::option::of(-5..5_i64));
    (step, what, prop_oneof![Just(Source::Push), Just(Source::Tap)], 0..10_u8).prop_map(
        |(step, (number, config_number, host, ready, skew), source, kind)| {
            let mut fact = match kind {
                0 => word(0, config_number),
                1 => fact(t(0), What::Read),
                2 => fact(t(0), What::ControlPlaneDown),
                _ => change(report(0, number, config_number / 2), |report| {
                    report.attributes.hostname = format!("host-{host}").parse().ok();
                    report.ready = ready.then_some(true);
                    report.node_clock = skew.map(t);
                }),
            };
            fact.source = source;
            (step, fact)
        },
    )
}

/// Sets the times: each fact `step` after the one before, stored a little later.
fn timed(steps: Vec<(i64, Fact)>, only_forward: bool) -> Vec<Fact> {
    let mut now = 0;
    let timed = steps.into_iter().map(|(step, mut fact)| {
        let at = if step < 0 && !only_forward { now + step } else { now + step.max(0) };
        now = now.max(at);
        if let What::Report(report) = &mut fact.what {
            report.node_clock = report.node_clock.map(|clock| clock.plus(at));
        }
        fact.at = t(at);
        fact.recorded_at = t(if only_forward { at } else { now + 20 });
        fact
    });
    timed.collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn what_is_told_again_adds_up_to_what_was_told(
        steps in prop::collection::vec(some_fact(), 1..120),
        size in 1..40_usize,
        crash_every in 1..6_usize,
    ) {
        let facts = timed(steps, false);
        tokio::runtime::Runtime::new().expect("a runtime").block_on(async {
            let mut fresh = Fresh::new().await;
            let (mut direct, mut after_each) = (Model::new(), Vec::new());
            for (index, batch) in facts.chunks(size).enumerate() {
                let sequence = fresh.append(batch).await;
                fold(&mut direct, batch);
                after_each.push((sequence, direct.clone()));
                if index % crash_every == 0 {
                    fresh = fresh.crashed().await;
                }
            }
            after_each.push((0, Model::new()));
            for (sequence, mut model) in after_each {
                let again = fresh.store.facts_after(sequence, None).await.expect("facts");
                fold(&mut model, &again);
                prop_assert_eq!(&model, &direct, "from {}", sequence);
            }
            let is_word = |fact: &&Fact| matches!(fact.what, What::Word(_));
            let again = fresh.facts().await;
            prop_assert!(again.iter().filter(is_word).eq(facts.iter().filter(is_word)));
            Ok(())
        })?;
    }

    #[test]
    fn the_past_adds_up_to_what_was_known_then(
        steps in prop::collection::vec(some_fact(), 1..120),
        size in 1..40_usize,
        known in 0..2_000_000_i64,
    ) {
        let facts = timed(steps, true);
        tokio::runtime::Runtime::new().expect("a runtime").block_on(async {
            let fresh = Fresh::new().await;
            for batch in facts.chunks(size) {
                let sequence = fresh.append(batch).await;
                let at = batch.last().expect("a chunk is not empty").recorded_at;
                fresh.store.write_keyframe(sequence, at, 1, vec![]).await.expect("written");
            }
            let keyframe = fresh.store.keyframe_before(Some(t(known)), 1).await.expect("an answer");
            let sequence = keyframe.map_or(0, |keyframe| keyframe.sequence);
            let (mut expected, mut found) = (Model::new(), Model::new());
            fold(&mut expected, &facts.iter().filter(|fact| fact.recorded_at <= t(known)).cloned().collect::<Vec<_>>());
            fold(&mut found, &facts[..usize::try_from(sequence).expect("small")]);
            fold(&mut found, &fresh.store.facts_after(sequence, Some(t(known))).await.expect("facts"));
            prop_assert_eq!(found.len(), expected.len());
            for ((key, expected), (other, found)) in expected.into_iter().zip(found) {
                prop_assert_eq!(&key, &other);
                prop_assert_eq!((&expected.1, &expected.2, expected.3), (&found.1, &found.2, found.3), "{:?}", key);
                prop_assert!(expected.0.since(found.0).abs() <= 45_000, "{:?}: {} for {}", key, found.0, expected.0);
                prop_assert!(found.0 <= t(known));
            }
            Ok(())
        })?;
    }

    /// A store that told of the past before has looked up most of it; one that was just opened has not.
    #[test]
    fn what_was_looked_up_before_changes_no_answer(
        steps in prop::collection::vec(some_fact(), 1..80),
        size in 1..40_usize,
        known in prop::collection::vec(0..2_000_000_i64, 1..4),
        kept_ms in 0..2_000_000_i64,
    ) {
        let facts = timed(steps, true);
        tokio::runtime::Runtime::new().expect("a runtime").block_on(async {
            let fresh = Fresh::new().await;
            for batch in facts.chunks(size) {
                let sequence = fresh.append(batch).await;
                let at = batch.last().expect("a chunk is not empty").recorded_at;
                fresh.store.write_keyframe(sequence, at, 1, vec![]).await.expect("written");
                // Runs in keyframes outlive here what they name.
                let retention = Retention { intervals_ms: kept_ms, keyframes_ms: DAY, ..Retention::default() };
                fresh.store.purge(at, retention, 10).await.expect("purged");
                let opened = Store::open_read_only(&fresh.path()).await.expect("a reader");
                for known in &known {
                    let warm = fresh.store.facts_after(0, Some(t(*known))).await.expect("facts");
                    let cold = opened.facts_after(0, Some(t(*known))).await.expect("facts");
                    prop_assert_eq!(warm, cold, "known at {}", known);
                }
                let until = t(known[0]);
                let warm = fresh.store.facts_until(until).await.expect("facts");
                prop_assert_eq!(warm, opened.facts_until(until).await.expect("facts"));
            }
            Ok(())
        })?;
    }
}
