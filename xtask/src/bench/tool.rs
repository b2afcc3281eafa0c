//! The tools that are compared, and how each is told what to look at.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};
use serde::Serialize;

use super::load::Target;
use crate::process::find;

/// Longer than any run; a tool that is forgotten ends by itself.
const WINDOW: &str = "900s";

/// What is attached while a load runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Tool {
    /// Nothing
    None,
    /// Empty programs on `sched_switch` and `sched_waking`: the floor
    Empty,
    /// libbpf-tools' offcputime: user and kernel stacks of who waits
    Offcputime,
    /// libbpf-tools' wakeuptime: kernel stacks of who wakes
    Wakeuptime,
    /// An off-CPU script for bpftrace, with user stacks
    Bpftrace,
    /// `perf sched record`: every switch and wakeup into a file, no stacks
    PerfSched,
    /// dwell, with user stacks, without requests
    Dwell,
    /// dwell, with requests as well
    DwellRequests,
    /// dwell without stacks
    DwellNoStacks,
    /// dwell, another process being its target
    DwellOther,
    /// dwell without requests, and a recording of it
    DwellRecord,
}

/// Where the tools find what they need.
pub struct Kit {
    /// The dwell to measure.
    pub dwell: PathBuf,
    /// A folder for what they write.
    pub folder: PathBuf,
}

impl Tool {
    /// All of them, in the order of the tables.
    pub const ALL: [Self; 11] = [
        Self::None,
        Self::Empty,
        Self::Offcputime,
        Self::Wakeuptime,
        Self::Bpftrace,
        Self::PerfSched,
        Self::Dwell,
        Self::DwellRequests,
        Self::DwellNoStacks,
        Self::DwellOther,
        Self::DwellRecord,
    ];

    /// What the tables call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Empty => "empty programs",
            Self::Offcputime => "offcputime",
            Self::Wakeuptime => "wakeuptime",
            Self::Bpftrace => "bpftrace script",
            Self::PerfSched => "perf sched record",
            Self::Dwell => "dwell",
            Self::DwellRequests => "dwell, with requests",
            Self::DwellNoStacks => "dwell --no-stacks",
            Self::DwellOther => "dwell, another process",
            Self::DwellRecord => "dwell record",
        }
    }

    /// Whether it takes dwell's program.
    pub fn is_dwell(self) -> bool {
        matches!(
            self,
            Self::Dwell
                | Self::DwellRequests
                | Self::DwellNoStacks
                | Self::DwellOther
                | Self::DwellRecord
        )
    }

    /// Whether it is somebody else's, and shows user stacks as dwell does.
    pub fn is_peer_with_stacks(self) -> bool {
        matches!(self, Self::Offcputime | Self::Bpftrace)
    }

    /// Whether the kernel counts its work as that of BPF programs.
    pub fn runs_in_bpf(self) -> bool {
        !matches!(self, Self::None | Self::PerfSched)
    }

    /// The file it writes its recording to, if it does.
    pub fn recording(self, kit: &Kit) -> Option<PathBuf> {
        match self {
            Self::PerfSched => Some(kit.folder.join("perf-sched.data")),
            Self::DwellRecord => Some(kit.folder.join("record.dwell")),
            _ => None,
        }
    }

    /// How it is started on a target; `None` where there is no process to start. `bystander` is a
    /// process that does nothing.
    pub fn command(self, target: &Target, bystander: u32, kit: &Kit) -> Result<Option<Command>> {
        Ok(match self {
            Self::None | Self::Empty => None,
            Self::Offcputime | Self::Wakeuptime => Some(self.libbpf_tool(target)?),
            Self::Bpftrace => {
                let mut command = Command::new(program("bpftrace")?);
                command.args(["-e", &script(target)]);
                Some(command)
            }
            Self::PerfSched => {
                let mut command = Command::new(program("perf")?);
                command.args(["sched", "record", "-o"]).args(self.recording(kit));
                Some(command)
            }
            Self::Dwell => Some(dwell(&kit.dwell, "attach", target, &["--no-requests"])),
            Self::DwellRequests => Some(dwell(&kit.dwell, "attach", target, &[])),
            Self::DwellNoStacks => {
                Some(dwell(&kit.dwell, "attach", target, &["--no-requests", "--no-stacks"]))
            }
            Self::DwellRecord => {
                let mut command = dwell(&kit.dwell, "record", target, &["--no-requests", "-o"]);
                command.args(self.recording(kit));
                Some(command)
            }
            Self::DwellOther => {
                let other = Target::Process { pid: bystander, comm: "sleep", children: false };
                Some(dwell(&kit.dwell, "attach", &other, &[]))
            }
        })
    }

    /// These tools know no process but the one they are given: a server of several processes is
    /// watched by watching all user threads of the host.
    fn libbpf_tool(self, target: &Target) -> Result<Command> {
        let mut command = Command::new(program(self.name())?);
        match target {
            Target::Host => &mut command,
            Target::Process { pid, children: false, .. } => command.args(["-p", &pid.to_string()]),
            Target::Process { children: true, .. } => command.arg("-u"),
        };
        Ok(command)
    }
}

