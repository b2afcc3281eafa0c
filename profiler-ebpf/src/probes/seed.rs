//! The task iterator: what the threads that were there before dwell are doing.
//!
//! Two passes, because a single one would race with the switches it reads about. The first opens
//! the books of every thread of the target as `unsettled`: from then on no event of it is missed.
//! The second describes the threads that have had no event since: what it reads about such a
//! thread has been true since the first pass. If an event comes after all, the event itself says
//! what the thread was doing until then (a thread switched out was running, one switched in was
//! ready, one woken was blocked), so a description that came too late is never used.

use aya_ebpf::bindings::task_struct;
use profiler_common::control::{SEED_ADOPT, SEED_SETTLE};
use profiler_common::kernel::task_state;
use profiler_common::state::State;
use profiler_common::thread::{
    FLAG_KERNEL_THREAD, FLAG_SEED_RUNNABLE, FLAG_SEED_RUNNING, FLAG_SEED_WAIT, FileMemo, OpenWait,
    ThreadRecord,
};

use super::clock;
use crate::adopt::{Follow, abandon, follow_now, follow_process, followed, is_requested};
use crate::classify::{self, Blocked};
use crate::maps::{self, Place};
use crate::registers::Saved;
use crate::stack;
use crate::task::Task;

/// `struct bpf_iter__task` (kernel/bpf/task_iter.c).
#[repr(C)]
pub struct TaskIteration {
    meta: u64,
    task: *mut task_struct,
}

#[unsafe(link_section = "iter/task")]
#[unsafe(no_mangle)]
extern "C" fn dwell_seed(iteration: *mut TaskIteration) -> i32 {
    // SAFETY: the kernel passes a valid context.
    let pointer = unsafe { (*iteration).task };
    if pointer.is_null() {
        return 0;
    }
    let Some(control) = maps::control() else { return 0 };
    // SAFETY: user space writes this word between the passes.
    let pass = unsafe { core::ptr::read_volatile(&raw const control.seed_pass) };
    let task = Task(pointer as u64);
    match pass {
        SEED_ADOPT => adopt(task),
        SEED_SETTLE => settle(task, pointer),
        _ => {}
    }
    0
}

#[inline(always)]
fn adopt(task: Task) {
    // The idle task of a CPU is not a thread that could wait.
    if task.global_tid() == 0 || task.state() & task_state::DEAD != 0 || !is_requested(task) {
        return;
    }
    if let Some((now, _)) = clock() {
        follow_process(task.global_tgid(), task.global_tgid());
        let outcome = follow_now(task, State::Unsettled, now);
        if outcome == Follow::Begun && task.state() & task_state::DEAD != 0 {
            // Its last switch may have come before, and nobody would close the books.
            abandon(task);
        }
    }
}

#[inline(always)]
fn settle(task: Task, pointer: *mut task_struct) {
    let Some(record) = followed(task) else { return };
    if record.state != State::Unsettled as u8 {
        return;
    }
    let state = task.state();
    if task.is_on_cpu() {
        record.flags |= FLAG_SEED_RUNNING;
    } else if state & task_state::BLOCKED == 0 {
        record.flags |= FLAG_SEED_RUNNABLE;
    } else {
        describe(task, pointer, state, record);
        record.flags |= FLAG_SEED_WAIT;
    }
}

/// Describes the wait of another thread, all but its user stack: that is walked from the saved
/// registers by user space.
#[inline(always)]
fn describe(task: Task, pointer: *mut task_struct, state: u32, record: &mut ThreadRecord) {
    let Some(scratch) = maps::scratch(Place::Seed) else { return };
    let blocked = Blocked::new(task, state, record);
    // Not the thread's own: it may be running, and using that.
    let mut memo = FileMemo::default();
    let mut seed = OpenWait { key: classify::blank(record.serial), ..OpenWait::default() };
    if blocked.flags & FLAG_KERNEL_THREAD == 0 {
        // SAFETY: the iterator hands out trusted pointers.
        let saved = unsafe { Saved::of(pointer) };
        record.seed_position = saved.position();
        classify::describe(blocked, saved, &mut seed, &mut memo, scratch);
    }
    if seed.key.kind == State::Kernel as u8 {
        // SAFETY: as above.
        let side = unsafe { stack::kernel_of(pointer, scratch) };
        seed.key.object = side.function;
        seed.key.stack = side.stack;
    }
    // Later, who wakes it early leaves its name there.
    if record.state == State::Unsettled as u8 {
        record.seed = seed;
    }
}

const _: () = assert!(size_of::<TaskIteration>() == 16);
