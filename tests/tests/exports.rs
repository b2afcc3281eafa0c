//! What is exported is read by the programs that it is for.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use dwell_tests::machine::Machine;
use dwell_tests::recording::record;
use dwell_tests::requests::{Client, Server};
use dwell_tests::workload::Workload;
use dwell_tests::{dwell, need_program, need_python, need_root};

/// Of four threads that take turns on a mutex, three wait at any time: so long in a window of a second.
const WAITED_NS: std::ops::Range<u64> = 2_500_000_000..3_200_000_000;

/// Four threads on one mutex.
fn mutex() -> Result<Workload> {
    let mut workload =
        Workload::start(env!("CARGO_BIN_EXE_workload"), &["mutex", "--seconds", "20"])?;
    workload.go()?;
    Ok(workload)
}

/// A folder for what is exported, gone with the test.
fn folder() -> Result<tempfile::TempDir> {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).context("no folder")
}

/// Exports a second of a process to a file.
fn export(pid: u32, format: &[&str], path: &Path) -> Result<()> {
    export_of(&["-p", &pid.to_string(), "-d", "1s"], format, path)
}

/// Exports what these options name to a file.
fn export_of(options: &[&str], format: &[&str], path: &Path) -> Result<()> {
    let mut command = dwell::command()?;
    command.arg("export").args(options).arg("--format").args(format);
    command.arg("-o").arg(path).stdin(Stdio::null());
    let output = command.output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{format:?}: {}: {said}", output.status);
    ensure!(output.stdout.is_empty(), "{format:?}: something on stdout");
    Ok(())
}

/// What a program prints that reads what was exported.
fn read<S: AsRef<OsStr>>(program: impl AsRef<Path>, arguments: &[S]) -> Result<String> {
    let program = program.as_ref();
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).env("HOME", env!("CARGO_TARGET_TMPDIR"));
    let output = command.output().with_context(|| program.display().to_string())?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}: {}: {said}", program.display(), output.status);
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn folded_stacks_have_the_lock_and_its_time() -> Result<()> {
    need_root!();
    let _machine = Machine::take()?;
    let (workload, folder) = (mutex()?, folder()?);
    let path = folder.path().join("waits.folded");
    export(workload.pid(), &["folded"], &path)?;
    let text = fs::read_to_string(&path)?;
    let locks = text.lines().filter(|line| line.contains("pthread_mutex_lock"));
    let values = locks.map(|line| line.rsplit(' ').next().unwrap_or_default().parse::<u64>());
    let waited: u64 = values.collect::<Result<Vec<_>, _>>()?.into_iter().sum();
    ensure!(WAITED_NS.contains(&waited), "{waited} ns in\n{text}");
    // The holder sleeps, which is no work.
    ensure!(!text.contains("[sleep"), "waits for work:\n{text}");
    export(workload.pid(), &["folded", "--idle"], &path)?;
    ensure!(fs::read_to_string(&path)?.contains("[sleep"), "no waits for work");
    Ok(())
}

#[test]
fn a_flame_graph_is_an_image() -> Result<()> {
    need_root!();
    need_program!("rsvg-convert");
    let _machine = Machine::take()?;
    let (workload, folder) = (mutex()?, folder()?);
    let path = folder.path().join("waits.svg");
    // Whatever was there before, nothing of it is left.
    fs::write(&path, vec![b'x'; 1 << 20])?;
    export(workload.pid(), &["flamegraph"], &path)?;
    ensure!(fs::read_to_string(&path)?.contains("pthread_mutex_lock"), "the lock is not there");
    let image = folder.path().join("waits.png");
    read("rsvg-convert", &[path.as_os_str(), OsStr::new("-o"), image.as_os_str()])?;
    ensure!(fs::read(&image)?.starts_with(b"\x89PNG") && fs::metadata(&image)?.len() > 2_000);
    Ok(())
}

#[test]
fn pprof_reads_its_format() -> Result<()> {
    need_root!();
    need_program!("go");
    let _machine = Machine::take()?;
    let (workload, folder) = (mutex()?, folder()?);
    let path = folder.path().join("waits.pb.gz");
    export(workload.pid(), &["pprof"], &path)?;
    let path = path.to_string_lossy();
    let pprof = ["tool", "pprof", "-unit=ns"];
    let top = read("go", &[&pprof[..], &["-top", "-cum", &path]].concat())?;
    ensure!(top.contains("Type: wait") && top.contains("pthread_mutex_lock"), "{top}");
    // `2950000000ns 100% …  pthread_mutex_lock`: the fourth column is the time with what it calls.
    let row = top.lines().find(|line| line.ends_with("pthread_mutex_lock")).context("no row")?;
    let time = row.split_whitespace().nth(3).context("no time")?.trim_end_matches("ns");
    let waited: f64 = time.parse().with_context(|| row.to_owned())?;
    ensure!(WAITED_NS.contains(&(waited as u64)), "{waited} ns in\n{top}");
    let tags = read("go", &[&pprof[..], &["-tags", &path]].concat())?;
    ensure!(tags.contains("kind") && tags.contains("futex"), "{tags}");
    Ok(())
}

