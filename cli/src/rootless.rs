//! kiln for somebody who is not root: once more, as root of a user namespace.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

use kiln_engine::{Error, Result, rootless};

/// Tells the second start that there was a first one.
const MARK: &str = "KILN_ROOTLESS";
const SELF: &str = "/proc/self/exe";

/// Gets the rights that work with images needs, and says whether it is for somebody who is not root.
pub(crate) fn enter() -> Result<bool> {
    if !rootless::enter()? {
        return Ok(rootless::is_confined() && std::env::var_os(MARK).is_some());
    }
    // What a program was before it began counts for who may look at it: only a new one is wholly of the namespace.
    let mut words = std::env::args_os();
    let mut command = Command::new(SELF);
    if let Some(name) = words.next() {
        command.arg0(name);
    }
    Err(Error::internal("start in a user namespace", command.args(words).env(MARK, "1").exec()))
}
