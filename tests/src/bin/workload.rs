//! Programs with a planned truth: each waits for known things, measures how long, and says so
//! at its end in one line of JSON (`dwell_tests::outcome::Outcome`).

#[path = "../workloads/mod.rs"]
mod workloads;

use clap::Parser;

use workloads::{Stage, Workload};

/// Runs one workload for some seconds.
#[derive(Parser)]
struct Arguments {
    /// How long.
    #[arg(long, global = true, default_value_t = 6.0)]
    seconds: f64,
    /// Begin after a line on stdin; at the end stay until the next, or until stdin ends.
    #[arg(long, global = true)]
    wait: bool,
    /// Where to put files, if it lies on a disk.
    #[arg(long, global = true)]
    folder: Option<std::path::PathBuf>,
    /// Do not wait for the line to begin with: the part before exec did.
    #[arg(long, global = true, hide = true)]
    begun: bool,
    #[command(subcommand)]
    workload: Workload,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let stage = Stage::new(arguments.seconds, arguments.wait, arguments.begun)?;
    let stage = stage.with_folder(arguments.folder);
    arguments.workload.run(stage)
}
