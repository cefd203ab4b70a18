//! RUN's other flags: bind and tmpfs mounts, networks, grants, devices, limits.

use std::fs;

use crate::harness::{Kiln, show, text};

/// Safety table B19.
#[test]
fn what_is_written_to_a_bind_is_thrown_away() {
    let kiln = Kiln::new();
    let dockerfile = "FROM busybox AS files
RUN mkdir /data && echo original > /data/file
FROM busybox
RUN --mount=type=bind,target=/ctx,rw echo changed > /ctx/file && echo new > /ctx/new && cat /ctx/file
RUN --mount=from=files,source=/data,target=/data,rw echo changed > /data/file && cat /data/file
RUN --mount=target=/ctx --mount=from=files,source=/data,target=/data \\
    test ! -e /ctx/new && cat /ctx/file /data/file; touch /ctx/x /data/x 2> /dev/null || echo refused
RUN --mount=source=file,target=/one-file cat /one-file && test \"$(stat -c %u:%g /one-file)\" = 0:0
RUN test ! -e /ctx -a ! -e /data -a ! -e /one-file
";
    let context = kiln.context("c", &[("Dockerfile", dockerfile), ("file", "original\n")]);
    let said = kiln.build("t", &context, &[]);
    assert_eq!(said.matches(" changed\n").count(), 2, "{said}");
    assert_eq!(said.matches(" original\n").count(), 3, "{said}");
    assert!(said.contains(" refused\n"), "{said}");
    assert_eq!(fs::read_to_string(context.join("file")).unwrap(), "original\n");
    assert!(!context.join("new").exists());
}

/// Safety tables B02 and B16: links in a stage or a context stay inside it.
#[test]
fn the_source_of_a_mount_never_leads_to_the_host() {
    let kiln = Kiln::new();
    let canary = kiln.scratch("canary");
    fs::write(canary.join("file"), "of the host").unwrap();
    let canary = canary.display();
    let dockerfile = format!(
        "FROM busybox AS files
RUN ln -s / /rootdir && mkdir -p /in && ln -s {canary} /in/out && ln -s ../../../../../../../../../../etc /in/up
FROM busybox
RUN --mount=type=bind,from=files,source=/rootdir,target=/m test -e /m/in/up -a ! -e /m/{canary}
RUN --mount=type=bind,from=files,source=/in/up,target=/m test -e /m/passwd
RUN --mount=type=cache,target=/c ln -s {canary} /c/out && ln -s / /c/all
RUN --mount=type=cache,id=/c,source=all,target=/m test -L /m/out -a ! -e /m/etc
"
    );
    kiln.build_text("inside", &dockerfile);
    for (n, source) in ["/in/out", "/in/none"].iter().enumerate() {
        let text = format!("{dockerfile}RUN --mount=type=bind,from=files,source={source},target=/m ls /m\n");
        let context = kiln.context(&format!("bad{n}"), &[("Dockerfile", &text)]);
        let said = kiln.fails(1, &["build", "--progress", "plain", context.to_str().unwrap()]);
        assert!(
            said.contains(source) && said.contains("is not in the filesystem that the mount is from"),
            "{said}"
        );
        assert!(!said.contains("of the host"), "{said}");
    }
}

#[test]
fn a_source_that_is_hidden_says_by_what() {
    let kiln = Kiln::new();
    let files = [
        ("Dockerfile", "FROM busybox\nRUN --mount=source=notes.md,target=/n cat /n\n"),
        (".dockerignore", "*.md\n"),
        ("notes.md", ""),
    ];
    let context = kiln.context("c", &files);
    let said = kiln.fails(1, &["build", "--progress", "plain", context.to_str().unwrap()]);
    assert!(said.contains("`/notes.md` is not in the build context"), "{said}");
    assert!(said.contains("hint: .dockerignore line 1 excludes it"), "{said}");
}

