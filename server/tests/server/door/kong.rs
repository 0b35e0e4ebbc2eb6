//! Kong as it looks from outside: the bytes of a connection that a tap or a shadow sees, and what an Admin or Status API
//! answers. The product's own decoders make facts of them.

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Write;
use tidemark_domain::fact::{Fact, Said, Source, What};
use tidemark_domain::time::Timestamp;
use tidemark_server::kong::assemble::Assembler;
use tidemark_server::kong::facts::Party;
use tidemark_server::kong::recognize::{Line, line};
use tidemark_server::kong::session::{Event, Frame, Opcode, Session};

/// One control plane of Kong, and somebody who watches it.
pub struct Kong {
    assembler: Assembler,
    connections: BTreeMap<String, Session>,
    dials: u32,
}

impl Kong {
    pub fn new(control_plane: &str) -> Self {
        let assembler = Assembler::new(control_plane.parse().expect("a name"));
        Self { assembler, connections: BTreeMap::new(), dials: 0 }
    }

    fn take(&mut self, at: Timestamp, node: &str, event: Event) -> Vec<Fact> {
        let session = self.connections.get_mut(node).expect("the node is connected");
        let observed = session.take(at.ms(), event);
        observed.iter().flat_map(|observed| self.assembler.take(observed)).collect()
    }

    /// A node connects by protocol v1 and says who it is.
    pub fn dials(&mut self, at: Timestamp, node: &str, gateway: &str) -> Vec<Fact> {
        self.dials += 1;
        self.connections.insert(node.to_owned(), Session::new(&format!("connection-{}", self.dials)));
        let query = format!("node_id={node}&node_hostname=host-of-{node}&node_version={gateway}");
        let request = format!("GET /v1/outlet?{query} HTTP/1.1\r\nUpgrade: websocket\r\n\r\n");
        let mut facts = self.take(at, node, Event::Request(request.into_bytes()));
        facts.extend(self.take(at, node, Event::Response(b"HTTP/1.1 101 Switching Protocols\r\n\r\n".to_vec())));
        let info = json!({"type": "basic_info", "plugins": [{"name": "key-auth", "version": "3.9.1"}], "labels": {}});
        facts.extend(self.take(at, node, frame(Party::Node, Opcode::Binary, info.to_string().into_bytes())));
        facts
    }

    /// The control plane sends a whole configuration to a node.
    pub fn sends(&mut self, at: Timestamp, node: &str, table: &Value, hash: &str) -> Vec<Fact> {
        let text = json!({"type": "reconfigure", "config_table": table, "config_hash": hash}).to_string();
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(text.as_bytes()).expect("memory takes all");
        let payload = gzip.finish().expect("memory takes all");
        self.take(at, node, frame(Party::ControlPlane, Opcode::Binary, payload))
    }

    /// A node repeats what it runs.
    pub fn pings(&mut self, at: Timestamp, node: &str, hash: &str) -> Vec<Fact> {
        self.take(at, node, frame(Party::Node, Opcode::Ping, hash.as_bytes().to_vec()))
    }

    /// A connection ends as it does when the process of the control plane ends.
    pub fn closes(&mut self, at: Timestamp, node: &str) -> Vec<Fact> {
        let facts = self.take(at, node, Event::EndOfStream(Party::ControlPlane));
        self.connections.remove(node);
        facts
    }

    /// The control plane's word to a shadow: a node of ours that connects like any other, and counts as none.
    pub fn sends_to_shadow(&mut self, at: Timestamp, gateway: &str, table: &Value, hash: &str) -> Vec<Fact> {
        let shadow = format!("shadow-{gateway}");
        if !self.connections.contains_key(&shadow) {
            self.dials(at, &shadow, gateway);
        }
        let mut facts = self.sends(at, &shadow, table, hash);
        facts.retain(|fact| matches!(fact.what, What::Word(_)));
        for fact in &mut facts {
            fact.source = Source::Shadow;
            if let What::Word(word) = &mut fact.what
                && let Said::Frame(frame) = &mut word.said
            {
                frame.offered_to = None;
            }
        }
        facts
    }

    /// What an API of Kong answers to `GET url`; `None` if nobody is there.
    pub fn answers(&mut self, at: Timestamp, url: &str, answer: Option<(u16, Value)>) -> Vec<Fact> {
        #[expect(clippy::cast_precision_loss, reason = "milliseconds of this century")]
        let mut exchange =
            json!({"wallclock": at.ms() as f64 / 1_000.0, "request": {"method": "GET", "url": url, "body": null}});
        match answer {
            Some((status, body)) => {
                let date = chrono::DateTime::from_timestamp_millis(at.ms()).expect("a time");
                exchange["headers"] = json!([["Date", date.format("%a, %d %b %Y %H:%M:%S GMT").to_string()]]);
                exchange["status"] = json!(status);
                exchange["body"] = body;
            }
            None => exchange["client_error"] = json!("connection refused"),
        }
        let Line::Exchange(exchange) = line(&exchange.to_string()).expect("a record") else { panic!("an exchange") };
        exchange.facts().iter().flat_map(|observed| self.assembler.take(observed)).collect()
    }
}

fn frame(from: Party, opcode: Opcode, payload: Vec<u8>) -> Event {
    Event::Frame(Frame { from, opcode, is_whole: true, payload })
}

/// A configuration table: one service, and a route for each path.
pub fn table(paths: &[&str]) -> Value {
    let id = |number: usize| format!("00000000-0000-4000-8000-{number:012}");
    let service = json!({"id": id(0), "name": "orders", "host": "orders.internal", "port": 80, "protocol": "http",
        "created_at": 1_700_000_000, "updated_at": 1_700_000_000, "enabled": true});
    let route = |(number, path): (usize, &&str)| {
        json!({"id": id(number + 1), "name": format!("route-{number}"), "paths": [path], "service": id(0),
            "created_at": 1_700_000_000, "updated_at": 1_700_000_000, "protocols": ["http"]})
    };
    json!({"_format_version": "3.0", "_transform": false, "services": [service],
        "routes": paths.iter().enumerate().map(route).collect::<Vec<_>>()})
}
