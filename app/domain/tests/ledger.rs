//! The eleven rules of the ledger (DESIGN.md section 5), each with its other side.

mod told;

use std::sync::Arc;
use tidemark_domain::fact::{
    Announcement, Changed, ConfigRef, Content, Declaration, EntityChange, EntityChanges, Frame, Protocol, Report, Said,
    Scope, Source, What,
};
use tidemark_domain::ledger::{CHANGES_KEPT, EnteredBy, Evidence, MovementEnd};
use tidemark_domain::notice::{NoticeKind, Severity};
use tidemark_domain::time::{HOUR, MINUTE, SECOND};
use tidemark_domain::verdict::{ConfigState, ConfigWord, CurrentBy, Unproven};
use told::{World, announced, cohort, config, digest, line, node_id, t, token, v, v1, v2};

fn v1_old() -> Scope {
    cohort(Protocol::V1, "3.4.2")
}

/// The ledger as names of versions, oldest first: `a b=a` is a version and a revert to it.
#[track_caller]
fn ledger(world: &World, expected: &str) {
    let named = |ordinal| {
        let alias = world.ledger().aliases_of(ordinal).next();
        let known = |name: &&str| alias.is_some_and(|alias| alias.config == config(name));
        let names = ["a", "b", "c", "d", "a1", "b1", "c1", "zeros", "t1", "t2", "t3", "t4"];
        names.into_iter().find(known).unwrap_or("?")
    };
    let versions: Vec<String> = (world.ledger().in_order())
        .map(|version| match version.reverts_to {
            Some(earlier) => format!("{}>{}", named(version.ordinal), earlier.number()),
            None => named(version.ordinal).to_owned(),
        })
        .collect();
    assert_eq!(versions.join(" "), expected);
}

/// To which version a cohort's hash or token leads now.
#[track_caller]
fn means(world: &World, name: &str, scope: &Scope, expected: u32) {
    let alias = world.ledger().meaning(&config(name), scope, t(world.now));
    assert_eq!(alias.map(|alias| alias.ordinal.number()), Some(expected), "{name}");
}

#[track_caller]
fn ended(world: &World, expected: Option<MovementEnd>) {
    let movement = world.ledger().movements().last().expect("a movement");
    assert_eq!(movement.ended.map(|(_, end)| end), expected, "{movement:?}");
}

// 5.1 Who may add a version.

#[test]
fn a_report_never_moves_a_head_that_has_a_word() {
    let mut world = World::listening();
    world.expected("a");
    world.runs("node", "a");
    world.passes(MINUTE);
    world.runs("node", "b");
    world.passes(10 * MINUTE);
    ledger(&world, "a");
    // Twin: without a word the same reports make a version.
    let mut twin = World::listening();
    twin.runs("node", "a");
    twin.passes(MINUTE);
    twin.runs("node", "b");
    ledger(&twin, "a b");
}

#[test]
fn an_inferred_ledger_begins_with_the_majority_after_two_intervals() {
    let mut world = World::listening();
    for (node, name) in [("n1", "b"), ("n2", "a"), ("n3", "a"), ("n4", "c")] {
        world.runs(node, name);
    }
    world.until(30_000);
    assert_eq!(world.head(), None);
    assert_eq!(world.state("n2"), ConfigState::Unknown { missing: tidemark_domain::verdict::Missing::Version });
    world.until(60_000);
    ledger(&world, "a");
    assert!(world.ledger().inferred());
    assert_eq!(world.ledger().versions()[0].entered_by, EnteredBy::Inferred);
    assert_eq!(world.state_of("n2"), ConfigWord::Current);
}

#[test]
fn who_infers_a_version() {
    #[track_caller]
    fn check(story: impl Fn(&mut World), expected: &str) {
        let mut world = World::listening();
        for node in ["n1", "n2", "n3"] {
            world.runs(node, "a");
        }
        world.runs("fresh", "zeros");
        world.passes(10 * MINUTE);
        story(&mut world);
        ledger(&world, expected);
    }
    check(|world| world.runs("n1", "b"), "a b");
    // New, empty, returning or reconnected nodes do not.
    check(|world| world.runs("new", "b"), "a");
    check(|world| world.runs("fresh", "b"), "a");
    let returning = |silent_ms: i64| {
        move |world: &mut World| {
            world.stops("n1");
            world.passes(silent_ms);
            world.runs("n1", "b");
        }
    };
    check(returning(45_000), "a b");
    check(returning(45_001), "a");
    // It came back, repeated what it had, and is sent the newest at once for that; an interval later it is a push.
    let came_back = |heard_ms: i64| {
        move |world: &mut World| {
            world.stops("n1");
            world.passes(MINUTE);
            world.ping("n1", "a");
            world.passes(heard_ms);
            world.runs("n1", "b");
        }
    };
    check(came_back(29_999), "a");
    check(came_back(30_000), "a b");
    check(
        |world| {
            world.passes(SECOND);
            world.link("n1", tidemark_domain::fact::ConnectionEvent::Opened);
            world.passes(SECOND);
            world.runs("n1", "b");
        },
        "a",
    );
    // Going back is a revert here too.
    check(
        |world| {
            world.runs("n1", "b");
            world.passes(10 * MINUTE);
            world.runs("n1", "a");
        },
        "a b a>1",
    );
    // The second to come to it says nothing new.
    check(
        |world| {
            world.runs("n1", "b");
            world.passes(SECOND);
            world.runs("n2", "b");
        },
        "a b",
    );
}

