//! Timelines of requests, read by what they are for, show what the servers have noted and the document says.

use std::cmp::Reverse;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use dwell_tests::lines::Lines;
use dwell_tests::machine::Machine;
use dwell_tests::proc::favour;
use dwell_tests::process::Bounded;
use dwell_tests::recording::{Folder, record, replay};
use dwell_tests::requests::{Answers, Client, Served, Server};
use dwell_tests::timeline::{FirefoxProfiler, Shown, Timeline};
use dwell_tests::tolerance::{BUDGET, TRUTH};
use dwell_tests::workload::Workload;
use dwell_tests::{dwell, need, need_python, need_root};
use serde_json::Value;

const WORKLOAD: &str = env!("CARGO_BIN_EXE_workload");
const NO_PROFILER: &str = "needs target/node, which `cargo xtask test` makes";
const TMP: &str = env!("CARGO_TARGET_TMPDIR");

/// One request of 50 holds the lock for 20 ms.
const HOLD_NS: u64 = 20_000_000;
const HOLDERS: [&str; 4] = ["--model", "threads", "--plan", "lock:20000:50"];
/// Longest time to attach, or to end.
const PATIENCE: Duration = Duration::from_secs(30);

/// What waiting for a lock is called.
const LOCK: &str = "lock or condition (futex)";

/// What the time of the day, and an instant of it in milliseconds, may be wrong by.
const CLOCK_NS: u64 = 20_000;
/// From the server's last look at its clock to the end of its send: then it can lose its CPU.
const SENT_NS: u64 = 200_000;

/// Exports what these options name.
fn export(format: &str, options: &[&str], file: &Path) -> Result<()> {
    let mut command = dwell::command()?;
    command.args(["export", "--format", format]).args(options);
    let output = command.arg("-o").arg(file).stdin(Stdio::null()).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{format}: {}: {said}", output.status);
    Ok(())
}

/// Exports a server's life while a load lasts. What had come before dwell would have parts that it knows nothing of.
fn export_live(format: &str, server: &Server, load: &[&str], file: &Path) -> Result<()> {
    let client = Client::start(WORKLOAD, server.place(), load)?;
    // Its clock is looked at right after the send.
    favour(server.pid())?;
    let mut command = dwell::command()?;
    command.args(["export", "--format", format, "-d", "60s", "-p", &server.pid().to_string()]);
    command.arg("-o").arg(file).stdin(Stdio::null()).stderr(Stdio::piped());
    let mut export = Bounded::spawn(&mut command)?;
    let said = Lines::of(export.child().stderr.take().context("no stderr")?);
    said.find(PATIENCE, |line| line.contains("attached"), drop)?;
    let questions = client.drive()?;
    ensure!(questions.end.errors == 0, "{} errors", questions.end.errors);
    export.signal(libc::SIGINT)?;
    let status = export.wait_within(PATIENCE)?;
    ensure!(status.success(), "{format}: {status}: {:?}", said.rest(PATIENCE));
    Ok(())
}

/// 400 requests a second, on eight connections.
const STEADY: [&str; 8] =
    ["--connections", "8", "--threads", "2", "--requests", "1600", "--rate", "400"];

/// What the server noted of a request: of what its thread answered, the first after which it looked at its clock
/// when the answer was sent.
fn noted<'a>(shown: &Shown, answers: &'a Answers) -> Result<&'a Served> {
    let of_thread = answers.requests.iter().filter(|served| served.tid == shown.tid);
    let after = of_thread.filter(|served| served.sent_ns + CLOCK_NS >= shown.end);
    let served = after.min_by_key(|served| served.sent_ns);
    let served = served.with_context(|| format!("thread {} answered nothing", shown.tid))?;
    let received = shown.start - CLOCK_NS..shown.end + CLOCK_NS;
    ensure!(received.contains(&served.received_ns), "{shown:?} was not received: {served:?}");
    Ok(served)
}

