//! Many builds at once in one engine: `builds_at_once ROOT CONFIG COUNT SALT` prints the seconds that they take.
//!
//! Each has a RUN of its own on busybox, which must be in the store.

#![allow(clippy::print_stdout)]

use std::io::Cursor;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use futures_util::future::try_join_all;
use kiln_engine::build::{BuildRequest, Context, Export, ImageOptions, Input, Place};
use kiln_engine::errand::Errand;
use kiln_engine::progress::Silent;
use kiln_engine::{CancellationToken, Config, Engine};

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    // The engine starts its own program again to make durable what was built.
    if let Some(errand) = Errand::of_this_process() {
        std::process::exit(errand.run()?);
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        [root, config, count, salt] => measure(root, config.as_ref(), count.parse()?, salt).await,
        _ => Err("usage: builds_at_once ROOT CONFIG COUNT SALT".into()),
    }
}

async fn measure(root: &str, config: &Path, count: usize, salt: &str) -> Result<(), Failure> {
    let mut settings = Config::new(root);
    settings.merge_file(config)?;
    let engine = Engine::open(settings)?;
    let start = Instant::now();
    try_join_all((0..count).map(|number| build(&engine, number, salt))).await?;
    println!("{}", start.elapsed().as_secs_f64());
    Ok(())
}

async fn build(engine: &Engine, number: usize, salt: &str) -> Result<(), Failure> {
    let names = vec![format!("at-once:{number}").parse()?];
    let text = format!("FROM busybox\nRUN echo {salt} {number} > /f\n");
    let request = BuildRequest {
        context: Context::Stream(Input::new(Cursor::new(text))),
        exports: vec![Export::Image { image: ImageOptions::named(names), place: Place::default() }],
        ..BuildRequest::default()
    };
    engine.build(request, Arc::new(Silent), CancellationToken::new()).await?;
    Ok(())
}
