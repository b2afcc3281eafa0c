//! Requests: each is counted once and takes as long as the server itself says, and its parts add up.
//!
//! dwell attaches before the load begins, and its window ends after the load.

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use dwell_tests::document::Document;
use dwell_tests::document::requests::{Each, Service};
use dwell_tests::machine::Machine;
use dwell_tests::proc::favour;
use dwell_tests::requests::{
    Answers, Client, HTTP2, Latencies, Line, Questions, Served, Server, count, explain,
    no_connection_is_open, same, watch,
};
use dwell_tests::servers::{Nginx, Postgres, Redis};
use dwell_tests::tolerance::LATENCY;
use dwell_tests::{need_program, need_root};

const WORKLOAD: &str = env!("CARGO_BIN_EXE_workload");

const MODELS: [&str; 4] = ["threads", "pool", "loop", "handoff"];

/// No client is said to send before it has its answer. Where a server loses its CPU inside of the call that
/// sends, it looks as if one had.
fn clients_have_waited(service: &Service) -> Result<()> {
    let pipelined = service.sum(|group| group.pipelined);
    let most = service.count / 10_000;
    ensure!(pipelined <= most, "{pipelined} of {} are said to be pipelined", service.count);
    Ok(())
}

#[test]
fn every_request_of_redis_is_counted() -> Result<()> {
    const REQUESTS: u32 = 100_000;
    need_root!();
    need_program!("redis-server", "redis-benchmark");
    let _machine = Machine::take()?;
    let all = [1, 50, 500].map(|clients| (clients, Redis::start()));
    let all: Vec<(u32, Redis)> =
        all.into_iter().map(|(clients, redis)| Ok((clients, redis?))).collect::<Result<_>>()?;
    let pids: Vec<u32> = all.iter().map(|(_, redis)| redis.pid()).collect();
    let load =
        || all.iter().try_for_each(|(clients, redis)| redis.set_and_get(*clients, REQUESTS, 1));
    let (document, ()) = count(&pids, load)?;
    for (clients, redis) in &all {
        let check = || {
            let service = document.service_of(redis.pid())?;
            same("SET", service.count_of("SET"), REQUESTS.into())?;
            same("GET", service.count_of("GET"), REQUESTS.into())?;
            clients_have_waited(service)?;
            no_connection_is_open(&document, &service.address)
        };
        explain(&document, check()).with_context(|| format!("{clients} clients"))?;
    }
    Ok(())
}

/// What pgbench's own transaction consists of.
const STATEMENTS: [&str; 7] = [
    "BEGIN",
    "UPDATE pgbench_accounts",
    "SELECT pgbench_accounts",
    "UPDATE pgbench_tellers",
    "UPDATE pgbench_branches",
    "INSERT pgbench_history",
    "END",
];

#[test]
fn every_statement_of_pgbench_is_counted() -> Result<()> {
    need_root!();
    need_program!("initdb", "postgres", "pgbench", "pg_isready");
    let _machine = Machine::take()?;
    let postgres = Postgres::start()?;
    // Clients, and transactions of each.
    let loads = [(1, 600), (20, 30), (50, 12)];
    let clients: u64 = loads.iter().map(|(clients, _)| clients).sum();
    let transactions: u64 = loads.iter().map(|(clients, each)| clients * each).sum();
    for protocol in ["simple", "extended", "prepared"] {
        let load =
            || loads.iter().try_for_each(|&load| postgres.transactions(protocol, load, None));
        let (document, ()) = count(&[postgres.pid()], load)?;
        let check = || {
            // What is prepared is prepared once by each client.
            let is_prepared = protocol == "prepared";
            let by_text = if is_prepared { clients } else { transactions };
            for statement in STATEMENTS {
                same(statement, document.requests_for(statement), by_text)?;
            }
            let executed = executed(&document);
            let expected = if is_prepared { STATEMENTS.len() } else { 0 };
            ensure!(executed.len() == expected, "prepared statements: {executed:?}");
            for (statement, count) in executed {
                same(&statement, count, transactions)?;
            }
            same("open connections", document.connections_open(), 0)
        };
        explain(&document, check()).context(protocol)?;
    }
    Ok(())
}

