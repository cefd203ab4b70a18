//! `--mount=type=…,target=…`: one comma-separated record.

use kiln_graph::boolean;

use super::{Problem, nearest};
use crate::csv;

/// What is mounted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum MountKind {
    /// Files of a stage, an image or the context.
    #[default]
    Bind,
    /// A directory that outlives the build.
    Cache,
    /// Memory.
    Tmpfs,
    /// A secret.
    Secret,
    /// An agent's socket.
    Ssh,
}

/// One mount as written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MountSpec {
    /// `type`.
    pub kind: MountKind,
    /// `target`, `dst`, `destination`; where there is none, a file system is mounted at the working directory.
    pub target: Option<String>,
    /// `source`, `src`.
    pub source: Option<String>,
    /// `from`; may have variables.
    pub from: Option<String>,
    /// `readonly` or `readwrite`.
    pub readonly: Option<bool>,
    /// `id`.
    pub id: Option<String>,
    /// `sharing`.
    pub sharing: Option<String>,
    /// `mode`.
    pub mode: Option<u32>,
    /// `uid`.
    pub uid: Option<u32>,
    /// `gid`.
    pub gid: Option<u32>,
    /// `required`.
    pub required: bool,
    /// `env`.
    pub env: Option<String>,
    /// `size` in bytes.
    pub size: Option<u64>,
}

const KEYS: [&str; 18] = [
    "type",
    "target",
    "dst",
    "destination",
    "source",
    "src",
    "from",
    "readonly",
    "ro",
    "readwrite",
    "rw",
    "id",
    "sharing",
    "mode",
    "uid",
    "gid",
    "required",
    "env",
];

/// Reads a record and checks that its keys fit its type.
pub(crate) fn parse_mount(text: &str) -> Result<MountSpec, Problem> {
    mount_of(&mount_fields(text)?)
}

/// The fields of a record.
pub(crate) fn mount_fields(text: &str) -> Result<Vec<String>, Problem> {
    csv::record(text).ok_or_else(|| Problem {
        message: format!("`{text}` is not a comma-separated record"),
        help: Some("quotes stand around a whole field: `\"target=/a,b\"`".to_owned()),
    })
}

/// What fields mean together.
pub(crate) fn mount_of(fields: &[String]) -> Result<MountSpec, Problem> {
    let mut spec = MountSpec { kind: kind_of(fields)?, ..MountSpec::default() };
    fields.iter().try_for_each(|field| set(&mut spec, field))?;
    validate(&spec)?;
    Ok(spec)
}

/// The `from` of a record, not expanded.
pub(super) fn from_of(text: &str) -> Option<String> {
    let fields = csv::record(text)?;
    let from = |field: &String| {
        let (key, value) = field.split_once('=')?;
        key.eq_ignore_ascii_case("from").then(|| value.to_owned())
    };
    fields.iter().filter_map(from).next_back().filter(|from| !from.is_empty())
}

fn kind_of(fields: &[String]) -> Result<MountKind, Problem> {
    let value = fields
        .iter()
        .filter_map(|field| field.split_once('='))
        .filter(|(key, _)| key.eq_ignore_ascii_case("type"));
    let value = value.map(|(_, value)| value.to_ascii_lowercase()).next_back();
    Ok(match value.as_deref() {
        None | Some("bind") => MountKind::Bind,
        Some("cache") => MountKind::Cache,
        Some("tmpfs") => MountKind::Tmpfs,
        Some("secret") => MountKind::Secret,
        Some("ssh") => MountKind::Ssh,
        Some(other) => {
            let kinds = ["bind", "cache", "tmpfs", "secret", "ssh"];
            let near = nearest(other, &kinds).map(|known| format!("did you mean `{known}`?"));
            let help = near.or_else(|| Some(format!("it is one of `{}`", kinds.join("`, `"))));
            return Err(Problem { message: format!("unsupported mount type `{other}`"), help });
        }
    })
}

fn set(spec: &mut MountSpec, field: &str) -> Result<(), Problem> {
    let (key, value) = field.split_once('=').map_or((field, None), |(key, value)| (key, Some(value)));
    let key = key.to_ascii_lowercase();
    let kind = spec.kind;
    let wrong = || Problem::new(format!("unexpected key `{key}` for mount type `{}`", name(kind)));
    let text = || {
        value
            .map(str::to_owned)
            .ok_or_else(|| Problem::new(format!("invalid field `{field}`: it must be `key=value`")))
    };
    use MountKind::{Bind, Cache, Secret, Ssh, Tmpfs};
    match key.as_str() {
        "type" => {}
        "target" | "dst" | "destination" => spec.target = Some(text()?),
        "source" | "src" if matches!(kind, Tmpfs | Ssh) => return Err(wrong()),
        "source" | "src" => spec.source = Some(text()?),
        "from" if matches!(kind, Secret | Ssh) => return Err(wrong()),
        "from" => spec.from = Some(text()?).filter(|from| !from.is_empty()),
        "readonly" | "ro" => spec.readonly = Some(boolean(&key, value)?),
        "readwrite" | "rw" => spec.readonly = Some(!boolean(&key, value)?),
        "id" => spec.id = Some(text()?),
        "sharing" if kind != Cache => return Err(wrong()),
        "sharing" => spec.sharing = Some(sharing(text()?)?),
        "mode" | "uid" | "gid" if matches!(kind, Bind | Tmpfs) => return Err(wrong()),
        "mode" => spec.mode = Some(number(&key, &text()?, 8)?),
        "uid" => spec.uid = Some(number(&key, &text()?, 10)?),
        "gid" => spec.gid = Some(number(&key, &text()?, 10)?),
        "required" if !matches!(kind, Secret | Ssh) => return Err(wrong()),
        "required" => spec.required = boolean(&key, value)?,
        "env" if kind != Secret => return Err(wrong()),
        "env" => spec.env = Some(text()?),
        "size" if kind != Tmpfs => return Err(wrong()),
        "size" => spec.size = Some(size(&text()?)?),
        _ => {
            let help = nearest(&key, &KEYS).map(|known| format!("did you mean `{known}`?"));
            return Err(Problem { message: format!("unexpected key `{key}` in `{field}`"), help });
        }
    }
    Ok(())
}

