//! `cargo xtask vm`: boots Debian's kernels under emulation and lets dwell show in each what it can.

mod apt;
mod checks;
mod image;
mod kernels;
mod machine;
mod programs;
mod report;
mod sources;
mod verdict;
mod verifier;

use std::fs;

use anyhow::{Context, Result, bail};

use self::{
    kernels::{KERNELS, Kernel},
    report::{Column, Report},
};
use crate::{
    packages::{self, Rights},
    process::find,
    repo,
};

/// Which kernels to boot.
#[derive(clap::Args)]
pub struct Arguments {
    /// Boot only this kernel: 5.10, 6.1, 6.12 or newest (repeatable)
    #[arg(long, value_name = "NAME", value_parser = kernels::by_name)]
    kernel: Vec<&'static Kernel>,
    /// Name the kernels and the checks, and boot nothing
    #[arg(long)]
    list: bool,
}

/// Programs that this uses, and the packages that bring them.
const PROGRAMS: [(&str, &str); 4] = [
    (machine::QEMU, "qemu-system-x86"),
    ("busybox", "busybox-static"),
    ("mkfs.ext4", "e2fsprogs"),
    ("dpkg-deb", "dpkg"),
];

/// Boots, checks, reports. Fails when a check does.
pub fn run(arguments: &Arguments) -> Result<()> {
    if arguments.list {
        print!("{}", report::list(&KERNELS));
        return Ok(());
    }
    let root = repo::root()?;
    install(&root)?;
    let wanted: Vec<&Kernel> = match arguments.kernel.as_slice() {
        [] => KERNELS.iter().collect(),
        some => some.to_vec(),
    };
    let folder = repo::target_dir(&root)?.join("vm");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let programs = programs::build(&root)?;
    let image = image::build(&folder, &programs)?;
    let images = kernels::fetch(&wanted)?;
    let mut columns = Vec::new();
    for (kernel, found) in wanted.iter().zip(images) {
        columns.push(match found {
            Ok(boot) => {
                eprintln!("booting {} ({})", kernel.name, boot.release);
                let log = folder.join(format!("{}.log", kernel.name));
                let ended = machine::boot(&boot.image, &image, &checks_of(kernel), &log)?;
                eprintln!("{} {ended}; its log: {}", kernel.name, log.display());
                let text = fs::read(&log).with_context(|| format!("no {}", log.display()))?;
                Column::new(kernel, &boot, &String::from_utf8_lossy(&text))
            }
            Err(reason) => Column::absent(kernel, format!("{reason:#}")),
        });
    }
    let complete = arguments.kernel.is_empty();
    publish(&root, &folder, &Report { columns }, complete)
}

fn checks_of(kernel: &Kernel) -> String {
    match kernel.lacks {
        [] => String::new(),
        _ => format!("checks={}", image::REFUSAL),
    }
}

fn install(root: &std::path::Path) -> Result<()> {
    let missing: Vec<&str> = PROGRAMS
        .into_iter()
        .filter(|(program, _)| find(program).is_none())
        .map(|(_, package)| package)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    packages::install(root, &missing, Rights::Sudo)
}

/// Prints and writes the report; the committed table only where every kernel is in it.
fn publish(
    root: &std::path::Path,
    folder: &std::path::Path,
    report: &Report,
    complete: bool,
) -> Result<()> {
    let table = report.markdown();
    print!("{table}");
    let path = folder.join("report.md");
    fs::write(&path, &table).with_context(|| format!("cannot write {}", path.display()))?;
    eprintln!("written to {}", path.display());
    if complete && report.columns.iter().all(Column::has_booted) {
        let path = root.join("docs/verifier.md");
        fs::write(&path, verifier::markdown(&report.columns))
            .with_context(|| format!("cannot write {}", path.display()))?;
        eprintln!("written to {}", path.display());
    }
    match report.failed().as_slice() {
        [] => Ok(()),
        failed => bail!("{} of the checks failed: {}", failed.len(), failed.join(", ")),
    }
}
