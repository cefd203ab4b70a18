//! An image with the documents that it consists of: a manifest, or an index and what it lists.

use std::io::{self, Read};

use super::write::{Blobs, SavedImage};
use crate::media_type::Kind;
use crate::parse::{MAX_INDEX_DEPTH, MAX_MANIFEST, parse_manifest};
use crate::verify::verify;
use crate::{Descriptor, Digest, Document, Index, Manifest, MediaType, Platform, Reference};

/// The documents of an image that is to be saved, as far as they are there.
pub(super) struct Tree<'a> {
    pub(super) names: &'a [Reference],
    /// What the names mean.
    pub(super) root: Descriptor,
    /// The bytes of every manifest and index.
    pub(super) documents: Vec<(Digest, Vec<u8>)>,
    /// The manifests, with the platforms that an index says they are for.
    pub(super) manifests: Vec<(Option<Platform>, Manifest)>,
}

impl<'a> Tree<'a> {
    pub(super) fn of(image: &'a SavedImage, blobs: &dyn Blobs) -> io::Result<Self> {
        let media_type = match parse(&image.root, None)? {
            Document::Manifest(manifest) => manifest.media_type.unwrap_or(MediaType::OCI_MANIFEST.into()),
            Document::Index(index) => index.media_type.unwrap_or(MediaType::OCI_INDEX.into()),
        };
        let annotations = image.annotations.clone();
        let root = Descriptor { annotations, ..Descriptor::of(media_type, &image.root) };
        let (documents, manifests) = (Vec::new(), Vec::new());
        let mut tree = Tree { names: &image.names, root: root.clone(), documents, manifests };
        tree.add(&root, image.root.clone(), blobs, 0)?;
        Ok(tree)
    }

    /// The image that stands for all in a list that knows no platforms.
    pub(super) fn manifest_for_docker(&self) -> Option<&Manifest> {
        let host = Platform::host();
        let fit = |(platform, _): &&(Option<Platform>, Manifest)| {
            platform.as_ref().and_then(|platform| platform.serves(&host))
        };
        let best = self.manifests.iter().filter(|entry| fit(entry).is_some()).max_by_key(fit);
        best.or(self.manifests.first()).map(|(_, manifest)| manifest)
    }

    fn add(
        &mut self,
        descriptor: &Descriptor,
        bytes: Vec<u8>,
        blobs: &dyn Blobs,
        depth: usize,
    ) -> io::Result<()> {
        if depth > MAX_INDEX_DEPTH {
            return Err(io::Error::other("the index is nested too deep"));
        }
        let document = parse(&bytes, Some(descriptor.media_type.as_str()))?;
        self.documents.push((descriptor.digest.clone(), bytes));
        match document {
            Document::Manifest(manifest) => self.manifests.push((descriptor.platform.clone(), manifest)),
            Document::Index(index) => self.add_children(&index, blobs, depth + 1)?,
        }
        Ok(())
    }

    fn add_children(&mut self, index: &Index, blobs: &dyn Blobs, depth: usize) -> io::Result<()> {
        for child in &index.manifests {
            let known = self.documents.iter().any(|(digest, _)| *digest == child.digest);
            let is_document = matches!(child.media_type.kind(), Kind::Manifest | Kind::Index);
            if is_document && !known && blobs.has(child)? {
                self.add(child, read(child, blobs)?, blobs, depth)?;
            }
        }
        Ok(())
    }
}

fn parse(bytes: &[u8], media_type: Option<&str>) -> io::Result<Document> {
    parse_manifest(bytes, media_type).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))
}

fn read(descriptor: &Descriptor, blobs: &dyn Blobs) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    blobs.open(descriptor)?.take(MAX_MANIFEST as u64 + 1).read_to_end(&mut bytes)?;
    verify(&bytes, descriptor).map_err(io::Error::other)?;
    Ok(bytes)
}