#[test]
fn the_order_is_the_tokens_where_it_has_one() {
    let mut world = World::listening();
    for number in [1, 3, 2] {
        world.notify(number);
        world.passes(MINUTE);
    }
    ledger(&world, "t1 t2 t3");
    assert_eq!(world.ledger().head().map(|head| head.ordinal), Some(v(3)));
    // Free names have none: a name that is told again is a step back.
    let mut world = World::listening();
    for name in ["release-9", "release-10", "release-9"] {
        let said = Said::Expected { config: ConfigRef::from(token(name)), token: None };
        world.word(Source::Konnect, Scope::ANY, said);
        world.passes(MINUTE);
    }
    assert_eq!(world.ledger().versions().len(), 3);
    assert_eq!(world.ledger().head().and_then(|head| head.reverts_to), Some(v(1)));
}

#[test]
fn the_same_token_or_key_is_the_same_version() {
    let mut world = World::listening();
    world.announce(announced("r1", &["a"]));
    world.announce(announced("r1", &["b"]));
    let key = Announcement { key: Some(line("k")), cause: Some(line("why")), ..Announcement::default() };
    world.announce(key.clone());
    world.announce(Announcement { cause: Some(line("other")), ..key });
    assert_eq!(world.ledger().versions().len(), 2);
    means(&world, "b", &Scope::ANY, 1);
    assert_eq!(world.ledger().versions()[1].cause, Some(line("why")));
    // A token wins over a key; the key stays with the version that had it first.
    world.announce(Announcement { key: Some(line("k")), ..announced("r1", &[]) });
    let keys: Vec<_> = world.ledger().versions().iter().map(|version| version.key.clone()).collect();
    assert_eq!(keys, [None, Some(line("k"))]);
}

// 5.2 One hash, several versions.

#[test]
fn a_hash_means_the_newest_version_that_carries_it() {
    let mut world = World::listening();
    for name in ["a", "b", "a"] {
        world.frame(&v1(), name);
        world.passes(10 * MINUTE);
    }
    ledger(&world, "a b a>1");
    means(&world, "a", &v1(), 3);
    let earlier = |at| world.ledger().meaning(&config("a"), &v1(), t(at)).map(|alias| alias.ordinal);
    assert_eq!(earlier(20 * MINUTE - 1), Some(v(1)));
    assert_eq!(earlier(20 * MINUTE), Some(v(3)));
}

#[test]
fn a_step_back_is_one_version_however_many_are_told() {
    // Two cohorts with a hash each.
    let mut world = World::listening();
    for (one, other) in [("a", "a1"), ("b", "b1"), ("a", "a1")] {
        world.closed_frame(&v1(), one);
        world.passes(SECOND);
        world.closed_frame(&v1_old(), other);
        world.passes(10 * MINUTE);
    }
    ledger(&world, "a b a>1");
    means(&world, "a1", &v1_old(), 3);
    // Two cohorts with the same hash.
    let mut world = World::listening();
    for name in ["a", "b", "a"] {
        for scope in [v1(), v1_old()] {
            world.closed_frame(&scope, name);
            world.passes(SECOND);
        }
        world.passes(10 * MINUTE);
    }
    ledger(&world, "a b a>1");
    // A frame and the expected hash.
    world.expected("a");
    ledger(&world, "a b a>1");
}

#[test]
fn a_frame_that_is_told_again_or_late_is_no_step_back() {
    let mut world = World::listening();
    for replica in ["cp-0", "cp-1"] {
        world.replica_word(replica, Source::Tap, v1(), World::framed("a", Content::Unknown));
    }
    world.passes(MINUTE);
    world.replica_word("cp-0", Source::Tap, v1(), World::framed("b", Content::Unknown));
    world.replica_word("cp-1", Source::Tap, v1(), World::framed("b", Content::Unknown));
    world.passes(MINUTE);
    world.replica_word("cp-0", Source::Tap, v1(), World::framed("c", Content::Unknown));
    world.passes(SECOND);
    // cp-1 is not there yet, and tells a node that reconnects what it has.
    world.replica_word("cp-1", Source::Tap, v1(), World::framed("b", Content::Unknown));
    world.passes(SECOND);
    world.replica_word("cp-1", Source::Tap, v1(), World::framed("c", Content::Unknown));
    ledger(&world, "a b c");
    // It goes back, really.
    world.passes(MINUTE);
    world.replica_word("cp-1", Source::Tap, v1(), World::framed("b", Content::Unknown));
    ledger(&world, "a b c b>2");
}

