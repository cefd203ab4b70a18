//! The platform that commands are for where nobody says.

/// As docker has it.
const VARIABLE: &str = "DOCKER_DEFAULT_PLATFORM";

/// What was said, else what the environment says.
pub(crate) fn or_default(said: Option<&str>) -> Option<String> {
    choose(said, std::env::var(VARIABLE).ok())
}

/// The same for a command that takes several.
pub(crate) fn all_or_default(said: &[String]) -> Vec<String> {
    match said {
        [] => or_default(None).into_iter().collect(),
        said => said.to_vec(),
    }
}

fn choose(said: Option<&str>, variable: Option<String>) -> Option<String> {
    said.map(str::to_owned).or(variable.filter(|text| !text.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_comes_before_the_environment() {
        let variable = || Some("linux/arm64".to_owned());
        assert_eq!(choose(Some("linux/386"), variable()).as_deref(), Some("linux/386"));
        assert_eq!(choose(None, variable()), variable());
        assert_eq!(choose(None, Some(String::new())), None);
        assert_eq!(choose(None, None), None);
    }
}
