//! Stacks, interned by the hash of their frames. A plain hash table instead of a stack-trace map:
//! that one drops whatever collides with a bucket in use (iovisor/bcc#3389).

use aya_ebpf::bindings::{BPF_NOEXIST, task_struct};
use aya_ebpf::helpers::generated::{bpf_get_stack, bpf_get_task_stack, bpf_probe_read_user};
use profiler_common::event::{
    COPY_BYTES, Header, NEW_STACK, NewStack, PARTIAL_STACK, PartialStack,
};
use profiler_common::thread::{RECHECK_NONE, RECHECK_RIGHT, RECHECK_WRONG, ThreadRecord};
use profiler_common::unwind::{Position, StackMemo, is_to_be_checked, mix, stack_id};
use profiler_common::wait::{END_ENTRY, StackFrames};

use crate::maps::{self, EVENTS, KERNEL_DEPTH, NO_WAKEUP, STACKS, Scratch, WALK_BYTES, WALKS};
use crate::unwind::{self, Outcome};
use crate::{globals, memo};

/// The user stack of a thread that blocks at `position`: a known one, or else walked. 0 where
/// none is wanted.
#[inline(always)]
pub fn user(
    position: &Position,
    record: &mut ThreadRecord,
    memo: &mut StackMemo,
    scratch: &mut Scratch,
) -> u64 {
    record.recheck = RECHECK_NONE;
    if globals::user_stacks() == 0 {
        return 0;
    }
    memo.asked = memo.asked.wrapping_add(1);
    let known = memo::recall(position, memo, scratch, record.since_ns);
    if let Some(known) = known
        && (!is_to_be_checked(memo.asked) || !known.settled)
    {
        return known.id;
    }
    maps::count(|loss| loss.walks += 1);
    let outcome = unwind::walk(position, record.space, scratch);
    scratch.stack.pid = record.pid;
    let mut retry_ns = 0;
    if outcome == Outcome::NoRow {
        let id = ask(record, memo.asked, scratch);
        if id != 0 {
            // Not remembered: of what lies beyond the last frame the memo would know nothing.
            return id;
        }
        retry_ns = record.since_ns + RETRY_AFTER_NS;
    }
    let id = intern(&mut scratch.stack, scratch.walk.hash);
    if let Some(known) = known {
        let right = known.id == id;
        record.recheck = if right { RECHECK_RIGHT } else { RECHECK_WRONG };
        if right {
            return id;
        }
        // The right one takes its place: beside it, the wrong one would be found again.
        memo.next = scratch.way;
    }
    memo::remember(position, id, retry_ns, &scratch.walk.anchors, memo);
    id
}

/// A stack that is truncated for want of a row is walked again after this time.
const RETRY_AFTER_NS: u64 = 5_000_000;

/// `BPF_RB_AVAIL_DATA` (include/uapi/linux/bpf.h): bytes in the buffer that nobody has read yet.
const UNREAD: u64 = 0;

/// Hands a stack that could not be walked to its end to user space, with a copy of what is left of
/// it. Returns the number under which the wait is added up until then; 0 where there is no place.
#[inline(always)]
fn ask(record: &ThreadRecord, asked: u32, scratch: &mut Scratch) -> u64 {
    // Before the copy is made, which takes microseconds.
    if WALKS.query(UNREAD) > (WALK_BYTES - size_of::<maps::Partial>() as u32 - 8) as u64 {
        maps::count(|loss| loss.copies += 1);
        return 0;
    }
    let partial = &mut scratch.partial;
    // `asked` tells stacks of one run apart: of a wait, and of what ended others.
    let id = (mix(mix(record.since_ns, record.serial as u64), asked as u64) & !1) | 2;
    partial.head.header = Header { kind: PARTIAL_STACK, reserved: 0 };
    partial.head.id = id;
    partial.head.sp = scratch.walk.sp;
    partial.head.bp = scratch.walk.bp;
    partial.head.space = record.space;
    partial.head.tid = record.tid;
    partial.head.tgid = record.tgid;
    partial.head.exact = scratch.walk.exact;
    partial.head.stack = scratch.stack;
    let length = copy_stack(scratch.walk.sp, &mut partial.bytes);
    partial.head.length = length as u32;
    let size = size_of::<PartialStack>() + (length & (2 * COPY_BYTES - 1)).min(COPY_BYTES);
    // SAFETY: `size` is at most the size of the record, all of which is initialised map memory.
    let bytes = unsafe { core::slice::from_raw_parts((&raw const *partial).cast::<u8>(), size) };
    if WALKS.output::<[u8]>(bytes, 0).is_ok() {
        return id;
    }
    maps::count(|loss| loss.copies += 1);
    0
}

const PAGE: u64 = 4096;

/// Copies the stack from `sp` up, a page at a time: where it ends, nobody has said.
#[inline(always)]
fn copy_stack(sp: u64, bytes: &mut [u8; COPY_BYTES]) -> usize {
    let mut length = 0usize;
    for _ in 0..COPY_BYTES / PAGE as usize {
        let at = sp + length as u64;
        let rest = (PAGE - (at & (PAGE - 1))) as usize & (2 * PAGE as usize - 1);
        if length > COPY_BYTES - PAGE as usize {
            break;
        }
        // SAFETY: `length + rest` is at most the size of the buffer; the helper checks the source.
        let result = unsafe {
            bpf_probe_read_user(
                bytes.as_mut_ptr().add(length).cast(),
                rest.min(PAGE as usize) as u32,
                at as *const core::ffi::c_void,
            )
        };
        if result != 0 {
            break;
        }
        length += rest;
    }
    length
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
    let stack = &mut scratch.stack;
    stack.pid = 0;
    stack.end = END_ENTRY;
    stack.depth = if depth > 0 { (depth as u64).min(KERNEL_DEPTH as u64) as u16 } else { 0 };
    let mut hash = 0;
    for index in 0..KERNEL_DEPTH {
        if index >= stack.depth as usize {
            break;
        }
        hash = mix(hash, stack.frames[index]);
    }
    KernelSide { function, stack: intern(stack, hash) }
}

/// Finds or adds a stack whose frames have this hash.
#[inline(never)]
fn intern(stack: &mut StackFrames, hash: u64) -> u64 {
    let depth = stack.depth as usize;
    if depth == 0 {
        maps::count(|loss| loss.stack_failures += 1);
        return 0;
    }
    let id = stack_id(hash, depth, stack.end);
    // SAFETY: a look-up; the value is not used.
    if unsafe { STACKS.get(&id) }.is_some() {
        return id;
    }
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
