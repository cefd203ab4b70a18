//! Restart policies, networks, labels of a filter.

use kiln_engine::Result;
use kiln_engine::containers::{NetworkMode, RestartPolicy};

use super::wrong;

/// `--restart`.
pub(crate) fn restart(text: &str) -> Result<RestartPolicy> {
    match text.split_once(':').map_or((text, None), |(policy, count)| (policy, Some(count))) {
        ("no" | "", None) => Ok(RestartPolicy::No),
        ("always", None) => Ok(RestartPolicy::Always),
        ("unless-stopped", None) => Ok(RestartPolicy::UnlessStopped),
        ("on-failure", None) => Ok(RestartPolicy::OnFailure { max: 0 }),
        ("on-failure", Some(count)) => match count.parse() {
            Ok(max) => Ok(RestartPolicy::OnFailure { max }),
            Err(_) => wrong("--restart", text, format!("`{count}` is not a number")),
        },
        _ => wrong("--restart", text, "a policy is `no`, `always`, `unless-stopped` or `on-failure[:N]`"),
    }
}

/// `--network`.
pub(crate) fn network(text: &str) -> Result<NetworkMode> {
    match text {
        "bridge" | "default" => Ok(NetworkMode::Bridge),
        "host" => Ok(NetworkMode::Host),
        "none" => Ok(NetworkMode::None),
        _ => wrong("--network", text, "a network is `bridge`, `host` or `none`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies() {
        assert_eq!(restart("no").unwrap(), RestartPolicy::No);
        assert_eq!(restart("always").unwrap(), RestartPolicy::Always);
        assert_eq!(restart("unless-stopped").unwrap(), RestartPolicy::UnlessStopped);
        assert_eq!(restart("on-failure").unwrap(), RestartPolicy::OnFailure { max: 0 });
        assert_eq!(restart("on-failure:3").unwrap(), RestartPolicy::OnFailure { max: 3 });
        for bad in ["never", "always:3", "on-failure:x"] {
            assert!(restart(bad).is_err(), "`{bad}` was accepted");
        }
    }

    #[test]
    fn networks() {
        assert_eq!(network("host").unwrap(), NetworkMode::Host);
        assert_eq!(
            network("front").unwrap_err().message,
            "`--network front`: a network is `bridge`, `host` or `none`"
        );
    }
}
