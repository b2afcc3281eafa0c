//! Children and grandchildren that come and go.

use anyhow::Result;
use dwell_tests::clock::{sleep_ns, spin_ns};
use serde_json::json;

use super::Stage;
use super::children::{Child, rename};
use super::meter::Meter;
use super::shared::Shared;

const CHILDREN: u64 = 3;
const GRANDCHILDREN: u64 = 2;
const SLEEP_NS: u64 = 20_000_000;
const WORK_NS: u64 = 2_000_000;

pub fn run(stage: Stage) -> Result<()> {
    let sleeps = Shared::new()?;
    let mut processes = 0;
    let running = stage.begin()?;
    while running.goes_on() {
        let children = (0..CHILDREN).map(|_| Child::fork(|| be_child(sleeps)));
        let children: Vec<_> = children.collect::<std::io::Result<_>>()?;
        for child in children {
            child.join()?;
        }
        processes += CHILDREN * (1 + GRANDCHILDREN);
    }
    running.end("fork-tree", sleeps.waits(), json!({ "processes": processes }))
}

fn be_child(sleeps: Shared) -> Result<()> {
    rename(c"tree-child");
    let grandchildren = (0..GRANDCHILDREN).map(|_| {
        Child::fork(|| {
            rename(c"tree-grandchild");
            work_and_sleep(sleeps)
        })
    });
    let grandchildren: Vec<_> = grandchildren.collect::<std::io::Result<_>>()?;
    work_and_sleep(sleeps)?;
    for grandchild in grandchildren {
        grandchild.join()?;
    }
    Ok(())
}

fn work_and_sleep(sleeps: Shared) -> Result<()> {
    let mut meter = Meter::new()?;
    spin_ns(WORK_NS);
    meter.measure(|| sleep_ns(SLEEP_NS));
    sleeps.add(&meter.waits());
    Ok(())
}
