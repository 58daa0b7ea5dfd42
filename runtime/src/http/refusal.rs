//! Problems as HTTP answers.

use std::fmt;

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{ALLOW, CONTENT_TYPE, WWW_AUTHENTICATE};
use actix_web::http::{Method, StatusCode};
use actix_web::middleware::Next;
use actix_web::{Error, HttpResponse, ResponseError};
use serde::Serialize;

use crate::api::{Code, Problem};

/// A request that was not granted: the problem, and what HTTP wants to know besides.
#[derive(Debug, Serialize)]
pub(super) struct Refusal {
    #[serde(flatten)]
    problem: Box<Problem>,
    /// Seq of the last record, told to a reader whose cursor lies beyond it.
    #[serde(skip_serializing_if = "Option::is_none")]
    head: Option<u64>,
    /// The methods that would do.
    #[serde(skip)]
    allow: Option<&'static str>,
}

impl Refusal {
    /// The request cannot be read.
    pub(super) fn unreadable(detail: impl Into<String>) -> Self {
        Problem::new(Code::InvalidRequest, detail).into()
    }

    /// There is nothing at this path.
    pub(super) fn no_such_route(path: &str) -> Self {
        Problem::new(
            Code::NotFound,
            format!("there is nothing at {path}; docs/http-api.md lists the routes"),
        )
        .into()
    }

    /// There is something at this path, but not for this method.
    pub(super) fn wrong_method(method: &Method, path: &str, allow: &'static str) -> Self {
        let mut problem = Problem::new(
            Code::InvalidRequest,
            format!("{path} does not answer {method}, only {allow}"),
        );
        problem.status = StatusCode::METHOD_NOT_ALLOWED.as_u16();
        Self {
            allow: Some(allow),
            ..problem.into()
        }
    }

    /// The body is larger than `limit` bytes.
    pub(super) fn too_large(limit: usize) -> Self {
        Problem::new(
            Code::PayloadTooLarge,
            format!("the body is larger than {limit} bytes; put large texts into a file of the workspace"),
        )
        .into()
    }

    /// Tells the last seq as well, because the reader's cursor lies beyond it.
    pub(super) fn with_head(self, head: u64) -> Self {
        Self {
            head: Some(head),
            ..self
        }
    }

    pub(super) fn code(&self) -> Code {
        self.problem.code
    }

    fn answer(&self) -> HttpResponse<BoxBody> {
        let body = serde_json::to_string(self).expect("a problem is text, numbers and lists of them");
        let mut answer = HttpResponse::build(self.status_code());
        answer.insert_header((CONTENT_TYPE, "application/problem+json"));
        if self.status_code() == StatusCode::UNAUTHORIZED {
            answer.insert_header((WWW_AUTHENTICATE, "Bearer"));
        }
        if let Some(allow) = self.allow {
            answer.insert_header((ALLOW, allow));
        }
        answer.body(body)
    }

    /// The same, as the answer to a request for this path.
    fn at(&self, path: &str) -> Self {
        let mut problem = self.problem.clone();
        // Of what is not there nothing is said but that.
        problem.fields.instance = (problem.code != Code::NotFound).then(|| path.to_owned());
        Self { problem, ..*self }
    }
}

/// Names the path in every problem, wherever it was found: only here are both at hand.
pub(super) async fn name_the_path(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let answer = next.call(request).await?.map_into_boxed_body();
    let refusal = answer.response().error().and_then(Error::as_error::<Refusal>);
    let Some(named) = refusal.map(|refusal| refusal.at(answer.request().path()).answer()) else {
        return Ok(answer);
    };
    Ok(answer.into_response(named))
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self {
            problem: Box::new(problem),
            head: None,
            allow: None,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problem.detail)
    }
}

impl ResponseError for Refusal {
    fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    fn error_response(&self) -> HttpResponse<BoxBody> {
        let status = self.status_code();
        if status.is_server_error() {
            tracing::warn!(code = self.code().name(), detail = %self.problem.detail, "a request failed");
        }
        self.answer()
    }
}
