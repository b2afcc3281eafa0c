//! Walks a user stack by the rows that user space has put into the table.

use aya_ebpf::helpers::generated::{bpf_loop, bpf_probe_read_user};
use profiler_common::unwind::{
    NEAR_GAP, NEAR_WORDS, Position, RULE_AT_BP, RULE_BP, RULE_ENTRY, RULE_SIGNAL, RULE_SP, RowKey,
    SIGNAL_BP, SIGNAL_IP, SIGNAL_SP, SLOTS, TALLEST_FRAME, fold, mix,
};
use profiler_common::wait::{END_ENTRY, END_TRUNCATED, STACK_DEPTH};

use crate::maps::{ROWS, Scratch, slot};
use crate::memo::Anchors;

/// How a walk ended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// At an `END_`, which the stack now bears.
    Ended,
    /// At an address that has no row yet: the last of the frames.
    NoRow,
}

/// Where a walk stands, and what it keeps apart from the frames.
#[repr(C)]
pub struct Walk {
    /// Stack pointer at the beginning.
    bottom: u64,
    /// Address of the frame's code.
    pub ip: u64,
    /// Its stack pointer.
    pub sp: u64,
    /// Its frame pointer.
    pub bp: u64,
    /// Where the frame pointer was read from; 0: it is that of the beginning.
    bp_from: u64,
    /// Hash of the frames, see `stack_id`.
    pub hash: u64,
    /// Whether `ip` is where the thread stands or was interrupted, not a return address.
    pub exact: u32,
    space: u32,
    /// The last `Step`.
    last: u32,
    /// Named so that the layout has no holes.
    reserved: u32,
    pub anchors: Anchors,
}

/// Reads a word of the current thread's memory.
#[inline(always)]
pub fn read_user(address: u64) -> Option<u64> {
    let mut word = 0u64;
    // SAFETY: the destination is a local of that size; the helper checks the source.
    let result = unsafe {
        bpf_probe_read_user((&raw mut word).cast(), 8, address as *const core::ffi::c_void)
    };
    if result == 0 { Some(word) } else { None }
}

/// What a step led to.
#[repr(u32)]
#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    Caller = 0,
    Entry = 1,
    Lost = 2,
    NoRow = 3,
}

/// Walks the stack of the current thread into `scratch.stack`.
#[inline(never)]
pub fn walk(position: &Position, space: u32, scratch: &mut Scratch) -> Outcome {
    let walk = &mut scratch.walk;
    walk.bottom = position.sp;
    walk.ip = position.ip;
    walk.sp = position.sp;
    walk.bp = position.bp;
    walk.bp_from = 0;
    walk.hash = 0;
    walk.exact = 1;
    walk.space = space;
    walk.last = Step::Caller as u32;
    walk.anchors.hash = 0;
    walk.anchors.count = 0;
    walk.anchors.near = 0;
    walk.anchors.uses_bp = 0;
    scratch.stack.depth = 0;
    let mut context = LoopContext { scratch };
    // A plain loop of this size takes the verifier a million instructions; of this one it looks at
    // the body once.
    // SAFETY: the callback has the form that the helper asks for, and the context outlives it.
    unsafe {
        bpf_loop(
            STACK_DEPTH as u32,
            next_frame as *mut core::ffi::c_void,
            (&raw mut context).cast(),
            0,
        )
    };
    let last = context.scratch.walk.last;
    let ended = last == Step::Entry as u32;
    context.scratch.stack.end = if ended { END_ENTRY } else { END_TRUNCATED };
    if last == Step::NoRow as u32 { Outcome::NoRow } else { Outcome::Ended }
}

/// What the body of the loop needs.
struct LoopContext<'a> {
    scratch: &'a mut Scratch,
}

/// Notes the frame that the walk stands in, and goes to its caller's. Not 0: the walk is over.
unsafe extern "C" fn next_frame(_index: u32, context: *mut LoopContext<'_>) -> i64 {
    // SAFETY: `walk` passes a context of its own.
    let scratch = unsafe { &mut *(*context).scratch };
    let index = slot(scratch.stack.depth as u32, STACK_DEPTH);
    scratch.stack.frames[index] = scratch.walk.ip;
    scratch.stack.depth = index as u16 + 1;
    scratch.walk.hash = mix(scratch.walk.hash, scratch.walk.ip);
    let step = step(&mut scratch.walk);
    scratch.walk.last = step;
    (step != Step::Caller as u32) as i64
}

