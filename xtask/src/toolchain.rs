//! The compiler and the linker of the eBPF object.
//!
//! Debian builds Rust's `core` for BPF, so its `rustc-web` (the compiler for its browsers) does
//! what otherwise takes a nightly compiler with the sources of the standard library. bpf-linker
//! has to read the bitcode that this compiler writes, hence the same LLVM for both.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::{
    packages::{self, Rights},
    process::{find, holds, run, stdout},
    repo,
};

/// Debian's compiler; one from rustup on the PATH must not take its place.
const RUSTC: &str = "/usr/bin/rustc";
/// The target of the probes.
pub const TARGET: &str = "bpfel-unknown-none";
const BPF_LINKER: &str = "0.13.0";
const LLVM: &str = "/usr/lib/llvm-22";

const COMPILER_PACKAGES: [&str; 2] = ["rustc-web", "libstd-rust-web-dev-bpf"];
const LLVM_PACKAGES: [&str; 1] = ["llvm-22"];
const LINKER_PACKAGES: [&str; 5] =
    ["llvm-22-dev", "libpolly-22-dev", "zlib1g-dev", "libzstd-dev", "gcc"];

/// What builds the eBPF object.
pub struct Toolchain {
    /// The compiler.
    pub rustc: PathBuf,
    /// Where the compiler keeps its libraries.
    pub sysroot: PathBuf,
    /// The linker, which also generates the code.
    pub linker: PathBuf,
    /// Takes out the debug information that the kernel does not read.
    pub objcopy: PathBuf,
    /// What each of them calls itself.
    pub versions: BTreeMap<String, String>,
}

/// Finds the toolchain and installs what is missing of it.
pub fn ensure(root: &Path) -> Result<Toolchain> {
    let linker = linker_path()?;
    install_packages(root, &linker)?;
    if !works(&linker) {
        build_linker()?;
    }
    let objcopy = Path::new(LLVM).join("bin/llvm-objcopy");
    let rustc = PathBuf::from(RUSTC);
    let sysroot = stdout(Command::new(&rustc).args(["--print", "sysroot"]))?;
    let versions = BTreeMap::from([
        ("rustc".to_owned(), joined(&stdout(Command::new(&rustc).arg("-vV"))?)),
        ("bpf-linker".to_owned(), joined(&stdout(Command::new(&linker).arg("--version"))?)),
        ("llvm".to_owned(), llvm_version(&objcopy)?),
    ]);
    Ok(Toolchain { rustc, sysroot: sysroot.trim().into(), linker, objcopy, versions })
}

fn install_packages(root: &Path, linker: &Path) -> Result<()> {
    let mut missing = Vec::new();
    if !has_core() {
        missing.extend(COMPILER_PACKAGES);
    }
    if !Path::new(LLVM).join("bin/llvm-objcopy").is_file() {
        missing.extend(LLVM_PACKAGES);
    }
    if !works(linker) {
        missing.extend(LINKER_PACKAGES);
    } else if find("cc").is_none() {
        missing.push("gcc");
    }
    if missing.is_empty() {
        return Ok(());
    }
    packages::install(root, &missing, Rights::Own)
        .context("the toolchain of the eBPF object is incomplete")?;
    if !has_core() {
        bail!("{RUSTC} has no core library for {TARGET}: remove the package that put it there");
    }
    Ok(())
}

/// Whether the compiler can build for BPF.
fn has_core() -> bool {
    let mut query = Command::new(RUSTC);
    query.args(["--print", "target-libdir", "--target", TARGET]);
    stdout(&mut query).is_ok_and(|folder| holds(Path::new(folder.trim()), "libcore-"))
}

fn linker_path() -> Result<PathBuf> {
    Ok(linker_root()?.join("bin/bpf-linker"))
}

fn linker_root() -> Result<PathBuf> {
    Ok(repo::cache_dir()?.join(format!("bpf-linker-{BPF_LINKER}")))
}

fn works(linker: &Path) -> bool {
    linker.is_file() && stdout(Command::new(linker).arg("--version")).is_ok()
}

fn build_linker() -> Result<()> {
    eprintln!("building bpf-linker {BPF_LINKER} (once, about a minute)");
    let mut install = repo::cargo();
    install
        .args(["install", "bpf-linker", "--version", BPF_LINKER, "--locked", "--force"])
        .args(["--no-default-features", "--features", "llvm-22", "--root"])
        .arg(linker_root()?)
        .env("LLVM_PREFIX", LLVM);
    run(&mut install).context("bpf-linker could not be built")
}

fn llvm_version(objcopy: &Path) -> Result<String> {
    let text = stdout(Command::new(objcopy).arg("--version"))?;
    let line = text.lines().find_map(|line| line.split_once("LLVM version "));
    Ok(line.context("llvm-objcopy does not say its version")?.1.trim().to_owned())
}

/// Several lines as one, as the manifest wants them.
fn joined(text: &str) -> String {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ")
}
