//! The operation that edits files.

use crate::ChmodSpec;

/// Edits files: actions in order, the last one's result is the output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileOp {
    /// What is done; never empty.
    pub actions: Vec<FileAction>,
}

/// The filesystem that an action changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ActionInput {
    /// The empty one.
    Scratch,
    /// A vertex input.
    Input(u32),
    /// What an earlier action made.
    Action(u32),
}

/// One edit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileAction {
    /// Copies from an input.
    Copy(CopyAction),
    /// Writes a file.
    Mkfile {
        /// What is changed.
        input: ActionInput,
        /// Where, absolute; parents must exist.
        path: String,
        /// The content.
        data: Vec<u8>,
        /// Permissions.
        mode: u32,
        /// Owner; root where not given.
        owner: Option<Owner>,
    },
    /// Makes a directory; one that exists stays as it is.
    Mkdir {
        /// What is changed.
        input: ActionInput,
        /// Where, absolute.
        path: String,
        /// Permissions.
        mode: u32,
        /// Whether missing parents are made too, with the same mode and owner.
        make_parents: bool,
        /// Owner; root where not given.
        owner: Option<Owner>,
    },
    /// Removes a path and everything beneath it.
    Rm {
        /// What is changed.
        input: ActionInput,
        /// Which, absolute.
        path: String,
        /// Whether Go wildcards in `path` are expanded.
        allow_wildcard: bool,
        /// Whether absence is no error.
        allow_missing: bool,
    },
    /// Makes a symbolic link.
    Symlink {
        /// What is changed.
        input: ActionInput,
        /// What the link says.
        target: String,
        /// Where the link is, absolute.
        path: String,
        /// Owner; root where not given.
        owner: Option<Owner>,
    },
}

/// Copies from an input, as `COPY` and `ADD` do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyAction {
    /// What is changed.
    pub input: ActionInput,
    /// Where the files come from: a vertex input, or what an earlier action made.
    pub source: ActionInput,
    /// Paths inside the source, absolute and clean; `..` never leads out.
    pub paths: Vec<String>,
    /// Absolute; a final `/` means a directory.
    pub dest: String,
    /// Owner of everything copied; root where not given.
    pub owner: Option<Owner>,
    /// Permissions of everything copied; as in the source where not given.
    pub mode: Option<ChmodSpec>,
    /// Whether archives are unpacked (told by content; `dest` is then a directory).
    pub unpack: bool,
    /// Whether a directory's contents are copied instead of itself.
    pub contents_only: bool,
    /// Whether missing parents of `dest` are made (0755, owned by `owner`).
    pub create_dest_parents: bool,
    /// Whether a path that is a symbolic link stands for its target, inside the source.
    pub follow_symlinks: bool,
    /// Whether Go wildcards in `paths` are expanded.
    pub allow_wildcard: bool,
    /// Whether a wildcard may match nothing. A path without wildcards must always exist.
    pub allow_empty_wildcard: bool,
    /// Paths left out, relative to each copied root, [`crate::ignore::IgnoreFile`].
    pub exclude: Vec<String>,
    /// Whether the parents of each path are kept under `dest`; a `/./` in a path says from where on.
    /// Wildcards then may be `**`.
    pub parents: bool,
}

/// Who owns a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// The user, looked up in the destination's `/etc/passwd` where it is a name.
    pub user: Option<Principal>,
    /// The group, looked up in the destination's `/etc/group` where it is a name. Where not given: the same number
    /// as a numeric user's, a named user's group of `/etc/passwd`.
    pub group: Option<Principal>,
}

/// A user or a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Principal {
    /// By number.
    Id(u32),
    /// By name.
    Name(String),
}

/// Why a text is no owner: what looks like a number is never taken for a name, which an image could map to root.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid user or group `{0}`: numbers are 0 to 4294967294, without sign or leading zeros")]
pub struct OwnerError(String);

impl Principal {
    /// A number where the text is one as it is usually written, else a name.
    pub fn parse(text: &str) -> Self {
        let number = text.parse().ok().filter(|id: &u32| id.to_string() == text);
        number.map_or_else(|| Principal::Name(text.to_owned()), Principal::Id)
    }

