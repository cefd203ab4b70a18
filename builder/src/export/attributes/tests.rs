//! What people type, as exports.

use super::*;

/// A stream that can be had once.
struct Once(bool);

impl Streams for Once {
    fn stream(&mut self) -> Result<Box<dyn Write + Send + Sync>> {
        match std::mem::replace(&mut self.0, true) {
            true => fail("taken"),
            false => Ok(Box::new(std::io::sink())),
        }
    }
}

fn read(text: &str) -> Result<Export> {
    let mut pairs: Vec<(String, String)> = text
        .split(';')
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect();
    let kind = pairs.remove(0).1;
    export(&kind, &pairs, &mut Once(false))
}

fn image(text: &str) -> (ImageOptions, Place) {
    match read(text) {
        Ok(Export::Image { image, place }) => (image, place),
        other => panic!("`{text}` is no image: {other:?}"),
    }
}

#[test]
fn nothing_said_is_the_default() {
    assert_eq!(image("type=image"), (ImageOptions::default(), Place::default()));
    let (options, place) = image("type=registry;name=a,b:2;push-by-digest");
    assert_eq!(options.names.len(), 2);
    assert_eq!(place, Place { push: true, by_digest: true, ..Place::default() });
    assert_eq!(image("type=docker").1, Place::default());
}

#[test]
fn each_attribute_reaches_its_value() {
    let (options, place) = image(
        "type=image;oci-mediatypes=false;compression=gzip;compression-level=9;force-compression=1;\
         source-date-epoch=7;registry.insecure=true;store=false;push=t;name-canonical=;\
         dangling-name-prefix=none;danging-name-empty-only=true;prefer-nondist-layers=false",
    );
    assert!(!options.oci_media_types && options.force_packing && options.epoch == Some(7));
    assert_eq!(options.packing().level(), 9);
    let prefix = Some("none".parse().unwrap());
    let wanted = Place {
        store: false,
        push: true,
        insecure: true,
        dangling_prefix: prefix,
        dangling_only: true,
        canonical: true,
        ..Place::default()
    };
    assert_eq!(place, wanted);
    let (options, place) =
        image("type=image;rewrite-timestamp=true;unpack=false;compression=zstd;compression-level=22");
    assert!(options.rewrite_timestamp && !place.unpack);
    assert_eq!((options.packing().compression(), options.packing().level()), (Compression::Zstd, 22));
}

#[test]
fn annotations_say_where_they_go() {
    let (options, _) = image(
        "type=image;annotation.a.b=1;annotation-index.c=2;annotation-manifest-descriptor[linux/arm64].d=3=4",
    );
    let found: Vec<_> = options
        .annotations
        .iter()
        .map(|one| {
            (one.level, one.platform.as_ref().map(ToString::to_string), one.key.as_str(), one.value.as_str())
        })
        .collect();
    let arm64 = Some("linux/arm64".to_owned());
    assert_eq!(
        found,
        [
            (AnnotationLevel::Manifest, None, "a.b", "1"),
            (AnnotationLevel::Index, None, "c", "2"),
            (AnnotationLevel::ManifestDescriptor, arm64, "d", "3=4"),
        ]
    );
}

#[test]
fn places_of_files() {
    assert!(matches!(read("type=oci;dest=x"), Ok(Export::Oci { dest: Destination::File(_), .. })));
    assert!(matches!(read("type=oci"), Ok(Export::Oci { dest: Destination::Stream(_), .. })));
    assert!(matches!(read("type=oci;dest=x;tar=false"), Ok(Export::Layout { .. })));
    assert!(matches!(read("type=docker;dest=-"), Ok(Export::Docker { dest: Destination::Stream(_), .. })));
    let local = read("type=local;dest=x;platform-split=false;mode=delete");
    assert!(matches!(local, Ok(Export::Local { split: Some(false), mode: LocalMode::Delete, .. })));
    let tar = read("type=tar;dest=x;platform-split=true;source-date-epoch=3");
    assert!(matches!(tar, Ok(Export::Tar { split: Some(true), epoch: Some(3), .. })));
    assert!(matches!(read("type=cacheonly"), Ok(Export::CacheOnly)));
    let mut taken = Once(true);
    assert_eq!(export("tar", &[], &mut taken).unwrap_err().message, "taken");
}

#[test]
fn mistakes_say_what_is_known() {
    let error = read("type=local;dest=x;push=true").unwrap_err();
    assert!(error.message.contains("`local` knows no attribute `push`"), "{error}");
    assert!(error.hint.unwrap().contains("`platform-split`"));
    for (text, wanted) in [
        ("type=zip", "`cacheonly`"),
        ("type=image;compression=estargz", "estargz"),
        ("type=image;compression=xz", "`zstd`"),
        ("type=image;compression-level=10", "0 to 9"),
        ("type=image;compression=zstd;compression-level=23", "0 to 22"),
        ("type=image;compression=uncompressed;compression-level=1", "no level"),
        ("type=image;compression=zstd;oci-mediatypes=false", "zstd"),
        ("type=image;annotation.a=1;oci-mediatypes=false", "annotations"),
        ("type=image;annotation-config.a=1", "index-descriptor"),
        ("type=image;annotation.=1", "no name"),
        ("type=image;push=maybe", "true or false"),
        ("type=image;prefer-nondist-layers=true", "distributed"),
        ("type=image;unpack=true;rewrite-timestamp=true", "unpack"),
        ("type=image;name=A", "lower case"),
        ("type=image;dest=x", "`image` knows no attribute `dest`"),
        ("type=local", "folder"),
        ("type=local;dest=-", "folder"),
        ("type=oci;tar=false", "folder"),
        ("type=local;dest=x;mode=move", "`delete`"),
        ("type=cacheonly;dest=x", "knows no attribute"),
        ("type=tar;source-date-epoch=now", "number"),
    ] {
        let error = read(text).expect_err(text);
        assert!(error.message.contains(wanted), "`{text}`: {error}");
    }
}
