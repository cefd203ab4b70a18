//! Secrets and SSH agents of RUN steps: seen by the step that asks, and nowhere else.

use std::fs;
use std::path::Path;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::harness::{Kiln, show, text};

/// Speaks to the agent at `$SSH_AUTH_SOCK`: prints the answers to each message as hexadecimal digits.
const ASK: &str = r#"use IO::Socket::UNIX;
for my $message (@ARGV) {
  my $agent = IO::Socket::UNIX->new(Peer => $ENV{SSH_AUTH_SOCK}) or die "no agent: $!\n";
  my $bytes = pack("H*", $message);
  syswrite $agent, pack("N", length $bytes) . $bytes;
  read $agent, my $length, 4;
  read $agent, my $answer, unpack("N", $length);
  print unpack("H*", $answer), "\n";
}
"#;

/// An Ed25519 key in PEM armour, made of 32 bytes of this value; and its one line of text.
fn private_key(of: u8) -> (String, String) {
    let head = b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20";
    let line = STANDARD.encode([&head[..], &[of; 32]].concat());
    (format!("-----BEGIN PRIVATE KEY-----\n{line}\n-----END PRIVATE KEY-----\n"), line)
}

/// The files below `folders` in which one of `secrets` stands.
fn finds(secrets: &[&str], folders: &[&Path]) -> String {
    let mut grep = Command::new("grep");
    for secret in secrets {
        grep.args(["-e", secret]);
    }
    let output = grep.args(["-rlaF", "-D", "skip"]).args(folders).output().unwrap();
    assert_eq!(text(&output.stderr), "");
    text(&output.stdout)
}

/// Safety table A18.
#[test]
fn no_secret_is_found_anywhere_afterwards() {
    let kiln = Kiln::new();
    let (key, key_line) = private_key(0xa7);
    let keys = kiln.scratch("keys");
    fs::write(keys.join("key"), key).unwrap();
    fs::write(keys.join("two"), "canary-two-8a1c").unwrap();
    fs::write(keys.join("three"), "canary-three-77d0").unwrap();
    // Compared with patterns, so that no secret stands in the Dockerfile.
    let dockerfile = r#"FROM debian:bookworm
RUN --mount=type=secret,id=one --mount=type=secret,id=two,target=/etc/app/two,mode=0444 <<EOF
case "$(cat /run/secrets/one) $(cat /etc/app/two)" in c*-one-4?e9\ c*-two-8?1c) exit 0;; esac; exit 7
EOF
RUN --mount=type=secret,id=three,env=THREE --mount=type=secret,id=four,env=FOUR,target=/four,required <<EOF
case "$THREE $FOUR $(cat /four)" in c*-three-7?d0\ c*-four-c?b2\ c*-four-c?b2) exit 0;; esac; exit 7
EOF
RUN --mount=type=ssh --mount=target=/ctx perl /ctx/ask.pl 0b
RUN --mount=type=secret,id=one test ! -e /run/buildkit -a ! -e /four -a ! -e /etc/app
RUN --mount=type=secret,id=one,env=ONE exit 3
"#;
    let whole = dockerfile.replace("exit 3", "true");
    let files =
        [("Dockerfile", dockerfile), ("ask.pl", ASK), ("whole/Dockerfile", &whole), ("whole/ask.pl", ASK)];
    let context = kiln.context("c", &files);
    let exported = kiln.scratch("exported");
    let path = |name: &str| keys.join(name).display().to_string();
    let (two, three) = (format!("id=two,src={}", path("two")), format!("id=three,src={}", path("three")));
    let ssh = format!("default={}", path("key"));
    let outputs = ["docker", "tar"].map(|kind| format!("type={kind},dest={}", exported.join(kind).display()));
    let build = |progress: &str, folder: &Path, more: &[&str]| {
        let mut args = vec!["--debug", "build", "--progress", progress, "--ssh", &ssh];
        args.extend([
            "--secret",
            "id=one,env=ONE",
            "--secret",
            &two,
            "--secret",
            &three,
            "--secret",
            "id=four",
        ]);
        args.extend(more);
        args.push(folder.to_str().unwrap());
        let mut command = kiln.command(&args);
        let output = command.env("ONE", "canary-one-41e9").env("four", "canary-four-c3b2").output().unwrap();
        fs::write(exported.join(progress), [&output.stdout[..], &output.stderr].concat()).unwrap();
        output
    };
    let failed = build("plain", &context, &[]);
    let said = text(&failed.stderr);
    assert!(said.contains("exit code: 3") && said.contains("0c00000001"), "{said}");
    let made = build("rawjson", &context.join("whole"), &["-o", &outputs[0], "-o", &outputs[1]]);
    assert!(made.status.success(), "{}", show(&made));
    assert!(exported.join("docker").is_file() && exported.join("tar").is_file());
    let secrets = ["canary-one-", "canary-two-", "canary-three-", "canary-four-", &key_line];
    assert_eq!(finds(&secrets, &[&kiln.root(), &exported]), "");
    // The search finds what is there.
    assert_eq!(finds(&secrets, &[&keys]).lines().count(), 3);
}

