//! Stacks of the waits that threads were in when dwell came.
//!
//! The probes take a stack when a wait begins, inside the thread. A thread that is blocked already
//! can only be looked at from outside: from the registers that the kernel saved, through its
//! memory. What that takes is also what the probes will need when the thread blocks there again.

use std::collections::HashMap;

use profiler_common::thread::{FLAG_KERNEL_THREAD, FLAG_SEED_WAIT, ThreadRecord};

use super::walks::Walks;
use crate::kernel::{KernelError, Tables};
use crate::symbol::{Start, Symbolizer};

/// Stack by thread number.
pub type SeedStacks = HashMap<u32, u64>;

/// Walks the stacks of all threads that the seeding pass found blocked.
pub fn walk_all(
    tables: &Tables,
    symbolizer: &mut Symbolizer,
    walks: &mut Walks,
) -> Result<SeedStacks, KernelError> {
    let mut blocked = Vec::new();
    tables.for_each_thread(|_, thread| {
        if is_blocked_program(thread) {
            let thread_of = (thread.pid, thread.tid, thread.space);
            blocked.push((thread.serial, thread_of, thread.seed_position));
        }
    })?;
    let mut stacks = SeedStacks::new();
    for (serial, thread, position) in blocked {
        let start = Start { position, exact: true };
        stacks.insert(serial, walks.walk_blocked(thread, start, tables, symbolizer));
    }
    Ok(stacks)
}

fn is_blocked_program(thread: &ThreadRecord) -> bool {
    thread.flags & FLAG_SEED_WAIT != 0
        && thread.flags & FLAG_KERNEL_THREAD == 0
        && thread.seed_position.ip != 0
}
