//! Names that are nearly right.

/// The option that is most like `name`, at a distance of at most two.
pub(super) fn suggest<'a>(name: &str, options: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    const TOO_FAR: usize = 3;
    options
        .into_iter()
        .map(|option| (strsim::levenshtein(name, option), option))
        .filter(|(distance, _)| *distance < TOO_FAR)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, option)| option)
}
