//! What an image means, as facts that can be compared: `what` is said and what it is.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader};
use std::path::Path;

use kiln_oci::archive::Archive;
use kiln_oci::{DiffId, History, ImageConfig, compression};
use serde_json::Value;

use super::context::MTIME;
use super::tree::Tree;

/// The comment of entries that BuildKit, and kiln after it, write.
const USUAL_COMMENT: &str = "buildkit.dockerfile.v0";

/// Facts by name: `config.Env`, `history.03`, `file /etc/x`. Times of builds and digests are no facts.
pub type Picture = BTreeMap<String, String>;

/// An image that was built.
#[derive(Debug, Default)]
pub struct Built {
    picture: Picture,
    layers: Vec<DiffId>,
}

impl Built {
    /// Reads the one image of a `save` archive.
    pub fn read(archive: &Path) -> io::Result<Built> {
        let mut archive = Archive::open(File::open(archive)?).map_err(io::Error::other)?;
        let loaded = archive.images().map_err(io::Error::other)?;
        let images: Vec<_> = loaded.iter().flat_map(|name| &name.images).collect();
        let [image] = images[..] else {
            return Err(io::Error::other(format!("the archive holds {} images, not one", images.len())));
        };
        let mut tree = Tree::default();
        for layer in &image.layers {
            tree.apply(compression::decompress(BufReader::new(archive.layer(layer)?)))?;
        }
        let mut picture = config_facts(&image.config)?;
        picture.extend(tree.describe(MTIME).into_iter().map(|(path, text)| (format!("file {path}"), text)));
        Ok(Built { picture, layers: image.config.rootfs.diff_ids.clone() })
    }

    /// The facts that are not those of `base`, if the image stands on it; else all.
    pub fn beyond(&self, base: &Built) -> Picture {
        if base.layers.is_empty() || !self.layers.starts_with(&base.layers) {
            return self.picture.clone();
        }
        let is_new = |(what, text): &(&String, &String)| base.picture.get(*what) != Some(*text);
        let mut facts: Picture =
            self.picture.iter().filter(is_new).map(|(what, text)| (what.clone(), text.clone())).collect();
        let gone = base.picture.keys().filter(|what| !self.picture.contains_key(*what));
        facts.extend(gone.map(|what| (what.clone(), "gone".to_owned())));
        facts
    }
}

fn config_facts(image: &ImageConfig) -> io::Result<Picture> {
    let mut facts = Picture::new();
    facts.insert("platform".to_owned(), image.platform.to_string());
    facts.extend(image.author.iter().map(|author| ("author".to_owned(), author.clone())));
    let config = serde_json::to_value(&image.config).map_err(io::Error::other)?;
    // Every CMD sets this key, so it says who made the base rather than what the case did.
    let said = |(key, value): &(&String, &serde_json::Value)| says_something(value) && *key != "ArgsEscaped";
    for (key, value) in config.as_object().into_iter().flatten().filter(said) {
        facts.insert(format!("config.{key}"), value.to_string());
    }
    for (number, entry) in image.history.iter().enumerate() {
        facts.insert(format!("history.{number:02}"), history(entry));
    }
    Ok(facts)
}

/// Docker's engine writes keys that other builders leave out.
fn says_something(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Object(map) => !map.is_empty(),
        Value::Number(_) => true,
    }
}

fn history(entry: &History) -> String {
    let kind = if entry.empty_layer { "empty" } else { "layer" };
    let mut text = format!("{kind} {:?}", entry.created_by.as_deref().unwrap_or_default());
    let comment = entry.comment.as_deref().filter(|comment| *comment != USUAL_COMMENT);
    for (name, value) in [("author", entry.author.as_deref()), ("comment", comment)] {
        if let Some(value) = value {
            text.push_str(&format!(" {name} {value:?}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn built(layers: &[&str], facts: &[(&str, &str)]) -> Built {
        let picture = facts.iter().map(|(what, text)| ((*what).to_owned(), (*text).to_owned())).collect();
        let layers = layers.iter().map(|layer| DiffId(kiln_oci::Digest::of(layer.as_bytes()))).collect();
        Built { picture, layers }
    }

    #[test]
    fn only_what_differs_from_the_base_is_told() {
        let base = built(&["1"], &[("file /a", "x"), ("file /b", "x"), ("config.Cmd", "[]")]);
        let child = built(&["1", "2"], &[("file /a", "x"), ("file /b", "y"), ("file /c", "z")]);
        let facts: Vec<_> = child.beyond(&base).into_iter().collect();
        let expected = [("config.Cmd", "gone"), ("file /b", "y"), ("file /c", "z")];
        assert_eq!(facts, expected.map(|(what, text)| (what.to_owned(), text.to_owned())));
    }

    #[test]
    fn an_image_on_another_base_is_told_whole() {
        let base = built(&["1"], &[("file /a", "x")]);
        assert_eq!(built(&["2"], &[("file /a", "x")]).beyond(&base).len(), 1);
        assert_eq!(built(&["1"], &[("file /a", "x")]).beyond(&Built::default()).len(), 1);
    }
}
