//! Why threads lack CPU time: limits of cgroups, CPU affinity, and what the CPUs did.

use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use dwell_tests::document::{Document, Thread};
use dwell_tests::dwell::{self, Dwell};
use dwell_tests::half_cpu::{HalfCpu, PERIOD_US, QUOTA_US, Throttling};
use dwell_tests::machine::Machine;
use dwell_tests::outcome::Outcome;
use dwell_tests::proc::{stolen_ns, threads_of, wait_until};
use dwell_tests::tolerance::{SCHEDSTAT, Tolerance};
use dwell_tests::workload::Workload;
use dwell_tests::{books, need, need_program, need_root};
use serde_json::{Value, json};

const WORKLOAD: &str = env!("CARGO_BIN_EXE_workload");

/// The cgroup with a limit; returns from the test where there can be none.
macro_rules! half_cpu {
    ($name:expr) => {
        match HalfCpu::new($name)? {
            Some(cgroup) => cgroup,
            None => {
                need::skip(module_path!(), "needs the cgroup controller cpu");
                return Ok(());
            }
        }
    };
}

fn spinner(seconds: &str) -> Result<Workload> {
    Workload::start(WORKLOAD, &["spin", "--seconds", seconds])
}

fn number(row: &Value, key: &str) -> Result<u64> {
    row[key].as_u64().with_context(|| format!("no {key} in {row}"))
}

fn rows<'a>(document: &'a Document, key: &str) -> Result<&'a [Value]> {
    document.value["cpu"][key].as_array().map(Vec::as_slice).with_context(|| format!("no {key}"))
}

/// A figure of the spinning threads, added up.
fn of_spinners(document: &Document, pid: u32, figure: impl Fn(&Thread) -> u64) -> u64 {
    let spinners = document.threads_of(pid).filter(|thread| thread.comm.starts_with("spinner"));
    spinners.map(figure).sum()
}

/// The kernel goes on to count periods for one or two without work.
const PERIODS_END: Duration = Duration::from_millis(500);

/// The workload is blocked before and after it spins, so that dwell's window and this test's own
/// readings see the same periods.
#[test]
fn a_limit_is_counted_as_its_cgroup_does() -> Result<()> {
    need_root!();
    let _machine = Machine::take()?;
    let cgroup = half_cpu!("dwell-limit");
    let mut workload = spinner("3")?;
    cgroup.take_in(workload.pid())?;
    std::thread::sleep(PERIODS_END);
    let before = cgroup.throttling()?;
    let dwell = Dwell::attach_to(&[workload.pid()])?;
    let stolen_before_ns = stolen_ns();
    workload.go()?;
    let outcome = workload.outcome()?;
    let stolen_ns = stolen_ns() - stolen_before_ns;
    std::thread::sleep(PERIODS_END);
    let document = dwell.interrupt()?.document()?;
    let after = cgroup.throttling()?;
    books::check(&document)?;

    let mut quotas = rows(&document, "quotas")?.iter();
    let row = quotas.find(|row| row["cgroup"] == cgroup.path()).context("the cgroup is missing")?;
    ensure!(number(row, "quota_ns")? == QUOTA_US * 1000, "{row}");
    ensure!(number(row, "period_ns")? == PERIOD_US * 1000, "{row}");
    let seen = Throttling {
        periods: number(row, "periods")?,
        throttled: number(row, "throttled_periods")?,
        throttled_ns: number(row, "throttled_ns")?,
    };
    ensure!(seen == after.since(&before), "{seen:?}, but {before:?} became {after:?}");
    ensure!(seen.throttled > 0, "never throttled: {seen:?}");
    times_agree(&document, &outcome, &seen, stolen_ns)
}

/// The time held back is time spent waiting for a CPU, and the time run is at most the quota.
fn times_agree(
    document: &Document,
    outcome: &Outcome,
    seen: &Throttling,
    stolen_ns: u64,
) -> Result<()> {
    let running_ns = of_spinners(document, outcome.pid, |thread| thread.running_ns);
    let runnable_ns = of_spinners(document, outcome.pid, |thread| thread.runnable_ns);
    SCHEDSTAT.check_running(running_ns, outcome.number("running_ns"), stolen_ns)?;
    SCHEDSTAT.check("runnable", runnable_ns, outcome.number("runnable_ns"))?;
    ensure!(seen.throttled_ns <= runnable_ns, "{seen:?}, but waited {runnable_ns}");
    let quotas = (outcome.end_ns - outcome.start_ns) / (PERIOD_US * 1000) + 2;
    let allowed_ns = quotas * QUOTA_US * 1000 + stolen_ns;
    ensure!(running_ns <= allowed_ns, "ran {running_ns}, may run {allowed_ns}");
    Ok(())
}

