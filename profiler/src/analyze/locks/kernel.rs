//! Locks inside the kernel.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::sort::Sort;
use super::{Ended, Line, LockRow, Site};
use crate::model::{KernelLock, KernelLockSort, Place, Profile, WaitObject};

pub fn kernel_row(lock: &KernelLock, profile: &Profile) -> LockRow {
    LockRow {
        sort: Sort::Kernel,
        evidence: "the kernel says so (lock:contention_begin)".to_owned(),
        is_spinning: lock.sort == KernelLockSort::Spinning,
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
