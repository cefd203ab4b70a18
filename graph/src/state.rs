//! Building graphs in Rust: an immutable chain of filesystem states.

use std::collections::HashMap;
use std::sync::Arc;

use kiln_oci::{Platform, Reference};

use crate::{
    ActionInput, CopyAction, Definition, DefinitionError, Edge, ExecOp, FileAction, FileOp, MergeOp, Op,
    SourceOp, VertexId, VertexMeta,
};

/// A filesystem as it is after some steps. Cloning is cheap; two states that share a beginning share its vertices.
#[derive(Debug, Clone, Default)]
pub struct State(Option<Arc<Step>>);

#[derive(Debug)]
struct Step {
    op: Op,
    inputs: Vec<State>,
    meta: VertexMeta,
}

impl State {
    /// The empty filesystem.
    pub fn scratch() -> Self {
        State(None)
    }

    /// An image's filesystem.
    pub fn image(reference: Reference, platform: Platform) -> Self {
        let name = format!("FROM {reference}");
        State::step(Op::Source(SourceOp::Image { reference, platform }), Vec::new(), name)
    }

    /// A directory of whoever asked.
    pub fn local(name: &str) -> Self {
        let (include, exclude, follow) = (Vec::new(), Vec::new(), Vec::new());
        let source = SourceOp::Local { name: name.to_owned(), include, exclude, follow };
        State::step(Op::Source(source), Vec::new(), format!("[internal] load {name}"))
    }

    /// After running `args`.
    pub fn run(&self, args: &[&str], platform: Platform) -> Self {
        let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        let name = format!("RUN {}", args.join(" "));
        let exec = ExecOp::new(args, platform, self.0.as_ref().map(|_| 0));
        State::step(Op::Exec(exec), self.existing(), name)
    }

    /// After copying `path` of `source` to `dest`.
    pub fn copy(&self, source: &State, path: &str, dest: &str) -> Self {
        let mut inputs = self.existing();
        let mut index = |state: &State| {
            let Some(_) = state.0 else { return ActionInput::Scratch };
            inputs.push(state.clone());
            ActionInput::Input(inputs.len() as u32 - 1)
        };
        let source = index(source);
        let input = self.0.as_ref().map_or(ActionInput::Scratch, |_| ActionInput::Input(0));
        let copy = CopyAction { input, source, ..CopyAction::new(vec![path.to_owned()], dest) };
        State::file(FileAction::Copy(copy), inputs, format!("COPY {path} {dest}"))
    }

    /// After writing a file.
    pub fn mkfile(&self, path: &str, data: &[u8]) -> Self {
        let input = self.0.as_ref().map_or(ActionInput::Scratch, |_| ActionInput::Input(0));
        let (path, data) = (path.to_owned(), data.to_vec());
        let name = format!("mkfile {path}");
        State::file(FileAction::Mkfile { input, path, data, mode: 0o644, owner: None }, self.existing(), name)
    }

    /// `layers` over each other, lowest first.
    pub fn merge(layers: &[State]) -> Self {
        let layers = layers.iter().filter(|state| state.0.is_some()).cloned().collect();
        State::step(Op::Merge(MergeOp {}), layers, "merge".to_owned())
    }

    fn file(action: FileAction, inputs: Vec<State>, name: String) -> Self {
        State::step(Op::File(FileOp { actions: vec![action] }), inputs, name)
    }

    fn step(op: Op, inputs: Vec<State>, name: String) -> Self {
        State(Some(Arc::new(Step { op, inputs, meta: VertexMeta::named(name) })))
    }

    fn existing(&self) -> Vec<State> {
        self.0.iter().map(|step| State(Some(step.clone()))).collect()
    }

    /// The graph that leads here, and where it ends.
    pub fn definition(&self) -> Result<(Definition, Option<Edge>), DefinitionError> {
        let mut definition = Definition::new();
        let mut done: HashMap<*const Step, VertexId> = HashMap::new();
        let mut todo: Vec<&Arc<Step>> = self.0.iter().collect();
        while let Some(step) = todo.last().copied() {
            let waits = step.inputs.iter().filter_map(|state| state.0.as_ref());
            let waits: Vec<_> = waits.filter(|input| !done.contains_key(&Arc::as_ptr(input))).collect();
            if !waits.is_empty() {
                todo.extend(waits);
                continue;
            }
            todo.pop();
            if !done.contains_key(&Arc::as_ptr(step)) {
                let inputs = step.inputs.iter().filter_map(|state| state.0.as_ref());
                let inputs = inputs.map(|input| done[&Arc::as_ptr(input)].output()).collect();
                let id = definition.add(step.op.clone(), inputs, step.meta.clone())?;
                done.insert(Arc::as_ptr(step), id);
            }
        }
        let root = self.0.as_ref().map(|step| done[&Arc::as_ptr(step)].output());
        Ok((definition, root))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shared_beginning_is_one_vertex() {
        let platform = Platform::new("linux", "amd64", None);
        let base = State::image("alpine".parse().unwrap(), platform.clone());
        let built = base.run(&["make"], platform.clone());
        let (graph, root) = base.copy(&built, "/out", "/app").definition().unwrap();
        assert_eq!(graph.len(), 3);
        let root = graph.vertex(root.unwrap().vertex);
        assert_eq!((root.meta.name.as_str(), root.inputs.len()), ("COPY /out /app", 2));
        assert_eq!(State::scratch().definition().unwrap().1, None);
    }

    #[test]
    fn a_long_chain_is_no_deep_recursion() {
        let state = (0..1000).fold(State::scratch(), |state, n| state.mkfile(&format!("/{n}"), b""));
        assert_eq!(state.definition().unwrap().0.len(), 1000);
    }
}
