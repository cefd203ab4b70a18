//! `GET /images/json`

use axum::Extension;
use axum::extract::State;
use kiln_engine::images::ImageSummary;
use kiln_engine::oci::Reference;

use super::{WITHOUT_VIRTUAL_SIZE, ok};
use crate::docker::filters::Filters;
use crate::docker::model::image::Summary;
use crate::docker::params::Params;
use crate::docker::version::ApiVersion;
use crate::docker::{Answer, Daemon, task, time};

const FILTERS: [&str; 7] = ["reference", "dangling", "label", "label!", "before", "since", "until"];

/// `GET /images/json`
pub(super) async fn list(
    State(daemon): State<Daemon>,
    Extension(version): Extension<ApiVersion>,
    params: Params,
) -> Answer {
    let filters = params.filters(&FILTERS)?;
    let dangling = filters.yes_or_no("dangling")?;
    let until = time::moment(filters.values("until").first().map(String::as_str))?;
    let engine = daemon.engine.clone();
    let mut images = task::blocking(move || engine.images().list()).await?;
    let created = |name: &str| {
        let image = images.iter().find(|image| is_called(image, name));
        image.and_then(|image| image.created.clone())
    };
    let (before, since) = (filters.values("before").first(), filters.values("since").first());
    let (before, since) = (before.and_then(|name| created(name)), since.and_then(|name| created(name)));
    let (before, since) = (before.as_deref(), since.as_deref());
    for image in &mut images {
        // As with Docker, names that were not asked for are not told.
        image.names.retain(|name| filters.any("reference", |pattern| is_meant(pattern, name)));
    }
    let passes = |image: &&ImageSummary| {
        let at = image.created.as_deref();
        passes(image, &filters)
            && dangling.is_none_or(|dangling| dangling == image.names.is_empty())
            && until.is_none_or(|until| at.is_some_and(|at| time::seconds(at) < until.as_second()))
            && before.is_none_or(|before| at < Some(before))
            && since.is_none_or(|since| at > Some(since))
    };
    let is_old = version < WITHOUT_VIRTUAL_SIZE;
    let all: Vec<Summary> = images.iter().filter(passes).map(|image| summary(image, is_old)).collect();
    ok(&all)
}

/// An image as a line of the list. `is_old`: as versions before 1.44 have it.
pub(crate) fn summary(image: &ImageSummary, is_old: bool) -> Summary {
    Summary {
        containers: -1,
        created: image.created.as_deref().map_or(0, time::seconds),
        id: image.id.to_string(),
        labels: (!image.labels.is_empty()).then(|| image.labels.clone()),
        parent_id: "",
        repo_digests: digests(image),
        repo_tags: tags(image),
        shared_size: -1,
        size: image.size,
        virtual_size: is_old.then_some(image.size),
    }
}

/// The names of an image that have a tag.
pub fn tags(image: &ImageSummary) -> Vec<String> {
    image.names.iter().filter(|name| name.tag().is_some()).map(Reference::familiar).collect()
}

/// The names of an image with the digest that they mean.
pub fn digests(image: &ImageSummary) -> Vec<String> {
    let mut all: Vec<String> =
        image.names.iter().map(|name| format!("{}@{}", name.familiar_name(), image.digest)).collect();
    all.dedup();
    all
}

fn passes(image: &ImageSummary, filters: &Filters) -> bool {
    let labels = image.labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    (!filters.has("reference") || !image.names.is_empty()) && filters.labels(labels)
}

fn is_meant(pattern: &str, name: &Reference) -> bool {
    matches(pattern, &name.familiar()) || matches(pattern, &name.familiar_name())
}

fn is_called(image: &ImageSummary, name: &str) -> bool {
    let id = name.strip_prefix("sha256:").unwrap_or(name);
    image.id.hex().starts_with(id)
        || image.names.iter().any(|own| own.familiar() == name || own.familiar_name() == name)
}

/// Whether a name is as a pattern says: `*` and `?` stand for anything within a component.
fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    // Rows of the pattern, each with what beginnings of the name it matches.
    let mut reached = vec![false; name.len() + 1];
    reached[0] = true;
    for step in pattern {
        let mut next = vec![false; name.len() + 1];
        for at in 0..=name.len() {
            next[at] = match step {
                '*' => reached[at] || at > 0 && next[at - 1] && name[at - 1] != '/',
                '?' => at > 0 && reached[at - 1] && name[at - 1] != '/',
                own => at > 0 && reached[at - 1] && name[at - 1] == own,
            };
        }
        reached = next;
    }
    reached[name.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_stay_within_a_component() {
        for (pattern, name) in
            [("busybox", "busybox"), ("busy*", "busybox:latest"), ("*/app:v?", "team/app:v1"), ("*", "a")]
        {
            assert!(matches(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [("busy", "busybox"), ("*", "team/app"), ("a?c", "a/c"), ("", "a")] {
            assert!(!matches(pattern, name), "{pattern} {name}");
        }
    }
}
