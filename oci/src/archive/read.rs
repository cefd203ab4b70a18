//! Reading: `docker save` archives of any age and OCI archives, from a seekable file.

use std::collections::BTreeSet;
use std::io::{self, Read, Seek, SeekFrom};

use super::entries::{Entries, Range, read_all};
use super::{DOCKER_FILE, DockerImage};
use crate::layout::{IMAGE_NAME, INDEX_FILE, LAYOUT_FILE, REF_NAME, blob_path};
use crate::media_type::Kind;
use crate::parse::{
    MAX_CONFIG, MAX_INDEX_DEPTH, MAX_MANIFEST, ParseError, parse_config, parse_image, parse_manifest,
};
use crate::verify::VerifyError;
use crate::{
    Descriptor, DiffId, Digest, Document, ImageConfig, Manifest, MediaType, Reference, VerifyReader,
};

/// The most images that are read from one archive.
const MAX_IMAGES: usize = 10_000;
/// The most bytes of a statement about an image.
const MAX_STATEMENT: usize = 64 << 20;
/// The most bytes of all statements.
const MAX_ATTACHED: usize = 512 << 20;
/// The annotation by which BuildKit marks manifests that are statements about another one.
const ATTESTATION: &str = "vnd.docker.reference.type";

/// Why an archive is refused.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// Reading failed.
    #[error("cannot read the archive")]
    Io(#[from] io::Error),
    /// The file is something else.
    #[error("the file is not an uncompressed tar archive")]
    NotATar,
    /// It is a tar of something else.
    #[error("the archive holds no images: it has neither `{INDEX_FILE}` nor `{DOCKER_FILE}`")]
    NoImages,
    /// A header's checksum is wrong.
    #[error("the archive is damaged at byte {position}")]
    Damaged {
        /// Where.
        position: u64,
    },
    /// It ends too early.
    #[error("the archive is cut off")]
    Truncated,
    /// It has more of something than allowed.
    #[error("the archive has more than {limit} {what}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// The most allowed.
        limit: usize,
    },
    /// A file that another one names is not there.
    #[error("the archive has no file `{0}`")]
    Missing(String),
    /// A document is refused.
    #[error("`{path}` in the archive is refused")]
    Parse {
        /// Its path.
        path: String,
        /// Why.
        source: ParseError,
    },
    /// A document is not what its name or descriptor says.
    #[error("`{path}` in the archive is damaged")]
    Verify {
        /// Its path.
        path: String,
        /// How.
        source: VerifyError,
    },
    /// An image's name is no reference.
    #[error(transparent)]
    Name(#[from] crate::reference::ReferenceError),
}

/// A `save` archive, its entries found and none of their content read yet.
///
/// A compressed archive, or one that comes through a pipe, is first written to a file by the caller, through
/// `compression::decompress`.
#[derive(Debug)]
pub struct Archive<R> {
    file: R,
    entries: Entries,
}

/// What a name in an archive means: one image, or an index with those of its images that are in the archive.
#[derive(Debug, Clone, Default)]
pub struct Loaded {
    /// The names it goes by; empty where it has none.
    pub names: Vec<Reference>,
    /// The indexes, the one that the names mean first; none where they mean an image.
    pub indexes: Vec<(MediaType, Vec<u8>)>,
    /// The images.
    pub images: Vec<LoadedImage>,
    /// Documents of what the indexes list about their images: statements, and the manifests that have them.
    pub attached: Vec<(MediaType, Vec<u8>)>,
}

/// An image in an archive.
#[derive(Debug, Clone)]
pub struct LoadedImage {
    /// The manifest's bytes as they were, where the archive has one: OCI archives do, old Docker ones do not.
    pub manifest: Option<Vec<u8>>,
    /// The configuration.
    pub config: ImageConfig,
    /// The configuration's bytes.
    pub config_bytes: Vec<u8>,
    /// The layers, lowest first.
    pub layers: Vec<LoadedLayer>,
}

