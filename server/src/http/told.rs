//! What may be told over REST. Each body becomes facts at the door; the answer comes after their commit. Nothing here
//! deletes by omission (DESIGN 5.11): a PUT must be complete, a PATCH merges.

use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;
use tidemark_domain::fact::{
    Announcement, ConfigRef, Declaration, Fact, PluginChange, Retirement, Said, Scope, Shape, Source, What, Word,
};
use tidemark_domain::hash::ConfigHash;
use tidemark_domain::id::{CpName, Line, NodeId, Token};
use tidemark_domain::view::Moment;
use tokio::sync::OwnedMutexGuard;
use utoipa::ToSchema;

use crate::http::asked::{Parted, part};
use crate::http::problem::{Problem, ProblemBody, Refused};
use crate::http::sent::{Names, Sent, Told};
use crate::http::views::Time;
use crate::http::{Door, openapi as schema};
use crate::ingest::json::{Fields, Json as Loose, Wrong};
use crate::ingest::wire::{self, NotABatch, PROTOCOLS, REPORTS_MAX};
use crate::kong::plugins;
use crate::metrics::process::ReportResult;

/// Renderings in one announcement at most: cohorts of one control plane.
const HASHES_MAX: usize = 256;

/// What became of a request's reports.
#[derive(Debug, Serialize, ToSchema)]
pub struct Heartbeats {
    /// Reports that are stored.
    pub accepted: u32,
    /// The others, each with its reason.
    pub refused: Vec<Refused>,
}

/// Something is in the store.
#[derive(Debug, Serialize, ToSchema)]
pub struct Recorded {
    /// Whose.
    pub control_plane: String,
    /// When it was recorded, by our clock.
    pub recorded_at: Time,
}

/// What is known of a control plane by declaration.
#[derive(Debug, Serialize, ToSchema)]
pub struct Declared {
    /// Which.
    pub control_plane: String,
    /// The name on pages.
    pub display_name: Option<String>,
    /// Kong's `cluster_id`.
    pub cluster_id: Option<String>,
    /// Konnect's id.
    pub konnect_id: Option<String>,
    /// How long a change may take to reach a node before it counts as behind; null: the server's policy.
    pub propagation_seconds: Option<u32>,
    /// Whether every change of this control plane is announced to us.
    pub change_feed: bool,
}

/// Reports of nodes: one object, or an array of up to 10,000, plain or compressed by gzip or zstd. Each report of an
/// array is stored or refused by itself. The answer comes after the commit.
#[utoipa::path(post, path = "/api/v1/heartbeats", tag = "tell",
    params(("idempotency-key" = Option<String>, Header, description = "A repeat with the same key gives the same answer and changes nothing; kept for an hour.")),
    request_body(content = inline(schema::HeartbeatBody), description = "A report, or an array of reports."),
    responses(
        (status = 200, body = Heartbeats),
        (status = 400, body = ProblemBody, description = "The body is not JSON."),
        (status = 413, body = ProblemBody, description = "The body, or what it inflates to, is too large."),
        (status = 415, body = ProblemBody, description = "Not JSON by its type, or an encoding that is not known here."),
        (status = 422, body = ProblemBody, description = "No report was good, or there are too many; or the key was used for another request."),
        (status = 503, body = ProblemBody, description = "The queue is full, or nothing is taken in now. Nothing was stored."),
    ))]
pub async fn heartbeats(sent: Sent) -> Result<Response, Problem> {
    sent.tells_once(|door, body, _| async move {
        let parsing = door.clone();
        let parsed = tokio::task::spawn_blocking(move || {
            let mut names = Names::new(&parsing);
            let parsed = wire::heartbeats(&body, parsing.clock.now(), &mut |name| names.admit(name));
            (parsed, names.new)
        });
        let (parsed, new_names) = parsed.await.map_err(|_| Problem::ours())?;
        let parsed = parsed.map_err(not_a_batch)?;
        let refused: Vec<Refused> = parsed.refused.into_iter().map(refusal).collect();
        door.counted.reports(ReportResult::Refused, refused.len());
        if parsed.facts.is_empty() && !refused.is_empty() {
            let detail = "no report of this request was stored; `refused` has the reasons";
            return Err(none_was_good(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail), refused));
        }
        let answer = Heartbeats { accepted: u32::try_from(parsed.facts.len()).unwrap_or(u32::MAX), refused };
        Ok(Told { reports: parsed.facts.len(), new_names, ..Told::new(parsed.facts, &answer)? })
    })
    .await
}

/// The single report of a request gives its field to the problem itself.
fn none_was_good(problem: Problem, refused: Vec<Refused>) -> Problem {
    match refused.as_slice() {
        [Refused { field: Some(field), .. }] => problem.of(&field.clone()).refusing(refused),
        _ => problem.refusing(refused),
    }
}

