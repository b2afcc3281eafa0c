//! Turns with a lock: what waiting for it and holding it took.

use std::io;

use dwell_tests::clock::{monotonic_ns, sleep_ns};
use dwell_tests::outcome::Measured;

use super::meter::Meter;

/// What one thread measured of its turns, or several.
#[derive(Default)]
pub struct Turns {
    /// Acquisitions.
    pub taken: u64,
    /// Those that had to wait.
    pub waits: Measured,
    /// When these began and ended (CLOCK_MONOTONIC).
    pub intervals: Vec<(u64, u64)>,
    /// Time of all holds.
    pub held_ns: u64,
    /// The longest.
    pub longest_hold_ns: u64,
}

/// Takes the lock, holds it, gives it back and pauses, again and again.
pub fn take_turns<G>(
    deadline_ns: u64,
    pause_ns: u64,
    lock: impl Fn() -> G,
    mut hold: impl FnMut() -> io::Result<()>,
    unlock: impl Fn(G),
) -> io::Result<Turns> {
    let mut meter = Meter::new()?;
    let mut turns = Turns::default();
    while monotonic_ns() < deadline_ns {
        let guard = meter.measure_if_blocked(&lock);
        let start_ns = monotonic_ns();
        hold()?;
        let held_ns = monotonic_ns() - start_ns;
        unlock(guard);
        turns.taken += 1;
        turns.held_ns += held_ns;
        turns.longest_hold_ns = turns.longest_hold_ns.max(held_ns);
        sleep_ns(pause_ns);
    }
    (turns.waits, turns.intervals) = meter.into_parts();
    Ok(turns)
}

impl Turns {
    /// Of several threads, as one.
    pub fn sum(all: impl IntoIterator<Item = Self>) -> Self {
        let mut sum = Self::default();
        for turns in all {
            sum.taken += turns.taken;
            sum.waits.merge(&turns.waits);
            sum.intervals.extend(turns.intervals);
            sum.held_ns += turns.held_ns;
            sum.longest_hold_ns = sum.longest_hold_ns.max(turns.longest_hold_ns);
        }
        sum
    }

    /// On average.
    pub fn hold_ns(&self) -> u64 {
        self.held_ns / self.taken.max(1)
    }

    /// The queue that the waits of several threads make: how long there was one, and the longest.
    pub fn queue(&self) -> Queue {
        let mut edges: Vec<(u64, bool)> =
            self.intervals.iter().flat_map(|&(from, to)| [(from, true), (to, false)]).collect();
        // At one instant an end comes before a beginning.
        edges.sort_unstable();
        let (mut queue, mut depth, mut since_ns) = (Queue::default(), 0, 0);
        for (at_ns, begins) in edges {
            if depth > 0 {
                queue.busy_ns += at_ns - since_ns;
            }
            since_ns = at_ns;
            depth = if begins { depth + 1 } else { depth - 1 };
            queue.max = queue.max.max(depth);
        }
        queue
    }
}

/// How many waited at one time.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Queue {
    /// Time in which at least one waited.
    pub busy_ns: u64,
    /// Most at one time.
    pub max: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_queue_of_intervals() {
        let intervals = vec![(10, 20), (15, 30), (30, 31), (50, 60)];
        let turns = Turns { intervals, ..Turns::default() };
        assert_eq!(turns.queue(), Queue { busy_ns: 31, max: 2 });
        assert_eq!(Turns::default().queue(), Queue::default());
    }
}
