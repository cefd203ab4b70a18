//! What holds for any input: no panic, no lost error, linear time.

use std::time::{Duration, Instant};

use kiln_oci::{Digest, ImageConfig, Platform};
use kiln_parser::ast::{From, Onbuild, PieceKind};
use kiln_parser::{
    BaseConfigs, Dockerfile, Instruction, Lowering, Node, Plan, PlanOptions, ResolvedBase, SourceFile, Stage,
    parse,
};
use proptest::prelude::*;

/// Parses, plans and lowers as far as there is no error; whether it came to a graph.
fn all_the_way(bytes: &[u8]) -> bool {
    let source = SourceFile::from_bytes("Dockerfile", bytes);
    let (file, diagnostics) = parse(&source);
    diagnostics.iter().for_each(|diagnostic| assert!(!diagnostic.render(&source, true).is_empty()));
    if diagnostics.iter().any(kiln_parser::Diagnostic::is_error) {
        return false;
    }
    let options = PlanOptions::new(Platform::new("linux", "amd64", None));
    let Ok(plan) = Plan::new(&file, &options) else { return false };
    let mut bases = BaseConfigs::new();
    for image in &plan.base_images {
        let reference = image.reference.with_digest(Digest::of(b"x"));
        let config = ImageConfig::empty(image.platform.clone());
        bases.insert(image.clone(), ResolvedBase { reference, config });
    }
    matches!(plan.lower(&bases), Ok(Lowering::Ready(_)))
}

/// Lines made of what the grammar knows, put together at random.
fn line() -> impl Strategy<Value = String> {
    let word = prop::sample::select(vec![
        "FROM",
        "RUN",
        "COPY",
        "ADD",
        "ENV",
        "ARG",
        "LABEL",
        "ONBUILD",
        "CMD",
        "HEALTHCHECK",
        "EXPOSE",
        "VOLUME",
        "SHELL",
        "USER",
        "WORKDIR",
        "STOPSIGNAL",
        "scratch",
        "alpine",
        "AS",
        "x",
        "a=b",
        "a=\"$x\"",
        "$x",
        "${x:-y}",
        "${x##*/}",
        "${x//a/b}",
        "${",
        "'",
        "\"",
        "\\",
        "<<EOF",
        "<<-'E'",
        "EOF",
        "--from=0",
        "--from=x",
        "--chmod=u+x",
        "--mount=type=cache,target=/c",
        "--mount=from=x,target=$x",
        "[",
        "[\"a\"]",
        "#",
        "/a/",
        "..",
        "**",
        "80/tcp",
        "NONE",
        "https://h/x.git#a:b",
        "http://h/x",
        "\t",
        "ü",
        "# escape=`",
        "`",
    ]);
    prop::collection::vec(word, 0..7).prop_map(|words| words.join(" "))
}

proptest! {
    #[test]
    fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        all_the_way(&bytes);
    }

    #[test]
    fn any_words_are_survived(lines in prop::collection::vec(line(), 0..12)) {
        all_the_way(lines.join("\n").as_bytes());
    }

    #[test]
    fn the_pieces_are_the_text(lines in prop::collection::vec(line(), 0..12), mark in any::<bool>()) {
        let text = format!("{}{}", if mark { "\u{feff}" } else { "" }, lines.join("\n"));
        let source = SourceFile::new("Dockerfile", text);
        let (file, _) = parse(&source);
        let joined: String = file.pieces.iter().map(|piece| piece.text(&source)).collect();
        prop_assert_eq!(joined.as_str(), source.text());
        for pair in file.pieces.windows(2) {
            prop_assert_eq!(pair[0].bytes.end, pair[1].bytes.start);
        }
        for piece in &file.pieces {
            let PieceKind::Instruction(parts) = &piece.kind else { continue };
            let joined: String = parts.iter().map(|part| part.text(&source)).collect();
            prop_assert_eq!(joined.as_str(), piece.text(&source));
        }
    }

    #[test]
    fn a_tree_printed_and_read_again_is_the_same(lines in prop::collection::vec(line(), 0..8)) {
        // Heredocs and continuations are not part of an instruction's own text.
        let lines = lines.join("\n").replace("<<", "").replace(['`', '\\'], "");
        let text = format!("FROM scratch\n{lines}\n");
        let (file, _) = parse(&SourceFile::new("Dockerfile", text));
        let (again, _) = parse(&SourceFile::new("Dockerfile", printed(&file)));
        prop_assert_eq!(shape(&file), shape(&again));
    }
}

