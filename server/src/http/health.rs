//! Whether the process lives, and whether it can answer.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::Door;

/// What readiness rests on. The service gives it; each part is asked anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Readiness {
    /// The store answers.
    pub store: bool,
    /// The writer runs; with a held clock there is none, and none is needed.
    pub writer: bool,
    /// The board has published an answer.
    pub board: bool,
}

impl Readiness {
    /// All of it.
    pub const FULL: Self = Self { store: true, writer: true, board: true };

    /// Whether questions can be answered and facts be taken.
    #[must_use]
    pub const fn is_ready(self) -> bool {
        self.store && self.writer && self.board
    }
}

/// The process is alive.
#[utoipa::path(get, path = "/healthz", tag = "machines", responses((status = 200, description = "`ok`")))]
pub async fn alive() -> &'static str {
    "ok\n"
}

/// The server can answer and take facts in.
#[utoipa::path(get, path = "/readyz", tag = "machines",
    responses((status = 200, body = Readiness), (status = 503, body = Readiness)))]
pub async fn ready(State(door): State<Door>) -> Response {
    let readiness = door.health.readiness();
    let status = if readiness.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(readiness)).into_response()
}
