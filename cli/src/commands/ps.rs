//! `kiln ps`.

use jiff::Timestamp;
use kiln_engine::containers::{Container, ListOptions};
use kiln_engine::{Error, Result};

use super::OK;
use crate::app::App;
use crate::args::container::PsArgs;
use crate::listing::Listing;
use crate::render::container;

const COLUMNS: [(&str, &str); 7] = [
    ("CONTAINER ID", "ID"),
    ("IMAGE", "Image"),
    ("COMMAND", "Command"),
    ("CREATED", "RunningFor"),
    ("STATUS", "Status"),
    ("PORTS", "Ports"),
    ("NAMES", "Names"),
];

pub(super) fn run(args: &PsArgs, app: &App) -> Result<u8> {
    let last = if args.latest { Some(1) } else { args.last };
    let filters: Vec<Filter> = args.filters.iter().map(|text| Filter::parse(text)).collect::<Result<_>>()?;
    let all =
        args.all || last.is_some() || filters.iter().any(|filter| matches!(filter.name, "status" | "exited"));
    let engine = app.engine()?;
    let mut containers = engine.containers().list(&ListOptions { all })?;
    containers.retain(|container| passes(&filters, container));
    containers.truncate(last.unwrap_or(usize::MAX));
    let now = Timestamp::now();
    let rows = containers.iter().map(|c| container::row(c, now, args.output.no_trunc)).collect();
    Listing { columns: COLUMNS.to_vec(), id: "ID", rows }.print(&args.output).map(|()| OK)
}

struct Filter {
    name: &'static str,
    value: String,
}

const FILTERS: [&str; 7] = ["name", "id", "status", "health", "label", "ancestor", "exited"];

impl Filter {
    fn parse(text: &str) -> Result<Filter> {
        let (name, value) = text.split_once('=').unwrap_or((text, ""));
        match FILTERS.into_iter().find(|known| *known == name) {
            Some(name) => Ok(Filter { name, value: value.to_owned() }),
            None => Err(Error::invalid(format!("`--filter {text}`: there is no filter `{name}`"))
                .with_hint(format!("filters are `{}`", FILTERS.join("`, `")))),
        }
    }

    fn passes(&self, container: &Container) -> bool {
        let value = self.value.as_str();
        match self.name {
            "name" => container.name.contains(value.trim_start_matches('/')),
            "id" => container.id.starts_with(value),
            "status" => container.state.status.as_str() == value,
            "health" => {
                container.state.health.as_ref().map_or("none", |health| health.status.as_str()) == value
            }
            "exited" => {
                container.state.finished_at.is_some() && container.state.exit_code.to_string() == value
            }
            "ancestor" => same_image(container, value),
            _ => container.options.labels.iter().any(|(name, found)| match value.split_once('=') {
                Some((label, wanted)) => name == label && found == wanted,
                None => name == value,
            }),
        }
    }
}

/// Filters of one name are alternatives, different names must all pass.
fn passes(filters: &[Filter], container: &Container) -> bool {
    FILTERS.iter().all(|name| {
        let mut of_name = filters.iter().filter(|filter| filter.name == *name).peekable();
        of_name.peek().is_none() || of_name.any(|filter| filter.passes(container))
    })
}

fn same_image(container: &Container, value: &str) -> bool {
    let image = &container.options.image;
    let without_tag = image.rsplit_once(':').map_or(image.as_str(), |(name, _)| name);
    image == value
        || without_tag == value
        || container.image_id.trim_start_matches("sha256:").starts_with(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_of_one_name_are_alternatives() {
        let mut container = Container { name: "web".into(), ..Default::default() };
        container.options.labels.push(("tier".into(), "front".into()));
        let filters =
            |texts: &[&str]| texts.iter().map(|text| Filter::parse(text).unwrap()).collect::<Vec<_>>();
        assert!(passes(&filters(&["name=web", "name=db"]), &container));
        assert!(!passes(&filters(&["name=web", "label=tier=back"]), &container));
        assert!(passes(&filters(&["label=tier", "status=created"]), &container));
        assert!(Filter::parse("colour=red").is_err());
    }
}
