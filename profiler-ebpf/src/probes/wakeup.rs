//! `sched_waking` tells who wakes, in whose context; `sched_wakeup` tells when the thread is on a
//! run queue again, under that queue's lock. On another CPU the two can lie tens of microseconds
//! apart, and the kernel's own run-queue delay begins with the second.

use aya_ebpf::EbpfContext;
use profiler_common::state::{State, is_wait};
use profiler_common::thread::{CAUSE_SIGNAL, CAUSE_THREAD, FLAG_SEED_WAIT, ThreadEntry};

use super::lifetime::fork;
use super::switch::wake;
use super::{clock, hook};
use crate::adopt::{followed, followed_entry};
use crate::maps::{self, Place};
use crate::task::Task;
use crate::{blame, queue, waker};

hook!("sched_waking", dwell_waking, dwell_waking_raw, |context| {
    let task = Task(context.arg(0));
    if let Some(entry) = followed_entry(task) {
        let state = entry.record.state;
        if is_wait(state) || state == State::Unsettled as u8 {
            waker::note(context.as_ptr(), &mut entry.record);
            ends(task, entry);
        } else if state == State::Running as u8 && entry.record.unseen_wakeup_ns == 0 {
            early(context.as_ptr(), entry);
        }
    }
});

/// The thread is about to block, and is woken before it has left its CPU: the waker has to wait for that,
/// and the wait will be as short. 19 of 20 waits of `sysbench mutex` with its threads on two CPUs
/// would have no waker otherwise.
#[inline(always)]
fn early(context: *mut core::ffi::c_void, entry: &mut ThreadEntry) {
    let Some((now, _)) = clock() else { return };
    waker::note(context, &mut entry.record);
    entry.past.woken_early_ns = now;
}

/// The current thread, or an interrupt, ends the wait of a thread: takes it out of the queue that it
/// is in, and looks for what took so long.
#[inline(always)]
fn ends(task: Task, entry: &mut ThreadEntry) {
    let Some((now, start)) = clock() else { return };
    let record = &mut entry.record;
    let is_seed = record.state == State::Unsettled as u8;
    if is_seed && record.flags & FLAG_SEED_WAIT == 0 {
        return;
    }
    let key = if is_seed { record.seed.key } else { record.open.key };
    if key.kind == State::Futex as u8 && waker::is_signalled(task) {
        record.waker.cause = CAUSE_SIGNAL;
    }
    let by_thread = record.waker.cause == CAUSE_THREAD;
    let from = if record.since_ns > start { record.since_ns } else { start };
    let since = blame::beginning(&mut entry.past, &key, from, now, by_thread);
    let due = by_thread && blame::is_due(&mut entry.past, from, now);
    if record.queued == 0 && !due {
        return;
    }
    let holder = if by_thread { followed_entry(Task::current()) } else { None };
    if record.queued != 0 {
        let since_ns = match &holder {
            Some(holder) if holder.past.futex == record.open.key.object => {
                holder.past.futex_since_ns
            }
            _ => 0,
        };
        let by = if by_thread { queue::By::Thread { since_ns } } else { queue::By::Other };
        queue::leave(record, now, by, start);
    }
    if !due {
        return;
    }
    let Some(scratch) = maps::scratch(Place::Scheduler) else { return };
    let waker_tid = entry.record.waker.tid;
    blame::explain(&mut entry.past, &key, waker_tid, holder, since, now, scratch);
}

hook!("sched_wakeup", dwell_wakeup, dwell_wakeup_raw, |context| {
    let task = Task(context.arg(0));
    if let Some(entry) = followed_entry(task)
        && let Some((now, start)) = clock()
    {
        wake(task, entry, now, start);
    }
});

// A new thread's first wakeup, still in its creator's context. Those of fork are followed already,
// but for two cases. The workers that io_uring creates for a process (`create_io_thread`) show up
// only here. And the fork can have been skipped: from Linux 7 on a program on a tracepoint can be
// preempted, and the kernel does not run it again on that CPU until it has ended. Here that cannot
// be: the run queue is locked.
hook!("sched_wakeup_new", dwell_new, dwell_new_raw, |context| {
    let task = Task(context.arg(0));
    if followed(task).is_none() {
        fork(Task::current(), task);
    }
});
