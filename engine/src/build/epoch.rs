//! The time of what a build makes, `SOURCE_DATE_EPOCH`, where it is to be that of a context or of a stage.

use std::collections::BTreeMap;

use kiln_graph::{Definition, Op, SourceOp};
use kiln_parser::{BaseConfigs, Lowering, NamedContexts, Plan, PlanOptions, SourceFile};
use kiln_snapshot::{ChangeKind, Node, diff_trees};
use kiln_sys::fs::Root;

use super::{BuildRequest, plan_options};
use crate::{Error, Result};

/// The build argument that says the time.
const EPOCH: &str = "SOURCE_DATE_EPOCH";
/// The name of the build's own context.
const CONTEXT: &str = "context";

/// Whether the time of a context is asked for: its name stands where seconds would.
pub(super) fn is_of_context(request: &BuildRequest) -> bool {
    name_in(&request.build_args).is_some()
}

/// The place of the named context whose time is asked for; nothing where it is that of the build's own.
pub(super) fn named(request: &BuildRequest) -> Option<&str> {
    let wanted = name_in(&request.build_args)?;
    let found = request.named_contexts.iter().rfind(|(name, _)| name == wanted);
    found.map(|(_, place)| place.as_str())
}

/// What the stage whose time is asked for consists of: one download or repository, and no other stage has a time. Nothing
/// where no stage is meant. A name of nothing is an error.
pub(super) fn of_stage(
    request: &BuildRequest,
    file: &SourceFile,
    contexts: &NamedContexts,
) -> Result<Option<SourceOp>> {
    let is_of_stage = |name: &&str| *name != CONTEXT && named(request).is_none();
    let Some(name) = name_in(&request.build_args).filter(is_of_stage) else { return Ok(None) };
    let (dockerfile, diagnostics) = kiln_parser::parse(file);
    // What is wrong with the Dockerfile is told when it is planned.
    if diagnostics.iter().any(kiln_parser::Diagnostic::is_error) {
        return Ok(None);
    }
    let is_meant = |stage: &str| stage.eq_ignore_ascii_case(name);
    if !dockerfile.stages.iter().filter_map(|stage| stage.from.name.as_deref()).any(is_meant) {
        return Err(Error::invalid(format!("`{EPOCH}={name}` is not a number of seconds")).with_hint(
            "seconds since 1970, or the context whose time is meant: `context`, the name of another, or of a stage",
        ));
    }
    let mut options = PlanOptions {
        target: Some(name.to_owned()),
        contexts: contexts.clone(),
        ..plan_options(request, Vec::new())?
    };
    options.build_args.remove(EPOCH);
    let Ok(plan) = Plan::new(&dockerfile, &options) else { return Ok(None) };
    let source = match plan.lower(&BaseConfigs::new()) {
        Err(_) => return Ok(None),
        Ok(Lowering::Ready(lowered)) => download(&lowered.definition),
        Ok(Lowering::NeedsMore(_)) => None,
    };
    source.map(Some).ok_or_else(|| {
        Error::invalid(format!("the stage `{name}` has no time for `{EPOCH}`"))
            .with_hint("one has that is `FROM scratch` and one `ADD` of a URL or a repository")
    })
}

/// The source of a graph that is nothing but one that was downloaded, put in its place.
fn download(definition: &Definition) -> Option<SourceOp> {
    let ops: Vec<&Op> = definition.vertices().map(|(_, vertex)| &vertex.op).collect();
    match ops.as_slice() {
        [Op::Source(source @ (SourceOp::Http { .. } | SourceOp::Git { .. })), Op::File(_)] => {
            Some(source.clone())
        }
        _ => None,
    }
}

/// Puts the context's time where it was asked for; a folder has none, and the argument then no value.
pub(super) fn put(build_args: &mut BTreeMap<String, String>, time: Option<i64>) {
    if name_in(build_args).is_some() {
        drop(build_args.remove(EPOCH));
        build_args.extend(time.map(|time| (EPOCH.to_owned(), time.to_string())));
    }
}

fn name_in(build_args: &BTreeMap<String, String>) -> Option<&str> {
    let value = build_args.get(EPOCH).map(String::as_str);
    value.filter(|value| !value.is_empty() && value.parse::<i64>().is_err())
}

/// The time of the newest file, in seconds: of a repository checked out with its commit's time, that.
pub(super) fn newest(root: &Root) -> Result<Option<i64>> {
    let changes = diff_trees(None, root).map_err(|error| Error::internal("read the context", error))?;
    let time = |kind: &ChangeKind| match kind {
        ChangeKind::Put(put) if put.node == Node::File => Some(put.stat.mtime.seconds),
        _ => None,
    };
    Ok(changes.iter().filter_map(|change| time(&change.kind)).max())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_context_stands_for_a_number_or_nothing() {
        let args = |value: &str| BTreeMap::from([(EPOCH.to_owned(), value.to_owned())]);
        let put = |value: &str, time: Option<i64>| {
            let mut args = args(value);
            put(&mut args, time);
            args.remove(EPOCH)
        };
        assert_eq!(put("context", Some(7)).as_deref(), Some("7"));
        assert_eq!(put("context", None), None);
        assert_eq!(put("5", Some(7)).as_deref(), Some("5"));
        assert_eq!(put("", Some(7)).as_deref(), Some(""));
    }

    #[test]
    fn a_named_context_is_found_by_its_name() {
        let of = |value: &str| BuildRequest {
            build_args: BTreeMap::from([(EPOCH.to_owned(), value.to_owned())]),
            named_contexts: vec![("src".to_owned(), "https://h/r.git".to_owned())],
            ..BuildRequest::default()
        };
        assert_eq!(named(&of("src")), Some("https://h/r.git"));
        assert_eq!((named(&of("context")), named(&of("7"))), (None, None));
        assert!(is_of_context(&of("context")) && !is_of_context(&of("7")));
    }
}
