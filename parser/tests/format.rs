//! Printing gives the text back; formatting changes no meaning, keeps every comment, and does nothing the second time.

use std::fs;
use std::path::Path;

use kiln_oci::{Digest, ImageConfig, Platform};
use kiln_parser::ast::{DirectiveLines, PartKind, PieceKind};
use kiln_parser::format::format;
use kiln_parser::source::MAX_SOURCE;
use kiln_parser::{
    BaseConfigs, Diagnostic, Dockerfile, Lowering, Plan, PlanOptions, ResolvedBase, SourceFile, parse, print,
};
use proptest::prelude::*;

/// Lines that come in all ways in which the same can be written.
fn lines() -> impl Strategy<Value = String> {
    let word = prop::sample::select(vec![
        "from x",
        "FROM x as y",
        "FROM  as  as  as",
        "run",
        "Copy",
        "ADD",
        "env",
        "ARG",
        "label",
        "onbuild run a  b",
        "CMD",
        "healthcheck",
        "cmd",
        "none",
        "expose 80",
        "volume",
        "SHELL [\"a\" , \"b\"]",
        "user a",
        "workdir",
        "stopsignal 9",
        "maintainer",
        "a",
        "a=b",
        "a=\"$x ",
        "b\"",
        "'",
        "\"",
        "\\",
        "\\\\",
        "`",
        "--",
        "--from=0",
        "--chown=\"1 ",
        "--mount=target=/c",
        "--x",
        "[",
        "]",
        "\"c\"",
        ",",
        "<<EOF",
        "<<-'E'",
        "EOF",
        "E",
        "#",
        "# a",
        "#!x",
        "#  escape=`",
        "# syntax = y",
        "\u{feff}",
        "\u{a0}",
        "\u{b}",
        "\t",
        "\r",
    ]);
    let blank = prop::sample::select(vec!["", " ", " ", "  ", "\t"]);
    let end = prop::sample::select(vec![
        "\n", "\n", "\n", "\r\n", "\n\n\n", " \\\n", "\\\n", " \\ \n", "\\\r\n", "`\n", "",
    ]);
    let pair = (blank, word).prop_map(|(blank, word)| format!("{blank}{word}"));
    let line = (prop::collection::vec(pair, 0..5), end).prop_map(|(words, end)| words.concat() + end);
    prop::collection::vec(line, 0..10).prop_map(|lines| lines.concat())
}

fn testdata() -> Vec<SourceFile> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/dockerfiles");
    let paths = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path().join("Dockerfile"));
    paths.map(|path| SourceFile::from_bytes(path.display().to_string(), &fs::read(&path).unwrap())).collect()
}

/// What a file says, without how and where it says it.
fn meaning(mut file: Dockerfile) -> Dockerfile {
    file.pieces.clear();
    file.directives.lines = DirectiveLines::default();
    for stage in &mut file.stages {
        (stage.span, stage.code) = Default::default();
    }
    let nodes = file.stages.iter_mut().flat_map(|stage| &mut stage.instructions);
    for node in nodes.chain(&mut file.global_args) {
        (node.span, node.code) = Default::default();
    }
    file
}

/// Every comment, also those inside instructions, and every byte of the heredocs.
fn kept(file: &Dockerfile, source: &SourceFile) -> Vec<String> {
    let mut found = Vec::new();
    for piece in &file.pieces {
        match &piece.kind {
            PieceKind::Instruction(parts) => found.extend(parts.iter().filter_map(|part| match part.kind {
                PartKind::Comment => Some(part.text(source).trim().to_owned()),
                PartKind::Body => Some(part.text(source).to_owned()),
                _ => None,
            })),
            _ => found.extend(piece.text(source).lines().map(|line| line.trim().to_owned())),
        }
    }
    found.retain(|line| !line.is_empty() && line != "\u{feff}");
    found
}

fn check_format(source: &SourceFile) {
    let (file, diagnostics) = parse(source);
    let has_errors = diagnostics.iter().any(Diagnostic::is_error);
    let formatted = match format(source) {
        Ok(formatted) => formatted,
        Err(errors) => return assert!(has_errors && !errors.is_empty()),
    };
    assert!(!has_errors && formatted.ends_with('\n') && !formatted.ends_with("\n\n"), "{formatted:?}");
    let again = SourceFile::new(source.name(), formatted.as_str());
    let (file_again, diagnostics) = parse(&again);
    assert!(!diagnostics.iter().any(Diagnostic::is_error), "{diagnostics:?}");
    assert_eq!(kept(&file, source), kept(&file_again, &again));
    assert_eq!(meaning(file), meaning(file_again), "{formatted:?}");
    assert_eq!(format(&again).unwrap(), formatted);
}

/// What a build does, by the keys of its steps, and the configuration that comes out, on bases without any; nothing
/// where there is no build.
fn image(source: &SourceFile) -> Option<(Vec<Digest>, ImageConfig)> {
    let platform = Platform::new("linux", "amd64", None);
    let plan = Plan::new(&parse(source).0, &PlanOptions::new(platform)).ok()?;
    let mut bases = BaseConfigs::new();
    for image in &plan.base_images {
        let config = ImageConfig::empty(image.platform.clone());
        bases.insert(image.clone(), ResolvedBase { reference: image.reference.clone(), config });
    }
    let Ok(Lowering::Ready(lowered)) = plan.lower(&bases) else { return None };
    let keys = lowered.definition.vertices().map(|(_, vertex)| vertex.op.digest()).collect();
    Some((keys, lowered.config))
}

fn check_print(source: &SourceFile) {
    assert_eq!(print(&parse(source).0, source), source.text());
}

#[test]
fn every_case_is_printed_and_formatted() {
    let sources = testdata();
    assert!(sources.len() >= 25);
    for source in &sources {
        check_print(source);
        check_format(source);
    }
}

#[test]
fn a_formatted_file_builds_the_same_image_from_the_same_cache() {
    let mut built = 0;
    for source in testdata() {
        let Ok(formatted) = format(&source) else { continue };
        let formatted = image(&SourceFile::new(source.name(), formatted));
        assert_eq!(formatted, image(&source), "{}", source.name());
        built += usize::from(formatted.is_some());
    }
    assert!(built >= 20, "only {built} cases");
}

#[test]
fn what_is_not_read_is_printed_too() {
    check_print(&SourceFile::from_bytes("Dockerfile", b"\xff\xfeF\0"));
    check_print(&SourceFile::new("Dockerfile", "FROM x\n#".repeat(MAX_SOURCE / 8)));
    check_print(&SourceFile::new("Dockerfile", "X\n".repeat(2000)));
}

proptest! {
    #[test]
    fn any_bytes_are_printed(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        check_print(&SourceFile::from_bytes("Dockerfile", &bytes));
    }

    #[test]
    fn any_lines_are_printed_and_formatted(head in "(FROM x\n)?", lines in lines()) {
        let source = SourceFile::new("Dockerfile", head + &lines);
        check_print(&source);
        check_format(&source);
    }

    /// Most of what the test above makes has errors; single instructions have fewer.
    #[test]
    fn one_instruction_is_formatted(
        keyword in prop::sample::select(vec!["run", "copy", "ENV", "label", "Cmd", "arg", "healthcheck cmd"]),
        lines in lines(),
    ) {
        check_format(&SourceFile::new("Dockerfile", format!("FROM x\n {keyword} {lines}")));
    }
}
