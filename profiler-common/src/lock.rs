//! Locks: who waits for a futex at the same time, and locks of the kernel.

use crate::histogram::BUCKETS;

/// A futex, as the threads that wait for it name it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct QueueKey {
    /// User address.
    pub address: u64,
    /// Whose address it is: the process (initial namespace) of a private futex, the address space
    /// of a shared one.
    pub owner: u32,
    /// Whether it is private to the process.
    pub private: u32,
}

/// The threads that wait for a futex. Written by several CPUs at a time: counters are added to
/// atomically, the others may lose a race, and are off by the length of one then.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Queue {
    /// Threads that wait now.
    pub waiting: u64,
    /// Most that waited at a time.
    pub most: u64,
    /// Since when at least one waits (CLOCK_MONOTONIC).
    pub busy_since_ns: u64,
    /// Time inside the window in which at least one waited, up to the last time that none did.
    pub busy_ns: u64,
    /// When a thread was last woken out of it.
    pub last_release_ns: u64,
    /// Times that it was held whose beginning is known: since its holder was woken, or since the
    /// release before where others were waiting all the time.
    pub holds: u64,
    /// Their time.
    pub hold_ns: u64,
    /// The longest.
    pub hold_max_ns: u64,
    /// Times that it was held from before anybody waited.
    pub partial_holds: u64,
    /// One of the processes that wait, in dwell's own PID namespace.
    pub pid: u32,
    /// The value that the first waiter expected in it.
    pub value: u32,
    /// Non-zero when others expected another value.
    pub values_mixed: u32,
    /// Named so that no padding is left undefined.
    pub reserved: u32,
}

/// A lock inside the kernel that a thread had to wait for.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct KernelLockKey {
    /// Kernel stack.
    pub stack: u64,
    /// [`crate::thread::ThreadRecord::serial`].
    pub serial: u32,
    /// What sort of lock: `LCB_F_` bits (include/trace/events/lock.h).
    pub flags: u32,
}

/// Spins.
pub const LCB_SPIN: u32 = 1;
/// Taken for reading.
pub const LCB_READ: u32 = 2;
/// Taken for writing.
pub const LCB_WRITE: u32 = 4;
/// A real-time mutex.
pub const LCB_RT: u32 = 8;
/// A per-CPU reader-writer semaphore.
pub const LCB_PERCPU: u32 = 16;
/// A mutex.
pub const LCB_MUTEX: u32 = 32;

/// Sums over the waits for such a lock.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct KernelLockStats {
    /// Waits.
    pub count: u64,
    /// Their time, in nanoseconds.
    pub total_ns: u64,
    /// The longest.
    pub max_ns: u64,
    /// Address of the lock that was waited for first.
    pub lock: u64,
    /// Waits for another one than that.
    pub others: u64,
    /// Waits for the `mmap_lock` of the thread's own address space.
    pub mmap_locks: u64,
    /// Durations, see [`crate::histogram`].
    pub histogram: [u32; BUCKETS],
}

/// Where a thread was last looked at while it spun for a lock of the kernel. To take its stack needs some 2 µs, and
/// most spins are not much longer: of `pgbench -N`, 1.9 a transaction of 4 µs on average, for which stacks were a
/// sixth of the probes' time.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct SpinPlace {
    /// Kernel stack.
    pub stack: u64,
    /// What sort of lock it was: `LCB_F_` bits.
    pub flags: u32,
    /// Time that it has spun since, in nanoseconds; in spins that were not looked at.
    pub since_ns: u32,
    /// When that is so much, it is looked at again.
    pub every_ns: u32,
    /// Named so that no padding is left undefined.
    pub reserved: u32,
}

/// Where a thread has spun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spun {
    /// Here, and this spin counts alone: it is so long that it can be looked at.
    Here,
    /// Here, and so do the next ones.
    HereAndOn,
    /// As far as is known, where it was last looked at.
    AsBefore,
}

impl SpinPlace {
    /// A thread that was never looked at.
    #[inline(always)]
    pub fn new(flags: u32) -> Self {
        Self { stack: 0, flags, since_ns: 0, every_ns: LOOK_FIRST_NS, reserved: 0 }
    }

