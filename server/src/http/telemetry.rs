//! What gateways tell of their traffic and of what they use.
//!
//! A body that is JSON is answered with 200, or with 207 where some of it could not be counted: Kong sends a body again on
//! anything from 300 on, and the good entries of a body are not to wait for the bad ones. What was answered is stored.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, post};
use serde::Serialize;
use sha2::{Digest, Sha256};
use tidemark_domain::id::{CpName, NodeId};
use tidemark_domain::time::DAY;
use utoipa::ToSchema;

use crate::http::Door;
use crate::http::asked::{Asked, Parted, part};
use crate::http::problem::{Problem, ProblemBody, Refused};
use crate::http::sent::Sent;
use crate::http::views::Time;
use crate::kong::http_log;
use crate::store::SyncCost;
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
    let refusal = |refusal: http_log::Refusal| Refused {
        index: short(refusal.index),
        field: refusal.field.map(str::to_owned),
        reason: refusal.reason,
    };
    let refused = refused.into_iter().map(refusal).collect();
    Ok(answered(&telemetry, accepted, (refused_count, refused), stored))
}

/// The answer to a body, and the count of what was refused of it: once, however often it comes.
fn answered(
    telemetry: &Telemetry,
    accepted: usize,
    (refused_count, refused): (usize, Vec<Refused>),
    stored: Stored,
) -> Response {
    if stored == Stored::New {
        telemetry.refused(refused_count);
    }
    let status = if refused_count == 0 { StatusCode::OK } else { StatusCode::MULTI_STATUS };
    let counted = Counted {
        accepted: short(accepted),
        refused_count: short(refused_count),
        refused,
        repeated: stored == Stored::Repeated,
    };
    (status, Json(counted)).into_response()
}

fn short(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// What others than Kong tell: requests, what nodes use, and what syncs cost; one item, or an array of up to 10,000, plain or
/// compressed. Each item is stored or refused by itself; the same body within ten minutes is not counted again.
#[utoipa::path(post, path = "/api/v1/telemetry", tag = "tell",
    request_body(content = inline(TelemetryItem), description = "An item, or an array of items."),
    responses(
        (status = 200, body = Counted),
        (status = 207, body = Counted, description = "Some items were refused; the others are stored."),
        (status = 400, body = ProblemBody, description = "The body is not JSON of items."),
        (status = 422, body = ProblemBody, description = "No item was good."),
        (status = 503, body = ProblemBody, description = "The queue is full, or nothing is taken in now. Nothing was stored."),
    ))]
pub async fn tell(sent: Sent) -> Result<Response, Problem> {
    let (door, path, body, _turn) = sent.read().await?;
    let telemetry = telemetry(&door)?;
    let digest = digest(&path, &body);
    let reading = telemetry.clone();
    let told = tokio::task::spawn_blocking(move || reading.told(&body)).await.map_err(|_| Problem::ours())?;
    let told = told.map_err(|why| Problem::new(StatusCode::BAD_REQUEST, format!("the body cannot be read: {why}")))?;
    let (accepted, refused_count) = (told.rows.len() + told.costs.len(), told.refused.len());
    let refused: Vec<Refused> = told
        .refused
        .into_iter()
        .take(http_log::REFUSED_MAX)
        .map(|(index, wrong)| Refused { index: short(index), field: wrong.field, reason: wrong.reason })
        .collect();
    if accepted == 0 && refused_count > 0 {
        telemetry.refused(refused_count);
        let detail = "no item of this request was stored; `refused` has the reasons";
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail).refusing(refused));
    }
    let stored = match accepted {
        0 => Stored::New,
        _ => telemetry.submit(told.rows, told.costs, Some(digest)).await?,
    };
    Ok(answered(&telemetry, accepted, (refused_count, refused), stored))
}

