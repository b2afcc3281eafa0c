//! `dwell report`.

use anyhow::{Context as _, Result};

use super::arguments::{GraphFormat, Report, ReportView};
use super::compare::add_slices;
use super::page::Page;
use super::progress::Reading;
use super::recordings::{Recordings, part_of};
use super::{graph, locks, output, requests};
use crate::analyze::{Series, choose_service, compare_all, find_spike, p99};
use crate::capture::{Part, Recording};
use crate::model::Profile;
use crate::view::Moment;

/// Runs `dwell report`.
///
/// # Errors
/// One that says what to do.
pub fn run(report: &Report) -> Result<()> {
    let mut recordings = Recordings::with_symbols(&report.symbols.folders)?;
    let recording = recordings.open(&report.file)?;
    let part = part_of(&recording, report.part.from, report.part.to)?;
    let page = report.html.as_deref().map(Page::open).transpose()?;
    if report.around_spike {
        return around_spike(&recording, part);
    }
    let profile = recording.profile(part)?;
    if let Some(page) = page {
        write_page(page, &recording, part, &profile)?;
    }
    let json = report.json;
    match report.view {
        ReportView::Overview => output::print(&profile, json, report.report),
        ReportView::Locks => locks::print(&profile, report.by, json, report.report),
        ReportView::Requests => requests::print(&profile, report.slowest, json, report.report),
        ReportView::Graph => {
            let format = if json { GraphFormat::Json } else { report.format };
            graph::print(&profile, format, report.report.top)
        }
    }
}

fn write_page(mut page: Page, recording: &Recording, part: Part, profile: &Profile) -> Result<()> {
    let reading = Reading::new(part.to - part.from);
    recording.each_slice(part, |slice| {
        page.add_slice(&slice);
        reading.step();
        Ok(())
    })?;
    page.write(profile)
}

/// The slices in which requests were slowest beside all others.
fn around_spike(recording: &Recording, part: Part) -> Result<()> {
    let mut latencies = Vec::new();
    let reading = Reading::new(2 * (part.to - part.from));
    recording.each_slice(part, |slice| {
        latencies.push(p99(&slice));
        reading.step();
        Ok(())
    })?;
    let spike = find_spike(&latencies).context(
        "no slice stands out: none has a p99 twice as long as the one in the middle; see the whole \
         with `dwell report FILE`",
    )?;
    let spike_part = Part { from: part.from + spike.slices.0, to: part.from + spike.slices.1 };
    let version = recording.version()?;
    let series = |name: &str, part| -> Result<Series> {
        Ok(Series::new(name.to_owned(), version.clone(), recording.profile(part)?))
    };
    let mut all = [series("otherwise", part)?, series("the spike", spike_part)?];
    choose_service(&mut all);
    let [otherwise, inside] = &mut all;
    for outside in [Part { to: spike_part.from, ..part }, Part { from: spike_part.to, ..part }] {
        if outside.from < outside.to {
            add_slices(otherwise, recording, outside, &reading)?;
        }
    }
    add_slices(inside, recording, spike_part, &reading)?;
    drop(reading);
    inside.is_all = true;
    let moment = |end: usize| {
        let (start, slice) = (recording.ends()[0], recording.ends()[end]);
        Moment { since_start: slice.end.since(start.end), unix_ns: slice.unix_ns }
    };
    let compared = compare_all(&all);
    output::print_spike(&all, &compared, spike, [moment(spike_part.from), moment(spike_part.to)])
}

#[cfg(test)]
mod tests;
