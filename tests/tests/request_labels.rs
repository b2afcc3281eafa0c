//! What requests ask for: safe to print, in the words of their protocol, and nothing of what they hold; and
//! connections whose requests cannot be told apart.

use anyhow::{Context, Result, ensure};
use dwell_tests::machine::Machine;
use dwell_tests::requests::{
    HTTP2, Line, Place, Seen, Server, count, explain, same, send_hostile, watch,
};
use dwell_tests::servers::{Memcached, Nginx, PYTHON, Postgres, PythonServer, Redis};
use dwell_tests::{need_program, need_root};

const WORKLOAD: &str = env!("CARGO_BIN_EXE_workload");

/// Most labels of one service, and letters of one, whatever is sent: what cannot be printed takes up
/// to four letters.
const MOST_LABELS: usize = 48;
const LONGEST_LABEL: usize = 4 * 96 + 8;

/// What no report may hold.
const SECRET: &str = "hunter2";

/// Every label can be printed, and there are not too many.
fn labels_are_safe(seen: &Seen) -> Result<()> {
    for service in &seen.document.body.requests.services {
        let labels = service.groups.len();
        ensure!(labels <= MOST_LABELS, "{labels} labels at {}", service.address);
    }
    let groups = seen.document.body.requests.services.iter().flat_map(|service| &service.groups);
    let labels = groups.map(|group| group.label.text.as_str());
    for label in labels.chain(seen.each.iter().map(|row| row.label.as_str())) {
        ensure!(label.chars().count() <= LONGEST_LABEL, "it is long: {label:?}");
        ensure!(label.chars().all(is_safe), "not safe to print: {label:?}");
    }
    // What is no text would not be a document, and what is escaped here would not be safe elsewhere.
    let escaped = seen.text.contains(r"\u00") || seen.text.contains('\x1b');
    ensure!(!escaped, "a control character in the document");
    Ok(())
}

