//! A reader that vouches for the digest and size of what it read.

use std::io::{self, Read};

use crate::{Descriptor, Digest, Digester};

/// Why content is not what its descriptor says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// The content ended early.
    #[error("`{digest}` has {actual} bytes, not the {expected} of its descriptor")]
    TooShort {
        /// The content's name.
        digest: Digest,
        /// Its length by its descriptor.
        expected: u64,
        /// Its length in truth.
        actual: u64,
    },
    /// The content goes on after its end.
    #[error("`{digest}` is longer than the {expected} bytes of its descriptor")]
    TooLong {
        /// The content's name.
        digest: Digest,
        /// Its length by its descriptor.
        expected: u64,
    },
    /// The content has another digest.
    #[error("content has the digest `{actual}`, not `{expected}`")]
    Digest {
        /// The digest asked for.
        expected: Digest,
        /// The digest of what came.
        actual: Digest,
    },
}

impl From<VerifyError> for io::Error {
    fn from(error: VerifyError) -> Self {
        io::Error::new(io::ErrorKind::InvalidData, error)
    }
}

/// Counts and hashes bytes on their way, and compares at the end.
#[derive(Debug)]
pub struct Verifier {
    expected: Digest,
    size: u64,
    seen: u64,
    digester: Option<Digester>,
}

impl Verifier {
    /// A verifier of content named `expected` that is `size` bytes long.
    pub fn new(expected: &Digest, size: u64) -> Self {
        let digester = Digester::new(expected.algorithm());
        Verifier { expected: expected.clone(), size, seen: 0, digester: Some(digester) }
    }

    /// A verifier of the size only, for bytes that are hashed elsewhere.
    pub fn of_size(expected: &Digest, size: u64) -> Self {
        Verifier { expected: expected.clone(), size, seen: 0, digester: None }
    }

    /// How many bytes it has seen.
    pub fn seen(&self) -> u64 {
        self.seen
    }

    /// Takes in more bytes; fails as soon as there are too many.
    pub fn update(&mut self, bytes: &[u8]) -> Result<(), VerifyError> {
        if bytes.len() as u64 > self.size - self.seen {
            return Err(VerifyError::TooLong { digest: self.expected.clone(), expected: self.size });
        }
        self.seen += bytes.len() as u64;
        if let Some(digester) = &mut self.digester {
            digester.update(bytes);
        }
        Ok(())
    }

    /// Compares, once all is in.
    pub fn finish(self) -> Result<(), VerifyError> {
        if self.seen != self.size {
            return Err(VerifyError::TooShort {
                digest: self.expected,
                expected: self.size,
                actual: self.seen,
            });
        }
        match self.digester.map(Digester::finish) {
            Some(actual) if actual != self.expected => {
                Err(VerifyError::Digest { expected: self.expected, actual })
            }
            _ => Ok(()),
        }
    }
}

/// Whether `bytes` are what `descriptor` describes.
pub fn verify(bytes: &[u8], descriptor: &Descriptor) -> Result<(), VerifyError> {
    let mut verifier = Verifier::new(&descriptor.digest, descriptor.size);
    verifier.update(bytes)?;
    verifier.finish()
}

/// Reads through, and fails at the end where digest or size differ, or before it where there is too much.
///
/// Whoever uses the bytes before the end has reached `Ok(0)` uses unverified bytes.
#[derive(Debug)]
pub struct VerifyReader<R> {
    inner: R,
    verifier: Option<Verifier>,
}

impl<R: Read> VerifyReader<R> {
    /// A reader of `inner`, whose content must have this digest and size.
    pub fn new(inner: R, digest: &Digest, size: u64) -> Self {
        VerifyReader { inner, verifier: Some(Verifier::new(digest, size)) }
    }

    /// Reads the rest away, so that the whole content is verified.
    pub fn drain(&mut self) -> io::Result<()> {
        io::copy(self, &mut io::sink()).map(drop)
    }
}

impl<R: Read> Read for VerifyReader<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        let Some(verifier) = &mut self.verifier else { return Ok(0) };
        let n = self.inner.read(buf)?;
        if n > 0 {
            verifier.update(&buf[..n])?;
        } else if let Some(verifier) = self.verifier.take() {
            verifier.finish()?;
        }
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(content: &[u8], digest: &Digest, size: u64) -> Result<Vec<u8>, String> {
        let mut out = Vec::new();
        match VerifyReader::new(content, digest, size).read_to_end(&mut out) {
            Ok(_) => Ok(out),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn honest_content_passes() {
        assert_eq!(read(b"hello", &Digest::of(b"hello"), 5).unwrap(), b"hello");
        assert_eq!(read(b"", &Digest::of(b""), 0).unwrap(), b"");
    }

    #[test]
    fn lies_are_named() {
        let digest = Digest::of(b"hello");
        assert!(read(b"hello", &digest, 6).unwrap_err().contains("has 5 bytes, not the 6"));
        assert!(read(b"hello", &digest, 4).unwrap_err().contains("longer than the 4 bytes"));
        assert!(read(b"hellO", &digest, 5).unwrap_err().contains("has the digest"));
        assert!(read(b"", &digest, u64::MAX).unwrap_err().contains("has 0 bytes"));
    }

    #[test]
    fn too_long_stops_early() {
        let digest = Digest::of(b"x");
        let mut reader = VerifyReader::new(io::repeat(b'x'), &digest, 1);
        assert!(io::copy(&mut reader, &mut io::sink()).is_err());
    }
}
