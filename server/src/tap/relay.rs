//! One node and its control plane: every byte of either goes to the other as it came, and a copy to the capture.

use super::capture::{Capture, What};
use super::splitter::Splitter;
use crate::kong::facts::{Ending, Party};
use crate::kong::frame::PAYLOAD_MAX;
use bytes::{Buf, BytesMut};
use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// As much as TLS holds in one record.
const READ_MAX: usize = 16 * 1024;

thread_local! {
    /// Read into and written from at once, so that a connection on which nothing happens has no buffer.
    static BUFFER: RefCell<Box<[u8; READ_MAX]>> = RefCell::new(Box::new([0; READ_MAX]));
}

/// One way through.
struct Way {
    from: Party,
    splitter: Splitter,
    /// What was read and is not written yet: less than [`READ_MAX`].
    unwritten: BytesMut,
    is_flushed: bool,
    stage: Stage,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Passing,
    /// The sender has ended; the other is told.
    Ending,
    Ended,
}

/// Passes on until both sides have ended, or one fails. After one ended, the other has a while to end too.
pub async fn relay<N, C>(
    mut node: N,
    mut control_plane: C,
    capture: &Capture,
    connection: u64,
    splitters: (Splitter, Splitter),
    linger: Duration,
) where
    N: AsyncRead + AsyncWrite + Unpin,
    C: AsyncRead + AsyncWrite + Unpin,
{
    let mut up = Way::new(Party::Node, splitters.0);
    let mut down = Way::new(Party::ControlPlane, splitters.1);
    let mut lingering: Option<Pin<Box<Sleep>>> = None;
    let failed = poll_fn(|context| {
        let there = up.pass(context, &mut node, &mut control_plane, capture, connection);
        let back = down.pass(context, &mut control_plane, &mut node, capture, connection);
        match (there, back) {
            (Poll::Ready(Err(failed)), _) | (_, Poll::Ready(Err(failed))) => return Poll::Ready(Some(failed)),
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => return Poll::Ready(None),
            (Poll::Pending, Poll::Pending) => return Poll::Pending,
            (Poll::Ready(Ok(())), Poll::Pending) | (Poll::Pending, Poll::Ready(Ok(()))) => {}
        }
        let lingering = lingering.get_or_insert_with(|| Box::pin(sleep(linger)));
        lingering.as_mut().poll(context).map(|()| None)
    });
    if let Some((party, error)) = failed.await {
        capture.tell(connection, What::Ended(party, Ending::Failure { error: error.to_string() }));
    }
}

impl Way {
    fn new(from: Party, splitter: Splitter) -> Self {
        Self { from, splitter, unwritten: BytesMut::new(), is_flushed: true, stage: Stage::Passing }
    }

    const fn to(&self) -> Party {
        match self.from {
            Party::Node => Party::ControlPlane,
            Party::ControlPlane | Party::Observer => Party::Node,
        }
    }

    /// Passes on what there is. Ready once the sender has ended and the other side was told; an error says whose side
    /// failed.
    fn pass<R, W>(
        &mut self,
        context: &mut Context<'_>,
        reader: &mut R,
        writer: &mut W,
        capture: &Capture,
        connection: u64,
    ) -> Poll<Result<(), (Party, io::Error)>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        let to = self.to();
        let of_writer = move |error| (to, error);
        loop {
            while !self.unwritten.is_empty() {
                let written = ready!(Pin::new(&mut *writer).poll_write(context, &self.unwritten)).map_err(of_writer)?;
                if written == 0 {
                    return Poll::Ready(Err(of_writer(io::ErrorKind::WriteZero.into())));
                }
                self.unwritten.advance(written);
                self.is_flushed = false;
            }
            // An idle connection holds nothing.
            if self.unwritten.capacity() > 0 {
                self.unwritten = BytesMut::new();
            }
            match self.stage {
                Stage::Passing => match self.read(context, reader, writer, capture, connection) {
                    Poll::Ready(result) => result?,
                    Poll::Pending => {
                        if !self.is_flushed {
                            ready!(Pin::new(&mut *writer).poll_flush(context)).map_err(of_writer)?;
                            self.is_flushed = true;
                        }
                        return Poll::Pending;
                    }
                },
                Stage::Ending => {
                    // A side that is gone already need not be told.
                    let _ = ready!(Pin::new(&mut *writer).poll_shutdown(context));
                    self.stage = Stage::Ended;
                }
                Stage::Ended => return Poll::Ready(Ok(())),
            }
        }
    }

    /// Reads once, writes as much of it as the other side takes, and keeps the rest.
    fn read<R, W>(
        &mut self,
        context: &mut Context<'_>,
        reader: &mut R,
        writer: &mut W,
        capture: &Capture,
        connection: u64,
    ) -> Poll<Result<(), (Party, io::Error)>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        BUFFER.with_borrow_mut(|buffer| {
            let mut read = ReadBuf::new(&mut buffer[..]);
            match ready!(Pin::new(reader).poll_read(context, &mut read)) {
                Ok(()) => {}
                // Without a goodbye of TLS: how a process ends that is killed, and how nginx ends.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {}
                Err(error) => return Poll::Ready(Err((self.from, error))),
            }
            let bytes = read.filled();
            if bytes.is_empty() {
                capture.tell(connection, What::Ended(self.from, Ending::EndOfStream));
                self.stage = Stage::Ending;
                return Poll::Ready(Ok(()));
            }
            capture.counts.passed_bytes.inc_by(bytes.len() as u64);
            let mut rest = bytes;
            while !rest.is_empty() {
                match Pin::new(&mut *writer).poll_write(context, rest) {
                    Poll::Ready(Ok(written @ 1..)) => rest = &rest[written..],
                    Poll::Ready(Ok(_)) => return Poll::Ready(Err((self.to(), io::ErrorKind::WriteZero.into()))),
                    Poll::Ready(Err(error)) => return Poll::Ready(Err((self.to(), error))),
                    Poll::Pending => {
                        self.unwritten.extend_from_slice(rest);
                        break;
                    }
                }
            }
            self.is_flushed = false;
            self.splitter.take(bytes, |piece| capture.said(connection, self.from, piece));
            Poll::Ready(Ok(()))
        })
    }
}

/// The two splitters of a connection. No node says more than Kong would take by default.
#[must_use]
pub fn splitters(capture: &Capture, payload_max: u64) -> (Splitter, Splitter) {
    let of = |from, payload_max| Splitter::new(from, Arc::clone(&capture.budget), payload_max);
    (of(Party::Node, payload_max.min(PAYLOAD_MAX as u64)), of(Party::ControlPlane, payload_max))
}
