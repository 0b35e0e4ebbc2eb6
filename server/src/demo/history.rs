//! What a demo has behind it: a week in which control planes published, nodes followed, some of them late, and some were
//! silent for a while. It is not lived through but written down, as the store keeps the past: reports by the two ends of
//! their runs, an hourly keyframe, and how each changeset spread.
//!
//! Everything goes through the store's own functions, and through the same fold as facts that were heard, so that a look
//! at any moment of it is a look at the past like any other.

use crate::board::packed;
use crate::propagation::{Reach, by_cohort};
use crate::reader::{KEYFRAME_FORMAT, fold};
use crate::simulate::node::Node;
use crate::simulate::plane::date_token;
use crate::simulate::random::Random;
use crate::simulate::scenario::{Scenario, Telling};
use crate::simulate::watch::BEAT_MS;
use crate::simulate::world::World;
use crate::store::{KeptPropagation, Store};
use std::collections::BTreeMap;
use std::sync::Arc;
use tidemark_domain::fact::{
    ConfigRef, Connection, ConnectionEvent, Fact, Listening, Report, Said, Source, What, Word,
};
use tidemark_domain::fleet::Fleet;
use tidemark_domain::hash::ConfigHash;
use tidemark_domain::id::{CpName, Line};
use tidemark_domain::policy::Policy;
use tidemark_domain::time::{DAY, HOUR, MINUTE, SECOND, Timestamp};
use tidemark_domain::verdict::ConnectionWord;
use tidemark_domain::view::NodeReach;

/// How much of it there is.
pub const LASTS_MS: i64 = 7 * DAY;
/// A shorter gap is left as it is: nobody heard anything then, and that is said.
const GAP_MIN_MS: i64 = 5 * MINUTE;
/// Between two publications of a control plane.
const BETWEEN_MS: (i64, i64) = (100 * MINUTE, 5 * HOUR);
/// The same where little depends on it: below [`SMALL`] nodes.
const BETWEEN_SMALL_MS: (i64, i64) = (30 * MINUTE, 100 * MINUTE);
const SMALL: usize = 40;
/// A changeset of two versions has them this far apart.
const BURST_MS: (i64, i64) = (6 * SECOND, 12 * SECOND);
/// How long a group of nodes stays behind, where it does.
const STRAGGLES_MS: (i64, i64) = (20 * MINUTE, 50 * MINUTE);
/// How long a control plane is away, once a day, where its connections are watched.
const AWAY_MS: (i64, i64) = (3 * MINUTE, 9 * MINUTE);
/// How long a node that restarts is silent.
const RESTARTS_MS: (i64, i64) = (100 * SECOND, 4 * MINUTE);
/// A node restarts in about one of so many days.
const RESTARTS_IN_DAYS: usize = 5;
/// A version is final a day after its publication, whoever has not reached it.
const FINAL_AFTER_MS: i64 = DAY;
/// Why something was published.
const CAUSES: [&str; 8] = [
    "add a route for the new checkout",
    "raise the rate limit of the search API",
    "renew certificates",
    "move orders to another upstream",
    "add a consumer",
    "tighten the timeout of payments",
    "remove a route that nobody uses",
    "log requests of the partner API",
];

/// What was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    pub facts: usize,
    pub versions: usize,
    pub keyframes: usize,
}

/// Writes what happened in this time until a moment, or since the last demo in this database.
///
/// # Errors
/// If the scenario cannot be told, or the store fails; a part may be written then.
pub async fn write(
    store: &Store,
    scenario: &Scenario,
    lasts_ms: i64,
    until: Timestamp,
    policy: &Arc<Policy>,
) -> anyhow::Result<Written> {
    let earliest = until.plus(-lasts_ms);
    let from = store.progress().await?.recorded_at.map_or(earliest, |last| earliest.max(last.plus(1)));
    if until.since(from) < GAP_MIN_MS {
        return Ok(Written::default());
    }
    let past = Past::of(scenario, from, until)?;
    let mut fleet = fold(store, None, Arc::clone(policy)).await?;
    let mut written =
        Written { versions: past.planes.iter().map(|plane| plane.versions.len()).sum(), ..Written::default() };

    let mut rest = past.facts.as_slice();
    for hour in past.hours {
        let (told, later) = rest.split_at(rest.partition_point(|fact| fact.at <= hour));
        rest = later;
        let mut facts = Vec::with_capacity(told.len());
        for fact in told {
            facts.extend(fleet.observe_live(fact, policy).0);
            facts.push(fact.clone());
        }
        let sequence = store.append(&facts, &[]).await?;
        store.write_keyframe(sequence, hour, KEYFRAME_FORMAT, packed(&fleet)?).await?;
        written.facts += facts.len();
        written.keyframes += 1;
    }
    for kept in past.planes.iter().flat_map(|plane| spreads(plane, &fleet, until)) {
        store.keep_propagation(&kept).await?;
    }
    store.mark_alive(until).await?;
    Ok(written)
}

