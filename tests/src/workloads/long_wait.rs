//! Waits that the edges of the window cut.

use std::io::{self, PipeReader, Read, Write};
use std::sync::mpsc::channel;
use std::thread;

use anyhow::Result;
use dwell_tests::clock::{monotonic_ns, sleep_ns};
use dwell_tests::outcome::Measured;
use serde_json::json;

use super::Stage;
use super::pipe::inode_of;

/// Time for the threads to reach their waits.
const SETTLE_NS: u64 = 50_000_000;

pub fn run(stage: Stage) -> Result<()> {
    let (forever, _forever_writer) = io::pipe()?;
    let (early, mut early_writer) = io::pipe()?;
    let (late, _late_writer) = io::pipe()?;
    let inodes = [inode_of(&forever)?, inode_of(&early)?, inode_of(&late)?];
    let (early_ended, early_end) = channel();
    let (late_began, late_start) = channel();
    spawn("forever", move || block_on(&forever))?;
    spawn("early", move || {
        block_on(&early);
        // Nobody listens any more once the main thread has failed.
        let _ = early_ended.send(monotonic_ns());
    })?;
    sleep_ns(SETTLE_NS);
    let half_ns = (stage.seconds() * 5e8) as u64;
    let running = stage.begin()?;
    sleep_ns(half_ns);
    early_writer.write_all(b".")?;
    spawn("late", move || {
        let _ = late_began.send(monotonic_ns());
        block_on(&late);
    })?;
    let object = json!({
        "forever_inode": inodes[0], "early_inode": inodes[1], "late_inode": inodes[2],
        "early_end_ns": early_end.recv()?, "late_start_ns": late_start.recv()?,
    });
    sleep_ns(running.deadline_ns().saturating_sub(monotonic_ns()));
    // Two of the threads wait on: they end with the process.
    running.end("long-wait", Measured::default(), object)
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new().name(name.to_owned()).spawn(work).map(drop)
}

fn block_on(mut pipe: &PipeReader) {
    // An error would end the wait too soon, which the test would see.
    let _ = pipe.read(&mut [0]);
}
