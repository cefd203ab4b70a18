//! Whole builds with real files, layers and containers. Needs root, and busybox for what runs.

mod common;

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use kiln_builder::attest::Attest;
use kiln_builder::{
    BuildError, BuildJob, BuildOutput, Builder, Destination, Entitlements, Event, EventKind, Export,
    ImageOptions, Place, Session, Target,
};
use kiln_cache::{Counts, PruneOptions, Store};
use kiln_graph::{
    ActionInput, CopyAction, Definition, Device, DiffOp, Edge, ExecOp, FileAction, FileOp, MergeOp, Mount,
    Network, Op, Owner, SourceOp, VertexMeta,
};
use kiln_oci::compression::Packing;
use kiln_oci::{Compression, DiffId, History, ImageConfig, Manifest, Platform};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

/// A state root, a context, and what the last build told.
struct Workshop {
    root: TempDir,
    context: TempDir,
    builder: Builder,
    events: Arc<Mutex<Vec<Event>>>,
    /// A file of the context that is written when the step of this name begins.
    edit: Mutex<Option<(&'static str, PathBuf, Vec<u8>)>>,
}

impl Workshop {
    fn new() -> Workshop {
        let (root, context) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        let builder = Builder::new(common::stores(&root));
        Workshop { root, context, builder, events: Arc::default(), edit: Mutex::default() }
    }

    fn store(&self) -> &Arc<Store> {
        &self.builder.stores().store
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.context.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn add_busybox(&self) {
        std::fs::copy("/bin/busybox", self.context.path().join("busybox")).unwrap();
    }

    async fn build(&self, plan: Plan, exports: Vec<Export>) -> Result<BuildOutput, BuildError> {
        self.events.lock().unwrap().clear();
        let contexts: BTreeMap<String, PathBuf> =
            [("context".to_owned(), self.context.path().to_owned())].into();
        let (events, edit) = (self.events.clone(), self.edit.lock().unwrap().take());
        let mut config = ImageConfig::empty(platform());
        config.history = plan.history;
        let job = BuildJob {
            definition: Arc::new(plan.definition),
            targets: vec![Target { platform: platform(), root: plan.top, config, base_layers: 0 }],
            multi_platform: false,
            exports,
            others: Vec::new(),
            session: Session::of_contexts(Arc::new(contexts)),
            allow: Entitlements::default(),
            attest: Attest::default(),
            progress: Arc::new(move |event: Event| {
                let mut events = events.lock().unwrap();
                if let Some((name, path, bytes)) = &edit
                    && event.kind == EventKind::Started
                    && is_called(&events, &event, name)
                {
                    std::fs::write(path, bytes).unwrap();
                }
                events.push(event);
            }),
            jobs: 2,
            no_cache: false,
            explain: false,
            epoch: None,
            cancel: CancellationToken::new(),
        };
        self.builder.build(job).await
    }

    /// Builds and returns the files of the result.
    async fn files(&self, plan: Plan) -> PathBuf {
        let dest = self.root.path().join(format!("out-{}", self.root.path().read_dir().unwrap().count()));
        self.build(plan, vec![common::local(&dest)]).await.unwrap();
        dest
    }

    fn ran(&self) -> Vec<String> {
        let events = self.events.lock().unwrap();
        let started: Vec<u32> = events
            .iter()
            .filter(|event| event.kind == EventKind::Started)
            .map(|event| event.step.0)
            .collect();
        let name = |event: &Event| match &event.kind {
            EventKind::Registered { name, .. } if started.contains(&event.step.0) => Some(name.clone()),
            _ => None,
        };
        events
            .iter()
            .filter_map(name)
            .filter(|name| !name.starts_with('[') && !name.starts_with("export"))
            .collect()
    }

    fn log(&self) -> String {
        let text = |event: &Event| match &event.kind {
            EventKind::Log { bytes, .. } => String::from_utf8(bytes.clone()).unwrap(),
            _ => String::new(),
        };
        self.events.lock().unwrap().iter().map(text).collect()
    }

    fn active_snapshots(&self) -> usize {
        let snapshots = self.store().root().join("snapshots");
        std::fs::read_dir(snapshots).unwrap().count()
    }
}

/// Whether an event is about the step of this name.
fn is_called(before: &[Event], event: &Event, wanted: &str) -> bool {
    let mut of_step = before.iter().filter(|other| other.step == event.step);
    of_step.any(|other| matches!(&other.kind, EventKind::Registered { name, .. } if name == wanted))
}

fn platform() -> Platform {
    Platform::new("linux", "amd64", None)
}

fn target(root: Option<Edge>) -> Target {
    Target { platform: platform(), root, config: ImageConfig::empty(platform()), base_layers: 0 }
}

/// A graph of steps on each other.
struct Plan {
    definition: Definition,
    context: Edge,
    top: Option<Edge>,
    history: Vec<History>,
}

impl Plan {
    fn new() -> Plan {
        Plan::ignoring(&[])
    }

