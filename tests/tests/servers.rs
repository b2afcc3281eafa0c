//! Point 4: real servers.

use anyhow::{Result, ensure};
use dwell_tests::document::{Document, Wait};
use dwell_tests::dwell::observe;
use dwell_tests::machine::Machine;
use dwell_tests::servers::{Door, Postgres, Redis};
use dwell_tests::{books, need_program, need_root};

const WINDOW: &str = "3s";

/// Every wait for an Internet socket that is connected says to whom.
fn peers_are_named(document: &Document) -> Result<()> {
    let connected = |wait: &&Wait| {
        wait.kind == "socket"
            && wait.text("family").starts_with("inet")
            && wait.text("direction") != "accept"
    };
    for wait in document.body.waits.iter().filter(connected) {
        let peer = wait.text("peer");
        ensure!(peer.contains(':') && !peer.ends_with(":0"), "no peer in {:?}", wait.object);
    }
    Ok(())
}

fn names(document: &Document, pid: u32) -> impl Iterator<Item = &str> {
    let waits = document.body.waits.iter().filter(move |wait| wait.pid == pid);
    waits.flat_map(|wait| &wait.stack).map(String::as_str)
}

#[test]
fn every_backend_of_postgresql_is_covered() -> Result<()> {
    need_root!();
    need_program!("initdb", "postgres", "pgbench", "pg_isready");
    let _machine = Machine::take()?;
    let server = Postgres::start()?;
    let load = server.pgbench(Door::Tcp, 8, 30)?;
    let backends = server.backends();
    ensure!(backends.len() == 8, "eight clients, yet backends {backends:?}");
    let pids = [server.pid().to_string(), load.pid().to_string()];
    let document = observe(&["-p", &pids[0], "-p", &pids[1], "-d", WINDOW])?;
    books::check(&document)?;
    peers_are_named(&document)?;
    for backend in backends {
        let [thread] = document.threads_of(backend).collect::<Vec<_>>()[..] else {
            anyhow::bail!("backend {backend} has one thread, and one row");
        };
        ensure!(thread.running_ns > 0 && thread.blocked_total() > 0, "{thread:?}");
        // libc exports its names, and the innermost frame needs no walk.
        let named = names(&document, backend).any(|name| name.contains("epoll_wait"));
        ensure!(named, "no stack of backend {backend} names where it waits");
    }
    Ok(())
}

#[test]
fn backends_that_start_in_the_window_are_covered() -> Result<()> {
    need_root!();
    need_program!("initdb", "postgres", "pgbench", "pg_isready");
    let _machine = Machine::take()?;
    let server = Postgres::start()?;
    let dwell = dwell_tests::dwell::Dwell::attach_to(&[server.pid()])?;
    let load = server.pgbench(Door::Unix, 4, 30)?;
    let backends = server.backends();
    std::thread::sleep(std::time::Duration::from_secs(1));
    let document = dwell.interrupt()?.document()?;
    drop(load);
    books::check(&document)?;
    for backend in backends {
        ensure!(document.threads_of(backend).count() == 1, "backend {backend} is missing");
    }
    Ok(())
}

#[test]
fn redis_waits_in_its_event_loop() -> Result<()> {
    need_root!();
    need_program!("redis-server", "redis-benchmark");
    let _machine = Machine::take()?;
    let server = Redis::start()?;
    let _load = server.benchmark(10)?;
    let document = observe(&["-p", &server.pid().to_string(), "-d", WINDOW])?;
    books::check(&document)?;
    peers_are_named(&document)?;
    let loops = document.waits(server.pid(), "poll", |wait| wait.text("type") == "epoll");
    ensure!(loops.count() > 0, "{}", document.describe(server.pid()));
    Ok(())
}

#[test]
fn a_client_of_redis_names_its_server() -> Result<()> {
    need_root!();
    need_program!("redis-server", "redis-cli");
    let _machine = Machine::take()?;
    let server = Redis::start()?;
    let client = server.patient_client(0.05)?;
    let document = observe(&["-p", &client.pid().to_string(), "-d", WINDOW])?;
    books::check(&document)?;
    let peer = format!("127.0.0.1:{}", server.port);
    let waits = document.waits(client.pid(), "socket", |wait| {
        wait.text("peer") == peer && wait.text("role") == "client"
    });
    // It does nothing else: nearly the whole window.
    let most = document.body.window.duration_ns / 10 * 9;
    ensure!(waits.total_ns() > most, "{}", document.describe(client.pid()));
    let woken_by_server = waits.wakers().any(|waker| waker.comm.starts_with("redis-server"));
    let woken_by_network = waits.wakers().any(|waker| waker.cause == "network");
    ensure!(woken_by_server || woken_by_network, "{:?}", waits.wakers().collect::<Vec<_>>());
    Ok(())
}
