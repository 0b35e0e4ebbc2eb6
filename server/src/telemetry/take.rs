//! From what was told to rows: whose it is, which minute it counts for, and numbers for its names.

use tidemark_domain::id::{CpName, NodeId};
use tidemark_domain::time::{SECOND, Timestamp};

use super::names::Kind;
use super::rows::{Row, Sample, Traffic};
use super::{Counted, EARLY_S, LATE_S, Telemetry};
use crate::board::Snapshot;
use crate::kong::http_log::Entry;
use crate::kong::metrics::Counted as Counts;

/// Who sent a body, as its address says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sender {
    /// The control plane of its path.
    pub control_plane: Option<CpName>,
    /// The node of its path.
    pub node: Option<NodeId>,
}

impl Telemetry {
    /// Rows of a log's entries. What an entry says of itself wins over what its sender's address says.
    #[must_use]
    pub fn rows(&self, entries: &[Entry<'_>], sender: &Sender) -> Vec<Row> {
        let now = self.now();
        let snapshot = self.0.snapshots.load();
        let mut rows = Vec::with_capacity(entries.len());
        for entry in entries {
            let node = entry.node.as_deref().or(sender.node.as_ref().map(NodeId::as_str));
            let said = entry.control_plane.as_deref().filter(|name| name.parse::<CpName>().is_ok());
            let control_plane = said.or(sender.control_plane.as_ref().map(CpName::as_str));
            let control_plane = control_plane.or_else(|| found(&snapshot, node));
            let names = &self.0.names;
            let scope = names.scope(control_plane.unwrap_or(""));
            if scope == 0 || node.is_none() {
                Counted::add(&self.0.counted.unattributed, 1);
            }
            let number = |kind: Kind, name: Option<&str>| name.map_or(0, |name| names.number(scope, kind, name));
            #[expect(clippy::cast_possible_truncation, reason = "a latency keeps seven digits")]
            let short = |ms: Option<f64>| ms.map(|ms| ms as f32);
            rows.push(Row::Traffic(Traffic {
                minute: minute(now, entry.started_ms),
                scope,
                node: number(Kind::Node, node),
                service: number(Kind::Service, entry.service.as_deref()),
                route: number(Kind::Route, entry.route.as_deref()),
                consumer: number(Kind::Consumer, entry.consumer.as_deref()),
                application: number(Kind::Application, entry.application.as_deref()),
                status: entry.status,
                requests: 1,
                observed: 1,
                bytes_in: entry.bytes_in,
                bytes_out: entry.bytes_out,
                total_ms: short(entry.total_ms),
                gateway_ms: short(entry.gateway_ms),
                upstream_ms: short(entry.upstream_ms),
            }));
        }
        rows
    }

    /// Rows of what nodes of a control plane use: the node, what of, and how much in base units.
    #[must_use]
    pub fn samples(&self, control_plane: &str, samples: &[(String, &'static str, u64)]) -> Vec<Row> {
        let names = &self.0.names;
        let (scope, minute) = (names.scope(control_plane), self.now().ms().div_euclid(60 * SECOND));
        let row = |(node, resource, value): &(String, &'static str, u64)| {
            let node = names.number(scope, Kind::Node, node);
            Row::Sample(Sample {
                minute,
                scope,
                node,
                resource: names.number(scope, Kind::Resource, resource),
                value: *value,
            })
        };
        samples.iter().map(row).collect()
    }

    /// Rows of requests that nodes of a control plane counted: the node, what for, and how many.
    #[must_use]
    pub fn counted(&self, control_plane: &str, requests: &[(String, Counts, u64)]) -> Vec<Row> {
        let names = &self.0.names;
        let (scope, minute) = (names.scope(control_plane), self.now().ms().div_euclid(60 * SECOND));
        let row = |(node, counts, more): &(String, Counts, u64)| {
            let number = |kind, name: &str| names.number(scope, kind, name);
            Row::Traffic(Traffic {
                minute,
                scope,
                node: number(Kind::Node, node),
                service: number(Kind::Service, &counts.service),
                route: number(Kind::Route, &counts.route),
                consumer: number(Kind::Consumer, &counts.consumer),
                status: counts.status,
                requests: *more,
                ..Traffic::default()
            })
        };
        requests.iter().map(row).collect()
    }

    /// Notes how many entries of a body were refused.
    pub fn refused(&self, entries: usize) {
        Counted::add(&self.0.counted.refused, entries);
    }
}

/// The control plane that a node belongs to, where only one has a node of this id; else the only one that there is.
fn found<'a>(snapshot: &'a Snapshot, node: Option<&str>) -> Option<&'a str> {
    if let [only] = snapshot.control_planes.as_slice() {
        return Some(only.name.as_str());
    }
    let node: NodeId = node?.parse().ok()?;
    let mut with_it = snapshot.control_planes.iter().filter(|of| of.node(&node).is_some());
    match (with_it.next(), with_it.next()) {
        (Some(one), None) => Some(one.name.as_str()),
        _ => None,
    }
}

/// The minute that a request counts for, since the epoch.
fn minute(now: Timestamp, started_ms: Option<i64>) -> i64 {
    let near = |ms: &i64| (-LATE_S * SECOND..=EARLY_S * SECOND).contains(&(ms - now.ms()));
    started_ms.filter(near).unwrap_or(now.ms()).div_euclid(60 * SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_counts_for_its_own_minute_where_its_clock_is_near_ours() {
        #[track_caller]
        fn check(started_s: Option<i64>, expected: i64) {
            let now = Timestamp::from_ms(600_000);
            assert_eq!(minute(now, started_s.map(|s| s * SECOND)), expected, "{started_s:?}");
        }
        check(None, 10);
        check(Some(599), 9);
        check(Some(480), 8);
        check(Some(479), 10);
        check(Some(605), 10);
        check(Some(660), 10);
        check(Some(0), 10);
    }
}
