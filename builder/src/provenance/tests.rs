//! Statements of small builds, compared with what they must say.

use std::time::{Duration, UNIX_EPOCH};

use kiln_graph::{CopyAction, ExecOp, FileAction, FileOp, Owner, SourceOp, Submodules, VertexMeta};
use kiln_oci::Digest;

use super::*;

const COMMIT: &str = "4b220de5058abfd01ff619c9d2ff6b09a049bea0";
const PASSWORD: &str = "hunter2";

fn platform() -> Platform {
    Platform::new("linux", "amd64", None)
}

fn image(name: &str) -> Op {
    let reference = format!("{name}@{}", Digest::of(name.as_bytes())).parse().unwrap();
    Op::Source(SourceOp::Image { reference, platform: platform() })
}

fn local() -> Op {
    let (include, exclude, follow) = (vec!["src".to_owned()], Vec::new(), Vec::new());
    Op::Source(SourceOp::Local { name: "context".to_owned(), include, exclude, follow })
}

fn git(remote: &str) -> Op {
    Op::Source(SourceOp::Git {
        remote: remote.to_owned(),
        reference: Some("main".to_owned()),
        subdir: None,
        checksum: None,
        keep_git_dir: false,
        submodules: Submodules::default(),
        times: kiln_graph::GitTimes::default(),
        fetch_by_commit: false,
        access: kiln_graph::GitAccess::default(),
    })
}

fn copy(paths: &[&str]) -> Op {
    let paths = paths.iter().map(|path| (*path).to_owned()).collect();
    let copy = CopyAction { owner: Owner::parse("1000:web"), ..CopyAction::new(paths, "/app/") };
    Op::File(FileOp { actions: vec![FileAction::Copy(copy)] })
}

fn run() -> Op {
    let mut exec = ExecOp::new(vec!["make".to_owned()], platform(), Some(0));
    exec.env = vec!["A=1".to_owned()];
    exec.proxy_env = vec![format!("HTTP_PROXY=http://user:{PASSWORD}@proxy")];
    exec.mounts.push(Mount::Secret {
        id: "token".to_owned(),
        target: Some("/run/secrets/token".to_owned()),
        env: None,
        required: true,
        mode: 0o400,
        uid: 0,
        gid: 0,
    });
    Op::Exec(exec)
}

fn meta(first: u32, last: u32) -> VertexMeta {
    VertexMeta { span: Some((first, last)), ..VertexMeta::named("step") }
}

/// A base, a context copied onto it, a command, and an image that nothing needs.
fn graph(source: Op) -> (Definition, Edge) {
    let mut graph = Definition::new();
    let base = graph.add(image("debian:bookworm"), vec![], meta(1, 1)).unwrap();
    graph.add(image("unused:1"), vec![], meta(9, 9)).unwrap();
    let source = graph.add(source, vec![], VertexMeta::named("[internal] context")).unwrap();
    let copied = graph.add(copy(&["/a", "/b"]), vec![base.output(), source.output()], meta(2, 3)).unwrap();
    let built = graph.add(run(), vec![copied.output()], meta(4, 4)).unwrap();
    (graph, built.output())
}

fn asked_for() -> Request {
    let args = [("build-arg:V", PASSWORD), ("label:a", PASSWORD), ("target", "app")];
    Request {
        frontend: "dockerfile.v0".to_owned(),
        context: None,
        path: "Dockerfile".to_owned(),
        args: args.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
        dockerfile: b"FROM debian:bookworm\n".to_vec(),
    }
}

struct Case {
    request: Request,
    graph: (Definition, Edge),
    materials: Materials,
    run: Run,
}

impl Case {
    fn of(source: Op) -> Case {
        let (request, graph) = (asked_for(), graph(source));
        Case { request, graph, materials: Materials::default(), run: Run::default() }
    }

    fn predicate(&self, options: &Options) -> Value {
        let (definition, root) = &self.graph;
        predicate(
            Facts {
                request: &self.request,
                definition,
                root: Some(*root),
                builder: &platform(),
                materials: &self.materials,
                run: &self.run,
            },
            options,
        )
    }
}

fn min() -> Options {
    Options { mode: Mode::Min, ..Options::default() }
}

#[test]
fn the_small_form_tells_nothing_private() {
    let found = Case::of(local()).predicate(&min());
    let text = found.to_string();
    for private in [PASSWORD, "make", "token", "FROM debian"] {
        assert!(!text.contains(private) && !text.contains(&STANDARD.encode(private)), "{private} in {text}");
    }
    let definition = &found["buildDefinition"];
    let request = &definition["externalParameters"]["request"];
    assert_eq!(
        *request,
        json!({ "frontend": "dockerfile.v0", "args": { "target": "app" }, "locals": [{ "name": "context" }] })
    );
    assert_eq!(definition["externalParameters"]["configSource"], json!({ "path": "Dockerfile" }));
    assert_eq!(definition["internalParameters"], json!({ "builderPlatform": "linux/amd64" }));
    let base = Digest::of(b"debian:bookworm");
    assert_eq!(
        definition["resolvedDependencies"],
        json!([{ "uri": "pkg:docker/debian@bookworm?platform=linux%2Famd64", "digest": { "sha256": base.hex() } }])
    );
    let metadata = &found["runDetails"]["metadata"];
    assert_eq!(metadata["buildkit_completeness"], json!({ "request": false, "resolvedDependencies": false }));
    assert_eq!(metadata["buildkit_hermetic"], Value::Null);
}

