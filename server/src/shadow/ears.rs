//! What a shadow makes of the frames it is sent: the control plane's words, and what the shadow has to repeat.

use crate::kong::assemble::Assembler;
use crate::kong::facts::{Fact as Seen, Party};
use crate::kong::session::{Event, Frame, Opcode, Session};
use bytes::Bytes;
use tidemark_domain::fact::Fact;
use tidemark_domain::hash::ConfigHash;
use tidemark_domain::time::Timestamp;

/// Frames up to this size are read where they arrive; larger ones off the threads that serve connections.
const AT_ONCE: usize = 16 * 1024;

/// One connection, as it is understood.
#[derive(Debug)]
pub(super) struct Ears {
    session: Session,
    assembler: Assembler,
}

/// What was heard in a frame.
#[derive(Debug, Default)]
pub(super) struct Heard {
    pub facts: Vec<Fact>,
    /// What a node would run now.
    pub offered: Option<ConfigHash>,
    /// An answer of v2 came, and whether it held anything.
    pub answered: Option<bool>,
    /// The control plane has a new version (v2).
    pub notified: bool,
    pub capabilities: Option<Vec<String>>,
    pub unreadable: Vec<String>,
}

impl Ears {
    /// For a connection of this number whose upgrade is done: the head of its request and the first frame say who listens.
    pub fn new(
        assembler: Assembler,
        number: u64,
        inflated_max: usize,
        at: Timestamp,
        request: String,
        introduction: &str,
    ) -> Self {
        let session = Session::new(&number.to_string()).with_inflated_max(inflated_max);
        let mut ears = Self { session, assembler };
        ears.take(at, Event::Request(request.into_bytes()));
        ears.take(at, Event::Response(b"HTTP/1.1 101 Switching Protocols\r\n\r\n".to_vec()));
        ears.say(at, introduction.as_bytes());
        ears
    }

    /// The shadow itself said something, which is needed to understand the answer.
    pub fn say(&mut self, at: Timestamp, payload: &[u8]) {
        self.take(at, frame(Party::Node, payload));
    }

    /// A frame of the control plane. `None` if reading it failed in a way that leaves nothing to go on with.
    pub async fn hear(mut self, at: Timestamp, payload: Bytes) -> Option<(Self, Heard)> {
        let is_small = payload.len() <= AT_ONCE;
        let read = move || {
            let heard = self.take(at, frame(Party::ControlPlane, &payload));
            (self, heard)
        };
        if is_small { Some(read()) } else { tokio::task::spawn_blocking(read).await.ok() }
    }

    /// The connection is over: what was learned of the configurations stays.
    pub fn end(mut self, at: Timestamp) -> Assembler {
        self.take(at, Event::RecordingEnded);
        self.assembler
    }

    fn take(&mut self, at: Timestamp, event: Event) -> Heard {
        let mut heard = Heard::default();
        for observed in self.session.take(at.ms(), event) {
            match &observed.fact {
                // The stated hash where a node would repeat zeros, too: a shadow repeats none that it need not.
                Seen::Offered(offer) => heard.offered = Some(offer.stated.unwrap_or(offer.recomputed.config)),
                Seen::OfferedUnread(offer) => heard.offered = Some(offer.stated),
                Seen::Answered(answer) => {
                    heard.answered = Some(!answer.is_empty());
                    heard.offered = answer.reported_as().filter(|_| !answer.is_empty());
                }
                Seen::CallFailed { message, .. } => {
                    heard.answered = Some(false);
                    heard.unreadable.push(format!("a call failed: {message}"));
                }
                Seen::Notified { .. } => heard.notified = true,
                Seen::Welcomed { capabilities } => heard.capabilities = Some(capabilities.clone()),
                Seen::Unreadable { by: Party::ControlPlane, why } => heard.unreadable.push(why.clone()),
                _ => {}
            }
            heard.facts.extend(self.assembler.take(&observed));
        }
        heard
    }
}

fn frame(from: Party, payload: &[u8]) -> Event {
    Event::Frame(Frame { from, opcode: Opcode::Binary, is_whole: true, payload: payload.to_vec() })
}
