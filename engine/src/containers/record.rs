//! A container as the database keeps it, and the truth about one whose supervisor died.

use std::path::{Path, PathBuf};

use kiln_cache::{Objects, Resource, Store};
use kiln_sys::fs::{FileLock, try_lock_file};
use serde::{Deserialize, Serialize};

use super::{Container, Health, State, Status};
use crate::{Engine, Error, Result};

/// The kind of the database's documents, and of what they hold.
pub(crate) const KIND: &str = "container";
/// The exit code of a container whose supervisor was killed: the kernel killed it, too.
const KILLED: i32 = 137;

/// Everything that is remembered of a container.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    /// What others see.
    pub(crate) container: Container,
    /// Volumes that were made for this container alone.
    pub(crate) anonymous_volumes: Vec<String>,
    /// Volumes by name that it uses, with the anonymous ones.
    pub(crate) volumes: Vec<String>,
    /// The control group's directories while it runs.
    pub(crate) cgroup_paths: Vec<PathBuf>,
    /// The image's shell, for a check of health that is a text; empty is `/bin/sh -c`.
    #[serde(default)]
    pub(crate) shell: Vec<String>,
    /// Whether somebody stopped it, so that no restart policy starts it again.
    pub(crate) stopped: bool,
}

impl Record {
    /// The container's directory beneath the root.
    pub(crate) fn directory(&self, root: &Path) -> PathBuf {
        directory(root, &self.container.id)
    }

    /// The control group beneath which its own is.
    pub(crate) fn cgroup_parent(&self, engine: &Engine) -> String {
        let named = self.container.options.cgroup_parent.as_deref();
        named.map_or_else(|| engine.cgroup_parent(), |path| path.trim_start_matches('/').to_owned())
    }

    /// Whether its program is asked whether it is well.
    pub(crate) fn asks_health(&self) -> bool {
        let check = self.container.options.health.as_ref();
        check.and_then(|check| check.command(&self.shell)).is_some()
    }

    /// Whether a supervisor should be there.
    pub(crate) fn is_active(&self) -> bool {
        matches!(self.container.state.status, Status::Running | Status::Paused | Status::Restarting)
    }
}

/// The directory of a container.
pub(crate) fn directory(root: &Path, id: &str) -> PathBuf {
    root.join("containers").join(id)
}

/// The file whose lock says that a container's supervisor lives.
pub(crate) fn lock_path(directory: &Path) -> PathBuf {
    directory.join("lock")
}

/// Whether a container's supervisor lives; it holds this lock.
pub(crate) fn is_supervised(lock: &Path) -> bool {
    lock.exists() && matches!(try_lock_file(lock), Ok(None))
}

/// The time now, RFC 3339 with nanoseconds.
pub(crate) fn now() -> String {
    format!("{:.9}", jiff::Timestamp::now())
}

/// The containers in the database.
pub(crate) struct Records<'a> {
    engine: &'a Engine,
    objects: Objects,
}

impl<'a> Records<'a> {
    pub(crate) fn of(engine: &'a Engine) -> Records<'a> {
        Records { engine, objects: engine.store().objects(KIND) }
    }

    /// The container that people mean by `name`: a name, an id or its beginning.
    pub(crate) fn find(&self, name: &str) -> Result<Record> {
        let object = self.objects.find::<Record>(name.trim_start_matches('/')).map_err(|error| {
            if error.is_not_found() {
                Error::not_found(format!("no container `{name}` here"))
                    .with_hint("`kiln ps -a` lists those that are")
            } else {
                error.into()
            }
        })?;
        self.settle(named(object))
    }

    /// All containers, the oldest first.
    pub(crate) fn list(&self) -> Result<Vec<Record>> {
        self.objects.list::<Record>()?.into_iter().map(|object| self.settle(named(object))).collect()
    }

    /// One by its full id, if it still exists.
    pub(crate) fn get(&self, id: &str) -> Result<Option<Record>> {
        Ok(self.objects.get::<Record>(id)?.map(named))
    }

    pub(crate) fn insert(&self, record: &Record) -> Result<()> {
        let container = &record.container;
        Ok(self.objects.insert(&container.id, Some(&container.name), record)?)
    }

    /// Changes a container in one transaction.
    pub(crate) fn update(&self, id: &str, change: impl FnOnce(&mut Record)) -> Result<()> {
        self.objects.update(id, |record: &mut Record| {
            change(record);
            Ok::<_, kiln_cache::Error>(())
        })?;
        Ok(())
    }

    pub(crate) fn rename(&self, id: &str, name: &str) -> Result<()> {
        Ok(self.objects.rename(id, Some(name))?)
    }

    /// Deletes the document; what the container holds is let go by [`Records::release`].
    pub(crate) fn delete(&self, id: &str) -> Result<bool> {
        Ok(self.objects.delete(id)?)
    }

    /// Removes what a deleted container had on disk.
    pub(crate) fn release(&self, record: &Record) -> Result<()> {
        let store = self.engine.store();
        store.leases.unpin(KIND, &record.container.id)?;
        let directory = record.directory(store.root());
        match std::fs::remove_dir_all(&directory) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::internal(format!("remove `{}`", directory.display()), error))
            }
            _ => Ok(()),
        }
    }

    /// A container that should run while nobody holds its lock was left by a supervisor that was killed; the kernel
    /// killed the container with it. Says so, and takes back what it had.
    fn settle(&self, record: Record) -> Result<Record> {
        let Some(_lock) = abandoned(&record, self.engine.store()) else { return Ok(record) };
        let id = record.container.id.clone();
        let Some(record) = self.get(&id)?.filter(Record::is_active) else {
            return self.get(&id).map(|current| current.unwrap_or(record));
        };
        clear_remains(self.engine, &record)?;
        self.update(&id, |record| record.end(KILLED, false))?;
        Ok(self.get(&id)?.unwrap_or(record))
    }
}

impl Record {
    /// The state after a program's end.
    pub(crate) fn end(&mut self, exit_code: i32, oom_killed: bool) {
        self.cgroup_paths = Vec::new();
        let container = &mut self.container;
        container.ports = Vec::new();
        container.address = None;
        container.gateway = None;
        let previous = std::mem::take(&mut container.state);
        container.state = State {
            status: Status::Exited,
            pid: None,
            supervisor_pid: None,
            exit_code,
            oom_killed,
            finished_at: Some(now()),
            health: previous.health.clone().map(Health::after_the_end),
            ..previous
        };
    }
}

fn named(object: kiln_cache::Object<Record>) -> Record {
    let mut record = object.document;
    record.container.name = object.name.unwrap_or_default();
    record
}

fn abandoned(record: &Record, store: &Store) -> Option<FileLock> {
    let lock = record.is_active().then(|| lock_path(&record.directory(store.root())))?;
    try_lock_file(&lock).ok().flatten()
}

fn clear_remains(engine: &Engine, record: &Record) -> Result<()> {
    let group = Resource::Cgroup(format!("{}/{}", record.cgroup_parent(engine), record.container.id));
    crate::clean_up(&group).map_err(|error| Error::internal("remove a dead container's cgroup", error))?;
    crate::networks::forget_ports(engine.store(), &record.container.ports)
}
