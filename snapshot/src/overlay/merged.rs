//! The lowest layers of a deep stack as one mount, which those above are stacked on.
//!
//! The kernel looks at every lower directory when it mounts a stack, and again for each name that is looked up in it; a mount
//! that stays remembers what it found. So a step costs the same on 500 layers as on 100.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use kiln_sys::mount::{Mount, MountOption};

use super::stack_of;

/// So many layers are stacked as they are, which is as many as other engines can stack. In a deeper stack files of the lowest
/// layers have another device number than those above.
const DIRECT: usize = 128;
/// Mounts that are kept, a process.
const KEPT: usize = 4;
const LOWER: &str = "lowerdir+";

/// The mounts that are kept, by the number of their top layer; the one used last is last.
#[derive(Debug, Default)]
pub(super) struct Merged(Mutex<Vec<(u64, Arc<OwnedFd>)>>);

impl Merged {
    /// What a stack of the layers `ids`, nearest first, is mounted with.
    pub(super) fn lowers(&self, ids: &[u64], dir: impl Fn(u64) -> PathBuf) -> Vec<MountOption> {
        let lowest = ids.len().saturating_sub(1) / DIRECT * DIRECT;
        let (direct, lowest) = ids.split_at(ids.len() - lowest);
        let plain =
            |ids: &[u64]| ids.iter().map(|id| MountOption::value(LOWER, dir(*id))).collect::<Vec<_>>();
        match self.mount_of(lowest, plain) {
            Some(merged) => {
                plain(direct).into_iter().chain([MountOption::descriptor(LOWER, merged)]).collect()
            }
            None => plain(ids),
        }
    }

    /// The mount of these layers. There is none where the kernel cannot stack on one that is not attached (before Linux 6.15).
    fn mount_of(&self, ids: &[u64], plain: impl Fn(&[u64]) -> Vec<MountOption>) -> Option<Arc<OwnedFd>> {
        let top = ids.first()?;
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = kept.iter().position(|(of, _)| of == top) {
            let found = kept.remove(at);
            let mount = found.1.clone();
            kept.push(found);
            return Some(mount);
        }
        let mount = Arc::new(stack_of(plain(ids), None).detached().ok()?);
        can_stack_on(&mount, plain(&ids[..1]))?;
        if kept.len() == KEPT {
            kept.remove(0);
        }
        kept.push((*top, mount.clone()));
        Some(mount)
    }
}

fn can_stack_on(mount: &Arc<OwnedFd>, above: Vec<MountOption>) -> Option<()> {
    let lowers = above.into_iter().chain([MountOption::descriptor(LOWER, mount.clone())]);
    let stacked: Mount = stack_of(lowers.collect(), None);
    stacked.detached().ok().map(drop)
}
