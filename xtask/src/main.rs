//! The chores of dwell: `cargo xtask VERB`, one file per verb.

mod bench;
mod bpf;
mod installed;
mod layers;
#[path = "../../profiler/build/manifest.rs"]
mod manifest;
mod node;
mod packages;
mod process;
mod python;
mod repo;
mod rustc;
mod test;
mod toolchain;
mod vm;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// The chores of dwell
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Build the eBPF object that is committed, bit for bit
    Bpf(bpf::Arguments),
    /// Check which module of dwell imports which
    Layers,
    /// Install what the tests use, build everything and run all tests
    Test(test::Arguments),
    /// Measure what dwell costs, next to offcputime, wakeuptime, bpftrace and perf
    Bench(bench::Arguments),
    /// One of the loads that `bench` makes itself
    #[command(hide = true)]
    BenchLoad(bench::LoadArguments),
    /// Boot Debian's kernels under emulation and check dwell in each
    Vm(vm::Arguments),
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    if let Some(root) = std::env::var_os(rustc::WRAPPED) {
        return Err(rustc::replace_process(root.as_ref()));
    }
    match Arguments::parse().verb {
        Verb::Bpf(arguments) => bpf::run(&arguments),
        Verb::Layers => layers::run(),
        Verb::Test(arguments) => test::run(&arguments),
        Verb::Bench(arguments) => bench::run(&arguments),
        Verb::BenchLoad(arguments) => bench::run_load(&arguments),
        Verb::Vm(arguments) => vm::run(&arguments),
    }
}
