//! What each process of the demo does.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::{CLIENTS, DOWNSTREAM_MS, WORKERS};

/// Length of every message.
const MESSAGE: usize = 16;

/// Answers every message a little later. Prints its port first.
///
/// # Errors
/// When it cannot listen.
pub fn downstream(life: Duration) -> Result<()> {
    settle(c"demo-backend", life);
    let listener = listen()?;
    for connection in listener.incoming() {
        let connection = connection.context("cannot accept")?;
        thread::spawn(move || {
            answer(connection, || thread::sleep(Duration::from_millis(DOWNSTREAM_MS)))
        });
    }
    Ok(())
}

/// Serves requests with [`WORKERS`] threads, all of which need the one downstream connection.
/// Prints its port first.
///
/// # Errors
/// When it cannot listen, or reach the downstream.
pub fn serve(downstream_port: u16, life: Duration) -> Result<()> {
    settle(c"demo-server", life);
    let downstream = Arc::new(Mutex::new(connect(downstream_port)?));
    let listener = Arc::new(listen()?);
    let workers: Vec<_> = (1..=WORKERS)
        .map(|number| {
            let (listener, downstream) = (Arc::clone(&listener), Arc::clone(&downstream));
            thread::Builder::new()
                .name(format!("worker-{number}"))
                .spawn(move || work(&listener, &downstream))
        })
        .collect::<Result<_, _>>()
        .context("cannot start the workers")?;
    for worker in workers {
        // A worker ends with its listener only.
        let _ended = worker.join();
    }
    Ok(())
}

fn work(listener: &TcpListener, downstream: &Mutex<TcpStream>) {
    while let Ok((connection, _)) = listener.accept() {
        answer(connection, || handle_request(downstream));
    }
}

/// The known problem: the lock is held across the call.
#[inline(never)]
fn handle_request(downstream: &Mutex<TcpStream>) {
    let mut connection = downstream.lock().unwrap_or_else(PoisonError::into_inner);
    call_downstream(&mut connection);
}

#[inline(never)]
fn call_downstream(connection: &mut TcpStream) {
    let mut message = [0; MESSAGE];
    // Without an answer the request is answered all the same: the demo is ending.
    let _ending = connection.write_all(&message).and_then(|()| connection.read_exact(&mut message));
}

/// Answers each message on a connection after `meanwhile`.
fn answer(mut connection: TcpStream, meanwhile: impl Fn()) {
    let _slow = connection.set_nodelay(true);
    let mut message = [0; MESSAGE];
    while connection.read_exact(&mut message).is_ok() {
        meanwhile();
        if connection.write_all(&message).is_err() {
            return;
        }
    }
}

/// Loads the server with [`CLIENTS`] connections, one request at a time each.
///
/// # Errors
/// When the server cannot be reached.
pub fn load(server_port: u16, life: Duration) -> Result<()> {
    settle(c"demo-client", life);
    let clients = (0..CLIENTS)
        .map(|_| connect(server_port).map(|connection| thread::spawn(move || ask(connection))))
        .collect::<Result<Vec<_>>>()?;
    for client in clients {
        let _ended = client.join();
    }
    Ok(())
}

fn ask(mut connection: TcpStream) {
    let mut message = [0; MESSAGE];
    while connection.write_all(&message).is_ok() && connection.read_exact(&mut message).is_ok() {
        thread::sleep(Duration::from_millis(2));
    }
}

fn listen() -> Result<TcpListener> {
    let listener =
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("cannot listen on 127.0.0.1")?;
    println!("{}", listener.local_addr().context("no local address")?.port());
    Ok(listener)
}

fn connect(port: u16) -> Result<TcpStream> {
    let connection = TcpStream::connect((Ipv4Addr::LOCALHOST, port))
        .with_context(|| format!("cannot connect to 127.0.0.1:{port}"))?;
    connection.set_nodelay(true).context("cannot set TCP_NODELAY")?;
    Ok(connection)
}

/// Names the process; ends it after `life`, or as soon as the one that started it is gone.
fn settle(name: &std::ffi::CStr, life: Duration) {
    // SAFETY: the name outlives the call; the other call passes no pointers.
    unsafe {
        libc::prctl(libc::PR_SET_NAME, name.as_ptr());
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
    }
    let end = Instant::now() + life;
    thread::spawn(move || {
        thread::sleep(end.saturating_duration_since(Instant::now()));
        std::process::exit(0);
    });
}
