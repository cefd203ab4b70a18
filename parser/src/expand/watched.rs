//! An expansion that tells which variables it asked for.

use std::cell::RefCell;

use super::{Budget, Expander};

/// The result of an expansion and the variables that it looked up, each once, in order.
#[derive(Debug)]
pub(crate) struct Watched {
    /// `None` where the text cannot be expanded.
    pub(crate) result: Option<String>,
    /// Those that have a value.
    pub(crate) matched: Vec<String>,
    /// Those that have none.
    pub(crate) unmatched: Vec<String>,
}

impl Watched {
    /// Expands `text`.
    pub(crate) fn new(
        text: &str,
        escape: char,
        lookup: &dyn Fn(&str) -> Option<String>,
        budget: &Budget,
    ) -> Self {
        let (matched, unmatched) = (RefCell::new(Vec::new()), RefCell::new(Vec::new()));
        let watched = |name: &str| {
            let value = lookup(name);
            let mut names = if value.is_some() { matched.borrow_mut() } else { unmatched.borrow_mut() };
            if !names.iter().any(|known| known == name) {
                names.push(name.to_owned());
            }
            value
        };
        let result = Expander::new(escape, &watched, budget).word(text).ok();
        Watched { result, matched: matched.into_inner(), unmatched: unmatched.into_inner() }
    }
}
