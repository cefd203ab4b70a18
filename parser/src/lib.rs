//! Dockerfile text to AST, plan and graph; never does I/O.
//!
//! ```text
//! SourceFile --parse--> Dockerfile --Plan::new--> Plan --lower(&BaseConfigs)--> Lowered { definition, root, config }
//! ```
//!
//! The one back-and-forth: [`Plan::base_images`] says which image configurations are needed, the caller looks them
//! up and hands them to [`Plan::lower`], which may ask for more (a base's ONBUILD can name further images).

#![forbid(unsafe_code)]

pub mod ast;
pub mod csv;
pub mod diagnostic;
pub mod edit;
pub mod format;
pub mod ignore;
pub mod lint;
pub mod lower;
pub mod outline;
pub mod plan;
pub mod remote;
pub mod source;

mod complaints;
mod directive;
mod expand;
mod flags;
mod heredoc;
mod instruction;
mod lines;
mod parse;
mod pieces;
mod print;
mod words;

pub use ast::{Dockerfile, Instruction, Node, Stage};
pub use diagnostic::{Diagnostic, Severity};
pub use lower::{BaseConfigs, Lowered, Lowering, ResolvedBase};
pub use parse::parse;
pub use plan::{BaseImage, NamedContext, NamedContexts, NoCache, Plan, PlanOptions};
pub use print::print;
pub use source::{SourceFile, Span};
