//! Recordings of real Kong against what was read from them without our decoders: versions in order, per node the
//! intervals and the lag of each version from `src/kong/captures/figures.txt`; verdicts from tables made by hand from
//! the transcripts and the notes of the recorder (`timeline.jsonl`).
//!
//! The recordings lie beside the repository; where they do not, these tests say so in one line.

use crate::recorded::{Database, Held, captures, state};
use std::collections::BTreeMap;
use std::path::PathBuf;
use tidemark_domain::fact::{ConnectionEvent, Source, SyncMode, What};
use tidemark_domain::id::Ordinal;
use tidemark_domain::verdict::{ConfigState, CurrentBy, Missing, Overlay};

const FIGURES: &str = include_str!("../../src/kong/captures/figures.txt");
/// Silence that ends an interval: one and a half report intervals of Kong (DESIGN 4).
const LATE_MS: i64 = 45_000;

/// The mixed fleet publishes each version once by token and once by hash. By hand: both of a pair are less than two
/// seconds apart and are one write of `timeline.jsonl`.
const MIXED: [(i64, [&str; 2]); 2] = [
    (1_795_165_673_367, ["00000000000000000000000000000012", "edb30d92688e4f678ed819eedeeb1545"]),
    (1_795_165_718_242, ["00000000000000000000000000000013", "d962604b89b0bae10bcc1ccd50f46749"]),
];

/// A stay of a node at one hash.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stay {
    hash: String,
    from: i64,
    until: i64,
    reports: u64,
}

/// What the figures say of one folder.
#[derive(Debug, Default)]
struct Figures {
    /// Publications, in order: when, and the name.
    versions: Vec<(i64, String)>,
    /// Stays of each node in the order of time, as each connection tells them.
    stays: BTreeMap<String, Vec<Stay>>,
    /// From the offer of a version to the report of it: node, moment of the report, milliseconds.
    applied: Vec<(String, i64, String, i64)>,
}

/// The figures of all folders.
fn figures() -> BTreeMap<String, Figures> {
    let mut all: BTreeMap<String, Figures> = BTreeMap::new();
    let (mut folder, mut node) = (String::new(), String::new());
    for line in FIGURES.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        if let Some(name) = line.strip_prefix("== ") {
            folder = if name.ends_with(".jsonl") { String::new() } else { name.to_owned() };
        }
        if folder.is_empty() {
            continue;
        }
        let figures = all.entry(folder.clone()).or_default();
        let number = |text: &str| -> i64 { text.trim_start_matches('x').parse().expect("a number") };
        match words.as_slice() {
            ["version", at, _, hash] => figures.versions.push((number(at), (*hash).to_owned())),
            ["--", _, _, id, ..] => node = (*id).to_owned(),
            [from, "runs", hash, "until", until, reports] => {
                let reports = u64::try_from(number(reports)).expect("a count");
                let stay = Stay { hash: (*hash).to_owned(), from: number(from), until: number(until), reports };
                figures.stays.entry(node.clone()).or_default().push(stay);
            }
            [at, "applied", hash, "after", ms, "ms"] => {
                figures.applied.push((node.clone(), number(at), (*hash).to_owned(), number(ms)));
            }
            _ => {}
        }
    }
    all
}

/// Stays without a gap in between are one, whichever connections they came over.
fn unbroken(mut stays: Vec<Stay>) -> Vec<Stay> {
    stays.sort_by_key(|stay| stay.from);
    let mut merged: Vec<Stay> = Vec::new();
    for stay in stays {
        match merged.last_mut() {
            Some(last) if last.hash == stay.hash && stay.from - last.until <= LATE_MS => {
                last.until = stay.until;
                last.reports += stay.reports;
            }
            _ => merged.push(stay),
        }
    }
    merged
}

/// A scenario that figures exist of, imported.
async fn scenario(folder: &str) -> Option<Database> {
    Some(Database::of(&[captures()?.join(folder)]).await)
}