/// A layer in an archive: a range of its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadedLayer {
    /// The digest that the configuration promises for the uncompressed content; whoever unpacks it must check.
    pub diff_id: DiffId,
    /// The manifest's descriptor, where there is one.
    pub descriptor: Option<Descriptor>,
    /// Where it starts in the file.
    pub offset: u64,
    /// How many bytes it has there, compressed or not.
    pub size: u64,
}

impl<R: Read + Seek> Archive<R> {
    /// Finds the entries of `file`, an uncompressed tar.
    pub fn open(mut file: R) -> Result<Self, ArchiveError> {
        let entries = Entries::scan(&mut file)?;
        Ok(Archive { file, entries })
    }

    /// The images, with documents that are verified where they have a digest.
    pub fn images(&mut self) -> Result<Vec<Loaded>, ArchiveError> {
        let docker = self.docker_list()?;
        if self.entries.find(LAYOUT_FILE).is_some() && self.entries.find(INDEX_FILE).is_some() {
            return self.oci_images(&docker.unwrap_or_default());
        }
        let docker = docker.ok_or(ArchiveError::NoImages)?;
        docker.iter().map(|image| self.docker_image(image)).collect()
    }

    /// The content of `layer` as it is in the archive; verified as it is read where it has a descriptor.
    pub fn layer(&mut self, layer: &LoadedLayer) -> io::Result<Box<dyn Read + '_>> {
        self.file.seek(SeekFrom::Start(layer.offset))?;
        let content = self.file.by_ref().take(layer.size);
        Ok(match &layer.descriptor {
            Some(descriptor) => Box::new(VerifyReader::new(content, &descriptor.digest, descriptor.size)),
            None => Box::new(content),
        })
    }

    /// Hands the file back.
    pub fn into_inner(self) -> R {
        self.file
    }

    fn docker_list(&mut self) -> Result<Option<Vec<DockerImage>>, ArchiveError> {
        let Some(range) = self.entries.find(DOCKER_FILE) else { return Ok(None) };
        let bytes = read_all(&mut self.file, range, MAX_MANIFEST)?;
        let malformed = |source| ParseError::Json { what: "list of images", source };
        let list: Vec<DockerImage> =
            serde_json::from_slice(&bytes).map_err(|error| refused(DOCKER_FILE, malformed(error)))?;
        if list.len() > MAX_IMAGES {
            return Err(ArchiveError::TooMany { what: "images", limit: MAX_IMAGES });
        }
        Ok(Some(list))
    }

    fn docker_image(&mut self, image: &DockerImage) -> Result<Loaded, ArchiveError> {
        let config_bytes = self.read(&image.config, MAX_CONFIG)?;
        let config = parse_config(&config_bytes).map_err(|source| refused(&image.config, source))?;
        let paths = image.layers.as_deref().unwrap_or_default();
        if paths.len() != config.rootfs.diff_ids.len() {
            let problem =
                format!("it has {} layers, its configuration {}", paths.len(), config.rootfs.diff_ids.len());
            return Err(refused(&image.config, ParseError::Inconsistent { what: "image", problem }));
        }
        let layer = |(path, diff_id): (&String, &DiffId)| {
            let range = self.find(path)?;
            Ok(LoadedLayer {
                diff_id: diff_id.clone(),
                descriptor: None,
                offset: range.offset,
                size: range.size,
            })
        };
        let layers =
            paths.iter().zip(&config.rootfs.diff_ids).map(layer).collect::<Result<_, ArchiveError>>()?;
        let names = docker_names(image)?;
        let image = LoadedImage { manifest: None, config, config_bytes, layers };
        Ok(Loaded { names, images: vec![image], ..Loaded::default() })
    }

    fn oci_images(&mut self, docker: &[DockerImage]) -> Result<Vec<Loaded>, ArchiveError> {
        let bytes = self.read(INDEX_FILE, MAX_MANIFEST)?;
        let index = match parse_manifest(&bytes, None) {
            Ok(Document::Index(index)) => index,
            Ok(Document::Manifest(_)) => {
                return Err(refused(INDEX_FILE, ParseError::Unsupported("a manifest".to_owned())));
            }
            Err(source) => return Err(refused(INDEX_FILE, source)),
        };
        let mut all: Vec<(Digest, Loaded)> = Vec::new();
        let (mut visited, mut left) = (0, MAX_ATTACHED);
        for entry in index.manifests.iter().filter(|entry| !is_attestation(entry)) {
            let names = oci_names(entry)?;
            match all.iter_mut().find(|(digest, _)| *digest == entry.digest) {
                Some((_, loaded)) => add_names(&mut loaded.names, names),
                None => {
                    let loaded = Loaded { names, ..Loaded::default() };
                    let mut found = Found { loaded, seen: BTreeSet::new(), visited, left };
                    self.collect(entry, 1, &mut found)?;
                    (visited, left) = (found.visited, found.left);
                    all.push((entry.digest.clone(), found.loaded));
                }
            }
        }
        let mut images: Vec<Loaded> = all.into_iter().map(|(_, loaded)| loaded).collect();
        images.retain(|loaded| !loaded.images.is_empty());
        images.iter_mut().try_for_each(|loaded| name_as_docker(loaded, docker))?;
        Ok(images)
    }

    /// Collects an entry of an index, and what it lists where it is an index itself. What a nested index lists and the
    /// archive lacks is passed over: whoever saved one platform of several left the others out.
    fn collect(&mut self, entry: &Descriptor, depth: usize, found: &mut Found) -> Result<(), ArchiveError> {
        if !found.is_new(&entry.digest)? {
            return Ok(());
        }
        let path = blob_path(&entry.digest);
        let bytes = self.read_verified(entry, MAX_MANIFEST)?;
        match parse_manifest(&bytes, Some(entry.media_type.as_str())).map_err(|e| refused(&path, e))? {
            Document::Index(_) if depth > MAX_INDEX_DEPTH => {
                Err(ArchiveError::TooMany { what: "levels of nested indexes", limit: MAX_INDEX_DEPTH })
            }
            Document::Index(index) => {
                found.loaded.indexes.push((entry.media_type.clone(), bytes));
                for child in &index.manifests {
                    if self.entries.find(&blob_path(&child.digest)).is_none() {
                        continue;
                    }
                    match is_attestation(child) {
                        true => self.attach(child, found)?,
                        false => self.collect(child, depth + 1, found)?,
                    }
                }
                Ok(())
            }
            // An artifact that is no image, for example a signature.
            Document::Manifest(manifest) if manifest.config.media_type.kind() != Kind::Config => Ok(()),
            Document::Manifest(manifest) => {
                found.loaded.images.push(self.oci_image(&path, bytes, manifest)?);
                Ok(())
            }
        }
    }

    /// Collects the documents of an entry that says something about another one.
    fn attach(&mut self, entry: &Descriptor, found: &mut Found) -> Result<(), ArchiveError> {
        if !found.is_new(&entry.digest)? {
            return Ok(());
        }
        let bytes = self.read_verified(entry, MAX_MANIFEST)?;
        if let Ok(Document::Manifest(manifest)) = parse_manifest(&bytes, Some(entry.media_type.as_str())) {
            for blob in manifest.layers.iter().chain([&manifest.config]) {
                if found.is_new(&blob.digest)? {
                    let bytes = self.read_verified(blob, MAX_STATEMENT.min(found.left))?;
                    found.left -= bytes.len();
                    found.loaded.attached.push((blob.media_type.clone(), bytes));
                }
            }
            found.loaded.attached.push((entry.media_type.clone(), bytes));
        }
        Ok(())
    }

    fn oci_image(
        &mut self,
        path: &str,
        bytes: Vec<u8>,
        manifest: Manifest,
    ) -> Result<LoadedImage, ArchiveError> {
        let config_bytes = self.read_verified(&manifest.config, MAX_CONFIG)?;
        let image = parse_image(manifest, &config_bytes).map_err(|e| refused(path, e))?;
        let layers = image.manifest.layers.iter().zip(image.diff_ids());
        let layers =
            layers.map(|(layer, diff_id)| self.oci_layer(layer, diff_id)).collect::<Result<_, _>>()?;
        Ok(LoadedImage { manifest: Some(bytes), config: image.config, config_bytes, layers })
    }

    fn oci_layer(&self, layer: &Descriptor, diff_id: &DiffId) -> Result<LoadedLayer, ArchiveError> {
        let range = self.find(&blob_path(&layer.digest))?;
        let descriptor = Some(layer.clone());
        Ok(LoadedLayer { diff_id: diff_id.clone(), descriptor, offset: range.offset, size: range.size })
    }

    fn find(&self, path: &str) -> Result<Range, ArchiveError> {
        self.entries.find(path).ok_or_else(|| ArchiveError::Missing(path.to_owned()))
    }

    fn read(&mut self, path: &str, limit: usize) -> Result<Vec<u8>, ArchiveError> {
        let range = self.find(path)?;
        read_all(&mut self.file, range, limit)
    }

    fn read_verified(&mut self, descriptor: &Descriptor, limit: usize) -> Result<Vec<u8>, ArchiveError> {
        let path = blob_path(&descriptor.digest);
        let bytes = self.read(&path, limit)?;
        match crate::verify::verify(&bytes, descriptor) {
            Ok(()) => Ok(bytes),
            Err(source) => Err(ArchiveError::Verify { path, source }),
        }
    }
}

