//! The one writer of telemetry: puts what waits together into the journal, answers after the commit, and makes sums of
//! minutes that are over, of their hours, and of their days.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tidemark_domain::fact::{Fact, Report, Source, What};
use tidemark_domain::id::{CpName, NodeId};
use tidemark_domain::time::{MINUTE, SECOND, Timestamp};
use tidemark_domain::traffic::{Step, Sums};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::cells::{Cells, Gauge, Summed};
use super::names::Kind;
use super::open::{Open, SAMPLES, Versions};
use super::rows::Row;
use super::{BODIES_MAX, BodyDigest, Counted, GRACE_S, QUEUE_MAX, REMEMBERED_S, Stored, Submission, Telemetry};
use crate::board::Snapshot;
use crate::clock::Clock;
use crate::ingest::{Ingest, SubmitError};
use crate::store::{
    Retention, Store, StoreError, SumsKept, SumsProgress, SumsRange, SumsRow, SyncCost, TelemetryCommit, TelemetryState,
};

/// Rows in one transaction, as long as more are waiting.
const BATCH_MAX: usize = 20_000;
/// How often it is looked whether a minute is over.
const TICK: Duration = Duration::from_millis(500);
/// Moments of which the versions of nodes are known: more than a minute waits for its sums.
const MOMENTS_MAX: usize = 8;
/// How often a node's traffic is told to the fleet: less than half of what makes it late.
const SERVED_EVERY_MS: i64 = 20 * SECOND;
/// How often what is too old is dropped.
const PURGE_EVERY_MS: i64 = 10 * MINUTE;
/// Partitions of each kind in one round of that.
const PURGE_ROWS: u32 = 500;
/// Hours or days that are made in one go, so that nobody waits for long.
const SEALED_MAX: usize = 24;

/// The writer and what it owns.
pub struct Writer {
    telemetry: Telemetry,
    ingest: Ingest,
    waiting: mpsc::Receiver<Submission>,
    retention: Retention,
    /// Bodies by when they came, and all of them.
    bodies: VecDeque<(Timestamp, BodyDigest)>,
    known_bodies: HashSet<BodyDigest>,
    /// The versions of nodes at the beginnings of the last minutes.
    versions: BTreeMap<i64, Versions>,
    /// When a node's traffic was last told to the fleet.
    served: HashMap<(u32, u32), Timestamp>,
    purged_at: Timestamp,
}

impl Telemetry {
    /// Reads what is stored, and makes the writer, which is to be run.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub async fn live(
        store: Store,
        clock: Clock,
        snapshots: Arc<ArcSwap<Snapshot>>,
        ingest: Ingest,
        retention: Retention,
    ) -> Result<(Self, Writer), StoreError> {
        let mut state = store.telemetry_state().await?;
        let now = clock.now();
        let now_s = now.ms().div_euclid(SECOND);
        if state.progress == SumsProgress::default() {
            // Nothing was ever told: sums begin here.
            let floor = |step: Step| step.floor(now_s - GRACE_S);
            state.progress =
                SumsProgress { minutes_s: floor(Step::Minute), hours_s: floor(Step::Hour), days_s: floor(Step::Day) };
            // Written down at once: a service that stops before its first minute is over begins here again.
            store.telemetry_sum(&[], state.progress, Timestamp::from_ms(0)).await?;
        }
        let mut writer_bodies = VecDeque::new();
        for (at, digests) in &state.bodies {
            writer_bodies.extend(digests.as_chunks::<16>().0.iter().map(|digest| (*at, *digest)));
        }
        let state = TelemetryState { bodies: Vec::new(), ..state };
        let (queue, waiting) = mpsc::channel(QUEUE_MAX);
        let telemetry = Self::of(store, clock, snapshots, Some(queue), state);
        let writer = Writer {
            telemetry: telemetry.clone(),
            ingest,
            waiting,
            retention,
            known_bodies: writer_bodies.iter().map(|(_, digest)| *digest).collect(),
            bodies: writer_bodies,
            versions: BTreeMap::new(),
            served: HashMap::new(),
            purged_at: now,
        };
        Ok((telemetry, writer))
    }
}

