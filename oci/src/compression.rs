//! Compression of layers: a reader that finds out what it reads, and writers whose output never varies.

mod cut;
mod gunzip;
mod gzip;
mod member;
mod packing;
mod xz;
mod zstd;

use std::io::{self, BufRead, Chain, Cursor, Read};

use bzip2::bufread::MultiBzDecoder;

use crate::Compression;
use gunzip::Gunzip;

pub use gzip::{GzipWriter, Members};
pub use member::{Member, members};
pub use packing::{LevelError, Packer, Packing};
pub use zstd::ZstdWriter;

/// The most bytes that a reader produces, unless it is told otherwise.
pub const MAX_TOTAL: u64 = 256 << 30;
/// The most bytes that a reader produces from one byte, once it has produced `RATIO_FREE`.
pub const MAX_RATIO: u64 = 1000;
/// So much may be produced whatever the ratio: small files of zeros are no attack.
pub const RATIO_FREE: u64 = 64 << 20;

const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
const BZIP2_MAGIC: [u8; 3] = *b"BZh";
const XZ_MAGIC: [u8; 6] = *b"\xfd7zXZ\0";
const PEEK: u64 = 6;

/// What a decompressing reader may produce before it gives up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The most bytes in all.
    pub total: u64,
    /// The most bytes from one byte, after the first `RATIO_FREE`.
    pub ratio: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { total: MAX_TOTAL, ratio: MAX_RATIO }
    }
}

/// The content would be larger than allowed when decompressed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("decompression limit reached: {produced} bytes came out of {consumed}")]
pub struct LimitError {
    /// Bytes produced so far.
    pub produced: u64,
    /// Bytes read for them.
    pub consumed: u64,
}

/// Reads `inner` decompressed, whatever of gzip, zstd or nothing it is compressed with.
pub fn decompress<R: BufRead>(inner: R) -> Reader<R> {
    decompress_within(inner, Limits::default())
}

/// Reads `inner` decompressed on all cores as far as that can be, for content that is held against its digest afterwards:
/// only that tells gzip members with something hidden in them, which others would read as content.
pub fn decompress_verified<R: BufRead>(inner: R) -> Reader<R> {
    Reader { known: Known::VerifiedLayers, ..decompress(inner) }
}

/// Reads `inner` decompressed within `limits`.
pub fn decompress_within<R: BufRead>(inner: R, limits: Limits) -> Reader<R> {
    Reader { format: Format::Unknown(Some(inner)), known: Known::Layers, limits, produced: 0 }
}

/// Reads `inner` decompressed, whatever archives that people pack come in: bzip2 and xz too, which no layer is.
pub fn decompress_archive<R: BufRead>(inner: R) -> Reader<R> {
    let limits = Limits::default();
    Reader { format: Format::Unknown(Some(inner)), known: Known::Archives, limits, produced: 0 }
}

/// A reader of decompressed bytes; the first read looks at the first bytes to see what it reads.
///
/// The end is reached only when the whole of the input has been read: trailing bytes after gzip data are an error
/// unless they are zeros, so that two readers never see two contents in the same bytes; but see [`decompress_verified`].
pub struct Reader<R: BufRead> {
    format: Format<R>,
    known: Known,
    limits: Limits,
    produced: u64,
}

/// Which formats are looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    Layers,
    VerifiedLayers,
    Archives,
}

/// The bytes that were looked at, in front of the rest, counted.
type Source<R> = Counting<Chain<Cursor<Vec<u8>>, R>>;

enum Format<R: BufRead> {
    Unknown(Option<R>),
    Plain(Source<R>),
    Gzip(Box<Gunzip<Source<R>>>),
    Zstd(Box<zstd::Decoder<Source<R>>>),
    Bzip2(Box<MultiBzDecoder<Source<R>>>),
    Xz(Box<xz::Decoder<Source<R>>>),
}

impl<R: BufRead> Reader<R> {
    /// What a layer is compressed with, by its first bytes.
    pub fn compression(&mut self) -> io::Result<Compression> {
        self.detect()?;
        Ok(match self.format {
            Format::Gzip(_) => Compression::Gzip,
            Format::Zstd(_) => Compression::Zstd,
            Format::Unknown(_) | Format::Plain(_) | Format::Bzip2(_) | Format::Xz(_) => {
                Compression::Uncompressed
            }
        })
    }