fn refusal(refusal: wire::Refusal) -> Refused {
    Refused {
        index: u32::try_from(refusal.index).unwrap_or(u32::MAX),
        field: refusal.wrong.field,
        reason: refusal.wrong.reason,
    }
}

fn not_a_batch(why: NotABatch) -> Problem {
    match why {
        NotABatch::NotJson(words) => Problem::new(StatusCode::BAD_REQUEST, format!("the body is not JSON: {words}")),
        NotABatch::NotReports => {
            let detail = "expected a report (an object), or an array of reports";
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail)
        }
        NotABatch::TooMany => {
            let detail = format!("one request has at most {REPORTS_MAX} reports");
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail)
        }
    }
}

/// A version exists now. The same token or key is the same version.
#[utoipa::path(post, path = "/api/v1/control-planes/{cp}/versions", tag = "tell",
    params(
        ("cp" = String, Path, description = "The control plane's name."),
        ("idempotency-key" = Option<String>, Header, description = "Also the version's key where the body has neither token nor key."),
    ),
    request_body(content = inline(schema::AnnouncementBody)),
    responses((status = 200, body = Recorded), (status = 400, body = ProblemBody), (status = 422, body = ProblemBody), (status = 503, body = ProblemBody)))]
pub async fn announce(Parted(cp): Parted<String>, sent: Sent) -> Result<Response, Problem> {
    let cp: CpName = part("cp", &cp)?;
    sent.tells_once(|door, body, key| async move { said(&door, cp, announcement(fields(&body)?, key)?) }).await
}

fn announcement(mut fields: Fields, header_key: Option<String>) -> Result<Word, Wrong> {
    let token: Option<Token> = fields.parsed("token")?;
    let key: Option<Line> = fields.parsed("key")?;
    let key = key.or_else(|| header_key.filter(|_| token.is_none()).and_then(|key| key.parse().ok()));
    if token.is_none() && key.is_none() {
        let reason = "is required where there is neither key nor Idempotency-Key: by it a repeat is known";
        return Err(fields.wrong("token", reason));
    }
    let mut hashes: Vec<(Scope, ConfigHash)> = Vec::new();
    for mut rendering in fields.list("hashes", HASHES_MAX)?.unwrap_or_default() {
        let cohort = scope(&mut rendering)?;
        let hash = rendering.required("hash")?;
        if hashes.iter().any(|(known, other)| *known == cohort && *other != hash) {
            return Err(rendering.wrong("hash", format!("is the second one for {cohort}")));
        }
        rendering.end()?;
        hashes.push((cohort, hash));
    }
    let actor: Option<Line> = fields.parsed("actor")?;
    let transaction: Option<Line> = fields.parsed("transaction")?;
    let changeset: Option<Line> = fields.parsed("changeset")?;
    // One actor and transaction is one changeset (DESIGN 5.6), unless the sender names it.
    let of_transaction = transaction.and_then(|transaction| {
        let actor = actor.as_ref().map_or("", Line::as_str);
        Line::from_outside(&format!("{actor} {transaction}"))
    });
    let announced = Announcement {
        token,
        key,
        hashes,
        cause: fields.parsed("cause")?,
        actor,
        changeset: changeset.or(of_transaction),
        shape: shape(&mut fields)?,
        digest: fields.parsed("digest")?,
        intended: fields.flag("intended")?.unwrap_or(false),
        plugins_changed: plugins_changed(&mut fields)?,
    };
    let word =
        Word { replica: fields.parsed("replica")?, scope: scope(&mut fields)?, said: Said::Announced(announced) };
    fields.end()?;
    Ok(word)
}

fn scope(fields: &mut Fields) -> Result<Scope, Wrong> {
    Ok(Scope { protocol: fields.word("protocol", &PROTOCOLS)?, gateway: fields.parsed("gateway_version")? })
}

/// Plugins by name; what they keep in memory by their usual settings is ours to know.
fn plugins_changed(fields: &mut Fields) -> Result<Vec<PluginChange>, Wrong> {
    let names = fields.texts("plugins_changed", PluginChange::MAX)?.unwrap_or_default();
    let change = |name: String| match name.parse::<Line>() {
        Ok(line) if name.len() <= 64 => Ok(PluginChange { keeps: plugins::keeps(&name, None), name: line }),
        Ok(_) | Err(_) => Err(fields.wrong("plugins_changed", "a name is 1 to 64 characters")),
    };
    names.into_iter().map(change).collect()
}

