//! Why waits took so long: what the thread that ends one was doing meanwhile.

use aya_ebpf::bindings::BPF_NOEXIST;
use profiler_common::blame::{
    Blame, BlameKey, DOING_FORGOTTEN, DOING_NOT_FOLLOWED, DOING_QUEUED, EXPLAIN_EVERY_NS,
    LONG_SPAN_NS, LONGEST_CHAIN, Past, RESUMED_WITHIN_NS, Reason, SHORTEST_SPAN_NS, SPANS, Span,
};
use profiler_common::state::State;
use profiler_common::thread::{FLAG_KERNEL_THREAD, ThreadEntry};
use profiler_common::unwind::mix;
use profiler_common::wait::{NO_SYSCALL, WaitKey};

use crate::maps::{self, BLAME, REASONS, Scratch, slot};
use crate::registers::Saved;
use crate::stack;
use crate::task::Task;

/// A wait that is being explained.
#[repr(C)]
pub struct Search {
    key: BlameKey,
    reason: Reason,
    /// The wait, inside the window (CLOCK_MONOTONIC).
    from_ns: u64,
    to_ns: u64,
    /// The end of the part at hand.
    until_ns: u64,
    /// What is not explained yet.
    rest_ns: u64,
    /// What a nanosecond of it stands for, in 1/65,536.
    scale: u64,
    /// The longest part, its reason, and when what that tells of was over.
    longest_ns: u64,
    longest: u64,
    longest_end_ns: u64,
}

/// The gap between two like waits that are one span is at most this part of the second.
const GAP_PART: u64 = 64;

const SCALE_BITS: u32 = 16;

/// A wait of the thread of `past` ends at `now`, by the hand of a thread; it began at `from`, inside
/// the window. Whether that is to be explained.
#[inline(always)]
pub fn is_due(past: &mut Past, from: u64, now: u64) -> bool {
    past.unexplained_ns += now.saturating_sub(from);
    past.unexplained_ns >= EXPLAIN_EVERY_NS && now > from
}

/// When a wait began that ends now: with the pieces before that a timer or a signal has cut off, and from
/// which the thread came straight back.
#[inline(always)]
pub fn beginning(past: &mut Past, key: &WaitKey, from: u64, now: u64, by_thread: bool) -> u64 {
    let cut = &mut past.cut;
    // By turns, a condition variable of glibc waits on one of two futexes.
    let same_place = cut.key.stack == key.stack && key.stack != 0;
    let same = cut.key.kind == key.kind && (cut.key.object == key.object || same_place);
    let resumed = same && cut.end_ns != 0 && from.wrapping_sub(cut.end_ns) < RESUMED_WITHIN_NS;
    let before = if resumed { cut.ns } else { 0 };
    let since = if resumed { cut.since_ns } else { from };
    if by_thread {
        cut.end_ns = 0;
        past.unexplained_ns += before;
    } else {
        cut.key = *key;
        cut.since_ns = since;
        // Before the window there is nothing to explain.
        cut.end_ns = if now > from { now } else { 0 };
        cut.ns = before + now.saturating_sub(from);
    }
    since
}

/// Explains the wait `key` of a thread, which the current thread `waker_tid` ends now. `holder` is what is
/// kept of the current thread.
#[inline(always)]
pub fn explain(
    past: &mut Past,
    key: &WaitKey,
    waker_tid: u32,
    holder: Option<&mut ThreadEntry>,
    from: u64,
    now: u64,
    scratch: &mut Scratch,
) {
    let search = &mut scratch.search;
    search.key.wait = *key;
    search.from_ns = from;
    search.to_ns = now;
    search.rest_ns = now.wrapping_sub(from);
    search.scale = divide(past.unexplained_ns << SCALE_BITS, search.rest_ns);
    search.longest_ns = 0;
    search.longest = 0;
    search.longest_end_ns = 0;
    past.unexplained_ns = 0;
    match holder {
        Some(holder) => look_back(holder, scratch),
        None => by_stranger(past, waker_tid, search),
    }
    past.reason = scratch.search.longest;
    past.reason_end_ns = scratch.search.longest_end_ns;
}

/// The current thread is not followed. Mostly it is the one that ended the last wait as well, and then its
/// name and the reason need not be looked up: a fifth of `sched_waking` where PostgreSQL waits for pgbench.
#[inline(always)]
fn by_stranger(past: &mut Past, tid: u32, search: &mut Search) {
    let reason = past.stranger_reason;
    if reason != 0 && past.stranger_tid == tid {
        search.key.reason = reason;
        prefer(search.rest_ns, search.to_ns, search);
        put(search.rest_ns, search);
        return;
    }
    let task = Task::current();
    search.reason.pid = task.visible_pid();
    search.reason.comm = task.comm();
    without_digits(&mut search.reason);
    search.reason.release = 0;
    rest_is(DOING_NOT_FOLLOWED, search);
    past.stranger_reason = if tid == 0 { 0 } else { search.longest };
    past.stranger_tid = tid;
}

