//! What is in each table: the names, types and values of its columns, for every format.

use super::{Column, Table, Values};
use crate::analyze::{
    By, GroupRow, LockRow, Quantiles, is_waiting_for_work, locks as all_locks, services,
};
use crate::model::{Latency, Profile, Service, State, ThreadBooks, Wait, state_name};
use crate::view::layout::TIE;
use crate::view::{locks as lock_words, words};

/// The columns of a table.
pub fn of(profile: &Profile, table: Table) -> Vec<Column> {
    match table {
        Table::Threads => threads(&profile.threads),
        Table::Waits => waits(&profile.waits),
        Table::Locks => locks(&all_locks(profile, By::Lock)),
        Table::Requests => requests(profile),
    }
}

/// A column of this name and type, from the rows of the table.
fn column<R, T>(
    name: impl Into<String>,
    values: fn(Vec<T>) -> Values,
    rows: &[R],
    value: impl Fn(&R) -> T,
) -> Column {
    Column { name: name.into(), values: values(rows.iter().map(value).collect()) }
}

fn threads(rows: &[ThreadBooks]) -> Vec<Column> {
    use Values::{Count, Flag, Text, Time};
    let mut columns = vec![
        column("pid", Count, rows, |thread| thread.pid.0.into()),
        column("tid", Count, rows, |thread| thread.tid.0.into()),
        column("comm", Text, rows, |thread| thread.comm.clone()),
        column("process", Text, rows, |thread| thread.process.clone()),
        column("wall_ns", Time, rows, |thread| thread.wall),
    ];
    let states = State::ALL.into_iter().filter(|state| *state != State::Unsettled);
    columns.extend(states.map(|state| {
        column(format!("{}_ns", state_name(state)), Time, rows, |thread| thread.times.of(state))
    }));
    columns.extend([
        column("preempted_ns", Time, rows, |thread| thread.preempted),
        column("voluntary", Count, rows, |thread| thread.voluntary),
        column("involuntary", Count, rows, |thread| thread.involuntary),
        column("threads", Count, rows, |thread| thread.folded),
        column("ended", Flag, rows, |thread| thread.ended),
    ]);
    columns
}

fn waits(rows: &[Wait]) -> Vec<Column> {
    use Values::{Count, Flag, Text, TextOrNone, Time};
    let object = |wait: &Wait| words::what(&wait.object, wait.syscall.as_deref());
    let mut columns = vec![
        column("pid", Count, rows, |wait| wait.pid.0.into()),
        column("comm", Text, rows, |wait| wait.comm.clone()),
        column("thread_groups", Text, rows, |wait| wait.thread_groups.join(" ")),
        column("kind", Text, rows, |wait| state_name(wait.kind).to_owned()),
        column("syscall", TextOrNone, rows, |wait| wait.syscall.clone()),
        column("object", Text, rows, object),
        column("waiting_for_work", Flag, rows, is_waiting_for_work),
        column("count", Count, rows, |wait| wait.count),
        column("clipped", Count, rows, |wait| wait.clipped),
        column("total_ns", Time, rows, |wait| wait.total),
    ];
    columns.extend(latencies(rows, |wait| &wait.latency));
    columns.extend([
        column("threads", Count, rows, |wait| wait.threads),
        column("stack", Text, rows, stack),
    ]);
    columns
}

/// From the inside out.
fn stack(wait: &Wait) -> String {
    let names: Vec<&str> = wait.stack.iter().map(|frame| frame.name.as_str()).collect();
    names.join(" < ")
}

fn locks(rows: &[LockRow]) -> Vec<Column> {
    use Values::{Count, Flag, Mean, Text, TextOrNone, Time};
    let behind = |row: &LockRow| row.behind.first().map(|behind| behind.group.clone());
    let mut columns = vec![
        column("lock", Text, rows, |row| lock_words::name(row).replace(TIE, " ")),
        column("sort", Text, rows, |row| words::sort(row.sort).to_owned()),
        column("contention", Flag, rows, LockRow::is_contention),
        column("comm", Text, rows, |row| row.comm.clone()),
        column("processes", Count, rows, |row| row.pids.len() as u64),
        column("threads", Count, rows, |row| row.threads),
        column("count", Count, rows, |row| row.count),
        column("total_ns", Time, rows, |row| row.total),
    ];
    columns.extend(latencies(rows, |row| &row.latency));
    columns.extend([
        column("queue_mean", Mean, rows, |row| row.queue.mean),
        column("behind", TextOrNone, rows, behind),
    ]);
    columns
}

fn requests(profile: &Profile) -> Vec<Column> {
    use Values::{Count, Mean, Text, Time};
    type Row<'a> = (&'a Service, &'a GroupRow<'a>);
    let services = services(profile);
    let rows: Vec<Row<'_>> = services
        .iter()
        .flat_map(|rows| rows.groups.iter().map(|group| (rows.service, group)))
        .collect();
    let rows = rows.as_slice();
    let quantile = |name, of: fn(&Quantiles) -> _| {
        column(name, Time, rows, move |(_, row): &Row<'_>| of(&row.quantiles))
    };
    vec![
        column("service", Text, rows, |(service, _)| service.address.clone()),
        column("process", Text, rows, |(service, _)| service.process.clone()),
        column("protocol", Text, rows, |(_, row)| row.group.label.protocol.name().to_owned()),
        column("label", Text, rows, |(_, row)| row.group.label.text.clone()),
        column("count", Count, rows, |(_, row)| row.group.count),
        column("per_second", Mean, rows, |(_, row)| row.rate),
        quantile("p50_ns", |times| times.p50),
        quantile("p90_ns", |times| times.p90),
        quantile("p95_ns", |times| times.p95),
        quantile("p99_ns", |times| times.p99),
        quantile("p999_ns", |times| times.p999),
        quantile("max_ns", |times| times.max),
        column("pipelined", Count, rows, |(_, row)| row.group.pipelined),
        column("calls", Count, rows, |(_, row)| row.group.calls),
        column("bytes_in", Count, rows, |(_, row)| row.group.bytes_in),
        column("bytes_out", Count, rows, |(_, row)| row.group.bytes_out),
    ]
}

fn latencies<R>(rows: &[R], of: impl Fn(&R) -> &Latency) -> [Column; 4] {
    let quantile = |name, share| column(name, Values::Time, rows, |row| of(row).quantile(share));
    [
        quantile("p50_ns", 0.5),
        quantile("p95_ns", 0.95),
        quantile("p99_ns", 0.99),
        column("max_ns", Values::Time, rows, |row| of(row).max()),
    ]
}
