//! What may be asked over REST: the questions of `FleetApi`, each with `?at=` and `known=now`.

use axum::Json;
use axum::extract::State;

use axum::response::{IntoResponse, Response};

use crate::http::Door;
use crate::http::asked::{Asked, Parted, part};
use crate::http::csv;
use crate::http::problem::{Problem, ProblemBody};
use crate::http::views;
use tidemark_app::api::ApiError;
use tidemark_domain::analytics::{Last, TrafficQuestion};
use tidemark_domain::id::CpName;

/// An answer or a problem.
type Answer<T> = Result<Json<T>, Problem>;

/// The whole fleet.
#[utoipa::path(get, path = "/api/v1/fleet", tag = "ask",
    params(
        ("at" = Option<String>, Query, description = "The moment to describe, RFC 3339; now if absent."),
        ("known" = Option<String>, Query, description = "`now`: use everything known since, not only what was recorded by then."),
    ),
    responses((status = 200, body = views::Fleet), (status = 400, body = ProblemBody)))]
pub async fn fleet(State(door): State<Door>, mut asked: Asked) -> Answer<views::Fleet> {
    let moment = asked.moment()?;
    asked.end()?;
    Ok(Json(door.fleet.fleet(moment).await?.into()))
}

/// Nodes that answer a question, by key.
#[utoipa::path(get, path = "/api/v1/nodes", tag = "ask",
    params(
        ("q" = Option<String>, Query, description = "The question: `cp:`, `gateway:`, `config:`, `state:`, `label.region:`, `source:`, `behind:>3`, `since:>10m`, and plain text."),
        ("after" = Option<String>, Query, description = "`next` of the page before."),
        ("size" = Option<u32>, Query, description = "Rows, 1 to 500; 50 if absent."),
        ("at" = Option<String>, Query, description = "The moment to describe, RFC 3339; now if absent."),
        ("known" = Option<String>, Query, description = "`now`: use everything known since."),
    ),
    responses((status = 200, body = views::Nodes), (status = 400, body = ProblemBody)))]
pub async fn nodes(State(door): State<Door>, mut asked: Asked) -> Answer<views::Nodes> {
    let question = asked.take("q").unwrap_or_default();
    let (paging, moment) = (asked.paging()?, asked.moment()?);
    asked.end()?;
    Ok(Json(door.fleet.nodes(question, paging, moment).await?.into()))
}

/// One node with all that its verdict rests on.
#[utoipa::path(get, path = "/api/v1/nodes/{cp}/{id}", tag = "ask",
    params(
        ("cp" = String, Path, description = "The control plane's name."),
        ("id" = String, Path, description = "The node's id."),
        ("at" = Option<String>, Query, description = "The moment to describe, RFC 3339; now if absent."),
        ("known" = Option<String>, Query, description = "`now`: use everything known since."),
    ),
    responses((status = 200, body = views::NodeAnswer), (status = 400, body = ProblemBody), (status = 404, body = ProblemBody)))]
pub async fn node(
    State(door): State<Door>,
    Parted((cp, id)): Parted<(String, String)>,
    mut asked: Asked,
) -> Answer<views::NodeAnswer> {
    let (cp, id) = (part("cp", &cp)?, part("id", &id)?);
    let moment = asked.moment()?;
    asked.end()?;
    Ok(Json(door.fleet.node(cp, id, moment).await?.into()))
}

/// The past of one node, newest first.
#[utoipa::path(get, path = "/api/v1/nodes/{cp}/{id}/history", tag = "ask",
    params(
        ("cp" = String, Path, description = "The control plane's name."),
        ("id" = String, Path, description = "The node's id."),
        ("after" = Option<String>, Query, description = "`next` of the page before."),
        ("size" = Option<u32>, Query, description = "Rows, 1 to 500; 50 if absent."),
        ("at" = Option<String>, Query, description = "The moment to describe, RFC 3339; now if absent."),
        ("known" = Option<String>, Query, description = "`now`: use everything known since."),
    ),
    responses((status = 200, body = views::History), (status = 400, body = ProblemBody), (status = 404, body = ProblemBody)))]
pub async fn history(
    State(door): State<Door>,
    Parted((cp, id)): Parted<(String, String)>,
    mut asked: Asked,
) -> Answer<views::History> {
    let (cp, id) = (part("cp", &cp)?, part("id", &id)?);
    let (paging, moment) = (asked.paging()?, asked.moment()?);
    asked.end()?;
    Ok(Json(door.fleet.history(cp, id, paging, moment).await?.into()))
}

