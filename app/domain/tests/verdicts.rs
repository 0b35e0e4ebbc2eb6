//! `assess` as tables: a row per edge, both sides of each boundary.

mod told;

use tidemark_domain::fact::{
    ApplyFailure, Attributes, ConnectionEvent, Declaration, Listening, Report, Source, SyncMode, SyncStatus, What,
    WithheldReason,
};
use tidemark_domain::id::Labels;
use tidemark_domain::time::{DAY, HOUR, MINUTE, SECOND};
use tidemark_domain::verdict::{
    BehindCause, ConfigState, ConfigWord, ConnectionWord, Connectivity, Counter, CurrentBy, EmptyProof, Gone, Missing,
    Overlay, Unproven, UnrecognizedCause,
};
use told::{World, announced, config, line, node_id, refusal, t, v, v1, v2, withheld};

/// A node that said `a` once, at 0, of a control plane that publishes `a`.
fn one_report() -> World {
    let mut world = World::listening();
    world.expected("a");
    world.ping("node", "a");
    world
}

#[track_caller]
fn connection(world: &World, now: i64, expected: ConnectionWord) {
    let got = world.assessed("node", now).verdict.connectivity;
    assert_eq!(got.word(), expected, "at {now}: {got:?}");
}

#[track_caller]
fn gone(world: &World, now: i64, expected: Option<Gone>) {
    let got = match world.assessed("node", now).verdict.connectivity {
        Connectivity::Gone { why, .. } => Some(why),
        _ => None,
    };
    assert_eq!(got, expected, "at {now}");
}

#[track_caller]
fn is(world: &World, now: i64, expected: ConfigState) {
    assert_eq!(world.assessed("node", now).verdict.config, expected, "at {now}");
}

#[track_caller]
fn word(world: &World, now: i64, expected: ConfigWord) {
    let got = world.assessed("node", now).verdict.config;
    assert_eq!(got.word(), expected, "at {now}: {got:?}");
}

#[track_caller]
fn overlay(world: &World, now: i64, overlay: Overlay, expected: bool) {
    let got = world.assessed("node", now).verdict;
    assert_eq!(got.overlays.has(overlay), expected, "{overlay:?} at {now}: {got:?}");
}

#[test]
fn silence_is_late_then_disconnected_then_gone() {
    use ConnectionWord::{Connected, Disconnected, Late};
    let world = one_report();
    connection(&world, 0, Connected);
    connection(&world, 45_000, Connected);
    connection(&world, 45_001, Late);
    connection(&world, 90_000, Late);
    connection(&world, 90_001, Disconnected);
    connection(&world, DAY, Disconnected);
    connection(&world, DAY + 1, ConnectionWord::Gone);
    gone(&world, DAY + 1, Some(Gone::Silent));
}

#[test]
fn silence_goes_by_the_pace_of_the_source() {
    let mut world = World::new();
    world.tell(Source::AdminApi, What::Listening(Listening::Began { interval_ms: 60_000 }));
    world.report(Source::AdminApi, Report::of(node_id("node"), config("a")));
    connection(&world, 90_000, ConnectionWord::Connected);
    connection(&world, 90_001, ConnectionWord::Late);
    connection(&world, 180_000, ConnectionWord::Late);
    connection(&world, 180_001, ConnectionWord::Disconnected);
}

#[test]
fn a_seen_close_is_late_at_once_and_disconnected_after_half_a_minute() {
    use ConnectionWord::{Connected, Disconnected, Late};
    let mut world = one_report();
    world.now = 10_000;
    connection(&world, 10_000, Connected);
    world.closes("node");
    connection(&world, 10_000, Late);
    connection(&world, 40_000, Late);
    connection(&world, 40_001, Disconnected);
    // It is back: by a new connection, or by a report.
    let mut opened = world.clone();
    opened.now = 20_000;
    opened.link("node", ConnectionEvent::Opened);
    connection(&opened, 40_001, Connected);
    connection(&opened, 45_001, Late);
    let mut reported = world.clone();
    reported.now = 20_000;
    reported.ping("node", "a");
    connection(&reported, 40_001, Connected);
}

