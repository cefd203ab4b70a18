//! Which extended attributes enter a layer or leave it.

use std::os::fd::BorrowedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use kiln_sys::fs::xattr;

use crate::Result;

/// Names and values, sorted by name.
pub type Xattrs = Vec<(Vec<u8>, Vec<u8>)>;

/// Whether an attribute is part of what a file is, in both directions:
///
/// | attribute | kept | why |
/// |---|---|---|
/// | `security.capability` | yes | what a program may do |
/// | `user.overlay.*` | no | an instruction to overlayfs, not content |
/// | other `user.*` | yes | content |
/// | `trusted.*` | no | `trusted.overlay.*` steers overlayfs, the rest belongs to the host |
/// | `security.*` (SELinux, IMA, EVM, …) | no | labels of the host's policy |
/// | `system.*` (ACLs) | no | named by numbers of the host; image tools drop them too |
pub fn is_content(name: &[u8]) -> bool {
    name == b"security.capability" || name.starts_with(b"user.") && !name.starts_with(b"user.overlay.")
}

/// The attributes of `name` in `dir` that are content.
pub fn read(dir: BorrowedFd<'_>, name: &Path) -> Result<Xattrs> {
    let mut found = Vec::new();
    for attribute in xattr::list(dir, name)? {
        if is_content(attribute.as_bytes())
            && let Some(value) = xattr::get(dir, name, &attribute)?
        {
            found.push((attribute.into_vec(), value));
        }
    }
    found.sort_unstable();
    Ok(found)
}