    fn check(&self) -> Result<(), OwnerError> {
        let is_odd = |c: char| c.is_whitespace() || c.is_control();
        match self {
            // The largest number means "do not change" to chown.
            Principal::Id(u32::MAX) => Err(OwnerError(u32::MAX.to_string())),
            Principal::Id(_) => Ok(()),
            Principal::Name(name)
                if name.contains(is_odd)
                    || name.trim_matches(['+', '-']).bytes().all(|b| b.is_ascii_digit()) =>
            {
                Err(OwnerError(name.clone()))
            }
            Principal::Name(_) => Ok(()),
        }
    }
}

impl Owner {
    /// `user[:group]`; `None` for the empty text.
    pub fn parse(text: &str) -> Option<Self> {
        let part = |text: &str| (!text.is_empty()).then(|| Principal::parse(text));
        let (user, group) = text.split_once(':').unwrap_or((text, ""));
        let owner = Owner { user: part(user), group: part(group) };
        (owner.user.is_some() || owner.group.is_some()).then_some(owner)
    }

    /// Fails where user or group looks like a number and is none.
    pub fn check(&self) -> Result<(), OwnerError> {
        [&self.user, &self.group].into_iter().flatten().try_for_each(Principal::check)
    }

    /// The first of user and group that is a name.
    pub fn name(&self) -> Option<&str> {
        [&self.user, &self.group].into_iter().flatten().find_map(|principal| match principal {
            Principal::Id(_) => None,
            Principal::Name(name) => Some(name.as_str()),
        })
    }
}

impl CopyAction {
    /// What `COPY path dest` does, onto input 0 from input 1.
    pub fn new(paths: Vec<String>, dest: impl Into<String>) -> Self {
        CopyAction {
            input: ActionInput::Input(0),
            source: ActionInput::Input(1),
            paths,
            dest: dest.into(),
            owner: None,
            mode: None,
            unpack: false,
            contents_only: true,
            create_dest_parents: true,
            follow_symlinks: true,
            allow_wildcard: true,
            allow_empty_wildcard: true,
            exclude: Vec::new(),
            parents: false,
        }
    }
}

impl FileAction {
    /// What the action changes.
    pub fn input(&self) -> ActionInput {
        match self {
            FileAction::Copy(copy) => copy.input,
            FileAction::Mkfile { input, .. }
            | FileAction::Mkdir { input, .. }
            | FileAction::Rm { input, .. }
            | FileAction::Symlink { input, .. } => *input,
        }
    }

    /// Where the action's files come from, for a copy.
    pub fn source(&self) -> Option<ActionInput> {
        match self {
            FileAction::Copy(copy) => Some(copy.source),
            _ => None,
        }
    }

    /// `copy`, `mkfile`, `mkdir`, `rm` or `symlink`.
    pub fn kind(&self) -> &'static str {
        match self {
            FileAction::Copy(_) => "copy",
            FileAction::Mkfile { .. } => "mkfile",
            FileAction::Mkdir { .. } => "mkdir",
            FileAction::Rm { .. } => "rm",
            FileAction::Symlink { .. } => "symlink",
        }
    }

    fn refers_to(&self) -> impl Iterator<Item = ActionInput> {
        [Some(self.input()), self.source()].into_iter().flatten()
    }
}

impl FileOp {
    pub(crate) fn highest_input(&self) -> Option<u32> {
        let input = |input| match input {
            ActionInput::Input(index) => Some(index),
            ActionInput::Scratch | ActionInput::Action(_) => None,
        };
        self.actions.iter().flat_map(FileAction::refers_to).filter_map(input).max()
    }

    /// Whether every action names only actions before it.
    pub(crate) fn is_ordered(&self) -> bool {
        let earlier = |at: usize, input| !matches!(input, ActionInput::Action(index) if index as usize >= at);
        self.actions.iter().enumerate().all(|(at, action)| action.refers_to().all(|input| earlier(at, input)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_a_number_is_never_a_name() {
        for good in ["0", "1000:1000", "web", "web:33", ":staff", "4294967294", "a1", "4x"] {
            Owner::parse(good).unwrap().check().unwrap_or_else(|error| panic!("{good}: {error}"));
        }
        for bad in
            ["4294967295", "4294967296", "-1", "+1", "00", "1:4294967296", "web:-1", " 0", "a\n", "1:007"]
        {
            assert!(Owner::parse(bad).unwrap().check().is_err(), "{bad}");
        }
        assert_eq!(Owner::parse("1:staff").unwrap().name(), Some("staff"));
        assert_eq!(Owner::parse("1:2").unwrap().name(), None);
    }
}
