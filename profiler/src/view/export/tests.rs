//! Exports of constructed profiles, read back.

use std::collections::HashSet;
use std::io::Read as _;

use flate2::read::GzDecoder;
use prost::Message as _;

use super::*;
use crate::analyze::fixture;
use crate::model::{Nanos, State};
use crate::view::tests::assert_snapshot;

fn working(profile: &Profile) -> Nanos {
    let waits = profile.waits.iter().filter(|wait| !is_waiting_for_work(wait));
    waits.map(|wait| wait.total).sum()
}

fn all(profile: &Profile) -> Nanos {
    profile.waits.iter().map(|wait| wait.total).sum()
}

#[test]
fn folded_stacks_hold_all_time() {
    for profile in [fixture::demo(), fixture::postgres(), fixture::chain()] {
        for (which, time) in [(Waits::Working, working(&profile)), (Waits::All, all(&profile))] {
            let text = folded(&profile, which);
            let values = text.lines().map(|line| line.rsplit_once(' ').expect("a value").1);
            let sum: u64 = values.map(|value| value.parse::<u64>().expect("a number")).sum();
            assert_eq!(Nanos(sum), time);
        }
    }
    assert_snapshot("demo.folded", &folded(&fixture::demo(), Waits::All));
}

#[test]
fn names_do_not_break_a_line() {
    let mut profile = fixture::demo();
    for wait in &mut profile.waits {
        wait.comm = "a;b\n<x>&\"".into();
        wait.stack = fixture::stack(&["f<[u8; 4]> 12 34", "main"]);
    }
    let text = folded(&profile, Waits::All);
    let rows = waits(&profile, Waits::All).len();
    assert_eq!(text.lines().count(), rows);
    assert!(text.lines().all(|line| line.contains(";main;f<[u8, 4]> 12 34;[")), "{text}");
    let svg = flame_graph(&profile, Waits::All).expect("drawn").expect("a graph");
    let svg = String::from_utf8(svg).expect("text");
    assert!(svg.contains("a,b &lt;x&gt;&amp;") && !svg.contains("<x>"));
}

#[test]
fn flame_graphs_have_the_colours_of_kinds() {
    let svg = flame_graph(&fixture::demo(), Waits::Working).expect("drawn").expect("a graph");
    let svg = String::from_utf8(svg).expect("text");
    assert!(svg.starts_with("<?xml") && svg.trim_end().ends_with("</svg>"));
    // The lock's colour, and that of functions.
    assert!(svg.contains("rgb(226,96,84)") && svg.contains("rgb(222,222,214)"));
    assert!(flame_graph(&fixture::empty(), Waits::All).expect("drawn").is_none());
}

#[test]
fn a_pprof_profile_holds_all_time_and_refers_to_what_it_has() {
    for profile in [fixture::demo(), fixture::postgres(), fixture::empty()] {
        let packed = pprof(&profile, Waits::All).expect("a profile");
        let mut bytes = Vec::new();
        GzDecoder::new(packed.as_slice()).read_to_end(&mut bytes).expect("gzip");
        let message = super::pprof::Profile::decode(bytes.as_slice()).expect("a message");
        let time: i64 = message.sample.iter().map(|sample| sample.value[1]).sum();
        assert_eq!(Nanos(time.cast_unsigned()), all(&profile));
        let functions: HashSet<u64> = message.function.iter().map(|each| each.id).collect();
        let locations: HashSet<u64> = message.location.iter().map(|each| each.id).collect();
        let strings = message.string_table.len() as i64;
        assert_eq!(message.string_table[0], "");
        assert!(message.function.iter().all(|each| (1..strings).contains(&each.name)));
        let lines = message.location.iter().flat_map(|each| &each.line);
        assert!(lines.map(|line| line.function_id).all(|id| functions.contains(&id)));
        let places = message.sample.iter().flat_map(|each| &each.location_id);
        assert!(places.into_iter().all(|id| locations.contains(id)));
        let labels = message.sample.iter().flat_map(|each| &each.label);
        assert!(labels.into_iter().all(|label| label.key < strings && label.str < strings));
    }
}

#[test]
fn inlined_functions_share_a_location() {
    let mut profile = fixture::empty();
    let object = fixture::futex(crate::model::FutexOp::Wait, false);
    let mut wait = fixture::wait(State::Futex, object, 1_000_000, 1);
    let mut stack = fixture::stack(&["inner", "outer", "main"]).to_vec();
    stack[0].inlined = true;
    wait.stack = stack.into();
    profile.waits.push(wait);
    let packed = pprof(&profile, Waits::All).expect("a profile");
    let mut bytes = Vec::new();
    GzDecoder::new(packed.as_slice()).read_to_end(&mut bytes).expect("gzip");
    let message = super::pprof::Profile::decode(bytes.as_slice()).expect("a message");
    // What was waited for, the two, and main.
    let lines: Vec<usize> = message.location.iter().map(|each| each.line.len()).collect();
    assert_eq!(lines, [1, 2, 1]);
}

#[test]
fn tables_have_a_value_in_each_column() {
    for (table, name) in [
        (Table::Threads, "threads"),
        (Table::Waits, "waits"),
        (Table::Locks, "locks"),
        (Table::Requests, "requests"),
    ] {
        for profile in
            [fixture::demo(), fixture::chain(), fixture::requests::lock(), fixture::empty()]
        {
            let bytes = csv(&profile, table).expect("a table");
            let mut reader = ::csv::Reader::from_reader(bytes.as_slice());
            let columns = reader.headers().expect("names").len();
            let rows: Vec<_> = reader.records().collect::<Result<_, _>>().expect("rows");
            assert!(rows.iter().all(|row| row.len() == columns), "{name}");
        }
        let text = csv(&fixture::demo(), table).expect("a table");
        assert_snapshot(&format!("demo-{name}.csv"), &String::from_utf8(text).expect("text"));
    }
    let shop = csv(&fixture::requests::lock(), Table::Requests).expect("a table");
    assert_snapshot("shop-requests.csv", &String::from_utf8(shop).expect("text"));
    let chain = csv(&fixture::chain(), Table::Locks).expect("a table");
    assert_snapshot("chain-locks.csv", &String::from_utf8(chain).expect("text"));
}
