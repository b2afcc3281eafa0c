//! A recording says what a live report says, whatever becomes of the recorder.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use dwell_tests::bpf::Loaded;
use dwell_tests::machine::Machine;
use dwell_tests::random::Random;
use dwell_tests::recording::{Folder, record, replay};
use dwell_tests::requests::{Client, Server};
use dwell_tests::servers::Redis;
use dwell_tests::workload::Workload;
use dwell_tests::{books, dwell, need_program, need_root};

const WORKLOAD: &str = env!("CARGO_BIN_EXE_workload");
const TMP: &str = env!("CARGO_TARGET_TMPDIR");

/// How long a recorder takes to end.
const ENDED: Duration = Duration::from_secs(30);

/// Not the whole documents: they have megabytes.
fn is_same(live: &str, replayed: &str) -> Result<()> {
    let (live, replayed) = (live.as_bytes(), replayed.as_bytes());
    let place = live.iter().zip(replayed).position(|(a, b)| a != b);
    let place = place.or((live.len() != replayed.len()).then_some(live.len().min(replayed.len())));
    let around = |bytes: &[u8], place: usize| {
        let around = &bytes[place.saturating_sub(200)..bytes.len().min(place + 200)];
        String::from_utf8_lossy(around).into_owned()
    };
    if let Some(place) = place {
        anyhow::bail!("live:\n{}\nreplayed:\n{}", around(live, place), around(replayed, place));
    }
    Ok(())
}

/// A recording of a workload that knows its locks, and that workload, which goes on.
fn recorded(folder: &Folder, plan: &str, options: &[&str]) -> Result<(PathBuf, Workload)> {
    let file = folder.path(&format!("{plan}.dwell"));
    let mut workload = Workload::start(WORKLOAD, &[plan, "--seconds", "20"])?;
    workload.go()?;
    record(&[workload.pid()], &file, options)?.finish(ENDED)?.document()?;
    Ok((file, workload))
}

/// Records so many seconds of processes, and compares both reports.
fn live_is_replayed(pids: &[u32], seconds: &str) -> Result<()> {
    let folder = Folder::new(TMP)?;
    let file = folder.path("a.dwell");
    let finished = record(pids, &file, &["-d", seconds, "--slice", "500ms"])?.finish(ENDED)?;
    books::check(&finished.document()?)?;
    is_same(&finished.stdout, &replay(&file, &[])?.1)
}

#[test]
fn a_replayed_report_of_locks_is_the_live_one() -> Result<()> {
    need_root!();
    let _machine = Machine::take()?;
    for plan in ["lock-over-socket", "lock-queue", "threads", "lock-rw"] {
        let mut workload = Workload::start(WORKLOAD, &[plan, "--seconds", "20"])?;
        workload.go()?;
        live_is_replayed(&[workload.pid()], "3s")?;
    }
    Ok(())
}

#[test]
fn a_replayed_report_of_requests_is_the_live_one() -> Result<()> {
    need_root!();
    need_program!("redis-server", "redis-benchmark");
    let _machine = Machine::take()?;
    let redis = Redis::start()?;
    let _load = redis.benchmark(20)?;
    live_is_replayed(&[redis.pid()], "4s")?;
    let peer = Server::tcp(WORKLOAD, &["--plan", "sleep:300"])?;
    let calls = format!("calls:{}", peer.port()?);
    let server =
        Server::tcp(WORKLOAD, &["--model", "handoff", "--plan", &calls, "--plan", "lock:2000:20"])?;
    let load = ["--connections", "16", "--threads", "2", "--requests", "3000", "--rate", "500"];
    let client = Client::start(WORKLOAD, server.place(), &load)?;
    let driving = thread::spawn(move || client.drive());
    live_is_replayed(&[server.pid(), peer.pid()], "4s")?;
    let _answers = driving.join().map_err(|_| anyhow::anyhow!("the client panicked"))??;
    Ok(())
}

