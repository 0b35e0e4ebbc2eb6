//! Tells a scenario to a real Tidemark, and looks whether it concludes what the scenario expects: the writer, the store
//! in a file, the board and the reader are the ones that serve people; only the clock is moved by hand.

use super::scenario::{BadScenario, ExpectedNotice, Scenario, Span, Telling, Verdicts};
use super::world::World;
use crate::clock::Clock;
use crate::ingest::{Ingest, SubmitError};
use crate::run::{self, RunError, Running};
use crate::store::StoreError;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tidemark_app::api::{ApiError, FleetApi, Paging};
use tidemark_domain::fact::Fact;
use tidemark_domain::notice::Notice;
use tidemark_domain::policy::Policy;
use tidemark_domain::time::{SECOND, Timestamp};
use tidemark_domain::view::{CommonFactor, Moment, NodeRow, NodesView};
use tokio_util::sync::CancellationToken;

/// Facts of one submission at most.
const SUBMISSION_MAX: usize = 10_000;
/// How far time is moved at once while nothing is looked at.
const STRIDE_MS: i64 = 5 * SECOND;
/// How often a claim is looked at that must hold all the time.
const LOOK_EVERY_MS: i64 = SECOND;
/// Rows of one page.
const PAGE: u32 = 500;

/// How a scenario is told.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where the database of this telling is made; there must be none yet.
    pub database: PathBuf,
    /// The moment at which the story begins.
    pub start: Timestamp,
    /// Restart Tidemark here, beside what the scenario says.
    pub restart_at: Option<Span>,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// Claims that were looked at.
    pub claims: usize,
    /// Claims that did not hold, in words.
    pub failed: Vec<String>,
    /// Claims that nothing asserts yet.
    pub not_asserted: usize,
    /// Facts that reached Tidemark.
    pub facts: usize,
    /// What was shown at each claim: two tellings of one story have the same.
    pub transcript: String,
}

