//! `dwell doctor`.

use anyhow::{Result, bail};

use super::arguments::Doctor;
use super::output;
use crate::doctor::{Check, Verdict, examine};

/// Runs `dwell doctor`.
///
/// # Errors
/// When dwell cannot attach here.
pub fn run(doctor: Doctor) -> Result<()> {
    let checks = examine();
    let text = if doctor.json {
        let document = serde_json::json!({ "schema": "dwell-doctor/1", "checks": checks });
        format!("{document}\n")
    } else {
        checks.iter().map(line).collect()
    };
    output::write(&text)?;
    if checks.iter().any(|check| check.verdict == Verdict::Missing) {
        bail!("dwell cannot attach on this machine as things are; the lines marked `no` say why");
    }
    Ok(())
}

fn line(check: &Check) -> String {
    let mark = match check.verdict {
        Verdict::Works => "yes",
        Verdict::Limited => "part",
        Verdict::Missing => "no",
    };
    let fix = match &check.fix {
        Some(fix) => format!("{:24}fix: {fix}\n", ""),
        None => String::new(),
    };
    format!("{mark:<6}{:<18}{}\n{fix}", check.feature, check.finding)
}
