//! `--target` and `-t`: which stages are built, and what each image is called.

use kiln_engine::oci::Reference;
use kiln_engine::oci::reference::ReferenceError;
use kiln_engine::{Error, Result};

/// A stage to build, and the names for its image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Target {
    /// Its name or number; `None` is the last of the file.
    pub(crate) stage: Option<String>,
    /// The names, each with a tag.
    pub(crate) names: Vec<Reference>,
}

/// The stages of `--target`, each with its names of `tags`; without one the last of the file, which gets all names.
pub(crate) fn parse(stages: &[String], tags: &[String]) -> Result<Vec<Target>> {
    let mut targets: Vec<Target> = Vec::new();
    for stage in stages.iter().filter(|stage| !stage.is_empty()) {
        if find(&mut targets, stage).is_none() {
            targets.push(Target { stage: Some(stage.clone()), names: Vec::new() });
        }
    }
    if targets.is_empty() {
        targets.push(Target { stage: None, names: Vec::new() });
    }
    for tag in tags {
        let (target, text) = whose(&mut targets, tag)?;
        target.names.push(name(text)?);
    }
    Ok(targets)
}

/// The target that `tag` is for, and the name.
fn whose<'a, 't>(targets: &'a mut [Target], tag: &'t str) -> Result<(&'a mut Target, &'t str)> {
    let list: Vec<String> = targets.iter().filter_map(|target| target.stage.clone()).collect();
    let wrong = |message: String, hint: String| Err(Error::invalid(message).with_hint(hint));
    match (tag.split_once('='), targets) {
        (None, [only]) => Ok((only, tag)),
        (None, _) => {
            let message =
                format!("`-t {tag}` does not say which of the targets `{}` it names", list.join("`, `"));
            wrong(message, format!("`-t {}={tag}` does", list[0]))
        }
        (Some((stage, name)), targets) => match find(targets, stage) {
            Some(target) => Ok((target, name)),
            None => wrong(
                format!("`-t {tag}`: `{stage}` is no target of this build"),
                format!("`--target {stage}` makes it one"),
            ),
        },
    }
}

/// Stages are called the same in upper and in lower case.
fn find<'a>(targets: &'a mut [Target], stage: &str) -> Option<&'a mut Target> {
    let is_it = |target: &&mut Target| target.stage.as_ref().is_some_and(|it| it.eq_ignore_ascii_case(stage));
    targets.iter_mut().find(is_it)
}

/// A name for an image: with a tag, and with no digest.
pub(crate) fn name(text: &str) -> Result<Reference> {
    let reference: Reference = text.parse().map_err(|error| not_a_name(text, error))?;
    if reference.digest().is_some() {
        return Err(Error::invalid(format!("`-t {text}`: a name to give has a tag and no digest")));
    }
    Ok(reference.with_default_tag())
}

fn not_a_name(text: &str, error: ReferenceError) -> Error {
    let lower = text.to_lowercase();
    let hint = format!("`-t {lower}` would do");
    let error = Error::from(error);
    if lower != text && lower.parse::<Reference>().is_ok() { error.with_hint(hint) } else { error }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(stages: &[&str], tags: &[&str]) -> Result<Vec<String>> {
        let own = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let targets = parse(&own(stages), &own(tags))?;
        let text = |target: Target| {
            let names: Vec<String> = target.names.iter().map(|name| name.familiar().to_string()).collect();
            format!("{}: {}", target.stage.unwrap_or_default(), names.join(" "))
        };
        Ok(targets.into_iter().map(text).collect())
    }

    #[test]
    fn each_name_finds_its_target() {
        assert_eq!(texts(&[], &["a", "b:2"]).unwrap(), [": a:latest b:2"]);
        assert_eq!(texts(&["x"], &["a", "x=b"]).unwrap(), ["x: a:latest b:latest"]);
        assert_eq!(
            texts(&["x", "y", "x"], &["y=b", "x=a", "y=c"]).unwrap(),
            ["x: a:latest", "y: b:latest c:latest"]
        );
        assert_eq!(texts(&["x", "y"], &[]).unwrap(), ["x: ", "y: "]);
    }

    #[test]
    fn a_name_without_a_target_is_told_how_to_have_one() {
        let error = texts(&["x", "y"], &["a"]).unwrap_err();
        assert_eq!(error.message, "`-t a` does not say which of the targets `x`, `y` it names");
        assert_eq!(error.hint.unwrap(), "`-t x=a` does");
        assert!(texts(&["x", "y"], &["z=a"]).unwrap_err().message.contains("`z` is no target"));
        assert!(texts(&[], &["z=a"]).is_err());
    }
}
