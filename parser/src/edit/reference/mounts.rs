//! `RUN --mount`: the types and their options.

/// An option of a mount.
#[derive(Debug)]
pub(crate) struct MountOption {
    /// The key.
    pub(crate) name: &'static str,
    /// The types that have it.
    pub(crate) kinds: &'static [&'static str],
    /// What it does.
    pub(crate) about: &'static str,
}

/// The types, each with what it is.
pub(crate) const MOUNT_KINDS: &[(&str, &str)] = &[
    ("bind", "Files of the build context, of a stage or of an image, read-only unless `rw` is given."),
    ("cache", "A directory that is kept from build to build and never becomes part of the image."),
    ("tmpfs", "An empty directory in memory for this step."),
    ("secret", "A file or a variable with a secret, which reaches no layer and no cache."),
    ("ssh", "The socket of an SSH agent, to use keys without copying them."),
];

const ALL: &[&str] = &["bind", "cache", "tmpfs", "secret", "ssh"];

/// The options; of those with several names, the usual one.
pub(crate) const MOUNT_OPTIONS: &[MountOption] = &[
    MountOption { name: "type", kinds: ALL, about: "What is mounted; `bind` if it is not given." },
    MountOption { name: "target", kinds: ALL, about: "Where it is mounted (also `dst`, `destination`)." },
    MountOption {
        name: "source",
        kinds: &["bind", "cache", "secret"],
        about: "The path in `from`, or a secret's id (also `src`).",
    },
    MountOption {
        name: "from",
        kinds: &["bind", "cache", "tmpfs"],
        about: "The stage, image or named context that files come from.",
    },
    MountOption { name: "readonly", kinds: ALL, about: "It cannot be written (also `ro`)." },
    MountOption {
        name: "readwrite",
        kinds: ALL,
        about: "It can be written (also `rw`); what is written to a bind mount is thrown away.",
    },
    MountOption {
        name: "id",
        kinds: ALL,
        about: "The name that caches, secrets and agents are told apart by.",
    },
    MountOption {
        name: "sharing",
        kinds: &["cache"],
        about: "What happens when two steps want it at once: `shared`, `private` or `locked`.",
    },
    MountOption { name: "mode", kinds: &["cache", "secret", "ssh"], about: "File mode, octal." },
    MountOption { name: "uid", kinds: &["cache", "secret", "ssh"], about: "The owner's user id." },
    MountOption { name: "gid", kinds: &["cache", "secret", "ssh"], about: "The owner's group id." },
    MountOption {
        name: "required",
        kinds: &["secret", "ssh"],
        about: "The step fails when the build was not given it.",
    },
    MountOption { name: "env", kinds: &["secret"], about: "The variable that holds the secret." },
    MountOption { name: "size", kinds: &["tmpfs"], about: "The most it may hold, as `64m`." },
];