fn program(name: &str) -> Result<PathBuf> {
    find(name).with_context(|| format!("{name} is not installed"))
}

fn dwell(dwell: &Path, verb: &str, target: &Target, options: &[&str]) -> Command {
    let mut command = Command::new(dwell);
    command.args([verb, "--json", "-d", WINDOW]);
    match target {
        Target::Host => command.arg("-a"),
        Target::Process { pid, .. } => command.args(["-p", &pid.to_string()]),
    };
    command.args(options);
    command
}

/// What people write to see off-CPU time by user stack. It takes user stacks only, as dwell does
/// where the system call explains the wait: the kernel's would make it dearer.
fn script(target: &Target) -> String {
    let followed = match target {
        Target::Host => "pid != 0".to_owned(),
        Target::Process { pid, children: false, .. } => format!("pid == {pid}"),
        Target::Process { comm, children: true, .. } => format!("comm == \"{comm}\""),
    };
    format!(
        "tracepoint:sched:sched_switch {{
            if ({followed}) {{
                @since[args->prev_pid] = nsecs;
                @stack[args->prev_pid] = ustack;
            }}
            $since = @since[args->next_pid];
            if ($since != 0) {{
                @ns[@stack[args->next_pid], args->next_comm] = sum(nsecs - $since);
                delete(@since[args->next_pid]);
                delete(@stack[args->next_pid]);
            }}
        }}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(tool: Tool, target: &Target) -> String {
        let kit = Kit { dwell: "dwell".into(), folder: "/f".into() };
        let command = tool.command(target, 7, &kit).unwrap().unwrap();
        let words = command.get_args().map(|word| word.to_string_lossy().into_owned());
        words.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn each_target_is_named_as_dwell_wants_it() {
        assert_eq!(line(Tool::Dwell, &Target::Host), "attach --json -d 900s -a --no-requests");
        let server = Target::Process { pid: 5, comm: "postgres", children: true };
        assert_eq!(
            line(Tool::DwellNoStacks, &server),
            "attach --json -d 900s -p 5 --no-requests --no-stacks"
        );
        assert_eq!(line(Tool::DwellRequests, &server), "attach --json -d 900s -p 5");
        assert_eq!(line(Tool::DwellOther, &server), "attach --json -d 900s -p 7");
        assert_eq!(
            line(Tool::DwellRecord, &server),
            "record --json -d 900s -p 5 --no-requests -o /f/record.dwell"
        );
    }

    #[test]
    fn the_script_follows_a_server_of_several_processes_by_name() {
        let one = Target::Process { pid: 5, comm: "redis-server", children: false };
        let several = Target::Process { pid: 5, comm: "postgres", children: true };
        assert!(script(&one).contains("if (pid == 5)"));
        assert!(script(&several).contains("if (comm == \"postgres\")"));
        assert!(script(&Target::Host).contains("if (pid != 0)"));
    }

    #[test]
    fn nothing_is_started_for_none_and_for_the_floor() {
        let kit = Kit { dwell: "dwell".into(), folder: "/f".into() };
        for tool in [Tool::None, Tool::Empty] {
            assert!(tool.command(&Target::Host, 7, &kit).unwrap().is_none());
        }
    }
}
