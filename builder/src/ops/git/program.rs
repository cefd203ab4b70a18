//! The `git` program, kept apart from this machine: no configuration but ours, no home, no hooks, no prompts, no
//! protocols but those of the network, and no secret on a command line.

use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kiln_graph::url::redact;
use tokio::io::AsyncReadExt;
use tokio::process::Command;

use super::super::credentials::{self, GitSecret};
use super::Wanted;
use super::resolve::PROTOCOLS;
use crate::error::Cause;
use crate::session::Session;
use crate::solver::blocking;
use crate::ssh::{self, Door};
use crate::stores::Stores;
use crate::value::Layers;
use crate::workspace::Workspace;

/// The longest that one command may run.
const MAX_TIME: Duration = Duration::from_secs(60 * 60);
/// The most bytes that a command may answer with.
const MAX_OUTPUT: u64 = 4 << 20;
/// The most bytes of complaints that are read, and how many of their last lines are shown.
const MAX_COMPLAINTS: u64 = 256 << 10;
const SHOWN_LINES: usize = 6;

/// The socket that leads to the session's SSH agent.
const AGENT: &str = "agent";

const SIGKILL: i32 = 9;
/// Where programs are where nobody says.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// What reaches `git` of the session's environment: the way to the world.
const PASSED: [&str; 8] = [
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "ALL_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "all_proxy",
];
/// What holds for every repository and submodule.
const CONFIG: &str = "\
[core]
\thooksPath = /dev/null
\tfsmonitor = false
\tlogAllRefUpdates = false
\tprotectHFS = true
\tprotectNTFS = true
\tsymlinks = true
\tautocrlf = false
[gc]
\tauto = 0
[maintenance]
\tauto = false
[advice]
\tdetachedHead = false
[transfer]
\tbundleURI = false
[fetch]
\trecurseSubmodules = false
[submodule]
\trecurse = false
[credential]
\thelper =
[http]
\tlowSpeedLimit = 1
\tlowSpeedTime = 60
";

/// A repository of our own to fetch into, and the program to do that with; both are gone when this is dropped.
pub(super) struct Git {
    remote: String,
    environment: BTreeMap<String, String>,
    tree: PathBuf,
    secrets: Vec<String>,
    _agent: Option<Door>,
    // Dropped uncommitted, so that nothing of it stays, also after a crash.
    _scratch: Workspace,
}

impl Git {
    /// An empty repository whose `origin` is what is wanted; `sha256` says which hash it is for.
    pub(super) async fn new(
        stores: &Arc<Stores>,
        wanted: &Wanted,
        session: &Session,
        commit: Option<&str>,
    ) -> Result<Git, Cause> {
        let (stores, wanted_now, session) = (stores.clone(), wanted.clone(), session.clone());
        let git = blocking(move || Git::prepare(&stores, &wanted_now, &session)).await?;
        let format = if commit.is_some_and(|commit| commit.len() == 64) { "sha256" } else { "sha1" };
        let format = format!("--object-format={format}");
        git.run(&["init", "--quiet", "--template=", "--initial-branch=master", &format]).await?;
        git.run(&["config", "--local", "remote.origin.url", &without_password(&wanted.remote)]).await?;
        Ok(git)
    }

    fn prepare(stores: &Arc<Stores>, wanted: &Wanted, session: &Session) -> Result<Git, Cause> {
        let scratch = Workspace::on(&stores.store, &Layers::scratch())?;
        let dir = scratch.changes_dir()?;
        let (home, tree, config) = (dir.join("home"), dir.join("tree"), dir.join("config"));
        for folder in [&home, &tree] {
            std::fs::create_dir(folder).map_err(Cause::io("make a folder for git"))?;
        }
        let authorization = authorization(wanted, session)?;
        write_private(&config, &config_text(&wanted.remote, authorization.as_deref()))?;
        let mut environment = environment(session, &home, &config);
        let agent =
            session.ssh.agent("default")?.map(|agent| ssh::listen(&dir.join(AGENT), agent)).transpose()?;
        if agent.is_some() {
            environment.insert("SSH_AUTH_SOCK".to_owned(), dir.join(AGENT).to_string_lossy().into_owned());
        }
        let secrets = authorization.into_iter().collect();
        Ok(Git {
            remote: redact(&wanted.remote),
            environment,
            tree,
            secrets,
            _agent: agent,
            _scratch: scratch,
        })
    }

