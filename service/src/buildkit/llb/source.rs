//! Sources of LLB: a URL-like identifier and attributes.

use std::collections::BTreeMap;

use bollard_buildkit_proto::pb;
use kiln_engine::oci::{Digest, Platform, Reference};
use kiln_engine::{Error, Result, boolean};
use kiln_graph::{ChmodSpec, GitAccess, GitTimes, Owner, Principal, SourceOp, Submodules};

use super::{Around, wrong};

/// The name of a download that says none.
const DOWNLOAD: &str = "__unnamed__";
/// The longest name of a file.
const MAX_NAME: usize = 255;
/// Attributes whose meaning would be lost.
const UNKNOWN: [&str; 7] = [
    "http.authheadersecret",
    "image.layerlimit",
    "oci.layerlimit",
    "local.metadatatransfer",
    "git.bundle",
    "git.checkoutbundle",
    "git.sig.pubkey",
];

/// A source as the graph has it.
pub(in super::super) fn read(
    source: &pb::SourceOp,
    platform: Platform,
    around: &Around<'_>,
) -> Result<SourceOp> {
    let pb::SourceOp { identifier, attrs } = source;
    if let Some(key) = UNKNOWN.iter().find(|key| attrs.contains_key(**key)) {
        return Err(Error::not_implemented(format!("the attribute `{key}` of a source")));
    }
    let no_scheme = || wrong(format!("the source `{}` has no scheme", identifier.escape_debug()));
    let (scheme, rest) = identifier.split_once("://").ok_or_else(no_scheme)?;
    match scheme {
        "docker-image" => image(rest, attrs, platform, around),
        "local" => local(rest, attrs, around),
        "git" => git(rest, attrs),
        "http" | "https" => http(identifier, rest, attrs),
        "oci-layout" => layout(rest, attrs, platform),
        other => Err(Error::not_implemented(format!("the source `{}://`", other.escape_debug()))),
    }
}

/// The same the other way, and the platform that it is for.
pub(in super::super) fn write(source: &SourceOp) -> (pb::SourceOp, Platform) {
    let mut attrs = BTreeMap::new();
    let mut put = |key: &str, value: Option<String>| {
        attrs.extend(value.map(|value| (key.to_owned(), value)));
    };
    let flag = |is: bool| is.then(|| "true".to_owned());
    let list = |list: &[String]| (!list.is_empty()).then(|| serde_json::json!(list).to_string());
    let mut wanted = Platform::host();
    let identifier = match source {
        SourceOp::Image { reference, platform } => {
            wanted.clone_from(platform);
            format!("docker-image://{reference}")
        }
        SourceOp::Local { name, include, exclude, follow } => {
            put("local.includepattern", list(include));
            put("local.excludepatterns", list(exclude));
            put("local.followpaths", list(follow));
            format!("local://{name}")
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
            // No rule is about that.
            access: _,
        } => {
            put("git.fullurl", Some(remote.clone()));
            put("git.checksum", checksum.clone());
            put("git.keepgitdir", flag(*keep_git_dir));
            put("git.skipsubmodules", flag(*submodules == Submodules::Skip));
            put("git.mtime", (*times == GitTimes::Commit).then(|| "commit".to_owned()));
            put("git.fetchbycommit", flag(*fetch_by_commit));
            let place = remote.split_once("://").map_or(remote.as_str(), |(_, place)| place);
            // Who somebody is there is nothing that a rule should know.
            let place = match place.split_once('@') {
                Some((user, place)) if !user.contains('/') => place,
                _ => place,
            };
            let reference = reference.as_deref().unwrap_or_default();
            match (reference, subdir) {
                ("", None) => format!("git://{place}"),
                (reference, None) => format!("git://{place}#{reference}"),
                (reference, Some(subdir)) => format!("git://{place}#{reference}:{subdir}"),
            }
        }
        SourceOp::Http { url, checksum, filename, mode, owner } => {
            let id = |principal: Option<&Principal>| match principal {
                Some(Principal::Id(id)) => Some(id.to_string()),
                _ => None,
            };
            put("http.checksum", checksum.as_ref().map(ToString::to_string));
            put("http.filename", Some(filename.clone()));
            put(
                "http.perm",
                mode.as_ref().and_then(|mode| match mode {
                    ChmodSpec::Octal(mode) => Some(format!("{mode:o}")),
                    ChmodSpec::Symbolic(_) => None,
                }),
            );
            put("http.uid", id(owner.as_ref().and_then(|owner| owner.user.as_ref())));
            put("http.gid", id(owner.as_ref().and_then(|owner| owner.group.as_ref())));
            url.clone()
        }
        SourceOp::OciLayout { store, digest, platform } => {
            wanted.clone_from(platform);
            put("oci.store", Some(store.clone()));
            format!("oci-layout://{store}@{digest}")
        }
    };
    (pb::SourceOp { identifier, attrs }, wanted)
}

fn image(
    name: &str,
    attrs: &BTreeMap<String, String>,
    platform: Platform,
    around: &Around<'_>,
) -> Result<SourceOp> {
    let reference: Reference = name.parse().map_err(|error| wrong(format!("{error}")))?;
    let reference = reference.with_default_tag();
    let here = match attrs.get("image.resolvemode").map(String::as_str) {
        // Its registry is asked what a tag means.
        None | Some("" | "default" | "pull") => None,
        Some("local") => (around.image)(&reference, &platform)?,
        Some(other) => return Err(wrong(format!("`image.resolvemode={}`", other.escape_debug()))),
    };
    Ok(SourceOp::Image { reference: here.unwrap_or(reference), platform })
}

