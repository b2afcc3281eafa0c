//! `sched_switch`: a CPU goes from one thread to another.

use core::sync::atomic::{Ordering, compiler_fence};

use aya_ebpf::EbpfContext;
use profiler_common::blame::{SHORTEST_SPAN_NS, WOKEN_EARLY_NS};
use profiler_common::kernel::task_state;
use profiler_common::state::{State, is_wait};
use profiler_common::thread::{
    CAUSE_THREAD, CAUSE_UNKNOWN, FLAG_SEED_WAIT, ThreadEntry, ThreadRecord,
};
use profiler_common::turn::Intermission;

use super::{clock, hook};
use crate::adopt::{finish, followed_entry};
use crate::books::{
    CLOCK_SLACK_NS, Run, close, close_run, close_unseen, close_wait, later, open_seed, post,
};
use crate::classify::classify;
use crate::maps::{self, Place, Scratch};
use crate::serving::is_idle;
use crate::task::Task;
use crate::{blame, globals, queue, ready};

hook!("sched_switch", dwell_switch, dwell_switch_raw, |context| {
    let preempted: u64 = context.arg(0);
    let previous = Task(context.arg(1));
    // Before Linux 5.18 there is no fourth argument; the branch is gone where the flag says so.
    let state: u64 =
        if globals::switch_has_state() != 0 { context.arg(3) } else { previous.state() as u64 };
    switch(context.as_ptr(), preempted as u8 != 0, previous, Task(context.arg(2)), state as u32)
});

#[inline(always)]
fn switch(
    context: *mut core::ffi::c_void,
    preempted: bool,
    previous: Task,
    next: Task,
    state: u32,
) {
    let Some(scratch) = maps::scratch(Place::Scheduler) else { return };
    let left = followed_entry(previous);
    let has_left = left.is_some();
    if let Some(entry) = left {
        let Some((now, start)) = clock() else { return };
        switch_out(context, preempted, previous, state, entry, now, start, scratch);
    }
    // Looked up only here: held across all of the above, it would be two cases to the verifier.
    let Some(entry) = followed_entry(next) else { return };
    let moment = if has_left { Some(scratch.moment.read()) } else { Moment::now() };
    let Some(Moment { at, now, start }) = moment else { return };
    if is_wait(entry.record.state) {
        woken_early(entry, start);
    }
    // It tells of the run before only.
    entry.past.woken_early_ns = 0;
    let record = &mut entry.record;
    // The clock of the switch may be that of a wakeup, see `close_run`; never before the last
    // event of this thread.
    let has_run = runs_since(next, record) > 0;
    switch_in(record, has_run, if at > record.since_ns { at } else { now }, start);
    let waited = record.last_ready_ns;
    if waited >= SHORTEST_SPAN_NS {
        ready::note(entry, previous, waited, now);
    }
}

/// The times of a switch. Kept in a table's memory while the verifier walks through `classify`: what
/// it knows about a time in a register differs with each way that led there, and each way would be
/// walked for itself (a million instructions instead of a quarter of that).
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Moment {
    /// When the run ended, by the scheduler's clock.
    at: u64,
    now: u64,
    /// Beginning of the window.
    start: u64,
}

impl Moment {
    #[inline(always)]
    fn now() -> Option<Self> {
        let (now, start) = clock()?;
        Some(Self { at: now, now, start })
    }

    /// Volatile, or the compiler would keep the registers.
    #[inline(always)]
    fn read(&self) -> Self {
        // SAFETY: a reference.
        unsafe { core::ptr::read_volatile(self) }
    }

    /// Whether the window has begun.
    #[inline(always)]
    fn is_inside(&self) -> bool {
        let moment = self.read();
        moment.now > moment.start
    }

    #[inline(always)]
    fn write(&mut self, moment: Self) {
        // SAFETY: a reference.
        unsafe { core::ptr::write_volatile(self, moment) }
    }
}

/// The thread held the CPU until now; it goes on as ready, as blocked, or not at all. Leaves the
/// times of the switch in `scratch`.
#[expect(clippy::too_many_arguments, reason = "the arguments of the hook, and where it stands")]
#[inline(always)]
fn switch_out(
    context: *mut core::ffi::c_void,
    preempted: bool,
    task: Task,
    state: u32,
    entry: &mut ThreadEntry,
    now: u64,
    start: u64,
    scratch: &mut Scratch,
) {
    let record = &mut entry.record;
    let was = record.state;
    let runs = runs_since(task, record);
    let goes_on = match was {
        _ if was == State::Running as u8 => runs <= 1,
        _ if was == State::Unsettled as u8 => runs == 0,
        _ => false,
    };
    if !goes_on {
        recover(task, record, runs > 1, now, start);
    }
    let run = last_run(task, record);
    if record.unseen_wakeup_ns != 0 {
        close_unseen(record, run.waited, start);
    }
    if record.queued != 0 {
        // A wait whose wakeup nobody showed.
        queue::leave(record, now, queue::By::Other, start);
    }
    let at = close_run(record, run, now, start);
    if record.woken_early != 0 {
        record.woken_early = 0;
        // Too late to look for the reason: the next wait that is looked at stands for this.
        entry.past.unexplained_ns += record.unposted_ns;
    }
    post(record);
    scratch.moment.write(Moment { at, now, start });
    if state & task_state::DEAD != 0 {
        // Up to where the books are closed: `close_run` may have moved that past the run's end.
        finish(task, record, record.since_ns);
        return;
    }
    let blocks = !preempted && state & task_state::BLOCKED != 0;
    if scratch.moment.is_inside() {
        record.voluntary += blocks as u64;
        record.involuntary += !blocks as u64;
    }
    if blocks {
        entry.past.reason = 0;
        // What comes later will replace it.
        record.waker.cause = CAUSE_UNKNOWN;
        classify(context, task, state, record, &mut entry.memo, scratch);
        let kind = record.open.key.kind;
        if kind == State::Futex as u8 {
            queue::enter(record, scratch.moment.read().at);
        }
        // From here on another CPU may end the wait.
        compiler_fence(Ordering::Release);
        record.state = kind;
    } else {
        record.preempted = 1;
        record.state = State::Runnable as u8;
    }
}

