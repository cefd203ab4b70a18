//! What the Dockerfile frontend is asked instead of a build (`requestid`): checks, parameters, targets, and what it may be asked.

use std::collections::HashMap;
use std::sync::Arc;

use kiln_engine::build::checks::targets_of;
use kiln_engine::build::{BuildRequest, Source};
use kiln_engine::progress::ProgressSink;
use kiln_engine::{Engine, Error, ErrorKind, Result};
use serde_json::{Value, json};

use crate::calls::{checks, outline, outline_json, targets_json};

/// The version of every question.
const VERSION: &str = "1.0.0";
/// Where answers are, and what scripts get as an exit code.
const JSON: &str = "result.json";
const TEXT: &str = "result.txt";
const CODE: &str = "result.statuscode";

/// A question, as it describes itself.
struct Question {
    name: &'static str,
    description: &'static str,
    options: &'static [(&'static str, &'static str)],
    answers: &'static [&'static str],
}

const OUTLINE: Question = Question {
    name: "frontend.outline",
    description: "List all parameters current build target supports",
    options: &[("target", "Target build stage")],
    answers: &[JSON, TEXT],
};
const TARGETS: Question = Question {
    name: "frontend.targets",
    description: "List all targets current build supports",
    options: &[],
    answers: &[JSON, TEXT],
};
const LINT: Question = Question {
    name: "frontend.lint",
    description: "Lint a Dockerfile",
    options: &[],
    answers: &[JSON, TEXT, CODE],
};
const DESCRIBE: Question = Question {
    name: "frontend.subrequests.describe",
    description: "List available subrequest types",
    options: &[],
    answers: &[JSON, TEXT],
};
const ALL: [&Question; 4] = [&OUTLINE, &TARGETS, &LINT, &DESCRIBE];

/// The answer to `question` about the Dockerfile that was read, as the metadata of a result.
pub(super) async fn answer(
    engine: &Engine,
    question: &str,
    request: &BuildRequest,
    source: Source,
    sink: &Arc<dyn ProgressSink>,
) -> Result<HashMap<String, Vec<u8>>> {
    let Some(question) = ALL.into_iter().find(|known| known.name == question) else {
        return Err(Error::new(ErrorKind::NotImplemented, format!("unsupported request {question}")));
    };
    let mut code = None;
    let (json, text) = if question.name == OUTLINE.name {
        let (file, found) = engine.outline_source(request, source, sink).await?;
        (outline_json(&found, &file), outline::outline(&found))
    } else if question.name == TARGETS.name {
        let (file, found) = targets_of(source)?;
        (targets_json(&found, &file), outline::targets(&found))
    } else if question.name == LINT.name {
        let report = engine.check_source(request, source, sink).await?;
        let is_bad = !report.warnings.is_empty() || report.error.is_some();
        code = Some(if is_bad { "1" } else { "0" });
        (checks::json(&report), checks::warnings(&report))
    } else {
        describe()
    };
    let mut answer = vec![(JSON, json), (TEXT, text), ("version", VERSION.to_owned())];
    answer.extend(code.map(|code| (CODE, code.to_owned())));
    Ok(answer.into_iter().map(|(key, value)| (key.to_owned(), value.into_bytes())).collect())
}

fn describe() -> (String, String) {
    let named = |(name, description): &(&str, &str)| json!({ "name": name, "description": description });
    let all: Vec<Value> = ALL
        .iter()
        .map(|question| {
            json!({
                "name": question.name,
                "version": VERSION,
                "type": "rpc",
                "description": question.description,
                "opts": question.options.iter().map(named).collect::<Vec<_>>(),
                "inputs": null,
                "metadata": question.answers.iter().map(|name| named(&(name, ""))).collect::<Vec<_>>(),
                "refs": null,
            })
        })
        .collect();
    let short = |question: &Question| question.name.strip_prefix("frontend.").unwrap_or(question.name);
    let mut rows = vec![vec!["NAME", "VERSION", "DESCRIPTION"]];
    rows.extend(ALL.iter().map(|question| vec![short(question), VERSION, question.description]));
    (format!("{:#}", Value::Array(all)), outline::table(&rows, 1))
}
