//! Conformance with recordings of real Kong: every line of every recording is understood, and what follows from it
//! equals figures that were made without these decoders (`captures/figures.txt`, by a script of another language with
//! a snappy, hash and canonical form of its own).
//!
//! The recordings lie beside the repository; where they do not, these tests say so in one line.

use super::digest::BehaviourDigest;
use super::facts::{Ending, Fact, Observed, Party, Place, Protocol, Readiness, Row};
use super::hash::{SectionHashes, config_hash, table_hashes};
use super::metrics::hash_value;
use super::outline::{Difference, KindChange};
use super::recognize::{self, Damage, Line};
use super::recording::Recording;
use super::shape::Shape;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use tidemark_domain::hash::ConfigHash;

const FIGURES: &str = include_str!("captures/figures.txt");

/// Where the recordings are, if they are.
fn captures() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/captures");
    if path.is_dir() {
        return Some(path);
    }
    println!("left out: no recordings of Kong at {}", path.display());
    None
}

/// The files below a folder whose name has the ending, in order, with their names relative to it.
fn files(folder: &Path, ending: &str) -> Vec<(String, PathBuf)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.to_str().unwrap().ends_with(ending) {
                let name = path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
                found.push((name, path));
            }
        }
    }
    found.sort();
    found
}

fn lines(path: &Path) -> Vec<Line> {
    let text = fs::read_to_string(path).unwrap();
    let line = |text: &str| recognize::line(text).unwrap_or_else(|damage| panic!("{}: {damage}", path.display()));
    text.lines().map(line).collect()
}

/// The facts of a recorded connection, each with the line that it is from.
fn transcript(name: &str, lines: Vec<Line>) -> Vec<(usize, Observed)> {
    let mut recording = Recording::new(name);
    let count = lines.len();
    let mut facts = Vec::new();
    for (index, line) in lines.into_iter().enumerate() {
        let Line::Transcript(line) = line else { panic!("{name}: a line of another kind") };
        facts.extend(recording.take(line).unwrap().into_iter().map(|fact| (index, fact)));
    }
    facts.extend(recording.finish().into_iter().map(|fact| (count, fact)));
    facts
}

#[test]
fn recordings_give_the_figures_that_were_made_without_these_decoders() {
    let Some(captures) = captures() else { return };
    let mut said = String::new();
    let all = files(&captures, ".jsonl");
    let mut scenarios: BTreeMap<&str, Vec<(&str, Vec<Line>)>> = BTreeMap::new();
    for (name, path) in &all {
        if let Some((folder, file)) = name.split_once('/').filter(|(_, file)| file.contains("-conn")) {
            let file = file.strip_suffix(".jsonl").unwrap();
            scenarios.entry(folder).or_default().push((file, lines(path)));
        }
    }
    for (folder, files) in scenarios {
        scenario(folder, files, &mut said);
    }
    for (name, path) in all.iter().filter(|(name, _)| !name.contains("-conn")) {
        others(name, lines(path), &mut said);
    }
    let differs = said.lines().zip(FIGURES.lines()).find(|(said, figures)| said != figures);
    assert_eq!(differs, None, "what is said, and the figure");
    assert_eq!(said.lines().count(), FIGURES.lines().count());
}

