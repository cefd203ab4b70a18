//! The attributes by which BuildKit's exporters are told what to do, as the values that exports are.
//!
//! Command lines and the BuildKit API write the same words; both come here with the type and its attributes apart.

use std::io::Write;
use std::path::PathBuf;

use kiln_graph::boolean;
use kiln_oci::compression::Packing;
use kiln_oci::{Compression, Reference};

use super::annotations::{Annotation, AnnotationLevel};
use super::options::{ImageOptions, LocalMode, Place};
use super::{Destination, Export};

/// Why attributes make no export.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct AttributeError {
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

type Result<T> = std::result::Result<T, AttributeError>;

/// Where the bytes of exports go that are no files of a path.
pub trait Streams {
    /// The stream that `dest=-` means; an error where there is none or it is taken.
    fn stream(&mut self) -> std::result::Result<Box<dyn Write + Send + Sync>, AttributeError>;
}

const IMAGE: &[&str] = &[
    "name",
    "oci-mediatypes",
    "compression",
    "compression-level",
    "force-compression",
    "rewrite-timestamp",
    "source-date-epoch",
    "prefer-nondist-layers",
    "attestation-inline",
    "annotation[-LEVEL][[PLATFORM]].KEY",
];
const PLACE: &[&str] = &[
    "push",
    "push-by-digest",
    "registry.insecure",
    "unpack",
    "store",
    "dangling-name-prefix",
    "danging-name-empty-only",
    "name-canonical",
];
const ARCHIVE: &[&str] = &["dest", "tar"];
const LOCAL: &[&str] = &["dest", "platform-split", "mode", "source-date-epoch", "attestation-prefix"];
const TAR: &[&str] = &["dest", "platform-split", "source-date-epoch", "attestation-prefix"];

/// Each type with the attributes that it knows.
const TYPES: [(&str, &[&[&str]]); 7] = [
    ("image", &[IMAGE, PLACE]),
    ("registry", &[IMAGE, PLACE]),
    ("oci", &[IMAGE, ARCHIVE]),
    ("docker", &[IMAGE, ARCHIVE]),
    ("local", &[LOCAL]),
    ("tar", &[TAR]),
    ("cacheonly", &[]),
];

/// The export of type `kind` with `attributes`, of which a later one replaces an earlier one but for names, which add up.
pub fn export(kind: &str, attributes: &[(String, String)], streams: &mut dyn Streams) -> Result<Export> {
    let Some((_, known)) = TYPES.iter().find(|(name, _)| *name == kind) else {
        let names: Vec<&str> = TYPES.iter().map(|(name, _)| *name).collect();
        return fail(format!("type `{kind}` is not one of {}", list(&names)));
    };
    let mut given = Given::default();
    for (key, value) in attributes {
        given.take(key, value, kind, &known.concat())?;
    }
    given.export(kind, streams)
}

/// What was given so far.
#[derive(Debug, Default)]
struct Given {
    image: ImageOptions,
    place: Place,
    compression: Option<Compression>,
    level: Option<i64>,
    dest: Option<String>,
    directory: bool,
    split: Option<bool>,
    mode: LocalMode,
    epoch: Option<i64>,
    prefix: String,
}