fn local(name: &str, attrs: &BTreeMap<String, String>, around: &Around<'_>) -> Result<SourceOp> {
    if attrs.get("local.differ").is_some_and(|differ| differ != "metadata") {
        return Err(Error::not_implemented("`local.differ` other than `metadata`"));
    }
    if attrs.get("local.session").is_some_and(|session| !session.is_empty() && session != around.session) {
        return Err(Error::not_implemented("a folder of another session than the build's"));
    }
    let list = |key: &str| match attrs.get(key) {
        None => Ok(Vec::new()),
        Some(text) => serde_json::from_str::<Option<Vec<String>>>(text)
            .map(Option::unwrap_or_default)
            .map_err(|error| wrong(format!("`{key}`: {error}"))),
    };
    Ok(SourceOp::Local {
        name: name.to_owned(),
        include: list("local.includepattern")?,
        exclude: list("local.excludepatterns")?,
        follow: list("local.followpaths")?,
    })
}

fn git(rest: &str, attrs: &BTreeMap<String, String>) -> Result<SourceOp> {
    let (place, fragment) = rest.split_once('#').unwrap_or((rest, ""));
    let (reference, subdir) = fragment.split_once(':').unwrap_or((fragment, ""));
    let given = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    let flag = |key: &str| attrs.get(key).and_then(|text| boolean::parse(text)).unwrap_or(false);
    let name = |key: &str| attrs.get(key).and_then(|text| given(text));
    let remote = attrs.get("git.fullurl").map(|url| url.split('#').next().unwrap_or_default().to_owned());
    Ok(SourceOp::Git {
        remote: remote.unwrap_or_else(|| format!("https://{place}")),
        reference: given(reference),
        subdir: given(subdir),
        checksum: attrs.get("git.checksum").cloned().filter(|text| !text.is_empty()),
        keep_git_dir: flag("git.keepgitdir"),
        submodules: if flag("git.skipsubmodules") { Submodules::Skip } else { Submodules::Recursive },
        times: match attrs.get("git.mtime").map(String::as_str) {
            Some("commit") => GitTimes::Commit,
            _ => GitTimes::Checkout,
        },
        fetch_by_commit: flag("git.fetchbycommit"),
        access: GitAccess {
            token_secret: name("git.authtokensecret"),
            header_secret: name("git.authheadersecret"),
            known_hosts: name("git.knownsshhosts"),
            agent: name("git.mountsshsock"),
        },
    })
}

fn http(url: &str, rest: &str, attrs: &BTreeMap<String, String>) -> Result<SourceOp> {
    if let Some(key) =
        attrs.keys().find(|key| key.starts_with("http.header.") || key.starts_with("http.sig."))
    {
        return Err(Error::not_implemented(format!("the attribute `{}` of a download", key.escape_debug())));
    }
    let number = |key: &str| {
        let parse = |text: &String| text.parse::<u32>().map_err(|_| wrong(format!("`{key}` is no number")));
        attrs.get(key).map(parse).transpose()
    };
    let digest =
        |text: &String| text.parse::<Digest>().map_err(|error| wrong(format!("`http.checksum`: {error}")));
    let octal = |text: &String| {
        let mode = u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o7777);
        mode.map(ChmodSpec::Octal).ok_or_else(|| wrong("`http.perm` is no permission"))
    };
    let (uid, gid) = (number("http.uid")?, number("http.gid")?);
    let owner = (uid.is_some() || gid.is_some())
        .then(|| Owner { user: uid.map(Principal::Id), group: gid.map(Principal::Id) });
    owner.as_ref().map_or(Ok(()), Owner::check).map_err(|error| wrong(format!("{error}")))?;
    Ok(SourceOp::Http {
        url: url.to_owned(),
        checksum: attrs.get("http.checksum").map(digest).transpose()?,
        filename: filename(attrs.get("http.filename").map(String::as_str), rest)?,
        mode: attrs.get("http.perm").map(octal).transpose()?,
        owner,
    })
}

/// B07: a name is one component and leads nowhere.
fn filename(given: Option<&str>, rest: &str) -> Result<String> {
    let path = rest.split(['?', '#']).next().unwrap_or_default();
    let last = path.split_once('/').map_or("", |(_, path)| path.rsplit('/').next().unwrap_or_default());
    let name = match given.unwrap_or(last) {
        "" => DOWNLOAD,
        name => name,
    };
    match name == "." || name == ".." || name.len() > MAX_NAME || name.contains(['/', '\0']) {
        true => Err(wrong(format!("`{}` is no name of a file", name.escape_debug()))),
        false => Ok(name.to_owned()),
    }
}

fn layout(rest: &str, attrs: &BTreeMap<String, String>, platform: Platform) -> Result<SourceOp> {
    let (name, digest) = rest.rsplit_once('@').ok_or_else(|| wrong("an OCI layout without a digest"))?;
    let digest = digest.parse().map_err(|error| wrong(format!("an OCI layout: {error}")))?;
    let store = attrs.get("oci.store").map_or(name, String::as_str).to_owned();
    Ok(SourceOp::OciLayout { store, digest, platform })
}
