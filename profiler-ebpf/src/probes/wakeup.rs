//! `sched_waking` ends a wait: it tells who wakes the thread, in whose context. When the thread was put on
//! a run queue after that, the scheduler has said by the time that it leaves its CPU (`close_run`).

use aya_ebpf::EbpfContext;
use profiler_common::state::{State, is_wait};
use profiler_common::thread::{CAUSE_SIGNAL, CAUSE_THREAD, ThreadEntry};

use super::lifetime::fork;
use super::switch::wake;
use super::{clock, hook};
use crate::adopt::{Follow, followed_entry};
use crate::books::open_seed;
use crate::maps::{self, Place};
use crate::task::Task;
use crate::{blame, queue, waker};

hook!("sched_waking", dwell_waking, dwell_waking_raw, |context| {
    waking(context.as_ptr(), Task(context.arg(0)));
});

#[inline(always)]
fn waking(context: *mut core::ffi::c_void, task: Task) {
    let Some(entry) = followed_entry(task) else { return };
    let state = entry.record.state;
    if state == State::Running as u8 {
        return early(context, entry);
    }
    if state == State::Unsettled as u8 {
        // It had not left its CPU yet.
        if task.is_on_cpu() {
            return;
        }
        open_seed(&mut entry.record);
    } else if !is_wait(state) {
        return;
    }
    let Some((now, start)) = clock() else { return };
    let record = &mut entry.record;
    let by = waker::current(context, record);
    waker::note(&mut record.waker, by);
    explain(task, entry, now, start);
    wake(entry, now, start);
}

/// The thread is about to block, and is woken before it has left its CPU: the waker has to wait for that,
/// and the wait will be as short. 19 of 20 waits of `sysbench mutex` with its threads on two CPUs
/// would have no waker otherwise.
#[inline(always)]
fn early(context: *mut core::ffi::c_void, entry: &mut ThreadEntry) {
    let Some((now, start)) = clock() else { return };
    // Before, its place may hold what the seeding pass has found.
    if now < start {
        return;
    }
    entry.past.woken_early_ns = now;
    let by = waker::current(context, &mut entry.record);
    let waker = entry.record.early_waker();
    waker.tid = 0;
    waker::note(waker, by);
}

/// The current thread, or an interrupt, ends the wait of a thread: takes it out of the queue that it
/// is in, and looks for what took so long.
#[inline(always)]
fn explain(task: Task, entry: &mut ThreadEntry, now: u64, start: u64) {
    let record = &mut entry.record;
    let key = record.open.key;
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

// A new thread's first wakeup, still in its creator's context. Those of fork are followed already,
// but for two cases. The workers that io_uring creates for a process (`create_io_thread`) show up
// only here. And the fork can have been skipped: from Linux 7 on a program on a tracepoint can be
// preempted, and the kernel does not run it again on that CPU until it has ended. Here that cannot
// be: the run queue is locked.
hook!("sched_wakeup_new", dwell_new, dwell_new_raw, |context| {
    if fork(Task::current(), Task(context.arg(0))) == Follow::Refused {
        maps::count(|loss| loss.threads += 1);
    }
});
