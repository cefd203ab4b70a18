//! Archives written and read back, old ones, and hostile ones.

use std::collections::BTreeMap;
use std::io::{self, Cursor, Read};

use super::*;
use crate::{Descriptor, DiffId, Digest, ImageConfig, Index, Manifest, MediaType, Platform, Reference};

#[derive(Default)]
struct Memory(BTreeMap<Digest, Vec<u8>>);

impl Memory {
    fn put(&mut self, media_type: &str, bytes: &[u8]) -> Descriptor {
        let descriptor = Descriptor::of(media_type, bytes);
        self.0.insert(descriptor.digest.clone(), bytes.to_vec());
        descriptor
    }

    fn image(&mut self, names: &[&str], layers: &[&str]) -> SavedImage {
        let config = self.put(MediaType::OCI_CONFIG, &config(layers));
        let layers = layers.iter().map(|layer| self.put(MediaType::OCI_LAYER, layer.as_bytes())).collect();
        let names = names.iter().map(|name| name.parse().unwrap()).collect();
        SavedImage { names, root: Manifest::new(config, layers).to_bytes(), annotations: BTreeMap::new() }
    }

    /// An index of an image a platform, each with one layer named as its platform.
    fn index(&mut self, names: &[&str], platforms: &[&str]) -> SavedImage {
        let entry = |platform: &&str| {
            let image = self.image(&[], &[*platform]);
            let manifest = self.put(MediaType::OCI_MANIFEST, &image.root);
            Descriptor { platform: Some(platform.parse().unwrap()), ..manifest }
        };
        let root = Index::new(platforms.iter().map(entry).collect()).to_bytes();
        let names = names.iter().map(|name| name.parse().unwrap()).collect();
        SavedImage { names, root, annotations: BTreeMap::new() }
    }
}

impl Blobs for Memory {
    fn open(&self, descriptor: &Descriptor) -> io::Result<Box<dyn Read + Send + '_>> {
        Ok(Box::new(&self.0[&descriptor.digest][..]))
    }

    fn has(&self, descriptor: &Descriptor) -> io::Result<bool> {
        Ok(self.0.contains_key(&descriptor.digest))
    }
}

fn config(layers: &[&str]) -> Vec<u8> {
    let mut config = ImageConfig::empty(Platform::new("linux", "amd64", None));
    config.rootfs.diff_ids = layers.iter().map(|layer| DiffId(Digest::of(layer.as_bytes()))).collect();
    config.to_bytes()
}

fn tar(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, content) in entries {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        match path.split_once(" -> ") {
            Some((path, target)) => {
                header.set_entry_type(tar::EntryType::Symlink);
                header.set_size(0);
                builder.append_link(&mut header, path, target).unwrap();
            }
            None => {
                header.set_size(content.len() as u64);
                builder.append_data(&mut header, path, *content).unwrap();
            }
        }
    }
    builder.into_inner().unwrap()
}

/// An image's names and the contents of its layers, of one platform after the other.
type NamesAndLayers = (Vec<String>, Vec<String>);

fn load(bytes: Vec<u8>) -> Result<Vec<NamesAndLayers>, ArchiveError> {
    let mut archive = Archive::open(Cursor::new(bytes))?;
    let mut out = Vec::new();
    for loaded in archive.images()? {
        let mut layers = Vec::new();
        for layer in loaded.images.iter().flat_map(|image| &image.layers) {
            layers.push(io::read_to_string(archive.layer(layer)?)?);
        }
        out.push((loaded.names.iter().map(Reference::to_string).collect(), layers));
    }
    Ok(out)
}

fn failure(bytes: Vec<u8>) -> String {
    let error = load(bytes).unwrap_err();
    std::iter::successors(Some(&error as &dyn std::error::Error), |e| e.source())
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}

#[test]
fn what_is_written_is_read_back() {
    let mut blobs = Memory::default();
    let images = [
        blobs.image(&["nginx:1", "localhost:5000/a/b:c"], &["base", "app"]),
        blobs.image(&[], &["base"]),
        blobs.image(&["team/app"], &[]),
    ];
    let bytes = write(Vec::new(), &images, &blobs).unwrap();
    assert_eq!(write(Vec::new(), &images, &blobs).unwrap(), bytes, "not deterministic");
    let text = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
    let expected = [
        (text(&["docker.io/library/nginx:1", "localhost:5000/a/b:c"]), text(&["base", "app"])),
        (text(&[]), text(&["base"])),
        (text(&["docker.io/team/app:latest"]), text(&[])),
    ];
    assert_eq!(load(bytes).unwrap(), expected);
}

