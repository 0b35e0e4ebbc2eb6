//! From what passed to facts, on a thread of its own: in the order in which it passed, as whoever judges needs it.

use super::capture::{Passed, Said, Shared, What};
use super::splitter::{FrameDigest, Piece};
use super::spool::{Spool, Told};
use crate::kong::assemble::Assembler;
use crate::kong::facts::{Fact, Observed, Party};
use crate::kong::session::{Event, Session};
use parking_lot::Mutex;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use tidemark_domain::fact::{Connection, ConnectionEvent, Listening, What as Learned};
use tidemark_domain::id::{CpName, Line, NodeId};
use tidemark_domain::time::{MINUTE, Timestamp};
use tokio::sync::{Notify, mpsc};

/// Configurations that are remembered by their frame: one for each cohort, now and before.
const OFFERS_MAX: usize = 16;
/// Entities of v2 whose digests are held, of all nodes together: some 100 bytes each. Beyond it the content of a node's
/// configuration is not followed, only its version.
const ENTITIES_MAX: usize = 4_000_000;

/// How far a reader steps back where the machine is busy.
const NICE: i32 = 10;
/// A node that finds its control plane away tries every few seconds; that it still does is told this often.
const STILL_AWAY_MS: i64 = 10 * MINUTE;
/// Nodes of which that is remembered.
const AWAY_MAX: usize = 100_000;

/// Reads what passed.
#[derive(Debug)]
pub struct Reader {
    capture: Arc<Shared>,
    assembler: Assembler,
    sessions: HashMap<u64, Session>,
    inflated_max: usize,
    /// By frame, oldest first; `None` for a frame that is no configuration.
    offers: VecDeque<(FrameDigest, Option<Fact>)>,
    /// Entities that sessions hold.
    entities: usize,
    /// When it was last told of a node that its control plane could not be reached, since it was heard otherwise.
    away: HashMap<NodeId, Timestamp>,
    spool: Arc<Mutex<Spool>>,
    spooled: Arc<Notify>,
}

impl Reader {
    /// A reader of one control plane's connections, which leaves its facts in a spool.
    #[must_use]
    pub fn new(
        capture: Arc<Shared>,
        control_plane: CpName,
        inflated_max: usize,
        spool: Arc<Mutex<Spool>>,
        spooled: Arc<Notify>,
    ) -> Self {
        Self {
            capture,
            assembler: Assembler::new(control_plane),
            sessions: HashMap::new(),
            inflated_max,
            offers: VecDeque::new(),
            entities: 0,
            away: HashMap::new(),
            spool,
            spooled,
        }
    }

    /// Reads until nobody leaves anything any more. Blocks: for a thread.
    pub fn run(mut self, mut queue: mpsc::UnboundedReceiver<Passed>) {
        // Bytes that pass come first; on Linux this is about this thread alone.
        let _ = rustix::process::nice(NICE);
        while let Some(passed) = queue.blocking_recv() {
            self.capture.took();
            let at = passed.at;
            let mut told = self.read(passed);
            if self.capture.lost() {
                told.extend(gap(at, "the tap could not follow all that passed"));
            }
            if !told.is_empty() {
                self.leave(at, &told);
            }
        }
    }

    fn leave(&self, at: Timestamp, told: &[Told]) {
        let counts = &self.capture.counts;
        counts.facts.inc_by(told.len() as u64);
        let lost = self.spool.lock().append(told);
        match lost {
            Ok(0) => {}
            Ok(lost) => _ = counts.facts_lost.inc_by(lost),
            Err(error) => {
                counts.facts_lost.inc_by(told.len() as u64);
                if let Some(left_out) = self.capture.lines.due(at, "spool") {
                    tracing::error!(%error, "facts cannot be kept{left_out}");
                }
            }
        }
        self.spooled.notify_one();
    }

