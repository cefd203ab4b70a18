//! The platforms of a build: which are asked for, and what each of them becomes.

use kiln_builder::{Export, Target};
use kiln_graph::{Definition, Edge, boolean};
use kiln_oci::{ImageConfig, Platform};
use kiln_parser::{Lowered, PlanOptions};

use super::BuildRequest;
use crate::{Error, Result};

/// The build argument by which one platform becomes an index too.
const MULTI_PLATFORM_ARG: &str = "BUILDKIT_MULTI_PLATFORM";
/// The most platforms of one build.
const MAX_PLATFORMS: usize = 64;

/// What lowering made for one platform: its filesystem, its configuration, and how many layers are its base's.
type Made = (Option<Edge>, ImageConfig, usize);

/// What a build is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Platforms {
    /// In the order in which they were asked for, each once; never empty.
    list: Vec<Platform>,
    /// Whether nobody asked, so that the base image decides.
    implicit: bool,
    /// Whether the result is an index.
    pub(super) multi: bool,
}

impl Platforms {
    /// Reads what `request` asks for, and refuses what it cannot become.
    pub(super) fn of(request: &BuildRequest) -> Result<Platforms> {
        let mut list: Vec<Platform> = Vec::new();
        for text in &request.platforms {
            let platform = text.parse()?;
            if !list.contains(&platform) {
                list.push(platform);
            }
        }
        if list.len() > MAX_PLATFORMS {
            return Err(Error::invalid(format!("a build cannot be for more than {MAX_PLATFORMS} platforms")));
        }
        let implicit = list.is_empty();
        if implicit {
            list.push(Platform::host());
        }
        let multi = is_multi(request, list.len())?;
        let platforms = Platforms { list, implicit, multi };
        match multi && request.exports.iter().any(|export| matches!(export, Export::Docker { .. })) {
            true => Err(platforms.no_docker_archive()),
            false => Ok(platforms),
        }
    }

    /// Whether a base image for `found` does where `wanted` is looked for: where nobody asked for a platform, the image decides.
    pub(super) fn take(&self, found: &Platform, wanted: &Platform) -> bool {
        found.serves(wanted).is_some() || self.implicit && self.list.contains(wanted)
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.list.len()
    }

    /// What planning is told, for each platform.
    pub(super) fn plan_options(&self, common: &PlanOptions) -> Vec<PlanOptions> {
        let of = |platform: &Platform| PlanOptions {
            platform: platform.clone(),
            implicit_platform: self.implicit,
            multi_platform: self.multi,
            ..common.clone()
        };
        self.list.iter().map(of).collect()
    }

    /// One graph of what was made for each platform, perhaps of several stages one after the other. What several have in
    /// common, such as a compiler's stage, is in it once and runs once.
    pub(super) fn merge(&self, mut lowered: Vec<Lowered>) -> (Definition, Vec<Target>) {
        if lowered.len() == 1 {
            let one = lowered.remove(0);
            let made = (one.root, one.config, one.base_layers);
            return (one.definition, vec![self.target(0, made)]);
        }
        let (graphs, results): (Vec<Definition>, Vec<Made>) =
            lowered.into_iter().map(|one| (one.definition, (one.root, one.config, one.base_layers))).unzip();
        let merged = Definition::merge(&graphs);
        let target = |(number, (root, config, base)): (usize, Made)| {
            self.target(number, (root.map(|edge| merged.edge(number, edge)), config, base))
        };
        let targets = results.into_iter().enumerate().map(target).collect();
        (merged.definition, targets)
    }

    /// What is built for platform `number`; where nobody asked, for what its base is for.
    fn target(&self, number: usize, (root, config, base_layers): Made) -> Target {
        let asked = &self.list[number % self.list.len()];
        let platform = if self.implicit { &config.platform } else { asked };
        Target { platform: platform.clone(), root, config, base_layers }
    }

    fn no_docker_archive(&self) -> Error {
        let list: Vec<String> = self.list.iter().map(ToString::to_string).collect();
        Error::invalid(format!(
            "`-o type=docker`: Docker's archive holds one image, and this build makes an index of `{}`",
            list.join("`, `")
        ))
        .with_hint("`-o type=oci` takes several platforms")
    }
}

/// Several platforms make an index, and so does one where the build argument says so.
fn is_multi(request: &BuildRequest, count: usize) -> Result<bool> {
    let said = request.build_args.get(MULTI_PLATFORM_ARG).filter(|text| !text.is_empty());
    let Some(text) = said else { return Ok(count > 1) };
    match boolean::parse(text) {
        Some(false) if count > 1 => {
            let message = format!("`{MULTI_PLATFORM_ARG}` forbids the index that {count} platforms need");
            Err(Error::invalid(message))
        }
        Some(is_multi) => Ok(is_multi),
        None => Err(Error::invalid(format!("`{MULTI_PLATFORM_ARG}={text}` is neither true nor false"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::{Destination, ImageOptions};

    fn of(platforms: &[&str], multi: Option<&str>, exports: Vec<Export>) -> Result<Platforms> {
        let mut request = BuildRequest { exports, ..BuildRequest::default() };
        request.platforms = platforms.iter().map(|text| (*text).to_owned()).collect();
        request.build_args.extend(multi.map(|value| (MULTI_PLATFORM_ARG.to_owned(), value.to_owned())));
        Platforms::of(&request)
    }

    #[test]
    fn platforms_are_normalised_and_each_is_there_once() {
        let found =
            of(&["linux/x86_64", "linux/arm64/v8", "linux/amd64", "arm64"], None, Vec::new()).unwrap();
        let texts: Vec<String> = found.list.iter().map(ToString::to_string).collect();
        assert_eq!(
            (texts, found.multi, found.implicit),
            (vec!["linux/amd64".to_owned(), "linux/arm64".to_owned()], true, false)
        );
        let found = of(&[], None, Vec::new()).unwrap();
        assert_eq!((found.list, found.multi, found.implicit), (vec![Platform::host()], false, true));
    }

    #[test]
    fn an_index_of_one_is_asked_for_by_argument() {
        assert!(of(&["linux/amd64"], Some("true"), Vec::new()).unwrap().multi);
        assert!(!of(&["linux/amd64"], Some("0"), Vec::new()).unwrap().multi);
        assert!(of(&["linux/amd64", "linux/arm64"], Some("false"), Vec::new()).is_err());
        assert!(of(&[], Some("maybe"), Vec::new()).unwrap_err().message.contains("maybe"));
    }

    #[test]
    fn an_archive_for_docker_takes_one() {
        let docker =
            || vec![Export::Docker { image: ImageOptions::default(), dest: Destination::File("x".into()) }];
        let error = of(&["linux/amd64", "linux/arm64"], None, docker()).unwrap_err();
        assert!(error.message.contains("type=docker") && error.hint.unwrap().contains("type=oci"));
        assert!(of(&["linux/arm64"], None, docker()).is_ok());
    }
}
