//! From a database to a running service: the fleet is folded from what is stored, the board publishes it, the writer
//! takes facts in, and the front door opens. The same for a clock that is held, without a writer.

use crate::board::{Board, Snapshot};
use crate::clock::Clock;
use crate::http::health::Readiness;
use crate::ingest::Ingest;
use crate::ingest::writer::{Watcher, Writer};
use crate::metrics::fleet::{ControlPlaneFigures, Figures, FleetFigures, NodeCounts};
use crate::metrics::process::Counted;
use crate::propagation::Keeper;
use crate::reader::{Reader, fold};
use crate::service::{ControlPlanes, Health, Memory, Parts, Recordings, Remembering};
use crate::sources::Sources;
use crate::store::{Retention, Store, StoreError, Taken};
use crate::telemetry::Telemetry;
use arc_swap::ArcSwap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tidemark_app::api::{Answer, ApiError};
use tidemark_domain::assess::SourceState;
use tidemark_domain::fact::{Declaration, Fact, Listening, Source, What};
use tidemark_domain::id::{CpName, Line};
use tidemark_domain::policy::Policy;
use tidemark_domain::time::Timestamp;
use tokio::task::{AbortHandle, JoinHandle};
use tokio_util::sync::CancellationToken;

/// Why the service cannot start.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The database.
    #[error("the database cannot be used")]
    Store(#[from] StoreError),
    /// What is stored cannot be folded; the log says why.
    #[error("the fleet cannot be read from the database: {0}")]
    Fold(ApiError),
    /// `--at` asks for a moment of which nothing is stored.
    #[error("nothing is recorded in this database, so there is no moment to hold the clock at")]
    NothingRecorded,
}

/// At which moment a clock is to be held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeldAt {
    /// This one.
    Moment(Timestamp),
    /// The last one that is recorded.
    Recorded,
}

/// A service that runs, before its door is open.
pub struct Running {
    /// What the door stands before.
    pub parts: Parts,
    /// The task of the writer and of what works beside it; `None` where the clock is held.
    pub writer: Option<JoinHandle<()>>,
    /// The store, to be closed last.
    pub store: Store,
    /// What the board publishes.
    pub snapshots: Arc<ArcSwap<Snapshot>>,
}

/// Opens a database and starts to work on it.
///
/// # Errors
/// See [`RunError`].
pub async fn live(
    database: &Path,
    clock: Clock,
    policy: Policy,
    closing: CancellationToken,
) -> Result<Running, RunError> {
    live_keeping(database, clock, policy, Retention::default(), closing).await
}

/// The same, keeping facts for as long as `retention` says.
///
/// # Errors
/// See [`RunError`].
pub async fn live_keeping(
    database: &Path,
    clock: Clock,
    policy: Policy,
    retention: Retention,
    closing: CancellationToken,
) -> Result<Running, RunError> {
    let now = clock.now();
    let store = Store::open(database, now).await?;
    let policy = Arc::new(policy);
    // A task of its own, so that both are worked on at once. Should it fail, the first write says why.
    let preparing = tokio::spawn({
        let store = store.clone();
        async move { store.prepare().await }
    });
    let folding = fold(&store, None, Arc::clone(&policy)).await;
    let _ = preparing.await;
    let mut fleet = folding.map_err(RunError::Fold)?;
    let progress = store.progress().await?;
    let mut sequence = progress.sequence;

    // While no service ran, nobody listened to what is pushed (DESIGN 5.9).
    let listening = heard_again(&fleet, progress.alive_at, now, &policy);
    if !listening.is_empty() {
        for fact in &listening {
            fleet.observe(fact, &policy);
        }
        sequence = store.append(&listening, &[]).await?;
    }
    let board = Board::new(fleet, Arc::clone(&policy), now);
    let (ingest, queue) = Ingest::queue();
    let counted = Counted::default();
    let shared = Shared::new(&board, store.clone(), database);
    let revisions = board.revisions();
    let watcher = Watched { counted: counted.clone(), shared: Arc::clone(&shared) };
    let reading_policy = Arc::clone(&policy);
    let writer = Writer::new(board, store.clone(), clock.clone(), policy, sequence, watcher).keeping(retention);
    let keeper = Keeper::new(Arc::clone(&shared.snapshots), store.clone(), clock.clone());
    let (telemetry, summing) =
        Telemetry::live(store.clone(), clock.clone(), Arc::clone(&shared.snapshots), ingest.clone(), retention).await?;
    let reader = Reader::new(Arc::clone(&shared.snapshots), store.clone(), clock.clone(), reading_policy)
        .with(telemetry.clone());
    let (writing, keeping) = (writer.run(queue, closing.clone()), keeper.run(closing.clone()));
    let summing = summing.run(closing.clone());
    // One task to wait for: once both have ended, nobody holds the store.
    let writer = tokio::spawn(async move {
        tokio::join!(writing, keeping, summing);
    });
    let _ = shared.writer.set(writer.abort_handle());
    let snapshots = Arc::clone(&shared.snapshots);
    let parts = parts(clock, ingest, reader, telemetry, shared, revisions, counted, closing);
    Ok(Running { parts, writer: Some(writer), store, snapshots })
}

