//! Options about requests.

use std::path::PathBuf;

use clap::Args;

use super::Follow;
use crate::session::RequestOptions;

const REQUESTS_EXAMPLES: &str = "\
Examples:
  dwell requests -p 4711 -d 10s          the requests that process 4711 and its children answer
  dwell requests --comm postgres -d 30s  statements, and what the slow ones wait for
  dwell requests -p 4711 -p 4712 -d 10s  two services that call each other
  dwell requests -a -d 10s --json        the whole host, as JSON (docs/json.md)
  dwell requests -- ./server --port 80   start a command and follow it to its end

The first lines say what the system is constrained by: what requests beyond p99 wait for and those
around the median do not. Every figure has a row, so that you can check it.

Exit codes: 0 report printed, 1 failure, 2 usage.";

/// Options of `requests`.
#[derive(Debug, Args)]
#[command(after_help = REQUESTS_EXAMPLES)]
pub struct Requests {
    /// Whom to follow, and how.
    #[command(flatten)]
    pub follow: Follow,

    /// Print one JSON document (schema dwell/1, see docs/json.md)
    #[arg(long, help_heading = "Report")]
    pub json: bool,

    /// How many things that are asked for to print, of each service
    #[arg(long, help_heading = "Report", value_name = "N", default_value_t = 8)]
    pub top: usize,

    /// How many of the slowest requests to print, of each service, at most 100 [default: 3, in JSON 10]
    #[arg(long, help_heading = "Report", value_name = "N",
          value_parser = clap::value_parser!(u8).range(..=100))]
    pub slowest: Option<u8>,

    /// Print stacks in full
    #[arg(long, help_heading = "Report")]
    pub full_stacks: bool,

    /// What is read of requests.
    #[command(flatten)]
    pub labels: LabelArguments,
}

/// Whether and how to follow requests.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Requests")]
pub struct RequestArguments {
    /// Do not follow requests: cheaper by some 1 us for each
    #[arg(long, conflicts_with_all = ["no_labels", "each"])]
    pub no_requests: bool,

    /// What is read of them.
    #[command(flatten)]
    pub labels: LabelArguments,
}

/// What is read of requests.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Requests")]
pub struct LabelArguments {
    /// Read nothing of what requests say: they go by address alone
    #[arg(long)]
    pub no_labels: bool,

    /// Write a line of JSON for each request to this file (docs/json.md)
    #[arg(long, value_name = "FILE")]
    pub each: Option<PathBuf>,
}

impl LabelArguments {
    /// In the words of a session.
    pub fn options(&self) -> RequestOptions {
        RequestOptions { labels: !self.no_labels, each: self.each.clone() }
    }
}

impl RequestArguments {
    /// In the words of a session.
    pub fn options(&self) -> Option<RequestOptions> {
        (!self.no_requests).then(|| self.labels.options())
    }
}
