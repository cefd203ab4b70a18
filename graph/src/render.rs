//! A graph as text for people and tests, and for Graphviz.

use std::fmt::Write;

use crate::url::redact;
use crate::{ActionInput, CopyAction, Definition, Edge, ExecOp, FileAction, Mount, Op, SourceOp, Vertex};

/// Longest text of a file or argument that is shown.
const MAX_SHOWN: usize = 200;

/// Every vertex with its inputs and what it does, then the results; the same graph always gives the same text.
pub fn text(definition: &Definition, roots: &[Option<Edge>]) -> String {
    let mut out = String::new();
    for (id, vertex) in definition.vertices() {
        let _ = writeln!(out, "{} {}{}", id.index(), vertex.meta.name, notes(vertex));
        operation(&mut out, vertex);
    }
    for root in roots {
        let _ = writeln!(out, "root {}", root.map_or_else(|| "scratch".to_owned(), edge_text));
    }
    out
}

/// The graph in Graphviz's language.
pub fn graphviz(definition: &Definition) -> String {
    let mut out = String::from("digraph build {\n  node [shape=box];\n");
    for (id, vertex) in definition.vertices() {
        let label = vertex.meta.name.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let _ = writeln!(out, "  v{} [label=\"{label}\\n({})\"];", id.index(), vertex.op.kind());
        for edge in &vertex.inputs {
            let _ = writeln!(out, "  v{} -> v{};", edge.vertex.index(), id.index());
        }
    }
    out + "}\n"
}

fn notes(vertex: &Vertex) -> String {
    let span = vertex.meta.span.map(|(first, last)| format!(" @{first}-{last}")).unwrap_or_default();
    let cache = if vertex.meta.ignore_cache { " no-cache" } else { "" };
    format!("{span}{cache}")
}

fn edge_text(edge: Edge) -> String {
    match edge.output {
        0 => edge.vertex.index().to_string(),
        output => format!("{}.{output}", edge.vertex.index()),
    }
}

fn operation(out: &mut String, vertex: &Vertex) {
    let inputs: Vec<String> = vertex.inputs.iter().map(|edge| edge_text(*edge)).collect();
    let input = |index: Option<u32>| {
        let found = index.and_then(|index| inputs.get(index as usize));
        found.cloned().unwrap_or_else(|| "scratch".to_owned())
    };
    match &vertex.op {
        Op::Source(source) => source_text(out, source),
        Op::Exec(exec) => exec_text(out, exec, &input),
        Op::File(file) => file.actions.iter().for_each(|action| action_text(out, action, &input)),
        Op::Merge(_) => drop(writeln!(out, "    merge {}", inputs.join(" "))),
        Op::Diff(diff) => drop(writeln!(out, "    diff {} {}", input(diff.lower), input(diff.upper))),
    }
}

fn source_text(out: &mut String, source: &SourceOp) {
    let _ = match source {
        SourceOp::Image { reference, platform } => writeln!(out, "    image {reference} {platform}"),
        SourceOp::Local { name, include, exclude, follow: _ } => {
            writeln!(out, "    local {name} include={include:?} exclude={exclude:?}")
        }
        SourceOp::Git {
            remote,
            reference,
            subdir,
            checksum,
            keep_git_dir,
            submodules,
            times,
            fetch_by_commit,
            access: _,
        } => writeln!(
            out,
            "    git {} ref={reference:?} subdir={subdir:?} checksum={checksum:?} keep_git_dir={keep_git_dir} \
             {submodules:?} {times:?} fetch_by_commit={fetch_by_commit}",
            redact(remote)
        ),
        SourceOp::Http { url, checksum, filename, mode, owner } => {
            writeln!(
                out,
                "    http {} as {filename:?} checksum={checksum:?} mode={mode:?} owner={owner:?}",
                redact(url)
            )
        }
        SourceOp::OciLayout { store, digest, platform } => {
            writeln!(out, "    oci-layout {store} {digest} {platform}")
        }
    };
}

fn exec_text(out: &mut String, exec: &ExecOp, input: &dyn Fn(Option<u32>) -> String) {
    let args: Vec<String> = exec.args.iter().map(|arg| shorten(arg)).collect();
    let _ = writeln!(
        out,
        "    exec {} in {} user={:?} {:?} {:?}",
        args.join(" "),
        exec.cwd,
        exec.user,
        exec.network,
        exec.security
    );
    let _ = writeln!(out, "    env {:?}", exec.env);
    if !exec.proxy_env.is_empty() {
        let _ = writeln!(out, "    proxy {:?}", exec.proxy_env);
    }
    exec.mounts.iter().for_each(|mount| mount_text(out, mount, input));
}

