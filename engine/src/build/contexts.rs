//! Contexts: the folder in place, and everything else as a filesystem that is fetched or unpacked before the build.

use std::collections::BTreeMap;
use std::io::Read;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kiln_builder::outside::{self, is_archive};
use kiln_builder::session::Nothing;
use kiln_builder::workspace::View;
use kiln_builder::{ContextSource, Event, Layers, Session, SessionError, StepId, Wanted, pull};
use kiln_cache::Lease;
use kiln_graph::url::redact;
use kiln_graph::{GitTimes, SourceOp};
use kiln_oci::Digest;
use kiln_parser::remote;
use kiln_parser::source::MAX_SOURCE;
use kiln_sys::fs::Root;

use super::bases::FIRST_INTERNAL;
use super::input::Context;
use super::outside::Outside;
use super::{BuildRequest, Origin, epoch, failure};
use crate::progress::{ProgressSink, Silent};
use crate::{CancellationToken, Engine, Error, Result};

/// The name of a downloaded context in its own filesystem, as BuildKit gives it.
pub(super) const DOWNLOADED: &str = "context";
/// The build argument that keeps `.git` in a context.
const KEEP_GIT_DIR: &str = "BUILDKIT_CONTEXT_KEEP_GIT_DIR";
/// The number of the step that fetches the context, far from those that look up bases.
pub(super) const CONTEXT_STEP: u32 = 1 << 20;

/// Where the files of local sources are.
#[derive(Clone, Default)]
pub(crate) struct Contexts {
    pub(super) folders: BTreeMap<String, PathBuf>,
    pub(super) layers: BTreeMap<String, Layers>,
    /// Who has the contexts that are not here, and what they are called there.
    pub(super) given: Option<Arc<dyn ContextSource>>,
    pub(super) names: BTreeMap<String, String>,
    /// What keeps images that were taken into the store for the build.
    pub(super) leases: Vec<Arc<Lease>>,
}

impl Contexts {
    /// Contexts that are all somebody else's.
    pub(super) fn of(outside: &Outside) -> Self {
        Contexts { given: outside.contexts.clone(), ..Contexts::default() }
    }

    /// Adds what `other` has and these have not.
    pub(super) fn add(&mut self, other: &Contexts) {
        let Contexts { folders, layers, given, names, leases } = other.clone();
        let mine = std::mem::take(self);
        self.folders = folders.into_iter().chain(mine.folders).collect();
        self.layers = layers.into_iter().chain(mine.layers).collect();
        self.names = names.into_iter().chain(mine.names).collect();
        self.leases = mine.leases;
        self.given = mine.given.or(given);
        self.leases.extend(leases);
    }
}

impl ContextSource for Contexts {
    fn directory(&self, name: &str) -> std::result::Result<PathBuf, SessionError> {
        self.folders.directory(name)
    }

    fn files(&self, wanted: &Wanted) -> std::result::Result<PathBuf, SessionError> {
        match &self.given {
            Some(given) if !self.folders.contains_key(&wanted.name) => {
                let name = self.names.get(&wanted.name).unwrap_or(&wanted.name).clone();
                given.files(&Wanted { name, ..wanted.clone() })
            }
            _ => self.directory(&wanted.name),
        }
    }

    fn layout(&self, store: &str, digest: &Digest) -> std::result::Result<PathBuf, SessionError> {
        match &self.given {
            Some(given) => given.layout(store, digest),
            None => Nothing.layout(store, digest),
        }
    }

    fn layers(&self, name: &str) -> Option<Layers> {
        self.layers.get(name).cloned()
    }
}

/// What the URL of a context is; nothing where it is none.
pub fn remote_source(url: &str) -> Option<SourceOp> {
    match (remote::is_git(url), remote::is_http(url)) {
        (true, _) => remote::git(url).ok(),
        (_, true) => Some(remote::http(url, DOWNLOADED)),
        (false, false) => None,
    }
}

/// The context of a build, ready to be read.
pub(super) struct Opened {
    /// Where its files are.
    pub(super) place: Place,
    /// The Dockerfile, where the context is nothing else.
    pub(super) dockerfile: Option<Vec<u8>>,
    /// Where it was fetched from.
    pub(super) origin: Option<Origin>,
    /// The context's time in seconds, where it was asked for and there is one.
    pub(super) time: Option<i64>,
}

/// Where a context's files are.
pub(super) enum Place {
    /// In a folder, read in place and through its ignore file.
    Folder(PathBuf),
    /// In the store.
    Layers(Layers),
    /// Where whoever asked has them, by the name that they have there.
    Given(String),
}

