//! `POST /build/prune`

use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use jiff::{SignedDuration, Timestamp};
use kiln_engine::config::buildkitd::{DiskSpace, GcPolicy, GcSpace};
use serde::Serialize;

use crate::docker::params::Params;
use crate::docker::{Answer, Daemon, Failure, json, task, time};
use crate::prune;

/// What a prune of the build cache took away.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Pruned {
    caches_deleted: Vec<String>,
    space_reclaimed: u64,
}

/// `POST /build/prune`
pub(super) async fn prune(State(daemon): State<Daemon>, params: Params) -> Answer {
    let (engine, wish) = (daemon.engine.clone(), wish(&params)?);
    let (space_reclaimed, _) = task::blocking(move || prune::build_cache(&engine, &wish)).await?;
    Ok(json(StatusCode::OK, &Pruned { caches_deleted: Vec::new(), space_reclaimed }))
}

/// What of the build cache is to go. `keep-storage` is what `reserved-space` was called before version 1.48.
fn wish(params: &Params) -> Result<GcPolicy, Failure> {
    const ENTRIES: [&str; 7] = ["id", "parent", "type", "description", "inuse", "shared", "private"];
    let times = ["until", "unused-for"];
    let filters = params.filters(&[&times[..], &ENTRIES].concat())?;
    if let Some(lacking) = ENTRIES.into_iter().find(|name| filters.has(name)) {
        return Err(Failure::lacking(format!("the filter `{lacking}` of a build prune")));
    }
    let bytes = |name: &str| {
        let bytes = params.number(name)?.filter(|bytes| *bytes > 0);
        Ok::<_, Failure>(bytes.map(DiskSpace::Bytes))
    };
    let keep = times.into_iter().flat_map(|name| filters.values(name));
    Ok(GcPolicy {
        all: params.is_on("all"),
        // Of several the longest: nothing goes that one of them keeps.
        keep: keep.map(|text| unused_for(text)).collect::<Result<Vec<_>, _>>()?.into_iter().max(),
        space: GcSpace {
            reserved: bytes("reserved-space")?.or(bytes("keep-storage")?),
            max_used: bytes("max-used-space")?,
            min_free: bytes("min-free-space")?,
        },
        ..GcPolicy::default()
    })
}

/// `24h`, or a time as `since` has them.
fn unused_for(text: &str) -> Result<Duration, Failure> {
    let moment = match text.parse::<SignedDuration>() {
        Ok(duration) => Some(duration),
        Err(_) => time::moment(Some(text))?.map(|moment| Timestamp::now().duration_since(moment)),
    };
    let wrong =
        || Failure::bad_request(format!("`{text}` is neither a duration such as 24h nor a time before now"));
    moment.and_then(|duration| Duration::try_from(duration).ok()).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::docker::params::params;

    #[test]
    fn what_a_prune_is_to_leave_is_understood() {
        let of = |query: &str| wish(&params(query)).map_err(|failure| failure.status);
        assert_eq!(of("").unwrap(), GcPolicy::default());
        let asked = of("all=true&keep-storage=5&max-used-space=7&min-free-space=9").unwrap();
        let space = |bytes| Some(DiskSpace::Bytes(bytes));
        let bounds = GcSpace { reserved: space(5), max_used: space(7), min_free: space(9) };
        assert_eq!((asked.all, asked.space), (true, bounds));
        assert_eq!(of("reserved-space=6&keep-storage=5").unwrap().space.reserved, space(6));
        let filters = |name: &str, values: &str| {
            let json = format!("{{\"{name}\":[{values}]}}");
            format!("filters={}", json.replace('{', "%7B").replace('}', "%7D").replace('"', "%22"))
        };
        let until = |values: &str| filters("until", values);
        let hours = |hours: u64| Some(Duration::from_secs(hours * 3600));
        assert_eq!(of(&until("\"24h\"")).unwrap().keep, hours(24));
        assert_eq!(of(&until("\"1h30m\",\"48h\"")).unwrap().keep, hours(48));
        assert!(of(&until("\"2020-01-02T03:04:05Z\"")).unwrap().keep > hours(24 * 365));
        for (query, status) in [
            (until("\"soon\""), StatusCode::BAD_REQUEST),
            (filters("type", "\"regular\""), StatusCode::NOT_IMPLEMENTED),
            (filters("colour", "\"red\""), StatusCode::BAD_REQUEST),
            ("max-used-space=much".to_owned(), StatusCode::BAD_REQUEST),
        ] {
            assert_eq!(of(&query).unwrap_err(), status, "{query}");
        }
    }
}
