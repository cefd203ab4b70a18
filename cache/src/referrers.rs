//! Referrers: artifacts whose `subject` is another manifest (image-spec 1.1), such as statements about an image.
//!
//! An artifact is kept as long as what it is about is: garbage collection takes both or none.

use std::sync::Arc;

use kiln_oci::{Descriptor, Digest};
use rusqlite::{Connection, params};

use crate::content::LocalContent;
use crate::db::{Db, Durability};
use crate::error::{Error, Result};
use crate::reach::{MAX_NESTING, Reach};

/// The most referrers that are kept of one subject.
const MAX_PER_SUBJECT: usize = 1000;

/// The referrers of a store.
#[derive(Debug, Clone)]
pub struct Referrers {
    db: Arc<Db>,
    content: LocalContent,
}

/// A row: what it is about, and what points to the artifact.
struct Row {
    subject: Digest,
    referrer: Descriptor,
}

impl Referrers {
    pub(crate) fn new(db: Arc<Db>, content: LocalContent) -> Self {
        Referrers { db, content }
    }

    /// Remembers that the artifact `referrer`, whose documents are in the store, is about `subject`. Beyond a thousand
    /// artifacts about one subject nothing is remembered.
    pub fn add(&self, subject: &Digest, referrer: &Descriptor) -> Result<()> {
        self.save(subject, referrer, |_| false)
    }

    /// The same, in place of earlier ones of the same artifact type with the same annotations.
    pub fn replace(&self, subject: &Digest, referrer: &Descriptor) -> Result<()> {
        self.save(subject, referrer, |earlier| {
            earlier.artifact_type == referrer.artifact_type && earlier.annotations == referrer.annotations
        })
    }

    /// What is about `subject` and is here, in the order of the digests.
    pub fn of(&self, subject: &Digest) -> Result<Vec<Descriptor>> {
        let rows = self.db.read("list referrers", |db| rows_of(db, subject))?;
        let mut here = Vec::with_capacity(rows.len());
        for row in rows {
            if self.content.info(&row.referrer.digest)?.is_some() {
                here.push(row.referrer);
            }
        }
        Ok(here)
    }

    fn save(
        &self,
        subject: &Digest,
        referrer: &Descriptor,
        replaces: impl Fn(&Descriptor) -> bool,
    ) -> Result<()> {
        let mut needs = Reach::default();
        needs.add_image(&self.content, referrer)?;
        let text = serde_json::to_string(referrer).map_err(|source| malformed(&referrer.digest, source))?;
        self.db.write("save referrer", Durability::Relaxed, |db| {
            let (old, kept): (Vec<Row>, Vec<Row>) =
                rows_of(db, subject)?.into_iter().partition(|row| replaces(&row.referrer));
            old.iter().try_for_each(|row| delete(db, row))?;
            if kept.len() < MAX_PER_SUBJECT {
                let sql =
                    "INSERT OR REPLACE INTO referrers (subject, digest, descriptor) VALUES (?1, ?2, ?3)";
                let digest = referrer.digest.as_str();
                db.prepare_cached(sql)?.execute(params![subject.as_str(), digest, text])?;
            }
            // From here on the row holds what we wrote for it, as long as there is its subject.
            self.content.release_written(db, &needs.blobs)
        })
    }
}

/// Adds what is about something that is needed; an artifact may be about an artifact.
pub(crate) fn mark(db: &Connection, content: &LocalContent, reach: &mut Reach) -> Result<()> {
    let rows = all(db)?;
    for _ in 0..MAX_NESTING {
        let is_new =
            |row: &&Row| reach.blobs.contains(&row.subject) && !reach.blobs.contains(&row.referrer.digest);
        let found: Vec<&Row> = rows.iter().filter(is_new).collect();
        if found.is_empty() {
            break;
        }
        found.iter().try_for_each(|row| reach.add_image(content, &row.referrer))?;
    }
    Ok(())
}

/// Forgets what is about nothing that is needed.
pub(crate) fn sweep(db: &Connection, reach: &Reach) -> Result<()> {
    let dead = all(db)?.into_iter().filter(|row| !reach.blobs.contains(&row.subject));
    dead.into_iter().try_for_each(|row| delete(db, &row))
}