#[test]
fn an_announced_version_without_a_hash_is_rendered_by_what_is_expected_next() {
    let mut world = World::listening();
    for (version, name) in [("r1", "a"), ("r2", "b"), ("r3", "a")] {
        world.announce(announced(version, &[]));
        world.passes(20 * SECOND);
        world.expected(name);
        world.passes(MINUTE);
    }
    assert_eq!(world.ledger().versions().len(), 3);
    means(&world, "a", &Scope::ANY, 3);
    assert_eq!(world.ledger().head().and_then(|head| head.reverts_to), Some(v(1)));
}

// 5.3 Content beats hash, inside one cohort.

#[test]
fn a_new_hash_is_compared_by_content() {
    #[track_caller]
    fn check(
        after_ms: i64,
        second: Content,
        versions: usize,
        evidence: Option<Evidence>,
        unproven: Option<Unproven>,
        movement: Option<Option<MovementEnd>>,
    ) {
        let mut world = World::listening();
        world.frame(&v1(), "a");
        world.passes(after_ms);
        world.frame_with(&v1(), "b", second);
        let alias = world.ledger().meaning(&config("b"), &v1(), t(world.now)).expect("it is named").clone();
        assert_eq!(world.ledger().versions().len(), versions);
        assert_eq!((Some(alias.evidence), alias.unproven), (evidence, unproven));
        let movements = world.ledger().movements().iter().map(|movement| movement.ended.map(|(_, end)| end));
        assert_eq!(movements.collect::<Vec<_>>(), Vec::from_iter(movement));
    }
    let proven = Some(Some(MovementEnd::Proven));
    check(10 * MINUTE, Content::Digest(digest("a")), 1, Some(Evidence::Digest), None, proven);
    // Replicas that render differently are no release.
    check(14_999, Content::Digest(digest("a")), 1, Some(Evidence::Digest), None, None);
    check(15_000, Content::Digest(digest("a")), 1, Some(Evidence::Digest), None, proven);
    let template = Some(Unproven::TemplateFields);
    check(10 * MINUTE, World::template("b"), 1, Some(Evidence::ExpectedMoved), template, Some(None));
    check(10 * MINUTE, Content::Digest(digest("b")), 2, Some(Evidence::Frame), None, None);
    check(10 * MINUTE, Content::Unknown, 2, Some(Evidence::Frame), None, None);
}

#[test]
fn digests_do_not_compare_across_cohorts() {
    let mut world = World::listening();
    world.frame_with(&v1(), "a", Content::Digest(digest("x")));
    world.frame_with(&v1_old(), "a1", Content::Digest(digest("y")));
    world.passes(10 * MINUTE);
    // The other cohort's digest: here it is a change.
    world.frame_with(&v1(), "b", Content::Digest(digest("y")));
    ledger(&world, "a b");
}

/// A cohort that was offered nothing since the version before may be the first that a push is seen for.
#[test]
fn the_first_cohort_of_a_push_is_not_held_for_one_of_the_version_before() {
    #[track_caller]
    fn check(gap_ms: i64, expected: u32) {
        let mut world = World::listening();
        world.frame(&v1(), "a");
        world.passes(10 * MINUTE);
        world.frame(&v1_old(), "b-old");
        world.passes(gap_ms);
        world.frame(&v1(), "b");
        assert_eq!(world.ledger().versions().len(), 2);
        means(&world, "b-old", &v1_old(), expected);
        means(&world, "b", &v1(), 2);
    }
    check(0, 2);
    check(SECOND, 2);
    check(SECOND + 1, 1);
}

/// A database goes back by writes, so what it was is rendered with another hash.
#[test]
fn a_version_that_behaves_like_an_earlier_one_is_reached_by_who_runs_that() {
    let mut world = World::listening();
    for (name, content) in [("a", "x"), ("b", "y"), ("c", "x")] {
        world.frame_with(&v1(), name, Content::Digest(digest(content)));
        if name == "a" {
            world.runs_in("n1", &v1(), "a");
        }
        world.passes(10 * MINUTE);
    }
    assert_eq!(world.how("n1"), Some(CurrentBy::Revert));
    // Twin: it behaves like nothing before.
    world.frame_with(&v1(), "d", Content::Digest(digest("z")));
    world.passes(10 * MINUTE);
    assert!(matches!(world.state("n1"), ConfigState::Behind { behind: 1, .. }), "{:?}", world.state("n1"));

    let mut world = World::listening();
    for (name, content) in [("a", "x"), ("b", "y"), ("c", "x")] {
        let said = Announcement { digest: Some(digest(content)), ..announced(name, &[name]) };
        world.announce(said);
        if name == "a" {
            world.runs("n1", "a");
        }
        world.passes(10 * MINUTE);
    }
    assert_eq!(world.how("n1"), Some(CurrentBy::Revert));
}

