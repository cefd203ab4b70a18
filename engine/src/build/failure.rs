//! What goes wrong in a build, as an error with the lines that are to blame.

use kiln_builder::{BuildError, Cause};
use kiln_parser::diagnostic::excerpt;
use kiln_parser::{Diagnostic, SourceFile, Span};

use crate::error::convert::chain;
use crate::{Error, ErrorKind};

/// The build was given up because somebody said so.
pub(super) fn cancelled() -> Error {
    Error::new(ErrorKind::Cancelled, "the build was cancelled")
}

/// Mistakes in the text: the first as the message where there is one, all with their lines where there are several.
pub(crate) fn of_diagnostics(diagnostics: &[Diagnostic], file: &SourceFile) -> Error {
    let errors: Vec<&Diagnostic> = diagnostics.iter().filter(|diagnostic| diagnostic.is_error()).collect();
    let [only] = errors[..] else {
        let all: Vec<String> = errors.iter().map(|diagnostic| diagnostic.render(file, false)).collect();
        return Error::invalid(format!("{} mistakes in `{}`", errors.len(), file.name()))
            .with_detail(all.join("\n"));
    };
    let mut error = Error::invalid(only.message.clone());
    error.detail = only.span.map(|span| excerpt(file, span));
    error.hint.clone_from(&only.help);
    error
}

/// An image that a FROM names cannot be had.
pub(super) fn of_base(mut error: Error, image: &str, span: Option<Span>, file: &SourceFile) -> Error {
    error.message = format!("cannot get the base image `{image}`: {}", error.message);
    error.detail = span.map(|span| excerpt(file, span));
    error
}

/// What shells say of a program for another machine.
const FOREIGN: &str = "exec format error";

fn foreign_hint() -> String {
    let host = kiln_oci::Platform::host();
    format!(
        "the step executes a file that is no program for `{host}`: one for another machine, which needs an emulator \
         (`apt-get install qemu-user-static binfmt-support`), or a script without its first line, `#!…`"
    )
}

/// A step that failed: the end of its log, and its lines.
pub(super) fn of_build(build: BuildError, file: &SourceFile) -> Error {
    if build.is_cancelled() {
        return cancelled();
    }
    let mut error = of_cause(&build.failure.cause);
    error.message = format!("{}: {}", build.step, error.message);
    let mut detail = String::new();
    if build.failure.log.iter().any(|line| line.to_ascii_lowercase().contains(FOREIGN)) {
        error.hint.get_or_insert_with(foreign_hint);
    }
    if !build.failure.log.is_empty() {
        let lines: Vec<&str> = build.failure.log.iter().map(|line| line.trim_end_matches('\n')).collect();
        detail = format!("------\n > {}:\n{}\n------\n", build.step, lines.join("\n"));
    }
    if let Some((first, last)) = build.span {
        detail.push_str(&excerpt(file, Span::new(first, last)));
    }
    error.detail = Some(detail).filter(|detail| !detail.is_empty());
    error
}

/// A source that was to be had before there is a graph.
pub(super) fn of_source(build: BuildError) -> Error {
    if build.is_cancelled() {
        return cancelled();
    }
    of_cause(&build.failure.cause)
}

/// A cause by itself.
pub(crate) fn of_cause(cause: &Cause) -> Error {
    let kind = match cause {
        Cause::Cancelled => ErrorKind::Cancelled,
        Cause::Unsupported(_) => ErrorKind::NotImplemented,
        Cause::Registry(error) => crate::error::convert::registry_kind(error),
        Cause::Git { .. } => ErrorKind::Unavailable,
        Cause::Exit { .. } => ErrorKind::Build,
        Cause::NotFound { .. } | Cause::NotGiven { .. } | Cause::Invalid(_) | Cause::Image { .. } => {
            ErrorKind::InvalidInput
        }
        _ => ErrorKind::Internal,
    };
    let mut error = Error::new(kind, chain(cause));
    error.hint = cause.hint().map(str::to_owned);
    error
}