    fn detect(&mut self) -> io::Result<()> {
        let Format::Unknown(inner) = &mut self.format else { return Ok(()) };
        let Some(mut inner) = inner.take() else { return Err(io::ErrorKind::UnexpectedEof.into()) };
        let mut head = Vec::with_capacity(PEEK as usize);
        inner.by_ref().take(PEEK).read_to_end(&mut head)?;
        let compression = sniff(&head);
        let starts = |magic: &[u8]| self.known == Known::Archives && head.starts_with(magic);
        let (is_bzip2, is_xz) = (starts(&BZIP2_MAGIC), starts(&XZ_MAGIC));
        let source = Counting { inner: Cursor::new(head).chain(inner), consumed: 0 };
        self.format = match compression {
            Compression::Gzip if self.known == Known::VerifiedLayers => {
                Format::Gzip(Box::new(Gunzip::ahead(source)))
            }
            Compression::Gzip => Format::Gzip(Box::new(Gunzip::new(source))),
            Compression::Zstd => Format::Zstd(Box::new(zstd::decoder(source)?)),
            Compression::Uncompressed if is_bzip2 => Format::Bzip2(Box::new(MultiBzDecoder::new(source))),
            Compression::Uncompressed if is_xz => Format::Xz(Box::new(xz::decoder(source))),
            Compression::Uncompressed => Format::Plain(source),
        };
        Ok(())
    }

    fn consumed(&self) -> u64 {
        match &self.format {
            Format::Unknown(_) => 0,
            Format::Plain(source) => source.consumed,
            Format::Gzip(gunzip) => gunzip.get_ref().consumed,
            Format::Zstd(decoder) => decoder.get_ref().consumed,
            Format::Bzip2(decoder) => decoder.get_ref().consumed,
            Format::Xz(decoder) => decoder.inner().consumed,
        }
    }

    fn check_limits(&self) -> Result<(), LimitError> {
        let consumed = self.consumed();
        let steep = self.produced > RATIO_FREE && self.produced / self.limits.ratio.max(1) > consumed;
        if steep || self.produced > self.limits.total {
            return Err(LimitError { produced: self.produced, consumed });
        }
        Ok(())
    }
}

impl<R: BufRead> Read for Reader<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.detect()?;
        let n = match &mut self.format {
            Format::Unknown(_) => 0,
            Format::Plain(source) => source.read(buf)?,
            Format::Gzip(gunzip) => gunzip.read(buf)?,
            Format::Zstd(decoder) => decoder.read(buf)?,
            Format::Bzip2(decoder) => decoder.read(buf)?,
            Format::Xz(decoder) => decoder.read(buf)?,
        };
        self.produced += n as u64;
        self.check_limits().map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        Ok(n)
    }
}

impl<R: BufRead> std::fmt::Debug for Reader<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("limits", &self.limits).field("produced", &self.produced).finish()
    }
}

/// What a layer that starts with `head` is compressed with; four bytes are enough.
pub fn sniff(head: &[u8]) -> Compression {
    // A skippable frame (RFC 8878, 3.1.2) may come before the first frame of data.
    let skippable = head.len() >= 4 && head[0] & 0xf0 == 0x50 && head[1..4] == [0x2a, 0x4d, 0x18];
    if head.starts_with(&GZIP_MAGIC) {
        Compression::Gzip
    } else if head.starts_with(&ZSTD_MAGIC) || skippable {
        Compression::Zstd
    } else {
        Compression::Uncompressed
    }
}

/// Counts what is taken from a buffered reader.
struct Counting<R> {
    inner: R,
    consumed: u64,
}

impl<R: BufRead> Read for Counting<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buf)?;
        self.consumed += n as u64;
        Ok(n)
    }
}

