//! The stories that the product is judged by: facts in, verdicts and notices out. Each has a twin in which one fact is
//! changed and the other verdict must come.

mod told;

use std::collections::BTreeMap;
use tidemark_domain::fact::{Attributes, Content, Fact, Listening, Protocol, Report, Scope, Source, SyncStatus, What};
use tidemark_domain::notice::{NoticeKind, Severity};
use tidemark_domain::time::{HOUR, MINUTE, SECOND};
use tidemark_domain::verdict::{
    BehindCause, ConfigState, ConfigWord, ConnectionWord, Connectivity, Counter, CurrentBy, EmptyProof, Gone, Overlay,
};
use told::{World, announced, cohort, config, digest, line, node_id, t, token, v, v1, withheld};

fn names(count: u32) -> impl Iterator<Item = String> {
    (0..count).map(|number| format!("node-{number}"))
}

/// 200 nodes, and a control plane whose v10 is rendered as `a`.
fn at_v10() -> World {
    let mut world = World::listening();
    for number in 1..10 {
        world.announce(announced(&format!("release-{number}"), &[&format!("a{number}")]));
        world.passes(MINUTE);
    }
    world.announce(announced("release-10", &["a"]));
    for name in names(200) {
        world.runs(&name, "a");
    }
    world.passes(10 * MINUTE);
    assert_eq!(world.count(ConfigWord::Current), 200);
    world
}

/// 200 nodes, and a control plane of which only the expected hash is known, `a`.
fn hash_only() -> World {
    let mut world = World::listening();
    world.expected("a");
    for name in names(200) {
        world.runs(&name, "a");
    }
    world.passes(10 * MINUTE);
    assert_eq!(world.count(ConfigWord::Current), 200);
    world
}

#[test]
fn g1a_a_release_that_moves_the_hash_of_a_known_version_is_no_drift() {
    let mut world = at_v10();
    let mut twin = world.clone();
    for (world, version) in [(&mut world, "release-10"), (&mut twin, "release-11")] {
        world.expected_of("b", version);
        world.passes(SECOND);
        world.runs("newcomer", "zeros");
        world.passes(5 * SECOND);
        world.runs("newcomer", "b");
        world.passes(10 * MINUTE);
    }
    assert_eq!(world.count(ConfigWord::Current), 201);
    assert_eq!(world.how("node-7"), Some(CurrentBy::Alias));
    assert_eq!(world.how("newcomer"), Some(CurrentBy::Version));
    assert_eq!(world.tally().by_alias, 200);
    let notices = world.notices();
    assert_eq!(notices.len(), 1, "{notices:?}");
    assert_eq!(notices[0].kind, NoticeKind::ExpectedMovedWithoutChange);
    assert_eq!((notices[0].severity, notices[0].nodes), (Severity::Info, 200));

    // Twin: the expected hash renders a version that is new.
    assert_eq!(twin.count(ConfigWord::Behind), 200);
    assert_eq!(twin.state_of("newcomer"), ConfigWord::Current);
    assert_eq!(twin.notices(), []);
}

#[test]
fn g1b_without_a_version_nobody_is_behind_and_nothing_is_proven() {
    let mut world = hash_only();
    world.expected("b");
    world.runs("newcomer", "zeros");
    world.passes(5 * SECOND);
    world.runs("newcomer", "b");
    world.passes(10 * MINUTE);
    assert_eq!(world.count(ConfigWord::UnprovenAlias), 200);
    assert_eq!(world.count(ConfigWord::Behind), 0);
    assert_eq!(world.state_of("newcomer"), ConfigWord::Current);
    let notices = world.notices();
    assert_eq!(notices.len(), 1, "{notices:?}");
    assert_eq!((notices[0].severity, notices[0].nodes), (Severity::Ticket, 200));

    // Twin: a person looked, and says that it is the same.
    let mut twin = world.clone();
    twin.same("b");
    assert_eq!(twin.count(ConfigWord::Current), 201);
    assert_eq!(twin.how("node-7"), Some(CurrentBy::Alias));
    assert_eq!(twin.notices()[0].severity, Severity::Info);
}