fn shape(fields: &mut Fields) -> Result<Option<Shape>, Wrong> {
    let Some(mut shape) = fields.inner("shape")? else {
        return Ok(None);
    };
    let without_snis = shape.whole("certificates_without_snis", 0, i64::MAX)?;
    let hosts = shape.whole("hosts_served", 0, i64::MAX)?;
    let entities = shape.inner("entities")?.map(Fields::counts).transpose()?;
    shape.end()?;
    // None of something and nothing said of it are not the same: the first may be a disaster (DESIGN 5.11).
    let required =
        |name: &str| fields.wrong(&format!("shape.{name}"), "is required: left out, it would say that there is none");
    let count = |value: Option<i64>, name: &str| {
        value.and_then(|count| u64::try_from(count).ok()).ok_or_else(|| required(name))
    };
    let entities = entities.ok_or_else(|| required("entities"))?;
    let certificates_without_snis = count(without_snis, "certificates_without_snis")?;
    let hosts_served = count(hosts, "hosts_served")?;
    if entities.len() > Shape::MAX_TYPES {
        let reason = format!("has at most {} types", Shape::MAX_TYPES);
        return Err(fields.wrong("shape.entities", reason));
    }
    if let Some((name, _)) = entities.iter().find(|(name, _)| name.parse::<Line>().is_err() || name.len() > 64) {
        return Err(fields.wrong(&format!("shape.entities.{name}"), "a type is 1 to 64 characters"));
    }
    Ok(Some(Shape { entities: entities.into_iter().collect(), certificates_without_snis, hosts_served }))
}

/// What nodes should run, by hash, by token, or by a hash that is known to render a token.
#[utoipa::path(put, path = "/api/v1/control-planes/{cp}/expected", tag = "tell",
    params(("cp" = String, Path, description = "The control plane's name.")),
    request_body(content = inline(schema::ExpectedBody)),
    responses((status = 200, body = Recorded), (status = 400, body = ProblemBody), (status = 503, body = ProblemBody)))]
pub async fn expect(Parted(cp): Parted<String>, sent: Sent) -> Result<Response, Problem> {
    let cp: CpName = part("cp", &cp)?;
    sent.tells(|door, body| async move { said(&door, cp, expected(fields(&body)?)?) }).await
}

fn expected(mut fields: Fields) -> Result<Word, Wrong> {
    let hash: Option<ConfigHash> = fields.parsed("hash")?;
    let token: Option<Token> = fields.parsed("token")?;
    let said = match (hash, token) {
        (Some(hash), token) => Said::Expected { config: ConfigRef::Hash(hash), token },
        (None, Some(token)) => Said::Expected { config: token.into(), token: None },
        (None, None) => return Err(fields.wrong("hash", "is required, or token")),
    };
    let word = Word { replica: fields.parsed("replica")?, scope: scope(&mut fields)?, said };
    fields.end()?;
    Ok(word)
}

/// The word of a control plane as one fact.
fn said(door: &Door, cp: CpName, word: Word) -> Result<Told, Problem> {
    let mut names = Names::new(door);
    names.admit(&cp).map_err(|reason| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, reason).of("cp"))?;
    let new_names = names.new;
    let told = recorded(door, cp, What::Word(Box::new(word)))?;
    Ok(Told { new_names, ..told })
}

/// A person says what is to be known of a control plane. Every field must be there, `null` if there is nothing to say:
/// what is left out here would be lost.
#[utoipa::path(put, path = "/api/v1/control-planes/{cp}", tag = "tell",
    params(("cp" = String, Path, description = "The control plane's name.")),
    request_body(content = inline(schema::DeclarationBody)),
    responses((status = 200, body = Declared), (status = 400, body = ProblemBody), (status = 503, body = ProblemBody)))]
pub async fn declare(Parted(cp): Parted<String>, sent: Sent) -> Result<Response, Problem> {
    let cp: CpName = part("cp", &cp)?;
    sent.tells(|door, body| async move {
        let fields = fields(&body)?;
        if let Some(missing) = DECLARED.into_iter().find(|name| !fields.has(name)) {
            let reason = "is missing: a PUT is complete; say null, or use PATCH to change some fields only";
            return Err(fields.wrong(missing, reason).into());
        }
        let alone = door.declaring.clone().lock_owned().await;
        declared(&door, cp, merged(Declaration::default(), fields)?, alone)
    })
    .await
}

/// Changes some of what is declared of a control plane; what is left out stays, and `null` takes away.
#[utoipa::path(patch, path = "/api/v1/control-planes/{cp}", tag = "tell",
    params(("cp" = String, Path, description = "The control plane's name.")),
    request_body(content = inline(schema::DeclarationBody), description = "Any of the fields."),
    responses((status = 200, body = Declared), (status = 400, body = ProblemBody), (status = 503, body = ProblemBody)))]
