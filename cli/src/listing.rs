//! Lists: rows as a table, as JSON, through a template, or as ids.

use kiln_engine::Result;
use serde_json::Value;

use crate::args::ListFormat;
use crate::template::Template;
use crate::{terminal, text};

/// Spaces between two columns, as Docker has them.
const GAP: usize = 3;

/// Rows with named fields, and how they are shown.
#[derive(Debug)]
pub(crate) struct Listing {
    /// Title and field of each column.
    pub(crate) columns: Vec<(&'static str, &'static str)>,
    /// The field that `-q` prints.
    pub(crate) id: &'static str,
    /// One object a row.
    pub(crate) rows: Vec<Value>,
}

impl Listing {
    /// Prints the rows as `format` wants them.
    pub(crate) fn print(&self, format: &ListFormat) -> Result<()> {
        terminal::print(&self.render(format)?)
    }

    fn render(&self, format: &ListFormat) -> Result<String> {
        if format.quiet {
            return Ok(self.rows.iter().map(|row| format!("{}\n", shown(&row[self.id]))).collect());
        }
        match format.format.as_deref() {
            _ if format.json => Ok(self.json()),
            Some("json") => Ok(self.json()),
            None | Some("table") => Ok(self.table()),
            Some(template) => self.templated(template),
        }
    }

    fn json(&self) -> String {
        self.rows.iter().map(|row| format!("{row}\n")).collect()
    }

    fn table(&self) -> String {
        let titles = self.columns.iter().map(|(title, _)| (*title).to_owned()).collect();
        let cells = |row: &Value| self.columns.iter().map(|(_, field)| shown(&row[*field])).collect();
        table(std::iter::once(titles).chain(self.rows.iter().map(cells)).collect())
    }

    fn templated(&self, text: &str) -> Result<String> {
        let Some(columns) = text.strip_prefix("table ") else {
            let template = Template::parse(text)?;
            return self.rows.iter().map(|row| Ok(template.fill(row)? + "\n")).collect();
        };
        let template = Template::parse(columns)?;
        let mut lines = vec![template.titles()];
        for row in &self.rows {
            lines.push(template.fill(row)?);
        }
        Ok(table(lines.iter().map(|line| line.split('\t').map(str::to_owned).collect()).collect()))
    }
}

/// Rows of cells under each other; the last column is not padded.
pub(crate) fn table(rows: Vec<Vec<String>>) -> String {
    let rows: Vec<Vec<String>> = rows
        .into_iter()
        .map(|row| {
            row.iter().map(|cell| text::neutral(&cell.replace(['\n', '\t'], " ")).into_owned()).collect()
        })
        .collect();
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width =
        |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join(&" ".repeat(GAP)).trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn listing() -> Listing {
        Listing {
            columns: vec![("ID", "ID"), ("NAMES", "Names")],
            id: "ID",
            rows: vec![json!({"ID": "a", "Names": "one"}), json!({"ID": "bbbbb", "Names": "t\x1bwo"})],
        }
    }

    fn render(format: ListFormat) -> String {
        listing().render(&format).unwrap()
    }

    #[test]
    fn every_format() {
        assert_eq!(render(ListFormat::default()), "ID      NAMES\na       one\nbbbbb   t\\x1bwo\n");
        assert_eq!(render(ListFormat { quiet: true, ..Default::default() }), "a\nbbbbb\n");
        let json = render(ListFormat { json: true, ..Default::default() });
        assert_eq!(json.lines().next(), Some(r#"{"ID":"a","Names":"one"}"#));
        let template =
            |text: &str| render(ListFormat { format: Some(text.to_owned()), ..Default::default() });
        assert_eq!(template("{{.Names}}").lines().next(), Some("one"));
        assert_eq!(template("table {{.Names}}\\t{{.ID}}").lines().next(), Some("NAMES     ID"));
    }
}