/// Each request is one that the server has answered, then and there; all but some are as long as it says.
fn are_those_of(timeline: &Timeline, server: (u32, u16), answers: &Answers) -> Result<()> {
    let (pid, port) = server;
    let mut late = 0;
    for shown in &timeline.requests {
        let who = (shown.process.as_str(), shown.pid, shown.args.service.as_str());
        ensure!(who == ("workload", pid, &format!("127.0.0.1:{port}")), "{shown:?}");
        ensure!(shown.name == "GET /" && shown.args.calls == 0, "{shown:?}");
        let served = noted(shown, answers)?;
        let whole = served.sent_ns.saturating_sub(shown.start);
        late += usize::from(shown.latency_ns().abs_diff(whole) > SENT_NS);
        let first_byte = shown.args.first_byte_ms * 1e6;
        ensure!((first_byte as u64).abs_diff(shown.latency_ns()) < 100, "{shown:?}");
        let parts: u64 = shown.parts.iter().map(|part| part.end - part.start).sum();
        BUDGET.check("parts", parts, shown.latency_ns())?;
    }
    ensure!(late * 10 <= timeline.requests.len(), "{late} of {}", timeline.requests.len());
    Ok(())
}

/// Holders sleep, and others wait for the lock as long as they say themselves.
fn waits_are_the_planted_ones(timeline: &Timeline, answers: &Answers) -> Result<()> {
    let (mut holders, mut waiters) = (0, 0);
    for shown in &timeline.requests {
        let served = noted(shown, answers)?;
        // Some have waited for nothing but a CPU.
        let Some(longest) = &shown.args.longest_wait else { continue };
        let longest_ns = (longest.ms * 1e6) as u64;
        let (slept, waited) = (shown.part_ns("sleep"), shown.part_ns(LOCK));
        if slept >= HOLD_NS {
            holders += 1;
            ensure!(slept <= served.latency_ns(), "{shown:?}, {served:?}");
            TRUTH.check("longest wait", longest_ns, slept)?;
            ensure!(longest.kind == "sleep", "{longest:?}");
            ensure!(longest.object == "in clock_nanosleep", "{longest:?}");
            ensure!(longest.function.contains("sleep_ns"), "{longest:?}");
        } else if waited > HOLD_NS / 4 {
            waiters += 1;
            // Woken, it had to wait for a CPU: that is part of its own figure.
            let ready = shown.part_ns("waiting for a CPU") + shown.part_ns("running");
            let truth = served.part_ns as f64;
            ensure!(waited as f64 <= truth * 1.02, "{shown:?}, {served:?}");
            ensure!((waited + ready) as f64 >= truth * 0.98, "{shown:?}, {served:?}");
            ensure!(longest_ns <= waited && longest_ns * 2 > waited, "{shown:?}");
            ensure!(longest.kind == "lock", "{longest:?}");
            ensure!(longest.object.starts_with("futex 0x"), "{longest:?}");
            // Where the compiler has kept it, the workload's own function for locks comes first.
            let function = longest.function.as_str();
            let is_own = function.contains("take_ledger") || function.ends_with("service::lock");
            ensure!(is_own, "{longest:?}");
        }
    }
    ensure!(holders >= 5 && waiters >= 20, "{holders} holders, {waiters} waiters");
    Ok(())
}

#[test]
fn perfetto_shows_the_planted_waits() -> Result<()> {
    need_root!();
    let python = need_python!();
    let _machine = Machine::take()?;
    let folder = Folder::new(TMP)?;
    let file = folder.path("slow.pftrace");
    let server = Server::tcp(WORKLOAD, &HOLDERS)?;
    let who = (server.pid(), server.port()?);
    export_live("perfetto", &server, &STEADY, &file)?;
    let answers = server.end()?;
    let timeline = Timeline::of_perfetto(&python, &file)?;
    are_those_of(&timeline, who, &answers)?;
    waits_are_the_planted_ones(&timeline, &answers)?;
    // One after the other, as their clients ask.
    let lanes = timeline.requests.iter().map(|shown| (shown.tid, shown.lane));
    let mut lanes: Vec<_> = lanes.collect();
    lanes.sort_unstable();
    lanes.dedup();
    ensure!(lanes.len() == 8, "{lanes:?}");
    ensure!(timeline.requests.iter().all(|shown| shown.thread.starts_with("connection-")));
    Ok(())
}

