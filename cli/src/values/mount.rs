//! `-v`, `--mount` and `--tmpfs`.

use std::path::Path;

use kiln_engine::containers::{MountKind, MountRequest};
use kiln_engine::{Error, Result};

use super::{quantity, wrong};

/// `-v [SOURCE:]TARGET[:OPTIONS]`. A source with a slash or a leading dot is a path, else a volume.
pub(crate) fn volume(text: &str, cwd: &Path) -> Result<MountRequest> {
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, options) = match parts[..] {
        [target] => (None, target, ""),
        [source, target] if target.starts_with('/') => (Some(source), target, ""),
        [target, options] => (None, target, options),
        [source, target, options] => (Some(source), target, options),
        _ => return wrong("-v", text, "it has more than three parts"),
    };
    if !target.starts_with('/') {
        return wrong("-v", text, format!("the container path `{target}` must be absolute"));
    }
    let mut readonly = false;
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option {
            "ro" | "readonly" => readonly = true,
            // SELinux labels and consistency hints mean nothing here; volumes are filled from the image as usual.
            "rw" | "z" | "Z" | "cached" | "delegated" | "consistent" | "rprivate" => {}
            other => return wrong("-v", text, format!("option `{other}` is not supported")),
        }
    }
    let kind = match source {
        None => MountKind::Volume { name: None },
        Some("") => return wrong("-v", text, "its source is empty"),
        Some(source) if is_path(source) => MountKind::Bind { source: absolute(source, cwd), create: true },
        Some(name) => MountKind::Volume { name: Some(name.to_owned()) },
    };
    Ok(MountRequest { kind, target: target.to_owned(), readonly })
}

/// `--mount type=…,source=…,target=…[,readonly]`.
pub(crate) fn long(text: &str, cwd: &Path) -> Result<MountRequest> {
    let mut fields = Fields::default();
    for part in text.split(',') {
        let (key, value) = part.split_once('=').map_or((part, None), |(key, value)| (key, Some(value)));
        fields.set(text, key.trim(), value)?;
    }
    let Some(target) = fields.target else { return wrong("--mount", text, "it needs a `target`") };
    if !target.starts_with('/') {
        return wrong("--mount", text, format!("the container path `{target}` must be absolute"));
    }
    let kind = match fields.kind.as_deref().unwrap_or("volume") {
        "bind" => match fields.source {
            Some(source) if !source.is_empty() => {
                MountKind::Bind { source: absolute(&source, cwd), create: false }
            }
            _ => return wrong("--mount", text, "a bind mount needs a `source`"),
        },
        "volume" => MountKind::Volume { name: fields.source.filter(|name| !name.is_empty()) },
        "tmpfs" => MountKind::Tmpfs { size: fields.size, mode: fields.mode },
        other => return wrong("--mount", text, format!("type `{other}` is not `bind`, `volume` or `tmpfs`")),
    };
    Ok(MountRequest { kind, target, readonly: fields.readonly })
}

/// `--tmpfs TARGET[:size=…,mode=…,ro]`.
pub(crate) fn tmpfs(text: &str) -> Result<MountRequest> {
    let (target, options) = text.split_once(':').unwrap_or((text, ""));
    if !target.starts_with('/') {
        return wrong("--tmpfs", text, format!("the container path `{target}` must be absolute"));
    }
    let (mut size, mut mode, mut readonly) = (None, None, false);
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option.split_once('=') {
            Some(("size", value)) => size = Some(quantity::bytes("--tmpfs", value)?),
            Some(("mode", value)) => mode = Some(octal("--tmpfs", value)?),
            None if option == "ro" => readonly = true,
            None if matches!(option, "rw" | "nosuid" | "nodev" | "noexec" | "exec") => {}
            _ => return wrong("--tmpfs", text, format!("option `{option}` is not supported")),
        }
    }
    Ok(MountRequest { kind: MountKind::Tmpfs { size, mode }, target: target.to_owned(), readonly })
}

#[derive(Default)]
struct Fields {
    kind: Option<String>,
    source: Option<String>,
    target: Option<String>,
    readonly: bool,
    size: Option<u64>,
    mode: Option<u32>,
}

