//! Writing: an OCI layout that is a `docker save` archive too, the same bytes for the same images.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};

use tar::{Builder, EntryType, Header};

use super::{DOCKER_FILE, DockerImage};
use crate::layout::{BLOBS_DIR, IMAGE_NAME, INDEX_FILE, LAYOUT, LAYOUT_FILE, REF_NAME, blob_path};
use crate::parse::parse_manifest;
use crate::{Algorithm, Descriptor, Digest, Document, Index, Manifest, MediaType, Reference, VerifyReader};

/// Where an image's blobs come from.
pub trait Blobs {
    /// Opens the content of `descriptor`, which is verified as it is read.
    fn open(&self, descriptor: &Descriptor) -> io::Result<Box<dyn Read + Send + '_>>;
}

/// One image to save.
#[derive(Debug, Clone)]
pub struct SavedImage {
    /// The names it goes by; may be empty.
    pub names: Vec<Reference>,
    /// The bytes of its manifest; the blobs are asked for by the descriptors in it.
    pub manifest: Vec<u8>,
}

struct Parsed<'a> {
    names: &'a [Reference],
    bytes: &'a [u8],
    descriptor: Descriptor,
    manifest: Manifest,
}

/// Writes `images` with all their blobs to `out`; a blob that several share is written once.
///
/// The lists come first, so that a reader knows what is to come.
pub fn write<W: Write>(out: W, images: &[SavedImage], blobs: &dyn Blobs) -> io::Result<W> {
    let images = images.iter().map(parse).collect::<io::Result<Vec<_>>>()?;
    let mut tar = Builder::new(out);
    file(&mut tar, LAYOUT_FILE, LAYOUT.as_bytes())?;
    file(&mut tar, INDEX_FILE, &index(&images).to_bytes())?;
    file(&mut tar, DOCKER_FILE, &docker_list(&images)?)?;
    directory(&mut tar, BLOBS_DIR)?;
    directory(&mut tar, &format!("{BLOBS_DIR}/{}", Algorithm::Sha256.name()))?;
    let mut written = BTreeSet::new();
    for image in &images {
        if written.insert(image.descriptor.digest.clone()) {
            file(&mut tar, &blob_path(&image.descriptor.digest), image.bytes)?;
        }
        for descriptor in std::iter::once(&image.manifest.config).chain(&image.manifest.layers) {
            blob(&mut tar, descriptor, blobs, &mut written)?;
        }
    }
    tar.into_inner()
}

fn parse(image: &SavedImage) -> io::Result<Parsed<'_>> {
    let invalid = |error| io::Error::new(io::ErrorKind::InvalidInput, error);
    let manifest = match parse_manifest(&image.manifest, None) {
        Ok(Document::Manifest(manifest)) => manifest,
        Ok(Document::Index(_)) => return Err(io::Error::other("an index cannot be saved as an image")),
        Err(error) => return Err(invalid(error)),
    };
    let media_type = manifest.media_type.clone().unwrap_or(MediaType::OCI_MANIFEST.into());
    let descriptor = Descriptor::of(media_type, &image.manifest);
    Ok(Parsed { names: &image.names, bytes: &image.manifest, descriptor, manifest })
}

/// One entry a name, as OCI tools look images up by name in the index.
fn index(images: &[Parsed]) -> Index {
    let mut entries = Vec::new();
    for image in images {
        if image.names.is_empty() {
            entries.push(image.descriptor.clone());
        }
        for name in image.names {
            let name = name.clone().with_default_tag();
            let mut entry = image.descriptor.clone();
            entry.annotations.insert(IMAGE_NAME.to_owned(), name.to_string());
            entry.annotations.insert(REF_NAME.to_owned(), name.tag().unwrap_or(name.target()).to_owned());
            entries.push(entry);
        }
    }
    Index::new(entries)
}

fn docker_list(images: &[Parsed]) -> io::Result<Vec<u8>> {
    let list: Vec<DockerImage> = images.iter().map(docker_image).collect();
    serde_json::to_vec(&list).map_err(io::Error::other)
}

fn docker_image(image: &Parsed) -> DockerImage {
    let tag = |name: &Reference| name.clone().with_default_tag().without_digest().familiar();
    let tags: Vec<String> =
        image.names.iter().filter(|name| name.tag().is_some() || name.digest().is_none()).map(tag).collect();
    DockerImage {
        config: blob_path(&image.manifest.config.digest),
        repo_tags: Some(tags),
        layers: Some(image.manifest.layers.iter().map(|layer| blob_path(&layer.digest)).collect()),
    }
}

fn blob<W: Write>(
    tar: &mut Builder<W>,
    descriptor: &Descriptor,
    blobs: &dyn Blobs,
    written: &mut BTreeSet<Digest>,
) -> io::Result<()> {
    if !written.insert(descriptor.digest.clone()) {
        return Ok(());
    }
    let content = VerifyReader::new(blobs.open(descriptor)?, &descriptor.digest, descriptor.size);
    let mut header = header(EntryType::Regular, 0o644, descriptor.size);
    tar.append_data(&mut header, blob_path(&descriptor.digest), content)
}

fn file<W: Write>(tar: &mut Builder<W>, path: &str, content: &[u8]) -> io::Result<()> {
    tar.append_data(&mut header(EntryType::Regular, 0o644, content.len() as u64), path, content)
}

fn directory<W: Write>(tar: &mut Builder<W>, path: &str) -> io::Result<()> {
    tar.append_data(&mut header(EntryType::Directory, 0o755, 0), format!("{path}/"), io::empty())
}

/// A header without a trace of when and by whom it was written.
fn header(kind: EntryType, mode: u32, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(size);
    header
}
