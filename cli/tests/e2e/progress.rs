//! What is seen of a build while it runs: on terminals, in logs, and as JSON.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::harness::{Kiln, show, text, tool, wait_for};
use crate::screen::Terminal;

/// A step that speaks, waits until the test opens its gate, and speaks again.
const GATED: &str = "\
FROM busybox
RUN echo prepared > /file
RUN --mount=type=cache,id=gate,target=/gate \
 for i in 1 2 3 4 5 6 7 8; do echo said $i; done; printf '10%%\\r90%%\\r'; touch /gate/here; \
 while [ ! -e /gate/go ]; do sleep 0.1; done; echo; echo opened
";

/// A build of `dockerfile`, to be started.
fn build(kiln: &Kiln, dockerfile: &str, more: &[&str]) -> Command {
    let context = kiln.context("watched", &[("Dockerfile", dockerfile)]);
    let mut command = kiln.command(&[&["build", "-t", "watched"], more].concat());
    command.arg(context);
    command
}

/// Where the gate of a step is, once the step is there.
fn gate(kiln: &Kiln) -> PathBuf {
    let find = || {
        let places = fs::read_dir(kiln.root().join("cachemounts")).ok()?;
        places.flatten().map(|place| place.path().join("data")).find(|data| data.join("here").exists())
    };
    wait_for("the step to come to its gate", || find().is_some());
    find().unwrap()
}

fn open(gate: &Path) {
    fs::write(gate.join("go"), "").unwrap();
}

#[test]
fn a_terminal_shows_steps_in_flight_and_a_line_a_step_at_the_end() {
    for (size, time_at) in [((24, 80), 79), ((50, 200), 199), ((5, 20), 19)] {
        let kiln = Kiln::new();
        let terminal = Terminal::start(build(&kiln, GATED, &[]), size);
        let gate = gate(&kiln);
        terminal.wait("the step and the last state of its bar", |screen| {
            screen.count("[+] ") == 1 && screen.count(" => [3/3] RUN") == 1 && screen.count(" => => 90%") == 1
        });
        if size.0 > 5 {
            terminal.wait("six lines", |screen| screen.count(" => => said ") == 5);
        }
        open(&gate);
        let (code, screen) = terminal.end();
        let text = screen.text();
        assert_eq!(code, Some(0), "{text:#?}");
        assert_eq!(screen.count(" => => "), 0, "{text:#?}");
        let headline = text[0].as_str();
        assert!(
            headline.starts_with("[+] ") && (size.1 == 20 || headline.ends_with("FINISHED")),
            "{text:#?}"
        );
        let step = text.iter().find(|line| line.starts_with(" => [2/3] RUN")).unwrap();
        assert!(step.len() == time_at && step.ends_with('s'), "{text:#?}");
        assert_eq!(screen.cursor(), (text.len(), 0));
    }
}

#[test]
fn another_size_leaves_no_rubbish() {
    let kiln = Kiln::new();
    let terminal = Terminal::start(build(&kiln, GATED, &[]), (24, 120));
    let gate = gate(&kiln);
    for (rows, columns) in [(24, 50), (24, 120), (30, 33), (14, 80), (24, 200)] {
        terminal.wait("the step's lines", |screen| screen.count(" => => 90%") == 1);
        terminal.resize(rows, columns);
        let widest = usize::from(columns) - 1;
        terminal.wait("lines of the new width", |screen| {
            let text = screen.text();
            let step = text.iter().find(|line| line.starts_with(" => [3/3] RUN"));
            step.is_some_and(|line| line.len() == widest && line.ends_with('s'))
        });
        terminal.wait("one headline", |screen| screen.count("[+] Building") == 1);
    }
    open(&gate);
    let (code, screen) = terminal.end();
    let text = screen.text();
    assert_eq!(code, Some(0), "{text:#?}");
    assert_eq!((screen.count("[+] "), screen.count(" => [3/3] ")), (1, 1), "{text:#?}");
}