/// Every control plane, by name.
#[utoipa::path(get, path = "/api/v1/control-planes", tag = "ask",
    params(
        ("at" = Option<String>, Query, description = "The moment to describe, RFC 3339; now if absent."),
        ("known" = Option<String>, Query, description = "`now`: use everything known since."),
    ),
    responses((status = 200, body = views::ControlPlanes), (status = 400, body = ProblemBody)))]
pub async fn control_planes(State(door): State<Door>, mut asked: Asked) -> Answer<views::ControlPlanes> {
    let moment = asked.moment()?;
    asked.end()?;
    let control_planes = door.fleet.control_planes(moment).await?;
    let control_planes = control_planes.into_iter().map(Into::into).collect();
    Ok(Json(views::ControlPlanes { control_planes }))
}

/// One control plane, as in the list.
#[utoipa::path(get, path = "/api/v1/control-planes/{cp}", tag = "ask",
    params(
        ("cp" = String, Path, description = "The control plane's name."),
        ("at" = Option<String>, Query, description = "The moment to describe, RFC 3339; now if absent."),
        ("known" = Option<String>, Query, description = "`now`: use everything known since."),
    ),
    responses((status = 200, body = views::ControlPlane), (status = 400, body = ProblemBody), (status = 404, body = ProblemBody)))]
pub async fn control_plane(
    State(door): State<Door>,
    Parted(cp): Parted<String>,
    mut asked: Asked,
) -> Answer<views::ControlPlane> {
    let cp: CpName = part("cp", &cp)?;
    let moment = asked.moment()?;
    asked.end()?;
    let control_planes = door.fleet.control_planes(moment).await?;
    let found = control_planes.into_iter().find(|control_plane| control_plane.name == cp);
    let found = found.ok_or_else(|| ApiError::NotFound(format!("there is no control plane {cp}")))?;
    Ok(Json(found.into()))
}

/// Traffic of a range: what requests add up to, split by one thing and narrowed to others, with its series. As CSV with
/// `format=csv`: exactly the rows of the answer.
#[utoipa::path(get, path = "/api/v1/traffic", tag = "ask",
    params(
        ("range" = Option<String>, Query, description = "`1h` (if absent), `6h`, `24h`, `7d`, `30d`, `365d`: up to now, or to `at`."),
        ("from" = Option<String>, Query, description = "In place of `range`, with `to`: RFC 3339."),
        ("to" = Option<String>, Query, description = "In place of `range`, with `from`: RFC 3339."),
        ("by" = Option<String>, Query, description = "`route` (if absent), `service`, `status`, `config`, `node`, `region`, `gateway`, `consumer`, `application`, `cp`."),
        ("cp" = Option<String>, Query, description = "Of this control plane only; so `service`, `route`, `status`, `config`, `node`, `region`, `gateway`, `consumer`, `application`, where they are kept together with `by`."),
        ("format" = Option<String>, Query, description = "`json` (if absent), `csv`: the rows, `points.csv`: the series."),
        ("at" = Option<String>, Query, description = "The moment to describe, RFC 3339; now if absent."),
        ("known" = Option<String>, Query, description = "`now`: use everything known since."),
    ),
    responses((status = 200, body = views::Traffic), (status = 400, body = ProblemBody), (status = 503, body = ProblemBody)))]
pub async fn traffic(State(door): State<Door>, mut asked: Asked) -> Result<Response, Problem> {
    let moment = asked.moment()?;
    let format = asked.take("format");
    let question = TrafficQuestion::read(&asked.rest()).map_err(|wrong| Problem::bad(&wrong.name, wrong.reason))?;
    let view = door.fleet.traffic(question, moment).await?;
    match format.as_deref() {
        None | Some("json") => Ok(Json(views::Traffic::from(view)).into_response()),
        Some("csv") => Ok(csv::answer("traffic", &csv::rows(&view))),
        Some("points.csv") => Ok(csv::answer("traffic-points", &csv::points(&view))),
        Some(_) => Err(Problem::bad("format", "expected one of json, csv, points.csv")),
    }
}

/// Usage of this month and of the last twelve, as a bill would count it.
#[utoipa::path(get, path = "/api/v1/usage", tag = "ask",
    params(
        ("format" = Option<String>, Query, description = "`json` (if absent), `csv`."),
        ("at" = Option<String>, Query, description = "The moment to describe, RFC 3339; now if absent."),
        ("known" = Option<String>, Query, description = "`now`: use everything known since."),
    ),
    responses((status = 200, body = views::Usage), (status = 400, body = ProblemBody), (status = 503, body = ProblemBody)))]
