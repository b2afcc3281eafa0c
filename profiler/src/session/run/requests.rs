//! Takes in the requests, and looks at connections, while the probes run.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Result;
use profiler_common::turn::{Conn, Turn};
use tokio::time::Instant;

use super::Session;
use crate::collect::{Collector, ConnLook, RequestNotes, last_call};
use crate::model::Nanos;
use crate::target::unix_sockets_of;

/// Requests in flight are counted this often: reading a table of 500 connections takes 0.3 ms.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Unix sockets that have been closed are looked for this often: a table of 1,000 takes 1 ms.
const SWEEP_EVERY: Duration = Duration::from_secs(2);

impl Session {
    /// What is in flight at the moment, several times a second.
    pub(super) fn look_at_connections(&mut self) -> Result<()> {
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
            Some(each) => each.add(&answered, &self.tables.requests, self.start),
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
            Some(each) => each.add(&turns, &self.tables.requests, self.start),
            None => Ok(()),
        }
    }

    /// What the tables hold about requests at the end, and those that have been answered and that the
    /// probes have not handed over.
    pub(super) fn take_requests(
        &self,
        collector: &mut Collector,
        end: Nanos,
    ) -> Result<(RequestNotes, Vec<Turn>)> {
        let (mut found, mut open) = (RequestNotes::default(), Vec::new());
        let Some(turns) = collector.turns() else { return Ok((found, open)) };
        let tables = &self.tables.requests;
        tables.for_each_conn(|conn| {
            open.extend(turns.unfinished(conn));
            turns.add_open(conn, end.0);
            found.peers.extend(last_call(conn));
        })?;
        for turn in &open {
            turns.add(turn);
        }
        tables.for_each_label(|id, label| {
            found.labels.insert(id, *label);
        })?;
        tables.for_each_peer(|key, stats| found.peers.push((key, *stats)))?;
        tables.for_each_listener(|listener| found.listeners.push(*listener))?;
        Ok((found, open))
    }
}
