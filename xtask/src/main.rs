//! What a developer of kiln can do: `cargo xtask --help`.

#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod bench;
mod conformance;
mod field;
mod peers;
mod registry;
mod tidy;

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, bail};
use clap::{Parser, Subcommand};

/// An optimised build, as the figures are those of a release.
const PARSE_BENCH: [&str; 7] = ["run", "--release", "-q", "-p", "kiln-parser", "--example", "parse_bench"];
const SOLVE_BENCH: [&str; 7] = ["run", "--release", "-q", "-p", "kiln-engine", "--example", "solve_bench"];

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Development tasks of kiln", disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Check the rules that hold the architecture: dependency table, unsafe code, first lines of files
    Tidy,
    /// Print the longest files and functions
    Longest,
    /// Measure kiln beside its peers on a fresh journalled ext4 and print ratios (needs root)
    Bench(bench::Options),
    /// Print time and memory of the Dockerfile parser against the size of its input, by shape
    ParseBench,
    /// Print the time of all parts of a build but its steps against the size of its graph, by shape
    SolveBench,
    /// Build every conformance case by kiln and by Docker's engine and compare what they made (needs root)
    Conformance(conformance::Options),
    /// Everything CI runs: format, lints, documentation, all tests
    Ci,
    /// Make and serve the base images; prints the kiln configuration that uses them
    BaseImages {
        /// `up`, `down` or `clean`
        #[arg(default_value = "up")]
        what: String,
    },
    /// Rewrite the expected output of golden tests
    Bless,
}

fn main() -> ExitCode {
    match run(Arguments::parse().task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> Result<()> {
    match task {
        Task::Tidy => tidy::check(&root()),
        Task::Longest => tidy::longest(&root()),
        Task::Bench(options) => bench::run(&root(), &options),
        Task::ParseBench => shell(Command::new("cargo").args(PARSE_BENCH).current_dir(root())),
        Task::SolveBench => shell(Command::new("cargo").args(SOLVE_BENCH).current_dir(root())),
        Task::Conformance(options) => conformance::run(&root(), &options),
        Task::Ci => shell(&mut Command::new(root().join("dev/test"))),
        Task::BaseImages { what } => shell(Command::new(root().join("dev/base-images")).arg(what)),
        Task::Bless => shell(Command::new("cargo").args(["test", "--workspace"]).env("UPDATE_EXPECT", "1")),
    }
}

/// The checkout this program was compiled from.
fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap_or_default()
}

fn shell(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot start {:?}", command.get_program()))?;
    if !status.success() {
        bail!("{:?} ended with {status}", command.get_program());
    }
    Ok(())
}
