//! The Dockerfile and the ignore file that goes with it.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kiln_builder::Session;
use kiln_graph::url::redact;
use kiln_parser::ignore::{self, MAX_IGNORE_FILE};
use kiln_parser::source::MAX_SOURCE;
use kiln_parser::{NamedContexts, SourceFile, remote};
use kiln_sys::fs::Root;

use super::bases::Internal;
use super::contexts::{CONTEXT_STEP, Contexts, DOWNLOADED, Opened, Place, open_folder};
use super::given;
use super::input::{Context, Input};
use super::outside::Outside;
use super::{BuildRequest, Origin, epoch};
use crate::dockerfile::NAMES;
use crate::progress::ProgressSink;
use crate::{Engine, Error, Result};

/// Names of the ignore file in a context, and what they are called beside a Dockerfile.
pub(super) const IGNORE_FILES: [&str; 2] = [".dockerignore", ".containerignore"];

/// What a build is described by.
#[expect(missing_debug_implementations, reason = "it holds the contexts of others")]
pub struct Source {
    pub(super) file: SourceFile,
    /// The lines of the ignore file.
    pub(super) ignore: Vec<String>,
    /// Where the build's files are.
    pub(super) contexts: Contexts,
    /// What stands in for stages and images.
    pub(super) named: NamedContexts,
    /// Where the context was fetched from.
    pub(super) origin: Option<Origin>,
    /// The context's time in seconds, where it was asked for and there is one.
    pub(super) time: Option<i64>,
}

/// A Dockerfile that was found.
pub(super) struct Found {
    /// As people know it.
    pub(super) name: String,
    bytes: Vec<u8>,
    /// What is ignored by the file beside it, if there is one.
    pub(super) ignore: Option<Vec<String>>,
}

impl Engine {
    /// Opens the context and reads both files, as one step that is seen.
    pub(super) async fn source(
        &self,
        request: &BuildRequest,
        progress: &Arc<dyn ProgressSink>,
    ) -> Result<Source> {
        request.outside.check(request)?;
        let Opened { place, dockerfile, origin, time } = self.open_context(request, progress).await?;
        let time = match epoch::named(request) {
            Some(url) if remote::is_git(url) || remote::is_http(url) => {
                self.open_remote(CONTEXT_STEP + 2, url, request, progress).await?.time
            }
            Some(_) => None,
            None => time,
        };
        let shown = display_name(request);
        let step =
            Internal::start(progress.as_ref(), 0, format!("[internal] load build definition from {shown}"));
        let found = step.end(self.found(request, &place, dockerfile, shown, progress).await)?;
        let ignore = match (&place, found.ignore) {
            // Whoever sends files has left out what is not needed.
            (Place::Layers(_), _) => Vec::new(),
            (Place::Folder(_) | Place::Given(_), Some(ignore)) => ignore,
            (Place::Given(context), None) => given::ignore(&request.outside, context).await?,
            (Place::Folder(folder), None) => {
                let names = IGNORE_FILES.map(str::to_owned);
                read_ignore(&open_folder(folder)?, folder, &names)?.unwrap_or_default()
            }
        };
        let file = SourceFile::from_bytes(found.name, &found.bytes);
        let mut contexts = contexts(place, &request.outside);
        let named = match request.outside.contexts.is_some() {
            true => self.given_contexts(request, &mut contexts).await?,
            false => self.named_contexts(&request.named_contexts, &mut contexts)?,
        };
        let time = match epoch::of_stage(request, &file, &named)? {
            Some(source) => self.time_of_source(CONTEXT_STEP + 2, source, request, progress).await?,
            None => time,
        };
        Ok(Source { file, ignore, contexts, named, origin, time })
    }

