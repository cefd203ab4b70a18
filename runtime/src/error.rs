//! Why a container did not start.

use kiln_sys::child::StepError;
use kiln_sys::user_namespace::is_confined;

use crate::prepare::machine;

/// The result of a runtime operation.
pub type Result<T> = std::result::Result<T, Error>;

/// What an error means for an exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The program is not in the container.
    NotFound,
    /// The program is there and cannot be executed.
    NotExecutable,
    /// Anything else.
    Other,
}

impl ErrorKind {
    /// The exit code that Docker uses for it.
    pub fn exit_code(self) -> i32 {
        match self {
            Self::NotFound => 127,
            Self::NotExecutable => 126,
            Self::Other => 125,
        }
    }
}

/// Why a container did not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The program is not in the container.
    #[error("exec: \"{program}\": {reason}")]
    NotFound {
        /// `argv[0]`.
        program: String,
        /// `executable file not found in $PATH` or the like.
        reason: String,
    },
    /// The program is there and cannot be executed.
    #[error("exec: \"{program}\": {reason}")]
    NotExecutable {
        /// `argv[0]`.
        program: String,
        /// `permission denied` or the like.
        reason: String,
    },
    /// The program is for another machine, and the kernel found no emulator for it.
    #[error(
        "exec: \"{program}\": the program is for `linux/{architecture}`, and this machine is `linux/{}`",
        machine::host()
    )]
    Foreign {
        /// `argv[0]`.
        program: String,
        /// What it is for, in Go's spelling.
        architecture: &'static str,
        /// Whether an emulator is registered and not found in the container.
        emulator_is_missing: bool,
    },
    /// A user or a group has no entry in the container's files.
    #[error("unable to find {what} `{name}`: no matching entry in the image's {file} file")]
    Unlisted {
        /// `user` or `group`.
        what: &'static str,
        /// Its name.
        name: String,
        /// `passwd` or `group`.
        file: &'static str,
    },
    /// The request itself makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// A preparation in the parent failed.
    #[error("{action}: {source}")]
    Prepare {
        /// What was being prepared.
        action: String,
        /// The cause.
        source: kiln_sys::Error,
    },
    /// The kernel lacks a call without which there is no container.
    #[error("this kernel has no `{0}`: Linux 5.12 or newer is needed")]
    OldKernel(&'static str),
    /// A step of the container's first process failed.
    #[error("{0}")]
    Step(#[from] StepError),
    /// The control group could not be set up.
    #[error(transparent)]
    Cgroup(#[from] crate::cgroup::Error),
}

impl Error {
    /// What it means for an exit code.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NotFound { .. } => ErrorKind::NotFound,
            Self::NotExecutable { .. } | Self::Foreign { .. } => ErrorKind::NotExecutable,
            _ => ErrorKind::Other,
        }
    }

    /// What to do about it, where something can be said.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Foreign { emulator_is_missing: false, .. } => Some(
                "an emulator is registered on Debian and Ubuntu by `apt-get install qemu-user-static binfmt-support`",
            ),
            Self::Foreign { emulator_is_missing: true, .. } => Some(
                "the emulator that is registered must be so with the flag `F`, or it is not found in a container",
            ),
            Self::Unlisted { .. } => {
                Some("make it in the image, or give its number, which need not be listed")
            }
            Self::Step(step) if is_confined() && step.step.starts_with("mount proc on /proc ") => Some(
                "parts of this `/proc` are hidden, so that a user namespace gets no other: `procMount: Unmasked` for a pod, \
                 `--security-opt systempaths=unconfined` for docker, or `buildkitd --oci-worker-no-process-sandbox`",
            ),
            Self::NotFound { reason, .. } if reason.contains("$PATH") => {
                Some("install it in the image, or give its absolute path")
            }
            _ => None,
        }
    }

    /// The exit code that Docker uses for it: 125, 126 or 127.
    pub fn exit_code(&self) -> i32 {
        self.kind().exit_code()
    }
}

/// Names what was being prepared when a call failed.
pub(crate) trait Preparing<T> {
    /// Adds the action.
    fn preparing(self, action: impl FnOnce() -> String) -> Result<T>;
}

impl<T> Preparing<T> for kiln_sys::Result<T> {
    fn preparing(self, action: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|source| match source.errno {
            kiln_sys::Errno::NOSYS => Error::OldKernel(source.call),
            _ => Error::Prepare { action: action(), source },
        })
    }
}
