//! Files beneath a directory descriptor.
//!
//! [`Root`] resolves paths inside a tree somebody else may have written; the functions of [`at`]
//! then work on one name in one directory descriptor and follow nothing.

pub mod at;
pub mod copy;
pub mod dir;
mod lock;
mod root;
pub mod stat;
mod whole;
pub mod xattr;

pub use at::*;
pub use copy::{copy_data, reflink};
pub use dir::{Entry, read_dir, remove_tree};
pub use lock::{FileLock, lock_file, try_lock_file};
pub use root::{CreatedDir, Owner, Root};
pub use stat::{FileType, Stat, Time};
pub use whole::WholeFile;
