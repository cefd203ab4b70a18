//! Names that are nearly right.

/// The option that is most like `name`: one or two letters are others, too many or missing.
pub fn suggest<'a>(name: &str, options: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    const TOO_FAR: usize = 3;
    /// Most options that are looked at: a file may use as many undefined variables as it has others.
    const MOST: usize = 256;
    options
        .into_iter()
        .take(MOST)
        .filter(|option| option.len().abs_diff(name.len()) < 4 * TOO_FAR)
        .map(|option| (strsim::levenshtein(name, option), option))
        .filter(|(distance, _)| (1..TOO_FAR).contains(distance))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, option)| option)
}
