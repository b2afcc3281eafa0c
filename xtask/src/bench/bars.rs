//! What dwell may cost at most. All bars are here.

use serde::Serialize;

use super::{
    scenario::{Scenario, View},
    summary::{Figures, Summary},
    tool::Tool,
};

/// One bar, and where dwell is.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Bar {
    /// What is held against it.
    pub what: String,
    /// The figure; `None` where it could not be had.
    pub value: Option<f64>,
    /// The most that it may be.
    pub at_most: f64,
    /// How it came out.
    pub verdict: Verdict,
}

/// How a bar came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// At or below.
    Passed,
    /// Above.
    Missed,
    /// There was nothing to compare with.
    NotCompared,
}

/// Times in BPF on the whole host, relative to offcputime's.
const PIPE_BPF: f64 = 0.18;
/// The same while another process is the target.
const PIPE_BPF_OTHER: f64 = 0.05;
/// What dwell adds to an operation, relative to what offcputime adds.
const PIPE_ADDED: f64 = 0.25;
/// Lost throughput.
const LOSS: f64 = 0.05;
/// The same, relative to the smallest loss among the peers with stacks.
const LOSS_OF_PEERS: f64 = 0.25;
/// Time in BPF for each request, in nanoseconds: probes on both ends of it where both are on this host.
const REQUEST_NS: f64 = 1_200.0;
/// Lost throughput of what dwell without requests leaves.
const REQUEST_LOSS: f64 = 0.04;
/// Share of one CPU that the collector takes at 1,000 threads.
const COLLECTOR_CPU: f64 = 0.02;
const COLLECTOR_CPU_AT: &str = "1000 threads";
/// Resident memory at 10,000 threads, the report included.
const MEBIBYTE: f64 = 1024.0 * 1024.0;
const RSS_MIB: f64 = 64.0;
const RSS_AT: &str = "10000 threads";
/// Seconds that a report of ten minutes of 1,000 threads takes.
const REPORT_SECONDS: f64 = 1.0;
/// Share of one CPU that recording takes beyond attaching.
const RECORD_CPU: f64 = 0.03;

/// The bars of a scenario, of which only some of the loads may have been measured.
pub fn of(scenario: Scenario, loads: &[Summary]) -> Vec<Bar> {
    let first = loads.first();
    let dwell = first.and_then(|load| load.of(Tool::Dwell));
    match scenario {
        Scenario::Pipe => {
            let other = first.and_then(|load| load.of(Tool::DwellOther));
            let bpf = |figures: &Figures| Some(figures.bpf_of_offcputime?.median);
            vec![
                Bar::new("dwell: ns in BPF, of offcputime's", dwell.and_then(bpf), PIPE_BPF),
                Bar::new(
                    "dwell: time added to an operation, of offcputime's",
                    dwell.and_then(|figures| Some(figures.added_of_offcputime?.median)),
                    PIPE_ADDED,
                ),
                Bar::new(
                    "dwell, another process: ns in BPF, of offcputime's",
                    other.and_then(bpf),
                    PIPE_BPF_OTHER,
                ),
            ]
        }
        Scenario::Messaging => Vec::new(),
        Scenario::Threads => {
            let at = |label: &str, value: fn(&Figures) -> f64| {
                let load = loads.iter().find(|load| load.label == label)?;
                load.of(Tool::Dwell).map(value)
            };
            vec![
                Bar::new(
                    format!("dwell: share of one CPU that the collector takes, {COLLECTOR_CPU_AT}"),
                    at(COLLECTOR_CPU_AT, |figures| figures.cpu_share.median),
                    COLLECTOR_CPU,
                ),
                Bar::new(
                    format!("dwell: peak RSS in MiB, report included, {RSS_AT}"),
                    at(RSS_AT, |figures| figures.peak_rss.median / MEBIBYTE),
                    RSS_MIB,
                ),
            ]
        }
        Scenario::Switches => {
            vec![Bar::new(
                "dwell: events lost, at all rates together",
                lost_events(loads, Tool::Dwell),
                0.0,
            )]
        }
        Scenario::Record => {
            let record = first.and_then(|load| load.of(Tool::DwellRecord));
            vec![
                Bar::new("dwell record: events lost", lost_events(loads, Tool::DwellRecord), 0.0),
                Bar::new(
                    "dwell record: share of one CPU beyond attach",
                    record.and_then(|figures| Some(figures.cpu_beyond_dwell?.median)),
                    RECORD_CPU,
                ),
            ]
        }
        Scenario::Report => {
            let record = first.and_then(|load| load.of(Tool::DwellRecord));
            vec![Bar::new(
                "dwell report: seconds",
                record.and_then(|figures| Some(figures.report_seconds?.median)),
                REPORT_SECONDS,
            )]
        }
        _ => {
            debug_assert_eq!(scenario.view(), View::Throughput);
            let loss = |figures: &Figures| Some(figures.loss?.median);
            let own = dwell.and_then(loss);
            let mut bars = vec![
                Bar::new("dwell: lost throughput", own, LOSS),
                Bar::new(
                    "dwell: lost throughput, of the smallest loss of a peer with stacks",
                    own.zip(first.and_then(smallest_loss)).map(|(own, peer)| own / peer),
                    LOSS_OF_PEERS,
                ),
            ];
            if scenario.serves() {
                let requests = first.and_then(|load| load.of(Tool::DwellRequests));
                bars.push(Bar::new(
                    "dwell, with requests: ns in BPF more, each request",
                    requests.and_then(|figures| Some(figures.bpf_beyond_dwell?.median)),
                    REQUEST_NS,
                ));
                bars.push(Bar::new(
                    "dwell, with requests: lost throughput, of what dwell without leaves",
                    requests.and_then(|figures| Some(figures.loss_beyond_dwell?.median)),
                    REQUEST_LOSS,
                ));
            }
            bars
        }
    }
}