/// Several recordings, as those of one control plane.
async fn together(names: &[&str]) -> Option<Database> {
    let captures = captures()?;
    let paths: Vec<PathBuf> = names.iter().map(|name| captures.join(name)).collect();
    let database = Database::new();
    let outcome = database.import(&paths, Some("lab")).await;
    assert_eq!((outcome.damaged, outcome.refused), (0, Vec::new()));
    Some(database)
}

const MIXED_STATES: &str = "kong-3.9.3-v1-admin-api-mixed-states.jsonl";

#[tokio::test]
async fn versions_come_in_the_order_and_at_the_times_of_the_wire() {
    for (folder, figures) in figures() {
        let Some(database) = scenario(&folder).await else { return };
        let held = database.recorded().await;
        let control_plane = held.control_plane().await;
        let said: Vec<(i64, Vec<String>)> = held
            .versions(&control_plane)
            .await
            .iter()
            .map(|version| {
                let mut names: Vec<String> = version.hashes.iter().map(|hash| hash.config.to_string()).collect();
                names.sort();
                (version.row.published_at.ms(), names)
            })
            .collect();
        let expected: Vec<(i64, Vec<String>)> = if folder.contains("mixed-fleet") {
            MIXED.iter().map(|(at, names)| (*at, names.map(str::to_owned).to_vec())).collect()
        } else {
            figures.versions.iter().map(|(at, name)| (*at, vec![name.clone()])).collect()
        };
        assert_eq!(said, expected, "{folder}");
        held.close().await;
    }
}

#[tokio::test]
async fn nodes_stayed_at_what_the_wire_tells() {
    for (folder, figures) in figures() {
        let Some(database) = scenario(&folder).await else { return };
        let held = database.recorded().await;
        let control_plane = held.control_plane().await;
        for (node, stays) in &figures.stays {
            let history = held.history(&control_plane, &node.parse().expect("an id")).await;
            let mut said: Vec<Stay> = history
                .intervals
                .iter()
                .filter(|interval| interval.source == Source::Tap)
                .map(|interval| Stay {
                    hash: interval.reported.as_ref().expect("a ping says a hash").to_string(),
                    from: interval.from.ms(),
                    until: interval.until.ms(),
                    reports: interval.count,
                })
                .collect();
            said.sort_by_key(|stay| stay.from);
            assert_eq!(said, unbroken(stays.clone()), "{folder}: {node}");
        }
        let tapped = held.nodes().await.into_iter().filter(|row| row.source == Some(Source::Tap)).count();
        assert_eq!(tapped, figures.stays.len(), "{folder}");
        held.close().await;
    }
}

#[tokio::test]
async fn lags_are_those_of_the_wire() {
    for (folder, figures) in figures() {
        let Some(database) = scenario(&folder).await else { return };
        let held = database.recorded().await;
        let control_plane = held.control_plane().await;
        let versions = held.versions(&control_plane).await;
        for (node, stays) in &figures.stays {
            let stays = unbroken(stays.clone());
            let history = held.history(&control_plane, &node.parse().expect("an id")).await;
            for version in &versions {
                let published = version.row.published_at.ms();
                let names: Vec<String> = version.hashes.iter().map(|hash| hash.config.to_string()).collect();
                // The first report of it at or after its publication; a node that ran it then reached it then.
                let reached = stays.iter().find(|stay| names.contains(&stay.hash) && stay.until >= published);
                let expected = reached.map(|stay| stay.from.max(published) - published);
                let said = history.reached.iter().find(|reached| reached.version == version.row.ordinal);
                assert_eq!(said.map(|said| said.lag_ms), expected, "{folder}: {node} {}", version.row.ordinal);
                assert_eq!(said.map_or(0, |said| said.uncertain_ms), 0, "{folder}: {node} {}", version.row.ordinal);

                // A later one counts for all before it.
                let later = versions.iter().filter(|later| later.row.published_at >= version.row.published_at);
                let firsts = later.filter_map(|later| {
                    let names: Vec<String> = later.hashes.iter().map(|hash| hash.config.to_string()).collect();
                    let since = later.row.published_at.ms();
                    let stay = stays.iter().find(|stay| names.contains(&stay.hash) && stay.until >= since)?;
                    Some(stay.from.max(since) - published)
                });
                let spread = version.propagation.per_node.iter().find(|reach| reach.node.as_str() == node);
                let spread = spread.unwrap_or_else(|| panic!("{folder}: {node} counts"));
                assert_eq!(spread.lag_ms, firsts.min(), "{folder}: {node} {}", version.row.ordinal);
            }
        }
        for (node, at, hash, after_ms) in &figures.applied {
            let history = held.history(&control_plane, &node.parse().expect("an id")).await;
            let reached = history.reached.iter().find(|reached| reached.reached_at.ms() == *at);
            let reached = reached.unwrap_or_else(|| panic!("{folder}: {node} applied {hash}"));
            let offered = reached.offered_at.map(|offered_at| at - offered_at.ms());
            assert_eq!(offered, Some(*after_ms), "{folder}: {node} {hash}");
        }
        held.close().await;
    }
}

