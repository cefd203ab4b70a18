//! Options of a file system, and their classic form as one string.

use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// One option of the file system itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MountOption {
    /// An option without a value, such as `volatile`.
    Flag(String),
    /// An option with a value. An overlay has one `lowerdir+` for each lower directory, top first.
    Value(String, PathBuf),
    /// An option whose value is an open directory or mount.
    Descriptor(String, Descriptor),
}

/// An open directory or mount; the same one is equal to itself alone.
#[derive(Clone, Debug)]
pub struct Descriptor(pub(super) Arc<OwnedFd>);

impl PartialEq for Descriptor {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Descriptor {}

impl MountOption {
    /// An option without a value.
    pub fn flag(name: &str) -> Self {
        Self::Flag(name.to_owned())
    }

    /// An option with a value.
    pub fn value(name: &str, value: impl Into<PathBuf>) -> Self {
        Self::Value(name.to_owned(), value.into())
    }

    /// An option whose value is an open directory or mount. Not every kernel takes such.
    pub fn descriptor(name: &str, value: Arc<OwnedFd>) -> Self {
        Self::Descriptor(name.to_owned(), Descriptor(value))
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        match self {
            Self::Flag(name) | Self::Value(name, _) | Self::Descriptor(name, _) => name,
        }
    }
}

/// The classic option string of a mount, for `mount(2)`; `None` when it does not fit a page, or has descriptors.
pub fn option_string(data: &[MountOption]) -> Option<CString> {
    const PAGE: usize = 4096;
    let mut text = Vec::new();
    let mut lowers = Vec::new();
    for option in data {
        match option {
            MountOption::Flag(name) => push(&mut text, name.as_bytes()),
            MountOption::Descriptor(..) => return None,
            MountOption::Value(name, value) if name == "lowerdir+" => lowers.push(escape(value)?),
            MountOption::Value(name, value) => {
                push(&mut text, &[name.as_bytes(), b"=", value.as_os_str().as_bytes()].concat());
            }
        }
    }
    if !lowers.is_empty() {
        push(&mut text, &[b"lowerdir=", lowers.join(&b':').as_slice()].concat());
    }
    if text.len() >= PAGE { None } else { CString::new(text).ok() }
}

fn push(text: &mut Vec<u8>, option: &[u8]) {
    if !text.is_empty() {
        text.push(b',');
    }
    text.extend_from_slice(option);
}

/// A lower directory's path, if it can stand in an option string as it is.
fn escape(path: &Path) -> Option<Vec<u8>> {
    let bytes = path.as_os_str().as_bytes();
    (!bytes.iter().any(|b| matches!(b, b':' | b',' | b'\\'))).then(|| bytes.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_join_lower_directories() {
        let data = [
            MountOption::value("lowerdir+", "/a"),
            MountOption::value("lowerdir+", "/b"),
            MountOption::flag("volatile"),
        ];
        assert_eq!(option_string(&data).unwrap().to_str().unwrap(), "volatile,lowerdir=/a:/b");
        assert_eq!(option_string(&[MountOption::value("lowerdir+", "/a:b")]), None);
    }
}
