//! `kiln build --call`: what can be said of a Dockerfile without building it.

use std::sync::Arc;

use kiln_engine::build::BuildRequest;
use kiln_engine::build::checks::CheckReport;
use kiln_engine::progress::ProgressSink;
use kiln_engine::{Engine, Result};
use kiln_service::calls::{checks, outline, outline_json, targets_json};

use super::OK;
use crate::app::block_on;
use crate::render::progress::BuildProgress;
use crate::values::call::{Call, Method};
use crate::{terminal, text};

/// The exit code of a check that found something.
const FOUND: u8 = 1;

/// Answers `call` on standard output, without a step run.
pub(super) fn run(
    call: Call,
    request: BuildRequest,
    engine: &Engine,
    progress: &Arc<BuildProgress>,
) -> Result<u8> {
    let watched: Arc<dyn ProgressSink> = progress.clone();
    if call.method == Method::Check {
        let report = block_on(engine.build_check(&request, &watched));
        progress.finish();
        return check(call, report?);
    }
    let answer = match call.method {
        Method::Outline => {
            block_on(engine.build_outline(&request, &watched)).map(|(file, found)| match call.json {
                true => outline_json(&found, &file),
                false => outline::outline(&found),
            })
        }
        _ => block_on(engine.build_targets(&request, &watched)).map(|(file, found)| match call.json {
            true => targets_json(&found, &file),
            false => outline::targets(&found),
        }),
    };
    progress.finish();
    terminal::print(&answer?)?;
    Ok(OK)
}

/// Findings on standard output, what no rule is about beside it; a mistake in the file comes last, as an error.
fn check(call: Call, report: CheckReport) -> Result<u8> {
    for note in &report.notes {
        let text = note.render(&report.file, false) + "\n";
        terminal::write_raw(true, text::neutral(&text).as_bytes())?;
    }
    terminal::print(&if call.json { checks::json(&report) } else { checks::plain(&report) })?;
    match report.error {
        Some(failed) => {
            if !call.json && !report.warnings.is_empty() {
                terminal::say("")?;
            }
            Err(failed.error)
        }
        None if report.warnings.is_empty() || call.ignore_status => Ok(OK),
        None => Ok(FOUND),
    }
}