#[test]
fn g1c_a_lost_push_pages_once_for_the_control_plane() {
    let mut world = hash_only();
    let moved_at = world.now;
    world.expected("b");
    world.until(moved_at + HOUR);
    assert_eq!(world.count(ConfigWord::UnprovenAlias), 200);
    assert_eq!(world.notices().iter().map(|notice| notice.severity).collect::<Vec<_>>(), [Severity::Ticket]);
    world.until(moved_at + HOUR + 1);
    let notices = world.notices();
    assert_eq!(notices.len(), 1, "{notices:?}");
    assert_eq!((notices[0].severity, notices[0].nodes, notices[0].since), (Severity::Page, 200, t(moved_at)));
}

#[test]
fn g1c_with_a_shadows_word_the_nodes_are_behind_within_a_minute() {
    let story = |second: Content| {
        let mut world = World::listening();
        world.expected("a");
        world.frame(&v1(), "a");
        for name in names(200) {
            world.runs_in(&name, &v1(), "a");
        }
        world.passes(10 * MINUTE);
        let moved_at = world.now;
        world.expected("b");
        world.passes(SECOND);
        world.frame_with(&v1(), "b", second);
        world.until(moved_at + MINUTE);
        let then = world.count(ConfigWord::Propagating);
        world.passes(1 + SECOND);
        (then, world)
    };
    let (propagating, world) = story(Content::Digest(digest("b")));
    assert_eq!(propagating, 200);
    assert_eq!(world.count(ConfigWord::Behind), 200);
    assert_eq!(world.head(), Some(2));
    assert_eq!(world.notices(), []);

    // Twin: the frame behaves as the one before.
    let (propagating, twin) = story(Content::Digest(digest("a")));
    assert_eq!(propagating, 0);
    assert_eq!(twin.count(ConfigWord::Current), 200);
    assert_eq!(twin.head(), Some(1));
    assert_eq!(twin.notices()[0].severity, Severity::Info);
}

#[test]
fn g2_the_one_node_that_is_behind_stands_out_of_a_release() {
    let mut world = at_v10();
    world.runs("node-7", "a9");
    world.expected_of("b", "release-10");
    world.passes(10 * MINUTE);
    assert_eq!(world.count(ConfigWord::Current), 199);
    let ConfigState::Behind { running, behind, .. } = world.state("node-7") else {
        panic!("{:?}", world.state("node-7"))
    };
    assert_eq!((running, behind), (v(9), 1));

    // Twin: it runs what the others run.
    let mut twin = at_v10();
    twin.expected_of("b", "release-10");
    twin.passes(10 * MINUTE);
    assert_eq!(twin.count(ConfigWord::Current), 200);
}

#[test]
fn g5_nodes_on_their_cache_are_told_from_the_one_that_lost_it() {
    let story = |cache_lost: bool| {
        let mut world = World::listening();
        world.frame(&v1(), "a");
        for name in names(40) {
            world.runs_in(&name, &v1(), "a");
        }
        world.passes(10 * MINUTE);
        let down_at = world.now;
        world.tell(Source::Tap, What::ControlPlaneDown);
        world.pinging.clear();
        names(40).for_each(|name| world.closes(&name));
        // Two restart; one of them has a Status API that we read.
        while world.now < down_at + 3 * HOUR {
            world.passes(30 * SECOND);
            let (running, ready) = if cache_lost { ("zeros", false) } else { ("a", true) };
            let report = Report { ready: Some(ready), ..Report::of(node_id("node-7"), config(running)) };
            world.report(Source::Status, report);
        }
        (down_at, world)
    };
    let (down_at, world) = story(true);
    let cached = world.verdicts().into_values().filter(|verdict| verdict.overlays.has(Overlay::Cached));
    let cached: Vec<_> = cached.collect();
    assert_eq!(cached.len(), 39);
    for verdict in cached {
        assert_eq!(verdict.config.running(), Some(v(1)));
        assert_eq!(verdict.connectivity, Connectivity::Disconnected { since: t(down_at) });
    }
    let ConfigState::Empty { proof, .. } = world.state("node-7") else { panic!("{:?}", world.state("node-7")) };
    assert_eq!(proof, EmptyProof::NotReady);
    assert!(world.notices().iter().any(|notice| notice.kind == NoticeKind::ControlPlaneDown));

    // Twin: its cache was not lost.
    let (_, twin) = story(false);
    assert_eq!(twin.state_of("node-7"), ConfigWord::Current);
    assert_eq!(twin.count(ConfigWord::Empty), 0);
}

