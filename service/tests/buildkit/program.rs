//! The image of the program that the tests run in containers.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::client::{Daemon, Files, solve};
use super::exporter;

/// What the image is called.
pub(crate) const IMAGE: &str = "example.com/program:1";

/// Makes it, with more lines in its Dockerfile.
pub(crate) async fn make(daemon: &Daemon, lines: &str) {
    let dir = tempfile::tempdir().unwrap();
    let program = Path::new(env!("CARGO_BIN_EXE_program-of-tests"));
    put(dir.path(), program, Path::new("/program"));
    for library in libraries(program) {
        put(dir.path(), &library, &library);
    }
    let dockerfile = format!("FROM scratch\nCOPY . /\nENV OWN=image\nENTRYPOINT [\"/program\"]\n{lines}");
    let text = tempfile::tempdir().unwrap();
    std::fs::write(text.path().join("Dockerfile"), dockerfile).unwrap();
    let files = Files::of(&[("context", dir.path()), ("dockerfile", text.path())]);
    let _session = daemon.session("making", "", files).await;
    let request = solve("making", "making", &[], vec![exporter("image", &[("name", IMAGE)])]);
    daemon.control().await.solve(request).await.unwrap();
}

fn put(root: &Path, from: &Path, to: &Path) {
    let to = root.join(to.strip_prefix("/").unwrap());
    std::fs::create_dir_all(to.parent().unwrap()).unwrap();
    // A copy in one piece where links do not reach.
    std::fs::hard_link(from, &to).or_else(|_| std::fs::copy(from, &to).map(drop)).unwrap();
}

/// The libraries that a program is linked with, its loader included.
fn libraries(program: &Path) -> Vec<PathBuf> {
    let said = Command::new("ldd").arg(program).output().unwrap();
    let said = String::from_utf8(said.stdout).unwrap();
    let path = |line: &str| line.split_whitespace().find(|word| word.starts_with('/')).map(PathBuf::from);
    let found = said.lines().filter_map(path).filter(|path| path != program);
    found.collect()
}
