//! How progress names the steps of a stage: `[linux/arm64 build 2/3] `, and `[build 1/3] ONBUILD ` for triggers.

use kiln_oci::Platform;

use super::variables::Variables;

/// The prefixes of a stage's steps, one after the other.
#[derive(Debug, Clone, Default)]
pub(super) struct Counter {
    /// The platform of the stage, where a build is for several.
    platform: Option<Platform>,
    /// The stage's name or number; empty in a file of one stage.
    stage: String,
    total: usize,
    at: usize,
    /// Whether the next step is a trigger's.
    triggered: bool,
}

impl Counter {
    pub(super) fn new(platform: Option<Platform>, stage: String, total: usize) -> Self {
        Counter { platform, stage, total, at: 0, triggered: false }
    }

    /// Says whether the steps that follow are those of the base's triggers.
    pub(super) fn set_triggered(&mut self, triggered: bool) {
        self.triggered = triggered;
    }

    /// The stage, where it has a name or number.
    pub(super) fn stage(&self) -> Option<String> {
        Some(self.stage.clone()).filter(|stage| !stage.is_empty())
    }

    /// The next step's prefix. A step that makes something for another platform, as its variables tell, says so.
    pub(super) fn next(&mut self, variables: &Variables) -> String {
        if self.total == 0 {
            return String::new();
        }
        self.at += 1;
        let mut words: Vec<String> = Vec::new();
        if let Some(platform) = &self.platform {
            let target = target_of(variables, platform).map(|target| other(platform, &target));
            words.push(format!("{}{}", platform.format_all(), target.unwrap_or_default()));
        }
        words.extend(self.stage());
        let width = self.total.ilog10() as usize + 1;
        words.push(format!("{:width$}/{}", self.at, self.total));
        let trigger = if self.triggered { "ONBUILD " } else { "" };
        format!("[{}] {trigger}", words.join(" "))
    }
}

/// `->arm64`, where the target is another platform.
fn other(platform: &Platform, target: &Platform) -> String {
    if target.os != platform.os {
        return format!("->{}", target.format_all());
    }
    match &target.variant {
        _ if target.architecture == platform.architecture => String::new(),
        Some(variant) => format!("->{}/{variant}", target.architecture),
        None => format!("->{}", target.architecture),
    }
}

/// The platform that `TARGETPLATFORM`, or else `TARGETOS`, `TARGETARCH` and `TARGETVARIANT` name, if any is declared.
fn target_of(variables: &Variables, base: &Platform) -> Option<Platform> {
    if let Some(platform) = variables.get("TARGETPLATFORM").and_then(|text| text.parse().ok()) {
        return Some(platform);
    }
    let given = |name: &str| variables.get(name).filter(|value| !value.is_empty());
    let (os, architecture, variant) = (given("TARGETOS"), given("TARGETARCH"), given("TARGETVARIANT"));
    (os.is_some() || architecture.is_some() || variant.is_some())
        .then(|| Platform::new(os.unwrap_or(&base.os), architecture.unwrap_or(&base.architecture), variant))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(platform: Option<&str>, stage: &str, variables: &[&str]) -> String {
        let platform = platform.map(|text| text.parse().unwrap());
        let variables: Vec<String> = variables.iter().map(|text| (*text).to_owned()).collect();
        Counter::new(platform, stage.to_owned(), 12).next(&Variables::from_env(&variables))
    }

    #[test]
    fn each_part_is_there_where_it_says_something() {
        assert_eq!(prefix(None, "", &[]), "[ 1/12] ");
        assert_eq!(prefix(None, "build", &["TARGETARCH=arm64"]), "[build  1/12] ");
        assert_eq!(prefix(Some("linux/arm64"), "build", &[]), "[linux/arm64 build  1/12] ");
        assert_eq!(Counter::default().next(&Variables::default()), "");
        let mut counter = Counter::new(None, "build".to_owned(), 1);
        counter.set_triggered(true);
        assert_eq!(counter.next(&Variables::default()), "[build 1/1] ONBUILD ");
    }

    #[test]
    fn cross_building_is_shown() {
        let with = |variables: &[&str]| prefix(Some("linux/amd64"), "", variables);
        assert_eq!(with(&["TARGETARCH=arm64"]), "[linux/amd64->arm64  1/12] ");
        assert_eq!(with(&["TARGETARCH=arm", "TARGETVARIANT=v6"]), "[linux/amd64->arm/v6  1/12] ");
        assert_eq!(with(&["TARGETPLATFORM=linux/amd64", "TARGETARCH=arm"]), "[linux/amd64  1/12] ");
        assert_eq!(with(&["TARGETOS=windows"]), "[linux/amd64->windows/amd64  1/12] ");
        assert_eq!(with(&["TARGETOS="]), "[linux/amd64  1/12] ");
    }
}