/// All of it, before it is stored.
struct Past {
    planes: Vec<PlanePast>,
    /// In the order in which they happened.
    facts: Vec<Fact>,
    /// When keyframes are taken; the last one at the end.
    hours: Vec<Timestamp>,
}

/// What a control plane published, and which of its nodes took it when.
struct PlanePast {
    name: CpName,
    source: Source,
    versions: Vec<Published>,
    /// When nobody reached it.
    away: Vec<(Timestamp, Timestamp)>,
    nodes: Vec<NodePast>,
}

struct Published {
    at: Timestamp,
    /// What a rendering of the first version is in this one.
    hashes: BTreeMap<ConfigHash, ConfigHash>,
    /// The group that stays behind, by place, and for how long.
    straggles: Option<(usize, i64)>,
}

struct NodePast {
    node: Node,
    /// When it took which version, by place.
    took: Vec<(Timestamp, usize)>,
    /// When it was silent.
    silent: Vec<(Timestamp, Timestamp)>,
}

impl Past {
    fn of(scenario: &Scenario, from: Timestamp, until: Timestamp) -> anyhow::Result<Self> {
        let mut world = World::new(scenario, Telling::Story, from)?;
        let begun: Vec<Fact> = world
            .run_until(from)
            .into_iter()
            .filter(|fact| matches!(fact.what, What::Word(_) | What::Listening(_) | What::Declared(_)))
            .collect();
        let first_hour = (1..).map(|hours| until.plus(-hours * HOUR)).take_while(|hour| *hour > from).count();
        let hours = (0..=i64::try_from(first_hour)?).rev().map(|hours| until.plus(-hours * HOUR)).collect();

        let mut random = Random::new(scenario.seed, "history");
        let mut planes = Vec::new();
        for (place, plane) in world.planes().iter().enumerate() {
            let nodes: Vec<&Node> = world.nodes().iter().filter(|node| node.plane == place).collect();
            let of_plane = || begun.iter().filter(|fact| fact.control_plane == plane.name);
            let source = source_of(of_plane());
            let hashes = nodes.iter().filter_map(|node| node.running.as_ref()).map(|config| config.hash);
            let first = Published { at: from, hashes: hashes.map(|hash| (hash, hash)).collect(), straggles: None };
            let mut of = PlanePast {
                name: plane.name.clone(),
                source,
                away: if source == Source::Tap { away(from, until, &mut random) } else { Vec::new() },
                versions: vec![first],
                nodes: Vec::new(),
            };
            if of_plane().any(|fact| matches!(&fact.what, What::Word(word) if matches!(word.said, Said::Announced(_))))
            {
                of.publish(until, &nodes, &mut random);
            }
            of.nodes = nodes
                .into_iter()
                .filter(|node| node.running.is_some())
                .cloned()
                .map(|node| of.follow(node, until, &mut random))
                .collect();
            planes.push(of);
        }
        let mut past = Self { planes, facts: begun.clone(), hours };
        past.tell(&begun, from, until, &mut random);
        // Stable: words come before the reports of their moment.
        past.facts.sort_by_key(|fact| fact.at);
        Ok(past)
    }

    fn tell(&mut self, begun: &[Fact], from: Timestamp, until: Timestamp, random: &mut Random) {
        for plane in &self.planes {
            for (number, version) in plane.versions.iter().enumerate().skip(1) {
                let words = begun.iter().filter(|fact| fact.control_plane == plane.name);
                self.facts.extend(words.filter_map(|fact| word_again(fact, version, number)));
            }
        }
        for plane in &self.planes {
            for of in &plane.nodes {
                let beat = from.plus(random.span(0, BEAT_MS));
                self.facts.extend(reports(plane, of, beat, until, &self.hours));
            }
        }
    }
}

/// The source that reports of a control plane's nodes come from.
fn source_of<'a>(begun: impl Iterator<Item = &'a Fact>) -> Source {
    let listening = begun.filter(|fact| matches!(fact.what, What::Listening(Listening::Began { .. })));
    let sources: Vec<Source> = listening.map(|fact| fact.source).collect();
    if sources.contains(&Source::Tap) { Source::Tap } else { sources.first().copied().unwrap_or(Source::Push) }
}

/// Once a day a control plane is away.
fn away(from: Timestamp, until: Timestamp, random: &mut Random) -> Vec<(Timestamp, Timestamp)> {
    let days = (0..).map(|day| from.plus(day * DAY)).take_while(|day| *day < until);
    let away = days.map(|day| {
        let begin = day.plus(random.span(HOUR, 22 * HOUR));
        (begin, begin.plus(random.span(AWAY_MS.0, AWAY_MS.1)))
    });
    away.filter(|(_, end)| end.plus(HOUR) < until).collect()
}