impl Telemetry {
    /// Writes sums of the past: of one or more whole hours, before anything is told of them by others. What is not over
    /// yet is told as if it were now.
    ///
    /// # Errors
    /// If the store fails; nothing of the hours is written then.
    pub async fn write_past(&self, rows: &[Row]) -> Result<(), StoreError> {
        let progress = *self.0.progress.lock();
        let mut past = Open::default();
        let over = progress.minutes_s / 60;
        let (old, young): (Vec<&Row>, Vec<&Row>) = rows.iter().partition(|row| row.minute() < over);
        old.into_iter().for_each(|row| past.add(row));
        let minutes = past.sums_before(over, &BTreeMap::new());
        let mut sums = minutes.clone();
        for (step, complete_s) in [(Step::Hour, progress.hours_s), (Step::Day, progress.days_s)] {
            let mut starts: Vec<i64> = minutes.iter().map(|row| step.floor(row.at_s)).collect();
            starts.sort_unstable();
            starts.dedup();
            for start_s in starts.into_iter().filter(|start_s| start_s + step.seconds() <= complete_s) {
                for kind in 0..=SAMPLES {
                    let inside = |row: &&SumsRow| row.kind == kind && step.floor(row.at_s) == start_s;
                    let mut parts: Vec<SumsRow> = minutes.iter().filter(inside).cloned().collect();
                    let range =
                        SumsRange { kind, step, from_s: start_s, to_s: start_s + 1, scope: None, with_cells: true };
                    parts.extend(self.0.store.telemetry_sums(range).await?);
                    sums.extend(merged_kind(&parts, step, start_s));
                }
            }
        }
        let fresh = self.fresh();
        let commit = TelemetryCommit { scopes: fresh.scopes, names: fresh.names, ..TelemetryCommit::default() };
        self.0.store.telemetry_commit(self.now(), &commit).await?;
        self.0.store.telemetry_sum(&sums, progress, Timestamp::from_ms(0)).await?;
        let young: Vec<Row> = young.into_iter().copied().collect();
        if !young.is_empty() && self.submit(young, Vec::new(), None).await.is_err() {
            tracing::warn!("the last minutes of the past were not taken");
        }
        Ok(())
    }
}

