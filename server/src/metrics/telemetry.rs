//! What was told of traffic since this process began.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;

use crate::telemetry::Telemetry;

/// Counts without labels: names of routes and nodes are for the pages.
pub(crate) struct TelemetryCollector(pub(crate) Telemetry);

impl fmt::Debug for TelemetryCollector {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "TelemetryCollector")
    }
}

impl Collector for TelemetryCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let counts = self.0.counts();
        for (name, help, count) in [
            ("telemetry_entries", "Entries of access logs and samples that were stored.", counts.entries),
            ("telemetry_refused_entries", "Entries that could not be counted.", counts.refused),
            ("telemetry_repeated_bodies", "Bodies that came again and were not counted again.", counts.repeated),
            (
                "telemetry_unattributed_entries",
                "Stored entries without a node or a control plane that is known.",
                counts.unattributed,
            ),
            (
                "telemetry_forgotten_bodies",
                "Bodies that were forgotten early, as there were too many.",
                counts.forgotten,
            ),
            ("telemetry_names_over", "Lookups of names beyond the bound of their kind.", counts.names_over),
        ] {
            let counter = ConstCounter::new(count);
            counter.encode(encoder.encode_descriptor(name, help, None, counter.metric_type())?)?;
        }
        Ok(())
    }
}
