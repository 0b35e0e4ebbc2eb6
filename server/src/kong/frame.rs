//! WebSocket frames (RFC 6455 5) as Kong's two sides read and write them (`kong-hybrid.md` 1.2): whole, without
//! extensions, those of nodes masked. Only the head of a frame is here; its payload is whatever follows.

use super::session::Opcode;
use thiserror::Error;

/// The longest head: two bytes, eight of length, four of mask.
pub const HEAD_MAX: usize = 14;
/// The longest payload of a ping, a pong or a close frame.
pub const CONTROL_MAX: usize = 125;
/// Kong reads no length of 2^31 or more, whatever its limit is.
pub const LENGTH_END: u64 = 1 << 31;
/// `cluster_max_payload`, of the compressed frame: what a sender and a receiver allow by default.
pub const PAYLOAD_MAX: usize = 16 * 1024 * 1024;
/// The least that Kong lets an operator set.
pub const PAYLOAD_MAX_LEAST: usize = 4 * 1024 * 1024;

/// What stands before a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The last or only fragment of a message. Kong never fragments, and ends the connection where somebody does.
    pub is_final: bool,
    pub opcode: Opcode,
    /// The frames of a node are masked, those of a control plane are not.
    pub mask: Option<[u8; 4]>,
    /// Bytes of payload, below [`LENGTH_END`].
    pub length: u64,
}

/// Why bytes are no frame that Kong would take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BadFrame {
    #[error("a frame with a reserved bit, which no extension was agreed for")]
    Reserved,
    #[error("a frame of the reserved opcode {0}")]
    Opcode(u8),
    #[error("a control frame of more than {CONTROL_MAX} bytes")]
    LongControl,
    #[error("a control frame in fragments")]
    FragmentedControl,
    #[error("a frame of 2^31 bytes or more")]
    Length,
}

impl Head {
    /// A whole frame.
    #[must_use]
    pub const fn whole(opcode: Opcode, mask: Option<[u8; 4]>, length: u64) -> Self {
        Self { is_final: true, opcode, mask, length }
    }

    /// Reads the head at the start of `bytes`, and says how many bytes it takes; `None` where there are too few. Never
    /// looks at more than [`HEAD_MAX`] bytes.
    ///
    /// # Errors
    /// [`BadFrame`] as soon as the bytes show it.
    pub fn read(bytes: &[u8]) -> Result<Option<(Self, usize)>, BadFrame> {
        let [first, second, rest @ ..] = bytes else { return Ok(None) };
        if first & 0x70 != 0 {
            return Err(BadFrame::Reserved);
        }
        let opcode = opcode(first & 0x0f).ok_or(BadFrame::Opcode(first & 0x0f))?;
        let is_final = first & 0x80 != 0;
        let is_control = matches!(opcode, Opcode::Close | Opcode::Ping | Opcode::Pong);
        if is_control && !is_final {
            return Err(BadFrame::FragmentedControl);
        }
        let (length, rest) = match second & 0x7f {
            126 | 127 if is_control => return Err(BadFrame::LongControl),
            126 => match rest.split_first_chunk() {
                Some((length, rest)) => (u64::from(u16::from_be_bytes(*length)), rest),
                None => return Ok(None),
            },
            127 => match rest.split_first_chunk() {
                Some((length, rest)) => (u64::from_be_bytes(*length), rest),
                None => return Ok(None),
            },
            short => (u64::from(short), rest),
        };
        if length >= LENGTH_END {
            return Err(BadFrame::Length);
        }
        let (mask, rest) = match (second & 0x80 != 0, rest.split_first_chunk()) {
            (false, _) => (None, rest),
            (true, Some((mask, rest))) => (Some(*mask), rest),
            (true, None) => return Ok(None),
        };
        Ok(Some((Self { is_final, opcode, mask, length }, bytes.len() - rest.len())))
    }

    /// The bytes of the head, with the shortest form of the length.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEAD_MAX);
        bytes.push(u8::from(self.is_final) << 7 | number(self.opcode));
        let masked = u8::from(self.mask.is_some()) << 7;
        match (u8::try_from(self.length), u16::try_from(self.length)) {
            (Ok(length @ ..126), _) => bytes.push(masked | length),
            (_, Ok(length)) => {
                bytes.push(masked | 126);
                bytes.extend_from_slice(&length.to_be_bytes());
            }
            (_, Err(_)) => {
                bytes.push(masked | 127);
                bytes.extend_from_slice(&self.length.to_be_bytes());
            }
        }
        bytes.extend(self.mask.iter().flatten());
        bytes
    }
}

