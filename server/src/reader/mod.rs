//! All answers, over the board's snapshot and the store: pages, server functions, REST and `explain` ask here.
//!
//! The present is the snapshot that the board published last. The past is folded anew from the newest keyframe before it
//! and the facts after that, by the same code; the last few moments that were asked for are kept.

pub mod views;

use crate::board::{ControlPlaneSnapshot, Snapshot, unpacked};
use crate::chart::{self, Spread};
use crate::clock::Clock;
use crate::propagation;
use crate::store::{Interval, IntervalKey, Replay, Store, StoreError, gives_way};
use crate::telemetry::Telemetry;
use arc_swap::ArcSwap;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use tidemark_app::api::{Answer, ApiError, FleetApi, Paging};
use tidemark_domain::analytics::{Last, NodeTraffic, ResourcesView, TrafficQuestion, TrafficView, UsageView};
use tidemark_domain::drawing::Figure;
use tidemark_domain::fact::{ConfigRef, ConnectionEvent, Fact, Said, Scope, What};
use tidemark_domain::fleet::Fleet;
use tidemark_domain::id::{CpName, NodeId, Ordinal};
use tidemark_domain::ledger::{Ledger, Version};
use tidemark_domain::node::Node;
use tidemark_domain::policy::Policy;
use tidemark_domain::query::{Key, Query};
use tidemark_domain::time::{MINUTE, Timestamp};
use tidemark_domain::view::{
    AsOf, CohortPropagation, ControlPlaneView, EventView, FleetView, HistoryView, IntervalView, Moment, NodeView,
    NodesView, Propagation, ReachedView, VersionView, VersionsView,
};

/// The form of packed fleets; a keyframe of another form is passed over, and the facts are folded from further back.
pub const KEYFRAME_FORMAT: u32 = 8;
/// Moments of the past that are kept: a page asks several questions of one moment, and people go back and forth.
const PAST_MAX: usize = 4;
/// A younger moment is not kept: facts of it may be on their way to the store, and the next report of a node makes the last
/// one before it an estimate.
const SETTLED_AFTER_MS: i64 = MINUTE;
/// Rows of a page where nobody says.
const SIZE_DEFAULT: u32 = 50;
/// Rows of a page at most.
const SIZE_MAX: u32 = 500;
/// Connection events in a history.
const EVENTS_MAX: u32 = 200;
/// Versions reached in a history.
const REACHED_MAX: usize = 200;

/// Answers questions about the fleet.
#[derive(Clone)]
pub struct Reader {
    snapshots: Arc<ArcSwap<Snapshot>>,
    store: Store,
    clock: Clock,
    policy: Arc<Policy>,
    telemetry: Option<Telemetry>,
    past: Arc<Mutex<VecDeque<(Moment, Arc<Snapshot>)>>>,
}

impl Reader {
    /// A reader over what the board publishes and the store keeps.
    #[must_use]
    pub fn new(snapshots: Arc<ArcSwap<Snapshot>>, store: Store, clock: Clock, policy: Arc<Policy>) -> Self {
        Self { snapshots, store, clock, policy, telemetry: None, past: Arc::default() }
    }

    /// The same, answering of traffic too.
    #[must_use]
    pub fn with(mut self, telemetry: Telemetry) -> Self {
        self.telemetry = Some(telemetry);
        self
    }

    async fn traffic_of(&self, question: TrafficQuestion, moment: Moment) -> Result<TrafficView, ApiError> {
        let Some(telemetry) = &self.telemetry else { return Err(no_telemetry()) };
        let (snapshot, as_of) = self.moment_of_traffic(moment).await?;
        telemetry.traffic(question, as_of, &snapshot).await
    }

    /// The board's answer is some moments old; a range of traffic ends now.
    async fn moment_of_traffic(&self, moment: Moment) -> Result<(Arc<Snapshot>, AsOf), ApiError> {
        let (snapshot, mut as_of) = self.snapshot(moment).await?;
        if !as_of.past {
            as_of.at = as_of.at.max(self.clock.now());
        }
        Ok((snapshot, as_of))
    }

