//! Recorded sessions of real Kong, replayed on a held clock: our node against what a control plane wrote, and our control
//! plane against what a node wrote. Ids, plugins, settings, keys' order and moments are those of the recording; what our
//! side writes must be what Kong's wrote.
//!
//! Of a node every byte is compared: the request but for its random key, the head and the payload of each frame. Of a
//! control plane the head of its answer, the heads of its frames but for their length, and the payloads as JSON: no order
//! of keys and no compressor's choices are part of the protocol.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use flate2::read::GzDecoder;
use futures::future::BoxFuture;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use std::io::{self, Read};
use std::sync::Mutex;
use tidemark_domain::hash::ConfigHash;
use tidemark_domain::time::Timestamp;
use tidemark_server::clock::Clock;
use tidemark_server::cluster_tls::{ControlPlaneTls, Peer, Refused, Throwaway, TlsVersions};
use tidemark_server::kong::facts::{ApplyFailure, Introduction};
use tidemark_server::kong::frame::{Head, mask};
use tidemark_server::kong::hash::{SectionHashes, TableHashes, table_hashes};
use tidemark_server::kong::session::Opcode;
use tidemark_server::simulate::wire::control_plane::{ControlPlane, Rpc, Settings};
use tidemark_server::simulate::wire::data_plane::{Conduct, DataPlane, Dials, Orders, Surroundings, Transport};
use tidemark_server::simulate::wire::node::{Flavour, KeyOrder, Node, Profile, SyncMode};
use tidemark_server::simulate::wire::pace::{Between, Pace};
use tidemark_server::simulate::wire::publishing::{Change, Export, FullSync, Publishing, Rendering, slot, version_of};
use tidemark_server::simulate::wire::websocket::Room;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout};

use crate::recorded::captures;

/// How far our moments may be from Kong's, whose timers drift by a millisecond or two in a second.
const DRIFT: Duration = Duration::from_millis(3_500);

/// One line of a recording.
#[derive(Clone, Debug)]
struct Line {
    at: Duration,
    from_node: bool,
    what: What,
}

#[derive(Clone, Debug)]
enum What {
    Request(Vec<u8>),
    Response(Vec<u8>),
    Frame(Opcode, Vec<u8>),
    EndOfStream,
    /// The recorder's own.
    Other,
}

pub struct Session {
    pub name: String,
    lines: Vec<Line>,
}

impl Session {
    fn read(path: &Path) -> Self {
        let text = std::fs::read_to_string(path).unwrap();
        let name = format!(
            "{}/{}",
            path.parent().unwrap().file_name().unwrap().display(),
            path.file_name().unwrap().display()
        );
        let lines = text.lines().map(|line| {
            let fields: Value = serde_json::from_str(line).unwrap();
            let bytes = |key: &str| BASE64_STANDARD.decode(fields[key].as_str().unwrap()).unwrap();
            let what = match (fields["event"].as_str(), fields["opcode"].as_str()) {
                (Some("http_request"), _) => What::Request(bytes("raw_base64")),
                (Some("http_response"), _) => What::Response(bytes("raw_base64")),
                (Some("eof" | "transport_error" | "error"), _) => What::EndOfStream,
                (_, Some(opcode)) => What::Frame(
                    match opcode {
                        "binary" => Opcode::Binary,
                        "ping" => Opcode::Ping,
                        "pong" => Opcode::Pong,
                        "close" => Opcode::Close,
                        other => panic!("{other}"),
                    },
                    bytes("payload_base64"),
                ),
                _ => What::Other,
            };
            let at = Duration::from_secs_f64(fields["t_ms"].as_f64().unwrap() / 1_000.0);
            Line { at, from_node: fields["dir"] == "dp→cp", what }
        });
        Self { name, lines: lines.collect() }
    }

    fn request(&self) -> Option<&[u8]> {
        self.lines.iter().find_map(|line| if let What::Request(head) = &line.what { Some(&head[..]) } else { None })
    }

