//! What an image or another source is at this moment, before there is a graph with it.

use bollard_buildkit_proto::moby::buildkit::v1::frontend as wire;
use bollard_buildkit_proto::pb;
use kiln_engine::Error;
use kiln_engine::build::FoundImage;
use tonic::Status;

use super::super::{errors, workers};
use super::Work;

/// How sources that are images are told from others.
const IMAGE: &str = "docker-image://";
/// The resolve mode that asks the registry whatever is here.
const PULL: &str = "pull";

/// An image's configuration.
pub(super) async fn config(
    work: &Work,
    request: wire::ResolveImageConfigRequest,
) -> Result<wire::ResolveImageConfigResponse, Status> {
    let wire::ResolveImageConfigRequest { r#ref, platform, resolve_mode, log_name, store_id, .. } = request;
    if !store_id.is_empty() {
        let error = Error::not_implemented("looking up an image in a client's OCI layout by itself");
        return Err(errors::status(&error));
    }
    let found = find(work, &r#ref, platform.as_ref(), &resolve_mode, log_name).await?;
    Ok(wire::ResolveImageConfigResponse {
        digest: digest(&found),
        config: found.config.to_bytes(),
        r#ref: found.reference.to_string(),
    })
}

/// What a source is; of one that is no image what it says itself.
pub(in super::super) async fn source(
    work: &Work,
    request: wire::ResolveSourceMetaRequest,
) -> Result<wire::ResolveSourceMetaResponse, Status> {
    let wire::ResolveSourceMetaRequest { source, platform, log_name, resolve_mode, .. } = request;
    let mut source = source.ok_or_else(|| Status::invalid_argument("no source is named"))?;
    work.rules.apply(&mut source).map_err(|error| errors::status(&error))?;
    let Some(name) = source.identifier.strip_prefix(IMAGE) else {
        return Ok(wire::ResolveSourceMetaResponse { source: Some(source), ..Default::default() });
    };
    let found = find(work, name, platform.as_ref(), &resolve_mode, log_name).await?;
    let image = wire::ResolveSourceImageResponse {
        digest: digest(&found),
        config: found.config.to_bytes(),
        ..Default::default()
    };
    let identifier = format!("{IMAGE}{}", found.reference);
    let source = pb::SourceOp { identifier, ..source };
    Ok(wire::ResolveSourceMetaResponse { source: Some(source), image: Some(image), ..Default::default() })
}

async fn find(
    work: &Work,
    name: &str,
    platform: Option<&pb::Platform>,
    mode: &str,
    shown: String,
) -> Result<FoundImage, Status> {
    let shown = if shown.is_empty() { format!("resolve image config for {IMAGE}{name}") } else { shown };
    let platform = workers::platform_of(platform);
    let sink = work.sink(Vec::new());
    let name = work.rules.image(name).map_err(|error| errors::status(&error))?;
    let found = work.engine.find_image(&name, &platform, mode == PULL, (0, shown), sink.as_ref()).await;
    found.map_err(|error| errors::status(&error))
}

fn digest(found: &FoundImage) -> String {
    found.reference.digest().map(ToString::to_string).unwrap_or_default()
}