    /// The answer of a moment, and which one it is.
    async fn snapshot(&self, moment: Moment) -> Result<(Arc<Snapshot>, AsOf), ApiError> {
        let held = self.clock.is_held();
        let Some(at) = moment.at else {
            let snapshot = self.snapshots.load_full();
            let as_of = AsOf { at: snapshot.as_of, revision: snapshot.revision, past: false, held };
            return Ok((snapshot, as_of));
        };
        if at > self.clock.now() {
            return Err(ApiError::BadRequest(format!("at: {at} has not been yet")));
        }
        let as_of = AsOf { at, revision: 0, past: true, held };
        if let Some((_, snapshot)) = self.past.lock().iter().find(|(kept, _)| *kept == moment && !kept.known_now) {
            return Ok((Arc::clone(snapshot), as_of));
        }
        let fleet = if moment.known_now {
            fold_known_now(&self.store, at, Arc::clone(&self.policy)).await?
        } else {
            fold(&self.store, Some(at), Arc::clone(&self.policy)).await?
        };
        let policy = Arc::clone(&self.policy);
        let snapshot = tokio::task::spawn_blocking(move || Arc::new(Snapshot::of(fleet, &policy, at)));
        let snapshot = snapshot.await.map_err(|error| internal("judge a moment of the past", &error))?;
        if self.clock.now().since(at) < SETTLED_AFTER_MS {
            return Ok((snapshot, as_of));
        }
        let oldest = {
            let mut past = self.past.lock();
            past.push_back((moment, Arc::clone(&snapshot)));
            if past.len() > PAST_MAX { past.pop_front() } else { None }
        };
        // A whole fleet to let go of: nobody has to wait for that.
        drop(tokio::task::spawn_blocking(move || drop(oldest)));
        Ok((snapshot, as_of))
    }

    async fn node_history(
        &self,
        control_plane: CpName,
        id: NodeId,
        paging: Paging,
        moment: Moment,
    ) -> Result<HistoryView, ApiError> {
        let (snapshot, as_of) = self.snapshot(moment).await?;
        let of = control_plane_of(&snapshot, &control_plane)?;
        let (node, _) = of.node(&id).ok_or_else(|| no_node(&control_plane, &id))?;
        let after = match &paging.after {
            Some(text) => Some(text.parse::<IntervalKey>().map_err(|()| bad_key())?),
            None => None,
        };
        let size = size_of(&paging)?;
        let known = if moment.known_now { None } else { Some(as_of.at) };
        let page = self.store.intervals(&control_plane, &id, after, size, known).await.map_err(store_error)?;
        let moments = self.store.moments(&control_plane, &id, Some(as_of.at), EVENTS_MAX, known).await;
        let moments = moments.map_err(store_error)?;
        let events = moments.iter().filter_map(event_view).collect();
        let cohort = node.cohort();
        let mut told = page.intervals;
        told.retain(|interval| interval.from <= as_of.at);
        let reached = reached_versions(of, &told, &moments, node);
        let view = |interval: Interval| IntervalView {
            source: interval.source,
            version: interval
                .running
                .as_ref()
                .and_then(|config| meaning_then(&of.ledger, config, &cohort, interval.from, interval.until)),
            reported: interval.running,
            from: interval.from,
            until: interval.until.min(as_of.at),
            count: interval.reports,
            attributes: interval.attributes,
        };
        let intervals = told.into_iter().map(view).collect();
        Ok(HistoryView { as_of, intervals, events, reached, next: page.next.map(|key| key.to_string()) })
    }

    /// How a version spread: all nodes, the curve, and by cohort. What is final is taken as it was kept.
    async fn spread(
        &self,
        control_plane: &ControlPlaneSnapshot,
        version: &Version,
        known: Option<Timestamp>,
    ) -> Result<(Propagation, Option<Figure>, Vec<CohortPropagation>), ApiError> {
        let reaches = propagation::reaches(&self.store, control_plane, version.ordinal, known).await;
        let reaches = reaches.map_err(store_error)?;
        let (lags_ms, away) = (propagation::lags(&reaches), propagation::away(&reaches));
        let nodes = u32::try_from(reaches.len()).unwrap_or(u32::MAX);
        let propagation_ms = control_plane.ledger.propagation_ms(&self.policy);
        let curve = chart::propagation(&Spread { lags_ms: &lags_ms, nodes, away, propagation_ms });
        let mut cohorts = propagation::by_cohort(&reaches);
        let ledger = &control_plane.ledger;
        let is_last = |other: &Version| {
            other.changeset == version.changeset && ledger.rank_of(other.ordinal) > ledger.rank_of(version.ordinal)
        };
        if known.is_none() && !ledger.versions().iter().any(is_last) {
            let kept = self.store.kept_propagation(&control_plane.name, version.changeset).await;
            let kept = kept.map_err(store_error)?;
            if !kept.is_empty() {
                cohorts = kept;
            }
        }
        Ok((propagation::total(reaches), curve, cohorts))
    }
}

