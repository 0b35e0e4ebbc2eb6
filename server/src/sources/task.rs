//! How a source lives: a run, what came of it told to the one writer, a pause, the next run. A run that panics is logged
//! and counted, and the source begins anew after a pause that doubles.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use tidemark_domain::fact::{Fact, Listening, What};
use tidemark_domain::id::Line;
use tidemark_domain::time::Timestamp;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::asking::Trouble;
use super::settings::Settings;
use super::{Around, Collect, Entry, Health, Round};
use crate::clock::stopwatch;
use crate::ingest::SubmitError;

/// Intervals without a success after which a source is blind.
pub(crate) const LATE_AFTER: u32 = 3;
/// Facts of one submission.
const CHUNK: usize = 10_000;
/// How often a full queue is tried, with a pause in between.
const TRIES: u32 = 5;
const TRY_AGAIN_AFTER: Duration = Duration::from_millis(200);
/// The longest pause after a panic.
const PAUSE_MAX: Duration = Duration::from_secs(300);

/// Lives until `closing` is cancelled.
pub(super) async fn live(
    entry: Arc<Entry>,
    around: Arc<Around>,
    closing: CancellationToken,
    collector: impl Fn(&Settings) -> Option<Box<dyn Collect>>,
) {
    let settings = &entry.settings;
    let Some(mut collect) = collector(settings) else { return };
    let life = async {
        // Not all sources of a server at once.
        sleep(settings.interval.min(Duration::from_secs(4)).mul_f64(fraction(&settings.name) / 4.0)).await;
        let mut panics = 0_u32;
        loop {
            let began = stopwatch();
            let began_at = around.clock.now();
            let ended = AssertUnwindSafe(timeout(longest(settings), collect.run(&around))).catch_unwind().await;
            let (round, panicked) = match ended {
                Ok(Ok(round)) => (round, false),
                Ok(Err(_)) => {
                    let words = format!("the run did not end within {} s", longest(settings).as_secs());
                    collect.forget();
                    (Round::failed(&Trouble::Silent(words)), false)
                }
                Err(panic) => {
                    let words = format!("a fault of ours: {}", words_of(&*panic));
                    tracing::error!(source = settings.name, "source {}: {words}; it begins anew", settings.name);
                    if let Some(anew) = collector(settings) {
                        collect = anew;
                    }
                    (Round::failed(&Trouble::Ours(words)), true)
                }
            };
            panics = if panicked { panics.saturating_add(1) } else { 0 };
            entry.state.lock().restarts += u64::from(panicked);
            if conclude(&entry, &around, round, began_at, began.elapsed()).await.is_err() {
                collect.forget();
            }
            sleep(pause(settings.interval, began.elapsed(), panics)).await;
        }
    };
    let _ = closing.run_until_cancelled(life).await;
}

/// A run may take as long as its source may be late.
fn longest(settings: &Settings) -> Duration {
    LATE_AFTER * settings.interval.max(settings.timeout)
}

/// Until the next run: what is left of the interval, and a tenth of it at least. After a panic longer each time.
fn pause(interval: Duration, took: Duration, panics: u32) -> Duration {
    match panics {
        0 => interval.saturating_sub(took).max(interval / 10),
        more => (interval * (1 << more.min(8))).min(PAUSE_MAX.max(interval)),
    }
}

/// A number from 0 to 1 that is always the same for a name.
pub(crate) fn fraction(name: &str) -> f64 {
    use sha2::{Digest, Sha256};
    let digest = Sha256::digest(name.as_bytes());
    f64::from(u16::from_be_bytes([digest[0], digest[1]])) / f64::from(u16::MAX)
}

fn words_of(panic: &(dyn Any + Send)) -> String {
    let words = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    words.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "it panicked".to_owned())
}