pub async fn amend(Parted(cp): Parted<String>, sent: Sent) -> Result<Response, Problem> {
    let cp: CpName = part("cp", &cp)?;
    sent.tells(|door, body| async move {
        let alone = door.declaring.clone().lock_owned().await;
        // What was declared a moment ago must be in the answer before it is merged with.
        door.ingest.settle().await?;
        let before = door.control_planes.declaration(&cp).unwrap_or_default();
        declared(&door, cp, merged(before, fields(&body)?)?, alone)
    })
    .await
}

const DECLARED: [&str; 5] = ["display_name", "cluster_id", "konnect_id", "propagation_seconds", "change_feed"];

fn merged(mut declaration: Declaration, mut fields: Fields) -> Result<Declaration, Wrong> {
    if fields.has("display_name") {
        declaration.display_name = fields.parsed("display_name")?;
    }
    if fields.has("cluster_id") {
        declaration.cluster_id = fields.parsed("cluster_id")?;
    }
    if fields.has("konnect_id") {
        declaration.konnect_id = fields.parsed("konnect_id")?;
    }
    if fields.has("propagation_seconds") {
        let seconds = fields.whole("propagation_seconds", 1, 86_400)?;
        declaration.propagation_ms = seconds.and_then(|seconds| u32::try_from(seconds * 1_000).ok());
    }
    if fields.has("change_feed") {
        declaration.change_feed = fields
            .flag("change_feed")?
            .ok_or_else(|| fields.wrong("change_feed", "expected true or false, found null"))?;
    }
    fields.end()?;
    Ok(declaration)
}

fn declared(door: &Door, cp: CpName, declaration: Declaration, alone: OwnedMutexGuard<()>) -> Result<Told, Problem> {
    let text = |line: &Option<Line>| line.as_ref().map(ToString::to_string);
    let answer = Declared {
        control_plane: cp.to_string(),
        display_name: text(&declaration.display_name),
        cluster_id: text(&declaration.cluster_id),
        konnect_id: text(&declaration.konnect_id),
        propagation_seconds: declaration.propagation_ms.map(|ms| ms / 1_000),
        change_feed: declaration.change_feed,
    };
    let facts = vec![fact(door, cp, What::Declared(Box::new(declaration)))];
    Ok(Told { alone: Some(alone), ..Told::new(facts, &answer)? })
}

/// A person takes a node out of the counts; a report brings it back.
#[utoipa::path(post, path = "/api/v1/nodes/{cp}/{id}/retire", tag = "tell",
    params(
        ("cp" = String, Path, description = "The control plane's name."),
        ("id" = String, Path, description = "The node's id."),
        ("idempotency-key" = Option<String>, Header, description = "A repeat with the same key changes nothing."),
    ),
    request_body(content = inline(schema::RetirementBody)),
    responses((status = 200, body = Recorded), (status = 400, body = ProblemBody), (status = 404, body = ProblemBody), (status = 503, body = ProblemBody)))]
pub async fn retire(Parted((cp, id)): Parted<(String, String)>, sent: Sent) -> Result<Response, Problem> {
    let (cp, node): (CpName, NodeId) = (part("cp", &cp)?, part("id", &id)?);
    sent.tells_once(|door, body, _| async move {
        let mut fields = fields(&body)?;
        let by = fields.required("by")?;
        let reason = fields.parsed("reason")?;
        fields.end()?;
        door.ingest.settle().await?;
        door.fleet.node(cp.clone(), node.clone(), Moment::default()).await?;
        recorded(&door, cp, What::Retired(Retirement { node, by, reason }))
    })
    .await
}

/// The fields of a body that is one object.
fn fields(body: &[u8]) -> Result<Fields, Problem> {
    if body.len() > wire::REPORT_BYTES_MAX {
        let detail = format!("the body has more than {} bytes", wire::REPORT_BYTES_MAX);
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail));
    }
    let value: Loose = serde_json::from_slice(body)
        .map_err(|error| Problem::new(StatusCode::BAD_REQUEST, format!("the body is not JSON: {error}")))?;
    Ok(Fields::of(value)?)
}

fn fact(door: &Door, control_plane: CpName, what: What) -> Fact {
    let now = door.clock.now();
    Fact { at: now, recorded_at: now, control_plane, source: Source::Push, what }
}

fn recorded(door: &Door, cp: CpName, what: What) -> Result<Told, Problem> {
    let answer = Recorded { control_plane: cp.to_string(), recorded_at: Time(door.clock.now()) };
    Told::new(vec![fact(door, cp, what)], &answer)
}
