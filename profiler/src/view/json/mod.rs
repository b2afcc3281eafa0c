//! The document for programs: docs/json.md, docs/schema/dwell-1.schema.json.

mod compare;
mod graph;
mod lazy;
mod load;
mod locks;
mod requests;
mod verdict;

pub use compare::comparison;

use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};

use self::lazy::{DependencyRows, QueueRows, RequestRows, VerdictRow};
use crate::analyze::{By, is_waiting_for_work};
use crate::model::{
    Cause, CpuSupply, CpuWait, Frame, Host, Nanos, Pid, Profile, StackReach, State, StateTimes,
    Target, ThreadBooks, Tid, Trust, Wait, WaitObject, WakerCount, state_name,
};

/// Name and version of the format.
const SCHEMA: &str = "dwell/1";

/// A profile as a document.
#[derive(Debug, Serialize)]
pub struct Document<'a> {
    schema: &'static str,
    window: Window,
    host: &'a Host,
    target: &'a Target,
    trust: &'a Trust,
    cpu: &'a CpuSupply,
    threads: Rows<'a, ThreadBooks>,
    waits: Rows<'a, Wait>,
    cpu_waits: Rows<'a, CpuWait>,
    locks: LockRows<'a>,
    deadlocks: Vec<locks::Circle>,
    graph: Chains<'a>,
    verdict: VerdictRow<'a>,
    requests: RequestRows<'a>,
    dependencies: DependencyRows<'a>,
    queues: QueueRows<'a>,
}

/// What a document holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DocumentOptions {
    /// What makes waits waits for the same lock.
    pub by: By,
    /// How many of the slowest requests of each service.
    pub slowest: usize,
}

impl Default for DocumentOptions {
    fn default() -> Self {
        Self { by: By::Lock, slowest: 10 }
    }
}

/// Rows are made one by one while they are written: there may be tens of thousands.
#[derive(Debug)]
struct Rows<'a, T>(&'a [T]);

/// Made while they are written, one after the other: each takes megabytes where there are thousands of
/// threads.
#[derive(Debug)]
struct LockRows<'a>(&'a Profile, By);

impl Serialize for LockRows<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(locks::rows(self.0, self.1))
    }
}

/// As [`LockRows`].
#[derive(Debug)]
struct Chains<'a>(&'a Profile);

impl Serialize for Chains<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        graph::chains(self.0).serialize(serializer)
    }
}

impl Serialize for Rows<'_, ThreadBooks> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(thread))
    }
}

impl Serialize for Rows<'_, Wait> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(wait))
    }
}

impl Serialize for Rows<'_, CpuWait> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(cpu_wait))
    }
}

#[derive(Debug, Serialize)]
struct CpuWaitRow<'a> {
    pid: Pid,
    comm: &'a str,
    thread_groups: &'a [String],
    preempted: bool,
    count: u64,
    total_ns: Nanos,
    max_ns: Nanos,
    p50_ns: Nanos,
    p95_ns: Nanos,
    p99_ns: Nanos,
    threads: u64,
    behind: Vec<Before<'a>>,
    other_behind: u64,
}

/// Who had the CPU before; nobody, if it was idle.
#[derive(Debug, Serialize)]
struct Before<'a> {
    pid: Pid,
    tid: Tid,
    comm: &'a str,
    idle: bool,
    count: u64,
}

fn cpu_wait(wait: &CpuWait) -> CpuWaitRow<'_> {
    let before = wait.behind.iter().map(|before| Before {
        pid: before.pid,
        tid: before.tid,
        comm: &before.comm,
        idle: before.cause != Cause::Thread,
        count: before.count,
    });
    CpuWaitRow {
        pid: wait.pid,
        comm: &wait.comm,
        thread_groups: &wait.thread_groups,
        preempted: wait.preempted,
        count: wait.count,
        total_ns: wait.total,
        max_ns: wait.latency.max(),
        p50_ns: wait.latency.quantile(0.5),
        p95_ns: wait.latency.quantile(0.95),
        p99_ns: wait.latency.quantile(0.99),
        threads: wait.threads,
        behind: before.collect(),
        other_behind: wait.other_behind,
    }
}

#[derive(Debug, Serialize)]
struct Window {
    start_monotonic_ns: Nanos,
    end_monotonic_ns: Nanos,
    duration_ns: Nanos,
}

