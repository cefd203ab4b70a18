//! Selection of paths in a tree.

/// What to do with a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It counts; if it is a directory, what is in it is asked about too.
    Take,
    /// It does not count, but something below it may; directories above what counts come along.
    Descend,
    /// Neither it nor anything below it counts.
    Prune,
}

/// Says which paths of a tree count. Called from several threads.
pub trait Filter: Sync {
    /// `path` is relative to the path that was given to the operation.
    fn verdict(&self, path: &[u8], is_dir: bool) -> Verdict;
}

impl<F: Fn(&[u8], bool) -> Verdict + Sync> Filter for F {
    fn verdict(&self, path: &[u8], is_dir: bool) -> Verdict {
        self(path, is_dir)
    }
}
