//! Annotations: which document or descriptor gets which text (BuildKit's `annotation-…` keys).

use std::collections::BTreeMap;

use kiln_oci::Platform;

/// Where an annotation is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum AnnotationLevel {
    /// The manifest of an image.
    Manifest,
    /// What points to the manifest, in an index.
    ManifestDescriptor,
    /// The index.
    Index,
    /// What points to the index.
    IndexDescriptor,
}

/// The words for it, as they are typed.
const LEVELS: [(&str, AnnotationLevel); 4] = [
    ("manifest", AnnotationLevel::Manifest),
    ("manifest-descriptor", AnnotationLevel::ManifestDescriptor),
    ("index", AnnotationLevel::Index),
    ("index-descriptor", AnnotationLevel::IndexDescriptor),
];

/// One annotation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Annotation {
    /// Where it is written.
    pub level: AnnotationLevel,
    /// The platform whose image gets it; `None` is every image. An index is of no platform.
    pub platform: Option<Platform>,
    /// Its name.
    pub key: String,
    /// Its text.
    pub value: String,
}

/// The annotations of an export; of two with one key the one for the platform counts, else the later.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Annotations(Vec<Annotation>);

/// Why a text names no place for an annotation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AnnotationError {
    /// The level is unknown.
    #[error("`{0}` is none of `manifest`, `manifest-descriptor`, `index` and `index-descriptor`")]
    Level(String),
    /// The platform is malformed.
    #[error("`{0}` is not a platform")]
    Platform(String),
    /// A platform where there is none.
    #[error("an index is for no platform, so `{0}` cannot have one")]
    Index(String),
}

impl Annotations {
    /// One more.
    pub fn add(&mut self, annotation: Annotation) {
        self.0.push(annotation);
    }

    /// All, in the order in which they were given.
    pub fn iter(&self) -> impl Iterator<Item = &Annotation> {
        self.0.iter()
    }

    /// What the document or descriptor `level` gets, of an image the one for `platform`.
    pub fn of(&self, level: AnnotationLevel, platform: Option<&Platform>) -> BTreeMap<String, String> {
        let common = self.0.iter().filter(|one| one.platform.is_none());
        let own = self.0.iter().filter(|one| one.platform.is_some() && one.platform.as_ref() == platform);
        let here = common.chain(own).filter(|one| one.level == level);
        here.map(|one| (one.key.clone(), one.value.clone())).collect()
    }

    /// Whether something is for an index, or for what points to one.
    pub fn need_an_index(&self) -> bool {
        let of_index =
            |one: &Annotation| matches!(one.level, AnnotationLevel::Index | AnnotationLevel::IndexDescriptor);
        self.0.iter().any(of_index)
    }
}

impl AnnotationLevel {
    /// Reads `LEVEL` or `LEVEL[PLATFORM]`.
    pub fn parse(text: &str) -> Result<(AnnotationLevel, Option<Platform>), AnnotationError> {
        let (word, platform) = match text.strip_suffix(']').and_then(|text| text.split_once('[')) {
            Some((word, platform)) => (word, Some(platform)),
            None => (text, None),
        };
        let level = LEVELS.iter().find(|(known, _)| *known == word).map(|(_, level)| *level);
        let level = level.ok_or_else(|| AnnotationError::Level(word.to_owned()))?;
        let of_index = matches!(level, AnnotationLevel::Index | AnnotationLevel::IndexDescriptor);
        if of_index && platform.is_some() {
            return Err(AnnotationError::Index(text.to_owned()));
        }
        let parse = |text: &str| text.parse().map_err(|_| AnnotationError::Platform(text.to_owned()));
        Ok((level, platform.map(parse).transpose()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn annotation(place: &str, key: &str, value: &str) -> Annotation {
        let (level, platform) = AnnotationLevel::parse(place).unwrap();
        Annotation { level, platform, key: key.to_owned(), value: value.to_owned() }
    }

    #[test]
    fn a_platform_has_its_own() {
        let mut all = Annotations::default();
        all.add(annotation("manifest[linux/arm64]", "a", "arm"));
        all.add(annotation("manifest", "a", "all"));
        all.add(annotation("manifest", "b", "all"));
        let of = |platform: &str| all.of(AnnotationLevel::Manifest, Some(&platform.parse().unwrap()));
        assert_eq!(of("linux/arm64")["a"], "arm");
        assert_eq!((of("linux/amd64")["a"].as_str(), of("linux/amd64").len()), ("all", 2));
        assert!(all.of(AnnotationLevel::ManifestDescriptor, None).is_empty() && !all.need_an_index());
        all.add(annotation("index-descriptor", "a", "x"));
        assert!(all.need_an_index());
    }

    #[test]
    fn places_that_are_none() {
        for text in ["", "manifests", "manifest[", "index[linux/amd64]", "manifest[a/b/c/d/e]", "config"] {
            assert!(AnnotationLevel::parse(text).is_err(), "`{text}` was accepted");
        }
    }
}
