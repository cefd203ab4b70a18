//! The file of `--metadata-file`: what scripts want to know of a build, in buildx's words.

use kiln_engine::build::BuildResult;
use kiln_engine::progress::Warning;
use serde_json::{Map, Value, json};

use super::warnings::vertex_warning;

/// The document, with `warnings` where they were asked for.
pub(crate) fn render(built: &BuildResult, warnings: Option<&[Warning]>) -> String {
    let mut document = Map::new();
    if let Some(image) = built.image() {
        if let Some(config) = &image.config {
            document.insert("containerimage.config.digest".to_owned(), json!(config));
        }
        document.insert("containerimage.descriptor".to_owned(), json!(image.descriptor));
        document.insert("containerimage.digest".to_owned(), json!(image.descriptor.digest));
        let names: Vec<String> = image.names.iter().map(ToString::to_string).collect();
        if !names.is_empty() {
            document.insert("image.name".to_owned(), json!(names.join(",")));
        }
    }
    if let Some(warnings) = warnings.filter(|warnings| !warnings.is_empty()) {
        let warnings: Vec<Value> = warnings.iter().map(|warning| vertex_warning(None, warning)).collect();
        document.insert("buildx.build.warnings".to_owned(), json!(warnings));
    }
    format!("{:#}\n", Value::Object(document))
}

#[cfg(test)]
mod tests {
    use kiln_engine::build::BuiltImage;
    use kiln_engine::oci::{Descriptor, Digest};

    use super::*;

    #[test]
    fn the_words_of_buildx() {
        let image = |pushed: bool, content: &[u8]| BuiltImage {
            descriptor: Descriptor::of("application/vnd.oci.image.manifest.v1+json", content),
            config: Some(Digest::of(b"config")),
            names: vec!["a:1".parse().unwrap(), "r.example/b".parse().unwrap()],
            pushed,
        };
        let built = BuildResult {
            images: vec![image(false, b"here"), image(true, b"there")],
            statements: Vec::new(),
        };
        let document: Value = serde_json::from_str(&render(&built, None)).unwrap();
        assert_eq!(document["containerimage.digest"], Digest::of(b"there").as_str());
        assert_eq!(document["containerimage.descriptor"]["size"], 5);
        assert_eq!(document["containerimage.config.digest"], Digest::of(b"config").as_str());
        assert_eq!(document["image.name"], "docker.io/library/a:1,r.example/b");
        assert!(document.get("buildx.build.warnings").is_none());
        let warned =
            render(&BuildResult::default(), Some(&[Warning { short: "x".to_owned(), ..Warning::default() }]));
        let document: Value = serde_json::from_str(&warned).unwrap();
        assert_eq!(document["buildx.build.warnings"][0]["short"], "eA==");
        assert_eq!(render(&BuildResult::default(), Some(&[])), "{}\n");
    }
}
