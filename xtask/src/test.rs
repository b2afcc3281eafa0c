//! `cargo xtask test`: installs what the tests use, builds everything and runs all tests.

use std::{ffi::OsString, path::Path, process::Command};

use anyhow::{Context, Result};

use crate::{
    packages::{self, Rights},
    process::{find, holds, is_root, run as run_command, stdout},
    repo,
};

/// How to run the tests.
#[derive(clap::Args)]
pub struct Arguments {
    /// Install nothing: tests that lack a program say so and are skipped
    #[arg(long)]
    no_install: bool,
    /// Passed on to `cargo test`, for instance `-p profiler` or a test's name
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<OsString>,
}

/// Programs that the tests use, and the packages that bring them. `a|b` are alternatives: Debian's
/// name, then Ubuntu's.
const PROGRAMS: &[(&str, &str)] = &[
    ("redis-server", "redis-server"),
    ("redis-benchmark", "redis-tools"),
    ("sysbench", "sysbench"),
    ("bpftool", "bpftool|linux-tools-common"),
    ("offcputime", "libbpf-tools"),
    ("gdb", "gdb"),
    ("nginx", "nginx-light|nginx"),
    ("python3", "python3-minimal|python3"),
    ("strace", "strace"),
    ("ps", "procps"),
    ("taskset", "util-linux"),
    ("runuser", "util-linux"),
    ("cc", "gcc"),
];

/// Debian's kernel tools for any kernel, else Ubuntu's for the running one.
fn perf_package() -> Result<String> {
    let release = stdout(Command::new("uname").arg("-r"))?;
    Ok(format!("linux-perf|linux-tools-{}|linux-tools-generic", release.trim()))
}

/// PostgreSQL's own programs are in a folder for each version, outside the PATH.
const POSTGRESQL: &str = "/usr/lib/postgresql";

/// Installs, builds, tests.
pub fn run(arguments: &Arguments) -> Result<()> {
    let root = repo::root()?;
    if !arguments.no_install {
        install(&root)?;
    }
    for (program, package) in missing()? {
        eprintln!("warning: no {program} (package {package}): the tests that use it are skipped");
    }
    build(&root)?;
    test(&root, &arguments.rest)
}

fn install(root: &Path) -> Result<()> {
    let missing = missing()?;
    let mut wanted: Vec<&str> = missing.iter().map(|(_, package)| package.as_str()).collect();
    wanted.dedup();
    if wanted.is_empty() {
        return Ok(());
    }
    match packages::install(root, &wanted, Rights::Sudo) {
        // Not being allowed to install is no reason not to run the other tests.
        Err(error) if !is_root() => eprintln!("warning: {error:#}"),
        result => result.context("the packages for the tests cannot be installed")?,
    }
    Ok(())
}

/// Programs that are not there, each with the package that brings it.
fn missing() -> Result<Vec<(&'static str, String)>> {
    let mut missing: Vec<_> = PROGRAMS
        .iter()
        .filter(|(program, _)| find(program).is_none())
        .map(|(program, package)| (*program, (*package).to_owned()))
        .collect();
    if !has_perf() {
        missing.push(("perf", perf_package()?));
    }
    for (program, package) in
        [("initdb", "postgresql"), ("pgbench", "postgresql-contrib|postgresql")]
    {
        if !has_postgresql(program) {
            missing.push((program, package.to_owned()));
        }
    }
    Ok(missing)
}

/// Ubuntu's `perf` is a script that fails where the tools of the running kernel are missing.
fn has_perf() -> bool {
    find("perf").is_some_and(|perf| stdout(Command::new(perf).arg("--version")).is_ok())
}

fn has_postgresql(program: &str) -> bool {
    Path::new(POSTGRESQL).read_dir().is_ok_and(|versions| {
        versions.flatten().any(|version| holds(&version.path().join("bin"), program))
    })
}

/// Builds all programs first: the tests start dwell and the workloads.
fn build(root: &Path) -> Result<()> {
    let mut cargo = repo::cargo();
    run_command(cargo.args(["build", "--release", "--workspace", "--bins"]).current_dir(root))
}

fn test(root: &Path, rest: &[OsString]) -> Result<()> {
    let mut cargo = repo::cargo();
    cargo.args(["test", "--release"]).current_dir(root);
    if !names_packages(rest) {
        cargo.arg("--workspace");
    }
    cargo.args(rest);
    cargo.env("DWELL_BIN", repo::target_dir(root)?.join("release/dwell"));
    if !is_root() {
        if has_free_sudo() {
            cargo.env(runner_variable(&host()?), "sudo -E");
        } else {
            eprintln!(
                "warning: neither root nor sudo without a password: the tests that load eBPF \
                 programs are skipped"
            );
        }
    }
    run_command(&mut cargo)
}

/// Whether the caller chooses the packages to test.
fn names_packages(rest: &[OsString]) -> bool {
    rest.iter()
        .map(|option| option.to_string_lossy())
        .take_while(|option| option != "--")
        .any(|option| option.starts_with("-p") || option.starts_with("--package"))
}

fn has_free_sudo() -> bool {
    find("sudo").is_some_and(|sudo| stdout(Command::new(sudo).args(["-n", "true"])).is_ok())
}

/// The platform that cargo builds for.
fn host() -> Result<String> {
    let version = stdout(Command::new("rustc").arg("-vV"))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("`rustc -vV` names no host")?.to_owned())
}

/// The variable by which cargo takes the program that runs test programs.
fn runner_variable(host: &str) -> String {
    format!("CARGO_TARGET_{}_RUNNER", host.to_uppercase().replace('-', "_"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_named_before_the_dashes() {
        let names =
            |rest: &[&str]| names_packages(&rest.iter().map(Into::into).collect::<Vec<_>>());
        assert!(names(&["-p", "profiler"]) && names(&["--package=profiler"]));
        assert!(!names(&["mutex"]) && !names(&["--", "-p"]));
    }

    #[test]
    fn the_runner_is_named_after_the_platform() {
        assert_eq!(
            runner_variable("x86_64-unknown-linux-gnu"),
            "CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER"
        );
    }
}
