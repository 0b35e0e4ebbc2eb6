//! What Tidemark may say, and what it must say: from the simulated truth, and from what of it was delivered.

use super::channel::Parcel;
use super::story::{Deaf, Ear, Story};
use super::truth::{Told, Truth};
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use tidemark_domain::fact::{ConfigRef, ConnectionEvent, Listening, Said, Scope, Source, SyncStatus, What, Word};
use tidemark_domain::node::Node;
use tidemark_domain::time::{SECOND, Timestamp};
use tidemark_domain::verdict::{ConfigWord, ConnectionWord, Overlay, Verdict};
use tidemark_server::simulate::plane::{Config, Publication};

/// Every alarm is there by its deadline and this.
const GRACE_MS: i64 = SECOND;
/// Kong's heartbeats, which agents keep too.
const BEAT_MS: i64 = 30 * SECOND;
/// A change may take this long, unless the control plane has its own word.
const PROPAGATION_MS: i64 = 60 * SECOND;
/// A closed connection may stay closed this long.
const REDIAL_MS: i64 = 30 * SECOND;
/// What nobody was told of waits this long to be told of.
const WORD_MS: i64 = 90 * SECOND;
/// Publications closer than this are one changeset.
const BURST_MS: i64 = 15 * SECOND;

/// A set of words of one axis.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
struct Words(u16);

impl Words {
    const fn config(words: &[ConfigWord]) -> Self {
        let (mut set, mut place) = (0, 0);
        while place < words.len() {
            set |= 1 << words[place] as u16;
            place += 1;
        }
        Self(set)
    }

    fn has_config(self, word: ConfigWord) -> bool {
        self.0 & (1 << word as u16) != 0
    }

    fn connection(word: ConnectionWord) -> Self {
        Self(1 << word as u16)
    }

    fn has_connection(self, word: ConnectionWord) -> bool {
        self.0 & (1 << word as u16) != 0
    }

    const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    fn or_if(self, holds: bool, other: Self) -> Self {
        if holds { self.or(other) } else { self }
    }
}

const CURRENT: Words = Words::config(&[ConfigWord::Current]);
const PROPAGATING: Words = Words::config(&[ConfigWord::Propagating]);
const BEHIND: Words = Words::config(&[ConfigWord::Behind]);
const AHEAD: Words = Words::config(&[ConfigWord::Ahead]);
const UNPROVEN: Words = Words::config(&[ConfigWord::UnprovenAlias]);
const UNKNOWN: Words = Words::config(&[ConfigWord::Unknown]);
const UNRECOGNIZED: Words = Words::config(&[ConfigWord::Unrecognized]);
const EMPTY: Words = Words::config(&[ConfigWord::Empty]);
const REJECTED: Words = Words::config(&[ConfigWord::Rejected]);
const INCOMPATIBLE: Words = Words::config(&[ConfigWord::Incompatible]);

/// What may be said of the second axis.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Admissible {
    words: Words,
    /// Where it is behind: by how many changesets.
    behind: (u32, u32),
}

impl Admissible {
    const fn only(words: Words) -> Self {
        Self { words, behind: (u32::MAX, 0) }
    }

    fn or(self, other: Self) -> Self {
        let behind = (self.behind.0.min(other.behind.0), self.behind.1.max(other.behind.1));
        Self { words: self.words.or(other.words), behind }
    }
}

/// A word of a verdict that it may not have.
#[derive(Clone, Debug)]
pub struct Wrong {
    pub node: String,
    pub truth: String,
    pub allowed: String,
    pub verdict: String,
}

impl fmt::Display for Wrong {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "node {}\n  truth: {}\n  may be: {}\n  is: {}", self.node, self.truth, self.allowed, self.verdict)
    }
}

/// What one source last told of a node.
#[derive(Clone, Debug)]
struct Heard {
    /// When it was true, as far as it can be told.
    at: Timestamp,
    /// What the node ran then; two things, if it changed within the millisecond. Empty: not said yet.
    ran: Vec<Option<Config>>,
    /// The first report of this unbroken stay.
    since: Timestamp,
    /// The first report of this series without a gap.
    unbroken_since: Timestamp,
    /// Until when it was heard of the stay before, if it surely was current then.
    from_current: bool,
}

/// What was delivered of a node.
#[derive(Debug, Default)]
struct Known {
    heard: BTreeMap<u8, (Source, Heard)>,
    first_at: Option<Timestamp>,
    /// It was first heard of when Tidemark had just begun to listen.
    first_while_new: bool,
    closed_at: Option<Timestamp>,
    opened_at: Option<Timestamp>,
    /// It refused a configuration, and was not heard to apply one since: the first and the last report of that.
    refused: Option<(Timestamp, Timestamp)>,
    /// When it was heard to apply one after all.
    applied_at: Option<Timestamp>,
    ready: Option<(Timestamp, bool)>,
    withheld: bool,
    normal: bool,
    configured: bool,
    labelled: bool,
    clock: bool,
    named: bool,
}

/// A publication as Tidemark was told of it.
#[derive(Clone, Copy, Debug, Default)]
struct ToldOf {
    at: Option<Timestamp>,
    /// A frame of it was seen.
    seen: bool,
}

