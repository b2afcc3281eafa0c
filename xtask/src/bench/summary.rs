//! From the runs of one load to figures for each tool.

use serde::Serialize;

use super::{
    attached::Lost,
    engine::{Absent, InBpf, Measured, Run},
    statistics::Spread,
    tool::Tool,
};

/// One load: what each tool cost.
#[derive(Serialize)]
pub struct Summary {
    /// How the tables call the load.
    pub label: String,
    /// The tools that were measured.
    pub tools: Vec<Figures>,
    /// Those that could not be.
    pub absent: Vec<Absent>,
    /// What it all comes from.
    pub runs: Vec<Run>,
}

/// One tool over all rounds. Ratios are formed within a round.
#[derive(Serialize)]
pub struct Figures {
    /// Which.
    pub tool: Tool,
    /// Nanoseconds in BPF for each operation.
    pub bpf_ns: Option<Spread>,
    /// The same, relative to offcputime's.
    pub bpf_of_offcputime: Option<Spread>,
    /// BPF programs run for each operation.
    pub bpf_runs: Option<Spread>,
    /// Share of one CPU in BPF.
    pub bpf_share: Option<Spread>,
    /// Microseconds for each operation.
    pub micros: Spread,
    /// Operations a second.
    pub rate: Spread,
    /// Time of an operation, relative to that without a tool.
    pub slowdown: Option<Spread>,
    /// What it adds to an operation, relative to what offcputime adds.
    pub added_of_offcputime: Option<Spread>,
    /// Share of the throughput that is lost.
    pub loss: Option<Spread>,
    /// Nanoseconds in BPF that it takes more for each operation than dwell without requests.
    pub bpf_beyond_dwell: Option<Spread>,
    /// Share of the throughput that it loses of what dwell without requests leaves.
    pub loss_beyond_dwell: Option<Spread>,
    /// Share of one CPU that its own process takes while it is attached.
    pub cpu_share: Spread,
    /// Share of one CPU that it takes more than dwell without requests, start and end included.
    pub cpu_beyond_dwell: Option<Spread>,
    /// Nanoseconds on a CPU from its start to its end.
    pub total_cpu_ns: Spread,
    /// Memory resident while it is attached, in bytes.
    pub attached_rss: Spread,
    /// Most memory resident, attaching and the report included, in bytes.
    pub peak_rss: Spread,
    /// BPF maps in the kernel, in bytes.
    pub map_bytes: Spread,
    /// Bytes written.
    pub written: Spread,
    /// Seconds that a report from its recording takes.
    pub report_seconds: Option<Spread>,
    /// What dwell says it has lost, over all rounds.
    pub lost: Option<Lost>,
}

impl Summary {
    /// Sums the runs of a load up.
    pub fn new(label: String, measured: Measured) -> Self {
        let Measured { runs, absent } = measured;
        let tools = Tool::ALL.iter().filter_map(|tool| Figures::new(*tool, &runs)).collect();
        Self { label, tools, absent, runs }
    }

    /// The figures of one tool, if it was measured.
    pub fn of(&self, tool: Tool) -> Option<&Figures> {
        self.tools.iter().find(|figures| figures.tool == tool)
    }
}

