//! Making durable what a command wrote, without letting the command wait for the disk.
//!
//! `kiln_cache::sync` says what may happen until that is done.

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use kiln_cache::Syncer;

use crate::containers::SELF;
use crate::{Config, Engine, Result};

/// What the hidden command `kiln sync` does: returns when everything in the state root is on the disk.
pub fn sync(config: &Config) -> Result<()> {
    Ok(Syncer::sync_root(&config.root)?)
}

impl Engine {
    /// Has everything written so far made durable by a process that outlives this one.
    pub(crate) fn sync_later(&self) -> Result<()> {
        let syncer = &self.store().syncer;
        if syncer.is_synced()? {
            return Ok(());
        }
        let mut command = Command::new(SELF);
        command.arg0("kiln").arg("--root").arg(self.store().root()).arg("sync");
        // A process group of its own: what interrupts us does not interrupt it.
        command.env_clear().current_dir("/").process_group(0);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        match command.spawn() {
            Ok(mut child) => {
                // Only a long-lived parent has to take note of its end.
                std::thread::spawn(move || child.wait());
                Ok(())
            }
            Err(_) => Ok(syncer.sync()?),
        }
    }
}
