//! Graphs of strangers: those that are right become what they say, all others an error.

use proptest::prelude::*;

use super::*;

/// A graph in the making, as clients write it.
#[derive(Default)]
struct Wire {
    definition: pb::Definition,
}

impl Wire {
    fn add(&mut self, op: pb::op::Op, inputs: Vec<pb::Input>) -> pb::Input {
        let op = pb::Op { inputs, op: Some(op), ..pb::Op::default() };
        self.push(&op)
    }

    fn push(&mut self, op: &pb::Op) -> pb::Input {
        let bytes = op.encode_to_vec();
        let digest = Digest::of(&bytes).to_string();
        self.definition.def.push(bytes);
        pb::Input { digest, index: 0 }
    }

    fn finish(mut self, root: pb::Input) -> pb::Definition {
        self.push(&pb::Op { inputs: vec![root], ..pb::Op::default() });
        self.definition
    }

    fn source(&mut self, identifier: &str, attrs: &[(&str, &str)]) -> pb::Input {
        let attrs = attrs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        self.add(pb::op::Op::Source(pb::SourceOp { identifier: identifier.to_owned(), attrs }), Vec::new())
    }
}

fn mount(input: i64, dest: &str, output: i64) -> pb::Mount {
    pb::Mount { input, dest: dest.to_owned(), output, ..pb::Mount::default() }
}

/// Where only `here` is here.
fn read(definition: &pb::Definition) -> Result<Graph> {
    let here = |name: &Reference, _: &Platform| {
        Ok((name.repository() == "library/here").then(|| name.with_digest(Digest::of(b"here"))))
    };
    Graph::read(definition, &Around { session: "mine", image: &here, rules: &Policies::default() })
}

fn exec(mounts: Vec<pb::Mount>) -> pb::ExecOp {
    let meta = pb::Meta { args: vec!["true".to_owned()], cwd: "/".to_owned(), ..pb::Meta::default() };
    pb::ExecOp { meta: Some(meta), mounts, ..pb::ExecOp::default() }
}

fn copy(src: &str) -> pb::FileAction {
    let copy =
        pb::FileActionCopy { src: src.to_owned(), dest: "/d".to_owned(), mode: -1, ..Default::default() };
    pb::FileAction {
        input: 0,
        secondary_input: 1,
        output: 0,
        action: Some(pb::file_action::Action::Copy(copy)),
    }
}

fn text(definition: &pb::Definition) -> String {
    let graph = read(definition).unwrap();
    kiln_graph::render::text(&graph.definition, &[graph.root])
}

fn refused(op: pb::op::Op, inputs: usize) -> String {
    let mut wire = Wire::default();
    let inputs = (0..inputs).map(|number| wire.source(&format!("docker-image://i{number}"), &[])).collect();
    let root = wire.add(op, inputs);
    read(&wire.finish(root)).unwrap_err().message
}