#[derive(Debug, Serialize)]
struct Thread<'a> {
    pid: Pid,
    tid: Tid,
    comm: &'a str,
    process: &'a str,
    wall_ns: Nanos,
    running_ns: Nanos,
    runnable_ns: Nanos,
    preempted_ns: Nanos,
    blocked_ns: Blocked,
    voluntary: u64,
    involuntary: u64,
    threads: u64,
    ended: bool,
    kernel_thread: bool,
}

/// Every kind of wait, and the unattributed rest.
#[derive(Debug)]
struct Blocked(StateTimes);

impl Serialize for Blocked {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (kind, time) in self.0.waits() {
            map.serialize_entry(state_name(kind), &time)?;
        }
        let rest = State::Unattributed;
        map.serialize_entry(state_name(rest), &self.0.of(rest))?;
        map.end()
    }
}

#[derive(Debug, Serialize)]
struct WaitRow<'a> {
    pid: Pid,
    comm: &'a str,
    kind: &'static str,
    syscall: Option<&'a str>,
    object: &'a WaitObject,
    count: u64,
    clipped: u64,
    total_ns: Nanos,
    max_ns: Nanos,
    p50_ns: Nanos,
    p95_ns: Nanos,
    p99_ns: Nanos,
    threads: u64,
    thread_groups: &'a [String],
    waiting_for_work: bool,
    wakers: &'a [WakerCount],
    other_wakers: u64,
    stack: Vec<&'a str>,
    stack_addresses: Vec<String>,
    stack_truncated: bool,
}

/// The document of a profile: all of its threads, waits, locks and requests.
pub fn document(profile: &Profile, options: DocumentOptions) -> Document<'_> {
    let window = Window {
        start_monotonic_ns: profile.window.start,
        end_monotonic_ns: profile.window.end,
        duration_ns: profile.window.duration(),
    };
    Document {
        schema: SCHEMA,
        window,
        host: &profile.host,
        target: &profile.target,
        trust: &profile.trust,
        cpu: &profile.cpu,
        threads: Rows(&profile.threads),
        waits: Rows(&profile.waits),
        cpu_waits: Rows(&profile.cpu_waits),
        locks: LockRows(profile, options.by),
        deadlocks: locks::circles(profile),
        graph: Chains(profile),
        verdict: VerdictRow(profile),
        requests: RequestRows(profile, options.slowest),
        dependencies: DependencyRows(profile),
        queues: QueueRows(profile),
    }
}

fn thread(books: &ThreadBooks) -> Thread<'_> {
    Thread {
        pid: books.pid,
        tid: books.tid,
        comm: &books.comm,
        process: &books.process,
        wall_ns: books.wall,
        running_ns: books.times.of(State::Running),
        runnable_ns: books.times.of(State::Runnable),
        preempted_ns: books.preempted,
        blocked_ns: Blocked(books.times),
        voluntary: books.voluntary,
        involuntary: books.involuntary,
        threads: books.folded,
        ended: books.ended,
        kernel_thread: books.in_kernel,
    }
}

fn wait(wait: &Wait) -> WaitRow<'_> {
    WaitRow {
        pid: wait.pid,
        comm: &wait.comm,
        kind: state_name(wait.kind),
        syscall: wait.syscall.as_deref(),
        object: &wait.object,
        count: wait.count,
        clipped: wait.clipped,
        total_ns: wait.total,
        max_ns: wait.latency.max(),
        p50_ns: wait.latency.quantile(0.5),
        p95_ns: wait.latency.quantile(0.95),
        p99_ns: wait.latency.quantile(0.99),
        threads: wait.threads,
        thread_groups: &wait.thread_groups,
        waiting_for_work: is_waiting_for_work(wait),
        wakers: &wait.wakers,
        other_wakers: wait.other_wakers,
        stack: wait.stack.iter().map(|frame| frame.name.as_str()).collect(),
        stack_addresses: addresses(&wait.stack),
        stack_truncated: wait.reach == StackReach::Truncated,
    }
}

/// One for each frame that is not inlined. As text: numbers in JSON are not exact beyond 2^53.
fn addresses(stack: &[Frame]) -> Vec<String> {
    let real = stack.iter().filter(|frame| !frame.inlined);
    real.map(|frame| format!("{:#x}", frame.address)).collect()
}
