//! A robust mutex in a file that two processes have mapped, each at another address.

use std::fs::File;
use std::io::{self, Read, Write, pipe};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::ptr;

use anyhow::{Result, ensure};
use dwell_tests::clock::sleep_ns;
use dwell_tests::outcome::Measured;
use serde_json::json;

use super::Stage;
use super::children::{Child, rename};
use super::crew::hexadecimal;
use super::pthread::Mutex;
use super::shared::Shared;
use super::turns::{Turns, take_turns};

const HELD_NS: u64 = 5_000_000;
const PAUSE_NS: u64 = 500_000;
const PAGE: usize = 4096;
/// Where in the page.
const OFFSET: usize = 256;

pub fn run(stage: Stage) -> Result<()> {
    let place = stage.folder().map_or_else(std::env::temp_dir, ToOwned::to_owned);
    let folder = tempfile::Builder::new().prefix("dwell-").tempdir_in(place)?;
    let path = folder.path().join("shared-mutex");
    let file = File::options().read(true).write(true).create_new(true).open(&path)?;
    file.set_len(PAGE as u64)?;
    let mutex = map(&file)?;
    mutex.make_robust();
    let mutex_address = mutex.address();
    let rival_waits = Shared::new()?;
    let (mut go_reader, mut go_writer) = pipe()?;
    let (mut address_reader, mut address_writer) = pipe()?;
    let rival = Child::fork(|| {
        rename(c"rival");
        // The old mapping is still there, so this one lies elsewhere.
        let mutex = map(&file)?;
        address_writer.write_all(&mutex.address().to_ne_bytes())?;
        let mut deadline = [0; 8];
        go_reader.read_exact(&mut deadline)?;
        rival_waits.add(&turns(mutex, u64::from_ne_bytes(deadline))?.waits);
        Ok(())
    })?;
    let mut rival_address = [0; 8];
    address_reader.read_exact(&mut rival_address)?;
    let rival_address = usize::from_ne_bytes(rival_address);
    ensure!(mutex_address != rival_address, "both at {rival_address:#x}");
    let running = stage.begin()?;
    go_writer.write_all(&running.deadline_ns().to_ne_bytes())?;
    let own = turns(mutex, running.deadline_ns())?;
    let rival_pid = rival.pid;
    rival.join()?;
    let rival_waits: Measured = rival_waits.waits();
    let object = json!({
        "address": hexadecimal(mutex_address), "rival_address": hexadecimal(rival_address),
        "rival_pid": rival_pid, "path": path, "inode": file.metadata()?.ino(),
        "own_blocked_ns": own.waits.blocked_ns, "rival_blocked_ns": rival_waits.blocked_ns,
        "hold_ns": own.hold_ns(),
    });
    let mut both = own.waits;
    both.merge(&rival_waits);
    running.end("lock-robust", both, object)
}

fn turns(mutex: &Mutex, deadline_ns: u64) -> io::Result<Turns> {
    let hold = || {
        sleep_ns(HELD_NS);
        Ok(())
    };
    take_turns(deadline_ns, PAUSE_NS, || mutex.lock(), hold, |()| mutex.unlock())
}

/// Maps the file for the life of the process.
fn map(file: &File) -> io::Result<&'static Mutex> {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let descriptor = file.as_raw_fd();
    // SAFETY: a new mapping at an address of the kernel's choice.
    let start =
        unsafe { libc::mmap(ptr::null_mut(), PAGE, protection, libc::MAP_SHARED, descriptor, 0) };
    if start == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it lies inside the page, is aligned, is never unmapped, and consists of zeros or of
    // a mutex, both of which are a mutex.
    Ok(unsafe { &*start.byte_add(OFFSET).cast::<Mutex>() })
}
