//! Threads as bars: whether they ran, waited, or had nothing to do.

use std::collections::BTreeSet;

use maud::{Markup, html};

use super::{Segment, bar};
use crate::analyze::{ProcessRows, Row};
use crate::model::{Nanos, Part, State, state_name};
use crate::view::units::{count, duration, tight_percent};
use crate::view::{bars, words};

/// Rows of processes and groups, and of single threads, at most: a browser takes long for more.
const GROUPS: usize = 200;
const THREADS: usize = 2_000;

/// Processes and their groups of threads, and below each single thread; nothing where none lived.
pub fn body(processes: &[ProcessRows]) -> Option<Markup> {
    let groups: Vec<_> = processes.iter().flat_map(of_process).collect();
    let mut threads: Vec<_> = processes.iter().flat_map(of_threads).collect();
    threads.sort_by_key(|entry| std::cmp::Reverse(entry.row.budget.working()));
    let is_estimated = groups.iter().any(|entry| entry.row.estimated);
    (!groups.is_empty()).then(|| {
        html! {
            (legend(&groups))
            (table(&groups[..groups.len().min(GROUPS)], "process and threads"))
            (rest(&groups, GROUPS))
            @if threads.len() > 1 {
                details {
                    summary { (count(threads.len() as u64)) " threads one by one, most working time first" }
                    (table(&threads[..threads.len().min(THREADS)], "thread"))
                    (rest(&threads, THREADS))
                }
            }
            @if is_estimated {
                p { "~ estimated: idle waits are kept by process, and rows shared them." }
            }
        }
    })
}

struct Entry<'a> {
    label: String,
    is_process: bool,
    row: &'a Row,
}

fn of_process(rows: &ProcessRows) -> Vec<Entry<'_>> {
    let process = &rows.process;
    let mut entries = vec![Entry { label: bars::label(process), is_process: true, row: process }];
    let groups = rows.groups.iter().filter(|_| !rows.is_its_group());
    entries.extend(groups.map(|group| {
        let label = words::name_or_none(&group.group.name).to_owned();
        Entry { label, is_process: false, row: &group.group }
    }));
    entries
}

fn of_threads(rows: &ProcessRows) -> impl Iterator<Item = Entry<'_>> {
    let threads = rows.groups.iter().flat_map(|group| &group.threads);
    let process = words::name_or_none(&rows.process.name);
    threads.map(move |row| {
        let label = format!("{}, {process}", bars::label(row));
        Entry { label, is_process: false, row }
    })
}

fn rest(entries: &[Entry<'_>], shown: usize) -> Markup {
    let rest = entries.get(shown..).unwrap_or_default();
    let working: Nanos = rest.iter().map(|entry| entry.row.budget.working()).sum();
    html! {
        @if !rest.is_empty() {
            p { "… and " (count(rest.len() as u64)) " more rows (" (duration(working)) " working)." }
        }
    }
}

/// The bars are on one scale, so that a thread that works more than others stands out.
fn table(entries: &[Entry<'_>], of: &str) -> Markup {
    let most = entries.iter().map(|entry| entry.row.budget.working()).max().unwrap_or_default();
    html! {
        table.threads {
            thead { tr {
                th { (of) } th.n { "threads" } th.wide { "working time: all but idle" } th.n {}
                @for title in ["run", "cpu", "wait", "idle"] { th.n { (title) } }
            } }
            tbody { @for entry in entries {
                tr class=[entry.is_process.then_some("process")] {
                    th scope="row" { (entry.label) }
                    td.n { (count(entry.row.threads)) }
                    td { (bar(&segments(entry.row, most))) }
                    td.n { (duration(entry.row.budget.working())) }
                    (shares(entry.row))
                }
            } }
        }
    }
}

fn shares(row: &Row) -> Markup {
    let budget = &row.budget;
    let exact = [budget.running(), budget.runnable()].map(|time| (time, false));
    let perhaps = [budget.blocked(), budget.idle()].map(|time| (time, row.estimated));
    html! {
        @for (time, is_estimated) in exact.into_iter().chain(perhaps) {
            td.n {
                @if is_estimated && time > Nanos(0) { "~" }
                (tight_percent(time.share_of(budget.wall())))
            }
        }
    }
}

/// What a row's working time consists of.
fn working(row: &Row) -> impl Iterator<Item = (State, Nanos)> {
    let budget = &row.budget;
    let own = [(State::Running, budget.running()), (State::Runnable, budget.runnable())];
    let waits = State::ALL.into_iter().filter(|state| state.is_wait());
    own.into_iter().chain(waits.map(|kind| (kind, budget.blocked_in(kind))))
}

fn segments(row: &Row, most: Nanos) -> Vec<Segment> {
    let segment = |(state, time): (State, Nanos)| Segment {
        share: time.share_of(most),
        class: state_name(state),
        title: format!("{}: {}", words::part(Part::In(state)), duration(time)),
    };
    working(row).map(segment).collect()
}

/// The kinds of time that these rows have.
fn legend(entries: &[Entry<'_>]) -> Markup {
    let known: BTreeSet<State> = entries
        .iter()
        .flat_map(|entry| working(entry.row))
        .filter_map(|(state, time)| (time > Nanos(0)).then_some(state))
        .collect();
    html! {
        p.legend { @for state in known {
            span { span class={ "key k-" (state_name(state)) } {} (words::part(Part::In(state))) } " "
        } }
    }
}
