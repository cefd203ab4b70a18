//! What this program does for itself in a process of its own: it is executed again under another name.
//!
//! The name tells an errand from a command that somebody typed, so none of the command line's machinery is set up for it.

use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use crate::{Config, Result, durability, supervisor};

/// This program, even if its file was replaced meanwhile.
const SELF: &str = "/proc/self/exe";
const SUPERVISE: &str = "kiln-supervise";
const SYNC: &str = "kiln-sync";

/// A job for a process of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Errand {
    /// To be the parent of the container `id` of the state root `root`, until it ends for good.
    Supervise {
        /// The state root, absolute.
        root: PathBuf,
        /// The container's id.
        id: String,
    },
    /// To return when everything in the state root `root` is on the disk.
    Sync {
        /// The state root, absolute.
        root: PathBuf,
    },
}

impl Errand {
    /// What this process was started for, if it was for an errand.
    pub fn of_this_process() -> Option<Errand> {
        Errand::of(std::env::args_os())
    }

    fn of(mut words: impl Iterator<Item = OsString>) -> Option<Errand> {
        let name = words.next()?;
        let (root, id) = (words.next().map(PathBuf::from), words.next());
        match (name.to_str()?, root, id) {
            (SUPERVISE, Some(root), Some(id)) => Some(Errand::Supervise { root, id: id.into_string().ok()? }),
            (SYNC, Some(root), None) => Some(Errand::Sync { root }),
            _ => None,
        }
    }

    /// Does it; the exit code of the process.
    pub fn run(self) -> Result<i32> {
        match self {
            Errand::Supervise { root, id } => supervisor::supervise(Config::new(root), &id),
            Errand::Sync { root } => durability::sync(&root).map(|()| 0),
        }
    }

    /// The process that will do it: without our environment, working directory and streams.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(SELF);
        match self {
            Errand::Supervise { root, id } => named(&mut command, SUPERVISE, root).arg(id),
            Errand::Sync { root } => named(&mut command, SYNC, root),
        };
        command.env_clear().current_dir("/");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }
}

/// The processes of errands that may have ended. A short command never asks; a daemon must, or they stay as zombies.
static CHILDREN: Mutex<Vec<Child>> = Mutex::new(Vec::new());

/// Starts the process of an errand.
pub(crate) fn spawn(command: &mut Command) -> std::io::Result<()> {
    let child = command.spawn()?;
    let mut children = CHILDREN.lock().unwrap_or_else(PoisonError::into_inner);
    reap_in(&mut children);
    children.push(child);
    Ok(())
}

/// Takes the processes of errands that have ended off the kernel's list.
pub fn reap() {
    reap_in(&mut CHILDREN.lock().unwrap_or_else(PoisonError::into_inner));
}

fn reap_in(children: &mut Vec<Child>) {
    children.retain_mut(|child| matches!(child.try_wait(), Ok(None)));
}

fn named<'a>(command: &'a mut Command, name: impl AsRef<OsStr>, root: &Path) -> &'a mut Command {
    command.arg0(name).arg(root)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(words: &[&str]) -> Option<Errand> {
        Errand::of(words.iter().map(OsString::from))
    }

    #[test]
    fn an_errand_is_read_as_it_is_written() {
        let root = PathBuf::from("/state");
        for errand in [
            Errand::Sync { root: root.clone() },
            Errand::Supervise { root: root.clone(), id: "0123".to_owned() },
        ] {
            let command = errand.command();
            let name = match errand {
                Errand::Sync { .. } => SYNC,
                Errand::Supervise { .. } => SUPERVISE,
            };
            let words = std::iter::once(OsString::from(name)).chain(command.get_args().map(OsStr::to_owned));
            assert_eq!(Errand::of(words), Some(errand));
        }
    }

    #[test]
    fn who_has_ended_is_no_zombie() {
        spawn(&mut Command::new("true")).unwrap();
        let is_left = || {
            reap();
            !CHILDREN.lock().unwrap().is_empty()
        };
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while is_left() && std::time::Instant::now() < deadline {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        assert!(!is_left());
    }

    #[test]
    fn what_somebody_typed_is_no_errand() {
        for words in [
            &["kiln", "/state"][..],
            &["kiln-sync"],
            &["kiln-supervise", "/state"],
            &["kiln-sync", "/a", "b"],
        ] {
            assert_eq!(of(words), None, "{words:?}");
        }
    }
}
