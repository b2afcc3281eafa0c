//! Recordings: made by `dwell record`, and read by other verbs.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tempfile::TempDir;

use crate::document::Document;
use crate::dwell::{self, Dwell};

/// A folder for recordings, gone with the test.
pub struct Folder(TempDir);

impl Folder {
    /// In `tmp`, which is `env!("CARGO_TARGET_TMPDIR")`.
    pub fn new(tmp: &str) -> Result<Self> {
        Ok(Self(tempfile::tempdir_in(tmp).context("no folder for recordings")?))
    }

    /// Where a recording of this name lies.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

/// Begins to record processes, and waits until the window has begun. It prints the live document at its
/// end, as other verbs do.
pub fn record(pids: &[u32], file: &Path, options: &[&str]) -> Result<Dwell> {
    let mut arguments: Vec<String> = vec!["-o".into(), file.display().to_string()];
    arguments.extend(pids.iter().flat_map(|pid| ["-p".to_owned(), pid.to_string()]));
    arguments.extend(options.iter().map(|&option| option.to_owned()));
    Dwell::record(&arguments)
}

/// The document of a recording, and its text.
pub fn replay(file: &Path, options: &[&str]) -> Result<(Document, String)> {
    let mut command = dwell::command()?;
    command.arg("report").arg(file).arg("--json").args(options).stdin(Stdio::null());
    let output = command.output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}: {}: {said}", file.display(), output.status);
    let text = String::from_utf8(output.stdout)?;
    Ok((Document::parse(&text)?, text))
}

/// The document of a comparison.
pub fn compare<S: AsRef<OsStr>>(files: &[S]) -> Result<Value> {
    let mut arguments: Vec<&OsStr> = files.iter().map(AsRef::as_ref).collect();
    arguments.push(OsStr::new("--json"));
    Ok(serde_json::from_str(&Dwell::text("compare", &arguments)?)?)
}