#[test]
fn a_hello_without_a_report_is_never_seen_after_two_intervals() {
    let mut world = World::listening();
    world.link("node", ConnectionEvent::Opened);
    connection(&world, 60_000, ConnectionWord::Connected);
    connection(&world, 60_001, ConnectionWord::NeverSeen);
    connection(&world, DAY + 1, ConnectionWord::Gone);
    is(&world, 60_001, ConfigState::Unknown { missing: Missing::Report });
    // While nobody listens, silence is ours.
    let mut blind = world.clone();
    blind.tell(Source::Push, What::Listening(Listening::Stopped(line("dns"))));
    connection(&blind, 60_001, ConnectionWord::NeverSeen);
    blind.tell(Source::Tap, What::Listening(Listening::Stopped(line("dns"))));
    connection(&blind, 60_001, ConnectionWord::Unobserved);
}

#[test]
fn who_leaves_the_counts_and_comes_back() {
    // Retired.
    let mut world = one_report();
    world.now = 10_000;
    world.retires("node");
    gone(&world, 10_000, Some(Gone::Retired));
    world.now = 11_000;
    world.ping("node", "a");
    gone(&world, 11_000, None);

    // Comes and goes by design.
    let mut world = one_report();
    world.policy.ephemeral_label = Some(("kind".into(), "spot".into()));
    let labels = |kind: &str| Labels::new([("kind".to_owned(), kind.to_owned())]).ok();
    let report = |kind| {
        let attributes = Attributes { labels: labels(kind), ..Attributes::default() };
        Report { attributes, ..Report::of(node_id("node"), config("a")) }
    };
    world.now = 1;
    world.report(Source::Push, report("spot"));
    gone(&world, 1 + 10 * MINUTE, None);
    gone(&world, 2 + 10 * MINUTE, Some(Gone::Ephemeral));
    world.now = 2;
    world.report(Source::Push, report("reserved"));
    gone(&world, DAY, None);

    // Replaced, by hostname or, where that is not known, by address.
    for attributes in [
        Attributes { hostname: Some(line("gw-1")), ..Attributes::default() },
        Attributes { ip: Some(line("10.0.0.1")), ..Attributes::default() },
    ] {
        let report = |id: &str| Report { attributes: attributes.clone(), ..Report::of(node_id(id), config("a")) };
        let mut world = World::listening();
        world.report(Source::Push, report("node"));
        // What comes within the first interval of listening was there before, and is only new to us.
        let mut first_look = world.clone();
        first_look.now = 30_000;
        first_look.report(Source::Push, report("heir"));
        gone(&first_look, 90_001, None);
        world.now = 30_001;
        world.report(Source::Push, report("heir"));
        gone(&world, 90_000, None);
        gone(&world, 90_001, Some(Gone::Replaced));
        world.now = 100_000;
        world.report(Source::Push, report("node"));
        gone(&world, 200_000, None);
    }

    // A proxy's address names no machine, nor does one address under two hostnames.
    let mut world = World::listening();
    let report = |id: &str, hostname: &str| {
        let (hostname, ip) = (Some(line(hostname)), Some(line("10.0.0.1")));
        Report { attributes: Attributes { hostname, ip, ..Attributes::default() }, ..Report::silent(node_id(id)) }
    };
    world.report(Source::Push, report("node", "gw-1"));
    world.now = 20_000;
    world.report(Source::Push, report("other", "gw-2"));
    gone(&world, 90_001, None);
}

