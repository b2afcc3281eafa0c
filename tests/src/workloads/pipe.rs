//! A reader whose writer is slow.

use std::io::{Read, Write, pipe};
use std::os::unix::fs::MetadataExt;

use anyhow::Result;
use dwell_tests::clock::sleep_ns;
use serde_json::json;

use super::Stage;
use super::children::{Child, rename};
use super::meter::Meter;

const PERIOD_NS: u64 = 10_000_000;

pub fn run(stage: Stage) -> Result<()> {
    // The writer works to order, so that nothing piles up before the beginning.
    let (mut reader, mut writer) = pipe()?;
    let (mut orders, mut order) = pipe()?;
    let child = Child::fork(|| {
        rename(c"slow-writer");
        loop {
            orders.read_exact(&mut [0])?;
            sleep_ns(PERIOD_NS);
            writer.write_all(b".")?;
        }
    })?;
    let inode = inode_of(&reader)?;
    let mut meter = Meter::new()?;
    let running = stage.begin()?;
    while running.goes_on() {
        order.write_all(b".")?;
        meter.measure(|| reader.read_exact(&mut [0]))?;
    }
    running.end("pipe", meter.waits(), json!({ "inode": inode, "writer_pid": child.pid }))
}

/// Inode number behind a pipe.
pub fn inode_of(pipe: &std::io::PipeReader) -> Result<u64> {
    let descriptor = std::os::fd::AsFd::as_fd(pipe).try_clone_to_owned()?;
    Ok(std::fs::File::from(descriptor).metadata()?.ino())
}
