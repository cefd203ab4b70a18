//! `kiln system install` and `uninstall`: systemd's units of the daemon.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kiln_engine::{Error, Result};

use crate::app::App;
use crate::args::system::{InstallArgs, UninstallArgs};
use crate::commands::OK;
use crate::terminal;
use crate::values::{time, wrong};

/// Where the administrator's units are.
const FOLDER: &str = "etc/systemd/system";
const SOCKET: &str = "kiln.socket";
const SERVICE: &str = "kiln.service";
/// How long a daemon without builds takes to end at most, with something to spare.
const OTHERWISE: Duration = Duration::from_secs(30);
/// By which a unit is known as ours.
const MARK: &str = "# Written by `kiln system install`; `kiln system uninstall` removes it.\n";

pub(super) fn install(args: &InstallArgs, app: &App) -> Result<u8> {
    let units = [(SOCKET, socket(args)?), (SERVICE, service(args, app)?)];
    if args.print {
        let text: Vec<String> =
            units.iter().map(|(name, text)| format!("# /{FOLDER}/{name}\n{text}")).collect();
        return terminal::print(&text.join("\n")).map(|()| OK);
    }
    let folder = folder(args.destdir.as_deref());
    for (name, _) in &units {
        check_ours(&folder.join(name))?;
    }
    let fail = |path: &Path, error: io::Error| Error::internal(format!("write `{}`", path.display()), error);
    fs::create_dir_all(&folder).map_err(|error| fail(&folder, error))?;
    for (name, text) in &units {
        let (path, part) = (folder.join(name), folder.join(format!(".{name}.part")));
        fs::write(&part, text).and_then(|()| fs::rename(&part, &path)).map_err(|error| fail(&path, error))?;
        terminal::say(&format!("Written: {}", path.display()))?;
    }
    if args.destdir.is_none() {
        terminal::say("Next: systemctl daemon-reload && systemctl enable --now kiln.socket")?;
    }
    Ok(OK)
}

pub(super) fn uninstall(args: &UninstallArgs) -> Result<u8> {
    let folder = folder(args.destdir.as_deref());
    let mut removed = false;
    for name in [SERVICE, SOCKET] {
        let path = folder.join(name);
        if !check_ours(&path)? {
            continue;
        }
        fs::remove_file(&path)
            .map_err(|error| Error::internal(format!("remove `{}`", path.display()), error))?;
        terminal::say(&format!("Removed: {}", path.display()))?;
        removed = true;
    }
    if removed && args.destdir.is_none() {
        terminal::say("Next: systemctl daemon-reload && systemctl stop kiln.socket kiln.service")?;
    }
    Ok(OK)
}

fn folder(destdir: Option<&Path>) -> PathBuf {
    destdir.unwrap_or(Path::new("/")).join(FOLDER)
}

/// Whether there is a unit of ours; somebody else's is an error.
fn check_ours(path: &Path) -> Result<bool> {
    match fs::read(path) {
        Ok(text) if text.starts_with(MARK.as_bytes()) => Ok(true),
        Ok(_) => Err(Error::conflict(format!("`{}` was not written by kiln", path.display()))
            .with_hint("move it away first")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Error::internal(format!("read `{}`", path.display()), error)),
    }
}

fn socket(args: &InstallArgs) -> Result<String> {
    let (path, group) = (&args.socket, &args.group);
    let is_plain = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c));
    let shown = path.display().to_string();
    if !path.is_absolute() || !is_plain(&shown) {
        return wrong("--socket", &shown, "it is an absolute path of letters, digits and `/._-`");
    }
    if !is_plain(group) || group.is_empty() {
        return wrong("--group", group, "it is no name of a group");
    }
    Ok(format!(
        "{MARK}\
[Unit]
Description=Socket of kiln

[Socket]
ListenStream={shown}
SocketMode=0660
SocketUser=root
SocketGroup={group}

[Install]
WantedBy=sockets.target
"
    ))
}

fn service(args: &InstallArgs, app: &App) -> Result<String> {
    let program = match &args.program {
        Some(program) => program.clone(),
        None => std::env::current_exe().map_err(|error| Error::internal("find this program", error))?,
    };
    if !program.is_absolute() {
        return wrong("--program", &program.display().to_string(), "it is an absolute path");
    }
    let mut words = vec![program.display().to_string()];
    for (option, path) in [("--root", app.asked_root()), ("--config", app.asked_config())] {
        words.extend(path.into_iter().flat_map(|path| [option.to_owned(), path.display().to_string()]));
    }
    words.extend(["serve", "--addr", "fd://"].map(str::to_owned));
    words.extend(args.options.iter().cloned());
    let patience = patience(&args.options)?.as_secs();
    let command = words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ");
    Ok(format!(
        "{MARK}\
[Unit]
Description=kiln, which builds and runs containers
Requires={SOCKET}
After={SOCKET} network-online.target
Wants=network-online.target

[Service]
Type=notify
ExecStart={command}
ExecReload=/bin/kill -HUP $MAINPID
Restart=on-failure
RestartSec=1
# Containers belong to supervisors of their own and go on when the daemon ends.
KillMode=process
Delegate=yes
TimeoutStopSec={patience}
LimitNOFILE=1048576
TasksMax=infinity
OOMScoreAdjust=-500

[Install]
WantedBy=multi-user.target
Also={SOCKET}
"
    ))
}

/// How long the service may take to end: what builds are given, and what it takes beside that.
fn patience(options: &[String]) -> Result<Duration> {
    const OPTION: &str = "--shutdown-timeout";
    let mut words = options.iter();
    let text = words.find_map(|word| match word.strip_prefix(OPTION)? {
        "" => Some(None),
        rest => Some(rest.strip_prefix('=')),
    });
    // Where the value is a word of its own, it is the next.
    let text = text.map(|text| text.or(words.next().map(String::as_str)).unwrap_or_default());
    let builds = text.map(|text| time::length(OPTION, text)).transpose()?.flatten();
    Ok(builds.unwrap_or_default() + OTHERWISE)
}

/// A word of a command line as systemd reads it (systemd.service(5), systemd.syntax(7)).
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-:=,@+".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    let mut text = String::from('"');
    for c in word.chars() {
        match c {
            '"' | '\\' => text.extend(['\\', c]),
            '%' | '$' => text.extend([c, c]),
            '\n' => text.push_str("\\n"),
            c => text.push(c),
        }
    }
    text.push('"');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_service_may_take_as_long_as_its_builds() {
        let of = |line: &str| {
            let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
            patience(&words).map(|length| length.as_secs()).ok()
        };
        assert_eq!(of("--log-format json"), Some(30));
        assert_eq!(of("--shutdown-timeout 5m --log-format json"), Some(330));
        assert_eq!(of("--shutdown-timeout=10s"), Some(40));
        assert_eq!(of("--shutdown-timeout=soon"), None);
        assert_eq!(of("--shutdown-timeout"), None);
    }

    #[test]
    fn words_are_quoted_as_systemd_reads_them() {
        for (word, expected) in [
            ("--addr", "--addr"),
            ("unix:///run/a.sock", "unix:///run/a.sock"),
            ("", "\"\""),
            ("a b", "\"a b\""),
            ("50%$x", "\"50%%$$x\""),
            ("say \"\\\"\n", "\"say \\\"\\\\\\\"\\n\""),
        ] {
            assert_eq!(quoted(word), expected);
        }
    }
}
