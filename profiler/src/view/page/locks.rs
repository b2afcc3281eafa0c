//! Locks: who waits, behind whom, and what those were doing.

use maud::{Markup, html};

use super::{WIDTH, paragraphs, stack};
use crate::analyze::{Behind, LockRow, deadlocks};
use crate::model::{Nanos, Profile};
use crate::view::locks;
use crate::view::units::{count, counted, duration, percent};
use crate::view::words;

/// Locks, holders of each, and what those were doing, shown.
const LOCKS: usize = 50;
const HOLDERS: usize = 4;
const DOINGS: usize = 3;

/// Deadlocks, and then a row for each lock; nothing where no lock was waited for.
pub fn body(profile: &Profile, rows: &[LockRow]) -> Option<Markup> {
    let deadlocks = locks::deadlock_lines(&deadlocks(profile), WIDTH);
    let (contended, parked): (Vec<_>, Vec<_>) = rows.iter().partition(|row| row.is_contention());
    let (contended, small): (Vec<_>, Vec<_>) =
        contended.into_iter().partition(|row| locks::is_worth_showing(row, profile));
    let small_time: Nanos = small.iter().map(|row| row.total).sum();
    (!rows.is_empty()).then(|| {
        html! {
            div.verdict { (paragraphs(&deadlocks)) }
            @if !contended.is_empty() { table {
                thead { tr {
                    th { "lock" } th { "waiting" } th.n { "waits" } th.n { "time" } th.n { "p50" } th.n { "p99" }
                    th.n { "max" } th { "queue and holds" } th { "behind" }
                } }
                tbody { @for row in contended.iter().take(LOCKS) { (lock(row)) } }
            } }
            @if let Some(more @ 1..) = contended.len().checked_sub(LOCKS) {
                p { "… and " (counted(more as u64, "more lock")) "." }
            }
            @if !small.is_empty() {
                p { "Hardly waited for, and not shown: " (counted(small.len() as u64, "lock")) ", " (duration(small_time)) " together." }
            }
            @if !parked.is_empty() {
                p { "No contention, and not shown: " (counted(parked.len() as u64, "place")) " at which idle threads rest." }
            }
        }
    })
}

fn lock(row: &LockRow) -> Markup {
    html! {
        tr {
            th scope="row" { (locks::name(row)) @for site in row.sites.iter().take(1) { (stack(&site.stack)) } }
            td { (locks::who(row)) }
            td.n { (count(row.count)) }
            td.n { (duration(row.total)) }
            @for share in [0.5, 0.99] { td.n { (duration(row.latency.quantile(share))) } }
            td.n { (duration(row.latency.max())) }
            td { @for text in locks::queue(row).into_iter().chain(locks::held(row)) { p { (text) } } }
            td { @for behind in row.behind.iter().take(HOLDERS) { (holder(behind)) } }
        }
    }
}

fn holder(behind: &Behind) -> Markup {
    html! {
        p {
            (words::name_or_none(&behind.group)) (locks::pids(behind)) ", " (percent(behind.share)) ": "
            @for (place, part) in behind.doing.iter().take(DOINGS).enumerate() {
                @if place > 0 { "; " }
                (locks::short(&part.doing)) " " (percent(part.share))
            }
        }
    }
}