/// Both axes of each node at the last recorded moment. By hand: whether the last connection was closed in the recording
/// and how long before its end, and what the last ping said.
#[rustfmt::skip]
const AT_THE_END: [(&str, &str, &str, &str); 17] = [
    ("kong-3.9.3-v1", "8b70", "connected", "current"),
    ("kong-3.4.2-v1", "98ad", "connected", "current"),
    ("kong-3.10.0-dev-v2-rpc-sync", "3cd9", "connected", "current"),
    // Its connection ended in the last line of the recording: late at once, disconnected only 30 s later.
    ("kong-3.9.3-v2-incremental-sync", "e9ce", "late", "current"),
    ("kong-3.9.3-mixed-fleet-v1-v2", "e9ce", "late", "current"),
    ("kong-3.9.3-mixed-fleet-v1-v2", "7f91", "late", "current"),
    ("kong-3.9.3-mixed-fleet-v1-v2", "38f0", "late", "current"),
    ("kong-3.9.3-v1-frozen-peers", "8b70", "connected", "current"),
    ("kong-3.9.3-v1-dp-3.8.1", "c6cb", "connected", "current"),
    ("kong-3.9.3-v1-dp-cannot-apply", "7296", "late", "unknown"),
    // Pings zeros, and the Admin API says `normal`: compatible, and never configured.
    ("kong-3.9.3-v1-dp-3.4.2-rejects-config", "fc15", "connected", "empty"),
    ("kong-3.9.3-v1-dp-3.10.0-version-incompatible", "2e50", "late", "unknown"),
    ("kong-3.9.3-v1-plugin-set-incompatible", "18a7", "late", "unknown"),
    ("kong-3.9.3-v1-pki-and-bulk", "05ac", "late", "current"),
    // Killed 62 s before the end.
    ("kong-3.9.3-v1-pki-and-bulk", "7dbf", "disconnected", "current"),
    ("kong-3.9.3-v1-wrong-certificate", "40a2", "late", "unknown"),
    // Known from the Admin API alone, which was read last a second before the end.
    ("kong-3.9.3-mixed-fleet-v1-v2", "6100", "unobserved", "empty"),
];

#[tokio::test]
async fn each_node_ends_as_its_recording_does() {
    for (folder, node, connection, config) in AT_THE_END {
        let Some(database) = scenario(folder).await else { return };
        let held = database.recorded().await;
        assert_eq!(held.state(node).await, (connection, config), "{folder}: {node}");
        held.close().await;
    }
}

