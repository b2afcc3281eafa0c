//! `cargo xtask bpf`: the eBPF object, bit for bit.

use std::{
    collections::BTreeMap,
    env,
    ffi::OsString,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::{
    manifest::{Manifest, hash_sources, read, sha256, total},
    process::run as run_command,
    repo, rustc,
    toolchain::{self, TARGET, Toolchain},
};

const OBJECT: &str = "profiler/bpf/dwell.bpf.o";
const MANIFEST: &str = "profiler/bpf/MANIFEST";

/// What to do about the object.
#[derive(clap::Args)]
pub struct Arguments {
    /// Change nothing; fail when the committed object is not what its sources give
    #[arg(long, conflicts_with = "log")]
    check: bool,
    /// Build one whose probes log, for developing them, and leave the committed one alone
    #[arg(long)]
    log: bool,
}

/// Builds the object, or compares it with what a build gives.
pub fn run(arguments: &Arguments) -> Result<()> {
    let root = repo::root()?;
    match (arguments.check, arguments.log) {
        (true, _) => check(&root),
        (_, true) => logging(&root),
        _ => update(&root),
    }
}

fn logging(root: &Path) -> Result<()> {
    let toolchain = toolchain::ensure(root)?;
    let target = repo::target_dir(root)?.join("bpf-log");
    build(root, &toolchain, &target, &["--features", "log"])?;
    println!(
        "to see what the probes log, as root: DWELL_PROBES={} \
         cargo run -p profiler --features probe-log -- attach …",
        target.join("dwell.bpf.o").display()
    );
    Ok(())
}

fn update(root: &Path) -> Result<()> {
    let toolchain = toolchain::ensure(root)?;
    let before = hash_sources(root)?;
    let object = build(root, &toolchain, &repo::target_dir(root)?.join("bpf"), &[])?;
    let files = hash_sources(root)?;
    let manifest = Manifest {
        toolchain: toolchain.versions,
        object: sha256(&object),
        sources: total(&files),
        files,
    };
    if let Some(changed) = manifest.stale(&before).filter(|path| !path.ends_with("Cargo.lock")) {
        bail!("the sources changed during the build ({changed}): run it again");
    }
    let folder = root.join(OBJECT);
    fs::create_dir_all(folder.parent().context("the object has no folder")?)?;
    fs::write(root.join(OBJECT), &object).with_context(|| format!("cannot write {OBJECT}"))?;
    fs::write(root.join(MANIFEST), render(&manifest))
        .with_context(|| format!("cannot write {MANIFEST}"))?;
    println!("{OBJECT}: {} bytes, SHA-256 {}", object.len(), manifest.object);
    Ok(())
}

fn check(root: &Path) -> Result<()> {
    let manifest = fs::read_to_string(root.join(MANIFEST))
        .with_context(|| format!("run `cargo xtask bpf`: cannot read {MANIFEST}"))?;
    let manifest = Manifest::parse(&manifest)
        .map_err(|error| anyhow::anyhow!("{MANIFEST}: {error}: run `cargo xtask bpf`"))?;
    let committed = sha256(&read(&root.join(OBJECT))?);
    if let Some(changed) = manifest.stale(&hash_sources(root)?) {
        bail!("{OBJECT} is older than its sources (changed: {changed}): run `cargo xtask bpf`");
    }
    if committed != manifest.object {
        bail!(
            "{OBJECT} has SHA-256 {committed}, but {MANIFEST} says {}: run `cargo xtask bpf`",
            manifest.object
        );
    }
    let toolchain = toolchain::ensure(root)?;
    let scratch = Scratch::new()?;
    let rebuilt = sha256(&build(root, &toolchain, &scratch.0, &["--locked"])?);
    if rebuilt != committed {
        bail!(
            "{OBJECT} has SHA-256 {committed}, but its sources give {rebuilt}{}: \
             run `cargo xtask bpf`",
            differences(&manifest.toolchain, &toolchain.versions)
        );
    }
    println!("{OBJECT}: rebuilt with the same bytes, SHA-256 {committed}");
    Ok(())
}

/// Builds the object below `target` and returns its bytes.
fn build(root: &Path, toolchain: &Toolchain, target: &Path, options: &[&str]) -> Result<Vec<u8>> {
    let mut cargo = repo::cargo();
    for (name, _) in env::vars_os().filter(|(name, _)| changes_the_build(name)) {
        cargo.env_remove(name);
    }
    cargo
        .args(["build", "--release", "--target", TARGET, "--bin", "dwell", "--target-dir"])
        .arg(target)
        .args(options)
        .current_dir(root.join("profiler-ebpf"))
        .env("RUSTC", &toolchain.rustc)
        .env("RUSTC_BOOTSTRAP", "1")
        .env("RUSTC_WRAPPER", env::current_exe().context("this program has no path")?)
        .env(rustc::WRAPPED, root)
        .env("CARGO_INCREMENTAL", "0")
        .env("CARGO_ENCODED_RUSTFLAGS", flags(root, toolchain, target));
    run_command(&mut cargo).context("the eBPF object cannot be built")?;
    let built = target.join(TARGET).join("release/dwell");
    let stripped = target.join("dwell.bpf.o");
    // The kernel reads BTF, not DWARF: two thirds of the bytes less to commit.
    run_command(Command::new(&toolchain.objcopy).arg("--strip-debug").args([&built, &stripped]))?;
    Ok(read(&stripped)?)
}

/// Settings of the caller's that would give other bytes.
fn changes_the_build(name: &std::ffi::OsStr) -> bool {
    let name = name.to_string_lossy();
    ["CARGO_PROFILE_", "CARGO_BUILD_", "CARGO_TARGET_", "CARGO_UNSTABLE_"]
        .iter()
        .any(|prefix| name.starts_with(prefix))
        || ["RUSTFLAGS", "RUSTC_WORKSPACE_WRAPPER"].contains(&name.as_ref())
}

/// The compiler's flags, in cargo's encoding: separated by an unprintable character.
fn flags(root: &Path, toolchain: &Toolchain, target: &Path) -> OsString {
    let linker = joined("-Clinker=", &toolchain.linker, "");
    let rustlib = toolchain.sysroot.join("lib/rustlib");
    [
        linker,
        "-Clink-arg=--btf".into(),
        "-Cdebuginfo=2".into(),
        // Passed on to bpf-linker as --cpu=v3: 32-bit registers, jumps on them, and atomics.
        "-Ctarget-cpu=v3".into(),
        // The last that fits counts.
        joined("--remap-path-prefix=", &rustlib, "=/remapped/rustlib"),
        joined("--remap-path-prefix=", root, "=/remapped/dwell"),
        joined("--remap-path-prefix=", target, "=/remapped/target"),
    ]
    .join(std::ffi::OsStr::new("\x1f"))
}

fn joined(before: &str, path: &Path, after: &str) -> OsString {
    let mut whole = OsString::from(before);
    whole.push(path);
    whole.push(after);
    whole
}

/// The manifest as text that [`Manifest::parse`] reads.
fn render(manifest: &Manifest) -> String {
    let Manifest { toolchain, object, sources, files } = manifest;
    let mut text = String::from(
        "# What dwell.bpf.o was built from. Written by `cargo xtask bpf`: do not edit.\n\
         # `sources` is the SHA-256 of the lines that `sha256sum` prints for `files`.\n\
         \n[toolchain]\n",
    );
    let mut push = |line: std::fmt::Arguments| {
        text.write_fmt(line).unwrap_or_else(|_| unreachable!("a String takes any text"));
    };
    for (tool, version) in toolchain {
        push(format_args!("{tool} = \"{version}\"\n"));
    }
    push(format_args!("\n[object]\nsha256 = \"{object}\"\n"));
    push(format_args!("\n[sources]\nsha256 = \"{sources}\"\n\n[files]\n"));
    for (path, hash) in files {
        push(format_args!("\"{path}\" = \"{hash}\"\n"));
    }
    text
}

/// Which tools are others than those that built the object: the likely reason for other bytes.
fn differences(then: &BTreeMap<String, String>, now: &BTreeMap<String, String>) -> String {
    let mut text = String::new();
    for (tool, version) in now {
        let before = then.get(tool).map_or("none", String::as_str);
        if before != version {
            text += &format!(" ({tool} was \"{before}\", is \"{version}\")");
        }
    }
    text
}

/// A temporary folder, removed at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Result<Self> {
        let folder = env::temp_dir().join(format!("dwell-bpf-check-{}", std::process::id()));
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        Ok(Self(folder))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("warning: cannot remove {}: {error}", self.0.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hashes(files: &[(&str, &str)]) -> BTreeMap<String, String> {
        files.iter().map(|(path, hash)| ((*path).to_owned(), (*hash).to_owned())).collect()
    }

    fn manifest(files: &[(&str, &str)]) -> Manifest {
        let files = hashes(files);
        Manifest {
            toolchain: hashes(&[("rustc", "rustc 1.96.0 (a b); host: c"), ("bpf-linker", "0.13")]),
            object: sha256(b"object"),
            sources: total(&files),
            files,
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let written = manifest(&[("profiler-ebpf/src/main.rs", "00"), ("profiler-ebpf/a", "11")]);
        assert_eq!(Manifest::parse(&render(&written)), Ok(written));
    }

    #[test]
    fn an_unreadable_line_is_named() {
        let error = Manifest::parse("[object]\nsha256 = 12\n");
        assert_eq!(error, Err("line 2 is unreadable".to_owned()));
        let error = Manifest::parse("\n[object]\nmd5 = \"12\"\n");
        assert_eq!(error, Err("line 3 is unknown".to_owned()));
    }

    #[test]
    fn changed_new_and_removed_sources_are_named() {
        let built = manifest(&[("a", "00"), ("b", "11")]);
        assert_eq!(built.stale(&hashes(&[("a", "00"), ("b", "11")])), None);
        let stale = |files| built.stale(&hashes(files)).unwrap();
        assert_eq!(stale(&[("a", "00"), ("b", "22")]), "b");
        assert_eq!(stale(&[("a", "00")]), "b");
        assert_eq!(stale(&[("a", "00"), ("b", "11"), ("c", "33")]), "c");
        assert_eq!(stale(&[("a", "77"), ("c", "33")]), "a and 2 more");
    }

    #[test]
    fn a_manifest_whose_sum_is_wrong_is_stale() {
        let mut edited = manifest(&[("a", "00")]);
        edited.sources = sha256(b"");
        assert_eq!(edited.stale(&hashes(&[("a", "00")])).unwrap(), "the hash over all of them");
    }

    #[test]
    fn hashes_are_those_of_sha256sum() {
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(sha256(b""), empty);
        assert_eq!(total(&hashes(&[("x", "00"), ("y", "11")])), sha256(b"00  x\n11  y\n"));
    }

    #[test]
    fn another_compiler_is_named() {
        let text =
            differences(&hashes(&[("llvm", "22"), ("rustc", "1")]), &hashes(&[("rustc", "2")]));
        assert_eq!(text, " (rustc was \"1\", is \"2\")");
    }
}