fn validate(spec: &MountSpec) -> Result<(), Problem> {
    match spec.kind {
        MountKind::Secret if spec.id.is_some() && spec.source.is_some() => {
            Err(Problem::new("both `id` and `source` are given for a secret mount"))
        }
        MountKind::Secret if spec.id.is_none() && spec.source.is_none() && spec.target.is_none() => {
            Err(Problem::new("invalid secret mount: one of `source`, `id` and `target` is required"))
        }
        _ => Ok(()),
    }
}

fn name(kind: MountKind) -> &'static str {
    match kind {
        MountKind::Bind => "bind",
        MountKind::Cache => "cache",
        MountKind::Tmpfs => "tmpfs",
        MountKind::Secret => "secret",
        MountKind::Ssh => "ssh",
    }
}

pub(super) fn boolean(key: &str, value: Option<&str>) -> Result<bool, Problem> {
    let Some(text) = value else { return Ok(true) };
    boolean::parse(text).ok_or_else(|| Problem::new(format!("invalid value for `{key}`: `{text}`")))
}

fn sharing(text: String) -> Result<String, Problem> {
    let lower = text.to_ascii_lowercase();
    if matches!(lower.as_str(), "shared" | "private" | "locked") {
        return Ok(lower);
    }
    let help = Some("it is one of `shared`, `private`, `locked`".to_owned());
    Err(Problem { message: format!("unsupported sharing value `{text}`"), help })
}

fn number(key: &str, text: &str, radix: u32) -> Result<u32, Problem> {
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    let value = digits.then(|| u32::from_str_radix(text, radix).ok()).flatten();
    value.ok_or_else(|| Problem::new(format!("invalid value `{text}` for `{key}`")))
}

/// Bytes with an optional binary unit: `64m`, `1.5GiB`, `1024`.
fn size(text: &str) -> Result<u64, Problem> {
    let wrong = || Problem::new(format!("invalid value for `size`: `{text}`"));
    let lower = text.trim().to_ascii_lowercase();
    let digits = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic() || c == ' ');
    let unit = lower[digits.len()..].trim();
    let unit = unit.strip_suffix("ib").or(unit.strip_suffix('b')).unwrap_or(unit);
    let shift = ["", "k", "m", "g", "t", "p"].iter().position(|known| *known == unit).ok_or_else(wrong)?;
    let number: f64 = digits.parse().map_err(|_| wrong())?;
    let bytes = number * f64::powi(1024.0, shift as i32);
    if !(0.0..9e18).contains(&bytes) {
        return Err(wrong());
    }
    Ok(bytes as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(text: &str) -> Result<MountSpec, String> {
        parse_mount(text).map_err(|problem| problem.message)
    }

    #[test]
    fn every_kind() {
        let bind = mount("target=/a,src=b,from=c,rw").unwrap();
        assert_eq!(
            (bind.kind, bind.readonly, bind.from.as_deref()),
            (MountKind::Bind, Some(false), Some("c"))
        );
        let cache = mount("TYPE=cache,dst=/a,id=x,sharing=locked,mode=0700,uid=1,gid=2").unwrap();
        assert_eq!((cache.mode, cache.sharing.as_deref()), (Some(0o700), Some("locked")));
        assert_eq!(mount("type=tmpfs,target=/t,size=64m").unwrap().size, Some(64 << 20));
        assert!(mount("type=secret,id=k,env=K,required").unwrap().required);
        assert_eq!(mount("type=ssh").unwrap().kind, MountKind::Ssh);
        assert_eq!(mount("\"target=/a,\"\"b\",ro").unwrap().target.as_deref(), Some("/a,\"b"));
        assert_eq!(mount("type=BIND").unwrap().target, None);
    }

    #[test]
    fn keys_must_fit() {
        for bad in [
            "",
            "type=secrt,id=x",
            "type=tmpfs,target=/a,from=b,sharing=shared",
            "target=/a,mode=1",
            "type=ssh,source=/a",
            "type=secret,id=a,source=b",
            "type=secret",
            "type=cache,target=/a,sharing=x",
            "target=/a,tagret=b",
            "target",
            "type=cache,target=/a,mode=9",
            "\"target=/a",
            "target=\"/a\"",
            "\"target=/a\"b",
            "type=tmpfs,target=/a,size=x",
        ] {
            assert!(mount(bad).is_err(), "{bad}");
        }
    }
}
