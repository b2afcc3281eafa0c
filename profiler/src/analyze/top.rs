//! The waits that take most time.

use std::cmp::Reverse;
use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::budget::{Budget, by_process};
use super::{Idle, Sort, database_lock, idle, is_lock, meaningful};
use crate::model::{
    Blame, Cause, Frame, Latency, Nanos, Pid, Profile, Role, StackReach, State, Wait, WaitObject,
    group_name,
};

/// Who ended waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WakenBy {
    /// Like-named threads; empty where no thread did it.
    pub group: String,
    /// What it was.
    pub cause: Cause,
    /// Waits ended.
    pub count: u64,
}

/// Waits that read the same, over all processes of the same name.
#[derive(Clone, Debug)]
pub struct TopWait {
    /// Name of the process.
    pub comm: String,
    /// The processes.
    pub pids: BTreeSet<Pid>,
    /// Names of the waiting threads, like ones folded.
    pub thread_groups: BTreeSet<String>,
    /// Kind.
    pub kind: State,
    /// System call.
    pub syscall: Option<String>,
    /// What for; the port of the peer is `*` where the waiter serves.
    pub object: WaitObject,
    /// Why it is no problem; none if it may be one.
    pub idle: Option<Idle>,
    /// It is proven to be a wait for a lock.
    pub is_lock: bool,
    /// The lock of a database that it is for: what it waits in, a descriptor or semaphore of its own, tells nothing.
    pub database_lock: Option<(Sort, Option<&'static str>)>,
    /// Waits.
    pub count: u64,
    /// Of these, cut off by the edges of the window.
    pub clipped: u64,
    /// Their time.
    pub total: Nanos,
    /// `total` over all working time, or over all idle time if it is idle.
    pub share: f64,
    /// Their durations.
    pub latency: Latency,
    /// Threads that waited; at least, where several rows of a process have become one.
    pub threads: u64,
    /// Who ended them, most often first.
    pub wakers: Vec<WakenBy>,
    /// Waits ended by others.
    pub other_wakers: u64,
    /// Why they took so long.
    pub blames: Vec<Blame>,
    /// Innermost first; one of them where there are several.
    pub stack: Arc<[Frame]>,
    /// Stacks that are one row, see [`alike`].
    pub stacks: usize,
    /// The walk of the stack ended early.
    pub is_truncated: bool,
    /// The waiters are kernel threads.
    pub in_kernel_thread: bool,
}

/// Every wait: those inside work before the idle ones, then most time first.
pub fn top_waits(profile: &Profile) -> Vec<TopWait> {
    top_waits_of(profile, |_| true)
}

/// Those of these waits. Where there are thousands of threads, most waits are idle, and making rows of them
/// takes memory.
pub fn top_waits_of(profile: &Profile, wanted: impl Fn(&Wait) -> bool) -> Vec<TopWait> {
    let mut rows: Vec<TopWait> = Vec::new();
    let mut places: HashMap<Key<'_>, usize> = HashMap::new();
    for wait in profile.waits.iter().filter(|wait| wanted(wait)) {
        let place = *places.entry(Key::of(wait)).or_insert(rows.len());
        if place == rows.len() {
            rows.push(TopWait::empty(wait));
        }
        rows[place].add(wait);
    }
    let mut all = Budget::default();
    for budget in by_process(profile).values() {
        all.merge(budget);
    }
    for row in &mut rows {
        let whole = if row.idle.is_some() { all.idle() } else { all.working() };
        row.share = row.total.share_of(whole).min(1.0);
        row.wakers.sort_by_key(|waker| Reverse(waker.count));
    }
    rows.sort_by_key(|row| (row.idle.is_some(), Reverse(row.total)));
    rows
}

/// Rows that differ in nothing but the functions beyond the innermost `frames`, as one: they would read the same.
pub fn alike(rows: Vec<TopWait>, frames: usize) -> Vec<TopWait> {
    let mut merged: Vec<TopWait> = Vec::new();
    let mut places: HashMap<Reading, usize> = HashMap::new();
    for row in rows {
        match places.entry(row.reads(frames)) {
            Entry::Occupied(place) => merged[*place.get()].merge(row),
            Entry::Vacant(place) => {
                place.insert(merged.len());
                merged.push(row);
            }
        }
    }
    for row in &mut merged {
        row.wakers.sort_by_key(|waker| Reverse(waker.count));
    }
    merged.sort_by_key(|row| (row.idle.is_some(), Reverse(row.total)));
    merged
}

/// What is shown of a row, where of its stack no more than some functions are.
#[derive(PartialEq, Eq, Hash)]
struct Reading {
    comm: String,
    kind: State,
    object: Option<(WaitObject, Option<String>)>,
    idle: Option<Idle>,
    lock: Option<(Sort, Option<&'static str>)>,
    in_kernel_thread: bool,
    stack: Vec<String>,
    has_more: bool,
}

/// What waits must share to be one row.
#[derive(PartialEq, Eq, Hash)]
struct Key<'a> {
    comm: &'a str,
    kind: State,
    syscall: Option<&'a str>,
    object: WaitObject,
    stack: Vec<&'a str>,
    in_kernel_thread: bool,
}

impl<'a> Key<'a> {
    fn of(wait: &'a Wait) -> Self {
        Self {
            comm: &wait.comm,
            kind: wait.kind,
            syscall: wait.syscall.as_deref(),
            object: folded(&wait.object),
            stack: wait.stack.iter().map(|frame| frame.name.as_str()).collect(),
            in_kernel_thread: wait.in_kernel_thread,
        }
    }
}

/// A server's peers differ in nothing but their port.
fn folded(object: &WaitObject) -> WaitObject {
    let mut object = object.clone();
    if let WaitObject::Inet { role: Role::Server, peer, .. } = &mut object
        && let Some((address, _)) = peer.rsplit_once(':')
    {
        *peer = format!("{address}:*");
    }
    object
}

impl TopWait {
    fn empty(wait: &Wait) -> Self {
        Self {
            comm: wait.comm.clone(),
            pids: BTreeSet::new(),
            thread_groups: BTreeSet::new(),
            kind: wait.kind,
            syscall: wait.syscall.clone(),
            object: folded(&wait.object),
            idle: idle(wait),
            is_lock: is_lock(wait),
            database_lock: database_lock(&wait.stack),
            count: 0,
            clipped: 0,
            total: Nanos(0),
            share: 0.0,
            latency: Latency::default(),
            threads: 0,
            wakers: Vec::new(),
            other_wakers: 0,
            blames: Vec::new(),
            stack: wait.stack.clone(),
            stacks: 1,
            is_truncated: wait.reach == StackReach::Truncated,
            in_kernel_thread: wait.in_kernel_thread,
        }
    }

