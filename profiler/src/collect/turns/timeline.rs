//! How many requests are in flight, over time.

use crate::model::Nanos;

/// Length of a slot at first. It doubles when a window has more slots than are kept.
const FIRST_WIDTH_NS: u64 = 10_000_000;

/// Slots kept.
const SLOTS: usize = 4_096;

/// Time of requests in each slot: divided by its length, how many were in flight on average.
#[derive(Clone, Debug)]
pub struct Timeline {
    start: u64,
    width: u64,
    busy_ns: Vec<u64>,
}

impl Timeline {
    /// From this instant on (CLOCK_MONOTONIC).
    pub fn new(start: u64) -> Self {
        Self { start, width: FIRST_WIDTH_NS, busy_ns: Vec::new() }
    }

    /// Adds a request that was in flight from one instant to the other.
    pub fn add(&mut self, from: u64, to: u64) {
        let from = from.max(self.start);
        if to <= from {
            return;
        }
        while (to - self.start) / self.width >= SLOTS as u64 {
            self.widen();
        }
        let slot = |instant: u64| ((instant - self.start) / self.width) as usize;
        let (first, last) = (slot(from), slot(to));
        if self.busy_ns.len() <= last {
            self.busy_ns.resize(last + 1, 0);
        }
        for slot in first..=last {
            let begin = self.start + slot as u64 * self.width;
            let inside = to.min(begin + self.width) - from.max(begin);
            self.busy_ns[slot] += inside;
        }
    }

    fn widen(&mut self) {
        self.busy_ns = self.busy_ns.chunks(2).map(|pair| pair.iter().sum()).collect();
        self.width *= 2;
    }

    /// Time that requests were in flight, added up.
    pub fn all(&self) -> Nanos {
        Nanos(self.busy_ns.iter().sum())
    }

    /// Requests in flight in the slot in which there were most.
    pub fn most(&self) -> f64 {
        let most = self.busy_ns.iter().max().copied().unwrap_or(0);
        most as f64 / self.width as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_busiest_slot_counts() {
        let mut timeline = Timeline::new(1_000);
        timeline.add(0, 1_000 + FIRST_WIDTH_NS * 2);
        timeline.add(1_000 + FIRST_WIDTH_NS, 1_000 + FIRST_WIDTH_NS * 2);
        timeline.add(1_000 + FIRST_WIDTH_NS, 1_000 + FIRST_WIDTH_NS * 3 / 2);
        assert!((timeline.most() - 2.5).abs() < 1e-9, "{}", timeline.most());
    }

    #[test]
    fn a_long_window_has_wider_slots() {
        let mut timeline = Timeline::new(0);
        timeline.add(0, FIRST_WIDTH_NS);
        timeline.add(FIRST_WIDTH_NS * 9_000, FIRST_WIDTH_NS * 9_001);
        assert!(timeline.busy_ns.len() <= SLOTS);
        assert!((timeline.most() - 0.25).abs() < 1e-9, "{}", timeline.most());
    }
}
