//! Fills the kernel's stocks of free table entries before they are needed.
//!
//! A table that allocates as it fills takes its entries from a stock of each CPU, which holds one
//! or a few at first and is filled up after it was first drawn from (`bpf_mem_refill`,
//! kernel/bpf/memalloc.c). Two new stacks in quick succession would lose the second. So each CPU
//! draws once here, at leisure.

use std::os::fd::BorrowedFd;

use super::batch::{self, Plain};

/// Adds and removes one entry on each CPU that this process may run on.
pub fn warm<K: Plain, V: Plain>(map: BorrowedFd<'_>, key: &K, value: &V) {
    let Some(allowed) = affinity() else { return };
    for cpu in (0..libc::CPU_SETSIZE as usize).filter(|cpu| is_set(*cpu, &allowed)) {
        if run_on(&only(cpu)) && batch::insert(map, key, value) {
            batch::delete(map, key);
        }
    }
    run_on(&allowed);
}

fn affinity() -> Option<libc::cpu_set_t> {
    let mut set = empty();
    // SAFETY: a valid pointer to a set of the given size.
    let result = unsafe { libc::sched_getaffinity(0, size_of_val(&set), &raw mut set) };
    (result == 0).then_some(set)
}

fn run_on(set: &libc::cpu_set_t) -> bool {
    // SAFETY: a valid pointer to a set of the given size.
    unsafe { libc::sched_setaffinity(0, size_of_val(set), std::ptr::from_ref(set)) == 0 }
}

fn only(cpu: usize) -> libc::cpu_set_t {
    let mut set = empty();
    // SAFETY: `cpu` is below CPU_SETSIZE, as `warm` says.
    unsafe { libc::CPU_SET(cpu, &mut set) };
    set
}

fn is_set(cpu: usize, set: &libc::cpu_set_t) -> bool {
    // SAFETY: `cpu` is below CPU_SETSIZE, as `warm` says.
    unsafe { libc::CPU_ISSET(cpu, set) }
}

fn empty() -> libc::cpu_set_t {
    // SAFETY: all-zero bytes are the empty set.
    unsafe { std::mem::zeroed() }
}
