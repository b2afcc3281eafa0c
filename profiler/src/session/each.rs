//! Writes down each request, one JSON object a line (docs/json.md).

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use profiler_common::turn::{TURN_ARRIVAL_UNSEEN, TURN_HANDED_OVER, TURN_PIPELINED, Turn};
use serde::Serialize;

use crate::collect::{label_text, turn_budget};
use crate::kernel::RequestTables;
use crate::model::{Nanos, Part, Protocol, part_name};
use crate::symbol::clean;

/// A line.
#[derive(Serialize)]
struct Line<'a> {
    arrival_ns: u64,
    received_ns: u64,
    first_sent_ns: u64,
    last_sent_ns: u64,
    latency_ns: u64,
    pid: u32,
    tid: u32,
    connection: usize,
    arrival_unseen: bool,
    pipelined: bool,
    handed_over: bool,
    protocol: Protocol,
    label: &'a str,
    parts: std::collections::BTreeMap<&'static str, u64>,
    calls: u32,
    calls_ns: u64,
}

/// A file with a line for each request.
pub struct EachRequest {
    path: PathBuf,
    file: BufWriter<File>,
    /// By the number of the probes: protocol and text.
    labels: HashMap<u64, (Protocol, String)>,
    /// Number by the address of the connection.
    connections: HashMap<u64, usize>,
}

impl EachRequest {
    /// Creates the file.
    ///
    /// # Errors
    /// When it cannot be created.
    pub fn create(path: PathBuf) -> Result<Self> {
        let file = File::create(&path)
            .with_context(|| format!("cannot write {}; give another --each", path.display()))?;
        Ok(Self {
            path,
            file: BufWriter::new(file),
            labels: HashMap::new(),
            connections: HashMap::new(),
        })
    }

    /// Adds requests.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn add(
        &mut self,
        turns: &[Turn],
        tables: &RequestTables,
        window_start: Nanos,
    ) -> Result<()> {
        for turn in turns {
            self.write(turn, tables, window_start)
                .with_context(|| format!("cannot write {}", self.path.display()))?;
        }
        Ok(())
    }

    fn write(
        &mut self,
        turn: &Turn,
        tables: &RequestTables,
        window_start: Nanos,
    ) -> std::io::Result<()> {
        let known = self.labels.entry(turn.label).or_insert_with(|| {
            let found = tables.label(turn.label);
            let label = found.map(|found| label_text(&found, clean));
            label.map_or((Protocol::Unknown, String::new()), |label| (label.protocol, label.text))
        });
        // Not the address in the kernel, which is nobody's business.
        let next = self.connections.len();
        let connection = *self.connections.entry(turn.sock).or_insert(next);
        let parts = turn_budget(turn, window_start);
        let parts = parts.parts().filter(|(_, time)| time.0 > 0);
        let is = |flag| turn.header.reserved & flag != 0;
        let line = Line {
            arrival_ns: turn.arrival_ns,
            received_ns: turn.received_ns,
            first_sent_ns: turn.first_sent_ns,
            last_sent_ns: turn.last_sent_ns,
            latency_ns: turn.last_sent_ns.saturating_sub(turn.arrival_ns),
            pid: turn.pid,
            tid: turn.tid,
            connection,
            arrival_unseen: is(TURN_ARRIVAL_UNSEEN),
            pipelined: is(TURN_PIPELINED),
            handed_over: is(TURN_HANDED_OVER),
            protocol: known.0,
            label: &known.1,
            parts: parts.map(|(part, time): (Part, _)| (part_name(part), time.0)).collect(),
            calls: turn.calls_count,
            calls_ns: turn.calls_ns,
        };
        serde_json::to_writer(&mut self.file, &line)?;
        self.file.write_all(b"\n")
    }

    /// Writes what is left.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn finish(mut self) -> Result<()> {
        self.file.flush().with_context(|| format!("cannot write {}", self.path.display()))
    }
}