/// Adds up a column of a table for the rows in which another one has this value.
const SUM: &str = "
import csv, sys
path, sum_of, where, value = sys.argv[1:]
with open(path, newline='') as file:
    rows = list(csv.DictReader(file, strict=True))
assert all(None not in row and None not in row.values() for row in rows), 'a row of another length'
print(sum(int(row[sum_of]) for row in rows if row[where] == value))
";

#[test]
fn tables_are_read_by_python() -> Result<()> {
    need_root!();
    need_program!("/usr/bin/python3");
    let _machine = Machine::take()?;
    let (workload, folder) = (mutex()?, folder()?);
    let pid = workload.pid().to_string();
    for (table, sum_of, column, value) in [
        ("waits", "total_ns", "kind", "futex"),
        ("threads", "futex_ns", "pid", &pid),
        ("locks", "total_ns", "sort", "lock"),
    ] {
        let path = folder.path().join(format!("{table}.csv"));
        export(workload.pid(), &["csv", "--table", table], &path)?;
        let sum = |sum_of: &str| {
            let path = path.to_string_lossy();
            read("/usr/bin/python3", &["-c", SUM, &path, sum_of, column, value])
        };
        let text = sum(sum_of).with_context(|| table.to_owned())?;
        let waited: u64 = text.trim().parse()?;
        // The thread that started the others waits for their end, which is a futex, but no lock.
        let most = if table == "locks" { WAITED_NS.end } else { WAITED_NS.end + 1_000_000_000 };
        ensure!((WAITED_NS.start..most).contains(&waited), "{table}: {waited} ns");
    }
    Ok(())
}

/// Prints what DuckDB answers, a line for each row.
const ASK: &str = "
import duckdb, sys
for row in duckdb.sql(sys.argv[1]).fetchall():
    print(*row, sep='\\t')
";

/// Columns of text, of means, and of flags. Of the others, those whose names end in `_ns` are times, and the rest
/// are counts.
const TEXTS: &[&str] = &[
    "behind",
    "comm",
    "kind",
    "label",
    "lock",
    "object",
    "process",
    "protocol",
    "service",
    "sort",
    "stack",
    "syscall",
    "thread_groups",
];
const MEANS: &[&str] = &["per_second", "queue_mean"];
const FLAGS: &[&str] = &["contention", "ended", "waiting_for_work"];

/// What DuckDB calls the type of a column.
fn type_of(column: &str) -> &'static str {
    match column {
        _ if TEXTS.contains(&column) => "VARCHAR",
        _ if MEANS.contains(&column) => "DOUBLE",
        _ if FLAGS.contains(&column) => "BOOLEAN",
        _ if column.ends_with("_ns") => "BIGINT",
        _ => "UBIGINT",
    }
}

#[test]
fn tables_are_read_by_duckdb() -> Result<()> {
    need_root!();
    let python = need_python!();
    let _machine = Machine::take()?;
    let (workload, folder) = (mutex()?, folder()?);
    let ask = |sql: &str| read(&python, &["-c", ASK, sql]).with_context(|| sql.to_owned());
    let file = |table: &str| folder.path().join(format!("{table}.parquet"));
    let pid = workload.pid();
    for (table, what) in [
        ("waits", "sum(total_ns) FROM {} WHERE kind = 'futex'".to_owned()),
        ("threads", format!("sum(futex_ns) FROM {{}} WHERE pid = {pid} AND NOT ended")),
        ("locks", "sum(total_ns) FROM {} WHERE sort = 'lock' AND contention".to_owned()),
    ] {
        export(pid, &["parquet", "--table", table], &file(table))?;
        let name = format!("'{}'", file(table).display());
        let waited: u64 = ask(&format!("SELECT {}", what.replace("{}", &name)))?.trim().parse()?;
        // As above: the end of the threads is waited for, too.
        let most = if table == "locks" { WAITED_NS.end } else { WAITED_NS.end + 1_000_000_000 };
        ensure!((WAITED_NS.start..most).contains(&waited), "{table}: {waited} ns");
    }
    export(pid, &["parquet", "--table", "requests"], &file("requests"))?;
    for table in ["threads", "waits", "locks", "requests"] {
        let name = file(table).display().to_string();
        let sql = format!("SELECT column_name, column_type FROM (DESCRIBE FROM '{name}')");
        let types = ask(&sql)?;
        ensure!(types.lines().count() >= 14, "{table}: {types}");
        for line in types.lines() {
            let (column, found) = line.split_once('\t').context(line.to_owned())?;
            ensure!(found == type_of(column), "{table}.{column}: {found}");
        }
    }
    // It has answered no request.
    let rows = ask(&format!("SELECT count(*) FROM '{}'", file("requests").display()))?;
    ensure!(rows.trim() == "0", "{rows}");
    Ok(())
}