/// Versions of the control plane, then each connection.
fn scenario(folder: &str, files: Vec<(&str, Vec<Line>)>, out: &mut String) {
    writeln!(out, "== {folder}").unwrap();
    let mut connections = Vec::new();
    for (name, lines) in files {
        connections.push((name, transcript(name, lines)));
    }
    let mut words: Vec<(i64, &str, usize, Protocol, ConfigHash)> = Vec::new();
    for (name, facts) in &connections {
        for (line, Observed { at_ms, fact, .. }) in facts {
            match fact {
                Fact::Offered(offer) => words.push((*at_ms, name, *line, Protocol::V1, offer.stated.unwrap())),
                Fact::Notified { version } => words.push((*at_ms, name, *line, Protocol::V2, *version)),
                Fact::Answered(answer) if answer.versions.is_empty() => {
                    words.push((*at_ms, name, *line, Protocol::V2, answer.asked.unwrap()));
                }
                Fact::Answered(answer) => {
                    let each = answer.versions.iter().map(|version| (*at_ms, *name, *line, Protocol::V2, *version));
                    words.extend(each);
                }
                _ => {}
            }
        }
    }
    words.sort_by_key(|(at_ms, name, line, ..)| (*at_ms, *name, *line));
    let mut heads = BTreeMap::new();
    let mut whole = Vec::new();
    for (at_ms, _, _, protocol, version) in words {
        let head = heads.get(&protocol);
        // An answer may name versions that were notified before.
        let is_older = protocol == Protocol::V2 && head.is_some_and(|head| version < *head);
        if head != Some(&version) && !is_older {
            heads.insert(protocol, version);
            writeln!(out, "version {at_ms} {} {version}", word(protocol)).unwrap();
            whole.extend((protocol == Protocol::V1).then_some(version));
        }
    }
    let facts = connections.iter().flat_map(|(_, facts)| facts);
    let offers: Vec<_> =
        facts.filter_map(|(_, seen)| if let Fact::Offered(offer) = &seen.fact { Some(offer) } else { None }).collect();
    let outline = |hash| &offers.iter().find(|offer| offer.stated == Some(hash)).unwrap().outline;
    for pair in whole.windows(2) {
        let [before, after] = [pair[0], pair[1]].map(|hash| hash.to_string()[..8].to_owned());
        writeln!(out, "change {before} {after}: {}", change(outline(pair[0]).difference(outline(pair[1])))).unwrap();
    }
    let mut classes = Classes::default();
    for (name, facts) in &connections {
        connection(name, facts, &mut classes, out);
    }
}

fn change(difference: Difference) -> String {
    match difference {
        Difference::Equal => "equal".to_owned(),
        Difference::OnlyTemplateFields { paths } => format!("template {}", paths.join(" ")),
        Difference::Changed { kinds } => {
            let kind = |kind: KindChange| format!("{} +{} -{} ~{}", kind.kind, kind.added, kind.removed, kind.changed);
            kinds.into_iter().map(kind).collect::<Vec<_>>().join(", ")
        }
    }
}

fn word(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::V1 => "v1",
        Protocol::V2 => "v2",
    }
}

/// Behaviour digests of one scenario, named A, B, C in order of appearance, by cohort.
#[derive(Default)]
struct Classes(BTreeMap<(Protocol, String, BehaviourDigest), char>);

impl Classes {
    fn of(&mut self, protocol: Protocol, gateway_version: &str, digest: BehaviourDigest) -> char {
        let next = char::from(b'A' + u8::try_from(self.0.len()).unwrap());
        *self.0.entry((protocol, gateway_version.to_owned(), digest)).or_insert(next)
    }
}

/// Who is on the connection, and the rows of what happened.
#[derive(Default)]
struct Connection {
    protocol: Option<Protocol>,
    node_id: String,
    hostname: String,
    gateway_version: String,
    labels: BTreeMap<String, String>,
    plugins: usize,
    capabilities: Vec<String>,
    server_name: String,
    certificate: String,
    cluster_id: String,
    rows: Vec<String>,
    running: Option<(usize, i64, ConfigHash, i64, u32)>,
    offered: BTreeMap<ConfigHash, i64>,
    alive: BTreeMap<&'static str, u32>,
}