/// Safety table A19.
#[test]
fn a_layer_has_no_trace_of_a_mount() {
    let kiln = Kiln::new();
    let dockerfile = "FROM busybox
RUN --mount=type=secret,id=s --mount=type=cache,target=/deep/cache --mount=type=tmpfs,target=/tmpfs \\
    --mount=type=bind,target=/ctx --mount=type=secret,id=s,target=/etc/app/s echo x > /tmpfs/x && echo y > /deep/cache/y
RUN --mount=type=cache,target=/kept/cache touch /kept/own
";
    let context = kiln.context("c", &[("Dockerfile", dockerfile), ("s", "hush")]);
    let secret = format!("id=s,src={}/s", context.display());
    let tar = kiln.scratch("out").join("files.tar");
    kiln.build("t", &context, &["--secret", &secret, "-o", &format!("type=tar,dest={}", tar.display())]);
    let listed = crate::harness::tool("tar", &["-tf", tar.to_str().unwrap()]);
    let left: Vec<_> = listed
        .lines()
        .filter(|line| ["run/", "deep", "tmpfs", "ctx", "app", "kept"].iter().any(|part| line.contains(part)))
        .collect();
    // What the step itself put beside a mount point stays, with the folder that it is in.
    assert_eq!(left, ["kept/", "kept/own"]);
    kiln.build("t", &context, &["--secret", &secret]);
    let sizes = kiln.ok(&["history", "--format", "{{.Size}}", "t"]);
    assert!(sizes.lines().count() >= 3, "{sizes}");
}

#[test]
fn what_is_required_and_missing_says_how_to_give_it() {
    let kiln = Kiln::new();
    let build = |text: &str| {
        let context = kiln.context("c", &[("Dockerfile", text)]);
        kiln.fails(1, &["build", "--progress", "plain", context.to_str().unwrap()])
    };
    let said = build("FROM busybox\nRUN --mount=type=secret,id=npm,required true\n");
    assert!(said.contains("the secret `npm` is required and was not given"), "{said}");
    assert!(said.contains("hint: `--secret id=npm,src=FILE`") && said.contains("   2 | >>> RUN"), "{said}");
    let said = build("FROM busybox\nRUN --mount=type=ssh,id=work,required true\n");
    assert!(said.contains("the SSH agent `work` is required and was not given"), "{said}");
    assert!(said.contains("hint: `--ssh work` forwards yours"), "{said}");
    let text = "FROM busybox\nRUN --mount=type=secret,id=npm --mount=type=secret,id=npm,env=NPM --mount=type=ssh \\\n  \
                test ! -e /run/secrets/npm -a ! -e /run/buildkit && ! env | grep -q NPM\n";
    kiln.build_text("optional", text);
}

#[test]
fn another_value_is_no_reason_to_run_again() {
    let kiln = Kiln::new();
    let context = kiln
        .context("c", &[("Dockerfile", "FROM busybox\nRUN --mount=type=secret,id=s cat /run/secrets/s\n")]);
    let build = |value: &str| {
        fs::write(context.join("s"), value).unwrap();
        kiln.build("t", &context, &["--secret", &format!("id=s,src={}/s", context.display())])
    };
    assert!(!build("first").contains("CACHED"));
    assert!(build("second").contains("CACHED"));
}

