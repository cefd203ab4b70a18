//! An operation taken apart for people: what of two of them is different.

use kiln_oci::Digest;

use crate::url::redact;
use crate::{Device, ExecOp, ExtraHost, FileAction, FileOp, Mount, Network, Op, Security, render};

/// One part of an operation: what it is, and its value as text.
pub type Part = (String, String);

impl Op {
    /// Everything that counts in [`Op::digest`], by names that people know. Values are for reading and may be shortened; inputs
    /// are not among them, and a source is not taken apart: it is what it is pinned to.
    pub fn parts(&self) -> Vec<Part> {
        match self {
            Op::Exec(exec) => exec.parts(),
            Op::File(file) => file.parts(),
            Op::Source(_) | Op::Merge(_) | Op::Diff(_) => Vec::new(),
        }
    }
}

impl ExecOp {
    fn parts(&self) -> Vec<Part> {
        let ExecOp {
            args,
            env,
            cwd,
            user,
            hostname,
            network,
            security,
            devices,
            platform,
            mounts,
            extra_hosts,
            // Neither changes the digest.
            proxy_env: _,
            shm_size,
            ulimits,
            valid_exit_codes,
        } = self;
        let mut parts = vec![part("command", command(args))];
        parts.extend(env.iter().map(|variable| {
            let (name, value) = variable.split_once('=').unwrap_or((variable, ""));
            part(&format!("variable `{name}`"), value)
        }));
        let device = |Device { name, required }: &Device| format!("{name} required={required}");
        let host = |ExtraHost { name, address: _ }: &ExtraHost| name.clone();
        let network = match network {
            Network::Sandbox => "default",
            Network::None => "none",
            Network::Host => "host",
        };
        let security = if *security == Security::Insecure { "insecure" } else { "sandbox" };
        parts.extend([
            part("working directory", cwd),
            part("user", user),
            part("hostname", hostname.as_deref().unwrap_or_default()),
            part("network", network),
            part("security", security),
            part("platform", platform.to_string()),
            part("devices", join(devices.iter().map(device))),
            part("extra hosts", join(extra_hosts.iter().map(host))),
            part("size of /dev/shm", shm_size.to_string()),
            part("limits", join(ulimits.iter().cloned())),
            part("exit codes", join(valid_exit_codes.iter().map(ToString::to_string))),
        ]);
        parts.extend(mounts.iter().skip(1).map(mount));
        parts
    }
}

impl FileOp {
    fn parts(&self) -> Vec<Part> {
        let FileOp { actions } = self;
        let of = |(number, action): (usize, &FileAction)| {
            let mut text = render::action(action);
            if let FileAction::Mkfile { data, .. } = action {
                text = format!("{text} {}", Digest::of(data).short());
            }
            let name = if number == 0 {
                "instruction".to_owned()
            } else {
                format!("instruction, part {}", number + 1)
            };
            (name, text)
        };
        actions.iter().enumerate().map(of).collect()
    }
}

/// What is shown and remembered of a field: no password of a URL.
fn part(name: &str, value: impl Into<String>) -> Part {
    (name.to_owned(), redact(&value.into()))
}

/// A command as it was written: what a shell is given, else the words.
fn command(args: &[String]) -> String {
    match args {
        [_, flag, text] if flag == "-c" => text.clone(),
        words => words.join(" "),
    }
}

fn join(texts: impl Iterator<Item = String>) -> String {
    texts.collect::<Vec<_>>().join(" ")
}

fn mount(mount: &Mount) -> Part {
    let name = match mount {
        Mount::Secret { id, .. } => format!("secret `{id}`"),
        other => format!("{} mount at `{}`", other.kind(), other.target().unwrap_or_default()),
    };
    (name, render::mount(mount))
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_oci::Platform;

    #[test]
    fn a_process_is_told_by_what_was_written() {
        let args = ["/bin/sh", "-c", "make all"].map(str::to_owned).to_vec();
        let mut exec = ExecOp::new(args, Platform::new("linux", "amd64", None), Some(0));
        exec.env = vec!["A=1=2".to_owned()];
        exec.mounts.push(Mount::Tmpfs { target: "/t".to_owned(), readonly: false, size: None });
        let parts = Op::Exec(exec).parts();
        assert_eq!(parts[0], part("command", "make all"));
        assert_eq!(parts[1], part("variable `A`", "1=2"));
        let (_, shown) = part("command", "git clone https://me:hunter2@git.example/a.git");
        assert!(shown.ends_with("@git.example/a.git") && !shown.contains("hunter2"), "{shown}");
        assert_eq!(parts.last().unwrap().0, "tmpfs mount at `/t`");
    }

    #[test]
    fn the_content_of_a_file_counts_beyond_what_is_shown() {
        let file = |data: String| {
            let (input, path) = (crate::ActionInput::Scratch, "/f".to_owned());
            let action =
                FileAction::Mkfile { input, path, data: data.into_bytes(), mode: 0o644, owner: None };
            Op::File(FileOp { actions: vec![action] }).parts()
        };
        assert_ne!(file("a".repeat(1000)), file("a".repeat(1001)));
    }
}
