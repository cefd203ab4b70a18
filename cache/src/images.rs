//! Images by name, and the root's `index.json` kept in step with them.
//!
//! An image is a manifest or index in the content store. It has any number of names (full reference texts such as
//! `docker.io/library/nginx:latest`); when a name moves on, the image stays, dangling, until it is removed or pruned.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use kiln_oci::layout::{IMAGE_NAME, INDEX_FILE, REF_NAME};
use kiln_oci::{Descriptor, Digest, Index};
use rusqlite::{Connection, OptionalExtension, params};

use crate::content::LocalContent;
use crate::db::{Db, Durability, now, time, unique};
use crate::error::{Error, IoContext, Result};
use crate::reach::{self, Reach};
use crate::sync::{self, Kind};

/// How many matches an [`Error::Ambiguous`] names.
const NAMED_MATCHES: usize = 4;

/// An image that is in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Its manifest or index.
    pub descriptor: Descriptor,
    /// Its id: the digest of its config. `None` where its manifest is not here.
    pub config: Option<Digest>,
    /// Its names, sorted; none if it is dangling.
    pub names: Vec<String>,
    /// When it came into the store.
    pub stored: SystemTime,
}

/// The images of a store.
#[derive(Debug)]
pub struct ImageStore {
    root: PathBuf,
    db: Arc<Db>,
    content: LocalContent,
}

impl ImageStore {
    pub(crate) fn new(root: &Path, db: Arc<Db>, content: LocalContent) -> Self {
        ImageStore { root: root.to_owned(), db, content }
    }

    /// What `name` means.
    pub fn get(&self, name: &str) -> Result<Option<Descriptor>> {
        let text = self.db.read("look up image", |db| {
            let sql = "SELECT descriptor FROM tags JOIN images USING (digest) WHERE name = ?1";
            Ok(db.prepare_cached(sql)?.query_row([name], |row| row.get::<_, String>(0)).optional()?)
        })?;
        text.map(|text| parse(name, &text)).transpose()
    }

    /// Lets `name` mean `descriptor`: durably if the image is durable, and otherwise from the next sync on; see `sync.rs`.
    /// Returns what the name meant before, if that is another image now dangling or not.
    pub fn set(&self, name: &str, descriptor: &Descriptor) -> Result<Option<Descriptor>> {
        let before = self.get(name)?;
        if before.as_ref() == Some(descriptor) {
            return Ok(None);
        }
        self.save(descriptor, Some(name))?;
        Ok(before.filter(|before| before.digest != descriptor.digest))
    }

    /// Adds an image without a name.
    pub fn add(&self, descriptor: &Descriptor) -> Result<()> {
        self.save(descriptor, None)
    }

    /// Takes a name away. An image that loses its last name is no longer an image: its content is garbage. Returns the
    /// image as it is afterwards, or `None` if there was no such name.
    pub fn delete(&self, name: &str) -> Result<Option<Image>> {
        self.change("delete image name", |db| {
            let mut statement = db.prepare_cached("DELETE FROM tags WHERE name = ?1 RETURNING digest")?;
            let digest: Option<String> = statement.query_row([name], |row| row.get(0)).optional()?;
            let Some(digest) = digest else { return Ok(None) };
            let image = by_digest(db, &digest)?;
            if image.as_ref().is_some_and(|image| image.names.is_empty()) {
                db.execute("DELETE FROM images WHERE digest = ?1", [&digest])?;
            }
            Ok(image)
        })
    }

    /// Removes an image with all its names; whether it was there.
    pub fn remove(&self, digest: &Digest) -> Result<bool> {
        self.change("remove image", |db| remove_row(db, digest))
    }

    /// All images, the newest first.
    pub fn list(&self) -> Result<Vec<Image>> {
        self.db.read("list images", all)
    }

    /// The image that `text` names: a full name, a digest of its manifest or config, or the beginning of one (at least its
    /// hex digits are compared). Fails with [`Error::NotFound`] or [`Error::Ambiguous`].
    pub fn find(&self, text: &str) -> Result<Image> {
        self.db.read("look up image", |db| {
            let sql = "SELECT digest FROM tags WHERE name = ?1";
            let named: Option<String> =
                db.prepare_cached(sql)?.query_row([text], |row| row.get(0)).optional()?;
            match named {
                Some(digest) => by_digest(db, &digest)?.ok_or_else(|| Error::not_found("image", text)),
                None => by_prefix(db, text),
            }
        })
    }

