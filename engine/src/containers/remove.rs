//! Removing containers.

use std::time::Duration;

use kiln_snapshot::Key;

use super::record::{Record, Records};
use super::{Containers, RemoveOptions, signal};
use crate::{Error, PruneReport, Result, volumes};

impl Containers<'_> {
    /// Removes a container.
    pub fn remove(&self, name: &str, options: RemoveOptions) -> Result<()> {
        let record = Records::of(self.engine).find(name)?;
        if record.is_active() {
            if !options.force {
                let name = &record.container.name;
                let status = record.container.state.status.as_str();
                return Err(Error::conflict(format!("the container `{name}` is {status}"))
                    .with_hint("`kiln stop` it first, or remove it with `--force`"));
            }
            self.end(&record, signal::KILL, Duration::ZERO)?;
        }
        self.delete(&record, options.volumes)
    }

    /// Removes every container that does not run.
    pub fn prune(&self) -> Result<PruneReport> {
        let mut report = PruneReport::default();
        for record in Records::of(self.engine).list()? {
            if !record.is_active() {
                let key = Key(record.container.id.clone());
                report.reclaimed +=
                    self.engine.store().snapshots.usage_active(&key).map_or(0, |usage| usage.bytes);
                self.delete(&record, true)?;
                report.deleted.push(record.container.id);
            }
        }
        Ok(report)
    }

    fn delete(&self, record: &Record, with_volumes: bool) -> Result<()> {
        let records = Records::of(self.engine);
        // One that removed itself meanwhile is gone, which is what was asked for.
        if records.delete(&record.container.id)? {
            records.release(record)?;
        }
        if with_volumes {
            volumes::remove_anonymous(self.engine, &record.anonymous_volumes);
        }
        Ok(())
    }
}