/// One item. Unknown fields are refused, and so are those of another kind.
#[derive(ToSchema)]
#[schema(example = json!({"kind": "resource", "control_plane": "prod", "node_id": "0f7a2c1e", "resource": "memory_workers_bytes", "value": 94371840}))]
#[allow(dead_code)]
pub struct TelemetryItem {
    /// `requests`, `resource` or `sync_cost`.
    pub kind: String,
    /// `[a-z0-9][a-z0-9._-]{0,62}`
    pub control_plane: String,
    /// Whose; needed but for requests.
    pub node_id: Option<String>,
    /// Requests: the service.
    pub service: Option<String>,
    /// Requests: the route.
    pub route: Option<String>,
    /// Requests: the consumer.
    pub consumer: Option<String>,
    /// Requests: the application.
    pub application: Option<String>,
    /// Requests: the status that clients got.
    pub status: Option<u16>,
    /// Requests: how many.
    pub requests: Option<u64>,
    /// Requests: bytes that clients sent.
    pub bytes_in: Option<u64>,
    /// Requests: bytes that clients got.
    pub bytes_out: Option<u64>,
    /// Requests: how long each took, in microseconds.
    pub duration_us: Option<u64>,
    /// Requests: what the gateway took of that.
    pub gateway_us: Option<u64>,
    /// Requests: what the upstream took of that.
    pub upstream_us: Option<u64>,
    /// Resource: `[a-z0-9_]{1,64}`, with the unit at its end.
    pub resource: Option<String>,
    /// Resource: how much, in base units.
    pub value: Option<u64>,
    /// Sync cost: the hash or token that was applied.
    pub config: Option<String>,
    /// Sync cost: `full`, `delta` or `fell_back`.
    pub mode: Option<String>,
    /// Sync cost: bytes on the wire.
    pub bytes: Option<u64>,
    /// Sync cost: from the offer to the report.
    pub apply_ms: Option<u64>,
    /// Sync cost: CPU time.
    pub cpu_ms: Option<u64>,
    /// Sync cost: bytes of memory before.
    pub memory_before: Option<u64>,
    /// Sync cost: the most that was used.
    pub memory_peak: Option<u64>,
    /// Sync cost: bytes of memory after.
    pub memory_after: Option<u64>,
    /// It is this old: at most two minutes, of a sync cost an hour.
    pub age_ms: Option<u32>,
}

/// Costs of syncs that were told.
#[derive(Debug, Serialize, ToSchema)]
pub struct SyncCosts {
    /// Oldest first; at most 1,000.
    pub costs: Vec<SyncCostAnswer>,
}

/// What one configuration cost one node.
#[derive(Debug, Serialize, ToSchema)]
pub struct SyncCostAnswer {
    control_plane: String,
    node_id: String,
    at: Time,
    config: String,
    mode: &'static str,
    bytes: u64,
    apply_ms: Option<u64>,
    cpu_ms: Option<u64>,
    memory_before: Option<u64>,
    memory_peak: Option<u64>,
    memory_after: Option<u64>,
}

/// Costs of syncs that were told in the day before, oldest first; at most 1,000.
#[utoipa::path(get, path = "/api/v1/sync-costs", tag = "ask",
    params(("at" = Option<String>, Query, description = "The end of the day, RFC 3339; now if absent.")),
    responses((status = 200, body = SyncCosts), (status = 400, body = ProblemBody), (status = 503, body = ProblemBody)))]
pub async fn sync_costs(State(door): State<Door>, mut asked: Asked) -> Result<Json<SyncCosts>, Problem> {
    let moment = asked.moment()?;
    asked.end()?;
    let telemetry = telemetry(&door)?;
    let to = moment.at.unwrap_or_else(|| telemetry.now().plus(1));
    let costs = telemetry.sync_costs(to.plus(-DAY), to, 1_000).await.map_err(|error| {
        tracing::error!("costs of syncs cannot be read: {error}");
        Problem::ours()
    })?;
    let answer = |(control_plane, node_id, cost): (String, String, SyncCost)| {
        let [memory_before, memory_peak, memory_after] = cost.memory;
        SyncCostAnswer {
            control_plane,
            node_id,
            at: Time(cost.at),
            config: cost.config,
            mode: cost.mode,
            bytes: cost.bytes,
            apply_ms: cost.apply_ms,
            cpu_ms: cost.cpu_ms,
            memory_before,
            memory_peak,
            memory_after,
        }
    };
    Ok(Json(SyncCosts { costs: costs.into_iter().map(answer).collect() }))
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