/// Ctrl-Z and `fg`: what the shell wrote stays, and what is drawn is below it.
#[test]
fn after_a_stop_the_steps_are_drawn_anew() {
    let kiln = Kiln::new();
    let terminal = Terminal::start(build(&kiln, GATED, &[]), (40, 80));
    let gate = gate(&kiln);
    terminal.wait("the step's lines", |screen| screen.count(" => => 90%") == 1);
    terminal.stop_and_go_on("^Z\n[1]+  Stopped\n$ fg\nkiln build\n");
    terminal.wait("the step's lines again", |screen| {
        let text = screen.text();
        let below = text.iter().skip_while(|line| *line != "kiln build").skip(1);
        below.filter(|line| line.starts_with(" => => ") || line.starts_with("[+] ")).count() >= 2
    });
    open(&gate);
    let (code, screen) = terminal.end();
    let text = screen.text();
    assert_eq!(code, Some(0), "{text:#?}");
    let said = text.iter().position(|line| line == "^Z").unwrap();
    assert_eq!(text[said..said + 4], ["^Z", "[1]+  Stopped", "$ fg", "kiln build"], "{text:#?}");
    let (above, below) = text.split_at(said + 4);
    let count = |lines: &[String], start: &str| lines.iter().filter(|line| line.starts_with(start)).count();
    assert_eq!((count(above, "[+] "), count(above, " => [3/3] RUN")), (1, 1), "{text:#?}");
    assert_eq!((count(below, "[+] "), count(below, " => [3/3] RUN")), (1, 1), "{text:#?}");
    assert_eq!(count(below, " => => "), 0, "{text:#?}");
}

#[test]
fn only_what_changed_is_drawn() {
    let kiln = Kiln::new();
    let terminal = Terminal::start(build(&kiln, GATED, &[]), (24, 80));
    let gate = gate(&kiln);
    terminal.wait("the step's lines", |screen| screen.count(" => => 90%") == 1);
    terminal.wait("some more time", |screen| {
        screen.text()[0].starts_with("[+] Building ") && screen.bytes.len() > 8000
    });
    open(&gate);
    let (_, screen) = terminal.end();
    let written = String::from_utf8(screen.bytes).unwrap();
    // A line that stays is drawn once, however long the step takes, and once more if it has to move.
    assert!(written.matches("said 8").count() <= 6, "{written:?}");
    assert_eq!(written.matches("\x1b[?2026h").count(), written.matches("\x1b[?2026l").count());
}

#[test]
fn a_failed_step_has_its_whole_log_and_its_lines_on_the_screen() {
    let kiln = Kiln::new();
    let dockerfile =
        "FROM busybox\nRUN i=0; while [ $i -lt 90 ]; do i=$((i+1)); echo line $i; done; exit 3\n";
    let (code, screen) = Terminal::start(build(&kiln, dockerfile, &[]), (24, 80)).end();
    let text = screen.text();
    assert_eq!(code, Some(1), "{text:#?}");
    for line in ["line 1", "line 50", "line 90"] {
        assert_eq!(text.iter().filter(|shown| *shown == line).count(), 1, "{line}: {text:#?}");
    }
    let at = |start: &str| text.iter().position(|line| line.contains(start)).unwrap();
    assert!(at("FAILED") < at(" => ERROR [2/2] RUN i=0"), "{text:#?}");
    assert!(
        at("ERROR") < at("line 90") && at("line 90") < at(">>> RUN") && at(">>> RUN") < at("error: "),
        "{text:#?}"
    );
}

