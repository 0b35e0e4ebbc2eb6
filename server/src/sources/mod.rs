//! Sources that go and ask: one named background task for each `[[source]]` table.
//!
//! Read in this order: [`settings`] is what can be set; [`task`] is how a source lives, from one run to the next;
//! [`admin_api`], [`status`] and [`konnect`] are what is done in a run, with [`targets`] (whom to ask; [`srv`] is one
//! way to know) and [`asking`] (how) below them; [`check`] is one run in words, and [`secret`] keeps credentials from
//! being printed.
//!
//! **What a failing source means.** A source that does not hear says so as a fact: its nodes are `unobserved` then, never
//! `behind` (DESIGN 5.9). It does so at once where the failure is ours (a name, a way, all targets at once), and after
//! three intervals without a success otherwise. Where several sources of one kind watch a control plane, the last one
//! that hears decides. Between the two, nothing is held against a node: the pace that is told with the beginning leaves
//! room for three intervals ([`settings::Settings::pace_ms`]).
//!
//! **What is never done.** No run waits for another, no answer is kept that is longer than its bound, and no credential
//! leaves this module but in the header of a request.

pub mod settings;

pub mod task;

pub mod admin_api;

pub mod status;

pub mod konnect;

pub mod shadow;

pub mod taps;

pub mod targets;

mod srv;

pub mod asking;

pub mod check;

pub mod secret;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use parking_lot::Mutex;
use tidemark_domain::assess::SourceState;
use tidemark_domain::fact::{Fact, Listening, Source, What};
use tidemark_domain::id::{CpName, Line};
use tidemark_domain::time::Timestamp;
use tokio_util::sync::CancellationToken;

use self::asking::Trouble;
use self::settings::{Kind, Settings};
use self::taps::Taps;
use crate::board::Snapshot;
use crate::clock::{Clock, stopwatch};
use crate::ingest::{Ingest, SubmitError};
use crate::kong::metrics::Counted;
use crate::telemetry::Telemetry;

/// Endpoints of which it is remembered when they answered.
const ANSWERED_MAX: usize = 65_536;

/// Every source of this server, for whoever wants to look at them. Cheap to clone.
#[derive(Clone, Default)]
pub struct Sources {
    entries: Arc<[Arc<Entry>]>,
    taps: Arc<Taps>,
}

/// A source with what it did so far.
struct Entry {
    settings: Settings,
    state: Mutex<State>,
}

impl Entry {
    /// Whether it had no success for three intervals, however few runs that were.
    fn is_late(&self) -> bool {
        let succeeded = self.state.lock().succeeded;
        succeeded.is_some_and(|at| at.elapsed() >= task::LATE_AFTER * self.settings.interval)
    }
}

/// A source as it is shown.
#[derive(Clone, Debug)]
pub struct Shown {
    /// Its name.
    pub name: String,
    /// The word of its kind.
    pub kind: &'static str,
    /// Whom it watches.
    pub control_plane: CpName,
    /// Between the beginnings of two runs.
    pub interval: Duration,
    /// What it did so far.
    pub state: State,
}

/// What a source did so far. Counts begin with the process.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// How it is.
    pub health: Health,
    /// When its last run began.
    pub last_run_at: Option<Timestamp>,
    /// When a run was last heard an answer in.
    pub last_success_at: Option<Timestamp>,
    /// How long the last run took.
    pub last_run: Option<Duration>,
    /// Runs that ended.
    pub runs: u64,
    /// What went wrong in them, counted one by one.
    pub errors: u64,
    /// How often it was started anew after it had failed inside.
    pub restarts: u64,
    /// Facts that were stored.
    pub facts: u64,
    /// The last thing that went wrong.
    pub last_error: Option<String>,
    /// When.
    pub last_error_at: Option<Timestamp>,
    /// Targets of the last run.
    pub targets: u32,
    /// Those of them that answered.
    pub answered: u32,
    /// What the other side said of itself.
    pub about: Option<String>,
    /// Runs since the last success.
    failed_in_a_row: u32,
    /// The last success by the machine's monotonic clock.
    succeeded: Option<Instant>,
}

/// How a source is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Health {
    /// It did not run yet.
    #[default]
    Starting,
    /// Its last run went well.
    Up,
    /// Its last run heard some of its targets.
    Partly,
    /// Its last run heard nobody; that is not held against anybody yet.
    Failing,
    /// It hears nobody, and its nodes are unobserved.
    Blind,
}