#[test]
fn the_large_form_has_steps_lines_and_text() {
    let found = Case::of(local()).predicate(&Options::default());
    assert!(!found.to_string().contains("proxy"), "a proxy's password");
    let definition = &found["buildDefinition"];
    let request = &definition["externalParameters"]["request"];
    assert_eq!(request["args"]["build-arg:V"], PASSWORD);
    assert_eq!(request["secrets"], json!([{ "id": "token" }]));
    let steps = definition["internalParameters"]["buildConfig"]["llbDefinition"].as_array().unwrap();
    assert_eq!(steps.len(), 4, "what nothing needs is no step");
    assert_eq!(steps[2]["inputs"], json!(["step0:0", "step1:0"]));
    let actions = steps[2]["op"]["Op"]["file"]["actions"].as_array().unwrap();
    assert_eq!((actions.len(), &actions[0]["output"], &actions[1]["output"]), (2, &json!(-1), &json!(0)));
    assert_eq!((&actions[1]["input"], &actions[1]["secondaryInput"]), (&json!(2), &json!(1)));
    assert_eq!(actions[1]["Action"]["copy"]["src"], "/b");
    let owner =
        json!({ "user": { "User": { "byId": 1000 } }, "group": { "User": { "byName": { "name": "web" } } } });
    assert_eq!(actions[0]["Action"]["copy"]["owner"], owner);
    let exec = &steps[3]["op"]["Op"]["exec"];
    assert_eq!(exec["meta"], json!({ "args": ["make"], "env": ["A=1"], "cwd": "/" }));
    assert_eq!(exec["mounts"][0], json!({ "input": 0, "dest": "/", "output": 0 }));
    assert_eq!(exec["mounts"][1]["secretOpt"], json!({ "ID": "token", "mode": 0o400 }));
    let source = &found["runDetails"]["metadata"]["buildkit_metadata"]["source"];
    let lines = json!({ "locations": [{ "ranges": [{ "start": { "line": 2 }, "end": { "line": 3 } }] }] });
    assert_eq!((&source["locations"]["step2"], &source["locations"]["step1"]), (&lines, &Value::Null));
    assert_eq!(source["infos"][0]["data"], STANDARD.encode("FROM debian:bookworm\n"));
    assert_eq!(found["runDetails"]["metadata"]["buildkit_completeness"]["request"], true);
}

#[test]
fn repositories_and_downloads_are_materials_once_they_are_pinned() {
    let remote = format!("https://me:{PASSWORD}@git.example/a.git");
    let case = Case::of(git(&remote));
    let unknown = case.predicate(&min());
    assert_eq!(unknown["runDetails"]["metadata"]["buildkit_completeness"]["resolvedDependencies"], false);
    case.materials.add_commit(&remote, Some("main"), COMMIT);
    let known = case.predicate(&min());
    let found = known["buildDefinition"]["resolvedDependencies"][1].clone();
    assert_eq!(found["digest"], json!({ "sha1": COMMIT }));
    let uri = found["uri"].as_str().unwrap();
    assert!(uri.ends_with("@git.example/a.git#main") && !uri.contains(PASSWORD), "{uri}");
    assert_eq!(known["runDetails"]["metadata"]["buildkit_completeness"]["resolvedDependencies"], true);

    let url = "https://files.example/x";
    let digest = Digest::of(b"x");
    let (filename, mode, owner) = ("x".to_owned(), None, None);
    let http = SourceOp::Http { url: url.to_owned(), checksum: None, filename, mode, owner };
    let case = Case::of(Op::Source(http));
    case.materials.add_download(url, &digest);
    let found = case.predicate(&min())["buildDefinition"]["resolvedDependencies"][1].clone();
    assert_eq!(found, json!({ "uri": url, "digest": { "sha256": digest.hex() } }));
}

#[test]
fn a_context_that_was_fetched_is_where_it_was_fetched_from() {
    let mut case = Case::of(local());
    case.request.context = Some(Origin::of_commit("https://git.example/a.git", Some("v1"), COMMIT));
    let found = case.predicate(&min());
    let definition = &found["buildDefinition"];
    let source = json!({
        "uri": "https://git.example/a.git#v1",
        "digest": { "sha1": COMMIT },
        "path": "Dockerfile",
    });
    assert_eq!(definition["externalParameters"]["configSource"], source);
    assert_eq!(definition["externalParameters"]["request"]["locals"], Value::Null);
    assert_eq!(definition["resolvedDependencies"].as_array().unwrap().len(), 2);
    assert_eq!(found["runDetails"]["metadata"]["buildkit_completeness"]["resolvedDependencies"], true);
}

#[test]
fn who_when_and_whether_it_can_be_repeated() {
    let mut case = Case::of(local());
    let started = UNIX_EPOCH + Duration::from_secs(1);
    case.run = Run { id: Some("abc".to_owned()), started: Some(started), finished: None };
    let options = Options { builder_id: "https://ci.example/1".to_owned(), reproducible: true, ..min() };
    let found = case.predicate(&options);
    assert_eq!(found["runDetails"]["builder"]["id"], "https://ci.example/1");
    let metadata = &found["runDetails"]["metadata"];
    assert_eq!(
        (&metadata["invocationID"], &metadata["startedOn"]),
        (&json!("abc"), &json!("1970-01-01T00:00:01Z"))
    );
    assert_eq!((&metadata["finishedOn"], &metadata["buildkit_reproducible"]), (&Value::Null, &json!(true)));
}
