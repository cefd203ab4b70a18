//! Files that appear whole or not at all.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// Where `path` is written: a new file beside it that takes its place in the end, or what is there already and no plain file.
///
/// A device, a pipe and `/dev/stdout` are written to as they are. A new file in their place would take them from everybody:
/// root can put one where `/dev/null` was.
#[derive(Debug)]
pub struct WholeFile {
    path: PathBuf,
    /// The new file, until it has its name.
    part: Option<PathBuf>,
}

impl WholeFile {
    /// Opens what is to be written. Fails where the folder is missing or not writable.
    pub fn create(path: &Path) -> io::Result<(WholeFile, File)> {
        let is_other = fs::symlink_metadata(path).is_ok_and(|there| !there.is_file());
        if is_other {
            let file = File::options().write(true).truncate(true).open(path)?;
            return Ok((WholeFile { path: path.to_owned(), part: None }, file));
        }
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}.part", std::process::id()));
        let part = path.with_file_name(name);
        // What a crashed process of the same number left behind. A link that somebody put there is not followed.
        let _ = fs::remove_file(&part);
        let file = File::create_new(&part)?;
        Ok((WholeFile { path: path.to_owned(), part: Some(part) }, file))
    }

    /// Gives the file its name. Without this the new file is removed.
    pub fn finish(mut self) -> io::Result<()> {
        let Some(part) = self.part.take() else { return Ok(()) };
        fs::rename(&part, &self.path).inspect_err(|_| self.part = Some(part))
    }
}

impl Drop for WholeFile {
    fn drop(&mut self) {
        if let Some(part) = &self.part {
            // There is nobody to tell any more.
            let _ = fs::remove_file(part);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    fn write(path: &Path, text: &str) -> WholeFile {
        let (whole, mut file) = WholeFile::create(path).unwrap();
        file.write_all(text.as_bytes()).unwrap();
        whole
    }

    #[test]
    fn a_file_appears_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out");
        drop(write(&path, "half"));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        write(&path, "first").finish().unwrap();
        let second = write(&path, "second");
        assert_eq!(fs::read(&path).unwrap(), b"first");
        second.finish().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"second");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_is_no_plain_file_stays_what_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("target"), "longer than that").unwrap();
        std::os::unix::fs::symlink("target", at("link")).unwrap();
        write(&at("link"), "text").finish().unwrap();
        assert_eq!(fs::read(at("target")).unwrap(), b"text");
        assert!(at("link").is_symlink());

        rustix::fs::mknodat(
            rustix::fs::CWD,
            at("pipe"),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::from_raw_mode(0o600),
            0,
        )
        .unwrap();
        let pipe = at("pipe");
        let reader = std::thread::spawn(move || {
            let mut text = String::new();
            File::open(pipe).unwrap().read_to_string(&mut text).map(|_| text)
        });
        write(&at("pipe"), "through the pipe").finish().unwrap();
        assert_eq!(reader.join().unwrap().unwrap(), "through the pipe");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3);
    }
}
