//! Every case of `testdata/dockerfiles`: a Dockerfile, its tree, its complaints, its graph and image configuration.
//!
//! `UPDATE_EXPECT=1 cargo test -p kiln-parser --test golden` writes the expectations anew. A case may have a
//! `options.json` with `target`, `build_args`, `labels`, `no_cache` and `exclude`, and a `base.json` with an image
//! configuration that every base has.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use kiln_graph::render;
use kiln_oci::{Digest, ImageConfig, Platform};
use kiln_parser::{
    BaseConfigs, Lowered, Lowering, NoCache, Plan, PlanOptions, ResolvedBase, SourceFile, parse,
};
use serde::Deserialize;

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Options {
    target: Option<String>,
    build_args: BTreeMap<String, String>,
    labels: BTreeMap<String, String>,
    no_cache: bool,
    exclude: Vec<String>,
}

fn platform() -> Platform {
    Platform::new("linux", "amd64", None)
}

fn cases() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/dockerfiles");
    let mut cases: Vec<PathBuf> = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    cases
}

fn json<T: for<'a> Deserialize<'a>>(path: &Path) -> Option<T> {
    let text = fs::read(path).ok()?;
    Some(serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
}

fn plan_options(case: &Path) -> PlanOptions {
    let options: Options = json(&case.join("options.json")).unwrap_or_default();
    PlanOptions {
        target: options.target,
        build_args: options.build_args,
        labels: options.labels,
        no_cache: if options.no_cache { NoCache::All } else { NoCache::Off },
        context_exclude: options.exclude,
        ..PlanOptions::new(platform())
    }
}

/// Answers every question of a plan with the case's one base configuration.
fn lower(case: &Path, plan: &Plan) -> Result<Lowered, Vec<kiln_parser::Diagnostic>> {
    let config: Option<ImageConfig> = json(&case.join("base.json"));
    let mut bases = BaseConfigs::new();
    let mut wanted = plan.base_images.clone();
    loop {
        for image in wanted {
            let reference = image.reference.with_digest(Digest::of(image.reference.to_string().as_bytes()));
            let config = config.clone().unwrap_or_else(|| ImageConfig::empty(image.platform.clone()));
            bases.insert(image, ResolvedBase { reference, config });
        }
        match plan.lower(&bases)? {
            Lowering::Ready(lowered) => return Ok(*lowered),
            Lowering::NeedsMore(more) => wanted = more,
        }
    }
}

/// The three texts of a case.
fn run(case: &Path) -> [(&'static str, String); 3] {
    let bytes = fs::read(case.join("Dockerfile")).unwrap();
    let source = SourceFile::from_bytes("Dockerfile", &bytes);
    let (file, mut diagnostics) = parse(&source);
    let ast = file.dump();
    let mut graph = String::new();
    if !diagnostics.iter().any(kiln_parser::Diagnostic::is_error) {
        let lowered = Plan::new(&file, &plan_options(case)).and_then(|plan| lower(case, &plan));
        match lowered {
            Ok(lowered) => {
                diagnostics.extend(lowered.warnings);
                graph = render::text(&lowered.definition, &[lowered.root]);
                graph.push_str(&serde_json::to_string_pretty(&lowered.config).unwrap());
                graph.push('\n');
            }
            Err(more) => diagnostics.extend(more),
        }
    }
    let rendered: Vec<String> =
        diagnostics.iter().map(|diagnostic| diagnostic.render(&source, false) + "\n").collect();
    [("ast.txt", ast), ("diagnostics.txt", rendered.join("\n")), ("graph.txt", graph)]
}

#[test]
fn every_case_is_as_expected() {
    let update = std::env::var_os("UPDATE_EXPECT").is_some();
    let cases = cases();
    assert!(cases.len() >= 25, "only {} cases", cases.len());
    let mut wrong = Vec::new();
    for case in cases {
        for (name, actual) in run(&case) {
            let path = case.join(name);
            if update {
                fs::write(&path, &actual).unwrap();
            } else if fs::read_to_string(&path).unwrap_or_default() != actual {
                wrong.push(format!("{}:\n{actual}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "run with UPDATE_EXPECT=1 and read the difference:\n{}", wrong.join("\n"));
}
