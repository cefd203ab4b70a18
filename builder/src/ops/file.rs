//! The op that edits files: `COPY`, `ADD`, `WORKDIR` and here-documents, without a container. What it does is described and
//! packed where that is possible, and done in a directory where it is not.

mod archive;
mod copy;
mod describe;
mod owner;
#[cfg(test)]
mod tests;

use std::io::Write;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::BoxFuture;
use kiln_cache::Known;
use kiln_graph::{ActionInput, CopyAction, FileAction, FileOp};
use kiln_oci::{Digest, Digester};
use kiln_sys::fs::{self, Root};

use self::describe::Listings;
use super::{Digests, Op};
use crate::context::LocalFiles;
use crate::error::Cause;
use crate::flight::Crowd;
use crate::forms::Forms;
use crate::pull;
use crate::select::{self, Found, Source};
use crate::solver::blocking;
use crate::stores::Stores;
use crate::value::{Layers, Value};
use crate::workspace::{View, Workspace};

/// Edits files.
#[derive(Debug)]
pub struct File {
    stores: Arc<Stores>,
    op: Arc<FileOp>,
    digests: Digests,
    forms: Forms,
    /// What was listed for a key: it is not listed again, and what is copied is that.
    listings: Arc<Mutex<Listings>>,
}

impl File {
    /// The edits of `op`, whose layer is made in `forms` where it is described.
    pub fn new(stores: Arc<Stores>, op: FileOp, digests: Digests, forms: Forms) -> Self {
        File { stores, op: Arc::new(op), digests, forms, listings: Arc::default() }
    }

    /// The copies that take from input `input`, with the numbers of their actions.
    fn copies_from(&self, input: usize) -> Vec<(usize, CopyAction)> {
        let copies = self.op.actions.iter().enumerate().filter_map(|(at, action)| match action {
            FileAction::Copy(copy) if copy.source == ActionInput::Input(number(input)) => {
                Some((at, copy.clone()))
            }
            _ => None,
        });
        copies.collect()
    }

    /// The inputs that files are copied from.
    fn sources<'a>(&self, inputs: &'a [Value]) -> Vec<&'a Layers> {
        let is_source = |input: &usize| !self.copies_from(*input).is_empty();
        (0..inputs.len()).filter(is_source).filter_map(|input| inputs[input].layers()).collect()
    }

    /// The layers without a copied file; the listings back if that cannot be. The base is unpacked only where nobody knows its
    /// shape.
    async fn describe(
        &self,
        base: &Layers,
        inputs: &[Value],
        listings: Listings,
        crowd: &Crowd,
    ) -> Result<Result<Layers, Listings>, Cause> {
        if !describe::is_describable(&self.op) {
            return Ok(Err(listings));
        }
        let known = match self.known(base).await? {
            Some(known) => known,
            None => {
                pull::unpack(&self.stores, base, crowd).await?;
                let Some(known) = self.known(base).await? else { return Ok(Err(listings)) };
                known
            }
        };
        let (store, op, cancel) = (self.stores.store.clone(), self.op.clone(), crowd.cancel().clone());
        let (base, inputs, forms) = (base.clone(), inputs.to_vec(), self.forms);
        blocking(move || {
            let known = describe::Base::of(&store, &base, known)?;
            let mut opened = Vec::new();
            let recipe = describe::describe(&store, &op, known, &inputs, &listings, &mut opened)?;
            let Some(mut recipe) = recipe else { return Ok(Err(listings)) };
            // Of many files each of the two takes memory, and the recipe says all that counts from here on.
            drop(listings);
            if cancel.is_cancelled() {
                return Err(Cause::Cancelled);
            }
            make(&store, &base, &mut recipe, forms).map(Ok)
        })
        .await
    }

    /// What was listed for a key, read where the key did not take that.
    async fn listings(&self, inputs: &[Value]) -> Result<Listings, Cause> {
        let mut listings = std::mem::take(&mut *self.listings.lock().unwrap_or_else(PoisonError::into_inner));
        let (store, op, inputs) = (self.stores.store.clone(), self.op.clone(), inputs.to_vec());
        blocking(move || {
            for (at, found) in &mut listings {
                if let Some(FileAction::Copy(copy)) = op.actions.get(*at)
                    && let ActionInput::Input(input) = copy.source
                    && let Some(value) = inputs.get(input as usize)
                {
                    select::read(Opened::new(&store, value)?.source(), copy, found)?;
                }
            }
            Ok(listings)
        })
        .await
    }

    /// What is known of `base` without unpacking more of it.
    async fn known(&self, base: &Layers) -> Result<Option<Known>, Cause> {
        let (store, ids) = (self.stores.store.clone(), base.diff_ids());
        blocking(move || Ok(store.layers.known(&ids)?)).await
    }

    /// Whether the edits change input `input`, so that all of it counts.
    fn changes(&self, input: usize) -> bool {
        self.op.actions.iter().any(|action| action.input() == ActionInput::Input(number(input)))
    }

    /// The layers that the first action changes; later actions go on where the one before ended.
    fn base(&self, inputs: &[Value]) -> Result<Layers, Cause> {
        let follows = |(at, action): (usize, &FileAction)| action.input() == ActionInput::Action(number(at));
        if !self.op.actions.iter().skip(1).enumerate().all(follows) {
            return Err(Cause::Unsupported("a file operation whose actions are not a chain".to_owned()));
        }
        match self.op.actions.first().map(FileAction::input) {
            Some(ActionInput::Input(input)) => match inputs.get(input as usize) {
                Some(Value::Layers(layers)) => Ok(layers.clone()),
                _ => Err(Cause::Invalid("a local context cannot be written to".to_owned())),
            },
            _ => Ok(Layers::scratch()),
        }
    }
}

