//! `/metrics` of any Kong (`kong-hybrid.md` 4.2): Prometheus' text format, and the families that say something of a
//! node's configuration.

use super::number;
use super::text::{NAME_MAX, clip};
use std::collections::BTreeMap;
use tidemark_domain::hash::ConfigHash;

/// What one scrape says. All of it is optional: control planes and nodes have different families, and so have versions.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Exposition {
    /// Which process answered: `kong_node_info`. The id of a control plane's process is new at each start.
    pub node_id: Option<String>,
    pub gateway_version: Option<String>,
    /// Of a control plane: the nodes of its table, dead ones too; at most [`NODES_MAX`].
    pub nodes: BTreeMap<String, NodeSamples>,
    /// Of a node: 0 under pure v2 although it is connected.
    pub control_plane_connected: Option<bool>,
    /// Of a node: when its certificate ends, as read at its start.
    pub certificate_expires_s: Option<i64>,
    pub datastore_reachable: Option<bool>,
    pub metric_errors: Option<f64>,
    /// What the process uses.
    pub usage: Usage,
    /// Of a node: requests and sessions since it started, by what they were for; at most [`COUNTERS_MAX`].
    pub requests: BTreeMap<Counted, u64>,
    /// Samples that could be read.
    pub samples: u64,
    /// Lines that could not.
    pub unreadable: u64,
}

/// What a request counter counts (`kong_http_requests_total`, `kong_stream_sessions_total`); empty texts where it does not
/// say. Labels that are not known are left alone, and counters that differ only in those are summed.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Counted {
    pub service: String,
    pub route: String,
    pub consumer: String,
    pub status: u16,
}

/// Request counters kept of one scrape.
pub const COUNTERS_MAX: usize = 20_000;

/// What a process of Kong uses (`kong-hybrid.md` 4.2). Absent families are `None`, never zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Workers that said what memory their Lua takes.
    pub workers: Option<u64>,
    /// Bytes of Lua memory of all workers.
    pub workers_bytes: Option<u64>,
    /// Of the worker that takes most.
    pub worker_bytes_max: Option<u64>,
    /// Bytes that are in use in all shared dictionaries.
    pub shared_dicts_bytes: Option<u64>,
    /// Connections: active, reading, writing, waiting.
    pub connections: [Option<u64>; 4],
}

impl Usage {
    /// What is known, by name, in base units.
    #[must_use]
    pub fn samples(&self) -> Vec<(&'static str, u64)> {
        let [active, reading, writing, waiting] = self.connections;
        [
            ("workers", self.workers),
            ("memory_workers_bytes", self.workers_bytes),
            ("memory_worker_max_bytes", self.worker_bytes_max),
            ("memory_shared_dicts_bytes", self.shared_dicts_bytes),
            ("connections_active", active),
            ("connections_reading", reading),
            ("connections_writing", writing),
            ("connections_waiting", waiting),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .collect()
    }

    fn add(sum: &mut Option<u64>, value: u64) {
        *sum = Some(sum.unwrap_or(0).saturating_add(value));
    }
}

/// What a control plane's metrics say of one node.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NodeSamples {
    pub hostname: Option<String>,
    pub ip: Option<String>,
    pub gateway_version: Option<String>,
    pub last_seen_s: Option<i64>,
    /// The hash as a number, to be compared with [`hash_value`] and never inverted. Absent for `v02_` versions.
    pub hash_value: Option<f64>,
    /// True says little: also for `filter_set_incompatible` and `unknown`.
    pub version_compatible: Option<bool>,
}

/// Nodes kept of one scrape.
pub const NODES_MAX: usize = 1_000_000;

/// One sample: name, labels, value.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample<'a> {
    pub name: &'a str,
    pub labels: Vec<(&'a str, String)>,
    pub value: f64,
}

impl Sample<'_> {
    /// The value of a label; an empty one is none.
    #[must_use]
    pub fn label(&self, name: &str) -> Option<&str> {
        let value = self.labels.iter().find(|(key, _)| *key == name)?.1.as_str();
        Some(value).filter(|value| !value.is_empty())
    }
}

/// Reads a whole text. Unknown families are counted and left alone.
#[must_use]
pub fn exposition(text: &str) -> Exposition {
    let mut exposition = Exposition::default();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        match sample(line) {
            Some(sample) => {
                exposition.samples += 1;
                exposition.take(&sample);
            }
            None => exposition.unreadable += 1,
        }
    }
    exposition
}

