//! File operations of LLB.

use bollard_buildkit_proto::pb;
use bollard_buildkit_proto::pb::file_action::Action;
use kiln_engine::{Error, Result};
use kiln_graph::{ActionInput, ChmodSpec, CopyAction, FileAction, FileOp, Owner, Principal};

use super::{Inputs, Reading, wrong};

/// The most actions of one operation.
const MAX_ACTIONS: usize = 10_000;
/// A mode that says nothing.
const UNSET: i32 = -1;

impl Reading<'_> {
    pub(super) fn file(&mut self, file: pb::FileOp, inputs: &mut Inputs) -> Result<FileOp> {
        let count = file.actions.len();
        if count == 0 || count > MAX_ACTIONS {
            return Err(wrong(format!("a file operation of {count} actions")));
        }
        let given = inputs.edges.len();
        let mut actions = Vec::with_capacity(count);
        for (number, action) in file.actions.into_iter().enumerate() {
            let is_last = number + 1 == count;
            // Only what the last one makes has a name in the graph.
            if (action.output >= 0) != is_last || action.output > 0 {
                return Err(Error::not_implemented("a file operation with several results"));
            }
            actions.push(self.action(action, given, inputs)?);
        }
        Ok(FileOp { actions })
    }

    fn action(&mut self, action: pb::FileAction, given: usize, inputs: &mut Inputs) -> Result<FileAction> {
        let pb::FileAction { input, secondary_input, action, .. } = action;
        let input = self.changed(input, given, inputs)?;
        match action.ok_or_else(|| wrong("a file action that does nothing"))? {
            Action::Copy(copy) => {
                let source = read(secondary_input, given)?;
                Ok(FileAction::Copy(CopyAction { input, source, ..copied(copy)? }))
            }
            Action::Mkfile(file) => {
                let (path, mode) = (absolute(&file.path)?, mode(file.mode)?.unwrap_or(0o644));
                Ok(FileAction::Mkfile { input, path, data: file.data, mode, owner: owner(file.owner)? })
            }
            Action::Mkdir(dir) => {
                let (path, mode) = (absolute(&dir.path)?, mode(dir.mode)?.unwrap_or(0o755));
                let (make_parents, owner) = (dir.make_parents, owner(dir.owner)?);
                Ok(FileAction::Mkdir { input, path, mode, make_parents, owner })
            }
            Action::Rm(rm) => {
                let (allow_wildcard, allow_missing) = (rm.allow_wildcard, rm.allow_not_found);
                Ok(FileAction::Rm { input, path: absolute(&rm.path)?, allow_wildcard, allow_missing })
            }
            Action::Symlink(link) => {
                if link.oldpath.is_empty() || link.oldpath.contains('\0') {
                    return Err(wrong("a link to no path"));
                }
                let (path, owner) = (absolute(&link.newpath)?, owner(link.owner)?);
                Ok(FileAction::Symlink { input, target: link.oldpath, path, owner })
            }
        }
    }

    /// What an action changes.
    fn changed(&mut self, input: i64, given: usize, inputs: &mut Inputs) -> Result<ActionInput> {
        let input = read(input, given)?;
        let ActionInput::Input(position) = input else { return Ok(input) };
        let edge = inputs.edges[position as usize];
        let layers = self.layers(edge)?;
        if layers == edge {
            return Ok(input);
        }
        inputs.edges.push(layers);
        Ok(ActionInput::Input((inputs.edges.len() - 1) as u32))
    }
}

/// What the wire names: an input, or behind those what an earlier action made.
fn read(input: i64, given: usize) -> Result<ActionInput> {
    let unknown = || wrong(format!("input {input} of a file action is not there"));
    match u32::try_from(input) {
        Ok(position) if (position as usize) < given => Ok(ActionInput::Input(position)),
        Ok(position) => {
            let behind = u32::try_from(given).ok().and_then(|given| position.checked_sub(given));
            behind.map(ActionInput::Action).ok_or_else(unknown)
        }
        Err(_) if input == -1 => Ok(ActionInput::Scratch),
        Err(_) => Err(unknown()),
    }
}

fn copied(copy: pb::FileActionCopy) -> Result<CopyAction> {
    if !copy.include_patterns.is_empty() || !copy.required_paths.is_empty() {
        return Err(Error::not_implemented("a copy with include patterns"));
    }
    if copy.always_replace_existing_dest_paths {
        return Err(Error::not_implemented("a copy that replaces what is of another kind"));
    }
    let mode = match (copy.mode_str.as_str(), mode(copy.mode)?) {
        ("", mode) => mode.map(ChmodSpec::Octal),
        (text, _) => Some(ChmodSpec::parse(text).map_err(|error| wrong(error.to_string()))?),
    };
    let dest = absolute(&copy.dest)?;
    Ok(CopyAction {
        owner: owner(copy.owner)?,
        mode,
        unpack: copy.attempt_unpack_docker_compatibility,
        contents_only: copy.dir_copy_contents,
        create_dest_parents: copy.create_dest_path,
        follow_symlinks: copy.follow_symlink,
        allow_wildcard: copy.allow_wildcard,
        allow_empty_wildcard: copy.allow_empty_wildcard,
        exclude: copy.exclude_patterns,
        parents: false,
        ..CopyAction::new(vec![absolute(&copy.src)?], dest)
    })
}

fn mode(mode: i32) -> Result<Option<u32>> {
    match u32::try_from(mode) {
        Ok(mode) if mode <= 0o7777 => Ok(Some(mode)),
        Err(_) if mode == UNSET => Ok(None),
        _ => Err(wrong(format!("{mode} is no permission"))),
    }
}

/// `..` never leads out of a filesystem, so it need not be refused.
fn absolute(path: &str) -> Result<String> {
    match path.contains('\0') {
        true => Err(wrong(format!("`{}` is no path", path.escape_debug()))),
        false if path.starts_with('/') => Ok(path.to_owned()),
        false => Ok(format!("/{path}")),
    }
}

fn owner(owner: Option<pb::ChownOpt>) -> Result<Option<Owner>> {
    let Some(pb::ChownOpt { user, group }) = owner else { return Ok(None) };
    let principal = |principal: Option<pb::UserOpt>| {
        principal.and_then(|principal| principal.user).map(|user| match user {
            pb::user_opt::User::ByName(name) => Principal::parse(&name.name),
            pb::user_opt::User::ById(id) => Principal::Id(id),
        })
    };
    let owner = Owner { user: principal(user), group: principal(group) };
    owner.check().map_err(|error| wrong(error.to_string()))?;
    Ok((owner.user.is_some() || owner.group.is_some()).then_some(owner))
}