/// What was delivered of a control plane.
#[derive(Debug)]
struct KnownPlane {
    ear: Ear,
    propagation_ms: i64,
    told: Vec<ToldOf>,
    /// Hashes that were told, and since when.
    hashes: HashMap<String, Timestamp>,
    /// What was offered last, by cohort: its hash, in which publication, and whether that proved that there is one.
    offered: HashMap<Scope, (String, u32, bool)>,
    began_at: Timestamp,
    /// A node was heard with a hash that no publication had.
    rerendered_heard: bool,
}

/// A source, and when it was deaf.
#[derive(Debug, Default)]
struct Listener {
    interval_ms: i64,
    began_at: Option<Timestamp>,
    /// From when at the latest, from when at the earliest, and until when.
    deaf: Vec<(Timestamp, Timestamp, Option<Timestamp>)>,
    last_fact_at: Option<Timestamp>,
}

impl Listener {
    fn interval(&self) -> i64 {
        if self.interval_ms == 0 { BEAT_MS } else { self.interval_ms }
    }

    /// For how long it heard nothing since a moment, though it listened: at least and at most.
    fn silence(&self, since: Timestamp, now: Timestamp) -> (i64, i64) {
        let overlap =
            |from: Timestamp, until: Option<Timestamp>| until.unwrap_or(now).min(now).since(from.max(since)).max(0);
        let (mut least, mut most) = (now.since(since), now.since(since));
        for (latest, earliest, until) in &self.deaf {
            most -= overlap(*latest, *until);
            least -= overlap(*earliest, *until);
        }
        (least, most)
    }

    fn deaf_since(&self, heard_at: Timestamp, now: Timestamp) -> Option<(Timestamp, Timestamp, bool)> {
        let (latest, earliest, until) = self.deaf.last()?;
        match until {
            None => Some((*latest, *earliest, true)),
            Some(until) => {
                let began = self.began_at.unwrap_or(*until);
                let left = began.plus(self.interval());
                (heard_at < began && now <= left.plus(GRACE_MS)).then_some((*latest, *earliest, now <= left))
            }
        }
    }
}

/// Who knows the truth, and what of it was told.
#[derive(Debug)]
pub struct Oracle {
    nodes: Vec<Known>,
    planes: Vec<KnownPlane>,
    sources: BTreeMap<(usize, u8), Listener>,
    deaf: Vec<Deaf>,
    start: Timestamp,
}

impl Oracle {
    pub fn new(story: &Story, start: Timestamp) -> Self {
        let plane = |(of, ear): (&tidemark_server::simulate::scenario::ControlPlane, &Ear)| KnownPlane {
            ear: *ear,
            propagation_ms: of.propagation.map_or(PROPAGATION_MS, |span| span.0),
            told: Vec::new(),
            hashes: HashMap::new(),
            offered: HashMap::new(),
            began_at: start,
            rerendered_heard: false,
        };
        Self {
            nodes: Vec::new(),
            planes: story.scenario.control_plane.iter().zip(&story.ears).map(plane).collect(),
            sources: BTreeMap::new(),
            deaf: story.deaf.clone(),
            start,
        }
    }

    /// How long a change of a control plane may take.
    pub fn propagation_ms(&self, plane: usize) -> i64 {
        self.planes[plane].propagation_ms
    }

    /// The last report of a node that was delivered.
    pub fn heard_at(&self, node: usize) -> Option<Timestamp> {
        self.nodes.get(node)?.heard.values().map(|(_, heard)| heard.at).max()
    }

    /// Something was delivered.
    pub fn hear(&mut self, now: Timestamp, parcel: &Parcel, truth: &Truth) {
        let (fact, told) = (&parcel.fact, &parcel.told);
        self.nodes.resize_with(truth.nodes.len(), Known::default);
        for (plane, truth) in self.planes.iter_mut().zip(&truth.planes) {
            plane.told.resize(truth.publications.len(), ToldOf::default());
        }
        if !matches!(fact.what, What::Listening(_)) {
            let source = self.sources.entry((told.plane, fact.source.rank())).or_default();
            source.last_fact_at = source.last_fact_at.max(Some(fact.at));
        }
        match &fact.what {
            What::Word(word) => self.hear_word(now, told, word, truth),
            What::Listening(listening) => self.hear_listening(fact.at, told.plane, fact.source, listening),
            What::Connection(connection) => {
                let Some(node) = told.node else { return };
                self.first(node, told.plane, fact.source, fact.at);
                let known = &mut self.nodes[node];
                known.named |= connection.attributes.hostname.is_some();
                match connection.event {
                    ConnectionEvent::Opened => (known.opened_at, known.closed_at) = (Some(fact.at), None),
                    ConnectionEvent::Closed(_) => known.closed_at = Some(fact.at),
                    ConnectionEvent::Refused(_) | ConnectionEvent::Unreachable => {}
                }
            }
            What::Report(_) => self.hear_report(now, parcel, truth),
            What::Read | What::ControlPlaneDown | What::Declared(_) | What::Retired(_) => {}
        }
    }

    fn first(&mut self, node: usize, plane: usize, source: Source, at: Timestamp) {
        let state = self.sources.entry((plane, source.rank())).or_default();
        let new = state.began_at.is_some_and(|began| at <= began.plus(state.interval()));
        let known = &mut self.nodes[node];
        if known.first_at.is_none_or(|first| at < first) {
            known.first_at = Some(at);
        }
        known.first_while_new |= new && known.heard.is_empty();
    }