#[test]
fn a_blind_source_proves_nothing() {
    use ConnectionWord::{Connected, Disconnected, Late, Unobserved};
    // It stops at 20 s and begins again at 120 s: an interval of grace, and 100 s do not count as silence.
    let mut world = one_report();
    world.now = 20_000;
    world.tell(Source::Push, What::Listening(Listening::Stopped(line("no route"))));
    connection(&world, 20_000, Unobserved);
    connection(&world, 119_999, Unobserved);
    world.now = 120_000;
    world.tell(Source::Push, What::Listening(Listening::Began { interval_ms: 30_000 }));
    connection(&world, 150_000, Unobserved);
    connection(&world, 150_001, Late);
    connection(&world, 190_000, Late);
    connection(&world, 190_001, Disconnected);
    world.now = 130_000;
    world.ping("node", "a");
    connection(&world, 130_000, Connected);
    connection(&world, 175_001, Late);

    // After a crash of ours nobody said that we stopped: deaf since the last fact.
    let mut world = one_report();
    world.now = 10 * MINUTE;
    world.tell(Source::Push, What::Listening(Listening::Began { interval_ms: 30_000 }));
    connection(&world, 10 * MINUTE + 30_000, Unobserved);
    connection(&world, 10 * MINUTE + 30_001, Connected);
    connection(&world, 10 * MINUTE + 45_001, Late);

    // What was told late of a moment after that is still what was seen last; a word after it changes nothing of it.
    let mut world = one_report();
    world.now = 10 * MINUTE;
    let mut late = world.fact(Source::Push, What::Report(Box::new(Report::of(node_id("node"), config("b")))));
    late.at = t(40_000);
    world.tell(Source::Push, What::Listening(Listening::Began { interval_ms: 30_000 }));
    world.observe(late);
    world.expected("a");
    connection(&world, 10 * MINUTE + SECOND, Unobserved);
    let frozen = world.assessed("node", 10 * MINUTE + SECOND).verdict.config;
    assert_ne!(frozen.word(), ConfigWord::Unrecognized, "{frozen:?}");

    // Another source that listens decides as long as it hears the node, and proves silence where it does not.
    let mut world = one_report();
    world.report(Source::Tap, Report::of(node_id("node"), config("a")));
    world.now = 1;
    world.tell(Source::Tap, What::Listening(Listening::Stopped(line("crashed"))));
    connection(&world, 45_000, Connected);
    assert_eq!(world.assessed("node", 45_000).source, Some(Source::Push));
}

#[test]
fn a_lower_source_decides_only_while_the_better_ones_are_late() {
    #[track_caller]
    fn decides(world: &World, now: i64, expected: Source, running: u32) {
        let got = world.assessed("node", now);
        assert_eq!((got.source, got.verdict.config.running()), (Some(expected), Some(v(running))), "at {now}");
    }
    let mut world = World::new();
    world.announce(announced("r1", &["a"]));
    world.announce(announced("r2", &["b"]));
    world.report(Source::Tap, Report::of(node_id("node"), config("a")));
    for moment in 1..20 {
        world.now = moment * 10_000;
        world.report(Source::AdminApi, Report::of(node_id("node"), config("b")));
    }
    decides(&world, 45_000, Source::Tap, 1);
    decides(&world, 45_001, Source::AdminApi, 2);
    // Both late: the one heard last.
    decides(&world, 10 * MINUTE, Source::AdminApi, 2);
    // The rank: tap, shadow, status, push, Admin API, Konnect; access logs tell of no configuration.
    let ranked = [Source::Tap, Source::Status, Source::Push, Source::AdminApi, Source::Konnect];
    assert!(ranked.windows(2).all(|pair| pair[0].rank() < pair[1].rank()));
}

#[test]
fn a_push_may_take_a_minute_or_what_the_control_plane_says() {
    #[track_caller]
    fn check(own: Option<u32>, edge: i64) {
        let mut world = one_report();
        if let Some(ms) = own {
            let declaration = Declaration { propagation_ms: Some(ms), ..Declaration::default() };
            world.tell(Source::Push, What::Declared(Box::new(declaration)));
        }
        world.now = 10_000;
        world.announce(announced("r2", &["b"]));
        world.now = 11_000;
        world.ping("node", "a");
        let (running, since) = (v(1), t(10_000));
        is(&world, 10_000 + edge, ConfigState::Propagating { running: Some(running), behind: 1, since });
        let cause = BehindCause::NotReached;
        is(&world, 10_001 + edge, ConfigState::Behind { running, behind: 1, since, cause });
    }
    check(None, 60_000);
    check(Some(5_000), 5_000);
    check(Some(600_000), 600_000);
}

#[test]
fn why_a_node_is_behind() {
    #[track_caller]
    fn check(world: &World, expected: BehindCause) {
        let got = world.assessed("node", world.now + HOUR).verdict.config;
        assert!(matches!(got, ConfigState::Behind { cause, .. } if cause == expected), "{got:?}");
    }
    let mut away = one_report();
    away.now = 10_000;
    away.announce(announced("r2", &["b"]));
    check(&away, BehindCause::Away);
    let mut connected = away.clone();
    connected.now = 20_000;
    connected.ping("node", "a");
    check(&connected, BehindCause::NotReached);
    connected.ping("other", "b");
    let mut reverted = one_report();
    reverted.announce(announced("r2", &["b"]));
    reverted.now = 1;
    reverted.ping("node", "b");
    reverted.now = MINUTE;
    reverted.expected("b");
    reverted.now = 2 * MINUTE;
    reverted.expected("a");
    check(&reverted, BehindCause::Reverted);
}