    fn add(&mut self, wait: &Wait) {
        let new_process = self.pids.insert(wait.pid);
        self.thread_groups.extend(wait.thread_groups.iter().cloned());
        self.count += wait.count;
        self.clipped += wait.clipped;
        self.total += wait.total;
        self.latency.merge(&wait.latency);
        // Rows of one process that differ in a port are waits of much the same threads.
        self.threads =
            if new_process { self.threads + wait.threads } else { self.threads.max(wait.threads) };
        self.other_wakers += wait.other_wakers;
        self.blames.extend(wait.blames.iter().copied());
        for waker in &wait.wakers {
            self.add_waker(group_name(&waker.comm), waker.cause, waker.count);
        }
    }

    /// What is shown of it.
    fn reads(&self, frames: usize) -> Reading {
        let mut names = meaningful(&self.stack);
        names.dedup();
        let object = || (self.object.clone(), self.syscall.clone());
        Reading {
            comm: self.comm.clone(),
            kind: self.kind,
            object: self.database_lock.is_none().then(object),
            idle: self.idle,
            lock: self.database_lock,
            in_kernel_thread: self.in_kernel_thread,
            stack: names.iter().take(frames).map(|name| (*name).to_owned()).collect(),
            has_more: names.len() > frames,
        }
    }

    fn merge(&mut self, other: TopWait) {
        // Those of one process are much the same threads, with another stack.
        let has_others = other.pids.is_disjoint(&self.pids);
        self.threads = match has_others {
            true => self.threads + other.threads,
            false => self.threads.max(other.threads),
        };
        self.pids.extend(other.pids);
        self.thread_groups.extend(other.thread_groups);
        self.count += other.count;
        self.clipped += other.clipped;
        self.total += other.total;
        self.share = (self.share + other.share).min(1.0);
        self.latency.merge(&other.latency);
        self.other_wakers += other.other_wakers;
        self.blames.extend(other.blames);
        self.stacks += other.stacks;
        self.is_truncated |= other.is_truncated;
        for waker in other.wakers {
            self.add_waker(waker.group, waker.cause, waker.count);
        }
    }

    fn add_waker(&mut self, group: String, cause: Cause, count: u64) {
        let known =
            self.wakers.iter_mut().find(|known| known.group == group && known.cause == cause);
        match known {
            Some(known) => known.count += count,
            None => self.wakers.push(WakenBy { group, cause, count }),
        }
    }

    /// Wakeups that were seen.
    pub fn woken(&self) -> u64 {
        self.wakers.iter().map(|waker| waker.count).sum::<u64>() + self.other_wakers
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::*;

    #[test]
    fn like_processes_share_rows_and_nothing_is_lost() {
        let profile = fixture::postgres();
        let rows = top_waits(&profile);
        assert!(rows.len() < profile.waits.len());
        assert!(rows.iter().any(|row| row.pids.len() == 32));
        let before: u64 = profile.waits.iter().map(|wait| wait.count).sum();
        let after: u64 = rows.iter().map(|row| row.count).sum();
        assert_eq!(before, after);
    }

    #[test]
    fn work_comes_before_idleness() {
        let rows = top_waits(&fixture::demo());
        let idle: Vec<bool> = rows.iter().map(|row| row.idle.is_some()).collect();
        assert!(idle.is_sorted() && idle.contains(&true) && idle.contains(&false));
    }

    #[test]
    fn rows_that_would_read_the_same_are_one() {
        let mut profile = fixture::demo();
        let lock = profile.waits[0].clone();
        let names: Vec<&str> = lock.stack.iter().map(|frame| frame.name.as_str()).collect();
        for caller in ["once", "again"] {
            let names: Vec<&str> = names.iter().copied().chain([caller]).collect();
            profile.waits.push(Wait { stack: fixture::stack(&names), ..lock.clone() });
        }
        let rows = top_waits(&profile);
        let (shown, all) = (meaningful(&lock.stack).len(), rows.len());
        let lock_of = |rows: &[TopWait]| {
            rows.iter().find(|row| row.kind == State::Futex).cloned().expect("a lock")
        };
        let one = alike(rows.clone(), shown);
        // That which has no caller beyond reads differently.
        assert_eq!(one.len(), all - 1);
        let both = lock_of(&one);
        assert_eq!((both.stacks, both.count), (2, 2 * lock.count));
        assert_eq!(both.threads, lock_of(&rows).threads);
        assert_eq!(alike(rows, shown + 1).len(), all);
    }

    #[test]
    fn wakers_of_like_names_are_one() {
        let rows = top_waits(&fixture::demo());
        let lock = rows.iter().find(|row| row.kind == State::Futex).expect("a lock");
        assert_eq!(lock.wakers[0].group, "worker-*");
        assert!(lock.woken() >= lock.wakers[0].count);
    }
}
