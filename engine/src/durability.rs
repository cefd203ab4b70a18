//! Making durable what a command wrote, without letting the command wait for the disk.
//!
//! `kiln_cache::sync` says what may happen until that is done.

use std::os::unix::process::CommandExt;
use std::path::Path;

use kiln_cache::Syncer;

use crate::errand::Errand;
use crate::{Engine, Result};

/// Returns when everything in the state root is on the disk.
pub(crate) fn sync(root: &Path) -> Result<()> {
    Ok(Syncer::sync_root(root)?)
}

impl Engine {
    /// Has everything written so far made durable by a process that outlives this one.
    pub(crate) fn sync_later(&self) -> Result<()> {
        let syncer = &self.store().syncer;
        if syncer.is_synced()? {
            return Ok(());
        }
        let mut command = Errand::Sync { root: self.store().root().to_owned() }.command();
        // A process group of its own: what interrupts us does not interrupt it.
        match command.process_group(0).spawn() {
            Ok(mut child) => {
                // Only a long-lived parent has to take note of its end.
                std::thread::spawn(move || child.wait());
                Ok(())
            }
            Err(_) => Ok(syncer.sync()?),
        }
    }
}
