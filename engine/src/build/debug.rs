//! The intermediate values of a build as text.

use std::sync::Arc;

use kiln_builder::Silent;

use super::BuildRequest;
use crate::progress::ProgressSink;
use crate::{CancellationToken, Engine, Result};

impl Engine {
    /// The syntax tree of a Dockerfile, then what is to be said of it.
    pub async fn debug_ast(&self, request: &BuildRequest) -> Result<String> {
        let silent: Arc<dyn ProgressSink> = Arc::new(Silent);
        let file = self.source(request, &silent).await?.file;
        let (dockerfile, diagnostics) = kiln_parser::parse(&file);
        let mut text = dockerfile.dump();
        for diagnostic in diagnostics {
            text.push_str(&diagnostic.render(&file, false));
            text.push('\n');
        }
        Ok(text)
    }

    /// The graph of a build as lines, or in Graphviz's language.
    pub async fn debug_graph(&self, request: &BuildRequest, graphviz: bool) -> Result<String> {
        let silent: Arc<dyn ProgressSink> = Arc::new(Silent);
        let prepared = self.prepare(request, &silent).await?;
        let roots: Vec<_> = prepared.targets.iter().map(|target| target.root).collect();
        Ok(match graphviz {
            true => kiln_graph::render::graphviz(&prepared.definition),
            false => kiln_graph::render::text(&prepared.definition, &roots),
        })
    }

    /// The key by definition of each step, with its name.
    pub async fn debug_keys(&self, request: &BuildRequest) -> Result<String> {
        let silent: Arc<dyn ProgressSink> = Arc::new(Silent);
        let prepared = self.prepare(request, &silent).await?;
        let job = self.job(request, &prepared, silent, CancellationToken::new())?;
        let keys = self.builder().keys(&job).await;
        let keys = keys.map_err(|error| super::failure::of_build(error, &prepared.source))?;
        let line = |(id, key): &(kiln_graph::VertexId, kiln_builder::CacheKey)| {
            format!("{key} {}\n", job.definition.vertex(*id).meta.name)
        };
        Ok(keys.iter().map(line).collect())
    }
}
