//! Recordings without names of functions get them later, from files with the same build ids.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use dwell_tests::document::Document;
use dwell_tests::machine::Machine;
use dwell_tests::recording::{Folder, record};
use dwell_tests::requests::{Client, Server};
use dwell_tests::{dwell, need_program, need_root};

const WORKLOAD: &str = env!("CARGO_BIN_EXE_workload");
const TMP: &str = env!("CARGO_TARGET_TMPDIR");
const ENDED: Duration = Duration::from_secs(30);

/// What a report says of a recording, on stdout and on stderr.
fn report(file: &Path, options: &[&str]) -> Result<(Document, String)> {
    let mut command = dwell::command()?;
    command.arg("report").arg(file).arg("--json").args(options).stdin(Stdio::null());
    let output = command.output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "{}: {said}", output.status);
    Ok((Document::parse(&String::from_utf8(output.stdout)?)?, said))
}

/// Records a server with a lock that all its requests take, once for each of these sets of options, all at the
/// same time.
fn record_server(program: &str, folder: &Folder, options: &[&[&str]]) -> Result<Vec<PathBuf>> {
    let server = Server::tcp(program, &["--model", "threads", "--plan", "lock:4000:20"])?;
    let load = ["--connections", "16", "--threads", "2", "--requests", "3200", "--rate", "400"];
    let client = Client::start(WORKLOAD, server.place(), &load)?;
    let driving = thread::spawn(move || client.drive());
    let mut files = Vec::new();
    let mut recorders = Vec::new();
    for (number, options) in options.iter().enumerate() {
        files.push(folder.path(&format!("{number}.dwell")));
        let options = [&["-d", "4s"], *options].concat();
        recorders.push(record(&[server.pid()], &files[number], &options)?);
    }
    for recorder in recorders {
        recorder.finish(ENDED)?.document()?;
    }
    driving.join().map_err(|_| anyhow::anyhow!("the client panicked"))??;
    Ok(files)
}

/// The stacks in which waits took more than a hundredth of the time.
fn stacks(document: &Document) -> BTreeSet<Vec<String>> {
    let least = document.body.window.duration_ns / 100;
    let waits = document.body.waits.iter().filter(|wait| wait.total_ns > least);
    waits.map(|wait| wait.stack.clone()).collect()
}

fn names(document: &Document, function: &str) -> bool {
    stacks(document).iter().flatten().any(|name| name.ends_with(function))
}

#[test]
fn names_given_later_are_those_given_at_once() -> Result<()> {
    need_root!();
    let _machine = Machine::take()?;
    let folder = Folder::new(TMP)?;
    let files = record_server(WORKLOAD, &folder, &[&[], &["--no-symbols"]])?;
    let [(at_once, nothing), (later, said)] = [report(&files[0], &[])?, report(&files[1], &[])?];
    ensure!(nothing.is_empty() && said.is_empty(), "{nothing}{said}");
    ensure!(names(&at_once, "take_ledger"), "{:#?}", stacks(&at_once));
    ensure!(stacks(&at_once) == stacks(&later), "{:#?}\n{:#?}", stacks(&at_once), stacks(&later));
    Ok(())
}

#[test]
fn a_stripped_program_is_named_by_its_debug_information() -> Result<()> {
    need_root!();
    need_program!("objcopy", "strip");
    let _machine = Machine::take()?;
    let folder = Folder::new(TMP)?;
    let program = folder.path("ledger-server");
    let symbols = folder.path("symbols");
    fs::create_dir(&symbols)?;
    fs::copy(WORKLOAD, &program)?;
    let run = |name: &str, arguments: &[&Path]| -> Result<()> {
        let status = Command::new(name).args(arguments).status()?;
        ensure!(status.success(), "{name}: {status}");
        Ok(())
    };
    run("objcopy", &["--only-keep-debug".as_ref(), &program, &symbols.join("of-the-server")])?;
    run("strip", &[&program])?;
    let name = program.to_string_lossy();
    let files = record_server(&name, &folder, &[&["--no-symbols"]])?;
    // As on another machine.
    fs::remove_file(&program)?;
    let (without, said) = report(&files[0], &[])?;
    ensure!(!names(&without, "take_ledger"), "{:#?}", stacks(&without));
    ensure!(
        said.contains("in ledger-server (build id ") && said.contains("no file here has the same"),
        "{said}"
    );
    ensure!(!said.contains("libc.so"), "that is here: {said}");
    let (with, said) = report(&files[0], &["--symbols", &symbols.to_string_lossy()])?;
    ensure!(names(&with, "take_ledger") && said.is_empty(), "{said}{:#?}", stacks(&with));
    // The other readers of recordings name them, too.
    let mut export = dwell::command()?;
    let folded = export.args(["export", "--format", "folded", "--symbols"]).arg(&symbols);
    let folded = folded.arg("--recording").arg(&files[0]).output()?;
    ensure!(String::from_utf8_lossy(&folded.stdout).contains("take_ledger"), "{folded:?}");
    Ok(())
}
