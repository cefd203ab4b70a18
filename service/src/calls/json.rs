//! The same for scripts, with the keys of BuildKit's `Outline` and `List`.

use kiln_engine::build::checks::{Outline, OutlineArg, OutlineMount, Target};
use kiln_engine::dockerfile::SourceFile;
use serde::Serialize;

use super::source::{Location, base64};

/// Parameters.
pub fn outline_json(outline: &Outline, file: &SourceFile) -> String {
    let mounts = |mounts: &[OutlineMount]| mounts.iter().map(MountJson::of).collect();
    pretty(&OutlineJson {
        name: outline.name.clone(),
        description: outline.description.clone(),
        args: outline.args.iter().map(ArgJson::of).collect(),
        secrets: mounts(&outline.secrets),
        ssh: mounts(&outline.ssh),
        sources: vec![base64(file.text().as_bytes())],
    })
}

/// Stages.
pub fn targets_json(targets: &[Target], file: &SourceFile) -> String {
    let targets = targets.iter().map(TargetJson::of).collect();
    pretty(&TargetsJson { targets, sources: vec![base64(file.text().as_bytes())] })
}

fn pretty(value: &impl Serialize) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default() + "\n"
}

#[derive(Serialize)]
struct OutlineJson {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    args: Vec<ArgJson>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    secrets: Vec<MountJson>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ssh: Vec<MountJson>,
    sources: Vec<String>,
}

#[derive(Serialize)]
struct ArgJson {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    location: Location,
}

impl ArgJson {
    fn of(arg: &OutlineArg) -> Self {
        let OutlineArg { name, value, description, span } = arg.clone();
        ArgJson { name, description, value, location: Location::of(span.first, span.last) }
    }
}

#[derive(Serialize)]
struct MountJson {
    name: String,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    required: bool,
    location: Location,
}

impl MountJson {
    fn of(mount: &OutlineMount) -> Self {
        let OutlineMount { id, required, span } = mount.clone();
        MountJson { name: id, required, location: Location::of(span.first, span.last) }
    }
}

#[derive(Serialize)]
struct TargetsJson {
    targets: Vec<TargetJson>,
    sources: Vec<String>,
}

#[derive(Serialize)]
struct TargetJson {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    default: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    base: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    platform: Option<String>,
    location: Location,
}

impl TargetJson {
    fn of(target: &Target) -> Self {
        let Target { name, default, description, base, platform, span } = target.clone();
        TargetJson {
            name,
            default,
            description,
            base,
            platform,
            location: Location::of(span.first, span.last),
        }
    }
}
