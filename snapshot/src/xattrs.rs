//! Which extended attributes enter a layer or leave it.

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