/// What came of a run: told to the writer, and kept for who looks. An error says that what was learned is lost.
async fn conclude(
    entry: &Entry,
    around: &Around,
    mut round: Round,
    began_at: Timestamp,
    took: Duration,
) -> Result<(), SubmitError> {
    around.sample(&entry.settings.control_plane, &mut round).await;
    let facts = std::mem::take(&mut round.facts);
    let told = match round.heard {
        true => begin(entry, around, began_at).await,
        false => Ok(()),
    };
    let stored = match told {
        Ok(()) => submit(around, facts).await,
        Err(error) => Err(error),
    };
    if let Err(error) = stored {
        round.troubles += 1;
        round.trouble.get_or_insert_with(|| format!("what was learned could not be stored: {error}"));
    }
    let blind = if round.heard { None } else { stop(entry, around, &round).await };
    note(entry, around.clock.now(), &round, stored.unwrap_or(0), blind, (began_at, took));
    stored.map(|_| ())
}

/// Says that the source hears, unless another of its kind said so of its control plane already.
async fn begin(entry: &Entry, around: &Around, at: Timestamp) -> Result<(), SubmitError> {
    let settings = &entry.settings;
    let mut hearing = around.hearing.lock().await;
    let who = hearing.entry((settings.control_plane.clone(), settings.kind.source())).or_default();
    if who.is_empty() {
        let began = Listening::Began { interval_ms: settings.pace_ms() };
        submit(around, vec![listening(entry, around, at, began)]).await?;
    }
    who.insert(settings.name.clone());
    Ok(())
}

/// Says that the source is blind, if it is and nobody else of its kind hears; whether it is blind.
async fn stop(entry: &Entry, around: &Around, round: &Round) -> Option<()> {
    let settings = &entry.settings;
    let (last_success_at, runs_failed) = {
        let state = entry.state.lock();
        (state.last_success_at, state.failed_in_a_row)
    };
    let is_late = runs_failed + 1 >= LATE_AFTER || entry.is_late();
    if !(round.is_ours || is_late) {
        return None;
    }
    let mut hearing = around.hearing.lock().await;
    let who = hearing.entry((settings.control_plane.clone(), settings.kind.source())).or_default();
    let is_last = who.len() == 1 && who.contains(&settings.name);
    if is_last {
        let why = format!("source {}: {}", settings.name, round.trouble.as_deref().unwrap_or("no answer"));
        let why = Line::from_outside(&why)?;
        let at = last_success_at.unwrap_or_else(|| around.clock.now());
        // Tried again in the next run, if it cannot be said now.
        submit(around, vec![listening(entry, around, at, Listening::Stopped(why))]).await.ok()?;
    }
    who.remove(&settings.name);
    Some(())
}

fn listening(entry: &Entry, around: &Around, at: Timestamp, listening: Listening) -> Fact {
    Fact {
        at,
        recorded_at: around.clock.now(),
        control_plane: entry.settings.control_plane.clone(),
        source: entry.settings.kind.source(),
        what: What::Listening(listening),
    }
}

/// Hands facts to the writer, as recorded now; how many.
async fn submit(around: &Around, mut facts: Vec<Fact>) -> Result<u64, SubmitError> {
    let count = facts.len() as u64;
    while !facts.is_empty() {
        let rest = facts.split_off(facts.len().min(CHUNK));
        let recorded_at = around.clock.now();
        for fact in &mut facts {
            fact.recorded_at = recorded_at;
        }
        let mut tries = 1;
        loop {
            match around.ingest.submit(facts.clone(), None).await {
                Ok(_) => break,
                Err(SubmitError::Full) if tries < TRIES => {
                    tries += 1;
                    sleep(TRY_AGAIN_AFTER).await;
                }
                Err(error) => return Err(error),
            }
        }
        facts = rest;
    }
    Ok(count)
}