#[test]
fn g7_a_bulk_run_is_one_changeset() {
    let mut world = World::listening();
    world.frame(&v1(), "a");
    world.runs_in("reached", &v1(), "a");
    world.runs_in("missed", &v1(), "a");
    world.passes(10 * MINUTE);
    for number in 0..9_412 {
        world.now += 100;
        world.frame(&v1(), &format!("b{number}"));
    }
    world.ping("middle", "b5000");
    world.runs_in("reached", &v1(), "b9411");
    world.passes(30 * SECOND);
    assert_eq!(world.head(), Some(9_413));
    assert_eq!(world.state("missed").behind(), 1);
    assert_eq!(world.state("middle").behind(), 1);
    assert_eq!(world.state_of("missed"), ConfigWord::Behind);
    assert_eq!(world.state_of("reached"), ConfigWord::Current);

    // Twin: one write more, after a pause.
    let mut twin = world.clone();
    twin.frame(&v1(), "c");
    assert_eq!(twin.state("missed").behind(), 2);
    assert_eq!(twin.state("middle").behind(), 2);
    assert_eq!(twin.state("reached").behind(), 1);
}

#[test]
fn g8_a_write_that_changes_nothing_leaves_nobody_behind() {
    let story = |second: &str| {
        let mut world = World::listening();
        world.notify(1);
        world.frame_with(&told::v2(), "t1", Content::Digest(digest("x")));
        world.runs_in("node", &told::v2(), "t1");
        world.passes(10 * MINUTE);
        world.notify(2);
        world.frame_with(&told::v2(), "t2", Content::Digest(digest(second)));
        world.passes(10 * MINUTE);
        world
    };
    let world = story("x");
    assert_eq!(world.head(), Some(2));
    assert_eq!(world.how("node"), Some(CurrentBy::NoOp));

    // Twin: the write changed something.
    let twin = story("y");
    assert_eq!(twin.state_of("node"), ConfigWord::Behind);
}

#[test]
fn g10_one_version_has_a_hash_for_each_gateway_version() {
    let cohorts = ["3.4.2", "3.9.1", "3.11.0.2"].map(|gateway| cohort(Protocol::V1, gateway));
    let mut world = World::listening();
    for round in ["a", "b"] {
        for (number, scope) in cohorts.iter().enumerate() {
            world.frame(scope, &format!("{round}{number}"));
            world.passes(SECOND);
        }
        world.passes(MINUTE);
    }
    for (number, scope) in cohorts.iter().enumerate() {
        world.runs_in(&format!("node-{number}"), scope, &format!("b{number}"));
    }
    world.passes(MINUTE);
    assert_eq!(world.head(), Some(2));
    for name in names(3) {
        assert_eq!(world.how(&name), Some(CurrentBy::Version), "{name}");
    }

    // Twin: one of them runs what its cohort was told before.
    let mut twin = world.clone();
    twin.runs("node-1", "a1");
    twin.passes(MINUTE);
    assert_eq!(twin.state_of("node-1"), ConfigWord::Behind);
    assert_eq!(twin.count(ConfigWord::Current), 2);
}

