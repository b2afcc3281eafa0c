//! `dwell compare`.

use std::path::Path;

use anyhow::{Context as _, Result};

use super::arguments::Compare;
use super::file::NewFile;
use super::output;
use super::progress::Reading;
use super::recordings::{Recordings, part_of};
use crate::analyze::{Series, choose_service, compare_all, compare_stacks};
use crate::capture::{Part, Recording};
use crate::view;

/// Runs `dwell compare`.
///
/// # Errors
/// One that says what to do.
pub fn run(options: &Compare) -> Result<()> {
    // Before anything is read, which may take long.
    let graph = options.flamegraph.as_deref().map(NewFile::open).transpose()?;
    let mut recordings = Vec::new();
    let mut opened = Recordings::with_symbols(&options.symbols.folders)?;
    for file in &options.files {
        let recording = opened.open(file)?;
        let part = part_of(&recording, options.part.from, options.part.to)?;
        recordings.push((name(file, &options.files), recording, part));
    }
    let mut all = Vec::new();
    for (name, recording, part) in &recordings {
        let version = recording.version()?;
        all.push(Series::new(name.clone(), version, recording.profile(*part)?));
    }
    choose_service(&mut all);
    let reading = Reading::new(recordings.iter().map(|(_, _, part)| part.to - part.from).sum());
    for (series, (_, recording, part)) in all.iter_mut().zip(&recordings) {
        add_slices(series, recording, *part, &reading)?;
    }
    drop(reading);
    let compared = compare_all(&all);
    if options.json {
        output::write_json(&view::comparison(&all, &compared))?;
    } else {
        output::print_comparison(&all, &compared)?;
    }
    // Last: that there is nothing to draw leaves the answer as it is.
    if let (Some(file), [before, after]) = (graph, all.as_slice()) {
        write_graph(file, before, after)?;
    }
    Ok(())
}

fn write_graph(file: NewFile, before: &Series, after: &Series) -> Result<()> {
    let stacks = compare_stacks(before, after);
    let graph = view::flame_graph_of_change([before, after], &stacks)?.with_context(|| {
        format!(
            "there is no flame graph: nothing waited inside work in {}; \
             name {} last to see what is gone",
            after.name, before.name
        )
    })?;
    file.write(|out| out.write_all(&graph))
}

/// Adds each slice of a part.
///
/// # Errors
/// When the recording is damaged.
pub fn add_slices(
    series: &mut Series,
    recording: &Recording,
    part: Part,
    reading: &Reading,
) -> Result<()> {
    recording.each_slice(part, |slice| {
        series.add(&slice);
        reading.step();
        Ok(())
    })
}

/// The name of the file, or so much of its path as tells it from the others.
fn name(file: &Path, all: &[std::path::PathBuf]) -> String {
    let stem = |path: &Path| path.file_stem().unwrap_or_default().to_owned();
    let is_alone = all.iter().filter(|other| stem(other) == stem(file)).count() == 1;
    let name = if is_alone {
        stem(file).to_string_lossy().into_owned()
    } else {
        file.display().to_string()
    };
    crate::symbol::clean(name.as_bytes())
}
