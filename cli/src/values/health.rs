//! The options by which `run` and `create` say how to ask whether a program is well.

use kiln_engine::containers::Healthcheck;
use kiln_engine::{Error, Result};

use super::time::length;
use crate::args::create::ContainerArgs;

/// What is asked; `None` where nothing is said, so that the image decides.
pub(crate) fn of(args: &ContainerArgs) -> Result<Option<Healthcheck>> {
    let time = |option: &str, text: &Option<String>| match text {
        Some(text) => length(option, text),
        None => Ok(None),
    };
    let given = Healthcheck {
        test: args.health_cmd.iter().flat_map(|text| ["CMD-SHELL".to_owned(), text.clone()]).collect(),
        interval: time("--health-interval", &args.health_interval)?,
        timeout: time("--health-timeout", &args.health_timeout)?,
        start_period: time("--health-start-period", &args.health_start_period)?,
        start_interval: time("--health-start-interval", &args.health_start_interval)?,
        retries: args.health_retries.filter(|retries| *retries > 0),
    };
    let says_something = given != Healthcheck::default();
    match (args.no_healthcheck, says_something) {
        (true, true) => {
            Err(Error::invalid("`--no-healthcheck` and other `--health` options exclude each other"))
        }
        (true, false) => Ok(Some(Healthcheck { test: vec!["NONE".to_owned()], ..given })),
        (false, _) => Ok(Some(given).filter(|_| says_something)),
    }
}
