//! `FROM --platform=linux/amd64`, which builds for one platform whatever `--platform` of the build says.

use kiln_oci::Platform;

use super::{Check, FromScene, Report, Rule};

pub(super) const RULE: Rule = Rule {
    name: "FromPlatformFlagConstDisallowed",
    description: "FROM --platform flag should not use a constant value",
    url: Some("https://docs.docker.com/go/dockerfile/rule/from-platform-flag-const-disallowed/"),
    fix: "use $BUILDPLATFORM, or name the stage after the platform",
    experimental: false,
    check: Check::From(check),
};

fn check(scene: &FromScene<'_>, report: &mut Report<'_>) {
    let Some(text) = &scene.stage.from.platform else { return };
    let expansion = scene.expand(text);
    if !expansion.matched.is_empty() || !expansion.unmatched.is_empty() {
        return;
    }
    let Some(text) = expansion.result else { return };
    let Ok(platform) = text.parse::<Platform>() else { return };
    let name = scene.stage.from.name.as_deref().unwrap_or_default();
    if !name.contains(&platform.os) && !name.contains(&platform.architecture) {
        let message = format!("FROM --platform flag should not use constant value {text:?}");
        report.on(scene.stage.into(), message);
    }
}

#[cfg(test)]
mod tests {
    use crate::lint::tests::check;

    #[test]
    fn a_name_that_says_so_makes_it_good() {
        check(
            "FROM --platform=linux/amd64 scratch",
            &[
                "FromPlatformFlagConstDisallowed: FROM --platform flag should not use constant value \"linux/amd64\" \
               (line 1)",
            ],
        );
        check("FROM --platform=linux/amd64 scratch AS my-amd64-stage", &[]);
        check("FROM --platform=linux/amd64 scratch AS linux", &[]);
    }
}
