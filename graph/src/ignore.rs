//! `.dockerignore`: which paths of a context a build does not see.
//!
//! The last pattern that matches a path or one of its ancestors decides; `!` in front takes back what an earlier
//! pattern left out (moby's `patternmatcher`).

use crate::glob::{Pattern, PatternError};

/// Largest ignore file accepted, in bytes.
pub const MAX_IGNORE_FILE: usize = 4 * 1024 * 1024;

/// A parsed `.dockerignore`.
#[derive(Debug, Clone, Default)]
pub struct IgnoreFile {
    rules: Vec<Rule>,
}

#[derive(Debug, Clone)]
struct Rule {
    pattern: Pattern,
    components: Vec<Component>,
    takes_back: bool,
    line: u32,
}

#[derive(Debug, Clone)]
enum Component {
    One(Pattern),
    AnyNumber,
}

/// Why an ignore file cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IgnoreError {
    /// A line is not a pattern.
    #[error("line {line}: {source}")]
    Pattern {
        /// Counted from 1.
        line: u32,
        /// What is wrong with it.
        source: PatternError,
    },
    /// The file is larger than [`MAX_IGNORE_FILE`].
    #[error("it is larger than 4 MiB")]
    TooLarge,
}

/// What the file says of one path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// Whether the build does not see the path.
    pub excluded: bool,
    /// The line that decided, counted from 1; none where no line matches.
    pub line: Option<u32>,
}

/// Which rules matched a directory, for the paths below it.
#[derive(Debug, Clone)]
pub struct Matched(Vec<bool>);

impl IgnoreFile {
    /// Reads the file's text; a byte order mark, comments and empty lines are passed over.
    pub fn parse(bytes: &[u8]) -> Result<Self, IgnoreError> {
        if bytes.len() > MAX_IGNORE_FILE {
            return Err(IgnoreError::TooLarge);
        }
        let text = String::from_utf8_lossy(bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes));
        let mut rules = Vec::new();
        for (line, text) in (1..).zip(text.lines()) {
            if !text.starts_with('#')
                && let Some(rule) =
                    Rule::parse(text.trim(), line).map_err(|source| IgnoreError::Pattern { line, source })?
            {
                rules.push(rule);
            }
        }
        Ok(IgnoreFile { rules })
    }

    /// Patterns of a list, where there are no comments and a line feed is part of a name.
    pub fn of_patterns(patterns: &[String]) -> Result<Self, PatternError> {
        let rules = (1..).zip(patterns).map(|(line, pattern)| Rule::parse(pattern, line));
        let rules: Vec<Option<Rule>> = rules.collect::<Result<_, _>>()?;
        Ok(IgnoreFile { rules: rules.into_iter().flatten().collect() })
    }

    /// Whether no line can leave anything out.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Whether some line takes back what another left out.
    pub fn has_exceptions(&self) -> bool {
        self.rules.iter().any(|rule| rule.takes_back)
    }

    /// Whether one line leaves out whatever there is: `*`, `**` or `**/*`.
    pub fn leaves_out_everything(&self) -> bool {
        let is_star = |rule: &Rule| matches!(rule.pattern.as_str(), "*" | "**" | "**/*");
        self.rules.iter().any(|rule| !rule.takes_back && is_star(rule))
    }

    /// The state of a walk at the context's root, which nothing leaves out.
    pub fn root(&self) -> Matched {
        Matched(vec![false; self.rules.len()])
    }

    /// What the file says of `path` (relative, no `./`), whose parent directory has `above`; and the state for paths below it.
    pub fn step(&self, above: &Matched, path: &[u8]) -> (Decision, Matched) {
        let matched: Vec<bool> = self
            .rules
            .iter()
            .zip(&above.0)
            .map(|(rule, parent)| *parent || rule.pattern.matches(path))
            .collect();
        let last = self.rules.iter().zip(&matched).rev().find(|(_, matched)| **matched);
        let decision = Decision {
            excluded: last.is_some_and(|(rule, _)| !rule.takes_back),
            line: last.map(|(rule, _)| rule.line),
        };
        (decision, Matched(matched))
    }

    /// What the file says of a path, asked from nothing.
    pub fn decide(&self, path: &[u8]) -> Decision {
        let mut matched = self.root();
        let mut decision = Decision { excluded: false, line: None };
        let ends = path.iter().enumerate().filter(|(_, b)| **b == b'/').map(|(at, _)| at).chain([path.len()]);
        for end in ends {
            (decision, matched) = self.step(&matched, &path[..end]);
        }
        decision
    }

    /// Whether some rule may match a path below a directory that none matches.
    pub fn may_match_below(&self, directory: &[u8]) -> bool {
        self.rules.iter().any(|rule| rule.may_match_below(directory))
    }

    /// Whether nothing below an excluded directory can be taken back, so that it need not be walked.
    pub fn can_prune(&self, directory: &[u8]) -> bool {
        !self.rules.iter().any(|rule| rule.takes_back && rule.may_match_below(directory))
    }
}

