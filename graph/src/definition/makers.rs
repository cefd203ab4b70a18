//! Which vertices the layers of a result come from.

use super::{Definition, Edge, VertexId};
use crate::{ActionInput, ExecOp, FileAction, FileOp, Mount, Op};

impl Definition {
    /// The vertices that make the layers of `edge`, each one of them, the topmost first. The list ends at what brings layers of
    /// its own along, such as a base image.
    pub fn layer_makers(&self, edge: Edge) -> Vec<VertexId> {
        let (mut makers, mut below) = (Vec::new(), vec![edge]);
        while let Some(edge) = below.pop() {
            let vertex = self.vertex(edge.vertex);
            let base = match &vertex.op {
                Op::Exec(exec) => exec.base_of(edge.output),
                Op::File(file) => file.base(),
                Op::Merge(_) => {
                    below.extend(&vertex.inputs);
                    continue;
                }
                Op::Source(_) | Op::Diff(_) => break,
            };
            makers.push(edge.vertex);
            below.extend(base.and_then(|input| vertex.inputs.get(input as usize)));
        }
        makers
    }
}

impl ExecOp {
    /// The vertex input that an output is made on.
    fn base_of(&self, wanted: u32) -> Option<u32> {
        self.mounts.iter().find_map(|mount| match mount {
            Mount::Bind { input, output, .. } if *output == Some(wanted) => *input,
            _ => None,
        })
    }
}

impl FileOp {
    /// The vertex input that the result is made on: what the last action changes, through all that it follows.
    fn base(&self) -> Option<u32> {
        let mut at = self.actions.last().map(FileAction::input)?;
        loop {
            match at {
                ActionInput::Scratch => return None,
                ActionInput::Input(input) => return Some(input),
                // An action names earlier ones only, so this ends.
                ActionInput::Action(action) => at = self.actions.get(action as usize)?.input(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CopyAction, MergeOp, SourceOp, VertexMeta};
    use kiln_oci::Platform;

    fn platform() -> Platform {
        Platform::new("linux", "amd64", None)
    }

    fn add(graph: &mut Definition, op: Op, inputs: &[VertexId]) -> VertexId {
        let inputs = inputs.iter().map(|id| id.output()).collect();
        graph.add(op, inputs, VertexMeta::default()).unwrap()
    }

    fn image(graph: &mut Definition) -> VertexId {
        let reference = "base".parse().unwrap();
        add(graph, Op::Source(SourceOp::Image { reference, platform: platform() }), &[])
    }

    fn run(root: Option<u32>) -> Op {
        Op::Exec(ExecOp::new(vec!["true".to_owned()], platform(), root))
    }

    fn copy(input: ActionInput) -> FileAction {
        FileAction::Copy(CopyAction { input, ..CopyAction::new(vec!["/a".to_owned()], "/b") })
    }

    #[test]
    fn steps_are_listed_down_to_the_base_image() {
        let mut graph = Definition::new();
        let base = image(&mut graph);
        let other = image(&mut graph);
        let first = add(&mut graph, run(Some(0)), &[base]);
        let actions = vec![copy(ActionInput::Input(0)), copy(ActionInput::Action(0))];
        let second = add(&mut graph, Op::File(FileOp { actions }), &[first, other]);
        assert_eq!(graph.layer_makers(second.output()), [second, first]);
        assert_eq!(graph.layer_makers(base.output()), []);
    }

    #[test]
    fn merged_layers_are_each_their_own() {
        let mut graph = Definition::new();
        let base = image(&mut graph);
        let step = add(&mut graph, run(Some(0)), &[base]);
        let actions = vec![copy(ActionInput::Scratch)];
        let linked = add(&mut graph, Op::File(FileOp { actions }), &[base, base]);
        let merged = add(&mut graph, Op::Merge(MergeOp {}), &[step, linked]);
        let top = add(&mut graph, run(Some(0)), &[merged]);
        assert_eq!(graph.layer_makers(top.output()), [top, linked, step]);
    }
}
