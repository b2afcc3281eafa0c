//! Threads that wait for each other for ever.

use std::collections::{BTreeMap, BTreeSet};

use super::is_lock;
use crate::model::{
    Frame, Nanos, Pid, Profile, StackReach, State, Stuck, Tid, Wait, WaitId, WaitObject,
};

/// A set of threads none of which can go on before another does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deadlock {
    /// Who holds each lock is known: this is a circle. Else the threads have all waited for locks for
    /// the whole window, and nobody has given one back.
    pub is_proved: bool,
    /// The threads: in a circle, each waits for the next, and the last for the first.
    pub threads: Vec<Waiter>,
}

/// One of its threads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiter {
    /// Its process.
    pub pid: Pid,
    /// The thread.
    pub tid: Tid,
    /// Its name.
    pub comm: String,
    /// The lock it waits for.
    pub address: u64,
    /// The thread that holds that, where it is known.
    pub owner: Option<Tid>,
}

/// FUTEX_TID_MASK and FUTEX_WAITERS (include/uapi/linux/futex.h).
const TID_MASK: u32 = 0x3fff_ffff;
const WAITERS: u32 = 0x8000_0000;
/// The value of a contended mutex of glibc (sysdeps/nptl/lowlevellock.h).
const CONTENDED: u32 = 2;

/// The deadlocks in progress when the window ended.
pub fn deadlocks(profile: &Profile) -> Vec<Deadlock> {
    let window = profile.window.duration();
    let waiters: Vec<Waiter> = profile
        .stuck
        .iter()
        .filter(|stuck| window > Nanos(0) && stuck.waited >= window && waits_for_lock(stuck))
        .map(|stuck| Waiter {
            pid: stuck.pid,
            tid: stuck.tid,
            comm: stuck.comm.clone(),
            address: stuck.address,
            owner: owner(stuck),
        })
        .collect();
    let mut found = circles(&waiters);
    let proved: BTreeSet<(Pid, Tid)> = found.iter().flat_map(members).collect();
    found.extend(suspicions(&waiters, &proved));
    found
}

fn members(deadlock: &Deadlock) -> Vec<(Pid, Tid)> {
    deadlock.threads.iter().map(|thread| (thread.pid, thread.tid)).collect()
}

/// As [`is_lock`], for a wait that has not ended.
fn waits_for_lock(stuck: &Stuck) -> bool {
    let (address, op) = (stuck.address, stuck.op);
    let object = WaitObject::Futex { address, op, private: true, realtime: false };
    is_lock(&Wait {
        count: 1,
        clipped: 1,
        total: stuck.waited,
        threads: 1,
        stack: stuck.stack.clone(),
        reach: StackReach::Entry,
        ..Wait::none(WaitId(0), stuck.pid, State::Futex, object)
    })
}

/// Who holds the lock that a thread waits for. The futex itself says so where the kernel needs to
/// know (priority inheritance), and in robust mutexes; a mutex of glibc has it in its third word
/// (`__owner`, sysdeps/nptl/bits/struct_mutex.h).
fn owner(stuck: &Stuck) -> Option<Tid> {
    let [lock, _count, third] = stuck.words?;
    let in_word = lock & TID_MASK;
    if stuck.op.is_lock() || (lock & WAITERS != 0 && is_pthread(&stuck.stack)) {
        return (in_word != 0).then_some(Tid(in_word));
    }
    let is_known = lock == CONTENDED && is_pthread(&stuck.stack) && third != 0;
    is_known.then_some(Tid(third))
}

fn is_pthread(stack: &[Frame]) -> bool {
    const NAMES: [&str; 4] = [
        "pthread_mutex_lock",
        "pthread_mutex_timedlock",
        "pthread_mutex_clocklock",
        "lll_lock_wait",
    ];
    stack.iter().any(|frame| NAMES.iter().any(|name| frame.bare().starts_with(name)))
}