/// How often each prepared statement was executed.
fn executed(document: &Document) -> HashMap<String, u64> {
    let groups = document.body.requests.services.iter().flat_map(|service| &service.groups);
    let groups = groups.filter(|group| group.label.text.starts_with("EXECUTE"));
    let mut all = HashMap::new();
    for group in groups {
        *all.entry(group.label.text.clone()).or_default() += group.count;
    }
    all
}

#[test]
fn every_request_of_nginx_is_counted() -> Result<()> {
    need_root!();
    need_program!("nginx", "wrk");
    let _machine = Machine::take()?;
    let all: Vec<Nginx> = (0..3).map(|_| Nginx::start()).collect::<Result<_>>()?;
    let pids: Vec<u32> = all.iter().flat_map(Nginx::processes).collect();
    let connections = [1, 50, 500];
    let wrk = |(nginx, connections): (&Nginx, u32)| nginx.wrk(connections, 1);
    let load = || all.iter().zip(connections).map(wrk).collect::<Result<Vec<u64>>>();
    let (document, answers) = count(&pids, load)?;
    for ((nginx, connections), answers) in all.iter().zip(connections).zip(answers) {
        let check = || {
            let service = document.service_at(nginx.port)?;
            let counted = service.count_of("GET /");
            // When wrk ends, each of its connections may have one more on its way.
            let most = answers + u64::from(connections);
            let right = (answers..=most).contains(&counted);
            ensure!(right, "dwell counted {counted}, wrk {answers}, and no more than {most}");
            no_connection_is_open(&document, &service.address)
        };
        explain(&document, check()).with_context(|| format!("{connections} connections"))?;
    }
    Ok(())
}

/// Between the head and the body of an answer.
const APART: Duration = Duration::from_millis(20);

/// Answers one question, in two pieces.
fn answer_in_pieces(mut stream: TcpStream) -> Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    let mut question = Vec::new();
    while !question.ends_with(b"\r\n\r\n") {
        let mut piece = [0; 1024];
        let length = stream.read(&mut piece)?;
        ensure!(length > 0, "no question");
        question.extend(&piece[..length]);
    }
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\n")?;
    thread::sleep(APART);
    Ok(stream.write_all(b"hello")?)
}

/// Asks so many questions, one after the other.
fn ask(port: u16, questions: u32) -> Result<()> {
    for _ in 0..questions {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        ensure!(answer.ends_with("hello"), "answered {answer:?}");
    }
    Ok(())
}

/// One thread of nginx has four requests at a time, and each of them waits for the body of its own answer: not behind the
/// others, and the head that has come before is no end of that.
#[test]
fn an_answer_in_two_pieces_is_waited_for_to_its_end() -> Result<()> {
    const CLIENTS: u32 = 4;
    const QUESTIONS: u32 = 25;
    need_root!();
    need_program!("nginx");
    let _machine = Machine::take()?;
    let backend = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let port = backend.local_addr()?.port();
    thread::spawn(move || {
        for stream in backend.incoming().flatten() {
            thread::spawn(move || answer_in_pieces(stream));
        }
    });
    let nginx = Nginx::before(port)?;
    let load = || {
        let clients: Vec<_> =
            (0..CLIENTS).map(|_| thread::spawn(move || ask(nginx.port, QUESTIONS))).collect();
        clients.into_iter().try_for_each(|client| client.join().map_err(|_| anyhow!("panicked"))?)
    };
    let (document, ()) = count(&nginx.processes(), load)?;
    let check = || {
        let service = document.service_at(nginx.port)?;
        ensure!(service.count_of("GET /") == u64::from(CLIENTS * QUESTIONS), "{}", service.count);
        let all = &service.sets.all;
        let part = |name: &str| all.parts_ns.get(name).copied().unwrap_or_default();
        ensure!(all.mean_ns >= APART.as_nanos() as u64, "{all:?}");
        ensure!(part("behind_others") < all.mean_ns / 10, "{all:?}");
        ensure!(part("peers") + part("poll") > all.mean_ns / 10 * 8, "{all:?}");
        Ok(())
    };
    explain(&document, check())
}

