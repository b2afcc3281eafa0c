//! The longest waits, with their stacks.

use maud::{Markup, html};

use super::stack;
use crate::analyze::TopWait;
use crate::view::units::{count, duration, percent};
use crate::view::{waits, words};

/// Waits shown.
const WAITS: usize = 60;

/// A row for each, those inside work first; nothing without waits.
pub fn body(rows: &[TopWait]) -> Option<Markup> {
    (!rows.is_empty()).then(|| {
        html! {
            table {
                thead { tr {
                    th { "wait" } th { "who" } th.n { "waits" } th.n { "time" } th.n { "share" } th.n { "p50" }
                    th.n { "p99" } th.n { "max" }
                } }
                tbody { @for row in rows.iter().take(WAITS) { (wait(row)) } }
            }
            @if let Some(more @ 1..) = rows.len().checked_sub(WAITS) {
                p { "… and " (count(more as u64)) " more." }
            }
        }
    })
}

fn wait(row: &TopWait) -> Markup {
    html! {
        tr class=[row.idle.map(|_| "faint")] {
            th scope="row" {
                (words::wait(row))
                @if let Some(reason) = row.idle { " (" (words::idle(reason)) ")" }
                (stack(&row.stack))
            }
            td { (waits::who(row)) }
            td.n { (count(row.count)) }
            td.n { (duration(row.total)) }
            td.n { (percent(row.share)) }
            @for share in [0.5, 0.99] { td.n { (duration(row.latency.quantile(share))) } }
            td.n { (duration(row.latency.max())) }
        }
    }
}
