//! The kernel's own books: `/proc/PID/task/TID/schedstat`, sampled while dwell watches.
//!
//! dwell says afterwards when its window began and ended; the samples around those two instants
//! give the figures there by interpolation.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Result, anyhow, ensure};

use crate::clock;
use crate::proc::{stolen_ns, threads_of};

/// Time between samples.
const PERIOD: Duration = Duration::from_millis(2);

/// Samples processes in a thread of its own.
#[derive(Debug)]
pub struct Sampler {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Samples>>,
}

/// What was sampled.
#[derive(Debug, Default)]
pub struct Samples {
    threads: BTreeMap<(u32, u32), Series>,
    /// What a hypervisor took from all CPUs meanwhile. The scheduler leaves it out of a thread's run time
    /// (`update_rq_clock_task`, kernel/sched/core.c), and nobody knows which thread it was taken from.
    pub stolen_ns: u64,
}

/// The samples of one thread.
#[derive(Debug, Default)]
struct Series {
    /// It was not there in the first round: it began from nothing.
    born: bool,
    points: Vec<Point>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Point {
    at_ns: u64,
    books: Books,
}

/// Run time and time in run queues, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Books {
    /// On a CPU.
    pub running_ns: u64,
    /// Waiting for one.
    pub runnable_ns: u64,
}

impl Sampler {
    /// Starts to sample all threads of these processes, and those they will create.
    pub fn start(pids: &[u32]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (flag, pids) = (Arc::clone(&stop), pids.to_vec());
        let thread = std::thread::spawn(move || sample(&pids, &flag));
        Self { stop, thread: Some(thread) }
    }

    /// Ends the sampling.
    pub fn stop(mut self) -> Result<Samples> {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().ok_or_else(|| anyhow!("stopped twice"))?;
        thread.join().map_err(|_| anyhow!("the sampler panicked"))
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

impl Samples {
    /// What a process did between two instants (CLOCK_MONOTONIC).
    pub fn between(&self, pid: u32, start_ns: u64, end_ns: u64) -> Result<Books> {
        let mut sum = Books::default();
        let mut threads = 0;
        for (_, series) in self.threads.iter().filter(|((of, _), _)| *of == pid) {
            let (start, end) = (series.at(start_ns), series.at(end_ns));
            sum.running_ns += end.running_ns.saturating_sub(start.running_ns);
            sum.runnable_ns += end.runnable_ns.saturating_sub(start.runnable_ns);
            threads += 1;
        }
        ensure!(threads > 0, "no sample of process {pid}");
        Ok(sum)
    }
}

impl Series {
    /// The figures at an instant: interpolated between samples, constant outside them.
    fn at(&self, at_ns: u64) -> Books {
        let after = self.points.partition_point(|point| point.at_ns < at_ns);
        let before = after.checked_sub(1).and_then(|index| self.points.get(index));
        match (before, self.points.get(after)) {
            (Some(before), Some(_)) => interpolate(before, &self.points[after..], at_ns),
            (Some(last), None) => last.books,
            (None, Some(first)) if !self.born => first.books,
            (None, _) => Books::default(),
        }
    }
}

/// The figures at an instant between the sample `before` and those that follow it.
fn interpolate(before: &Point, following: &[Point], at_ns: u64) -> Books {
    let after = following.first().unwrap_or(before);
    let share = (at_ns - before.at_ns) as f64 / (after.at_ns - before.at_ns).max(1) as f64;
    let part = |from: u64, to: u64| from + (to.saturating_sub(from) as f64 * share) as u64;
    let runnable = before.books.runnable_ns;
    Books {
        running_ns: part(before.books.running_ns, after.books.running_ns),
        runnable_ns: match waiting_since(before, following) {
            Some(since_ns) => runnable + at_ns.saturating_sub(since_ns),
            None => part(runnable, after.books.runnable_ns),
        },
    }
}

/// When the thread began the wait for a CPU that it was in at the sample `before`. The scheduler books such a wait
/// when it ends, all at once (`sched_info_arrive`, kernel/sched/stats.h): one that is longer than the time since the
/// sample before began ahead of that.
fn waiting_since(before: &Point, following: &[Point]) -> Option<u64> {
    let mut last = before;
    for point in following {
        let booked_ns = point.books.runnable_ns.saturating_sub(last.books.runnable_ns);
        if booked_ns > 0 {
            let is_longer = booked_ns > point.at_ns - last.at_ns;
            return is_longer.then(|| point.at_ns.saturating_sub(booked_ns));
        }
        last = point;
    }
    None
}

fn sample(pids: &[u32], stop: &AtomicBool) -> Samples {
    go_first();
    let mut samples = Samples::default();
    let mut files: BTreeMap<(u32, u32), File> = BTreeMap::new();
    let mut first_round = true;
    let stolen_before_ns = stolen_ns();
    while !stop.load(Ordering::Relaxed) {
        for &pid in pids {
            follow(pid, &mut files);
        }
        files.retain(|&key, file| match read(file) {
            Some(point) => {
                let new = || Series { born: !first_round, points: Vec::new() };
                samples.threads.entry(key).or_insert_with(new).points.push(point);
                true
            }
            None => false,
        });
        first_round = false;
        std::thread::sleep(PERIOD);
    }
    samples.stolen_ns = stolen_ns() - stolen_before_ns;
    samples
}

/// Lets the calling thread have a CPU before all others, where it may: a sampler that waits for one among those that it
/// samples knows nothing of what they did meanwhile.
fn go_first() {
    // SAFETY: the thread itself, and a local.
    unsafe {
        let priority = libc::sched_param { sched_priority: 1 };
        libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const priority);
    }
}

/// Opens the files of threads that are new.
fn follow(pid: u32, files: &mut BTreeMap<(u32, u32), File>) {
    let known: BTreeSet<u32> =
        files.range((pid, 0)..=(pid, u32::MAX)).map(|(&(_, tid), _)| tid).collect();
    for tid in threads_of(pid).into_iter().filter(|tid| !known.contains(tid)) {
        if let Ok(file) = File::open(format!("/proc/{pid}/task/{tid}/schedstat")) {
            files.insert((pid, tid), file);
        }
    }
}

/// One sample; none where the thread is gone.
fn read(file: &File) -> Option<Point> {
    let mut buffer = [0; 96];
    let before_ns = clock::monotonic_ns();
    let length = file.read_at(&mut buffer, 0).ok()?;
    let at_ns = before_ns.midpoint(clock::monotonic_ns());
    Some(Point { at_ns, books: parse(&buffer[..length])? })
}

/// Run time, run-queue time, number of turns.
fn parse(text: &[u8]) -> Option<Books> {
    let mut fields = std::str::from_utf8(text).ok()?.split_whitespace();
    let mut next = || fields.next()?.parse().ok();
    Some(Books { running_ns: next()?, runnable_ns: next()? })
}

/// The calling thread's own time in run queues, re-read from an open file.
#[derive(Debug)]
pub struct OwnSchedstat(File);

impl OwnSchedstat {
    /// Opens the calling thread's file.
    pub fn open() -> std::io::Result<Self> {
        File::open("/proc/thread-self/schedstat").map(Self)
    }

