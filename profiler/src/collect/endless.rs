//! A target that creates processes, threads and names without end.

use std::collections::HashMap;

use profiler_common::control::Loss;
use profiler_common::event::{Header, THREAD_EXIT, ThreadExit};
use profiler_common::state::State as S;
use profiler_common::thread::FLAG_ENDED;
use profiler_common::wait::{WaitKey, WaitStats};

use super::{Closing, Collector, Names, Outcome};
use crate::model::{Frame, Host, Nanos, Place, Profile, Target, TargetKind, Trust, Window};

/// Knows nothing.
struct Nobody;

impl Names for Nobody {
    fn user_stacks(&mut self, _stacks: &mut dyn Iterator<Item = (u32, u32, &[u64])>) {}
    fn user_stacks_done(&mut self) {}
    fn place(&mut self, _pid: u32, _address: u64) -> Place {
        Place::Unknown
    }
    fn words(&mut self, _pid: u32, _address: u64) -> Option<[u32; 3]> {
        None
    }
    fn listener(&mut self, _: &str) -> Option<String> {
        None
    }
    fn user_stack(&mut self, _: u32, _: u32, _: &[u64]) -> Vec<Frame> {
        Vec::new()
    }
    fn kernel_stack(&mut self, _: &[u64]) -> Vec<Frame> {
        Vec::new()
    }
    fn kernel_function(&mut self, _: u64) -> String {
        String::new()
    }
    fn file_path(&mut self, _: u32, _: u32, _: u64) -> Option<String> {
        None
    }
    fn syscall(&mut self, number: u16) -> String {
        number.to_string()
    }
    fn process(&mut self, _: u32) -> Option<String> {
        None
    }
    fn clean(&mut self, text: &[u8]) -> String {
        String::from_utf8_lossy(text).into_owned()
    }
}

const LIFE_NS: u64 = 1000;
const SLEEP_NS: u64 = 600;
const WINDOW_NS: u64 = 1_000_000_000;

/// The record of a thread that slept once, as the kernel writes it.
fn exit(serial: u32, pid: u32) -> Vec<u8> {
    let exit = dead(serial, pid);
    // SAFETY: the record is `#[repr(C)]` without padding, so every byte is initialised.
    unsafe {
        std::slice::from_raw_parts(std::ptr::from_ref(&exit).cast::<u8>(), size_of::<ThreadExit>())
    }
    .to_vec()
}

