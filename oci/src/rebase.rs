//! An image put on another base without a build: its own layers stay as they are.

use crate::media_type::Kind;
use crate::mutate::repoint;
use crate::{Descriptor, DiffId, History, Image, ImageConfig, MediaType};

/// The annotation that names the base of an image (image-spec, annotations.md).
pub const BASE_NAME: &str = "org.opencontainers.image.base.name";
/// The annotation with the digest of the base's manifest or index.
pub const BASE_DIGEST: &str = "org.opencontainers.image.base.digest";

/// Why an image cannot be put on another base: it does not begin with the layers of the old one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotBased {
    /// A layer of the base is another one in the image.
    #[error("layer {number} of the base is `{base}`, of the image `{image}`")]
    OtherLayer {
        /// Which layer, from 1.
        number: usize,
        /// The base's.
        base: DiffId,
        /// The image's.
        image: DiffId,
    },
    /// The image has fewer layers than the base.
    #[error("the base has {base} layers and the image only {image}")]
    TooFew {
        /// How many the base has.
        base: usize,
        /// How many the image has.
        image: usize,
    },
}

/// A setting that the image took over from its old base, and that is otherwise in the new one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inherited {
    /// Which setting, as the instruction that makes it: `ENV PATH`, `CMD`, `USER`.
    pub setting: String,
    /// What the image keeps.
    pub kept: String,
    /// What the new base has; empty where it has nothing.
    pub new: String,
}

/// `image`, which was built on `old_base`, as if its own layers had been put on `new_base`.
///
/// Layers and history of the base are the new one's, and so is the platform; everything else of the configuration is
/// the image's, what it took over from the old base included ([`inherited`]). The result is an OCI image whatever the
/// three were.
pub fn rebase(image: &Image, old_base: &Image, new_base: &Image) -> Result<Image, NotBased> {
    check(image.diff_ids(), old_base.diff_ids())?;
    let below = old_base.diff_ids().len();
    let own_layers = image.manifest.layers.get(below..).unwrap_or_default();
    let mut next = image.clone();
    next.config.platform = new_base.config.platform.clone();
    next.config.rootfs.diff_ids = [new_base.diff_ids(), &image.diff_ids()[below..]].concat();
    next.config.history =
        [&filled(&new_base.config)[..], own_history(&image.config, &old_base.config)].concat();
    next.manifest.layers = new_base.manifest.layers.iter().chain(own_layers).map(as_oci).collect();
    next.manifest.media_type = Some(MediaType::OCI_MANIFEST.into());
    next.manifest.config.media_type = MediaType::OCI_CONFIG.into();
    Ok(repoint(next))
}

/// Fails unless `image` begins with the layers of `base`.
fn check(image: &[DiffId], base: &[DiffId]) -> Result<(), NotBased> {
    match base.iter().zip(image).position(|(base, image)| base != image) {
        Some(at) => {
            Err(NotBased::OtherLayer { number: at + 1, base: base[at].clone(), image: image[at].clone() })
        }
        None if base.len() > image.len() => Err(NotBased::TooFew { base: base.len(), image: image.len() }),
        None => Ok(()),
    }
}

/// The entries that tell of what is above the base: those after the base's, where the image repeats them, and else those
/// after its last layer.
fn own_history<'a>(image: &'a ImageConfig, base: &ImageConfig) -> &'a [History] {
    let (entries, layers) = (&image.history, base.rootfs.diff_ids.len());
    let makes_layer = |entry: &&History| !entry.empty_layer;
    let repeated = base.history.len();
    let repeats = repeated <= entries.len()
        && entries[..repeated].iter().filter(makes_layer).count() == layers
        && entries.iter().zip(&base.history).all(|(one, other)| one.created_by == other.created_by);
    let start = match layers {
        _ if repeats => repeated,
        0 => 0,
        _ => entries
            .iter()
            .enumerate()
            .filter(|(_, entry)| makes_layer(entry))
            .nth(layers - 1)
            .map_or(entries.len(), |(at, _)| at + 1),
    };
    &entries[start..]
}

/// The history with an entry for every layer: readers match the two by counting.
fn filled(config: &ImageConfig) -> Vec<History> {
    let told = config.history.iter().filter(|entry| !entry.empty_layer).count();
    let missing = config.rootfs.diff_ids.len().saturating_sub(told);
    config.history.iter().cloned().chain((0..missing).map(|_| History::default())).collect()
}

/// A layer's descriptor with OCI's media type.
fn as_oci(layer: &Descriptor) -> Descriptor {
    let media_type = match layer.media_type.kind() {
        Kind::Layer(compression) if layer.media_type.is_docker() => MediaType::layer(compression),
        _ => layer.media_type.clone(),
    };
    Descriptor { media_type, ..layer.clone() }
}

/// What of the image's configuration is as in the old base and otherwise in the new one: a rebase keeps it, a build would
/// not have.
pub fn inherited(image: &ImageConfig, old_base: &ImageConfig, new_base: &ImageConfig) -> Vec<Inherited> {
    let new = settings(new_base);
    let value = |settings: &[(String, String)], name: &str| {
        settings.iter().find(|(setting, _)| setting == name).map(|(_, value)| value.clone())
    };
    let old = settings(old_base);
    let is_inherited = |(setting, kept): (String, String)| match value(&old, &setting).as_ref() == Some(&kept)
    {
        true => {
            let new = value(&new, &setting).unwrap_or_default();
            (new != kept).then_some(Inherited { setting, kept, new })
        }
        false => None,
    };
    settings(image).into_iter().filter_map(is_inherited).collect()
}

