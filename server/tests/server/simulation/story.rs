//! A small random story from a seed: who publishes, who runs it, who watches, what happens, and how badly reports travel.

use tidemark_domain::time::{MINUTE, SECOND};
use tidemark_server::simulate::estate::{Counts, Write};
use tidemark_server::simulate::random::Random;
use tidemark_server::simulate::scenario::{
    Action, ControlPlane, Entities, Event, Expect, Gain, Group, Nodes, Scenario, Span, Sync, Tokens, Watch,
};

/// Enough of everything that a write can change, and cheap to render.
const TINY: Counts =
    Counts { services: 1, routes: 2, plugins: 1, consumers: 0, certificates: 1, snis: 2, upstreams: 0, targets: 0 };

/// Nothing happens before: who reads a ledger from what nodes do needs two intervals for it.
const QUIET_MS: i64 = 100 * SECOND;

/// How Tidemark learns of what a control plane publishes, and so what can be asked of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ear {
    /// Every version is announced with its hashes and its digest.
    Announced,
    /// The same, and what is expected is told whenever it moves.
    AnnouncedExpected,
    /// What is expected is told with the name of its version.
    Named,
    /// The same with ordered names.
    Ordered,
    /// A data plane of ours hears every configuration.
    Shadow,
    /// A proxy sees every frame of full syncs.
    Tap,
    /// A proxy sees every frame of delta syncs.
    TapDelta,
    /// Only hashes are expected.
    Hashes,
    /// Nothing but what nodes repeat.
    Inferred,
}

impl Ear {
    const ALL: [Self; 9] = [
        Self::Announced,
        Self::AnnouncedExpected,
        Self::Named,
        Self::Ordered,
        Self::Shadow,
        Self::Tap,
        Self::TapDelta,
        Self::Hashes,
        Self::Inferred,
    ];

    fn watch(self) -> Vec<Watch> {
        match self {
            Self::Announced => vec![Watch::Announcements],
            Self::AnnouncedExpected => vec![Watch::Announcements, Watch::Expected],
            Self::Named | Self::Ordered | Self::Hashes => vec![Watch::Expected],
            Self::Shadow => vec![Watch::Shadow],
            Self::Tap | Self::TapDelta => vec![Watch::Tap],
            Self::Inferred => Vec::new(),
        }
    }

    /// Each rendering may have a hash of its own: every cohort is told of.
    const fn tells_cohorts_apart(self) -> bool {
        matches!(self, Self::Announced | Self::AnnouncedExpected | Self::Named | Self::Shadow | Self::Tap)
    }

    /// A database that goes back is told of. Who announces versions announces none then; who names them by the number of
    /// the write uses a name twice if writes follow.
    const fn tells_of_a_restore(self) -> bool {
        !matches!(self, Self::Announced | Self::AnnouncedExpected)
    }

    /// Versions have names that can be compared.
    pub const fn orders_versions(self) -> bool {
        matches!(self, Self::Ordered | Self::TapDelta)
    }

    /// A name is for one version, so nothing may be written after the database went back.
    const fn names_versions(self) -> bool {
        matches!(self, Self::Named | Self::Ordered | Self::TapDelta)
    }
}

/// How badly reports travel.
#[derive(Clone, Debug)]
pub struct Weather {
    /// One report in so many is lost; 0: none.
    pub lost: usize,
    /// One in so many is told twice.
    pub repeated: usize,
    /// One in so many is late, and says by how much.
    pub delayed: usize,
    /// By this at most.
    pub delay_ms: i64,
    /// Reports of one tick are told in any order.
    pub tick_ms: i64,
    /// One in so many leaves out what was said before.
    pub terse: usize,
    /// One node in so many has an agent that does not say how old its report is.
    pub ageless: usize,
    /// One word in so many is late.
    pub word_delayed: usize,
    /// By this at most.
    pub word_delay_ms: i64,
}

/// A time in which Tidemark hears nothing.
#[derive(Clone, Copy, Debug)]
pub struct Deaf {
    /// After the beginning.
    pub from_ms: i64,
    pub until_ms: i64,
    pub why: Why,
}

/// Why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Its own network is cut. What is pushed to it does not come, and it cannot tell.
    CutOff,
    /// It restarts.
    Restart,
    /// It crashes: nobody says that it stopped.
    Crash,
}

/// What is told.
#[derive(Debug)]
pub struct Story {
    pub scenario: Scenario,
    /// One a control plane.
    pub ears: Vec<Ear>,
    pub weather: Weather,
    pub deaf: Vec<Deaf>,
}

