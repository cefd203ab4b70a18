//! Streaming gunzip of any number of members. Those that say how long they are, as those that are packed here, are inflated
//! on all cores while the ones before them are read.
//!
//! Header and trailer are read here, and only raw deflate data is given to zlib-rs: its own checksum is much slower
//! than crc32fast, which costs nothing beside inflating.

use std::collections::VecDeque;
use std::io::{self, BufRead, Cursor, Read};
use std::sync::mpsc::{self, Receiver};

use flate2::{Decompress, FlushDecompress, Status};

use super::{gzip, member};

/// The most bytes that the optional fields of one member's header may have.
const MAX_HEADER_FIELD: usize = 64 << 10;

/// Members that are inflated at once: each may take 2 MiB.
const MOST_AHEAD: usize = 16;

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
    /// The contents of members that are being inflated, in their order, before what `state` says.
    ahead: VecDeque<Receiver<io::Result<Vec<u8>>>>,
    /// What is left of the content of the member before those.
    content: Cursor<Vec<u8>>,
    /// How many members may be inflated ahead.
    most_ahead: usize,
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
        let (inflate, ahead, content) = (Decompress::new(false), VecDeque::new(), Cursor::default());
        Gunzip { inner, inflate, checksum, state: State::Header, ahead, content, most_ahead: 0 }
    }

    /// The same, which inflates members ahead that say how long they are. What lies in one between the end of its data and its
    /// trailer is passed over, where others would see another member: the content must be held against its digest.
    pub(super) fn ahead(inner: R) -> Self {
        let most_ahead = (rayon::current_num_threads() + 2).min(MOST_AHEAD);
        Gunzip { most_ahead, ..Gunzip::new(inner) }
    }

    pub(super) fn get_ref(&self) -> &R {
        &self.inner
    }

    /// Reads a header, and what follows it where it says how much that is.
    fn start_member(&mut self) -> io::Result<()> {
        let following = read_header(&mut self.inner)?;
        if let Some(length) = following.filter(|_| self.most_ahead > 0) {
            let mut rest = vec![0; length];
            self.inner.read_exact(&mut rest)?;
            let (sender, receiver) = mpsc::sync_channel(1);
            rayon::spawn(move || {
                // The reader may be gone; then nobody wants it.
                let _ = sender.send(member::inflate(&rest));
            });
            self.ahead.push_back(receiver);
            self.state = self.look_on()?;
            return Ok(());
        }
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
        self.state = self.look_on()?;
        Ok(())
    }

    /// What comes after a member.
    fn look_on(&mut self) -> io::Result<State> {
        match self.inner.fill_buf()?.first() {
            None => Ok(State::End),
            Some(0) => self.skip_padding(),
            Some(_) => Ok(State::Header),
        }
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
            match self.content.read(buf)? {
                0 => {}
                n => return Ok(n),
            }
            while self.state == State::Header && self.ahead.len() < self.most_ahead.max(1) {
                self.start_member()?;
            }
            if let Some(next) = self.ahead.pop_front() {
                self.content = Cursor::new(gzip::wait(&next)??);
                continue;
            }
            match self.state {
                State::End => return Ok(0),
                State::Header => {}
                State::Body => match self.inflate(buf)? {
                    0 => {}
                    n => return Ok(n),
                },
            }
        }
    }
}

/// Reads a header; the length of what follows in the member, where it says that in our way.
fn read_header(inner: &mut impl BufRead) -> io::Result<Option<usize>> {
    let mut fixed = [0; 10];
    inner.read_exact(&mut fixed)?;
    let [0x1f, 0x8b, 8, flags, ..] = fixed else { return Err(invalid("not a gzip header")) };
    let mut following = None;
    if flags & FLAG_EXTRA != 0 {
        let mut length = [0; 2];
        inner.read_exact(&mut length)?;
        let mut extra = vec![0; usize::from(u16::from_le_bytes(length))];
        inner.read_exact(&mut extra)?;
        following = member::following(&extra).filter(|_| flags == FLAG_EXTRA);
    }
    for flag in [FLAG_NAME, FLAG_COMMENT] {
        if flags & flag != 0 {
            skip_text(inner)?;
        }
    }
    if flags & FLAG_HEADER_CRC != 0 {
        inner.read_exact(&mut [0; 2])?;
    }
    Ok(following)
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
        let (mut out, mut out_ahead) = (Vec::new(), Vec::new());
        let read = Gunzip::new(bytes).read_to_end(&mut out);
        let read_ahead = Gunzip::ahead(bytes).read_to_end(&mut out_ahead);
        assert_eq!(read.is_ok(), read_ahead.is_ok());
        assert!(read.is_err() || out == out_ahead);
        read.map(|_| out)
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

    /// Content packed in two members that say how long they are.
    fn ours() -> (Vec<u8>, Vec<u8>) {
        let text: Vec<u8> =
            (0..400_000u32).flat_map(|i| (i.wrapping_mul(i) / 99_991).to_le_bytes()).collect();
        let mut writer = gzip::GzipWriter::at_level(Vec::new(), 2);
        std::io::Write::write_all(&mut writer, &text).unwrap();
        (writer.finish().unwrap(), text)
    }

    #[test]
    fn members_that_say_how_long_they_are_are_read_as_all_others() {
        let (ours, text) = ours();
        assert!(gunzip(&ours).unwrap() == text);
        let mixed =
            [member(b"before "), ours.clone(), member(b" between "), ours.clone(), vec![0; 99]].concat();
        let expected = [&b"before "[..], &text, b" between ", &text].concat();
        assert!(gunzip(&mixed).unwrap() == expected);
        let mut small = Vec::new();
        let mut reader = Gunzip::ahead(io::BufReader::with_capacity(7, &ours[..]));
        let mut buffer = [0; 1000];
        while let n @ 1.. = reader.read(&mut buffer).unwrap() {
            small.extend_from_slice(&buffer[..n]);
        }
        assert!(small == text);
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        assert!(pool.install(|| gunzip(&mixed)).unwrap() == expected);
    }

    #[test]
    fn damage_in_members_that_say_how_long_they_are_is_noticed() {
        let (ours, _) = ours();
        for end in [5, 20, 30, 1000, ours.len() - 1] {
            assert!(gunzip(&ours[..end]).is_err(), "cut at {end}");
        }
        for at in [11, 40, 5000, ours.len() - 6, ours.len() - 2] {
            let mut bad = ours.clone();
            bad[at] ^= 0x41;
            assert!(gunzip(&bad).is_err(), "changed at {at}");
        }
        // Only who goes by the length notices that it is another.
        let mut bad = ours.clone();
        bad[19] ^= 0x41;
        assert!(Gunzip::ahead(&bad[..]).read_to_end(&mut Vec::new()).is_err());
        // One that says that it is larger than any.
        let mut bad = ours.clone();
        bad[18..22].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(gunzip(&bad).is_ok(), "then it is read like others");
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
