//! What `COPY` and `ADD` have in common: sources and a destination.

use super::{Line, Problem};
use crate::heredoc::{self, Heredoc};
use crate::words::{json_list, plain_words};

/// Where files come from and go to; nothing is expanded yet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sources {
    /// Paths, wildcards, URLs.
    pub paths: Vec<String>,
    /// Texts given in the file.
    pub heredocs: Vec<Heredoc>,
    /// The destination.
    pub dest: String,
}

pub(super) fn sources(line: &mut Line<'_>) -> Result<Sources, Problem> {
    let too_few = || Problem::new(format!("{} requires at least two arguments", line.keyword));
    let json = json_list(line.rest)?;
    let is_json = json.is_some();
    let mut words = json.unwrap_or_else(|| plain_words(line.rest));
    let dest = words.pop().ok_or_else(too_few)?;
    if words.is_empty() {
        return Err(too_few());
    }
    if !is_json && heredoc::word(&dest).is_some() {
        return Err(Problem::new(format!("{} cannot accept a heredoc as a destination", line.keyword)));
    }
    let heredocs = if is_json { Vec::new() } else { std::mem::take(&mut line.heredocs) };
    if !is_json {
        let count = words.len();
        words.retain(|word| heredoc::word(word).is_none());
        if count - words.len() != heredocs.len() {
            return Err(Problem {
                message: format!("{} takes the name of a heredoc without spaces", line.keyword),
                help: Some("it is `<<EOF`, not `<< EOF`".to_owned()),
            });
        }
    }
    Ok(Sources { paths: words, heredocs, dest })
}
