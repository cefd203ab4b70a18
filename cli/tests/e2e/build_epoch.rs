//! Times of what is new, a Dockerfile from the web, and contexts and defaults of one platform.

use kiln_test_support::web::{Reply, Web};

use crate::build_remote::repository;
use crate::harness::{Kiln, show, tool};

#[test]
fn the_time_of_the_context_is_that_of_its_commit_or_download() {
    let kiln = Kiln::new();
    let dockerfile = "FROM scratch\nARG SOURCE_DATE_EPOCH\nLABEL epoch=$SOURCE_DATE_EPOCH\nCOPY file /\n";
    let served = kiln.scratch("served");
    repository(&served, "r.git", &[("Dockerfile", dockerfile), ("file", "x")]);
    let origin = Web::git(&served);
    let args = ["--build-arg", "SOURCE_DATE_EPOCH=context"];
    let url = format!("{}/r.git", origin.origin());
    kiln.ok(&[&["build", "-q", "-t", "git"], &args[..], &[&url]].concat());
    let time = tool("git", &["-C", served.join("r.git").to_str().unwrap(), "log", "-1", "--format=%ct"]);
    assert_eq!(kiln.inspect("git", "{{.Config.Labels.epoch}}"), time);
    let created = tool("date", &["-u", "-d", &format!("@{time}"), "+%Y-%m-%dT%H:%M:%SZ"]);
    assert_eq!(kiln.inspect("git", "{{.Created}}"), created);

    let text = "FROM scratch\nARG SOURCE_DATE_EPOCH\nLABEL epoch=$SOURCE_DATE_EPOCH\n";
    let web = Web::start(move |_| Reply::body(text).header("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT"));
    let url = format!("{}/file", web.origin());
    kiln.ok(&[&["build", "-q", "-t", "web"], &args[..], &[&url]].concat());
    assert_eq!(
        kiln.inspect("web", "{{.Config.Labels.epoch}} {{.Created}}"),
        "784111777 1994-11-06T08:49:37Z"
    );

    let named = kiln.context("named", &[("Dockerfile", text)]);
    let place = format!("src={}/r.git", origin.origin());
    kiln.build("named", &named, &["--build-context", &place, "--build-arg", "SOURCE_DATE_EPOCH=src"]);
    assert_eq!(kiln.inspect("named", "{{.Config.Labels.epoch}}"), time);

    let stages = format!(
        "FROM scratch AS Repo\nARG PLACE={}\nADD $PLACE/r.git /\nFROM scratch AS file\nADD {url} /\n\
         FROM scratch AS folder\nCOPY Dockerfile /\n{text}",
        origin.origin()
    );
    let context = kiln.context("stages", &[("Dockerfile", &stages)]);
    for (stage, time) in [("repo", time.as_str()), ("file", "784111777")] {
        kiln.build("staged", &context, &["--build-arg", &format!("SOURCE_DATE_EPOCH={stage}")]);
        assert_eq!(kiln.inspect("staged", "{{.Config.Labels.epoch}}"), time, "{stage}");
    }
    let timeless = ["build", "--build-arg", "SOURCE_DATE_EPOCH=folder", context.to_str().unwrap()];
    assert!(kiln.fails(1, &timeless).contains("the stage `folder` has no time"));

    let folder = kiln.context("folder", &[("Dockerfile", dockerfile), ("file", "x")]);
    kiln.build("folder", &folder, &args);
    assert_eq!(kiln.inspect("folder", "{{.Config.Labels.epoch}}"), "", "a folder has no time");
    let wrong = kiln.fails(1, &["build", "--build-arg", "SOURCE_DATE_EPOCH=noon", folder.to_str().unwrap()]);
    assert!(wrong.contains("not a number of seconds") && wrong.contains("`context`"), "{wrong}");
}

#[test]
fn a_dockerfile_comes_from_the_web() {
    let kiln = Kiln::new();
    let web = Web::start(|asked| match asked.path.as_str() {
        "/x/Dockerfile" => Reply::body("FROM busybox\nCOPY file /\n"),
        _ => Reply::status(404),
    });
    let context = kiln.context("c", &[("file", "from the folder")]);
    let url = format!("{}/x/Dockerfile", web.origin());
    let said = kiln.build("remote", &context, &["-f", &url]);
    assert!(said.contains(&format!("load build definition from {url}")), "{said}");
    assert_eq!(kiln.sh("remote", "cat /file"), "from the folder");
    let missing = format!("{}/none", web.origin());
    let error = kiln.fails(1, &["build", "-f", &missing, context.to_str().unwrap()]);
    assert!(error.contains("404"), "{error}");
}

#[test]
fn one_platform_may_have_a_context_of_its_own_and_be_the_default() {
    let kiln = Kiln::new();
    let dockerfile = "FROM scratch\nCOPY --from=files /name /\n";
    let context = kiln.context("c", &[("Dockerfile", dockerfile)]);
    let all = kiln.context("all", &[("name", "all")]);
    let arm = kiln.context("arm", &[("name", "arm")]);
    let (all, arm) = (format!("files={}", all.display()), format!("files::linux/arm64={}", arm.display()));
    let out = kiln.scratch("out");
    let spec = format!("type=local,dest={}", out.display());
    let args =
        ["build", "--platform", "linux/arm64,linux/amd64", "--build-context", &all, "--build-context", &arm];
    kiln.ok(&[&args[..], &["-o", &spec, context.to_str().unwrap()]].concat());
    let name = |platform: &str| std::fs::read_to_string(out.join(platform).join("name")).unwrap();
    assert_eq!((name("linux_arm64"), name("linux_amd64")), ("arm".to_owned(), "all".to_owned()));

    let mut build = kiln.command(&["build", "-q", "-t", "default", "--build-context", &all]);
    let built = build.arg(&context).env("DOCKER_DEFAULT_PLATFORM", "linux/arm64").output().unwrap();
    assert!(built.status.success(), "{}", show(&built));
    assert_eq!(kiln.inspect("default", "{{.Architecture}}"), "arm64");
}
