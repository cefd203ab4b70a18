//! Paragraphs of `Name: value` lines, as dpkg's status file and Python's metadata have them.

/// The most fields of a paragraph that are kept; those of a package come before the list of its files.
const MAX_FIELDS: usize = 10_000;

/// One paragraph.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Paragraph<'a> {
    fields: Vec<(&'a str, &'a str)>,
}

impl<'a> Paragraph<'a> {
    /// The first line of a field's value; names are compared without regard to case.
    pub(super) fn get(&self, name: &str) -> Option<&'a str> {
        self.all(name).next()
    }

    /// The same where names differ by case.
    pub(super) fn exact(&self, name: &str) -> Option<&'a str> {
        self.fields.iter().find(|(found, _)| *found == name).map(|(_, value)| *value)
    }

    /// The values of a field that may be there several times.
    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = &'a str> {
        self.fields.iter().filter(move |(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| *value)
    }
}

/// The paragraphs of a text. Continuation lines, which begin with a blank, are left out.
pub(super) fn paragraphs(text: &str) -> impl Iterator<Item = Paragraph<'_>> {
    let mut lines = text.lines();
    std::iter::from_fn(move || {
        let mut paragraph = Paragraph::default();
        for line in lines.by_ref() {
            if line.trim().is_empty() {
                if paragraph.fields.is_empty() {
                    continue;
                }
                return Some(paragraph);
            }
            let field = line.split_once(':').filter(|_| !line.starts_with([' ', '\t']));
            if let Some((name, value)) = field.filter(|_| paragraph.fields.len() < MAX_FIELDS) {
                paragraph.fields.push((name, value.trim()));
            }
        }
        Some(paragraph).filter(|paragraph| !paragraph.fields.is_empty())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paragraphs_end_at_blank_lines() {
        let text = "\nA: 1\nB:  two words \n continued: no\nb: 3\n\n\nnothing\nC:\n";
        let all: Vec<Paragraph> = paragraphs(text).collect();
        assert_eq!(all.len(), 2);
        assert_eq!((all[0].get("a"), all[0].get("continued")), (Some("1"), None));
        assert_eq!(all[0].all("B").collect::<Vec<_>>(), ["two words", "3"]);
        assert_eq!(all[1].get("C"), Some(""));
    }
}
