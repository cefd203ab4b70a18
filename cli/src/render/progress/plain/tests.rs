//! Events and the log that they make.

use kiln_engine::progress::{LogStream, Transfer};

use super::*;

fn at(milliseconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(milliseconds)
}

fn event(step: u32, milliseconds: u64, kind: EventKind) -> Event {
    Event { at: at(milliseconds), step: StepId(step), kind }
}

fn registered(name: &str) -> EventKind {
    EventKind::Registered { name: name.to_owned(), digest: None, inputs: Vec::new(), stage: None }
}

fn above(name: &str, input: u32) -> EventKind {
    let inputs = vec![StepId(input)];
    EventKind::Registered { name: name.to_owned(), digest: None, inputs, stage: None }
}

fn log(text: &str) -> EventKind {
    EventKind::Log { stream: LogStream::Stdout, bytes: text.as_bytes().to_vec() }
}

/// What is printed of events, with time that goes by at each.
fn printed(events: Vec<Event>) -> String {
    let mut out = Vec::new();
    let mut plain = Plain::new(&mut out, false);
    for event in events {
        plain.tick(event.at);
        plain.event(event);
    }
    plain.finish();
    String::from_utf8(out).unwrap()
}

#[test]
fn it_reads_like_buildkits() {
    let text = printed(vec![
        event(7, 0, registered("[1/3] FROM docker.io/library/busybox")),
        event(8, 0, registered("[2/3] RUN make")),
        event(9, 0, registered("[3/3] RUN tests")),
        event(6, 0, above("[base 2/2] RUN prepare", 7)),
        event(7, 0, EventKind::Cached),
        event(6, 0, EventKind::Cached),
        event(8, 100, EventKind::Started),
        event(8, 223, log("compiling\nlin")),
        event(9, 230, EventKind::Started),
        event(9, 240, log("test 1\n")),
        event(8, 300, log("king\x1b[2J\n")),
        event(8, 1100, EventKind::Done),
        event(9, 1200, EventKind::Failed("exit code: 1".to_owned())),
    ]);
    let expected = "\
#1 [1/3] FROM docker.io/library/busybox
#1 DONE 0.0s

#2 [base 2/2] RUN prepare
#2 CACHED

#3 [2/3] RUN make
#3 0.123 compiling
#3 0.200 linking
#3 DONE 1.0s

#4 [3/3] RUN tests
#4 0.010 test 1
#4 ERROR: exit code: 1
";
    assert_eq!(text, expected);
}

#[test]
fn the_floor_changes_after_a_pause_or_a_long_wait() {
    let mut events = vec![
        event(1, 0, registered("a")),
        event(2, 0, registered("b")),
        event(1, 0, EventKind::Started),
        event(2, 0, EventKind::Started),
        event(1, 100, log("one\n")),
        event(2, 200, log("two\n")),
        event(2, 1000, log("three\n")),
        // Two seconds after its last word.
        event(2, 2200, log("four\n")),
    ];
    // From now on both speak all the time.
    events.extend((3..14).flat_map(|second| {
        let line = format!("at {second}\n");
        [event(1, second * 1000, log(&line)), event(2, second * 1000 + 1, log(&line))]
    }));
    events.push(event(1, 14_000, EventKind::Cancelled));
    events.push(event(2, 14_000, EventKind::Done));
    let text = printed(events);
    let expected = "\
#1 a
#1 0.100 one
#1 ...

#2 b
#2 0.200 two
#2 1.000 three
#2 2.200 four
#2 3.001 at 3
#2 4.001 at 4
#2 5.001 at 5
#2 6.001 at 6
#2 7.001 at 7
#2 8.001 at 8
#2 9.001 at 9
#2 10.00 at 10
#2 11.00 at 11
#2 12.00 at 12
#2 ...

#1 a
#1 3.000 at 3
#1 4.000 at 4
#1 5.000 at 5
#1 6.000 at 6
#1 7.000 at 7
#1 8.000 at 8
#1 9.000 at 9
#1 10.00 at 10
#1 11.00 at 11
#1 12.00 at 12
#1 13.00 at 13
#1 CANCELED

#2 b
#2 13.00 at 13
#2 DONE 14.0s
";
    assert_eq!(text, expected);
}

#[test]
fn a_step_that_is_over_keeps_its_number() {
    let warning = EventKind::Warning("late".to_owned().into());
    let text = printed(vec![
        event(1, 0, registered("a")),
        event(1, 0, EventKind::Cancelled),
        event(2, 0, registered("b")),
        event(2, 0, EventKind::Started),
        event(2, 0, EventKind::Cancelled),
        event(1, 9, warning),
    ]);
    assert_eq!(text, "#1 a\n#1 CANCELED\n\n#2 b\n#2 CANCELED\n\n#1 a\n#1 WARN: late\n");
}

#[test]
fn what_waits_is_not_without_limit() {
    let line = "x".repeat(1000) + "\n";
    let mut events = vec![event(1, 0, registered("a")), event(2, 0, registered("b"))];
    events.extend([event(1, 0, EventKind::Started), event(2, 0, EventKind::Started)]);
    events.push(event(1, 0, log("first\n")));
    events.extend((0..300).map(|_| event(2, 1, log(&line))));
    events.push(event(1, 2, EventKind::Done));
    let text = printed(events);
    assert_eq!(text.matches(&line).count(), 300);
    assert!(text.contains("#1 0.000 first\n#1 ...\n\n#2 b\n#2 0.001 x"), "{}", &text[..200]);
}

#[test]
fn transfers_are_told_of_now_and_then() {
    let moved = |milliseconds, current, done| {
        let item = "sha256:abc".to_owned();
        let transfer = Transfer { item, action: "downloading", current, total: Some(9000), done };
        event(1, milliseconds, EventKind::Transfer(transfer))
    };
    let mut events = vec![event(1, 0, registered("FROM x")), event(1, 0, EventKind::Started)];
    events.extend((0..9).map(|second| moved(second * 1000, second * 1000, false)));
    events.extend([moved(9000, 9000, true), event(1, 9000, EventKind::Done)]);
    let expected = "\
#1 FROM x
#1 downloading sha256:abc 5kB / 9kB 1kB/s 5.0s
#1 downloading sha256:abc 9kB / 9kB 1kB/s 9.0s done
#1 DONE 9.0s
";
    assert_eq!(printed(events), expected);
}
