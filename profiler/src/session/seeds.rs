//! Stacks of the waits that threads were in when dwell came.
//!
//! The probes take a stack when a wait begins, inside the thread. A thread that is blocked already
//! can only be looked at from outside: from the registers that the kernel saved, through its
//! memory.

use std::collections::HashMap;

use profiler_common::thread::{FLAG_KERNEL_THREAD, FLAG_SEED_WAIT, ThreadRecord};

use crate::kernel::{KernelError, Tables};
use crate::symbol::{Symbolizer, walk_by_frame_pointers};

/// By thread number.
pub type SeedStacks = HashMap<u32, Vec<u64>>;

/// Walks the stacks of all threads that the seeding pass found blocked.
pub fn walk_all(tables: &Tables, symbolizer: &mut Symbolizer) -> Result<SeedStacks, KernelError> {
    let mut blocked = Vec::new();
    tables.for_each_thread(|_, thread| {
        if is_blocked_program(thread) {
            blocked.push((thread.serial, thread.pid, thread.tid, thread.seed_registers));
        }
    })?;
    let mut stacks = SeedStacks::new();
    for (serial, pid, tid, registers) in blocked {
        let stack = walk_by_frame_pointers(tid, registers.ip, registers.sp, registers.bp);
        symbolizer.remember(pid, &stack);
        if !stack.is_empty() {
            stacks.insert(serial, stack);
        }
    }
    Ok(stacks)
}

fn is_blocked_program(thread: &ThreadRecord) -> bool {
    thread.flags & FLAG_SEED_WAIT != 0 && thread.flags & FLAG_KERNEL_THREAD == 0
}