fn note(
    entry: &Entry,
    now: Timestamp,
    round: &Round,
    facts: u64,
    blind: Option<()>,
    (began_at, took): (Timestamp, Duration),
) {
    let mut state = entry.state.lock();
    let name = &entry.settings.name;
    let health = match (round.heard, round.troubles, blind) {
        (true, 0, _) => Health::Up,
        (true, _, _) => Health::Partly,
        (false, _, None) => Health::Failing,
        (false, _, Some(())) => Health::Blind,
    };
    // A line when something changes, not one for each run.
    match &round.trouble {
        Some(trouble) if state.last_error.as_ref() != Some(trouble) || state.health != health => {
            tracing::warn!(source = name, state = health.word(), "source {name} is {}: {trouble}", health.word());
        }
        None if state.health != health => tracing::info!(source = name, "source {name} is {}", health.word()),
        Some(_) | None => {}
    }
    state.health = health;
    state.last_run_at = Some(began_at);
    state.last_run = Some(took);
    state.runs += 1;
    state.errors += round.troubles;
    state.facts += facts;
    state.targets = round.targets;
    state.answered = round.answered;
    if round.heard {
        state.last_success_at = Some(now);
        state.succeeded = Some(stopwatch());
        state.failed_in_a_row = 0;
    } else {
        state.failed_in_a_row += 1;
    }
    if round.about.is_some() {
        state.about.clone_from(&round.about);
    }
    if let Some(trouble) = &round.trouble {
        state.last_error = Some(trouble.clone());
        state.last_error_at = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::ingest::{Committed, Ingest};
    use crate::sources::Sources;
    use crate::sources::settings::{Access, Kind};
    use futures::future::BoxFuture;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[test]
    fn a_pause_is_what_is_left_of_the_interval_and_doubles_after_a_panic() {
        #[track_caller]
        fn check(interval_s: u64, took_s: u64, panics: u32, expected_ms: u64) {
            let pause = pause(Duration::from_secs(interval_s), Duration::from_secs(took_s), panics);
            assert_eq!(pause, Duration::from_millis(expected_ms));
        }
        check(10, 1, 0, 9_000);
        check(10, 9, 0, 1_000);
        check(10, 10, 0, 1_000);
        check(10, 30, 0, 1_000);
        check(10, 1, 1, 20_000);
        check(10, 1, 2, 40_000);
        check(10, 1, 5, 300_000);
        check(10, 1, 4_000_000, 300_000);
        check(3_600, 1, 1, 3_600_000);
    }

    /// Panics in its first run, and hears in all others.
    struct Frail(Arc<AtomicU32>);

    impl Collect for Frail {
        fn run<'a>(&'a mut self, _: &'a Around) -> BoxFuture<'a, Round> {
            async {
                assert!(self.0.fetch_add(1, Ordering::SeqCst) > 0, "out of paper");
                Round { heard: true, targets: 1, answered: 1, ..Round::default() }
            }
            .boxed()
        }

        fn forget(&mut self) {}
    }

    #[tokio::test(start_paused = true)]
    async fn a_source_that_panics_begins_anew() {
        let (ingest, mut queue) = Ingest::queue();
        let told = tokio::spawn(async move {
            let submission = queue.recv().await.expect("a submission");
            let _ = submission.done.send(Ok(Committed { sequence: 1 }));
            submission.facts
        });
        let urls = vec!["http://cp:8001".parse().expect("an address")];
        let settings = Settings {
            name: "frail".to_owned(),
            control_plane: "eu".parse().expect("a name"),
            interval: Duration::from_secs(10),
            timeout: Duration::from_secs(5),
            access: Access::default(),
            kind: Kind::AdminApi { urls },
        };
        let runs = Arc::<AtomicU32>::default();
        let collector = move |_: &Settings| -> Option<Box<dyn Collect>> { Some(Box::new(Frail(Arc::clone(&runs)))) };
        let closing = CancellationToken::new();
        let sources = Sources::start_as(vec![settings], &ingest, None, &Clock::machine(), &closing, &collector);
        sleep(Duration::from_secs(15)).await;
        let state = sources.shown().remove(0).state;
        assert_eq!((state.runs, state.restarts, state.health), (1, 1, Health::Blind));
        assert_eq!(state.last_error.as_deref(), Some("a fault of ours: out of paper"));
        sleep(Duration::from_secs(20)).await;
        let state = sources.shown().remove(0).state;
        assert_eq!((state.restarts, state.health), (1, Health::Up));
        let facts = told.await.expect("facts");
        assert!(matches!(facts[..], [Fact { what: What::Listening(Listening::Began { .. }), .. }]), "{facts:?}");
        closing.cancel();
    }

    #[test]
    fn a_fraction_is_between_0_and_1() {
        for name in ["", "a", "eu-admin", "http://10.0.0.1:8007"] {
            assert!((0.0..=1.0).contains(&fraction(name)), "{name}");
        }
    }
}
