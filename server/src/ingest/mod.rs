//! The one way in. Every fact, wherever it comes from, is a value in one bounded queue, and one writer takes it from
//! there: into the store, into the fleet, and only then is it answered.
//!
//! Work runs at our pace, not at the sender's: a full queue is an answer ([`SubmitError::Full`]), not a memory graph.

pub mod json;

pub mod wire;

pub mod writer;

use crate::store::Taken;
use tidemark_domain::fact::Fact;
use tidemark_domain::time::Timestamp;
use tokio::sync::{mpsc, oneshot};

/// Submissions that may wait for the writer. Each holds at most one request's facts.
pub const QUEUE_MAX: usize = 256;

/// Facts that are stored together or not at all, with the answer to remember for a repeat.
#[derive(Debug)]
pub struct Submission {
    /// The facts, in the order in which they were told.
    pub facts: Vec<Fact>,
    /// The answer to give to a repeat of this request.
    pub remember: Option<Remembered>,
    /// How far recordings are taken with these facts.
    pub taken: Vec<Taken>,
    /// Where the writer answers after the commit.
    pub done: oneshot::Sender<Result<Committed, SubmitError>>,
}

/// The answer to a request with an `Idempotency-Key`, kept in the transaction of its facts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remembered {
    /// The sender's key, 1-128 visible ASCII characters.
    pub key: String,
    /// A digest of the request, so that a key that is used again for something else can be refused.
    pub request_digest: String,
    /// The status that was answered.
    pub status: u16,
    /// The body that was answered.
    pub body: String,
    /// When.
    pub at: Timestamp,
}

/// Facts are in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The commit that holds them.
    pub sequence: i64,
}

/// Why facts were not stored. Nothing of the submission is stored then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// The queue is full: try again.
    #[error("the queue is full")]
    Full,
    /// The clock is held or the service is going down: nothing is taken in.
    #[error("nothing is taken in now")]
    Closed,
    /// The store failed; the log says how.
    #[error("the store failed")]
    Store,
}

/// The sending end of the queue.
#[derive(Clone, Debug)]
pub struct Ingest {
    queue: Option<mpsc::Sender<Submission>>,
}

impl Ingest {
    /// A queue and its receiving end, which the writer takes.
    #[must_use]
    pub fn queue() -> (Self, mpsc::Receiver<Submission>) {
        let (queue, writer) = mpsc::channel(QUEUE_MAX);
        (Self { queue: Some(queue) }, writer)
    }

    /// A way in that is shut: for a held clock.
    #[must_use]
    pub const fn shut() -> Self {
        Self { queue: None }
    }

    /// Facts waiting in the queue now, in submissions.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.queue.as_ref().map_or(0, |queue| queue.max_capacity() - queue.capacity())
    }

    /// Waits until everything that was taken before is in the published answer, and the answer is of this moment.
    ///
    /// # Errors
    /// See [`SubmitError`].
    pub async fn settle(&self) -> Result<(), SubmitError> {
        self.submit(Vec::new(), None).await.map(|_| ())
    }

    /// Hands facts to the writer and waits for its commit.
    ///
    /// # Errors
    /// See [`SubmitError`]; nothing is stored then. If the caller is dropped while it waits, the facts may still be
    /// stored.
    pub async fn submit(&self, facts: Vec<Fact>, remember: Option<Remembered>) -> Result<Committed, SubmitError> {
        self.submit_with(facts, remember, Vec::new()).await
    }

    /// The same for facts of recordings, with how far each recording is taken.
    ///
    /// # Errors
    /// See [`Self::submit`].
    pub async fn submit_with(
        &self,
        facts: Vec<Fact>,
        remember: Option<Remembered>,
        taken: Vec<Taken>,
    ) -> Result<Committed, SubmitError> {
        let queue = self.queue.as_ref().ok_or(SubmitError::Closed)?;
        let (done, answer) = oneshot::channel();
        queue.try_send(Submission { facts, remember, taken, done }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => SubmitError::Full,
            mpsc::error::TrySendError::Closed(_) => SubmitError::Closed,
        })?;
        answer.await.unwrap_or(Err(SubmitError::Closed))
    }
}
