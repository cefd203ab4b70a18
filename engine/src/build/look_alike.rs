//! Names that somebody may have meant.

/// Base images that many files begin with.
const COMMON: [&str; 14] = [
    "alpine",
    "almalinux",
    "busybox",
    "debian",
    "eclipse-temurin",
    "fedora",
    "golang",
    "nginx",
    "node",
    "php",
    "python",
    "rockylinux",
    "rust",
    "ubuntu",
];

/// The one of `known` that is most like `name`; a short name is like too many.
pub(super) fn nearest<'k>(name: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    const SHORTEST: usize = 4;
    kiln_parser::lint::suggest(name, known).filter(|_| name.chars().count() >= SHORTEST)
}

/// The common image that an image's name is most like.
pub(super) fn common_image(name: &str) -> Option<&'static str> {
    nearest(name.rsplit('/').next().unwrap_or(name), COMMON)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_letters_may_differ() {
        assert_eq!(common_image("library/busybx"), Some("busybox"));
        assert_eq!(common_image("ngnix"), Some("nginx"));
        assert_eq!(common_image("busybox"), None);
        assert_eq!(common_image("app"), None);
        assert_eq!(nearest("readme.md", ["README.md"]), None);
    }
}
