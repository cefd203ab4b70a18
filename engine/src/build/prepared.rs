//! A build as a graph: of a Dockerfile, or sent by somebody who made it.

use std::sync::Arc;
use std::time::SystemTime;

use kiln_builder::Target;
use kiln_graph::{Definition, Op, SourceOp};
use kiln_parser::SourceFile;

use super::Origin;
use super::contexts::Contexts;
use super::outside::Outside;
use crate::{Error, Result};

/// A build as a graph, ready to be solved.
#[derive(Clone)]
pub struct Prepared {
    pub(crate) source: SourceFile,
    pub(crate) definition: Arc<Definition>,
    pub(crate) targets: Vec<Target>,
    /// How many targets each stage has.
    pub(super) platforms: usize,
    pub(super) multi_platform: bool,
    pub(super) contexts: Contexts,
    /// Where the context was fetched from.
    pub(super) origin: Option<Origin>,
    /// Replaces the times of what is new, in seconds since 1970.
    pub(super) epoch: Option<i64>,
    /// When it was begun.
    pub(super) began: SystemTime,
    /// Whether the graph was made elsewhere.
    pub(super) sent: bool,
}

impl Prepared {
    /// A graph that somebody made, with what is wanted of it; local contexts and more come from `outside`.
    pub fn of_graph(
        definition: Definition,
        targets: Vec<Target>,
        multi_platform: bool,
        outside: &Outside,
    ) -> Prepared {
        Prepared {
            source: SourceFile::new(String::new(), String::new()),
            definition: Arc::new(definition),
            platforms: targets.len().max(1),
            targets,
            multi_platform,
            contexts: Contexts::of(outside),
            origin: None,
            epoch: None,
            began: SystemTime::now(),
            sent: true,
        }
    }

    /// What is made of the graph: one image, or one for each platform.
    pub fn targets(&self) -> &[Target] {
        &self.targets
    }

    /// Whether the targets become an index even where there is one.
    pub fn is_multi_platform(&self) -> bool {
        self.multi_platform
    }

    /// Where its files come from, each source once.
    pub fn sources(&self) -> Vec<SourceOp> {
        let mut sources = Vec::new();
        for (_, vertex) in self.definition.vertices() {
            if let Op::Source(source) = &vertex.op
                && !sources.contains(source)
            {
                sources.push(source.clone());
            }
        }
        sources
    }

    /// Changes what a target becomes.
    pub fn set_target(&mut self, number: usize, target: Target) {
        if let Some(old) = self.targets.get_mut(number) {
            *old = target;
        }
    }

    /// The same with the text that the spans of its vertices are of.
    pub fn with_source(mut self, name: &str, text: &[u8]) -> Prepared {
        self.source = SourceFile::from_bytes(name.to_owned(), text);
        self
    }

    /// One build of targets that were prepared, perhaps apart; each is a graph and the number of its target.
    pub fn gather(parts: &[(&Prepared, usize)], multi_platform: bool) -> Result<Prepared> {
        let Some((first, _)) = parts.first() else {
            return Err(Error::invalid("a build of nothing"));
        };
        let mut whole = Prepared { multi_platform, platforms: parts.len(), ..(*first).clone() };
        // In the order of the targets, so that the same parts make the same graph.
        let mut graphs: Vec<&Arc<Definition>> = Vec::new();
        for (part, _) in parts {
            if number_of(&graphs, part).is_none() {
                graphs.push(&part.definition);
            }
        }
        let target = |(part, number): &(&Prepared, usize)| {
            part.targets
                .get(*number)
                .cloned()
                .ok_or_else(|| Error::invalid("a build of a target that is not there"))
        };
        whole.targets = parts.iter().map(target).collect::<Result<_>>()?;
        if graphs.len() == 1 {
            return Ok(whole);
        }
        let definitions: Vec<Definition> = graphs.iter().map(|graph| (***graph).clone()).collect();
        let merged = Definition::merge(&definitions);
        for (target, (part, _)) in whole.targets.iter_mut().zip(parts) {
            let number = number_of(&graphs, part).unwrap_or_default();
            target.root = target.root.map(|edge| merged.edge(number, edge));
            whole.contexts.add(&part.contexts);
        }
        whole.definition = Arc::new(merged.definition);
        Ok(whole)
    }
}

/// Which of `graphs` is that of `part`; one that is equal is another.
fn number_of(graphs: &[&Arc<Definition>], part: &Prepared) -> Option<usize> {
    graphs.iter().position(|graph| Arc::ptr_eq(graph, &part.definition))
}

impl std::fmt::Debug for Prepared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Prepared").field("targets", &self.targets).finish_non_exhaustive()
    }
}
