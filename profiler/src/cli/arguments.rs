//! What can be said on the command line.

mod export;
mod record;
mod requests;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

pub use export::{Completions, Export, ExportFormat, ExportTable, Man};
pub use record::{Compare, Record, Report, ReportView};
pub use requests::{LabelArguments, RequestArguments, Requests};

use super::duration;
use crate::kernel::Limits;

const AFTER_HELP: &str = "\
Exit codes:
  0  the report was printed (or its reader went away)
  1  something failed; the line on stderr says what, and what to do
  2  the command line makes no sense

Needs root, or CAP_BPF, CAP_PERFMON, CAP_SYS_PTRACE and CAP_SYSLOG: `dwell doctor` tells.";

/// Where do requests wait, rather than run?
///
/// dwell attaches to a live process with eBPF, accounts for every nanosecond of its threads, and
/// prints where the time goes: running, waiting for a CPU, or waiting for a lock, a socket, a disk.
#[derive(Debug, Parser)]
#[command(name = "dwell", version, after_help = AFTER_HELP, max_term_width = 100)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

impl Arguments {
    /// These, if their options go together in ways that clap cannot be told of.
    ///
    /// # Errors
    /// When they do not.
    pub fn checked(self) -> Result<Self, clap::Error> {
        if let Command::Compare(compare) = &self.command {
            compare.check()?;
        }
        Ok(self)
    }
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Account for the time of a live process
    Attach(Attach),
    /// Locks: who waits, behind whom, and what the holder was doing meanwhile
    Locks(Locks),
    /// Requests: how long they take, where they wait, and what the slow ones wait for
    Requests(Requests),
    /// Chains of waiting: what it all comes down to, across processes
    Graph(GraphOptions),
    /// Write everything to a file, to be looked at later or elsewhere
    Record(Record),
    /// Report what a recording holds
    Report(Report),
    /// Put recordings side by side: before and after, or several hosts
    Compare(Compare),
    /// For other tools: folded stacks, flame graphs, pprof, tables
    Export(Export),
    /// A first look: start a small server with a known problem, load it, and report
    Demo(Demo),
    /// Tell what this kernel and these privileges allow, and how to get what is missing
    Doctor(Doctor),
    /// Print completions for a shell
    Completions(Completions),
    /// Print a manual page, or write all of them
    Man(Man),
    /// One of the processes of the demo
    #[command(hide = true)]
    DemoRole(DemoRole),
}

const ATTACH_EXAMPLES: &str = "\
Examples:
  dwell attach -p 4711 -d 10s            ten seconds of process 4711 and its children
  dwell attach --comm postgres -d 30s    every process named postgres
  dwell attach --cgroup system.slice/nginx.service -d 1m
  dwell attach -a -d 5s --json           the whole host, as JSON (docs/json.md)
  dwell attach -p 4711 -d 30s --html api.html   a page for the browser as well
  dwell attach -- make -j8               start a command and follow it to its end
  dwell attach -p 4711                   until Ctrl-C

Exit codes: 0 report printed, 1 failure, 2 usage.";

const LOCKS_EXAMPLES: &str = "\
Examples:
  dwell locks -p 4711 -d 10s             the locks of process 4711 and its children
  dwell locks --comm postgres -d 30s     row locks and page locks as well
  dwell locks -p 4711 --by site          locks of rows, shards or connections are one
  dwell locks -a -d 5s --json            the whole host, as JSON (docs/json.md)
  dwell locks -- sysbench mutex run      start a command and follow it to its end

A lock's holder is called `woken by`: futexes do not say who owns them. To see what a holder in
another process was doing, follow that as well (-p twice, or -a).

Exit codes: 0 report printed, 1 failure, 2 usage.";

/// Options of `locks`.
#[derive(Debug, Args)]
#[command(after_help = LOCKS_EXAMPLES)]
pub struct Locks {
    /// Whom to follow, and how.
    #[command(flatten)]
    pub follow: Follow,

