//! `RUN --mount=type=cache`: what is kept, who waits for whom, and what a killed build leaves.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use crate::harness::{Kiln, show, wait_for};

/// Starts a build of `text` without waiting for it.
fn start(kiln: &Kiln, name: &str, text: &str) -> std::process::Child {
    let context = kiln.context(name, &[("Dockerfile", text)]);
    let mut build = kiln.command(&["build", "--progress", "plain", context.to_str().unwrap()]);
    build.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

#[test]
fn locked_directories_have_one_user_among_all_processes() {
    let kiln = Kiln::new();
    kiln.ok(&["pull", "-q", "busybox"]);
    let text = |name: &str| {
        format!(
            "FROM busybox\nRUN --mount=type=cache,target=/c,sharing=locked \
             mkdir /c/mine || exit 7; for i in 1 2 3; do sleep 0.1; ls /c; done; rmdir /c/mine; echo {name} >> /c/log\n"
        )
    };
    let builds: Vec<_> = ["one", "two", "three"].map(|name| start(&kiln, name, &text(name))).into();
    for build in builds {
        let output = build.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", show(&output));
    }
    let said = kiln.build_text("log", "FROM busybox\nRUN --mount=type=cache,target=/c wc -l < /c/log\n");
    assert!(said.lines().any(|line| line.ends_with(" 3")), "{said}");
}

/// Safety table B29.
#[test]
fn a_killed_build_frees_its_directory() {
    let kiln = Kiln::new();
    kiln.ok(&["pull", "-q", "busybox"]);
    let marker = format!("94{}", std::process::id());
    let text = "FROM busybox\nRUN --mount=type=cache,target=/c,sharing=locked ";
    let mut holder = start(&kiln, "holder", &format!("{text}sleep {marker}\n"));
    let running = || {
        let found = Command::new("pgrep").args(["-f", &format!("^sleep {marker}")]).output().unwrap();
        !found.stdout.is_empty()
    };
    wait_for("the holder", running);
    let mut waiter = start(&kiln, "waiter", &format!("{text}echo taken\n"));
    let mut lines = BufReader::new(waiter.stderr.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.ends_with("waiting for a cache mount that another step holds")));
    holder.kill().unwrap();
    holder.wait().unwrap();
    assert!(lines.any(|line| line.ends_with(" taken")));
    assert!(waiter.wait().unwrap().success());
}

#[test]
fn private_directories_are_each_ones_own_and_come_back() {
    let kiln = Kiln::new();
    let stage = |own: &str, other: &str| {
        format!(
            "FROM busybox AS {own}\nRUN --mount=type=cache,target=/meet --mount=type=cache,target=/c,sharing=private \
             touch /c/x /c/{own} /meet/{own}; i=0; \
             while [ ! -e /meet/{other} ]; do i=$((i+1)); [ $i -lt 100 ] || exit 7; sleep 0.1; done; \
             test ! -e /c/{other} && touch /{own}\n"
        )
    };
    let text = format!(
        "{}{}FROM busybox\nCOPY --from=a /a /\nCOPY --from=b /b /\n",
        stage("a", "b"),
        stage("b", "a")
    );
    let context = kiln.context("c", &[("Dockerfile", &text)]);
    kiln.build("met", &context, &["--jobs", "2"]);
    kiln.build_text("back", "FROM busybox\nRUN --mount=type=cache,target=/c,sharing=private test -e /c/x\n");
}

#[test]
fn a_directory_begins_with_what_it_is_made_from() {
    let kiln = Kiln::new();
    kiln.build_text(
        "seeded",
        "FROM busybox AS seed
RUN mkdir -p /seed/deep && echo from the stage > /seed/deep/file && chown 3:4 /seed
FROM busybox
RUN --mount=type=cache,from=seed,source=/seed,target=/c grep -q stage /c/deep/file && echo changed > /c/deep/file
RUN --mount=type=cache,id=/c,from=seed,source=/seed,target=/other grep -q changed /other/deep/file
RUN --mount=type=cache,target=/c test ! -e /c/deep && echo mine > /c/own
RUN --mount=type=cache,target=/c,uid=5,gid=6,mode=0750 test \"$(stat -c %a:%u:%g /c)\" = 750:5:6 -a ! -e /c/own
RUN --mount=type=cache,target=/c,readonly cat /c/own && ! touch /c/other
RUN --mount=type=cache,id=/c,source=part/of,target=/part touch /part/file && test ! -e /part/own
RUN --mount=type=cache,target=/c test -e /c/part/of/file
",
    );
}

#[test]
fn one_directory_twice_in_a_step_is_taken_once() {
    let kiln = Kiln::new();
    kiln.build_text(
        "twice",
        "FROM busybox
RUN --mount=type=cache,id=x,target=/a,sharing=locked --mount=type=cache,id=x,target=/b,sharing=locked \
    touch /a/file && test -e /b/file
",
    );
}

#[test]
fn steps_that_lock_in_other_orders_do_not_wait_for_each_other() {
    let kiln = Kiln::new();
    let stage = |name: &str, first: &str, second: &str| {
        let mut text = format!("FROM busybox AS {name}\n");
        for n in 0..4 {
            text.push_str(&format!(
                "RUN --mount=type=cache,id={first},target=/1,sharing=locked \
                 --mount=type=cache,id={second},target=/2,sharing=locked echo {n} > /{name}\n"
            ));
        }
        text
    };
    let text = format!(
        "{}{}FROM busybox\nCOPY --from=a /a /\nCOPY --from=b /b /\n",
        stage("a", "x", "y"),
        stage("b", "y", "x")
    );
    let context = kiln.context("c", &[("Dockerfile", &text)]);
    kiln.build("done", &context, &["--jobs", "2"]);
}

/// A cache is forgotten between two builds; nobody notices but by the time it takes.
#[test]
fn a_lost_directory_fails_no_build() {
    let kiln = Kiln::new();
    let text =
        |n: u32| format!("FROM busybox\nRUN --mount=type=cache,target=/c echo {n} >> /c/x; cat /c/x\n");
    kiln.build_text("one", &text(1));
    kiln.ok(&["system", "prune", "--all", "--force"]);
    kiln.build_text("two", &text(2));
    for entry in fs::read_dir(kiln.root().join("cachemounts")).unwrap().flatten() {
        fs::remove_dir_all(entry.path()).unwrap();
    }
    kiln.build_text("three", &text(3));
}

/// Safety table B17.
#[test]
fn an_id_is_no_path() {
    let kiln = Kiln::new();
    for (n, id) in ["../../../../../etc", "/etc", ".."].into_iter().enumerate() {
        let text = format!(
            "FROM busybox\nRUN --mount=type=cache,id={id},target=/c test -z \"$(ls -A /c)\" && touch /c/x\n"
        );
        kiln.build_text(&format!("id{n}"), &text);
    }
}
