//! An error as the Docker API tells it: a status and `{"message": …}`.

use std::fmt;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use kiln_engine::{Error, ErrorKind};
use serde::Serialize;

use super::json;
use crate::error::status;

/// Why a request was not answered as it wished.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The HTTP status.
    pub status: StatusCode,
    /// One or several lines for people.
    pub message: String,
    /// The exit code of the build's step that failed; clients end with it.
    pub code: Option<u8>,
}

impl Failure {
    /// A failure of this status.
    pub fn new(status: StatusCode, message: impl Into<String>) -> Failure {
        Failure { status, message: message.into(), code: None }
    }

    /// What was asked for makes no sense.
    pub(crate) fn bad_request(message: impl Into<String>) -> Failure {
        Failure::new(StatusCode::BAD_REQUEST, message)
    }

    /// Nobody has such a path.
    pub(crate) fn no_page() -> Failure {
        Failure::new(StatusCode::NOT_FOUND, "page not found")
    }

    /// kiln does not have `what`.
    pub(crate) fn lacking(what: impl fmt::Display) -> Failure {
        Failure::new(StatusCode::NOT_IMPLEMENTED, format!("kiln does not have {what}"))
    }

    /// The same where something else is wrong; otherwise Docker's words for what is missing, which clients look for.
    pub(crate) fn or_missing(error: Error, words: impl FnOnce() -> String) -> Failure {
        match error.kind {
            ErrorKind::NotFound => Failure::new(StatusCode::NOT_FOUND, words()),
            _ => error.into(),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        let code = StatusCode::from_u16(status(error.kind).http);
        let exit_code = error.exit_code;
        let failure = Failure::new(code.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), error.chain());
        Failure { code: exit_code, ..failure }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// The body of a failure.
#[derive(Serialize)]
struct Body<'a> {
    message: &'a str,
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        json(self.status, &Body { message: &self.message })
    }
}
