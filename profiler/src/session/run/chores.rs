//! What there is to do while the probes run: reading what they tell, making room in their tables, looking
//! for processes that join.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Result;
use profiler_common::turn::Conn;
use tokio::time::Instant;

use super::Session;
use crate::collect::{ConnLook, RequestTables, last_call};
use crate::model::Walked;
use crate::target::{Selector, find_cgroup, pids_below, unix_sockets_of};

/// Waits of ended threads are taken over when this many have gathered, or after this time.
const TAKE_OVER_AT: usize = 500;
const TAKE_OVER_EVERY: Duration = Duration::from_secs(5);
/// Processes of a cgroup are compared with the followed ones this often.
const CGROUP_EVERY: Duration = Duration::from_millis(500);
/// A started command is looked at after this time: it may end with its threads, and with the window.
const LOOK_AFTER: Duration = Duration::from_secs(1);
/// Requests in flight are counted this often: reading a table of 500 connections takes 0.3 ms.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Unix sockets that have been closed are looked for this often: a table of 1,000 takes 1 ms.
const SWEEP_EVERY: Duration = Duration::from_secs(2);

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

    pub(super) fn drain_walks(&mut self) {
        self.walks.drain(&mut self.tables, &mut self.symbolizer, &mut self.collector);
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
        let mut new = false;
        for pid in cgroup.processes() {
            if self.requested.insert(pid) {
                self.probes.request(pid)?;
                new = true;
            }
        }
        if new {
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

    /// What is in flight at the moment, several times a second.
    fn look_at_connections(&mut self) -> Result<()> {
        let Some(turns) = self.collector.turns() else { return Ok(()) };
        if self.last_look.elapsed() < LOOK_EVERY {
            return Ok(());
        }
        self.last_look = Instant::now();
        let (mut looks, mut unix) = (Vec::new(), Vec::new());
        self.tables.requests.for_each_conn(|conn| {
            looks.extend(ConnLook::of(conn));
            if conn.is_unix != 0 && conn.ino != 0 {
                unix.push(*conn);
            }
        })?;
        turns.sample(&looks);
        if !unix.is_empty() && self.last_sweep.elapsed() >= SWEEP_EVERY {
            self.last_sweep = Instant::now();
            return self.forget_closed(&unix);
        }
        Ok(())
    }

    /// Unix sockets that their server has closed: no probe is told of that.
    fn forget_closed(&mut self, conns: &[Conn]) -> Result<()> {
        let mut pids: BTreeSet<u32> = conns.iter().map(|conn| conn.turn.pid).collect();
        pids.extend(&self.requested);
        let Some(open) = unix_sockets_of(pids) else { return Ok(()) };
        let Some(turns) = self.collector.turns() else { return Ok(()) };
        let mut answered = Vec::new();
        for conn in conns.iter().filter(|conn| !open.contains(&conn.ino)) {
            answered.extend(turns.unfinished(conn));
            self.tables.requests.forget_conn(conn.turn.sock);
        }
        answered.iter().for_each(|turn| turns.add(turn));
        match &mut self.each {
            Some(each) => each.add(&answered, &self.tables.requests),
            None => Ok(()),
        }
    }

    /// Takes in the requests that have been answered.
    pub(super) fn drain_turns(&mut self) -> Result<()> {
        let collector = &mut self.collector;
        let keeps = self.each.is_some();
        let mut turns = Vec::new();
        self.tables.requests.drain(|record| {
            let turn = collector.on_turn(record);
            turns.extend(turn.filter(|_| keeps));
        });
        match &mut self.each {
            Some(each) => each.add(&turns, &self.tables.requests),
            None => Ok(()),
        }
    }

    /// What the tables hold about requests, when the window is over.
    pub(super) fn take_requests(&mut self) -> Result<RequestTables> {
        let mut found = RequestTables::default();
        let Some(turns) = self.collector.turns() else { return Ok(found) };
        let tables = &self.tables.requests;
        let mut open = Vec::new();
        tables.for_each_conn(|conn| {
            open.extend(turns.unfinished(conn));
            found.peers.extend(last_call(conn));
        })?;
        for turn in &open {
            turns.add(turn);
        }
        if let Some(mut each) = self.each.take() {
            each.add(&open, tables)?;
            each.finish()?;
        }
        tables.for_each_label(|id, label| {
            found.labels.insert(id, *label);
        })?;
        tables.for_each_peer(|key, stats| found.peers.push((key, *stats)))?;
        tables.for_each_listener(|listener| found.listeners.push(*listener))?;
        Ok(found)
    }
}
