//! Point 7: bad input gets one clear line and its exit code, never a panic.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use dwell_tests::lines::Lines;
use dwell_tests::machine::Machine;
use dwell_tests::process::Bounded;
use dwell_tests::{dwell, need_root};

/// It failed.
const FAILURE: i32 = 1;
/// It was asked for something that cannot be meant.
const USAGE: i32 = 2;

/// Runs it, and returns its exit code and what it said on stderr.
fn run(command: &mut Command) -> Result<(i32, Vec<String>)> {
    // Not even asking for one gets a backtrace.
    command.env("RUST_BACKTRACE", "1").stdin(Stdio::null()).stderr(Stdio::piped());
    let mut process = Bounded::spawn(command)?;
    let stderr = Lines::of(process.child().stderr.take().context("no stderr")?);
    let status = process.wait_within(Duration::from_secs(30))?;
    let code = status.code().with_context(|| format!("it ended by {status}"))?;
    Ok((code, stderr.rest(Duration::from_secs(5))))
}

/// `dwell attach` with these arguments, its stdout thrown away.
fn attach(arguments: &[&str]) -> Result<Command> {
    let mut command = dwell::command()?;
    command.arg("attach").args(arguments).stdout(Stdio::null());
    Ok(command)
}

/// Fails unless it ended with `code` after one line that says what is wrong.
fn refuses(command: &mut Command, code: i32) -> Result<String> {
    let (actual, stderr) = run(command)?;
    let all = stderr.join("\n");
    ensure!(actual == code, "exit code {actual}, not {code}; stderr: {all}");
    ensure!(!all.contains("panicked") && !all.contains("stack backtrace"), "it panicked: {all}");
    // That it has attached is no complaint.
    let complaints: Vec<&String> =
        stderr.iter().filter(|line| !line.starts_with("dwell: attached")).collect();
    let [line] = complaints[..] else { anyhow::bail!("one line, not {}: {all}", stderr.len()) };
    let text = line.strip_prefix("dwell: ").with_context(|| format!("whose line is {line:?}"))?;
    ensure!(text.len() > 10, "says nothing: {line:?}");
    Ok(line.clone())
}

fn attach_refuses(arguments: &[&str], code: i32) -> Result<String> {
    refuses(&mut attach(arguments)?, code).with_context(|| format!("attach {arguments:?}"))
}

/// A process id that no process has.
fn dead_pid() -> Result<String> {
    let mut process = Bounded::spawn(&mut Command::new("true"))?;
    process.wait_within(Duration::from_secs(5))?;
    Ok(process.pid().to_string())
}

fn own_pid() -> String {
    std::process::id().to_string()
}

#[test]
fn usage_errors() -> Result<()> {
    let _machine = Machine::take()?;
    let pid = own_pid();
    for duration in ["0", "0s", "-5s", "banana", "", "5 parsecs", "999999999999h", "1e400s"] {
        attach_refuses(&["-p", &pid, &format!("--duration={duration}")], USAGE)?;
    }
    for target in ["0", "-1", "abc", "", "99999999999999999999"] {
        attach_refuses(&[&format!("--pid={target}"), "-d", "1s"], USAGE)?;
    }
    attach_refuses(&["-d", "1s"], USAGE).context("no target")?;
    attach_refuses(&["-p", &pid, "--no-such-option"], USAGE)?;
    attach_refuses(&["-p", &pid, "-a", "-d", "1s"], USAGE).context("two targets")?;
    Ok(())
}

#[test]
fn a_process_that_is_not_there() -> Result<()> {
    need_root!();
    let _machine = Machine::take()?;
    let pid = dead_pid()?;
    let line = attach_refuses(&["-p", &pid, "-d", "1s"], FAILURE)?;
    ensure!(line.contains(&pid), "which process? {line}");
    Ok(())
}

#[test]
fn one_of_two_processes_is_not_there() -> Result<()> {
    need_root!();
    let _machine = Machine::take()?;
    let pid = dead_pid()?;
    let line = attach_refuses(&["-p", &own_pid(), "-p", &pid, "-d", "1s"], FAILURE)?;
    ensure!(line.contains(&pid), "which process? {line}");
    Ok(())
}

#[test]
fn a_process_that_exits_at_once() -> Result<()> {
    need_root!();
    let _machine = Machine::take()?;
    for life in ["0", "0.05", "0.2", "0.5"] {
        let mut target = Bounded::spawn(Command::new("sleep").arg(life))?;
        let pid = target.pid().to_string();
        // Reaped at its end, so that it does not stay as a zombie.
        let reaper = std::thread::spawn(move || target.wait_within(Duration::from_secs(5)));
        let (code, stderr) = run(&mut attach(&["-p", &pid, "-d", "20s"])?)?;
        let all = stderr.join("\n");
        ensure!(code == 0 || code == FAILURE, "exit code {code}: {all}");
        ensure!(stderr.iter().all(|line| line.starts_with("dwell: ")), "stderr: {all}");
        ensure!(code == 0 || !stderr.is_empty(), "a failure without a word");
        reaper.join().map_err(|_| anyhow::anyhow!("panicked"))??;
    }
    Ok(())
}

