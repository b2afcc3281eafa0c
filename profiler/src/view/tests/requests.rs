//! Reports on requests.

use unicode_width::UnicodeWidthStr as _;

use super::{assert_snapshot, at};
use crate::analyze::fixture::requests;
use crate::view::{TextOptions, render, render_requests};

#[test]
fn requests_and_what_constrains_them() {
    for (name, profile) in requests::every() {
        let text = render_requests(&profile, &at(80));
        assert_snapshot(&format!("requests-{name}-80.txt"), &text);
        let verdict: Vec<&str> = text.lines().take_while(|line| !line.is_empty()).collect();
        assert!(verdict.len() <= 8, "{name}: {verdict:#?}");
    }
    assert_snapshot("requests-lock-120.txt", &render_requests(&requests::lock(), &at(120)));
    assert_snapshot("requests-attach-80.txt", &render(&requests::lock(), &at(80)));
}

/// The CPUs were taken from a server that had no time left either.
#[test]
fn what_a_hypervisor_may_have_caused_is_said() {
    let mut profile = requests::running();
    profile.cpu.per_cpu = crate::analyze::fixture::cpus(&[1, 1]);
    profile.cpu.per_cpu[0].steal_ns = crate::model::Nanos(2_500_000_000);
    let text = render_requests(&profile, &at(80)).replace('\n', " ");
    assert!(text.contains("; the hypervisor may have caused >99 %"), "{text}");
}

#[test]
fn reports_on_requests_stay_within_the_terminal() {
    let long = "很長/".repeat(80) + "\u{1b}[31m";
    for (_, profile) in requests::every() {
        for profile in [requests::nasty(profile.clone(), &long), profile] {
            for width in [0, 80, 120] {
                for all_frames in [false, true] {
                    let options = TextOptions { all_frames, slowest: 9, ..at(width) };
                    for text in [render_requests(&profile, &options), render(&profile, &options)] {
                        for line in text.lines() {
                            assert!(line.width() <= width.max(60), "> {width}: {line}");
                            assert!(line.chars().all(|character| !character.is_control()));
                        }
                    }
                }
            }
        }
    }
}
