//! Dockerfiles as texts: their usual form, and what an editor asks about them.

mod rewrite;

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

pub use kiln_parser::diagnostic::excerpt;
pub use kiln_parser::edit::{
    Completion, CompletionKind, Document, Fix, Hover, Symbol, SymbolKind, complete, definition, fixes, hover,
    symbols,
};
pub use kiln_parser::format::{Rewrite, apply, rewrites};
pub use kiln_parser::source::MAX_SOURCE;
pub use kiln_parser::{Diagnostic, Severity, SourceFile, Span};
pub use rewrite::replace;

use crate::build::failure;
use crate::{Error, Result};

/// The page that explains a build check, where there is one.
pub fn rule_url(rule: &str) -> Option<&'static str> {
    kiln_parser::lint::rule(rule)?.url
}

/// The names of a Dockerfile in a folder, the first that is there counts.
pub(crate) const NAMES: [&str; 3] = ["Dockerfile", "dockerfile", "Containerfile"];

/// The Dockerfile of a folder.
pub fn find(folder: &Path) -> Result<PathBuf> {
    let mut paths = NAMES.iter().map(|name| folder.join(name));
    paths.find(|path| path.is_file()).ok_or_else(|| {
        Error::not_found(format!("there is no Dockerfile in `{}`", folder.display()))
            .with_hint(format!("a file that is not called `{}` has to be named", NAMES.join("` or `")))
    })
}

/// Reads a Dockerfile that is to be rewritten, so it must be text to its last byte.
pub fn read(path: &Path) -> Result<SourceFile> {
    let Some(bytes) = read_limited(path, MAX_SOURCE)? else {
        return Err(Error::not_found(format!("there is no file `{}`", path.display())));
    };
    of_bytes(path.display().to_string(), bytes)
}

/// The same for bytes that came from somewhere else.
pub fn of_bytes(name: String, bytes: Vec<u8>) -> Result<SourceFile> {
    match String::from_utf8(bytes) {
        Ok(text) => Ok(SourceFile::new(name, text)),
        Err(error) => Err(Error::invalid(format!("`{name}` is not UTF-8")).caused_by(error.utf8_error())),
    }
}

/// What has to change for the usual form; mistakes in the file are an error with their lines.
pub fn format(source: &SourceFile) -> Result<Vec<Rewrite>> {
    rewrites(source).map_err(|errors| failure::of_diagnostics(&errors, source))
}

/// A file's bytes; `None` where there is none.
fn read_limited(path: &Path, limit: usize) -> Result<Option<Vec<u8>>> {
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
    use super::*;

    #[test]
    fn a_folder_has_one_dockerfile() {
        let dir = tempfile::tempdir().unwrap();
        assert!(find(dir.path()).unwrap_err().hint.is_some());
        std::fs::write(dir.path().join("Containerfile"), "FROM a").unwrap();
        assert!(find(dir.path()).unwrap().ends_with("Containerfile"));
        std::fs::write(dir.path().join("Dockerfile"), "FROM a").unwrap();
        assert!(find(dir.path()).unwrap().ends_with("Dockerfile"));
    }

    #[test]
    fn what_cannot_be_rewritten_whole_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("Dockerfile");
        assert!(read(&path).is_err());
        std::fs::write(&path, b"FROM a\n# \xff\n").unwrap();
        assert!(read(&path).unwrap_err().message.ends_with("is not UTF-8"));
        std::fs::write(&path, "FROM a\nRUNN\n").unwrap();
        assert!(format(&read(&path).unwrap()).unwrap_err().detail.unwrap().contains(">>> RUNN"));
    }
}