/// Goes through what the thread was doing, backwards.
#[inline(always)]
fn look_back(holder: &mut ThreadEntry, scratch: &mut Scratch) {
    let release = release_stack(holder, scratch);
    let search = &mut scratch.search;
    search.reason.pid = holder.record.pid;
    search.reason.comm = holder.record.comm;
    without_digits(&mut search.reason);
    search.reason.release = release;
    let mut oldest = search.to_ns;
    for back in 0..SPANS as u32 {
        let index = slot((holder.past.next + SPANS as u32 - 1 - back) & (SPANS as u32 - 1), SPANS);
        let span = &holder.past.spans[index];
        oldest = span.start_ns;
        if span.end_ns <= search.from_ns {
            break;
        }
        part(span, search);
    }
    if oldest > search.from_ns && search.rest_ns > 0 {
        // All spans lie inside: there were more.
        let unknown = oldest - search.from_ns;
        let unknown = if unknown < search.rest_ns { unknown } else { search.rest_ns };
        search.until_ns = oldest;
        doing_nothing_known(DOING_FORGOTTEN, search);
        add(unknown, search);
    }
    rest_is(State::Running as u8, search);
}

/// 0 where there is nothing to divide by: a panic, which Rust has for that, cannot be.
#[inline(always)]
fn divide(number: u64, by: u64) -> u64 {
    if by == 0 { 0 } else { number / by }
}

/// From where the current thread ends the wait.
#[inline(always)]
fn release_stack(holder: &mut ThreadEntry, scratch: &mut Scratch) -> u64 {
    if holder.record.flags & FLAG_KERNEL_THREAD != 0 {
        return 0;
    }
    let position = Saved::of_current(Task::current()).position();
    // That of the wait before, which is not in its sums yet.
    let recheck = holder.record.recheck;
    let stack = stack::user(&position, &mut holder.record, &mut holder.memo, scratch);
    holder.record.recheck = recheck;
    stack
}

/// The part of the wait in which the thread was in `span` itself.
#[inline(always)]
fn part(span: &Span, search: &mut Search) {
    let from = if span.start_ns > search.from_ns { span.start_ns } else { search.from_ns };
    let to = if span.end_ns < search.to_ns { span.end_ns } else { search.to_ns };
    if to <= from {
        return;
    }
    let whole = span.end_ns - span.start_ns;
    // Only a share of the span is waiting where like waits are one; /1024 keeps it in 64 bits.
    let share = divide(span.waited_ns << 10, whole);
    let ns = ((to - from) * share) >> 10;
    let ns = if ns < search.rest_ns { ns } else { search.rest_ns };
    let is_queued = is_same_queue(&span.key, &search.key.wait);
    if is_queued && span.reason != 0 {
        // It waited in the same queue: another one held the lock then, and what that did is the reason.
        // Of this wait as a whole only if it was not over before: handed on and on, a reason would outlive
        // what it tells of.
        search.key.reason = span.reason;
        search.rest_ns -= ns;
        if span.reason_end_ns > search.from_ns {
            prefer(ns, span.reason_end_ns, search);
        }
        put(ns, search);
        return;
    }
    if is_queued {
        search.until_ns = to;
        doing_nothing_known(DOING_QUEUED, search);
        add(ns, search);
        return;
    }
    search.reason.object = span.key.object;
    search.reason.stack = span.key.stack;
    search.reason.syscall = span.key.syscall;
    search.reason.kind = span.key.kind;
    search.reason.detail = span.key.detail;
    search.reason.next = span.reason;
    search.until_ns = to;
    add(ns, search);
}

/// Whether two waits are for the same lock: the same futex, or one from the same place, as some locks
/// wait on a futex, or a descriptor, of the waiting thread (parking_lot, PostgreSQL). A thread that
/// waits in the same place has not got there what the other waits for.
#[inline(always)]
fn is_same_queue(a: &WaitKey, b: &WaitKey) -> bool {
    if a.kind != b.kind {
        return false;
    }
    let same_place = a.stack == b.stack && a.stack != 0;
    match a.kind {
        kind if kind == State::Futex as u8 => a.object == b.object || same_place,
        kind if kind == State::Poll as u8 => same_place,
        _ => false,
    }
}

#[inline(always)]
fn doing_nothing_known(kind: u8, search: &mut Search) {
    search.reason.object = 0;
    search.reason.stack = 0;
    search.reason.syscall = NO_SYSCALL;
    search.reason.kind = kind;
    search.reason.detail = 0;
    search.reason.next = 0;
}

#[inline(always)]
fn rest_is(kind: u8, search: &mut Search) {
    if search.rest_ns > 0 {
        search.until_ns = search.to_ns;
        doing_nothing_known(kind, search);
        add(search.rest_ns, search);
    }
}

/// Adds a part of the wait to the reason described.
#[inline(never)]
fn add(ns: u64, search: &mut Search) {
    search.rest_ns -= if ns < search.rest_ns { ns } else { search.rest_ns };
    search.key.reason = intern(&mut search.reason);
    prefer(ns, search.until_ns, search);
    put(ns, search);
}

