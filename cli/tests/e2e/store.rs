//! What the store keeps, and what it gives back.

use crate::harness::Kiln;

#[test]
fn prune_frees_what_nothing_uses() {
    let kiln = Kiln::new();
    kiln.build_text("app", "FROM busybox\nRUN head -c 5000000 /dev/urandom > /big\n");
    kiln.build_text("app", "FROM busybox\nRUN head -c 5000001 /dev/urandom > /big\n");
    let usage = kiln.ok(&["system", "df"]);
    assert!(usage.contains("Images") && usage.contains("Build Cache"), "{usage}");
    kiln.ok(&["image", "prune", "--force"]);
    assert_eq!(kiln.sh("app", "stat -c %s /big"), "5000001");
    kiln.ok(&["rmi", "app"]);
    let size = || -> u64 {
        let du = crate::harness::tool("du", &["-s", "--block-size=1", kiln.root().to_str().unwrap()]);
        du.split_whitespace().next().unwrap().parse().unwrap()
    };
    let before = size();
    kiln.ok(&["system", "prune", "--all", "--force"]);
    assert!(size() + 9_000_000 < before, "{before} bytes became {}", size());
    assert_eq!(kiln.ok(&["images", "-q"]), "");
}

#[test]
fn prune_keeps_what_a_container_uses() {
    let kiln = Kiln::new();
    kiln.ok(&["run", "-d", "--name", "user", "--network", "none", "busybox", "sleep", "100"]);
    kiln.ok(&["system", "prune", "--all", "--force"]);
    assert_eq!(kiln.ok(&["exec", "user", "echo", "alive"]), "alive");
    kiln.ok(&["restart", "-t", "0", "user"]);
    assert_eq!(kiln.ok(&["exec", "user", "echo", "alive"]), "alive");
}

#[test]
fn an_unknown_key_in_the_configuration_is_an_error() {
    let kiln = Kiln::new();
    let file = kiln.scratch("conf").join("kiln.toml");
    std::fs::write(&file, "[registry.\"docker.io\"]\nmirors = [\"x\"]\n").unwrap();
    let said = kiln.fails(1, &["--config", file.to_str().unwrap(), "images"]);
    assert!(said.contains("mirors") && said.contains("mirrors") && said.contains("kiln.toml"), "{said}");
}
