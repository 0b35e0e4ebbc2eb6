//! Facts on their way from a shadow to whoever takes them, in their order. Bounded: where nobody takes them for long, the
//! newest are lost, and that is told too.

use super::figures::{Figures, Reason};
use crate::clock::Clock;
use crate::ingest::{Ingest, SubmitError};
use futures::future::BoxFuture;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tidemark_domain::fact::{Fact, Listening, Source, What};
use tidemark_domain::id::{CpName, Line};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Batches that may wait. A control plane publishes once in five seconds at most, so this is some twenty minutes of it.
const WAITING_MAX: usize = 256;
/// How soon facts are offered again.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// Nodes speak every 30 seconds (`kong-hybrid.md` 1.6).
pub(super) const INTERVAL_MS: u32 = 30_000;

/// Who takes facts: the writer's queue, or a test.
pub trait Sink: Send + Sync + 'static {
    /// Takes all of them or none.
    ///
    /// # Errors
    /// Why not. They are offered again, unless nothing is taken in any more.
    fn take(&self, facts: Vec<Fact>) -> BoxFuture<'_, Result<(), SubmitError>>;
}

impl Sink for Ingest {
    fn take(&self, facts: Vec<Fact>) -> BoxFuture<'_, Result<(), SubmitError>> {
        Box::pin(async move { self.submit(facts, None).await.map(|_| ()) })
    }
}

/// The end that tells.
#[derive(Clone)]
pub(super) struct Teller {
    control_plane: CpName,
    clock: Clock,
    queue: mpsc::Sender<Vec<Fact>>,
    lost: Arc<AtomicBool>,
    figures: Arc<Figures>,
}

/// The end that hands over.
pub(super) struct Telling {
    queue: mpsc::Receiver<Vec<Fact>>,
    clock: Clock,
}

impl Teller {
    pub fn new(control_plane: CpName, clock: Clock, figures: Arc<Figures>) -> (Self, Telling) {
        let (queue, taken) = mpsc::channel(WAITING_MAX);
        let telling = Telling { queue: taken, clock: clock.clone() };
        (Self { control_plane, clock, queue, lost: Arc::default(), figures }, telling)
    }

    /// Tells what a node of the shadow heard.
    pub fn tell(&self, node: usize, mut facts: Vec<Fact>) {
        if facts.is_empty() {
            return;
        }
        if self.lost.swap(false, Ordering::Relaxed) {
            let gap = [stopped("facts of the shadow were lost"), Some(began())];
            facts.splice(..0, gap.into_iter().flatten().map(|what| self.fact(what)));
        }
        if self.queue.try_send(facts).is_err() {
            self.lost.store(true, Ordering::Relaxed);
            let message = "nobody takes its facts, and some are lost".to_owned();
            self.figures.fail(node, self.clock.now(), Reason::Lost, message);
        }
    }

    /// Tells something of the shadow's own.
    pub fn say(&self, node: usize, what: What) {
        self.tell(node, vec![self.fact(what)]);
    }

    fn fact(&self, what: What) -> Fact {
        let now = self.clock.now();
        Fact { at: now, recorded_at: now, control_plane: self.control_plane.clone(), source: Source::Shadow, what }
    }
}

impl Telling {
    /// Hands facts over until all tellers are gone, or nothing is taken in any more. Once it is stopped each batch is
    /// offered only once.
    pub async fn run(mut self, sink: impl Sink, stopped: CancellationToken) {
        while let Some(mut facts) = self.queue.recv().await {
            loop {
                let now = self.clock.now();
                for fact in &mut facts {
                    fact.recorded_at = now.max(fact.at);
                }
                match sink.take(facts.clone()).await {
                    Ok(()) => break,
                    Err(SubmitError::Closed) => return,
                    Err(SubmitError::Full | SubmitError::Store) if stopped.is_cancelled() => break,
                    Err(SubmitError::Full | SubmitError::Store) => {
                        let _ = stopped.run_until_cancelled(tokio::time::sleep(AGAIN_AFTER)).await;
                    }
                }
            }
        }
    }
}

pub(super) const fn began() -> What {
    What::Listening(Listening::Began { interval_ms: INTERVAL_MS })
}

pub(super) fn stopped(why: &str) -> Option<What> {
    Line::from_outside(why).map(|why| What::Listening(Listening::Stopped(why)))
}

#[cfg(test)]
mod tests {
    use super::super::figures::OfNode;
    use super::*;
    use parking_lot::Mutex;
    use std::sync::atomic::AtomicU32;
    use tidemark_domain::fact::Protocol;
    use tidemark_domain::hash::ConfigHash;
    use tidemark_domain::time::Timestamp;

    /// Refuses so often, and then takes.
    struct Late {
        refuses: AtomicU32,
        taken: Arc<Mutex<Vec<Fact>>>,
    }

    impl Sink for Late {
        fn take(&self, facts: Vec<Fact>) -> BoxFuture<'_, Result<(), SubmitError>> {
            Box::pin(async move {
                let refuses = self.refuses.load(Ordering::Relaxed);
                if let Some(left) = refuses.checked_sub(1) {
                    self.refuses.store(left, Ordering::Relaxed);
                    return Err(if left % 2 == 0 { SubmitError::Full } else { SubmitError::Store });
                }
                self.taken.lock().extend(facts);
                Ok(())
            })
        }
    }

    #[tokio::test(start_paused = true)]
    async fn facts_wait_for_who_takes_them_and_a_loss_is_told() {
        let clock = Clock::by_hand(Timestamp::from_ms(1_000));
        let node = OfNode::new("3.9.3".parse().unwrap(), Protocol::V1, "n1", ConfigHash::ZEROS);
        let figures = Figures::new(vec![node]);
        let (teller, telling) = Teller::new("eu".parse().unwrap(), clock.clone(), Arc::clone(&figures));
        for _ in 0..WAITING_MAX + 3 {
            teller.say(0, What::Read);
        }
        assert_eq!(figures.nodes()[0].errors_of(Reason::Lost), 3);
        clock.advance(60_000);
        let taken = Arc::new(Mutex::new(Vec::new()));
        let late = Late { refuses: AtomicU32::new(5), taken: Arc::clone(&taken) };
        let running = tokio::spawn(telling.run(late, CancellationToken::new()));
        while taken.lock().len() < WAITING_MAX {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        teller.say(0, What::Read);
        drop(teller);
        running.await.unwrap();
        let taken = taken.lock();
        let gap = &taken[WAITING_MAX..];
        assert!(taken[..WAITING_MAX].iter().all(|fact| matches!(fact.what, What::Read)));
        let [Fact { what: What::Listening(Listening::Stopped(_)), .. }, Fact { what: begins, .. }, Fact { what, .. }] =
            gap
        else {
            panic!("{gap:?}")
        };
        assert_eq!((begins, what), (&began(), &What::Read));
        assert_eq!((taken[0].at.ms(), taken[0].recorded_at.ms()), (1_000, 61_000), "recorded when it was taken");
    }
}
