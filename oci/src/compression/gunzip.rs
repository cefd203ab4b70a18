//! Streaming gunzip of any number of members.
//!
//! Header and trailer are read here, and only raw deflate data is given to zlib-rs: its own checksum is much slower
//! than crc32fast, which costs nothing beside inflating.

use std::io::{self, BufRead, Read};

use flate2::{Decompress, FlushDecompress, Status};

/// The most bytes that the optional fields of one member's header may have.
const MAX_HEADER_FIELD: usize = 64 << 10;

const FLAG_HEADER_CRC: u8 = 2;
const FLAG_EXTRA: u8 = 4;
const FLAG_NAME: u8 = 8;
const FLAG_COMMENT: u8 = 16;

/// Reads the content of gzip members that follow each other (RFC 1952).
pub(super) struct Gunzip<R> {
    inner: R,
    inflate: Decompress,
    checksum: crc32fast::Hasher,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Header,
    Body,
    End,
}

impl<R: BufRead> Gunzip<R> {
    pub(super) fn new(inner: R) -> Self {
        let checksum = crc32fast::Hasher::new();
        Gunzip { inner, inflate: Decompress::new(false), checksum, state: State::Header }
    }

    pub(super) fn get_ref(&self) -> &R {
        &self.inner
    }

    fn start_member(&mut self) -> io::Result<()> {
        read_header(&mut self.inner)?;
        self.inflate.reset(false);
        self.checksum.reset();
        self.state = State::Body;
        Ok(())
    }

    /// Inflates into `buf`; 0 means that the member's data has ended.
    fn inflate(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            let input = self.inner.fill_buf()?;
            let at_end = input.is_empty();
            let (before_in, before_out) = (self.inflate.total_in(), self.inflate.total_out());
            let status = self.inflate.decompress(input, buf, FlushDecompress::None).map_err(invalid)?;
            let consumed = (self.inflate.total_in() - before_in) as usize;
            let produced = (self.inflate.total_out() - before_out) as usize;
            self.inner.consume(consumed);
            self.checksum.update(&buf[..produced]);
            if status == Status::StreamEnd {
                self.end_member()?;
            }
            if produced > 0 || self.state != State::Body {
                return Ok(produced);
            }
            if at_end {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    fn end_member(&mut self) -> io::Result<()> {
        let mut trailer = [0; 8];
        self.inner.read_exact(&mut trailer)?;
        let [c0, c1, c2, c3, l0, l1, l2, l3] = trailer;
        let length_matches = u32::from_le_bytes([l0, l1, l2, l3]) == self.inflate.total_out() as u32;
        if u32::from_le_bytes([c0, c1, c2, c3]) != self.checksum.clone().finalize() || !length_matches {
            return Err(invalid("gzip checksum mismatch"));
        }
        self.state = match self.inner.fill_buf()?.first() {
            None => State::End,
            Some(0) => self.skip_padding()?,
            Some(_) => State::Header,
        };
        Ok(())
    }

    fn skip_padding(&mut self) -> io::Result<State> {
        loop {
            let padding = self.inner.fill_buf()?;
            if padding.is_empty() {
                return Ok(State::End);
            }
            if padding.iter().any(|byte| *byte != 0) {
                return Err(invalid("data after the end of the gzip stream"));
            }
            let n = padding.len();
            self.inner.consume(n);
        }
    }
}

impl<R: BufRead> Read for Gunzip<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        loop {
            match self.state {
                State::End => return Ok(0),
                State::Header => self.start_member()?,
                State::Body => match self.inflate(buf)? {
                    0 => {}
                    n => return Ok(n),
                },
            }
        }
    }
}

fn read_header(inner: &mut impl BufRead) -> io::Result<()> {
    let mut fixed = [0; 10];
    inner.read_exact(&mut fixed)?;
    let [0x1f, 0x8b, 8, flags, ..] = fixed else { return Err(invalid("not a gzip header")) };
    if flags & FLAG_EXTRA != 0 {
        let mut len = [0; 2];
        inner.read_exact(&mut len)?;
        let len = u64::from(u16::from_le_bytes(len));
        if io::copy(&mut inner.take(len), &mut io::sink())? != len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    for flag in [FLAG_NAME, FLAG_COMMENT] {
        if flags & flag != 0 {
            skip_text(inner)?;
        }
    }
    if flags & FLAG_HEADER_CRC != 0 {
        inner.read_exact(&mut [0; 2])?;
    }
    Ok(())
}

fn skip_text(inner: &mut impl BufRead) -> io::Result<()> {
    let mut byte = [0];
    for _ in 0..MAX_HEADER_FIELD {
        inner.read_exact(&mut byte)?;
        if byte[0] == 0 {
            return Ok(());
        }
    }
    Err(invalid("gzip header field too long"))
}

fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(content: &[u8]) -> Vec<u8> {
        let mut compressor = libdeflater::Compressor::new(libdeflater::CompressionLvl::default());
        let mut out = vec![0; compressor.gzip_compress_bound(content.len())];
        let n = compressor.gzip_compress(content, &mut out).unwrap();
        out.truncate(n);
        out
    }

    fn gunzip(bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        Gunzip::new(bytes).read_to_end(&mut out).map(|_| out)
    }

    #[test]
    fn members_follow_each_other() {
        let bytes = [member(b"one "), member(b""), member(b"two")].concat();
        assert_eq!(gunzip(&bytes).unwrap(), b"one two");
    }

    #[test]
    fn many_empty_members_are_cheap() {
        assert_eq!(gunzip(&member(b"").repeat(100_000)).unwrap(), b"");
    }

    #[test]
    fn optional_fields_are_skipped() {
        let plain = member(b"content");
        let mut bytes = plain[..10].to_vec();
        bytes[3] = FLAG_EXTRA | FLAG_NAME | FLAG_COMMENT | FLAG_HEADER_CRC;
        bytes.extend(b"\x03\x00abcname\0comment\0\x00\x00");
        bytes.extend(&plain[10..]);
        assert_eq!(gunzip(&bytes).unwrap(), b"content");
    }

    #[test]
    fn zeros_may_follow_and_nothing_else() {
        let bytes = [member(b"x"), vec![0; 10_000]].concat();
        assert_eq!(gunzip(&bytes).unwrap(), b"x");
        assert!(gunzip(&[member(b"x"), vec![0, 0, 1]].concat()).is_err());
        assert!(gunzip(&[member(b"x"), b"garbage".to_vec()].concat()).is_err());
    }

    #[test]
    fn damage_is_noticed() {
        let good = member(b"some content that is long enough to be damaged");
        for end in 1..good.len() {
            assert!(gunzip(&good[..end]).is_err(), "cut at {end}");
        }
        let mut bad = good.clone();
        let checksum = bad.len() - 8;
        bad[checksum] ^= 1;
        assert!(gunzip(&bad).is_err());
    }
}