impl Exposition {
    fn take(&mut self, sample: &Sample<'_>) {
        let name = |label| sample.label(label).map(|value| clip(value, NAME_MAX));
        match sample.name {
            "kong_node_info" => {
                self.node_id = name("node_id");
                self.gateway_version = name("version");
            }
            "kong_control_plane_connected" => self.control_plane_connected = Some(sample.value != 0.0),
            "kong_datastore_reachable" => self.datastore_reachable = Some(sample.value != 0.0),
            "kong_data_plane_cluster_cert_expiry_timestamp" => self.certificate_expires_s = seconds(sample.value),
            "kong_nginx_metric_errors_total" => self.metric_errors = Some(sample.value),
            "kong_data_plane_last_seen" => {
                if let Some(node) = self.node(sample) {
                    node.last_seen_s = seconds(sample.value);
                }
            }
            "kong_data_plane_config_hash" => {
                if let Some(node) = self.node(sample) {
                    node.hash_value = Some(sample.value);
                }
            }
            "kong_data_plane_version_compatible" => {
                let gateway_version = name("kong_version");
                if let Some(node) = self.node(sample) {
                    node.version_compatible = Some(sample.value != 0.0);
                    node.gateway_version = gateway_version;
                }
            }
            "kong_memory_workers_lua_vms_bytes" => {
                if let Some(bytes) = whole(sample.value) {
                    Usage::add(&mut self.usage.workers, 1);
                    Usage::add(&mut self.usage.workers_bytes, bytes);
                    self.usage.worker_bytes_max = self.usage.worker_bytes_max.max(Some(bytes));
                }
            }
            "kong_http_requests_total" | "kong_stream_sessions_total" => {
                let text = |label| sample.label(label).map(|value| clip(value, NAME_MAX)).unwrap_or_default();
                let counted = Counted {
                    service: text("service"),
                    route: text("route"),
                    consumer: text("consumer"),
                    status: sample.label("code").and_then(|code| code.parse().ok()).unwrap_or(0),
                };
                let room = self.requests.len() < COUNTERS_MAX || self.requests.contains_key(&counted);
                if let (Some(count), true) = (whole(sample.value), room) {
                    let sum = self.requests.entry(counted).or_default();
                    *sum = sum.saturating_add(count);
                }
            }
            "kong_memory_lua_shared_dict_bytes" => {
                if let Some(bytes) = whole(sample.value) {
                    Usage::add(&mut self.usage.shared_dicts_bytes, bytes);
                }
            }
            "kong_nginx_connections_total" => {
                let states = ["active", "reading", "writing", "waiting"];
                let place = states.iter().position(|state| sample.label("state") == Some(state));
                if let (Some(place), Some(count)) = (place, whole(sample.value)) {
                    Usage::add(&mut self.usage.connections[place], count);
                }
            }
            _ => {}
        }
    }

    fn node(&mut self, sample: &Sample<'_>) -> Option<&mut NodeSamples> {
        let id = clip(sample.label("node_id")?, NAME_MAX);
        if self.nodes.len() >= NODES_MAX && !self.nodes.contains_key(&id) {
            return None;
        }
        let node = self.nodes.entry(id).or_default();
        node.hostname = sample.label("hostname").map(|value| clip(value, NAME_MAX));
        node.ip = sample.label("ip").map(|value| clip(value, NAME_MAX));
        Some(node)
    }
}

/// The value that a control plane's metrics have for a hash: its 32 digits read as one hexadecimal number, of which
/// fourteen decimal digits are printed. `None` for what is not hexadecimal. Zero-padded decimals of 3.9 are read as
/// hexadecimal too: version 12 is 18.
#[must_use]
pub fn hash_value(hash: ConfigHash) -> Option<f64> {
    let number = u128::from_str_radix(hash.as_str(), 16).ok()?;
    // Rounded to the nearest double, as Lua does.
    #[expect(clippy::cast_precision_loss)]
    let double = number as f64;
    number::text(double).parse().ok()
}

/// Reads one line of samples; `None` where it is none. Time stamps, which Kong never writes, are left out.
#[must_use]
pub fn sample(line: &str) -> Option<Sample<'_>> {
    let is_name = |character: char| character.is_ascii_alphanumeric() || matches!(character, '_' | ':');
    let end = line.find(|character| !is_name(character))?;
    let (name, rest) = line.split_at(end);
    if name.is_empty() {
        return None;
    }
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(inside) => labels(inside)?,
        None => (Vec::new(), rest),
    };
    let value = rest.split_ascii_whitespace().next()?;
    let value = match value {
        "+Inf" => f64::INFINITY,
        "-Inf" => f64::NEG_INFINITY,
        "NaN" => f64::NAN,
        number => number.parse().ok()?,
    };
    Some(Sample { name, labels, value })
}

/// Labels from behind the opening brace to the closing one, and what follows it.
fn labels(mut rest: &str) -> Option<(Vec<(&str, String)>, &str)> {
    let mut labels = Vec::new();
    loop {
        rest = rest.trim_start_matches([' ', ',']);
        if let Some(after) = rest.strip_prefix('}') {
            return Some((labels, after));
        }
        let (key, quoted) = rest.split_once("=\"")?;
        let (value, after) = quoted_text(quoted)?;
        labels.push((key.trim(), value));
        rest = after;
    }
}

