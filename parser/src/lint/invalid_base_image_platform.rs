//! A base image that is for another platform than the build.

use super::{BaseScene, Check, Report, Rule};

pub(super) const RULE: Rule = Rule {
    name: "InvalidBaseImagePlatform",
    description: "Base image platform does not match expected target platform",
    url: None,
    fix: "use an image that is published for the platform, or build for the image's with `--platform`",
    experimental: false,
    check: Check::Base(check),
};

fn check(scene: &BaseScene<'_>, report: &mut Report<'_>) {
    let BaseScene { span, image, expected, actual } = scene;
    if (&expected.os, &expected.architecture) != (&actual.os, &actual.architecture) {
        let (expected, actual) = (expected.to_string(), actual.to_string());
        let message = format!(
            "Base image {image} was pulled with platform {actual:?}, expected {expected:?} for current build"
        );
        report.at(*span, message);
    }
}

#[cfg(test)]
mod tests {
    use crate::lint::tests::check_with_base;

    #[test]
    fn both_platforms_are_named() {
        let found = "InvalidBaseImagePlatform: Base image busybox was pulled with platform \"linux/riscv64\", \
                     expected \"linux/amd64\" for current build (line 1)";
        check_with_base("FROM busybox", "linux/riscv64", &[found]);
        check_with_base("FROM busybox", "linux/amd64", &[]);
        let copied = found.replace("line 1", "line 2");
        check_with_base("FROM scratch\nCOPY --from=busybox a /", "linux/riscv64", &[&copied]);
    }
}
