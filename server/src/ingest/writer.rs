//! The one writer: takes submissions from the queue, many at a time, puts their facts into the fleet and the store, and
//! answers after the commit.
//!
//! Facts are observed before they are stored, as what follows from them is stored with them. Should the store refuse,
//! nothing is answered as taken, and the fleet is read back from the store as it was.

use super::{Committed, Submission, SubmitError};
use crate::board::{Board, packed};
use crate::clock::Clock;
use crate::reader::{KEYFRAME_FORMAT, fold};
use crate::store::{Retention, Store};
use std::sync::Arc;
use std::time::Duration;
use tidemark_domain::fact::Fact;
use tidemark_domain::policy::Policy;
use tidemark_domain::time::{HOUR, MINUTE, SECOND, Timestamp};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

/// Facts in one transaction, as long as more are waiting.
const BATCH_MAX: usize = 20_000;
/// How often the answer is renewed: live enough for people, and cheap.
const PUBLISH_EVERY: Duration = Duration::from_millis(500);
/// How often it is noted that the service runs; a restart counts as blindness from the last note.
const ALIVE_EVERY_MS: i64 = 5 * SECOND;
/// How often what is older than it is to be kept is removed, some rows at a time.
const PURGE_EVERY_MS: i64 = 10 * MINUTE;
/// Rows of each kind in one round of that: a round holds facts up for some milliseconds.
const PURGE_ROWS: u32 = 5_000;
/// How often the whole fleet is kept, so that a view of the past begins near.
const KEYFRAME_EVERY_MS: i64 = HOUR;
/// It is kept sooner when so many intervals were closed, and half as many as there are nodes: a view of the past tells
/// them again, and they take as many bytes as the keyframe.
const KEYFRAME_CLOSED_MIN: u64 = 50_000;
/// But not sooner than this: it holds facts up for a part of a second.
const KEYFRAME_PAUSE_MS: i64 = MINUTE;

/// A step of the wall clock that is worth a word (DESIGN 5.8).
const WALL_STEP_MS: i64 = 5 * SECOND;

/// Told of each batch, for those who count.
pub trait Watcher: Send {
    /// Facts were committed, in this time.
    fn committed(&self, facts: usize, took: Duration);
    /// A batch was refused by the store.
    fn failed(&self);
}

/// A watcher that counts nothing.
#[derive(Debug)]
pub struct Unwatched;

impl Watcher for Unwatched {
    fn committed(&self, _facts: usize, _took: Duration) {}
    fn failed(&self) {}
}

/// The writer and what it owns.
pub struct Writer<W> {
    board: Board,
    store: Store,
    clock: Clock,
    policy: Arc<Policy>,
    watcher: W,
    alive_at: Timestamp,
    keyframe_at: Timestamp,
    purged_at: Timestamp,
    wall_step_ms: i64,
    retention: Retention,
    sequence: i64,
    keyframe_sequence: i64,
}

impl<W: Watcher> Writer<W> {
    /// A writer over a board that was folded from this store.
    #[must_use]
    pub fn new(board: Board, store: Store, clock: Clock, policy: Arc<Policy>, sequence: i64, watcher: W) -> Self {
        let now = clock.now();
        Self {
            board,
            store,
            clock,
            policy,
            watcher,
            alive_at: now,
            keyframe_at: now,
            purged_at: now,
            wall_step_ms: 0,
            retention: Retention::default(),
            sequence,
            keyframe_sequence: 0,
        }
    }

    /// The same, keeping things for as long as this says.
    #[must_use]
    pub fn keeping(mut self, retention: Retention) -> Self {
        self.retention = retention;
        self
    }

