//! Each instruction's effect on the image.

use std::fs;
use std::process::Command;

use crate::harness::Kiln;

#[test]
fn copy_and_add_place_files_as_asked() {
    let kiln = Kiln::new();
    let dockerfile = "\
FROM busybox
WORKDIR /w
COPY one.txt two.txt ./
COPY *.txt /globbed/
COPY tree /tree
COPY --chown=33:nogroup --chmod=0640 one.txt /owned
COPY --chown=www-data one.txt /named
COPY --chmod=u+x,go-r one.txt /symbolic
ADD archive.tar.gz /unpacked
COPY archive.tar.gz /kept/
ARG NAME=value
COPY <<END /inline
line $NAME
END
COPY [\"with space\", \"/dest with space\"]
";
    let files = [
        ("Dockerfile", dockerfile),
        ("one.txt", "1\n"),
        ("two.txt", "2\n"),
        ("tree/a/b", "deep\n"),
        ("with space", "spaced\n"),
        ("packed/inner", "inner\n"),
    ];
    let context = kiln.context("c", &files);
    let status =
        Command::new("tar").current_dir(&context).args(["czf", "archive.tar.gz", "packed"]).status().unwrap();
    assert!(status.success());
    kiln.build("copied", &context, &[]);
    let script = "cat one.txt two.txt /globbed/two.txt /tree/a/b '/dest with space' /unpacked/packed/inner /inline; \
        stat -c '%u:%g %a' /owned /named; stat -c '%a' /symbolic; ls /kept";
    let expected = "1\n2\n2\ndeep\nspaced\ninner\nline value\n33:65534 640\n33:33 644\n700\narchive.tar.gz";
    assert_eq!(kiln.sh("copied", script), expected);
}

#[test]
fn configuration_instructions_reach_the_image() {
    let kiln = Kiln::new();
    let dockerfile = "\
FROM busybox
ENV A=1 B=\"two words\"
WORKDIR /srv
WORKDIR app
USER 33:33
EXPOSE 80 53/udp
VOLUME /data
LABEL a.b=\"c d\"
STOPSIGNAL SIGINT
HEALTHCHECK --interval=5s CMD true
SHELL [\"/bin/sh\", \"-ec\"]
ENTRYPOINT [\"echo\"]
CMD [\"default\"]
";
    kiln.build_text("configured", dockerfile);
    let value = |template: &str| kiln.inspect("configured", template);
    assert_eq!(value("{{.Config.WorkingDir}}"), "/srv/app");
    assert_eq!(value("{{.Config.User}}"), "33:33");
    assert_eq!(value("{{json .Config.ExposedPorts}}"), r#"{"53/udp":{},"80/tcp":{}}"#);
    assert_eq!(value("{{json .Config.Volumes}}"), r#"{"/data":{}}"#);
    assert_eq!(value("{{json .Config.Entrypoint}} {{json .Config.Cmd}}"), r#"["echo"] ["default"]"#);
    assert_eq!(value("{{.Config.StopSignal}}"), "SIGINT");
    assert_eq!(value("{{json .Config.Healthcheck.Test}}"), r#"["CMD-SHELL","true"]"#);
    assert!(value("{{json .Config.Env}}").contains("B=two words"));
    assert_eq!(kiln.ok(&["run", "--rm", "--network", "none", "configured"]), "default");
    assert_eq!(kiln.ok(&["run", "--rm", "--network", "none", "configured", "other", "words"]), "other words");
    let who = kiln.ok(&[
        "run",
        "--rm",
        "--network",
        "none",
        "--entrypoint",
        "sh",
        "configured",
        "-c",
        "id -u; pwd",
    ]);
    assert_eq!(who, "33\n/srv/app");
}

#[test]
fn triggers_of_a_base_run_in_the_child() {
    let kiln = Kiln::new();
    kiln.build_text(
        "parent",
        "FROM busybox\nONBUILD COPY file /from-child\nONBUILD RUN cat /from-child > /seen\n",
    );
    let context = kiln.context("child", &[("Dockerfile", "FROM parent\n"), ("file", "yes\n")]);
    kiln.build("child", &context, &[]);
    assert_eq!(kiln.sh("child", "cat /seen"), "yes");
}

#[test]
fn a_run_sees_heredocs_arguments_and_its_own_mounts() {
    let kiln = Kiln::new();
    let dockerfile = "\
FROM busybox
ARG WHO=you
RUN <<END
set -e
echo one > /lines
echo \"$WHO\" >> /lines
END
RUN [\"/bin/sh\", \"-c\", \"echo exec >> /lines\"]
RUN --mount=type=tmpfs,target=/scratch --mount=type=bind,source=f,target=/f \
    cp /f /scratch/f && cat /scratch/f >> /lines
";
    let context = kiln.context("c", &[("Dockerfile", dockerfile), ("f", "bound\n")]);
    kiln.build("ran", &context, &[]);
    assert_eq!(
        kiln.sh("ran", "cat /lines; ls -d /scratch /f 2>/dev/null | wc -l"),
        "one\nyou\nexec\nbound\n0"
    );
}

#[test]
fn nothing_of_the_sandbox_is_in_the_layer() {
    let kiln = Kiln::new();
    kiln.build_text("bare", "FROM busybox\nRUN echo x > /x\n");
    let out = kiln.scratch("out").join("bare.tar");
    kiln.ok(&["save", "-o", out.to_str().unwrap(), "bare"]);
    let unpacked = kiln.scratch("unpacked");
    let status = Command::new("tar").current_dir(&unpacked).arg("xf").arg(&out).status().unwrap();
    assert!(status.success());
    let manifest: serde_json::Value =
        serde_json::from_slice(&fs::read(unpacked.join("manifest.json")).unwrap()).unwrap();
    let layer = manifest[0]["Layers"].as_array().unwrap().last().unwrap().as_str().unwrap().to_owned();
    let listing = Command::new("tar").current_dir(&unpacked).args(["tf", &layer]).output().unwrap();
    assert_eq!(String::from_utf8(listing.stdout).unwrap(), "x\n");
}

/// Item 95.
#[test]
fn the_host_is_called_as_in_buildkit_unless_an_argument_says_otherwise() {
    let kiln = Kiln::new();
    let context = kiln.context(
        "c",
        &[(
            "Dockerfile",
            "FROM busybox\nARG NAME\nRUN test \"$(hostname)\" = $NAME && grep -w $NAME /etc/hosts\n",
        )],
    );
    kiln.build("named", &context, &["--build-arg", "NAME=buildkitsandbox"]);
    let other = ["--build-arg", "NAME=other", "--build-arg", "BUILDKIT_SANDBOX_HOSTNAME=other"];
    kiln.build("named", &context, &other);
    kiln.fails(1, &["build", "--build-arg", "NAME=other", context.to_str().unwrap()]);
}

#[test]
fn an_ignored_file_is_not_in_the_image() {
    let kiln = Kiln::new();
    let files = [
        ("Dockerfile", "FROM busybox\nCOPY . /all\n"),
        (".dockerignore", "**/*.log\n!keep.log\nsecret\n"),
        ("a.log", "x"),
        ("keep.log", "x"),
        ("deep/b.log", "x"),
        ("deep/c", "x"),
        ("secret/k", "x"),
    ];
    let context = kiln.context("c", &files);
    kiln.build("ignored", &context, &[]);
    let found = kiln.sh("ignored", "cd /all && find . -type f | sort");
    assert_eq!(found, "./.dockerignore\n./Dockerfile\n./deep/c\n./keep.log");
}

#[test]
fn item_59_history_of_a_base_keeps_its_times() {
    let kiln = Kiln::new();
    kiln.build_text("base", "FROM busybox\nENV a=b\nRUN touch /x\n");
    let times = |image: &str| kiln.ok(&["history", "--no-trunc", "--format", "{{.CreatedAt}}", image]);
    let before = times("base");
    let context = kiln.context("child", &[("Dockerfile", "FROM base\nENV c=d\nRUN touch /y\n")]);
    let mut build = kiln.command(&["build", "-t", "child", context.to_str().unwrap()]);
    let output = build.env("SOURCE_DATE_EPOCH", "1000000000").output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let given = ["--no-cache", "--build-arg", "SOURCE_DATE_EPOCH=1000000000"];
    kiln.build("given", &context, &given);
    assert_eq!(times("given"), times("child"));
    let refused =
        kiln.fails(1, &["build", "--build-arg", "SOURCE_DATE_EPOCH=soon", context.to_str().unwrap()]);
    assert!(refused.contains("`SOURCE_DATE_EPOCH=soon` is not a number of seconds"), "{refused}");
    let after = times("child");
    let own: Vec<&str> = after.strip_suffix(&before).expect("the base's entries").lines().collect();
    assert_eq!(own.len(), 2, "{after}");
    assert!(own.iter().all(|time| time.starts_with("2001-09-09")), "{after}");
}

#[test]
fn from_takes_variables_of_the_file_and_of_the_stage() {
    let kiln = Kiln::new();
    let dockerfile = "\
ARG TOOLS=tools
FROM busybox AS tools
RUN echo tool > /tool
FROM busybox
ENV IMAGE=busybox
COPY --from=$TOOLS /tool /copied
RUN --mount=from=${IMAGE}:latest,source=/bin,target=/other ls /other/busybox > /seen
";
    kiln.build_text("app", dockerfile);
    assert_eq!(kiln.sh("app", "cat /copied /seen"), "tool\n/other/busybox");
    let context =
        kiln.context("bad", &[("Dockerfile", "FROM busybox\nARG nothing\nCOPY --from=$nothing /a /b\n")]);
    let said = kiln.fails(1, &["build", context.to_str().unwrap()]);
    assert!(said.contains("`nothing` is not set") && said.contains("an ARG before the first FROM"), "{said}");
}