    /// Writes `index.json` anew if it is not in step, as after a crash in the middle of a change.
    pub(crate) fn repair_index(&self) -> Result<()> {
        self.db.write("write index", Durability::Relaxed, |db| self.write_index(db, Durability::Durable))
    }

    fn save(&self, descriptor: &Descriptor, name: Option<&str>) -> Result<()> {
        let config = reach::config_of(&self.content, descriptor)?;
        let mut needs = Reach::default();
        needs.add_image(&self.content, descriptor)?;
        let text =
            serde_json::to_string(descriptor).map_err(|source| malformed(&descriptor.digest, source))?;
        let digest = descriptor.digest.as_str();
        let durability = match self.db.read("look up image", |db| is_durable(db, digest))? {
            true => Durability::Durable,
            // What it is made of may not be on the disk yet.
            false => Durability::Relaxed,
        };
        self.change_rows("save image", durability, |db| {
            if by_digest(db, digest)?.is_none() {
                sync::mark(db, Kind::Image, digest)?;
            }
            db.prepare_cached(
                "INSERT INTO images (digest, descriptor, config, created) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (digest) DO UPDATE SET descriptor = excluded.descriptor, config = excluded.config",
            )?
            .execute(params![digest, text, config.as_ref().map(Digest::as_str), now()])?;
            if let Some(name) = name {
                set_name(db, name, digest)?;
            }
            // From here on the image holds what we wrote for it.
            self.content.release_written(db, &needs.blobs)
        })
    }

    /// A durable change of rows, with `index.json` rewritten under the same lock.
    pub(crate) fn change<T>(
        &self,
        operation: &'static str,
        f: impl FnOnce(&Connection) -> Result<T>,
    ) -> Result<T> {
        self.change_rows(operation, Durability::Durable, f)
    }

    fn change_rows<T>(
        &self,
        operation: &'static str,
        durability: Durability,
        f: impl FnOnce(&Connection) -> Result<T>,
    ) -> Result<T> {
        self.db.write(operation, durability, |db| {
            let value = f(db)?;
            self.write_index(db, durability)?;
            Ok(value)
        })
    }

    fn write_index(&self, db: &Connection, durability: Durability) -> Result<()> {
        let bytes = index_of(&all(db)?).to_bytes();
        let path = self.root.join(INDEX_FILE);
        if fs::read(&path).is_ok_and(|there| there == bytes) {
            return Ok(());
        }
        let new = self.root.join(format!("{INDEX_FILE}.{}-{}", std::process::id(), unique()));
        let mut file =
            OpenOptions::new().write(true).create_new(true).mode(0o644).open(&new).at("create", &new)?;
        file.write_all(&bytes).at("write", &new)?;
        // The database is the truth, but other tools read this file: it must not come back empty. After a relaxed change it
        // may, for as long as there are marks, and the next opening repairs it.
        if durability == Durability::Durable {
            file.sync_data().at("sync", &new)?;
        }
        fs::rename(&new, &path).at("rename to", &path)
    }
}

/// Whether an image survives a power cut.
fn is_durable(db: &Connection, digest: &str) -> Result<bool> {
    Ok(by_digest(db, digest)?.is_some() && !sync::is_marked(db, Kind::Image, digest)?)
}

fn set_name(db: &Connection, name: &str, digest: &str) -> Result<()> {
    let sql = "SELECT digest FROM tags WHERE name = ?1";
    let before: Option<String> = db.prepare_cached(sql)?.query_row([name], |row| row.get(0)).optional()?;
    if let Some(before) = before.filter(|before| before != digest)
        && sync::is_marked(db, Kind::Image, digest)?
    {
        sync::mark(db, Kind::Name, &format!("{before} {name}"))?;
    }
    db.prepare_cached("INSERT OR REPLACE INTO tags (name, digest, updated) VALUES (?1, ?2, ?3)")?
        .execute(params![name, digest, now()])?;
    Ok(())
}

