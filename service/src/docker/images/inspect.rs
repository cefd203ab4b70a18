//! `GET /images/{name}/json` and `GET /images/{name}/history`

use kiln_engine::images::{HistoryLine, ImageDetails, Listed};
use serde_json::{Value, json};

use super::list::{digests, tags};
use super::{WITHOUT_VIRTUAL_SIZE, missing, ok, platform};
use crate::docker::model::image::{GraphDriver, History, ImageData, Inspect, Manifest, Metadata, RootFs};
use crate::docker::params::Params;
use crate::docker::version::ApiVersion;
use crate::docker::{Answer, Daemon, task, time};

/// `GET /images/{name}/json`
pub(super) async fn inspect(daemon: &Daemon, name: &str, params: &Params, version: ApiVersion) -> Answer {
    let (engine, wanted, platform) = (daemon.engine.clone(), name.to_owned(), platform(params)?);
    let details = task::run(move || engine.images().inspect(&wanted, platform.as_deref())).await;
    let details = details.map_err(|error| missing(error, name))?;
    ok(&answer(details, version < WITHOUT_VIRTUAL_SIZE, params.is_on("manifests")))
}

fn answer(details: ImageDetails, is_old: bool, with_manifests: bool) -> Inspect {
    let ImageDetails { summary, root, config, listed, .. } = details;
    let comment = config.history.last().and_then(|entry| entry.comment.clone());
    Inspect {
        id: summary.id.to_string(),
        repo_tags: tags(&summary),
        repo_digests: digests(&summary),
        parent: "",
        comment: comment.unwrap_or_default(),
        created: config.created.clone(),
        docker_version: "",
        author: config.author.clone().unwrap_or_default(),
        architecture: config.platform.architecture.clone(),
        variant: config.platform.variant.clone(),
        os: config.platform.os.clone(),
        size: summary.size,
        virtual_size: is_old.then_some(summary.size),
        graph_driver: GraphDriver { data: None, name: "overlay" },
        root_fs: RootFs {
            kind: "layers",
            layers: config.rootfs.diff_ids.iter().map(ToString::to_string).collect(),
        },
        metadata: Metadata { last_tag_time: time::NEVER },
        descriptor: root,
        manifests: with_manifests.then(|| listed.into_iter().map(manifest).collect()),
        config: with_all_keys(serde_json::to_value(&config.config).unwrap_or_default()),
    }
}

/// An image's own configuration with the keys that Docker's clients expect; documents leave out what is empty.
pub fn with_all_keys(mut config: Value) -> Value {
    let defaults = [
        ("User", json!("")),
        ("Env", json!([])),
        ("Cmd", Value::Null),
        ("Volumes", Value::Null),
        ("WorkingDir", json!("")),
        ("Entrypoint", Value::Null),
        ("OnBuild", Value::Null),
        ("Labels", Value::Null),
    ];
    if let Value::Object(keys) = &mut config {
        for (key, default) in defaults {
            keys.entry(key).or_insert(default);
        }
    }
    config
}

fn manifest(entry: Listed) -> Manifest {
    Manifest {
        id: entry.descriptor.digest.to_string(),
        descriptor: entry.descriptor,
        available: entry.is_here,
        kind: "image",
        image_data: ImageData { platform: entry.platform },
    }
}

/// `GET /images/{name}/history`
pub(super) async fn history(daemon: &Daemon, name: &str, params: &Params) -> Answer {
    let (engine, wanted, platform) = (daemon.engine.clone(), name.to_owned(), platform(params)?);
    let found = task::run(move || {
        let images = engine.images();
        let lines = images.history(&wanted, platform.as_deref())?;
        Ok((lines, tags(&images.inspect(&wanted, platform.as_deref())?.summary)))
    });
    let (lines, mut tags) = found.await.map_err(|error| missing(error, name))?;
    let line = |line: HistoryLine| History {
        comment: line.entry.comment.unwrap_or_default(),
        created: line.entry.created.as_deref().map_or(0, time::seconds),
        created_by: line.entry.created_by.unwrap_or_default(),
        tags: line.id.as_ref().map(|_| std::mem::take(&mut tags)),
        id: line.id.map_or_else(|| "<missing>".to_owned(), |id| id.to_string()),
        size: line.size,
    };
    ok(&lines.into_iter().map(line).collect::<Vec<_>>())
}
