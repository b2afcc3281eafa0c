//! Programs that keep a machine or a server busy.

use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Result;

use super::installed;
use crate::process::Bounded;

/// A running load generator.
#[derive(Debug)]
pub struct Load(Bounded);

impl Load {
    /// Starts it; what it prints is thrown away.
    pub(super) fn start(command: &mut Command) -> Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Ok(Self(Bounded::spawn(command)?))
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.0.pid()
    }

    /// Waits until it has so many threads.
    pub fn wait_for_threads(self, threads: usize) -> Result<Self> {
        let pid = self.pid();
        crate::proc::wait_until("the load has its threads", Duration::from_secs(10), || {
            crate::proc::threads_of(pid).len() >= threads
        })?;
        Ok(self)
    }
}

/// `sysbench TEST` with some threads, for no longer than `seconds`.
pub fn sysbench(test: &str, threads: usize, seconds: u32) -> Result<Load> {
    let mut command = Command::new(installed("sysbench")?);
    command.args([test, &format!("--threads={threads}"), &format!("--time={seconds}")]);
    command.args(["--events=0", "run"]);
    Load::start(&mut command)?.wait_for_threads(threads + 1)
}

/// `sysbench mutex` with some threads that all want one mutex all the time, until dropped (or some
/// minutes have gone by).
pub fn sysbench_mutex(threads: usize) -> Result<Load> {
    let mut command = Command::new(installed("sysbench")?);
    command.args(["mutex", &format!("--threads={threads}"), "--mutex-num=1", "--mutex-loops=0"]);
    command.args(["--mutex-locks=1000000000", "run"]);
    Load::start(&mut command)?.wait_for_threads(threads + 1)
}

/// The distribution's Python: the interpreter with which people meet the interpreter's lock, whatever
/// else is in PATH.
pub const PYTHON: &str = "/usr/bin/python3";

/// A Python program with some threads that compute all the time, until dropped.
pub fn busy_python(threads: usize) -> Result<Load> {
    let program = format!(
        "import threading\n\
         def busy():\n    \
             n = 0\n    \
             while True:\n        \
                 n += 1\n\
         for _ in range({threads}):\n    \
             threading.Thread(target=busy, daemon=True).start()\n\
         threading.Event().wait()\n"
    );
    let mut command = Command::new(installed(PYTHON)?);
    Load::start(command.args(["-c", &program]))?.wait_for_threads(threads + 1)
}
