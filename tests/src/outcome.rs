//! What a workload says about itself at its end: one line of JSON.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The truth as the workload measured it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Outcome {
    /// Name of the workload.
    pub workload: String,
    /// Its process.
    pub pid: u32,
    /// When it began (CLOCK_MONOTONIC).
    pub start_ns: u64,
    /// When it ended (CLOCK_MONOTONIC).
    pub end_ns: u64,
    /// Its planned waits.
    #[serde(flatten)]
    pub waits: Measured,
    /// What was waited for: `address`, `inode`, `path`, `port`, … as the workload has them.
    pub object: Map<String, Value>,
}

/// Waits, added up.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// Planned waits.
    pub count: u64,
    /// Wall time from just before each to just after.
    pub wall_ns: u64,
    /// Of that, neither on a CPU nor in a run queue by the kernel's own books: blocked.
    pub blocked_ns: u64,
    /// The longest blocked time of one planned wait.
    pub longest_ns: u64,
    /// Times the thread gave up its CPU in them: one planned wait may block more than once.
    pub switches: u64,
    /// Start and end of each wait (CLOCK_MONOTONIC), while they are few.
    pub each: Vec<(u64, u64)>,
}

/// Waits listed one by one in [`Measured::each`].
pub const LISTED: usize = 32;

impl Measured {
    /// Adds one planned wait.
    pub fn add(&mut self, start_ns: u64, end_ns: u64, blocked_ns: u64, switches: u64) {
        self.count += 1;
        self.wall_ns += end_ns - start_ns;
        self.blocked_ns += blocked_ns;
        self.longest_ns = self.longest_ns.max(blocked_ns);
        self.switches += switches;
        if self.each.len() < LISTED {
            self.each.push((start_ns, end_ns));
        }
    }

    /// Adds what another thread measured.
    pub fn merge(&mut self, other: &Measured) {
        self.count += other.count;
        self.wall_ns += other.wall_ns;
        self.blocked_ns += other.blocked_ns;
        self.longest_ns = self.longest_ns.max(other.longest_ns);
        self.switches += other.switches;
        let room = LISTED.saturating_sub(self.each.len());
        self.each.extend(other.each.iter().take(room));
    }
}

impl Outcome {
    /// A number in [`Self::object`]; 0 where there is none.
    pub fn number(&self, key: &str) -> u64 {
        self.object.get(key).and_then(Value::as_u64).unwrap_or_default()
    }

    /// A text in [`Self::object`]; empty where there is none.
    pub fn text(&self, key: &str) -> &str {
        self.object.get(key).and_then(Value::as_str).unwrap_or_default()
    }

    /// A list of numbers in [`Self::object`].
    pub fn numbers(&self, key: &str) -> Vec<u64> {
        let list = self.object.get(key).and_then(Value::as_array);
        list.into_iter().flatten().filter_map(Value::as_u64).collect()
    }
}
