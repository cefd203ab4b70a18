//! `ADD [flags] source … destination`.

use super::sources::{Sources, sources};
use super::{Line, Problem};
use crate::flags::Flags;

/// Files that are added: from the context, the web, a repository, or out of an archive.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Add {
    /// From where and to where.
    pub sources: Sources,
    /// `--chown`.
    pub chown: Option<String>,
    /// `--chmod`.
    pub chmod: Option<String>,
    /// `--link`.
    pub link: bool,
    /// `--keep-git-dir`.
    pub keep_git_dir: Option<bool>,
    /// `--checksum`.
    pub checksum: Option<String>,
    /// `--unpack`.
    pub unpack: Option<bool>,
    /// `--exclude`, not expanded.
    pub exclude: Vec<String>,
}

pub(super) fn parse(mut line: Line<'_>) -> Result<Add, Problem> {
    let mut flags = Flags::new(line.flags);
    let add = Add {
        chown: flags.one("chown")?,
        chmod: flags.one("chmod")?,
        link: flags.boolean("link")?.unwrap_or(false),
        keep_git_dir: flags.boolean("keep-git-dir")?,
        checksum: flags.one("checksum")?.filter(|checksum| !checksum.is_empty()),
        unpack: flags.boolean("unpack")?,
        exclude: flags.all("exclude")?,
        sources: Sources::default(),
    };
    flags.finish()?;
    Ok(Add { sources: sources(&mut line)?, ..add })
}

#[cfg(test)]
mod tests {
    use crate::ast::Instruction;
    use crate::instruction::check;

    #[test]
    fn flags_of_its_own() {
        let Ok(Instruction::Add(add)) = check("ADD --keep-git-dir --unpack=false --checksum=sha256:1 u /d")
        else {
            panic!()
        };
        assert_eq!((add.keep_git_dir, add.unpack), (Some(true), Some(false)));
        assert!(check("ADD --from=x a b").is_err());
    }
}