#[test]
fn an_index_keeps_its_bytes_and_the_platforms_that_are_there() {
    let mut blobs = Memory::default();
    let image = blobs.index(&["app:1"], &["linux/s390x", "linux/arm64"]);
    let bytes = write(Vec::new(), std::slice::from_ref(&image), &blobs).unwrap();
    let all = vec!["linux/s390x".to_owned(), "linux/arm64".to_owned()];
    assert_eq!(load(bytes.clone()).unwrap(), [(vec!["docker.io/library/app:1".to_owned()], all)]);
    let loaded = Archive::open(Cursor::new(bytes)).unwrap().images().unwrap().remove(0);
    assert_eq!(loaded.indexes, [(MediaType::new(MediaType::OCI_INDEX), image.root.clone())]);

    let Ok(crate::Document::Index(index)) = crate::parse::parse_manifest(&image.root, None) else { panic!() };
    blobs.0.remove(&index.manifests[0].digest);
    let bytes = write(Vec::new(), std::slice::from_ref(&image), &blobs).unwrap();
    assert_eq!(load(bytes.clone()).unwrap()[0].1, ["linux/arm64"]);
    let loaded = Archive::open(Cursor::new(bytes)).unwrap().images().unwrap().remove(0);
    assert_eq!(loaded.indexes[0].1, image.root);
}

#[test]
fn the_list_for_docker_names_this_machines_image_once() {
    let mut blobs = Memory::default();
    let host = Platform::host().to_string();
    let image = blobs.index(&["app:1"], &["linux/s390x", &host]);
    let bytes = write(Vec::new(), &[image], &blobs).unwrap();
    let mut archive = tar::Archive::new(&bytes[..]);
    let mut entries = archive.entries().unwrap().map(Result::unwrap);
    let list = entries.find(|entry| entry.path().unwrap().as_os_str() == "manifest.json").unwrap();
    let list: serde_json::Value = serde_json::from_reader(list).unwrap();
    assert_eq!(list.as_array().unwrap().len(), 1);
    assert_eq!(list[0]["Layers"][0], crate::layout::blob_path(&Digest::of(host.as_bytes())));
}

#[test]
fn indexes_in_indexes_have_an_end() {
    let mut blobs = Memory::default();
    let mut image = blobs.index(&["a:1"], &["linux/amd64"]);
    for level in 0..crate::parse::MAX_INDEX_DEPTH {
        let bytes = write(Vec::new(), std::slice::from_ref(&image), &blobs).unwrap();
        assert_eq!(load(bytes).unwrap()[0].1, ["linux/amd64"], "{} levels", level + 1);
        let inner = blobs.put(MediaType::OCI_INDEX, &image.root);
        image.root = Index::new(vec![inner]).to_bytes();
    }
    let error = write(Vec::new(), std::slice::from_ref(&image), &blobs).unwrap_err();
    assert!(error.to_string().contains("nested too deep"), "{error}");

    let mut entries = vec![("oci-layout".to_owned(), crate::layout::LAYOUT.as_bytes().to_vec())];
    let outer = Index::new(vec![blobs.put(MediaType::OCI_INDEX, &image.root)]).to_bytes();
    entries.push(("index.json".to_owned(), outer));
    entries.extend(blobs.0.iter().map(|(digest, bytes)| (crate::layout::blob_path(digest), bytes.clone())));
    let entries: Vec<(&str, &[u8])> =
        entries.iter().map(|(path, bytes)| (path.as_str(), bytes.as_slice())).collect();
    assert!(failure(tar(&entries)).contains("levels of nested indexes"));
}

#[test]
fn a_shared_blob_is_written_once() {
    let mut blobs = Memory::default();
    let images = [blobs.image(&["a"], &["base", "x", "base"]), blobs.image(&["b"], &["base"])];
    let bytes = write(Vec::new(), &images, &blobs).unwrap();
    let base = crate::layout::blob_path(&Digest::of(b"base"));
    let mut archive = tar::Archive::new(&bytes[..]);
    let paths = archive.entries().unwrap().map(|e| e.unwrap().path().unwrap().into_owned());
    assert_eq!(paths.filter(|path| path.as_os_str() == base.as_str()).count(), 1);
}

#[test]
fn a_blob_that_lies_is_not_saved() {
    let mut blobs = Memory::default();
    let image = blobs.image(&["a"], &["base"]);
    blobs.0.insert(Digest::of(b"base"), b"evil".to_vec());
    assert!(write(Vec::new(), &[image], &blobs).is_err());
}

#[test]
fn old_docker_archives_with_linked_layers_are_read() {
    let list = br#"[{"Config":"c.json","RepoTags":["app:1"],"Layers":["one/layer.tar","two/layer.tar"]}]"#;
    let bytes = tar(&[
        ("manifest.json", list),
        ("c.json", &config(&["base", "base"])),
        ("one/layer.tar", b"base"),
        ("two/layer.tar -> ../one/layer.tar", b""),
    ]);
    let (names, layers) = &load(bytes).unwrap()[0];
    assert_eq!(names, &["docker.io/library/app:1"]);
    assert_eq!(layers, &["base", "base"]);
}

