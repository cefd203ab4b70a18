//! Platforms in a file: arguments, base images and the result, by the numbers of the language's subtle points.

use kiln_graph::Op;
use kiln_oci::{Digest, ImageConfig, Platform};
use kiln_parser::{BaseConfigs, Lowered, Lowering, Plan, PlanOptions, ResolvedBase, SourceFile, parse};

fn platform(text: &str) -> Platform {
    text.parse().unwrap()
}

fn plan(text: &str, options: &PlanOptions) -> Plan {
    let (file, diagnostics) = parse(&SourceFile::new("Dockerfile", text.to_owned()));
    assert!(diagnostics.iter().all(|diagnostic| !diagnostic.is_error()), "{diagnostics:?}");
    Plan::new(&file, options).unwrap()
}

/// Lowers with base images that are all for `base`.
fn lower(text: &str, options: &PlanOptions, base: &str) -> Lowered {
    let plan = plan(text, options);
    let mut bases = BaseConfigs::new();
    for image in &plan.base_images {
        let reference = image.reference.with_digest(Digest::of(b"base"));
        bases.insert(image.clone(), ResolvedBase { reference, config: ImageConfig::empty(platform(base)) });
    }
    match plan.lower(&bases).unwrap() {
        Lowering::Ready(lowered) => *lowered,
        Lowering::NeedsMore(more) => panic!("more images: {more:?}"),
    }
}

/// The names of the steps, and the environment of the last process.
fn steps(lowered: &Lowered) -> (Vec<&str>, Vec<&str>) {
    let vertices = lowered.definition.vertices();
    let names = vertices.map(|(_, vertex)| vertex.meta.name.as_str()).collect();
    let processes = lowered.definition.vertices().filter_map(|(_, vertex)| match &vertex.op {
        Op::Exec(exec) => Some(exec.env.iter().map(String::as_str).collect()),
        _ => None,
    });
    (names, processes.last().unwrap_or_default())
}

#[test]
fn item_40_the_target_has_the_version_of_its_system_and_the_builder_has_not() {
    let text = "FROM scratch\nARG TARGETPLATFORM TARGETOSVERSION BUILDPLATFORM BUILDOSVERSION TARGETSTAGE\nRUN [\"x\"]\n";
    let mut options = PlanOptions::new(platform("windows(10.0.17763)/amd64"));
    options.build_platform = platform("linux(6.1)/arm64");
    let lowered = lower(text, &options, "windows/amd64");
    let (_, env) = steps(&lowered);
    for expected in [
        "TARGETPLATFORM=windows(10.0.17763)/amd64",
        "TARGETOSVERSION=10.0.17763",
        "BUILDPLATFORM=linux/arm64",
        "BUILDOSVERSION=6.1",
        "TARGETSTAGE=default",
    ] {
        assert!(env.contains(&expected), "no {expected} in {env:?}");
    }
}

#[test]
fn variants_are_arguments_of_their_own() {
    let text = "FROM scratch\nARG TARGETPLATFORM TARGETARCH TARGETVARIANT\nRUN [\"x\"]\n";
    for (asked, expected) in [
        ("linux/arm/v6", ["linux/arm/v6", "arm", "v6"]),
        ("linux/arm", ["linux/arm/v7", "arm", "v7"]),
        ("linux/arm64/v8", ["linux/arm64", "arm64", ""]),
        ("linux/amd64", ["linux/amd64", "amd64", ""]),
    ] {
        let lowered = lower(text, &PlanOptions::new(platform(asked)), asked);
        let env = steps(&lowered).1.join(" ");
        let [whole, architecture, variant] = expected;
        let end = format!("TARGETPLATFORM={whole} TARGETARCH={architecture} TARGETVARIANT={variant}");
        assert!(env.ends_with(&end), "{asked}: {env}");
    }
}

#[test]
fn item_45_an_image_that_is_copied_from_is_for_the_target_whatever_the_stage_runs_on() {
    let text = "FROM --platform=$BUILDPLATFORM base\nCOPY --from=tools /a /a\nRUN --mount=from=more,target=/m true\n";
    let mut options = PlanOptions::new(platform("linux/arm64"));
    options.build_platform = platform("linux/amd64");
    let images = plan(text, &options).base_images;
    let found = |name: &str| {
        let image = images.iter().find(|image| image.reference.familiar() == format!("{name}:latest"));
        image.unwrap_or_else(|| panic!("no {name} in {images:?}")).platform.to_string()
    };
    assert_eq!([found("base"), found("tools"), found("more")], ["linux/amd64", "linux/arm64", "linux/arm64"]);
}

#[test]
fn item_48_a_platform_that_is_asked_for_is_the_results_and_else_the_base_decides() {
    let text = "FROM base\nRUN [\"x\"]\n";
    let asked = PlanOptions::new(platform("linux/arm64"));
    let lowered = lower(text, &asked, "linux/amd64");
    assert_eq!(lowered.config.platform, platform("linux/arm64"));
    let nobody = PlanOptions { implicit_platform: true, ..PlanOptions::new(platform("linux/amd64")) };
    let lowered = lower(text, &nobody, "linux/arm/v6");
    assert_eq!(lowered.config.platform, platform("linux/arm/v6"));
    let runs_on = lowered.definition.vertices().find_map(|(_, vertex)| match &vertex.op {
        Op::Exec(exec) => Some(exec.platform.clone()),
        _ => None,
    });
    assert_eq!(runs_on, Some(platform("linux/arm/v6")));
}

#[test]
fn a_build_for_several_platforms_names_the_platform_of_each_step() {
    let text = "FROM --platform=$BUILDPLATFORM base AS build\nARG TARGETARCH\nRUN [\"x\"]\nFROM scratch\nCOPY --from=build /x /\n";
    let mut options = PlanOptions { multi_platform: true, ..PlanOptions::new(platform("linux/arm64")) };
    options.build_platform = platform("linux/amd64");
    let lowered = lower(text, &options, "linux/amd64");
    let (names, _) = steps(&lowered);
    let prefixes: Vec<&str> = names.iter().filter_map(|name| name.split_inclusive(']').next()).collect();
    let expected = ["[linux/amd64 build 1/2]", "[linux/amd64->arm64 build 2/2]", "[linux/arm64 stage-1 1/1]"];
    assert_eq!(prefixes, expected);
}
