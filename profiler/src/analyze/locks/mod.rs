//! Locks: which ones are waited for, how badly, and behind whom.

mod behind;
mod place;
mod sort;

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

pub use behind::{Behind, Part, behind};
pub use place::taken_in;
pub use sort::Sort;

use self::sort::{Sorted, sort};
use crate::model::{
    Blame, Cause, Frame, Futex, Holds, KernelLock, Latency, Nanos, Pid, Place, Profile, State,
    Wait, WaitObject,
};

/// What makes waits waits for the same lock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum By {
    /// The lock, where it has an address; else the place that waits.
    #[default]
    Lock,
    /// The place that waits: locks of rows, shards or connections are one.
    Site,
}

/// A lock, or what looks like one.
#[derive(Clone, Debug)]
pub struct LockRow {
    /// What it is.
    pub sort: Sort,
    /// How that is known.
    pub evidence: String,
    /// What a database's lock is on, where that is known.
    pub thing: Option<&'static str>,
    /// Name of the process.
    pub comm: String,
    /// The processes that wait.
    pub pids: BTreeSet<Pid>,
    /// Names of the waiting threads, like ones folded.
    pub thread_groups: BTreeSet<String>,
    /// Its address in the first process; none where the row is of a place that waits.
    pub address: Option<u64>,
    /// Different locks in this row.
    pub locks: u64,
    /// Whether processes share it.
    pub is_shared: bool,
    /// Where it lies.
    pub place: Place,
    /// What it is, where it is no futex.
    pub object: Option<WaitObject>,
    /// Waits.
    pub count: u64,
    /// Of these, cut off by the edges of the window.
    pub clipped: u64,
    /// Their time.
    pub total: Nanos,
    /// Their durations.
    pub latency: Latency,
    /// Threads that waited; at least, where several rows have become one.
    pub threads: u64,
    /// Threads that wait at the same time.
    pub queue: Line,
    /// How its waits ended.
    pub ended: Ended,
    /// The one who wakes is proven to be the one who held it.
    pub is_owner_proved: bool,
    /// How long it was held; none where that is not known, or nobody holds it.
    pub holds: Option<Holds>,
    /// The places that wait, most time first.
    pub sites: Vec<Site>,
    /// Behind whom, most time first.
    pub behind: Vec<Behind>,
}

/// Threads waiting at the same time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Line {
    /// On average over the window.
    pub mean: f64,
    /// At most.
    pub most: Option<u64>,
    /// Part of the window in which at least one waited, 0 to 1.
    pub busy: Option<f64>,
}

/// How waits ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ended {
    /// A thread woke the waiter.
    pub woken: u64,
    /// Its time was over.
    pub timeout: u64,
    /// A signal came.
    pub signal: u64,
    /// Nobody showed.
    pub unknown: u64,
}

/// A place in a program that waits for a lock.
#[derive(Clone, Debug)]
pub struct Site {
    /// Innermost first.
    pub stack: Arc<[Frame]>,
    /// Waits.
    pub count: u64,
    /// Their time.
    pub total: Nanos,
}

impl LockRow {
    /// Whether waiting for it is waiting for somebody who has it.
    pub fn is_contention(&self) -> bool {
        self.sort.is_contention()
    }
}

/// Every lock: those with contention first, those that are surely locks before others, then most
/// time first.
pub fn locks(profile: &Profile, by: By) -> Vec<LockRow> {
    let futexes = Futexes::of(profile);
    let mut gathered: HashMap<Key, Gathered<'_>> = HashMap::new();
    for wait in &profile.waits {
        let futex = futexes.of_wait(wait);
        let interpreter = futex.is_some_and(|futex| is_interpreter_state(&futex.place));
        let value = futex.and_then(|futex| futex.value);
        let Some(sorted) = sort(wait, value, interpreter) else { continue };
        let key = Key::of(wait, &sorted, futex, by);
        let row = gathered.entry(key).or_insert_with(|| Gathered::new(sorted));
        row.waits.push(wait);
        row.futexes.extend(futex);
    }
    let mut rows: Vec<LockRow> =
        gathered.into_values().map(|gathered| gathered.row(profile, by)).collect();
    rows.extend(profile.kernel_locks.iter().map(|lock| kernel_row(lock, profile)));
    rows.sort_by_key(|row| {
        let unsure = row.sort == Sort::Unknown;
        (!row.is_contention(), unsure, Reverse(row.total), row.pids.first().copied(), row.address)
    });
    rows
}

