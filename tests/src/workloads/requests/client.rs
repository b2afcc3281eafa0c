//! A client that sends so many requests, and notes how long each took.

use std::path::PathBuf;
use std::str::FromStr;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Error, Result, anyhow, ensure};
use clap::Args;
use dwell_tests::clock::{monotonic_ns, sleep_ns};
use dwell_tests::requests::{Asked, Driven, Latencies, escape};

use super::super::Stage;
use super::line::{Line, Timing};
use super::poll::{poll, wanted};
use super::stream::Place;
use super::{say, write_log};

/// Longest wait for an answer.
const PATIENCE_NS: u64 = 20_000_000_000;

/// The client. It says at its end how many requests were answered, and in what time. Request n goes
/// by connection n modulo their number, which thread n modulo theirs handles.
#[derive(Args)]
pub struct Drive {
    #[command(flatten)]
    place: Place,
    /// Each with one request at a time.
    #[arg(long, default_value_t = 1)]
    connections: u32,
    /// In total.
    #[arg(long, default_value_t = 1000)]
    requests: u64,
    /// Among which the connections are divided.
    #[arg(long, default_value_t = 1)]
    threads: u32,
    /// Requests a second, over all connections; else each is sent once its connection is free.
    #[arg(long)]
    rate: Option<f64>,
    /// What to ask for; `{n}` is the number of the request, from 0.
    #[arg(long, default_value = "/")]
    path: String,
    /// `K:PATH`: what every K-th request asks for.
    #[arg(long, value_name = "K:PATH")]
    path_every: Option<PathEvery>,
    /// Where to write, at the end, when each request was sent and answered.
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
}

/// The path of every so many requests.
#[derive(Clone, Debug, PartialEq, Eq)]
struct PathEvery {
    every: u64,
    path: String,
}

impl FromStr for PathEvery {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (every, path) = text.split_once(':').context("K:PATH")?;
        let every = every.parse()?;
        ensure!(every > 0, "K is at least 1");
        Ok(Self { every, path: path.to_owned() })
    }
}

impl Drive {
    /// Sends all requests.
    pub fn run(self, stage: Stage) -> Result<()> {
        self.check()?;
        let lines = (0..self.connections).map(|number| Line::new(&self.place, number));
        let lines: Vec<Line> = lines.collect::<std::io::Result<_>>().context("cannot connect")?;
        // Alone it says one line only.
        if stage.waits() {
            stage.begin()?;
        }
        let start_ns = monotonic_ns();
        let (mut timings, errors) = self.all(lines, start_ns)?;
        timings.sort_by_key(|timing| (timing.sent_ns, timing.number));
        if let Some(log) = &self.log {
            write_log(log, timings.iter().map(|timing| self.row(timing)))?;
        }
        Ok(say(serde_json::to_string(&summary(&timings, errors, start_ns))?)?)
    }

    fn check(&self) -> Result<()> {
        ensure!((1..=10_000).contains(&self.connections), "--connections is 1 to 10000");
        ensure!((1..=10_000_000).contains(&self.requests), "--requests is 1 to 10000000");
        ensure!((1..=1000).contains(&self.threads), "--threads is 1 to 1000");
        let rate = self.rate.unwrap_or(1.0);
        ensure!((0.01..=1e6).contains(&rate), "--rate is 0.01 to 1000000");
        Ok(())
    }

    /// Divides the connections among threads, and gives what all of them noted.
    fn all(&self, lines: Vec<Line>, start_ns: u64) -> Result<(Vec<Timing>, u64)> {
        let mut shares: Vec<Vec<Line>> = (0..self.threads).map(|_| Vec::new()).collect();
        for line in lines {
            let share = (line.number % self.threads) as usize;
            shares[share].push(line);
        }
        thread::scope(|scope| {
            let spawn = |(number, lines)| {
                let hand = Hand { drive: self, start_ns, lines, timings: Vec::new(), errors: 0 };
                let builder = thread::Builder::new().name(format!("driver-{number}"));
                builder.spawn_scoped(scope, move || hand.run())
            };
            let threads: Vec<_> =
                shares.into_iter().enumerate().map(spawn).collect::<std::io::Result<_>>()?;
            let (mut timings, mut errors) = (Vec::new(), 0);
            for thread in threads {
                let done = thread.join().map_err(|_| anyhow!("a driver panicked"))??;
                timings.extend(done.0);
                errors += done.1;
            }
            Ok((timings, errors))
        })
    }

    fn path(&self, number: u64) -> String {
        let turn = self.path_every.as_ref().filter(|turn| (number + 1).is_multiple_of(turn.every));
        turn.map_or(&self.path, |turn| &turn.path).replace("{n}", &number.to_string())
    }

    fn row(&self, timing: &Timing) -> Asked {
        let &Timing { number, connection, due_ns, sent_ns, received_ns } = timing;
        let path = escape(self.path(number).as_bytes());
        Asked { number, connection, due_ns, sent_ns, received_ns, path }
    }

    /// When a request is to be sent, if the pace is set.
    fn due_ns(&self, number: u64, start_ns: u64) -> Option<u64> {
        self.rate.map(|rate| start_ns + (number as f64 * 1e9 / rate) as u64)
    }
}

