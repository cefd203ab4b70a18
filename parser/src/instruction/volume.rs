//! `VOLUME path …`.

use super::{Line, Problem};
use crate::words::list;

pub(super) fn parse(line: &Line<'_>) -> Result<Vec<String>, Problem> {
    let volumes = list(line.only_argument()?)?;
    if volumes.is_empty() {
        return Err(Problem::new("VOLUME requires at least one argument"));
    }
    if volumes.iter().any(|volume| volume.trim().is_empty()) {
        return Err(Problem::new("VOLUME specified can not be an empty string"));
    }
    Ok(volumes.into_iter().map(|volume| volume.trim().to_owned()).collect())
}

#[cfg(test)]
mod tests {
    use crate::ast::Instruction;
    use crate::instruction::check;

    #[test]
    fn words_or_json() {
        let volumes = |text: &str| check(text).unwrap();
        assert_eq!(volumes("VOLUME /a /b"), volumes(r#"VOLUME ["/a", "/b"]"#));
        assert_eq!(volumes("VOLUME /a"), Instruction::Volume(vec!["/a".to_owned()]));
        assert!(check(r#"VOLUME [""]"#).is_err() && check("VOLUME []").is_err());
    }
}