impl Given {
    fn take(&mut self, key: &str, value: &str, kind: &str, known: &[&str]) -> Result<()> {
        let is_annotation = key.starts_with("annotation") && key.contains('.');
        let name = if is_annotation { "annotation[-LEVEL][[PLATFORM]].KEY" } else { key };
        if !known.contains(&name) {
            return Err(unknown(key, kind, known));
        }
        if is_annotation {
            return self.annotation(key, value);
        }
        let (image, place) = (&mut self.image, &mut self.place);
        match key {
            "name" => names(value, &mut image.names)?,
            "oci-mediatypes" => image.oci_media_types = flag(key, value)?,
            "compression" => self.compression = Some(compression(value)?),
            "compression-level" => self.level = Some(number(key, value)?),
            "force-compression" => image.force_packing = flag(key, value)?,
            "rewrite-timestamp" => image.rewrite_timestamp = flag(key, value)?,
            "source-date-epoch" => self.epoch = epoch(value)?,
            "prefer-nondist-layers" if flag(key, value)? => {
                return fail(
                    "`prefer-nondist-layers`: every layer can be distributed here, whatever type its base gave it",
                );
            }
            "attestation-inline" => image.attestations_in_index = flag(key, value)?,
            "attestation-prefix" => self.prefix = prefix(value)?,
            "push" => place.push = flag(key, value)?,
            "push-by-digest" => place.by_digest = flag(key, value)?,
            "registry.insecure" => place.insecure = flag(key, value)?,
            "unpack" => place.unpack = flag(key, value)?,
            "store" => place.store = flag(key, value)?,
            "dangling-name-prefix" => place.dangling_prefix = Some(name_of(value)?),
            "danging-name-empty-only" => place.dangling_only = flag(key, value)?,
            "name-canonical" => place.canonical = flag(key, value)?,
            "dest" => self.dest = Some(value.to_owned()).filter(|dest| !dest.is_empty()),
            "tar" => self.directory = !flag(key, value)?,
            "platform-split" => self.split = Some(flag(key, value)?),
            "mode" => self.mode = mode(value)?,
            _ => {}
        }
        Ok(())
    }

    /// `annotation.KEY`, `annotation-LEVEL.KEY` and `annotation-LEVEL[PLATFORM].KEY`.
    fn annotation(&mut self, key: &str, value: &str) -> Result<()> {
        let (place, name) = key.split_once('.').unwrap_or((key, ""));
        if name.is_empty() {
            return fail(format!("`{key}`: the annotation has no name"));
        }
        let place = place.trim_start_matches("annotation").trim_start_matches('-');
        // As in BuildKit nothing said is the manifest, and a platform may stand there alone.
        let place = match place {
            "" => "manifest".to_owned(),
            platform if platform.starts_with('[') => format!("manifest{platform}"),
            level => level.to_owned(),
        };
        let (level, platform) =
            AnnotationLevel::parse(&place).or_else(|error| fail(format!("`{key}`: {error}")))?;
        let (key, value) = (name.to_owned(), value.to_owned());
        self.image.annotations.add(Annotation { level, platform, key, value });
        Ok(())
    }

    fn export(mut self, kind: &str, streams: &mut dyn Streams) -> Result<Export> {
        self.image.packing = self.packing()?;
        self.image.epoch = self.epoch;
        self.check()?;
        // An archive has nobody who lists what refers to an image.
        self.image.attestations_in_index |= kind == "oci" || self.directory;
        let Given { image, mut place, split, mode, epoch, prefix, .. } = self;
        let path = |dest: Option<String>| match dest.as_deref() {
            None | Some("-") => fail(format!("type `{kind}` needs a folder as `dest`")),
            Some(path) => Ok(PathBuf::from(path)),
        };
        let mut stream = |dest: Option<String>| match dest.as_deref() {
            None | Some("-") => streams.stream().map(Destination::Stream),
            Some(path) => Ok(Destination::File(path.into())),
        };
        Ok(match kind {
            "image" => Export::Image { image, place },
            "registry" => {
                place.push = true;
                Export::Image { image, place }
            }
            "oci" | "docker" if self.directory => Export::Layout { image, dest: path(self.dest)? },
            "oci" => Export::Oci { image, dest: stream(self.dest)? },
            // As with buildx, an image for Docker that goes nowhere in particular is loaded.
            "docker" if self.dest.is_none() => Export::Image { image, place },
            "docker" => Export::Docker { image, dest: stream(self.dest)? },
            "local" => Export::Local { dest: path(self.dest)?, split, mode, epoch, prefix },
            "tar" => Export::Tar { dest: stream(self.dest)?, split, epoch, prefix },
            _ => Export::CacheOnly,
        })
    }