/// The reason of the key is that of the whole wait, unless another one has a longer part.
#[inline(always)]
fn prefer(ns: u64, end_ns: u64, search: &mut Search) {
    if ns > search.longest_ns {
        search.longest_ns = ns;
        search.longest = search.key.reason;
        search.longest_end_ns = end_ns;
    }
}

/// Adds a part of the wait to the reason of the key.
#[inline(never)]
fn put(ns: u64, search: &mut Search) {
    if search.key.reason == 0 || ns == 0 {
        return;
    }
    let weight = (ns * search.scale) >> SCALE_BITS;
    if let Some(blame) = BLAME.get_ptr_mut(&search.key) {
        // SAFETY: only wakers of this thread write it, under the lock of its wakeup.
        unsafe {
            (*blame).ns += weight;
            (*blame).count += 1;
        }
        return;
    }
    let blame = Blame { ns: weight, count: 1 };
    if BLAME.insert(&search.key, &blame, BPF_NOEXIST as u64).is_err() {
        maps::count(|loss| loss.reasons += 1);
    }
}

/// Finds or adds a reason; 0 where it found no place.
#[inline(always)]
fn intern(reason: &mut Reason) -> u64 {
    reason.depth = 1;
    if reason.next != 0 {
        // SAFETY: entries are not changed.
        match unsafe { REASONS.get(&reason.next) } {
            Some(next) if next.depth < LONGEST_CHAIN => reason.depth = next.depth + 1,
            _ => reason.next = 0,
        }
    }
    let id = identity(reason) | 1;
    // SAFETY: a look-up; the value is not used.
    if unsafe { REASONS.get(&id) }.is_some() {
        return id;
    }
    match REASONS.insert(&id, &*reason, BPF_NOEXIST as u64) {
        Ok(()) => id,
        Err(error) if error == -17 => id,
        Err(_) => {
            maps::count(|loss| loss.reasons += 1);
            0
        }
    }
}

/// Hash of what makes a reason the same.
#[inline(always)]
fn identity(reason: &Reason) -> u64 {
    let head = (reason.kind as u64)
        | (reason.detail as u64) << 8
        | (reason.syscall as u64) << 16
        | (reason.pid as u64) << 32;
    let mut hash = mix(head, reason.release);
    hash = mix(hash, reason.object);
    hash = mix(hash, reason.stack);
    hash = mix(hash, reason.next);
    hash = mix(hash, word(&reason.comm, 0));
    mix(hash, word(&reason.comm, 8))
}

#[inline(always)]
fn word(comm: &[u8; 16], at: usize) -> u64 {
    // SAFETY: `at` is 0 or 8, inside the array; unaligned by construction of the type.
    unsafe { comm.as_ptr().add(at).cast::<u64>().read_unaligned() }
}

#[inline(always)]
fn without_digits(reason: &mut Reason) {
    for index in 0..16 {
        let letter = reason.comm[index];
        if letter > b'0' && letter <= b'9' {
            reason.comm[index] = b'0';
        }
    }
}

/// Keeps a wait, or a wait for a CPU, in the past of its thread. Like ones in a row are one.
#[inline(always)]
pub fn keep(past: &mut Past, key: &WaitKey, from: u64, to: u64) {
    // A wait for a CPU has none.
    let has_reason = key.kind != State::Runnable as u8;
    let (reason, reason_end_ns) =
        if has_reason { (past.reason, past.reason_end_ns) } else { (0, 0) };
    if to.saturating_sub(from) < SHORTEST_SPAN_NS {
        return;
    }
    let last = slot((past.next + SPANS as u32 - 1) & (SPANS as u32 - 1), SPANS);
    let span = &mut past.spans[last];
    // Of a span made of several, only a share is known to be waiting: that must be short waits, or nearly
    // all of it.
    let (length, gap) = (to - from, from.wrapping_sub(span.end_ns));
    let close = gap < length / GAP_PART || (length < LONG_SPAN_NS && gap < LONG_SPAN_NS);
    let same = span.end_ns != 0
        && close
        && span.key.kind == key.kind
        && span.key.object == key.object
        && span.key.stack == key.stack
        && span.reason == reason;
    if same {
        span.end_ns = to;
        span.waited_ns += to - from;
        span.reason_end_ns = reason_end_ns;
        return;
    }
    let span = &mut past.spans[slot(past.next & (SPANS as u32 - 1), SPANS)];
    span.start_ns = from;
    span.end_ns = to;
    span.waited_ns = to - from;
    span.key = *key;
    span.reason = reason;
    span.reason_end_ns = reason_end_ns;
    past.next = (past.next + 1) & (SPANS as u32 - 1);
}

/// Forgets all: the thread has executed another program, in which stacks mean something else.
#[inline(always)]
pub fn forget(past: &mut Past) {
    for index in 0..SPANS {
        past.spans[index].end_ns = 0;
    }
    past.futex = 0;
    past.stranger_reason = 0;
}
