//! What one node does and uses.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tidemark_app::api::ApiError;
use tidemark_domain::analytics::{
    Last, NodeTraffic, Range, ResourcePoint, ResourceSeries, ResourcesView, TrafficQuestion, bytes, short,
};
use tidemark_domain::drawing::Figure;
use tidemark_domain::id::{CpName, NodeId};
use tidemark_domain::time::{DAY, SECOND, Timestamp};
use tidemark_domain::traffic::{By, Step};
use tidemark_domain::view::AsOf;

use super::Telemetry;
use super::ask::{changes, failed, point_s, steps};
use super::cells::{Cells, Gauge, Key, Summed};
use super::names::Kind;
use super::open::SAMPLES;
use crate::board::Snapshot;
use crate::chart::series::{Series, figure};
use crate::store::SumsRange;

/// The range of a node's page.
const DAY_OF_NODE: Last = Last::Day;

impl Telemetry {
    /// Traffic of one node, and what it uses, of the day before; `None` where nothing was told of it.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn of_node(
        &self,
        control_plane: &CpName,
        id: &NodeId,
        as_of: AsOf,
        snapshot: &Arc<Snapshot>,
    ) -> Result<Option<NodeTraffic>, ApiError> {
        let known = self.names().find_scope(control_plane.as_str());
        if known.and_then(|scope| self.names().find(scope, Kind::Node, id.as_str())).is_none() {
            return Ok(None);
        }
        let question = TrafficQuestion {
            range: Range::Last(DAY_OF_NODE),
            by: By::Gateway,
            only: vec![(By::ControlPlane, control_plane.to_string()), (By::Node, id.to_string())],
        };
        let used = self.resources(control_plane, id, DAY_OF_NODE, as_of.clone()).await?;
        let traffic = self.traffic(question.clone(), as_of, snapshot).await?;
        let marks = changes(snapshot, control_plane, used.from, used.to);
        let mut figures = traffic.figures;
        figures.extend(memory(&used, &marks));
        if figures.is_empty() {
            return Ok(None);
        }
        Ok(Some(NodeTraffic { question, sentence: traffic.sentence, figures }))
    }

    /// What one node uses over a range that ends at `as_of`.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn resources(
        &self,
        control_plane: &CpName,
        id: &NodeId,
        last: Last,
        as_of: AsOf,
    ) -> Result<ResourcesView, ApiError> {
        let fine = match last.ms() {
            ..=DAY => Step::Minute,
            ms if ms <= 31 * DAY => Step::Hour,
            _ => Step::Day,
        };
        // With the minute in hand: a mean of samples does not suffer from being of half a minute.
        let to_s = Step::Minute.floor(as_of.at.ms().div_euclid(SECOND)) + 60;
        let from_s = fine.floor(to_s - last.ms() / SECOND);
        let point_s = point_s(to_s - from_s, fine);
        let names = self.names();
        let scope = names.find_scope(control_plane.as_str());
        let node = scope.and_then(|scope| names.find(scope, Kind::Node, id.as_str()));
        let mut resources = Vec::new();
        if let (Some(scope), Some(node)) = (scope, node) {
            let points = self.gauges(scope, node, (from_s, to_s), fine, point_s).await?;
            let count = (to_s - from_s + point_s - 1).div_euclid(point_s);
            let all: BTreeSet<u32> = points.keys().map(|(resource, _)| *resource).collect();
            for resource in all {
                let point = |place: i64| {
                    let gauge = points.get(&(resource, place))?;
                    Some(ResourcePoint { least: gauge.least, mean: gauge.mean()?, most: gauge.most })
                };
                let name = names.name(resource).unwrap_or_default();
                resources.push(ResourceSeries { name, points: (0..count).map(point).collect() });
            }
            resources.sort_by(|left, right| left.name.cmp(&right.name));
        }
        let at = |seconds: i64| Timestamp::from_ms(seconds * SECOND);
        Ok(ResourcesView { as_of, from: at(from_s), to: at(to_s), step_ms: point_s * SECOND, resources })
    }

    /// Samples of one node by resource and point.
    async fn gauges(
        &self,
        scope: u32,
        node: u32,
        (from_s, to_s): (i64, i64),
        fine: Step,
        point_s: i64,
    ) -> Result<BTreeMap<(u32, i64), Gauge>, ApiError> {
        let mut points: BTreeMap<(u32, i64), Gauge> = BTreeMap::new();
        let mut take = |at_s: i64, key: &Key, gauge: &Gauge| {
            let place = (at_s - from_s).div_euclid(point_s);
            points.entry((key[1], place)).or_default().merge(gauge);
        };
        let progress = {
            let open = self.0.open.lock();
            let progress = *self.0.progress.lock();
            let minutes = from_s.max(progress.minutes_s).div_euclid(60)..to_s.div_euclid(60);
            open.samples(minutes, scope, |minute, cells| {
                let of_node = cells.0.iter().filter(|(key, _)| key[0] == node);
                of_node.for_each(|(key, gauge)| take(minute * 60, key, gauge));
            });
            progress
        };
        for (step, from_s, to_s) in steps(from_s, to_s, fine, progress) {
            let range = SumsRange { kind: SAMPLES, step, from_s, to_s, scope: Some(scope), with_cells: true };
            for row in self.0.store.telemetry_sums(range).await.map_err(failed)? {
                let mut cells = Cells::<Gauge>::default();
                if cells.add_packed(&row.cells, |key| key[0] == node).is_none() {
                    tracing::error!("samples of {} cannot be read", Timestamp::from_ms(row.at_s * SECOND));
                }
                cells.0.iter().for_each(|(key, gauge)| take(row.at_s, key, gauge));
            }
        }
        Ok(points)
    }
}

