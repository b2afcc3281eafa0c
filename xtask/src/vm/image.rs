//! The disk of the machine: an ext4 file system with the programs, what they need, and an init.
//!
//! A disk and not an initramfs, so that the tests of waits for a disk have one.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use super::{checks, programs::Programs};
use crate::process::{find, run, stdout};

/// Most of it is a hole in the file.
const SIZE: &str = "2G";

/// The file with the checks where dwell has to refuse.
pub const REFUSAL: &str = "refusal";

/// The first process of the machine.
const INIT: &str = include_str!("init.sh");

/// Builds the disk; every machine writes into a layer of its own above it.
pub fn build(folder: &Path, programs: &Programs) -> Result<PathBuf> {
    let tree = folder.join("disk");
    if tree.exists() {
        fs::remove_dir_all(&tree).context("cannot remove the last disk")?;
    }
    for place in ["bin", "dev", "etc", "proc", "root", "sys", "tests", "tmp"] {
        fs::create_dir_all(tree.join(place))?;
    }
    let busybox = find("busybox").context("no busybox")?;
    copy(&busybox, &tree.join("bin/busybox"))?;
    for program in programs.all() {
        copy(program, &inside(&tree, program))?;
    }
    for library in libraries(programs)? {
        copy(&library, &inside(&tree, &library))?;
    }
    symlink(&programs.dwell, tree.join("bin/dwell"))?;
    for (suite, path) in &programs.suites {
        symlink(path, tree.join("tests").join(suite))?;
    }
    fs::write(tree.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n")?;
    fs::write(tree.join("checks"), checks::script())?;
    fs::write(tree.join(REFUSAL), checks::refusal_script())?;
    let init = tree.join("init");
    fs::write(&init, INIT)?;
    fs::set_permissions(&init, fs::Permissions::from_mode(0o755))?;
    let image = folder.join("disk.img");
    if image.exists() {
        fs::remove_file(&image)?;
    }
    let mut make = Command::new(find("mkfs.ext4").context("no mkfs.ext4")?);
    run(make.args(["-q", "-d"]).arg(&tree).arg(&image).arg(SIZE))?;
    Ok(image)
}

/// The same path inside the tree: the tests know the place of the workload by its path.
fn inside(tree: &Path, path: &Path) -> PathBuf {
    tree.join(path.strip_prefix("/").unwrap_or(path))
}

/// The shared libraries of all programs, the dynamic linker among them.
fn libraries(programs: &Programs) -> Result<BTreeSet<PathBuf>> {
    let mut libraries = BTreeSet::new();
    for program in programs.all() {
        let text = stdout(Command::new("ldd").arg(program))?;
        let paths = text.split_whitespace().filter(|word| word.starts_with('/'));
        libraries.extend(paths.map(PathBuf::from));
    }
    Ok(libraries)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let folder = to.parent().context("no folder")?;
    fs::create_dir_all(folder)?;
    fs::copy(from, to).with_context(|| format!("cannot copy {}", from.display()))?;
    Ok(())
}