fn connection(name: &str, facts: &[(usize, Observed)], classes: &mut Classes, out: &mut String) {
    let mut connection = Connection::default();
    for (_, Observed { at_ms, place, node, fact }) in facts {
        assert_eq!(place, &Place::Connection(name.into()));
        connection.take(*at_ms, fact, classes);
        assert_eq!(node.as_deref().unwrap_or_default(), connection.node_id, "{name}");
    }
    connection.end_interval();
    let or_none = |text: &str| {
        if text.is_empty() { "-".to_owned() } else { text.to_owned() }
    };
    let who = [
        connection.protocol.map_or("-", word).to_owned(),
        or_none(&connection.node_id),
        or_none(&connection.hostname),
        or_none(&connection.gateway_version),
        format!("labels={}", or_none(&pairs(&connection.labels))),
        format!("plugins={}", connection.plugins),
        format!("capabilities={}", or_none(&connection.capabilities.join(","))),
        format!("sni={}", connection.server_name),
        format!("certificate={}", &connection.certificate[..8]),
        format!("cluster={}", or_none(&connection.cluster_id)),
    ];
    writeln!(out, "-- {name} {}", who.join(" ")).unwrap();
    for row in connection.rows {
        writeln!(out, "{row}").unwrap();
    }
    for (party, count) in connection.alive {
        writeln!(out, "alive {party} x{count}").unwrap();
    }
}

fn pairs(labels: &BTreeMap<String, String>) -> String {
    labels.iter().map(|(key, value)| format!("{key}:{value}")).collect::<Vec<_>>().join(",")
}

fn shape(shape: &Shape) -> String {
    let entities: u64 = shape.entities.values().sum();
    format!("entities={entities} hosts={} without-sni={}", shape.hosts_served, shape.certificates_without_snis)
}

fn party(party: Party) -> &'static str {
    match party {
        Party::Node => "node",
        Party::ControlPlane => "control plane",
        Party::Observer => "observer",
    }
}

impl Connection {
    fn take(&mut self, at_ms: i64, fact: &Fact, classes: &mut Classes) {
        match fact {
            Fact::Accepted(accepted) => {
                self.server_name = accepted.server_name.clone().unwrap();
                self.certificate = accepted.certificate_sha256.clone().unwrap();
            }
            Fact::Dialled(dialled) => {
                self.protocol = Some(dialled.protocol);
                self.node_id = dialled.node_id.clone().unwrap_or_default();
                self.hostname = dialled.hostname.clone().unwrap_or_default();
                self.gateway_version = dialled.gateway_version.clone().unwrap_or_default();
            }
            Fact::Introduced(introduction) => {
                self.node_id = introduction.node_id.clone().unwrap();
                self.hostname = introduction.hostname.clone().unwrap();
                self.gateway_version = introduction.gateway_version.clone().unwrap();
                self.labels = introduction.labels.clone();
                self.plugins = introduction.plugins.len();
                self.capabilities = introduction.capabilities.clone();
                assert_eq!(introduction.settings["role"], "data_plane");
                assert!(introduction.plugins.iter().all(|plugin| plugin.version.is_some()));
            }
            Fact::Upgraded => {}
            Fact::Welcomed { capabilities } => assert_eq!(capabilities, &["kong.sync.v2"]),
            Fact::Offered(offer) => {
                let stated = offer.stated.unwrap();
                assert_eq!(offer.reported_as(), stated);
                assert!(offer.stated_sections.is_some());
                self.cluster_id = offer.cluster_id.clone().unwrap();
                if self.hash() != Some(stated) {
                    self.offered.entry(stated).or_insert(at_ms);
                }
                self.rows.push(format!(
                    "{at_ms} offered {stated} {} {}/{} bytes, exported {} ms, {}{}",
                    classes.of(Protocol::V1, &self.gateway_version, offer.digest),
                    offer.frame_bytes,
                    offer.json_bytes,
                    offer.exported_at_ms.unwrap() - at_ms,
                    shape(&offer.shape),
                    if offer.is_trimmed().unwrap() { " trimmed" } else { "" },
                ));
            }
            Fact::Notified { version } => self.rows.push(format!("{at_ms} notified {version}")),
            Fact::Heartbeat { hash } => self.runs(at_ms, *hash),
            Fact::Asked { version, .. } => self.runs(at_ms, *version),
            Fact::Answered(answer) => {
                let target = answer.reported_as().unwrap();
                if let Some(cluster_id) = &answer.cluster_id {
                    self.cluster_id.clone_from(cluster_id);
                }
                if !answer.is_empty() && self.hash() != Some(target) {
                    self.offered.entry(target).or_insert(at_ms);
                }
                let summary = answer.digest.zip(answer.shape.as_ref()).map_or_else(String::new, |(digest, of)| {
                    format!(" {}, {}", classes.of(Protocol::V2, &self.gateway_version, digest), shape(of))
                });
                self.rows.push(format!(
                    "{at_ms} answered {} +{} -{} to {target}, {}/{} bytes{summary}",
                    if answer.full { "full" } else { "delta" },
                    answer.upserts,
                    answer.deletes,
                    answer.frame_bytes,
                    answer.json_bytes,
                ));
            }
            Fact::Alive { party } => *self.alive.entry(self::party(*party)).or_default() += 1,
            Fact::Closed { by, how } => {
                let how = match how {
                    Ending::CloseFrame { code: None } => "close frame",
                    Ending::CloseFrame { code: Some(_) } => "close frame with a code",
                    Ending::EndOfStream => "end of stream",
                    Ending::Failure { .. } => "failure",
                };
                self.rows.push(format!("{at_ms} ends: {}, {how}", party(*by)));
            }
            Fact::HandshakeRefused { status } => {
                let status = status.map_or_else(|| "no answer".to_owned(), |status| status.to_string());
                self.rows.push(format!("{at_ms} refused: {status}"));
            }
            Fact::ControlPlaneUnreachable { error } => {
                assert!(error.contains("Errno 111"));
                self.rows.push(format!("{at_ms} control plane unreachable"));
            }
            Fact::RecordingEnded => self.rows.push(format!("{at_ms} recording ends")),
            other => panic!("not expected in the recordings: {other:?}"),
        }
    }

