//! Counts of nodes by property, and the terms that find what they count.

use super::Candidate;
use super::print::quoted;
use crate::view::{Count, Facet};
use std::collections::HashMap;

/// Counts of nodes by property, taken in one pass.
#[derive(Debug, Default)]
pub struct FacetCounts<'a> {
    states: HashMap<&'a str, u32>,
    connections: HashMap<&'a str, u32>,
    control_planes: HashMap<&'a str, u32>,
    gateways: HashMap<&'a str, u32>,
    sources: HashMap<&'a str, u32>,
    labels: HashMap<&'a str, LabelCounts<'a>>,
}

/// `None`: more values than anyone would choose from.
#[derive(Debug)]
struct LabelCounts<'a> {
    nodes: u32,
    values: Option<HashMap<&'a str, u32>>,
}

impl<'a> FacetCounts<'a> {
    /// Values of a facet at most, those of most nodes first.
    pub const VALUES_MAX: usize = 12;
    /// Labels that become facets at most, those of most nodes first.
    pub const LABELS_MAX: usize = 8;
    /// Labels that are counted at most, the first ones met; nodes have seldom more than ten.
    const LABELS_COUNTED_MAX: usize = 256;
    /// Values of a label at most: one with more of them is a name, not a property, and becomes no facet.
    const LABEL_VALUES_MAX: usize = 4_096;

    /// Counts a node. Call it for those that [`Query::matches`].
    pub fn add(&mut self, node: &Candidate<'a>) {
        let count = |counts: &mut HashMap<&'a str, u32>, value: &'a str| *counts.entry(value).or_default() += 1;
        count(&mut self.states, node.verdict.config.word().word());
        count(&mut self.connections, node.verdict.connectivity.word().word());
        count(&mut self.control_planes, node.control_plane.as_str());
        if let Some(version) = &node.attributes.gateway_version {
            count(&mut self.gateways, version.as_str());
        }
        if let Some(source) = node.source {
            count(&mut self.sources, source.word());
        }
        for (label, value) in node.attributes.labels.iter().flat_map(|labels| labels.iter()) {
            if self.labels.len() >= Self::LABELS_COUNTED_MAX && !self.labels.contains_key(label) {
                continue;
            }
            let counts =
                self.labels.entry(label).or_insert_with(|| LabelCounts { nodes: 0, values: Some(HashMap::new()) });
            counts.nodes += 1;
            if let Some(values) = &mut counts.values {
                *values.entry(value).or_default() += 1;
                if values.len() > Self::LABEL_VALUES_MAX {
                    counts.values = None;
                }
            }
        }
    }

    /// The facets that have a value: `state`, `connection`, `cp`, `gateway`, labels by their nodes, `source`. Values by
    /// count, then by name.
    #[must_use]
    pub fn facets(self) -> Vec<Facet> {
        let mut labels: Vec<_> =
            self.labels.into_iter().filter_map(|(label, counts)| Some((label, counts.nodes, counts.values?))).collect();
        labels.sort_unstable_by_key(|(label, nodes, _)| (std::cmp::Reverse(*nodes), *label));
        labels.truncate(Self::LABELS_MAX);
        let first = [
            ("state".to_owned(), self.states),
            ("connection".to_owned(), self.connections),
            ("cp".to_owned(), self.control_planes),
            ("gateway".to_owned(), self.gateways),
        ];
        let labels = labels.into_iter().map(|(label, _, values)| (format!("label.{label}"), values));
        let facets = first.into_iter().chain(labels).chain([("source".to_owned(), self.sources)]);
        facets.filter(|(_, values)| !values.is_empty()).map(|(key, values)| facet(key, values)).collect()
    }
}

fn facet(key: String, values: HashMap<&str, u32>) -> Facet {
    let mut values: Vec<(&str, u32)> = values.into_iter().collect();
    values.sort_unstable_by_key(|(value, nodes)| (std::cmp::Reverse(*nodes), *value));
    values.truncate(FacetCounts::VALUES_MAX);
    Facet { key, values: values.into_iter().map(|(value, nodes)| Count { of: value.to_owned(), nodes }).collect() }
}

/// The term that asks for exactly the nodes that a facet, or a common factor, counts under a value.
#[must_use]
pub fn term(key: &str, value: &str) -> String {
    match key {
        "gateway" => format!("gateway:{}", quoted(&format!("={value}"))),
        _ => format!("{}:{}", quoted(key), quoted(value)),
    }
}
