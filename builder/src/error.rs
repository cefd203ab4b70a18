//! Why a build failed: the step, the cause, and the end of its log.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use crate::session::SessionError;
use crate::stores::NetworkError;

/// What to do about a process that the kernel killed for want of memory.
const OUT_OF_MEMORY: &str =
    "fewer steps at once (`--jobs 1`) or fewer parallel jobs in the command need less";

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Cause {
    /// The process of a step ended with another code than it should.
    #[error("process `{command}` did not complete successfully: exit code: {code}{}", if *oom_killed { ": killed because it ran out of memory" } else { "" })]
    Exit {
        /// The command, as people wrote it.
        command: String,
        /// The exit code; 128 + n where signal n ended it.
        code: i32,
        /// Whether the kernel killed it for want of memory.
        oom_killed: bool,
    },
    /// A path that must be there is not.
    #[error("`{path}` is not in {place}")]
    NotFound {
        /// The path as written.
        path: String,
        /// `the build context`, `the stage …`.
        place: String,
        /// What to do about it.
        hint: Option<String>,
    },
    /// Understood and not done by this version.
    #[error("{0} is not executed yet by this version of kiln")]
    Unsupported(String),
    /// Whoever asked for the build did not give or allow what a step needs.
    #[error("{what}")]
    NotGiven {
        /// What is missing, and who needs it.
        what: String,
        /// How to give it.
        hint: String,
    },
    /// The request makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// An image is not what it should be.
    #[error("image `{reference}`: {reason}")]
    Image {
        /// Which image.
        reference: String,
        /// What is wrong.
        reason: String,
        /// What to do about it.
        hint: Option<String>,
    },
    /// Whoever asked for the build could not give something.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// A snapshot, copy or layer tar failed.
    #[error(transparent)]
    Snapshot(#[from] kiln_snapshot::Error),
    /// An archive could not be unpacked.
    #[error("unpack `{path}`: {source}")]
    Unpack {
        /// The archive.
        path: String,
        /// Why not.
        source: kiln_snapshot::Error,
    },
    /// The store failed.
    #[error(transparent)]
    Cache(#[from] kiln_cache::Error),
    /// The step's network could not be set up.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// A git repository cannot be had, or not what was asked of it.
    #[error("git repository `{remote}`: {reason}")]
    Git {
        /// Where it is, without passwords.
        remote: String,
        /// What is wrong.
        reason: String,
        /// What to do about it.
        hint: Option<String>,
    },
    /// An image could not be sent to its registry.
    #[error("push `{name}`: {cause}")]
    Push {
        /// The name that it was to get there.
        name: String,
        /// Why not.
        cause: Box<Cause>,
    },
    /// A registry failed.
    #[error(transparent)]
    Registry(#[from] kiln_registry_client::Error),
    /// The container did not start.
    #[error(transparent)]
    Runtime(#[from] kiln_runtime::Error),
    /// A system call failed.
    #[error(transparent)]
    Sys(#[from] kiln_sys::Error),
    /// Reading or writing failed.
    #[error("{action}: {source}")]
    Io {
        /// What was being done, with its object.
        action: String,
        /// Why it failed.
        source: std::io::Error,
    },
    /// The build was given up.
    #[error("cancelled")]
    Cancelled,
    /// A defect of kiln.
    #[error("internal error: {0}")]
    Panic(String),
}

impl Cause {
    /// The cause that a panic's payload tells.
    pub fn panicked(payload: &(dyn Any + Send)) -> Cause {
        let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
        Cause::Panic(text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_default())
    }

    /// An I/O error with what was being done.
    pub fn io(action: impl Into<String>) -> impl FnOnce(std::io::Error) -> Cause {
        let action = action.into();
        move |source| Cause::Io { action, source }
    }

    /// What to do about it, where something can be said.
    pub fn hint(&self) -> Option<&str> {
        match self {
            Cause::NotFound { hint, .. } | Cause::Image { hint, .. } | Cause::Git { hint, .. } => {
                hint.as_deref()
            }
            Cause::NotGiven { hint, .. } => Some(hint),
            Cause::Push { cause, .. } => cause.hint(),
            Cause::Exit { oom_killed: true, .. } => Some(OUT_OF_MEMORY),
            Cause::Network(error) => error.hint.as_deref(),
            Cause::Registry(error) => error.hint.as_deref(),
            Cause::Runtime(error) => error.hint(),
            _ => None,
        }
    }
}

/// How a step failed, for everybody who waited for it.
#[derive(Debug, Clone)]
pub struct Failure {
    /// The cause.
    pub cause: Arc<Cause>,
    /// The last lines that it wrote.
    pub log: Arc<[String]>,
}

impl Failure {
    /// A failure without a log.
    pub fn of(cause: Cause) -> Failure {
        Failure { cause: Arc::new(cause), log: Arc::new([]) }
    }

    /// The failure of what was given up.
    pub fn cancelled() -> Failure {
        Failure::of(Cause::Cancelled)
    }

    /// Whether it was given up rather than failed.
    pub fn is_cancelled(&self) -> bool {
        matches!(*self.cause, Cause::Cancelled)
    }
}

/// Why a build failed.
#[derive(Debug, Clone)]
pub struct BuildError {
    /// The step's name, for example `[build 2/3] RUN make`.
    pub step: String,
    /// First and last line of the source that asked for the step, from 1.
    pub span: Option<(u32, u32)>,
    /// What happened.
    pub failure: Failure,
}

impl BuildError {
    /// The failure of what no line of a file asked for.
    pub(crate) fn of(step: &str, cause: Cause) -> BuildError {
        BuildError { step: step.to_owned(), span: None, failure: Failure::of(cause) }
    }

    /// Whether the build was given up rather than failed.
    pub fn is_cancelled(&self) -> bool {
        self.failure.is_cancelled()
    }

    /// What to do about it, where something can be said.
    pub fn hint(&self) -> Option<&str> {
        self.failure.cause.hint()
    }
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.step, self.failure.cause)
    }
}

impl std::error::Error for BuildError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&*self.failure.cause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Item 100 of the language's subtle points.
    #[test]
    fn a_process_that_had_no_memory_is_told_apart() {
        let exit = |oom_killed| Cause::Exit { command: "make".to_owned(), code: 137, oom_killed };
        assert_eq!(exit(false).to_string(), "process `make` did not complete successfully: exit code: 137");
        assert_eq!(exit(false).hint(), None);
        assert!(exit(true).to_string().ends_with("exit code: 137: killed because it ran out of memory"));
        assert_eq!(exit(true).hint(), Some(OUT_OF_MEMORY));
    }
}
