//! The servers and clients whose requests are known: no request is lost, and what both sides noted
//! is what was planned. Nobody profiles them here.

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use dwell_tests::requests::{Answers, Client, Place, Questions, Served, Server, send_hostile};

const WORKLOAD: &str = env!("CARGO_BIN_EXE_workload");

const MODELS: [&str; 4] = ["threads", "pool", "loop", "handoff"];

/// Lets a client send its requests, each with a path of its own.
fn drive(place: &Place, options: &[&str]) -> Result<Questions> {
    let options = [&["--path", "/{n}"], options].concat();
    Client::start(WORKLOAD, place, &options)?.drive()
}

/// Four connections, and two threads of the client.
fn drive_four(server: &Server, requests: &str) -> Result<Questions> {
    let options = ["--connections", "4", "--threads", "2", "--requests", requests];
    drive(server.place(), &options)
}

/// What both sides noted of each request is of the same one.
fn agree(questions: &Questions, answers: &Answers) -> Result<()> {
    let (asked, answered) = (questions.end.requests, answers.end.requests);
    ensure!(questions.end.errors == 0, "{} errors", questions.end.errors);
    ensure!(asked == answered, "{asked} were answered to the client, {answered} by the server");
    for (asked, served) in questions.with(answers)? {
        let is_inside = asked.sent_ns <= served.received_ns && served.latency_ns() > 0;
        ensure!(is_inside, "not the same one: {asked:?}, {served:?}");
    }
    Ok(())
}

#[test]
fn every_request_is_answered_once_and_noted_by_both() -> Result<()> {
    for model in MODELS {
        let options = ["--model", model, "--plan", "spin:20"];
        for server in [Server::tcp(WORKLOAD, &options)?, Server::unix(WORKLOAD, &options)?] {
            let questions = drive_four(&server, "400")?;
            let answers = server.end()?;
            agree(&questions, &answers).context(model)?;
            ensure!(answers.end.requests == 400 && answers.end.connections == 4, model);
            ensure!(answers.requests.iter().all(|row| row.cpu_ns >= 20_000), "{model}: no CPU");
        }
    }
    Ok(())
}

#[test]
fn who_answers_is_who_the_model_says() -> Result<()> {
    for (model, most) in [("threads", 4), ("pool", 4), ("loop", 1), ("handoff", 4)] {
        let server = Server::tcp(WORKLOAD, &["--model", model, "--workers", "4"])?;
        drive_four(&server, "400")?;
        let mut tids: Vec<u32> = server.end()?.requests.iter().map(|row| row.tid).collect();
        tids.sort_unstable();
        tids.dedup();
        ensure!((1..=most).contains(&tids.len()), "{model}: {} threads", tids.len());
        ensure!(model == "handoff" || tids.len() == most, "{model}: {} threads", tids.len());
    }
    Ok(())
}

#[test]
fn a_hold_is_waited_for_by_the_others() -> Result<()> {
    let server = Server::tcp(WORKLOAD, &["--plan", "lock:20000:100"])?;
    let questions = drive_four(&server, "400")?;
    let answers = server.end()?;
    agree(&questions, &answers)?;
    let slow = |row: &&Served| row.latency_ns() > 20_000_000;
    let holds = answers.requests.iter().filter(slow).filter(|row| row.part_ns < 1_000_000);
    ensure!(holds.count() >= 3, "four holds, of which few have to wait themselves");
    let waits = answers.requests.iter().filter(|row| row.part_ns > 10_000_000).count();
    ensure!((4..=12).contains(&waits), "{waits} waits for four holds, three others each");
    ensure!(answers.latencies().p50_ns() < 5_000_000, "the others have not waited");
    Ok(())
}

#[test]
fn calls_reach_every_peer_once() -> Result<()> {
    for plan in ["calls", "calls-parallel"] {
        let near = Server::tcp(WORKLOAD, &["--model", "loop", "--plan", "sleep:2000"])?;
        let far = Server::tcp(WORKLOAD, &["--plan", "sleep:3000"])?;
        let plan = format!("{plan}:{},{}", near.port()?, far.port()?);
        let server = Server::tcp(WORKLOAD, &["--model", "pool", "--plan", &plan])?;
        let questions = drive(server.place(), &["--requests", "50"])?;
        let (answers, near, far) = (server.end()?, near.end()?, far.end()?);
        agree(&questions, &answers).context(plan.clone())?;
        // They are asked for the same path.
        questions.with(&near)?;
        questions.with(&far)?;
        ensure!(near.end.requests == 50 && far.end.requests == 50, "each once");
        ensure!(answers.end.failed_calls == 0, "{} failed", answers.end.failed_calls);
        let least = if plan.starts_with("calls:") { 5_000_000 } else { 3_000_000 };
        ensure!(answers.requests.iter().all(|row| row.part_ns >= least), "{plan}: too short");
        let best = answers.requests.iter().map(|row| row.part_ns).min().unwrap_or_default();
        ensure!(plan.starts_with("calls:") || best < 5_000_000, "not at the same time: {best}");
    }
    Ok(())
}

