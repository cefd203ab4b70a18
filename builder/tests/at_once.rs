//! Several builds at once on one state root, with real containers. Needs root and busybox.

mod common;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use futures_util::future::join_all;
use kiln_builder::{
    BuildError, BuildJob, Builder, Entitlements, Event, EventKind, ProgressSink, Session, Stores, Target,
};
use kiln_graph::{
    ActionInput, CopyAction, Definition, ExecOp, FileAction, FileOp, Network, Op, SourceOp, VertexMeta,
};
use kiln_oci::{ImageConfig, Platform};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

/// Everything that the builds of a test share.
struct Shop {
    root: TempDir,
    context: TempDir,
    builder: Builder,
    group: String,
}

impl Shop {
    /// Steps get cgroups beneath one that is called `kiln/<name>`.
    fn new(name: &str) -> Shop {
        let (root, context) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        std::fs::copy("/bin/busybox", context.path().join("busybox")).unwrap();
        let group = format!("kiln/{name}");
        let stores = Stores { cgroup_parent: group.clone(), ..Stores::clone(&common::stores(&root)) };
        Shop { root, context, builder: Builder::new(Arc::new(stores)), group }
    }

    /// Runs `scripts` on each other, on busybox.
    fn job(&self, scripts: &[&str], progress: Arc<dyn ProgressSink>, cancel: CancellationToken) -> BuildJob {
        let platform = Platform::new("linux", "amd64", None);
        let mut graph = Definition::new();
        let context = SourceOp::Local {
            name: "context".to_owned(),
            include: Vec::new(),
            exclude: Vec::new(),
            follow: Vec::new(),
        };
        let context = graph.add(Op::Source(context), vec![], VertexMeta::named("[context]")).unwrap();
        let mut copy = CopyAction::new(vec!["busybox".to_owned()], "/busybox");
        (copy.input, copy.source) = (ActionInput::Scratch, ActionInput::Input(0));
        let copy = Op::File(FileOp { actions: vec![FileAction::Copy(copy)] });
        let mut top = graph.add(copy, vec![context.output()], VertexMeta::named("COPY")).unwrap();
        for script in scripts {
            let args = ["/busybox", "sh", "-c", script].map(str::to_owned).to_vec();
            let mut exec = ExecOp::new(args, platform.clone(), Some(0));
            exec.network = Network::None;
            top = graph.add(Op::Exec(exec), vec![top.output()], VertexMeta::named(*script)).unwrap();
        }
        let contexts: BTreeMap<String, PathBuf> =
            [("context".to_owned(), self.context.path().to_owned())].into();
        let config = ImageConfig::empty(platform.clone());
        BuildJob {
            definition: Arc::new(graph),
            targets: vec![Target { platform, root: Some(top.output()), config, base_layers: 0 }],
            multi_platform: false,
            exports: vec![],
            others: Vec::new(),
            attest: kiln_builder::attest::Attest::default(),
            session: Session::of_contexts(Arc::new(contexts)),
            allow: Entitlements::default(),
            progress,
            jobs: 4,
            no_cache: false,
            explain: false,
            epoch: None,
            cancel,
        }
    }

    /// What the last step of `scripts` wrote to its log.
    async fn log(&self, scripts: &[&str]) -> Result<String, BuildError> {
        let log = Arc::new(std::sync::Mutex::new(String::new()));
        let seen = log.clone();
        let watch = move |event: Event| {
            if let EventKind::Log { bytes, .. } = event.kind {
                seen.lock().unwrap().push_str(&String::from_utf8(bytes).unwrap());
            }
        };
        self.builder.build(self.job(scripts, Arc::new(watch), CancellationToken::new())).await?;
        let log = log.lock().unwrap().clone();
        Ok(log)
    }

    fn snapshots(&self) -> usize {
        self.root.path().join("state/snapshots").read_dir().unwrap().count()
    }

    /// The cgroups of steps that are there now.
    fn groups(&self) -> usize {
        let arguments = ["/sys/fs/cgroup", "-type", "d", "-path"];
        let pattern = format!("*/{}/*", self.group);
        let found = std::process::Command::new("find").args(arguments).arg(pattern).output().unwrap();
        String::from_utf8(found.stdout).unwrap().lines().count()
    }

    /// The mounts of this machine beneath the state root.
    fn mounts(&self) -> usize {
        let root = self.root.path().to_str().unwrap();
        std::fs::read_to_string("/proc/self/mounts")
            .unwrap()
            .lines()
            .filter(|line| line.contains(root))
            .count()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn builds_share_the_steps_that_they_have_in_common() {
    let shop = Shop::new("test-shared");
    // Ran it twice, there would be two ids.
    let shared = "/busybox cat /proc/sys/kernel/random/uuid > /id";
    let own: Vec<String> =
        (0..16).map(|number| format!("/busybox cat /id; /busybox echo {number}")).collect();
    let steps: Vec<[&str; 2]> = own.iter().map(|own| [shared, own]).collect();
    let logs = join_all(steps.iter().map(|steps| shop.log(steps))).await;
    let logs: Vec<String> = logs.into_iter().map(Result::unwrap).collect();
    let first = logs[0].lines().next().unwrap();
    assert_eq!(first.len(), 36, "{first}");
    for (number, log) in logs.iter().enumerate() {
        assert_eq!(log.lines().collect::<Vec<_>>(), [first, &number.to_string()], "build {number}");
    }
    assert_eq!((shop.groups(), shop.mounts()), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_fails_and_one_that_is_cancelled_take_nobody_along_and_leave_nothing() {
    let shop = Shop::new("test-apart");
    shop.log(&["/busybox true"]).await.unwrap();
    let before = shop.snapshots();
    let cancel = CancellationToken::new();
    let stop = cancel.clone();
    let watch = move |event: Event| {
        if matches!(event.kind, EventKind::Log { .. }) {
            stop.cancel();
        }
    };
    let cancelled = shop.job(&["/busybox echo started; /busybox sleep 1000"], Arc::new(watch), cancel);
    let scripts: Vec<String> = (0..8).map(|number| format!("/busybox echo {number} > /own")).collect();
    let scripts: Vec<[&str; 1]> = scripts.iter().map(|script| [script.as_str()]).collect();
    let good = join_all(scripts.iter().map(|script| shop.log(script)));
    let fails = ["/busybox echo here > /left; exit 3"];
    let (cancelled, failed, good) = tokio::join!(shop.builder.build(cancelled), shop.log(&fails), good);
    assert!(cancelled.unwrap_err().is_cancelled());
    assert!(failed.unwrap_err().to_string().ends_with("exit code: 3"));
    assert!(good.iter().all(Result::is_ok), "{good:?}");
    assert_eq!(shop.snapshots(), before + scripts.len());
    assert_eq!((shop.groups(), shop.mounts()), (0, 0));
}
