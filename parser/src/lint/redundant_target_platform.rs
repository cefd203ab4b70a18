//! `FROM --platform=$TARGETPLATFORM`, which is what happens without.

use super::{Check, FromScene, Report, Rule};

pub(super) const RULE: Rule = Rule {
    name: "RedundantTargetPlatform",
    description: "Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this is the default behavior",
    url: Some("https://docs.docker.com/go/dockerfile/rule/redundant-target-platform/"),
    fix: "leave the `--platform` out",
    experimental: false,
    check: Check::From(check),
};

fn check(scene: &FromScene<'_>, report: &mut Report<'_>) {
    let Some(platform) = &scene.stage.from.platform else { return };
    let expansion = scene.expand(platform);
    let alone = expansion.matched == ["TARGETPLATFORM"] && expansion.unmatched.is_empty();
    if alone && expansion.result == scene.args.get("TARGETPLATFORM") {
        let message = format!(
            "Setting platform to predefined {platform} in FROM is redundant as this is the default behavior"
        );
        report.on(scene.stage.into(), message);
    }
}

#[cfg(test)]
mod tests {
    use crate::lint::tests::check;

    #[test]
    fn only_the_variable_alone_is_redundant() {
        for variable in ["$TARGETPLATFORM", "${TARGETPLATFORM}"] {
            let found = format!(
                "RedundantTargetPlatform: Setting platform to predefined {variable} in FROM is redundant as this is \
                 the default behavior (line 1)"
            );
            check(&format!("FROM --platform={variable} scratch"), &[&found]);
        }
        check("FROM --platform=$TARGETOS/$TARGETARCH scratch", &[]);
        check("FROM --platform=$BUILDPLATFORM scratch", &[]);
    }
}
