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
        let text = fields
            .get("mark")
            .and_then(Value::as_str)
            .ok_or(Damage::Missing("mark"))?;
        Ok(Line::Mark {
            at_ms: wall_clock(&fields)?,
            text: clip(text, MESSAGE_MAX),
        })
    } else if fields.contains_key("request_line") {
        Ok(Line::LogPost {
            at_ms: wall_clock(&fields)?,
            body: base64(&fields, "body_base64")?,
        })
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
    let seconds = fields
        .get("wallclock")
        .and_then(Value::as_f64)
        .ok_or(Damage::Missing("wallclock"))?;
    super::text::seconds_as_ms(seconds).ok_or_else(|| Damage::Invalid {
        field: "wallclock",
        why: seconds.to_string(),
    })
}

/// Bytes that the line holds as base64.
pub(super) fn base64(fields: &Map<String, Value>, key: &'static str) -> Result<Vec<u8>, Damage> {
    use base64::Engine;
    let text = fields.get(key).and_then(Value::as_str).ok_or(Damage::Missing(key))?;
    let engine = &base64::engine::general_purpose::STANDARD;
    engine.decode(text).map_err(|error| Damage::Invalid {
        field: key,
        why: error.to_string(),
    })
}
