use serde_json::Value;

use super::*;
use crate::analyze::fixture;
use crate::model::{Pid, Tid};

const UNIX_NS: i64 = 1_700_000_000_000_000_000;

fn document(profile: &Measured) -> Value {
    let bytes = firefox(profile, UNIX_NS).expect("memory").expect("requests");
    serde_json::from_slice(&bytes).expect("JSON")
}

/// The markers of a thread: name, type, begin and end in milliseconds, data.
fn markers(thread: &Value) -> Vec<(String, String, f64, f64, Value)> {
    let (table, strings) = (&thread["markers"], &thread["stringArray"]);
    let rows = 0..table["length"].as_u64().expect("a length") as usize;
    let row = |row: usize| {
        let data = table["data"][row].clone();
        (
            strings[table["name"][row].as_u64().expect("a name") as usize].to_string(),
            data["type"].as_str().expect("a type").to_owned(),
            table["startTime"][row].as_f64().expect("a beginning"),
            table["endTime"][row].as_f64().expect("an end"),
            data,
        )
    };
    rows.map(row).collect()
}

#[test]
fn requests_and_their_parts_are_markers() {
    let document = document(&fixture::requests::lock());
    assert_eq!(document["meta"]["startTime"], UNIX_NS as f64 / 1e6);
    let threads = document["threads"].as_array().expect("threads");
    assert_eq!(threads.len(), 4);
    let first = &threads[0];
    assert_eq!(
        (&first["name"], &first["processName"]),
        (&"worker-1".into(), &"demo-server".into())
    );
    assert_eq!((&first["pid"], &first["tid"]), (&"4242".into(), &"4243".into()));
    let all = markers(first);
    let kinds: Vec<_> = all.iter().map(|marker| marker.1.as_str()).collect();
    assert_eq!(kinds, ["Request", "Part", "Part", "Part", "Wait"]);
    let (name, _, start, end, _) = &all[0];
    assert_eq!(name, "\"GET /checkout\"");
    assert!((start - 1_000.0).abs() < 1e-6 && (end - start - 10.325).abs() < 1e-6);
    let sum: f64 = all[1..].iter().map(|(_, _, start, end, _)| end - start).sum();
    assert!((sum - 10.325).abs() < 1e-6, "{sum}");
    // The lock, with the wait for it, and the stack of that.
    let wait = &all[4];
    assert!((wait.3 - wait.2 - 9.1).abs() < 1e-6);
    let text = |field: &str| {
        let string = wait.4[field].as_u64().expect("a string");
        first["stringArray"][string as usize].as_str().expect("a text").to_owned()
    };
    assert_eq!(text("function"), "with_inventory");
    assert_eq!(text("object"), "futex 0x55d0c0ffee40 private");
    assert_eq!(wait.4["longest"], 8.9);
    assert!(wait.4["cause"]["stack"].is_u64(), "{}", wait.4);
}

#[test]
fn colours_are_those_of_the_kind() {
    let document = document(&fixture::requests::lock());
    let categories = document["meta"]["categories"].as_array().expect("categories");
    let color = |name: &str| {
        let found = categories.iter().find(|category| category["name"] == name);
        found.unwrap_or_else(|| panic!("no {name}"))["color"].clone()
    };
    assert_eq!((color("Locks"), color("Queues")), ("red".into(), "brown".into()));
    assert!(categories.iter().all(|category| category["name"] != "Disk"), "not in use");
}

/// In a part of a recording a request can have come before the beginning.
#[test]
fn no_time_is_below_zero() {
    let mut profile = fixture::requests::lock();
    profile.requests.services[0].slowest[0].arrival = Nanos(99_000_000_000);
    let document = document(&profile);
    assert_eq!(document["meta"]["startTime"], (UNIX_NS - 1_000_000_000) as f64 / 1e6);
    let all = markers(&document["threads"][0]);
    assert!(all[0].2.abs() < 1e-9);
    assert!(markers(&document["threads"][1])[0].2 > 2_000.0);
}

#[test]
fn the_thread_of_the_slowest_request_is_selected() {
    let mut profile = fixture::requests::lock();
    profile.requests.services[0].slowest[2].latency = Nanos(20_000_000);
    assert_eq!(document(&profile)["meta"]["initialSelectedThreads"], serde_json::json!([2]));
}

#[test]
fn foreign_names_are_escaped_and_nothing_is_needed() {
    let name = "a\"b</script>\\u0000;{marker.name}\u{202e}\n\0";
    let mut profile = fixture::requests::nasty(fixture::requests::lock(), name);
    profile.threads.clear();
    let slowest = &mut profile.requests.services[0].slowest;
    (slowest[0].pid, slowest[0].tid) = (Pid(0), Tid(0));
    slowest[1].longest = None;
    // As far as a damaged recording can go.
    (slowest[2].arrival, slowest[2].latency) = (Nanos(u64::MAX), Nanos(u64::MAX));
    let document = document(&profile);
    let threads = document["threads"].as_array().expect("threads");
    assert!(threads.iter().all(|thread| thread["processName"] == name));
    let names: Vec<_> = threads.iter().map(|thread| thread["name"].clone()).collect();
    assert!(names.contains(&"a thread that is not known".into()), "{names:?}");
    assert!(firefox(&fixture::empty(), 0).expect("memory").is_none());
}
