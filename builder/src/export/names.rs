//! The names that an image of an export gets, in the store and at registries.

use kiln_oci::{Digest, Reference};

use super::options::Place;

/// The names of an image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Names {
    /// In the store.
    pub(super) store: Vec<Reference>,
    /// Where it is pushed to; without a tag under its digest.
    pub(super) push: Vec<Reference>,
}

impl Names {
    /// The names of the image `digest` that is called `names`.
    pub(super) fn of(names: &[Reference], place: &Place, digest: &Digest) -> Names {
        let mut found = Names::default();
        for name in names {
            let tagged = name.clone().with_default_tag();
            // Who pushes by digest gives a name without a tag, and means no `latest` here either.
            let canonical_only = place.by_digest && name.tag().is_none();
            if !canonical_only {
                found.store.push(tagged.clone());
            }
            if canonical_only || place.canonical {
                found.store.push(if canonical_only { name } else { &tagged }.with_digest(digest.clone()));
            }
            found.push.push(if place.by_digest { name.without_tag() } else { tagged });
        }
        if let Some(prefix) = &place.dangling_prefix
            && (names.is_empty() || !place.dangling_only)
        {
            found.store.push(prefix.with_digest(digest.clone()));
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: Option<&str>, place: Place) -> (Vec<String>, Vec<String>) {
        let digest = Digest::of(b"x");
        let names: Vec<Reference> = name.iter().map(|name| name.parse().unwrap()).collect();
        let Names { store, push } = Names::of(&names, &place, &digest);
        let text = |names: Vec<Reference>| {
            names.iter().map(|name| name.familiar().replace(digest.as_str(), "D")).collect::<Vec<_>>()
        };
        (text(store), text(push))
    }

    #[test]
    fn every_way_to_name() {
        let place = Place::default;
        assert_eq!(of(Some("a"), place()), (vec!["a:latest".into()], vec!["a:latest".into()]));
        let canonical = Place { canonical: true, ..place() };
        assert_eq!(of(Some("a:1"), canonical).0, ["a:1", "a:1@D"]);
        let by_digest = || Place { by_digest: true, ..place() };
        assert_eq!(of(Some("a"), by_digest()), (vec!["a@D".into()], vec!["a".into()]));
        assert_eq!(of(Some("a:1"), by_digest()), (vec!["a:1".into()], vec!["a".into()]));
        let dangling = || Place { dangling_prefix: Some("none".parse().unwrap()), ..place() };
        assert_eq!(of(None, dangling()).0, ["none@D"]);
        assert_eq!(of(Some("a:1"), dangling()).0, ["a:1", "none@D"]);
        assert_eq!(of(Some("a:1"), Place { dangling_only: true, ..dangling() }).0, ["a:1"]);
    }
}
