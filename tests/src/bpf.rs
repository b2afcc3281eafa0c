//! What is loaded into the kernel.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// Programs, maps and links, by id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    /// Programs.
    pub programs: BTreeSet<u64>,
    /// Maps.
    pub maps: BTreeSet<u64>,
    /// Links.
    pub links: BTreeSet<u64>,
}

impl Loaded {
    /// What a process holds open.
    pub fn by(pid: u32) -> Result<Self> {
        let folder = format!("/proc/{pid}/fdinfo");
        let mut loaded = Self::default();
        for entry in fs::read_dir(&folder).with_context(|| folder.clone())?.flatten() {
            let text = fs::read_to_string(entry.path()).unwrap_or_default();
            // A link's page also names its program, which is as well.
            loaded.programs.extend(number(&text, "prog_id:"));
            loaded.maps.extend(number(&text, "map_id:"));
            loaded.links.extend(number(&text, "link_id:"));
        }
        Ok(loaded)
    }

    /// What a process that stands still holds open, and the maps of its programs, whose own
    /// descriptors may be closed already.
    pub fn by_stopped(pid: u32) -> Result<Self> {
        let mut loaded = Self::by(pid)?;
        for row in show("prog")? {
            if id(&row).is_some_and(|id| loaded.programs.contains(&id)) {
                let maps = row.get("map_ids").and_then(Value::as_array);
                loaded.maps.extend(maps.into_iter().flatten().filter_map(Value::as_u64));
            }
        }
        Ok(loaded)
    }

    /// Waits until nothing of this is in the kernel any more. It takes links and programs down a
    /// little after the last descriptor is closed; ids are not given twice.
    pub fn wait_until_gone(&self, within: Duration) -> Result<()> {
        let end = Instant::now() + within;
        loop {
            let left = Self::everything()?.common(self);
            if left.is_empty() {
                return Ok(());
            }
            ensure!(Instant::now() < end, "after {within:?} there are {left:?}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// All that is in the kernel, by bpftool.
    pub fn everything() -> Result<Self> {
        let ids = |kind| show(kind).map(|rows| rows.iter().filter_map(id).collect());
        Ok(Self { programs: ids("prog")?, maps: ids("map")?, links: ids("link")? })
    }

    /// What is in both.
    pub fn common(&self, other: &Self) -> Self {
        let both = |a: &BTreeSet<u64>, b: &BTreeSet<u64>| a & b;
        Self {
            programs: both(&self.programs, &other.programs),
            maps: both(&self.maps, &other.maps),
            links: both(&self.links, &other.links),
        }
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.programs.is_empty() && self.maps.is_empty() && self.links.is_empty()
    }
}

/// Names of the loaded programs that begin with `prefix`.
pub fn programs_named(prefix: &str) -> Result<Vec<String>> {
    let rows = show("prog")?;
    let names = rows.iter().filter_map(|row| row.get("name")?.as_str());
    Ok(names.filter(|name| name.starts_with(prefix)).map(str::to_owned).collect())
}

fn show(kind: &str) -> Result<Vec<Value>> {
    let bpftool = crate::need::program("bpftool").context("no bpftool")?;
    let output = Command::new(bpftool).args(["-j", kind, "show"]).output()?;
    ensure!(output.status.success(), "bpftool {kind} show ended with {}", output.status);
    // With nothing to show some versions print nothing.
    if output.stdout.iter().all(u8::is_ascii_whitespace) {
        return Ok(Vec::new());
    }
    serde_json::from_slice(&output.stdout).with_context(|| format!("bpftool {kind} show"))
}

fn id(row: &Value) -> Option<u64> {
    row.get("id")?.as_u64()
}

fn number(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key))?.trim().parse().ok()
}