/// What was found behind one name so far.
struct Found {
    loaded: Loaded,
    /// The documents that were read for it.
    seen: BTreeSet<Digest>,
    /// How many documents were read for all names.
    visited: usize,
    /// Bytes that statements of all names may still have.
    left: usize,
}

impl Found {
    /// Whether a document was not met yet; it has been from now on.
    fn is_new(&mut self, digest: &Digest) -> Result<bool, ArchiveError> {
        let new = self.seen.insert(digest.clone());
        self.visited += usize::from(new);
        if self.visited > MAX_IMAGES {
            return Err(ArchiveError::TooMany { what: "images", limit: MAX_IMAGES });
        }
        Ok(new)
    }
}

/// Adds the names by which Docker's list knows an image of `loaded`.
fn name_as_docker(loaded: &mut Loaded, docker: &[DockerImage]) -> Result<(), ArchiveError> {
    for image in &loaded.images {
        let config = blob_path(&Digest::of(&image.config_bytes));
        for listed in docker.iter().filter(|listed| listed.config == config) {
            add_names(&mut loaded.names, docker_names(listed)?);
        }
    }
    Ok(())
}

fn is_attestation(entry: &Descriptor) -> bool {
    entry.annotations.contains_key(ATTESTATION)
}

fn refused(path: &str, source: ParseError) -> ArchiveError {
    ArchiveError::Parse { path: path.to_owned(), source }
}

fn docker_names(image: &DockerImage) -> Result<Vec<Reference>, ArchiveError> {
    image.repo_tags.iter().flatten().map(|name| parse_name(name)).collect()
}

fn parse_name(name: &str) -> Result<Reference, ArchiveError> {
    Ok(name.parse::<Reference>()?.with_default_tag())
}

/// The name in an index entry. A bare tag is no name: whoever wrote it meant the archive's own.
fn oci_names(entry: &Descriptor) -> Result<Vec<Reference>, ArchiveError> {
    if let Some(name) = entry.annotations.get(IMAGE_NAME) {
        return Ok(vec![parse_name(name)?]);
    }
    let whole = entry.annotations.get(REF_NAME).filter(|name| name.contains([':', '/']));
    Ok(whole.and_then(|name| parse_name(name).ok()).into_iter().collect())
}

fn add_names(names: &mut Vec<Reference>, more: Vec<Reference>) {
    for name in more {
        if !names.contains(&name) {
            names.push(name);
        }
    }
}
