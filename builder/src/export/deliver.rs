//! Exports as they are carried out: work on files by blocking threads, registries awaited.

use std::collections::HashMap;
use std::sync::Arc;

use kiln_oci::{Digest, Reference};
use kiln_registry_client::Pushed;

use super::built::Made;
use super::names::Names;
use super::options::{ImageOptions, Place};
use super::{Built, Export, Exported, ahead, archive, files, image, layout, tree};
use crate::error::Cause;
use crate::progress::Reporter;
use crate::pull;
use crate::push;
use crate::solver::blocking;
use crate::stores::Stores;

/// Makes what `export` says; the image, where it is one.
pub(crate) async fn deliver(
    stores: &Arc<Stores>,
    built: &Arc<Built>,
    export: Export,
    reporter: &Arc<dyn Reporter>,
) -> Result<Option<Exported>, Cause> {
    if reads_files(built, &export) {
        for image in &built.images {
            pull::unpack(stores, &image.layers, reporter.as_ref()).await?;
        }
    }
    if let Export::Oci { image, .. } | Export::Docker { image, .. } | Export::Layout { image, .. } = &export {
        ahead::pack(stores, built, image, None, reporter).await?;
    }
    let (store, result) = (stores.store.clone(), built.clone());
    match export {
        Export::Image { image, place } => to_image(stores, built, image, place, reporter).await.map(Some),
        Export::Oci { image, dest } | Export::Docker { image, dest } => {
            blocking(move || {
                let Made { exported, .. } = result.image(&store, &image)?;
                archive::save(&store, &exported.manifest, &image.names, dest)?;
                Ok(Some(Exported { names: image.names, ..exported }))
            })
            .await
        }
        Export::Layout { image, dest } => {
            blocking(move || {
                let Made { exported, .. } = result.image(&store, &image)?;
                layout::write(&store, &exported.manifest, &image.names, &dest)?;
                Ok(Some(Exported { names: image.names, ..exported }))
            })
            .await
        }
        Export::Local { dest, split, mode, epoch, prefix } => {
            let options = files::Options { split, epoch, prefix };
            blocking(move || files::to_directory(&store, &result, &dest, mode, &options).map(|()| None)).await
        }
        Export::Tar { dest, split, epoch, prefix } => {
            let options = files::Options { split, epoch, prefix };
            blocking(move || files::to_tar(&store, &result, dest, &options).map(|()| None)).await
        }
        Export::Files { to, split, epoch, prefix } => {
            let options = files::Options { split, epoch, prefix };
            blocking(move || tree::hand_over(&store, &result, to, &options).map(|()| None)).await
        }
        Export::CacheOnly => Ok(None),
    }
}

/// Whether the files of the result must be here. An image may keep layers that are at a registry only.
fn reads_files(built: &Built, export: &Export) -> bool {
    match export {
        Export::CacheOnly => false,
        Export::Image { image, place } => {
            let reshapes = image.force_packing || image.rewrite_timestamp || image.squash.is_some();
            built.readable || place.unpack || reshapes
        }
        _ => true,
    }
}

/// Puts the image into the store and sends it to registries, as `place` says.
async fn to_image(
    stores: &Arc<Stores>,
    built: &Arc<Built>,
    options: ImageOptions,
    place: Place,
    reporter: &Arc<dyn Reporter>,
) -> Result<Exported, Cause> {
    let target = options.names.first().filter(|_| place.push).cloned();
    let mut sent = pack_ahead(stores, built, &options, &place, target.as_ref(), reporter).await?;
    let (store, result, where_to) = (stores.store.clone(), built.clone(), place.clone());
    let (exported, names) = blocking(move || {
        let Made { exported, chains, .. } = result.image(&store, &options)?;
        let names = Names::of(&options.names, &where_to, &exported.manifest.digest);
        if where_to.store {
            image::store_image(&store, &exported.manifest, &names.store)?;
        }
        for chain in chains.iter().filter(|chain| where_to.unpack && !chain.is_empty()) {
            store.layers.snapshot_of(&result.lease, chain)?;
        }
        Ok((exported, names))
    })
    .await?;
    if !place.push {
        return Ok(Exported { names: names.store, ..exported });
    }
    for name in &names.push {
        // They went to the first of the names.
        push_to(stores, &exported, name, &place, reporter, std::mem::take(&mut sent)).await?;
    }
    let given = if place.store { names.store } else { names.push };
    Ok(Exported { names: given, pushed: true, ..exported })
}

/// Packs the image's layers, and sends them to `target` meanwhile.
async fn pack_ahead(
    stores: &Arc<Stores>,
    built: &Arc<Built>,
    options: &ImageOptions,
    place: &Place,
    target: Option<&Reference>,
    reporter: &Arc<dyn Reporter>,
) -> Result<HashMap<Digest, Pushed>, Cause> {
    let Some(name) = target else { return ahead::pack(stores, built, options, None, reporter).await };
    let push = async {
        let stores = reaching(stores, name, place).await?;
        ahead::pack(&stores, built, options, target, reporter).await
    };
    push.await.map_err(|cause| match cause {
        Cause::Registry(_) => Cause::Push { name: name.familiar(), cause: Box::new(cause) },
        of_the_layer => of_the_layer,
    })
}

async fn push_to(
    stores: &Arc<Stores>,
    exported: &Exported,
    name: &Reference,
    place: &Place,
    reporter: &Arc<dyn Reporter>,
    sent: HashMap<Digest, Pushed>,
) -> Result<(), Cause> {
    let push = async {
        let stores = reaching(stores, name, place).await?;
        push::push_exactly(&stores, &exported.manifest, name, reporter, sent).await
    };
    push.await.map(drop).map_err(|cause| Cause::Push { name: name.familiar(), cause: Box::new(cause) })
}

/// The stores with a client that reaches the registry of `name` as `place` says.
async fn reaching(stores: &Arc<Stores>, name: &Reference, place: &Place) -> Result<Arc<Stores>, Cause> {
    if !place.insecure {
        return Ok(stores.clone());
    }
    let client = stores.client.insecurely(name.registry()).await?;
    Ok(Arc::new(Stores { client, ..(**stores).clone() }))
}
