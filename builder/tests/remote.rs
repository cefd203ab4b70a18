//! Sources that are elsewhere: downloads and git repositories, from servers in this process. Needs root and git.

mod common;

use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use futures_util::future::BoxFuture;
use kiln_builder::SshAgent;
use kiln_builder::attest::Attest;
use kiln_builder::session::{Nothing, SshAgents};
use kiln_builder::{
    BuildJob, BuildOutput, Builder, ContextSource, Destination, Entitlements, Export, ImageOptions, Secrets,
    Session, SessionError, Silent, Target,
};
use kiln_graph::{Definition, GitTimes, Op, SourceOp, Submodules, VertexMeta};
use kiln_oci::{Digest, ImageConfig, Platform};
use kiln_test_support::web::{Reply, Web, git_backend};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

/// A state root, and secrets for its builds.
struct Shop {
    dir: TempDir,
    builder: Builder,
    secrets: BTreeMap<String, String>,
    /// Where programs are.
    path: String,
    ssh: Arc<dyn SshAgents>,
    contexts: Arc<dyn ContextSource>,
    cancel: CancellationToken,
}

struct Given(BTreeMap<String, String>);

impl Secrets for Given {
    fn secret(&self, id: &str) -> Result<Option<Vec<u8>>, SessionError> {
        Ok(self.0.get(id).map(|value| value.clone().into_bytes()))
    }
}

impl Shop {
    fn new() -> Shop {
        let dir = TempDir::new().unwrap();
        let builder = Builder::new(common::stores(&dir));
        let path = std::env::var("PATH").unwrap_or_default();
        Shop {
            dir,
            builder,
            secrets: BTreeMap::new(),
            path,
            ssh: Arc::new(Nothing),
            contexts: Arc::new(Nothing),
            cancel: CancellationToken::new(),
        }
    }

    fn with_secret(mut self, id: impl Into<String>, value: &str) -> Shop {
        self.secrets.insert(id.into(), value.to_owned());
        self
    }

    /// Fetches a source; the folder with its files, or the whole error.
    async fn fetch(&self, source: SourceOp) -> Result<PathBuf, String> {
        let out =
            self.dir.path().join(format!("out-{}", std::fs::read_dir(self.dir.path()).unwrap().count()));
        let built = self.build(source, vec![common::local(&out)]).await?;
        drop(built);
        Ok(out)
    }

    async fn build(&self, source: SourceOp, exports: Vec<Export>) -> Result<BuildOutput, String> {
        let platform = Platform::new("linux", "amd64", None);
        let mut definition = Definition::new();
        let root = definition.add(Op::Source(source), Vec::new(), VertexMeta::named("source")).unwrap();
        let config = ImageConfig::empty(platform.clone());
        let secrets = Arc::new(Given(self.secrets.clone()));
        let environment = Arc::new(BTreeMap::from([("PATH".to_owned(), self.path.clone())]));
        let job = BuildJob {
            definition: Arc::new(definition),
            targets: vec![Target { platform, root: Some(root.output()), config, base_layers: 0 }],
            multi_platform: false,
            exports,
            others: Vec::new(),
            session: Session {
                secrets,
                environment,
                ssh: self.ssh.clone(),
                contexts: self.contexts.clone(),
                materials: Arc::default(),
            },
            allow: Entitlements::default(),
            attest: Attest::default(),
            progress: Arc::new(Silent),
            jobs: 1,
            no_cache: false,
            explain: false,
            epoch: None,
            cancel: self.cancel.clone(),
        };
        let error = |error: kiln_builder::BuildError| format!("{error} {:?} {error:?}", error.hint());
        self.builder.build(job).await.map_err(error)
    }

    /// How many snapshots there are, of whatever kind.
    fn snapshots(&self) -> usize {
        std::fs::read_dir(self.builder.stores().store.root().join("snapshots")).unwrap().count()
    }
}

fn http(url: String, checksum: Option<Digest>) -> SourceOp {
    SourceOp::Http { url, checksum, filename: "file".to_owned(), mode: None, owner: None }
}

const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

