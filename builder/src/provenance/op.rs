//! Operations as JSON, with the names of BuildKit's `ops.proto`; fields with their default are left out, as there.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kiln_graph::url::redact;
use kiln_graph::{
    ActionInput, CacheSharing, ChmodSpec, CopyAction, DiffOp, ExecOp, FileAction, FileOp, Mount, Network, Op,
    Owner, Principal, Security, SourceOp,
};
use kiln_oci::Platform;
use serde_json::{Map, Value, json};

/// An input that is none.
const NONE: i64 = -1;

/// The operation of a vertex with so many inputs.
pub(super) fn value(op: &Op, inputs: usize) -> Value {
    let (kind, body, platform) = match op {
        Op::Source(op) => ("source", source(op), source_platform(op)),
        Op::Exec(op) => ("exec", exec(op), Some(&op.platform)),
        Op::File(op) => ("file", file(op, inputs), None),
        Op::Merge(_) => (
            "merge",
            json!({ "inputs": (0..inputs).map(|input| json!({ "input": input })).collect::<Vec<_>>() }),
            None,
        ),
        Op::Diff(op) => ("diff", diff(op), None),
    };
    let platform = platform.map(|platform| {
        let Platform { os, architecture, variant, .. } = platform;
        Object::new()
            .set("Architecture", architecture.as_str())
            .set("OS", os.as_str())
            .set("Variant", variant.clone())
    });
    Object::new().set("Op", json!({ kind: body })).set("platform", platform.map(Value::from)).into()
}

fn source(op: &SourceOp) -> Value {
    let identifier = match op {
        SourceOp::Image { reference, .. } => format!("docker-image://{reference}"),
        SourceOp::Local { name, .. } => format!("local://{name}"),
        SourceOp::Git { remote, reference, .. } => {
            let fragment = reference.as_ref().map(|reference| format!("#{reference}")).unwrap_or_default();
            format!("git://{}{fragment}", remote_path(remote))
        }
        SourceOp::Http { url, .. } => redact(url),
        SourceOp::OciLayout { store, digest, .. } => format!("oci-layout://{store}@{digest}"),
    };
    Object::new().set("identifier", identifier).set("attrs", attributes(op)).into()
}

/// A repository as BuildKit's identifiers have it, without the protocol.
fn remote_path(remote: &str) -> String {
    let remote = redact(remote);
    remote.split_once("://").map_or(remote.clone(), |(_, path)| path.to_owned())
}

fn attributes(op: &SourceOp) -> Value {
    let list = |items: &[String]| if items.is_empty() { None } else { serde_json::to_string(items).ok() };
    let attributes = Object::new();
    let attributes = match op {
        SourceOp::Image { .. } | SourceOp::OciLayout { .. } => attributes,
        SourceOp::Local { include, exclude, follow, .. } => attributes
            .set("local.includepattern", list(include))
            .set("local.excludepatterns", list(exclude))
            .set("local.followpaths", list(follow)),
        SourceOp::Git { remote, subdir, checksum, keep_git_dir, .. } => attributes
            .set("git.fullurl", redact(remote))
            .set("git.subdir", subdir.clone())
            .set("git.checksum", checksum.clone())
            .set("git.keepgitdir", keep_git_dir.then_some("true")),
        SourceOp::Http { checksum, filename, .. } => attributes
            .set("http.checksum", checksum.as_ref().map(ToString::to_string))
            .set("http.filename", filename.as_str()),
    };
    attributes.into()
}

fn source_platform(op: &SourceOp) -> Option<&Platform> {
    match op {
        SourceOp::Image { platform, .. } | SourceOp::OciLayout { platform, .. } => Some(platform),
        _ => None,
    }
}

