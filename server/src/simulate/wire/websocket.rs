//! A WebSocket as Kong's two sides have it (`kong-hybrid.md` 1.2): no extensions, no fragments, nothing answered by
//! itself. What a ping is answered with is the business of whoever reads it, because Kong answers with an empty pong.
//!
//! One value reads and writes, and both go on while somebody waits in [`WebSocket::next`]; it may be dropped at any
//! moment and asked again. An idle connection holds no buffer. A frame of more than [`ROOMY`] bytes is read only while
//! the process has [`Room`] for it, so that thousands of connections which are sent a configuration at once take turns.

use crate::kong::frame::{BadFrame, CONTROL_MAX, Head, mask};
use crate::kong::session::Opcode;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use rand::Rng;
use rand_pcg::Pcg32;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::io::poll_read_buf;
use tokio_util::sync::PollSemaphore;

/// Frames up to this size need no [`Room`].
pub const ROOMY: usize = 64 * 1024;
/// What is read at once while no large frame arrives; on the stack.
const READ_AT_ONCE: usize = 8 * 1024;

/// Bytes of large frames that all connections of a process may hold at once.
#[derive(Clone, Debug)]
pub struct Room {
    kibibytes: Arc<Semaphore>,
    whole: u32,
}

/// Which side this is.
#[derive(Debug)]
pub enum Side {
    /// Masks what it sends.
    Node(Pcg32),
    /// Takes masked frames only.
    ControlPlane,
}

/// One connection after its upgrade.
pub struct WebSocket<S> {
    stream: S,
    side: Side,
    payload_max: usize,
    room: Room,
    /// Read, and not yet a frame.
    unread: BytesMut,
    arriving: Option<Arriving>,
    leaving: VecDeque<Bytes>,
    is_flushed: bool,
    /// Bytes of a frame that is not whole came since this was last asked.
    heard: bool,
}

struct Arriving {
    head: Head,
    payload: BytesMut,
    turn: Turn,
}

enum Turn {
    NotNeeded,
    Waiting(PollSemaphore),
    Has(OwnedSemaphorePermit),
}

/// A whole frame.
#[derive(Debug)]
pub struct Frame {
    pub opcode: Opcode,
    pub payload: Bytes,
    /// Given back when the frame is dropped.
    _room: Option<OwnedSemaphorePermit>,
}

/// Why no frame comes any more.
#[derive(Debug, Error)]
pub enum Ended {
    #[error("the other side ended the connection")]
    EndOfStream,
    #[error("the connection failed")]
    Failed(#[source] io::Error),
    #[error(transparent)]
    BadFrame(#[from] BadFrame),
    #[error("a fragment, which Kong does not put together")]
    Fragment,
    #[error("exceeding max payload len: {length} bytes, and {max} are allowed")]
    TooLong { length: u64, max: usize },
    #[error("a frame of a node that is not masked")]
    Unmasked,
}

/// A frame that is longer than `cluster_max_payload` allows is not sent; Kong ends the connection over it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("payload too big: {length} bytes, and {max} are allowed")]
pub struct TooBig {
    pub length: usize,
    pub max: usize,
}

impl Room {
    /// Room for this many bytes, at most 2 TiB. A frame that is larger than all of it takes all of it.
    #[must_use]
    pub fn of(bytes: usize) -> Self {
        let whole = u32::try_from(bytes / 1024).unwrap_or(u32::MAX >> 1).max(1);
        Self { kibibytes: Arc::new(Semaphore::new(whole as usize)), whole }
    }

    fn kibibytes_of(&self, length: u64) -> u32 {
        u32::try_from(length.div_ceil(1024)).unwrap_or(u32::MAX).min(self.whole)
    }
}

impl<S> WebSocket<S>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    /// A connection after its upgrade; `unread` is what came after the head of the other side. Frames of more than
    /// `payload_max` bytes are neither sent nor taken.
    pub fn new(stream: S, unread: BytesMut, side: Side, payload_max: usize, room: Room) -> Self {
        Self {
            stream,
            side,
            payload_max,
            room,
            unread,
            arriving: None,
            leaving: VecDeque::new(),
            is_flushed: true,
            heard: false,
        }
    }

    /// Puts a frame in line. It leaves while [`Self::next`] or [`Self::drain`] waits.
    ///
    /// # Errors
    /// [`TooBig`], and nothing is sent.
    pub fn send(&mut self, opcode: Opcode, payload: impl Into<Bytes>) -> Result<(), TooBig> {
        self.send_parts(opcode, [payload.into()])
    }

    /// The same with a payload in parts, which are shared and not copied where they need no mask.
    ///
    /// # Errors
    /// [`TooBig`], and nothing is sent.
    pub fn send_parts(
        &mut self,
        opcode: Opcode,
        parts: impl IntoIterator<Item = Bytes, IntoIter: Clone>,
    ) -> Result<(), TooBig> {
        let parts = parts.into_iter();
        let length = parts.clone().map(|part| part.len()).sum();
        let is_control = matches!(opcode, Opcode::Close | Opcode::Ping | Opcode::Pong);
        let max = if is_control { CONTROL_MAX } else { self.payload_max };
        if length > max {
            return Err(TooBig { length, max });
        }
        self.is_flushed = false;
        match &mut self.side {
            Side::ControlPlane => {
                self.leaving.push_back(Head::whole(opcode, None, length as u64).bytes().into());
                self.leaving.extend(parts.filter(|part| !part.is_empty()));
            }
            Side::Node(random) => {
                let key = random.next_u32().to_be_bytes();
                let mut frame = Head::whole(opcode, Some(key), length as u64).bytes();
                let payload_at = frame.len();
                parts.for_each(|part| frame.extend_from_slice(&part));
                mask(&mut frame[payload_at..], key);
                self.leaving.push_back(frame.into());
            }
        }
        Ok(())
    }

    /// Whether everything that was sent has left.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.leaving.is_empty()
    }

