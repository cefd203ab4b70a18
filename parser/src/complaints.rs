//! Complaints in the making: as many as a person can read.

use crate::Diagnostic;

/// Most errors that are kept of one file; then nothing more is read of it.
const MAX_ERRORS: usize = 1000;
/// Most warnings that are kept of one file.
const MAX_WARNINGS: usize = 1000;

/// Errors and warnings, each up to a limit, so that neither hides the other.
#[derive(Debug, Default)]
pub(crate) struct Complaints {
    errors: Vec<Diagnostic>,
    warnings: Vec<Diagnostic>,
}

impl Complaints {
    pub(crate) fn push(&mut self, diagnostic: Diagnostic) {
        let (list, max) = match diagnostic.is_error() {
            true => (&mut self.errors, MAX_ERRORS),
            false => (&mut self.warnings, MAX_WARNINGS),
        };
        if list.len() < max {
            list.push(diagnostic);
        }
    }

    pub(crate) fn has_errors(&self) -> bool {
        !self.errors.is_empty()
    }

    /// Whether further errors would not be kept.
    pub(crate) fn is_full(&self) -> bool {
        self.errors.len() == MAX_ERRORS
    }

    /// All of them in the order of lines, those without a line first.
    pub(crate) fn finish(mut self) -> Vec<Diagnostic> {
        self.errors.append(&mut self.warnings);
        self.errors.sort_by_key(|diagnostic| diagnostic.span.map(|span| span.first));
        self.errors
    }
}

impl Extend<Diagnostic> for Complaints {
    fn extend<T: IntoIterator<Item = Diagnostic>>(&mut self, diagnostics: T) {
        diagnostics.into_iter().for_each(|diagnostic| self.push(diagnostic));
    }
}
