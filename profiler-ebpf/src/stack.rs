//! Stacks, interned by the hash of their frames. A plain hash table instead of a stack-trace map:
//! that one drops whatever collides with a bucket in use (iovisor/bcc#3389).

use aya_ebpf::bindings::{BPF_F_USER_STACK, BPF_NOEXIST, task_struct};
use aya_ebpf::helpers::generated::{bpf_get_stack, bpf_get_task_stack};
use profiler_common::event::{Header, NEW_STACK, NewStack};
use profiler_common::wait::{STACK_DEPTH, StackFrames};

use crate::globals;
use crate::maps::{self, EVENTS, KERNEL_DEPTH, NO_WAKEUP, STACKS, Scratch};

/// The current thread's user stack, walked by frame pointers; 0 where there is none.
#[inline(always)]
pub fn user(context: *mut core::ffi::c_void, pid: u32, scratch: &mut Scratch) -> u64 {
    if globals::user_stacks() == 0 {
        return 0;
    }
    // SAFETY: the buffer is as long as said.
    let bytes = unsafe {
        bpf_get_stack(
            context,
            scratch.stack.frames.as_mut_ptr().cast(),
            (STACK_DEPTH * 8) as u32,
            BPF_F_USER_STACK as u64,
        )
    };
    scratch.stack.pid = pid;
    intern(&mut scratch.stack, bytes)
}

/// What a blocked thread shows of its kernel stack.
pub struct KernelSide {
    /// The function it waits in: the innermost frame that is not the scheduler's own (as
    /// `__get_wchan` does, kernel/sched/core.c); 0 where none is found.
    pub function: u64,
    /// The whole stack, interned; user space leaves out the scheduler's frames.
    pub stack: u64,
}

/// Kernel side of the current thread.
#[inline(always)]
pub fn kernel(context: *mut core::ffi::c_void, scratch: &mut Scratch) -> KernelSide {
    let frames = scratch.stack.frames.as_mut_ptr().cast();
    // SAFETY: the buffer is as long as said.
    let bytes = unsafe { bpf_get_stack(context, frames, (KERNEL_DEPTH * 8) as u32, 0) };
    beyond_scheduler(scratch, bytes)
}

/// Kernel side of another thread.
///
/// # Safety
/// `task` must be a trusted `task_struct` pointer.
#[inline(always)]
pub unsafe fn kernel_of(task: *mut task_struct, scratch: &mut Scratch) -> KernelSide {
    let frames = scratch.stack.frames.as_mut_ptr().cast();
    // SAFETY: as the caller promises; the buffer is as long as said.
    let bytes = unsafe { bpf_get_task_stack(task, frames, (KERNEL_DEPTH * 8) as u32, 0) };
    beyond_scheduler(scratch, bytes)
}

#[inline(always)]
fn beyond_scheduler(scratch: &mut Scratch, bytes: i64) -> KernelSide {
    let (start, end) = (globals::sched_text_start(), globals::sched_text_end());
    let depth = bytes / 8;
    let mut scheduler_seen = false;
    let mut function = 0;
    // The probe's own frames come first, then the scheduler's: a dozen at the most.
    for index in 0..16 {
        if index as i64 >= depth {
            break;
        }
        let frame = scratch.stack.frames[index];
        if frame >= start && frame < end {
            scheduler_seen = true;
        } else if scheduler_seen {
            function = frame;
            break;
        }
    }
    scratch.stack.pid = 0;
    KernelSide { function, stack: intern(&mut scratch.stack, bytes) }
}

/// Finds or adds the first `bytes` of the frames. Out of line: the verifier walks its loop again
/// for every different state of its caller, and a call keeps most of that state out of its sight.
#[inline(never)]
fn intern(stack: &mut StackFrames, bytes: i64) -> u64 {
    if bytes <= 0 {
        maps::count(|loss| loss.stack_failures += 1);
        return 0;
    }
    let depth = (bytes as usize / 8).min(STACK_DEPTH);
    let mut hash = depth as u64;
    for index in 0..STACK_DEPTH {
        if index >= depth {
            break;
        }
        hash = mix(hash, stack.frames[index]);
    }
    let id = hash | 1;
    // SAFETY: a look-up; the value is not used.
    if unsafe { STACKS.get(&id) }.is_some() {
        return id;
    }
    stack.depth = depth as u32;
    match STACKS.insert(&id, &*stack, BPF_NOEXIST as u64) {
        Ok(()) => {
            announce(id, stack.pid);
            id
        }
        // Another CPU was first with the same stack.
        Err(error) if error == -17 => id,
        Err(_) => {
            maps::count(|loss| loss.stacks += 1);
            0
        }
    }
}

/// Tells user space of a new user stack.
#[inline(always)]
fn announce(id: u64, pid: u32) {
    if pid == 0 {
        return;
    }
    let header = Header { kind: NEW_STACK, reserved: 0 };
    let record = NewStack { header, id, pid, reserved: 0 };
    if EVENTS.output::<NewStack>(record, NO_WAKEUP).is_err() {
        maps::count(|loss| loss.events += 1);
    }
}

/// Mixes a word into a hash (the finalizer of SplitMix64, Steele et al., OOPSLA 2014).
#[inline(always)]
pub fn mix(hash: u64, word: u64) -> u64 {
    let mut z = (hash ^ word).wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
