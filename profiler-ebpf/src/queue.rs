//! The threads that wait for a futex at the same time, and how long it was held.

use core::intrinsics::{AtomicOrdering, atomic_xadd, atomic_xsub};

use aya_ebpf::bindings::BPF_NOEXIST;
use profiler_common::lock::{Queue, QueueKey};
use profiler_common::object::futex_is_private;
use profiler_common::thread::ThreadRecord;

use crate::maps::{self, QUEUES};

/// Two holds in a row are one hold for those who wait, unless the queue was empty in between for
/// more than this part of it: a woken thread that comes too late has to come back to the queue.
const GAP_PART: u64 = 32;

#[inline(always)]
fn key_of(record: &ThreadRecord) -> QueueKey {
    let wait = &record.open.key;
    let private = futex_is_private(wait.detail);
    let owner = if private { record.tgid } else { record.space };
    QueueKey { address: wait.object, owner, private: private as u32 }
}

#[inline(always)]
fn add(counter: *mut u64, by: u64) -> u64 {
    // SAFETY: a word of the table.
    unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::SeqCst }>(counter, by) }
}

/// The thread begins to wait for the futex in `record.open`.
#[inline(never)]
pub fn enter(record: &mut ThreadRecord, now: u64) {
    let key = key_of(record);
    let Some(queue) = entry(&key, record) else {
        maps::count(|loss| loss.queues += 1);
        return;
    };
    record.queued = 1;
    let before = add(&raw mut queue.waiting, 1);
    if before == 0 {
        queue.busy_since_ns = now;
    }
    if before + 1 > queue.most {
        queue.most = before + 1;
    }
    if queue.value != record.open.value {
        queue.values_mixed = 1;
    }
}

#[inline(always)]
fn entry(key: &QueueKey, record: &ThreadRecord) -> Option<&'static mut Queue> {
    if let Some(queue) = QUEUES.get_ptr_mut(key) {
        // SAFETY: see `Queue`.
        return Some(unsafe { &mut *queue });
    }
    let blank = Queue { pid: record.pid, value: record.open.value, ..Queue::default() };
    // Another CPU may have been first: that is the same entry.
    let _same = QUEUES.insert(key, &blank, BPF_NOEXIST as u64);
    // SAFETY: see `Queue`.
    QUEUES.get_ptr_mut(key).map(|queue| unsafe { &mut *queue })
}

/// Who ends a wait for a futex.
#[derive(Clone, Copy)]
pub enum By {
    /// A thread: if it is a lock, it has had it since then (0: that is not known).
    Thread { since_ns: u64 },
    /// A timeout, a signal, or nobody who showed.
    Other,
}

/// The thread waits no longer; `window` is the beginning of that.
#[inline(always)]
pub fn leave(record: &mut ThreadRecord, now: u64, by: By, window: u64) {
    match by {
        By::Thread { since_ns } => depart(record, now, since_ns, window),
        By::Other => depart(record, now, NOT_RELEASED, window),
    }
}

/// In place of a time: nobody gave the lock back.
const NOT_RELEASED: u64 = u64::MAX;

#[inline(never)]
fn depart(record: &mut ThreadRecord, now: u64, acquired: u64, window: u64) {
    record.queued = 0;
    let key = key_of(record);
    let Some(queue) = QUEUES.get_ptr_mut(&key) else { return };
    // SAFETY: see `Queue`.
    let queue = unsafe { &mut *queue };
    // Before the thread leaves: as long as it is counted, nobody begins anew.
    let since = queue.busy_since_ns;
    // SAFETY: a word of the table.
    let before =
        unsafe { atomic_xsub::<u64, u64, { AtomicOrdering::SeqCst }>(&raw mut queue.waiting, 1) };
    let inside = if since > window { since } else { window };
    if before == 1 && now > inside {
        add(&raw mut queue.busy_ns, now - inside);
    }
    if acquired == NOT_RELEASED {
        return;
    }
    if now > window {
        held(queue, since, acquired, now);
    }
    queue.last_release_ns = now;
}

/// Somebody has given the lock back.
#[inline(always)]
fn held(queue: &mut Queue, busy_since: u64, acquired: u64, now: u64) {
    let last = queue.last_release_ns;
    let waited_all_along = last != 0 && busy_since <= last + now.saturating_sub(last) / GAP_PART;
    if acquired > last || waited_all_along {
        let since = if acquired > last { acquired } else { last };
        let ns = now.saturating_sub(since);
        add(&raw mut queue.holds, 1);
        add(&raw mut queue.hold_ns, ns);
        if ns > queue.hold_max_ns {
            queue.hold_max_ns = ns;
        }
    } else {
        add(&raw mut queue.partial_holds, 1);
    }
}
