//! `kiln debug …`.

use kiln_engine::build::{BuildRequest, debug};
use kiln_engine::{Error, Result};

use super::{OK, build};
use crate::app::{App, block_on};
use crate::args::debug::{BuildSource, GraphFormat, Group, Source};
use crate::terminal;

pub(super) fn run(command: Group, app: &App) -> Result<u8> {
    let text = match command {
        Group::Ast(args) => debug::ast(&of_source(&args.source))?,
        Group::Graph(args) => {
            let (engine, request) = (app.engine()?, of_build(&args.build)?);
            block_on(engine.debug_graph(&request, args.format == GraphFormat::Dot))?
        }
        Group::Keys(args) => {
            let (engine, request) = (app.engine()?, of_build(&args.build)?);
            block_on(engine.debug_keys(&request))?
        }
        Group::Plan(_) => return Err(Error::not_implemented("`debug plan`")),
        Group::Spec(_) => return Err(Error::not_implemented("`debug spec`")),
    };
    terminal::print(&text).map(|()| OK)
}

fn of_source(source: &Source) -> BuildRequest {
    let context = source.context.clone().into();
    BuildRequest { context, dockerfile: source.file.clone(), ..BuildRequest::default() }
}

fn of_build(args: &BuildSource) -> Result<BuildRequest> {
    Ok(BuildRequest {
        target: args.target.clone(),
        platform: args.platform.clone(),
        build_args: build::build_args(&args.build_args)?,
        ..of_source(&args.source)
    })
}