/// Opens a database with the clock held at a moment: nothing is taken in, and what is shown is what was known then.
///
/// # Errors
/// See [`RunError`].
pub async fn held(
    database: &Path,
    at: HeldAt,
    policy: Policy,
    closing: CancellationToken,
) -> Result<Running, RunError> {
    let store = Store::open_read_only(database).await?;
    let policy = Arc::new(policy);
    let at = moment(&store, at).await?;
    let fleet = fold(&store, Some(at), Arc::clone(&policy)).await.map_err(RunError::Fold)?;
    let clock = Clock::held(at);
    let board = Board::new(fleet, Arc::clone(&policy), at);
    let shared = Shared::new(&board, store.clone(), database);
    let revisions = board.revisions();
    let snapshots = Arc::clone(&shared.snapshots);
    let telemetry = Telemetry::held(store.clone(), clock.clone(), Arc::clone(&snapshots)).await?;
    let reader = Reader::new(Arc::clone(&snapshots), store.clone(), clock.clone(), policy).with(telemetry.clone());
    let parts = parts(clock, Ingest::shut(), reader, telemetry, shared, revisions, Counted::default(), closing);
    Ok(Running { parts, writer: None, store, snapshots })
}

/// The snapshot of a moment, for those who ask once.
///
/// # Errors
/// See [`RunError`].
pub async fn snapshot_at(store: &Store, at: HeldAt, policy: Policy) -> Result<Snapshot, RunError> {
    let policy = Arc::new(policy);
    let at = moment(store, at).await?;
    let fleet = fold(store, Some(at), Arc::clone(&policy)).await.map_err(RunError::Fold)?;
    Ok(Snapshot::of(fleet, &policy, at))
}

async fn moment(store: &Store, at: HeldAt) -> Result<Timestamp, RunError> {
    match at {
        HeldAt::Moment(at) => Ok(at),
        HeldAt::Recorded => store.progress().await?.recorded_at.ok_or(RunError::NothingRecorded),
    }
}

/// For each control plane that others tell us of: blind since the service was last alive; listening from now on to what is
/// pushed, and to a tap once it is heard: it tells what it saw in the meantime.
fn heard_again(
    fleet: &tidemark_domain::fleet::Fleet,
    alive_at: Option<Timestamp>,
    now: Timestamp,
    policy: &Policy,
) -> Vec<Fact> {
    let mut facts = Vec::new();
    for control_plane in fleet.control_planes() {
        let told = |state: &&SourceState| matches!(state.source, Source::Push | Source::Tap) && !state.ended;
        for state in control_plane.sources.iter().filter(told) {
            let fact = |at, listening| Fact {
                at,
                recorded_at: now,
                control_plane: control_plane.name.clone(),
                source: state.source,
                what: What::Listening(listening),
            };
            let why: Line = "the service was not running".parse().expect("a text that is not empty is a line");
            if state.blind_since().is_none() {
                facts.push(fact(alive_at.unwrap_or(now).min(now), Listening::Stopped(why)));
            }
            if state.source == Source::Push {
                let interval_ms = u32::try_from(state.interval_ms.max(policy.report_interval_ms)).unwrap_or(u32::MAX);
                facts.push(fact(now, Listening::Began { interval_ms }));
            }
        }
    }
    facts
}

fn parts(
    clock: Clock,
    ingest: Ingest,
    reader: Reader,
    telemetry: Telemetry,
    shared: Arc<Shared>,
    revisions: tokio::sync::watch::Receiver<crate::board::Revision>,
    counted: Counted,
    closing: CancellationToken,
) -> Parts {
    Parts {
        clock,
        ingest,
        fleet: Arc::new(reader),
        telemetry: Some(telemetry),
        figures: Arc::clone(&shared) as Arc<dyn FleetFigures>,
        control_planes: Arc::clone(&shared) as Arc<dyn ControlPlanes>,
        memory: Arc::clone(&shared) as Arc<dyn Memory>,
        recordings: Arc::clone(&shared) as Arc<dyn Recordings>,
        health: shared,
        sources: Sources::default(),
        revisions,
        demo: false,
        counted,
        closing,
    }
}

/// What the front door asks beside the fleet itself.
struct Shared {
    snapshots: Arc<ArcSwap<Snapshot>>,
    store: Store,
    database: PathBuf,
    /// Batches that the store refused since it last took one.
    failed: AtomicU64,
    /// The writer's end; it never ends before the service closes.
    writer: OnceLock<AbortHandle>,
}