    /// Time in run queues until now.
    pub fn runnable_ns(&self) -> u64 {
        read(&self.0).map(|point| point.books.runnable_ns).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(born: bool) -> Series {
        let point =
            |at_ns, running_ns| Point { at_ns, books: Books { running_ns, runnable_ns: 0 } };
        Series { born, points: vec![point(100, 10), point(200, 20)] }
    }

    #[test]
    fn figures_are_interpolated_inside_and_constant_outside() {
        let running = |series: &Series, at_ns| series.at(at_ns).running_ns;
        assert_eq!(running(&series(false), 150), 15);
        assert_eq!((running(&series(false), 50), running(&series(false), 250)), (10, 20));
        assert_eq!(running(&series(true), 50), 0);
    }

    #[test]
    fn a_wait_that_is_booked_at_its_end_is_where_it_was() {
        let point =
            |at_ns, runnable_ns| Point { at_ns, books: Books { running_ns: 0, runnable_ns } };
        // A wait from 50 to 350, another from 420 to 440.
        let points =
            vec![point(0, 0), point(100, 0), point(200, 0), point(350, 300), point(450, 320)];
        let series = Series { born: false, points };
        let runnable = |at_ns| series.at(at_ns).runnable_ns;
        assert_eq!((runnable(20), runnable(60), runnable(100)), (0, 10, 50));
        assert_eq!((runnable(150), runnable(250), runnable(350)), (100, 200, 300));
        assert_eq!((runnable(400), runnable(450)), (310, 320));
    }

    #[test]
    fn this_process_is_sampled() {
        let pid = std::process::id();
        let sampler = Sampler::start(&[pid]);
        clock::sleep_ns(20_000_000);
        let start = clock::monotonic_ns();
        clock::spin_ns(200_000_000);
        let end = clock::monotonic_ns();
        clock::sleep_ns(20_000_000);
        let books = sampler.stop().unwrap().between(pid, start, end).unwrap();
        let spun = books.running_ns + books.runnable_ns;
        assert!(spun > 150_000_000, "{books:?}");
    }
}