    fn hear_listening(&mut self, at: Timestamp, plane: usize, source: Source, listening: &Listening) {
        let really = self.deaf.iter().map(|deaf| (self.start.plus(deaf.from_ms), self.start.plus(deaf.until_ms)));
        let really = really.rev().find(|(from, _)| *from <= at);
        let state = self.sources.entry((plane, source.rank())).or_default();
        match listening {
            Listening::Stopped(_) | Listening::Ended => {
                if state.deaf.last().is_none_or(|(.., until)| until.is_some()) {
                    state.deaf.push((at, at, None));
                }
            }
            Listening::Began { interval_ms } => {
                state.interval_ms = i64::from(*interval_ms);
                match state.deaf.last_mut() {
                    Some((.., until @ None)) => *until = Some(at),
                    _ => {
                        if let (Some((from, _)), Some(_)) = (really, state.began_at) {
                            let last = state.last_fact_at.max(state.began_at).unwrap_or(from);
                            state.deaf.push((from.max(last), last.min(from), Some(at)));
                        }
                    }
                }
                state.began_at = Some(at);
            }
        }
    }

    fn hear_word(&mut self, now: Timestamp, told: &Told, word: &Word, truth: &Truth) {
        let (said, scope) = (&word.said, &word.scope);
        let (plane, head) = (told.plane, told.head);
        let known = &mut self.planes[plane];
        let hashes: Vec<String> = match said {
            Said::Announced(announcement) => {
                announcement.hashes.iter().map(|(_, hash)| hash.as_str().to_owned()).collect()
            }
            Said::Frame(frame) => vec![frame.config.as_str().to_owned()],
            Said::Expected { config, .. } => vec![config.as_str().to_owned()],
            Said::Notified(hash) => vec![hash.as_str().to_owned()],
            Said::Inferred(_) | Said::Same { .. } => Vec::new(),
        };
        // What was said in the very millisecond of a publication may still be of the one before.
        let publications = &truth.planes[plane].publications;
        let newest = publications.get(head as usize - 1);
        let of_before = match said {
            Said::Notified(hash) => newest.is_some_and(|newest| {
                let names = [format!("v02_{:028x}", newest.version), format!("{:032}", newest.version)];
                !names.iter().any(|name| name == hash.as_str())
            }),
            // The offer that was made to this cohort before. And a cohort that was not offered what others were offered
            // last may be offered that, or something newer: nothing tells.
            Said::Frame(frame) => {
                let hash = frame.config.as_str().to_owned();
                let just_now = newest.is_some_and(|newest| newest.at == told.made_at);
                let last = known.told.iter().rposition(|told| told.at.is_some()).map(|place| place as u32 + 1);
                let before = known.offered.get(scope).cloned();
                let again = before.as_ref().is_some_and(|(before, ..)| *before == hash);
                let proved = match &before {
                    Some((.., proved)) if again => *proved,
                    Some((_, number, _)) => last.is_none_or(|last| last == head || *number >= last),
                    None => last.is_none_or(|last| last == head),
                };
                if !(again && just_now) {
                    known.offered.insert(scope.clone(), (hash, head, proved));
                }
                again && just_now || !proved && !known.ear.orders_versions()
            }
            Said::Announced(_) | Said::Expected { .. } | Said::Inferred(_) | Said::Same { .. } => false,
        };
        for hash in hashes {
            known.hashes.entry(hash).or_insert(now);
        }
        if known.ear == Ear::Hashes && head > 1 || of_before {
            return;
        }
        let told = &mut known.told[head as usize - 1];
        told.at = Some(told.at.map_or(now, |at| at.min(now)));
        let by_version = |config: &ConfigRef| matches!(config, ConfigRef::Hash(hash) if hash.is_token());
        told.seen |= matches!(said, Said::Frame(frame) if by_version(&frame.config));
    }