/// Slices of a busy server add up to what the whole recording says.
#[test]
fn parts_of_a_recording_add_up() -> Result<()> {
    need_root!();
    let _machine = Machine::take()?;
    let folder = Folder::new(TMP)?;
    let (file, _workload) = recorded(&folder, "mutex", &["-d", "6s", "--slice", "200ms"])?;
    let (whole, _) = replay(&file, &[])?;
    let mut walls = 0;
    let mut waits = 0;
    for (from, to) in [("0s", "2s"), ("2s", "4s"), ("4s", "1m")] {
        let (part, _) = replay(&file, &["--from", from, "--to", to])?;
        books::check_balance(&part)?;
        let seconds = part.body.window.duration_ns as f64 / 1e9;
        ensure!((1.9..2.7).contains(&seconds), "{from} to {to}: {seconds} s");
        walls += part.body.window.duration_ns;
        waits += part.body.waits.iter().map(|wait| wait.total_ns).sum::<u64>();
    }
    // Each part takes the slices that it touches, so they overlap by at most one each.
    let whole_ns = whole.body.window.duration_ns;
    ensure!(walls >= whole_ns && walls < whole_ns + 700_000_000, "{walls} of {whole_ns}");
    let waited = whole.body.waits.iter().map(|wait| wait.total_ns).sum::<u64>();
    let ratio = (waits as f64 / walls as f64) / (waited as f64 / whole_ns as f64);
    ensure!((0.98..1.02).contains(&ratio), "{ratio}");
    Ok(())
}

/// Point 1. What was written before the end is there, and the kernel is clean.
#[test]
fn fifty_killed_recorders_leave_whole_files() -> Result<()> {
    need_root!();
    let _machine = Machine::take()?;
    let mut random = Random::announced("fifty_killed_recorders_leave_whole_files");
    let mut workload = Workload::start(WORKLOAD, &["lock-queue", "--seconds", "300"])?;
    workload.go()?;
    let folder = Folder::new(TMP)?;
    for run in 0..50 {
        let file = folder.path(&format!("{run}.dwell"));
        let options = ["-d", "60s", "--slice", "50ms"];
        let mut recorder = record(&[workload.pid()], &file, &options)?.into_process();
        let held = Loaded::by(recorder.pid())?;
        // Of these many, some are killed before there is a slice.
        let at_once = run % 5 == 0;
        let written = if at_once { 0 } else { wait_for_slice(&file)? };
        thread::sleep(Duration::from_millis(random.between(0, 500)));
        recorder.end(libc::SIGKILL, Duration::from_secs(5));
        held.wait_until_gone(Duration::from_secs(10))?;
        match replay(&file, &[]) {
            Ok((document, _)) => books::check_balance(&document)?,
            Err(error) => {
                let is_empty = at_once && format!("{error:#}").contains("it holds no slice");
                ensure!(is_empty, "run {run}: {error:#}");
            }
        }
        let left = slices(&file)?;
        ensure!(left >= written, "run {run}: {left} of {written} slices are left");
    }
    Ok(())
}

/// Waits until a recording has a slice, and says how many it has.
fn wait_for_slice(file: &Path) -> Result<u64> {
    for _ in 0..500 {
        let written = slices(file)?;
        if written > 0 {
            return Ok(written);
        }
        thread::sleep(Duration::from_millis(20));
    }
    anyhow::bail!("no slice was written")
}

/// How many slices a recording has, by SQLite itself.
fn slices(file: &Path) -> Result<u64> {
    let connection = rusqlite::Connection::open(file)?;
    connection.busy_timeout(Duration::from_secs(5))?;
    let ends: i64 = connection.query_row("SELECT count(*) FROM slice", (), |row| row.get(0))?;
    Ok(u64::try_from(ends)?.saturating_sub(1))
}

#[test]
fn a_full_disk_ends_with_what_was_written() -> Result<()> {
    need_root!();
    let _machine = Machine::take()?;
    let folder = Folder::new(TMP)?;
    let mounted = Mounted::new(&folder.path("small"))?;
    let mut workload = Workload::start(WORKLOAD, &["lock-queue", "--seconds", "30"])?;
    workload.go()?;
    let file = mounted.0.join("full.dwell");
    let recorder = record(&[workload.pid()], &file, &["-d", "20s", "--slice", "50ms"])?;
    thread::sleep(Duration::from_secs(1));
    // Whatever is left.
    let _full = fs::write(mounted.0.join("ballast"), vec![1; 2 << 20]);
    let finished = recorder.finish(ENDED)?;
    let said = finished.stderr.join("\n");
    ensure!(finished.status.code() == Some(1), "{}: {said}", finished.status);
    ensure!(said.contains("cannot write") && said.contains("are intact"), "{said}");
    fs::remove_file(mounted.0.join("ballast"))?;
    let (document, _) = replay(&file, &[])?;
    books::check_balance(&document)
}