fn lost_events(loads: &[Summary], tool: Tool) -> Option<f64> {
    let lost = loads.iter().filter_map(|load| load.of(tool)?.lost);
    lost.map(|lost| lost.events as f64).reduce(|a, b| a + b)
}

/// Among the peers with user stacks; `None` where a peer loses nothing that can be told from
/// noise: then there is nothing to be a quarter of.
fn smallest_loss(load: &Summary) -> Option<f64> {
    let peers = load.tools.iter().filter(|figures| figures.tool.is_peer_with_stacks());
    let losses: Vec<f64> = peers.filter_map(|figures| Some(figures.loss?.median)).collect();
    losses.into_iter().reduce(f64::min).filter(|loss| *loss > 0.0)
}

impl Bar {
    fn new(what: impl Into<String>, value: Option<f64>, at_most: f64) -> Self {
        let verdict = match value {
            None => Verdict::NotCompared,
            Some(value) if value <= at_most => Verdict::Passed,
            Some(_) => Verdict::Missed,
        };
        Self { what: what.into(), value, at_most, verdict }
    }

    /// A line for people.
    pub fn show(&self) -> String {
        let Self { what, value, at_most, verdict } = self;
        let verdict = match verdict {
            Verdict::Passed => "passed",
            Verdict::Missed => "**missed**",
            Verdict::NotCompared => "not compared",
        };
        let value = value.map_or("no figure".to_owned(), |value| format!("{value:.3}"));
        format!("{what}: {value}, at most {at_most}: {verdict}")
    }
}

#[cfg(test)]
mod tests {
    use super::{super::summary::fixture::summary, *};

    #[test]
    fn a_missed_bar_is_named() {
        let load = summary(&[
            (Tool::None, 0, 5.0),
            (Tool::Offcputime, 10_000, 15.0),
            (Tool::Dwell, 2_000, 7.0),
            (Tool::DwellOther, 400, 5.0),
        ]);
        let bars = of(Scenario::Pipe, &[load]);
        let verdicts: Vec<Verdict> = bars.iter().map(|bar| bar.verdict).collect();
        assert_eq!(verdicts, [Verdict::Missed, Verdict::Passed, Verdict::Passed]);
        assert_eq!(
            bars[0].show(),
            "dwell: ns in BPF, of offcputime's: 0.200, at most 0.18: **missed**"
        );
    }

    #[test]
    fn without_a_peer_there_is_no_verdict() {
        let load = summary(&[(Tool::None, 0, 5.0), (Tool::Dwell, 9_000, 9.0)]);
        let bars = of(Scenario::Pipe, &[load]);
        assert!(bars.iter().all(|bar| bar.verdict == Verdict::NotCompared));
        assert!(bars[0].show().contains("no figure, at most 0.18: not compared"));
    }

    #[test]
    fn a_loss_is_held_against_that_of_the_cheapest_peer_with_stacks() {
        let load = summary(&[
            (Tool::None, 0, 8.0),
            (Tool::PerfSched, 0, 8.0),
            (Tool::Offcputime, 1, 16.0),
            (Tool::Bpftrace, 1, 10.0),
            (Tool::Dwell, 1, 8.0),
        ]);
        let bars = of(Scenario::Redis, &[load]);
        assert_eq!((bars[0].value, bars[1].value), (Some(0.0), Some(0.0)));
        let noise =
            summary(&[(Tool::None, 0, 8.0), (Tool::Offcputime, 1, 7.0), (Tool::Dwell, 1, 9.0)]);
        let bars = of(Scenario::Redis, &[noise]);
        assert_eq!(bars[1].verdict, Verdict::NotCompared);
        assert_eq!(bars[0].verdict, Verdict::Missed);
    }

    #[test]
    fn one_lost_event_is_one_too_many() {
        let mut load = summary(&[(Tool::Dwell, 1, 1.0)]);
        assert_eq!(of(Scenario::Switches, &[load])[0].verdict, Verdict::Passed);
        load = summary(&[(Tool::Dwell, 1, 1.0)]);
        load.tools[0].lost.as_mut().unwrap().events = 1;
        assert_eq!(of(Scenario::Switches, &[load])[0].verdict, Verdict::Missed);
    }
}
