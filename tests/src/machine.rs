//! One test at a time: dwell's figures are only as quiet as the machine, and a test that looks
//! for what another dwell left behind must not see one at work.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;

use anyhow::{Context, Result};

/// The machine belongs to the holder until this is dropped.
#[derive(Debug)]
pub struct Machine {
    _lock: File,
}

impl Machine {
    /// Waits for the other tests, of this and of every other test program.
    pub fn take() -> Result<Self> {
        let path = std::env::temp_dir().join("dwell-tests.lock");
        // Opened first, created second: creating over another user's file may be forbidden.
        let lock = File::open(&path)
            .or_else(|_| OpenOptions::new().create(true).append(true).open(&path))
            .with_context(|| format!("cannot open {}", path.display()))?;
        // SAFETY: the descriptor is open for as long as `lock` is.
        if unsafe { libc::flock(lock.as_raw_fd(), libc::LOCK_EX) } != 0 {
            return Err(io::Error::last_os_error()).context("cannot lock the machine");
        }
        Ok(Self { _lock: lock })
    }
}
