//! How a simulated control plane serves a node on `/v2/outlet` (`kong-hybrid.md` 2.2 to 2.6).

use super::compatibility::is_sync_offered;
use super::control_plane::{Inner, Over, Rpc, Served};
use super::data_plane::READ_TIMEOUT;
use super::node::Flavour;
use super::publishing::{Change, Deltas, Export, INCREMENTAL_MAX, slot, version_of};
use super::records::Row;
use super::rpc::{self, Due, SNAPPY, SYNC_V2, Silence};
use super::websocket::WebSocket;
use crate::cluster_tls::Peer;
use crate::kong::facts::Introduction;
use crate::kong::session::Opcode;
use crate::kong::v2::{Encoding, Message};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tidemark_domain::hash::ConfigHash;
use tidemark_domain::time::SECOND;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{sleep, timeout};

/// Nodes that are notified of a change: the first page of the table, and no more.
const NOTIFIED_MAX: usize = 512;
/// A row that was not written for longer is of a node that is not connected.
const CONNECTED_MS: i64 = 60 * SECOND;

/// What a node lacks of the newest version.
enum Missing {
    Nothing,
    Changes(Vec<Arc<Change>>),
    /// A full sync, at least at this version.
    Everything {
        newest: u64,
    },
}

/// What a hello must have beside what the decoder reads.
#[derive(Deserialize)]
struct Hello {
    params: [HelloParameters; 1],
}

#[derive(Deserialize)]
struct HelloParameters {
    rpc_frame_encodings: Vec<String>,
    #[serde(rename = "kong_conf")]
    _conf: BTreeMap<String, IgnoredAny>,
}