impl PlanePast {
    fn publish(&mut self, until: Timestamp, nodes: &[&Node], random: &mut Random) {
        let (least, most) = if nodes.len() < SMALL { BETWEEN_SMALL_MS } else { BETWEEN_MS };
        let groups: Vec<usize> = nodes.iter().map(|node| node.group).collect();
        let mut at = self.versions[0].at;
        loop {
            at = at.plus(random.span(least, most));
            // Everything has healed when the living fleet begins.
            if at.plus(STRAGGLES_MS.1 + 10 * MINUTE) > until {
                return;
            }
            if self.away.iter().any(|(begin, end)| (begin.plus(-MINUTE)..end.plus(MINUTE)).contains(&at)) {
                continue;
            }
            let straggles = random.once_in(9).then(|| {
                let group = random.one_of(&groups).copied().unwrap_or_default();
                (group, random.span(STRAGGLES_MS.0, STRAGGLES_MS.1))
            });
            self.version(at, straggles, random);
            if random.once_in(4) {
                at = at.plus(random.span(BURST_MS.0, BURST_MS.1));
                self.version(at, straggles, random);
            }
        }
    }

    fn version(&mut self, at: Timestamp, straggles: Option<(usize, i64)>, random: &mut Random) {
        let first: Vec<ConfigHash> = self.versions[0].hashes.keys().copied().collect();
        let hashes = first.into_iter().map(|hash| (hash, any_hash(random))).collect();
        self.versions.push(Published { at, hashes, straggles });
    }

    /// When a node took what was published.
    fn follow(&self, node: Node, until: Timestamp, random: &mut Random) -> NodePast {
        let from = self.versions[0].at;
        let mut silent: Vec<(Timestamp, Timestamp)> =
            self.away.iter().map(|(begin, end)| (*begin, end.plus(random.span(0, 10 * SECOND)))).collect();
        for day in (0..).map(|day| from.plus(day * DAY)).take_while(|day| day.plus(DAY) < until) {
            let begin = day.plus(random.span(0, DAY));
            let end = begin.plus(random.span(RESTARTS_MS.0, RESTARTS_MS.1));
            let alone = silent.iter().all(|(other, over)| end.plus(MINUTE) < *other || begin.plus(-MINUTE) > *over);
            if random.once_in(RESTARTS_IN_DAYS) && alone && end < until {
                silent.push((begin, end));
            }
        }
        silent.sort_unstable();
        let mut took: Vec<(Timestamp, usize)> = vec![(from.plus(random.span(0, 5 * SECOND)), 0)];
        for (place, version) in self.versions.iter().enumerate().skip(1) {
            let [median, tail] = node.apply_ms;
            let mut at = version.at.plus(random.spread(median, tail) + random.span(0, SECOND));
            if let Some((_, lasts)) = version.straggles.filter(|(group, _)| *group == node.group) {
                at = at.plus(lasts);
            }
            if let Some((_, back)) = silent.iter().find(|(begin, end)| (*begin..*end).contains(&at)) {
                at = *back;
            }
            // What was overtaken was never run.
            while took.len() > 1 && took.last().is_some_and(|(before, _)| *before >= at) {
                took.pop();
            }
            took.push((at, place));
        }
        NodePast { node, took, silent }
    }
}

fn any_hash(random: &mut Random) -> ConfigHash {
    random.uuid().replace('-', "").parse().unwrap_or(ConfigHash::ZEROS)
}

/// What was said of the first version, said of a later one; `None` for what is said only once.
fn word_again(fact: &Fact, version: &Published, number: usize) -> Option<Fact> {
    let What::Word(word) = &fact.what else { return None };
    let renamed = |hash: &ConfigHash| version.hashes.get(hash).copied();
    let said = match &word.said {
        Said::Announced(first) => {
            let mut announcement = first.clone();
            announcement.key = None;
            announcement.token = date_token(version.at);
            announcement.cause = CAUSES[number % CAUSES.len()].parse::<Line>().ok();
            for (_, hash) in &mut announcement.hashes {
                *hash = renamed(hash)?;
            }
            Said::Announced(announcement)
        }
        Said::Expected { config: ConfigRef::Hash(hash), .. } => {
            Said::Expected { config: ConfigRef::Hash(renamed(hash)?), token: date_token(version.at) }
        }
        Said::Expected { .. } | Said::Frame(_) | Said::Notified(_) | Said::Inferred(_) | Said::Same { .. } => {
            return None;
        }
    };
    let what = What::Word(Box::new(Word { said, ..Word::clone(word) }));
    Some(Fact { at: version.at, recorded_at: version.at, what, ..fact.clone() })
}

