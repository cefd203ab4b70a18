//! `NAME=VALUE` arguments, environment files, `NAME:IP` lines.

use std::path::Path;

use kiln_engine::{Error, Result};

use super::wrong;

/// An environment file longer than this is not one.
const MAX_ENV_FILE: u64 = 4 << 20;

/// `NAME=VALUE` as it is; `NAME` with its value from the environment, or nothing where it has none.
pub(crate) fn from_environment(text: &str) -> Result<Option<String>> {
    if text.is_empty() || text.starts_with('=') {
        return wrong("-e", text, "it has no name");
    }
    if text.contains('=') {
        return Ok(Some(text.to_owned()));
    }
    Ok(std::env::var(text).ok().map(|value| format!("{text}={value}")))
}

/// The variables of `--env-file`s, then those of `-e`s, so that the latter win.
pub(crate) fn environment(files: &[impl AsRef<Path>], variables: &[String]) -> Result<Vec<String>> {
    let mut all = Vec::new();
    for file in files {
        all.extend(env_file(file.as_ref())?);
    }
    for variable in variables {
        all.extend(from_environment(variable)?);
    }
    Ok(all)
}

/// `NAME=VALUE` or `NAME` (an empty value) as a pair.
pub(crate) fn pair(text: &str) -> (String, String) {
    let (name, value) = text.split_once('=').unwrap_or((text, ""));
    (name.to_owned(), value.to_owned())
}

/// `--add-host NAME:IP` or `NAME=IP`.
pub(crate) fn host(text: &str) -> Result<(String, String)> {
    let split = text.split_once('=').or_else(|| text.split_once(':'));
    let Some((name, address)) = split.filter(|(name, address)| !name.is_empty() && !address.is_empty())
    else {
        return wrong("--add-host", text, "it is `NAME:IP`");
    };
    let address = address.trim_start_matches('[').trim_end_matches(']');
    if address != "host-gateway" && address.parse::<std::net::IpAddr>().is_err() {
        return wrong("--add-host", text, format!("`{address}` is not an IP address"));
    }
    Ok((name.to_owned(), address.to_owned()))
}

fn env_file(path: &Path) -> Result<Vec<String>> {
    let fail = |error: std::io::Error| {
        Error::invalid(format!("cannot read the environment file `{}`", path.display())).caused_by(error)
    };
    if std::fs::metadata(path).map_err(fail)?.len() > MAX_ENV_FILE {
        return Err(Error::invalid(format!(
            "the environment file `{}` is larger than 4 MiB",
            path.display()
        )));
    }
    let text = std::fs::read_to_string(path).map_err(fail)?;
    let mut variables = Vec::new();
    for (index, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let name = line.split('=').next().unwrap_or_default();
        if name.is_empty() || name.contains(char::is_whitespace) {
            let place = format!("{}:{}", path.display(), index + 1);
            return Err(Error::invalid(format!("{place}: `{name}` is not the name of a variable")));
        }
        variables.extend(from_environment(line)?);
    }
    Ok(variables)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_come_before_arguments() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("env");
        std::fs::write(&file, "# a comment\n\nA=1\nB=with = sign \nKILN_TEST_NOT_SET\n").unwrap();
        let all = environment(&[&file], &["A=2".to_owned(), "EMPTY=".to_owned()]).unwrap();
        assert_eq!(all, ["A=1", "B=with = sign ", "A=2", "EMPTY="]);
    }

    #[test]
    fn a_broken_file_is_named_with_its_line() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("env");
        std::fs::write(&file, "A=1\nmy name=x\n").unwrap();
        let error = environment(&[&file], &[]).unwrap_err();
        assert_eq!(error.message, format!("{}:2: `my name` is not the name of a variable", file.display()));
    }

    #[test]
    fn hosts_have_a_name_and_an_address() {
        let pair = |name: &str, ip: &str| (name.to_owned(), ip.to_owned());
        assert_eq!(host("db:10.0.0.1").unwrap(), pair("db", "10.0.0.1"));
        assert_eq!(host("db=::1").unwrap(), pair("db", "::1"));
        assert_eq!(host("db:[::1]").unwrap(), pair("db", "::1"));
        assert_eq!(host("me:host-gateway").unwrap(), pair("me", "host-gateway"));
        for bad in ["db", "db:", ":1.2.3.4", "db:there"] {
            assert!(host(bad).is_err(), "`{bad}` was accepted");
        }
    }
}
