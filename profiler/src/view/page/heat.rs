//! Latencies over time as a heat map, with the spike.

use std::collections::BTreeMap;

use maud::{Markup, html};

use crate::analyze::{Column, Heat, HeatRow, ROWS_IN_OCTAVE};
use crate::model::Nanos;
use crate::view::units::{count, duration};

/// Size of the map, and the room beside it for the words of the axes.
const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 260.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 24.0;
const BELOW: f64 = 24.0;

/// Rows of the data in a row of the map: a quarter of an octave.
const MERGED: u32 = ROWS_IN_OCTAVE / 4;

/// From so many octaves on powers of ten are enough marks.
const DECADES: u32 = 10;

/// Shades.
const LEVELS: u32 = 6;

/// Rows of the table beside the map at most.
const TABLE: usize = 60;

/// The map, and the same as a table; nothing where fewer than two columns have requests.
pub fn body(heat: &Heat) -> Option<Markup> {
    let columns = heat.columns();
    let map = Map::of(columns)?;
    let spike = heat.spike();
    let summary = match spike {
        Some(spike) => format!(
            "Slowest from {} to {}: p99 {}, usually {}.",
            map.since_start(columns[spike.slices.0].window.start),
            map.since_start(columns[spike.slices.1 - 1].window.end),
            duration(spike.slowest),
            duration(spike.usual)
        ),
        None => "No part of it stands out as much slower than the rest.".to_owned(),
    };
    let marked = spike.map(|spike| &columns[spike.slices.0..spike.slices.1]);
    Some(html! {
        p { (summary) " Darker: more requests, of all services. The line is the p99." }
        svg viewBox={ "0 0 " (LEFT + WIDTH + RIGHT) " " (HEIGHT + BELOW) } role="img" aria-label=(summary) class="heat" {
            @for (level, path) in map.cells(columns) { path class={ "h" (level) } d=(path) {} }
            @if let Some(marked) = marked { path.spike d=(map.frame(marked)) {} }
            path.line d=(map.line(columns)) {}
            @for (y, label) in map.latencies() {
                path.tick d={ "M" (LEFT - 4.0) " " (y) "h4" } {}
                text x=(LEFT - 8.0) y=(y) text-anchor="end" dominant-baseline="middle" { (label) }
            }
            @for (x, label) in map.times() {
                path.tick d={ "M" (x) " " (HEIGHT) "v4" } {}
                text x=(x) y=(HEIGHT + 18.0) text-anchor="middle" { (label) }
            }
        }
        (table(&map, columns))
    })
}

fn table(map: &Map, columns: &[Column]) -> Markup {
    let step = columns.len().div_ceil(TABLE);
    html! {
        details {
            summary { "As a table" }
            table {
                thead { tr { th { "after" } th.n { "requests" } th.n { "p50" } th.n { "p99" } } }
                tbody {
                    @for column in columns.iter().step_by(step) {
                        tr {
                            td { (map.since_start(column.window.start)) }
                            td.n { (count(column.count())) }
                            @for share in [0.5, 0.99] {
                                td.n { (column.quantile(share).map_or("–".into(), duration)) }
                            }
                        }
                    }
                }
            }
            @if step > 1 { p { "Every " (step) "th part of the window." } }
        }
    }
}

/// Where things lie in the map.
struct Map {
    start: Nanos,
    length: f64,
    low: u32,
    high: u32,
}

impl Map {
    fn of(columns: &[Column]) -> Option<Self> {
        let full = columns.iter().filter(|column| column.count() > 0).count();
        let (first, last) = (columns.first()?, columns.last()?);
        let rows = || columns.iter().flat_map(|column| column.rows.keys());
        let (low, high) = (rows().min()?.0 / MERGED, rows().max()?.0 / MERGED + 1);
        let length = last.window.end.since(first.window.start).0 as f64;
        (full >= 2 && length > 0.0).then_some(Self { start: first.window.start, length, low, high })
    }

