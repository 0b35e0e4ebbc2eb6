//! How a version spread: for each node the first report of it or of a later one, and what that adds up to.
//!
//! [`Keeper`] writes it down once it is final, by changeset and cohort: reports are dropped after a month, and who got
//! what how fast is asked for longer.

use crate::board::{ControlPlaneSnapshot, Snapshot};
use crate::clock::Clock;
use crate::store::{KeptPropagation, Store, StoreError};
use arc_swap::ArcSwap;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tidemark_domain::fact::{ConfigRef, Scope};
use tidemark_domain::id::{CpName, NodeId, Ordinal};
use tidemark_domain::ledger::Version;
use tidemark_domain::time::{DAY, HOUR, Timestamp};
use tidemark_domain::verdict::ConnectionWord;
use tidemark_domain::view::{CohortPropagation, NodeReach, Propagation};
use tokio_util::sync::CancellationToken;

/// Nodes named in a propagation.
const PER_NODE_MAX: usize = 1_000;
/// Points of a kept curve.
const POINTS_MAX: usize = 100;
/// Nodes named that did not reach a kept changeset.
const STRAGGLERS_MAX: usize = 100;

/// One node and one version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reach {
    /// Its cohort.
    pub cohort: Scope,
    /// Whether and when it reached the version.
    pub node: NodeReach,
}

/// Who reached a version of a control plane and when, of the nodes that count; by what was recorded at `known`, or all.
///
/// # Errors
/// If the store fails.
pub async fn reaches(
    store: &Store,
    control_plane: &ControlPlaneSnapshot,
    ordinal: Ordinal,
    known: Option<Timestamp>,
) -> Result<Vec<Reach>, StoreError> {
    let ledger = &control_plane.ledger;
    let Some(version) = ledger.version(ordinal) else { return Ok(Vec::new()) };
    let rank = ledger.rank_of(ordinal);
    let published_at = version.published_at;
    // Reaching a later version counts for all before it (DESIGN 5.7). What named an earlier version too came back with a
    // later one: who repeats it has reached that one at its publication, not before.
    let mut new = Vec::new();
    let mut came_back: Vec<(ConfigRef, Timestamp)> = Vec::new();
    for later in ledger.in_order().filter(|later| ledger.rank_of(later.ordinal) >= rank) {
        for alias in ledger.aliases_of(later.ordinal) {
            let named_before = ledger.in_order().take_while(|earlier| ledger.rank_of(earlier.ordinal) < rank);
            let known_before = later.reverts_to.is_some()
                && named_before
                    .flat_map(|earlier| ledger.aliases_of(earlier.ordinal))
                    .any(|earlier| earlier.config == alias.config);
            match known_before {
                true => came_back.push((alias.config.clone(), later.published_at)),
                false => new.push(alias.config.clone()),
            }
        }
    }
    let mut first: BTreeMap<NodeId, (Timestamp, u32)> = BTreeMap::new();
    let mut take = |node: NodeId, at: Timestamp, uncertain_ms: u32| {
        let entry = first.entry(node).or_insert((at, uncertain_ms));
        if at < entry.0 {
            *entry = (at, uncertain_ms);
        }
    };
    for reached in store.first_reached(&control_plane.name, &new, published_at, known).await? {
        take(reached.node, reached.from.max(published_at), reached.uncertain_ms);
    }
    for (config, since) in came_back {
        for reached in store.first_reached(&control_plane.name, &[config], since, known).await? {
            take(reached.node, reached.from.max(since), reached.uncertain_ms);
        }
    }
    let counted = control_plane.nodes().filter(|(_, assessment)| assessment.verdict.counter().is_some());
    let reach = counted.map(|(node, assessment)| {
        let reached = first.get(&node.id);
        Reach {
            cohort: node.cohort(),
            node: NodeReach {
                node: node.id.clone(),
                hostname: node.attributes.hostname.clone(),
                reached_at: reached.map(|(at, _)| *at),
                lag_ms: reached.map(|(at, _)| at.since(published_at).max(0)),
                uncertain_ms: reached.map_or(0, |(_, uncertain_ms)| *uncertain_ms),
                connection: assessment.verdict.connectivity.word(),
            },
        }
    });
    Ok(reach.collect())
}

/// Lags of those that reached it, sorted.
#[must_use]
pub fn lags(reaches: &[Reach]) -> Vec<i64> {
    let mut lags: Vec<i64> = reaches.iter().filter_map(|reach| reach.node.lag_ms).collect();
    lags.sort_unstable();
    lags
}

/// Nodes that did not reach it and are away: censored, not slow.
#[must_use]
pub fn away(reaches: &[Reach]) -> u32 {
    let away = |reach: &&Reach| reach.node.lag_ms.is_none() && reach.node.connection != ConnectionWord::Connected;
    count(reaches.iter().filter(away).count())
}

/// All nodes together, slowest first, those that miss it before all others.
#[must_use]
pub fn total(reaches: Vec<Reach>) -> Propagation {
    let lags = lags(&reaches);
    let nodes = count(reaches.len());
    let mut per_node: Vec<NodeReach> = reaches.into_iter().map(|reach| reach.node).collect();
    per_node.sort_by(|one, other| {
        let missing = |reach: &NodeReach| (reach.lag_ms.is_some(), reach.lag_ms.map(std::cmp::Reverse));
        missing(one).cmp(&missing(other)).then_with(|| one.node.cmp(&other.node))
    });
    per_node.truncate(PER_NODE_MAX);
    Propagation {
        nodes,
        reached: count(lags.len()),
        p50_ms: percentile(&lags, 50),
        p90_ms: percentile(&lags, 90),
        p99_ms: percentile(&lags, 99),
        max_ms: lags.last().copied(),
        per_node,
    }
}

