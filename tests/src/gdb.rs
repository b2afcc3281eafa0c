//! gdb's view of where the threads of a process stand: the oracle for stacks.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::document::{Document, Wait};

/// One backtrace: the addresses of its frames, innermost first; a signal's frame has none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backtrace(pub Vec<Option<String>>);

/// The backtraces of all threads of a process, from where they stand to where they began.
pub fn backtraces(pid: u32) -> Result<Vec<Backtrace>> {
    let mut gdb = Command::new(crate::need::program("gdb").context("gdb is not installed")?);
    // Without debug information gdb shows one frame for each that is on the stack, by the unwind
    // tables of the program itself, and always its address.
    gdb.args(["-nx", "-iex", "set debug-file-directory /nonexistent", "-iex", "set width 0"]);
    gdb.args(["-iex", "set backtrace past-main on", "-iex", "set print frame-info location"]);
    gdb.args(["-p", &pid.to_string(), "-batch", "-ex", "thread apply all bt"]);
    gdb.env_remove("DEBUGINFOD_URLS").stdin(Stdio::null());
    let output = gdb.output().context("cannot run gdb")?;
    let traces = parse(&String::from_utf8_lossy(&output.stdout));
    ensure!(!traces.is_empty(), "gdb said: {}", String::from_utf8_lossy(&output.stderr));
    Ok(traces)
}

fn parse(text: &str) -> Vec<Backtrace> {
    let mut traces: Vec<Backtrace> = Vec::new();
    for line in text.lines() {
        if line.starts_with("Thread ") {
            traces.push(Backtrace(Vec::new()));
        } else if line.starts_with('#') {
            if traces.is_empty() {
                traces.push(Backtrace(Vec::new()));
            }
            if let Some(trace) = traces.last_mut() {
                trace.0.extend(frame(line));
            }
        }
    }
    traces
}

/// The address of `#3  0x0000556a88f6d334 in ProcSleep ()`, or that of a signal's frame, which gdb
/// gives none. Nothing for an inlined function, which has none either.
fn frame(line: &str) -> Option<Option<String>> {
    if line.ends_with("<signal handler called>") {
        return Some(None);
    }
    let word = line.split_ascii_whitespace().nth(1)?;
    let digits = word.strip_prefix("0x")?.trim_start_matches('0');
    Some(Some(format!("0x{digits}")))
}

impl Backtrace {
    /// A wait of the process in which a thread stood exactly here.
    pub fn find<'a>(&self, pid: u32, document: &'a Document) -> Option<&'a Wait> {
        let mut waits = document.body.waits.iter().filter(|wait| wait.pid == pid);
        waits.find(|wait| self.is(&wait.stack_addresses))
    }

    /// All frames alike, but for the trampoline behind a signal handler: gdb shows it as a frame
    /// without address.
    fn is(&self, stack: &[String]) -> bool {
        let same = |(theirs, ours): (&Option<String>, &String)| {
            theirs.as_ref().is_none_or(|theirs| theirs == ours)
        };
        self.0.len() == stack.len() && self.0.iter().zip(stack).all(same)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_frames_of_each_thread() {
        let text = "\nThread 2 (Thread 0x7f (LWP 9) \"x\"):\n\
                    #0  0x00007f10 in epoll_wait () from /lib/libc.so.6\n\
                    #1  <signal handler called>\n#2  0x000055a0 in ?? ()\n\
                    \nThread 1 (Thread 0x7e (LWP 8) \"x\"):\n#0  0x01 in main ()\n\
                    #1  lock<i32> () at x.rs:1\n";
        let address = |text: &str| Some(text.to_owned());
        let first = Backtrace(vec![address("0x7f10"), None, address("0x55a0")]);
        assert_eq!(parse(text), [first.clone(), Backtrace(vec![address("0x1")])]);
        let stack = ["0x7f10", "0x7f00", "0x55a0"].map(str::to_owned);
        assert!(first.is(&stack) && !first.is(&stack[..2]));
        assert!(!first.is(&["0x7f11", "0x7f00", "0x55a0"].map(str::to_owned)));
    }
}
