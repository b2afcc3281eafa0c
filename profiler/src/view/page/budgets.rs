//! Requests: how long they take, and what those at the median and the slowest consist of.

use maud::{Markup, html};

use super::{Segment, WIDTH, bar, paragraphs, stack};
use crate::analyze::{Change, Quantiles, ServiceRows, Sets};
use crate::model::{Part, Profile, SlowRequest, State, state_name};
use crate::view::requests::{self, budget, slowest};
use crate::view::units::{change, count, counted, duration, rate};
use crate::view::words;

/// Services, requests by what they ask for, and slowest ones shown.
const SERVICES: usize = 8;
const GROUPS: usize = 20;
const SLOWEST: usize = 20;

/// Service by service; nothing where nothing was asked for.
pub fn body(profile: &Profile, services: &[ServiceRows<'_>]) -> Option<Markup> {
    let asked: Vec<_> = services.iter().filter(|row| row.count > 0).collect();
    (!asked.is_empty()).then(|| {
        html! {
            @for row in asked.iter().take(SERVICES) { (service(profile, row)) }
            @if let Some(more @ 1..) = asked.len().checked_sub(SERVICES) {
                p { "… and " (counted(more as u64, "more service")) "." }
            }
        }
    })
}

fn service(profile: &Profile, row: &ServiceRows<'_>) -> Markup {
    html! {
        h3 { (requests::name(row)) }
        p { (counted(row.count, "request")) ", " (rate(row.load.rate)) " a second." }
        (quantiles(row))
        (sets(&row.sets))
        (paragraphs(&requests::load::lines(row, WIDTH)))
        (paragraphs(&requests::warnings(row, WIDTH)))
        (slow(profile, &row.service.slowest))
    }
}

/// A row for all, and one for each thing that was asked for.
fn quantiles(row: &ServiceRows<'_>) -> Markup {
    let all = (row.groups.len() > 1).then(|| ("all requests".to_owned(), row.count, row.quantiles));
    let of_group = |group: &crate::analyze::GroupRow<'_>| {
        (words::label(&group.group.label), group.group.count, group.quantiles)
    };
    let rows = all.into_iter().chain(row.groups.iter().take(GROUPS).map(of_group));
    html! {
        table {
            thead { tr {
                th { "asked for" } th.n { "requests" }
                @for name in ["p50", "p90", "p99", "p99.9", "max"] { th.n { (name) } }
            } }
            tbody { @for (name, number, times) in rows {
                tr { th scope="row" { (name) } td.n { (count(number)) } (figures(&times)) }
            } }
        }
        @if let Some(more @ 1..) = row.groups.len().checked_sub(GROUPS) {
            p { "… and " (count(more as u64)) " more things that were asked for." }
        }
    }
}

fn figures(times: &Quantiles) -> Markup {
    let shown = [times.p50, times.p90, times.p99, times.p999, times.max];
    html! { @for time in shown { td.n { (duration(time)) } } }
}

/// Two bars on one scale, and the figures.
fn sets(sets: &Sets) -> Markup {
    let rows = budget::rows(sets);
    let (usual, slow) = (sets.median.mean(), sets.tail.mean());
    let longest = usual.max(slow).0.max(1) as f64;
    let segments = |of: fn(&budget::Row) -> Change| -> Vec<Segment> {
        let parts = rows.iter().map(|row| Segment {
            share: of(row).0.max(0) as f64 / longest,
            class: class(row.part),
            title: format!("{}: {}", row.name, budget::figure(of(row))),
        });
        parts.collect()
    };
    html! {
        @if sets.median.count > 0 && sets.tail.count > 0 {
            div.pair {
                span { "at the median, mean " (duration(usual)) } (bar(&segments(|row| row.usual)))
                span { "beyond p99, mean " (duration(slow)) } (bar(&segments(|row| row.slow)))
            }
            table {
                thead { tr {
                    th { "mean of requests" }
                    th.n { "at median (" (count(sets.median.count)) ")" }
                    th.n { "beyond p99 (" (count(sets.tail.count)) ")" }
                    th.n { "difference" } th.n { "share" }
                } }
                tbody { @for row in &rows {
                    tr {
                        th scope="row" { span class={ "key k-" (class(row.part)) } {} (row.name) }
                        td.n { (budget::figure(row.usual)) } td.n { (budget::figure(row.slow)) }
                        td.n { (change(row.more())) } td.n { (budget::share(row.more(), sets.excess())) }
                    }
                } }
                tfoot { tr {
                    th scope="row" { "latency" } td.n { (duration(usual)) } td.n { (duration(slow)) }
                    td.n { (change(sets.excess())) } td {}
                } }
            }
        }
    }
}

/// The colour of a part.
fn class(part: Option<Part>) -> &'static str {
    match part {
        Some(Part::In(state)) => state_name(state),
        Some(Part::Queued) => "queued",
        Some(Part::BehindOthers) => "behind",
        Some(Part::HandedOver) => "handed",
        Some(Part::Peers) => "peers",
        None => state_name(State::Unattributed),
    }
}

fn slow(profile: &Profile, all: &[SlowRequest]) -> Markup {
    html! {
        @if !all.is_empty() {
            details {
                summary { "The slowest requests, one by one" }
                table {
                    thead { tr {
                        th.n { "latency" } th { "asked for" } th.n { "after" } th { "thread" }
                        th { "consists of" } th { "longest wait" }
                    } }
                    tbody { @for one in all.iter().take(SLOWEST) { (request(profile, one)) } }
                }
            }
        }
    }
}

fn request(profile: &Profile, one: &SlowRequest) -> Markup {
    let longest = one.longest.and_then(|(id, time)| Some((profile.requests.place(id)?, time)));
    html! {
        tr {
            td.n { (duration(one.latency)) }
            td { (words::label(&one.label)) }
            td.n { (duration(one.arrival.since(profile.window.start))) }
            td { "pid " (one.pid) @if one.tid.0 != 0 { ", thread " (one.tid) } }
            td { (slowest::consists(one)) }
            td {
                @if let Some((place, time)) = longest {
                    (duration(time)) " " (words::part(Part::In(place.kind))) ", "
                    (words::what(&place.object, place.syscall.as_deref()))
                    (stack(&place.stack))
                }
            }
        }
    }
}
