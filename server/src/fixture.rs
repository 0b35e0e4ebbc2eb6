//! A fleet of our own that reports in real time, so that the dashboard is alive before the first gateway is connected
//! (`tidemark serve --demo-fleet`). It takes the same way in as everybody: facts through the queue.
//!
//! Three control planes publish now and then; most nodes follow within seconds, a few do not, each for another reason.
//! Deterministic but for the time: every choice is a hash of names and counts.

use crate::clock::Clock;
use crate::ingest::{Ingest, SubmitError};
use std::time::Duration;
use tidemark_domain::fact::{
    Announcement, ApplyFailure, Attributes, ConfigRef, Declaration, Fact, Listening, Protocol, Report, Said, Scope,
    Shape, Source, SyncMode, SyncStatus, What, WithheldReason, Word,
};
use tidemark_domain::hash::ConfigHash;
use tidemark_domain::id::{CpName, Labels, Line, NodeId, Token};
use tidemark_domain::time::{DAY, MINUTE, SECOND, Timestamp};
use tokio_util::sync::CancellationToken;

/// Milliseconds between two reports of a node: Kong's 30 s (`kong-hybrid.md` 1.7).
const INTERVAL_MS: i64 = 30 * SECOND;
/// How often the fleet moves.
const STEP: Duration = Duration::from_secs(1);

/// A control plane of the fixture.
struct Plane {
    name: &'static str,
    display_name: &'static str,
    nodes: u32,
    /// Milliseconds between two publications.
    publishes_every_ms: i64,
    versions: Vec<Timestamp>,
    regions: &'static [&'static str],
}

/// What is the matter with a node.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Trouble {
    None,
    /// Stays at an early version.
    Stuck,
    /// Refuses the newest version.
    Rejects,
    /// Lacks a plugin.
    Incompatible,
    /// Stopped reporting after a while.
    Silent,
    /// Its clock is ahead.
    Skewed,
}

/// What the fleet has behind it when it starts: long enough for each trouble to show.
const PAST_MS: i64 = 10 * MINUTE;

/// Reports for the fleet until `closing` comes. It begins ten minutes old, but not before `last_recorded_at`: what is
/// stored already is not told again.
pub async fn run(ingest: Ingest, clock: Clock, last_recorded_at: Option<Timestamp>, closing: CancellationToken) {
    let mut told = Timed::begin(clock.now(), last_recorded_at);
    loop {
        let now = clock.now();
        let facts = told.until(now);
        match ingest.submit(facts, None).await {
            Ok(_) | Err(SubmitError::Full | SubmitError::Store) => {}
            Err(SubmitError::Closed) => return,
        }
        tokio::select! {
            () = closing.cancelled() => return,
            () = tokio::time::sleep(STEP) => {}
        }
    }
}

/// The fleet, told second by second.
struct Timed {
    planes: Vec<Plane>,
    started_at: Timestamp,
    /// The next second that is not told yet.
    next: Timestamp,
}

impl Timed {
    fn begin(now: Timestamp, last_recorded_at: Option<Timestamp>) -> Self {
        let past = now.plus(-PAST_MS);
        let started_at = last_recorded_at.map_or(past, |last| last.max(past)).min(now);
        Self { planes: planes(), started_at, next: started_at }
    }

    /// What happened until `now`, and was not told yet.
    fn until(&mut self, now: Timestamp) -> Vec<Fact> {
        let mut facts = Vec::new();
        while self.next <= now {
            let at = self.next;
            for plane in &mut self.planes {
                if at == self.started_at {
                    facts.extend(declared(plane, at));
                }
                facts.extend(step(plane, self.started_at, at));
            }
            self.next = at.plus(SECOND);
        }
        // We learn of what is past only now.
        facts.iter_mut().for_each(|fact| fact.recorded_at = now);
        facts
    }
}

fn planes() -> Vec<Plane> {
    let plane = |name, display_name, nodes, publishes_every_ms, regions| Plane {
        name,
        display_name,
        nodes,
        publishes_every_ms,
        versions: Vec::new(),
        regions,
    };
    vec![
        plane("eu-prod", "Production, Europe", 120, 4 * MINUTE, &["eu-west-1", "eu-central-1"][..]),
        plane("us-prod", "Production, US", 80, 7 * MINUTE, &["us-east-1", "us-west-2"][..]),
        plane("staging", "Staging", 40, 90 * SECOND, &["eu-west-1"][..]),
    ]
}

