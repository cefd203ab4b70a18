//! Finds the program that a container is to execute.

use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use kiln_sys::{Errno, fs};

use super::machine;
use super::view::View;
use crate::error::{Error, Result};
use crate::profile::DEFAULT_PATH;

/// How much of a script's first line the kernel reads.
const SCRIPT_LINE: u64 = 256;
/// How many scripts may interpret each other.
const SCRIPT_DEPTH: usize = 4;

/// Where a program is, as far as one can see from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The paths to try, best first: one when it was found, several when only the child can tell.
    pub candidates: Vec<String>,
    /// The architecture that it, or the interpreter of a script, is made for where that is not this machine's.
    pub foreign: Option<&'static str>,
}

/// Looks for `argv[0]`.
pub fn find(view: &View, program: &str, env: &[String], cwd: &str) -> Result<Found> {
    let later = |candidates| Found { candidates, foreign: None };
    if program.is_empty() {
        return Err(not_found(program, "no command specified"));
    }
    if program.contains('/') {
        let path = Path::new("/").join(cwd).join(program);
        return match check(view, &path) {
            Ok(foreign) => Ok(Found { candidates: vec![text(&path)], foreign }),
            Err(_) if may_appear(view, &path) => Ok(later(vec![text(&path)])),
            Err(errno) => Err(refused(program, errno, None)),
        };
    }
    let candidates = search_path(program, env, cwd);
    let checked = candidates.iter().find_map(|path| Some((path, check(view, path).ok()?)));
    match checked {
        Some((path, foreign)) => Ok(Found { candidates: vec![text(path)], foreign }),
        None if view.has_mounts() => Ok(later(candidates.iter().map(|path| text(path)).collect())),
        None => Err(not_found(program, "executable file not found in $PATH")),
    }
}

/// The error behind a failed `execve` of `program`, which is made for the architecture `foreign` where that is not this
/// machine's. Whether such a program runs the kernel alone knows, who may have an emulator for it.
pub fn refused(program: &str, errno: Errno, foreign: Option<&'static str>) -> Error {
    if let (Errno::NOEXEC | Errno::NOENT, Some(architecture)) = (errno, foreign) {
        let emulator_is_missing = errno == Errno::NOENT;
        return Error::Foreign { program: program.to_owned(), architecture, emulator_is_missing };
    }
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

/// Whether the program can be executed, as far as one can see from outside; for which other machine it is, if for one.
fn check(view: &View, path: &Path) -> std::result::Result<Option<&'static str>, Errno> {
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
        let head = head(&fs::proc_path(&found));
        match interpreter(&head) {
            // Also keeps `#!/proc/self/exe` from executing the file that this very process runs.
            Some(interpreter) => path = interpreter,
            None => return Ok(machine::foreign(&head)),
        }
    }
    Err(Errno::LOOP)
}

/// As much of a file as the kernel looks at; nothing where it cannot be read.
fn head(path: &Path) -> Vec<u8> {
    let mut head = Vec::new();
    let read = File::open(path).and_then(|file| file.take(SCRIPT_LINE).read_to_end(&mut head));
    read.map_or_else(|_| Vec::new(), |_| head)
}

/// The interpreter of a script.
fn interpreter(head: &[u8]) -> Option<PathBuf> {
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
            ("alien", 0o755, "\x7fELF\x02\x02\x01\0\0\0\0\0\0\0\0\0\0\x02\0\x16"),
            ("script-of-alien", 0o755, "#!/bin/alien\n"),
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
        let found = find(&view, program, &["PATH=/none:/bin".into()], "/usr");
        found.map(|found| found.candidates).map_err(|e| (e.exit_code(), e.to_string()))
    }

    #[test]
    fn programs_for_other_machines_are_noticed_and_left_to_the_kernel() {
        let (_dir, view) = tree();
        let foreign = |program: &str| find(&view, program, &[], "/").unwrap().foreign;
        assert_eq!((foreign("/bin/alien"), foreign("alien")), (Some("s390x"), Some("s390x")));
        assert_eq!(foreign("/bin/script-of-alien"), Some("s390x"));
        assert_eq!((foreign("/bin/sh"), foreign("/bin/script")), (None, None));
    }

    #[test]
    fn a_refusal_for_another_machine_says_so() {
        let error = refused("/bin/alien", Errno::NOEXEC, Some("s390x"));
        assert!(error.to_string().contains("for `linux/s390x`"), "{error}");
        assert_eq!(error.exit_code(), 126);
        assert!(error.hint().unwrap().contains("apt-get install qemu-user-static"));
        let error = refused("/bin/alien", Errno::NOENT, Some("s390x"));
        assert!(error.hint().unwrap().contains("flag `F`"));
        assert!(refused("sh", Errno::NOEXEC, None).to_string().ends_with("exec format error"));
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