    fn hash(&self) -> Option<ConfigHash> {
        self.running.map(|(_, _, hash, _, _)| hash)
    }

    fn runs(&mut self, at_ms: i64, hash: ConfigHash) {
        let offered = self.offered.remove(&hash);
        if let Some((_, _, _, until, count)) = self.running.as_mut().filter(|(_, _, running, _, _)| *running == hash) {
            *until = at_ms;
            *count += 1;
            return;
        }
        self.end_interval();
        self.running = Some((self.rows.len(), at_ms, hash, at_ms, 1));
        // Its place is where it began; written when its end is known.
        self.rows.push(String::new());
        if let Some(offered) = offered {
            self.rows.push(format!("{at_ms} applied {hash} after {} ms", at_ms - offered));
        }
    }

    fn end_interval(&mut self) {
        if let Some((row, from, hash, until, count)) = self.running {
            self.rows[row] = format!("{from} runs {hash} until {until} x{count}");
        }
    }
}

/// What is no recorded connection: requests to Kong, marks, access logs.
fn others(name: &str, lines: Vec<Line>, out: &mut String) {
    writeln!(out, "== {name}").unwrap();
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let mut entries = 0;
    let mut seen: BTreeMap<String, Row> = BTreeMap::new();
    let mut hash_values: BTreeSet<String> = BTreeSet::new();
    for line in lines {
        match line {
            Line::Transcript(_) => panic!("{name}: a line of a connection"),
            Line::Mark { .. } => *counts.entry("marks").or_default() += 1,
            Line::LogPost { body, .. } => {
                *counts.entry("posts").or_default() += 1;
                entries += match serde_json::from_slice(&body).unwrap() {
                    Value::Array(entries) => entries.len(),
                    _ => 1,
                };
            }
            Line::Exchange(exchange) => {
                let facts = exchange.facts();
                if facts.is_empty() {
                    *counts.entry("proxied").or_default() += 1;
                }
                for Observed { at_ms, fact, .. } in facts {
                    let counted = match fact {
                        Fact::Row(row) => {
                            self::row(at_ms, *row, &mut seen, out);
                            continue;
                        }
                        Fact::Metrics(exposition) => {
                            assert_eq!(exposition.unreadable, 0, "{name}");
                            assert!(exposition.node_id.is_some(), "{name}");
                            hash_values.extend(exposition.nodes.values().map(|node| format!("{:?}", node.hash_value)));
                            "metrics"
                        }
                        Fact::TableRead { next: None, date_ms: Some(_), .. } => "tables",
                        Fact::Status(status) => {
                            assert!(status.hash.is_some() != status.database_reachable.is_some());
                            "status"
                        }
                        Fact::Ready(Readiness::Ready) => "ready",
                        Fact::Ready(Readiness::EmptyConfiguration) => "not ready",
                        Fact::Written { .. } => "written",
                        Fact::Unreachable { .. } => "unreachable",
                        other => panic!("{name}: not expected in the recordings: {other:?}"),
                    };
                    *counts.entry(counted).or_default() += 1;
                }
            }
        }
    }
    let mut counts: Vec<_> = counts.into_iter().map(|(what, count)| format!("{what} x{count}")).collect();
    if entries > 0 {
        counts.push(format!("entries x{entries}"));
    }
    writeln!(out, "{}", counts.join(", ")).unwrap();
}