/// What a process was. Proxies are left out: they may carry a password, and do not decide what comes out.
fn exec(op: &ExecOp) -> Value {
    let hosts = op.extra_hosts.iter().map(|host| json!({ "Host": host.name, "IP": host.address }));
    let meta = Object::new()
        .set("args", op.args.clone())
        .set("env", op.env.clone())
        .set("cwd", op.cwd.as_str())
        .set("user", op.user.as_str())
        .set("extraHosts", hosts.collect::<Vec<_>>())
        .set("hostname", op.hostname.clone())
        .set("validExitCodes", op.valid_exit_codes.clone());
    let network = match op.network {
        Network::Sandbox => 0,
        Network::Host => 1,
        Network::None => 2,
    };
    let devices =
        op.devices.iter().map(|device| json!({ "name": device.name, "optional": !device.required }));
    let is_variable = |mount: &&Mount| matches!(mount, Mount::Secret { target: None, .. });
    Object::new()
        .set("meta", Value::from(meta))
        .set("mounts", op.mounts.iter().filter(|it| !is_variable(it)).map(mount).collect::<Vec<_>>())
        .set("network", network)
        .set("security", i64::from(op.security == Security::Insecure))
        .set("secretenv", op.mounts.iter().filter_map(secret_env).collect::<Vec<_>>())
        .set("cdiDevices", devices.collect::<Vec<_>>())
        .into()
}

fn secret_env(mount: &Mount) -> Option<Value> {
    let Mount::Secret { id, env: Some(name), required, .. } = mount else { return None };
    Some(Object::new().set("ID", id.as_str()).set("name", name.as_str()).set("optional", !required).into())
}

fn mount(mount: &Mount) -> Value {
    let input = mount.input().map_or(NONE, i64::from);
    let object = Object::new().keep("input", input).set("dest", mount.target());
    let selector = |source: &str| (source != "/").then(|| source.to_owned());
    match mount {
        Mount::Bind { source, readonly, output, .. } => object
            .set("selector", selector(source))
            .keep("output", output.map_or(NONE, i64::from))
            .set("readonly", *readonly),
        Mount::Secret { id, required, mode, uid, gid, .. } => {
            let secret = asked(id, *required, *mode, *uid, *gid);
            object.keep("output", NONE).set("mountType", 1).set("secretOpt", secret)
        }
        Mount::Ssh { id, required, mode, uid, gid, .. } => {
            let agent = asked(id, *required, *mode, *uid, *gid);
            object.keep("output", NONE).set("mountType", 2).set("SSHOpt", agent)
        }
        Mount::Cache { source, readonly, id, sharing, .. } => {
            let sharing = match sharing {
                CacheSharing::Shared => 0,
                CacheSharing::Private => 1,
                CacheSharing::Locked => 2,
            };
            let cache = Object::new().set("ID", id.as_str()).set("sharing", sharing);
            let object =
                object.set("selector", selector(source)).keep("output", NONE).set("readonly", *readonly);
            object.set("mountType", 3).set("cacheOpt", Value::from(cache))
        }
        Mount::Tmpfs { readonly, size, .. } => object
            .keep("output", NONE)
            .set("readonly", *readonly)
            .set("mountType", 4)
            .set("TmpfsOpt", size.map(|size| json!({ "size": size }))),
    }
    .into()
}

fn asked(id: &str, required: bool, mode: u32, uid: u32, gid: u32) -> Value {
    let object = Object::new().set("ID", id).set("uid", uid).set("gid", gid).set("mode", mode);
    object.set("optional", !required).into()
}

fn diff(op: &DiffOp) -> Value {
    let side = |input: Option<u32>| json!({ "input": input.map_or(NONE, i64::from) });
    json!({ "lower": side(op.lower), "upper": side(op.upper) })
}

/// The actions, one for each path of a copy. What an action made is numbered after the inputs of the vertex.
fn file(op: &FileOp, inputs: usize) -> Value {
    let mut actions: Vec<Value> = Vec::new();
    // Where the result of each of our actions is.
    let mut made: Vec<usize> = Vec::new();
    for action in &op.actions {
        let number = |input: ActionInput| match input {
            ActionInput::Scratch => NONE,
            ActionInput::Input(index) => i64::from(index),
            ActionInput::Action(index) => made.get(index as usize).map_or(NONE, |at| index_of(inputs + at)),
        };
        let mut input = number(action.input());
        let source = action.source().map_or(NONE, number);
        for (kind, body) in bodies(action) {
            let action =
                json!({ "input": input, "secondaryInput": source, "output": NONE, "Action": { kind: body } });
            input = index_of(inputs + actions.len());
            actions.push(action);
        }
        made.push(actions.len().saturating_sub(1));
    }
    if let Some(last) = actions.last_mut() {
        last["output"] = 0.into();
    }
    json!({ "actions": actions })
}

