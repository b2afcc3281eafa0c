//! `dwell requests`.

use anyhow::Result;

use super::arguments::{ReportArguments, Requests};
use super::{attach, output};
use crate::model::Profile;
use crate::view::DocumentOptions;

/// Runs `dwell requests`.
///
/// # Errors
/// One that says what to do.
pub fn run(requests: Requests) -> Result<()> {
    let profile = attach::follow(&requests.follow, Some(requests.labels.options()))?;
    let report =
        ReportArguments { threads: false, top: requests.top, full_stacks: requests.full_stacks };
    print(&profile, requests.slowest, requests.json, report)
}

/// Prints a profile.
///
/// # Errors
/// When stdout cannot be written.
pub fn print(
    profile: &Profile,
    slowest: Option<u8>,
    json: bool,
    report: ReportArguments,
) -> Result<()> {
    let slowest = slowest.map(usize::from);
    if json {
        let mut options = DocumentOptions::default();
        options.slowest = slowest.unwrap_or(options.slowest);
        return output::write_document(profile, options);
    }
    output::print_requests(profile, slowest, report)
}
