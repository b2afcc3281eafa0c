//! Tables for people, and one document for programs.

use std::fmt::Write as _;

use serde::Serialize;

use super::{
    bars::{self, Bar, Verdict},
    scenario::{Scenario, View},
    statistics::Spread,
    summary::{Figures, Summary},
};

/// Everything that was measured. Written as JSON as it is.
#[derive(Serialize)]
pub struct Report {
    schema: &'static str,
    kernel: String,
    cpus: usize,
    scenarios: Vec<Section>,
}

/// One scenario.
#[derive(Serialize)]
pub struct Section {
    name: Scenario,
    rounds: u32,
    loads: Vec<Summary>,
    bars: Vec<Bar>,
}

impl Report {
    /// Puts the sections together.
    pub fn new(kernel: String, cpus: usize, scenarios: Vec<Section>) -> Self {
        Self { schema: "dwell-bench/2", kernel, cpus, scenarios }
    }

    /// What dwell costs more than it may, with the scenario's name.
    pub fn missed(&self) -> Vec<String> {
        let missed = |section: &Section| {
            let bars = section.bars.iter().filter(|bar| bar.verdict == Verdict::Missed);
            let name = section.name.name();
            bars.map(move |bar| format!("{name}: {}", bar.what)).collect::<Vec<_>>()
        };
        self.scenarios.iter().flat_map(missed).collect()
    }

    /// All tables.
    pub fn markdown(&self) -> String {
        let Self { kernel, cpus, .. } = self;
        let mut text = format!(
            "Linux {kernel}, {cpus} CPUs. Medians over the rounds, with the least and the most; \
             ratios are formed within a round. RSS (attached → peak, the report included) and maps in MiB.\n"
        );
        for section in &self.scenarios {
            text += "\n";
            text += &section.markdown();
        }
        text
    }
}

impl Section {
    /// Holds what was measured against the bars.
    pub fn new(name: Scenario, rounds: u32, loads: Vec<Summary>) -> Self {
        let bars = bars::of(name, &loads);
        Self { name, rounds, loads, bars }
    }

    /// Its table and its bars.
    pub fn markdown(&self) -> String {
        let Self { name, rounds, loads, bars } = self;
        let mut text = format!("## {}\n\n{}", name.name(), name.explanation());
        let plural = if *rounds == 1 { "" } else { "s" };
        let _infallible = writeln!(text, " {rounds} round{plural}.\n");
        let columns = columns(name.view());
        let titles: Vec<&str> = columns.iter().map(|(title, _)| *title).collect();
        text += &row(&titles);
        let is_text = |title: &str| title == TOOL.0 || title == LOAD.0;
        text += &row(titles.iter().map(|title| if is_text(title) { "---" } else { "--:" }));
        for load in loads {
            for figures in &load.tools {
                text += &row(columns.iter().map(|(_, cell)| cell(load, figures)));
            }
        }
        for load in loads {
            for absent in &load.absent {
                let (tool, reason) = (absent.tool.name(), first_line(&absent.reason));
                let label = &load.label;
                let _infallible =
                    write!(text, "\n- {tool} could not be measured, {label}: {reason}");
            }
        }
        for bar in bars {
            let _infallible = write!(text, "\n- {}", bar.show());
        }
        if !text.ends_with("|\n") {
            text += "\n";
        }
        text
    }
}