fn number(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}

impl Op for File {
    fn definition(&self) -> Digest {
        self.digests.definition.clone()
    }

    fn content_definition(&self) -> Digest {
        self.digests.content.clone()
    }

    fn shows_files(&self) -> bool {
        true
    }

    fn content<'a>(&'a self, input: usize, value: &'a Value) -> BoxFuture<'a, Result<Digest, Cause>> {
        Box::pin(async move {
            let copies = self.copies_from(input);
            if copies.is_empty() || self.changes(input) {
                return Ok(value.digest());
            }
            if let Value::Layers(layers) = value {
                pull::unpack(&self.stores, layers, &crate::progress::Silent).await?;
            }
            let (store, value, listings) = (self.stores.store.clone(), value.clone(), self.listings.clone());
            blocking(move || {
                let opened = Opened::new(&store, &value)?;
                let mut all = Digester::sha256();
                for (at, copy) in &copies {
                    let (digest, found) = taken(opened.source(), copy)?;
                    all.update(digest.as_str().as_bytes());
                    // Layers are mounted anew for the copy, and each mount has a device number of its own.
                    if matches!(value, Value::Files(_)) {
                        listings.lock().unwrap_or_else(PoisonError::into_inner).insert(*at, found);
                    }
                }
                Ok(all.finish())
            })
            .await
        })
    }

    fn run<'a>(&'a self, inputs: Vec<Value>, crowd: &'a Crowd) -> BoxFuture<'a, Result<Vec<Value>, Cause>> {
        Box::pin(async move {
            let base = self.base(&inputs)?;
            for layers in self.sources(&inputs) {
                pull::unpack(&self.stores, layers, crowd).await?;
            }
            let listings = self.listings(&inputs).await?;
            let listings = match self.describe(&base, &inputs, listings, crowd).await? {
                Ok(layers) => return Ok(vec![Value::Layers(layers)]),
                Err(listings) => listings,
            };
            pull::unpack(&self.stores, &base, crowd).await?;
            let (stores, op, cancel) = (self.stores.clone(), self.op.clone(), crowd.cancel().clone());
            let layers = blocking(move || {
                let workspace = Workspace::on(&stores.store, &base)?;
                let target = workspace.root()?;
                for (number, action) in op.actions.iter().enumerate() {
                    if cancel.is_cancelled() {
                        return Err(Cause::Cancelled);
                    }
                    perform(&stores, action, listings.get(&number).map(Vec::as_slice), &inputs, &target)?;
                }
                drop(target);
                workspace.commit()
            });
            Ok(vec![Value::Layers(layers.await?)])
        })
    }
}

/// The layer of `recipe` on `base`. Where its files are wanted they get their directory at once, unless a base is not unpacked yet:
/// that and a tar can be written at the same time.
fn make(
    store: &kiln_cache::Store,
    base: &Layers,
    recipe: &mut kiln_snapshot::Recipe,
    forms: Forms,
) -> Result<Layers, Cause> {
    let lease = Arc::new(store.leases.create()?);
    let below = base.diff_ids();
    if forms.unpacked && !below.is_empty() && store.layers.is_unpacked(&below)? {
        let layer = store.layers.commit_unpacked(&lease, recipe, &below, forms.packing)?;
        return Ok(base.push(layer, Some(lease)));
    }
    let layer = store.layers.commit_recipe(&lease, recipe, base.chain_id().as_ref())?;
    Ok(base.push_packed(layer, lease))
}

