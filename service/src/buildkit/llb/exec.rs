//! Processes of LLB.

use bollard_buildkit_proto::pb;
use kiln_engine::oci::Platform;
use kiln_engine::{Error, Result};
use kiln_graph::{CacheSharing, Device, ExecOp, ExtraHost, Mount, Network, Security};

use super::{Inputs, Reading, wrong};

/// The most words and variables of one process, and its most mounts.
const MAX_WORDS: usize = 100_000;
const MAX_MOUNTS: usize = 1024;
/// The filesystem that a process runs on.
const ROOT: &str = "/";
/// Permissions of what the wire says none for.
const CACHE_MODE: u32 = 0o755;
const SECRET_MODE: u32 = 0o400;

impl Reading<'_> {
    pub(super) fn exec(
        &mut self,
        exec: pb::ExecOp,
        platform: Platform,
        inputs: &mut Inputs,
    ) -> Result<ExecOp> {
        let pb::ExecOp { meta, mounts, network, security, secretenv, cdi_devices } = exec;
        let meta = meta.ok_or_else(|| wrong("a process without arguments"))?;
        if meta.args.len() + meta.env.len() > MAX_WORDS {
            return Err(wrong("a process has too many arguments or variables"));
        }
        if !meta.cgroup_parent.is_empty() {
            return Err(Error::not_implemented("a control group for a process"));
        }
        let (network, security) = (network_of(network)?, security_of(security)?);
        let mut read = mounts_of(mounts, &mut |input, looked_at| self.mount_input(input, inputs, looked_at))?;
        read.extend(secretenv.into_iter().map(variable));
        let devices =
            cdi_devices.into_iter().map(|device| Device { name: device.name, required: !device.optional });
        let hosts = meta.extra_hosts.into_iter().map(|host| ExtraHost { name: host.host, address: host.ip });
        let limits = meta.ulimit.iter().map(|limit| format!("{}={}:{}", limit.name, limit.soft, limit.hard));
        Ok(ExecOp {
            cwd: directory(meta.cwd)?,
            args: meta.args,
            env: meta.env,
            user: meta.user,
            hostname: Some(meta.hostname).filter(|name| !name.is_empty()),
            network,
            security,
            devices: devices.collect(),
            platform,
            mounts: read,
            extra_hosts: hosts.collect(),
            proxy_env: meta.proxy_env.map(proxies).unwrap_or_default(),
            shm_size: 0,
            ulimits: limits.collect(),
            valid_exit_codes: meta.valid_exit_codes,
        })
    }

    fn mount_input(&mut self, input: i64, inputs: &mut Inputs, looked_at: bool) -> Result<Option<u32>> {
        let Some(position) = inputs.position(input)? else { return Ok(None) };
        let edge = inputs.edges[position as usize];
        let layers = if looked_at { edge } else { self.layers(edge)? };
        if layers == edge {
            return Ok(Some(position));
        }
        inputs.edges.push(layers);
        Ok(Some((inputs.edges.len() - 1) as u32))
    }
}

/// A network, of the wire's number.
pub(in super::super) fn network_of(mode: i32) -> Result<Network> {
    match pb::NetMode::try_from(mode) {
        Ok(pb::NetMode::Unset) => Ok(Network::Sandbox),
        Ok(pb::NetMode::Host) => Ok(Network::Host),
        Ok(pb::NetMode::None) => Ok(Network::None),
        Err(_) => Err(wrong(format!("the network mode {mode} is not known"))),
    }
}

/// How much a process may do, of the wire's number.
pub(in super::super) fn security_of(mode: i32) -> Result<Security> {
    match pb::SecurityMode::try_from(mode) {
        Ok(pb::SecurityMode::Sandbox) => Ok(Security::Sandbox),
        Ok(pb::SecurityMode::Insecure) => Ok(Security::Insecure),
        Err(_) => Err(wrong(format!("the security mode {mode} is not known"))),
    }
}

/// What becomes of a mount's input, which may be none; whether it is only looked at is known.
type Input<'a> = &'a mut dyn FnMut(i64, bool) -> Result<Option<u32>>;

/// The mounts, the root first; it must be there.
pub(in super::super) fn mounts_of(mut mounts: Vec<pb::Mount>, input: Input<'_>) -> Result<Vec<Mount>> {
    let at = mounts.iter().position(|mount| mount.dest == ROOT);
    let at = at.ok_or_else(|| wrong("a process without a root filesystem"))?;
    mounts[..=at].rotate_right(1);
    let count = mounts.len();
    if count > MAX_MOUNTS {
        return Err(wrong("a process has too many mounts"));
    }
    let mut read = Vec::with_capacity(count);
    for (number, mount) in mounts.into_iter().enumerate() {
        if number > 0 && mount.dest == ROOT {
            return Err(wrong("a process with two root filesystems"));
        }
        let mount = mount_of(mount, input, count)?;
        if number == 0 && !matches!(mount, Mount::Bind { .. }) {
            return Err(wrong("a root filesystem that is none"));
        }
        read.push(mount);
    }
    Ok(read)
}