/// Whether a wait is in the table of locks, as contention.
pub fn is_in_locks(wait: &Wait) -> bool {
    sort(wait, None, false).is_some_and(|sorted| sorted.sort.is_contention())
}

/// CPython keeps its lock in `_PyRuntime` (Python/ceval_gil.h).
fn is_interpreter_state(place: &Place) -> bool {
    matches!(place, Place::Variable { name, .. } if name == "_PyRuntime")
}

/// The futexes of a profile by process and address.
struct Futexes<'a>(HashMap<(Pid, u64), &'a Futex>, HashMap<u64, &'a Futex>);

impl<'a> Futexes<'a> {
    fn of(profile: &'a Profile) -> Self {
        let all = || profile.futexes.iter();
        let own = all().map(|futex| ((futex.pid, futex.address), futex)).collect();
        let shared = all().filter(|futex| !futex.private);
        Self(own, shared.map(|futex| (futex.address, futex)).collect())
    }

    /// That of a wait. Processes that share their memory share the entry, which names one of them.
    fn of_wait(&self, wait: &Wait) -> Option<&'a Futex> {
        let WaitObject::Futex { address, private, .. } = wait.object else { return None };
        let own = self.0.get(&(wait.pid, address)).copied();
        own.or_else(|| if private { None } else { self.1.get(&address).copied() })
    }
}

/// What waits of one row share.
#[derive(PartialEq, Eq, Hash)]
enum Key {
    Address(Pid, u64),
    Shared((u64, u64), u64),
    Object(WaitObject),
    Site(String, State, Vec<String>),
    Interpreter(Pid),
    Others(Pid),
}

impl Key {
    fn of(wait: &Wait, sorted: &Sorted, futex: Option<&Futex>, by: By) -> Self {
        if sorted.sort == Sort::Others {
            return Self::Others(wait.pid);
        }
        // It waits on the two halves of a condition variable, by turns.
        if sorted.sort == Sort::Interpreter && by == By::Lock {
            return Self::Interpreter(wait.pid);
        }
        if by == By::Site || !sorted.own_address {
            return Self::Site(wait.comm.clone(), wait.kind, site_names(wait, sorted));
        }
        match (&wait.object, futex.map(|futex| &futex.place)) {
            (
                WaitObject::Futex { private: false, .. },
                Some(Place::Shared { file, offset, .. }),
            ) => Self::Shared(*file, *offset),
            // A condition variable of glibc has two futexes, of which one at a time is waited for
            // (`__g_signals`, sysdeps/nptl/bits/thread-shared-types.h).
            (WaitObject::Futex { address, .. }, _) if sorted.sort == Sort::Condition => {
                Self::Address(wait.pid, *address & !7)
            }
            (WaitObject::Futex { address, .. }, _) => Self::Address(wait.pid, *address),
            (object, _) => Self::Object(object.clone()),
        }
    }
}

/// What makes two places the same: all functions; of a database's lock, which one takes it, since
/// all sorts of statements come there.
fn site_names(wait: &Wait, sorted: &Sorted) -> Vec<String> {
    if sorted.sort == Sort::Database {
        let what = sorted.thing.or_else(|| taken_in(&wait.stack)).unwrap_or_default();
        return vec![sorted.evidence.clone(), what.to_owned()];
    }
    wait.stack.iter().map(|frame| frame.name.clone()).collect()
}

