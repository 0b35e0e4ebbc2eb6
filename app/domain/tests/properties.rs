//! What holds for all facts, in any order, from small pools of names so that they collide.

mod told;

use proptest::prelude::*;
use std::collections::BTreeMap;
use tidemark_domain::fact::{
    Announcement, Attributes, Connection, ConnectionEvent, Content, Declaration, Fact, Listening, Protocol, Report,
    Retirement, Said, Scope, Source, SyncStatus, What, Word,
};
use tidemark_domain::fleet::{Fleet, Tally, notices};
use tidemark_domain::id::Labels;
use tidemark_domain::policy::Policy;
use tidemark_domain::time::{DAY, HOUR, MINUTE, SECOND, Timestamp};
use tidemark_domain::verdict::{ConfigState, ConfigWord, ConnectionWord, Counter, Missing, Verdict};
use told::{World, cohort, config, digest, hash, line, node_id, ordered, refusal, t, token, withheld};

const CONFIGS: [&str; 8] = ["a", "b", "c", "d", "zeros", "t1", "t2", "t3"];
const NODES: [&str; 4] = ["n1", "n2", "n3", "n4"];

fn policy() -> Policy {
    Policy { ephemeral_label: Some(("kind".into(), "spot".into())), ..Policy::default() }
}

fn name() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(&CONFIGS[..])
}

fn source() -> impl Strategy<Value = Source> {
    proptest::sample::select(&Source::ALL[..])
}

fn scope() -> impl Strategy<Value = Scope> {
    prop_oneof![
        Just(Scope::ANY),
        Just(cohort(Protocol::V1, "3.9.1")),
        Just(cohort(Protocol::V2, "3.10.0.2")),
        Just(Scope { protocol: Some(Protocol::V1), gateway: None }),
    ]
}

fn attributes() -> impl Strategy<Value = Attributes> {
    let host = proptest::option::of(proptest::sample::select(&["gw-1", "gw-2", "n1"][..]));
    let ip = proptest::option::of(proptest::sample::select(&["10.0.0.1", "10.0.0.2"][..]));
    (host, ip, scope(), any::<bool>(), proptest::option::of(0..60_i64)).prop_map(|(host, ip, scope, spot, ends)| {
        Attributes {
            hostname: host.map(line),
            ip: ip.map(line),
            protocol: scope.protocol,
            gateway_version: scope.gateway,
            labels: spot.then(|| Labels::new([("kind".into(), "spot".into())]).expect("a label")),
            certificate_expires_at: ends.map(|days| t(days * DAY)),
            ..Attributes::default()
        }
    })
}

fn report() -> impl Strategy<Value = Report> {
    let status = proptest::option::of(prop_oneof![Just(SyncStatus::Normal), Just(withheld())]);
    let failure = proptest::option::weighted(0.2, proptest::option::of(name()).prop_map(refusal));
    let node = proptest::sample::select(&NODES[..]);
    let rest = (status, failure, proptest::option::of(any::<bool>()), any::<bool>());
    (node, proptest::option::weighted(0.9, name()), attributes(), rest).prop_map(
        |(node, running, attributes, (status, failure, ready, continues))| Report {
            running: running.map(config),
            attributes,
            status,
            failure,
            ready,
            continues,
            ..Report::silent(node_id(node))
        },
    )
}

fn content() -> impl Strategy<Value = Content> {
    let digests = proptest::sample::select(&["x", "y", "z"][..]).prop_map(digest);
    let template = digests.clone().prop_map(|digest| Content::Template { digest, paths: vec![line("routes.new")] });
    prop_oneof![Just(Content::Unknown), digests.prop_map(Content::Digest), template]
}

fn announcement() -> impl Strategy<Value = Announcement> {
    let text = |all: &'static [&'static str]| proptest::option::of(proptest::sample::select(all));
    let tokens = text(&["r1", "r2", "r3", "0001", "0002"]);
    let hashes = proptest::collection::vec((scope(), name()), 0..3);
    (tokens, text(&["k1", "k2"]), hashes, text(&["burst"]), text(&["x", "y"])).prop_map(
        |(version, key, hashes, changeset, content)| Announcement {
            token: version.map(token),
            key: key.map(line),
            hashes: hashes.into_iter().map(|(scope, name)| (scope, hash(name))).collect(),
            changeset: changeset.map(line),
            digest: content.map(digest),
            ..Announcement::default()
        },
    )
}

