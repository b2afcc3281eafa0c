//! Child processes that end with their parent.

use std::io;
use std::time::Duration;

use anyhow::Result;
use dwell_tests::process::die_with_parent;

use super::system::{check, end_after, kill, wait_for};

/// Longest life of a child.
const LIFE_SECONDS: u32 = 3700;

/// A child process, ended when dropped.
pub struct Child {
    /// Its process id.
    pub pid: libc::pid_t,
}

impl Child {
    /// Forks; the child does `work` and ends. Only for a process with one thread.
    pub fn fork(work: impl FnOnce() -> Result<()>) -> io::Result<Self> {
        // SAFETY: this process has one thread, so the child finds no lock held.
        let pid = check(unsafe { libc::fork() })?;
        if pid > 0 {
            return Ok(Self { pid });
        }
        end_after(LIFE_SECONDS);
        let done = die_with_parent(libc::SIGKILL).map_err(Into::into).and_then(|()| work());
        if let Err(error) = &done {
            eprintln!("workload: child: {error:#}");
        }
        // SAFETY: ends the process at once: what the parent has registered for its end is its own.
        unsafe { libc::_exit(i32::from(done.is_err())) }
    }

    /// Waits for its end.
    pub fn join(self) -> io::Result<()> {
        wait_for(self.pid, 0)?;
        std::mem::forget(self);
        Ok(())
    }

    /// Forgets it: somebody has waited for it.
    pub fn gone(self) {
        std::mem::forget(self);
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = kill(self.pid, libc::SIGKILL);
        let _ = wait_for(self.pid, 0);
    }
}

/// Gives the calling thread a name.
pub fn rename(name: &std::ffi::CStr) {
    // SAFETY: the name ends with NUL.
    unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr()) };
}

/// Blocks the calling process for good, until a signal ends it.
pub fn sleep_for_good() -> Result<()> {
    std::thread::sleep(Duration::from_secs(u64::from(LIFE_SECONDS)));
    Ok(())
}