    pub fn response(&self) -> Option<&[u8]> {
        self.lines.iter().find_map(|line| if let What::Response(head) = &line.what { Some(&head[..]) } else { None })
    }

    pub fn is_v2(&self) -> bool {
        self.request().is_some_and(|head| head.starts_with(b"GET /v2/outlet"))
    }

    pub fn frames(&self, from_node: bool) -> impl Iterator<Item = (Opcode, &[u8])> {
        self.lines.iter().filter(move |line| line.from_node == from_node).filter_map(|line| match &line.what {
            What::Frame(opcode, payload) => Some((*opcode, &payload[..])),
            _ => None,
        })
    }

    /// The frames of both sides in their order, and whether the node sent them.
    pub fn all_frames(&self) -> impl Iterator<Item = (bool, Opcode, &[u8])> {
        self.lines.iter().filter_map(|line| match &line.what {
            What::Frame(opcode, payload) => Some((line.from_node, *opcode, &payload[..])),
            _ => None,
        })
    }

    /// The texts of binary frames of one side.
    fn texts(&self, from_node: bool) -> Vec<String> {
        let binary = self.frames(from_node).filter(|(opcode, _)| *opcode == Opcode::Binary);
        binary.enumerate().map(|(number, (_, payload))| self.text(number, payload)).collect()
    }

    /// The text of a binary frame: the first ones of v2, and those of nodes of v1, are plain.
    fn text(&self, number: usize, payload: &[u8]) -> String {
        let mut text = String::new();
        if payload.starts_with(&[0x1f, 0x8b]) {
            GzDecoder::new(payload).read_to_string(&mut text).unwrap();
        } else if self.is_v2() && number > 0 {
            text = String::from_utf8(snap::raw::Decoder::new().decompress_vec(payload).unwrap()).unwrap();
        } else {
            text = String::from_utf8(payload.to_vec()).unwrap();
        }
        text
    }

    /// Of v1, which says it in its request.
    pub fn gateway_version(&self) -> String {
        let head = String::from_utf8(self.request().unwrap().to_vec()).unwrap();
        let (_, rest) = head.split_once("node_version=").unwrap();
        rest.split(['&', ' ']).next().unwrap().to_owned()
    }

    fn header(&self, name: &str) -> String {
        let head = String::from_utf8(self.request().unwrap().to_vec()).unwrap();
        let line = head.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")));
        line.unwrap().to_owned()
    }
}

/// All recorded connections on which a node asked for an upgrade; those without a request only show that a control plane
/// was not there.
pub fn sessions(captures: &Path) -> Vec<Session> {
    let mut files: Vec<PathBuf> = Vec::new();
    for folder in std::fs::read_dir(captures).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()) {
        let inside = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        files.extend(inside.filter(|path| path.file_name().unwrap().to_str().unwrap().contains("-conn")));
    }
    files.sort();
    files.iter().map(|file| Session::read(file)).filter(|session| session.request().is_some()).collect()
}

fn paused() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap()
}

// The node.

/// Recordings that do not tell when a node does what.
const NOT_OF_A_NODE: [(&str, &str); 2] = [
    ("kong-3.9.3-v1-frozen-peers/dp1-conn001", "the node was halted"),
    ("kong-3.9.3-v2-incremental-sync/dp2-conn004", "it asks by a timer of the connection before"),
];

/// A node dials one end of a pipe, and the test has the other.
struct Pipe {
    host: String,
    dialled: mpsc::UnboundedSender<DuplexStream>,
}

impl Dials for Pipe {
    fn dial(&self) -> BoxFuture<'_, io::Result<Box<dyn Transport>>> {
        Box::pin(async {
            let (ours, theirs) = duplex(1 << 20);
            // Whoever is not listened to any more may dial.
            let _ = self.dialled.send(theirs);
            Ok(Box::new(ours) as Box<dyn Transport>)
        })
    }

    fn host(&self) -> &str {
        &self.host
    }
}