#[test]
fn a_zombie() -> Result<()> {
    need_root!();
    let _machine = Machine::take()?;
    let zombie = Bounded::spawn(&mut Command::new("true"))?;
    std::thread::sleep(Duration::from_millis(200));
    attach_refuses(&["-p", &zombie.pid().to_string(), "-d", "1s"], FAILURE)?;
    Ok(())
}

#[test]
fn a_kernel_thread() -> Result<()> {
    need_root!();
    let _machine = Machine::take()?;
    // kthreadd is process 2, except inside a container, where it cannot be seen.
    if !fs::read_to_string("/proc/2/comm").is_ok_and(|name| name.trim() == "kthreadd") {
        dwell_tests::need::skip(module_path!(), "kernel threads cannot be seen from here");
        return Ok(());
    }
    let line = attach_refuses(&["-p", "2", "-d", "1s"], FAILURE)?;
    ensure!(line.contains("kernel"), "why not? {line}");
    Ok(())
}

#[test]
fn a_name_that_matches_nothing() -> Result<()> {
    need_root!();
    let _machine = Machine::take()?;
    let line = attach_refuses(&["--comm", "no-such-name", "-d", "1s"], FAILURE)?;
    ensure!(line.contains("no-such-name"), "which name? {line}");
    Ok(())
}

#[test]
fn a_cgroup_that_is_none() -> Result<()> {
    need_root!();
    let _machine = Machine::take()?;
    let line = attach_refuses(&["--cgroup", "/no/such/cgroup", "-d", "1s"], FAILURE)?;
    ensure!(line.contains("/no/such/cgroup"), "which cgroup? {line}");
    attach_refuses(&["--cgroup", "/usr", "-d", "1s"], FAILURE)?;
    Ok(())
}

#[test]
fn a_command_that_is_none() -> Result<()> {
    need_root!();
    let _machine = Machine::take()?;
    let line = attach_refuses(&["--", "/no/such/command"], FAILURE)?;
    ensure!(line.contains("/no/such/command"), "which command? {line}");
    // A folder cannot be run either.
    attach_refuses(&["--", "/"], FAILURE)?;
    Ok(())
}

#[test]
fn not_root() -> Result<()> {
    need_root!();
    let _machine = Machine::take()?;
    // Where the binary was built may be closed to others.
    let folder = tempfile::tempdir()?;
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755))?;
    let copy = folder.path().join("dwell");
    fs::copy(dwell::binary()?, &copy)?;
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o755))?;
    const NOBODY: u32 = 65534;
    let mut command = Command::new(copy);
    command.args(["attach", "-a", "-d", "1s"]).stdout(Stdio::null()).current_dir("/");
    let line = refuses(command.uid(NOBODY).gid(NOBODY), FAILURE)?;
    ensure!(line.contains("CAP_"), "which capabilities are missing? {line}");
    ensure!(line.contains("sudo") || line.contains("setcap"), "what helps? {line}");
    Ok(())
}

#[test]
fn a_kernel_without_btf() -> Result<()> {
    need_root!();
    let _machine = Machine::take()?;
    let mut command = attach(&["-p", &own_pid(), "-d", "1s"])?;
    // SAFETY: the closure only makes system calls.
    let line = refuses(unsafe { command.pre_exec(hide_btf) }, FAILURE)?;
    ensure!(line.contains("BTF"), "what is missing? {line}");
    Ok(())
}

/// Mounts an empty file system over the kernel's BTF, for this process alone.
fn hide_btf() -> io::Result<()> {
    let check = |result| if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) };
    let mount = |source: &std::ffi::CStr, target: &std::ffi::CStr, flags| {
        // SAFETY: the names end with NUL, and there is no data.
        check(unsafe {
            let (source, target) = (source.as_ptr(), target.as_ptr());
            libc::mount(source, target, source, flags, std::ptr::null())
        })
    };
    // SAFETY: unshare(2) touches no memory.
    check(unsafe { libc::unshare(libc::CLONE_NEWNS) })?;
    mount(c"none", c"/", libc::MS_REC | libc::MS_PRIVATE)?;
    mount(c"tmpfs", c"/sys/kernel/btf", 0)
}

#[test]
fn stdout_that_takes_nothing() -> Result<()> {
    need_root!();
    let _machine = Machine::take()?;
    for form in [&[][..], &["--json"]] {
        let mut command = attach(&[&["-p", &own_pid(), "-d", "500ms"], form].concat())?;
        command.stdout(File::options().write(true).open("/dev/full")?);
        refuses(&mut command, FAILURE)?;
    }
    Ok(())
}

#[test]
fn help_and_version_succeed() -> Result<()> {
    let _machine = Machine::take()?;
    for argument in ["--help", "--version"] {
        let mut command = dwell::command()?;
        let (code, stderr) = run(command.arg(argument).stdout(Stdio::null()))?;
        ensure!(code == 0 && stderr.is_empty(), "{argument}: {code}, {stderr:?}");
    }
    Ok(())
}