/// A file system of a megabyte.
struct Mounted(PathBuf);

impl Mounted {
    fn new(place: &Path) -> Result<Self> {
        fs::create_dir(place)?;
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", "size=1m", "none"]).arg(place);
        ensure!(command.status()?.success(), "cannot mount");
        Ok(Self(place.to_owned()))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _gone = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn what_cannot_be_written_is_said_before_anything_is_measured() -> Result<()> {
    need_root!();
    let pid = std::process::id().to_string();
    let folder = Folder::new(TMP)?;
    let precious = folder.path("precious.txt");
    fs::write(&precious, "precious")?;
    for (path, why) in [
        ("/nowhere/a.dwell".to_owned(), "No such file"),
        (precious.display().to_string(), "no recording"),
    ] {
        let mut command = dwell::command()?;
        command.args(["record", "-p", &pid, "-d", "1s", "-o", &path]).stdin(Stdio::null());
        let output = command.output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.code() == Some(1) && output.stdout.is_empty(), "{path}: {said}");
        ensure!(said.lines().count() == 1 && said.contains(why), "{path}: {said}");
    }
    ensure!(fs::read(&precious)? == b"precious", "it was overwritten");
    // Above the largest that Linux gives out.
    let nobody = (1 << 22).to_string();
    let file = folder.path("nobody.dwell");
    let mut command = dwell::command()?;
    command.args(["record", "-p", &nobody, "-d", "1s", "-o"]).arg(&file).stdin(Stdio::null());
    let output = command.output()?;
    ensure!(output.status.code() == Some(1), "{}", output.status);
    ensure!(!file.exists(), "a recording of nothing was left");
    Ok(())
}

#[test]
fn an_export_of_a_recording_says_what_its_report_says() -> Result<()> {
    need_root!();
    let _machine = Machine::take()?;
    let folder = Folder::new(TMP)?;
    let (file, _workload) = recorded(&folder, "lock-queue", &["-d", "3s"])?;
    let export = |options: &[&str]| {
        let file = file.display().to_string();
        let arguments = [&["--recording", &file, "--from", "1s", "--format"], options].concat();
        dwell::Dwell::text("export", &arguments)
    };
    let (document, text) = replay(&file, &["--from", "1s"])?;
    let waited: u64 = document.body.waits.iter().map(|wait| wait.total_ns).sum();
    let folded = export(&["folded", "--idle"])?;
    let value = |line: &str| line.rsplit(' ').next().unwrap_or_default().parse::<u64>();
    let sum: u64 = folded.lines().map(value).sum::<Result<_, _>>()?;
    ensure!(sum == waited, "{sum} ns of {waited}");
    is_same(&text, &export(&["json"])?)?;
    let picture = export(&["flamegraph"])?;
    ensure!(picture.contains("<svg") && picture.contains("mutex"), "{picture}");
    Ok(())
}

/// Point 2, of space: a steady service with 100 threads. What is written at first, names and stacks, is
/// written once.
#[test]
fn a_steady_service_takes_a_megabyte_a_minute() -> Result<()> {
    need_root!();
    let _machine = Machine::take()?;
    let folder = Folder::new(TMP)?;
    let file = folder.path("steady.dwell");
    let plans = ["--plan", "sleep:2000", "--plan", "lock:500:10"];
    let model = ["--model", "pool", "--workers", "100"];
    let server = Server::tcp(WORKLOAD, &[&model[..], &plans].concat())?;
    let load = ["--connections", "100", "--threads", "2", "--requests", "12000", "--rate", "500"];
    let client = Client::start(WORKLOAD, server.place(), &load)?;
    let driving = thread::spawn(move || client.drive());
    let recorder = record(&[server.pid()], &file, &["-d", "20s"])?;
    thread::sleep(Duration::from_secs(8));
    let early = fs::metadata(&file)?.len();
    recorder.finish(ENDED)?.document()?;
    let late = fs::metadata(&file)?.len();
    let threads = replay(&file, &[])?.0.body.threads.len();
    let _answers = driving.join().map_err(|_| anyhow::anyhow!("the client panicked"))??;
    ensure!(threads > 100, "{threads} threads");
    // At least eleven seconds lie between.
    let a_minute = late.saturating_sub(early) * 60 / 11;
    ensure!(late > early && a_minute <= 1_000_000, "{early} to {late}: {a_minute} bytes a minute");
    Ok(())
}

#[test]
fn a_flight_recorder_keeps_the_last_part() -> Result<()> {
    need_root!();
    let _machine = Machine::take()?;
    let folder = Folder::new(TMP)?;
    let options = ["-d", "6s", "--slice", "100ms", "--keep", "2s"];
    let (file, _workload) = recorded(&folder, "mutex", &options)?;
    let (document, _) = replay(&file, &[])?;
    books::check_balance(&document)?;
    let seconds = document.body.window.duration_ns as f64 / 1e9;
    ensure!((2.0..2.6).contains(&seconds), "{seconds} s are kept");
    Ok(())
}

#[test]
fn a_spike_is_copied_and_found() -> Result<()> {
    need_root!();
    let _machine = Machine::take()?;
    let folder = Folder::new(TMP)?;
    let file = folder.path("spikes.dwell");
    let server = Server::tcp(WORKLOAD, &["--model", "threads", "--plan", "slow:40000:0:sleep"])?;
    let options = ["-d", "60s", "--slice", "200ms", "--on-slow", "p99>20ms", "--keep", "6s"];
    let recorder = record(&[server.pid()], &file, &options)?;
    let drive = |path: &str| -> Result<()> {
        let load = ["--connections", "4", "--requests", "400", "--rate", "200", "--path", path];
        let client = Client::start(WORKLOAD, server.place(), &load)?;
        ensure!(client.drive()?.end.errors == 0);
        Ok(())
    };
    drive("/")?;
    let slow = ["--connections", "4", "--requests", "60", "--rate", "60", "--path", "/slow"];
    ensure!(Client::start(WORKLOAD, server.place(), &slow)?.drive()?.end.errors == 0);
    drive("/")?;
    drive("/")?;
    recorder.interrupt()?.document()?;
    let copies: Vec<_> = fs::read_dir(folder.path(""))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| *path != file && path.extension().is_some_and(|one| one == "dwell"))
        .collect();
    ensure!(copies.len() == 1, "{copies:?}");
    books::check_balance(&replay(&copies[0], &[])?.0)?;
    let text = dwell::Dwell::text("report", &[copies[0].as_os_str(), "--around-spike".as_ref()])?;
    ensure!(text.contains("Requests were slowest from") && text.contains("sleep"), "{text}");
    Ok(())
}

#[test]
fn a_report_needs_no_root_and_no_processes() -> Result<()> {
    need_root!();
    need_program!("setpriv");
    let _machine = Machine::take()?;
    let folder = Folder::new(TMP)?;
    let (file, workload) = recorded(&folder, "lock-queue", &["-d", "2s"])?;
    drop(workload);
    // Somewhere else, where anybody may look.
    let place = std::env::temp_dir().join(format!("dwell-anybody-{}.dwell", std::process::id()));
    let binary = std::env::temp_dir().join(format!("dwell-anybody-{}", std::process::id()));
    fs::copy(&file, &place)?;
    fs::copy(dwell::binary()?, &binary)?;
    for view in ["overview", "locks", "requests", "graph"] {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&binary);
        command.arg("report").arg(&place).args(["--view", view]).stdin(Stdio::null());
        let output = command.output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success() && !output.stdout.is_empty(), "{view}: {said}");
        if view == "locks" {
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            ensure!(text.contains("pthread_mutex_lock") || text.contains("mutex"), "{text}");
        }
    }
    fs::remove_file(place)?;
    Ok(fs::remove_file(binary)?)
}