fn said() -> impl Strategy<Value = Said> {
    let known = proptest::option::of(proptest::sample::select(&["r1", "r2", "0001"][..]));
    prop_oneof![
        announcement().prop_map(Said::Announced),
        (name(), content()).prop_map(|(name, content)| World::framed(name, content)),
        (name(), known).prop_map(|(name, of)| Said::Expected { config: config(name), token: of.map(token) }),
        Just(Said::Expected { config: token("r2").into(), token: None }),
        (1..4_u64).prop_map(|number| Said::Notified(ordered(number))),
        name().prop_map(|name| Said::Inferred(config(name))),
        name().prop_map(|name| Said::Same { hash: hash(name), who: line("ann") }),
    ]
}

fn word() -> impl Strategy<Value = What> {
    let replica = proptest::option::of(proptest::sample::select(&["cp-0", "cp-1"][..]));
    (replica, scope(), said())
        .prop_map(|(replica, scope, said)| What::Word(Box::new(Word { replica: replica.map(line), scope, said })))
}

fn connection() -> impl Strategy<Value = What> {
    let event = prop_oneof![
        Just(ConnectionEvent::Opened),
        Just(ConnectionEvent::Closed(line("reset"))),
        Just(ConnectionEvent::Refused(line("no certificate"))),
        Just(ConnectionEvent::Unreachable),
    ];
    let node = proptest::option::weighted(0.9, proptest::sample::select(&NODES[..]));
    (node, event, attributes()).prop_map(|(node, event, attributes)| {
        What::Connection(Connection { node: node.map(node_id), event, attributes })
    })
}

fn what() -> impl Strategy<Value = What> {
    let declared = (proptest::option::of(0..300_000_u32), any::<bool>()).prop_map(|(propagation_ms, change_feed)| {
        What::Declared(Box::new(Declaration { propagation_ms, change_feed, ..Declaration::default() }))
    });
    let retired = proptest::sample::select(&NODES[..])
        .prop_map(|node| What::Retired(Retirement { node: node_id(node), by: line("ann"), reason: None }));
    prop_oneof![
        12 => report().prop_map(|report| What::Report(Box::new(report))),
        6 => word(),
        3 => connection(),
        1 => Just(What::Read),
        1 => (1..90_000_u32).prop_map(|interval_ms| What::Listening(Listening::Began { interval_ms })),
        1 => Just(What::Listening(Listening::Stopped(line("dns")))),
        1 => Just(What::ControlPlaneDown),
        1 => declared,
        1 => retired,
    ]
}

/// Steps of time as they come: mostly short, sometimes none, now and then back.
fn step() -> impl Strategy<Value = i64> {
    prop_oneof![
        3 => Just(0),
        8 => 1..40 * SECOND,
        3 => 40 * SECOND..5 * MINUTE,
        1 => 5 * MINUTE..2 * HOUR,
        1 => -(60 * SECOND)..0,
    ]
}

fn facts(count: usize) -> impl Strategy<Value = Vec<Fact>> {
    proptest::collection::vec((step(), source(), what()), 1..count).prop_map(|steps| {
        let mut at = 0;
        let fact = |(step, source, what): (i64, Source, What)| {
            at += step;
            Fact { at: t(at), recorded_at: t(at), control_plane: World::cp(), source, what }
        };
        steps.into_iter().map(fact).collect()
    })
}

fn after(facts: &[Fact]) -> Timestamp {
    facts.iter().map(|fact| fact.at).max().unwrap_or_default()
}

fn live(facts: &[Fact]) -> (Fleet, Vec<Fact>) {
    let (mut fleet, mut stored) = (Fleet::default(), Vec::new());
    for fact in facts {
        stored.extend(fleet.observe_live(fact, &policy()).0);
        stored.push(fact.clone());
    }
    (fleet, stored)
}

fn told_again<'a>(facts: impl IntoIterator<Item = &'a Fact>) -> Fleet {
    let mut fleet = Fleet::default();
    for fact in facts {
        fleet.observe(fact, &policy());
    }
    fleet
}

fn verdicts(fleet: &Fleet, now: Timestamp) -> BTreeMap<String, Verdict> {
    let policy = policy();
    let assessed = fleet.assess(&policy, now);
    assessed.map(|(_, node, assessment)| (node.id.to_string(), assessment.verdict)).collect()
}

fn stored(fleet: &Fleet) -> String {
    serde_json::to_string(fleet).expect("a fleet can be written")
}

