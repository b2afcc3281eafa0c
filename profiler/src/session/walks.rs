//! Walks on what the probes could not walk to its end, and teaches them how to next time.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use profiler_common::unwind::{Row, RowKey};
use profiler_common::wait::STACK_DEPTH;

use crate::collect::{Collector, decode_partial};
use crate::kernel::Tables;
use crate::model::Walked;
use crate::symbol::{Allowance, StackMemory, Start, Symbolizer, Walk};

/// Rows taught at most: the size of the probes' table.
const MOST_ROWS: usize = 131_072;
/// Stacks kept at most, so that a target cannot fill any memory.
const MOST_STACKS: usize = 65_536;

/// Walking on may take this share of a core in the long run: one part in so many.
const SHARE: u32 = 50;
/// What may be taken at once: a target that begins shows everything for the first time.
const BURST: Duration = Duration::from_millis(500);

/// What has been walked in user space.
pub struct Walks {
    /// Stacks by their number.
    pub stacks: HashMap<u64, Walked>,
    /// The process that showed a stack first.
    pub origins: HashMap<u64, u32>,
    taught: HashSet<(u32, u64)>,
    /// Rows for which there was no place.
    pub refused_rows: u64,
    allowance: Allowance,
}

impl Walks {
    /// Nothing yet.
    pub fn new() -> Self {
        Self {
            stacks: HashMap::new(),
            origins: HashMap::new(),
            taught: HashSet::new(),
            refused_rows: 0,
            allowance: Allowance::new(BURST, SHARE),
        }
    }

    /// Walks on the stacks that wait for it, as far as the time for it goes: what has to wait
    /// longer than its place in the ring buffer lasts, the probes count.
    pub fn drain(
        &mut self,
        tables: &mut Tables,
        symbolizer: &mut Symbolizer,
        collector: &mut Collector,
    ) {
        let mut rows = Vec::new();
        let began = Instant::now();
        let available = self.allowance.left(began);
        if available.is_zero() {
            return;
        }
        tables.drain_walks(|record| {
            self.walk_on(record, symbolizer, collector, &mut rows);
            began.elapsed() < available
        });
        // Not more than a tenth of a burst: a table of 64 MiB that is read for the first time does not stop the walks of
        // all others.
        self.allowance.spend(Instant::now(), began.elapsed().min(BURST / 10));
        self.teach(tables, &rows);
    }

    fn walk_on(
        &mut self,
        record: &[u8],
        symbolizer: &mut Symbolizer,
        collector: &mut Collector,
        rows: &mut Vec<(RowKey, Row)>,
    ) {
        let Some(partial) = decode_partial(record) else {
            collector.note_undecoded();
            return;
        };
        let start = Start { position: partial.position, exact: partial.exact };
        let mut memory = StackMemory::with_copy(partial.tid, partial.position.sp, partial.copy);
        let most = STACK_DEPTH.saturating_sub(partial.addresses.len());
        let walk = symbolizer.walk(partial.pid, start, most, &mut memory);
        self.learn(partial.space, &walk, rows);
        // Not `remember`: a perf map of a gigabyte would use up the time of all others.
        let mut addresses = partial.addresses;
        addresses.extend(&walk.addresses);
        let id = self.keep(partial.pid, Walked { addresses, complete: walk.complete });
        collector.rename_stack(partial.id, id);
    }

    /// Walks the stack of a thread that is blocked, and teaches the probes what it takes.
    pub fn walk_blocked(
        &mut self,
        (pid, tid, space): (u32, u32, u32),
        start: Start,
        tables: &Tables,
        symbolizer: &mut Symbolizer,
    ) -> u64 {
        let walk = symbolizer.walk(pid, start, STACK_DEPTH, &mut StackMemory::of(tid));
        let mut rows = Vec::new();
        self.learn(space, &walk, &mut rows);
        self.teach(tables, &rows);
        symbolizer.remember(pid, &walk.addresses);
        self.keep(pid, Walked { addresses: walk.addresses, complete: walk.complete })
    }

    fn learn(&mut self, space: u32, walk: &Walk, rows: &mut Vec<(RowKey, Row)>) {
        for (address, row) in &walk.rows {
            if self.taught.len() >= MOST_ROWS {
                self.refused_rows += 1;
            } else if self.taught.insert((space, *address)) {
                rows.push((RowKey { address: *address, space, reserved: 0 }, *row));
            }
        }
    }

    fn teach(&mut self, tables: &Tables, rows: &[(RowKey, Row)]) {
        for (key, row) in rows {
            self.refused_rows += u64::from(!tables.add_row(key, row));
        }
    }

    fn keep(&mut self, pid: u32, walked: Walked) -> u64 {
        let id = walked.id();
        if self.stacks.len() < MOST_STACKS {
            self.stacks.entry(id).or_insert(walked);
            self.origins.entry(id).or_insert(pid);
        }
        id
    }
}
