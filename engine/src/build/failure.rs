//! What goes wrong in a build, as an error with the lines that are to blame.

mod hints;

use kiln_builder::{BuildError, Cause};
use kiln_oci::Reference;
use kiln_parser::{Diagnostic, Dockerfile, SourceFile, Span};

use super::look_alike::{common_image, nearest};
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
    let mut error = Error::invalid(only.message.clone()).at(file, only.span);
    error.hint.clone_from(&only.help);
    error
}

/// An image that a FROM or a `--from` names cannot be had.
pub(super) fn of_base(
    mut error: Error,
    image: &Reference,
    dockerfile: &Dockerfile,
    span: Option<Span>,
    file: &SourceFile,
) -> Error {
    let name = image.familiar();
    let written = image.familiar_name();
    let is_base = |span: Span| dockerfile.stages.iter().any(|stage| stage.span.first == span.first);
    let what = match span.is_none_or(is_base) {
        true => format!("cannot get the base image `{name}`"),
        // A name that a stage could have was most likely meant as one.
        false if !written.contains('/') => {
            format!("no stage before this one is called `{written}`, and the image `{name}` cannot be had")
        }
        false => format!("cannot get the image `{name}`"),
    };
    error.message = format!("{what}: {}", error.message);
    error = error.at(file, span);
    let stages = dockerfile.stages.iter().filter_map(|stage| stage.from.name.as_deref());
    let meant = nearest(&written, stages).or_else(|| common_image(&written));
    if error.kind == ErrorKind::NotFound {
        let nothing =
            || "no image of this name and tag is there; `kiln images` lists those that are here".to_owned();
        error.hint.get_or_insert_with(nothing);
    }
    if let Some(meant) = meant {
        let hint = error.hint.map(|hint| format!("\n{hint}")).unwrap_or_default();
        error.hint = Some(format!("did you mean `{meant}`?{hint}"));
    }
    error
}

/// A step that failed: the end of its log, and its lines in the Dockerfile.
pub(super) fn of_build(build: BuildError, file: &SourceFile) -> Error {
    if build.is_cancelled() {
        return cancelled();
    }
    let mut error = of_cause(&build.failure.cause);
    let why = match &*build.failure.cause {
        // The lines below name the command.
        Cause::Exit { code, oom_killed, .. } => {
            let of_args = || hints::of_global_args(file, build.span?);
            error.hint = error.hint.or_else(|| hints::of_exit(*code, &build.failure.log)).or_else(of_args);
            let why = if *oom_killed { ": killed because it ran out of memory" } else { "" };
            format!("did not complete successfully: exit code: {code}{why}")
        }
        _ => error.message,
    };
    if let Cause::NotFound { hint: None, .. } = &*build.failure.cause
        && build.step.contains("../")
    {
        error.hint = Some(hints::OUTSIDE.to_owned());
    }
    error.message = format!("{}: {why}", build.step);
    if !build.failure.log.is_empty() {
        let lines: Vec<&str> = build.failure.log.iter().map(|line| line.trim_end_matches('\n')).collect();
        error.log = Some(format!("------\n > {}:\n{}\n------\n", build.step, lines.join("\n")).into());
    }
    let is_known = !file.text().is_empty();
    error.at(file, build.span.filter(|_| is_known).map(|(first, last)| Span::new(first, last)))
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
    if let Cause::Exit { code, .. } = cause {
        error.exit_code = u8::try_from(*code).ok();
    }
    error
}
