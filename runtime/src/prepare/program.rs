//! Finds the program that a container is to execute.

use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use kiln_sys::{Errno, fs};

use super::view::View;
use crate::error::{Error, Result};
use crate::profile::DEFAULT_PATH;

/// How much of a script's first line the kernel reads.
const SCRIPT_LINE: u64 = 256;
/// How many scripts may interpret each other.
const SCRIPT_DEPTH: usize = 4;

/// The paths to try for `argv[0]`, best first: one when it was found, several when only the child can tell.
pub fn find(view: &View, program: &str, env: &[String], cwd: &str) -> Result<Vec<String>> {
    if program.is_empty() {
        return Err(not_found(program, "no command specified"));
    }
    if program.contains('/') {
        let path = Path::new("/").join(cwd).join(program);
        return match check(view, &path) {
            Ok(()) => Ok(vec![text(&path)]),
            Err(_) if may_appear(view, &path) => Ok(vec![text(&path)]),
            Err(errno) => Err(refused(program, errno)),
        };
    }
    let candidates = search_path(program, env, cwd);
    match candidates.iter().find(|path| check(view, path).is_ok()) {
        Some(path) => Ok(vec![text(path)]),
        None if view.has_mounts() => Ok(candidates.iter().map(|path| text(path)).collect()),
        None => Err(not_found(program, "executable file not found in $PATH")),
    }
}

/// The error behind a failed `execve` of `program`.
pub fn refused(program: &str, errno: Errno) -> Error {
    match errno {
        Errno::NOENT | Errno::NOTDIR if !program.contains('/') => {
            not_found(program, "executable file not found in $PATH")
        }
        Errno::NOENT | Errno::NOTDIR | Errno::LOOP => not_found(program, "no such file or directory"),
        Errno::NOEXEC => not_executable(program, "exec format error"),
        Errno::ISDIR => not_executable(program, "is a directory"),
        other => not_executable(program, &kiln_sys::error::describe(other).to_lowercase()),
    }
}

fn search_path(program: &str, env: &[String], cwd: &str) -> Vec<PathBuf> {
    let path = env.iter().rev().find_map(|entry| entry.strip_prefix("PATH=")).unwrap_or(DEFAULT_PATH);
    path.split(':').map(|dir| Path::new("/").join(cwd).join(dir).join(program)).collect()
}

/// Whether the program can be executed, as far as one can see from outside.
fn check(view: &View, path: &Path) -> std::result::Result<(), Errno> {
    let mut path = path.to_owned();
    for _ in 0..SCRIPT_DEPTH {
        let found = view.resolve(&path).map_err(|e| e.errno)?;
        let stat = fs::fstat(found.as_fd()).map_err(|e| e.errno)?;
        if stat.is_dir() {
            return Err(Errno::ISDIR);
        }
        if !stat.is_file() || stat.permissions() & 0o111 == 0 {
            return Err(Errno::ACCESS);
        }
        match interpreter(&fs::proc_path(&found)) {
            // Also keeps `#!/proc/self/exe` from executing the file that this very process runs.
            Some(interpreter) => path = interpreter,
            None => return Ok(()),
        }
    }
    Err(Errno::LOOP)
}

/// The interpreter of a script.
fn interpreter(path: &Path) -> Option<PathBuf> {
    let mut head = Vec::new();
    File::open(path).ok()?.take(SCRIPT_LINE).read_to_end(&mut head).ok()?;
    let line = head.strip_prefix(b"#!")?.split(|b| *b == b'\n').next()?;
    let line = String::from_utf8_lossy(line);
    let name = line.split_whitespace().next()?;
    Some(Path::new("/").join(name))
}

/// Whether a path that is not there yet may be there in the child: on a mount that is still to be made.
fn may_appear(view: &View, path: &Path) -> bool {
    matches!(view.place(path), super::view::Place::Later)
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn not_found(program: &str, reason: &str) -> Error {
    Error::NotFound { program: program.to_owned(), reason: reason.to_owned() }
}

fn not_executable(program: &str, reason: &str) -> Error {
    Error::NotExecutable { program: program.to_owned(), reason: reason.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_sys::fs::Root;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn tree() -> (tempfile::TempDir, View) {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path();
        std::fs::create_dir_all(base.join("usr/bin")).unwrap();
        symlink("usr/bin", base.join("bin")).unwrap();
        for (name, mode, content) in [
            ("sh", 0o755, "\x7fELF"),
            ("data", 0o644, "x"),
            ("script", 0o755, "#!/bin/sh\n"),
            ("orphan", 0o755, "#! /bin/none -x\n"),
            ("evil", 0o755, "#!/proc/self/exe\n"),
        ] {
            let path = base.join("usr/bin").join(name);
            std::fs::write(&path, content).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        }
        let view = View::new(Root::open(base).unwrap());
        (dir, view)
    }

    fn found(program: &str) -> std::result::Result<Vec<String>, (i32, String)> {
        let (_dir, view) = tree();
        find(&view, program, &["PATH=/none:/bin".into()], "/usr").map_err(|e| (e.exit_code(), e.to_string()))
    }

    #[test]
    fn programs_are_found() {
        assert_eq!(found("sh").unwrap(), ["/bin/sh"]);
        assert_eq!(found("/bin/script").unwrap(), ["/bin/script"]);
        assert_eq!(found("bin/sh").unwrap(), ["/usr/bin/sh"]);
    }

    #[test]
    fn failures_have_dockers_codes_and_words() {
        let none = "exec: \"none\": executable file not found in $PATH".to_owned();
        assert_eq!(found("none").unwrap_err(), (127, none));
        let none = "exec: \"/none\": no such file or directory".to_owned();
        assert_eq!(found("/none").unwrap_err(), (127, none));
        assert_eq!(found("/bin/data").unwrap_err().0, 126);
        assert_eq!(found("/bin").unwrap_err().0, 126);
        assert_eq!(found("/bin/orphan").unwrap_err().0, 127);
        assert_eq!(found("/bin/evil").unwrap_err().0, 127);
    }
}
