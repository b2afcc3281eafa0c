//! The books of a thread: every interval is closed into exactly one state.

use aya_ebpf::bindings::BPF_NOEXIST;
use profiler_common::histogram::{BUCKETS, bucket_of};
use profiler_common::state::{State, is_wait};
use profiler_common::thread::{
    CAUSE_THREAD, FLAG_SEED_WAIT, POSTED, RECHECK_NONE, RECHECK_WRONG, ThreadRecord, UNPOSTED,
    UNPOSTED_CLIPPED, Waker,
};
use profiler_common::wait::{NO_SYSCALL, WAKERS, WaitKey, WaitStats};

use crate::maps::{self, BLANK_WAIT, WAITS, slot};
use crate::task::Task;

/// The part of `[record.since_ns, now)` that lies inside the window, and whether the window cut
/// its beginning off.
#[inline(always)]
fn inside(record: &ThreadRecord, now: u64, window_start: u64) -> (u64, bool) {
    let clipped = record.since_ns < window_start;
    let from = if clipped { window_start } else { record.since_ns };
    (now.saturating_sub(from), clipped)
}

/// Intervals do not overlap, even where the scheduler's clock has moved a border past `now`.
#[inline(always)]
pub fn later(since: u64, now: u64) -> u64 {
    if since > now { since } else { now }
}

/// Ends the interval since the last event as time spent in `state` (not a wait). Returns its
/// length inside the window.
#[inline(always)]
pub fn close(record: &mut ThreadRecord, state: State, now: u64, window_start: u64) -> u64 {
    let (ns, _) = inside(record, now, window_start);
    record.totals_ns[state as usize] += ns;
    record.since_ns = later(record.since_ns, now);
    ns
}

/// A run as the scheduler has it, in nanoseconds.
#[derive(Clone, Copy)]
pub struct Run {
    /// How long the thread waited for the CPU before.
    pub waited: u64,
    /// How long it held the CPU.
    pub ran: u64,
}

/// How far the scheduler's clock of a switch may be behind ours, in nanoseconds; beyond, the run
/// that it speaks of is not the one that we saw. A switch that follows from a wakeup goes by the clock
/// of that, and comes when the waker next allows it: after 20 to 40 µs where a wakeup comes out of the
/// loopback's own softirq (one switch of fifty in a backend of PostgreSQL, 1.2 % of its running time).
pub const CLOCK_SLACK_NS: u64 = 200_000;

#[inline(always)]
fn least(a: u64, b: u64) -> u64 {
    if a < b { a } else { b }
}

/// Ends a run, with its borders where the scheduler has them. Returns its end, which is a little
/// before `now`.
///
/// The scheduler reads its clock when it begins to switch, some 300 ns before the probe runs. And
/// it lets a thread that is woken for an idle CPU run from the wakeup on: it uses the clock of the
/// wakeup again when the switch follows from it (`rq_clock_skip_update` in `wakeup_preempt`,
/// kernel/sched/core.c), 1.3 µs before ours as measured here. For a busy Redis, that made 3 % of
/// its running time.
///
/// What the scheduler counts neither as waiting for a CPU nor as running came before it queued the thread:
/// between `sched_waking` and that, for a CPU that has to be told by an interrupt, tens of microseconds can
/// pass. It belongs to the wait before.
#[inline(always)]
pub fn close_run(record: &mut ThreadRecord, run: Run, now: u64, window_start: u64) -> u64 {
    let by_clock = now.saturating_sub(record.since_ns);
    let ready = record.last_ready_ns;
    let excess = if run.waited < ready { ready - run.waited } else { 0 };
    let mut earlier = excess;
    if record.unposted != POSTED {
        // How long the run was under way when we saw it begin.
        let ran_before = run.ran.saturating_sub(by_clock);
        earlier = if record.settled != 0 { 0 } else { least(ran_before, excess) };
        record.unposted_ns += excess - earlier;
    }
    record.settled = 0;
    let over = (by_clock + earlier).wrapping_sub(run.ran);
    let end = if over < CLOCK_SLACK_NS && over < by_clock { now - over } else { now };
    close(record, State::Running, end, window_start);
    record.totals_ns[State::Runnable as usize] -= excess;
    record.totals_ns[State::Running as usize] += earlier;
    // It may have queued the thread a little before the event that told us (a preemption): what is missing from
    // the wait for the CPU is taken from the state that follows, as if that began later.
    let missing = run.waited.wrapping_sub(ready);
    if ready != 0 && missing < CLOCK_SLACK_NS {
        record.totals_ns[State::Runnable as usize] += missing;
        record.since_ns += missing;
    }
    // The same for the run: on a CPU that was idle it begins with the interrupt that brings the wakeup.
    let short = run.ran.wrapping_sub(by_clock + earlier);
    if now > window_start && short < CLOCK_SLACK_NS {
        record.totals_ns[State::Running as usize] += short;
        record.since_ns += short;
    }
    record.last_ready_ns = 0;
    end
}