#[test]
fn every_kind_of_op_becomes_a_vertex() {
    let mut wire = Wire::default();
    let base = wire.source("docker-image://busybox", &[]);
    let context = wire.source("local://context", &[("local.followpaths", r#"["src"]"#)]);
    let copied =
        wire.add(pb::op::Op::File(pb::FileOp { actions: vec![copy("src")] }), vec![base.clone(), context]);
    let ran = wire.add(pb::op::Op::Exec(exec(vec![mount(0, "/", 0)])), vec![copied.clone()]);
    let lower = Some(pb::LowerDiffInput { input: 0 });
    let upper = Some(pb::UpperDiffInput { input: 1 });
    let diff = wire.add(pb::op::Op::Diff(pb::DiffOp { lower, upper }), vec![copied, ran]);
    let both = vec![pb::MergeInput { input: 0 }, pb::MergeInput { input: 1 }];
    let root = wire.add(pb::op::Op::Merge(pb::MergeOp { inputs: both }), vec![base, diff]);
    let definition = wire.finish(root);
    let graph = read(&definition).unwrap();
    let kinds: Vec<&str> = graph.definition.vertices().map(|(_, vertex)| vertex.op.kind()).collect();
    assert_eq!(kinds, ["source", "source", "file", "exec", "diff", "merge"]);
    assert!(graph.digests.iter().all(Option::is_some));
    assert!(text(&definition).contains("busybox"));
}

#[test]
fn a_local_context_is_copied_where_somebody_works_on_it() {
    let mut wire = Wire::default();
    let context = wire.source("local://context", &[]);
    let seen = pb::Mount { readonly: true, ..mount(0, "/seen", -1) };
    let root = wire.add(pb::op::Op::Exec(exec(vec![seen, mount(0, "/", 0)])), vec![context]);
    let graph = read(&wire.finish(root)).unwrap();
    let (_, exec) = graph.definition.vertices().last().unwrap();
    let Op::Exec(op) = &exec.op else { panic!("no exec") };
    assert_eq!((op.mounts[0].target(), op.mounts[1].target()), (Some("/"), Some("/seen")));
    let of = |mount: usize| exec.inputs[op.mounts[mount].input().unwrap() as usize].vertex;
    assert_eq!(graph.definition.vertex(of(0)).op.kind(), "file");
    assert_eq!(graph.definition.vertex(of(1)).op.kind(), "source");
    let mut wire = Wire::default();
    let context = wire.source("local://context", &[]);
    let graph = read(&wire.finish(context)).unwrap();
    assert_eq!(graph.definition.vertex(graph.root.unwrap().vertex).op.kind(), "file");
}

#[test]
fn nothing_is_a_graph_too() {
    assert_eq!(read(&pb::Definition::default()).unwrap().root, None);
}

#[test]
fn a_long_chain_is_no_deep_recursion() {
    let mut wire = Wire::default();
    let mut last = wire.source("docker-image://busybox", &[]);
    for _ in 0..20_000 {
        last = wire.add(pb::op::Op::Exec(exec(vec![mount(0, "/", 0)])), vec![last]);
    }
    assert_eq!(read(&wire.finish(last)).unwrap().definition.len(), 20_001);
}

/// B05: modes that nobody knows are not taken for the nearest.
#[test]
fn modes_and_types_are_those_that_are_known() {
    for odd in [-1, 2, 3, 99, i32::MAX] {
        let with = |change: &dyn Fn(&mut pb::ExecOp)| {
            let mut op = exec(vec![mount(0, "/", 0)]);
            change(&mut op);
            refused(pb::op::Op::Exec(op), 1)
        };
        assert!(with(&|op| op.security = odd).contains("security"), "{odd}");
        if odd != 2 {
            assert!(with(&|op| op.network = odd).contains("network"), "{odd}");
        }
        if !(2..=3).contains(&odd) {
            assert!(with(&|op| op.mounts[0].mount_type = odd).contains("mount type"), "{odd}");
        }
    }
}

/// B06: what is missing or out of range is an error and no panic.
#[test]
fn what_is_malformed_is_refused() {
    let file = |action: pb::FileAction| pb::op::Op::File(pb::FileOp { actions: vec![action] });
    let cases: Vec<(pb::op::Op, usize)> = vec![
        (pb::op::Op::Exec(pb::ExecOp::default()), 0),
        (pb::op::Op::Exec(exec(Vec::new())), 1),
        (pb::op::Op::Exec(exec(vec![mount(1, "/", 0)])), 1),
        (pb::op::Op::Exec(exec(vec![mount(-2, "/", 0)])), 1),
        (pb::op::Op::Exec(exec(vec![mount(i64::MAX, "/", 0)])), 1),
        (pb::op::Op::Exec(exec(vec![mount(0, "/", i64::MAX)])), 1),
        (pb::op::Op::Exec(exec(vec![mount(0, "/", 0), mount(0, "/", 1)])), 1),
        (pb::op::Op::Exec(exec(vec![mount(0, "/", 0), mount(0, "relative", 1)])), 1),
        (pb::op::Op::File(pb::FileOp::default()), 1),
        (file(pb::FileAction::default()), 1),
        (file(pb::FileAction { secondary_input: 9, ..copy("a") }), 2),
        (file(pb::FileAction { input: -7, ..copy("a") }), 2),
        (file(pb::FileAction { output: 3, ..copy("a") }), 2),
        (file(copy("a\0b")), 2),
        (pb::op::Op::Diff(pb::DiffOp { lower: Some(pb::LowerDiffInput { input: 5 }), upper: None }), 1),
        (pb::op::Op::Merge(pb::MergeOp { inputs: vec![pb::MergeInput { input: 5 }] }), 1),
        (pb::op::Op::Build(pb::BuildOp::default()), 0),
    ];
    for (number, (op, inputs)) in cases.into_iter().enumerate() {
        assert!(!refused(op, inputs).is_empty(), "case {number}");
    }
    let strange = pb::Input { digest: "sha256:0".to_owned(), index: 0 };
    assert!(read(&Wire::default().finish(strange)).is_err());
    let mut wire = Wire::default();
    let base = wire.source("docker-image://busybox", &[]);
    for index in [1, -1, i64::MAX] {
        let mut wire = Wire { definition: wire.definition.clone() };
        let root = wire
            .add(pb::op::Op::Exec(exec(vec![mount(0, "/", 0)])), vec![pb::Input { index, ..base.clone() }]);
        assert!(read(&wire.finish(root)).is_err(), "output {index}");
    }
    let garbage = pb::Definition { def: vec![b"\xff\xff".to_vec()], ..pb::Definition::default() };
    assert!(read(&garbage).is_err());
}

/// B07, B08 at this door: what a source says of names leads nowhere.
#[test]
fn sources_are_known_and_their_names_are_names() {
    let one = |identifier: &str, attrs: &[(&str, &str)]| {
        let mut wire = Wire::default();
        let root = wire.source(identifier, attrs);
        read(&wire.finish(root))
    };
    for name in ["../../x", "..", ".", "a/b", "a\0b"] {
        assert!(one("https://h/f", &[("http.filename", name)]).is_err(), "{name}");
    }
    for bad in
        ["nothing", "ftp://h/f", "docker-image://UPPER", "oci-layout://a", "oci-layout://a@sha256:../x"]
    {
        assert!(one(bad, &[]).is_err(), "{bad}");
    }
    assert!(one("https://h/f", &[("http.checksum", "sha256:1")]).is_err());
    assert!(one("local://c", &[("local.includepattern", "no list")]).is_err());
    assert!(one("https://h/f", &[("http.uid", "4294967295")]).is_err());
    let git =
        one("git://h/r.git#main:sub", &[("git.fullurl", "https://h/r.git"), ("git.keepgitdir", "true")])
            .unwrap();
    let (_, vertex) = git.definition.vertices().next().unwrap();
    let Op::Source(SourceOp::Git { remote, reference, subdir, keep_git_dir, .. }) = &vertex.op else {
        panic!("no repository")
    };
    assert_eq!(
        (remote.as_str(), reference.as_deref(), subdir.as_deref()),
        ("https://h/r.git", Some("main"), Some("sub"))
    );
    assert!(keep_git_dir);
}

/// What the capabilities promise is done or refused, and never left out.
#[test]
fn attributes_of_sources_have_their_effect() {
    let one = |identifier: &str, attrs: &[(&str, &str)]| {
        let mut wire = Wire::default();
        let root = wire.source(identifier, attrs);
        let graph = read(&wire.finish(root))?;
        let (_, vertex) = graph.definition.vertices().next().unwrap();
        let Op::Source(source) = vertex.op.clone() else { panic!("no source") };
        Ok::<_, Error>(source)
    };
    let image = |name: &str, mode: &str| {
        let source = one(&format!("docker-image://{name}"), &[("image.resolvemode", mode)]).unwrap();
        let SourceOp::Image { reference, .. } = source else { panic!("no image") };
        reference.digest().is_some()
    };
    assert!(image("here", "local") && !image("here", "pull") && !image("here", "default"));
    assert!(!image("elsewhere", "local"));
    assert!(one("docker-image://here", &[("image.resolvemode", "other")]).is_err());
    for (key, value, fits) in [
        ("local.session", "mine", true),
        ("local.session", "another", false),
        ("local.differ", "metadata", true),
        ("local.differ", "none", false),
    ] {
        assert_eq!(one("local://c", &[(key, value)]).is_ok(), fits, "{key}={value}");
    }
    let attributes = [
        ("git.authtokensecret", "T"),
        ("git.authheadersecret", "H"),
        ("git.knownsshhosts", "h ssh-ed25519 AAAA"),
        ("git.mountsshsock", "agent"),
    ];
    let SourceOp::Git { access, .. } = one("git://h/r.git", &attributes).unwrap() else { panic!() };
    let given = |text: &str| Some(text.to_owned());
    assert_eq!((access.token_secret, access.header_secret), (given("T"), given("H")));
    assert_eq!((access.known_hosts, access.agent), (given("h ssh-ed25519 AAAA"), given("agent")));
    assert!(one("https://h/f", &[("http.authheadersecret", "x")]).is_err());
}

proptest! {
    /// B06: whatever a stranger sends is a graph or an error.
    #[test]
    fn no_bytes_make_it_panic(ops in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..64), 0..6)) {
        drop(read(&pb::Definition { def: ops, ..pb::Definition::default() }));
    }

    /// The same with ops that are almost right.
    #[test]
    fn no_numbers_make_it_panic(
        inputs in prop::collection::vec(any::<i64>(), 4),
        kinds in prop::collection::vec(-1..6, 3),
        outputs in prop::collection::vec(-2_i64..4, 3),
    ) {
        let mut wire = Wire::default();
        let base = wire.source("local://c", &[]);
        let mounts = vec![
            pb::Mount { mount_type: kinds[0], ..mount(inputs[0] % 3, "/", outputs[0]) },
            pb::Mount { mount_type: kinds[1], ..mount(inputs[1] % 3, "/m", outputs[1]) },
        ];
        let ran = wire.add(pb::op::Op::Exec(exec(mounts)), vec![base.clone()]);
        let action = pb::FileAction { input: inputs[2] % 4, secondary_input: inputs[3] % 4, output: outputs[2], ..copy("a") };
        let copied = wire.add(pb::op::Op::File(pb::FileOp { actions: vec![action] }), vec![ran, base]);
        drop(read(&wire.finish(copied)));
    }

    /// The same with the bytes of a graph that is right, some of them changed, and digests that fit again.
    #[test]
    fn no_changed_bytes_make_it_panic(
        which in 0_usize..3,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut wire = Wire::default();
        let base = wire.source("docker-image://busybox", &[("image.resolvemode", "local")]);
        let mount = mount(0, "/", 0);
        let op = match which {
            0 => pb::op::Op::Exec(exec(vec![mount])),
            1 => pb::op::Op::File(pb::FileOp { actions: vec![pb::FileAction { secondary_input: -1, ..copy("a") }] }),
            _ => pb::op::Op::Merge(pb::MergeOp { inputs: vec![pb::MergeInput { input: 0 }] }),
        };
        let mut bytes = pb::Op { inputs: vec![base], op: Some(op), ..pb::Op::default() }.encode_to_vec();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let digest = Digest::of(&bytes).to_string();
        wire.definition.def.push(bytes);
        drop(read(&wire.finish(pb::Input { digest, index: 0 })));
    }
}