#[tokio::test]
async fn one_intent_shows_under_md5_and_token_side_by_side() {
    let Some(database) = scenario("kong-3.9.3-mixed-fleet-v1-v2").await else { return };
    let held = database.recorded().await;
    for node in ["e9ce", "7f91", "38f0"] {
        let row = held.node(node).await;
        let ConfigState::Current { running, how, .. } = row.verdict.config else { panic!("{row:?}") };
        assert_eq!((running, how), (Ordinal::new(2), CurrentBy::Version), "{node}");
    }
    let versions = held.versions(&held.control_plane().await).await;
    let names: Vec<String> = versions[1].hashes.iter().map(|hash| hash.config.to_string()).collect();
    assert_eq!(names.len(), 2);
    assert_eq!((versions[1].row.running, versions[1].row.reached), (3, 3));
    let by_name: Vec<u32> = versions[1].hashes.iter().map(|hash| hash.nodes).collect();
    assert_eq!(by_name.iter().sum::<u32>(), 3, "{by_name:?}");
    assert_eq!(versions[1].row.changeset, versions[1].row.ordinal);
    held.close().await;
}

/// One node syncs by deltas, one has JSON-RPC without delta sync, one has v1 only: none asked for what it did not get.
#[tokio::test]
async fn who_never_asked_for_deltas_has_not_fallen_back() {
    let Some(database) = scenario("kong-3.9.3-mixed-fleet-v1-v2").await else { return };
    let held = database.recorded().await;
    for (node, mode) in [("e9ce", SyncMode::Delta), ("7f91", SyncMode::Full), ("38f0", SyncMode::Full)] {
        let row = held.node(node).await;
        assert_eq!(row.attributes.sync_mode, Some(mode), "{node}");
        assert!(!row.verdict.overlays.has(Overlay::FellBackToFullSync), "{node}");
    }
    held.close().await;
}

#[tokio::test]
async fn zeros_are_not_excused_by_a_status_of_normal() {
    // From the wire alone it is not known whether the node serves: the verdict says what is missing.
    let Some(database) = scenario("kong-3.9.3-v1-dp-cannot-apply").await else { return };
    let held = database.recorded().await;
    let row = held.node("7296").await;
    assert_eq!(row.verdict.config, ConfigState::Unknown { missing: Missing::ProofOfEmptiness });
    assert!(row.evidence.contains("zeros without proof of emptiness"), "{}", row.evidence);
    let view =
        held.fleet.node(row.control_plane.clone(), row.id.clone(), crate::recorded::NOW).await.expect("an answer");
    assert!(!view.proof.cannot_know.is_empty());
    held.close().await;

    // With the Admin API, which says `normal` and had never seen another hash.
    let Some(database) = together(&["kong-3.9.3-v1-dp-cannot-apply", MIXED_STATES]).await else { return };
    let held = database.at_ms(1_795_165_343_400).await;
    // The tap's recording had ended, and the Admin API was read first at this moment: nobody listened.
    assert_eq!(held.state("7296").await, ("unobserved", "empty"));
    held.close().await;

    let Some(database) = scenario("kong-3.9.3-v1-dp-3.4.2-rejects-config").await else { return };
    let held = database.at_ms(1_795_166_240_000).await;
    assert_eq!(held.state("fc15").await, ("connected", "unknown"), "before the Admin API was read");
    held.close().await;
    let held = database.at_ms(1_795_166_245_000).await;
    assert_eq!(held.state("fc15").await, ("connected", "empty"), "it says normal");
    let row = held.node("fc15").await;
    assert_eq!(row.reported.map(|reported| reported.to_string()), Some("0".repeat(32)));
    held.close().await;
}

#[tokio::test]
async fn a_frame_that_was_made_minutes_before_is_published_when_it_is_sent() {
    // The frame's own `timestamp` is 481,354 ms before the frame (figures: exported).
    let Some(database) = scenario("kong-3.9.3-v1-dp-3.4.2-rejects-config").await else { return };
    let held = database.recorded().await;
    let versions = held.versions(&held.control_plane().await).await;
    let published: Vec<i64> = versions.iter().map(|version| version.row.published_at.ms()).collect();
    assert_eq!(published, [1_795_166_199_278]);
    held.close().await;
}

