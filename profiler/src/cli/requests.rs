//! `dwell requests`.

use anyhow::Result;

use super::arguments::Requests;
use super::{attach, output};
use crate::view::DocumentOptions;

/// Runs `dwell requests`.
///
/// # Errors
/// One that says what to do.
pub fn run(requests: Requests) -> Result<()> {
    let profile = attach::follow(&requests.follow, Some(requests.labels.options()))?;
    let slowest = requests.slowest.map(usize::from);
    if requests.json {
        let mut options = DocumentOptions::default();
        options.slowest = slowest.unwrap_or(options.slowest);
        return output::write_document(&profile, options);
    }
    output::print_requests(&profile, requests.top, slowest, requests.full_stacks)
}
