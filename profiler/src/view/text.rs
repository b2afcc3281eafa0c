//! The report for people.

use super::color::Line;
use super::{bars, cpu, graph, headline, locks, requests, trust, verdict, waits};
use crate::analyze::{self, By};
use crate::model::Profile;

/// Narrowest layout.
const NARROWEST: usize = 60;

/// How to show a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TextOptions {
    /// Columns of the terminal; at least 60 are used.
    pub width: usize,
    /// Whether to use colours.
    pub color: bool,
    /// A bar for each thread, below the group it belongs to.
    pub threads: bool,
    /// Waits shown.
    pub top: usize,
    /// Slowest requests shown of each service.
    pub slowest: usize,
    /// Show stacks whole.
    pub all_frames: bool,
}

impl Default for TextOptions {
    fn default() -> Self {
        Self { width: 80, color: false, threads: false, top: 8, slowest: 3, all_frames: false }
    }
}

/// The report: verdict, headline, bars, requests, longest waits, lack of CPU time, trust.
pub fn render(profile: &Profile, options: &TextOptions) -> String {
    let width = options.width.max(NARROWEST);
    let headline = analyze::headline(profile);
    // Not everything is a server.
    let is_asked = profile.requests.services.iter().any(|service| !service.groups.is_empty());
    let mut blocks = Vec::new();
    if is_asked {
        blocks.push(verdict_lines(profile, width));
    }
    blocks.push(headline::lines(profile, &headline, width));
    if headline.threads > 0 {
        blocks.push(bars::lines(analyze::groups(profile, options.threads), options, width));
        let services = analyze::services(profile);
        let peers = analyze::dependencies(profile);
        blocks.push(requests::summary(profile, &services, &peers, width));
        let locks = analyze::locks(profile, By::Lock);
        blocks.push(locks::summary(profile, &locks, &analyze::deadlocks(profile), width));
        blocks.push(waits::lines(analyze::top_waits(profile), options, width));
    }
    blocks.push(cpu_lines(profile, width));
    blocks.push(trust::lines(&profile.trust, &analyze::cost(profile), width));
    write(&blocks, options)
}

fn cpu_lines(profile: &Profile, width: usize) -> Vec<Line> {
    let waiting = analyze::waiting_for_cpu(profile);
    cpu::lines(waiting.as_ref(), &analyze::shortages(profile), width)
}

fn verdict_lines(profile: &Profile, width: usize) -> Vec<Line> {
    analyze::verdict(profile).map(|found| verdict::lines(&found, width)).unwrap_or_default()
}

/// The report on requests.
pub fn render_requests(profile: &Profile, options: &TextOptions) -> String {
    let width = options.width.max(NARROWEST);
    let services = analyze::services(profile);
    let peers = analyze::dependencies(profile);
    let blocks = [
        verdict_lines(profile, width),
        requests::lines(profile, &services, &peers, options, width),
        cpu_lines(profile, width),
        trust::lines(&profile.trust, &analyze::cost(profile), width),
    ];
    write(&blocks, options)
}

/// The report on locks.
pub fn render_locks(profile: &Profile, by: By, options: &TextOptions) -> String {
    let width = options.width.max(NARROWEST);
    let rows = analyze::locks(profile, by);
    let deadlocks = analyze::deadlocks(profile);
    let blocks = [
        locks::lines(profile, &rows, &deadlocks, options, width),
        cpu_lines(profile, width),
        trust::lines(&profile.trust, &analyze::cost(profile), width),
    ];
    write(&blocks, options)
}

/// The report on chains of waiting.
pub fn render_graph(profile: &Profile, options: &TextOptions) -> String {
    let width = options.width.max(NARROWEST);
    let blocks = [
        graph::lines(profile, &analyze::graph(profile), options, width),
        trust::lines(&profile.trust, &analyze::cost(profile), width),
    ];
    write(&blocks, options)
}

/// The blocks that hold something, with a line between them.
fn write(blocks: &[Vec<Line>], options: &TextOptions) -> String {
    let mut output = String::new();
    let full = blocks.iter().filter(|block| !block.is_empty());
    for (index, block) in full.enumerate() {
        if index > 0 {
            Line::default().write_to(&mut output, options.color);
        }
        for line in block {
            line.write_to(&mut output, options.color);
        }
    }
    output
}
