//! From the log of a machine to a verdict on each check.

use std::fmt;

use super::{checks::Judge, verifier};

/// How a check ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// As it should.
    Passed,
    /// As it should; the kernel lacks what is named.
    Without(Vec<String>),
    /// The kernel lacks too much, and dwell has named it.
    Refused(String),
    /// Nothing to check on such a kernel.
    NotRun,
    /// Not as it should.
    Failed(String),
}

impl fmt::Display for Verdict {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Passed => formatter.write_str("ok"),
            Self::Without(features) => write!(formatter, "ok, without {}", features.join("; ")),
            Self::Refused(line) => write!(formatter, "refused, as it should: {line}"),
            Self::NotRun => formatter.write_str("–"),
            Self::Failed(reason) => write!(formatter, "**failed**: {reason}"),
        }
    }
}

/// What a check printed, and its exit code.
#[derive(Debug, PartialEq)]
pub struct Section<'a> {
    /// The lines between the marks.
    pub text: &'a str,
    status: i32,
}

/// The part of the log between the marks of a check; `None` where one of them is missing.
pub fn section<'a>(log: &'a str, name: &str) -> Option<Section<'a>> {
    let (_, rest) = log.split_once(&format!("@@ begin {name}\n"))?;
    let (text, rest) = rest.split_once(&format!("@@ end {name} "))?;
    let status = rest.lines().next()?.trim().parse().ok()?;
    Some(Section { text, status })
}

/// Judges one check.
pub fn judge(log: &str, name: &str, judge: Judge) -> Verdict {
    let Some(section) = section(log, name) else {
        return Verdict::Failed("it did not come to its end".to_owned());
    };
    if section.status != 0 {
        return Verdict::Failed(reason(section.text));
    }
    match judge {
        Judge::Exit => Verdict::Passed,
        Judge::Programs => programs(section.text),
        Judge::Report => report(section.text),
        Judge::Demo if !squeezed(section.text).contains("lock (futex") => {
            Verdict::Failed("the report does not name the lock".to_owned())
        }
        Judge::Demo => report(section.text),
        Judge::Sleep => sleep(section.text),
        Judge::Test if section.text.contains("test result: ok. 1 passed") => Verdict::Passed,
        Judge::Test => Verdict::Failed("no test was run".to_owned()),
    }
}

/// Judges a check on a kernel that lacks what dwell cannot do without: it has to fail, with all of
/// that named.
pub fn judge_refusal(log: &str, name: &str, lacks: &[&str]) -> Verdict {
    let Some(section) = section(log, name) else {
        return Verdict::Failed("it did not come to its end".to_owned());
    };
    let text = squeezed(section.text);
    let unnamed: Vec<&str> = lacks.iter().filter(|lack| !text.contains(**lack)).copied().collect();
    match (section.status, unnamed.as_slice()) {
        (1, []) => Verdict::Refused(lacks.join(", ")),
        (1, some) => Verdict::Failed(format!("it did not name {}", some.join(", "))),
        (status, _) => Verdict::Failed(format!("it ended with {status} in place of 1")),
    }
}

/// The whole window is one sleep, which no event told of.
fn sleep(text: &str) -> Verdict {
    let squeezed = squeezed(text);
    let is_there = squeezed.contains("nanosleep")
        && squeezed.contains("1 wait,")
        && squeezed.contains("1 cut off by the window's edges");
    if is_there { report(text) } else { Verdict::Failed("the report has no such sleep".to_owned()) }
}

/// The line that tells why: the last of dwell's own, or the error of a test.
fn reason(text: &str) -> String {
    let lines = || text.lines().map(str::trim).filter(|line| !line.is_empty());
    let own = lines().rev().find_map(|line| line.strip_prefix("dwell: "));
    let error = lines().find_map(|line| line.strip_prefix("Error: "));
    error.or(own).or(lines().next_back()).unwrap_or("it said nothing").to_owned()
}

