//! Recordings that are read, with names from files of this machine where they have none.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, ensure};

use super::progress::Reading;
use super::say;
use crate::capture::{Part, Recording};
use crate::model::{BuildId, Nameless, Names, Nanos};
use crate::symbol::{NoNames, SymbolFiles};
use crate::view::duration;

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
        let nameless = recording.nameless()?;
        if nameless.is_empty() {
            return Ok(recording);
        }
        let mut names = HashMap::new();
        let mut missing = Missing::default();
        let reading = Reading::symbols(nameless.len());
        for (build, wanted) in &nameless {
            let found = self.files.look_up(build, wanted);
            missing.note(build, wanted, &found);
            if let Ok(found) = found {
                names.insert(build.clone(), found);
            }
            reading.step();
        }
        drop(reading);
        recording.name(&names)?;
        let is_named_later = recording.is_named_later()?;
        missing.lines(is_named_later, self.has_folders).iter().for_each(|line| say(line));
        Ok(recording)
    }
}

/// What has no names still, by why.
#[derive(Default)]
struct Missing {
    no_file: Vec<(usize, String)>,
    too_large: Vec<(usize, String)>,
    no_symbols: Vec<(usize, String)>,
}

impl Missing {
    fn note(&mut self, build: &BuildId, wanted: &Nameless, found: &Result<Names, NoNames>) {
        let (list, places) = match found {
            Err(NoNames::NoFile) => (&mut self.no_file, wanted.code.len()),
            Err(NoNames::TooLarge) => (&mut self.too_large, wanted.code.len()),
            Ok(names) => {
                let named = |address: &&u64| names.functions.contains_key(*address);
                let places = wanted.code.len() - wanted.code.iter().filter(named).count();
                (&mut self.no_symbols, places)
            }
        };
        // Most data has no symbol in any file: what lies in no variable is not missed.
        if places > 0 {
            let path = wanted.paths.first().map_or("", String::as_str);
            let name = path.rsplit('/').next().filter(|name| !name.is_empty()).unwrap_or("a file");
            list.push((places, format!("{name} (build id {build})")));
        }
    }

    /// A program without symbols has no names live, either: that is worth a line only to somebody who has
    /// left them out, or looks for them.
    fn lines(self, is_named_later: bool, has_folders: bool) -> Vec<String> {
        let is_asked = is_named_later || has_folders;
        let lines = [
            (is_asked, self.no_file, NO_FILE),
            (is_asked, self.too_large, TOO_LARGE),
            (has_folders, self.no_symbols, NO_SYMBOLS),
        ];
        let told = lines.into_iter().filter(|(is_told, files, _)| *is_told && !files.is_empty());
        told.map(|(_, files, why)| format!("{}: {why}", places(files))).collect()
    }
}

const NO_FILE: &str = "no file here has the same build id; --symbols FOLDER says where to look";
const TOO_LARGE: &str = "the symbols there are larger than dwell reads";
const NO_SYMBOLS: &str = "the files that were found have no symbols there";

/// Files named, of those in which names are missing.
const NAMED: usize = 3;

/// `no names for 12 places in a (build id 01ab…), b (…)`, those with most places first.
fn places(mut files: Vec<(usize, String)>) -> String {
    files.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    let places: usize = files.iter().map(|(places, _)| places).sum();
    let named: Vec<&str> = files.iter().take(NAMED).map(|(_, name)| name.as_str()).collect();
    let more = match files.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let word = if places == 1 { "place" } else { "places" };
    format!("no names for {places} {word} in {}{more}", named.join(", "))
}

/// The slices of a recording that lie in a span of time; says so where they begin earlier or end later than was asked for.
///
/// # Errors
/// When there is nothing between.
pub fn part_of(
    recording: &Recording,
    from: Option<Duration>,
    to: Option<Duration>,
) -> Result<Part> {
    let part = recording.part(from, to)?;
    let bounds = recording.bounds(part);
    let asked = [from, to].map(|time| time.map(|time| Nanos(time.as_nanos() as u64)));
    let is_off = |(asked, is): (Option<Nanos>, Nanos)| {
        asked.is_some_and(|asked| asked.0.abs_diff(is.0) > NOTABLE.0)
    };
    if asked.into_iter().zip(bounds).any(is_off) {
        let [from, to] = bounds.map(duration);
        say(&format!("a recording is kept in slices: this is from {from} to {to} of it"));
    }
    Ok(part)
}

/// Slices end this much late.
const NOTABLE: Nanos = Nanos(50_000_000);

#[cfg(test)]
mod tests;