#[test]
fn the_firefox_profiler_shows_the_planted_waits() -> Result<()> {
    need_root!();
    let Some(profiler) = FirefoxProfiler::find() else {
        need::skip(module_path!(), NO_PROFILER);
        return Ok(());
    };
    let _machine = Machine::take()?;
    let folder = Folder::new(TMP)?;
    let file = folder.path("slow.json");
    let server = Server::tcp(WORKLOAD, &HOLDERS)?;
    let who = (server.pid(), server.port()?);
    export_live("firefox", &server, &STEADY, &file)?;
    let answers = server.end()?;
    let loaded = profiler.load(&file)?;
    let timeline = loaded.timeline()?;
    are_those_of(&timeline, who, &answers)?;
    waits_are_the_planted_ones(&timeline, &answers)?;
    // As people see it: the threads by name, and what a thread waited for.
    let threads = loaded.ask(&["thread", "list"])?;
    ensure!(threads.contains("connection-0") && threads.contains("workload"), "{threads}");
    let locks = loaded.ask(&["thread", "markers", "--category", "Locks", "--list"])?;
    ensure!(locks.contains(LOCK) && locks.contains("futex 0x"), "{locks}");
    Ok(())
}

const SLEEP_NS: u64 = 3_000_000;

/// One thread has eight requests at a time.
#[test]
fn requests_of_a_loop_lie_side_by_side() -> Result<()> {
    need_root!();
    let python = need_python!();
    let _machine = Machine::take()?;
    let folder = Folder::new(TMP)?;
    let file = folder.path("loop.pftrace");
    let server = Server::tcp(WORKLOAD, &["--model", "loop", "--plan", "sleep:3000"])?;
    let who = (server.pid(), server.port()?);
    let load = ["--connections", "8", "--threads", "2", "--requests", "1000"];
    export_live("perfetto", &server, &load, &file)?;
    let answers = server.end()?;
    let timeline = Timeline::of_perfetto(&python, &file)?;
    are_those_of(&timeline, who, &answers)?;
    let first = timeline.requests.first().context("no request")?;
    ensure!(timeline.requests.iter().all(|shown| shown.tid == first.tid), "several threads");
    let mut lanes: Vec<u64> = timeline.requests.iter().map(|shown| shown.lane).collect();
    lanes.sort_unstable();
    lanes.dedup();
    ensure!((2..=8).contains(&lanes.len()), "{} lanes", lanes.len());
    let mut off = Vec::new();
    for shown in &timeline.requests {
        // What the server notes ends when it has a CPU again.
        let slept = SLEEP_NS..noted(shown, &answers)?.part_ns;
        if !slept.contains(&shown.part_ns("sleep")) {
            off.push(shown);
        }
        // Behind seven others.
        let behind = shown.part_ns("behind other requests");
        ensure!(behind > 4 * SLEEP_NS, "{shown:?}");
    }
    // A wakeup can be out of sight (ARCHITECTURE.md), and the slowest are those to which something has happened.
    ensure!(off.len() * 20 <= timeline.requests.len(), "{} have not slept: {off:?}", off.len());
    Ok(())
}

/// A request of the document.
fn listed(slow: &Value) -> Result<(u64, u64, u64, u64, u64)> {
    let number = |key: &str| slow[key].as_u64().with_context(|| format!("no {key} in {slow}"));
    let parts = slow["parts_ns"].as_object().context("no parts")?;
    let parts = parts.values().filter_map(Value::as_u64).sum();
    let (arrival, latency) = (number("arrival_monotonic_ns")?, number("latency_ns")?);
    Ok((latency, arrival, number("pid")?, number("tid")?, parts))
}

/// The same of one that is shown.
fn row(shown: &Shown) -> (u64, u64, u64, u64, u64) {
    let parts = shown.parts.iter().map(|part| part.end - part.start).sum();
    (shown.latency_ns(), shown.start, shown.pid.into(), shown.tid.into(), parts)
}