impl Place {
    /// Opens it for reading, as long as the value lives.
    pub(super) fn open(&self, engine: &Engine) -> Result<Reading> {
        match self {
            Place::Folder(path) => Ok(Reading { root: open_folder(path)?, _view: None }),
            Place::Layers(layers) => {
                let view = View::of(engine.store(), layers).map_err(|cause| failure::of_cause(&cause))?;
                let root = view.root().map_err(|cause| failure::of_cause(&cause))?;
                Ok(Reading { root, _view: Some(view) })
            }
            Place::Given(name) => Err(Error::invalid(format!("the context `{name}` is not here"))),
        }
    }
}

/// A context's root directory.
pub(super) struct Reading {
    pub(super) root: Root,
    _view: Option<View>,
}

/// Opens a folder; the error says what it is instead.
pub(super) fn open_folder(path: &Path) -> Result<Root> {
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => {}
        Ok(_) => return Err(Error::invalid(format!("the context `{}` is not a folder", path.display()))),
        Err(error) => {
            let shown = path.display().to_string();
            let new = Error::not_found(format!("cannot read the context `{shown}`")).caused_by(error);
            let hint = format!("a context is a folder, `.` the one at hand; `-t {shown}` names an image");
            // What is no path may have been meant as a name.
            return Err(if shown.contains('/') { new } else { new.with_hint(hint) });
        }
    }
    let failed = |error| Error::internal(format!("cannot read the context `{}`", path.display()), error);
    Root::open(path).map_err(failed)
}

impl Engine {
    /// Fetches or unpacks the context of a build.
    pub(super) async fn open_context(
        &self,
        request: &BuildRequest,
        progress: &Arc<dyn ProgressSink>,
    ) -> Result<Opened> {
        match &request.context {
            Context::Folder(path) => {
                open_folder(path)?;
                Ok(Opened { place: Place::Folder(path.clone()), dockerfile: None, origin: None, time: None })
            }
            Context::Given(name) => {
                Ok(Opened { place: Place::Given(name.clone()), dockerfile: None, origin: None, time: None })
            }
            Context::Remote(url) => self.open_remote(CONTEXT_STEP, url, request, progress).await,
            Context::Stream(input) => {
                let Some(reader) = input.take() else {
                    return Err(Error::invalid("the context on standard input was read already"));
                };
                let engine = self.clone();
                let opened = tokio::task::spawn_blocking(move || engine.open_stream(reader)).await;
                opened.map_err(|error| Error::internal("unpack the context", error))?
            }
        }
    }

    /// Fetches a repository or a download, as the step `number`.
    pub(super) async fn open_remote(
        &self,
        number: u32,
        url: &str,
        request: &BuildRequest,
        progress: &Arc<dyn ProgressSink>,
    ) -> Result<Opened> {
        let session = Session { contexts: Arc::new(Contexts::default()), ..super::session(request)? };
        let materials = session.materials.clone();
        if remote::is_git(url) || url.starts_with("github.com/") {
            let source = request.outside.decide(git(url, request)?)?;
            let name = format!("[internal] load git source {}", redact(url));
            let layers = self.fetch(number, &name, source.clone(), session, progress).await?;
            let (origin, place) = (Origin::of_source(&source, &materials), Place::Layers(layers));
            let time = self.time_of(&place, request)?;
            return Ok(Opened { place, dockerfile: None, origin, time });
        }
        let source = request.outside.decide(remote::http(url, DOWNLOADED))?;
        let step = (number, "[internal] load remote build context");
        let opened = self.download(step, source.clone(), session, request, progress).await?;
        Ok(Opened { origin: Origin::of_source(&source, &materials), ..opened })
    }

    /// The time of what a stage consists of.
    pub(super) async fn time_of_source(
        &self,
        number: u32,
        source: SourceOp,
        request: &BuildRequest,
        progress: &Arc<dyn ProgressSink>,
    ) -> Result<Option<i64>> {
        let session = Session { contexts: Arc::new(Contexts::default()), ..super::session(request)? };
        let mut source = request.outside.decide(source)?;
        match &mut source {
            SourceOp::Git { remote, times, .. } => {
                *times = GitTimes::Commit;
                let name = format!("[internal] load git source {}", redact(remote));
                let layers = self.fetch(number, &name, source, session, progress).await?;
                self.time_of(&Place::Layers(layers), request)
            }
            SourceOp::Http { url, filename, mode, owner, .. } => {
                (*filename, *mode, *owner) = (DOWNLOADED.to_owned(), None, None);
                let name = format!("[internal] load the time of {}", redact(url));
                Ok(self.download((number, &name), source, session, request, progress).await?.time)
            }
            _ => Ok(None),
        }
    }