impl Inner {
    pub(super) async fn v2<S>(
        &self,
        socket: &mut WebSocket<S>,
        rpc: Rpc,
        peer: Peer,
        ip: IpAddr,
    ) -> Result<Infallible, Over>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let settings = &self.settings;
        let mut changes = self.publishing.changes();
        changes.mark_unchanged();
        let first = timeout(settings.pace.patience(READ_TIMEOUT), socket.next()).await;
        let first = first.map_err(|_| Over::Refused("no hello within 5 seconds".to_owned()))??;
        let introduction = hello(&first.payload).map_err(Over::Refused)?;
        let node_id = introduction.node_id.clone().unwrap_or_default();
        let is_offered =
            rpc.syncs && is_sync_offered(&settings.gateway_version, introduction.gateway_version.as_deref());
        let does_sync = is_offered && introduction.capabilities.iter().any(|capability| capability == SYNC_V2);
        let node = Served { introduction: Arc::new(introduction), node_id, ip, peer };
        let capabilities = if is_offered { json!([SYNC_V2]) } else { json!([]) };
        let result = json!({"rpc_capabilities": capabilities, "rpc_frame_encoding": SNAPPY});
        socket.send(Opcode::Binary, json!({"jsonrpc": "2.0", "id": 1, "result": result}).to_string())?;
        if !rpc.syncs {
            self.record_rpc(&node, rpc.flavour, None);
        }
        let mut next_id = 0;
        let mut silence = Silence::new();
        let mut look = pin!(sleep(settings.pace.judging(READ_TIMEOUT)));
        loop {
            tokio::select! {
                frame = socket.next() => {
                    silence.broken(look.as_mut(), settings.pace);
                    let frame = frame?;
                    match frame.opcode {
                        Opcode::Binary => {
                            let messages = rpc::messages(&frame.payload, Encoding::Snappy).map_err(Over::Refused)?;
                            for message in messages {
                                self.told(socket, rpc, &node, message).await?;
                            }
                        }
                        Opcode::Ping => socket.send(Opcode::Pong, "")?,
                        Opcode::Pong => {}
                        Opcode::Close => return Err(Over::Closed),
                        Opcode::Text | Opcode::Continuation => {
                            return Err(Over::Refused(format!("a {} frame", frame.word())));
                        }
                    }
                }
                Ok(()) = changes.changed() => {
                    let version = *changes.borrow_and_update();
                    if does_sync && self.is_notified(&node.node_id) {
                        for _ in 0..notifications(rpc.flavour) {
                            let new_version = version_value(rpc.flavour, version);
                            let call = json!({
                                "jsonrpc": "2.0", "id": next_id, "method": "kong.sync.v2.notify_new_version",
                                "params": [{"default": {"new_version": new_version}}],
                            });
                            socket.send(Opcode::Binary, rpc::frame(&call.to_string()))?;
                            next_id += 1;
                        }
                    }
                }
                () = &mut look => match silence.look(look.as_mut(), settings.pace) {
                    _ if socket.is_heard() => silence.broken(look.as_mut(), settings.pace),
                    Due::Nothing => {}
                    Due::Ping => socket.send(Opcode::Ping, "")?,
                    Due::End => return Err(Over::Silence),
                },
            }
        }
    }

    async fn told<S>(&self, socket: &mut WebSocket<S>, rpc: Rpc, node: &Served, message: Message) -> Result<(), Over>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        match message {
            Message::GetDelta { id, version } if rpc.syncs => {
                // Before the answer: the row says what the node ran when it asked.
                self.record_rpc(node, rpc.flavour, Some(version));
                self.counts().pings.fetch_add(1, Ordering::Relaxed);
                if let Some(id) = id {
                    self.answer(socket, rpc.flavour, node, id, version).await?;
                }
            }
            Message::GetDelta { id: Some(id), .. } | Message::Other { id: Some(id), .. } => {
                let error = json!({"code": -32601, "message": "Method not found"});
                let answer = json!({"jsonrpc": "2.0", "id": id, "error": error});
                socket.send(Opcode::Binary, rpc::frame(&answer.to_string()))?;
            }
            Message::ValidationError(failure) => {
                tracing::debug!(node = node.node_id, version = ?failure.version, "a node could not apply a version");
            }
            // Answers to notifications, and what only a control plane says.
            Message::GetDelta { id: None, .. }
            | Message::Other { id: None, .. }
            | Message::Done
            | Message::Error { .. }
            | Message::Hello(_)
            | Message::Welcome { .. }
            | Message::Deltas { .. }
            | Message::NewVersion { .. } => {}
        }
        Ok(())
    }

    async fn answer<S>(
        &self,
        socket: &mut WebSocket<S>,
        flavour: Flavour,
        node: &Served,
        id: u64,
        runs: ConfigHash,
    ) -> Result<(), Over>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let (deltas, is_full) = match self.missing(flavour, runs) {
            Missing::Nothing => (Deltas::of(std::iter::empty()), false),
            Missing::Changes(changes) => (Deltas::of(changes.iter().map(|change| change.delta(flavour))), false),
            Missing::Everything { newest } => {
                let (export, introduction) = (self.newest_export(newest), Arc::clone(&node.introduction));
                let make = move || export.full_sync(&introduction).deltas(flavour).clone();
                (self.made(make).await, true)
            }
        };
        let flag = match flavour {
            Flavour::Integers => "wipe",
            Flavour::Tokens => "full_sync",
        };
        let before = format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{{\"default\":{{\"deltas\":");
        let after = format!(",\"{flag}\":{is_full}}}}}}}");
        socket.send_parts(Opcode::Binary, rpc::frame_around(&before, &deltas, &after))?;
        self.counts().configurations.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// What a node needs to run the newest (`kong-hybrid.md` 2.5).
    fn missing(&self, flavour: Flavour, runs: ConfigHash) -> Missing {
        let newest = *self.publishing.changes().borrow();
        match flavour {
            Flavour::Tokens if runs < slot(flavour, newest) => Missing::Everything { newest },
            Flavour::Tokens => Missing::Nothing,
            Flavour::Integers => match version_of(flavour, runs) {
                0 => Missing::Everything { newest },
                runs if runs >= newest => Missing::Nothing,
                runs if newest - runs > INCREMENTAL_MAX => Missing::Everything { newest },
                runs => match self.publishing.changes_since(runs) {
                    Some(changes) => Missing::Changes(changes),
                    None => Missing::Everything { newest },
                },
            },
        }
    }

    /// One export serves all nodes that need everything at one version.
    fn newest_export(&self, version: u64) -> Arc<dyn Export> {
        let mut kept = self.synced.lock();
        match &*kept {
            Some((of, export)) if *of == version => Arc::clone(export),
            _ => {
                let export = self.publishing.export(self.settings.clock.now());
                *kept = Some((version, Arc::clone(&export)));
                export
            }
        }
    }

    fn is_notified(&self, node_id: &str) -> bool {
        let now = self.settings.clock.now();
        let is_connected = |row: &Row| now.since(row.last_seen) <= CONNECTED_MS;
        self.records.row(node_id).is_some_and(|row| is_connected(&row))
            && self.records.is_among_first(node_id, NOTIFIED_MAX)
    }

    /// Writes the row of a v2 node. Its hostname is the node id again, a quirk of Kong's; 3.9 leaves labels and
    /// certificate out (recorded).
    fn record_rpc(&self, node: &Served, flavour: Flavour, hash: Option<ConfigHash>) {
        let known = self.records.row(&node.node_id);
        let introduction = &node.introduction;
        let certificate = node.peer.certificate.as_ref().filter(|_| flavour == Flavour::Tokens);
        let row = Row {
            hostname: node.node_id.clone(),
            ip: node.ip,
            gateway_version: introduction.gateway_version.clone().unwrap_or_default(),
            hash: hash.or(known.as_ref().map(|row| row.hash)).unwrap_or(ConfigHash::ZEROS),
            sync_status: match (hash, known) {
                (None, Some(known)) => known.sync_status,
                _ => "normal",
            },
            last_seen: self.settings.clock.now(),
            labels: match flavour {
                Flavour::Integers => BTreeMap::new(),
                Flavour::Tokens => introduction.labels.clone(),
            },
            certificate_expires: certificate.map(|certificate| certificate.not_after),
            capabilities: introduction.capabilities.clone(),
        };
        self.records.upsert(&node.node_id, row);
    }
}