/// Masks a payload, or unmasks it: the same.
pub fn mask(payload: &mut [u8], mask: [u8; 4]) {
    for (byte, key) in payload.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= key;
    }
}

const fn opcode(number: u8) -> Option<Opcode> {
    Some(match number {
        0 => Opcode::Continuation,
        1 => Opcode::Text,
        2 => Opcode::Binary,
        8 => Opcode::Close,
        9 => Opcode::Ping,
        10 => Opcode::Pong,
        _ => return None,
    })
}

const fn number(opcode: Opcode) -> u8 {
    match opcode {
        Opcode::Continuation => 0,
        Opcode::Text => 1,
        Opcode::Binary => 2,
        Opcode::Close => 8,
        Opcode::Ping => 9,
        Opcode::Pong => 10,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(length: u64, mask: Option<[u8; 4]>, expected: &[u8]) {
        let head = Head::whole(Opcode::Binary, mask, length);
        assert_eq!(head.bytes(), expected);
        assert_eq!(Head::read(expected), Ok(Some((head, expected.len()))));
        for end in 0..expected.len() {
            assert_eq!(Head::read(&expected[..end]), Ok(None), "{end} bytes are too few");
        }
    }

    #[test]
    fn a_length_takes_its_shortest_form() {
        check(0, None, &[0x82, 0]);
        check(125, None, &[0x82, 125]);
        check(126, None, &[0x82, 126, 0, 126]);
        check(0xffff, None, &[0x82, 126, 0xff, 0xff]);
        check(0x1_0000, None, &[0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
        check(LENGTH_END - 1, None, &[0x82, 127, 0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff]);
        check(5, Some([1, 2, 3, 4]), &[0x82, 0x85, 1, 2, 3, 4]);
        check(300, Some([1, 2, 3, 4]), &[0x82, 0xfe, 1, 44, 1, 2, 3, 4]);
    }

    #[test]
    fn what_kong_would_not_take_is_refused() {
        assert_eq!(Head::read(&[0xc2, 0]), Err(BadFrame::Reserved), "permessage-deflate");
        assert_eq!(Head::read(&[0x83, 0]), Err(BadFrame::Opcode(3)));
        assert_eq!(Head::read(&[0x8b, 0]), Err(BadFrame::Opcode(11)));
        assert_eq!(Head::read(&[0x09, 0]), Err(BadFrame::FragmentedControl));
        assert_eq!(Head::read(&[0x89, 126]), Err(BadFrame::LongControl));
        assert_eq!(Head::read(&[0x82, 127, 0, 0, 0, 0, 0x80, 0, 0, 0]), Err(BadFrame::Length));
        assert_eq!(Head::read(&[0x82, 127, 0xff, 0, 0, 0, 0, 0, 0, 0]), Err(BadFrame::Length));
        let fragment = Head { is_final: false, ..Head::whole(Opcode::Binary, None, 1) };
        assert_eq!(Head::read(&[0x02, 1]), Ok(Some((fragment, 2))), "read, for its reader to refuse");
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_strange(bytes in prop::collection::vec(any::<u8>(), 0..20)) {
            if let Ok(Some((head, taken))) = Head::read(&bytes) {
                prop_assert!(taken <= HEAD_MAX && taken <= bytes.len() && head.length < LENGTH_END);
            }
        }

        #[test]
        fn what_is_written_is_read(length in 0..LENGTH_END, mask: Option<[u8; 4]>, after: Vec<u8>) {
            let head = Head::whole(Opcode::Binary, mask, length);
            let bytes = head.bytes();
            prop_assert_eq!(Head::read(&[bytes.as_slice(), &after].concat()), Ok(Some((head, bytes.len()))));
        }

        #[test]
        fn masking_twice_is_nothing(payload: Vec<u8>, key: [u8; 4]) {
            let mut masked = payload.clone();
            mask(&mut masked, key);
            mask(&mut masked, key);
            prop_assert_eq!(masked, payload);
        }
    }
}
