//! Waits for locks of the kernel.

use aya_ebpf::bindings::BPF_NOEXIST;
use profiler_common::histogram::{BUCKETS, bucket_of};
use profiler_common::lock::{KernelLockKey, KernelLockStats, LCB_SPIN, SpinPlace, Spun};
use profiler_common::thread::ThreadEntry;

use crate::globals::field;
use crate::maps::{self, BLANK_KERNEL_LOCK, KERNEL_LOCKS, Place, SPINS, slot};
use crate::stack;
use crate::task::Task;

/// The thread begins to wait for a lock. A mutex is waited for with its own spin lock inside: the
/// outer wait counts. Anything else that is still noted has ended unseen.
#[inline(always)]
pub fn begin(entry: &mut ThreadEntry, lock: u64, flags: u32, now: u64) {
    let past = &mut entry.past;
    let spins = flags & LCB_SPIN != 0;
    let inside = spins && past.kernel_lock != 0 && past.kernel_lock_flags & LCB_SPIN == 0;
    if !inside || past.kernel_lock == lock {
        past.kernel_lock = lock;
        past.kernel_lock_flags = flags;
        past.kernel_lock_since_ns = now;
    }
}

/// The thread has the lock, or has given up.
#[inline(always)]
pub fn end(
    context: *mut core::ffi::c_void,
    entry: &mut ThreadEntry,
    lock: u64,
    now: u64,
    window: u64,
) {
    let past = &mut entry.past;
    if past.kernel_lock != lock {
        return;
    }
    past.kernel_lock = 0;
    let since = past.kernel_lock_since_ns;
    let from = if since > window { since } else { window };
    if now <= from {
        return;
    }
    let ns = now - from;
    let (serial, flags) = (entry.record.serial, past.kernel_lock_flags);
    let spins = flags & LCB_SPIN != 0;
    let stack = if spins { spin_place(context, serial, flags, ns) } else { here(context) };
    let key = KernelLockKey { stack, serial, flags };
    let Some(stats) = stats(&key) else {
        maps::count(|loss| loss.kernel_locks += 1);
        return;
    };
    stats.count += 1;
    stats.total_ns += ns;
    stats.max_ns = if ns > stats.max_ns { ns } else { stats.max_ns };
    stats.histogram[slot(bucket_of(ns), BUCKETS)] += 1;
    if stats.lock == 0 {
        stats.lock = lock;
    }
    stats.others += (stats.lock != lock) as u64;
    stats.mmap_locks += is_mmap_lock(lock) as u64;
}

/// The kernel stack of the current thread.
#[inline(never)]
fn here(context: *mut core::ffi::c_void) -> u64 {
    match maps::scratch(Place::Contention) {
        Some(scratch) => stack::kernel(context, scratch).stack,
        None => 0,
    }
}

/// Where the thread has spun for `ns`. It is looked at from time to time; in between it counts as where it was
/// then, so that each place has its part of the time.
#[inline(always)]
fn spin_place(context: *mut core::ffi::c_void, serial: u32, flags: u32, ns: u64) -> u64 {
    let Some(place) = place_of(serial, flags) else { return here(context) };
    match place.spun(flags, ns) {
        Spun::Here => here(context),
        Spun::HereAndOn => {
            place.stack = here(context);
            place.stack
        }
        Spun::AsBefore => place.stack,
    }
}

#[inline(always)]
fn place_of(serial: u32, flags: u32) -> Option<&'static mut SpinPlace> {
    if let Some(place) = SPINS.get_ptr_mut(&serial) {
        // SAFETY: only the thread itself writes it.
        return Some(unsafe { &mut *place });
    }
    SPINS.insert(&serial, &SpinPlace::new(flags), BPF_NOEXIST as u64).ok()?;
    // SAFETY: as above.
    SPINS.get_ptr_mut(&serial).map(|place| unsafe { &mut *place })
}

#[inline(always)]
fn is_mmap_lock(lock: u64) -> bool {
    let mm: u64 = field::task_mm().read(Task::current().0);
    field::mm_mmap_lock().of(mm) == Some(lock)
}

#[inline(always)]
fn stats(key: &KernelLockKey) -> Option<&'static mut KernelLockStats> {
    if let Some(stats) = KERNEL_LOCKS.get_ptr_mut(key) {
        // SAFETY: only the thread itself writes it.
        return Some(unsafe { &mut *stats });
    }
    let blank = BLANK_KERNEL_LOCK.get(0)?;
    KERNEL_LOCKS.insert(key, blank, BPF_NOEXIST as u64).ok()?;
    // SAFETY: as above.
    KERNEL_LOCKS.get_ptr_mut(key).map(|stats| unsafe { &mut *stats })
}
