//! `RUN --mount=type=bind`: a tree of a stage, an image or a context. What is written to it is thrown away.

use std::sync::Arc;

use kiln_runtime::{MountKind, Tree};
use kiln_snapshot::copy::{CopyOptions, Parents, copy};
use kiln_sys::fs::{Owner, Root};
use kiln_sys::mount::clone_beneath;

use super::{Guard, Preparing, missing, relative};
use crate::context::LocalFiles;
use crate::error::Cause;
use crate::stores::Stores;
use crate::value::{Layers, Value};
use crate::workspace::{View, Workspace};

/// Files of a context belong to root, whoever has them on the host.
const ROOT: Owner = Owner { uid: 0, gid: 0 };

impl Preparing<'_> {
    /// A tree of an input: always a copy or a view, never the original.
    pub(super) fn bind(
        &mut self,
        input: Option<u32>,
        source: &str,
        target: &str,
        readonly: bool,
    ) -> Result<(), Cause> {
        let value = self.value(input)?;
        let (root, guard) = match &value {
            Value::Layers(layers) if readonly => viewed(self.stores, layers)?,
            Value::Layers(layers) => {
                let workspace = Workspace::on(&self.stores.store, layers)?;
                (workspace.root()?, Box::new(workspace) as Guard)
            }
            Value::Files(files) => copied(self.stores, files, source)?,
        };
        let tree = clone_beneath(&root, &relative(source)).map_err(|error| match error.is_not_found() {
            true => missing(source, &value),
            false => error.into(),
        })?;
        self.push(MountKind::Tree(Tree(Arc::new(tree))), target, readonly);
        self.prepared.guards.push(guard);
        Ok(())
    }
}

/// Layers to look at, as a mount that nobody else sees.
pub(super) fn viewed(stores: &Stores, layers: &Layers) -> Result<(Root, Guard), Cause> {
    let view = View::of(&stores.store, layers)?;
    Ok((view.root()?, Box::new(view)))
}

/// What a context has at `source`, at the same path of a filesystem of its own.
pub(super) fn copied(stores: &Stores, files: &LocalFiles, source: &str) -> Result<(Root, Guard), Cause> {
    let workspace = Workspace::on(&stores.store, &Layers::scratch())?;
    let root = workspace.root()?;
    let path = relative(source);
    if !files.shows(&path) {
        return Err(files.missing(source, &path));
    }
    let beneath = files.beneath(&path);
    let options = CopyOptions {
        owner: Some(ROOT),
        filter: Some(&beneath),
        parents: Some(Parents { mode: 0o755, owner: ROOT }),
        follow_source: true,
        ..CopyOptions::exact()
    };
    copy(&files.root, &path, &root, &path, &options)?;
    Ok((root, Box::new(workspace) as Guard))
}
