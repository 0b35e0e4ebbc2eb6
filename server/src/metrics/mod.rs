//! What Prometheus scrapes. Two kinds, kept apart: what is true of the fleet is computed at the scrape from the
//! snapshot that pages show ([`fleet`]), what this process did is counted as it happens ([`process`]).
//!
//! Labels are enums and control planes; all their values are present from the first scrape, zero included. There is
//! no series per node.

pub mod fleet;

pub mod process;

pub mod sources;

pub mod telemetry;

pub mod text;

use std::fmt;
use std::sync::Arc;

use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

use crate::ingest::Ingest;
use crate::metrics::fleet::{FleetCollector, FleetFigures};
use crate::metrics::process::{Counted, QueueCollector};
use crate::metrics::sources::SourcesCollector;
use crate::metrics::telemetry::TelemetryCollector;
use crate::sources::Sources;
use crate::telemetry::Telemetry;

/// All families, registered once.
pub struct Metrics {
    registry: Registry,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Metrics")
    }
}

/// How the families are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// Prometheus text 0.0.4.
    Text,
}

impl Format {
    /// The format that an `Accept` header asks for: OpenMetrics where it is named with a weight that is not lower
    /// than that of plain text, text otherwise.
    #[must_use]
    pub fn negotiated(accept: &str) -> Self {
        let (mut open, mut plain) = (0.0_f32, 0.0_f32);
        for range in accept.split(',') {
            let mut parts = range.split(';').map(str::trim);
            let media_type = parts.next().unwrap_or("").to_ascii_lowercase();
            let weight = parts.find_map(|part| part.strip_prefix("q=")).and_then(|text| text.trim().parse().ok());
            let weight: f32 = weight.unwrap_or(1.0);
            match media_type.as_str() {
                "application/openmetrics-text" => open = open.max(weight),
                "text/plain" | "text/*" | "*/*" => plain = plain.max(weight),
                _ => {}
            }
        }
        if open > 0.0 && open >= plain { Self::OpenMetrics } else { Self::Text }
    }

    /// The content type of an answer.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

impl Metrics {
    /// The families over these figures and counts.
    #[must_use]
    pub fn new(
        figures: Arc<dyn FleetFigures>,
        counted: &Counted,
        ingest: Ingest,
        sources: Sources,
        telemetry: Option<Telemetry>,
    ) -> Self {
        let mut registry = Registry::with_prefix("tidemark");
        registry.register_collector(Box::new(FleetCollector(figures)));
        registry.register_collector(Box::new(QueueCollector(ingest)));
        registry.register_collector(Box::new(SourcesCollector(sources)));
        if let Some(telemetry) = telemetry {
            registry.register_collector(Box::new(TelemetryCollector(telemetry)));
        }
        counted.register(&mut registry);
        Self { registry }
    }

    /// All families as text.
    ///
    /// # Errors
    /// Never in practice: writing to memory does not fail.
    pub fn write(&self, format: Format) -> Result<String, fmt::Error> {
        let mut open_metrics = String::with_capacity(16 << 10);
        encode(&mut open_metrics, &self.registry)?;
        Ok(match format {
            Format::OpenMetrics => open_metrics,
            Format::Text => text::from_open_metrics(&open_metrics),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_metrics_is_for_those_who_ask_for_it() {
        #[track_caller]
        fn check(accept: &str, expected: Format) {
            assert_eq!(Format::negotiated(accept), expected, "{accept}");
        }
        check("", Format::Text);
        check("*/*", Format::Text);
        check("text/plain", Format::Text);
        check("application/openmetrics-text", Format::OpenMetrics);
        check("application/openmetrics-text; version=1.0.0; q=0.2, text/plain", Format::Text);
        check("application/openmetrics-text;q=0", Format::Text);
        // Prometheus 2.42.
        check(
            "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
             text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            Format::OpenMetrics,
        );
    }
}