    /// Whether the other side is heard although no frame is whole yet: bytes came since this was last asked, or they are kept
    /// waiting for room here. A large frame takes its time, and is no silence.
    pub fn is_heard(&mut self) -> bool {
        let waits = matches!(&self.arriving, Some(Arriving { turn: Turn::Waiting(_), .. }));
        std::mem::take(&mut self.heard) || waits
    }

    /// The next whole frame, while what was sent leaves. May be dropped and asked again; nothing is lost.
    ///
    /// # Errors
    /// [`Ended`]: no further frame can come.
    pub async fn next(&mut self) -> Result<Frame, Ended> {
        poll_fn(|context| match self.poll_leave(context) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(Ended::Failed(error))),
            Poll::Ready(Ok(())) | Poll::Pending => self.poll_arrive(context),
        })
        .await
    }

    /// The same; with `until_drained` also `None`, as soon as everything that was sent has left.
    ///
    /// # Errors
    /// [`Ended`]: no further frame can come.
    pub async fn next_or_drained(&mut self, until_drained: bool) -> Result<Option<Frame>, Ended> {
        poll_fn(|context| match self.poll_leave(context) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(Ended::Failed(error))),
            Poll::Ready(Ok(())) if until_drained => Poll::Ready(Ok(None)),
            Poll::Ready(Ok(())) | Poll::Pending => self.poll_arrive(context).map_ok(Some),
        })
        .await
    }

    /// Waits until everything that was sent has left.
    ///
    /// # Errors
    /// What the transport says.
    pub async fn drain(&mut self) -> io::Result<()> {
        poll_fn(|context| self.poll_leave(context)).await
    }

    /// Sends a close frame without a code, as both of Kong's sides do, and ends the stream. The caller bounds the time.
    ///
    /// # Errors
    /// What the transport says.
    pub async fn close(&mut self) -> io::Result<()> {
        // Never too big: it is empty.
        let _ = self.send(Opcode::Close, Bytes::new());
        self.end().await
    }

    /// Takes what still comes and forgets it, until the other side ends the stream too. A socket that is let go with bytes
    /// unread is reset, and what was sent last may be lost with it. The caller bounds the time.
    pub async fn linger(&mut self) {
        while self.next().await.is_ok() {}
    }

    /// Ends the stream without a close frame, once what was sent has left.
    ///
    /// # Errors
    /// What the transport says.
    pub async fn end(&mut self) -> io::Result<()> {
        self.drain().await?;
        self.stream.shutdown().await
    }

    fn poll_leave(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(bytes) = self.leaving.front_mut() {
            let written = ready!(Pin::new(&mut self.stream).poll_write(context, bytes))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            bytes.advance(written);
            if bytes.is_empty() {
                self.leaving.pop_front();
            }
        }
        if !self.is_flushed {
            ready!(Pin::new(&mut self.stream).poll_flush(context))?;
            self.is_flushed = true;
            self.leaving = VecDeque::new();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_arrive(&mut self, context: &mut Context<'_>) -> Poll<Result<Frame, Ended>> {
        loop {
            if self.arriving.is_none()
                && let Some((head, length)) = Head::read(&self.unread)?
            {
                self.unread.advance(length);
                self.arriving = Some(self.begun(head)?);
            }
            if let Some(arriving) = &mut self.arriving {
                if let Turn::Waiting(room) = &mut arriving.turn {
                    let kibibytes = self.room.kibibytes_of(arriving.head.length);
                    if let Some(permit) = ready!(room.poll_acquire_many(context, kibibytes)) {
                        arriving.turn = Turn::Has(permit);
                    }
                }
                // In range: what is larger than `payload_max` has been refused.
                let missing = usize::try_from(arriving.head.length).unwrap_or(usize::MAX) - arriving.payload.len();
                arriving.payload.reserve(missing);
                arriving.payload.put(self.unread.split_to(missing.min(self.unread.len())));
                if arriving.payload.len() as u64 == arriving.head.length {
                    return Poll::Ready(Ok(self.arrived()));
                }
            }
            if self.unread.is_empty() {
                self.unread = BytesMut::new();
            }
            ready!(self.poll_read(context)).map_err(ended)?;
        }
    }

    fn begun(&self, head: Head) -> Result<Arriving, Ended> {
        let is_fragment = !head.is_final || head.opcode == Opcode::Continuation;
        if is_fragment {
            return Err(Ended::Fragment);
        }
        if head.length > self.payload_max as u64 {
            return Err(Ended::TooLong { length: head.length, max: self.payload_max });
        }
        if matches!(self.side, Side::ControlPlane) && head.mask.is_none() {
            return Err(Ended::Unmasked);
        }
        let turn = if head.length > ROOMY as u64 {
            Turn::Waiting(PollSemaphore::new(Arc::clone(&self.room.kibibytes)))
        } else {
            Turn::NotNeeded
        };
        Ok(Arriving { head, payload: BytesMut::new(), turn })
    }

    fn arrived(&mut self) -> Frame {
        let Some(Arriving { head, mut payload, turn }) = self.arriving.take() else {
            unreachable!("only called with a frame that has arrived")
        };
        if let Some(key) = head.mask {
            mask(&mut payload, key);
        }
        self.heard = !self.unread.is_empty();
        let room = if let Turn::Has(permit) = turn { Some(permit) } else { None };
        Frame { opcode: head.opcode, payload: payload.freeze(), _room: room }
    }

    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let stream = Pin::new(&mut self.stream);
        let read = match &mut self.arriving {
            // `unread` is empty: all of it went into the payload.
            Some(Arriving { head, payload, .. }) => {
                let missing = usize::try_from(head.length).unwrap_or(usize::MAX) - payload.len();
                ready!(poll_read_buf(stream, context, &mut payload.limit(missing)))?
            }
            None => {
                let mut bytes = [const { MaybeUninit::uninit() }; READ_AT_ONCE];
                let mut bytes = ReadBuf::uninit(&mut bytes);
                ready!(stream.poll_read(context, &mut bytes))?;
                self.unread.extend_from_slice(bytes.filled());
                bytes.filled().len()
            }
        };
        self.heard = true;
        Poll::Ready(if read == 0 { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) })
    }
}