#[test]
fn untagged_docker_images_have_null_tags() {
    let list = br#"[{"Config":"c.json","RepoTags":null,"Layers":null}]"#;
    let bytes = tar(&[("./manifest.json", list), ("./c.json", &config(&[]))]);
    assert_eq!(load(bytes).unwrap(), [(vec![], vec![])]);
}

#[test]
fn a_nested_index_yields_the_platforms_that_are_there() {
    let mut blobs = Memory::default();
    let image = blobs.image(&[], &["base"]);
    let manifest = Descriptor::of(MediaType::OCI_MANIFEST, &image.root);
    let absent = Descriptor::of(MediaType::OCI_MANIFEST, b"absent");
    let inner = Index::new(vec![absent, manifest.clone()]).to_bytes();
    let mut entry = Descriptor::of(MediaType::OCI_INDEX, &inner);
    entry.annotations.insert(crate::layout::REF_NAME.to_owned(), "quay.io/x/y:1".to_owned());
    let outer = Index::new(vec![entry.clone()]).to_bytes();
    let config_bytes = config(&["base"]);
    let path = crate::layout::blob_path;
    let bytes = tar(&[
        ("oci-layout", crate::layout::LAYOUT.as_bytes()),
        ("index.json", &outer),
        (&path(&entry.digest), &inner),
        (&path(&manifest.digest), &image.root),
        (&path(&Digest::of(&config_bytes)), &config_bytes),
        (&path(&Digest::of(b"base")), b"base"),
    ]);
    assert_eq!(load(bytes).unwrap(), [(vec!["quay.io/x/y:1".to_owned()], vec!["base".to_owned()])]);
}

#[test]
fn hostile_archives_are_named_errors() {
    assert_eq!(failure(Vec::new()), "the file is not an uncompressed tar archive");
    assert_eq!(failure(vec![7; 2048]), "the file is not an uncompressed tar archive");
    assert!(failure(tar(&[("x", b"y")])).contains("holds no images"));
    let list = br#"[{"Config":"../../etc/passwd","RepoTags":[],"Layers":[]}]"#;
    assert_eq!(failure(tar(&[("manifest.json", list)])), "the archive has no file `../../etc/passwd`");
    let list = br#"[{"Config":"c.json","RepoTags":["UPPER"],"Layers":[]}]"#;
    assert!(failure(tar(&[("manifest.json", list), ("c.json", &config(&[]))])).contains("lower case"));
    let list = br#"[{"Config":"c.json","RepoTags":[],"Layers":["l"]}]"#;
    let looped = tar(&[("manifest.json", list), ("c.json", &config(&["x"])), ("l -> l", b"")]);
    assert_eq!(failure(looped), "the archive has no file `l`");
    let short = tar(&[("manifest.json", list), ("c.json", &config(&[])), ("l", b"")]);
    assert!(failure(short).contains("it has 1 layers, its configuration 0"));
}

#[test]
fn huge_documents_and_headers_are_not_read() {
    let mut header = tar::Header::new_gnu();
    header.set_path("manifest.json").unwrap();
    header.set_size(1 << 62);
    header.set_cksum();
    assert_eq!(failure([&header.as_bytes()[..], &[0; 1024]].concat()), "the archive is cut off");
    let long = vec![b' '; crate::parse::MAX_MANIFEST + 1];
    assert!(failure(tar(&[("manifest.json", &long)])).contains("bytes in a document"));
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::XHeader);
    header.set_size(2 << 20);
    header.set_cksum();
    let bytes = [&header.as_bytes()[..], &vec![0; 3 << 20]].concat();
    assert!(failure(bytes).contains("bytes in a header"));
}

#[test]
fn a_cut_or_damaged_archive_is_noticed() {
    let mut blobs = Memory::default();
    let image = blobs.image(&["a"], &["base"]);
    let bytes = write(Vec::new(), &[image], &blobs).unwrap();
    assert!(load(bytes[..1500].to_vec()).is_err());
    let at = bytes.windows(4).rposition(|window| window == b"base").unwrap();
    let mut damaged = bytes.clone();
    damaged[at] ^= 1;
    assert!(failure(damaged).contains("cannot read the archive: content has the digest"));
    let mut damaged = bytes;
    damaged[512 * 2] ^= 1;
    assert!(load(damaged).is_err());
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_a_reader_panic(noise: Vec<u8>, at in 0usize..6000, flip: u8) {
        let mut blobs = Memory::default();
        let image = blobs.image(&["a:1"], &["base", "app"]);
        let mut bytes = write(Vec::new(), &[image], &blobs).unwrap();
        let at = at % bytes.len();
        bytes[at] ^= flip;
        let n = noise.len().min(bytes.len() - at);
        bytes[at..at + n].copy_from_slice(&noise[..n]);
        let _ = load(bytes.clone());
        let _ = load(noise.clone());
        let _ = crate::parse::parse_manifest(&noise, None);
        for magic in [&b""[..], b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd"] {
            let bytes = [magic, &noise].concat();
            let _ = io::copy(&mut crate::compression::decompress(&bytes[..]), &mut io::sink());
        }
    }
}
