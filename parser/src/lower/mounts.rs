//! `RUN --mount` to the mounts of an exec operation.

use kiln_graph::{CacheSharing, Edge, Mount};

use super::Lowerer;
use super::copy::join;
use super::scope::Scope;
use super::stage::StageState;
use crate::Diagnostic;
use crate::ast::{MountKind, MountSpec, Run};
use crate::instruction::{mount_fields, mount_of};
use crate::plan::StagePlan;

/// Build argument that keeps the caches of one project apart.
const CACHE_NAMESPACE: &str = "BUILDKIT_CACHE_MOUNT_NS";

/// The mounts of one `RUN`.
#[derive(Default)]
pub(super) struct Mounts {
    pub(super) mounts: Vec<Mount>,
    /// Where the first agent's socket is.
    pub(super) first_socket: Option<String>,
}

impl Lowerer<'_> {
    pub(super) fn mounts(
        &mut self,
        stage: &StagePlan,
        state: &StageState,
        scope: &Scope<'_>,
        run: &Run,
        inputs: &mut Vec<Edge>,
    ) -> Result<Mounts, Diagnostic> {
        let mut all = Mounts::default();
        let mut sockets = 0;
        for text in &run.mounts {
            let spec = read(scope, text)?;
            let target = target(state, scope, &spec)?;
            let mount = match spec.kind {
                MountKind::Bind => self.bind_mount(stage, scope, spec, target, inputs)?,
                MountKind::Cache => self.cache_mount(stage, scope, spec, target, inputs)?,
                MountKind::Tmpfs => Mount::Tmpfs {
                    target: target.unwrap_or_default(),
                    readonly: spec.readonly.unwrap_or(false),
                    size: spec.size,
                },
                MountKind::Secret => secret_mount(spec, target),
                MountKind::Ssh => {
                    let target = target.unwrap_or_else(|| format!("/run/buildkit/ssh_agent.{sockets}"));
                    sockets += 1;
                    all.first_socket.get_or_insert_with(|| target.clone());
                    ssh_mount(spec, target)
                }
            };
            all.mounts.push(mount);
        }
        Ok(all)
    }

    fn bind_mount(
        &mut self,
        stage: &StagePlan,
        scope: &Scope<'_>,
        spec: MountSpec,
        target: Option<String>,
        inputs: &mut Vec<Edge>,
    ) -> Result<Mount, Diagnostic> {
        let source = join("/", spec.source.as_deref().unwrap_or_default());
        let edge = match &spec.from {
            None => Some(self.context([source[1..].to_owned()])?),
            Some(from) => self.from(stage, scope, from)?,
        };
        Ok(Mount::Bind {
            input: edge.map(|edge| input_of(inputs, edge)),
            source,
            target: target.unwrap_or_default(),
            readonly: spec.readonly.unwrap_or(true),
            output: None,
        })
    }

    fn cache_mount(
        &mut self,
        stage: &StagePlan,
        scope: &Scope<'_>,
        spec: MountSpec,
        target: Option<String>,
        inputs: &mut Vec<Edge>,
    ) -> Result<Mount, Diagnostic> {
        let edge = match &spec.from {
            None => None,
            Some(from) => self.from(stage, scope, from)?,
        };
        let id = spec.id.filter(|id| !id.is_empty());
        let id = id.unwrap_or_else(|| clean(spec.target.as_deref().unwrap_or_default()));
        let namespace =
            self.plan.options.build_args.get(CACHE_NAMESPACE).filter(|namespace| !namespace.is_empty());
        Ok(Mount::Cache {
            input: edge.map(|edge| input_of(inputs, edge)),
            source: join("/", spec.source.as_deref().unwrap_or_default()),
            target: target.unwrap_or_default(),
            readonly: spec.readonly.unwrap_or(false),
            id: namespace.map_or(id.clone(), |namespace| format!("{namespace}/{id}")),
            sharing: match spec.sharing.as_deref() {
                Some("private") => CacheSharing::Private,
                Some("locked") => CacheSharing::Locked,
                _ => CacheSharing::Shared,
            },
            mode: spec.mode.unwrap_or(0o755),
            uid: spec.uid.unwrap_or(0),
            gid: spec.gid.unwrap_or(0),
        })
    }
}

