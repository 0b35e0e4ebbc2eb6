//! How a simulated data plane lives on `/v2/outlet` (`kong-hybrid.md` 2.6): it says what it runs, asks for what is missing,
//! and is told that there is something new.

use super::data_plane::{Applied, Fault, Life, Over, READ_TIMEOUT, finished};
use super::node::{Flavour, Node};
use super::publishing::version_of;
use super::rpc::{self, Due, SYNC_V2, Silence};
use super::websocket::{TooBig, WebSocket};
use crate::kong::facts::ApplyFailure;
use crate::kong::session::Opcode;
use crate::kong::v2::{Delta, Encoding, Message};
use futures::FutureExt;
use futures::future::BoxFuture;
use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tidemark_domain::hash::ConfigHash;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::time::{Interval, MissedTickBehavior, interval, sleep, timeout};

/// A node asks this often, notified or not.
const ASK_INTERVAL: Duration = Duration::from_secs(30);
/// A call that is not answered within this time has failed; a late answer is dropped.
const CALL_MAX: Duration = Duration::from_secs(5);
/// A notified node that does not get what it was notified of asks again so often, so soon.
const RETRIES: u32 = 5;
const RETRY_AFTER: Duration = Duration::from_millis(100);

/// One sync at a time: asked, answered, applied, and in 3.9 the same once more.
struct Sync<'a> {
    node: &'a Node,
    flavour: Flavour,
    next_id: u64,
    /// The call that is under way.
    asked: Option<u64>,
    rounds_left: u8,
    applying: Option<BoxFuture<'static, Applied>>,
    /// The newest version that the control plane told of.
    wanted: Option<ConfigHash>,
    is_notified: bool,
    retries_left: u32,
}

impl Life {
    /// One connection after the other. `lacks_sync` is set once a control plane does not offer what the node wants.
    pub(super) async fn v2(&mut self, flavour: Option<Flavour>, lacks_sync: &watch::Sender<bool>) {
        let mut ask = interval(self.pace().span(ASK_INTERVAL));
        ask.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut is_first = true;
        loop {
            let Err(over) = self.v2_once(flavour, lacks_sync, &mut ask, &mut is_first).await;
            self.seen.send_modify(|seen| {
                seen.v2.is_open = false;
                seen.v2.over = Some(over.to_string());
            });
            self.wait_to_reconnect().await;
        }
    }

    async fn v2_once(
        &mut self,
        flavour: Option<Flavour>,
        lacks_sync: &watch::Sender<bool>,
        ask: &mut Interval,
        is_first: &mut bool,
    ) -> Result<Infallible, Over> {
        let node = Arc::clone(&self.orders.borrow_and_update().node);
        let mut socket = self.dial(&node, true).await?;
        self.seen.send_modify(|seen| {
            seen.v2.is_open = true;
            seen.v2.connects += 1;
        });
        let over = self.v2_over(&node, &mut socket, flavour, lacks_sync, ask, is_first).await;
        self.part(&mut socket, over).await
    }

