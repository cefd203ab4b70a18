//! Filters of cache records as BuildKit's clients write them: `type==regular,description~=x`, each a set of conditions.

use regex::Regex;

use super::Record;

/// What is known of a record, by the names of conditions.
const FIELDS: [&str; 9] =
    ["id", "parents", "description", "inuse", "mutable", "immutable", "type", "shared", "private"];
/// The most bytes of a pattern that was understood.
const MAX_PATTERN: usize = 1 << 20;

/// Filters, of which one must choose a record; all are chosen where there is none.
#[derive(Debug, Default)]
pub(crate) struct Filters(Vec<Vec<Condition>>);

#[derive(Debug)]
struct Condition {
    field: &'static str,
    test: Test,
}

#[derive(Debug)]
enum Test {
    Present,
    Is(String),
    IsNot(String),
    Matches(Regex),
}

impl Filters {
    /// Reads filters; an error says which is malformed. A field that no record has is refused, since `!=` would choose
    /// everything by it.
    pub(crate) fn parse(texts: &[String]) -> Result<Filters, String> {
        // `buildx prune` sends an empty one where it has none.
        let texts = texts.iter().filter(|text| !text.is_empty());
        Ok(Filters(texts.map(|text| conditions(text)).collect::<Result<_, _>>()?))
    }

    /// Whether a record is chosen.
    pub(crate) fn take(&self, record: &Record) -> bool {
        let holds = |filter: &Vec<Condition>| filter.iter().all(|condition| condition.holds(record));
        self.0.is_empty() || self.0.iter().any(holds)
    }

    /// Whether a kind of records is asked for by its name.
    pub(super) fn choose_kinds(&self) -> bool {
        self.0.iter().flatten().any(|condition| condition.field == "type")
    }
}

impl Condition {
    fn holds(&self, record: &Record) -> bool {
        let value = field(record, self.field);
        match &self.test {
            Test::Present => value.is_some(),
            Test::Is(wanted) => value == Some(wanted),
            Test::IsNot(wanted) => value.unwrap_or_default() != wanted,
            Test::Matches(pattern) => pattern.is_match(value.unwrap_or_default()),
        }
    }
}

/// What a record says; that something is so is an empty text.
fn field<'a>(record: &'a Record, name: &str) -> Option<&'a str> {
    let so = |is: bool| is.then_some("");
    match name {
        "id" => Some(record.id),
        "description" => Some(&record.description),
        "type" => Some(record.kind),
        "inuse" => so(record.in_use),
        "mutable" => so(record.mutable),
        "immutable" => so(!record.mutable),
        // What an image needs is no build cache here.
        "private" => Some(""),
        _ => None,
    }
}

fn conditions(text: &str) -> Result<Vec<Condition>, String> {
    let wrong = |why: &str| format!("the filter `{}`: {why}", text.escape_debug());
    let (mut found, mut rest) = (Vec::new(), text);
    loop {
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
        let (name, after) = rest.split_at(end);
        let field = FIELDS.into_iter().find(|field| *field == name);
        let field = field.ok_or_else(|| wrong("no field of a record"))?;
        let (test, after) = match after.get(..2) {
            Some(operator @ ("==" | "!=" | "~=")) => {
                let (value, after) = value(&after[2..]).ok_or_else(|| wrong("no value"))?;
                let test = match operator {
                    "==" => Test::Is(value),
                    "!=" => Test::IsNot(value),
                    _ => Test::Matches(pattern(&value).map_err(|why| wrong(&why))?),
                };
                (test, after)
            }
            _ => (Test::Present, after),
        };
        found.push(Condition { field, test });
        match after.strip_prefix(',') {
            Some(more) => rest = more,
            None if after.is_empty() => return Ok(found),
            None => return Err(wrong("no condition")),
        }
    }
}

/// A value up to the next comma, or between quotes; and what follows.
fn value(text: &str) -> Option<(String, &str)> {
    let Some(quote) = text.chars().next().filter(|first| matches!(first, '"' | '/' | '|')) else {
        let end = text.find(',').unwrap_or(text.len());
        return (end > 0).then(|| (text[..end].to_owned(), &text[end..]));
    };
    let (mut said, mut is_escaped) = (String::new(), false);
    for (at, char) in text.char_indices().skip(1) {
        match char {
            '\\' if !is_escaped => is_escaped = true,
            _ if char == quote && !is_escaped => return Some((said, &text[at + 1..])),
            _ => {
                // Other escapes are the pattern's.
                if is_escaped && char != quote && char != '\\' {
                    said.push('\\');
                }
                said.push(char);
                is_escaped = false;
            }
        }
    }
    None
}

fn pattern(text: &str) -> Result<Regex, String> {
    regex::RegexBuilder::new(text).size_limit(MAX_PATTERN).build().map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn takes(text: &str) -> bool {
        let record =
            Record { id: "a1", kind: "regular", description: "x, y".to_owned(), ..Record::default() };
        Filters::parse(&[text.to_owned()]).unwrap().take(&record)
    }

    #[test]
    fn all_conditions_of_one_filter_hold() {
        assert!(takes("") && takes("type==regular") && takes("id~=^a,type==regular") && takes("id!=b"));
        assert!(!takes("type==exec.cachemount") && !takes("id~=^a,type!=regular") && !takes("id==a"));
        assert!(takes("private") && takes("immutable") && !takes("shared") && !takes("inuse"));
        assert!(takes(r#"description=="x, y",private"#) && takes(r"description~=/^x,\s/"));
        let either = ["shared".to_owned(), "id==a1".to_owned()];
        let record = Record { id: "a1", ..Record::default() };
        assert!(Filters::parse(&either).unwrap().take(&record));
    }

    #[test]
    fn what_would_choose_more_than_was_meant_is_refused() {
        for bad in
            ["x==1", "colour!=red", "type=regular", "type==", "id~=(", "id==a,", "id==\"a", "id==\"a\"b"]
        {
            assert!(Filters::parse(&[bad.to_owned()]).is_err(), "{bad}");
        }
    }

    #[test]
    fn cache_mounts_go_where_they_are_asked_for() {
        let kind = |id, kind| Record { id, kind, ..Record::default() };
        let records = [kind("a", "regular"), kind("b", "exec.cachemount"), kind("c", "source.local")];
        let chosen = |text: &str, all| {
            let kinds = super::super::chosen(&records, &Filters::parse(&[text.to_owned()]).unwrap(), all);
            (kinds.results, kinds.mounts, kinds.received)
        };
        assert_eq!(chosen("", false), (true, false, true));
        assert_eq!(chosen("", true), (true, true, true));
        assert_eq!(chosen("type==exec.cachemount", false), (false, true, false));
        assert_eq!(chosen("type==regular", true), (true, false, false));
        assert_eq!(chosen("private", false), (true, false, true));
    }
}