/// Reads a hello; the error is for people.
fn hello(payload: &[u8]) -> Result<Introduction, String> {
    let mut messages = rpc::messages(payload, Encoding::Plain)?;
    let (Some(Message::Hello(introduction)), true) = (messages.pop(), messages.is_empty()) else {
        return Err("the first frame is no hello".to_owned());
    };
    if introduction.node_id.is_none() || introduction.hostname.is_none() || introduction.gateway_version.is_none() {
        return Err("a hello without kong_version, kong_node_id or kong_hostname".to_owned());
    }
    let hello: Hello = serde_json::from_slice(payload).map_err(|error| format!("a hello: {error}"))?;
    let [parameters] = hello.params;
    if !parameters.rpc_frame_encodings.iter().any(|encoding| encoding == SNAPPY) {
        return Err(format!("a hello without {SNAPPY}"));
    }
    Ok(*introduction)
}

/// How often a node is called for one write. The control plane of 3.10 calls twice (recorded).
const fn notifications(flavour: Flavour) -> u8 {
    match flavour {
        Flavour::Integers => 1,
        Flavour::Tokens => 2,
    }
}

fn version_value(flavour: Flavour, version: u64) -> Value {
    match flavour {
        Flavour::Integers => version.into(),
        Flavour::Tokens => slot(flavour, version).as_str().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn said(parameters: &Value) -> Vec<u8> {
        json!({"jsonrpc": "2.0", "id": 1, "method": "kong.meta.v1.hello", "params": [parameters]})
            .to_string()
            .into_bytes()
    }

    #[test]
    fn a_hello_must_have_what_kong_demands() {
        let whole = json!({
            "rpc_capabilities": [], "rpc_frame_encodings": ["x-snappy-framed"], "kong_version": "3.9.3",
            "kong_hostname": "vm", "kong_node_id": "n1", "kong_conf": {},
        });
        assert_eq!(hello(&said(&whole)).unwrap().node_id.as_deref(), Some("n1"));
        for key in ["rpc_frame_encodings", "kong_version", "kong_hostname", "kong_node_id", "kong_conf"] {
            let mut without = whole.clone();
            without.as_object_mut().unwrap().remove(key);
            assert!(hello(&said(&without)).is_err(), "{key}");
        }
        let mut other = whole;
        other["rpc_frame_encodings"] = json!(["x-gzip"]);
        assert!(hello(&said(&other)).unwrap_err().contains("without x-snappy-framed"));
        assert!(hello(br#"{"jsonrpc":"2.0","id":1,"result":true}"#).is_err());
    }

    proptest! {
        #[test]
        fn no_hello_is_too_strange(payload in prop::collection::vec(any::<u8>(), 0..100)) {
            _ = hello(&payload);
        }
    }
}
