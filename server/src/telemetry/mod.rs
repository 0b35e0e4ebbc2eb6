//! What gateways do: telemetry in, sums kept, questions answered.
//!
//! Read in this order: [`rows`] is what was told, with numbers for [`names`]; [`writer`] makes it safe and answers;
//! [`open`] sums the minutes that are not over, in [`cells`]; [`ask`] answers from those and from the store. What comes in
//! is read by `kong/http_log.rs` and its like, and becomes rows in [`take`].
//!
//! **What is promised.** What was answered is on the disk. It is in the journal first, one row of the store for all that
//! waited together; a minute that is over (and [`GRACE_S`] have passed, as logs come late) becomes sums in the same
//! transaction in which the journal lets go of it. After a crash the journal is read again: nothing is lost, and nothing
//! counts twice, as rows of minutes that are in sums already are passed over.
//!
//! **A body that comes twice.** Kong sends the same body again for up to 60 s where it got no answer
//! (`kong-hybrid.md` 5.2). The digest of each body is stored with its rows and remembered for [`REMEMBERED_S`]: a repeat
//! within that time is answered and not counted. The digest is that of the bytes and of the path; two different requests
//! never share one, as each entry has an id and a time. At most [`BODIES_MAX`] are remembered; beyond that the oldest are
//! forgotten early, which is counted.
//!
//! **Which minute.** That of the request, where the sender's clock is near ours: `started_at` counts if it is at most
//! [`LATE_S`] before and [`EARLY_S`] after the receipt (DESIGN 5.8 takes a node's clock as a claim; within these bounds it
//! cannot do more than move a request by two minutes, and a sender that was held up makes no false peak). Else the minute
//! of the receipt.

pub mod rows;

pub mod names;

pub mod cells;

pub mod open;

pub mod take;

pub mod told;

pub mod writer;

pub mod ask;

pub mod node;

pub mod usage;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use self::names::{Fresh, Names};
use self::open::Open;
use self::rows::Row;
use crate::board::Snapshot;
use crate::clock::Clock;
use crate::ingest::SubmitError;
use crate::store::{Store, StoreError, SumsProgress, SyncCost, TelemetrySizes};
use tidemark_domain::time::Timestamp;

/// A minute is summed up so many seconds after its end: later than anything that may count for it.
pub const GRACE_S: i64 = 130;
/// How much older than its receipt a request may be.
pub const LATE_S: i64 = 120;
/// How much younger: the clocks of gateways are a little off.
pub const EARLY_S: i64 = 5;
/// How long a body is remembered.
pub const REMEMBERED_S: i64 = 600;
/// Bodies that are remembered at most: 64 MiB of digests.
pub const BODIES_MAX: usize = 4_000_000;
/// Submissions that may wait for the writer.
pub const QUEUE_MAX: usize = 4_096;

/// The digest of a body and its path.
pub type BodyDigest = [u8; 16];

/// Telemetry of this server. Cheap to clone.
#[derive(Clone)]
pub struct Telemetry(Arc<Inner>);

struct Inner {
    names: Names,
    open: Mutex<Open>,
    progress: Mutex<SumsProgress>,
    store: Store,
    clock: Clock,
    snapshots: Arc<ArcSwap<Snapshot>>,
    queue: Option<mpsc::Sender<Submission>>,
    counted: Counted,
}

/// What this process counted.
#[derive(Debug, Default)]
pub struct Counted {
    entries: AtomicU64,
    refused: AtomicU64,
    repeated: AtomicU64,
    unattributed: AtomicU64,
    forgotten: AtomicU64,
}

/// [`Counted`] at a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Entries and samples that were stored.
    pub entries: u64,
    /// Entries that were refused.
    pub refused: u64,
    /// Bodies that came again.
    pub repeated: u64,
    /// Entries of nobody's control plane.
    pub unattributed: u64,
    /// Bodies that were forgotten early.
    pub forgotten: u64,
    /// Names that came after the bound of their kind.
    pub names_over: u64,
}

impl Counted {
    fn add(counter: &AtomicU64, more: usize) {
        counter.fetch_add(more as u64, Ordering::Relaxed);
    }
}

