//! Numbers that processes share.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use dwell_tests::outcome::Measured;

/// What several processes measured, added up in memory they share.
#[derive(Clone, Copy)]
pub struct Shared(&'static Totals);

#[derive(Default)]
struct Totals {
    count: AtomicU64,
    wall_ns: AtomicU64,
    blocked_ns: AtomicU64,
    longest_ns: AtomicU64,
    switches: AtomicU64,
}

impl Shared {
    /// Shared with the children to come. It stays for the life of the process.
    pub fn new() -> io::Result<Self> {
        let (protection, flags) =
            (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS);
        // SAFETY: a new mapping at an address of the kernel's choice.
        let address = unsafe {
            libc::mmap(std::ptr::null_mut(), size_of::<Totals>(), protection, flags, -1, 0)
        };
        if address == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the mapping is large enough, aligned to a page, never unmapped, and full of
        // zeros, which are a value of every atomic number.
        Ok(Self(unsafe { &*address.cast::<Totals>() }))
    }

    /// Adds what a process measured.
    pub fn add(&self, waits: &Measured) {
        let totals = self.0;
        totals.count.fetch_add(waits.count, Ordering::Relaxed);
        totals.wall_ns.fetch_add(waits.wall_ns, Ordering::Relaxed);
        totals.blocked_ns.fetch_add(waits.blocked_ns, Ordering::Relaxed);
        totals.longest_ns.fetch_max(waits.longest_ns, Ordering::Relaxed);
        totals.switches.fetch_add(waits.switches, Ordering::Relaxed);
    }

    /// The sums so far.
    pub fn waits(&self) -> Measured {
        let totals = self.0;
        Measured {
            count: totals.count.load(Ordering::Relaxed),
            wall_ns: totals.wall_ns.load(Ordering::Relaxed),
            blocked_ns: totals.blocked_ns.load(Ordering::Relaxed),
            longest_ns: totals.longest_ns.load(Ordering::Relaxed),
            switches: totals.switches.load(Ordering::Relaxed),
            each: Vec::new(),
        }
    }
}