impl Rule {
    fn parse(text: &str, line: u32) -> Result<Option<Self>, PatternError> {
        let (takes_back, text) = match text.strip_prefix('!') {
            Some(rest) => (true, rest.trim()),
            None => (false, text),
        };
        let text = clean(text);
        if text.is_empty() {
            return Ok(None);
        }
        let component = |part: &str| match part {
            "**" => Ok(Component::AnyNumber),
            part => Pattern::with_double_star(part).map(Component::One),
        };
        let components = text.split('/').map(component).collect::<Result<_, _>>()?;
        let pattern = Pattern::with_double_star(&text)?;
        Ok(Some(Rule { pattern, components, takes_back, line }))
    }

    fn may_match_below(&self, directory: &[u8]) -> bool {
        let mut components = self.components.iter();
        for part in directory.split(|b| *b == b'/') {
            match components.next() {
                None => return false,
                Some(Component::AnyNumber) => return true,
                Some(Component::One(pattern)) if pattern.as_str().contains("**") => return true,
                Some(Component::One(pattern)) if !pattern.matches(part) => return false,
                Some(Component::One(_)) => {}
            }
        }
        components.next().is_some()
    }
}

/// Go's `filepath.Clean` for a relative pattern, without a leading slash.
fn clean(text: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in text.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn excluded(file: &str, path: &str) -> bool {
        IgnoreFile::parse(file.as_bytes()).unwrap().decide(path.as_bytes()).excluded
    }

    #[test]
    fn the_last_match_wins() {
        let file = "*.md\n!README.md\n";
        assert!(excluded(file, "a.md"));
        assert!(!excluded(file, "README.md"));
        assert!(!excluded(file, "deep/a.md"));
        assert!(excluded("!README.md\n*.md\n", "README.md"));
    }

    #[test]
    fn a_directory_takes_its_content_along() {
        assert!(excluded("node_modules", "node_modules/a/b.js"));
        assert!(excluded("/build/", "build/x"));
        assert!(!excluded("build", "src/build"));
        assert!(excluded("**/build", "src/build/x"));
        assert!(!excluded("dir\n!dir/keep", "dir/keep/x"));
        assert!(excluded("dir\n!dir/keep", "dir/other"));
    }

    #[test]
    fn comments_marks_and_dots_are_passed_over() {
        let file = IgnoreFile::parse(b"\xef\xbb\xbf# all\n\n./a/../b\n  c  \n").unwrap();
        let decision = |path: &str| file.decide(path.as_bytes());
        assert_eq!(decision("b"), Decision { excluded: true, line: Some(3) });
        assert_eq!(decision("c"), Decision { excluded: true, line: Some(4) });
        assert_eq!(decision("# all").line, None);
        assert!(IgnoreFile::parse(b"ok\n[\n").unwrap_err().to_string().starts_with("line 2"));
    }

    #[test]
    fn a_directory_is_pruned_unless_something_below_may_come_back() {
        let prune =
            |file: &str, dir: &str| IgnoreFile::parse(file.as_bytes()).unwrap().can_prune(dir.as_bytes());
        assert!(prune("secret", "secret"));
        assert!(prune("secret\n!keep.log", "secret"));
        assert!(!prune("secret\n!secret/a", "secret"));
        assert!(!prune("secret\n!**/a", "secret"));
        assert!(!prune("a\n!*/b/c", "a/b"));
        assert!(prune("a\n!*/b", "a/b"));
    }
}