    /// Downloads what may be an archive, as the step of this number and name.
    async fn download(
        &self,
        (number, name): (u32, &str),
        source: SourceOp,
        session: Session,
        request: &BuildRequest,
        progress: &Arc<dyn ProgressSink>,
    ) -> Result<Opened> {
        let layers = self.fetch(number, name, source, session, progress).await?;
        let engine = self.clone();
        let opened = tokio::task::spawn_blocking(move || engine.open_download(layers)).await;
        let mut opened = opened.map_err(|error| Error::internal("unpack the context", error))??;
        opened.time = match epoch::is_of_context(request) {
            false => None,
            // A server that says no time leaves that of the files in an archive.
            true if opened.time.is_none() && opened.dockerfile.is_none() => {
                self.time_of(&opened.place, request)?
            }
            true => opened.time,
        };
        Ok(opened)
    }

    /// The files of a source that is needed before there is a graph, shown as a step `name`.
    pub(super) async fn fetch(
        &self,
        number: u32,
        name: &str,
        source: SourceOp,
        session: Session,
        progress: &Arc<dyn ProgressSink>,
    ) -> Result<Layers> {
        let watcher = Arc::clone(progress);
        // A graph of its own, whose one step must not be taken for the first of the build.
        let renumber = move |event: Event| {
            watcher.event(Event { step: StepId(FIRST_INTERNAL + number), ..event });
        };
        let progress: Arc<dyn ProgressSink> = Arc::new(renumber);
        let fetched = self.builder().source(name, source, session, progress, CancellationToken::new()).await;
        let layers = fetched.map_err(failure::of_source)?;
        let unpacked = pull::unpack(&self.stores(), &layers, &Silent).await;
        unpacked.map_err(|cause| failure::of_cause(&cause))?;
        Ok(layers)
    }

    /// A download is a tar, or else a Dockerfile.
    fn open_download(&self, layers: Layers) -> Result<Opened> {
        let fail = |error: kiln_sys::Error| Error::internal("cannot read the downloaded context", error);
        let reading = Place::Layers(layers.clone()).open(self)?;
        let file = reading.root.open_file(DOWNLOADED).map_err(fail)?;
        let seconds = kiln_sys::fs::fstat(file.as_fd()).map_err(fail)?.mtime.seconds;
        let time = (seconds != 0).then_some(seconds);
        match self.open_stream(file)? {
            // The file itself can be copied then, as BuildKit has it.
            Opened { dockerfile: dockerfile @ Some(_), .. } => {
                Ok(Opened { place: Place::Layers(layers), dockerfile, origin: None, time })
            }
            opened => Ok(Opened { time, ..opened }),
        }
    }

    /// The time of the newest file of a context, where it was asked for.
    fn time_of(&self, place: &Place, request: &BuildRequest) -> Result<Option<i64>> {
        match epoch::is_of_context(request) {
            true => epoch::newest(&place.open(self)?.root),
            false => Ok(None),
        }
    }

    /// A stream is a tar, or else a Dockerfile.
    fn open_stream(&self, mut stream: impl Read) -> Result<Opened> {
        let fail = |error: std::io::Error| Error::invalid("cannot read the context").caused_by(error);
        let mut head = Vec::new();
        stream.by_ref().take(outside::HEAD as u64).read_to_end(&mut head).map_err(fail)?;
        let is_archive = is_archive(&head);
        let mut whole = head.as_slice().chain(stream);
        if !is_archive {
            let mut text = Vec::new();
            whole.take(MAX_SOURCE as u64 + 1).read_to_end(&mut text).map_err(fail)?;
            if text.len() > MAX_SOURCE {
                return Err(Error::invalid(format!(
                    "the context is no tar, and longer than {MAX_SOURCE} bytes"
                )));
            }
            let place = Place::Layers(Layers::scratch());
            return Ok(Opened { place, dockerfile: Some(text), origin: None, time: None });
        }
        let unpacked = outside::unpack(&self.stores(), &mut whole);
        let layers = unpacked.map_err(|cause| {
            let error = failure::of_cause(&cause);
            Error::invalid(format!("cannot unpack the context: {}", error.chain()))
        })?;
        Ok(Opened { place: Place::Layers(layers), dockerfile: None, origin: None, time: None })
    }
}

/// A repository as a context. Times are the commit's where the result's are to be reproducible.
fn git(url: &str, request: &BuildRequest) -> Result<SourceOp> {
    let url = if url.starts_with("github.com/") { format!("https://{url}") } else { url.to_owned() };
    let wrong = |reason| Error::invalid(format!("the context `{}`: {reason}", redact(&url)));
    let mut source = remote::git(&url).map_err(wrong)?;
    if let SourceOp::Git { keep_git_dir, times, .. } = &mut source {
        *keep_git_dir |=
            matches!(request.build_args.get(KEEP_GIT_DIR).map(String::as_str), Some("1" | "true"));
        if request.epoch.is_some() || epoch::is_of_context(request) {
            *times = GitTimes::Commit;
        }
    }
    Ok(source)
}