/// The same by cohort, in the order of cohorts.
#[must_use]
pub fn by_cohort(reaches: &[Reach]) -> Vec<CohortPropagation> {
    let mut cohorts: BTreeMap<&Scope, Vec<&NodeReach>> = BTreeMap::new();
    for reach in reaches {
        cohorts.entry(&reach.cohort).or_default().push(&reach.node);
    }
    let cohort = |(scope, nodes): (&Scope, Vec<&NodeReach>)| {
        let mut lags: Vec<i64> = nodes.iter().filter_map(|node| node.lag_ms).collect();
        lags.sort_unstable();
        let stride = lags.len().div_ceil(POINTS_MAX).max(1);
        let kept = |place: &usize| place.is_multiple_of(stride) || *place == lags.len();
        let curve = (1..=lags.len()).filter(kept).map(|place| (lags[place - 1], count(place))).collect();
        let missing = nodes.iter().filter(|node| node.lag_ms.is_none());
        let name =
            |node: &&NodeReach| node.hostname.as_ref().map_or(node.node.as_str(), |name| name.as_str()).to_owned();
        CohortPropagation {
            scope: scope.clone(),
            nodes: count(nodes.len()),
            reached: count(lags.len()),
            p50_ms: percentile(&lags, 50),
            p90_ms: percentile(&lags, 90),
            p99_ms: percentile(&lags, 99),
            max_ms: lags.last().copied(),
            curve,
            stragglers: missing.map(name).take(STRAGGLERS_MAX).collect(),
            final_at: None,
        }
    };
    cohorts.into_iter().map(cohort).collect()
}

/// The value at or below which `percent` of sorted values lie (nearest rank).
fn percentile(sorted: &[i64], percent: usize) -> Option<i64> {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied()
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// How often the keeper looks.
const EVERY: Duration = Duration::from_secs(10);
/// A changeset that not all nodes reached is final after this (DESIGN 6).
const FINAL_AFTER_MS: i64 = DAY;
/// Changesets that one round writes down: each costs a look at the reports of its control plane.
const ROUND_MAX: usize = 20;

/// Writes down how changesets spread, once that is final. A background task without input: each round reads the
/// snapshot and does what it asks; what fails is tried again in the next round.
pub struct Keeper {
    snapshots: Arc<ArcSwap<Snapshot>>,
    store: Store,
    clock: Clock,
    kept: BTreeSet<(CpName, Ordinal)>,
}

impl Keeper {
    /// A keeper over what is published and stored.
    #[must_use]
    pub const fn new(snapshots: Arc<ArcSwap<Snapshot>>, store: Store, clock: Clock) -> Self {
        Self { snapshots, store, clock, kept: BTreeSet::new() }
    }

    /// Works until `closing` comes.
    pub async fn run(mut self, closing: CancellationToken) {
        loop {
            if let Err(error) = self.round().await {
                tracing::warn!("how changesets spread could not be kept: {error}");
            }
            tokio::select! {
                () = closing.cancelled() => return,
                () = tokio::time::sleep(EVERY) => {}
            }
        }
    }

    /// One round; says how many changesets it wrote down.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn round(&mut self) -> Result<usize, StoreError> {
        let now = self.clock.now();
        let oldest = now.plus(-FINAL_AFTER_MS - HOUR);
        if self.kept.is_empty() {
            self.kept = self.store.kept_changesets(oldest).await?.into_iter().collect();
        }
        let snapshot = self.snapshots.load_full();
        let mut written = 0;
        for control_plane in &snapshot.control_planes {
            for (changeset, last) in closed_changesets(control_plane, &snapshot, oldest, now) {
                let key = (control_plane.name.clone(), changeset);
                if written >= ROUND_MAX || self.kept.contains(&key) || !is_final(control_plane, last, now) {
                    continue;
                }
                let reaches = reaches(&self.store, control_plane, last.ordinal, None).await?;
                let cohorts = by_cohort(&reaches);
                let kept = KeptPropagation {
                    control_plane: control_plane.name.clone(),
                    changeset,
                    last_version: last.ordinal,
                    published_at: last.published_at,
                    final_at: now,
                    cohorts,
                };
                self.store.keep_propagation(&kept).await?;
                self.kept.insert(key);
                written += 1;
            }
        }
        Ok(written)
    }
}

/// Changesets that are closed, newest first, each with its last version, as far back as they may become final.
fn closed_changesets<'a>(
    control_plane: &'a ControlPlaneSnapshot,
    snapshot: &Snapshot,
    oldest: Timestamp,
    now: Timestamp,
) -> Vec<(Ordinal, &'a Version)> {
    let mut closed: Vec<(Ordinal, &Version)> = Vec::new();
    for version in control_plane.ledger.in_order().rev() {
        if version.published_at < oldest {
            break;
        }
        let settled = now.since(version.published_at) > snapshot.policy.changeset_gap_ms;
        if settled && closed.last().is_none_or(|(changeset, _)| *changeset != version.changeset) {
            closed.push((version.changeset, version));
        }
    }
    closed
}

/// All nodes that count have reached it, or a day has passed.
fn is_final(control_plane: &ControlPlaneSnapshot, last: &Version, now: Timestamp) -> bool {
    let ledger = &control_plane.ledger;
    let rank = ledger.rank_of(last.ordinal);
    let reached = control_plane.by_version.iter().filter(|(running, _)| ledger.rank_of(**running) >= rank);
    let nodes = control_plane.tally.nodes();
    let all = reached.map(|(_, nodes)| nodes).sum::<u32>() >= nodes;
    nodes > 0 && (all || now.since(last.published_at) >= FINAL_AFTER_MS)
}
