//! `cargo xtask conformance`: every case built by kiln and by others, and what they made compared by meaning.
//!
//! The first reference is Docker's engine from Debian's packages with its BuildKit; the second, where its programs
//! are given, a current BuildKit. A difference is fine where `testdata/conformance/known.toml` has a reason for it.

mod builders;
mod buildkitd;
mod compare;
mod known;

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use clap::Args;
use kiln_test_support::conformance::{Case, for_each, load};

use crate::field::{Field, Profile};
use builders::{Builder, Docker, Kiln};
use buildkitd::Buildkitd;
use compare::{Difference, differences};
use known::Known;

/// Which cases, and against whom.
#[derive(Args)]
pub(crate) struct Options {
    /// Only cases whose `topic/name` contains this
    #[arg(default_value = "")]
    filter: String,
    /// A current BuildKit daemon, as second reference
    #[arg(long, requires = "buildctl", value_name = "PATH")]
    buildkitd: Option<PathBuf>,
    /// Its client
    #[arg(long, requires = "buildkitd", value_name = "PATH")]
    buildctl: Option<PathBuf>,
    /// Leave Docker's engine out
    #[arg(long, requires = "buildkitd")]
    no_docker: bool,
}

pub(crate) fn run(root: &Path, options: &Options) -> Result<()> {
    let folder = root.join("testdata/conformance");
    let mut cases = load(&folder)?;
    cases.retain(|case| case.id().contains(&options.filter));
    if cases.is_empty() {
        bail!("no case has `{}` in its name", options.filter);
    }
    let known = Known::load(&folder.join("known.toml"))?;
    let field = Field::new(root, Profile::Dev)?;
    let kiln = Kiln::new(&field)?;
    let references = references(&field, options)?;
    let mut unexplained = 0;
    for reference in &references {
        unexplained += compare_all(&field, &cases, &kiln, reference.as_ref(), &known);
    }
    let names: Vec<&str> = references.iter().map(|reference| reference.name()).collect();
    let stale = if options.filter.is_empty() { known.unused(&names) } else { Vec::new() };
    stale.iter().for_each(|reason| println!("known.toml: no case differs like this any more: {reason}"));
    if unexplained + stale.len() > 0 {
        bail!(
            "{unexplained} case(s) differ without a reason, {} reason(s) without a difference",
            stale.len()
        );
    }
    Ok(())
}

fn references(field: &Field, options: &Options) -> Result<Vec<Box<dyn Builder>>> {
    let mut references: Vec<Box<dyn Builder>> = Vec::new();
    if !options.no_docker {
        references.push(Box::new(Docker::new(field)?));
    }
    if let (Some(daemon), Some(client)) = (&options.buildkitd, &options.buildctl) {
        references.push(Box::new(Buildkitd::new(field, daemon, client)?));
    }
    Ok(references)
}

/// Prints `same N of M` and each difference; how many cases differ without a reason.
fn compare_all(field: &Field, cases: &[Case], kiln: &Kiln, reference: &dyn Builder, known: &Known) -> usize {
    let cases: Vec<&Case> = cases.iter().filter(|case| reference.knows(case)).collect();
    let found = for_each(&cases, |case| compare_one(field, case, kiln, reference));
    let (mut same, mut unexplained) = (0, 0);
    for (case, differences) in cases.iter().zip(&found) {
        same += usize::from(differences.is_empty());
        let reasons: Vec<_> = differences.iter().map(|d| known.reason(reference.name(), case, d)).collect();
        unexplained += usize::from(reasons.iter().any(Option::is_none));
        print(case, reference, differences, &reasons);
    }
    println!("{}: same {same} of {}\n", reference.name(), cases.len());
    unexplained
}

fn print(case: &Case, reference: &dyn Builder, differences: &[Difference], reasons: &[Option<&str>]) {
    for (difference, reason) in differences.iter().zip(reasons) {
        println!("{}: {}", case.id(), difference.what);
        println!("  kiln: {}\n  {}: {}", difference.ours, reference.name(), difference.theirs);
        println!("  reason: {}", reason.unwrap_or("NONE"));
    }
}

/// A comparison that cannot be made is a difference too.
fn compare_one(field: &Field, case: &Case, kiln: &Kiln, reference: &dyn Builder) -> Vec<Difference> {
    let compared = || {
        let context = builders::context(field, case)?;
        Ok(differences(&kiln.build(case, &context)?, &reference.build(case, &context)?))
    };
    compared().unwrap_or_else(|error: anyhow::Error| vec![Difference::broken(&error)])
}