type Column = (&'static str, fn(&Summary, &Figures) -> String);

const TOOL: Column = ("attached", |_, figures| figures.tool.name().to_owned());
const LOAD: Column = ("load", |load, _| load.label.clone());
const BPF: Column = ("ns in BPF an operation", |_, figures| optional(figures.bpf_ns, 0));
const OF_OFFCPUTIME: Column =
    ("of offcputime", |_, figures| optional(figures.bpf_of_offcputime, 3));
/// Empty for what has no process of its own.
const RESOURCES: [Column; 4] = [
    ("own CPU", |_, figures| own(figures, percent(figures.cpu_share))),
    ("RSS", |_, figures| {
        let (attached, peak) = (mebi(figures.attached_rss), mebi(figures.peak_rss));
        own(figures, format!("{attached:.0} → {peak:.0}"))
    }),
    ("maps", |_, figures| own(figures, format!("{:.1}", mebi(figures.map_bytes)))),
    ("written", |_, figures| own(figures, bytes(figures.written.median))),
];

fn own(figures: &Figures, cell: String) -> String {
    if figures.peak_rss.most > 0.0 { cell } else { String::new() }
}

fn columns(view: View) -> Vec<Column> {
    let own: &[Column] = match view {
        View::Cost => &[
            TOOL,
            BPF,
            OF_OFFCPUTIME,
            ("BPF runs", |_, figures| {
                figures.bpf_runs.map_or(String::new(), |runs| format!("{:.1}", runs.median))
            }),
            ("µs an operation", |_, figures| figures.micros.show(2)),
            ("slowdown", |_, figures| optional(figures.slowdown, 2)),
            ("added, of offcputime", |_, figures| optional(figures.added_of_offcputime, 2)),
        ],
        View::Throughput => &[
            TOOL,
            ("operations/s", |_, figures| figures.rate.show(0)),
            ("loss", |_, figures| figures.loss.map_or(String::new(), percent)),
            BPF,
            OF_OFFCPUTIME,
        ],
        View::Growth => &[
            LOAD,
            TOOL,
            ("switches/s", |_, figures| figures.rate.show(0)),
            ("ns in BPF a switch", |_, figures| optional(figures.bpf_ns, 0)),
            ("of a CPU in BPF", |_, figures| figures.bpf_share.map_or(String::new(), percent)),
            ("lost events", |_, figures| {
                figures.lost.map_or(String::new(), |lost| lost.events.to_string())
            }),
            ("CPU in all, s", |_, figures| format!("{:.2}", figures.total_cpu_ns.median / 1e9)),
        ],
    };
    own.iter().chain(&RESOURCES).copied().collect()
}

fn row<T: AsRef<str>>(cells: impl IntoIterator<Item = T>) -> String {
    let cells: Vec<T> = cells.into_iter().collect();
    let cells: Vec<&str> = cells.iter().map(AsRef::as_ref).collect();
    format!("| {} |\n", cells.join(" | "))
}

fn optional(spread: Option<Spread>, digits: usize) -> String {
    spread.map_or(String::new(), |spread| spread.show(digits))
}

fn percent(spread: Spread) -> String {
    let Spread { median, least, most } = spread;
    let show = |share: f64| format!("{:.1}", 100.0 * share);
    format!("{} % ({}–{})", show(median), show(least), show(most))
}

fn mebi(spread: Spread) -> f64 {
    spread.median / (1024.0 * 1024.0)
}

fn bytes(count: f64) -> String {
    match count {
        ..1e3 => format!("{count:.0} B"),
        ..1e6 => format!("{:.0} kB", count / 1e3),
        _ => format!("{:.1} MB", count / 1e6),
    }
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{
        super::{engine::Absent, summary::fixture::summary, tool::Tool},
        *,
    };

    fn section() -> Section {
        let mut load = summary(&[
            (Tool::None, 0, 5.0),
            (Tool::Offcputime, 10_000, 15.0),
            (Tool::Dwell, 5_000, 7.5),
        ]);
        let reason = "no tracefs\nand more".to_owned();
        load.absent.push(Absent { tool: Tool::PerfSched, reason });
        Section::new(Scenario::Pipe, 3, vec![load])
    }

    #[test]
    fn a_table_has_a_row_for_each_tool_that_was_measured() {
        let text = section().markdown();
        assert!(
            text.contains("| dwell | 5000 (5000–10000) | 0.500 (0.500–0.500) | 4.0 |"),
            "{text}"
        );
        assert!(text.contains("1.50 (1.50–1.50) | 0.25 (0.25–0.25) |"), "{text}");
        assert!(!text.contains("| dwell, another process"), "{text}");
    }

    #[test]
    fn who_could_not_be_measured_is_named() {
        let text = section().markdown();
        assert!(
            text.contains("- perf sched record could not be measured, load: no tracefs\n"),
            "{text}"
        );
    }

    #[test]
    fn missed_bars_are_named_with_their_scenario() {
        let report = Report::new("6.18".to_owned(), 2, vec![section()]);
        assert_eq!(report.missed(), ["pipe: dwell: ns in BPF, of offcputime's"]);
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["scenarios"][0]["name"], "pipe");
        assert_eq!(json["scenarios"][0]["bars"][0]["verdict"], "missed");
        assert_eq!(json["scenarios"][0]["loads"][0]["runs"].as_array().unwrap().len(), 9);
    }

    #[test]
    fn bytes_have_units() {
        assert_eq!((bytes(7.0), bytes(7e3)), ("7 B".to_owned(), "7 kB".to_owned()));
        assert_eq!(bytes(7.25e6), "7.2 MB");
    }
}
