//! The time of what a build makes, `SOURCE_DATE_EPOCH`, where it is to be that of a context.

use std::collections::BTreeMap;

use kiln_snapshot::{ChangeKind, Node, diff_trees};
use kiln_sys::fs::Root;

use super::BuildRequest;
use crate::{Error, Result};

/// The build argument that says the time.
const EPOCH: &str = "SOURCE_DATE_EPOCH";

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
