//! One connection between a node and its control plane, as whoever stands in between sees it: events in order go in,
//! facts come out. Recordings and taps use the same.

use super::facts::{Accepted, Answer, Dialled, Ending, Fact, Observed, Party, Place, Protocol};
use super::sync_state::SyncState;
use super::text::{NAME_MAX, clip};
use super::v2::{self, Delta, Encoding, Message};
use super::{cluster, handshake, plugins, v1};
use std::collections::BTreeMap;
use std::sync::Arc;
use tidemark_domain::hash::ConfigHash;

/// What is known of one connection so far.
#[derive(Clone, Debug)]
pub struct Session {
    place: Place,
    inflated_max: usize,
    phase: Phase,
    node: Option<Arc<str>>,
    /// The first frame of each side is encoded differently in v2.
    node_spoke: bool,
    control_plane_spoke: bool,
    /// Versions that the node asked from and got no answer for yet, by call.
    asked: BTreeMap<u64, ConfigHash>,
    state: SyncState,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Phase {
    /// Nothing was asked for yet.
    Silent,
    /// The control plane has not answered the request yet.
    Dialled(Dialled),
    /// Frames go back and forth.
    Open(Dialled),
    /// Refused, closed, failed. What still comes is tidying up, except for frames that were under way.
    Over(Option<Dialled>),
}

/// What can happen on a connection.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// TLS with the node is up.
    Accepted(Accepted),
    /// The head of the node's request.
    Request(Vec<u8>),
    /// The head of the control plane's answer.
    Response(Vec<u8>),
    Frame(Frame),
    /// A frame of the control plane that was read before, on whichever connection: the same bytes are the same offer.
    Repeated(Fact),
    /// A frame passed by of which no copy was kept: it was too large, or there was no room for it.
    Missed {
        from: Party,
        opcode: Opcode,
    },
    /// Bytes of the party that no WebSocket has: nothing more is read of what it says.
    Unreadable {
        from: Party,
        why: String,
    },
    /// The party ended its stream.
    EndOfStream(Party),
    /// Reading from the party failed; `None` where it is not known from whom.
    Failure {
        from: Option<Party>,
        error: String,
    },
    /// The observer could not reach the control plane.
    ControlPlaneUnreachable {
        error: String,
    },
    /// Nothing more is known of this connection.
    RecordingEnded,
}

/// A WebSocket frame, unmasked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub from: Party,
    pub opcode: Opcode,
    /// Neither a fragment nor compressed: Kong sends no other frames (`kong-hybrid.md` 1.2).
    pub is_whole: bool,
    pub payload: Vec<u8>,
}

/// What a WebSocket frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opcode {
    Continuation,
    Text,
    Binary,
    Close,
    Ping,
    Pong,
}

/// Bytes of JSON that one frame may hold. Kong's own limit is on the compressed frame: 16 MiB unless configured.
pub const INFLATED_MAX: usize = 64 * 1024 * 1024;

/// Calls without an answer that are remembered: as many as Kong queues (`kong-hybrid.md` 2.3).
const ASKED_MAX: usize = 4_096;

