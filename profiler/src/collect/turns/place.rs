//! Where requests waited longest.

use std::collections::HashMap;

use profiler_common::turn::Turn;

/// Reasons kept apart of a place.
const REASONS_KEPT: usize = 32;

/// Where a wait was, and for what. Processes that were forked from the same one share their places.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PlaceKey {
    pub kind: u8,
    pub detail: u8,
    pub syscall: u16,
    pub object: u64,
    pub stack: u64,
}

impl PlaceKey {
    /// Of the longest wait of a turn; none where it did not wait.
    pub fn of(turn: &Turn) -> Option<Self> {
        let key = &turn.longest.key;
        (turn.longest.ns > 0).then_some(Self {
            kind: key.kind,
            detail: key.detail,
            syscall: key.syscall,
            object: key.object,
            stack: key.stack,
        })
    }
}

/// What is known of a place.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Its number.
    pub id: u32,
    /// The process that waited there first.
    pub pid: u32,
    /// Time by the number of a reason.
    reasons: HashMap<u64, u64>,
}

impl Seen {
    pub fn new(id: u32, pid: u32) -> Self {
        Self { id, pid, reasons: HashMap::new() }
    }

    /// Adds the reason of a wait.
    pub fn note(&mut self, turn: &Turn) {
        let reason = turn.longest.reason;
        let has_room = self.reasons.len() < REASONS_KEPT || self.reasons.contains_key(&reason);
        if reason != 0 && has_room {
            *self.reasons.entry(reason).or_default() += turn.longest.ns;
        }
    }

    /// The reason for most of the time.
    pub fn reason(&self) -> Option<u64> {
        self.reasons.iter().max_by_key(|(reason, ns)| (**ns, **reason)).map(|(reason, _)| *reason)
    }
}