#[test]
fn secrets_have_the_owner_and_mode_that_was_asked_for() {
    let kiln = Kiln::new();
    let context = kiln.context(
        "c",
        &[("Dockerfile", "FROM busybox
RUN --mount=type=secret,id=s --mount=type=secret,id=s,target=/a,mode=0640,uid=5,gid=6 --mount=type=secret,target=b/s \\
    stat -c '%n %a %u:%g' /run/secrets/s /a /b/s; echo x > /a || echo refused; cat /a
USER 5
RUN --mount=type=secret,id=s cat /run/secrets/s || echo not for you
")],
    );
    fs::write(context.join("s"), "hush\n").unwrap();
    let said = kiln.build("t", &context, &["--secret", &format!("id=s,src={}/s", context.display())]);
    for line in ["/run/secrets/s 400 0:0", "/a 640 5:6", "/b/s 400 0:0", "refused", "hush", "not for you"] {
        assert!(said.contains(line), "`{line}` is missing in {said}");
    }
}

/// Safety table A20.
#[test]
fn an_agent_lists_and_signs_and_is_gone_with_its_step() {
    let kiln = Kiln::new();
    let keys = kiln.scratch("keys");
    fs::write(keys.join("one"), private_key(1).0).unwrap();
    fs::write(keys.join("two"), private_key(2).0).unwrap();
    // List; remove all; lock; a key of somebody else; an extension.
    let dockerfile = "FROM debian:bookworm
RUN --mount=target=/ctx --mount=type=ssh --mount=type=ssh,id=both,target=/run/both,mode=0666,uid=7 \\
    echo $SSH_AUTH_SOCK && stat -c '%n %a %u' /run/buildkit/ssh_agent.0 /run/both && \\
    perl /ctx/ask.pl 0b 13 1600000001 11 1b0000000178 && SSH_AUTH_SOCK=/run/both perl /ctx/ask.pl 0b
RUN test ! -e /run/buildkit -a ! -e /run/both
";
    let context = kiln.context("c", &[("Dockerfile", dockerfile), ("ask.pl", ASK)]);
    let path = |name: &str| keys.join(name).display().to_string();
    let (one, both) = (format!("default={}", path("one")), format!("both={},{}", path("one"), path("two")));
    let said = kiln.build("t", &context, &["--ssh", &one, "--ssh", &both]);
    let lines: Vec<&str> = said.lines().filter_map(|line| line.split(' ').nth(2)).collect();
    for line in ["/run/buildkit/ssh_agent.0", "600", "666"] {
        assert!(said.contains(line), "`{line}` is missing in {said}");
    }
    let answers: Vec<&str> =
        lines.into_iter().filter(|word| *word == "05" || word.starts_with("0c")).collect();
    assert_eq!(answers.len(), 6, "{said}");
    assert!(answers[0].starts_with("0c00000001") && answers[5].starts_with("0c00000002"), "{answers:?}");
    assert_eq!(answers[1..5], ["05"; 4]);
}

#[test]
fn a_key_that_cannot_be_used_is_told_before_the_build() {
    let kiln = Kiln::new();
    let context =
        kiln.context("c", &[("Dockerfile", "FROM scratch\nCOPY Dockerfile /\n"), ("text", "no key")]);
    let fails = |option: &[&str]| kiln.fails(1, &[&["build"], option, &[context.to_str().unwrap()]].concat());
    let said = fails(&["--ssh", &format!("default={}/text", context.display())]);
    assert!(said.contains("is not a private key"), "{said}");
    let said = fails(&["--ssh", "default=/not/there"]);
    assert!(said.contains("cannot find `/not/there` for the SSH agent `default`"), "{said}");
    let said = fails(&["--secret", "id=x,src=/not/there"]);
    assert!(said.contains("cannot read the file `/not/there` of the secret `x`"), "{said}");
}
