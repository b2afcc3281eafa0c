//! The clocks that dwell and the workloads share.

/// CLOCK_MONOTONIC in nanoseconds.
pub fn monotonic_ns() -> u64 {
    read(libc::CLOCK_MONOTONIC)
}

/// CLOCK_REALTIME in nanoseconds, since 1970.
pub fn unix_ns() -> u64 {
    read(libc::CLOCK_REALTIME)
}

/// CPU time of the calling thread in nanoseconds, exact at this instant.
pub fn thread_cpu_ns() -> u64 {
    read(libc::CLOCK_THREAD_CPUTIME_ID)
}

fn read(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid place for the answer.
    let result = unsafe { libc::clock_gettime(clock, &mut time) };
    assert_eq!(result, 0, "clock_gettime({clock}) failed");
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Sleeps in clock_nanosleep(2), and in nothing else.
pub fn sleep_ns(ns: u64) {
    let mut time = libc::timespec {
        tv_sec: (ns / 1_000_000_000) as libc::time_t,
        tv_nsec: (ns % 1_000_000_000) as libc::c_long,
    };
    loop {
        // SAFETY: both pointers are to `time`, which the kernel may update when interrupted.
        let result = unsafe {
            let time: *mut libc::timespec = &mut time;
            libc::clock_nanosleep(libc::CLOCK_MONOTONIC, 0, time, time)
        };
        if result != libc::EINTR {
            return;
        }
    }
}

/// Uses the CPU until `ns` of CLOCK_MONOTONIC have gone by.
pub fn spin_ns(ns: u64) {
    let end = monotonic_ns() + ns;
    while monotonic_ns() < end {
        std::hint::spin_loop();
    }
}

/// Uses `ns` of the calling thread's CPU time.
pub fn spin_cpu_ns(ns: u64) {
    let end = thread_cpu_ns() + ns;
    while thread_cpu_ns() < end {
        // That clock is a system call, which is not what is to be seen.
        let pause = monotonic_ns() + 5_000.min(ns / 8);
        while monotonic_ns() < pause {
            std::hint::spin_loop();
        }
    }
}
