//! `RUN --mount=type=secret`: a value as a file in memory, as a variable, or both.

use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use kiln_graph::Mount;
use kiln_runtime::{MountKind, Tree};
use kiln_sys::fs::{self, Owner};
use kiln_sys::mount::clone_beneath;

use super::{Preparing, memory};
use crate::error::Cause;
use crate::session::Session;

/// The most bytes of one secret.
pub const MAX_SECRET: usize = 500 << 10;
/// Where a secret without a target is put.
const SECRETS: &str = "/run/secrets";
/// The bits of a mode that let somebody execute a file.
const EXECUTABLE: u32 = 0o111;

impl Preparing<'_> {
    pub(super) fn secret(&mut self, mount: &Mount) -> Result<(), Cause> {
        let Mount::Secret { id, target, env, required, mode, uid, gid } = mount else { return Ok(()) };
        let Some(value) = value(self.session, id, *required)? else { return Ok(()) };
        if let Some(name) = env {
            self.prepared.env.push(format!("{name}={}", text(id, &value)?));
        }
        let target = match (target, env) {
            (Some(target), _) => target.clone(),
            (None, Some(_)) => return Ok(()),
            (None, None) => format!("{SECRETS}/{id}"),
        };
        let tree = file(&value, *mode, Owner { uid: *uid, gid: *gid })?;
        self.push(MountKind::Tree(Tree(Arc::new(tree))), &target, true);
        Ok(())
    }
}

/// A secret as the variable `name` of a process; none where there is none and it is not `required`.
pub fn variable(session: &Session, id: &str, name: &str, required: bool) -> Result<Option<String>, Cause> {
    let value = value(session, id, required)?;
    value.map(|value| Ok(format!("{name}={}", text(id, &value)?))).transpose()
}

fn value(session: &Session, id: &str, required: bool) -> Result<Option<Vec<u8>>, Cause> {
    match session.secrets.secret(id)? {
        Some(value) if value.len() > MAX_SECRET => {
            Err(Cause::Invalid(format!("secret `{id}` is larger than {MAX_SECRET} bytes")))
        }
        None if required => Err(not_given(id)),
        value => Ok(value),
    }
}

fn not_given(id: &str) -> Cause {
    Cause::NotGiven {
        what: format!("the secret `{id}` is required and was not given"),
        hint: format!("`--secret id={id},src=FILE` or `--secret id={id},env=VARIABLE` gives it"),
    }
}

fn text<'a>(id: &str, value: &'a [u8]) -> Result<&'a str, Cause> {
    match std::str::from_utf8(value) {
        Ok(text) if !text.contains('\0') => Ok(text),
        _ => Err(Cause::Invalid(format!("the secret `{id}` is not text, so it cannot be a variable"))),
    }
}

/// A file that never was on a disk, as a mount that nobody else sees.
fn file(value: &[u8], mode: u32, owner: Owner) -> Result<OwnedFd, Cause> {
    let root = memory(mode & EXECUTABLE != 0)?;
    let mut file = fs::create_file(root.as_fd(), "secret", 0o600)?;
    file.write_all(value).map_err(Cause::io("write a secret"))?;
    fs::fchown(file.as_fd(), owner)?;
    fs::fchmod(file.as_fd(), mode)?;
    Ok(clone_beneath(&root, Path::new("secret"))?)
}