impl Session {
    /// A connection of which nothing is known yet, under a name of the caller's choice.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self {
            place: Place::Connection(name.into()),
            inflated_max: INFLATED_MAX,
            phase: Phase::Silent,
            node: None,
            node_spoke: false,
            control_plane_spoke: false,
            asked: BTreeMap::new(),
            state: SyncState::default(),
        }
    }

    /// The same with another bound on the JSON of one frame.
    #[must_use]
    pub fn with_inflated_max(self, inflated_max: usize) -> Self {
        Self { inflated_max, ..self }
    }

    /// Entities whose digests are held, to tell the content of what deltas make (v2).
    #[must_use]
    pub fn entities(&self) -> usize {
        self.state.entities()
    }

    /// Holds none of them any more: what deltas make is not known until the next full sync.
    pub fn forget_state(&mut self) {
        self.state = SyncState::default();
    }

    /// The facts that follow from what happened at a moment.
    pub fn take(&mut self, at_ms: i64, event: Event) -> Vec<Observed> {
        let facts = match event {
            Event::Accepted(accepted) => vec![Fact::Accepted(accepted)],
            Event::Request(head) => vec![self.request(&head)],
            Event::Response(head) => vec![self.response(&head)],
            Event::Frame(frame) => self.frame(&frame),
            Event::Repeated(offer) => vec![offer],
            Event::Missed { from, opcode } => self.missed(from, opcode),
            Event::Unreadable { from, why } => vec![unreadable(from, &why)],
            Event::EndOfStream(by) => self.end(Some(by), Ending::EndOfStream),
            Event::Failure { from, error } => self.end(from, Ending::Failure { error: clip(&error, NAME_MAX) }),
            Event::ControlPlaneUnreachable { error } => {
                self.finish();
                vec![Fact::ControlPlaneUnreachable { error: clip(&error, NAME_MAX) }]
            }
            Event::RecordingEnded if matches!(self.phase, Phase::Over(_)) => Vec::new(),
            Event::RecordingEnded => {
                self.finish();
                vec![Fact::RecordingEnded]
            }
        };
        let observed = |fact| Observed { at_ms, place: self.place.clone(), node: self.node.clone(), fact };
        facts.into_iter().map(observed).collect()
    }

    fn request(&mut self, head: &[u8]) -> Fact {
        match handshake::request(head) {
            Some(dialled) if self.phase == Phase::Silent => {
                self.node = dialled.node_id.as_deref().map(Arc::from);
                self.phase = Phase::Dialled(dialled.clone());
                Fact::Dialled(dialled)
            }
            Some(_) => unreadable(Party::Node, "a second request"),
            None => unreadable(Party::Node, "a request for something else than an outlet"),
        }
    }

    fn response(&mut self, head: &[u8]) -> Fact {
        let Phase::Dialled(dialled) = &self.phase else {
            return unreadable(Party::ControlPlane, "an answer without a request");
        };
        match handshake::status(head) {
            Some(101) => {
                self.phase = Phase::Open(dialled.clone());
                Fact::Upgraded
            }
            status => {
                self.finish();
                Fact::HandshakeRefused { status }
            }
        }
    }

    fn frame(&mut self, frame: &Frame) -> Vec<Fact> {
        let dialled = match &self.phase {
            Phase::Open(dialled) | Phase::Over(Some(dialled)) => dialled.clone(),
            Phase::Silent | Phase::Dialled(_) | Phase::Over(None) => {
                return vec![unreadable(frame.from, "a frame outside of a WebSocket")];
            }
        };
        if !frame.is_whole {
            return vec![unreadable(frame.from, "a fragment or a compressed frame")];
        }
        match (frame.opcode, dialled.protocol) {
            (Opcode::Binary, Protocol::V1) => vec![self.v1(frame, &dialled)],
            (Opcode::Binary, Protocol::V2) => self.v2(frame),
            (Opcode::Ping, Protocol::V1) if frame.from == Party::Node => match v1::heartbeat(&frame.payload) {
                Ok(hash) => vec![Fact::Heartbeat { hash }],
                Err(why) => vec![unreadable(frame.from, &why)],
            },
            (Opcode::Ping | Opcode::Pong, _) => vec![Fact::Alive { party: frame.from }],
            (Opcode::Close, _) => {
                let code = frame.payload.first_chunk().map(|bytes| u16::from_be_bytes(*bytes));
                self.end(Some(frame.from), Ending::CloseFrame { code })
            }
            (Opcode::Text | Opcode::Continuation, _) => vec![unreadable(frame.from, "a frame that is not binary")],
        }
    }

    /// What a missed frame changes: the first one of a side of v2 is the plain one, and a missed delta leaves a state that
    /// is not known.
    fn missed(&mut self, from: Party, opcode: Opcode) -> Vec<Fact> {
        if opcode == Opcode::Binary {
            match from {
                Party::Node => self.node_spoke = true,
                Party::ControlPlane | Party::Observer => {
                    self.control_plane_spoke = true;
                    self.state = SyncState::default();
                }
            }
        }
        vec![unreadable(from, "a frame of which no copy was kept")]
    }

    fn v1(&self, frame: &Frame, dialled: &Dialled) -> Fact {
        match frame.from {
            Party::Node => match v1::from_node(&frame.payload) {
                Ok(v1::FromNode::BasicInfo(mut introduction)) => {
                    introduction.node_id.clone_from(&dialled.node_id);
                    introduction.hostname.clone_from(&dialled.hostname);
                    introduction.gateway_version.clone_from(&dialled.gateway_version);
                    Fact::Introduced(introduction)
                }
                Ok(v1::FromNode::Error(failure)) => Fact::ApplyFailed(failure),
                Err(why) => unreadable(frame.from, &why),
            },
            Party::ControlPlane | Party::Observer => match v1::from_control_plane(&frame.payload, self.inflated_max) {
                Ok(v1::FromControlPlane::Reconfigure(offer)) => Fact::Offered(offer),
                Ok(v1::FromControlPlane::TooLarge(offer)) => Fact::OfferedUnread(offer),
                Ok(v1::FromControlPlane::Ignored { kind }) => {
                    unreadable(frame.from, &format!("a frame of type {kind:?}"))
                }
                Err(why) => unreadable(frame.from, &why),
            },
        }
    }

    fn v2(&mut self, frame: &Frame) -> Vec<Fact> {
        let spoke = match frame.from {
            Party::Node => &mut self.node_spoke,
            Party::ControlPlane | Party::Observer => &mut self.control_plane_spoke,
        };
        let encoding = if std::mem::replace(spoke, true) { Encoding::Snappy } else { Encoding::Plain };
        match v2::decode(&frame.payload, encoding, self.inflated_max) {
            Ok((messages, json_bytes)) => {
                messages.into_iter().filter_map(|message| self.message(message, frame, json_bytes)).collect()
            }
            Err(why) => vec![unreadable(frame.from, &why)],
        }
    }

    fn message(&mut self, message: Message, frame: &Frame, json_bytes: usize) -> Option<Fact> {
        let from_node = frame.from == Party::Node;
        Some(match message {
            Message::Hello(introduction) if from_node => {
                self.node = introduction.node_id.as_deref().map(Arc::from);
                Fact::Introduced(introduction)
            }
            Message::Welcome { capabilities } if !from_node => Fact::Welcomed { capabilities },
            Message::GetDelta { id, version } if from_node => {
                if let Some(id) = id {
                    self.asked.insert(id, version);
                    if self.asked.len() > ASKED_MAX {
                        self.asked.pop_first();
                    }
                }
                Fact::Asked { version, expects_answer: id.is_some() }
            }
            Message::Deltas { id, full, deltas } if !from_node => {
                let asked = id.and_then(|id| self.asked.remove(&id));
                Fact::Answered(Box::new(self.answer(asked, full, &deltas, frame.payload.len(), json_bytes)))
            }
            Message::NewVersion { version, .. } if !from_node => Fact::Notified { version },
            Message::ValidationError(failure) if from_node => Fact::ApplyFailed(failure),
            Message::Error { code, message } => Fact::CallFailed { by: frame.from, code, message },
            Message::Done | Message::Other { .. } => return None,
            Message::Hello(_)
            | Message::Welcome { .. }
            | Message::GetDelta { .. }
            | Message::Deltas { .. }
            | Message::NewVersion { .. }
            | Message::ValidationError(_) => unreadable(frame.from, "a message of the other side"),
        })
    }

    fn answer(
        &mut self,
        asked: Option<ConfigHash>,
        full: bool,
        deltas: &[Delta],
        frame_bytes: usize,
        json_bytes: usize,
    ) -> Answer {
        self.state.apply(asked, full, deltas);
        let summary = if deltas.is_empty() && !full { None } else { self.state.summary() };
        let (digest, shape) = summary.unzip();
        let mut versions = Vec::new();
        for delta in deltas {
            if versions.last() != Some(&delta.version) && versions.len() < super::facts::VERSIONS_MAX {
                versions.push(delta.version);
            }
        }
        let upserts = deltas.iter().filter(|delta| delta.entity.is_some()).count();
        let entities = deltas.iter().map(|delta| (delta.entity_type.as_str(), delta.entity.as_ref()));
        let parameters = deltas.iter().filter(|delta| delta.entity_type == "parameters");
        Answer {
            asked,
            full,
            upserts: u32::try_from(upserts).unwrap_or(u32::MAX),
            deletes: u32::try_from(deltas.len() - upserts).unwrap_or(u32::MAX),
            versions,
            digest,
            shape,
            plugins_changed: if full { Vec::new() } else { plugins::changed(entities) },
            frame_bytes: frame_bytes as u64,
            json_bytes: json_bytes as u64,
            cluster_id: parameters.filter_map(|delta| delta.entity.as_ref()).find_map(cluster::id_of_parameter),
        }
    }

    /// The first end counts. Before its answer, the end of the control plane is a refusal.
    fn end(&mut self, by: Option<Party>, how: Ending) -> Vec<Fact> {
        let fact = match (&self.phase, by) {
            (Phase::Over(_), _) => return Vec::new(),
            (Phase::Dialled(_), Some(Party::ControlPlane) | None) => Fact::HandshakeRefused { status: None },
            (Phase::Silent | Phase::Dialled(_) | Phase::Open(_), by) => {
                Fact::Closed { by: by.unwrap_or(Party::Observer), how }
            }
        };
        self.finish();
        vec![fact]
    }

    fn finish(&mut self) {
        self.phase = match std::mem::replace(&mut self.phase, Phase::Silent) {
            Phase::Open(dialled) => Phase::Over(Some(dialled)),
            Phase::Over(dialled) => Phase::Over(dialled),
            Phase::Silent | Phase::Dialled(_) => Phase::Over(None),
        };
    }
}