#[test]
fn g12_zeros_with_a_plugin_set_that_does_not_fit() {
    let story = |status: SyncStatus| {
        let mut world = World::listening();
        world.expected("a");
        let report = Report { status: Some(status), ..Report::of(node_id("node"), config("zeros")) };
        world.starts("node", report);
        world.passes(10 * MINUTE);
        world
    };
    assert_eq!(story(withheld()).state_of("node"), ConfigWord::Incompatible);
    // Twin: nothing is withheld.
    let ConfigState::Empty { proof, .. } = story(SyncStatus::Normal).state("node") else { panic!("not empty") };
    assert_eq!(proof, EmptyProof::NeverConfigured);
}

#[test]
fn g13_restored_with_ordered_tokens_nodes_are_ahead() {
    let mut world = World::listening();
    for number in 1..=3 {
        world.notify(number);
        world.passes(MINUTE);
    }
    world.runs_in("newest", &told::v2(), "t3");
    world.runs_in("old", &told::v2(), "t2");
    world.passes(10 * MINUTE);
    let mut twin = world.clone();
    let restored_at = world.now;
    world.notify(2);
    world.passes(10 * MINUTE);
    assert_eq!(world.state("newest"), ConfigState::Ahead { running: v(3), since: t(restored_at) });
    assert_eq!(world.state_of("old"), ConfigWord::Current);
    assert_eq!(world.tally().counter(Counter::Behind), 1);
    let notices = world.notices();
    assert_eq!(notices.iter().map(|notice| notice.kind).collect::<Vec<_>>(), [NoticeKind::Reverted]);

    // Twin: the control plane says again what it said last.
    twin.notify(3);
    twin.passes(10 * MINUTE);
    assert_eq!(twin.state_of("newest"), ConfigWord::Current);
    assert_eq!(twin.state_of("old"), ConfigWord::Behind);
}

#[test]
fn g13_restored_with_hashes_only_nodes_are_behind() {
    let mut world = World::listening();
    world.expected("a");
    world.runs("newest", "a");
    world.runs("old", "a");
    world.passes(10 * MINUTE);
    world.expected("b");
    world.passes(SECOND);
    world.runs("newest", "b");
    world.passes(10 * MINUTE);
    assert_eq!(world.state_of("old"), ConfigWord::Behind);
    let mut twin = world.clone();
    let restored_at = world.now;
    world.expected("a");
    world.passes(10 * MINUTE);
    let ConfigState::Behind { behind, cause, since, .. } = world.state("newest") else { panic!("not behind") };
    assert_eq!((behind, cause, since), (1, BehindCause::Reverted, t(restored_at)));
    assert_eq!(world.how("old"), Some(CurrentBy::Revert));
    assert_eq!(world.notices().iter().map(|notice| notice.kind).collect::<Vec<_>>(), [NoticeKind::Reverted]);

    // Twin: it expects what it expected last.
    twin.expected("b");
    twin.passes(10 * MINUTE);
    assert_eq!(twin.state_of("newest"), ConfigWord::Current);
    assert_eq!(twin.state_of("old"), ConfigWord::Behind);
}

#[test]
fn g15_our_own_blindness_makes_nobody_worse() {
    let story = |stopped: bool| {
        let mut world = World::listening();
        world.announce(announced("release-1", &["a"]));
        world.passes(MINUTE);
        world.announce(announced("release-2", &["b"]));
        names(8).for_each(|name| world.runs(&name, "b"));
        world.runs("pushing", "a");
        world.passes(20 * SECOND);
        let before = world.verdicts();
        if stopped {
            world.tell(Source::Push, What::Listening(Listening::Stopped(line("no route to host"))));
        }
        world.pinging.clear();
        world.passes(20 * MINUTE);
        (before, world)
    };
    let (before, world) = story(true);
    for (name, verdict) in world.verdicts() {
        assert_eq!(verdict.connectivity.word(), ConnectionWord::Unobserved, "{name}");
        assert_eq!(verdict.config, before[&name].config, "{name}");
    }
    assert_eq!(world.tally().counter(Counter::NotHeard), 9);

    // What is published meanwhile was not there at the last observation.
    let mut later = world.clone();
    later.word(Source::AdminApi, Scope::ANY, told::World::framed("c", Content::Unknown));
    later.passes(10 * MINUTE);
    assert_eq!(later.verdicts()["node-1"].config, before["node-1"].config);

    // We hear again: an interval of grace, and then silence counts from here.
    let mut again = world.clone();
    again.tell(Source::Push, What::Listening(Listening::Began { interval_ms: 30_000 }));
    again.passes(30 * SECOND);
    assert_eq!(again.connectivity("node-1").word(), ConnectionWord::Unobserved);
    again.passes(1);
    assert_ne!(again.connectivity("node-1").word(), ConnectionWord::Unobserved);
    again.passes(2 * MINUTE);
    assert_eq!(again.connectivity("node-1").word(), ConnectionWord::Disconnected);

    // Twin: our source was well, so silence is silence.
    let (_, twin) = story(false);
    assert_eq!(twin.connectivity("node-1").word(), ConnectionWord::Disconnected);
    assert_eq!(twin.state_of("pushing"), ConfigWord::Behind);
}

