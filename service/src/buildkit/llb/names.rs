//! What people are told about vertices of LLB.

use bollard_buildkit_proto::pb;
use kiln_graph::VertexMeta;

/// The key of a name that the client gives.
const CUSTOM_NAME: &str = "llb.customname";
/// The longest name.
const MAX_NAME: usize = 4096;

/// What is told about the op `digest`.
pub(super) fn meta(definition: &pb::Definition, digest: &str, op: &pb::op::Op) -> VertexMeta {
    let metadata = definition.metadata.get(digest);
    let given = metadata.and_then(|metadata| metadata.description.get(CUSTOM_NAME));
    let name = given.cloned().unwrap_or_else(|| name(op));
    VertexMeta {
        name: name.chars().take(MAX_NAME).collect(),
        span: span(definition, digest),
        ignore_cache: metadata.is_some_and(|metadata| metadata.ignore_cache),
        stage: None,
    }
}

/// The lines of the first text that an op is of.
fn span(definition: &pb::Definition, digest: &str) -> Option<(u32, u32)> {
    let locations = definition.source.as_ref()?.locations.get(digest)?;
    let first = locations.locations.iter().find(|location| location.source_index == 0)?;
    let line = |position: &Option<pb::Position>| {
        u32::try_from(position.as_ref()?.line).ok().filter(|line| *line > 0)
    };
    let first_lines = first.ranges.iter().filter_map(|range| line(&range.start)).min()?;
    let last_lines = first.ranges.iter().filter_map(|range| line(&range.end)).max()?;
    Some((first_lines, last_lines.max(first_lines)))
}

fn name(op: &pb::op::Op) -> String {
    match op {
        pb::op::Op::Source(source) => source.identifier.clone(),
        pb::op::Op::Exec(exec) => exec.meta.as_ref().map(|meta| meta.args.join(" ")).unwrap_or_default(),
        pb::op::Op::File(file) => {
            let actions: Vec<String> = file.actions.iter().map(action).collect();
            actions.join(", ")
        }
        pb::op::Op::Merge(_) => "merge".to_owned(),
        pb::op::Op::Diff(_) => "diff".to_owned(),
        pb::op::Op::Build(_) => "build".to_owned(),
    }
}

fn action(action: &pb::FileAction) -> String {
    use pb::file_action::Action;
    match &action.action {
        Some(Action::Copy(copy)) => format!("copy {} {}", copy.src, copy.dest),
        Some(Action::Mkfile(file)) => format!("mkfile {}", file.path),
        Some(Action::Mkdir(dir)) => format!("mkdir {}", dir.path),
        Some(Action::Rm(rm)) => format!("rm {}", rm.path),
        Some(Action::Symlink(link)) => format!("symlink {} {}", link.oldpath, link.newpath),
        None => "nothing".to_owned(),
    }
}