/// Counts what clients ask of servers, one after the other, against the notes of both.
fn counts_are_those_of(all: Vec<(Server, &str)>, requests: &str) -> Result<()> {
    let pids: Vec<u32> = all.iter().map(|(server, _)| server.pid()).collect();
    let drive = |(server, connections): &(Server, &str)| {
        let options = ["--connections", connections, "--threads", "2", "--requests", requests];
        let options = [&options[..], &["--path", "/items"]].concat();
        Client::start(WORKLOAD, server.place(), &options)?.drive()
    };
    let load = || all.iter().map(drive).collect::<Result<Vec<Questions>>>();
    let (document, questions) = count(&pids, load)?;
    for ((server, connections), questions) in all.into_iter().zip(questions) {
        let (pid, place) = (server.pid(), server.place().clone());
        let answers = server.end()?;
        let check = || {
            let service = document.service_of(pid)?;
            ensure!(questions.end.errors == 0, "{} errors", questions.end.errors);
            same("by the client", service.count_of("GET /items"), questions.end.requests)?;
            same("by the server", service.count, answers.end.requests)?;
            clients_have_waited(service)?;
            threads_are_those_of(service, &answers)?;
            no_connection_is_open(&document, &service.address)
        };
        let what = || format!("{connections} connections, {place:?}");
        explain(&document, check()).with_context(what)?;
    }
    Ok(())
}

/// Each thread has answered as many as it noted.
fn threads_are_those_of(service: &Service, answers: &Answers) -> Result<()> {
    let mut noted: HashMap<u32, u64> = HashMap::new();
    for row in &answers.requests {
        *noted.entry(row.tid).or_default() += 1;
    }
    // Those beyond the busiest share a row, with the requests of which the thread is not known.
    let (known, rest): (Vec<_>, Vec<_>) =
        service.servers.iter().partition(|server| server.tid != 0);
    let rest: u64 = rest.iter().map(|server| server.count).sum();
    for server in known {
        let expected = noted.get(&server.tid).copied().unwrap_or_default();
        let right = (expected.saturating_sub(rest)..=expected).contains(&server.count);
        ensure!(right, "thread {}: {} of {expected}, {rest} unknown", server.tid, server.count);
    }
    Ok(())
}

#[test]
fn every_request_by_unix_sockets_is_counted() -> Result<()> {
    need_root!();
    let _machine = Machine::take()?;
    let server = |connections| Ok((Server::unix(WORKLOAD, &["--model", "loop"])?, connections));
    let all = ["1", "50", "500"].into_iter().map(server).collect::<Result<_>>()?;
    counts_are_those_of(all, "20000")
}

#[test]
fn every_request_of_every_model_is_counted() -> Result<()> {
    need_root!();
    let _machine = Machine::take()?;
    let mut all = Vec::new();
    for model in MODELS {
        let options = ["--model", model];
        // As many connections as the pool has workers.
        all.push((Server::tcp(WORKLOAD, &options)?, "4"));
        all.push((Server::unix(WORKLOAD, &options)?, "4"));
    }
    counts_are_those_of(all, "8000")
}

#[test]
fn latencies_are_those_of_the_server() -> Result<()> {
    need_root!();
    let _machine = Machine::take()?;
    let mut all = Vec::new();
    for model in ["threads", "loop"] {
        // A loop serves one at a time: at this pace it has time left.
        for (plan, rate) in [("spin:200", "400"), ("sleep:2000", "200")] {
            let server = Server::tcp(WORKLOAD, &["--model", model, "--poll", "--plan", plan])?;
            // It is about the time between the server's clock and the kernel's end of a call.
            favour(server.pid())?;
            all.push((server, format!("{model}, {plan}"), rate));
        }
    }
    let pids: Vec<u32> = all.iter().map(|(server, ..)| server.pid()).collect();
    let drive = |(server, _, rate): &(Server, String, &str)| {
        let options = ["--connections", "2", "--requests", "500", "--rate", rate];
        Client::start(WORKLOAD, server.place(), &options)?.drive().map(drop)
    };
    let (seen, ()) = watch(&pids, &[], || all.iter().try_for_each(drive))?;
    let (mut off, mut requests) = (0, 0);
    for (server, what, _) in all {
        let pid = server.pid();
        let answers = server.end()?;
        let each: Vec<_> = seen.each.iter().filter(|row| row.pid == pid).cloned().collect();
        println!("{what}:");
        requests += each.len();
        off += explain(&seen.document, same_latencies(&each, &answers)).context(what)?;
    }
    ensure!(off * 1000 <= requests, "{off} of {requests} differ");
    Ok(())
}

