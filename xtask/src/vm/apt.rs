//! Debian's packages of other releases, by an apt that leaves the machine's own alone.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, SystemTime},
};

use anyhow::{Context, Result};

use super::sources::Archives;
use crate::process::{run, stdout};

/// How old lists may be.
const FRESH: Duration = Duration::from_secs(24 * 3600);

/// An apt with its own sources, lists and downloads.
pub struct Apt {
    folder: PathBuf,
}

impl Apt {
    /// Sets it up in a folder, for these suites and the security updates of these releases.
    pub fn new(folder: &Path, suites: &[&str], releases: &[&str]) -> Result<Self> {
        for part in ["state/lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(folder.join(part))
                .with_context(|| format!("cannot make {}", folder.join(part).display()))?;
        }
        let apt = Self { folder: folder.to_owned() };
        let sources = Archives::of_machine()?.with_suites(suites, releases);
        let changed = fs::read_to_string(apt.sources()).is_ok_and(|old| old != sources);
        fs::write(apt.sources(), sources)?;
        if changed || !apt.is_fresh() {
            apt.update()?;
        }
        Ok(apt)
    }

    /// The versions of a package, newest first, as apt sorts them.
    pub fn versions(&self, package: &str) -> Result<Vec<String>> {
        let table = stdout(self.program("apt-cache").args(["madison", package]))?;
        let versions = table.lines().filter_map(|line| line.split('|').nth(1));
        Ok(versions.map(|version| version.trim().to_owned()).collect())
    }

    /// Names of the packages that this one needs; of alternatives, the first.
    pub fn depends(&self, package: &str) -> Result<Vec<String>> {
        let text = stdout(self.program("apt-cache").args(["show", "--no-all-versions", package]))?;
        let line = text.lines().find_map(|line| line.strip_prefix("Depends: "));
        let names = line.into_iter().flat_map(|line| line.split(", "));
        Ok(names.filter_map(|name| name.split(' ').next()).map(str::to_owned).collect())
    }

    /// Unpacks a package, with nothing of it run, into a folder.
    pub fn unpack(&self, package: &str, into: &Path) -> Result<()> {
        let downloads = self.folder.join("downloads");
        fs::create_dir_all(&downloads)?;
        let mut download = self.program("apt-get");
        run(download.args(["-q", "download", package]).current_dir(&downloads))?;
        for file in downloads.read_dir()?.flatten() {
            run(Command::new("dpkg-deb").arg("-x").arg(file.path()).arg(into))?;
        }
        fs::remove_dir_all(&downloads).context("cannot remove the package")
    }

    /// A suite that the mirror does not have leaves the lists of the others in place; the kernel
    /// that only that one has is then named as missing.
    fn update(&self) -> Result<()> {
        if let Err(error) = run(self.program("apt-get").args(["-q", "update"])) {
            eprintln!("warning: {error:#}; going on with the lists there are");
        }
        fs::write(self.stamp(), "").context("cannot write into the cache folder")
    }

    fn is_fresh(&self) -> bool {
        let written = self.stamp().metadata().and_then(|file| file.modified());
        written.is_ok_and(|at| SystemTime::now().duration_since(at).is_ok_and(|age| age < FRESH))
    }

    fn stamp(&self) -> PathBuf {
        self.folder.join("updated")
    }

    fn sources(&self) -> PathBuf {
        self.folder.join("kernels.sources")
    }

    fn program(&self, name: &str) -> Command {
        let mut command = Command::new(name);
        let mut set = |option: &str, value: &Path| {
            command.arg("-o").arg(format!("{option}={}", value.display()));
        };
        set("Dir::State", &self.folder.join("state"));
        set("Dir::Cache", &self.folder.join("cache"));
        set("Dir::Etc::SourceList", &self.sources());
        set("Dir::Etc::SourceParts", Path::new("/dev/null"));
        // Root's apt gives up its rights for downloads, and then may not enter a folder of root's.
        set("APT::Sandbox::User", Path::new("root"));
        command.args([
            "-o",
            "Acquire::Languages=none",
            "-o",
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false",
        ]);
        command
    }
}
