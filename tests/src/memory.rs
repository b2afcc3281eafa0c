//! How much memory a process takes at most.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Result, anyhow, ensure};

/// Looks at a process until told to stop, or until it is gone.
#[derive(Debug)]
pub struct Peak {
    stop: Arc<AtomicBool>,
    watcher: JoinHandle<u64>,
}

/// The kernel keeps the peak itself, so that only what comes after the last look is missed.
const EVERY: Duration = Duration::from_millis(5);

impl Peak {
    /// Starts to look at a process.
    pub fn of(pid: u32) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let asked = Arc::clone(&stop);
        let watcher = std::thread::spawn(move || {
            let mut peak = 0;
            while !asked.load(Ordering::Relaxed) {
                peak = peak.max(peak_of(pid).unwrap_or(0));
                std::thread::sleep(EVERY);
            }
            peak
        });
        Self { stop, watcher }
    }

    /// The peak of its resident memory, in bytes.
    pub fn bytes(self) -> Result<u64> {
        self.stop.store(true, Ordering::Relaxed);
        let peak = self.watcher.join().map_err(|_| anyhow!("the watcher panicked"))?;
        ensure!(peak > 0, "the process was never seen");
        Ok(peak)
    }
}

/// A zombie has no such line.
fn peak_of(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_takes_memory() {
        let peak = Peak::of(std::process::id());
        std::thread::sleep(2 * EVERY);
        let bytes = peak.bytes().unwrap();
        assert!(bytes > 1 << 20, "{bytes}");
    }
}
