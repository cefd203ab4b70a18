//! The allocator's memory.

/// The most heaps that the threads of this process share. By default glibc gives each of many threads one of its own, and what one
/// has free the others cannot use.
#[cfg(target_env = "gnu")]
pub fn limit_heaps(count: u16) {
    // SAFETY: it changes a number that the allocator reads when a thread asks for memory first.
    unsafe { libc::mallopt(libc::M_ARENA_MAX, count.into()) };
}

/// Other allocators have no such thing.
#[cfg(not(target_env = "gnu"))]
pub fn limit_heaps(_count: u16) {}