/// Where a mount is: files of any kind are mounted at the working directory if the target is left out.
fn target(state: &StageState, scope: &Scope<'_>, spec: &MountSpec) -> Result<Option<String>, Diagnostic> {
    let required = matches!(spec.kind, MountKind::Bind | MountKind::Cache | MountKind::Tmpfs);
    let written = spec.target.as_deref().or(required.then_some(""));
    let target = written.map(|target| join(&state.cwd(), target));
    if target.as_deref() == Some("/") {
        let help = "give it a `target=`, or a WORKDIR above".to_owned();
        return Err(scope.error("invalid mount target `/`").with_help(Some(help)));
    }
    Ok(target)
}

/// Expands a record; `from` has no variables.
fn read(scope: &Scope<'_>, text: &str) -> Result<MountSpec, Diagnostic> {
    let fields =
        mount_fields(text).map_err(|problem| scope.error(problem.message).with_help(problem.help))?;
    let is_from = |field: &str| field.split('=').next().is_some_and(|key| key.eq_ignore_ascii_case("from"));
    let expand = |field: String| if is_from(&field) { Ok(field) } else { scope.word(&field) };
    let fields = fields.into_iter().map(expand).collect::<Result<Vec<_>, _>>()?;
    mount_of(&fields).map_err(|problem| scope.error(problem.message).with_help(problem.help))
}

/// Go's `path.Clean`, by which a cache without an id is called.
fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => drop(parts.pop()),
            ".." if rooted => {}
            _ => parts.push(part),
        }
    }
    match (rooted, parts.is_empty()) {
        (true, _) => format!("/{}", parts.join("/")),
        (false, true) => ".".to_owned(),
        (false, false) => parts.join("/"),
    }
}

fn secret_mount(spec: MountSpec, target: Option<String>) -> Mount {
    let base = |text: &str| text.trim_end_matches('/').rsplit('/').next().unwrap_or_default().to_owned();
    let id = spec.id.or(spec.source).filter(|id| !id.is_empty());
    let id = id.unwrap_or_else(|| base(target.as_deref().unwrap_or_default()));
    let default = || spec.env.is_none().then(|| format!("/run/secrets/{}", base(&id)));
    Mount::Secret {
        target: target.or_else(default),
        env: spec.env.clone(),
        required: spec.required,
        mode: spec.mode.unwrap_or(0o400),
        uid: spec.uid.unwrap_or(0),
        gid: spec.gid.unwrap_or(0),
        id,
    }
}

fn ssh_mount(spec: MountSpec, target: String) -> Mount {
    Mount::Ssh {
        id: spec.id.filter(|id| !id.is_empty()).unwrap_or_else(|| "default".to_owned()),
        target,
        required: spec.required,
        mode: spec.mode.unwrap_or(0o600),
        uid: spec.uid.unwrap_or(0),
        gid: spec.gid.unwrap_or(0),
    }
}

/// The index of an edge among a vertex's inputs.
pub(super) fn input_of(inputs: &mut Vec<Edge>, edge: Edge) -> u32 {
    let at = inputs.iter().position(|known| *known == edge).unwrap_or_else(|| {
        inputs.push(edge);
        inputs.len() - 1
    });
    u32::try_from(at).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn item_90_a_cache_is_called_by_its_clean_target() {
        for (target, id) in
            [("/a/../b//", "/b"), ("a/./b", "a/b"), ("", "."), ("../a/..", ".."), ("/..", "/")]
        {
            assert_eq!(clean(target), id, "{target}");
        }
    }
}
