//! What is said about a Dockerfile before it is built, and how it is told.

use std::sync::Arc;

use kiln_builder::progress::{Reporter as _, StepReporter, Warning, WarningPlace};
use kiln_builder::{EventKind, ProgressSink};
use kiln_parser::diagnostic::excerpt as excerpt_of;
use kiln_parser::{Diagnostic, Lowered, SourceFile, Span, lint};

use super::bases::DEFINITION_STEP;
use super::failure;
use crate::Error;

/// Complaints about one file, each once, however many platforms it is true for.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) warnings: Vec<Diagnostic>,
    pub(super) errors: Vec<Diagnostic>,
}

impl Findings {
    /// Keeps what is not known yet.
    pub(super) fn add(&mut self, diagnostics: impl IntoIterator<Item = Diagnostic>) {
        for diagnostic in diagnostics {
            let list = if diagnostic.is_error() { &mut self.errors } else { &mut self.warnings };
            if !list.contains(&diagnostic) {
                list.push(diagnostic);
            }
        }
    }

    /// Keeps everything, and makes an error of the errors.
    pub(super) fn fail(&mut self, diagnostics: Vec<Diagnostic>, file: &SourceFile) -> Error {
        let error = failure::of_diagnostics(&diagnostics, file);
        self.add(diagnostics);
        error
    }

    /// Keeps what checks found in what was made for each platform.
    pub(super) fn add_of(&mut self, lowered: &[Lowered]) {
        self.add(lowered.iter().flat_map(|one| one.warnings.iter().cloned()));
    }

    /// Tells the warnings to who watches the build, in the order of lines, at the step that read the file.
    pub(super) fn tell(&mut self, progress: &dyn ProgressSink, file: &SourceFile) {
        self.warnings.sort_by_key(|warning| warning.span.map(|span| span.first));
        let text: Arc<str> = file.text().into();
        for diagnostic in &self.warnings {
            let warning = Box::new(warning(diagnostic, file, &text));
            StepReporter { sink: progress, step: DEFINITION_STEP }.report(EventKind::Warning(warning));
        }
    }
}

fn warning(diagnostic: &Diagnostic, file: &SourceFile, text: &Arc<str>) -> Warning {
    let rule = diagnostic.rule.and_then(lint::rule);
    let place = |span: Span| WarningPlace {
        file: file.name().to_owned(),
        text: text.clone(),
        first: span.first,
        last: span.last,
    };
    Warning {
        short: diagnostic.short(),
        detail: rule.map(|rule| rule.description.to_owned()),
        hint: diagnostic.help.clone(),
        url: rule.and_then(|rule| rule.url).map(str::to_owned),
        place: diagnostic.span.map(place),
    }
}

/// The lines of a warning with those around them, as BuildKit shows them.
pub fn excerpt(place: &WarningPlace) -> String {
    let file = SourceFile::new(place.file.clone(), place.text.clone());
    excerpt_of(&file, Span::new(place.first, place.last))
}