#[test]
fn a_no_op_is_one_for_every_cohort_or_none() {
    #[track_caller]
    fn check(one: &str, other: &str, expected: bool) {
        let mut world = World::listening();
        let (here, there) = (v2(), cohort(Protocol::V2, "3.11.0.2"));
        world.notify(1);
        world.frame_with(&here, "t1", Content::Digest(digest("x")));
        world.frame_with(&there, "t1", Content::Digest(digest("x")));
        world.passes(10 * MINUTE);
        world.notify(2);
        world.frame_with(&here, "t2", Content::Digest(digest(one)));
        world.frame_with(&there, "t2", Content::Digest(digest(other)));
        assert_eq!(world.ledger().head().map(|head| head.no_op), Some(expected));
    }
    check("x", "x", true);
    check("x", "y", false);
    check("y", "x", false);
    // What lies between was not seen: nothing is proven by what was before it.
    let mut world = World::listening();
    for number in 1..=3 {
        world.notify(number);
        if number != 2 {
            world.frame_with(&v2(), &format!("t{number}"), Content::Digest(digest("x")));
        }
        world.passes(10 * MINUTE);
    }
    assert_eq!(world.ledger().head().map(|head| head.no_op), Some(false));
}

// 5.4 The expected hash moved, and no change was seen.

/// 3 nodes at `a`, and `b` is expected since 10 min.
fn moved() -> World {
    let mut world = World::listening();
    world.announce(announced("r1", &["a"]));
    world.expected("a");
    for node in ["n1", "n2", "n3"] {
        world.runs_in(node, &v1(), "a");
    }
    world.passes(10 * MINUTE);
    world.expected("b");
    world.passes(SECOND);
    world
}

#[test]
fn how_a_movement_ends() {
    #[track_caller]
    fn check(story: impl Fn(&mut World), expected: Option<MovementEnd>, versions: usize, state: ConfigWord) {
        let mut world = moved();
        assert_eq!(world.state_of("n2"), ConfigWord::UnprovenAlias);
        story(&mut world);
        world.passes(30 * SECOND);
        ended(&world, expected);
        assert_eq!(world.ledger().versions().len(), versions);
        assert_eq!(world.state_of("n2"), state);
    }
    use ConfigWord::{Current, Propagating, UnprovenAlias};
    use MovementEnd::{MovedBack, NextChange, Proven, Refuted};
    check(|_| (), None, 1, UnprovenAlias);
    // The same is said again, or a new node brings it.
    check(|world| world.expected("b"), None, 1, UnprovenAlias);
    check(|world| world.ping("new", "b"), None, 1, UnprovenAlias);
    // Proof: by the token, by an announcement of it, by a person.
    check(|world| world.expected_of("b", "r1"), Some(Proven), 1, Current);
    check(|world| world.announce(announced("r1", &["b"])), Some(Proven), 1, Current);
    check(|world| world.same("b"), Some(Proven), 1, Current);
    // Refutation: by an announcement, by a node that was pushed.
    check(|world| world.announce(announced("r2", &["b"])), Some(Refuted), 2, Propagating);
    check(|world| world.announce(announced("r2", &[])), Some(Refuted), 2, Propagating);
    check(|world| world.expected_of("b", "r2"), Some(Refuted), 2, Propagating);
    check(|world| world.runs("n1", "b"), Some(Refuted), 2, Propagating);
    // It went back, or a change came.
    check(|world| world.expected("a"), Some(MovedBack), 1, Current);
    check(|world| world.announce(announced("r2", &["c"])), Some(NextChange), 2, Propagating);
}

#[test]
fn a_frame_proves_or_refutes_a_movement() {
    #[track_caller]
    fn check(content: &str, expected: MovementEnd, versions: usize) {
        let mut world = World::listening();
        world.expected("a");
        world.frame(&v1(), "a");
        world.runs_in("n1", &v1(), "a");
        world.passes(10 * MINUTE);
        let moved_at = world.now;
        world.expected("b");
        world.passes(20 * SECOND);
        world.frame_with(&v1(), "b", Content::Digest(digest(content)));
        ended(&world, Some(expected));
        assert_eq!(world.ledger().versions().len(), versions);
        // A change took place when the expected hash moved, not when its proof came.
        let published_at = world.ledger().head().map(|head| head.published_at);
        assert_eq!(published_at, Some(t(if versions == 2 { moved_at } else { 0 })));
    }
    check("a", MovementEnd::Proven, 1);
    check("b", MovementEnd::Refuted, 2);
}

