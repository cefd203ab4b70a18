//! What things take on disk.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use kiln_oci::{ChainId, Digest};
use rusqlite::Connection;

use crate::error::{IoContext, Result};
use crate::images::{self, Image};
use crate::lease::{self, Resource};
use crate::reach::Reach;
use crate::store::Store;

/// The numbers of `system df`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Images with everything that they need; active are those that containers use.
    pub images: Amount,
    /// What containers wrote; active here means that there is something.
    pub containers: Amount,
    /// Volumes. Whether one is in use is for the engine to say: none counts as reclaimable here.
    pub volumes: Amount,
    /// Layers and blobs that no image needs, and the directories of cache mounts.
    pub build_cache: Amount,
    /// Those directories alone.
    pub cache_mounts: Amount,
}

/// One line of `system df`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Amount {
    /// How many there are.
    pub count: usize,
    /// How many are in use.
    pub active: usize,
    /// What they take.
    pub bytes: u64,
    /// What a prune of all that is not in use would free.
    pub reclaimable: u64,
}

impl Store {
    /// What everything takes. A layer counts as the bytes of its tar, once, however many images have it.
    pub fn usage(&self) -> Result<Usage> {
        let (images, reach) = self.db.read("measure images", |db| self.image_usage(db))?;
        Ok(Usage {
            images,
            containers: self.container_usage()?,
            volumes: self.volume_usage()?,
            build_cache: self.cache_usage(&reach)?,
            cache_mounts: self.cache_mount_usage()?,
        })
    }

    /// The bytes of an image's layers, unpacked.
    pub fn image_size(&self, image: &Image) -> Result<u64> {
        let mut reach = Reach::default();
        reach.add_image(&self.content, &image.descriptor)?;
        self.db.read("measure image", |db| layer_bytes(db, &reach.chains))
    }

    fn image_usage(&self, db: &Connection) -> Result<(Amount, Reach)> {
        let (mut all, mut active) = (Reach::default(), Reach::default());
        let mut amount = Amount::default();
        for image in images::all(db)? {
            amount.count += 1;
            all.add_image(&self.content, &image.descriptor)?;
            if lease::is_held(db, &Resource::Image(image.descriptor.digest.clone()))? {
                amount.active += 1;
                active.add_image(&self.content, &image.descriptor)?;
            }
        }
        all.add_packed(db)?;
        active.add_packed(db)?;
        amount.bytes = reach_bytes(db, &all)?;
        amount.reclaimable = amount.bytes.saturating_sub(reach_bytes(db, &active)?);
        Ok((amount, all))
    }

    fn container_usage(&self) -> Result<Amount> {
        let held = self.db.read("measure containers", lease::all_held)?;
        let mut amount = Amount { count: self.objects("container").count()?, ..Amount::default() };
        for (owner, resource) in held {
            if let (true, Resource::Active(key)) = (owner.starts_with("container/"), resource) {
                // A container that goes meanwhile takes nothing.
                let bytes = self.snapshots.usage_active(&key).map_or(0, |usage| usage.bytes);
                amount.active += usize::from(bytes > 0);
                amount.bytes += bytes;
            }
        }
        Ok(amount)
    }

    fn volume_usage(&self) -> Result<Amount> {
        let dir = self.root().join("volumes");
        let mut amount = Amount::default();
        for entry in fs::read_dir(&dir).at("read directory", &dir)? {
            amount.count += 1;
            amount.bytes += tree_bytes(&entry.at("read directory", &dir)?.path())?;
        }
        Ok(amount)
    }

    fn cache_mount_usage(&self) -> Result<Amount> {
        let (count, bytes) = self.cache_dirs.usage()?;
        Ok(Amount { count, active: 0, bytes, reclaimable: bytes })
    }

    fn cache_usage(&self, images: &Reach) -> Result<Amount> {
        let (dirs, dir_bytes) = self.cache_dirs.usage()?;
        self.db.read("measure build cache", |db| {
            let records: usize = db.query_row("SELECT count(*) FROM records", [], |row| row.get(0))?;
            let blobs = sum(db, "SELECT digest, size FROM blobs", |text| {
                text.parse::<Digest>().is_ok_and(|digest| !images.blobs.contains(&digest))
            })?;
            let layers = sum(db, SNAPSHOT_SIZES, |text| {
                text.parse::<ChainId>().is_ok_and(|chain| !images.needs(&chain))
            })?;
            let bytes = dir_bytes + blobs + layers;
            Ok(Amount { count: records + dirs, active: 0, bytes, reclaimable: bytes })
        })
    }
}

const SNAPSHOT_SIZES: &str =
    "SELECT name, layers.size FROM snapshots JOIN layers ON chain = name WHERE snapshots.kind = 2";

fn reach_bytes(db: &Connection, reach: &Reach) -> Result<u64> {
    let blobs = sum(db, "SELECT digest, size FROM blobs", |text| {
        text.parse::<Digest>().is_ok_and(|digest| reach.blobs.contains(&digest))
    })?;
    Ok(blobs + layer_bytes(db, &reach.chains)?)
}

fn layer_bytes(db: &Connection, chains: &HashSet<ChainId>) -> Result<u64> {
    let mut statement = db.prepare_cached("SELECT size FROM layers WHERE chain = ?1")?;
    let mut total = 0;
    for chain in chains {
        let mut rows = statement.query([chain.as_str()])?;
        total += rows.next()?.map_or(Ok(0), |row| row.get::<_, u64>(0))?;
    }
    Ok(total)
}

/// The sum of the sizes of those rows (a text and a size) that `counts`.
fn sum(db: &Connection, sql: &str, counts: impl Fn(&str) -> bool) -> Result<u64> {
    let mut statement = db.prepare(sql)?;
    let mut rows = statement.query([])?;
    let mut total = 0;
    while let Some(row) = rows.next()? {
        if counts(&row.get::<_, String>(0)?) {
            total += row.get::<_, u64>(1)?;
        }
    }
    Ok(total)
}

/// The allocated bytes of a file or tree; symbolic links are not followed, and what vanishes meanwhile does not count.
pub fn tree_bytes(path: &Path) -> Result<u64> {
    let metadata = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        result => result.at("stat", path)?,
    };
    let own = metadata.blocks() * 512;
    if !metadata.is_dir() {
        return Ok(own);
    }
    let mut entries = fs::read_dir(path).at("read directory", path)?;
    entries.try_fold(own, |sum, entry| Ok(sum + tree_bytes(&entry.at("read directory", path)?.path())?))
}
