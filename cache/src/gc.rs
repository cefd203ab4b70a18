//! Garbage collection: what no image, build result, object or living process needs is removed.
//!
//! Marking and the removal of rows are one write transaction, so nothing can become needed in between; a snapshot's row goes
//! in a transaction of its own that refuses while somebody holds it or stands on it. Holders are leases of living processes
//! and objects, never times: nothing that is in use is removed, however old, and nothing is kept because it is young.

use std::time::SystemTime;

use kiln_snapshot::Name;
use rusqlite::Connection;

use crate::content::Trash;
use crate::context_index;
use crate::db::{millis, now, time};
use crate::error::{Error, Result};
use crate::images::{self, Image};
use crate::layers;
use crate::lease::{self, Resource};
use crate::reach::Reach;
use crate::records;
use crate::referrers;
use crate::store::Store;

/// Which images a [`Store::prune`] removes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ImagePrune {
    /// None.
    #[default]
    Nothing,
    /// Those without a name.
    Dangling,
    /// All that no container uses.
    Unused,
}

/// What a [`Store::prune`] removes beside garbage.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PruneOptions {
    /// Images.
    pub images: ImagePrune,
    /// Build results.
    pub build_cache: bool,
    /// The directories of `RUN --mount=type=cache`.
    pub cache_mounts: bool,
    /// Only what was stored or last used before this time.
    pub before: Option<SystemTime>,
}

/// What a [`Store::prune`] removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Images, with the names that they had.
    pub images: Vec<Image>,
    /// Build results.
    pub records: usize,
    /// Blobs.
    pub blobs: usize,
    /// Snapshots.
    pub snapshots: usize,
    /// Bytes: of blobs, of the layers' tars that snapshots were unpacked of, and of cache mounts.
    pub freed: u64,
}

impl Store {
    /// Removes what `options` say and then everything that nothing needs any more.
    pub fn prune(&self, options: &PruneOptions) -> Result<Pruned> {
        let before = options.before.map_or_else(now, millis);
        self.records.flush()?;
        let mut trash = self.content.trash();
        let (mut pruned, dead) = self.images.change("prune", |db| {
            let images = remove_images(db, options.images, before)?;
            let records = if options.build_cache { records::delete_unused(db, before)? } else { 0 };
            let live = self.mark(db)?;
            let mut pruned = Pruned { images, records, ..Pruned::default() };
            referrers::sweep(db, &live.reach)?;
            sweep_blobs(db, &live, &mut trash, &mut pruned)?;
            sweep_layers(db, &live)?;
            context_index::forget_gone(db)?;
            Ok((pruned, dead_snapshots(db, &live)?))
        })?;
        trash.empty()?;
        self.sweep_snapshots(dead, &mut pruned)?;
        if options.cache_mounts {
            pruned.freed += self.cache_dirs.prune(before)?;
        }
        Ok(pruned)
    }

    /// Removes what nothing needs any more, as after the removal of an image.
    pub fn collect(&self) -> Result<Pruned> {
        self.prune(&PruneOptions::default())
    }

    /// When build results and cache mounts were last used, the longest ago first: each is a `before` that takes as little
    /// more as can be.
    pub fn last_uses(&self) -> Result<Vec<SystemTime>> {
        const USES: &str = "SELECT used FROM records UNION SELECT used FROM cache_dirs ORDER BY used";
        self.records.flush()?;
        self.db.read("list last uses", |db| {
            let mut statement = db.prepare(USES)?;
            let rows = statement.query_map([], |row| row.get(0))?;
            Ok(rows.map(|used| used.map(time)).collect::<std::result::Result<_, _>>()?)
        })
    }

    /// Everything that is needed.
    fn mark(&self, db: &Connection) -> Result<Live> {
        let mut live = Live::default();
        for image in images::all(db)? {
            live.reach.add_image(&self.content, &image.descriptor)?;
        }
        for layers in records::all_layers(db)? {
            live.reach.add_layers(&layers);
        }
        for (_, resource) in lease::all_held(db)? {
            self.mark_held(db, resource, &mut live)?;
        }
        referrers::mark(db, &self.content, &mut live.reach)?;
        live.reach.add_packed(db)?;
        Ok(live)
    }

    fn mark_held(&self, db: &Connection, resource: Resource, live: &mut Live) -> Result<()> {
        match resource {
            Resource::Blob(digest) => {
                live.reach.blobs.insert(digest);
            }
            Resource::Image(digest) => {
                if let Some(descriptor) = images::descriptor_of(db, &digest)? {
                    live.reach.add_image(&self.content, &descriptor)?;
                }
            }
            Resource::Snapshot(name) => live.held.extend(layers::chain_below(db, name)?),
            // A snapshot's parents cannot be removed before it: `SqliteMeta::remove`.
            Resource::Active(_) | Resource::Cgroup(_) | Resource::Address(_) => {}
        }
        Ok(())
    }

