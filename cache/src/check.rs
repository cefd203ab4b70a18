//! `system check`: reads everything and compares it with what the database says.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use kiln_oci::layout::BLOBS_DIR;
use kiln_oci::{Algorithm, Digest, Digester};
use kiln_snapshot::Name;

use crate::content::Info;
use crate::db::Durability;
use crate::error::{Error, IoContext, Result};
use crate::store::Store;

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// SQLite finds its own file damaged.
    Database(String),
    /// A blob's file is gone or has another length.
    MissingBlob(Digest),
    /// A blob's bytes have another digest.
    DamagedBlob(Digest),
    /// A file among the blobs that the database does not know.
    UnknownBlob(PathBuf),
    /// A committed snapshot whose directory is gone.
    MissingSnapshot(String),
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Problem::Database(text) => write!(f, "the database is damaged: {text}"),
            Problem::MissingBlob(digest) => write!(f, "blob `{digest}` is missing"),
            Problem::DamagedBlob(digest) => write!(f, "blob `{digest}` is damaged"),
            Problem::UnknownBlob(path) => write!(f, "file `{}` is not a known blob", path.display()),
            Problem::MissingSnapshot(name) => write!(f, "snapshot `{name}` has no directory"),
        }
    }
}

impl Store {
    /// Reads every blob and looks for every snapshot. With `repair`, bad items are forgotten and their files removed, so that
    /// they are fetched or made again; everything else stays.
    pub fn check(&self, repair: bool) -> Result<Vec<Problem>> {
        let mut problems = self.check_database()?;
        problems.extend(self.check_blobs()?);
        problems.extend(self.check_files()?);
        problems.extend(self.check_snapshots()?);
        if repair {
            problems.iter().try_for_each(|problem| self.repair(problem))?;
            self.images.repair_index()?;
        }
        Ok(problems)
    }

    fn check_database(&self) -> Result<Vec<Problem>> {
        self.db.read("check database", |db| {
            let mut statement = db.prepare("PRAGMA quick_check")?;
            let lines =
                statement.query_map([], |row| row.get::<_, String>(0))?.collect::<Result<Vec<_>, _>>()?;
            Ok(lines.into_iter().filter(|line| line != "ok").map(Problem::Database).collect())
        })
    }

    fn check_blobs(&self) -> Result<Vec<Problem>> {
        let mut problems = Vec::new();
        for Info { digest, .. } in self.content.walk()? {
            let mut file = match self.content.reader(&digest) {
                Err(Error::NotFound { .. }) => {
                    problems.push(Problem::MissingBlob(digest));
                    continue;
                }
                result => result?,
            };
            let mut digester = Digester::new(digest.algorithm());
            io::copy(&mut file, &mut digester).at("read", &self.content.path(&digest))?;
            if digester.finish() != digest {
                problems.push(Problem::DamagedBlob(digest));
            }
        }
        Ok(problems)
    }

    /// Inside a write transaction, in which no blob gets its name.
    fn check_files(&self) -> Result<Vec<Problem>> {
        self.db.write("check blobs", Durability::Relaxed, |_| {
            let known = self.content.walk()?.iter().map(|info| self.content.path(&info.digest)).collect();
            let mut unknown = Vec::new();
            for algorithm in [Algorithm::Sha256, Algorithm::Sha384, Algorithm::Sha512] {
                unknown.extend(unknown_files(&self.root().join(BLOBS_DIR).join(algorithm.name()), &known)?);
            }
            Ok(unknown)
        })
    }

    fn check_snapshots(&self) -> Result<Vec<Problem>> {
        let names = self.db.read("list snapshots", |db| {
            let mut statement =
                db.prepare("SELECT name FROM snapshots WHERE kind = 2 AND name NOT LIKE 'lost/%'")?;
            let names = statement.query_map([], |row| row.get::<_, String>(0))?;
            Ok(names.collect::<Result<Vec<_>, _>>()?)
        })?;
        let gone = |name: &String| {
            let dir = self.snapshots.layer_dir(&Name(name.clone()));
            !matches!(dir, Err(ref error) if error.is_not_found()) && !dir.is_ok_and(|dir| dir.is_dir())
        };
        Ok(names.into_iter().filter(gone).map(Problem::MissingSnapshot).collect())
    }

    fn repair(&self, problem: &Problem) -> Result<()> {
        match problem {
            Problem::Database(_) => Ok(()),
            Problem::MissingBlob(digest) | Problem::DamagedBlob(digest) => {
                self.content.delete(digest).map(drop)
            }
            Problem::UnknownBlob(path) => fs::remove_file(path).at("remove", path),
            Problem::MissingSnapshot(name) => self.db.write("forget snapshot", Durability::Relaxed, |db| {
                // It keeps its row: others may stand on it, and are found missing a layer when they are mounted.
                db.execute("UPDATE snapshots SET name = 'lost/' || id WHERE name = ?1 AND kind = 2", [name])?;
                Ok(())
            }),
        }
    }
}

fn unknown_files(dir: &Path, known: &HashSet<PathBuf>) -> Result<Vec<Problem>> {
    let mut unknown = Vec::new();
    for entry in fs::read_dir(dir).at("read directory", dir)? {
        let path = entry.at("read directory", dir)?.path();
        if !known.contains(&path) {
            unknown.push(Problem::UnknownBlob(path));
        }
    }
    Ok(unknown)
}
