//! From the connections to the reader: what passed, in the order in which it passed on all of them. Whoever passes bytes on
//! never waits here; what there is no room for is counted and dropped.

use super::copies::{Budget, Counts, Kept};
use super::splitter::{FrameDigest, Piece};
use crate::clock::Clock;
use crate::kong::facts::{Accepted, Ending, Party};
use crate::lines::Lines;
use parking_lot::Mutex;
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use tidemark_domain::time::Timestamp;
use tokio::sync::mpsc;

/// Events that may wait for the reader: a fleet of ten thousand nodes that reconnects makes about sixty thousand.
const WAITING_MAX: usize = 262_144;

/// What passed, when, and on which connection.
#[derive(Debug)]
pub struct Passed {
    /// When its last byte came.
    pub at: Timestamp,
    /// The connection's number, from 1.
    pub connection: u64,
    pub what: What,
}

/// What can pass.
#[derive(Debug)]
pub enum What {
    /// TLS with the node is up.
    Accepted(Accepted),
    /// The control plane could not be reached.
    Unreachable(String),
    Said(Party, Said),
    Ended(Party, Ending),
    /// Nothing follows of this connection: both sides are closed.
    Over,
}

/// What a side said.
#[derive(Debug)]
pub enum Said {
    Whole(Piece),
    /// A frame that the reader has, or will have before this: by its digest.
    Repeated(FrameDigest),
}

/// Where connections leave what passes. With the last one the reader ends.
#[derive(Clone, Debug)]
pub struct Capture {
    queue: mpsc::UnboundedSender<Passed>,
    shared: Arc<Shared>,
}

/// What connections and the reader share.
#[derive(Debug)]
pub struct Shared {
    waiting: AtomicUsize,
    /// Events were lost since the reader last asked.
    lost: AtomicBool,
    /// Digests of frames that the reader has or will have.
    repeats: Mutex<HashSet<FrameDigest>>,
    clock: Clock,
    pub budget: Arc<Budget>,
    pub counts: Counts,
    /// What strangers, nodes and control planes can make a tap say.
    pub lines: Lines,
}

impl Capture {
    /// A capture whose copies stay within a budget, and the end that the reader takes.
    #[must_use]
    pub fn new(clock: Clock, budget: Arc<Budget>, counts: Counts) -> (Self, mpsc::UnboundedReceiver<Passed>) {
        // The queue has its bound here, as the end of a connection is never lost; connections are bounded themselves.
        let (queue, reader) = mpsc::unbounded_channel();
        let shared = Shared {
            waiting: AtomicUsize::new(0),
            lost: AtomicBool::new(false),
            repeats: Mutex::default(),
            clock,
            budget,
            counts,
            lines: Lines::default(),
        };
        (Self { queue, shared: Arc::new(shared) }, reader)
    }

    /// What the reader has of it.
    #[must_use]
    pub fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }

    /// Leaves something for the reader.
    pub fn tell(&self, connection: u64, what: What) {
        let shared = &self.shared;
        let is_over = matches!(what, What::Over);
        if shared.waiting.load(Ordering::Relaxed) >= WAITING_MAX && !is_over {
            shared.counts.events_lost.inc();
            shared.lost.store(true, Ordering::Relaxed);
            return;
        }
        shared.waiting.fetch_add(1, Ordering::Relaxed);
        // Where the reader is gone, the tap is going too.
        let _ = self.queue.send(Passed { at: shared.clock.now(), connection, what });
    }

    /// Leaves what a side said.
    pub fn said(&self, connection: u64, from: Party, piece: Piece) {
        let counts = &self.shared.counts;
        let known = match &piece {
            Piece::Frame(_, Some(digest), _) if !self.shared.repeats.lock().insert(*digest) => Some(*digest),
            Piece::Passed { digest: Some(digest), .. } if self.shared.repeats.lock().contains(digest) => Some(*digest),
            Piece::Passed { .. } => {
                counts.frames_missed.inc();
                None
            }
            Piece::Head(_) | Piece::Frame(..) | Piece::Unreadable(_) => None,
        };
        let said = known.map_or(Said::Whole(piece), Said::Repeated);
        self.tell(connection, What::Said(from, said));
    }
}

impl std::ops::Deref for Capture {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.shared
    }
}

impl Shared {
    /// The reader took an event.
    pub fn took(&self) {
        self.waiting.fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether events were lost since this was last asked.
    pub fn lost(&self) -> bool {
        self.lost.swap(false, Ordering::Relaxed)
    }

    /// The reader has a frame no more.
    pub fn forget(&self, digest: &FrameDigest) {
        self.repeats.lock().remove(digest);
    }

    /// A place for a copy, none of it taken yet.
    #[must_use]
    pub fn place(&self) -> Kept {
        self.budget.nothing()
    }
}