/// The story of a seed.
pub fn story(seed: u64) -> Story {
    let mut chance = Random::new(seed, "story");
    let lasts_ms = chance.span(10 * MINUTE, 16 * MINUTE);
    let mut story = Story {
        scenario: Scenario {
            id: format!("seed {seed}"),
            title: String::new(),
            shows: String::new(),
            twin: None,
            lasts: Span(lasts_ms),
            period: None,
            seed,
            control_plane: Vec::new(),
            nodes: Vec::new(),
            event: Vec::new(),
            expect: Expect::default(),
        },
        ears: Vec::new(),
        weather: weather(&mut chance),
        deaf: Vec::new(),
    };
    for place in 0..1 + usize::from(chance.once_in(4)) {
        let ear = *chance.one_of(&Ear::ALL).expect("there are some");
        control_plane(&mut story, &mut chance, place, ear);
        timeline(&mut story, &mut chance, place, ear);
    }
    story.deaf = deafness(&mut chance, lasts_ms);
    story
}

fn weather(chance: &mut Random) -> Weather {
    let mut some = |odds: &[usize]| *chance.one_of(odds).expect("there are odds");
    let (lost, repeated, delayed, terse) = (some(&[0, 0, 40, 12]), some(&[0, 8]), some(&[0, 0, 20, 6]), some(&[0, 3]));
    let (ageless, word_delayed) = (some(&[0, 0, 4]), some(&[0, 2, 1]));
    let delay_ms = chance.span(SECOND, 40 * SECOND);
    let tick_ms = *chance.one_of(&[1, 200, SECOND]).expect("there are ticks");
    let word_delay_ms = if chance.once_in(2) { chance.span(0, 5 * SECOND) } else { chance.span(0, 80 * SECOND) };
    Weather { lost, repeated, delayed, delay_ms, tick_ms, terse, ageless, word_delayed, word_delay_ms }
}

fn deafness(chance: &mut Random, lasts_ms: i64) -> Vec<Deaf> {
    let mut deaf = Vec::new();
    let mut from_ms = chance.span(QUIET_MS, lasts_ms);
    for _ in 0..chance.below(3) {
        let why = *chance.one_of(&[Why::CutOff, Why::Restart, Why::Crash]).expect("there are reasons");
        let takes = match why {
            Why::CutOff => chance.span(10 * SECOND, 4 * MINUTE),
            Why::Restart | Why::Crash => chance.span(0, 70 * SECOND),
        };
        if from_ms + takes < lasts_ms {
            deaf.push(Deaf { from_ms, until_ms: from_ms + takes, why });
        }
        from_ms += takes + chance.span(MINUTE, 5 * MINUTE);
    }
    deaf
}

fn control_plane(story: &mut Story, chance: &mut Random, place: usize, ear: Ear) {
    let name: tidemark_domain::id::CpName = format!("cp-{place}").parse().expect("a name");
    let mut watch = ear.watch();
    let tapped = watch.contains(&Watch::Tap);
    if ear == Ear::Inferred || (tapped && chance.once_in(3)) || (!tapped && !chance.once_in(5)) {
        watch.push(Watch::Push);
    }
    if !watch.contains(&Watch::Push) && !tapped || ear != Ear::Inferred && chance.once_in(5) {
        watch.push(Watch::AdminApi);
    }
    if ear != Ear::Inferred && chance.once_in(5) {
        watch.push(Watch::Status);
    }
    let tokens = match ear {
        Ear::Announced => *chance.one_of(&[Tokens::None, Tokens::Names]).expect("some"),
        Ear::Named => Tokens::Names,
        Ear::Ordered => Tokens::Ordered,
        Ear::AnnouncedExpected | Ear::Shadow | Ear::Tap | Ear::TapDelta | Ear::Hashes | Ear::Inferred => Tokens::None,
    };
    let sync = match ear {
        Ear::TapDelta => *chance.one_of(&[Sync::Delta, Sync::Rpc]).expect("some"),
        _ => Sync::Full,
    };
    let two_gateways = ear.tells_cohorts_apart() && chance.once_in(2);
    story.scenario.control_plane.push(ControlPlane {
        name: name.clone(),
        display_name: None,
        gateway_version: "3.9.1".parse().expect("a version"),
        entities: Entities(TINY),
        sync,
        hash_by_gateway: two_gateways && chance.once_in(2),
        tokens,
        watch,
        poll_every: Span(*chance.one_of(&[20 * SECOND, 30 * SECOND, 60 * SECOND]).expect("some")),
        propagation: chance.once_in(3).then(|| Span(chance.span(30, 120) * SECOND)),
        change_feed: false,
    });
    story.ears.push(ear);
    for number in 0..chance.span(1, 3) {
        let older = two_gateways && number % 2 == 1;
        let gateway = if older { "3.3.1" } else { "3.9.1" };
        let slow = chance.once_in(4);
        story.scenario.nodes.push(Group {
            name: format!("g{place}{number}"),
            only: None,
            control_plane: name.clone(),
            count: usize::try_from(chance.span(1, 6)).unwrap_or(1),
            gateway_version: gateway.parse().expect("a version"),
            region: Some(format!("r{number}")),
            zone: None,
            labels: std::collections::BTreeMap::new(),
            joins_at: chance.once_in(6).then(|| Span(chance.span(QUIET_MS, 6 * MINUTE))),
            apply: if slow { [Span(3 * SECOND), Span(25 * SECOND)] } else { [Span(800), Span(4 * SECOND)] },
            misses_notices: chance.once_in(4),
            clock_ahead: Span(if chance.once_in(5) { chance.span(-300, 300) * SECOND } else { 0 }),
            certificate_expires_in_days: None,
            license_expires_in_days: None,
            status_api: chance.once_in(2),
            lacks_plugin: chance.once_in(10).then(|| "rate-limiting".to_owned()),
        });
    }
}

