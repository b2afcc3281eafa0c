//! Debian packages: `setup/packages` installs them.

use std::{path::Path, process::Command};

use anyhow::{Result, bail};

use crate::process::{self, find, is_root};

/// Who may be asked for the rights to install.
#[derive(Clone, Copy, PartialEq)]
pub enum Rights {
    /// Install only when this process is root already.
    Own,
    /// Use sudo otherwise.
    Sudo,
}

/// Installs packages, or says which command does. A package may be a list of alternatives,
/// `one|other`, of which the first that the distribution has is taken.
pub fn install(root: &Path, packages: &[&str], rights: Rights) -> Result<()> {
    let script = root.join("setup/packages");
    if find("apt-get").is_none() {
        bail!("this is no Debian or Ubuntu: install {} by hand", packages.join(" "));
    }
    let mut command = if is_root() {
        Command::new(script)
    } else if rights == Rights::Sudo && find("sudo").is_some() {
        let mut sudo = Command::new("sudo");
        sudo.arg(script);
        sudo
    } else {
        bail!("packages are missing: as root, run `setup/packages {}`", quoted(packages));
    };
    process::run(command.args(packages))
}

/// The packages as a shell would want them.
fn quoted(packages: &[&str]) -> String {
    let words = packages.iter().map(|package| match package.contains('|') {
        true => format!("'{package}'"),
        false => (*package).to_owned(),
    });
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alternatives_are_quoted_for_the_shell() {
        assert_eq!(quoted(&["gdb", "linux-perf|linux-tools"]), "gdb 'linux-perf|linux-tools'");
    }
}