/// What is stored together or not at all.
#[derive(Debug)]
struct Submission {
    rows: Vec<Row>,
    costs: Vec<SyncCost>,
    digest: Option<BodyDigest>,
    done: oneshot::Sender<Result<Stored, SubmitError>>,
}

/// What became of a submission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// It is on the disk.
    New,
    /// It was already.
    Repeated,
}

impl Telemetry {
    fn of(
        store: Store,
        clock: Clock,
        snapshots: Arc<ArcSwap<Snapshot>>,
        queue: Option<mpsc::Sender<Submission>>,
        state: crate::store::TelemetryState,
    ) -> Self {
        let names = Names::of(state.scopes, state.names);
        let mut open = Open::default();
        for (at, packed) in &state.journal {
            let mut rest = packed.as_slice();
            while !rest.is_empty() {
                let Some(row) = Row::read(&mut rest) else {
                    tracing::error!(
                        "the journal of telemetry of {at} cannot be read from byte {}",
                        packed.len() - rest.len()
                    );
                    break;
                };
                if row.minute() * 60 >= state.progress.minutes_s {
                    open.add(&row);
                }
            }
        }
        Self(Arc::new(Inner {
            names,
            open: Mutex::new(open),
            progress: Mutex::new(state.progress),
            store,
            clock,
            snapshots,
            queue,
            counted: Counted::default(),
        }))
    }

    /// Telemetry that can only be asked: the clock is held.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub async fn held(store: Store, clock: Clock, snapshots: Arc<ArcSwap<Snapshot>>) -> Result<Self, StoreError> {
        let state = store.telemetry_state().await?;
        Ok(Self::of(store, clock, snapshots, None, state))
    }

    /// Stores rows and costs, and answers after the commit.
    ///
    /// # Errors
    /// See [`SubmitError`]; nothing is stored then.
    pub async fn submit(
        &self,
        rows: Vec<Row>,
        costs: Vec<SyncCost>,
        digest: Option<BodyDigest>,
    ) -> Result<Stored, SubmitError> {
        let queue = self.0.queue.as_ref().ok_or(SubmitError::Closed)?;
        let (done, answer) = oneshot::channel();
        queue.try_send(Submission { rows, costs, digest, done }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => SubmitError::Full,
            mpsc::error::TrySendError::Closed(_) => SubmitError::Closed,
        })?;
        answer.await.unwrap_or(Err(SubmitError::Closed))
    }

    /// Waits until everything that was taken before is stored, and the minutes that are over by now are summed up.
    ///
    /// # Errors
    /// See [`SubmitError`].
    pub async fn settle(&self) -> Result<(), SubmitError> {
        self.submit(Vec::new(), Vec::new(), None).await.map(|_| ())
    }

    /// Whether nothing was ever told.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.names.scopes().len() <= 1
    }

    /// Names of telemetry.
    #[must_use]
    pub fn names(&self) -> &Names {
        &self.0.names
    }

    /// The present moment.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.0.clock.now()
    }

    /// Costs of syncs that were told in a span, oldest first; at most `max`. With the names of control plane and node.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub async fn sync_costs(
        &self,
        from: Timestamp,
        to: Timestamp,
        max: u32,
    ) -> Result<Vec<(String, String, SyncCost)>, StoreError> {
        let costs = self.0.store.sync_costs(from, to, max).await?;
        let named = |cost: SyncCost| {
            let node = self.0.names.name(cost.node).unwrap_or_default();
            (self.0.names.scope_name(cost.scope), node, cost)
        };
        Ok(costs.into_iter().map(named).collect())
    }

    /// How much there is on the disk.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub async fn sizes(&self) -> Result<TelemetrySizes, StoreError> {
        self.0.store.telemetry_sizes().await
    }

    /// What this process counted.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let counted = &self.0.counted;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            entries: read(&counted.entries),
            refused: read(&counted.refused),
            repeated: read(&counted.repeated),
            unattributed: read(&counted.unattributed),
            forgotten: read(&counted.forgotten),
            names_over: self.0.names.over(),
        }
    }

    fn fresh(&self) -> Fresh {
        self.0.names.take_fresh()
    }
}
