//! Who is told of changes, and who has to ask.

mod told;

use tidemark_domain::fact::{Connection, ConnectionEvent, Content, Frame, Protocol, Report, Said, Scope, Source, What};
use tidemark_domain::time::{MINUTE, SECOND};
use tidemark_domain::verdict::{ConfigWord, Overlay};
use told::{World, cohort, config, node_id, of_cohort, v1, v2};

/// A node asks for what is new, is answered, and says that it has it.
fn asks(world: &mut World, node: &str, scope: &Scope, name: &str) {
    let Said::Frame(frame) = World::framed(name, Content::Unknown) else { panic!("a frame") };
    world.word(Source::Tap, scope.clone(), Said::Frame(Frame { offered_to: Some(node_id(node)), ..frame }));
    let report = Report { attributes: of_cohort(scope), ..Report::of(node_id(node), config(name)) };
    world.report(Source::Tap, report);
}

fn connects(world: &mut World, node: &str, scope: &Scope) {
    let event = ConnectionEvent::Opened;
    let connection = Connection { node: Some(node_id(node)), event, attributes: of_cohort(scope) };
    world.tell(Source::Tap, What::Connection(connection));
}

/// Changes two minutes apart, of which two nodes are told at once, and a third learns after these delays.
fn after(scope: &Scope, delays: &[i64], before_each: impl Fn(&mut World)) -> World {
    let mut world = World::new();
    for node in ["one", "two", "far"] {
        connects(&mut world, node, scope);
        asks(&mut world, node, scope, "t1");
    }
    for (number, delay) in (2..).zip(delays) {
        world.now += 2 * MINUTE;
        let name = format!("t{number}");
        before_each(&mut world);
        world.word(Source::Tap, scope.clone(), Said::Notified(told::ordered(number)));
        let published = world.now;
        world.now += 100;
        asks(&mut world, "one", scope, &name);
        asks(&mut world, "two", scope, &name);
        world.now = published + delay;
        asks(&mut world, "far", scope, &name);
    }
    world
}

const SPREAD: [i64; 6] = [4_000, 29_000, 11_000, 17_000, 23_000, 8_000];

#[track_caller]
fn polls(world: &World, expected: bool) {
    assert_eq!(world.state_of("far"), ConfigWord::Current);
    assert_eq!(world.has("far", Overlay::PollOnly), expected);
    assert!(!world.has("one", Overlay::PollOnly));
}

#[test]
fn who_is_never_told_polls_only() {
    polls(&after(&v2(), &SPREAD, |_| {}), true);
    polls(&after(&v2(), &SPREAD[..5], |_| {}), false);
    polls(&after(&v2(), &[100; 12], |_| {}), false);
    // By v1 nobody asks: who is late there is slow.
    polls(&after(&cohort(Protocol::V1, "3.10.0.2"), &SPREAD, |_| {}), false);
    assert_eq!(v1().protocol, Some(Protocol::V1));
}

#[test]
fn who_was_away_learns_late_for_another_reason() {
    let reconnects = |world: &mut World| {
        world.closes("far");
        // It connects after the publication.
        world.now += SECOND;
    };
    let mut world = World::new();
    for node in ["one", "two", "far"] {
        connects(&mut world, node, &v2());
        asks(&mut world, node, &v2(), "t1");
    }
    for (number, delay) in (2..).zip(SPREAD) {
        world.now += 2 * MINUTE;
        reconnects(&mut world);
        let (name, published) = (format!("t{number}"), world.now);
        world.word(Source::Tap, v2(), Said::Notified(told::ordered(number)));
        asks(&mut world, "one", &v2(), &name);
        asks(&mut world, "two", &v2(), &name);
        world.now = published + delay;
        connects(&mut world, "far", &v2());
        asks(&mut world, "far", &v2(), &name);
    }
    polls(&world, false);
}

#[test]
fn where_nobody_is_told_nobody_stands_out() {
    let mut world = World::new();
    let nodes = ["one", "two", "far"];
    for node in nodes {
        connects(&mut world, node, &v2());
        asks(&mut world, node, &v2(), "t1");
    }
    for (number, delay) in (2..).zip(SPREAD) {
        world.now += 2 * MINUTE;
        world.word(Source::Tap, v2(), Said::Notified(told::ordered(number)));
        world.now += delay;
        for node in nodes {
            asks(&mut world, node, &v2(), &format!("t{number}"));
        }
    }
    polls(&world, false);
}

#[test]
fn who_is_told_again_is_no_poller_any_more() {
    let told_again = [SPREAD.as_slice(), &[100, 100, 100]].concat();
    polls(&after(&v2(), &told_again, |_| {}), false);
}
