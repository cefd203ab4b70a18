//! `kiln images`.

use jiff::Timestamp;
use kiln_engine::images::ImageSummary;
use kiln_engine::{Error, Result};
use serde_json::Value;

use super::OK;
use crate::app::App;
use crate::args::image::ListArgs;
use crate::listing::Listing;
use crate::render::image;

pub(super) fn run(args: &ListArgs, app: &App) -> Result<u8> {
    for filter in &args.filters {
        check(filter)?;
    }
    let images = app.engine()?.images().list()?;
    let now = Timestamp::now();
    let wanted = |row: &Value| args.repository.as_ref().is_none_or(|text| named(row, text));
    let mut rows: Vec<Value> = images
        .iter()
        .filter(|summary| args.filters.iter().all(|filter| passes(filter, summary)))
        .flat_map(|summary| image::rows(summary, now, args.output.no_trunc))
        .filter(wanted)
        .collect();
    if args.output.quiet {
        // An image with two names is one image.
        rows.dedup_by(|a, b| a["ID"] == b["ID"]);
    }
    Listing { columns: columns(args.digests), id: "ID", rows }.print(&args.output).map(|()| OK)
}

fn columns(digests: bool) -> Vec<(&'static str, &'static str)> {
    let mut columns = vec![
        ("REPOSITORY", "Repository"),
        ("TAG", "Tag"),
        ("IMAGE ID", "ID"),
        ("CREATED", "CreatedSince"),
        ("SIZE", "Size"),
    ];
    if digests {
        columns.insert(2, ("DIGEST", "Digest"));
    }
    columns
}

/// `nginx` and `nginx:1` as they are typed.
fn named(row: &Value, text: &str) -> bool {
    let (repository, tag) =
        (row["Repository"].as_str().unwrap_or_default(), row["Tag"].as_str().unwrap_or_default());
    let Ok(wanted) = text.parse::<kiln_engine::oci::Reference>() else { return false };
    wanted.familiar_name() == repository && wanted.tag().is_none_or(|wanted| wanted == tag)
}

fn check(filter: &str) -> Result<()> {
    match filter.split_once('=').map(|(name, _)| name) {
        Some("dangling" | "label" | "reference") => Ok(()),
        _ => Err(Error::invalid(format!("`--filter {filter}`: there is no such filter"))
            .with_hint("filters are `dangling=true`, `label=NAME[=VALUE]` and `reference=NAME`")),
    }
}

fn passes(filter: &str, image: &ImageSummary) -> bool {
    let (name, value) = filter.split_once('=').unwrap_or((filter, ""));
    match name {
        "dangling" => image.names.is_empty() == matches!(value, "true" | "1"),
        "label" => match value.split_once('=') {
            Some((label, wanted)) => image.labels.get(label).is_some_and(|found| found == wanted),
            None => image.labels.contains_key(value),
        },
        _ => image.names.iter().any(|name| {
            let glob = value.trim_end_matches('*');
            name.familiar() == value
                || name.familiar_name() == value
                || (glob != value && name.familiar().starts_with(glob))
        }),
    }
}