/// The order in which this process of Kong writes keys, from all that it wrote.
fn key_order(texts: &[String]) -> KeyOrder {
    let mut order: Vec<String> = Vec::new();
    let mut learn = |object: &RawValue| {
        let mut place = 0;
        for key in keys(object.get()) {
            match order.iter().position(|known| *known == key) {
                Some(known) => place = known + 1,
                None => {
                    order.insert(place, key);
                    place += 1;
                }
            }
        }
    };
    for text in texts {
        let object: &RawValue = serde_json::from_str(text).unwrap();
        learn(object);
        let fields: BTreeMap<String, &RawValue> = serde_json::from_str(text).unwrap();
        if let Some(parameters) = fields.get("params") {
            let [parameters]: [&RawValue; 1] = serde_json::from_str(parameters.get()).unwrap();
            learn(parameters);
        }
    }
    KeyOrder::new(order)
}

/// The keys of an object in their order.
fn keys(object: &str) -> Vec<String> {
    struct Keys(Vec<String>);
    impl<'de> serde::Deserialize<'de> for Keys {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            struct Visitor;
            impl<'de> serde::de::Visitor<'de> for Visitor {
                type Value = Keys;
                fn expecting(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                    out.write_str("an object")
                }
                fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Keys, A::Error> {
                    let mut keys = Vec::new();
                    while let Some((key, _)) = map.next_entry::<String, serde::de::IgnoredAny>()? {
                        keys.push(key);
                    }
                    Ok(Keys(keys))
                }
            }
            deserializer.deserialize_map(Visitor)
        }
    }
    serde_json::from_str::<Keys>(object).unwrap().0
}

/// The recorded node, and what its cache had.
pub fn node_of(session: &Session) -> (Node, ConfigHash) {
    let texts = session.texts(true);
    let key_order = key_order(&texts);
    let raw = |text: &str| -> BTreeMap<String, Box<RawValue>> { serde_json::from_str(text).unwrap() };
    let json = |value: &RawValue| Arc::from(value.to_owned());
    let empty = || json(&RawValue::from_string("{}".to_owned()).unwrap());
    let introduction = texts.first().map(|text| raw(text));
    if session.is_v2() {
        let Some(introduction) = introduction else {
            let profile = Profile { labels: None, plugins: empty(), filters: empty(), conf: empty(), key_order };
            let mut node = Node::new("unknown", "unknown", "3.9.3", Arc::new(profile)).unwrap();
            node.sync = SyncMode::V2(Flavour::Integers);
            return (node, ConfigHash::ZEROS);
        };
        let [parameters]: [&RawValue; 1] = serde_json::from_str(introduction["params"].get()).unwrap();
        let parameters = raw(parameters.get());
        let text = |key: &str| serde_json::from_str::<String>(parameters[key].get()).unwrap();
        let profile = Profile {
            labels: None,
            plugins: empty(),
            filters: empty(),
            conf: json(&parameters["kong_conf"]),
            key_order,
        };
        let version = text("kong_version");
        let flavour = Flavour::of(&version.parse().unwrap());
        let mut node = Node::new(&text("kong_node_id"), &text("kong_hostname"), &version, Arc::new(profile)).unwrap();
        let syncs = parameters["rpc_capabilities"].get().contains("kong.sync.v2");
        node.sync = if syncs { SyncMode::V2(flavour) } else { SyncMode::V1WithRpc };
        let asked = texts.get(1).map(|text| serde_json::from_str::<Value>(text).unwrap());
        let stored = match asked.map(|asked| asked["params"][0]["default"]["version"].clone()) {
            Some(Value::Number(version)) => slot(flavour, version.as_u64().unwrap()),
            Some(Value::String(version)) => version.parse().unwrap(),
            _ => ConfigHash::ZEROS,
        };
        return (node, stored);
    }
    let introduction = introduction.unwrap();
    let profile = Profile {
        labels: introduction.get("labels").map(|labels| json(labels)),
        plugins: json(&introduction["plugins"]),
        filters: json(&introduction["filters"]),
        conf: json(&introduction["process_conf"]),
        key_order,
    };
    let target = String::from_utf8(session.request().unwrap().to_vec()).unwrap();
    let query = |key: &str| {
        let (_, rest) = target.split_once(&format!("{key}=")).unwrap();
        rest.split(['&', ' ']).next().unwrap().to_owned()
    };
    let profile = Arc::new(profile);
    let node = Node::new(&query("node_id"), &query("node_hostname"), &query("node_version"), profile).unwrap();
    let first = session.frames(true).find(|(opcode, _)| *opcode == Opcode::Ping).unwrap().1;
    (node, std::str::from_utf8(first).unwrap().parse().unwrap())
}