#[test]
fn a_node_that_was_pushed_before_the_expected_hash_was_read_refutes_too() {
    let story = |node: &str| {
        let mut world = World::listening();
        world.expected("a");
        world.runs("n1", "a");
        world.passes(MINUTE);
        world.passes(10 * SECOND);
        world.runs(node, "b");
        world.passes(10 * SECOND);
        world.expected("b");
        world
    };
    let world = story("n1");
    ledger(&world, "a b");
    assert_eq!(world.ledger().head().map(|head| head.published_at), Some(t(MINUTE + 10 * SECOND)));
    // Twin: a new node brought it.
    let twin = story("new");
    ledger(&twin, "a");
    ended(&twin, None);
}

/// The expected hash moves twice, and the first move is proven last: the second is from there.
#[test]
fn a_proven_move_takes_the_moves_after_it_along() {
    let mut world = World::listening();
    world.expected("a");
    for node in ["n1", "n2", "n3"] {
        world.runs(node, "a");
    }
    world.passes(10 * MINUTE);
    world.expected("b");
    world.passes(5 * SECOND);
    world.expected("c");
    world.runs("n3", "c");
    ledger(&world, "a c");
    let mut world = World::listening();
    world.expected("a");
    for node in ["n1", "n2"] {
        world.runs(node, "a");
    }
    world.passes(10 * MINUTE);
    world.expected("b");
    world.passes(5 * SECOND);
    world.expected("c");
    world.runs("new", "c");
    world.runs("n1", "b");
    ledger(&world, "a b");
    world.passes(2 * MINUTE);
    // What is expected now is not older than what was proven.
    assert_eq!(world.state_of("new"), ConfigWord::Current);
    assert_eq!(world.state_of("n1"), ConfigWord::UnprovenAlias);
    assert_eq!(world.state_of("n2"), ConfigWord::Behind);
}

#[test]
fn an_expected_hash_that_comes_again_is_a_movement_again() {
    let mut world = moved();
    world.expected("a");
    ended(&world, Some(MovementEnd::MovedBack));
    assert_eq!(world.state_of("n1"), ConfigWord::Current);
    world.passes(MINUTE);
    world.expected("b");
    ended(&world, None);
    assert_eq!(world.state_of("n1"), ConfigWord::UnprovenAlias);
}

#[test]
fn how_loudly_a_movement_is_said() {
    #[track_caller]
    fn check(world: &World, after_ms: i64, expected: Severity) {
        let mut world = world.clone();
        world.until(world.now + after_ms);
        let notices = world.notices();
        assert_eq!(notices.iter().map(|notice| notice.severity).collect::<Vec<_>>(), [expected]);
        assert_eq!(notices[0].nodes, 3);
    }
    let mut hash_only = World::listening();
    hash_only.expected("a");
    for node in ["n1", "n2", "n3"] {
        hash_only.runs(node, "a");
    }
    hash_only.passes(10 * MINUTE);
    // Every change reaches us if people say so, or if something that sees changes spoke.
    let mut fed = hash_only.clone();
    let declaration = Declaration { change_feed: true, ..Declaration::default() };
    fed.tell(Source::Push, What::Declared(Box::new(declaration)));
    hash_only.expected("b");
    fed.expected("b");
    check(&hash_only, 0, Severity::Ticket);
    check(&hash_only, HOUR, Severity::Ticket);
    check(&hash_only, HOUR + 1, Severity::Page);
    check(&fed, 0, Severity::Info);
    check(&fed, 15 * MINUTE, Severity::Info);
    check(&fed, 15 * MINUTE + 1, Severity::Ticket);
    check(&fed, 2 * HOUR, Severity::Ticket);
    // Two cohorts that move are one notice.
    let mut cohorts = hash_only.clone();
    cohorts.word(Source::AdminApi, v1(), Said::Expected { config: config("c"), token: None });
    cohorts.word(Source::AdminApi, v2(), Said::Expected { config: config("d"), token: None });
    assert_eq!(cohorts.notices().len(), 1);
}

// 5.5 Cohorts and replicas.

