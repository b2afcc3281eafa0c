//! Two processes, one file, one lock.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::Result;
use dwell_tests::clock::{monotonic_ns, sleep_ns};
use dwell_tests::outcome::Measured;
use serde_json::json;

use super::Stage;
use super::children::{Child, rename};
use super::disk::disk_folder;
use super::meter::Meter;
use super::shared::Shared;
use super::system::{check, device};

const HELD_NS: u64 = 10_000_000;
/// Between two turns: long enough for the other to get the lock.
const PAUSE_NS: u64 = 1_000_000;

pub fn run(stage: Stage, fcntl: bool) -> Result<()> {
    let folder = disk_folder(&stage)?;
    let path = folder.path().join("lock");
    let metadata = File::create(&path)?.metadata()?;
    let rival_waits = Shared::new()?;
    // The beginning is told to the child by a pipe: it measures what the parent measures.
    let (mut go_reader, mut go_writer) = io::pipe()?;
    let rival = Child::fork(|| {
        rename(c"rival");
        let mut deadline = [0; 8];
        io::Read::read_exact(&mut go_reader, &mut deadline)?;
        rival_waits.add(&take_turns(&path, fcntl, u64::from_ne_bytes(deadline))?);
        Ok(())
    })?;
    let running = stage.begin()?;
    let deadline_ns = running.deadline_ns();
    io::Write::write_all(&mut go_writer, &deadline_ns.to_ne_bytes())?;
    let waits = take_turns(&path, fcntl, deadline_ns)?;
    let rival_pid = rival.pid;
    rival.join()?;
    let object = json!({
        "inode": metadata.ino(), "device": device(&metadata), "path": path,
        "rival_pid": rival_pid, "rival_blocked_ns": rival_waits.waits().blocked_ns,
    });
    running.end("flock", waits, object)
}

fn take_turns(path: &Path, fcntl: bool, deadline_ns: u64) -> Result<Measured> {
    // Opened by each process for itself: a lock by flock(2) belongs to the open file.
    let file = File::options().read(true).write(true).open(path)?;
    let lock = if fcntl { lock_by_fcntl } else { lock_by_flock };
    let mut meter = Meter::new()?;
    while monotonic_ns() < deadline_ns {
        meter.measure(|| lock(&file, true))?;
        sleep_ns(HELD_NS);
        lock(&file, false)?;
        sleep_ns(PAUSE_NS);
    }
    Ok(meter.waits())
}

fn lock_by_flock(file: &File, take: bool) -> io::Result<()> {
    let operation = if take { libc::LOCK_EX } else { libc::LOCK_UN };
    // SAFETY: the descriptor is open.
    check(unsafe { libc::flock(file.as_raw_fd(), operation) }).map(drop)
}

fn lock_by_fcntl(file: &File, take: bool) -> io::Result<()> {
    // SAFETY: the structure is plain numbers, for which zero is a value.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = if take { libc::F_WRLCK } else { libc::F_UNLCK } as libc::c_short;
    lock.l_whence = libc::SEEK_SET as libc::c_short;
    // SAFETY: the descriptor is open, and `lock` is what this command takes.
    check(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLKW, &lock) }).map(drop)
}
