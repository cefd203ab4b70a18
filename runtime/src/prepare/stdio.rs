//! Opens what a process reads and writes.

use std::os::fd::{AsFd, OwnedFd};

use kiln_sys::child::Handle;
use kiln_sys::mount::{Mount, MountFlags, MountOption};
use kiln_sys::{pty, user_namespace};

use crate::error::{Preparing, Result};
use crate::launch::Stdio;
use crate::plan::{TERMINALS, devpts_options};

/// Descriptors for a process.
#[derive(Debug, Default)]
pub struct Opened {
    /// The three; `None` keeps the caller's.
    pub handles: Option<[Handle; 3]>,
    /// The mount whose terminal it is.
    pub devpts: Option<Handle>,
    /// The terminal's other side.
    pub master: Option<OwnedFd>,
}

/// Opens the standard descriptors of a new container.
pub fn open(stdio: Stdio) -> Result<Opened> {
    let Stdio::Pty { size } = stdio else { return open_plain(stdio) };
    let fs = devpts()?;
    let opened = open_pty(fs.as_fd(), size)?;
    Ok(Opened { devpts: Some(Handle::new(fs, "devpts")), ..opened })
}

/// Opens a terminal in a `devpts` instance.
pub fn open_pty(fs: std::os::fd::BorrowedFd<'_>, size: Option<pty::WindowSize>) -> Result<Opened> {
    let pty = pty::open_in(fs).preparing(|| "open a terminal".to_owned())?;
    if let Some(size) = size {
        pty::set_window_size(pty.master.as_fd(), size).preparing(|| "size the terminal".to_owned())?;
    }
    let slave = Handle::new(high(pty.slave)?, "pty");
    let handles = Some([slave.clone(), slave.clone(), slave]);
    Ok(Opened { handles, devpts: None, master: Some(pty.master) })
}

/// Opens everything but a terminal.
pub fn open_plain(stdio: Stdio) -> Result<Opened> {
    let handles = match stdio {
        Stdio::Inherit | Stdio::Pty { .. } => None,
        Stdio::Null => {
            let null = kiln_sys::fd::open_null().preparing(|| "open `/dev/null`".to_owned())?;
            let null = Handle::new(high(null)?, "null");
            Some([null.clone(), null.clone(), null])
        }
        Stdio::Fds { stdin, stdout, stderr } => Some([
            Handle::new(high(stdin)?, "stdin"),
            Handle::new(high(stdout)?, "stdout"),
            Handle::new(high(stderr)?, "stderr"),
        ]),
    };
    Ok(Opened { handles, ..Opened::default() })
}

/// The descriptor under a number that the child does not overwrite while it arranges 0 to 2.
fn high(fd: OwnedFd) -> Result<OwnedFd> {
    kiln_sys::fd::above_stdio(fd).preparing(|| "duplicate a descriptor".to_owned())
}

fn devpts() -> Result<OwnedFd> {
    let has_terminals = !user_namespace::is_confined() || user_namespace::has_group(TERMINALS);
    let options = devpts_options(has_terminals).map(|(name, value)| MountOption::value(name, value));
    let mount = Mount {
        source: "devpts".into(),
        target: "".into(),
        fs_type: "devpts".into(),
        flags: MountFlags::NOSUID | MountFlags::NOEXEC,
        data: options.collect(),
    };
    mount.detached().preparing(|| "mount `devpts`".to_owned())
}
