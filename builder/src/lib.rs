//! Solves a build graph in parallel and exports the result.
//!
//! [`solver`] knows keys and flights and nothing of what an op does; [`ops`] know what to do and nothing of how they
//! are scheduled. What a build needs from whoever asked for it comes through [`session`], what it tells goes through
//! [`progress`].
#![forbid(unsafe_code)]

pub mod error;
pub mod flight;
pub mod key;
pub mod progress;
pub mod session;
pub mod solver;
pub mod value;

pub use error::{BuildError, Cause, Failure};
pub use key::{CacheKey, KeyKind, KeyParts};
pub use progress::{Event, EventKind, LogStream, ProgressSink, Reporter, Silent, StepId, Transfer};
pub use session::{ContextSource, Secrets, Session, SessionError, SshAgents};
