//! `COPY [flags] source … destination`.

use super::sources::{Sources, sources};
use super::{Line, Problem};
use crate::flags::Flags;

/// Files that are copied from the context, a stage or an image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Copy {
    /// From where and to where.
    pub sources: Sources,
    /// `--from`: a stage's name or number, or an image.
    pub from: Option<String>,
    /// `--chown`.
    pub chown: Option<String>,
    /// `--chmod`.
    pub chmod: Option<String>,
    /// `--link`.
    pub link: bool,
    /// `--parents`.
    pub parents: bool,
    /// `--exclude`, not expanded.
    pub exclude: Vec<String>,
}

pub(super) fn parse(mut line: Line<'_>) -> Result<Copy, Problem> {
    let mut flags = Flags::new(line.flags);
    let copy = Copy {
        from: flags.one("from")?.filter(|from| !from.is_empty()),
        chown: flags.one("chown")?,
        chmod: flags.one("chmod")?,
        link: flags.boolean("link")?.unwrap_or(false),
        parents: flags.boolean("parents")?.unwrap_or(false),
        exclude: flags.all("exclude")?,
        sources: Sources::default(),
    };
    flags.finish()?;
    Ok(Copy { sources: sources(&mut line)?, ..copy })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ast::Instruction;
    use crate::instruction::check;

    fn copy(text: &str) -> Copy {
        match check(text) {
            Ok(Instruction::Copy(copy)) => copy,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn flags_and_forms() {
        let found = copy("COPY --from=a --chown=1:2 --chmod=u+x --link --exclude=*.o --exclude=b x y /d/");
        assert_eq!((found.from.as_deref(), found.link), (Some("a"), true));
        assert_eq!(found.exclude, ["*.o", "b"]);
        assert_eq!(
            (found.sources.paths, found.sources.dest),
            (vec!["x".to_owned(), "y".to_owned()], "/d/".to_owned())
        );
        assert_eq!(copy(r#"COPY ["a b", "c"]"#).sources.paths, ["a b"]);
    }

    #[test]
    fn texts_are_sources() {
        let found = copy("COPY <<A b <<C /d/");
        assert_eq!((found.sources.paths, found.sources.heredocs.len()), (vec!["b".to_owned()], 2));
        assert!(check("COPY a <<B").is_err());
    }

    #[test]
    fn complaints() {
        for bad in
            ["COPY", "COPY a", "COPY --frm=x a b", "COPY --link=maybe a b", "COPY --chown=a --chown=b c d"]
        {
            assert!(check(bad).is_err(), "{bad}");
        }
    }
}
