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

/// A row for each part; both columns sum to their last row.
pub fn lines(sets: &Sets, width: usize) -> Vec<Line> {
    let (median, tail) = (&sets.median, &sets.tail);
    if median.count == 0 || tail.count == 0 {
        return Vec::new();
    }
    let room = width - 3 * FIGURE - SHARE;
    let mut lines = head(sets, room);
    let (mut rest_median, mut rest_tail, mut rest) = (Nanos(0), Nanos(0), 0);
    for ((part, usual), (_, slow)) in median.parts().into_iter().zip(tail.parts()) {
        let is_small = usual.share_of(median.mean()) < LEAST && slow.share_of(tail.mean()) < LEAST;
        match (usual + slow, is_small) {
            (Nanos(0), _) => {}
            (_, true) => {
                (rest_median, rest_tail) = (rest_median + usual, rest_tail + slow);
                rest += 1;
            }
            (_, false) => {
                let times = [duration(usual), duration(slow)];
                let more = Change::between(usual, slow);
                lines.push(line(words::part(part), times, more, sets, style(part), room));
            }
        }
    }
    if rest > 0 {
        let times = [duration(rest_median), duration(rest_tail)];
        let more = Change::between(rest_median, rest_tail);
        let name = format!("{} more, each below 0.5%", count(rest));
        lines.push(line(&name, times, more, sets, Style::Faint, room));
    }
    let (usual, slow) = (median.residual(), tail.residual());
    if usual.0 != 0 || slow.0 != 0 {
        let more = Change(slow.0.saturating_sub(usual.0));
        let name = "in no part (residual)";
        lines.push(line(name, [change(usual), change(slow)], more, sets, Style::Faint, room));
    }
    let times = [duration(median.mean()), duration(tail.mean())];
    lines.push(line("latency", times, sets.excess(), sets, Style::Strong, room));
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

fn line(
    name: &str,
    times: [String; 2],
    more: Change,
    sets: &Sets,
    style: Style,
    room: usize,
) -> Line {
    let mut line = Line::new(style, left(&format!("{}{name}", " ".repeat(INDENT)), room));
    let [usual, slow] = times;
    let figures = right(&usual, FIGURE) + &right(&slow, FIGURE) + &right(&change(more), FIGURE);
    let style = if style == Style::Strong { Style::Strong } else { Style::Plain };
    line.push(style, figures + &right(&share(more, sets.excess()), SHARE));
    line
}

/// Nothing where there is no difference to speak of, or this part makes it smaller.
fn share(more: Change, whole: Change) -> String {
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
