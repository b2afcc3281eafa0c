//! `dwell export`.

use std::io::{self, IsTerminal as _};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail};

use super::arguments::{Export, ExportFormat, ExportTable};
use super::file::{NewFile, Place};
use super::progress::Reading;
use super::recordings::{Recordings, part_of};
use super::{attach, output};
use crate::analyze::{Loads, ServiceLoad};
use crate::kernel;
use crate::model::{Nanos, Profile};
use crate::view::{self, DocumentOptions, Table, Waits};

/// Runs `dwell export`.
///
/// # Errors
/// One that says what to do.
pub fn run(export: Export) -> Result<()> {
    let place = place(&export)?;
    let source = match &export.recording {
        Some(file) => Source::read(file, &export)?,
        None => Source::measure(&export)?,
    };
    match content(&source, &export)? {
        Some(bytes) => place.write(|out| out.write_all(&bytes)),
        None => {
            place.write(|out| output::document_to(out, &source.profile, DocumentOptions::default()))
        }
    }
}

/// What is exported.
struct Source {
    profile: Profile,
    /// When its window began, in nanoseconds since 1970.
    unix_ns: i64,
    /// Slice by slice, where there are slices and the format shows them.
    loads: Vec<ServiceLoad>,
}

impl Source {
    fn measure(export: &Export) -> Result<Self> {
        let profile = attach::follow(&export.follow, export.requests())?;
        let ago = Nanos(kernel::monotonic_ns()).since(profile.window.start);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let unix_ns = now.saturating_sub(Duration::from_nanos(ago.0)).as_nanos();
        let unix_ns = i64::try_from(unix_ns).unwrap_or(i64::MAX);
        Ok(Self { profile, unix_ns, loads: Vec::new() })
    }

    fn read(file: &Path, export: &Export) -> Result<Self> {
        let recording = Recordings::with_symbols(&export.symbols)?.open(file)?;
        let part = part_of(&recording, export.from, export.to)?;
        let profile = recording.profile(part)?;
        let mut loads = Loads::default();
        if export.format == ExportFormat::Perfetto {
            let reading = Reading::new(part.to - part.from);
            recording.each_slice(part, |slice| {
                loads.add(&slice);
                reading.step();
                Ok(())
            })?;
        }
        let unix_ns = recording.ends()[part.from].unix_ns;
        Ok(Self { profile, unix_ns, loads: loads.services() })
    }
}

/// None for the document, which is written as it is made.
fn content(source: &Source, export: &Export) -> Result<Option<Vec<u8>>> {
    let Source { profile, unix_ns, loads } = source;
    let waits = if export.idle { Waits::All } else { Waits::Working };
    let content = match export.format {
        ExportFormat::Folded => view::folded(profile, waits).into_bytes(),
        ExportFormat::Flamegraph => view::flame_graph(profile, waits)?
            .context("there is no flame graph: nothing waited inside work; try --idle")?,
        ExportFormat::Pprof => view::pprof(profile, waits)?,
        ExportFormat::Csv => view::csv(profile, table(export.table))?,
        ExportFormat::Parquet => view::parquet(profile, table(export.table))?,
        ExportFormat::Perfetto => {
            view::perfetto(profile, *unix_ns, loads).context(no_requests(profile))?
        }
        ExportFormat::Firefox => view::firefox(profile, *unix_ns)?.context(no_requests(profile))?,
        ExportFormat::Json => return Ok(None),
    };
    Ok(Some(content))
}

/// Why there is no timeline, and what to do.
fn no_requests(profile: &Profile) -> &'static str {
    match profile.requests.followed {
        true => {
            "there is no timeline: no request was answered in this time; choose a process that serves, \
             or a longer time"
        }
        false => {
            "there is no timeline: requests were not followed; that needs Linux 6.3 or newer, and a \
             recording without --no-requests"
        }
    }
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
