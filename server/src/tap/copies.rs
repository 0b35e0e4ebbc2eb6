//! How much of what passes may be held as copies, and what became of the rest.

use super::parcel::Figures;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes of copies at once.
#[derive(Debug)]
pub struct Budget {
    taken: AtomicUsize,
    max: usize,
}

/// A part of a budget; given back when it is dropped.
#[derive(Debug)]
pub struct Kept {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Budget {
    /// A budget of so many bytes.
    #[must_use]
    pub fn of(max: usize) -> Arc<Self> {
        Arc::new(Self { taken: AtomicUsize::new(0), max })
    }

    /// No part of it yet.
    #[must_use]
    pub fn nothing(self: &Arc<Self>) -> Kept {
        Kept { budget: Arc::clone(self), bytes: 0 }
    }

    /// Bytes taken now.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    /// Takes more for a copy; `false` where there is no room.
    pub fn more(&self, kept: &mut Kept, bytes: usize) -> bool {
        let fits = |taken: usize| taken.checked_add(bytes).filter(|taken| *taken <= self.max);
        let took = self.taken.try_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_ok();
        if took {
            kept.bytes += bytes;
        }
        took
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.budget.taken.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// What a tap did so far.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// Connections that are open.
    pub open: Gauge,
    /// Connections of nodes that were let in.
    pub accepted: Counter,
    /// Connections whose certificate would not do.
    pub strangers: Counter,
    /// TLS with a node failed, or took too long.
    pub handshakes_failed: Counter,
    /// The control plane could not be reached.
    pub unreachable: Counter,
    /// Connections turned away because there were too many.
    pub turned_away: Counter,
    /// Bytes passed on.
    pub passed_bytes: Counter,
    /// Frames of which no copy was kept, as there was no room.
    pub frames_missed: Counter,
    /// Configurations that were too large to be read: their hash is known, what is in them is not.
    pub too_large: Counter,
    /// Frames and heads that are not Kong's, or cannot be read.
    pub unreadable: Counter,
    /// Events that the reader did not take, as too many were waiting.
    pub events_lost: Counter,
    /// Facts that were learned.
    pub facts: Counter,
    /// Facts that the spool had no room for.
    pub facts_lost: Counter,
}

impl Counts {
    /// The same for the server.
    #[must_use]
    pub fn figures(&self) -> Figures {
        Figures {
            open: u64::try_from(self.open.get()).unwrap_or(0),
            accepted: self.accepted.get(),
            strangers: self.strangers.get(),
            handshakes_failed: self.handshakes_failed.get(),
            unreachable: self.unreachable.get(),
            turned_away: self.turned_away.get(),
            frames_missed: self.frames_missed.get(),
            too_large: self.too_large.get(),
            unreadable: self.unreadable.get(),
            events_lost: self.events_lost.get(),
            facts: self.facts.get(),
            facts_lost: self.facts_lost.get(),
        }
    }

    /// One line for people.
    #[must_use]
    pub fn sum_up(&self) -> String {
        format!(
            "{} connections accepted, {} strangers, {} failed handshakes, {} times no control plane, {} MB passed on, {} \
             facts learned; {} frames missed, {} configurations too large, {} unreadable, {} events and {} facts lost",
            self.accepted.get(),
            self.strangers.get(),
            self.handshakes_failed.get(),
            self.unreachable.get(),
            self.passed_bytes.get() / 1_000_000,
            self.facts.get(),
            self.frames_missed.get(),
            self.too_large.get(),
            self.unreadable.get(),
            self.events_lost.get(),
            self.facts_lost.get(),
        )
    }
}