/// A text up to its closing quote, unescaped, and what follows it.
fn quoted_text(quoted: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((index, character)) = characters.next() {
        match character {
            '"' => return Some((value, &quoted[index + 1..])),
            '\\' => match characters.next()?.1 {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
    None
}

/// A count or a number of bytes.
fn whole(value: f64) -> Option<u64> {
    // In range by the condition.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    (0.0..=9e15).contains(&value).then_some(value as u64)
}

fn seconds(value: f64) -> Option<i64> {
    // In range by the condition.
    #[expect(clippy::cast_possible_truncation)]
    (0.0..=253_402_300_799.0).contains(&value).then_some(value as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(hash: &str, expected: Option<f64>) {
        assert_eq!(hash_value(hash.parse().unwrap()), expected);
    }

    /// `kong-hybrid.md` 4.2.
    #[test]
    fn a_hash_is_a_number_of_fourteen_digits() {
        check("a9a166c59873245db8f1a747ba9a80a7", Some(2.254_775_755_427_8e38));
        check("f9a3b5ab68128f93d9e82ff8398b463e", Some(3.318_278_000_347_5e38));
        check("c6ee22cecbb5f8a7714966db3931b7b1", Some(2.644_236_158_037_2e38));
        check("00000000000000000000000000000000", Some(0.0));
        check("00000000000000000000000000000012", Some(18.0));
        check("v02_000000000000000000000000000c", None);
    }

    #[test]
    fn a_sample_is_read_with_its_labels() {
        let read = sample(r#"kong_x{a="1", b="q\"\\\n}",c=""} 1.5e+38 1395066363000"#).unwrap();
        assert_eq!((read.name, read.value), ("kong_x", 1.5e38));
        assert_eq!((read.label("a"), read.label("b"), read.label("c")), (Some("1"), Some("q\"\\\n}"), None));
        assert_eq!(sample("kong_y +Inf").unwrap().value, f64::INFINITY);
        for line in ["", "kong_x", "kong_x{", "kong_x{a=\"1\"", "kong_x{a} 1", "{a=\"1\"} 1", "kong_x one"] {
            assert_eq!(sample(line), None, "{line}");
        }
    }

    #[test]
    fn a_control_planes_nodes_are_read() {
        let text = "# HELP kong_data_plane_config_hash x\n# TYPE kong_data_plane_config_hash gauge\n\
            kong_data_plane_config_hash{node_id=\"n1\",hostname=\"vm\",ip=\"127.0.0.1\"} 18\n\
            kong_data_plane_last_seen{node_id=\"n1\",hostname=\"vm\",ip=\"127.0.0.1\"} 1795165120\n\
            kong_data_plane_version_compatible{node_id=\"n1\",ip=\"127.0.0.1\",kong_version=\"3.9.3\"} 0\n\
            kong_node_info{node_id=\"cp\",version=\"3.9.3\"} 1\nnot a line\n";
        let exposition = exposition(text);
        let node = &exposition.nodes["n1"];
        assert_eq!(
            (node.hash_value, node.last_seen_s, node.version_compatible),
            (Some(18.0), Some(1_795_165_120), Some(false))
        );
        assert_eq!((exposition.node_id.as_deref(), exposition.samples, exposition.unreadable), (Some("cp"), 4, 1));
    }

    #[test]
    fn what_a_process_uses_is_summed_over_workers_and_dictionaries() {
        let text = "kong_memory_workers_lua_vms_bytes{node_id=\"n\",pid=\"1\",kong_subsystem=\"http\"} 100\n\
            kong_memory_workers_lua_vms_bytes{node_id=\"n\",pid=\"2\",kong_subsystem=\"http\"} 150\n\
            kong_memory_lua_shared_dict_bytes{shared_dict=\"kong\"} 40\nkong_memory_lua_shared_dict_bytes{shared_dict=\"x\"} 2\n\
            kong_memory_lua_shared_dict_total_bytes{shared_dict=\"kong\"} 5000\n\
            kong_nginx_connections_total{subsystem=\"http\",state=\"active\"} 3\n\
            kong_nginx_connections_total{subsystem=\"stream\",state=\"active\"} 4\n\
            kong_nginx_connections_total{subsystem=\"http\",state=\"accepted\"} 99\n\
            kong_nginx_connections_total{subsystem=\"http\",state=\"reading\"} NaN\n";
        let samples = exposition(text).usage.samples();
        let expected = [
            ("workers", 2),
            ("memory_workers_bytes", 250),
            ("memory_worker_max_bytes", 150),
            ("memory_shared_dicts_bytes", 42),
            ("connections_active", 7),
        ];
        assert_eq!(samples, expected);
        assert_eq!(exposition("kong_node_info{node_id=\"n\"} 1").usage.samples(), []);
    }

    proptest! {
        #[test]
        fn no_text_is_too_strange(text in "[a-z{}=\",\\\\ \n0-9#+é-]{0,200}") {
            _ = exposition(&text);
        }
    }
}
