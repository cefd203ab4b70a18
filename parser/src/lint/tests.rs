//! What the tests of each rule share: a text in, findings out.

use kiln_oci::{ImageConfig, Platform, Reference};

use crate::{BaseConfigs, Diagnostic, Lowering, Plan, PlanOptions, ResolvedBase, SourceFile};

/// What was found, as `Rule: message (line N)`.
pub(super) struct Found(Vec<String>);

impl Found {
    #[track_caller]
    pub(super) fn expect(&self, expected: &[&str]) {
        assert_eq!(self.0, expected);
    }
}

/// Lowers a text on bases of this machine's platform and compares what is found.
#[track_caller]
pub(super) fn check(text: &str, expected: &[&str]) {
    check_with(text, |_| {}).expect(expected);
}

/// The same with options.
pub(super) fn check_with(text: &str, change: impl FnOnce(&mut PlanOptions)) -> Found {
    run(text, &amd64(), change)
}

/// The same with bases of another platform.
#[track_caller]
pub(super) fn check_with_base(text: &str, platform: &str, expected: &[&str]) {
    run(text, &platform.parse().unwrap(), |_| {}).expect(expected);
}

fn amd64() -> Platform {
    Platform::new("linux", "amd64", None)
}

fn run(text: &str, base: &Platform, change: impl FnOnce(&mut PlanOptions)) -> Found {
    let mut options = PlanOptions::new(amd64());
    change(&mut options);
    let (file, errors) = crate::parse(&SourceFile::new("Dockerfile", text));
    assert_eq!(errors, [], "{text}");
    let diagnostics = match Plan::new(&file, &options) {
        Ok(plan) => lower(&plan, base),
        Err(diagnostics) => diagnostics,
    };
    let found = diagnostics.iter().filter(|diagnostic| !diagnostic.is_error());
    Found(found.map(Diagnostic::short).collect())
}

fn lower(plan: &Plan, base: &Platform) -> Vec<Diagnostic> {
    let mut bases = BaseConfigs::new();
    for image in &plan.base_images {
        let reference: Reference = image.reference.clone();
        bases.insert(image.clone(), ResolvedBase { reference, config: ImageConfig::empty(base.clone()) });
    }
    match plan.lower(&bases) {
        Ok(Lowering::Ready(lowered)) => lowered.warnings,
        Ok(Lowering::NeedsMore(more)) => panic!("{more:?}"),
        Err(diagnostics) => diagnostics,
    }
}

#[test]
fn the_table_is_complete_and_its_pages_follow_the_names() {
    for rule in &super::RULES {
        let page = rule.url.map(|url| url.trim_end_matches('/').rsplit('/').next().unwrap());
        let kebab = page.map(|page| page.replace('-', ""));
        assert!(kebab.is_none_or(|page| page == rule.name.to_lowercase()), "{rule:?}");
        assert!(std::ptr::eq(super::rule(rule.name).unwrap(), rule), "{rule:?} is there twice");
        assert!(!rule.fix.ends_with('.') && !rule.description.is_empty(), "{rule:?}");
    }
}

#[test]
fn an_error_comes_after_what_was_found_before_it() {
    check(
        "FROM scratch AS A\nCOPY $x .\nUSER ${",
        &[
            "StageNameCasing: Stage name 'A' should be lowercase (line 1)",
            "UndefinedVar: Usage of undefined variable '$x' (line 2)",
        ],
    );
}

#[test]
fn findings_can_be_errors() {
    let (file, _) = crate::parse(&SourceFile::new("D", "# check=error=true\nFROM scratch\nCMD a\nCMD b"));
    let plan = Plan::new(&file, &PlanOptions::new(amd64())).unwrap();
    let all = plan.lower(&BaseConfigs::new()).unwrap_err();
    let error = all.last().unwrap();
    assert!(error.is_error() && all.len() == 4, "{all:?}");
    assert_eq!(
        error.message,
        "lint violation found for rules: JSONArgsRecommended, MultipleInstructionsDisallowed"
    );
}

#[test]
fn the_build_argument_takes_the_directives_place() {
    let text = "# check=skip=all\nFROM scratch\nCMD a";
    let argument = |value: &str| {
        check_with(text, |options| {
            options.build_args.insert("BUILDKIT_DOCKERFILE_CHECK".to_owned(), value.to_owned());
        })
    };
    check(text, &[]);
    assert_eq!(argument("skip=Nothing").0.len(), 1);
    let (file, _) = crate::parse(&SourceFile::new("D", "# check=nonsense=1\nFROM scratch"));
    let errors = Plan::new(&file, &PlanOptions::new(amd64())).unwrap_err();
    assert_eq!(errors[0].message, "failed to parse check options: invalid check option `nonsense`");
}

#[test]
fn a_stage_that_is_not_needed_is_checked_on_demand() {
    let text = "FROM scratch AS a\nCMD a\nFROM scratch";
    check(text, &[]);
    assert_eq!(check_with(text, |options| options.all_stages = true).0.len(), 1);
}

#[test]
fn a_file_is_checked_by_itself() {
    let (file, _) = crate::parse(&SourceFile::new("D", "FROM scratch as A\nNOPE\nMAINTAINER me"));
    let found = super::check_file(&file, &std::collections::BTreeMap::new());
    let rules: Vec<_> = found.iter().filter_map(|diagnostic| diagnostic.rule).collect();
    assert_eq!(rules, ["StageNameCasing", "FromAsCasing", "MaintainerDeprecated"]);
}

#[test]
fn a_flood_of_findings_ends() {
    let text = format!("FROM scratch\n{}", "EXPOSE 1:1 2:2 3:3\n".repeat(1000));
    assert_eq!(check_with(&text, |_| {}).0.len(), super::MAX_FINDINGS);
}
