//! Which CPUs a load runs on. Affinity is inherited, so what this thread starts while it is
//! pinned stays pinned, with all its children.

use std::io;

use anyhow::{Context, Result};

/// Starts something with this thread pinned to one CPU.
pub fn pinned<T>(cpu: usize, start: impl FnOnce() -> Result<T>) -> Result<T> {
    let before = allowed().context("cannot read the CPUs of this thread")?;
    let mut one = empty();
    // SAFETY: CPU_SET writes into the set it is given, and ignores numbers beyond it.
    unsafe { libc::CPU_SET(cpu, &mut one) };
    allow(&one).with_context(|| format!("cannot run on CPU {cpu}: choose another with --cpu"))?;
    let result = start();
    allow(&before).context("cannot give this thread its CPUs back")?;
    result
}

/// The CPUs that this thread may run on, ascending.
pub fn cpus() -> Result<Vec<usize>> {
    let set = allowed().context("cannot read the CPUs of this thread")?;
    // SAFETY: CPU_ISSET reads the set it is given.
    let is_in = |cpu: &usize| unsafe { libc::CPU_ISSET(*cpu, &set) };
    Ok((0..libc::CPU_SETSIZE as usize).filter(is_in).collect())
}

fn empty() -> libc::cpu_set_t {
    // SAFETY: a set of bits: all zero is the empty set.
    unsafe { std::mem::zeroed() }
}

fn allowed() -> io::Result<libc::cpu_set_t> {
    let mut set = empty();
    // SAFETY: the kernel fills the set, whose size it is told; 0 is the calling thread.
    match unsafe { libc::sched_getaffinity(0, size_of_val(&set), &raw mut set) } {
        0 => Ok(set),
        _ => Err(io::Error::last_os_error()),
    }
}

fn allow(set: &libc::cpu_set_t) -> io::Result<()> {
    // SAFETY: the kernel reads the set, whose size it is told; 0 is the calling thread.
    match unsafe { libc::sched_setaffinity(0, size_of_val(set), &raw const *set) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pinning_ends_with_the_call() {
        let before = cpus().unwrap();
        let last = *before.last().unwrap();
        assert_eq!(pinned(last, cpus).unwrap(), [last]);
        assert_eq!(cpus().unwrap(), before);
    }
}