    fn packing(&self) -> Result<Option<Packing>> {
        let Some(level) = self.level else { return Ok(self.compression.map(Packing::of)) };
        let packing = Packing::of(self.compression.unwrap_or(Compression::Gzip));
        packing.at_level(level).map(Some).or_else(|error| fail(format!("`compression-level`: {error}")))
    }

    fn check(&self) -> Result<()> {
        let ImageOptions { oci_media_types, annotations, .. } = &self.image;
        if !oci_media_types && self.compression == Some(Compression::Zstd) {
            return fail(
                "`compression=zstd`: Docker's media types have none for zstd, so `oci-mediatypes=false` cannot be",
            );
        }
        if !oci_media_types && annotations.iter().next().is_some() {
            return fail("Docker's manifests have no annotations, so `oci-mediatypes=false` cannot be");
        }
        if self.place.unpack && self.image.rewrite_timestamp {
            return fail("`unpack`: files with rewritten times are unpacked when they are used, not before");
        }
        Ok(())
    }
}

fn names(value: &str, names: &mut Vec<Reference>) -> Result<()> {
    for text in value.split(',').filter(|text| !text.is_empty()) {
        names.push(name_of(text)?);
    }
    Ok(())
}

fn name_of(text: &str) -> Result<Reference> {
    let name: Reference = text.parse().or_else(|error| fail(format!("{error}")))?;
    match name.digest() {
        Some(_) => fail(format!("`{text}`: a name to give has a tag and no digest")),
        None => Ok(name),
    }
}

fn compression(value: &str) -> Result<Compression> {
    match value {
        "uncompressed" => Ok(Compression::Uncompressed),
        "gzip" => Ok(Compression::Gzip),
        "zstd" => Ok(Compression::Zstd),
        "estargz" => Err(AttributeError {
            message: "`compression=estargz`: layers with a table of contents inside are not made by kiln"
                .to_owned(),
            hint: Some("`compression=zstd` makes the smallest layers".to_owned()),
        }),
        other => fail(format!("compression `{other}` is not one of `uncompressed`, `gzip` and `zstd`")),
    }
}

fn mode(value: &str) -> Result<LocalMode> {
    match value {
        "copy" => Ok(LocalMode::Copy),
        "delete" => Ok(LocalMode::Delete),
        other => fail(format!("`mode={other}`: the mode is `copy` or `delete`")),
    }
}

/// A truth as Go reads it; the name alone, with nothing behind `=`, is true.
fn flag(key: &str, value: &str) -> Result<bool> {
    let set = if value.is_empty() { Some(true) } else { boolean::parse(value) };
    set.map_or_else(|| fail(format!("`{key}` is true or false and not `{value}`")), Ok)
}

/// What goes in front of the names of statements; they stay in the result's own folder.
fn prefix(value: &str) -> Result<String> {
    match value.contains(['/', '\0']) {
        true => fail(format!("`attestation-prefix={value}`: a prefix is part of a name and no path")),
        false => Ok(value.to_owned()),
    }
}

fn number(key: &str, value: &str) -> Result<i64> {
    value.parse().or_else(|_| fail(format!("`{key}` is a number and not `{value}`")))
}

fn epoch(value: &str) -> Result<Option<i64>> {
    if value.is_empty() { Ok(None) } else { number("source-date-epoch", value).map(Some) }
}

fn unknown(key: &str, kind: &str, known: &[&str]) -> AttributeError {
    let message = format!("type `{kind}` knows no attribute `{key}`");
    let hint = match known {
        [] => "it has none".to_owned(),
        known => format!("it knows {}", list(known)),
    };
    AttributeError { message, hint: Some(hint) }
}

fn list(names: &[&str]) -> String {
    format!("`{}`", names.join("`, `"))
}

fn fail<T>(message: impl Into<String>) -> Result<T> {
    Err(AttributeError { message: message.into(), hint: None })
}

#[cfg(test)]
mod tests;