/// One thread, with its connections.
struct Hand<'a> {
    drive: &'a Drive,
    start_ns: u64,
    lines: Vec<Line<'a>>,
    timings: Vec<Timing>,
    errors: u64,
}

impl Hand<'_> {
    /// Sends and receives until all its requests are answered or have failed.
    fn run(mut self) -> Result<(Vec<Timing>, u64)> {
        loop {
            for index in 0..self.lines.len() {
                self.send_if_due(index);
            }
            // Others may want the place of a connection.
            self.lines.retain(|line| line.next < self.drive.requests);
            let Some(wake_ns) = self.lines.iter().map(|line| self.wake_ns(line)).min() else {
                return Ok((self.timings, self.errors));
            };
            self.receive(wake_ns)?;
        }
    }

    /// Until then there is nothing to do for a connection, unless something comes.
    fn wake_ns(&self, line: &Line) -> u64 {
        match line.waits_since_ns() {
            Some(sent_ns) => sent_ns + PATIENCE_NS,
            None => self.drive.due_ns(line.next, self.start_ns).unwrap_or_default(),
        }
    }

    fn send_if_due(&mut self, index: usize) {
        let line = &mut self.lines[index];
        let now_ns = monotonic_ns();
        let due_ns = self.drive.due_ns(line.next, self.start_ns).unwrap_or(now_ns);
        if line.waits_since_ns().is_some() || line.next >= self.drive.requests || due_ns > now_ns {
            return;
        }
        if line.send(&self.drive.path(line.next), due_ns).is_err() {
            self.fail(index);
        }
    }

    /// Reads what has come until then, and gives up what has not come at all.
    fn receive(&mut self, wake_ns: u64) -> Result<()> {
        let waiting: Vec<usize> = (0..self.lines.len())
            .filter(|&index| self.lines[index].waits_since_ns().is_some())
            .collect();
        let left_ns = wake_ns.saturating_sub(monotonic_ns());
        if waiting.is_empty() {
            if left_ns > 0 {
                sleep_ns(left_ns);
            }
            return Ok(());
        }
        let streams = waiting.iter().filter_map(|&index| self.lines[index].stream());
        let mut streams: Vec<_> = streams.map(|stream| wanted(stream, libc::POLLIN)).collect();
        poll(&mut streams, Duration::from_nanos(left_ns))?;
        for (index, stream) in waiting.into_iter().zip(streams) {
            if stream.revents != 0 {
                self.receive_by(index);
            } else if self.wake_ns(&self.lines[index]) <= monotonic_ns() {
                self.fail(index);
            }
        }
        Ok(())
    }

    fn receive_by(&mut self, index: usize) {
        let line = &mut self.lines[index];
        match line.receive() {
            Ok(Some(timing)) => {
                self.timings.push(timing);
                line.next += u64::from(self.drive.connections);
            }
            Ok(None) => {}
            Err(_) => self.fail(index),
        }
    }

    /// The request is not answered.
    fn fail(&mut self, index: usize) {
        self.errors += 1;
        let line = &mut self.lines[index];
        line.next += u64::from(self.drive.connections);
        line.fail();
    }
}

fn summary(timings: &[Timing], errors: u64, start_ns: u64) -> Driven {
    let latencies = timings.iter().map(|timing| timing.received_ns - timing.sent_ns);
    let latencies = Latencies::of(latencies);
    let end_ns = timings.iter().map(|timing| timing.received_ns).max().unwrap_or(start_ns);
    let us = |ns: u64| ns as f64 / 1e3;
    Driven {
        requests: latencies.count(),
        errors,
        p50_us: us(latencies.p50_ns()),
        p99_us: us(latencies.p99_ns()),
        max_us: us(latencies.max_ns()),
        seconds: (end_ns - start_ns) as f64 / 1e9,
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        drive: Drive,
    }

    fn drive(arguments: &str) -> Result<Drive> {
        let drive = Program::try_parse_from(arguments.split(' '))?.drive;
        drive.check()?;
        Ok(drive)
    }

    #[test]
    fn paths_of_requests() -> Result<()> {
        let drive = drive("drive --tcp 1 --path /{n} --path-every 3:/slow")?;
        let paths: Vec<String> = (0..4).map(|number| drive.path(number)).collect();
        assert_eq!(paths, ["/0", "/1", "/slow", "/3"]);
        Ok(())
    }

    #[test]
    fn the_pace_of_requests() -> Result<()> {
        assert_eq!(drive("drive --unix s --rate 1000")?.due_ns(3, 5), Some(3_000_005));
        assert_eq!(drive("drive --unix s")?.due_ns(3, 5), None);
        Ok(())
    }

    #[test]
    fn what_is_no_drive() {
        for bad in [
            "drive",
            "drive --tcp 1 --unix s",
            "drive --tcp 1 --connections 0",
            "drive --tcp 1 --rate 0",
            "drive --tcp 1 --requests 10000001",
            "drive --tcp 1 --path-every 0:/",
            "drive --tcp 1 --path-every 5",
        ] {
            assert!(drive(bad).is_err(), "{bad}");
        }
    }
}
