//! `sched_waking` tells who wakes, in whose context; `sched_wakeup` tells when the thread is on a
//! run queue again, under that queue's lock. On another CPU the two can lie tens of microseconds
//! apart, and the kernel's own run-queue delay begins with the second.

use aya_ebpf::EbpfContext;
use profiler_common::state::{State, is_wait};

use super::switch::wake;
use super::{clock, hook};
use crate::adopt::{follow, follow_process, followed, is_followed_process};
use crate::task::Task;
use crate::{globals, waker};

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

// A new thread's first wakeup. Those of fork are followed already; the workers that io_uring
// creates for a process (`create_io_thread`) show up only here.
hook!("sched_wakeup_new", dwell_new, dwell_new_raw, |context| {
    let task = Task(context.arg(0));
    if followed(task).is_none()
        && let Some((now, _)) = clock()
        && (globals::whole_host() != 0 || is_followed_process(task.global_tgid()))
    {
        follow_process(task.global_tgid(), task.global_tgid());
        follow(task, State::Runnable, now);
    }
});