/// The settings of a configuration that are there, by the instruction that makes them.
fn settings(config: &ImageConfig) -> Vec<(String, String)> {
    let config = &config.config;
    let words = |list: &Option<Vec<String>>| list.as_ref().map(|words| words.join(" ")).unwrap_or_default();
    let mut settings: Vec<(String, String)> = config
        .env
        .iter()
        .filter_map(|variable| variable.split_once('='))
        .map(|(name, value)| (format!("ENV {name}"), value.to_owned()))
        .collect();
    settings.extend(config.labels.iter().map(|(name, value)| (format!("LABEL {name}"), value.clone())));
    settings.extend([
        ("ENTRYPOINT".to_owned(), words(&config.entrypoint)),
        ("CMD".to_owned(), words(&config.cmd)),
        ("USER".to_owned(), config.user.clone()),
        ("WORKDIR".to_owned(), config.working_dir.clone()),
        ("STOPSIGNAL".to_owned(), config.stop_signal.clone().unwrap_or_default()),
        ("SHELL".to_owned(), words(&config.shell)),
    ]);
    settings.retain(|(_, value)| !value.is_empty());
    settings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mutate::tests::{empty, with};
    use crate::mutate::with_config;

    fn with_entry(image: &Image, name: &str) -> Image {
        let mut config = image.config.clone();
        let entry = History { created_by: Some(name.to_owned()), empty_layer: true, ..History::default() };
        config.history.push(entry);
        with_config(image, config)
    }

    fn with_env(image: &Image, env: &[&str]) -> Image {
        let mut config = image.config.clone();
        config.config.env = env.iter().map(|&text| text.to_owned()).collect();
        with_config(image, config)
    }

    #[test]
    fn what_is_above_the_base_is_kept() {
        let (old, new) = (with(&empty(), "old"), with(&with(&empty(), "new1"), "new2"));
        let old = with_entry(&old, "CMD old");
        let app = with_entry(&with(&with_entry(&old, "ENV A=1"), "app"), "CMD app");
        let expected = with_entry(&with(&with_entry(&new, "ENV A=1"), "app"), "CMD app");
        assert_eq!(rebase(&app, &old, &new).unwrap(), expected);
        assert_eq!(rebase(&expected, &new, &old).unwrap(), app);
        assert_eq!(rebase(&app, &empty(), &new).unwrap().diff_ids().len(), 4, "on nothing is a base too");
    }

    #[test]
    fn a_base_that_says_less_of_its_history_is_counted_by_layers() {
        let (old, new) = (with(&empty(), "old"), with(&empty(), "new"));
        let mut silent = old.config.clone();
        silent.history.clear();
        let silent = with_config(&old, silent);
        let rebased = rebase(&with(&old, "app"), &silent, &new).unwrap();
        assert_eq!(rebased, with(&new, "app"));
        let rebased = rebase(&with(&new, "app"), &new, &silent).unwrap();
        assert_eq!(rebased.config.history.len(), 2);
    }

    #[test]
    fn the_first_layer_that_differs_is_named() {
        let (old, new) = (with(&empty(), "old"), with(&empty(), "new"));
        let error = rebase(&with(&new, "app"), &old, &new).unwrap_err();
        assert!(matches!(error, NotBased::OtherLayer { number: 1, .. }), "{error}");
        let error = rebase(&old, &with(&old, "more"), &new).unwrap_err();
        assert_eq!(error, NotBased::TooFew { base: 2, image: 1 });
    }

    #[test]
    fn a_docker_image_becomes_an_oci_image() {
        let mut old = with(&empty(), "old");
        old.manifest.layers[0].media_type = MediaType::DOCKER_LAYER_GZIP.into();
        old.manifest.media_type = Some(MediaType::DOCKER_MANIFEST.into());
        let rebased = rebase(&with(&old, "app"), &old, &old).unwrap();
        assert_eq!(rebased.manifest.media_type, Some(MediaType::OCI_MANIFEST.into()));
        assert!(rebased.manifest.layers.iter().all(|layer| !layer.media_type.is_docker()));
        assert!(!rebased.manifest.config.media_type.is_docker());
    }

    #[test]
    fn settings_of_the_old_base_are_told() {
        let old = with_env(&empty(), &["PATH=/bin", "VERSION=1"]);
        let new = with_env(&empty(), &["PATH=/bin", "VERSION=2"]);
        let app = with_env(&old, &["PATH=/bin", "VERSION=1", "APP=1"]);
        let found = inherited(&app.config, &old.config, &new.config);
        let expected = Inherited { setting: "ENV VERSION".into(), kept: "1".into(), new: "2".into() };
        assert_eq!(found, [expected]);
        let app = with_env(&old, &["VERSION=3"]);
        assert_eq!(inherited(&app.config, &old.config, &new.config), [], "the image has it of its own");
    }
}