    /// The Dockerfile; `given` where the context brought it, which people know as `shown`.
    async fn found(
        &self,
        request: &BuildRequest,
        place: &Place,
        given: Option<Vec<u8>>,
        shown: String,
        progress: &Arc<dyn ProgressSink>,
    ) -> Result<Found> {
        match (given, given_dockerfile(request), remote_dockerfile(request)) {
            (Some(_), ..) if request.dockerfile.is_some() || request.dockerfile_input.is_some() => {
                Err(Error::invalid("the context is a Dockerfile, and `-f` names another one"))
            }
            (Some(bytes), ..) => Ok(Found { name: shown, bytes, ignore: None }),
            (None, Some(context), _) => {
                given::dockerfile(&request.outside, context, &wanted_name(request)).await
            }
            (None, None, Some(url)) => self.download_dockerfile(url, request, progress).await,
            (None, None, None) => self.dockerfile(request, place),
        }
    }

    /// The Dockerfile of `-f URL`. No ignore file goes with it but the context's.
    async fn download_dockerfile(
        &self,
        url: &str,
        request: &BuildRequest,
        progress: &Arc<dyn ProgressSink>,
    ) -> Result<Found> {
        let session = Session { contexts: Arc::new(Contexts::default()), ..super::session(request)? };
        let name = format!("[internal] load remote Dockerfile {}", redact(url));
        let source = request.outside.decide(remote::http(url, DOWNLOADED))?;
        let layers = self.fetch(CONTEXT_STEP + 1, &name, source, session, progress).await?;
        let reading = Place::Layers(layers).open(self)?;
        let bytes = read_beneath(&reading.root, Path::new(""), Path::new(DOWNLOADED), MAX_SOURCE)?;
        let bytes =
            bytes.ok_or_else(|| Error::not_found(format!("there is no Dockerfile at `{}`", redact(url))))?;
        Ok(Found { name: redact(url), bytes, ignore: None })
    }

    fn dockerfile(&self, request: &BuildRequest, place: &Place) -> Result<Found> {
        if let Some(input) = &request.dockerfile_input {
            return Ok(Found { name: display_name(request), bytes: read_input(input)?, ignore: None });
        }
        let reading = place.open(self)?;
        match (&request.dockerfile, place) {
            (None, Place::Folder(folder)) => read(&reading.root, folder, Path::new(""), &NAMES),
            (None, Place::Layers(_) | Place::Given(_)) => {
                read(&reading.root, Path::new(""), Path::new(""), &NAMES)
            }
            (Some(path), Place::Layers(_)) if path.is_relative() || request.outside.contexts.is_some() => {
                let path = path.strip_prefix("/").unwrap_or(path);
                let (folder, names) = split(path);
                read(&reading.root, Path::new(""), folder, &borrowed(&names))
            }
            (Some(path), _) => {
                // A Dockerfile may be outside the context; a link in its folder does not lead out of that.
                let (folder, names) = split(path);
                let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
                let root = Root::open(folder).map_err(|error| match error.is_not_found() {
                    true => missing(path),
                    false => missing(path).caused_by(error),
                })?;
                let found = read(&root, folder, Path::new(""), &borrowed(&names))?;
                let inside = match &request.context {
                    Context::Folder(context) => path.strip_prefix(context).unwrap_or(path),
                    _ => path,
                };
                Ok(Found { name: inside.display().to_string(), ..found })
            }
        }
    }
}

/// The context of whoever asked that has the Dockerfile.
fn given_dockerfile(request: &BuildRequest) -> Option<&str> {
    request.outside.contexts.as_ref()?;
    let own = match &request.context {
        Context::Given(name) => Some(name.as_str()),
        _ => None,
    };
    request.outside.dockerfile.as_deref().or(own).filter(|_| request.dockerfile_input.is_none())
}

/// The Dockerfile's path in its context.
fn wanted_name(request: &BuildRequest) -> PathBuf {
    request.dockerfile.clone().unwrap_or_else(|| NAMES[0].into())
}

/// The URL that is given as the Dockerfile; a file of that name comes first.
fn remote_dockerfile(request: &BuildRequest) -> Option<&str> {
    if request.outside.contexts.is_some() {
        return None;
    }
    let path = request.dockerfile.as_deref().filter(|path| !path.exists())?;
    path.to_str().filter(|text| remote::is_http(text))
}