fn no_telemetry() -> ApiError {
    ApiError::Unavailable("no telemetry is kept here".to_owned())
}

impl FleetApi for Reader {
    fn traffic(&self, question: TrafficQuestion, moment: Moment) -> Answer<'_, TrafficView> {
        Box::pin(self.traffic_of(question, moment))
    }

    fn node_traffic(&self, control_plane: CpName, id: NodeId, moment: Moment) -> Answer<'_, Option<NodeTraffic>> {
        Box::pin(async move {
            let Some(telemetry) = &self.telemetry else { return Ok(None) };
            let (snapshot, as_of) = self.moment_of_traffic(moment).await?;
            telemetry.of_node(&control_plane, &id, as_of, &snapshot).await
        })
    }

    fn usage(&self, moment: Moment) -> Answer<'_, UsageView> {
        Box::pin(async move {
            let Some(telemetry) = &self.telemetry else { return Err(no_telemetry()) };
            let (_, as_of) = self.moment_of_traffic(moment).await?;
            telemetry.usage(as_of).await
        })
    }

    fn resources(&self, control_plane: CpName, id: NodeId, last: Last, moment: Moment) -> Answer<'_, ResourcesView> {
        Box::pin(async move {
            let Some(telemetry) = &self.telemetry else { return Err(no_telemetry()) };
            let (snapshot, as_of) = self.moment_of_traffic(moment).await?;
            let of = control_plane_of(&snapshot, &control_plane)?;
            of.node(&id).ok_or_else(|| no_node(&control_plane, &id))?;
            telemetry.resources(&control_plane, &id, last, as_of).await
        })
    }

    fn fleet(&self, moment: Moment) -> Answer<'_, FleetView> {
        Box::pin(async move {
            let (snapshot, as_of) = self.snapshot(moment).await?;
            Ok(views::fleet_view(&snapshot, as_of))
        })
    }

    fn nodes(&self, question: String, paging: Paging, moment: Moment) -> Answer<'_, NodesView> {
        Box::pin(async move {
            let (snapshot, as_of) = self.snapshot(moment).await?;
            let query = Query::parse(&question);
            let after = match &paging.after {
                Some(text) => {
                    Some(Key::parse(text, &query).map_err(|error| ApiError::BadRequest(format!("after: {error}")))?)
                }
                None => None,
            };
            let size = usize::try_from(size_of(&paging)?).unwrap_or(1);
            Ok(views::nodes_view(&snapshot, as_of, &query, after.as_ref(), size))
        })
    }

    fn node(&self, control_plane: CpName, id: NodeId, moment: Moment) -> Answer<'_, NodeView> {
        Box::pin(async move {
            let (snapshot, as_of) = self.snapshot(moment).await?;
            let of = control_plane_of(&snapshot, &control_plane)?;
            views::node_view(of, &id, as_of).ok_or_else(|| no_node(&control_plane, &id))
        })
    }

    fn history(&self, control_plane: CpName, id: NodeId, paging: Paging, moment: Moment) -> Answer<'_, HistoryView> {
        Box::pin(self.node_history(control_plane, id, paging, moment))
    }

    fn control_planes(&self, moment: Moment) -> Answer<'_, Vec<ControlPlaneView>> {
        Box::pin(async move {
            let (snapshot, as_of) = self.snapshot(moment).await?;
            Ok(snapshot.control_planes.iter().map(|one| views::control_plane_view(one, as_of.at)).collect())
        })
    }

    fn versions(&self, control_plane: CpName, paging: Paging, moment: Moment) -> Answer<'_, VersionsView> {
        Box::pin(async move {
            let (snapshot, as_of) = self.snapshot(moment).await?;
            let of = control_plane_of(&snapshot, &control_plane)?;
            let after = match &paging.after {
                Some(text) => Some(text.parse::<Ordinal>().map_err(|_| bad_key())?),
                None => None,
            };
            let size = usize::try_from(size_of(&paging)?).unwrap_or(1);
            Ok(views::versions_view(of, as_of, after, size))
        })
    }

    fn version(&self, control_plane: CpName, ordinal: Ordinal, moment: Moment) -> Answer<'_, VersionView> {
        Box::pin(async move {
            let (snapshot, as_of) = self.snapshot(moment).await?;
            let of = control_plane_of(&snapshot, &control_plane)?;
            let none = || ApiError::NotFound(format!("control plane {control_plane} has no version {ordinal}"));
            let version = of.ledger.version(ordinal).ok_or_else(none)?;
            let known = Some(as_of.at).filter(|_| as_of.past && !moment.known_now);
            let (propagation, curve, cohorts) = self.spread(of, version, known).await?;
            Ok(views::version_view(of, version, as_of, propagation, curve, cohorts))
        })
    }
}

