//! What a container in a user namespace shares with the host, because it may not make its own.

use std::path::Path;

use kiln_sys::child::Handle;
use kiln_sys::user_namespace;

use super::bind;
use crate::error::Result;
use crate::plan::{Borrowed, TERMINALS};
use crate::profile::DEVICES;
use crate::run_spec::Propagation;

/// Opens it, `/proc` where that is wanted; nothing where this process is in no user namespace.
pub fn of_host(with_proc: bool) -> Result<Option<Borrowed>> {
    if !user_namespace::is_confined() {
        return Ok(None);
    }
    let tree = |path: &Path, readonly| bind(path, readonly, Propagation::Private);
    let device =
        |name: &str| Ok(Handle::new(tree(&Path::new("/dev").join(name), false)?, format!("host:{name}")));
    let devices = DEVICES.iter().map(|(name, ..)| device(name)).collect::<Result<_>>()?;
    let sys = Handle::new(tree(Path::new("/sys"), true)?, "host:sys");
    let proc = with_proc.then(|| tree(Path::new("/proc"), false)).transpose()?;
    let proc = proc.map(|tree| Handle::new(tree, "host:proc"));
    Ok(Some(Borrowed { devices, proc, sys, has_terminals: user_namespace::has_group(TERMINALS) }))
}