/// Memory and connections of a node as drawings.
fn memory(used: &ResourcesView, marks: &[(Timestamp, String)]) -> Vec<Figure> {
    let mut figures = Vec::new();
    let told = |name: &str| used.resources.iter().find(|series| series.name == name);
    let drawn: [(&str, &str, fn(u64) -> String); 2] =
        [("memory_workers_bytes", "in the memory of its workers", bytes), ("connections_active", "connections", short)];
    for (name, what, words) in drawn {
        let Some(series) = told(name) else { continue };
        let Some(last) = series.points.iter().rev().flatten().next() else { continue };
        let most = series.points.iter().flatten().map(|point| point.most).max().unwrap_or(0);
        #[expect(clippy::cast_precision_loss, reason = "for a drawing")]
        let float = |value: u64| value as f64;
        let drawing = Series {
            caption: format!("{} {what}, at most {} within {}.", words(last.mean), words(most), DAY_OF_NODE.sentence()),
            from: used.from,
            to: used.to,
            lines: vec![(
                what.to_owned(),
                series.points.iter().map(|point| point.map(|point| float(point.mean))).collect(),
            )],
            band: series
                .points
                .iter()
                .map(|point| point.map(|point| (float(point.least), float(point.most))))
                .collect(),
            marks: marks.to_vec(),
            numbers: vec![("Now".into(), words(last.mean)), ("Most".into(), words(most))],
        };
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a value of the axis")]
        figures.extend(figure(&drawing, &|value| words(value.round() as u64)));
    }
    figures
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidemark_domain::time::HOUR;

    #[test]
    fn a_gap_of_samples_is_no_value() {
        let point = Some(ResourcePoint { least: 90, mean: 100, most: 120 });
        let used = ResourcesView {
            as_of: AsOf { at: Timestamp::from_ms(HOUR), revision: 1, past: false, held: false },
            from: Timestamp::from_ms(0),
            to: Timestamp::from_ms(HOUR),
            step_ms: HOUR / 4,
            resources: vec![ResourceSeries {
                name: "memory_workers_bytes".into(),
                points: vec![point, None, point, None],
            }],
        };
        let figures = memory(&used, &[]);
        assert_eq!(figures.len(), 1, "nothing is said of connections");
        assert_eq!(figures[0].caption, "100 B in the memory of its workers, at most 120 B within 24 hours.");
        assert!(figures[0].label.contains("with gaps"), "{}", figures[0].label);
    }
}