fn unreadable(by: Party, why: &str) -> Fact {
    Fact::Unreadable { by, why: clip(why, NAME_MAX) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    const HASH: &str = "c6ee22cecbb5f8a7714966db3931b7b1";

    fn session(target: &str) -> Session {
        let mut session = Session::new("x");
        session.take(0, Event::Request(format!("GET {target} HTTP/1.1\r\n\r\n").into_bytes()));
        session
    }

    fn open(target: &str) -> Session {
        let mut session = session(target);
        assert_eq!(facts(&mut session, Event::Response(b"HTTP/1.1 101 x\r\n\r\n".to_vec())), [Fact::Upgraded]);
        session
    }

    fn v1() -> Session {
        open("/v1/outlet?node_id=n1&node_hostname=h&node_version=3.9.3")
    }

    fn facts(session: &mut Session, event: Event) -> Vec<Fact> {
        session.take(1, event).into_iter().map(|observed| observed.fact).collect()
    }

    fn frame(from: Party, opcode: Opcode, payload: &[u8]) -> Event {
        Event::Frame(Frame { from, opcode, is_whole: true, payload: payload.to_vec() })
    }

    fn snappy(from: Party, message: &Value) -> Event {
        let block = snap::raw::Encoder::new().compress_vec(message.to_string().as_bytes()).unwrap();
        frame(from, Opcode::Binary, &block)
    }

    #[track_caller]
    fn is_unreadable(session: &mut Session, event: Event) {
        let said = facts(session, event);
        assert!(matches!(said.as_slice(), [Fact::Unreadable { .. }]), "{said:?}");
    }

    #[test]
    fn every_fact_of_v1_names_the_node_from_its_request_on() {
        let mut session = v1();
        let said = session.take(5, frame(Party::Node, Opcode::Ping, HASH.as_bytes()));
        assert_eq!(said[0].node.as_deref(), Some("n1"));
        assert_eq!((said[0].at_ms, &said[0].place), (5, &Place::Connection("x".into())));
        assert_eq!(said[0].fact, Fact::Heartbeat { hash: HASH.parse().unwrap() });
    }

    #[test]
    fn the_first_end_counts() {
        let mut session = v1();
        let close = frame(Party::ControlPlane, Opcode::Close, &[]);
        let closed = Fact::Closed { by: Party::ControlPlane, how: Ending::CloseFrame { code: None } };
        assert_eq!(facts(&mut session, close), [closed]);
        assert_eq!(facts(&mut session, frame(Party::Node, Opcode::Close, &[])), []);
        assert_eq!(facts(&mut session, Event::EndOfStream(Party::Node)), []);
        assert_eq!(facts(&mut session, Event::RecordingEnded), []);
        let late = frame(Party::Node, Opcode::Ping, HASH.as_bytes());
        assert_eq!(facts(&mut session, late).len(), 1, "a heartbeat that was under way is one");
    }

    #[test]
    fn a_close_frame_may_have_a_code() {
        let closed = Fact::Closed { by: Party::Node, how: Ending::CloseFrame { code: Some(1001) } };
        assert_eq!(facts(&mut v1(), frame(Party::Node, Opcode::Close, &[0x03, 0xe9, b'x'])), [closed]);
    }

    #[test]
    fn a_control_plane_that_ends_before_it_answers_has_refused() {
        let refused = [Fact::HandshakeRefused { status: None }];
        assert_eq!(facts(&mut session("/v2/outlet"), Event::EndOfStream(Party::ControlPlane)), refused);
        let failure = Event::Failure { from: None, error: "0 bytes".into() };
        assert_eq!(facts(&mut session("/v2/outlet"), failure), refused);
        let gave_up = facts(&mut session("/v2/outlet"), Event::EndOfStream(Party::Node));
        assert_eq!(gave_up, [Fact::Closed { by: Party::Node, how: Ending::EndOfStream }]);
        let mut session = session("/v2/outlet");
        let answer = Event::Response(b"HTTP/1.1 404 Not Found\r\n\r\n".to_vec());
        assert_eq!(facts(&mut session, answer), [Fact::HandshakeRefused { status: Some(404) }]);
        assert_eq!(facts(&mut session, Event::RecordingEnded), [], "refused is over");
    }

    #[test]
    fn a_connection_that_is_still_open_ends_with_the_recording() {
        assert_eq!(facts(&mut v1(), Event::RecordingEnded), [Fact::RecordingEnded]);
    }

    #[test]
    fn what_kong_does_not_send_is_said_to_be_unreadable() {
        is_unreadable(&mut Session::new("x"), frame(Party::Node, Opcode::Binary, b"{}"));
        is_unreadable(&mut Session::new("x"), Event::Request(b"GET / HTTP/1.1\r\n\r\n".to_vec()));
        is_unreadable(&mut Session::new("x"), Event::Response(b"HTTP/1.1 101 x\r\n\r\n".to_vec()));
        is_unreadable(&mut v1(), frame(Party::Node, Opcode::Ping, b"short"));
        is_unreadable(&mut v1(), frame(Party::Node, Opcode::Text, b"{}"));
        is_unreadable(&mut v1(), frame(Party::ControlPlane, Opcode::Binary, b"not gzip"));
        let fragment = Frame { from: Party::Node, opcode: Opcode::Ping, is_whole: false, payload: HASH.into() };
        is_unreadable(&mut v1(), Event::Frame(fragment));
    }

    #[test]
    fn only_the_first_frame_of_each_side_is_plain() {
        let mut session = open("/v2/outlet");
        let hello = json!({"id": 1, "method": "kong.meta.v1.hello", "params": [{"kong_node_id": "n2"}]});
        let said = session.take(1, frame(Party::Node, Opcode::Binary, hello.to_string().as_bytes()));
        assert_eq!(said[0].node.as_deref(), Some("n2"));
        // A snappy block whose first byte, its length of 123, is an opening brace.
        let mut ask =
            json!({"id": 1, "method": "kong.sync.v2.get_delta", "params": [{"default": {"version": 1}}], "pad": ""});
        ask["pad"] = "x".repeat(123 - ask.to_string().len()).into();
        let Event::Frame(block) = snappy(Party::Node, &ask) else { panic!("a frame") };
        assert_eq!(block.payload[0], b'{');
        assert!(matches!(
            facts(&mut session, Event::Frame(block)).as_slice(),
            [Fact::Asked { expects_answer: true, .. }]
        ));
        is_unreadable(&mut session, frame(Party::Node, Opcode::Binary, ask.to_string().as_bytes()));
    }

    #[test]
    fn an_answer_knows_what_was_asked() {
        let mut session = open("/v2/outlet");
        for from in [Party::Node, Party::ControlPlane] {
            session.take(1, frame(from, Opcode::Binary, br#"{"id":1,"result":true}"#));
        }
        let ask = |id: u64, version: u64| {
            snappy(
                Party::Node,
                &json!({"id": id, "method": "kong.sync.v2.get_delta", "params": [{"default": {"version": version}}]}),
            )
        };
        session.take(1, ask(4, 7));
        session.take(1, ask(5, 8));
        let answer = |id: u64| {
            snappy(Party::ControlPlane, &json!({"id": id, "result": {"default": {"deltas": {}, "wipe": false}}}))
        };
        let said = facts(&mut session, answer(5));
        let [Fact::Answered(said)] = said.as_slice() else { panic!("{said:?}") };
        assert_eq!(said.reported_as().map(|version| version.to_string()), Some(format!("{:032}", 8)));
        assert!(said.is_empty() && said.digest.is_none());
        let said = facts(&mut session, answer(5));
        assert!(matches!(said.as_slice(), [Fact::Answered(answer)] if answer.asked.is_none()), "answered once");
        is_unreadable(&mut session, snappy(Party::Node, &json!({"id": 4, "result": {"default": {"deltas": {}}}})));
    }
}