/// Safety table B03.
#[test]
fn mount_points_are_taken_away_where_they_were_made() {
    let kiln = Kiln::new();
    let canary = kiln.scratch("canary");
    fs::create_dir(canary.join("stub")).unwrap();
    let text = format!(
        "FROM busybox
RUN mkdir -p {0} && rmdir {0}
RUN --mount=type=cache,target=/dir/stub mv /dir /moved && ln -s {0} /dir
",
        canary.display()
    );
    kiln.build_text("moved", &text);
    assert!(canary.join("stub").is_dir());
    assert_eq!(kiln.sh("moved", "readlink /dir; ls /moved"), canary.display().to_string());
}

/// Safety table B18.
#[test]
fn options_that_are_none_are_refused() {
    let kiln = Kiln::new();
    for option in ["bind-propagation=rshared", "relabel=shared", "Z", "suid", "z=1"] {
        let context = kiln
            .context("c", &[("Dockerfile", &format!("FROM busybox\nRUN --mount=target=/m,{option} true\n"))]);
        let said = kiln.fails(1, &["build", context.to_str().unwrap()]);
        assert!(said.contains(option.split('=').next().unwrap()), "{said}");
    }
}

#[test]
fn memory_is_as_large_as_asked_for_and_programs_in_it_run() {
    let kiln = Kiln::new();
    kiln.build_text(
        "memory",
        "FROM busybox
RUN --mount=type=tmpfs,target=/t,size=1m cp /bin/busybox /t/x 2> /dev/null; dd if=/dev/zero of=/t/y bs=1k count=2000 2> /dev/null && exit 7; true
RUN --mount=type=tmpfs,target=/t printf '#!/bin/sh\\necho ran\\n' > /t/x && chmod +x /t/x && test \"$(/t/x)\" = ran
RUN --mount=type=tmpfs,target=/t,readonly ! touch /t/x 2> /dev/null
",
    );
}

/// Safety table B04: nothing beyond the ordinary without a grant.
#[test]
fn grants_are_needed_and_named() {
    let kiln = Kiln::new();
    let cases = [
        ("--network=host", "network.host", "test \"$(cat /proc/net/dev | wc -l)\" -gt 2"),
        (
            "--security=insecure",
            "security.insecure",
            "grep -q 'Seccomp:.0' /proc/self/status && test -c /dev/net/tun -a -b /dev/loop0 && mkdir /m && mount -t tmpfs t /m",
        ),
    ];
    for (flag, grant, script) in cases {
        let context = kiln.context("c", &[("Dockerfile", &format!("FROM busybox\nRUN {flag} {script}\n"))]);
        let path = context.to_str().unwrap();
        let said = kiln.fails(1, &["build", "--progress", "plain", path]);
        assert!(said.contains("is not allowed in this build") && said.contains("   2 | >>> RUN"), "{said}");
        assert!(said.contains(&format!("hint: `--allow {grant}`")), "{said}");
        kiln.build("t", &context, &["--allow", grant]);
        // What is remembered needs the grant too.
        kiln.fails(1, &["build", path]);
    }
    let context = kiln.context("c", &[("Dockerfile", "FROM busybox\nRUN true\n")]);
    let said = kiln.fails(1, &["build", "--allow", "everything", context.to_str().unwrap()]);
    assert!(said.contains("`--allow everything`: `everything` is none of"), "{said}");
}

#[test]
fn an_insecure_step_has_every_capability_whoever_runs_it() {
    let kiln = Kiln::new();
    let dockerfile = "FROM busybox\nUSER nobody\nRUN --security=insecure id -u; grep Cap /proc/self/status | sort -u -k2 | wc -l; grep CapBnd /proc/1/status\nRUN grep CapEff /proc/self/status\n";
    let context = kiln.context("c", &[("Dockerfile", dockerfile)]);
    let said = kiln.build("t", &context, &["--allow", "security.insecure"]);
    // All five sets are alike, and none is empty.
    assert!(said.contains(" 65534\n") && said.lines().any(|line| line.ends_with(" 1")), "{said}");
    assert!(said.contains("CapEff:\t0000000000000000"), "{said}");
}

