//! What is measured: which loads, with which tools, how often, and how large.

use anyhow::Result;
use serde::Serialize;

use super::{
    load::{Load, Messaging, Pgbench, Pipe, RedisBenchmark, Switches, SysbenchThreads, Threads},
    tool::Tool,
};
use crate::installed::Program;

/// One question, with a table of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Scenario {
    /// `perf bench sched pipe` on one CPU: nothing but switches
    Pipe,
    /// `perf bench sched messaging` on all CPUs: hundreds of processes
    Messaging,
    /// `pgbench -S`, the server being watched
    PgbenchSelect,
    /// `pgbench -N`, the server being watched
    PgbenchWrite,
    /// `redis-benchmark`, the server being watched
    Redis,
    /// `sysbench threads`, which is watched itself
    SysbenchThreads,
    /// How the cost grows with the threads of the target
    Threads,
    /// How the cost grows with the switches of the host
    Switches,
    /// What a recording of a minute costs beyond attaching
    Record,
    /// How long a report takes, of ten minutes of 1,000 threads
    Report,
}

/// What a scenario's table shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// What each operation costs.
    Cost,
    /// What is lost of a server's throughput.
    Throughput,
    /// What following costs, for several sizes.
    Growth,
}

/// Whether the kernel counts the time in BPF. That itself takes time, for each run of a program:
/// what is counted is not timed, and the other way round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counting {
    /// The load is only timed.
    No,
    /// The load works twice.
    Also,
    /// The load is only counted.
    Only,
}

impl View {
    /// What to count in a round. Throughput takes its time, and time in BPF hardly differs from
    /// round to round, so there it is counted once.
    pub fn counting(self, round: u32) -> Counting {
        match self {
            Self::Cost => Counting::Also,
            Self::Throughput if round == 0 => Counting::Also,
            Self::Throughput => Counting::No,
            Self::Growth => Counting::Only,
        }
    }
}

/// How large the loads are.
#[derive(Clone, Copy)]
pub struct Size {
    /// The CPU for loads on one CPU.
    pub cpu: usize,
    /// Whether a rough answer will do.
    pub quick: bool,
    /// Operations of `perf bench sched pipe` in each run.
    pub operations: u32,
}

/// One load of a scenario.
pub struct Case {
    /// How the tables call it.
    pub label: String,
    /// Starts it, before any tool.
    pub start: Box<dyn Fn() -> Result<Box<dyn Load>>>,
}

/// Target threads from a handful to what a large server has.
const THREADS: [usize; 4] = [10, 100, 1_000, 10_000];
/// Switches a second from an idle server's to as many as the machine can do.
const SWITCHES: [Option<u64>; 4] = [Some(1_000), Some(10_000), Some(100_000), None];

impl Scenario {
    /// All of them, in the order in which they are measured.
    pub const ALL: [Self; 10] = [
        Self::Pipe,
        Self::Messaging,
        Self::PgbenchSelect,
        Self::PgbenchWrite,
        Self::Redis,
        Self::SysbenchThreads,
        Self::Threads,
        Self::Switches,
        Self::Record,
        Self::Report,
    ];

