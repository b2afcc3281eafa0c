//! Options of recordings: making them, and reports of them.

use std::path::PathBuf;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{Args, ValueEnum};

use super::{Follow, GraphFormat, LocksBy, ReportArguments, RequestArguments};
use crate::analyze::Threshold;
use crate::cli::duration;

const RECORD_EXAMPLES: &str = "\
Examples:
  dwell record -p 4711 -d 10m -o api.dwell       ten minutes of process 4711
  dwell record -a -o host.dwell                  the whole host, until Ctrl-C
  dwell record -a --keep 10m -o host.dwell       a flight recorder: the last ten minutes
  dwell record -p 4711 --on-slow 'p99>50ms' -o api.dwell
                                                 also a copy of each spike: api-DATE.dwell
  dwell record -p 4711 --no-symbols -o api.dwell
                                                 functions are named later, by build ids
  dwell report api.dwell                         what was recorded, on any Linux machine

The file can be read up to its last slice at any time, also after a crash (docs/recording.md).

Exit codes: 0 recorded, 1 failure, 2 usage.";

/// Options of `record`.
#[derive(Debug, Args)]
#[command(after_help = RECORD_EXAMPLES)]
pub struct Record {
    /// Whom to follow, and how.
    #[command(flatten)]
    pub follow: Follow,

    /// The file; an older recording there is replaced, anything else is not
    #[arg(
        short,
        long,
        value_name = "FILE",
        help_heading = "Recording",
        default_value = "dwell.dwell"
    )]
    pub output: PathBuf,

    /// How often to write down what has happened
    #[arg(long, value_parser = duration::parse, help_heading = "Recording", default_value = "1s")]
    pub slice: Duration,

    /// Keep only the last minutes: 10m, 1h
    #[arg(long, value_parser = duration::parse, help_heading = "Recording", value_name = "TIME")]
    pub keep: Option<Duration>,

    /// Do not read the symbols of programs and libraries: their functions are named when the recording is
    /// read, on any machine that has files with the same build ids (see `dwell report --symbols`)
    #[arg(long, help_heading = "Recording")]
    pub no_symbols: bool,

    /// When requests are slow, copy the recording to NAME-DATE.dwell: 'p99>50ms', 'max>1s'
    /// (keeps the last minute, unless --keep says otherwise)
    #[arg(
        long,
        value_name = "CONDITION",
        help_heading = "Recording",
        conflicts_with = "no_requests"
    )]
    pub on_slow: Option<Threshold>,

    /// Print the report of the whole window as well
    #[arg(long, help_heading = "Report")]
    pub report: bool,

    /// Print it as one JSON document (schema dwell/1, see docs/json.md)
    #[arg(long, help_heading = "Report")]
    pub json: bool,

    /// Whether to follow requests.
    #[command(flatten)]
    pub requests: RequestArguments,
}

const REPORT_EXAMPLES: &str = "\
Examples:
  dwell report api.dwell                      where the time went, as `dwell attach` prints it
  dwell report api.dwell --view locks         as `dwell locks`; likewise requests, graph
  dwell report api.dwell --from 90s --to 2m   a part of it, by seconds since its beginning
  dwell report api.dwell --around-spike       when requests were slowest, and what was different then
  dwell report api.dwell --html api.html      a page for the browser as well
  dwell report api.dwell --symbols build/     names of functions from files with the same build ids
  dwell report api.dwell --json               as JSON (docs/json.md)

Needs no root, and no kernel that knows eBPF.

Exit codes: 0 report printed, 1 failure, 2 usage.";

/// Options of `report`.
#[derive(Debug, Args)]
#[command(after_help = REPORT_EXAMPLES)]
pub struct Report {
    /// The recording
    #[arg(value_name = "FILE")]
    pub file: PathBuf,

    /// Which part of it.
    #[command(flatten)]
    pub part: PartArguments,

    /// Where names come from.
    #[command(flatten)]
    pub symbols: SymbolArguments,

    /// When requests were slowest, and what was different then from the rest
    #[arg(long, conflicts_with_all = ["view", "json"])]
    pub around_spike: bool,

    /// Which report
    #[arg(long, value_enum, help_heading = "Report", default_value_t = ReportView::Overview)]
    pub view: ReportView,

