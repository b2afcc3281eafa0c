//! What the threads of a server share, and what each of them does with a request.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Result;
use dwell_tests::clock::{monotonic_ns, sleep_ns, spin_cpu_ns, thread_cpu_ns};
use dwell_tests::requests::{Answered, Served, escape};
use tempfile::TempDir;

use super::super::Stage;
use super::super::disk::disk_folder;
use super::connection::Request;
use super::http::ANSWER;
use super::peers::Peers;
use super::plans::{Plan, is_turn};
use super::thread_id;

/// Longest wait for the answers of requests that came before the end.
const LAST_ANSWERS_NS: u64 = 20_000_000_000;
/// What a request appends to a file.
static RECORD: [u8; 4096] = [b'.'; 4096];
/// What the plan `lock` is about.
static LEDGER: Mutex<u64> = Mutex::new(0);

/// The server, as all its threads see it.
pub struct Service {
    plans: Vec<Plan>,
    /// To append to, where a plan does that.
    file: Option<(File, TempDir)>,
    is_logged: bool,
    /// Its threads wait with poll(2) before they read.
    pub polls: bool,
    is_ending: AtomicBool,
    connections: AtomicU32,
    /// Requests that came.
    admitted: AtomicU64,
    /// Those of them that are answered, or cannot be.
    finished: AtomicU64,
    answered: AtomicU64,
    failed_calls: AtomicU64,
    notes: Mutex<Vec<Notes>>,
}

/// What one thread has noted. Only that thread takes its mutex, until the end: nobody waits for it.
type Notes = Arc<Mutex<Vec<Served>>>;

/// One thread that serves requests.
pub struct Worker {
    service: Arc<Service>,
    number: usize,
    peers: Peers,
    notes: Notes,
}

impl Service {
    /// That serves each request by these steps.
    pub fn new(stage: &Stage, plans: Vec<Plan>, is_logged: bool, polls: bool) -> Result<Self> {
        let writes = plans.iter().any(|plan| matches!(plan, Plan::Fsync { .. }));
        Ok(Self {
            file: writes.then(|| new_file(stage)).transpose()?,
            plans,
            is_logged,
            polls,
            is_ending: AtomicBool::new(false),
            connections: AtomicU32::new(0),
            admitted: AtomicU64::new(0),
            finished: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            failed_calls: AtomicU64::new(0),
            notes: Mutex::default(),
        })
    }

    /// The number of a new connection, from 0.
    pub fn new_connection(&self) -> u32 {
        self.connections.fetch_add(1, Ordering::Relaxed)
    }

    /// The number of a new request, from 1; none once the server ends.
    pub fn admit(&self) -> Option<u64> {
        let number = self.admitted.fetch_add(1, Ordering::SeqCst) + 1;
        if self.is_ending.load(Ordering::SeqCst) {
            self.finished.fetch_add(1, Ordering::SeqCst);
            return None;
        }
        Some(number)
    }

    /// Admits no more requests, and waits until those that came are answered.
    pub fn end(&self) -> (Answered, Vec<Served>) {
        self.is_ending.store(true, Ordering::SeqCst);
        let deadline_ns = monotonic_ns() + LAST_ANSWERS_NS;
        while self.open() > 0 && monotonic_ns() < deadline_ns {
            sleep_ns(1_000_000);
        }
        let mut rows: Vec<Served> =
            lock(&self.notes).iter().flat_map(|notes| std::mem::take(&mut *lock(notes))).collect();
        rows.sort_by_key(|row| row.received_ns);
        let answered = Answered {
            requests: self.answered.load(Ordering::SeqCst),
            connections: self.connections.load(Ordering::SeqCst),
            failed_calls: self.failed_calls.load(Ordering::SeqCst),
        };
        (answered, rows)
    }

    /// Requests that are neither answered nor given up.
    fn open(&self) -> u64 {
        let finished = self.finished.load(Ordering::SeqCst);
        self.admitted.load(Ordering::SeqCst) - finished
    }

    fn ports(&self) -> impl Iterator<Item = u16> {
        let ports = |plan: &Plan| match plan {
            Plan::Calls { ports, .. } => ports.clone(),
            _ => Vec::new(),
        };
        self.plans.iter().flat_map(ports)
    }
}