#[test]
fn how_a_node_is_current() {
    #[track_caller]
    fn check(world: &World, expected: CurrentBy) {
        let got = world.state("node");
        assert!(matches!(got, ConfigState::Current { how, .. } if how == expected), "{got:?}");
    }
    check(&one_report(), CurrentBy::Version);

    let mut alias = World::listening();
    alias.announce(announced("r1", &["a"]));
    alias.ping("node", "a");
    alias.now = 10_000;
    alias.expected_of("b", "r1");
    check(&alias, CurrentBy::Alias);
    // The version's own token is the version, whatever hash is expected beside it.
    alias.now = 20_000;
    alias.report(Source::Push, Report::of(node_id("node"), told::token("r1").into()));
    check(&alias, CurrentBy::Version);

    let mut no_op = World::listening();
    for number in [1, 2] {
        no_op.notify(number);
        no_op.frame_with(&v2(), &format!("t{number}"), tidemark_domain::fact::Content::Digest(told::digest("x")));
    }
    no_op.ping("node", "t1");
    check(&no_op, CurrentBy::NoOp);

    let mut revert = one_report();
    revert.now = MINUTE;
    revert.announce(announced("r2", &["b"]));
    revert.expected("b");
    revert.now = 2 * MINUTE;
    revert.expected("a");
    check(&revert, CurrentBy::Revert);
    assert_eq!(revert.head(), Some(3));

    let mut empty = World::listening();
    empty.expected("zeros");
    empty.ping("node", "zeros");
    check(&empty, CurrentBy::Empty);
}

#[test]
fn zeros_have_three_outcomes() {
    #[track_caller]
    fn check(status: Option<SyncStatus>, ready: Option<bool>, configured_before: bool, expected: ConfigState) {
        let mut world = World::listening();
        world.expected("a");
        if configured_before {
            world.ping("node", "a");
        }
        world.now = 10_000;
        world.report(Source::Push, Report { status, ready, ..Report::of(node_id("node"), config("zeros")) });
        is(&world, 20_000, expected);
    }
    let unknown = ConfigState::Unknown { missing: Missing::ProofOfEmptiness };
    let empty = |proof| ConfigState::Empty { since: t(10_000), proof };
    check(None, None, false, unknown);
    check(Some(SyncStatus::Normal), None, false, empty(EmptyProof::NeverConfigured));
    check(Some(SyncStatus::Normal), None, true, unknown);
    check(Some(SyncStatus::Normal), Some(false), true, empty(EmptyProof::NotReady));
    check(None, Some(false), true, empty(EmptyProof::NotReady));
    check(None, Some(true), true, unknown);
    let reason = WithheldReason::PluginSet;
    check(Some(withheld()), None, false, ConfigState::Incompatible { reason, since: t(10_000), running: None });
    // It was current while the head was empty, and is not since there is something.
    let mut world = World::listening();
    world.expected("zeros");
    let report = Report { status: Some(SyncStatus::Normal), ..Report::of(node_id("node"), config("zeros")) };
    world.report(Source::Push, report);
    word(&world, 0, ConfigWord::Current);
    world.now = 10_000;
    world.announce(announced("r2", &["a"]));
    is(&world, 10_000, empty(EmptyProof::NeverConfigured));
    // The head is empty.
    let mut world = World::listening();
    world.expected("zeros");
    world.report(Source::Push, Report { ready: Some(false), ..Report::of(node_id("node"), config("zeros")) });
    word(&world, 0, ConfigWord::Current);
}

#[test]
fn withheld_is_incompatible_unless_at_the_head() {
    let status = |status| Report { status: Some(status), ..Report::of(node_id("node"), config("a")) };
    let mut world = one_report();
    world.now = 10_000;
    world.report(Source::Push, status(withheld()));
    word(&world, 10_000, ConfigWord::Current);
    world.announce(announced("r2", &["b"]));
    let reason = WithheldReason::PluginSet;
    is(&world, 10_000, ConfigState::Incompatible { reason, since: t(10_000), running: Some(v(1)) });
    // The newest status counts.
    world.now = 20_000;
    world.report(Source::Push, status(SyncStatus::Normal));
    word(&world, 20_000, ConfigWord::Propagating);
}