    async fn v2_over<S>(
        &mut self,
        node: &Node,
        socket: &mut WebSocket<S>,
        flavour: Option<Flavour>,
        lacks_sync: &watch::Sender<bool>,
        ask: &mut Interval,
        is_first: &mut bool,
    ) -> Result<Infallible, Over>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let pace = self.pace();
        socket.send(Opcode::Binary, node.hello())?;
        let first = timeout(pace.patience(READ_TIMEOUT), socket.next()).await;
        let first = first.map_err(|_| Over::Unreadable("no answer to the hello within 5 seconds".to_owned()))??;
        let welcome = rpc::messages(&first.payload, Encoding::Plain).map_err(Over::Unreadable)?;
        let [Message::Welcome { capabilities }] = welcome.as_slice() else {
            return Err(Over::Unreadable("the hello was not answered by a welcome".to_owned()));
        };
        let flavour = match flavour {
            Some(_) if !capabilities.iter().any(|capability| capability == SYNC_V2) => {
                // "sync v1 is enabled due to rpc sync can not work."
                lacks_sync.send_replace(true);
                None
            }
            flavour => flavour,
        };
        let mut sync = flavour.map(|flavour| Sync::new(node, flavour));
        if let Some(sync) = &mut sync {
            // The timer of 3.9 runs on while there is no connection, and a node that comes back waits for it (recorded).
            // Later releases stop it, and start over.
            if std::mem::take(is_first) || sync.flavour == Flavour::Tokens {
                ask.reset();
                sync.begin(self, socket)?;
            } else {
                while ask.tick().now_or_never().is_some() {}
            }
        }
        let mut silence = Silence::new();
        let mut look = pin!(sleep(pace.judging(READ_TIMEOUT)));
        let mut call_ends = pin!(sleep(pace.judging(CALL_MAX)));
        let mut retry = pin!(pace.wait(RETRY_AFTER));
        loop {
            let asked_before = sync.as_ref().and_then(|sync| sync.asked);
            let (is_asked, is_behind) = match &sync {
                Some(sync) => (sync.asked.is_some(), sync.is_to_retry(self)),
                None => (false, false),
            };
            tokio::select! {
                frame = socket.next() => {
                    silence.broken(look.as_mut(), pace);
                    let frame = frame?;
                    match frame.opcode {
                        Opcode::Binary => {
                            let messages = rpc::messages(&frame.payload, Encoding::Snappy).map_err(Over::Unreadable)?;
                            // The room it took is for the next node.
                            drop(frame);
                            for message in messages {
                                self.told(node, sync.as_mut(), socket, message)?;
                            }
                        }
                        Opcode::Ping => socket.send(Opcode::Pong, "")?,
                        Opcode::Close => return Err(Over::Closed),
                        Opcode::Pong => {}
                        Opcode::Text | Opcode::Continuation => {
                            return Err(Over::Unreadable(format!("a {} frame", frame.word())));
                        }
                    }
                }
                applied = applied(&mut sync) => {
                    if let Some(sync) = &mut sync {
                        sync.applied(self, socket, applied)?;
                    }
                }
                _ = ask.tick() => {
                    if let Some(sync) = sync.as_mut().filter(|sync| sync.is_idle()) {
                        sync.begin(self, socket)?;
                    }
                }
                () = &mut call_ends, if is_asked => {
                    if let Some(sync) = &mut sync {
                        sync.give_up();
                    }
                }
                () = &mut retry, if is_behind => {
                    if let Some(sync) = &mut sync {
                        sync.retries_left = sync.retries_left.saturating_sub(1);
                        sync.begin(self, socket)?;
                    }
                }
                () = &mut look => match silence.look(look.as_mut(), pace) {
                    _ if socket.is_heard() => silence.broken(look.as_mut(), pace),
                    Due::Nothing => {}
                    Due::Ping if self.fault() == Some(Fault::Silent) => {}
                    Due::Ping => socket.send(Opcode::Ping, "")?,
                    Due::End if self.fault() == Some(Fault::Silent) => {}
                    Due::End => return Err(Over::Silence),
                },
            }
            if sync.as_ref().and_then(|sync| sync.asked) != asked_before {
                call_ends.set(sleep(pace.judging(CALL_MAX)));
                retry.set(pace.wait(RETRY_AFTER));
            }
        }
    }

    fn told<S>(
        &mut self,
        node: &Node,
        sync: Option<&mut Sync<'_>>,
        socket: &mut WebSocket<S>,
        message: Message,
    ) -> Result<(), TooBig>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        match (message, sync) {
            (Message::NewVersion { id, version }, Some(sync)) => {
                if let Some(id) = id {
                    self.say(socket, &node.done(id))?;
                }
                sync.notified(self, socket, version)
            }
            (Message::Deltas { id, deltas, .. }, Some(sync)) => {
                self.seen.send_modify(|seen| seen.v2.answered += 1);
                sync.answered(self, socket, id, &deltas)
            }
            // The call that has failed is one of ours.
            (Message::Error { .. }, Some(sync)) => {
                sync.give_up();
                Ok(())
            }
            (Message::Other { id: Some(id), .. } | Message::NewVersion { id: Some(id), .. }, _) => {
                self.say(socket, &node.method_not_found(id))
            }
            // Nothing that a node answers.
            _ => Ok(()),
        }
    }

    fn say<S>(&self, socket: &mut WebSocket<S>, text: &str) -> Result<(), TooBig>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        if self.fault() == Some(Fault::Silent) { Ok(()) } else { socket.send(Opcode::Binary, rpc::frame(text)) }
    }

    fn stored(&self) -> ConfigHash {
        self.seen.borrow().stored
    }
}