/// The waits of a row.
struct Gathered<'a> {
    sorted: Sorted,
    waits: Vec<&'a Wait>,
    futexes: Vec<&'a Futex>,
}

impl<'a> Gathered<'a> {
    fn new(sorted: Sorted) -> Self {
        Self { sorted, waits: Vec::new(), futexes: Vec::new() }
    }

    fn row(mut self, profile: &Profile, by: By) -> LockRow {
        self.futexes.sort_by_key(|futex| (futex.pid, futex.address));
        self.futexes.dedup_by_key(|futex| (futex.pid, futex.address));
        self.waits.sort_by_key(|wait| Reverse(wait.total));
        let first = self.waits[0];
        let total: Nanos = self.waits.iter().map(|wait| wait.total).sum();
        let by_address = by == By::Lock && self.sorted.own_address;
        let mut latency = Latency::default();
        self.waits.iter().for_each(|wait| latency.merge(&wait.latency));
        let blames: Vec<Blame> =
            self.waits.iter().flat_map(|wait| wait.blames.iter().copied()).collect();
        let is_futex = matches!(first.object, WaitObject::Futex { .. });
        LockRow {
            sort: self.sorted.sort,
            comm: first.comm.clone(),
            pids: self.waits.iter().map(|wait| wait.pid).collect(),
            thread_groups: self.waits.iter().flat_map(|wait| wait.thread_groups.clone()).collect(),
            address: match first.object {
                WaitObject::Futex { address, .. } if by_address => Some(address),
                _ => None,
            },
            locks: self.locks(by_address),
            is_shared: matches!(first.object, WaitObject::Futex { private: false, .. }),
            place: match self.futexes.first() {
                Some(futex) if by_address => futex.place.clone(),
                _ => Place::Unknown,
            },
            object: (!is_futex && by_address).then(|| first.object.clone()),
            count: self.waits.iter().map(|wait| wait.count).sum(),
            clipped: self.waits.iter().map(|wait| wait.clipped).sum(),
            total,
            latency,
            threads: self.threads(),
            queue: self.queue(total, by_address, profile),
            ended: ended(&self.waits),
            is_owner_proved: self.is_owner_proved(),
            holds: self.holds(),
            sites: sites(&self.waits),
            behind: behind(profile, &blames, total),
            thing: self.sorted.thing,
            evidence: self.sorted.evidence,
        }
    }

    fn locks(&self, by_address: bool) -> u64 {
        if by_address {
            return 1;
        }
        let objects: BTreeSet<(Pid, &WaitObject)> =
            self.waits.iter().map(|wait| (wait.pid, &wait.object)).collect();
        objects.len() as u64
    }

    fn queue(&self, total: Nanos, by_address: bool, profile: &Profile) -> Line {
        let window = profile.window.duration();
        let mean = total.share_of(window);
        if !by_address || self.futexes.is_empty() {
            return Line { mean, most: None, busy: None };
        }
        // Threads that were there before dwell, and still are, are in no queue.
        let stuck = profile.stuck.iter().filter(|stuck| {
            stuck.waited >= window
                && self.futexes.iter().any(|futex| {
                    futex.address == stuck.address && (futex.pid == stuck.pid || !futex.private)
                })
        });
        let stuck = stuck.count() as u64;
        let most = self.futexes.iter().map(|futex| futex.queue.most).max().unwrap_or(0) + stuck;
        let busy = self.futexes.iter().map(|futex| futex.queue.busy).max().unwrap_or(Nanos(0));
        let busy = if stuck > 0 { 1.0 } else { busy.share_of(window).min(1.0) };
        Line { mean, most: Some(most), busy: Some(busy) }
    }

    /// Threads of different rows of a process may be the same, unless each waits on a futex of its own.
    fn threads(&self) -> u64 {
        let mut sets: HashMap<(Pid, Option<&WaitObject>), u64> = HashMap::new();
        for wait in &self.waits {
            let own = (!self.sorted.own_address).then_some(&wait.object);
            let threads = sets.entry((wait.pid, own)).or_default();
            *threads = (*threads).max(wait.threads);
        }
        sets.values().sum()
    }

