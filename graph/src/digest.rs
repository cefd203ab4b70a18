//! The canonical digest of an operation.
//!
//! Every type is taken apart without `..`, so a new field does not compile until its author decides whether it is
//! part of the key. Lists and texts carry their length, variants a number: two different values never give the same
//! bytes.

use kiln_oci::{Digest, Digester, Platform, Reference};

use crate::exec::Device;
use crate::{
    ActionInput, CacheSharing, ChmodSpec, CopyAction, DiffOp, ExecOp, ExtraHost, FileAction, FileOp, MergeOp,
    Mount, Network, Op, Owner, Principal, Security, SourceOp, Submodules,
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
                self.text(path.trim_end_matches('/').rsplit('/').next().unwrap_or_default())
            }
        }
    }
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
        (architecture.encode(to), os.encode(to), variant.encode(to), os_version.encode(to));
    }
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

impl Encode for Op {
    fn encode(&self, to: &mut Encoder) {
        match self {
            Op::Source(source) => (to.number(0), source.encode(to)),
            Op::Exec(exec) => (to.number(1), exec.encode(to)),
            Op::File(FileOp { actions }) => (to.number(2), actions.encode(to)),
            Op::Merge(MergeOp {}) => (to.number(3), ()),
            Op::Diff(DiffOp { lower, upper }) => (to.number(4), (lower.encode(to), upper.encode(to)).0),
        };
    }
}

impl Encode for SourceOp {
    fn encode(&self, to: &mut Encoder) {
        match self {
            SourceOp::Image { reference, platform } => {
                to.number(0);
                (reference.encode(to), platform.encode(to));
            }
            SourceOp::Local { name, include, exclude, follow } => {
                to.number(1);
                (name.encode(to), include.encode(to), exclude.encode(to), follow.encode(to));
            }
            SourceOp::Git { remote, reference, subdir, checksum, keep_git_dir, submodules } => {
                to.number(2);
                (remote.encode(to), reference.encode(to), subdir.encode(to), checksum.encode(to));
                (keep_git_dir.encode(to), submodules.encode(to));
            }
            SourceOp::Http { url, checksum, filename, mode, owner } => {
                to.number(3);
                (url.encode(to), checksum.encode(to), filename.encode(to), mode.encode(to), owner.encode(to));
            }
            SourceOp::OciLayout { store, digest, platform } => {
                to.number(4);
                // The store only says where the bytes are.
                let _ = store;
                (digest.encode(to), platform.encode(to));
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
        (args.encode(to), env.encode(to), cwd.encode(to), user.encode(to), hostname.encode(to));
        (network.encode(to), security.encode(to), devices.encode(to), platform.encode(to), mounts.encode(to));
        (extra_hosts.encode(to), shm_size.encode(to), ulimits.encode(to), valid_exit_codes.encode(to));
    }
}

impl Encode for Device {
    fn encode(&self, to: &mut Encoder) {
        let Device { name, required } = self;
        (name.encode(to), required.encode(to));
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
                (
                    input.encode(to),
                    to.selector(source),
                    target.encode(to),
                    readonly.encode(to),
                    output.encode(to),
                );
            }
            Mount::Cache { input, source, target, readonly, id, sharing, mode, uid, gid } => {
                to.number(1);
                // A cache's loss or identity must not change a result, so only what the process sees counts.
                let _ = (id, sharing);
                (input.encode(to), to.selector(source), target.encode(to), readonly.encode(to));
                (mode.encode(to), uid.encode(to), gid.encode(to));
            }
            Mount::Tmpfs { target, size } => {
                to.number(2);
                (target.encode(to), size.encode(to));
            }
            Mount::Secret { id, target, env, required, mode, uid, gid } => {
                to.number(3);
                (id.encode(to), target.encode(to), env.encode(to), required.encode(to));
                (mode.encode(to), uid.encode(to), gid.encode(to));
            }
            Mount::Ssh { id, target, required, mode, uid, gid } => {
                to.number(4);
                (id.encode(to), target.encode(to), required.encode(to));
                (mode.encode(to), uid.encode(to), gid.encode(to));
            }
        }
    }
}

impl Encode for FileAction {
    fn encode(&self, to: &mut Encoder) {
        match self {
            FileAction::Copy(copy) => (to.number(0), copy.encode(to)).1,
            FileAction::Mkfile { input, path, data, mode, owner } => {
                to.number(1);
                (input.encode(to), path.encode(to), to.bytes(data), mode.encode(to), owner.encode(to));
            }
            FileAction::Mkdir { input, path, mode, make_parents, owner } => {
                to.number(2);
                (
                    input.encode(to),
                    path.encode(to),
                    mode.encode(to),
                    make_parents.encode(to),
                    owner.encode(to),
                );
            }
            FileAction::Rm { input, path, allow_wildcard, allow_missing } => {
                to.number(3);
                (input.encode(to), path.encode(to), allow_wildcard.encode(to), allow_missing.encode(to));
            }
            FileAction::Symlink { input, target, path, owner } => {
                to.number(4);
                (input.encode(to), target.encode(to), path.encode(to), owner.encode(to));
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
            link,
        } = self;
        (input.encode(to), source.encode(to), to.number(paths.len() as u64));
        // Kept parents are part of what is made, so they count in full.
        paths.iter().for_each(|path| if *parents { to.text(path) } else { to.selector(path) });
        (dest.encode(to), owner.encode(to), mode.encode(to), unpack.encode(to), contents_only.encode(to));
        (create_dest_parents.encode(to), follow_symlinks.encode(to), allow_wildcard.encode(to));
        (allow_empty_wildcard.encode(to), exclude.encode(to), parents.encode(to), link.encode(to));
    }
}

impl Encode for ActionInput {
    fn encode(&self, to: &mut Encoder) {
        match self {
            ActionInput::Scratch => to.number(0),
            ActionInput::Input(index) => (to.number(1), index.encode(to)).1,
            ActionInput::Action(index) => (to.number(2), index.encode(to)).1,
        }
    }
}

impl Encode for Owner {
    fn encode(&self, to: &mut Encoder) {
        let Owner { user, group } = self;
        (user.encode(to), group.encode(to));
    }
}

impl Encode for Principal {
    fn encode(&self, to: &mut Encoder) {
        match self {
            Principal::Id(id) => (to.number(0), id.encode(to)).1,
            Principal::Name(name) => (to.number(1), name.encode(to)).1,
        }
    }
}

impl Encode for ChmodSpec {
    fn encode(&self, to: &mut Encoder) {
        match self {
            ChmodSpec::Octal(mode) => (to.number(0), mode.encode(to)).1,
            ChmodSpec::Symbolic(clauses) => (to.number(1), to.display(clauses)).1,
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
        assert_ne!(digest(|op| op.mounts.push(Mount::Tmpfs { target: "/t".to_owned(), size: None })), same);
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
