//! What the probes know about locks, and why waits took so long.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use profiler_common::blame::{
    self as wire, BlameKey, DOING_FORGOTTEN, DOING_NOT_FOLLOWED, DOING_QUEUED,
};
use profiler_common::lock::{
    self, KernelLockKey, KernelLockStats, LCB_MUTEX, LCB_READ, LCB_RT, LCB_SPIN, LCB_WRITE,
    QueueKey,
};
use profiler_common::thread::ThreadRecord;
use profiler_common::wait::NO_SYSCALL;

use super::assemble::{NamedStacks, Outcome};
use super::books::text;
use super::describe;
use super::waits::RowKey;
use super::{Collector, Names};
use crate::model::{
    Blame, Doing, Frame, Futex, Holds, KernelLock, KernelLockSort, Latency, Nanos, Pid, Queue,
    Reason, ReasonId, State, Stuck, Tid, group_name,
};

/// Threads waiting at the end that are kept one by one.
const STUCK_KEPT: usize = 4_096;

/// A reason as the probes have it.
pub type RawReason = wire::Reason;

/// Sums of the waits for a lock of the kernel.
#[derive(Clone, Default)]
pub(super) struct KernelLockRow {
    stats: Option<KernelLockStats>,
    latency: Latency,
    total: Nanos,
    count: u64,
    mmap_locks: u64,
    is_several: bool,
    groups: BTreeSet<String>,
    threads: BTreeSet<u32>,
}

impl KernelLockRow {
    fn merge(&mut self, other: Self) {
        self.is_several |= other.is_several;
        if let (Some(mine), Some(theirs)) = (self.stats, other.stats) {
            self.is_several |= mine.lock != theirs.lock;
        }
        self.stats = self.stats.or(other.stats);
        self.latency.merge(&other.latency);
        self.total += other.total;
        self.count += other.count;
        self.mmap_locks += other.mmap_locks;
        self.groups.extend(other.groups);
        self.threads.extend(other.threads);
    }
}

/// What waits for a lock of the kernel must share to be one row.
type KernelLockPlace = (u32, u32, u64);

/// A thread that waits for a futex at the end.
#[derive(Clone)]
pub(super) struct StuckThread {
    pid: u32,
    tid: u32,
    comm: String,
    address: u64,
    detail: u8,
    waited: Nanos,
    stack: u64,
}

/// What the collector keeps of locks.
#[derive(Clone, Default)]
pub(super) struct Locks {
    pub kernel: HashMap<KernelLockPlace, KernelLockRow>,
    pub stuck: Vec<StuckThread>,
}

impl Locks {
    /// Stacks by process and number.
    pub fn stacks(&self) -> impl Iterator<Item = (u32, u64)> {
        let of_kernel = self.kernel.keys().map(|(pid, _, stack)| (*pid, *stack));
        of_kernel.chain(self.stuck.iter().map(|thread| (thread.pid, thread.stack)))
    }
}

impl Collector {
    /// Adds a part of some waits of a thread to a reason.
    pub fn add_blame(&mut self, key: &BlameKey, blame: &wire::Blame) {
        let seed = self.seed_stacks.get(&key.wait.serial).copied().unwrap_or(0);
        let Some((row, _)) = self.row_key(&key.wait, seed) else { return };
        if let Some(row) = self.rows.get_mut(&row) {
            let sum = row.blames.entry(key.reason).or_default();
            sum.0 += Nanos(blame.ns);
            sum.1 += blame.count;
        }
    }

    /// Whether a part of a wait is of a thread that has ended.
    pub fn is_gone_blame(&self, key: &BlameKey) -> bool {
        self.is_gone(&key.wait)
    }

    /// Whether waits for a lock of the kernel are of a thread that has ended.
    pub fn is_gone_kernel_lock(&self, key: &KernelLockKey) -> bool {
        self.gone.contains(&key.serial)
    }

    /// Adds the waits of a thread for a lock of the kernel.
    pub fn add_kernel_lock(&mut self, key: &KernelLockKey, stats: &KernelLockStats) {
        let Some(owner) = self.owners.get(&key.serial).cloned() else { return };
        let place = (owner.pid, key.flags, key.stack);
        let row = self.locks.kernel.entry(place).or_default();
        row.latency.add_buckets(&stats.histogram, Nanos(stats.max_ns));
        row.total += Nanos(stats.total_ns);
        row.count += stats.count;
        row.mmap_locks += stats.mmap_locks;
        row.is_several |= stats.others > 0;
        row.is_several |= row.stats.is_some_and(|first| first.lock != stats.lock);
        row.stats.get_or_insert(*stats);
        row.groups.insert(owner.group);
        row.threads.insert(key.serial);
    }

    /// Notes a thread that waits for a futex when the window ends.
    pub(super) fn note_stuck(&mut self, thread: &ThreadRecord, row: &RowKey, waited: Nanos) {
        if row.kind != State::Futex as u8 || self.locks.stuck.len() >= STUCK_KEPT {
            return;
        }
        self.locks.stuck.push(StuckThread {
            pid: thread.pid,
            tid: thread.tid,
            comm: text(&thread.comm),
            address: row.object,
            detail: row.detail,
            waited,
            stack: row.stack,
        });
    }
}

