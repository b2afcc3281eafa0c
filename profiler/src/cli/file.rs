//! Files that results go to.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

use super::output;
use crate::capture::Recording;

/// A file that can be written, and is not yet.
pub struct NewFile {
    path: PathBuf,
    file: File,
}

impl NewFile {
    /// Opened before anything is measured, which would be in vain if it could not be written.
    ///
    /// # Errors
    /// When it cannot be, or is a recording: with a name left out on the command line, one is soon lost.
    pub fn open(path: &Path) -> Result<Self> {
        let is_recording = path.is_file() && Recording::open(path).is_ok();
        ensure!(!is_recording, "{} is a recording, which would be lost", path.display());
        // What is there stays until there is something better.
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(path);
        let file = file.with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self { path: path.to_owned(), file })
    }

    /// Writes it, in place of what was there.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(self, write: impl FnOnce(&mut dyn io::Write) -> io::Result<()>) -> Result<()> {
        // Devices and pipes have no length.
        let is_plain = self.file.metadata().is_ok_and(|file| file.is_file());
        let emptied = if is_plain { self.file.set_len(0) } else { Ok(()) };
        let mut file = io::BufWriter::new(self.file);
        emptied
            .and_then(|()| write(&mut file))
            .and_then(|()| file.flush())
            .with_context(|| format!("cannot write {}", self.path.display()))
    }
}

/// Where what is made for other programs goes.
pub enum Place {
    /// Stdout.
    Stdout,
    /// A file.
    File(NewFile),
}

impl Place {
    /// Lets `write` write there.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(self, write: impl FnOnce(&mut dyn io::Write) -> io::Result<()>) -> Result<()> {
        match self {
            Self::Stdout => output::to_stdout(write),
            Self::File(file) => file.write(write),
        }
    }
}
