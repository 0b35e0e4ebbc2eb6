//! The guard at work: what a destructive change means for the nodes of a control plane, and when that ends.

mod told;

use tidemark_domain::fact::{Announcement, Content, Protocol, Said, Scope, Shape, Source};
use tidemark_domain::guard::Grade;
use tidemark_domain::notice::{NoticeKind, Severity};
use tidemark_domain::time::{HOUR, MINUTE, SECOND};
use tidemark_domain::verdict::{ConfigWord, Overlay};
use told::{World, announced, cohort, node_id, t, v1, v2};

fn snis(count: u64) -> Shape {
    Shape { entities: [("snis".to_owned(), count)].into(), certificates_without_snis: 0, hosts_served: 0 }
}

/// A version by its token, rendered as a hash, with so many SNIs.
fn with_snis(token: &str, hash: &str, count: u64) -> Announcement {
    Announcement { shape: Some(snis(count)), ..announced(token, &[hash]) }
}

/// Two nodes at a version with 1,400 SNIs, and one away; then a version with fewer.
fn after_a_loss_to(count: u64, intended: bool) -> World {
    let mut world = World::listening();
    world.announce(with_snis("r1", "a", 1_400));
    world.runs("one", "a");
    world.runs("other", "a");
    world.passes(HOUR);
    world.announce(Announcement { intended, ..with_snis("r2", "b", count) });
    world.passes(5 * SECOND);
    world.runs("one", "b");
    world
}

#[track_caller]
fn suspicious(world: &World, expected: &[&str]) {
    let marked = world.verdicts().into_iter().filter(|(_, verdict)| verdict.overlays.has(Overlay::SuspiciousContent));
    assert_eq!(marked.map(|(node, _)| node).collect::<Vec<_>>(), expected);
}

/// Nodes that the page names; `None` where there is none.
fn paged(world: &World) -> Option<u32> {
    let destructive = world.notices().into_iter().find(|notice| notice.kind == NoticeKind::DestructiveChange)?;
    assert_eq!(destructive.severity, Severity::Page);
    Some(destructive.nodes)
}

/// Since when a node runs what is left, in milliseconds.
fn since(world: &World, node: &str) -> Option<i64> {
    let assessed = world.assessed(node, world.now);
    let node = world.control_plane().node(&node_id(node)).expect("a node");
    tidemark_domain::assess::damage(node, &assessed, world.ledger()).map(|damage| damage.since.since(t(0)))
}

#[test]
fn who_runs_it_is_current_and_suspicious() {
    let world = after_a_loss_to(700, false);
    assert_eq!(world.state_of("one"), ConfigWord::Current);
    suspicious(&world, &["one"]);
    assert_eq!(paged(&world), Some(1));
    assert_eq!((since(&world, "one"), since(&world, "other")), (Some(HOUR + 5 * SECOND), None));
    // Twins: less was lost, or it was meant.
    for twin in [after_a_loss_to(1_399, false), after_a_loss_to(1_301, false), after_a_loss_to(0, true)] {
        suspicious(&twin, &[]);
        assert_eq!(paged(&twin), None);
    }
}

#[test]
fn the_grade_of_each_change_is_read_from_the_ledger() {
    #[track_caller]
    fn check(count: u64, intended: bool, expected: Grade) {
        let world = after_a_loss_to(count, intended);
        let change = world.ledger().content_change(told::v(2)).expect("both were seen");
        assert_eq!((change.grade, change.before), (expected, told::v(1)), "{count}");
        assert_eq!(world.ledger().content_change(told::v(1)), None, "nothing before it");
    }
    check(1_500, false, Grade::Harmless);
    check(1_400, false, Grade::Harmless);
    check(1_399, false, Grade::Notable);
    check(700, false, Grade::Destructive);
    check(700, true, Grade::Notable);
}

#[test]
fn a_revert_ends_it_and_who_has_not_reached_that_is_suspicious_still() {
    let mut world = after_a_loss_to(0, false);
    world.runs("other", "b");
    assert_eq!(paged(&world), Some(2));
    world.passes(MINUTE);
    // Back to the hash of the version before: nobody has to say what that is made of.
    world.announce(announced("r3", &["a"]));
    assert_eq!(paged(&world), None, "it stops at the revert");
    suspicious(&world, &["one", "other"]);
    world.runs("one", "a");
    suspicious(&world, &["other"]);
    world.runs("other", "a");
    suspicious(&world, &[]);
    // Twin: another version that has not got them back.
    let mut twin = after_a_loss_to(0, false);
    twin.passes(MINUTE);
    twin.announce(with_snis("r3", "c", 100));
    assert_eq!(paged(&twin), Some(1));
    twin.runs("one", "c");
    suspicious(&twin, &["one"]);
    assert_eq!(since(&twin, "one"), Some(HOUR + 5 * SECOND), "it came from bad to bad");
    twin.announce(with_snis("r4", "d", 1_400));
    assert_eq!(paged(&twin), None);
}