#[test]
fn a_refusal_stands_until_something_is_applied() {
    let refuses = |world: &mut World, failure: ApplyFailure| {
        world.now = 20_000;
        world.report(Source::Push, Report { failure: Some(failure), ..Report::of(node_id("node"), config("a")) });
    };
    let offered = || {
        let mut world = one_report();
        world.now = 10_000;
        world.announce(announced("r2", &["b"]));
        world
    };
    for refused in [Some("b"), None] {
        let mut world = offered();
        refuses(&mut world, refusal(refused));
        is(&world, HOUR, ConfigState::Rejected { since: t(20_000), running: Some(v(1)), refused: Some(v(2)) });
        // It goes on, and says so.
        world.now = 50_000;
        world.ping("node", "a");
        word(&world, HOUR, ConfigWord::Rejected);
        // Applied after all.
        let mut applied = world.clone();
        applied.ping("node", "b");
        word(&applied, HOUR, ConfigWord::Current);
        // A newer one is offered: that one was not refused.
        let mut newer = world.clone();
        newer.announce(announced("r3", &["c"]));
        word(&newer, 50_000, ConfigWord::Propagating);
        // The control plane went back to what it runs.
        let mut back = world.clone();
        back.announce(announced("r3", &["a"]));
        word(&back, HOUR, ConfigWord::Current);
    }
    // Zeros after a refusal are the refusal.
    let mut world = World::listening();
    world.expected("a");
    let report = Report { failure: Some(refusal(Some("a"))), ..Report::of(node_id("node"), config("zeros")) };
    world.report(Source::Push, Report { status: Some(SyncStatus::Normal), ..report });
    is(&world, 0, ConfigState::Rejected { since: t(0), running: None, refused: Some(v(1)) });
    // What it refused is in no ledger.
    let mut world = offered();
    refuses(&mut world, refusal(Some("x")));
    is(&world, HOUR, ConfigState::Rejected { since: t(20_000), running: Some(v(1)), refused: None });
}

#[test]
fn above_the_head_by_a_word_that_is_newer_than_the_report() {
    let mut world = World::listening();
    world.notify(1);
    world.notify(2);
    world.now = 10_000;
    world.notify(1);
    world.now = 20_000;
    world.ping("node", "t2");
    // The word is older than the report.
    is(&world, 20_000, ConfigState::Propagating { running: Some(v(2)), behind: 0, since: t(20_000) });
    world.tell(Source::AdminApi, What::Read);
    word(&world, 20_000, ConfigWord::Propagating);
    world.now = 20_001;
    world.tell(Source::AdminApi, What::Read);
    is(&world, 20_001, ConfigState::Ahead { running: v(2), since: t(20_000) });
    // Later words that say the same do not begin it anew.
    world.now = 30_000;
    world.notify(1);
    is(&world, 30_000, ConfigState::Ahead { running: v(2), since: t(20_000) });
    assert_eq!(world.tally().counter(Counter::Behind), 1);
}

#[test]
fn what_is_not_in_the_ledger_waits_for_the_word_for_ninety_seconds() {
    let mut from_current = one_report();
    from_current.now = 10_000;
    from_current.ping("node", "x");
    let waiting = ConfigState::Propagating { running: None, behind: 0, since: t(10_000) };
    is(&from_current, 10_000, waiting);
    is(&from_current, 100_000, waiting);
    is(&from_current, 100_001, ConfigState::Unknown { missing: Missing::Word });
    // Read in the same moment is not after.
    from_current.tell(Source::AdminApi, What::Read);
    is(&from_current, 20_000, waiting);
    from_current.now = 10_001;
    from_current.tell(Source::AdminApi, What::Read);
    let cause = UnrecognizedCause::Unknown;
    is(&from_current, 10_001, ConfigState::Unrecognized { since: t(10_000), cause });

    // Not from a node that was connected and current: no version may be on its way to it.
    let mut returning = one_report();
    returning.now = 46_000;
    returning.ping("node", "x");
    is(&returning, 46_000, ConfigState::Unknown { missing: Missing::Word });
    returning.now = 46_001;
    returning.expected("a");
    is(&returning, 46_001, ConfigState::Unrecognized { since: t(46_000), cause });
    // The last moment of being connected.
    let mut in_time = one_report();
    in_time.now = 45_000;
    in_time.ping("node", "x");
    is(&in_time, 45_000, ConfigState::Propagating { running: None, behind: 0, since: t(45_000) });
}

