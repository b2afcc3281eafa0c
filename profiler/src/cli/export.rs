//! `dwell export`.

use std::io::{self, IsTerminal as _};

use anyhow::{Context as _, Result, bail};

use super::arguments::{Export, ExportFormat, ExportTable};
use super::file::{NewFile, Place};
use super::{attach, output};
use crate::capture::Recording;
use crate::model::Profile;
use crate::view::{self, DocumentOptions, Table, Waits};

/// Runs `dwell export`.
///
/// # Errors
/// One that says what to do.
pub fn run(export: Export) -> Result<()> {
    let place = place(&export)?;
    let profile = match &export.recording {
        Some(file) => {
            let recording = Recording::open(file)?;
            recording.profile(recording.part(export.from, export.to)?)?
        }
        None => attach::follow(&export.follow, export.requests())?,
    };
    match content(&profile, &export)? {
        Some(bytes) => place.write(|out| out.write_all(&bytes)),
        None => place.write(|out| output::document_to(out, &profile, DocumentOptions::default())),
    }
}

/// None for the document, which is written as it is made.
fn content(profile: &Profile, export: &Export) -> Result<Option<Vec<u8>>> {
    let waits = if export.idle { Waits::All } else { Waits::Working };
    let content = match export.format {
        ExportFormat::Folded => view::folded(profile, waits).into_bytes(),
        ExportFormat::Flamegraph => view::flame_graph(profile, waits)
            .context("there is no flame graph: nothing waited inside work; try --idle")?,
        ExportFormat::Pprof => view::pprof(profile, waits)?,
        ExportFormat::Csv => view::csv(profile, table(export.table))?,
        ExportFormat::Parquet => view::parquet(profile, table(export.table))?,
        ExportFormat::Json => return Ok(None),
    };
    Ok(Some(content))
}

fn table(table: ExportTable) -> Table {
    match table {
        ExportTable::Threads => Table::Threads,
        ExportTable::Waits => Table::Waits,
        ExportTable::Locks => Table::Locks,
        ExportTable::Requests => Table::Requests,
    }
}

/// Looked at before anything is measured, which would be in vain.
fn place(export: &Export) -> Result<Place> {
    if let Some(path) = &export.output {
        return Ok(Place::File(NewFile::open(path)?));
    }
    if let Some(name) = export.format.binary().filter(|_| io::stdout().is_terminal()) {
        bail!("{name} is no text for a terminal; give a file with -o, or a pipe");
    }
    Ok(Place::Stdout)
}