#[test]
fn nothing_that_a_step_writes_steers_the_terminal() {
    let kiln = Kiln::new();
    let evil = "FROM busybox\nRUN printf '\\033[2J\\033[H\\033]0;title\\007\\033]8;;http://x\\033\\\\link\\033c\\033[?1049h\\033[6n\
                \\007\\010\\233\\377wide 中文\\tend\\033[31mred\\n'; exit 1\n";
    let mut command = build(&kiln, evil, &[]);
    command.env_remove("NO_COLOR");
    let (code, screen) = Terminal::start(command, (24, 80)).end();
    let text = screen.text();
    assert_eq!(code, Some(1), "{text:#?}");
    assert!(text.iter().any(|line| line.starts_with("link") && line.contains("wide 中文")), "{text:#?}");
    assert!(String::from_utf8(screen.bytes).unwrap().contains("\x1b[31mred\x1b[0m"), "{text:#?}");
    for (colours, expected) in [(None, "endred"), (Some("1"), "end\x1b[31mred\x1b[0m")] {
        let mut command = build(&kiln, evil, &["--progress", "plain"]);
        command.env_remove("NO_COLOR").envs(colours.map(|value| ("FORCE_COLOR", value)));
        let log = String::from_utf8(command.output().unwrap().stderr).unwrap();
        let line = log.lines().find(|line| line.contains("中文\tend")).unwrap();
        assert!(line.ends_with(expected), "{line:?}");
        assert_eq!(line.matches('\x1b').count(), if colours.is_some() { 2 } else { 0 }, "{line:?}");
    }
}

#[test]
fn a_build_that_is_given_up_leaves_the_terminal_as_it_was() {
    let kiln = Kiln::new();
    let terminal = Terminal::start(build(&kiln, GATED, &[]), (24, 80));
    gate(&kiln);
    terminal.wait("the step", |screen| screen.count(" => => ") > 0);
    tool("kill", &["-INT", &terminal.child.id().to_string()]);
    let (code, screen) = terminal.end();
    let text = screen.text();
    assert_eq!(code, Some(130), "{text:#?}");
    assert!(text[0].ends_with("CANCELED"), "{text:#?}");
    assert_eq!(screen.count(" => CANCELED [3/3] RUN"), 1, "{text:#?}");
}

#[test]
fn a_log_keeps_the_lines_of_a_step_together() {
    let kiln = Kiln::new();
    let steps: String = (1..=3)
        .map(|step| {
            format!(
                "FROM busybox AS s{step}\nRUN for i in 1 2 3; do echo {step} says $i; done; touch /{step}\n"
            )
        })
        .collect();
    let copies: String = (1..=3).map(|step| format!("COPY --from=s{step} /{step} /\n")).collect();
    let context = kiln.context("c", &[("Dockerfile", &format!("{steps}FROM scratch\n{copies}"))]);
    let log = kiln.build("together", &context, &["--jobs", "3"]);
    for step in 1..=3 {
        let at = log.lines().position(|line| line.ends_with(&format!("{step} says 1"))).unwrap();
        let lines: Vec<&str> = log.lines().skip(at).take(4).collect();
        let number = lines[0].split(' ').next().unwrap();
        for (line, end) in lines.iter().zip(["says 1", "says 2", "says 3", "s"]) {
            assert!(line.starts_with(number) && line.ends_with(end), "{log}");
        }
        assert!(lines[3].starts_with(&format!("{number} DONE ")), "{log}");
    }
    assert!(!log.contains('\x1b'), "{log:?}");
}

#[test]
fn a_long_line_is_whole_in_a_log() {
    let kiln = Kiln::new();
    let dockerfile = "FROM busybox\nRUN head -c 3000000 /dev/zero | tr '\\0' x; echo end\n";
    let log = kiln.build_text("long", dockerfile);
    let line = log.lines().find(|line| line.ends_with("xend")).unwrap();
    assert!(line.len() > 3_000_003, "{}", line.len());
}

