//! Recordings that are read, with names from files of this machine where they have none.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Result, ensure};

use super::progress::Reading;
use super::say;
use crate::capture::{Namer, Recording, Unnamed};
use crate::model::{CodeAddress, CodeFile};
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

    /// Says what has no names still, and why.
    fn tell(&mut self, unnamed: &Unnamed) {
        let (found, missing): (Vec<_>, Vec<_>) =
            unnamed.files.iter().partition(|(file, _)| self.files.has(file));
        if !missing.is_empty() {
            say(&format!(
                "{}: no file here has the same build id; --symbols FOLDER says where to look",
                places(&missing)
            ));
        }
        // A program without symbols has no names live, either: nothing to be told unless somebody looks for them.
        if !found.is_empty() && self.has_folders {
            say(&format!("{}: the files that were found have no symbols there", places(&found)));
        }
    }
}

/// Files named, of those in which names are missing.
const NAMED: usize = 3;

/// `no names for 12 places in a (build id 01ab…), b (…)`, those with most places first.
fn places(files: &[(&Arc<CodeFile>, &BTreeSet<u64>)]) -> String {
    let mut files: Vec<_> = files.iter().map(|(file, addresses)| (addresses.len(), file)).collect();
    files.sort_by(|(a, _), (b, _)| b.cmp(a));
    let places: usize = files.iter().map(|(places, _)| places).sum();
    let named: Vec<String> = files.iter().take(NAMED).map(|(_, file)| name(file)).collect();
    let more = match files.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let word = if places == 1 { "place" } else { "places" };
    format!("no names for {places} {word} in {}{more}", named.join(", "))
}

fn name(file: &CodeFile) -> String {
    let name = file.path.rsplit('/').next().unwrap_or(&file.path);
    format!("{} (build id {})", clean(name.as_bytes()), file.build_id)
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
