//! Which kernels are booted, and where they come from.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use super::apt::Apt;
use crate::repo;

/// A kernel to boot.
#[derive(Debug)]
pub struct Kernel {
    /// What it is called on the command line and in the report.
    pub name: &'static str,
    /// What its version begins with.
    series: &'static str,
    /// What dwell cannot do without and this kernel does not have: there, dwell has to refuse, and
    /// to name all of it.
    pub lacks: &'static [&'static str],
}

const fn kernel(name: &'static str, series: &'static str) -> Kernel {
    Kernel { name, series, lacks: &[] }
}

/// Debian 11, 12 and 13 with their own kernels, and the newest there is.
pub const KERNELS: [Kernel; 4] = [
    Kernel {
        lacks: &["bpf_get_current_task_btf", "bpf_task_pt_regs", "bpf_mem_alloc"],
        ..kernel("5.10", "5.10.")
    },
    kernel("6.1", "6.1."),
    kernel("6.12", "6.12."),
    kernel("newest", ""),
];

/// Releases whose kernels are wanted: each has its own archive of security updates, where the
/// kernels of the older ones are newest.
const RELEASES: [&str; 3] = ["bullseye", "bookworm", "trixie"];
/// And where newer ones are. Not experimental: that has release candidates.
const NEWER: [&str; 2] = ["trixie-backports", "sid"];

/// The kernel for virtual machines: small, and everything that is needed to boot it here (serial
/// console, NVMe, ext4) is built in, so there is no module to be loaded.
const PACKAGE: &str = "linux-image-cloud-amd64";

/// A kernel ready to boot.
pub struct Boot {
    /// As `uname -r` says it.
    pub release: String,
    /// The compressed kernel.
    pub image: PathBuf,
}

/// For the command line.
pub fn by_name(name: &str) -> Result<&'static Kernel, String> {
    static ALL: [Kernel; 4] = KERNELS;
    ALL.iter().find(|kernel| kernel.name == name).ok_or_else(|| {
        let names: Vec<&str> = KERNELS.iter().map(|kernel| kernel.name).collect();
        format!("choose from {}", names.join(", "))
    })
}

/// Fetches what is not in the cache. One that is not to be had does not keep the others back.
pub fn fetch(kernels: &[&Kernel]) -> Result<Vec<Result<Boot>>> {
    let cache = repo::cache_dir()?.join("kernels");
    let suites = [&RELEASES[..], &NEWER[..]].concat();
    let apt = Apt::new(&cache.join("apt"), &suites, &RELEASES)?;
    let versions = apt.versions(PACKAGE)?;
    Ok(kernels.iter().map(|kernel| fetch_one(&apt, &versions, kernel, &cache)).collect())
}

fn fetch_one(apt: &Apt, versions: &[String], kernel: &Kernel, cache: &Path) -> Result<Boot> {
    let version = versions.iter().find(|version| version.starts_with(kernel.series));
    let version = version.with_context(|| {
        format!("this machine's mirror has no {PACKAGE} {}* in any suite", kernel.series)
    })?;
    let needs = apt.depends(&format!("{PACKAGE}={version}"))?;
    let package = needs.iter().find(|name| name.starts_with("linux-image-"));
    let package = package.with_context(|| format!("{PACKAGE} {version} names no kernel"))?;
    let release = package.trim_start_matches("linux-image-").to_owned();
    let image = cache.join(&release).join("vmlinuz");
    if !image.is_file() {
        unpack(apt, package, &image)?;
    }
    Ok(Boot { release, image })
}

fn unpack(apt: &Apt, package: &str, image: &Path) -> Result<()> {
    let folder = image.parent().context("no folder")?;
    let unpacked = folder.join("unpacked");
    fs::create_dir_all(&unpacked)?;
    // From Linux 7 on, the image is in a package of its own.
    let needs = apt.depends(package)?;
    let binary = needs.iter().find(|name| name.starts_with("linux-binary-"));
    apt.unpack(binary.map_or(package, String::as_str), &unpacked)?;
    let found = find_image(&unpacked).with_context(|| format!("{package} holds no vmlinuz"))?;
    fs::rename(found, image).context("cannot move the kernel")?;
    fs::remove_dir_all(&unpacked).context("cannot remove the unpacked package")
}

/// In /boot, or beside the modules.
fn find_image(folder: &Path) -> Option<PathBuf> {
    ["boot", "usr/lib/modules", "lib/modules"]
        .into_iter()
        .find_map(|place| find_below(&folder.join(place), 1))
}

fn find_below(folder: &Path, depth: u32) -> Option<PathBuf> {
    folder.read_dir().ok()?.flatten().map(|entry| entry.path()).find_map(|path| {
        let is_image = path.file_name()?.to_str()?.starts_with("vmlinuz");
        match (is_image, depth) {
            (true, _) => Some(path),
            (false, 0) => None,
            (false, _) => find_below(&path, depth - 1),
        }
    })
}
