//! `Binds`, `Mounts` and `Tmpfs`.

use kiln_engine::containers::{MountKind, MountRequest};

use crate::docker::Failure;
use crate::docker::model::create::{HostConfig, Mount};

/// All mounts that are asked for.
pub(super) fn of(host: &HostConfig) -> Result<Vec<MountRequest>, Failure> {
    let binds = host.binds.iter().map(|text| bind(text));
    let long = host.mounts.iter().map(long);
    let memory = host.tmpfs.iter().map(|(target, options)| tmpfs(target, options));
    binds.chain(long).chain(memory).collect()
}

/// `SOURCE:TARGET[:OPTIONS]`; a source without a slash is a volume.
fn bind(text: &str) -> Result<MountRequest, Failure> {
    let wrong = || Failure::bad_request(format!("invalid volume specification: '{text}'"));
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, options) = match parts[..] {
        [source, target] => (source, target, ""),
        [source, target, options] => (source, target, options),
        _ => return Err(wrong()),
    };
    if source.is_empty() || !target.starts_with('/') {
        return Err(wrong());
    }
    let mut readonly = false;
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option {
            "ro" => readonly = true,
            "rw" | "z" | "Z" | "cached" | "delegated" | "consistent" | "rprivate" => {}
            other => return Err(Failure::lacking(format!("the option `{other}` of mounts"))),
        }
    }
    let kind = match source.starts_with('/') {
        true => MountKind::Bind { source: source.to_owned(), create: true },
        false => MountKind::Volume { name: Some(source.to_owned()) },
    };
    Ok(MountRequest { kind, target: target.to_owned(), readonly })
}

fn long(mount: &Mount) -> Result<MountRequest, Failure> {
    let kind = match mount.kind.as_str() {
        "bind" => {
            let options = mount.bind_options.as_ref();
            let propagation = options.map_or("", |options| options.propagation.as_str());
            if !matches!(propagation, "" | "rprivate") {
                return Err(Failure::lacking(format!("the propagation `{propagation}` of mounts")));
            }
            let create = options.is_some_and(|options| options.create_mountpoint);
            MountKind::Bind { source: mount.source.clone(), create }
        }
        "volume" => {
            if mount
                .volume_options
                .as_ref()
                .is_some_and(|options| options.no_copy || !options.subpath.is_empty())
            {
                return Err(Failure::lacking("`NoCopy` and `Subpath` of mounts"));
            }
            MountKind::Volume { name: (!mount.source.is_empty()).then(|| mount.source.clone()) }
        }
        "tmpfs" => {
            let options = mount.tmpfs_options.as_ref();
            let size = options.and_then(|options| options.size_bytes).filter(|size| *size > 0);
            MountKind::Tmpfs { size, mode: options.and_then(|options| options.mode).filter(|mode| *mode > 0) }
        }
        other => return Err(Failure::lacking(format!("mounts of the type `{other}`"))),
    };
    Ok(MountRequest { kind, target: mount.target.clone(), readonly: mount.read_only })
}

/// `--tmpfs TARGET:OPTIONS`.
fn tmpfs(target: &str, options: &str) -> Result<MountRequest, Failure> {
    let wrong = |option: &str| Failure::bad_request(format!("invalid tmpfs option [\"{option}\"]"));
    let (mut size, mut mode, mut readonly) = (None, None, false);
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option.split_once('=') {
            Some(("size", value)) => size = Some(bytes(value).ok_or_else(|| wrong(option))?),
            Some(("mode", value)) => mode = Some(u32::from_str_radix(value, 8).map_err(|_| wrong(option))?),
            None if option == "ro" => readonly = true,
            None if matches!(option, "rw" | "nosuid" | "nodev" | "noexec") => {}
            _ => return Err(wrong(option)),
        }
    }
    Ok(MountRequest { kind: MountKind::Tmpfs { size, mode }, target: target.to_owned(), readonly })
}

/// A number with a unit of 1024, as the kernel reads it.
fn bytes(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" => 1 << 10,
        "m" | "mb" => 1 << 20,
        "g" | "gb" => 1 << 30,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_of_a_mount_is_read() {
        let mount = |kind, target: &str, readonly| MountRequest { kind, target: target.to_owned(), readonly };
        let volume = MountKind::Volume { name: Some("data".into()) };
        assert_eq!(bind("data:/d:ro"), Ok(mount(volume, "/d", true)));
        let host = MountKind::Bind { source: "/srv".into(), create: true };
        assert_eq!(bind("/srv:/d:rw,z"), Ok(mount(host, "/d", false)));
        let memory = MountKind::Tmpfs { size: Some(64 << 20), mode: Some(0o700) };
        assert_eq!(tmpfs("/run", "rw,size=64m,mode=700"), Ok(mount(memory, "/run", false)));
        for bad in ["/d", ":/d", "a:b", "a:/b:c:d", "a:/b:shared"] {
            assert!(bind(bad).is_err(), "{bad}");
        }
        assert!(tmpfs("/run", "size=x").is_err() && tmpfs("/run", "colour=red").is_err());
    }

    #[test]
    fn mounts_of_other_types_are_refused_by_name() {
        let mount = |kind: &str| Mount { kind: kind.to_owned(), target: "/t".into(), ..Mount::default() };
        assert_eq!(
            long(&mount("npipe")).unwrap_err().message,
            "kiln does not have mounts of the type `npipe`"
        );
        assert_eq!(long(&mount("volume")).unwrap().kind, MountKind::Volume { name: None });
    }
}
