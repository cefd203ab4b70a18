//! The canonical digest of an operation.
//!
//! Every type is taken apart without `..`, so a new field does not compile until its author decides whether it is
//! part of the key. Lists and texts carry their length, variants a number: two different values never give the same
//! bytes.

use kiln_oci::{Digest, Digester, Platform, Reference};

use crate::exec::Device;
use crate::url::redact;
use crate::{
    ActionInput, CacheSharing, ChmodSpec, CopyAction, DiffOp, ExecOp, ExtraHost, FileAction, FileOp,
    GitTimes, MergeOp, Mount, Network, Op, Owner, Principal, Security, SourceOp, Submodules,
};

/// Changes whenever the meaning of the bytes changes, so that old cache records are not found.
const VERSION: &str = "kiln.op.v1";

impl Op {
    /// Digest of the operation without its inputs, for a key made of the inputs' *definition* keys.
    pub fn digest(&self) -> Digest {
        Encoder::run(self, Selectors::Named)
    }

    /// Digest of the operation without its inputs, for a key made of the *content* that the operation selects from
    /// them. Selected paths count only by their last name: a moved file is the same file.
    pub fn content_digest(&self) -> Digest {
        Encoder::run(self, Selectors::LastName)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Selectors {
    Named,
    LastName,
}

struct Encoder {
    out: Digester,
    selectors: Selectors,
}

impl Encoder {
    fn run(op: &Op, selectors: Selectors) -> Digest {
        let mut encoder = Encoder { out: Digester::sha256(), selectors };
        encoder.text(VERSION);
        op.encode(&mut encoder);
        encoder.out.finish()
    }

    fn number(&mut self, number: u64) {
        self.out.update(&number.to_le_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.out.update(bytes);
    }

    fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    fn display(&mut self, value: &impl std::fmt::Display) {
        self.text(&value.to_string());
    }

    /// A path that selects from an input.
    fn selector(&mut self, path: &str) {
        match self.selectors {
            Selectors::Named => self.text(path),
            Selectors::LastName => {
                self.text(path.trim_end_matches('/').rsplit('/').next().unwrap_or_default());
            }
        }
    }
}

/// Encodes values in their order.
macro_rules! each {
    ($to:ident: $($value:expr),+) => {
        $($value.encode($to);)+
    };
}

trait Encode {
    fn encode(&self, to: &mut Encoder);
}

impl Encode for u32 {
    fn encode(&self, to: &mut Encoder) {
        to.number(u64::from(*self));
    }
}

impl Encode for u64 {
    fn encode(&self, to: &mut Encoder) {
        to.number(*self);
    }
}

impl Encode for i32 {
    fn encode(&self, to: &mut Encoder) {
        to.number(i64::from(*self).cast_unsigned());
    }
}

impl Encode for bool {
    fn encode(&self, to: &mut Encoder) {
        to.number(u64::from(*self));
    }
}

impl Encode for String {
    fn encode(&self, to: &mut Encoder) {
        to.text(self);
    }
}

impl<T: Encode> Encode for Option<T> {
    fn encode(&self, to: &mut Encoder) {
        match self {
            None => to.number(0),
            Some(value) => {
                to.number(1);
                value.encode(to);
            }
        }
    }
}

impl<T: Encode> Encode for Vec<T> {
    fn encode(&self, to: &mut Encoder) {
        to.number(self.len() as u64);
        self.iter().for_each(|item| item.encode(to));
    }
}

impl Encode for Digest {
    fn encode(&self, to: &mut Encoder) {
        to.text(self.as_str());
    }
}

impl Encode for Reference {
    fn encode(&self, to: &mut Encoder) {
        // A digest says it all: two names of one image are one source.
        match self.digest() {
            Some(digest) => to.display(digest),
            None => to.display(self),
        }
    }
}

impl Encode for Platform {
    fn encode(&self, to: &mut Encoder) {
        let Platform { architecture, os, variant, os_version } = self;
        each!(to: architecture, os, variant, os_version);
    }
}

/// A variant that holds one value.
fn variant(to: &mut Encoder, number: u64, value: &impl Encode) {
    to.number(number);
    value.encode(to);
}

/// Numbers the variants of plain enums and encodes them.
macro_rules! encode_numbered {
    ($type:ident { $($variant:ident = $number:literal),+ }) => {
        impl Encode for $type {
            fn encode(&self, to: &mut Encoder) {
                to.number(match self { $($type::$variant => $number),+ });
            }
        }
    };
}

encode_numbered!(Network { Sandbox = 0, None = 1, Host = 2 });
encode_numbered!(Security { Sandbox = 0, Insecure = 1 });
encode_numbered!(CacheSharing { Shared = 0, Private = 1, Locked = 2 });
encode_numbered!(Submodules { Recursive = 0, Skip = 1 });
encode_numbered!(GitTimes { Checkout = 0, Commit = 1 });

impl Encode for Op {
    fn encode(&self, to: &mut Encoder) {
        match self {
            Op::Source(source) => variant(to, 0, source),
            Op::Exec(exec) => variant(to, 1, exec),
            Op::File(FileOp { actions }) => variant(to, 2, actions),
            Op::Merge(MergeOp {}) => to.number(3),
            Op::Diff(DiffOp { lower, upper }) => {
                to.number(4);
                each!(to: lower, upper);
            }
        }
    }
}

impl Encode for SourceOp {
    fn encode(&self, to: &mut Encoder) {
        match self {
            SourceOp::Image { reference, platform } => {
                to.number(0);
                each!(to: reference, platform);
            }
            SourceOp::Local { name, include, exclude, follow } => {
                to.number(1);
                each!(to: name, include, exclude, follow);
            }
            SourceOp::Git {
                remote,
                reference,
                subdir,
                checksum,
                keep_git_dir,
                submodules,
                times,
                fetch_by_commit,
                access: _,
            } => {
                to.number(2);
                // Who asks does not change what is there.
                each!(to: redact(remote), reference, subdir, checksum);
                each!(to: keep_git_dir, submodules, times, fetch_by_commit);
            }
            SourceOp::Http { url, checksum, filename, mode, owner } => {
                to.number(3);
                each!(to: redact(url), checksum, filename, mode, owner);
            }
            SourceOp::OciLayout { store, digest, platform } => {
                to.number(4);
                // The store only says where the bytes are.
                let _ = store;
                each!(to: digest, platform);
            }
        }
    }
}

impl Encode for ExecOp {
    fn encode(&self, to: &mut Encoder) {
        let ExecOp {
            args,
            env,
            cwd,
            user,
            hostname,
            network,
            security,
            devices,
            platform,
            mounts,
            extra_hosts,
            proxy_env: _, // how to reach the world does not change what is fetched
            shm_size,
            ulimits,
            valid_exit_codes,
        } = self;
        each!(to: args, env, cwd, user, hostname);
        each!(to: network, security, devices, platform, mounts);
        each!(to: extra_hosts, shm_size, ulimits, valid_exit_codes);
    }
}

impl Encode for Device {
    fn encode(&self, to: &mut Encoder) {
        let Device { name, required } = self;
        each!(to: name, required);
    }
}

impl Encode for ExtraHost {
    fn encode(&self, to: &mut Encoder) {
        let ExtraHost { name, address: _ } = self; // addresses differ from machine to machine
        name.encode(to);
    }
}

impl Encode for Mount {
    fn encode(&self, to: &mut Encoder) {
        match self {
            Mount::Bind { input, source, target, readonly, output } => {
                to.number(0);
                each!(to: input);
                to.selector(source);
                each!(to: target, readonly, output);
            }
            Mount::Cache { input, source, target, readonly, id, sharing, mode, uid, gid } => {
                to.number(1);
                // A cache's loss or identity must not change a result, so only what the process sees counts.
                let _ = (id, sharing);
                each!(to: input);
                to.selector(source);
                each!(to: target, readonly);
                each!(to: mode, uid, gid);
            }
            Mount::Tmpfs { target, readonly, size } => {
                to.number(2);
                each!(to: target, readonly, size);
            }
            Mount::Secret { id, target, env, required, mode, uid, gid } => {
                to.number(3);
                each!(to: id, target, env, required);
                each!(to: mode, uid, gid);
            }
            Mount::Ssh { id, target, required, mode, uid, gid } => {
                to.number(4);
                each!(to: id, target, required);
                each!(to: mode, uid, gid);
            }
        }
    }
}

impl Encode for FileAction {
    fn encode(&self, to: &mut Encoder) {
        match self {
            FileAction::Copy(copy) => variant(to, 0, copy),
            FileAction::Mkfile { input, path, data, mode, owner } => {
                to.number(1);
                each!(to: input, path);
                to.bytes(data);
                each!(to: mode, owner);
            }
            FileAction::Mkdir { input, path, mode, make_parents, owner } => {
                to.number(2);
                each!(to: input, path, mode, make_parents, owner);
            }
            FileAction::Rm { input, path, allow_wildcard, allow_missing } => {
                to.number(3);
                each!(to: input, path, allow_wildcard, allow_missing);
            }
            FileAction::Symlink { input, target, path, owner } => {
                to.number(4);
                each!(to: input, target, path, owner);
            }
        }
    }
}

impl Encode for CopyAction {
    fn encode(&self, to: &mut Encoder) {
        let CopyAction {
            input,
            source,
            paths,
            dest,
            owner,
            mode,
            unpack,
            contents_only,
            create_dest_parents,
            follow_symlinks,
            allow_wildcard,
            allow_empty_wildcard,
            exclude,
            parents,
        } = self;
        each!(to: input, source);
        to.number(paths.len() as u64);
        // Kept parents are part of what is made, so they count in full.
        paths.iter().for_each(|path| if *parents { to.text(path) } else { to.selector(path) });
        each!(to: dest, owner, mode, unpack, contents_only);
        each!(to: create_dest_parents, follow_symlinks, allow_wildcard);
        each!(to: allow_empty_wildcard, exclude, parents);
    }
}

impl Encode for ActionInput {
    fn encode(&self, to: &mut Encoder) {
        match self {
            ActionInput::Scratch => to.number(0),
            ActionInput::Input(index) => variant(to, 1, index),
            ActionInput::Action(index) => variant(to, 2, index),
        }
    }
}

impl Encode for Owner {
    fn encode(&self, to: &mut Encoder) {
        let Owner { user, group } = self;
        each!(to: user, group);
    }
}

impl Encode for Principal {
    fn encode(&self, to: &mut Encoder) {
        match self {
            Principal::Id(id) => variant(to, 0, id),
            Principal::Name(name) => variant(to, 1, name),
        }
    }
}

impl Encode for ChmodSpec {
    fn encode(&self, to: &mut Encoder) {
        match self {
            ChmodSpec::Octal(mode) => variant(to, 0, mode),
            ChmodSpec::Symbolic(clauses) => variant(to, 1, &clauses.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn exec() -> ExecOp {
        ExecOp::new(vec!["make".to_owned()], Platform::new("linux", "amd64", None), Some(0))
    }

    fn digest(change: impl FnOnce(&mut ExecOp)) -> Digest {
        let mut op = exec();
        change(&mut op);
        Op::Exec(op).digest()
    }

    #[test]
    fn what_a_process_sees_is_part_of_the_key() {
        let same = digest(|_| ());
        assert_ne!(digest(|op| op.args.push(String::new())), same);
        assert_ne!(digest(|op| op.env.push("A=1".to_owned())), same);
        assert_ne!(digest(|op| op.cwd.push('x')), same);
        assert_ne!(digest(|op| op.network = Network::None), same);
        assert_ne!(
            digest(|op| op.mounts.push(Mount::Tmpfs {
                target: "/t".to_owned(),
                readonly: false,
                size: None
            })),
            same
        );
    }

    #[test]
    fn proxies_and_host_addresses_are_not_part_of_the_key() {
        let host = |address: &str| ExtraHost { name: "h".to_owned(), address: address.to_owned() };
        assert_eq!(digest(|op| op.proxy_env.push("HTTP_PROXY=x".to_owned())), digest(|_| ()));
        assert_eq!(
            digest(|op| op.extra_hosts.push(host("1.1.1.1"))),
            digest(|op| op.extra_hosts.push(host("2.2.2.2")))
        );
        assert_ne!(digest(|op| op.extra_hosts.push(host("1.1.1.1"))), digest(|_| ()));
    }

    /// Item 86 of the language's subtle points.
    #[test]
    fn a_secrets_name_is_part_of_the_key_and_a_caches_is_not() {
        let secret = |id: &str| {
            let (id, target, env) = (id.to_owned(), Some("/s".to_owned()), None);
            digest(|op| {
                op.mounts.push(Mount::Secret {
                    id,
                    target,
                    env,
                    required: false,
                    mode: 0o400,
                    uid: 0,
                    gid: 0,
                });
            })
        };
        assert_ne!(secret("a"), secret("b"));
        let cache = |id: &str, sharing, target: &str| {
            let (id, source, target) = (id.to_owned(), "/".to_owned(), target.to_owned());
            let (input, readonly, mode) = (None, false, 0o755);
            digest(|op| {
                op.mounts.push(Mount::Cache {
                    input,
                    source,
                    target,
                    readonly,
                    id,
                    sharing,
                    mode,
                    uid: 0,
                    gid: 0,
                });
            })
        };
        let same = cache("a", CacheSharing::Shared, "/c");
        assert_eq!(cache("b", CacheSharing::Locked, "/c"), same);
        assert_ne!(cache("a", CacheSharing::Shared, "/d"), same);
    }

    #[test]
    fn lists_do_not_run_together() {
        let args = |list: &[&str]| digest(|op| op.args = list.iter().map(|s| (*s).to_owned()).collect());
        assert_ne!(args(&["ab", "c"]), args(&["a", "bc"]));
    }

    #[test]
    fn a_moved_source_is_the_same_content() {
        let copy = |path: &str, dest: &str| {
            let copy = CopyAction::new(vec![path.to_owned()], dest);
            Op::File(FileOp { actions: vec![FileAction::Copy(copy)] })
        };
        assert_eq!(copy("/a/x", "/d").content_digest(), copy("/b/x", "/d").content_digest());
        assert_ne!(copy("/a/x", "/d").digest(), copy("/b/x", "/d").digest());
        assert_ne!(copy("/a/x", "/d").content_digest(), copy("/a/y", "/d").content_digest());
        assert_ne!(copy("/a/x", "/d").content_digest(), copy("/a/x", "/e").content_digest());
    }

    #[test]
    fn the_encoding_is_pinned() {
        // Changing this digest makes every cache cold: raise VERSION knowingly.
        assert_eq!(
            Op::Merge(MergeOp {}).digest(),
            Digest::of(&{
                let mut bytes = Vec::new();
                bytes.write_all(&(VERSION.len() as u64).to_le_bytes()).unwrap();
                bytes.write_all(VERSION.as_bytes()).unwrap();
                bytes.write_all(&3u64.to_le_bytes()).unwrap();
                bytes
            })
        );
    }
}
