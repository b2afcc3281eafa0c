//! Walks on what the probes could not walk to its end, and teaches them how to next time.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use profiler_common::unwind::RowKey;
use profiler_common::wait::STACK_DEPTH;

use crate::collect::{Collector, decode_partial};
use crate::kernel::Tables;
use crate::model::Walked;
use crate::symbol::{Allowance, StackMemory, Start, Symbolizer, Walk};

/// Rows taught at most: the size of the probes' table.
const MOST_ROWS: usize = 131_072;
/// See [`Walks::sweep`].
const SWEEP_AT: usize = MOST_ROWS / 4 * 3;
/// Stacks kept at most, so that a target cannot fill any memory.
const MOST_STACKS: usize = 65_536;

/// Walking on may take this share of a core in the long run: one part in so many.
const SHARE: u32 = 50;
/// What may be taken at once: a target that begins shows everything for the first time.
const BURST: Duration = Duration::from_millis(500);
/// What one of them is charged at most: a table of 64 MiB that is read for the first time does not stop the walks of all
/// others.
const MOST_FOR_ONE: Duration = Duration::from_millis(50);
/// After this time others have their turn.
const TURN: Duration = Duration::from_millis(20);

/// What has been walked in user space.
pub struct Walks {
    /// Stacks by their number.
    pub stacks: HashMap<u64, Walked>,
    /// The process that showed a stack first.
    pub origins: HashMap<u64, u32>,
    taught: HashSet<(u32, u64)>,
    /// So many rows are a reason to look for some that can be taken back.
    sweep_at: usize,
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
            sweep_at: SWEEP_AT,
            refused_rows: 0,
            allowance: Allowance::new(BURST, SHARE),
        }
    }

    /// Walks on the stacks that wait for it, as far as the time for it goes: what has to wait
    /// longer than its place in the ring buffer lasts, the probes count. True where it has only stopped to let others
    /// have their turn.
    pub fn drain(
        &mut self,
        tables: &mut Tables,
        symbolizer: &mut Symbolizer,
        collector: &mut Collector,
    ) -> bool {
        let began = Instant::now();
        let mut now = began;
        while !self.allowance.left(now).is_zero() {
            if now.duration_since(began) >= TURN {
                return true;
            }
            let Some(record) = tables.take_walk() else { break };
            self.walk_on(&record, tables, symbolizer, collector);
            let after = Instant::now();
            self.allowance.spend(after, after.duration_since(now).min(MOST_FOR_ONE));
            now = after;
        }
        false
    }

    fn walk_on(
        &mut self,
        record: &[u8],
        tables: &Tables,
        symbolizer: &mut Symbolizer,
        collector: &mut Collector,
    ) {
        let Some(partial) = decode_partial(record) else {
            collector.note_undecoded();
            return;
        };
        let start = Start { position: partial.position, exact: partial.exact };
        let mut memory = StackMemory::with_copy(partial.tid, partial.position.sp, partial.copy);
        let most = STACK_DEPTH.saturating_sub(partial.addresses.len());
        let process = (partial.pid, partial.space);
        let mut walk = symbolizer.walk(process, start, most, &mut memory);
        match tables.space_of(partial.tgid) {
            Some(space) if space == partial.space => self.learn(space, &walk, tables),
            // What was read of it may be of the program that it has executed since.
            Some(_) => {
                walk = Walk { addresses: vec![start.position.ip], ..Walk::default() };
            }
            // It has ended. What others in its address space need, they will show themselves.
            None => {}
        }
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
        let walk = symbolizer.walk((pid, space), start, STACK_DEPTH, &mut StackMemory::of(tid));
        self.learn(space, &walk, tables);
        symbolizer.remember(pid, &walk.addresses);
        self.keep(pid, Walked { addresses: walk.addresses, complete: walk.complete })
    }

    /// Teaches the probes the rows that a walk has taken.
    fn learn(&mut self, space: u32, walk: &Walk, tables: &Tables) {
        if self.taught.len() >= self.sweep_at {
            self.sweep(tables);
        }
        for (address, row) in &walk.rows {
            if self.taught.len() >= MOST_ROWS {
                self.refused_rows += 1;
            } else if self.taught.insert((space, *address)) {
                let key = RowKey { address: *address, space, reserved: 0 };
                self.refused_rows += u64::from(!tables.add_row(&key, row));
            }
        }
    }

    /// Takes the rows back of address spaces that nobody has any more: each program that is executed has one of its own.
    fn sweep(&mut self, tables: &Tables) {
        let Ok(spaces) = tables.spaces() else { return };
        self.taught.retain(|(space, address)| {
            let is_used = spaces.contains(space);
            if !is_used {
                tables.forget_row(&RowKey { address: *address, space: *space, reserved: 0 });
            }
            is_used
        });
        // Not again for each row where nearly all of them are in use.
        self.sweep_at = SWEEP_AT.max(self.taught.len() + MOST_ROWS / 8);
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