    fn hear_report(&mut self, now: Timestamp, parcel: &Parcel, truth: &Truth) {
        let (fact, told) = (&parcel.fact, &parcel.told);
        let (What::Report(report), Some(node)) = (&fact.what, told.node) else { return };
        self.first(node, told.plane, fact.source, fact.at);
        let rank = fact.source.rank();
        let interval_ms = self.sources.entry((told.plane, rank)).or_default().interval();
        let before = self.nodes[node].heard.get(&rank).map(|(_, heard)| heard.clone());
        let newest = self.heard_at(node).is_none_or(|last| fact.at > last);
        // What it was judged as until now, for what it came from.
        let was_current = before.as_ref().is_some_and(|before| {
            before.ran.len() == 1
                && fact.at.since(before.at) <= interval_ms * 3 / 2
                && self.config_of(node, before, truth, now).words == CURRENT
                && before.ran.iter().flatten().all(|ran| self.told_of(told.plane, ran, before.at))
        });
        if let (Some(before), Some(Some(config))) = (&before, &told.ran) {
            self.proves(now, fact.at, told.plane, before, config, interval_ms, truth);
        } else if let (None, Some(Some(config))) = (&before, &told.ran) {
            self.begins(now, fact.at, told.plane, config);
        }
        if let Some(Some(config)) = &told.ran {
            let publications = &truth.planes[told.plane].publications;
            let since = self.planes[told.plane].hashes.get(config.hash.as_str());
            let plain = publications.iter().any(|publication| {
                publication.hash == config.hash && since.is_none_or(|since| *since >= publication.at)
            });
            self.planes[told.plane].rerendered_heard |= !plain && !truth.nodes[node].rpc;
        }
        let known = &mut self.nodes[node];
        known.named |= report.attributes.hostname.is_some();
        known.labelled |= report.attributes.labels.is_some();
        if newest {
            known.clock |= report.node_clock.is_some();
        }
        if let Some(ready) = report.ready
            && known.ready.is_none_or(|(at, _)| fact.at > at)
        {
            known.ready = Some((fact.at, ready));
        }
        match &report.status {
            Some(SyncStatus::Withheld { .. }) => known.withheld = true,
            Some(SyncStatus::Normal) => known.normal = true,
            None => {}
        }
        if report.failure.is_some() && known.refused.is_none_or(|(_, last)| fact.at > last) {
            known.refused = Some((known.refused.map_or(fact.at, |(first, _)| first), fact.at));
        }
        let heard = known.heard.entry(rank).or_insert_with(|| {
            (
                fact.source,
                Heard { at: fact.at, ran: Vec::new(), since: fact.at, unbroken_since: fact.at, from_current: false },
            )
        });
        let heard = &mut heard.1;
        if fact.at < heard.at {
            return;
        }
        if fact.at.since(heard.at) > interval_ms * 3 / 2 {
            heard.unbroken_since = fact.at;
        }
        if let Some(ran) = &told.ran {
            known.configured |= ran.is_some();
            if !heard.ran.contains(ran) {
                if fact.at == heard.at && !heard.ran.is_empty() {
                    heard.ran.push(ran.clone());
                } else {
                    let first = heard.ran.is_empty();
                    heard.ran = vec![ran.clone()];
                    heard.since = fact.at;
                    heard.from_current = was_current && !first;
                    // It applied something after it had refused.
                    if known.refused.is_some_and(|(_, last)| fact.at > last) && !first {
                        known.refused = None;
                        known.applied_at = Some(fact.at);
                    }
                }
            } else if fact.at > heard.at {
                heard.ran = vec![ran.clone()];
            }
        }
        heard.at = fact.at;
    }

    /// Whether Tidemark was told of what a node runs, until a moment.
    fn told_of(&self, plane: usize, ran: &Config, until: Timestamp) -> bool {
        self.planes[plane].hashes.get(ran.hash.as_str()).is_some_and(|at| *at <= until)
    }

    /// Where nobody tells of versions: the first node that is heard after two intervals.
    fn begins(&mut self, now: Timestamp, at: Timestamp, plane: usize, config: &Config) {
        let known = &mut self.planes[plane];
        if known.ear == Ear::Inferred
            && known.told.iter().all(|told| told.at.is_none())
            && at.since(known.began_at) >= 2 * BEAT_MS
        {
            known.told[config.publication as usize - 1].at = Some(now);
            known.hashes.insert(config.hash.as_str().to_owned(), now);
        }
    }

    /// Where nobody tells of versions: a node that was connected and current changed, and so proves a change.
    fn proves(
        &mut self,
        now: Timestamp,
        at: Timestamp,
        plane: usize,
        before: &Heard,
        config: &Config,
        interval_ms: i64,
        truth: &Truth,
    ) {
        self.begins(now, at, plane, config);
        let known = &mut self.planes[plane];
        if !matches!(known.ear, Ear::Hashes | Ear::Inferred) || before.ran.len() != 1 {
            return;
        }
        let Some(Some(ran)) = before.ran.first() else { return };
        let publications = &truth.planes[plane].publications;
        let last_told = known.told.iter().rposition(|told| told.at.is_some());
        let Some(last_told) = last_told else { return };
        let unbroken = at >= before.at && at.since(before.at) <= interval_ms * 3 / 2;
        // Who was away until just now is sent the newest for that.
        let unbroken = unbroken && at.since(before.unbroken_since) >= interval_ms;
        let same = publications[last_told].hash == ran.hash;
        // Two moves that nobody proved are told apart by the order in which nodes are heard.
        let alone = known.ear == Ear::Inferred || last_told + 2 == config.publication as usize;
        let expected = known.ear == Ear::Inferred || known.hashes.contains_key(config.hash.as_str());
        let place = config.publication as usize - 1;
        if unbroken && same && alone && expected && config.hash != ran.hash && known.told[place].at.is_none() {
            known.told[place].at = Some(now);
            known.hashes.entry(config.hash.as_str().to_owned()).or_insert(now);
        }
    }

    // What may be said.