#[test]
fn no_network_is_a_loopback_alone() {
    let kiln = Kiln::new();
    kiln.build_text("none", "FROM busybox\nRUN --network=none test \"$(ls /sys/class/net)\" = lo\n");
}

#[test]
fn a_device_is_described_by_a_spec_and_needs_a_grant() {
    let kiln = Kiln::new();
    let specs = kiln.scratch("cdi");
    let spec = "cdiVersion: \"0.6.0\"\nkind: acme.example/disk\ndevices:\n  - name: fast\n    containerEdits:\n      env: [DISK=fast]\n      deviceNodes:\n        - {path: /dev/disk/fast, hostPath: /dev/zero, permissions: r}\n";
    fs::write(specs.join("acme.yaml"), spec).unwrap();
    let own = kiln.scratch("config").join("kiln.toml");
    let shared = fs::read_to_string(std::env::var("KILN_TEST_CONFIG").unwrap()).unwrap();
    fs::write(&own, format!("cdi-spec-dirs = [\"{}\"]\n{shared}", specs.display())).unwrap();
    let build = |dockerfile: &str, more: &[&str]| {
        let context = kiln.context("c", &[("Dockerfile", dockerfile)]);
        let args = [&["build", "--progress", "plain"], more, &[context.to_str().unwrap()]].concat();
        kiln.command(&args).env("KILN_CONFIG", &own).output().unwrap()
    };
    let wanted = "FROM busybox\nRUN --device=acme.example/disk=fast,required echo $DISK $(head -c 4 /dev/disk/fast | wc -c)\n";
    let refused = build(wanted, &["--allow", "device=acme.example/disk=slow"]);
    let said = text(&refused.stderr);
    assert!(!refused.status.success() && said.contains("--allow device=acme.example/disk=fast"), "{said}");
    for grant in ["device", "device=acme.example/disk=fast", "device=acme.example/disk"] {
        let output = build(wanted, &["--no-cache", "--allow", grant]);
        assert!(output.status.success() && text(&output.stderr).contains("fast 4"), "{}", show(&output));
    }
    let output = build("FROM busybox\nRUN --device=acme.example/none test -z \"$DISK\"\n", &[]);
    assert!(output.status.success(), "{}", show(&output));
    let output =
        build("FROM busybox\nRUN --device=acme.example/none,required true\n", &["--allow", "device"]);
    assert!(
        text(&output.stderr).contains("the device `acme.example/none` is required and not on this machine"),
        "{}",
        show(&output)
    );
}

#[test]
fn sizes_and_limits_reach_the_step() {
    let kiln = Kiln::new();
    let dockerfile = "FROM busybox\nRUN df -k /dev/shm | tail -1; ulimit -n; ulimit -Hn\n";
    let context = kiln.context("c", &[("Dockerfile", dockerfile)]);
    let said = kiln.build("t", &context, &["--shm-size", "3m", "--ulimit", "nofile=100:200"]);
    assert!(said.contains(" 3072 ") && said.contains(" 100\n") && said.contains(" 200\n"), "{said}");
    let said = kiln.fails(1, &["build", "--ulimit", "nofiles=1", context.to_str().unwrap()]);
    assert!(said.contains("`nofiles=1` is not a ulimit"), "{said}");
}

/// Item 86 of the language: how the world is reached does not change what is made, and is not told.
#[test]
fn a_proxy_is_seen_by_the_step_and_neither_kept_nor_part_of_its_key() {
    let kiln = Kiln::new();
    let context =
        kiln.context("c", &[("Dockerfile", "FROM busybox\nRUN echo \"$HTTP_PROXY $http_proxy\"\n")]);
    let first = kiln.build("t", &context, &["--build-arg", "HTTP_PROXY=http://user:word@one.example"]);
    assert!(first.contains("http://user:word@one.example http://user:word@one.example"), "{first}");
    let second = kiln.build("t", &context, &["--build-arg", "HTTP_PROXY=http://two.example"]);
    assert!(second.contains("CACHED"), "{second}");
    let history = kiln.ok(&["history", "--no-trunc", "t"]);
    assert!(!history.contains("example"), "{history}");
}
