//! `kiln stop|restart|kill|pause|unpause|rm|rename`: what is done to containers by name.

use std::time::Duration;

use kiln_engine::Result;
use kiln_engine::containers::RemoveOptions;

use super::{OK, each};
use crate::app::App;
use crate::args::container::{KillArgs, PauseArgs, RenameArgs, RestartArgs, RmArgs, StopArgs, UnpauseArgs};

/// Longer than anybody waits: Docker's `-1` means for ever.
const FOREVER: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

pub(super) fn stop(args: &StopArgs, app: &App) -> Result<u8> {
    let engine = app.engine()?;
    each(&args.containers, |name| {
        engine.containers().stop(name, args.signal.as_deref(), seconds(args.timeout))
    })
}

pub(super) fn restart(args: &RestartArgs, app: &App) -> Result<u8> {
    let engine = app.engine()?;
    each(&args.containers, |name| {
        engine.containers().restart(name, args.signal.as_deref(), seconds(args.timeout))
    })
}

pub(super) fn kill(args: &KillArgs, app: &App) -> Result<u8> {
    let engine = app.engine()?;
    each(&args.containers, |name| engine.containers().kill(name, &args.signal))
}

pub(super) fn pause(args: &PauseArgs, app: &App) -> Result<u8> {
    let engine = app.engine()?;
    each(&args.containers, |name| engine.containers().pause(name))
}

pub(super) fn unpause(args: &UnpauseArgs, app: &App) -> Result<u8> {
    let engine = app.engine()?;
    each(&args.containers, |name| engine.containers().unpause(name))
}

pub(super) fn rm(args: &RmArgs, app: &App) -> Result<u8> {
    let engine = app.engine()?;
    let options = RemoveOptions { force: args.force, volumes: args.volumes };
    each(&args.containers, |name| engine.containers().remove(name, options))
}

pub(super) fn rename(args: &RenameArgs, app: &App) -> Result<u8> {
    app.engine()?.containers().rename(&args.container, &args.name).map(|()| OK)
}

fn seconds(timeout: Option<i64>) -> Option<Duration> {
    timeout.map(|seconds| u64::try_from(seconds).map_or(FOREVER, Duration::from_secs))
}