#[tokio::test]
async fn a_bulk_write_is_one_changeset() {
    let Some(database) = scenario("kong-3.9.3-v1-pki-and-bulk").await else { return };
    let held = database.recorded().await;
    let control_plane = held.control_plane().await;
    let versions = held.versions(&control_plane).await;
    let changesets: Vec<Ordinal> = versions.iter().map(|version| version.row.changeset).collect();
    assert_eq!(changesets, [1, 2, 2, 2, 2, 2, 2].map(Ordinal::new), "the start, then six pushes of one burst");
    // Figures: 3,002 entities at the end of it.
    let shape = versions[6].shape.as_ref().expect("a frame has a shape");
    let entities: u64 = shape.entities.values().sum();
    assert_eq!(entities, 3_002);
    let killed = held.node("7dbf").await;
    let overlays: Vec<&str> = killed.verdict.overlays.iter().map(|overlay| overlay.word()).collect();
    assert_eq!(overlays, ["cached", "restart_unsafe"], "cut off, and nothing proves that its disk has it");
    held.close().await;

    // Killed at 603,971 (`timeline.jsonl`), its connection ended at 604,045; the other node is not touched.
    for (at_ms, dead, alive) in [
        (1_795_165_603_900, "connected", "connected"),
        (1_795_165_604_045, "late", "connected"),
        (1_795_165_634_045, "late", "connected"),
        (1_795_165_634_046, "disconnected", "connected"),
        (1_795_165_647_020, "disconnected", "connected"),
    ] {
        let held = database.at_ms(at_ms).await;
        assert_eq!(held.state("7dbf").await.0, dead, "{at_ms}");
        assert_eq!(held.state("05ac").await.0, alive, "{at_ms}");
        held.close().await;
    }
}

#[tokio::test]
async fn a_hash_that_comes_back_is_a_revert_and_its_node_is_current() {
    let Some(database) = scenario("kong-3.9.3-v1").await else { return };
    let held = database.recorded().await;
    let control_plane = held.control_plane().await;
    let versions = held.versions(&control_plane).await;
    let reverts: Vec<Option<Ordinal>> = versions.iter().map(|version| version.row.reverts_to).collect();
    assert_eq!(reverts, [None, None, None, None, None, None, None, None, Some(Ordinal::new(6))]);
    assert_eq!(versions[5].hashes[0].config, versions[8].hashes[0].config);
    let row = held.node("8b70").await;
    let ConfigState::Current { running, .. } = row.verdict.config else { panic!("{row:?}") };
    assert_eq!(running, Ordinal::new(9));
    // At the time of its first stay, the hash meant the version of then.
    let history = held.history(&control_plane, &row.id).await;
    let meant: Vec<Option<Ordinal>> = history
        .intervals
        .iter()
        .rev()
        .filter(|interval| interval.source == Source::Tap && interval.from.ms() > 1_795_165_344_000)
        .map(|interval| interval.version)
        .collect();
    assert_eq!(meant, [6, 7, 8, 9].map(|ordinal| Some(Ordinal::new(ordinal))));
    held.close().await;

    // The service was asked while the revert was on its way: sent at 416,011, reported at 417,006.
    for (at_ms, config) in [
        (1_795_165_416_010, "current"),
        (1_795_165_416_011, "propagating"),
        (1_795_165_417_005, "propagating"),
        (1_795_165_417_006, "current"),
    ] {
        let held = database.at_ms(at_ms).await;
        assert_eq!(held.state("8b70").await, ("connected", config), "{at_ms}");
        held.close().await;
    }
}