#[test]
fn g16_a_clock_ahead_of_ours_is_shown_and_moves_nothing() {
    let story = |ahead_ms: i64| {
        let mut world = World::listening();
        world.announce(announced("release-1", &["a"]));
        world.runs("node", "a");
        world.passes(10 * MINUTE);
        world.announce(announced("release-2", &["b"]));
        world.passes(3 * SECOND);
        let report = Report::of(node_id("node"), config("b"));
        world.report(Source::Push, Report { node_clock: Some(t(world.now + ahead_ms)), ..report });
        world
    };
    let (world, twin) = (story(90 * SECOND), story(5 * SECOND));
    assert!(world.has("node", Overlay::ClockSkew));
    assert!(!twin.has("node", Overlay::ClockSkew));
    assert_eq!(world.state("node"), twin.state("node"));
    assert_eq!(world.connectivity("node"), twin.connectivity("node"));
    assert_eq!(world.state("node").since(), Some(t(world.now)));
}

#[test]
fn g17_a_node_that_came_back_under_a_new_id_leaves_the_counts() {
    let story = |old_stops: bool| {
        let mut world = World::listening();
        world.expected("a");
        let attributes = Attributes { hostname: Some(line("gw-1")), ..Attributes::default() };
        let report = |id: &str| Report { attributes: attributes.clone(), ..Report::of(node_id(id), config("a")) };
        world.starts("old", report("old"));
        world.passes(10 * MINUTE);
        if old_stops {
            world.stops("old");
        }
        world.passes(10 * SECOND);
        world.starts("new", report("new"));
        world.passes(2 * MINUTE);
        world
    };
    let world = story(true);
    assert!(matches!(world.connectivity("old"), Connectivity::Gone { why: Gone::Replaced, .. }));
    assert_eq!(world.tally().nodes(), 1);
    assert_eq!(world.tally().counter(Counter::Current), 1);
    // A report brings it back.
    let mut back = world.clone();
    back.ping("old", "a");
    assert_eq!(back.tally().nodes(), 2);

    // Twin: the old one reports on.
    let twin = story(false);
    assert_eq!(twin.connectivity("old").word(), ConnectionWord::Connected);
    assert_eq!(twin.tally().nodes(), 2);
}

/// 40 nodes that ping every 30 s at their own phase, and an Admin API that is polled every 60 s.
struct Polled {
    world: World,
    rows: BTreeMap<String, (i64, String)>,
    told: BTreeMap<String, (i64, String)>,
}