/// The reasons of the probes, named, each once.
#[derive(Default)]
pub(super) struct Reasons {
    pub list: Vec<Reason>,
    places: HashMap<Reason, ReasonId>,
    known: HashMap<u64, Option<ReasonId>>,
}

impl Reasons {
    /// The reason with this number of the probes; none if it is not among them.
    pub fn find(
        &mut self,
        collector: &Collector,
        id: u64,
        outcome: &mut Outcome<'_>,
        named: &mut NamedStacks,
    ) -> Option<ReasonId> {
        if let Some(known) = self.known.get(&id) {
            return *known;
        }
        // Also the end of a circle, which the probes do not make but a broken table could hold.
        self.known.insert(id, None);
        let raw = outcome.reasons.get(&id).copied()?;
        let next = match raw.next {
            0 => None,
            next => self.find(collector, next, outcome, named),
        };
        let reason = Reason {
            pid: Pid(raw.pid),
            group: group_name(&outcome.names.clean(super::books::trimmed(&raw.comm))),
            release: collector.stack(raw.pid, raw.release, outcome, named),
            doing: doing(collector, &raw, next, outcome, named),
        };
        let place = ReasonId(u32::try_from(self.list.len()).ok()?);
        let place = *self.places.entry(reason.clone()).or_insert(place);
        if place.0 as usize == self.list.len() {
            self.list.push(reason);
        }
        self.known.insert(id, Some(place));
        Some(place)
    }
}

fn doing(
    collector: &Collector,
    raw: &RawReason,
    next: Option<ReasonId>,
    outcome: &mut Outcome<'_>,
    named: &mut NamedStacks,
) -> Doing {
    match (raw.kind, State::from_raw(raw.kind)) {
        (DOING_NOT_FOLLOWED, _) => Doing::NotFollowed,
        (DOING_FORGOTTEN, _) => Doing::Forgotten,
        (DOING_QUEUED, _) => Doing::Queued,
        (_, Some(State::Running)) => Doing::Running,
        (_, Some(State::Runnable)) => Doing::Runnable,
        (_, Some(kind)) if kind.is_wait() => {
            let key = RowKey {
                pid: raw.pid,
                kind: raw.kind,
                detail: raw.detail,
                syscall: raw.syscall,
                object: raw.object,
                stack: raw.stack,
                in_kernel: false,
            };
            let object = outcome.objects.get(&raw.object);
            let object = describe::object(&key, &Default::default(), object, outcome.names);
            Doing::Waiting {
                kind,
                syscall: (raw.syscall != NO_SYSCALL).then(|| outcome.names.syscall(raw.syscall)),
                object,
                stack: collector.stack(raw.pid, raw.stack, outcome, named),
                next,
            }
        }
        _ => Doing::Forgotten,
    }
}

/// Blames of a row, most time first, together at most `total`: what was sampled stands for more
/// than its own time.
pub(super) fn blames(
    parts: impl Iterator<Item = (ReasonId, Nanos, u64)>,
    total: Nanos,
) -> Vec<Blame> {
    let mut sums: HashMap<ReasonId, (Nanos, u64)> = HashMap::new();
    for (reason, time, count) in parts {
        let sum = sums.entry(reason).or_default();
        sum.0 += time;
        sum.1 += count;
    }
    let all: Nanos = sums.values().map(|(time, _)| *time).sum();
    let fit = |time: Nanos| {
        if all <= total {
            return time;
        }
        Nanos((u128::from(time.0) * u128::from(total.0) / u128::from(all.0.max(1))) as u64)
    };
    let mut blames: Vec<Blame> = sums
        .into_iter()
        .map(|(reason, (time, count))| Blame { reason, time: fit(time), count })
        .collect();
    blames.sort_by_key(Blame::order);
    blames
}

/// The futexes that were waited for. Threads that were there before dwell, and still wait, are in no
/// queue of the probes.
pub(super) fn futexes(outcome: &mut Outcome<'_>, stuck: &[Stuck]) -> Vec<Futex> {
    let end = outcome.window.end;
    let start = outcome.window.start;
    let mut queues = std::mem::take(&mut outcome.queues);
    for thread in stuck {
        let key = QueueKey { address: thread.address, owner: 0, private: 1 };
        let is_known = |(known, queue): &(QueueKey, lock::Queue)| {
            known.address == thread.address && queue.pid == thread.pid.0
        };
        if !queues.iter().any(is_known) {
            let queue = lock::Queue { pid: thread.pid.0, values_mixed: 1, ..Default::default() };
            queues.push((key, queue));
        }
    }
    let mut futexes: Vec<Futex> = queues
        .into_iter()
        .map(|(key, queue)| Futex {
            pid: Pid(queue.pid),
            address: key.address,
            private: key.private != 0,
            place: outcome.names.place(queue.pid, key.address),
            queue: Queue { most: queue.most, busy: busy(&queue, start, end) },
            holds: Holds {
                count: queue.holds,
                total: Nanos(queue.hold_ns),
                longest: Nanos(queue.hold_max_ns),
                partial: queue.partial_holds,
            },
            value: (queue.values_mixed == 0).then_some(queue.value),
        })
        .collect();
    futexes.sort_by_key(Futex::order);
    futexes
}