fn declared(plane: &Plane, now: Timestamp) -> Vec<Fact> {
    let interval_ms = u32::try_from(INTERVAL_MS).unwrap_or(u32::MAX);
    let declaration =
        Declaration { display_name: line(plane.display_name), change_feed: true, ..Declaration::default() };
    vec![
        fact(plane, now, What::Declared(Box::new(declaration))),
        fact(plane, now, What::Listening(Listening::Began { interval_ms })),
    ]
}

/// What happens at one control plane in one step: perhaps a publication, and the reports that are due.
fn step(plane: &mut Plane, started_at: Timestamp, now: Timestamp) -> Vec<Fact> {
    let mut facts = Vec::new();
    let due = plane.versions.last().is_none_or(|last| now.since(*last) >= plane.publishes_every_ms);
    if due {
        plane.versions.push(now);
        facts.push(fact(plane, now, announcement(plane, started_at)));
    }
    let second = now.since(started_at) / SECOND;
    for index in 0..plane.nodes {
        let seed = mix(plane.name, u64::from(index));
        let offset = i64::try_from(seed % 30).unwrap_or(0);
        let lag_ms = i64::try_from(1_000 + seed / 31 % 9_000).unwrap_or(0);
        let newest = plane.versions.last().copied().unwrap_or(now);
        // A report at its turn, and one right after a version was applied.
        let applied = (newest.plus(lag_ms).since(now) + SECOND).clamp(0, SECOND) > 0 && now >= newest.plus(lag_ms);
        if second < 2 || second % 30 == offset || applied {
            facts.extend(report(plane, index, seed, lag_ms, started_at, now));
        }
    }
    facts
}

fn announcement(plane: &Plane, started_at: Timestamp) -> What {
    let number = plane.versions.len();
    let gateways = [gateway(0), gateway(1)];
    let scope = |version: &str| Scope { protocol: None, gateway: version.parse().ok() };
    let hashes = gateways.map(|version| (scope(version), hash_of(plane, number, version, started_at))).to_vec();
    let causes = ["raise a rate limit", "add a route", "renew a certificate", "change an upstream", "add a consumer"];
    let routes = 400 + number as u64;
    let shape = Shape {
        entities: [("services", 120), ("routes", routes), ("plugins", 310), ("certificates", 14), ("snis", 22)]
            .map(|(name, count)| (name.to_owned(), count))
            .into(),
        certificates_without_snis: 0,
        hosts_served: 96,
    };
    let announcement = Announcement {
        token: token(plane, number, started_at),
        hashes,
        cause: line(causes[number % causes.len()]),
        actor: line("pipeline"),
        shape: Some(shape),
        ..Announcement::default()
    };
    What::Word(Box::new(Word { replica: None, scope: Scope::ANY, said: Said::Announced(announcement) }))
}

fn report(plane: &Plane, index: u32, seed: u64, lag_ms: i64, started_at: Timestamp, now: Timestamp) -> Option<Fact> {
    let trouble = trouble(plane, index);
    if trouble == Trouble::Silent && now.since(started_at) > MINUTE {
        return None;
    }
    let reached = plane.versions.iter().filter(|published_at| now >= published_at.plus(lag_ms)).count();
    let number = match trouble {
        Trouble::Stuck | Trouble::Rejects => reached.min(1),
        Trouble::Incompatible => 0,
        Trouble::None | Trouble::Silent | Trouble::Skewed => reached,
    };
    let version = gateway(seed / 7 % 5);
    let node: NodeId = format!("{:016x}-{}", seed, index).parse().ok()?;
    let region = plane.regions[usize::try_from(seed % plane.regions.len() as u64).unwrap_or(0)];
    let labels = [("region", region), ("tier", if seed.is_multiple_of(4) { "internal" } else { "edge" })];
    let labels = Labels::new(labels.map(|(key, value)| (key.to_owned(), value.to_owned()))).ok();
    let expires_days = if index == 5 { 12 } else { 200 + i64::from(index) };
    let attributes = Attributes {
        hostname: line(&format!("gw-{}-{:03}", plane.name, index + 1)),
        ip: line(&format!("10.{}.{}.{}", plane.nodes % 200, index / 200, index % 200 + 10)),
        gateway_version: version.parse().ok(),
        protocol: Some(Protocol::V1),
        sync_mode: Some(SyncMode::Full),
        labels,
        certificate_expires_at: Some(started_at.plus(expires_days * DAY)),
        ..Attributes::default()
    };
    let failure = ApplyFailure {
        refused: None,
        message: line("schema violation: unknown field")?,
        entity: line("plugin rate-limiting"),
        field: line("config.sync_rate"),
    };
    let withheld = SyncStatus::Withheld { reason: WithheldReason::PluginSet, detail: line("http-log is not enabled") };
    let rejects = trouble == Trouble::Rejects && plane.versions.len() > 1;
    let report = Report {
        running: Some(match number {
            0 => ConfigRef::Hash(ConfigHash::ZEROS),
            number => ConfigRef::Hash(hash_of(plane, number, version, started_at)),
        }),
        attributes,
        status: Some(if trouble == Trouble::Incompatible { withheld } else { SyncStatus::Normal }),
        failure: rejects.then_some(failure),
        node_clock: Some(if trouble == Trouble::Skewed { now.plus(90 * SECOND) } else { now }),
        ..Report::silent(node)
    };
    Some(fact(plane, now, What::Report(Box::new(report))))
}

