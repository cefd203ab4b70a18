//! What the language has, with a sentence on each: instructions, their flags, the options of mounts.

mod instructions;
mod mounts;

pub(crate) use instructions::INSTRUCTIONS;
pub(crate) use mounts::{MOUNT_KINDS, MOUNT_OPTIONS, MountOption};

/// An instruction.
#[derive(Debug)]
pub(crate) struct InstructionEntry {
    /// In upper case.
    pub(crate) keyword: &'static str,
    /// How it is written.
    pub(crate) form: &'static str,
    /// What it does.
    pub(crate) about: &'static str,
    /// Its flags.
    pub(crate) flags: &'static [FlagEntry],
}

/// A flag of an instruction.
#[derive(Debug)]
pub(crate) struct FlagEntry {
    /// Without the dashes.
    pub(crate) name: &'static str,
    /// What its value is.
    pub(crate) value: FlagValue,
    /// What it does.
    pub(crate) about: &'static str,
}

/// What the value of a flag is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FlagValue {
    /// `true`, `false`, or nothing, which is `true`.
    Switch,
    /// One of these.
    OneOf(&'static [&'static str]),
    /// A stage, an image or a named context.
    Stage,
    /// The options of a mount.
    Mount,
    /// Something else, shown as this word.
    Text(&'static str),
}

impl FlagEntry {
    /// The flag as it is written.
    pub(crate) fn form(&self) -> String {
        match self.value {
            FlagValue::Switch => format!("--{}[=true|false]", self.name),
            FlagValue::OneOf(values) => format!("--{}={}", self.name, values.join("|")),
            FlagValue::Stage => format!("--{}=STAGE|IMAGE|CONTEXT", self.name),
            FlagValue::Mount => format!("--{}=type=TYPE,OPTION=VALUE,…", self.name),
            FlagValue::Text(word) => format!("--{}={word}", self.name),
        }
    }
}

/// The instruction of this name, in any case.
pub(crate) fn instruction(keyword: &str) -> Option<&'static InstructionEntry> {
    INSTRUCTIONS.iter().find(|entry| entry.keyword.eq_ignore_ascii_case(keyword))
}

/// The option of this name, in any case; names that mean the same have one entry.
pub(crate) fn mount_option(name: &str) -> Option<&'static MountOption> {
    let name = match name.to_ascii_lowercase().as_str() {
        "dst" | "destination" => "target".to_owned(),
        "src" => "source".to_owned(),
        "ro" => "readonly".to_owned(),
        "rw" => "readwrite".to_owned(),
        other => other.to_owned(),
    };
    MOUNT_OPTIONS.iter().find(|option| option.name == name)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::{Severity, SourceFile, parse};

    fn is_accepted(line: &str) -> bool {
        let text = if line.starts_with("FROM") { line.to_owned() } else { format!("FROM scratch\n{line}\n") };
        let (_, diagnostics) = parse(&SourceFile::new("Dockerfile", text));
        diagnostics.iter().all(|diagnostic| diagnostic.severity != Severity::Error)
    }

    fn example(flag: &FlagEntry) -> &'static str {
        match (flag.value, flag.name) {
            (FlagValue::Switch, _) => "true",
            (FlagValue::OneOf(values), _) => values[0],
            (FlagValue::Mount, _) => "target=/x",
            (_, "retries") => "1",
            (_, "chmod") => "644",
            (_, name) if name.starts_with("start-") || matches!(name, "interval" | "timeout") => "1s",
            _ => "x",
        }
    }

    /// Every flag there is, tried at every instruction, is accepted exactly where the table has it.
    #[test]
    fn the_table_and_the_parser_agree_on_flags() {
        let all: BTreeSet<(&str, &str)> = INSTRUCTIONS
            .iter()
            .flat_map(|entry| entry.flags.iter().map(|flag| (flag.name, example(flag))))
            .collect();
        let arguments = [
            ("ADD", "a b"),
            ("CMD", "a"),
            ("COPY", "a b"),
            ("ENTRYPOINT", "a"),
            ("ENV", "a=b"),
            ("EXPOSE", "1"),
            ("FROM", "a"),
            ("HEALTHCHECK", "CMD a"),
            ("LABEL", "a=b"),
            ("RUN", "a"),
            ("USER", "a"),
            ("VOLUME", "a"),
            ("WORKDIR", "a"),
        ];
        for (keyword, argument) in arguments {
            let entry = instruction(keyword).unwrap();
            for (name, value) in &all {
                let line = format!("{keyword} --{name}={value} {argument}");
                let known = entry.flags.iter().any(|flag| flag.name == *name);
                assert_eq!(is_accepted(&line), known, "{line}");
            }
        }
    }

    #[test]
    fn every_keyword_is_explained() {
        let keywords: Vec<&str> = INSTRUCTIONS.iter().map(|entry| entry.keyword).collect();
        assert_eq!(keywords, crate::instruction::KEYWORDS);
    }

    /// Every option of a mount, tried at every kind, is accepted exactly where the table has it.
    #[test]
    fn the_table_and_the_parser_agree_on_mounts() {
        for (kind, _) in MOUNT_KINDS {
            for option in MOUNT_OPTIONS.iter().filter(|option| option.name != "type") {
                let value = match option.name {
                    "sharing" => "locked",
                    "readonly" | "readwrite" | "required" => "true",
                    _ => "1",
                };
                let rest = match *kind {
                    "secret" if matches!(option.name, "id" | "source") => "",
                    "secret" => ",id=x",
                    _ if option.name == "target" => "",
                    _ => ",target=/x",
                };
                let line = format!("RUN --mount=type={kind},{}={value}{rest} true", option.name);
                assert_eq!(is_accepted(&line), option.kinds.contains(kind), "{line}");
            }
        }
    }
}