fn programs(text: &str) -> Verdict {
    let rows = verifier::rows(text);
    let missing: Vec<&str> =
        rows.iter().filter(|row| row.refused.is_some()).map(|row| row.program.as_str()).collect();
    if rows.is_empty() {
        return Verdict::Failed("no program was loaded".to_owned());
    }
    match missing.as_slice() {
        [] => Verdict::Passed,
        some => Verdict::Failed(format!("not loaded: {}", some.join(", "))),
    }
}

/// All of the time is attributed and nothing is lost; the report names what it leaves out.
fn report(text: &str) -> Verdict {
    let text = squeezed(text);
    if !text.contains("Trust: complete:") {
        return Verdict::Failed("the report is not complete, or does not say so".to_owned());
    }
    match text.split_once("not available here: ") {
        Some((_, rest)) => {
            let features = rest.split('.').next().unwrap_or_default();
            Verdict::Without(features.split("; ").map(str::to_owned).collect())
        }
        None => Verdict::Passed,
    }
}

/// The text with its lines joined: reports are broken into lines of 80 columns.
fn squeezed(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(text: &str, status: i32) -> String {
        format!("[ 1.0] noise\n@@ begin x\n{text}\n\n@@ end x {status}\n@@ done 3\n")
    }

    fn failed(verdict: &Verdict) -> bool {
        matches!(verdict, Verdict::Failed(_))
    }

    #[test]
    fn a_check_that_never_ended_has_failed() {
        assert!(failed(&judge("@@ begin x\nOops", "x", Judge::Exit)));
        assert!(failed(&judge("", "x", Judge::Exit)));
        assert!(failed(&judge_refusal("", "x", &["y"])));
    }

    #[test]
    fn the_reason_is_the_line_that_tells_it() {
        let verdict = judge(&log("dwell: attached\nError: too late\nmore", 101), "x", Judge::Test);
        assert_eq!(verdict, Verdict::Failed("too late".to_owned()));
        let verdict = judge(&log("dwell: not permitted\n", 1), "x", Judge::Exit);
        assert_eq!(verdict, Verdict::Failed("not permitted".to_owned()));
    }

    #[test]
    fn a_test_that_did_not_run_has_failed() {
        let text = "test result: ok. 0 passed; 0 failed";
        assert!(failed(&judge(&log(text, 0), "x", Judge::Test)));
        let text = "test result: ok. 1 passed; 0 failed";
        assert_eq!(judge(&log(text, 0), "x", Judge::Test), Verdict::Passed);
    }

    #[test]
    fn what_a_report_leaves_out_is_named() {
        let text = "Trust: complete: 100.00 %\n   not available here: the file behind a\n   fault.";
        let verdict = judge(&log(text, 0), "x", Judge::Report);
        assert_eq!(verdict.to_string(), "ok, without the file behind a fault");
        assert!(failed(&judge(&log("Trust: 3 events lost", 0), "x", Judge::Report)));
        assert!(failed(&judge(&log(text, 0), "x", Judge::Demo)));
    }

    #[test]
    fn a_refusal_names_everything_and_ends_with_one() {
        let text = "dwell: this kernel lacks a, b";
        assert!(matches!(judge_refusal(&log(text, 1), "x", &["a", "b"]), Verdict::Refused(_)));
        assert!(failed(&judge_refusal(&log(text, 1), "x", &["a", "missing"])));
        assert!(failed(&judge_refusal(&log(text, 0), "x", &["a"])));
    }

    #[test]
    fn a_program_that_is_not_loaded_is_named() {
        let text = "dwell_a hook 12\ndwell_b hook no such luck\ndwell_c hook none";
        let verdict = judge(&log(text, 0), "x", Judge::Programs);
        assert_eq!(verdict, Verdict::Failed("not loaded: dwell_b".to_owned()));
        assert!(failed(&judge(&log("nothing", 0), "x", Judge::Programs)));
    }
}
