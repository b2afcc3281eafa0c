//! Rounds: in each, every tool has its turn at the same load, so that a change in the machine's
//! speed meets all of them alike.

use std::fmt;

use anyhow::{Context, Result, bail};
use serde::Serialize;

use super::{
    attached::{Attached, Bill},
    load::{Load, Work},
    programs,
    scenario::{Case, Counting, View},
    tool::{Kit, Tool},
};

/// One run of a load with one tool.
#[derive(Clone, Debug, Serialize)]
pub struct Run {
    /// What was attached.
    pub tool: Tool,
    /// The round it belongs to, from 0.
    pub round: u32,
    /// What the load did.
    pub work: Work,
    /// The time in BPF, from another go at the load where times count as well.
    pub bpf: Option<InBpf>,
    /// Nanoseconds on a CPU that the tool's process took meanwhile.
    pub cpu_ns: u64,
    /// What the tool used over its whole life.
    pub bill: Bill,
}

/// What BPF programs did while the kernel counted.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct InBpf {
    /// What the load did meanwhile.
    pub work: Work,
    /// Nanoseconds in programs.
    pub ns: u64,
    /// Runs of programs.
    pub runs: u64,
}

/// A tool that could not be measured here, and why.
#[derive(Clone, Debug, Serialize)]
pub struct Absent {
    /// Which.
    pub tool: Tool,
    /// Its own words.
    pub reason: String,
}

/// All that was measured of one load.
pub struct Measured {
    /// The runs.
    pub runs: Vec<Run>,
    /// Who is missing.
    pub absent: Vec<Absent>,
}

/// Measures one load with some tools, `none` among them or not.
pub fn measure(
    case: &Case,
    view: View,
    tools: &[Tool],
    rounds: u32,
    kit: &Kit,
) -> Result<Measured> {
    let mut load = (case.start)().with_context(|| format!("{}: cannot start it", case.label))?;
    let load = load.as_mut();
    let counting = |round| view.counting(round);
    run(Tool::None, 0, counting(0), load, kit)
        .with_context(|| format!("{}: to warm up", case.label))?;
    let mut measured = Measured { runs: Vec::new(), absent: Vec::new() };
    for round in 0..rounds {
        for tool in turns(tools, round as usize) {
            if measured.absent.iter().any(|absent| absent.tool == tool) {
                continue;
            }
            match run(tool, round, counting(round), load, kit) {
                Ok(run) => {
                    eprintln!("{}, round {}: {run}", case.label, round + 1);
                    measured.runs.push(run);
                }
                // That a peer does not work here says something about the peer, and is told.
                Err(error) if tool != Tool::None && !tool.is_dwell() => {
                    let (label, name) = (&case.label, tool.name());
                    eprintln!("warning: {label}: {name} cannot be measured: {error:#}");
                    measured.runs.retain(|run| run.tool != tool);
                    measured.absent.push(Absent { tool, reason: format!("{error:#}") });
                    load.end()?;
                }
                Err(error) => {
                    let place = format!("{}, round {}, {}", case.label, round + 1, tool.name());
                    return Err(error.context(place));
                }
            }
        }
    }
    Ok(measured)
}

/// Starts the tool, waits until it is attached, lets the load work, and stops the tool.
fn run(tool: Tool, round: u32, counting: Counting, load: &mut dyn Load, kit: &Kit) -> Result<Run> {
    let target = load.begin()?;
    // Also tells when a tool is attached. Closed, whichever way this process ends, it ends.
    let count = programs::count()?;
    let attached = Attached::start(tool, &target, kit)?;
    load.settle()?;
    let cpu_before = attached.cpu_ns();
    let bpf = match counting {
        Counting::No => None,
        Counting::Also | Counting::Only => Some(in_bpf(tool, &attached, load)?),
    };
    drop(count);
    let (work, cpu_ns) = match (counting, bpf) {
        (Counting::Only, Some(bpf)) => (bpf.work, attached.cpu_ns() - cpu_before),
        _ => {
            load.settle()?;
            let cpu_before = attached.cpu_ns();
            (checked(load.work()?)?, attached.cpu_ns() - cpu_before)
        }
    };
    let bill = attached.stop()?;
    load.end()?;
    Ok(Run { tool, round, work, bpf, cpu_ns, bill })
}

/// Lets the load work while the kernel counts.
fn in_bpf(tool: Tool, attached: &Attached, load: &mut dyn Load) -> Result<InBpf> {
    let before = programs::spent()?;
    let work = checked(load.work()?)?;
    let after = programs::spent()?;
    let spent = after.since(&before, attached.programs());
    if after.others_since(&before, attached.programs()).runs > 0 {
        eprintln!("warning: BPF programs of somebody else's are running: they slow the load down");
    }
    if tool.runs_in_bpf() && spent.runs == 0 {
        bail!("none of its BPF programs ran: it was not attached");
    }
    Ok(InBpf { work, ns: spent.nanoseconds, runs: spent.runs })
}

fn checked(work: Work) -> Result<Work> {
    if work.operations <= 0.0 || work.seconds <= 0.0 {
        bail!("the load did nothing");
    }
    Ok(work)
}

/// `none` first, which the others of its round are compared with; those take turns.
fn turns(tools: &[Tool], round: usize) -> Vec<Tool> {
    let (mut turns, mut others): (Vec<Tool>, Vec<Tool>) =
        tools.iter().partition(|tool| **tool == Tool::None);
    if !others.is_empty() {
        let shift = round % others.len();
        others.rotate_left(shift);
    }
    turns.append(&mut others);
    turns
}

impl Run {
    /// Microseconds for each operation.
    pub fn micros_each(&self) -> f64 {
        self.work.seconds * 1e6 / self.work.operations
    }

    /// Operations a second.
    pub fn rate(&self) -> f64 {
        self.work.operations / self.work.seconds
    }

    /// The share of one CPU that the tool's own process took.
    pub fn cpu_share(&self) -> f64 {
        self.cpu_ns as f64 / 1e9 / self.work.seconds
    }

    /// The same of all that it took from its start to its end.
    pub fn total_cpu_share(&self) -> f64 {
        self.bill.total_cpu_ns as f64 / 1e9 / self.work.seconds
    }
}

impl InBpf {
    /// Nanoseconds for each operation.
    pub fn ns_each(&self) -> f64 {
        self.ns as f64 / self.work.operations
    }

    /// Runs for each operation.
    pub fn runs_each(&self) -> f64 {
        self.runs as f64 / self.work.operations
    }

    /// The share of one CPU that it took.
    pub fn share(&self) -> f64 {
        self.ns as f64 / 1e9 / self.work.seconds
    }
}

impl fmt::Display for Run {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        write!(formatter, "{}: {:.2} µs an operation", self.tool.name(), self.micros_each())?;
        match self.bpf {
            Some(bpf) => write!(formatter, ", {:.0} ns in BPF", bpf.ns_each()),
            None => Ok(()),
        }
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
        assert_eq!(turns(&[Tool::Dwell], 3), [Tool::Dwell]);
    }
}
