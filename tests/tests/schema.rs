//! The document is what its schema says.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use dwell_tests::document::Document;
use dwell_tests::dwell::observe;
use dwell_tests::machine::Machine;
use dwell_tests::need_root;
use dwell_tests::workload::Workload;
use serde_json::{Value, json};

fn schema() -> Result<Value> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/schema");
    let path = folder.join("dwell-1.schema.json");
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    Ok(serde_json::from_str(&text)?)
}

/// Fails with every place at which the document is not what the schema says.
fn check(document: &Document) -> Result<()> {
    let validator = jsonschema::validator_for(&schema()?)?;
    let errors = validator.iter_errors(&document.value);
    let errors = errors.map(|error| format!("{}: {error}", error.instance_path()));
    let errors: Vec<String> = errors.take(20).collect();
    ensure!(errors.is_empty(), "not as the schema says:\n  {}", errors.join("\n  "));
    ensure!(document.body.schema == "dwell/1", "which schema? {}", document.body.schema);
    let window = document.body.window;
    ensure!(window.end_monotonic_ns - window.start_monotonic_ns == window.duration_ns);
    Ok(())
}

#[test]
fn workloads() -> Result<()> {
    need_root!();
    let _machine = Machine::take()?;
    let all = ["mutex", "socket", "unix-socket", "pipe", "fsync", "waitpid", "flock", "page-fault"];
    for name in all.iter().chain(&["stopped", "long-wait", "fork-tree", "threads"]) {
        let mut workload = Workload::start(env!("CARGO_BIN_EXE_workload"), &[name])?;
        workload.go()?;
        let document = observe(&["-p", &workload.pid().to_string(), "-d", "1s"])?;
        check(&document).with_context(|| (*name).to_owned())?;
        ensure!(!document.body.threads.is_empty(), "{name}: no threads");
    }
    Ok(())
}

#[test]
fn the_whole_host() -> Result<()> {
    need_root!();
    let _machine = Machine::take()?;
    check(&observe(&["-a", "-d", "1s"])?)
}

/// A schema that takes everything would pass every test.
#[test]
fn the_schema_refuses_what_is_wrong() -> Result<()> {
    let validator = jsonschema::validator_for(&schema()?)?;
    for wrong in [json!({}), json!([]), json!({ "schema": "dwell/2" }), json!(null)] {
        ensure!(!validator.is_valid(&wrong), "it takes {wrong}");
    }
    Ok(())
}