impl<R: BufRead> BufRead for Counting<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.inner.fill_buf()
    }

    fn consume(&mut self, n: usize) {
        self.consumed += n as u64;
        self.inner.consume(n);
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufReader, Write};

    use super::*;

    fn gzip(content: &[u8]) -> Vec<u8> {
        let mut writer = GzipWriter::at_level(Vec::new(), 6);
        writer.write_all(content).unwrap();
        writer.finish().unwrap()
    }

    fn zstd(content: &[u8]) -> Vec<u8> {
        let mut writer = ZstdWriter::at_level(Vec::new(), 3).unwrap();
        writer.write_all(content).unwrap();
        writer.finish().unwrap()
    }

    fn bzip2(content: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let level = bzip2::Compression::default();
        bzip2::bufread::BzEncoder::new(content, level).read_to_end(&mut out).unwrap();
        out
    }

    fn xz(content: &[u8]) -> Vec<u8> {
        let options = lzma_rust2::XzOptions::with_preset(1);
        let mut writer = lzma_rust2::XzWriter::new(Vec::new(), options).unwrap();
        writer.write_all(content).unwrap();
        writer.finish().unwrap()
    }

    fn read(bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        decompress(bytes).read_to_end(&mut out).map(|_| out)
    }

    fn read_archive(bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        decompress_archive(bytes).read_to_end(&mut out).map(|_| out)
    }

    fn noise(len: usize) -> Vec<u8> {
        let mut state = 1u32;
        let next = |_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 28) as u8
        };
        (0..len).map(next).collect()
    }

    #[test]
    fn each_format_round_trips_at_awkward_lengths() {
        for len in [0, 1, 3, 4, (512 << 10) - 1, 512 << 10, (512 << 10) + 1, 3 << 20] {
            let content = noise(len);
            assert!(read(&gzip(&content)).unwrap() == content, "gzip of {len}");
            assert!(read(&zstd(&content)).unwrap() == content, "zstd of {len}");
            assert!(read(&content).unwrap() == content, "plain of {len}");
        }
    }

    #[test]
    fn archives_come_in_more_formats_than_layers() {
        for len in [0, 1, 5, 6, 1 << 20] {
            let content = noise(len);
            for bytes in [gzip(&content), zstd(&content), bzip2(&content), xz(&content), content.clone()] {
                assert!(read_archive(&bytes).unwrap() == content, "{len}");
            }
            for bytes in [bzip2(&content), xz(&content)] {
                assert!(read(&bytes).unwrap() == bytes, "a layer is never that");
            }
        }
        let twice = [bzip2(b"one "), bzip2(b"two")].concat();
        assert_eq!(read_archive(&twice).unwrap(), b"one two");
        assert!(read_archive(&[bzip2(b"x"), b"garbage".to_vec()].concat()).is_err());
        assert!(read_archive(b"BZh9 is how this text begins").is_err());
    }

    #[test]
    fn tiny_buffers_change_nothing() {
        let content = noise(700 << 10);
        for bytes in [gzip(&content), zstd(&content), content.clone()] {
            let mut out = Vec::new();
            decompress(BufReader::with_capacity(3, &bytes[..])).read_to_end(&mut out).unwrap();
            assert!(out == content);
        }
    }

    #[test]
    fn bombs_stop_at_the_ratio() {
        let zeros = vec![0u8; 1 << 20];
        let mut writer = GzipWriter::at_level(Vec::new(), 6);
        let mut frame = ZstdWriter::at_level(Vec::new(), 3).unwrap();
        for _ in 0..100 {
            writer.write_all(&zeros).unwrap();
            frame.write_all(&zeros).unwrap();
        }
        let more = zeros.repeat(100);
        for bomb in [writer.finish().unwrap(), frame.finish().unwrap(), bzip2(&more), xz(&more)] {
            let limits = Limits { ratio: 900, ..Limits::default() };
            let mut reader = Reader { limits, ..decompress_archive(&bomb[..]) };
            let error = io::copy(&mut reader, &mut io::sink()).unwrap_err();
            assert!(error.to_string().contains("decompression limit"), "{error}");
            assert!(reader.produced <= RATIO_FREE + (1 << 20));
        }
    }

    #[test]
    fn the_total_is_limited() {
        let content = noise(1 << 20);
        let limits = Limits { total: 1000, ..Limits::default() };
        let mut reader = decompress_within(&content[..], limits);
        assert!(io::copy(&mut reader, &mut io::sink()).is_err());
    }

    #[test]
    fn a_huge_zstd_window_is_refused() {
        // Frame header: no single segment, window descriptor of 2^31 bytes.
        let frame = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 21 << 3, 0x01, 0x00, 0x00];
        assert!(read(&frame).is_err());
    }

    #[test]
    fn skippable_frames_are_skipped() {
        let mut bytes = vec![0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3];
        bytes.extend(zstd(b"content"));
        assert_eq!(read(&bytes).unwrap(), b"content");
    }

    #[test]
    fn the_format_is_told() {
        assert_eq!(decompress(&gzip(b"x")[..]).compression().unwrap(), Compression::Gzip);
        assert_eq!(decompress(&zstd(b"x")[..]).compression().unwrap(), Compression::Zstd);
        assert_eq!(decompress(&b""[..]).compression().unwrap(), Compression::Uncompressed);
    }
}