/// Reads one frame as it stands on the wire: its head, and the payload without its mask.
async fn read_frame(wire: &mut DuplexStream) -> io::Result<(Head, Vec<u8>)> {
    let mut bytes = Vec::new();
    let (head, _) = loop {
        bytes.push(wire.read_u8().await?);
        if let Some(read) = Head::read(&bytes).expect("a frame") {
            break read;
        }
    };
    assert_eq!(head.bytes(), bytes, "the shortest form of the head");
    let mut payload = vec![0; usize::try_from(head.length).unwrap()];
    wire.read_exact(&mut payload).await?;
    if let Some(key) = head.mask {
        mask(&mut payload, key);
    }
    Ok((head, payload))
}

async fn read_head(wire: &mut DuplexStream) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(wire.read_u8().await?);
    }
    Ok(head)
}

/// How long the recorded node took to apply the answer in this line, a little less for its way to the recorder.
fn apply_took(lines: &[Line], of: usize) -> Duration {
    let asks = |line: &&Line| match &line.what {
        What::Frame(Opcode::Binary, payload) => {
            let text = snap::raw::Decoder::new().decompress_vec(payload).unwrap_or_default();
            line.from_node && String::from_utf8(text).is_ok_and(|text| text.contains("get_delta"))
        }
        _ => false,
    };
    let next = lines[of..].iter().find(asks).map_or(Duration::ZERO, |line| line.at - lines[of].at);
    // Otherwise it asked for another reason than that it had applied something.
    if next < Duration::from_secs(5) { next.saturating_sub(Duration::from_millis(5)) } else { Duration::ZERO }
}

