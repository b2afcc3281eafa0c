//! Who ended a wait.

use aya_ebpf::helpers::bpf_get_current_comm;
use profiler_common::state::State;
use profiler_common::thread::{CAUSE_INTERRUPT, CAUSE_THREAD, ThreadRecord, Waker};

use crate::globals::field;
use crate::registers::Saved;
use crate::task::Task;

/// sendto, sendmsg, write, writev, sendmmsg, connect, shutdown, close, sendfile, splice: on
/// loopback these deliver to the peer from a softirq that they run themselves.
const DELIVERING: [u16; 10] = [44, 46, 1, 20, 307, 42, 48, 3, 40, 275];

/// Notes who wakes a thread, from [`current`].
#[inline(always)]
pub fn note(waker: &mut Waker, by: Option<Task>) {
    let before = waker.tid;
    waker.cause = CAUSE_INTERRUPT;
    waker.tid = 0;
    let Some(task) = by else { return };
    waker.cause = CAUSE_THREAD;
    waker.tid = task.visible_tid();
    waker.pid = task.visible_pid();
    // Mostly the one that did it last time.
    if waker.tid != before || before == 0 {
        waker.comm = bpf_get_current_comm().unwrap_or_default();
    }
}

/// The current thread, if it is this that wakes the one of `record`, in the context that `context` lies in; none if
/// an interrupt happened to hit it, or the idle task of a CPU.
#[inline(always)]
pub fn current(context: *mut core::ffi::c_void, record: &mut ThreadRecord) -> Option<Task> {
    let task = Task::current();
    if task.global_tid() != 0 && does_it(task, context, record) { Some(task) } else { None }
}

#[inline(always)]
fn does_it(task: Task, context: *mut core::ffi::c_void, record: &mut ThreadRecord) -> bool {
    let on_own_stack = task.has_on_stack(context, &mut record.passage);
    let is_delivered = is_delivered(record.open.key.kind);
    if task.is_kernel_thread() {
        return on_own_stack;
    }
    match Saved::of_current(task).syscall() {
        Some(syscall) => on_own_stack || (is_delivered && delivers(syscall.number)),
        // User code was interrupted, or faults.
        None => false,
    }
}

/// Whether a wait of this kind can be ended by what a thread delivers to a socket. Others are ended out of an interrupt by
/// a timer or a device, whatever the thread does that the interrupt hits.
#[inline(always)]
fn is_delivered(kind: u8) -> bool {
    kind == State::Socket as u8
        || kind == State::Poll as u8
        || kind == State::IoUring as u8
        || kind == State::Other as u8
}

#[inline(always)]
fn delivers(syscall: u16) -> bool {
    let mut found = false;
    for number in DELIVERING {
        found |= number == syscall;
    }
    found
}

/// Whether a signal ends the wait of a thread: one waits for it, or for its process, that it takes
/// (`signal_wake_up_state` comes after that, kernel/signal.c).
#[inline(always)]
pub fn is_signalled(task: Task) -> bool {
    let own: u64 = match field::task_pending().of(task.0) {
        Some(pending) => field::sigpending_signal().load(pending),
        None => return false,
    };
    let signal: u64 = field::task_signal().load(task.0);
    let shared: u64 = match field::signal_shared_pending().of(signal) {
        Some(pending) => field::sigpending_signal().load(pending),
        None => 0,
    };
    (own | shared) & !field::task_blocked().load::<u64>(task.0) != 0
}
