//! Options of exports, completions and manual pages.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use clap_complete::Shell;

use super::{Follow, LabelArguments};
use crate::cli::duration;
use crate::session::RequestOptions;

const EXPORT_EXAMPLES: &str = "\
Examples:
  dwell export --format flamegraph -p 4711 -d 10s -o waits.svg
  dwell export --format folded --comm postgres -d 10s | flamegraph.pl > waits.svg
  dwell export --format pprof -p 4711 -d 10s -o waits.pb.gz
  go tool pprof -top waits.pb.gz
  dwell export --format csv --table threads -a -d 5s > threads.csv
  dwell export --format parquet --table waits --comm postgres -d 10s -o waits.parquet
  duckdb -c \"SELECT kind, sum(total_ns) / 1e9 FROM 'waits.parquet' GROUP BY kind\"
  dwell export --format flamegraph --recording api.dwell --from 90s --to 2m -o waits.svg
  dwell export --format perfetto --comm nginx -d 10s -o slow.pftrace     open it at ui.perfetto.dev
  dwell export --format firefox --recording api.dwell -o slow.json       at profiler.firefox.com

dwell does not measure what runs on a CPU, so the graphs show waits. Those inside work alone, unless
--idle is given: idle threads would hide them.

Timelines show the slowest requests of each service, one by one, and what each consists of. How long
each part took is measured; in which order they came is not.

Exit codes: 0 written, 1 failure, 2 usage.";

/// What only a recording has does not go with these. (`requires` would be satisfied by any of them: the
/// recording is in one group with them.)
const LIVE: [&str; 5] = ["pid", "comm", "cgroup", "all", "command"];

/// Options of `export`.
#[derive(Debug, Args)]
#[command(after_help = EXPORT_EXAMPLES)]
pub struct Export {
    /// Whom to follow, and how.
    #[command(flatten)]
    pub follow: Follow,

    /// A recording instead of a live target (no root needed)
    #[arg(
        long,
        value_name = "FILE",
        group = "TargetArguments",
        conflicts_with_all = ["no_children", "duration", "each", "no_labels"]
    )]
    pub recording: Option<PathBuf>,

    /// Leave out what was before: time since the beginning of the recording
    #[arg(long, value_name = "TIME", value_parser = duration::parse_offset,
          conflicts_with_all = LIVE)]
    pub from: Option<Duration>,

    /// Leave out what was after: time since the beginning of the recording
    #[arg(long, value_name = "TIME", value_parser = duration::parse, conflicts_with_all = LIVE)]
    pub to: Option<Duration>,

    /// Look for programs, libraries and their debug information in this folder as well, to name functions
    /// of the recording (may be given several times)
    #[arg(long, value_name = "FOLDER", conflicts_with_all = LIVE)]
    pub symbols: Vec<PathBuf>,

    /// In which format
    #[arg(long, value_enum, help_heading = "Export")]
    pub format: ExportFormat,

    /// Which table, for csv and parquet
    #[arg(long, value_enum, help_heading = "Export", default_value_t = ExportTable::Waits)]
    pub table: ExportTable,

    /// Waits for work as well, for folded, flamegraph and pprof
    #[arg(long, help_heading = "Export")]
    pub idle: bool,

    /// Where to [default: stdout]
    #[arg(short, long, value_name = "FILE", help_heading = "Export")]
    pub output: Option<PathBuf>,

    /// What is read of requests.
    #[command(flatten)]
    pub labels: LabelArguments,
}

impl Export {
    /// How to follow requests, where the format tells of them.
    pub fn requests(&self) -> Option<RequestOptions> {
        let wanted = match self.format {
            ExportFormat::Json | ExportFormat::Perfetto | ExportFormat::Firefox => true,
            ExportFormat::Csv | ExportFormat::Parquet => self.table == ExportTable::Requests,
            ExportFormat::Folded | ExportFormat::Flamegraph | ExportFormat::Pprof => false,
        };
        (wanted || self.labels.each.is_some()).then(|| self.labels.options())
    }
}

/// Formats of exports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ExportFormat {
    /// Folded stacks, for flamegraph.pl, inferno or speedscope; values are nanoseconds
    Folded,
    /// A flame graph of waits, coloured by kind, with search and zoom (SVG)
    #[value(alias = "svg")]
    Flamegraph,
    /// For `go tool pprof` (profile.proto, compressed)
    Pprof,
    /// A table (RFC 4180)
    Csv,
    /// A table whose columns have types, for DuckDB, pandas or polars (Apache Parquet)
    Parquet,
    /// A timeline of the slowest requests, for ui.perfetto.dev
    Perfetto,
    /// The same for profiler.firefox.com
    Firefox,
    /// The document of `dwell attach --json`
    Json,
}

impl ExportFormat {
    /// What to call it, if it is no text.
    pub fn binary(self) -> Option<&'static str> {
        match self {
            Self::Pprof => Some("pprof"),
            Self::Parquet => Some("parquet"),
            Self::Perfetto => Some("perfetto"),
            Self::Folded | Self::Flamegraph | Self::Csv | Self::Firefox | Self::Json => None,
        }
    }
}

/// Tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ExportTable {
    /// A row for each thread
    Threads,
    /// A row for each process, kind, object and stack
    Waits,
    /// A row for each lock
    Locks,
    /// A row for each service and what was asked of it
    Requests,
}

const COMPLETIONS_EXAMPLES: &str = "\
Examples:
  dwell completions bash > /etc/bash_completion.d/dwell
  dwell completions zsh > /usr/local/share/zsh/site-functions/_dwell
  dwell completions fish > ~/.config/fish/completions/dwell.fish";

/// Options of `completions`.
#[derive(Debug, Args)]
#[command(after_help = COMPLETIONS_EXAMPLES)]
pub struct Completions {
    /// For which shell
    #[arg(value_enum)]
    pub shell: Shell,
}

const MAN_EXAMPLES: &str = "\
Examples:
  dwell man | man -l -                   this program's page
  dwell man requests | man -l -          that of one command
  dwell man --write /usr/local/share/man/man1";

/// Options of `man`.
#[derive(Debug, Args)]
#[command(after_help = MAN_EXAMPLES)]
pub struct Man {
    /// The command [default: dwell itself]
    pub command: Option<String>,

    /// Write all pages to this folder
    #[arg(long, value_name = "FOLDER", conflicts_with = "command")]
    pub write: Option<PathBuf>,
}