pub async fn usage(State(door): State<Door>, mut asked: Asked) -> Result<Response, Problem> {
    let (moment, format) = (asked.moment()?, asked.take("format"));
    asked.end()?;
    let view = door.fleet.usage(moment).await?;
    match format.as_deref() {
        None | Some("json") => Ok(Json(views::Usage::from(view)).into_response()),
        Some("csv") => Ok(csv::answer("usage", &csv::usage(&view))),
        Some(_) => Err(Problem::bad("format", "expected one of json, csv")),
    }
}

/// What one node uses, by minute, hour or day: memory, connections, workers, in base units.
#[utoipa::path(get, path = "/api/v1/nodes/{cp}/{id}/resources", tag = "ask",
    params(
        ("cp" = String, Path, description = "The control plane's name."),
        ("id" = String, Path, description = "The node's id."),
        ("range" = Option<String>, Query, description = "`1h`, `6h`, `24h` (if absent), `7d`, `30d`, `365d`: up to now, or to `at`."),
        ("at" = Option<String>, Query, description = "The moment to describe, RFC 3339; now if absent."),
        ("known" = Option<String>, Query, description = "`now`: use everything known since."),
    ),
    responses((status = 200, body = views::Resources), (status = 400, body = ProblemBody), (status = 404, body = ProblemBody), (status = 503, body = ProblemBody)))]
pub async fn resources(
    State(door): State<Door>,
    Parted((cp, id)): Parted<(String, String)>,
    mut asked: Asked,
) -> Answer<views::Resources> {
    let (cp, id) = (part("cp", &cp)?, part("id", &id)?);
    let range = asked.take("range").map(|text| {
        let found = Last::ALL.into_iter().find(|last| last.word() == text);
        found.ok_or_else(|| Problem::bad("range", "expected one of 1h, 6h, 24h, 7d, 30d, 365d"))
    });
    let (range, moment) = (range.transpose()?.unwrap_or(Last::Day), asked.moment()?);
    asked.end()?;
    Ok(Json(door.fleet.resources(cp, id, range, moment).await?.into()))
}

/// The ledger of one control plane, newest first.
#[utoipa::path(get, path = "/api/v1/control-planes/{cp}/versions", tag = "ask",
    params(
        ("cp" = String, Path, description = "The control plane's name."),
        ("after" = Option<String>, Query, description = "`next` of the page before."),
        ("size" = Option<u32>, Query, description = "Rows, 1 to 500; 50 if absent."),
        ("at" = Option<String>, Query, description = "The moment to describe, RFC 3339; now if absent."),
        ("known" = Option<String>, Query, description = "`now`: use everything known since."),
    ),
    responses((status = 200, body = views::Versions), (status = 400, body = ProblemBody), (status = 404, body = ProblemBody)))]
pub async fn versions(
    State(door): State<Door>,
    Parted(cp): Parted<String>,
    mut asked: Asked,
) -> Answer<views::Versions> {
    let cp = part("cp", &cp)?;
    let (paging, moment) = (asked.paging()?, asked.moment()?);
    asked.end()?;
    Ok(Json(door.fleet.versions(cp, paging, moment).await?.into()))
}

/// One version: its hashes with their evidence, and how it spread.
#[utoipa::path(get, path = "/api/v1/control-planes/{cp}/versions/{ordinal}", tag = "ask",
    params(
        ("cp" = String, Path, description = "The control plane's name."),
        ("ordinal" = String, Path, description = "The version's ordinal, `12` or `v12`."),
        ("at" = Option<String>, Query, description = "The moment to describe, RFC 3339; now if absent."),
        ("known" = Option<String>, Query, description = "`now`: use everything known since."),
    ),
    responses((status = 200, body = views::VersionAnswer), (status = 400, body = ProblemBody), (status = 404, body = ProblemBody)))]
pub async fn version(
    State(door): State<Door>,
    Parted((cp, ordinal)): Parted<(String, String)>,
    mut asked: Asked,
) -> Answer<views::VersionAnswer> {
    let (cp, ordinal) = (part("cp", &cp)?, part("ordinal", &ordinal)?);
    let moment = asked.moment()?;
    asked.end()?;
    Ok(Json(door.fleet.version(cp, ordinal, moment).await?.into()))
}
