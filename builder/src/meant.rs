//! What somebody may have meant by a path that is not there.

use std::ffi::OsString;
use std::path::Path;

/// Most names of a folder that are compared.
const MAX_NAMES: usize = 10_000;
/// Most letters that a name which is meant differs in.
const NEAR: usize = 2;

/// What to do about `written`, which is not at `path`; `list` gives the names in a folder.
pub(crate) fn hint(written: &str, path: &Path, list: impl Fn(&Path) -> Vec<OsString>) -> Option<String> {
    if let Some(quote) = written.chars().find(|c| matches!(c, '“' | '”' | '„' | '‘' | '’')) {
        let hint = format!("`{quote}` is a letter like any other; in a JSON list names stand between `\"`");
        return Some(hint);
    }
    if written.trim_start_matches('/').starts_with("--") {
        return Some("flags stand before the paths".to_owned());
    }
    let name = path.file_name()?.to_str()?.to_owned();
    let folder = path.parent().unwrap_or(Path::new(""));
    let names = list(folder).into_iter().take(MAX_NAMES).filter_map(|name| name.into_string().ok());
    let near = names.map(|known| (distance(&name, &known), known)).filter(|(distance, _)| *distance <= NEAR);
    let (_, meant) = near.min()?;
    Some(format!("did you mean `{}`?", folder.join(meant).display()))
}

/// Letters that differ; those in another case only do not count.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (letters(a), letters(b));
    if a.len() < 3 && a != b {
        return usize::MAX;
    }
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

fn letters(text: &str) -> Vec<char> {
    text.to_lowercase().chars().take(256).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_nearly_right_are_found() {
        let list = |dir: &Path| match dir.to_str() {
            Some("") => vec!["README.md".into(), "packages.json".into(), "src".into()],
            Some("src") => vec!["main.rs".into()],
            _ => Vec::new(),
        };
        for (path, expected) in [
            ("readme.md", Some("did you mean `README.md`?")),
            ("package.json", Some("did you mean `packages.json`?")),
            ("src/mian.rs", Some("did you mean `src/main.rs`?")),
            ("dist", None),
            ("a", None),
            ("--chown=1", Some("flags stand before the paths")),
        ] {
            assert_eq!(hint(path, Path::new(path), list).as_deref(), expected, "{path}");
        }
        assert!(hint("“a", Path::new("“a"), list).unwrap().contains("JSON"));
    }
}
