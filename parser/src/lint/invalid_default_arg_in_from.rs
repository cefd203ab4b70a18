//! `ARG TAG` and `FROM x:$TAG`: the file cannot be built without `--build-arg`.

use super::{Check, FileScene, Report, Rule};
use crate::expand::{Budget, Expander};

pub(super) const RULE: Rule = Rule {
    name: "InvalidDefaultArgInFrom",
    description: "Default value for global ARG results in an empty or invalid base image name",
    url: Some("https://docs.docker.com/go/dockerfile/rule/invalid-default-arg-in-from/"),
    fix: "give the ARG a default with which the image's name is valid",
    experimental: false,
    check: Check::File(check),
};

fn check(scene: &FileScene<'_>, report: &mut Report<'_>) {
    let Some(defaults) = scene.defaults else { return };
    let lookup = |name: &str| defaults.get(name);
    let budget = Budget::default();
    for stage in &scene.file.stages {
        let expander = Expander::new(scene.file.directives.escape, &lookup, &budget);
        let Ok(image) = expander.word(&stage.from.image) else { return };
        if image.parse::<kiln_oci::Reference>().is_err() {
            let message = format!(
                "Default value for ARG {} results in empty or invalid base image name",
                stage.from.image
            );
            report.at(stage.span, message);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::lint::tests::{check, check_with};

    #[test]
    fn defaults_alone_should_do() {
        let found = "InvalidDefaultArgInFrom: Default value for ARG busybox:$V results in empty or invalid base \
                     image name (line 2)";
        check_with("ARG V\nFROM busybox:$V", |options| {
            options.build_args.insert("V".to_owned(), "1".to_owned());
        })
        .expect(&[found]);
        check("ARG V=1\nFROM busybox:$V", &[]);
        check("ARG V\nFROM busybox:stable$V", &[]);
    }
}
