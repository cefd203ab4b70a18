//! Safe wrappers over the Linux calls kiln uses; the only crate with `unsafe`.
//!
//! Every function names the call that failed, the object it failed on and the error number
//! ([`error::Error`]). Everything that touches a tree somebody else may have written works
//! beneath a directory descriptor ([`fs::Root`]), never through a re-resolved path.
//!
//! Linux 5.12 or newer is required: `openat2`, the descriptor based mount calls and
//! `mount_setattr` have no fallback here.

pub mod bpf;
pub mod caps;
pub mod child;
pub mod error;
pub mod fd;
pub mod fs;
pub mod memory;
pub mod mount;
pub mod namespace;
pub mod netlink;
pub mod poll;
pub mod process;
pub mod pty;
pub mod seccomp;
pub mod user_namespace;

pub use error::{Error, Result};
/// Error numbers as the kernel reports them.
pub use rustix::io::Errno;