    /// Print one JSON document (schema dwell/1, see docs/json.md)
    #[arg(long, help_heading = "Report")]
    pub json: bool,

    /// What makes waits waits for the same lock
    #[arg(long, help_heading = "Report", value_enum, default_value_t = LocksBy::Lock)]
    pub by: LocksBy,

    /// How many locks to print
    #[arg(long, help_heading = "Report", value_name = "N", default_value_t = 8)]
    pub top: usize,

    /// Print stacks in full
    #[arg(long, help_heading = "Report")]
    pub full_stacks: bool,
}

const GRAPH_EXAMPLES: &str = "\
Examples:
  dwell graph -p 4711 -p 4712 -d 10s     two processes that talk to each other
  dwell graph -a -d 10s                  the whole host
  dwell graph -a -d 10s --format dot | dot -Tsvg > waiting.svg
  dwell graph -a -d 10s --format json    the document of `dwell attach` (docs/json.md)

A chain ends where a thread ran, or waited for something that no thread ended that is followed.

Exit codes: 0 report printed, 1 failure, 2 usage.";

/// Options of `graph`.
#[derive(Debug, Args)]
#[command(after_help = GRAPH_EXAMPLES)]
pub struct GraphOptions {
    /// Whom to follow, and how.
    #[command(flatten)]
    pub follow: Follow,

    /// How to print it
    #[arg(long, help_heading = "Report", value_enum, default_value_t = GraphFormat::Text)]
    pub format: GraphFormat,

    /// Print one JSON document: short for --format json
    #[arg(long, help_heading = "Report", conflicts_with = "format")]
    pub json: bool,

    /// How many beginnings to print
    #[arg(long, help_heading = "Report", value_name = "N", default_value_t = 8)]
    pub top: usize,
}

/// How to print chains of waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum GraphFormat {
    /// A tree
    Text,
    /// For Graphviz
    Dot,
    /// One document (schema dwell/1, see docs/json.md)
    Json,
}

/// What makes waits waits for the same lock.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub enum LocksBy {
    /// The lock, where it has an address
    Lock,
    /// The place that waits
    Site,
}

/// Options of `attach`.
#[derive(Debug, Args)]
#[command(after_help = ATTACH_EXAMPLES)]
pub struct Attach {
    /// Whom to follow, and how.
    #[command(flatten)]
    pub follow: Follow,

    /// Print one JSON document (schema dwell/1, see docs/json.md)
    #[arg(long, help_heading = "Report")]
    pub json: bool,

    /// Write a page for the browser to this file as well: all of it in pictures and tables
    #[arg(long, help_heading = "Report", value_name = "FILE")]
    pub html: Option<PathBuf>,

    /// Whether to follow requests.
    #[command(flatten)]
    pub requests: RequestArguments,

    /// What the report shows.
    #[command(flatten)]
    pub report: ReportArguments,
}

/// Whom to follow, for how long, and how.
#[derive(Debug, Args)]
pub struct Follow {
    /// Whom to follow.
    #[command(flatten)]
    pub target: TargetArguments,

    /// Only the processes named, not those they have created or will create
    #[arg(long)]
    pub no_children: bool,

    /// How long: 500ms, 10s, 2m, 1h [default: until Ctrl-C, or the end of the target]
    #[arg(short, long, value_parser = duration::parse, allow_hyphen_values = true)]
    pub duration: Option<Duration>,

    /// How the probes work.
    #[command(flatten)]
    pub probes: ProbeArguments,
}

/// Exactly one of these.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct TargetArguments {
    /// A process (repeatable), with its descendants, present and future
    #[arg(short, long, value_name = "PID", value_parser = clap::value_parser!(u32).range(1..))]
    pub pid: Vec<u32>,

    /// Every process of this name (at most 15 characters, as `ps -eo comm` prints it)
    #[arg(long, value_name = "NAME")]
    pub comm: Option<String>,

    /// Every process in this cgroup (v2) and below
    #[arg(long, value_name = "PATH")]
    pub cgroup: Option<PathBuf>,

    /// The whole host
    #[arg(short, long)]
    pub all: bool,

    /// A command to start, and to follow to its end; its output goes to stderr
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<std::ffi::OsString>,
}