/// How often the thread was given a CPU since its last switch that was shown. The scheduler counts the run that a switch
/// begins after the probe.
#[inline(always)]
fn runs_since(task: Task, record: &mut ThreadRecord) -> u32 {
    let before = record.memo.run_count;
    record.memo.run_count = task.run_count();
    record.memo.run_count.wrapping_sub(before)
}

/// The run that ends, by the scheduler's accounts; nothing of use where it keeps none.
#[inline(always)]
fn last_run(task: Task, record: &mut ThreadRecord) -> Run {
    let Some(delay) = task.run_delay_ns() else { return Run { waited: u64::MAX, ran: u64::MAX } };
    let waited = delay.wrapping_sub(record.run_delay_ns);
    record.run_delay_ns = delay;
    Run { waited, ran: task.last_run_ns() }
}

/// The thread leaves a CPU that it was not seen to get: the switch was not shown to the probes (a
/// kernel can keep some processes out of sight of tracing; switches away from those are missing).
/// How long it has run, the scheduler knows; what it did before that, the last event told, unless it `has_run` before.
#[inline(always)]
fn recover(task: Task, record: &mut ThreadRecord, has_run: bool, now: u64, start: u64) {
    maps::count(|loss| loss.anomalies += 1);
    let ran = task.last_run_ns();
    let from = record.since_ns;
    let began = now.saturating_sub(ran);
    if from < began + 2 * CLOCK_SLACK_NS {
        // `close_run` may have moved the border of the run before into this one, for two reasons.
        switch_in(record, has_run, later(from, began), start);
    } else {
        close(record, State::Unattributed, now, start);
    }
}

/// The thread was ready until now, unless it `has_run` meanwhile without being seen. Where it was never seen to wake, its
/// wait is closed later.
#[inline(always)]
fn switch_in(record: &mut ThreadRecord, has_run: bool, now: u64, start: u64) {
    if record.state == State::Unsettled as u8 && record.flags & FLAG_SEED_WAIT != 0 {
        // It was seen to wait, and by whom that was ended was not.
        open_seed(record);
        record.state = record.open.key.kind;
    }
    let was = record.state;
    if is_wait(was) {
        record.unseen_wakeup_ns = now;
    } else {
        let ready = (was == State::Runnable as u8 || was == State::Unsettled as u8) && !has_run;
        if !ready {
            maps::count(|loss| loss.anomalies += 1);
        }
        let ns =
            close(record, if ready { State::Runnable } else { State::Unattributed }, now, start);
        record.last_ready_ns = if ready { ns } else { 0 };
        if record.preempted != 0 {
            record.preempted_ns += record.last_ready_ns;
        }
    }
    record.state = State::Running as u8;
}

/// The thread gets a CPU, and nobody has ended its wait: it was woken before it had left its CPU, or nobody
/// showed that. In the first case it has not waited, as far as is known until it leaves this CPU.
#[inline(never)]
fn woken_early(entry: &mut ThreadEntry, start: u64) {
    let record = &mut entry.record;
    let since = record.since_ns;
    if entry.past.woken_early_ns + WOKEN_EARLY_NS <= since {
        return;
    }
    record.waker = *record.early_waker();
    record.woken_early = (record.waker.cause == CAUSE_THREAD) as u8;
    if record.queued != 0 {
        let by = match record.waker.cause {
            CAUSE_THREAD => queue::By::Thread { since_ns: 0 },
            _ => queue::By::Other,
        };
        queue::leave(record, since, by, start);
    }
    wake(entry, since, start);
}

/// Ends the wait of a thread that is about to be put back on a run queue.
#[inline(always)]
pub fn wake(entry: &mut ThreadEntry, now: u64, start: u64) {
    let record = &mut entry.record;
    let since = record.since_ns;
    close_wait(record, now, start);
    record.state = State::Runnable as u8;
    record.preempted = 0;
    if globals::requests() != 0 {
        pause(&mut entry.intermission, record, entry.past.reason, now.saturating_sub(since), now);
    }
    let past = &mut entry.past;
    if record.open.key.kind == State::Futex as u8 {
        past.futex = record.open.key.object;
        past.futex_since_ns = now;
    }
    blame::keep(past, &record.open.key, since, now);
}

/// Keeps, of the wait that ends now, what the requests of the thread need.
#[inline(always)]
fn pause(pause: &mut Intermission, record: &ThreadRecord, reason: u64, ns: u64, now: u64) {
    let kind = record.open.key.kind;
    if is_idle(kind) {
        pause.idle_end_ns = now;
        pause.idle_ready_ns = record.totals_ns[State::Runnable as usize];
    }
    let wait = if pause.serves == 0 && pause.parked_end_ns == 0 {
        pause.parked_end_ns = now;
        pause.parked_waker = record.waker.tid;
        &mut pause.parked
    } else if ns > pause.longest.ns {
        &mut pause.longest
    } else {
        return;
    };
    wait.ns = ns;
    // Field by field: as one, it would be a call of `memmove`, which writes byte by byte.
    let key = &record.open.key;
    wait.key.stack = key.stack;
    wait.key.object = key.object;
    wait.key.serial = key.serial;
    wait.key.syscall = key.syscall;
    wait.key.kind = key.kind;
    wait.key.detail = key.detail;
    wait.reason = reason;
}
