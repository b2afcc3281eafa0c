//! Follows servers while a load runs.

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::{check, check_each};
use crate::document::Document;
use crate::document::requests::{Each, read_each};
use crate::dwell::Dwell;

/// Within this time after the load dwell has looked at what is left open.
const LAST_LOOK: Duration = Duration::from_millis(700);

/// What dwell said.
pub struct Seen {
    /// Its document.
    pub document: Document,
    /// Each request.
    pub each: Vec<Each>,
    /// All of it, as it is.
    pub text: String,
}

/// Follows processes while a load runs, and checks all that has to add up.
pub fn count<T>(pids: &[u32], load: impl FnOnce() -> Result<T>) -> Result<(Document, T)> {
    let dwell = Dwell::attach_to(pids)?;
    let done = load()?;
    thread::sleep(LAST_LOOK);
    let document = dwell.interrupt()?.document()?;
    explain(&document, check(&document))?;
    Ok((document, done))
}

/// The same by `dwell requests`, with a line for each request.
pub fn watch<T>(
    pids: &[u32],
    options: &[&str],
    load: impl FnOnce() -> Result<T>,
) -> Result<(Seen, T)> {
    let folder = tempfile::Builder::new().prefix("dwell-each-").tempdir()?;
    let path = folder.path().join("each");
    let mut arguments = vec!["-d".to_owned(), "60s".to_owned(), "--each".to_owned()];
    arguments.push(path.to_str().context("a folder that is no text")?.to_owned());
    arguments.extend(options.iter().map(|&option| option.to_owned()));
    arguments.extend(pids.iter().flat_map(|pid| ["-p".to_owned(), pid.to_string()]));
    let dwell = Dwell::requests(&arguments)?;
    let done = load()?;
    thread::sleep(LAST_LOOK);
    let finished = dwell.interrupt()?;
    let document = finished.document()?;
    let each = read_each(&path)?;
    let text = finished.stdout + &std::fs::read_to_string(&path)?;
    let seen = Seen { document, each, text };
    let checked = check(&seen.document).and_then(|()| check_each(&seen.document, &seen.each));
    explain(&seen.document, checked)?;
    Ok((seen, done))
}

/// Adds what dwell saw to a failure.
pub fn explain<T>(document: &Document, result: Result<T>) -> Result<T> {
    result.with_context(|| format!("dwell saw:\n{}", document.describe_requests()))
}

/// A figure is what it has to be.
pub fn same(what: &str, found: u64, expected: u64) -> Result<()> {
    ensure!(found == expected, "{what}: dwell counted {found}, it were {expected}");
    Ok(())
}

/// The last look at a service has found nobody connected.
pub fn no_connection_is_open(document: &Document, address: &str) -> Result<()> {
    let load = document.body.queues.iter().find(|load| load.address == address);
    same("open connections", load.context("no queue of it")?.connections, 0)
}
