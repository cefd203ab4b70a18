//! An image as rows of `images` and `history`, and as `inspect` shows it, with Docker's field names.

use jiff::Timestamp;
use kiln_engine::images::{HistoryLine, ImageDetails, ImageSummary, Listed, StatementInfo};
use kiln_engine::oci::Digest;
use kiln_service::docker::{digests, tags, with_all_keys};
use serde_json::{Value, json};

use crate::values::time;

/// How much of an instruction a list shows.
const INSTRUCTION_WIDTH: usize = 45;
const NONE: &str = "<none>";

/// The rows of an image in `images`, one a name.
pub(crate) fn rows(image: &ImageSummary, now: Timestamp, no_trunc: bool) -> Vec<Value> {
    let names: Vec<(String, String)> = match image.names.is_empty() {
        true => vec![(NONE.to_owned(), NONE.to_owned())],
        false => image
            .names
            .iter()
            .map(|name| (name.familiar_name(), name.tag().unwrap_or(NONE).to_owned()))
            .collect(),
    };
    let created = image.created.as_deref().and_then(|created| time::since(created, now));
    let row = |(repository, tag): (String, String)| {
        json!({
            "ID": id(&image.id, no_trunc),
            "Repository": repository,
            "Tag": tag,
            "Digest": image.digest.to_string(),
            "CreatedAt": image.created,
            "CreatedSince": created.as_ref().map_or_else(|| "N/A".to_owned(), |age| format!("{age} ago")),
            "Size": time::size(image.size),
            "Platforms": image.platforms.iter().map(ToString::to_string).collect::<Vec<_>>().join(","),
        })
    };
    names.into_iter().map(row).collect()
}

/// A row of `history`.
pub(crate) fn history_row(line: &HistoryLine, now: Timestamp, no_trunc: bool) -> Value {
    let created = line.entry.created.as_deref().and_then(|created| time::since(created, now));
    json!({
        "ID": line.id.as_ref().map_or_else(|| "<missing>".to_owned(), |digest| id(digest, no_trunc)),
        "CreatedAt": line.entry.created,
        "CreatedSince": created.map_or_else(|| "N/A".to_owned(), |age| format!("{age} ago")),
        "CreatedBy": cut(line.entry.created_by.as_deref().unwrap_or_default(), no_trunc),
        "Size": time::size(line.size),
        "Comment": line.entry.comment.as_deref().unwrap_or_default(),
    })
}

fn id(digest: &Digest, no_trunc: bool) -> String {
    if no_trunc { digest.to_string() } else { digest.short().to_owned() }
}

fn cut(text: &str, no_trunc: bool) -> String {
    if no_trunc || text.chars().count() <= INSTRUCTION_WIDTH {
        return text.to_owned();
    }
    text.chars().take(INSTRUCTION_WIDTH - 1).chain(['…']).collect()
}

/// Everything about an image.
pub(crate) fn inspect(image: &ImageDetails) -> Value {
    let (summary, config) = (&image.summary, &image.config);
    let mut value = json!({
        "Id": summary.id,
        "RepoTags": tags(summary),
        "RepoDigests": digests(summary),
        "Parent": "",
        "Comment": config.history.last().and_then(|entry| entry.comment.as_deref()).unwrap_or_default(),
        "Created": config.created,
        "Author": config.author.as_deref().unwrap_or_default(),
        "Config": container_config(image),
        "Architecture": config.platform.architecture,
        "Variant": config.platform.variant,
        "Os": config.platform.os,
        "Size": summary.size,
        "RootFS": { "Type": "layers", "Layers": config.rootfs.diff_ids },
        "Descriptor": { "mediaType": image.root.media_type, "digest": summary.digest, "size": image.root.size },
        "Manifests": image.listed.iter().map(listed).collect::<Vec<_>>(),
    });
    if !image.statements.is_empty() {
        value["Attestations"] = image.statements.iter().map(statement).collect();
    }
    value
}

fn statement(statement: &StatementInfo) -> Value {
    json!({ "PredicateType": statement.predicate_type, "Descriptor": statement.descriptor })
}

/// An entry of an index, as the Engine API has it.
fn listed(entry: &Listed) -> Value {
    json!({
        "ID": entry.descriptor.digest,
        "Descriptor": entry.descriptor,
        "Available": entry.is_here,
        "Kind": "image",
        "ImageData": { "Platform": entry.platform },
    })
}

/// The image's own configuration with the keys that Docker always has.
fn container_config(image: &ImageDetails) -> Value {
    let mut value = serde_json::to_value(&image.config.config).unwrap_or_default();
    if let Value::Object(map) = &mut value {
        map.entry("ExposedPorts").or_insert(Value::Null);
    }
    with_all_keys(value)
}