/// Gives how many frames were compared.
async fn replay_to_a_node(session: &Session) -> usize {
    let mut compared = 0;
    let name = &session.name;
    let (node, stored) = node_of(session);
    let is_v2 = session.is_v2();
    let cannot_apply = ["dp-cannot-apply", "rejects-config"].iter().any(|folder| name.contains(folder));
    let failure = || ApplyFailure { version: None, name: None, source: None, message: None, entities: vec![] };
    let conduct = Conduct { apply_fails: cannot_apply.then(|| Arc::new(failure())), ..Conduct::default() };
    let (dialled, mut dials) = mpsc::unbounded_channel();
    let pipe = Pipe { host: session.header("Host"), dialled };
    let surroundings = Surroundings::new(pipe, Pace::KONG, Room::of(1 << 30));
    let orders = Orders { node: Arc::new(node), conduct };
    let start = Instant::now();
    let node = DataPlane::spawn(surroundings, orders, stored, 1);
    // Where v1 runs beside it, that is another recording's; the pipe is kept open.
    let mut others = Vec::new();
    let (mut wire, head) = loop {
        let mut wire = dials.recv().await.expect("it dials");
        let head = read_head(&mut wire).await.unwrap();
        if head.starts_with(b"GET /v2") == is_v2 {
            break (wire, head);
        }
        others.push(wire);
    };
    let without_key = |head: &[u8]| {
        let text = String::from_utf8(head.to_vec()).unwrap();
        let (before, after) = text.split_once("Sec-WebSocket-Key: ").unwrap();
        let (key, after) = after.split_once("\r\n").unwrap();
        assert_eq!(BASE64_STANDARD.decode(key).unwrap().len(), 16);
        (before.to_owned(), after.to_owned())
    };
    assert_eq!(without_key(&head), without_key(session.request().unwrap()), "{name}");
    for (place, line) in session.lines.iter().enumerate() {
        let context = || format!("{name} at {:?}", line.at);
        match &line.what {
            What::Request(_) | What::Other => {}
            What::Response(head) => wire.write_all(head).await.unwrap(),
            // Whether it is due depends on the fraction of a second at which the process looked.
            What::Frame(Opcode::Ping | Opcode::Pong, _) if is_v2 && !name.contains("dp12") => {}
            What::Frame(opcode, payload) if line.from_node => {
                let (head, ours) = timeout(Duration::from_secs(60), read_frame(&mut wire))
                    .await
                    .unwrap_or_else(|_| panic!("{}: it says nothing", context()))
                    .unwrap_or_else(|error| panic!("{}: {error}", context()));
                let expected = Head::whole(*opcode, head.mask, payload.len() as u64);
                assert_eq!(head, expected, "{} {:?}: {}", context(), start.elapsed(), String::from_utf8_lossy(&ours));
                assert!(head.mask.is_some(), "{}", context());
                let texts = || (String::from_utf8_lossy(&ours), String::from_utf8_lossy(payload));
                assert!(ours == *payload, "{}: {:#?}", context(), texts());
                let off = start.elapsed().abs_diff(line.at);
                assert!(off < DRIFT, "{}: {off:?} off", context());
                compared += 1;
            }
            What::Frame(opcode, payload) => {
                sleep_until(start + line.at).await;
                if is_v2 {
                    let takes = Between::always(apply_took(&session.lines, place));
                    node.order(|orders| orders.conduct.apply_takes = takes);
                }
                let head = Head::whole(*opcode, None, payload.len() as u64).bytes();
                wire.write_all(&[&head, &payload[..]].concat()).await.unwrap();
            }
            // The node's process was stopped, or it had said goodbye.
            What::EndOfStream if line.from_node => break,
            What::EndOfStream => {
                drop(wire);
                timeout(Duration::from_secs(1), node.seen().wait_for(|seen| !seen.v1.is_open && !seen.v2.is_open))
                    .await
                    .unwrap_or_else(|_| panic!("{}: it does not notice", context()))
                    .unwrap();
                break;
            }
        }
    }
    compared
}

#[test]
fn our_node_writes_what_kongs_nodes_wrote() {
    let Some(captures) = captures() else { return };
    let (mut replayed, mut frames) = (0, 0);
    for session in sessions(&captures) {
        let exception = NOT_OF_A_NODE.iter().find(|(name, _)| session.name.starts_with(name));
        if let Some((name, why)) = exception {
            println!("left out: {name}: {why}");
            continue;
        }
        // Of these only the request was recorded, without what the node would have said of itself.
        if !session.is_v2() && session.texts(true).is_empty() {
            println!("left out: {}: the node was not heard", session.name);
            continue;
        }
        frames += paused().block_on(replay_to_a_node(&session));
        replayed += 1;
    }
    println!("{replayed} connections with {frames} frames of nodes");
    assert!(replayed >= 40 && frames >= 400);
}

// The control plane.

/// Recordings of control planes that were not well.
const NOT_OF_A_CONTROL_PLANE: [(&str, &str); 6] = [
    ("kong-3.9.3-v1-dp-3.8.1/dp3-conn002", "an error in Kong's own code ended the connection"),
    ("kong-3.9.3-v1-dp-3.8.1/dp3-conn003", "the same"),
    ("kong-3.9.3-v1-dp-3.8.1/dp3-conn004", "the same"),
    ("kong-3.9.3-v1-dp-3.8.1/dp3-conn005", "the same"),
    ("kong-3.9.3-v1-dp-3.8.1/dp3-conn006", "the same"),
    ("kong-3.9.3-v1-frozen-peers/dp1-conn002", "the control plane was halted"),
];

/// What a recorded control plane published, as far as one of its connections shows.
struct Published {
    /// What it sent by v1, in order; the first is current until [`Self::publish`].
    renderings: Vec<Arc<Rendering>>,
    current: Mutex<usize>,
    full_syncs: BTreeMap<u64, Arc<FullSync>>,
    deltas: Vec<Arc<Change>>,
    versions: watch::Sender<u64>,
}

