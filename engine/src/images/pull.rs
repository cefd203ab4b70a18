//! Fetching an image from its registry.

use kiln_builder::pull;
use kiln_oci::parse::{Document, MAX_CONFIG, parse_config};
use kiln_oci::{Descriptor, Digest, Platform, Reference};

use super::Images;
use crate::build::failure;
use crate::progress::Reporter;
use crate::{Credential, Error, Result};

/// When the registry is asked for an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PullWhen {
    /// Every time.
    Always,
    /// If it is not here.
    Missing,
    /// Never.
    Never,
}

/// What a pull came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pulled {
    /// What was asked for, in full form.
    pub reference: Reference,
    /// The digest of the manifest or index that it names.
    pub digest: Digest,
    /// The image's id.
    pub id: Digest,
    /// Whether the name means something else than before.
    pub changed: bool,
}

/// What a registry has under a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remote {
    /// What points to its manifest or index.
    pub descriptor: Descriptor,
    /// What it is for.
    pub platforms: Vec<Platform>,
}

impl Images<'_> {
    /// Whether a container of `image` needs a pull first. Fails if it does and must not.
    pub fn needs_pull(&self, image: &str, platform: Option<&str>, when: PullWhen) -> Result<bool> {
        let found = match self.find_for(image, platform) {
            // Somebody who says nothing means this machine's image, where there is one to be had.
            Ok(found) if platform.is_none() && found.is_foreign_for_now() => {
                Err(super::read::no_such_image(image))
            }
            other => other,
        };
        match (when, found) {
            (PullWhen::Always, _) => Ok(true),
            (_, Ok(_)) => Ok(false),
            (PullWhen::Missing, Err(error)) if error.kind == crate::ErrorKind::NotFound => Ok(true),
            (_, Err(error)) => Err(error),
        }
    }
}

impl Images<'_> {
    /// Fetches and unpacks what `image` names, and gives it that name.
    pub async fn pull(&self, image: &str, platform: Option<&str>, reporter: &dyn Reporter) -> Result<Pulled> {
        let reference = image.parse::<Reference>()?.with_default_tag();
        let platform = match platform {
            Some(text) => text.parse()?,
            None => Platform::host(),
        };
        let stores = &self.engine.stores();
        let pulled = pull::pull(stores, &reference, &platform, reporter).await.map_err(|cause| {
            let mut error = failure::of_cause(&cause);
            error.message = format!("cannot pull `{}`: {}", reference.familiar(), error.message);
            error
        })?;
        self.engine.sync_later()?;
        let (digest, id) = (pulled.image.root.digest, pulled.image.manifest.config.digest);
        Ok(Pulled { reference, digest, id, changed: pulled.changed })
    }

    /// Whether every layer of an image is here. Those of a base that no step of a build read may still be at its registry.
    pub fn is_complete(&self, image: &str, platform: Option<&str>) -> Result<bool> {
        let image = self.find_for(image, platform)?;
        let layers = &self.engine.store().layers;
        match layers.get(&image.config.rootfs.diff_ids)? {
            Some(found) => Ok(layers.is_available(&found)?),
            None => Ok(false),
        }
    }

    /// Fetches the layers of an image that are not here.
    pub async fn complete(&self, image: &str, platform: Option<&str>, reporter: &dyn Reporter) -> Result<()> {
        let found = self.find_for(image, platform)?;
        let name = found.names.first().cloned();
        let reference = name.map_or_else(|| image.parse::<Reference>(), Ok)?;
        let stores = &self.engine.stores();
        let fetched = async {
            let local = pull::local(stores, &reference, &found.descriptor, &found.platform)?;
            pull::unpack(stores, &local.layers(), reporter).await
        };
        fetched.await.map_err(|cause| {
            let mut error = failure::of_cause(&cause);
            error.message = format!("cannot fetch the layers of `{image}`: {}", error.message);
            error
        })
    }

    /// What the registry of `reference` has under that name; nothing is fetched but documents.
    pub async fn remote(&self, reference: &Reference) -> Result<Remote> {
        let client = self.engine.client();
        let resolved = client.resolve(reference).await?;
        let platforms = match resolved.document {
            Document::Index(index) => {
                index.manifests.into_iter().filter_map(|entry| entry.platform).collect()
            }
            Document::Manifest(manifest) => {
                let bytes = client.blob_bytes(reference, &manifest.config, MAX_CONFIG as u64).await?;
                let config = parse_config(&bytes);
                vec![
                    config
                        .map_err(|error| Error::invalid("read the configuration").caused_by(error))?
                        .platform,
                ]
            }
        };
        Ok(Remote { descriptor: resolved.descriptor, platforms })
    }

    /// Whether the registry `host` takes `credential`.
    pub async fn login(&self, host: &str, credential: &Credential) -> Result<()> {
        Ok(self.engine.client().login(host, credential).await?)
    }
}
