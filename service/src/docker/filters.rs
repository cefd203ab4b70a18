//! `filters=…`: which of many are wanted.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::Failure;

/// Filters by name, each with its values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Filters(BTreeMap<String, Vec<String>>);

/// Docker writes a list of values, and in older versions an object whose keys they are.
#[derive(Deserialize)]
#[serde(untagged)]
enum Values {
    List(Vec<String>),
    Set(BTreeMap<String, bool>),
}

impl Filters {
    /// Reads filters; one that is not in `known` is an error in Docker's words.
    pub(crate) fn parse(text: Option<&str>, known: &[&str]) -> Result<Filters, Failure> {
        let parsed: BTreeMap<String, Values> = match text {
            None => BTreeMap::new(),
            Some(text) => serde_json::from_str(text)
                .map_err(|error| Failure::bad_request(format!("invalid filter: {error}")))?,
        };
        if let Some(stranger) = parsed.keys().find(|name| !known.contains(&name.as_str())) {
            return Err(Failure::bad_request(format!("invalid filter '{stranger}'")));
        }
        let values = |values: Values| match values {
            Values::List(list) => list,
            Values::Set(set) => {
                set.into_iter().filter(|(_, wanted)| *wanted).map(|(value, _)| value).collect()
            }
        };
        Ok(Filters(parsed.into_iter().map(|(name, of_name)| (name, values(of_name))).collect()))
    }

    /// The values of a filter.
    pub(crate) fn values(&self, name: &str) -> &[String] {
        self.0.get(name).map_or(&[], Vec::as_slice)
    }

    /// All filters with their values.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &[String])> {
        self.0.iter().map(|(name, values)| (name.as_str(), values.as_slice()))
    }

    /// Whether there is a filter of this name.
    pub(crate) fn has(&self, name: &str) -> bool {
        !self.values(name).is_empty()
    }

    /// Whether `passes` says yes to a value of the filter; all pass where there is none.
    pub(crate) fn any(&self, name: &str, passes: impl FnMut(&str) -> bool) -> bool {
        let values = self.values(name);
        values.is_empty() || values.iter().map(String::as_str).any(passes)
    }

    /// What a filter that is yes or no says, where it says something.
    pub(crate) fn yes_or_no(&self, name: &str) -> Result<Option<bool>, Failure> {
        match self.values(name) {
            [] => Ok(None),
            [value] if matches!(value.to_lowercase().as_str(), "1" | "true") => Ok(Some(true)),
            [value] if matches!(value.to_lowercase().as_str(), "0" | "false") => Ok(Some(false)),
            values => Err(Failure::bad_request(format!("invalid filter '{name}={values:?}'"))),
        }
    }

    /// Whether labels are as every `label` filter wants them and none as `label!` says: `name` or `name=value`.
    pub(crate) fn labels<'a>(&self, labels: impl Iterator<Item = (&'a str, &'a str)> + Clone) -> bool {
        let has = |wanted: &String| {
            labels.clone().any(|(name, value)| match wanted.split_once('=') {
                Some((own, of_own)) => own == name && of_own == value,
                None => wanted == name,
            })
        };
        self.values("label").iter().all(has) && !self.values("label!").iter().any(has)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_read_and_strangers_refused() {
        let filters = Filters::parse(
            Some(r#"{"status":["running","paused"],"label":{"a=1":true,"b":false}}"#),
            &["status", "label"],
        )
        .unwrap();
        assert_eq!(filters.values("status"), ["running", "paused"]);
        assert_eq!(filters.values("label"), ["a=1"]);
        assert!(filters.any("status", |value| value == "paused") && filters.any("absent", |_| false));
        let wrong = |text: &str| Filters::parse(Some(text), &["status"]).unwrap_err().message;
        assert_eq!(wrong(r#"{"colour":["red"]}"#), "invalid filter 'colour'");
        assert!(wrong("[]").starts_with("invalid filter: "));
    }

    #[test]
    fn labels_are_all_wanted_or_not() {
        let passes = |text: &str| {
            let filters = Filters::parse(Some(text), &["label", "label!"]).unwrap();
            filters.labels([("a", "1"), ("b", "")].into_iter())
        };
        assert!(passes(r#"{"label":["a=1","b"]}"#));
        assert!(!passes(r#"{"label":["a=2"]}"#));
        assert!(!passes(r#"{"label":["a"],"label!":["b"]}"#));
        assert!(passes(r#"{"label!":["c"]}"#));
    }
}
