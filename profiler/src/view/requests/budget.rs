//! What requests around the median and the slowest ones consist of, side by side.

use super::super::color::{Line, Style};
use super::super::layout::{left, right};
use super::super::units::{change, count, duration, tight_percent};
use super::super::words;
use super::INDENT;
use crate::analyze::{Change, Sets};
use crate::model::{Nanos, Part, State};

/// Columns of each figure, and of the share.
const FIGURE: usize = 12;
const SHARE: usize = 6;

/// Parts below this share of both columns are in one row.
const LEAST: f64 = 0.005;

/// A part of the mean request around the median, and beyond p99.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// In words.
    pub name: String,
    /// Which; none of several, or of what is in no part.
    pub part: Option<Part>,
    /// At the median.
    pub usual: Change,
    /// Beyond p99.
    pub slow: Change,
}

impl Row {
    /// By how much it is more beyond p99.
    pub fn more(&self) -> Change {
        Change(self.slow.0.saturating_sub(self.usual.0))
    }
}

/// The parts that matter, and what is left; they sum to the mean latencies.
pub fn rows(sets: &Sets) -> Vec<Row> {
    let (median, tail) = (&sets.median, &sets.tail);
    let mut rows = Vec::new();
    let (mut rest_median, mut rest_tail, mut rest) = (Nanos(0), Nanos(0), 0);
    for ((part, usual), (_, slow)) in median.parts().into_iter().zip(tail.parts()) {
        let is_small = usual.share_of(median.mean()) < LEAST && slow.share_of(tail.mean()) < LEAST;
        match (usual + slow, is_small) {
            (Nanos(0), _) => {}
            (_, true) => {
                (rest_median, rest_tail) = (rest_median + usual, rest_tail + slow);
                rest += 1;
            }
            (_, false) => rows.push(Row {
                name: words::part(part).to_owned(),
                part: Some(part),
                usual: time(usual),
                slow: time(slow),
            }),
        }
    }
    if rest > 0 {
        rows.push(Row {
            name: format!("{} more, each below 0.5%", count(rest)),
            part: None,
            usual: time(rest_median),
            slow: time(rest_tail),
        });
    }
    let (usual, slow) = (median.residual(), tail.residual());
    if usual.0 != 0 || slow.0 != 0 {
        rows.push(Row { name: "in no part (residual)".to_owned(), part: None, usual, slow });
    }
    rows
}

fn time(time: Nanos) -> Change {
    Change::between(Nanos(0), time)
}

/// A row for each part; both columns sum to their last row.
pub fn lines(sets: &Sets, width: usize) -> Vec<Line> {
    let (median, tail) = (&sets.median, &sets.tail);
    if median.count == 0 || tail.count == 0 {
        return Vec::new();
    }
    let room = width - 3 * FIGURE - SHARE;
    let mut lines = head(sets, room);
    lines.extend(rows(sets).iter().map(|row| line(row, sets, room)));
    let latency = Row {
        name: "latency".to_owned(),
        part: None,
        usual: time(median.mean()),
        slow: time(tail.mean()),
    };
    lines.push(styled(&latency, sets, Style::Strong, room));
    lines
}

fn head(sets: &Sets, room: usize) -> Vec<Line> {
    let indent = " ".repeat(INDENT);
    let titles = left(&format!("{indent}mean of requests"), room)
        + &right("at median", FIGURE)
        + &right("beyond p99", FIGURE)
        + &right("difference", FIGURE)
        + &right("share", SHARE);
    let numbers = left(&format!("{indent}  how many of them"), room)
        + &right(&count(sets.median.count), FIGURE)
        + &right(&count(sets.tail.count), FIGURE);
    vec![Line::new(Style::Faint, titles), Line::new(Style::Faint, numbers)]
}

fn line(row: &Row, sets: &Sets, room: usize) -> Line {
    styled(row, sets, row.part.map_or(Style::Faint, style), room)
}

fn styled(row: &Row, sets: &Sets, style: Style, room: usize) -> Line {
    let mut line = Line::new(style, left(&format!("{}{}", " ".repeat(INDENT), row.name), room));
    let more = row.more();
    let figures = right(&figure(row.usual), FIGURE)
        + &right(&figure(row.slow), FIGURE)
        + &right(&change(more), FIGURE);
    let style = if style == Style::Strong { Style::Strong } else { Style::Plain };
    line.push(style, figures + &right(&share(more, sets.excess()), SHARE));
    line
}

/// A duration, or a difference where it is negative.
pub fn figure(time: Change) -> String {
    match u64::try_from(time.0) {
        Ok(ns) => duration(Nanos(ns)),
        Err(_) => change(time),
    }
}

/// Nothing where there is no difference to speak of, or this part makes it smaller.
pub fn share(more: Change, whole: Change) -> String {
    match whole.0 > 0 && more.0 > 0 {
        true => tight_percent(more.share_of(whole)),
        false => String::new(),
    }
}

fn style(part: Part) -> Style {
    match part {
        Part::In(State::Running) => Style::Running,
        Part::In(State::Runnable) => Style::Runnable,
        Part::In(State::Unattributed) => Style::Faint,
        _ => Style::Blocked,
    }
}
