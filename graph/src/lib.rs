//! The build IR: a DAG of content-addressed operations.
//!
//! A [`Definition`] is a list of [`Vertex`] values; an [`Edge`] names one output of a vertex. Front ends
//! (the Dockerfile parser, the BuildKit wire format) produce definitions, the solver consumes them. Nothing here
//! does I/O.

#![forbid(unsafe_code)]

pub mod boolean;
pub mod chmod;
pub mod definition;
pub mod digest;
pub mod exec;
pub mod file;
pub mod glob;
pub mod ignore;
pub mod meta;
pub mod op;
pub mod parts;
pub mod render;
pub mod source;
pub mod state;
pub mod url;

pub use chmod::ChmodSpec;
pub use definition::{Definition, DefinitionError, Edge, Vertex, VertexId};
pub use exec::{CacheSharing, Device, ExecOp, ExtraHost, Mount, Network, Security};
pub use file::{ActionInput, CopyAction, FileAction, FileOp, Owner, OwnerError, Principal};
pub use meta::VertexMeta;
pub use op::{DiffOp, MergeOp, Op};
pub use source::{GitAccess, GitTimes, SourceOp, Submodules};
pub use state::State;