#[test]
fn its_own_configuration_if_it_started_while_the_control_plane_was_away() {
    #[track_caller]
    fn check(down_at: Option<i64>, up_at: Option<i64>, expected: UnrecognizedCause) {
        let mut world = World::listening();
        world.expected("a");
        if let Some(down_at) = down_at {
            world.now = down_at;
            world.tell(Source::Tap, What::ControlPlaneDown);
        }
        if let Some(up_at) = up_at {
            world.now = up_at;
            world.expected("a");
        }
        world.now = 60_000;
        world.ping("node", "x");
        world.now = 70_000;
        world.expected("a");
        assert_eq!(world.lost_cause("node"), Some(expected));
    }
    check(None, None, UnrecognizedCause::Unknown);
    check(Some(10_000), None, UnrecognizedCause::OwnOrFallback);
    check(Some(10_000), Some(59_999), UnrecognizedCause::Unknown);
    // At the same moment it may have been either: it was away just before.
    check(Some(10_000), Some(60_000), UnrecognizedCause::OwnOrFallback);
}

#[test]
fn what_is_not_proven() {
    let unproven = |why, since| ConfigState::UnprovenAlias { running: v(1), since: t(since), why };
    // The expected hash moved.
    let mut world = one_report();
    world.now = 10_000;
    world.expected("b");
    is(&world, 10_000, unproven(Unproven::MovedWithoutChange, 10_000));
    world.ping("new", "b");
    assert_eq!(world.state_of("new"), ConfigWord::Current);

    // A frame differs in template fields only.
    let mut world = World::listening();
    world.frame(&v1(), "a");
    world.runs_in("node", &v1(), "a");
    world.now = 10_000;
    world.frame_with(&v1(), "b", World::template("b"));
    is(&world, 10_000, unproven(Unproven::TemplateFields, 10_000));
    // Another cohort is not concerned.
    world.runs_in("other", &told::cohort(tidemark_domain::fact::Protocol::V1, "3.4.2"), "a");
    assert_eq!(world.state_of("other"), ConfigWord::Current);

    // Two replicas render one version differently.
    let mut world = World::listening();
    world.replica_word("cp-0", Source::Shadow, v1(), World::framed("a", tidemark_domain::fact::Content::Unknown));
    world.now = 10_000;
    world.replica_word("cp-1", Source::Shadow, v1(), World::framed("b", tidemark_domain::fact::Content::Unknown));
    world.runs_in("node", &v1(), "b");
    world.runs_in("other", &v1(), "a");
    is(&world, 10_000, unproven(Unproven::ReplicasDiffer, 10_000));
    assert_eq!(world.state_of("other"), ConfigWord::Current);
}

/// A node that a tap saw connected, and whose Status API is asked.
fn tapped() -> World {
    let mut world = World::new();
    world.link("node", ConnectionEvent::Opened);
    world.report(Source::Tap, Report::of(node_id("node"), config("a")));
    world.now = 20_000;
    world
}

/// What the Status API of a node says: whether it is ready, and with what.
fn status(world: &mut World, ready: bool, running: Option<&str>, gateway: &str) {
    let attributes = Attributes { gateway_version: gateway.parse().ok(), ..Attributes::default() };
    let running = running.map(config);
    let report = Report { ready: Some(ready), running, attributes, ..Report::silent(node_id("node")) };
    world.report(Source::Status, report);
}

