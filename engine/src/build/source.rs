//! The Dockerfile and the `.dockerignore` that goes with it, read from the disk.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use kiln_parser::SourceFile;
use kiln_parser::ignore::{self, MAX_IGNORE_FILE};
use kiln_parser::source::MAX_SOURCE;

use super::BuildRequest;
use super::bases::Internal;
use crate::progress::ProgressSink;
use crate::{Error, Result};

/// What a build is described by.
pub(super) struct Source {
    pub(super) file: SourceFile,
    /// The lines of the ignore file.
    pub(super) ignore: Vec<String>,
}

/// Reads both, as one step that is seen.
pub(super) fn read(request: &BuildRequest, progress: &dyn ProgressSink) -> Result<Source> {
    check_context(&request.context)?;
    let path = dockerfile_path(request);
    let name = display_name(&path, &request.context);
    let step = Internal::start(progress, 0, format!("[internal] load build definition from {name}"));
    let Some(bytes) = read_limited(&path, MAX_SOURCE)? else {
        return Err(Error::not_found(format!("there is no Dockerfile at `{}`", path.display()))
            .with_hint("`-f` names another one; the last argument is the context folder"));
    };
    step.done();
    let ignore = read_ignore(&path, &request.context)?;
    Ok(Source { file: SourceFile::from_bytes(name, &bytes), ignore })
}

fn check_context(context: &Path) -> Result<()> {
    match std::fs::metadata(context) {
        Ok(metadata) if metadata.is_dir() => Ok(()),
        Ok(_) => Err(Error::invalid(format!("the context `{}` is not a folder", context.display()))),
        Err(error) => {
            Err(Error::not_found(format!("cannot read the context `{}`", context.display())).caused_by(error))
        }
    }
}

fn dockerfile_path(request: &BuildRequest) -> PathBuf {
    match &request.dockerfile {
        Some(path) => path.clone(),
        None => request.context.join("Dockerfile"),
    }
}

/// As short as it is clear: relative to the context where it is inside.
fn display_name(path: &Path, context: &Path) -> String {
    path.strip_prefix(context).unwrap_or(path).display().to_string()
}

/// `<Dockerfile>.dockerignore` beside the Dockerfile, else `.dockerignore` in the context.
fn read_ignore(dockerfile: &Path, context: &Path) -> Result<Vec<String>> {
    let mut own = dockerfile.as_os_str().to_owned();
    own.push(".dockerignore");
    for path in [PathBuf::from(own), context.join(".dockerignore")] {
        if let Some(bytes) = read_limited(&path, MAX_IGNORE_FILE)? {
            ignore::IgnoreFile::parse(&bytes)
                .map_err(|error| Error::invalid(format!("`{}`: {error}", path.display())))?;
            return Ok(ignore::lines(&bytes));
        }
    }
    Ok(Vec::new())
}

/// A file's bytes; `None` where there is none.
pub(crate) fn read_limited(path: &Path, limit: usize) -> Result<Option<Vec<u8>>> {
    let fail =
        |error: std::io::Error| Error::invalid(format!("cannot read `{}`", path.display())).caused_by(error);
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(fail(error)),
    };
    if !file.metadata().map_err(fail)?.is_file() {
        return Err(Error::invalid(format!("`{}` is not a file", path.display())));
    }
    let mut bytes = Vec::new();
    file.take(limit as u64 + 1).read_to_end(&mut bytes).map_err(fail)?;
    if bytes.len() > limit {
        return Err(Error::invalid(format!("`{}` is larger than {limit} bytes", path.display())));
    }
    Ok(Some(bytes))
}

#[cfg(test)]
mod tests {
    use kiln_builder::Silent;

    use super::*;

    fn request(context: &Path) -> BuildRequest {
        BuildRequest { context: context.to_owned(), ..BuildRequest::default() }
    }

    #[test]
    fn the_ignore_file_beside_the_dockerfile_wins() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        write("Dockerfile", "FROM scratch\n");
        write(".dockerignore", "a\n");
        let source = read(&request(dir.path()), &Silent).unwrap();
        assert_eq!((source.file.name(), source.ignore), ("Dockerfile", vec!["a".to_owned()]));
        write("Dockerfile.dockerignore", "b\n");
        assert_eq!(read(&request(dir.path()), &Silent).unwrap().ignore, ["b"]);
    }

    #[test]
    fn what_is_missing_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let why = |context: &Path| read(&request(context), &Silent).map(drop).unwrap_err().message;
        assert!(why(dir.path()).ends_with("/Dockerfile`"), "{}", why(dir.path()));
        assert!(why(&dir.path().join("nowhere")).starts_with("cannot read the context"));
        std::fs::create_dir(dir.path().join("Dockerfile")).unwrap();
        assert!(why(dir.path()).ends_with("is not a file"));
    }
}
