//! The one error of this crate: which call, on what, and the kernel's answer.

use std::fmt;
use std::path::Path;

use rustix::io::Errno;

/// A failed system call with the object it failed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// Name of the system call.
    pub call: &'static str,
    /// What it was called on, ready to print, with names in backticks.
    pub subject: String,
    /// The kernel's answer.
    pub errno: Errno,
}

/// Result of a call of this crate.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An error of `call` on `subject`.
    pub fn new(call: &'static str, subject: impl Into<String>, errno: Errno) -> Self {
        Self { call, subject: subject.into(), errno }
    }

    /// The error of the call of the C library that just failed in this thread.
    pub(crate) fn last(call: &'static str, subject: impl Into<String>) -> Self {
        Self::new(call, subject, last_errno())
    }

    /// Whether the object does not exist.
    pub fn is_not_found(&self) -> bool {
        self.errno == Errno::NOENT
    }

    /// Whether only somebody with more rights may do it.
    pub fn is_permission(&self) -> bool {
        matches!(self.errno, Errno::PERM | Errno::ACCESS)
    }

    /// Whether the object exists already.
    pub fn is_exists(&self) -> bool {
        self.errno == Errno::EXIST
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.call, self.subject, describe(self.errno))
    }
}

impl std::error::Error for Error {}

impl From<Error> for std::io::Error {
    fn from(error: Error) -> Self {
        let kind = std::io::Error::from(error.errno).kind();
        Self::new(kind, error)
    }
}

/// What the C library says of the call that just failed in this thread.
pub(crate) fn last_errno() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}

/// The text of an error number, without the number.
pub fn describe(errno: Errno) -> String {
    let text = std::io::Error::from(errno).to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

/// Adds call and subject to a bare error number.
pub trait Context<T> {
    /// Names the call and the object it was made on.
    fn on(self, call: &'static str, subject: impl Quote) -> Result<T>;
}

impl<T> Context<T> for rustix::io::Result<T> {
    fn on(self, call: &'static str, subject: impl Quote) -> Result<T> {
        self.map_err(|errno| Error::new(call, subject.quote(), errno))
    }
}

/// Something that can stand as the subject of an error.
pub trait Quote {
    /// The subject in backticks.
    fn quote(&self) -> String;
}

impl Quote for &Path {
    fn quote(&self) -> String {
        format!("`{}`", self.display())
    }
}

impl Quote for &str {
    fn quote(&self) -> String {
        format!("`{self}`")
    }
}

impl Quote for &std::ffi::OsStr {
    fn quote(&self) -> String {
        format!("`{}`", self.display())
    }
}

impl Quote for &std::ffi::CStr {
    fn quote(&self) -> String {
        format!("`{}`", self.to_string_lossy())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_names_call_object_and_cause() {
        let error = Err::<(), _>(Errno::ACCESS).on("mkdirat", Path::new("/x")).unwrap_err();
        assert_eq!(error.to_string(), "mkdirat `/x`: Permission denied");
    }
}
