//! `/metrics`: OpenMetrics for those who accept it, text 0.0.4 for the others.

use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};

use crate::http::Door;
use crate::http::asked::Asked;
use crate::http::problem::{Problem, ProblemBody};
use crate::metrics::Format;

/// All families. `?format=text` or `?format=openmetrics` overrides `Accept`, for scrapers that cannot choose theirs.
#[utoipa::path(get, path = "/metrics", tag = "machines",
    params(("format" = Option<String>, Query, description = "`text` or `openmetrics`; by the header Accept if absent.")),
    responses((status = 200, content_type = "text/plain"), (status = 400, body = ProblemBody)))]
pub async fn metrics(State(door): State<Door>, headers: HeaderMap, mut asked: Asked) -> Result<Response, Problem> {
    let accept = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let format = match asked.take("format").as_deref() {
        None => Format::negotiated(&accept.collect::<Vec<_>>().join(",")),
        Some("text") => Format::Text,
        Some("openmetrics") => Format::OpenMetrics,
        Some(_) => return Err(Problem::bad("format", "expected text or openmetrics")),
    };
    asked.end()?;
    let text = door.metrics.write(format).map_err(|_| Problem::ours())?;
    Ok(([(header::CONTENT_TYPE, format.content_type()), (header::VARY, "accept")], text).into_response())
}