    /// The first axis, as one source lets it be told; and whether the source may, or must, be the one that decides.
    fn connectivity_by(
        &self,
        known: &Known,
        plane: usize,
        rank: u8,
        heard: &Heard,
        now: Timestamp,
    ) -> (Words, bool, bool) {
        let silent = Listener::default();
        let state = self.sources.get(&(plane, rank)).unwrap_or(&silent);
        let interval = state.interval();
        let (late, lost) = (interval * 3 / 2, interval * 3);
        let (least, most) = state.silence(heard.at, now);
        let mut words = Words::default();
        let word = Words::connection;
        if least <= late + GRACE_MS {
            words = words.or(word(ConnectionWord::Connected));
        }
        if most > late && least <= lost + GRACE_MS {
            words = words.or(word(ConnectionWord::Late));
        }
        if most > lost {
            words = words.or(word(ConnectionWord::Disconnected));
        }
        let (mut may, mut must) = (least <= late, most <= late);
        // Its connection was seen to close, and it was not heard since.
        if let Some(closed_at) = known.closed_at.filter(|closed_at| *closed_at >= heard.at) {
            let gone_for = now.since(closed_at);
            if gone_for > REDIAL_MS + GRACE_MS {
                words = word(ConnectionWord::Disconnected);
            } else {
                words = Words(words.0 & !word(ConnectionWord::Connected).0).or(word(ConnectionWord::Late));
                words = words.or_if(gone_for > REDIAL_MS, word(ConnectionWord::Disconnected));
            }
        }
        if let Some((_, _, surely)) = state.deaf_since(heard.at, now) {
            words = words.or(word(ConnectionWord::Unobserved));
            (may, must) = (may && !surely, false);
            if surely {
                words = word(ConnectionWord::Unobserved);
            }
        }
        (words, may, must)
    }

    /// Nodes that have the hostname of a node that is no more: `None` if there is none that was heard, else whether
    /// Tidemark must see it.
    fn heir(&self, node: usize, truth: &Truth) -> Option<bool> {
        let old = &truth.nodes[node];
        if !old.gone {
            return None;
        }
        let last = self.heard_at(node)?;
        let heirs = truth.nodes.iter().enumerate().skip(node + 1);
        let heirs = heirs.filter(|(_, heir)| heir.hostname == old.hostname && heir.plane == old.plane);
        let heard = heirs.filter_map(|(place, _)| self.nodes.get(place));
        let surely = heard.filter(|heir| heir.first_at.is_some()).map(|heir| {
            let named = heir.named && self.nodes[node].named;
            named && !heir.first_while_new && heir.first_at.is_some_and(|first| first > last)
        });
        surely.max()
    }

    /// The second axis, by what one source last told.
    fn config_by(&self, node: usize, heard: &Heard, truth: &Truth, now: Timestamp) -> Admissible {
        if heard.ran.is_empty() {
            return Admissible::only(UNKNOWN);
        }
        let one = |ran: &Option<Config>| {
            let stay = Heard { ran: vec![ran.clone()], ..heard.clone() };
            self.config_of(node, &stay, truth, now)
        };
        heard.ran.iter().map(one).reduce(Admissible::or).unwrap_or(Admissible::only(UNKNOWN))
    }

    fn config_of(&self, node: usize, heard: &Heard, truth: &Truth, now: Timestamp) -> Admissible {
        let (known, of) = (&self.nodes[node], &truth.nodes[node]);
        let Some(ran) = &heard.ran[0] else {
            return self.nothing(known, of.lacks_plugin);
        };
        let mut admissible = self.runs(of.plane, of.rpc, heard, ran, truth, now);
        let plane = &self.planes[of.plane];
        let publications = &truth.planes[of.plane].publications;
        let misses = |from: Timestamp| {
            let missed = publications
                .iter()
                .skip(ran.publication as usize)
                .zip(plane.told.iter().skip(ran.publication as usize));
            let here = publications.get(ran.publication as usize - 1);
            let same = |publication: &Publication| {
                publication.hash == ran.hash || here.is_some_and(|here| publication.behaviour == here.behaviour)
            };
            let last_same = publications.iter().rposition(same).map_or(0, |place| place + 1);
            let missed = missed.filter(|(publication, _)| publication.number as usize > last_same);
            missed
                .filter(|(publication, told)| publication.changes_behaviour && told.at.is_some_and(|at| at <= from))
                .count()
                > 0
        };
        if let Some((_, last)) = known.refused {
            // It refused the newest, by a report that came after Tidemark was told of it: nothing else is true.
            let head = plane.told.last().and_then(|told| told.at);
            let surely = head.is_some_and(|head| head <= last) && misses(last) && plane.ear != Ear::Hashes;
            admissible = if surely {
                Admissible::only(REJECTED)
            } else {
                Admissible { words: admissible.words.or(REJECTED), ..admissible }
            };
        }
        // A source that has not heard of it yet may still decide.
        let stale = known.applied_at.is_some_and(|applied_at| heard.at < applied_at);
        admissible.words = admissible.words.or_if(stale, REJECTED);
        if known.withheld && of.lacks_plugin {
            let surely = misses(now) && !matches!(plane.ear, Ear::Hashes | Ear::Inferred);
            admissible = if surely {
                Admissible::only(INCOMPATIBLE)
            } else {
                Admissible { words: admissible.words.or(INCOMPATIBLE), ..admissible }
            };
        }
        admissible
    }

    /// It runs nothing.
    fn nothing(&self, known: &Known, lacks_plugin: bool) -> Admissible {
        let not_ready = known.ready.is_some_and(|(_, ready)| !ready);
        let proven = not_ready || known.normal && !known.withheld && !known.configured;
        let mut words = if proven { EMPTY } else { UNKNOWN.or(EMPTY) };
        words = words.or_if(known.refused.is_some(), REJECTED);
        if known.withheld && lacks_plugin {
            words = INCOMPATIBLE;
        }
        Admissible::only(words)
    }

