//! The assessed fleet in memory, and the one immutable answer that everybody reads.
//!
//! Facts go in by [`Board::observe`]; [`Board::publish`] judges what they or time alone may have changed and puts a new
//! [`Snapshot`] in place. Pages, REST, live events, `/metrics` and alerts read that one value, so they cannot disagree.
//!
//! Nodes are kept in chunks behind `Arc`. A chunk is judged again when a fact touched one of its nodes, when its ledger
//! or its sources changed, or when the earliest moment has come at which time alone may change one of its verdicts;
//! all other chunks are shared with the snapshot before.

use crate::metrics::fleet::LagHistogram;
use arc_swap::ArcSwap;
use std::collections::{BTreeMap, HashMap};
use std::num::NonZero;
use std::panic::resume_unwind;
use std::sync::Arc;
use tidemark_domain::assess::{Assessment, Known, SourceState};
use tidemark_domain::fact::Fact;
use tidemark_domain::fleet::{ControlPlane, Fleet, Tally, Touched, notices};
use tidemark_domain::id::{CpName, NodeId, Ordinal};
use tidemark_domain::ledger::Ledger;
use tidemark_domain::node::Node;
use tidemark_domain::notice::Notice;
use tidemark_domain::policy::Policy;
use tidemark_domain::time::Timestamp;
use tokio::sync::watch;

/// Nodes in a chunk: small enough to be judged again for one report, large enough that a million nodes are few chunks.
const CHUNK: usize = 512;

/// Chunks that one core judges faster than others could be asked to help: some 5 ms.
const CHUNKS_ALONE_MAX: usize = 16;

/// Nodes with their verdicts.
#[derive(Clone, Debug, Default)]
pub struct Chunk {
    /// The nodes, in the order of their places.
    pub nodes: Vec<Arc<Node>>,
    /// Their verdicts, one a node.
    pub assessments: Vec<Assessment>,
    tally: Tally,
    by_version: BTreeMap<Ordinal, u32>,
    recheck_at: Option<Timestamp>,
}

/// One control plane in a snapshot.
#[derive(Clone, Debug)]
pub struct ControlPlaneSnapshot {
    /// Its name.
    pub name: CpName,
    /// What it published.
    pub ledger: Arc<Ledger>,
    /// What watches it.
    pub sources: Vec<SourceState>,
    /// Since when it does not answer, though another target does.
    pub down_since: Option<Timestamp>,
    /// Somebody declared it.
    pub declared: bool,
    /// Its nodes with their verdicts.
    pub chunks: Vec<Arc<Chunk>>,
    /// Counts of the verdicts.
    pub tally: Tally,
    /// Nodes that count, by the version that they run.
    pub by_version: BTreeMap<Ordinal, u32>,
    /// What is to be said of it.
    pub notices: Vec<Notice>,
    /// From publication to the first report, of the versions that nodes reached since this process started.
    pub propagation: LagHistogram,
    places: Arc<HashMap<NodeId, u32>>,
}

impl ControlPlaneSnapshot {
    /// All nodes with their verdicts, in the order in which they were first heard of.
    pub fn nodes(&self) -> impl Iterator<Item = (&Node, &Assessment)> {
        self.chunks.iter().flat_map(|chunk| chunk.nodes.iter().map(Arc::as_ref).zip(&chunk.assessments))
    }

    /// One node with its verdict.
    #[must_use]
    pub fn node(&self, id: &NodeId) -> Option<(&Node, &Assessment)> {
        let place = usize::try_from(*self.places.get(id)?).ok()?;
        let chunk = self.chunks.get(place / CHUNK)?;
        Some((chunk.nodes.get(place % CHUNK)?, chunk.assessments.get(place % CHUNK)?))
    }
}

/// The fleet's answer at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The moment that it describes.
    pub as_of: Timestamp,
    /// Counts up whenever a person would see a difference.
    pub revision: u64,
    /// Every control plane, by name.
    pub control_planes: Vec<Arc<ControlPlaneSnapshot>>,
    /// Counts of all verdicts.
    pub tally: Tally,
    /// What is to be said of more than one control plane.
    pub notices: Vec<Notice>,
    /// The thresholds that it was judged by.
    pub policy: Arc<Policy>,
}

