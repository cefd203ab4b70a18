//! `kiln debug …`.

use kiln_engine::Result;
use kiln_engine::build::BuildRequest;
use kiln_engine::containers::Preview;

use super::{OK, build, create};
use crate::app::{App, block_on};
use crate::args::create::CreateArgs;
use crate::args::debug::{BuildSource, GraphFormat, Group, Source};
use crate::terminal;
use crate::values::{context, platform};

pub(super) fn run(command: Group, app: &App) -> Result<u8> {
    let text = match command {
        Group::Ast(args) => block_on(app.engine()?.debug_ast(&of_source(&args.source)?))?,
        Group::Graph(args) => {
            let (engine, request) = (app.engine()?, of_build(&args.build)?);
            block_on(engine.debug_graph(&request, args.format == GraphFormat::Dot))?
        }
        Group::Keys(args) => {
            let (engine, request) = (app.engine()?, of_build(&args.build)?);
            block_on(engine.debug_keys(&request))?
        }
        Group::Plan(args) => preview(&args.create, Preview::Plan, app)?,
        Group::Spec(args) => preview(&args.create, Preview::Spec, app)?,
    };
    terminal::print(&text).map(|()| OK)
}

fn preview(args: &CreateArgs, what: Preview, app: &App) -> Result<String> {
    app.engine()?.containers().preview(&create::options(&args.container)?, what)
}

fn of_source(source: &Source) -> Result<BuildRequest> {
    let (dockerfile, dockerfile_input) = context::dockerfile(source.file.as_deref(), &source.context)?;
    let (context, environment) = (context::context(&source.context), build::fetching());
    Ok(BuildRequest { context, dockerfile, dockerfile_input, environment, ..BuildRequest::default() })
}

fn of_build(args: &BuildSource) -> Result<BuildRequest> {
    Ok(BuildRequest {
        named_contexts: context::named(&args.build_contexts)?,
        target: args.target.clone(),
        platforms: platform::all_or_default(&args.platforms),
        build_args: build::build_args(&args.build_args)?,
        ..of_source(&args.source)?
    })
}