    /// It runs a configuration that really was published.
    fn runs(&self, plane: usize, rpc: bool, heard: &Heard, ran: &Config, truth: &Truth, now: Timestamp) -> Admissible {
        let (known, of) = (&self.planes[plane], &truth.planes[plane]);
        let publications = &of.publications;
        let told_by = |publication: &Publication, at: Timestamp| {
            known.told.get(publication.number as usize - 1).and_then(|told| told.at).is_some_and(|told| told <= at)
        };
        let plain = publications.iter().any(|publication| publication.hash == ran.hash) || rpc;
        if known.told.iter().all(|told| told.at.is_none_or(|at| at > now)) {
            return Admissible::only(UNKNOWN.or(PROPAGATING).or(CURRENT));
        }
        // Nobody can tell any more, once nodes took another hash of the same.
        if matches!(known.ear, Ear::Hashes | Ear::Inferred | Ear::AnnouncedExpected) && known.rerendered_heard {
            return Admissible { words: Words(u16::MAX), behind: (0, u32::MAX) };
        }
        let named = known.hashes.get(ran.hash.as_str()).is_some_and(|at| *at <= now);
        if !named {
            // A node that is sent nothing, or not by the way that is looked at, has a hash that nobody told of.
            let plain = plain && (rpc || !matches!(known.ear, Ear::Tap | Ear::TapDelta));
            return self.not_told_of(known, heard, plain, now);
        }
        // The first that its cohort was offered in a while: of the last version that others were offered, or newer.
        if known.offered.values().any(|(hash, _, proved)| !proved && *hash == ran.hash.as_str()) {
            return Admissible { words: CURRENT.or(PROPAGATING).or(BEHIND), behind: (1, u32::MAX) };
        }
        let ordered = known.ear.orders_versions();
        let digests = !matches!(known.ear, Ear::Named | Ear::Ordered | Ear::Hashes | Ear::Inferred);
        let head = publications.iter().rev().find(|publication| told_by(publication, now));
        let Some(head) = head else { return Admissible::only(CURRENT.or(UNKNOWN)) };
        // By the order of versions it is above what is published.
        if ordered && ran.version > head.version {
            let newer = ran.publication > head.number;
            let words = AHEAD.or_if(!rpc, BEHIND.or(PROPAGATING)).or_if(newer, CURRENT.or(PROPAGATING));
            return Admissible { words, behind: (1, u32::MAX) };
        }
        // What it does, and what of that was published since: by content, where contents are compared, else by hash. What
        // was not told of may have brought it back.
        let here = publications.get(ran.publication as usize - 1);
        let by_hash = |publication: &Publication| here.is_some_and(|here| publication.hash == here.hash);
        let by_content = |publication: &Publication| {
            by_hash(publication) || here.is_some_and(|here| publication.behaviour == here.behaviour)
        };
        let reached = |same: &dyn Fn(&Publication) -> bool, told: bool| {
            let reached =
                publications.iter().rev().find(|publication| same(publication) && (!told || told_by(publication, now)));
            reached.map_or(ran.publication, |publication| publication.number)
        };
        let doubtful = of.defaulted_at.is_some_and(|at| at <= now);
        let mut from = vec![reached(&by_hash, true), reached(&by_hash, false)];
        if matches!(known.ear, Ear::Hashes | Ear::Inferred) {
            from.push(ran.publication);
        }
        if digests {
            if !doubtful && !ordered {
                from.clear();
            }
            from.extend([reached(&by_content, true), reached(&by_content, false)]);
        }
        from.sort_unstable();
        from.dedup();
        let stands = |reached: u32| {
            let admissible = self.stands(plane, truth, ran, reached, head, ordered, digests, now);
            // It came to this from the head, and nobody has said yet that the head went back to it.
            let waits = reached < ran.publication && heard.from_current && now.since(heard.since) <= WORD_MS;
            if waits && admissible.words != CURRENT {
                Admissible { words: admissible.words.or(PROPAGATING).or(BEHIND), ..admissible }
            } else {
                admissible
            }
        };
        from.into_iter().map(stands).reduce(Admissible::or).unwrap_or(Admissible::only(CURRENT))
    }

