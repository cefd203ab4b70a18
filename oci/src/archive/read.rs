//! Reading: `docker save` archives of any age and OCI archives, from a seekable file.

use std::io::{self, Read, Seek, SeekFrom};

use super::entries::{Entries, Range, read_all};
use super::{DOCKER_FILE, DockerImage};
use crate::layout::{IMAGE_NAME, INDEX_FILE, LAYOUT_FILE, REF_NAME, blob_path};
use crate::media_type::Kind;
use crate::parse::{
    MAX_CONFIG, MAX_INDEX_DEPTH, MAX_MANIFEST, ParseError, parse_config, parse_image, parse_manifest,
};
use crate::verify::VerifyError;
use crate::{Descriptor, DiffId, Digest, Document, ImageConfig, Index, Reference, VerifyReader};

/// The most images that are read from one archive.
const MAX_IMAGES: usize = 10_000;
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

/// An image in an archive.
#[derive(Debug, Clone)]
pub struct LoadedImage {
    /// The names it goes by; empty where it has none.
    pub names: Vec<Reference>,
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

    /// The images, with documents that are verified where they have a digest. An image of several platforms is
    /// several images of one name, as far as their blobs are in the archive.
    pub fn images(&mut self) -> Result<Vec<LoadedImage>, ArchiveError> {
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

    fn docker_image(&mut self, image: &DockerImage) -> Result<LoadedImage, ArchiveError> {
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
        Ok(LoadedImage { names: docker_names(image)?, manifest: None, config, config_bytes, layers })
    }

    fn oci_images(&mut self, docker: &[DockerImage]) -> Result<Vec<LoadedImage>, ArchiveError> {
        let bytes = self.read(INDEX_FILE, MAX_MANIFEST)?;
        let index = match parse_manifest(&bytes, None) {
            Ok(Document::Index(index)) => index,
            Ok(Document::Manifest(_)) => {
                return Err(refused(INDEX_FILE, ParseError::Unsupported("a manifest".to_owned())));
            }
            Err(source) => return Err(refused(INDEX_FILE, source)),
        };
        let mut found = Found::default();
        self.collect(&index, &[], 1, &mut found)?;
        for (_, image) in &mut found.0 {
            let config = blob_path(&Digest::of(&image.config_bytes));
            for listed in docker.iter().filter(|listed| listed.config == config) {
                add_names(&mut image.names, docker_names(listed)?);
            }
        }
        Ok(found.0.into_iter().map(|(_, image)| image).collect())
    }

    /// Collects the images of an index. What a nested index lists and the archive lacks is passed over: whoever
    /// saved one platform of several left the others out.
    fn collect(
        &mut self,
        index: &Index,
        names: &[Reference],
        depth: usize,
        found: &mut Found,
    ) -> Result<(), ArchiveError> {
        if depth > MAX_INDEX_DEPTH {
            return Err(ArchiveError::TooMany { what: "levels of nested indexes", limit: MAX_INDEX_DEPTH });
        }
        for entry in &index.manifests {
            let path = blob_path(&entry.digest);
            let skip = entry.annotations.contains_key(ATTESTATION)
                || depth > 1 && self.entries.find(&path).is_none();
            if skip {
                continue;
            }
            let mut names = names.to_vec();
            add_names(&mut names, oci_names(entry)?);
            self.collect_entry(entry, names, depth, found)?;
        }
        Ok(())
    }

    fn collect_entry(
        &mut self,
        entry: &Descriptor,
        names: Vec<Reference>,
        depth: usize,
        found: &mut Found,
    ) -> Result<(), ArchiveError> {
        if let Some(image) = found.get(&entry.digest) {
            add_names(&mut image.names, names);
            return Ok(());
        }
        let path = blob_path(&entry.digest);
        let bytes = self.read_verified(entry, MAX_MANIFEST)?;
        match parse_manifest(&bytes, Some(entry.media_type.as_str())).map_err(|e| refused(&path, e))? {
            Document::Index(index) => self.collect(&index, &names, depth + 1, found),
            // An artifact that is no image, for example a signature.
            Document::Manifest(manifest) if manifest.config.media_type.kind() != Kind::Config => Ok(()),
            Document::Manifest(manifest) => {
                let config_bytes = self.read_verified(&manifest.config, MAX_CONFIG)?;
                let image = parse_image(manifest, &config_bytes).map_err(|e| refused(&path, e))?;
                let layers = image.manifest.layers.iter().zip(image.diff_ids());
                let layers = layers
                    .map(|(layer, diff_id)| self.oci_layer(layer, diff_id))
                    .collect::<Result<_, _>>()?;
                let image =
                    LoadedImage { names, manifest: Some(bytes), config: image.config, config_bytes, layers };
                found.add(&entry.digest, image)
            }
        }
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

/// The images found so far, by their manifests' digests, in the order of the index.
#[derive(Default)]
struct Found(Vec<(Digest, LoadedImage)>);

impl Found {
    fn get(&mut self, digest: &Digest) -> Option<&mut LoadedImage> {
        self.0.iter_mut().find(|(found, _)| found == digest).map(|(_, image)| image)
    }

    fn add(&mut self, digest: &Digest, image: LoadedImage) -> Result<(), ArchiveError> {
        if self.0.len() >= MAX_IMAGES {
            return Err(ArchiveError::TooMany { what: "images", limit: MAX_IMAGES });
        }
        self.0.push((digest.clone(), image));
        Ok(())
    }
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
