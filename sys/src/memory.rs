//! The memory that the allocator has.

/// The most heaps that the threads of this process share. By default glibc gives each of many threads one of its own, and what one
/// has free the others cannot use. Other allocators have no such number.
pub fn limit_heaps(count: u16) {
    #[cfg(target_env = "gnu")]
    // SAFETY: it changes a number that the allocator reads when a thread asks for memory first.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, count.into());
    }
    #[cfg(not(target_env = "gnu"))]
    let _ = count;
}

/// Gives back to the machine what the allocator keeps of memory that nobody uses; nothing where it cannot.
pub fn trim() {
    #[cfg(target_env = "gnu")]
    // SAFETY: no pointer goes in or out, and the allocator takes its own locks.
    unsafe {
        libc::malloc_trim(0);
    }
}

#[cfg(all(test, target_env = "gnu"))]
mod tests {
    use super::*;

    fn resident() -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    #[test]
    fn what_was_used_among_what_still_is_goes_back() {
        // Small pieces, of which every hundredth stays: the allocator can give back nothing from the end.
        let mut pieces: Vec<Vec<u8>> = (0..100_000).map(|_| vec![1; 1000]).collect();
        let mut number = 0;
        pieces.retain(|_| {
            number += 1;
            number % 100 == 0
        });
        let before = resident();
        trim();
        assert!(resident() + 40_000 < before, "{before} kB before and {} kB after", resident());
        assert_eq!(pieces.len(), 1000);
    }
}