    /// Where it stands, if it is as good as some publication.
    fn stands(
        &self,
        plane: usize,
        truth: &Truth,
        ran: &Config,
        reached: u32,
        head: &Publication,
        ordered: bool,
        digests: bool,
        now: Timestamp,
    ) -> Admissible {
        let (known, of) = (&self.planes[plane], &truth.planes[plane]);
        let publications = &of.publications;
        let loose = matches!(known.ear, Ear::Hashes | Ear::Inferred);
        let told_at =
            |publication: &Publication| known.told.get(publication.number as usize - 1).and_then(|told| told.at);
        let told_by = |publication: &Publication| told_at(publication).is_some_and(|told| told <= now);
        let in_order = |publication: &&Publication| {
            !ordered || publication.version > ran.version && publication.version <= head.version
        };
        let missed = publications.iter().filter(|publication| publication.number > reached).filter(in_order);
        // A name that comes back is no new version.
        let first = |publication: &&Publication| {
            let before = publications.iter().take(publication.number as usize - 1);
            !ordered || !before.clone().any(|before| before.version == publication.version && told_by(before))
        };
        let missed = missed.filter(first);
        // From what was told before it: what came between, and nobody was told of, is part of it.
        let changes = |publication: &Publication| {
            let before = publications.iter().take(publication.number as usize - 1).rev().find(|before| told_by(before));
            before.map_or(publication.changes_behaviour, |before| before.behaviour != publication.behaviour)
        };
        let differs = |publication: &&Publication| {
            let before = publications.get((publication.number as usize).wrapping_sub(2));
            let other_hash = before.is_none_or(|before| before.hash != publication.hash);
            let doubtful = of.defaulted_at.is_some_and(|at| at <= publication.at);
            // A notice says that there is something, and not what.
            let seen = |place: usize| known.told.get(place).is_some_and(|told| told.seen);
            let place = publication.number as usize - 1;
            let unseen = known.ear == Ear::TapDelta && !(seen(place) && seen(place.wrapping_sub(1)));
            if digests { changes(publication) || (doubtful || unseen) && other_hash } else { other_hash }
        };
        let seen: Vec<&Publication> = missed.filter(differs).collect();
        let told: Vec<&Publication> = seen.iter().copied().filter(|publication| told_by(publication)).collect();
        let truly = || told.iter().filter(|publication| changes(publication));
        let due = |at: Timestamp| now.since(at) > known.propagation_ms;
        let may_be_behind = if loose { &seen } else { &told };
        let may_be_behind = may_be_behind.iter().map(|publication| publication.at).min().is_some_and(due);
        let first_told = truly().filter_map(|publication| told_at(publication)).min();
        let mut words = if told.is_empty() {
            CURRENT.or_if(loose && !seen.is_empty(), UNPROVEN.or(PROPAGATING))
        } else if first_told.is_none() {
            CURRENT.or(PROPAGATING)
        } else if first_told.is_some_and(|at| due(at.plus(GRACE_MS))) {
            BEHIND
        } else {
            PROPAGATING
        };
        words = words.or_if(may_be_behind, BEHIND);
        // It was current when a release made it doubtful whether it is; who was behind before stays so.
        let released = of.rerendered_at.iter().copied().filter(|at| *at <= now).max();
        let doubted = released.is_some_and(|released| first_told.is_none_or(|told| released <= told));
        words = words.or_if(doubted || loose, UNPROVEN);
        let changing: Vec<&Publication> = truly().copied().collect();
        Admissible { words, behind: self.changesets(known, &told, &changing, &seen, loose) }
    }

    /// Its hash was not told of: it waits for the control plane's word.
    fn not_told_of(&self, known: &KnownPlane, heard: &Heard, plain: bool, now: Timestamp) -> Admissible {
        let waits = now.since(heard.since) <= WORD_MS;
        let sure = heard.from_current && waits && known.ear != Ear::Inferred;
        if plain && sure {
            return Admissible::only(PROPAGATING);
        }
        let words = PROPAGATING.or(UNKNOWN);
        let words = words.or_if(!plain || known.ear == Ear::Inferred, UNRECOGNIZED.or(UNPROVEN).or(CURRENT));
        Admissible::only(words)
    }

    /// How many changesets these publications are, at least and at most: what was told late may seem to be one with what
    /// came next, or not.
    fn changesets(
        &self,
        known: &KnownPlane,
        told: &[&Publication],
        changing: &[&Publication],
        seen: &[&Publication],
        loose: bool,
    ) -> (u32, u32) {
        if loose {
            return (1, u32::try_from(seen.len()).unwrap_or(u32::MAX));
        }
        let told_at = |number: u32| known.told[number as usize - 1].at;
        let (mut least, mut most) = (u32::from(!changing.is_empty()), u32::from(!told.is_empty()));
        for pair in changing.windows(2) {
            let mut apart = false;
            let mut last = told_at(pair[0].number);
            for number in pair[0].number + 1..=pair[1].number {
                let Some(at) = told_at(number) else { continue };
                apart |= last.is_some_and(|last| at.since(last) >= BURST_MS);
                last = Some(at);
            }
            least += u32::from(apart);
        }
        for pair in told.windows(2) {
            let together = told_at(pair[1].number).is_some_and(|at| at.since(pair[0].at) < BURST_MS);
            most += u32::from(!together);
        }
        (least, most)
    }

