//! What both sides of v2 have in common (`kong-hybrid.md` 2.3): frames, and how long silence may last.

use super::data_plane::READ_TIMEOUT;
use super::pace::Pace;
use super::publishing::{Deltas, elements};
use crate::kong::session::INFLATED_MAX;
use crate::kong::v2::{self, Encoding, Message};
use bytes::Bytes;
use std::pin::Pin;
use tokio::time::{Sleep, sleep};

/// The one capability that is about configuration.
pub const SYNC_V2: &str = "kong.sync.v2";
/// The only encoding that Kong has; despite the name it is one raw block.
pub const SNAPPY: &str = "x-snappy-framed";

/// A frame after the introductions: one snappy block of one JSON text.
pub fn frame(text: &str) -> Bytes {
    [length(text.len()), elements(text.as_bytes())].concat().into()
}

/// A frame around deltas, which are shared with other frames.
pub fn frame_around(before: &str, deltas: &Deltas, after: &str) -> [Bytes; 3] {
    let whole = before.len() + deltas.json_bytes + after.len();
    let head = [length(whole), elements(before.as_bytes())].concat();
    [head.into(), deltas.elements.clone(), elements(after.as_bytes())]
}

/// The messages of a frame; the error is for people.
pub fn messages(payload: &[u8], encoding: Encoding) -> Result<Vec<Message>, String> {
    Ok(v2::decode(payload, encoding, INFLATED_MAX)?.0)
}

/// The length in front of a snappy block: seven bits a byte, lowest first.
fn length(mut rest: usize) -> Bytes {
    let mut bytes = Vec::with_capacity(5);
    while rest >= 0x80 {
        bytes.push(0x80 | (rest & 0x7f) as u8);
        rest >>= 7;
    }
    bytes.push(rest as u8);
    bytes.into()
}

/// How long a side has heard nothing, looked at every [`READ_TIMEOUT`].
pub struct Silence {
    looks: u32,
}

/// What is due after some silence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    Nothing,
    /// An empty ping: nothing was heard for more than 30 s.
    Ping,
    /// The end: nothing was heard for more than 45 s.
    End,
}

impl Silence {
    pub const fn new() -> Self {
        Self { looks: 0 }
    }

    /// A frame came. The next look is a read timeout away.
    pub fn broken(&mut self, look: Pin<&mut Sleep>, pace: Pace) {
        self.looks = 0;
        let mut look = look;
        look.set(sleep(pace.judging(READ_TIMEOUT)));
    }

    /// Looks. Kong reckons in whole seconds of the wall clock, so that "more than 30 s" may be true at 30.005 s
    /// (recorded of 3.10) or only at the next look (recorded of 3.9): here it always is the next.
    pub fn look(&mut self, look: Pin<&mut Sleep>, pace: Pace) -> Due {
        self.looks += 1;
        let mut look = look;
        look.set(sleep(pace.judging(READ_TIMEOUT)));
        match self.looks {
            ..=6 => Due::Nothing,
            7..=9 => Due::Ping,
            10.. => Due::End,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn silence_is_asked_about_and_then_ended() {
        let mut look = std::pin::pin!(sleep(Pace::KONG.judging(READ_TIMEOUT)));
        let mut silence = Silence::new();
        let due: Vec<_> = (0..10).map(|_| silence.look(look.as_mut(), Pace::KONG)).collect();
        assert_eq!(due[..6], [Due::Nothing; 6], "up to 30 s");
        assert_eq!(due[6..], [Due::Ping, Due::Ping, Due::Ping, Due::End], "35, 40, 45, 50 s");
        silence.broken(look.as_mut(), Pace::KONG);
        assert_eq!(silence.look(look.as_mut(), Pace::KONG), Due::Nothing);
    }

    #[test]
    fn a_frame_is_a_snappy_block_of_any_length() {
        for length in [0, 1, 127, 128, 16_383, 16_384, 3_000_000] {
            let text = format!("{{\"result\":\"{}\"}}", "x".repeat(length));
            assert_eq!(messages(&frame(&text), Encoding::Snappy), Ok(vec![Message::Done]), "{length}");
        }
    }
}
