//! The page for the browser, in a browser.

mod multiply;

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use dwell_tests::browser::Browser;
use dwell_tests::dwell::Dwell;
use dwell_tests::machine::Machine;
use dwell_tests::recording::{Folder, record};
use dwell_tests::requests::{Client, Server};
use dwell_tests::workload::Workload;
use dwell_tests::{need_program, need_root};

const WORKLOAD: &str = env!("CARGO_BIN_EXE_workload");
const TMP: &str = env!("CARGO_TARGET_TMPDIR");

/// Writes the page of a recording.
fn page(recording: &Path, page: &Path) -> Result<()> {
    let (recording, page) = (recording.display().to_string(), page.display().to_string());
    Dwell::text("report", &[recording.as_str(), "--html", &page])?;
    Ok(())
}

/// Records a server whose requests take turns on a lock, and which has a bad second.
fn served(file: &Path) -> Result<()> {
    let server = Server::tcp(WORKLOAD, &["--model", "threads", "--plan", "lock:2000:1"])?;
    let drive = |load: &[&str]| {
        let load = [&["--connections", "24", "--threads", "2"], load].concat();
        let client = Client::start(WORKLOAD, server.place(), &load)?;
        Ok::<_, anyhow::Error>(thread::spawn(move || client.drive()))
    };
    let steady = drive(&["--rate", "50", "--requests", "450"])?;
    let recorder = record(&[server.pid()], file, &["-d", "7s", "--slice", "500ms"])?;
    thread::sleep(Duration::from_secs(3));
    // Each waits behind 23 others.
    let burst = drive(&["--requests", "600"])?;
    recorder.finish(Duration::from_secs(60))?.document()?;
    for client in [steady, burst] {
        client.join().map_err(|_| anyhow::anyhow!("a client panicked"))??;
    }
    Ok(())
}

#[test]
fn the_page_says_what_the_report_says() -> Result<()> {
    need_root!();
    need_program!("chromium");
    let folder = Folder::new(TMP)?;
    let (recording, html) = (folder.path("served.dwell"), folder.path("served.html"));
    {
        let _machine = Machine::take()?;
        served(&recording)?;
    }
    page(&recording, &html)?;
    let mut browser = Browser::start(TMP)?;
    browser.open(&html)?;
    let headings = "[...document.querySelectorAll('h2')].map((h) => h.textContent).join('; ')";
    let headings = browser.text(headings)?;
    for section in ["Answer", "Latency over time", "Requests", "Threads", "Locks", "Flame graph"] {
        ensure!(headings.contains(section), "no {section}: {headings}");
    }
    let answer = browser.text("document.querySelector('#answer').innerText")?;
    ensure!(answer.contains("LEDGER") || answer.contains("take_ledger"), "{answer}");
    // The burst stands out, and is where it was.
    let time = browser.text("document.querySelector('#time').innerText")?;
    let from = time.split("Slowest from ").nth(1).and_then(|rest| rest.split(' ').next());
    let from: f64 = from.context("no spike")?.parse()?;
    ensure!((2.0..5.5).contains(&from), "{time}");
    let locks = browser.text("document.querySelector('#locks tbody tr').innerText")?;
    ensure!(locks.contains("LEDGER") && locks.contains("connection-*"), "{locks}");
    let complaints = browser.complaints()?;
    ensure!(complaints.is_empty(), "{complaints:#?}");
    let requested = browser.requested();
    ensure!(requested.iter().all(|url| url.starts_with("file://")), "{requested:?}");
    graph_is_searched_and_zoomed(&mut browser)?;
    dark_is_dark(&mut browser)
}

