//! What a stage runs on, and what the result says that it runs on.

use kiln_oci::{ImageConfig, Platform};

use crate::plan::{Plan, PlanOptions, StagePlan};

/// What a stage on a base image runs on. Where neither `--platform` nor the stage says it, a base that is there for one
/// platform alone decides.
pub(super) fn of_stage(plan: &Plan, stage: &StagePlan, base: &ImageConfig) -> Platform {
    let decided = plan.options.implicit_platform && stage.platform == plan.options.platform;
    match decided && !is_same(&base.platform, &stage.platform) {
        true => base.platform.clone(),
        false => stage.platform.clone(),
    }
}

/// A platform that was asked for is what the result claims, whatever its base is for.
pub(super) fn of_result(options: &PlanOptions, claimed: &mut Platform) {
    let wanted = &options.platform;
    if options.implicit_platform {
        return;
    }
    let same = is_same(claimed, wanted);
    claimed.os.clone_from(&wanted.os);
    claimed.architecture.clone_from(&wanted.architecture);
    if wanted.variant.is_some() || !same {
        claimed.variant.clone_from(&wanted.variant);
    }
    if wanted.os_version.is_some() || !same {
        claimed.os_version.clone_from(&wanted.os_version);
    }
}

fn is_same(one: &Platform, other: &Platform) -> bool {
    (&one.os, &one.architecture) == (&other.os, &other.architecture)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claimed(wanted: &str, implicit: bool, base: &str) -> String {
        let mut options = PlanOptions::new(wanted.parse().unwrap());
        options.implicit_platform = implicit;
        let mut claimed: Platform = base.parse().unwrap();
        of_result(&options, &mut claimed);
        claimed.to_string()
    }

    /// Item 48 of the language's subtle points.
    #[test]
    fn who_asks_for_a_platform_gets_it_and_who_does_not_gets_the_bases() {
        assert_eq!(claimed("linux/arm64", false, "linux/amd64"), "linux/arm64");
        assert_eq!(claimed("linux/arm64", false, "linux/arm/v6"), "linux/arm64");
        assert_eq!(claimed("linux/arm64", false, "linux/arm64/v9"), "linux/arm64/v9");
        assert_eq!(claimed("linux/amd64", true, "linux/arm/v6"), "linux/arm/v6");
    }
}