    /// Works until the queue is closed, or `closing` comes and the queue is empty; then keeps a last keyframe.
    pub async fn run(mut self, mut queue: mpsc::Receiver<Submission>, closing: CancellationToken) {
        let mut renew = interval(PUBLISH_EVERY);
        renew.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = closing.cancelled(), if !queue.is_closed() => queue.close(),
                taken = queue.recv() => match taken {
                    Some(first) => self.take(first, &mut queue).await,
                    None => break,
                },
                _ = renew.tick() => self.renew().await,
            }
        }
        self.note_alive().await;
        self.keep_keyframe().await;
    }

    /// Takes a submission and whatever waits behind it.
    async fn take(&mut self, first: Submission, queue: &mut mpsc::Receiver<Submission>) {
        let mut batch = vec![first];
        let mut facts = batch[0].facts.len();
        while facts < BATCH_MAX {
            let Ok(next) = queue.try_recv() else { break };
            facts += next.facts.len();
            batch.push(next);
        }
        self.commit(batch).await;
    }

    async fn commit(&mut self, batch: Vec<Submission>) {
        let settles = batch.iter().any(|submission| submission.facts.is_empty());
        let mut facts: Vec<Fact> = Vec::new();
        let mut remember = Vec::new();
        let mut taken = Vec::new();
        for submission in &batch {
            for fact in &submission.facts {
                facts.extend(self.board.observe(fact));
                facts.push(fact.clone());
            }
            remember.extend(submission.remember.clone());
            taken.extend(submission.taken.clone());
        }
        let started = crate::clock::stopwatch();
        let stored = self.store.commit(&facts, &remember, &taken).await;
        let answer = match stored {
            Ok(sequence) => {
                self.watcher.committed(facts.len(), started.elapsed());
                self.sequence = sequence;
                Ok(Committed { sequence })
            }
            Err(error) => {
                tracing::error!("{} facts could not be stored: {error}", facts.len());
                self.watcher.failed();
                self.read_back().await;
                Err(SubmitError::Store)
            }
        };
        if settles {
            self.board.publish(self.clock.now());
        }
        for submission in batch {
            // A sender that does not wait any more is no fault.
            let _ = submission.done.send(answer);
        }
    }

    async fn read_back(&mut self) {
        match fold(&self.store, None, Arc::clone(&self.policy)).await {
            Ok(fleet) => self.board.replace(fleet),
            Err(error) => tracing::error!("the fleet could not be read back: {error}"),
        }
    }

    async fn renew(&mut self) {
        let now = self.clock.now();
        self.board.publish(now);
        if now.since(self.alive_at) >= ALIVE_EVERY_MS {
            self.note_alive().await;
        }
        let closed = self.store.closed_since_keyframe().await.unwrap_or(0);
        if keyframe_is_due(now.since(self.keyframe_at), closed, self.board.fleet().len()) {
            self.keep_keyframe().await;
        }
        if now.since(self.purged_at) >= PURGE_EVERY_MS {
            self.purge(now).await;
        }
        self.watch_the_wall();
    }

    /// Removes a round of what is too old; the next round comes at once while there is more.
    async fn purge(&mut self, now: Timestamp) {
        match self.store.purge(now, self.retention, PURGE_ROWS).await {
            Ok(purged) if purged.more => {}
            Ok(_) => self.purged_at = now,
            Err(error) => {
                tracing::warn!("what is too old could not be removed: {error}");
                self.purged_at = now;
            }
        }
    }

    /// A step of the wall clock changes no verdict, as silence is measured on a clock that does not step; but whoever
    /// compares our times with others should know (DESIGN 5.8).
    fn watch_the_wall(&mut self) {
        let step_ms = self.clock.wall_step_ms();
        if (step_ms - self.wall_step_ms).abs() > WALL_STEP_MS {
            tracing::warn!(
                "the wall clock stepped by {} ms; times are counted on from the old one",
                step_ms - self.wall_step_ms
            );
            self.wall_step_ms = step_ms;
        }
    }

    async fn note_alive(&mut self) {
        self.alive_at = self.clock.now();
        if let Err(error) = self.store.mark_alive(self.alive_at).await {
            tracing::warn!("it could not be noted that the service runs: {error}");
        }
    }

    async fn keep_keyframe(&mut self) {
        self.keyframe_at = self.clock.now();
        if self.sequence == self.keyframe_sequence {
            return;
        }
        let kept = match packed(self.board.fleet()) {
            Ok(bytes) => self.store.write_keyframe(self.sequence, self.keyframe_at, KEYFRAME_FORMAT, bytes).await,
            Err(error) => return tracing::error!("the fleet cannot be packed: {error}"),
        };
        match kept {
            Ok(()) => self.keyframe_sequence = self.sequence,
            Err(error) => tracing::warn!("no keyframe was kept: {error}"),
        }
    }
}

/// Whether the next keyframe is due, by the time since the last one, the intervals closed since, and the nodes.
fn keyframe_is_due(since_ms: i64, closed: u64, nodes: usize) -> bool {
    let moved = closed >= KEYFRAME_CLOSED_MIN.max(nodes as u64 / 2);
    since_ms >= KEYFRAME_EVERY_MS || moved && since_ms >= KEYFRAME_PAUSE_MS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_keyframe_is_due_after_an_hour_or_once_half_of_the_fleet_moved() {
        #[track_caller]
        fn check(since_ms: i64, closed: u64, nodes: usize, due: bool) {
            assert_eq!(keyframe_is_due(since_ms, closed, nodes), due, "{since_ms} ms, {closed} closed, {nodes} nodes");
        }
        check(HOUR - 1, 0, 0, false);
        check(HOUR, 0, 0, true);
        check(MINUTE, 49_999, 10, false);
        check(MINUTE, 50_000, 10, true);
        check(MINUTE - 1, 50_000, 10, false);
        check(MINUTE, 50_000, 100_001, true);
        check(MINUTE, 50_000, 100_002, false);
        check(MINUTE, 50_001, 100_002, true);
    }
}
