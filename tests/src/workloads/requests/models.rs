//! How a server spreads its connections over threads.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::thread;

use clap::ValueEnum;
use dwell_tests::clock::sleep_ns;

use super::connection::{Connection, Request};
use super::handoff;
use super::poll::Epoll;
use super::service::{Service, Worker};
use super::stream::Listener;

/// Pause after a connection that could not be accepted.
const PAUSE_NS: u64 = 10_000_000;
/// Stands for the listener among connections.
const LISTENER: u64 = u64::MAX;
/// Least stack of a thread that there may be many of, in bytes.
const STACK: usize = 256 * 1024;

/// Which threads do what.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq)]
pub enum Model {
    /// A thread for each connection.
    Threads,
    /// Each worker accepts a connection, and serves it until it closes. More connections than
    /// workers have to wait for that.
    Pool,
    /// One thread for all connections.
    Loop,
    /// One thread receives, workers answer.
    Handoff,
}

/// Starts all threads, which end with the process.
pub fn start(
    model: Model,
    workers: usize,
    listener: Arc<Listener>,
    service: &Arc<Service>,
) -> io::Result<()> {
    match model {
        Model::Threads => start_threads(listener, service.clone()),
        Model::Pool => start_pool(workers, &listener, service),
        Model::Loop => {
            let mut worker = Worker::new(service, 0);
            let serve = move |request| worker.serve(&request);
            start_loop("loop", listener, service.clone(), serve)
        }
        Model::Handoff => {
            let queue = handoff::start(workers, service)?;
            let hand_over = move |request| {
                queue.put(request);
                Ok(())
            };
            start_loop("receiver", listener, service.clone(), hand_over)
        }
    }
}

fn start_threads(listener: Arc<Listener>, service: Arc<Service>) -> io::Result<()> {
    spawn("acceptor".to_owned(), move || {
        loop {
            let connection = accept(&listener, &service);
            let mut worker = Worker::new(&service, connection.number as usize);
            let name = format!("connection-{}", connection.number);
            let service = service.clone();
            let started = spawn(name, move || serve_to_end(connection, &mut worker, &service));
            if let Err(error) = started {
                eprintln!("workload: no thread for a connection: {error}");
            }
        }
    })
}

fn start_pool(workers: usize, listener: &Arc<Listener>, service: &Arc<Service>) -> io::Result<()> {
    for number in 0..workers {
        let mut worker = Worker::new(service, number);
        let (listener, service) = (listener.clone(), service.clone());
        spawn(format!("worker-{number}"), move || {
            loop {
                serve_to_end(accept(&listener, &service), &mut worker, &service);
            }
        })?;
    }
    Ok(())
}

fn serve_to_end(mut connection: Connection, worker: &mut Worker, service: &Service) {
    while connection.receive(service, |request| worker.serve(&request)).is_ok() {}
}

/// The next connection, however long it takes.
fn accept(listener: &Listener, service: &Service) -> Connection {
    loop {
        match Connection::accept(listener, service) {
            Ok(connection) => return connection,
            // Who connected is gone, or there are too many.
            Err(_) => sleep_ns(PAUSE_NS),
        }
    }
}

/// One thread receives by all connections; one by which `serve` fails is closed.
fn start_loop(
    name: &str,
    listener: Arc<Listener>,
    service: Arc<Service>,
    mut serve: impl FnMut(Request) -> io::Result<()> + Send + 'static,
) -> io::Result<()> {
    listener.never_block()?;
    let epoll = Epoll::new()?;
    epoll.add(&*listener, LISTENER)?;
    let mut all = Connections { epoll, listener, service, open: HashMap::new() };
    spawn(name.to_owned(), move || {
        let mut ready = Vec::new();
        while all.epoll.wait(&mut ready).is_ok() {
            for &token in &ready {
                match token {
                    LISTENER => all.accept(),
                    token => all.serve(token, &mut serve),
                }
            }
        }
    })
}

/// Those of a loop.
struct Connections {
    epoll: Epoll,
    listener: Arc<Listener>,
    service: Arc<Service>,
    open: HashMap<u64, Connection>,
}

impl Connections {
    /// Those that have come.
    fn accept(&mut self) {
        loop {
            match Connection::accept(&self.listener, &self.service) {
                Ok(connection) => self.add(connection),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => return sleep_ns(PAUSE_NS),
            }
        }
    }

    /// One that cannot be waited for is closed.
    fn add(&mut self, connection: Connection) {
        let token = u64::from(connection.number);
        let stream = &*connection.stream;
        if stream.never_block().and_then(|()| self.epoll.add(stream, token)).is_ok() {
            self.open.insert(token, connection);
        }
    }

    fn serve(&mut self, token: u64, serve: &mut impl FnMut(Request) -> io::Result<()>) {
        let Some(connection) = self.open.get_mut(&token) else { return };
        match connection.receive(&self.service, serve) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => self.close(token),
        }
    }

    fn close(&mut self, token: u64) {
        if let Some(connection) = self.open.remove(&token) {
            // A request of it may still be with a worker, and keep it open.
            let _gone = self.epoll.remove(&*connection.stream);
        }
    }
}

/// Starts a thread with a name.
pub fn spawn(name: String, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new().name(name).stack_size(STACK).spawn(work).map(drop)
}