impl Health {
    /// The word of pages and of REST.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Up => "up",
            Self::Partly => "partly",
            Self::Failing => "failing",
            Self::Blind => "blind",
        }
    }

    /// Whether its last run heard somebody.
    #[must_use]
    pub const fn hears(self) -> bool {
        match self {
            Self::Up | Self::Partly => true,
            Self::Starting | Self::Failing | Self::Blind => false,
        }
    }
}

impl Sources {
    /// Starts a task for each; they end when `closing` is cancelled.
    #[must_use]
    pub fn start(
        all: Vec<Settings>,
        ingest: &Ingest,
        telemetry: Option<Telemetry>,
        clock: &Clock,
        closing: &CancellationToken,
    ) -> Self {
        Self::start_as(all, ingest, telemetry, clock, closing, &|settings: &Settings| collector(settings))
    }

    /// The same with other collectors than those of the settings.
    pub(crate) fn start_as(
        all: Vec<Settings>,
        ingest: &Ingest,
        telemetry: Option<Telemetry>,
        clock: &Clock,
        closing: &CancellationToken,
        collector: &(impl Fn(&Settings) -> Option<Box<dyn Collect>> + Clone + Send + Sync + 'static),
    ) -> Self {
        let around = Arc::new(Around {
            ingest: ingest.clone(),
            telemetry,
            clock: clock.clone(),
            hearing: tokio::sync::Mutex::default(),
            answered: Mutex::default(),
        });
        let entry = |settings| Arc::new(Entry { settings, state: Mutex::default() });
        let entries: Arc<[_]> = all.into_iter().map(entry).collect();
        for entry in entries.iter() {
            let (entry, around, closing) = (Arc::clone(entry), Arc::clone(&around), closing.clone());
            match entry.settings.kind.clone() {
                Kind::Shadow(given) => tokio::spawn(shadow::live(entry, *given, around, closing)),
                Kind::AdminApi { .. } | Kind::Status(_) | Kind::Konnect(_) => {
                    tokio::spawn(task::live(entry, around, closing, collector.clone()))
                }
            };
        }
        Self { entries, taps: Arc::default() }
    }

    /// Taps that tell this server what they see.
    #[must_use]
    pub fn taps(&self) -> &Taps {
        &self.taps
    }

    /// Each with what it did so far: those of the settings in the order of the file, then taps.
    #[must_use]
    pub fn shown(&self) -> Vec<Shown> {
        let shown = |entry: &Arc<Entry>| {
            let Settings { name, control_plane, interval, kind, .. } = &entry.settings;
            let state = entry.state.lock().clone();
            Shown {
                name: name.clone(),
                kind: kind.word(),
                control_plane: control_plane.clone(),
                interval: *interval,
                state,
            }
        };
        self.entries.iter().map(shown).chain(self.taps.shown()).collect()
    }
}

/// What was so while this process did not run, told before its sources start: who asked then hears nobody until the
/// first answer comes. Sources that the settings name no more are not expected to be heard again, so that their silence
/// is no alarm.
///
/// # Errors
/// If the facts cannot be stored.
pub async fn take_over(
    all: &[Settings],
    snapshot: &Snapshot,
    ingest: &Ingest,
    clock: &Clock,
) -> Result<(), SubmitError> {
    let now = clock.now();
    let is_set = |control_plane: &CpName, source: Source| {
        all.iter().any(|one| one.control_plane == *control_plane && one.kind.source() == source)
    };
    let mut facts = Vec::new();
    for of in &snapshot.control_planes {
        let asking = |state: &&SourceState| {
            let goes_and_asks =
                matches!(state.source, Source::AdminApi | Source::Status | Source::Konnect | Source::Shadow);
            goes_and_asks && !state.ended
        };
        for state in of.sources.iter().filter(asking) {
            let heard_at = state.last_fact_at.max(state.began_at).unwrap_or(now).min(now);
            let (at, listening) = match (is_set(&of.name, state.source), state.blind_since()) {
                (false, _) => (now, Listening::Ended),
                (true, None) => (heard_at, Listening::Stopped(not_running())),
                (true, Some(_)) => continue,
            };
            let what = What::Listening(listening);
            facts.push(Fact { at, recorded_at: now, control_plane: of.name.clone(), source: state.source, what });
        }
    }
    if facts.is_empty() {
        return Ok(());
    }
    ingest.submit(facts, None).await.map(|_| ())
}

fn not_running() -> Line {
    "the service was not running".parse().expect("a text that is not empty is a line")
}

/// Whether the credentials of these sources can be used, before anything starts.
///
/// # Errors
/// In words, with the source and the key; never with what is in a file.
pub async fn can_ask(all: &[Settings]) -> Result<(), String> {
    for settings in all {
        let ready = asking::Asker::new(settings).ready().await;
        ready.map_err(|trouble| format!("source {:?}: {trouble}", settings.name))?;
    }
    Ok(())
}

/// What a source does in a run.
pub(crate) trait Collect: Send {
    /// One run. It ends by itself, as every request has a bound; if it is dropped, [`Self::forget`] follows.
    fn run<'a>(&'a mut self, around: &'a Around) -> BoxFuture<'a, Round>;