struct Exported {
    rendering: Option<Arc<Rendering>>,
    full_sync: Option<Arc<FullSync>>,
}

impl Published {
    fn of(session: &Session) -> Self {
        let mut published = Self {
            renderings: Vec::new(),
            current: Mutex::new(0),
            full_syncs: BTreeMap::new(),
            deltas: Vec::new(),
            versions: watch::channel(0).0,
        };
        for text in session.texts(false) {
            let frame: Value = serde_json::from_str(&text).unwrap();
            if frame["type"] == "reconfigure" {
                published.renderings.push(Arc::new(rendering(&frame)));
            } else if let Some(deltas) = frame["result"]["default"]["deltas"].as_array() {
                let default = &frame["result"]["default"];
                published.learn(default["wipe"] == true || default["full_sync"] == true, deltas);
            }
        }
        published
    }

    fn learn(&mut self, is_full: bool, deltas: &[Value]) {
        let json = |value: &Value| -> Arc<RawValue> { Arc::from(serde_json::value::to_raw_value(value).unwrap()) };
        let text = |value: &Value| -> Box<str> { value.as_str().unwrap().into() };
        if is_full {
            let entity = |delta: &Value| (text(&delta["type"]), text(&delta["ws_id"]), json(&delta["entity"]));
            let newest = number(&deltas.last().unwrap()["version"]);
            self.full_syncs.insert(newest, Arc::new(FullSync::new(newest, deltas.iter().map(entity).collect())));
            return;
        }
        self.deltas.extend(deltas.iter().map(|delta| {
            Arc::new(Change {
                version: number(&delta["version"]),
                entity_type: text(&delta["type"]),
                workspace_id: text(&delta["ws_id"]),
                key: json(&delta["pk"]),
                entity: Some(&delta["entity"]).filter(|entity| !entity.is_null()).map(json),
            })
        }));
    }

    /// The next configuration of v1.
    fn publish(&self) {
        *self.current.lock().unwrap() += 1;
        self.versions.send_modify(|version| *version += 1);
    }
}

impl Publishing for Published {
    fn export(&self, _at: Timestamp) -> Arc<dyn Export> {
        Arc::new(Exported {
            rendering: self.renderings.get(*self.current.lock().unwrap()).cloned(),
            full_sync: self.full_syncs.get(&self.versions.borrow()).cloned(),
        })
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.versions.subscribe()
    }

    fn changes_since(&self, version: u64) -> Option<Vec<Arc<Change>>> {
        let newest = *self.versions.borrow();
        let within = |change: &&Arc<Change>| change.version > version && change.version <= newest;
        Some(self.deltas.iter().filter(within).cloned().collect())
    }
}

impl Export for Exported {
    fn rendering(&self, _to: &Introduction) -> Arc<Rendering> {
        // Where nothing was sent, a plugin is configured that no node here has.
        let withheld = || {
            let table = serde_json::json!({"plugins": [{"id": "1", "name": "http-log"}]});
            Arc::new(Rendering::of_table(table.as_object().unwrap(), "3.9.3", Timestamp::from_ms(0)))
        };
        self.rendering.clone().unwrap_or_else(withheld)
    }

    fn full_sync(&self, _to: &Introduction) -> Arc<FullSync> {
        self.full_sync.clone().expect("a full sync was recorded at this version")
    }
}

/// A version as a number or a text.
fn number(version: &Value) -> u64 {
    match version {
        Value::Number(version) => version.as_u64().unwrap(),
        Value::String(version) => version_of(Flavour::Tokens, version.parse().unwrap()),
        other => panic!("{other}"),
    }
}