#[tokio::test(flavor = "multi_thread")]
async fn a_download_is_private_dated_and_fetched_once() {
    let web = Web::start(|asked| match asked.header("if-none-match") {
        Some("\"v1\"") => Reply::status(304),
        _ => Reply::body("text").header("etag", "\"v1\"").header("last-modified", DATE),
    });
    let shop = Shop::new();
    let url = format!("{}/a/b", web.origin());
    let out = shop.fetch(http(url.clone(), None)).await.unwrap();
    let file = std::fs::metadata(out.join("file")).unwrap();
    assert_eq!((file.mode() & 0o7777, file.mtime(), file.uid()), (0o600, 784_111_777, 0));
    assert_eq!(std::fs::read_to_string(out.join("file")).unwrap(), "text");
    shop.fetch(http(url.clone(), None)).await.unwrap();
    let statuses: Vec<bool> =
        web.asked().iter().map(|asked| asked.header("if-none-match").is_some()).collect();
    assert_eq!(statuses, [false, true]);
    // With a digest nobody is asked again.
    let checksum = Digest::of(b"text");
    shop.fetch(http(url.clone(), Some(checksum.clone()))).await.unwrap();
    let before = web.asked().len();
    shop.fetch(http(url, Some(checksum))).await.unwrap();
    assert_eq!(web.asked().len(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_an_error_and_leaves_nothing() {
    let web = Web::start(|asked| match asked.path.as_str() {
        "/short" => Reply::body("text").header("content-length", "10"),
        "/partial" => Reply::body("te").with_status(206).header("content-range", "bytes 0-1/4"),
        "/coded" => Reply::body("text").header("content-encoding", "gzip"),
        "/missing" => Reply::status(404),
        "/unchanged" => Reply::status(304),
        "/inside" => Reply::status(302).header("location", "http://169.254.169.254/latest"),
        "/file" => Reply::status(302).header("location", "file:///etc/passwd"),
        _ => Reply::body("text"),
    });
    let shop = Shop::new();
    for (path, expected) in [
        ("short", "the connection failed"),
        ("partial", "206"),
        ("coded", "the coding `gzip`"),
        ("missing", "the server answered `404"),
        ("unchanged", "304"),
        ("inside", "link-local"),
        ("file", "scheme"),
    ] {
        let error = shop.fetch(http(format!("{}/{path}", web.origin()), None)).await.unwrap_err();
        assert!(error.contains(expected), "{path}: {error}");
    }
    let other = Digest::of(b"other");
    let error = shop.fetch(http(format!("{}/x", web.origin()), Some(other))).await.unwrap_err();
    assert!(error.contains(Digest::of(b"text").as_str()), "{error}");
    assert_eq!(shop.snapshots(), 0);
    for name in ["..", ".", "", "a/b", "a\0b"] {
        let source = SourceOp::Http {
            url: web.origin(),
            checksum: None,
            filename: name.to_owned(),
            mode: None,
            owner: None,
        };
        assert!(shop.fetch(source).await.is_err(), "{name:?}");
    }
    assert_eq!(shop.snapshots(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_that_breaks_off_is_begun_again() {
    let count = AtomicUsize::new(0);
    let web = Web::start(move |_| match count.fetch_add(1, Ordering::SeqCst) {
        0 => Reply::body("te").header("content-length", "4"),
        _ => Reply::body("text"),
    });
    let shop = Shop::new();
    let out = shop.fetch(http(web.origin(), None)).await.unwrap();
    assert_eq!(std::fs::read_to_string(out.join("file")).unwrap(), "text");
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_go_to_their_own_server_only() {
    let other = Web::start(|_| Reply::body("text"));
    let target = format!("{}/x", other.origin());
    let web = Web::start(move |_| Reply::status(302).header("location", target.clone()));
    let shop = Shop::new().with_secret("HTTP_AUTH_TOKEN_127.0.0.1", "hunter2");
    shop.fetch(http(web.origin(), None)).await.unwrap();
    assert_eq!(web.asked()[0].header("authorization"), Some("Bearer hunter2"));
    assert_eq!(other.asked()[0].header("authorization"), None);
    let url = web.origin().replace("://", "://me:hunter3@") + "/y";
    let shop = Shop::new();
    shop.fetch(http(url.clone(), None)).await.unwrap();
    assert!(web.asked()[1].header("authorization").is_some_and(|value| value.starts_with("Basic ")));
    assert_eq!(other.asked()[1].header("authorization"), None);
    let error = shop.fetch(http(url.replace("/y", ":1/y"), None)).await.unwrap_err();
    assert!(!error.contains("hunter"), "{error}");
}

/// Repositories in a folder, and the server of them.
struct Repositories {
    dir: TempDir,
    web: Web,
}

impl Repositories {
    fn new() -> Repositories {
        let dir = TempDir::new().unwrap();
        let web = Web::git(dir.path());
        Repositories { dir, web }
    }

    fn url(&self, name: &str) -> String {
        format!("{}/{name}", self.web.origin())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Makes a repository with one commit of `files` on `main`; its commit.
    fn make(&self, name: &str, files: &[(&str, &str)]) -> String {
        let dir = self.path(name);
        std::fs::create_dir_all(&dir).unwrap();
        git(&dir, &["init", "--quiet", "--initial-branch=main"]);
        self.commit(name, files)
    }

    fn commit(&self, name: &str, files: &[(&str, &str)]) -> String {
        let dir = self.path(name);
        for (path, text) in files {
            std::fs::create_dir_all(dir.join(path).parent().unwrap()).unwrap();
            std::fs::write(dir.join(path), text).unwrap();
        }
        git(&dir, &["add", "--all"]);
        git(&dir, &["commit", "--quiet", "--allow-empty", "--message", "as the test wants it"]);
        git(&dir, &["rev-parse", "HEAD"])
    }
}

fn git(dir: &Path, args: &[&str]) -> String {
    let output = Command::new("git")
        .current_dir(dir)
        .args(["-c", "protocol.file.allow=always", "-c", "user.name=t", "-c", "user.email=t@example.org"])
        .args(args)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_COMMITTER_DATE", "1994-11-06T08:49:37Z")
        .output()
        .unwrap();
    assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn repository(remote: String, reference: Option<&str>) -> SourceOp {
    SourceOp::Git {
        remote,
        reference: reference.map(str::to_owned),
        subdir: None,
        checksum: None,
        keep_git_dir: false,
        submodules: Submodules::Recursive,
        times: GitTimes::Checkout,
        fetch_by_commit: false,
        access: kiln_graph::GitAccess::default(),
    }
}

/// The same source with a field changed.
fn with(mut source: SourceOp, change: impl FnOnce(&mut Fields<'_>)) -> SourceOp {
    if let SourceOp::Git { subdir, checksum, keep_git_dir, submodules, times, fetch_by_commit, .. } =
        &mut source
    {
        change(&mut Fields { subdir, checksum, keep_git_dir, submodules, times, fetch_by_commit });
    }
    source
}

struct Fields<'a> {
    subdir: &'a mut Option<String>,
    checksum: &'a mut Option<String>,
    keep_git_dir: &'a mut bool,
    submodules: &'a mut Submodules,
    times: &'a mut GitTimes,
    fetch_by_commit: &'a mut bool,
}

fn read(dir: &Path, path: &str) -> String {
    std::fs::read_to_string(dir.join(path)).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_is_found_by_every_kind_of_name() {
    let repositories = Repositories::new();
    let first = repositories.make("r", &[("file", "one"), ("deep/inner", "x")]);
    let dir = repositories.path("r");
    git(&dir, &["tag", "--annotate", "--message", "t", "v1"]);
    std::fs::set_permissions(dir.join("deep/inner"), std::fs::Permissions::from_mode(0o700)).unwrap();
    let second = repositories.commit("r", &[("file", "two")]);
    let shop = Shop::new();
    let url = repositories.url("r");
    for (reference, expected) in [
        (None, "two"),
        (Some("main"), "two"),
        (Some("refs/heads/main"), "two"),
        (Some("v1"), "one"),
        (Some("refs/tags/v1"), "one"),
        (Some(first.as_str()), "one"),
        (Some(second.as_str()), "two"),
    ] {
        let out = shop.fetch(repository(url.clone(), reference)).await.unwrap();
        assert_eq!(read(&out, "file"), expected, "{reference:?}");
        assert!(!out.join(".git").exists());
    }
    let out = shop.fetch(repository(url.clone(), None)).await.unwrap();
    let mode = |path: &str| std::fs::metadata(out.join(path)).unwrap().mode() & 0o7777;
    assert_eq!((mode("file"), mode("deep/inner"), mode("deep")), (0o644, 0o755, 0o755));
    // Once here a commit is not fetched again; a branch is looked up again.
    let before = repositories.web.asked().len();
    shop.fetch(repository(url.clone(), Some(&first))).await.unwrap();
    assert_eq!(repositories.web.asked().len(), before);
    let error = shop.fetch(repository(url, Some("nowhere"))).await.unwrap_err();
    assert!(error.contains("it has no reference `nowhere`"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_a_time_and_a_checksum() {
    let repositories = Repositories::new();
    repositories.make("r", &[("a/b/file", "inner"), ("file", "outer")]);
    symlink("a", repositories.path("r").join("link")).unwrap();
    let commit = repositories.commit("r", &[]);
    let shop = Shop::new();
    let source = || repository(repositories.url("r"), None);
    let wanted = with(source(), |it| {
        *it.subdir = Some("a/b".to_owned());
        *it.times = GitTimes::Commit;
        *it.checksum = Some(commit[..10].to_owned());
    });
    let out = shop.fetch(wanted).await.unwrap();
    assert_eq!(read(&out, "file"), "inner");
    assert_eq!(std::fs::metadata(out.join("file")).unwrap().mtime(), 784_111_777);
    let wrong = with(source(), |it| *it.checksum = Some("ffff".to_owned()));
    assert!(shop.fetch(wrong).await.unwrap_err().contains("and not `ffff`"));
    let before = shop.snapshots();
    for bad in ["..", "../", "a/../..", "link", "link/..", "link/b", "file", "etc", "/etc", ".git"] {
        let source = with(source(), |it| *it.subdir = Some(bad.to_owned()));
        let error = shop.fetch(source).await.unwrap_err();
        assert!(error.contains(&format!("folder `{bad}`")), "{bad}: {error}");
    }
    assert_eq!(shop.snapshots(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_repository_itself_is_kept_where_that_is_asked() {
    let repositories = Repositories::new();
    let commit = repositories.make("r", &[("file", "x")]);
    let shop = Shop::new().with_secret("GIT_AUTH_TOKEN", "hunter2");
    let url = repositories.url("r").replace("://", "://me:hunter3@");
    let source = with(repository(url, Some("main")), |it| *it.keep_git_dir = true);
    let out = shop.fetch(source).await.unwrap();
    assert_eq!(
        git(&out, &["-c", "safe.directory=*", "rev-parse", "HEAD", "refs/heads/main"]),
        format!("{commit}\n{commit}")
    );
    assert_eq!(git(&out, &["-c", "safe.directory=*", "status", "--porcelain"]), "");
    assert_eq!(git(&out, &["-c", "safe.directory=*", "config", "remote.origin.url"]), repositories.url("r"));
    assert!(!out.join(".git/hooks").exists());
    let all = Command::new("grep").args(["-r", "hunter"]).arg(&out).output().unwrap();
    assert!(all.stdout.is_empty(), "{}", String::from_utf8_lossy(&all.stdout));
    let asked = repositories.web.asked();
    // A secret goes before what is written in the URL.
    assert!(
        asked
            .iter()
            .all(|asked| { asked.header("authorization") == Some("basic eC1hY2Nlc3MtdG9rZW46aHVudGVyMg==") })
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn submodules_come_along_unless_they_lead_to_this_machine() {
    let repositories = Repositories::new();
    repositories.make("inner", &[("innermost", "deep")]);
    repositories.make("outer", &[("file", "x")]);
    let dir = repositories.path("outer");
    let inner = repositories.path("inner");
    git(&dir, &["submodule", "--quiet", "add", inner.to_str().unwrap(), "sub"]);
    let commit = |url: &str| {
        let modules = format!(
            "[submodule \"sub\"]
	path = sub
	url = {url}
"
        );
        repositories.commit("outer", &[(".gitmodules", &modules)])
    };
    commit("../inner");
    let shop = Shop::new();
    let source = || repository(repositories.url("outer"), Some("main"));
    let out = shop.fetch(source()).await.unwrap();
    assert_eq!(read(&out, "sub/innermost"), "deep");
    assert!(!out.join("sub/.git").exists());
    let skipped = with(source(), |it| *it.submodules = Submodules::Skip);
    let out = shop.fetch(skipped).await.unwrap();
    assert_eq!(std::fs::read_dir(out.join("sub")).unwrap().count(), 0);
    let canary = repositories.path("canary");
    let run = format!("ext::sh -c touch% {}", canary.display());
    for url in [format!("file://{}", inner.display()), inner.display().to_string(), run] {
        commit(&url);
        let error = shop.fetch(source()).await.unwrap_err();
        assert!(error.contains("git submodule"), "{url}: {error}");
    }
    assert!(!canary.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_a_repository_says_is_executed() {
    let repositories = Repositories::new();
    let canary = repositories.path("canary");
    let touch = format!("touch {}", canary.display());
    let attributes = "* filter=evil diff=evil merge=evil\n";
    let config = format!("[core]\n\tfsmonitor = {touch}\n[filter \"evil\"]\n\tsmudge = {touch}\n");
    repositories.make(
        "r",
        &[
            (".gitattributes", attributes),
            ("file", "x"),
            (".gitconfig", &config),
            ("hooks/post-checkout", &touch),
        ],
    );
    let shop = Shop::new();
    shop.fetch(repository(repositories.url("r"), None)).await.unwrap();
    for remote in [
        format!("ext::sh -c '{touch}'"),
        format!("--upload-pack={touch}"),
        format!("file://{}", repositories.path("r").display()),
    ] {
        assert!(shop.fetch(repository(remote.clone(), None)).await.is_err(), "{remote}");
    }
    for reference in [format!("--upload-pack={touch}"), "-x".to_owned(), format!("main;{touch}")] {
        assert!(
            shop.fetch(repository(repositories.url("r"), Some(&reference))).await.is_err(),
            "{reference}"
        );
    }
    assert!(!canary.exists());
}

/// What is in `file` on `main`, which moves between the look-up and the fetch.
async fn fetch_while_it_moves(repositories: &Arc<Repositories>, is_modern: bool) -> String {
    let (root, mover) = (repositories.dir.path().to_owned(), Arc::clone(repositories));
    let lookups = AtomicUsize::new(0);
    let web = Web::start(move |asked| {
        // The second look at the references is that of the fetch.
        if asked.path.ends_with("/info/refs") && lookups.fetch_add(1, Ordering::SeqCst) == 1 {
            mover.commit("r", &[("file", "two")]);
        }
        let mut asked = asked.clone();
        asked.headers.retain(|(name, _)| is_modern || name != "git-protocol");
        git_backend(&root, &asked)
    });
    let shop = Shop::new();
    let out = shop.fetch(repository(format!("{}/r", web.origin()), Some("main"))).await.unwrap();
    read(&out, "file")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_branch_that_moves_between_looking_and_fetching_stays_what_it_was() {
    let repositories = Arc::new(Repositories::new());
    let first = repositories.make("r", &[("file", "one")]);
    // Version 2 of the protocol gives out any commit, version 0 only what references name: then all of it is fetched.
    for is_modern in [true, false] {
        let out = fetch_while_it_moves(&repositories, is_modern).await;
        assert_eq!(out, "one");
        git(&repositories.path("r"), &["reset", "--quiet", "--hard", &first]);
    }
    repositories.commit("r", &[("file", "two")]);
    let by_commit = with(repository(repositories.url("r"), Some("main")), |it| {
        *it.checksum = Some(first);
        *it.fetch_by_commit = true;
    });
    // Its own, so that the commit must come from the server, which no reference leads to at once.
    let shop = Shop::new();
    let out = shop.fetch(by_commit).await.unwrap();
    assert_eq!(read(&out, "file"), "one");
}

/// An agent that says that it has no keys, and counts how often it was asked.
struct Empty(Arc<AtomicUsize>);

impl SshAgents for Empty {
    fn agent(&self, id: &str) -> Result<Option<Arc<dyn SshAgent>>, SessionError> {
        Ok((id == "default").then(|| Arc::new(Empty(self.0.clone())) as Arc<dyn SshAgent>))
    }
}

impl SshAgent for Empty {
    fn answer(&self, _request: Vec<u8>) -> BoxFuture<'_, std::io::Result<Vec<u8>>> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Box::pin(async { Ok(vec![12, 0, 0, 0, 0]) })
    }
}

/// What stands for `ssh`: asks the agent for its keys, and runs on this machine what it should run elsewhere.
const SSH: &str = r#"#!/usr/bin/env python3
import os, socket, sys
agent = socket.socket(socket.AF_UNIX)
agent.connect(os.environ["SSH_AUTH_SOCK"])
agent.sendall(b"\0\0\0\1\x0b")
assert agent.recv(9) == b"\0\0\0\5\x0c\0\0\0\0"
assert "git@host.invalid" in sys.argv and "StrictHostKeyChecking=accept-new" in sys.argv
os.execvp("sh", ["sh", "-c", sys.argv[-1]])
"#;

#[tokio::test(flavor = "multi_thread")]
async fn ssh_finds_the_agent_of_the_session() {
    let repositories = Repositories::new();
    repositories.make("r", &[("file", "by ssh")]);
    let asked = Arc::<AtomicUsize>::default();
    let mut shop = Shop::new();
    shop.ssh = Arc::new(Empty(asked.clone()));
    let programs = repositories.path("programs");
    std::fs::create_dir(&programs).unwrap();
    std::fs::write(programs.join("ssh"), SSH).unwrap();
    std::fs::set_permissions(programs.join("ssh"), std::fs::Permissions::from_mode(0o755)).unwrap();
    shop.path = format!("{}:{}", programs.display(), shop.path);
    let remote = format!("ssh://git@host.invalid{}", repositories.path("r").display());
    let out = shop.fetch(repository(remote, None)).await.unwrap();
    assert_eq!(read(&out, "file"), "by ssh");
    assert!(asked.load(Ordering::SeqCst) > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_credentials_no_redirect_is_followed() {
    let other = Web::start(|_| Reply::status(404));
    let target = other.origin();
    let web = Web::start(move |asked| {
        Reply::status(302).header("location", format!("{target}{}?{}", asked.path, asked.query))
    });
    let shop = Shop::new().with_secret("GIT_AUTH_TOKEN", "hunter2");
    let error = shop.fetch(repository(format!("{}/r", web.origin()), None)).await.unwrap_err();
    assert!(error.contains("give the address that it leads to"), "{error}");
    assert!(other.asked().is_empty());
    let shop = Shop::new();
    assert!(shop.fetch(repository(format!("{}/r", web.origin()), None)).await.is_err());
    assert!(!other.asked().is_empty());
}

/// Processes whose command line has `text`.
fn processes_with(text: &str) -> Vec<String> {
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    let lines = all.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    let lines = lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " "));
    lines.filter(|line| line.contains(text)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fetch_that_is_given_up_leaves_nothing_and_shows_no_secret() {
    let (told, asked) = std::sync::mpsc::channel();
    let (release, held) = std::sync::mpsc::channel::<()>();
    let (told, held) = (Mutex::new(told), Mutex::new(held));
    let web = Web::start(move |_| {
        told.lock().unwrap().send(()).ok();
        // Until the test is over.
        held.lock().unwrap().recv().ok();
        Reply::status(500)
    });
    let shop = Shop::new().with_secret("GIT_AUTH_TOKEN", "hunter2");
    let url = format!("{}/given-up.git", web.origin().replace("://", "://me:hunter3@"));
    let cancel = shop.cancel.clone();
    let host = web.host();
    let watcher = std::thread::spawn(move || {
        asked.recv().unwrap();
        let running = processes_with(&host);
        cancel.cancel();
        running
    });
    let error = shop.fetch(repository(url, None)).await.unwrap_err();
    let running = watcher.join().unwrap();
    assert!(error.contains("cancelled"), "{error}");
    assert!(!running.is_empty() && !running.iter().any(|line| line.contains("hunter")), "{running:?}");
    drop(release);
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while !processes_with(&web.host()).is_empty() || shop.snapshots() > 0 {
        assert!(std::time::Instant::now() < deadline, "{:?}", processes_with(&web.host()));
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

struct Layout(PathBuf);

impl ContextSource for Layout {
    fn directory(&self, name: &str) -> Result<PathBuf, SessionError> {
        Nothing.directory(name)
    }

    fn layout(&self, _store: &str, _digest: &Digest) -> Result<PathBuf, SessionError> {
        Ok(self.0.clone())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_comes_from_a_layout_verified() {
    let web = Web::start(|_| Reply::body("of the layout"));
    let maker = Shop::new();
    let tar = maker.dir.path().join("layout.tar");
    let export = Export::Oci { image: ImageOptions::default(), dest: Destination::File(tar.clone()) };
    let mut built = maker.build(http(web.origin(), None), vec![export]).await.unwrap();
    let digest = built.images.pop().unwrap().manifest.digest;
    let layout = maker.dir.path().join("layout");
    std::fs::create_dir(&layout).unwrap();
    assert!(Command::new("tar").arg("-xf").arg(&tar).current_dir(&layout).status().unwrap().success());
    let source = || SourceOp::OciLayout {
        store: "any".to_owned(),
        digest: digest.clone(),
        platform: Platform::new("linux", "amd64", None),
    };
    let mut shop = Shop::new();
    assert!(shop.fetch(source()).await.unwrap_err().contains("no such layout was given"));
    shop.contexts = Arc::new(Layout(layout.clone()));
    let out = shop.fetch(source()).await.unwrap();
    assert_eq!(read(&out, "file"), "of the layout");
    for blob in std::fs::read_dir(layout.join("blobs/sha256")).unwrap() {
        std::fs::write(blob.unwrap().path(), "{}").unwrap();
    }
    let mut other = Shop::new();
    other.contexts = Arc::new(Layout(layout));
    assert!(other.fetch(source()).await.is_err());
}