#[test]
fn renderings_of_two_replicas_within_fifteen_seconds_are_one_version() {
    #[track_caller]
    fn check(gap_ms: i64, content: Content, versions: usize, unproven: Option<Unproven>) {
        let mut world = World::listening();
        let say = |world: &mut World, replica: &str, name: &str, content: Content| {
            world.replica_word(replica, Source::Tap, v1(), World::framed(name, content));
        };
        for replica in ["cp-0", "cp-1"] {
            say(&mut world, replica, "a", Content::Digest(digest("a")));
        }
        world.passes(10 * MINUTE);
        say(&mut world, "cp-0", "b", Content::Digest(digest("b")));
        world.passes(gap_ms);
        say(&mut world, "cp-1", "c", content);
        assert_eq!(world.ledger().versions().len(), versions);
        let alias = world.ledger().meaning(&config("c"), &v1(), t(world.now)).expect("it is named");
        assert_eq!(alias.unproven, unproven);
        let differ = world.notices().iter().any(|notice| notice.kind == NoticeKind::ReplicasRenderDifferently);
        assert_eq!(differ, unproven.is_some());
        assert_eq!(world.ledger().versions()[1].published_at, t(10 * MINUTE));
    }
    check(14_999, Content::Digest(digest("b")), 2, None);
    check(14_999, Content::Digest(digest("x")), 2, Some(Unproven::ReplicasDiffer));
    check(14_999, Content::Unknown, 2, Some(Unproven::ReplicasDiffer));
    check(15_000, Content::Digest(digest("x")), 3, None);
}

#[test]
fn a_person_may_say_that_replicas_mean_the_same() {
    let mut world = World::listening();
    for (replica, name) in [("cp-0", "a"), ("cp-1", "b")] {
        world.replica_word(replica, Source::Tap, v1(), World::framed(name, Content::Unknown));
    }
    world.runs_in("node", &v1(), "b");
    assert_eq!(world.state_of("node"), ConfigWord::UnprovenAlias);
    world.same("b");
    assert_eq!(world.state_of("node"), ConfigWord::Current);
    assert_eq!(world.notices(), []);
}

#[test]
fn one_intent_under_a_token_and_a_hash_side_by_side() {
    // The order in which the two protocols tell of each change.
    #[track_caller]
    fn check(order: &[(&str, i64)], expected: u32, hash: &str, version: &str) {
        let mut world = World::listening();
        world.notify(1);
        world.closed_frame(&v1(), "a");
        world.runs_in("full", &v1(), "a");
        world.runs_in("delta", &v2(), "t1");
        world.passes(10 * MINUTE);
        assert_eq!(world.count(ConfigWord::Current), 2);
        for (name, after_ms) in order {
            world.now += after_ms;
            match name.strip_prefix('t') {
                Some(number) => world.notify(number.parse().expect("a number")),
                None => world.closed_frame(&v1(), name),
            }
        }
        world.runs("full", hash);
        world.runs("delta", version);
        world.passes(10 * MINUTE);
        assert_eq!(world.ledger().versions().len(), expected as usize);
        assert_eq!(world.count(ConfigWord::Current), 2, "{:?}", world.verdicts());
        // Who kept what was before is behind, in both.
        world.runs("full", "a");
        world.runs("delta", "t1");
        assert_eq!(world.count(ConfigWord::Behind), 2);
    }
    check(&[("t2", 0), ("b", 200)], 2, "b", "t2");
    check(&[("b", 0), ("t2", 200)], 2, "b", "t2");
    check(&[("t2", 0), ("b", 200), ("t3", MINUTE), ("c", 200)], 3, "c", "t3");
    check(&[("b", 0), ("t2", 200), ("c", SECOND), ("t3", 200)], 3, "c", "t3");
    check(&[("b", 0), ("c", SECOND), ("t2", 200), ("t3", 200)], 3, "c", "t3");
    // Full pushes are coalesced.
    check(&[("t2", 0), ("t3", 100), ("b", 200)], 3, "b", "t3");
    check(&[("t2", 0), ("t3", 100), ("b", 200), ("c", SECOND)], 3, "c", "t3");
}

// 5.6 Changesets.

#[test]
fn what_joins_a_changeset() {
    #[track_caller]
    fn check(times: &[i64], expected: &[u32]) {
        let mut world = World::listening();
        for (number, at) in times.iter().enumerate() {
            world.now = *at;
            world.frame(&v1(), &format!("x{number}"));
        }
        let changesets: Vec<u32> = world.ledger().versions().iter().map(|version| version.changeset.number()).collect();
        assert_eq!(changesets, expected);
    }
    check(&[0, 14_999], &[1, 1]);
    check(&[0, 15_000], &[1, 2]);
    check(&[0, 14_999, 29_998], &[1, 1, 1]);
    let burst: Vec<i64> = (0..=180).map(|number| number * 10_000).collect();
    let mut expected = vec![1; 180];
    expected.push(181);
    check(&burst, &expected);
}

