//! Files that results go to.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

use super::output;
use crate::capture::Recording;

/// A file that can be written, and is not yet. Where nothing is written, none is left that was not there.
pub struct NewFile {
    path: PathBuf,
    file: File,
    /// It was not there before, and nothing is in it.
    is_blank: bool,
}

impl NewFile {
    /// Opened before anything is measured, which would be in vain if it could not be written.
    ///
    /// # Errors
    /// When it cannot be, or is a recording: with a name left out on the command line, one is soon lost.
    pub fn open(path: &Path) -> Result<Self> {
        let is_recording = path.is_file() && Recording::open(path).is_ok();
        ensure!(!is_recording, "{} is a recording, which would be lost", path.display());
        let created = OpenOptions::new().write(true).create_new(true).open(path);
        let is_blank = created.is_ok();
        // What is there stays until there is something better.
        let file = created
            .or_else(|_| OpenOptions::new().write(true).create(true).truncate(false).open(path));
        let file = file.with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self { path: path.to_owned(), file, is_blank })
    }

    /// Writes it, in place of what was there.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(mut self, write: impl FnOnce(&mut dyn io::Write) -> io::Result<()>) -> Result<()> {
        self.is_blank = false;
        // Devices and pipes have no length.
        let is_plain = self.file.metadata().is_ok_and(|file| file.is_file());
        let emptied = if is_plain { self.file.set_len(0) } else { Ok(()) };
        let mut file = io::BufWriter::new(&self.file);
        emptied
            .and_then(|()| write(&mut file))
            .and_then(|()| file.flush())
            .with_context(|| format!("cannot write {}", self.path.display()))
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if self.is_blank {
            let _gone_already = std::fs::remove_file(&self.path);
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_nothing_was_written_to_is_only_left_where_it_was_before() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("graph.svg");
        drop(NewFile::open(&path)?);
        assert!(!path.exists());
        NewFile::open(&path)?.write(|out| out.write_all(b"old"))?;
        drop(NewFile::open(&path)?);
        assert_eq!(std::fs::read(&path)?, b"old");
        NewFile::open(&path)?.write(|_| Ok(()))?;
        assert_eq!(std::fs::read(&path)?, b"");
        Ok(())
    }
}