fn restart_unsafe() {
    // Its connection ended; or the control plane is away, and it is heard from elsewhere, or not any more.
    let mut ended = tapped();
    overlay(&ended, 20_000, Overlay::RestartUnsafe, false);
    ended.closes("node");
    overlay(&ended, 20_000, Overlay::RestartUnsafe, true);
    ended.now = 30_000;
    ended.link("node", ConnectionEvent::Opened);
    overlay(&ended, 30_000, Overlay::RestartUnsafe, false);
    let mut down = tapped();
    down.tell(Source::AdminApi, What::ControlPlaneDown);
    overlay(&down, 20_000, Overlay::RestartUnsafe, false);
    overlay(&down, 90_000, Overlay::RestartUnsafe, false);
    overlay(&down, 90_001, Overlay::RestartUnsafe, true);
    let mut heard = one_report();
    overlay(&heard, 0, Overlay::RestartUnsafe, false);
    heard.tell(Source::AdminApi, What::ControlPlaneDown);
    overlay(&heard, 0, Overlay::RestartUnsafe, true);
    heard.now = 10_000;
    heard.expected("a");
    overlay(&heard, 10_000, Overlay::RestartUnsafe, false);
    // That we do not hear it says nothing; that its license has ended does. Who serves nothing has nothing to lose.
    overlay(&one_report(), 90_001, Overlay::RestartUnsafe, false);
    let mut licensed = World::listening();
    let attributes = Attributes { license_expires_at: Some(t(HOUR)), ..Attributes::default() };
    licensed.report(Source::Push, Report { attributes, ..Report::of(node_id("node"), config("a")) });
    overlay(&licensed, HOUR, Overlay::RestartUnsafe, false);
    overlay(&licensed, HOUR + 1, Overlay::RestartUnsafe, true);
    let mut empty = World::listening();
    empty.ping("node", "zeros");
    empty.tell(Source::AdminApi, What::ControlPlaneDown);
    overlay(&empty, 0, Overlay::RestartUnsafe, false);

    // It started from its own disk while it was cut off, by the software that it runs now.
    #[track_caller]
    fn starts(story: impl Fn(&mut World), expected: bool) {
        let mut world = tapped();
        status(&mut world, true, Some("a"), "3.9.1");
        world.closes("node");
        world.now = 40_000;
        story(&mut world);
        overlay(&world, world.now, Overlay::RestartUnsafe, expected);
    }
    let ready_again = |running: Option<&'static str>, gateway: &'static str| {
        move |world: &mut World| {
            status(world, false, running, gateway);
            world.now += 10_000;
            status(world, true, running, gateway);
        }
    };
    starts(|_| {}, true);
    starts(ready_again(Some("a"), "3.9.1"), false);
    starts(ready_again(None, "3.9.1"), false);
    starts(|world| status(world, false, Some("a"), "3.9.1"), true);
    starts(|world| status(world, true, Some("a"), "3.9.1"), true);
    // It was not ready before it was cut off: what it is ready with may have come over the connection.
    let mut before = tapped();
    status(&mut before, false, Some("a"), "3.9.1");
    before.closes("node");
    before.now = 40_000;
    status(&mut before, true, Some("a"), "3.9.1");
    overlay(&before, 40_000, Overlay::RestartUnsafe, true);
    // Another gateway version since.
    starts(
        |world| {
            ready_again(Some("a"), "3.9.1")(world);
            world.now += 10_000;
            status(world, true, Some("a"), "3.10.0");
        },
        true,
    );
}

