//! Requests with a known truth: a server that does what was planned and notes when, a client that
//! notes what it waited for, and one that sends what no server expects.

mod client;
mod connection;
mod ending;
mod handoff;
mod hostile;
mod http;
mod line;
mod models;
mod peers;
mod plans;
mod poll;
mod server;
mod service;
mod stream;

pub use client::Drive;
pub use hostile::Hostile;
pub use server::Serve;

use std::fmt::Display;
use std::fs::File;
use std::io::{self, BufWriter, Write, stdout};
use std::path::Path;

use anyhow::{Context, Result};

use super::system::{check, thread_id};

/// One line to who reads us.
fn say(line: impl Display) -> io::Result<()> {
    let mut stdout = stdout().lock();
    writeln!(stdout, "{line}")?;
    stdout.flush()
}

/// One line for each row.
fn write_log(path: &Path, rows: impl IntoIterator<Item = impl Display>) -> Result<()> {
    let mut file = BufWriter::new(File::create(path).context("cannot make the log")?);
    for row in rows {
        writeln!(file, "{row}")?;
    }
    file.flush().context("cannot write the log")
}