    /// The thread has spun for `ns`, for a lock of that sort.
    #[inline(always)]
    pub fn spun(&mut self, flags: u32, ns: u64) -> Spun {
        if ns >= LOOK_ALWAYS_NS {
            return Spun::Here;
        }
        self.since_ns += ns as u32;
        if self.stack != 0 && self.flags == flags && self.since_ns < self.every_ns {
            return Spun::AsBefore;
        }
        self.flags = flags;
        // What is left over counts for the next time, or places of long spins would have too little.
        let over = self.since_ns.saturating_sub(self.every_ns);
        self.since_ns = if over < self.every_ns { over } else { 0 };
        if self.every_ns < LOOK_EVERY_NS {
            self.every_ns *= 2;
        }
        Spun::HereAndOn
    }
}

/// At first a thread is looked at when it has spun for so long since it last was, then for twice as long, and so on
/// up to [`LOOK_EVERY_NS`].
pub const LOOK_FIRST_NS: u32 = 1_000;
/// See [`LOOK_FIRST_NS`]: to look takes no more than 4 % of what is spun in spins too short to be looked at each.
pub const LOOK_EVERY_NS: u32 = 64_000;
/// Spins of this length are looked at each.
pub const LOOK_ALWAYS_NS: u64 = 16_000;

const _: () = assert!(size_of::<QueueKey>() == 16);
const _: () = assert!(size_of::<Queue>() == 88);
const _: () = assert!(size_of::<KernelLockKey>() == 16);
const _: () = assert!(size_of::<KernelLockStats>() == 48 + 4 * BUCKETS);

#[cfg(test)]
mod tests {
    use super::*;

    const FLAGS: u32 = LCB_SPIN;

    /// Spins at places by chance, with such odds. What each place is said to have of the time, and has, and how often
    /// the thread was looked at.
    fn shares(spins: &[(u64, u64, u64)], number: u32) -> ([f64; 4], [f64; 4], u32) {
        let mut place = SpinPlace::new(FLAGS);
        let (mut said, mut true_ns, mut looks) = ([0u64; 4], [0u64; 4], 0);
        let odds: u64 = spins.iter().map(|(_, _, odds)| odds).sum();
        let mut chance = 1u64;
        for _ in 0..number {
            chance = crate::unwind::mix(chance, 0);
            let mut drawn = chance % odds;
            let &(stack, ns, _) = spins
                .iter()
                .find(|(_, _, odds)| {
                    let is_it = drawn < *odds;
                    drawn = drawn.wrapping_sub(*odds);
                    is_it
                })
                .expect("one is drawn");
            let at = match place.spun(FLAGS, ns) {
                Spun::AsBefore => place.stack,
                spun => {
                    looks += 1;
                    if spun == Spun::HereAndOn {
                        place.stack = stack;
                    }
                    stack
                }
            };
            said[at as usize] += ns;
            true_ns[stack as usize] += ns;
        }
        let all: u64 = said.iter().sum();
        let share = |ns: u64| ns as f64 / all as f64;
        (said.map(share), true_ns.map(share), looks)
    }

    #[test]
    fn each_place_has_its_part_of_the_time() {
        // (place, length, odds)
        let cases: &[&[(u64, u64, u64)]] = &[
            &[(1, 8_700, 7), (2, 800, 61)],
            &[(1, 4_100, 3), (2, 900, 13), (3, 2_300, 7)],
            &[(1, 60_000, 1), (2, 4_000, 10)],
            &[(1, 30_000, 1), (2, 4_000, 10)],
            &[(1, 15_900, 1), (2, 700, 90)],
        ];
        for spins in cases {
            let (said, truth, _) = shares(spins, 200_000);
            for (said, truth) in said.into_iter().zip(truth) {
                assert!((said - truth).abs() < 0.03, "{spins:?}: {said}, not {truth}");
            }
        }
    }

    #[test]
    fn looking_costs_little_of_what_is_spun() {
        let (_, _, looks) = shares(&[(1, 4_000, 1)], 100_000);
        // 400 ms; the first ones come sooner.
        assert!((6_200..6_300).contains(&looks), "{looks}");
    }

    #[test]
    fn another_sort_of_lock_is_another_place() {
        let mut place = SpinPlace::new(FLAGS);
        assert_eq!(place.spun(FLAGS, 10), Spun::HereAndOn);
        place.stack = 1;
        assert_eq!(place.spun(FLAGS, 10), Spun::AsBefore);
        assert_eq!(place.spun(FLAGS | LCB_MUTEX, 10), Spun::HereAndOn);
        assert_eq!(place.spun(FLAGS, 10), Spun::HereAndOn);
    }

    #[test]
    fn a_thread_that_has_just_begun_is_looked_at_more_often() {
        // 80 µs of spins.
        let (_, _, looks) = shares(&[(1, 2_000, 1)], 40);
        assert!(looks >= 6, "{looks}");
    }
}
