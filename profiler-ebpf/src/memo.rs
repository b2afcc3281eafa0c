//! The stacks that a thread has shown last: found again without a walk.

use profiler_common::unwind::{KnownStack, NEAR_WORDS, Position, SLOTS, StackMemo, WAYS, fold};

use crate::maps::{Scratch, slot};

/// What a walk found out about where the stack is anchored.
#[repr(C)]
pub struct Anchors {
    /// As [`KnownStack::hash`].
    pub hash: u64,
    /// As [`KnownStack::slots`].
    pub slots: [u16; SLOTS],
    /// Slots needed; more than [`SLOTS`] where they do not fit.
    pub count: u32,
    /// As [`KnownStack::near`].
    pub near: u16,
    /// As [`KnownStack::uses_bp`].
    pub uses_bp: u16,
}

/// A stack found in the memo.
#[derive(Clone, Copy)]
pub struct Recalled {
    pub id: u64,
    /// It is a whole walk's; one that lacked a row is no measure for a later one.
    pub settled: bool,
}

/// The known stack that the thread at `position` still has, if there is one.
#[inline(always)]
pub fn recall(
    position: &Position,
    memo: &StackMemo,
    scratch: &mut Scratch,
    now: u64,
) -> Option<Recalled> {
    for way in 0..WAYS {
        let known = &memo.ways[way];
        if known.ip != position.ip || known.sp != position.sp || known.id == 0 {
            continue;
        }
        if known.uses_bp != 0 && known.bp != position.bp {
            continue;
        }
        if hash_of(known, &mut scratch.words) != known.hash {
            continue;
        }
        if known.retry_ns != 0 && now >= known.retry_ns {
            return None;
        }
        let settled = known.retry_ns == 0;
        scratch.way = way as u32;
        return Some(Recalled { id: known.id, settled });
    }
    None
}

/// Hash of what stands in the slots now; one that no stack has where they cannot be read. Out of
/// line, as it is needed for each way.
#[inline(never)]
fn hash_of(known: &KnownStack, words: &mut [u64; NEAR_WORDS]) -> u64 {
    let mut window = Window { start: 0, length: (known.near as u32).min(NEAR_WORDS as u32) };
    if !window.read(known.sp, words) {
        return !known.hash;
    }
    let mut hash = 0;
    for index in 0..SLOTS {
        if index >= known.count as usize {
            break;
        }
        let place = known.slots[index] as u32;
        if !window.has(place) {
            window = Window { start: place.saturating_sub(BELOW), length: WINDOW_WORDS };
            // At the end of the stack there may be no more than the word itself.
            if !window.read(known.sp, words) {
                window = Window { start: place, length: 1 };
                if !window.read(known.sp, words) {
                    return !known.hash;
                }
            }
        }
        hash = fold(hash, words[slot(place.wrapping_sub(window.start), NEAR_WORDS)]);
    }
    hash
}

/// Words read at once beyond the near ones.
const WINDOW_WORDS: u32 = 128;

/// Of these, so many below the place that is asked for first: a saved frame pointer lies below the return
/// address, and is asked for after it.
const BELOW: u32 = 2;

/// The part of a stack that has been read, in words above the stack pointer.
#[derive(Clone, Copy)]
struct Window {
    start: u32,
    /// At most [`NEAR_WORDS`].
    length: u32,
}

impl Window {
    #[inline(always)]
    fn has(self, place: u32) -> bool {
        place.wrapping_sub(self.start) < self.length
    }

    /// Reads it; whether that could be done.
    #[inline(always)]
    fn read(self, sp: u64, words: &mut [u64; NEAR_WORDS]) -> bool {
        // SAFETY: the buffer is as long as said; the helper checks the source.
        let result = unsafe {
            aya_ebpf::helpers::generated::bpf_probe_read_user(
                words.as_mut_ptr().cast(),
                self.length * 8,
                (sp + self.start as u64 * 8) as *const core::ffi::c_void,
            )
        };
        result == 0
    }
}

/// Remembers a stack in place of the one that was remembered first.
#[inline(always)]
pub fn remember(
    position: &Position,
    id: u64,
    retry_ns: u64,
    anchors: &Anchors,
    memo: &mut StackMemo,
) {
    if id == 0 || anchors.count as usize > SLOTS {
        return;
    }
    let victim = slot(memo.next, WAYS);
    memo.next = if victim + 1 < WAYS { victim as u32 + 1 } else { 0 };
    let known = &mut memo.ways[victim];
    known.ip = position.ip;
    known.sp = position.sp;
    known.bp = position.bp;
    known.hash = anchors.hash;
    known.id = id;
    known.retry_ns = retry_ns;
    known.slots = anchors.slots;
    known.count = anchors.count as u16;
    known.near = anchors.near;
    known.uses_bp = anchors.uses_bp;
}

/// Forgets all: the thread has executed another program.
#[inline(always)]
pub fn forget(memo: &mut StackMemo) {
    for way in 0..WAYS {
        memo.ways[way].id = 0;
    }
}
