//! One boot of one kernel.

use std::{
    fmt,
    fs::File,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

use crate::process::find;

/// The emulator.
pub const QEMU: &str = "qemu-system-x86_64";

/// Longest life of a machine: a whole run takes two minutes on a fast machine, seven on a slow one.
const LIMIT: Duration = Duration::from_secs(900);

/// `thread=single`: the emulator with a thread for each CPU does not order the writes by which a
/// kernel patches its own code against the other CPU's reads of it; some boots of Linux 7.3 died of
/// a breakpoint of their own (`int3` in `sched_clock_cpu`). Attaching probes patches code, too.
const ACCELERATOR: &str = "tcg,thread=single";

/// What the kernel is told: everything it needs is built in, so it boots without an initramfs.
const COMMAND_LINE: &str = "console=ttyS0 root=/dev/nvme0n1 rw init=/init quiet panic=-1";

/// How a machine ended.
pub enum Ended {
    /// It turned itself off, or the emulator gave up; the log tells which.
    Off(Duration),
    /// It was ended.
    TooLate,
}

impl fmt::Display for Ended {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Off(after) => write!(formatter, "was off after {} s", after.as_secs()),
            Self::TooLate => write!(formatter, "was ended after {} s", LIMIT.as_secs()),
        }
    }
}

/// Boots a kernel with this disk and these words more on its command line, which its first process
/// has in its environment; what it says goes into the log.
pub fn boot(kernel: &Path, disk: &Path, more: &str, log: &Path) -> Result<Ended> {
    let output = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
    let mut command = Command::new(find(QEMU).context("no qemu")?);
    command
        .args(["-accel", ACCELERATOR, "-cpu", "max", "-smp", "2", "-m", "1G"])
        .args(["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"])
        .args(["-serial", "stdio", "-device", "nvme,drive=disk,serial=disk", "-drive"])
        .arg(format!("file={},id=disk,if=none,format=raw,snapshot=on", disk.display()))
        .arg("-kernel")
        .arg(kernel)
        .arg("-append")
        .arg(format!("{COMMAND_LINE} {more}"))
        .stdin(Stdio::null())
        .stderr(output.try_clone()?)
        .stdout(output);
    let begun = Instant::now();
    let mut machine = command.spawn().with_context(|| format!("cannot run {QEMU}"))?;
    while begun.elapsed() < LIMIT {
        if machine.try_wait()?.is_some() {
            return Ok(Ended::Off(begun.elapsed()));
        }
        thread::sleep(Duration::from_millis(100));
    }
    machine.kill()?;
    machine.wait()?;
    Ok(Ended::TooLate)
}