/// Rows of the full table, where they changed.
fn row(at_ms: i64, row: Row, seen: &mut BTreeMap<String, Row>, out: &mut String) {
    if row.sync_status.is_none() {
        // The short form says the same as the full one just before.
        let full = &seen[&row.node_id];
        assert_eq!((row.hash, row.last_seen_s, &row.ip), (full.hash, full.last_seen_s, &full.ip));
        return;
    }
    let key = |row: &Row| (row.hash, row.last_seen_s, row.sync_status.clone());
    if seen.get(&row.node_id).map(key) != Some(key(&row)) {
        let or_none = |text: String| if text.is_empty() { "-".to_owned() } else { text };
        let status = match row.sync_status.as_ref().unwrap() {
            super::facts::SyncStatus::Normal => "normal",
            super::facts::SyncStatus::PluginSetIncompatible => "plugin_set_incompatible",
            super::facts::SyncStatus::KongVersionIncompatible => "kong_version_incompatible",
            other => panic!("not expected in the recordings: {other:?}"),
        };
        let text = [
            at_ms.to_string(),
            "row".to_owned(),
            row.node_id.clone(),
            row.real_hostname().unwrap_or("-").to_owned(),
            row.gateway_version.clone().unwrap(),
            row.hash.unwrap().to_string(),
            status.to_owned(),
            format!("seen={}", row.last_seen_s.unwrap()),
            format!("reported={}", row.reported_at_ms(at_ms).unwrap()),
            format!("labels={}", or_none(pairs(&row.labels))),
            format!("expires={}", row.certificate_expires_s.map_or("-".to_owned(), |seconds| seconds.to_string())),
            format!("capabilities={}", or_none(row.capabilities.join(","))),
        ];
        writeln!(out, "{}", text.join(" ")).unwrap();
    }
    seen.insert(row.node_id.clone(), row);
}

/// The control plane's metrics show the hashes of its table as numbers, and only those.
#[test]
fn metrics_show_the_hashes_of_the_rows_as_numbers() {
    let Some(captures) = captures() else { return };
    let mut compared = 0;
    for (name, path) in files(&captures, ".jsonl").iter().filter(|(name, _)| !name.contains("-conn")) {
        let mut table: BTreeMap<String, ConfigHash> = BTreeMap::new();
        for line in lines(path) {
            let Line::Exchange(exchange) = line else { continue };
            for Observed { fact, .. } in exchange.facts() {
                match fact {
                    Fact::Row(row) => _ = table.insert(row.node_id, row.hash.unwrap()),
                    Fact::Metrics(exposition) => {
                        for (node, samples) in exposition.nodes {
                            // A node may have reported between the two requests; a hash that was never seen is none.
                            let hashes = [table.get(&node).copied().and_then(hash_value), samples.hash_value];
                            if let [Some(row), Some(sample)] = hashes {
                                assert_eq!(row, sample, "{name}: {node}");
                                compared += 1;
                            } else {
                                assert_eq!(hashes, [None, None], "{name}: {node}");
                            }
                        }
                    }
                    _ => {}
                }
            }
        }
    }
    assert!(compared > 30, "{compared}");
}

