//! Gzip in members that are cut by their content, compressed on all cores and written in order.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, TryRecvError};

use super::{cut, member};

/// Members that were compressed before.
pub trait Members: Send + Sync + fmt::Debug {
    /// A member that may be that of `length` bytes with this CRC-32; what it is not is found out.
    fn find(&self, checksum: u32, length: u32) -> Option<Vec<u8>>;
}

/// Writes gzip members of 256 KiB to 1 MiB each; the same input gives the same bytes, whatever the number of cores and
/// whatever was compressed before.
///
/// Members are compressed on rayon's threads while the caller makes the next one. A flush does nothing, for the
/// output must not depend on the caller's pace.
#[derive(Debug)]
pub struct GzipWriter<W: Write> {
    out: W,
    level: u8,
    known: Option<Arc<dyn Members>>,
    block: Vec<u8>,
    pending: VecDeque<Receiver<io::Result<Vec<u8>>>>,
    max_pending: usize,
    any: bool,
}

impl<W: Write> GzipWriter<W> {
    /// A writer to `out` at a level from 0, which only stores, to 9.
    pub fn at_level(out: W, level: u8) -> Self {
        let max_pending = rayon::current_num_threads() + 2;
        let (known, block, pending) = (None, Vec::new(), VecDeque::new());
        GzipWriter { out, level, known, block, pending, max_pending, any: false }
    }

    /// The same, which takes members from `known` where there are such.
    pub fn reusing(self, known: Arc<dyn Members>) -> Self {
        GzipWriter { known: Some(known), ..self }
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
        let (block, level, known) = (std::mem::take(&mut self.block), self.level, self.known.clone());
        let (sender, receiver) = mpsc::sync_channel(1);
        rayon::spawn(move || {
            // The writer may be gone; then nobody wants the member.
            let _ = sender.send(member_of(&block, level, known.as_deref()));
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
            self.block.reserve_exact(cut::MOST);
        }
        let before = self.block.len();
        let n = buf.len().min(cut::MOST - before);
        self.block.extend_from_slice(&buf[..n]);
        let Some(end) = cut::end(&self.block, before) else { return Ok(n) };
        self.block.truncate(end);
        self.submit()?;
        Ok(end - before)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Waits for a member. On one of rayon's own threads it works meanwhile, since the member may be queued behind it.
pub(super) fn wait(receiver: &Receiver<io::Result<Vec<u8>>>) -> io::Result<io::Result<Vec<u8>>> {
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

fn member_of(block: &[u8], level: u8, known: Option<&dyn Members>) -> io::Result<Vec<u8>> {
    let sign = member::sign(block);
    let found = known.and_then(|known| known.find(sign.0, sign.1));
    match found.filter(|found| member::is_of(found, block, sign, level)) {
        Some(found) => Ok(found),
        None => member::compress(block, sign, level),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::super::member::{Member, members};
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

    /// The members of a file, and which of them were taken.
    #[derive(Debug)]
    struct Before(Vec<u8>, Vec<Member>, AtomicUsize);

    impl Before {
        fn of(packed: Vec<u8>, level: u8) -> Arc<Before> {
            let members = members(&mut io::Cursor::new(&packed), level).unwrap();
            Arc::new(Before(packed, members, AtomicUsize::new(0)))
        }
    }

    impl Members for Before {
        fn find(&self, checksum: u32, length: u32) -> Option<Vec<u8>> {
            let found = self.1.iter().find(|one| (one.checksum, one.length) == (checksum, length))?;
            self.2.fetch_add(1, Ordering::SeqCst);
            Some(self.0[found.at as usize..][..found.size as usize].to_vec())
        }
    }

    fn text(from: u32) -> Vec<u8> {
        (from..from + 500_000).flat_map(|i| (i.wrapping_mul(i) / 99_991).to_le_bytes()).collect()
    }

    #[test]
    fn members_from_before_are_taken_and_the_bytes_are_those_without_them() {
        let old = [text(0), text(9_000_000)].concat();
        let new = [text(77)[..1536].to_vec(), text(0), text(9_000_000)].concat();
        let before = Before::of(gzip(&old, 70_000), 6);
        assert!(before.1.iter().map(|one| one.length as usize).sum::<usize>() == old.len());
        let mut writer = GzipWriter::at_level(Vec::new(), 6).reusing(before.clone());
        writer.write_all(&new).unwrap();
        assert!(writer.finish().unwrap() == gzip(&new, new.len()));
        let taken = before.2.load(Ordering::SeqCst);
        assert!(taken * 3 > before.1.len() * 2, "{taken} of {}", before.1.len());
    }

    #[test]
    fn a_member_that_is_another_or_damaged_is_not_taken() {
        let content = text(5);
        let good = gzip(&content, content.len());
        let mut damaged = Before::of(good.clone(), 6);
        let at = damaged.1[0].size as usize / 2;
        Arc::get_mut(&mut damaged).unwrap().0[at] ^= 0x55;
        let mut of_another = Before::of(gzip(&text(6), 1 << 20), 6);
        for (own, one) in
            Before::of(good.clone(), 6).1.iter().zip(&mut Arc::get_mut(&mut of_another).unwrap().1)
        {
            (one.checksum, one.length) = (own.checksum, own.length);
        }
        for known in [damaged, of_another] {
            let mut writer = GzipWriter::at_level(Vec::new(), 6).reusing(known.clone());
            writer.write_all(&content).unwrap();
            assert!(writer.finish().unwrap() == good);
            assert!(known.2.load(Ordering::SeqCst) > 0, "none was tried");
        }
    }

    /// Where one of these differs, members that were compressed before are others than those that would be now: the version of
    /// members must be another one too.
    #[test]
    fn what_a_level_makes_stays_what_it_is() {
        let digest = |level| {
            let mut writer = GzipWriter::at_level(Vec::new(), level);
            writer.write_all(&text(1)).unwrap();
            crate::Digest::of(&writer.finish().unwrap()).hex()[..16].to_owned()
        };
        for (level, made) in [
            (0, "a44da8cb43f834ea"),
            (1, "45cd5521a236a274"),
            (4, "28c084de2960cd0f"),
            (6, "3bef80ef92ff5fa9"),
            (9, "c65008f46db1612a"),
        ] {
            assert_eq!(digest(level), made, "level {level}");
        }
    }

    #[test]
    fn files_of_others_have_no_members_that_are_known() {
        let content = text(5);
        let mut other = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        other.write_all(&content).unwrap();
        let own = gzip(&content, content.len());
        let none = |bytes: &[u8], level| members(&mut io::Cursor::new(bytes), level).unwrap().is_empty();
        assert!(none(&other.finish().unwrap(), 6) && none(&own, 5) && none(b"", 6) && none(&own[..30], 6));
        assert!(!none(&own, 6));
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
