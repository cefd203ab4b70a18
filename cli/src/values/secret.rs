//! `--secret id=NAME[,src=FILE|,env=VARIABLE][,type=file|env]`.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use kiln_engine::build::{SecretSource, SecretValue};
use kiln_engine::{Result, csv};

use super::wrong;

/// Reads one `--secret`, as buildx does; `variable` looks into the environment. Without a place the value is that of the
/// variable named like the secret, or of such a file. A variable that is not set is an empty secret.
pub(crate) fn parse(text: &str, variable: &dyn Fn(&str) -> Option<OsString>) -> Result<SecretSource> {
    let (mut id, mut file, mut env, mut kind) = (None, None, None, None);
    let Some(fields) = csv::record(text) else {
        return wrong("--secret", text, "quotes stand around a whole field");
    };
    for field in fields {
        let Some((key, value)) = field.split_once('=') else {
            return wrong("--secret", text, format!("`{field}` is not `key=value`"));
        };
        let value = Some(value.to_owned()).filter(|value| !value.is_empty());
        match key.to_ascii_lowercase().as_str() {
            "id" => id = value,
            "src" | "source" => file = value,
            "env" => env = value,
            "type" if matches!(value.as_deref(), Some("file" | "env")) => kind = value,
            "type" => return wrong("--secret", text, "the type is `file` or `env`"),
            _ => return wrong("--secret", text, format!("`{key}` is none of `id`, `src`, `env` and `type`")),
        }
    }
    let Some(id) = id else { return wrong("--secret", text, "it needs an `id`") };
    if kind.as_deref() == Some("env") && env.is_none() {
        env = file.take();
    }
    if env.is_none() && file.is_none() && variable(&id).is_some() {
        env = Some(id.clone());
    }
    let value = match env {
        Some(name) => SecretValue::Bytes(variable(&name).unwrap_or_default().into_vec()),
        None => SecretValue::File(PathBuf::from(file.unwrap_or_else(|| id.clone()))),
    };
    Ok(SecretSource { id, value })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<SecretSource> {
        parse(text, &|name| (name == "TOKEN" || name == "npm").then(|| format!("value of {name}").into()))
    }

    #[test]
    fn every_form_of_buildx() {
        let file = |path: &str| SecretValue::File(path.into());
        let bytes = |text: &str| SecretValue::Bytes(text.as_bytes().to_vec());
        for (text, id, value) in [
            ("id=a,src=b", "a", file("b")),
            ("id=a,source=/b/c", "a", file("/b/c")),
            ("ID=a,SRC=b,type=file", "a", file("b")),
            ("id=a,env=TOKEN", "a", bytes("value of TOKEN")),
            ("id=a,type=env,src=TOKEN", "a", bytes("value of TOKEN")),
            ("id=npm", "npm", bytes("value of npm")),
            ("id=npm,src=f", "npm", file("f")),
            ("id=other", "other", file("other")),
            ("id=a,env=NOT_SET", "a", bytes("")),
            ("id=a,\"src=b,c\"", "a", file("b,c")),
        ] {
            assert_eq!(read(text).unwrap(), SecretSource { id: id.to_owned(), value }, "{text}");
        }
    }

    #[test]
    fn mistakes_are_named() {
        for (bad, why) in [
            ("src=b", "it needs an `id`"),
            ("a", "`a` is not `key=value`"),
            ("id=a,mode=0400", "`mode` is none of"),
            ("id=a,type=dir", "the type is `file` or `env`"),
            ("id=a,\"src=b", "quotes stand around a whole field"),
        ] {
            let message = read(bad).unwrap_err().message;
            assert!(message.contains(why) && message.contains("--secret"), "{message}");
        }
    }
}
