//! The way between the simulated world and Tidemark: it loses, repeats, delays and reorders reports, holds back words of
//! control planes, and is silent while Tidemark is deaf. What a fact was true of goes with it, for the oracle alone.

use super::story::{Deaf, Story, Weather, Why};
use super::truth::{Told, Truth};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashSet};
use tidemark_domain::fact::{Attributes, Fact, Source, What};
use tidemark_domain::id::{CpName, NodeId};
use tidemark_domain::time::{SECOND, Timestamp};
use tidemark_server::simulate::random::Random;

/// A fact on its way.
#[derive(Clone, Debug)]
pub struct Parcel {
    pub fact: Fact,
    /// What it was true of.
    pub told: Told,
}

/// The way.
#[derive(Debug)]
pub struct Channel {
    weather: Weather,
    deaf: Vec<(Timestamp, Timestamp, Why)>,
    chance: Random,
    parcels: Vec<Option<Parcel>>,
    /// By moment of delivery, then by chance within a tick, then by number.
    queue: BinaryHeap<Reverse<(Timestamp, usize, usize)>>,
    /// Words that wait, by control plane: until when, and their numbers.
    words: BTreeMap<CpName, Vec<(Timestamp, usize)>>,
    /// The last emission of a word, and until when it waits.
    word_waits: BTreeMap<CpName, (Timestamp, Timestamp)>,
    /// Nodes whose agents do not say how old a report is, and the last moment at which one of theirs came.
    ageless: BTreeMap<NodeId, Option<Timestamp>>,
    /// Nodes whose attributes arrived.
    known: HashSet<(NodeId, Source)>,
}

impl Channel {
    pub fn new(seed: u64, story: &Story, start: Timestamp) -> Self {
        let span = |deaf: &Deaf| (start.plus(deaf.from_ms), start.plus(deaf.until_ms), deaf.why);
        Self {
            weather: story.weather.clone(),
            deaf: story.deaf.iter().map(span).collect(),
            chance: Random::new(seed, "channel"),
            parcels: Vec::new(),
            queue: BinaryHeap::new(),
            words: BTreeMap::new(),
            word_waits: BTreeMap::new(),
            ageless: BTreeMap::new(),
            known: HashSet::new(),
        }
    }

    /// Until when Tidemark is deaf at a moment.
    fn deaf_until(&self, at: Timestamp) -> Option<Timestamp> {
        self.deaf.iter().find(|(from, until, _)| *from <= at && at < *until).map(|(_, until, _)| *until)
    }

    /// Takes a fact that was made now.
    pub fn take(&mut self, now: Timestamp, fact: Fact, truth: &Truth) {
        let told = truth.told(now, &fact);
        match &fact.what {
            What::Word(_) => self.take_word(now, Parcel { fact, told }),
            What::Read => {
                // Who reads what is expected has heard it.
                self.flush(&fact.control_plane, now);
                self.send_if_heard(now, now, Parcel { fact, told });
            }
            What::Report(_) if fact.source == Source::Push => self.take_push(now, Parcel { fact, told }),
            What::Report(_)
            | What::Connection(_)
            | What::ControlPlaneDown
            | What::Listening(_)
            | What::Declared(_)
            | What::Retired(_) => {
                let repeated = matches!(fact.what, What::Report(_)) && self.chance.once_in(self.weather.repeated);
                let parcel = Parcel { fact, told };
                if repeated {
                    self.send_if_heard(now, now, parcel.clone());
                }
                self.send_if_heard(now, now, parcel);
            }
        }
    }

    fn send_if_heard(&mut self, now: Timestamp, at: Timestamp, parcel: Parcel) {
        if self.deaf_until(now).is_none() && self.deaf_until(at).is_none() {
            self.send(at, 0, parcel);
        }
    }

    fn send(&mut self, at: Timestamp, place: usize, parcel: Parcel) -> usize {
        let number = self.parcels.len();
        self.parcels.push(Some(parcel));
        self.queue.push(Reverse((at, place, number)));
        number
    }

