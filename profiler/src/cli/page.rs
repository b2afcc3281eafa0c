//! `--html`.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use super::file::NewFile;
use crate::analyze::Heat;
use crate::model::Profile;
use crate::session::Tap;
use crate::view;

/// A page for the browser that is going to be written.
pub struct Page {
    file: NewFile,
    heat: Heat,
}

impl Page {
    /// To this file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn open(path: &Path) -> Result<Self> {
        Ok(Self { file: NewFile::open(path)?, heat: Heat::default() })
    }

    /// Takes note of a slice of a recording.
    pub fn add_slice(&mut self, slice: &Profile) {
        self.heat.add_slice(slice);
    }

    /// Takes note of the end of a live window.
    pub fn add_last(&mut self, profile: &Profile) {
        self.heat.add_so_far(profile);
    }

    /// Writes it.
    ///
    /// # Errors
    /// When that is not possible.
    pub fn write(self, profile: &Profile) -> Result<()> {
        let page = view::page(profile, &self.heat);
        self.file.write(|out| out.write_all(page.as_bytes()))
    }
}

/// Looks at latencies while a live window is open.
impl Tap for Page {
    fn every(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn take(&mut self, profile: Profile) -> Result<()> {
        self.heat.add_so_far(&profile);
        Ok(())
    }
}