impl Snapshot {
    /// The answer for a fleet that is judged once, as a view of the past is.
    #[must_use]
    pub fn of(fleet: Fleet, policy: &Arc<Policy>, now: Timestamp) -> Self {
        let board = Board::new(fleet, Arc::clone(policy), now);
        Self { revision: 0, ..Self::clone(&board.snapshots.load()) }
    }

    /// A control plane by its name.
    #[must_use]
    pub fn control_plane(&self, name: &CpName) -> Option<&ControlPlaneSnapshot> {
        let place = self.control_planes.binary_search_by(|one| one.name.cmp(name)).ok()?;
        Some(&self.control_planes[place])
    }

    /// All nodes of all control planes with their verdicts.
    pub fn nodes(&self) -> impl Iterator<Item = (&ControlPlaneSnapshot, &Node, &Assessment)> {
        self.control_planes.iter().flat_map(|control_plane| {
            control_plane.nodes().map(move |(node, assessment)| (control_plane.as_ref(), node, assessment))
        })
    }
}

/// The number of a snapshot, for those who wait for the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Revision {
    /// Counts up whenever a person would see a difference.
    pub number: u64,
    /// The moment that the snapshot describes.
    pub at: Timestamp,
}

/// What the board remembers of one control plane between two snapshots.
#[derive(Debug, Default)]
struct Judged {
    chunks: Vec<Arc<Chunk>>,
    /// Chunks that a fact touched, by index.
    touched: Vec<bool>,
    /// The ledger or a source changed: everything is judged again.
    all: bool,
    notices: Vec<Notice>,
    notices_recheck_at: Option<Timestamp>,
    propagation: LagHistogram,
    snapshot: Option<Arc<ControlPlaneSnapshot>>,
    places: Arc<HashMap<NodeId, u32>>,
}

/// The fleet and its answer. Owned by the one writer; what it publishes is read by all.
#[derive(Debug)]
pub struct Board {
    fleet: Fleet,
    policy: Arc<Policy>,
    judged: BTreeMap<CpName, Judged>,
    snapshots: Arc<ArcSwap<Snapshot>>,
    revisions: watch::Sender<Revision>,
}

impl Board {
    /// A board over a fleet, with its first snapshot.
    #[must_use]
    pub fn new(fleet: Fleet, policy: Arc<Policy>, now: Timestamp) -> Self {
        let empty = Snapshot {
            as_of: now,
            revision: 0,
            control_planes: Vec::new(),
            tally: Tally::default(),
            notices: Vec::new(),
            policy: Arc::clone(&policy),
        };
        let judged = fleet
            .control_planes()
            .map(|control_plane| (control_plane.name.clone(), Judged { all: true, ..Judged::default() }));
        let mut board = Self {
            judged: judged.collect(),
            fleet,
            policy,
            snapshots: Arc::new(ArcSwap::from_pointee(empty)),
            revisions: watch::Sender::new(Revision { number: 0, at: now }),
        };
        board.publish(now);
        board
    }

    /// Puts another fleet in place of this one, after the store refused what was observed. Readers keep the last answer
    /// until the next [`Self::publish`].
    pub fn replace(&mut self, fleet: Fleet) {
        self.judged.clear();
        for control_plane in fleet.control_planes() {
            self.judged.insert(control_plane.name.clone(), Judged { all: true, ..Judged::default() });
        }
        self.fleet = fleet;
    }

    /// The fleet itself.
    #[must_use]
    pub const fn fleet(&self) -> &Fleet {
        &self.fleet
    }

    /// Where snapshots are read.
    #[must_use]
    pub fn snapshots(&self) -> Arc<ArcSwap<Snapshot>> {
        Arc::clone(&self.snapshots)
    }

    /// Where new revisions are announced.
    #[must_use]
    pub fn revisions(&self) -> watch::Receiver<Revision> {
        self.revisions.subscribe()
    }

    /// Takes in a fact; returns the one that follows from it, if any, which belongs before it in the store.
    pub fn observe(&mut self, fact: &Fact) -> Option<Fact> {
        let (inferred, touched) = self.fleet.observe_live(fact, &self.policy);
        let judged = self.judged.entry(fact.control_plane.clone()).or_default();
        match touched {
            Touched::Nothing => {}
            Touched::All => judged.all = true,
            Touched::Node(place) => {
                let index = usize::try_from(place).unwrap_or(0) / CHUNK;
                if judged.touched.len() <= index {
                    judged.touched.resize(index + 1, false);
                }
                judged.touched[index] = true;
            }
        }
        inferred
    }

