//! Locks: which ones are waited for, how badly, and behind whom.

mod behind;
mod gather;
mod kernel;
mod place;
mod sort;

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

pub use behind::{Behind, Part, behind};
pub use place::taken_in;
pub use sort::{Sort, database_lock};

use self::gather::{Gathered, Key};
use self::kernel::kernel_row;
use self::sort::sort;
use crate::model::{
    Frame, Futex, Holds, Latency, Nanos, Pid, Place, Profile, State, Wait, WaitId, WaitObject,
};

/// What a wait is for as far as its place tells: which sort of lock, and what that of a database is on. None
/// where it is for no lock, or for what could be a condition as well.
pub fn lock_at(
    kind: State,
    object: &WaitObject,
    stack: &Arc<[Frame]>,
) -> Option<(Sort, Option<&'static str>)> {
    let wait =
        Wait { stack: Arc::clone(stack), ..Wait::none(WaitId(0), Pid(0), kind, object.clone()) };
    let found = sort(&wait, None, false)?;
    let is_known =
        found.sort.is_contention() && !matches!(found.sort, Sort::Unknown | Sort::Others);
    is_known.then_some((found.sort, found.thing))
}

/// The function of the program that waits, or that takes what is waited for, if that is a lock.
pub fn waits_in<'a>(kind: State, object: &WaitObject, stack: &'a Arc<[Frame]>) -> Option<&'a str> {
    let is_taken = kind == State::Futex || lock_at(kind, object, stack).is_some();
    if is_taken { taken_in(stack) } else { super::culprit(stack) }
}

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
    /// Its waiters stay on the CPU.
    pub is_spinning: bool,
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

/// Every lock, those that cost least in one row if there are thousands: those with contention first, those that are surely waited for before others, then most
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
    let mut rows: Vec<LockRow> = gather::bounded(gathered.into_values().collect())
        .into_iter()
        .map(|gathered| gathered.row(profile, by))
        .collect();
    rows.extend(profile.kernel_locks.iter().map(|lock| kernel_row(lock, profile)));
    rows.sort_by_key(|row| {
        // Who spins does not wait: that time is part of running.
        let unsure = matches!(row.sort, Sort::Unknown | Sort::Others) || row.is_spinning;
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

#[cfg(test)]
mod tests;
