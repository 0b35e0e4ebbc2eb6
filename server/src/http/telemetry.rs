//! What gateways tell of their traffic and of what they use.
//!
//! A body that is JSON is answered with 200, or with 207 where some of it could not be counted: Kong sends a body again on
//! anything from 300 on, and the good entries of a body are not to wait for the bad ones. What was answered is stored.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, post};
use serde::Serialize;
use sha2::{Digest, Sha256};
use tidemark_domain::id::{CpName, NodeId};
use utoipa::ToSchema;

use crate::http::Door;
use crate::http::asked::{Parted, part};
use crate::http::problem::{Problem, Refused};
use crate::http::sent::Sent;
use crate::kong::http_log;
use crate::telemetry::take::Sender;
use crate::telemetry::{BodyDigest, Stored, Telemetry};

/// Bodies that are read at once in place of on a thread of their own: a few entries.
const SHORT: usize = 64 << 10;

/// What became of a body.
#[derive(Debug, Serialize, ToSchema)]
pub struct Counted {
    /// Entries that are stored.
    pub accepted: u32,
    /// Entries that could not be counted.
    pub refused_count: u32,
    /// The first hundred of them, each with its reason.
    pub refused: Vec<Refused>,
    /// The same body came within the last ten minutes, and was counted then.
    pub repeated: bool,
}

/// Kong's http-log plugin sends by POST, or by what `method` says.
pub(crate) fn senders() -> MethodRouter<Door> {
    post(http_log).put(http_log).patch(http_log)
}

/// The same for a control plane.
pub(crate) fn senders_of_control_plane() -> MethodRouter<Door> {
    post(http_log_of_control_plane).put(http_log_of_control_plane).patch(http_log_of_control_plane)
}

/// The same for a node.
pub(crate) fn senders_of_node() -> MethodRouter<Door> {
    post(http_log_of_node).put(http_log_of_node).patch(http_log_of_node)
}

async fn http_log(sent: Sent) -> Result<Response, Problem> {
    count(Sender::default(), sent).await
}

async fn http_log_of_control_plane(Parted(cp): Parted<String>, sent: Sent) -> Result<Response, Problem> {
    let control_plane: CpName = part("cp", &cp)?;
    count(Sender { control_plane: Some(control_plane), node: None }, sent).await
}

async fn http_log_of_node(Parted((cp, node)): Parted<(String, String)>, sent: Sent) -> Result<Response, Problem> {
    let (control_plane, node): (CpName, NodeId) = (part("cp", &cp)?, part("node", &node)?);
    count(Sender { control_plane: Some(control_plane), node: Some(node) }, sent).await
}

async fn count(sender: Sender, sent: Sent) -> Result<Response, Problem> {
    let (door, path, body, _turn) = sent.read().await?;
    let telemetry = telemetry(&door)?;
    let (digest, is_short) = (digest(&path, &body), body.len() <= SHORT);
    let reading = telemetry.clone();
    let read = move || -> Result<_, Problem> {
        let read = http_log::read(&body)
            .map_err(|why| Problem::new(StatusCode::BAD_REQUEST, format!("the body cannot be read: {why}")))?;
        Ok((reading.rows(&read.entries, &sender), read.refused, read.refused_count))
    };
    let (rows, refused, refused_count) =
        if is_short { read()? } else { tokio::task::spawn_blocking(read).await.map_err(|_| Problem::ours())?? };
    let accepted = rows.len();
    // What has no entry that counts is stored by nobody, and may come again.
    let stored = match rows.is_empty() {
        true => Stored::New,
        false => telemetry.submit(rows, Vec::new(), Some(digest)).await?,
    };
    if stored == Stored::New {
        telemetry.refused(refused_count);
    }
    let short = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    let status = if refused_count == 0 { StatusCode::OK } else { StatusCode::MULTI_STATUS };
    let refusal = |refusal: http_log::Refusal| Refused {
        index: short(refusal.index),
        field: refusal.field.map(str::to_owned),
        reason: refusal.reason,
    };
    let counted = Counted {
        accepted: short(accepted),
        refused_count: short(refused_count),
        refused: refused.into_iter().map(refusal).collect(),
        repeated: stored == Stored::Repeated,
    };
    Ok((status, Json(counted)).into_response())
}

/// Telemetry of this service.
pub(crate) fn telemetry(door: &Door) -> Result<Telemetry, Problem> {
    door.telemetry.clone().ok_or_else(|| Problem::later("this service keeps no telemetry", 60))
}

/// What two sendings of one body have in common.
pub(crate) fn digest(path: &str, body: &[u8]) -> BodyDigest {
    let mut hasher = Sha256::new();
    hasher.update(path.as_bytes());
    hasher.update([0]);
    hasher.update(body);
    let digest = hasher.finalize();
    let mut short = BodyDigest::default();
    short.copy_from_slice(&digest[..16]);
    short
}