#[test]
fn who_announces_may_name_the_changeset() {
    let mut world = World::listening();
    let mut say = |at: i64, version: &str, changeset: Option<&str>| {
        world.now = at;
        world.announce(Announcement { changeset: changeset.map(line), ..announced(version, &[]) });
        world.ledger().versions().last().map(|version| version.changeset.number())
    };
    assert_eq!(say(0, "r1", Some("import")), Some(1));
    assert_eq!(say(HOUR, "r2", Some("import")), Some(1));
    assert_eq!(say(HOUR + 1, "r3", Some("fix")), Some(3));
    assert_eq!(say(HOUR + 2, "r4", None), Some(4));
    assert_eq!(say(HOUR + 3, "r5", None), Some(4));
}

#[test]
fn behind_counts_changesets_that_change_something() {
    let mut world = World::listening();
    let mut at = 0;
    let mut say = |world: &mut World, gap: i64, number: u64, content: &str| {
        at += gap;
        world.now = at;
        world.notify(number);
        world.frame_with(&v2(), &format!("t{number}"), Content::Digest(digest(content)));
    };
    say(&mut world, 0, 1, "x1");
    say(&mut world, MINUTE, 2, "x2");
    say(&mut world, SECOND, 3, "x3");
    say(&mut world, MINUTE, 4, "x3");
    say(&mut world, MINUTE, 5, "x5");
    let behind = |name: &str| {
        let alias = world.ledger().meaning(&config(name), &v2(), t(world.now)).expect("it is named");
        let standing = world.ledger().standing(alias.ordinal).expect("there is a head");
        (standing.behind, standing.since)
    };
    assert_eq!(behind("t1"), (2, Some(t(MINUTE))));
    // In the middle of a changeset it is still missed.
    assert_eq!(behind("t2"), (2, Some(t(MINUTE + SECOND))));
    assert_eq!(behind("t3"), (1, Some(t(3 * MINUTE + SECOND))));
    assert_eq!(behind("t4"), (1, Some(t(3 * MINUTE + SECOND))));
    assert_eq!(behind("t5"), (0, None));
}

#[test]
fn of_twenty_thousand_words_each_is_a_version() {
    let words: Vec<Box<dyn Fn(&mut World, u64)>> = vec![
        Box::new(|world, number| world.frame(&v1(), &format!("x{number}"))),
        Box::new(|world, number| world.notify(number + 1)),
        Box::new(|world, number| {
            let key = Some(line(&format!("k{number}")));
            world.announce(Announcement { key, ..Announcement::default() });
        }),
    ];
    for word in words {
        let mut world = World::listening();
        for number in 0..20_000 {
            world.now += 100;
            word(&mut world, number);
        }
        assert_eq!(world.ledger().versions().len(), 20_000);
    }
}

// 5.7 Reported before the control plane's word.

#[test]
fn published_is_the_earlier_of_word_and_report() {
    #[track_caller]
    fn check(reported_at: i64, word_at: i64, published_at: i64) {
        let mut world = World::listening();
        world.expected("a");
        world.runs("n1", "a");
        world.until(10 * MINUTE);
        world.now = reported_at.min(word_at);
        let report = |world: &mut World| {
            world.now = reported_at;
            world.ping("n1", "b");
        };
        let word = |world: &mut World| {
            world.now = word_at;
            world.announce(announced("r2", &["b"]));
        };
        // Whichever is told first.
        let mut other = world.clone();
        report(&mut world);
        word(&mut world);
        word(&mut other);
        report(&mut other);
        for world in [world, other] {
            assert_eq!(world.ledger().head().map(|head| head.published_at), Some(t(published_at)));
        }
    }
    let start = 10 * MINUTE;
    check(start + 20_000, start + 10_000, start + 10_000);
    check(start + 10_000, start + 20_000, start + 10_000);
    check(start + 1_000, start + 91_000, start + 1_000);
    check(start + 1_000, start + 91_001, start + 91_001);
}

#[test]
fn versions_may_be_skipped() {
    let mut world = World::listening();
    for name in ["a", "b", "c"] {
        world.frame(&v1(), name);
        world.passes(MINUTE);
    }
    world.runs_in("node", &v1(), "a");
    assert_eq!(world.state("node").behind(), 2);
    world.runs("node", "c");
    assert_eq!(world.how("node"), Some(CurrentBy::Version));
}

// 5.9, 5.10.

#[test]
fn nobody_left_to_ask_is_one_alarm() {
    let mut world = World::listening();
    world.expected("a");
    world.ping("node", "a");
    assert_eq!(world.fleet.notices(t(world.now)), []);
    world.passes(MINUTE);
    let blind = |world: &mut World, source| {
        world.tell(source, What::Listening(tidemark_domain::fact::Listening::Stopped(line("refused"))));
    };
    blind(&mut world, Source::AdminApi);
    assert_eq!(world.fleet.notices(t(world.now)), []);
    blind(&mut world, Source::Push);
    let notices = world.fleet.notices(t(world.now));
    assert_eq!(notices.iter().map(|notice| notice.kind).collect::<Vec<_>>(), [NoticeKind::DownOrCutOff]);
    assert_eq!((notices[0].since, notices[0].nodes, notices[0].severity), (t(MINUTE), 1, Severity::Page));
}

