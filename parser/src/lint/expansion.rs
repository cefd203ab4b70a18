//! What an expansion asked for, and names that are nearly right.

use std::cell::RefCell;

use crate::expand::{Budget, Expander};

/// The result of an expansion and the variables it looked up, each once, in order.
pub(super) struct Expansion {
    /// `None` where the text cannot be expanded.
    pub(super) result: Option<String>,
    pub(super) matched: Vec<String>,
    pub(super) unmatched: Vec<String>,
}

/// Expands `text` and writes down what it looks up.
pub(super) fn expand(
    text: &str,
    escape: char,
    lookup: &dyn Fn(&str) -> Option<String>,
    budget: &Budget,
) -> Expansion {
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
    Expansion { result, matched: matched.into_inner(), unmatched: unmatched.into_inner() }
}

/// The option that is most like `name`, at a distance of at most two.
pub(super) fn suggest<'a>(name: &str, options: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    const TOO_FAR: usize = 3;
    options
        .into_iter()
        .map(|option| (strsim::levenshtein(name, option), option))
        .filter(|(distance, _)| *distance < TOO_FAR)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, option)| option)
}
