//! Solves a build graph in parallel and exports the result.
//!
//! [`solver`] knows keys and flights and nothing of what an op does; [`ops`] know what to do and nothing of how they
//! are scheduled. What a build needs from whoever asked for it comes through [`session`], what it tells goes through
//! [`progress`]. [`pull`](mod@pull) and [`push`](mod@push) move images between the store and registries.
#![forbid(unsafe_code)]

pub mod attest;
pub mod build;
pub mod cdi;
pub mod container;
pub mod context;
mod early;
pub mod entitlements;
pub mod error;
pub mod explain;
pub mod export;
pub mod flight;
pub mod forms;
mod index;
pub mod key;
pub mod layout;
pub mod materials;
mod meant;
pub mod mounts;
pub mod ops;
pub mod outside;
pub mod progress;
pub mod provenance;
pub mod pull;
pub mod push;
pub mod records;
pub mod sbom;
mod select;
pub mod session;
pub mod solver;
pub mod ssh;
pub mod stores;
pub mod tree;
pub mod value;
pub mod workspace;

pub use build::{BuildJob, BuildOutput, Builder, Product, Said, Target};
pub use entitlements::{Entitlements, UnknownGrant};
pub use error::{BuildError, Cause, Failure};
pub use export::options::{ImageOptions, LocalMode, Place, Squash};
pub use export::{Destination, Export, Exported};
pub use key::{CacheKey, KeyKind, KeyParts};
pub use progress::{Event, EventKind, LogStream, ProgressSink, Reporter, Silent, StepId, Transfer};
pub use session::{ContextSource, Secrets, Session, SessionError, SshAgents, Wanted};
pub use ssh::{SocketAgent, SshAgent};
pub use stores::{BareNetwork, NetworkError, Sandbox, SandboxNetwork, SandboxRequest, Stores};
pub use value::{Layers, Value};