    /// Words are told in their order, late at most until the next one. What is told while Tidemark is deaf is told again
    /// when it is back: a pipeline tries again, and who reconnects is sent the newest.
    fn take_word(&mut self, now: Timestamp, parcel: Parcel) {
        let name = parcel.fact.control_plane.clone();
        let waits_until = match self.word_waits.get(&name) {
            Some((emitted, until)) if *emitted == now => *until,
            _ => {
                self.flush(&name, now);
                let late = parcel.fact.source == Source::Push && self.chance.once_in(self.weather.word_delayed);
                let delay = if late { self.chance.span(0, self.weather.word_delay_ms) } else { 0 };
                let until = now.plus(delay);
                let until = self.deaf_until(until).unwrap_or(until);
                self.word_waits.insert(name.clone(), (now, until));
                until
            }
        };
        let number = self.send(waits_until, 0, parcel);
        self.words.entry(name).or_default().push((waits_until, number));
    }

    /// Words that still wait are told now, if Tidemark hears.
    fn flush(&mut self, name: &CpName, now: Timestamp) {
        if self.deaf_until(now).is_some() {
            return;
        }
        for (until, number) in self.words.remove(name).unwrap_or_default() {
            if until > now {
                self.queue.push(Reverse((now, 0, number)));
            }
        }
    }

    fn take_push(&mut self, now: Timestamp, mut parcel: Parcel) {
        if self.chance.once_in(self.weather.lost) {
            return;
        }
        let What::Report(report) = &mut parcel.fact.what else { return };
        let node = report.node.clone();
        if !self.ageless.contains_key(&node) && self.chance.once_in(self.weather.ageless) {
            self.ageless.insert(node.clone(), None);
        }
        let known = self.known.contains(&(node.clone(), Source::Push));
        if known && self.chance.once_in(self.weather.terse) {
            match self.chance.once_in(2) {
                true => report.attributes.labels = None,
                false => report.attributes = Attributes::default(),
            }
        }
        let ageless = self.ageless.get(&node).copied();
        let late = self.chance.once_in(self.weather.delayed);
        let delay = match (late, ageless) {
            (_, Some(_)) => self.chance.span(0, SECOND),
            (true, None) => self.chance.span(0, self.weather.delay_ms),
            (false, None) => self.chance.span(0, 50),
        };
        let tick_ms = self.weather.tick_ms;
        let mut at = Timestamp::from_ms((now.ms() + delay + tick_ms - 1) / tick_ms * tick_ms);
        if let Some(last) = ageless {
            at = at.max(last.map_or(at, |last| last.plus(1)));
            self.ageless.insert(node.clone(), Some(at));
            parcel.fact.at = at;
        }
        let repeated = ageless.is_none() && self.chance.once_in(self.weather.repeated);
        if repeated {
            let again = at.plus(self.chance.span(0, 20 * SECOND));
            let place = self.chance.below(1_000);
            self.send_report(again, place, parcel.clone());
        }
        let place = self.chance.below(1_000);
        self.send_report(at, place, parcel);
    }

    /// A report is told at a moment, if Tidemark hears then.
    fn send_report(&mut self, at: Timestamp, place: usize, mut parcel: Parcel) {
        if self.deaf_until(at).is_some() {
            return;
        }
        parcel.fact.recorded_at = at;
        if let What::Report(report) = &parcel.fact.what
            && report.attributes.labels.is_some()
        {
            self.known.insert((report.node.clone(), Source::Push));
        }
        self.send(at, place, parcel);
    }

    /// The moment of the next delivery.
    pub fn next_at(&self) -> Option<Timestamp> {
        self.queue.peek().map(|Reverse((at, ..))| *at)
    }

    /// What is delivered until a moment, that moment included.
    pub fn deliver(&mut self, until: Timestamp) -> Vec<Parcel> {
        let mut parcels = Vec::new();
        while let Some(Reverse((at, _, number))) = self.queue.peek().copied()
            && at <= until
        {
            self.queue.pop();
            // A word that was flushed is not told again.
            let Some(mut parcel) = self.parcels[number].take() else { continue };
            parcel.fact.recorded_at = at;
            if matches!(parcel.fact.what, What::Word(_)) {
                parcel.fact.at = at;
            }
            parcels.push(parcel);
        }
        parcels
    }
}
