//! Child processes that cannot outlive the test.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// A child process that is killed when dropped.
#[derive(Debug)]
pub struct Bounded(Child);

impl Bounded {
    /// Starts `command`, which also ends when the thread that started it does.
    pub fn spawn(command: &mut Command) -> Result<Self> {
        Self::spawn_with(command, libc::SIGKILL)
    }

    /// [`Self::spawn`] with the signal that ends it should the test die.
    pub fn spawn_with(command: &mut Command, death_signal: i32) -> Result<Self> {
        // SAFETY: the closure only makes a system call.
        unsafe { command.pre_exec(move || die_with_parent(death_signal)) };
        let name = command.get_program().to_string_lossy().into_owned();
        Ok(Self(command.spawn().with_context(|| format!("cannot start {name}"))?))
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    /// The child, to take its pipes.
    pub fn child(&mut self) -> &mut Child {
        &mut self.0
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: i32) -> Result<()> {
        send_signal(self.pid(), signal)
    }

    /// Waits for its end, for no longer than `within`.
    pub fn wait_within(&mut self, within: Duration) -> Result<ExitStatus> {
        let end = Instant::now() + within;
        loop {
            if let Some(status) = self.0.try_wait()? {
                return Ok(status);
            }
            if Instant::now() >= end {
                bail!("process {} still runs after {within:?}", self.pid());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Asks it to end by `signal`, and kills it where it does not.
    pub fn end(&mut self, signal: i32, within: Duration) {
        if matches!(self.0.try_wait(), Ok(None)) && self.signal(signal).is_ok() {
            // What still runs is killed on drop.
            let _ = self.wait_within(within);
        }
    }
}

impl Drop for Bounded {
    fn drop(&mut self) {
        // It may have ended by itself, which is as good.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Sends a signal to a process.
pub fn send_signal(pid: u32, signal: i32) -> Result<()> {
    // SAFETY: kill(2) touches no memory of ours.
    let result = unsafe { libc::kill(pid as libc::pid_t, signal) };
    if result != 0 {
        return Err(io::Error::last_os_error())
            .with_context(|| format!("cannot send signal {signal} to process {pid}"));
    }
    Ok(())
}

/// Asks the kernel for `signal` when the parent thread ends.
pub fn die_with_parent(signal: i32) -> io::Result<()> {
    // SAFETY: PR_SET_PDEATHSIG takes a number.
    let result = unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, signal as libc::c_ulong) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Runs `command` to its end, for no longer than `within`, and fails unless it succeeds.
pub fn run(command: &mut Command, within: Duration) -> Result<()> {
    let status = Bounded::spawn(command)?.wait_within(within)?;
    if !status.success() {
        bail!("{} ended with {status}", command.get_program().to_string_lossy());
    }
    Ok(())
}