fn mount_of(mount: pb::Mount, find: Input<'_>, count: usize) -> Result<Mount> {
    let pb::Mount { input, selector, dest, output, readonly, mount_type, .. } = mount;
    let (source, target) = (inside(selector), directory(dest)?);
    let kind = pb::MountType::try_from(mount_type);
    match kind.map_err(|_| wrong(format!("the mount type {mount_type} is not known")))? {
        pb::MountType::Bind => {
            let output = match output {
                -1 => None,
                output => match u32::try_from(output) {
                    Ok(number) if (number as usize) < count => Some(number),
                    _ => return Err(wrong(format!("a mount becomes output {output}"))),
                },
            };
            // A local context is read in place: only looked at it need not be copied.
            let looked_at = readonly && output.is_none() && target != ROOT;
            let input = find(input, looked_at)?;
            Ok(Mount::Bind { input, source, target, readonly, output })
        }
        pb::MountType::Cache => {
            let cache = mount.cache_opt.ok_or_else(|| wrong("a cache mount says nothing of itself"))?;
            let sharing = match pb::CacheSharingOpt::try_from(cache.sharing) {
                Ok(pb::CacheSharingOpt::Shared) => CacheSharing::Shared,
                Ok(pb::CacheSharingOpt::Private) => CacheSharing::Private,
                Ok(pb::CacheSharingOpt::Locked) => CacheSharing::Locked,
                Err(_) => return Err(wrong(format!("the sharing {} is not known", cache.sharing))),
            };
            let input = find(input, false)?;
            let (id, mode) = (cache.id, CACHE_MODE);
            Ok(Mount::Cache { input, source, target, readonly, id, sharing, mode, uid: 0, gid: 0 })
        }
        pb::MountType::Tmpfs => {
            let size =
                mount.tmpfs_opt.and_then(|tmpfs| u64::try_from(tmpfs.size).ok()).filter(|size| *size > 0);
            Ok(Mount::Tmpfs { target, readonly, size })
        }
        pb::MountType::Secret => {
            let secret = mount.secret_opt.ok_or_else(|| wrong("a secret says nothing of itself"))?;
            let pb::SecretOpt { id, uid, gid, mode, optional } = secret;
            let (target, mode) = (Some(target), permissions(mode)?);
            Ok(Mount::Secret { id, target, env: None, required: !optional, mode, uid, gid })
        }
        pb::MountType::Ssh => {
            let agent = mount.ssh_opt.ok_or_else(|| wrong("an SSH agent says nothing of itself"))?;
            let pb::SshOpt { id, uid, gid, mode, optional } = agent;
            let id = if id.is_empty() { "default".to_owned() } else { id };
            Ok(Mount::Ssh { id, target, required: !optional, mode: permissions(mode)?, uid, gid })
        }
    }
}

fn variable(secret: pb::SecretEnv) -> Mount {
    let pb::SecretEnv { id, name, optional } = secret;
    let (env, mode) = (Some(name), SECRET_MODE);
    Mount::Secret { id, target: None, env, required: !optional, mode, uid: 0, gid: 0 }
}

fn permissions(mode: u32) -> Result<u32> {
    if mode <= 0o7777 { Ok(mode) } else { Err(wrong(format!("{mode:o} is no permission"))) }
}

/// An absolute path; nothing said is the root.
fn directory(path: String) -> Result<String> {
    match path.as_str() {
        "" => Ok(ROOT.to_owned()),
        path if !path.starts_with('/') || path.contains('\0') => {
            Err(wrong(format!("`{}` is no absolute path", path.escape_debug())))
        }
        _ => Ok(path),
    }
}

/// A path in an input.
fn inside(selector: String) -> String {
    if selector.starts_with('/') { selector } else { format!("/{selector}") }
}

fn proxies(proxies: pb::ProxyEnv) -> Vec<String> {
    let pb::ProxyEnv { http_proxy, https_proxy, ftp_proxy, no_proxy, all_proxy } = proxies;
    let all = [
        ("HTTP_PROXY", http_proxy),
        ("HTTPS_PROXY", https_proxy),
        ("FTP_PROXY", ftp_proxy),
        ("NO_PROXY", no_proxy),
        ("ALL_PROXY", all_proxy),
    ];
    let said = all.into_iter().filter(|(_, value)| !value.is_empty());
    said.flat_map(|(name, value)| {
        [format!("{name}={value}"), format!("{}={value}", name.to_ascii_lowercase())]
    })
    .collect()
}
