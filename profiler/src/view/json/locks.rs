//! The part of the document that is about locks.

use serde::Serialize;

use super::super::words;
use crate::analyze::{Behind, By, Deadlock, LockRow, Part, Sort, deadlocks, locks};
use crate::model::{Doing, Frame, Holds, Nanos, Pid, Profile, Tid, WaitObject, state_name};

/// A row of `locks`.
#[derive(Debug, Serialize)]
pub struct Lock {
    kind: &'static str,
    evidence: String,
    thing: Option<&'static str>,
    contention: bool,
    spins: bool,
    pids: Vec<Pid>,
    comm: String,
    address: Option<String>,
    shared: bool,
    place: String,
    object: Option<WaitObject>,
    locks: u64,
    count: u64,
    clipped: u64,
    total_ns: Nanos,
    p50_ns: Nanos,
    p95_ns: Nanos,
    p99_ns: Nanos,
    max_ns: Nanos,
    threads: u64,
    thread_groups: Vec<String>,
    queue: Queue,
    ended: Ended,
    owner_proved: bool,
    hold: Option<Hold>,
    sites: Vec<Site>,
    behind: Vec<Holder>,
}

#[derive(Debug, Serialize)]
struct Queue {
    mean: f64,
    max: Option<u64>,
    busy_share: Option<f64>,
}

#[derive(Debug, Serialize)]
struct Ended {
    woken: u64,
    timeout: u64,
    signal: u64,
    unknown: u64,
}

#[derive(Debug, Serialize)]
struct Hold {
    count: u64,
    mean_ns: Nanos,
    max_ns: Nanos,
    partial: u64,
}

#[derive(Debug, Serialize)]
struct Site {
    stack: Vec<String>,
    count: u64,
    total_ns: Nanos,
}

/// Behind whom: an element of `behind`.
#[derive(Debug, Serialize)]
pub struct Holder {
    pids: Vec<Pid>,
    comm: String,
    stack: Vec<String>,
    total_ns: Nanos,
    share: f64,
    doing: Vec<Activity>,
}

#[derive(Debug, Serialize)]
struct Activity {
    state: &'static str,
    syscall: Option<String>,
    object: Option<WaitObject>,
    stack: Vec<String>,
    total_ns: Nanos,
    share: f64,
    behind: Vec<Holder>,
}

/// A row of `deadlocks`.
#[derive(Debug, Serialize)]
pub struct Circle {
    proved: bool,
    threads: Vec<Member>,
}

#[derive(Debug, Serialize)]
struct Member {
    pid: Pid,
    tid: Tid,
    comm: String,
    address: String,
    owner_tid: Option<Tid>,
}

/// All locks of a profile.
pub fn rows(profile: &Profile, by: By) -> impl Iterator<Item = Lock> {
    locks(profile, by).into_iter().map(row)
}

/// All deadlocks of a profile.
pub fn circles(profile: &Profile) -> Vec<Circle> {
    deadlocks(profile).into_iter().map(circle).collect()
}

/// Word by which a sort of lock is named.
pub fn sort_name(sort: Sort) -> &'static str {
    match sort {
        Sort::Lock => "lock",
        Sort::ReadWriteLock => "rwlock",
        Sort::Interpreter => "interpreter_lock",
        Sort::Database => "database_lock",
        Sort::File => "file_lock",
        Sort::Kernel => "kernel_lock",
        Sort::Barrier => "barrier",
        Sort::Unknown => "unknown",
        Sort::Others => "other",
        Sort::Semaphore => "semaphore",
        Sort::Condition => "condition",
        Sort::Join => "join",
    }
}

fn row(row: LockRow) -> Lock {
    Lock {
        kind: sort_name(row.sort),
        contention: row.is_contention(),
        spins: row.is_spinning,
        p50_ns: row.latency.quantile(0.5),
        p95_ns: row.latency.quantile(0.95),
        p99_ns: row.latency.quantile(0.99),
        max_ns: row.latency.max(),
        evidence: row.evidence,
        thing: row.thing,
        pids: row.pids.into_iter().collect(),
        comm: row.comm,
        address: row.address.map(|address| format!("{address:#x}")),
        shared: row.is_shared,
        place: words::place(&row.place),
        object: row.object,
        locks: row.locks,
        count: row.count,
        clipped: row.clipped,
        total_ns: row.total,
        threads: row.threads,
        thread_groups: row.thread_groups.into_iter().collect(),
        queue: Queue { mean: row.queue.mean, max: row.queue.most, busy_share: row.queue.busy },
        ended: Ended {
            woken: row.ended.woken,
            timeout: row.ended.timeout,
            signal: row.ended.signal,
            unknown: row.ended.unknown,
        },
        owner_proved: row.is_owner_proved,
        hold: row.holds.map(hold),
        sites: row
            .sites
            .iter()
            .map(|site| Site { stack: names(&site.stack), count: site.count, total_ns: site.total })
            .collect(),
        behind: row.behind.into_iter().map(holder).collect(),
    }
}

fn hold(holds: Holds) -> Hold {
    Hold {
        count: holds.count,
        mean_ns: Nanos(holds.total.0 / holds.count.max(1)),
        max_ns: holds.longest,
        partial: holds.partial,
    }
}

/// Behind whom.
pub fn holder(behind: Behind) -> Holder {
    Holder {
        pids: behind.pids.into_iter().collect(),
        comm: behind.group,
        stack: names(&behind.release),
        total_ns: behind.total,
        share: behind.share,
        doing: behind.doing.into_iter().map(activity).collect(),
    }
}

fn activity(part: Part) -> Activity {
    let (total_ns, share) = (part.total, part.share);
    let behind = part.behind.into_iter().map(holder).collect();
    let plain = |state| Activity {
        state,
        syscall: None,
        object: None,
        stack: Vec::new(),
        total_ns,
        share,
        behind: Vec::new(),
    };
    match part.doing {
        Doing::Running => plain("running"),
        Doing::Runnable => plain("runnable"),
        Doing::Queued => plain("queued"),
        Doing::NotFollowed => plain("not_followed"),
        Doing::Forgotten => plain("unknown"),
        Doing::Waiting { kind, syscall, object, stack, .. } => Activity {
            state: state_name(kind),
            syscall,
            object: Some(object),
            stack: names(&stack),
            total_ns,
            share,
            behind,
        },
    }
}

fn circle(deadlock: Deadlock) -> Circle {
    let threads = deadlock.threads.into_iter().map(|thread| Member {
        pid: thread.pid,
        tid: thread.tid,
        comm: thread.comm,
        address: format!("{:#x}", thread.address),
        owner_tid: thread.owner,
    });
    Circle { proved: deadlock.is_proved, threads: threads.collect() }
}

/// The names of a stack.
pub fn names(stack: &[Frame]) -> Vec<String> {
    stack.iter().map(|frame| frame.name.clone()).collect()
}
