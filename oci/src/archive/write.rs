//! Writing: an OCI layout that is a `docker save` archive too, the same bytes for the same images.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Write};

use tar::{Builder, EntryType, Header};

use super::tree::Tree;
use super::{DOCKER_FILE, DockerImage};
use crate::layout::{BLOBS_DIR, IMAGE_NAME, INDEX_FILE, LAYOUT, LAYOUT_FILE, REF_NAME, blob_path};
use crate::{Algorithm, Descriptor, Digest, Index, Manifest, Reference, VerifyReader};

/// Where an image's blobs come from.
pub trait Blobs {
    /// Opens the content of `descriptor`, which is verified as it is read.
    fn open(&self, descriptor: &Descriptor) -> io::Result<Box<dyn Read + Send + '_>>;

    /// Whether a document is there: an index may list images that nobody fetched, which are left out.
    fn has(&self, descriptor: &Descriptor) -> io::Result<bool> {
        let _ = descriptor;
        Ok(true)
    }
}

/// One image to save.
#[derive(Debug, Clone)]
pub struct SavedImage {
    /// The names it goes by; may be empty.
    pub names: Vec<Reference>,
    /// The bytes of its manifest or index; everything else is asked for by the descriptors in it.
    pub root: Vec<u8>,
    /// Annotations of what points to it in the list of images.
    pub annotations: BTreeMap<String, String>,
}

/// What images consist of, whether it is written as an archive or as a directory.
#[derive(Debug, Clone)]
pub struct Contents {
    /// The list of the images, one entry a name, as OCI tools look images up by name in it.
    pub index: Index,
    /// The list for Docker, which has no indexes: it names the image of this machine's platform, else the first.
    pub docker: Vec<u8>,
    /// The bytes of every manifest and index.
    pub documents: Vec<(Digest, Vec<u8>)>,
    /// Configurations and layers, each once.
    pub blobs: Vec<Descriptor>,
}

impl Contents {
    /// What `images` consist of, as far as it is there. An index keeps its bytes whatever of it is there.
    pub fn of(images: &[SavedImage], blobs: &dyn Blobs) -> io::Result<Contents> {
        let trees = images.iter().map(|image| Tree::of(image, blobs)).collect::<io::Result<Vec<_>>>()?;
        let (index, docker) = (index(&trees), docker_list(&trees)?);
        let mut contents = Contents { index, docker, documents: Vec::new(), blobs: Vec::new() };
        let mut seen = BTreeSet::new();
        for tree in trees {
            let documents = tree.documents.into_iter().filter(|(digest, _)| seen.insert(digest.clone()));
            contents.documents.extend(documents);
            for (_, manifest) in tree.manifests {
                let blobs = std::iter::once(manifest.config).chain(manifest.layers);
                contents.blobs.extend(blobs.filter(|blob| seen.insert(blob.digest.clone())));
            }
        }
        Ok(contents)
    }
}

/// Writes `images` with all their blobs to `out`; a blob that several share is written once.
///
/// The lists come first, so that a reader knows what is to come, then manifests and indexes, then everything else.
pub fn write<W: Write>(out: W, images: &[SavedImage], blobs: &dyn Blobs) -> io::Result<W> {
    let contents = Contents::of(images, blobs)?;
    let mut tar = Builder::new(out);
    file(&mut tar, LAYOUT_FILE, LAYOUT.as_bytes())?;
    file(&mut tar, INDEX_FILE, &contents.index.to_bytes())?;
    file(&mut tar, DOCKER_FILE, &contents.docker)?;
    directory(&mut tar, BLOBS_DIR)?;
    directory(&mut tar, &format!("{BLOBS_DIR}/{}", Algorithm::Sha256.name()))?;
    for (digest, bytes) in &contents.documents {
        file(&mut tar, &blob_path(digest), bytes)?;
    }
    for descriptor in &contents.blobs {
        blob(&mut tar, descriptor, blobs)?;
    }
    tar.into_inner()
}

/// One entry a name.
fn index(trees: &[Tree]) -> Index {
    let mut entries = Vec::new();
    for tree in trees {
        if tree.names.is_empty() {
            entries.push(tree.root.clone());
        }
        for name in tree.names {
            let name = name.clone().with_default_tag();
            let mut entry = tree.root.clone();
            entry.annotations.insert(IMAGE_NAME.to_owned(), name.to_string());
            entry.annotations.insert(REF_NAME.to_owned(), name.tag().unwrap_or(name.target()).to_owned());
            entries.push(entry);
        }
    }
    Index::new(entries)
}

fn docker_list(trees: &[Tree]) -> io::Result<Vec<u8>> {
    let listed = |tree: &Tree| tree.manifest_for_docker().map(|manifest| docker_image(tree.names, manifest));
    let list: Vec<DockerImage> = trees.iter().filter_map(listed).collect();
    serde_json::to_vec(&list).map_err(io::Error::other)
}

fn docker_image(names: &[Reference], manifest: &Manifest) -> DockerImage {
    let tag = |name: &Reference| name.clone().with_default_tag().without_digest().familiar();
    let tags: Vec<String> =
        names.iter().filter(|name| name.tag().is_some() || name.digest().is_none()).map(tag).collect();
    DockerImage {
        config: blob_path(&manifest.config.digest),
        repo_tags: Some(tags),
        layers: Some(manifest.layers.iter().map(|layer| blob_path(&layer.digest)).collect()),
    }
}

fn blob<W: Write>(tar: &mut Builder<W>, descriptor: &Descriptor, blobs: &dyn Blobs) -> io::Result<()> {
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