/// The fleet as it was known at a moment, or as it is known now: the newest keyframe before it, and the facts since.
///
/// # Errors
/// If the store fails.
pub async fn fold(store: &Store, known: Option<Timestamp>, policy: Arc<Policy>) -> Result<Fleet, ApiError> {
    let keyframe = store.keyframe_before(known, KEYFRAME_FORMAT).await.map_err(store_error)?;
    let Some(keyframe) = keyframe else {
        let replay = store.replay_after(0, known).await.map_err(store_error)?;
        return folded(Fleet::default(), replay, policy).await;
    };
    let packed = keyframe.state;
    let fleet = tokio::task::spawn_blocking(move || unpacked(&packed));
    let (fleet, replay) = tokio::join!(fleet, store.replay_after(keyframe.sequence, known));
    match fleet.map_err(|error| internal("unpack a keyframe", &error))? {
        Some(fleet) => folded(fleet, replay.map_err(store_error)?, policy).await,
        // A keyframe that cannot be read is passed over: all facts are still there.
        None => {
            let replay = store.replay_after(0, known).await.map_err(store_error)?;
            folded(Fleet::default(), replay, policy).await
        }
    }
}

/// The fleet at a moment by everything that was recorded since.
async fn fold_known_now(store: &Store, at: Timestamp, policy: Arc<Policy>) -> Result<Fleet, ApiError> {
    let replay = store.replay_until(at).await.map_err(store_error)?;
    folded(Fleet::default(), replay, policy).await
}

async fn folded(mut fleet: Fleet, replay: Replay, policy: Arc<Policy>) -> Result<Fleet, ApiError> {
    let fold = move || {
        for fact in replay {
            fleet.observe(&fact, &policy);
        }
        fleet
    };
    tokio::task::spawn_blocking(fold).await.map_err(|error| internal("fold facts", &error))
}

fn control_plane_of<'a>(snapshot: &'a Snapshot, name: &CpName) -> Result<&'a ControlPlaneSnapshot, ApiError> {
    snapshot.control_plane(name).ok_or_else(|| ApiError::NotFound(format!("there is no control plane {name}")))
}

fn no_node(control_plane: &CpName, id: &NodeId) -> ApiError {
    ApiError::NotFound(format!("control plane {control_plane} has no node {id}"))
}

fn bad_key() -> ApiError {
    ApiError::BadRequest("after: the key of a page is what an answer gave as `next`".to_owned())
}

fn size_of(paging: &Paging) -> Result<u32, ApiError> {
    match paging.size {
        None => Ok(SIZE_DEFAULT),
        Some(size) if (1..=SIZE_MAX).contains(&size) => Ok(size),
        Some(size) => Err(ApiError::BadRequest(format!("size: {size} is not between 1 and {SIZE_MAX}"))),
    }
}

fn store_error(error: StoreError) -> ApiError {
    internal("read the store", &error)
}

/// What went wrong goes to the log; the asker is told that it is ours.
fn internal(doing: &str, error: &dyn std::error::Error) -> ApiError {
    tracing::error!("cannot {doing}: {error}{}", source_chain(error));
    ApiError::Internal("the server cannot answer; its log says why".to_owned())
}

fn source_chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.map(|cause| format!(": {cause}")).collect()
}