/// The digest of what `copy` takes of `source`, and all of it: read, unless it is known to be what it was.
fn taken(source: Source<'_>, copy: &CopyAction) -> Result<(Digest, Vec<Found>), Cause> {
    let mut found = select::list(source, copy)?;
    let Some(index) = source.files.and_then(LocalFiles::index) else {
        return Ok((select::read(source, copy, &mut found)?, found));
    };
    let (stamp, newest) = select::stamp(copy, &found);
    if let Some(digest) = index.tree(&stamp) {
        return Ok((digest, found));
    }
    let digest = select::read(source, copy, &mut found)?;
    index.put_tree(&stamp, newest, &digest);
    Ok((digest, found))
}

/// An input, ready to be read.
enum Opened<'a> {
    Files(&'a LocalFiles),
    Layers { root: Root, _view: View },
}

impl<'a> Opened<'a> {
    fn new(store: &Arc<kiln_cache::Store>, value: &'a Value) -> Result<Opened<'a>, Cause> {
        Ok(match value {
            Value::Files(files) => Opened::Files(files),
            Value::Layers(layers) => {
                let view = View::of(store, layers)?;
                Opened::Layers { root: view.root()?, _view: view }
            }
        })
    }

    fn source(&self) -> Source<'_> {
        match self {
            Opened::Files(files) => Source { root: &files.root, files: Some(files) },
            Opened::Layers { root, .. } => Source { root, files: None },
        }
    }
}

/// Does what an action says in a directory. What a copy takes may have been listed for a key.
fn perform(
    stores: &Stores,
    action: &FileAction,
    listing: Option<&[Found]>,
    inputs: &[Value],
    target: &Root,
) -> Result<(), Cause> {
    match action {
        FileAction::Copy(copy) => {
            let ActionInput::Input(source) = copy.source else {
                return Err(Cause::Unsupported("a copy from an earlier file action".to_owned()));
            };
            let value =
                inputs.get(source as usize).ok_or_else(|| Cause::Invalid("a missing input".to_owned()))?;
            let opened = Opened::new(&stores.store, value)?;
            copy::copy(opened.source(), copy, listing, target)
        }
        FileAction::Mkfile { input: _, path, data, mode, owner } => {
            let owner = owner::lookup(owner.as_ref(), target)?;
            write_file(target, Path::new(path), data, *mode, owner)
        }
        FileAction::Mkdir { input: _, path, mode, make_parents, owner } => {
            let owner = owner::lookup(owner.as_ref(), target)?;
            make_dir(target, Path::new(path), *mode, *make_parents, owner)
        }
        FileAction::Rm { input: _, path, allow_wildcard, allow_missing } => {
            remove(target, path, *allow_wildcard, *allow_missing)
        }
        FileAction::Symlink { input: _, target: text, path, owner } => {
            let owner = owner::lookup(owner.as_ref(), target)?;
            let (parent, name) = target.parent_of(path)?;
            fs::symlinkat(text, parent.as_fd(), &name)?;
            Ok(fs::chownat(parent.as_fd(), &name, owner)?)
        }
    }
}

fn write_file(target: &Root, path: &Path, data: &[u8], mode: u32, owner: fs::Owner) -> Result<(), Cause> {
    if let Some(parent) = path.parent() {
        target.create_dir_all(parent, 0o755, Some(fs::Owner { uid: 0, gid: 0 }))?;
    }
    let (parent, name) = target.parent_of(path)?;
    match fs::unlinkat(parent.as_fd(), &name) {
        Err(error) if error.is_not_found() => {}
        result => result?,
    }
    let mut file = fs::create_file(parent.as_fd(), &name, 0o600)?;
    file.write_all(data).map_err(Cause::io(format!("write `{}`", path.display())))?;
    fs::fchown(file.as_fd(), owner)?;
    Ok(fs::fchmod(file.as_fd(), mode)?)
}

fn make_dir(target: &Root, path: &Path, mode: u32, parents: bool, owner: fs::Owner) -> Result<(), Cause> {
    if parents {
        target.create_dir_all(path, mode, Some(owner))?;
        return Ok(());
    }
    let (parent, name) = target.parent_of(path)?;
    match fs::mkdirat(parent.as_fd(), &name, mode) {
        Err(error) if error.is_exists() => return Ok(()),
        result => result?,
    }
    fs::chownat(parent.as_fd(), &name, owner)?;
    Ok(fs::chmodat(parent.as_fd(), &name, mode)?)
}

fn remove(target: &Root, path: &str, wildcard: bool, allow_missing: bool) -> Result<(), Cause> {
    let mut copy = CopyAction::new(vec![path.to_owned()], "/");
    (copy.allow_wildcard, copy.follow_symlinks) = (wildcard, false);
    let found = match select::select(Source { root: target, files: None }, &copy) {
        Err(Cause::NotFound { .. }) if allow_missing => return Ok(()),
        result => result?,
    };
    for one in found {
        let (parent, name) = target.parent_of(&one.path)?;
        fs::remove_tree(parent.as_fd(), &name)?;
    }
    Ok(())
}