/// What the report shows.
#[derive(Clone, Copy, Debug, Args)]
#[command(next_help_heading = "Report")]
pub struct ReportArguments {
    /// One row for each thread instead of one for like-named ones
    #[arg(long)]
    pub threads: bool,

    /// How many waits to print
    #[arg(long, value_name = "N", default_value_t = TOP)]
    pub top: usize,

    /// Print stacks in full
    #[arg(long)]
    pub full_stacks: bool,
}

/// Rows that are printed, unless asked for others.
const TOP: usize = 8;

impl Default for ReportArguments {
    fn default() -> Self {
        Self { threads: false, top: TOP, full_stacks: false }
    }
}

/// How the probes work.
#[derive(Clone, Copy, Debug, Args)]
#[command(next_help_heading = "Probes")]
pub struct ProbeArguments {
    /// Take no user stacks: cheaper still
    #[arg(long)]
    pub no_stacks: bool,

    /// Threads followed at the same time
    #[arg(long, value_name = "N", default_value_t = Limits::default().threads,
          value_parser = clap::value_parser!(u32).range(1..=4_194_304))]
    pub max_threads: u32,

    /// Different waits (thread, kind, object and stack)
    #[arg(long, value_name = "N", default_value_t = Limits::default().waits,
          value_parser = clap::value_parser!(u32).range(1..=4_194_304))]
    pub max_waits: u32,

    /// Different stacks
    #[arg(long, value_name = "N", default_value_t = Limits::default().stacks,
          value_parser = clap::value_parser!(u32).range(1..=4_194_304))]
    pub max_stacks: u32,

    /// Bytes of the ring buffer: a power of two, at least 4096
    #[arg(long, value_name = "BYTES", default_value_t = Limits::default().ring_bytes,
          value_parser = ring_bytes)]
    pub ring_bytes: u32,

    /// Use raw tracepoints even where typed ones are to be had
    #[arg(long, hide = true)]
    pub raw_tracepoints: bool,
}

impl ProbeArguments {
    /// The bounds asked for.
    pub fn limits(&self) -> Limits {
        Limits {
            threads: self.max_threads,
            waits: self.max_waits,
            stacks: self.max_stacks,
            ring_bytes: self.ring_bytes,
        }
    }
}

fn ring_bytes(text: &str) -> Result<u32, String> {
    match text.parse::<u32>() {
        Ok(bytes) if bytes.is_power_of_two() && (4096..=1 << 30).contains(&bytes) => Ok(bytes),
        _ => Err("give a power of two from 4096 to 1073741824".to_owned()),
    }
}

/// Options of `demo`.
#[derive(Debug, Args)]
pub struct Demo {
    /// How long to look
    #[arg(short, long, value_parser = duration::parse, default_value = "5s",
          allow_hyphen_values = true)]
    pub duration: Duration,

    /// Print one JSON document (schema dwell/1, see docs/json.md)
    #[arg(long)]
    pub json: bool,
}

/// Options of the processes of the demo.
#[derive(Debug, Args)]
pub struct DemoRole {
    /// Which of them.
    #[arg(value_enum)]
    pub role: Role,
    /// Port to serve on, or to connect to.
    #[arg(long, default_value_t = 0)]
    pub port: u16,
    /// Longest life.
    #[arg(long, value_parser = duration::parse)]
    pub life: Duration,
}

/// The processes of the demo.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub enum Role {
    /// Answers slowly.
    Downstream,
    /// Holds a lock across a call to the downstream.
    Server,
    /// Loads the server.
    Client,
}

/// Options of `doctor`.
#[derive(Debug, Args)]
pub struct Doctor {
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,

    /// For each program of the probes: the instructions that the verifier processed
    #[arg(long, hide = true, conflicts_with = "json")]
    pub programs: bool,
}
