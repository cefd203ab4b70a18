//! Whether an image's derived values agree with its bytes; for tests and for `debug validate`.

use std::io::{self, BufReader};

use crate::archive::Blobs;
use crate::compression::decompress;
use crate::media_type::Kind;
use crate::parse::{parse_image, parse_manifest};
use crate::{Descriptor, DiffId, Digester, Document, Image, VerifyReader};

/// Reads the whole of an image and names everything that does not agree.
///
/// Fails only where the blobs cannot be opened; what is wrong with their content is in the list.
pub fn validate(manifest: &[u8], blobs: &dyn Blobs) -> io::Result<Vec<String>> {
    let manifest = match parse_manifest(manifest, None) {
        Ok(Document::Manifest(manifest)) => manifest,
        Ok(Document::Index(_)) => return Ok(vec!["the document is an index, not a manifest".to_owned()]),
        Err(error) => return Ok(vec![error.to_string()]),
    };
    let config = match read_all(&manifest.config, blobs)? {
        Ok(config) => config,
        Err(problem) => return Ok(vec![format!("the configuration: {problem}")]),
    };
    let image = match parse_image(manifest, &config) {
        Ok(image) => image,
        Err(error) => return Ok(vec![error.to_string()]),
    };
    let mut problems = Vec::new();
    problems.extend(check_history(&image));
    for (layer, diff_id) in image.manifest.layers.iter().zip(image.diff_ids()) {
        let problem = check_layer(layer, diff_id, blobs)?;
        problems.extend(problem.map(|problem| format!("layer `{}`: {problem}", layer.digest)));
    }
    Ok(problems)
}

fn read_all(descriptor: &Descriptor, blobs: &dyn Blobs) -> io::Result<Result<Vec<u8>, io::Error>> {
    let mut bytes = Vec::new();
    let mut reader = VerifyReader::new(blobs.open(descriptor)?, &descriptor.digest, descriptor.size);
    Ok(io::copy(&mut reader, &mut bytes).map(|_| bytes))
}

fn check_history(image: &Image) -> Option<String> {
    let with_layer = image.config.history.iter().filter(|entry| !entry.empty_layer).count();
    let layers = image.diff_ids().len();
    (!image.config.history.is_empty() && with_layer != layers)
        .then(|| format!("the history tells of {with_layer} layers, there are {layers}"))
}

fn check_layer(layer: &Descriptor, diff_id: &DiffId, blobs: &dyn Blobs) -> io::Result<Option<String>> {
    let blob = VerifyReader::new(blobs.open(layer)?, &layer.digest, layer.size);
    let mut reader = decompress(BufReader::with_capacity(1 << 16, blob));
    let mut digester = Digester::new(diff_id.0.algorithm());
    if let Err(error) = io::copy(&mut reader, &mut digester) {
        return Ok(Some(error.to_string()));
    }
    let actual = digester.finish();
    if actual != diff_id.0 {
        return Ok(Some(format!("its content is `{actual}`, the configuration says `{diff_id}`")));
    }
    let found = reader.compression()?;
    Ok(match layer.media_type.kind() {
        Kind::Layer(claimed) if claimed != found => {
            Some(format!("its media type `{}` is wrong, it is {found:?}", layer.media_type))
        }
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io::Read;

    use super::*;
    use crate::{Digest, ImageConfig, Manifest, MediaType, Platform};

    struct Memory(BTreeMap<Digest, Vec<u8>>);

    impl Memory {
        fn put(&mut self, media_type: &str, bytes: &[u8]) -> Descriptor {
            let descriptor = Descriptor::of(media_type, bytes);
            self.0.insert(descriptor.digest.clone(), bytes.to_vec());
            descriptor
        }
    }

    impl Blobs for Memory {
        fn open(&self, descriptor: &Descriptor) -> io::Result<Box<dyn Read + Send + '_>> {
            let bytes = self.0.get(&descriptor.digest).ok_or(io::ErrorKind::NotFound)?;
            Ok(Box::new(&bytes[..]))
        }
    }

    fn image(media_type: &str, diff_id: &[u8]) -> Vec<String> {
        let mut blobs = Memory(BTreeMap::new());
        let layer = blobs.put(media_type, b"the layer");
        let mut config = ImageConfig::empty(Platform::new("linux", "amd64", None));
        config.rootfs.diff_ids.push(DiffId(Digest::of(diff_id)));
        let config = blobs.put(MediaType::OCI_CONFIG, &config.to_bytes());
        validate(&Manifest::new(config, vec![layer]).to_bytes(), &blobs).unwrap()
    }

    #[test]
    fn a_true_image_has_no_problems() {
        assert_eq!(image(MediaType::OCI_LAYER, b"the layer"), Vec::<String>::new());
    }

    #[test]
    fn lies_are_found() {
        assert!(image(MediaType::OCI_LAYER, b"another")[0].contains("the configuration says"));
        assert!(image(MediaType::OCI_LAYER_GZIP, b"the layer")[0].contains("media type"));
    }
}