fn mount_text(out: &mut String, mount: &Mount, input: &dyn Fn(Option<u32>) -> String) {
    let access = |readonly: &bool| if *readonly { "ro" } else { "rw" };
    let _ = match mount {
        Mount::Bind { input: from, source, target, readonly, output } => {
            let becomes = output.map(|output| format!(" => {output}")).unwrap_or_default();
            writeln!(out, "    bind {}:{source} {target} {}{becomes}", input(*from), access(readonly))
        }
        Mount::Cache { input: from, source, target, readonly, id, sharing, mode, uid, gid } => writeln!(
            out,
            "    cache {id:?} {target} {} {sharing:?} {mode:04o} {uid}:{gid} from {}:{source}",
            access(readonly),
            input(*from)
        ),
        Mount::Tmpfs { target, readonly, size } => {
            writeln!(out, "    tmpfs {target} {} size={size:?}", access(readonly))
        }
        Mount::Secret { id, target, env, required, mode, uid, gid } => writeln!(
            out,
            "    secret {id:?} target={target:?} env={env:?} required={required} {mode:04o} {uid}:{gid}"
        ),
        Mount::Ssh { id, target, required, mode, uid, gid } => {
            writeln!(out, "    ssh {id:?} {target} required={required} {mode:04o} {uid}:{gid}")
        }
    };
}

fn action_text(out: &mut String, action: &FileAction, input: &dyn Fn(Option<u32>) -> String) {
    let onto = action_input(action.input(), input);
    let _ = match action {
        FileAction::Copy(copy) => {
            let from = action_input(copy.source, input);
            writeln!(
                out,
                "    copy {from}:{:?} onto {onto} at {:?}{}",
                copy.paths,
                copy.dest,
                copy_flags(copy)
            )
        }
        FileAction::Mkfile { path, data, mode, owner, .. } => {
            let data = shorten(&String::from_utf8_lossy(data));
            writeln!(out, "    mkfile {path:?} onto {onto} {mode:04o} owner={owner:?} {data}")
        }
        FileAction::Mkdir { path, mode, make_parents, owner, .. } => {
            writeln!(out, "    mkdir {path:?} onto {onto} {mode:04o} parents={make_parents} owner={owner:?}")
        }
        FileAction::Rm { path, allow_wildcard, allow_missing, .. } => {
            writeln!(out, "    rm {path:?} onto {onto} wildcard={allow_wildcard} missing={allow_missing}")
        }
        FileAction::Symlink { target, path, owner, .. } => {
            writeln!(out, "    symlink {path:?} to {target:?} onto {onto} owner={owner:?}")
        }
    };
}

/// A file action by itself, inputs by number.
pub(crate) fn action(action: &FileAction) -> String {
    let mut out = String::new();
    action_text(&mut out, action, &by_number);
    out.trim().to_owned()
}

/// A mount by itself, inputs by number.
pub(crate) fn mount(mount: &Mount) -> String {
    let mut out = String::new();
    mount_text(&mut out, mount, &by_number);
    out.trim().to_owned()
}

fn by_number(input: Option<u32>) -> String {
    input.map_or_else(|| "scratch".to_owned(), |number| format!("input {number}"))
}

/// What differs from a plain `COPY`.
fn copy_flags(copy: &CopyAction) -> String {
    let mut flags = String::new();
    if let Some(owner) = &copy.owner {
        let _ = write!(flags, " owner={:?}:{:?}", owner.user, owner.group);
    }
    if let Some(mode) = &copy.mode {
        let _ = write!(flags, " mode={mode}");
    }
    for (name, set) in [("unpack", copy.unpack), ("exact", !copy.allow_wildcard), ("parents", copy.parents)] {
        if set {
            let _ = write!(flags, " {name}");
        }
    }
    if !copy.exclude.is_empty() {
        let _ = write!(flags, " exclude={:?}", copy.exclude);
    }
    flags
}

fn shorten(text: &str) -> String {
    let short: String = text.chars().take(MAX_SHOWN).collect();
    if short.len() < text.len() { format!("{short:?}…") } else { format!("{short:?}") }
}

fn action_input(of: ActionInput, input: &dyn Fn(Option<u32>) -> String) -> String {
    match of {
        ActionInput::Scratch => "scratch".to_owned(),
        ActionInput::Input(index) => input(Some(index)),
        ActionInput::Action(index) => format!("action {index}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MergeOp, VertexMeta};

    #[test]
    fn both_forms_name_every_vertex() {
        let mut graph = Definition::new();
        let a = graph.add(Op::Merge(MergeOp {}), vec![], VertexMeta::named("a \"q\"")).unwrap();
        let b = graph.add(Op::Merge(MergeOp {}), vec![a.output()], VertexMeta::named("b")).unwrap();
        assert_eq!(text(&graph, &[Some(b.output())]), "0 a \"q\"\n    merge \n1 b\n    merge 0\nroot 1\n");
        let dot = graphviz(&graph);
        assert!(dot.contains("v0 -> v1;") && dot.contains("a \\\"q\\\""), "{dot}");
    }
}
