//! The `git` program: a repository of our own, commands in it, and what they complain about.

use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use kiln_graph::url::redact;
use tokio::io::AsyncReadExt;
use tokio::process::Command;

use super::Wanted;
use super::isolation::{authorization, config_text, environment, known_hosts, without_password};
use super::received::{Received, complaints};
use super::size::{self, Limits};
use crate::error::Cause;
use crate::progress::Reporter;
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
/// How many of their last lines are shown.
const SHOWN_LINES: usize = 6;
/// The socket that leads to the session's SSH agent.
const AGENT: &str = "agent";

const SIGKILL: i32 = 9;

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
        let known = wanted.access.known_hosts.as_deref();
        if let Some(lines) = known {
            write_private(&known_hosts(&home), lines)?;
        }
        let mut environment = environment(session, &home, &config, known.is_some());
        let id = wanted.access.agent.as_deref().unwrap_or("default");
        let agent = session.ssh.agent(id)?.map(|agent| ssh::listen(&dir.join(AGENT), agent)).transpose()?;
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
        self.run_in_time(args, None).await
    }

    /// Runs a command that fetches and, with `--progress`, tells how far it has come.
    pub(super) async fn fetch(&self, args: &[&str], reporter: &dyn Reporter) -> Result<(), Cause> {
        let mut received = Received::new(reporter, &self.remote);
        self.run_in_time(args, Some(&mut received)).await.map(drop)
    }

    async fn run_in_time(
        &self,
        args: &[&str],
        received: Option<&mut Received<'_>>,
    ) -> Result<Vec<u8>, Cause> {
        match tokio::time::timeout(MAX_TIME, self.run_now(args, received)).await {
            Ok(result) => result,
            Err(_) => Err(self.error(args, &format!("it did not end in {} s", MAX_TIME.as_secs()), None)),
        }
    }

    async fn run_now(&self, args: &[&str], received: Option<&mut Received<'_>>) -> Result<Vec<u8>, Cause> {
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
        let said = async { tokio::join!(read(stdout, MAX_OUTPUT), complaints(stderr, received)) };
        let (output, complaints) = tokio::select! {
            said = said => said,
            reason = size::exceeded(self.tree.clone(), Limits::default()) => {
                return Err(self.error(args, &reason, None));
            }
        };
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
        let hint = HINTS.iter().find(|(_, signs)| signs.iter().any(|sign| text.contains(sign)));
        hint.map(|(hint, _)| (*hint).to_owned())
    }
}

/// What to do next, and the words of `git` that call for it.
const HINTS: [(&str, &[&str]); 3] = [
    (
        "a private repository needs the secret `GIT_AUTH_TOKEN` or `GIT_AUTH_HEADER`, or `--ssh default`",
        &["could not read Username", "Authentication failed", "Permission denied", "Repository not found"],
    ),
    (
        "is the network up, and the server's address right?",
        &[
            "Could not resolve host",
            "Failed to connect",
            "Could not connect",
            "unable to look up",
            "Connection refused",
        ],
    ),
    ("with credentials no redirect is followed: give the address that it leads to", &["returned error: 30"]),
];

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

fn write_private(path: &Path, text: &str) -> Result<(), Cause> {
    let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes())).map_err(Cause::io("write git's configuration"))
}
