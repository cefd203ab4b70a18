//! `--ssh ID[=SOCKET|=KEY[,KEY…]]`.

use std::path::PathBuf;

use kiln_engine::Result;
use kiln_engine::build::SshSource;

use super::wrong;

/// Reads one `--ssh`, as buildx does; without a path it is the agent whose socket is `own` (`SSH_AUTH_SOCK`).
pub(crate) fn parse(text: &str, own: Option<PathBuf>) -> Result<SshSource> {
    let (id, paths) = text.split_once('=').unwrap_or((text, ""));
    let id = if id.is_empty() { "default" } else { id };
    let mut paths: Vec<PathBuf> =
        paths.split(',').filter(|path| !path.is_empty()).map(PathBuf::from).collect();
    if paths.is_empty() {
        match own {
            Some(socket) => paths.push(socket),
            None => {
                return wrong("--ssh", text, "no agent runs: `SSH_AUTH_SOCK` is not set").map_err(
                    |error: kiln_engine::Error| error.with_hint(format!("`--ssh {id}=KEY` gives a key")),
                );
            }
        }
    }
    Ok(SshSource { id: id.to_owned(), paths })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_buildx() {
        for (text, id, paths) in [
            ("default", "default", &["/agent"][..]),
            ("", "default", &["/agent"]),
            ("work=/other", "work", &["/other"]),
            ("work=a,b", "work", &["a", "b"]),
            ("work=", "work", &["/agent"]),
        ] {
            let paths = paths.iter().map(PathBuf::from).collect();
            assert_eq!(
                parse(text, Some("/agent".into())).unwrap(),
                SshSource { id: id.to_owned(), paths },
                "{text}"
            );
        }
    }

    #[test]
    fn without_an_agent_a_path_is_needed() {
        let error = parse("default", None).unwrap_err();
        assert_eq!(error.message, "`--ssh default`: no agent runs: `SSH_AUTH_SOCK` is not set");
        assert_eq!(error.hint.as_deref(), Some("`--ssh default=KEY` gives a key"));
        assert!(parse("default=key", None).is_ok());
    }
}