    /// The checked out files.
    pub(super) fn tree(&self) -> &Path {
        &self.tree
    }

    /// Runs a command in the repository; its output.
    pub(super) async fn run(&self, args: &[&str]) -> Result<Vec<u8>, Cause> {
        match tokio::time::timeout(MAX_TIME, self.run_now(args)).await {
            Ok(result) => result,
            Err(_) => Err(self.error(args, &format!("it did not end in {} s", MAX_TIME.as_secs()), None)),
        }
    }

    async fn run_now(&self, args: &[&str]) -> Result<Vec<u8>, Cause> {
        let mut child = Command::new("git")
            .args(args)
            .current_dir(&self.tree)
            .env_clear()
            .envs(&self.environment)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .map_err(|error| self.not_started(args, &error))?;
        let mut group = Group(child.id());
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let (output, complaints) = tokio::join!(read(stdout, MAX_OUTPUT), read(stderr, MAX_COMPLAINTS));
        let failed = Cause::io(format!("read what `git {}` says", args[0]));
        let (output, complaints) = output.and_then(|output| Ok((output, complaints?))).map_err(failed)?;
        let (Some(output), Some(complaints)) = (output, complaints) else {
            return Err(self.error(args, "it says too much", None));
        };
        let status = child.wait().await.map_err(Cause::io("wait for git"))?;
        group.0 = None;
        if status.success() {
            return Ok(output);
        }
        Err(self.error(args, &self.readable(&complaints), self.hint(&complaints)))
    }

    fn error(&self, args: &[&str], reason: &str, hint: Option<String>) -> Cause {
        let command = args.first().unwrap_or(&"");
        Cause::Git { remote: self.remote.clone(), reason: format!("`git {command}`: {reason}"), hint }
    }

    fn not_started(&self, args: &[&str], error: &std::io::Error) -> Cause {
        let hint = (error.kind() == std::io::ErrorKind::NotFound)
            .then(|| "kiln fetches repositories with the program `git`: install it".to_owned());
        self.error(args, &error.to_string(), hint)
    }

    /// The last lines of what `git` complained about, without secrets.
    fn readable(&self, complaints: &[u8]) -> String {
        let mut text = redact(&String::from_utf8_lossy(complaints));
        for secret in &self.secrets {
            text = text.replace(secret, "xxxxx");
        }
        let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        let last = &lines[lines.len().saturating_sub(SHOWN_LINES)..];
        let printable =
            |line: &&str| line.trim_start_matches("fatal: ").replace(char::is_control, "\u{fffd}");
        last.iter().map(printable).collect::<Vec<_>>().join("; ")
    }

    fn hint(&self, complaints: &[u8]) -> Option<String> {
        let text = String::from_utf8_lossy(complaints);
        let asks =
            ["could not read Username", "Authentication failed", "Permission denied", "Repository not found"];
        asks.iter().any(|ask| text.contains(ask)).then(|| {
            "a private repository needs the secret `GIT_AUTH_TOKEN` or `GIT_AUTH_HEADER`, or `--ssh default`".to_owned()
        })
    }
}

/// Kills the whole group of a command that is given up: `git` leaves the talking to children of its own.
struct Group(Option<u32>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(leader) = self.0 {
            // It may have ended by itself a moment ago.
            let _ = kiln_sys::process::kill_group(leader, SIGKILL);
        }
    }
}

/// Everything that comes; `None` where that is more than `limit`.
async fn read(
    from: Option<impl tokio::io::AsyncRead + Unpin>,
    limit: u64,
) -> std::io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    if let Some(from) = from {
        from.take(limit + 1).read_to_end(&mut bytes).await?;
    }
    Ok((bytes.len() as u64 <= limit).then_some(bytes))
}

