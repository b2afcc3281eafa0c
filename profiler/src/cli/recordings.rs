//! Recordings that are read, with names from files of this machine where they have none.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};

use super::progress::Reading;
use super::say;
use crate::capture::{Namer, Recording, Unnamed};
use crate::model::CodeAddress;
use crate::symbol::{SymbolFiles, clean};

/// Opens recordings.
pub struct Recordings {
    files: SymbolFiles,
    has_folders: bool,
}

impl Recordings {
    /// With folders in which programs, libraries and their debug information are looked for.
    ///
    /// # Errors
    /// When there is no such folder.
    pub fn with_symbols(folders: &[PathBuf]) -> Result<Self> {
        for folder in folders {
            ensure!(folder.is_dir(), "--symbols: {} is no folder", folder.display());
        }
        let files = SymbolFiles::new(folders.to_vec());
        Ok(Self { files, has_folders: !folders.is_empty() })
    }

    /// Opens one, and names what can be named.
    ///
    /// # Errors
    /// In one line, what is wrong with it.
    pub fn open(&mut self, path: &Path) -> Result<Recording> {
        let mut recording = Recording::open(path)?;
        let stacks = recording.unnamed();
        if stacks == 0 {
            return Ok(recording);
        }
        let reading = Reading::names(stacks);
        let unnamed = recording.name(&mut Names { files: &mut self.files, reading: &reading });
        drop(reading);
        let unnamed = unnamed?;
        // Programs without symbols are nothing new where names were looked for while it was made.
        if recording.is_named_later()? || self.has_folders {
            self.tell(&unnamed);
        }
        Ok(recording)
    }

    /// Says what has no names still, by file.
    fn tell(&mut self, unnamed: &Unnamed) {
        for (file, addresses) in &unnamed.files {
            let path = Path::new(&file.path);
            let name = path.file_name().unwrap_or(path.as_os_str());
            let name = clean(name.as_encoded_bytes());
            let places = match addresses.len() {
                1 => "1 place".to_owned(),
                many => format!("{many} places"),
            };
            let why = match self.files.has(file) {
                true => "the file with its build id has no symbols for them",
                false => "no file here has its build id",
            };
            say(&format!(
                "no names for {places} in {name}: {why} ({}); --symbols FOLDER says where to look",
                file.build_id
            ));
        }
    }
}

struct Names<'a> {
    files: &'a mut SymbolFiles,
    reading: &'a Reading,
}

impl Namer for Names<'_> {
    fn functions(&mut self, code: &CodeAddress) -> Vec<(String, bool)> {
        let named = self.files.functions(code).into_iter();
        named.map(|function| (function.name, function.inlined)).collect()
    }

    fn variable(&mut self, code: &CodeAddress) -> Option<(String, u64)> {
        let variable = self.files.variable(code)?;
        Some((variable.name, variable.offset))
    }

    fn step(&mut self) {
        self.reading.step();
    }
}

#[cfg(test)]
mod tests;
