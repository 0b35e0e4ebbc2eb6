//! What is true of the fleet now. Computed at the scrape from one snapshot, the same that pages and REST show, so that
//! the figures of one scrape add up and agree with what people see.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::exemplar::Exemplar;
use prometheus_client::registry::Unit;
use tidemark_domain::id::CpName;
use tidemark_domain::notice::{NoticeKind, Severity};
use tidemark_domain::time::Timestamp;
use tidemark_domain::verdict::{ConfigWord, ConnectionWord};

/// Who knows the figures: the board's snapshot.
pub trait FleetFigures: Send + Sync {
    /// The figures of the snapshot that is published now. Called once a scrape; must not wait.
    fn figures(&self) -> Figures;
}

/// The fleet in numbers.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// The moment that they describe.
    pub as_of: Timestamp,
    /// The snapshot's revision.
    pub revision: u64,
    /// Every control plane, by name.
    pub control_planes: Vec<ControlPlaneFigures>,
    /// Bytes of the store's files; `None` without a store.
    pub store_bytes: Option<u64>,
}

/// One control plane in numbers.
#[derive(Clone, Debug)]
pub struct ControlPlaneFigures {
    /// Which.
    pub name: CpName,
    /// Nodes by both axes; nodes that are gone are not counted.
    pub nodes: NodeCounts,
    /// Changesets that the node furthest behind has not reached.
    pub behind_changesets_max: u32,
    /// Nodes that are current by another hash of the head: what a comparison of hashes would report.
    pub hash_only_drift: u32,
    /// From publication to the first report, of every version that a node reached.
    pub propagation: LagHistogram,
    /// What is to be said of it.
    pub notices: Vec<(NoticeKind, Severity)>,
}

impl ControlPlaneFigures {
    /// A control plane without a node.
    #[must_use]
    pub fn empty(name: CpName) -> Self {
        Self {
            name,
            nodes: NodeCounts::default(),
            behind_changesets_max: 0,
            hash_only_drift: 0,
            propagation: LagHistogram::default(),
            notices: Vec::new(),
        }
    }
}

/// Counts of nodes by both axes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodeCounts([[u32; ConnectionWord::ALL.len()]; ConfigWord::ALL.len()]);

impl NodeCounts {
    /// Counts one more node. A node that is gone leaves every count (DESIGN 5.10).
    pub fn add(&mut self, config: ConfigWord, connection: ConnectionWord) {
        if connection != ConnectionWord::Gone {
            self.0[row(config)][column(connection)] += 1;
        }
    }

    /// Nodes in these two states.
    #[must_use]
    pub fn of(&self, config: ConfigWord, connection: ConnectionWord) -> u32 {
        self.0[row(config)][column(connection)]
    }

    /// Nodes in this state of the second axis.
    #[must_use]
    pub fn in_state(&self, config: ConfigWord) -> u32 {
        self.0[row(config)].iter().sum()
    }
}

fn row(config: ConfigWord) -> usize {
    ConfigWord::ALL.iter().position(|word| *word == config).unwrap_or(0)
}

fn column(connection: ConnectionWord) -> usize {
    ConnectionWord::ALL.iter().position(|word| *word == connection).unwrap_or(0)
}

/// Upper bounds of propagation in seconds: Kong pushes within 1-5 s, a poll adds 30, the envelope is 60; an hour and a
/// day tell a slow node from one that was away.
pub const LAG_BOUNDS: [f64; 12] = [0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 600.0, 3_600.0, 86_400.0];

/// Lags, counted by bucket.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LagHistogram {
    counts: [u64; LAG_BOUNDS.len() + 1],
    sum_seconds: f64,
}

impl LagHistogram {
    /// Counts one lag; a negative one is none.
    pub fn observe(&mut self, lag_ms: i64) {
        #[expect(clippy::cast_precision_loss, reason = "a lag of 285,000 years would lose a millisecond")]
        let seconds = lag_ms.max(0) as f64 / 1_000.0;
        let bucket = LAG_BOUNDS.iter().position(|bound| seconds <= *bound).unwrap_or(LAG_BOUNDS.len());
        self.counts[bucket] += 1;
        self.sum_seconds += seconds;
    }

    fn buckets(&self) -> Vec<(f64, u64)> {
        LAG_BOUNDS.into_iter().chain([f64::MAX]).zip(self.counts).collect()
    }

    fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
}

/// Every kind of notice; `word` beside the enum is what the label says.
const NOTICE_KINDS: [NoticeKind; 7] = [
    NoticeKind::ExpectedMovedWithoutChange,
    NoticeKind::ReplicasRenderDifferently,
    NoticeKind::ControlPlaneDown,
    NoticeKind::DownOrCutOff,
    NoticeKind::Reverted,
    NoticeKind::OneClusterTwoNames,
    NoticeKind::DestructiveChange,
];

pub(crate) struct FleetCollector(pub(crate) Arc<dyn FleetFigures>);

impl fmt::Debug for FleetCollector {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "FleetCollector")
    }
}

impl Collector for FleetCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let figures = self.0.figures();
        nodes(&figures, &mut encoder)?;
        behind(&figures, &mut encoder)?;
        drift(&figures, &mut encoder)?;
        propagation(&figures, &mut encoder)?;
        notices(&figures, &mut encoder)?;
        snapshot(&figures, &mut encoder)
    }
}

type Labels<'a, const N: usize> = [(&'static str, &'a str); N];

fn gauge<'a, const N: usize>(
    encoder: &mut DescriptorEncoder<'_>,
    (name, help): (&str, &str),
    series: impl Iterator<Item = (Labels<'a, N>, u64)>,
) -> fmt::Result {
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (labels, value) in series {
        family.encode_family(&labels)?.encode_gauge(&value)?;
    }
    Ok(())
}