fn index_of(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn copied(copy: &CopyAction, path: &str) -> Value {
    Object::new()
        .set("src", path)
        .set("dest", copy.dest.as_str())
        .set("owner", copy.owner.as_ref().map(owner))
        .set("mode", copy.mode.as_ref().map_or(NONE, octal))
        .set("modeStr", copy.mode.as_ref().filter(|mode| octal(mode) == NONE).map(ToString::to_string))
        .set("followSymlink", copy.follow_symlinks)
        .set("dirCopyContents", copy.contents_only)
        .set("attemptUnpackDockerCompatibility", copy.unpack)
        .set("createDestPath", copy.create_dest_parents)
        .set("allowWildcard", copy.allow_wildcard)
        .set("allowEmptyWildcard", copy.allow_empty_wildcard)
        .set("excludePatterns", copy.exclude.clone())
        .into()
}

fn bodies(action: &FileAction) -> Vec<(&'static str, Value)> {
    let object = Object::new();
    let body = match action {
        FileAction::Copy(copy) => {
            return copy.paths.iter().map(|path| ("copy", copied(copy, path))).collect();
        }
        FileAction::Mkfile { path, data, mode, owner: by, .. } => object
            .set("path", path.as_str())
            .set("mode", *mode)
            .set("data", STANDARD.encode(data))
            .set("owner", by.as_ref().map(owner)),
        FileAction::Mkdir { path, mode, make_parents, owner: by, .. } => object
            .set("path", path.as_str())
            .set("mode", *mode)
            .set("makeParents", *make_parents)
            .set("owner", by.as_ref().map(owner)),
        FileAction::Rm { path, allow_wildcard, allow_missing, .. } => object
            .set("path", path.as_str())
            .set("allowNotFound", *allow_missing)
            .set("allowWildcard", *allow_wildcard),
        FileAction::Symlink { target, path, owner: by, .. } => object
            .set("oldpath", target.as_str())
            .set("newpath", path.as_str())
            .set("owner", by.as_ref().map(owner)),
    };
    vec![(action.kind(), body.into())]
}

fn octal(mode: &ChmodSpec) -> i64 {
    match mode {
        ChmodSpec::Octal(bits) => i64::from(*bits),
        ChmodSpec::Symbolic(_) => NONE,
    }
}

fn owner(owner: &Owner) -> Value {
    let principal = |principal: &Principal| match principal {
        Principal::Id(id) => json!({ "User": { "byId": id } }),
        Principal::Name(name) => json!({ "User": { "byName": { "name": name } } }),
    };
    let Owner { user, group } = owner;
    Object::new().set("user", user.as_ref().map(principal)).set("group", group.as_ref().map(principal)).into()
}

/// A JSON object in the making.
struct Object(Map<String, Value>);

impl Object {
    fn new() -> Object {
        Object(Map::new())
    }

    /// Adds a field unless it has its default.
    fn set(self, key: &str, value: impl Into<Value>) -> Object {
        let value = value.into();
        let is_default = match &value {
            Value::Null | Value::Bool(false) => true,
            Value::Number(number) => number.as_i64() == Some(0),
            Value::String(text) => text.is_empty(),
            Value::Array(items) => items.is_empty(),
            Value::Object(fields) => fields.is_empty(),
            Value::Bool(true) => false,
        };
        if is_default { self } else { self.keep(key, value) }
    }

    /// Adds a field, whatever it has.
    fn keep(mut self, key: &str, value: impl Into<Value>) -> Object {
        self.0.insert(key.to_owned(), value.into());
        self
    }
}

impl From<Object> for Value {
    fn from(object: Object) -> Value {
        Value::Object(object.0)
    }
}