#[test]
fn a_text_of_metrics_is_recognized_and_read_to_the_last_line() {
    let Some(captures) = captures() else { return };
    let texts = files(&captures, ".txt");
    assert_eq!(texts.len(), 43);
    for (name, path) in texts {
        let text = fs::read_to_string(path).unwrap();
        assert!(recognize::is_metrics(&text), "{name}");
        let exposition = super::metrics::exposition(&text);
        assert_eq!(exposition.unreadable, 0, "{name}");
        assert_eq!(name.contains("metrics-dp-"), exposition.certificate_expires_s.is_some(), "{name}");
        assert_eq!(name.contains("metrics-cp-"), !exposition.nodes.is_empty(), "{name}");
    }
    assert!(!recognize::is_metrics("{\"t_ms\": 0}"));
}

/// What Kong's own code gave for inputs made for the purpose and for frames that were recorded.
#[test]
fn hashes_are_those_of_kong_itself() {
    let Some(captures) = captures() else { return };
    let mut count = 0;
    for file in ["hash-vectors.json", "hash-vectors-large.json"] {
        let vectors: Value = serde_json::from_str(&fs::read_to_string(captures.join(file)).unwrap()).unwrap();
        let sets = ["vectors", "vectors_from_captured_reconfigure_frames"];
        for vector in sets.iter().filter_map(|set| vectors.get(set)?.as_array()).flatten() {
            let name = vector["name"].as_str().unwrap();
            let table: Value = serde_json::from_str(&input(vector)).unwrap();
            let hashes = table_hashes(table.as_object().unwrap());
            assert_eq!(hashes.config, config_hash(&table));
            check_hashes(name, &vector["expected"], hashes.config, hashes.sections);
            assert_eq!(vector["expected"]["rest"], hashes.rest.as_str(), "{name}");
            if let Some(announced) = vector.get("announced_by_control_plane") {
                let equal = announced["config"] == hashes.config.as_str();
                assert_eq!(vector["recomputed_equals_announced"], equal, "{name}");
            }
            count += 1;
        }
    }
    assert_eq!(count, 36 + 22 + 1);
}

fn check_hashes(name: &str, expected: &Value, config: ConfigHash, sections: SectionHashes) {
    let SectionHashes { routes, services, plugins, upstreams, targets } = sections;
    let said = [
        ("config", config),
        ("routes", routes),
        ("services", services),
        ("plugins", plugins),
        ("upstreams", upstreams),
        ("targets", targets),
    ];
    for (key, hash) in said {
        assert_eq!(expected[key], hash.as_str(), "{name}: {key}");
    }
}

/// Inputs that hold a private key are compressed.
fn input(vector: &Value) -> String {
    use base64::Engine;
    use std::io::Read;
    if let Some(text) = vector.get("config_table_json").and_then(Value::as_str) {
        return text.to_owned();
    }
    let packed = vector["config_table_json_gzip_base64"].as_str().unwrap();
    let packed = base64::engine::general_purpose::STANDARD.decode(packed).unwrap();
    let mut text = String::new();
    flate2::read::GzDecoder::new(packed.as_slice()).read_to_string(&mut text).unwrap();
    text
}

/// A file that lost its first line has no clock; the lines are whole all the same.
#[test]
fn a_recording_without_its_beginning_has_no_clock() {
    let Some(captures) = captures() else { return };
    let path = captures.join("kong-3.9.3-v1/dp1-conn004.jsonl");
    let mut recording = Recording::new("x");
    for line in lines(&path).into_iter().skip(1) {
        let Line::Transcript(line) = line else { panic!("a transcript") };
        assert_eq!(recording.take(line), Err(Damage::NoClock));
    }
    assert_eq!(recording.finish(), []);
}