/// What happens to one control plane and its nodes.
fn timeline(story: &mut Story, chance: &mut Random, place: usize, ear: Ear) {
    let name = story.scenario.control_plane[place].name.clone();
    let groups: Vec<_> =
        story.scenario.nodes.iter().filter(|group| group.control_plane == name).map(|of| of.name.clone()).collect();
    let lasts_ms = story.scenario.lasts.0;
    let mut at = QUIET_MS;
    let mut events = Vec::new();
    let mut backed_up = false;
    let mut restored = false;
    loop {
        at += chance.span(2, 150) * SECOND;
        if at > lasts_ms - 2 * SECOND {
            break;
        }
        let nodes = some_nodes(chance, &groups);
        let control_plane = name.clone();
        let may_write = !restored || !ear.names_versions();
        let mut then = |after_ms: i64, action: Action| {
            let at = Span((at + after_ms).min(lasts_ms));
            events.push(Event { at, only: None, action });
        };
        match chance.below(22) {
            0..=6 if may_write => {
                let all =
                    [Write::Route, Write::Route, Write::AddRoute, Write::Nothing, Write::LoseSni, Write::RestoreSnis];
                let write = *chance.one_of(&all).expect("some");
                let many = chance.once_in(3);
                let times = if many { u32::try_from(chance.span(2, 6)).unwrap_or(2) } else { 1 };
                let over = Span(if many { chance.span(5, 90) * SECOND } else { 0 });
                then(0, Action::Write { control_plane, write, times, over });
            }
            7..=8 => {
                then(0, Action::PushIsLost { nodes });
                if may_write {
                    then(SECOND, Action::Write { control_plane, write: Write::Route, times: 1, over: Span(0) });
                }
            }
            9 => {
                let gains = [Gain::NullField, Gain::NullField, Gain::DefaultField];
                let every_route_gains = *chance.one_of(&gains).expect("some");
                if ear != Ear::TapDelta {
                    then(0, Action::CpReleaseChangesRendering { control_plane, every_route_gains });
                }
            }
            10 if chance.once_in(2) && !matches!(ear, Ear::TapDelta | Ear::Inferred) => {
                let gains = [Gain::NullField, Gain::Nothing];
                let every_route_gains = *chance.one_of(&gains).expect("some");
                then(0, Action::CpReplicaJoins { control_plane, every_route_gains });
            }
            11 => {
                let back_after = chance.span(5, 200) * SECOND;
                then(0, Action::CpStops { control_plane: control_plane.clone() });
                then(back_after, Action::CpStarts { control_plane });
            }
            12 if ear.tells_of_a_restore() && !restored => {
                if backed_up {
                    then(0, Action::CpRestore { control_plane });
                    restored = true;
                } else {
                    then(0, Action::CpBackup { control_plane });
                    backed_up = true;
                }
            }
            13 | 14 => {
                then(0, Action::NodesStick { nodes: nodes.clone() });
                if chance.once_in(2) {
                    then(chance.span(60, 300) * SECOND, Action::NodesRecover { nodes });
                }
            }
            15 => {
                let (message, entity) = ("schema violation".to_owned(), Some("route a".to_owned()));
                let reported = !chance.once_in(3);
                then(0, Action::NodesReject { nodes: nodes.clone(), message, entity, field: None, reported });
                if chance.once_in(2) {
                    then(chance.span(60, 300) * SECOND, Action::NodesRecover { nodes });
                }
            }
            16 | 17 => {
                let lasts = Span(chance.span(1, 200) * SECOND);
                then(0, Action::NodesDisconnect { nodes, lasts, back_within: Span(10 * SECOND) });
            }
            18 | 19 => {
                let takes = Span(chance.span(1, 150) * SECOND);
                then(0, Action::NodesRestart { nodes, takes, cache_lost: chance.once_in(2) });
            }
            20 => then(0, Action::NodesStop { nodes }),
            21 => then(0, Action::NodesAreReplaced { nodes }),
            _ => {}
        }
    }
    story.scenario.event.extend(events);
}

fn some_nodes(chance: &mut Random, groups: &[String]) -> Nodes {
    let group = chance.one_of(groups).cloned().unwrap_or_default();
    if chance.once_in(3) {
        return Nodes::Group(group);
    }
    let first = usize::try_from(chance.span(1, 2)).unwrap_or(1);
    Nodes::First { group, first }
}
