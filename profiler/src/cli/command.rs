//! Starts a command in such a way that nothing of it is missed: the new process waits before it
//! executes the program until the probes follow it.

use std::ffi::{OsStr, OsString};
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;

use anyhow::{Context as _, Result, anyhow};

/// A process that is there, and waits to be released.
pub struct Started {
    pid: u32,
    gate: std::io::PipeWriter,
    child: JoinHandle<std::io::Result<Child>>,
    program: OsString,
}

impl Started {
    /// Creates the process.
    ///
    /// # Errors
    /// When it cannot be created.
    pub fn new(program: &OsStr, arguments: &[OsString]) -> Result<Self> {
        let (mut announced, announce) = std::io::pipe().context("cannot create a pipe")?;
        let (gate_reader, gate) = std::io::pipe().context("cannot create a pipe")?;
        let mut command = Command::new(program);
        // Stdout is for dwell's results.
        let stderr = std::io::stderr().as_fd().try_clone_to_owned();
        command.args(arguments).stdout(Stdio::from(stderr.context("cannot use stderr")?));
        let (announce_fd, gate_fd) = (announce.as_raw_fd(), gate_reader.as_raw_fd());
        let own_gate_fd = gate.as_raw_fd();
        // SAFETY: only async-signal-safe calls: close, getpid, write, read.
        unsafe {
            command.pre_exec(move || {
                // Or the process would hold its own gate open when dwell dies.
                libc::close(own_gate_fd);
                let pid = libc::getpid().to_ne_bytes();
                libc::write(announce_fd, pid.as_ptr().cast(), pid.len());
                let mut released = 0u8;
                if libc::read(gate_fd, (&raw mut released).cast(), 1) == 1 {
                    return Ok(());
                }
                Err(std::io::Error::from_raw_os_error(libc::ECANCELED))
            });
        }
        // `spawn` returns only after the exec, so it has to be waited for elsewhere.
        let child = std::thread::spawn(move || {
            let child = command.spawn();
            drop((announce, gate_reader));
            child
        });
        let mut pid = [0; 4];
        announced.read_exact(&mut pid).context("cannot create a process")?;
        Ok(Self { pid: u32::from_ne_bytes(pid), gate, child, program: program.to_owned() })
    }

    /// Its id.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Lets it execute the program.
    ///
    /// # Errors
    /// When it is gone.
    pub fn release(&self) -> Result<()> {
        (&self.gate).write_all(&[1]).context("the process to be started is gone")
    }

    /// Reaps it; ends it if it is still there. How it has ended, where that was by itself and without success.
    ///
    /// # Errors
    /// When the program could not be executed.
    pub fn end(self) -> Result<Option<String>> {
        let child = self.child.join().map_err(|_| anyhow!("the starting thread panicked"))?;
        let mut child = child.with_context(|| {
            format!("cannot run {:?}; check the name and that it is executable", self.program)
        })?;
        let unknown = "cannot wait for the command";
        if let Some(status) = child.try_wait().context(unknown)? {
            let failed = !status.success();
            return Ok(failed.then(|| format!("the command has failed: {status}")));
        }
        let _gone = child.kill();
        child.wait().context(unknown)?;
        Ok(None)
    }
}
