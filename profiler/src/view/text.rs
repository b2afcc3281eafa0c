//! The report for people.

use super::color::Line;
use super::{bars, cpu, headline, trust, waits};
use crate::analyze;
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
    /// Show stacks whole.
    pub all_frames: bool,
}

impl Default for TextOptions {
    fn default() -> Self {
        Self { width: 80, color: false, threads: false, top: 8, all_frames: false }
    }
}

/// The report: headline, bars, longest waits, lack of CPU time, trust.
pub fn render(profile: &Profile, options: &TextOptions) -> String {
    let width = options.width.max(NARROWEST);
    let headline = analyze::headline(profile);
    let mut blocks = vec![headline::lines(profile, &headline, width)];
    if headline.threads > 0 {
        blocks.push(bars::lines(&analyze::groups(profile, options.threads), width));
        blocks.push(waits::lines(&analyze::top_waits(profile), options, width));
    }
    let shortages = analyze::shortages(profile);
    if !shortages.is_empty() {
        blocks.push(cpu::lines(&shortages, width));
    }
    blocks.push(trust::lines(&profile.trust, &analyze::cost(profile), width));
    let mut output = String::new();
    for (index, block) in blocks.iter().enumerate() {
        if index > 0 {
            Line::default().write_to(&mut output, options.color);
        }
        for line in block {
            line.write_to(&mut output, options.color);
        }
    }
    output
}
