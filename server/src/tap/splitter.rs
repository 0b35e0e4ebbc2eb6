//! One direction of a connection, cut into what was said: the head of the HTTP upgrade, then WebSocket frames. Works on a
//! copy of the bytes as they pass, never holds them up, and never loses its place: a frame that is not kept is counted
//! through to its end.

use super::copies::{Budget, Kept};
use crate::kong::facts::Party;
use crate::kong::frame::{self, HEAD_MAX, Head};
use crate::kong::handshake;
use crate::kong::session::{Frame, Opcode};
use sha2::{Digest, Sha256};
use std::sync::Arc;

/// Configurations of v1 from this length on are known by their digest, so that the same one for a thousand nodes is read
/// once.
const DIGEST_FROM: u64 = 16 * 1024;
/// How they begin: gzip. The same bytes on two connections of v2 are two answers, and those begin with a length: this one
/// would be of 31 bytes.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// What was said, whole.
#[derive(Debug)]
pub enum Piece {
    /// The head of the request or of the answer, with its empty line.
    Head(Vec<u8>),
    /// A frame; the place that its payload takes is given back when it is dropped.
    Frame(Frame, Option<FrameDigest>, Kept),
    /// A frame whose payload was not kept.
    Passed { opcode: Opcode, length: u64, digest: Option<FrameDigest> },
    /// Nothing that follows can be read.
    Unreadable(String),
}

/// SHA-256 of the payload of a large frame.
pub type FrameDigest = [u8; 32];

/// Where one direction is.
#[derive(Debug)]
pub struct Splitter {
    from: Party,
    budget: Arc<Budget>,
    payload_max: u64,
    state: State,
}

#[derive(Debug)]
enum State {
    /// The head of the upgrade, as far as it came.
    Upgrade(Vec<u8>),
    /// Bytes of the head of a frame.
    Head {
        bytes: [u8; HEAD_MAX],
        filled: usize,
    },
    Payload(Box<Payload>),
    /// Not a WebSocket, or one no more.
    Over,
}

#[derive(Debug)]
struct Payload {
    head: Head,
    passed: u64,
    /// `None` once it is not kept.
    kept: Option<(Vec<u8>, Kept)>,
    digest: Option<Sha256>,
    /// As far as it came.
    start: [u8; 2],
}

const START: State = State::Head { bytes: [0; HEAD_MAX], filled: 0 };

impl Splitter {
    /// The direction in which `from` speaks. Payloads longer than `payload_max` are not kept.
    #[must_use]
    pub fn new(from: Party, budget: Arc<Budget>, payload_max: u64) -> Self {
        Self { from, budget, payload_max, state: State::Upgrade(Vec::new()) }
    }

    /// Takes the next bytes; each piece that they complete goes to `tell`.
    pub fn take(&mut self, mut bytes: &[u8], mut tell: impl FnMut(Piece)) {
        while !bytes.is_empty() {
            bytes = match std::mem::replace(&mut self.state, State::Over) {
                State::Over => return,
                State::Upgrade(head) => self.upgrade(head, bytes, &mut tell),
                State::Head { bytes: head, filled } => self.head(head, filled, bytes, &mut tell),
                State::Payload(payload) => self.payload(payload, bytes, &mut tell),
            };
        }
    }

