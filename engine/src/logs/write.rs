//! Writing a log: output becomes lines, lines become JSON, and a file that is full makes room.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::{FILE, Line, OLDER};
use crate::attach::Stream;
use crate::containers::now;
use crate::{Error, Result};

/// A file of this size becomes the older one; so a log takes twice this at most.
const MAX_FILE: u64 = 64 << 20;
/// A longer line is kept in parts of this size, as Docker does.
const MAX_LINE: usize = 16 << 10;

/// A container's log, open for writing.
#[derive(Debug)]
pub(crate) struct LogWriter {
    directory: PathBuf,
    file: File,
    size: u64,
    max: u64,
    /// Lines whose end has not been written yet: standard output's and standard error's.
    partial: [Vec<u8>; 2],
}

impl LogWriter {
    pub(crate) fn open(directory: &Path) -> Result<LogWriter> {
        LogWriter::with_limit(directory, MAX_FILE)
    }

    fn with_limit(directory: &Path, max: u64) -> Result<LogWriter> {
        let failed = |error| Error::internal(format!("open the log in `{}`", directory.display()), error);
        let file = open(directory).map_err(failed)?;
        let size = file.metadata().map_err(failed)?.len();
        Ok(LogWriter { directory: directory.to_owned(), file, size, max, partial: Default::default() })
    }

    /// Adds output. A log that cannot be written loses lines; the container goes on.
    pub(crate) fn write(&mut self, stream: Stream, bytes: &[u8]) {
        let time = now();
        let mut text = Vec::new();
        let partial = &mut self.partial[slot(stream)];
        partial.extend_from_slice(bytes);
        while let Some(end) = line_end(partial) {
            encode(&mut text, stream, &partial[..end], &time);
            partial.drain(..end);
        }
        self.append(&text);
    }

    /// Writes what has no line end yet: nothing more comes.
    pub(crate) fn finish(&mut self) {
        let mut text = Vec::new();
        for stream in [Stream::Stdout, Stream::Stderr] {
            let rest = std::mem::take(&mut self.partial[slot(stream)]);
            if !rest.is_empty() {
                encode(&mut text, stream, &rest, &now());
            }
        }
        self.append(&text);
    }

    fn append(&mut self, text: &[u8]) {
        if text.is_empty() {
            return;
        }
        if self.size > 0 && self.size + text.len() as u64 > self.max {
            self.rotate();
        }
        if self.file.write_all(text).is_ok() {
            self.size += text.len() as u64;
        }
    }

    fn rotate(&mut self) {
        let renamed = std::fs::rename(self.directory.join(FILE), self.directory.join(OLDER));
        if let (Ok(()), Ok(file)) = (renamed, open(&self.directory)) {
            self.file = file;
            self.size = 0;
        }
    }
}

fn open(directory: &Path) -> std::io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o640).open(directory.join(FILE))
}

fn slot(stream: Stream) -> usize {
    match stream {
        Stream::Stdout => 0,
        Stream::Stderr => 1,
    }
}

/// Where the first line of `bytes` ends, if it is whole or too long to wait for the rest.
fn line_end(bytes: &[u8]) -> Option<usize> {
    let whole = bytes.iter().take(MAX_LINE).position(|byte| *byte == b'\n').map(|at| at + 1);
    whole.or((bytes.len() >= MAX_LINE).then_some(MAX_LINE))
}

fn encode(out: &mut Vec<u8>, stream: Stream, bytes: &[u8], time: &str) {
    let stream = match stream {
        Stream::Stdout => "stdout",
        Stream::Stderr => "stderr",
    };
    let log = String::from_utf8_lossy(bytes).into_owned();
    let line = Line { log, stream: stream.to_owned(), time: time.to_owned() };
    if serde_json::to_writer(&mut *out, &line).is_ok() {
        out.push(b'\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(path: &Path) -> Vec<(String, String)> {
        let text = std::fs::read_to_string(path).unwrap();
        text.lines()
            .map(|line| serde_json::from_str::<Line>(line).unwrap())
            .map(|line| (line.stream, line.log))
            .collect()
    }

    #[test]
    fn output_becomes_lines_of_their_stream() {
        let directory = tempfile::tempdir().unwrap();
        let mut log = LogWriter::open(directory.path()).unwrap();
        log.write(Stream::Stdout, b"one\ntw");
        log.write(Stream::Stderr, b"oh\n");
        log.write(Stream::Stdout, b"o\nthree");
        log.finish();
        let seen = lines(&directory.path().join(FILE));
        let expected = [("stdout", "one\n"), ("stderr", "oh\n"), ("stdout", "two\n"), ("stdout", "three")];
        assert_eq!(seen, expected.map(|(stream, text)| (stream.to_owned(), text.to_owned())));
    }

    #[test]
    fn long_lines_are_kept_in_parts() {
        let directory = tempfile::tempdir().unwrap();
        let mut log = LogWriter::open(directory.path()).unwrap();
        log.write(Stream::Stdout, &vec![b'x'; MAX_LINE + 1]);
        log.finish();
        let lengths: Vec<usize> =
            lines(&directory.path().join(FILE)).iter().map(|(_, text)| text.len()).collect();
        assert_eq!(lengths, [MAX_LINE, 1]);
    }

    #[test]
    fn a_full_file_makes_room() {
        let directory = tempfile::tempdir().unwrap();
        let mut log = LogWriter::with_limit(directory.path(), 200).unwrap();
        for number in 0..9 {
            log.write(Stream::Stdout, format!("{number}\n").as_bytes());
        }
        let newest = lines(&directory.path().join(FILE)).pop().unwrap().1;
        let oldest = lines(&directory.path().join(OLDER)).remove(0).1;
        assert_eq!((oldest.as_str(), newest.as_str()), ("6\n", "8\n"));
    }
}