/// The recorded configuration, written anew from its table. Its hashes are computed, but where it was trimmed.
fn rendering(frame: &Value) -> Rendering {
    let table: &Map<String, Value> = frame["config_table"].as_object().unwrap();
    let at = Timestamp::from_ms((frame["timestamp"].as_f64().unwrap() * 1_000.0).round() as i64);
    let computed = table_hashes(table);
    let stated = |key: &str| -> ConfigHash { frame["hashes"][key].as_str().unwrap().parse().unwrap() };
    if stated("config") == computed.config {
        return Rendering::of_table(table, "3.9.3", at);
    }
    let sections = SectionHashes {
        routes: stated("routes"),
        services: stated("services"),
        plugins: stated("plugins"),
        upstreams: stated("upstreams"),
        targets: stated("targets"),
    };
    let whole = TableHashes { config: stated("config"), sections, rest: ConfigHash::ZEROS };
    Rendering::trimmed(table, &whole, "3.9.3", at)
}

/// The lines in the order in which they took effect: a call counts when it was answered, as what the control plane said in
/// between it said before.
fn in_order_of_effect(session: &Session) -> Vec<Line> {
    let mut lines = session.lines.clone();
    if session.is_v2() {
        let id = |line: &Line, key: &str| -> Option<u64> {
            let What::Frame(Opcode::Binary, payload) = &line.what else { return None };
            let text = snap::raw::Decoder::new().decompress_vec(payload).ok()?;
            let message: Value = serde_json::from_slice(&text).ok()?;
            message.get(key)?;
            message["id"].as_u64()
        };
        let answers: Vec<_> = lines
            .iter()
            .filter(|line| !line.from_node)
            .filter_map(|line| Some((id(line, "result")?, line.at)))
            .collect();
        for line in lines.iter_mut().filter(|line| line.from_node) {
            if let Some(asked) = id(line, "params")
                && let Some((_, at)) = answers.iter().find(|(answered, _)| *answered == asked)
            {
                line.at = line.at.max(*at);
            }
        }
        lines.sort_by_key(|line| (line.at, !line.from_node));
    }
    lines
}