    fn ignoring(exclude: &[&str]) -> Plan {
        let mut definition = Definition::new();
        let source = SourceOp::Local {
            name: "context".to_owned(),
            include: Vec::new(),
            exclude: exclude.iter().map(|line| (*line).to_owned()).collect(),
            follow: Vec::new(),
        };
        let context =
            definition.add(Op::Source(source), vec![], VertexMeta::named("[context]")).unwrap().output();
        Plan { definition, context, top: None, history: Vec::new() }
    }

    fn add(mut self, op: Op, inputs: Vec<Edge>, name: &str) -> Plan {
        self.top = Some(self.definition.add(op, inputs, VertexMeta::named(name)).unwrap().output());
        self.history.push(History { created_by: Some(name.to_owned()), ..History::default() });
        self
    }

    fn copy(self, path: &str, dest: &str) -> Plan {
        let context = self.context;
        self.copy_from(context, CopyAction::new(vec![path.to_owned()], dest))
    }

    fn copy_from(self, source: Edge, mut copy: CopyAction) -> Plan {
        let name = format!("COPY {} {}", copy.paths.join(" "), copy.dest);
        let inputs: Vec<Edge> = self.top.into_iter().chain([source]).collect();
        copy.input = if self.top.is_some() { ActionInput::Input(0) } else { ActionInput::Scratch };
        copy.source = ActionInput::Input(u32::try_from(inputs.len() - 1).unwrap());
        self.add(Op::File(FileOp { actions: vec![FileAction::Copy(copy)] }), inputs, &name)
    }

    fn run(self, script: &str) -> Plan {
        self.run_with(script, Vec::new())
    }

    fn run_with(self, script: &str, mounts: Vec<Mount>) -> Plan {
        let args = ["/busybox", "sh", "-c", script].map(str::to_owned).to_vec();
        let mut exec = ExecOp::new(args, platform(), self.top.map(|_| 0));
        exec.network = Network::None;
        exec.mounts.extend(mounts);
        let inputs = self.top.into_iter().collect();
        self.add(Op::Exec(exec), inputs, &format!("RUN {script}"))
    }