    fn upgrade<'a>(&mut self, mut head: Vec<u8>, bytes: &'a [u8], tell: &mut impl FnMut(Piece)) -> &'a [u8] {
        const END: &[u8] = b"\r\n\r\n";
        let before = head.len();
        let room = handshake::HEAD_MAX - before;
        head.extend_from_slice(&bytes[..bytes.len().min(room)]);
        let searched = before.saturating_sub(END.len() - 1);
        let found = head[searched..].windows(END.len()).position(|window| window == END);
        let Some(end) = found.map(|at| searched + at + END.len()) else {
            if head.len() == handshake::HEAD_MAX {
                tell(Piece::Unreadable("a head without an end".to_owned()));
                return &[];
            }
            self.state = State::Upgrade(head);
            return &[];
        };
        head.truncate(end);
        head.shrink_to_fit();
        // What follows an answer that refuses is a page.
        let goes_on = self.from == Party::Node || handshake::status(&head) == Some(101);
        self.state = if goes_on { START } else { State::Over };
        tell(Piece::Head(head));
        &bytes[end - before..]
    }

    fn head<'a>(
        &mut self,
        mut head: [u8; HEAD_MAX],
        filled: usize,
        bytes: &'a [u8],
        tell: &mut impl FnMut(Piece),
    ) -> &'a [u8] {
        let taken = bytes.len().min(HEAD_MAX - filled);
        head[filled..filled + taken].copy_from_slice(&bytes[..taken]);
        match Head::read(&head[..filled + taken]) {
            Ok(None) => {
                self.state = State::Head { bytes: head, filled: filled + taken };
                &[]
            }
            Ok(Some((read, length))) => {
                let large = self.from == Party::ControlPlane && read.length >= DIGEST_FROM;
                let fits = read.length <= self.payload_max;
                let payload = Payload {
                    head: read,
                    passed: 0,
                    kept: fits.then(|| (Vec::new(), self.budget.nothing())),
                    digest: (large && read.opcode == Opcode::Binary).then(Sha256::new),
                    start: [0; 2],
                };
                self.state = State::Payload(Box::new(payload));
                let rest = &bytes[length - filled..];
                // Nothing comes for a frame without a payload.
                if read.length == 0 {
                    self.finish(tell)
                }
                rest
            }
            Err(why) => {
                tell(Piece::Unreadable(why.to_string()));
                &[]
            }
        }
    }

    fn payload<'a>(&mut self, mut payload: Box<Payload>, bytes: &'a [u8], tell: &mut impl FnMut(Piece)) -> &'a [u8] {
        let missing = usize::try_from(payload.head.length - payload.passed).unwrap_or(usize::MAX);
        let (now, rest) = bytes.split_at(bytes.len().min(missing));
        if let Some((kept, place)) = &mut payload.kept {
            if self.budget.more(place, now.len()) {
                kept.extend_from_slice(now);
            } else {
                payload.kept = None;
            }
        }
        if let Some(digest) = &mut payload.digest {
            digest.update(now);
        }
        let to_start =
            usize::try_from(payload.passed).map_or(&mut [][..], |at| payload.start.get_mut(at..).unwrap_or_default());
        for (kept, byte) in to_start.iter_mut().zip(now) {
            *kept = *byte;
        }
        payload.passed += now.len() as u64;
        let is_whole = payload.passed == payload.head.length;
        self.state = State::Payload(payload);
        if is_whole {
            self.finish(tell);
        }
        rest
    }

    fn finish(&mut self, tell: &mut impl FnMut(Piece)) {
        let State::Payload(payload) = std::mem::replace(&mut self.state, START) else { return };
        let Payload { head, kept, digest, start, .. } = *payload;
        let digest = digest.filter(|_| start == GZIP).map(|digest| digest.finalize().into());
        let Some((mut payload, place)) = kept else {
            return tell(Piece::Passed { opcode: head.opcode, length: head.length, digest });
        };
        if let Some(key) = head.mask {
            frame::mask(&mut payload, key);
        }
        let frame = Frame { from: self.from, opcode: head.opcode, is_whole: head.is_final, payload };
        tell(Piece::Frame(frame, digest, place));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const REQUEST: &[u8] = b"GET /v1/outlet HTTP/1.1\r\nHost: x\r\n\r\n";
    const ANSWER: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\n\r\n";

    fn said(from: Party, payload_max: u64, budget: &Arc<Budget>, chunks: &[&[u8]]) -> Vec<String> {
        let mut splitter = Splitter::new(from, Arc::clone(budget), payload_max);
        let mut said = Vec::new();
        for chunk in chunks {
            splitter.take(chunk, |piece| {
                said.push(match piece {
                    Piece::Head(head) => format!("head of {}", head.len()),
                    Piece::Frame(frame, digest, _) => {
                        let length = frame.payload.len();
                        let text = String::from_utf8_lossy(&frame.payload);
                        let payload = if length > 20 { format!("{length} bytes") } else { text.into_owned() };
                        format!("{:?} {payload} {} {}", frame.opcode, frame.is_whole, digest.is_some())
                    }
                    Piece::Passed { opcode, length, digest } => {
                        format!("passed {opcode:?} {length} {}", digest.is_some())
                    }
                    Piece::Unreadable(why) => format!("unreadable: {why}"),
                });
            });
        }
        said
    }

    fn frame(opcode: Opcode, mask: Option<[u8; 4]>, payload: &[u8]) -> Vec<u8> {
        let mut masked = payload.to_vec();
        if let Some(key) = mask {
            frame::mask(&mut masked, key);
        }
        [Head::whole(opcode, mask, payload.len() as u64).bytes(), masked].concat()
    }

    #[test]
    fn a_head_and_frames_come_whole_however_they_are_cut() {
        let large = vec![b'x'; 20_000];
        let bytes = [
            REQUEST,
            &frame(Opcode::Binary, Some([1, 2, 3, 4]), b"{}"),
            &frame(Opcode::Ping, Some([9, 9, 9, 9]), b""),
            &frame(Opcode::Binary, None, &large),
        ]
        .concat();
        let expected = [
            format!("head of {}", REQUEST.len()),
            "Binary {} true false".into(),
            "Ping  true false".into(),
            "Binary 20000 bytes true false".into(),
        ];
        let budget = Budget::of(1 << 20);
        for size in [1, 2, 3, 7, 40, 100, 50_000] {
            let chunks: Vec<&[u8]> = bytes.chunks(size).collect();
            assert_eq!(said(Party::Node, 1 << 20, &budget, &chunks), expected, "in pieces of {size}");
        }
        assert_eq!(budget.taken(), 0, "all of it was given back");
    }

    #[test]
    fn large_configurations_of_v1_have_a_digest_and_answers_of_v2_have_none() {
        let budget = Budget::of(1 << 20);
        let last = |start: [u8; 2], length: usize, size: usize| {
            let payload = [&start[..], &vec![b'x'; length - 2]].concat();
            let bytes = [ANSWER, &frame(Opcode::Binary, None, &payload)].concat();
            let chunks: Vec<&[u8]> = bytes.chunks(size).collect();
            said(Party::ControlPlane, 1 << 20, &budget, &chunks).pop().unwrap()
        };
        for size in [1, 2, 7, 50_000] {
            assert_eq!(last(GZIP, 16_383, size), "Binary 16383 bytes true false");
            assert_eq!(last(GZIP, 16_384, size), "Binary 16384 bytes true true");
            // Of v2: the same bytes for another node are another answer.
            assert_eq!(last([0x80, 0x80], 16_384, size), "Binary 16384 bytes true false");
        }
    }

    #[test]
    fn what_is_not_kept_is_passed_by_and_what_follows_is_read() {
        let bytes = [ANSWER, &frame(Opcode::Binary, None, &[b'x'; 101]), &frame(Opcode::Pong, None, b"p")].concat();
        let head = format!("head of {}", ANSWER.len());
        let passed = [head.clone(), "passed Binary 101 false".into(), "Pong p true false".into()];
        assert_eq!(said(Party::ControlPlane, 100, &Budget::of(1 << 20), &[&bytes]), passed, "too long");
        assert_eq!(said(Party::ControlPlane, 101, &Budget::of(100), &[&bytes]), passed, "no room");
        assert_eq!(said(Party::ControlPlane, 101, &Budget::of(101), &[&bytes])[1], "Binary 101 bytes true false");
    }

    #[test]
    fn a_claim_of_two_gibibytes_takes_no_memory() {
        let budget = Budget::of(usize::MAX);
        let mut splitter = Splitter::new(Party::ControlPlane, Arc::clone(&budget), u64::MAX);
        splitter.take(ANSWER, |_| {});
        splitter.take(&Head::whole(Opcode::Binary, None, frame::LENGTH_END - 1).bytes(), |_| {});
        splitter.take(b"abc", |_| panic!("nothing is whole"));
        assert_eq!(budget.taken(), 3);
    }

    #[test]
    fn after_what_is_no_websocket_nothing_is_read() {
        let budget = Budget::of(1 << 20);
        let refused = b"HTTP/1.1 404 Not Found\r\n\r\n<html>";
        assert_eq!(said(Party::ControlPlane, 100, &budget, &[refused]), ["head of 26"]);
        let reserved = [REQUEST, &[0xc2, 0], &frame(Opcode::Ping, None, b"")].concat();
        let why = "unreadable: a frame with a reserved bit, which no extension was agreed for";
        assert_eq!(said(Party::Node, 100, &budget, &[&reserved])[1..], [why]);
        let endless = vec![b'x'; handshake::HEAD_MAX];
        assert_eq!(said(Party::Node, 100, &budget, &[&endless[1..]]).len(), 0);
        assert_eq!(said(Party::Node, 100, &budget, &[&endless, b"more"]), ["unreadable: a head without an end"]);
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_strange(chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..20)) {
            let budget = Budget::of(1_000);
            let mut splitter = Splitter::new(Party::ControlPlane, Arc::clone(&budget), 500);
            splitter.take(ANSWER, |_| {});
            for chunk in &chunks {
                splitter.take(chunk, |_| {});
                prop_assert!(budget.taken() <= 1_000);
            }
            drop(splitter);
            prop_assert_eq!(budget.taken(), 0);
        }
    }
}
