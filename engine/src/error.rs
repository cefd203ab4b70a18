//! The one error type that both faces see: a kind, a message, a hint.

pub(crate) mod convert;

use std::error::Error as StdError;
use std::fmt;

use kiln_parser::diagnostic::excerpt;
use kiln_parser::{SourceFile, Span};

use crate::progress::WarningPlace;

/// What sort of failure it was. Faces turn it into an exit code, an HTTP status or a gRPC code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// What was asked for makes no sense: a malformed name, an unknown option, a broken Dockerfile.
    InvalidInput,
    /// What was named does not exist.
    NotFound,
    /// It cannot be done in the present state: a name in use, a container that runs.
    Conflict,
    /// Credentials are missing or wrong.
    Unauthorized,
    /// Credentials are good and do not allow it.
    Forbidden,
    /// Somebody else did not answer: a registry, the network.
    Unavailable,
    /// A step of a build failed.
    Build,
    /// A container's program is not in its root filesystem.
    CommandNotFound,
    /// A container's program is there and cannot be executed.
    CommandNotExecutable,
    /// kiln does not do this yet.
    NotImplemented,
    /// Whoever asked went away or said stop.
    Cancelled,
    /// A system call, the disk or kiln itself failed.
    Internal,
}

impl ErrorKind {
    /// All kinds, so that tables over them can be tested for completeness.
    pub const ALL: [ErrorKind; 12] = [
        ErrorKind::InvalidInput,
        ErrorKind::NotFound,
        ErrorKind::Conflict,
        ErrorKind::Unauthorized,
        ErrorKind::Forbidden,
        ErrorKind::Unavailable,
        ErrorKind::Build,
        ErrorKind::CommandNotFound,
        ErrorKind::CommandNotExecutable,
        ErrorKind::NotImplemented,
        ErrorKind::Cancelled,
        ErrorKind::Internal,
    ];
}

/// Why an operation of the engine failed.
#[derive(Debug)]
pub struct Error {
    /// What sort of failure it was.
    pub kind: ErrorKind,
    /// Operation and object: lower case, no full stop, literals in backticks.
    pub message: String,
    /// The end of the log of the step that failed, in a frame with its name. May hold terminal escapes that others
    /// wrote; whoever shows it makes it harmless.
    pub log: Option<Box<str>>,
    /// Lines that help to see it, such as a snippet of the Dockerfile. As harmful as `log`.
    pub detail: Option<Box<str>>,
    /// The same lines as a place in their file, where they are of one.
    pub place: Option<Box<WarningPlace>>,
    /// What to do next.
    pub hint: Option<String>,
    /// The exit code of the step that failed by it.
    pub exit_code: Option<u8>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// What the engine's operations return.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An error without cause, detail and hint.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Error {
            kind,
            message: message.into(),
            log: None,
            detail: None,
            place: None,
            hint: None,
            exit_code: None,
            source: None,
        }
    }

    /// What was asked for makes no sense.
    pub fn invalid(message: impl Into<String>) -> Self {
        Error::new(ErrorKind::InvalidInput, message)
    }

    /// What was named does not exist.
    pub fn not_found(message: impl Into<String>) -> Self {
        Error::new(ErrorKind::NotFound, message)
    }

    /// It cannot be done in the present state.
    pub fn conflict(message: impl Into<String>) -> Self {
        Error::new(ErrorKind::Conflict, message)
    }

    /// kiln does not do `what` yet.
    pub fn not_implemented(what: impl fmt::Display) -> Self {
        Error::new(ErrorKind::NotImplemented, format!("{what} is not supported yet"))
    }

    /// `message` failed because of `source`.
    pub fn internal(message: impl Into<String>, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Error::new(ErrorKind::Internal, message).caused_by(source)
    }

    /// The same with what to do next.
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same for a reader who has seen the log.
    pub fn without_log(mut self) -> Self {
        self.log = None;
        self
    }

    /// The same with lines that help to see it.
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into().into());
        self
    }

    /// The same with lines of a file, as a place and as people are shown them.
    pub(crate) fn at(mut self, file: &SourceFile, span: Option<Span>) -> Self {
        self.detail = span.map(|span| excerpt(file, span).into());
        self.place = span.map(|span| {
            let (file, text) = (file.name().to_owned(), file.text().into());
            Box::new(WarningPlace { file, text, first: span.first, last: span.last })
        });
        self
    }

    /// The same with its cause.
    pub fn caused_by(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Message and causes on one line, `: ` between them; a cause whose text is already there is not repeated.
    pub fn chain(&self) -> String {
        convert::chain(self)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_names_each_cause_once() {
        let cause = std::io::Error::other("disk full");
        let error = Error::internal("pull `nginx`", Error::internal("write blob", cause));
        assert_eq!(error.chain(), "pull `nginx`: write blob: disk full");
        let error = Error::internal("pull: disk full", std::io::Error::other("disk full"));
        assert_eq!(error.chain(), "pull: disk full");
    }
}