    /// Busybox at the root, on nothing.
    fn busybox() -> Plan {
        Plan::new().copy("busybox", "/busybox")
    }
}

fn read(dir: &Path, path: &str) -> String {
    std::fs::read_to_string(dir.join(path)).unwrap()
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        dir.read_dir().unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_land_as_docker_lands_them() {
    let shop = Workshop::new();
    shop.write("dir/a", "a");
    shop.write("dir/sub/b", "b");
    shop.write("one.txt", "1");
    shop.write("two.txt", "2");
    std::os::unix::fs::symlink("one.txt", shop.context.path().join("link")).unwrap();
    let plan = Plan::new()
        .copy("/dir", "/contents")
        .copy("/*.txt", "/texts/")
        .copy("/one.txt", "/renamed")
        .copy("/one.txt", "/contents")
        .copy("/link", "/followed/")
        .copy("/../../one.txt", "/inside");
    let out = shop.files(plan).await;
    assert_eq!(names(&out), ["contents", "followed", "inside", "renamed", "texts"]);
    assert_eq!(names(&out.join("contents")), ["a", "one.txt", "sub"]);
    assert_eq!(read(&out, "contents/sub/b"), "b");
    assert_eq!(names(&out.join("texts")), ["one.txt", "two.txt"]);
    assert_eq!(read(&out, "followed/link"), "1");
    assert!(!out.join("followed/link").is_symlink());
}

#[tokio::test(flavor = "multi_thread")]
async fn owners_and_modes_are_set() {
    let shop = Workshop::new();
    shop.write("passwd", "web:x:33:34::/:/bin/sh\n");
    shop.write("file", "x");
    let mut copy = CopyAction::new(vec!["/file".to_owned()], "/srv/file");
    copy.owner = Owner::parse("web");
    copy.mode = Some(kiln_graph::ChmodSpec::parse("u=rw,go=").unwrap());
    let plan = Plan::new().copy("/passwd", "/etc/passwd");
    let context = plan.context;
    let out = shop.files(plan.copy_from(context, copy)).await;
    let file = std::fs::metadata(out.join("srv/file")).unwrap();
    use std::os::unix::fs::MetadataExt;
    assert_eq!((file.uid(), file.gid(), file.permissions().mode() & 0o7777), (33, 34, 0o600));
    let parent = std::fs::metadata(out.join("srv")).unwrap();
    assert_eq!(parent.permissions().mode() & 0o7777, 0o755);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_ignored_is_not_there_and_the_error_says_why() {
    let shop = Workshop::new();
    shop.write("keep", "k");
    shop.write("secret.key", "s");
    let out = shop.files(Plan::ignoring(&["*.key"]).copy("/", "/")).await;
    assert_eq!(names(&out), ["keep"]);
    let error =
        shop.build(Plan::ignoring(&["", "*.key"]).copy("/secret.key", "/"), vec![]).await.unwrap_err();
    assert_eq!(error.to_string(), "COPY /secret.key /: `/secret.key` is not in the build context");
    assert_eq!(error.hint(), Some(".dockerignore line 2 excludes it"));
    let error = shop.build(Plan::new().copy("/absent", "/"), vec![]).await.unwrap_err();
    assert!(error.hint().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unchanged_build_copies_nothing_and_an_unread_change_counts_nothing() {
    let shop = Workshop::new();
    shop.write("src/a", "1");
    shop.write("doc", "1");
    let plan = || Plan::new().copy("/src", "/app");
    shop.build(plan(), vec![]).await.unwrap();
    assert_eq!(shop.ran(), ["COPY /src /app"]);
    shop.write("doc", "2");
    shop.build(plan(), vec![]).await.unwrap();
    assert_eq!(shop.ran(), Vec::<String>::new());
    shop.write("src/a", "2");
    shop.build(plan(), vec![]).await.unwrap();
    assert_eq!(shop.ran(), ["COPY /src /app"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_runs_once_and_its_image_is_the_same_again() {
    let shop = Workshop::new();
    shop.add_busybox();
    let plan = || Plan::busybox().run("echo hello > /greeting; echo said").run("/busybox cat /greeting");
    let image = |output: BuildOutput| output.images[0].clone();
    let export = || {
        vec![Export::Image {
            image: ImageOptions::named(vec!["app".parse().unwrap()]),
            place: Place::default(),
        }]
    };
    let first = image(shop.build(plan(), export()).await.unwrap());
    assert_eq!(shop.ran().len(), 3);
    assert_eq!(shop.log(), "said\nhello\n");
    let again = image(shop.build(plan(), export()).await.unwrap());
    assert_eq!(shop.ran(), Vec::<String>::new());
    assert_eq!(first, again);
    let named = shop.store().images.get("docker.io/library/app:latest").unwrap().unwrap();
    assert_eq!(named, first.manifest);
    let manifest: Manifest =
        serde_json::from_slice(&shop.store().content.read(&named.digest, 1 << 20).unwrap()).unwrap();
    let config: ImageConfig =
        serde_json::from_slice(&shop.store().content.read(&manifest.config.digest, 1 << 20).unwrap())
            .unwrap();
    assert_eq!((manifest.layers.len(), config.rootfs.diff_ids.len(), config.history.len()), (3, 3, 3));
    for (layer, diff_id) in manifest.layers.iter().zip(&config.rootfs.diff_ids) {
        assert_eq!((&layer.digest, layer.size > 0), (&diff_id.0, true));
    }
    assert!(config.created.is_some() && config.history.iter().all(|entry| entry.created.is_some()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_process_tells_its_code_and_leaves_nothing() {
    let shop = Workshop::new();
    shop.add_busybox();
    shop.build(Plan::busybox().run("true"), vec![]).await.unwrap();
    let before = shop.active_snapshots();
    let error = shop.build(Plan::busybox().run("echo oh no >&2; exit 7"), vec![]).await.unwrap_err();
    assert!(error.to_string().ends_with("did not complete successfully: exit code: 7"), "{error}");
    assert_eq!(*error.failure.log, ["oh no"]);
    assert_eq!(shop.active_snapshots(), before);
    shop.build(Plan::busybox().run("echo oh no >&2; exit 7"), vec![]).await.unwrap_err();
    assert_eq!(shop.ran().len(), 1, "a failure is not remembered");
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelling_kills_the_process_and_leaves_nothing() {
    let shop = Workshop::new();
    shop.add_busybox();
    shop.build(Plan::busybox().run("true"), vec![]).await.unwrap();
    let before = shop.active_snapshots();
    let cancel = CancellationToken::new();
    let contexts: BTreeMap<String, PathBuf> = [("context".to_owned(), shop.context.path().to_owned())].into();
    let plan = Plan::busybox().run("echo started; /busybox sleep 1000");
    let stop = cancel.clone();
    let job = BuildJob {
        definition: Arc::new(plan.definition),
        targets: vec![target(plan.top)],
        multi_platform: false,
        exports: vec![],
        others: Vec::new(),
        session: Session::of_contexts(Arc::new(contexts)),
        allow: Entitlements::default(),
        attest: Attest::default(),
        progress: Arc::new(move |event: Event| {
            if matches!(event.kind, EventKind::Log { .. }) {
                stop.cancel();
            }
        }),
        jobs: 2,
        no_cache: false,
        explain: false,
        epoch: None,
        cancel,
    };
    let error = shop.builder.build(job).await.unwrap_err();
    assert!(error.is_cancelled(), "{error}");
    assert_eq!(shop.active_snapshots(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn stages_copy_from_each_other_by_content() {
    let shop = Workshop::new();
    shop.add_busybox();
    let plan = |command: &str| {
        let build =
            Plan::busybox().run(&format!("{command}; /busybox mkdir /out; echo program > /out/program"));
        let stage = build.top.unwrap();
        Plan { top: None, ..build }
            .copy_from(stage, CopyAction::new(vec!["/out".to_owned()], "/app"))
            .copy("/busybox", "/busybox")
            .run("/busybox cat /app/program")
    };
    let out = shop.files(plan(":")).await;
    assert_eq!(read(&out, "app/program"), "program\n");
    assert_eq!(shop.log(), "program\n");
    // The stage runs again and makes the same file: what is on it is as before.
    shop.build(plan(": again"), vec![]).await.unwrap();
    assert_eq!(shop.ran().len(), 1, "{:?}", shop.ran());
}

#[tokio::test(flavor = "multi_thread")]
async fn mounts_are_seen_and_never_kept() {
    struct Fixed;
    impl kiln_builder::Secrets for Fixed {
        fn secret(&self, id: &str) -> Result<Option<Vec<u8>>, kiln_builder::SessionError> {
            Ok((id == "token").then(|| b"hush".to_vec()))
        }
    }
    let shop = Workshop::new();
    shop.add_busybox();
    shop.write("data/file", "from the context");
    let plan = Plan::busybox();
    let (top, context) = (plan.top.unwrap(), plan.context);
    let script = "b=/busybox; $b cat /ctx/file; echo; $b cat /run/secrets/token; echo; $b touch /cache/x /tmp/x /ctx/y; \
                  $b stat -c %a:%u /run/secrets/token";
    let bind = Mount::Bind {
        input: Some(1),
        source: "/data".to_owned(),
        target: "/ctx".to_owned(),
        readonly: false,
        output: None,
    };
    let cache = Mount::Cache {
        input: None,
        source: "/".to_owned(),
        target: "/cache".to_owned(),
        readonly: false,
        id: "/cache".to_owned(),
        sharing: kiln_graph::CacheSharing::Shared,
        mode: 0o755,
        uid: 0,
        gid: 0,
    };
    let secret = Mount::Secret {
        id: "token".to_owned(),
        target: None,
        env: None,
        required: true,
        mode: 0o400,
        uid: 0,
        gid: 0,
    };
    let args = ["/busybox", "sh", "-c", script].map(str::to_owned).to_vec();
    let mut exec = ExecOp::new(args, platform(), Some(0));
    exec.network = Network::None;
    exec.mounts.extend([
        bind,
        cache,
        secret,
        Mount::Tmpfs { target: "/tmp".to_owned(), readonly: false, size: None },
    ]);
    let plan = plan.add(Op::Exec(exec), vec![top, context], "RUN mounts");
    let contexts: BTreeMap<String, PathBuf> = [("context".to_owned(), shop.context.path().to_owned())].into();
    let dest = shop.root.path().join("out");
    let events = shop.events.clone();
    let job = BuildJob {
        definition: Arc::new(plan.definition),
        targets: vec![target(plan.top)],
        multi_platform: false,
        exports: vec![common::local(&dest)],
        others: Vec::new(),
        session: Session { secrets: Arc::new(Fixed), ..Session::of_contexts(Arc::new(contexts)) },
        allow: Entitlements::default(),
        attest: Attest::default(),
        progress: Arc::new(move |event| events.lock().unwrap().push(event)),
        jobs: 2,
        no_cache: false,
        explain: false,
        epoch: None,
        cancel: CancellationToken::new(),
    };
    shop.builder.build(job).await.unwrap();
    assert_eq!(shop.log(), "from the context\nhush\n400:0\n");
    assert!(!shop.context.path().join("data/y").exists(), "a bind never writes to the context");
    let kept: Vec<_> = ["cache/x", "tmp/x", "ctx/file", "run/secrets/token"]
        .into_iter()
        .filter(|path| dest.join(path).exists())
        .collect();
    assert_eq!(kept, Vec::<&str>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn archives_unpack_themselves_and_exports_are_readable() {
    let shop = Workshop::new();
    shop.write("in/file", "packed");
    let archive = shop.context.path().join("a.tar.gz");
    let mut tar = std::process::Command::new("tar");
    tar.arg("-czf").arg(&archive).arg("-C").arg(shop.context.path()).arg("in");
    assert!(tar.status().unwrap().success());
    let plan = Plan::new();
    let context = plan.context;
    let mut add = CopyAction::new(vec!["/a.tar.gz".to_owned()], "/unpacked/");
    add.unpack = true;
    let plan = plan.copy_from(context, add);
    let (tar, oci) = (shop.root.path().join("files.tar"), shop.root.path().join("image.tar"));
    let exports = vec![
        Export::Tar { dest: Destination::File(tar.clone()), split: None, epoch: None, prefix: String::new() },
        Export::Oci {
            image: ImageOptions::named(vec!["app:1".parse().unwrap()]),
            dest: Destination::File(oci.clone()),
        },
        Export::CacheOnly,
    ];
    shop.build(plan, exports).await.unwrap();
    let list = |path: &Path| {
        let output = std::process::Command::new("tar").arg("-tf").arg(path).output().unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(list(&tar).contains("unpacked/in/file"), "{}", list(&tar));
    let image = list(&oci);
    assert!(
        ["oci-layout", "index.json", "manifest.json", "blobs/sha256/"]
            .iter()
            .all(|name| image.contains(name))
    );
}

/// Whether a layer is described or made in a directory: the key is that of the files as they were.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_edited_after_it_was_hashed_is_not_remembered_as_what_it_was() {
    for (name, unpack) in [("plain", false), ("archive", true), ("holes", false)] {
        let shop = Workshop::new();
        let path = shop.context.path().join("file");
        match name {
            "archive" => {
                shop.write("in/x", "x");
                let mut tar = std::process::Command::new("tar");
                tar.arg("-cf").arg(&path).arg("-C").arg(shop.context.path()).arg("in");
                assert!(tar.status().unwrap().success());
            }
            "holes" => std::fs::File::create(&path).unwrap().set_len(4 << 20).unwrap(),
            _ => std::fs::write(&path, "before").unwrap(),
        }
        let copy = || {
            let plan = Plan::new();
            let context = plan.context;
            plan.copy_from(
                context,
                CopyAction { unpack, ..CopyAction::new(vec!["/file".to_owned()], "/to/") },
            )
        };
        let before = std::fs::read(&path).unwrap();
        let mut edited = before.clone();
        // Of the archive it is what is in the file, so that it stays one.
        edited[if unpack { 1024 } else { 0 }] ^= 1;
        *shop.edit.lock().unwrap() = Some(("COPY /file /to/", path.clone(), edited));
        let error = shop.build(copy(), vec![]).await.unwrap_err();
        assert!(error.to_string().ends_with(": `file` changed while it was read"), "{name}: {error}");
        std::fs::write(&path, &before).unwrap();
        let out = shop.files(copy()).await;
        assert_eq!(shop.ran(), ["COPY /file /to/"], "{name}: nothing was remembered");
        let kept = if unpack { out.join("to/in/x") } else { out.join("to/file") };
        assert!(std::fs::read(kept).unwrap() == if unpack { b"x".to_vec() } else { before }, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn links_never_lead_out_of_the_context_or_the_image() {
    let shop = Workshop::new();
    let outside = TempDir::new().unwrap();
    std::fs::write(outside.path().join("canary"), "untouched").unwrap();
    std::os::unix::fs::symlink(outside.path(), shop.context.path().join("out")).unwrap();
    shop.write("file", "mine");
    let error = shop.build(Plan::new().copy("/out/canary", "/"), vec![]).await.unwrap_err();
    assert!(error.to_string().contains("`/out/canary` is not in the build context"), "{error}");
    // A link in the image is followed inside the image, where its target is made.
    let link = FileAction::Symlink {
        input: ActionInput::Scratch,
        target: outside.path().to_str().unwrap().to_owned(),
        path: "/link".to_owned(),
        owner: None,
    };
    let plan = Plan::new().add(Op::File(FileOp { actions: vec![link] }), vec![], "link");
    let out = shop.files(plan.copy("/file", "/link/../link/canary")).await;
    let inside = outside.path().strip_prefix("/").unwrap().join("canary");
    assert_eq!(read(&out, inside.to_str().unwrap()), "mine");
    assert_eq!(read(outside.path(), "canary"), "untouched");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_copied_last_has_no_directory_before_somebody_wants_its_files() {
    let shop = Workshop::new();
    shop.add_busybox();
    shop.write("src/a", "built");
    let plan = Plan::busybox().run("echo made > /made").copy("/src", "/app").copy("/src/a", "/app/b");
    let image = ImageOptions::named(vec!["app".parse().unwrap()]);
    let export = vec![Export::Image { image, place: Place::default() }];
    let built = shop.build(plan, export).await.unwrap();
    let layers = &shop.store().layers;
    let made = |counts: Counts| (counts.described, counts.committed, counts.unpacked, counts.packed);
    assert_eq!(made(layers.counts()), (3, 1, 1, 0), "only what the step stands on is unpacked");

    // The context is the user's again: what was built stays what it was.
    shop.write("src/a", "edited");
    let (lease, ids) = (shop.store().leases.create().unwrap(), diff_ids(&shop, &built));
    let blob = layers.blob_of(&lease, &ids, 2, Packing::of(Compression::Gzip)).unwrap();
    assert_eq!(layers.blob_of(&lease, &ids, 2, Packing::of(Compression::Gzip)).unwrap(), blob);
    assert_eq!(made(layers.counts()), (3, 1, 1, 1));
    for _ in 0..2 {
        let top = layers.snapshot_of(&lease, &ids).unwrap().unwrap();
        assert_eq!(read(&shop.store().snapshots.layer_dir(&top).unwrap(), "app/b"), "built");
        assert_eq!(made(layers.counts()), (3, 1, 3, 1));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_step_stands_on_gets_its_directory_without_a_tar() {
    let shop = Workshop::new();
    shop.add_busybox();
    shop.write("a", "copied");
    let plan = Plan::busybox().run("echo made > /made").copy("/a", "/b").run("cat /b > /c");
    let image = ImageOptions::named(vec!["app".parse().unwrap()]);
    shop.build(plan, vec![Export::Image { image, place: Place::default() }]).await.unwrap();
    let counts = shop.store().layers.counts();
    let (busybox, copied) = (1, 1);
    assert_eq!((counts.described, counts.unpacked, counts.committed), (busybox + copied, busybox, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_on_copies_sees_what_they_made() {
    let shop = Workshop::new();
    shop.write("passwd", "web:x:33:34::/:/bin/sh\n");
    shop.write("dir/file", "x");
    std::os::unix::fs::symlink("/real", shop.context.path().join("links")).unwrap();
    let mut links = CopyAction::new(vec!["/".to_owned()], "/");
    links.exclude = vec!["passwd".to_owned(), "dir".to_owned()];
    let plan = Plan::new();
    let context = plan.context;
    // Through a link of an earlier layer, over a file of one, and into a directory of one.
    let plan = plan.copy_from(context, links).copy("/dir", "/links/").copy("/passwd", "/real/file");
    let error = shop.build(plan.copy("/dir", "/real/file"), vec![]).await.unwrap_err();
    assert!(error.to_string().ends_with("cannot copy directory `dir` over file `real/file`"), "{error}");
    assert_eq!(shop.store().layers.counts().unpacked, 0);
    assert_eq!(shop.active_snapshots(), 0);
    let mut links = CopyAction::new(vec!["/".to_owned()], "/");
    links.exclude = vec!["passwd".to_owned(), "dir".to_owned()];
    let plan = Plan::new().copy_from(context, links).copy("/dir", "/links/").copy("/passwd", "/real/file");
    let out = shop.files(plan).await;
    assert_eq!(read(&out, "real/file"), "web:x:33:34::/:/bin/sh\n");
    assert!(out.join("links").is_symlink());
}

fn diff_ids(shop: &Workshop, output: &BuildOutput) -> Vec<DiffId> {
    let content = &shop.store().content;
    let config = content.read(output.images[0].id(), 1 << 20).unwrap();
    serde_json::from_slice::<ImageConfig>(&config).unwrap().rootfs.diff_ids
}

/// A copy that is linked to what `base` makes: a layer of its own, laid over it.
fn linked(base: Plan, copy: CopyAction) -> Plan {
    let (below, context) = (base.top.unwrap(), base.context);
    let alone = Plan { top: None, ..base }.copy_from(context, copy);
    let copied = alone.top.unwrap();
    alone.add(Op::Merge(MergeOp {}), vec![below, copied], "LINK")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_linked_copy_stays_when_its_base_changes() {
    let shop = Workshop::new();
    shop.add_busybox();
    shop.write("file", "linked");
    let copy = || CopyAction::new(vec!["/file".to_owned()], "/deep/file");
    let plan = |word: &str| linked(Plan::busybox().run(&format!("echo {word} > /base")), copy());
    let export = || {
        vec![Export::Image {
            image: ImageOptions::named(vec!["app".parse().unwrap()]),
            place: Place::default(),
        }]
    };
    let first = shop.build(plan("one"), export()).await.unwrap();
    let copies = |ran: Vec<String>| ran.iter().filter(|name| name.starts_with("COPY /file")).count();
    assert_eq!(copies(shop.ran()), 1);
    let second = shop.build(plan("two"), export()).await.unwrap();
    assert_eq!(copies(shop.ran()), 0, "{:?}", shop.ran());
    let (first, second) = (diff_ids(&shop, &first), (diff_ids(&shop, &second), second));
    assert_eq!(first.last(), second.0.last());
    assert_ne!(first, second.0);
    // Who reads the files gets them, and the image made again afterwards is the same.
    let out = shop.files(plan("two").run("/busybox cat /base /deep/file > /seen")).await;
    assert_eq!(read(&out, "seen"), "two\nlinked");
    let again = shop.build(plan("two"), export()).await.unwrap();
    assert_eq!(again.images, second.1.images);
    // The image keeps the layer, wherever it was made, when nothing remembers that.
    let pruned = PruneOptions { build_cache: true, ..PruneOptions::default() };
    shop.store().prune(&pruned).unwrap();
    let (lease, ids) = (shop.store().leases.create().unwrap(), second.0);
    shop.store().layers.snapshot_of(&lease, &ids).unwrap();
    let blob = shop.store().layers.blob_of(&lease, &ids, ids.len() - 1, Packing::of(Compression::Gzip));
    assert!(blob.unwrap().size > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_linked_copy_replaces_links_and_keeps_what_is_beside_it() {
    let shop = Workshop::new();
    shop.add_busybox();
    shop.write("file", "linked");
    let script = "/busybox mkdir -p /real /d; echo kept > /d/beside; /busybox ln -s /real /link";
    let base = Plan::busybox().run(script);
    let plan = linked(base, CopyAction::new(vec!["/file".to_owned()], "/link/file"));
    let plan = linked(plan, CopyAction::new(vec!["/file".to_owned()], "/d/file"));
    let out = shop.files(plan).await;
    assert!(out.join("link").symlink_metadata().unwrap().is_dir());
    assert_eq!((names(&out.join("real")), names(&out.join("link"))), (vec![], vec!["file".to_owned()]));
    assert_eq!(names(&out.join("d")), ["beside", "file"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_difference_leads_from_one_filesystem_to_another() {
    let shop = Workshop::new();
    shop.add_busybox();
    let base = || Plan::busybox().run("echo 1 > /old; echo 1 > /same; /busybox mkdir /dir; echo 1 > /dir/f");
    let diff = |plan: Plan, lower: Edge, upper: Edge| {
        plan.add(Op::Diff(DiffOp { lower: Some(0), upper: Some(1) }), vec![lower, upper], "diff")
    };
    // What was put on the lower one, deletions too, over something else.
    let lower = base();
    let below = lower.top.unwrap();
    let upper = lower.run("/busybox rm -r /old /dir; echo 2 > /new").run("echo 3 > /newer");
    let above = upper.top.unwrap();
    let plan = diff(upper, below, above);
    let changes = plan.top.unwrap();
    let other = Plan { top: Some(below), ..plan }.run("echo more > /more");
    let target = other.top.unwrap();
    let out = shop.files(other.add(Op::Merge(MergeOp {}), vec![target, changes], "merge")).await;
    assert_eq!(names(&out), ["busybox", "more", "new", "newer", "same"]);
    // Filesystems that have nothing in common.
    shop.write("tree/same", "1\n");
    shop.write("tree/new", "2");
    let lower = base();
    let (below, context) = (lower.top.unwrap(), lower.context);
    let tree = CopyAction::new(vec!["/tree".to_owned()], "/");
    let upper = Plan { top: None, ..lower }.copy_from(context, tree);
    let above = upper.top.unwrap();
    let plan = diff(upper, below, above);
    let changes = plan.top.unwrap();
    let out = shop.files(plan.add(Op::Merge(MergeOp {}), vec![below, changes], "merge")).await;
    assert_eq!(names(&out), ["new", "same"]);
}

/// Not a promise but a smoke alarm; figures are made by `cargo xtask bench` with a release build.
#[tokio::test(flavor = "multi_thread")]
async fn thirty_trivial_steps_take_no_time_worth_mentioning() {
    let shop = Workshop::new();
    shop.add_busybox();
    shop.build(Plan::busybox(), vec![]).await.unwrap();
    let plan = || (0..30).fold(Plan::busybox(), |plan, n| plan.run(&format!("echo {n} > /f{n}")));
    let cold = std::time::Instant::now();
    shop.build(plan(), vec![]).await.unwrap();
    let cold = cold.elapsed();
    assert_eq!(shop.ran().len(), 30);
    let warm = std::time::Instant::now();
    shop.build(plan(), vec![Export::Image { image: ImageOptions::default(), place: Place::default() }])
        .await
        .unwrap();
    let warm = warm.elapsed();
    assert_eq!(shop.ran(), Vec::<String>::new());
    assert!(cold.as_secs() < 30 && warm.as_secs() < 3, "cold {cold:?}, warm {warm:?}");
}

/// A step that asks for a device and says what it sees of it.
fn with_device(name: &str, required: bool) -> Plan {
    let script = "echo \"[$MINE]\"; busybox cat /given; busybox stat -c %a:%u:%t:%T /dev/deep/mine; : > /dev/deep/mine";
    let args = ["/busybox", "sh", "-c", script].map(str::to_owned).to_vec();
    let mut exec = ExecOp::new(args, platform(), Some(0));
    exec.env.push("PATH=/".to_owned());
    exec.network = Network::None;
    exec.valid_exit_codes = vec![0, 1];
    exec.devices.push(Device { name: name.to_owned(), required });
    let plan = Plan::busybox();
    let inputs = plan.top.into_iter().collect();
    plan.add(Op::Exec(exec), inputs, "RUN device")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_brings_what_its_spec_says() {
    let shop = Workshop::new();
    shop.add_busybox();
    shop.write("given", "from the host\n");
    let given = shop.context.path().join("given");
    let spec = format!(
        r#"{{"cdiVersion": "0.6.0", "kind": "vendor.com/gpu", "containerEdits": {{"env": ["MINE=yes"]}},
            "annotations": {{"org.mobyproject.buildkit.device.autoallow": "true"}},
            "devices": [{{"name": "all", "containerEdits": {{
                "deviceNodes": [{{"path": "/dev/deep/mine", "hostPath": "/dev/null", "fileMode": 384, "uid": 7}}],
                "mounts": [{{"hostPath": "{}", "containerPath": "/given", "options": ["ro", "nosuid"]}}]}}}}]}}"#,
        given.display()
    );
    let cdi = shop.root.path().join("cdi");
    std::fs::create_dir(&cdi).unwrap();
    std::fs::write(cdi.join("vendor.json"), spec).unwrap();
    shop.build(with_device("vendor.com/gpu=all", true), vec![]).await.unwrap();
    assert_eq!(shop.log(), "[yes]\nfrom the host\n600:7:1:3\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_is_not_there_is_refused_unless_the_step_can_do_without() {
    let shop = Workshop::new();
    shop.add_busybox();
    let error = shop.build(with_device("vendor.com/gpu=all", true), vec![]).await.unwrap_err();
    let expected = "RUN device: the device `vendor.com/gpu=all` is required and not on this machine";
    assert_eq!(error.to_string(), expected);
    shop.build(with_device("vendor.com/gpu=all", false), vec![]).await.unwrap();
    assert!(shop.log().contains("[]\n"), "{}", shop.log());
}
