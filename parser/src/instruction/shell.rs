//! `SHELL ["program", "argument", …]`.

use super::{Line, Problem};
use crate::words::json_list;

pub(super) fn parse(line: &Line<'_>) -> Result<Vec<String>, Problem> {
    match json_list(line.only_argument()?)? {
        Some(shell) if !shell.is_empty() => Ok(shell),
        Some(_) => Err(Problem::new("SHELL requires at least one argument")),
        None => Err(Problem {
            message: "SHELL requires its arguments to be in JSON form".to_owned(),
            help: Some("for example `SHELL [\"/bin/bash\", \"-c\"]`".to_owned()),
        }),
    }
}

#[cfg(test)]
mod tests {
    use crate::instruction::check;

    #[test]
    fn item_15_only_json() {
        assert!(check(r#"SHELL ["a", "-c"]"#).is_ok());
        assert!(check("SHELL []").is_err() && check("SHELL /bin/sh -c").is_err());
    }
}
