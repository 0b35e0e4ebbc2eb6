//! Who asked for deltas and gets the whole.

mod told;

use tidemark_domain::fact::{
    Attributes, Connection, ConnectionEvent, Content, Frame, Protocol, Report, Said, Scope, Source, SyncMode, What,
};
use tidemark_domain::time::MINUTE;
use tidemark_domain::verdict::Overlay;
use told::{World, cohort, config, node_id, of_cohort, v1, v2};

/// A node is sent a configuration, and says that it has it.
fn sent(world: &mut World, node: &str, scope: &Scope, name: &str, mode: SyncMode, bytes: u64) {
    let Said::Frame(frame) = World::framed(name, Content::Unknown) else { panic!("a frame") };
    let frame = Frame { offered_to: Some(node_id(node)), mode, bytes, ..frame };
    world.word(Source::Tap, scope.clone(), Said::Frame(frame));
    let report = Report { attributes: of_cohort(scope), ..Report::of(node_id(node), config(name)) };
    world.report(Source::Tap, report);
}

fn connects(world: &mut World, node: &str, scope: &Scope) {
    let event = ConnectionEvent::Opened;
    let connection = Connection { node: Some(node_id(node)), event, attributes: of_cohort(scope) };
    world.tell(Source::Tap, What::Connection(connection));
}

const DELTA: SyncMode = SyncMode::Delta;
const FULL: SyncMode = SyncMode::Full;

/// Changes in which one node is answered so, and another one always by this.
fn answered(answers: &[SyncMode], other: SyncMode) -> World {
    beside(answers, &vec![other; answers.len()])
}

/// Changes in which one node is answered so, and another one so.
fn beside(answers: &[SyncMode], others: &[SyncMode]) -> World {
    let mut world = World::new();
    for node in ["node", "other"] {
        connects(&mut world, node, &v2());
        sent(&mut world, node, &v2(), "t1", FULL, 30_000_000);
    }
    for ((number, mode), other) in (2..).zip(answers).zip(others) {
        world.now += 2 * MINUTE;
        let name = format!("t{number}");
        sent(&mut world, "other", &v2(), &name, *other, 2_000);
        sent(&mut world, "node", &v2(), &name, *mode, if *mode == FULL { 30_000_000 } else { 2_000 });
    }
    world
}

#[track_caller]
fn fell_back(world: &World, expected: bool) {
    assert_eq!(world.has("node", Overlay::FellBackToFullSync), expected);
    assert!(!world.has("other", Overlay::FellBackToFullSync));
}

#[test]
fn who_is_answered_with_the_whole_while_others_get_deltas_has_fallen_back() {
    fell_back(&answered(&[FULL, FULL], DELTA), true);
    // One may come after a long absence; a delta ends it.
    fell_back(&answered(&[FULL], DELTA), false);
    fell_back(&answered(&[FULL, DELTA, FULL], DELTA), false);
    fell_back(&answered(&[FULL, FULL, FULL, DELTA], DELTA), false);
    fell_back(&answered(&[DELTA, FULL, FULL], DELTA), true);
}

#[test]
fn a_control_plane_that_always_answers_with_the_whole_lets_nobody_fall_back() {
    fell_back(&answered(&[FULL; 9], FULL), false);
}

#[test]
fn after_many_writes_at_once_everybody_gets_the_whole() {
    let bulk = [DELTA, FULL, FULL, FULL];
    fell_back(&beside(&bulk, &bulk), false);
    fell_back(&beside(&bulk, &[DELTA, FULL, FULL, DELTA]), true);
}

#[test]
fn what_each_change_costs_is_the_proof() {
    let cost = |world: &World| {
        let node = world.control_plane().node(&node_id("node")).expect("a node");
        tidemark_domain::assess::full_sync(node, world.ledger()).map(|full| (full.bytes, full.delta_bytes))
    };
    assert_eq!(cost(&answered(&[FULL, FULL], DELTA)), Some((Some(30_000_000), Some(2_000))));
    assert_eq!(cost(&answered(&[DELTA, FULL, FULL, FULL], DELTA)), Some((Some(22_500_500), Some(2_000))));
    assert_eq!(cost(&answered(&[DELTA], DELTA)), None);
}

/// The first one, and what is sent again at a reconnect, is no change.
#[test]
fn what_replaces_nothing_costs_no_change() {
    let mut world = answered(&[], DELTA);
    for _ in 0..3 {
        sent(&mut world, "node", &v2(), "t1", FULL, 30_000_000);
    }
    fell_back(&world, false);
    assert_eq!(world.ledger().delta_bytes(), None);
}

/// It would sync by deltas, and is told the whole by v1: the tap says so, or the agent of the node.
#[test]
fn who_is_not_let_has_fallen_back() {
    #[track_caller]
    fn check(mode: Option<SyncMode>, expected: bool) {
        let mut world = World::listening();
        world.frame(&v1(), "a");
        let attributes = Attributes { sync_mode: mode, ..of_cohort(&cohort(Protocol::V1, "3.8.1")) };
        world.report(Source::Push, Report { attributes, ..Report::of(node_id("node"), config("a")) });
        assert_eq!(world.has("node", Overlay::FellBackToFullSync), expected, "{mode:?}");
    }
    check(Some(SyncMode::FellBack), true);
    check(Some(FULL), false);
    check(Some(DELTA), false);
    check(None, false);
}
