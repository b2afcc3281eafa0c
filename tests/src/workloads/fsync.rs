//! Writes that have to reach a disk that is busy with something else (see `page_fault` for why).

use std::io::{Seek, Write};
use std::os::unix::fs::MetadataExt;

use anyhow::Result;
use serde_json::json;

use super::Stage;
use super::disk::disk_folder;
use super::disk_load;
use super::meter::Meter;
use super::system::device;

static BLOCK: [u8; 64 * 1024] = [b'.'; 64 * 1024];

pub fn run(stage: Stage) -> Result<()> {
    let folder = disk_folder(&stage)?;
    let path = folder.path().join("flushed");
    let mut file = std::fs::File::create(&path)?;
    let metadata = file.metadata()?;
    let _rivals = disk_load::start(folder.path())?;
    let mut meter = Meter::new()?;
    let running = stage.begin()?;
    while running.goes_on() {
        file.rewind()?;
        meter.measure(|| file.write_all(&BLOCK).and_then(|()| file.sync_all()))?;
    }
    let object = json!({ "inode": metadata.ino(), "device": device(&metadata), "path": path });
    running.end("fsync", meter.waits(), object)
}
