//! How many instructions the verifier went through, for each program and kernel.

use std::{collections::BTreeMap, fmt::Write as _};

use super::{report::Column, verdict::section};

/// A line of `dwell doctor --programs`.
#[derive(Debug, PartialEq)]
pub struct Row {
    /// The program.
    pub program: String,
    /// Instructions that the verifier went through, as it is written in the table.
    pub count: String,
    /// Why it is not there.
    pub refused: Option<String>,
}

/// The lines of `dwell doctor --programs`: program, hook, and the count, or `-` for one unknown,
/// `none` for a hook that the kernel does not have, `no` and a reason for a program refused.
pub fn rows(text: &str) -> Vec<Row> {
    let lines = text.lines().filter(|line| line.starts_with("dwell_"));
    let rows = lines.filter_map(|line| {
        let mut words = line.split_whitespace();
        let (program, _hook, count) = (words.next()?, words.next()?, words.next()?);
        let refused = (count == "no").then(|| words.collect::<Vec<_>>().join(" "));
        let count = match count {
            "-" => "not told",
            "none" => "no hook",
            "no" => "not loaded",
            number => number,
        };
        Some(Row { program: program.to_owned(), count: count.to_owned(), refused })
    });
    rows.collect()
}

/// The committed table.
pub fn markdown(columns: &[Column]) -> String {
    // A kernel on which dwell refuses has no programs.
    let has_any = |column: &&Column| section(&column.log, "programs").is_some();
    let columns: Vec<&Column> = columns.iter().filter(has_any).collect();
    let mut counts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (place, column) in columns.iter().enumerate() {
        let section = section(&column.log, "programs");
        for row in section.map(|section| rows(section.text)).unwrap_or_default() {
            let cells =
                counts.entry(row.program).or_insert_with(|| vec![String::new(); columns.len()]);
            cells[place] = row.count;
        }
    }
    let mut text = String::from(
        "# What the verifier goes through\n\n\
         Instructions that the kernel's verifier processed when it loaded each program \
         (`verified_insns` of `bpf_prog_info`, which kernels before 5.16 do not tell). The limit of \
         the kernel is 1,000,000. Written by `cargo xtask vm`; a program whose figure jumps here \
         has met a kernel that follows more of its paths than the others.\n\n| program |",
    );
    for column in &columns {
        let _ = write!(text, " {} |", column.release);
    }
    text += "\n|---|";
    text += &"--:|".repeat(columns.len());
    text += "\n";
    for (program, cells) in counts {
        let _ = writeln!(text, "| `{program}` | {} |", cells.join(" | "));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_no_count_and_no_program() {
        let text = "dwell_switch  sched_switch 12034\ndwell_new x -\n\
                    dwell_fault mm_filemap_fault no such thing\ndwell_f mm none\nother 1 2\n";
        let rows = rows(text);
        let counts: Vec<&str> = rows.iter().map(|row| row.count.as_str()).collect();
        assert_eq!(counts, ["12034", "not told", "not loaded", "no hook"]);
        assert_eq!(rows[2].refused.as_deref(), Some("such thing"));
        assert_eq!(rows[3].refused, None);
    }
}