/// The kernel gives data to a Unix socket without a lock that a reader would have to wait for.
#[test]
fn no_request_comes_before_it_was_sent() -> Result<()> {
    need_root!();
    let _machine = Machine::take()?;
    let options = ["--model", "loop"];
    let all = [Server::tcp(WORKLOAD, &options)?, Server::unix(WORKLOAD, &options)?];
    let drive = |server: &Server| {
        let options = ["--connections", "4", "--threads", "2", "--requests", "30000"];
        let options = [&options[..], &["--path", "/{n}"]].concat();
        Client::start(WORKLOAD, server.place(), &options)?.drive()
    };
    let load = || all.iter().map(drive).collect::<Result<Vec<Questions>>>();
    let (seen, questions) = watch(&all.each_ref().map(Server::pid), &[], load)?;
    for (server, questions) in all.into_iter().zip(questions) {
        let (pid, place) = (server.pid(), server.place().clone());
        let answers = server.end()?;
        let sent: HashMap<&str, u64> =
            questions.with(&answers)?.iter().map(|(row, _)| (&*row.path, row.sent_ns)).collect();
        let each: Vec<_> = seen.each.iter().filter(|row| row.pid == pid).cloned().collect();
        let check = || {
            let pairs = pairs(&each, &answers)?;
            let is_early =
                |(each, served): &&(&Each, &Served)| each.arrival_ns < sent[served.path.as_str()];
            let early: Vec<_> = pairs.iter().filter(is_early).collect();
            ensure!(early.is_empty(), "{} of {}, as {:?}", early.len(), pairs.len(), early[0]);
            Ok(())
        };
        explain(&seen.document, check()).with_context(|| format!("{place:?}"))?;
    }
    Ok(())
}

/// From the receipt to the last send, as the server has it and as dwell does: alike at the quantiles, of requests
/// whose calls took about their usual time. How many of all differ from what the server's clocks before and after
/// its calls allow.
fn same_latencies(each: &[Each], answers: &Answers) -> Result<usize> {
    let pairs = pairs(each, answers)?;
    // Of the others the server has lost its CPU in one of the calls, and cannot tell when that was over in the
    // kernel.
    let width = |served: &Served| served.bounds_ns().end() - served.bounds_ns().start();
    let usual = Latencies::of(pairs.iter().map(|(_, served)| width(served))).p50_ns();
    let knows = |(_, served): &&(&Each, &Served)| width(served) <= 2 * usual;
    let known: Vec<_> = pairs.iter().filter(knows).collect();
    let seen = Latencies::of(known.iter().map(|(each, _)| each.served_ns()));
    let noted = Latencies::of(known.iter().map(|(_, served)| served.latency_ns()));
    let is_off = |(each, served): &&(&Each, &Served)| {
        !LATENCY.holds_within(each.served_ns(), served.bounds_ns())
    };
    let off: Vec<_> = pairs.iter().filter(is_off).collect();
    for (each, served) in &off {
        println!("dwell {} ns, the server {:?} ns", each.served_ns(), served.bounds_ns());
    }
    let at = |share| (seen.at(share) as f64 / 1e3, noted.at(share) as f64 / 1e3);
    println!(
        "{} of {} differ; its calls took {} us; of {} known, p50 {:?} us, p99 {:?} us",
        off.len(),
        pairs.len(),
        usual as f64 / 1e3,
        known.len(),
        at(0.5),
        at(0.99)
    );
    ensure!(known.len() * 5 >= pairs.len() * 4, "{} of {} are known", known.len(), pairs.len());
    LATENCY.check("p50", seen.p50_ns(), noted.p50_ns())?;
    LATENCY.check("p99", seen.p99_ns(), noted.p99_ns())?;
    Ok(off.len())
}

/// Each request with what the server noted of it: connection by connection, in their order.
fn pairs<'a>(each: &'a [Each], answers: &'a Answers) -> Result<Vec<(&'a Each, &'a Served)>> {
    let seen = by_connection(each, |row| row.connection);
    let noted = by_connection(&answers.requests, |row| row.connection);
    ensure!(seen.len() == noted.len(), "{} connections of {}", seen.len(), noted.len());
    let mut pairs = Vec::new();
    for (seen, noted) in seen.into_iter().zip(noted) {
        ensure!(seen.len() == noted.len(), "{} requests of {}", seen.len(), noted.len());
        pairs.extend(seen.into_iter().zip(noted));
    }
    Ok(pairs)
}