fn trouble(plane: &Plane, index: u32) -> Trouble {
    match (plane.name, index) {
        ("eu-prod", 17 | 63) => Trouble::Stuck,
        ("eu-prod", 31) | ("staging", 12) => Trouble::Silent,
        ("eu-prod", 44) => Trouble::Skewed,
        ("us-prod", 8) => Trouble::Rejects,
        ("us-prod", 55) => Trouble::Incompatible,
        _ => Trouble::None,
    }
}

const fn gateway(place: u64) -> &'static str {
    match place {
        0 => "3.8.1",
        _ => "3.9.1",
    }
}

fn token(plane: &Plane, number: usize, started_at: Timestamp) -> Option<Token> {
    format!("{}-{:x}-{number}", plane.name, started_at.ms()).parse().ok()
}

fn hash_of(plane: &Plane, number: usize, gateway: &str, started_at: Timestamp) -> ConfigHash {
    let name = format!("{}/{number}/{gateway}/{}", plane.name, started_at.ms());
    let text = format!("{:016x}{:016x}", mix(&name, 1), mix(&name, 2));
    text.parse().unwrap_or(ConfigHash::ZEROS)
}

/// FNV-1a over a name and a number: spread well enough for a fixture.
fn mix(name: &str, number: u64) -> u64 {
    let bytes = name.bytes().chain(number.to_le_bytes());
    let hash = bytes
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    hash ^ hash >> 29
}

fn line(text: &str) -> Option<Line> {
    text.parse().ok()
}

fn fact(plane: &Plane, now: Timestamp, what: What) -> Fact {
    let control_plane: CpName = plane.name.parse().expect("the fixture's names are names");
    Fact { at: now, recorded_at: now, control_plane, source: Source::Push, what }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidemark_domain::fleet::{Fleet, Tally};
    use tidemark_domain::policy::Policy;
    use tidemark_domain::verdict::Counter;

    #[test]
    fn ten_minutes_show_every_trouble() {
        let policy = Policy::default();
        let start = Timestamp::from_ms(1_795_000_000_000);
        let mut fleet = Fleet::default();
        let mut told = Timed::begin(start.plus(PAST_MS), None);
        let mut rolled_out = 0;
        let mut tally = Tally::default();
        for second in 0..=PAST_MS / SECOND {
            let now = start.plus(second * SECOND);
            for fact in told.until(now) {
                fleet.observe_live(&fact, &policy);
            }
            tally = Tally::default();
            fleet.assess(&policy, now).for_each(|(_, _, assessment)| tally.add(&assessment.verdict));
            rolled_out = rolled_out.max(tally.counter(Counter::RollingOut));
        }
        assert_eq!(tally.nodes(), 240);
        assert_eq!(tally.counter(Counter::NotHeard), 2);
        assert_eq!(tally.counter(Counter::Blocked), 2);
        assert_eq!(tally.counter(Counter::Behind), 2);
        assert!(tally.counter(Counter::Current) + tally.counter(Counter::RollingOut) == 234, "{tally:?}");
        assert!(rolled_out > 100, "{rolled_out}");
    }
}