/// The frozen node, by hand. Its pings: 479,093 480,092 510,130 | 596,833 597,8xx 627,845 657,845 | 723,898 on. Ends: the
/// control plane's close frame at 560,135, and its own at 677,843. `timeline.jsonl`: all DP processes are stopped from
/// 514,831 to 590,810, all CP processes from 640,977 to 715,985.
const FROZEN: [(i64, &str); 18] = [
    (1_795_165_479_098, "connected"),
    (1_795_165_514_831, "connected"),
    (1_795_165_555_130, "connected"),
    (1_795_165_555_131, "late"),
    (1_795_165_560_135, "late"),
    (1_795_165_590_135, "late"),
    (1_795_165_590_136, "disconnected"),
    (1_795_165_596_831, "disconnected"),
    (1_795_165_596_833, "connected"),
    (1_795_165_640_977, "connected"),
    (1_795_165_677_842, "connected"),
    (1_795_165_677_843, "late"),
    (1_795_165_707_843, "late"),
    (1_795_165_707_844, "disconnected"),
    (1_795_165_721_044, "disconnected"),
    (1_795_165_723_897, "disconnected"),
    (1_795_165_723_898, "connected"),
    (1_795_166_535_662, "connected"),
];

#[tokio::test]
async fn frozen_peers_are_late_disconnected_and_back() {
    let Some(database) = scenario("kong-3.9.3-v1-frozen-peers").await else { return };
    for (at_ms, connection) in FROZEN {
        let held = database.at_ms(at_ms).await;
        assert_eq!(held.state("8b70").await, (connection, "current"), "{at_ms}");
        held.close().await;
    }
    let held = database.recorded().await;
    let before = held.everything().await;
    held.close().await;

    // A service that ran over it in between tells the same of then, held as well as asked.
    database.restart().await;
    let last = FROZEN[FROZEN.len() - 1].0;
    let held = database.at_ms(last).await;
    assert_eq!(held.everything().await, before);
    let control_plane = held.control_plane().await;
    let node = held.node("8b70").await.id;
    for (at_ms, connection) in FROZEN {
        let moment = tidemark_domain::view::Moment {
            at: Some(tidemark_domain::time::Timestamp::from_ms(at_ms)),
            known_now: false,
        };
        let view = held.fleet.node(control_plane.clone(), node.clone(), moment).await.expect("an answer");
        assert_eq!(state(&view.row), (connection, "current"), "{at_ms}");
        let history = held.fleet.history(control_plane.clone(), node.clone(), crate::recorded::WHOLE, moment).await;
        let tapped = history.expect("an answer").intervals.into_iter().filter(|one| one.source == Source::Tap).count();
        let began = [1_795_165_479_093, 1_795_165_596_833, 1_795_165_723_898];
        assert_eq!(tapped, began.iter().filter(|began| **began <= at_ms).count(), "{at_ms}");
    }
    held.close().await;
}

#[tokio::test]
async fn what_is_withheld_is_incompatible() {
    // The wire of a node that is offered nothing says no more than zeros; the Admin API says why.
    let Some(database) = together(&["kong-3.9.3-v1-plugin-set-incompatible", MIXED_STATES]).await else { return };
    let held = database.recorded().await;
    assert_eq!(held.state("18a7").await, ("late", "incompatible"));
    held.close().await;

    let Some(database) = together(&["kong-3.9.3-v1-dp-3.10.0-version-incompatible", MIXED_STATES]).await else {
        return;
    };
    let held = database.recorded().await;
    assert_eq!(held.state("2e50").await, ("late", "incompatible"));
    let row = held.node("2e50").await;
    let history = held.history(&row.control_plane, &row.id).await;
    let count = |kind: &str| history.events.iter().filter(|event| event.kind == kind).count();
    assert_eq!((count("opened"), count("closed")), (5, 5));
    held.close().await;
}

