//! The table: a column for each kernel, a row for each check.

use std::fmt::Write as _;

use super::{
    checks::{self, KERNEL_LOG, TESTS},
    kernels::{Boot, Kernel},
    verdict::{Verdict, judge, judge_refusal},
};

/// All kernels.
pub struct Report {
    /// One each.
    pub columns: Vec<Column>,
}

/// One kernel.
pub struct Column {
    name: &'static str,
    /// As `uname -r` says it.
    pub release: String,
    /// Everything that the machine said.
    pub log: String,
    verdicts: Vec<Verdict>,
}

impl Column {
    /// Judges what a machine has said.
    pub fn new(kernel: &Kernel, boot: &Boot, log: &str) -> Self {
        // A serial console ends its lines as a terminal wants it.
        let log = log.replace("\r\n", "\n");
        let checks = checks::all();
        let verdicts = checks.iter().map(|(name, by)| match kernel.lacks {
            [] => judge(&log, name, *by),
            _ if !checks::is_of_refusal(name) => Verdict::NotRun,
            _ if name == KERNEL_LOG.name => judge(&log, name, *by),
            lacks => judge_refusal(&log, name, lacks),
        });
        let verdicts = verdicts.collect();
        Self { name: kernel.name, release: boot.release.clone(), log, verdicts }
    }

    /// A kernel that is not to be had.
    pub fn absent(kernel: &Kernel, reason: String) -> Self {
        let verdicts = checks::all().iter().map(|_| Verdict::Failed(reason.clone())).collect();
        Self {
            name: kernel.name,
            release: "not to be had".to_owned(),
            log: String::new(),
            verdicts,
        }
    }

    /// Whether the machine came up.
    pub fn has_booted(&self) -> bool {
        self.log.contains("@@ up ")
    }
}

impl Report {
    /// The checks that failed.
    pub fn failed(&self) -> Vec<String> {
        let checks = checks::all();
        let failed = self.columns.iter().flat_map(|column| {
            let rows = checks.iter().zip(&column.verdicts);
            rows.filter(|(_, verdict)| matches!(verdict, Verdict::Failed(_)))
                .map(|((name, _), _)| format!("{name} on {}", column.name))
        });
        failed.collect()
    }

    /// For people.
    pub fn markdown(&self) -> String {
        let mut text = String::from("| check |");
        for column in &self.columns {
            let _ = write!(text, " {} ({}) |", column.name, column.release);
        }
        text += "\n|---|";
        text += &"---|".repeat(self.columns.len());
        text += "\n";
        for (row, (name, _)) in checks::all().iter().enumerate() {
            let _ = write!(text, "| {name} |");
            for column in &self.columns {
                // A bar would end the cell.
                let _ = write!(text, " {} |", column.verdicts[row].to_string().replace('|', "\\|"));
            }
            text += "\n";
        }
        text += "\nNot run here:\n\n";
        text += &left_out();
        text
    }
}

/// What is booted and checked, for `--list`.
pub fn list(kernels: &[Kernel]) -> String {
    let names: Vec<&str> = kernels.iter().map(|kernel| kernel.name).collect();
    let checks: String = checks::all().iter().map(|(name, _)| format!("  {name}\n")).collect();
    format!("Kernels: {}\nChecks:\n{checks}Not run here:\n{}", names.join(", "), left_out())
}

fn left_out() -> String {
    let tests = TESTS.iter().filter_map(|test| Some((test.row(), test.left_out?)));
    tests.map(|(row, reason)| format!("- {row}: {reason}\n")).collect()
}
