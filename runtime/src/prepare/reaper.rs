//! The program that `--init` puts in front of a command: this one, mounted read-only.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use kiln_sys::child::Handle;
use kiln_sys::mount::{Mount, MountFlags};

use crate::error::{Error, Preparing, Result};
use crate::plan::{INIT_FOLDER, InitProgram};

/// Name of the program in its folder.
const NAME: &str = "kiln";
/// The hidden subcommand that calls [`crate::init::main`].
const SUBCOMMAND: &str = "init";

/// The files of the reaper and how to start it.
///
/// An image need not have the libraries that this program is linked with, so they come along, together
/// with their loader. All are read-only mounts: no container can write to the host's files through them.
pub fn program() -> Result<InitProgram> {
    let mut files = vec![(tree(Path::new("/proc/self/exe"))?, NAME.to_owned())];
    let program = format!("{INIT_FOLDER}/{NAME}");
    let mut args = Vec::new();
    for library in libraries()? {
        let name = library.file_name().and_then(|n| n.to_str()).unwrap_or_default().to_owned();
        if name.starts_with("ld-") {
            args = vec![format!("{INIT_FOLDER}/{name}"), "--library-path".to_owned(), INIT_FOLDER.to_owned()];
        }
        files.push((tree(&library)?, name));
    }
    args.extend([program, SUBCOMMAND.to_owned(), "--".to_owned()]);
    Ok(InitProgram { files, args })
}

fn tree(path: &Path) -> Result<Handle> {
    let mut mount = Mount::bind(path, "");
    mount.flags |= MountFlags::READONLY;
    let tree = mount.detached().preparing(|| format!("bind `{}`", path.display()))?;
    Ok(Handle::new(tree, format!("init:{}", path.display())))
}

/// The shared libraries that this process has loaded, its loader included; none when it is linked statically.
fn libraries() -> Result<BTreeSet<PathBuf>> {
    let maps = std::fs::read_to_string("/proc/self/maps")
        .map_err(|e| Error::Invalid(format!("read this program's own mappings: {e}")))?;
    let paths = maps.lines().filter_map(|line| line.split_once('/')).map(|(_, path)| format!("/{path}"));
    Ok(paths.filter(|path| is_library(path)).map(PathBuf::from).collect())
}

fn is_library(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default();
    name.contains(".so") && (name.starts_with("lib") || name.starts_with("ld-"))
}
