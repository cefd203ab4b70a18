//! BuildKit's own clients against `kiln serve`, where they are installed: the docker command without buildx, and `buildctl`.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;

use crate::daemon::Daemon;
use crate::harness::{Kiln, show, text, tool};

const DOCKERFILE: &str = "\
FROM busybox AS base
RUN --mount=type=secret,id=word cat /run/secrets/word > /word; echo hello > /hello
FROM base AS app
COPY a /a
CMD [\"cat\", \"/hello\"]
FROM scratch AS out
COPY --from=app /a /hello /
";
const FAILS: &str = "FROM busybox\nRUN echo before && exit 7\n";

/// A program of the `PATH` that does; most machines have none of these clients, and nothing is tried with them then.
pub(crate) fn installed(program: &str, does: impl Fn(&Path) -> bool) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut all = std::env::split_paths(&path).map(|dir| dir.join(program));
    all.find(|program| program.is_file() && does(program))
}

/// Whether a docker command speaks BuildKit's words itself; newer ones leave that to buildx.
fn is_without_buildx(docker: &Path) -> bool {
    let said = Command::new(docker).arg("--version").output().map(|output| text(&output.stdout));
    let major = |said: &str| said.split_whitespace().nth(2)?.split('.').next()?.parse::<u32>().ok();
    said.is_ok_and(|said| major(&said).is_some_and(|major| (18..23).contains(&major)))
}

/// A client of one daemon, with a home of its own.
pub(crate) struct Client<'k> {
    pub(crate) kiln: &'k Kiln,
    pub(crate) daemon: &'k Daemon<'k>,
    pub(crate) program: PathBuf,
}

impl Client<'_> {
    fn output(&self, folder: &Path, args: &[impl AsRef<OsStr>]) -> Output {
        let address = format!("unix://{}", self.daemon.socket.display());
        let mut command = Command::new(&self.program);
        command
            .args(args)
            .current_dir(folder)
            .env("HOME", self.kiln.scratch("home"))
            .env("DOCKER_CONFIG", self.kiln.scratch("docker-config"))
            .env("DOCKER_HOST", &address)
            .env("BUILDKIT_HOST", &address)
            .env("BUILDX_BAKE_ENTITLEMENTS_FS", "0")
            .env("DOCKER_BUILDKIT", "1")
            .env_remove("DOCKER_API_VERSION")
            .stdin(Stdio::null());
        command.output().unwrap()
    }

    /// Runs and expects success; standard output and standard error.
    #[track_caller]
    pub(crate) fn ok(&self, folder: &Path, args: &[impl AsRef<OsStr>]) -> String {
        let output = self.output(folder, args);
        assert!(output.status.success(), "{}\n{}", self.program.display(), show(&output));
        text(&output.stdout) + &text(&output.stderr)
    }

    /// Runs and expects a failure; standard error.
    #[track_caller]
    pub(crate) fn fails(&self, folder: &Path, args: &[impl AsRef<OsStr>]) -> String {
        let output = self.output(folder, args);
        assert!(!output.status.success(), "{}\n{}", self.program.display(), show(&output));
        text(&output.stderr)
    }
}

pub(crate) fn context(kiln: &Kiln) -> PathBuf {
    kiln.context("c", &[("Dockerfile", DOCKERFILE), ("a", "one\n"), ("word", "secret\n"), ("bad", FAILS)])
}

/// The words of a command line, which has no blanks in them.
pub(crate) fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