    /// Print one JSON document (schema dwell/1, see docs/json.md)
    #[arg(long, help_heading = "Report")]
    pub json: bool,

    /// Write a page for the browser to this file as well: all of it in pictures and tables
    #[arg(long, help_heading = "Report", value_name = "FILE", conflicts_with = "around_spike")]
    pub html: Option<PathBuf>,

    /// What makes waits waits for the same lock, for locks
    #[arg(long, help_heading = "Report", value_enum, default_value_t = LocksBy::Lock)]
    pub by: LocksBy,

    /// How to print the graph
    #[arg(long, help_heading = "Report", value_enum, default_value_t = GraphFormat::Text)]
    pub format: GraphFormat,

    /// How many of the slowest requests to print, of each service, at most 100 [default: 3, in JSON 10]
    #[arg(long, help_heading = "Report", value_name = "N",
          value_parser = clap::value_parser!(u8).range(..=100))]
    pub slowest: Option<u8>,

    /// What the report shows.
    #[command(flatten)]
    pub report: ReportArguments,
}

const COMPARE_EXAMPLES: &str = "\
Examples:
  dwell compare before.dwell after.dwell       what got worse, where, and by how much
  dwell compare web1.dwell web2.dwell web3.dwell
                                               several hosts, and which one differs
  dwell compare a.dwell b.dwell --from 10s     without the first ten seconds of each
  dwell compare a.dwell b.dwell --json         as JSON (docs/json.md)
  dwell compare a.dwell b.dwell --flamegraph change.svg
                                               and a graph of where b waits more and less than a

Figures are those of a request, or of a second of CPU time where no requests are known. Noise is what
two recordings of the same thing may differ by, from how their slices differ.

The flame graph shows the waits inside work of all threads of the second recording, by the same unit: red
where there is more of them than in the first, blue where there is less, be it noise or not. What only
the first has takes no room; swap the two to see it.

Exit codes: 0 compared, whatever the outcome, 1 failure, 2 usage.";

/// Options of `compare`.
#[derive(Debug, Args)]
#[command(after_help = COMPARE_EXAMPLES)]
pub struct Compare {
    /// The recordings, at least two; the first is what the second is compared with
    #[arg(value_name = "FILE", required = true, num_args = 2..)]
    pub files: Vec<PathBuf>,

    /// Which part of each.
    #[command(flatten)]
    pub part: PartArguments,

    /// Where names come from.
    #[command(flatten)]
    pub symbols: SymbolArguments,

    /// Print one JSON document (schema dwell-compare/1, see docs/json.md)
    #[arg(long)]
    pub json: bool,

    /// Of two recordings: also write a flame graph of the waits in the second, coloured by the change (SVG)
    #[arg(long, value_name = "FILE")]
    pub flamegraph: Option<PathBuf>,
}

impl Compare {
    /// Whether a graph can be made of these recordings.
    ///
    /// # Errors
    /// When there are more than two.
    pub fn check(&self) -> Result<(), clap::Error> {
        if self.flamegraph.is_some() && self.files.len() != 2 {
            let message = format!("--flamegraph takes two recordings, not {}", self.files.len());
            return Err(clap::Error::raw(ErrorKind::WrongNumberOfValues, message));
        }
        Ok(())
    }
}

/// Reports of a recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ReportView {
    /// As `dwell attach`
    Overview,
    /// As `dwell locks`
    Locks,
    /// As `dwell requests`
    Requests,
    /// As `dwell graph`
    Graph,
}

/// Where names come from that a recording does not have.
#[derive(Clone, Debug, Args)]
pub struct SymbolArguments {
    /// Look for programs, libraries and their debug information in this folder as well, to name functions:
    /// those with the build ids that were recorded (may be given several times)
    #[arg(long = "symbols", value_name = "FOLDER")]
    pub folders: Vec<PathBuf>,
}

/// A part of a recording.
#[derive(Clone, Copy, Debug, Args)]
pub struct PartArguments {
    /// Leave out what was before: time since the beginning
    #[arg(long, value_name = "TIME", value_parser = duration::parse_offset)]
    pub from: Option<Duration>,

    /// Leave out what was after: time since the beginning
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    pub to: Option<Duration>,
}
