//! Names that are nearly right.

/// The option that is most like `name`: one or two letters are others, too many or missing.
pub fn suggest<'a>(name: &str, options: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    const TOO_FAR: usize = 3;
    options
        .into_iter()
        .map(|option| (strsim::levenshtein(name, option), option))
        .filter(|(distance, _)| (1..TOO_FAR).contains(distance))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, option)| option)
}