/// With the time since somebody waits without a break, if somebody does.
fn busy(queue: &lock::Queue, start: Nanos, end: Nanos) -> Nanos {
    let open = match queue.waiting {
        0 => Nanos(0),
        _ => end.since(Nanos(queue.busy_since_ns).max(start)),
    };
    (Nanos(queue.busy_ns) + open).min(end.since(start))
}

impl Collector {
    /// The locks of the kernel, most time first.
    pub(super) fn kernel_locks(
        &self,
        rows: HashMap<KernelLockPlace, KernelLockRow>,
        outcome: &mut Outcome<'_>,
        named: &mut NamedStacks,
    ) -> Vec<KernelLock> {
        // What lies between a lock and the place that takes it may differ, and is not told.
        let mut merged: HashMap<(u32, KernelLockSort, Arc<[Frame]>), KernelLockRow> =
            HashMap::new();
        for ((pid, flags, stack), row) in rows {
            let stack = beyond_lock(&self.stack(pid, stack, outcome, named));
            merged.entry((pid, sort(flags), stack)).or_default().merge(row);
        }
        let mut locks: Vec<KernelLock> = merged
            .into_iter()
            .map(|((pid, sort, stack), row)| KernelLock {
                pid: Pid(pid),
                comm: {
                    let first = row.groups.first().cloned().unwrap_or_default();
                    let name = self.process_name(pid, &first, outcome.names);
                    outcome.names.clean(name.as_bytes())
                },
                thread_groups: cleaned(&row.groups, outcome.names),
                sort,
                is_mmap_lock: row.mmap_locks > 0 && row.mmap_locks * 2 >= row.count,
                stack,
                is_several: row.is_several,
                count: row.count,
                total: row.total,
                latency: row.latency,
                threads: row.threads.len() as u64,
            })
            .collect();
        locks.sort_by_cached_key(KernelLock::order);
        locks
    }

    /// The threads that wait for a futex at the end.
    pub(super) fn stuck(
        &self,
        threads: Vec<StuckThread>,
        outcome: &mut Outcome<'_>,
        named: &mut NamedStacks,
    ) -> Vec<Stuck> {
        let mut stuck: Vec<Stuck> = threads
            .into_iter()
            .map(|thread| Stuck {
                pid: Pid(thread.pid),
                tid: Tid(thread.tid),
                comm: outcome.names.clean(thread.comm.as_bytes()),
                address: thread.address,
                op: describe::futex_operation(thread.detail),
                waited: thread.waited,
                stack: self.stack(thread.pid, thread.stack, outcome, named),
                words: outcome.names.words(thread.pid, thread.address),
            })
            .collect();
        stuck.sort_by_key(Stuck::order);
        stuck
    }
}

pub(super) fn cleaned<'a>(
    groups: impl IntoIterator<Item = &'a String>,
    names: &mut dyn Names,
) -> Vec<String> {
    groups.into_iter().map(|group| names.clean(group.as_bytes())).collect()
}

fn sort(flags: u32) -> KernelLockSort {
    match flags {
        _ if flags & LCB_RT != 0 => KernelLockSort::RealTime,
        _ if flags & LCB_MUTEX != 0 => KernelLockSort::Mutex,
        _ if flags & LCB_READ != 0 => KernelLockSort::Read,
        _ if flags & LCB_WRITE != 0 => KernelLockSort::Write,
        _ if flags & LCB_SPIN != 0 => KernelLockSort::Spinning,
        // A spin lock's own path carries no bit on some releases, and a semaphore's none at all.
        _ => KernelLockSort::Mutex,
    }
}

/// Functions of the kernel that take a lock, and what lies between them and the probe; underscores in
/// front are ignored.
fn is_lock_function(name: &str) -> bool {
    const STARTS: [&str; 20] = [
        "bpf_",
        "contention_",
        "traceiter_",
        "probestub_",
        "mutex_lock",
        "ww_mutex",
        "rt_mutex",
        "down_",
        "percpu_down",
        "rwsem_",
        "queued_",
        "native_queued",
        "pv_queued",
        "raw_spin",
        "raw_read",
        "raw_write",
        "do_raw_",
        "rtlock_",
        "schedule",
        "0x",
    ];
    let bare = name.trim_start_matches('_');
    STARTS.iter().any(|start| bare.starts_with(start)) || name == "__mutex_lock"
}

/// A stack without the functions that take the lock.
fn beyond_lock(stack: &Arc<[Frame]>) -> Arc<[Frame]> {
    let first = stack.iter().position(|frame| !is_lock_function(&frame.name)).unwrap_or(0);
    stack[first..].into()
}
