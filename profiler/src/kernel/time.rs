//! The clock of the probes.

use std::sync::OnceLock;

/// Current CLOCK_MONOTONIC time of the kernel in nanoseconds, the clock of all of the probes' times.
///
/// In a time namespace (time_namespaces(7)) a program is shown that clock with an offset, which the
/// probes know nothing of: a window by what dwell is shown would lie days before or after all events.
pub fn monotonic_ns() -> u64 {
    static OFFSET: OnceLock<i64> = OnceLock::new();
    let offset = OFFSET.get_or_init(|| {
        let text = std::fs::read_to_string("/proc/self/timens_offsets").unwrap_or_default();
        parse_offset(&text).unwrap_or(0)
    });
    shown_ns(libc::CLOCK_MONOTONIC).wrapping_sub_signed(*offset)
}

/// Turns an instant since boot, as /proc/PID/stat has it, into the time of the probes: it counts the
/// time that the machine was suspended, and may have another offset.
pub fn from_boot_ns(since_boot: u64) -> u64 {
    let ago = shown_ns(libc::CLOCK_BOOTTIME).saturating_sub(since_boot);
    monotonic_ns().saturating_sub(ago)
}

fn shown_ns(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a valid pointer; the call cannot fail for these clocks.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Offset of CLOCK_MONOTONIC: a line `monotonic SECONDS NANOSECONDS`, before Linux 5.9 `1` instead of
/// the name.
fn parse_offset(offsets: &str) -> Option<i64> {
    offsets.lines().find_map(|line| {
        let mut words = line.split_ascii_whitespace();
        words.next().filter(|name| matches!(*name, "monotonic" | "1"))?;
        let (seconds, rest) = (words.next()?.parse::<i64>().ok()?, words.next()?.parse().ok()?);
        seconds.checked_mul(1_000_000_000)?.checked_add(rest)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_read() {
        let text = "monotonic      864000         7\nboottime       5         0\n";
        assert_eq!(parse_offset(text), Some(864_000_000_000_007));
        assert_eq!(parse_offset("monotonic -1 500000000\n"), Some(-500_000_000));
        assert_eq!(parse_offset("1 3 0\n7 2 0\n"), Some(3_000_000_000));
        for broken in ["", "monotonic", "monotonic x y", "monotonic 9223372036854775807 0"] {
            assert_eq!(parse_offset(broken), None);
        }
    }

    #[test]
    fn now_is_now_by_both_clocks() {
        let now = monotonic_ns();
        let same = from_boot_ns(shown_ns(libc::CLOCK_BOOTTIME));
        assert!(same.abs_diff(now) < 1_000_000_000, "{same}, {now}");
        // One that lies ahead is taken for now.
        assert!(from_boot_ns(u64::MAX) >= same);
    }
}
