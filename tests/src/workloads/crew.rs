//! Named threads that begin together.

use std::io::{self, Read, Write, pipe};
use std::thread;

use anyhow::{Context, Result, anyhow};
use serde_json::Value;

use super::Stage;
use super::stage::Running;
use super::system::thread_id;

/// What one thread is to do; it is told when to end (CLOCK_MONOTONIC).
pub struct Member<'a, T> {
    name: String,
    work: Box<dyn FnOnce(u64) -> io::Result<T> + Send + 'a>,
}

/// What one thread has done.
pub struct Done<T> {
    pub tid: u32,
    pub result: T,
}

impl<'a, T> Member<'a, T> {
    pub fn new(
        name: impl Into<String>,
        work: impl FnOnce(u64) -> io::Result<T> + Send + 'a,
    ) -> Self {
        Self { name: name.into(), work: Box::new(work) }
    }
}

/// Lets all of them work from the beginning of the stage on, and waits for them.
///
/// They exist before `ready`, and wait for their go in a pipe: the only futexes that they wait for
/// are those of their work.
pub fn run<'a, T: Send + 'a>(
    stage: Stage,
    members: Vec<Member<'a, T>>,
) -> Result<(Running, Vec<Done<T>>)> {
    let (reader, mut writer) = pipe()?;
    thread::scope(|scope| {
        let reader = &reader;
        let start = |Member { name, work }: Member<'a, T>| {
            let work = work_of(reader, work);
            Ok((name.clone(), thread::Builder::new().name(name).spawn_scoped(scope, work)?))
        };
        let started: Vec<_> = members.into_iter().map(start).collect::<io::Result<_>>()?;
        let running = stage.begin()?;
        for _ in &started {
            writer.write_all(&running.deadline_ns().to_ne_bytes())?;
        }
        let joined = started.into_iter().map(|(name, thread)| {
            let done = thread.join().map_err(|_| anyhow!("{name} panicked"))?;
            done.with_context(|| format!("{name} failed"))
        });
        let done = joined.collect::<Result<_>>()?;
        Ok((running, done))
    })
}

fn work_of<'a, T: 'a>(
    mut go: impl Read + Send + 'a,
    work: Box<dyn FnOnce(u64) -> io::Result<T> + Send + 'a>,
) -> impl FnOnce() -> io::Result<Done<T>> + Send + 'a {
    move || {
        let mut deadline = [0; 8];
        go.read_exact(&mut deadline)?;
        let result = work(u64::from_ne_bytes(deadline))?;
        Ok(Done { tid: thread_id(), result })
    }
}

/// An address, as dwell writes it.
pub fn hexadecimal(address: usize) -> Value {
    Value::String(format!("{address:#x}"))
}
