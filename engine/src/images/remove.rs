//! Taking names away, and the image with its last one.

use kiln_oci::{Digest, Reference};

use super::{Images, StoredImage};
use crate::containers::ListOptions;
use crate::{Error, PruneReport, Result};

/// What a removal did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Removed {
    /// The image lost a name.
    Untagged(Reference),
    /// The image is gone.
    Deleted(Digest),
}

impl Images<'_> {
    /// Takes the name away that `name` is; with its last name, or where `name` is an id, the image goes. `force` takes an
    /// image with several names by its id, and one that a stopped container uses.
    pub fn remove(&self, name: &str, force: bool) -> Result<Vec<Removed>> {
        let image = self.find(name)?;
        let typed = super::read::full_name(name);
        let is_name = |own: &Reference| Some(own.to_string()) == typed;
        match image.names.iter().find(|own| is_name(own)) {
            Some(own) if image.names.len() > 1 => self.untag(own),
            Some(_) => self.delete(&image, name, force),
            None if image.names.len() > 1 && !force => Err(Error::conflict(format!(
                "the image `{name}` has several names: `{}`",
                image.names.iter().map(Reference::familiar).collect::<Vec<_>>().join("`, `")
            ))
            .with_hint("`--force` removes it with all of them")),
            None => self.delete(&image, name, force),
        }
    }

    /// Removes images that no container uses: those without a name, or `all`.
    pub fn prune(&self, all: bool) -> Result<PruneReport> {
        let mut deleted = Vec::new();
        let used = self.used()?;
        for image in self.all()? {
            if (all || image.names.is_empty()) && !used.iter().any(|id| image.has_id(id)) {
                self.engine.store().images.remove(&image.descriptor.digest)?;
                deleted.extend(names_and_id(&image));
            }
        }
        let reclaimed = self.engine.free_garbage()?;
        Ok(PruneReport { deleted, reclaimed })
    }

    fn untag(&self, name: &Reference) -> Result<Vec<Removed>> {
        self.engine.store().images.delete(&name.to_string())?;
        Ok(vec![Removed::Untagged(name.clone())])
    }

    fn delete(&self, image: &StoredImage, name: &str, force: bool) -> Result<Vec<Removed>> {
        self.check_unused(image, name, force)?;
        self.engine.store().images.remove(&image.descriptor.digest)?;
        let untagged = image.names.iter().cloned().map(Removed::Untagged);
        Ok(untagged.chain([Removed::Deleted(image.id.clone())]).collect())
    }

    fn check_unused(&self, image: &StoredImage, name: &str, force: bool) -> Result<()> {
        for container in self.engine.containers().list(&ListOptions { all: true })? {
            if !image.has_id(&container.image_id) {
                continue;
            }
            let running = container.state.pid.is_some();
            if running || !force {
                let error =
                    Error::conflict(format!("the container `{}` uses the image `{name}`", container.name));
                let hint = if running {
                    "remove the container first"
                } else {
                    "remove the container, or give `--force`"
                };
                return Err(error.with_hint(hint));
            }
        }
        Ok(())
    }

    fn used(&self) -> Result<Vec<String>> {
        let containers = self.engine.containers().list(&ListOptions { all: true })?;
        Ok(containers.into_iter().map(|container| container.image_id).collect())
    }
}

fn names_and_id(image: &StoredImage) -> Vec<String> {
    let names = image.names.iter().map(|name| format!("untagged: {}", name.familiar()));
    names.chain([format!("deleted: {}", image.id)]).collect()
}