/// The OCI layout's index of these images: one entry a name, and one for each image without a name.
fn index_of(images: &[Image]) -> Index {
    let mut entries = Vec::new();
    for image in images {
        if image.names.is_empty() {
            entries.push(image.descriptor.clone());
        }
        for name in &image.names {
            let mut descriptor = image.descriptor.clone();
            descriptor.annotations.insert(REF_NAME.to_owned(), name.clone());
            descriptor.annotations.insert(IMAGE_NAME.to_owned(), name.clone());
            entries.push(descriptor);
        }
    }
    Index::new(entries)
}

/// Deletes an image's rows.
pub(crate) fn remove_row(db: &Connection, digest: &Digest) -> Result<bool> {
    db.execute("DELETE FROM tags WHERE digest = ?1", [digest.as_str()])?;
    Ok(db.execute("DELETE FROM images WHERE digest = ?1", [digest.as_str()])? > 0)
}

type Columns = (String, Option<String>, i64);

const COLUMNS: &str = "SELECT descriptor, config, created FROM images";

fn columns(row: &rusqlite::Row<'_>) -> rusqlite::Result<Columns> {
    Ok((row.get(0)?, row.get(1)?, row.get(2)?))
}

fn image(db: &Connection, (text, config, created): Columns) -> Result<Image> {
    let descriptor: Descriptor = parse("image", &text)?;
    let mut statement = db.prepare_cached("SELECT name FROM tags WHERE digest = ?1 ORDER BY name")?;
    let names =
        statement.query_map([descriptor.digest.as_str()], |row| row.get(0))?.collect::<Result<_, _>>()?;
    Ok(Image { descriptor, config: config.and_then(|text| text.parse().ok()), names, stored: time(created) })
}

/// All images, the newest first.
pub(crate) fn all(db: &Connection) -> Result<Vec<Image>> {
    let mut statement = db.prepare_cached(&format!("{COLUMNS} ORDER BY created DESC, digest"))?;
    let rows = statement.query_map([], columns)?.collect::<Result<Vec<_>, _>>()?;
    rows.into_iter().map(|row| image(db, row)).collect()
}

fn by_digest(db: &Connection, digest: &str) -> Result<Option<Image>> {
    let mut statement = db.prepare_cached(&format!("{COLUMNS} WHERE digest = ?1"))?;
    statement.query_row([digest], columns).optional()?.map(|row| image(db, row)).transpose()
}

/// The descriptor of an image by its digest.
pub(crate) fn descriptor_of(db: &Connection, digest: &Digest) -> Result<Option<Descriptor>> {
    Ok(by_digest(db, digest.as_str())?.map(|image| image.descriptor))
}

fn by_prefix(db: &Connection, text: &str) -> Result<Image> {
    let hex = text.strip_prefix("sha256:").unwrap_or(text);
    if hex.is_empty() || !hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        return Err(Error::not_found("image", text));
    }
    let prefix = format!("sha256:{hex}");
    let condition = "WHERE substr(digest, 1, length(?1)) = ?1 OR substr(config, 1, length(?1)) = ?1";
    let mut statement = db.prepare_cached(&format!("{COLUMNS} {condition} ORDER BY digest LIMIT ?2"))?;
    let rows =
        statement.query_map(params![prefix, NAMED_MATCHES], columns)?.collect::<Result<Vec<_>, _>>()?;
    let mut images = rows.into_iter().map(|row| image(db, row)).collect::<Result<Vec<_>>>()?;
    // Several manifests of one config have one id: that is one image to whoever asks by id.
    let one_id = images.iter().all(|image| image.config.is_some() && image.config == images[0].config);
    match images.len() {
        0 => Err(Error::not_found("image", text)),
        1 => Ok(images.remove(0)),
        _ if one_id => Ok(images.remove(0)),
        _ => Err(Error::Ambiguous {
            prefix: text.to_owned(),
            matches: images.iter().map(|image| image.descriptor.digest.short().to_owned()).collect(),
        }),
    }
}

fn parse(name: &str, text: &str) -> Result<Descriptor> {
    serde_json::from_str(text).map_err(|source| Error::Malformed {
        kind: "image",
        name: name.to_owned(),
        source,
    })
}

fn malformed(digest: &Digest, source: serde_json::Error) -> Error {
    Error::Malformed { kind: "manifest", name: digest.to_string(), source }
}
