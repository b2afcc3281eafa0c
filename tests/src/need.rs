//! What a test needs of the machine. Where that is missing the test is skipped, visibly; in CI
//! nothing is skipped.

use std::io::Write;
use std::path::PathBuf;

/// Returns from the test unless it runs as root.
#[macro_export]
macro_rules! need_root {
    () => {
        if !$crate::need::is_root() {
            $crate::need::skip(module_path!(), "needs root");
            return Ok(());
        }
    };
}

/// Returns from the test unless every program named is installed.
#[macro_export]
macro_rules! need_program {
    ($($name:expr),+ $(,)?) => {
        $(if $crate::need::program($name).is_none() {
            $crate::need::skip(module_path!(), &format!("needs the program {}", $name));
            return Ok(());
        })+
    };
}

/// Whether this process is root.
pub fn is_root() -> bool {
    // SAFETY: geteuid(2) always succeeds.
    unsafe { libc::geteuid() == 0 }
}

/// Where a program is installed: in PATH, in the sbin folders, or among PostgreSQL's own.
pub fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    folders.extend(["/usr/sbin", "/sbin"].map(PathBuf::from));
    folders.extend(postgresql_folders());
    folders.into_iter().map(|folder| folder.join(name)).find(|path| path.is_file())
}

/// Says that a test was skipped; panics where skipping is not allowed (`CI=true`,
/// `DWELL_NO_SKIP=1`).
pub fn skip(module: &str, reason: &str) {
    let thread = std::thread::current();
    let test = thread.name().filter(|&name| name != "main").unwrap_or("test");
    let line = format!("SKIPPED: {module}::{test}: {reason}");
    if is_set("CI", "true") || is_set("DWELL_NO_SKIP", "1") {
        panic!("{line}, and nothing may be skipped here");
    }
    // Not eprintln!, which the test runner captures.
    let _ = writeln!(std::io::stderr(), "{line}");
}

fn is_set(name: &str, value: &str) -> bool {
    std::env::var(name).is_ok_and(|found| found == value)
}

/// Debian keeps the server's programs out of PATH, one folder for each version; newest first.
fn postgresql_folders() -> Vec<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut folders: Vec<(u32, PathBuf)> = versions
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path())))
        .collect();
    folders.sort_by_key(|(version, _)| std::cmp::Reverse(*version));
    folders.into_iter().map(|(_, folder)| folder.join("bin")).collect()
}