impl Frame {
    /// Whether this is a control frame or data of a kind, for people.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self.opcode {
            Opcode::Continuation => "continuation",
            Opcode::Text => "text",
            Opcode::Binary => "binary",
            Opcode::Close => "close",
            Opcode::Ping => "ping",
            Opcode::Pong => "pong",
        }
    }
}

/// A stream that ends without TLS's goodbye has ended too: a process that was killed says none.
fn ended(error: io::Error) -> Ended {
    if error.kind() == io::ErrorKind::UnexpectedEof { Ended::EndOfStream } else { Ended::Failed(error) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand::SeedableRng;
    use tokio::io::{AsyncReadExt, DuplexStream, duplex};

    const MAX: usize = 100_000;

    fn socket(side: Side, room: &Room) -> (WebSocket<DuplexStream>, DuplexStream) {
        let (ours, theirs) = duplex(1024);
        (WebSocket::new(ours, BytesMut::new(), side, MAX, room.clone()), theirs)
    }

    fn node() -> Side {
        Side::Node(Pcg32::seed_from_u64(1))
    }

    fn pair() -> (WebSocket<DuplexStream>, WebSocket<DuplexStream>) {
        let (ours, theirs) = duplex(1024);
        let room = Room::of(1 << 20);
        let node = WebSocket::new(ours, BytesMut::new(), node(), MAX, room.clone());
        (node, WebSocket::new(theirs, BytesMut::new(), Side::ControlPlane, MAX, room))
    }

    #[tokio::test]
    async fn frames_arrive_as_they_were_sent_in_both_directions() {
        let (mut node, mut control_plane) = pair();
        for length in [0, 125, 126, 0xffff, 0x1_0000, MAX] {
            let payload: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
            node.send(Opcode::Binary, payload.clone()).unwrap();
            let half = Bytes::from(payload.clone()).slice(..length / 2);
            control_plane.send_parts(Opcode::Binary, [half, payload[length / 2..].to_vec().into()]).unwrap();
            let (at_node, at_control_plane) = tokio::join!(
                async {
                    let frame = node.next().await.unwrap();
                    node.drain().await.unwrap();
                    frame
                },
                async {
                    let frame = control_plane.next().await.unwrap();
                    control_plane.drain().await.unwrap();
                    frame
                }
            );
            assert_eq!((at_node.opcode, &at_node.payload[..]), (Opcode::Binary, &payload[..]));
            assert_eq!((at_control_plane.opcode, &at_control_plane.payload[..]), (Opcode::Binary, &payload[..]));
        }
    }

    #[tokio::test]
    async fn a_frame_of_a_node_is_masked_and_one_of_a_control_plane_is_not() {
        let room = Room::of(1024);
        let (mut socket, mut wire) = socket(node(), &room);
        socket.send(Opcode::Ping, Bytes::from_static(b"0123")).unwrap();
        socket.drain().await.unwrap();
        let mut bytes = [0; 10];
        wire.read_exact(&mut bytes).await.unwrap();
        assert_eq!(bytes[..2], [0x89, 0x84]);
        let key: [u8; 4] = bytes[2..6].try_into().unwrap();
        mask(&mut bytes[6..], key);
        assert_eq!(&bytes[6..], b"0123");
        let (mut socket, mut wire) = self::socket(Side::ControlPlane, &room);
        socket.close().await.unwrap();
        let mut bytes = Vec::new();
        wire.read_to_end(&mut bytes).await.unwrap();
        assert_eq!(bytes, [0x88, 0], "a close frame without a code, and the end");
    }

    async fn ends(side: Side, bytes: &[u8], with: &str) {
        let (mut socket, mut wire) = socket(side, &Room::of(1024));
        wire.write_all(bytes).await.unwrap();
        drop(wire);
        let ended = socket.next().await.unwrap_err().to_string();
        assert!(ended.contains(with), "{ended}");
    }

    #[tokio::test]
    async fn what_kong_would_not_take_ends_the_connection() {
        ends(Side::ControlPlane, &[0x89, 0], "not masked").await;
        ends(node(), &[0x02, 0], "fragment").await;
        ends(node(), &[0x80, 0], "fragment").await;
        ends(node(), &[0xc2, 0], "reserved bit").await;
        ends(node(), &[0x82, 127, 0, 0, 0, 0, 0, 1, 0x86, 0xa1], "100001 bytes, and 100000 are allowed").await;
        ends(node(), &[0x82, 5, 1, 2], "ended the connection").await;
        ends(node(), &[], "ended the connection").await;
    }

    #[tokio::test]
    async fn what_is_too_big_is_not_sent() {
        let (mut socket, _wire) = socket(Side::ControlPlane, &Room::of(1024));
        assert_eq!(socket.send(Opcode::Binary, vec![0; MAX]), Ok(()));
        assert_eq!(socket.send(Opcode::Binary, vec![0; MAX + 1]), Err(TooBig { length: MAX + 1, max: MAX }));
        assert_eq!(socket.send(Opcode::Ping, vec![0; 125]), Ok(()));
        assert_eq!(socket.send(Opcode::Ping, vec![0; 126]), Err(TooBig { length: 126, max: 125 }));
    }

    #[tokio::test(start_paused = true)]
    async fn large_frames_take_turns() {
        let room = Room::of(100 * 1024);
        let (mut first, mut wire) = socket(node(), &room);
        let (mut second, mut other) = socket(node(), &room);
        let large = [Head::whole(Opcode::Binary, None, 70_000).bytes(), vec![7; 70_000]].concat();
        let (frame, ()) = tokio::join!(first.next(), async { wire.write_all(&large).await.unwrap() });
        let frame = frame.unwrap();
        let copy = large.clone();
        tokio::spawn(async move {
            other.write_all(&copy).await.unwrap();
            std::future::pending::<()>().await;
        });
        let minute = std::time::Duration::from_secs(60);
        assert!(tokio::time::timeout(minute, second.next()).await.is_err(), "no room while the first is held");
        assert!(second.is_heard() && second.is_heard(), "it is not the other side that is silent");
        drop(frame);
        assert_eq!(second.next().await.unwrap().payload.len(), 70_000);
        assert!(!second.is_heard(), "a whole frame is not news twice");
        let small = [Head::whole(Opcode::Ping, None, 1).bytes(), vec![1]].concat();
        let held = room.kibibytes.clone().acquire_many_owned(100).await.unwrap();
        wire.write_all(&small).await.unwrap();
        assert_eq!(first.next().await.unwrap().opcode, Opcode::Ping, "small frames need none");
        drop(held);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn no_bytes_are_too_strange(bytes in prop::collection::vec(any::<u8>(), 0..200), is_node: bool) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async {
                let side = if is_node { node() } else { Side::ControlPlane };
                let (mut socket, mut wire) = socket(side, &Room::of(1024));
                wire.write_all(&bytes).await.unwrap();
                drop(wire);
                while let Ok(frame) = socket.next().await {
                    _ = frame.word();
                }
            });
        }
    }
}
