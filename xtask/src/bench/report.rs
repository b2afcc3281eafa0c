//! From runs to a table and a verdict.

use std::fmt;

use serde::Serialize;

use super::{pipe::Pipe, tool::Tool};

/// One run of the benchmark.
#[derive(Clone, Serialize)]
pub struct Run {
    /// What was attached.
    pub tool: Tool,
    /// The round it belongs to, from 0.
    pub round: u32,
    /// Nanoseconds in BPF programs for each operation.
    pub bpf_ns: f64,
    /// BPF programs run for each operation.
    pub bpf_runs: f64,
    /// Microseconds for each operation.
    pub micros: f64,
}

impl fmt::Display for Run {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        let Self { tool, bpf_ns, micros, .. } = self;
        write!(formatter, "{}: {bpf_ns:.0} ns in BPF, {micros:.2} µs an operation", tool.name())
    }
}

/// Everything that was measured. Written as JSON as it is.
#[derive(Serialize)]
pub struct Report {
    schema: &'static str,
    kernel: String,
    #[serde(flatten)]
    pipe: Pipe,
    rounds: u32,
    tools: Vec<Summary>,
    runs: Vec<Run>,
}

/// One tool over all rounds.
#[derive(Serialize)]
struct Summary {
    tool: Tool,
    bpf_ns: Spread,
    bpf_runs: Spread,
    micros: Spread,
    /// Time of an operation relative to `none` in the same round.
    slowdown: Spread,
    /// Time in BPF relative to offcputime in the same round.
    ratio: Option<Spread>,
    /// What the median of `ratio` may be at most.
    bar: Option<f64>,
    passed: Option<bool>,
}

/// The median of several values, and how far they lie apart.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
struct Spread {
    median: f64,
    least: f64,
    most: f64,
}

impl Spread {
    /// Nothing for no values.
    fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let (least, most) = (*values.first()?, *values.last()?);
        let half = values.len() / 2;
        let median = match values.len() % 2 {
            1 => values[half],
            _ => f64::midpoint(values[half - 1], values[half]),
        };
        Some(Self { median, least, most })
    }
}

impl Report {
    /// Sums the runs up.
    pub fn new(pipe: Pipe, rounds: u32, kernel: String, tools: &[Tool], runs: Vec<Run>) -> Self {
        let tools = tools.iter().filter_map(|tool| Summary::new(*tool, &runs)).collect();
        Self { schema: "dwell-bench/1", kernel, pipe, rounds, tools, runs }
    }

    /// The names of the tools that cost more than they may.
    pub fn missed(&self) -> Vec<&'static str> {
        let missed = self.tools.iter().filter(|summary| summary.passed == Some(false));
        missed.map(|summary| summary.tool.name()).collect()
    }

    /// The table for people.
    pub fn markdown(&self) -> String {
        let Self { kernel, pipe, rounds, .. } = self;
        let mut text = format!(
            "`perf bench sched pipe -l {}` on CPU {} of Linux {kernel}: median of {rounds} rounds \
             (least to most). An operation is two context switches.\n\n\
             | attached | ns in BPF an operation | BPF runs | µs an operation | slowdown | \
             of offcputime | bar |\n\
             |---|--:|--:|--:|--:|--:|--:|\n",
            pipe.operations, pipe.cpu
        );
        for summary in &self.tools {
            text += &summary.row();
        }
        text
    }
}

impl Summary {
    fn new(tool: Tool, runs: &[Run]) -> Option<Self> {
        let all = |value: fn(&Run) -> f64| {
            Spread::of(runs.iter().filter(|run| run.tool == tool).map(value).collect())
        };
        let ratio = match tool {
            Tool::None => None,
            _ => Spread::of(relative(runs, tool, Tool::Offcputime, |run| run.bpf_ns)),
        };
        let bar = tool.bar();
        Some(Self {
            tool,
            bpf_ns: all(|run| run.bpf_ns)?,
            bpf_runs: all(|run| run.bpf_runs)?,
            micros: all(|run| run.micros)?,
            slowdown: Spread::of(relative(runs, tool, Tool::None, |run| run.micros))?,
            ratio,
            bar,
            passed: bar.zip(ratio).map(|(bar, ratio)| ratio.median <= bar),
        })
    }