#[test]
fn slow_requests_are_those_planned() -> Result<()> {
    for (plan, expected) in [
        ("sleep:2000", 200),
        ("fsync:20", 10),
        // Every 50th, and for one path every 40th: the 200th is both.
        ("slow:2000:50", 8),
        ("slow:2000:0", 5),
        ("slow:2000:0:sleep", 5),
    ] {
        let server = Server::tcp(WORKLOAD, &["--model", "handoff", "--plan", plan])?;
        let options = ["--requests", "200", "--path", "/", "--path-every", "40:/slow"];
        let questions = Client::start(WORKLOAD, server.place(), &options)?.drive()?;
        let answers = server.end()?;
        ensure!(questions.end.requests == 200 && answers.end.requests == 200, plan);
        let slow = answers.requests.iter().filter(|row| row.part_ns > 0).count();
        ensure!(slow == expected, "{plan}: {slow} slow ones");
    }
    Ok(())
}

#[test]
fn one_worker_is_slower_than_the_others() -> Result<()> {
    let server = Server::tcp(WORKLOAD, &["--model", "threads", "--plan", "uneven:100:5"])?;
    let questions = drive_four(&server, "200")?;
    let answers = server.end()?;
    agree(&questions, &answers)?;
    for connection in 0..4 {
        let own = answers.requests.iter().filter(|row| row.connection == connection);
        let mut cpu_ns: Vec<u64> = own.map(|row| row.cpu_ns).collect();
        cpu_ns.sort_unstable();
        ensure!(cpu_ns.len() >= 25, "{} requests on connection {connection}", cpu_ns.len());
        // What a hypervisor takes while a thread runs counts as its CPU time. It only ever adds to that, so none of
        // the slow worker's may be short; and it does not happen most of the time.
        let is_slow = match connection {
            0 => cpu_ns[0] >= 500_000,
            _ => cpu_ns[cpu_ns.len() / 2] >= 500_000,
        };
        ensure!(is_slow == (connection == 0), "connection {connection}: {cpu_ns:?} ns");
    }
    Ok(())
}

#[test]
fn a_pace_is_kept() -> Result<()> {
    let server = Server::tcp(WORKLOAD, &["--model", "loop"])?;
    let options = ["--requests", "200", "--rate", "400", "--connections", "8"];
    let questions = drive(server.place(), &options)?;
    agree(&questions, &server.end()?)?;
    let seconds = questions.end.seconds;
    ensure!((0.49..2.0).contains(&seconds), "200 requests in {seconds} s");
    ensure!(questions.requests.iter().all(|row| row.sent_ns >= row.due_ns), "one was early");
    Ok(())
}

#[test]
fn hostile_payloads_harm_no_server() -> Result<()> {
    for model in MODELS {
        let server = Server::unix(WORKLOAD, &["--model", model])?;
        send_hostile(WORKLOAD, server.place())?;
        let questions = drive_four(&server, "100")?;
        let answers = server.end()?;
        ensure!(questions.end.requests == 100 && questions.end.errors == 0, model);
        // Those of them that are whole are answered.
        ensure!(answers.end.requests == 162, "{model}: {} answers", answers.end.requests);
    }
    Ok(())
}

/// What the server says it has answered is what the client got.
#[test]
fn a_server_that_ends_loses_no_answer() -> Result<()> {
    for model in MODELS {
        let server = Server::tcp(WORKLOAD, &["--model", model, "--plan", "sleep:1000"])?;
        let options = ["--connections", "4", "--requests", "100000", "--path", "/{n}"];
        let client = Client::start(WORKLOAD, server.place(), &options)?;
        let client = thread::spawn(|| client.drive());
        thread::sleep(Duration::from_millis(300));
        let answers = server.end()?;
        let questions = client.join().map_err(|_| anyhow!("panicked"))??;
        let (asked, answered) = (questions.end.requests, answers.end.requests);
        ensure!(asked == answered && asked > 0, "{model}: {asked} of {answered} answers came");
        ensure!(asked + questions.end.errors == 100_000, "{model}: not all are accounted for");
        questions.with(&answers).context(model)?;
    }
    Ok(())
}
