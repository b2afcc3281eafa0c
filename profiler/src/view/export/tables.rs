//! Tables for spreadsheets, databases and data frames. Times are nanoseconds, and columns are named as the fields
//! of the document (docs/json.md).

use std::io;

use crate::analyze::{By, LockRow, is_waiting_for_work, locks, services};
use crate::model::{Latency, Nanos, Profile, State, Wait, state_name};
use crate::view::{locks as lock_words, words};

/// A table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// A row for each thread.
    Threads,
    /// A row for each process, kind, object and stack.
    Waits,
    /// A row for each lock.
    Locks,
    /// A row for each service and label.
    Requests,
}

/// Values of a row, in the order of the columns.
type Row = Vec<String>;

/// A table with its names in the first line (RFC 4180).
///
/// # Errors
/// When memory for it cannot be had.
pub fn csv(profile: &Profile, table: Table) -> io::Result<Vec<u8>> {
    let (columns, rows): (Row, Vec<Row>) = match table {
        Table::Threads => threads(profile),
        Table::Waits => (names(&WAITS), profile.waits.iter().map(wait).collect()),
        Table::Locks => (names(&LOCKS), locks(profile, By::Lock).iter().map(lock).collect()),
        Table::Requests => (names(&REQUESTS), requests(profile)),
    };
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(columns)?;
    for row in rows {
        writer.write_record(row)?;
    }
    writer.into_inner().map_err(|error| error.into_error())
}

fn names(columns: &[&str]) -> Row {
    columns.iter().map(|name| (*name).to_owned()).collect()
}

fn threads(profile: &Profile) -> (Row, Vec<Row>) {
    let states: Vec<State> =
        State::ALL.into_iter().filter(|state| *state != State::Unsettled).collect();
    let mut columns = names(&["pid", "tid", "comm", "process", "wall_ns"]);
    columns.extend(states.iter().map(|state| format!("{}_ns", state_name(*state))));
    columns.extend(names(&["preempted_ns", "voluntary", "involuntary", "threads", "ended"]));
    let row = |books: &crate::model::ThreadBooks| {
        let mut row = vec![
            books.pid.to_string(),
            books.tid.to_string(),
            books.comm.clone(),
            books.process.clone(),
            ns(books.wall),
        ];
        row.extend(states.iter().map(|state| ns(books.times.of(*state))));
        row.extend([
            ns(books.preempted),
            books.voluntary.to_string(),
            books.involuntary.to_string(),
            books.folded.to_string(),
            books.ended.to_string(),
        ]);
        row
    };
    (columns, profile.threads.iter().map(row).collect())
}

const WAITS: [&str; 16] = [
    "pid",
    "comm",
    "thread_groups",
    "kind",
    "syscall",
    "object",
    "waiting_for_work",
    "count",
    "clipped",
    "total_ns",
    "p50_ns",
    "p95_ns",
    "p99_ns",
    "max_ns",
    "threads",
    "stack",
];

fn wait(wait: &Wait) -> Row {
    let stack: Vec<&str> = wait.stack.iter().map(|frame| frame.name.as_str()).collect();
    let mut row = vec![
        wait.pid.to_string(),
        wait.comm.clone(),
        wait.thread_groups.join(" "),
        state_name(wait.kind).to_owned(),
        wait.syscall.clone().unwrap_or_default(),
        words::what(&wait.object, wait.syscall.as_deref()),
        is_waiting_for_work(wait).to_string(),
        wait.count.to_string(),
        wait.clipped.to_string(),
        ns(wait.total),
    ];
    row.extend(latencies(&wait.latency));
    row.extend([wait.threads.to_string(), stack.join(" < ")]);
    row
}

const LOCKS: [&str; 14] = [
    "lock",
    "sort",
    "contention",
    "comm",
    "processes",
    "threads",
    "count",
    "total_ns",
    "p50_ns",
    "p95_ns",
    "p99_ns",
    "max_ns",
    "queue_mean",
    "behind",
];

fn lock(row: &LockRow) -> Row {
    let mut values = vec![
        lock_words::name(row).replace(crate::view::layout::TIE, " "),
        words::sort(row.sort).to_owned(),
        row.is_contention().to_string(),
        row.comm.clone(),
        row.pids.len().to_string(),
        row.threads.to_string(),
        row.count.to_string(),
        ns(row.total),
    ];
    values.extend(latencies(&row.latency));
    let behind = row.behind.first().map(|behind| behind.group.clone());
    values.extend([format!("{:.3}", row.queue.mean), behind.unwrap_or_default()]);
    values
}

const REQUESTS: [&str; 16] = [
    "service",
    "process",
    "protocol",
    "label",
    "count",
    "per_second",
    "p50_ns",
    "p90_ns",
    "p95_ns",
    "p99_ns",
    "p999_ns",
    "max_ns",
    "pipelined",
    "calls",
    "bytes_in",
    "bytes_out",
];

fn requests(profile: &Profile) -> Vec<Row> {
    let services = services(profile);
    let groups = services.iter().flat_map(|rows| {
        let service = rows.service;
        rows.groups.iter().map(move |row| (service, row))
    });
    groups
        .map(|(service, row)| {
            let (group, times) = (row.group, row.quantiles);
            let mut values = vec![
                service.address.clone(),
                service.process.clone(),
                group.label.protocol.name().to_owned(),
                group.label.text.clone(),
                group.count.to_string(),
                format!("{:.3}", row.rate),
            ];
            let times = [times.p50, times.p90, times.p95, times.p99, times.p999, times.max];
            values.extend(times.map(ns));
            let counts = [group.pipelined, group.calls, group.bytes_in, group.bytes_out];
            values.extend(counts.map(|count| count.to_string()));
            values
        })
        .collect()
}

fn latencies(latency: &Latency) -> [String; 4] {
    let quantile = |share| ns(latency.quantile(share));
    [quantile(0.5), quantile(0.95), quantile(0.99), ns(latency.max())]
}

fn ns(time: Nanos) -> String {
    time.0.to_string()
}