fn delete(db: &Connection, Row { subject, referrer }: &Row) -> Result<()> {
    let sql = "DELETE FROM referrers WHERE subject = ?1 AND digest = ?2";
    db.prepare_cached(sql)?.execute([subject.as_str(), referrer.digest.as_str()])?;
    Ok(())
}

fn rows_of(db: &Connection, subject: &Digest) -> Result<Vec<Row>> {
    let sql = "SELECT descriptor FROM referrers WHERE subject = ?1 ORDER BY digest";
    let mut statement = db.prepare_cached(sql)?;
    let texts = statement.query_map([subject.as_str()], |row| row.get::<_, String>(0))?;
    texts.map(|text| Ok(Row { subject: subject.clone(), referrer: parse(subject, &text?)? })).collect()
}

fn all(db: &Connection) -> Result<Vec<Row>> {
    let mut statement = db.prepare_cached("SELECT subject, descriptor FROM referrers")?;
    let rows = statement.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))?;
    let rows: Vec<(String, String)> = rows.collect::<Result<_, _>>()?;
    let row = |(subject, text): (String, String)| {
        let subject: Digest = subject.parse().ok()?;
        Some(parse(&subject, &text).map(|referrer| Row { subject, referrer }))
    };
    rows.into_iter().filter_map(row).collect()
}

fn parse(subject: &Digest, text: &str) -> Result<Descriptor> {
    serde_json::from_str(text).map_err(|source| malformed(subject, source))
}

fn malformed(digest: &Digest, source: serde_json::Error) -> Error {
    Error::Malformed { kind: "referrer", name: digest.to_string(), source }
}

#[cfg(test)]
mod tests {
    use kiln_oci::{Manifest, MediaType};

    use super::*;
    use crate::{Store, StoreOptions};

    fn store() -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("root"), &StoreOptions::default()).unwrap();
        (dir, store)
    }

    /// An artifact about `subject` with one document.
    fn artifact(store: &Store, subject: Option<&Descriptor>, text: &str) -> Descriptor {
        let layer = store.content.put("text/plain", text.as_bytes()).unwrap();
        let config = store.content.put("application/vnd.oci.empty.v1+json", b"{}").unwrap();
        let manifest = Manifest { subject: subject.cloned(), ..Manifest::new(config, vec![layer]) };
        let mut descriptor = store.content.put(MediaType::OCI_MANIFEST, &manifest.to_bytes()).unwrap();
        descriptor.artifact_type = Some("text/plain".to_owned());
        descriptor
    }

    #[test]
    fn a_referrer_lives_as_long_as_its_subject() {
        let (_dir, store) = store();
        let image = artifact(&store, None, "image");
        store.images.set("app:1", &image).unwrap();
        let statement = artifact(&store, Some(&image), "statement");
        let signature = artifact(&store, Some(&statement), "signature");
        store.referrers.add(&image.digest, &statement).unwrap();
        store.referrers.add(&statement.digest, &signature).unwrap();
        assert_eq!(store.collect().unwrap().blobs, 0);
        assert_eq!(store.referrers.of(&image.digest).unwrap(), std::slice::from_ref(&statement));
        assert_eq!(store.referrers.of(&statement.digest).unwrap(), [signature]);
        store.images.delete("app:1").unwrap();
        assert_eq!(
            store.collect().unwrap().blobs,
            7,
            "three manifests, three documents and one configuration"
        );
        assert_eq!(store.referrers.of(&image.digest).unwrap(), []);
        assert!(store.db.read("count", all).unwrap().is_empty());
    }

    #[test]
    fn a_newer_one_of_its_kind_takes_the_place() {
        let (_dir, store) = store();
        let image = artifact(&store, None, "image");
        let [first, second] = ["first", "second"].map(|text| artifact(&store, Some(&image), text));
        let other =
            Descriptor { artifact_type: Some("other".to_owned()), ..artifact(&store, Some(&image), "x") };
        for referrer in [&first, &other, &second] {
            store.referrers.replace(&image.digest, referrer).unwrap();
        }
        let mut expected = [other, second];
        expected.sort_by(|a, b| a.digest.cmp(&b.digest));
        assert_eq!(store.referrers.of(&image.digest).unwrap(), expected);
        store.referrers.add(&image.digest, &first).unwrap();
        assert_eq!(store.referrers.of(&image.digest).unwrap().len(), 3);
    }
}