impl Worker {
    /// Number 0 is the slow one, where one is. It is connected to the servers that it will call.
    pub fn new(service: &Arc<Service>, number: usize) -> Self {
        let notes = Notes::default();
        lock(&service.notes).push(notes.clone());
        let peers = Peers::new(service.ports());
        Self { service: service.clone(), number, peers, notes }
    }

    /// Does what is planned, sends the answer, and notes it.
    pub fn serve(&mut self, request: &Request) -> io::Result<()> {
        let service = self.service.clone();
        let (began_ns, cpu_ns) = (monotonic_ns(), thread_cpu_ns());
        let part_ns = service.plans.iter().map(|plan| self.step(plan, request)).sum();
        let sending_ns = monotonic_ns();
        let sent = request.stream.send(ANSWER);
        let sent_ns = monotonic_ns();
        if sent.is_ok() {
            let cpu_ns = thread_cpu_ns() - cpu_ns;
            self.note(request, (began_ns, sending_ns, sent_ns), (cpu_ns, part_ns));
            service.answered.fetch_add(1, Ordering::SeqCst);
        }
        service.finished.fetch_add(1, Ordering::SeqCst);
        sent
    }

    fn note(
        &self,
        request: &Request,
        (began_ns, sending_ns, sent_ns): (u64, u64, u64),
        (cpu_ns, part_ns): (u64, u64),
    ) {
        if !self.service.is_logged {
            return;
        }
        let &Request { reading_ns, received_ns, connection, .. } = request;
        let row = Served {
            reading_ns,
            received_ns,
            began_ns,
            sending_ns,
            sent_ns,
            cpu_ns,
            part_ns,
            connection,
            tid: thread_id(),
            path: escape(&request.path),
        };
        lock(&self.notes).push(row);
    }

    /// Wall time of what the step is about.
    fn step(&mut self, plan: &Plan, request: &Request) -> u64 {
        match *plan {
            Plan::Spin { ns } => timed(|| spin_cpu_ns(ns)),
            Plan::Sleep { ns } => timed(|| sleep_ns(ns)),
            Plan::Lock { hold_ns, every } => {
                take_ledger(if is_turn(request.number, every) { hold_ns } else { 0 })
            }
            Plan::Calls { ref ports, parallel } => timed(|| self.call(ports, parallel, request)),
            Plan::Fsync { every } if is_turn(request.number, every) => timed(|| self.append()),
            Plan::Uneven { ns, factor } => {
                timed(|| spin_cpu_ns(if self.number == 0 { ns * factor } else { ns }))
            }
            Plan::Slow { ns, every, sleeps } if is_slow(request, every) => {
                timed(|| if sleeps { sleep_ns(ns) } else { spin_cpu_ns(ns) })
            }
            Plan::Fsync { .. } | Plan::Slow { .. } => 0,
        }
    }

    fn call(&mut self, ports: &[u16], parallel: bool, request: &Request) {
        let failed = if parallel {
            self.peers.call_all(ports, &request.path)
        } else {
            self.peers.call(ports, &request.path)
        };
        self.service.failed_calls.fetch_add(failed, Ordering::SeqCst);
    }

    fn append(&self) {
        let Some((file, _)) = &self.service.file else { return };
        let mut writer = file;
        if let Err(error) = writer.write_all(&RECORD).and_then(|()| file.sync_all()) {
            eprintln!("workload: cannot append: {error}");
        }
    }
}

fn is_slow(request: &Request, every: Option<std::num::NonZeroU64>) -> bool {
    request.path == b"/slow" || every.is_some_and(|every| is_turn(request.number, every))
}

/// Wall time.
fn timed(work: impl FnOnce()) -> u64 {
    let start_ns = monotonic_ns();
    work();
    monotonic_ns() - start_ns
}

/// Takes the one mutex and holds it; how long it had to be waited for.
#[inline(never)]
fn take_ledger(hold_ns: u64) -> u64 {
    let start_ns = monotonic_ns();
    let mut ledger = lock(&LEDGER);
    let waited_ns = monotonic_ns() - start_ns;
    *ledger += 1;
    if hold_ns > 0 {
        sleep_ns(hold_ns);
    }
    waited_ns
}

/// Takes a mutex, whatever has become of who had it.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn new_file(stage: &Stage) -> Result<(File, TempDir)> {
    let folder = disk_folder(stage)?;
    let path = folder.path().join("journal");
    Ok((OpenOptions::new().append(true).create(true).open(path)?, folder))
}
