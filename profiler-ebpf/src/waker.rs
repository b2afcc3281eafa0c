//! Who ended a wait.

use aya_ebpf::helpers::{bpf_get_current_comm, bpf_get_current_pid_tgid};
use profiler_common::state::State;
use profiler_common::thread::{CAUSE_INTERRUPT, CAUSE_THREAD, ThreadRecord};

use crate::globals::{self, field};
use crate::registers::Saved;
use crate::task::Task;

/// sendto, sendmsg, write, writev, sendmmsg, connect, shutdown, close, sendfile, splice: on
/// loopback these deliver to the peer from a softirq that they run themselves.
const DELIVERING: [u16; 10] = [44, 46, 1, 20, 307, 42, 48, 3, 40, 275];

/// Notes in `record` who wakes the thread, in the context that `context` lies in: a thread only where
/// it really did it, not where an interrupt happened to hit it.
#[inline(always)]
pub fn note(context: *mut core::ffi::c_void, record: &mut ThreadRecord) {
    let before = record.waker.tid;
    record.waker.cause = CAUSE_INTERRUPT;
    record.waker.tid = 0;
    let ids = bpf_get_current_pid_tgid();
    if ids == 0 || !did_it(context, record) {
        return;
    }
    record.waker.cause = CAUSE_THREAD;
    if globals::is_initial_namespace() {
        record.waker.tid = ids as u32;
        record.waker.pid = (ids >> 32) as u32;
    } else {
        let task = Task::current();
        record.waker.tid = task.visible_tid();
        record.waker.pid = task.visible_pid();
    }
    // Mostly the one that did it last time.
    if record.waker.tid != before || before == 0 {
        record.waker.comm = bpf_get_current_comm().unwrap_or_default();
    }
}

#[inline(always)]
fn did_it(context: *mut core::ffi::c_void, record: &mut ThreadRecord) -> bool {
    let task = Task::current();
    let on_own_stack = task.has_on_stack(context, &mut record.passage);
    let kind = record.open.key.kind;
    let is_delivered = kind != State::Futex as u8 && kind != State::Sleep as u8;
    if task.is_kernel_thread() {
        return on_own_stack;
    }
    match Saved::of_current().syscall() {
        // What ends a wait for a futex, or a sleep, out of an interrupt is a timer.
        Some(syscall) => on_own_stack || (is_delivered && delivers(syscall.number)),
        // User code was interrupted, or faults.
        None => false,
    }
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