#[test]
fn a_timeline_of_a_recording_says_what_its_report_says() -> Result<()> {
    need_root!();
    let python = need_python!();
    let Some(profiler) = FirefoxProfiler::find() else {
        need::skip(module_path!(), NO_PROFILER);
        return Ok(());
    };
    let _machine = Machine::take()?;
    let folder = Folder::new(TMP)?;
    let file = folder.path("slow.dwell");
    let server = Server::tcp(WORKLOAD, &HOLDERS)?;
    let client = Client::start(WORKLOAD, server.place(), &STEADY)?;
    let recorder = record(&[server.pid()], &file, &["-d", "60s", "--slice", "250ms"])?;
    client.drive()?;
    recorder.interrupt()?.document()?;
    let path = file.display().to_string();
    for part in [&[][..], &["--from", "1s", "--to", "3s"]] {
        let options = [part, &["--view", "requests", "--slowest", "100"]].concat();
        let document = replay(&file, &options)?.0.value;
        let slowest = document["requests"]["services"][0]["slowest"].as_array();
        let wanted = slowest.context("no slowest requests")?.iter().map(listed);
        let wanted: Vec<_> = wanted.collect::<Result<_>>()?;
        ensure!(wanted.len() > 50, "{} requests", wanted.len());
        let recording = [&["--recording", path.as_str()], part].concat();

        let trace = folder.path("slow.pftrace");
        export("perfetto", &recording, &trace)?;
        let perfetto = Timeline::of_perfetto(&python, &trace)?;
        let mut found: Vec<_> = perfetto.requests.iter().map(row).collect();
        found.sort_by_key(|row| (Reverse(row.0), row.1));
        ensure!(found.get(..wanted.len()) == Some(&wanted[..]), "{found:?}\nbut\n{wanted:?}");
        rates_add_up(&perfetto, &document)?;

        let profile = folder.path("slow.json");
        export("firefox", &recording, &profile)?;
        let firefox = profiler.load(&profile)?.timeline()?;
        are_alike(&perfetto, &firefox)?;
    }
    Ok(())
}

/// Both show the same requests; the one knows them in milliseconds, to some digits.
fn are_alike(one: &Timeline, other: &Timeline) -> Result<()> {
    let latencies = |timeline: &Timeline| {
        let mut all: Vec<(u32, u64)> =
            timeline.requests.iter().map(|shown| (shown.tid, shown.latency_ns())).collect();
        all.sort_unstable();
        all
    };
    let (one, other) = (latencies(one), latencies(other));
    ensure!(one.len() == other.len(), "{} and {}", one.len(), other.len());
    let is_off =
        |((one, a), (other, b)): &(&(u32, u64), &(u32, u64))| one != other || a.abs_diff(*b) > 10;
    let off: Vec<_> = one.iter().zip(&other).filter(is_off).collect();
    ensure!(off.is_empty(), "{off:?}");
    Ok(())
}

/// The rate of each slice, times its length, sums to all requests.
fn rates_add_up(timeline: &Timeline, document: &Value) -> Result<()> {
    let service = &document["requests"]["services"][0];
    let name = format!("{}: requests a second", service["address"].as_str().unwrap_or_default());
    let samples = timeline.counters.get(&name).with_context(|| format!("no {name}"))?;
    let end = document["window"]["end_monotonic_ns"].as_u64().context("no end")?;
    let next = samples.iter().skip(1).map(|(at, _)| *at).chain([end]);
    let slice = |((at, rate), next): (&(u64, f64), u64)| rate * (next - at) as f64 / 1e9;
    let sum: f64 = samples.iter().zip(next).map(slice).sum();
    let count = service["count"].as_f64().context("no count")?;
    ensure!((sum - count).abs() < 0.5 && samples.len() >= 4, "{sum} of {count}: {samples:?}");
    Ok(())
}

#[test]
fn without_requests_there_is_no_timeline() -> Result<()> {
    need_root!();
    let _machine = Machine::take()?;
    let folder = Folder::new(TMP)?;
    let mut workload = Workload::start(WORKLOAD, &["mutex", "--seconds", "20"])?;
    workload.go()?;
    let recording = folder.path("plain.dwell");
    let recorder = record(&[workload.pid()], &recording, &["-d", "1s", "--no-requests"])?;
    recorder.finish(PATIENCE)?.document()?;
    let (pid, recording) = (workload.pid().to_string(), recording.display().to_string());
    for (format, options, why) in [
        ("perfetto", ["-p", &pid, "-d", "1s"].as_slice(), "no request was answered"),
        ("firefox", &["--recording", &recording], "requests were not followed"),
    ] {
        let file = folder.path("none");
        let mut command = dwell::command()?;
        command.args(["export", "--format", format]).args(options).arg("-o").arg(&file);
        let output = command.stdin(Stdio::null()).output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        let last = said.lines().last().unwrap_or_default();
        ensure!(output.status.code() == Some(1), "{format}: {}", output.status);
        ensure!(last.contains(why) && last.starts_with("dwell: there is no timeline"), "{said}");
        ensure!(!file.exists(), "{format}: a file is left that nothing was written to");
    }
    Ok(())
}