fn printed(file: &Dockerfile) -> String {
    let codes = |stage: &Stage| {
        let nodes = stage.instructions.iter().map(|node| node.code.clone());
        [stage.code.clone()].into_iter().chain(nodes).collect::<Vec<_>>()
    };
    file.stages.iter().flat_map(codes).map(|code| code + "\n").collect()
}

/// The tree without its places, and without the blanks at the end of a trigger: it keeps them, `code` does not.
fn shape(file: &Dockerfile) -> Vec<(From, Vec<Instruction>)> {
    let bare = |node: &Node| match node.instruction.clone() {
        Instruction::Onbuild(trigger) => {
            Instruction::Onbuild(Onbuild { text: trigger.text.trim_end().to_owned() })
        }
        other => other,
    };
    let instructions = |stage: &Stage| stage.instructions.iter().map(bare).collect();
    file.stages.iter().map(|stage| (stage.from.clone(), instructions(stage))).collect()
}

#[test]
fn deep_nesting_is_an_error_and_not_a_crash() {
    assert!(!all_the_way(format!("FROM scratch\nENV x={}\n", "${x:-".repeat(100_000)).as_bytes()));
    // Not JSON, so it is a command for the shell.
    assert!(all_the_way(format!("FROM scratch\nCMD {}\n", "[".repeat(100_000)).as_bytes()));
}

#[test]
fn values_cannot_explode() {
    let mut text = String::from("FROM scratch\nENV a=0123456789\n");
    text.push_str(&"ENV a=$a$a$a$a$a$a$a$a\n".repeat(40));
    assert!(!all_the_way(text.as_bytes()));
}

/// Generous for an unoptimised build on a busy machine; quadratic behaviour would take minutes.
#[test]
fn large_files_take_linear_time() {
    let one = "RUN --mount=type=cache,target=/c echo \"$HOME\" && make \\\n  -j 4 # comment\nENV a=b c=\"d e\"\nCOPY a b c /d/\n";
    let lines = format!("FROM scratch\n{}", one.repeat((1 << 20) / one.len()));
    let heredoc = format!("FROM scratch\nRUN <<EOF\n{}EOF\n", "echo hello\n".repeat(100_000));
    let quotes = format!("FROM scratch\nLABEL {}\n", "a='b c' ".repeat(130_000));
    let flags = format!("FROM scratch\nCOPY {} a b\n", "--exclude=x ".repeat(80_000));
    for text in [lines, heredoc, quotes, flags] {
        let source = SourceFile::new("Dockerfile", text);
        let start = Instant::now();
        let (file, _) = parse(&source);
        assert_eq!(file.stages.len(), 1);
        let took = start.elapsed();
        assert!(took < Duration::from_secs(5), "{} bytes took {took:?}", source.text().len());
    }
}

/// A usual file of 30 steps, from text to graph.
#[test]
fn a_usual_file_is_lowered_at_once() {
    let text = format!("FROM scratch\n{}", "RUN echo \"$PATH\" > /file && make -j4\n".repeat(30));
    assert!(all_the_way(text.as_bytes()));
    let start = Instant::now();
    assert!((0..100).all(|_| all_the_way(text.as_bytes())));
    let each = start.elapsed() / 100;
    assert!(each < Duration::from_millis(20), "a build of 30 steps took {each:?} to lower");
}

#[test]
fn too_much_is_refused() {
    assert!(!all_the_way("FROM scratch\n".repeat(1001).as_bytes()));
    assert!(!all_the_way(format!("FROM scratch\n{}", "USER x\n".repeat(32_768)).as_bytes()));
    assert!(!all_the_way(format!("FROM scratch\n{}", "EXPOSE 1-65535\n".repeat(60)).as_bytes()));
    assert!(!all_the_way(
        format!("FROM scratch AS a\n{}FROM a\n", "ONBUILD RUN x\n".repeat(1001)).as_bytes()
    ));
    let many: String = (0..100_000).map(|n| format!("v{n}=1 ")).collect();
    assert!(!all_the_way(format!("FROM scratch\nENV {many}\n").as_bytes()));
}

#[test]
fn many_variables_are_no_trouble() {
    let lines: String = (0..20_000).map(|n| format!("ENV v{n}=${{v{}}}x\n", n / 2)).collect();
    assert!(all_the_way(format!("FROM scratch\n{lines}RUN true\n").as_bytes()));
    assert!(all_the_way(format!("FROM scratch\n{}RUN true\n", lines.replace('}', "x}")).as_bytes()));
}