/// Follows each thread to the holder of what it waits for, until a thread comes again.
fn circles(waiters: &[Waiter]) -> Vec<Deadlock> {
    let by_tid: BTreeMap<Tid, &Waiter> =
        waiters.iter().map(|waiter| (waiter.tid, waiter)).collect();
    let mut seen: BTreeSet<Tid> = BTreeSet::new();
    let mut found = Vec::new();
    for first in waiters {
        let mut path: Vec<&Waiter> = Vec::new();
        let mut next = Some(first);
        while let Some(waiter) = next {
            if let Some(start) = path.iter().position(|known| known.tid == waiter.tid) {
                let threads = path[start..].iter().map(|waiter| (*waiter).clone()).collect();
                found.push(Deadlock { is_proved: true, threads });
                break;
            }
            if !seen.insert(waiter.tid) {
                break;
            }
            path.push(waiter);
            next = waiter.owner.and_then(|owner| by_tid.get(&owner).copied());
        }
    }
    found
}

/// Threads of one process that have waited all the time for two locks or more, of which each leads to one whose holder is
/// not known.
fn suspicions(waiters: &[Waiter], proved: &BTreeSet<(Pid, Tid)>) -> Vec<Deadlock> {
    let mut by_process: BTreeMap<Pid, Vec<Waiter>> = BTreeMap::new();
    for waiter in waiters {
        if !proved.contains(&(waiter.pid, waiter.tid)) && leads_to_unknown(waiter, waiters) {
            by_process.entry(waiter.pid).or_default().push(waiter.clone());
        }
    }
    by_process
        .into_values()
        .filter(|threads| {
            threads.iter().map(|thread| thread.address).collect::<BTreeSet<_>>().len() > 1
        })
        .map(|threads| Deadlock { is_proved: false, threads })
        .collect()
}

/// Whether the holder of a lock is not known, or waits for another one of which that is true.
fn leads_to_unknown(waiter: &Waiter, waiters: &[Waiter]) -> bool {
    let mut seen = BTreeSet::new();
    let mut next = Some(waiter);
    while let Some(waiter) = next.filter(|waiter| seen.insert(waiter.tid)) {
        let Some(owner) = waiter.owner else { return true };
        next = waiters.iter().find(|other| other.tid == owner);
    }
    false
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::*;
    use crate::model::FutexOp;

    fn stuck(tid: u32, address: u64, owner: u32) -> Stuck {
        Stuck {
            pid: Pid(1),
            tid: Tid(tid),
            comm: format!("locker-{tid}"),
            address,
            op: FutexOp::Wait,
            waited: Nanos(5_000_000_000),
            stack: fixture::stack(&["__lll_lock_wait", "pthread_mutex_lock", "work"]),
            words: Some([CONTENDED, 1, owner]),
        }
    }

    fn of(stuck: Vec<Stuck>) -> Vec<Deadlock> {
        deadlocks(&Profile { stuck, ..fixture::empty() })
    }

    #[test]
    fn a_circle_is_found_once_and_in_order() {
        let found =
            of(vec![stuck(9, 0x90, 3), stuck(3, 0x10, 1), stuck(1, 0x20, 2), stuck(2, 0x30, 3)]);
        assert_eq!(found.len(), 1);
        let tids: Vec<u32> = found[0].threads.iter().map(|thread| thread.tid.0).collect();
        assert_eq!((found[0].is_proved, tids), (true, vec![3, 1, 2]));
    }

    #[test]
    fn a_queue_is_no_circle() {
        assert_eq!(of(vec![stuck(1, 0x10, 7), stuck(2, 0x10, 7), stuck(3, 0x20, 1)]), []);
    }

    #[test]
    fn without_owners_there_is_a_suspicion() {
        let unknown = |tid, address| Stuck { words: None, ..stuck(tid, address, 0) };
        let found = of(vec![unknown(1, 0x10), unknown(2, 0x20)]);
        assert_eq!((found.len(), found[0].is_proved), (1, false));
        assert_eq!(of(vec![unknown(1, 0x10), unknown(2, 0x10)]), []);
        // A mutex whose holder waits for a lock that does not say who has it.
        let found = of(vec![stuck(1, 0x10, 2), unknown(2, 0x20)]);
        assert_eq!((found.len(), found[0].threads.len()), (1, 2));
    }

    #[test]
    fn a_wait_that_began_inside_the_window_is_none() {
        let late = |tid, address, owner| Stuck {
            waited: Nanos(4_000_000_000),
            ..stuck(tid, address, owner)
        };
        assert_eq!(of(vec![late(1, 0x10, 2), late(2, 0x20, 1)]), []);
    }
}