/// What comes of what is being applied.
async fn applied(sync: &mut Option<Sync<'_>>) -> Applied {
    match sync {
        Some(sync) => finished(&mut sync.applying).await,
        None => std::future::pending().await,
    }
}

impl<'a> Sync<'a> {
    const fn new(node: &'a Node, flavour: Flavour) -> Self {
        Self {
            node,
            flavour,
            next_id: 0,
            asked: None,
            rounds_left: 0,
            applying: None,
            wanted: None,
            is_notified: false,
            retries_left: RETRIES,
        }
    }

    fn is_idle(&self) -> bool {
        self.asked.is_none() && self.applying.is_none()
    }

    /// Starts over. 3.9 asks again after each answer, to get what came in between.
    fn begin<S>(&mut self, life: &Life, socket: &mut WebSocket<S>) -> Result<(), TooBig>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        self.rounds_left = match self.flavour {
            Flavour::Integers => 2,
            Flavour::Tokens => 1,
        };
        self.ask(life, socket)
    }

    fn ask<S>(&mut self, life: &Life, socket: &mut WebSocket<S>) -> Result<(), TooBig>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        life.seen.send_modify(|seen| seen.v2.sent += 1);
        self.asked = Some(self.next_id);
        self.next_id += 1;
        let text = self.node.get_delta(self.asked, self.flavour, life.stored());
        life.say(socket, &text)
    }

    fn give_up(&mut self) {
        (self.asked, self.rounds_left) = (None, 0);
    }

    fn notified<S>(&mut self, life: &Life, socket: &mut WebSocket<S>, version: ConfigHash) -> Result<(), TooBig>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        self.wanted = self.wanted.max(Some(version));
        if !self.is_behind(life) {
            return Ok(());
        }
        (self.is_notified, self.retries_left) = (true, RETRIES);
        // Otherwise the sync that is under way will see it, or the one after it.
        if self.is_idle() { self.begin(life, socket) } else { Ok(()) }
    }

    fn is_behind(&self, life: &Life) -> bool {
        let stored = life.stored();
        self.wanted.is_some_and(|wanted| match self.flavour {
            Flavour::Integers => version_of(self.flavour, stored) < version_of(self.flavour, wanted),
            Flavour::Tokens => stored < wanted,
        })
    }

    fn is_to_retry(&self, life: &Life) -> bool {
        self.is_idle() && self.is_notified && self.retries_left > 0 && self.is_behind(life)
    }

    fn answered<S>(
        &mut self,
        life: &mut Life,
        socket: &mut WebSocket<S>,
        id: Option<u64>,
        deltas: &[Delta],
    ) -> Result<(), TooBig>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        if id.is_none() || id != self.asked {
            return Ok(());
        }
        self.asked = None;
        let Some(last) = deltas.last() else {
            return self.round_is_over(life, socket);
        };
        let (version, pace) = (last.version, life.pace());
        let (takes, fails) = life.how_to_apply();
        self.applying = Some(Box::pin(async move {
            pace.wait(takes).await;
            match fails {
                Some(failure) => Applied::Failed { offered: Some(version), failure },
                None => Applied::Stored(version),
            }
        }));
        Ok(())
    }

    fn applied<S>(&mut self, life: &mut Life, socket: &mut WebSocket<S>, applied: Applied) -> Result<(), TooBig>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        self.applying = None;
        match applied {
            Applied::Stored(version) => {
                life.store(version);
                self.round_is_over(life, socket)
            }
            Applied::Failed { offered, failure } => {
                life.seen.send_modify(|seen| seen.failed += 1);
                (self.rounds_left, self.is_notified) = (0, false);
                let failure = ApplyFailure {
                    name: failure.name.clone().or_else(|| Some("sync deltas parse failure".to_owned())),
                    ..(*failure).clone()
                };
                life.say(socket, &self.node.validation_error(offered, &failure))
            }
            Applied::Ignored => Ok(()),
        }
    }

    fn round_is_over<S>(&mut self, life: &Life, socket: &mut WebSocket<S>) -> Result<(), TooBig>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        self.rounds_left = self.rounds_left.saturating_sub(1);
        if self.rounds_left > 0 {
            return self.ask(life, socket);
        }
        // So that the control plane learns at once; in 3.9 the second round has told it.
        if self.is_notified && self.flavour == Flavour::Tokens {
            life.say(socket, &self.node.get_delta(None, self.flavour, life.stored()))?;
        }
        self.is_notified = self.is_behind(life);
        Ok(())
    }
}