    /// The first moment at which time alone may change the answer.
    #[must_use]
    pub fn recheck_at(&self) -> Option<Timestamp> {
        let of = |judged: &Judged| {
            let chunks = judged.chunks.iter().filter_map(|chunk| chunk.recheck_at);
            chunks.chain(judged.notices_recheck_at).min()
        };
        self.judged.values().filter_map(of).min()
    }

    /// Judges what may have changed, and publishes the answer of this moment. The revision counts up if a person would
    /// see a difference.
    pub fn publish(&mut self, now: Timestamp) {
        let before = self.snapshots.load_full();
        let mut different = false;
        let mut tally = Tally::default();
        let mut control_planes = Vec::new();
        for control_plane in self.fleet.control_planes() {
            let judged = self.judged.entry(control_plane.name.clone()).or_default();
            different |= judge(control_plane, judged, &self.policy, now);
            if let Some(snapshot) = &judged.snapshot {
                tally.merge(&snapshot.tally);
                control_planes.push(Arc::clone(snapshot));
            }
        }
        let notices = self.fleet.notices(now);
        different |= control_planes.len() != before.control_planes.len() || notices != before.notices;
        let revision = before.revision + u64::from(different);
        let policy = Arc::clone(&self.policy);
        self.snapshots.store(Arc::new(Snapshot { as_of: now, revision, control_planes, tally, notices, policy }));
        if different {
            self.revisions.send_replace(Revision { number: revision, at: now });
        }
    }
}

/// A fleet as bytes, for a keyframe.
///
/// # Errors
/// If it cannot be written, which would be a fault of ours.
pub fn packed(fleet: &Fleet) -> Result<Vec<u8>, postcard::Error> {
    postcard::to_stdvec(fleet)
}

/// The fleet of a keyframe; `None` if it cannot be read.
#[must_use]
pub fn unpacked(bytes: &[u8]) -> Option<Fleet> {
    let mut fleet: Fleet = postcard::from_bytes(bytes).ok()?;
    fleet.reindex();
    Some(fleet)
}

/// Judges the chunks of one control plane that may have changed; says whether a person would see a difference.
fn judge(control_plane: &ControlPlane, judged: &mut Judged, policy: &Arc<Policy>, now: Timestamp) -> bool {
    let nodes = control_plane.nodes();
    let count = nodes.len().div_ceil(CHUNK);
    judged.touched.resize(count, true);
    let known = control_plane.known(policy);
    let mut different = judged.all || judged.snapshot.is_none();
    let mut rebuilt = false;
    let may_have_changed = |index: &usize| {
        let due = judged.chunks.get(*index).is_none_or(|chunk| chunk.recheck_at.is_some_and(|at| at <= now));
        let grown = judged.chunks.get(*index).is_none_or(|chunk| chunk.nodes.len() != chunk_of(nodes, *index).len());
        judged.all || judged.touched[*index] || due || grown
    };
    let indexes: Vec<usize> = (0..count).filter(may_have_changed).collect();
    let chunks = assess_chunks(nodes, &indexes, &known, now);
    for (index, chunk) in indexes.into_iter().zip(chunks) {
        let same = judged.chunks.get(index).is_some_and(|before| looks_alike(before, &chunk));
        different |= !same;
        rebuilt = true;
        if let Some(before) = judged.chunks.get(index) {
            count_lags(before, &chunk, &control_plane.ledger, &mut judged.propagation);
        }
        match judged.chunks.get_mut(index) {
            Some(place) => *place = Arc::new(chunk),
            None => judged.chunks.push(Arc::new(chunk)),
        }
    }
    judged.touched.fill(false);
    let notices_due = judged.notices_recheck_at.is_some_and(|at| at <= now);
    if !(rebuilt || judged.all || notices_due || judged.snapshot.is_none()) {
        return different;
    }
    judged.all = false;
    if judged.places.len() != nodes.len() {
        let place = |place: usize| u32::try_from(place).unwrap_or(u32::MAX);
        let places = nodes.iter().enumerate().map(|(index, node)| (node.id.clone(), place(index)));
        judged.places = Arc::new(places.collect());
    }
    let mut tally = Tally::default();
    let mut by_version: BTreeMap<Ordinal, u32> = BTreeMap::new();
    for chunk in &judged.chunks {
        tally.merge(&chunk.tally);
        for (version, nodes) in &chunk.by_version {
            *by_version.entry(*version).or_default() += nodes;
        }
    }
    let states = judged.chunks.iter().flat_map(|chunk| &chunk.assessments);
    let states = states.filter(|assessment| assessment.verdict.counter().is_some());
    let (notices, recheck_at) = notices(control_plane, states.map(|assessment| assessment.verdict), policy, now);
    different |= notices != judged.notices;
    judged.notices.clone_from(&notices);
    judged.notices_recheck_at = recheck_at;
    judged.snapshot = Some(Arc::new(ControlPlaneSnapshot {
        name: control_plane.name.clone(),
        ledger: Arc::clone(&control_plane.ledger),
        sources: control_plane.sources.clone(),
        down_since: control_plane.down_since,
        declared: control_plane.declared,
        chunks: judged.chunks.clone(),
        tally,
        by_version,
        notices,
        propagation: judged.propagation,
        places: Arc::clone(&judged.places),
    }));
    different
}