fn environment(session: &Session, home: &Path, config: &Path) -> BTreeMap<String, String> {
    let given = |name: &str| session.environment.get(name).cloned();
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let hosts = text(&home.join("known_hosts"));
    let ssh = format!(
        "ssh -F /dev/null -o BatchMode=yes -o ConnectTimeout=30 -o ServerAliveInterval=20 \
         -o StrictHostKeyChecking=accept-new -o UserKnownHostsFile='{hosts}'"
    );
    let mut all: BTreeMap<String, String> =
        PASSED.iter().filter_map(|name| Some(((*name).to_owned(), given(name)?))).collect();
    all.extend(
        [
            ("PATH", given("PATH").unwrap_or_else(|| DEFAULT_PATH.to_owned())),
            ("HOME", text(home)),
            ("XDG_CONFIG_HOME", text(home)),
            ("GIT_CONFIG_GLOBAL", text(config)),
            ("GIT_CONFIG_NOSYSTEM", "1".to_owned()),
            ("GIT_ATTR_NOSYSTEM", "1".to_owned()),
            ("GIT_ALLOW_PROTOCOL", PROTOCOLS.join(":")),
            ("GIT_TERMINAL_PROMPT", "0".to_owned()),
            ("GIT_SSH_COMMAND", ssh),
            ("GIT_NO_REPLACE_OBJECTS", "1".to_owned()),
            ("LC_ALL", "C".to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value)),
    );
    all
}

/// The value of `Authorization`: of a secret, else of the URL's own user info.
fn authorization(wanted: &Wanted, session: &Session) -> Result<Option<String>, Cause> {
    if !is_http(&wanted.remote) {
        return Ok(None);
    }
    let basic = |pair: &str| format!("basic {}", STANDARD.encode(pair));
    Ok(match credentials::of_git(session, &wanted.remote)? {
        Some(GitSecret::Header(header)) => Some(header),
        Some(GitSecret::Token(token)) => Some(basic(&format!("x-access-token:{token}"))),
        None => user_info(&wanted.remote).map(|info| match info.contains(':') {
            true => basic(&credentials::percent_decode(info)),
            false => basic(&format!("{}:", credentials::percent_decode(info))),
        }),
    })
}

/// Our configuration. The header goes to the repository alone, and to nobody to whom a redirect leads; a token for one
/// repository of github.com is one for all.
fn config_text(remote: &str, authorization: Option<&str>) -> String {
    let Some(value) = authorization else { return CONFIG.to_owned() };
    let remote = without_password(remote);
    let github = ["https://github.com/", "https://www.github.com/"];
    let scope = github.iter().find(|site| remote.starts_with(*site)).map_or(remote.as_str(), |site| *site);
    let quoted = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
    format!(
        "{CONFIG}[http \"{}\"]\n\textraHeader = \"Authorization: {}\"\n\tfollowRedirects = false\n",
        quoted(scope),
        quoted(value)
    )
}

fn is_http(remote: &str) -> bool {
    remote
        .split_once("://")
        .is_some_and(|(scheme, _)| matches!(&*scheme.to_ascii_lowercase(), "http" | "https"))
}

fn user_info(remote: &str) -> Option<&str> {
    let (_, rest) = remote.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    authority.rsplit_once('@').map(|(info, _)| info)
}

/// The URL as `git` and `.git/config` get it: the user of `ssh` stays, all other user info is gone.
fn without_password(remote: &str) -> String {
    let Some(info) = user_info(remote) else { return remote.to_owned() };
    let user = info.split(':').next().filter(|_| !is_http(remote));
    let user = user.map_or_else(String::new, |user| format!("{user}@"));
    remote.replacen(&format!("{info}@"), &user, 1)
}

fn write_private(path: &Path, text: &str) -> Result<(), Cause> {
    let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes())).map_err(Cause::io("write git's configuration"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_password_is_in_the_url() {
        for (remote, expected) in [
            ("https://u:p@h/r.git", "https://h/r.git"),
            ("https://token@h/r.git", "https://h/r.git"),
            ("ssh://git:p@h/r", "ssh://git@h/r"),
            ("git@h:r", "git@h:r"),
            ("https://h/a@b", "https://h/a@b"),
        ] {
            assert_eq!(without_password(remote), expected);
        }
    }

    #[test]
    fn the_header_is_for_the_repository_and_quoted() {
        let text = config_text("https://u:p@h/r.git", Some("basic a\"b"));
        assert!(text.ends_with(
            "[http \"https://h/r.git\"]\n\textraHeader = \"Authorization: basic a\\\"b\"\n\tfollowRedirects = false\n"
        ));
        assert!(
            config_text("https://github.com/a/b.git", Some("x")).contains("[http \"https://github.com/\"]")
        );
        assert_eq!(config_text("https://h/r", None), CONFIG);
    }
}
