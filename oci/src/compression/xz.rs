//! Reading xz, which archives come in.

use std::io::Read;

use lzma_rust2::XzReader;

/// The most memory that a stream may ask for, in KiB: the 128 MiB that zstd is given, and what the decoder itself needs.
const MAX_MEMORY: u32 = (128 << 10) + 1024;

pub(super) type Decoder<R> = XzReader<R>;

/// Reads the streams of `inner`, one after the other.
pub(super) fn decoder<R: Read>(inner: R) -> Decoder<R> {
    XzReader::new_mem_limit(inner, true, MAX_MEMORY)
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};

    use lzma_rust2::{XzOptions, XzWriter};

    use super::*;

    fn xz(content: &[u8]) -> Vec<u8> {
        let mut writer = XzWriter::new(Vec::new(), XzOptions::with_preset(1)).unwrap();
        writer.write_all(content).unwrap();
        writer.finish().unwrap()
    }

    fn unxz(bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        decoder(bytes).read_to_end(&mut out).map(|_| out)
    }

    #[test]
    fn streams_follow_each_other_and_nothing_else_does() {
        let bytes = [xz(b"one "), xz(b""), xz(b"two")].concat();
        assert_eq!(unxz(&bytes).unwrap(), b"one two");
        assert!(unxz(&[xz(b"x"), b"garbage".to_vec()].concat()).is_err());
    }

    #[test]
    fn damage_is_noticed() {
        let good = xz(b"some content that is long enough to be damaged");
        for end in (1..good.len()).step_by(7) {
            assert!(unxz(&good[..end]).is_err(), "cut at {end}");
        }
        let mut bad = good.clone();
        bad[good.len() / 2] ^= 1;
        assert!(unxz(&bad).is_err());
    }

    #[test]
    fn a_huge_dictionary_is_refused() {
        let with_checksum =
            |bytes: &[u8], covered: &[u8]| [bytes, &crc32fast::hash(covered).to_le_bytes()].concat();
        let start = with_checksum(b"\xfd7zXZ\0\0\x01", b"\0\x01");
        // One filter, LZMA2, with a dictionary of 2 GiB.
        let block = [2, 0, 0x21, 1, 38, 0, 0, 0];
        let error = unxz(&[start, with_checksum(&block, &block)].concat()).unwrap_err();
        assert!(error.to_string().contains("memory"), "{error}");
    }
}
