//! `COPY` and `ADD` to a file operation.

use kiln_graph::glob::Pattern;
use kiln_graph::url::redact;
use kiln_graph::{
    ActionInput, ChmodSpec, CopyAction, Edge, FileAction, FileOp, MergeOp, Op, Owner, VertexMeta,
};

use super::Lowerer;
use super::dependencies::{self, From};
use super::remote::{self, Remote, is_remote};
use super::scope::Scope;
use super::stage::StageState;
use crate::Diagnostic;
use crate::ast::{Add, Copy, Sources};
use crate::plan::StagePlan;

/// Why a list may be none.
const NO_JSON: &str = "a list must be JSON, with double quotes; anything else is read as words";

/// A copy in the making: what all its actions share.
struct Request {
    keyword: &'static str,
    dest: String,
    shown_dest: String,
    chown: Option<String>,
    owner: Option<Owner>,
    chmod: Option<String>,
    mode: Option<ChmodSpec>,
    exclude: Vec<String>,
    parents: bool,
    link: bool,
    /// Whether local archives are unpacked.
    unpack: bool,
    actions: Vec<FileAction>,
    inputs: Vec<Edge>,
    /// The sources, as history shows them.
    shown: Vec<String>,
}

impl Lowerer<'_> {
    pub(super) fn lower_copy(
        &mut self,
        stage: &StagePlan,
        state: &mut StageState,
        scope: &Scope<'_>,
        copy: &Copy,
    ) -> Result<(), Diagnostic> {
        let mut request = request("COPY", state, scope, &copy.sources, [&copy.chown, &copy.chmod])?;
        (request.parents, request.link) = (copy.parents, copy.link);
        request.exclude.clone_from(&copy.exclude);
        let paths = expand_paths(scope, &copy.sources)?;
        if paths.iter().any(|path| remote::is_http(path)) {
            return Err(scope.error("source can't be a URL for COPY").with_help(Some("use ADD".to_owned())));
        }
        if paths.iter().any(|path| remote::is_git(path)) {
            return Err(scope
                .error("source can't be a git ref for COPY")
                .with_help(Some("use ADD".to_owned())));
        }
        if !paths.is_empty() {
            let source = self.copy_source(stage, scope, copy, &paths)?;
            request.local(source, paths);
        }
        self.documents(&mut request, scope, &copy.sources)?;
        self.finish_copy(state, scope, request)
    }

    pub(super) fn lower_add(
        &mut self,
        state: &mut StageState,
        scope: &Scope<'_>,
        add: &Add,
    ) -> Result<(), Diagnostic> {
        let mut request = request("ADD", state, scope, &add.sources, [&add.chown, &add.chmod])?;
        (request.unpack, request.link) = (add.unpack.unwrap_or(true), add.link);
        request.exclude.clone_from(&add.exclude);
        let checksum = scope.optional(add.checksum.as_ref())?;
        let paths = expand_paths(scope, &add.sources)?;
        if checksum.is_some() && (paths.len() != 1 || !add.sources.heredocs.is_empty()) {
            return Err(scope.error("checksum can't be specified for multiple sources"));
        }
        if checksum.is_some() && !paths.iter().all(|path| is_remote(path)) {
            return Err(scope.error("checksum requires HTTP(S) or Git sources").with_help(Some(
                "a file of the context needs none: its content is what the cache goes by".to_owned(),
            )));
        }
        let mut local = Vec::new();
        for path in paths {
            if !is_remote(&path) {
                local.push(path);
                continue;
            }
            self.flush_local(&mut request, &mut local)?;
            let remote = remote::source(&path, checksum.as_deref(), add.keep_git_dir);
            let remote =
                remote.map_err(|message| scope.error(format!("ADD {}: {message}", redact(&path))))?;
            self.remote(&mut request, scope, redact(&path), remote, add.unpack.unwrap_or(false))?;
        }
        self.flush_local(&mut request, &mut local)?;
        self.documents(&mut request, scope, &add.sources)?;
        self.finish_copy(state, scope, request)
    }

    fn copy_source(
        &mut self,
        stage: &StagePlan,
        scope: &Scope<'_>,
        copy: &Copy,
        paths: &[String],
    ) -> Result<Option<Edge>, Diagnostic> {
        match &copy.from {
            None => self.context(paths.iter().map(|path| selection(path))).map(Some),
            Some(from) => self.from(stage, scope, from),
        }
    }

    /// The files of a stage or an image; `None` where a stage has none.
    pub(super) fn from(
        &mut self,
        stage: &StagePlan,
        scope: &Scope<'_>,
        from: &str,
    ) -> Result<Option<Edge>, Diagnostic> {
        let from = scope.from(self.plan, from)?;
        match dependencies::resolve(self.plan, stage, &from, scope.node.span)? {
            From::Nothing => Ok(None),
            From::Stage(index) => Ok(self.states[index].as_ref().and_then(|state| state.edge)),
            From::Files(source) => self.named_context(&source, scope.node.span).map(Some),
            From::Image(image) => {
                let found = self.bases.get(&image);
                if let Some(found) = found {
                    self.check_image(scope.node.span, &from, &image.platform, &found.config);
                }
                let reference =
                    found.map_or_else(|| image.reference.clone(), |found| found.reference.clone());
                let span = Some((scope.node.span.first, scope.node.span.last));
                let meta = VertexMeta { span, ..VertexMeta::named(format!("FROM {reference}")) };
                self.image(&image, meta).map(Some)
            }
        }
    }

    fn flush_local(&mut self, request: &mut Request, local: &mut Vec<String>) -> Result<(), Diagnostic> {
        if local.is_empty() {
            return Ok(());
        }
        let context = self.context(local.iter().map(|path| selection(path)))?;
        request.local(Some(context), std::mem::take(local));
        Ok(())
    }

    fn remote(
        &mut self,
        request: &mut Request,
        scope: &Scope<'_>,
        shown: String,
        remote: Remote,
        unpack: bool,
    ) -> Result<(), Diagnostic> {
        let span = Some((scope.node.span.first, scope.node.span.last));
        let meta = VertexMeta { span, ..VertexMeta::named(format!("[internal] load remote source {shown}")) };
        let edge = self.source(remote.op, meta)?;
        let source = request.input(Some(edge));
        let copy = CopyAction { unpack, ..request.exact(source, remote.path) };
        request.shown.push(shown);
        request.push(copy);
        Ok(())
    }

    /// A heredoc becomes a file of its own, which is then copied like any other.
    fn documents(
        &mut self,
        request: &mut Request,
        scope: &Scope<'_>,
        sources: &Sources,
    ) -> Result<(), Diagnostic> {
        for heredoc in &sources.heredocs {
            let text = heredoc.text();
            let text = if heredoc.expand { scope.document(&text)? } else { text };
            let edge = self.document(scope, &heredoc.name, text.into_bytes(), 0o644)?;
            let source = request.input(Some(edge));
            let copy = request.exact(source, format!("/{}", heredoc.name));
            request.shown.push(format!("<<{}", heredoc.name));
            request.push(copy);
        }
        Ok(())
    }

    /// A filesystem with one file.
    pub(super) fn document(
        &mut self,
        scope: &Scope<'_>,
        name: &str,
        data: Vec<u8>,
        mode: u32,
    ) -> Result<Edge, Diagnostic> {
        if name.contains('/') || matches!(name, "." | "..") {
            return Err(scope.error(format!("heredoc name `{name}` cannot be a file name")));
        }
        let path = format!("/{name}");
        let action = FileAction::Mkfile { input: ActionInput::Scratch, path, data, mode, owner: None };
        let span = Some((scope.node.span.first, scope.node.span.last));
        let meta = VertexMeta { span, ..VertexMeta::named("[internal] preparing inline document") };
        Ok(self.add(Op::File(FileOp { actions: vec![action] }), Vec::new(), meta)?.output())
    }

    fn finish_copy(
        &mut self,
        state: &mut StageState,
        scope: &Scope<'_>,
        request: Request,
    ) -> Result<(), Diagnostic> {
        let created_by = request.created_by();
        if request.link {
            self.finish_link(state, scope, request)?;
            state.record_layer(created_by);
            return Ok(());
        }
        let Request { mut actions, mut inputs, .. } = request;
        let base = state.edge.map_or(ActionInput::Scratch, |edge| input_index(&mut inputs, edge));
        if let Some(FileAction::Copy(first)) = actions.first_mut() {
            first.input = base;
        }
        let meta = state.meta(scope.node, &scope.title());
        let op = Op::File(FileOp { actions });
        state.edge = Some(self.add(op, inputs, meta)?.output());
        state.record_layer(created_by);
        Ok(())
    }

    /// A layer of its own, made on nothing and laid over what there is: it stays when what lies below changes.
    fn finish_link(
        &mut self,
        state: &mut StageState,
        scope: &Scope<'_>,
        request: Request,
    ) -> Result<(), Diagnostic> {
        if let Some(name) = request.owner.as_ref().and_then(Owner::name) {
            let message = format!("`--link` with `--chown`: a linked copy cannot look up the name `{name}`");
            let help = "give numbers, or leave out `--link`: it does not see the `/etc/passwd` below it";
            return Err(scope.error(message).with_help(Some(help.to_owned())));
        }
        let title = scope.title();
        let meta = state.meta(scope.node, &title);
        let prefix = meta.name.strip_suffix(title.as_str()).unwrap_or_default();
        let linked = VertexMeta { name: format!("{prefix}LINK {title}"), ..meta.clone() };
        let Request { actions, inputs, .. } = request;
        let copy = self.add(Op::File(FileOp { actions }), inputs, meta)?.output();
        state.edge = Some(match state.edge {
            None => copy,
            Some(base) => self.add(Op::Merge(MergeOp {}), vec![base, copy], linked)?.output(),
        });
        Ok(())
    }
}

