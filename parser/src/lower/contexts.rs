//! Named contexts to vertices.

use kiln_graph::url::redact;
use kiln_graph::{ActionInput, CopyAction, Edge, FileAction, FileOp, Op, SourceOp, VertexMeta};

use super::Lowerer;
use crate::plan::StagePlan;
use crate::{Diagnostic, Span};

impl Lowerer<'_> {
    /// The files of a context.
    pub(super) fn named_context(&mut self, source: &SourceOp, span: Span) -> Result<Edge, Diagnostic> {
        let name = match source {
            SourceOp::Local { name, .. } => format!("[context {name}] load from client"),
            SourceOp::Git { remote: url, .. } | SourceOp::Http { url, .. } => {
                format!("[context] load {}", redact(url))
            }
            SourceOp::Image { .. } | SourceOp::OciLayout { .. } => "[context] load".to_owned(),
        };
        let meta = VertexMeta { span: Some((span.first, span.last)), ..VertexMeta::named(name) };
        self.source(source.clone(), meta)
    }

    /// What another build made, which steps work on as it is.
    pub(super) fn built_context(&mut self, source: &SourceOp, stage: &StagePlan) -> Result<Edge, Diagnostic> {
        let meta = VertexMeta {
            span: Some((stage.span.first, stage.span.last)),
            ..VertexMeta::named(format!("[context {0}] FROM {0}", stage.image))
        };
        self.source(source.clone(), meta)
    }

    /// A context that steps work on. A folder is read in place, so that it has to be copied first.
    pub(super) fn context_as_base(
        &mut self,
        source: &SourceOp,
        stage: &StagePlan,
    ) -> Result<Edge, Diagnostic> {
        let files = self.named_context(source, stage.span)?;
        let SourceOp::Local { name, .. } = source else { return Ok(files) };
        let copy = CopyAction {
            input: ActionInput::Scratch,
            source: ActionInput::Input(0),
            ..CopyAction::new(vec!["/".to_owned()], "/")
        };
        let meta = VertexMeta {
            span: Some((stage.span.first, stage.span.last)),
            ..VertexMeta::named(format!("[context {name}] FROM {name}"))
        };
        let op = Op::File(FileOp { actions: vec![FileAction::Copy(copy)] });
        Ok(self.add(op, vec![files], meta)?.output())
    }
}

#[cfg(test)]
mod tests {
    use kiln_graph::render;
    use kiln_oci::{ImageConfig, Platform};

    use crate::{BaseConfigs, Lowering, NamedContext, Plan, PlanOptions, SourceFile, parse, remote};

    fn graph(text: &str, contexts: &[(&str, NamedContext)]) -> String {
        let (file, diagnostics) = parse(&SourceFile::new("Dockerfile", text));
        assert!(diagnostics.iter().all(|it| !it.is_error()), "{diagnostics:?}");
        let mut options = PlanOptions::new(Platform::new("linux", "amd64", None));
        for (name, context) in contexts {
            assert!(options.contexts.insert(name, context.clone()));
        }
        let plan = Plan::new(&file, &options).unwrap();
        match plan.lower(&BaseConfigs::new()).unwrap() {
            Lowering::Ready(lowered) => render::text(&lowered.definition, &[lowered.root]),
            Lowering::NeedsMore(images) => {
                images.iter().map(|image| image.reference.to_string() + "\n").collect()
            }
        }
    }

    fn folder(name: &str) -> NamedContext {
        let (name, none) = (name.to_owned(), Vec::new());
        NamedContext::Files(kiln_graph::SourceOp::Local {
            name,
            include: none.clone(),
            exclude: none.clone(),
            follow: none,
        })
    }

    const TEXT: &str =
        "FROM alpine AS base\nRUN build\nFROM scratch\nCOPY --from=base /x /y\nCOPY --from=docs /a /b\n";

    /// Number 43 of the language's subtle points.
    #[test]
    fn a_context_stands_for_a_stage_or_an_image() {
        let files = graph(TEXT, &[("base", folder("base")), ("docs", folder("docs"))]);
        assert!(!files.contains("alpine") && !files.contains("RUN"), "{files}");
        assert!(files.contains("local base") && files.contains("local docs"), "{files}");
        let image = |text: &str| NamedContext::Image(text.parse().unwrap());
        assert_eq!(
            graph(TEXT, &[("base", image("other")), ("docs", folder("docs"))]),
            "docker.io/library/other:latest\n"
        );
        let replaced =
            graph(TEXT, &[("docker.io/library/alpine", image("other:1")), ("docs", NamedContext::Scratch)]);
        assert_eq!(replaced, "docker.io/library/other:1\n");
        let nothing = graph(TEXT, &[("base", NamedContext::Scratch), ("docs", NamedContext::Scratch)]);
        assert!(nothing.contains("copy scratch:[\"/x\"]"), "{nothing}");
    }

    #[test]
    fn what_another_build_made_is_a_base_with_its_configuration() {
        let mut config = ImageConfig::empty(Platform::new("linux", "amd64", None));
        config.config.env = vec!["K=v".to_owned()];
        config.config.on_build = vec!["RUN triggered".to_owned()];
        let NamedContext::Files(source) = folder("base") else { panic!() };
        let built = NamedContext::Built(source, Box::new(config));
        let made = graph("FROM base\nRUN echo $K\nCOPY --from=base /a$K /b\n", &[("base", built)]);
        assert!(made.contains("triggered") && made.contains("/av"), "{made}");
        assert!(!made.contains("onto scratch"), "{made}");
        assert_eq!(made.matches("local base").count(), 1, "{made}");
    }

    #[test]
    fn a_folder_is_copied_before_steps_work_on_it_and_a_repository_is_not() {
        let text = "FROM base\nRUN true\n";
        let copied = graph(text, &[("base", folder("base"))]);
        assert!(copied.contains("copy 0:[\"/\"] onto scratch"), "{copied}");
        let git = NamedContext::Files(remote::git("https://u:p@h/r.git").unwrap());
        let fetched = graph(text, &[("base", git)]);
        assert!(!fetched.contains("copy") && fetched.contains("git https://xxxxx@h/r.git"), "{fetched}");
    }
}