#[test]
fn the_end_of_a_recording_alarms_nobody() {
    let mut world = World::listening();
    world.ping("node", "a");
    world.passes(MINUTE);
    for source in [Source::AdminApi, Source::Push] {
        world.tell(source, What::Listening(tidemark_domain::fact::Listening::Ended));
    }
    assert_eq!(world.fleet.notices(t(world.now)), []);
    assert_eq!(world.connectivity("node").word(), tidemark_domain::verdict::ConnectionWord::Unobserved);
    // Whoever listens again and stops is missed again.
    world.tell(Source::Push, What::Listening(tidemark_domain::fact::Listening::Began { interval_ms: 30_000 }));
    world.tell(Source::Push, What::Listening(tidemark_domain::fact::Listening::Stopped(line("refused"))));
    assert_eq!(world.fleet.notices(t(world.now)).len(), 1);
}

#[test]
fn one_cluster_id_under_two_names_is_said() {
    let mut world = World::listening();
    let declared = |cluster_id: &str| {
        What::Declared(Box::new(Declaration { cluster_id: Some(line(cluster_id)), ..Declaration::default() }))
    };
    world.tell(Source::Push, declared("c-1"));
    let other = |world: &World, what| tidemark_domain::fact::Fact {
        control_plane: "stage".parse().expect("a name"),
        ..world.fact(Source::Push, what)
    };
    world.observe(other(&world, declared("c-2")));
    assert_eq!(world.fleet.notices(t(world.now)), []);
    world.observe(other(&world, declared("c-1")));
    let kinds: Vec<_> =
        world.fleet.notices(t(world.now)).into_iter().map(|notice| (notice.control_plane, notice.kind)).collect();
    assert_eq!(kinds, [("stage".parse().expect("a name"), NoticeKind::OneClusterTwoNames)]);
}

#[test]
fn a_hostname_that_repeats_the_id_never_replaces_a_real_one() {
    let mut world = World::listening();
    let says = |world: &mut World, hostname: &str| {
        world.now += 1;
        let attributes = tidemark_domain::fact::Attributes { hostname: Some(line(hostname)), ..Default::default() };
        world.report(Source::Push, Report { attributes, ..Report::silent(node_id("n1")) });
        world.control_plane().node(&node_id("n1")).map(|node| node.name().to_owned())
    };
    assert_eq!(says(&mut world, "n1").as_deref(), Some("n1"));
    assert_eq!(says(&mut world, "gw-1").as_deref(), Some("gw-1"));
    assert_eq!(says(&mut world, "n1").as_deref(), Some("gw-1"));
    assert_eq!(says(&mut world, "gw-2").as_deref(), Some("gw-2"));
}

#[test]
fn what_a_version_changed_is_as_it_was_told_first_and_kept_of_the_newest() {
    let mut world = World::new();
    let listed = |world: &World, place: usize| {
        let changes = world.ledger().versions()[place].entities_changed.as_ref();
        changes.map(|(scope, changes)| (scope.clone(), changes.listed[0].entity_type.to_string()))
    };
    let frame = |world: &mut World, name: &str, scope: Scope, entity_type: Option<&str>| {
        let entities_changed = entity_type.map(|entity_type| {
            let entity_type = line(entity_type);
            let entity = EntityChange { change: Changed::Added, entity_type, id: Some(line("1")), name: None };
            Arc::new(EntityChanges { before: config("zeros"), counts: Vec::new(), listed: vec![entity] })
        });
        let Said::Frame(frame) = World::framed(name, Content::Digest(digest(name))) else { panic!("a frame") };
        world.now += MINUTE;
        world.word(Source::Tap, scope, Said::Frame(Frame { entities_changed, ..frame }));
    };
    frame(&mut world, "first", v1(), None);
    assert_eq!(listed(&world, 0), None, "there was nothing to compare it with");
    frame(&mut world, "second", v1(), Some("routes"));
    frame(&mut world, "second", v1(), None);
    frame(&mut world, "second", v1(), Some("plugins"));
    assert_eq!(listed(&world, 1), Some((v1(), "routes".to_owned())));
    for number in 2..CHANGES_KEPT {
        frame(&mut world, &format!("n{number}"), v1(), Some("services"));
    }
    assert!(listed(&world, 1).is_some() && listed(&world, CHANGES_KEPT - 1).is_some());
    frame(&mut world, "one-more", v1(), Some("services"));
    frame(&mut world, "another", v1(), Some("services"));
    assert_eq!((listed(&world, 1), listed(&world, 2).is_some()), (None, true));
}