/// Neither a control character nor one that hides or reorders others.
fn is_safe(letter: char) -> bool {
    let hides = matches!(letter, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    !letter.is_control() && !hides
}

#[test]
fn labels_of_hostile_requests_are_safe() -> Result<()> {
    need_root!();
    need_program!("nginx");
    let _machine = Machine::take()?;
    let nginx = Nginx::start()?;
    let servers = [Server::tcp(WORKLOAD, &[])?, Server::unix(WORKLOAD, &["--model", "loop"])?];
    let places = servers.each_ref().map(|server| server.place().clone());
    let places = [&places[..], &[Place::Tcp(nginx.port)]].concat();
    let load = || {
        for place in &places {
            send_hostile(WORKLOAD, place)?;
            Line::to(place)?.get("/still/there")?;
        }
        Ok(())
    };
    let pids = [&servers.each_ref().map(Server::pid)[..], &nginx.processes()].concat();
    let (seen, ()) = watch(&pids, &[], load)?;
    let check = || {
        labels_are_safe(&seen)?;
        let services = &seen.document.body.requests.services;
        ensure!(services.len() == places.len(), "{} services", services.len());
        for service in services {
            let answered = service.count_of("GET /still/there");
            same("after them", answered, 1).with_context(|| service.address.clone())?;
        }
        Ok(())
    };
    explain(&seen.document, check())
}

#[test]
fn ids_of_a_path_are_folded() -> Result<()> {
    need_root!();
    let _machine = Machine::take()?;
    let server = Server::tcp(WORKLOAD, &["--model", "loop"])?;
    let (pid, place) = (server.pid(), server.place().clone());
    let hash = "c0ffee".repeat(8);
    let load = || {
        for number in 0..20 {
            let mut line = Line::to(&place)?;
            line.get(&format!("/user/{number}/cart?x={number}"))?;
            line.get("/v2/items")?;
            line.get(&format!("/blob/{hash}"))?;
            line.get(&format!("/order/{number:08x}-6dbc-11ee#{number}"))?;
        }
        Ok(())
    };
    let (seen, ()) = watch(&[pid], &[], load)?;
    let check = || {
        let service = seen.document.service_of(pid)?;
        let labels = ["/user/:id/cart", "/v2/items", "/blob/:id", "/order/:id"];
        for label in labels {
            same(label, service.count_of(&format!("GET {label}")), 20)?;
        }
        same("labels", service.groups.len() as u64, labels.len() as u64)
    };
    explain(&seen.document, check())
}

#[test]
fn without_labels_requests_go_by_address() -> Result<()> {
    need_root!();
    let _machine = Machine::take()?;
    let server = Server::tcp(WORKLOAD, &["--model", "loop"])?;
    let (pid, place) = (server.pid(), server.place().clone());
    let load = || {
        let mut line = Line::to(&place)?;
        ["/a", "/b", "/login?password=hunter2"].iter().try_for_each(|path| line.get(path))
    };
    let (seen, ()) = watch(&[pid], &["--no-labels"], load)?;
    let check = || {
        let service = seen.document.service_of(pid)?;
        let [group] = &service.groups[..] else { anyhow::bail!("more than one label") };
        same("all", group.count, 3)?;
        ensure!(group.label.text.is_empty() && group.label.protocol == "unknown", "{group:?}");
        ensure!(!seen.text.contains("/a"), "a path");
        Ok(())
    };
    explain(&seen.document, check())
}

#[test]
fn what_requests_hold_is_not_shown() -> Result<()> {
    need_root!();
    need_program!("redis-server", "initdb", "postgres", "pgbench", "pg_isready");
    let _machine = Machine::take()?;
    let server = Server::tcp(WORKLOAD, &[])?;
    let redis = Redis::start()?;
    let postgres = Postgres::start()?;
    let statement = format!("SELECT oid FROM pg_class WHERE relname = '{SECRET}';\n");
    let set = format!("*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n${}\r\n{SECRET}\r\n", SECRET.len());
    let load = || {
        let mut line = Line::to(server.place())?;
        line.get(&format!("/login?password={SECRET}"))?;
        line.get(&format!("/login;session={SECRET}"))?;
        let mut line = Line::to(&Place::Tcp(redis.port))?;
        line.ask(set.as_bytes())?;
        line.ask(format!("SET key {SECRET}\r\n").as_bytes())?;
        line.ask(format!("set key {SECRET}\r\n").as_bytes())?;
        for protocol in ["simple", "extended", "prepared"] {
            postgres.transactions(protocol, (2, 5), Some(&statement))?;
        }
        Ok(())
    };
    let pids = [server.pid(), redis.pid(), postgres.pid()];
    let (seen, ()) = watch(&pids, &[], load)?;
    let check = || {
        same("of HTTP", seen.document.requests_for("GET /login"), 2)?;
        same("of Redis", seen.document.service_of(redis.pid())?.count, 3)?;
        same("SET", seen.document.requests_for("SET"), 1)?;
        // Each of two clients prepares it once.
        same("of PostgreSQL", seen.document.requests_for("SELECT pg_class"), 22)?;
        let shown = seen.text.lines().find(|line| line.contains(SECRET));
        ensure!(shown.is_none(), "{}", shown.unwrap_or_default());
        Ok(())
    };
    explain(&seen.document, check())
}

/// A packet of MySQL that holds a statement.
fn packet(statement: &str) -> Vec<u8> {
    let length = (statement.len() + 1) as u32;
    let mut bytes = length.to_le_bytes().to_vec();
    bytes[3] = 0;
    bytes.push(3);
    bytes.extend(statement.bytes());
    bytes
}

/// MySQL's server receives the header of a packet first, and then the rest (seen of MariaDB 10.11, by hand).
#[test]
fn statements_of_mysql_are_named() -> Result<()> {
    need_root!();
    need_program!(PYTHON);
    let _machine = Machine::take()?;
    // Both ways: in two pieces, and at once.
    let servers =
        [PythonServer::start("p.recv(4), p.recv(999)")?, PythonServer::start("p.recv(999)")?];
    let load = || {
        for server in &servers {
            let mut line = Line::to(&Place::Tcp(server.port))?;
            for _ in 0..10 {
                line.ask(&packet(&format!("SELECT a FROM people WHERE name = \"{SECRET}\"")))?;
                line.ask(&packet(&format!("insert into t2 values (7, '{SECRET}')")))?;
            }
        }
        Ok(())
    };
    let (seen, ()) = watch(&servers.each_ref().map(PythonServer::pid), &[], load)?;
    let check = || {
        for server in &servers {
            let service = seen.document.service_of(server.pid())?;
            same("SELECT", service.count_of("SELECT people"), 10)?;
            same("INSERT", service.count_of("INSERT t2"), 10)?;
            same("labels", service.groups.len() as u64, 2)?;
        }
        ensure!(!seen.text.contains(SECRET), "a value is shown");
        Ok(())
    };
    explain(&seen.document, check())
}

/// A message of PostgreSQL.
fn message(kind: u8, body: &str) -> Vec<u8> {
    let length = (4 + body.len()) as u32;
    [&[kind], &length.to_be_bytes()[..], body.as_bytes()].concat()
}

/// The probes know a statement again by what comes before its first value; these are alike, but not the same.
#[test]
fn statements_of_postgresql_on_one_connection_are_told_apart() -> Result<()> {
    need_root!();
    need_program!(PYTHON);
    let _machine = Machine::take()?;
    let server = PythonServer::start("p.recv(999)")?;
    let simple = |text: &str| message(b'Q', &format!("{text}\0"));
    let mut longer_than_it_is = simple("SELECT 6 FROM people");
    longer_than_it_is[4] += 1;
    let requests = [
        simple("SELECT a FROM people WHERE id = 1"),
        simple("SELECT a FROM people WHERE id = 22222"),
        simple("SELECT a FROM places WHERE id = 1"),
        simple("SELECT a FROM people WHERE id = '3'"),
        simple("SELECT 4 FROM people"),
        simple("SELECT x FROM people"),
        simple("SELECT 5 FROM places"),
        message(b'P', "\0INSERT INTO people VALUES ($1)\0\0\0"),
        simple("SELECT 6 FROM people"),
        longer_than_it_is,
    ];
    let load = || {
        let mut line = Line::to(&Place::Tcp(server.port))?;
        for request in requests.iter().cycle().take(10 * requests.len()) {
            line.ask(request)?;
        }
        Ok(())
    };
    let (seen, ()) = watch(&[server.pid()], &[], load)?;
    let check = || {
        let service = seen.document.service_of(server.pid())?;
        same("of people", service.count_of("SELECT people"), 40)?;
        same("of places", service.count_of("SELECT places"), 10)?;
        same("whose table comes after the value", service.count_of("SELECT"), 30)?;
        same("INSERT", service.count_of("INSERT people"), 10)?;
        same("not whole", service.count_of(""), 10)?;
        same("labels", service.groups.len() as u64, 5)
    };
    explain(&seen.document, check())
}

#[test]
fn commands_of_memcached_are_named() -> Result<()> {
    need_root!();
    need_program!("memcached");
    let _machine = Machine::take()?;
    let memcached = Memcached::start()?;
    let load = || {
        let mut line = Line::to(&Place::Tcp(memcached.port))?;
        for _ in 0..10 {
            line.ask(format!("set key 0 0 {}\r\n{SECRET}\r\n", SECRET.len()).as_bytes())?;
            line.ask(b"get key\r\n")?;
        }
        // A word of no protocol.
        line.ask(format!("{SECRET}\r\n").as_bytes()).map(drop)
    };
    let (seen, ()) = watch(&[memcached.pid()], &[], load)?;
    let check = || {
        let service = seen.document.service_of(memcached.pid())?;
        same("set", service.count_of("set"), 10)?;
        same("get", service.count_of("get"), 10)?;
        same("all", service.count, 21)?;
        ensure!(!seen.text.contains(SECRET), "a value is shown");
        Ok(())
    };
    explain(&seen.document, check())
}

/// A connection of HTTP/2: the preface, then frames.
struct Http2(Line);

impl Http2 {
    fn to(port: u16) -> Result<Self> {
        let mut line = Line::to(&Place::Tcp(port))?;
        line.ask(HTTP2)?;
        Ok(Self(line))
    }

    /// `GET /` as a stream with an odd number: method, scheme and path are in the static table.
    fn get(&mut self, stream: u8) -> Result<()> {
        let head = [0, 0, 6, 1, 5, 0, 0, 0, stream];
        let fields = [0x82, 0x86, 0x84, 0x41, 1, b'x'];
        self.0.ask(&[&head[..], &fields[..]].concat()).map(drop)
    }
}

#[test]
fn http2_is_multiplexed_and_not_counted() -> Result<()> {
    need_root!();
    need_program!("nginx");
    let _machine = Machine::take()?;
    let nginx = Nginx::start()?;
    let mut kept = None;
    let load = || {
        let mut http2 = Http2::to(nginx.http2_port)?;
        (0..20).try_for_each(|number| http2.get(2 * number + 1))?;
        kept = Some(http2);
        Line::to(&Place::Tcp(nginx.port))?.get("/one")
    };
    let (seen, ()) = watch(&nginx.processes(), &[], load)?;
    let check = || {
        let counted: u64 = seen.document.body.requests.services.iter().map(|row| row.count).sum();
        same("of HTTP/1", seen.document.requests_for("GET /one"), 1)?;
        same("requests", counted, 1)?;
        let multiplexed = seen.document.body.queues.iter().map(|load| load.multiplexed).sum();
        same("multiplexed connections", multiplexed, 1)?;
        same("open connections", seen.document.connections_open(), 1)
    };
    explain(&seen.document, check())
}

#[test]
fn pipelined_requests_are_said_to_be() -> Result<()> {
    const REQUESTS: u32 = 20_000;
    need_root!();
    need_program!("redis-server", "redis-benchmark");
    let _machine = Machine::take()?;
    let redis = Redis::start()?;
    let load = || redis.set_and_get(20, REQUESTS, 16);
    let (document, ()) = count(&[redis.pid()], load)?;
    let check = || {
        let service = document.service_of(redis.pid())?;
        for label in ["SET", "GET"] {
            let counted = service.count_of(label);
            ensure!(counted <= u64::from(REQUESTS), "{label}: {counted} of {REQUESTS}");
            let groups = service.groups.iter().filter(|group| group.label.text == label);
            let pipelined: u64 = groups.map(|group| group.pipelined).sum();
            ensure!(counted > 0, "no {label}");
            // Sixteen at a time, all of them.
            ensure!(pipelined * 10 >= counted * 9, "{label}: {pipelined} of {counted} pipelined");
        }
        Ok(())
    };
    explain(&document, check())
}
