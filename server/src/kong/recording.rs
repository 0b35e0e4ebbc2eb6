//! A recorded connection: lines of a transcript, in order, one file a connection. This module knows the format of the
//! recorder and its clock; what the bytes mean is the business of [`super::session`].

use super::facts::{Accepted, Observed, Party};
use super::recognize::{Damage, base64, wall_clock};
use super::session::{Event, Frame, Opcode, Session};
use super::text::{MESSAGE_MAX, clip, name};
use serde_json::{Map, Value};

/// One line: how long after the start, and what happened.
#[derive(Clone, Debug, PartialEq)]
pub struct TranscriptLine {
    since_start_ms: f64,
    record: Record,
}

#[derive(Clone, Debug, PartialEq)]
enum Record {
    /// The only line that says what time it is.
    Accepted {
        wallclock_s: f64,
        accepted: Accepted,
    },
    Event(Event),
    /// The body of an answer that refuses: nothing that the status does not say.
    Body,
    /// The recorder has closed both sides.
    Closed,
}

/// A connection that is being read.
#[derive(Clone, Debug)]
pub struct Recording {
    session: Session,
    /// The moment that `t_ms` counts from, in milliseconds since the epoch.
    start_ms: Option<f64>,
    last_ms: i64,
}

impl Recording {
    /// A connection of which no line was read yet, under a name of the caller's choice.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self { session: Session::new(name), start_ms: None, last_ms: 0 }
    }

    /// The facts of the next line.
    ///
    /// # Errors
    /// [`Damage::NoClock`] for lines before the one that says when the connection began.
    pub fn take(&mut self, line: TranscriptLine) -> Result<Vec<Observed>, Damage> {
        let event = match line.record {
            Record::Accepted { wallclock_s, accepted } => {
                self.start_ms = Some(wallclock_s * 1000.0 - line.since_start_ms);
                Event::Accepted(accepted)
            }
            Record::Event(event) => event,
            Record::Closed => Event::EndOfStream(Party::Observer),
            Record::Body => return Ok(Vec::new()),
        };
        // In range: both parts were bounded when they were read.
        #[expect(clippy::cast_possible_truncation)]
        let at_ms = (self.start_ms.ok_or(Damage::NoClock)? + line.since_start_ms).round() as i64;
        self.last_ms = at_ms;
        Ok(self.session.take(at_ms, event))
    }

    /// The facts of the end of the recording: one, if the connection was still open.
    pub fn finish(mut self) -> Vec<Observed> {
        if self.start_ms.is_none() {
            return Vec::new();
        }
        self.session.take(self.last_ms, Event::RecordingEnded)
    }
}

impl TranscriptLine {
    pub(super) fn of_fields(fields: &Map<String, Value>) -> Result<Self, Damage> {
        const YEAR_MS: f64 = 366.0 * 86_400_000.0;
        let since_start_ms = fields.get("t_ms").and_then(Value::as_f64).ok_or(Damage::Missing("t_ms"))?;
        if !(0.0..=YEAR_MS).contains(&since_start_ms) {
            return Err(Damage::Invalid { field: "t_ms", why: since_start_ms.to_string() });
        }
        let record = match fields.get("event").and_then(Value::as_str) {
            Some(event) => record(event, fields)?,
            None => Record::Event(Event::Frame(frame(fields)?)),
        };
        Ok(Self { since_start_ms, record })
    }
}

fn record(event: &str, fields: &Map<String, Value>) -> Result<Record, Damage> {
    let error = || fields.get("error").and_then(Value::as_str).map_or_else(String::new, |text| clip(text, MESSAGE_MAX));
    Ok(match event {
        "tls_accepted" => {
            // Checks that it is a time at all.
            wall_clock(fields)?;
            let accepted = Accepted {
                tls_version: name(fields, "version"),
                server_name: name(fields, "sni"),
                certificate_sha256: name(fields, "client_cert_sha256"),
                certificate_subject: name(fields, "client_cert_subject"),
                certificate_not_after_ms: None,
                ip: None,
            };
            let wallclock_s = fields.get("wallclock").and_then(Value::as_f64).unwrap_or_default();
            Record::Accepted { wallclock_s, accepted }
        }
        "http_request" => Record::Event(Event::Request(base64(fields, "raw_base64")?)),
        "http_response" => Record::Event(Event::Response(base64(fields, "raw_base64")?)),
        "http_body" => Record::Body,
        "eof" => Record::Event(Event::EndOfStream(sender(fields)?)),
        "transport_error" => Record::Event(Event::Failure { from: Some(sender(fields)?), error: error() }),
        "error" => Record::Event(Event::Failure { from: None, error: error() }),
        "upstream_connect_failed" => Record::Event(Event::ControlPlaneUnreachable { error: error() }),
        "closed" => Record::Closed,
        other => {
            return Err(Damage::Invalid { field: "event", why: format!("{:?} is not known", clip(other, 64)) });
        }
    })
}

fn frame(fields: &Map<String, Value>) -> Result<Frame, Damage> {
    let opcode = match fields.get("opcode").and_then(Value::as_str).ok_or(Damage::Missing("opcode"))? {
        "binary" => Opcode::Binary,
        "text" => Opcode::Text,
        "ping" => Opcode::Ping,
        "pong" => Opcode::Pong,
        "close" => Opcode::Close,
        "continuation" => Opcode::Continuation,
        other => {
            return Err(Damage::Invalid { field: "opcode", why: format!("{:?} is not known", clip(other, 64)) });
        }
    };
    let payload = base64(fields, "payload_base64")?;
    let length = fields.get("payload_len").and_then(Value::as_u64).ok_or(Damage::Missing("payload_len"))?;
    if length != payload.len() as u64 {
        return Err(Damage::Invalid { field: "payload_len", why: format!("{length}, but {} bytes", payload.len()) });
    }
    let is_final = fields.get("fin").and_then(Value::as_bool).ok_or(Damage::Missing("fin"))?;
    let reserved = fields.get("rsv").and_then(Value::as_u64).ok_or(Damage::Missing("rsv"))?;
    Ok(Frame { from: sender(fields)?, opcode, is_whole: is_final && reserved == 0, payload })
}

/// Which side the line is about: who sent, or whose stream ended or failed.
fn sender(fields: &Map<String, Value>) -> Result<Party, Damage> {
    match fields.get("dir").and_then(Value::as_str).ok_or(Damage::Missing("dir"))? {
        "dp→cp" => Ok(Party::Node),
        "cp→dp" => Ok(Party::ControlPlane),
        other => Err(Damage::Invalid { field: "dir", why: format!("{:?} is not known", clip(other, 64)) }),
    }
}