    /// Its name on the command line, in files and in the JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pipe => "pipe",
            Self::Messaging => "messaging",
            Self::PgbenchSelect => "pgbench-select",
            Self::PgbenchWrite => "pgbench-write",
            Self::Redis => "redis",
            Self::SysbenchThreads => "sysbench-threads",
            Self::Threads => "threads",
            Self::Switches => "switches",
            Self::Record => "record",
            Self::Report => "report",
        }
    }

    /// What the reader of its table has to know.
    pub fn explanation(self) -> &'static str {
        match self {
            Self::Pipe => {
                "`perf bench sched pipe` on one CPU, the whole host being watched. An operation is \
                 two context switches and nothing else: the worst case."
            }
            Self::Messaging => {
                "`perf bench sched messaging` on all CPUs, the whole host being watched. An \
                 operation is one message from one of many processes to another."
            }
            Self::PgbenchSelect => {
                "`pgbench -S`: 4 clients over TCP, server and clients on one CPU. offcputime and \
                 wakeuptime cannot follow several processes: they watch all user threads."
            }
            Self::PgbenchWrite => {
                "`pgbench -N`: as above, and each transaction waits for the disk."
            }
            Self::Redis => "`redis-benchmark -t set,get`: 8 clients, all on one CPU.",
            Self::SysbenchThreads => {
                "`sysbench threads`: 8 threads on one CPU that yield and contend for locks."
            }
            Self::Threads => {
                "A process of so many threads is watched; every tenth sleeps for 100 ms at a time, \
                 the others stay parked. An operation is a context switch of the host."
            }
            Self::Switches => {
                "Pairs of threads, one pair on each CPU, pass a token to and fro; the whole host \
                 is watched. An operation is a context switch of the host."
            }
            Self::Record => {
                "Pairs of threads pass a token to and fro for a minute, the whole host being \
                 watched. What is named meanwhile counts, and so does what is named at the end: \
                 `CPU in all`."
            }
            Self::Report => {
                "A process of so many threads is recorded for so long; every tenth sleeps for \
                 100 ms at a time. What counts is how long `dwell report` takes then."
            }
        }
    }

    /// What its table shows.
    pub fn view(self) -> View {
        match self {
            Self::Pipe | Self::Messaging => View::Cost,
            Self::PgbenchSelect | Self::PgbenchWrite | Self::Redis | Self::SysbenchThreads => {
                View::Throughput
            }
            Self::Threads | Self::Switches | Self::Record | Self::Report => View::Growth,
        }
    }

    /// Rounds, unless told otherwise; all scenarios together take some 35 minutes.
    pub fn rounds(self, quick: bool) -> u32 {
        match (self.view(), quick) {
            (View::Growth, true) => 1,
            _ if matches!(self, Self::Record | Self::Report) => 1,
            (View::Growth, false) | (_, true) => 2,
            (View::Cost | View::Throughput, false) => 5,
        }
    }

    /// The tools that have something to say about it.
    pub fn tools(self) -> &'static [Tool] {
        const THROUGHPUT: &[Tool] = &[
            Tool::None,
            Tool::Empty,
            Tool::Offcputime,
            Tool::Wakeuptime,
            Tool::Bpftrace,
            Tool::PerfSched,
            Tool::Dwell,
        ];
        const SERVED: &[Tool] = &[
            Tool::None,
            Tool::Empty,
            Tool::Offcputime,
            Tool::Wakeuptime,
            Tool::Bpftrace,
            Tool::PerfSched,
            Tool::Dwell,
            Tool::DwellRequests,
        ];
        // Not bpftrace: at 10,000 threads it names stacks for minutes after its end.
        const GROWTH: &[Tool] = &[Tool::Offcputime, Tool::Dwell];
        const RECORDING: &[Tool] = &[Tool::Dwell, Tool::DwellRecord];
        match self.view() {
            _ if self == Self::Record => RECORDING,
            _ if self == Self::Report => &[Tool::DwellRecord],
            View::Cost => &Tool::ALL,
            View::Throughput if self.serves() => SERVED,
            View::Throughput => THROUGHPUT,
            View::Growth => GROWTH,
        }
    }

    /// Whether its operations are requests to a server.
    pub fn serves(self) -> bool {
        matches!(self, Self::Redis | Self::PgbenchSelect)
    }

    /// The programs that its loads take.
    pub fn programs(self) -> &'static [Program] {
        match self {
            Self::Pipe | Self::Messaging => &[Program::Perf],
            Self::PgbenchSelect | Self::PgbenchWrite => &[
                Program::Postgresql("initdb", "postgresql"),
                Program::Postgresql("pgbench", "postgresql-contrib|postgresql"),
            ],
            Self::Redis => &[
                Program::Named("redis-server", "redis-server"),
                Program::Named("redis-benchmark", "redis-tools"),
            ],
            Self::SysbenchThreads => &[Program::Named("sysbench", "sysbench")],
            Self::Threads | Self::Switches | Self::Record | Self::Report => &[],
        }
    }

    /// Its loads.
    pub fn cases(self, size: Size) -> Vec<Case> {
        let Size { cpu, quick, operations } = size;
        let seconds = if quick { 1 } else { 2 };
        let name = self.name();
        match self {
            Self::Pipe => vec![Case::new(name, move || Ok(Pipe { cpu, operations }))],
            Self::Messaging => {
                let loops = if quick { 150 } else { 400 };
                vec![Case::new(name, move || Ok(Messaging { groups: 5, loops }))]
            }
            Self::PgbenchSelect => {
                vec![Case::new(name, move || Pgbench::start(cpu, seconds, "-S"))]
            }
            Self::PgbenchWrite => {
                vec![Case::new(name, move || Pgbench::start(cpu, seconds, "-N"))]
            }
            Self::Redis => {
                let requests = if quick { 50_000 } else { 150_000 };
                vec![Case::new(name, move || RedisBenchmark::start(cpu, requests))]
            }
            Self::SysbenchThreads => {
                vec![Case::new(name, move || Ok(SysbenchThreads { cpu, seconds, running: None }))]
            }
            Self::Threads => THREADS
                .into_iter()
                .map(|count| {
                    Case::new(format!("{count} threads"), move || {
                        Threads::start(count, 3 * seconds)
                    })
                })
                .collect(),
            Self::Switches => SWITCHES
                .into_iter()
                .map(|rate| {
                    let label = match rate {
                        Some(rate) => format!("{rate} switches/s"),
                        None => "as many as can be".to_owned(),
                    };
                    Case::new(label, move || Switches::start(rate, seconds))
                })
                .collect(),
            Self::Record => {
                let seconds = if quick { 10 } else { 60 };
                vec![Case::new("200000 switches/s", move || {
                    Switches::start(Some(200_000), seconds)
                })]
            }
            Self::Report => {
                let (label, seconds) =
                    if quick { ("1000 threads, 20 s", 20) } else { ("1000 threads, 10 min", 600) };
                vec![Case::new(label, move || Threads::start(1_000, seconds))]
            }
        }
    }
}

impl Case {
    fn new<L: Load + 'static>(
        label: impl Into<String>,
        start: impl Fn() -> Result<L> + 'static,
    ) -> Self {
        Self { label: label.into(), start: Box::new(move || Ok(Box::new(start()?))) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_command_line() {
        for scenario in Scenario::ALL {
            let value = clap::ValueEnum::to_possible_value(&scenario).unwrap();
            assert_eq!(value.get_name(), scenario.name());
        }
    }

    #[test]
    fn every_scenario_measures_dwell_and_has_a_load() {
        for scenario in Scenario::ALL {
            assert!(scenario.tools().iter().any(|tool| tool.is_dwell()));
            let size = Size { cpu: 0, quick: true, operations: 1000 };
            assert!(!scenario.cases(size).is_empty());
        }
    }
}