/// The first of `names` in `folder` beneath `root`, and the ignore file of its own.
pub(super) fn read(root: &Root, shown_root: &Path, folder: &Path, names: &[&str]) -> Result<Found> {
    for name in names {
        let path = folder.join(name);
        let Some(bytes) = read_beneath(root, shown_root, &path, MAX_SOURCE)? else { continue };
        let own = IGNORE_FILES.map(|suffix| format!("{}{suffix}", path.display()));
        let ignore = read_ignore(root, shown_root, &own)?;
        return Ok(Found { name: path.display().to_string(), bytes, ignore });
    }
    let error = missing(&shown_root.join(folder).join(names.first().unwrap_or(&"")));
    Err(match look_alikes(root, folder) {
        Some(others) => error.with_hint(format!("there is `{others}`: `-f` names it")),
        None => error,
    })
}

/// Files of a folder that look like Dockerfiles.
fn look_alikes(root: &Root, folder: &Path) -> Option<String> {
    const SHOWN: usize = 3;
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let dir = root.open_dir(folder).ok()?;
    let entries = kiln_sys::fs::read_dir(std::os::fd::AsFd::as_fd(&dir)).ok()?.into_iter();
    let names = entries.filter_map(|entry| entry.name.into_string().ok());
    let is_like = |name: &String| {
        let name = name.to_lowercase();
        name.contains("dockerfile") && !name.ends_with(".dockerignore")
    };
    let mut names: Vec<String> = names.filter(is_like).collect();
    names.sort();
    names.truncate(SHOWN);
    (!names.is_empty()).then(|| names.join("`, `"))
}

/// `-f DIR/NAME`; `Dockerfile` may be written in lower case.
pub(super) fn split(path: &Path) -> (&Path, Vec<String>) {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let lower = (name == NAMES[0]).then(|| NAMES[1].to_owned());
    (path.parent().unwrap_or(Path::new("")), [name].into_iter().chain(lower).collect())
}

pub(super) fn borrowed(names: &[String]) -> Vec<&str> {
    names.iter().map(String::as_str).collect()
}

fn missing(path: &Path) -> Error {
    Error::not_found(format!("there is no Dockerfile at `{}`", path.display())).with_hint(
        "`-f` names another one, from the folder at hand on; the last argument is the context folder",
    )
}

/// As short as it is clear: relative to the context where it is inside.
fn display_name(request: &BuildRequest) -> String {
    let inside = |path: &PathBuf| match &request.context {
        Context::Folder(context) => path.strip_prefix(context).unwrap_or(path).display().to_string(),
        _ => path.display().to_string(),
    };
    match (&request.dockerfile, &request.context) {
        _ if request.dockerfile_input.is_some() => "standard input".to_owned(),
        (Some(path), _) => remote_dockerfile(request).map_or_else(|| inside(path), redact),
        (None, Context::Remote(url)) => redact(url),
        (None, Context::Stream(_)) => "standard input".to_owned(),
        (None, Context::Folder(_) | Context::Given(_)) => NAMES[0].to_owned(),
    }
}

/// The lines of the first ignore file that is there.
pub(super) fn read_ignore(root: &Root, shown_root: &Path, names: &[String]) -> Result<Option<Vec<String>>> {
    for name in names {
        let Some(bytes) = read_beneath(root, shown_root, Path::new(name), MAX_IGNORE_FILE)? else { continue };
        let shown = shown_root.join(name);
        ignore::IgnoreFile::parse(&bytes)
            .map_err(|error| Error::invalid(format!("`{}`: {error}", shown.display())))?;
        return Ok(Some(ignore::lines(&bytes)));
    }
    Ok(None)
}

/// A file's bytes; `None` where there is none. A link that leads out of the root is an error: it would read a file of
/// this machine for whoever wrote the context.
fn read_beneath(root: &Root, shown_root: &Path, path: &Path, limit: usize) -> Result<Option<Vec<u8>>> {
    let shown = shown_root.join(path);
    match root.read_limited(path, limit as u64) {
        Ok(Some(bytes)) => Ok(Some(bytes)),
        Ok(None) if is_link(root, path) => {
            Err(Error::invalid(format!("`{}` is a link to nothing inside of its folder", shown.display()))
                .with_hint("a link that leads out of the folder is not followed: copy the file"))
        }
        Ok(None) => Ok(None),
        Err(_) if root.open_dir(path).is_ok() => {
            Err(Error::invalid(format!("`{}` is a folder, not a file", shown.display())))
        }
        Err(error) => Err(Error::invalid(format!("cannot read `{}`", shown.display())).caused_by(error)),
    }
}

