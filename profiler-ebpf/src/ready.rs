//! Waits for a CPU that are long enough to be looked at one by one.

use profiler_common::state::State;
use profiler_common::thread::{CAUSE_INTERRUPT, CAUSE_THREAD, ThreadEntry, Waker};
use profiler_common::wait::{NO_SYSCALL, WaitKey};

use crate::books::CLOCK_SLACK_NS;
use crate::task::Task;
use crate::{blame, books};

/// The thread has waited for a CPU for `ns` and gets one, after `before`.
#[inline(never)]
pub fn note(entry: &mut ThreadEntry, before: Task, ns: u64, now: u64) {
    let record = &mut entry.record;
    let was_idle = before.global_tid() == 0;
    if was_idle && record.preempted == 0 && ns < CLOCK_SLACK_NS {
        // Mostly the time until an interrupt has woken the CPU, which the scheduler does not count.
        return;
    }
    let mut key = WaitKey { serial: record.serial, syscall: NO_SYSCALL, ..WaitKey::default() };
    key.kind = State::Runnable as u8;
    key.detail = record.preempted;
    let mut waker = Waker { cause: CAUSE_INTERRUPT, ..Waker::default() };
    if !was_idle {
        waker.cause = CAUSE_THREAD;
        waker.tid = before.visible_tid();
        waker.pid = before.visible_pid();
        waker.comm = before.comm();
    }
    books::add_ready(&key, ns, &waker);
    blame::keep(&mut entry.past, &key, now - ns, now);
}