/// What a run of reports meant: the newest version that its hash named at the end of the run, if that was published
/// by then.
fn meaning_then(
    ledger: &Ledger,
    config: &ConfigRef,
    cohort: &Scope,
    from: Timestamp,
    until: Timestamp,
) -> Option<Ordinal> {
    // A version may be reported a little before the control plane's word of it; zeros are no version's report.
    let early = || ledger.meaning(config, cohort, from.plus(90_000)).filter(|_| !config.is_zeros());
    ledger.meaning(config, cohort, until).or_else(early).map(|alias| alias.ordinal)
}

/// The versions that a node reached, from its intervals (newest first): each with the first report of it or a later one.
fn reached_versions(
    control_plane: &ControlPlaneSnapshot,
    intervals: &[Interval],
    moments: &[Fact],
    node: &Node,
) -> Vec<ReachedView> {
    let ledger = &control_plane.ledger;
    let cohort = node.cohort();
    let mut reached: Vec<ReachedView> = Vec::new();
    let offers: Vec<(Timestamp, &ConfigRef)> = moments.iter().filter_map(offer_to_node).collect();
    let mut oldest_first: Vec<&Interval> = intervals.iter().collect();
    oldest_first.sort_by_key(|interval| (interval.from, interval.uncertain_ms));
    for interval in oldest_first {
        let Some(config) = &interval.running else { continue };
        let names = ledger.versions().iter().filter(|version| {
            let named =
                ledger.aliases_of(version.ordinal).any(|alias| alias.config == *config && alias.scope.holds(&cohort));
            named && version.published_at <= interval.until.max(interval.from.plus(90_000))
        });
        for version in names {
            // A run that ended before the version was published did not reach it.
            if interval.until < version.published_at && interval.from < version.published_at {
                continue;
            }
            let reached_at = interval.from.max(version.published_at);
            let uncertain_ms = interval.uncertain_ms;
            let offered = offers.iter().filter(|(at, offered)| *offered == config && *at >= version.published_at);
            let view = ReachedView {
                version: version.ordinal,
                published_at: version.published_at,
                offered_at: offered.map(|(at, _)| *at).min().filter(|at| *at <= reached_at),
                reached_at,
                lag_ms: reached_at.since(version.published_at),
                uncertain_ms,
            };
            match reached.iter_mut().find(|known| known.version == version.ordinal) {
                None => reached.push(view),
                Some(known) if gives_way(known.reached_at, known.uncertain_ms, reached_at, uncertain_ms) => {
                    *known = view;
                }
                Some(_) => {}
            }
        }
    }
    reached.sort_by_key(|reached| std::cmp::Reverse((reached.reached_at, ledger.rank_of(reached.version))));
    reached.truncate(REACHED_MAX);
    reached
}

/// A configuration on its way to the node.
fn offer_to_node(fact: &Fact) -> Option<(Timestamp, &ConfigRef)> {
    let What::Word(word) = &fact.what else { return None };
    match &word.said {
        Said::Frame(frame) if frame.offered_to.is_some() => Some((fact.at, &frame.config)),
        Said::Frame(_)
        | Said::Announced(_)
        | Said::Expected { .. }
        | Said::Notified(_)
        | Said::Inferred(_)
        | Said::Same { .. } => None,
    }
}

fn event_view(fact: &Fact) -> Option<EventView> {
    let (kind, sentence) = match &fact.what {
        What::Connection(connection) => match &connection.event {
            ConnectionEvent::Opened => ("opened", "connected to its control plane".to_owned()),
            ConnectionEvent::Closed(how) => ("closed", how.to_string()),
            ConnectionEvent::Refused(how) => ("refused", how.to_string()),
            ConnectionEvent::Unreachable => ("unreachable", "nothing listened at its control plane".to_owned()),
        },
        What::Report(report) => {
            let failure = report.failure.as_ref()?;
            ("rejected", failure.message.to_string())
        }
        What::Retired(retirement) => ("retired", format!("taken out of the counts by {}", retirement.by)),
        What::Word(_) | What::Read | What::Listening(_) | What::ControlPlaneDown | What::Declared(_) => return None,
    };
    Some(EventView { at: fact.at, source: fact.source, kind: kind.to_owned(), sentence })
}
