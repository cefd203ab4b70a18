//! The binary without containers and registries: help, versions, mistakes, and what needs nothing but a Dockerfile.

use std::fs;
use std::process::{Command, Output};

use tempfile::TempDir;

struct Kiln {
    dir: TempDir,
}

impl Kiln {
    fn new() -> Self {
        Kiln { dir: tempfile::tempdir().unwrap() }
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.dir.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn folder(&self) -> &str {
        self.dir.path().to_str().unwrap()
    }

    fn run(&self, args: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kiln"));
        command.args(args).env("KILN_ROOT", self.dir.path().join("root")).env_remove("KILN_CONFIG");
        command.env("DOCKER_CONFIG", self.dir.path().join("docker")).output().unwrap()
    }

    #[track_caller]
    fn ok(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert!(output.status.success(), "kiln {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// What it said on standard error.
    #[track_caller]
    fn fails(&self, code: i32, args: &[&str]) -> String {
        let output = self.run(args);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "kiln {args:?}: {said}");
        said
    }
}

/// Every command with its subcommands, from the help itself.
fn commands(kiln: &Kiln, path: &[&str]) -> Vec<Vec<String>> {
    let help = kiln.ok(&[path, &["--help"]].concat());
    let listed =
        help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let names: Vec<String> = listed
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .map(|line| line.split_whitespace().next().unwrap().to_owned())
        .collect();
    let mut all = Vec::new();
    for name in names {
        let whole: Vec<&str> = path.iter().copied().chain([name.as_str()]).collect();
        all.push(whole.iter().map(|word| (*word).to_owned()).collect());
        all.extend(commands(kiln, &whole));
    }
    all
}

#[test]
fn every_command_has_a_sentence_and_an_example() {
    let kiln = Kiln::new();
    let all = commands(&kiln, &[]);
    assert!(all.len() > 70, "only {} commands: {all:?}", all.len());
    for command in &all {
        let words: Vec<&str> = command.iter().map(String::as_str).collect();
        let help = kiln.ok(&[&words[..], &["--help"]].concat());
        assert!(help.contains("Examples:\n  kiln "), "kiln {words:?} has no example:\n{help}");
        let first = help.lines().next().unwrap();
        assert!(first.ends_with(['.', ':']) || first.len() > 10, "kiln {words:?} starts with `{first}`");
    }
}

#[test]
fn the_version_in_every_form() {
    let kiln = Kiln::new();
    let version = env!("CARGO_PKG_VERSION");
    assert!(kiln.ok(&["version"]).starts_with(&format!("kiln {version}")));
    assert_eq!(kiln.ok(&["version", "--format", "{{.Version}}"]).trim(), version);
    assert!(kiln.ok(&["version", "--json"]).contains(&format!("\"Version\":\"{version}\"")));
    assert_eq!(kiln.ok(&["--version"]).trim(), format!("kiln {version}"));
}

#[test]
fn a_mistake_in_the_arguments_has_dockers_code() {
    let kiln = Kiln::new();
    assert!(kiln.fails(125, &["run", "--no-such-flag", "busybox"]).contains("--no-such-flag"));
    assert!(kiln.fails(125, &["run"]).contains("IMAGE"));
    assert!(kiln.fails(1, &["images", "--no-such-flag"]).contains("--no-such-flag"));
    let said = kiln.fails(1, &["imagse"]);
    assert!(said.contains("imagse") && said.contains("images"), "{said}");
}

#[test]
fn an_unknown_key_of_the_configuration_gets_a_suggestion() {
    let kiln = Kiln::new();
    let file = kiln.write("kiln.toml", "[registry.\"docker.io\"]\nmirors = [\"127.0.0.1:5000\"]\n");
    let said = kiln.fails(1, &["--config", &file, "images"]);
    let expected = format!(
        "error: {file}:2: unknown key `mirors` in `[registry.\"docker.io\"]`\nhint: did you mean `mirrors`?\n"
    );
    assert_eq!(said, expected);
    let said = kiln.fails(1, &["--config", "/no/such/file.toml", "images"]);
    assert!(said.starts_with("error: cannot read the configuration `/no/such/file.toml`"), "{said}");
}

#[test]
fn the_syntax_tree_of_a_dockerfile() {
    let kiln = Kiln::new();
    kiln.write("Dockerfile", "FROM scratch AS one\nCOPY a /b\n");
    let tree = kiln.ok(&["debug", "ast", kiln.folder()]);
    assert!(tree.contains("FROM") || tree.contains("From"), "{tree}");
    assert!(tree.contains("/b"), "{tree}");
}

#[test]
fn a_build_from_nothing_needs_nobody() {
    let kiln = Kiln::new();
    kiln.write("Dockerfile", "FROM scratch\nCOPY hello /hello\nENV A=1\nCMD [\"/hello\"]\n");
    kiln.write("hello", "hi\n");
    let id_file = kiln.dir.path().join("id");
    let id =
        kiln.ok(&["build", "-q", "-t", "greeting:1", "--iidfile", id_file.to_str().unwrap(), kiln.folder()]);
    assert!(id.starts_with("sha256:") && id.lines().count() == 1, "{id}");
    assert_eq!(fs::read_to_string(id_file).unwrap(), id.trim());
    let listed = kiln.ok(&["images", "--format", "{{.Repository}}:{{.Tag}}"]);
    assert_eq!(listed, "greeting:1\n");
    assert_eq!(
        kiln.ok(&["image", "inspect", "greeting:1", "--format", "{{.Id}} {{json .Config.Cmd}}"]),
        format!("{} [\"/hello\"]\n", id.trim())
    );
    assert!(kiln.ok(&["history", "--no-trunc", "greeting:1"]).contains("COPY hello /hello"));

    kiln.ok(&["tag", "greeting:1", "registry.example/team/greeting:2"]);
    assert_eq!(kiln.ok(&["images", "-q"]).lines().count(), 1);
    let archive = kiln.dir.path().join("x.tar");
    kiln.ok(&["save", "-o", archive.to_str().unwrap(), "greeting:1"]);
    let other = Kiln::new();
    assert_eq!(other.ok(&["load", "-i", archive.to_str().unwrap()]), "Loaded image: greeting:1\n");
    assert_eq!(other.ok(&["image", "inspect", "greeting:1", "--format", "{{.Id}}"]).trim(), id.trim());
}

#[test]
fn a_mistake_in_a_dockerfile_shows_its_line() {
    let kiln = Kiln::new();
    kiln.write("Dockerfile", "FROM scratch\nCOPPY a /b\n");
    let said = kiln.fails(1, &["build", "--progress", "quiet", kiln.folder()]);
    assert!(said.contains("   2 | >>> COPPY a /b"), "{said}");
    assert!(said.contains("hint: did you mean `COPY`?"), "{said}");
}

#[test]
fn nothing_on_standard_input_is_no_dockerfile() {
    let kiln = Kiln::new();
    let said = kiln.fails(1, &["build", "-"]);
    assert!(said.contains("error: the file has no instructions"), "{said}");
    assert!(said.contains("hint: a Dockerfile begins with `FROM image`"), "{said}");
}

#[test]
fn removing_without_a_question_needs_force() {
    let kiln = Kiln::new();
    let said = kiln.fails(1, &["image", "prune"]);
    assert!(said.contains("--force"), "{said}");
}

#[test]
fn a_pipe_that_closes_is_no_panic() {
    let kiln = Kiln::new();
    let script = format!("{} completion bash | head -n 1", env!("CARGO_BIN_EXE_kiln"));
    let output = Command::new("sh").args(["-c", &script]).env("KILN_ROOT", kiln.folder()).output().unwrap();
    assert!(!String::from_utf8_lossy(&output.stderr).contains("panicked"));
    assert!(!output.stdout.is_empty());
}
