//! `docker-buildx` against `kiln serve`, where it is installed.

use std::fs;

use crate::buildkit_clients::{Client, context, installed, words};
use crate::daemon::Daemon;
use crate::harness::{Kiln, registry, tool};

const BAKE: &str = r#"
target "base" {
  target = "base"
  secret = ["id=word,src=word"]
}
target "child" {
  contexts = { linked = "target:base" }
  dockerfile-inline = "FROM linked\nRUN cat /hello > /copied\nCOPY --from=linked /word /\n"
  output = ["type=local,dest=baked"]
}
target "other" {
  dockerfile-inline = "FROM scratch\nCOPY a /\n"
  output = ["type=tar,dest=other.tar"]
}
group "default" { targets = ["child", "other"] }
"#;

#[test]
fn buildx_builds_bakes_and_remembers_over_the_remote_driver() {
    let Some(program) = installed("docker-buildx", |_| true) else { return };
    let kiln = Kiln::new();
    let daemon = Daemon::start(&kiln);
    let (client, folder) = (Client { kiln: &kiln, daemon: &daemon, program }, context(&kiln));
    let ok = |line: &str| client.ok(&folder, &words(line));
    ok(&format!("create --use --name k --driver remote unix://{}", daemon.socket.display()));
    assert!(ok("inspect").contains("Status:           running"));
    ok("build --progress plain --secret id=word,src=word --metadata-file md -o out .");
    assert_eq!(fs::read_to_string(folder.join("out/a")).unwrap(), "one\n");
    assert!(fs::read_to_string(folder.join("md")).unwrap().contains("buildx.build.provenance"));
    let name = format!("{}/buildx/app:1", registry());
    let several =
        "--platform linux/amd64,linux/arm64 --annotation index:a.b=c --provenance mode=max --sbom true";
    fs::write(folder.join("none"), "FROM scratch\nCOPY a /\n").unwrap();
    ok(&format!("build -f none {several} -t {name} --push ."));
    let found = ok(&format!("imagetools inspect {name}"));
    assert!(found.contains("linux/arm64") && found.contains("attestation-manifest"), "{found}");
    fs::create_dir(folder.join("layout")).unwrap();
    ok("build -f none -o type=oci,dest=layout.tar .");
    tool(
        "tar",
        &["-C", folder.join("layout").to_str().unwrap(), "-xf", folder.join("layout.tar").to_str().unwrap()],
    );
    fs::write(folder.join("named"), "FROM base\nCOPY --from=more a /b\n").unwrap();
    ok("build -f named --build-context base=oci-layout://layout --build-context more=out -o both .");
    assert_eq!(fs::read_to_string(folder.join("both/b")).unwrap(), "one\n");

    fs::write(folder.join("docker-bake.hcl"), BAKE).unwrap();
    let said = ok("bake --progress plain");
    assert!(said.contains("[child context linked] FROM linked"), "{said}");
    assert_eq!(fs::read_to_string(folder.join("baked/copied")).unwrap(), "hello\n");
    assert_eq!(fs::read_to_string(folder.join("baked/word")).unwrap(), "secret\n");
    assert!(folder.join("other.tar").is_file());

    let why = client.fails(&folder, &words("build --progress plain -f bad ."));
    assert!(why.contains(">>> RUN echo before") && why.contains("failed to solve: [2/2] RUN"), "{why}");
    let records = ok("history ls --filter status=error");
    assert_eq!(records.lines().count(), 2, "{records}");
    assert!(ok("history inspect").contains(">>> RUN echo before"));
    assert!(ok("history logs").contains("RUN echo before"));
    assert!(ok("history inspect attachment ^1 --type provenance").contains("buildDefinition"));
    ok("history rm --all");
    assert_eq!(ok("history ls").lines().count(), 1);
    assert!(ok("du").contains("Total:"));
    // With room for all of it nothing goes.
    assert!(!ok("prune --force --max-used-space 1TB").contains("kiln-build-cache"));
    assert!(ok("prune --force --filter until=1h").contains("Total:"));
    assert!(ok("prune --force").contains("Total:"));
}

#[test]
fn buildx_builds_over_the_docker_driver() {
    let Some(program) = installed("docker-buildx", |_| true) else { return };
    let kiln = Kiln::new();
    let daemon = Daemon::start(&kiln);
    let (client, folder) = (Client { kiln: &kiln, daemon: &daemon, program }, context(&kiln));
    let ok = |line: &str| client.ok(&folder, &words(line));
    let said = ok("build --progress plain --secret id=word,src=word --target app -t app:1 .");
    assert!(said.contains("using docker driver"), "{said}");
    assert_eq!(kiln.ok(&["run", "--rm", "app:1"]), "hello");
    ok("build --secret id=word,src=word --target app --iidfile id --load .");
    let id = fs::read_to_string(folder.join("id")).unwrap();
    assert_eq!(kiln.ok(&["run", "--rm", id.trim()]), "hello");
    ok("build --secret id=word,src=word -o out .");
    assert_eq!(fs::read_to_string(folder.join("out/hello")).unwrap(), "hello\n");
    let name = format!("{}/buildx/driver:1", registry());
    ok(&format!("build --secret id=word,src=word -t {name} --push ."));
    assert!(
        tool("skopeo", &["inspect", "--tls-verify=false", &format!("docker://{name}")]).contains("Layers")
    );
}
