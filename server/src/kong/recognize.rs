//! A recorded line, recognized by what it holds. Names of files mean nothing here.

use super::exchange::Exchange;
use super::recording::TranscriptLine;
use super::text::{MESSAGE_MAX, clip};
use super::{json, metrics};
use serde_json::{Map, Value};
use thiserror::Error;

/// What a line can be.
#[derive(Clone, Debug, PartialEq)]
pub enum Line {
    /// An event or a frame of one connection; the lines of a file belong together.
    Transcript(TranscriptLine),
    /// A request to Kong and what came back.
    Exchange(Box<Exchange>),
    /// A remark of the person who recorded.
    Mark { at_ms: i64, text: String },
    /// What a node posted to a collector of access logs.
    LogPost { at_ms: i64, body: Vec<u8> },
}

/// What is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Damage {
    #[error("longer than {LINE_MAX} bytes")]
    TooLong,
    #[error("not JSON: {0}")]
    NotJson(String),
    #[error("JSON, but none of the records that are known")]
    Unrecognized,
    #[error("no {0}")]
    Missing(&'static str),
    #[error("{field}: {why}")]
    Invalid { field: &'static str, why: String },
    #[error("comes before the line that says when the connection began")]
    NoClock,
}

/// A recorded frame of 64 MiB takes 86 MiB as base64.
pub const LINE_MAX: usize = 96 * 1024 * 1024;

/// Reads one line.
///
/// # Errors
/// Says what is wrong with the line.
pub fn line(text: &str) -> Result<Line, Damage> {
    if text.len() > LINE_MAX {
        return Err(Damage::TooLong);
    }
    let Value::Object(fields) = json::parse(text.as_bytes()).map_err(Damage::NotJson)? else {
        return Err(Damage::Unrecognized);
    };
    if fields.contains_key("t_ms") {
        TranscriptLine::of_fields(&fields).map(Line::Transcript)
    } else if fields.contains_key("request") {
        Exchange::of_fields(fields).map(|exchange| Line::Exchange(Box::new(exchange)))
    } else if fields.contains_key("mark") {
        let text = fields.get("mark").and_then(Value::as_str).ok_or(Damage::Missing("mark"))?;
        Ok(Line::Mark { at_ms: wall_clock(&fields)?, text: clip(text, MESSAGE_MAX) })
    } else if fields.contains_key("request_line") {
        Ok(Line::LogPost { at_ms: wall_clock(&fields)?, body: base64(&fields, "body_base64")? })
    } else {
        Err(Damage::Unrecognized)
    }
}

/// Whether a whole file is a text of metrics. It says no time, so an import learns nothing from it.
#[must_use]
pub fn is_metrics(text: &str) -> bool {
    let mut lines = text.lines().filter(|line| !line.trim().is_empty());
    lines.next().is_some_and(|first| {
        first.starts_with("# HELP kong_")
            || metrics::sample(first).is_some_and(|sample| sample.name.starts_with("kong_"))
    })
}

/// The line's `wallclock`: Unix seconds with a fraction.
pub(super) fn wall_clock(fields: &Map<String, Value>) -> Result<i64, Damage> {
    let seconds = fields.get("wallclock").and_then(Value::as_f64).ok_or(Damage::Missing("wallclock"))?;
    super::text::seconds_as_ms(seconds).ok_or_else(|| Damage::Invalid { field: "wallclock", why: seconds.to_string() })
}

/// Bytes that the line holds as base64.
pub(super) fn base64(fields: &Map<String, Value>, key: &'static str) -> Result<Vec<u8>, Damage> {
    use base64::Engine;
    let text = fields.get(key).and_then(Value::as_str).ok_or(Damage::Missing(key))?;
    let engine = &base64::engine::general_purpose::STANDARD;
    engine.decode(text).map_err(|error| Damage::Invalid { field: key, why: error.to_string() })
}

#[cfg(test)]
mod tests {
    use super::super::recording::Recording;
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn damaged(text: &str, why: &str) {
        let error = line(text).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }

    #[test]
    fn a_damaged_line_says_what_is_wrong_with_it() {
        damaged("", "not JSON");
        damaged("[]", "none of the records");
        damaged("{}", "none of the records");
        damaged(r#"{"t_ms":-1,"event":"closed"}"#, "t_ms");
        damaged(r#"{"t_ms":1,"event":"never heard of"}"#, "never heard of");
        damaged(r#"{"t_ms":1,"event":"tls_accepted"}"#, "no wallclock");
        damaged(r#"{"t_ms":1,"event":"tls_accepted","wallclock":1e300}"#, "wallclock");
        damaged(r#"{"t_ms":1,"event":"eof","dir":"up"}"#, "dir");
        damaged(r#"{"t_ms":1,"opcode":"ping","payload_base64":"!"}"#, "payload_base64");
        damaged(r#"{"t_ms":1,"opcode":"ping","payload_base64":"","payload_len":3}"#, "3, but 0 bytes");
        damaged(r#"{"wallclock":1,"request":{"method":"GET","url":"x"},"status":200}"#, "request.url");
        damaged(r#"{"wallclock":1,"request":{"method":"GET","url":"http://x"}}"#, "no status");
        damaged(r#"{"mark":"x"}"#, "no wallclock");
        damaged(r#"{"request_line":"x","wallclock":1}"#, "no body_base64");
    }

    /// Lines that look like Kong's at first sight.
    fn almost() -> impl Strategy<Value = String> {
        let word = prop_oneof![
            Just("tls_accepted"),
            Just("http_request"),
            Just("http_response"),
            Just("eof"),
            Just("transport_error"),
            Just("closed"),
            Just("error"),
            Just("upstream_connect_failed"),
        ];
        let opcode = prop_oneof![Just("binary"), Just("text"), Just("ping"), Just("pong"), Just("close")];
        let direction = prop_oneof![Just("dp→cp"), Just("cp→dp")];
        let payload = prop_oneof![
            prop::collection::vec(any::<u8>(), 0..80),
            Just(b"GET /v1/outlet?node_id=1 HTTP/1.1\r\n\r\n".to_vec()),
            Just(b"GET /v2/outlet HTTP/1.1\r\n\r\n".to_vec()),
            Just(b"HTTP/1.1 101 Switching Protocols\r\n\r\n".to_vec()),
            Just(br#"{"method":"kong.sync.v2.get_delta","id":1,"params":[{"default":{"version":1}}]}"#.to_vec()),
        ];
        (word, opcode, direction, payload, any::<bool>(), 0.0..1e6_f64).prop_map(
            |(event, opcode, dir, payload, is_frame, t_ms)| {
                use base64::Engine;
                let bytes = base64::engine::general_purpose::STANDARD.encode(&payload);
                let what = if is_frame { format!("\"opcode\":\"{opcode}\"") } else { format!("\"event\":\"{event}\"") };
                format!(
                    "{{\"t_ms\":{t_ms},{what},\"dir\":\"{dir}\",\"fin\":true,\"rsv\":0,\"payload_len\":{},\
                 \"payload_base64\":\"{bytes}\",\"raw_base64\":\"{bytes}\",\"wallclock\":1.5e9}}",
                    payload.len()
                )
            },
        )
    }

    proptest! {
        #[test]
        fn no_line_is_too_strange(text in "\\PC{0,300}") {
            _ = line(&text);
            _ = is_metrics(&text);
        }

        #[test]
        fn no_order_of_lines_is_too_strange(texts in prop::collection::vec(almost(), 0..20)) {
            let mut recording = Recording::new("x");
            for text in texts {
                let Line::Transcript(line) = line(&text).unwrap() else { panic!("a transcript") };
                _ = recording.take(line);
            }
            _ = recording.finish();
        }
    }
}
