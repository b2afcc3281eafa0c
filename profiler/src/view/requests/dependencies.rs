//! Whom the target calls.

use super::super::color::{Line, Style};
use super::super::layout::{TIE, cut_middle, wrap_words};
use super::super::units::{counted, duration, percent};
use super::super::words;
use super::{INDENT, LABEL, NAME, below, plain};
use crate::analyze::{Dependency, Fan};

/// Calls made while another one is open, from which on they are made side by side.
const PARALLEL: f64 = 0.1;

/// An entry for each peer.
pub fn lines(rows: &[Dependency], top: usize, width: usize) -> Vec<Line> {
    if rows.is_empty() {
        return Vec::new();
    }
    let mut lines = vec![Line::new(Style::Strong, "Calls to peers:")];
    for row in rows.iter().take(top) {
        let head = wrap_words(&head(row), &" ".repeat(INDENT), INDENT + 2, width);
        lines.extend(head.into_iter().map(|line| Line::new(Style::Plain, line)));
        if let Some(fan) = &row.fan {
            lines.extend(below(&fanned(fan), width));
        }
    }
    if let Some(more @ 1..) = rows.len().checked_sub(top) {
        lines.extend(plain(&format!("… and {}", counted(more as u64, "more peer")), width));
    }
    lines
}

/// A peer: its address, and who is behind it.
pub fn peer(address: &str, behind: Option<&str>) -> String {
    let address = cut_middle(words::name_or_none(address), LABEL);
    match behind.filter(|behind| !behind.is_empty()) {
        Some(behind) => format!("{address} ({})", cut_middle(behind, NAME)),
        None => address,
    }
}

fn head(row: &Dependency) -> String {
    let unserved = if row.serving { "" } else { ", not for a request" };
    format!(
        "{} from {}{unserved}: {}, p50{TIE}{}, p95{TIE}{}, p99{TIE}{}, max{TIE}{}",
        peer(&row.address, row.behind.as_deref()),
        cut_middle(words::name_or_none(&row.process), NAME),
        counted(row.count, "call"),
        duration(row.latency.quantile(0.5)),
        duration(row.latency.quantile(0.95)),
        duration(row.latency.quantile(0.99)),
        duration(row.latency.max()),
    )
}

fn fanned(fan: &Fan) -> String {
    let order = if fan.parallel >= PARALLEL { "side by side" } else { "one after the other" };
    let mut text = format!(
        "{:.1} calls for each of {}, {} of the time of all requests",
        fan.calls,
        counted(fan.requests, "request"),
        percent(fan.of_time)
    );
    if fan.calls > 1.0 {
        text += &format!("; {order}, the longest call is {} of it", percent(fan.slowest));
    }
    text
}