#[test]
fn requests_of_a_recording_are_read_by_duckdb() -> Result<()> {
    need_root!();
    let python = need_python!();
    let _machine = Machine::take()?;
    let folder = folder()?;
    let workload = env!("CARGO_BIN_EXE_workload");
    let server = Server::tcp(workload, &["--plan", "sleep:2000"])?;
    let recording = folder.path().join("requests.dwell");
    let recorder = record(&[server.pid()], &recording, &["-d", "60s"])?;
    let asked = Client::start(workload, server.place(), &["--requests", "200"])?.drive()?;
    recorder.interrupt()?.document()?;
    let table = folder.path().join("requests.parquet");
    let recording = recording.display().to_string();
    export_of(&["--recording", &recording], &["parquet", "--table", "requests"], &table)?;
    let sql = format!(
        "SELECT sum(count), min(p50_ns), max(p50_ns) FROM '{}' WHERE service LIKE '%:{}'",
        table.display(),
        server.port()?
    );
    let answer = read(&python, &["-c", ASK, &sql])?;
    let figures: Vec<u64> =
        answer.split_whitespace().map(str::parse).collect::<Result<_, _>>().context(answer)?;
    ensure!(figures[0] == asked.end.requests, "{figures:?}");
    ensure!((2_000_000..4_000_000).contains(&figures[1]) && figures[2] < 4_000_000, "{figures:?}");
    // A recording is not replaced by mistake.
    let lost = export_of(&["--recording", &recording], &["parquet"], Path::new(&recording));
    ensure!(lost.is_err_and(|error| error.to_string().contains("is a recording")), "it is lost");
    export_of(&["--recording", &recording], &["csv"], &table)?;
    Ok(())
}

#[test]
fn what_cannot_be_written_is_said_before_anything_is_measured() -> Result<()> {
    let _machine = Machine::take()?;
    let pid = std::process::id().to_string();
    let missing: PathBuf = folder()?.path().join("none/waits.svg");
    let mut command = dwell::command()?;
    command.args(["export", "--format", "flamegraph", "-d", "60s", "-p", &pid]);
    let output = command.arg("-o").arg(missing).stdin(Stdio::null()).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(1), "{}", output.status);
    ensure!(said.lines().count() == 1 && said.starts_with("dwell: cannot write"), "{said}");
    Ok(())
}

#[test]
fn manual_pages_and_completions_are_what_their_readers_want() -> Result<()> {
    need_program!("mandoc");
    let folder = folder()?;
    let written = folder.path().to_string_lossy().into_owned();
    dwell::Dwell::text("man", &["--write", &written])?;
    let pages: Vec<PathBuf> =
        fs::read_dir(folder.path())?.map(|page| Ok(page?.path())).collect::<Result<_>>()?;
    ensure!(pages.iter().any(|page| page.ends_with("dwell-attach.1")), "{pages:?}");
    for page in &pages {
        let checked = ["-Tlint", "-Werror"].map(OsStr::new);
        read("mandoc", &[&checked[..], &[page.as_os_str()]].concat())
            .with_context(|| page.display().to_string())?;
        let text = read("mandoc", &[OsStr::new("-Thtml"), page.as_os_str()])?;
        ensure!(text.contains(">NAME<") && text.contains("dwell"), "{text}");
    }
    let script = folder.path().join("completions");
    fs::write(&script, dwell::Dwell::text("completions", &["bash"])?)?;
    // What a shell offers after `dwell att`.
    let ask = "source \"$0\"; COMP_WORDS=(dwell att); COMP_CWORD=1; _dwell dwell att dwell; \
               echo \"${COMPREPLY[@]}\"";
    let offered = read("bash", &[OsStr::new("-c"), OsStr::new(ask), script.as_os_str()])?;
    ensure!(offered.trim() == "attach", "{offered:?}");
    Ok(())
}
