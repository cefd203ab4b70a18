//! The parameters and the targets of a Dockerfile, in the forms of `docker build --call=outline` and `--call=targets`.

use kiln_engine::build::checks::{Outline, Target};

/// The gap between the columns of a table of parameters.
const GAP: usize = 3;

/// Parameters for people: a table each of arguments, secrets and agents.
pub fn outline(outline: &Outline) -> String {
    let mut out = String::new();
    if let Some(name) = &outline.name {
        let mut rows = vec![vec!["TARGET:", name.as_str()]];
        rows.extend(outline.description.as_deref().map(|text| vec!["DESCRIPTION:", text]));
        out.push_str(&(table(&rows, 1) + "\n"));
    }
    if !outline.args.is_empty() {
        let mut rows = vec![vec!["BUILD ARG", "VALUE", "DESCRIPTION"]];
        for arg in &outline.args {
            rows.push(vec![
                &arg.name,
                arg.value.as_deref().unwrap_or_default(),
                arg.description.as_deref().unwrap_or_default(),
            ]);
        }
        out.push_str(&(table(&rows, GAP) + "\n"));
    }
    for (title, mounts) in [("SECRET", &outline.secrets), ("SSH", &outline.ssh)] {
        if !mounts.is_empty() {
            let mut rows = vec![vec![title, "REQUIRED"]];
            rows.extend(
                mounts.iter().map(|mount| vec![&mount.id[..], if mount.required { "true" } else { "" }]),
            );
            out.push_str(&(table(&rows, GAP) + "\n"));
        }
    }
    out
}

/// Stages for people.
pub fn targets(targets: &[Target]) -> String {
    let name = |target: &Target| match (&target.name, target.default) {
        (None, true) => "(default)".to_owned(),
        (name, default) => {
            format!("{}{}", name.as_deref().unwrap_or_default(), if default { " (default)" } else { "" })
        }
    };
    let names: Vec<String> = targets.iter().map(name).collect();
    let mut rows = vec![vec!["TARGET", "DESCRIPTION"]];
    for (target, name) in targets.iter().zip(&names) {
        rows.push(vec![name, target.description.as_deref().unwrap_or_default()]);
    }
    table(&rows, 1)
}

/// Cells under each other with `gap` blanks between columns; every cell but a row's last is padded, empty ones too.
pub(crate) fn table(rows: &[Vec<&str>], gap: usize) -> String {
    let clean = |cell: &&str| cell.replace(['\n', '\t'], " ");
    let rows: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(clean).collect()).collect();
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width = |column: usize| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or_default()
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut out = String::new();
    for row in &rows {
        for (column, cell) in row.iter().enumerate() {
            let padding = if column + 1 < row.len() { widths[column] + gap } else { 0 };
            out.push_str(&format!("{cell:<padding$}"));
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use kiln_engine::build::checks::{OutlineArg, OutlineMount};
    use kiln_engine::dockerfile::Span;

    use super::*;

    #[test]
    fn parameters_are_tables() {
        let arg = |name: &str, value: Option<&str>, text: Option<&str>| OutlineArg {
            name: name.to_owned(),
            value: value.map(str::to_owned),
            description: text.map(str::to_owned),
            span: Span::line(1),
        };
        let mount = |id: &str, required| OutlineMount { id: id.to_owned(), required, span: Span::line(2) };
        let found = Outline {
            name: Some("app".to_owned()),
            description: Some("is it".to_owned()),
            args: vec![arg("VERSION", Some("1"), Some("of go")), arg("X", None, None)],
            secrets: vec![mount("token", true), mount("b", false)],
            ssh: Vec::new(),
        };
        let expected = "\
TARGET:      app
DESCRIPTION: is it

BUILD ARG   VALUE   DESCRIPTION
VERSION     1       of go
X                   \n
SECRET   REQUIRED
token    true
b        \n
";
        assert_eq!(outline(&found), expected);
        assert_eq!(outline(&Outline::default()), "");
    }

    #[test]
    fn stages_are_a_table() {
        let target = |name: Option<&str>, default| Target {
            name: name.map(str::to_owned),
            default,
            description: name.map(|name| format!("is {name}")),
            base: "scratch".to_owned(),
            platform: None,
            span: Span::line(1),
        };
        let found = targets(&[target(Some("build"), false), target(None, false), target(Some("app"), true)]);
        assert_eq!(
            found,
            "TARGET        DESCRIPTION\nbuild         is build\n              \napp (default) is app\n"
        );
        assert_eq!(targets(&[target(None, true)]), "TARGET    DESCRIPTION\n(default) \n");
    }
}
