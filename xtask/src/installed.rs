//! Which programs are there, and the Debian packages that bring those that are not.

use std::{path::Path, process::Command};

use anyhow::Result;

use crate::{
    packages::{self, Rights},
    process::{find, holds, is_root, stdout},
    python::PYTHON,
};

/// A program, and the package that brings it. `a|b` are alternatives: Debian's name, then Ubuntu's.
#[derive(Clone, Copy)]
pub enum Program {
    /// On the PATH.
    Named(&'static str, &'static str),
    /// `perf`: Debian's kernel tools for any kernel, else Ubuntu's for the running one.
    Perf,
    /// A module of Debian's Python.
    PythonModule(&'static str, &'static str),
    /// One of PostgreSQL's own, in a folder for each version outside the PATH.
    Postgresql(&'static str, &'static str),
}

const POSTGRESQL: &str = "/usr/lib/postgresql";

/// Installs what is missing. Who may not install gets a warning: that is no reason not to do what
/// can be done without.
pub fn install(root: &Path, programs: &[Program]) -> Result<()> {
    let missing = missing(programs)?;
    let mut wanted: Vec<&str> = missing.iter().map(|(_, package)| package.as_str()).collect();
    wanted.dedup();
    if wanted.is_empty() {
        return Ok(());
    }
    match packages::install(root, &wanted, Rights::Sudo) {
        Err(error) if !is_root() => eprintln!("warning: {error:#}"),
        result => result?,
    }
    Ok(())
}

/// Programs that are not there, each with the package that brings it.
pub fn missing(programs: &[Program]) -> Result<Vec<(&'static str, String)>> {
    let mut missing = Vec::new();
    for program in programs {
        if !program.is_there() {
            missing.push((program.name(), program.package()?));
        }
    }
    Ok(missing)
}

impl Program {
    fn name(self) -> &'static str {
        match self {
            Self::Named(name, _) | Self::PythonModule(name, _) | Self::Postgresql(name, _) => name,
            Self::Perf => "perf",
        }
    }

    fn package(self) -> Result<String> {
        Ok(match self {
            Self::Named(_, package)
            | Self::PythonModule(_, package)
            | Self::Postgresql(_, package) => package.to_owned(),
            Self::Perf => {
                let release = stdout(Command::new("uname").arg("-r"))?;
                format!("linux-perf|linux-tools-{}|linux-tools-generic", release.trim())
            }
        })
    }

    fn is_there(self) -> bool {
        match self {
            Self::Named(name, _) => find(name).is_some(),
            // Ubuntu's is a script that fails where the tools of the running kernel are missing.
            Self::Perf => {
                find("perf").is_some_and(|perf| stdout(Command::new(perf).arg("--version")).is_ok())
            }
            Self::PythonModule(name, _) => {
                let import = format!("import {name}");
                stdout(Command::new(PYTHON).args(["-c", &import])).is_ok()
            }
            Self::Postgresql(name, _) => Path::new(POSTGRESQL).read_dir().is_ok_and(|versions| {
                versions.flatten().any(|version| holds(&version.path().join("bin"), name))
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_names_its_package() {
        let programs = [Program::Named("sh", "dash"), Program::Named("no-such-program", "a|b")];
        assert_eq!(missing(&programs).unwrap(), [("no-such-program", "a|b".to_owned())]);
    }
}
