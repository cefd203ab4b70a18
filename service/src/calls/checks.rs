//! What build checks found, in the forms of `docker build --call=check`.

use kiln_engine::build::checks::{CheckReport, rule};
use kiln_engine::dockerfile::{Diagnostic, excerpt};
use serde::Serialize;

use super::source::{Location, base64};

/// For people: every warning with its rule, a page about it, and its lines.
pub fn plain(report: &CheckReport) -> String {
    let out = match report.warnings.len() {
        0 if report.error.is_none() => "Check complete, no warnings found.\n".to_owned(),
        0 => String::new(),
        1 => "Check complete, 1 warning has been found!\n".to_owned(),
        count => format!("Check complete, {count} warnings have been found!\n"),
    };
    out + &warnings(report)
}

/// The warnings by themselves.
pub fn warnings(report: &CheckReport) -> String {
    let mut out = String::new();
    for warning in &report.warnings {
        out.push_str(&format!("\nWARNING: {}", warning.rule.unwrap_or_default()));
        if let Some(url) = warning.rule.and_then(rule).and_then(|rule| rule.url) {
            out.push_str(&format!(" - {url}"));
        }
        out.push_str(&format!("\n{}\n", warning.message));
        out.push_str(&warning.span.map(|span| excerpt(&report.file, span)).unwrap_or_default());
    }
    out
}

/// For scripts: BuildKit's `LintResults`.
pub fn json(report: &CheckReport) -> String {
    let results = Results {
        warnings: report.warnings.iter().map(Warning::of).collect(),
        sources: vec![Source {
            filename: report.file.name(),
            data: base64(report.file.text().as_bytes()),
            language: "Dockerfile",
        }],
        error: report.error.as_ref().map(|failed| BuildError {
            message: &failed.error.message,
            location: failed.span.map_or_else(Location::default, |span| Location::of(span.first, span.last)),
        }),
    };
    let text = serde_json::to_string_pretty(&results).unwrap_or_default();
    format!("{text}\n")
}

#[derive(Serialize)]
struct Results<'a> {
    warnings: Vec<Warning<'a>>,
    sources: Vec<Source<'a>>,
    #[serde(rename = "buildError", skip_serializing_if = "Option::is_none")]
    error: Option<BuildError<'a>>,
}

#[derive(Serialize)]
struct Warning<'a> {
    #[serde(rename = "ruleName")]
    rule_name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<&'a str>,
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    location: Option<Location>,
}

impl<'a> Warning<'a> {
    fn of(diagnostic: &'a Diagnostic) -> Self {
        let rule = diagnostic.rule.and_then(rule);
        Warning {
            rule_name: diagnostic.rule.unwrap_or_default(),
            description: rule.map(|rule| rule.description),
            url: rule.and_then(|rule| rule.url),
            detail: &diagnostic.message,
            location: diagnostic.span.map(|span| Location::of(span.first, span.last)),
        }
    }
}

#[derive(Serialize)]
struct Source<'a> {
    filename: &'a str,
    data: String,
    language: &'a str,
}

#[derive(Serialize)]
struct BuildError<'a> {
    message: &'a str,
    location: Location,
}
