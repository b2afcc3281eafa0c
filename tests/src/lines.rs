//! Lines of a pipe, with a bound on the wait for them.

use std::io::{BufRead, BufReader, Read};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// Reads lines in a thread of its own, so that the writer never blocks on us.
#[derive(Debug)]
pub struct Lines(Receiver<String>);

impl Lines {
    /// Starts to read.
    pub fn of(pipe: impl Read + Send + 'static) -> Self {
        let (sender, receiver) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self(receiver)
    }

    /// The next line that `wanted` accepts; those before it are given to `passed`.
    pub fn find(
        &self,
        within: Duration,
        wanted: impl Fn(&str) -> bool,
        mut passed: impl FnMut(String),
    ) -> Result<String> {
        let end = Instant::now() + within;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let line = self.0.recv_timeout(left).context("the line did not come")?;
            if wanted(&line) {
                return Ok(line);
            }
            passed(line);
        }
    }

    /// Every line until the pipe ends, or `within` is over.
    pub fn rest(&self, within: Duration) -> Vec<String> {
        let end = Instant::now() + within;
        let left = || end.saturating_duration_since(Instant::now());
        std::iter::from_fn(|| self.0.recv_timeout(left()).ok()).collect()
    }
}
