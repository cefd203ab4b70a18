//! The tree of a Dockerfile: stages of instructions, nothing expanded yet.

use std::fmt::Write;

use crate::Span;
pub use crate::directive::Directives;
pub use crate::heredoc::Heredoc;
pub use crate::instruction::{
    Add, Arg, CommandLine, Copy, Env, Expose, Form, From, Health, Healthcheck, KeyValue, Label, MountKind,
    MountSpec, Onbuild, Run, Sources,
};

/// A whole file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Dockerfile {
    /// `# syntax=`, `# escape=`, `# check=`.
    pub directives: Directives,
    /// The `ARG` lines before the first `FROM`.
    pub global_args: Vec<Node>,
    /// Every stage, in order.
    pub stages: Vec<Stage>,
}

/// `FROM` and what follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage {
    /// The `FROM` itself.
    pub from: From,
    /// Its lines.
    pub span: Span,
    /// Its text.
    pub code: String,
    /// Comments directly above it.
    pub comments: Vec<String>,
    /// What follows it.
    pub instructions: Vec<Node>,
}

/// An instruction and where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// What it says.
    pub instruction: Instruction,
    /// Its lines, heredocs included.
    pub span: Span,
    /// Its text with continuations joined, without heredocs.
    pub code: String,
    /// Comments directly above it.
    pub comments: Vec<String>,
}

/// One instruction other than `FROM`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Instruction {
    /// `ADD`
    Add(Add),
    /// `ARG`
    Arg(Arg),
    /// `CMD`
    Cmd(CommandLine),
    /// `COPY`
    Copy(Copy),
    /// `ENTRYPOINT`
    Entrypoint(CommandLine),
    /// `ENV`
    Env(Env),
    /// `EXPOSE`
    Expose(Expose),
    /// `HEALTHCHECK`
    Healthcheck(Healthcheck),
    /// `LABEL`
    Label(Label),
    /// `MAINTAINER`
    Maintainer(String),
    /// `ONBUILD`
    Onbuild(Onbuild),
    /// `RUN`
    Run(Run),
    /// `SHELL`
    Shell(Vec<String>),
    /// `STOPSIGNAL`
    StopSignal(String),
    /// `USER`
    User(String),
    /// `VOLUME`
    Volume(Vec<String>),
    /// `WORKDIR`
    Workdir(String),
}

impl Dockerfile {
    /// One line an instruction, for tests and `debug ast`.
    pub fn dump(&self) -> String {
        let mut out = String::new();
        if self.directives != Directives::default() {
            let _ = writeln!(out, "{:?}", self.directives);
        }
        let node = |out: &mut String, node: &Node| {
            let _ = writeln!(out, "{}: {:?}", node.span, node.instruction);
        };
        self.global_args.iter().for_each(|arg| node(&mut out, arg));
        for (index, stage) in self.stages.iter().enumerate() {
            let _ = writeln!(out, "stage {index}\n{}: {:?}", stage.span, stage.from);
            stage.instructions.iter().for_each(|instruction| node(&mut out, instruction));
        }
        out
    }
}
