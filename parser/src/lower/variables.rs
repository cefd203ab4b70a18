//! The variables of a stage, by name and in order.

use std::collections::HashMap;
use std::sync::Arc;

/// `name=value` pairs in order of first setting. A clone costs nothing until one of the two is changed.
#[derive(Debug, Clone, Default)]
pub(super) struct Variables(Arc<Entries>);

#[derive(Debug, Clone, Default)]
struct Entries {
    list: Vec<(String, String)>,
    places: HashMap<String, usize>,
}

impl Variables {
    pub(super) fn from_env(env: &[String]) -> Self {
        let mut variables = Variables::default();
        for entry in env {
            let (name, value) = entry.split_once('=').unwrap_or((entry, ""));
            variables.set(name, value);
        }
        variables
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let place = *self.0.places.get(name)?;
        self.0.list.get(place).map(|(_, value)| value.as_str())
    }

    pub(super) fn set(&mut self, name: &str, value: &str) {
        let entries = Arc::make_mut(&mut self.0);
        match entries.places.get(name).and_then(|place| entries.list.get_mut(*place)) {
            Some((_, old)) => value.clone_into(old),
            None => {
                entries.places.insert(name.to_owned(), entries.list.len());
                entries.list.push((name.to_owned(), value.to_owned()));
            }
        }
    }

    /// Sets all that `changes` has, and empties it.
    pub(super) fn merge(&mut self, changes: &mut Variables) {
        for (name, value) in &std::mem::take(changes).0.list {
            self.set(name, value);
        }
    }

    pub(super) fn pairs(&self) -> &[(String, String)] {
        &self.0.list
    }

    pub(super) fn len(&self) -> usize {
        self.0.list.len()
    }

    pub(super) fn to_env(&self) -> Vec<String> {
        self.0.list.iter().map(|(name, value)| format!("{name}={value}")).collect()
    }
}

/// Where in an image's `Env` each name is first.
#[derive(Debug, Clone, Default)]
pub(super) struct EnvIndex(HashMap<String, usize>);

impl EnvIndex {
    pub(super) fn new(env: &[String]) -> Self {
        let mut places = HashMap::new();
        for (place, entry) in env.iter().enumerate() {
            let name = entry.split('=').next().unwrap_or_default();
            places.entry(name.to_owned()).or_insert(place);
        }
        EnvIndex(places)
    }

    /// Sets a name in the list that the index is of.
    pub(super) fn set(&mut self, env: &mut Vec<String>, name: &str, value: &str) {
        let entry = format!("{name}={value}");
        match self.0.get(name).and_then(|place| env.get_mut(*place)) {
            Some(old) => *old = entry,
            None => {
                self.0.insert(name.to_owned(), env.len());
                env.push(entry);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_their_first_place() {
        let mut variables = Variables::from_env(&["a=1".to_owned(), "b".to_owned(), "a=2".to_owned()]);
        let before = variables.clone();
        let mut changes = Variables::default();
        changes.set("b", "3");
        changes.set("c", "");
        variables.merge(&mut changes);
        assert_eq!(variables.to_env(), ["a=2", "b=3", "c="]);
        assert_eq!((before.get("b"), before.get("c"), changes.len()), (Some(""), None, 0));
    }

    #[test]
    fn an_image_keeps_what_it_had() {
        let mut env = vec!["A=1".to_owned(), "B".to_owned(), "A=2".to_owned()];
        let mut index = EnvIndex::new(&env);
        index.set(&mut env, "A", "3");
        index.set(&mut env, "C", "4");
        assert_eq!(env, ["A=3", "B", "A=2", "C=4"]);
    }
}