#[test]
fn the_kind_is_an_option_or_comes_from_the_environment() {
    let kiln = Kiln::new();
    let run = |more: &[&str], variable: Option<&str>| {
        let mut command = build(&kiln, "FROM busybox\n", more);
        command.envs(variable.map(|kind| ("BUILDKIT_PROGRESS", kind))).output().unwrap()
    };
    let plain = run(&[], None);
    assert!(text(&plain.stderr).starts_with("#1 "), "{}", show(&plain));
    for (more, variable) in [(&["--progress=none"][..], None), (&[], Some("none"))] {
        let output = run(more, variable);
        assert!(
            output.status.success() && output.stderr.is_empty() && output.stdout.is_empty(),
            "{}",
            show(&output)
        );
    }
    let quiet = run(&[], Some("quiet"));
    assert!(quiet.stderr.is_empty() && text(&quiet.stdout).starts_with("sha256:"), "{}", show(&quiet));
    let option_first = run(&["--progress=plain"], Some("quiet"));
    assert!(text(&option_first.stderr).starts_with("#1 "), "{}", show(&option_first));
    let no_terminal = run(&["--progress=tty"], None);
    assert!(text(&no_terminal.stderr).contains("needs a terminal"), "{}", show(&no_terminal));
    let unknown = run(&[], Some("loud"));
    assert!(text(&unknown.stderr).contains("BUILDKIT_PROGRESS"), "{}", show(&unknown));
    assert_eq!((no_terminal.status.code(), unknown.status.code()), (Some(1), Some(1)));
}

#[test]
fn json_is_buildkits_solve_status() {
    let kiln = Kiln::new();
    let dockerfile = "FROM busybox as lower\nRUN echo said; exit 5\n";
    let output =
        build(&kiln, dockerfile, &["--progress", "rawjson"]).stderr(Stdio::piped()).output().unwrap();
    let text = text(&output.stderr);
    let documents: Vec<Value> = text.lines().map_while(|line| serde_json::from_str(line).ok()).collect();
    let all = |field: &str| -> Vec<Value> {
        let lists = documents.iter().filter_map(|document| document[field].as_array());
        lists.flatten().cloned().collect()
    };
    let known = ["vertexes", "statuses", "logs", "warnings"];
    for document in &documents {
        let fields = document.as_object().unwrap();
        assert!(fields.keys().all(|field| known.contains(&field.as_str())), "{document}");
    }
    let vertexes = all("vertexes");
    let fields = ["digest", "inputs", "name", "started", "completed", "cached", "error"];
    for vertex in &vertexes {
        let object = vertex.as_object().unwrap();
        assert!(object.keys().all(|field| fields.contains(&field.as_str())), "{vertex}");
        assert!(vertex["digest"].as_str().is_some_and(|digest| digest.starts_with("sha256:")), "{vertex}");
    }
    let failed = vertexes.iter().find(|vertex| vertex["error"].is_string()).unwrap();
    assert!(failed["name"].as_str().unwrap().starts_with("[lower 2/2] RUN echo said"), "{failed}");
    assert!(failed["started"].is_string() && failed["completed"].is_string(), "{failed}");
    let input = &failed["inputs"][0];
    assert!(vertexes.iter().any(|vertex| vertex["digest"] == *input), "{failed}");
    let log = &all("logs")[0];
    assert_eq!(
        (&log["data"], &log["stream"], &log["vertex"]),
        (&"c2FpZAo=".into(), &1.into(), &failed["digest"])
    );
    assert!(log["timestamp"].as_str().is_some_and(|time| time.ends_with('Z')), "{log}");
    for status in all("statuses") {
        for field in ["id", "vertex", "timestamp", "started"] {
            assert!(status[field].is_string(), "{status}");
        }
        assert!(status["current"].is_u64(), "{status}");
    }
    let warning = &all("warnings")[0];
    assert!(
        warning["vertex"].is_string() && warning["short"].is_string() && warning["level"] == 1,
        "{warning}"
    );
    assert_eq!(warning["sourceInfo"]["filename"], "Dockerfile");
    assert_eq!(warning["range"][0]["start"]["line"], 1);
}