/// Ends the interval since the last event as the wait described in `record.open`. It is added to its sums when
/// the thread leaves the CPU that it was woken for: only then its end is known (`close_run`).
#[inline(always)]
pub fn close_wait(record: &mut ThreadRecord, now: u64, window_start: u64) {
    let (ns, clipped) = inside(record, now, window_start);
    record.since_ns = later(record.since_ns, now);
    if !is_wait(record.open.key.kind) || now <= window_start {
        return;
    }
    record.unposted_ns = ns;
    record.unposted = if clipped { UNPOSTED_CLIPPED } else { UNPOSTED };
}

/// What the scheduler does not count of the last wait for a CPU, as far as it is known while the thread runs: it
/// will be moved to the wait before. Nothing is moved here, as from Linux 7 on the thread can lose its CPU meanwhile.
#[inline(always)]
pub fn to_be_moved(record: &ThreadRecord, task: Task) -> u64 {
    let Some(delay) = task.run_delay_ns() else { return 0 };
    let waited = delay.wrapping_sub(record.run_delay_ns);
    if record.unposted == POSTED { 0 } else { record.last_ready_ns.saturating_sub(waited) }
}

/// Adds the last wait to its sums, if that has not been done. One that finds no entry is in no row, only in
/// the books.
#[inline(never)]
pub fn post(record: &mut ThreadRecord) {
    if record.unposted == POSTED {
        return;
    }
    let ns = record.unposted_ns;
    let clipped = record.unposted == UNPOSTED_CLIPPED;
    record.unposted = POSTED;
    let kind = slot(record.open.key.kind as u32, State::COUNT);
    record.totals_ns[kind] += ns;
    let Some(stats) = entry(&record.open.key) else {
        maps::count(|loss| loss.waits[kind] += 1);
        return;
    };
    stats.clipped += clipped as u32;
    note_port(stats, record.open.peer_port);
    add(stats, ns, &record.waker);
    if record.recheck != RECHECK_NONE {
        let wrong = record.recheck == RECHECK_WRONG;
        maps::count(|loss| {
            loss.rechecks += 1;
            loss.recheck_ns += ns;
            loss.recheck_wrong_ns += if wrong { ns } else { 0 };
        });
    }
}

/// Adds a wait for a CPU to its sums. The time is in the books already.
#[inline(always)]
pub fn add_ready(key: &WaitKey, ns: u64, before: &Waker) {
    match entry(key) {
        Some(stats) => add(stats, ns, before),
        None => maps::count(|loss| loss.waits[State::Runnable as usize] += 1),
    }
}

#[inline(always)]
fn add(stats: &mut WaitStats, ns: u64, waker: &Waker) {
    stats.count += 1;
    stats.total_ns += ns;
    stats.max_ns = if ns > stats.max_ns { ns } else { stats.max_ns };
    stats.histogram[slot(bucket_of(ns), BUCKETS)] += 1;
    note_waker(stats, waker);
}

/// Ends a wait whose wakeup nobody showed, and the wait for a CPU behind it. Only the scheduler knows
/// where the one became the other, and has said so by the time the thread leaves the CPU.
#[inline(always)]
pub fn close_unseen(record: &mut ThreadRecord, waited: u64, window_start: u64) {
    let entered = record.unseen_wakeup_ns;
    let all = entered.saturating_sub(record.since_ns);
    let ready = if waited < all { waited } else { 0 };
    close_wait(record, entered - ready, window_start);
    record.last_ready_ns = close(record, State::Runnable, entered, window_start);
    record.unseen_wakeup_ns = 0;
}

/// Takes over, as the wait it was in, what the seeding pass found.
#[inline(always)]
pub fn open_seed(record: &mut ThreadRecord) {
    if record.flags & FLAG_SEED_WAIT != 0 {
        record.open = record.seed;
    } else {
        record.open.key.kind = State::Other as u8;
        record.open.key.serial = record.serial;
        record.open.key.syscall = NO_SYSCALL;
    }
}

/// The sums for a wait, added if new.
#[inline(always)]
fn entry(key: &WaitKey) -> Option<&'static mut WaitStats> {
    if let Some(stats) = WAITS.get_ptr_mut(key) {
        // SAFETY: only this thread's switches write it.
        return Some(unsafe { &mut *stats });
    }
    let blank = BLANK_WAIT.get(0)?;
    WAITS.insert(key, blank, BPF_NOEXIST as u64).ok()?;
    // SAFETY: as above.
    WAITS.get_ptr_mut(key).map(|stats| unsafe { &mut *stats })
}

#[inline(always)]
fn note_port(stats: &mut WaitStats, port: u16) {
    if port == 0 {
        return;
    }
    if stats.peer_port == 0 {
        stats.peer_port = port;
    } else if stats.peer_port != port {
        stats.peer_ports_mixed = 1;
    }
}

/// Counts the waker; the first few are kept by name.
#[inline(always)]
fn note_waker(stats: &mut WaitStats, waker: &Waker) {
    // What else stands there is of an earlier wakeup.
    let is_thread = waker.cause == CAUSE_THREAD;
    let tid = if is_thread { waker.tid } else { 0 };
    for slot in 0..WAKERS {
        let known = &mut stats.wakers[slot];
        if known.count == 0 {
            if is_thread {
                *known = *waker;
            }
            known.cause = waker.cause;
            known.count = 1;
            return;
        }
        if known.tid == tid && known.cause == waker.cause {
            known.count += 1;
            return;
        }
    }
    stats.other_wakers += 1;
}