/// How bad the second axis is when time alone passes: it may stay as it is, or get worse along these lines.
fn may_become(before: &ConfigState, after: &ConfigState) -> bool {
    let unknown = ConfigState::Unknown { missing: Missing::Word };
    match before {
        ConfigState::Propagating { running: Some(_), .. } => before == after || after.word() == ConfigWord::Behind,
        ConfigState::Propagating { running: None, .. } => {
            before == after || *after == unknown || after.word() == ConfigWord::Unrecognized
        }
        ConfigState::Unknown { missing: Missing::Word } => before == after || after.word() == ConfigWord::Unrecognized,
        _ => before == after,
    }
}

fn silence(word: ConnectionWord) -> u8 {
    match word {
        ConnectionWord::Connected => 0,
        ConnectionWord::Late => 1,
        ConnectionWord::Disconnected | ConnectionWord::NeverSeen => 2,
        ConnectionWord::Gone => 3,
        // Our blindness ends by time too, and then the node may be anything.
        ConnectionWord::Unobserved => 0,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// The fold takes whatever comes, the counters add up to the fleet without `gone`, and the same facts come to the
    /// same fleet when they are told again with what was inferred.
    #[test]
    fn counters_add_up_and_a_replay_comes_to_the_same(facts in facts(60), later in 0..2 * DAY) {
        let (fleet, all) = live(&facts);
        prop_assert_eq!(stored(&told_again(&all)), stored(&fleet));
        let now = after(&facts).plus(later);
        let mut tally = Tally::default();
        let verdicts = verdicts(&fleet, now);
        verdicts.values().for_each(|verdict| tally.add(verdict));
        let gone = verdicts.values().filter(|verdict| verdict.connectivity.word() == ConnectionWord::Gone).count();
        let sum: u32 = Counter::ALL.into_iter().map(|counter| tally.counter(counter)).sum();
        prop_assert_eq!(sum as usize, fleet.len() - gone);
        prop_assert_eq!(tally.nodes(), sum);
        let by_state: u32 = ConfigWord::ALL.into_iter().map(|word| tally.config(word)).sum();
        prop_assert_eq!(by_state, sum);
        for control_plane in fleet.control_planes() {
            let _ = notices(control_plane, verdicts.values().copied(), &policy(), now);
        }
        let _ = fleet.notices(now);
    }

    /// Between a moment and the one that it names for the next look, nothing changes; where it names none, nothing ever
    /// changes by time alone.
    #[test]
    fn nothing_changes_before_the_next_look(facts in facts(40), later in 0..2 * HOUR, then in 0.0..1.0_f64) {
        let (fleet, _) = live(&facts);
        let policy = policy();
        let now = after(&facts).plus(later);
        for (control_plane, node, assessment) in fleet.assess(&policy, now) {
            let horizon = assessment.recheck_at.map_or(400 * DAY, |at| at.since(now) - 1);
            prop_assert!(horizon >= 0);
            for moment in [horizon, (horizon as f64 * then) as i64] {
                let again = control_plane.assess(node, &policy, now.plus(moment));
                prop_assert_eq!(again.verdict, assessment.verdict, "{} {} ms later", &node.id, moment);
                prop_assert_eq!(again.source, assessment.source);
            }
        }
        for control_plane in fleet.control_planes() {
            let states: Vec<_> = fleet.assess(&policy, now).map(|(_, _, assessed)| assessed.verdict).collect();
            let (said, recheck_at) = notices(control_plane, states.iter().copied(), &policy, now);
            let horizon = recheck_at.map_or(400 * DAY, |at| at.since(now) - 1);
            let (again, _) = notices(control_plane, states.iter().copied(), &policy, now.plus(horizon));
            prop_assert_eq!(said, again);
        }
    }

    /// Later never means fresher. While no fact comes, a node that one source tells of keeps its configuration state,
    /// or goes from propagating to behind, or from waiting for a word to unknown or unrecognized; and it gets no nearer
    /// on the first axis, except when our own blindness ends. (With more sources a lower one may take over; a twin is
    /// forgotten after ten minutes.)
    #[test]
    fn later_is_never_fresher(facts in facts(40), first in 0..2 * HOUR, second in 0..2 * DAY) {
        let (fleet, _) = live(&facts);
        let policy = policy();
        let (before_at, after_at) = (after(&facts).plus(first), after(&facts).plus(first + second));
        for (control_plane, node, before) in fleet.assess(&policy, before_at) {
            let after = control_plane.assess(node, &policy, after_at).verdict;
            let before = before.verdict;
            let (was, is) = (before.connectivity.word(), after.connectivity.word());
            if was != ConnectionWord::Unobserved && is != ConnectionWord::Unobserved {
                let one_source = node.streams.iter().filter(|stream| stream.source != Source::AccessLog).count() <= 1;
                if one_source && node.twins.is_empty() {
                    prop_assert!(may_become(&before.config, &after.config), "{before:?} {after:?}");
                    prop_assert!(silence(was) <= silence(is), "{before:?} {after:?}");
                }
            }
        }
    }

    /// A report that is told again changes nothing, whenever that happens.
    #[test]
    fn a_report_told_again_changes_nothing(facts in facts(40), which in any::<prop::sample::Index>()) {
        let (mut fleet, _) = live(&facts);
        let reports: Vec<&Fact> = facts.iter().filter(|fact| matches!(fact.what, What::Report(_))).collect();
        if !reports.is_empty() {
            let before = stored(&fleet);
            fleet.observe(reports[which.index(reports.len())], &policy());
            prop_assert_eq!(stored(&fleet), before);
        }
    }

    /// What arrives in one moment may arrive in any order: a report of each node, and a word beside them.
    #[test]
    fn order_within_a_moment_does_not_matter(
        before in facts(30),
        source in source().prop_filter("tells of configuration", |source| *source != Source::AccessLog),
        reports in proptest::collection::vec(report(), 4),
        other in prop_oneof![word(), Just(What::Read), Just(What::ControlPlaneDown)],
        order in Just((0..5_usize).collect::<Vec<_>>()).prop_shuffle(),
        later in 0..HOUR,
    ) {
        let at = after(&before).plus(7);
        let fact = |source, what| Fact { at, recorded_at: at, control_plane: World::cp(), source, what };
        let mut moment: Vec<Fact> = NODES.iter().zip(reports).map(|(node, report)| {
            fact(source, What::Report(Box::new(Report { node: node_id(node), ..report })))
        }).collect();
        moment.push(fact(Source::Shadow, other));
        let one = told_again(before.iter().chain(&moment));
        let shuffled: Vec<Fact> = order.iter().map(|place| moment[*place].clone()).collect();
        let other = told_again(before.iter().chain(&shuffled));
        let now = at.plus(later);
        prop_assert_eq!(verdicts(&one, now), verdicts(&other, now));
        let ledgers = |fleet: &Fleet| fleet.control_planes().map(|one| one.ledger.versions().to_vec()).collect::<Vec<_>>();
        prop_assert_eq!(ledgers(&one), ledgers(&other));
    }

    /// Of reports that say the same without a gap, the first and the last are as good as all.
    #[test]
    fn the_middle_of_a_run_does_not_matter(
        before in facts(20),
        report in report(),
        gaps in proptest::collection::vec(0..=45 * SECOND, 1..20),
        then in facts(10),
        later in 0..HOUR,
    ) {
        let start = after(&before).plus(1);
        let fact = |at, continues| Fact {
            at,
            recorded_at: at,
            control_plane: World::cp(),
            source: Source::Push,
            what: What::Report(Box::new(Report { continues, ..report.clone() })),
        };
        // The store closes a run at the pace of its source; here it is the usual one.
        let paces = |fact: &Fact| matches!(fact.what, What::Listening(Listening::Began { .. }));
        let before: Vec<Fact> = before.into_iter().filter(|fact| !paces(fact)).collect();
        let mut all = vec![fact(start, false)];
        for gap in &gaps {
            all.push(fact(all[all.len() - 1].at.plus(*gap), false));
        }
        let end = all[all.len() - 1].at;
        let ends = [all[0].clone(), fact(end, true)];
        let then: Vec<Fact> =
            then.into_iter().map(|fact| Fact { at: end.plus(fact.at.since(t(0)).max(1)), ..fact }).collect();
        let whole = told_again(before.iter().chain(&all).chain(&then));
        let short = told_again(before.iter().chain(&ends).chain(&then));
        let now = after(&then).plus(later);
        prop_assert_eq!(stored(&whole), stored(&short));
        prop_assert_eq!(verdicts(&whole, now), verdicts(&short, now));
    }

    /// A fleet that is read back is the fleet that was written, also for what comes after.
    #[test]
    fn a_fleet_read_back_goes_on_alike(before in facts(40), then in facts(20)) {
        let (mut fleet, _) = live(&before);
        let mut again: Fleet = serde_json::from_str(&stored(&fleet)).expect("a fleet can be read");
        again.reindex();
        let now = after(&before);
        prop_assert_eq!(verdicts(&fleet, now), verdicts(&again, now));
        for fact in then.iter().map(|fact| Fact { at: now.plus(fact.at.since(t(0))), ..fact.clone() }) {
            let one = fleet.observe_live(&fact, &policy());
            prop_assert_eq!(one, again.observe_live(&fact, &policy()));
        }
        prop_assert_eq!(stored(&fleet), stored(&again));
    }
}
