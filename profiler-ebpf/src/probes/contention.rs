//! `contention_begin` and `contention_end` (Linux 5.19): a thread has to wait for a lock of the
//! kernel. They fire only where a lock is taken, so they cost nothing elsewhere.

use aya_ebpf::EbpfContext;

use super::{clock, hook};
use crate::adopt::followed_entry;
use crate::contention::{begin, end};
use crate::task::Task;

hook!("contention_begin", dwell_lock_begin, dwell_lock_begin_raw, |context| {
    let (lock, flags): (u64, u64) = (context.arg(0), context.arg(1));
    if let Some(entry) = followed_entry(Task::current())
        && let Some((now, _)) = clock()
    {
        begin(entry, lock, flags as u32, now);
    }
});

hook!("contention_end", dwell_lock_end, dwell_lock_end_raw, |context| {
    let lock: u64 = context.arg(0);
    if let Some(entry) = followed_entry(Task::current())
        && let Some((now, window)) = clock()
    {
        end(context.as_ptr(), entry, lock, now, window);
    }
});