/// Gives how many frames were compared.
async fn replay_to_a_control_plane(session: &Session) -> usize {
    let name = &session.name;
    let is_v2 = session.is_v2();
    let published = Arc::new(Published::of(session));
    let (version, flavour) = match name {
        name if name.contains("3.10.0-dev") => ("3.10.0", Flavour::Tokens),
        name if name.contains("kong-3.4.2") => ("3.4.2", Flavour::Integers),
        _ => ("3.9.3", Flavour::Integers),
    };
    if is_v2 {
        // What was the newest when the node connected: what the first answer brought, or left it at.
        let asked = session.texts(true).get(1).map(|text| serde_json::from_str::<Value>(text).unwrap());
        let asked = asked.map_or(0, |asked| number(&asked["params"][0]["default"]["version"]));
        let first = published.full_syncs.keys().next().copied();
        published.versions.send_replace(if asked > 0 { asked } else { first.unwrap_or(0) });
    }
    let certificate = Throwaway::cluster(Clock::machine().now()).unwrap().loaded().unwrap();
    let tls = ControlPlaneTls::shared(&certificate, TlsVersions::Both).unwrap();
    let answered_at = session.response().map(|head| {
        let head = String::from_utf8(head.to_vec()).unwrap();
        let date = head.lines().find_map(|line| line.strip_prefix("Date: ")).unwrap().to_owned();
        let date = chrono::DateTime::parse_from_rfc2822(&date).unwrap();
        Timestamp::from_ms(date.timestamp_millis())
    });
    let settings = Settings {
        clock: Clock::by_hand(answered_at.unwrap_or(Timestamp::from_ms(0))),
        rpc: (!name.contains("refused-404")).then_some(Rpc { flavour, syncs: true }),
        ..Settings::new(tls, version)
    };
    let control_plane = ControlPlane::new(settings, Arc::clone(&published) as _);
    let refused = name.contains("wrong-certificate").then_some(Refused::NotTheClusterCertificate);
    let peer = Peer { tls_version: None, server_name: None, certificate: None, refused };
    let (mut wire, theirs) = duplex(1 << 20);
    let start = Instant::now();
    let pushing = tokio::spawn({
        let control_plane = control_plane.clone();
        async move { control_plane.push().await }
    });
    let serving = tokio::spawn(async move { control_plane.serve(theirs, peer, "127.0.0.1".parse().unwrap()).await });
    let (mut compared, mut configurations, mut notified) = (0, 0, 0);
    for line in in_order_of_effect(session) {
        let context = || format!("{name} at {:?}", line.at);
        sleep_until(start + line.at).await;
        match &line.what {
            What::Request(head) => wire.write_all(head).await.unwrap(),
            What::Response(head) => {
                let ours = read_head(&mut wire).await.unwrap();
                let (ours, theirs) = (String::from_utf8_lossy(&ours), String::from_utf8_lossy(head));
                assert_eq!(ours, theirs, "{}", context());
            }
            // Which side asks first after the same silence is a matter of milliseconds.
            What::Frame(Opcode::Ping | Opcode::Pong, _) if is_v2 && line.at > Duration::from_secs(60) => {}
            What::Frame(opcode, payload) if line.from_node => {
                let key = [1, 2, 3, 4];
                let mut masked = payload.clone();
                mask(&mut masked, key);
                let head = Head::whole(*opcode, Some(key), payload.len() as u64).bytes();
                // A control plane that has said goodbye reads no more.
                let _ = wire.write_all(&[head, masked].concat()).await;
            }
            What::Frame(opcode, payload) => {
                let text = (*opcode == Opcode::Binary).then(|| session.text(compared, payload));
                let expected: Option<Value> = text.map(|text| serde_json::from_str(&text).unwrap());
                if let Some(expected) = &expected {
                    if expected["type"] == "reconfigure" {
                        if configurations > 0 {
                            published.publish();
                        }
                        configurations += 1;
                    }
                    if expected["method"] == "kong.sync.v2.notify_new_version" {
                        // 3.10 calls twice for one write.
                        if flavour == Flavour::Integers || notified % 2 == 0 {
                            let version = number(&expected["params"][0]["default"]["new_version"]);
                            published.versions.send_replace(version);
                        }
                        notified += 1;
                    }
                }
                let (head, ours) = timeout(Duration::from_secs(60), read_frame(&mut wire))
                    .await
                    .unwrap_or_else(|_| panic!("{}: it says nothing", context()))
                    .unwrap_or_else(|error| panic!("{}: {error}", context()));
                assert_eq!((head.opcode, head.is_final, head.mask), (*opcode, true, None), "{}", context());
                match expected {
                    Some(expected) => {
                        let ours: Value = serde_json::from_str(&session.text(compared, &ours)).unwrap();
                        assert_eq!(ours, expected, "{}", context());
                    }
                    None => assert_eq!(ours, *payload, "{}", context()),
                }
                let off = start.elapsed().abs_diff(line.at);
                assert!(off < DRIFT, "{}: {off:?} off", context());
                compared += 1;
            }
            // The node is gone, or the control plane was stopped.
            What::EndOfStream => {
                let refuses = session.response().is_none();
                if refuses {
                    assert_eq!(wire.read(&mut [0]).await.unwrap(), 0, "{}: not a byte", context());
                }
                break;
            }
            What::Other => {}
        }
    }
    drop(wire);
    timeout(Duration::from_secs(60), serving).await.unwrap_or_else(|_| panic!("{name}: it does not notice")).unwrap();
    pushing.abort();
    compared
}

#[test]
fn our_control_plane_writes_what_kongs_control_planes_wrote() {
    let Some(captures) = captures() else { return };
    let (mut replayed, mut frames) = (0, 0);
    for session in sessions(&captures) {
        let exception = NOT_OF_A_CONTROL_PLANE.iter().find(|(name, _)| session.name.starts_with(name));
        if let Some((name, why)) = exception {
            println!("left out: {name}: {why}");
            continue;
        }
        frames += paused().block_on(replay_to_a_control_plane(&session));
        replayed += 1;
    }
    println!("{replayed} connections with {frames} frames of control planes");
    assert!(replayed >= 45 && frames >= 400);
}