/// The rows of each connection, in the order of the first of each.
fn by_connection<R, K: PartialEq>(rows: &[R], key: impl Fn(&R) -> K) -> Vec<Vec<&R>> {
    let mut all: Vec<(K, Vec<&R>)> = Vec::new();
    for row in rows {
        let key = key(row);
        match all.iter_mut().find(|(known, _)| *known == key) {
            Some((_, rows)) => rows.push(row),
            None => all.push((key, vec![row])),
        }
    }
    all.into_iter().map(|(_, rows)| rows).collect()
}

/// Descriptors, addresses of the kernel and ports are used again and again.
#[test]
fn connections_that_come_and_go() -> Result<()> {
    const CONNECTIONS: u64 = 2_000;
    const RUNS: u64 = 5;
    need_root!();
    let _machine = Machine::take()?;
    let options = ["--model", "pool"];
    let all = [Server::tcp(WORKLOAD, &options)?, Server::unix(WORKLOAD, &options)?];
    let come_and_go = |server: &Server| {
        for _ in 0..CONNECTIONS {
            Line::to(server.place())?.get("/once")?;
        }
        let options = ["--connections", "4", "--requests", "100", "--path", "/again"];
        for _ in 0..RUNS {
            Client::start(WORKLOAD, server.place(), &options)?.drive()?;
        }
        Ok(())
    };
    let pids = all.each_ref().map(Server::pid);
    let (seen, ()) = watch(&pids, &[], || all.iter().try_for_each(come_and_go))?;
    for server in all {
        let (pid, place) = (server.pid(), server.place().clone());
        let answers = server.end()?;
        let check = || {
            let service = seen.document.service_of(pid)?;
            same("one by each", service.count_of("GET /once"), CONNECTIONS)?;
            same("25 by each", service.count_of("GET /again"), 100 * RUNS)?;
            same("all", service.count, answers.end.requests)?;
            threads_are_those_of(service, &answers)?;
            no_connection_is_open(&seen.document, &service.address)
        };
        explain(&seen.document, check()).with_context(|| format!("{place:?}"))?;
    }
    Ok(())
}

/// dwell looks every two seconds for Unix sockets that their server has closed.
const SWEEP: Duration = Duration::from_secs(3);

/// What a client leaves behind when it goes is no part of the request of the next one, though that may
/// have the same address in the kernel.
#[test]
fn what_was_never_answered_is_forgotten() -> Result<()> {
    const TIMES: u64 = 20;
    need_root!();
    let _machine = Machine::take()?;
    let options = ["--model", "loop"];
    let all = [Server::tcp(WORKLOAD, &options)?, Server::unix(WORKLOAD, &options)?];
    let leave = |server: &Server| -> Result<()> {
        for number in 0..TIMES {
            for bytes in [&b"GET /half HTTP/1"[..], HTTP2] {
                Line::to(server.place())?.send(bytes)?;
                // It is received before the next one comes.
                thread::sleep(Duration::from_millis(5));
                // So many at once take up what has become free.
                let mut lines: Vec<Line> =
                    (0..=number % 4).map(|_| Line::to(server.place())).collect::<Result<_>>()?;
                lines.iter_mut().try_for_each(|line| line.get("/whole"))?;
            }
        }
        Ok(())
    };
    let pids = all.each_ref().map(Server::pid);
    let (seen, ()) = watch(&pids, &[], || {
        all.iter().try_for_each(leave)?;
        thread::sleep(SWEEP);
        Ok(())
    })?;
    for server in all {
        let (pid, place) = (server.pid(), server.place().clone());
        let answers = server.end()?;
        let each = || seen.each.iter().filter(|row| row.pid == pid);
        let check = || {
            let service = seen.document.service_of(pid)?;
            same("whole", service.count_of("GET /whole"), answers.end.requests)?;
            same("all", service.count, answers.end.requests)?;
            // The wait of 5 ms between two clients is no part of a request.
            let longest_ns = each().map(|row| row.latency_ns).max().unwrap_or_default();
            ensure!(longest_ns < 5_000_000, "a request took {longest_ns} ns");
            no_connection_is_open(&seen.document, &service.address)
        };
        explain(&seen.document, check()).with_context(|| format!("{place:?}"))?;
    }
    Ok(())
}
