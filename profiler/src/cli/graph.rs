//! `dwell graph`.

use anyhow::Result;

use super::arguments::{GraphFormat, GraphOptions};
use super::{attach, output};
use crate::analyze;
use crate::view::{self, DocumentOptions};

/// Runs `dwell graph`.
///
/// # Errors
/// One that says what to do.
pub fn run(options: GraphOptions) -> Result<()> {
    let profile = attach::follow(&options.follow, None)?;
    match options.format {
        _ if options.json => output::write_document(&profile, DocumentOptions::default()),
        GraphFormat::Json => output::write_document(&profile, DocumentOptions::default()),
        GraphFormat::Dot => output::write(&view::dot(&analyze::graph(&profile))),
        GraphFormat::Text => output::print_graph(&profile, options.top),
    }
}