impl Request {
    /// An action that copies exactly `path`, no wildcard in it.
    fn exact(&self, source: ActionInput, path: String) -> CopyAction {
        CopyAction {
            input: self.previous(),
            source,
            owner: self.owner.clone(),
            mode: self.mode.clone(),
            exclude: self.exclude.clone(),
            allow_wildcard: false,
            allow_empty_wildcard: false,
            follow_symlinks: false,
            ..CopyAction::new(vec![path], self.dest.clone())
        }
    }

    fn local(&mut self, edge: Option<Edge>, paths: Vec<String>) {
        let source = self.input(edge);
        let rooted = |path: &String| if self.parents { rooted_with_pivot(path) } else { join("/", path) };
        let copy = CopyAction {
            paths: paths.iter().map(rooted).collect(),
            unpack: self.unpack,
            parents: self.parents,
            allow_wildcard: true,
            allow_empty_wildcard: true,
            follow_symlinks: true,
            ..self.exact(source, String::new())
        };
        self.shown.extend(paths);
        self.push(copy);
    }

    fn push(&mut self, copy: CopyAction) {
        self.actions.push(FileAction::Copy(copy));
    }

    /// What the next action changes; the first one's is set when all is known.
    fn previous(&self) -> ActionInput {
        match self.actions.len() {
            0 => ActionInput::Scratch,
            count => ActionInput::Action(u32::try_from(count - 1).unwrap_or(u32::MAX)),
        }
    }

