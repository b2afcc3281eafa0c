//! `sched_waking` tells who wakes, in whose context; `sched_wakeup` tells when the thread is on a
//! run queue again, under that queue's lock. On another CPU the two can lie tens of microseconds
//! apart, and the kernel's own run-queue delay begins with the second.

use aya_ebpf::EbpfContext;
use profiler_common::state::{State, is_wait};

use super::lifetime::fork;
use super::switch::wake;
use super::{clock, hook};
use crate::adopt::followed;
use crate::task::Task;
use crate::waker;

hook!("sched_waking", dwell_waking, dwell_waking_raw, |context| {
    if let Some(record) = followed(Task(context.arg(0)))
        && (is_wait(record.state) || record.state == State::Unsettled as u8)
    {
        waker::note(context.as_ptr(), record);
    }
});

hook!("sched_wakeup", dwell_wakeup, dwell_wakeup_raw, |context| {
    let task = Task(context.arg(0));
    if let Some(record) = followed(task)
        && let Some((now, start)) = clock()
    {
        wake(task, record, now, start);
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