fn dead(serial: u32, pid: u32) -> ThreadExit {
    // SAFETY: integers only: zero is valid.
    let mut exit: ThreadExit = unsafe { std::mem::zeroed() };
    exit.header = Header { kind: THREAD_EXIT, reserved: 0 };
    exit.end_ns = WINDOW_NS / 2;
    let thread = &mut exit.thread;
    thread.born_ns = exit.end_ns - LIFE_NS;
    thread.totals_ns[S::Running as usize] = LIFE_NS - SLEEP_NS;
    thread.totals_ns[S::Sleep as usize] = SLEEP_NS;
    (thread.serial, thread.pid, thread.tid) = (serial, pid, pid);
    let name = format!("{:x}", u64::from(serial).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    thread.comm[..15].copy_from_slice(&format!("{name:0>15}").as_bytes()[..15]);
    exit
}

/// Its wait, for something that no other thread waits for.
fn wait(serial: u32) -> (WaitKey, Box<WaitStats>) {
    // SAFETY: integers only: zero is valid.
    let mut stats: Box<WaitStats> = unsafe { Box::new(std::mem::zeroed()) };
    (stats.count, stats.total_ns, stats.max_ns) = (1, SLEEP_NS, SLEEP_NS);
    stats.histogram[9] = 1;
    stats.wakers[0] =
        profiler_common::thread::Waker { tid: serial, cause: 1, count: 1, ..Default::default() };
    let key =
        WaitKey { serial, kind: S::Sleep as u8, object: u64::from(serial), ..Default::default() };
    (key, stats)
}

/// A profile of `threads` threads that came and went, each in the process that `pid` says.
fn profile(threads: u32, pid: impl Fn(u32) -> u32) -> Profile {
    let mut collector = Collector::new(Nanos(0));
    for serials in (1..=threads).collect::<Vec<u32>>().chunks(500) {
        serials.iter().for_each(|serial| collector.on_record(&exit(*serial, pid(*serial))));
        let waits: Vec<_> = serials.iter().map(|serial| wait(*serial)).collect();
        assert!(waits.iter().all(|(key, _)| collector.is_gone(key)));
        collector.take_over(waits);
    }
    collector.close(Nanos(WINDOW_NS), Closing::End, &[]);
    finish(collector)
}

fn finish(collector: Collector) -> Profile {
    collector.finish(Outcome {
        reasons: HashMap::new(),
        queues: Vec::new(),
        requests: Default::default(),
        window: Window { start: Nanos(0), end: Nanos(WINDOW_NS) },
        host: Host { name: String::new(), kernel: String::new(), cpus: 1 },
        target: Target { kind: TargetKind::Host, description: String::new(), children: true },
        cpu: Default::default(),
        stacks: &Default::default(),
        stack_origins: &Default::default(),
        named: &mut Default::default(),
        objects: Default::default(),
        untracked: Vec::new(),
        loss: Loss::default(),
        trust: Trust::default(),
        names: &mut Nobody,
    })
}

/// Nothing is missing, whatever was folded.
fn check(profile: &Profile, threads: u32) {
    let wall: Nanos = profile.threads.iter().map(|thread| thread.wall).sum();
    assert_eq!(wall, Nanos(u64::from(threads) * LIFE_NS));
    assert!(profile.threads.iter().all(|thread| thread.times.total() == thread.wall));
    let kept: u64 = profile.threads.iter().map(|thread| thread.folded).sum();
    assert_eq!(kept, u64::from(threads));
    let slept: Nanos = profile.waits.iter().map(|wait| wait.total).sum();
    assert_eq!(slept, Nanos(u64::from(threads) * SLEEP_NS));
    let waiters: u64 = profile.waits.iter().map(|wait| wait.threads).sum();
    assert_eq!(waiters, u64::from(threads));
    let woken: u64 = profile
        .waits
        .iter()
        .map(|wait| wait.wakers.iter().map(|waker| waker.count).sum::<u64>() + wait.other_wakers)
        .sum();
    assert_eq!(woken, u64::from(threads));
    // Of each process as well.
    for pid in [0, 1, 77, 25_000] {
        let threads = profile.threads.iter().filter(|thread| thread.pid.0 == pid);
        let blocked: u64 = threads.map(|thread| thread.folded * SLEEP_NS).sum();
        let waits = profile.waits.iter().filter(|wait| wait.pid.0 == pid);
        assert_eq!(waits.map(|wait| wait.total.0).sum::<u64>(), blocked, "process {pid}");
    }
}

#[test]
fn processes_without_end() {
    const THREADS: u32 = 100_000;
    let profile = profile(THREADS, |serial| serial);
    check(&profile, THREADS);
    assert!(profile.threads.len() <= 25_000, "{}", profile.threads.len());
    assert!(profile.waits.len() <= 57_000, "{}", profile.waits.len());
    assert!(profile.trust.lost_objects > 0 && profile.trust.lost_keys > 0);
}

#[test]
fn threads_without_end() {
    const THREADS: u32 = 100_000;
    let profile = profile(THREADS, |_| 77);
    check(&profile, THREADS);
    assert!(profile.threads.len() <= 25_000, "{}", profile.threads.len());
    assert!(profile.waits.len() <= 33_000, "{}", profile.waits.len());
    let longest = profile.waits.iter().map(|wait| wait.thread_groups.len().max(wait.wakers.len()));
    assert!(longest.max() <= Some(256));
}

/// The ring buffer was full when they ended, so their records stayed in the table of threads.
#[test]
fn the_dead_that_nobody_told_of_have_their_waits() {
    const THREADS: u32 = 100;
    let left = |serial| {
        let mut thread = dead(serial, serial % 10 + 1).thread;
        (thread.since_ns, thread.flags) = (WINDOW_NS / 2, FLAG_ENDED);
        thread
    };
    let threads: Vec<_> = (1..=THREADS).map(left).collect();
    for at in [Closing::End, Closing::Meanwhile] {
        let mut collector = Collector::new(Nanos(0));
        collector.meet(&threads, HashMap::new());
        (1..=THREADS).map(wait).for_each(|(key, stats)| collector.add_sums(&key, &stats));
        collector.close(Nanos(WINDOW_NS), at, &threads);
        check(&finish(collector), THREADS);
    }
}

#[test]
fn few_are_kept_apart() {
    let profile = profile(1000, |serial| serial % 10 + 1);
    check(&profile, 1000);
    assert_eq!((profile.threads.len(), profile.waits.len()), (1000, 1000));
    assert_eq!((profile.trust.lost_objects, profile.trust.lost_keys), (0, 0));
}