/// By keys alone.
fn graph_is_searched_and_zoomed(browser: &mut Browser) -> Result<()> {
    let frames = "document.querySelectorAll('#flame-graph .frame').length";
    let before = browser.value(frames)?.as_u64().unwrap_or(0);
    ensure!(before > 5, "{before} frames");
    browser.press("/")?;
    browser.ask("Input.insertText", &serde_json::json!({"text": "take_ledger"}))?;
    let found = browser.text("document.querySelector('#flame-found').textContent")?;
    ensure!(found.contains("% of all") && !found.starts_with('0'), "{found}");
    let marked = "document.querySelectorAll('#flame-graph .found').length";
    ensure!(browser.value(marked)?.as_u64() >= Some(1), "nothing is marked");
    browser.value("document.querySelector('#flame-graph .frame[tabindex=\"0\"]').focus()")?;
    let status = "document.querySelector('#flame-status').textContent";
    let first = browser.text(status)?;
    for _ in 0..3 {
        browser.press("ArrowDown")?;
    }
    let third = browser.text(status)?;
    ensure!(first.starts_with("all waits inside work") && third != first, "{first} | {third}");
    browser.press("Enter")?;
    let above = "document.querySelectorAll('#flame-graph .above').length";
    ensure!(browser.value(above)?.as_u64() == Some(3), "not zoomed in");
    browser.press("Escape")?;
    ensure!(browser.value(above)?.as_u64() == Some(0), "not zoomed out");
    Ok(())
}

fn dark_is_dark(browser: &mut Browser) -> Result<()> {
    let back = "getComputedStyle(document.body).backgroundColor";
    browser.dark(false)?;
    let light = browser.text(back)?;
    browser.dark(true)?;
    ensure!(light == "rgb(255, 255, 255)" && browser.text(back)? != light, "{light}");
    Ok(())
}

/// 100,000 different waits of 1,000 threads. docs/bench.md quotes what it prints.
#[test]
fn a_large_page_is_small() -> Result<()> {
    need_root!();
    need_program!("chromium");
    let folder = Folder::new(TMP)?;
    let (recording, html) = (folder.path("large.dwell"), folder.path("large.html"));
    {
        let _machine = Machine::take()?;
        let server = Server::tcp(WORKLOAD, &["--model", "threads", "--plan", "lock:100:1"])?;
        let load =
            ["--connections", "1000", "--threads", "2", "--rate", "1000", "--requests", "4000"];
        let client = Client::start(WORKLOAD, server.place(), &load)?;
        let recorder = record(&[server.pid()], &recording, &["-d", "4s"])?;
        client.drive()?;
        recorder.finish(Duration::from_secs(60))?.document()?;
    }
    multiply::waits(&recording, 100_000)?;
    page(&recording, &html)?;
    let bytes = fs::metadata(&html)?.len();
    ensure!(bytes < 10_000_000, "{bytes} bytes");
    let mut browser = Browser::start(TMP)?;
    browser.open(&html)?;
    let opened = "Math.round(performance.getEntriesByType('navigation')[0].loadEventEnd)";
    let opened = browser.value(opened)?.as_u64().context("no time")?;
    println!("page: {bytes} bytes, opened in {opened} ms");
    let complaints = browser.complaints()?;
    ensure!(complaints.is_empty(), "{complaints:#?}");
    let rows = browser.value("document.querySelectorAll('#threads tbody tr').length")?;
    ensure!(rows.as_u64() > Some(1_000), "{rows} rows of threads");
    let waits = browser.text("document.querySelector('#waits').innerText")?;
    let more = waits.rsplit("… and ").next().unwrap_or_default().replace(',', "");
    let more: u64 = more.split(' ').next().unwrap_or_default().parse().context(waits)?;
    ensure!(more >= 99_000, "only {more} more waits");
    Ok(())
}

#[test]
fn a_live_page() -> Result<()> {
    need_root!();
    need_program!("chromium");
    let folder = Folder::new(TMP)?;
    let html = folder.path("live.html");
    {
        let _machine = Machine::take()?;
        let mut workload = Workload::start(WORKLOAD, &["mutex", "--seconds", "20"])?;
        workload.go()?;
        let pid = workload.pid().to_string();
        let path = html.display().to_string();
        let text = Dwell::text("attach", &["-p", &pid, "-d", "2s", "--html", &path])?;
        ensure!(text.contains("pthread_mutex_lock"), "{text}");
    }
    let mut browser = Browser::start(TMP)?;
    browser.open(&html)?;
    let all = browser.text("document.body.innerText")?;
    ensure!(all.contains("pthread_mutex_lock"), "{all}");
    let complaints = browser.complaints()?;
    ensure!(complaints.is_empty(), "{complaints:#?}");
    Ok(())
}
