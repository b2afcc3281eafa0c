//! `bpf/MANIFEST`: what the committed eBPF object was built from.
//!
//! One file for two users, so that they cannot disagree: `cargo xtask bpf` writes the manifest,
//! and the build script of this package refuses an object that does not match it.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};

/// What the object is built from: files, and folders with everything in them.
pub const INPUTS: [&str; 5] = [
    "profiler-common/Cargo.toml",
    "profiler-common/src",
    "profiler-ebpf/Cargo.lock",
    "profiler-ebpf/Cargo.toml",
    "profiler-ebpf/src",
];

/// SHA-256 of each source file in hexadecimal, by its path from the root of the checkout.
pub type Hashes = BTreeMap<String, String>;

/// The contents of `bpf/MANIFEST`.
#[derive(Debug, Default, PartialEq)]
pub struct Manifest {
    /// The versions that built the object, by the name of the tool.
    pub toolchain: BTreeMap<String, String>,
    /// SHA-256 of the object.
    pub object: String,
    /// SHA-256 over all sources: [`total`] of `files`.
    pub sources: String,
    /// SHA-256 of each source.
    pub files: Hashes,
}

impl Manifest {
    /// Reads the manifest's text: `[section]` lines and `key = "value"` lines, a subset of TOML.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut manifest = Self::default();
        let mut section = "";
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
                section = name;
                continue;
            }
            let (key, value) = entry(line).ok_or_else(|| format!("line {number} is unreadable"))?;
            match (section, key.as_str()) {
                ("toolchain", _) => drop(manifest.toolchain.insert(key, value)),
                ("files", _) => drop(manifest.files.insert(key, value)),
                ("object", "sha256") => manifest.object = value,
                ("sources", "sha256") => manifest.sources = value,
                _ => return Err(format!("line {number} is unknown")),
            }
        }
        Ok(manifest)
    }

    /// Which sources are not the ones that the object was built from: `None` when all are.
    pub fn stale(&self, now: &Hashes) -> Option<String> {
        if total(now) == self.sources && *now == self.files {
            return None;
        }
        let known =
            self.files.keys().chain(now.keys().filter(|path| !self.files.contains_key(*path)));
        let changed: Vec<&str> = known
            .filter(|path| now.get(*path) != self.files.get(*path))
            .map(String::as_str)
            .collect();
        Some(match changed.as_slice() {
            [] => "the hash over all of them".to_owned(),
            [path] => (*path).to_owned(),
            [path, rest @ ..] => format!("{path} and {} more", rest.len()),
        })
    }
}

/// Splits `key = "value"`, where the key may be quoted too. No escapes: neither has quotes.
fn entry(line: &str) -> Option<(String, String)> {
    let (key, value) = line.split_once(" = ")?;
    let value = value.strip_prefix('"')?.strip_suffix('"')?;
    Some((key.trim_matches('"').to_owned(), value.to_owned()))
}

/// Hashes everything in [`INPUTS`] below `root`, the checkout.
pub fn hash_sources(root: &Path) -> io::Result<Hashes> {
    let mut paths = Vec::new();
    for input in INPUTS {
        list(&root.join(input), &mut paths)?;
    }
    paths
        .into_iter()
        .map(|path| {
            let name = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
            Ok((name, sha256(&read(&path)?)))
        })
        .collect()
}

/// One hash over all sources: that of the lines which `sha256sum` would print for them.
pub fn total(hashes: &Hashes) -> String {
    let lines: String = hashes.iter().map(|(path, hash)| format!("{hash}  {path}\n")).collect();
    sha256(lines.as_bytes())
}

/// SHA-256 in hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Reads a file; the error names it.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    fs::read(path).map_err(|error| named(path, &error))
}

/// Appends `path`, or all files below it, except what editors leave behind.
fn list(path: &Path, into: &mut Vec<PathBuf>) -> io::Result<()> {
    if !path.is_dir() {
        into.push(path.to_owned());
        return Ok(());
    }
    for entry in fs::read_dir(path).map_err(|error| named(path, &error))? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if !name.starts_with(['.', '#']) && !name.ends_with('~') {
            list(&entry.path(), into)?;
        }
    }
    Ok(())
}

fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}