impl Polled {
    /// One rollout after the other; `gap_ms` apart.
    fn rollouts(gap_ms: i64, with_expected: bool, rows_first: bool) -> Self {
        let mut polled = Self { world: World::new(), rows: BTreeMap::new(), told: BTreeMap::new() };
        let began = What::Listening(Listening::Began { interval_ms: 60_000 });
        polled.world.tell(Source::AdminApi, began);
        let mut random = 7_u64;
        let mut draw = move |below: i64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            i64::try_from(random >> 33).unwrap_or(0) % below
        };
        let nodes: Vec<(String, i64)> = names(40).map(|name| (name, draw(30_000))).collect();
        let mut reached: BTreeMap<String, (i64, i64)> = BTreeMap::new();
        let (mut published, mut rollout_at) = (0_i64, 300_000_i64);
        for second in 0.. {
            let from = second * SECOND;
            if published == 100 && from > rollout_at + 5 * MINUTE {
                break;
            }
            if from >= rollout_at && published < 100 {
                published += 1;
                rollout_at = from + gap_ms + draw(20_000);
                for (name, _) in &nodes {
                    reached.insert(name.clone(), (from + draw(5_000), published));
                }
            }
            for (name, phase) in &nodes {
                let ping_at = from + (phase - from).rem_euclid(30_000);
                if ping_at < from + SECOND {
                    let runs = match reached.get(name) {
                        Some((reached_at, version)) if *reached_at <= ping_at => *version,
                        Some((_, version)) => version - 1,
                        None => 0,
                    };
                    polled.rows.insert(name.clone(), (ping_at, format!("c{runs}")));
                }
            }
            if second % 60 == 41 {
                polled.poll(from + SECOND, with_expected.then(|| format!("c{published}")), rows_first);
            }
            polled.world.now = from + SECOND;
            if second % 20 == 2 && second > 200 {
                polled.check();
            }
        }
        polled
    }

    fn poll(&mut self, at: i64, expected: Option<String>, rows_first: bool) {
        self.world.now = at;
        let mut steps = vec![expected.clone().is_none(), expected.is_some()];
        if rows_first {
            steps = vec![false, true];
        }
        let expected_first = steps == [false, true] && !rows_first;
        if let (Some(expected), true) = (&expected, expected_first) {
            self.world.expected(expected);
        }
        for (name, row) in self.rows.clone() {
            if self.told.get(&name) != Some(&row) {
                let mut report = Report::of(node_id(&name), config(&row.1));
                report.uncertain_ms = 60_000;
                let fact = self.world.fact(Source::AdminApi, What::Report(Box::new(report)));
                self.world.observe(Fact { at: t(row.0), ..fact });
                self.told.insert(name, row);
            }
        }
        if let (Some(expected), false) = (&expected, expected_first) {
            self.world.expected(expected);
        }
        self.world.tell(Source::AdminApi, What::Read);
    }

    #[track_caller]
    fn check(&self) {
        for (name, verdict) in self.world.verdicts() {
            let word = verdict.config.word();
            let wrong = matches!(word, ConfigWord::Unrecognized | ConfigWord::Ahead | ConfigWord::Rejected);
            assert!(!wrong, "{} {name} {verdict:?}", self.world.now);
            assert_eq!(verdict.connectivity.word(), ConnectionWord::Connected, "{} {name}", self.world.now);
        }
    }
}

#[test]
fn a_poller_sees_a_hundred_rollouts_and_calls_nobody_unrecognized_or_ahead() {
    for with_expected in [true, false] {
        for rows_first in [true, false] {
            let polled = Polled::rollouts(300_000, with_expected, rows_first);
            let world = &polled.world;
            assert_eq!(world.count(ConfigWord::Current), 40, "{with_expected} {rows_first}");
            assert_eq!(world.head(), Some(101), "{with_expected} {rows_first}");
        }
    }
}

#[test]
fn nor_where_rollouts_come_faster_than_polls() {
    for rows_first in [true, false] {
        let polled = Polled::rollouts(35_000, false, rows_first);
        assert_eq!(polled.world.count(ConfigWord::Current), 40, "{rows_first}");
    }
}

#[test]
fn tokens_of_two_control_planes_do_not_meet() {
    let mut world = World::listening();
    world.announce(announced("release-1", &["a"]));
    let other = Fact { control_plane: "other".parse().expect("a name"), ..world.facts[1].clone() };
    world.observe(other);
    assert_eq!(world.fleet.control_planes().count(), 2);
    assert_eq!(world.ledger().versions().len(), 1);
    assert_eq!(world.ledger().head().and_then(|head| head.token.clone()), Some(token("release-1")));
}
