//! Zstandard in both directions.

use std::io::{self, BufRead, Write};

/// The largest window a frame may ask for, as a power of two: 128 MiB, what zstd itself allows.
const MAX_WINDOW_LOG: u32 = 27;
/// Bytes per job, fixed since it decides where the output's blocks are.
const JOB: u32 = 2 << 20;

pub(super) type Decoder<R> = zstd::Decoder<'static, R>;

pub(super) fn decoder<R: BufRead>(inner: R) -> io::Result<Decoder<R>> {
    let mut decoder = zstd::Decoder::with_buffer(inner)?;
    decoder.window_log_max(MAX_WINDOW_LOG)?;
    Ok(decoder)
}

/// Writes one zstd frame, compressed on several threads; the same input gives the same bytes.
///
/// A flush does nothing, for the output must not depend on the caller's pace.
pub struct ZstdWriter<W: Write> {
    encoder: zstd::Encoder<'static, W>,
}

impl<W: Write> ZstdWriter<W> {
    /// A writer to `out` at a level from 1 to 22.
    pub fn at_level(out: W, level: u8) -> io::Result<Self> {
        ZstdWriter::with_workers(out, level, rayon::current_num_threads() as u32)
    }

    fn with_workers(out: W, level: u8, workers: u32) -> io::Result<Self> {
        let mut encoder = zstd::Encoder::new(out, i32::from(level))?;
        // One worker and many give the same bytes; none at all gives others.
        encoder.multithread(workers.max(1))?;
        encoder.set_parameter(zstd::zstd_safe::CParameter::JobSize(JOB))?;
        Ok(ZstdWriter { encoder })
    }

    /// Writes the rest and hands `out` back.
    pub fn finish(self) -> io::Result<W> {
        self.encoder.finish()
    }
}

impl<W: Write> Write for ZstdWriter<W> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.encoder.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<W: Write> std::fmt::Debug for ZstdWriter<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ZstdWriter")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pace_and_workers_change_nothing() {
        let content: Vec<u8> = (0..2_000_000u32).flat_map(|i| (i / 7).to_le_bytes()).collect();
        let zstd = |workers, step| {
            let mut writer = ZstdWriter::with_workers(Vec::new(), 3, workers).unwrap();
            for chunk in content.chunks(step) {
                writer.write_all(chunk).unwrap();
            }
            writer.finish().unwrap()
        };
        let expected = zstd(1, content.len());
        assert!(zstd(2, 100_000) == expected);
        assert!(zstd(4, 4097) == expected);
    }
}