fn nodes(figures: &Figures, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let help = "Nodes by control plane and both states; gone nodes are in no count.";
    let pairs = || {
        ConfigWord::ALL.into_iter().flat_map(|config| {
            let connections = ConnectionWord::ALL.into_iter().filter(|word| *word != ConnectionWord::Gone);
            connections.map(move |connection| (config, connection))
        })
    };
    let series = figures.control_planes.iter().flat_map(|control_plane| {
        pairs().map(move |(config, connection)| {
            let labels = [
                ("control_plane", control_plane.name.as_str()),
                ("config_state", config.word()),
                ("connection_state", connection.word()),
            ];
            (labels, u64::from(control_plane.nodes.of(config, connection)))
        })
    });
    gauge(encoder, ("nodes", help), series)
}

fn behind(figures: &Figures, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let of = |value: fn(&ControlPlaneFigures) -> u32| {
        let series = move |control_plane| ([name(control_plane)], u64::from(value(control_plane)));
        figures.control_planes.iter().map(series)
    };
    let help = "Nodes that run an earlier version for longer than a push may take, heard or not.";
    let nodes_behind = of(|control_plane| control_plane.nodes.in_state(ConfigWord::Behind));
    gauge(encoder, ("nodes_behind", help), nodes_behind)?;
    let help = "Changesets that the node furthest behind has not reached.";
    gauge(encoder, ("nodes_behind_changesets_max", help), of(|control_plane| control_plane.behind_changesets_max))
}

fn name(control_plane: &ControlPlaneFigures) -> (&'static str, &str) {
    ("control_plane", control_plane.name.as_str())
}

fn drift(figures: &Figures, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let help = "Nodes that are current though their hash differs from the expected one.";
    let series = figures
        .control_planes
        .iter()
        .map(|control_plane| ([name(control_plane)], u64::from(control_plane.hash_only_drift)));
    gauge(encoder, ("hash_only_drift_nodes", help), series)
}

fn propagation(figures: &Figures, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let help = "Seconds from the publication of a version to a node's first report of it or of a later one";
    let mut family = encoder.encode_descriptor("propagation", help, Some(&Unit::Seconds), MetricType::Histogram)?;
    for control_plane in &figures.control_planes {
        let lags = &control_plane.propagation;
        let labels = [name(control_plane)];
        family.encode_family(&labels)?.encode_histogram(
            lags.sum_seconds,
            lags.count(),
            &lags.buckets(),
            NO_EXEMPLARS,
        )?;
    }
    Ok(())
}

const NO_EXEMPLARS: Option<&std::collections::HashMap<usize, Exemplar<[(&str, &str); 0], f64>>> = None;

fn notices(figures: &Figures, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let help = "What is to be said of a control plane as a whole.";
    let pairs = || NOTICE_KINDS.into_iter().flat_map(|kind| Severity::ALL.map(|severity| (kind, severity)));
    let series = figures.control_planes.iter().flat_map(|control_plane| {
        pairs().map(move |pair| {
            let labels = [name(control_plane), ("kind", pair.0.word()), ("severity", pair.1.word())];
            let count = control_plane.notices.iter().filter(|notice| **notice == pair).count();
            (labels, u64::try_from(count).unwrap_or(u64::MAX))
        })
    });
    gauge(encoder, ("notices", help), series)
}

fn snapshot(figures: &Figures, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let mut one = |name: &str, help: &str, unit: Option<&Unit>, value: f64| {
        encoder.encode_descriptor(name, help, unit, MetricType::Gauge)?.encode_gauge(&value)
    };
    #[expect(clippy::cast_precision_loss, reason = "a moment in seconds, and sizes below 2^53")]
    let (as_of, revision, bytes) =
        (figures.as_of.ms() as f64 / 1_000.0, figures.revision as f64, figures.store_bytes.unwrap_or(0) as f64);
    one("snapshot_timestamp", "The moment that these figures describe", Some(&Unit::Seconds), as_of)?;
    one("snapshot_revision", "Counts up whenever the fleet's answer changes.", None, revision)?;
    one("store", "Bytes of the store's files", Some(&Unit::Bytes), bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lag_is_in_the_bucket_that_ends_at_it() {
        #[track_caller]
        fn check(lag_ms: i64, bucket: usize) {
            let mut lags = LagHistogram::default();
            lags.observe(lag_ms);
            assert_eq!(lags.buckets()[bucket].1, 1, "{lag_ms}");
            assert_eq!(lags.count(), 1);
        }
        check(-5, 0);
        check(0, 0);
        check(500, 0);
        check(501, 1);
        check(60_000, 7);
        check(60_001, 8);
        check(86_400_000, 11);
        check(86_400_001, 12);
    }

    #[test]
    fn gone_nodes_are_in_no_count() {
        let mut counts = NodeCounts::default();
        counts.add(ConfigWord::Current, ConnectionWord::Gone);
        assert_eq!(counts, NodeCounts::default());
        counts.add(ConfigWord::Behind, ConnectionWord::Late);
        assert_eq!(counts.in_state(ConfigWord::Behind), 1);
    }

    #[test]
    fn notice_kinds_are_all_listed() {
        for (index, kind) in NOTICE_KINDS.into_iter().enumerate() {
            let place = match kind {
                NoticeKind::ExpectedMovedWithoutChange => 0,
                NoticeKind::ReplicasRenderDifferently => 1,
                NoticeKind::ControlPlaneDown => 2,
                NoticeKind::DownOrCutOff => 3,
                NoticeKind::Reverted => 4,
                NoticeKind::OneClusterTwoNames => 5,
                NoticeKind::DestructiveChange => 6,
            };
            assert_eq!(index, place);
        }
    }
}
