//! The conformance cases by kiln alone: each makes what is recorded for it, or is rejected as it says.
//!
//! `UPDATE_EXPECT=1` records anew; `cargo xtask conformance` then shows whether other builders agree.

use std::path::Path;

use kiln_test_support::conformance::{
    Built, Case, Picture, Recorded, for_each, load, options, write_context,
};

use crate::harness::{Kiln, text};

/// A picture; `None` where the build was rejected as it should.
type Outcome = Result<Option<Picture>, String>;

#[test]
fn every_case_makes_what_is_recorded() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/conformance");
    let cases = load(&folder).unwrap();
    assert!(cases.len() >= 200, "only {} cases", cases.len());
    let mut recorded = Recorded::load(&folder, &cases).unwrap();
    let kiln = Kiln::new();
    let base = built(&kiln, &Case::base()).unwrap().unwrap();
    let outcomes = for_each(&cases.iter().collect::<Vec<_>>(), |case| outcome(&kiln, case, &base));
    let update = std::env::var_os("UPDATE_EXPECT").is_some();
    let mut wrong = Vec::new();
    for (case, outcome) in cases.iter().zip(outcomes) {
        match outcome {
            Ok(Some(picture)) if update => recorded.set(case, picture),
            Ok(picture) if picture.as_ref() == recorded.get(case) => {}
            Ok(picture) => {
                wrong.push(format!("{}: {picture:#?}\nrecorded: {:#?}", case.id(), recorded.get(case)));
            }
            Err(problem) => wrong.push(format!("{}: {problem}", case.id())),
        }
    }
    if update {
        recorded.save(&folder, &cases).unwrap();
    }
    assert!(wrong.is_empty(), "{} case(s) are not as recorded:\n{}", wrong.len(), wrong.join("\n"));
}

fn outcome(kiln: &Kiln, case: &Case, base: &Built) -> Outcome {
    match (built(kiln, case)?, &case.rejected) {
        (Ok(built), None) => Ok(Some(built.beyond(base))),
        (Err(said), Some(expected)) if said.contains(expected) => Ok(None),
        (Ok(_), Some(_)) => Err("was not rejected".to_owned()),
        (Err(said), Some(expected)) => Err(format!("was rejected without `{expected}`:\n{said}")),
        (Err(said), None) => Err(format!("was rejected:\n{said}")),
    }
}

/// The image, or what kiln said instead.
fn built(kiln: &Kiln, case: &Case) -> Result<Result<Built, String>, String> {
    let context = kiln.scratch(&case.id());
    write_context(case, &context).map_err(|error| error.to_string())?;
    let archive = context.with_extension("tar");
    let mut command = kiln.command(&["build", "--progress", "quiet"]);
    command.args(options(case)).arg("--output").arg(format!("type=docker,dest={}", archive.display()));
    let output = command.arg(&context).output().map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Ok(Err(text(&output.stderr)));
    }
    Built::read(&archive).map(Ok).map_err(|error| error.to_string())
}
