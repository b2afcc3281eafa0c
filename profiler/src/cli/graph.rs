//! `dwell graph`.

use anyhow::Result;

use super::arguments::{GraphFormat, GraphOptions};
use super::{attach, output};
use crate::analyze;
use crate::model::Profile;
use crate::view::{self, DocumentOptions};

/// Runs `dwell graph`.
///
/// # Errors
/// One that says what to do.
pub fn run(options: GraphOptions) -> Result<()> {
    let profile = attach::follow(&options.follow, None)?;
    let format = if options.json { GraphFormat::Json } else { options.format };
    print(&profile, format, options.top)
}

/// Prints a profile.
///
/// # Errors
/// When stdout cannot be written.
pub fn print(profile: &Profile, format: GraphFormat, top: usize) -> Result<()> {
    match format {
        GraphFormat::Json => output::write_document(profile, DocumentOptions::default()),
        GraphFormat::Dot => output::write(&view::dot(&analyze::graph(profile))),
        GraphFormat::Text => output::print_graph(profile, top),
    }
}
