//! `cargo xtask bench`: what attaching costs, next to libbpf-tools' `offcputime`.
//!
//! `perf bench sched pipe` on one CPU does nothing but switch between two processes, twice for
//! each operation: the worst case. The kernel itself counts the time spent in BPF programs. The
//! tools take turns, run by run, so that a change in the machine's speed meets all of them alike.

mod pipe;
mod programs;
mod report;
mod tool;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail};

use crate::{
    process::{find, is_root, run as run_command, stdout},
    repo,
};
use pipe::Pipe;
use report::{Report, Run};
use tool::Tool;

/// How much to measure.
#[derive(clap::Args)]
pub struct Arguments {
    /// How often each tool is measured
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// Operations of `perf bench sched pipe` in each run
    #[arg(long, default_value_t = 200_000, value_parser = clap::value_parser!(u32).range(1000..))]
    operations: u32,
    /// The CPU to measure on: the last one by default
    #[arg(long)]
    cpu: Option<usize>,
    /// Measure only these, and `none`, for a look in passing: gives no verdict on the others
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Tool>,
}

/// Measures, prints the table and writes it to `target/bench`.
pub fn run(arguments: &Arguments) -> Result<()> {
    let tools = tools(&arguments.only);
    require_programs(&tools)?;
    let dwell = dwell(&tools)?;
    let cpu = arguments.cpu.map_or_else(last_cpu, Ok)?;
    let pipe = Pipe { cpu, operations: arguments.operations };
    // Counting ends when this is closed, whichever way this process ends.
    let counting = programs::count()?;
    pipe.run().context("the run to warm up failed")?;
    let mut runs = Vec::new();
    for round in 0..arguments.rounds {
        for tool in turns(&tools, round as usize) {
            let run = measure(tool, round, &pipe, &dwell)
                .with_context(|| format!("round {}, {}", round + 1, tool.name()))?;
            eprintln!("round {}: {run}", round + 1);
            runs.push(run);
        }
    }
    drop(counting);
    publish(&Report::new(pipe, arguments.rounds, kernel()?, &tools, runs))
}

/// Starts the tool, waits until it is attached, lets the pipe run, and stops the tool.
fn measure(tool: Tool, round: u32, pipe: &Pipe, dwell: &Path) -> Result<Run> {
    let started = tool.start(dwell)?;
    thread::sleep(Duration::from_millis(300));
    let before = programs::spent()?;
    let micros = pipe.run()?;
    let spent = programs::spent()?.since(&before);
    started.stop()?;
    if tool == Tool::None && spent.runs > 0 {
        eprintln!("warning: BPF programs of somebody else's are running: their time counts too");
    }
    if tool != Tool::None && spent.runs == 0 {
        bail!("none of its BPF programs ran: it was not attached");
    }
    let operations = f64::from(pipe.operations);
    Ok(Run {
        tool,
        round,
        bpf_ns: spent.nanoseconds as f64 / operations,
        bpf_runs: spent.runs as f64 / operations,
        micros,
    })
}

/// `none` first, which the others of its round are compared with; those take turns.
fn turns(tools: &[Tool], round: usize) -> Vec<Tool> {
    let mut others: Vec<Tool> = tools.iter().copied().filter(|tool| *tool != Tool::None).collect();
    if !others.is_empty() {
        let shift = round % others.len();
        others.rotate_left(shift);
    }
    others.insert(0, Tool::None);
    others
}

/// What to measure: all, or `none` and those asked for.
fn tools(only: &[Tool]) -> Vec<Tool> {
    let wanted = |tool: &Tool| only.is_empty() || *tool == Tool::None || only.contains(tool);
    Tool::ALL.into_iter().filter(wanted).collect()
}

fn require_programs(tools: &[Tool]) -> Result<()> {
    if !is_root() {
        bail!("loading eBPF programs takes root: run it with sudo -E");
    }
    let mut needed = vec!["perf", "taskset", "bpftool"];
    if tools.contains(&Tool::Offcputime) {
        needed.push("offcputime");
    }
    let missing: Vec<&str> = needed.into_iter().filter(|name| find(name).is_none()).collect();
    if !missing.is_empty() {
        bail!(
            "{} missing: as root, run `setup/packages linux-perf util-linux bpftool libbpf-tools`",
            missing.join(", ")
        );
    }
    Ok(())
}

/// The dwell to measure: the one that DWELL_BIN names, or this checkout's, built now.
fn dwell(tools: &[Tool]) -> Result<PathBuf> {
    let named = env::var_os("DWELL_BIN").map(PathBuf::from);
    if !tools.iter().any(|tool| tool.is_dwell()) {
        return Ok(named.unwrap_or_default());
    }
    if let Some(path) = named {
        if !path.is_file() {
            bail!("DWELL_BIN names {}, which does not exist", path.display());
        }
        return Ok(path);
    }
    let root = repo::root()?;
    let mut build = repo::cargo();
    build.args(["build", "--release", "--package", "profiler", "--bin", "dwell"]);
    run_command(build.current_dir(&root))?;
    Ok(repo::target_dir(&root)?.join("release/dwell"))
}

fn last_cpu() -> Result<usize> {
    let text = fs::read_to_string("/proc/self/status")?;
    let list = text.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    let last = list.and_then(|list| list.trim().rsplit([',', '-']).next()?.parse().ok());
    last.context("cannot read the CPUs from /proc/self/status: choose one with --cpu")
}

fn kernel() -> Result<String> {
    Ok(stdout(Command::new("uname").arg("-r"))?.trim().to_owned())
}

/// Prints and writes the report. Fails when a bar is missed.
fn publish(report: &Report) -> Result<()> {
    let folder = repo::target_dir(&repo::root()?)?.join("bench");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let table = report.markdown();
    print!("{table}");
    fs::write(folder.join("attach.md"), &table)?;
    fs::write(folder.join("attach.json"), serde_json::to_string_pretty(report)? + "\n")?;
    eprintln!("written to {}", folder.join("attach.{md,json}").display());
    match report.missed().as_slice() {
        [] => Ok(()),
        missed => bail!("over the bar: {}", missed.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tools_take_turns_after_none() {
        let first = turns(&Tool::ALL, 0);
        let second = turns(&Tool::ALL, 1);
        assert_eq!((first.len(), second.len()), (Tool::ALL.len(), Tool::ALL.len()));
        assert_eq!((first[0], second[0]), (Tool::None, Tool::None));
        assert_ne!(first[1], second[1]);
        assert_eq!(turns(&[Tool::None], 3), [Tool::None]);
    }

    #[test]
    fn none_is_always_measured() {
        assert_eq!(tools(&[Tool::Offcputime]), [Tool::None, Tool::Offcputime]);
        assert_eq!(tools(&[]), Tool::ALL);
    }
}