    /// Only the owner can give back a lock of which the kernel knows the owner.
    fn is_owner_proved(&self) -> bool {
        let mut waits = self.waits.iter();
        waits
            .all(|wait| matches!(wait.object, WaitObject::Futex { op: "lock_pi" | "lock_pi2", .. }))
    }

    fn holds(&self) -> Option<Holds> {
        if !self.sorted.sort.is_held() || !self.sorted.own_address {
            return None;
        }
        let mut holds = Holds::default();
        for futex in &self.futexes {
            holds.count += futex.holds.count;
            holds.total += futex.holds.total;
            holds.longest = holds.longest.max(futex.holds.longest);
            holds.partial += futex.holds.partial;
        }
        (holds.count > 0).then_some(holds)
    }
}

fn ended(waits: &[&Wait]) -> Ended {
    let mut ended = Ended::default();
    for wait in waits {
        for waker in &wait.wakers {
            match waker.cause {
                Cause::Thread => ended.woken += waker.count,
                Cause::Timer => ended.timeout += waker.count,
                Cause::Signal => ended.signal += waker.count,
                Cause::Network | Cause::Irq | Cause::Unknown => ended.unknown += waker.count,
            }
        }
        // Threads that found no place by name.
        ended.woken += wait.other_wakers;
    }
    ended
}

fn sites(waits: &[&Wait]) -> Vec<Site> {
    let mut sites: Vec<Site> = Vec::new();
    let same = |a: &[Frame], b: &[Frame]| {
        a.iter().map(|frame| &frame.name).eq(b.iter().map(|frame| &frame.name))
    };
    for wait in waits {
        match sites.iter_mut().find(|site| same(&site.stack, &wait.stack)) {
            Some(site) => {
                site.count += wait.count;
                site.total += wait.total;
            }
            None => sites.push(Site {
                stack: Arc::clone(&wait.stack),
                count: wait.count,
                total: wait.total,
            }),
        }
    }
    sites.sort_by_key(|site| Reverse(site.total));
    sites
}

fn kernel_row(lock: &KernelLock, profile: &Profile) -> LockRow {
    LockRow {
        sort: Sort::Kernel,
        evidence: "the kernel says so (lock:contention_begin)".to_owned(),
        thing: None,
        comm: lock.comm.clone(),
        pids: BTreeSet::from([lock.pid]),
        thread_groups: lock.thread_groups.iter().cloned().collect(),
        address: None,
        locks: if lock.is_several { 2 } else { 1 },
        is_shared: false,
        place: Place::Unknown,
        object: Some(WaitObject::Kernel { function: kernel_lock_name(lock) }),
        count: lock.count,
        clipped: 0,
        total: lock.total,
        latency: lock.latency.clone(),
        threads: lock.threads,
        queue: Line {
            mean: lock.total.share_of(profile.window.duration()),
            most: None,
            busy: None,
        },
        ended: Ended { woken: lock.count, ..Ended::default() },
        is_owner_proved: false,
        holds: None,
        sites: vec![Site { stack: Arc::clone(&lock.stack), count: lock.count, total: lock.total }],
        behind: Vec::new(),
    }
}

/// `mmap_lock`, or the function that takes it.
fn kernel_lock_name(lock: &KernelLock) -> String {
    use crate::model::KernelLockSort::{Mutex, Read, RealTime, Spinning, Write};
    let taken = match lock.sort {
        Spinning => "spin lock",
        Mutex => "mutex",
        Read => "for reading",
        Write => "for writing",
        RealTime => "real-time mutex",
    };
    if lock.is_mmap_lock {
        return format!("mmap_lock, {taken}");
    }
    match lock.stack.first() {
        Some(frame) => format!("{}, {taken}", frame.name),
        None => taken.to_owned(),
    }
}

#[cfg(test)]
mod tests;