#[test]
fn a_limit_is_in_the_report() -> Result<()> {
    need_root!();
    let _machine = Machine::take()?;
    let cgroup = half_cpu!("dwell-report");
    let mut workload = spinner("20")?;
    cgroup.take_in(workload.pid())?;
    workload.go()?;
    let pid = workload.pid().to_string();
    let output = dwell::command()?.args(["attach", "-p", &pid, "-d", "2s"]).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let flowed = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let expected = format!("CPU: limit of cgroup {} (0.50 CPUs): throttled in ", cgroup.path());
    ensure!(flowed.contains(&expected), "{text}");
    Ok(())
}

#[test]
fn no_limit_no_line() -> Result<()> {
    need_root!();
    let _machine = Machine::take()?;
    let workload = Workload::start(WORKLOAD, &["sleep", "--seconds", "5"])?;
    let document = dwell::observe(&["-p", &workload.pid().to_string(), "-d", "500ms"])?;
    ensure!(document.value["cpu"]["affinity"] == Value::Array(Vec::new()));
    let throttled = |row: &Value| row["throttled_periods"] != 0;
    ensure!(!rows(&document, "quotas")?.iter().any(throttled), "{}", document.value["cpu"]);
    Ok(())
}

/// Numbers of the CPUs that are online.
fn online() -> Result<Vec<u32>> {
    let stat = fs::read_to_string("/proc/stat")?;
    let names = stat.lines().filter_map(|line| line.split(' ').next()?.strip_prefix("cpu"));
    Ok(names.filter_map(|number| number.parse().ok()).collect())
}

/// Binds every thread but the first to a CPU; how many there are.
fn bind(pid: u32, cpu: u32) -> Result<u64> {
    let threads: Vec<u32> = threads_of(pid).into_iter().filter(|tid| *tid != pid).collect();
    for tid in &threads {
        let mut command = Command::new("taskset");
        let status = command.args(["-cp", &cpu.to_string(), &tid.to_string()]).output()?.status;
        ensure!(status.success(), "taskset ended with {status}");
    }
    Ok(threads.len() as u64)
}

#[test]
fn bound_threads_fill_their_cpu() -> Result<()> {
    need_root!();
    need_program!("taskset");
    let online = online()?;
    let (Some(&cpu), true) = (online.first(), online.len() > 1) else {
        need::skip(module_path!(), "needs two CPUs");
        return Ok(());
    };
    let _machine = Machine::take()?;
    let mut workload = spinner("30")?;
    let pid = workload.pid();
    workload.go()?;
    wait_until("spinning", Duration::from_secs(5), || threads_of(pid).len() > 2 * online.len())?;
    let bound = bind(pid, cpu)?;
    let document = dwell::observe(&["-p", &pid.to_string(), "-d", "2s"])?;

    let [group] = rows(&document, "affinity")? else { bail!("{}", document.value["cpu"]) };
    ensure!(group["cpus"] == json!([cpu]), "{group}");
    ensure!(group["thread_groups"] == json!(["spinner-*"]), "{group}");
    ensure!(number(group, "threads")? == bound, "{group}, not {bound}");
    ensure!(document.value["cpu"]["affinity_unlisted"] == 0);

    is_full(&document, pid, cpu, online.len())
}

/// All time of this CPU was the threads' to share, and every CPU's parts sum to the window.
fn is_full(document: &Document, pid: u32, cpu: u32, online: usize) -> Result<()> {
    let cpus = rows(document, "per_cpu")?;
    ensure!(cpus.len() == online, "{cpus:?}");
    let window_ns = document.body.window.duration_ns;
    for row in cpus {
        let parts = ["busy_ns", "iowait_ns", "steal_ns", "idle_ns"];
        let parts: u64 = parts.iter().map(|key| number(row, key)).sum::<Result<u64>>()?;
        Tolerance::share(0.2).check(&format!("{row}"), parts, window_ns)?;
    }
    let own = cpus.iter().find(|row| row["cpu"] == cpu).context("their CPU is missing")?;
    let free_ns = number(own, "idle_ns")? + number(own, "iowait_ns")?;
    ensure!(free_ns <= window_ns / 20, "free for {free_ns}: {own}");
    let running_ns = of_spinners(document, pid, |thread| thread.running_ns);
    let busy_ns = number(own, "busy_ns")?;
    ensure!(running_ns <= busy_ns + number(own, "steal_ns")? + 50_000_000, "{running_ns}: {own}");
    Ok(())
}

/// At the end of the window there is nobody left to be asked.
#[test]
fn a_bound_command_that_ends() -> Result<()> {
    need_root!();
    need_program!("taskset");
    let online = online()?;
    let (Some(cpu), true) = (online.first(), online.len() > 1) else {
        need::skip(module_path!(), "needs two CPUs");
        return Ok(());
    };
    let _machine = Machine::take()?;
    let command = ["--", "taskset", "-c", &cpu.to_string(), "sleep", "2"];
    let document = dwell::observe(&command)?;
    let [group] = rows(&document, "affinity")? else { bail!("{}", document.value["cpu"]) };
    ensure!(
        *group == json!({ "cpus": [cpu], "threads": 1, "thread_groups": ["sleep"] }),
        "{group}"
    );
    Ok(())
}