/// The nodes of a chunk.
fn chunk_of(nodes: &[Arc<Node>], index: usize) -> &[Arc<Node>] {
    &nodes[index * CHUNK..nodes.len().min((index + 1) * CHUNK)]
}

/// Judges chunks, on all cores where they are many.
fn assess_chunks(nodes: &[Arc<Node>], indexes: &[usize], known: &Known<'_>, now: Timestamp) -> Vec<Chunk> {
    let assess = |share: &[usize]| -> Vec<Chunk> {
        share.iter().map(|index| assess_chunk(chunk_of(nodes, *index), known, now)).collect()
    };
    if indexes.len() <= CHUNKS_ALONE_MAX {
        return assess(indexes);
    }
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
    std::thread::scope(|scope| {
        let shares = indexes.chunks(indexes.len().div_ceil(threads));
        let judging: Vec<_> = shares.map(|share| scope.spawn(|| assess(share))).collect();
        let chunks = judging.into_iter().map(|share| share.join().unwrap_or_else(|panic| resume_unwind(panic)));
        chunks.flatten().collect()
    })
}

fn assess_chunk(nodes: &[Arc<Node>], known: &Known<'_>, now: Timestamp) -> Chunk {
    let mut chunk = Chunk { nodes: nodes.to_vec(), ..Chunk::default() };
    for node in nodes {
        let assessment = tidemark_domain::assess::assess(node, known, now);
        chunk.tally.add(&assessment.verdict);
        if let (Some(version), Some(_)) = (assessment.verdict.config.running(), assessment.verdict.counter()) {
            *chunk.by_version.entry(version).or_default() += 1;
        }
        chunk.recheck_at = match (chunk.recheck_at, assessment.recheck_at) {
            (Some(mine), Some(theirs)) => Some(mine.min(theirs)),
            (mine, theirs) => mine.or(theirs),
        };
        chunk.assessments.push(assessment);
    }
    chunk
}

/// Counts, for each node that went up in the ledger, the time from the publication of what it reached to its report.
fn count_lags(before: &Chunk, after: &Chunk, ledger: &Ledger, lags: &mut LagHistogram) {
    let pairs = before.assessments.iter().zip(&after.assessments).zip(&after.nodes);
    for ((earlier, later), node) in pairs {
        let (earlier, later) = (earlier.verdict.config.running(), later.verdict.config.running());
        let (Some(earlier), Some(later)) = (earlier, later) else { continue };
        if earlier == later || ledger.rank_of(later) <= ledger.rank_of(earlier) {
            continue;
        }
        let reached_at = node.streams.iter().filter_map(|stream| stream.run.as_ref()).map(|run| run.since).max();
        if let (Some(reached_at), Some(version)) = (reached_at, ledger.version(later)) {
            lags.observe(reached_at.since(version.published_at));
        }
    }
}

/// Whether two judgements of one chunk look the same to a person: the same nodes with the same verdicts and names. The
/// moment of the last report alone is no difference.
fn looks_alike(before: &Chunk, after: &Chunk) -> bool {
    let verdicts = |chunk: &Chunk| chunk.assessments.len();
    verdicts(before) == verdicts(after)
        && before
            .assessments
            .iter()
            .zip(&after.assessments)
            .all(|(mine, theirs)| mine.verdict == theirs.verdict && mine.source == theirs.source)
        && before
            .nodes
            .iter()
            .zip(&after.nodes)
            .all(|(mine, theirs)| Arc::ptr_eq(mine, theirs) || mine.attributes == theirs.attributes)
}
