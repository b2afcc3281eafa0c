//! What there is to do while the probes run: reading what they tell, making room in their tables, looking
//! for processes that join.

use std::collections::HashSet;
use std::time::Duration;

use anyhow::Result;
use tokio::time::Instant;

use super::Session;
use crate::model::Walked;
use crate::target::{Selector, find_cgroup, pids_below};

/// Waits of ended threads are taken over when this many have gathered, or after this time.
const TAKE_OVER_AT: usize = 500;
const TAKE_OVER_EVERY: Duration = Duration::from_secs(5);
/// Processes of a cgroup are compared with the followed ones this often.
const CGROUP_EVERY: Duration = Duration::from_millis(500);
/// A started command is looked at after this time: it may end with its threads, and with the window.
const LOOK_AFTER: Duration = Duration::from_secs(1);

impl Session {
    /// The chores of following; true when nobody is left to follow.
    pub(super) fn tick(&mut self) -> Result<bool> {
        if let Some(meter) = &mut self.meter {
            meter.tick(&mut self.probes, &self.tables);
        }
        self.drain();
        self.drain_turns()?;
        let enough = self.collector.gone() >= TAKE_OVER_AT
            || self.last_take_over.elapsed() >= TAKE_OVER_EVERY;
        if self.collector.gone() > 0 && enough {
            self.last_take_over = Instant::now();
            self.take_over()?;
        }
        self.look_at_connections()?;
        self.follow_cgroup()?;
        self.look_at_command();
        match self.options.selector {
            Selector::WholeHost | Selector::Cgroup(_) => Ok(false),
            _ => Ok(!self.tables.any_process()?),
        }
    }

    pub(super) fn drain(&mut self) {
        self.drain_walks();
        let collector = &mut self.collector;
        self.tables.drain_events(|record| collector.on_record(record));
        for (id, pid) in self.collector.new_stacks() {
            if self.walks.origins.insert(id, pid).is_some() {
                continue;
            }
            if let Some(stack) = self.tables.stack(id) {
                self.symbolizer.remember(pid, &Walked::from(&stack).addresses);
            }
        }
    }

    /// [`Self::drain`], with all the stacks that there is time for, not one turn of them: what is reported has them.
    pub(super) fn drain_all(&mut self) {
        while self.drain_walks() {}
        self.drain();
    }

    /// True where more may wait.
    pub(super) fn drain_walks(&mut self) -> bool {
        self.walks.drain(&mut self.tables, &mut self.symbolizer, &mut self.collector)
    }

    fn take_over(&mut self) -> Result<()> {
        let mut gone = Vec::new();
        self.tables.for_each_wait(|key, stats| {
            if self.collector.is_gone(&key) {
                gone.push((key, Box::new(*stats)));
            }
        })?;
        let keys: Vec<_> = gone.iter().map(|(key, _)| *key).collect();
        self.collector.take_over(gone);
        for key in keys {
            self.tables.forget_wait(&key);
        }
        self.take_over_locks()?;
        self.collector.forget_gone();
        Ok(())
    }

    /// What ended threads have left in the tables about locks.
    fn take_over_locks(&mut self) -> Result<()> {
        let (mut blames, mut locks) = (Vec::new(), Vec::new());
        self.tables.for_each_blame(|key, blame| {
            if self.collector.is_gone_blame(&key) {
                blames.push((key, *blame));
            }
        })?;
        self.tables.for_each_kernel_lock(|key, stats| {
            if self.collector.is_gone_kernel_lock(&key) {
                locks.push((key, *stats));
            }
        })?;
        for (key, blame) in blames {
            self.collector.add_blame(&key, &blame);
            self.tables.forget_blame(&key);
        }
        for (key, stats) in locks {
            self.collector.add_kernel_lock(&key, &stats);
            self.tables.forget_kernel_lock(&key);
        }
        Ok(())
    }

    /// Processes moved into the cgroup: the probe has taken one thread each, the others come here.
    fn follow_cgroup(&mut self) -> Result<()> {
        let Selector::Cgroup(path) = &self.options.selector else { return Ok(()) };
        if self.last_cgroup.elapsed() < CGROUP_EVERY {
            return Ok(());
        }
        self.last_cgroup = Instant::now();
        let Ok(cgroup) = find_cgroup(path) else { return Ok(()) };
        // Those of the last look only: numbers are used again.
        let now: HashSet<u32> = cgroup.processes().into_iter().collect();
        let before = std::mem::replace(&mut self.requested, now);
        if !self.requested.is_subset(&before) {
            self.probes.adopt()?;
            self.probes.settle()?;
        }
        Ok(())
    }

    /// Where the threads of a started command may run, once, while they live.
    fn look_at_command(&mut self) {
        if let Selector::Command { pid, .. } = self.options.selector
            && self.began.elapsed() >= LOOK_AFTER
            && !self.cpu.has_looked()
        {
            self.cpu.look(&pids_below(&[pid]).unwrap_or_default());
        }
    }
}