#[test]
fn a_person_ends_it_by_declaring_what_is_published_now() {
    let mut world = after_a_loss_to(0, false);
    world.passes(MINUTE);
    world.announce(Announcement { intended: true, ..announced("r2", &[]) });
    suspicious(&world, &[]);
    assert_eq!(paged(&world), None);
    assert_eq!(world.ledger().versions().len(), 2, "it is the same version");
}

#[test]
fn a_control_plane_that_was_restored_from_before_it_is_not_paged_for() {
    let mut world = World::listening();
    for (number, count) in [(1, 1_400), (2, 0)] {
        let token = format!("v02_{number:028x}");
        world.announce(Announcement { shape: Some(snis(count)), ..announced(&token, &[]) });
        world.runs("node", &format!("t{number}"));
        world.passes(HOUR);
    }
    assert_eq!(paged(&world), Some(1));
    world.notify(1);
    assert_eq!(paged(&world), None);
    assert_eq!(world.state_of("node"), ConfigWord::Ahead);
    suspicious(&world, &["node"]);
}

/// What a tap sees on its way to a cohort.
fn frame(world: &mut World, scope: &Scope, hash: &str, shape: Option<Shape>) {
    let Said::Frame(frame) = World::framed(hash, Content::Digest(told::digest(hash))) else { panic!("a frame") };
    world.word(Source::Tap, scope.clone(), Said::Frame(tidemark_domain::fact::Frame { shape, ..frame }));
}

#[test]
fn shapes_compare_inside_a_cohort_only() {
    let old = cohort(Protocol::V1, "3.4.2");
    let mut world = World::listening();
    // A control plane leaves much out for its old nodes, and always did.
    for (number, name) in ["a", "b", "c"].into_iter().enumerate() {
        frame(&mut world, &v1(), name, Some(snis(1_400)));
        world.passes(SECOND);
        frame(&mut world, &old, &format!("{name}1"), Some(snis(3)));
        world.runs_in("new", &v1(), name);
        world.runs_in("old", &old, &format!("{name}1"));
        world.passes(HOUR);
        assert_eq!((paged(&world), world.ledger().versions().len()), (None, number + 1));
    }
    // What only the new ones lose, only they have lost; a cohort that nobody watches is taken along.
    frame(&mut world, &v1(), "d", Some(snis(0)));
    world.passes(SECOND);
    frame(&mut world, &old, "d1", Some(snis(3)));
    world.runs_in("new", &v1(), "d");
    world.runs_in("old", &old, "d1");
    world.runs_in("unwatched", &v2(), "d");
    suspicious(&world, &["new", "unwatched"]);
    assert_eq!(paged(&world), Some(2));
}

#[test]
fn content_is_watched_where_the_head_was_seen() {
    let mut world = World::listening();
    let watched = |world: &World, after: i64| world.ledger().content_is_watched(t(world.now + after));
    assert!(!World::listening().fleet.control_planes().any(|cp| cp.ledger.content_is_watched(t(0))));
    world.announce(announced("r1", &["a"]));
    assert!(!watched(&world, 0), "nothing was ever seen");
    world.announce(with_snis("r2", "b", 1));
    assert!(watched(&world, 0) && watched(&world, 100 * HOUR));
    // The next one may still be seen.
    world.passes(HOUR);
    world.announce(announced("r3", &["c"]));
    assert!(watched(&world, MINUTE));
    assert!(!watched(&world, MINUTE + 1));
    // It went back to what was seen.
    world.announce(announced("r4", &["b"]));
    assert!(watched(&world, 100 * HOUR));
}

/// What is found does not hang on when it was looked for: as it comes, or once after a restart.
#[test]
fn a_ledger_that_is_read_back_finds_the_same() {
    let mut world = World::listening();
    for number in 0..200_u64 {
        let count = 1_400 - (number % 50) * 20;
        let token = format!("v02_{:028x}", (number * 7) % 200 + 1);
        let intended = number % 90 == 0;
        world.announce(Announcement { shape: Some(snis(count)), intended, ..announced(&token, &[]) });
        if number % 70 == 0 {
            world.announce(Announcement { intended: true, ..announced(&token, &[]) });
        }
        world.passes(7 * SECOND);
    }
    let mut again = world.fleet.clone();
    again.reindex();
    assert_eq!(again, world.fleet);
    let found = |number| world.ledger().destroyed_in(told::v(number), &Scope::ANY).is_some();
    let found = (1..=200).filter(|number| found(*number)).count();
    assert!((1..200).contains(&found), "{found}");
}