/// Goes from a frame to its caller's.
#[inline(always)]
fn step(walk: &mut Walk) -> u32 {
    let address = if walk.exact != 0 { walk.ip } else { walk.ip - 1 };
    let key = RowKey { address, space: walk.space, reserved: 0 };
    // SAFETY: rows are written once, by user space.
    let Some(row) = (unsafe { ROWS.get(&key) }) else { return Step::NoRow as u32 };
    let step = match row.rule {
        RULE_SP => Some(walk.sp),
        RULE_BP | RULE_AT_BP => {
            use_bp(walk);
            // By convention the outermost frame has a frame pointer of zero.
            if walk.bp == 0 {
                return Step::Entry as u32;
            }
            Some(walk.bp)
        }
        RULE_ENTRY => return Step::Entry as u32,
        RULE_SIGNAL => return signal(walk),
        _ => None,
    };
    let Some(base) = step else { return Step::Lost as u32 };
    let mut frame = base.wrapping_add(row.offset as i64 as u64);
    let mut saved_bp = row.saved_bp;
    if row.rule == RULE_AT_BP {
        // The caller's frame pointer lies where this one points to.
        let own = walk.bp;
        let (Some(kept), Some(saved)) = (read_user(frame), read_user(own)) else {
            return Step::Lost as u32;
        };
        anchor(walk, frame, kept);
        frame = kept;
        walk.bp = saved;
        walk.bp_from = own;
        saved_bp = 0;
    }
    to_caller(walk, saved_bp, frame)
}

#[inline(always)]
fn to_caller(walk: &mut Walk, saved_bp: i16, frame: u64) -> u32 {
    let height = frame.wrapping_sub(walk.sp);
    if height == 0 || height > TALLEST_FRAME {
        return Step::Lost as u32;
    }
    // The caller's frame pointer mostly lies right below the return address.
    let mut pair = [0u64; 2];
    let below = (frame - 16) as *const core::ffi::c_void;
    // SAFETY: the destination is a local of that size; the helper checks the source.
    if unsafe { bpf_probe_read_user(pair.as_mut_ptr().cast(), 16, below) } != 0 {
        return Step::Lost as u32;
    }
    if saved_bp == -16 {
        walk.bp = pair[0];
        walk.bp_from = frame - 16;
    } else if saved_bp != 0 {
        let place = frame.wrapping_add(saved_bp as i64 as u64);
        let Some(saved) = read_user(place) else { return Step::Lost as u32 };
        walk.bp = saved;
        walk.bp_from = place;
    }
    anchor(walk, frame - 8, pair[1]);
    walk.ip = pair[1];
    walk.sp = frame;
    walk.exact = 0;
    // The first frame of a thread returns to nowhere.
    if walk.ip == 0 { Step::Entry as u32 } else { Step::Caller as u32 }
}

/// From a signal handler's frame to the code that the signal interrupted.
#[inline(always)]
fn signal(walk: &mut Walk) -> u32 {
    let at = walk.sp;
    let (Some(ip), Some(sp), Some(bp)) =
        (read_user(at + SIGNAL_IP), read_user(at + SIGNAL_SP), read_user(at + SIGNAL_BP))
    else {
        return Step::Lost as u32;
    };
    anchor(walk, at + SIGNAL_IP, ip);
    anchor(walk, at + SIGNAL_SP, sp);
    walk.bp_from = at + SIGNAL_BP;
    walk.ip = ip;
    walk.sp = sp;
    walk.bp = bp;
    walk.exact = 1;
    Step::Caller as u32
}

/// The walk depends on the frame pointer: on that of the beginning, or on what was read since.
#[inline(always)]
fn use_bp(walk: &mut Walk) {
    if walk.bp_from == 0 {
        walk.anchors.uses_bp = 1;
    } else {
        anchor(walk, walk.bp_from, walk.bp);
    }
}

/// Notes a place on the stack that the walk depends on, and what stands there.
#[inline(always)]
fn anchor(walk: &mut Walk, address: u64, word: u64) {
    let above = address.wrapping_sub(walk.bottom);
    let place = above >> 3;
    let anchors = &mut walk.anchors;
    let index = anchors.count;
    if index as usize >= SLOTS || above & 7 != 0 || place > u16::MAX as u64 {
        anchors.count = SLOTS as u32 + 1;
        return;
    }
    anchors.slots[slot(index, SLOTS)] = place as u16;
    anchors.hash = fold(anchors.hash, word);
    anchors.count = index + 1;
    let is_near = place < NEAR_WORDS as u64 && place < anchors.near as u64 + NEAR_GAP;
    if is_near && place as u16 >= anchors.near {
        anchors.near = place as u16 + 1;
    }
}
