//! What may be written in `--mount=`.

use super::{Completion, CompletionKind, Cursor};
use crate::edit::reference::{MOUNT_KINDS, MOUNT_OPTIONS, MountOption};

impl Cursor<'_> {
    /// What may be written behind `value`, which is what is written of the flag's value.
    pub(super) fn mount(&self, value: &str) -> Vec<Completion> {
        let field = value.rsplit(',').next().unwrap_or_default();
        match field.split_once('=') {
            Some(("type", kind)) => self.mount_kinds(kind),
            Some(("from", stage)) => self.stages(self.document.sources(self.line), stage),
            Some(("sharing", sharing)) => self.values(sharing, &["shared", "private", "locked"]),
            Some(_) => Vec::new(),
            None => self.mount_options(value, field),
        }
    }

    fn mount_kinds(&self, written: &str) -> Vec<Completion> {
        let completion = |(name, about): &(&str, &str)| {
            let about = (*about).to_owned();
            Completion { about, ..self.word(written, name, CompletionKind::Value) }
        };
        MOUNT_KINDS.iter().map(completion).collect()
    }

    /// The options that the type has and that are not given yet.
    fn mount_options(&self, value: &str, written: &str) -> Vec<Completion> {
        let given = |key: &str| value.split(',').find_map(|field| field.strip_prefix(key)?.strip_prefix('='));
        let kind = given("type");
        let fits = |option: &&MountOption| {
            kind.is_none_or(|kind| option.kinds.contains(&kind)) && given(option.name).is_none()
        };
        let completion = |option: &MountOption| {
            let (about, text) = (option.about.to_owned(), format!("{}=", option.name));
            Completion { about, text, ..self.word(written, option.name, CompletionKind::Option) }
        };
        MOUNT_OPTIONS.iter().filter(fits).map(completion).collect()
    }
}

#[cfg(test)]
mod tests {
    use crate::edit::complete::tests::{check, labels};

    #[test]
    fn options_that_fit() {
        check("FROM x\nRUN --mount=‸", "type", "FROM x\nRUN --mount=type=");
        check("FROM x\nRUN --mount=type=s‸", "secret", "FROM x\nRUN --mount=type=secret");
        check("FROM x\nRUN --mount=type=cache,sh‸", "sharing", "FROM x\nRUN --mount=type=cache,sharing=");
        check(
            "FROM x\nRUN --mount=type=cache,sharing=‸",
            "locked",
            "FROM x\nRUN --mount=type=cache,sharing=locked",
        );
        let options = labels("FROM x\nRUN --mount=type=tmpfs,target=/x,‸");
        assert!(options.contains(&"size".to_owned()));
        assert!(!options.contains(&"sharing".to_owned()) && !options.contains(&"target".to_owned()));
    }
}