    fn sweep_snapshots(&self, dead: Vec<DeadSnapshot>, pruned: &mut Pruned) -> Result<()> {
        for DeadSnapshot { name, bytes } in dead {
            match self.snapshots.remove(&name) {
                Ok(()) => {
                    pruned.snapshots += 1;
                    pruned.freed += bytes;
                    self.layers.forget(&name)?;
                }
                // Somebody came to need it after we looked, or was quicker to remove it.
                Err(kiln_snapshot::Error::InUse { .. } | kiln_snapshot::Error::NotFound(_)) => {}
                Err(source) => {
                    return Err(Error::Snapshot { operation: "remove snapshot", object: name.0, source });
                }
            }
        }
        Ok(())
    }
}

/// What must stay.
#[derive(Debug, Default)]
struct Live {
    reach: Reach,
    /// Snapshots that are held, with those below them.
    held: std::collections::HashSet<Name>,
}

impl Live {
    fn needs(&self, name: &Name) -> bool {
        self.held.contains(name) || name.0.parse().is_ok_and(|chain| self.reach.needs(&chain))
    }
}

struct DeadSnapshot {
    name: Name,
    bytes: u64,
}

fn remove_images(db: &Connection, which: ImagePrune, before: i64) -> Result<Vec<Image>> {
    let mut removed = Vec::new();
    for image in images::all(db)? {
        let chosen = match which {
            ImagePrune::Nothing => false,
            ImagePrune::Dangling => image.names.is_empty(),
            ImagePrune::Unused => true,
        };
        let digest = &image.descriptor.digest;
        let held = chosen && lease::is_held(db, &Resource::Image(digest.clone()))?;
        if chosen && !held && millis(image.stored) <= before {
            images::remove_row(db, digest)?;
            removed.push(image);
        }
    }
    Ok(removed)
}

fn sweep_blobs(db: &Connection, live: &Live, trash: &mut Trash<'_>, pruned: &mut Pruned) -> Result<()> {
    let mut statement = db.prepare("SELECT digest FROM blobs")?;
    let digests = statement.query_map([], |row| row.get::<_, String>(0))?.collect::<Result<Vec<_>, _>>()?;
    let dead = digests
        .iter()
        .filter_map(|text| text.parse().ok())
        .filter(|digest| !live.reach.blobs.contains(digest));
    for digest in dead {
        pruned.freed += trash.take(db, &digest)?;
        pruned.blobs += 1;
    }
    db.execute(
        "DELETE FROM layer_blobs WHERE digest NOT IN (SELECT digest FROM blobs)
         AND (verified = 0 OR digest NOT IN (SELECT digest FROM sources))",
        [],
    )?;
    Ok(())
}

/// What is remembered of layers that nothing needs and that are not known to be at a registry.
fn sweep_layers(db: &Connection, live: &Live) -> Result<()> {
    let listed: Vec<String> =
        strings(db, "SELECT diff_id FROM contents EXCEPT SELECT diff_id FROM layer_blobs")?;
    let idle = listed.iter().filter(|text| text.parse().is_ok_and(|id| !live.reach.needs_layer(&id)));
    let mut delete = db.prepare("DELETE FROM contents WHERE diff_id = ?1")?;
    idle.into_iter().try_for_each(|diff_id| delete.execute([diff_id]).map(drop))?;
    let chains = strings(db, "SELECT chain FROM layers EXCEPT SELECT name FROM snapshots WHERE kind = 2")?;
    let idle = chains.iter().filter(|text| text.parse().is_ok_and(|chain| !live.reach.needs(&chain)));
    let mut delete = db.prepare("DELETE FROM layers WHERE chain = ?1")?;
    idle.into_iter().try_for_each(|chain| delete.execute([chain]).map(drop))?;
    Ok(())
}

fn strings(db: &Connection, query: &str) -> Result<Vec<String>> {
    let mut statement = db.prepare(query)?;
    let rows = statement.query_map([], |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Committed snapshots that nothing needs, children before their parents.
fn dead_snapshots(db: &Connection, live: &Live) -> Result<Vec<DeadSnapshot>> {
    let mut statement = db.prepare(
        "SELECT name, coalesce(layers.size, 0) FROM snapshots LEFT JOIN layers ON chain = name
         WHERE kind = 2 ORDER BY id DESC",
    )?;
    let rows =
        statement.query_map([], |row| Ok(DeadSnapshot { name: Name(row.get(0)?), bytes: row.get(1)? }))?;
    let rows = rows.collect::<Result<Vec<_>, _>>()?;
    Ok(rows.into_iter().filter(|snapshot| !live.needs(&snapshot.name)).collect())
}