#[tokio::test]
async fn an_older_node_flaps_while_its_control_plane_cannot_serve_it() {
    let Some(database) = together(&["kong-3.9.3-v1", "kong-3.9.3-v1-dp-3.8.1", MIXED_STATES]).await else { return };
    // By hand: the plugin that 3.8.1 does not know is published at 349,723, withheld from it, and deleted at 416,011;
    // the Admin API says `plugin_set_incompatible` from 371,210 on. Connections at 378, 384, 392, 402, 410 end at once.
    for (at_ms, config) in [
        (1_795_165_345_100, "current"),
        (1_795_165_349_800, "propagating"),
        (1_795_165_371_300, "incompatible"),
        (1_795_165_412_000, "incompatible"),
        (1_795_165_421_000, "current"),
    ] {
        let held = database.at_ms(at_ms).await;
        assert_eq!(held.state("c6cb").await.1, config, "{at_ms}");
        held.close().await;
    }
    let held = database.at_ms(1_795_165_421_000).await;
    let row = held.node("c6cb").await;
    assert!(row.verdict.overlays.iter().any(|overlay| overlay.word() == "flapping"), "{row:?}");
    held.close().await;
}

#[tokio::test]
async fn a_refused_connection_is_kept_and_makes_no_report() {
    let refused = |held: &Held| {
        let store = held.store.clone();
        async move {
            let facts = store.facts_after(0, None).await.expect("the facts");
            let refusals = facts.into_iter().filter_map(|fact| match fact.what {
                What::Connection(connection) => match connection.event {
                    ConnectionEvent::Refused(how) => Some((fact.at.ms(), how.to_string())),
                    _ => None,
                },
                _ => None,
            });
            refusals.collect::<Vec<(i64, String)>>()
        }
    };
    // The client certificate of another cluster: the node is known by its request, and nobody answers it.
    let Some(database) = scenario("kong-3.9.3-v1-wrong-certificate").await else { return };
    let held = database.recorded().await;
    let times: Vec<i64> = refused(&held).await.into_iter().map(|(at, _)| at).collect();
    assert_eq!(times, [1_795_165_343_273, 1_795_165_350_261, 1_795_165_359_290, 1_795_165_366_261]);
    let nodes = held.nodes().await;
    assert_eq!(nodes.len(), 1);
    assert_eq!(nodes[0].last_report_at, None);
    let history = held.history(&nodes[0].control_plane, &nodes[0].id).await;
    assert_eq!(history.events.iter().filter(|event| event.kind == "refused").count(), 4);
    held.close().await;

    // v2 against a control plane without it: 404, before the node says who it is.
    let Some(database) = scenario("kong-3.9.3-v2-refused-404").await else { return };
    let held = database.recorded().await;
    let said = refused(&held).await;
    assert_eq!(said.len(), 4);
    assert!(said.iter().all(|(_, how)| how == "the control plane answered 404"), "{said:?}");
    assert_eq!(held.nodes().await.len(), 0);
    held.close().await;
}

#[tokio::test]
async fn the_admin_api_alone_tells_four_states() {
    let Some(captures) = captures() else { return };
    let database = Database::of(&[captures.join(MIXED_STATES)]).await;
    // By hand from the last poll, at 467,298. No word of the control plane: the ledger is inferred from what 8b70 changed
    // to while it was heard without a gap (ec01, 5546, b3df). 9304 came after 75 s of silence, so it is no version yet:
    // not known for its first 90 s (8b70), unrecognized after (c6cb). 2e50 came up at 463 with the hostname of all others
    // and replaces those that were silent by then.
    let held = database.recorded().await;
    for (node, state) in [
        ("18a7", ("connected", "incompatible")),
        ("2e50", ("connected", "incompatible")),
        ("8b70", ("connected", "unknown")),
        ("c6cb", ("connected", "unrecognized")),
        ("7296", ("gone", "empty")),
        ("7607", ("gone", "unrecognized")),
        ("b09d", ("gone", "unrecognized")),
    ] {
        assert_eq!(held.state(node).await, state, "{node}");
    }
    let view = held.fleet.control_planes(crate::recorded::NOW).await.expect("an answer").remove(0);
    assert!(view.inferred);
    held.close().await;
}