    /// Holds a verdict against the truth.
    pub fn judge(
        &self,
        node: usize,
        truth: &Truth,
        shown: &Node,
        verdict: &Verdict,
        now: Timestamp,
    ) -> Result<(), Wrong> {
        let of = &truth.nodes[node];
        let Some(known) = self.nodes.get(node).filter(|known| !known.heard.is_empty()) else { return Ok(()) };
        // Which sources may decide, best first.
        let mut connectivity = Words::default();
        let mut deciding = Vec::new();
        let mut surely = false;
        for (rank, (_, heard)) in &known.heard {
            let (words, may, must) = self.connectivity_by(known, of.plane, *rank, heard, now);
            if surely || !may {
                continue;
            }
            connectivity = connectivity.or(words);
            deciding.push((*rank, heard));
            surely |= must;
        }
        if !surely {
            for (rank, (_, heard)) in &known.heard {
                connectivity = connectivity.or(self.connectivity_by(known, of.plane, *rank, heard, now).0);
                deciding.push((*rank, heard));
            }
        }
        let disconnected = Words::connection(ConnectionWord::Disconnected);
        let gone = Words::connection(ConnectionWord::Gone);
        match self.heir(node, truth) {
            Some(true) if connectivity.0 & disconnected.0 != 0 => {
                connectivity = Words(connectivity.0 & !disconnected.0).or(gone);
            }
            Some(_) => connectivity = connectivity.or(gone),
            None => {}
        }
        let word = verdict.connectivity.word();
        let mut admissible: Option<Admissible> = None;
        for (rank, heard) in deciding {
            let mut add = |more: Admissible| admissible = Some(admissible.map_or(more, |already| already.or(more)));
            add(self.config_by(node, heard, truth, now));
            // What is not observed keeps the verdict that it had.
            if word == ConnectionWord::Unobserved
                && let Some((latest, earliest, _)) =
                    self.sources.get(&(of.plane, rank)).and_then(|state| state.deaf_since(heard.at, now))
            {
                add(self.config_by(node, heard, truth, latest));
                add(self.config_by(node, heard, truth, earliest));
            }
        }
        let admissible = admissible.unwrap_or(Admissible::only(UNKNOWN));
        let config = verdict.config.word();
        let behind = verdict.config.behind();
        let counted = config == ConfigWord::Behind;
        let right = connectivity.has_connection(word)
            && admissible.words.has_config(config)
            && (!counted || admissible.behind.0 <= behind && behind <= admissible.behind.1);
        let labels = !known.labelled || shown.attributes.labels.as_ref() == Some(&of.labels);
        let skewed = of.clock_ahead_ms.abs() > 5 * SECOND + 2 * SECOND;
        let straight = of.clock_ahead_ms == 0;
        let clock = verdict.overlays.has(Overlay::ClockSkew);
        let clock = !known.clock || (!skewed || clock) && !(straight && clock);
        if right && labels && clock && !verdict.overlays.has(Overlay::DuplicateId) {
            return Ok(());
        }
        Err(self.wrong(node, truth, shown, verdict, connectivity, admissible))
    }

    fn wrong(
        &self,
        node: usize,
        truth: &Truth,
        shown: &Node,
        verdict: &Verdict,
        connectivity: Words,
        admissible: Admissible,
    ) -> Wrong {
        let (of, known) = (&truth.nodes[node], &self.nodes[node]);
        let plane = &self.planes[of.plane];
        let publication = |(publication, told): (&Publication, &ToldOf)| {
            let after = |at: Timestamp| at.since(self.start) as f64 / 1_000.0;
            format!(
                "{}{} at {} told {}",
                publication.number,
                if publication.changes_behaviour { "" } else { " (no change)" },
                after(publication.at),
                told.at.map_or("never".to_owned(), |at| after(at).to_string())
            )
        };
        let published: Vec<_> = truth.planes[of.plane].publications.iter().zip(&plane.told).map(publication).collect();
        let heard = |(source, heard): &(Source, Heard)| {
            let ran: Vec<_> = heard
                .ran
                .iter()
                .map(|ran| {
                    ran.as_ref().map_or("nothing".to_owned(), |ran| format!("{} ({})", ran.publication, ran.hash))
                })
                .collect();
            let (at, since) =
                (heard.at.since(self.start) as f64 / 1_000.0, heard.since.since(self.start) as f64 / 1_000.0);
            format!(
                "{} at {at} ran {} since {since}{}",
                source.word(),
                ran.join(" or "),
                if heard.from_current { " from current" } else { "" }
            )
        };
        let heard: Vec<_> = known.heard.values().map(heard).collect();
        let rerendered: Vec<_> =
            truth.planes[of.plane].rerendered_at.iter().map(|at| at.since(self.start) as f64 / 1_000.0).collect();
        let connections =
            ConnectionWord::ALL.iter().filter(|word| connectivity.has_connection(**word)).map(|word| word.word());
        let configs = ConfigWord::ALL.iter().filter(|word| admissible.words.has_config(**word)).map(|word| word.word());
        Wrong {
            node: format!("{} ({}) of {} ({:?})", of.hostname, of.id, truth.planes[of.plane].name, plane.ear),
            truth: format!(
                "published {}; rendered anew {rerendered:?}; heard {}; refused {:?}; withheld {}; ready {:?}; closed {:?}; gone {}",
                published.join(", "),
                heard.join(", "),
                known.refused.map(|(_, last)| last.since(self.start)),
                known.withheld,
                known.ready.map(|(at, ready)| (at.since(self.start), ready)),
                known.closed_at.map(|at| at.since(self.start)),
                of.gone,
            ),
            allowed: format!(
                "{} and {}, behind {:?}",
                connections.collect::<Vec<_>>().join("|"),
                configs.collect::<Vec<_>>().join("|"),
                admissible.behind
            ),
            verdict: format!("{verdict:?}; streams {:?}; labels {:?}", shown.streams, shown.attributes.labels),
        }
    }
}
