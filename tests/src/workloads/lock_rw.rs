//! A reader–writer lock: readers who wait for a writer, and a writer who waits for readers.

use anyhow::Result;
use dwell_tests::clock::sleep_ns;
use serde_json::json;

use super::Stage;
use super::crew::{self, Member, hexadecimal};
use super::pthread::ReadWriteLock;
use super::turns::{Turns, take_turns};

/// Between two turns of each reader. They differ, or else all readers would come and go together,
/// and the writer would never meet one.
const READ_PAUSES_NS: [u64; 4] = [3_000_000, 5_000_000, 7_000_000, 11_000_000];
const READ_NS: u64 = 3_000_000;
const WRITE_NS: u64 = 10_000_000;
const WRITE_PAUSE_NS: u64 = 10_000_000;

static TABLE: ReadWriteLock = ReadWriteLock::new();

pub fn run(stage: Stage) -> Result<()> {
    let hold = |ns: u64| {
        move || {
            sleep_ns(ns);
            Ok(())
        }
    };
    let unlock = |()| TABLE.unlock();
    let read = |pause| move |end| take_turns(end, pause, || TABLE.read(), hold(READ_NS), unlock);
    let write = |end| take_turns(end, WRITE_PAUSE_NS, || TABLE.write(), hold(WRITE_NS), unlock);
    let reader = |(number, pause)| Member::new(format!("reader-{number}"), read(pause));
    let mut members: Vec<Member<Turns>> =
        READ_PAUSES_NS.into_iter().enumerate().map(reader).collect();
    members.push(Member::new("writer", write));
    let (running, mut done) = crew::run(stage, members)?;
    let writer = Turns::sum(done.drain(READ_PAUSES_NS.len()..).map(|done| done.result));
    let readers = Turns::sum(done.into_iter().map(|done| done.result));
    let object = json!({
        "address": hexadecimal(TABLE.address()), "size": size_of::<ReadWriteLock>(),
        "reader_blocked_ns": readers.waits.blocked_ns, "writer_blocked_ns": writer.waits.blocked_ns,
        "writer_hold_ns": writer.hold_ns(),
    });
    let waits = Turns::sum([readers, writer]).waits;
    running.end("lock-rw", waits, object)
}
