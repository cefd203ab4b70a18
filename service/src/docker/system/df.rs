//! `GET /system/df`

use axum::extract::State;
use axum::http::StatusCode;
use kiln_engine::containers::ListOptions;
use kiln_engine::{Engine, Result};

use crate::docker::containers::list as containers;
use crate::docker::model::system::{BuildCache, DiskUsage};
use crate::docker::model::volume::UsageData;
use crate::docker::params::Params;
use crate::docker::{Answer, Daemon, images, json, task, time, volumes};

/// `GET /system/df`; `type` (several) says what is wanted.
pub(super) async fn df(State(daemon): State<Daemon>, params: Params) -> Answer {
    let engine = daemon.engine.clone();
    let types: Vec<String> = params.all("type").map(str::to_owned).collect();
    let usage = task::blocking(move || measure(&engine, &types)).await?;
    Ok(json(StatusCode::OK, &usage))
}

fn measure(engine: &Engine, types: &[String]) -> Result<DiskUsage> {
    let wanted = |name: &str| types.is_empty() || types.iter().any(|own| own == name);
    let lines = engine.usage()?;
    let size = |kind: &str| lines.iter().find(|line| line.kind == kind).map_or(0, |line| line.size);
    let all = engine.containers().list(&ListOptions { all: true })?;
    let mut usage = DiskUsage {
        layers_size: size("Images"),
        images: Vec::new(),
        containers: Vec::new(),
        volumes: Vec::new(),
        build_cache: Vec::new(),
        builder_size: size("Build Cache"),
    };
    if wanted("image") {
        let users = |id: &str| all.iter().filter(|container| container.image_id == id).count() as i64;
        usage.images = engine.images().list()?.iter().map(|image| images::summary(image, false)).collect();
        usage.images.iter_mut().for_each(|image| image.containers = users(&image.id));
    }
    if wanted("volume") {
        let users = |name: &str| {
            let uses = |container: &&kiln_engine::containers::Container| {
                container.mounts.iter().any(|mount| mount.name.as_deref() == Some(name))
            };
            all.iter().filter(uses).count() as i64
        };
        for volume in engine.volumes().list()? {
            let size = i64::try_from(engine.volumes().size(&volume)).unwrap_or(i64::MAX);
            let data = UsageData { size, ref_count: users(&volume.name) };
            usage.volumes.push(volumes::answer(volume, Some(data)));
        }
    }
    if wanted("container") {
        usage.containers = all.into_iter().map(|container| containers::measured(engine, container)).collect();
    }
    if wanted("build-cache") && usage.builder_size > 0 {
        usage.build_cache.push(BuildCache {
            id: "kiln",
            kind: "regular",
            description: "layers and records that no image needs",
            in_use: false,
            shared: false,
            size: usage.builder_size,
            created_at: time::NEVER,
            usage_count: 1,
        });
    }
    Ok(usage)
}
