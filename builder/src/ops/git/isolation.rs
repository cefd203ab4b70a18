//! What keeps `git` apart from this machine and its servers apart from each other: environment, configuration and
//! credentials.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::super::credentials::{self, GitSecret};
use super::Wanted;
use super::resolve::PROTOCOLS;
use crate::error::Cause;
use crate::session::Session;

/// Where programs are where nobody says.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// What reaches `git` of the session's environment beside `PATH`: the way to the world.
pub const PASSED: [&str; 8] = [
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "ALL_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "all_proxy",
];
/// What holds for every repository and submodule. A pack is kept as it comes: of one that is unpacked `git` does not
/// tell how much has come.
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
\tunpackLimit = 1
[submodule]
\trecurse = false
[credential]
\thelper =
[http]
\tlowSpeedLimit = 1
\tlowSpeedTime = 60
";

/// Where the keys of SSH servers are, in the folder `home`.
pub(super) fn known_hosts(home: &Path) -> PathBuf {
    home.join("known_hosts")
}

/// The whole environment of `git`, with the folder `home` and the configuration `config`. With `strict`, an SSH server whose
/// key is not known is not believed.
pub(super) fn environment(
    session: &Session,
    home: &Path,
    config: &Path,
    strict: bool,
) -> BTreeMap<String, String> {
    let given = |name: &str| session.environment.get(name).cloned();
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let (hosts, checking) = (text(&known_hosts(home)), if strict { "yes" } else { "accept-new" });
    let ssh = format!(
        "ssh -F /dev/null -o BatchMode=yes -o ConnectTimeout=30 -o ServerAliveInterval=20 \
         -o StrictHostKeyChecking={checking} -o UserKnownHostsFile='{hosts}' -o GlobalKnownHostsFile=/dev/null"
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
pub(super) fn authorization(wanted: &Wanted, session: &Session) -> Result<Option<String>, Cause> {
    if !is_http(&wanted.remote) {
        return Ok(None);
    }
    let basic = |pair: &str| format!("basic {}", STANDARD.encode(pair));
    Ok(match credentials::of_git(session, &wanted.remote, &wanted.access)? {
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
pub(super) fn config_text(remote: &str, authorization: Option<&str>) -> String {
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
pub(super) fn without_password(remote: &str) -> String {
    let Some(info) = user_info(remote) else { return remote.to_owned() };
    let user = info.split(':').next().filter(|_| !is_http(remote));
    let user = user.map_or_else(String::new, |user| format!("{user}@"));
    remote.replacen(&format!("{info}@"), &user, 1)
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
