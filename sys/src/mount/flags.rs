//! Flags of a mount.

use std::ops::{BitOr, BitOrAssign};

/// `MS_*` flags of a mount.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MountFlags(pub u64);

impl MountFlags {
    /// Nothing special.
    pub const NONE: Self = Self(0);
    /// `MS_RDONLY`.
    pub const READONLY: Self = Self(libc::MS_RDONLY);
    /// `MS_NOSUID`.
    pub const NOSUID: Self = Self(libc::MS_NOSUID);
    /// `MS_NODEV`.
    pub const NODEV: Self = Self(libc::MS_NODEV);
    /// `MS_NOEXEC`.
    pub const NOEXEC: Self = Self(libc::MS_NOEXEC);
    /// `MS_STRICTATIME`.
    pub const STRICTATIME: Self = Self(libc::MS_STRICTATIME);
    /// `MS_NOATIME`.
    pub const NOATIME: Self = Self(libc::MS_NOATIME);
    /// `MS_BIND`: `source` is a path that is bound.
    pub const BIND: Self = Self(libc::MS_BIND);
    /// `MS_REC`: a bind takes the mounts below it along.
    pub const REC: Self = Self(libc::MS_REC);
    /// `MS_PRIVATE`.
    pub const PRIVATE: Self = Self(libc::MS_PRIVATE);
    /// `MS_SLAVE`.
    pub const SLAVE: Self = Self(libc::MS_SLAVE);
    /// `MS_SHARED`.
    pub const SHARED: Self = Self(libc::MS_SHARED);

    /// Whether all of `other` is set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both sets together.
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The part that the new mount calls take as attributes.
    pub(super) fn attributes(self) -> u64 {
        let mut attr = 0;
        for (flag, bit) in [
            (Self::READONLY, libc::MOUNT_ATTR_RDONLY),
            (Self::NOSUID, libc::MOUNT_ATTR_NOSUID),
            (Self::NODEV, libc::MOUNT_ATTR_NODEV),
            (Self::NOEXEC, libc::MOUNT_ATTR_NOEXEC),
            (Self::STRICTATIME, libc::MOUNT_ATTR_STRICTATIME),
            (Self::NOATIME, libc::MOUNT_ATTR_NOATIME),
        ] {
            if self.contains(flag) {
                attr |= bit;
            }
        }
        attr
    }

    /// The propagation that is asked for, as `MS_*`, or none.
    pub(super) fn propagation(self) -> u64 {
        self.0 & (Self::PRIVATE.0 | Self::SLAVE.0 | Self::SHARED.0)
    }
}

impl BitOr for MountFlags {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        self.union(other)
    }
}

impl BitOrAssign for MountFlags {
    fn bitor_assign(&mut self, other: Self) {
        *self = self.union(other);
    }
}