impl Fields {
    fn set(&mut self, text: &str, key: &str, value: Option<&str>) -> Result<()> {
        let wanted =
            || value.ok_or_else(|| Error::invalid(format!("`--mount {text}`: `{key}` needs a value")));
        match key {
            "type" => self.kind = Some(wanted()?.to_owned()),
            "source" | "src" => self.source = Some(wanted()?.to_owned()),
            "target" | "dst" | "destination" => self.target = Some(wanted()?.to_owned()),
            "readonly" | "ro" => self.readonly = matches!(value, None | Some("true" | "1")),
            "tmpfs-size" => self.size = Some(quantity::bytes("tmpfs-size", wanted()?)?),
            "tmpfs-mode" => self.mode = Some(octal("tmpfs-mode", wanted()?)?),
            "consistency" => {}
            other => return wrong("--mount", text, format!("key `{other}` is not supported")),
        }
        Ok(())
    }
}

fn octal(option: &str, text: &str) -> Result<u32> {
    match u32::from_str_radix(text, 8) {
        Ok(mode) if mode <= 0o7777 => Ok(mode),
        _ => wrong(option, text, "a mode is an octal number up to 7777"),
    }
}

fn is_path(source: &str) -> bool {
    source.starts_with(['/', '.', '~']) || source.contains('/')
}

fn absolute(source: &str, cwd: &Path) -> String {
    let joined = cwd.join(source);
    // `./data` and `/a/./b` are what people type; what the host resolves stays as it is.
    joined.components().collect::<std::path::PathBuf>().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(kind: MountKind, target: &str, readonly: bool) -> MountRequest {
        MountRequest { kind, target: target.to_owned(), readonly }
    }

    fn named(name: &str) -> MountKind {
        MountKind::Volume { name: Some(name.to_owned()) }
    }

    fn bind(source: &str, create: bool) -> MountKind {
        MountKind::Bind { source: source.to_owned(), create }
    }

    #[test]
    fn short_volumes() {
        let cwd = Path::new("/home/me");
        let parse = |text| volume(text, cwd).unwrap();
        assert_eq!(parse("data:/var/lib/data"), mount(named("data"), "/var/lib/data", false));
        assert_eq!(parse("data:/d:ro"), mount(named("data"), "/d", true));
        assert_eq!(parse("/srv:/d:ro,z"), mount(bind("/srv", true), "/d", true));
        assert_eq!(parse("./src:/d"), mount(bind("/home/me/src", true), "/d", false));
        assert_eq!(parse("/d"), mount(MountKind::Volume { name: None }, "/d", false));
        for bad in ["data:relative", "a:b:c:d", ":/d", "data:/d:suid", "relative"] {
            assert!(volume(bad, cwd).is_err(), "`{bad}` was accepted");
        }
    }

    #[test]
    fn long_mounts() {
        let cwd = Path::new("/home/me");
        let parse = |text| long(text, cwd).unwrap();
        assert_eq!(parse("type=bind,source=/a,target=/b,readonly"), mount(bind("/a", false), "/b", true));
        assert_eq!(parse("type=bind,src=.,dst=/b,ro=false"), mount(bind("/home/me", false), "/b", false));
        assert_eq!(parse("source=data,target=/b"), mount(named("data"), "/b", false));
        let kind = MountKind::Tmpfs { size: Some(1 << 20), mode: Some(0o700) };
        assert_eq!(parse("type=tmpfs,target=/t,tmpfs-size=1m,tmpfs-mode=700"), mount(kind, "/t", false));
        for bad in
            ["type=bind,target=/b", "type=nfs,target=/b", "source=a", "target=b", "target=/b,colour=red", ""]
        {
            assert!(long(bad, cwd).is_err(), "`{bad}` was accepted");
        }
    }

    #[test]
    fn memory_mounts() {
        let kind = MountKind::Tmpfs { size: Some(64 << 20), mode: Some(0o1777) };
        assert_eq!(tmpfs("/run:size=64m,mode=1777").unwrap(), mount(kind, "/run", false));
        assert_eq!(tmpfs("/run").unwrap(), mount(MountKind::Tmpfs { size: None, mode: None }, "/run", false));
        assert!(tmpfs("run").is_err());
        assert!(tmpfs("/run:mode=9").is_err());
    }
}