#[test]
fn overlays_have_two_sides() {
    // Serving from its cache.
    let world = one_report();
    overlay(&world, 90_000, Overlay::Cached, false);
    overlay(&world, 90_001, Overlay::Cached, true);
    let mut zeros = World::listening();
    zeros.ping("node", "zeros");
    overlay(&zeros, 90_001, Overlay::Cached, false);

    // Cut off, and not known to find its configuration after a restart.
    restart_unsafe();

    // Its clock.
    for (skew_ms, expected) in [(5_000, false), (5_001, true), (-5_000, false), (-5_001, true)] {
        let mut world = one_report();
        world.now = 10_000;
        let report = Report::of(node_id("node"), config("a"));
        world.report(Source::Push, Report { node_clock: Some(t(10_000 + skew_ms)), ..report });
        overlay(&world, 10_000, Overlay::ClockSkew, expected);
    }

    // What ends soon.
    let ends = |attributes: Attributes| {
        let mut world = World::listening();
        world.report(Source::Push, Report { attributes, ..Report::of(node_id("node"), config("a")) });
        world
    };
    let certificate = ends(Attributes { certificate_expires_at: Some(t(40 * DAY)), ..Attributes::default() });
    overlay(&certificate, 10 * DAY, Overlay::CertExpiring, false);
    overlay(&certificate, 10 * DAY + 1, Overlay::CertExpiring, true);
    let license = ends(Attributes { license_expires_at: Some(t(30 * DAY + HOUR)), ..Attributes::default() });
    overlay(&license, HOUR, Overlay::LicenseExpiring, false);
    overlay(&license, HOUR + 1, Overlay::LicenseExpiring, true);
    overlay(
        &ends(Attributes { sync_mode: Some(SyncMode::FellBack), ..Attributes::default() }),
        0,
        Overlay::FellBackToFullSync,
        true,
    );
    overlay(
        &ends(Attributes { sync_mode: Some(SyncMode::Delta), ..Attributes::default() }),
        0,
        Overlay::FellBackToFullSync,
        false,
    );

    // Comes and goes: six openings within an hour.
    let mut flapping = one_report();
    for opening in 0..6 {
        overlay(&flapping, flapping.now, Overlay::Flapping, false);
        flapping.now = opening * MINUTE;
        flapping.link("node", ConnectionEvent::Opened);
    }
    overlay(&flapping, HOUR, Overlay::Flapping, true);
    overlay(&flapping, HOUR + 1, Overlay::Flapping, false);

    // Traffic without heartbeats.
    let mut serving = one_report();
    serving.now = 40_000;
    serving.report(Source::AccessLog, Report::silent(node_id("node")));
    overlay(&serving, 45_000, Overlay::ServingWhileSilent, false);
    overlay(&serving, 45_001, Overlay::ServingWhileSilent, true);
    overlay(&serving, 85_000, Overlay::ServingWhileSilent, true);
    overlay(&serving, 85_001, Overlay::ServingWhileSilent, false);
    assert_eq!(serving.assessed("node", 45_001).source, Some(Source::Push));

    // Two sources, two versions, for longer than 90 s.
    let mut disagree = World::listening();
    disagree.announce(announced("r1", &["a"]));
    disagree.announce(announced("r2", &["b"]));
    for moment in 0..10 {
        disagree.now = moment * 20_000;
        disagree.ping("node", "a");
        disagree.report(Source::Tap, Report::of(node_id("node"), config(if moment < 2 { "a" } else { "b" })));
    }
    overlay(&disagree, 40_000 + 90_000, Overlay::SourcesDisagree, false);
    overlay(&disagree, 40_000 + 90_001, Overlay::SourcesDisagree, true);
    // One of them falls silent.
    overlay(&disagree, 180_000 + 45_001, Overlay::SourcesDisagree, false);
}

#[test]
fn two_machines_under_one_id_are_one_node_with_the_worst_verdict() {
    let mut world = World::listening();
    world.announce(announced("r1", &["a"]));
    world.announce(announced("r2", &["b"]));
    let says = |world: &mut World, machine: &str, name: &str| {
        let (hostname, ip) = (Some(line(machine)), Some(line(machine)));
        let attributes = Attributes { hostname, ip, ..Attributes::default() };
        world.report(Source::Push, Report { attributes, ..Report::of(node_id("node"), config(name)) });
    };
    world.now = 5 * MINUTE;
    says(&mut world, "m1", "b");
    overlay(&world, world.now, Overlay::DuplicateId, false);
    world.now += 15 * SECOND;
    says(&mut world, "m2", "a");
    // It may have moved.
    overlay(&world, world.now, Overlay::DuplicateId, false);
    world.now += 15 * SECOND;
    says(&mut world, "m1", "b");
    overlay(&world, world.now, Overlay::DuplicateId, true);
    let node = world.control_plane().node(&node_id("node")).expect("a node").clone();
    assert_eq!(node.twins.len(), 1);
    assert_eq!(node.twins[0].run.as_ref().map(|run| run.config.clone()), Some(config("a")));
    // m1 reported last and is current; m2 is behind.
    word(&world, world.now, ConfigWord::Behind);
    assert_eq!(world.tally().nodes(), 1);
    let twin_at = world.now - 15 * SECOND;
    world.until(twin_at + 10 * MINUTE);
    overlay(&world, world.now, Overlay::DuplicateId, true);
    overlay(&world, world.now + 1, Overlay::DuplicateId, false);
    word(&world, world.now + 1, ConfigWord::Current);
}

#[test]
fn a_disconnected_node_is_judged_by_its_last_report() {
    let mut world = one_report();
    world.now = 10 * MINUTE;
    world.announce(announced("r2", &["b"]));
    let (running, since, cause) = (v(1), t(10 * MINUTE), BehindCause::Away);
    is(&world, HOUR, ConfigState::Behind { running, behind: 1, since, cause });
    assert_eq!(world.assessed("node", HOUR).verdict.counter(), Some(Counter::NotHeard));
}