impl Figures {
    fn new(tool: Tool, runs: &[Run]) -> Option<Self> {
        let own = || runs.iter().filter(|run| run.tool == tool);
        let all = |value: fn(&Run) -> f64| Spread::of(own().map(value));
        let in_bpf = |value: fn(&InBpf) -> f64| {
            Spread::of(
                own().filter_map(|run| run.bpf.as_ref().filter(|bpf| bpf.runs > 0)).map(value),
            )
        };
        // In the same round, as far as there is such a run.
        let other = |run: &Run, tool: Tool| {
            runs.iter().find(|other| other.tool == tool && other.round == run.round)
        };
        let compared = tool != Tool::None;
        let against = |base: Tool, value: fn(&Run, &Run) -> Option<f64>| {
            let values = own().filter_map(|run| value(run, other(run, base)?));
            compared.then(|| Spread::of(values)).flatten()
        };
        let added = own().filter_map(|run| {
            let none = other(run, Tool::None)?.micros_each();
            let peer = other(run, Tool::Offcputime)?.micros_each() - none;
            (peer > 0.0).then(|| (run.micros_each() - none) / peer)
        });
        Some(Self {
            tool,
            bpf_ns: in_bpf(InBpf::ns_each),
            bpf_of_offcputime: against(Tool::Offcputime, |run, peer| {
                let (own, peer) = (run.bpf?, peer.bpf?);
                (own.ns > 0 && peer.ns > 0).then(|| own.ns_each() / peer.ns_each())
            }),
            bpf_runs: in_bpf(InBpf::runs_each),
            bpf_share: in_bpf(InBpf::share),
            micros: all(Run::micros_each)?,
            rate: all(Run::rate)?,
            slowdown: against(Tool::None, |run, none| Some(run.micros_each() / none.micros_each())),
            added_of_offcputime: if compared { Spread::of(added) } else { None },
            loss: against(Tool::None, |run, none| Some(1.0 - run.rate() / none.rate())),
            bpf_beyond_dwell: against(Tool::Dwell, |run, dwell| {
                Some(run.bpf?.ns_each() - dwell.bpf?.ns_each())
            }),
            loss_beyond_dwell: against(Tool::Dwell, |run, dwell| {
                Some(1.0 - run.rate() / dwell.rate())
            }),
            cpu_share: all(Run::cpu_share)?,
            cpu_beyond_dwell: against(Tool::Dwell, |run, dwell| {
                Some(run.total_cpu_share() - dwell.total_cpu_share())
            }),
            total_cpu_ns: all(|run| run.bill.total_cpu_ns as f64)?,
            attached_rss: all(|run| run.bill.attached_rss as f64)?,
            peak_rss: all(|run| run.bill.peak_rss as f64)?,
            map_bytes: all(|run| run.bill.map_bytes as f64)?,
            written: all(|run| run.bill.written as f64)?,
            report_seconds: Spread::of(
                own().filter_map(|run| run.bill.report_ns).map(|ns| ns as f64 / 1e9),
            ),
            lost: own().filter_map(|run| run.bill.lost).reduce(|a, b| Lost {
                events: a.events + b.events,
                stacks: a.stacks + b.stacks,
                keys: a.keys + b.keys,
            }),
        })
    }
}

/// Runs as tests want them.
#[cfg(test)]
pub mod fixture {
    use super::{
        super::{attached::Bill, load::Work},
        *,
    };

    /// A run of 1,000 operations.
    pub fn run(tool: Tool, round: u32, bpf_ns_each: u64, micros_each: f64) -> Run {
        let work = Work { operations: 1000.0, seconds: micros_each / 1000.0 };
        let lost = tool.is_dwell().then(Lost::default);
        Run {
            tool,
            round,
            work,
            bpf: Some(InBpf { work, ns: bpf_ns_each * 1000, runs: 4000 }),
            cpu_ns: 0,
            bill: Bill { lost, ..Bill::default() },
        }
    }

    /// Three rounds, the second on a machine of half the speed.
    pub fn summary(runs: &[(Tool, u64, f64)]) -> Summary {
        let mut all = Vec::new();
        for (round, speed) in [(0, 1), (1, 2), (2, 1)] {
            for (tool, bpf_ns, micros) in runs {
                all.push(run(*tool, round, bpf_ns * speed, micros * speed as f64));
            }
        }
        Summary::new("load".to_owned(), Measured { runs: all, absent: Vec::new() })
    }
}

#[cfg(test)]
mod tests {
    use super::{fixture::summary, *};

    fn same(value: f64) -> Option<Spread> {
        Some(Spread { median: value, least: value, most: value })
    }

    #[test]
    fn a_round_on_a_slower_machine_changes_no_ratio() {
        let summary = summary(&[
            (Tool::None, 0, 5.0),
            (Tool::Offcputime, 10_000, 15.0),
            (Tool::Dwell, 3_000, 7.5),
        ]);
        let dwell = summary.of(Tool::Dwell).unwrap();
        assert_eq!(dwell.slowdown, same(1.5));
        assert_eq!(dwell.bpf_of_offcputime, same(0.3));
        assert_eq!(dwell.added_of_offcputime, same(0.25));
        assert!((dwell.loss.unwrap().median - 1.0 / 3.0).abs() < 1e-9);
        assert_eq!(dwell.bpf_ns.unwrap().most, 6_000.0);
    }

    #[test]
    fn nothing_is_compared_with_what_was_not_measured() {
        let summary = summary(&[(Tool::Dwell, 3_000, 7.5)]);
        let dwell = summary.of(Tool::Dwell).unwrap();
        assert_eq!((dwell.slowdown, dwell.bpf_of_offcputime, dwell.loss), (None, None, None));
        assert!(summary.of(Tool::Offcputime).is_none());
    }
}