/// What clients that have only HTTP send; a context may come in a request of its own.
#[test]
fn a_context_comes_with_the_build_or_beside_it() {
    let kiln = Kiln::new();
    let daemon = Daemon::start(&kiln);
    let folder = kiln.context("c", &[("Dockerfile", "FROM scratch\nCOPY a /\n"), ("a", "one\n")]);
    let archive = kiln.scratch("t").join("c.tar");
    tool("tar", &["-C", folder.to_str().unwrap(), "-cf", archive.to_str().unwrap(), "."]);
    let archive = fs::read(&archive).unwrap();
    let post = |query: &str, body: &[u8]| {
        let head = format!(
            "POST /v1.41/build?version=2&{query} HTTP/1.1\r\nHost: docker\r\nConnection: close\r\nContent-Type: \
             application/x-tar\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        daemon.raw(&[head.as_bytes(), body].concat())
    };
    let answer = post("t=one", &archive);
    assert!(answer.contains(r#""id":"moby.buildkit.trace""#), "{answer}");
    assert!(answer.contains(r#""id":"moby.image.id""#) && !answer.contains("errorDetail"), "{answer}");
    let quiet = post("t=two&q=1", &archive);
    assert!(quiet.contains(r#"{"stream":"sha256:"#) && !quiet.contains("moby.buildkit.trace"), "{quiet}");
    let (upload, built) = thread::scope(|scope| {
        let upload = scope.spawn(|| post("buildid=upload-request:b1", &archive));
        let built = post("t=three&remote=upload-request&buildid=b1", &[]);
        (upload.join().unwrap(), built)
    });
    assert!(upload.starts_with("HTTP/1.1 200"), "{upload}");
    assert!(built.contains("moby.image.id"), "{built}");
    let failed = post("t=four&target=none", &archive);
    assert!(failed.contains("errorDetail") && failed.contains("`none` could not be found"), "{failed}");
    assert!(daemon.ask("POST /v1.41/build/cancel?id=b1", "", "").starts_with("HTTP/1.1 200"));
    assert!(daemon.ask("POST /v1.41/build/cancel", "", "").starts_with("HTTP/1.1 400"));
    let images = kiln.ok(&["images"]);
    assert!(["one", "two", "three"].iter().all(|name| images.contains(name)), "{images}");
}

#[test]
fn docker_builds_a_folder_of_its_session() {
    let Some(program) = installed("docker", is_without_buildx) else { return };
    let kiln = Kiln::new();
    let daemon = Daemon::start(&kiln);
    let (client, folder) = (Client { kiln: &kiln, daemon: &daemon, program }, context(&kiln));
    let ok = |line: &str| client.ok(&folder, &words(line));
    let said = ok("build --progress plain --secret id=word,src=word --target app -t app:1 .");
    assert!(said.contains("[app 1/1] COPY a /a") && said.contains("exporting to image"), "{said}");
    assert_eq!(ok("run --rm app:1"), "hello");
    let id = ok("build -q --secret id=word,src=word --target app .");
    assert_eq!(ok(&format!("run --rm {id} cat /word /a")), "secret\none");
    ok("build --secret id=word,src=word -o out .");
    assert_eq!(fs::read_to_string(folder.join("out/hello")).unwrap(), "hello\n");
    let why = client.fails(&folder, &words("build -f bad ."));
    assert!(why.contains(" > [2/2] RUN echo before") && why.contains("exit code: 7"), "{why}");
}

#[test]
fn buildctl_builds_and_looks_around() {
    let Some(program) = installed("buildctl", |_| true) else { return };
    let kiln = Kiln::new();
    let daemon = Daemon::start(&kiln);
    let (client, folder) = (Client { kiln: &kiln, daemon: &daemon, program }, context(&kiln));
    let build = |more: &str| {
        let build = "build --progress plain --frontend dockerfile.v0 --local context=. --local dockerfile=. ";
        words(&format!("{build}{more}")).into_iter().map(str::to_owned).collect::<Vec<String>>()
    };
    let secret = "--secret id=word,src=word";
    for output in
        ["image,name=app:1", "oci,dest=oci.tar", "docker,name=app:1,dest=docker.tar", "tar,dest=plain.tar"]
    {
        client.ok(&folder, &build(&format!("{secret} --metadata-file md --output type={output}")));
    }
    client.ok(&folder, &build(&format!("{secret} --opt target=app --output type=local,dest=out")));
    assert_eq!(fs::read_to_string(folder.join("out/word")).unwrap(), "secret\n");
    let members = |name: &str| tool("tar", &["-tf", folder.join(name).to_str().unwrap()]);
    assert!(members("oci.tar").contains("oci-layout") && members("docker.tar").contains("manifest.json"));
    assert_eq!(members("plain.tar"), "a\nhello");
    let why = client.fails(&folder, &build("--opt filename=bad"));
    for line in [
        " > [2/2] RUN echo before",
        "bad:2",
        ">>> RUN echo before && exit 7",
        "error: failed to solve: [2/2] RUN echo before",
    ] {
        assert!(why.contains(line), "no `{line}` in {why}");
    }
    let why = client.fails(&folder, &build("--export-cache type=inline"));
    assert!(why.contains("exporting the cache (`type=inline`) is not supported"), "{why}");
    let ok = |line: &str| client.ok(&folder, &words(line));
    assert!(ok("debug workers -v").contains("linux/"));
    assert!(ok("debug info").contains("BuildKit: "));
    assert_eq!(ok("debug histories").matches("COMPLETE\t").count(), 7);
    assert!(ok("du").contains("Total:") && ok("prune --all").contains("Total:"));
    ok("prune-histories");
    assert!(!ok("debug histories").contains("COMPLETE\t"));
}
