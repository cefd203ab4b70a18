//! `kiln fmt`: files in place, streams, and what a pipeline asks.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use crate::harness::{Kiln, text, tool};

const UGLY: &str = "# tools\nfrom busybox   as tools\n\n\nrun  echo one && \\\n  echo   two\ncopy --from=tools   \
    --chmod=0644 \\\n  /etc/passwd /p # no comment\n";
const USUAL: &str = "# tools\nFROM busybox AS tools\n\nRUN echo one && \\\n  echo   two\nCOPY --from=tools --chmod=0644 \
    \\\n    /etc/passwd /p # no comment\n";

#[test]
fn files_are_rewritten_in_place() {
    let kiln = Kiln::new();
    let context = kiln.context("c", &[("Dockerfile", UGLY), ("other", USUAL)]);
    let (file, other) = (context.join("Dockerfile"), context.join("other"));
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    let inode = fs::metadata(&other).unwrap().ino();
    let (folder, path) = (context.to_str().unwrap(), file.to_str().unwrap());
    assert_eq!(kiln.ok(&["fmt", folder, other.to_str().unwrap()]), path);
    assert_eq!(fs::read_to_string(&file).unwrap(), USUAL);
    assert_eq!(fs::metadata(&file).unwrap().mode() & 0o7777, 0o640);
    assert_eq!(fs::metadata(&other).unwrap().ino(), inode);
    assert_eq!(fs::read_dir(&context).unwrap().count(), 2);
    assert_eq!(kiln.ok(&["fmt", path]), "");
    // Without a name it is the Dockerfile of the folder.
    fs::write(&file, UGLY).unwrap();
    let output = kiln.command(&["fmt"]).current_dir(&context).output().unwrap();
    assert_eq!((output.status.success(), text(&output.stdout).as_str()), (true, "./Dockerfile"));
    assert_eq!(fs::read_to_string(&file).unwrap(), USUAL);
}

#[test]
fn a_pipeline_asks_without_writing() {
    let kiln = Kiln::new();
    let context = kiln.context("c", &[("Dockerfile", UGLY), ("usual", USUAL)]);
    let path = context.join("Dockerfile");
    let (name, usual) = (path.to_str().unwrap(), context.join("usual"));
    let output = kiln.output(&["fmt", "--check", usual.to_str().unwrap(), name]);
    assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(1), name));
    assert_eq!(kiln.ok(&["fmt", "--check", usual.to_str().unwrap()]), "");
    let output = kiln.output(&["fmt", "--check", "--diff", name]);
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(1), kiln.ok(&["fmt", "--diff", name])));
    assert_eq!(fs::read_to_string(&path).unwrap(), UGLY);
}

#[test]
fn a_difference_is_one_that_patch_applies() {
    let kiln = Kiln::new();
    let context = kiln.context("c", &[("Dockerfile", &format!("\n{}user  x", UGLY.replace('\n', "\r\n")))]);
    let path = context.join("Dockerfile");
    let change = context.join("change");
    fs::write(&change, kiln.output(&["fmt", "--diff", path.to_str().unwrap()]).stdout).unwrap();
    tool("patch", &["--silent", "--binary", "--input", change.to_str().unwrap(), path.to_str().unwrap()]);
    assert_eq!(fs::read_to_string(&path).unwrap(), format!("{USUAL}USER x\n"));
}

#[test]
fn a_stream_is_formatted_to_a_stream() {
    let kiln = Kiln::new();
    let output = kiln.with_input(&["fmt", "-"], UGLY.as_bytes());
    assert_eq!(
        (output.status.success(), String::from_utf8(output.stdout).unwrap()),
        (true, USUAL.to_owned())
    );
    let output = kiln.with_input(&["fmt", "--check", "-"], UGLY.as_bytes());
    assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(1), "standard input"));
    let output = kiln.with_input(&["fmt", "-"], b"FROM x\n# \xff\n");
    assert!(
        text(&output.stderr).starts_with("error: `standard input` is not UTF-8"),
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn mistakes_are_told_and_the_other_files_formatted() {
    let kiln = Kiln::new();
    let context = kiln.context("c", &[("bad", "FROM x\nRUNN a\nrun b\n"), ("Dockerfile", UGLY)]);
    let (bad, good) = (context.join("bad"), context.join("Dockerfile"));
    let said = kiln.fails(1, &["fmt", bad.to_str().unwrap(), "/nowhere/Dockerfile", good.to_str().unwrap()]);
    assert!(said.contains(">>> RUNN a") && said.contains("hint: did you mean `RUN`?"), "{said}");
    assert!(said.contains("there is no file `/nowhere/Dockerfile`"), "{said}");
    assert!(fs::read_to_string(&bad).unwrap().contains("run b"));
    assert_eq!(fs::read_to_string(&good).unwrap(), USUAL);
    let empty = kiln.scratch("empty");
    assert!(kiln.fails(1, &["fmt", empty.to_str().unwrap()]).contains("there is no Dockerfile in"));
}

#[test]
fn a_formatted_file_is_built_from_the_cache() {
    let kiln = Kiln::new();
    let ugly = "from   busybox\nenv  A=1   B=2\nrun  echo one && \\\n  echo   two > /two\n";
    let context = kiln.context("c", &[("Dockerfile", ugly)]);
    kiln.build("first", &context, &[]);
    kiln.ok(&["fmt", context.to_str().unwrap()]);
    let again = kiln.build("second", &context, &[]);
    assert!(again.contains("CACHED") && !again.contains("Unpacking"), "{again}");
    let layers = |name| kiln.ok(&["image", "inspect", name, "--format", "{{json .RootFS}}"]);
    assert_eq!(layers("first"), layers("second"));
}
