//! `dwell doctor`.

use anyhow::{Result, bail};

use super::arguments::Doctor;
use super::output;
use crate::doctor::{Check, Verdict, examine, program_lines, programs};

/// Runs `dwell doctor`.
///
/// # Errors
/// When dwell cannot attach here.
pub fn run(doctor: Doctor) -> Result<()> {
    if doctor.programs {
        return output::write(&program_lines(&programs()));
    }
    let checks = examine();
    let text = if doctor.json {
        let document = serde_json::json!({ "schema": "dwell-doctor/1", "checks": checks });
        format!("{document}\n")
    } else {
        checks.iter().map(lines).collect()
    };
    output::write(&text)?;
    if checks.iter().any(|check| check.verdict == Verdict::Missing) {
        bail!("cannot attach on this machine as things are; the lines marked `no` say why");
    }
    Ok(())
}

/// Columns of the text, and those before what was found.
const WIDTH: usize = 80;
const INDENT: usize = 24;

fn lines(check: &Check) -> String {
    let mark = match check.verdict {
        Verdict::Works => "yes",
        Verdict::Limited => "part",
        Verdict::Missing => "no",
    };
    let mut text = paragraph(&format!("{mark:<6}{:<18}", check.feature), "", &check.finding);
    for missing in &check.missing {
        text += &paragraph(&" ".repeat(INDENT), "", missing);
    }
    if let Some(fix) = &check.fix {
        text += &paragraph(&" ".repeat(INDENT), "fix: ", fix);
    }
    text
}

/// The words in lines that begin below each other. A word that is too long, such as a path, stays
/// whole: it may have to be copied.
fn paragraph(margin: &str, title: &str, words: &str) -> String {
    let indent = INDENT + title.len();
    let mut text = format!("{margin}{title}");
    let mut column = indent;
    for word in words.split_whitespace() {
        let columns = word.chars().count();
        if column > indent && column + 1 + columns > WIDTH {
            text += &format!("\n{:indent$}", "");
            column = indent;
        } else if column > indent {
            text.push(' ');
            column += 1;
        }
        text += word;
        column += columns;
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_aligned_and_at_most_80_columns_wide() {
        let check = Check {
            feature: "privileges",
            verdict: Verdict::Missing,
            finding: "capabilities are missing:".to_owned(),
            missing: vec!["CAP_BPF (load)".to_owned(), "CAP_SYSLOG (read)".to_owned()],
            fix: Some("thirteen_char ".repeat(6)),
        };
        let rest = "thirteen_char thirteen_char thirteen_char";
        let expected = format!(
            "no    privileges        capabilities are missing:\n\
             {0:24}CAP_BPF (load)\n{0:24}CAP_SYSLOG (read)\n\
             {0:24}fix: {rest}\n{0:29}{rest}\n",
            ""
        );
        assert_eq!(lines(&check), expected);
        assert!(expected.lines().all(|line| line.len() <= WIDTH));
    }

    #[test]
    fn a_long_word_stays_whole() {
        let long = "x".repeat(100);
        let text = paragraph(&" ".repeat(INDENT), "", &format!("see {long} there"));
        let lines: Vec<&str> = text.lines().map(str::trim_start).collect();
        assert_eq!(lines, ["see", &long, "there"]);
    }
}
