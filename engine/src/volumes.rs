//! Named and anonymous volumes.

mod fill;

use std::path::{Path, PathBuf};

use kiln_cache::Objects;
use kiln_snapshot::Name;
use serde::{Deserialize, Serialize};

use crate::containers::{MountKind, MountRequest, Record, Records, create_mount_point, new_id, now};
use crate::{Engine, Error, PruneReport, Result};

const KIND: &str = "volume";
/// The directory of a volume that containers see.
const DATA: &str = "_data";

/// A volume.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// Its name.
    pub name: String,
    /// Its directory on the host.
    pub mountpoint: String,
    /// When it was made, RFC 3339.
    pub created: String,
    /// Labels in the order given.
    pub labels: Vec<(String, String)>,
    /// Whether nobody gave it a name.
    pub anonymous: bool,
}

/// The volumes of a state root.
#[derive(Debug, Clone, Copy)]
pub struct Volumes<'a> {
    pub(crate) engine: &'a Engine,
}

impl Volumes<'_> {
    /// Makes a volume, or gives the one of that name; without a name makes an anonymous one.
    pub fn create(&self, name: Option<&str>, labels: &[(String, String)]) -> Result<Volume> {
        if let Some(name) = name {
            crate::containers::check_name(name)?;
            if let Some(volume) = self.get(name)? {
                return Ok(volume);
            }
        }
        let (name, anonymous) = match name {
            Some(name) => (name.to_owned(), false),
            None => (new_id()?, true),
        };
        let data = self.directory(&name).join(DATA);
        std::fs::create_dir_all(&data)
            .map_err(|error| Error::internal(format!("create `{}`", data.display()), error))?;
        let mountpoint = data.display().to_string();
        let volume =
            Volume { name: name.clone(), mountpoint, created: now(), labels: labels.to_vec(), anonymous };
        match self.objects().insert(&name, Some(&name), &volume) {
            Err(kiln_cache::Error::InUse { .. }) => self.inspect(&name),
            result => Ok(result.map(|()| volume)?),
        }
    }

    /// All volumes, by name.
    pub fn list(&self) -> Result<Vec<Volume>> {
        let mut volumes: Vec<Volume> =
            self.objects().list()?.into_iter().map(|object| object.document).collect();
        volumes.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(volumes)
    }

    /// One volume.
    pub fn inspect(&self, name: &str) -> Result<Volume> {
        self.get(name)?.ok_or_else(|| Error::not_found(format!("no volume `{name}` here")))
    }

    /// Bytes of a volume's files.
    pub fn size(&self, volume: &Volume) -> u64 {
        fill::size(Path::new(&volume.mountpoint))
    }

    /// Removes a volume that no container uses. `force`: a missing one is no error.
    pub fn remove(&self, name: &str, force: bool) -> Result<()> {
        if self.get(name)?.is_none() {
            return if force { Ok(()) } else { self.inspect(name).map(drop) };
        }
        if let Some(user) = Records::of(self.engine).list()?.iter().find(|record| uses(record, name)) {
            let container = &user.container.name;
            return Err(Error::conflict(format!(
                "the volume `{name}` is in use by the container `{container}`"
            )));
        }
        self.delete(name)
    }

    /// Removes anonymous volumes (`all`: named ones, too) that no container uses.
    pub fn prune(&self, all: bool) -> Result<PruneReport> {
        let containers = Records::of(self.engine).list()?;
        let mut report = PruneReport::default();
        for volume in self.list()? {
            if (all || volume.anonymous) && !containers.iter().any(|record| uses(record, &volume.name)) {
                report.reclaimed += fill::size(Path::new(&volume.mountpoint));
                self.delete(&volume.name)?;
                report.deleted.push(volume.name);
            }
        }
        Ok(report)
    }

    fn get(&self, name: &str) -> Result<Option<Volume>> {
        Ok(self.objects().by_name::<Volume>(name)?.map(|object| object.document))
    }

    fn delete(&self, name: &str) -> Result<()> {
        self.objects().delete(name)?;
        let directory = self.directory(name);
        match std::fs::remove_dir_all(&directory) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::internal(format!("remove `{}`", directory.display()), error))
            }
            _ => Ok(()),
        }
    }

    fn objects(&self) -> Objects {
        self.engine.store().objects(KIND)
    }

    fn directory(&self, name: &str) -> PathBuf {
        self.engine.store().root().join("volumes").join(name)
    }
}

fn uses(record: &Record, name: &str) -> bool {
    record.volumes.iter().any(|used| used == name)
}

/// Removes volumes that were made for one container; what cannot be removed is left to `volume prune`.
pub(crate) fn remove_anonymous(engine: &Engine, names: &[String]) {
    for name in names {
        let _ = engine.volumes().delete(name);
    }
}

/// Gives a container that is being made its mounts: finds or makes volumes, fills those that are empty from the image,
/// and makes host directories that `-v` names and nobody has made.
pub(crate) fn attach(engine: &Engine, record: &mut Record, image: Option<&Name>) -> Result<()> {
    for request in record.container.options.mounts.clone() {
        let mount = match &request.kind {
            MountKind::Bind { source, create } => {
                check_source(source, *create)?;
                create_mount_point("bind", None, source.clone(), &request)
            }
            MountKind::Tmpfs { .. } => create_mount_point("tmpfs", None, String::new(), &request),
            MountKind::Volume { name } => {
                let volume = engine.volumes().create(name.as_deref(), &[])?;
                if volume.anonymous {
                    record.anonymous_volumes.push(volume.name.clone());
                }
                record.volumes.push(volume.name.clone());
                fill_empty(engine, &record.container.id, &volume, &request, image)?;
                create_mount_point("volume", Some(volume.name), volume.mountpoint, &request)
            }
        };
        record.container.mounts.push(mount);
    }
    Ok(())
}

fn fill_empty(
    engine: &Engine,
    id: &str,
    volume: &Volume,
    request: &MountRequest,
    image: Option<&Name>,
) -> Result<()> {
    match image {
        Some(image) => fill::from_image(engine, id, image, &request.target, Path::new(&volume.mountpoint)),
        None => Ok(()),
    }
}

fn check_source(source: &str, create: bool) -> Result<()> {
    let path = Path::new(source);
    if !path.is_absolute() {
        return Err(Error::invalid(format!("`{source}`: the source of a bind mount is an absolute path")));
    }
    match path.try_exists() {
        Ok(true) => Ok(()),
        Ok(false) if create => std::fs::create_dir_all(path)
            .map_err(|error| Error::internal(format!("create `{source}`"), error)),
        Ok(false) => Err(Error::invalid(format!("the source of the bind mount does not exist: `{source}`"))),
        Err(error) => Err(Error::internal(format!("look for `{source}`"), error)),
    }
}