fn is_link(root: &Root, path: &Path) -> bool {
    root.parent_of(path).is_ok_and(|(dir, name)| {
        kiln_sys::fs::statat(std::os::fd::AsFd::as_fd(&dir), name).is_ok_and(|stat| stat.is_symlink())
    })
}

fn read_input(input: &Input) -> Result<Vec<u8>> {
    let fail = |error: std::io::Error| {
        Error::invalid("cannot read the Dockerfile from standard input").caused_by(error)
    };
    let Some(reader) = input.take() else {
        return Err(Error::invalid("the Dockerfile on standard input was read already"));
    };
    let mut bytes = Vec::new();
    reader.take(MAX_SOURCE as u64 + 1).read_to_end(&mut bytes).map_err(fail)?;
    match bytes.len() > MAX_SOURCE {
        true => Err(Error::invalid(format!("the Dockerfile is larger than {MAX_SOURCE} bytes"))),
        false => Ok(bytes),
    }
}

fn contexts(place: Place, outside: &Outside) -> Contexts {
    let mut contexts = Contexts::of(outside);
    let name = "context".to_owned();
    match place {
        Place::Folder(path) => {
            let path = path.canonicalize().unwrap_or(path);
            drop(contexts.folders.insert(name, path));
        }
        Place::Layers(layers) => drop(contexts.layers.insert(name, layers)),
        Place::Given(there) => drop(contexts.names.insert(name, there)),
    }
    contexts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> (tempfile::TempDir, Root) {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        let root = Root::open(dir.path()).unwrap();
        (dir, root)
    }

    fn found(root: &Root, names: &[&str]) -> Result<(String, Option<Vec<String>>)> {
        read(root, Path::new("c"), Path::new(""), names).map(|found| (found.name, found.ignore))
    }

    #[test]
    fn the_dockerfile_goes_by_several_names() {
        let lines = |text: &str| Some(vec![text.to_owned()]);
        let (dir, root) = folder(&[("Containerfile", ""), ("Containerfile.containerignore", "c")]);
        assert_eq!(found(&root, &NAMES).unwrap(), ("Containerfile".to_owned(), lines("c")));
        std::fs::write(dir.path().join("dockerfile"), "").unwrap();
        assert_eq!(found(&root, &NAMES).unwrap(), ("dockerfile".to_owned(), None));
        std::fs::write(dir.path().join("Dockerfile"), "").unwrap();
        std::fs::write(dir.path().join("Dockerfile.dockerignore"), "d").unwrap();
        assert_eq!(found(&root, &NAMES).unwrap(), ("Dockerfile".to_owned(), lines("d")));
    }

    #[test]
    fn links_stay_inside_and_what_is_missing_is_named() {
        let (dir, root) = folder(&[("real", "")]);
        let why = |names: &[&str]| found(&root, names).unwrap_err().message;
        assert_eq!(why(&["Dockerfile"]), "there is no Dockerfile at `c/Dockerfile`");
        for (name, target) in [("absolute", "/etc/passwd"), ("up", "../../../../../../etc/passwd")] {
            std::os::unix::fs::symlink(target, dir.path().join(name)).unwrap();
            assert_eq!(why(&[name]), format!("`c/{name}` is a link to nothing inside of its folder"));
        }
        std::os::unix::fs::symlink("real", dir.path().join("link")).unwrap();
        assert_eq!(found(&root, &["link"]).unwrap().0, "link");
        std::fs::create_dir(dir.path().join("folder")).unwrap();
        assert_eq!(why(&["folder"]), "`c/folder` is a folder, not a file");
    }

    #[test]
    fn a_name_may_be_in_lower_case() {
        assert_eq!(
            split(Path::new("a/Dockerfile")),
            (Path::new("a"), vec!["Dockerfile".into(), "dockerfile".into()])
        );
        assert_eq!(split(Path::new("x.Dockerfile")), (Path::new(""), vec!["x.Dockerfile".to_owned()]));
    }
}
