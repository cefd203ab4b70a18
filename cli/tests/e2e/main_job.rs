//! The main job: a Node application from its Dockerfile to an answer over HTTP.

use crate::harness::{Kiln, free_port, http_get, wait_for};

#[test]
fn a_node_application_is_built_run_and_asked() {
    let kiln = Kiln::new();
    let app = concat!(env!("CARGO_MANIFEST_DIR"), "/../testdata/my-node-app");
    kiln.build("my-node-app", app.as_ref(), &[]);

    let port = free_port();
    let publish = format!("{port}:3000");
    let id = kiln.ok(&["run", "-d", "--name", "web", "-p", &publish, "my-node-app"]);
    assert_eq!(id.len(), 64, "{id}");
    wait_for("the application to answer", || http_get(&format!("127.0.0.1:{port}")).is_some());
    assert!(http_get(&format!("127.0.0.1:{port}")).unwrap().contains("hello from my-node-app"));

    let listed = kiln.ok(&["ps"]);
    assert!(listed.contains("web") && listed.contains("my-node-app"), "{listed}");
    assert!(listed.contains(&format!("{port}->3000/tcp")), "{listed}");
    assert!(kiln.ok(&["logs", "web"]).contains("listening on port 3000"));
    assert_eq!(kiln.ok(&["exec", "web", "pwd"]), "/app");
    kiln.ok(&["stop", "web"]);
    assert_eq!(kiln.inspect("web", "{{.State.ExitCode}}"), "0");
    kiln.ok(&["rm", "web"]);

    let again = kiln.build("my-node-app", app.as_ref(), &[]);
    assert!(again.contains("CACHED") && !again.contains("Unpacking"), "{again}");
}
