//! Gzip in members of fixed size, compressed on all cores and written in order.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::mpsc::{self, Receiver, TryRecvError};

use libdeflater::{CompressionLvl, Compressor};

/// Bytes in a member. Fixed: it is a part of what makes the output the same everywhere.
const BLOCK: usize = 512 << 10;

/// Writes gzip members of 512 KiB each; the same input gives the same bytes, whatever the number of cores.
///
/// Members are compressed on rayon's threads while the caller makes the next one. A flush does nothing, for the
/// output must not depend on the caller's pace.
#[derive(Debug)]
pub struct GzipWriter<W: Write> {
    out: W,
    level: u8,
    block: Vec<u8>,
    pending: VecDeque<Receiver<io::Result<Vec<u8>>>>,
    max_pending: usize,
    any: bool,
}

impl<W: Write> GzipWriter<W> {
    /// A writer to `out` at a level from 0, which only stores, to 9.
    pub fn at_level(out: W, level: u8) -> Self {
        let max_pending = rayon::current_num_threads() + 2;
        GzipWriter { out, level, block: Vec::new(), pending: VecDeque::new(), max_pending, any: false }
    }

    /// Writes the rest and hands `out` back.
    pub fn finish(mut self) -> io::Result<W> {
        if !self.block.is_empty() || !self.any {
            self.submit()?;
        }
        while !self.pending.is_empty() {
            self.write_oldest()?;
        }
        self.out.flush()?;
        Ok(self.out)
    }

    fn submit(&mut self) -> io::Result<()> {
        self.any = true;
        let (block, level) = (std::mem::take(&mut self.block), self.level);
        let (sender, receiver) = mpsc::sync_channel(1);
        rayon::spawn(move || {
            // The writer may be gone; then nobody wants the member.
            let _ = sender.send(compress(&block, level));
        });
        self.pending.push_back(receiver);
        while self.pending.len() > self.max_pending {
            self.write_oldest()?;
        }
        Ok(())
    }

    fn write_oldest(&mut self) -> io::Result<()> {
        let Some(receiver) = self.pending.pop_front() else { return Ok(()) };
        let member = wait(&receiver)??;
        self.out.write_all(&member)
    }
}

impl<W: Write> Write for GzipWriter<W> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        if self.block.capacity() == 0 {
            self.block.reserve_exact(BLOCK);
        }
        let n = buf.len().min(BLOCK - self.block.len());
        self.block.extend_from_slice(&buf[..n]);
        if self.block.len() == BLOCK {
            self.submit()?;
        }
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Waits for a member. On one of rayon's own threads it works meanwhile, since the member may be queued behind it.
fn wait(receiver: &Receiver<io::Result<Vec<u8>>>) -> io::Result<io::Result<Vec<u8>>> {
    let lost = || io::Error::other("a compression task was lost");
    if rayon::current_thread_index().is_none() {
        return receiver.recv().map_err(|_| lost());
    }
    loop {
        match receiver.try_recv() {
            Ok(member) => return Ok(member),
            Err(TryRecvError::Disconnected) => return Err(lost()),
            Err(TryRecvError::Empty) => {
                if rayon::yield_now() != Some(rayon::Yield::Executed) {
                    std::thread::yield_now();
                }
            }
        }
    }
}

fn compress(block: &[u8], level: u8) -> io::Result<Vec<u8>> {
    thread_local! {
        /// The one that this thread used last.
        static COMPRESSOR: RefCell<Option<(u8, Compressor)>> = const { RefCell::new(None) };
    }
    COMPRESSOR.with_borrow_mut(|last| {
        let new = || {
            let level_of = CompressionLvl::new(i32::from(level)).unwrap_or_default();
            (level, Compressor::new(level_of))
        };
        let (_, compressor) = match last {
            Some((of, _)) if *of != level => last.insert(new()),
            _ => last.get_or_insert_with(new),
        };
        let mut member = vec![0; compressor.gzip_compress_bound(block.len())];
        let n = compressor.gzip_compress(block, &mut member).map_err(io::Error::other)?;
        member.truncate(n);
        Ok(member)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gzip(content: &[u8], step: usize) -> Vec<u8> {
        let mut writer = GzipWriter::at_level(Vec::new(), 6);
        for chunk in content.chunks(step) {
            writer.write_all(chunk).unwrap();
            writer.flush().unwrap();
        }
        writer.finish().unwrap()
    }

    #[test]
    fn the_callers_pace_and_the_pool_change_nothing() {
        let content: Vec<u8> = (0..2_000_000u32).flat_map(|i| (i / 7).to_le_bytes()).collect();
        let expected = gzip(&content, content.len());
        assert!(gzip(&content, 12_345) == expected);
        for threads in [1, 3] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            assert!(pool.install(|| gzip(&content, 100_000)) == expected, "{threads} threads");
        }
    }

    #[test]
    fn nothing_is_a_valid_stream_too() {
        assert_eq!(gzip(b"", 1)[..2], [0x1f, 0x8b]);
    }

    #[test]
    fn a_failing_output_is_reported() {
        #[derive(Debug)]
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        assert_eq!(GzipWriter::at_level(Full, 6).finish().unwrap_err().kind(), io::ErrorKind::StorageFull);
    }
}