    fn input(&mut self, edge: Option<Edge>) -> ActionInput {
        edge.map_or(ActionInput::Scratch, |edge| input_index(&mut self.inputs, edge))
    }

    fn created_by(&self) -> String {
        let mut words = vec![self.keyword.to_owned()];
        words.extend(self.parents.then(|| "--parents".to_owned()));
        words.extend(self.chown.iter().map(|chown| format!("--chown={chown}")));
        words.extend(self.chmod.iter().map(|chmod| format!("--chmod={chmod}")));
        words.extend(self.shown.iter().cloned());
        words.push(format!("{} # buildkit", self.shown_dest));
        words.join(" ")
    }
}

fn request(
    keyword: &'static str,
    state: &StageState,
    scope: &Scope<'_>,
    sources: &Sources,
    [chown, chmod]: [&Option<String>; 2],
) -> Result<Request, Diagnostic> {
    let shown_dest = scope.word(&sources.dest)?;
    let chown = scope.optional(chown.as_ref())?.filter(|text| !text.is_empty());
    let chmod = scope.optional(chmod.as_ref())?.filter(|text| !text.is_empty());
    let owner = chown.as_deref().and_then(Owner::parse);
    owner.iter().try_for_each(Owner::check).map_err(|error| scope.error(error.to_string()))?;
    let mode =
        chmod.as_deref().map(ChmodSpec::parse).transpose().map_err(|error| scope.error(error.to_string()))?;
    Ok(Request {
        keyword,
        dest: destination(&state.cwd(), &shown_dest),
        shown_dest,
        chown,
        owner,
        chmod,
        mode,
        exclude: Vec::new(),
        parents: false,
        link: false,
        unpack: false,
        actions: Vec::new(),
        inputs: Vec::new(),
        shown: Vec::new(),
    })
}

