//! `POST /api/v1/telemetry`: what others than Kong tell of requests, of what nodes use, and of what syncs cost. Each item of
//! an array is stored or refused by itself, and what an item has that nobody knows refuses it: a misspelt field would be
//! lost silently.

use serde::de::{Deserialize, Deserializer, SeqAccess, Visitor};
use std::fmt;
use tidemark_domain::id::{CpName, NodeId, Token};
use tidemark_domain::time::{HOUR, SECOND, Timestamp};

use super::LATE_S;
use super::Telemetry;
use super::names::{Kind, NAME_MAX};
use super::rows::{Row, Sample, Traffic};
use crate::ingest::json::{Fields, Json, Wrong};
use crate::store::SyncCost;

/// Items of one body.
pub const ITEMS_MAX: usize = 10_000;
/// Counts and bytes of one item.
const COUNT_MAX: i64 = 1 << 53;

/// What a body tells.
#[derive(Debug, Default)]
pub struct Told {
    /// Requests and samples.
    pub rows: Vec<Row>,
    /// What syncs cost.
    pub costs: Vec<SyncCost>,
    /// Items that cannot be taken, by their place.
    pub refused: Vec<(usize, Wrong)>,
}

/// What an item tells.
#[derive(Clone, Copy, Debug)]
enum What {
    Requests,
    Resource,
    SyncCost,
}

const WHAT: [(&str, What); 3] =
    [("requests", What::Requests), ("resource", What::Resource), ("sync_cost", What::SyncCost)];
const MODES: [(&str, &str); 3] = [("full", "full"), ("delta", "delta"), ("fell_back", "fell_back")];

/// Items of a body: one, or an array of them.
struct Items(Vec<Json>);

impl<'de> Deserialize<'de> for Items {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Of;

        impl<'de> Visitor<'de> for Of {
            type Value = Items;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(out, "an item (an object), or an array of items")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Items, A::Error> {
                let mut all = Vec::new();
                while let Some(item) = items.next_element()? {
                    all.push(item);
                    if all.len() > ITEMS_MAX {
                        return Err(serde::de::Error::custom(format!("one body has at most {ITEMS_MAX} items")));
                    }
                }
                Ok(Items(all))
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, map: A) -> Result<Items, A::Error> {
                let json = Json::deserialize(serde::de::value::MapAccessDeserializer::new(map))?;
                Ok(Items(vec![json]))
            }
        }

        deserializer.deserialize_any(Of)
    }
}

impl Telemetry {
    /// Reads a body; names get their numbers here.
    ///
    /// # Errors
    /// In words, if it is no JSON of items; nothing of it is taken then.
    pub fn told(&self, body: &[u8]) -> Result<Told, String> {
        let Items(items) = serde_json::from_slice(body).map_err(|error| error.to_string())?;
        let now = self.now();
        let mut told = Told::default();
        for (index, item) in items.into_iter().enumerate() {
            if let Err(wrong) = self.item(item, now, &mut told) {
                told.refused.push((index, wrong));
            }
        }
        Ok(told)
    }

    fn item(&self, item: Json, now: Timestamp, told: &mut Told) -> Result<(), Wrong> {
        let mut fields = Fields::of(item)?;
        let words = || WHAT.map(|(word, _)| word).join(", ");
        let what = fields.word("kind", &WHAT)?;
        let what = what.ok_or_else(|| fields.wrong("kind", format!("is required: one of {}", words())))?;
        let control_plane: CpName = fields.required("control_plane")?;
        match what {
            What::Requests => {
                let row = self.requests(fields, &control_plane, now)?;
                told.rows.push(row);
            }
            What::Resource => {
                let row = self.resource(fields, &control_plane, now)?;
                told.rows.push(row);
            }
            What::SyncCost => {
                let cost = self.sync_cost(fields, &control_plane, now)?;
                told.costs.push(cost);
            }
        }
        Ok(())
    }

