//! `cargo xtask bench`: what dwell costs, next to the other tools that Debian has.
//!
//! A scenario is one or more loads and the tools that are measured against them. The engine lets
//! the tools take turns, run by run, and every ratio is formed within a round, so that a change in
//! the machine's speed meets all of them alike. docs/bench.md tells what the tables say.

mod affinity;
mod attached;
mod bars;
mod empty;
mod engine;
mod load;
mod programs;
mod report;
mod scenario;
mod statistics;
mod summary;
mod tool;
mod tracefs;
mod usage;

pub use load::{Arguments as LoadArguments, run as run_load};

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::{
    installed::{self, Program},
    process::{is_root, run as run_command, stdout},
    repo,
};
use report::{Report, Section};
use scenario::{Scenario, Size};
use summary::Summary;
use tool::{Kit, Tool};

/// How much to measure.
#[derive(clap::Args)]
pub struct Arguments {
    /// Which scenarios: all by default
    #[arg(long, value_enum, value_delimiter = ',')]
    scenario: Vec<Scenario>,
    /// How often each tool is measured: 5 times by default, twice where there are several loads
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: Option<u32>,
    /// Smaller loads and fewer rounds, for a look in passing
    #[arg(long)]
    quick: bool,
    /// Operations of `perf bench sched pipe` in each run
    #[arg(long, default_value_t = 200_000, value_parser = clap::value_parser!(u32).range(1000..))]
    operations: u32,
    /// The CPU for loads that run on one: the last one by default
    #[arg(long)]
    cpu: Option<usize>,
    /// Measure only these, and `none`: gives no verdict where one is compared with the others
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Tool>,
    /// Install nothing: tools that are missing are named in the tables
    #[arg(long)]
    no_install: bool,
}

/// The tools themselves.
const PROGRAMS: &[Program] = &[
    Program::Perf,
    Program::Named("bpftool", "bpftool|linux-tools-common"),
    Program::Named("offcputime", "libbpf-tools"),
    Program::Named("bpftrace", "bpftrace"),
];

/// Measures, prints the tables and writes them to `target/bench`.
pub fn run(arguments: &Arguments) -> Result<()> {
    if !is_root() {
        bail!("loading eBPF programs takes root: run it with sudo -E");
    }
    let root = repo::root()?;
    let scenarios = match arguments.scenario.as_slice() {
        [] => &Scenario::ALL,
        some => some,
    };
    provide(arguments, scenarios, &root)?;
    if let Err(error) = tracefs::provide() {
        eprintln!("warning: {error:#}");
    }
    let folder = repo::target_dir(&root)?.join("bench");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let cpus = affinity::cpus()?;
    let cpu = arguments.cpu.or(cpus.last().copied()).context("there is no CPU")?;
    let size = Size { cpu, quick: arguments.quick, operations: arguments.operations };
    // What the tools write goes with this, whichever way the measuring ends.
    let scratch = tempfile::tempdir_in(&folder)?;
    let kit = Kit { dwell: dwell(arguments, &root)?, folder: scratch.path().to_owned() };
    let mut sections = Vec::new();
    for scenario in scenarios {
        let section = measure(*scenario, arguments, size, &kit)?;
        println!("{}", section.markdown());
        sections.push(section);
    }
    publish(&Report::new(kernel()?, cpus.len(), sections), &folder)
}

/// All loads of a scenario, with all of its tools.
fn measure(scenario: Scenario, arguments: &Arguments, size: Size, kit: &Kit) -> Result<Section> {
    let rounds = arguments.rounds.unwrap_or_else(|| scenario.rounds(arguments.quick));
    let tools = tools(scenario, &arguments.only);
    let mut loads = Vec::new();
    for case in scenario.cases(size) {
        let measured = engine::measure(&case, scenario.view(), &tools, rounds, kit)
            .with_context(|| scenario.name().to_owned())?;
        loads.push(Summary::new(case.label, measured));
    }
    Ok(Section::new(scenario, rounds, loads))
}

/// What to measure: all, or `none` and those asked for.
fn tools(scenario: Scenario, only: &[Tool]) -> Vec<Tool> {
    let wanted = |tool: &Tool| only.is_empty() || *tool == Tool::None || only.contains(tool);
    scenario.tools().iter().copied().filter(wanted).collect()
}

/// Installs what is missing. What is still missing then is an error only where nothing can be
/// measured without it.
fn provide(arguments: &Arguments, scenarios: &[Scenario], root: &Path) -> Result<()> {
    let loads = scenarios.iter().flat_map(|scenario| scenario.programs()).copied();
    let loads: Vec<Program> =
        loads.chain([Program::Named("bpftool", "bpftool|linux-tools-common")]).collect();
    if !arguments.no_install {
        let all: Vec<Program> = PROGRAMS.iter().chain(&loads).copied().collect();
        installed::install(root, &all).context("what the bench runs cannot be installed")?;
    }
    if let Some((program, package)) = installed::missing(&loads)?.first() {
        bail!("{program} is missing: as root, run `setup/packages '{package}'`");
    }
    Ok(())
}

/// The dwell to measure: the one that DWELL_BIN names, or this checkout's, built now.
fn dwell(arguments: &Arguments, root: &Path) -> Result<PathBuf> {
    let named = env::var_os("DWELL_BIN").map(PathBuf::from);
    if !arguments.only.is_empty() && !arguments.only.iter().any(|tool| tool.is_dwell()) {
        return Ok(named.unwrap_or_default());
    }
    if let Some(path) = named {
        if !path.is_file() {
            bail!("DWELL_BIN names {}, which does not exist", path.display());
        }
        return Ok(path);
    }
    let mut build = repo::cargo();
    build.args(["build", "--release", "--package", "profiler", "--bin", "dwell"]);
    run_command(build.current_dir(root))?;
    Ok(repo::target_dir(root)?.join("release/dwell"))
}

fn kernel() -> Result<String> {
    Ok(stdout(Command::new("uname").arg("-r"))?.trim().to_owned())
}

/// Writes the report. Fails when a bar is missed.
fn publish(report: &Report, folder: &Path) -> Result<()> {
    fs::write(folder.join("bench.md"), report.markdown())?;
    fs::write(folder.join("bench.json"), serde_json::to_string_pretty(report)? + "\n")?;
    eprintln!("written to {}", folder.join("bench.{md,json}").display());
    match report.missed().as_slice() {
        [] => Ok(()),
        missed => bail!("over the bar: {}", missed.join("; ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn none_is_always_measured() {
        let asked = [Tool::Offcputime, Tool::DwellOther];
        assert_eq!(tools(Scenario::Redis, &asked), [Tool::None, Tool::Offcputime]);
        assert_eq!(tools(Scenario::Pipe, &[]), Tool::ALL);
    }
}
