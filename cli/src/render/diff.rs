//! What changes in a file, as `diff -u` and `patch` write and read it.

use std::fmt::Write;

use kiln_engine::dockerfile::Rewrite;

/// Lines around a change.
const CONTEXT: usize = 3;

/// Lines that are replaced by others.
struct Change<'t> {
    first: usize,
    end: usize,
    new: Vec<&'t str>,
}

/// The rewrites of `old`, which are of whole lines and in order.
pub(crate) fn unified(name: &str, old: &str, rewrites: &[Rewrite]) -> String {
    let lines: Vec<&str> = old.split_inclusive('\n').collect();
    let changes = changes(old, rewrites);
    let mut out = format!("--- {name}\n+++ {name}\n");
    let mut before = 0;
    let mut after = 0;
    for hunk in changes.chunk_by(|a, b| b.first - a.end <= 2 * CONTEXT) {
        let (Some(first), Some(last)) = (hunk.first(), hunk.last()) else { continue };
        let (from, to) = (first.first.saturating_sub(CONTEXT), (last.end + CONTEXT).min(lines.len()));
        let added: usize = hunk.iter().map(|change| change.new.len()).sum();
        let removed: usize = hunk.iter().map(|change| change.end - change.first).sum();
        let counts = (to - from, to - from + added - removed);
        let start = |count: usize, from: usize| if count == 0 { from } else { from + 1 };
        let starts = (start(counts.0, from), start(counts.1, from + after - before));
        let _ = writeln!(out, "@@ -{},{} +{},{} @@", starts.0, counts.0, starts.1, counts.1);
        body(&mut out, &lines[..to], from, hunk);
        (before, after) = (before + removed, after + added);
    }
    out
}

fn changes<'t>(old: &str, rewrites: &'t [Rewrite]) -> Vec<Change<'t>> {
    let (mut at, mut line) = (0, 0);
    let mut count_to = |end: usize| {
        line += old[at..end].split_inclusive('\n').count();
        at = end;
        line
    };
    let change = |rewrite: &'t Rewrite| Change {
        first: count_to(rewrite.bytes.start),
        end: count_to(rewrite.bytes.end),
        new: rewrite.text.split_inclusive('\n').collect(),
    };
    rewrites.iter().map(change).collect()
}

/// The lines of a hunk, from `from` to the end of `lines`.
fn body(out: &mut String, lines: &[&str], from: usize, hunk: &[Change<'_>]) {
    let mut at = from;
    for change in hunk {
        lines[at..change.first].iter().for_each(|line| push(out, ' ', line));
        lines[change.first..change.end].iter().for_each(|line| push(out, '-', line));
        change.new.iter().for_each(|line| push(out, '+', line));
        at = change.end;
    }
    lines[at..].iter().for_each(|line| push(out, ' ', line));
}

fn push(out: &mut String, mark: char, line: &str) {
    out.push(mark);
    out.push_str(line);
    if !line.ends_with('\n') {
        out.push_str("\n\\ No newline at end of file\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewrite(old: &str, lines: &str, new: &str) -> Rewrite {
        let start = old.find(lines).unwrap();
        Rewrite { bytes: start..start + lines.len(), text: new.to_owned() }
    }

    #[test]
    fn changes_have_three_lines_around_them() {
        let old: String = (1..=30).map(|n| format!("{n};\n")).collect();
        let rewrites = [
            rewrite(&old, "2;\n3;\n", "two and three\n"),
            rewrite(&old, "9;\n", "nine\n"),
            rewrite(&old, "25;\n", "25a\n25b\n"),
        ];
        let expected = "\
--- D
+++ D
@@ -1,12 +1,11 @@
 1;
-2;
-3;
+two and three
 4;
 5;
 6;
 7;
 8;
-9;
+nine
 10;
 11;
 12;
@@ -22,7 +21,8 @@
 22;
 23;
 24;
-25;
+25a
+25b
 26;
 27;
 28;
";
        assert_eq!(unified("D", &old, &rewrites), expected);
    }

    #[test]
    fn a_missing_line_feed_is_noted() {
        let old = "FROM x\nuser y";
        let expected = "\
--- D\n+++ D\n@@ -1,2 +1,2 @@\n FROM x\n-user y\n\\ No newline at end of file\n+USER y\n";
        assert_eq!(unified("D", old, &[rewrite(old, "user y", "USER y\n")]), expected);
    }

    #[test]
    fn lines_may_only_go_or_only_come() {
        let old = "\nFROM x\n";
        let gone = Rewrite { bytes: 0..1, text: String::new() };
        assert_eq!(unified("D", old, &[gone]), "--- D\n+++ D\n@@ -1,2 +1,1 @@\n-\n FROM x\n");
    }
}