    fn row(&self) -> String {
        let Self { tool, bpf_ns, bpf_runs, micros, slowdown, ratio, bar, passed } = self;
        let bar = match (bar, passed) {
            (Some(bar), Some(true)) => format!("≤ {bar:.2}: passed"),
            (Some(bar), Some(false)) => format!("≤ {bar:.2}: **missed**"),
            (Some(bar), None) => format!("≤ {bar:.2}: not compared"),
            (None, _) => String::new(),
        };
        let ratio = ratio.as_ref().map_or(String::new(), |ratio| range(ratio, 3));
        format!(
            "| {} | {} | {:.1} | {} | {} | {ratio} | {bar} |\n",
            tool.name(),
            range(bpf_ns, 0),
            bpf_runs.median,
            range(micros, 2),
            range(slowdown, 2),
        )
    }
}

/// The values of one tool divided by those of another in the same round.
fn relative(runs: &[Run], tool: Tool, base: Tool, value: fn(&Run) -> f64) -> Vec<f64> {
    let of_tool = runs.iter().filter(|run| run.tool == tool);
    of_tool
        .filter_map(|run| {
            let base = runs.iter().find(|other| other.tool == base && other.round == run.round)?;
            (value(base) > 0.0).then(|| value(run) / value(base))
        })
        .collect()
}

fn range(spread: &Spread, digits: usize) -> String {
    let Spread { median, least, most } = spread;
    format!("{median:.digits$} ({least:.digits$}–{most:.digits$})")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(tool: Tool, round: u32, bpf_ns: f64, micros: f64) -> Run {
        Run { tool, round, bpf_ns, bpf_runs: 4.0, micros }
    }

    fn report(host: f64) -> Report {
        let mut runs = Vec::new();
        for (round, speed) in [(0, 1.0), (1, 2.0), (2, 1.0)] {
            runs.push(run(Tool::None, round, 0.0, 5.0 * speed));
            runs.push(run(Tool::Offcputime, round, 10_000.0 * speed, 15.0 * speed));
            runs.push(run(Tool::DwellHost, round, host * speed, 7.5 * speed));
        }
        let pipe = Pipe { cpu: 1, operations: 1000 };
        Report::new(pipe, 3, "6.18".to_owned(), &Tool::ALL, runs)
    }

    #[test]
    fn the_middle_one_or_two_make_the_median() {
        let odd = Spread::of(vec![3.0, 1.0, 2.0]);
        assert_eq!(odd, Some(Spread { median: 2.0, least: 1.0, most: 3.0 }));
        assert_eq!(Spread::of(vec![4.0, 1.0, 2.0, 3.0]).map(|spread| spread.median), Some(2.5));
        assert_eq!(Spread::of(vec![]), None);
    }

    #[test]
    fn a_round_on_a_slower_machine_changes_no_ratio() {
        let report = report(3000.0);
        let host = &report.tools[2];
        assert_eq!(host.slowdown, Spread { median: 1.5, least: 1.5, most: 1.5 });
        assert_eq!(host.ratio, Some(Spread { median: 0.3, least: 0.3, most: 0.3 }));
        assert_eq!((host.passed, report.missed()), (Some(true), vec![]));
    }

    #[test]
    fn a_missed_bar_is_named() {
        let report = report(5000.0);
        assert_eq!(report.missed(), ["dwell, whole host"]);
        let table = report.markdown();
        assert!(table.contains("| dwell, whole host | 5000 (5000–10000) | 4.0 |"), "{table}");
        assert!(table.contains("0.500 (0.500–0.500) | ≤ 0.40: **missed** |"), "{table}");
    }

    #[test]
    fn tools_that_were_not_measured_have_no_row() {
        assert!(!report(1.0).markdown().contains("another process"));
    }

    #[test]
    fn without_offcputime_there_is_no_verdict() {
        let pipe = Pipe { cpu: 0, operations: 1000 };
        let runs = vec![run(Tool::None, 0, 0.0, 5.0), run(Tool::DwellHost, 0, 9e9, 9.0)];
        let report = Report::new(pipe, 1, String::new(), &Tool::ALL, runs);
        assert!(report.missed().is_empty());
        assert!(report.markdown().contains("≤ 0.40: not compared"));
    }
}
