//! Launches a container's first process from a plan.

use std::fmt;

use crate::error::describe;
use rustix::io::Errno;

/// The first step that failed in the child.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepError {
    /// The step's name.
    pub step: &'static str,
    /// The system call.
    pub call: &'static str,
    /// What it was made on.
    pub subject: String,
    /// The kernel's answer.
    pub errno: Errno,
}

impl fmt::Display for StepError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} {}: {}", self.step, self.call, self.subject, describe(self.errno))
    }
}

impl std::error::Error for StepError {}
