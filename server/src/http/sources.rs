//! Sources that go and ask, as REST and as a page of its own. The page is rendered here and needs no WebAssembly: who
//! looks at it has a reason to distrust moving parts.

use std::fmt::Write;

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tidemark_domain::analytics::bytes;
use tidemark_domain::time::{self, Timestamp};
use tidemark_domain::traffic::Step;
use utoipa::ToSchema;

use crate::http::Door;
use crate::http::asked::Asked;
use crate::http::openapi::{STYLE, escaped, policy};
use crate::http::problem::{Problem, ProblemBody};
use crate::http::views::Time;
use crate::sources::Shown;
use crate::store::TelemetrySizes;
use crate::telemetry::Counts;

/// Sources, in the order of the settings.
#[derive(Serialize, ToSchema)]
pub struct SourcesAnswer {
    /// Each with what it did since this process began.
    sources: Vec<SourceAnswer>,
}

/// One source that goes and asks.
#[derive(Serialize, ToSchema)]
pub struct SourceAnswer {
    /// Its name in the settings.
    name: String,
    /// `admin_api`, `status`, `konnect`, `shadow` or `tap`.
    kind: &'static str,
    /// Whom it watches.
    control_plane: String,
    /// `starting`, `up`, `partly` (some targets did not answer), `failing` (nobody answered, not held against anybody
    /// yet) or `blind` (its nodes are unobserved).
    state: &'static str,
    /// Milliseconds between the beginnings of two runs.
    interval_ms: u64,
    /// When the last run began.
    last_run_at: Option<Time>,
    /// When somebody last answered.
    last_success_at: Option<Time>,
    /// Milliseconds that the last run took.
    last_run_ms: Option<u64>,
    /// Runs that ended.
    runs: u64,
    /// What went wrong in them, counted one by one.
    errors: u64,
    /// How often it was started anew after a fault of ours.
    restarts: u64,
    /// Facts that were stored.
    facts: u64,
    /// Targets of the last run; of a tap, connections of nodes that are open.
    targets: u32,
    /// Those of them that answered.
    answered: u32,
    /// The last thing that went wrong.
    last_error: Option<String>,
    /// When.
    last_error_at: Option<Time>,
    /// What the other side said of itself.
    about: Option<String>,
}

impl From<Shown> for SourceAnswer {
    fn from(shown: Shown) -> Self {
        let Shown { name, kind, control_plane, interval, state } = shown;
        let ms = |span: std::time::Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        Self {
            name,
            kind,
            control_plane: control_plane.to_string(),
            state: state.health.word(),
            interval_ms: ms(interval),
            last_run_at: state.last_run_at.map(Time),
            last_success_at: state.last_success_at.map(Time),
            last_run_ms: state.last_run.map(ms),
            runs: state.runs,
            errors: state.errors,
            restarts: state.restarts,
            facts: state.facts,
            targets: state.targets,
            answered: state.answered,
            last_error: state.last_error,
            last_error_at: state.last_error_at.map(Time),
            about: state.about,
        }
    }
}

/// Sources that go and ask, and taps that tell, with what they did since this process began.
#[utoipa::path(get, path = "/api/v1/sources", tag = "ask",
    responses((status = 200, body = SourcesAnswer), (status = 400, body = ProblemBody)))]
pub async fn sources(State(door): State<Door>, asked: Asked) -> Result<Json<SourcesAnswer>, Problem> {
    asked.end()?;
    let sources = door.sources.shown().into_iter().map(Into::into).collect();
    Ok(Json(SourcesAnswer { sources }))
}

/// `GET /operations`
pub async fn page(State(door): State<Door>, asked: Asked) -> Result<Response, Problem> {
    asked.end()?;
    let traffic = match &door.telemetry {
        Some(telemetry) => match telemetry.sizes().await {
            Ok(sizes) => traffic_of(&sizes, &telemetry.counts()),
            Err(error) => {
                tracing::error!("the size of telemetry cannot be told: {error}");
                "<p>How much traffic takes cannot be told now; the log says why.</p>".to_owned()
            }
        },
        None => String::new(),
    };
    let html = page_of(&door.sources.shown(), &traffic, door.clock.now());
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8".to_owned()),
        (header::CONTENT_SECURITY_POLICY, policy()),
        (header::CACHE_CONTROL, "no-store".to_owned()),
    ];
    Ok((headers, html).into_response())
}

