//! The waits that take most time.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::budget::{Budget, by_process};
use super::{Idle, idle, is_lock};
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
    /// Innermost first.
    pub stack: Arc<[Frame]>,
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
    fn wakers_of_like_names_are_one() {
        let rows = top_waits(&fixture::demo());
        let lock = rows.iter().find(|row| row.kind == State::Futex).expect("a lock");
        assert_eq!(lock.wakers[0].group, "worker-*");
        assert!(lock.woken() >= lock.wakers[0].count);
    }
}