/// Why a scenario could not be told to its end.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// The scenario.
    #[error("the scenario cannot be told: {0}")]
    Scenario(#[from] BadScenario),
    /// The service.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Facts were not taken.
    #[error("facts were not taken: {0}")]
    Submit(#[from] SubmitError),
    /// A question had no answer.
    #[error("a question had no answer: {0}")]
    Ask(#[from] ApiError),
}

/// Tells a scenario, and looks at each claim on verdicts at its moment.
///
/// # Errors
/// See [`CheckError`]; a claim that does not hold is no error but in what came of it.
pub async fn check(scenario: &Scenario, telling: Telling, plan: &Plan) -> Result<Told, CheckError> {
    let mut world = World::new(scenario, telling, plan.start)?;
    let claims: Vec<_> = scenario.expect.verdicts.iter().filter(|claim| telling.tells(claim.only)).collect();
    let mut told = Told { not_asserted: scenario.not_asserted(telling), claims: claims.len(), ..Told::default() };
    let mut holds = vec![true; claims.len()];
    let mut restarts = world.restarts();
    restarts.extend(plan.restart_at.map(|at| (plan.start.plus(at.0), Span(0))));
    let mut tidemark = Tidemark::start(&plan.database, Clock::by_hand(plan.start)).await?;
    let end = plan.start.plus(scenario.lasts.0);
    while tidemark.clock.now() < end {
        let now = tidemark.clock.now();
        let next = next_stop(plan.start, now, &claims, &restarts).min(end);
        let facts = world.run_until(next);
        told.facts += facts.len();
        tidemark.clock.advance(next.since(now));
        tidemark.tell(facts).await?;
        if let Some((_, takes)) = restarts.iter().find(|(at, _)| *at == next) {
            let lost = world.run_until(next.plus(takes.0));
            tidemark = tidemark.restart(takes.0).await?;
            // What is pushed to nobody is lost; who asks, asks again.
            told.facts += lost.len();
            tidemark.tell(world.heard_again()).await?;
        }
        let now = tidemark.clock.now();
        for (place, claim) in claims.iter().enumerate() {
            if holds[place] && is_due(plan.start, now, claim) {
                let shown = tidemark.look(claim).await?;
                if claim.at.is_some() {
                    shown.write_down(&mut told.transcript, claim);
                }
                if let Some(why) = shown.contradicts(claim) {
                    holds[place] = false;
                    let at = Span(now.since(plan.start));
                    told.failed.push(format!("{} {} at {at}: {why}", scenario.id, telling.word()));
                }
            }
        }
    }
    tidemark.stop().await?;
    Ok(told)
}

/// The next moment at which something is looked at or done, or a stride from now.
fn next_stop(start: Timestamp, now: Timestamp, claims: &[&Verdicts], restarts: &[(Timestamp, Span)]) -> Timestamp {
    let watched = claims.iter().filter_map(|claim| Some((start.plus(claim.from?.0), start.plus(claim.until?.0))));
    let is_watched = watched.clone().any(|(from, until)| from <= now && now < until);
    let stride = now.plus(if is_watched { LOOK_EVERY_MS } else { STRIDE_MS });
    let moments = claims.iter().filter_map(|claim| Some(start.plus(claim.at?.0)));
    let moments =
        moments.chain(watched.flat_map(|(from, until)| [from, until])).chain(restarts.iter().map(|(at, _)| *at));
    moments.filter(|moment| *moment > now).fold(stride, Timestamp::min)
}

fn is_due(start: Timestamp, now: Timestamp, claim: &Verdicts) -> bool {
    let moment = |span: Span| start.plus(span.0);
    match (claim.at, claim.from, claim.until) {
        (Some(at), ..) => moment(at) == now,
        (None, Some(from), Some(until)) => moment(from) <= now && now <= moment(until),
        _ => false,
    }
}

/// A running service, and its way in.
struct Tidemark {
    clock: Clock,
    database: PathBuf,
    running: Running,
    ingest: Ingest,
    fleet: Arc<dyn FleetApi>,
    closing: CancellationToken,
}

impl Tidemark {
    async fn start(database: &Path, clock: Clock) -> Result<Self, CheckError> {
        let closing = CancellationToken::new();
        let running = run::live(database, clock.clone(), Policy::default(), closing.clone()).await?;
        let (ingest, fleet) = (running.parts.ingest.clone(), Arc::clone(&running.parts.fleet));
        Ok(Self { clock, database: database.to_owned(), running, ingest, fleet, closing })
    }

    async fn stop(mut self) -> Result<(Clock, PathBuf), CheckError> {
        self.closing.cancel();
        drop((self.ingest, self.fleet));
        if let Some(writer) = self.running.writer.take() {
            let _ = writer.await;
        }
        self.running.store.close().await?;
        Ok((self.clock, self.database))
    }

    async fn restart(self, takes_ms: i64) -> Result<Self, CheckError> {
        let (clock, database) = self.stop().await?;
        clock.advance(takes_ms);
        Self::start(&database, clock).await
    }

    async fn tell(&self, mut facts: Vec<Fact>) -> Result<(), CheckError> {
        while !facts.is_empty() {
            let rest = facts.split_off(facts.len().min(SUBMISSION_MAX));
            self.ingest.submit(std::mem::replace(&mut facts, rest), None).await?;
        }
        Ok(())
    }

    async fn look(&self, claim: &Verdicts) -> Result<Shown, CheckError> {
        self.ingest.settle().await?;
        let mut first = self.page(&claim.search, None).await?;
        let mut rows = std::mem::take(&mut first.rows);
        let mut next = first.next.take();
        // All rows are read only where each is asked about.
        while let Some(after) =
            next.take().filter(|_| claim.are.is_some() || claim.says.is_some() || claim.at.is_some())
        {
            let mut page = self.page(&claim.search, Some(after)).await?;
            rows.append(&mut page.rows);
            next = page.next;
        }
        let all = self.fleet.fleet(Moment::default()).await?;
        let (notices, by_hash) = (all.notices, all.out_of_sync_by_hash);
        Ok(Shown { total: first.total as usize, rows, common: first.common, notices, by_hash })
    }

    async fn page(&self, search: &str, after: Option<String>) -> Result<NodesView, CheckError> {
        let paging = Paging { after, size: Some(PAGE) };
        Ok(self.fleet.nodes(search.to_owned(), paging, Moment::default()).await?)
    }
}

/// What Tidemark shows where a claim looks.
struct Shown {
    total: usize,
    rows: Vec<NodeRow>,
    common: Vec<CommonFactor>,
    notices: Vec<Notice>,
    by_hash: u32,
}

impl Shown {
    /// How this is not what a claim says; `None` where it is.
    fn contradicts(&self, claim: &Verdicts) -> Option<String> {
        let search = if claim.search.is_empty() { "all nodes" } else { &claim.search };
        if let Some(nodes) = claim.nodes.filter(|nodes| *nodes != self.total) {
            let example =
                self.rows.first().map_or(String::new(), |row| format!("; one says: {} {}", row.headline, row.evidence));
            return Some(format!("{search}: {} nodes are found, {nodes} were expected{example}", self.total));
        }
        if let Some(are) = &claim.are {
            let mut found: Vec<_> = self.rows.iter().map(name).collect();
            let mut expected: Vec<_> = are.iter().map(String::as_str).collect();
            found.sort_unstable();
            expected.sort_unstable();
            if found != expected {
                return Some(format!(
                    "{search}: {} are found, {} were expected",
                    found.join(", "),
                    expected.join(", ")
                ));
            }
        }
        if let Some(words) = &claim.says {
            let silent = self.rows.iter().find(|row| !row.headline.contains(words) && !row.evidence.contains(words));
            if let Some(row) = silent {
                return Some(format!(
                    "{search}: {} does not say {words:?} but: {} {}",
                    name(row),
                    row.headline,
                    row.evidence
                ));
            }
        }
        if let Some(share) = &claim.share {
            let found: Vec<_> = self.common.iter().map(shared).collect();
            let as_expected = match share.as_str() {
                "" => found.is_empty(),
                share => found.iter().any(|factor| factor.contains(share)),
            };
            if !as_expected {
                return Some(format!("{search}: what they share is [{}], expected {share:?}", found.join("; ")));
            }
        }
        if let Some(by_hash) = claim.by_hash.filter(|by_hash| *by_hash != self.by_hash) {
            return Some(format!("by hash {} nodes are out of sync, {by_hash} were expected", self.by_hash));
        }
        claim.notices.as_deref().and_then(|expected| self.notices_differ(expected))
    }

    fn notices_differ(&self, expected: &[ExpectedNotice]) -> Option<String> {
        let is = |expected: &ExpectedNotice, notice: &&Notice| {
            expected.kind == notice.kind
                && expected.severity == notice.severity
                && expected.nodes.is_none_or(|nodes| nodes == notice.nodes)
                && expected.says.as_ref().is_none_or(|words| notice.sentence.contains(words))
        };
        let mut left: Vec<_> = self.notices.iter().collect();
        for expected in expected {
            match left.iter().position(|notice| is(expected, notice)) {
                Some(place) => drop(left.remove(place)),
                None => return Some(format!("no notice is {expected:?}; there are: {}", self.all_notices())),
            }
        }
        if left.is_empty() { None } else { Some(format!("more notices than expected: {}", self.all_notices())) }
    }

    fn all_notices(&self) -> String {
        let notice = |notice: &Notice| {
            format!("{} ({}, {} nodes): {}", notice.kind.word(), notice.severity.word(), notice.nodes, notice.sentence)
        };
        if self.notices.is_empty() {
            "none".to_owned()
        } else {
            self.notices.iter().map(notice).collect::<Vec<_>>().join("; ")
        }
    }

    /// Every verdict and notice in words that do not depend on when Tidemark was started.
    fn write_down(&self, out: &mut String, claim: &Verdicts) {
        let _ = writeln!(out, "{} {}: {}", claim.at.unwrap_or_default(), claim.search, self.total);
        let mut rows: Vec<_> = self.rows.iter().collect();
        rows.sort_by_key(|row| (name(row), row.id.as_str()));
        for row in rows {
            let verdict = &row.verdict;
            let overlays: Vec<_> = verdict.overlays.iter().map(|overlay| overlay.word()).collect();
            let (connection, config) = (verdict.connectivity.word().word(), verdict.config.word().word());
            let _ = writeln!(
                out,
                "  {} {} {connection} {config} {} [{}] {} {}",
                name(row),
                row.id,
                verdict.config.behind(),
                overlays.join(" "),
                row.headline,
                row.evidence
            );
        }
        for notice in &self.notices {
            let _ = writeln!(out, "  {} {} {}", notice.kind.word(), notice.severity.word(), notice.nodes);
        }
    }
}

fn name(row: &NodeRow) -> &str {
    row.attributes.hostname.as_ref().map_or(row.id.as_str(), |hostname| hostname.as_str())
}

/// `gateway 3.10.0.2: 27 of 29, 3 of 471 of the rest`.
fn shared(factor: &CommonFactor) -> String {
    let CommonFactor { key, value, inside, inside_of, outside, outside_of } = factor;
    format!("{key} {value}: {inside} of {inside_of}, {outside} of {outside_of} of the rest")
}