    fn requests(&self, mut fields: Fields, control_plane: &CpName, now: Timestamp) -> Result<Row, Wrong> {
        let node: Option<NodeId> = fields.parsed("node_id")?;
        let mut name = |key: &str| -> Result<Option<String>, Wrong> {
            match fields.string(key)? {
                Some(name) if name.len() > NAME_MAX => {
                    Err(fields.wrong(key, format!("a name is at most {NAME_MAX} bytes")))
                }
                other => Ok(other),
            }
        };
        let names = [name("service")?, name("route")?, name("consumer")?, name("application")?];
        let status = fields.whole("status", 0, 999)?;
        let requests = count(&mut fields, "requests")?;
        let requests = requests.ok_or_else(|| fields.wrong("requests", "is required"))?;
        let (bytes_in, bytes_out) = (count(&mut fields, "bytes_in")?, count(&mut fields, "bytes_out")?);
        let mut latency = |key: &str| fields.whole(key, 0, 24 * HOUR * 1_000);
        let latencies = [latency("duration_us")?, latency("gateway_us")?, latency("upstream_us")?];
        let age_ms = fields.whole("age_ms", 0, LATE_S * SECOND)?.unwrap_or(0);
        fields.end()?;
        let of = self.names();
        let scope = of.scope(control_plane.as_str());
        let number = |kind: Kind, name: &Option<String>| name.as_deref().map_or(0, |name| of.number(scope, kind, name));
        let [service, route, consumer, application] = names;
        #[expect(clippy::cast_precision_loss, reason = "a latency keeps seven digits")]
        let [total_ms, gateway_ms, upstream_ms] = latencies.map(|us| us.map(|us| us as f32 / 1_000.0));
        Ok(Row::Traffic(Traffic {
            minute: now.plus(-age_ms).ms().div_euclid(60 * SECOND),
            scope,
            node: node.map_or(0, |node| of.number(scope, Kind::Node, node.as_str())),
            service: number(Kind::Service, &service),
            route: number(Kind::Route, &route),
            consumer: number(Kind::Consumer, &consumer),
            application: number(Kind::Application, &application),
            status: status.and_then(|status| u16::try_from(status).ok()).unwrap_or(0),
            requests,
            observed: requests,
            bytes_in: bytes_in.unwrap_or(0),
            bytes_out: bytes_out.unwrap_or(0),
            total_ms,
            gateway_ms,
            upstream_ms,
        }))
    }

    fn resource(&self, mut fields: Fields, control_plane: &CpName, now: Timestamp) -> Result<Row, Wrong> {
        let node: NodeId = fields.required("node_id")?;
        let resource: String = fields.required("resource")?;
        let fits = |text: &str| {
            (1..=64).contains(&text.len())
                && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
        };
        if !fits(&resource) {
            return Err(fields.wrong("resource", "expected 1 to 64 of a-z, 0-9 and _, as in memory_workers_bytes"));
        }
        let value = count(&mut fields, "value")?.ok_or_else(|| fields.wrong("value", "is required"))?;
        let age_ms = fields.whole("age_ms", 0, LATE_S * SECOND)?.unwrap_or(0);
        fields.end()?;
        let of = self.names();
        let scope = of.scope(control_plane.as_str());
        Ok(Row::Sample(Sample {
            minute: now.plus(-age_ms).ms().div_euclid(60 * SECOND),
            scope,
            node: of.number(scope, Kind::Node, node.as_str()),
            resource: of.number(scope, Kind::Resource, &resource),
            value,
        }))
    }

    fn sync_cost(&self, mut fields: Fields, control_plane: &CpName, now: Timestamp) -> Result<SyncCost, Wrong> {
        let node: NodeId = fields.required("node_id")?;
        let config: Token = fields.required("config")?;
        let mode = fields.word("mode", &MODES)?;
        let mode = mode.ok_or_else(|| fields.wrong("mode", "is required: one of full, delta, fell_back"))?;
        let bytes = count(&mut fields, "bytes")?.ok_or_else(|| fields.wrong("bytes", "is required"))?;
        let (apply_ms, cpu_ms) = (count(&mut fields, "apply_ms")?, count(&mut fields, "cpu_ms")?);
        let mut memory = |key: &str| count(&mut fields, key);
        let memory = [memory("memory_before")?, memory("memory_peak")?, memory("memory_after")?];
        let age_ms = fields.whole("age_ms", 0, HOUR)?.unwrap_or(0);
        fields.end()?;
        let of = self.names();
        let scope = of.scope(control_plane.as_str());
        Ok(SyncCost {
            scope,
            node: of.number(scope, Kind::Node, node.as_str()),
            at: now.plus(-age_ms),
            config: config.to_string(),
            mode,
            bytes,
            apply_ms,
            cpu_ms,
            memory,
        })
    }
}

fn count(fields: &mut Fields, name: &str) -> Result<Option<u64>, Wrong> {
    Ok(fields.whole(name, 0, COUNT_MAX)?.and_then(|count| u64::try_from(count).ok()))
}
