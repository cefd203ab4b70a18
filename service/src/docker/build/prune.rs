//! What a request wants to be gone of the build cache.

use std::time::{Duration, SystemTime};

use jiff::SignedDuration;
use kiln_engine::config::buildkitd::{DiskSpace, GcSpace};
use kiln_engine::{Engine, Result};

use crate::cache::{self, Filters, space};
use crate::docker::Failure;
use crate::docker::params::Params;

/// How long something was not used, the old name first.
const UNUSED: [&str; 2] = ["unused-for", "until"];
/// Conditions, as BuildKit has them: by themselves, or with a value that is or is not the record's.
const CONDITIONS: [&str; 14] = [
    "id",
    "parents",
    "description",
    "inuse",
    "mutable",
    "immutable",
    "type",
    "shared",
    "private",
    "id!",
    "type!",
    "description!",
    "type~",
    "description~",
];

/// What is asked for.
#[derive(Debug)]
pub(super) struct Asked {
    filters: Filters,
    all: bool,
    keep: Option<Duration>,
    space: GcSpace,
}

impl Asked {
    /// Reads the parameters of a request. What is not understood is refused: without it more would go.
    pub(super) fn read(params: &Params) -> std::result::Result<Asked, Failure> {
        let known: Vec<&str> = UNUSED.into_iter().chain(CONDITIONS).collect();
        let given = params.filters(&known)?;
        let spans: Vec<&String> = UNUSED.iter().flat_map(|name| given.values(name)).collect();
        let keep = match spans[..] {
            [] => None,
            [text] => Some(span(text)?).filter(|span| !span.is_zero()),
            _ => return Err(Failure::bad_request("\"until\" filter expects only one value")),
        };
        let mut conditions = Vec::new();
        for (name, values) in given.iter().filter(|(name, _)| !UNUSED.contains(name)) {
            conditions.push(match (values, name) {
                ([], _) => name.to_owned(),
                ([value], "id") => format!("id~={value}"),
                ([value], _) if name.ends_with(['!', '~']) => format!("{name}={value}"),
                ([value], _) => format!("{name}=={value}"),
                _ => return Err(Failure::bad_request(format!("{name:?} filter expects only one value"))),
            });
        }
        let filters = Filters::parse(&[conditions.join(",")]).map_err(Failure::bad_request)?;
        let bound = |name| {
            let bytes = params.number::<u64>(name)?.filter(|bytes| *bytes > 0);
            Ok::<_, Failure>(bytes.map(DiskSpace::Bytes))
        };
        let space = GcSpace {
            reserved: bound("reserved-space")?.or(bound("keep-storage")?),
            max_used: bound("max-used-space")?,
            min_free: bound("min-free-space")?,
        };
        Ok(Asked { filters, all: params.is_on("all"), keep, space })
    }

    /// Does so; bytes freed, and how many results are gone.
    pub(super) fn carry_out(&self, engine: &Engine) -> Result<(u64, usize)> {
        let kinds = cache::chosen(&cache::records(engine)?, &self.filters, self.all);
        space::shrink(engine, kinds, self.keep, &self.space, SystemTime::now())
    }
}

/// `24h`, `1h30m`.
fn span(text: &str) -> std::result::Result<Duration, Failure> {
    let wrong =
        || Failure::bad_request(format!("\"until\" filter expects a duration (e.g., '24h'): {text:?}"));
    let read: SignedDuration = text.parse().map_err(|_| wrong())?;
    Duration::try_from(read).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::docker::params::params;

    fn read(query: &str) -> std::result::Result<Asked, Failure> {
        let written = [("{", "%7B"), ("}", "%7D"), ("\"", "%22")];
        let query = written.iter().fold(query.to_owned(), |query, (from, to)| query.replace(from, to));
        Asked::read(&params(&query))
    }

    #[test]
    fn bounds_and_filters_are_read() {
        let asked = read(
            r#"all=1&keep-storage=10&max-used-space=20&filters={"until":{"1h30m":true},"type":["regular"]}"#,
        )
        .unwrap();
        assert!(asked.all && asked.keep == Some(Duration::from_secs(5400)));
        assert_eq!((asked.space.reserved, asked.space.min_free), (Some(DiskSpace::Bytes(10)), None));
        assert_eq!(asked.space.max_used, Some(DiskSpace::Bytes(20)));
        let bare = read("keep-storage=0&filters={}").unwrap();
        assert!(bare.keep.is_none() && bare.space == GcSpace::default());
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for bad in [
            r#"filters={"until":["soon"]}"#,
            r#"filters={"until":["-1h"]}"#,
            r#"filters={"until":["1h","2h"]}"#,
            r#"filters={"colour":["red"]}"#,
            r#"filters={"id":["("]}"#,
            "keep-storage=-1",
            "max-used-space=1GB",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
