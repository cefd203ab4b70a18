//! The tree of a Dockerfile: stages of instructions, nothing expanded yet.

use std::fmt::Write;

use crate::Span;
pub use crate::directive::{DirectiveLines, Directives};
pub use crate::heredoc::Heredoc;
pub use crate::instruction::{
    Add, Arg, CommandLine, Copy, Env, Expose, Form, From, Health, Healthcheck, KeyValue, Label, MountKind,
    MountSpec, Onbuild, Run, Sources,
};
pub use crate::pieces::{Part, PartKind, Piece, PieceKind};
use crate::words::is_separator;

/// A whole file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Dockerfile {
    /// `# syntax=`, `# escape=`, `# check=`.
    pub directives: Directives,
    /// The `ARG` lines before the first `FROM`.
    pub global_args: Vec<Node>,
    /// Every stage, in order.
    pub stages: Vec<Stage>,
    /// Every line of the file, in order, with comments and empty lines.
    pub pieces: Vec<Piece>,
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
    /// Comments above it, back to the instruction before or to an empty comment.
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
    /// Its text with continuations joined, without heredocs and blanks at the end.
    pub code: String,
    /// Comments above it, back to the instruction before or to an empty comment.
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

impl Stage {
    /// Its keyword as written.
    pub fn keyword(&self) -> &str {
        keyword(&self.code)
    }

    /// `AS` and the name, both as written.
    pub fn written_name(&self) -> Option<(&str, &str)> {
        self.from.name.as_ref()?;
        let mut words = self.code.rsplit(is_separator).filter(|word| !word.is_empty());
        let (name, r#as) = (words.next()?, words.next()?);
        Some((r#as, name))
    }
}

impl Node {
    /// Its keyword as written.
    pub fn keyword(&self) -> &str {
        keyword(&self.code)
    }
}

fn keyword(code: &str) -> &str {
    code.split(is_separator).next().unwrap_or_default()
}

impl Dockerfile {
    /// The piece that a line, from 1, is in.
    pub fn piece_at(&self, line: u32) -> Option<&Piece> {
        let after = self.pieces.partition_point(|piece| piece.span.last < line);
        self.pieces[after..].iter().find(|piece| !matches!(piece.kind, PieceKind::ByteOrderMark))
    }

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{SourceFile, parse};

    #[test]
    fn what_was_written_is_kept() {
        let (file, _) = parse(&SourceFile::new("D", "# a\nfrom --platform=x y  As  Name\n\nrUn <<E\nE\n"));
        assert_eq!(file.stages[0].keyword(), "from");
        assert_eq!(file.stages[0].written_name(), Some(("As", "Name")));
        assert_eq!(file.stages[0].instructions[0].keyword(), "rUn");
        let kinds: Vec<bool> = (1..=6)
            .map(|line| {
                let piece = file.piece_at(line);
                piece.is_some_and(|piece| matches!(piece.kind, PieceKind::Instruction(_)))
            })
            .collect();
        assert_eq!(kinds, [false, true, false, true, true, false]);
    }
}