/// What traffic takes on the disk, and what was told of it since this process began.
fn traffic_of(sizes: &TelemetrySizes, counts: &Counts) -> String {
    let mut html = String::from(
        "<h2>Traffic</h2><div class=\"wide\" role=\"region\" aria-label=\"Traffic\" tabindex=\"0\"><table>\
         <caption>Traffic on the disk</caption><thead><tr><th scope=\"col\">Kept</th><th scope=\"col\">Partitions</th>\
         <th scope=\"col\">Size</th></tr></thead><tbody>",
    );
    for (step, rows, size) in &sizes.sums {
        let name = match step {
            Step::Minute => "Sums by minute",
            Step::Hour => "Sums by hour",
            Step::Day => "Sums by day",
        };
        let _ = write!(html, "<tr><th scope=\"row\">{name}</th><td>{rows}</td><td>{}</td></tr>", bytes(*size));
    }
    let _ = write!(
        html,
        "<tr><th scope=\"row\">Journal, not in sums yet</th><td>–</td><td>{}</td></tr></tbody></table></div>\
         <p>{} names are kept. Since this process began: {} entries stored, {} refused, {} of nobody's node or control \
         plane, {} bodies that came again.</p>",
        bytes(sizes.journal_bytes),
        sizes.names,
        counts.entries,
        counts.refused,
        counts.unattributed,
        counts.repeated,
    );
    html
}

fn page_of(sources: &[Shown], traffic: &str, now: Timestamp) -> String {
    let mut html = format!(
        "<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><title>Operations – Tidemark</title>\
         <style>{STYLE}</style></head><body><main><h1>Operations</h1>\
         <p>Sources that go and ask, and taps that tell, as of <time datetime=\"{now}\">{now}</time>, counted since this process began. A \
         source that is blind makes its nodes unobserved, never behind.</p>\
         <p><a href=\"/operations\">Read again</a> · <a href=\"/\">To the pages</a> · <a href=\"/api\">The interface</a> · \
         <a href=\"/api/v1/sources\">The same as JSON</a></p>"
    );
    if sources.is_empty() {
        html.push_str(
            "<h2>Sources</h2><p>No source is set. A table <code>[[source]]</code> in the file of settings makes one: see the README, \
             “Sources”. Pushed reports and taps need none.</p>",
        );
        html.push_str(traffic);
        html.push_str("</main></body></html>");
        return html;
    }
    html.push_str(
        "<div class=\"wide\" role=\"region\" aria-label=\"Sources\" tabindex=\"0\"><table><caption>Sources</caption><thead>\
         <tr><th scope=\"col\">Name</th><th scope=\"col\">Kind</th><th scope=\"col\">Control plane</th>\
         <th scope=\"col\">State</th><th scope=\"col\">Last success</th><th scope=\"col\">Last run took</th>\
         <th scope=\"col\">Answered</th><th scope=\"col\">Runs</th><th scope=\"col\">Errors</th>\
         <th scope=\"col\">Facts</th><th scope=\"col\">Last error</th></tr></thead><tbody>",
    );
    for shown in sources {
        row_of(&mut html, shown, now);
    }
    html.push_str("</tbody></table></div>");
    html.push_str(traffic);
    html.push_str("</main></body></html>");
    html
}

fn row_of(html: &mut String, shown: &Shown, now: Timestamp) {
    let state = &shown.state;
    let moment = |at: Option<Timestamp>| {
        at.map_or_else(
            || "never".to_owned(),
            |at| format!("<time datetime=\"{at}\">{} ago</time>", time::span(now.since(at).max(0))),
        )
    };
    let took = state.last_run.map_or_else(|| "–".to_owned(), |took| format!("{} ms", took.as_millis()));
    let error = match &state.last_error {
        Some(error) => format!("{} ({})", escaped(error), moment(state.last_error_at)),
        None => "none".to_owned(),
    };
    let about = state.about.as_deref().filter(|about| !about.is_empty());
    let about = about.map_or(String::new(), |about| format!("<small>{}</small>", escaped(about)));
    let errors = match state.restarts {
        0 => state.errors.to_string(),
        restarts => format!("{}, {restarts} restarts", state.errors),
    };
    let cp = escaped(shown.control_plane.as_str());
    let _ = write!(
        html,
        "<tr><th scope=\"row\">{}{about}</th><td>{}</td><td><a href=\"/nodes?q=cp:{cp}\">{cp}</a></td><td>{}</td>\
         <td>{}</td><td>{took}</td><td>{} of {}</td><td>{}</td><td>{errors}</td><td>{}</td><td>{error}</td></tr>",
        escaped(&shown.name),
        shown.kind,
        state.health.word(),
        moment(state.last_success_at),
        state.answered,
        state.targets,
        state.runs,
        state.facts,
    );
}