    /// The facts in what passed.
    fn read(&mut self, passed: Passed) -> Vec<Told> {
        let Passed { at, connection, what } = passed;
        let (event, frame) = match what {
            What::Over => {
                let session = self.sessions.remove(&connection);
                let Some(mut session) = session else { return Vec::new() };
                self.entities -= session.entities();
                let observed = session.take(at.ms(), Event::RecordingEnded);
                return self.assemble(&observed);
            }
            What::Accepted(accepted) => (Event::Accepted(accepted), None),
            What::Unreachable(error) => (Event::ControlPlaneUnreachable { error }, None),
            What::Ended(party, crate::kong::facts::Ending::Failure { error }) => {
                (Event::Failure { from: Some(party), error }, None)
            }
            What::Ended(party, _) => (Event::EndOfStream(party), None),
            What::Said(Party::Node, Said::Whole(Piece::Head(head))) => (Event::Request(head), None),
            What::Said(_, Said::Whole(Piece::Head(head))) => (Event::Response(head), None),
            What::Said(from, Said::Whole(Piece::Unreadable(why))) => (Event::Unreadable { from, why }, None),
            What::Said(from, Said::Whole(Piece::Passed { opcode, .. })) => (Event::Missed { from, opcode }, None),
            What::Said(_, Said::Whole(Piece::Frame(frame, digest, kept))) => {
                (Event::Frame(frame), digest.map(|digest| (digest, kept)))
            }
            What::Said(from, Said::Repeated(digest)) => (self.repeated(from, &digest), None),
        };
        let inflated_max = self.inflated_max;
        let new = || Session::new(&connection.to_string()).with_inflated_max(inflated_max);
        let session = self.sessions.entry(connection).or_insert_with(new);
        let before = session.entities();
        let observed = session.take(at.ms(), event);
        let after = session.entities();
        self.entities = self.entities - before + after;
        if self.entities > ENTITIES_MAX && after > before {
            session.forget_state();
            self.entities -= after;
        }
        if let Some((digest, _kept)) = frame {
            let is_offer = |fact: &&Fact| matches!(fact, Fact::Offered(_) | Fact::OfferedUnread(_));
            let offer = observed.iter().map(|observed| &observed.fact).find(is_offer).cloned();
            self.remember(digest, offer);
        }
        self.assemble(&observed)
    }

    fn assemble(&mut self, observed: &[Observed]) -> Vec<Told> {
        let mut told = Vec::new();
        for observed in observed {
            if let Fact::Unreadable { by, why } = &observed.fact {
                self.capture.counts.unreadable.inc();
                let at = Timestamp::from_ms(observed.at_ms);
                if let Some(left_out) = self.capture.lines.due(at, &format!("{by:?}: {why}")) {
                    let node = observed.node.as_deref();
                    tracing::warn!(node, by = ?by, why, "cannot be read, and was passed on{left_out}");
                }
            }
            if let Fact::OfferedUnread(offer) = &observed.fact {
                self.capture.counts.too_large.inc();
                if let Some(left_out) = self.capture.lines.due(Timestamp::from_ms(observed.at_ms), "too large") {
                    let (hash, bytes) = (offer.stated, offer.json_bytes);
                    tracing::warn!(%hash, "a configuration of {bytes} bytes is too large to be read: what is in it is not known{left_out}");
                }
            }
            if matches!(observed.fact, Fact::ControlPlaneUnreachable { .. }) {
                told.push(Told { at: Timestamp::from_ms(observed.at_ms), what: Learned::ControlPlaneDown });
            }
            let facts = self.assembler.take(observed).into_iter().map(|fact| Told { at: fact.at, what: fact.what });
            for fact in facts {
                if self.is_news(&fact) {
                    told.push(fact);
                }
            }
        }
        told
    }

    /// Whether a fact is more than that a node is still away from its control plane.
    fn is_news(&mut self, told: &Told) -> bool {
        match &told.what {
            Learned::Connection(Connection { node, event: ConnectionEvent::Unreachable, .. }) => {
                let Some(node) = node else { return false };
                let last = self.away.get(node);
                if last.is_some_and(|last| told.at.since(*last) < STILL_AWAY_MS) {
                    return false;
                }
                if self.away.len() >= AWAY_MAX {
                    self.away.clear();
                }
                self.away.insert(node.clone(), told.at);
            }
            Learned::Connection(Connection { node: Some(node), .. }) => _ = self.away.remove(node),
            _ => {}
        }
        true
    }

    fn repeated(&self, from: Party, digest: &FrameDigest) -> Event {
        let known = self.offers.iter().find(|(known, _)| known == digest);
        match known {
            Some((_, Some(offer))) => Event::Repeated(offer.clone()),
            Some((_, None)) => Event::Unreadable { from, why: "a frame that could not be read before".to_owned() },
            None => Event::Missed { from, opcode: crate::kong::session::Opcode::Binary },
        }
    }

    fn remember(&mut self, digest: FrameDigest, offer: Option<Fact>) {
        self.offers.push_back((digest, offer));
        if self.offers.len() > OFFERS_MAX
            && let Some((oldest, _)) = self.offers.pop_front()
        {
            self.capture.forget(&oldest);
        }
    }
}

/// What is to be known where facts are missing: that nobody listened, and that somebody does again.
pub fn gap(at: Timestamp, why: &str) -> Vec<Told> {
    let stopped = Line::from_outside(why).map(|why| Learned::Listening(Listening::Stopped(why)));
    let listening = stopped.into_iter().chain([began()]);
    listening.map(|what| Told { at, what }).collect()
}

/// The tap listens; nodes speak every 30 seconds (`kong-hybrid.md` 1.6).
pub const fn began() -> Learned {
    Learned::Listening(Listening::Began { interval_ms: 30_000 })
}