impl Writer {
    /// Works until `closing` comes and nothing waits.
    pub async fn run(mut self, closing: CancellationToken) {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = closing.cancelled(), if !self.waiting.is_closed() => self.waiting.close(),
                taken = self.waiting.recv() => match taken {
                    Some(first) => self.take(first).await,
                    None => break,
                },
                _ = tick.tick() => self.tick().await,
            }
        }
    }

    /// Takes a submission and whatever waits behind it.
    async fn take(&mut self, first: Submission) {
        let mut rows = first.rows.len();
        let mut batch = vec![first];
        while rows < BATCH_MAX {
            let Ok(next) = self.waiting.try_recv() else { break };
            rows += next.rows.len();
            batch.push(next);
        }
        let settles = batch.iter().any(|one| one.rows.is_empty() && one.costs.is_empty());
        if settles {
            self.tick().await;
        }
        self.commit(batch).await;
    }

    async fn commit(&mut self, batch: Vec<Submission>) {
        let telemetry = self.telemetry.clone();
        let now = telemetry.now();
        self.forget_bodies(now);
        let open_from = telemetry.0.progress.lock().minutes_s / 60;
        let mut fresh_bodies: Vec<BodyDigest> = Vec::new();
        let mut rows: Vec<Row> = Vec::new();
        let mut costs: Vec<SyncCost> = Vec::new();
        let mut answers = Vec::with_capacity(batch.len());
        for submission in batch {
            let repeated = submission.digest.is_some_and(|digest| !self.known_bodies.insert(digest));
            if repeated {
                Counted::add(&telemetry.0.counted.repeated, 1);
                answers.push((submission.done, Stored::Repeated));
                continue;
            }
            fresh_bodies.extend(submission.digest);
            // A minute that is in sums takes nothing more.
            rows.extend(submission.rows.into_iter().map(|row| row.in_minute(row.minute().max(open_from))));
            costs.extend(submission.costs);
            answers.push((submission.done, Stored::New));
        }
        if rows.is_empty() && costs.is_empty() {
            // Somebody waits only to be told that all before is done.
            answers.into_iter().for_each(|(done, answer)| {
                let _ = done.send(Ok(answer));
            });
            return;
        }
        let fresh = telemetry.fresh();
        let mut packed = Vec::with_capacity(rows.len() * 40);
        rows.iter().for_each(|row| row.write(&mut packed));
        let commit = TelemetryCommit {
            scopes: fresh.scopes.clone(),
            names: fresh.names.clone(),
            rows: packed,
            digests: fresh_bodies.concat(),
            costs,
        };
        let stored = telemetry.0.store.telemetry_commit(now, &commit).await;
        if let Err(error) = &stored {
            tracing::error!("{} rows of telemetry could not be stored: {error}", rows.len());
            telemetry.0.names.put_back(fresh);
            fresh_bodies.iter().for_each(|digest| {
                self.known_bodies.remove(digest);
            });
        } else {
            let mut open = telemetry.0.open.lock();
            rows.iter().for_each(|row| open.add(row));
            drop(open);
            Counted::add(&telemetry.0.counted.entries, rows.len());
            self.bodies.extend(fresh_bodies.into_iter().map(|digest| (now, digest)));
            self.tell_served(&rows, now);
        }
        for (done, answer) in answers {
            // A repeat of what could not be stored was not stored either. A sender that does not wait is no fault.
            let _ = done.send(stored.as_ref().map(|()| answer).map_err(|_| SubmitError::Store));
        }
    }

    fn forget_bodies(&mut self, now: Timestamp) {
        while let Some((at, digest)) = self.bodies.front().copied() {
            let early = now.since(at) < REMEMBERED_S * SECOND;
            if early && self.bodies.len() < BODIES_MAX {
                break;
            }
            if early {
                Counted::add(&self.telemetry.0.counted.forgotten, 1);
            }
            self.known_bodies.remove(&digest);
            self.bodies.pop_front();
        }
    }

    /// Traffic of a node proves that it serves, though nobody may hear it (DESIGN 4, `serving_while_silent`).
    fn tell_served(&mut self, rows: &[Row], now: Timestamp) {
        let mut facts = Vec::new();
        let snapshot = self.telemetry.0.snapshots.load();
        for row in rows {
            let Row::Traffic(traffic) = row else { continue };
            let who = (traffic.scope, traffic.node);
            if traffic.node == 0 || self.served.get(&who).is_some_and(|at| now.since(*at) < SERVED_EVERY_MS) {
                continue;
            }
            self.served.insert(who, now);
            let names = &self.telemetry.0.names;
            let control_plane = names.scope_name(traffic.scope).parse::<CpName>().ok();
            let node = names.name(traffic.node).and_then(|name| name.parse::<NodeId>().ok());
            let (Some(control_plane), Some(node)) = (control_plane, node) else { continue };
            // Traffic makes no node: it says nothing of configurations.
            if snapshot.control_plane(&control_plane).is_none_or(|of| of.node(&node).is_none()) {
                continue;
            }
            let what = What::Report(Box::new(Report::silent(node)));
            facts.push(Fact { at: now, recorded_at: now, control_plane, source: Source::AccessLog, what });
        }
        if facts.is_empty() {
            return;
        }
        let ingest = self.ingest.clone();
        tokio::spawn(async move {
            if let Err(error) = ingest.submit(facts, None).await {
                tracing::debug!("traffic was not told to the fleet: {error}");
            }
        });
    }

    async fn tick(&mut self) {
        let now = self.telemetry.now();
        let now_s = now.ms().div_euclid(SECOND);
        self.look_at_versions(now_s.div_euclid(60));
        let over = (now_s - GRACE_S).div_euclid(60);
        if let Err(error) = self.sum_up(over).await {
            tracing::error!("minutes of telemetry could not be summed up: {error}");
        }
        for step in [Step::Hour, Step::Day] {
            if let Err(error) = self.seal(step).await {
                tracing::error!("sums of telemetry could not be made: {error}");
            }
        }
        if now.since(self.purged_at) >= PURGE_EVERY_MS {
            self.purge(now).await;
        }
    }

    /// Notes which version each node runs at the beginning of a minute, once.
    fn look_at_versions(&mut self, minute: i64) {
        if self.versions.contains_key(&minute) {
            return;
        }
        let snapshot = self.telemetry.0.snapshots.load();
        let names = &self.telemetry.0.names;
        let mut versions = Versions::new();
        for (scope, name) in names.scopes() {
            let Some(control_plane) = name.parse::<CpName>().ok().and_then(|name| snapshot.control_plane(&name)) else {
                continue;
            };
            for (node, id) in names.all(scope, Kind::Node) {
                let found = id.parse::<NodeId>().ok().and_then(|id| control_plane.node(&id));
                if let Some(version) = found.and_then(|(_, assessment)| assessment.verdict.config.running()) {
                    versions.insert((scope, node), version.number());
                }
            }
        }
        self.versions.insert(minute, versions);
        while self.versions.len() > MOMENTS_MAX {
            self.versions.pop_first();
        }
    }

    /// Makes sums of the minutes before this one.
    async fn sum_up(&mut self, over: i64) -> Result<(), StoreError> {
        let telemetry = self.telemetry.clone();
        let before = *telemetry.0.progress.lock();
        let progress = SumsProgress { minutes_s: (over * 60).max(before.minutes_s), ..before };
        if progress == before {
            return Ok(());
        }
        let sums = {
            let open = telemetry.0.open.lock();
            if open.has_before(over) { open.sums_before(over, &self.versions) } else { Vec::new() }
        };
        if !sums.is_empty() {
            // What was received later may still speak of the next minute.
            let journal_before = Timestamp::from_ms(progress.minutes_s * SECOND - super::EARLY_S * SECOND);
            telemetry.0.store.telemetry_sum(&sums, progress, journal_before).await?;
        }
        // Together, so that whoever asks finds a minute in one of the two places, and never in both.
        let mut open = telemetry.0.open.lock();
        open.forget(over);
        *telemetry.0.progress.lock() = progress;
        Ok(())
    }

    /// Makes hours of minutes, and days of hours, where all of them are there.
    async fn seal(&mut self, step: Step) -> Result<(), StoreError> {
        let telemetry = self.telemetry.clone();
        for _ in 0..SEALED_MAX {
            let before = *telemetry.0.progress.lock();
            let (from_s, complete_s, of) = match step {
                Step::Minute => return Ok(()),
                Step::Hour => (before.hours_s, before.minutes_s, Step::Minute),
                Step::Day => (before.days_s, before.hours_s, Step::Hour),
            };
            let to_s = from_s + step.seconds();
            if to_s > complete_s {
                return Ok(());
            }
            let mut sums = Vec::new();
            for kind in 0..=SAMPLES {
                let range = SumsRange { kind, step: of, from_s, to_s, scope: None, with_cells: true };
                let parts = telemetry.0.store.telemetry_sums(range).await?;
                sums.extend(merged_kind(&parts, step, from_s));
            }
            let progress = match step {
                Step::Day => SumsProgress { days_s: to_s, ..before },
                Step::Minute | Step::Hour => SumsProgress { hours_s: to_s, ..before },
            };
            telemetry.0.store.telemetry_sum(&sums, progress, Timestamp::from_ms(0)).await?;
            *telemetry.0.progress.lock() = progress;
        }
        Ok(())
    }

    async fn purge(&mut self, now: Timestamp) {
        let before_s = |kept_ms: i64| now.plus(-kept_ms).ms().div_euclid(SECOND);
        let Retention { minutes_ms, hours_ms, days_ms, .. } = self.retention;
        let kept = SumsKept {
            before_s: [before_s(minutes_ms), before_s(hours_ms), before_s(days_ms)],
            bodies_before: now.plus(-REMEMBERED_S * SECOND),
            costs_before: now.plus(-days_ms),
        };
        match self.telemetry.0.store.telemetry_purge(kept, PURGE_ROWS).await {
            Ok(true) => {}
            Ok(false) => self.purged_at = now,
            Err(error) => {
                tracing::warn!("old telemetry could not be dropped: {error}");
                self.purged_at = now;
            }
        }
    }
}