    /// What was learned in the last run was not stored: all of it is to be told again.
    fn forget(&mut self);
}

/// What came of a run.
#[derive(Debug, Default)]
pub(crate) struct Round {
    facts: Vec<Fact>,
    /// What nodes use: the node, what of, and how much.
    samples: Vec<(String, &'static str, u64)>,
    /// Requests that nodes counted since the last look: the node, what for, and how many.
    requests: Vec<(String, Counted, u64)>,
    /// Whether anybody was heard who says something of nodes.
    heard: bool,
    /// Whether the failure says nothing about the other side.
    is_ours: bool,
    troubles: u64,
    /// The first of them, in words.
    trouble: Option<String>,
    targets: u32,
    answered: u32,
    about: Option<String>,
}

impl Round {
    fn failed(trouble: &Trouble) -> Self {
        Self { is_ours: trouble.is_ours(), troubles: 1, trouble: Some(trouble.to_string()), ..Self::default() }
    }
}

/// Who does a run; `None` for a source that does not live by runs, but stays connected.
fn collector(settings: &Settings) -> Option<Box<dyn Collect>> {
    match &settings.kind {
        Kind::AdminApi { urls } => Some(Box::new(admin_api::Poller::new(settings, urls))),
        Kind::Status(targets) => Some(Box::new(status::Scraper::new(settings, targets))),
        Kind::Konnect(konnect) => Some(Box::new(konnect::Poller::new(settings, konnect))),
        Kind::Shadow(_) => None,
    }
}

/// What all sources of a server share.
pub(crate) struct Around {
    ingest: Ingest,
    telemetry: Option<Telemetry>,
    clock: Clock,
    /// Who hears, by control plane and kind. Held while a beginning or an end is told, so that they are told in order.
    hearing: tokio::sync::Mutex<HashMap<(CpName, Source), HashSet<String>>>,
    /// When an endpoint last answered, whatever it said.
    answered: Mutex<HashMap<Arc<str>, Instant>>,
}

impl Around {
    fn note_answer(&self, endpoint: &Arc<str>) {
        let mut answered = self.answered.lock();
        if answered.len() < ANSWERED_MAX || answered.contains_key(endpoint) {
            answered.insert(Arc::clone(endpoint), stopwatch());
        }
    }

    /// Hands samples and counts to telemetry. They say nothing of configurations: what is lost is a gap in a chart.
    async fn sample(&self, control_plane: &CpName, round: &mut Round) {
        let (samples, requests) = (std::mem::take(&mut round.samples), std::mem::take(&mut round.requests));
        let some = !samples.is_empty() || !requests.is_empty();
        let Some(telemetry) = self.telemetry.as_ref().filter(|_| some) else { return };
        let mut rows = telemetry.samples(control_plane.as_str(), &samples);
        rows.extend(telemetry.counted(control_plane.as_str(), &requests));
        if let Err(error) = telemetry.submit(rows, Vec::new(), None).await {
            tracing::debug!("what nodes of {control_plane} use was not stored: {error}");
        }
    }

    /// Whether another endpoint than these answered within a span: the way out of here works then.
    fn others_answer(&self, endpoints: &[Arc<str>], within: Duration) -> bool {
        let answered = self.answered.lock();
        answered.iter().any(|(endpoint, at)| !endpoints.contains(endpoint) && at.elapsed() <= within)
    }
}
