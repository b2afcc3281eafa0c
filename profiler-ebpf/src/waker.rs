//! Who ended a wait.

use aya_ebpf::helpers::{bpf_get_current_comm, bpf_get_current_pid_tgid};
use profiler_common::thread::{CAUSE_INTERRUPT, CAUSE_THREAD, Waker};

use crate::globals;
use crate::registers::Saved;
use crate::task::Task;

/// sendto, sendmsg, write, writev, sendmmsg, connect, shutdown, close, sendfile, splice: on
/// loopback these deliver to the peer from a softirq that they run themselves.
const DELIVERING: [u16; 10] = [44, 46, 1, 20, 307, 42, 48, 3, 40, 275];

/// The waker in the context that `context` lies in: a thread only where it really did it, not
/// where an interrupt happened to hit it.
#[inline(always)]
pub fn identify(context: *mut core::ffi::c_void) -> Waker {
    let mut waker = Waker { cause: CAUSE_INTERRUPT, ..Waker::default() };
    let ids = bpf_get_current_pid_tgid();
    if ids == 0 {
        return waker;
    }
    let task = Task::current();
    let on_own_stack = task.has_on_stack(context);
    let did_it = if task.is_kernel_thread() {
        on_own_stack
    } else {
        match Saved::of_current().and_then(Saved::syscall) {
            Some(syscall) => on_own_stack || delivers(syscall.number),
            // User code was interrupted, or faults.
            None => false,
        }
    };
    if did_it {
        waker.cause = CAUSE_THREAD;
        if globals::is_initial_namespace() {
            waker.tid = ids as u32;
            waker.pid = (ids >> 32) as u32;
        } else {
            waker.tid = task.visible_tid();
            waker.pid = task.visible_pid();
        }
        waker.comm = bpf_get_current_comm().unwrap_or_default();
    }
    waker
}

#[inline(always)]
fn delivers(syscall: u16) -> bool {
    let mut found = false;
    for number in DELIVERING {
        found |= number == syscall;
    }
    found
}