/// The same, whatever the kind holds.
fn merged_kind(parts: &[SumsRow], step: Step, at_s: i64) -> Vec<SumsRow> {
    match parts.first() {
        None => Vec::new(),
        Some(first) if first.kind == SAMPLES => merged::<Gauge>(parts, step, at_s),
        Some(_) => merged::<Sums>(parts, step, at_s),
    }
}

/// The parts of one kind as one row for each control plane.
fn merged<S: Summed>(parts: &[SumsRow], step: Step, at_s: i64) -> Vec<SumsRow> {
    let mut scopes: BTreeMap<u32, (u8, S, Cells<S>)> = BTreeMap::new();
    for part in parts {
        let (_, whole, cells) = scopes.entry(part.scope).or_insert_with(|| (part.kind, S::default(), Cells::default()));
        let read = S::read(&mut part.whole.as_slice());
        if cells.add_packed(&part.cells, |_| true).is_none() || read.is_none() {
            tracing::error!("sums of telemetry of {} cannot be read", Timestamp::from_ms(part.at_s * SECOND));
        }
        whole.merge(&read.unwrap_or_default());
    }
    let row = |(scope, (kind, sums, cells)): (u32, (u8, S, Cells<S>))| {
        let mut whole = Vec::new();
        sums.write(&mut whole);
        SumsRow { kind, step, at_s, scope, whole, cells: cells.packed() }
    };
    scopes.into_iter().map(row).collect()
}
