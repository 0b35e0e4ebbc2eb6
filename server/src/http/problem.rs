//! What a caller is told when it does not get what it asked for: RFC 9457, naming the field. The words are chosen
//! here, never leaked: what the store or a panic said goes to the log, under the request id that the problem carries.

use axum::Json;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tidemark_app::api::ApiError;
use utoipa::ToSchema;

use crate::ingest::SubmitError;
use crate::ingest::json::Wrong;

/// A problem. Boxed, because every handler may return one.
#[derive(Clone, Debug)]
pub struct Problem(Box<ProblemBody>);

/// A problem (RFC 9457, `application/problem+json`).
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub struct ProblemBody {
    /// Always `about:blank`: the title is that of the status.
    #[serde(rename = "type")]
    kind: &'static str,
    /// The status in words.
    title: &'static str,
    /// The HTTP status.
    status: u16,
    /// What is wrong, and what was expected.
    detail: String,
    /// The field that is wrong: of the body by its path, of the query or the path by its name, or a header.
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<String>,
    /// Reports of an array that were refused, each with its reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    refused: Option<Vec<Refused>>,
    /// The id under which the log tells more.
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<String>,
    #[serde(skip)]
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// A report that was not stored.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Refused {
    /// Its place in the array, from 0.
    pub index: u32,
    /// The field that is wrong; absent where the report as a whole is.
    pub field: Option<String>,
    /// What was expected.
    pub reason: String,
}

impl Problem {
    /// A problem of this status.
    #[must_use]
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self(Box::new(ProblemBody {
            kind: "about:blank",
            title: status.canonical_reason().unwrap_or("Problem"),
            status: status.as_u16(),
            detail: detail.into(),
            field: None,
            refused: None,
            request_id: None,
            headers: Vec::new(),
        }))
    }

    /// The question is wrong, in this field.
    #[must_use]
    pub fn bad(field: &str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail).of(field)
    }

    /// Try again: so many seconds later.
    #[must_use]
    pub fn later(detail: impl Into<String>, seconds: u32) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, detail).with(header::RETRY_AFTER, HeaderValue::from(seconds))
    }

    /// We are broken; whoever calls this has logged how.
    #[must_use]
    pub fn ours() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "something broke on our side; the log says more under the request id",
        )
    }

    /// The same, naming a field.
    #[must_use]
    pub fn of(mut self, field: &str) -> Self {
        self.0.field = Some(field.to_owned());
        self
    }

    /// The same, with the reports that were refused.
    #[must_use]
    pub fn refusing(mut self, refused: Vec<Refused>) -> Self {
        self.0.refused = Some(refused);
        self
    }

    /// The same, with a header.
    #[must_use]
    pub fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.headers.push((name, value));
        self
    }

    /// The same, with the id of its request.
    #[must_use]
    pub fn under(mut self, request_id: &str) -> Self {
        self.0.request_id = Some(request_id.to_owned());
        self
    }

    /// The status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

/// The problem travels beside its response as well, so that the door can write the request id into it.
impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = (self.status(), Json(&*self.0)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        for (name, value) in &self.0.headers {
            headers.append(name, value.clone());
        }
        response.extensions_mut().insert(self);
        response
    }
}

impl From<ApiError> for Problem {
    fn from(error: ApiError) -> Self {
        match error {
            ApiError::BadRequest(why) => Self::new(StatusCode::BAD_REQUEST, why),
            ApiError::NotFound(why) => Self::new(StatusCode::NOT_FOUND, why),
            ApiError::Unavailable(why) => Self::later(why, 1),
            ApiError::Internal(why) => {
                tracing::error!(error = %why, "a question could not be answered");
                Self::ours()
            }
        }
    }
}

impl From<Wrong> for Problem {
    fn from(wrong: Wrong) -> Self {
        let problem = Self::new(StatusCode::BAD_REQUEST, wrong.reason);
        match wrong.field {
            Some(field) => problem.of(&field),
            None => problem,
        }
    }
}

impl From<SubmitError> for Problem {
    fn from(error: SubmitError) -> Self {
        match error {
            SubmitError::Full => Self::later("the queue is full; nothing of this request was stored", 1),
            SubmitError::Closed => Self::later("nothing is taken in now; nothing of this request was stored", 5),
            SubmitError::Store => Self::later("the store failed; nothing of this request was stored", 5),
        }
    }
}
