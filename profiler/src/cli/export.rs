//! `dwell export`.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal as _, Write as _};
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};

use super::arguments::{Export, ExportFormat, ExportTable};
use super::{attach, output};
use crate::model::Profile;
use crate::view::{self, DocumentOptions, Table, Waits};

/// Runs `dwell export`.
///
/// # Errors
/// One that says what to do.
pub fn run(export: Export) -> Result<()> {
    let place = Place::of(&export)?;
    let profile = attach::follow(&export.follow, export.requests())?;
    place.write(&content(&profile, &export)?)
}

fn content(profile: &Profile, export: &Export) -> Result<Vec<u8>> {
    let waits = if export.idle { Waits::All } else { Waits::Working };
    let content = match export.format {
        ExportFormat::Folded => view::folded(profile, waits).into_bytes(),
        ExportFormat::Flamegraph => view::flame_graph(profile, waits)
            .context("there is no flame graph: nothing waited inside work; try --idle")?,
        ExportFormat::Pprof => view::pprof(profile, waits)?,
        ExportFormat::Csv => view::csv(profile, table(export.table))?,
        ExportFormat::Json => {
            let document = view::document(profile, DocumentOptions::default());
            let mut bytes = serde_json::to_vec(&document)?;
            bytes.push(b'\n');
            bytes
        }
    };
    Ok(content)
}

fn table(table: ExportTable) -> Table {
    match table {
        ExportTable::Threads => Table::Threads,
        ExportTable::Waits => Table::Waits,
        ExportTable::Locks => Table::Locks,
        ExportTable::Requests => Table::Requests,
    }
}

/// Where an export goes.
enum Place {
    Stdout,
    File(PathBuf, File),
}

impl Place {
    /// Looked at before anything is measured, which would be in vain.
    fn of(export: &Export) -> Result<Self> {
        let Some(path) = &export.output else {
            if export.format == ExportFormat::Pprof && io::stdout().is_terminal() {
                bail!("pprof is no text for a terminal; give a file with -o, or a pipe");
            }
            return Ok(Self::Stdout);
        };
        // What is there stays until there is something better.
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(path);
        let file = file.with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self::File(path.clone(), file))
    }

    fn write(self, content: &[u8]) -> Result<()> {
        match self {
            Self::Stdout => output::write_bytes(content),
            Self::File(path, mut file) => {
                // Devices and pipes have no length.
                let is_plain = file.metadata().is_ok_and(|file| file.is_file());
                let emptied = if is_plain { file.set_len(0) } else { Ok(()) };
                emptied
                    .and_then(|()| file.write_all(content))
                    .with_context(|| format!("cannot write {}", path.display()))
            }
        }
    }
}