impl Shared {
    fn new(board: &Board, store: Store, database: &Path) -> Arc<Self> {
        Arc::new(Self {
            snapshots: board.snapshots(),
            store,
            database: database.to_owned(),
            failed: AtomicU64::new(0),
            writer: OnceLock::new(),
        })
    }

    /// Bytes of the database and its log; `None` if the files cannot be looked at.
    fn store_bytes(&self) -> Option<u64> {
        let mut log = self.database.clone().into_os_string();
        log.push("-wal");
        let length = |path: &Path| path.metadata().map(|metadata| metadata.len());
        Some(length(&self.database).ok()? + length(Path::new(&log)).unwrap_or(0))
    }
}

impl ControlPlanes for Shared {
    fn is_known(&self, name: &CpName) -> bool {
        self.snapshots.load().control_plane(name).is_some()
    }

    fn listens(&self, name: &CpName, source: Source) -> bool {
        let snapshot = self.snapshots.load();
        let state = snapshot.control_plane(name).and_then(|of| of.sources.iter().find(|state| state.source == source));
        state.is_some_and(|state| state.began_at.is_some() && !state.ended && state.blind_since().is_none())
    }

    fn undeclared(&self) -> usize {
        self.snapshots.load().control_planes.iter().filter(|control_plane| !control_plane.declared).count()
    }

    fn declaration(&self, name: &CpName) -> Option<Declaration> {
        let snapshot = self.snapshots.load();
        let control_plane = snapshot.control_plane(name).filter(|control_plane| control_plane.declared)?;
        Some(control_plane.ledger.declaration.clone())
    }
}

impl Memory for Shared {
    fn remembered(&self, key: String) -> Remembering<'_> {
        Box::pin(async move {
            let now = self.snapshots.load().as_of;
            self.store.remembered(&key, now).await.map_err(|error| {
                tracing::error!("cannot look up a key: {error}");
                ApiError::Internal("the server cannot look the key up; its log says why".to_owned())
            })
        })
    }
}

impl Recordings for Shared {
    fn taken(&self, first_digest: String) -> Answer<'_, Option<Taken>> {
        Box::pin(async move { self.store.taken(&first_digest).await.map_err(unanswered) })
    }

    fn newest_word_at(&self, control_plane: CpName) -> Answer<'_, Option<Timestamp>> {
        Box::pin(async move { self.store.newest_word_at(&control_plane).await.map_err(unanswered) })
    }
}

fn unanswered(error: StoreError) -> ApiError {
    ApiError::Internal(format!("the store did not answer: {error}"))
}

impl Health for Shared {
    fn readiness(&self) -> Readiness {
        let store = self.failed.load(Ordering::Relaxed) == 0;
        let writer = self.writer.get().is_none_or(|writer| !writer.is_finished());
        Readiness { store, writer, board: true }
    }
}

impl FleetFigures for Shared {
    fn figures(&self) -> Figures {
        let snapshot = self.snapshots.load();
        let of_all = &snapshot.notices;
        let figures = |control_plane: &crate::board::ControlPlaneSnapshot| {
            let mut nodes = NodeCounts::default();
            let mut behind_changesets_max = 0;
            for (_, assessment) in control_plane.nodes() {
                let verdict = &assessment.verdict;
                nodes.add(verdict.config.word(), verdict.connectivity.word());
                if verdict.counter().is_some() {
                    behind_changesets_max = behind_changesets_max.max(verdict.config.behind());
                }
            }
            ControlPlaneFigures {
                name: control_plane.name.clone(),
                nodes,
                behind_changesets_max,
                hash_only_drift: control_plane.tally.by_alias,
                propagation: control_plane.propagation,
                notices: of_all
                    .iter()
                    .filter(|notice| notice.control_plane == control_plane.name)
                    .chain(&control_plane.notices)
                    .map(|notice| (notice.kind, notice.severity))
                    .collect(),
            }
        };
        Figures {
            as_of: snapshot.as_of,
            revision: snapshot.revision,
            control_planes: snapshot.control_planes.iter().map(|control_plane| figures(control_plane)).collect(),
            store_bytes: self.store_bytes(),
        }
    }
}

/// Counts what the writer does.
struct Watched {
    counted: Counted,
    shared: Arc<Shared>,
}

impl Watcher for Watched {
    fn committed(&self, facts: usize, took: Duration) {
        self.shared.failed.store(0, Ordering::Relaxed);
        self.counted.committed(facts, took);
    }

    fn failed(&self) {
        self.shared.failed.fetch_add(1, Ordering::Relaxed);
        self.counted.commit_failed();
    }
}
