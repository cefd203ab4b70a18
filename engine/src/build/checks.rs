//! Questions about a build that run none of its steps: what checks find, its parameters, its targets.

use std::sync::Arc;

use kiln_parser::outline::targets;
use kiln_parser::{Diagnostic, SourceFile, Span};

pub use kiln_parser::lint::rule;
pub use kiln_parser::outline::{Outline, OutlineArg, OutlineMount, Target};

use super::findings::Findings;
use super::source::Source;
use super::{BuildRequest, failure};
use crate::progress::ProgressSink;
use crate::{Engine, Error, Result};

/// What checks say of a Dockerfile.
#[derive(Debug)]
pub struct CheckReport {
    /// The file.
    pub file: SourceFile,
    /// What rules found, in the order of lines.
    pub warnings: Vec<Diagnostic>,
    /// What else is odd in the file; no rule is about it.
    pub notes: Vec<Diagnostic>,
    /// Why it could not be checked to its end.
    pub error: Option<CheckError>,
}

/// Why checks could not go on.
#[derive(Debug)]
pub struct CheckError {
    /// The error, with its lines.
    pub error: Error,
    /// The lines by themselves, where they are known.
    pub span: Option<Span>,
}

impl Engine {
    /// Checks a Dockerfile; every stage of it, unless a target is named. Looks up base images.
    ///
    /// Mistakes in the file are in the report; an error means that there is no file to speak of.
    pub async fn build_check(
        &self,
        request: &BuildRequest,
        progress: &Arc<dyn ProgressSink>,
    ) -> Result<CheckReport> {
        let source = self.source(request, progress).await?;
        self.check_source(request, source, progress).await
    }

    /// The same of what was read before.
    pub async fn check_source(
        &self,
        request: &BuildRequest,
        source: Source,
        progress: &Arc<dyn ProgressSink>,
    ) -> Result<CheckReport> {
        let mut findings = Findings::default();
        let all_stages = request.target.as_deref().is_none_or(str::is_empty);
        let planned = self.plan(request, &source, all_stages, progress, &mut findings).await;
        let span = findings.errors.first().and_then(|error| error.span);
        let (mut warnings, notes): (Vec<_>, Vec<_>) =
            findings.warnings.into_iter().partition(|warning| warning.rule.is_some());
        warnings.sort_by_key(|warning| warning.span.map(|span| span.first));
        let error = planned.err().map(|error| CheckError { error, span });
        Ok(CheckReport { file: source.file, warnings, notes, error })
    }

    /// The parameters of the target that the request names.
    pub async fn build_outline(
        &self,
        request: &BuildRequest,
        progress: &Arc<dyn ProgressSink>,
    ) -> Result<(SourceFile, Outline)> {
        let source = self.source(request, progress).await?;
        self.outline_source(request, source, progress).await
    }

    /// The same of what was read before.
    pub async fn outline_source(
        &self,
        request: &BuildRequest,
        source: Source,
        progress: &Arc<dyn ProgressSink>,
    ) -> Result<(SourceFile, Outline)> {
        let mut findings = Findings::default();
        let planned = self.plan(request, &source, false, progress, &mut findings).await?;
        // They do not depend on the platform, and there is always one.
        let first = planned.plans.first().map(|plan| plan.outline(&planned.dockerfile, &planned.configs));
        let outline = first.transpose().map_err(|errors| failure::of_diagnostics(&errors, &source.file))?;
        Ok((source.file, outline.unwrap_or_default()))
    }

    /// The stages of a Dockerfile.
    pub async fn build_targets(
        &self,
        request: &BuildRequest,
        progress: &Arc<dyn ProgressSink>,
    ) -> Result<(SourceFile, Vec<Target>)> {
        targets_of(self.source(request, progress).await?)
    }
}

/// The stages of a Dockerfile that was read before.
pub fn targets_of(source: Source) -> Result<(SourceFile, Vec<Target>)> {
    let file = source.file;
    let (dockerfile, diagnostics) = kiln_parser::parse(&file);
    if diagnostics.iter().any(Diagnostic::is_error) {
        return Err(failure::of_diagnostics(&diagnostics, &file));
    }
    Ok((file, targets(&dockerfile)))
}
