//! `-o type=…,dest=…`.

use std::path::PathBuf;

use kiln_engine::Result;

use super::wrong;

/// Where a build's result goes, as it was typed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Output {
    /// `oci`, `docker`, `tar`, `local`, `image` or `cacheonly`.
    pub(crate) kind: String,
    /// A path, or `None` for standard output.
    pub(crate) dest: Option<PathBuf>,
    /// Further names for the image.
    pub(crate) names: Vec<String>,
    /// Whether each platform's files get a folder; nothing where it was not said.
    pub(crate) split: Option<bool>,
}

const KINDS: [&str; 6] = ["oci", "docker", "tar", "local", "image", "cacheonly"];

/// Reads one `-o`: a specification, a folder, or `-`.
pub(crate) fn parse(text: &str) -> Result<Output> {
    if text == "-" {
        return Ok(Output { kind: "tar".into(), ..Output::default() });
    }
    if !text.contains('=') {
        return Ok(Output { kind: "local".into(), dest: Some(text.into()), ..Output::default() });
    }
    let (mut kind, mut dest, mut names, mut split) = (None, None, Vec::new(), None);
    for part in text.split(',') {
        match part.split_once('=') {
            Some(("type", value)) => kind = Some(value.to_owned()),
            Some(("dest", value)) => dest = Some(value),
            Some(("name", value)) => names.push(value.to_owned()),
            Some(("platform-split", "true" | "1")) => split = Some(true),
            Some(("platform-split", "false" | "0")) => split = Some(false),
            Some(("platform-split", _)) => return wrong("-o", text, "`platform-split` is true or false"),
            Some((key, _)) => return wrong("-o", text, format!("key `{key}` is not supported yet")),
            None => return wrong("-o", text, format!("`{part}` is not `key=value`")),
        }
    }
    let Some(kind) = kind else { return wrong("-o", text, "it needs a `type`") };
    if !KINDS.contains(&kind.as_str()) {
        return wrong("-o", text, format!("type `{kind}` is not one of `{}`", KINDS.join("`, `")));
    }
    if kind == "local" && matches!(dest, None | Some("-" | "")) {
        return wrong("-o", text, "type `local` needs a folder as `dest`");
    }
    if kind != "local" && split.is_some() {
        return wrong("-o", text, "`platform-split` is for type `local`");
    }
    let dest = dest.filter(|dest| *dest != "-" && !dest.is_empty()).map(PathBuf::from);
    Ok(Output { kind, dest, names, split })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form() {
        let output = |kind: &str, dest: Option<&str>| Output {
            kind: kind.into(),
            dest: dest.map(PathBuf::from),
            ..Output::default()
        };
        assert_eq!(parse("out").unwrap(), output("local", Some("out")));
        assert_eq!(parse("-").unwrap(), output("tar", None));
        assert_eq!(parse("type=oci,dest=x.tar").unwrap(), output("oci", Some("x.tar")));
        assert_eq!(parse("type=docker,dest=-").unwrap(), output("docker", None));
        assert_eq!(parse("type=local,dest=x,platform-split=false").unwrap().split, Some(false));
        for bad in [
            "type=tar,platform-split=true",
            "type=local,dest=x,platform-split=maybe",
            "type=local",
            "type=zip,dest=x",
            "dest=x",
            "type=oci,push=true",
            "type=oci,x",
        ] {
            assert!(parse(bad).is_err(), "`{bad}` was accepted");
        }
    }
}