/// What was heard of a node: of each run the first report and the last, and the last before each hour.
fn reports(plane: &PlanePast, of: &NodePast, beat: Timestamp, until: Timestamp, hours: &[Timestamp]) -> Vec<Fact> {
    let fact = |at: Timestamp, what| Fact {
        at,
        recorded_at: at,
        control_plane: plane.name.clone(),
        source: plane.source,
        what,
    };
    let report = |at: Timestamp, version: usize, continues: bool| {
        let first = of.node.repeats();
        let hash = plane.versions[version].hashes.get(&first).copied().unwrap_or(first);
        let report = Report {
            attributes: of.node.attributes(),
            node_clock: Some(at.plus(of.node.clock_ahead_ms)),
            continues,
            ..Report::of(of.node.id.clone(), ConfigRef::Hash(hash))
        };
        fact(at, What::Report(Box::new(report)))
    };
    let connection = |at: Timestamp, event: ConnectionEvent| {
        let connection = Connection { node: Some(of.node.id.clone()), event, attributes: of.node.attributes() };
        fact(at, What::Connection(connection))
    };
    let sees_connections = plane.source == Source::Tap;
    let mut facts = Vec::new();
    if sees_connections {
        facts.push(connection(of.took[0].0, ConnectionEvent::Opened));
    }
    for (place, (began, version)) in of.took.iter().enumerate() {
        let ended = of.took.get(place + 1).map_or(until, |(next, _)| *next);
        let mut begin = *began;
        let pauses = of.silent.iter().filter(|(from, to)| *from >= *began && *to <= ended);
        let pauses: Vec<(Timestamp, Timestamp)> = pauses.copied().collect();
        for (pause, back) in pauses.iter().copied().chain([(ended, ended)]) {
            if pause > begin {
                facts.push(report(begin, *version, false));
                let mut last = begin;
                let marks = hours.iter().copied().filter(|hour| (begin..pause).contains(hour));
                for mark in marks.chain([pause.plus(-1)]) {
                    let newest = beat.plus(mark.since(beat).div_euclid(BEAT_MS) * BEAT_MS);
                    if newest > last {
                        facts.push(report(newest, *version, true));
                        last = newest;
                    }
                }
            }
            if sees_connections && back > pause {
                let how: Option<Line> = "the connection ended".parse().ok();
                facts.extend(how.map(|how| connection(pause, ConnectionEvent::Closed(how))));
                facts.push(connection(back, ConnectionEvent::Opened));
            }
            begin = back;
        }
    }
    facts
}

/// How the changesets of a control plane spread that are final.
fn spreads(plane: &PlanePast, fleet: &Fleet, until: Timestamp) -> Vec<KeptPropagation> {
    let Some(known) = fleet.control_plane(&plane.name) else { return Vec::new() };
    let mut kept = Vec::new();
    for (place, published) in plane.versions.iter().enumerate() {
        let token = date_token(published.at);
        let Some(version) = known.ledger.in_order().rev().find(|version| version.token == token) else { continue };
        let newer = |other: &tidemark_domain::ledger::Version| {
            other.changeset == version.changeset
                && known.ledger.rank_of(other.ordinal) > known.ledger.rank_of(version.ordinal)
        };
        if known.ledger.versions().iter().any(newer) {
            continue;
        }
        let reaches: Vec<Reach> = plane.nodes.iter().map(|of| reach(of, place, published.at)).collect();
        let all_at = reaches.iter().map(|reach| reach.node.reached_at).collect::<Option<Vec<_>>>();
        let final_at = all_at.and_then(|all| all.into_iter().max()).unwrap_or(Timestamp::from_ms(i64::MAX));
        let final_at = final_at.min(published.at.plus(FINAL_AFTER_MS));
        if final_at <= until {
            kept.push(KeptPropagation {
                control_plane: plane.name.clone(),
                changeset: version.changeset,
                last_version: version.ordinal,
                published_at: published.at,
                final_at,
                cohorts: by_cohort(&reaches),
            });
        }
    }
    kept
}

fn reach(of: &NodePast, version: usize, published_at: Timestamp) -> Reach {
    let attributes = of.node.attributes();
    let reached_at = of.took.iter().find(|(_, took)| *took >= version).map(|(at, _)| *at);
    Reach {
        cohort: attributes.cohort(),
        node: NodeReach {
            node: of.node.id.clone(),
            hostname: attributes.hostname,
            reached_at,
            lag_ms: reached_at.map(|at| at.since(published_at).max(0)),
            uncertain_ms: 0,
            connection: ConnectionWord::Connected,
        },
    }
}