fn expand_paths(scope: &Scope<'_>, sources: &Sources) -> Result<Vec<String>, Diagnostic> {
    let paths = sources.paths.iter().map(|path| {
        let path = scope.word(path)?;
        if !is_remote(&path) {
            let help = || path.starts_with('[').then(|| NO_JSON.to_owned());
            Pattern::with_double_star(&path)
                .map_err(|error| scope.error(error.to_string()).with_help(help()))?;
        }
        Ok(path)
    });
    paths.collect()
}

fn input_index(inputs: &mut Vec<Edge>, edge: Edge) -> ActionInput {
    let at = inputs.iter().position(|known| *known == edge).unwrap_or_else(|| {
        inputs.push(edge);
        inputs.len() - 1
    });
    ActionInput::Input(u32::try_from(at).unwrap_or(u32::MAX))
}

/// A final slash means a directory, and so do `.` and nothing.
fn destination(cwd: &str, dest: &str) -> String {
    let path = join(cwd, dest);
    let directory = dest.is_empty() || dest == "." || dest.ends_with('/') || dest.ends_with("/.");
    if directory && path != "/" { path + "/" } else { path }
}

/// `path` seen from `dir`, clean and absolute; `..` stops at the root.
pub(super) fn join(dir: &str, path: &str) -> String {
    let dir = if path.starts_with('/') { "" } else { dir };
    let mut parts: Vec<&str> = Vec::new();
    for part in dir.split('/').chain(path.split('/')) {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            _ => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

/// For `--parents`: clean on both sides of the first `/./`.
fn rooted_with_pivot(path: &str) -> String {
    match path.split_once("/./") {
        Some((parent, rest)) => {
            let parent = join("/", parent);
            format!("{}/.{}", parent.trim_end_matches('/'), join("/", rest))
        }
        None => join("/", path),
    }
}

/// What a source path selects of the context, relative to its root.
fn selection(path: &str) -> String {
    join("/", path).split_off(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn item_62_paths_are_clean_and_stay_inside() {
        for (dir, path, expected) in [
            ("/w", "a/../b", "/w/b"),
            ("/w", "/x//y/.", "/x/y"),
            ("/", "../../etc", "/etc"),
            ("/w", "", "/w"),
        ] {
            assert_eq!(join(dir, path), expected);
        }
    }

    #[test]
    fn item_63_a_final_slash_is_kept() {
        for (dest, expected) in
            [("x/", "/w/x/"), ("x", "/w/x"), (".", "/w/"), ("", "/w/"), ("/", "/"), ("./", "/w/")]
        {
            assert_eq!(destination("/w", dest), expected);
        }
        assert_eq!(rooted_with_pivot("a/./b/../c"), "/a/./c");
    }
}
