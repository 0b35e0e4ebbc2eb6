//! What the sources that go and ask did.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

use crate::sources::{Shown, Sources};

/// One series for each source: there are as many as the settings name.
pub(crate) struct SourcesCollector(pub(crate) Sources);

impl fmt::Debug for SourcesCollector {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "SourcesCollector")
    }
}

impl Collector for SourcesCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let sources = self.0.shown();
        gauge(&mut encoder, &sources, "source_up", "Whether the last run of a source heard anybody.", None, |shown| {
            f64::from(u8::from(shown.state.health.hears()))
        })?;
        let help = "When a run of a source last heard anybody; 0 for never";
        gauge(&mut encoder, &sources, "source_last_success_timestamp", help, Some(&Unit::Seconds), |shown| {
            #[expect(clippy::cast_precision_loss, reason = "a moment in seconds")]
            shown.state.last_success_at.map_or(0.0, |at| at.ms() as f64 / 1_000.0)
        })?;
        let help = "Seconds that the last run of a source took";
        gauge(&mut encoder, &sources, "source_run_duration", help, Some(&Unit::Seconds), |shown| {
            shown.state.last_run.unwrap_or_default().as_secs_f64()
        })?;
        counter(&mut encoder, &sources, "source_runs", "Runs of a source that ended.", |shown| shown.state.runs)?;
        let help = "What went wrong in the runs of a source, counted one by one.";
        counter(&mut encoder, &sources, "source_errors", help, |shown| shown.state.errors)?;
        let help = "How often a source was started anew after a fault of ours.";
        counter(&mut encoder, &sources, "source_restarts", help, |shown| shown.state.restarts)?;
        let help = "Facts of a source that were stored.";
        counter(&mut encoder, &sources, "source_facts", help, |shown| shown.state.facts)
    }
}

fn labels(shown: &Shown) -> [(&'static str, &str); 3] {
    [("source", shown.name.as_str()), ("kind", shown.kind), ("control_plane", shown.control_plane.as_str())]
}

fn gauge(
    encoder: &mut DescriptorEncoder<'_>,
    sources: &[Shown],
    name: &str,
    help: &str,
    unit: Option<&Unit>,
    value: impl Fn(&Shown) -> f64,
) -> fmt::Result {
    let mut family = encoder.encode_descriptor(name, help, unit, MetricType::Gauge)?;
    for shown in sources {
        family.encode_family(&labels(shown))?.encode_gauge(&value(shown))?;
    }
    Ok(())
}

fn counter(
    encoder: &mut DescriptorEncoder<'_>,
    sources: &[Shown],
    name: &str,
    help: &str,
    value: impl Fn(&Shown) -> u64,
) -> fmt::Result {
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    for shown in sources {
        let none: Option<&prometheus_client::metrics::exemplar::Exemplar<[(&str, &str); 0], u64>> = None;
        family.encode_family(&labels(shown))?.encode_counter(&value(shown), none)?;
    }
    Ok(())
}