    fn x(&self, time: Nanos) -> f64 {
        LEFT + WIDTH * time.since(self.start).0 as f64 / self.length
    }

    /// The upper edge of what lies below this row.
    fn y(&self, row: f64) -> f64 {
        HEIGHT * (1.0 - (row - f64::from(self.low)) / f64::from(self.high - self.low))
    }

    fn y_of(&self, latency: Nanos) -> f64 {
        let octaves =
            |time: Nanos| (time.0.max(1) as f64).log2() * f64::from(ROWS_IN_OCTAVE / MERGED);
        let low = HeatRow(self.low * MERGED).low();
        self.y(f64::from(self.low) + octaves(latency) - octaves(low))
    }

    fn since_start(&self, time: Nanos) -> String {
        format!("{:.1} s", time.since(self.start).0 as f64 / 1e9)
    }

    /// The outlines of all cells of a shade.
    fn cells(&self, columns: &[Column]) -> BTreeMap<u32, String> {
        let merged = columns.iter().map(|column| {
            let mut rows: BTreeMap<u32, u64> = BTreeMap::new();
            for (row, count) in &column.rows {
                *rows.entry(row.0 / MERGED).or_default() += count;
            }
            (column, rows)
        });
        let merged: Vec<_> = merged.collect();
        let most = merged.iter().flat_map(|(_, rows)| rows.values()).max().copied().unwrap_or(1);
        let mut paths: BTreeMap<u32, String> = BTreeMap::new();
        for (column, rows) in &merged {
            let (x, end) = (self.x(column.window.start), self.x(column.window.end));
            for (row, count) in rows {
                let (top, bottom) = (self.y(f64::from(row + 1)), self.y(f64::from(*row)));
                let path = paths.entry(level(*count, most)).or_default();
                *path += &format!("M{x:.1} {top:.1}H{end:.1}V{bottom:.1}H{x:.1}Z");
            }
        }
        paths
    }

    /// The p99 of each column.
    fn line(&self, columns: &[Column]) -> String {
        let mut path = String::new();
        for column in columns {
            let Some(p99) = column.quantile(0.99) else { continue };
            let command = if path.is_empty() { 'M' } else { 'L' };
            let (x, end) = (self.x(column.window.start), self.x(column.window.end));
            path += &format!("{command}{x:.1} {:.1}H{end:.1}", self.y_of(p99));
        }
        path
    }

    fn frame(&self, columns: &[Column]) -> String {
        let x = self.x(columns[0].window.start);
        let end = self.x(columns[columns.len() - 1].window.end);
        format!("M{x:.1} 0H{end:.1}V{HEIGHT}H{x:.1}Z")
    }

    /// Marks at powers of ten, and between them where there are few.
    fn latencies(&self) -> Vec<(f64, String)> {
        let octaves = (self.high - self.low) * MERGED / ROWS_IN_OCTAVE;
        let steps: &[u64] = if octaves < DECADES { &[1, 2, 5] } else { &[1] };
        let of_power = |power| steps.iter().map(move |step| Nanos(step * 10_u64.pow(power)));
        let marks = (0..=11).flat_map(of_power);
        let visible = marks.map(|mark| (self.y_of(mark), duration(mark)));
        visible.filter(|(y, _)| (0.0..=HEIGHT).contains(y)).collect()
    }

    /// Six marks, from the beginning to the end.
    fn times(&self) -> Vec<(f64, String)> {
        let mark = |fifth: u32| {
            let share = f64::from(fifth) / 5.0;
            (LEFT + WIDTH * share, format!("{:.1} s", self.length * share / 1e9))
        };
        (0..=5).map(mark).collect()
    }
}

/// A shade, on a scale of ratios: few requests beside many are seen, too.
fn level(count: u64, most: u64) -> u32 {
    let share = (count as f64).ln_1p() / (most as f64).ln_1p();
    ((share * f64::from(LEVELS)).ceil() as u32).clamp(1, LEVELS)
}
